# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scripts web_enrollment_*.ps1 do on Windows: IIS's configuration, the computer's certificates, Get-Certificate.

`faults["web_enrollment_dies"]` is the name of a script that does its work and then fails, as when the connection is lost.
`faults["get_certificate"]` is an HRESULT and a text with which Get-Certificate ends.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lab.windows_ca.certsrv.errors import described
from lab.windows_ca.iis_config import CERTENROLL, CERTSRV, SITE, Binding, Configuration
from lab.windows_ca.machine import Machine
from lab.windows_ca.scripts import PowerShellError, handler

BEGUN = r"HKLM\SOFTWARE\certlogon\WebEnrollment"
CONFIGURATION = r"HKLM\SYSTEM\CurrentControlSet\Services\CertSvc\Configuration"
FEATURES = ("ADCS-Web-Enrollment", "Web-Windows-Auth", "Web-Basic-Auth", "Web-Scripting-Tools")
COM = "System.Runtime.InteropServices.COMException"
RPC_UNAVAILABLE = 0x800706BA


def died(machine: Machine, script: str) -> None:
    if machine.faults.get("web_enrollment_dies") == script:
        raise PowerShellError("The I/O operation has been aborted because of either a thread exit or an application request.")


def com_error(hresult: int, text: str, where: str) -> PowerShellError:
    message = f"{where}: {described(hresult, text)}"
    return PowerShellError(message, exception_type=COM, hresult=hresult - (1 << 32), category="NotSpecified")


@handler("web_enrollment_state")
def state(machine: Machine, authority: Any, parameters: dict[str, Any], caller: Any) -> dict[str, Any]:
    of_site(parameters)
    configuration = Configuration(machine)
    service = machine.services.get("W3SVC") if configuration.installed else None
    active = machine.registry.get(CONFIGURATION, "Active")
    own = machine.registry.get(rf"{CONFIGURATION}\{active}", "CACertHash") or [] if active else []
    hashes_of_ca = {one.replace(" ", "").upper() for one in own}
    return {
        "fqdn": machine.fqdn,
        "now": machine.now().strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z",
        "features": {name: bool(machine.features.get(name)) for name in FEATURES},
        "authority": active,
        "certificates": [
            {
                "der": base64.b64encode(entry.der).decode(),
                "private_key": entry.key_pem is not None,
                "friendly_name": entry.friendly_name,
                "authority": thumbprint in hashes_of_ca,
            }
            for thumbprint, entry in machine.store.items()
        ],
        "pending": [{"thumbprint": one, "friendly_name": entry["friendly_name"]} for one, entry in requests(machine).items()],
        "begun": machine.registry.exists(BEGUN),
        "service": service.state.capitalize() if service else None,
        "iis": iis_state(machine, configuration) if service and machine.features.get("Web-Scripting-Tools") else None,
    }


def iis_state(machine: Machine, configuration: Configuration) -> dict[str, Any]:
    certsrv, certenroll = configuration.settings(CERTSRV), configuration.settings(CERTENROLL)
    return {
        "bindings": [
            {
                "protocol": binding.protocol,
                "information": binding.information,
                "thumbprint": (configuration.certificate_of(binding.port) or "") if binding.protocol == "https" else "",
            }
            for binding in configuration.bindings
        ],
        "certsrv": {
            "ssl_flags": certsrv["sslFlags"],
            "anonymous": certsrv["anonymous"],
            "basic": certsrv["basic"] and bool(machine.features.get("Web-Basic-Auth")),
            "windows": certsrv["windows"],
            "token_checking": certsrv["tokenChecking"],
            "providers": certsrv["providers"],
        }
        if configuration.publishes("CertSrv")
        else None,
        "certenroll": {"ssl_flags": certenroll["sslFlags"], "double_escaping": certenroll["allowDoubleEscaping"]}
        if configuration.publishes("CertEnroll")
        else None,
    }


@handler("web_enrollment_install")
def install(machine: Machine, authority: Any, parameters: dict[str, Any], caller: Any) -> dict[str, Any]:
    configuration = Configuration(machine)
    machine.registry.create(BEGUN)
    if not machine.features.get("ADCS-Web-Enrollment"):
        raise PowerShellError("The term 'Install-AdcsWebEnrollment' is not recognized: the role service's binaries are not installed.")
    if not authority.configured:
        raise PowerShellError(
            "Certification Authority Web Enrollment Setup: there is no certification authority on this computer; CAConfig is needed."
        )
    if configuration.publishes("CertSrv"):
        raise PowerShellError("The Certification Authority Web Enrollment role service is already installed.")
    configuration.publish_web_enrollment()
    died(machine, "web_enrollment_install")
    return {"error_id": 0, "error": ""}


@handler("web_enrollment_uninstall")
def uninstall(machine: Machine, authority: Any, parameters: dict[str, Any], caller: Any) -> dict[str, Any]:
    configuration = Configuration(machine)
    if not configuration.publishes("CertSrv"):
        raise PowerShellError("The Certification Authority Web Enrollment role service is not installed.")
    configuration.withdraw_web_enrollment()
    machine.registry.delete(BEGUN)
    died(machine, "web_enrollment_uninstall")
    return {"error_id": 0, "error": ""}


