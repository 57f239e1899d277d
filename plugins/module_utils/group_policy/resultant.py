# SPDX-License-Identifier: GPL-3.0-or-later
"""The resultant set of policy of a computer: which policies reach it, in which order, and who wins each setting (pure).

[MS-GPOL] 3.2.5.1.3 (what lies above a computer), 3.2.5.1.4 (its site), 3.2.5.1.5 (links, order, enforcement, blocked inheritance),
3.2.5.1.6 (flags, security filtering, empty policies), 2.2.4 (extension lists). In a gPLink the last entry has link order 1, the highest
precedence; the text of 3.2.5.1.5 would have it so for enforced links only, but Windows and Samba have it for all.

What only the computer itself can tell is a *doubt*: it is carried along with everything that depends on it, in words. Doubts are WMI
filters (3.2.5.1.7), the site of a computer where sites have links, item-level targeting ([MS-GPPREF] 2.2.1.22), and what could not be
read. Loopback acts on users' settings only, which are not computed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from ansible_collections.certlogon.core.plugins.module_utils.directory.names import rdn_value, split_dn
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import (
    CONTROL_ACCESS,
    GENERIC_ALL,
    GENERIC_READ,
    INHERIT_ONLY,
    READ_PROPERTY,
    Ace,
    SecurityDescriptor,
    Sid,
)
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import extensions, links
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.descriptors import APPLY_GROUP_POLICY
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_container import dn_key

REGISTRY = "{35378EAC-683F-11D2-A89A-00C04FBBCFA2}"
SECURITY = "{827D319E-6EAC-11D2-A4EA-00C04F79F83A}"
SERVICES = "{91FBB303-0CD5-4055-BF42-E512A681B325}"
PHASES = (REGISTRY, SECURITY, SERVICES)
"""The client-side extensions looked at, in the order in which they run: the registry first ([MS-GPOL] 3.2.5.1.10), the others by GUID."""

_COMPUTER_DISABLED = 2
_FUNCTIONALITY = 2

DENIALS = {
    "link_disabled": "its link is disabled",
    "inheritance_blocked": "inheritance is blocked below the link",
    "missing": "it does not exist, or may not be read",
    "functionality": "its gPCFunctionalityVersion is not 2",
    "computer_half_disabled": "its computer half is disabled",
    "not_readable": "the computer may not read it",
    "denied": "a deny entry keeps it from the computer",
    "not_applied": "its security filtering leaves the computer out",
    "empty": "its computer half has version 0, which clients take for empty",
    "no_extensions": "it names no extension for computers",
}
"""Why a policy that is linked above a computer does not reach it."""


@dataclass(frozen=True)
class Claim:
    """What one policy says of one setting. `value` None takes the setting away; `doubts` are those of this instruction alone.

    `place` is the instruction's among those of its policy and extension.
    """

    value: str | None
    phase: str
    doubts: tuple[str, ...] = ()
    place: int = 0


@dataclass(frozen=True)
class Sweep:
    """An instruction that takes away all values below a registry key (`deep`: and those of its subkeys); the key without case."""

    key: str
    deep: bool
    claim: Claim

    def takes(self, name: str) -> bool:
        below = f"{self.key}\\"
        return name.startswith(below) and (self.deep or "\\" not in name[len(below) :])


@dataclass(frozen=True)
class Setting:
    """`kind` is registry (name: key and value below HKEY_LOCAL_MACHINE), service (how it starts) or service_action; without case."""

    kind: str
    name: str

    @property
    def key(self) -> tuple[str, str]:
        return self.kind, self.name.casefold()


@dataclass(frozen=True)
class Policy:
    """One Group Policy object as clients see it.

    `claims` are its instructions by setting, `sweeps` those about whole registry keys. `unread` are parts of its content that could
    not be read, by the extension that would carry them out.
    """

    dn: str
    guid: str
    name: str
    flags: int = 0
    functionality: int = _FUNCTIONALITY
    version: int = 1
    file_version: int | None = 1
    extension_names: str | None = None
    wmi_filter: str = ""
    descriptor: SecurityDescriptor | None = None
    claims: Mapping[tuple[str, str], Sequence[Claim]] = field(default_factory=dict)
    sweeps: Sequence[Sweep] = ()
    unread: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def extensions(self) -> frozenset[str]:
        """The extensions that a client carries out: those before the first that is out of order."""
        return visible(self.extension_names)

    @property
    def machine_versions(self) -> tuple[int, int]:
        return self.version & 0xFFFF, (self.file_version or 0) & 0xFFFF


@dataclass(frozen=True)
class Som:
    """A scope of management: a site, the domain or an organizational unit, with its links."""

    dn: str
    links: tuple[links.Link, ...] = ()
    blocks_inheritance: bool = False
    problem: str = ""


@dataclass(frozen=True)
class Computer:
    """Who asks. `sids` are all that its token holds; `site` is the DN of its site, None where it is not known."""

    name: str
    dn: str
    sids: frozenset[Sid]
    site: str | None = None


@dataclass(frozen=True)
class Linked:
    """A link above a computer, and what becomes of its policy there: `denied` is a key of DENIALS, empty where it is applied."""

    policy: Policy
    som: str
    order: int
    enforced: bool
    denied: str = ""
    blocked_at: str = ""
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """One instruction in the history of a setting."""

    linked: Linked
    claim: Claim

    @property
    def doubts(self) -> tuple[str, ...]:
        return (*self.linked.doubts, *self.claim.doubts)


@dataclass(frozen=True)
class Outcome:
    """What becomes of one setting: all instructions in order of application, the last one winning; `unread` may add to them."""

    history: tuple[Step, ...]
    unread: tuple[str, ...] = ()

    @property
    def values(self) -> frozenset[str | None]:
        """All values that are possible; one where there is no doubt that matters. None is "not configured"."""
        possible: set[str | None] = {None}
        for step in self.history:
            possible = possible | {step.claim.value} if step.doubts else {step.claim.value}
        return frozenset(possible)

    @property
    def winner(self) -> Step | None:
        """The last instruction, in doubt or not."""
        return self.history[-1] if self.history else None

    @property
    def doubts(self) -> tuple[str, ...]:
        """What the value depends on: the doubts after the last instruction that is certain."""
        found: dict[str, None] = {}
        for step in self.history:
            if not step.doubts:
                found = {}
            found.update(dict.fromkeys(step.doubts))
        return (*found, *self.unread)


@dataclass(frozen=True)
class ResultantSet:
    """`applied` in order of application: the last one wins. `problems` are links that could not be read."""

    computer: Computer
    applied: tuple[Linked, ...]
    denied: tuple[Linked, ...]
    problems: tuple[str, ...] = ()

    def outcome(self, setting: Setting) -> Outcome:
        """What becomes of one setting, with everybody who said something about it."""
        key = setting.key
        history = []
        unread = dict.fromkeys(self.problems)
        for phase in PHASES:
            for linked in self.applied:
                policy = linked.policy
                if phase not in policy.extensions:
                    continue
                if phase in policy.unread:
                    unread[policy.unread[phase]] = None
                history += [Step(linked, claim) for claim in _claims(policy, key) if claim.phase == phase]
        return Outcome(tuple(history), tuple(unread))

    def of(self, guid: str) -> list[Linked]:
        """What became of one policy here: all its links above the computer."""
        return [linked for linked in (*self.applied, *self.denied) if linked.policy.guid == guid]


def _claims(policy: Policy, key: tuple[str, str]) -> Iterable[Claim]:
    kind, name = key
    own = policy.claims.get(key, ())
    swept = [sweep.claim for sweep in policy.sweeps if kind == "registry" and sweep.takes(name)]
    return sorted((*swept, *own), key=lambda claim: claim.place) if swept else own


class World:
    """All policies, and all that they are linked to. `sites`: every site of the forest, linked or not."""

    def __init__(self, policies: Iterable[Policy], soms: Iterable[Som], sites: Iterable[str] = ()) -> None:
        self.policies = {dn_key(policy.dn): policy for policy in policies}
        self.soms = {dn_key(som.dn): som for som in soms}
        self.sites = [dn_key(dn) for dn in sites]
        self._access: dict[tuple[str, frozenset[Sid]], tuple[str, tuple[str, ...]]] = {}

    def resultant_set(self, computer: Computer) -> ResultantSet:
        """The policies of one computer."""
        plain: list[Linked] = []
        enforced: list[Linked] = []
        denied: list[Linked] = []
        problems: list[str] = []
        blocked_at = ""
        for som, doubts in self._scopes(computer):
            if som.problem:
                problems.append(f"{som.dn}: {som.problem}")
            here: list[Linked] = []
            for linked in self._linked(som, doubts):
                one = self._judged(linked, computer, blocked_at)
                (denied if one.denied else here).append(one)
            # nearest first: what is nearer stands later among the plain ones, and earlier among the enforced ones
            plain[:0] = [one for one in here if not one.enforced]
            enforced += [one for one in here if one.enforced]
            if som.blocks_inheritance and not doubts:
                blocked_at = blocked_at or som.dn
        return ResultantSet(computer, (*plain, *enforced), tuple(denied), tuple(problems))

    def above(self, dn: str) -> Iterator[str]:
        """The keys of what lies above an object and can have links: organizational units, then the domain."""
        parts = split_dn(dn)
        for place in range(1, len(parts)):
            kind = parts[place].partition("=")[0].strip().casefold()
            if kind in ("ou", "dc"):
                yield dn_key(",".join(parts[place:]))
            if kind == "dc":
                return

    def _scopes(self, computer: Computer) -> Iterator[tuple[Som, tuple[str, ...]]]:
        """Nearest first, the site last; with doubts where a site may or may not be the computer's."""
        for key in self.above(computer.dn):
            if key in self.soms:
                yield self.soms[key], ()
        if computer.site is not None:
            site = self.soms.get(dn_key(computer.site))
            if site:
                yield site, ()
            return
        certain = len(self.sites) == 1
        for key in self.sites:
            found = self.soms.get(key)
            if found and (found.links or found.problem):
                yield found, () if certain else (f"the site of {computer.name} is not known, and {_label(found.dn)} has links",)

    def _linked(self, som: Som, doubts: tuple[str, ...]) -> Iterator[Linked]:
        """A scope's links in the order of application: the text's."""
        for place, link in enumerate(som.links):
            policy = self.policies.get(dn_key(link.dn)) or Policy(link.dn, rdn_value(link.dn).upper(), rdn_value(link.dn), version=-1)
            denied = "" if link.enabled else "link_disabled"
            yield Linked(policy, som.dn, len(som.links) - place, link.enabled and link.enforced, denied, doubts=doubts)

    def _judged(self, linked: Linked, computer: Computer, blocked_at: str) -> Linked:
        if linked.denied:
            return linked
        policy = linked.policy
        if dn_key(policy.dn) not in self.policies:
            return replace(linked, denied="missing")
        if blocked_at and not linked.enforced:
            return replace(linked, denied="inheritance_blocked", blocked_at=blocked_at)
        key = (policy.dn, computer.sids)
        if key not in self._access:
            self._access[key] = _filtered(policy, computer.sids)
        denied, doubts = self._access[key]
        return replace(linked, denied=denied, doubts=(*linked.doubts, *doubts))


