# SPDX-License-Identifier: GPL-3.0-or-later
"""OCSP (RFC 6960): asking a responder about one certificate, and judging what it says."""

from __future__ import annotations

import urllib.error
import urllib.request
from datetime import datetime, timezone

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from lab.connect_secure.data.plan import Authority

TIMEOUT = 5


class NoAnswer(Exception):
    """Nothing that may be believed came from a responder; the message says why."""


def status(certificate: x509.Certificate, authority: Authority) -> str:
    """Empty for good; else since when and why it is revoked, or that the responder does not know it. Raises NoAnswer."""
    urls = [authority.responder] if authority.responder else responders(certificate)
    if not urls:
        raise NoAnswer("no OCSP responder is known: none is configured, and the certificate names none")
    reasons = []
    for url in urls:
        try:
            return _read(_ask(url, certificate, authority), certificate, authority, url)
        except NoAnswer as reason:
            reasons.append(str(reason))
    raise NoAnswer("; ".join(reasons))


def responders(certificate: x509.Certificate) -> list[str]:
    """The URIs of OCSP in the certificate's authority information access."""
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return []
    places = [entry.access_location for entry in access if entry.access_method == AuthorityInformationAccessOID.OCSP]
    return [place.value for place in places if isinstance(place, x509.UniformResourceIdentifier)]


def _ask(url: str, certificate: x509.Certificate, authority: Authority) -> ocsp.OCSPResponse:
    # SHA-1 names the CA here and protects nothing; responders know it when they know nothing else (RFC 6960, B.1).
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, authority.certificate, hashes.SHA1())
    body = builder.build().public_bytes(serialization.Encoding.DER)
    request = urllib.request.Request(url, body, {"Content-Type": "application/ocsp-request"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT) as answer:
            return ocsp.load_der_ocsp_response(answer.read(100_000))
    except ValueError:
        raise NoAnswer(f"the OCSP responder {url} does not answer in OCSP") from None
    except (OSError, urllib.error.URLError) as error:
        raise NoAnswer(f"the OCSP responder {url} cannot be reached: {getattr(error, 'reason', None) or error}") from None


def _read(response: ocsp.OCSPResponse, certificate: x509.Certificate, authority: Authority, url: str) -> str:
    if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise NoAnswer(f"the OCSP responder {url} answers {response.response_status.name.lower()}")
    now = datetime.now(timezone.utc)
    if response.serial_number != certificate.serial_number or not _signed(response, authority.certificate, now):
        raise NoAnswer(f"the answer of the OCSP responder {url} is foreign")
    if response.this_update_utc > now or (response.next_update_utc is not None and response.next_update_utc < now):
        raise NoAnswer(f"the answer of the OCSP responder {url} is not fresh")
    if response.certificate_status is ocsp.OCSPCertStatus.GOOD:
        return ""
    if response.certificate_status is ocsp.OCSPCertStatus.UNKNOWN:
        return f"the OCSP responder {url} does not know the certificate"
    why = response.revocation_reason.value if response.revocation_reason else "unspecified"
    return f"revoked at {response.revocation_time_utc:%Y-%m-%d %H:%M} UTC ({why}), says the OCSP responder {url}"


def _signed(response: ocsp.OCSPResponse, authority: x509.Certificate, now: datetime) -> bool:
    """By the CA, or by one whom the CA has made a responder (RFC 6960, 4.2.2.2)."""
    return any(
        _verifies(response, signer)
        for signer in (authority, *filter(lambda one: _is_responder(one, authority, now), response.certificates))
    )


def _is_responder(certificate: x509.Certificate, authority: x509.Certificate, now: datetime) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return ExtendedKeyUsageOID.OCSP_SIGNING in usages and certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def _verifies(response: ocsp.OCSPResponse, signer: x509.Certificate) -> bool:
    key, digest = signer.public_key(), response.signature_hash_algorithm
    if digest is None:
        return False
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(response.signature, response.tbs_response_bytes, padding.PKCS1v15(), digest)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(response.signature, response.tbs_response_bytes, ec.ECDSA(digest))
        else:
            return False
    except InvalidSignature:
        return False
    return True