@handler("web_enrollment_binding")
def binding(machine: Machine, authority: Any, parameters: dict[str, Any], caller: Any) -> dict[str, Any]:
    site = of_site(parameters)
    configuration = web_administration(machine)
    thumbprint = (parameters.get("Thumbprint") or "").upper()
    if thumbprint and thumbprint not in machine.store:
        raise PowerShellError(
            rf"Cannot find path 'Cert:\LocalMachine\My\{thumbprint}' because it does not exist.", category="ObjectNotFound"
        )
    if thumbprint and machine.store[thumbprint].key_pem is None:
        raise PowerShellError(
            "A specified logon session does not exist. It may already have been terminated. (Exception from HRESULT: 0x80070520)"
        )
    wanted = ([("http", 80)] if parameters.get("Http") else []) + ([("https", 443)] if thumbprint else [])
    for protocol, port in wanted:
        if not any(one.protocol == protocol and one.port == port for one in configuration.bindings):
            configuration.add_binding(Binding(protocol, "*", port, ""))
    if thumbprint:
        configuration.bind_certificate(443, thumbprint)
    died(machine, "web_enrollment_binding")
    assert site == SITE
    return {"thumbprint": thumbprint}


@handler("web_enrollment_settings")
def settings(machine: Machine, authority: Any, parameters: dict[str, Any], caller: Any) -> dict[str, Any]:
    of_site(parameters)
    configuration = web_administration(machine)
    if not configuration.publishes("CertSrv"):
        raise PowerShellError(f"The configuration path '{CERTSRV}' does not exist.")
    if parameters.get("Basic") and not machine.features.get("Web-Basic-Auth"):
        raise PowerShellError("The configuration section 'basicAuthentication' cannot be used: its module is not installed.")
    names = {"SslFlags": "sslFlags", "TokenChecking": "tokenChecking", "Windows": "windows", "Basic": "basic", "Anonymous": "anonymous"}
    names["Providers"] = "providers"
    configuration.change_settings(CERTSRV, **{name: parameters[given] for given, name in names.items() if given in parameters})
    others = {"CertEnrollSslFlags": "sslFlags", "DoubleEscaping": "allowDoubleEscaping"}
    configuration.change_settings(CERTENROLL, **{name: parameters[given] for given, name in others.items() if given in parameters})
    machine.registry.delete(BEGUN)
    died(machine, "web_enrollment_settings")
    return {"set": [name for name in (*names, *others) if name in parameters]}


# ---- Get-Certificate


@handler("web_enrollment_certificate")
def certificate(machine: Machine, authority: Any, parameters: dict[str, Any], caller: Any) -> dict[str, Any]:
    """For Cert:\\LocalMachine, Get-Certificate asks in the computer's name, whoever calls it."""
    where = "CertEnroll::CX509Enrollment::Enroll"
    fault = machine.faults.get("get_certificate")
    if fault:
        raise com_error(int(fault["hresult"], 16), fault["text"], where)
    service = machine.services.get("CertSvc")
    if service is None or service.state != "running":
        raise com_error(RPC_UNAVAILABLE, "The RPC server is unavailable.", where)
    pending = parameters.get("Pending")
    try:
        computer = authority.identify(f"{machine.netbios}\\{machine.hostname.upper()}$")
        if pending:
            entry = requests(machine)[pending]
            found = authority.retrieve(entry["id"], computer)
        else:
            entry, request = new_request(parameters)
            found = authority.submit(request, {"CertificateTemplate": parameters["Template"]}, computer)
            entry["id"] = found.request_id
            pending = hashlib.sha1(request).hexdigest().upper()
    except KeyError:
        raise PowerShellError(rf"Cannot find path 'Cert:\LocalMachine\REQUEST\{pending}' because it does not exist.") from None
    except Exception as error:
        if hasattr(error, "hresult"):
            raise com_error(error.hresult & 0xFFFFFFFF, getattr(error, "text", str(error)), where) from None
        raise
    return outcome(machine, found, entry, pending, parameters.get("FriendlyName") or "")


def outcome(machine: Machine, found: Any, entry: dict[str, Any], pending: str, friendly_name: str) -> dict[str, Any]:
    if found.status == "pending":
        with machine.transaction():
            machine.iis.setdefault("requests", {})[pending] = {**entry, "friendly_name": friendly_name}
        return {"status": "Pending", "der": None}
    with machine.transaction():
        requests(machine).pop(pending, None)
    if found.status != "issued" or found.certificate is None:
        raise com_error(found.hresult & 0xFFFFFFFF, found.message, "CertEnroll::CX509Enrollment::Enroll")
    machine.add_to_store(found.certificate, entry["key_pem"], friendly_name)
    died(machine, "web_enrollment_certificate")
    return {"status": "Issued", "der": base64.b64encode(found.certificate).decode()}


def new_request(parameters: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """A key of the computer and its PKCS#10 request."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    names = parameters.get("DnsName") or []
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])] if names else [])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
    request = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    return {"key_pem": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()}, request


def requests(machine: Machine) -> dict[str, Any]:
    """The store LocalMachine\\REQUEST: requests that wait for their certificates, with their keys."""
    found: dict[str, Any] = machine.iis.get("requests", {})
    return found


def of_site(parameters: dict[str, Any]) -> str:
    site = parameters.get("Site", SITE)
    if site != SITE:
        raise PowerShellError(f"Cannot find path 'IIS:\\Sites\\{site}' because it does not exist.")
    return str(site)


def web_administration(machine: Machine) -> Configuration:
    if not machine.features.get("Web-Scripting-Tools"):
        raise PowerShellError(
            "The specified module 'WebAdministration' was not loaded because no valid module file was found in any module directory."
        )
    return Configuration(machine)
