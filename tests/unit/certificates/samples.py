# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates made for the tests."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

NOW = datetime(2026, 6, 1, tzinfo=timezone.utc)
SUBJECT = x509.Name([x509.NameAttribute(NameOID.DOMAIN_COMPONENT, "example"), x509.NameAttribute(NameOID.COMMON_NAME, "Corp, Root CA")])


@lru_cache
def key(kind: str = "ec") -> Any:
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind.removeprefix("rsa")))
    return ec.generate_private_key(ec.SECP192R1() if kind == "ec192" else ec.SECP256R1())


def make(
    *,
    kind: str = "ec",
    issuer: x509.Name = SUBJECT,
    subject: x509.Name = SUBJECT,
    serial: int = 0x2B0000000011AC,
    days: tuple[int, int] = (-10, 10),
    ca: bool | None = True,
    ski: bool = True,
    usage: bool | None = None,
) -> x509.Certificate:
    """A certificate that signs itself unless the issuer says otherwise."""
    builder = x509.CertificateBuilder(issuer, subject, key(kind).public_key(), serial, NOW + timedelta(days[0]), NOW + timedelta(days[1]))
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, None), True)
    if ski:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key(kind).public_key()), False)
    if usage is not None:
        builder = builder.add_extension(x509.KeyUsage(True, False, False, False, False, usage, False, False, False), True)
    return builder.sign(key(kind), None if kind == "ed25519" else hashes.SHA256())


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
