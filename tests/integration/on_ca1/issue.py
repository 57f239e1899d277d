# SPDX-License-Identifier: GPL-3.0-or-later
# mypy: ignore-errors
"""Runs on ca1, beside the service: submit requests to its authority. JSON in ([account, template] pairs), JSON out (certificates, PEM)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from lab.windows_ca.authority import Authority, SambaDirectory
from lab.windows_ca.authority.database import Database
from lab.windows_ca.authority.settings import Settings
from lab.windows_ca.machine import Machine


class Beside(Authority):
    """Reads what the service has read; publishes nothing and watches no clock."""

    def _resume(self) -> None:
        self._settings = Settings.read(self.machine, self.ca_key)
        self._database = Database(self.machine.folder / "certlog.sqlite")


def main() -> None:
    machine = Machine(Path("/var/lib/windows_ca"))
    keytab = Path("/etc/windows_ca/ca1.keytab")
    directory = SambaDirectory("dc1.corp.example", "CORP.EXAMPLE", "CORP", keytab=keytab, machine_account="CA1$", folder=Path("/tmp"))
    authority = Beside(machine, directory)
    key = rsa.generate_private_key(65537, 2048)
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    found = []
    for account, template in json.load(sys.stdin):
        der = request.public_bytes(serialization.Encoding.DER)
        answer = authority.submit(der, {"CertificateTemplate": template}, authority.identify(account))
        assert answer.status == "issued", answer.message
        found.append(x509.load_der_x509_certificate(answer.certificate).public_bytes(serialization.Encoding.PEM).decode())
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
