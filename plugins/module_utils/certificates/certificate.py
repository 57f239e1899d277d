# SPDX-License-Identifier: GPL-3.0-or-later
"""X.509 certificates: read in every wrapping an administrator has them in, and judged as certificates of a CA (RFC 5280)."""

from __future__ import annotations

import base64
import hashlib
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import crypto, pkcs7, x509

MINIMUM_RSA_BITS, MINIMUM_EC_BITS = 2048, 256
WEAK_HASHES = ("md2", "md4", "md5", "sha1")


@dataclass(frozen=True)
class Certificate:
    """A certificate. Two are the same where their DER is; names are RFC 4514 text, times are aware of UTC, hashes lower-case hex.

    `thumbprint` is the SHA-1 in upper-case hex that Windows knows it by, `ski` the subject key identifier extension, `public_key` the
    content of the subjectPublicKey bit string, `issuer_names` the issuer's relative names in the order of the encoding, each a list of
    object identifier and value.
    """

    der: bytes
    subject: str = field(compare=False)
    issuer: str = field(compare=False)
    common_name: str | None = field(compare=False)
    issuer_names: tuple[tuple[tuple[str, str], ...], ...] = field(compare=False, repr=False)
    serial: int = field(compare=False)
    not_before: datetime = field(compare=False)
    not_after: datetime = field(compare=False)
    is_ca: bool = field(compare=False)
    signs_certificates: bool = field(compare=False)
    self_signed: bool = field(compare=False)
    version: int = field(compare=False)
    key_type: str = field(compare=False)
    key_bits: int = field(compare=False)
    public_key: bytes = field(compare=False, repr=False)
    signature_hash: str | None = field(compare=False)
    to_be_signed: bytes = field(compare=False, repr=False)
    ski: bytes | None = field(compare=False)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.der).hexdigest()

    @property
    def thumbprint(self) -> str:
        return hashlib.sha1(self.der, usedforsecurity=False).hexdigest().upper()

    def __str__(self) -> str:
        return f"{self.subject or 'certificate without subject'} (thumbprint {self.thumbprint})"


class Finding(NamedTuple):
    """A reason not to trust a certificate as a CA's; `kind` is `expired` (not yet valid, too), `weak` or `not_a_ca`."""

    kind: str
    text: str

    def __str__(self) -> str:
        return self.text


# ---- reading

_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----(.*?)-----END \1-----", re.DOTALL)
_CERTIFICATE_LABELS = (b"CERTIFICATE", b"X509 CERTIFICATE", b"TRUSTED CERTIFICATE")
_PKCS7_LABELS = (b"PKCS7", b"CMS", b"PKCS #7 SIGNED DATA")


def load(data: bytes | str) -> list[Certificate]:
    """The certificates of a PEM file or bundle, a DER file, base64 text, or PKCS#7 in any of these. Raises `FormatError`."""
    return [_certificate(der) for der in _ders(plain(data))]


def load_one(data: bytes | str) -> Certificate:
    """The one certificate. Raises `FormatError`, also where there are several."""
    found = load(data)
    if len(found) != 1:
        raise FormatError(f"holds {len(found)} certificates ({'; '.join(map(str, found))}); give them one by one")
    return found[0]


def plain(data: bytes | str) -> bytes:
    """The bytes of a file or of text, without byte order mark."""
    if isinstance(data, str):
        return data.encode("utf-8", "surrogatepass")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace").encode("utf-8", "replace")
    return data.removeprefix(b"\xef\xbb\xbf")


def unwrap(data: bytes, labels: tuple[bytes, ...]) -> list[tuple[bytes, bytes]]:
    """The label and content of PEM blocks with these labels; for DER or bare base64 the content with an empty label.

    Raises `FormatError` where there is neither.
    """
    blocks = _PEM.findall(data)
    if blocks:
        found = [(label, _base64(re.sub(rb"\A(?:[^\n:]*:[^\n]*\n)+", b"", body.lstrip()))) for label, body in blocks if label in labels]
        if not found:
            others = ", ".join(sorted({label.decode() for label, _body in blocks}))
            raise FormatError(f"holds PEM of {others}, but no {labels[0].decode()}")
        return found
    if not data.strip():
        raise FormatError("is empty")
    return [(b"", data if data[:1] == b"\x30" else _base64(data))]