def _filtered(policy: Policy, sids: frozenset[Sid]) -> tuple[str, tuple[str, ...]]:
    """[MS-GPOL] 3.2.5.1.6, in its order: why not, or what it depends on."""
    denied, doubts = "", []
    if policy.functionality != _FUNCTIONALITY:
        denied = "functionality"
    elif policy.flags & _COMPUTER_DISABLED:
        denied = "computer_half_disabled"
    elif policy.descriptor is None:
        doubts.append(f"the permissions of policy {policy.name!r} cannot be read")
    else:
        denied = access(policy.descriptor, sids)
    if not denied and policy.file_version is None and not policy.machine_versions[0]:
        doubts.append(f"GPT.INI of policy {policy.name!r} cannot be read")
    elif not denied and policy.machine_versions == (0, 0):
        denied = "empty"
    if not denied and not (policy.extension_names or "").strip():
        denied = "no_extensions"
    if policy.wmi_filter:
        doubts.append(f"the WMI filter of policy {policy.name!r} ({policy.wmi_filter})")
    return denied, tuple(doubts)


def access(descriptor: SecurityDescriptor, sids: frozenset[Sid]) -> str:
    """Whether who holds these SIDs gets a policy: "" or a key of DENIALS. A deny entry of "apply" wins wherever it stands.

    Since MS16-072 computers read all policies, those of their users too, as themselves.
    """
    if descriptor.has_null_dacl:
        return ""
    mine = [ace for ace in descriptor.aces if isinstance(ace, Ace) and ace.sid in sids and not ace.flags & INHERIT_ONLY]
    if any(ace.is_deny and _apply(ace) for ace in mine):
        return "denied"
    first = next((ace for ace in mine if _reads(ace)), None)
    if first is None:
        return "not_readable"
    if first.is_deny:
        return "denied"
    return "" if any(ace.is_allow and _apply(ace) for ace in mine) else "not_applied"


