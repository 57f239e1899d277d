# SPDX-License-Identifier: GPL-3.0-or-later
"""The device CA: its certificate, requests, device certificates and CRLs (protocol section 3.4; RFC 2986, RFC 5280)."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from ipaddress import ip_network

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from passivekey.protocol import keys
from passivekey.protocol.errors import Refused

DEVICE_DAYS = 90
RENEW_AT = 2 / 3
"""Of a certificate's life."""

_BACKDATED = datetime.timedelta(minutes=5)
_SIGNING = dict.fromkeys(
    ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False
)


def authority(key: ec.EllipticCurvePrivateKey, name: str, host: str, now: datetime.datetime, years: int = 10) -> x509.Certificate:
    """The CA's own certificate: it can make certificates of devices of this server, and none that names anything else."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    # mail addresses: all but one that nobody can have, for the library cannot write "all" of them
    only = [x509.UniformResourceIdentifier(host), x509.RFC822Name("nobody@invalid")]
    never = [x509.DNSName(""), x509.IPAddress(ip_network("0.0.0.0/0")), x509.IPAddress(ip_network("::/0"))]
    builder = _builder(subject, key.public_key(), now, datetime.timedelta(days=365 * years)).issuer_name(subject)
    for extension, critical in (
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (x509.KeyUsage(digital_signature=False, key_cert_sign=True, crl_sign=True, **_SIGNING), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        (x509.NameConstraints(only, never), True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
    ):
        builder = builder.add_extension(extension, critical)
    return builder.sign(key, SHA256())


def authority_id(ca: x509.Certificate) -> str:
    """By what a CA of this server is known, in addresses too: its key identifier, which its certificates have as well."""
    return ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()


def issuer_id(certificate: bytes) -> str:
    """The `authority_id` of who issued this certificate (DER)."""
    found = x509.load_der_x509_certificate(certificate).extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    return (found.value.key_identifier or b"").hex()


def requested_key(csr: bytes) -> keys.PublicKey:
    """The public key of a request whose self-signature is right; nothing else of it is looked at."""
    try:
        request = x509.load_der_x509_csr(csr)
        valid = request.is_signature_valid
        key = request.public_key()
    except (ValueError, UnsupportedAlgorithm, InvalidSignature, TypeError) as error:
        raise Refused("request-refused", "it is no certificate request") from error
    if not valid:
        raise Refused("request-refused", "its signature is not its key's")
    return keys.checked(key)


def device_uri(host: str, device: str) -> str:
    return f"passivekey://{host}/device/{device}"


def issue(
    ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey, device: str, key: keys.PublicKey, origin: str, now: datetime.datetime
) -> x509.Certificate:
    """The certificate of a device, by its id alone."""
    host = origin.removeprefix("https://").partition(":")[0]
    lifetime = min(datetime.timedelta(days=DEVICE_DAYS), ca.not_valid_after_utc - now)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device)])
    builder = _builder(subject, key, now, lifetime).issuer_name(ca.subject)
    address = f"{origin}/v1/crl/{authority_id(ca)}"
    point = x509.DistributionPoint([x509.UniformResourceIdentifier(address)], None, None, None)
    for extension, critical in (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.KeyUsage(digital_signature=True, key_cert_sign=False, crl_sign=False, **_SIGNING), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        (x509.SubjectAlternativeName([x509.UniformResourceIdentifier(device_uri(host, device))]), False),
        (x509.CRLDistributionPoints([point]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), False),
        (x509.SubjectKeyIdentifier.from_public_key(key), False),
    ):
        builder = builder.add_extension(extension, critical)
    return builder.sign(ca_key, SHA256())


def revocation_list(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    revoked: Iterable[tuple[int, datetime.datetime]],
    number: int,
    now: datetime.datetime,
    lifetime: datetime.timedelta,
) -> x509.CertificateRevocationList:
    """The CRL of these serial numbers, each with the time it was revoked at."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(ca.subject).last_update(now).next_update(now + lifetime)
    builder = builder.add_extension(x509.CRLNumber(number), False)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), False)
    for serial, at in revoked:
        builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at).build())
    return builder.sign(ca_key, SHA256())


def due(certificate: x509.Certificate, now: datetime.datetime, share: float = RENEW_AT) -> bool:
    """Whether it is time to renew."""
    begun, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return now >= begun + (ends - begun) * share


def _builder(subject: x509.Name, key: keys.PublicKey, now: datetime.datetime, life: datetime.timedelta) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).public_key(key).serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - _BACKDATED).not_valid_after(now + life)
