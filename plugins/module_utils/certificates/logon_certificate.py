# SPDX-License-Identifier: GPL-3.0-or-later
"""What decides whether a certificate logs on, and as whom, read straight from its DER (RFC 5280 4.1): for tens of thousands of them.

Nothing else of the certificate is looked at, and no signature is verified. What it says is found where it belongs: a security extension
that is merely quoted in some other field is none.
"""

from __future__ import annotations

import re
from functools import lru_cache

from ansible_collections.certlogon.core.plugins.module_utils.certificates import der as writing
from ansible_collections.certlogon.core.plugins.module_utils.certificates.alternative_names import SID_EXTENSION, SID_URI, SID_VALUE, UPN
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import x509

LOGON_PURPOSES = {
    "1.3.6.1.5.5.7.3.2": "client_authentication",
    "1.3.6.1.4.1.311.20.2.2": "smart_card_logon",
    "1.3.6.1.5.2.3.4": "pkinit_client",
    "2.5.29.37.0": "any_purpose",
}
"""Purposes with which a certificate logs on ([MS-PKCA] 3.1.5.2.1.2, RFC 4556 3.2.2); without any, it is for all."""

_HASHES = {
    "1.2.840.113549.1.1.2": "md2",
    "1.2.840.113549.1.1.3": "md4",
    "1.2.840.113549.1.1.4": "md5",
    "1.2.840.113549.1.1.5": "sha1",
    "1.3.14.3.2.29": "sha1",
    "1.2.840.113549.1.1.11": "sha256",
    "1.2.840.113549.1.1.12": "sha384",
    "1.2.840.113549.1.1.13": "sha512",
    "1.2.840.113549.1.1.14": "sha224",
    "1.2.840.10040.4.3": "sha1",
    "1.2.840.10045.4.1": "sha1",
    "1.2.840.10045.4.3.1": "sha224",
    "1.2.840.10045.4.3.2": "sha256",
    "1.2.840.10045.4.3.3": "sha384",
    "1.2.840.10045.4.3.4": "sha512",
}
_PSS = "1.2.840.113549.1.1.10"
_PSS_HASHES = {"1.3.14.3.2.26": "sha1", "2.16.840.1.101.3.4.2.1": "sha256", "2.16.840.1.101.3.4.2.2": "sha384"}
_PSS_HASHES |= {"2.16.840.1.101.3.4.2.3": "sha512"}
_CURVES = {
    "1.2.840.10045.3.1.1": 192,
    "1.3.132.0.33": 224,
    "1.2.840.10045.3.1.7": 256,
    "1.3.132.0.10": 256,
    "1.3.132.0.34": 384,
    "1.3.132.0.35": 521,
}
_RSA, _EC = writing.oid("1.2.840.113549.1.1.1"), writing.oid("1.2.840.10045.2.1")

_SAN, _EKU, _POLICIES, _SKI, _AKI, _SID = (
    writing.oid(each) for each in ("2.5.29.17", "2.5.29.37", "1.3.6.1.4.1.311.21.10", "2.5.29.14", "2.5.29.35", SID_EXTENSION)
)
_WANTED = frozenset((_SAN, _EKU, _POLICIES, _SKI, _AKI, _SID))
_UPN_TYPE, _SID_TYPE = writing.oid(UPN), writing.oid(SID_VALUE)
_SID_URI = SID_URI.encode()
_SID_TEXT = re.compile(r"S-1-\d+(-\d+){1,15}", re.ASCII)


class LogonCertificate:
    """The little that is read of a certificate.

    `issuer` is the DER of the issuer's name; `serial` the serial number's bytes; `not_after` is YYYYMMDDHHMMSSZ, UTC;
    `key` is rsa, ec or another algorithm's object identifier, `key_bits` 0 where they are not known; `signature_hash` is None where there
    is none or it is not known. `sid` is what the security extension says ("" where there is none), `sid_names` what alternative names
    say; `ski` and `aki` are key identifiers, empty where there are none.
    """

    __slots__ = (
        "aki",
        "der",
        "issuer",
        "key",
        "key_bits",
        "logs_on",
        "not_after",
        "serial",
        "sid",
        "sid_names",
        "signature_hash",
        "ski",
        "upns",
    )
    aki: bytes
    der: bytes
    issuer: bytes
    key: str
    key_bits: int
    logs_on: bool
    not_after: bytes
    serial: bytes
    sid: str
    sid_names: tuple[str, ...]
    signature_hash: str | None
    ski: bytes
    upns: tuple[str, ...]

    @property
    def serial_number(self) -> str:
        """As certutil shows it: hexadecimal digits of the number, none of its signs."""
        return self.serial.hex().lstrip("0") or "0"

    @property
    def issuer_name(self) -> str:
        """The issuer as text of RFC 4514; in hexadecimal where it cannot be read."""
        try:
            return str(x509.load_der_x509_certificate(self.der).issuer.rfc4514_string())
        except Exception:  # the library's kinds are many, and all mean that there is no text
            return self.issuer.hex()


