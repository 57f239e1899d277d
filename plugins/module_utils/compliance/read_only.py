# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions that cannot write: every verb is looked up in one list before it goes over the wire, and counted.

Observers get their sessions from here only:

    asked = Asked(observation.asked)
    with read_only.directory(options, warn, asked) as directory: ...      a `Directory` whose every operation but search is refused
    with read_only.sysvol(host, address, options, asked) as sysvol: ...   a `Sysvol` that opens for reading only
    with read_only.appliance(params, warn, asked) as session: ...         an `ApplianceSession` that sends GET, and POST to log in
    session = read_only.powershell(session, asked)                        a `PowerShellSession` that runs the reading scripts

Whatever else goes over a wire (a TLS handshake, an HTTP GET) is announced by `asked.ask("tls", "handshake")` before it is done.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.adcs import powershell as windows
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import client, transport
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.connection import ConnectionOptions as ApplianceOptions
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.connection import Run, load_table
from ansible_collections.certlogon.core.plugins.module_utils.directory import session as ldap
from ansible_collections.certlogon.core.plugins.module_utils.directory.connection import ConnectionOptions
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import sysvol as smb
from ansible_collections.certlogon.core.plugins.module_utils.resource import Warn

ALLOWED: Mapping[str, frozenset[str]] = {
    "dns": frozenset({"query"}),
    "kerberos": frozenset({"AS-REQ"}),
    "ldap": frozenset({"bind", "search"}),
    "smb": frozenset(
        {"negotiate", "session_setup", "echo", "tree_connect", "create", "query_directory", "query_info", "read", "close"}
    ),  # create: with FILE_OPEN and a reading access mask only
    "tls": frozenset({"handshake"}),
    "http": frozenset({"GET"}),
    "https": frozenset({"GET", "POST login"}),
    "winrm": frozenset(
        {"adcs_state", "adcs_crl_state", "web_enrollment_state", "adcs_audit", "adcs_issued", "domain_controller_state", "stat"}
    ),
    "ssh": frozenset({"ocserv_state", "passivekey_state", "domain_controller_state", "stat", "read"}),
}
"""All that an observer may say, by protocol; of WinRM and SSH the names of the scripts, which only read."""

# [MS-SMB2] 2.2.13.1: FILE_READ_DATA, FILE_READ_EA, FILE_EXECUTE, FILE_READ_ATTRIBUTES, READ_CONTROL, SYNCHRONIZE
_READING = 0x1 | 0x8 | 0x20 | 0x80 | 0x20000 | 0x100000
_FILE_OPEN = 1


class NotReadOnly(Exception):
    """An observer tried to do what is not on the list; nothing of it went over the wire. A bug, never the administrator's."""


class Asked:
    """Counts what is asked, as `protocol verb`, in the dictionary given (an observation's `asked`)."""

    def __init__(self, counts: dict[str, int]) -> None:
        self.counts = counts

    def ask(self, protocol: str, verb: str, times: int = 1) -> None:
        """Call before it goes over the wire. Raises `NotReadOnly`."""
        if verb not in ALLOWED.get(protocol, ()):
            raise NotReadOnly(f"{protocol} {verb}: not on the list of what only reads")
        name = f"{protocol} {verb}"
        self.counts[name] = self.counts.get(name, 0) + times


# ---- LDAP


class ReadOnlyDirectory(ldap.Directory):
    """A directory session that searches."""

    def __init__(self, session: ldap.Directory, asked: Asked) -> None:
        asked.ask("ldap", "bind")
        self.__dict__.update(session.__dict__)
        self._asked = asked

    def _do(self, subject: str, operation: str, *arguments: Any, **named: Any) -> list[Any]:
        self._asked.ask("ldap", operation)
        return super()._do(subject, operation, *arguments, **named)

    @contextmanager
    def global_catalogue(self) -> Iterator[ldap.Directory]:
        with super().global_catalogue() as catalogue:
            yield ReadOnlyDirectory(catalogue, self._asked)


