# SPDX-License-Identifier: GPL-3.0-or-later
"""The domain's Group Policy as directory and SYSVOL have it: policies, links, files, permissions, and computers to look from."""

from __future__ import annotations

import base64
import datetime
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.certlogon.core.plugins.module_utils.certificates import sources
from ansible_collections.certlogon.core.plugins.module_utils.compliance import read_only
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Unread
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation
from ansible_collections.certlogon.core.plugins.module_utils.directory import authorities
from ansible_collections.certlogon.core.plugins.module_utils.directory.names import parent_dn, rdn_value
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import Ace, SecurityDescriptor, Sid
from ansible_collections.certlogon.core.plugins.module_utils.directory.session import Directory, Entry, NoSuchObject
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, SessionLost, UserError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import content, extensions, gpt_ini, policy_claims, scripts_ini
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import policy_container as containers
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policies import GroupPolicies
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_container import Domain, dn_key
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_wishes import wishes
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.resultant import REGISTRY, SECURITY, SERVICES
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.sysvol import Sysvol
from ansible_collections.certlogon.core.plugins.module_utils.resource import Words

OPTIONS: Mapping[str, Any] = {
    "policies": {"type": "list", "elements": "dict", "default": []},
    "computers": {"type": "list", "elements": "str", "default": []},
    "computers_limit": {"type": "int", "default": 500},
}
FACTS = (
    "policies",
    "policy_scopes",
    "policy_computers",
    "policies_declared",
    "policy_folders",
    "policy_contents",
    "policy_names",
    "policy_replicas",
)

_POLICY = (
    "cn",
    "displayName",
    "flags",
    "gPCFileSysPath",
    "gPCFunctionalityVersion",
    "gPCMachineExtensionNames",
    "gPCUserExtensionNames",
    "gPCWQLFilter",
    "nTSecurityDescriptor",
    "versionNumber",
)
_COMPUTER = ("dNSHostName", "memberOf", "objectSid", "primaryGroupID", "sAMAccountName", "userAccountControl")
_SHARE = re.compile(r"\\\\[^\\]+\\sysvol\\(.+)\Z", re.IGNORECASE)
_DISABLED, _DOMAIN_CONTROLLER = 0x2, 0x2000 | 0x4000000
_NO_PREFERENCES = frozenset(
    {
        "{00000000-0000-0000-0000-000000000000}",
        "{B1BE8D72-6EAC-11D2-A4EA-00C04F79F83A}",
        REGISTRY,
        SECURITY,
        SERVICES,
        scripts_ini.EXTENSION,
    }
)
"""Extensions beside which a policy need not have files of preferences: the marker of any, public keys, registry, security, scripts."""
_PASSWORD = re.compile(rb"\bcpassword\s*=\s*[\"'][^\"']+[\"']", re.IGNORECASE)
_AT_ONCE = 200
_LISTED = 100
"""Differences of one domain controller that are kept at most."""
_LARGEST_FILE = 4 << 20

_EVERYBODY = ("S-1-1-0", "S-1-5-2", "S-1-5-11", "S-1-5-15")
"""What every token of a domain's computer holds: Everyone, Network, Authenticated Users, This Organization."""
_DOMAIN_CONTROLLERS = "S-1-5-9"

Found = TypeVar("Found")


def observe(directory: Directory, params: Mapping[str, Any], observation: Observation) -> None:
    """Sets FACTS. Raises `UserError` where the directory or SYSVOL does not answer; what was read until then stays."""
    domain = Domain.of(directory)
    policies = _policies(directory, domain)
    observation.set("policies", policies)
    observation.set("policy_scopes", _scopes(directory, domain))
    observation.set("policies_declared", _declared(directory, domain, params))
    observation.set("policy_computers", _computers(directory, domain, params))
    asked = read_only.Asked(observation.asked)
    descriptors = [one["descriptor"] for one in policies]
    try:
        with read_only.sysvol(directory.host, directory.address, directory.options, asked) as share:
            wanted = {entry["name"].casefold() for entry in observation.facts["policies_declared"]}
            folders = _folders(share, domain, policies)
            observation.set("policy_folders", folders)
            descriptors += [one["descriptor"] for one in folders["policies"].values()]
            contents = _contents(share, [one for one in policies if folders["policies"][one["guid"]]["present"]], wanted)
            observation.set("policy_contents", contents)
            descriptors += [script["descriptor"] for one in contents.values() for script in one.get("scripts", ())]
        observation.set("policy_replicas", _replicas(directory, domain, observation))
    finally:
        observation.set("policy_names", _names(directory, descriptors))


