# SPDX-License-Identifier: GPL-3.0-or-later
"""What an appliance does about revoked certificates: CRLs fetched now, and sessions ended."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import crl as crls
from ansible_collections.certlogon.core.plugins.module_utils.certificates.crl import Crl
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import client
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.client import ApplianceSession
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.connection import CONNECTION
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.information import users
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, Problems, UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Change, Plan, Resource, Warn, Words

BY_CRL = ("crl", "ocsp_crl")
LATER = "known after apply"


@dataclass(frozen=True)
class Known:
    """The appliance. `authorities`: those that check CRLs, and the CRL that each uses, None where the appliance does not tell."""

    authorities: Mapping[str, Crl | None]
    sessions: Sequence[Mapping[str, Any]]

    def missing(self, serials: Sequence[int]) -> list[int]:
        """Those that are on none of the CRLs in use."""
        known = [crl for crl in self.authorities.values() if crl is not None]
        return [serial for serial in serials if not any(crls.entry(crl, serial) for crl in known)]

    @property
    def silent(self) -> list[str]:
        """The CAs of which the appliance does not tell."""
        return [name for name, crl in self.authorities.items() if crl is None]


class Revocation(Resource[ApplianceSession, Known]):
    """Not a list of objects: what there is, is what the appliance has."""

    states = ("refreshed", "gathered")
    connection = CONNECTION
    extra = {
        "trusted_client_cas": {"type": "list", "elements": "str"},
        "serials": {"type": "list", "elements": "str", "default": []},
        "users": {"type": "list", "elements": "str", "default": []},
        "state": {"type": "str", "choices": list(states), "default": "refreshed"},
    }

    @classmethod
    def argument_spec(cls) -> dict[str, Any]:
        return {**cls.connection, **cls.extra}

    def check(self, params: Mapping[str, Any]) -> None:
        problems = Problems()
        for serial in params["serials"]:
            if number(serial) is None:
                problems.add(f"serials: {serial!r} is no serial number; write it in hexadecimal, with or without colons")
        problems.raise_any()

    def open(self, params: Mapping[str, Any], warn: Warn) -> AbstractContextManager[ApplianceSession]:
        # Nothing of the configuration is written, and somebody waits for a card to be refused.
        return client.appliance({**params, "backup": False}, warn)

    def read(self, session: ApplianceSession, params: Mapping[str, Any]) -> Known:
        shape = session.table.resource("trusted_client_ca")
        found = {shape.name_of(wire): shape.decode(wire) for wire in session.list("trusted_client_ca")}
        wanted = params["trusted_client_cas"] or [name for name, words in found.items() if words["status_checking"] in BY_CRL]
        unknown = [name for name in wanted if name not in found]
        if unknown:
            raise UserError(
                f"trusted_client_cas: the appliance has no trusted client CA {', '.join(map(repr, unknown))}; "
                f"it has {', '.join(sorted(found)) or 'none'}"
            )
        return Known({name: crl_in_use(session, name) for name in wanted}, users(session))

    def objects(self, current: Known) -> dict[str, Words]:
        found = {crl_name(name): _crl_words(crl) for name, crl in current.authorities.items()}
        return found | {session_name(record): _session_words(record) for record in current.sessions}

    def plan(self, params: Mapping[str, Any], current: Known) -> Plan:
        serials = _numbers(params["serials"])
        changes = []
        if not serials or current.missing(serials):
            for name, crl in current.authorities.items():
                words = _crl_words(crl)
                changes.append(Change(crl_name(name), words, {**words, "number": LATER}, details=Fetch(name)))
        if changes:
            changes[-1] = Change(changes[-1].name, changes[-1].before, changes[-1].after, Fetch(changes[-1].details.name, tuple(serials)))
        names = {user.casefold() for user in params["users"]}
        for record in current.sessions:
            if str(record.get("active-user-name", "")).casefold() in names:
                changes.append(Change(session_name(record), _session_words(record), None, details=record))
        return Plan(changes, list(_warnings(current)))

    def apply(self, session: ApplianceSession, change: Change) -> None:
        if change.after is None:
            self._end(session, change.details)
            return
        session.call("update_crl", change.details.name)
        if change.details.expected:
            self._judge(session, change.details.expected)

    def _end(self, session: ApplianceSession, record: Mapping[str, Any]) -> None:
        try:
            session.call("end_session", str(record["session-id"]))
        except UserError:
            if any(other.get("session-id") == record["session-id"] for other in users(session)):
                raise
            # the user left meanwhile, or the new CRL ended it

    def _judge(self, session: ApplianceSession, expected: Sequence[int]) -> None:
        current = self.read(session, {"trusted_client_cas": None})
        missing = current.missing(expected)
        if missing and not current.silent:
            raise UserError(
                f"{', '.join(f'{serial:x}' for serial in missing)} is on none of the CRLs that the appliance uses now "
                f"({'; '.join(map(_told, current.authorities.items()))}); is its CDP one that the CA publishes to, does a proxy keep an "
                "older CRL, and is the issuing CA among the trusted client CAs with CRL checking?"
            )

    def settled(self, change: Change, params: Mapping[str, Any], current: Known) -> bool:
        """Which CRL comes is not known beforehand; what must be on it is judged when it is fetched."""
        return change.after is not None

    def complete(self, session: ApplianceSession, params: Mapping[str, Any], report: Words) -> Words:
        current = self.read(session, params)
        serials = _numbers(params["serials"])
        return report | {
            "crls": [{"trusted_client_ca": name, **_crl_words(crl)} for name, crl in current.authorities.items()],
            "sessions": [_session_words(record) for record in current.sessions],
            "proven": bool(serials) and not current.missing(serials),
        }


@dataclass(frozen=True)
class Fetch:
    """A CRL to fetch; `expected`: what is to be on one of all of them after it."""

    name: str
    expected: tuple[int, ...] = ()


def number(serial: str) -> int | None:
    """A serial number in hexadecimal, with or without colons; None for what is none."""
    try:
        return int(serial.replace(":", "").replace(" ", ""), 16)
    except ValueError:
        return None


def crl_name(authority: str) -> str:
    return f"CRL of {authority}"


def session_name(record: Mapping[str, Any]) -> str:
    return f"session {record.get('session-id')} of {record.get('active-user-name')}"


# ---- reading


def crl_in_use(session: ApplianceSession, name: str) -> Crl | None:
    """The CRL that certificates of this CA are checked against; None where the appliance does not tell."""
    answer = session.raw("GET", session.table.operation("crl_in_use").address(name, session.options.node))
    content = answer.get("crl") if isinstance(answer, Mapping) else None
    if not content:
        return None
    try:
        return crls.load(base64.b64decode(content, validate=True))
    except (binascii.Error, FormatError, TypeError, ValueError) as error:
        raise UserError(f"trusted client CA {name}: what the appliance calls its CRL is none: {error}") from error


def _numbers(serials: Sequence[str]) -> list[int]:
    return [found for found in map(number, serials) if found is not None]


# ---- words


def _warnings(current: Known) -> Iterator[str]:
    if not current.authorities:
        yield "no trusted client CA of this appliance checks CRLs, so that a revocation means nothing to it"
    if current.silent:
        yield (
            f"{', '.join(current.silent)}: the appliance does not tell which CRL it uses, so that nothing is proven about it; try a login "
            "with a revoked card"
        )


def _crl_words(crl: Crl | None) -> Words:
    if crl is None:
        return {"number": None, "next_update": None, "revoked": None}
    ends = None if crl.next_update is None else crl.next_update.isoformat()
    return {"number": crl.number, "next_update": ends, "revoked": crl.revoked}


def _told(one: tuple[str, Crl | None]) -> str:
    name, crl = one
    return f"{name}: number {crl.number} of {crl.this_update:%Y-%m-%d %H:%M} UTC" if crl else f"{name}: unknown"


def _session_words(record: Mapping[str, Any]) -> Words:
    words = {"user": "active-user-name", "realm": "authentication-realm", "since": "user-sign-in-time", "address": "network-connect-ip"}
    return {word: str(record.get(member) or "") for word, member in words.items()}
