# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing: one policy is one transaction, under its lock.

On creation: the directory object at version 0, then SYSVOL, then version and extension names together, links last. On change: SYSVOL
first, then the directory (compare-and-swap on the version), GPT.INI in step through the handle that is the lock. While a change is under
way GPT.INI says so in a comment; who finds that comment and gets the lock knows that a run died, and finishes its work.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from ansible_collections.certlogon.core.plugins.module_utils.directory.security import SecurityDescriptor
from ansible_collections.certlogon.core.plugins.module_utils.errors import Problems, UserError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import descriptors, sysvol
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import policy_container as containers
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import policy_marks as marks
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.content import GPT_INI, KNOWN
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_container import Container, Domain
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_links import place, unlinked, with_block
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_outcome import evolve
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_state import Current, Session, State, Work
from ansible_collections.certlogon.core.plugins.module_utils.resource import Change, Plan

_FOLDERS = ("Machine", "User")
_ATTEMPTS = 20


def authorize(session: Session, plan: Plan, current: Current) -> None:
    directory, domain = session.directory, current.domain
    works = [change.details for change in plan.changes]
    problems = Problems()
    if any(work.new for work in works) and not directory.may_create(domain.policies_dn, "groupPolicyContainer"):
        problems.add(
            f"this account may not create policies in {domain.policies_dn}; use a Domain Admin (on Windows a member of "
            "Group Policy Creator Owners will do) or have the right delegated"
        )
    for change in plan.changes:
        work: Work = change.details
        if not work.new and work.content and not directory.may_write(work.dn, "versionNumber"):
            problems.add(f"{change.name}: this account may not edit the policy {work.dn}; give it right edit or full_control")
    for dn in sorted({dn for work in works for dn in (*work.placements, *work.unlink)}):
        if not directory.may_write(dn, containers.LINKS):
            problems.add(f"this account may not link policies to {dn}; have the right to manage links (gPLink) delegated there")
    for dn in sorted({dn for work in works for dn in work.blocks}):
        if not directory.may_write(dn, containers.OPTIONS):
            problems.add(f"this account may not block inheritance at {dn}; have the right (gPOptions) delegated there")
    problems.raise_any()


def apply(session: Session, change: Change) -> None:
    work: Work = change.details
    if work.wish is None:
        _delete(session, change.name, work)
        return
    if work.new:
        containers.create(session.directory, work.current.domain, work.guid, work.wish.name)
    if work.content:
        _transact(session, work)
    for dn, placements in work.placements.items():
        containers.edit_value(session.directory, dn, containers.LINKS, lambda value, p=placements: place(value, p, work.dn))  # type: ignore[misc]
    _unlink(session, work)
    for dn, blocked in work.blocks.items():
        containers.edit_value(session.directory, dn, containers.OPTIONS, lambda value, b=blocked: with_block(value, b))  # type: ignore[misc]


def _file_descriptor(descriptor: SecurityDescriptor | None, domain: Domain) -> SecurityDescriptor | None:
    """What every file and folder gets on Samba; on Windows they inherit from the policy's folder."""
    return descriptors.samba_file_descriptor(descriptor) if descriptor and domain.is_samba else None


def _folder_descriptor(descriptor: SecurityDescriptor | None, domain: Domain) -> SecurityDescriptor | None:
    if descriptor is None:
        return None
    return descriptors.samba_file_descriptor(descriptor) if domain.is_samba else descriptors.windows_file_descriptor(descriptor)


def _transact(session: Session, work: Work) -> None:
    """Carry a wish out on a policy as it is now, under its lock; what somebody else has done since it was read is kept."""
    try:
        _locked(session, work)
    except sysvol.AccessRefused:
        # on Samba the file system's own permissions may be narrower than the descriptors; setting those again mends them
        if not (work.current.domain.is_samba and _widened(session, work)):
            raise
        _locked(session, work)


def _widened(session: Session, work: Work) -> bool:
    """Set the descriptors of the whole folder again, where the account may."""
    container = _read_container(session, work)
    descriptor = _file_descriptor(container.descriptor, work.current.domain)
    if descriptor is None:
        return False
    try:
        session.sysvol.set_descriptors([container.folder], descriptor)
        session.sysvol.set_descriptors(list(session.sysvol.walk([container.folder])), descriptor)
    except UserError:
        return False
    return True


def _locked(session: Session, work: Work) -> None:
    container = _read_container(session, work)
    domain = work.current.domain
    folder = container.folder
    session.sysvol.make_folders([folder], _folder_descriptor(container.descriptor, domain))
    session.sysvol.make_folders([f"{folder}\\{name}" for name in _FOLDERS], _file_descriptor(container.descriptor, domain))
    with session.sysvol.lock(f"{folder}\\{GPT_INI}") as held:
        for _attempt in range(_ATTEMPTS):
            if _attempted(session, work, held):
                return
    raise UserError(f"{work.dn}: versionNumber was changed by others {_ATTEMPTS} times in a row; find out what writes it all the time")


