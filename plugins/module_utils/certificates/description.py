# SPDX-License-Identifier: GPL-3.0-or-later
"""What a certificate says, in words (RFC 5280, [MS-WCCE] 2.2.2.7.7)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import alternative_names, der, keys
from ansible_collections.certlogon.core.plugins.module_utils.certificates.signing_request import TEMPLATE_NAME, purpose_name
from ansible_collections.certlogon.core.plugins.module_utils.libraries import x509

TEMPLATE_INFORMATION = "1.3.6.1.4.1.311.21.7"
"""szOID_CERTIFICATE_TEMPLATE: SEQUENCE { templateID OID, major INTEGER, minor INTEGER } ([MS-WCCE] 2.2.2.7.7.2)."""

_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
)


def extension(parsed: Any, kind: Any) -> Any:
    """The value of an extension of an x509 object; None where it is missing."""
    try:
        return parsed.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def raw_extension(parsed: Any, oid: str) -> bytes | None:
    try:
        value = parsed.extensions.get_extension_for_oid(x509.ObjectIdentifier(oid)).value
    except x509.ExtensionNotFound:
        return None
    return bytes(value.value) if hasattr(value, "value") else bytes(value.public_bytes())


def names(parsed: Any) -> list[str]:
    value = extension(parsed, x509.SubjectAlternativeName)
    return alternative_names.describe(value) if value else []


def purposes(parsed: Any) -> list[str] | None:
    """Object identifiers of the extended key usages; None where the certificate does not restrict them."""
    value = extension(parsed, x509.ExtendedKeyUsage)
    return None if value is None else [one.dotted_string for one in value]


def sid(parsed: Any) -> str | None:
    content = raw_extension(parsed, alternative_names.SID_EXTENSION)
    return alternative_names.sid_of_extension(content) if content else None


def template(parsed: Any) -> Mapping[str, Any]:
    """`name` of a version 1 template; `oid`, `major_version`, `minor_version` of later ones; empty without."""
    name = raw_extension(parsed, TEMPLATE_NAME)
    if name:
        return {"name": _template_name(name)}
    information = raw_extension(parsed, TEMPLATE_INFORMATION)
    return _template_information(information) if information else {}


def _template_name(content: bytes) -> str:
    try:
        tag, text, _end = der.read(content)
    except ValueError:
        return content.hex()
    return text.decode("utf-16-be" if tag == 0x1E else "utf-8", "replace")


def _template_information(content: bytes) -> dict[str, Any]:
    try:
        _tag, inner, _end = der.read(content)
        _tag, identifier, position = der.read(inner)
        versions = []
        while position < len(inner):
            _tag, number, position = der.read(inner, position)
            versions.append(int.from_bytes(number, "big"))
        return {"oid": der.dotted(identifier), **dict(zip(("major_version", "minor_version"), versions, strict=False))}
    except ValueError:
        return {}


def addresses(parsed: Any, kind: str) -> list[str]:
    """Where the certificate's CRL (`crl`), issuer (`issuer`) or responder (`ocsp`) is: URIs."""
    if kind == "crl":
        points = extension(parsed, x509.CRLDistributionPoints) or ()
        return [name.value for point in points for name in point.full_name or () if isinstance(name, x509.UniformResourceIdentifier)]
    access = extension(parsed, x509.AuthorityInformationAccess) or ()
    method = x509.oid.AuthorityInformationAccessOID.OCSP if kind == "ocsp" else x509.oid.AuthorityInformationAccessOID.CA_ISSUERS
    return [
        one.access_location.value
        for one in access
        if one.access_method == method and isinstance(one.access_location, x509.UniformResourceIdentifier)
    ]


def key_words(parsed: Any) -> dict[str, Any]:
    try:
        return keys.kind_of(parsed.public_key()).words
    except Exception:  # a kind of key that the library does not know
        return {"type": parsed.public_key_algorithm_oid.dotted_string}


def time_text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def days_left(not_after: datetime, now: datetime) -> int:
    return (not_after - now).days


def identity(parsed: Any, content: bytes, now: datetime) -> dict[str, Any]:
    """What tells one certificate from another, and how long it lasts."""
    return {
        "subject": parsed.subject.rfc4514_string(),
        "issuer": parsed.issuer.rfc4514_string(),
        "serial_number": serial(parsed.serial_number),
        "thumbprint": hashlib.sha1(content, usedforsecurity=False).hexdigest().upper(),
        "sha256": hashlib.sha256(content).hexdigest(),
        "not_after": time_text(parsed.not_valid_after_utc),
        "days_left": days_left(parsed.not_valid_after_utc, now),
    }


def window(certificate: Any, renew_before: int) -> timedelta:
    """The renewal window; at most half of the lifetime, or else a short-lived certificate would be renewed on every run."""
    half: timedelta = (certificate.not_valid_after_utc - certificate.not_valid_before_utc) / 2
    return min(timedelta(days=renew_before), half)


def serial(number: int) -> str:
    """Lower-case hex of whole octets, as certutil shows it."""
    text = f"{abs(number):x}"
    return f"{'-' if number < 0 else ''}{text.zfill(len(text) + len(text) % 2)}"


def describe(parsed: Any, content: bytes, now: datetime) -> dict[str, Any]:
    """Everything that `certificate_info` tells of a certificate by itself."""
    usage = extension(parsed, x509.KeyUsage)
    constraints = extension(parsed, x509.BasicConstraints)
    identifier, authority = extension(parsed, x509.SubjectKeyIdentifier), extension(parsed, x509.AuthorityKeyIdentifier)
    found = purposes(parsed)
    return {
        **identity(parsed, content, now),
        "version": parsed.version.value + 1,
        "not_before": time_text(parsed.not_valid_before_utc),
        "expired": parsed.not_valid_after_utc < now,
        "not_yet_valid": parsed.not_valid_before_utc > now,
        "key": key_words(parsed),
        "signature_hash": _signature_hash(parsed),
        "subject_alt_names": names(parsed),
        "extended_key_usage": None if found is None else [purpose_name(one) for one in found],
        "key_usage": None if usage is None else [name for name in _USAGES if getattr(usage, name)],
        "is_ca": bool(constraints and constraints.ca),
        "self_issued": parsed.subject == parsed.issuer,
        "sid": sid(parsed),
        "template": dict(template(parsed)),
        "subject_key_identifier": identifier.digest.hex() if identifier else None,
        "authority_key_identifier": authority.key_identifier.hex() if authority and authority.key_identifier else None,
        "crl_urls": addresses(parsed, "crl"),
        "issuer_urls": addresses(parsed, "issuer"),
        "ocsp_urls": addresses(parsed, "ocsp"),
    }


def _signature_hash(parsed: Any) -> str | None:
    try:
        algorithm = parsed.signature_hash_algorithm
    except Exception:  # an algorithm that the library does not know
        return None
    return None if algorithm is None else str(algorithm.name).replace("-", "")
