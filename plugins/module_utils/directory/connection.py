# SPDX-License-Identifier: GPL-3.0-or-later
"""How a directory server is reached: the options every directory module shares, and what they mean together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.basic import env_fallback

from ansible_collections.certlogon.core.plugins.module_utils.errors import Problems

CONNECTION: dict[str, Any] = {
    "server": {"type": "list", "elements": "str", "fallback": (env_fallback, ["CERTLOGON_SERVER"])},
    "domain": {"type": "str", "fallback": (env_fallback, ["CERTLOGON_DOMAIN"])},
    "port": {"type": "int", "fallback": (env_fallback, ["CERTLOGON_PORT"])},
    "username": {"type": "str", "fallback": (env_fallback, ["CERTLOGON_USERNAME"])},
    "password": {"type": "str", "no_log": True, "fallback": (env_fallback, ["CERTLOGON_PASSWORD"])},
    "auth": {
        "type": "str",
        "choices": ["simple", "ntlm", "kerberos", "negotiate"],
        "default": "negotiate",
        "fallback": (env_fallback, ["CERTLOGON_AUTH"]),
    },
    "tls": {"type": "str", "choices": ["ldaps", "starttls", "none"], "fallback": (env_fallback, ["CERTLOGON_TLS"])},
    "ca_path": {"type": "path", "fallback": (env_fallback, ["CERTLOGON_CA_PATH"])},
    "validate_certs": {"type": "bool", "default": True, "fallback": (env_fallback, ["CERTLOGON_VALIDATE_CERTS"])},
    "timeout": {"type": "int", "default": 10, "fallback": (env_fallback, ["CERTLOGON_TIMEOUT"])},
}
"""Options of doc fragment `certlogon.core.directory`, as Ansible's argument spec."""


@dataclass(frozen=True, repr=False)
class ConnectionOptions:
    """The connection options, checked; `tls` is always set. The password is in no representation of it."""

    server: tuple[str, ...]
    domain: str | None
    port: int | None
    username: str | None
    password: str | None
    auth: str
    tls: str
    ca_path: str | None
    validate_certs: bool
    timeout: int

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> ConnectionOptions:
        """Raises `UserError` for options that cannot work together, before anything is sent anywhere."""
        values: dict[str, Any] = {name: params.get(name) for name in CONNECTION}
        values["server"] = tuple(name.strip() for name in values["server"] or () if name.strip())
        values["domain"] = values["domain"] or _realm(values["username"])
        values["tls"] = values["tls"] or ("ldaps" if values["auth"] == "simple" else "none")
        _check(values)
        return cls(**values)

    @property
    def default_port(self) -> int:
        return self.port or (636 if self.tls == "ldaps" else 389)


def _realm(username: str | None) -> str | None:
    """The domain in `user@domain`."""
    return username.rpartition("@")[2] or None if username and "@" in username else None


def _check(values: Mapping[str, Any]) -> None:
    problems = Problems()
    if not values["server"] and not values["domain"]:
        problems.add(
            "server: neither server nor domain is set, so no domain controller can be found; set one of them (or CERTLOGON_SERVER)"
        )
    if values["auth"] == "simple" and values["tls"] == "none":
        problems.add("auth: simple would send the password in clear with tls=none; use tls=ldaps or tls=starttls, or auth=negotiate")
    if values["auth"] != "kerberos" and not (values["username"] and values["password"]):
        problems.add(f"username, password: auth={values['auth']} needs both; only auth=kerberos can use a ticket that is already there")
    if values["timeout"] < 1:
        problems.add(f"timeout: {values['timeout']} is not a number of seconds from 1 on")
    if values["port"] is not None and not 0 < values["port"] < 65536:
        problems.add(f"port: {values['port']} is not a TCP port (1 to 65535)")
    problems.raise_any()