def _attempted(session: Session, work: Work, held: sysvol.HeldFile) -> bool:
    if work.wish is None:
        raise AssertionError("only a policy that is wished for is written")
    container = _read_container(session, work)
    folder, domain = container.folder, work.current.domain
    state = _fresh_state(session, container, work, held.read())
    outcome = evolve(state, work.wish, work.current, datetime.datetime.now(datetime.timezone.utc))
    if not (outcome.writes or work.new):
        return True
    if outcome.changed_files or outcome.version != container.version:
        held.write(marks.with_mark(state.gpt))
    if outcome.writes_descriptor and outcome.descriptor:
        containers.write_descriptor(session.directory, container.dn, outcome.descriptor)
        container = _read_container(session, work)
    on_file, on_folder = _file_descriptor(container.descriptor, domain), _folder_descriptor(container.descriptor, domain)
    written = {f"{folder}\\{path}": data for path, data in outcome.changed_files.items() if data is not None}
    session.sysvol.make_folders(_parents(folder, written), on_file)
    session.sysvol.write_files(written, on_file)
    session.sysvol.delete_files(f"{folder}\\{path}" for path, data in outcome.changed_files.items() if data is None)
    _tidy(session, folder, on_file, on_folder)
    if not containers.commit(session.directory, container, outcome.version, outcome.attributes):
        return False
    final = marks.with_version(state.gpt, outcome.version)
    if final != held.read():
        held.write(final)
    return True


def _read_container(session: Session, work: Work) -> Container:
    container = containers.read_policy(session.directory, work.current.domain, work.dn)
    if container is None:
        raise UserError(f"{work.dn}: the policy was deleted after it had been read; run again to have it made anew")
    return container


def _fresh_state(session: Session, container: Container, work: Work, gpt: bytes) -> State:
    names = sorted({*KNOWN, *(work.wish.content.files if work.wish else ())})
    data = session.sysvol.read_files([f"{container.folder}\\{name}" for name in names])
    files = {name: data[f"{container.folder}\\{name}"] for name in names}
    root = session.sysvol.read_descriptors([container.folder])[container.folder]
    return State(container, gpt or None, files, root)


def _parents(folder: str, paths: Iterable[str]) -> list[str]:
    """The folders that these files need below the policy's own."""
    found = set()
    for path in paths:
        parent = path.rpartition("\\")[0]
        while len(parent) > len(folder):
            found.add(parent)
            parent = parent.rpartition("\\")[0]
    return sorted(found)


def _tidy(session: Session, folder: str, on_file: SecurityDescriptor | None, on_folder: SecurityDescriptor | None) -> None:
    """Remove what a dead run left behind, and give everything the permissions it should have; the folder's own come last.

    Nobody else can be writing here: we hold the lock.
    """
    found = session.sysvol.walk([folder])
    stale = [path for path, item in found.items() if item.name.startswith(sysvol.TEMPORARY_PREFIX)]
    session.sysvol.delete_files(stale)
    if on_folder is None:
        return
    paths = [*(path for path in found if path not in stale), folder] if on_file is not None else [folder]
    present = session.sysvol.read_descriptors(paths)
    wrong = [path for path, have in present.items() if have is not None and not descriptors.same_on_disk(have, on_folder)]
    session.sysvol.set_descriptors([path for path in wrong if path != folder], on_folder)
    session.sysvol.set_descriptors([path for path in wrong if path == folder], on_folder)


def _unlink(session: Session, work: Work) -> None:
    """Take links away; the links that `config` wants there keep the order it wants."""
    for dn, placements in work.unlink.items():
        containers.edit_value(
            session.directory,
            dn,
            containers.LINKS,
            lambda value, p=placements: place(unlinked(value, work.dn), p, work.dn),  # type: ignore[misc]
        )


def _delete(session: Session, name: str, work: Work) -> None:
    """Links first, then the directory object, then SYSVOL. GPT.INI remembers the name, so that the next run finds what is left."""
    _unlink(session, work)
    marker = f"{work.folder}\\{GPT_INI}"
    if session.sysvol.list_folders([work.folder])[work.folder] is not None:
        with session.sysvol.lock(marker) as held:
            data = held.read()
            held.write(
                f"{marks.DELETED} {name}\r\n".encode() if not marks.lines(data) else marks.with_mark(data, f"{marks.DELETED} {name}")
            )
            containers.delete(session.directory, work.dn)
        session.sysvol.delete_tree(work.folder)
    else:
        containers.delete(session.directory, work.dn)
