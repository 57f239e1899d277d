# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to change so that all wishes come true, and policies in the words of `config` (pure)."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.errors import Problems, UserError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import content, descriptors, policy_links
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.content import KNOWN
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_container import Container, Target, dn_key
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_outcome import (
    evolve,
    unchanged,
    wished_permissions,
    wmi_word,
)
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_state import (
    DEFAULT_POLICIES,
    STATUS,
    Current,
    Outcome,
    Placement,
    State,
    Wish,
    Work,
    aces_of,
)
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_wishes import derived_guid, means
from ansible_collections.certlogon.core.plugins.module_utils.resource import Change, Plan, Words

_STATUS_WORDS = {number: word for word, number in STATUS.items()}


def objects(current: Current) -> dict[str, Words]:
    linked = policy_links.links_by_policy(current.targets, current.domain)
    counts: dict[str, int] = {}
    for state in current.states.values():
        counts[state.container.name.casefold()] = counts.get(state.container.name.casefold(), 0) + 1
    found = {}
    for guid, state in current.states.items():
        name = state.container.name
        key = name if counts[name.casefold()] == 1 else f"{name} {guid}"
        found[key] = _words(unchanged(state), guid, linked.get(dn_key(state.container.dn), []), current)
    return {**found, **{name: {"name": name, "guid": guid} for name, guid in _leftover_names(current).items()}}


def plan(wishes: Sequence[Wish], current: Current, now: datetime.datetime) -> Plan:
    problems = Problems()
    warnings: list[str] = []
    by_name: dict[str, list[Container]] = {}
    by_guid = {one.guid: one for one in current.containers}
    for one in current.containers:
        by_name.setdefault(one.name.casefold(), []).append(one)
    taken = set(by_guid)
    chosen: list[tuple[Wish, State, Outcome, bool]] = []
    for wish in wishes:
        try:
            state, new = _state_of(wish, current, by_guid, by_name, taken)
            taken.add(state.container.guid)
            outcome = evolve(state, wish, current, now)
        except UserError as error:
            problems.collect(f"{wish.name}: {line}" for line in str(error).splitlines())
            continue
        chosen.append((wish, state, outcome, new))
    placements, links_problems = policy_links.placements([(wish, state) for wish, state, _outcome, _new in chosen], current)
    problems.collect(links_problems)
    blocks, block_problems = policy_links.blocks(wishes, current)
    problems.collect(block_problems)
    problems.raise_any()
    future = policy_links.future_targets(
        placements, blocks, [(wish, state.container.dn) for wish, state, _outcome, _new in chosen], current
    )
    linked, linked_after = (
        policy_links.links_by_policy(current.targets, current.domain),
        policy_links.links_by_policy(future, current.domain),
    )
    changes = []
    for wish, state, outcome, new in chosen:
        key = dn_key(state.container.dn)
        work = _work(wish, state, outcome, new, placements, blocks, current, future)
        warnings.extend(f"{wish.name}: {reason}" for reason in (() if new else outcome.repairs))
        warnings.extend(_warnings(wish, state, outcome, current))
        pending = wish.content.pending
        if work.content or work.placements or work.unlink or work.blocks or pending:
            guid = state.container.guid
            before = None if new else _words(unchanged(state), guid, linked.get(key, []), current)
            after = content.with_items(_words(outcome, guid, linked_after.get(key, []), current), pending)
            if new and wish.permissions:
                after["permissions"] = wished_permissions(wish, current)
            changes.append(Change(wish.name, before, after, work))
    return Plan(changes, warnings)


def plan_deletions(params: Mapping[str, Any], current: Current) -> Plan:
    problems, changes = Problems(), []
    linked = policy_links.links_by_policy(current.targets, current.domain)
    leftovers = {name.casefold(): (guid, name) for name, guid in _leftover_names(current).items()}
    for entry in params["config"]:
        found = [one for one in current.containers if means(entry, one)]
        if len(found) > 1:
            problems.add(f"{entry['name']}: {len(found)} policies have this name; set guid to one of {', '.join(o.guid for o in found)}")
            continue
        if not found:
            left = leftovers.get(entry["name"].strip().casefold())
            if left:
                guid, name = left
                work = Work(guid, current.domain.policy_dn(guid), current.domain.folder(guid), None, current)
                changes.append(Change(name, {"name": name, "guid": guid}, None, work))
            continue
        container = found[0]
        if container.guid in DEFAULT_POLICIES:
            problems.add(f"{container.name}: Windows needs this policy; it cannot be deleted (links may be taken away, contents replaced)")
            continue
        key = dn_key(container.dn)
        unlink: dict[str, tuple[Placement, ...]] = {
            target.dn: () for target in current.targets.values() if key in policy_links.linked(target)
        }
        before = _words(unchanged(current.states[container.guid]), container.guid, linked.get(key, []), current)
        changes.append(
            Change(container.name, before, None, Work(container.guid, container.dn, container.folder, None, current, unlink=unlink))
        )
    problems.raise_any()
    return Plan(changes)