# ---- the directory


def _policies(directory: Directory, domain: Domain) -> list[Words]:
    """`descriptor` in base64, None where the account may not read it."""
    found = directory.search(domain.policies_dn, "(objectClass=groupPolicyContainer)", _POLICY, "level", descriptor=7)
    return [_policy(entry, domain) for entry in found]


def _policy(entry: Entry, domain: Domain) -> Words:
    guid = (entry.text("cn") or rdn_value(entry.dn)).upper()
    path = _SHARE.match(entry.text("gPCFileSysPath") or "")
    return {
        "dn": entry.dn,
        "guid": guid,
        "name": entry.text("displayName") or guid,
        "flags": entry.integer("flags") or 0,
        "functionality": entry.integer("gPCFunctionalityVersion"),
        "version": entry.integer("versionNumber"),
        "folder": path[1].rstrip("\\") if path else domain.folder(guid),
        "machine_extensions": entry.text("gPCMachineExtensionNames"),
        "user_extensions": entry.text("gPCUserExtensionNames"),
        "wmi_filter": entry.text("gPCWQLFilter") or "",
        "descriptor": _base64(entry.raw("nTSecurityDescriptor")),
    }


def _scopes(directory: Directory, domain: Domain) -> Words:
    """What is linked or blocks inheritance, every site, and the names of WMI filters."""
    attributes = (containers.LINKS, containers.OPTIONS)
    found = directory.search(domain.dn, f"(|({containers.LINKS}=*)({containers.OPTIONS}=*))", attributes)
    try:
        sites = directory.search(f"CN=Sites,{domain.configuration_dn}", "(objectClass=site)", attributes, "level")
    except NoSuchObject:
        sites = []
    return {
        "scopes": [
            {"dn": one.dn, "links": one.text(containers.LINKS), "options": one.integer(containers.OPTIONS) or 0} for one in [*found, *sites]
        ],
        "sites": [one.dn for one in sites],
        "wmi_filters": containers.read_wmi_filters(directory, domain),
    }


def _names(directory: Directory, descriptors: Iterable[str | None]) -> dict[str, str]:
    sids: set[Sid] = set()
    for text in {text for text in descriptors if text}:
        try:
            descriptor = SecurityDescriptor.parse(base64.b64decode(text))
        except FormatError:
            continue
        sids |= {ace.sid for ace in descriptor.aces if isinstance(ace, Ace)} | ({descriptor.owner} if descriptor.owner else set())
    return {str(sid): name for sid, name in directory.principal_names(sorted(sids, key=str)).items()}


# ---- what the inventory declares


def _declared(directory: Directory, domain: Domain, params: Mapping[str, Any]) -> list[Words]:
    """The policies of the inventory, in the words in which those of the domain are read; `unread` says what is wrong with an entry."""
    entries = params.get("policies") or []
    if not entries:
        return []
    config = ArgumentSpecValidator({"config": GroupPolicies.argument_spec()["config"]}).validate({"config": entries})
    if config.error_messages:
        raise UserError(f"policies: {'; '.join(config.error_messages)}")
    checked = config.validated_parameters["config"]
    pushed = [
        item for entry in checked for value in (entry.get("certificates") or {}).values() if isinstance(value, list) for item in value
    ]
    known = authorities.read(directory, {}, pushed)
    return [_wished(directory, domain, entry, known) for entry in checked]


