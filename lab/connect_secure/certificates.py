# SPDX-License-Identifier: GPL-3.0-or-later
"""The appliance's certificates: device certificates with keys that never leave it, pending requests, trusted client CAs.

The kinds of stores, file formats and settings are the vendor's (administration guide); the operations' paths, bodies, names of what is
imported and
texts of refusals are inferred.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import re
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs7, pkcs12
from cryptography.x509.oid import NameOID

from lab.connect_secure.answers import NotModelled, Refused
from lab.connect_secure.state import State, Tree, elements
from lab.connect_secure.wire import load

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
SUBJECT = {
    "common-name": NameOID.COMMON_NAME,
    "organization": NameOID.ORGANIZATION_NAME,
    "organizational-unit": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "locality": NameOID.LOCALITY_NAME,
    "state": NameOID.STATE_OR_PROVINCE_NAME,
    "country": NameOID.COUNTRY_NAME,
    "email": NameOID.EMAIL_ADDRESS,
}
REFUSED_CHARACTERS = '"\\<>;+=#,'
MEMBERS = {*SUBJECT, "name", "key-type", "key-length", "curve", "random-data"}
KEY_LENGTHS = ("1024", "2048", "3072", "4096")
CURVES: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
DEVICE, REQUEST, CLIENT_CA = "device_certificate", "certificate_request", "trusted_client_ca"
CLIENT_CA_DEFAULTS: dict[str, Any] = {
    "client-certificate-status-checking": "None",
    "verify-trusted-client-ca": "false",
    "trusted-for-client-authentication": "true",
    "participate-in-client-certificate-negotiation": "true",
    "crl-settings": {"cdp-source": "CDP(s) specified in the Trusted Client CA", "crl-download-frequency": "24"},
}


def listed(tree: Tree, resource: str) -> list[dict[str, Any]]:
    return elements(tree, load().paths[resource])


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def der_digest(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def key_digest(public: Any) -> str:
    spki = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


def key_pem(key: Any) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return str(key.private_bytes(encoding, form, serialization.NoEncryption()).decode())


def device_key(state: State, certificate_pem: str) -> str:
    """The private key (PEM) of a device certificate."""
    return state.private["keys"][key_digest(x509.load_pem_x509_certificate(certificate_pem.encode()).public_key())]


def device_chain(state: State, certificate_pem: str) -> str:
    """The issuers' certificates (PEM, one after the other) that came with a device certificate."""
    return state.private["chains"].get(der_digest(x509.load_pem_x509_certificate(certificate_pem.encode())), "")


# Reading what is uploaded


def read_certificates(text: Any) -> list[x509.Certificate]:
    """Certificates from PEM, or base64 of DER or of PKCS#7 (DER or PEM inside)."""
    if not isinstance(text, str) or not text.strip():
        raise Refused(422, "cert: a value is required")
    try:
        if "-----BEGIN PKCS7" in text:
            return list(pkcs7.load_pem_pkcs7_certificates(text.encode()))
        if "-----BEGIN" in text:
            return x509.load_pem_x509_certificates(text.encode())
        raw = base64.b64decode("".join(text.split()), validate=True)
        return _read_der(raw)
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        raise Refused(422, "The certificate is not in a supported format, or is damaged") from None


def _read_der(raw: bytes) -> list[x509.Certificate]:
    if raw.startswith(b"-----BEGIN"):
        return read_certificates(raw.decode("ascii", "replace"))
    try:
        return [x509.load_der_x509_certificate(raw)]
    except ValueError:
        return list(pkcs7.load_der_pkcs7_certificates(raw))


def _common_name(certificate: x509.Certificate) -> str:
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else certificate.subject.rfc4514_string()


def _free_name(wanted: str, taken: set[str], certificate: x509.Certificate) -> str:
    return wanted if wanted not in taken else f"{wanted}-{der_digest(certificate)[:8]}"


def _age_warnings(certificates: list[x509.Certificate], now: datetime.datetime) -> list[str]:
    return [
        f"The certificate '{_common_name(certificate)}' has expired"
        for certificate in certificates
        if certificate.not_valid_after_utc < now
    ] + [
        f"The certificate '{_common_name(certificate)}' is not yet valid"
        for certificate in certificates
        if certificate.not_valid_before_utc > now
    ]


# Requests

HOST_NAME = re.compile(r"(\*\.)?([A-Za-z0-9-]+\.)+[A-Za-z0-9-]+")


def create_request(state: State, tree: Tree, body: dict[str, Any]) -> str:
    """A key and a CSR made on the appliance; the name of the pending request."""
    unknown = sorted(set(body) - MEMBERS)
    if unknown:
        raise NotModelled(f"{unknown[0]} is not a member of a certificate request")
    wrong = [member for member, value in body.items() if not isinstance(value, str)]
    if wrong:
        raise Refused(422, f"{wrong[0]}: a string is expected")
    subject = _subject(body)
    name = body.get("name") or body["common-name"]
    if any(entry["name"] == name for entry in listed(tree, REQUEST)):
        raise Refused(422, f"certificate request '{name}' already exists")
    key, described = _new_key(body)
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if HOST_NAME.fullmatch(body["common-name"]):
        # inferred: without it no browser would take the certificate of a product whose users come by browser
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(body["common-name"])]), critical=False)
    csr = builder.sign(key, hashes.SHA256())
    text = csr.public_bytes(serialization.Encoding.PEM).decode()
    listed(tree, REQUEST).append({"name": name, "subject": subject.rfc4514_string(), **described, "csr": text})
    state.private["keys"][key_digest(key.public_key())] = key_pem(key)
    return str(name)