def _work(
    wish: Wish,
    state: State,
    outcome: Outcome,
    new: bool,
    placements: Mapping[str, tuple[Placement, ...]],
    blocks: Mapping[str, bool],
    current: Current,
    future: Mapping[str, Target],
) -> Work:
    container = state.container
    key = dn_key(container.dn)
    own = policy_links.own_placements(key, placements, current, future)
    unlink = {current.targets[target].dn: placements.get(target, ()) for target in policy_links.unwanted(wish, key, current)}
    targets = {policy_links.link_key(link, current) for link in wish.links or ()}
    block = {
        current.targets[target].dn: blocked
        for target, blocked in blocks.items()
        if target in targets and blocked != current.targets[target].blocks_inheritance
    }
    changes = new or outcome.changed_files or outcome.attributes or outcome.writes_descriptor or own or unlink or block
    return Work(
        container.guid,
        container.dn,
        container.folder,
        wish,
        current,
        new=new,
        content=new or outcome.writes,
        only_repairs=not changes,
        placements=own,
        unlink=unlink,
        blocks=block,
    )


def _state_of(
    wish: Wish,
    current: Current,
    by_guid: Mapping[str, Container],
    by_name: Mapping[str, Sequence[Container]],
    taken: set[str],
) -> tuple[State, bool]:
    """The policy that the wish means as it is, or as it will be right after its creation."""
    namesakes = by_name.get(wish.name.casefold(), [])
    if wish.guid:
        found = by_guid.get(wish.guid)
        others = [one.guid for one in namesakes if one.guid != wish.guid]
        if others and found is None:
            raise UserError(f"guid: there is a policy of this name already, {others[0]}; leave guid out to manage that one")
    else:
        if len(namesakes) > 1:
            raise UserError(f"name: {len(namesakes)} policies have it; set guid to one of {', '.join(one.guid for one in namesakes)}")
        found = namesakes[0] if namesakes else None
    if found is not None:
        return current.states[found.guid], False
    guid = wish.guid or derived_guid(current.domain, wish.name, taken)
    domain = current.domain
    container = Container(domain.policy_dn(guid), guid, wish.name, 0, 0, domain.folder(guid), None, None, None, None)
    return State(container, None, dict.fromkeys(KNOWN), None), True


def _words(outcome: Outcome, guid: str, linked: Sequence[Words], current: Current) -> Words:
    """A policy as `config` accepts it."""
    words: Words = {"name": outcome.name, "guid": guid, "status": _STATUS_WORDS.get(outcome.flags & 3, "enabled")}
    filter_word = wmi_word(outcome.wmi_filter, current)
    if filter_word:
        words["wmi_filter"] = filter_word
    if linked:
        words["links"] = list(linked)
    if outcome.descriptor is not None:
        names = current.names
        words["permissions"] = descriptors.words(outcome.descriptor.aces, lambda sid: names.get(sid, str(sid)), current.context)
    return {**words, **content.words(outcome.files, outcome.machine_extensions, outcome.user_extensions)}


def _warnings(wish: Wish, state: State, outcome: Outcome, current: Current) -> list[str]:
    found = []
    aces = aces_of(outcome.descriptor)
    if aces and not descriptors.computers_can_read(aces, current.domain.sid):
        found.append(
            f"{wish.name}: permissions: computers cannot read this policy, so that since MS16-072 not even its user settings apply; "
            "give Authenticated Users or Domain Computers the right read"
        )
    if aces and descriptors.applies_to_nobody(aces):
        found.append(f"{wish.name}: permissions: the policy applies to nobody; give somebody the right apply")
    for half, names in (("computer", outcome.machine_extensions), ("user", outcome.user_extensions)):
        missing = content.missing_extensions(half, names, outcome.files)
        if missing:
            found.append(
                f"{wish.name}: Windows clients skip its {' and '.join(missing)} content of the {half} half, for the directory object does "
                "not name the client-side extension; change any of it by this module to have it named, or name it in option extensions"
            )
    if state.container.name != outcome.name:
        found.append(f"{wish.name}: the policy {state.container.guid} is called {state.container.name!r} and gets this name")
    return found


def _leftover_names(current: Current) -> dict[str, str]:
    return {name: guid for guid, name in current.leftovers.items()}
