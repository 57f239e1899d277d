# SPDX-License-Identifier: GPL-3.0-or-later
"""Group Policy objects whole: the directory object, its folder in SYSVOL, its links and its permissions ([MS-GPOL] 3.3.5).

One policy is one transaction. On creation: the directory object at version 0, then SYSVOL, then version and extension names together,
links last. On change: SYSVOL first, then the directory (compare-and-swap on the version), GPT.INI in step through the handle that is
the lock. While a change is under way GPT.INI says so in a comment; who finds that comment and gets the lock knows that a run died, and
finishes its work.
"""

from __future__ import annotations

import datetime
import hashlib
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import load_one
from ansible_collections.certlogon.core.plugins.module_utils.directory import session as ldap
from ansible_collections.certlogon.core.plugins.module_utils.directory.connection import CONNECTION, ConnectionOptions
from ansible_collections.certlogon.core.plugins.module_utils.directory.names import rdn_value
from ansible_collections.certlogon.core.plugins.module_utils.directory.principals import Principal
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import (
    Ace,
    AnyAce,
    SddlContext,
    SecurityDescriptor,
    Sid,
)
from ansible_collections.certlogon.core.plugins.module_utils.directory.session import Directory
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, Problems, UserError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import content, descriptors, gpt_ini, links, sysvol, text
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import policy_container as containers
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.content import GPT_INI, KNOWN, Wanted
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.descriptors import Permission
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.links import Link
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_container import Container, Domain, Target, dn_key
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.sysvol import Sysvol
from ansible_collections.certlogon.core.plugins.module_utils.resource import Change, Plan, Resource, Warn, Words

STATUS = {"enabled": 0, "user_disabled": 1, "computer_disabled": 2, "all_disabled": 3}
"""Attribute flags ([MS-GPOL] 2.2.1)."""

_STATUS_WORDS = {number: word for word, number in STATUS.items()}

DEFAULT_POLICIES = ("{31B2F340-016D-11D2-945F-00C04FB984F9}", "{6AC1786C-016F-11D2-945F-00C04FB984F9}")
"""Default Domain Policy and Default Domain Controllers Policy: the same in every domain, and not to be deleted."""

_FOLDERS = ("Machine", "User")
_UNFINISHED = "; certlogon: a change is under way; if it is not, its run died, and the next run finishes it"
_DELETED = "; certlogon: this policy is being deleted:"
_LARGEST_FILE = 4 << 20
_ATTEMPTS = 20
_STEADY = 1.0
"""Seconds for which a policy that looks half written must stay as it is to be taken for one that a dead run left."""

_NAMES = uuid.UUID("8f0b1b0e-52d1-5c11-9a4e-0d7f2a1c6e55")
"""Namespace of the identifiers of new policies."""


# ---- what a policy is, and what is wanted of it


@dataclass(frozen=True)
class State:
    """One policy as read. `folder` is the descriptor of its folder, None where there is none; `gpt` and `files` likewise."""

    container: Container
    gpt: bytes | None
    files: content.Files
    folder: SecurityDescriptor | None


@dataclass(frozen=True)
class LinkWish:
    target: str
    dn: str
    order: int | None
    enabled: bool
    enforced: bool
    block_inheritance: bool | None


@dataclass(frozen=True)
class Wish:
    """One entry of `config`. None leaves a part alone. `exact`: content that has words and is not wished goes."""

    name: str
    guid: str | None
    flags: int | None
    wmi_filter: str | None
    links: tuple[LinkWish, ...] | None
    links_exact: bool
    permissions: tuple[Words, ...] | None
    permissions_exact: bool
    content: Wanted
    exact: bool


@dataclass(frozen=True)
class Outcome:
    """What a policy becomes: its files, its attributes, its descriptors, and why anything has to be written at all."""

    files: content.Files
    name: str
    flags: int
    wmi_filter: str | None
    machine_extensions: str
    user_extensions: str
    descriptor: SecurityDescriptor | None
    version: int
    changed_files: Mapping[str, bytes | None]
    attributes: Mapping[str, str | int | None]
    writes_descriptor: bool
    repairs: tuple[str, ...]
    tree: bool

    @property
    def writes(self) -> bool:
        return bool(self.changed_files or self.attributes or self.writes_descriptor or self.repairs)