def _wished(directory: Directory, domain: Domain, entry: Words, known: sources.Authorities) -> Words:
    found: Words = {"name": entry["name"].strip(), "guid": None, "unread": "", "contents": {}, "links": None, "applies_to": None}
    try:
        wish = wishes({"config": [entry], "state": "replaced"}, known)[0]
        found["guid"], found["flags"] = wish.guid, wish.flags or 0
        found["links"] = [
            {"dn": domain.target_dn(one.target), "target": one.target, "order": one.order, "enabled": one.enabled, "enforced": one.enforced}
            for one in wish.links or ()
        ]
        files = content.edit(dict.fromkeys(content.KNOWN), wish.content, exact=True, now=datetime.datetime.now(datetime.timezone.utc))
        found["contents"] = policy_claims.words(files)
        if wish.permissions is not None:
            applying = [one["principal"] for one in wish.permissions if one.get("principal") and "apply" in (one.get("rights") or ())]
            found["applies_to"] = [str(one.sid) for one in directory.resolve(applying).values()]
    except UserError as error:
        found["unread"] = " ".join(str(error).split())
    return found


# ---- computers


def _computers(directory: Directory, domain: Domain, params: Mapping[str, Any]) -> Words:
    """Computers to look from: domain controllers, those named, and one for each place and set of groups, places first.

    `total` is how many there are, `left_out` how many places and sets of groups are not looked from because of the limit.
    """
    named = {name.casefold().rstrip("$") for name in params.get("computers") or ()}
    limit = params.get("computers_limit") or 0
    chosen: list[tuple[str, Entry]] = []
    places: dict[str, Entry] = {}
    varieties: dict[tuple[Any, ...], Entry] = {}
    stands_for: dict[str, int] = {}
    total = 0
    for entry in directory.stream(domain.dn, "(objectCategory=computer)", _COMPUTER):
        total += 1
        control = entry.integer("userAccountControl") or 0
        known_as = {(entry.text("sAMAccountName") or "").casefold().rstrip("$"), (entry.text("dNSHostName") or "").casefold()}
        place = dn_key(parent_dn(entry.dn))
        stands_for[place] = stands_for.get(place, 0) + 1
        if control & _DOMAIN_CONTROLLER:
            chosen.append(("domain_controller", entry))
        elif named & known_as:
            chosen.append(("named", entry))
            named -= known_as
        elif not control & _DISABLED:
            if place not in places:
                places[place] = entry
            else:
                varieties.setdefault((place, entry.integer("primaryGroupID"), *sorted(entry.texts("memberOf"))), entry)
    representatives = [*places.values(), *varieties.values()]
    room = max(limit - len(chosen), 0)
    chosen += [("representative", entry) for entry in representatives[:room]]
    sites = _sites_of_domain_controllers(directory, domain)
    tokens = _Tokens(directory, domain)
    return {
        "total": total,
        "left_out": max(len(representatives) - room, 0),
        "missing": sorted(named),
        "chosen": [
            {
                "name": (entry.text("sAMAccountName") or rdn_value(entry.dn)).rstrip("$"),
                "dn": entry.dn,
                "kind": kind,
                "sids": tokens.of(entry, is_controller=kind == "domain_controller"),
                "site": sites.get(dn_key(entry.dn)),
                "stands_for": stands_for[dn_key(parent_dn(entry.dn))],
            }
            for kind, entry in chosen
        ],
    }


def _sites_of_domain_controllers(directory: Directory, domain: Domain) -> dict[str, str]:
    """The site of each domain controller: its server object lies in it."""
    try:
        servers = directory.search(f"CN=Sites,{domain.configuration_dn}", "(objectClass=server)", ("serverReference",))
    except NoSuchObject:
        return {}
    return {
        dn_key(entry.text("serverReference") or ""): parent_dn(parent_dn(entry.dn)) for entry in servers if entry.has("serverReference")
    }


