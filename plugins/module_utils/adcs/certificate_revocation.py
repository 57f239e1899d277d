# SPDX-License-Identifier: GPL-3.0-or-later
"""Revocation of certificates at a Windows CA: by serial number, by certificate or by account; hold and release; published afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.adcs.crl_state import HOLD, REASONS, CrlState, Issued, normal, stored
from ansible_collections.certlogon.core.plugins.module_utils.adcs.powershell import HostResource, PowerShellSession
from ansible_collections.certlogon.core.plugins.module_utils.certificates import certificate as certificates
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate
from ansible_collections.certlogon.core.plugins.module_utils.errors import Problems, UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Change, Plan, Words

VALID, ON_HOLD, REVOKED = "valid", "on_hold", "revoked"
RELEASE = -1
WAYS = ("serial", "certificate", "certificate_path", "user")
REMEDIES = {
    "0x80070005": "the account needs the right Issue and Manage Certificates on this CA (permissions of adcs_authority)",
    "0x80094008": "role separation is on, and the account has more than one role; use one that has just the right it needs",
    "0x80094009": "the account is a restricted officer; see officer_restrictions of adcs_authority",
    "0x80070003": "a place that the CA publishes to does not exist; see cdp of adcs_authority",
}


@dataclass(frozen=True)
class Step:
    """What `apply` does: the reason to give (None: nothing to tell the CA), and whether CRLs are published afterwards."""

    reason: int | None
    publish: bool


@dataclass(frozen=True)
class Known:
    state: CrlState
    listed: Mapping[str, int]
    """what the newest CRLs name: serial number -> reason"""


class CertificateRevocation(HostResource[Known]):
    key = "serial"
    states = ("merged", "gathered", "rendered")
    options = {
        "serial": {"type": "str"},
        "certificate": {"type": "str"},
        "certificate_path": {"type": "path"},
        "user": {"type": "str"},
        "status": {"type": "str", "choices": [REVOKED, ON_HOLD, VALID], "default": REVOKED},
        "reason": {"type": "str", "choices": list(REASONS[:HOLD])},
    }
    extra = {"publish": {"type": "bool", "default": True}}

    def __init__(self, session: PowerShellSession) -> None:
        super().__init__(session)
        self._given: dict[tuple[str, str], Certificate] = {}
        self._gathers = False
        self._publish = True
        self._config = ""
        self._deltas = False
        self._named: dict[str, Words] = {}

    def check(self, params: Mapping[str, Any]) -> None:
        problems = Problems()
        for place, entry in enumerate(params.get("config") or ()):
            where = f"config[{place}]"
            ways = [way for way in WAYS if entry.get(way)]
            if len(ways) != 1:
                problems.add(f"{where}: give exactly one of {', '.join(WAYS)}, not {' and '.join(ways) or 'none'}")
                continue
            if entry["reason"] and entry["status"] != REVOKED:
                problems.add(f"{where}: reason belongs to status=revoked, not to {entry['status']}")
            try:
                self.identify(entry)
            except UserError as error:
                problems.add(f"{where}: {error}")
            user = entry.get("user")
            if user and "\\" not in user:
                problems.add(f"{where}: user {user!r} is not of the form DOMAIN\\name, as the CA's database has it")
            if user and params["state"] == "gathered":
                problems.add(f"{where}: gathered goes by serial numbers and certificates; leave config out to see all that are revoked")
        problems.raise_any()

    def identify(self, entry: Words) -> str:
        if entry.get("user"):
            return f"user {entry['user']}"
        if not any(entry.get(way) for way in WAYS):
            return "nothing"  # which check() refuses
        if entry.get("serial"):
            try:
                return stored(normal(entry["serial"]))
            except ValueError as error:
                raise UserError(f"serial: {error}") from error
        return stored(f"{self._certificate(entry).serial:x}")

    def _certificate(self, entry: Words) -> Certificate:
        way = "certificate" if entry.get("certificate") else "certificate_path"
        name = (way, str(entry[way]))
        if name not in self._given:
            try:
                content = entry[way] if way == "certificate" else Path(entry[way]).read_bytes()
                self._given[name] = certificates.load_one(content)
            except OSError as error:
                raise UserError(f"{way}: {entry[way]} cannot be read: {error.strerror}") from error
            except UserError as error:
                raise UserError(f"{way}: {error}") from error
        return self._given[name]

    def read(self, session: PowerShellSession, params: Mapping[str, Any]) -> Known:
        self._gathers, self._publish = params["state"] == "gathered", params["publish"]
        config = params.get("config") or []
        users = [entry["user"] for entry in config if entry.get("user")]
        serials = [self.identify(entry) for entry in config if not entry.get("user")]
        parameters = {"Serials": serials or None, "Requesters": users or None, "Revoked": (self._gathers and not config) or None}
        state = CrlState.parse(session.run("adcs_crl_state", parameters, doing="reading the CA's database"))
        self._config, self._deltas = state.config, state.deltas
        return Known(state, state.listed())

    def objects(self, current: Known) -> dict[str, Words]:
        found = {stored(row.serial): self._words(row, current) for row in current.state.rows.values()}
        if self._gathers:
            return {serial: {name: value for name, value in words.items() if name in self.options} for serial, words in found.items()}
        return found

    def _words(self, row: Issued, known: Known) -> Words:
        words = _status_words(row.serial, row.status, row.reason)
        words |= {"requester": row.requester, "common_name": row.common_name}
        if self._publish and row.not_after > known.state.now:
            reason = known.listed.get(row.serial)
            words["on_crl"] = None if reason is None else REASONS[reason]
        return words

    def plan(self, params: Mapping[str, Any], current: Known) -> Plan:
        problems = Problems()
        wanted: dict[str, Change] = {}
        for entry in params["config"]:
            try:
                for row in self._rows(entry, current):
                    change = self._change(entry, row, current)
                    self._named[row.serial] = {
                        "serial": stored(row.serial),
                        "requester": row.requester,
                        "common_name": row.common_name,
                        "status": entry["status"] if change else row.status,
                    }
                    before = wanted.get(row.serial)
                    if before is not None and (change is None or before.after != change.after):
                        raise UserError(f"{stored(row.serial)} is named by two entries that want different things")
                    if change is not None:
                        wanted[row.serial] = change
            except UserError as error:
                problems.add(f"config: {self.identify(entry)}: {error}")
        problems.raise_any()
        return Plan(self._published_once(list(wanted.values())))

    def _rows(self, entry: Words, known: Known) -> list[Issued]:
        state = known.state
        if entry.get("user"):
            name = entry["user"].casefold()
            rows = [row for row in state.rows.values() if row.requester.casefold() == name]
            if not rows:
                raise UserError(f"{state.config} has issued no certificate to this account; is the name right?")
            return [row for row in rows if row.not_after > state.now]
        if not entry.get("serial"):
            issuers = {one.crl.issuer for one in state.lists}
            certificate = self._certificate(entry)
            if issuers and certificate.issuer not in issuers:
                raise UserError(f"the certificate is of {certificate.issuer}, not of {state.config}; revoke it there")
        row = state.rows.get(normal(self.identify(entry)))
        if row is None:
            raise UserError(f"{state.config} has issued no certificate with this serial number")
        return [row]

    def _change(self, entry: Words, row: Issued, known: Known) -> Change | None:
        status = entry["status"]
        if row.status == REVOKED and (status != REVOKED or (entry["reason"] and entry["reason"] != REASONS[row.reason or 0])):
            if entry.get("user"):
                return None  # of an account's certificates, those that can still change do
            raise UserError(
                f"is revoked ({REASONS[row.reason or 0]}), which cannot be taken back or changed; only a hold can (status=on_hold)"
            )
        reason = {REVOKED: REASONS.index(entry["reason"] or REASONS[0]), ON_HOLD: HOLD, VALID: None}[status]
        if row.status == status == REVOKED:
            reason = row.reason
        before = self._words(row, known)
        kept = {name: value for name, value in before.items() if name != "reason"}
        after = {**kept, **_status_words(row.serial, status, reason)}
        if "on_crl" in before:
            after["on_crl"] = None if reason is None else REASONS[reason]
        if before == after:
            return None
        told = row.status != status
        return Change(stored(row.serial), before, after, Step((RELEASE if reason is None else reason) if told else None, publish=False))

    def _published_once(self, changes: list[Change]) -> list[Change]:
        """The last change publishes for all of them."""
        if not changes or not self._publish:
            return changes
        last = changes[-1]
        return [*changes[:-1], Change(last.name, last.before, last.after, Step(last.details.reason, publish=True))]

    def apply(self, session: PowerShellSession, change: Change) -> None:
        step: Step = change.details
        parameters: dict[str, Any] = {"Config": self._config}
        if step.publish:
            parameters |= {"Base": True, "Delta": self._deltas}
        if step.reason is None:
            if step.publish:
                session.run("adcs_crl_publish", parameters, doing="publishing the CRLs", remedies=REMEDIES)
            return
        parameters |= {"Serial": change.name, "Reason": step.reason}
        doing = f"certificate {change.name}: {'releasing' if step.reason == RELEASE else 'revoking'} it"
        session.run("adcs_revoke", parameters, doing=doing, remedies=REMEDIES)

    def returns(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {"certificates": list(self._named.values())} if params["state"] == "merged" else {}

    def render(self, params: Mapping[str, Any]) -> list[Words]:
        found = []
        for entry in params["config"]:
            words = {"user": entry["user"]} if entry.get("user") else {"serial": self.identify(entry)}
            words["status"] = entry["status"]
            if entry["status"] == REVOKED:
                words["reason"] = entry["reason"] or REASONS[0]
            found.append(words)
        return found


def _status_words(serial: str, status: str, reason: int | None) -> Words:
    words = {"serial": stored(serial), "status": status}
    return {**words, "reason": REASONS[reason or 0]} if status == REVOKED else words
