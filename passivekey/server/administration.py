# SPDX-License-Identifier: GPL-3.0-or-later
"""What members of the administrators' groups see and do: devices, accounts, locks, the audit log. No HTTP.

Who asks is looked up in the directory at each request, with all groups: a membership that has ended ends the session.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from passivekey.protocol import codes, messages
from passivekey.protocol.errors import Refused
from passivekey.server import audit_tail
from passivekey.server.accounts import Account
from passivekey.server.keyring import KEPT_COOKIE_KEYS
from passivekey.server.service import Service
from passivekey.server.store import Device, Expiring, Holder, Waiting

PAGE = 50
"""Rows."""

SOON = 14 * 86400
"""Seconds before its end at which a certificate is shown: agents renew 30 days before, so theirs was not there for weeks."""

LONGEST_SEARCH = 256
_PURPOSE = "admin"
_GRACE = 60
"""Seconds that a session's end may be short of what its use has made it, so that not each request is a write."""

_DEVICE = re.compile(r"[0-9a-f]{32}")
_SID = re.compile(r"S-1-\d+(-\d+){1,14}")
_A_LITTLE = 2**20

EVENTS: Mapping[str, Collection[str]] = {
    "accepted": ("web", "radius"),
    "refused": (
        *("web-refused", "sign-in-refused", "enroll-refused", "radius-password-refused", "radius-code-refused", "second-factor-refused"),
        *("backend-refused", "backend-failed", "radius-throttled", "second-factor-throttled", "admin-refused"),
    ),
    "devices": ("enroll", "seed", "confirm", "renew", "revoke", "ticket", "tickets-withdrawn"),
    "administration": (
        "admin-sign-in",
        "admin-refused",
        "revoke",
        "unlock",
        "ticket",
        "tickets-withdrawn",
        "rotate",
        "drop",
        "backup",
        "restore",
        "thinned",
        "thinning",
        "retired",
    ),
}
"""The audit log's events by what one looks for."""


@dataclass(frozen=True)
class Administrator:
    account: Account
    source: str

    @property
    def by(self) -> str:
        """As the audit log has it."""
        return f"{self.account.sid} {self.account.name}"


@dataclass(frozen=True)
class Overview:
    accounts: int
    devices: Mapping[str, int]
    expiring: list[Expiring]
    waiting: list[Waiting]
    keys: list[dict[str, Any]]
    authority_ends: int
    accepted: audit_tail.Page
    refused: audit_tail.Page


@dataclass(frozen=True)
class Found:
    """By a name or part of one, by a workstation. `more`: there are others."""

    accounts: list[Holder] = field(default_factory=list)
    devices: list[Device] = field(default_factory=list)
    more: bool = False


@dataclass(frozen=True)
class OneDevice:
    device: Device
    expires: int | None
    elliptic: bool
    accepted: list[tuple[str, str, int]]
    """(channel, site, time) of the last code on each."""

    sessions: list[tuple[str, int, int]]
    account: Account | None


@dataclass(frozen=True)
class OneAccount:
    """`account`: as the directory has it now, if it has it."""

    sid: str
    name: str
    account: Account | None
    devices: list[Device]
    waits: int
    tickets: bool
    """Whether enrolment tickets are asked for."""


