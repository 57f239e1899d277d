# SPDX-License-Identifier: GPL-3.0-or-later
"""Where policies are linked: the links that `config` wants, what targets become by them, and their words (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import links
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import policy_container as containers
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.links import Link
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_container import Domain, Target, dn_key
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_state import Current, LinkWish, Placement, State, Wish
from ansible_collections.certlogon.core.plugins.module_utils.resource import Words


def link_key(link: LinkWish, current: Current) -> str:
    return dn_key(current.domain.target_dn(link.target))


def placements(chosen: Sequence[tuple[Wish, State]], current: Current) -> tuple[dict[str, tuple[Placement, ...]], list[str]]:
    """The links that `config` wants, by target, and what is wrong with them."""
    found: dict[str, list[Placement]] = {}
    problems = []
    for wish, state in chosen:
        seen = set()
        for link in wish.links or ():
            key = link_key(link, current)
            if key not in current.targets:
                near = current.similar.get(current.domain.target_dn(link.target)) or []
                hint = f"; did you mean {current.domain.target_word(near[0])!r}?" if near else "; make it first, or mend the path"
                problems.append(f"{wish.name}: links.target: there is no {current.domain.target_dn(link.target)}{hint}")
            elif key in seen:
                problems.append(f"{wish.name}: links: {link.target} is listed twice")
            else:
                found.setdefault(key, []).append(Placement(state.container.dn, link.order, link.enabled, link.enforced))
            seen.add(key)
    for key, placements in found.items():
        orders = [one.order for one in placements if one.order is not None]
        problems.extend(
            f"links: order {order} at {current.targets[key].dn} is wanted by several policies of config; give each its own"
            for order in sorted({order for order in orders if orders.count(order) > 1})
        )
        try:
            links.parse(current.targets[key].links)
        except FormatError as error:
            problems.append(f"{current.targets[key].dn}: {error}; mend the attribute first")
    return {key: tuple(placements) for key, placements in found.items()}, problems


def blocks(wishes: Sequence[Wish], current: Current) -> tuple[dict[str, bool], list[str]]:
    found: dict[str, bool] = {}
    problems = []
    for wish in wishes:
        for link in wish.links or ():
            key = link_key(link, current)
            if link.block_inheritance is None or key not in current.targets:
                continue
            if "cn=sites," in key and key.endswith(dn_key(current.domain.configuration_dn)):
                if link.block_inheritance:
                    problems.append(f"{wish.name}: links: {link.target}: a site cannot block inheritance")
                continue
            if found.setdefault(key, link.block_inheritance) != link.block_inheritance:
                problems.append(f"{wish.name}: links: block_inheritance of {link.target} is set both ways in config")
    return found, problems


def place(value: str | None, placements: Sequence[Placement], mine: str | None = None) -> str:
    """gPLink with all these links; with `mine`, with that policy's and those of policies that are linked there already."""
    if mine is not None:
        present = {key for key, _link in _keyed(value)}
        placements = [one for one in placements if dn_key(one.policy) == dn_key(mine) or dn_key(one.policy) in present]
    text_now = value or ""
    for one in (*(one for one in placements if not one.order), *sorted((o for o in placements if o.order), key=lambda o: o.order or 0)):
        if not _placed(_keyed(text_now), one):
            found = links.place(links.parse(text_now), one.policy, order=one.order, enabled=one.enabled, enforced=one.enforced)
            text_now = links.serialise(found)
    return text_now


@lru_cache(maxsize=4096)
def _keyed(value: str | None) -> tuple[tuple[str, Link], ...]:
    """The links of a value in the order of the text, with their policies' keys. Raises `FormatError`."""
    return tuple((dn_key(link.dn), link) for link in links.parse(value))


def _placed(found: Sequence[tuple[str, Link]], wanted: Placement) -> bool:
    """Whether the link is there already, so set and where it should be."""
    key = dn_key(wanted.policy)
    for number, (other, link) in enumerate(reversed(found), 1):
        if other == key:
            where = wanted.order is None or number == min(wanted.order, len(found))
            return where and (link.enabled, link.enforced) == (wanted.enabled, wanted.enforced)
    return False


def unlinked(value: str | None, dn: str) -> str:
    return links.serialise(links.remove(links.parse(value), dn))


def with_block(value: str | None, blocked: bool) -> str | None:
    number = int(value or 0)
    wanted = number | containers.BLOCKED if blocked else number & ~containers.BLOCKED
    return value if wanted == number else str(wanted)


def unwanted(wish: Wish, key: str, current: Current) -> list[str]:
    """Targets that the policy is linked to and, by an exact list, should not be."""
    if not wish.links_exact or wish.links is None:
        return []
    wanted = {link_key(link, current) for link in wish.links}
    return [target for target, one in current.targets.items() if target not in wanted and key in linked(one)]


def linked(target: Target) -> set[str]:
    try:
        return {key for key, _link in _keyed(target.links)}
    except FormatError:
        return set()


def future_targets(
    placements: Mapping[str, Sequence[Placement]],
    blocks: Mapping[str, bool],
    chosen: Sequence[tuple[Wish, str]],
    current: Current,
) -> dict[str, Target]:
    """The targets as they will be when all of `config` is carried out."""
    future = dict(current.targets)
    for wish, dn in chosen:
        for target in unwanted(wish, dn_key(dn), current):
            future[target] = replace(future[target], links=unlinked(future[target].links, dn))
    for target, wanted in placements.items():
        future[target] = replace(future[target], links=place(future[target].links, wanted))
    for target, blocked in blocks.items():
        options = future[target].options
        future[target] = replace(future[target], options=options | containers.BLOCKED if blocked else options & ~containers.BLOCKED)
    return future


def own_placements(
    key: str, placements: Mapping[str, tuple[Placement, ...]], current: Current, future: Mapping[str, Target]
) -> dict[str, tuple[Placement, ...]]:
    """The targets where this policy's link has to be made, changed or moved, with all links that `config` wants there."""
    found = {}
    for target, wanted in placements.items():
        mine = [one for one in wanted if dn_key(one.policy) == key]
        before = current.targets[target].links
        if mine and before != future[target].links and not all(_placed(_keyed(before), one) for one in mine):
            found[current.targets[target].dn] = wanted
    return found


def links_by_policy(targets: Mapping[str, Target], domain: Domain) -> dict[str, list[Words]]:
    found: dict[str, list[Words]] = {}
    for target in targets.values():
        try:
            keyed = _keyed(target.links)
        except FormatError:
            continue
        word = domain.target_word(target.dn)
        seen = set()
        for number, (key, link) in enumerate(reversed(keyed), 1):
            if key not in seen:
                seen.add(key)
                item = {"target": word, "order": number, "enabled": link.enabled, "enforced": link.enforced}
                found.setdefault(key, []).append({**item, "block_inheritance": target.blocks_inheritance})
    for items in found.values():
        items.sort(key=lambda item: str(item["target"]).casefold())
    return found
