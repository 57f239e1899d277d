# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts of an Active Directory domain, by LDAPS: each thread keeps one connection, and takes another server where one is gone."""

from __future__ import annotations

import datetime
import secrets
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ldap3
from ldap3.core.exceptions import LDAPException
from ldap3.utils.conv import escape_filter_chars
from ldap3.utils.dn import parse_dn

from passivekey.protocol.errors import Refused
from passivekey.server.accounts import Account

_ATTRIBUTES = ["objectSid", "userPrincipalName", "sAMAccountName", "userAccountControl", "accountExpires"]
_USERS = "(&(objectCategory=person)(objectClass=user)"
_DISABLED = 0x2
"""userAccountControl ([MS-ADTS] 2.2.16)."""

_EPOCH = datetime.datetime(1601, 1, 1, tzinfo=datetime.timezone.utc)
_MANY = 200
"""SIDs of one search: far below what a filter may hold (MaxReceiveBuffer), and a page (MaxPageSize, 1000) holds the answers."""

_NEVER = (0, 0x7FFFFFFFFFFFFFFF)
_WRONG_PASSWORD = 49
"""invalidCredentials (RFC 4511 4.1.9): wrong, unknown, disabled, locked, expired; the reason is nobody's business here."""


@dataclass(frozen=True)
class Connecting:
    """Where the domain controllers are, and who asks: an account that may read users."""

    servers: Sequence[str]
    base: str
    username: str
    password: str
    ca_file: Path | None = None
    netbios: str = ""
    timeout: int = 5
    remember: float = 2.0
    """How many seconds an answer about an account is good."""


