# SPDX-License-Identifier: GPL-3.0-or-later
"""Security identifiers and self-relative security descriptors ([MS-DTYP] 2.4.2, 2.4.4, 2.4.5, 2.4.6) and their text form, SDDL (2.5.1).

The reader is strict and lossless: bytes it accepts are written back identically (`bytes(SecurityDescriptor.parse(data)) == data`),
bytes it refuses raise `FormatError`, and nothing else is ever raised. All objects are immutable; parsing is cached by content, for
a domain has far fewer different descriptors than objects.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TypeAlias
from uuid import UUID

from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

# Control bits of a descriptor ([MS-DTYP] 2.4.6)
OWNER_DEFAULTED = 0x0001
GROUP_DEFAULTED = 0x0002
DACL_PRESENT = 0x0004
DACL_DEFAULTED = 0x0008
SACL_PRESENT = 0x0010
SACL_DEFAULTED = 0x0020
DACL_AUTO_INHERIT_REQ = 0x0100
SACL_AUTO_INHERIT_REQ = 0x0200
DACL_AUTO_INHERITED = 0x0400
SACL_AUTO_INHERITED = 0x0800
DACL_PROTECTED = 0x1000
SACL_PROTECTED = 0x2000
RM_CONTROL_VALID = 0x4000
SELF_RELATIVE = 0x8000

# ACE types ([MS-DTYP] 2.4.4.1); all others are kept as they are
ALLOW, DENY, AUDIT = 0, 1, 2
ALLOW_OBJECT, DENY_OBJECT, AUDIT_OBJECT = 5, 6, 7
_PLAIN_TYPES = frozenset({ALLOW, DENY, AUDIT})
_OBJECT_TYPES = frozenset({ALLOW_OBJECT, DENY_OBJECT, AUDIT_OBJECT})

# ACE flags ([MS-DTYP] 2.4.4.1)
OBJECT_INHERIT, CONTAINER_INHERIT, NO_PROPAGATE, INHERIT_ONLY, INHERITED = 0x01, 0x02, 0x04, 0x08, 0x10

# Rights of directory objects ([MS-ADTS] 5.1.3.2)
CREATE_CHILD, DELETE_CHILD, LIST_CONTENTS, SELF_WRITE = 0x1, 0x2, 0x4, 0x8
READ_PROPERTY, WRITE_PROPERTY, DELETE_TREE, LIST_OBJECT, CONTROL_ACCESS = 0x10, 0x20, 0x40, 0x80, 0x100
DELETE, READ_CONTROL, WRITE_DAC, WRITE_OWNER = 0x10000, 0x20000, 0x40000, 0x80000
GENERIC_ALL, GENERIC_EXECUTE, GENERIC_WRITE, GENERIC_READ = 0x10000000, 0x20000000, 0x40000000, 0x80000000

_HEADER = struct.Struct("<BBHIIII")
_ACL_HEADER = struct.Struct("<BBHHH")
_ACE_HEADER = struct.Struct("<BBH")
_LARGEST = 0xFFFF
_NO_GUID = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Sid:
    """A security identifier; `data` is its binary form ([MS-DTYP] 2.4.2.2), `str()` its text form (2.4.2.1)."""

    data: bytes

    def __post_init__(self) -> None:
        data = self.data
        if len(data) < 8 or data[0] != 1 or data[1] > 15 or len(data) != 8 + 4 * data[1]:
            raise FormatError(f"not a security identifier: {data[:80].hex() or 'no bytes'}")

    @classmethod
    def from_bytes(cls, data: bytes) -> Sid:
        return _sid(bytes(data))

    @classmethod
    def parse(cls, text: str) -> Sid:
        """From `S-1-5-...`; the authority may be hexadecimal, as large ones are written."""
        match = re.fullmatch(r"[Ss]-1-(0[xX][0-9a-fA-F]{1,12}|[0-9]{1,15})((?:-[0-9]{1,10})*)", text, re.ASCII)
        numbers = [int(number) for number in match[2].split("-")[1:]] if match else []
        authority = int(match[1], 0 if match[1][:2] in ("0x", "0X") else 10) if match else 0
        if not match or authority >= 1 << 48 or len(numbers) > 15 or any(number >> 32 for number in numbers):
            raise FormatError(f"not a security identifier: {text[:200]!r}; one looks like S-1-5-21-1-2-3-512")
        return _sid(bytes([1, len(numbers)]) + authority.to_bytes(6, "big") + struct.pack(f"<{len(numbers)}I", *numbers))

    @property
    def authority(self) -> int:
        return int.from_bytes(self.data[2:8], "big")

    @property
    def sub_authorities(self) -> tuple[int, ...]:
        return struct.unpack_from(f"<{self.data[1]}I", self.data, 8)

    @property
    def rid(self) -> int | None:
        """The last number: the relative identifier of an account in its domain."""
        return self.sub_authorities[-1] if self.data[1] else None

    @property
    def domain(self) -> Sid | None:
        """The domain of an account's SID (S-1-5-21-a-b-c-rid); None for all others."""
        if self.data[1] != 5 or self.data[:12] != b"\x01\x05\0\0\0\0\0\x05\x15\0\0\0":
            return None
        return _sid(b"\x01\x04" + self.data[2:24])

    def child(self, rid: int) -> Sid:
        """The SID of account `rid` in this domain."""
        return Sid.parse(f"{self}-{rid}")

    def __bytes__(self) -> bytes:
        return self.data

    def __str__(self) -> str:
        return _sid_text(self.data)

    def __repr__(self) -> str:
        return f"Sid({self})"


