# SPDX-License-Identifier: GPL-3.0-or-later
r"""Certificates that a policy distributes: `Blob` values below `Software\Policies\Microsoft\SystemCertificates` ([MS-GPEF] 2.2.1.1.1).

A blob is a sequence of properties, the certificate itself being one of them; the others are what Windows has computed from it.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import NamedTuple

from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate, load_one
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import registry_pol
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.registry_pol import Record, Setting

PARENT = r"Software\Policies\Microsoft\SystemCertificates"

STORES = {
    "trusted_root": "Root",
    "intermediate": "CA",
    "trusted_publisher": "TrustedPublisher",
    "disallowed": "Disallowed",
    "trusted_people": "TrustedPeople",
    "enterprise_trust": "Trust",
}
"""The stores of Public Key Policies in words, and their names in the registry."""

_WORDS = {name.casefold(): word for word, name in STORES.items()}
_NAMES = {**STORES, **{name: name for name in STORES.values()}}

SHA1_HASH, MD5_HASH, SIGNATURE_HASH, KEY_IDENTIFIER, PUBLIC_KEY_MD5, CERTIFICATE, PUBLIC_KEY_BITS = 3, 4, 15, 20, 25, 32, 92
"""Property identifiers (CERT_..._PROP_ID of wincrypt.h)."""

_ORDER_ROOT = (MD5_HASH, SIGNATURE_HASH, KEY_IDENTIFIER, PUBLIC_KEY_MD5, SHA1_HASH, PUBLIC_KEY_BITS)
_ORDER = (MD5_HASH, SIGNATURE_HASH, KEY_IDENTIFIER, PUBLIC_KEY_MD5, PUBLIC_KEY_BITS, SHA1_HASH)
_PREFIX = struct.Struct("<III")


class Property(NamedTuple):
    """One property: identifier, encoding type (1 in all that Windows writes) and data."""

    id: int
    encoding: int
    data: bytes


@dataclass(frozen=True)
class Blob:
    """The properties of a blob in its order."""

    properties: tuple[Property, ...]

    @property
    def der(self) -> bytes:
        """The certificate. Raises `FormatError` where the blob holds something else (a CRL or a CTL)."""
        for one in self.properties:
            if one.id == CERTIFICATE:
                return one.data
        raise FormatError("certificate blob: holds no certificate (property 32)")


def parse(data: bytes) -> Blob:
    """The properties of a blob. Raises `FormatError`."""
    properties = []
    position = 0
    while position < len(data):
        try:
            number, encoding, length = _PREFIX.unpack_from(data, position)
        except struct.error:
            raise FormatError(f"certificate blob: truncated in the property at byte {position} of {len(data)}") from None
        position += _PREFIX.size
        if position + length > len(data):
            raise FormatError(f"certificate blob: property {number} announces {length} bytes, {len(data) - position} are left")
        properties.append(Property(number, encoding, data[position : position + length]))
        position += length
    return Blob(tuple(properties))


def serialise(blob: Blob) -> bytes:
    """The bytes of a blob."""
    return b"".join(_PREFIX.pack(one.id, one.encoding, len(one.data)) + one.data for one in blob.properties)


def certificate(data: bytes) -> bytes:
    """The certificate of a blob in DER. Raises `FormatError`."""
    return parse(data).der


def build(der: bytes, store: str = "Root") -> bytes:
    """The blob that Windows' policy editor makes of a certificate in this store (word or name). Raises `FormatError`."""
    computed = _computed(load_one(der))
    order = _ORDER_ROOT if _name(store) == "Root" else _ORDER
    properties = [Property(number, 1, computed[number]) for number in order if number in computed]
    return serialise(Blob((*properties, Property(CERTIFICATE, 1, der))))


def _computed(source: Certificate) -> dict[int, bytes]:
    """The properties that follow from the certificate; without those that it has no data for (key identifier, hash of the signature)."""
    properties = {
        SHA1_HASH: hashlib.sha1(source.der, usedforsecurity=False).digest(),
        MD5_HASH: hashlib.md5(source.der, usedforsecurity=False).digest(),
        PUBLIC_KEY_MD5: hashlib.md5(source.public_key, usedforsecurity=False).digest(),
    }
    if source.signature_hash and source.signature_hash in hashlib.algorithms_available:
        properties[SIGNATURE_HASH] = hashlib.new(source.signature_hash, source.to_be_signed, usedforsecurity=False).digest()
    if source.ski is not None:
        properties[KEY_IDENTIFIER] = source.ski
    if source.key_bits:
        properties[PUBLIC_KEY_BITS] = struct.pack("<I", source.key_bits)
    return properties


# ---- records of registry.pol


def key(store: str, der: bytes) -> str:
    """The registry key of a certificate in a store (word or name)."""
    return rf"{PARENT}\{_name(store)}\Certificates\{hashlib.sha1(der, usedforsecurity=False).hexdigest().upper()}"


def setting(store: str, der: bytes) -> Setting:
    """The instruction that distributes a certificate through a store. Raises `FormatError`."""
    return Setting(key(store, der), "Blob", "present", registry_pol.BINARY, build(der, store))


def store_of(record: Record) -> str | None:
    """The word of the store that a record distributes a certificate through; None for all other records."""
    head, _backslash, _thumbprint = record.key.rpartition("\\")
    parent, _backslash, leaf = head.rpartition("\\")
    above, _backslash, store = parent.rpartition("\\")
    if record.value.casefold() != "blob" or leaf.casefold() != "certificates" or above.casefold() != PARENT.casefold():
        return None
    return _WORDS.get(store.casefold())


def _name(store: str) -> str:
    return _NAMES[store]
