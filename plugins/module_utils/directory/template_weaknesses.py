# SPDX-License-Identifier: GPL-3.0-or-later
"""Templates that an attacker could use, by the names that security tools have for them (ESC1, 2, 3, 4, 9, 13, 15, 17).

What all but ESC4 have in common: somebody without privileges may enroll, and no manager and no second signature stands between. Whether
the template is published already is not asked, for it is made to be.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.directory.exposure import CONTROLLING, Exposure
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import Sid
from ansible_collections.certlogon.core.plugins.module_utils.directory.template_permissions import ace_text
from ansible_collections.certlogon.core.plugins.module_utils.resource import Words

AGENT = "certificate_request_agent"
_LOGS_ON = frozenset({"client_authentication", "smart_card_logon", "pkinit_client", "any_purpose"})
_SUBJECT = "set subject.supplied_in_request: false"


@dataclass(frozen=True)
class Weakness:
    """Who can do what with a template, and which options to change; `evidence` are the options' values that make it so."""

    esc: str
    who: Sequence[Sid]
    what: str
    remedy: str
    gated: bool = True
    """Whether manager approval, a signature or taking the right to enroll mends it, too."""
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def sentence(self, name_of: Callable[[Sid], str]) -> str:
        """For a warning."""
        names = people(self.who, name_of)
        return f"{self.esc}: {names} {self.what}; {self.mend(names)}"

    def mend(self, names: str) -> str:
        return f"{self.remedy}, {gate(names)}" if self.gated else self.remedy


def people(sids: Collection[Sid], name_of: Callable[[Sid], str]) -> str:
    return ", ".join(sorted({name_of(sid) for sid in sids}))


def gate(names: str) -> str:
    """What stands in the way of each weakness of enrollment."""
    return f"set manager_approval: true, require signatures, or take enroll from {names}"


def purposes(words: Words) -> frozenset[str]:
    """What certificates are good for; none means anything."""
    return frozenset({*words["extended_key_usages"], *(words.get("application_policies") or ())})


def is_any_purpose(words: Words) -> bool:
    return not (found := purposes(words)) or "any_purpose" in found


def logs_on(words: Words) -> bool:
    """Whether a domain controller takes the certificate for a logon."""
    return is_any_purpose(words) or bool(purposes(words) & _LOGS_ON)


def issued_at_once(words: Words) -> bool:
    """No manager and no second signature stands between."""
    return not words["manager_approval"] and not words["signatures"]["count"]


def takes_agent(words: Words) -> bool:
    """Whether an enrollment agent may enroll for others here: any template of version 1, later ones that ask for its signature."""
    signatures = words["signatures"]
    asked = signatures["count"] == 1 and AGENT in signatures["application_policies"]
    return bool(asked or (words["schema_version"] == 1 and not signatures["count"])) and not words["manager_approval"]


def weaknesses(words: Words, exposure: Exposure, linked: Mapping[str, str] | None = None) -> list[Weakness]:
    """All that there are. `linked`: the groups of issuance policies (msDS-OIDToGroupLink), by the policies' names in `words`."""
    found = controllable(exposure)
    who = exposure.enrolling
    if not who or not issued_at_once(words):
        return found

    def add(esc: str, what: str, remedy: str, *options: str) -> None:
        found.append(Weakness(esc, who, what, remedy, evidence={option: words.get(option) for option in options}))

    supplied, uses = words["subject"]["supplied_in_request"], purposes(words)
    groups = {policy: group for policy, group in (linked or {}).items() if policy in words["issuance_policies"]}
    if supplied and logs_on(words):
        add("ESC1", "can enroll as anybody and log on", _SUBJECT, "subject", "extended_key_usages")
    if is_any_purpose(words):
        add("ESC2", "can get a certificate for any purpose", "name extended_key_usages", "extended_key_usages")
    if is_any_purpose(words) or AGENT in uses:
        remedy = "name extended_key_usages" if is_any_purpose(words) else f"remove {AGENT} from extended_key_usages"
        add("ESC3", "can become an enrollment agent, who enrolls for others", remedy, "extended_key_usages")
    if not words["sid_extension"] and logs_on(words):
        add("ESC9", "can get certificates that no SID binds to their account", "set sid_extension: true", "sid_extension")
    if groups and logs_on(words):
        what = f"can get certificates that make them members of {', '.join(sorted(groups.values()))}"
        add("ESC13", what, f"remove {', '.join(sorted(groups))} from issuance_policies", "issuance_policies")
    if supplied and words["schema_version"] == 1:
        add(
            "ESC15",
            "can put application policies of their own into a request, for the template is of version 1 and takes its subject from "
            "there (CVE-2024-49019)",
            f"make a version 2 copy, {_SUBJECT}",
            "schema_version",
            "subject",
        )
    if supplied and (is_any_purpose(words) or "server_authentication" in uses):
        add("ESC17", "can get a certificate for any server's name", _SUBJECT, "subject", "extended_key_usages")
    return found


def controllable(exposure: Exposure) -> list[Weakness]:
    """ESC4: the template can be made anything."""
    found = []
    if exposure.owner is not None:
        found.append(Weakness("ESC4", (exposure.owner,), "owns the template and can make it anything", "change owner", gated=False))
    rights = [right for right in CONTROLLING if exposure.controlling.get(right)]
    if rights:
        remedy = "take write, manage, full_control or these rights away in permissions"
        what = f"can change the template ({', '.join(rights)})"
        found.append(Weakness("ESC4", exposure.holders(rights), what, remedy, gated=False, evidence={"rights": rights}))
    for sid, ace in exposure.attributes:
        text = ace_text(ace)
        remedy = f"remove {text} from permissions"
        found.append(Weakness("ESC4", (sid,), "can write attributes of the template", remedy, gated=False, evidence={"ace": text}))
    return found
