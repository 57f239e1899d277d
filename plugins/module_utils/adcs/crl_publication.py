# SPDX-License-Identifier: GPL-3.0-or-later
"""CRLs of a Windows CA: published when they have to be, and looked for where clients look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.adcs.crl_places import NOT_CHECKED, Place, looking
from ansible_collections.certlogon.core.plugins.module_utils.adcs.crl_state import BASE, DELTA, CrlState, RevocationList
from ansible_collections.certlogon.core.plugins.module_utils.adcs.powershell import HostResource, PowerShellSession
from ansible_collections.certlogon.core.plugins.module_utils.directory.connection import CONNECTION
from ansible_collections.certlogon.core.plugins.module_utils.errors import Problems
from ansible_collections.certlogon.core.plugins.module_utils.resource import Change, Plan, Words

AFTER_APPLY = "known after apply"
REMEDIES = {
    "0x80070005": "the account needs the right Manage CA on this CA (permissions of adcs_authority)",
    "0x80094008": "role separation is on, and the account has more than one role; use one that has just the right it needs",
    "0x80070003": "a place that the CA publishes to does not exist; see cdp of adcs_authority",
}


@dataclass(frozen=True)
class Known:
    """The CA's answer, and what clients find: one list of places a CRL, by its name."""

    state: CrlState
    places: Mapping[str, Sequence[Place]]