@lru_cache(maxsize=65536)
def _sid(data: bytes) -> Sid:
    return Sid(data)


@lru_cache(maxsize=65536)
def _sid_text(data: bytes) -> str:
    authority = int.from_bytes(data[2:8], "big")
    numbers = struct.unpack_from(f"<{data[1]}I", data, 8)
    return "-".join(["S-1", f"0x{authority:012x}" if authority >> 32 else str(authority), *map(str, numbers)])


@lru_cache(maxsize=4096)
def _guid(data: bytes) -> UUID:
    return UUID(bytes_le=data)


@dataclass(frozen=True)
class Ace:
    """One entry of the types allow, deny and audit, plain or for an object type.

    `extra` is what follows the SID inside the entry: nothing in practice, but kept.
    """

    type: int
    flags: int
    mask: int
    sid: Sid
    object_type: UUID | None = None
    inherited_object_type: UUID | None = None
    extra: bytes = b""

    def __post_init__(self) -> None:
        guids = self.object_type is not None or self.inherited_object_type is not None
        if self.type not in _PLAIN_TYPES | _OBJECT_TYPES or (guids and self.type in _PLAIN_TYPES):
            raise FormatError(f"an access control entry of type {self.type} cannot be made{' with an object type' if guids else ''}")
        if self.flags >> 8 or self.mask >> 32 or len(self.extra) % 4:
            raise FormatError(f"an access control entry cannot hold flags {self.flags:#x}, mask {self.mask:#x}")

    @classmethod
    def allow(cls, sid: Sid, mask: int, object_type: UUID | None = None, flags: int = 0) -> Ace:
        return cls(ALLOW if object_type is None else ALLOW_OBJECT, flags, mask, sid, object_type)

    @classmethod
    def deny(cls, sid: Sid, mask: int, object_type: UUID | None = None, flags: int = 0) -> Ace:
        return cls(DENY if object_type is None else DENY_OBJECT, flags, mask, sid, object_type)

    @property
    def is_allow(self) -> bool:
        return self.type in (ALLOW, ALLOW_OBJECT)

    @property
    def is_deny(self) -> bool:
        return self.type in (DENY, DENY_OBJECT)

    @property
    def is_object(self) -> bool:
        return self.type in _OBJECT_TYPES

    @property
    def is_inherited(self) -> bool:
        return bool(self.flags & INHERITED)

    def grants(self, right: int, object_type: UUID | None = None) -> bool:
        """Whether this entry allows all of `right` on the object itself, for `object_type` where that is a property or extended right.

        An entry without object type, or with the all-zero one, is for all of them ([MS-ADTS] 5.1.3.3).
        """
        if not self.is_allow or self.flags & INHERIT_ONLY or self.mask & right != right:
            return False
        return self.object_type in (None, _NO_GUID) or self.object_type == object_type

    @cached_property
    def meaning(self) -> tuple[object, ...]:
        """What two entries have in common that do the same: an object entry without object types is a plain one."""
        return (
            self.type % 5,
            self.flags,
            self.mask,
            self.sid,
            None if self.object_type == _NO_GUID else self.object_type,
            None if self.inherited_object_type == _NO_GUID else self.inherited_object_type,
            self.extra,
        )

    def __bytes__(self) -> bytes:
        body = struct.pack("<I", self.mask)
        if self.is_object:
            guids = [self.object_type, self.inherited_object_type]
            body += struct.pack("<I", sum(bit for bit, guid in zip((1, 2), guids, strict=True) if guid is not None))
            body += b"".join(guid.bytes_le for guid in guids if guid is not None)
        return _ace_bytes(self.type, self.flags, body + self.sid.data + self.extra)


