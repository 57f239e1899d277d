# SPDX-License-Identifier: GPL-3.0-or-later
"""Authentication servers: certificate servers with their user name template, RADIUS with the challenge rule, LDAP."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import sign_in_reading, user_name_template, xml_import
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
    merge,
    overlay,
    put,
    tidy,
)
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.names import unfit
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.sign_in_guard import SignIn, judge
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.table import Shape
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, Problems, UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import WRITING_STATES, Change, Plan, Resource, Warn, Words

TYPES = ("certificate", "radius", "ldap")
SECRETS = {"radius": "secret", "ldap": "bind_password"}

_DEFAULTS: Mapping[str, Words] = {
    "certificate": {"user_name_template": user_name_template.DEFAULT, "user_record_synchronization": False},
    "radius": {"port": 1812, "accounting_port": 1813, "one_time_passwords": False, "challenge_rules": []},
    "ldap": {"server_type": "active_directory", "encryption": "ldaps", "validate_certificate": True},
}
_LDAP_PORTS = {"ldaps": 636}
_KEPT = ("timeout", "retries")
"""Options without a default: left out, they stay as they are, under `replaced` too."""
_ABSENT: Mapping[str, Words] = {
    "certificate": {"user_record_synchronization": False},
    "radius": {"one_time_passwords": False, "challenge_rules": []},
    "ldap": {"validate_certificate": False},
}
"""What the absence of a member means."""

_RULE = {
    "name": {"type": "str", "required": True},
    "response": {"type": "str", "choices": ["challenge", "accept", "reject"], "default": "challenge"},
    "attribute": {"type": "str", "default": "Reply-Message"},
    "operator": {"type": "str", "default": "matches the expression"},
    "value": {"type": "str", "default": "*"},
    "action": {"type": "str", "choices": ["show_generic_login", "show_next_token", "show_new_pin"], "default": "show_generic_login"},
}


@dataclass(frozen=True)
class Servers:
    """The servers by name; `sign_in` and `users` (the realms that use each server) only where a change needs them."""

    shape: Shape
    elements: Mapping[str, Element]
    sign_in: SignIn | None = None
    users: Mapping[str, Sequence[str]] = field(default_factory=dict)


class AuthServers(Resource[ApplianceSession, Servers]):
    connection = CONNECTION
    options = {
        "name": {"type": "str", "required": True},
        "type": {"type": "str", "choices": list(TYPES)},
        "certificate": {
            "type": "dict",
            "options": {
                "user_name_template": {"type": "str"},
                "user_record_synchronization": {"type": "bool"},
                "logical_auth_server_name": {"type": "str"},
            },
        },
        "radius": {
            "type": "dict",
            "options": {
                "host": {"type": "str"},
                "backup_host": {"type": "str"},
                "port": {"type": "int"},
                "accounting_port": {"type": "int"},
                "secret": {"type": "str", "no_log": True},
                "nas_identifier": {"type": "str"},
                "timeout": {"type": "int"},
                "retries": {"type": "int"},
                "one_time_passwords": {"type": "bool"},
                "challenge_rules": {"type": "list", "elements": "dict", "options": _RULE},
            },
        },
        "ldap": {
            "type": "dict",
            "options": {
                "host": {"type": "str"},
                "backup_host": {"type": "str"},
                "port": {"type": "int"},
                "server_type": {"type": "str", "choices": ["active_directory", "generic"]},
                "encryption": {"type": "str", "choices": ["ldaps", "start_tls", "none"]},
                "validate_certificate": {"type": "bool"},
                "bind_dn": {"type": "str"},
                "bind_password": {"type": "str", "no_log": True},
                "base_dn": {"type": "str"},
                "filter": {"type": "str"},
            },
        },
        "update_secrets": {"type": "str", "choices": ["on_create", "always"], "default": "on_create", "no_log": False},
    }
    extra = {"allow_unknown_variables": {"type": "bool", "default": False}, **xml_import.RENDERING}

    def check(self, params: Mapping[str, Any]) -> None:
        problems = Problems()
        problems.collect(xml_import.problems(params))
        if params["state"] in ("merged", "replaced", "rendered"):
            for entry in params["config"]:
                problems.collect(f"config: {entry['name']}: {problem}" for problem in _wrong(entry, params))
        problems.raise_any()

    def open(self, params: Mapping[str, Any], warn: Warn) -> AbstractContextManager[ApplianceSession]:
        return appliance(params, warn)

    def read(self, session: ApplianceSession, params: Mapping[str, Any]) -> Servers:
        shape = session.table.resource("auth_server")
        current = Servers(shape, {shape.name_of(wire): Element(wire, describe(shape, wire)) for wire in session.list("auth_server")})
        if params["state"] not in WRITING_STATES or all(change.action == "create" for change in _changes(params, current, Problems())):
            return current
        wires = {name: element.wire for name, element in current.elements.items()}
        realms = {kind: sign_in_reading.realms(session, kind) for kind in sign_in_reading.KINDS}
        return replace(
            current,
            sign_in=sign_in_reading.sign_in(wires, realms["admin"], sign_in_reading.policies(session)),
            users=sign_in_reading.users_of_servers(realms),
        )

    def objects(self, current: Servers) -> dict[str, Words]:
        return {name: element.words for name, element in current.elements.items() if element.words["type"] in TYPES}

    def plan(self, params: Mapping[str, Any], current: Servers) -> Plan:
        problems = Problems()
        changes = _changes(params, current, problems)
        for change in changes:
            if change.action == "delete" and current.users.get(change.name):
                problems.add(f"config: {change.name}: is used by {', '.join(current.users[change.name])}; point these elsewhere first")
        changes = _guarded(changes, current, str(params["realm"]), problems)
        problems.raise_any()
        return Plan(changes, [*_unknown_variables(params), *_weak(changes)])

    def settled(self, change: Change, params: Mapping[str, Any], current: Servers) -> bool:
        """What the appliance fills in by itself on a new server is no mismatch."""
        found = current.elements.get(change.name)
        wanted = {name: value for name, value in (change.after or {}).items() if name != "secrets"}
        return found is not None and change.after is not None and contains(found.words, wanted)

    def apply(self, session: ApplianceSession, change: Change) -> None:
        change.details.apply(session)

    def render(self, params: Mapping[str, Any]) -> list[Words]:
        return xml_import.rendered(params, [_item(entry) for entry in params["config"]])


def _item(entry: Words) -> xml_import.Item:
    words = desired(entry, None, "replaced")
    given = {**entry, str(words["type"]): entry.get(words["type"]) or {"user_name_template": user_name_template.DEFAULT}}
    return xml_import.Item("auth_server", words, words, tidy(given))


def describe(shape: Shape, wire: Wire) -> Words:
    """A server in the words of the options. Of a kind that is not managed here: its name and kind."""
    kind = shape.kind(wire)
    name = shape.name_of(wire)
    if kind not in TYPES:
        return {"name": name, "type": kind or "unknown"}
    own: Words = tidy(shape.decode(wire)[kind])
    return {"name": name, "type": kind, kind: {**_ABSENT[kind], **own}}


# ---- what is asked for


def type_of(entry: Words) -> str | None:
    """The type that an entry names, or that its options tell."""
    told = [kind for kind in TYPES if entry.get(kind) is not None]
    return entry.get("type") or (told[0] if len(told) == 1 else None)


def _wrong(entry: Words, params: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with an entry by itself."""
    yield from unfit(entry["name"])
    kind = type_of(entry)
    for other in TYPES:
        if entry.get(other) is not None and other != kind:
            yield f"{other}: is not for a server of type {kind}" if kind else "type: is missing; the options are of several types"
    if params["state"] == "rendered" and kind is None:
        yield f"type: is missing; it is one of {', '.join(TYPES)}"
    own = entry.get(kind or "") or {}
    for name in ("port", "accounting_port"):
        if own.get(name) is not None and not 1 <= own[name] <= 65535:
            yield f"{kind}.{name}: {own[name]} is no port; it is from 1 to 65535"
    for name in ("host", "backup_host"):
        if any(sign in (own.get(name) or "") for sign in " /@\t\n"):
            yield f"{kind}.{name}: {own[name]!r} is no host name or address; leave out everything before and after the name"
    for name in _KEPT:
        if own.get(name) is not None and own[name] < 0:
            yield f"{kind}.{name}: {own[name]} is less than 0"
    rules = [rule["name"] for rule in own.get("challenge_rules") or []]
    for rule in dict.fromkeys(rules):
        if rules.count(rule) > 1:
            yield f"radius.challenge_rules: {rule!r} is listed twice"
    yield from _wrong_template(own.get("user_name_template"), params)


