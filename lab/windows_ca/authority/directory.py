# SPDX-License-Identifier: GPL-3.0-or-later
# mypy: ignore-errors
# The modules ldb and samba live on the lab's hosts only.
"""The domain's directory as the authority sees it: LDAP by Samba's client library, signed and sealed, as the computer or a person."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lab.windows_ca.authority.errors import DirectoryError
from lab.windows_ca.machine import NoCase

Values = Sequence[bytes]
Change = tuple[str, str, Values]
"""("add" | "replace" | "delete", attribute, values)"""


@dataclass
class Entry:
    dn: str
    attributes: NoCase
    """attribute -> list of bytes"""

    def all(self, name: str) -> list[bytes]:
        return list(self.attributes.get(name, []))

    def first(self, name: str) -> bytes | None:
        values = self.attributes.get(name)
        return values[0] if values else None

    def text(self, name: str) -> str | None:
        value = self.first(name)
        return None if value is None else value.decode()

    def texts(self, name: str) -> list[str]:
        return [value.decode() for value in self.attributes.get(name, [])]

    def integer(self, name: str) -> int:
        """Unsigned; 0 where it is absent."""
        return int(self.text(name) or 0) & 0xFFFFFFFF


class Directory(Protocol):
    """Raises `DirectoryError`; a base that is not there makes an empty answer."""

    base_dn: str
    config_dn: str

    @property
    def domain_sid(self) -> str: ...

    def search(self, base: str, scope: str, filter: str, attributes: Iterable[str]) -> list[Entry]:
        """`scope`: base, one or sub. Descriptors come with owner, group and DACL."""

    def add(self, dn: str, attributes: Mapping[str, Values]) -> None: ...

    def modify(self, dn: str, changes: Sequence[Change]) -> None:
        """One change an attribute. Adding a value that is there, or deleting one that is not, is no error (permissive modify)."""

    def delete(self, dn: str) -> None: ...

    def as_user(self, user: str, password: str) -> Directory:
        """The same directory with another account's rights."""

    def refresh(self) -> None:
        """Sign in anew: what groups the account is in is decided then."""


def entry(message) -> Entry:
    names = [name for name in message.keys() if name != "dn"]  # noqa: SIM118 (no mapping: it iterates over nothing else)
    return Entry(str(message.dn), NoCase({name: [bytes(value) for value in message[name]] for name in names}))


def escape(text: str) -> str:
    """A value for a search filter (RFC 4515)."""
    return "".join(f"\\{ord(c):02x}" if c in "\\*()\0" else c for c in text)


