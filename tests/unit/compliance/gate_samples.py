# SPDX-License-Identifier: GPL-3.0-or-later
"""CAs and device certificates that are valid by the clock of the judges' tests."""

from __future__ import annotations

from datetime import datetime, timezone
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ansible_collections.certlogon.core.tests.unit.compliance.judged import NOW
from ansible_collections.certlogon.core.tests.unit.connect_secure.authorities import PEM, Authority, certificate_builder, named

SHIFT = (NOW - datetime.now(timezone.utc)).total_seconds() / 86400


def days(first: float, last: float) -> tuple[float, float]:
    """From the tests' own time to what certificates are made by."""
    return first + SHIFT, last + SHIFT


@cache
def authority(name: str = "Corp CA", parent: Authority | None = None, life: tuple[float, float] = (-30, 3000)) -> Authority:
    return Authority(name, parent, days=days(*life))


@cache
def rsa_key(bits: int) -> Any:
    return rsa.generate_private_key(65537, bits)


@cache
def device_pem(
    *,
    life: tuple[float, float] = (-100, 300),
    bits: int = 2048,
    name: str = "vpn.corp.example",
    curve: bool = False,
    issuer: str = "",
) -> str:
    key = ec.generate_private_key(ec.SECP256R1()) if curve else rsa_key(bits)
    signer = authority(issuer) if issuer else authority()
    builder = certificate_builder(named(name), signer.certificate.subject, key.public_key(), days(*life), "")
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
    return builder.sign(signer.key, hashes.SHA256()).public_bytes(PEM).decode()


def sha256(pem: str) -> str:
    return x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256()).hex()
