# SPDX-License-Identifier: GPL-3.0-or-later
"""A CA of the script `adcs_crl_state`'s answers: what it says, and what a session that plays it does."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError

NOW = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
KEY = ec.generate_private_key(ec.SECP256R1())
ISSUER = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Corp CA")])
LDAP = "ldap:///CN=%7%8,CN=%2,CN=CDP,CN=Public Key Services,CN=Services,%6%10"
HTTP = "http://%1/CertEnroll/%3%8%9.crl"
REASONS = {name: getattr(x509.ReasonFlags, name) for name in ("key_compromise", "superseded", "certificate_hold", "remove_from_crl")}


def make_crl(number: int, entries: Mapping[int, str] | None = None, *, base: int | None = None, days: float = 7) -> bytes:
    """DER; `entries`: serial number -> reason; `base` makes it a delta."""
    builder = (
        x509.CertificateRevocationListBuilder().issuer_name(ISSUER).last_update(NOW - timedelta(days=2 if days < 0 else 0, minutes=10))
    )
    builder = builder.next_update(NOW + timedelta(days=days)).add_extension(x509.CRLNumber(number), False)
    if base is not None:
        builder = builder.add_extension(x509.DeltaCRLIndicator(base), True)
    for serial, reason in (entries or {}).items():
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW)
        if reason != "unspecified":
            entry = entry.add_extension(x509.CRLReason(REASONS[reason]), False)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def row(serial: str, requester: str = "CORP\\alice", reason: int | None = None, days: float = 100) -> dict[str, Any]:
    """A certificate of the database as the script returns it."""
    return {
        "SerialNumber": serial,
        "Request.RequesterName": requester,
        "Request.Disposition": 20 if reason is None else 21,
        "Request.RevokedReason": reason,
        "CommonName": requester.rpartition("\\")[2],
        "NotAfter": (NOW + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z",
    }


def answer(base: bytes | None = None, delta: bytes | None = None, rows: Iterable[dict[str, Any]] = (), **changes: Any) -> dict[str, Any]:
    """What the script returns."""
    return {
        "now": NOW.strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z",
        "active": "Corp CA",
        "server": "ca1.corp.example",
        "common_name": "Corp CA",
        "configuration_dn": "CN=Configuration,DC=corp,DC=example",
        "places": [r"65:C:\Windows\system32\CertSrv\CertEnroll\%3%8%9.crl", f"79:{LDAP}", f"6:{HTTP}", "0:file://%1/%3%8%9.crl"],
        "delta_units": 1 if delta else 0,
        "running": True,
        "lists": [
            {
                "index": 0,
                "base": base64.b64encode(base or make_crl(3)).decode(),
                "delta": base64.b64encode(delta).decode() if delta else None,
            }
        ],
        "rows": list(rows),
        **changes,
    }


class FakeSession:
    """Answers `adcs_crl_state` with what it is given, one answer a call (the last one again and again), and writes down the rest."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self._answers = list(answers)
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.asked: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self.fails: dict[str, str] = {}

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def run(self, script: str, parameters: Mapping[str, Any] | None = None, secrets: Any = None, **_: Any) -> dict[str, Any]:
        if script == "adcs_crl_state":
            self.asked.append(dict(parameters or {}))
            return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        self.calls.append((script, {name: value for name, value in (parameters or {}).items() if name != "Config"}))
        if script in self.fails:
            raise UserError(self.fails[script])
        return {"published": 3}
