# SPDX-License-Identifier: GPL-3.0-or-later
"""The quick reader of certificates, beside cryptography's."""

from __future__ import annotations

import contextlib
import datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certlogon.core.plugins.module_utils.certificates import alternative_names
from ansible_collections.certlogon.core.plugins.module_utils.certificates.logon_certificate import LOGON_PURPOSES, read
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

RSA = rsa.generate_private_key(65537, 1024)
KEYS: dict[str, Any] = {
    "rsa": RSA,
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "p521": ec.generate_private_key(ec.SECP521R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}
SID = "S-1-5-21-1-2-3-1104"
NOW = datetime.datetime(2026, 11, 23, tzinfo=datetime.timezone.utc)


def certificate(
    key: str = "p256", *, extensions: Any = (), algorithm: Any = None, subject: str = "Alice", years: int = 1, **sign: Any
) -> bytes:
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Issuing CA")])
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)])
    end = NOW.replace(year=NOW.year + years)
    builder = x509.CertificateBuilder(issuer, name, KEYS[key].public_key(), 0x00AB12CD34, NOW, end)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.KeyUsage))
    default = None if key == "ed25519" else hashes.SHA256()
    return builder.sign(KEYS[key], algorithm or default, **sign).public_bytes(Encoding.DER)


def security(sid: str) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(alternative_names.SID_EXTENSION), alternative_names.sid_extension(sid))


def names(*texts: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([alternative_names.general_name(text) for text in texts])


USAGE = x509.KeyUsage(True, False, True, False, False, False, False, False, False)
LOGON = x509.ExtendedKeyUsage([x509.ObjectIdentifier(each) for each in list(LOGON_PURPOSES)[:2]])
MAIL = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION])


@pytest.mark.parametrize("key", KEYS)
def test_agrees_with_cryptography(key: str) -> None:
    identifier = x509.SubjectKeyIdentifier.from_public_key(KEYS[key].public_key())
    issuer = x509.AuthorityKeyIdentifier(b"\x07" * 20, None, None)
    everything = [USAGE, LOGON, names("UPN:alice@corp.example", "DNS:a.corp.example", f"SID:{SID}"), identifier, issuer, security(SID)]
    der = certificate(key, extensions=everything, years=40)
    ours, theirs = read(der), x509.load_der_x509_certificate(der)
    assert ours.issuer == theirs.issuer.public_bytes()
    assert int.from_bytes(ours.serial, "big", signed=True) == theirs.serial_number
    assert ours.serial_number == f"{theirs.serial_number:x}"
    assert ours.not_after == theirs.not_valid_after_utc.strftime("%Y%m%d%H%M%SZ").encode()
    assert ours.key_bits == getattr(theirs.public_key(), "key_size", 0)
    assert ours.key == {"rsa": "rsa", "ed25519": "1.3.101.112"}.get(key, "ec")
    assert ours.signature_hash == (theirs.signature_hash_algorithm.name if theirs.signature_hash_algorithm else None)
    assert (ours.ski, ours.aki) == (identifier.digest, b"\x07" * 20)
    assert (ours.upns, ours.sid_names, ours.sid) == (("alice@corp.example",), (SID,), SID)
    assert ours.logs_on
    assert ours.issuer_name == theirs.issuer.rfc4514_string() == "CN=Issuing CA"


@pytest.mark.parametrize("algorithm", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
@pytest.mark.parametrize("pss", [False, True])
def test_hash_of_rsa_signatures(algorithm: Any, pss: bool) -> None:
    if algorithm.name == "sha512" and pss:
        pytest.skip("too long for a key of 1024 bits")
    options = {"rsa_padding": padding.PSS(padding.MGF1(algorithm), algorithm.digest_size)} if pss else {}
    der = certificate("rsa", algorithm=algorithm, **options)
    assert read(der).signature_hash == x509.load_der_x509_certificate(der).signature_hash_algorithm.name == algorithm.name


def test_sha1() -> None:
    """The library signs with it no longer; of the object identifier, one byte tells."""
    prefix = bytes.fromhex("06092a864886f70d0101")
    der = certificate("rsa").replace(prefix + b"\x0b", prefix + b"\x05")
    assert read(der).signature_hash == x509.load_der_x509_certificate(der).signature_hash_algorithm.name == "sha1"


@pytest.mark.parametrize(
    ("extensions", "expected"),
    [([], True), ([LOGON], True), ([MAIL], False), ([x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])], True)],
)
def test_logs_on(extensions: Any, expected: bool) -> None:
    assert read(certificate(extensions=extensions)).logs_on is expected


def test_application_policies_count() -> None:
    policy = x509.PolicyInformation(x509.ObjectIdentifier("1.3.6.1.5.5.7.3.2"), None)
    content = x509.CertificatePolicies([policy]).public_bytes()
    policies = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.311.21.10"), content)
    assert read(certificate(extensions=[MAIL, policies])).logs_on


def test_quoted_extension_is_none() -> None:
    """The bytes of a security extension inside a name that the applicant chose."""
    quoted = x509.OtherName(x509.ObjectIdentifier("1.2.3.4"), b"\x04\x42" + (bytes(security(SID).value) + b"\x00" * 80)[:66])
    found = read(certificate(extensions=[x509.SubjectAlternativeName([quoted])]))
    assert (found.sid, found.sid_names) == ("", ())


@pytest.mark.parametrize("content", [b"", b"\x30\x00", alternative_names.sid_extension("everybody")])
def test_security_extension_without_sid(content: bytes) -> None:
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(alternative_names.SID_EXTENSION), content)
    try:
        assert read(certificate(extensions=[extension])).sid == ""
    except FormatError:
        assert content == b""


WHOLE = certificate(extensions=[USAGE, LOGON, names("UPN:alice@corp.example"), security(SID)])


@given(st.data())
def test_any_bytes(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(WHOLE) - 1))
    changed = WHOLE[:at] + data.draw(st.binary(max_size=4)) + WHOLE[at + data.draw(st.integers(0, 4)) :]
    for der in (changed, WHOLE[:at]):
        with contextlib.suppress(FormatError):
            read(der)


@given(st.binary(max_size=200))
def test_noise(data: bytes) -> None:
    with contextlib.suppress(FormatError):
        read(data)
