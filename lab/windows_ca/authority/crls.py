# SPDX-License-Identifier: GPL-3.0-or-later
"""Base and delta CRLs as AD CS makes them: when they end, what they hold, which extensions they carry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.hashes import HashAlgorithm

from lab.windows_ca.authority import extensions
from lab.windows_ca.authority.settings import Period, Settings

REASONS = {
    1: x509.ReasonFlags.key_compromise,
    2: x509.ReasonFlags.ca_compromise,
    3: x509.ReasonFlags.affiliation_changed,
    4: x509.ReasonFlags.superseded,
    5: x509.ReasonFlags.cessation_of_operation,
    6: x509.ReasonFlags.certificate_hold,
    8: x509.ReasonFlags.remove_from_crl,
}
HOLD, REMOVE = 6, 8
LONGEST_DEFAULT_OVERLAP = timedelta(hours=12)


@dataclass(frozen=True)
class Times:
    this_update: datetime
    next_publish: datetime
    next_update: datetime


def times(settings: Settings, now: datetime, *, delta: bool) -> Times:
    """When it begins, is followed by the next one, and ends.

    Unless the registry names one, the overlap is a tenth of the period (a delta's: the period), 12 hours at most.
    """
    now = now.replace(microsecond=0)
    period, overlap = (settings.delta, settings.delta_overlap) if delta else (settings.crl, settings.crl_overlap)
    following = period.after(now)
    return Times(now - settings.skew, following, end(following, now, overlap, delta=delta) + settings.skew)


def end(following: datetime, now: datetime, overlap: Period, *, delta: bool) -> datetime:
    length = following - now
    if overlap.units:
        return min(overlap.after(following), following + length)
    return following + min(length if delta else length / 10, LONGEST_DEFAULT_OVERLAP)


def revoked(rows: Iterable[Mapping[str, Any]], now: datetime, *, since: datetime | None = None) -> list[tuple[int, datetime, int]]:
    """(serial, moment, reason) of what belongs on a CRL now: nothing that has expired; for a delta, what has changed since its base."""
    found = []
    for row in rows:
        if row["not_after"] < now:
            continue
        serial = int(row["serial_number"], 16)
        if row["revoked_when"] is not None:
            if since is None or row["revoked_when"] >= since:
                found.append((serial, row["revoked_effective_when"], row["revoked_reason"]))
        elif since is not None and row["released_when"] is not None and row["released_when"] >= since:
            found.append((serial, row["released_when"], REMOVE))
    return found


def build(
    *,
    issuer: x509.Certificate,
    key: CertificateIssuerPrivateKeyTypes,
    algorithm: HashAlgorithm,
    when: Times,
    number: int,
    base_number: int | None,
    entries: Iterable[tuple[int, datetime, int]],
    version: tuple[int, int],
    freshest: list[str],
    locations: list[str],
    issuing_point: list[str],
    disabled: frozenset[str] = frozenset(),
) -> x509.CertificateRevocationList:
    """`base_number` makes a delta CRL; `version`: index of the CA's certificate and of its key."""
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.subject)
    builder = builder.last_update(when.this_update).next_update(when.next_update)
    carried: list[tuple[x509.ExtensionType, bool]] = [
        (x509.AuthorityKeyIdentifier(identifier.digest, None, None), False),
        (extensions.version(*version), False),
        (x509.CRLNumber(number), False),
        (extensions.next_publish(when.next_publish), False),
    ]
    if base_number is not None:
        carried.append((x509.DeltaCRLIndicator(base_number), True))
    if freshest and base_number is None:
        carried.append((x509.FreshestCRL(extensions.points(freshest)), False))
    if issuing_point:
        names = [x509.UniformResourceIdentifier(url) for url in issuing_point]
        carried.append((x509.IssuingDistributionPoint(names, None, False, False, None, False, False), True))
    if locations:
        points = x509.CRLDistributionPoints(extensions.points(locations)).public_bytes()
        carried.append((extensions.raw(extensions.PUBLISHED_CRL_LOCATIONS, points), False))
    for value, critical in carried:
        if value.oid.dotted_string not in disabled:
            builder = builder.add_extension(value, critical)
    for serial, moment, reason in entries:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(moment)
        if reason in REASONS:
            entry = entry.add_extension(x509.CRLReason(REASONS[reason]), False)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(key, algorithm)  # type: ignore[arg-type]
