# SPDX-License-Identifier: GPL-3.0-or-later
"""Certification requests (PKCS#10, RFC 2986): made, and read when they are given."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import alternative_names, der, keys
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import attempt, plain, unwrap
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import crypto, x509

TEMPLATE_NAME = "1.3.6.1.4.1.311.20.2"
"""szOID_ENROLL_CERTTYPE_EXTENSION: the template's name as BMPString ([MS-WCCE] 2.2.2.7.7.1)."""

PURPOSES = {
    "serverAuth": "1.3.6.1.5.5.7.3.1",
    "clientAuth": "1.3.6.1.5.5.7.3.2",
    "codeSigning": "1.3.6.1.5.5.7.3.3",
    "emailProtection": "1.3.6.1.5.5.7.3.4",
    "timeStamping": "1.3.6.1.5.5.7.3.8",
    "OCSPSigning": "1.3.6.1.5.5.7.3.9",
    "kdc": "1.3.6.1.5.2.3.5",
    "pkinitClient": "1.3.6.1.5.2.3.4",
    "smartcardLogon": "1.3.6.1.4.1.311.20.2.2",
    "certificateRequestAgent": "1.3.6.1.4.1.311.20.2.1",
    "encryptingFileSystem": "1.3.6.1.4.1.311.10.3.4",
    "anyExtendedKeyUsage": "2.5.29.37.0",
}
"""Names of extended key usages (RFC 5280 4.2.1.12, RFC 4556 3.2.4, [MS-WCCE])."""

_NAMES = {oid: name for name, oid in PURPOSES.items()}


def purpose(text: str) -> str:
    """The object identifier of a purpose by its name. Raises `UserError`."""
    for name, oid in PURPOSES.items():
        if text.casefold() == name.casefold():
            return oid
    arcs = text.split(".")
    if len(arcs) < 3 or not all(arc.isdecimal() and arc.isascii() for arc in arcs) or int(arcs[0]) > 2:
        raise UserError(f"{text!r} is no purpose; give an object identifier or one of {', '.join(PURPOSES)}")
    return text


def purpose_name(oid: str) -> str:
    return _NAMES.get(oid, oid)


def subject(text: str) -> Any:
    """The name in RFC 4514 text, most specific part first. Raises `UserError`."""
    try:
        return x509.Name.from_rfc4514_string(text, {"E": x509.NameOID.EMAIL_ADDRESS, "EMAILADDRESS": x509.NameOID.EMAIL_ADDRESS})
    except ValueError as error:
        raise UserError(f"{text!r} is no subject such as CN=web1.corp.example,O=Corp ({error or 'unknown attribute'})") from None


@dataclass(frozen=True)
class Given:
    """A finished request."""

    der: bytes
    subject: str
    names: tuple[str, ...]
    public_key: Any

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.der).hexdigest()


def load(data: bytes | str) -> Given:
    """The request in PEM, DER or base64. Raises `FormatError`."""
    blocks = unwrap(plain(data), (b"CERTIFICATE REQUEST", b"NEW CERTIFICATE REQUEST"))
    if len(blocks) != 1:
        raise FormatError(f"holds {len(blocks)} requests; give them one by one")
    content = blocks[0][1]
    return attempt("certificate request", lambda: _given(content, x509.load_der_x509_csr(content)))


def _given(content: bytes, parsed: Any) -> Given:
    if not parsed.is_signature_valid:
        raise FormatError("has a signature that its own key did not make; make the request anew")
    try:
        names = alternative_names.describe(parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        names = []
    return Given(content, parsed.subject.rfc4514_string(), tuple(names), parsed.public_key())


def build(
    key: Any,
    *,
    subject_text: str = "",
    names: Sequence[str] = (),
    purposes: Sequence[str] = (),
    template: str | None = None,
    sid: str | None = None,
    digest: str = "sha256",
) -> bytes:
    """The DER of a request for the key, which may be on a token. Names are canonical, purposes object identifiers."""
    builder = x509.CertificateSigningRequestBuilder(subject(subject_text))
    if names:
        # RFC 5280 4.2.1.6: critical where there is no subject
        builder = builder.add_extension(
            x509.SubjectAlternativeName([alternative_names.general_name(name) for name in names]), not subject_text
        )
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage([x509.ObjectIdentifier(oid) for oid in purposes]), False)
    if template:
        builder = builder.add_extension(_extension(TEMPLATE_NAME, der.bmp_string(template)), False)
    if sid:
        builder = builder.add_extension(_extension(alternative_names.SID_EXTENSION, alternative_names.sid_extension(sid)), False)
    return bytes(builder.sign(key, keys.hashing(digest)).public_bytes(crypto.serialization.Encoding.DER))


def _extension(oid: str, content: bytes) -> Any:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), content)


def pem(content: bytes, label: str = "CERTIFICATE REQUEST") -> str:
    """PEM with lines of 64 characters (RFC 7468)."""
    text = base64.b64encode(content).decode()
    lines = "\n".join(text[position : position + 64] for position in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"
