# SPDX-License-Identifier: GPL-3.0-or-later
"""What the stand-in authority reads from others: requests, descriptors, names. Whatever the bytes, it answers with AD CS's errors."""

from __future__ import annotations

import contextlib
import os
from datetime import datetime, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certlogon.core.tests.unit.fuzzing import mutated
from lab.windows_ca.authority import CertSrvError, capolicy, descriptors, names, requests
from lab.windows_ca.authority.settings import Period

DOMAIN_SID = "S-1-5-21-1-2-3"
REQUEST = (
    x509.CertificateSigningRequestBuilder()
    .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")]))
    .add_extension(x509.SubjectAlternativeName([x509.DNSName("x.corp.example")]), False)
    .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    .public_bytes(serialization.Encoding.DER)
)


@given(mutated(st.just(REQUEST)))
def test_damaged_requests(content: bytes) -> None:
    try:
        requests.parse(content)
    except CertSrvError as error:
        assert error.hresult in (0x8009310B, 0x80090006, 0x80070032)


@pytest.mark.parametrize("content", [b"", b"0", b"0\x80", b"-----BEGIN CERTIFICATE REQUEST-----\n-----END", os.urandom(200)])
def test_what_is_no_request(content: bytes) -> None:
    with pytest.raises(CertSrvError, match="8009310b"):
        requests.parse(content)


SDDL = "O:EAG:EAD:PAI(A;;LCRPLORC;;;AU)(OA;;RPWPCR;0e10c968-78fb-11d2-90d4-00c04f79dc55;;DA)(A;CIIO;0xf01ff;;;S-1-5-32-544)"


def test_descriptors_there_and_back() -> None:
    found = descriptors.from_sddl(SDDL, DOMAIN_SID)
    again = descriptors.parse(found.to_bytes())
    assert again == found
    assert again.owner == f"{DOMAIN_SID}-519" and [ace.mask for ace in again.aces] == [0x20094, 0x130, 0xF01FF]
    assert again.control == 0x8000 | 0x4 | 0x400 | 0x1000


def test_descriptors_by_another_library() -> None:
    winacl = pytest.importorskip("winacl.dtyp.security_descriptor", reason="the library winacl is not installed")
    found = winacl.SECURITY_DESCRIPTOR.from_bytes(descriptors.from_sddl(SDDL, DOMAIN_SID).to_bytes())
    assert str(found.Owner) == f"{DOMAIN_SID}-519"
    assert [(str(ace.Sid), int(ace.Mask)) for ace in found.Dacl.aces] == [
        ("S-1-5-11", 0x20094),
        (f"{DOMAIN_SID}-512", 0x130),
        ("S-1-5-32-544", 0xF01FF),
    ]


@given(mutated(st.just(descriptors.from_sddl(SDDL, DOMAIN_SID).to_bytes())))
def test_damaged_descriptors(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        descriptors.parse(content)


@pytest.mark.parametrize(
    ("text", "url", "delta", "suffix"),
    [
        ("http://%1/CertEnroll/%3%8%9.crl", "http://ca1.corp.example/CertEnroll/Corp%20CA(1)+.crl", True, "(1)"),
        ("http://%1/CertEnroll/%3%8%9.crl", "http://ca1.corp.example/CertEnroll/Corp%20CA.crl", False, ""),
        (
            "ldap:///CN=%7%8,CN=%2,%6%10",
            "ldap:///CN=Corp%20CA,CN=ca1,CN=Configuration?certificateRevocationList?base?objectClass=cRLDistributionPoint",
            False,
            "",
        ),
        ("ldap:///CN=%7,%6%11", "ldap:///CN=Corp%20CA,CN=Configuration?cACertificate?base?objectClass=certificationAuthority", False, ""),
        (r"C:\x\%3%8%9.crl", r"C:\x\Corp CA+.crl", True, ""),
    ],
)
def test_tokens_of_addresses(text: str, url: str, delta: bool, suffix: str) -> None:
    tokens = names.Tokens("ca1.corp.example", "ca1", "Corp CA", "CN=Configuration", crl_suffix=suffix, delta=delta)
    assert tokens.expand(text, for_url=True) == url


@pytest.mark.parametrize(
    ("name", "sanitized"), [("Corp CA", "Corp CA"), ("Größe", "Gr!00f6!00dfe"), ("a/b,c", "a!002fb!002cc"), ("A-B_1.", "A-B_1.")]
)
def test_names_of_cas(name: str, sanitized: str) -> None:
    assert names.sanitize(name) == sanitized


@pytest.mark.parametrize(
    ("dn", "parts"),
    [
        ("CN=Alice,DC=corp", [("DC", "corp"), ("CN", "Alice")]),
        (r"CN=O\'Brien\, Olivia,OU=x", [("OU", "x"), ("CN", "O'Brien, Olivia")]),
        (r"CN=Dvo\C5\99\C3\A1k,OU=x", [("OU", "x"), ("CN", "Dvořák")]),
    ],
)
def test_directory_paths(dn: str, parts: list[tuple[str, str]]) -> None:
    assert names.directory_path(dn) == parts


@pytest.mark.parametrize(
    ("units", "name", "after"),
    [
        (1, "Weeks", "2026-02-07"),
        (1, "Months", "2026-02-28"),
        (1, "years", "2027-01-31"),
        (37, "Months", "2029-02-28"),
        (12, "Hours", "2026-01-31"),
    ],
)
def test_periods(units: int, name: str, after: str) -> None:
    moment = datetime(2026, 1, 31, 1, tzinfo=timezone.utc)
    assert Period(units, name).after(moment).date().isoformat() == after


def test_an_absent_capolicy_asks_for_nothing() -> None:
    assert capolicy.parse(None) == capolicy.CAPolicy()