@dataclass(frozen=True)
class Current:
    """Everything read: the policies that matter for `config` (all of them for state=gathered), and the world around them."""

    domain: Domain
    containers: Sequence[Container]
    states: Mapping[str, State]
    targets: Mapping[str, Target]
    wmi_filters: Mapping[str, str]
    principals: Mapping[str, Principal]
    names: Mapping[Sid, str]
    leftovers: Mapping[str, str] = field(default_factory=dict)
    similar: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def context(self) -> SddlContext:
        return SddlContext(self.domain.sid, self.domain.root_sid)


@dataclass(frozen=True)
class Placement:
    """A link that some entry of `config` wants on a target."""

    policy: str
    order: int | None
    enabled: bool
    enforced: bool


@dataclass(frozen=True)
class Work:
    """What `apply` needs for one policy."""

    guid: str
    dn: str
    folder: str
    wish: Wish | None
    current: Current
    new: bool = False
    content: bool = False
    only_repairs: bool = False
    placements: Mapping[str, tuple[Placement, ...]] = field(default_factory=dict)
    unlink: Mapping[str, tuple[Placement, ...]] = field(default_factory=dict)
    blocks: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Session:
    """The two halves of a domain controller, and where warnings go."""

    directory: Directory
    sysvol: Sysvol
    warn: Warn


