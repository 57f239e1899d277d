# SPDX-License-Identifier: GPL-3.0-or-later
"""Sign-in policies: which URL offers which realms, and the order in which they are tried."""

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
    BEST_EFFORT,
    Edit,
    Element,
    Wire,
    body,
    contains,
    each_change,
    lookup,
    prove,
)
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.names import in_order, unknown
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.sign_in_guard import SignIn, judge, shadowed
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.sign_in_reading import KINDS, describe_policy, policy_members
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.table import Shape
from ansible_collections.certlogon.core.plugins.module_utils.errors import Problems, UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import WRITING_STATES, Change, Plan, Resource, Warn, Words

ORDER = "order of the sign-in policies"
"""What the change of the order is called in results."""


@dataclass(frozen=True)
class Policies:
    """The policies by URL in the order of evaluation; `realms` by kind and `sign_in` only where something has to change."""

    shape: Shape
    elements: Mapping[str, Element]
    realms: Mapping[str, Sequence[str]] = field(default_factory=dict)
    sign_in: SignIn | None = None

    @property
    def words(self) -> dict[str, Words]:
        return {url: element.words for url, element in self.elements.items()}


class SignInPolicies(Resource[ApplianceSession, Policies]):
    key = "url"
    connection = CONNECTION
    options = {
        "url": {"type": "str", "required": True},
        "kind": {"type": "str", "choices": list(KINDS)},
        "realms": {"type": "list", "elements": "str"},
        "enabled": {"type": "bool"},
    }
    extra = {"expected_realms": {"type": "list", "elements": "str", "default": []}, **xml_import.RENDERING}

    def distinguish(self, entry: Words) -> str:
        return str(entry["url"]).rstrip("/")

    def check(self, params: Mapping[str, Any]) -> None:
        problems = Problems()
        problems.collect(xml_import.problems(params))
        for entry in params.get("config") or []:
            problems.collect(f"config: {entry['url']}: {problem}" for problem in _wrong(entry, params["state"]))
        problems.raise_any()

    def open(self, params: Mapping[str, Any], warn: Warn) -> AbstractContextManager[ApplianceSession]:
        return appliance(params, warn)

    def read(self, session: ApplianceSession, params: Mapping[str, Any]) -> Policies:
        current = Policies(session.table.resource("sign_in_policy"), sign_in_reading.policies(session))
        if params["state"] not in WRITING_STATES or not _changes(params, current, Problems()):
            return current
        realms = {kind: sign_in_reading.realms(session, kind) for kind in KINDS}
        server = session.table.resource("auth_server")
        servers = {server.name_of(wire): wire for wire in session.list(server.resource)}
        return replace(
            current,
            realms={kind: list(known) for kind, known in realms.items()},
            sign_in=sign_in_reading.sign_in(servers, realms["admin"], current.elements),
        )

    def objects(self, current: Policies) -> dict[str, Words]:
        return {url: words for url, words in current.words.items() if words["kind"] in KINDS}

    def plan(self, params: Mapping[str, Any], current: Policies) -> Plan:
        problems = Problems()
        changes = _changes(params, current, problems)
        for change in changes:
            problems.collect(f"config: {change.name}: {problem}" for problem in _unsound(change, current, params))
        changes = _guarded(changes, current, params, problems)
        problems.raise_any()
        return Plan(changes, list(_shadows(_result(changes, current, params), params)))

    def settled(self, change: Change, params: Mapping[str, Any], current: Policies) -> bool:
        if change.name == ORDER:
            return _in_place(list(current.elements), params)
        found = current.words.get(change.name)
        return found is not None and change.after is not None and contains(found, change.after)

    def apply(self, session: ApplianceSession, change: Change) -> None:
        change.details.apply(session)

    def render(self, params: Mapping[str, Any]) -> list[Words]:
        wanted = [desired(entry, None, "replaced") for entry in params["config"]]
        return xml_import.rendered(
            params, [xml_import.Item("sign_in_policy", words, policy_members(words), policy_members(words)) for words in wanted]
        )


# ---- what is asked for