@contextmanager
def directory(options: ConnectionOptions, warn: Warn, asked: Asked, *, host: str | None = None) -> Iterator[ReadOnlyDirectory]:
    """As `directory.session.connect`: with the first server that answers, or with `host` only."""
    with ldap.connect(options, warn, host=host) as session:
        yield ReadOnlyDirectory(session, asked)


# ---- SMB


class ReadOnlySysvol(smb.Sysvol):
    """A SYSVOL session that opens what is there, for reading."""

    def __init__(self, session: smb.Sysvol, asked: Asked) -> None:
        for verb in ("negotiate", "session_setup", "echo", "tree_connect"):
            asked.ask("smb", verb)
        self.__dict__.update(session.__dict__)
        self._asked = asked

    def _run(self, requests: Sequence[Any], *, keep_open: bool = False) -> list[Any]:
        for request in requests:
            if request.disposition != _FILE_OPEN or request.access & ~_READING or keep_open:
                raise NotReadOnly(f"smb create {request.path}: access 0x{request.access:X}, disposition {request.disposition}")
            self._asked.ask("smb", "create")
            for step in request.steps:
                self._asked.ask("smb", _command(step))
            self._asked.ask("smb", "close")
        return super()._run(requests)

    def _send(self, message: Any) -> tuple[int, bytes]:
        raise NotReadOnly("smb: a file is held open only to be written")


def _command(step: Any) -> str:
    """`SMB2QueryInfoRequest` -> `query_info`."""
    words = type(step).__name__.removeprefix("SMB2").removesuffix("Request")
    return "".join(f"_{sign.lower()}" if sign.isupper() else sign for sign in words).lstrip("_")


@contextmanager
def sysvol(host: str, address: str, options: ConnectionOptions, asked: Asked) -> Iterator[ReadOnlySysvol]:
    """As `group_policy.sysvol.connect`."""
    with smb.connect(host, address, options) as session:
        yield ReadOnlySysvol(session, asked)


# ---- Connect Secure


class _ReadOnlyTransport(transport.Transport):
    def __init__(self, options: ApplianceOptions, run: Run, asked: Asked, logins: frozenset[str]) -> None:
        super().__init__(options, run)
        self._asked = asked
        self._logins = logins

    def _once(
        self, method: str, path: str, auth: tuple[str, str], body: Any, query: Mapping[str, Any] | None, reading: bool
    ) -> transport.Answer:
        self._asked.ask("https", "POST login" if method == "POST" and path in self._logins else method)
        return super()._once(method, path, auth, body, query, reading)


def appliance(params: Mapping[str, Any], warn: Warn, asked: Asked) -> AbstractContextManager[client.ApplianceSession]:
    """As `connect_secure.client.appliance`."""
    table = load_table(params)
    logins = frozenset(table.operation(name).address() for name in table.login)
    return client.appliance(params, warn, transport=lambda options, run: _ReadOnlyTransport(options, run, asked, logins))


# ---- WinRM


class ReadOnlyPowerShell(windows.PowerShellSession):
    """A session with a Windows host that runs the scripts of the list, and no module else."""

    def __init__(self, session: windows.PowerShellSession, asked: Asked) -> None:
        super().__init__(session._invoke, session.warn)
        self._asked = asked

    def module(self, name: str, arguments: Mapping[str, Any], **named: Any) -> Mapping[str, Any]:
        script = _scripts().get(arguments.get("script", "")) if name == windows.MODULE else None
        self._asked.ask("winrm", script or name)
        return super().module(name, arguments, **named)


def powershell(session: windows.PowerShellSession, asked: Asked) -> ReadOnlyPowerShell:
    return ReadOnlyPowerShell(session, asked)


@cache
def _scripts() -> dict[str, str]:
    """The reading scripts' names, by their text."""
    return {windows.source(name): name for name in ALLOWED["winrm"] if (windows.SCRIPTS / f"{name}.ps1").is_file()}