class _Tokens:
    """The SIDs that computers have in their tokens."""

    def __init__(self, directory: Directory, domain: Domain) -> None:
        self._directory = directory
        self._domain = domain
        self._groups: dict[str, tuple[str, list[str]]] = {}
        self._well_known = {sid: self._groups_of_everybody(sid) for sid in (*_EVERYBODY, _DOMAIN_CONTROLLERS)}

    def of(self, entry: Entry, *, is_controller: bool) -> list[str]:
        own = entry.raw("objectSid")
        held = {str(Sid.from_bytes(own))} if own else set()
        held |= self._of_groups(entry)
        for sid in (*_EVERYBODY, *((_DOMAIN_CONTROLLERS,) if is_controller else ())):
            held |= {sid, *self._well_known[sid]}
        return sorted(held)

    def _of_groups(self, entry: Entry) -> set[str]:
        """As the server computes them (tokenGroups, [MS-ADTS] 3.1.1.4.5.19); where it does not tell, memberships followed one by one."""
        token = self._directory.get(entry.dn, ("tokenGroups",))
        if token and token.has("tokenGroups"):
            return {str(Sid.from_bytes(value)) for value in token.raws("tokenGroups")}
        primary = self._domain.sid.child(entry.integer("primaryGroupID") or 515)
        found = {str(primary)}
        for dn in entry.texts("memberOf"):
            found |= self._closure(dn)
        return found

    def _closure(self, dn: str) -> set[str]:
        """A group and all that it is in; groups may be in each other."""
        found, waiting, seen = set(), [dn], {dn}
        while waiting:
            sid, above = self._group(waiting.pop())
            found |= {sid} if sid else set()
            waiting += [one for one in above if one not in seen]
            seen.update(above)
        return found

    def _group(self, dn: str) -> tuple[str, list[str]]:
        if dn not in self._groups:
            group = self._directory.get(dn, ("objectSid", "memberOf"))
            sid = group.raw("objectSid") if group else None
            self._groups[dn] = str(Sid.from_bytes(sid)) if sid else "", group.texts("memberOf") if group else []
        return self._groups[dn]

    def _groups_of_everybody(self, sid: str) -> set[str]:
        """The groups of the domain that a well-known SID is a member of, such as Pre-Windows 2000 Compatible Access."""
        dn = f"CN={sid},CN=ForeignSecurityPrincipals,{self._domain.dn}"
        found = self._directory.get(dn, ("memberOf",))
        return set().union(*(self._closure(one) for one in (found.texts("memberOf") if found else ())))


# ---- SYSVOL


def _folders(share: Sysvol, domain: Domain, policies: Sequence[Words]) -> Words:
    """Of each policy its folder's descriptor and the version in GPT.INI; and the folders that belong to no policy.

    `problem` says why one of them could not be read.
    """
    roots = [one["folder"] for one in policies]
    descriptors, refused = _each(share.read_descriptors, roots)
    files, unread = _each(share.read_files, [f"{root}\\{content.GPT_INI}" for root in roots])
    listed = share.list_folders([domain.policies_folder])[domain.policies_folder] or []
    known = {root.casefold() for root in roots}
    orphans = [item.name for item in listed if item.is_folder and f"{domain.policies_folder}\\{item.name}".casefold() not in known]
    found = {}
    for one in policies:
        root, path = one["folder"], f"{one['folder']}\\{content.GPT_INI}"
        descriptor = descriptors.get(root)
        version, problem = _version(files.get(path)) if path in files else (None, unread[path])
        found[one["guid"]] = {
            "present": root in refused or descriptor is not None,
            "descriptor": _base64(bytes(descriptor)) if descriptor is not None and (descriptor.owner or descriptor.dacl) else None,
            "descriptor_problem": refused.get(root, "" if descriptor is None or descriptor.owner or descriptor.dacl else "it is garbage"),
            "version": version,
            "version_problem": problem,
            "version_unread": path not in files,
        }
    # "PolicyDefinitions" is the store of administrative templates
    return {"policies": found, "orphans": sorted(name for name in orphans if name.startswith("{"))}


# ---- other domain controllers