def _wrong(entry: Words, state: str) -> Iterator[str]:
    url = entry["url"]
    if "://" in url or "/" not in url or url.startswith("/") or any(sign.isspace() for sign in url):
        yield "url: is a host name or *, a slash and a path, such as */, vpn.corp.example/ or */admin/; without https://"
    if state in ("replaced", "rendered") and not entry.get("realms"):
        yield "realms: is missing or empty; name the realms that the URL offers (to keep it from being used, set enabled to false)"
    names = entry.get("realms") or []
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield f"realms: {name!r} is listed twice"


def desired(entry: Words, have: Words | None, state: str) -> Words:
    """The policy as it has to become."""
    base = have if have and state == "merged" else {"kind": (have or {}).get("kind", "user"), "realms": [], "enabled": True}
    given = entry.get("realms")
    realms = base["realms"] if given is None else in_order(base["realms"], given)
    enabled = base["enabled"] if entry.get("enabled") is None else entry["enabled"]
    return {"url": entry["url"], "kind": entry.get("kind") or base["kind"], "realms": list(realms), "enabled": enabled}


# ---- what has to be done


def _changes(params: Mapping[str, Any], current: Policies, problems: Problems) -> list[Change]:
    changes = each_change(
        params["config"], lambda entry: str(entry["url"]), lambda entry: _change(entry, params["state"], current), problems
    )
    before, after = _orders(changes, current, params)
    if before != after:
        made = [url for url in before if url not in current.elements]
        changes.append(
            Change(ORDER, {"urls": before}, {"urls": after}, Reorder(current.shape, _wanted(params, before), list(current.elements), made))
        )
    return changes


def _change(entry: Words, state: str, current: Policies) -> Change | None:
    element = lookup(current.elements, entry["url"])
    have = element.words if element else None
    describe = partial(describe_policy, current.shape)
    if state == "deleted":
        return Change(entry["url"], have, None, Edit(current.shape, entry["url"], describe, have, None)) if have else None
    if have and entry.get("kind") and entry["kind"] != have["kind"]:
        raise UserError(f"kind: is {have['kind']} and cannot become {entry['kind']}; delete it first (state deleted)")
    after = desired(entry, have, state)
    if after == have:
        return None
    members = body(current.shape, policy_members(have) if have else {}, policy_members(after), element.wire if element else {})
    members.setdefault(current.shape.kinds.get(after["kind"], after["kind"]), {})
    return Change(entry["url"], have, after, Edit(current.shape, entry["url"], describe, have, members))


def _wanted(params: Mapping[str, Any], there: Iterable[str]) -> list[str]:
    """The order of `config`, and after it those that are `there` whose wildcard would hide one of its policies."""
    if params["state"] == "deleted":
        return []
    named = [entry["url"] for entry in params["config"]]
    wildcards = {f"*/{url.partition('/')[2]}" for url in named if not url.startswith("*")}
    return [*named, *(url for url in there if url in wildcards and url not in named)]


def _in_place(urls: Sequence[str], params: Mapping[str, Any]) -> bool:
    wanted = [url for url in _wanted(params, urls) if url in urls]
    return in_order(urls, wanted) == list(urls)