class SambaDirectory:
    """Connects when it is first used, and again when the connection is gone.

    `account`: (name, password), or None for the computer, whose ticket comes from `keytab` (principal `machine_account`).
    """

    def __init__(
        self,
        server: str,
        realm: str,
        netbios: str,
        *,
        keytab: Path | None = None,
        machine_account: str = "",
        folder: Path = Path("/tmp"),
        account: tuple[str, str] | None = None,
    ) -> None:
        self.server, self.realm, self.netbios = server, realm, netbios
        self.keytab, self.machine_account, self.folder, self.account = keytab, machine_account, folder, account
        self.base_dn = ",".join(f"DC={part}" for part in realm.lower().split("."))
        self.config_dn = f"CN=Configuration,{self.base_dn}"
        self._lock = threading.RLock()
        self._connection = None
        self._domain_sid = ""

    def as_user(self, user: str, password: str) -> SambaDirectory:
        return SambaDirectory(self.server, self.realm, self.netbios, folder=self.folder, account=(user, password))

    def refresh(self) -> None:
        with self._lock:
            self._connection = None

    @property
    def domain_sid(self) -> str:
        if not self._domain_sid:
            from lab.windows_ca.authority.descriptors import parse_sid

            self._domain_sid = parse_sid(self.search(self.base_dn, "base", "(objectClass=*)", ["objectSid"])[0].first("objectSid"))[0]
        return self._domain_sid

    def search(self, base: str, scope: str, filter: str, attributes: Iterable[str]) -> list[Entry]:
        import ldb

        scopes = {"base": ldb.SCOPE_BASE, "one": ldb.SCOPE_ONELEVEL, "sub": ldb.SCOPE_SUBTREE}
        wanted = list(attributes)
        controls = ["sd_flags:0:7"] if "ntsecuritydescriptor" in [name.lower() for name in wanted] else []
        try:
            found = self._do(lambda c: c.search(base=base, scope=scopes[scope], expression=filter, attrs=wanted, controls=controls))
        except DirectoryError as error:
            if error.code == DirectoryError.NO_SUCH_OBJECT:
                return []
            raise
        return [entry(message) for message in found]

    def add(self, dn: str, attributes: Mapping[str, Values]) -> None:
        self._do(lambda c: c.add(self._message(c, dn, [("add", name, values) for name, values in attributes.items()])))

    def modify(self, dn: str, changes: Sequence[Change]) -> None:
        controls = ["permissive_modify:0"]
        if any(name.lower() == "ntsecuritydescriptor" for _, name, _ in changes):
            controls.append("sd_flags:0:4")
        self._do(lambda c: c.modify(self._message(c, dn, changes), controls=controls))

    def delete(self, dn: str) -> None:
        self._do(lambda c: c.delete(dn))

    @staticmethod
    def _message(connection, dn: str, changes: Sequence[Change]):
        import ldb

        flags = {"add": ldb.FLAG_MOD_ADD, "replace": ldb.FLAG_MOD_REPLACE, "delete": ldb.FLAG_MOD_DELETE}
        message = ldb.Message(ldb.Dn(connection, dn))
        for operation, name, values in changes:
            message[name] = ldb.MessageElement([bytes(value) for value in values], flags[operation], name)
        return message

    def _do(self, operation):
        """Once more on a new connection if the old one has died meanwhile."""
        import ldb

        with self._lock:
            for again in (True, False):
                fresh = self._connection is None
                connection = self._connect()
                try:
                    return operation(connection)
                except ldb.LdbError as error:
                    code, text = error.args
                    gone = code in (ldb.ERR_OPERATIONS_ERROR, ldb.ERR_UNAVAILABLE, ldb.ERR_TIME_LIMIT_EXCEEDED)
                    if gone:
                        self._connection = None
                        code = DirectoryError.UNAVAILABLE
                    if not gone or fresh or not again:
                        raise DirectoryError(code, text) from error
            raise AssertionError

    def _connect(self):
        if self._connection is None:
            import ldb
            import samba
            from samba.param import LoadParm

            lp = LoadParm()
            lp.set("realm", self.realm)
            lp.set("workgroup", self.netbios)
            lp.set("client ldap sasl wrapping", "seal")
            try:
                self._connection = samba.Ldb(url=f"ldap://{self.server}", lp=lp, credentials=self._credentials(lp))
            except ldb.LdbError as error:
                _code, text = error.args
                wrong = "INVALID_CREDENTIALS" in text or "LOGON_FAILURE" in text
                raise DirectoryError(DirectoryError.INVALID_CREDENTIALS if wrong else DirectoryError.UNAVAILABLE, text) from error
        return self._connection

    def _credentials(self, lp):
        from samba import credentials

        found = credentials.Credentials()
        found.guess(lp)
        if self.account is not None:
            user, password = self.account
            domain, _, name = user.rpartition("\\")
            found.set_domain(domain or self.netbios)
            if "@" in name:
                found.set_principal(name)
            else:
                found.set_username(name)
            found.set_realm(self.realm)
            found.set_password(password)
            found.set_kerberos_state(credentials.DONT_USE_KERBEROS)
            return found
        cache = self.folder / "computer.ccache"
        done = subprocess.run(
            ["kinit", "-k", "-t", str(self.keytab), "-c", f"FILE:{cache}", f"{self.machine_account}@{self.realm}"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
        if done.returncode:
            raise DirectoryError(DirectoryError.UNAVAILABLE, f"no ticket for {self.machine_account}: {done.stderr.strip()}")
        found.set_named_ccache(f"FILE:{cache}", credentials.SPECIFIED, lp)
        found.set_kerberos_state(credentials.MUST_USE_KERBEROS)
        return found
