# SPDX-License-Identifier: GPL-3.0-or-later
"""An authority of a few lines, for certificates on cards."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12

DER, PEM = serialization.Encoding.DER, serialization.Encoding.PEM
NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) - datetime.timedelta(minutes=5)
ALICE = "alice@corp.example"


class Authority:
    def __init__(self, name: str = "Corp Issuing CA") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(self.name, self.key.public_key(), [(x509.BasicConstraints(True, None), True)])

    def _sign(self, subject: x509.Name, key: Any, extensions: Sequence[tuple[Any, bool]]) -> x509.Certificate:
        builder = x509.CertificateBuilder().issuer_name(self.name).subject_name(subject).public_key(key)
        builder = (
            builder.serial_number(x509.random_serial_number()).not_valid_before(NOW).not_valid_after(NOW + datetime.timedelta(days=90))
        )
        for value, critical in extensions:
            builder = builder.add_extension(value, critical)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, key: Any, upn: str = ALICE) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, upn.split("@")[0])])
        name = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), bytes([12, len(upn)]) + upn.encode())
        return self._sign(subject, key, [(x509.SubjectAlternativeName([name]), False)])

    def pfx(self, path: Path, key: Any, password: str = "correct horse", upn: str = ALICE) -> Path:
        encryption = serialization.BestAvailableEncryption(password.encode())
        path.write_bytes(
            pkcs12.serialize_key_and_certificates(b"alice", key, self.issue(key.public_key(), upn), [self.certificate], encryption)
        )
        return path


def pem(*certificates: x509.Certificate) -> str:
    return b"".join(one.public_bytes(PEM) for one in certificates).decode()