def _wrong_template(source: str | None, params: Mapping[str, Any]) -> Iterator[str]:
    if source is None:
        return
    try:
        template = user_name_template.parse(source)
    except FormatError as error:
        yield f"certificate.user_name_template: {error}"
        return
    if not params["allow_unknown_variables"]:
        yield from (f"certificate.user_name_template: {problem}" for problem in user_name_template.unknown_variables(template))


def _unknown_variables(params: Mapping[str, Any]) -> Iterator[str]:
    """Warnings about variables that `check` let pass."""
    for entry in params["config"] if params["state"] != "deleted" else ():
        source = (entry.get("certificate") or {}).get("user_name_template")
        for problem in user_name_template.unknown_variables(user_name_template.parse(source)) if source else ():
            yield f"{entry['name']}: certificate.user_name_template: {problem}"


def desired(entry: Words, have: Words | None, state: str) -> Words:
    """The server as it has to become, without secrets."""
    kind = str((have or {}).get("type") or type_of(entry))
    given = {name: value for name, value in (entry.get(kind) or {}).items() if name != SECRETS.get(kind)}
    if have and state == "merged":
        return tidy_server(kind, entry["name"], overlay(have[kind], given, merge=True))
    kept = {name: have[kind][name] for name in _KEPT if have and name in have[kind]}
    own = overlay({**_DEFAULTS[kind], **kept}, given, merge=False)
    if kind == "ldap" and not own.get("port"):
        own["port"] = _LDAP_PORTS.get(own["encryption"], 389)
    return tidy_server(kind, entry["name"], own)