def _orders(changes: Sequence[Change], current: Policies, params: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The URLs as they would stand after all other changes, new ones at the end, and as they have to stand."""
    gone = {change.name for change in changes if change.action == "delete"}
    kept = [url for url in current.elements if url not in gone]
    new = [change.name for change in changes if change.action == "create"]
    there = {*kept, *new}
    return [*kept, *new], in_order(kept, [url for url in _wanted(params, kept) if url in there])


def _result(changes: Sequence[Change], current: Policies, params: Mapping[str, Any]) -> list[Words]:
    """All policies as they will be, in their order."""
    changed = {change.name: change.after for change in changes if change.after and change.name != ORDER}
    words = {**current.words, **changed}
    return [words[url] for url in _orders(changes, current, params)[1]]


def _unsound(change: Change, current: Policies, params: Mapping[str, Any]) -> Iterator[str]:
    """Realms that there are not, or not of this kind."""
    if change.after is None or change.name == ORDER or not current.realms:
        return
    kind = change.after["kind"]
    if not change.after["realms"]:
        yield "realms: is missing; name the realms that the URL offers"
    (other,) = (name for name in KINDS if name != kind)
    expected = params["expected_realms"]  # by kind, or names alone, which may be of either
    told = expected if isinstance(expected, Mapping) else {}
    known = [*current.realms[kind], *(told.get(kind, ()) if told else expected)]
    for name in change.after["realms"]:
        if name in known:
            continue
        if name in current.realms[other] or name in told.get(other, ()):
            yield f"realms: {name!r} is one of {other} realms, and this is a policy of kind {kind}"
        else:
            yield unknown(f"realms: no {kind} realm", name, known)


def _guarded(changes: list[Change], current: Policies, params: Mapping[str, Any], problems: Problems) -> list[Change]:
    """The changes, those of the acting administrator's own sign-in last and to be proved. Adds what the lock-out guard refuses."""
    before, acting = current.sign_in, str(params["realm"])
    if before is None:
        return changes
    first, own = [], []
    for change in changes:
        if judge(before, replace(before, policies=_alone(change, current)), acting).touches_own:
            own.append(replace(change, details=_proving(change, current)))
        else:
            first.append(change)
    problems.collect(judge(before, replace(before, policies=_result(changes, current, params)), acting).problems)
    return [*first, *own]


def _alone(change: Change, current: Policies) -> list[Words]:
    """All policies as they would be after this change alone."""
    words = current.words
    if change.name == ORDER:
        return [words[url] for url in (change.after or {})["urls"] if url in words]
    if change.after is None:
        return [policy for url, policy in words.items() if url != change.name]
    return list({**words, change.name: change.after}.values())


def _proving(change: Change, current: Policies) -> Any:
    if change.name == ORDER:
        return replace(change.details, proving=True)
    wire: Wire = current.elements[change.name].wire if change.before else {}
    if change.action != "update":
        return replace(change.details, back=deepcopy(dict(wire)))
    before, after = policy_members(change.before or {}), policy_members(change.after or {})
    return replace(change.details, back=body(current.shape, after, before, wire))


def _shadows(result: Sequence[Words], params: Mapping[str, Any]) -> Iterator[str]:
    """Policies that nobody reaches, where `config` names them or what hides them."""
    named = {entry["url"] for entry in params["config"]}
    for position, policy in enumerate(result):
        other = shadowed(policy, result[:position]) if policy["enabled"] else None
        if other and named & {policy["url"], other["url"]}:
            yield (
                f"{policy['url']}: nobody gets to this sign-in policy, for {other['url']} before it serves the same addresses; "
                f"list {policy['url']} before {other['url']} in config"
            )


# ---- order


@dataclass(frozen=True)
class Reorder:
    """The way of a new order to the appliance: the whole list, as it is then, with its elements moved.

    `planned` are the URLs that there were when this was planned, `made` those that the same run makes.
    """

    shape: Shape
    wanted: Sequence[str]
    planned: Sequence[str]
    made: Sequence[str]
    proving: bool = False

    def apply(self, session: ApplianceSession) -> None:
        wires = self._wires(session)
        new = [url for url in wires if url not in (*self.planned, *self.made)]
        if new:
            raise UserError(f"changed meanwhile: somebody else has made {', '.join(new)}; {BEST_EFFORT}")
        order = in_order([url for url in wires if url not in self.made], [url for url in self.wanted if url in wires])
        self._put(session, wires, order)
        if self.proving:
            prove(session, lambda: self._put(session, wires, list(wires)))

    def _wires(self, session: ApplianceSession) -> dict[str, Wire]:
        return {self.shape.name_of(wire): wire for wire in session.list(self.shape.resource)}

    def _put(self, session: ApplianceSession, wires: Mapping[str, Wire], order: Sequence[str]) -> None:
        """Write the whole list, and see that the appliance took its order: that it does is inferred."""
        path = self.shape.plural(session.options.node)
        session.raw("PUT", path, {self.shape.member: [wires[url] for url in order]})
        now = list(self._wires(session))
        if now != list(order):
            raise UserError(
                f"wrote {', '.join(order)}, but the appliance has {', '.join(now)}: it does not take the order from PUT {path} (inferred); "
                "move the policies in the console (Authentication > Signing In > Sign-in Policies)"
            )
