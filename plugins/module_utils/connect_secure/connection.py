# SPDX-License-Identifier: GPL-3.0-or-later
"""How an appliance is reached: the options every Connect Secure module shares, and what the tasks of one run have in common."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.table import GENERATIONS, Table
from ansible_collections.certlogon.core.plugins.module_utils.errors import Problems, UserError

DEFAULT_REALM = "Admin Users"
RUN = "_run"
"""The parameter in which the action puts the `Run`; no option of a task."""
SESSION = "_session"
"""The parameter in which a request of several parts puts the session that they share; no option of a task."""

CONNECTION: dict[str, Any] = {
    "host": {"type": "str"},
    "port": {"type": "int", "default": 443},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "realm": {"type": "str", "default": DEFAULT_REALM},
    "ca_path": {"type": "path"},
    "validate_certs": {"type": "bool", "default": True},
    "client_cert": {"type": "path"},
    "client_key": {"type": "path", "no_log": False},
    "timeout": {"type": "int", "default": 30},
    "generation": {"type": "str", "choices": list(GENERATIONS), "default": "connect_secure"},
    "table": {"type": "dict"},
    "node": {"type": "str"},
    "backup": {"type": "bool", "default": True},
    "backup_dir": {"type": "path", "default": "~/.local/share/certlogon/backups"},
    "backup_keep": {"type": "int", "default": 10},
    "backup_passphrase": {"type": "str", "no_log": True},
}
"""Options of doc fragment `certlogon.core.connect_secure`, as Ansible's argument spec."""

VARIABLES: dict[str, tuple[str, ...]] = {
    "host": ("ansible_host", "inventory_hostname"),
    "port": ("ansible_httpapi_port",),
    "username": ("ansible_httpapi_user", "ansible_user"),
    "password": ("ansible_httpapi_password", "ansible_httpapi_pass", "ansible_password"),
    "ca_path": ("ansible_httpapi_ca_path",),
    "validate_certs": ("ansible_httpapi_validate_certs",),
    "client_cert": ("ansible_httpapi_client_cert",),
    "client_key": ("ansible_httpapi_client_key",),
}
"""Host variables that an option is taken from where the task does not give it: first `connect_secure_<option>`, then these in order."""


@dataclass
class Run:
    """What the tasks of one run share about one appliance (files in `folder`), and what this task did.

    `folder` is the run's private temporary directory, None where there is none: then nothing outlives the task.
    """

    folder: Path | None = None
    requests: int = 0
    logins: int = 0
    backup: str = ""


@dataclass(frozen=True, repr=False)
class ConnectionOptions:
    """The connection options, checked. No secret is in any representation of it."""

    host: str
    port: int
    username: str
    password: str
    realm: str
    ca_path: str | None
    validate_certs: bool
    client_cert: str | None
    client_key: str | None
    timeout: int
    generation: str
    node: str | None
    backup: bool
    backup_dir: str
    backup_keep: int
    backup_passphrase: str | None

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> ConnectionOptions:
        """Raises `UserError` for options that cannot work, before anything is sent anywhere."""
        defaults = {name: line.get("default") for name, line in CONNECTION.items()}
        values = {name: defaults[name] if params.get(name) is None else params[name] for name in CONNECTION if name != "table"}
        # an IPv6 address as addresses of the web write it
        values["host"] = re.sub(r"^\[([0-9A-Fa-f:.]+)\]$", r"\1", values["host"] or "")
        _check(values)
        return cls(**values)

    @property
    def address(self) -> str:
        """Host and port as an address of the web names them."""
        try:
            host = f"[{self.host}]" if ipaddress.ip_address(self.host).version == 6 else self.host
        except ValueError:
            host = self.host
        return host if self.port == 443 else f"{host}:{self.port}"

    @property
    def account(self) -> str:
        return f"{self.username} (realm {self.realm})"


def file_name(host: str, port: int) -> str:
    """What files on the control node that belong to one appliance are called by; one address may lead to several by their ports."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", host if port == 443 else f"{host}_{port}")


def load_table(params: Mapping[str, Any]) -> Table:
    """The table for the task's generation with the inventory's lines. Raises `UserError`."""
    return Table.load(params.get("table"), params.get("generation") or "connect_secure")


def _check(values: Mapping[str, Any]) -> None:
    problems = Problems()
    if not values["host"]:
        problems.add("host: no appliance is named; set ansible_host, or name the appliance itself in the inventory")
    elif any(sign in values["host"] for sign in "/ @"):
        problems.add(f"host: {values['host']!r} is no host name or address; leave out https:// and everything after the name")
    elif not _could_be_host(values["host"]):
        problems.add(f"host: {values['host']!r} is no host name or address; a part between its points is empty, too long or not allowed")
    if not (values["username"] and values["password"]):
        problems.add("username, password: both are needed; set ansible_user and ansible_password for the appliance")
    if not 1 <= values["port"] <= 65535:
        problems.add(f"port: {values['port']} is no TCP port")
    if values["timeout"] < 1:
        problems.add(f"timeout: {values['timeout']} is not a number of seconds from 1 on")
    if values["backup_keep"] < 1:
        problems.add(f"backup_keep: {values['backup_keep']} would keep no backup; set backup to false if none is wanted")
    for name in ("ca_path", "client_cert", "client_key"):
        if values[name] and not Path(values[name]).is_file():
            problems.add(f"{name}: {values[name]} is no file; give a PEM file on the control node")
    problems.raise_any()


def _could_be_host(text: str) -> bool:
    """Whether the resolver and TLS take it; they do not say what is wrong with one."""
    try:
        text.encode("idna")
    except UnicodeError:
        return False
    return text.isprintable()


def check_generation(table: Table) -> None:
    """Refuse products that have no REST interface, before anything is connected."""
    if not table.rest:
        raise UserError(
            f"generation: {table.generation} ({table.title}) has no REST interface; use state rendered, where the module has it, and "
            "import the XML in the console (Maintenance > Import/Export > Import XML)"
        )