def _subject(body: dict[str, Any]) -> x509.Name:
    if not body.get("common-name"):
        raise Refused(422, "common-name: a value is required")
    attributes = []
    for member, oid in SUBJECT.items():
        value = body.get(member, "")
        if not value:
            continue
        refused = sorted({character for character in value if character in REFUSED_CHARACTERS or ord(character) < 32})
        if refused:
            raise Refused(422, f"{member}: the character {refused[0]!r} is not allowed")
        if len(value) > 64:
            raise Refused(422, f"{member}: longer than 64 characters")
        if member == "country" and not re.fullmatch("[A-Z]{2}", value):
            raise Refused(422, "country: two capital letters are expected")
        try:
            attributes.append(x509.NameAttribute(oid, value))
        except ValueError as error:
            raise Refused(422, f"{member}: {error}") from None
    order = {oid: number for number, oid in enumerate((NameOID.COUNTRY_NAME, NameOID.STATE_OR_PROVINCE_NAME, NameOID.LOCALITY_NAME))}
    order |= {NameOID.ORGANIZATION_NAME: 3, NameOID.ORGANIZATIONAL_UNIT_NAME: 4, NameOID.COMMON_NAME: 5, NameOID.EMAIL_ADDRESS: 6}
    return x509.Name(sorted(attributes, key=lambda attribute: order[attribute.oid]))


def _new_key(body: dict[str, Any]) -> tuple[PrivateKey, dict[str, str]]:
    kind = body.get("key-type") or "RSA"
    if kind == "RSA":
        length = body.get("key-length") or "2048"
        if length not in KEY_LENGTHS:
            raise Refused(422, f"key-length: '{length}' is none of {', '.join(KEY_LENGTHS)}")
        return rsa.generate_private_key(65537, int(length)), {"key-type": "RSA", "key-length": length}
    if kind == "ECC":
        curve = body.get("curve") or "P-256"
        if curve not in CURVES:
            raise Refused(422, f"curve: '{curve}' is none of {', '.join(CURVES)}")
        return ec.generate_private_key(CURVES[curve]), {"key-type": "ECC", "curve": curve}
    raise Refused(422, f"key-type: '{kind}' is none of RSA, ECC")


def delete_request(tree: Tree, name: str) -> None:
    listed(tree, REQUEST).remove(_pending(tree, name))


def _pending(tree: Tree, name: str) -> dict[str, Any]:
    found = next((entry for entry in listed(tree, REQUEST) if entry["name"] == name), None)
    if found is None:
        raise Refused(404, f"The certificate request '{name}' does not exist")
    return found


def import_signed(state: State, tree: Tree, name: str, body: dict[str, Any], now: datetime.datetime) -> list[str]:
    """The signed certificate (and its issuers) into its pending request, which it ends. Returns warnings."""
    request = _pending(tree, name)
    _only(body, "cert")
    certificates = read_certificates(body.get("cert"))
    wanted = key_digest(x509.load_pem_x509_csr(request["csr"].encode()).public_key())
    own = next((certificate for certificate in certificates if key_digest(certificate.public_key()) == wanted), None)
    if own is None:
        raise Refused(422, f"The certificate does not match the private key of the pending request '{name}'")
    listed(tree, REQUEST).remove(request)
    _add_device(state, tree, name, own, [certificate for certificate in certificates if certificate is not own])
    return _age_warnings([own], now)


# Device certificates


def add_device(
    state: State, tree: Tree, name: str, certificate: x509.Certificate, key: Any, issuers: list[x509.Certificate]
) -> dict[str, Any]:
    state.private["keys"][key_digest(certificate.public_key())] = key_pem(key)
    return _add_device(state, tree, name, certificate, issuers)


def _add_device(state: State, tree: Tree, name: str, certificate: x509.Certificate, issuers: list[x509.Certificate]) -> dict[str, Any]:
    present = listed(tree, DEVICE)
    text = pem(certificate)
    if any(entry["certificate"] == text for entry in present):
        raise Refused(422, "This device certificate already exists")
    element = {
        "name": _free_name(name, {entry["name"] for entry in present}, certificate),
        "certificate": text,
        "internal-ports": [],
        "external-ports": [],
        "management-port": "false",
    }
    if issuers:
        state.private["chains"][der_digest(certificate)] = "".join(pem(issuer) for issuer in issuers)
    present.append(element)
    return element


def forget_unused_keys(state: State) -> None:
    """With a device certificate goes its key, unless another certificate or request is for it."""
    used = {key_digest(x509.load_pem_x509_certificate(entry["certificate"].encode()).public_key()) for entry in listed(state.tree, DEVICE)}
    used |= {key_digest(x509.load_pem_x509_csr(entry["csr"].encode()).public_key()) for entry in listed(state.tree, REQUEST)}
    if unused := set(state.private["keys"]) - used:
        for digest in unused:
            del state.private["keys"][digest]
        state.save()


