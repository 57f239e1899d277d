# SPDX-License-Identifier: GPL-3.0-or-later
"""The permissions of a certificate template: entries of its DACL as principals and rights, and back ([MS-CRTD] 2.5).

Rights are kept as one number: the access mask in the lower 32 bits, the extended rights Enroll and AutoEnroll above it. An entry that
principals and rights cannot say (inheritable ones, rights to single attributes, other types) is kept as text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.directory import security
from ansible_collections.certlogon.core.plugins.module_utils.directory.oids import AUTO_ENROLL, ENROLL
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import Ace, AnyAce, OpaqueAce, SecurityDescriptor, Sid
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

MASK = 0xFFFFFFFF
ENROLL_RIGHT = 1 << 32
AUTO_ENROLL_RIGHT = 1 << 33
_EXTENDED = {ENROLL: ENROLL_RIGHT, AUTO_ENROLL: AUTO_ENROLL_RIGHT}
_EXTENDED_MASK = security.READ_PROPERTY | security.WRITE_PROPERTY | security.CONTROL_ACCESS
"""What AD CS itself writes into an Enroll entry; only CONTROL_ACCESS has an effect."""

FULL_CONTROL = 0xF01FF
WRITE = security.WRITE_PROPERTY | security.WRITE_DAC | security.WRITE_OWNER

COMBINED: Mapping[str, int] = {
    "full_control": FULL_CONTROL,
    "manage": FULL_CONTROL & ~security.CONTROL_ACCESS,
    "write": WRITE,
    "read": security.READ_CONTROL | security.LIST_CONTENTS | security.READ_PROPERTY | security.LIST_OBJECT,
}
"""Read, Write and Full Control of [MS-CRTD] 2.5.3, and what AD CS gives its administrators (all but extended rights)."""

SINGLE: Mapping[str, int] = {
    "create_child": security.CREATE_CHILD,
    "delete_child": security.DELETE_CHILD,
    "list_contents": security.LIST_CONTENTS,
    "self_write": security.SELF_WRITE,
    "read_property": security.READ_PROPERTY,
    "write_property": security.WRITE_PROPERTY,
    "delete_tree": security.DELETE_TREE,
    "list_object": security.LIST_OBJECT,
    "all_extended_rights": security.CONTROL_ACCESS,
    "delete": security.DELETE,
    "read_permissions": security.READ_CONTROL,
    "write_permissions": security.WRITE_DAC,
    "write_owner": security.WRITE_OWNER,
    "generic_all": security.GENERIC_ALL,
    "generic_read": security.GENERIC_READ,
    "generic_write": security.GENERIC_WRITE,
    "generic_execute": security.GENERIC_EXECUTE,
}
"""[MS-ADTS] 5.1.3.2."""

EXTENDED: Mapping[str, int] = {"enroll": ENROLL_RIGHT, "auto_enroll": AUTO_ENROLL_RIGHT}
RIGHTS: Mapping[str, int] = {**COMBINED, **EXTENDED, **SINGLE}

Key = tuple[Sid, bool]
"""Who, and whether it is denied."""

Permission = dict[str, Any]


@dataclass(frozen=True)
class Access:
    """Owner and DACL of a template, by meaning."""

    owner: Sid | None
    grants: Mapping[Key, int]
    others: tuple[str, ...]
    inherits: bool
    denies_late: bool = False
    """A denial stands after what it denies, and so has no effect."""

    @property
    def sids(self) -> set[Sid]:
        return {sid for sid, _denied in self.grants} | ({self.owner} if self.owner else set())


def rights_words(rights: int) -> list[str]:
    return list(_rights_words(rights))


@lru_cache(maxsize=1024)
def _rights_words(rights: int) -> tuple[str, ...]:
    words = []
    rest = rights & MASK
    for word, mask in COMBINED.items():
        if rest & mask == mask:
            words.append(word)
            rest &= ~mask
    words += [word for word, bit in EXTENDED.items() if rights & bit]
    for word, bit in SINGLE.items():
        if rest & bit:
            words.append(word)
            rest &= ~bit
    return (*words, *(hex(1 << place) for place in range(32) if rest >> place & 1))


def parse_rights(words: Iterable[str]) -> int:
    """The rights that `words` stand for; raises `FormatError` with a suggestion."""
    rights = 0
    for word in words:
        if word in RIGHTS:
            rights |= RIGHTS[word]
            continue
        try:
            number = int(word, 0)
        except ValueError:
            number = -1
        if not 0 <= number <= MASK:
            near = get_close_matches(word, RIGHTS, 1)
            raise FormatError(
                f"right {word!r} is not known; " + (f"did you mean {near[0]!r}?" if near else f"there are {', '.join(RIGHTS)}")
            )
        rights |= number
    return rights


@lru_cache(maxsize=8192)
def access_of(data: bytes) -> Access:
    """What the descriptor says; a NULL DACL lets everybody in ([MS-DTYP] 2.5.3.2)."""
    descriptor = SecurityDescriptor.parse(data)
    grants: dict[Key, int] = {}
    others = []
    for ace in descriptor.aces:
        if ace.is_inherited:
            continue
        rights = _rights(ace)
        if rights is None or isinstance(ace, OpaqueAce):
            others.append(ace_text(ace))
        elif rights:
            key = (ace.sid, ace.is_deny)
            grants[key] = grants.get(key, 0) | rights
    if descriptor.dacl is None:
        grants[(Sid.parse("S-1-1-0"), False)] = FULL_CONTROL
    own = [ace.is_deny for ace in descriptor.aces if not ace.is_inherited and (ace.is_deny or ace.is_allow)]
    return Access(descriptor.owner, grants, tuple(sorted({*others})), not descriptor.is_protected, own != sorted(own, reverse=True))


def _rights(ace: AnyAce) -> int | None:
    """The rights of an entry that principals and rights can say."""
    if isinstance(ace, OpaqueAce) or ace.flags or ace.extra or not (ace.is_allow or ace.is_deny) or ace.inherited_object_type is not None:
        return None
    if ace.object_type is None or ace.object_type.int == 0:
        return ace.mask
    extended = _EXTENDED.get(ace.object_type)
    if extended and ace.mask & security.CONTROL_ACCESS and not ace.mask & ~_EXTENDED_MASK:
        return extended
    return None


def ace_text(ace: AnyAce) -> str:
    """An entry as SDDL, or as the hexadecimal of its bytes where SDDL has no words for it."""
    try:
        return security.format_sddl_ace(ace)
    except FormatError:
        return f"0x{bytes(ace).hex()}"


def parse_ace(text: str) -> AnyAce:
    if text.startswith("0x"):
        try:
            data = bytes.fromhex(text[2:])
        except ValueError as error:
            raise FormatError(f"ace {text[:80]!r} is not hexadecimal") from error
        acl = security.Acl.parse(b"\x04\0" + (8 + len(data)).to_bytes(2, "little") + b"\x01\0\0\0" + data)
        if acl.slack:
            raise FormatError(f"ace {text[:80]!r} holds more than one entry")
        return acl.aces[0]
    if not (text.startswith("(") and text.endswith(")")):
        raise FormatError(f"ace {text!r} is not an entry in SDDL; one looks like (A;;RP;;;AU)")
    return security.parse_sddl_ace(text[1:-1])


def permission_words(access: Access, names: Mapping[Sid, str]) -> list[Permission]:
    """The entries as the option `permissions` takes them, in the order of the principals' names."""
    entries = [
        {"principal": names.get(sid) or str(sid), "rights": rights_words(rights), **({"type": "deny"} if denied else {})}
        for (sid, denied), rights in access.grants.items()
    ]
    return sorted(entries, key=_order) + [{"ace": text} for text in access.others]


