# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from uuid import UUID

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.directory.oids import AUTO_ENROLL, ENROLL
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import (
    Ace,
    Acl,
    OpaqueAce,
    SddlContext,
    SecurityDescriptor,
    Sid,
)
from ansible_collections.certlogon.core.plugins.module_utils.directory.template_permissions import (
    access_of,
    apply_permissions,
    merge,
    parse_ace,
    parse_rights,
    permission_words,
    rights_words,
)
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

pytest.importorskip("hypothesis", reason="property tests need hypothesis")

from hypothesis import given
from hypothesis import strategies as st

DOMAIN = Sid.parse("S-1-5-21-1-2-3")
CONTEXT = SddlContext(DOMAIN)
ENTERPRISE_ADMINS, USERS, GROUP = DOMAIN.child(519), DOMAIN.child(513), DOMAIN.child(1234)
NAMES = {ENTERPRISE_ADMINS: "EA", DOMAIN.child(512): "DA", USERS: "DU", GROUP: "Group", Sid.parse("S-1-5-11"): "AU"}
SIDS = {name: sid for sid, name in NAMES.items()}
ENROLL_ACE, AUTO_ENROLL_ACE = f"(OA;;RPWPCR;{ENROLL};;DU)", f"(OA;;CR;{AUTO_ENROLL};;DU)"
STOCK = f"O:EAG:EAD:PAI(A;;LCRPLORC;;;AU)(A;;CCDCLCSWRPWPDTLOSDRCWDWO;;;DA)(OA;;RPWPCR;{ENROLL};;DA)"
ONE_ATTRIBUTE = "(OA;;WP;bf967953-0de6-11d0-a285-00aa003049e2;;S-1-5-21-1-2-3-1234)"


def sid_of(name: str) -> Sid:
    return SIDS.get(name) or Sid.parse(name)


def words(sddl: str) -> list[dict]:
    return permission_words(access_of(bytes(SecurityDescriptor.from_sddl(sddl, CONTEXT))), NAMES)


@pytest.mark.parametrize(
    ("aces", "expected"),
    [
        ("(A;;LCRPLORC;;;AU)", [{"principal": "AU", "rights": ["read"]}]),
        ("(A;;0xf01ff;;;DA)", [{"principal": "DA", "rights": ["full_control"]}]),
        ("(A;;CCDCLCSWRPWPDTLOSDRCWDWO;;;DA)", [{"principal": "DA", "rights": ["manage"]}]),
        ("(A;;WPWDWO;;;DU)", [{"principal": "DU", "rights": ["write"]}]),
        ("(A;;WPWDWOLCRPLORC;;;DU)", [{"principal": "DU", "rights": ["write", "read"]}]),
        ("(A;;LCRP;;;DU)(A;;LORC;;;DU)", [{"principal": "DU", "rights": ["read"]}]),
        ("(A;;CRSD;;;DU)", [{"principal": "DU", "rights": ["all_extended_rights", "delete"]}]),
        ("(A;;0x100010;;;DU)", [{"principal": "DU", "rights": ["read_property", "0x100000"]}]),
        (ENROLL_ACE + AUTO_ENROLL_ACE, [{"principal": "DU", "rights": ["enroll", "auto_enroll"]}]),
        (f"(OA;;RPCR;{ENROLL};;DU)", [{"principal": "DU", "rights": ["enroll"]}]),
        (f"(OD;;CR;{ENROLL};;DU)", [{"principal": "DU", "rights": ["enroll"], "type": "deny"}]),
        (
            "(D;;WP;;;DU)(A;;RP;;;DU)",
            [{"principal": "DU", "rights": ["read_property"]}, {"principal": "DU", "rights": ["write_property"], "type": "deny"}],
        ),
        ("(A;;RP;;;S-1-5-21-9-9-9-1)", [{"principal": "S-1-5-21-9-9-9-1", "rights": ["read_property"]}]),
        (ONE_ATTRIBUTE, [{"ace": ONE_ATTRIBUTE}]),
        ("(A;CIIO;RP;;;WD)", [{"ace": "(A;CIIO;RP;;;WD)"}]),
        ("(A;ID;RP;;;DU)", []),
        ("(OA;;SDCR;0e10c968-78fb-11d2-90d4-00c04f79dc55;;WD)", [{"ace": "(OA;;CRSD;0e10c968-78fb-11d2-90d4-00c04f79dc55;;WD)"}]),
        ("(A;;;;;DU)", []),
    ],
)
def test_entries_in_words(aces: str, expected: list[dict]) -> None:
    assert words(f"O:EAD:P{aces}") == expected


def test_null_dacl_lets_everybody_in() -> None:
    access = access_of(bytes(SecurityDescriptor.from_sddl("O:EAD:NO_ACCESS_CONTROL", CONTEXT)))
    assert permission_words(access, {}) == [{"principal": "S-1-1-0", "rights": ["full_control"]}]
    assert access.inherits


def test_entries_without_text_are_hexadecimal() -> None:
    opaque = OpaqueAce(9, 0, b"abcd")
    descriptor = SecurityDescriptor(ENTERPRISE_ADMINS, dacl=Acl((opaque, Ace(0, 0, 1, USERS, extra=b"efgh"))))
    found = permission_words(access_of(bytes(descriptor)), NAMES)
    assert [set(entry) for entry in found] == [{"ace"}, {"ace"}]
    again = apply_permissions(SecurityDescriptor(ENTERPRISE_ADMINS), None, found, True, sid_of)
    assert permission_words(access_of(bytes(again)), NAMES) == found


