# SPDX-License-Identifier: GPL-3.0-or-later
"""Security descriptors ([MS-DTYP] 2.4.6): SDDL to bytes, bytes to access control entries, and the question who may what."""

from __future__ import annotations

import re
import struct
import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

ENROLL = "0e10c968-78fb-11d2-90d4-00c04f79dc55"
AUTO_ENROLL = "a05b8cc2-17bc-4802-a710-e7c15ab866a2"
CONTROL_ACCESS = 0x100
FULL_CONTROL = 0xF01FF
EVERYONE, AUTHENTICATED_USERS, SYSTEM, ADMINISTRATORS = "S-1-1-0", "S-1-5-11", "S-1-5-18", "S-1-5-32-544"
ENTERPRISE_DOMAIN_CONTROLLERS, PRE_WINDOWS_2000 = "S-1-5-9", "S-1-5-32-554"
WELL_KNOWN = {"AU": AUTHENTICATED_USERS, "WD": EVERYONE, "SY": SYSTEM, "BA": ADMINISTRATORS, "ED": ENTERPRISE_DOMAIN_CONTROLLERS}
IN_DOMAIN = {"DA": 512, "DU": 513, "DC": 515, "DD": 516, "CA": 517, "EA": 519, "RS": 553}
RIGHTS = {name: 1 << bit for bit, name in enumerate(("CC", "DC", "LC", "SW", "RP", "WP", "DT", "LO", "CR"))}
RIGHTS |= {"SD": 0x10000, "RC": 0x20000, "WD": 0x40000, "WO": 0x80000}
FLAGS = {"OI": 0x1, "CI": 0x2, "NP": 0x4, "IO": 0x8, "ID": 0x10}
ALLOW, DENY, ALLOW_OBJECT, DENY_OBJECT, ALLOW_CALLBACK, DENY_CALLBACK = 0, 1, 5, 6, 9, 10
TYPES = {"A": ALLOW, "D": DENY, "OA": ALLOW_OBJECT, "OD": DENY_OBJECT}
INHERIT_ONLY = 0x8
SELF_RELATIVE, DACL_PRESENT, DACL_AUTO_INHERITED, DACL_PROTECTED = 0x8000, 0x4, 0x400, 0x1000


@dataclass(frozen=True)
class Ace:
    type: int
    flags: int
    mask: int
    sid: str
    object_type: str | None = None
    inherited_type: str | None = None
    data: bytes = b""
    """application data of a callback entry, or whatever an entry of another type holds after its mask"""

    @property
    def allows(self) -> bool:
        return self.type in (ALLOW, ALLOW_OBJECT, ALLOW_CALLBACK)

    @property
    def denies(self) -> bool:
        return self.type in (DENY, DENY_OBJECT, DENY_CALLBACK)

    def grants(self, mask: int, extended_right: str | None) -> bool:
        """Whether it speaks of these rights; an entry without object type speaks of every extended right ([MS-CRTD] 2.5.1)."""
        return (
            bool(self.mask & mask == mask if self.allows else self.mask & mask)
            and not self.flags & INHERIT_ONLY
            and self.object_type in (None, extended_right)
        )


@dataclass
class Descriptor:
    owner: str | None
    group: str | None
    aces: list[Ace] = field(default_factory=list)
    control: int = SELF_RELATIVE | DACL_PRESENT

    def allows(self, sids: Collection[str], mask: int, extended_right: str | None = None) -> bool:
        """Whether a token with these SIDs is granted all of `mask`, entries read in their order."""
        for ace in self.aces:
            if ace.sid in sids and ace.grants(mask, extended_right):
                if ace.denies:
                    return False
                if ace.allows:
                    return True
        return False

    def to_bytes(self) -> bytes:
        acl = b"".join(ace_bytes(ace) for ace in self.aces)
        revision = 4 if any(ace.object_type for ace in self.aces) else 2
        dacl = struct.pack("<BBHHH", revision, 0, 8 + len(acl), len(self.aces), 0) + acl
        owner, group = (sid_bytes(sid) if sid else b"" for sid in (self.owner, self.group))
        at = 20
        offsets = []
        for part in (owner, group, dacl):
            offsets.append(at if part else 0)
            at += len(part)
        return struct.pack("<BBHIIII", 1, 0, self.control, offsets[0], offsets[1], 0, offsets[2]) + owner + group + dacl


def parse(data: bytes) -> Descriptor:
    """Raises ValueError for what is no self-relative descriptor."""
    try:
        revision, _, control, owner, group, _sacl, dacl = struct.unpack_from("<BBHIIII", data)
        if revision != 1:
            raise ValueError(f"security descriptor of revision {revision}")
        names = [parse_sid(data[at:])[0] if at else None for at in (owner, group)]
        aces = list(parse_acl(data[dacl:])) if dacl and control & DACL_PRESENT else []
    except (struct.error, IndexError) as error:
        raise ValueError(f"security descriptor cut short: {error}") from error
    return Descriptor(names[0], names[1], aces, control)


