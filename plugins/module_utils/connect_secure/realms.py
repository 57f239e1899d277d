# SPDX-License-Identifier: GPL-3.0-or-later
"""Authentication realms of users and administrators: servers, certificate restrictions, ordered role mapping rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import sign_in_reading, xml_import
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.client import ApplianceSession, appliance
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.connection import CONNECTION
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.elements import (
    Edit,
    Element,
    Wire,
    body,
    contains,
    each_change,
    lookup,
    overlay,
    tidy,
)
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.names import unfit, unknown
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.sign_in_guard import SignIn, judge
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.sign_in_reading import SERVERS, describe_realm, settled_realm
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.table import Shape
from ansible_collections.certlogon.core.plugins.module_utils.errors import Problems, UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import WRITING_STATES, Change, Plan, Resource, Warn, Words

_EXPECTED: dict[str, Any] = {"type": "list", "elements": "str", "default": []}


@dataclass(frozen=True)
class Surroundings:
    """What realms refer to, and what refers to them: read only where something has to change."""

    servers: Mapping[str, Wire] = field(default_factory=dict)
    kinds: Mapping[str, str | None] = field(default_factory=dict)
    roles: Mapping[str, Sequence[str]] = field(default_factory=dict)
    sign_in: SignIn = field(default_factory=SignIn)


@dataclass(frozen=True)
class Realms:
    """The realms by kind and name, in the appliance's words and ours."""

    shapes: Mapping[str, Shape]
    elements: Mapping[str, Mapping[str, Element]]
    around: Surroundings | None = None


class AuthenticationRealms(Resource[ApplianceSession, Realms]):
    connection = CONNECTION
    options = {
        "name": {"type": "str", "required": True},
        "kind": {"type": "str", "choices": list(sign_in_reading.KINDS), "default": "user"},
        "authentication_server": {"type": "str"},
        "directory_server": {"type": "str"},
        "accounting_server": {"type": "str"},
        "secondary_authentication": {
            "type": "dict",
            "options": {
                "server": {"type": "str"},
                "user_name": {"type": "str"},
                "end_session_on_failure": {"type": "bool"},
                "retired_server": {"type": "str"},
            },
        },
        "certificate_restriction": {
            "type": "dict",
            "options": {
                "mode": {"type": "str", "choices": ["none", "optional", "required"]},
                "rules": {
                    "type": "list",
                    "elements": "dict",
                    "options": {"attribute": {"type": "str", "required": True}, "value": {"type": "str", "required": True}},
                },
            },
        },
        "role_mapping_rules": {
            "type": "list",
            "elements": "dict",
            "options": {
                "name": {"type": "str", "required": True},
                "roles": {"type": "list", "elements": "str"},
                "stop": {"type": "bool"},
                "user_name": {
                    "type": "dict",
                    "options": {
                        "test": {"type": "str", "choices": ["is", "is_not"], "default": "is"},
                        "names": {"type": "list", "elements": "str", "required": True},
                    },
                },
                "expression": {"type": "str"},
            },
        },
    }
    extra = {"expected_servers": _EXPECTED, "expected_roles": _EXPECTED, **xml_import.RENDERING}

    def identify(self, entry: Words) -> str:
        return title(entry["kind"], entry["name"])

    def check(self, params: Mapping[str, Any]) -> None:
        problems = Problems()
        problems.collect(xml_import.problems(params))
        if params["state"] in ("merged", "replaced", "rendered"):
            for entry in params["config"]:
                problems.collect(f"config: {self.identify(entry)}: {problem}" for problem in _wrong(entry))
        problems.raise_any()

    def open(self, params: Mapping[str, Any], warn: Warn) -> AbstractContextManager[ApplianceSession]:
        return appliance(params, warn)

    def read(self, session: ApplianceSession, params: Mapping[str, Any]) -> Realms:
        asked = {entry["kind"] for entry in params.get("config") or []} or set(sign_in_reading.KINDS)
        kinds = [kind for kind in sign_in_reading.KINDS if kind in asked]
        current = Realms(
            {kind: session.table.resource(f"{kind}_realm") for kind in kinds},
            {kind: sign_in_reading.realms(session, kind) for kind in kinds},
        )
        if params["state"] not in WRITING_STATES or not _changes(params, current, Problems()):
            return current
        return replace(current, around=_surroundings(session, current))

    def objects(self, current: Realms) -> dict[str, Words]:
        return {title(kind, name): element.words for kind, known in current.elements.items() for name, element in known.items()}

    def plan(self, params: Mapping[str, Any], current: Realms) -> Plan:
        problems = Problems()
        changes = _changes(params, current, problems)
        if current.around is not None:
            around = current.around
            for change in changes:
                problems.collect(f"config: {change.name}: {problem}" for problem in _unsound(change, around, params))
            changes = _guarded(changes, current, around.sign_in, str(params["realm"]), problems)
        problems.raise_any()
        return Plan(changes, [warning for change in changes for warning in _doubtful(change)])

    def settled(self, change: Change, params: Mapping[str, Any], current: Realms) -> bool:
        """What the appliance fills in by itself in a new realm is no mismatch."""
        found = self.objects(current).get(change.name)
        return found is not None and change.after is not None and contains(found, change.after)

    def apply(self, session: ApplianceSession, change: Change) -> None:
        change.details.apply(session)

    def render(self, params: Mapping[str, Any]) -> list[Words]:
        return xml_import.rendered(params, [_item(entry) for entry in params["config"]])