def read(der: bytes) -> LogonCertificate:
    """A certificate in DER. Raises `FormatError`."""
    try:
        return _read(der)
    except (IndexError, ValueError, UnicodeDecodeError):
        raise FormatError("is no certificate: its DER is truncated or malformed") from None


def _read(der: bytes) -> LogonCertificate:
    found = LogonCertificate()
    found.der = der
    start, end = _inside(der, 0, 0x30, len(der))
    if end != len(der):
        raise FormatError(f"is no certificate: {len(der) - end} bytes follow it")
    at, end = _inside(der, start, 0x30, end)
    if der[at] == 0xA0:
        at = _inside(der, at, 0xA0, end)[1]
    start, at = _inside(der, at, 0x02, end)
    found.serial = der[start:at]
    start, after = at, _inside(der, at, 0x30, end)[1]
    found.signature_hash = _hash(der[start:after])
    start, after = after, _inside(der, after, 0x30, end)[1]
    found.issuer = der[start:after]
    at, after = _inside(der, after, 0x30, end)
    found.not_after = _time(der, _inside(der, at, der[at], after)[1], after)
    after = _inside(der, after, 0x30, end)[1]
    start, after = _inside(der, after, 0x30, end)
    found.key, found.key_bits = _key(der, start, after)
    _extensions(found, der, after, end)
    return found


def _inside(data: bytes, at: int, tag: int, limit: int) -> tuple[int, int]:
    """Where the content of the element at this position begins and ends. Raises `ValueError` and `IndexError`."""
    size = data[at + 1]
    start = at + 2
    if size > 0x7F:
        count = size & 0x7F
        if not 0 < count < 5:
            raise ValueError
        start += count
        size = int.from_bytes(data[at + 2 : start], "big")
    end = start + size
    if data[at] != tag or end > limit:
        raise ValueError
    return start, end


def _time(der: bytes, at: int, limit: int) -> bytes:
    """UTCTime with the century that RFC 5280 4.1.2.5.1 gives it, or GeneralizedTime."""
    start, end = _inside(der, at, der[at], limit)
    text = der[start:end]
    if der[at] == 0x17:
        text = (b"20" if text < b"50" else b"19") + text
    elif der[at] != 0x18:
        raise ValueError
    if len(text) != 15 or text[14] != 0x5A or not text[:14].isdigit():
        raise ValueError
    return text


def _key(der: bytes, start: int, end: int) -> tuple[str, int]:
    """Kind and size of the key of the SubjectPublicKeyInfo whose content this is (RFC 3279 2.3)."""
    after = _inside(der, start, 0x30, end)[1]
    kind, bits = _algorithm(der[start:after])
    if kind != "rsa":
        return kind, bits
    at = _inside(der, after, 0x03, end)[0] + 1
    at, end = _inside(der, at, 0x30, end)
    at, end = _inside(der, at, 0x02, end)
    while at < end and not der[at]:
        at += 1
    return kind, (end - at - 1) * 8 + der[at].bit_length() if at < end else 0


@lru_cache(maxsize=256)
def _algorithm(der: bytes) -> tuple[str, int]:
    """A key's AlgorithmIdentifier."""
    start, _end = _inside(der, 0, 0x30, len(der))
    after = _inside(der, start, 0x06, len(der))[1]
    kind = der[start:after]
    if kind == _RSA:
        return "rsa", 0
    if kind == _EC:
        return "ec", _CURVES.get(_dotted(der, after), 0) if after < len(der) else 0
    return _dotted(der, start), 0


def _dotted(der: bytes, at: int) -> str:
    tag, content, _end = writing.read(der, at)
    return writing.dotted(content) if tag == 0x06 else ""


@lru_cache(maxsize=256)
def _hash(der: bytes) -> str | None:
    """The hash of a signature's AlgorithmIdentifier; that of RSASSA-PSS is in its parameters, SHA-1 where they say nothing (RFC 4055)."""
    start, end = _inside(der, 0, 0x30, len(der))
    name = _dotted(der, start)
    if name != _PSS:
        return _HASHES.get(name)
    at, end = _inside(der, _inside(der, start, 0x06, end)[1], 0x30, end)
    if at >= end or der[at] != 0xA0:
        return "sha1"
    at = _inside(der, _inside(der, at, 0xA0, end)[0], 0x30, end)[0]
    return _PSS_HASHES.get(_dotted(der, at))