def parse_acl(data: bytes) -> Iterator[Ace]:
    _revision, _, size, count, _ = struct.unpack_from("<BBHHH", data)
    at = 8
    for _ in range(count):
        kind, flags, length = struct.unpack_from("<BBH", data, at)
        if length < 8 or at + length > size:
            raise ValueError("access control entry of impossible size")
        yield parse_ace(kind, flags, data[at + 4 : at + length])
        at += length


def parse_ace(kind: int, flags: int, body: bytes) -> Ace:
    (mask,) = struct.unpack_from("<I", body)
    if kind in (ALLOW, DENY, ALLOW_CALLBACK, DENY_CALLBACK):
        sid, size = parse_sid(body[4:])
        return Ace(kind, flags, mask, sid, data=body[4 + size :])
    if kind not in (ALLOW_OBJECT, DENY_OBJECT):
        return Ace(kind, flags, mask, "", data=body[4:])
    (present,) = struct.unpack_from("<I", body, 4)
    at, types = 8, []
    for bit in (1, 2):
        types.append(str(uuid.UUID(bytes_le=body[at : at + 16])) if present & bit else None)
        at += 16 if present & bit else 0
    nothing = str(uuid.UUID(int=0))
    return Ace(kind, flags, mask, parse_sid(body[at:])[0], None if types[0] == nothing else types[0], types[1])


def ace_bytes(ace: Ace) -> bytes:
    body = struct.pack("<I", ace.mask)
    if ace.type in (ALLOW_OBJECT, DENY_OBJECT):
        types = (ace.object_type, ace.inherited_type)
        body += struct.pack("<I", sum(bit for bit, name in zip((1, 2), types, strict=True) if name))
        body += b"".join(uuid.UUID(name).bytes_le for name in types if name)
    if ace.sid:
        body += sid_bytes(ace.sid)
    body += ace.data
    body += bytes(-len(body) % 4)
    return struct.pack("<BBH", ace.type, ace.flags, 4 + len(body)) + body


def parse_sid(data: bytes) -> tuple[str, int]:
    """The SID at the beginning of `data` and how many bytes it takes."""
    count = data[1]
    authority = int.from_bytes(data[2:8], "big")
    parts = struct.unpack_from(f"<{count}I", data, 8)
    return "-".join(["S", str(data[0]), str(authority), *map(str, parts)]), 8 + 4 * count


def sid_bytes(sid: str) -> bytes:
    _, revision, authority, *parts = sid.split("-")
    return bytes([int(revision), len(parts)]) + int(authority).to_bytes(6, "big") + struct.pack(f"<{len(parts)}I", *map(int, parts))


def from_sddl(text: str, domain_sid: str) -> Descriptor:
    """Understands what is used here: owner, group and a DACL of plain and object entries ([MS-DTYP] 2.5.1)."""
    found = re.fullmatch(r"(?:O:(?P<owner>\w+(?:-\d+)*))?(?:G:(?P<group>\w+(?:-\d+)*))?D:(?P<flags>[A-Z]*)(?P<aces>(?:\([^)]*\))*)", text)
    if found is None:
        raise ValueError(f"SDDL not understood: {text}")
    control = SELF_RELATIVE | DACL_PRESENT
    control |= (DACL_PROTECTED if "P" in found["flags"] else 0) | (DACL_AUTO_INHERITED if "AI" in found["flags"] else 0)
    aces = [_sddl_ace(ace.split(";"), domain_sid) for ace in re.findall(r"\(([^)]*)\)", found["aces"])]
    owner, group = (_sddl_sid(found[name], domain_sid) if found[name] else None for name in ("owner", "group"))
    return Descriptor(owner, group, aces, control)


def _sddl_ace(parts: Sequence[str], domain_sid: str) -> Ace:
    kind, flags, rights, object_type, inherited, sid = parts
    mask = int(rights, 16) if rights.startswith("0x") else sum(RIGHTS[pair] for pair in re.findall("..", rights))
    bits = sum(FLAGS[pair] for pair in re.findall("..", flags))
    return Ace(TYPES[kind], bits, mask, _sddl_sid(sid, domain_sid), object_type or None, inherited or None)


def _sddl_sid(name: str, domain_sid: str) -> str:
    if name in IN_DOMAIN:
        return f"{domain_sid}-{IN_DOMAIN[name]}"
    return WELL_KNOWN.get(name, name)