def _base64(body: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(body.split()), validate=True)
    except ValueError:
        raise FormatError(f"is neither PEM nor DER nor base64; it begins with {body[:24]!r}") from None


def _ders(data: bytes) -> list[bytes]:
    ders: list[bytes] = []
    for label, content in unwrap(data, _CERTIFICATE_LABELS + _PKCS7_LABELS):
        if label in _PKCS7_LABELS or (not label and _is_pkcs7(content)):
            ders += _of_pkcs7(content)
        else:
            # OpenSSL's TRUSTED CERTIFICATE has trust settings after the certificate.
            ders.append(content[: _element(content, 0)[2]] if label == b"TRUSTED CERTIFICATE" else content)
    if not ders:
        raise FormatError("holds no certificate")
    return ders


def _of_pkcs7(content: bytes) -> list[bytes]:
    der = crypto.serialization.Encoding.DER
    return attempt("PKCS#7", lambda: [one.public_bytes(der) for one in pkcs7.load_der_pkcs7_certificates(content)])


def _is_pkcs7(content: bytes) -> bool:
    """Whether the outer SEQUENCE begins with an object identifier (ContentInfo), where a certificate has another SEQUENCE."""
    try:
        _tag, start, _end = _element(content, 0)
        return content[start] == 0x06
    except (FormatError, IndexError):
        return False


Result = TypeVar("Result")


def attempt(what: str, parse: Callable[[], Result]) -> Result:
    """What the library makes of foreign bytes. Its many kinds of exception, some of them undocumented, all mean that it could not."""
    try:
        with warnings.catch_warnings():
            # Real CAs have serial numbers of 0, negative ones and the like, which the library complains about.
            warnings.simplefilter("ignore")
            return parse()
    except UserError:
        raise
    except Exception as error:
        raise FormatError(f"is no {what}: {' '.join(str(error).split())[:200] or type(error).__name__}") from None


@lru_cache(maxsize=64)  # a plan looks at the same few several times, and judging a signature takes a millisecond
def _certificate(der: bytes) -> Certificate:
    return attempt("certificate", lambda: _described(der, x509.load_der_x509_certificate(der)))


def _described(der: bytes, parsed: Any) -> Certificate:
    constraints = _extension(parsed, x509.BasicConstraints)
    usage = _extension(parsed, x509.KeyUsage)
    identifier = _extension(parsed, x509.SubjectKeyIdentifier)
    names = parsed.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    key_type, key_bits = _key(parsed)
    return Certificate(
        der=der,
        subject=parsed.subject.rfc4514_string(),
        issuer=parsed.issuer.rfc4514_string(),
        common_name=str(names[-1].value) if names else None,
        issuer_names=tuple(tuple((part.oid.dotted_string, _text(part.value)) for part in names) for names in parsed.issuer.rdns),
        serial=parsed.serial_number,
        not_before=parsed.not_valid_before_utc,
        not_after=parsed.not_valid_after_utc,
        is_ca=bool(constraints and constraints.ca),
        signs_certificates=usage is None or usage.key_cert_sign,
        self_signed=_is_self_signed(parsed),
        version=parsed.version.value + 1,
        key_type=key_type,
        key_bits=key_bits,
        public_key=_public_key(parsed.tbs_certificate_bytes),
        signature_hash=_signature_hash(parsed),
        to_be_signed=parsed.tbs_certificate_bytes,
        ski=identifier.digest if identifier else None,
    )


def _extension(parsed: Any, kind: Any) -> Any:
    try:
        return parsed.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else "#" + value.hex()


