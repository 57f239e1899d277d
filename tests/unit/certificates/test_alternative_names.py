# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.certificates import alternative_names as names
from ansible_collections.certlogon.core.plugins.module_utils.certificates import der
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError

pytest.importorskip("hypothesis", reason="property tests need hypothesis")

from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("dns:Web1.Corp.Example.", "DNS:web1.corp.example"),
        ("DNS: *.corp.example", "DNS:*.corp.example"),
        ("DNS:münchen.example", "DNS:xn--mnchen-3ya.example"),
        ("ip:2001:DB8::1", "IP:2001:db8::1"),
        ("EMAIL:Alice@Corp.Example", "email:Alice@corp.example"),
        ("upn:alice@corp.example", "UPN:alice@corp.example"),
        ("uri:https://x/y", "URI:https://x/y"),
        ("sid:s-1-5-21-1-2-3-1104", "SID:S-1-5-21-1-2-3-1104"),
    ],
)
def test_canonical_and_back(text: str, canonical: str):
    assert names.canonical(text) == canonical
    assert names.describe([names.general_name(canonical)]) == [canonical]


@pytest.mark.parametrize(
    "text",
    [
        "web1.corp.example",
        "DNS:",
        "DNS:a b",
        "DNS:-a.example",
        "IP:10.0.0.256",
        "email:alice",
        "UPN:@corp",
        "URI:nothing",
        "SID:S-1",
        "X:y",
        "SID:1-2",
    ],
)
def test_refused(text: str):
    with pytest.raises(UserError):
        names.canonical(text)


@given(st.text(max_size=40))
def test_any_text_is_a_name_or_an_error(text: str):
    try:
        canonical = names.canonical(text)
    except UserError:
        return
    assert names.canonical(canonical) == canonical


@given(st.sampled_from(sorted({"DNS", "IP", "email", "UPN", "URI", "SID"})), st.text(max_size=60))
def test_what_is_accepted_can_be_written(kind: str, value: str):
    try:
        canonical = names.canonical(f"{kind}:{value}")
    except UserError:
        return
    assert names.describe([names.general_name(canonical)]) == [canonical]


def test_sid_extension():
    """The OtherName of [MS-WCCE] 2.2.2.7.7.4, read by asn1crypto as a list of GeneralNames."""
    asn1_x509 = pytest.importorskip("asn1crypto.x509")
    content = names.sid_extension("S-1-5-21-1-2-3-1104")
    (name,) = asn1_x509.GeneralNames.load(content)
    assert name.name == "other_name" and name.chosen["type_id"].native == "1.3.6.1.4.1.311.25.2.1"
    assert name.chosen["value"].native == b"S-1-5-21-1-2-3-1104"
    assert names.sid_of_extension(content) == "S-1-5-21-1-2-3-1104"


@given(st.binary(max_size=30))
def test_foreign_other_names(content: bytes):
    from cryptography import x509

    assert names.describe([x509.OtherName(x509.ObjectIdentifier(names.UPN), content)])[0].startswith(("UPN:", "otherName:"))


@pytest.mark.parametrize("dotted", ["1.3.6.1.4.1.311.20.2.3", "2.5.29.37.0", "2.999.1", "0.9.2342", "1.2.840.113549.1.7.2"])
def test_object_identifiers(dotted: str):
    assert der.dotted(der.read(der.oid(dotted))[1]) == dotted


@given(st.integers(-(2**70), 2**70))
def test_integers(value: int):
    assert int.from_bytes(der.read(der.integer(value))[1], "big", signed=True) == value


@given(st.binary(max_size=70000))
def test_elements(content: bytes):
    assert der.read(der.octet_string(content)) == (4, content, len(der.octet_string(content)))
