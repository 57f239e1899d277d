# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import struct

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import load_one
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import certificate_blob, registry_pol
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.registry_pol import Record

pytest.importorskip("hypothesis", reason="property tests need hypothesis")

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certlogon.core.tests.unit import vectors
from ansible_collections.certlogon.core.tests.unit.certificates.samples import der, make, name
from ansible_collections.certlogon.core.tests.unit.fuzzing import mutated

ONE, TWO = der(make()), der(make(serial=2, subject=name("Two")))
OTHER_STORE = r"Software\Policies\Microsoft\SystemCertificates"


def property_(number: int, data: bytes, encoding: int = 1) -> bytes:
    return struct.pack("<III", number, encoding, len(data)) + data


def numbers(blob: bytes) -> list[int]:
    return [one.id for one in certificate_blob.parse(blob).properties]


def test_every_blob_of_windows_is_made_again_byte_for_byte() -> None:
    folder = vectors.folder("group-policy-certificates")
    sources = {found.thumbprint: found.der for path in folder.glob("*/*.cer") for found in [load_one(path.read_bytes())]}
    records = registry_pol.parse((folder / "registry.pol").read_bytes())
    blobs = [record for record in records if certificate_blob.store_of(record)]
    assert len(blobs) == 37
    for record in blobs:
        store = certificate_blob.store_of(record) or ""
        source = sources[record.key.rpartition("\\")[2]]
        assert certificate_blob.build(source, store) == record.data
        assert registry_pol.record(certificate_blob.setting(store, source)) == record
    stores = [certificate_blob.store_of(record) for record in blobs]
    assert (stores.count("trusted_root"), stores.count("intermediate")) == (4, 33)


def test_what_a_certificate_has_not_is_left_out() -> None:
    assert numbers(certificate_blob.build(ONE)) == [4, 15, 20, 25, 3, 92, 32]
    assert numbers(certificate_blob.build(ONE, "intermediate")) == [4, 15, 20, 25, 92, 3, 32]
    assert numbers(certificate_blob.build(der(make(kind="ed25519", ski=False)))) == [4, 25, 3, 92, 32]


def test_garbage_is_no_certificate() -> None:
    with pytest.raises(FormatError, match="is no certificate"):
        certificate_blob.build(b"\x30\x03\1\1\1")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\1", "truncated in the property at byte 0 of 1"),
        (property_(3, b"abc")[:-1], "property 3 announces 3 bytes, 2 are left"),
        (property_(32, b"abc") + b"\0" * 5, "truncated in the property at byte 15"),
    ],
)
def test_refuses(data: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        certificate_blob.parse(data)


def test_a_blob_without_certificate() -> None:
    with pytest.raises(FormatError, match="holds no certificate"):
        certificate_blob.certificate(property_(33, b"a CRL"))
    assert certificate_blob.certificate(property_(32, ONE, 0x10001)) == ONE


@pytest.mark.parametrize(
    ("key", "value", "store"),
    [
        (rf"{OTHER_STORE}\Root\Certificates\AB", "Blob", "trusted_root"),
        (rf"{OTHER_STORE.upper()}\ca\certificates\ab", "BLOB", "intermediate"),
        (rf"{OTHER_STORE}\TrustedPublisher\Certificates\AB", "Blob", "trusted_publisher"),
        (rf"{OTHER_STORE}\Disallowed\Certificates\AB", "Blob", "disallowed"),
        (rf"{OTHER_STORE}\FVE\Certificates\AB", "Blob", None),
        (rf"{OTHER_STORE}\Root\CRLs\AB", "Blob", None),
        (rf"{OTHER_STORE}\Root\Certificates", "", None),
        (rf"{OTHER_STORE}\Root\Certificates\AB", "**del.Blob", None),
        (r"Software\Root\Certificates\AB", "Blob", None),
    ],
)
def test_stores(key: str, value: str, store: str | None) -> None:
    assert certificate_blob.store_of(Record(key, value, 3, b"")) == store


def test_key_is_the_thumbprint_in_upper_case() -> None:
    assert certificate_blob.key("intermediate", ONE) == rf"{OTHER_STORE}\CA\Certificates\{hashlib.sha1(ONE).hexdigest().upper()}"


blobs = st.lists(
    st.builds(property_, st.sampled_from((3, 4, 32)) | st.integers(0, 0xFFFFFFFF), st.binary(max_size=8), st.integers(0, 0xFFFFFFFF))
).map(b"".join)


@given(st.binary(max_size=40) | mutated(blobs) | mutated(st.just(certificate_blob.build(ONE))))
def test_any_bytes_are_refused_or_come_back(data: bytes) -> None:
    try:
        blob = certificate_blob.parse(data)
    except FormatError:
        return
    assert certificate_blob.serialise(blob) == data