def _apply(ace: Ace) -> bool:
    generic = bool(ace.mask & GENERIC_ALL) and not ace.is_object
    right = bool(ace.mask & CONTROL_ACCESS) and ace.object_type in (None, APPLY_GROUP_POLICY, _NOTHING)
    return generic or right


def _reads(ace: Ace) -> bool:
    """Of all properties: an entry for one of them does not make a policy readable."""
    return bool(ace.mask & (READ_PROPERTY | GENERIC_READ | GENERIC_ALL)) and ace.object_type in (None, _NOTHING)


_NOTHING = type(APPLY_GROUP_POLICY)(int=0)


def visible(value: str | None) -> frozenset[str]:
    """The client-side extensions of a list that clients get to see: processing ends at the first out of order ([MS-GPOL] 2.2.4)."""
    found: list[str] = []
    try:
        groups = extensions.parse(value)
    except FormatError:
        return frozenset()
    for group in groups:
        if found and group.cse.casefold() < found[-1].casefold():
            break
        found.append(group.cse)
    return frozenset(cse.upper() for cse in found)


def out_of_order(value: str | None) -> list[str]:
    """The extensions of a list that no client gets to see. Raises `FormatError`."""
    every = [group.cse.upper() for group in extensions.parse(value)]
    return [cse for cse in every if cse not in visible(value)]


def _label(dn: str) -> str:
    return f"site {rdn_value(dn)}"
