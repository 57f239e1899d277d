# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of named things where only some of them are asked for."""

from __future__ import annotations

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.names import in_order, unknown

ORDERS = [
    # (there, wanted, result)
    ("", "", ""),
    ("", "ab", "ab"),
    ("abc", "", "abc"),
    ("abc", "b", "abc"),
    ("abc", "ac", "abc"),
    ("abc", "ca", "cba"),
    ("abcd", "db", "adcb"),
    ("abc", "x", "abcx"),
    ("abc", "bx", "abxc"),
    ("abc", "xb", "axbc"),
    ("abc", "xyb", "axybc"),
    ("abc", "axc", "axbc"),
    ("abc", "cxa", "cxba"),
    ("ab", "xaybz", "xaybz"),
    ("abc", "cba", "cba"),
]


@pytest.mark.parametrize(("have", "wanted", "result"), ORDERS)
def test_order(have: str, wanted: str, result: str) -> None:
    ordered = "".join(in_order(list(have), list(wanted)))
    assert ordered == result
    assert "".join(in_order(list(ordered), list(wanted))) == ordered, "a second run changes nothing"


def test_unknown_names() -> None:
    assert unknown("no role", "Adminstrators", ["Users", "Administrators"]) == "no role 'Adminstrators'; did you mean 'Administrators'?"
    assert unknown("no role", "x", []) == "no role 'x'; there are none"
    assert unknown("no role", "x", [f"role{n:02}" for n in range(14)]).endswith("'role11' and 2 more")


def test_order_of_any_names() -> None:
    hypothesis = pytest.importorskip("hypothesis")
    from hypothesis import strategies as st

    names = st.lists(st.sampled_from("abcdefg"), unique=True)

    @hypothesis.given(names, names)
    def holds(have: list[str], wanted: list[str]) -> None:
        result = in_order(have, wanted)
        assert sorted(result) == sorted({*have, *wanted})
        assert [name for name in result if name in wanted] == wanted
        assert [name for name in result if name not in wanted] == [name for name in have if name not in wanted]
        assert in_order(result, wanted) == result

    holds()
