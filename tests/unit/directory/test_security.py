# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import random
from uuid import UUID

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.directory import security
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import (
    Ace,
    Acl,
    OpaqueAce,
    SddlContext,
    SecurityDescriptor,
    Sid,
    canonical,
    format_sddl_sid,
    parse_sddl_sid,
)
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

pytest.importorskip("hypothesis", reason="property tests need hypothesis")

from hypothesis import given
from hypothesis import strategies as st

DOMAIN = Sid.parse("S-1-5-21-1-2-3")
ROOT = Sid.parse("S-1-5-21-7-8-9")
CONTEXT = SddlContext(DOMAIN, ROOT)
ENROLL = UUID("0e10c968-78fb-11d2-90d4-00c04f79dc55")
TEMPLATE = (
    "O:EAG:EAD:PAI(A;;LCRPLORC;;;AU)(A;;CCDCLCSWRPWPDTLOSDRCWDWO;;;DA)(OA;;RPWPCR;0e10c968-78fb-11d2-90d4-00c04f79dc55;;DU)"
    "(OA;CIIO;CR;a05b8cc2-17bc-4802-a710-e7c15ab866a2;bf967aba-0de6-11d0-a285-00aa003049e2;ED)"
)

sids = st.builds(
    lambda authority, numbers: Sid(
        bytes([1, len(numbers)]) + authority.to_bytes(6, "big") + b"".join(n.to_bytes(4, "little") for n in numbers)
    ),
    st.one_of(st.just(5), st.integers(0, (1 << 48) - 1)),
    st.lists(st.integers(0, (1 << 32) - 1), max_size=15),
)
words = st.integers(0, (1 << 32) - 1)
padding = st.integers(0, 2).flatmap(lambda n: st.binary(min_size=4 * n, max_size=4 * n))
plain_aces = st.builds(Ace, st.sampled_from([0, 1, 2]), st.integers(0, 255), words, sids, st.none(), st.none(), padding)
object_aces = st.builds(
    Ace, st.sampled_from([5, 6, 7]), st.integers(0, 255), words, sids, st.none() | st.uuids(), st.none() | st.uuids(), padding
)
opaque_aces = st.builds(OpaqueAce, st.sampled_from([3, 4, 8, 9, 11, 17, 18, 255]), st.integers(0, 255), padding)
acls = st.builds(Acl, st.lists(plain_aces | object_aces | opaque_aces, max_size=5).map(tuple), st.sampled_from([2, 3, 4]), padding)
parts = st.permutations(["owner", "group", "sacl", "dacl"])
layouts = st.tuples(parts, padding, padding).map(lambda t: (*t[0][:2], *([t[1]] if t[1] else []), *t[0][2:], *([t[2]] if t[2] else [])))
descriptors = st.builds(
    SecurityDescriptor,
    owner=st.none() | sids,
    group=st.none() | sids,
    dacl=st.none() | acls,
    sacl=st.none() | acls,
    control=st.integers(0, 0xFFFF),
    resource_manager=st.integers(0, 255),
    layout=layouts,
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid descriptor with a few bytes changed, cut or added."""
    data = bytearray(bytes(draw(descriptors)))
    for _index in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, max(len(data) - 1, 0)))
        match draw(st.sampled_from(["set", "cut", "add"])):
            case "set" if data:
                data[place] = draw(st.integers(0, 255))
            case "cut":
                del data[place : place + draw(st.integers(1, 8))]
            case _:
                data[place:place] = draw(st.binary(min_size=1, max_size=8))
    return bytes(data)


@given(descriptors)
def test_what_was_made_is_read_back_the_same(descriptor: SecurityDescriptor) -> None:
    data = bytes(descriptor)
    read = SecurityDescriptor.parse(data)
    assert bytes(read) == data
    assert read.meaning == descriptor.meaning
    assert (read.sacl, read.resource_manager, read.control) == (descriptor.sacl, descriptor.resource_manager, descriptor.control)


@given(st.one_of(damaged(), damaged(), st.binary(max_size=200)))
def test_accepted_bytes_are_written_back_identically_and_others_refused(data: bytes) -> None:
    try:
        descriptor = SecurityDescriptor.parse(data)
    except FormatError:
        return
    assert bytes(descriptor) == data


@given(st.one_of(sids.map(bytes), st.binary(max_size=40)))
def test_sid_bytes(data: bytes) -> None:
    try:
        sid = Sid.from_bytes(data)
    except FormatError:
        return
    assert bytes(sid) == data
    assert Sid.parse(str(sid)) == sid
    assert Sid.parse(str(sid).lower()) == sid


@given(
    st.one_of(
        st.text(max_size=30),
        st.text(alphabet="S-105xX", max_size=30),
        st.from_regex(r"S-1-[0-9]{1,16}(-[0-9]{1,11}){0,17}", fullmatch=True),
    )
)
def test_sid_text(text: str) -> None:
    try:
        sid = Sid.parse(text)
    except FormatError:
        return
    assert Sid.parse(str(sid)) == sid


sddl_aces = st.builds(Ace, st.sampled_from([0, 1, 2]), st.integers(0, 31), words, sids) | st.builds(
    Ace, st.sampled_from([5, 6, 7]), st.integers(0, 31), words, sids, st.none() | st.uuids(), st.none() | st.uuids()
)


@given(
    st.none() | sids,
    st.none() | st.lists(sddl_aces, max_size=5).map(lambda aces: Acl(tuple(aces))),
    st.sampled_from([0x8004, 0x9404, 0x8504]),
)
def test_sddl_says_all(owner: Sid | None, dacl: Acl | None, control: int) -> None:
    descriptor = SecurityDescriptor(owner, owner, dacl, control=control)
    assert SecurityDescriptor.from_sddl(descriptor.sddl(CONTEXT), CONTEXT) == descriptor


@given(
    st.one_of(
        st.text(max_size=60),
        st.text(alphabet="OGDS:()APIRCWD;0x1-5", max_size=60),
        st.tuples(st.integers(0, len(TEMPLATE)), st.integers(0, 3), st.text(alphabet="OGDS:();AUxß", max_size=3)).map(
            lambda t: TEMPLATE[: t[0]] + t[2] + TEMPLATE[t[0] + t[1] :]
        ),
    )
)
def test_sddl_is_understood_or_refused(text: str) -> None:
    try:
        descriptor = SecurityDescriptor.from_sddl(text, CONTEXT)
    except FormatError:
        return
    assert SecurityDescriptor.from_sddl(descriptor.sddl(CONTEXT), CONTEXT) == descriptor


@pytest.mark.parametrize(
    "text",
    [
        TEMPLATE,
        "D:NO_ACCESS_CONTROL",
        "D:PNO_ACCESS_CONTROL",
        "D:",
        "O:S-1-5-21-5-5-5-1000D:(A;OICI;0x1200a9;;;WD)S:AI(AU;SAFA;CCDC;;;WD)",
        "D:AR(D;;GAGXGWGR;;;CO)(OD;;WP;;;RO)",
        "",
    ],
)
def test_sddl_text_is_kept(text: str) -> None:
    assert SecurityDescriptor.from_sddl(text, CONTEXT).sddl(CONTEXT) == text


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("D:(A;;FA;;;BA)", "D:(A;;0x1f01ff;;;BA)"),
        ("d", None),
        (" D: P AI (A; ;GA; ; ;ba)", "D:PAI(A;;GA;;;BA)"),
        ("D:(A;;010;;;BA)", "D:(A;;SW;;;BA)"),
        ("D:(A;;16;;;BA)", "D:(A;;RP;;;BA)"),
        ("O:", ""),
    ],
)
def test_sddl_variants(text: str, same: str | None) -> None:
    if same is None:
        with pytest.raises(FormatError):
            SecurityDescriptor.from_sddl(text)
    else:
        assert SecurityDescriptor.from_sddl(text).sddl() == same


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("O:DA", "account of a domain"),
        ("O:QQ", "no principal"),
        ("O:BA(A;;GA;;;BA)", "takes one principal"),
        ("D:NO_ACCESS_CONTROL(A;;GA;;;BA)", "cannot have entries"),
        ("D:(A;;GA;;BA)", "5 fields"),
        ("D:(XA;;GA;;;BA)", "type 'XA'"),
        ("D:(A;;QQ;;;BA)", "rights of"),
        ("D:(A;QQ;GA;;;BA)", "flags of"),
        ("D:Z", "flags of D:"),
        ("D:(A;;GA;0e10c968-78fb-11d2-90d4-00c04f79dc55;;BA)", "of type OA"),
        ("D:(OA;;GA;0e10c968;;BA)", "not a GUID"),
        ("D:(A;;99999999999;;;BA)", "rights of"),
        ("D:(A;;4294967296;;;BA)", "32 bits"),
        ("D:D:", "each once"),
        ("O:BAO:BA", "each once"),
        ("hello", "not SDDL"),
        ("D:(A;;GA;;;ß)", "ASCII"),
    ],
)
def test_sddl_refusals_quote_the_fault(text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        SecurityDescriptor.from_sddl(text)


def test_what_sddl_cannot_say_is_refused() -> None:
    for ace in (OpaqueAce(17, 0, b"\0" * 16), Ace(0, 0, 1, ROOT, extra=b"abcd"), Ace(0, 0x20, 1, ROOT)):
        with pytest.raises(FormatError, match="no text form"):
            SecurityDescriptor(dacl=Acl((ace,))).sddl()


def test_aliases_of_domain_and_root() -> None:
    assert parse_sddl_sid("DA", CONTEXT) == DOMAIN.child(512)
    assert parse_sddl_sid("ea", CONTEXT) == ROOT.child(519)
    assert format_sddl_sid(ROOT.child(519), CONTEXT) == "EA"
    assert format_sddl_sid(ROOT.child(512), CONTEXT) == "S-1-5-21-7-8-9-512"
    assert parse_sddl_sid("EA", SddlContext(DOMAIN)) == DOMAIN.child(519)


def test_sid_parts() -> None:
    sid = Sid.parse("S-1-5-21-1-2-3-512")
    assert (sid.rid, sid.domain, sid.authority, sid.sub_authorities) == (512, DOMAIN, 5, (21, 1, 2, 3, 512))
    assert DOMAIN.domain is None
    assert Sid.parse("S-1-5-32-544").domain is None
    assert Sid.parse("S-1-5").rid is None
    assert str(Sid.parse("S-1-0x0000ffffffff-1")) == "S-1-4294967295-1"
    assert str(Sid.parse("S-1-0x100000000-1")) == "S-1-0x000100000000-1"
    assert repr(sid) == "Sid(S-1-5-21-1-2-3-512)"


def test_canonical_order() -> None:
    inherited = Ace(1, security.INHERITED, 1, ROOT)
    order = [
        Ace.deny(ROOT, 1),
        Ace.deny(ROOT, 1, ENROLL),
        Ace.allow(ROOT, 1),
        Ace.allow(ROOT, 1, ENROLL),
        Ace(0, security.INHERITED, 1, ROOT),
        inherited,
    ]
    shuffled = [order[2], order[4], order[0], order[3], inherited, order[1]]
    assert list(canonical(shuffled)) == order
    assert Acl(tuple(order)).is_canonical
    assert not Acl(tuple(shuffled)).is_canonical
    assert SecurityDescriptor().with_dacl(shuffled).aces == tuple(order)
    assert Acl().with_aces(shuffled).revision == 4


def test_order_and_form_do_not_change_the_meaning() -> None:
    descriptor = SecurityDescriptor.from_sddl(TEMPLATE, CONTEXT)
    aces = list(descriptor.aces)
    random.Random(1).shuffle(aces)
    assert descriptor.dacl is not None
    assert SecurityDescriptor(dacl=Acl(tuple(aces))).dacl.meaning == descriptor.dacl.meaning
    assert Ace(5, 0, 1, ROOT).meaning == Ace(5, 0, 1, ROOT, UUID(int=0)).meaning == Ace(0, 0, 1, ROOT).meaning
    assert Ace(1, 0, 1, ROOT).meaning != Ace(0, 0, 1, ROOT).meaning


@pytest.mark.parametrize(
    ("ace", "granted"),
    [
        (Ace.allow(ROOT, 0x100, ENROLL), True),
        (Ace.allow(ROOT, 0x100), True),
        (Ace(5, 0, 0x100, ROOT, UUID(int=0)), True),
        (Ace.allow(ROOT, 0x130, UUID(int=7)), False),
        (Ace.allow(ROOT, 0x30, ENROLL), False),
        (Ace.deny(ROOT, 0x100, ENROLL), False),
        (Ace.allow(ROOT, 0x100, ENROLL, security.INHERIT_ONLY), False),
        (OpaqueAce(9, 0, b""), False),
    ],
)
def test_grants(ace: Ace, granted: bool) -> None:
    assert ace.grants(security.CONTROL_ACCESS, ENROLL) is granted


def test_null_dacl_is_not_no_dacl() -> None:
    null = SecurityDescriptor.from_sddl("D:NO_ACCESS_CONTROL")
    assert null.has_null_dacl
    assert null.aces == ()
    assert not SecurityDescriptor().has_null_dacl
    assert SecurityDescriptor.parse(bytes(null)).has_null_dacl
    assert SecurityDescriptor.from_sddl("D:P").is_protected


def test_new_parts_of_a_read_descriptor_are_placed_after_the_others() -> None:
    from dataclasses import replace

    read = SecurityDescriptor.parse(bytes(SecurityDescriptor(owner=ROOT)))
    longer = replace(read, dacl=Acl((Ace.allow(ROOT, 1),)), group=DOMAIN)
    assert SecurityDescriptor.parse(bytes(longer)).meaning == longer.meaning


@pytest.mark.parametrize(
    "make",
    [
        lambda: Ace(0, 0, 1, ROOT, ENROLL),
        lambda: Ace(9, 0, 1, ROOT),
        lambda: Ace(0, 0, 1 << 32, ROOT),
        lambda: Ace(0, 256, 1, ROOT),
        lambda: bytes(Acl((Ace.allow(ROOT, 1),) * 3000)),
        lambda: bytes(OpaqueAce(9, 0, b"abc")),
        lambda: Acl.parse(b"\2\0"),
        lambda: Sid(b"\1"),
    ],
)
def test_what_cannot_be_is_refused(make) -> None:
    with pytest.raises(FormatError):
        make()


@pytest.mark.parametrize("body", ["", "00000000", "0000000004000000" + "01" * 12, "00000000" + "0105" + "00" * 10])
def test_entries_that_are_cut_short(body: str) -> None:
    for kind in (0, 5):
        ace = bytes([kind, 0, 4 + len(body) // 2, 0]) + bytes.fromhex(body)
        acl = bytes([2, 0, 8 + len(ace), 0, 1, 0, 0, 0]) + ace
        with pytest.raises(FormatError, match=r"access control entry|not a security identifier"):
            Acl.parse(acl)


def as_winacl_reads_it(data: bytes) -> list[tuple]:
    """Owner, group and entries as another reader sees them."""
    reader = pytest.importorskip("winacl.dtyp.security_descriptor", reason="winacl is not installed").SECURITY_DESCRIPTOR
    other = reader.from_bytes(data)
    assert other.to_bytes() == data
    found = [(str(other.Owner), str(other.Group))]
    for ace in other.Dacl.aces:
        object_type = getattr(ace, "ObjectType", None)
        found.append(
            (ace.AceType.value, ace.AceFlags.value, int(ace.Mask), str(ace.Sid), str(object_type).lower() if object_type else None)
        )
    return found


def test_winacl_reads_what_we_write() -> None:
    text = TEMPLATE + "(D;;WP;;;BA)(OD;;CR;0e10c968-78fb-11d2-90d4-00c04f79dc55;;BU)"
    descriptor = SecurityDescriptor.from_sddl(text, CONTEXT)
    expected: list[tuple] = [(str(descriptor.owner), str(descriptor.group))]
    for ace in descriptor.aces:
        assert isinstance(ace, Ace)
        expected.append((ace.type, ace.flags, ace.mask, str(ace.sid), str(ace.object_type) if ace.object_type else None))
    assert as_winacl_reads_it(bytes(descriptor)) == expected
