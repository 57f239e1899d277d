# SPDX-License-Identifier: GPL-3.0-or-later
"""Group Policy objects: whole in both halves, in nobody's hands, and what the inventory declares of them (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.compliance.judges.policy_facts import (
    LISTED,
    View,
    Words,
    parsed,
    setting_label,
    shown,
    view,
)
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts, Verdict, failed, passed, unknown
from ansible_collections.certlogon.core.plugins.module_utils.directory import security
from ansible_collections.certlogon.core.plugins.module_utils.directory.exposure import is_anybody
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import Ace, AnyAce, SecurityDescriptor, Sid
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import descriptors, extensions, gpt_ini, links, resultant
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_container import dn_key

Parameters = Mapping[str, Any]

_USER_DISABLED, _COMPUTER_DISABLED = 1, 2
_HALVES = (("computer", "gPCMachineExtensionNames", "machine_extensions"), ("user", "gPCUserExtensionNames", "user_extensions"))
_TABLES = {"computer": extensions.MACHINE, "user": extensions.USER}

_DIRECTORY_WRITE = (
    security.WRITE_PROPERTY
    | security.CREATE_CHILD
    | security.WRITE_DAC
    | security.WRITE_OWNER
    | security.GENERIC_ALL
    | security.GENERIC_WRITE
)
_FILE_WRITE = 0x2 | 0x4 | 0x40 | security.WRITE_DAC | security.WRITE_OWNER | security.GENERIC_ALL | security.GENERIC_WRITE
"""Of a folder: add files, add folders, delete what is in it ([MS-SMB2] 2.2.13.1.2)."""
_FILE_READ = 0x1

_PRIVILEGED = frozenset({"S-1-3-0", "S-1-3-4", "S-1-5-9", "S-1-5-18", "S-1-5-32-544"})
"""Creator Owner, Owner Rights (of whom the owner decides), Enterprise Domain Controllers, SYSTEM, Administrators."""
_PRIVILEGED_OF_DOMAIN = frozenset({500, 512, 516, 519, 520})
"""Administrator, Domain Admins, Domain Controllers, Enterprise Admins, Group Policy Creator Owners."""


# ---- both halves of a policy


def versions_in_step(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    for policy, folder in _on_disk(facts):
        subject, there = view(facts).subject(policy), policy["version"]
        evidence = {"versionNumber": there, "Version": folder["version"]}
        if folder["version_unread"]:
            yield unknown(subject, f"Its GPT.INI could not be read: {folder['version_problem']}.", right=f"Read on {policy['folder']}")
        elif there is None:
            yield unknown(subject, "The directory does not show its versionNumber.", right=f"Read versionNumber on {policy['dn']}")
        elif folder["version"] is None:
            yield failed(subject, f"Its version in SYSVOL is missing: {folder['version_problem']}.", versionNumber=there)
        elif folder["version"] != there:
            halves = zip(("user", "computer"), gpt_ini.split(there), gpt_ini.split(folder["version"]), strict=True)
            apart = " and ".join(f"{half} half {one} and {other}" for half, one, other in halves if one != other)
            yield failed(subject, f"Directory and GPT.INI have different versions ({apart}): clients see one of two policies.", **evidence)
        else:
            yield passed(subject, **evidence)


def _on_disk(facts: Facts) -> Iterator[tuple[Words, Words]]:
    """The policies that have a folder; those that have none are another control's."""
    known = view(facts)
    for policy in known.policies:
        folder = known.folders[policy["guid"]]
        if folder["present"]:
            yield policy, folder


