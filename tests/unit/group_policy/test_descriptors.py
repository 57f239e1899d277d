# SPDX-License-Identifier: GPL-3.0-or-later
"""Rights in words, and what becomes of a directory object's descriptor in SYSVOL."""

from __future__ import annotations

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.directory.security import SddlContext, SecurityDescriptor, Sid
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import descriptors

DOMAIN = Sid.parse("S-1-5-21-1-2-3")
CONTEXT = SddlContext(DOMAIN)
APPLY = "edacfd8f-ffb3-11d1-b41d-00a0c968f939"
FULL = "CCDCLCSWRPWPDTLOSDRCWDWO"
NEW_POLICY = (
    f"O:DAG:DAD:P(A;CI;{FULL};;;DA)(A;CI;{FULL};;;EA)(A;CIIO;{FULL};;;CO)(A;;{FULL};;;DA)(A;CI;{FULL};;;SY)"
    f"(A;CI;LCRPLORC;;;AU)(OA;CI;CR;{APPLY};;AU)(A;CI;LCRPLORC;;;ED)"
)
"""What Samba gives a policy that an administrator makes, read from a domain."""


def sd(text: str) -> SecurityDescriptor:
    return SecurityDescriptor.from_sddl(text, CONTEXT)


def aces(text: str) -> tuple:
    return sd(f"D:{text}").aces


def words(text: str) -> list:
    return descriptors.words(sd(text).aces, str, CONTEXT)


def test_a_new_policy_in_words() -> None:
    assert words(NEW_POLICY) == [
        {"principal": "S-1-3-0", "rights": ["full_control"], "type": "allow"},
        {"principal": "S-1-5-11", "rights": ["apply", "read"], "type": "allow"},
        {"principal": "S-1-5-18", "rights": ["full_control"], "type": "allow"},
        {"principal": f"{DOMAIN}-512", "rights": ["full_control"], "type": "allow"},
        {"principal": f"{DOMAIN}-519", "rights": ["full_control"], "type": "allow"},
        {"principal": "S-1-5-9", "rights": ["read"], "type": "allow"},
    ]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ("(A;CI;CCDCLCSWRPWPLORC;;;DU)", [{"principal": f"{DOMAIN}-513", "rights": ["edit"], "type": "allow"}]),
        ("(A;CI;CCDCLCRPWPLORC;;;DU)", [{"principal": f"{DOMAIN}-513", "rights": ["edit"], "type": "allow"}]),
        (f"(OD;CI;CR;{APPLY};;DU)", [{"principal": f"{DOMAIN}-513", "rights": ["apply"], "type": "deny"}]),
        ("(D;CI;LCRPLORC;;;DU)", [{"principal": f"{DOMAIN}-513", "rights": ["read"], "type": "deny"}]),
        # what no word says exactly stays an entry: apply without read, other masks, other flags, two levels at once
        (f"(OA;CI;CR;{APPLY};;DU)", [{"ace": f"(OA;CI;CR;{APPLY};;DU)"}]),
        ("(A;CI;RP;;;DU)", [{"ace": "(A;CI;RP;;;DU)"}]),
        ("(A;OICI;LCRPLORC;;;DU)", [{"ace": "(A;OICI;LCRPLORC;;;DU)"}]),
        (f"(A;CI;LCRPLORC;;;DU)(A;CI;{FULL};;;DU)", [{"ace": f"(A;CI;{FULL};;;DU)"}, {"ace": "(A;CI;LCRPLORC;;;DU)"}]),
        ("(A;CIID;LCRPLORC;;;DU)", []),
    ],
)
def test_words(entries: str, expected: list) -> None:
    assert words(f"D:{entries}") == expected


USERS = DOMAIN.child(513)


@pytest.mark.parametrize(
    ("have", "rights", "deny", "exact", "expected"),
    [
        ("", ["apply"], False, False, f"(A;CI;LCRPLORC;;;DU)(OA;CI;CR;{APPLY};;DU)"),
        ("", ["apply"], True, False, f"(OD;CI;CR;{APPLY};;DU)"),
        ("", ["full_control"], False, False, f"(A;CI;{FULL};;;DU)"),
        ("(A;CI;LCRPLORC;;;DU)", ["edit"], False, False, "(A;CI;CCDCLCSWRPWPLORC;;;DU)"),
        (f"(A;CI;LCRPLORC;;;DU)(OA;CI;CR;{APPLY};;DU)", ["read"], False, False, "(A;CI;LCRPLORC;;;DU)"),
        (f"(A;CI;LCRPLORC;;;DU)(OA;CI;CR;{APPLY};;DU)", [], False, False, ""),
        ("(A;CI;LCRPLORC;;;AU)", ["read"], False, False, "(A;CI;LCRPLORC;;;AU)(A;CI;LCRPLORC;;;DU)"),
        ("(A;CI;LCRPLORC;;;AU)(A;CI;RP;;;AU)", ["read"], False, True, "(A;CI;LCRPLORC;;;DU)"),
        ("(A;CIID;LCRPLORC;;;AU)", ["read"], False, True, "(A;CI;LCRPLORC;;;DU)(A;CIID;LCRPLORC;;;AU)"),
        ("(A;CI;LCRPLORC;;;AU)", ["read"], True, False, "(D;CI;LCRPLORC;;;DU)(A;CI;LCRPLORC;;;AU)"),
    ],
)
def test_merge(have: str, rights: list[str], deny: bool, exact: bool, expected: str) -> None:
    wish = [descriptors.permission(USERS, rights, deny)]
    merged = descriptors.merge(aces(have), wish, [], exact=exact)
    assert merged == aces(expected)
    assert descriptors.merge(merged, wish, [], exact=exact) == merged, "a second time changes nothing"