def _key(parsed: Any) -> tuple[str, int]:
    """Type and size of the key; of keys that the library does not know, the algorithm's object identifier."""
    try:
        key = parsed.public_key()
    except Exception:
        return str(parsed.public_key_algorithm_oid.dotted_string), 0
    name = type(key).__name__.removesuffix("PublicKey").lstrip("_").lower()
    known = {"rsa": "rsa", "ellipticcurve": "ec", "ec": "ec", "dsa": "dsa", "ed25519": "ed25519", "ed448": "ed448"}
    return known.get(name, name), int(getattr(key, "key_size", {"ed25519": 256, "ed448": 456}.get(name, 0)))


def _signature_hash(parsed: Any) -> str | None:
    """Name of the signature's hash; None where it has none (Ed25519) or one that the library does not know."""
    try:
        algorithm = parsed.signature_hash_algorithm
    except Exception:
        return None
    return None if algorithm is None else str(algorithm.name).replace("-", "")


def _is_self_signed(parsed: Any) -> bool:
    if parsed.subject != parsed.issuer:
        return False
    try:
        parsed.verify_directly_issued_by(parsed)
    except Exception as error:
        # A signature that the library cannot verify any more (SHA-1, MD5) says nothing against the names.
        return type(error).__name__ != "InvalidSignature"
    return True


# ---- DER


def _element(data: bytes, position: int) -> tuple[int, int, int]:
    """Tag, start and end of the content of the DER element at this position."""
    try:
        tag, length = data[position], data[position + 1]
    except IndexError:
        raise FormatError("is truncated DER") from None
    start = position + 2
    if length & 0x80:
        count = length & 0x7F
        length = int.from_bytes(data[start : start + count], "big")
        start += count
    if start + length > len(data):
        raise FormatError("is truncated DER")
    return tag, start, start + length


def _public_key(to_be_signed: bytes) -> bytes:
    """The content of TBSCertificate.subjectPublicKeyInfo.subjectPublicKey (RFC 5280 4.1)."""
    _tag, position, _end = _element(to_be_signed, 0)
    # version (only where it is not 1), serialNumber, signature, issuer, validity, subject
    for _field in range(6 if to_be_signed[position] == 0xA0 else 5):
        position = _element(to_be_signed, position)[2]
    position = _element(to_be_signed, position)[1]
    position = _element(to_be_signed, position)[2]
    _tag, start, end = _element(to_be_signed, position)
    return to_be_signed[start + 1 : end]


# ---- judging


def judge(certificate: Certificate, now: datetime) -> list[Finding]:
    """The reasons against trusting this as the certificate of a CA at this time (aware of its zone)."""
    return [*_validity(certificate, now), *_authority(certificate), *_strength(certificate)]


def _validity(certificate: Certificate, now: datetime) -> list[Finding]:
    if certificate.not_after < now:
        return [Finding("expired", f"expired on {certificate.not_after:%Y-%m-%d}")]
    if certificate.not_before > now:
        return [Finding("expired", f"is not valid before {certificate.not_before:%Y-%m-%d %H:%M} UTC")]
    return []


def _authority(certificate: Certificate) -> list[Finding]:
    if certificate.version < 3:
        return [Finding("not_a_ca", f"is of version {certificate.version}, which cannot say that it is a CA's")]
    if not certificate.is_ca:
        return [Finding("not_a_ca", "is not a CA certificate (basicConstraints)")]
    if not certificate.signs_certificates:
        return [Finding("not_a_ca", "is not allowed to sign certificates (keyUsage)")]
    return []


def _strength(certificate: Certificate) -> list[Finding]:
    findings = []
    minimum = {"rsa": MINIMUM_RSA_BITS, "dsa": MINIMUM_RSA_BITS, "ec": MINIMUM_EC_BITS}.get(certificate.key_type, 0)
    if certificate.key_bits < minimum:
        findings.append(Finding("weak", f"has an {certificate.key_type.upper()} key of {certificate.key_bits} bits, less than {minimum}"))
    if certificate.signature_hash in WEAK_HASHES and not certificate.self_signed:
        findings.append(Finding("weak", f"is signed with {certificate.signature_hash.upper()}"))
    return findings