def import_device(state: State, tree: Tree, body: dict[str, Any], now: datetime.datetime) -> list[str]:
    """`{"cert": base64 of PKCS#12, "password", "internalPorts", "externalPorts", "managementInterface"}`. Returns warnings."""
    _only(body, "cert", "password", "internalPorts", "externalPorts", "managementInterface")
    key, certificate, issuers = _read_pkcs12(body)
    ports = {}
    for member, name in (("internalPorts", "internal-ports"), ("externalPorts", "external-ports")):
        value = body.get(member, [])
        if not isinstance(value, list) or not all(isinstance(port, str) for port in value):
            raise Refused(422, f"{member}: a list of names is expected")
        ports[name] = value
    management = body.get("managementInterface", False)
    if not isinstance(management, bool):
        raise Refused(422, "managementInterface: true or false is expected")
    element = add_device(state, tree, _common_name(certificate), certificate, key, issuers)
    element |= {**ports, "management-port": "true" if management else "false"}
    return _age_warnings([certificate], now)


def _read_pkcs12(body: dict[str, Any]) -> tuple[Any, x509.Certificate, list[x509.Certificate]]:
    text, password = body.get("cert"), body.get("password") or ""
    if not isinstance(text, str) or not isinstance(password, str):
        raise Refused(422, "cert, password: strings are expected")
    if any(character.isspace() for character in text):
        raise Refused(422, "cert: white space is not allowed")
    try:
        found = pkcs12.load_pkcs12(base64.b64decode(text, validate=True), password.encode() or None)
    except (ValueError, TypeError, binascii.Error, UnsupportedAlgorithm):
        raise Refused(422, "The PKCS#12 file cannot be read: it is damaged, or the password is wrong") from None
    if found.key is None or found.cert is None:
        raise Refused(422, "Could not read private key")
    if not isinstance(found.key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
        raise Refused(422, "The key is neither RSA nor ECC")
    return found.key, found.cert.certificate, [entry.certificate for entry in found.additional_certs]


def _only(body: dict[str, Any], *members: str) -> None:
    unknown = sorted(set(body) - set(members))
    if unknown:
        raise NotModelled(f"{unknown[0]} is not a known member of this operation")


# Trusted client CAs


def import_client_cas(tree: Tree, body: dict[str, Any], now: datetime.datetime) -> tuple[list[str], list[str]]:
    """Each CA of the file becomes a trusted client CA. Returns names and warnings. `name`: only for a file with one certificate."""
    _only(body, "cert", "name")
    certificates = read_certificates(body.get("cert"))
    if not certificates:
        raise Refused(422, "The file holds no certificate")
    if body.get("name") is not None and (len(certificates) != 1 or not isinstance(body["name"], str) or not body["name"]):
        raise Refused(422, "name: only for a file with one certificate")
    present = listed(tree, CLIENT_CA)
    names = []
    for certificate in certificates:
        _must_be_authority(certificate)
        known = next((entry for entry in present if entry["certificate"] == pem(certificate)), None)
        if known is not None:
            raise Refused(422, f"trusted client CA '{known['name']}' already exists")
        taken = {entry["name"] for entry in present}
        if body.get("name") in taken:
            raise Refused(422, f"trusted client CA '{body['name']}' already exists")
        name = body.get("name") or _free_name(_common_name(certificate), taken, certificate)
        settings = {member: dict(value) if isinstance(value, dict) else value for member, value in CLIENT_CA_DEFAULTS.items()}
        present.append({"name": name, "certificate": pem(certificate), **settings})
        names.append(name)
    return names, _age_warnings(certificates, now)


def _must_be_authority(certificate: x509.Certificate) -> None:
    try:
        authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        authority = certificate.version == x509.Version.v1 and _self_signed(certificate)
    except ValueError:
        authority = False
    if not authority:
        raise Refused(422, f"The certificate '{_common_name(certificate)}' is not a CA certificate")


def _self_signed(certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


# What the stand-in makes for itself


def make_authority(name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A CA of the stand-in's own, for the certificate that it begins with."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(subject, subject, key.public_key(), days=3650)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(authority=True), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return builder.sign(key, hashes.SHA256()), key


def make_server(
    hosts: list[x509.GeneralName],
    name: str,
    issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None,
    *,
    days: int = 365,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A TLS server's certificate by `issuer`, or one that it signed itself; `days` < 0: expired."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    authority, signing = issuer or (None, key)
    builder = _builder(subject, authority.subject if authority else subject, key.public_key(), days)
    builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(authority=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key())
    builder = builder.add_extension(identifier, critical=False)
    return builder.sign(signing, hashes.SHA256()), key


def _builder(subject: x509.Name, issuer: x509.Name, public: Any, days: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    start = min(now, now + datetime.timedelta(days=days)) - datetime.timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(start)
    return builder.not_valid_after(now + datetime.timedelta(days=days))


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