class GroupPolicies(Resource[Session, Current]):
    connection = CONNECTION
    extra = {
        "use_pdc_emulator": {"type": "bool", "default": True},
        "smb_port": {"type": "int", "default": sysvol.PORT},
    }
    options = {
        "name": {"type": "str", "required": True},
        "guid": {"type": "str"},
        "status": {"type": "str", "choices": list(STATUS)},
        "wmi_filter": {"type": "str"},
        "links": {
            "type": "list",
            "elements": "dict",
            "options": {
                "target": {"type": "str", "required": True},
                "order": {"type": "int"},
                "enabled": {"type": "bool", "default": True},
                "enforced": {"type": "bool", "default": False},
                "block_inheritance": {"type": "bool"},
            },
        },
        "links_mode": {"type": "str", "choices": ["merged", "exact"]},
        "permissions": {
            "type": "list",
            "elements": "dict",
            "options": {
                "principal": {"type": "str"},
                "rights": {"type": "list", "elements": "str", "choices": list(descriptors.RIGHTS)},
                "type": {"type": "str", "choices": ["allow", "deny"], "default": "allow"},
                "ace": {"type": "str"},
            },
            "mutually_exclusive": [("ace", "principal")],
            "required_one_of": [("ace", "principal")],
            "required_by": {"principal": ["rights"]},
        },
        "permissions_mode": {"type": "str", "choices": ["merged", "exact"], "default": "merged"},
        **content.OPTIONS,
    }

    def distinguish(self, entry: Words) -> str:
        """Two policies may have one name, as long as their identifiers tell them apart."""
        return f"{entry['name'].strip()} {entry.get('guid') or ''}"

    def check(self, params: Mapping[str, Any]) -> None:
        if params["state"] in ("merged", "replaced", "rendered"):
            _wishes(params)

    @contextmanager
    def open(self, params: Mapping[str, Any], warn: Warn) -> Iterator[Session]:
        options = ConnectionOptions.from_params(params)
        with ExitStack() as stack:
            directory = stack.enter_context(ldap.connect(options, warn))
            if params["use_pdc_emulator"] and directory.pdc_emulator.casefold() != directory.host.casefold():
                directory = stack.enter_context(ldap.connect(options, warn, host=directory.pdc_emulator))
            share = stack.enter_context(sysvol.connect(directory.host, directory.address, options, params["smb_port"]))
            yield Session(directory, share, warn)

    def read(self, session: Session, params: Mapping[str, Any]) -> Current:
        domain = Domain.of(session.directory)
        gathered = params["state"] == "gathered"
        entries = params.get("config") or []
        wishes = _wishes(params) if params["state"] in ("merged", "replaced") else []
        found = containers.read_policies(session.directory, domain)
        chosen = found if gathered and not entries else [one for one in found if any(_means(entry, one) for entry in entries)]
        wanted_targets = [domain.target_dn(link.target) for wish in wishes for link in wish.links or ()]
        targets = containers.read_targets(session.directory, domain, wanted_targets)
        extra = {one.guid: _raw_paths(wishes, one) for one in chosen}
        states = _settled_states(session, chosen, extra, domain, everything=gathered)
        sids = {ace.sid for state in states.values() for ace in _aces(state.container.descriptor) if isinstance(ace, Ace)}
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
        )

    def objects(self, current: Current) -> dict[str, Words]:
        linked = _links_by_policy(current.targets, current.domain)
        counts: dict[str, int] = {}
        for state in current.states.values():
            counts[state.container.name.casefold()] = counts.get(state.container.name.casefold(), 0) + 1
        found = {}
        for guid, state in current.states.items():
            name = state.container.name
            key = name if counts[name.casefold()] == 1 else f"{name} {guid}"
            found[key] = _words(_unchanged(state), guid, linked.get(dn_key(state.container.dn), []), current)
        return {**found, **{name: {"name": name, "guid": guid} for name, guid in _leftover_names(current).items()}}

    def shown(self, words: Words) -> Words:
        """Subjects and fingerprints: nobody can read PEM and base64."""
        shown = dict(words)
        if "certificates" in words:
            shown["certificates"] = {
                store: [_certificate_line(item) for item in value] if isinstance(value, list) else value
                for store, value in words["certificates"].items()
            }
        if "files" in words:
            shown["files"] = [_file_line(item) for item in words["files"]]
        return shown

    def plan(self, params: Mapping[str, Any], current: Current) -> Plan:
        if params["state"] == "deleted":
            return _plan_deletions(params, current)
        return _plan(_wishes(params), current, datetime.datetime.now(datetime.timezone.utc))

    def settled(self, change: Change, params: Mapping[str, Any], current: Current) -> bool:
        try:
            again = [one.details for one in self.plan(params, current).changes if one.name.casefold() == change.name.casefold()]
        except UserError:
            return False
        # what another run is just writing looks in need of repair, and is not
        return all(work.only_repairs for work in again)

    def authorize(self, session: Session, plan: Plan, current: Current) -> None:
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

    def apply(self, session: Session, change: Change) -> None:
        work: Work = change.details
        if work.wish is None:
            _delete(session, change.name, work)
            return
        if work.new:
            containers.create(session.directory, work.current.domain, work.guid, work.wish.name)
        if work.content:
            _transact(session, work)
        for dn, placements in work.placements.items():
            containers.edit_value(session.directory, dn, containers.LINKS, lambda value, p=placements: _place(value, p, work.dn))  # type: ignore[misc]
        _unlink(session, work)
        for dn, blocked in work.blocks.items():
            containers.edit_value(session.directory, dn, containers.OPTIONS, lambda value, b=blocked: _with_block(value, b))  # type: ignore[misc]

    def render(self, params: Mapping[str, Any]) -> list[Words]:
        rendered = []
        now = datetime.datetime.now(datetime.timezone.utc)
        for wish, entry in zip(_wishes(params), params["config"], strict=True):
            try:
                files = content.edit(dict.fromkeys(KNOWN), wish.content, exact=True, now=now)
            except UserError as error:
                raise UserError(f"{wish.name}: {error}") from error
            names = {half: content.extension_names(half, None, {}, files, wish.content) for half in ("computer", "user")}
            head: Words = {"name": wish.name}
            head |= {"guid": wish.guid} if wish.guid else {}
            head["status"] = entry.get("status") or "enabled"
            head |= {name: entry[name] for name in ("wmi_filter", "links", "permissions") if entry.get(name)}
            rendered.append({**head, **content.words(files, names["computer"], names["user"])})
        return rendered


