# SPDX-License-Identifier: GPL-3.0-or-later
"""From the entries of `config` to wishes, and which policy an entry means."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates.sources import Authorities
from ansible_collections.certlogon.core.plugins.module_utils.errors import Problems, UserError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import content
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.content import Wanted
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_container import Container, Domain
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_state import DEFAULT_POLICIES, STATUS, LinkWish, Wish
from ansible_collections.certlogon.core.plugins.module_utils.resource import Words

_NAMES = uuid.UUID("8f0b1b0e-52d1-5c11-9a4e-0d7f2a1c6e55")
"""Namespace of the identifiers of new policies."""


def wishes(params: Mapping[str, Any], found: Authorities | None = None) -> list[Wish]:
    """The entries of `config`, checked; raises one `UserError` for all that is wrong with any of them.

    `found` are the enterprise CAs of the directory; None where it was not asked yet.
    """
    problems, wishes = Problems(), []
    for entry in params["config"]:
        try:
            wishes.append(_wish(entry, params["state"], found))
        except UserError as error:
            problems.collect(f"config: {entry['name']}: {line}" for line in str(error).splitlines())
    guids = [wish.guid for wish in wishes if wish.guid]
    problems.collect(f"config: guid {guid} is listed twice" for guid in sorted({one for one in guids if guids.count(one) > 1}))
    problems.raise_any()
    return wishes


def _wish(entry: Words, state: str, authorities: Authorities | None) -> Wish:
    problems = Problems()
    exact = state in ("replaced", "rendered")
    if not entry["name"].strip() or len(entry["name"]) > 255:
        problems.add("name: 1 to 255 characters are needed")
    guid = None
    try:
        guid = canonical_guid(entry["guid"]) if entry.get("guid") else None
    except UserError as error:
        problems.add(str(error))
    found = None
    try:
        found = content.wanted(entry, authorities)
    except UserError as error:
        problems.collect(str(error).splitlines())
    wished_links = entry.get("links")
    if wished_links is None and exact:
        wished_links = []
    targets = [link["target"].casefold() for link in wished_links or ()]
    problems.collect(f"links: target {one!r} is listed twice" for one in sorted({one for one in targets if targets.count(one) > 1}))
    problems.collect(
        f"links: order {link['order']} is not 1 or more"
        for link in wished_links or ()
        if link.get("order") is not None and link["order"] < 1
    )
    for item in entry.get("permissions") or ():
        if item.get("principal") and item.get("rights") is None:
            problems.add(f"permissions: {item['principal']}: rights is missing; an empty list takes the principal's entries away")
    problems.raise_any()
    status = entry.get("status") or ("enabled" if exact else None)
    return Wish(
        entry["name"].strip(),
        guid,
        STATUS[status] if status else None,
        entry.get("wmi_filter") if entry.get("wmi_filter") is not None else ("" if exact else None),
        None if wished_links is None else tuple(_link_wish(link) for link in wished_links),
        (entry.get("links_mode") or ("exact" if exact else "merged")) == "exact",
        None if entry.get("permissions") is None else tuple(entry["permissions"]),
        (entry.get("permissions_mode") or "merged") == "exact",
        found or Wanted(),
        exact,
    )


def _link_wish(link: Words) -> LinkWish:
    return LinkWish(
        link["target"],
        "",
        link.get("order"),
        link.get("enabled") is not False,
        bool(link.get("enforced")),
        link.get("block_inheritance"),
    )


def canonical_guid(value: str) -> str:
    try:
        return f"{{{uuid.UUID(value.strip())}}}".upper()
    except ValueError as error:
        raise UserError(f"guid: {value!r} is no GUID; it looks like {DEFAULT_POLICIES[0]}") from error


def derived_guid(domain: Domain, name: str, taken: Iterable[str]) -> str:
    """The identifier a new policy of this name gets: the same in every run, so that two runs at once make one policy, and not two."""
    used = set(taken)
    for number in range(1000):
        found = f"{{{uuid.uuid5(_NAMES, f'{domain.sid} {name.casefold()} {number}')}}}".upper()
        if found not in used:
            return found
    raise AssertionError("a thousand policies of one name")


def means(entry: Words, container: Container) -> bool:
    if entry.get("guid"):
        try:
            return canonical_guid(entry["guid"]) == container.guid
        except UserError:
            return False
    return bool(entry["name"].strip().casefold() == container.name.casefold())