@dataclass(frozen=True)
class OpaqueAce:
    """An entry of any other type, or of one of our types in a form that cannot be read: kept byte for byte."""

    type: int
    flags: int
    body: bytes

    is_allow = is_deny = is_object = False

    @property
    def is_inherited(self) -> bool:
        return bool(self.flags & INHERITED)

    def grants(self, right: int, object_type: UUID | None = None) -> bool:
        return False

    @property
    def meaning(self) -> tuple[object, ...]:
        return (self.type, self.flags, self.body)

    def __bytes__(self) -> bytes:
        return _ace_bytes(self.type, self.flags, self.body)


AnyAce: TypeAlias = "Ace | OpaqueAce"


def _ace_bytes(kind: int, flags: int, body: bytes) -> bytes:
    size = _ACE_HEADER.size + len(body)
    if size > _LARGEST or size % 4 or kind >> 8 or flags >> 8:
        raise FormatError(f"an access control entry of type {kind} with {size} bytes cannot be written")
    return _ACE_HEADER.pack(kind, flags, size) + body


@lru_cache(maxsize=65536)
def _parse_ace(data: bytes) -> AnyAce:
    """One whole entry, its header included."""
    kind, flags, _size = _ACE_HEADER.unpack_from(data)
    if kind not in _PLAIN_TYPES and kind not in _OBJECT_TYPES:
        return OpaqueAce(kind, flags, data[4:])
    guids: list[UUID | None] = [None, None]
    position = 8
    try:
        (mask,) = struct.unpack_from("<I", data, 4)
        if kind in _OBJECT_TYPES:
            (present,) = struct.unpack_from("<I", data, position)
            position += 4
            if present & ~3:
                raise FormatError(f"access control entry with unknown object flags {present:#x}")
            for index in (0, 1):
                if present & (1 << index):
                    guids[index] = _guid(data[position : position + 16])
                    position += 16
        end = position + 8 + 4 * data[position + 1]
    except (struct.error, IndexError, ValueError) as error:
        raise FormatError(f"access control entry of type {kind} is cut short: {data[:80].hex()}") from error
    if end > len(data):
        raise FormatError(f"access control entry of type {kind} is cut short: {data[:80].hex()}")
    return Ace(kind, flags, mask, _sid(data[position:end]), guids[0], guids[1], data[end:])


def canonical(aces: Iterable[AnyAce]) -> tuple[AnyAce, ...]:
    """The entries in the order Windows wants: own before inherited, deny before allow, plain before object ([MS-ADTS] 5.1.3.1).

    Inherited entries keep the order their parents gave them.
    """

    def rank(ace: AnyAce) -> tuple[bool, bool, bool]:
        return (True, False, False) if ace.is_inherited else (False, not ace.is_deny, ace.is_object)

    return tuple(sorted(aces, key=rank))


