# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import links


def dn(letter: str) -> str:
    return f"cn={{{letter}}},cn=policies,cn=system,DC=corp,DC=example"


def value(*entries: tuple[str, int]) -> str:
    return "".join(f"[LDAP://{dn(letter)};{options}]" for letter, options in entries)


THREE = value(("A", 0), ("B", 1), ("C", 2))


def test_reads_what_it_writes() -> None:
    found = links.parse(THREE)
    assert [(link.dn, link.enabled, link.enforced) for link in found] == [
        (dn("A"), True, False),
        (dn("B"), False, False),
        (dn("C"), True, True),
    ]
    assert links.serialise(found) == THREE
    assert links.parse(None) == links.parse("") == links.parse(" ") == []


@pytest.mark.parametrize(
    ("before", "letter", "options", "after"),
    [
        pytest.param("", "A", {}, value(("A", 0)), id="first"),
        pytest.param(THREE, "X", {}, value(("X", 0), ("A", 0), ("B", 1), ("C", 2)), id="new with lowest precedence"),
        pytest.param(THREE, "X", {"order": 1}, value(("A", 0), ("B", 1), ("C", 2), ("X", 0)), id="new with highest precedence"),
        pytest.param(THREE, "X", {"order": 2}, value(("A", 0), ("B", 1), ("X", 0), ("C", 2)), id="new in between"),
        pytest.param(THREE, "X", {"order": 9}, value(("X", 0), ("A", 0), ("B", 1), ("C", 2)), id="order beyond the end"),
        pytest.param(THREE, "A", {}, THREE, id="there already"),
        pytest.param(THREE, "a", {"order": 3}, THREE, id="there already, in order"),
        pytest.param(THREE, "B", {}, value(("A", 0), ("B", 0), ("C", 2)), id="enabled in place"),
        pytest.param(THREE, "B", {"enabled": False, "enforced": True}, value(("A", 0), ("B", 3), ("C", 2)), id="enforced in place"),
        pytest.param(THREE, "A", {"order": 1}, value(("B", 1), ("C", 2), ("A", 0)), id="moved"),
        pytest.param(THREE + value(("A", 0)), "A", {}, value(("B", 1), ("C", 2), ("A", 0)), id="the last of two counts"),
        pytest.param(
            "[ldap://CN={B},DC=x; 0][LDAP://cn={a}, DC=y;0]",
            "X",
            {},
            value(("X", 0)) + "[ldap://CN={B},DC=x; 0][LDAP://cn={a}, DC=y;0]",
            id="text stays",
        ),
    ],
)
def test_place(before: str, letter: str, options: dict[str, bool], after: str) -> None:
    placed = links.place(links.parse(before), dn(letter), **options)
    assert links.serialise(placed) == after
    assert links.place(placed, dn(letter), **options) == placed


def test_the_spelling_of_an_entry_stays_when_its_options_change() -> None:
    placed = links.place(links.parse("[ldap://CN={B}, DC=x;4]"), "cn={b},dc=X", enforced=True)
    assert links.serialise(placed) == "[ldap://CN={B}, DC=x;6]"


def test_several_are_placed_smallest_order_first() -> None:
    found = links.parse(THREE)
    for number, letter in enumerate("BXA", 1):
        found = links.place(found, dn(letter), order=number)
    assert [link.dn for link in reversed(found)] == [dn(letter) for letter in "BXAC"]


def test_remove() -> None:
    assert links.serialise(links.remove(links.parse(THREE), dn("b"))) == value(("A", 0), ("C", 2))
    assert links.remove(links.parse(THREE), dn("X")) == links.parse(THREE)


@pytest.mark.parametrize("text", ["x", "[LDAP://x]", "[LDAP://x;a]", "[LDAP://;0]", THREE + "[", "[x;0]"])
def test_refuses(text: str) -> None:
    with pytest.raises(FormatError, match=r"gPLink: no .* at character"):
        links.parse(text)
