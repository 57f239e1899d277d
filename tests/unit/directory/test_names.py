# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ldap3.utils.conv
import ldap3.utils.dn
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certlogon.core.plugins.module_utils.directory import names

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)


@pytest.mark.parametrize(
    ("dn", "value"),
    [
        ("CN=Smart Card,DC=corp", "Smart Card"),
        (r"CN=Doe\, Jane,DC=corp", "Doe, Jane"),
        (r"CN=J\C3\BCrg,DC=corp", "Jürg"),
        (r"CN=back\\slash,DC=corp", "back\\slash"),
        ("CN=Jürg,DC=corp", "Jürg"),
        ("CN=a=b,DC=corp", "a=b"),
        (r"CN=\ ,DC=corp", " "),
        (r"CN=ends with a space\ ,DC=corp", "ends with a space "),
        (r"CN=backslash\\ ,DC=corp", "backslash\\"),
    ],
)
def test_first_value(dn, value):
    assert names.rdn_value(dn) == value


def test_parent_and_parts():
    assert names.parent_dn(r"CN=Doe\, Jane,OU=Staff,DC=corp") == "OU=Staff,DC=corp"
    assert names.split_dn(r"CN=Doe\, Jane, OU=Staff") == [r"CN=Doe\, Jane", "OU=Staff"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("CN=a,DC=corp", "cn=A, dc=CORP", True),
        ("CN=a,DC=corp", "CN=b,DC=corp", False),
        (r"CN=a\,DC=corp", "CN=a,DC=corp", False),
    ],
)
def test_same(one, other, same):
    assert names.same_dn(one, other) is same


@given(TEXT)
def test_an_escaped_value_comes_back(value):
    dn = f"CN={names.escape_rdn(value)},DC=corp"
    assert names.rdn_value(dn) == value


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
def test_ldap3_reads_our_names(value):
    parsed = ldap3.utils.dn.parse_dn(f"CN={names.escape_rdn(value)},DC=corp")
    assert [part[0] for part in parsed] == ["CN", "DC"]


@given(st.text(max_size=40))
def test_filters_are_escaped_as_ldap3_does(value):
    assert names.escape_filter(value).lower() == ldap3.utils.conv.escape_filter_chars(value).lower()


@given(st.binary(max_size=40))
def test_binary_filters(value):
    assert bytes.fromhex(names.escape_filter_bytes(value).replace("\\", "")) == value