def replicated(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    """Other domain controllers beside the one that was asked."""
    for replica in facts["policy_replicas"]:
        subject = f"domain controller {replica['host']}"
        if replica["error"]:
            yield unknown(subject, f"It could not be asked: {replica['error']}.", host=replica["host"])
        elif replica["differences"]:
            first = replica["differences"][0]
            one, other = ("no such policy" if version is None else f"version {version}" for version in (first["there"], first["here"]))
            more = f"; {replica['count'] - 1} more differences" if replica["count"] > 1 else ""
            message = f"In its {first['where']} policy {first['policy']} has {one}, and {other} where everything else was read{more}."
            evidence = {"host": replica["host"], "differences": replica["differences"][:LISTED], "count": replica["count"]}
            yield failed(subject, message, **evidence)
        else:
            yield passed(subject, f"{replica['compared']} policies have the same versions there.")


def extension_lists(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    known = view(facts)
    for policy in known.policies:
        problems = []
        said = known.contents.get(policy["guid"], {})
        for half, attribute, name in _HALVES:
            value = policy[name]
            try:
                cut = resultant.out_of_order(value)
                present = {group.cse.casefold() for group in extensions.parse(value)}
            except FormatError as error:
                problems.append(f"{attribute} cannot be understood ({error})")
                continue
            if cut:
                problems.append(f"in {attribute} clients stop before {', '.join(cut)}, which is out of order")
            has = said.get("kinds", {}).get(half, ())
            lacking = [kind for kind in has if any(cse.casefold() not in present for cse, _tool in _TABLES[half][kind])]
            if lacking:
                problems.append(f"{attribute} does not name the extension for its {' and '.join(lacking)} settings, which no client reads")
        evidence = {attribute: policy[name] for _half, attribute, name in _HALVES}
        if problems:
            message = "; ".join(problems)
            yield failed(known.subject(policy), f"{message[0].upper()}{message[1:]}.", **evidence)
        elif said.get("unread"):
            yield _unread_files(known.subject(policy), policy, said)
        else:
            yield passed(known.subject(policy))


def folders_exist(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    known = view(facts)
    for policy in known.policies:
        if known.folders[policy["guid"]]["present"]:
            yield passed(known.subject(policy))
        else:
            message = "Its folder is missing in SYSVOL: computers that it is linked to fail to process policy."
            yield failed(known.subject(policy), message, gPCFileSysPath=policy["folder"])


def no_orphans(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    folders = facts["policy_folders"]
    for name in folders["orphans"]:
        yield failed(f"folder {name}", "No policy of the directory has this folder; what is in it applies to nobody.", folder=name)
    if not folders["orphans"]:
        yield passed("SYSVOL", "Every folder below Policies belongs to a policy.")


# ---- permissions


def sysvol_permissions(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    known = view(facts)
    for policy, folder in _on_disk(facts):
        subject = known.subject(policy)
        there, disk = parsed(policy["descriptor"]), parsed(folder["descriptor"])
        if there is None:
            yield _unshown(known, policy)
        elif disk is None:
            yield _unread_folder(subject, policy, folder)
        else:
            problem = _samba_problem(there, disk) if known.domain.is_samba else _windows_problem(known, there, disk)
            evidence = {"nTSecurityDescriptor": _sddl(known, there), "folder": _sddl(known, disk)}
            yield failed(subject, problem, **evidence) if problem else passed(subject)


def _samba_problem(there: SecurityDescriptor, disk: SecurityDescriptor) -> str:
    if descriptors.same_on_disk(disk, descriptors.samba_file_descriptor(there)):
        return ""
    return "The permissions of its folder in SYSVOL do not follow from those of the directory object, as Samba derives them."


def _windows_problem(known: View, there: SecurityDescriptor, disk: SecurityDescriptor) -> str:
    """By meaning: editors of different versions write different bytes."""
    wanted = descriptors.windows_file_descriptor(there)
    more = _holders(disk, _FILE_WRITE) - _holders(wanted, _FILE_WRITE)
    fewer = _holders(wanted, _FILE_READ) - _holders(disk, _FILE_READ)
    told = [f"{_people(known, more)} can change its folder in SYSVOL, but not the directory object" if more else ""]
    told.append(f"{_people(known, fewer)} can read the directory object, but not its folder in SYSVOL" if fewer else "")
    return f"{'; '.join(one for one in told if one)}." if any(told) else ""


def writable(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    """By anybody."""
    others = frozenset(facts["anybody"])
    yield from _written(facts, lambda sid: is_anybody(sid) or str(sid) in others, "who has no privileges")


def editors(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    """By people who are neither administrators nor named in parameter `editors`, by name or SID; "anybody" is `writable`'s."""
    known = view(facts)
    others = frozenset(facts["anybody"])
    named = {str(name).casefold() for name in parameters["editors"]}

    def delegated(sid: Sid) -> bool:
        if is_anybody(sid) or str(sid) in others or _privileged(known, sid):
            return False
        name = known.name(sid).casefold()
        return not named & {str(sid).casefold(), name, name.rpartition("\\")[2]}

    yield from _written(facts, delegated, "who is no administrator")


def _privileged(known: View, sid: Sid) -> bool:
    if str(sid) in _PRIVILEGED:
        return True
    return sid.domain in (known.domain.sid, known.domain.root_sid) and sid.rid in _PRIVILEGED_OF_DOMAIN


def _written(facts: Facts, counts: Any, who: str) -> Iterator[Verdict]:
    known = view(facts)
    disk = known.folders if facts.read("policy_folders") else None
    for policy in known.policies:
        subject = known.subject(policy)
        places: dict[str, set[Sid]] = {}
        there = parsed(policy["descriptor"])
        folder = disk[policy["guid"]] if disk is not None else None
        if there is not None:
            places["the directory object"] = {sid for sid in _holders(there, _DIRECTORY_WRITE, owner=True) if counts(sid)}
        below = parsed(folder["descriptor"]) if folder else None
        if below is not None:
            places["its folder in SYSVOL"] = {sid for sid in _holders(below, _FILE_WRITE, owner=True) if counts(sid)}
        found = {place: sids for place, sids in places.items() if sids}
        if found:
            told = "; ".join(f"{_people(known, sids)}, {who}, can change {place}" for place, sids in found.items())
            listed = sorted({f"{known.name(sid)} ({sid})" for sids in found.values() for sid in sids})
            yield failed(subject, f"{told}: and with it every computer and user that the policy reaches.", who=listed, changing=list(found))
        elif there is None:
            yield _unshown(known, policy)
        elif folder is not None and (below is not None or not folder["present"]):
            yield passed(subject)
        elif folder is not None:
            yield _unread_folder(subject, policy, folder)
    if disk is None:
        facts["policy_folders"]  # says why it is not there


def _unshown(known: View, policy: Words) -> Verdict:
    message = "The directory does not show its nTSecurityDescriptor to this account."
    return unknown(known.subject(policy), message, right=f"Read Permissions on {policy['dn']}")


def _unread_folder(subject: str, policy: Words, folder: Words) -> Verdict:
    reason = folder["descriptor_problem"] or "they were not shown"
    message = f"The permissions of its folder could not be read: {reason}."
    return unknown(subject, message, right=f"Read Permissions on {policy['folder']}")


def _unread_files(subject: str, policy: Words, said: Words) -> Verdict:
    path, reason = next(iter(said["unread"].items()))
    return unknown(subject, f"Not all of its files could be read: {path}: {reason}.", right=f"Read on {policy['folder']}")


_EVERYONE = Sid.parse("S-1-1-0")


def _holders(descriptor: SecurityDescriptor, rights: int, *, owner: bool = False) -> set[Sid]:
    """Who is allowed any of these rights, here or in what is below, and denied none of them."""
    if descriptor.dacl is None:
        return {_EVERYONE}
    aces = [ace for ace in descriptor.aces if isinstance(ace, Ace)]
    denied = {ace.sid for ace in aces if ace.is_deny and ace.mask & rights == rights}
    found = {ace.sid for ace in aces if ace.is_allow and ace.mask & rights}
    return (found | ({descriptor.owner} if owner and descriptor.owner else set())) - denied


def readable_by_computers(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    """MS16-072: computers read the policies of their users, too."""
    known = view(facts)
    linked = {dn_key(link.dn) for scope in known.scopes.values() for link in scope.links if link.enabled}
    for policy in known.policies:
        if dn_key(policy["dn"]) not in linked or policy["flags"] & _USER_DISABLED or not (policy["user_extensions"] or "").strip():
            continue
        descriptor = parsed(policy["descriptor"])
        if descriptor is None:
            yield _unshown(known, policy)
        elif descriptor.has_null_dacl or descriptors.computers_can_read(descriptor.aces, known.domain.sid):
            yield passed(known.subject(policy))
        else:
            message = "It has settings for users, but computers in general may not read it: since MS16-072 it applies to nobody on them."
            yield failed(known.subject(policy), message, readers=_readers(known, descriptor.aces))


def _readers(known: View, aces: Iterable[AnyAce]) -> list[str]:
    return sorted({known.name(ace.sid) for ace in aces if isinstance(ace, Ace) and ace.grants(security.READ_PROPERTY)})


def _people(known: View, sids: Iterable[Sid]) -> str:
    names = sorted({known.name(sid) for sid in sids})
    return ", ".join(names[:LISTED])


def _sddl(known: View, descriptor: SecurityDescriptor) -> str:
    try:
        return descriptor.sddl(known.context)
    except FormatError:
        return bytes(descriptor).hex()


# ---- links


def links_lead_somewhere(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    known = view(facts)
    for words in facts["policy_scopes"]["scopes"]:
        subject = f"links of {known.place(words['dn'])}"
        try:
            found = links.parse(words["links"])
        except FormatError as error:
            yield failed(subject, f"Its links cannot be understood, and no policy above it is certain: {error}.", gPLink=words["links"])
            continue
        gone = [link.dn for link in found if dn_key(link.dn) not in known.by_key and not known.foreign(link.dn)]
        foreign = [link.dn for link in found if known.foreign(link.dn)]
        if gone:
            yield failed(
                subject, f"{len(gone)} of its links lead to a policy that is not there, or that this account may not see.", policies=gone
            )
        elif foreign:
            yield unknown(
                subject, f"{len(foreign)} of its links lead to policies of other domains, which were not looked at.", policies=foreign
            )
        elif found:
            yield passed(subject)


# ---- content


def scripts(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    known = view(facts)
    trusted = {known.domain.dns_name.casefold(), *(name.casefold() for name in _controllers(facts))}
    others = frozenset(facts["anybody"])
    for policy in known.policies:
        for script in known.contents.get(policy["guid"], {}).get("scripts", ()):
            subject = f"{script['event']} script {script['command']} of {known.subject(policy)}"
            if script["path"]:
                yield _own_script(known, subject, script, others)
                continue
            host, share = ([*script["command"].strip("\\").split("\\"), ""] if script["command"].startswith("\\\\") else ["", ""])[:2]
            if host and (host.casefold() not in trusted or share.casefold() not in ("sysvol", "netlogon")):
                message = f"It runs from {host}, which is no domain controller's SYSVOL or NETLOGON: who can write there runs code."
                yield failed(subject, message, command=script["command"], host=host)
            else:
                yield unknown(subject, "It lies outside the policy; who can change it there was not looked at.", command=script["command"])


def _own_script(known: View, subject: str, script: Words, others: frozenset[str]) -> Verdict:
    descriptor = parsed(script["descriptor"])
    if script["there"] is False:
        return failed(subject, "The policy runs it, but it is not there: who may make the file runs code.", path=script["path"])
    if descriptor is None:
        return unknown(subject, "Its permissions could not be read.", right=f"Read Permissions on {script['path']}")
    found = {sid for sid in _holders(descriptor, _FILE_WRITE, owner=True) if is_anybody(sid) or str(sid) in others}
    if found:
        return failed(subject, f"{_people(known, found)}, who has no privileges, can change what it does.", path=script["path"])
    return passed(subject)


def _controllers(facts: Facts) -> list[str]:
    if not facts.read("domain_controllers"):
        return []
    return [name for one in facts["domain_controllers"] for name in (one["host"], one["name"]) if name]


def passwords(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    known = view(facts)
    for policy in known.policies:
        said = known.contents.get(policy["guid"], {})
        if said.get("passwords"):
            message = "Its preferences hold a password (cpassword), which everybody who reads SYSVOL can decrypt: the key is public."
            yield failed(known.subject(policy), message, files=said["passwords"])
        elif said.get("unread"):
            yield _unread_files(known.subject(policy), policy, said)
        else:
            yield passed(known.subject(policy))


# ---- what the inventory declares


def _entries(facts: Facts) -> Iterator[tuple[View, Words, list[Words]]]:
    """Declared policies with those of the domain that they mean."""
    known = view(facts)
    for declared in known.declared:
        yield known, declared, known.meant(declared)


def _unread(declared: Words) -> Verdict:
    return unknown(f"policy {declared['name']}", f"What the inventory says of it cannot be carried out: {declared['unread']}.")


def present(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    for _known, declared, found in _entries(facts):
        subject = f"policy {declared['name']}"
        if len(found) == 1:
            yield passed(subject)
        elif found:
            guids = [one["guid"] for one in found]
            yield failed(subject, f"There are {len(found)} policies of this name; which one is meant is not certain.", policies=guids)
        else:
            yield failed(subject, "The inventory declares it, and the domain has no such policy.")


def _links(facts: Facts) -> Iterator[tuple[View, Words, Words, Words, list[links.Link] | None]]:
    """Every declared link of a policy that is there, with all links of its target; None where they cannot be understood."""
    for known, declared, found in _entries(facts):
        for policy in found[:1]:
            for wanted in declared["links"] or ():
                scope = known.scopes.get(dn_key(wanted["dn"]))
                broken = scope is not None and scope.problem.startswith("gPLink")
                yield known, declared, policy, wanted, None if broken else list(scope.links if scope else ())


def _mine(policy: Words, found: list[links.Link]) -> tuple[links.Link, int] | None:
    """The policy's link and its order, as consoles count: the last one of the text is 1."""
    for number, link in enumerate(reversed(found), 1):
        if dn_key(link.dn) == dn_key(policy["dn"]):
            return link, number
    return None


def linked(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    for declared in view(facts).declared:
        if declared["unread"]:
            yield _unread(declared)
    for known, declared, policy, wanted, found in _links(facts):
        subject = f"policy {declared['name']} at {known.place(wanted['dn'])}"
        if found is None:
            yield unknown(subject, "The links there cannot be understood.")
        elif _mine(policy, found) is None:
            yield failed(subject, "The inventory links it there, and it is not linked.", target=wanted["dn"])
        else:
            yield passed(subject)


def link_options(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    for known, declared, policy, wanted, found in _links(facts):
        mine = _mine(policy, found) if found else None
        if mine is None:
            continue
        subject = f"policy {declared['name']} at {known.place(wanted['dn'])}"
        link, _number = mine
        evidence: dict[str, Any] = {"enabled": link.enabled, "enforced": link.enforced}
        if wanted["enabled"] and not link.enabled:
            yield failed(subject, "The link is disabled: the policy applies to nobody there.", **evidence)
        elif (link.enabled, link.enforced) != (wanted["enabled"], wanted["enforced"]):
            now = f"{'enabled' if link.enabled else 'disabled'} and {'enforced' if link.enforced else 'not enforced'}"
            yield failed(subject, f"The link is {now}, and the inventory says otherwise.", **evidence)
        else:
            yield passed(subject, **evidence)


def link_order(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    for known, declared, policy, wanted, found in _links(facts):
        mine = _mine(policy, found) if found else None
        if mine is None or found is None or wanted["order"] is None:
            continue
        order = min(wanted["order"], len(found))
        names = [known.label(known.by_key[dn_key(one.dn)]) if dn_key(one.dn) in known.by_key else one.dn for one in reversed(found)]
        subject = f"policy {declared['name']} at {known.place(wanted['dn'])}"
        if mine[1] == order:
            yield passed(subject, order=mine[1])
        else:
            before = ", ".join(names[: mine[1] - 1]) or "none"
            yield failed(subject, f"It has link order {mine[1]} instead of {order}; before it: {before}.", order=mine[1], links=names)


def enabled(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    for known, declared, found in _entries(facts):
        if declared["unread"] or not found:
            continue
        policy, subject = found[0], f"policy {declared['name']}"
        kinds = declared["contents"].get("kinds", {})
        problems = []
        for half, bit in (("computer", _COMPUTER_DISABLED), ("user", _USER_DISABLED)):
            if kinds.get(half) and policy["flags"] & bit and not declared["flags"] & bit:
                problems.append(f"its {half} half is disabled")
        version = (policy["version"] or 0, known.folders[policy["guid"]]["version"] or 0)
        for half, at in (("user", 0), ("computer", 1)):
            if kinds.get(half) and not any(gpt_ini.split(one)[at] for one in version):
                problems.append(f"its {half} half has version 0, which clients take for empty")
        evidence = {"flags": policy["flags"], "versionNumber": policy["version"]}
        yield failed(subject, f"{' and '.join(problems).capitalize()}.", **evidence) if problems else passed(subject, **evidence)


def content_declared(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    for known, declared, found in _entries(facts):
        subject = f"policy {declared['name']}"
        if declared["unread"]:
            yield _unread(declared)
        elif found:
            yield _content(known, subject, declared, found[0])


def _content(known: View, subject: str, declared: Words, policy: Words) -> Verdict:
    said = known.contents.get(policy["guid"], {})
    wanted = known.wished(declared)
    have = known.wished({"name": policy["name"], "contents": said})
    differing = {
        setting_label(known.spelt(declared, key)): {
            "wanted": shown(claim.value),
            "is": shown(have[key].value) if key in have else "not in the policy",
        }
        for key, claim in wanted.items()
        if key not in have or have[key].value != claim.value
    }
    there = {_folded(one) for one in said.get("user_registry", ())}
    for one in declared["contents"].get("user_registry", ()):
        if _folded(one) not in there:
            differing[f"user: {one[0]}\\{one[1]}"] = {"wanted": str(one[4]), "is": "not so in the policy"}
    if not differing:
        return passed(subject)
    if said.get("unread"):
        return _unread_files(subject, policy, said)
    first = next(iter(differing))
    more = f" and {len(differing) - 1} more settings" if len(differing) > 1 else ""
    message = f"It does not say what the inventory declares: {first} is {differing[first]['is']}, not {differing[first]['wanted']}{more}."
    return failed(subject, message, settings=dict(list(differing.items())[:LISTED]), settings_differing=len(differing))


def _folded(record: Any) -> tuple[str, ...]:
    key, value, state, kind, data = record
    return key.casefold(), value.casefold(), state, kind, str(data)
