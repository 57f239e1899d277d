# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificate mappings: the text of `altSecurityIdentities` ([MS-PKCA] 3.1.5.2.1.3 and 3.1.5.2.1.5).

Strong ones name one certificate or key and cannot be imitated; weak ones name what another certificate may also say.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError

_KINDS = {
    ("I", "SR"): "issuer_serial",
    ("SKI",): "ski",
    ("SHA1-PUKEY",): "sha1_public_key",
    ("I", "SID"): "issuer_sid",
    ("I", "S"): "issuer_subject",
    ("S",): "subject",
    ("RFC822",): "rfc822",
}
STRONG = frozenset(("issuer_serial", "ski", "sha1_public_key", "issuer_sid"))

_SID = re.compile(r"S-1(?:-[0-9]{1,10}){2,15}\Z", re.IGNORECASE)
_TAG = re.compile(r"<(I|S|SR|SKI|SHA1-PUKEY|RFC822|SID)>", re.IGNORECASE)
_HEX = re.compile(r"(?:[0-9a-f]{2})+\Z", re.IGNORECASE)


@dataclass(frozen=True)
class Mapping:
    """What a mapping says; `values` are its parts in order (issuer and serial number, for example)."""

    kind: str
    values: tuple[str, ...]

    @property
    def strong(self) -> bool:
        return self.kind in STRONG


def issuer_serial(certificate: Certificate) -> str:
    """Strong mapping by issuer and serial number, whose bytes stand in reverse."""
    return f"X509:<I>{_issuer(certificate)}<SR>{_serial(certificate.serial)[::-1].hex()}"


def ski(certificate: Certificate) -> str:
    """Strong mapping by subject key identifier. Raises `UserError` where the certificate has none."""
    if certificate.ski is None:
        raise UserError(f"{certificate}: has no subject key identifier; use the mapping by issuer and serial number")
    return f"X509:<SKI>{certificate.ski.hex()}"


def public_key(certificate: Certificate) -> str:
    """Strong mapping by the SHA-1 of the public key, as [MS-PKCA] and Samba have it (the content of the key's bit string)."""
    return f"X509:<SHA1-PUKEY>{hashlib.sha1(certificate.public_key, usedforsecurity=False).hexdigest()}"


def issuer_sid(certificate: Certificate, sid: str) -> str:
    """Strong mapping by issuer and the account's SID, which the certificate carries. Raises `UserError` for what is no SID."""
    if not _SID.match(sid):
        raise UserError(f"{sid!r} is no SID")
    return f"X509:<I>{_issuer(certificate)}<SID>{sid}"


def classify(value: str) -> Mapping:
    """What a mapping is. Raises `FormatError` for what domain controllers do not understand."""
    scheme, _colon, rest = value.partition(":")
    parts = _TAG.split(rest)
    tags = tuple(tag.upper() for tag in parts[1::2])
    values = tuple(part.strip() for part in parts[2::2])
    kind = _KINDS.get(tags)
    if scheme.upper() != "X509" or parts[0].strip() or kind is None:
        raise FormatError(f"{value!r} is no certificate mapping; one is X509:<I>issuer<SR>serial, X509:<SKI>identifier and the like")
    for tag, part in zip(tags, values, strict=True):
        if not part:
            raise FormatError(f"{value!r}: nothing after <{tag}>")
        if tag in ("SR", "SKI", "SHA1-PUKEY") and not _HEX.match(part):
            raise FormatError(f"{value!r}: {part!r} after <{tag}> is no sequence of bytes in hex")
        if tag == "SHA1-PUKEY" and len(part) != 40:
            raise FormatError(f"{value!r}: a SHA-1 has 40 digits, not {len(part)}")
        if tag == "SID" and not _SID.match(part):
            raise FormatError(f"{value!r}: {part!r} is no SID")
    return Mapping(kind, values)


# ---- names as Windows writes them (CertNameToStr with CERT_X500_NAME_STR)

_NAMES = {
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "SERIALNUMBER",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "S",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "T",
    "2.5.4.42": "G",
    "2.5.4.43": "I",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "E",
}
_QUOTED = re.compile(r'[,+="\n\r<>#;]|\A\s|\s\Z|\A\Z')


def _issuer(certificate: Certificate) -> str:
    return windows_name(certificate.issuer_names)


def windows_name(names: Iterable[Iterable[tuple[str, str]]]) -> str:
    """A name in the order of the encoding, from the outermost name; parts of one relative name are set off by spaces.

    `names` are relative names, each a list of object identifier and value.
    """
    return ",".join(
        " ".join(f"{_NAMES.get(identifier, 'OID.' + identifier)}={_value(value)}" for identifier, value in relative) for relative in names
    )


def _value(value: str) -> str:
    return '"{}"'.format(value.replace('"', '""')) if _QUOTED.search(value) else value


def _serial(serial: int) -> bytes:
    """The content of the serial number's DER INTEGER."""
    return serial.to_bytes((serial if serial >= 0 else ~serial).bit_length() // 8 + 1, "big", signed=True)
