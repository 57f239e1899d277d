# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.certificates import crl
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

pytest.importorskip("hypothesis", reason="property tests need hypothesis")

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certlogon.core.tests.unit.certificates.samples import NOW, SUBJECT, key, make, name, pem
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


# ---- judging


def authority(name: x509.Name = SUBJECT, kind: str = "ec") -> x509.Certificate:
    return make(subject=name, issuer=name, kind=kind)


def listed(issuer_kind: str = "ec", days: tuple[float, float] = (-1, 7), **extensions: x509.ExtensionType) -> crl.Crl:
    builder = x509.CertificateRevocationListBuilder(SUBJECT, NOW + timedelta(days[0]), NOW + timedelta(days[1]))
    builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder(7, NOW).build())
    for extension in extensions.values():
        builder = builder.add_extension(extension, True)
    signed = builder.sign(key(issuer_kind), hashes.SHA256())
    return crl.load(signed.public_bytes(serialization.Encoding.DER))


def point(**options: bool) -> x509.IssuingDistributionPoint:
    flags = {
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return x509.IssuingDistributionPoint(None, None, only_some_reasons=None, **{**flags, **options})


AKI = x509.AuthorityKeyIdentifier.from_issuer_public_key
DAY = timedelta(1)


@pytest.mark.parametrize(
    ("found", "kinds", "message"),
    [
        (listed(), [], ""),
        (listed(scope=point(only_contains_user_certs=True)), [], ""),
        (listed("rsa2048"), ["foreign"], "was not made by the key of"),
        (listed("rsa2048", aki=AKI(key("rsa2048").public_key())), ["foreign"], "another CA of the name"),
        (listed(days=(-9, -1)), ["expired"], "publish it anew"),
        (listed(days=(1, 2)), ["not_yet_valid"], "set the clock"),
        (listed(days=(-1, 0.5)), ["ending"], "in 12.0 hours, and the next download is up to 24 hours away"),
        (listed(delta=x509.DeltaCRLIndicator(1)), ["delta"], "address of the base CRL"),
        (listed(scope=point(only_contains_ca_certs=True)), ["partial"], "CA certificates only"),
        (listed(scope=point(indirect_crl=True)), ["partial"], "indirect"),
        (listed("rsa2048", days=(-9, -1)), ["foreign", "expired"], ""),
    ],
)
def test_judges(found: crl.Crl, kinds: list[str], message: str) -> None:
    findings = crl.judge(found, authority(), NOW, DAY)
    assert [one.kind for one in findings] == kinds
    assert message in "; ".join(map(str, findings))


def test_judges_the_issuer_by_name_and_key() -> None:
    assert [one.kind for one in crl.judge(listed(), authority(name("Other CA")), NOW)] == ["foreign"]
    assert crl.judge(listed(), authority(), NOW) == []
    assert [one.kind for one in crl.judge(listed(), authority(kind="rsa2048"), NOW)] == ["foreign"]


def test_finds_serials_and_delta_addresses() -> None:
    uri = x509.UniformResourceIdentifier("http://ca1/ca+.crl")
    found = listed(freshest=x509.FreshestCRL([x509.DistributionPoint([uri], None, None, None)]))
    assert found.freshest == ("http://ca1/ca+.crl",)
    assert crl.entry(found, 7).serial_number == 7
    assert crl.entry(found, 8) is None


def test_openssl_agrees_on_the_signature(tmp_path: Path) -> None:
    """The judge that has nothing of ours; the same CRL, the same two CAs of one name."""
    good, other = authority(), authority(kind="rsa2048")
    (tmp_path / "ca.crl").write_bytes(listed().der)
    for number, (issuer, fits) in enumerate([(good, True), (other, False)]):
        (tmp_path / f"{number}.pem").write_bytes(pem(issuer))
        command = ["openssl", "crl", "-inform", "DER", "-in", "ca.crl", "-CAfile", f"{number}.pem", "-verify", "-noout"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ("verify OK" in done.stderr) is fits
        assert (crl.judge(listed(), issuer, NOW) == []) is fits


@given(mutated(st.sampled_from([listed().der, listed(scope=point(indirect_crl=True)).der])))
def test_any_crl_is_refused_or_judged(data: bytes) -> None:
    try:
        found = crl.load(data)
        crl.judge(found, authority(), NOW, DAY)
        crl.entry(found, 7)
    except FormatError:
        return
