# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of one policy by a wish, and what has to be repaired in it (pure)."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from difflib import get_close_matches

from ansible_collections.certlogon.core.plugins.module_utils.directory.security import AnyAce, SecurityDescriptor, Sid
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import content, descriptors, gpt_ini
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.content import GPT_INI
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.descriptors import Permission
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_container import Container, Domain
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_marks import marked
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_state import Current, Outcome, State, Wish
from ansible_collections.certlogon.core.plugins.module_utils.resource import Words

_WRITE = 0x20
"""RIGHT_DS_WRITE_PROPERTY ([MS-ADTS] 5.1.3.2)."""


def evolve(state: State, wish: Wish, current: Current, now: datetime.datetime) -> Outcome:
    """The policy with the wish carried out on it (pure). Raises `UserError` for what cannot be."""
    container = state.container
    before = state.files
    files = content.edit(before, wish.content, exact=wish.exact, now=now)
    changed = {path: data for path, data in files.items() if data != before.get(path)}
    version, repairs, torn = judge_versions(state)
    halves = {"user": any(path.casefold().startswith("user\\") for path in changed)}
    halves["computer"] = any(not path.casefold().startswith("user\\") for path in changed)
    names = {}
    for half, old in (("computer", container.machine_extensions), ("user", container.user_extensions)):
        if halves[half] or torn:
            names[half] = content.extension_names(half, old, before, files, wish.content)
        else:
            names[half] = content.with_wished_extensions(half, old, wish.content)
        halves[half] |= names[half] != (old or "").strip()
    kinds = content.kinds(files)
    halves = {half: halves[half] or (torn and bool(kinds[half])) for half in halves}
    version = gpt_ini.bump(version, machine=halves["computer"], user=halves["user"])
    descriptor, writes_descriptor = _descriptor(container.descriptor, wish, current)
    if not writes_descriptor:
        repairs += _judge_folder(state, current.domain)
    wanted: dict[str, tuple[str | int, str | int]] = {
        "displayName": (container.name, _name(wish, container)),
        "flags": (container.flags, container.flags if wish.flags is None else wish.flags),
        "gPCWQLFilter": (container.wmi_filter or "", _wmi_value(wish, container, current)),
        "gPCMachineExtensionNames": ((container.machine_extensions or "").strip(), names["computer"]),
        "gPCUserExtensionNames": ((container.user_extensions or "").strip(), names["user"]),
    }
    attributes: dict[str, str | int | None] = {name: new for name, (old, new) in wanted.items() if old != new}
    return Outcome(
        files,
        _name(wish, container),
        container.flags if wish.flags is None else wish.flags,
        str(wanted["gPCWQLFilter"][1]) or None,
        names["computer"],
        names["user"],
        descriptor,
        version,
        changed,
        attributes,
        writes_descriptor,
        tuple(repairs),
        state.folder is None or writes_descriptor or bool(repairs),
    )


def _name(wish: Wish, container: Container) -> str:
    """Only who says which policy is meant by its identifier can mean another name."""
    return wish.name if wish.guid else container.name


def unchanged(state: State) -> Outcome:
    one = state.container
    return Outcome(
        state.files,
        one.name,
        one.flags,
        one.wmi_filter,
        one.machine_extensions or "",
        one.user_extensions or "",
        one.descriptor,
        one.version or 0,
        {},
        {},
        False,
        (),
        False,
    )


def judge_versions(state: State) -> tuple[int, list[str], bool]:
    """The version to go on from, what has to be repaired, and whether clients may have missed a change."""
    in_directory = state.container.version or 0
    if state.folder is None:
        return in_directory, ["its folder is missing in SYSVOL and is made again"], True
    if state.gpt is None:
        return in_directory, [f"{GPT_INI} is missing in SYSVOL and is made again"], True
    try:
        file = gpt_ini.parse(state.gpt)
    except FormatError as error:
        raise FormatError(f"{state.container.folder}\\{error}") from error
    halves = zip(gpt_ini.split(file.version), gpt_ini.split(in_directory), strict=True)
    highest = gpt_ini.join(*(max(pair) for pair in halves))
    if marked(state.gpt):
        return highest, ["an earlier run died in the middle of a change, which is finished now"], True
    if file.version != in_directory:
        return (
            highest,
            [f"version {in_directory} in the directory and {file.version} in {GPT_INI} are brought together"],
            True,
        )
    return in_directory, [], False


