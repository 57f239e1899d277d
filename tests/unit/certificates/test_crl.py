# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from datetime import timedelta

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.certificates import crl
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

pytest.importorskip("hypothesis", reason="property tests need hypothesis")

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certlogon.core.tests.unit.certificates.samples import NOW, SUBJECT, key, make, pem
from ansible_collections.certlogon.core.tests.unit.fuzzing import mutated


def made(number: int | None = 5, delta: int | None = None, serials: tuple[int, ...] = (3, 4)) -> x509.CertificateRevocationList:
    builder = x509.CertificateRevocationListBuilder(SUBJECT, NOW, NOW + timedelta(7))
    for serial in serials:
        builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder(serial, NOW).build())
    if number is not None:
        builder = builder.add_extension(x509.CRLNumber(number), False)
    if delta is not None:
        builder = builder.add_extension(x509.DeltaCRLIndicator(delta), True)
    return builder.sign(key(), hashes.SHA256())


DER = made().public_bytes(serialization.Encoding.DER)
PEM = made().public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("data", [DER, PEM, PEM.decode()])
def test_reads(data: bytes | str) -> None:
    found = crl.load(data)
    assert (found.issuer, found.number, found.is_delta, found.revoked) == ("CN=Corp\\, Root CA,DC=example", 5, False, 2)
    assert (found.this_update, found.next_update) == (NOW, NOW + timedelta(7))
    assert len(found.sha256) == 64


def test_delta_and_missing_number() -> None:
    assert crl.load(made(delta=4).public_bytes(serialization.Encoding.DER)).is_delta
    assert crl.load(made(number=None, serials=()).public_bytes(serialization.Encoding.DER)).number is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"?", "neither PEM nor DER nor base64"),
        (DER[:40], "is no CRL"),
        (pem(make()), "holds PEM of CERTIFICATE, but no X509 CRL"),
        (PEM + PEM, "holds 2 CRLs"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # the data differs from run to run
)
def test_refuses(data: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        crl.load(data)


@given(st.binary(max_size=60) | mutated(st.sampled_from((DER, PEM))))
def test_any_bytes_are_refused_or_read(data: bytes) -> None:
    try:
        found = crl.load(data)
    except FormatError:
        return
    assert crl.load(found.der) == found