@dataclass(frozen=True)
class Acl:
    """An access control list. `slack` is what the list's size holds beyond its entries: nothing in practice, but kept."""

    aces: tuple[AnyAce, ...] = ()
    revision: int = 0
    slack: bytes = b""

    def __post_init__(self) -> None:
        if not self.revision:
            # object entries need ACL_REVISION_DS ([MS-DTYP] 2.4.5)
            object.__setattr__(self, "revision", 4 if any(ace.is_object for ace in self.aces) else 2)

    def __iter__(self) -> Iterator[AnyAce]:
        return iter(self.aces)

    def __len__(self) -> int:
        return len(self.aces)

    @property
    def is_canonical(self) -> bool:
        return self.aces == canonical(self.aces)

    @cached_property
    def meaning(self) -> frozenset[tuple[object, ...]]:
        """What two lists have in common that hold the same entries, in whatever order."""
        return frozenset(ace.meaning for ace in self.aces)

    def with_aces(self, aces: Iterable[AnyAce]) -> Acl:
        """A list of these entries in canonical order."""
        return Acl(canonical(aces))

    def __bytes__(self) -> bytes:
        body = b"".join(map(bytes, self.aces)) + self.slack
        size = _ACL_HEADER.size + len(body)
        if size > _LARGEST or size % 4:
            raise FormatError(f"an access control list of {len(self.aces)} entries has {size} bytes; it can have {_LARGEST}")
        return _ACL_HEADER.pack(self.revision, 0, size, len(self.aces), 0) + body

    @classmethod
    def parse(cls, data: bytes) -> Acl:
        """From exactly the bytes of one list."""
        if len(data) < _ACL_HEADER.size:
            raise FormatError(f"access control list of {len(data)} bytes is cut short")
        revision, zero1, size, count, zero2 = _ACL_HEADER.unpack_from(data)
        if revision not in (2, 3, 4) or zero1 or zero2 or size != len(data) or size % 4:
            raise FormatError(f"not an access control list: it begins {data[:8].hex()} and has {len(data)} bytes")
        aces = []
        position = _ACL_HEADER.size
        for index in range(count):
            length = int.from_bytes(data[position + 2 : position + 4], "little")
            if length < 4 or length % 4 or position + length > size:
                raise FormatError(f"access control list: entry {index + 1} of {count} is cut short")
            aces.append(_parse_ace(data[position : position + length]))
            position += length
        return cls(tuple(aces), revision, data[position:])


_PARTS = ("owner", "group", "sacl", "dacl")