def _item(entry: Words) -> xml_import.Item:
    words = desired(entry, None, "replaced")
    given = {**tidy(entry), "role_mapping_rules": words["role_mapping_rules"]}
    return xml_import.Item(f"{words['kind']}_realm", words, words, given)


def title(kind: str, name: str) -> str:
    """What a realm is called in results: users' and administrators' realms may have the same name."""
    return f"{kind} realm {name}"


def _surroundings(session: ApplianceSession, current: Realms) -> Surroundings:
    shape = session.table.resource("auth_server")
    servers = {shape.name_of(wire): wire for wire in session.list("auth_server")}
    roles = {kind: _names(session, f"{kind}_role") for kind in current.elements}
    # without administrators' realms in config nothing changes about how they sign in
    sign_in = sign_in_reading.sign_in(servers, current.elements.get("admin", {}), sign_in_reading.policies(session))
    return Surroundings(servers, {name: shape.kind(wire) for name, wire in servers.items()}, roles, sign_in)


def _names(session: ApplianceSession, resource: str) -> list[str]:
    shape = session.table.resource(resource)
    return [shape.name_of(wire) for wire in session.list(resource)]


# ---- what is asked for


def _wrong(entry: Words) -> Iterator[str]:
    """What is wrong with an entry by itself."""
    yield from unfit(entry["name"])
    rules = entry.get("role_mapping_rules") or []
    names = [rule["name"] for rule in rules]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield f"role_mapping_rules: {name!r} is listed twice; the name tells which rule is meant"
    for rule in rules:
        if rule.get("user_name") and rule.get("expression"):
            yield f"role_mapping_rules: {rule['name']}: has user_name and expression; a rule has one condition, make two rules of it"
        if rule.get("user_name") and not rule["user_name"]["names"]:
            yield f"role_mapping_rules: {rule['name']}: user_name.names is empty, so the rule would fit nobody; '*' fits everybody"
    secondary = entry.get("secondary_authentication") or {}
    if secondary.get("server") and secondary["server"] == secondary.get("retired_server"):
        yield "secondary_authentication.retired_server: is the server itself; leave one of both out"
    restriction = entry.get("certificate_restriction") or {}
    if restriction.get("rules") and restriction.get("mode") == "none":
        yield "certificate_restriction.rules: mean nothing with mode none; choose optional or required"


def desired(entry: Words, have: Words | None, state: str) -> Words:
    """The realm as it has to become."""
    given = {**entry, "role_mapping_rules": entry.get("role_mapping_rules")}
    base = have if have and state == "merged" else {}
    after = overlay(base, given, merge=state == "merged")
    secondary = after.get("secondary_authentication") or {}
    retired = secondary.pop("retired_server", None)
    if retired and secondary.get("server") == retired:
        del after["secondary_authentication"]
    conditions = {rule["name"]: rule for rule in entry.get("role_mapping_rules") or []}
    for rule in after.get("role_mapping_rules") or []:
        _one_condition(rule, conditions.get(rule["name"], {}))
    return settled_realm(after)


def _one_condition(rule: Words, given: Words) -> None:
    """A rule has one condition: one that is given takes the other's place."""
    if given.get("expression"):
        rule.pop("user_name", None)
    elif given.get("user_name"):
        rule.pop("expression", None)


# ---- what has to be done


def _changes(params: Mapping[str, Any], current: Realms, problems: Problems) -> list[Change]:
    def name(entry: Words) -> str:
        return title(entry["kind"], entry["name"])

    return each_change(params["config"], name, lambda entry: _change(entry, name(entry), params["state"], current), problems)


