# SPDX-License-Identifier: GPL-3.0-or-later
"""What IIS is configured to do: sites' bindings, http.sys's certificates, the settings of locations. All of it is `machine.iis`.

Names of settings are those of IIS's own schema (system.webServer/security/…), values as `Get-WebConfigurationProperty` returns them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lab.windows_ca.machine import Machine, Service

SITE = "Default Web Site"
CERTSRV = f"{SITE}/CertSrv"
CERTENROLL = f"{SITE}/CertEnroll"
CERTENROLL_FOLDER = r"C:\Windows\System32\CertSrv\CertEnroll"
SSL_FLAGS = {"Ssl": 0x8, "SslNegotiateCert": 0x20, "SslRequireCert": 0x40, "SslMapCert": 0x80, "Ssl128": 0x100}
TOKEN_CHECKING = ("None", "Allow", "Require")
PROVIDERS = {"Negotiate": "negotiate", "NTLM": "ntlm", "Negotiate:Kerberos": "kerberos"}
DEFAULTS: dict[str, Any] = {
    "sslFlags": "None",
    "anonymous": True,
    "basic": False,
    "windows": False,
    "providers": ["Negotiate", "NTLM"],
    "tokenChecking": "None",
    "allowDoubleEscaping": False,
    # False in the schema, true in the applicationHost.config of today's servers: Kerberos signs a connection in, as NTLM does
    "authPersistNonNTLM": True,
}
# Install-AdcsWebEnrollment on Windows Server 2025: Windows authentication alone, no TLS demanded, extended protection where the client has
# it ("when supported"; before Server 2025 it was None, KB5005413)
CERTSRV_DEFAULTS = {"anonymous": False, "windows": True, "tokenChecking": "Allow"}


@dataclass(frozen=True)
class Binding:
    """One binding of the site, `*:443:` as IIS writes it."""

    protocol: str
    address: str
    port: int
    host: str

    @property
    def information(self) -> str:
        return f"{self.address}:{self.port}:{self.host}"

    @classmethod
    def parse(cls, protocol: str, information: str) -> Binding:
        address, port, host = information.rsplit(":", 2)
        return cls(protocol, address, int(port), host)


class Configuration:
    """Reads and changes `machine.iis`; changes inside the machine's transaction."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    @property
    def installed(self) -> bool:
        return bool(self.machine.features.get("Web-Server"))

    @property
    def running(self) -> bool:
        service = self.machine.services.get("W3SVC")
        return self.installed and service is not None and service.state == "running"

    def begin(self) -> None:
        """What installing the feature Web-Server leaves behind: the service, the site, its binding on port 80."""
        with self.machine.transaction():
            if "W3SVC" not in self.machine.services:
                self.machine.services["W3SVC"] = Service("W3SVC", "World Wide Web Publishing Service", "auto", "running")
            iis = self.machine.iis
            iis.setdefault("bindings", [{"protocol": "http", "bindingInformation": "*:80:"}])
            iis.setdefault("ssl_bindings", {})
            iis.setdefault("paths", [])
            iis.setdefault("locations", {})

    @property
    def bindings(self) -> list[Binding]:
        return [Binding.parse(entry["protocol"], entry["bindingInformation"]) for entry in self.machine.iis.get("bindings", ())]

    def add_binding(self, binding: Binding) -> None:
        with self.machine.transaction():
            if binding in self.bindings:
                raise ValueError(f"a binding {binding.protocol} {binding.information} exists already")
            self.machine.iis["bindings"].append({"protocol": binding.protocol, "bindingInformation": binding.information})

    def remove_binding(self, binding: Binding) -> None:
        with self.machine.transaction():
            gone = {"protocol": binding.protocol, "bindingInformation": binding.information}
            self.machine.iis["bindings"] = [entry for entry in self.machine.iis["bindings"] if entry != gone]

    def certificate_of(self, port: int) -> str | None:
        """Thumbprint of what http.sys has for all addresses and this port (netsh http show sslcert)."""
        found: str | None = self.machine.iis.get("ssl_bindings", {}).get(f"0.0.0.0!{port}")
        return found

    def bind_certificate(self, port: int, thumbprint: str) -> None:
        with self.machine.transaction():
            self.machine.iis["ssl_bindings"][f"0.0.0.0!{port}"] = thumbprint

    def unbind_certificate(self, port: int) -> None:
        with self.machine.transaction():
            self.machine.iis["ssl_bindings"].pop(f"0.0.0.0!{port}", None)

    def publishes(self, path: str) -> bool:
        """Whether there is an application or virtual directory of this name below the site."""
        return path.casefold() in (name.casefold() for name in self.machine.iis.get("paths", ()))

    def publish_web_enrollment(self) -> None:
        """What Install-AdcsWebEnrollment adds: the application /CertSrv and the virtual directory /CertEnroll."""
        with self.machine.transaction():
            self.begin()
            for path in ("CertSrv", "CertEnroll"):
                if not self.publishes(path):
                    self.machine.iis["paths"].append(path)
            self.machine.iis["locations"].setdefault(CERTSRV, dict(CERTSRV_DEFAULTS))

    def withdraw_web_enrollment(self) -> None:
        with self.machine.transaction():
            self.machine.iis["paths"] = [path for path in self.machine.iis.get("paths", ()) if path not in ("CertSrv", "CertEnroll")]
            for location in (CERTSRV, CERTENROLL):
                self.machine.iis.get("locations", {}).pop(location, None)

    def settings(self, location: str) -> dict[str, Any]:
        """The settings in force at a location."""
        return {**DEFAULTS, **self.machine.iis.get("locations", {}).get(location, {})}

    def change_settings(self, location: str, **settings: Any) -> None:
        """Raises ValueError for what IIS's schema does not know."""
        for name, value in settings.items():
            _check(name, value)
        with self.machine.transaction():
            self.machine.iis.setdefault("locations", {}).setdefault(location, {}).update(settings)


def _check(name: str, value: Any) -> None:
    if name not in DEFAULTS:
        raise ValueError(f"no such setting: {name}")
    if name == "sslFlags" and not all(flag == "None" or flag in SSL_FLAGS for flag in str(value).split(",")):
        raise ValueError(f"sslFlags cannot be {value!r}")
    if name == "tokenChecking" and value not in TOKEN_CHECKING:
        raise ValueError(f"tokenChecking cannot be {value!r}")
    if name == "providers" and not set(value) <= set(PROVIDERS):
        raise ValueError(f"there is no security package for {sorted(set(value) - set(PROVIDERS))}")


def demands_tls(settings: dict[str, Any]) -> bool:
    return "Ssl" in str(settings["sslFlags"]).split(",")


def schemes(settings: dict[str, Any]) -> set[str]:
    """The HTTP authentication schemes that a location offers, in the gate's words."""
    offered = {PROVIDERS[name] for name in settings["providers"]} if settings["windows"] else set()
    return offered | ({"basic"} if settings["basic"] else set())