@dataclass(frozen=True)
class SecurityDescriptor:
    """A security descriptor ([MS-DTYP] 2.4.6).

    `dacl` is None both where the descriptor has none and where it has the NULL list that lets everybody in; `has_null_dacl` tells
    them apart. `layout` is the order of the parts in the bytes it was read from, with what lies between them.
    """

    owner: Sid | None = None
    group: Sid | None = None
    dacl: Acl | None = None
    sacl: Acl | None = None
    control: int = SELF_RELATIVE
    resource_manager: int = 0
    layout: tuple[str | bytes, ...] = _PARTS

    def __post_init__(self) -> None:
        present = (DACL_PRESENT if self.dacl is not None else 0) | (SACL_PRESENT if self.sacl is not None else 0)
        if (self.control | present | SELF_RELATIVE) != self.control:
            object.__setattr__(self, "control", self.control | present | SELF_RELATIVE)

    @property
    def has_null_dacl(self) -> bool:
        return self.dacl is None and bool(self.control & DACL_PRESENT)

    @property
    def is_protected(self) -> bool:
        return bool(self.control & DACL_PROTECTED)

    @property
    def aces(self) -> tuple[AnyAce, ...]:
        """The entries of the DACL; none where there is no list."""
        return self.dacl.aces if self.dacl else ()

    def with_dacl(self, aces: Iterable[AnyAce]) -> SecurityDescriptor:
        """The same descriptor with these entries, in canonical order."""
        return replace(self, dacl=Acl(canonical(aces)))

    @cached_property
    def meaning(self) -> tuple[object, ...]:
        """What two descriptors have in common that protect alike: owner, group, protection from inheritance, the DACL as a set."""
        return (self.owner, self.group, self.is_protected, self.has_null_dacl, self.dacl.meaning if self.dacl else None)

    def __bytes__(self) -> bytes:
        parts = {name: bytes(part) for name in _PARTS if (part := getattr(self, name)) is not None}
        offsets = dict.fromkeys(_PARTS, 0)
        body = b""
        for segment in (*self.layout, *(name for name in parts if name not in self.layout)):
            if isinstance(segment, bytes):
                body += segment
            elif segment in parts:
                offsets[segment] = _HEADER.size + len(body)
                body += parts[segment]
        return _HEADER.pack(1, self.resource_manager, self.control, *(offsets[name] for name in _PARTS)) + body

    @classmethod
    def parse(cls, data: bytes) -> SecurityDescriptor:
        """From the self-relative form; raises `FormatError` for anything else."""
        return _parse_descriptor(bytes(data))

    @classmethod
    def from_sddl(cls, text: str, context: SddlContext | None = None) -> SecurityDescriptor:
        return parse_sddl(text, context)

    def sddl(self, context: SddlContext | None = None) -> str:
        return format_sddl(self, context)


@lru_cache(maxsize=8192)
def _parse_descriptor(data: bytes) -> SecurityDescriptor:
    if len(data) < _HEADER.size:
        raise FormatError(f"security descriptor of {len(data)} bytes is cut short")
    revision, resource_manager, control, *offsets = _HEADER.unpack_from(data)
    if revision != 1 or not control & SELF_RELATIVE:
        raise FormatError(f"not a self-relative security descriptor: it begins {data[:4].hex()}")
    if (offsets[2] and not control & SACL_PRESENT) or (offsets[3] and not control & DACL_PRESENT):
        raise FormatError(f"security descriptor holds an access control list that its control bits {control:#06x} deny")
    layout: list[str | bytes] = []
    parts: dict[str, bytes] = {}
    position = _HEADER.size
    for offset, name in sorted((offset, name) for offset, name in zip(offsets, _PARTS, strict=True) if offset):
        if offset < position or offset % 4 or offset > len(data) - 8:
            raise FormatError(f"security descriptor of {len(data)} bytes has its {name} at {offset}, where it cannot be")
        if offset > position:
            layout.append(data[position:offset])
        size = 8 + 4 * data[offset + 1] if name in ("owner", "group") else int.from_bytes(data[offset + 2 : offset + 4], "little")
        if offset + size > len(data):
            raise FormatError(f"security descriptor of {len(data)} bytes: its {name} is cut short")
        parts[name] = data[offset : offset + size]
        position = offset + size
        layout.append(name)
    if position < len(data):
        layout.append(data[position:])
    return SecurityDescriptor(
        owner=_sid(parts["owner"]) if "owner" in parts else None,
        group=_sid(parts["group"]) if "group" in parts else None,
        dacl=Acl.parse(parts["dacl"]) if "dacl" in parts else None,
        sacl=Acl.parse(parts["sacl"]) if "sacl" in parts else None,
        control=control,
        resource_manager=resource_manager,
        layout=tuple(layout),
    )


# --- SDDL ([MS-DTYP] 2.5.1) ---