def _order(permission: Permission) -> tuple[str, str, bool]:
    return (permission["principal"].casefold(), permission["principal"], "type" in permission)


def merge(*lists: Sequence[Mapping[str, Any]], name: Callable[[str], str] = str) -> list[Permission]:
    """All rights of all lists, in canonical form; `name` makes one name of the many that a principal has."""
    rights: dict[tuple[str, bool], int] = {}
    others: set[str] = set()
    for permission in (permission for permissions in lists for permission in permissions):
        if permission.get("ace"):
            ace = parse_ace(permission["ace"])
            if _rights(ace) is not None:
                raise FormatError(f"ace {permission['ace']!r} can be said by principal and rights; say it so")
            others.add(ace_text(ace))
            continue
        key = (name(permission["principal"]), permission.get("type") == "deny")
        rights[key] = rights.get(key, 0) | parse_rights(permission["rights"])
    entries = [
        {"principal": principal, "rights": rights_words(number), **({"type": "deny"} if denied else {})}
        for (principal, denied), number in rights.items()
    ]
    return sorted(entries, key=_order) + [{"ace": text} for text in sorted(others)]


def apply_permissions(
    descriptor: SecurityDescriptor, owner: Sid | None, permissions: Sequence[Permission], inherits: bool, sid_of: Callable[[str], Sid]
) -> SecurityDescriptor:
    """The descriptor with these permissions. Entries that stay as they are keep their bytes; inherited ones are the server's."""
    wanted = {
        (sid_of(entry["principal"]), entry.get("type") == "deny"): parse_rights(entry["rights"])
        for entry in permissions
        if "principal" in entry
    }
    others = {entry["ace"] for entry in permissions if "ace" in entry}
    masks: dict[Key, int] = {}
    for ace in descriptor.aces:
        rights = _rights(ace)
        if rights is not None and rights <= MASK and isinstance(ace, Ace):
            masks[(ace.sid, ace.is_deny)] = masks.get((ace.sid, ace.is_deny), 0) | rights
    kept = [ace for ace in descriptor.aces if ace.is_inherited or _stays(ace, wanted, masks, others)]
    present = {(ace.sid, ace.is_deny, rights) for ace in kept if isinstance(ace, Ace) and (rights := _rights(ace)) is not None}
    texts = {ace_text(ace) for ace in kept}
    added: list[AnyAce] = [parse_ace(text) for text in others if text not in texts]
    for (sid, denied), rights in wanted.items():
        make = Ace.deny if denied else Ace.allow
        mask = rights & MASK
        if mask and masks.get((sid, denied)) != mask:
            added.append(make(sid, mask))
        for guid, bit in _EXTENDED.items():
            if rights & bit and (sid, denied, bit) not in present:
                added.append(make(sid, _EXTENDED_MASK, guid))
    control = descriptor.control & ~security.DACL_PROTECTED if inherits else descriptor.control | security.DACL_PROTECTED
    return replace(descriptor, owner=owner or descriptor.owner, control=control).with_dacl([*kept, *added])


def _stays(ace: AnyAce, wanted: Mapping[Key, int], masks: Mapping[Key, int], others: set[str]) -> bool:
    rights = _rights(ace)
    if rights is None or isinstance(ace, OpaqueAce):
        return ace_text(ace) in others
    key = (ace.sid, ace.is_deny)
    if rights > MASK:
        return bool(wanted.get(key, 0) & rights)
    return masks[key] == wanted.get(key, 0) & MASK