# ---- config -> wishes


def _wishes(params: Mapping[str, Any]) -> list[Wish]:
    """The entries of `config`, checked; raises one `UserError` for all that is wrong with any of them."""
    problems, wishes = Problems(), []
    for entry in params["config"]:
        try:
            wishes.append(_wish(entry, params["state"]))
        except UserError as error:
            problems.collect(f"config: {entry['name']}: {line}" for line in str(error).splitlines())
    guids = [wish.guid for wish in wishes if wish.guid]
    problems.collect(f"config: guid {guid} is listed twice" for guid in sorted({one for one in guids if guids.count(one) > 1}))
    problems.raise_any()
    return wishes


def _wish(entry: Words, state: str) -> Wish:
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
        found = content.wanted(entry)
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


def _means(entry: Words, container: Container) -> bool:
    if entry.get("guid"):
        try:
            return canonical_guid(entry["guid"]) == container.guid
        except UserError:
            return False
    return bool(entry["name"].strip().casefold() == container.name.casefold())


# ---- reading


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
        return _judge_versions(state)[2]
    except FormatError:
        return False


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
            if line.startswith(_DELETED):
                leftovers[name.upper()] = line[len(_DELETED) :].strip()
    return leftovers


def _leftover_names(current: Current) -> dict[str, str]:
    return {name: guid for guid, name in current.leftovers.items()}


def _aces(descriptor: SecurityDescriptor | None) -> tuple[AnyAce, ...]:
    return descriptor.aces if descriptor else ()


# ---- what a policy becomes


def evolve(state: State, wish: Wish, current: Current, now: datetime.datetime) -> Outcome:
    """The policy with the wish carried out on it (pure). Raises `UserError` for what cannot be."""
    container = state.container
    before = state.files
    files = content.edit(before, wish.content, exact=wish.exact, now=now)
    changed = {path: data for path, data in files.items() if data != before.get(path)}
    version, repairs, torn = _judge_versions(state)
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


def _unchanged(state: State) -> Outcome:
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


def _judge_versions(state: State) -> tuple[int, list[str], bool]:
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
    if _marked(state.gpt):
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


_WRITE = 0x20
"""RIGHT_DS_WRITE_PROPERTY ([MS-ADTS] 5.1.3.2)."""


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


def _wished_permissions(wish: Wish, world: Current) -> list[Words]:
    """What is asked for a policy that does not exist yet; what the directory gives it besides is not known before it does."""
    wanted, raw = _wanted_permissions(wish, world)
    return descriptors.words([*(ace for one in wanted for ace in one.aces()), *raw], lambda sid: world.names[sid], world.context)


def _wmi_value(wish: Wish, container: Container, world: Current) -> str:
    """gPCWQLFilter: `[domain;{id};0]` ([MS-GPOL] 2.2.1)."""
    if wish.wmi_filter is None or wish.wmi_filter == _wmi_word(container.wmi_filter, world):
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


def _wmi_word(value: str | None, world: Current) -> str:
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


# ---- the plan