_WELL_KNOWN = {
    "WD": "S-1-1-0",
    "CO": "S-1-3-0",
    "CG": "S-1-3-1",
    "OW": "S-1-3-4",
    "NU": "S-1-5-2",
    "IU": "S-1-5-4",
    "SU": "S-1-5-6",
    "AN": "S-1-5-7",
    "ED": "S-1-5-9",
    "PS": "S-1-5-10",
    "AU": "S-1-5-11",
    "RC": "S-1-5-12",
    "SY": "S-1-5-18",
    "LS": "S-1-5-19",
    "NS": "S-1-5-20",
    "WR": "S-1-5-33",
    "BA": "S-1-5-32-544",
    "BU": "S-1-5-32-545",
    "BG": "S-1-5-32-546",
    "PU": "S-1-5-32-547",
    "AO": "S-1-5-32-548",
    "SO": "S-1-5-32-549",
    "PO": "S-1-5-32-550",
    "BO": "S-1-5-32-551",
    "RE": "S-1-5-32-552",
    "RU": "S-1-5-32-554",
    "RD": "S-1-5-32-555",
    "NO": "S-1-5-32-556",
    "MU": "S-1-5-32-558",
    "LU": "S-1-5-32-559",
    "IS": "S-1-5-32-568",
    "CY": "S-1-5-32-569",
    "ER": "S-1-5-32-573",
    "CD": "S-1-5-32-574",
    "RA": "S-1-5-32-575",
    "ES": "S-1-5-32-576",
    "MS": "S-1-5-32-577",
    "HA": "S-1-5-32-578",
    "AA": "S-1-5-32-579",
    "RM": "S-1-5-32-580",
    "AC": "S-1-15-2-1",
    "LW": "S-1-16-4096",
    "ME": "S-1-16-8192",
    "MP": "S-1-16-8448",
    "HI": "S-1-16-12288",
    "SI": "S-1-16-16384",
    "AS": "S-1-18-1",
    "SS": "S-1-18-2",
}
_OF_DOMAIN = {
    "LA": 500,
    "LG": 501,
    "DA": 512,
    "DU": 513,
    "DG": 514,
    "DC": 515,
    "DD": 516,
    "CA": 517,
    "CN": 522,
    "AP": 525,
    "KA": 526,
    "RS": 553,
}
_OF_ROOT_DOMAIN = {"RO": 498, "SA": 518, "EA": 519, "PA": 520, "EK": 527}

_ACE_TYPES = {"A": ALLOW, "D": DENY, "OA": ALLOW_OBJECT, "OD": DENY_OBJECT, "AU": AUDIT, "OU": AUDIT_OBJECT}
_ACE_FLAGS = {"OI": 1, "CI": 2, "NP": 4, "IO": 8, "ID": 0x10, "SA": 0x40, "FA": 0x80}
_RIGHTS = {
    "CC": CREATE_CHILD,
    "DC": DELETE_CHILD,
    "LC": LIST_CONTENTS,
    "SW": SELF_WRITE,
    "RP": READ_PROPERTY,
    "WP": WRITE_PROPERTY,
    "DT": DELETE_TREE,
    "LO": LIST_OBJECT,
    "CR": CONTROL_ACCESS,
    "SD": DELETE,
    "RC": READ_CONTROL,
    "WD": WRITE_DAC,
    "WO": WRITE_OWNER,
    "GA": GENERIC_ALL,
    "GX": GENERIC_EXECUTE,
    "GW": GENERIC_WRITE,
    "GR": GENERIC_READ,
}
_RIGHTS_OF_OTHERS = {
    "FA": 0x1F01FF,
    "FR": 0x120089,
    "FW": 0x120116,
    "FX": 0x1200A0,
    "KA": 0xF003F,
    "KR": 0x20019,
    "KW": 0x20006,
    "KX": 0x20019,
}
_ACL_FLAGS = {
    "D": {"P": DACL_PROTECTED, "AR": DACL_AUTO_INHERIT_REQ, "AI": DACL_AUTO_INHERITED},
    "S": {"P": SACL_PROTECTED, "AR": SACL_AUTO_INHERIT_REQ, "AI": SACL_AUTO_INHERITED},
}
_NULL_ACL = "NO_ACCESS_CONTROL"


