# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import hashlib

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.certificates import certificate
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import judge, load, load_one
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

pytest.importorskip("hypothesis", reason="property tests need hypothesis")

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certlogon.core.tests.unit import vectors
from ansible_collections.certlogon.core.tests.unit.certificates.samples import NOW, der, key, make, name, pem
from ansible_collections.certlogon.core.tests.unit.fuzzing import mutated

ROOT, OTHER = make(), make(subject=name("Other"), issuer=name("Other"), serial=7)
PRIVATE = key().private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
BUNDLE = b"Bag Attributes\n  friendlyName: x\n" + pem(ROOT) + PRIVATE + pem(OTHER)
SIGNED = pkcs7.serialize_certificates([ROOT, OTHER], serialization.Encoding.DER)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(der(ROOT), id="DER"),
        pytest.param(pem(ROOT), id="PEM"),
        pytest.param(pem(ROOT).decode(), id="text"),
        pytest.param(pem(ROOT).replace(b"\n", b"\r\n"), id="PEM with CRLF"),
        pytest.param(pem(ROOT).replace(b"CERTIFICATE", b"X509 CERTIFICATE"), id="PEM with an old label"),
        pytest.param(b"\xef\xbb\xbf" + pem(ROOT), id="PEM with a mark"),
        pytest.param(pem(ROOT).decode().encode("utf-16"), id="PEM in UTF-16"),
        pytest.param(base64.b64encode(der(ROOT)), id="base64"),
        pytest.param("\n" + base64.encodebytes(der(ROOT)).decode(), id="base64 in lines"),
        pytest.param(PRIVATE + pem(ROOT), id="with a private key"),
        pytest.param(
            b"-----BEGIN TRUSTED CERTIFICATE-----\n"
            + base64.b64encode(der(ROOT) + b"0\x0c0\n\6\x08+\6\1\5\5\7\3\1")
            + b"\n-----END TRUSTED CERTIFICATE-----\n",
            id="with trust settings",
        ),
    ],
)
def test_every_wrapping(data: bytes | str) -> None:
    assert load_one(data).der == der(ROOT)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(BUNDLE, id="bundle"),
        pytest.param(SIGNED, id="PKCS#7"),
        pytest.param(base64.b64encode(SIGNED).decode(), id="PKCS#7 in base64"),
        pytest.param(pkcs7.serialize_certificates([ROOT, OTHER], serialization.Encoding.PEM), id="PKCS#7 in PEM"),
    ],
)
def test_bundles(data: bytes | str) -> None:
    assert {found.der for found in load(data)} == {der(ROOT), der(OTHER)}
    with pytest.raises(FormatError, match=r"holds 2 certificates .*CN=Other.*; give them one by one"):
        load_one(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (" \n", "is empty"),
        (b"garbage", "neither PEM nor DER nor base64"),
        ("grüße", "neither PEM nor DER nor base64"),
        (der(ROOT)[:100], "is no certificate"),
        (der(ROOT) + b"x", "is no certificate"),
        (PRIVATE, "holds PEM of PRIVATE KEY, but no CERTIFICATE"),
        (b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----", "neither PEM nor DER nor base64"),
        (b"-----BEGIN CERTIFICATE-----\n\n-----END CERTIFICATE-----", "is no certificate"),
        (SIGNED[:60], "is no PKCS#7|is no certificate"),
        (base64.b64encode(b"not a certificate").decode(), "is no certificate"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # the data differs from run to run
)
def test_refuses(data: bytes | str, message: str) -> None:
    with pytest.raises(FormatError, match=message) as error:
        load(data)
    assert "BEGIN" not in str(error.value)


def test_what_a_certificate_says() -> None:
    found = load_one(der(make(kind="rsa2048", serial=11)))
    assert (found.subject, found.issuer) == ("CN=Corp\\, Root CA,DC=example",) * 2
    assert found.issuer_names == ((("0.9.2342.19200300.100.1.25", "example"),), (("2.5.4.3", "Corp, Root CA"),))
    assert (found.common_name, found.serial, found.version) == ("Corp, Root CA", 11, 3)
    assert (found.key_type, found.key_bits, found.signature_hash) == ("rsa", 2048, "sha256")
    assert (found.is_ca, found.signs_certificates, found.self_signed) == (True, True, True)
    assert found.thumbprint == hashlib.sha1(found.der).hexdigest().upper()
    assert found.sha256 == hashlib.sha256(found.der).hexdigest()
    pkcs1 = key("rsa2048").public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
    assert found.public_key == pkcs1
    assert found.ski == hashlib.sha1(pkcs1).digest()
    assert found.not_before.utcoffset() is not None
    assert str(found) == f"CN=Corp\\, Root CA,DC=example (thumbprint {found.thumbprint})"


@pytest.mark.parametrize(("kind", "expected"), [("ec", ("ec", 256, "sha256")), ("ed25519", ("ed25519", 256, None))])
def test_kinds_of_keys(kind: str, expected: tuple[str, int, str | None]) -> None:
    found = load_one(der(make(kind=kind)))
    assert (found.key_type, found.key_bits, found.signature_hash) == expected
    assert judge(found, NOW) == []


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({}, None, ""),
        ({"days": (-10, -1)}, "expired", "expired on 2026-05-31"),
        ({"days": (1, 10)}, "expired", "is not valid before 2026-06-02 00:00 UTC"),
        ({"ca": False}, "not_a_ca", "is not a CA certificate"),
        ({"ca": None}, "not_a_ca", "is not a CA certificate"),
        ({"usage": False}, "not_a_ca", "not allowed to sign certificates"),
        ({"usage": True}, None, ""),
        ({"kind": "rsa1024"}, "weak", "has an RSA key of 1024 bits, less than 2048"),
        ({"kind": "ec192"}, "weak", "has an EC key of 192 bits, less than 256"),
    ],
)
def test_judging(options: dict[str, object], kind: str | None, text: str) -> None:
    findings = judge(load_one(der(make(**options))), NOW)
    assert [finding.kind for finding in findings] == ([kind] if kind else [])
    assert text in "".join(map(str, findings))