def _plan(wishes: Sequence[Wish], current: Current, now: datetime.datetime) -> Plan:
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
    placements, links_problems = _placements([(wish, state) for wish, state, _outcome, _new in chosen], current)
    problems.collect(links_problems)
    blocks, block_problems = _blocks(wishes, current)
    problems.collect(block_problems)
    problems.raise_any()
    future = _future_targets(placements, blocks, [(wish, state.container.dn) for wish, state, _outcome, _new in chosen], current)
    linked, linked_after = _links_by_policy(current.targets, current.domain), _links_by_policy(future, current.domain)
    changes = []
    for wish, state, outcome, new in chosen:
        key = dn_key(state.container.dn)
        work = _work(wish, state, outcome, new, placements, blocks, current, future)
        warnings.extend(f"{wish.name}: {reason}" for reason in (() if new else outcome.repairs))
        warnings.extend(_warnings(wish, state, outcome, current))
        if work.content or work.placements or work.unlink or work.blocks:
            guid = state.container.guid
            before = None if new else _words(_unchanged(state), guid, linked.get(key, []), current)
            after = _words(outcome, guid, linked_after.get(key, []), current)
            if new and wish.permissions:
                after["permissions"] = _wished_permissions(wish, current)
            changes.append(Change(wish.name, before, after, work))
    return Plan(changes, warnings)


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
    own = _own_placements(key, placements, current, future)
    unlink = {current.targets[target].dn: placements.get(target, ()) for target in _unwanted(wish, key, current)}
    targets = {_key(link, current) for link in wish.links or ()}
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
    filter_word = _wmi_word(outcome.wmi_filter, current)
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
    aces = _aces(outcome.descriptor)
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


# ---- links


def _key(link: LinkWish, current: Current) -> str:
    return dn_key(current.domain.target_dn(link.target))


def _placements(chosen: Sequence[tuple[Wish, State]], current: Current) -> tuple[dict[str, tuple[Placement, ...]], list[str]]:
    """The links that `config` wants, by target, and what is wrong with them."""
    found: dict[str, list[Placement]] = {}
    problems = []
    for wish, state in chosen:
        seen = set()
        for link in wish.links or ():
            key = _key(link, current)
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


def _blocks(wishes: Sequence[Wish], current: Current) -> tuple[dict[str, bool], list[str]]:
    found: dict[str, bool] = {}
    problems = []
    for wish in wishes:
        for link in wish.links or ():
            key = _key(link, current)
            if link.block_inheritance is None or key not in current.targets:
                continue
            if "cn=sites," in key and key.endswith(dn_key(current.domain.configuration_dn)):
                if link.block_inheritance:
                    problems.append(f"{wish.name}: links: {link.target}: a site cannot block inheritance")
                continue
            if found.setdefault(key, link.block_inheritance) != link.block_inheritance:
                problems.append(f"{wish.name}: links: block_inheritance of {link.target} is set both ways in config")
    return found, problems


def _place(value: str | None, placements: Sequence[Placement], mine: str | None = None) -> str:
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


def _unlinked(value: str | None, dn: str) -> str:
    return links.serialise(links.remove(links.parse(value), dn))


def _with_block(value: str | None, blocked: bool) -> str | None:
    number = int(value or 0)
    wanted = number | containers.BLOCKED if blocked else number & ~containers.BLOCKED
    return value if wanted == number else str(wanted)


def _unwanted(wish: Wish, key: str, current: Current) -> list[str]:
    """Targets that the policy is linked to and, by an exact list, should not be."""
    if not wish.links_exact or wish.links is None:
        return []
    wanted = {_key(link, current) for link in wish.links}
    return [target for target, one in current.targets.items() if target not in wanted and key in _linked(one)]


def _linked(target: Target) -> set[str]:
    try:
        return {key for key, _link in _keyed(target.links)}
    except FormatError:
        return set()


def _future_targets(
    placements: Mapping[str, Sequence[Placement]],
    blocks: Mapping[str, bool],
    chosen: Sequence[tuple[Wish, str]],
    current: Current,
) -> dict[str, Target]:
    """The targets as they will be when all of `config` is carried out."""
    future = dict(current.targets)
    for wish, dn in chosen:
        for target in _unwanted(wish, dn_key(dn), current):
            future[target] = replace(future[target], links=_unlinked(future[target].links, dn))
    for target, wanted in placements.items():
        future[target] = replace(future[target], links=_place(future[target].links, wanted))
    for target, blocked in blocks.items():
        options = future[target].options
        future[target] = replace(future[target], options=options | containers.BLOCKED if blocked else options & ~containers.BLOCKED)
    return future