@dataclass(frozen=True)
class SddlContext:
    """The domains that DA, DU, EA and their kin mean; `root` is the forest's root domain, by default the domain itself."""

    domain: Sid
    root: Sid | None = None

    @cached_property
    def aliases(self) -> Mapping[str, Sid]:
        accounts = {alias: self.domain.child(rid) for alias, rid in _OF_DOMAIN.items()}
        return {**accounts, **{alias: (self.root or self.domain).child(rid) for alias, rid in _OF_ROOT_DOMAIN.items()}}

    @cached_property
    def names(self) -> Mapping[Sid, str]:
        return {sid: alias for alias, sid in self.aliases.items()}


_ALIASES = {alias: Sid.parse(text) for alias, text in _WELL_KNOWN.items()}
_NAMES = {sid: alias for alias, sid in _ALIASES.items()}


def parse_sddl_sid(text: str, context: SddlContext | None = None) -> Sid:
    """A SID or its two letters."""
    alias = text.upper() if text.isascii() else text
    sid = _ALIASES.get(alias) or (context.aliases.get(alias) if context else None)
    if sid:
        return sid
    if alias in _OF_DOMAIN or alias in _OF_ROOT_DOMAIN:
        raise FormatError(f"SDDL {text!r} is an account of a domain, and none is given here; write its S-1-5-21-...")
    if not alias.startswith("S-"):
        raise FormatError(f"SDDL {text[:200]!r} is no principal; write S-1-... or a two-letter name such as BA, SY, AU")
    return Sid.parse(text)


def format_sddl_sid(sid: Sid, context: SddlContext | None = None) -> str:
    return _NAMES.get(sid) or (context.names.get(sid) if context else None) or str(sid)


_SDDL_PARTS = re.compile(r"([OGDS]):((?:(?![OGDS]:)[^()])*)((?:\([^()]*\))*)", re.DOTALL)


def parse_sddl(text: str, context: SddlContext | None = None) -> SecurityDescriptor:
    """A descriptor from SDDL; raises `FormatError` that quotes the part at fault."""
    if not text.isascii():
        raise FormatError(f"not SDDL: {text[:80]!r} holds letters that are not ASCII")
    found: dict[str, tuple[str, str]] = {}
    position = 0
    compact = text.strip()
    while position < len(compact):
        match = _SDDL_PARTS.match(compact, position)
        if not match or match[1] in found:
            raise FormatError(f"not SDDL: {compact[position : position + 80]!r}; expected O:, G:, D: or S:, each once")
        found[match[1]] = (match[2].strip(), match[3])
        position = match.end()
    control = SELF_RELATIVE
    sids: dict[str, Sid | None] = {"O": None, "G": None}
    acls: dict[str, Acl | None] = {"D": None, "S": None}
    for part, (head, body) in found.items():
        if part in sids:
            if body:
                raise FormatError(f"SDDL {part}: takes one principal, not {head + body!r}")
            sids[part] = parse_sddl_sid(head, context) if head else None
            continue
        control |= DACL_PRESENT if part == "D" else SACL_PRESENT
        if head.endswith(_NULL_ACL):
            if body:
                raise FormatError(f"SDDL {part}:{_NULL_ACL} cannot have entries")
            head = head.removesuffix(_NULL_ACL)
        else:
            acls[part] = Acl(tuple(parse_sddl_ace(ace, context) for ace in re.findall(r"\(([^()]*)\)", body)))
        control |= _parse_letters(head, _ACL_FLAGS[part], f"flags of {part}:")
    return SecurityDescriptor(sids["O"], sids["G"], acls["D"], acls["S"], control)