class CrlPublication(HostResource[Known]):
    key = "kind"
    states = ("merged", "gathered")
    connection = CONNECTION
    options = {
        "kind": {"type": "str", "choices": [BASE, DELTA], "required": True},
        "publish": {"type": "str", "choices": ["when_needed", "always"], "default": "when_needed"},
        "minimum_validity": {"type": "int", "default": 0},
    }
    extra = {"check_places": {"type": "bool", "default": True}}

    def __init__(self, session: PowerShellSession) -> None:
        super().__init__(session)
        self._readings: list[Known] = []
        self._gathers = False

    def check(self, params: Mapping[str, Any]) -> None:
        problems = Problems()
        for entry in params.get("config") or ():
            if entry["minimum_validity"] < 0:
                problems.add(f"config: {entry['kind']}: minimum_validity {entry['minimum_validity']} is not a number of hours")
        problems.raise_any()

    def read(self, session: PowerShellSession, params: Mapping[str, Any]) -> Known:
        self._gathers = params["state"] == "gathered"
        state = CrlState.parse(session.run("adcs_crl_state", doing="reading the CA's CRLs"))
        places: dict[str, list[Place]] = {}
        if params["check_places"]:
            with looking(params, session.warn) as found:
                places = {one.name: found.look(one, state.now) for one in state.lists}
        if not self._readings:
            self._warn(session, state, places, params)
        self._readings.append(Known(state, places))
        return self._known

    @property
    def _known(self) -> Known:
        """What was read last."""
        return self._readings[-1]

    @staticmethod
    def _warn(session: PowerShellSession, state: CrlState, places: Mapping[str, Sequence[Place]], params: Mapping[str, Any]) -> None:
        for one in state.lists:
            if one.kind == BASE and not one.urls:
                session.warn(f"{one.name}: no CDP is written into certificates, so nobody learns of revocations; see cdp of adcs_authority")
            for place in places.get(one.name, ()):
                if place.status == NOT_CHECKED:
                    session.warn(f"{place.url}: not looked at; {place.msg}")
                elif not place.good and params["state"] == "gathered":
                    session.warn(f"{place.url}: {place.status}: {place.msg}")

    def objects(self, current: Known) -> dict[str, Words]:
        if self._gathers:
            return {kind: {"kind": kind} for kind in _kinds(current.state)}
        return {kind: _words(kind, current) for kind in (BASE, DELTA)}

    def plan(self, params: Mapping[str, Any], current: Known) -> Plan:
        problems = Problems()
        wanted = []
        for entry in params["config"]:
            kind = entry["kind"]
            if kind == DELTA and not current.state.deltas:
                problems.add(
                    "config: delta: this CA makes no delta CRLs (crl_delta_period is 0); leave the entry out, or change the period"
                )
            elif entry["publish"] == "always" or _reasons(entry, current):
                wanted.append(kind)
        problems.raise_any()
        if BASE in wanted and DELTA not in wanted and current.state.deltas:
            wanted.append(DELTA)  # a base CRL without a delta of its own leaves clients with one that does not fit
        changes = [Change(kind, _words(kind, current), _after(kind, current)) for kind in wanted]
        if BASE in wanted and DELTA in wanted:
            changes = [Change(one.name, one.before, one.after, details=(BASE, DELTA) if one.name == BASE else ()) for one in changes]
        else:
            changes = [Change(one.name, one.before, one.after, details=(one.name,)) for one in changes]
        return Plan(changes)

    def apply(self, session: PowerShellSession, change: Change) -> None:
        if not change.details:
            return  # went out together with its base
        parameters = {"Config": self._known.state.config, "Base": BASE in change.details, "Delta": DELTA in change.details}
        session.run("adcs_crl_publish", parameters, doing=f"publishing the {' and the '.join(change.details)} CRL", remedies=REMEDIES)

    def settled(self, change: Change, params: Mapping[str, Any], current: Known) -> bool:
        """Everything asked for is newer, and clients find it."""
        lists = (change.before or {}).get("lists", {})
        now = _words(change.name, current)
        newer = all(found["this_update"] >= lists[name]["this_update"] for name, found in now["lists"].items() if name in lists)
        replaced = all(found["number"] > lists[name]["number"] for name, found in now["lists"].items() if name in lists)
        return newer and replaced and all(place.good for one in _of(change.name, current) for place in current.places.get(one.name, ()))

    def returns(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {} if not self._readings else {"crls": [report(one, self._known) for one in self._known.state.lists]}


def _kinds(state: CrlState) -> list[str]:
    return [BASE, DELTA] if state.deltas else [BASE]


def _of(kind: str, known: Known) -> list[RevocationList]:
    return [one for one in known.state.lists if one.kind == kind]


def _reasons(entry: Words, known: Known) -> list[str]:
    """Why this kind must be published; nothing if it need not."""
    found = _of(entry["kind"], known)
    if not found:
        return ["there is none"]
    needed = known.state.now + timedelta(hours=entry["minimum_validity"])
    ends = [f"{one.name} ends" for one in found if one.crl.next_update is not None and one.crl.next_update <= needed]
    missing = [f"{place.url}: {place.msg}" for one in found for place in known.places.get(one.name, ()) if not place.good]
    return ends + missing


def _words(kind: str, known: Known) -> Words:
    found = _of(kind, known)
    lists = {
        one.name: {"number": one.crl.number, "this_update": _text(one.crl.this_update), "next_update": _text(one.crl.next_update)}
        for one in found
    }
    places = {
        place.url: f"{place.status}: {place.msg}" if place.msg else place.status
        for one in found
        for place in known.places.get(one.name, ())
    }
    return {"kind": kind, "lists": lists, "places": places}


def _after(kind: str, known: Known) -> Words:
    words = _words(kind, known)
    unchecked = {place.url for one in _of(kind, known) for place in known.places.get(one.name, ()) if place.status == NOT_CHECKED}
    places = {url: text if url in unchecked else "current" for url, text in words["places"].items()}
    return {**words, "lists": dict.fromkeys(words["lists"], AFTER_APPLY) or AFTER_APPLY, "places": places}


def report(one: RevocationList, known: Known) -> dict[str, Any]:
    """A CRL in the words of the task's result."""
    return {
        "name": one.name,
        "kind": one.kind,
        "issuer": one.crl.issuer,
        "number": one.crl.number,
        "this_update": _text(one.crl.this_update),
        "next_update": _text(one.crl.next_update),
        "hours_left": None if one.crl.next_update is None else int((one.crl.next_update - known.state.now).total_seconds() // 3600),
        "revoked": one.crl.revoked,
        "places": [
            {"url": place.url, "status": place.status, "number": place.number, "next_update": _text(place.next_update), "msg": place.msg}
            for place in known.places.get(one.name, ())
        ],
    }


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