def _change(entry: Words, name: str, state: str, current: Realms) -> Change | None:
    kind = entry["kind"]
    shape = current.shapes[kind]
    element = lookup(current.elements[kind], entry["name"])
    have = element.words if element else None
    describe = partial(_describe, shape, kind)
    if state == "deleted":
        return Change(name, have, None, Edit(shape, entry["name"], describe, have, None)) if have else None
    _refuse_ambiguous(have)
    after = desired(entry, have, state)
    if after == have:
        return None
    members = body(shape, have or {}, after, element.wire if element else {})
    return Change(name, have, after, Edit(shape, entry["name"], describe, have, members))


def _describe(shape: Shape, kind: str, wire: Wire) -> Words:
    return describe_realm(shape, wire, kind)


def _refuse_ambiguous(have: Words | None) -> None:
    names = [rule.get("name") for rule in (have or {}).get("role_mapping_rules", [])]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1 or not name]
    if twice:
        raise UserError(f"role_mapping_rules: the appliance has several rules called {twice[0]!r}; rename them in the console first")


def _unsound(change: Change, around: Surroundings, params: Mapping[str, Any]) -> Iterator[str]:
    """What a realm would refer to that is not there, or may not be referred to like that."""
    if change.after is None:
        users = [policy["url"] for policy in around.sign_in.policies if _offers(policy, change.before or {})]
        if users:
            yield f"is offered by the sign-in policies {', '.join(users)}; take it out of them first"
        return
    after = change.after
    if not after.get("authentication_server"):
        yield "authentication_server: is missing; every realm needs one"
    known = {*around.servers, *params["expected_servers"]}
    for field_name in SERVERS:
        if after.get(field_name) and after[field_name] not in known:
            yield unknown(f"{field_name}: no authentication server", after[field_name], known)
    about_to_be = params["expected_servers"]  # with their types, or names alone
    kinds = {**(about_to_be if isinstance(about_to_be, Mapping) else {}), **around.kinds}
    yield from _unsound_secondary(after.get("secondary_authentication", {}).get("server"), known, kinds)
    yield from _unsound_rules(change, {*around.roles[after["kind"]], *params["expected_roles"]})


def _unsound_secondary(server: str | None, known: Iterable[str], kinds: Mapping[str, str | None]) -> Iterator[str]:
    if server and server not in known:
        yield unknown("secondary_authentication.server: no authentication server", server, known)
    elif server and kinds.get(server) == "certificate":
        yield (
            f"secondary_authentication.server: {server!r} is a certificate server, which can only be the first one; make it "
            "authentication_server and the other the secondary, or keep the other first and set certificate_restriction.mode to required"
        )


def _unsound_rules(change: Change, roles: Iterable[str]) -> Iterator[str]:
    there = {rule["name"] for rule in (change.before or {}).get("role_mapping_rules", [])}
    for rule in (change.after or {})["role_mapping_rules"]:
        where = f"role_mapping_rules: {rule['name']}"
        for role in rule["roles"]:
            if role not in roles:
                yield unknown(f"{where}: no {(change.after or {})['kind']} role", role, roles)
        if not rule["roles"]:
            yield f"{where}: roles is empty; name the roles that the rule gives"
        # a rule that is there may have a condition of a kind that is not managed here
        if rule["name"] not in there and not rule.get("user_name") and not rule.get("expression"):
            yield f"{where}: has no condition; give user_name or expression"


def _offers(policy: Words, realm: Words) -> bool:
    return bool(policy["kind"] == realm["kind"] and realm["name"] in policy["realms"])


def _guarded(changes: Iterable[Change], current: Realms, before: SignIn, acting: str, problems: Problems) -> list[Change]:
    """The changes, that of the acting administrator's own realm last and to be proved. Adds what the lock-out guard refuses."""
    first, own = [], []
    realms = dict(before.realms)
    for change in changes:
        words = change.after or change.before or {}
        if words["kind"] != "admin":
            first.append(change)
            continue
        name = words["name"]
        alone = replace(before, realms={**before.realms, name: words})
        realms[name] = words
        if change.after is None:
            del realms[name]
        if change.action == "update" and judge(before, alone, acting).touches_own:
            back = body(change.details.shape, change.after or {}, change.before or {}, deepcopy(dict(current.elements["admin"][name].wire)))
            own.append(replace(change, details=replace(change.details, back=back)))
        else:
            first.append(change)
    problems.collect(judge(before, replace(before, realms=realms), acting).problems)
    return [*first, *own]


def _doubtful(change: Change) -> Iterator[str]:
    if change.after and not change.after["role_mapping_rules"]:
        yield f"{change.name}: has no role mapping rule, so that nobody gets a role and nobody gets in"
