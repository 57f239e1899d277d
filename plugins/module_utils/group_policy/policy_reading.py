# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the policies that matter, whole and at rest: directory, SYSVOL, and what deletions left behind."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.directory import authorities
from ansible_collections.certlogon.core.plugins.module_utils.directory.names import rdn_value
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import Ace
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import policy_container as containers
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import policy_marks as marks
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import policy_wishes, sysvol
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.content import GPT_INI, KNOWN
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_container import Container, Domain, dn_key
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_outcome import judge_versions
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_state import Current, Session, State, Wish, aces_of

_LARGEST_FILE = 4 << 20
_STEADY = 1.0
"""Seconds for which a policy that looks half written must stay as it is to be taken for one that a dead run left."""


def read(session: Session, params: Mapping[str, Any]) -> Current:
    domain = Domain.of(session.directory)
    gathered = params["state"] == "gathered"
    entries = params.get("config") or []
    wishes = policy_wishes.wishes(params) if params["state"] in ("merged", "replaced") else []
    found = containers.read_policies(session.directory, domain)
    chosen = found if gathered and not entries else [one for one in found if any(policy_wishes.means(entry, one) for entry in entries)]
    wanted_targets = [domain.target_dn(link.target) for wish in wishes for link in wish.links or ()]
    targets = containers.read_targets(session.directory, domain, wanted_targets)
    extra = {one.guid: _raw_paths(wishes, one) for one in chosen}
    states = _settled_states(session, chosen, extra, domain, everything=gathered)
    sids = {ace.sid for state in states.values() for ace in aces_of(state.container.descriptor) if isinstance(ace, Ace)}
    named = {item["principal"] for wish in wishes for item in wish.permissions or () if item.get("principal")}
    principals = session.directory.resolve(sorted(named)) if named else {}
    return Current(
        domain,
        found,
        states,
        targets,
        containers.read_wmi_filters(session.directory, domain),
        principals,
        {
            **session.directory.principal_names(sorted(sids, key=str)),
            **{principal.sid: principal.name for principal in principals.values()},
        },
        _leftovers(session, domain, found) if params["state"] == "deleted" else {},
        {dn: containers.similar_units(session.directory, rdn_value(dn)) for dn in wanted_targets if dn_key(dn) not in targets},
        authorities.read(session.directory, params, _pushed(entries) if wishes else ()),
    )


def _pushed(entries: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The certificates that `config` names."""
    for entry in entries:
        for value in (entry.get("certificates") or {}).values():
            yield from value if isinstance(value, list) else ()


def _settled_states(
    session: Session, chosen: Sequence[Container], extra: Mapping[str, set[str]], domain: Domain, *, everything: bool
) -> dict[str, State]:
    """The policies, those that another run is just writing read again until it is done.

    Who has died leaves the same picture for ever; who lives changes it.
    """
    states = _read_states(session, chosen, extra, everything=everything)
    torn = {guid: state for guid, state in states.items() if _is_torn(state)}
    deadline = steady = time.monotonic()
    deadline += sysvol.PATIENCE
    while torn and time.monotonic() < deadline and time.monotonic() - steady < _STEADY:
        time.sleep(_STEADY / 10)
        found = [one for guid in torn if (one := containers.read_policy(session.directory, domain, domain.policy_dn(guid)))]
        again = _read_states(session, found, extra, everything=everything)
        if {guid: _picture(state) for guid, state in again.items()} != {guid: _picture(state) for guid, state in torn.items()}:
            steady = time.monotonic()
        states |= again
        torn = {guid: state for guid, state in again.items() if _is_torn(state)}
    return states


def _is_torn(state: State) -> bool:
    try:
        return judge_versions(state)[2]
    except FormatError:
        return True  # GPT.INI of a policy that is just being made is empty at first


def _picture(state: State) -> tuple[Any, ...]:
    return (state.container.version, state.gpt, state.files, state.folder)


def _read_states(session: Session, chosen: Sequence[Container], extra: Mapping[str, set[str]], *, everything: bool) -> dict[str, State]:
    """The policies' files, all with a few round trips. `everything`: also the files that have no words."""
    folders = [one.folder for one in chosen]
    wanted = {one.guid: {GPT_INI, *KNOWN, *extra.get(one.guid, ())} for one in chosen}
    if everything:
        known = {path.casefold() for path in (GPT_INI, *KNOWN)}
        by_folder = {one.folder: one.guid for one in chosen}
        for path, item in session.sysvol.walk(folders).items():
            if item.is_folder or item.name.startswith(sysvol.TEMPORARY_PREFIX):
                continue
            folder = next(folder for folder in by_folder if path.startswith(f"{folder}\\"))
            relative = path[len(folder) + 1 :]
            if relative.casefold() in known:
                continue
            if item.size > _LARGEST_FILE:
                session.warn(f"{path}: {item.size} bytes are too many for an option; the file is left out")
                continue
            wanted[by_folder[folder]].add(relative)
    paths = [(one.guid, name, f"{one.folder}\\{name}") for one in chosen for name in sorted(wanted[one.guid])]
    data = session.sysvol.read_files([path for _guid, _name, path in paths])
    roots = session.sysvol.read_descriptors(folders)
    files: dict[str, dict[str, bytes | None]] = {one.guid: {} for one in chosen}
    for guid, name, path in paths:
        files[guid][name] = data[path]
    return {one.guid: State(one, files[one.guid].pop(GPT_INI), files[one.guid], roots[one.folder]) for one in chosen}


def _raw_paths(wishes: Iterable[Wish], container: Container) -> set[str]:
    return {
        path
        for wish in wishes
        if (wish.guid == container.guid if wish.guid else wish.name.casefold() == container.name.casefold())
        for path in wish.content.files
    }


def _leftovers(session: Session, domain: Domain, found: Sequence[Container]) -> dict[str, str]:
    """Folders of policies whose deletion was not finished: GUID -> name."""
    known = {one.folder.casefold() for one in found}
    items = session.sysvol.list_folders([domain.policies_folder])[domain.policies_folder] or []
    orphans = [item.name for item in items if item.is_folder and f"{domain.policies_folder}\\{item.name}".casefold() not in known]
    data = session.sysvol.read_files([f"{domain.folder(name)}\\{GPT_INI}" for name in orphans])
    leftovers = {}
    for name in orphans:
        for line in (data[f"{domain.folder(name)}\\{GPT_INI}"] or b"").decode("utf-8", "replace").splitlines():
            if line.startswith(marks.DELETED):
                leftovers[name.upper()] = line[len(marks.DELETED) :].strip()
    return leftovers
