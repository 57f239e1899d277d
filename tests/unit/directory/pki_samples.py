# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates and CRLs made on the spot, good and bad."""

from __future__ import annotations

import datetime
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.timezone.utc)
DAY = datetime.timedelta(days=1)


@cache
def key(name: str = "", weak: bool = False) -> Any:
    return rsa.generate_private_key(65537, 1024) if weak else ec.generate_private_key(ec.SECP256R1())


def name(common_name: str | None) -> x509.Name:
    parts = [x509.NameAttribute(x509.NameOID.DOMAIN_COMPONENT, "example")]
    return x509.Name([*parts, *([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)] if common_name else [])])


@cache
def certificate(
    common_name: str | None,
    issuer: str | None = None,
    *,
    ca: bool = True,
    weak: bool = False,
    expired: bool = False,
    future: bool = False,
    generation: int = 0,
    with_ski: bool = True,
) -> bytes:
    """DER. `generation` tells certificates of one name apart."""
    start = NOW + 10 * DAY if future else NOW - 400 * DAY + generation * DAY
    own = key(f"{common_name}{generation}", weak)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(common_name))
        .issuer_name(name(issuer or common_name))
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(NOW - DAY if expired else NOW + 4000 * DAY)
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
    )
    if with_ski:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
    signer = key(f"{issuer}0", False) if issuer else own
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@cache
def crl(issuer: str, number: int, *, delta_of: int | None = None, expired: bool = False) -> bytes:
    """DER."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(name(issuer))
        .last_update(NOW - 50 * DAY + number * DAY)
        .next_update(NOW - DAY if expired else NOW + 4000 * DAY)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    if delta_of is not None:
        builder = builder.add_extension(x509.DeltaCRLIndicator(delta_of), critical=True)
    return builder.sign(key(f"{issuer}0"), hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def pem(der: bytes) -> str:
    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM).decode()


def crl_pem(der: bytes) -> str:
    return x509.load_der_x509_crl(der).public_bytes(serialization.Encoding.PEM).decode()