@dataclass(frozen=True)
class Devices:
    """A page of devices of one state; where the pages beside it begin."""

    rows: list[Device]
    newer: tuple[int, str] | None
    older: tuple[int, str] | None
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Administration:
    service: Service
    groups: frozenset[str]
    """SIDs; nobody is an administrator where there are none."""

    # ---- who asks

    def begin(self, account: Account, source: str) -> str:
        """What stands for an administrator who signed in. Raises `Refused("not-allowed")` for others."""
        service = self.service
        self._check(account, source)
        token = messages.text(secrets.token_bytes(32))
        with service.store.transaction() as transaction:
            service.audit.write("admin-sign-in", account=account.sid, by=f"{account.sid} {account.name}", source=source)
            transaction.add_ticket(token, _PURPOSE, f"{account.sid} {service.now}", service.now + service.rules.session_idle)
        return token

    def sign_in(self, username: str, password: str, source: str) -> str:
        return self.begin(self.service.authenticate(username, password, source, "sign-in"), source)

    def administrator(self, token: str, source: str) -> Administrator:
        """Whom the token stands for. Raises `Refused("unauthenticated")`, or `Refused("not-allowed")` for who is none any more."""
        service = self.service
        with service.store.transaction(reading=True) as transaction:
            held = transaction.ticket(token, _PURPOSE, service.now) if token else None
        sid, _space, begun = (held[0] if held else "").partition(" ")
        account = service.directory.by_sid(sid) if sid else None
        if held is None or account is None or service.now - int(begun) > service.rules.session_life:
            raise Refused("unauthenticated", "not signed in")
        try:
            self._check(account, source)
        except Refused:
            self.end(token)
            raise
        ends = min(service.now + service.rules.session_idle, int(begun) + service.rules.session_life)
        if ends - held[1] >= min(_GRACE, service.rules.session_idle // 4):
            with service.store.transaction() as transaction:
                transaction.prolong_ticket(token, _PURPOSE, ends)
        return Administrator(account, source)

    def end(self, token: str) -> None:
        with self.service.store.transaction() as transaction:
            transaction.spend_ticket(token, _PURPOSE, self.service.now)

    def _check(self, account: Account, source: str) -> None:
        if not account.usable or not self.groups & self.service.directory.groups(account.sid):
            self.service.audit.write("admin-refused", account=account.sid, source=source)
            raise Refused("not-allowed", f"not in the administrators' groups: {account.name}")

    # ---- what they see

    def overview(self) -> Overview:
        service = self.service
        with service.store.transaction(reading=True) as transaction:
            counts, number = transaction.count(), transaction.account_count()
            expiring = transaction.expiring(service.now + SOON, limit=PAGE + 1)
            waiting = transaction.waiting(service.now, PAGE)
        recent = {name: self._audit(audit_tail.Wanted(EVENTS[name]), None, 8, _A_LITTLE) for name in ("accepted", "refused")}
        ends = int(service.keyring.ca[0].not_valid_after_utc.timestamp())
        return Overview(number, counts, expiring, waiting, self._keys(), ends, recent["accepted"], recent["refused"])

    def _keys(self) -> list[dict[str, Any]]:
        """The newest first, each with its `use`."""
        before: dict[str, int] = {}
        found = []
        for key in reversed(self.service.keyring.overview()):
            place = before[key["purpose"]] = before.get(key["purpose"], -1) + 1
            older = {
                "cookie": "still read" if place < KEPT_COOKIE_KEYS else "out of use",
                "storage": "opens older seeds",
                "policy": "signs for its successor",
                "ca": "signs its CRL",
            }
            found.append({**key, "use": "in use" if place == 0 else older.get(key["purpose"], "out of use")})
        return sorted(found, key=lambda key: str(key["purpose"]))

    def search(self, text: str) -> Found:
        """By account (UPN or part of it, any name that the directory knows, SID), device, or workstation."""
        text = text.strip()
        if not text or len(text) > LONGEST_SEARCH or not text.isprintable():
            return Found()
        with self.service.store.transaction(reading=True) as transaction:
            if _DEVICE.fullmatch(text.lower()):
                device = transaction.device(text.lower())
                return Found(devices=[device] if device else [])
            named = [] if _SID.fullmatch(text) else transaction.accounts_named(text, PAGE + 1)
            devices = transaction.devices_on(text, PAGE + 1)
        exact = self._account(text)
        if exact is not None:
            with self.service.store.transaction(reading=True) as transaction:
                holder = Holder(exact[0], exact[1], transaction.count(exact[0]).get("active", 0))
            named = [holder, *(found for found in named if found.sid != holder.sid)]
        return Found(named[:PAGE], devices[:PAGE], len(named) > PAGE or len(devices) > PAGE)

    def _account(self, text: str) -> tuple[str, str] | None:
        """SID and name of what is named exactly, in the directory, or among those who have had a device."""
        directory = self.service.directory
        account = directory.by_sid(text) if _SID.fullmatch(text) else directory.by_name(text)
        if account is not None:
            return account.sid, account.name
        name = self.names({text}).get(text)
        return (text, name) if name else None

    def names(self, sids: Collection[str]) -> dict[str, str]:
        with self.service.store.transaction(reading=True) as transaction:
            return transaction.names(sids)

    def devices(self, state: str, *, older: tuple[int, str] | None = None, newer: tuple[int, str] | None = None) -> Devices:
        with self.service.store.transaction(reading=True) as transaction:
            rows = transaction.devices_page(state, older=older, newer=newer, limit=PAGE + 1)
            counts = transaction.count()
        more = len(rows) > PAGE
        rows = (rows[1:] if newer else rows[:PAGE]) if more else rows
        first, last = ((row.created, row.id) for row in (rows[0], rows[-1])) if rows else (None, None)
        return Devices(rows, first if older or (newer and more) else None, last if newer or more else None, counts)

    def expiring(self, after: tuple[int, str] = (0, "")) -> list[Expiring]:
        """One more than a page, where there are more."""
        with self.service.store.transaction(reading=True) as transaction:
            return transaction.expiring(self.service.now + SOON, after=after, limit=PAGE + 1)

    def device(self, number: str) -> OneDevice:
        service = self.service
        with service.store.transaction(reading=True) as transaction:
            found = transaction.device(number) if _DEVICE.fullmatch(number) else None
            if found is None:
                raise Refused("no-such-device", "there is no such device")
            certificate = transaction.certificate(number)
            accepted = [(channel, site, counter * codes.STEP) for channel, site, counter in transaction.accepted_of(number)]
            sessions = transaction.sessions_of(number, service.now, service.rules.session_idle, service.rules.session_life)
        account = service.directory.by_sid(found.sid)
        return OneDevice(found, certificate[1] if certificate else None, found.agreement_key is not None, accepted, sessions, account)

    def account(self, sid: str) -> OneAccount:
        if not _SID.fullmatch(sid):
            raise Refused("no-such-device", "there is no such account")
        account = self.service.directory.by_sid(sid)
        with self.service.store.transaction(reading=True) as transaction:
            devices = transaction.devices_of(sid)
            waits = transaction.waits_until(f"account:{sid}")
            name = account.name if account else transaction.names({sid}).get(sid)
        if name is None:
            raise Refused("no-such-device", "there is no such account")
        tickets = "ticket" in self.service.rules.second_factor
        return OneAccount(sid, name, account, devices[::-1], waits if waits > self.service.now else 0, tickets)

    def audit(self, kind: str, about: str, before: audit_tail.Place | None) -> audit_tail.Page:
        """Newest first: all, or of one of EVENTS; about everybody, or about one account, device, source or site."""
        about = about.strip()
        if len(about) > LONGEST_SEARCH or not about.isprintable():
            raise Refused("malformed", "this is no account, device, address or site")
        values = {about} if about else set()
        exact = self._account(about) if about else None
        if exact is not None:
            values.add(exact[0])
        return self._audit(audit_tail.Wanted(EVENTS.get(kind, ()), values), before, PAGE, audit_tail.MOST)

    def _audit(self, wanted: audit_tail.Wanted, before: audit_tail.Place | None, limit: int, most: int) -> audit_tail.Page:
        return audit_tail.newest(self.service.audit.files(), wanted, before=before, limit=limit, most=most)

    # ---- what they do

    def revoke(self, administrator: Administrator, device: str, reason: str) -> bool:
        text = "".join(filter(str.isprintable, reason)).strip()[:200] or "revoked by an administrator"
        return self.service.revoke(device, text, by=administrator.by, source=administrator.source)

    def unlock(self, administrator: Administrator, who: str) -> None:
        """Forget the failures of `account:<SID>` or `source:<address>`."""
        kind, _colon, value = who.partition(":")
        if kind not in ("account", "source") or not value or len(who) > 300 or not who.isprintable():
            raise Refused("malformed", "neither an account nor a source")
        with self.service.store.transaction() as transaction:
            about = {"account": value} if kind == "account" else {"unlocked": value}
            self.service.audit.write("unlock", **about, by=administrator.by, source=administrator.source)
            transaction.forgive(who)

    def issue_ticket(self, administrator: Administrator, sid: str, hours: int) -> str:
        return self.service.issue_ticket(self._present(sid), hours, by=administrator.by, source=administrator.source)

    def withdraw_tickets(self, administrator: Administrator, sid: str) -> int:
        return self.service.withdraw_tickets(self._present(sid), by=administrator.by, source=administrator.source)

    def _present(self, sid: str) -> Account:
        account = self.service.directory.by_sid(sid) if _SID.fullmatch(sid) else None
        if account is None:
            raise Refused("no-such-device", "the directory has no such account")
        return account