def test_weak_signatures_count_except_of_roots() -> None:
    folder = vectors.folder("group-policy-certificates")
    roots = [load_one(path.read_bytes()) for path in folder.glob("root/*.cer")]
    others = [load_one(path.read_bytes()) for path in folder.glob("intermediate/*.cer")]
    assert {root.self_signed for root in roots} == {True}
    assert {root.signature_hash for root in roots} == {"sha1", "sha256"}
    assert not [finding for root in roots for finding in judge(root, root.not_before)]
    old = [found for found in others if found.signature_hash == "sha1"]
    assert old
    assert all("is signed with SHA1" in "".join(map(str, judge(found, found.not_before))) for found in old)


def test_a_certificate_of_the_same_name_is_not_self_signed() -> None:
    forged = make(serial=1)
    assert load_one(der(forged)).self_signed
    body = der(forged)
    assert not load_one(body[:-1] + bytes([body[-1] ^ 1])).self_signed


@pytest.mark.parametrize("serial", [1, (1 << 159) - 1])
def test_serial_numbers(serial: int) -> None:
    assert load_one(der(make(serial=serial))).serial == serial


def test_odd_serial_numbers_are_read_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    body = der(make(serial=1, kind="ed25519"))
    odd = body.replace(b"\2\1\1", b"\2\1\0", 1)
    assert odd != body
    assert load_one(odd).serial == 0
    assert not recwarn.list


def test_names_that_are_not_text() -> None:
    assert certificate._text(b"\1\2") == "#0102"


@given(st.binary(max_size=80) | mutated(st.sampled_from((der(ROOT), pem(ROOT), SIGNED, BUNDLE))))
def test_any_bytes_are_refused_or_read(data: bytes) -> None:
    try:
        found = load(data)
    except FormatError:
        return
    for one in found:
        judge(one, NOW)
        assert load_one(one.der) == one