def _judge_folder(state: State, domain: Domain) -> list[str]:
    """On Samba the folder's permissions follow exactly from the directory object's."""
    if state.folder is None or state.container.descriptor is None or not domain.is_samba:
        return []
    if descriptors.same_on_disk(state.folder, descriptors.samba_file_descriptor(state.container.descriptor)):
        return []
    return ["the permissions of its folder in SYSVOL do not follow from those of the directory object, and are set again"]


def _descriptor(current: SecurityDescriptor | None, wish: Wish, world: Current) -> tuple[SecurityDescriptor | None, bool]:
    if current is None or wish.permissions is None:
        return current, False
    wanted, raw = _wanted_permissions(wish, world)
    aces = descriptors.merge(current.aces, wanted, raw, exact=wish.permissions_exact)
    if aces == current.aces:
        return current, False
    if not any(ace.grants(_WRITE) for ace in aces):
        raise UserError("permissions: nobody would be left who may edit the policy; give somebody full_control")
    return current.with_dacl(aces), True


def _wanted_permissions(wish: Wish, world: Current) -> tuple[list[Permission], list[AnyAce]]:
    wanted: dict[tuple[Sid, bool], Permission] = {}
    raw = []
    for item in wish.permissions or ():
        if item.get("ace"):
            raw.append(descriptors.ace_from_text(item["ace"], world.context))
            continue
        sid = world.principals[item["principal"]].sid
        one = descriptors.permission(sid, item["rights"], item.get("type") == "deny")
        if wanted.setdefault((sid, one.deny), one) != one:
            raise UserError(f"permissions: {item['principal']} is listed twice with different rights; put them into one entry")
    return list(wanted.values()), raw


def wished_permissions(wish: Wish, world: Current) -> list[Words]:
    """What is asked for a policy that does not exist yet; what the directory gives it besides is not known before it does."""
    wanted, raw = _wanted_permissions(wish, world)
    return descriptors.words([*(ace for one in wanted for ace in one.aces()), *raw], lambda sid: world.names[sid], world.context)


def _wmi_value(wish: Wish, container: Container, world: Current) -> str:
    """gPCWQLFilter: `[domain;{id};0]` ([MS-GPOL] 2.2.1)."""
    if wish.wmi_filter is None or wish.wmi_filter == wmi_word(container.wmi_filter, world):
        return container.wmi_filter or ""
    if not wish.wmi_filter:
        return ""
    wanted = wish.wmi_filter.casefold()
    hits = [one for one, name in world.wmi_filters.items() if wanted in (one.casefold(), one.casefold().strip("{}"), name.casefold())]
    if len(hits) == 1:
        return f"[{world.domain.dns_name};{hits[0]};0]"
    if hits:
        raise UserError(f"wmi_filter: {len(hits)} filters are called {wish.wmi_filter!r}; give the id: {', '.join(hits)}")
    raise UserError(f"wmi_filter: there is no {wish.wmi_filter!r}{_suggestion(wish.wmi_filter, world.wmi_filters.values())}")


def wmi_word(value: str | None, world: Current) -> str:
    if not value:
        return ""
    parts = value.strip("[]").split(";")
    identifier = parts[1].upper() if len(parts) == 3 else value
    name = world.wmi_filters.get(identifier, "")
    return name if name and list(world.wmi_filters.values()).count(name) == 1 else identifier


def _suggestion(wrong: str, right: Iterable[str]) -> str:
    known = sorted(right)
    near = get_close_matches(wrong, known, 1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; there are {', '.join(known[:12])}" if known else "; there are none in the domain"
