# SPDX-License-Identifier: GPL-3.0-or-later
"""Rights on a CA, and the restrictions of its certificate managers and enrolment agents, as security descriptors.

Rights are plain entries of the descriptor `Security`. Restrictions are callback entries of the descriptors `OfficerRights` and
`EnrollmentAgentRights` ([MS-CSRA] 2.2.1.11): the trustee is the officer or agent; the application data count and list the SIDs of those
whom it is about, and a template's common name or object identifier in UTF-16 with its end, or nothing for all templates.
The access mask of such entries is DELETE, which the specification leaves open and Windows writes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.certlogon.core.plugins.module_utils.adcs.authority_words import RIGHTS
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import (
    DELETE,
    Ace,
    AnyAce,
    OpaqueAce,
    SecurityDescriptor,
    Sid,
)
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

ALLOW_CALLBACK, DENY_CALLBACK = 9, 10
EVERYONE = Sid.parse("S-1-1-0")
ADMINISTRATORS = Sid.parse("S-1-5-32-544")
KNOWN_RIGHTS = sum(RIGHTS.values())


def rights(descriptor: SecurityDescriptor) -> dict[str, int]:
    """The rights that plain allow entries give, by SID, in the order of the entries."""
    found: dict[str, int] = {}
    for ace in descriptor.aces:
        if isinstance(ace, Ace) and ace.is_allow and not ace.is_object:
            found[str(ace.sid)] = found.get(str(ace.sid), 0) | ace.mask
    return found


def with_rights(descriptor: SecurityDescriptor, wanted: Mapping[str, int], *, only: bool) -> SecurityDescriptor:
    """The descriptor with these rights by SID; the others' stay, or go with `only`. Entries of other kinds always stay."""
    have = rights(descriptor)
    target = {sid: mask & ~KNOWN_RIGHTS if only else mask for sid, mask in have.items()}
    target |= {sid: have.get(sid, 0) & ~KNOWN_RIGHTS | mask for sid, mask in wanted.items()}
    if {sid: mask for sid, mask in target.items() if mask} == {sid: mask for sid, mask in have.items() if mask}:
        return descriptor
    foreign = [ace for ace in descriptor.aces if not (isinstance(ace, Ace) and ace.is_allow and not ace.is_object)]
    kept = [Ace.allow(Sid.parse(sid), mask) for sid, mask in target.items() if mask]
    return descriptor.with_dacl([*foreign, *kept])


@dataclass(frozen=True)
class Restriction:
    """Who may act for whom: `sid` the officer or agent, `subjects` SIDs (Everyone for all), `template` None for all."""

    sid: str
    subjects: tuple[str, ...]
    template: str | None
    allow: bool

    def ace(self) -> OpaqueAce:
        data = struct.pack("<I", len(self.subjects)) + b"".join(bytes(Sid.parse(sid)) for sid in self.subjects)
        if self.template is not None:
            data += self.template.encode("utf-16-le") + b"\0\0"
        body = struct.pack("<I", DELETE) + bytes(Sid.parse(self.sid)) + data
        return OpaqueAce(ALLOW_CALLBACK if self.allow else DENY_CALLBACK, 0, body + b"\0" * (-len(body) % 4))

    @classmethod
    def parse(cls, ace: OpaqueAce) -> Restriction:
        """Raises `FormatError`."""
        try:
            sid, position = _sid(ace.body, 4)
            (count,) = struct.unpack_from("<I", ace.body, position)
            position += 4
            if count > len(ace.body):
                raise FormatError(f"a restriction of {count} subjects in {len(ace.body)} bytes")
            subjects = []
            for _index in range(count):
                subject, position = _sid(ace.body, position)
                subjects.append(subject)
        except (struct.error, IndexError) as error:
            raise FormatError(f"a restriction is cut short: {ace.body[:80].hex()}") from error
        name = ace.body[position:].decode("utf-16-le", "replace")
        return cls(sid, tuple(subjects), name.split("\0", 1)[0] or None, ace.type == ALLOW_CALLBACK)


def _sid(data: bytes, position: int) -> tuple[str, int]:
    end = position + 8 + 4 * data[position + 1]
    if end > len(data):
        raise FormatError(f"a restriction is cut short: {data[:80].hex()}")
    return str(Sid.from_bytes(data[position:end])), end


def restrictions(data: bytes) -> list[Restriction]:
    """The restrictions that a descriptor of the registry holds, in order. Raises `FormatError`."""
    descriptor = SecurityDescriptor.parse(data)
    return [Restriction.parse(ace) for ace in descriptor.aces if isinstance(ace, OpaqueAce) and ace.type in (ALLOW_CALLBACK, DENY_CALLBACK)]


def descriptor_of(wanted: Iterable[Restriction]) -> bytes:
    """The descriptor for the registry: owner and group Administrators, denials first."""
    aces: Sequence[AnyAce] = sorted((one.ace() for one in wanted), key=lambda ace: ace.type != DENY_CALLBACK)
    return bytes(SecurityDescriptor(owner=ADMINISTRATORS, group=ADMINISTRATORS).with_dacl(aces))