def _replicas(directory: Directory, domain: Domain, observation: Observation) -> list[Words] | Unread:
    """What every other domain controller has of the policies, where that differs from this one's: `here` and `there` are versions,
    None where there is none; `where` is directory or SYSVOL.
    """
    controllers = observation.facts.get("domain_controllers")
    if not isinstance(controllers, list):
        return Unread("which domain controllers there are was not found out")
    others = [one for one in controllers if one["host"].casefold() != directory.host.casefold()]
    return [_replica(directory, domain, observation, one["host"] or one["name"]) for one in others]


def _replica(directory: Directory, domain: Domain, observation: Observation, host: str) -> Words:
    answer: Words = {"host": host, "error": "", "compared": 0, "differences": [], "count": 0}
    policies = {one["guid"]: one for one in observation.facts["policies"]}
    folders = observation.facts["policy_folders"]["policies"]
    asked = read_only.Asked(observation.asked)
    try:
        with read_only.directory(directory.options, lambda _warning: None, asked, host=host) as other:
            entries = other.search(domain.policies_dn, "(objectClass=groupPolicyContainer)", ("cn", "versionNumber"), "level")
            there = {(one.text("cn") or rdn_value(one.dn)).upper(): one.integer("versionNumber") for one in entries}
            with read_only.sysvol(other.host, other.address, other.options, asked) as share:
                paths = {guid: f"{one['folder']}\\{content.GPT_INI}" for guid, one in policies.items()}
                files, unread = _each(share.read_files, list(paths.values()))
    except UserError as error:
        return {**answer, "error": " ".join(str(error).split())}
    found = []
    for guid in sorted({*policies, *there}):
        name = policies[guid]["name"] if guid in policies else guid
        versions = [("directory", policies.get(guid, {}).get("version"), there.get(guid))]
        if guid in paths and paths[guid] not in unread and not folders[guid]["version_unread"]:
            versions.append(("SYSVOL", folders[guid]["version"], _version(files[paths[guid]])[0]))
        found += [{"policy": name, "where": where, "here": one, "there": two} for where, one, two in versions if one != two]
    return {**answer, "compared": len({*policies, *there}), "differences": found[:_LISTED], "count": len(found)}


def _version(data: bytes | None) -> tuple[int | None, str]:
    if data is None:
        return None, f"{content.GPT_INI} is not there"
    try:
        return gpt_ini.parse(data).version, ""
    except FormatError as error:
        return None, str(error)


def _contents(share: Sysvol, policies: Sequence[Words], declared: set[str]) -> dict[str, Words]:
    """The files that matter of the policies whose extension lists say that they have them, as `policy_claims.words` puts them.

    A policy that is declared, or whose version says that its computer half was edited while its list names no extension, is read whole.
    `scripts` are what it runs; `passwords` the files of preferences that hold one.
    """
    found = {}
    waiting = iter(policies)
    while batch := list(islice(waiting, _AT_ONCE)):
        wanted = {one["guid"]: _paths(one, one["name"].casefold() in declared) for one in batch}
        for path in _preference_files(share, batch):
            owner = next(one for one in batch if path.casefold().startswith(f"{one['folder']}\\".casefold()))
            wanted[owner["guid"]].append(path[len(owner["folder"]) + 1 :])
        paths = {f"{one['folder']}\\{name}": (one, name) for one in batch for name in wanted[one["guid"]]}
        data, refused = _each(share.read_files, list(paths))
        for one in batch:
            files = {name: data.get(path) for path, (owner, name) in paths.items() if owner is one}
            said = _said(one, files)
            said["unread"].update({paths[path][1]: reason for path, reason in refused.items() if paths[path][0] is one})
            if said != _NOTHING:
                found[one["guid"]] = said
        _permissions_of_scripts(share, batch, found)
    return found


_NOTHING: Words = {"unread": {}, "kinds": {"computer": [], "user": []}}


