# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates that benchmarks configure; made anew where they are not there."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, pkcs12

DAYS = 300


def client_ca(file: Path) -> Path:
    """A CA that signs users' certificates, as PEM."""
    if not file.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        file.write_bytes(_certificate("Benchmark Users CA", key, ca=True).public_bytes(Encoding.PEM))
    return file


def server_pfx(file: Path, name: str, passphrase: str) -> Path:
    """A server's certificate for `name`, signed by itself, with its key."""
    if not file.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        made = _certificate(name, key, ca=False)
        file.touch(mode=0o600)
        file.write_bytes(
            pkcs12.serialize_key_and_certificates(name.encode(), key, made, None, BestAvailableEncryption(passphrase.encode()))
        )
    return file


def _certificate(name: str, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
    made = made.not_valid_after(now + datetime.timedelta(days=DAYS)).add_extension(x509.BasicConstraints(ca, None), True)
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False
    )
    made = made.add_extension(x509.KeyUsage(digital_signature=True, key_cert_sign=ca, crl_sign=ca, **usage), True)
    if not ca:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
        made = made.add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), False)
    return made.sign(key, hashes.SHA256())
