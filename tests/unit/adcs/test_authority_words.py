# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of adcs_authority: flags, periods, URLs, rights and restrictions, there and back."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certlogon.core.plugins.module_utils.adcs import authority_words as words
from ansible_collections.certlogon.core.plugins.module_utils.adcs import restrictions
from ansible_collections.certlogon.core.plugins.module_utils.adcs.restrictions import Restriction
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import SecurityDescriptor
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

TABLES = [words.CDP, words.AIA, words.AUDIT, words.INTERFACE, words.EDIT]


@pytest.mark.parametrize("table", TABLES)
@given(bits=st.integers(0, 0xFFFFFFFF))
def test_flags_come_back(table: dict[str, int], bits: int):
    assert words.bits(words.words(bits, table), table, "x") == bits


@pytest.mark.parametrize("table", TABLES)
def test_no_two_words_share_a_bit(table: dict[str, int]):
    assert sum(table.values()) == sum(1 << place for place in range(32) if any(bit >> place & 1 for bit in table.values()))


@pytest.mark.parametrize(
    ("bits", "table", "expected"),
    [
        (0x641, words.INTERFACE, ["lock_requests", "no_remote_admin_backup", "enforce_encrypted_requests", "enforce_encrypted_admin"]),
        (65, words.CDP, ["publish_base", "publish_delta"]),
        (79, words.CDP, ["publish_base", "include_in_certificates", "include_freshest", "include_in_crls", "publish_delta"]),
        (127, words.AUDIT, list(words.AUDIT)),
        (-1, {"a": 1}, ["a", *(hex(1 << place) for place in range(1, 32))]),
        (0, words.EDIT, []),
    ],
)
def test_flags_in_words(bits: int, table: dict[str, int], expected: list[str]):
    assert words.words(bits, table) == expected


def test_unknown_flag_is_named():
    with pytest.raises(FormatError, match="config: edit_flags: 'subject' is no flag; there are enable_request_extensions"):
        words.bits(["subject"], words.EDIT, "config: edit_flags")


@pytest.mark.parametrize(
    ("text", "one_form", "parts"),
    [
        ("1 week", "1 week", (1, "Weeks")),
        ("1 weeks", "1 week", (1, "Weeks")),
        (" 20 Years ", "20 years", (20, "Years")),
        ("0 days", "0 days", (0, "Days")),
        ("12hours", "12 hours", (12, "Hours")),
        ("6 MONTH", "6 months", (6, "Months")),
    ],
)
def test_periods(text: str, one_form: str, parts: tuple[int, str]):
    assert words.period(text, "x") == one_form
    assert words.period_parts(one_form) == parts
    assert words.period_of(*parts) == one_form


@pytest.mark.parametrize("text", ["", "week", "1", "1 fortnight", "-1 days", "1 week 2 days", "1.5 years"])
def test_no_periods(text: str):
    with pytest.raises(FormatError, match=r"config: crl_period: .* is not a period; write a number and"):
        words.period(text, "config: crl_period")


def test_odd_periods_of_the_registry_are_left_out():
    assert words.period_of(1, "Moons") is None
    assert words.period_of(None, None) is None


@pytest.mark.parametrize(
    ("given_url", "console", "registry"),
    [
        ("http://x/%3%8%9.crl", "http://x/<CaName><CRLNameSuffix><DeltaCRLAllowed>.crl", "http://x/%3%8%9.crl"),
        ("http://x/<caname>.crl", "http://x/<CaName>.crl", "http://x/%3.crl"),
        (
            "ldap:///CN=%7,CN=AIA,%6%11",
            "ldap:///CN=<CATruncatedName>,CN=AIA,<ConfigurationContainer><CAObjectClass>",
            "ldap:///CN=%7,CN=AIA,%6%11",
        ),
        ("ldap:///CN=%2%10", "ldap:///CN=<ServerShortName><CDPObjectClass>", "ldap:///CN=%2%10"),
        ("http://x/a%20b.crl", "http://x/a<ServerShortName>0b.crl", "http://x/a%20b.crl"),
    ],
)
def test_urls(given_url: str, console: str, registry: str):
    assert words.url(given_url, "x") == console
    assert words.registry_url(console) == registry


