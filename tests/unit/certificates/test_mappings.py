# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.certificates import mappings
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import load_one
from ansible_collections.certlogon.core.plugins.module_utils.certificates.mappings import Mapping
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError

pytest.importorskip("hypothesis", reason="property tests need hypothesis")

from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certlogon.core.tests.unit.certificates.samples import der, key, make

ISSUER = x509.Name(
    [
        x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COUNTRY_NAME, "US")]),
        x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, 'the "big" one')]),
        x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Corp, Inc.")]),
        x509.RelativeDistinguishedName(
            [x509.NameAttribute(NameOID.COMMON_NAME, "JANE"), x509.NameAttribute(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), "47")]
        ),
        x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.EMAIL_ADDRESS, "ca@corp.example", _type=None)]),
    ]
)
SID = "S-1-5-21-1004336348-1177238915-682003330-1103"


def test_issuer_and_serial_number() -> None:
    # The example of KB5014754: CN=CONTOSO-DC-CA, DC=contoso, DC=com with serial number 2B0000000011AC0000000012.
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.DOMAIN_COMPONENT, "com"),
            x509.NameAttribute(NameOID.DOMAIN_COMPONENT, "contoso"),
            x509.NameAttribute(NameOID.COMMON_NAME, "CONTOSO-DC-CA"),
        ]
    )
    found = load_one(der(make(issuer=name, serial=0x2B0000000011AC0000000012)))
    assert mappings.issuer_serial(found) == "X509:<I>DC=com,DC=contoso,CN=CONTOSO-DC-CA<SR>1200000000ac11000000002b"


def test_names_as_windows_writes_them() -> None:
    found = load_one(der(make(issuer=ISSUER)))
    expected = 'C=US,S="the ""big"" one",O="Corp, Inc.",CN=JANE OID.1.3.6.1.4.1.99999.1=47,E=ca@corp.example'
    assert mappings.issuer_sid(found, SID) == f"X509:<I>{expected}<SID>{SID}"


@pytest.mark.parametrize(
    ("serial", "text"), [(1, "01"), (0x80, "8000"), (0x0102, "0201"), (0, "00"), (-1, "ff"), (-128, "80"), (-129, "7fff")]
)
def test_serial_numbers_are_reversed(serial: int, text: str) -> None:
    assert mappings._serial(serial)[::-1].hex() == text


def test_key_identifier_and_public_key() -> None:
    found = load_one(der(make()))
    digest = x509.SubjectKeyIdentifier.from_public_key(key("ec").public_key()).digest.hex()
    assert mappings.ski(found) == f"X509:<SKI>{digest}"
    assert mappings.public_key(found) == f"X509:<SHA1-PUKEY>{digest}" == f"X509:<SHA1-PUKEY>{hashlib.sha1(found.public_key).hexdigest()}"
    with pytest.raises(UserError, match="has no subject key identifier; use the mapping by issuer"):
        mappings.ski(load_one(der(make(ski=False))))
    with pytest.raises(UserError, match="'alice' is no SID"):
        mappings.issuer_sid(found, "alice")


@pytest.mark.parametrize(
    ("value", "kind", "values", "strong"),
    [
        ("X509:<I>DC=x,CN=y<SR>0a1B", "issuer_serial", ("DC=x,CN=y", "0a1B"), True),
        ("x509:<ski>00ff", "ski", ("00ff",), True),
        ("X509:<SHA1-PUKEY>" + "ab" * 20, "sha1_public_key", ("ab" * 20,), True),
        (f"X509:<I>CN=y<SID>{SID}", "issuer_sid", ("CN=y", SID), True),
        ("X509:<I>CN=y<S>CN=x", "issuer_subject", ("CN=y", "CN=x"), False),
        ("X509:<S>CN=x", "subject", ("CN=x",), False),
        ("X509: <RFC822>a@b.example", "rfc822", ("a@b.example",), False),
    ],
)
def test_classify(value: str, kind: str, values: tuple[str, ...], strong: bool) -> None:
    assert mappings.classify(value) == Mapping(kind, values)
    assert mappings.classify(value).strong is strong


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "is no certificate mapping"),
        ("Kerberos:alice@CORP.EXAMPLE", "is no certificate mapping"),
        ("X509:", "is no certificate mapping"),
        ("X509:CN=x", "is no certificate mapping"),
        ("X509:<SR>01<I>CN=x", "is no certificate mapping"),
        ("X509:<I>CN=x", "is no certificate mapping"),
        ("X509:<PN>alice@corp.example", "is no certificate mapping"),
        ("X509:<I><SR>01", "nothing after <I>"),
        ("X509:<SKI>", "nothing after <SKI>"),
        ("X509:<SKI>abc", "'abc' after <SKI> is no sequence of bytes in hex"),
        ("X509:<I>CN=x<SR>0g", "is no sequence of bytes in hex"),
        ("X509:<SHA1-PUKEY>abcd", "a SHA-1 has 40 digits, not 4"),
        ("X509:<I>CN=x<SID>alice", "'alice' is no SID"),
    ],
)
def test_refuses(value: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        mappings.classify(value)


@given(
    st.lists(
        st.sampled_from(("X509", ":", "<I>", "<S>", "<SR>", "<SKI>", "<SID>", "CN=x", "00", SID, "<", ">", "ü")) | st.text(max_size=3)
    ).map("".join)
)
def test_any_text_is_refused_or_classified(value: str) -> None:
    try:
        found = mappings.classify(value)
    except FormatError:
        return
    assert found.values
    assert all(found.values)