def _extensions(found: LogonCertificate, der: bytes, at: int, end: int) -> None:
    values: dict[bytes, bytes] = {}
    # issuerUniqueID and subjectUniqueID may stand before the extensions
    while at < end and der[at] != 0xA3:
        at = _inside(der, at, der[at], end)[1]
    if at < end:
        at, end = _inside(der, _inside(der, at, 0xA3, end)[0], 0x30, end)
    while at < end:
        # as _inside does, without the call: there are ten in a certificate, and most are passed over
        size = der[at + 1]
        if size < 0x80 and der[at] == 0x30 and at + 2 + size <= end:
            start = at + 2
            after = start + size
        else:
            start, after = _inside(der, at, 0x30, end)
        name = der[start : start + 2 + der[start + 1]]
        if name in _WANTED:
            start += len(name)
            if der[start] == 0x01:
                start = _inside(der, start, 0x01, after)[1]
            start, _end = _inside(der, start, 0x04, after)
            if name in values:
                raise FormatError("is no certificate: it has an extension twice")
            values[name] = der[start:_end]
        at = after
    purposes, policies = values.get(_EKU), values.get(_POLICIES)
    found.logs_on = (purposes is None and policies is None) or _logs_on(purposes) or _logs_on(policies)
    identifier = values.get(_SKI)
    found.ski = identifier[slice(*_inside(identifier, 0, 0x04, len(identifier)))] if identifier else b""
    identifier = values.get(_AKI)
    found.aki = _key_identifier(identifier) if identifier else b""
    security = values.get(_SID)
    found.sid = _sid(security) if security is not None else ""
    names = values.get(_SAN)
    if names is not None and (_UPN_TYPE in names or _SID_URI in names):
        found.upns, found.sid_names = _names(names)
    else:
        found.upns = found.sid_names = ()


@lru_cache(maxsize=1024)
def _logs_on(purposes: bytes | None) -> bool:
    """Whether an extended key usage, or application policies, allow logging on."""
    if purposes is None:
        return False
    at, end = _inside(purposes, 0, 0x30, len(purposes))
    while at < end:
        start, after = at, _inside(purposes, at, purposes[at], end)[1]
        # an application policy is a sequence that begins with the object identifier (RFC 5280 4.2.1.4)
        if purposes[at] == 0x30:
            start = _inside(purposes, at, 0x30, end)[0]
        if _dotted(purposes, start) in LOGON_PURPOSES:
            return True
        at = after
    return False


@lru_cache(maxsize=1024)
def _key_identifier(aki: bytes) -> bytes:
    start, end = _inside(aki, 0, 0x30, len(aki))
    return aki[slice(*_inside(aki, start, 0x80, end))] if start < end and aki[start] == 0x80 else b""


def _sid(extension: bytes) -> str:
    """The SID of the security extension ([MS-WCCE] 2.2.2.7.7.4); "" where the extension names none."""
    at, end = _inside(extension, 0, 0x30, len(extension))
    while at < end:
        start, after = _inside(extension, at, extension[at], end)
        if extension[at] == 0xA0 and extension.startswith(_SID_TYPE, start):
            start = _inside(extension, start + len(_SID_TYPE), 0xA0, after)[0]
            text = extension[slice(*_inside(extension, start, 0x04, after))].decode("ascii")
            return text if _SID_TEXT.fullmatch(text) else ""
        at = after
    return ""


def _names(san: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """UPNs and SIDs among the alternative names (RFC 5280 4.2.1.6, [MS-PKCA] 3.1.5.2.1.6)."""
    upns: list[str] = []
    sids: list[str] = []
    at, end = _inside(san, 0, 0x30, len(san))
    while at < end:
        tag = san[at]
        start, after = _inside(san, at, tag, end)
        if tag == 0xA0 and san.startswith(_UPN_TYPE, start):
            start = _inside(san, start + len(_UPN_TYPE), 0xA0, after)[0]
            upns.append(san[slice(*_inside(san, start, san[start], after))].decode("utf-8", "replace"))
        elif tag == 0x86 and san[start:after].lower().startswith(_SID_URI):
            sids.append(san[start + len(_SID_URI) : after].decode("ascii", "replace").upper())
        at = after
    return tuple(upns), tuple(sids)