def parse_sddl_ace(text: str, context: SddlContext | None = None) -> Ace:
    """One entry, without its parentheses."""
    fields = [field.strip() for field in text.split(";")]
    if len(fields) != 6 or not text.isascii():
        raise FormatError(f"SDDL ({text}) has {len(fields)} fields; an entry has six: type;flags;rights;object;inherited object;principal")
    kind = _ACE_TYPES.get(fields[0].upper())
    if kind is None:
        raise FormatError(f"SDDL ({text}): type {fields[0]!r} is not one of {', '.join(_ACE_TYPES)}")
    flags = _parse_letters(fields[1], _ACE_FLAGS, f"flags of ({text})")
    object_type, inherited_object_type = (_parse_guid(field, text) for field in fields[3:5])
    if kind in _PLAIN_TYPES and (object_type or inherited_object_type):
        raise FormatError(f"SDDL ({text}): an entry with an object type is of type O{fields[0].upper()[:1]}")
    return Ace(kind, flags, _parse_rights(fields[2], text), parse_sddl_sid(fields[5], context), object_type, inherited_object_type)


def _parse_letters(text: str, table: Mapping[str, int], where: str) -> int:
    """Names of one or two letters, written without anything between them."""
    total = 0
    rest = text.upper().replace(" ", "")
    while rest:
        name = next((name for name in (rest[:2], rest[:1]) if name in table), None)
        if name is None:
            raise FormatError(f"SDDL {where}: {rest[:2]!r} is not one of {', '.join(table)}")
        total |= table[name]
        rest = rest[len(name) :]
    return total


def _parse_rights(text: str, ace: str) -> int:
    if re.fullmatch(r"0[xX][0-9a-fA-F]{1,8}|[0-9]{1,10}", text, re.ASCII):
        mask = int(text, 16) if text[:2] in ("0x", "0X") else int(text, 8 if text.startswith("0") and not set(text) & set("89") else 10)
        if mask >> 32:
            raise FormatError(f"SDDL ({ace}): rights {text} do not fit into 32 bits")
        return mask
    return _parse_letters(text, {**_RIGHTS, **_RIGHTS_OF_OTHERS}, f"rights of ({ace})")


def _parse_guid(text: str, ace: str) -> UUID | None:
    if not text:
        return None
    if not re.fullmatch(r"\{?[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\}?", text, re.ASCII):
        raise FormatError(f"SDDL ({ace}): {text!r} is not a GUID")
    return UUID(text)


def format_sddl(descriptor: SecurityDescriptor, context: SddlContext | None = None) -> str:
    """A descriptor as SDDL; raises `FormatError` for what SDDL cannot say (entries of other types)."""
    text = ""
    if descriptor.owner:
        text += f"O:{format_sddl_sid(descriptor.owner, context)}"
    if descriptor.group:
        text += f"G:{format_sddl_sid(descriptor.group, context)}"
    for part, acl, present in (("D", descriptor.dacl, DACL_PRESENT), ("S", descriptor.sacl, SACL_PRESENT)):
        if not descriptor.control & present:
            continue
        text += f"{part}:{_format_letters(descriptor.control, _ACL_FLAGS[part])}"
        text += _NULL_ACL if acl is None else "".join(format_sddl_ace(ace, context) for ace in acl)
    return text


def format_sddl_ace(ace: AnyAce, context: SddlContext | None = None) -> str:
    """One entry, in parentheses."""
    if isinstance(ace, OpaqueAce) or ace.extra:
        raise FormatError(f"an access control entry of type {ace.type} has no text form here")
    if ace.flags & ~sum(_ACE_FLAGS.values()):
        raise FormatError(f"access control entry flags {ace.flags:#x} have no text form")
    kind = next(name for name, number in _ACE_TYPES.items() if number == ace.type)
    rights = f"0x{ace.mask:x}" if ace.mask & ~sum(_RIGHTS.values()) else _format_letters(ace.mask, _RIGHTS)
    guids = [str(guid) if guid is not None else "" for guid in (ace.object_type, ace.inherited_object_type)]
    return f"({';'.join([kind, _format_letters(ace.flags, _ACE_FLAGS), rights, *guids, format_sddl_sid(ace.sid, context)])})"


def _format_letters(bits: int, table: Mapping[str, int]) -> str:
    return "".join(name for name, bit in table.items() if bits & bit)