@pytest.mark.parametrize("text", ["0xzz", "0x0900", "A;;RP;;;AU", "(A;;RP;;;DA)", "0x" + "0000080000000000" * 2, "(A;;RP)"])
def test_what_is_no_entry_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        parse_ace(text)


def test_two_entries_are_not_one() -> None:
    with pytest.raises(FormatError, match="more than one"):
        parse_ace("0x" + bytes(OpaqueAce(9, 0, b"abcd")).hex() * 2)


def test_entry_that_has_words_is_refused_as_text() -> None:
    with pytest.raises(FormatError, match="can be said by principal and rights"):
        merge([{"ace": "(A;;RP;;;AU)"}])


def test_merge_adds_rights_and_knows_principals_by_one_name() -> None:
    merged = merge(
        [{"principal": "x", "rights": ["read"], "type": "allow"}, {"ace": ONE_ATTRIBUTE}],
        [{"principal": "X", "rights": ["enroll", "write_property"]}, {"principal": "x", "rights": ["delete"], "type": "deny"}],
        name=str.lower,
    )
    assert merged == [
        {"principal": "x", "rights": ["read", "enroll", "write_property"]},
        {"principal": "x", "rights": ["delete"], "type": "deny"},
        {"ace": ONE_ATTRIBUTE},
    ]


@pytest.mark.parametrize(
    ("word", "message"),
    [("enrol", "did you mean 'enroll'?"), ("zzz", "there are full_control"), ("0x100000000", "is not known"), ("-1", "is not known")],
)
def test_unknown_rights(word: str, message: str) -> None:
    with pytest.raises(FormatError) as raised:
        parse_rights([word])
    assert message in str(raised.value)


@given(st.integers(0, (1 << 34) - 1))
def test_rights_lose_nothing_in_words(rights: int) -> None:
    assert parse_rights(rights_words(rights)) == rights


def change(sddl: str, permissions: list[dict], owner: Sid | None = None, inherits: bool = False) -> SecurityDescriptor:
    return apply_permissions(SecurityDescriptor.from_sddl(sddl, CONTEXT), owner, permissions, inherits, sid_of)


def test_entries_that_stay_keep_their_bytes() -> None:
    sddl = f"O:EAG:EAD:PAI(A;;LCRP;;;AU)(A;;LORC;;;AU)(A;ID;GA;;;BA)(OA;;RPCR;{ENROLL};;DU)(OA;;RPWPCR;{AUTO_ENROLL};;DU){ONE_ATTRIBUTE}"
    before = words(sddl)
    permissions = merge(before, [{"principal": "Group", "rights": ["read", "enroll"]}])
    changed = change(sddl, permissions)
    assert permission_words(access_of(bytes(changed)), NAMES) == permissions
    kept = SecurityDescriptor.from_sddl(sddl, CONTEXT).aces
    assert set(kept) < set(changed.aces)
    assert len(changed.aces) == len(kept) + 2
    assert changed.dacl is not None
    assert changed.dacl.is_canonical
    assert (changed.owner, changed.group, changed.control) == (ENTERPRISE_ADMINS, ENTERPRISE_ADMINS, 0x9404)


def test_entries_that_go_and_come() -> None:
    changed = change(STOCK, [{"principal": "DA", "rights": ["full_control"]}, {"principal": "DU", "rights": ["delete"], "type": "deny"}])
    assert changed.sddl(CONTEXT) == "O:EAG:EAD:PAI(D;;SD;;;DU)(A;;CCDCLCSWRPWPDTLOCRSDRCWDWO;;;DA)"
    changed = change(STOCK + ONE_ATTRIBUTE, [{"principal": "DU", "rights": ["enroll"]}], owner=GROUP, inherits=True)
    assert changed.sddl(CONTEXT) == f"O:{GROUP}G:EAD:AI{ENROLL_ACE}"
    assert change(STOCK, []).aces == ()


def test_denied_enroll() -> None:
    changed = change(STOCK, [{"principal": "DU", "rights": ["enroll"], "type": "deny"}])
    assert changed.aces == (Ace.deny(USERS, 0x130, ENROLL),)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1, 5, 6]),
            st.sampled_from([0, 2, 0x10]),
            st.integers(1, (1 << 32) - 1),
            st.sampled_from(list(NAMES)),
            st.sampled_from([None, ENROLL, AUTO_ENROLL, UUID(int=0), UUID(int=7)]),
        ),
        max_size=5,
    ),
    st.lists(st.tuples(st.sampled_from(list(SIDS)), st.integers(1, (1 << 34) - 1), st.booleans()), max_size=4),
)
def test_what_is_asked_for_is_read_back(existing: list, wanted: list) -> None:
    aces = [Ace(kind, flags, mask, sid, guid if kind > 4 else None) for kind, flags, mask, sid, guid in existing]
    descriptor = SecurityDescriptor(ENTERPRISE_ADMINS, dacl=Acl(tuple(aces)))
    permissions = merge(
        [{"principal": name, "rights": rights_words(rights), "type": "deny" if denied else "allow"} for name, rights, denied in wanted]
    )
    changed = apply_permissions(descriptor, None, permissions, False, sid_of)
    assert permission_words(access_of(bytes(changed)), NAMES) == permissions
    # and what was there can be restored by meaning
    before = permission_words(access_of(bytes(descriptor)), NAMES)
    restored = apply_permissions(changed, None, before, False, sid_of)
    assert permission_words(access_of(bytes(restored)), NAMES) == before