def test_unknown_variable():
    with pytest.raises(FormatError, match="url: <Name> is no variable; there are <ServerDNSName>"):
        words.url("http://x/<Name>.crl", "url")


@pytest.mark.parametrize(
    "text", [r"65:C:\Windows\system32\CertSrv\CertEnroll\%3%8%9.crl", "79:ldap:///CN=%7%8,CN=%2,CN=CDP,%6%10", "0:x", "256:y"]
)
def test_locations_come_back(text: str):
    assert words.location_text(words.location_of(text, words.CDP), words.CDP) == text


@pytest.mark.parametrize("text", ["", "http://x", "x:y", ":y"])
def test_no_locations(text: str):
    with pytest.raises(FormatError, match="is not flags, a colon and a URL"):
        words.location_of(text, words.CDP)


# ---- rights

DEFAULT = SecurityDescriptor.from_sddl(
    "O:BAG:BAD:(D;;0x200;;;S-1-5-21-1-2-3-1000)(A;;0x3;;;BA)(A;;0x103;;;S-1-5-21-1-2-3-512)(A;;0x200;;;AU)"
)
ADMINISTRATORS, DOMAIN_ADMINS, USERS, TEAM = "S-1-5-32-544", "S-1-5-21-1-2-3-512", "S-1-5-11", "S-1-5-21-1-2-3-1105"


@pytest.mark.parametrize(
    ("wanted", "only", "after"),
    [
        ({}, False, {ADMINISTRATORS: 3, DOMAIN_ADMINS: 0x103, USERS: 0x200}),
        ({USERS: 0x200}, False, {ADMINISTRATORS: 3, DOMAIN_ADMINS: 0x103, USERS: 0x200}),
        ({TEAM: 1}, False, {ADMINISTRATORS: 3, DOMAIN_ADMINS: 0x103, USERS: 0x200, TEAM: 1}),
        ({USERS: 0}, False, {ADMINISTRATORS: 3, DOMAIN_ADMINS: 0x103}),
        ({ADMINISTRATORS: 3, TEAM: 2}, True, {ADMINISTRATORS: 3, TEAM: 2}),
    ],
)
def test_rights(wanted: dict[str, int], only: bool, after: dict[str, int]):
    changed = restrictions.with_rights(DEFAULT, wanted, only=only)
    assert restrictions.rights(changed) == after
    assert [str(ace.sid) for ace in changed.aces if ace.is_deny] == ["S-1-5-21-1-2-3-1000"], "denials are nobody's business here"
    if after == restrictions.rights(DEFAULT):
        assert bytes(changed) == bytes(DEFAULT)


# ---- restrictions

ONE = Restriction(TEAM, ("S-1-1-0",), "CorpSmartcardLogon", True)
MANY = Restriction(TEAM, (DOMAIN_ADMINS, "S-1-5-21-1-2-3-513"), None, False)

# [MS-CSRA] 2.2.1.11, laid out by hand: type 9, 36 bytes, mask DELETE, the agent, one SID (Everyone), no template
BY_HAND = bytes.fromhex("09002400 00000100 0101000000000005 0b000000 01000000 0101000000000001 00000000")


@pytest.mark.parametrize("wanted", [[ONE], [MANY], [ONE, MANY], []])
def test_restrictions_come_back(wanted: list[Restriction]):
    assert set(restrictions.restrictions(restrictions.descriptor_of(wanted))) == set(wanted)


def test_denials_come_first():
    assert restrictions.restrictions(restrictions.descriptor_of([ONE, MANY])) == [MANY, ONE]


def test_restriction_by_the_specification():
    ace = Restriction("S-1-5-11", ("S-1-1-0",), None, True).ace()
    assert bytes(ace) == BY_HAND


@given(st.binary(max_size=120))
def test_no_bytes_break_the_reader(body: bytes):
    ace = restrictions.OpaqueAce(9, 0, body)
    with contextlib.suppress(FormatError):
        Restriction.parse(ace)
