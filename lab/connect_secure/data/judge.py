# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a user's certificate is good, as the appliance would say: chain to a trusted client CA, time, purpose, revocation. Pure.

A usable client certificate: valid time, key usage digitalSignature, EKU clientAuth, chain to a Trusted Client CA (Pulse Secure's
KB45524). Fail closed: where a CA's CRL must be looked at and none is good, nobody with a certificate of that CA gets in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID

from lab.connect_secure.data.plan import Authority

# For an authority and the certificate in question: its CRL, or why there is none that may be used.
FindCrl = Callable[[Authority, x509.Certificate], x509.CertificateRevocationList | str]
# What OCSP says of a certificate: empty for good, a reason, or None where nobody answers.
AskOcsp = Callable[[x509.Certificate, Authority], str | None]


@dataclass(frozen=True)
class Verdict:
    """`reason`: empty if the certificate is good. `authority`: the CA that issued it, where there is such a one."""

    reason: str
    authority: Authority | None = None
    revoked: bool = False


def judge(
    certificate: x509.Certificate,
    authorities: Sequence[Authority],
    find_crl: FindCrl,
    now: datetime,
    ask_ocsp: AskOcsp = lambda *_: None,
) -> Verdict:
    issuer = certificate.issuer.rfc4514_string()
    named = [authority for authority in authorities if authority.certificate.subject == certificate.issuer]
    signers = [authority for authority in named if issued_by(certificate, authority.certificate)]
    if not named:
        return Verdict(f"unknown CA: no trusted client CA is called {issuer}")
    if not signers:
        return Verdict(f"unknown CA: it names {issuer} as its issuer, but was signed with another key")
    authority = next((signer for signer in signers if signer.client_authentication), signers[0])
    if not authority.client_authentication:
        return Verdict(f"the CA {authority.name} is not trusted for client authentication", authority)
    reason = (
        _time(certificate, "certificate", now)
        or _time(authority.certificate, f"certificate of the CA {authority.name}", now)
        or _purpose(certificate)
    )
    if reason:
        return Verdict(reason, authority)
    said = ask_ocsp(certificate, authority) if authority.asks_ocsp else None
    if said:
        return Verdict(said, authority, revoked=said.startswith("revoked"))
    if said is None and authority.status == "ocsp":
        return Verdict(f"no OCSP responder of the CA {authority.name} has answered", authority)
    if said == "":
        return Verdict(_above(authority, authorities, find_crl), authority)
    return _revocation(certificate, authority, authorities, find_crl)


def closed(
    authority: Authority,
    authorities: Sequence[Authority],
    find_crl: Callable[[Authority], x509.CertificateRevocationList | str],
    now: datetime,
) -> str:
    """Why everyone of this CA is denied; empty if its users are judged one by one."""
    reason = _time(authority.certificate, "CA's certificate", now)
    if reason:
        return reason
    # CDPs of client certificates, OCSP: whether something can be asked turns out with each who signs in.
    found = find_crl(authority) if authority.status == "crl" and authority.cdp_source != "client_certificate" else ""
    if isinstance(found, str) and found:
        return found
    return _above(authority, authorities, lambda other, _: find_crl(other))


def issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _time(certificate: x509.Certificate, what: str, now: datetime) -> str:
    if certificate.not_valid_after_utc < now:
        return f"the {what} expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    if certificate.not_valid_before_utc > now:
        return f"the {what} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
    return ""


def _purpose(certificate: x509.Certificate) -> str:
    try:
        usages = list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return "wrong EKU: the certificate has no extended key usage, clientAuth is demanded"
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usages and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in usages:
        return f"wrong EKU: the certificate is for {', '.join(usage._name for usage in usages)}, clientAuth is demanded"
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return ""
    return "" if usage.digital_signature else "wrong key usage: digitalSignature is demanded"


def _revocation(certificate: x509.Certificate, authority: Authority, authorities: Sequence[Authority], find_crl: FindCrl) -> Verdict:
    if authority.checks_crl:
        crl = find_crl(authority, certificate)
        if isinstance(crl, str):
            return Verdict(f"everyone of the CA {authority.name} is denied: {crl}", authority)
        entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
        if entry is not None and _code(entry) != "removeFromCRL":
            return Verdict(f"revoked at {entry.revocation_date_utc:%Y-%m-%d %H:%M} UTC ({_code(entry)})", authority, revoked=True)
    return Verdict(_above(authority, authorities, find_crl), authority)


def _above(authority: Authority, authorities: Sequence[Authority], find_crl: FindCrl) -> str:
    """Why the CA itself is not good, by the CRL of the CA that issued it, where it is to be verified."""
    own = authority.certificate
    if not authority.verify_ca or own.subject == own.issuer:
        return ""
    above = next((other for other in authorities if other.certificate.subject == own.issuer and issued_by(own, other.certificate)), None)
    if above is None:
        return f"the CA {authority.name} is to be verified, but its issuer {own.issuer.rfc4514_string()} is no trusted client CA"
    reason = _revocation(own, above, authorities, find_crl).reason
    return f"the CA {authority.name}: {reason}" if reason else ""


def _code(entry: x509.RevokedCertificate) -> str:
    try:
        return str(entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value)
    except x509.ExtensionNotFound:
        return "unspecified"