def _own_placements(
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


def _links_by_policy(targets: Mapping[str, Target], domain: Domain) -> dict[str, list[Words]]:
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


# ---- writing


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
        held.write(_with_mark(state.gpt))
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
    final = _with_version(state.gpt, outcome.version)
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


def _marked(data: bytes) -> bool:
    return any(line.strip().startswith(_UNFINISHED[:40]) for line in _lines(data))


def _lines(data: bytes) -> tuple[str, ...]:
    try:
        return text.decode(data, GPT_INI).lines
    except FormatError:
        return ()


def _with_mark(data: bytes | None, mark: str = _UNFINISHED) -> bytes:
    """GPT.INI with a comment that says what is under way; clients do not see it."""
    source = text.decode(data or gpt_ini.serialise(gpt_ini.new(0)), GPT_INI)
    end = text.line_end(source.lines)
    kept = [line if line.endswith(("\r", "\n")) else line + end for line in source.lines if not line.startswith("; certlogon:")]
    if source.encoding == "latin-1":
        mark = mark.encode("latin-1", "replace").decode("latin-1")
    return text.encode(replace(source, lines=(*kept, mark + end)), GPT_INI)


def _with_version(data: bytes | None, version: int) -> bytes:
    if not data:
        return gpt_ini.serialise(gpt_ini.new(version))
    ini = gpt_ini.parse(data)
    kept = tuple(line for line in ini.content.lines if not line.startswith("; certlogon:"))
    clean = gpt_ini.parse(text.encode(replace(ini.content, lines=kept), GPT_INI))
    return gpt_ini.serialise(gpt_ini.with_version(clean, version))


def _unlink(session: Session, work: Work) -> None:
    """Take links away; the links that `config` wants there keep the order it wants."""
    for dn, placements in work.unlink.items():
        containers.edit_value(
            session.directory,
            dn,
            containers.LINKS,
            lambda value, p=placements: _place(_unlinked(value, work.dn), p, work.dn),  # type: ignore[misc]
        )


# ---- deletion


def _plan_deletions(params: Mapping[str, Any], current: Current) -> Plan:
    problems, changes = Problems(), []
    linked = _links_by_policy(current.targets, current.domain)
    leftovers = {name.casefold(): (guid, name) for name, guid in _leftover_names(current).items()}
    for entry in params["config"]:
        found = [one for one in current.containers if _means(entry, one)]
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
        unlink: dict[str, tuple[Placement, ...]] = {target.dn: () for target in current.targets.values() if key in _linked(target)}
        before = _words(_unchanged(current.states[container.guid]), container.guid, linked.get(key, []), current)
        changes.append(
            Change(container.name, before, None, Work(container.guid, container.dn, container.folder, None, current, unlink=unlink))
        )
    problems.raise_any()
    return Plan(changes)


def _delete(session: Session, name: str, work: Work) -> None:
    """Links first, then the directory object, then SYSVOL. GPT.INI remembers the name, so that the next run finds what is left."""
    _unlink(session, work)
    marker = f"{work.folder}\\{GPT_INI}"
    if session.sysvol.list_folders([work.folder])[work.folder] is not None:
        with session.sysvol.lock(marker) as held:
            data = held.read()
            held.write(f"{_DELETED} {name}\r\n".encode() if not _lines(data) else _with_mark(data, f"{_DELETED} {name}"))
            containers.delete(session.directory, work.dn)
        session.sysvol.delete_tree(work.folder)
    else:
        containers.delete(session.directory, work.dn)


# ---- words for people


def _certificate_line(item: Words) -> str:
    try:
        found = load_one(item["content"])
    except (FormatError, KeyError):
        return str(item)
    return f"{found.subject}, valid {found.not_before:%Y-%m-%d} to {found.not_after:%Y-%m-%d}, SHA-256 {found.sha256}"


def _file_line(item: Words) -> str:
    digest = hashlib.sha256(item["content"].encode()).hexdigest()[:16]
    return f"{item['path']}, {len(item['content']) * 3 // 4} bytes, {digest}"