def test_merge_keeps_what_says_the_same_in_another_form() -> None:
    """Both forms of a level, and the owner's second entry, are as good as ours."""
    have = sd(NEW_POLICY).aces
    wished = [
        descriptors.permission(Sid.parse("S-1-3-0"), ["full_control"], False),
        descriptors.permission(DOMAIN.child(512), ["full_control"], False),
        descriptors.permission(Sid.parse("S-1-5-11"), ["apply"], False),
    ]
    assert descriptors.merge(have, wished, [], exact=False) == have
    assert descriptors.merge(aces("(A;CI;CCDCLCRPWPLORC;;;DU)"), [descriptors.permission(USERS, ["edit"], False)], [], exact=True) == aces(
        "(A;CI;CCDCLCRPWPLORC;;;DU)"
    )


def test_raw_entries() -> None:
    raw = [descriptors.ace_from_text("(A;CI;RP;;;AU)", CONTEXT)]
    merged = descriptors.merge(aces("(A;CI;WP;;;DU)"), [], raw, exact=False)
    assert merged == aces("(A;CI;WP;;;DU)(A;CI;RP;;;AU)")
    assert descriptors.merge(merged, [], raw, exact=True) == aces("(A;CI;RP;;;AU)")
    with pytest.raises(FormatError):
        descriptors.ace_from_text("(A;CI;RP;;AU)", CONTEXT)
    with pytest.raises(UserError, match="is not one entry"):
        descriptors.ace_from_text("(A;CI;RP;;;AU)(A;CI;RP;;;DU)", CONTEXT)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ("(A;CI;LCRPLORC;;;AU)", True),
        ("(A;CI;LCRPLORC;;;DC)", True),
        ("(A;CI;LCRPLORC;;;WD)", True),
        ("(A;CI;LCRPLORC;;;DU)", False),
        (f"(OA;CI;CR;{APPLY};;AU)", False),
        ("", False),
    ],
)
def test_computers_can_read(entries: str, expected: bool) -> None:
    assert descriptors.computers_can_read(aces(entries), DOMAIN) is expected


def test_applies_to_nobody() -> None:
    assert descriptors.applies_to_nobody(aces("(A;CI;LCRPLORC;;;AU)"))
    assert not descriptors.applies_to_nobody(aces(f"(OA;CI;CR;{APPLY};;AU)"))


def test_samba_folder_of_a_new_policy() -> None:
    """Read from a folder of Samba's own making, which its checks accept."""
    expected = sd(
        "O:DAG:DAD:P(A;OICI;FA;;;DA)(A;OICI;FA;;;EA)(A;OICIIO;FA;;;CO)(A;OICI;FA;;;DA)(A;OICI;FA;;;SY)"
        f"(A;OICI;0x1200a9;;;AU)(OA;OICI;;{APPLY};;AU)(A;OICI;0x1200a9;;;ED)"
    )
    assert descriptors.same_on_disk(descriptors.samba_file_descriptor(sd(NEW_POLICY)), expected)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("(D;CI;LCRPLORC;;;DU)", ""),
        ("(A;CI;LCRPLORC;;;RU)", ""),
        ("(A;CI;LCRPLORC;;;S-1-5-32-554)", ""),
        ("(A;CI;RP;;;DU)", "(A;OICI;;;;DU)"),
        ("(A;CI;LCRP;;;DU)", "(A;OICI;0x1000a9;;;DU)"),
        ("(A;CI;WP;;;DU)", "(A;OICI;0x100116;;;DU)"),
        ("(A;CI;CC;;;DU)", "(A;OICI;0x6;;;DU)"),
        ("(A;CI;DC;;;DU)", "(A;OICI;0x40;;;DU)"),
        ("(A;CI;CCDCLCSWRPWPLORC;;;DU)", "(A;OICI;0x1201ff;;;DU)"),
        ("(A;CIID;SDRC;;;CO)", "(A;OICIIOID;SDRC;;;CO)"),
    ],
)
def test_samba_mapping(entry: str, expected: str) -> None:
    assert descriptors.samba_file_descriptor(sd(f"O:DAG:DAD:P{entry}")).aces == aces(expected)


def test_windows_folder() -> None:
    mapped = descriptors.windows_file_descriptor(sd(f"{NEW_POLICY}(A;CI;CCDCLCSWRPWPLORC;;;DU)(A;CI;CR;;;DC)(A;CIID;RP;;;DG)"))
    assert mapped.is_protected
    assert (
        mapped.dacl
        and mapped.dacl.meaning
        == sd(
            "D:(A;OICI;FA;;;DA)(A;OICI;FA;;;EA)(A;OICIIO;FA;;;CO)(A;OICI;FA;;;SY)(A;OICI;0x1200a9;;;AU)(A;OICI;0x1200a9;;;ED)(A;OICI;0x1301bf;;;DU)"
        ).dacl.meaning
    )  # type: ignore[union-attr]
