# SPDX-License-Identifier: GPL-3.0-or-later
"""What people without privileges may do with a directory object, from its security descriptor ([MS-ADTS] 5.1.3.3) (pure).

"Anybody" is a principal that holds accounts without privileges: those that are the same everywhere, and others that the caller names.
A denial counts against the principal that it names; one for Everyone or Authenticated Users counts against all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from uuid import UUID

from ansible_collections.certlogon.core.plugins.module_utils.directory import security
from ansible_collections.certlogon.core.plugins.module_utils.directory.oids import AUTO_ENROLL, ENROLL
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import Ace, AnyAce, SecurityDescriptor, Sid

ANYBODY: Mapping[str, str] = {
    "S-1-1-0": "Everyone",
    "S-1-5-2": "Network",
    "S-1-5-4": "Interactive",
    "S-1-5-7": "Anonymous",
    "S-1-5-11": "Authenticated Users",
    "S-1-5-32-545": "Users",
    "S-1-5-32-546": "Guests",
    "S-1-5-32-554": "Pre-Windows 2000 Compatible Access",
}
ANYBODY_OF_DOMAIN = frozenset({501, 513, 514, 515})
"""Guest, Domain Users, Domain Guests, Domain Computers."""

FORCE_CHANGE_PASSWORD = UUID("00299570-246d-11d0-a768-00aa006e0529")
"""The extended right to set an account's password without knowing it ([MS-ADTS] 5.1.3.2.1)."""

EVERYONE = Sid.parse("S-1-1-0")
_UNIVERSAL = frozenset({EVERYONE, Sid.parse("S-1-5-11")})
_NOT_ATTRIBUTES = frozenset({ENROLL, AUTO_ENROLL})
"""Extended rights beside which AD CS writes the right to write properties; it has no effect there."""

_ALL_RIGHTS = 0xF01FF
_GENERIC: Mapping[int, int] = {
    security.GENERIC_ALL: _ALL_RIGHTS,
    security.GENERIC_WRITE: security.READ_CONTROL | security.SELF_WRITE | security.WRITE_PROPERTY,
    security.GENERIC_READ: security.READ_CONTROL | security.LIST_CONTENTS | security.READ_PROPERTY | security.LIST_OBJECT,
    security.GENERIC_EXECUTE: security.READ_CONTROL | security.LIST_CONTENTS,
}
"""[MS-ADTS] 5.1.3.2."""

CONTROLLING: Mapping[str, int] = {
    "write_property": security.WRITE_PROPERTY,
    "write_permissions": security.WRITE_DAC,
    "write_owner": security.WRITE_OWNER,
}
"""Rights with which an object can be made anything."""

TAKING: Mapping[str, int] = {
    "create_child": security.CREATE_CHILD,
    "delete_child": security.DELETE_CHILD,
    "delete_tree": security.DELETE_TREE,
    "delete": security.DELETE,
}
"""Rights with which objects are put beside or below it, or taken away."""


@dataclass(frozen=True)
class Exposure:
    """`owner` where anybody owns the object; `enrolling`, who may enroll; `controlling`, who has which right to change it (words of
    CONTROLLING and TAKING); `attributes`, who may write single attributes or property sets, with the entry that says so."""

    owner: Sid | None = None
    enrolling: Sequence[Sid] = ()
    controlling: Mapping[str, Sequence[Sid]] = field(default_factory=dict)
    attributes: Sequence[tuple[Sid, Ace]] = ()
    extended: Sequence[Sid] = ()
    """Who has all extended rights, or may set the password."""

    def holders(self, rights: Iterable[str]) -> tuple[Sid, ...]:
        found = {sid: None for right in rights for sid in self.controlling.get(right, ())}
        return tuple(found)


@lru_cache(maxsize=4096)
def is_anybody(sid: Sid) -> bool:
    """Whether the principal holds accounts without privileges, wherever it is."""
    return str(sid) in ANYBODY or (sid.domain is not None and sid.rid in ANYBODY_OF_DOMAIN)


@lru_cache(maxsize=8192)
def exposure_of(data: bytes, others: frozenset[Sid] = frozenset()) -> Exposure:
    """`others` are principals that count as anybody here. Raises `FormatError`."""
    descriptor = SecurityDescriptor.parse(data)
    owner = descriptor.owner if descriptor.owner is not None and _counts(descriptor.owner, others) else None
    if descriptor.dacl is None:
        # without a list everybody may do everything ([MS-DTYP] 2.5.3.2)
        return Exposure(owner, (EVERYONE,), dict.fromkeys((*CONTROLLING, *TAKING), (EVERYONE,)), (), (EVERYONE,))
    aces = [_mapped(ace) for ace in descriptor.aces if isinstance(ace, Ace) and not ace.flags & security.INHERIT_ONLY]
    who = [sid for sid in dict.fromkeys(ace.sid for ace in aces if ace.is_allow) if _counts(sid, others)]
    controlling = {
        word: found
        for word, right in {**CONTROLLING, **TAKING}.items()
        if (found := tuple(sid for sid in who if _allowed(aces, sid, right)))
    }
    return Exposure(
        owner,
        tuple(sid for sid in who if _allowed(aces, sid, security.CONTROL_ACCESS, ENROLL)),
        controlling,
        tuple(_single(aces, who, controlling.get("write_property", ()))),
        tuple(sid for sid in who if _allowed(aces, sid, security.CONTROL_ACCESS, FORCE_CHANGE_PASSWORD)),
    )


def _counts(sid: Sid, others: Collection[Sid]) -> bool:
    return is_anybody(sid) or sid in others


def _mapped(ace: Ace) -> Ace:
    """Generic rights as what they stand for."""
    mask = ace.mask
    for generic, rights in _GENERIC.items():
        mask |= rights if mask & generic else 0
    return ace if mask == ace.mask else Ace(ace.type, ace.flags, mask, ace.sid, ace.object_type, ace.inherited_object_type, ace.extra)


def _allowed(aces: Iterable[Ace], sid: Sid, right: int, object_type: UUID | None = None) -> bool:
    """Whether the principal's own entries allow the right, in the order in which they stand."""
    denying = _UNIVERSAL | {sid}
    for ace in aces:
        if not ace.mask & right or not (_untyped(ace) or ace.object_type == object_type):
            continue
        if ace.is_deny and ace.sid in denying:
            return False
        if ace.is_allow and ace.sid == sid:
            return True
    return False


def _untyped(ace: Ace) -> bool:
    return ace.object_type is None or ace.object_type.int == 0


def _single(aces: Sequence[Ace], who: Sequence[Sid], whole: Collection[Sid]) -> Iterable[tuple[Sid, Ace]]:
    for ace in aces:
        if not ace.is_allow or ace.sid not in who or ace.sid in whole or _untyped(ace) or ace.object_type in _NOT_ATTRIBUTES:
            continue
        if ace.mask & security.WRITE_PROPERTY and _allowed(aces, ace.sid, security.WRITE_PROPERTY, ace.object_type):
            yield ace.sid, ace


def sids_of(data: bytes) -> set[Sid]:
    """Everybody whom the descriptor names. Raises `FormatError`."""
    descriptor = SecurityDescriptor.parse(data)
    named: Iterable[AnyAce] = descriptor.aces
    return {ace.sid for ace in named if isinstance(ace, Ace)} | ({descriptor.owner} if descriptor.owner else set())
