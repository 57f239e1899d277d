# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may change altSecurityIdentities of an account, and so log on as it; and who may read what it logs on by ([MS-ADTS] 5.1.3)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from uuid import UUID

from ansible_collections.certlogon.core.plugins.module_utils.directory import security
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import SecurityDescriptor, Sid

ATTRIBUTE = UUID("00fbf30c-91fe-11d1-aebc-0000f80367c1")
"""schemaIDGUID of altSecurityIdentities ([MS-ADA1] 2.61)."""

PUBLIC_INFORMATION = UUID("e48d0154-bcf8-11d1-8702-00c04fb96050")
"""The property set that it belongs to ([MS-ADTS] 3.1.1.2.3.3)."""

PERSONAL_INFORMATION = UUID("77b5b886-944a-11d1-aebd-0000f80367c1")

READ = {
    "altSecurityIdentities": (ATTRIBUTE, PUBLIC_INFORMATION),
    "userCertificate": (UUID("bf967a7f-0de6-11d0-a285-00aa003049e2"), PERSONAL_INFORMATION),
    "userSMIMECertificate": (UUID("e16a9db2-403c-11d1-a9c0-0000f80367c1"), PERSONAL_INFORMATION),
}
"""Attributes that accounts log on by: schemaIDGUID and property set."""

_READING = security.READ_PROPERTY | security.GENERIC_READ | security.GENERIC_ALL

_WHOLE = (
    ("full_control", security.GENERIC_ALL),
    ("write_permissions", security.WRITE_DAC),
    ("write_owner", security.WRITE_OWNER),
    ("write", security.GENERIC_WRITE),
)

_PROTECTED_GROUPS = frozenset({498, 500, 512, 516, 518, 519, 521, 526, 527})
"""Relative identifiers, in each domain, of what may change everything already: read-only and other domain controllers, the built-in
Administrator, Domain, Schema and Enterprise Admins, Key Admins ([MS-ADTS] 3.1.1.6.1.2)."""

_TRUSTED = frozenset(
    {
        "S-1-3-0",  # CREATOR OWNER
        "S-1-3-4",  # OWNER RIGHTS: the owner is judged by itself
        "S-1-5-9",  # Enterprise Domain Controllers
        "S-1-5-10",  # SELF: who is the account already
        "S-1-5-18",  # SYSTEM
        "S-1-5-32-544",  # Administrators
        "S-1-5-32-548",  # Account Operators
        "S-1-5-32-549",  # Server Operators
        "S-1-5-32-550",  # Print Operators
        "S-1-5-32-551",  # Backup Operators
        "S-1-5-32-552",  # Replicators
    }
)


@lru_cache(maxsize=4096)
def is_protected(sid: Sid) -> bool:
    """Whether this is one of the principals that AdminSDHolder protects, or what they are already."""
    return str(sid) in _TRUSTED or (sid.domain is not None and sid.rid in _PROTECTED_GROUPS)


@lru_cache(maxsize=1024)
def writers(descriptor: SecurityDescriptor) -> tuple[tuple[Sid, tuple[str, ...]], ...]:
    """The principals that may, and by which rights; the owner too. Everyone, where there is no list of access at all."""
    if descriptor.dacl is None:
        return ((Sid.parse("S-1-1-0"), ("no access control list",)),)
    found: dict[Sid, dict[str, None]] = {}
    if descriptor.owner is not None:
        found.setdefault(descriptor.owner, {})["owner"] = None
    denied: dict[Sid, set[str]] = {}
    for ace in descriptor.aces:
        if isinstance(ace, security.OpaqueAce) or ace.flags & security.INHERIT_ONLY:
            continue
        if ace.is_deny:
            denied.setdefault(ace.sid, set()).update(_rights(ace))
        elif ace.is_allow:
            refused = denied.get(ace.sid, ())
            found.setdefault(ace.sid, {}).update(dict.fromkeys(right for right in _rights(ace) if right not in refused))
    return tuple((sid, tuple(rights)) for sid, rights in found.items() if rights)


def _rights(ace: security.Ace) -> Iterable[str]:
    if ace.object_type is None or not ace.object_type.int:
        yield from (name for name, mask in _WHOLE if ace.mask & mask)
    if ace.mask & security.WRITE_PROPERTY and (
        ace.object_type is None or not ace.object_type.int or ace.object_type in (ATTRIBUTE, PUBLIC_INFORMATION)
    ):
        yield "write_property"


@lru_cache(maxsize=1024)
def hidden(descriptor: SecurityDescriptor, token: frozenset[Sid]) -> tuple[str, ...]:
    """Attributes of READ that who holds these SIDs may not read: what the server then leaves out as if it were not there."""
    if descriptor.dacl is None:
        return ()
    return tuple(name for name, types in READ.items() if not _readable(descriptor, token, types))


def _readable(descriptor: SecurityDescriptor, token: frozenset[Sid], types: tuple[UUID, UUID]) -> bool:
    """The first entry that speaks of it decides."""
    for ace in descriptor.aces:
        if isinstance(ace, security.OpaqueAce) or ace.flags & security.INHERIT_ONLY or ace.sid not in token:
            continue
        speaks = ace.object_type is None or not ace.object_type.int or ace.object_type in types
        if speaks and ace.mask & _READING and (ace.is_allow or ace.is_deny):
            return ace.is_allow
    return False