def _paths(policy: Words, everything: bool) -> list[str]:
    machine, user = _named(policy["machine_extensions"]), _named(policy["user_extensions"])
    if machine is None or user is None or everything or ((policy["version"] or 0) & 0xFFFF and not machine):
        found = list(content.KNOWN)
    else:
        table = (
            (REGISTRY, machine, content.COMPUTER_REGISTRY),
            (REGISTRY, user, content.USER_REGISTRY),
            (SECURITY, machine, content.SECURITY),
            (SERVICES, machine, content.SERVICES),
        )
        found = [path for extension, named, path in table if extension in named]
    for half, named in (("Machine", machine), ("User", user)):
        if scripts_ini.EXTENSION in (named or ()):
            found += [f"{half}\\{name}" for name in scripts_ini.FILES]
    return found


def _named(value: str | None) -> set[str] | None:
    try:
        return {group.cse.upper() for group in extensions.parse(value)}
    except FormatError:
        return None


def _preference_files(share: Sysvol, policies: Iterable[Words]) -> Iterator[str]:
    """The files of preferences other than those of services, which are read anyway."""
    roots = [
        f"{one['folder']}\\{half}\\Preferences"
        for one in policies
        for half, names in (("Machine", one["machine_extensions"]), ("User", one["user_extensions"]))
        if (_named(names) or set()) - _NO_PREFERENCES
    ]
    listed, _refused = _each(share.walk, roots)
    for path, item in listed.items():
        known = path.casefold().endswith(content.SERVICES.casefold())
        if path.lower().endswith(".xml") and not known and not item.is_folder and item.size < _LARGEST_FILE:
            yield path


def _said(policy: Words, files: Mapping[str, bytes | None]) -> Words:
    said = policy_claims.words(files)
    scripts = []
    for half in ("Machine", "User"):
        for name in scripts_ini.FILES:
            data = files.get(f"{half}\\{name}")
            if data is None:
                continue
            try:
                found = scripts_ini.parse(data, f"{half}\\{name}")
            except FormatError as error:
                said["unread"][f"{half}\\{name}"] = str(error)
                continue
            scripts += [_script(policy, half, one) for one in found]
    if scripts:
        said["scripts"] = scripts
    passwords = sorted(path for path, data in files.items() if data and path.lower().endswith(".xml") and _PASSWORD.search(data))
    if passwords:
        said["passwords"] = passwords
    return said


def _script(policy: Words, half: str, one: scripts_ini.Script) -> Words:
    """`path` is where the script lies on the share, empty where it is somewhere else."""
    inside = not (one.command.startswith("\\\\") or ":" in one.command or "%" in one.command)
    path = f"{policy['folder']}\\{half}\\Scripts\\{one.event.capitalize()}\\{one.command}" if inside else ""
    return {"event": one.event, "command": one.command, "parameters": one.parameters, "path": path, "descriptor": None, "there": None}


def _permissions_of_scripts(share: Sysvol, policies: Iterable[Words], found: Mapping[str, Words]) -> None:
    scripts = [script for one in policies for script in found.get(one["guid"], {}).get("scripts", ()) if script["path"]]
    descriptors, _refused = _each(share.read_descriptors, sorted({script["path"] for script in scripts}))
    for script in scripts:
        descriptor = descriptors.get(script["path"])
        script["there"] = descriptor is not None if script["path"] in descriptors else None
        script["descriptor"] = _base64(bytes(descriptor)) if descriptor else None


def _each(read: Callable[[list[str]], Mapping[str, Found]], paths: list[str]) -> tuple[dict[str, Found], dict[str, str]]:
    """What can be read, and why the rest cannot. One refusal fails a whole batch, which is then halved until only that one is left."""
    try:
        return dict(read(paths)) if paths else {}, {}
    except SessionLost:
        raise
    except UserError as error:
        if len(paths) == 1:
            return {}, {paths[0]: " ".join(str(error).split())}
    middle = len(paths) // 2
    first, refused = _each(read, paths[:middle])
    second, more = _each(read, paths[middle:])
    return {**first, **second}, {**refused, **more}


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()
