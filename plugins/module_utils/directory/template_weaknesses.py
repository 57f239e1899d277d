# SPDX-License-Identifier: GPL-3.0-or-later
"""Templates that an attacker could use, by the names that security tools have for them (ESC1, 2, 3, 4, 9, 15, 17).

What all but ESC4 have in common: somebody without privileges may enroll, and no manager and no second signature stands between. Whether
the template is published already is not asked, for it is made to be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

from ansible_collections.certlogon.core.plugins.module_utils.directory import security
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import Sid
from ansible_collections.certlogon.core.plugins.module_utils.directory.template_permissions import ENROLL_RIGHT, Access
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Words

_ANYBODY = frozenset(
    {
        "S-1-1-0",  # Everyone
        "S-1-5-2",  # Network
        "S-1-5-4",  # Interactive
        "S-1-5-7",  # Anonymous
        "S-1-5-11",  # Authenticated Users
        "S-1-5-32-545",  # Users
        "S-1-5-32-546",  # Guests
        "S-1-5-32-554",  # Pre-Windows 2000 Compatible Access
    }
)
_ANYBODY_OF_DOMAIN = frozenset({501, 513, 514, 515})
"""Guest, Domain Users, Domain Guests, Domain Computers."""

_LOGS_ON = frozenset({"client_authentication", "smart_card_logon", "pkinit_client", "any_purpose"})
_ENROLLING = ENROLL_RIGHT | security.CONTROL_ACCESS | security.GENERIC_ALL
_CONTROLLING: Mapping[str, int] = {
    "write_property": security.WRITE_PROPERTY | security.GENERIC_WRITE,
    "write_permissions": security.WRITE_DAC,
    "write_owner": security.WRITE_OWNER,
    "generic_all": security.GENERIC_ALL,
}


@lru_cache(maxsize=4096)
def is_anybody(sid: Sid) -> bool:
    """Whether the principal holds accounts without privileges."""
    return str(sid) in _ANYBODY or (sid.domain is not None and sid.rid in _ANYBODY_OF_DOMAIN)


def weaknesses(words: Words, access: Access, name_of: Callable[[Sid], str]) -> list[str]:
    """One sentence for each weakness: who, what, and which option to change."""
    found = _controllable(access, name_of)
    enrolling = _who(access, _ENROLLING, name_of)
    if not enrolling or words["manager_approval"] or words["signatures"]["count"]:
        return found
    purposes = {*words["extended_key_usages"], *words.get("application_policies", ())}
    anything = not purposes or "any_purpose" in purposes
    logs_on = anything or bool(purposes & _LOGS_ON)
    supplied = words["subject"]["supplied_in_request"]
    remedy = f"set manager_approval: true, require signatures, or take enroll from {enrolling}"
    if supplied and logs_on:
        found.append(f"ESC1: {enrolling} can enroll as anybody and log on; set subject.supplied_in_request: false, {remedy}")
    if anything:
        found.append(f"ESC2: {enrolling} can get a certificate for any purpose; name extended_key_usages, {remedy}")
    if "certificate_request_agent" in purposes:
        found.append(
            f"ESC3: {enrolling} can become an enrollment agent, who enrolls for others; "
            f"remove certificate_request_agent from extended_key_usages, {remedy}"
        )
    if not words["sid_extension"] and logs_on:
        found.append(f"ESC9: {enrolling} can get certificates that no SID binds to their account; set sid_extension: true, {remedy}")
    if supplied and words["schema_version"] == 1:
        found.append(
            f"ESC15: {enrolling} can put application policies of their own into a request, for the template is of version 1 "
            f"and takes its subject from there (CVE-2024-49019); make a version 2 copy, set subject.supplied_in_request: false, {remedy}"
        )
    if supplied and "server_authentication" in purposes:
        found.append(f"ESC17: {enrolling} can get a certificate for any server's name; set subject.supplied_in_request: false, {remedy}")
    return found


def _controllable(access: Access, name_of: Callable[[Sid], str]) -> list[str]:
    found = []
    if access.owner is not None and is_anybody(access.owner):
        found.append(f"ESC4: {name_of(access.owner)} owns the template and can make it anything; change owner")
    holders = {right: who for right, mask in _CONTROLLING.items() if (who := _who(access, mask, name_of))}
    if holders:
        who = ", ".join(sorted({name for names in holders.values() for name in names.split(", ")}))
        found.append(
            f"ESC4: {who} can change the template ({', '.join(holders)}); "
            "take write, manage, full_control or these rights away in permissions"
        )
    return found + _writing_attributes(access.others, name_of)


def _writing_attributes(aces: Iterable[str], name_of: Callable[[Sid], str]) -> list[str]:
    """Entries kept as text: rights to write single attributes."""
    found = []
    for text in aces:
        try:
            ace = security.parse_sddl_ace(text[1:-1])
        except FormatError:
            continue
        if ace.is_allow and not ace.flags & security.INHERIT_ONLY and ace.mask & security.WRITE_PROPERTY and is_anybody(ace.sid):
            found.append(f"ESC4: {name_of(ace.sid)} can write attributes of the template; remove {text} from permissions")
    return found


def _who(access: Access, rights: int, name_of: Callable[[Sid], str]) -> str:
    """Principals without privileges that have any of `rights`, and are denied none of them."""
    names = [
        name_of(sid)
        for (sid, denied), granted in access.grants.items()
        if not denied and granted & rights and not access.grants.get((sid, True), 0) & rights and is_anybody(sid)
    ]
    return ", ".join(sorted(names))