def tidy_server(kind: str, name: str, own: Words) -> Words:
    return {"name": name, "type": kind, kind: {**_ABSENT[kind], **tidy(own)}}


# ---- what has to be done


def _changes(params: Mapping[str, Any], current: Servers, problems: Problems) -> list[Change]:
    return each_change(params["config"], lambda entry: str(entry["name"]), lambda entry: _change(entry, params["state"], current), problems)


def _change(entry: Words, state: str, current: Servers) -> Change | None:
    element = lookup(current.elements, entry["name"])
    have = element.words if element else None
    if have and have["type"] not in TYPES:
        raise UserError(f"is a server of type {have['type']}, which is not managed here; use certlogon.core.connect_secure_config")
    if state == "deleted":
        edit = Edit(current.shape, entry["name"], _describer(current.shape), have, None)
        return Change(entry["name"], have, None, edit) if have else None
    kind = type_of(entry)
    if have is None and kind is None:
        raise UserError(f"type: is missing, and there is no such server yet; it is one of {', '.join(TYPES)}")
    if have and kind and have["type"] != kind:
        raise UserError(f"type: is {have['type']} and cannot become {kind}; give the new server another name, or delete this one first")
    after = desired(entry, have, state)
    kind = after["type"]
    secret = (entry.get(kind) or {}).get(SECRETS.get(kind, ""))
    _refuse_incomplete(after, kind, new=have is None, secret=secret)
    writes_secret = bool(secret) and (have is None or entry["update_secrets"] == "always")
    if after == have and not writes_secret:
        return None
    wire = element.wire if element else {}
    members = body(current.shape, have or {}, after, wire)
    if have is None:
        put(members, [current.shape.kinds[kind]], members.get(current.shape.kinds[kind], {}))
    if writes_secret:
        put(members, current.shape.fields[f"{kind}.{SECRETS[kind]}"].steps, secret)
    shown = {**after, "secrets": "written"} if writes_secret and have else after
    return Change(entry["name"], have, shown, Edit(current.shape, entry["name"], _describer(current.shape), have, members))


def _describer(shape: Shape) -> Any:
    return lambda wire: describe(shape, wire)


def _refuse_incomplete(after: Words, kind: str, *, new: bool, secret: str | None) -> None:
    problems = Problems()
    if kind in ("radius", "ldap") and not after[kind].get("host"):
        problems.add(f"{kind}.host: is missing; name the {kind.upper()} server")
    if kind == "radius" and new and not secret:
        problems.add("radius.secret: is missing; a new RADIUS server needs the secret that it shares with the appliance")
    if kind == "certificate" and not after[kind].get("user_name_template"):
        problems.add("certificate.user_name_template: is empty; the appliance would have no name for anybody")
    problems.raise_any()


def _guarded(changes: Iterable[Change], current: Servers, acting: str, problems: Problems) -> list[Change]:
    """The changes, that of the acting administrator's own server last and to be proved. Adds what the lock-out guard refuses."""
    before = current.sign_in
    if before is None:
        return list(changes)
    first, own = [], []
    servers = dict(before.servers)
    for change in changes:
        wire = merge(deepcopy(dict(before.servers.get(change.name, {}))), change.details.body or {})
        alone = replace(before, servers={**before.servers, change.name: wire})
        servers[change.name] = wire
        if change.action == "delete":
            del servers[change.name]
        if change.action == "update" and judge(before, alone, acting).touches_own:
            back = body(current.shape, change.after or {}, change.before or {}, current.elements[change.name].wire)
            own.append(replace(change, details=replace(change.details, back=back)))
        else:
            first.append(change)
    problems.collect(judge(before, replace(before, servers=servers), acting).problems)
    return [*first, *own]


def _weak(changes: Iterable[Change]) -> Iterator[str]:
    for change in changes:
        if ((change.after or {}).get("ldap") or {}).get("encryption") == "none":
            yield f"{change.name}: ldap.encryption: passwords cross the network in the clear; use ldaps or start_tls"
