# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what with a policy: rights in words, the directory object's descriptor, and the descriptor its folder in SYSVOL gets.

The words are those of the Group Policy Management Console ([MS-GPOL] 2.2.1, 3.2.5.1.6 for "apply"); what has no word stays an
access control entry in SDDL ([MS-DTYP] 2.5.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from ansible_collections.certlogon.core.plugins.module_utils.directory.security import (
    ALLOW,
    ALLOW_OBJECT,
    CONTAINER_INHERIT,
    CONTROL_ACCESS,
    CREATE_CHILD,
    DACL_AUTO_INHERIT_REQ,
    DACL_AUTO_INHERITED,
    DACL_PROTECTED,
    DELETE_CHILD,
    DENY,
    DENY_OBJECT,
    INHERIT_ONLY,
    INHERITED,
    LIST_CONTENTS,
    OBJECT_INHERIT,
    READ_PROPERTY,
    WRITE_DAC,
    WRITE_PROPERTY,
    Ace,
    Acl,
    AnyAce,
    SddlContext,
    SecurityDescriptor,
    Sid,
    canonical,
)
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError

APPLY_GROUP_POLICY = UUID("edacfd8f-ffb3-11d1-b41d-00a0c968f939")
"""The extended right "Apply Group Policy" ([MS-ADTS] 5.1.3.2.1)."""

RIGHTS = ("apply", "read", "edit", "full_control")

# Generic read; read, write, create and delete child objects; everything but extended rights (gpmgmt.h, GPMPermissionType). The second
# number of a level is another form in which directories hold it: without validated writes, without delete tree.
_LEVELS: Mapping[str, tuple[int, ...]] = {
    "read": (0x20094,),
    "edit": (0x200BF, 0x200B7),
    "full_control": (0xF00FF, 0xF00BF),
}
_LEVEL_OF = {mask: level for level, masks in _LEVELS.items() for mask in masks}

_EVERYONE = Sid.parse("S-1-1-0")
_CREATOR_OWNER = Sid.parse("S-1-3-0")
_AUTHENTICATED_USERS = Sid.parse("S-1-5-11")
_PRE_WINDOWS_2000 = Sid.parse("S-1-5-32-554")
_DOMAIN_COMPUTERS_RID = 515

# Entries are for the object with what is in it; a server makes a second one, without inheritance, for the owner of a new object.
_FLAGS = (CONTAINER_INHERIT, 0)
_CREATOR_OWNER_FLAGS = CONTAINER_INHERIT | INHERIT_ONLY

Names = Callable[[Sid], str]


@dataclass(frozen=True)
class Permission:
    """What one principal is allowed, or denied: a level (or none), and whether the policy applies to it."""

    sid: Sid
    deny: bool
    level: str | None
    apply: bool

    @property
    def rights(self) -> list[str]:
        shown = [self.level] if self.level else []
        return sorted([*shown, "apply"] if self.apply else shown)

    def aces(self) -> list[Ace]:
        plain, of_object = (DENY, DENY_OBJECT) if self.deny else (ALLOW, ALLOW_OBJECT)
        flags = _FLAGS[0] if self.sid != _CREATOR_OWNER else _CREATOR_OWNER_FLAGS
        entries = [Ace(plain, flags, _LEVELS[self.level][0], self.sid)] if self.level else []
        if self.apply:
            entries.append(Ace(of_object, flags, CONTROL_ACCESS, self.sid, APPLY_GROUP_POLICY))
        return entries


def permission(sid: Sid, rights: Iterable[str], deny: bool) -> Permission:
    """From words. Allowing a policy to apply, or to be edited, implies that it can be read."""
    named = set(rights)
    level = next((word for word in ("full_control", "edit", "read") if word in named), None)
    if level is None and "apply" in named and not deny:
        level = "read"
    return Permission(sid, deny, level, "apply" in named)


def read_permissions(aces: Sequence[AnyAce]) -> tuple[list[Permission], list[AnyAce]]:
    """The entries that words can say, and those that they cannot."""
    mine: dict[tuple[Sid, bool], list[AnyAce]] = {}
    for ace in aces:
        if isinstance(ace, Ace) and _has_words(ace):
            mine.setdefault((ace.sid, ace.is_deny), []).append(ace)
    found: list[Permission] = []
    said: set[int] = set()
    for (sid, deny), entries in mine.items():
        levels = {_LEVEL_OF[ace.mask] for ace in entries if isinstance(ace, Ace) and not ace.is_object}
        if len(levels) <= 1 and (levels or deny):
            found.append(Permission(sid, deny, next(iter(levels), None), any(ace.is_object for ace in entries)))
            said.update(id(ace) for ace in entries)
    return found, [ace for ace in aces if id(ace) not in said]


def _has_words(ace: AnyAce) -> bool:
    if not isinstance(ace, Ace) or ace.extra or ace.inherited_object_type is not None:
        return False
    if ace.flags not in (_FLAGS if ace.sid != _CREATOR_OWNER else (_CREATOR_OWNER_FLAGS,)):
        return False
    if ace.type in (ALLOW, DENY):
        return ace.mask in _LEVEL_OF
    return ace.type in (ALLOW_OBJECT, DENY_OBJECT) and ace.mask == CONTROL_ACCESS and ace.object_type == APPLY_GROUP_POLICY


def words(aces: Sequence[AnyAce], names: Names, context: SddlContext) -> list[dict[str, Any]]:
    """The entries of a policy's DACL as option `permissions` has them; inherited ones are the parent's, and not shown."""
    permissions, others = read_permissions([ace for ace in aces if not ace.is_inherited])
    shown: list[dict[str, Any]] = [
        {"principal": names(item.sid), "rights": item.rights, "type": "deny" if item.deny else "allow"} for item in permissions
    ]
    shown.sort(key=lambda item: (item["principal"].casefold(), item["type"]))
    raw = []
    for ace in others:
        try:
            raw.append({"ace": ace_text(ace, context)})
        except FormatError:
            # an entry of a type that SDDL has no form for: it is kept, but cannot be said
            continue
    return shown + sorted(raw, key=lambda item: item["ace"])


def ace_text(ace: AnyAce, context: SddlContext) -> str:
    return SecurityDescriptor(dacl=Acl((ace,))).sddl(context).removeprefix("D:")


def ace_from_text(text: str, context: SddlContext) -> AnyAce:
    descriptor = SecurityDescriptor.from_sddl(f"D:{text.strip()}", context)
    if len(descriptor.aces) != 1:
        raise UserError(f"permissions.ace: {text!r} is not one entry; it looks like (A;CI;LCRPLORC;;;S-1-5-21-1-2-3-512)")
    return descriptor.aces[0]


def merge(current: Sequence[AnyAce], wanted: Sequence[Permission], raw: Sequence[AnyAce], *, exact: bool) -> tuple[AnyAce, ...]:
    """The entries a policy should have; the very same sequence where nothing has to change.

    A principal that is named has exactly the rights named for it (none: its entries go). The others stay, unless `exact`.
    """
    have, others = read_permissions([ace for ace in current if not ace.is_inherited])
    wished = {(item.sid, item.deny): item for item in wanted}
    keep: list[AnyAce] = [ace for ace in current if ace.is_inherited]
    satisfied = set()
    for item in have:
        wish = wished.get((item.sid, item.deny))
        if wish == item or (wish is None and not exact):
            satisfied.add((item.sid, item.deny))
            keep.extend(ace for ace in current if _belongs(ace, item))
    new: list[AnyAce] = [ace for key, item in wished.items() if key not in satisfied for ace in item.aces()]
    meanings = {ace.meaning for ace in raw}
    keep.extend(ace for ace in others if not exact or ace.meaning in meanings)
    present = {ace.meaning for ace in keep}
    new += [ace for ace in raw if ace.meaning not in present]
    kept = {id(ace) for ace in keep}
    if not new and all(id(ace) in kept for ace in current):
        return tuple(current)
    return canonical([*(ace for ace in current if id(ace) in kept), *new])


def _belongs(ace: AnyAce, item: Permission) -> bool:
    return _has_words(ace) and isinstance(ace, Ace) and (ace.sid, ace.is_deny) == (item.sid, item.deny)


def computers_can_read(aces: Sequence[AnyAce], domain: Sid) -> bool:
    """Whether computers can read the policy: since MS16-072 they read user policy too, with their own account."""
    computers = domain.child(_DOMAIN_COMPUTERS_RID)
    return any(
        ace.sid in (_EVERYONE, _AUTHENTICATED_USERS, computers) and ace.grants(READ_PROPERTY) for ace in aces if isinstance(ace, Ace)
    )


def applies_to_nobody(aces: Sequence[AnyAce]) -> bool:
    return not any(ace.grants(CONTROL_ACCESS, APPLY_GROUP_POLICY) for ace in aces)


# Rights of files and folders ([MS-DTYP] 2.4.3, [MS-SMB2] 2.2.13.1)
_FILE_READ = 0x0001 | 0x0008 | 0x0020 | 0x0080 | 0x100000
_FILE_WRITE = 0x0002 | 0x0004 | 0x0010 | 0x0100 | 0x100000
_ADD = 0x0002 | 0x0004
_DELETE_CHILD = 0x0040
_STANDARD = 0x1F0000
_FILE_ALL = 0x1F01FF
_FILE_MODIFY = 0x1301BF
_FILE_READ_EXECUTE = 0x1200A9
_CONTROL = DACL_PROTECTED | DACL_AUTO_INHERITED | DACL_AUTO_INHERIT_REQ


def samba_file_descriptor(directory: SecurityDescriptor) -> SecurityDescriptor:
    """What Samba's `gpo aclcheck` and `ntacl sysvolcheck` expect on the policy's folder and on everything in it.

    Owner, group and control flags of the directory object; each allow entry, plain or for an object type, in the same order and with
    its mask translated; none for Pre-Windows 2000 Compatible Access, and no deny entry.
    """
    entries: list[AnyAce] = []
    for ace in directory.aces:
        if not isinstance(ace, Ace) or not ace.is_allow or ace.sid == _PRE_WINDOWS_2000:
            continue
        flags = ace.flags | OBJECT_INHERIT | CONTAINER_INHERIT
        if ace.sid == _CREATOR_OWNER:
            flags |= INHERIT_ONLY
        entries.append(Ace(ace.type, flags, _samba_mask(ace.mask), ace.sid, ace.object_type, ace.inherited_object_type))
    return SecurityDescriptor(directory.owner, directory.group, Acl(tuple(entries)), control=directory.control & ~0x0030)


def _samba_mask(mask: int) -> int:
    result = mask & _STANDARD
    if mask & READ_PROPERTY and mask & LIST_CONTENTS:
        result |= _FILE_READ
    if mask & WRITE_PROPERTY:
        result |= _FILE_WRITE
    if mask & CREATE_CHILD:
        result |= _ADD
    if mask & DELETE_CHILD:
        result |= _DELETE_CHILD
    return result


def windows_file_descriptor(directory: SecurityDescriptor) -> SecurityDescriptor:
    """What Windows' editors put on the policy's folder, from where everything in it inherits.

    Untested: written from what such folders look like, never run against Windows. "Apply" is no right of a file, so entries for an
    object type have no counterpart; levels become full control, modify, read and execute.
    """
    entries: list[AnyAce] = []
    for ace in directory.aces:
        if not isinstance(ace, Ace) or ace.is_object or ace.is_inherited:
            continue
        mask = _windows_mask(ace.mask)
        if mask:
            flags = (ace.flags & ~INHERITED) | OBJECT_INHERIT | CONTAINER_INHERIT
            entries.append(Ace(ace.type, flags | (INHERIT_ONLY if ace.sid == _CREATOR_OWNER else 0), mask, ace.sid))
    acl = Acl(canonical(entries))
    return SecurityDescriptor(directory.owner, directory.group, acl, control=DACL_PROTECTED | (directory.control & DACL_AUTO_INHERITED))


def _windows_mask(mask: int) -> int:
    if mask & WRITE_DAC:
        return _FILE_ALL
    if mask & WRITE_PROPERTY:
        return _FILE_MODIFY
    return _FILE_READ_EXECUTE if mask & READ_PROPERTY else 0


def same_on_disk(one: SecurityDescriptor, other: SecurityDescriptor) -> bool:
    """Whether two file descriptors read alike: owner, group, protection, and the entries in their order."""
    return (one.owner, one.group, one.control & _CONTROL, one.aces) == (other.owner, other.group, other.control & _CONTROL, other.aces)
