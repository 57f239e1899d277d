# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of Group Policy as its judges use them: policies, scopes, declared policies, and the resultant sets of computers (pure)."""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts
from ansible_collections.certlogon.core.plugins.module_utils.directory.names import rdn_value, split_dn
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import SddlContext, SecurityDescriptor, Sid
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import links, policy_claims
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_container import BLOCKED, Domain, dn_key
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.resultant import (
    PHASES,
    Claim,
    Computer,
    Policy,
    ResultantSet,
    Setting,
    Som,
    World,
)

Words = Mapping[str, Any]

LISTED = 20
"""How many computers or places evidence names; all are counted."""


class View:
    """One domain's Group Policy."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self.policies: Sequence[Words] = facts["policies"]
        domain = facts["domain"]
        self.domain = Domain(
            domain["dn"],
            domain["dns"],
            domain["configuration_dn"],
            Sid.parse(domain["sid"]),
            Sid.parse(domain["root_sid"]),
            domain["samba"],
        )
        names = [one["name"].casefold() for one in self.policies]
        self._twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()

    @property
    def context(self) -> SddlContext:
        return SddlContext(self.domain.sid, self.domain.root_sid)

    @cached_property
    def by_key(self) -> dict[str, Words]:
        return {dn_key(one["dn"]): one for one in self.policies}

    @property
    def folders(self) -> Mapping[str, Words]:
        found: Mapping[str, Words] = self._facts["policy_folders"]["policies"]
        return found

    @property
    def contents(self) -> Mapping[str, Words]:
        found: Mapping[str, Words] = self._facts["policy_contents"]
        return found

    @property
    def declared(self) -> Sequence[Words]:
        found: Sequence[Words] = self._facts["policies_declared"]
        return found

    def label(self, policy: Words | Policy) -> str:
        """A policy's name; with its identifier where others have the name too."""
        name, guid = (policy.name, policy.guid) if isinstance(policy, Policy) else (policy["name"], policy["guid"])
        return f"{name} {guid}" if name.casefold() in self._twice else name

    def subject(self, policy: Words | Policy) -> str:
        return f"policy {self.label(policy)}"

    def place(self, dn: str) -> str:
        """A site, the domain or a unit, in the words of inventories."""
        return self.domain.target_word(dn)

    def name(self, sid: Sid) -> str:
        """What people call a principal; the SID where its name was not found out."""
        names = self._facts["policy_names"] if self._facts.read("policy_names") else {}
        return str(names.get(str(sid), sid))

    def meant(self, declared: Words) -> list[Words]:
        """The policies of the domain that an entry of the inventory means."""
        if declared["guid"]:
            return [one for one in self.policies if one["guid"] == declared["guid"]]
        return [one for one in self.policies if one["name"].casefold() == declared["name"].casefold()]

    # ---- resultant sets

    @cached_property
    def scopes(self) -> dict[str, Som]:
        return {dn_key(one["dn"]): self._som(one) for one in self._facts["policy_scopes"]["scopes"]}

    def _som(self, words: Words) -> Som:
        blocks = bool(words["options"] & BLOCKED)
        try:
            found = tuple(links.parse(words["links"]))
        except FormatError as error:
            return Som(words["dn"], (), blocks, str(error))
        foreign = [link for link in found if self.foreign(link.dn) and link.enabled]
        problem = f"links policy {rdn_value(foreign[0].dn)} of another domain, which was not looked at" if foreign else ""
        return Som(words["dn"], found, blocks, problem)

    def foreign(self, dn: str) -> bool:
        return not dn_key(dn).endswith(dn_key(self.domain.policies_dn))

    @cached_property
    def world(self) -> World:
        return World(map(self._policy, self.policies), self.scopes.values(), self._facts["policy_scopes"]["sites"])

    def _policy(self, words: Words) -> Policy:
        claims, sweeps, unread = policy_claims.claims(dict(self.contents.get(words["guid"], {})), repr(words["name"]))
        folder = self.folders.get(words["guid"], {})
        if not folder.get("present"):
            unread = {**unread, **dict.fromkeys(PHASES, f"the folder of policy {words['name']!r} is missing in SYSVOL")}
        return Policy(
            words["dn"],
            words["guid"],
            words["name"],
            words["flags"],
            words["functionality"] if words["functionality"] is not None else 2,
            words["version"] or 0,
            folder.get("version"),
            words["machine_extensions"],
            self._filter(words["wmi_filter"]),
            parsed(words["descriptor"]),
            claims,
            sweeps,
            unread,
        )

    def _filter(self, value: str) -> str:
        """gPCWQLFilter by the filter's name: `[domain;{id};0]` ([MS-GPOL] 2.2.4)."""
        parts = value.strip("[]").split(";")
        return str(self._facts["policy_scopes"]["wmi_filters"].get(parts[1].upper()) or parts[1]) if len(parts) == 3 else value

    @cached_property
    def results(self) -> list[tuple[Words, ResultantSet]]:
        """Every computer that is looked from."""
        return [(one, self.world.resultant_set(_computer(one))) for one in self._facts["policy_computers"]["chosen"]]

    def below(self, computer: Words) -> set[str]:
        """The keys of all that lies above a computer and can have links; of sites only where it is known."""
        found = set(self.world.above(computer["dn"]))
        sites = [computer["site"]] if computer["site"] else self._facts["policy_scopes"]["sites"]
        return found | ({dn_key(sites[0])} if len(sites) == 1 else set())

    def reached(self, declared: Words) -> Iterator[tuple[Words, ResultantSet]]:
        """The computers that an entry of the inventory means: below one of its links, and in one of the groups that it applies to."""
        keys = {dn_key(link["dn"]) for link in declared["links"] or () if link["enabled"]}
        applies_to = None if declared["applies_to"] is None else set(declared["applies_to"])
        for computer, result in self.results:
            if keys & self.below(computer) and (applies_to is None or applies_to & set(computer["sids"])):
                yield computer, result

    def wished(self, declared: Words) -> dict[tuple[str, str], Claim]:
        """What an entry of the inventory sets, by setting: its last instruction."""
        claims, _sweeps, _unread = policy_claims.claims(declared["contents"], repr(declared["name"]))
        return {key: found[-1] for key, found in claims.items()}

    def spelt(self, declared: Words, key: tuple[str, str]) -> Setting:
        """A setting as the inventory spells it."""
        return policy_claims.settings(declared["contents"]).get(key) or Setting(*key)

    def computers(self, found: Collection[Words]) -> dict[str, Any]:
        """Computers as evidence tells them."""
        places = sorted({self.place(parent(one["dn"])) for one in found})
        return {
            "computers": sorted(one["name"] for one in found)[:LISTED],
            "computers_looked_from": len(found),
            "places": places[:LISTED],
            "computers_there": sum({parent(one["dn"]): one["stands_for"] for one in found}.values()),
        }


def _computer(words: Words) -> Computer:
    return Computer(words["name"], words["dn"], frozenset(map(Sid.parse, words["sids"])), words["site"])


def parent(dn: str) -> str:
    return ",".join(split_dn(dn)[1:])


def parsed(text: str | None) -> SecurityDescriptor | None:
    """A descriptor of the facts; None where it was not shown or cannot be understood."""
    if text is None:
        return None
    try:
        return SecurityDescriptor.parse(base64.b64decode(text))
    except FormatError:
        return None


def shown(value: str | None) -> str:
    return "not configured" if value is None else value


def setting_label(setting: tuple[str, str] | Setting) -> str:
    kind, name = (setting.kind, setting.name) if isinstance(setting, Setting) else setting
    return {"registry": name, "service": f"start of service {name}", "service_action": f"action on service {name}"}[kind]


_last: list[tuple[Facts, View]] = []


def view(facts: Facts) -> View:
    """The view of these facts; made once for all controls that judge them."""
    if not _last or _last[0][0] is not facts:
        _last[:] = [(facts, View(facts))]
    return _last[0][1]