class LdapDirectory:
    def __init__(self, options: Connecting, clock: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._clock = clock
        self._local = threading.local()
        self._realm = _realm(options.base)
        self._took: deque[float] = deque(maxlen=16)
        self._known: dict[str, tuple[float, Account | None]] = {}

    # ---- what the service asks

    def by_sid(self, sid: str) -> Account | None:
        known = self._known.get(sid)
        if known and self._clock() - known[0] < self._options.remember:
            return known[1]
        found = self._accounts(f"{_USERS}(objectSid={escape_filter_chars(sid)}))")
        account = found[0] if found else None
        if len(self._known) > 10_000:
            self._known.clear()
        self._known[sid] = (self._clock(), account)
        return account

    def by_name(self, name: str) -> Account | None:
        """A name without domain is an account of this one. name@REALM, as tickets have it, is the account of that name as well, whatever
        its UPN is ([MS-ADTS] 5.1.1.1.1); where it is the UPN of another too, it is nobody's."""
        found = self._named(name, _ATTRIBUTES)
        return _account(found) if found else None

    def _named(self, name: str, attributes: list[str]) -> Any:
        """The attributes of the one user whom the name stands for, with `dn`."""
        domain, _backslash, account = name.rpartition("\\")
        if not account or not name.isprintable() or (domain and domain.casefold() != self._options.netbios.casefold()):
            return None
        local, at, suffix = account.rpartition("@")
        kinds = {"userPrincipalName" if at else "sAMAccountName": account}
        if local and suffix.casefold() == self._realm:
            kinds["sAMAccountName"] = local
        either = "".join(f"({kind}={escape_filter_chars(value)})" for kind, value in kinds.items())
        found = self._search(self._options.base, f"{_USERS}(|{either}))", attributes, ldap3.SUBTREE)
        return {**found[0]["raw_attributes"], "dn": found[0]["dn"]} if len(found) == 1 else None

    def groups(self, sid: str) -> frozenset[str]:
        """tokenGroups ([MS-ADTS] 3.1.1.4.5.19): all of them, nested and primary."""
        found = self._search(f"<SID={sid}>", "(objectClass=*)", ["tokenGroups"], ldap3.BASE)
        return frozenset(sid_text(value) for entry in found for value in entry["raw_attributes"].get("tokenGroups", ()))

    def password_is(self, name: str, password: str) -> bool:
        """A bind over LDAPS, on a connection of its own, by the DN: names that a bind takes are more than those that `by_name` knows.
        An empty password would be no question at all (RFC 4513 5.1.2)."""
        if not password or "\0" in password or any("\ud800" <= character <= "\udfff" for character in password):
            return False
        begun = time.monotonic()
        found = self._named(name, ["objectSid"])
        dn = found["dn"] if found else f"CN={secrets.token_hex(8)},{self._options.base}"
        for server in self._options.servers:
            try:
                connection = self._connection(server, dn, password)
                done, result, *_rest = connection.bind()
                connection.unbind()
            except LDAPException:
                continue
            if not done and result["result"] != _WRONG_PASSWORD:
                continue
            self._even_out(time.monotonic() - begun, known=found is not None)
            return bool(done)
        raise Refused("unavailable", "no domain controller answers")

    def _even_out(self, took: float, *, known: bool) -> None:
        """A domain controller refuses an account that there is not sooner than one that there is: then as long as one of those took."""
        if known:
            self._took.append(took)
        elif self._took:
            time.sleep(max(0.0, secrets.choice(list(self._took)) - took))

    # ---- what an audit asks

    def by_sids(self, sids: Sequence[str]) -> dict[str, Account]:
        """Those of these accounts that there are, asked for many at a time."""
        found: dict[str, Account] = {}
        for first in range(0, len(sids), _MANY):
            wanted = "".join(f"(objectSid={escape_filter_chars(sid)})" for sid in sids[first : first + _MANY])
            found.update((account.sid, account) for account in self._accounts(f"{_USERS}(|{wanted}))"))
        return found

    def time(self) -> datetime.datetime:
        """A domain controller's clock ([MS-ADTS] 3.1.1.3.2.2), to the second."""
        [entry] = self._search("", "(objectClass=*)", ["currentTime"], ldap3.BASE)
        said = entry["raw_attributes"]["currentTime"][0].decode()
        return datetime.datetime.strptime(said[:14], "%Y%m%d%H%M%S").replace(tzinfo=datetime.timezone.utc)

    def holders(self, service: str) -> list[dict[str, str]]:
        """Accounts that have this service principal name, with what says how tickets for it are made."""
        names = ["sAMAccountName", "userAccountControl", "msDS-KeyVersionNumber", "msDS-SupportedEncryptionTypes", "adminCount"]
        found = self._search(self._options.base, f"(servicePrincipalName={escape_filter_chars(service)})", names, ldap3.SUBTREE)
        return [{name: values[0].decode("utf-8", "replace") for name, values in each["raw_attributes"].items() if values} for each in found]

    # ---- the wire

    def _accounts(self, query: str) -> list[Account]:
        return [_account(entry["raw_attributes"]) for entry in self._search(self._options.base, query, _ATTRIBUTES, ldap3.SUBTREE)]

    def _search(self, base: str, query: str, attributes: list[str], scope: Any) -> list[Any]:
        """On the thread's connection; on a new one, of any server, where that is gone."""
        for server in (None, *self._options.servers):
            try:
                connection = self._bound(server)
                if connection is None:
                    continue
                done, result, response, _request = connection.search(base, query, scope, attributes=attributes)
            except LDAPException:
                self._local.connection = None
                continue
            if done or result["result"] in (0, 32):  # success, or no such object
                return [entry for entry in response or () if entry["type"] == "searchResEntry"]
            self._local.connection = None
        raise Refused("unavailable", "no domain controller answers")

    def _bound(self, server: str | None) -> Any:
        """The thread's connection, or a new one to this server."""
        if server is not None:
            connection = self._connection(server, self._options.username, self._options.password)
            done, *_rest = connection.bind()
            self._local.connection = connection if done else None
        return getattr(self._local, "connection", None)

    def _connection(self, server: str, user: str, password: str) -> Any:
        ca = str(self._options.ca_file) if self._options.ca_file else None
        tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=ca, version=ssl.PROTOCOL_TLS_CLIENT)
        host = ldap3.Server(server, port=636, use_ssl=True, tls=tls, get_info=ldap3.NONE, connect_timeout=self._options.timeout)
        # as octets: text would be prepared (RFC 4013), and passwords of Windows are not
        secret = password.encode()
        return ldap3.Connection(
            host, user, secret, client_strategy=ldap3.SAFE_SYNC, auto_referrals=False, receive_timeout=self._options.timeout
        )


def _realm(base: str) -> str:
    """The domain's DNS name, in lower case, of its DN."""
    return ".".join(value for kind, value, _separator in parse_dn(base.casefold()) if kind == "dc")


def _account(attributes: Any) -> Account:
    def text(name: str) -> str:
        values = attributes.get(name) or [b""]
        return str(values[0].decode("utf-8", "replace"))

    control, expires = int(text("userAccountControl") or 0), int(text("accountExpires") or 0)
    ended = expires not in _NEVER and _EPOCH + datetime.timedelta(microseconds=expires // 10) <= datetime.datetime.now(
        datetime.timezone.utc
    )
    [sid] = attributes["objectSid"]
    login = text("sAMAccountName")
    return Account(sid_text(sid), text("userPrincipalName") or login, not control & _DISABLED and not ended, login)


def sid_text(value: bytes) -> str:
    """A SID as text ([MS-DTYP] 2.4.2.1, 2.4.2.2)."""
    count = value[1]
    parts = struct.unpack(f"<{count}I", value[8 : 8 + 4 * count])
    return "-".join(["S", str(value[0]), str(int.from_bytes(value[2:8], "big")), *map(str, parts)])
