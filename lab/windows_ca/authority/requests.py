# SPDX-License-Identifier: GPL-3.0-or-later
"""What clients send ([MS-WCCE] 2.2.2.6): PKCS#10, or PKCS#10 in CMS signed by an enrollment agent or by the certificate to be renewed."""

# mypy: disable-error-code="misc,import-untyped,abstract"
from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field

from asn1crypto import cms, core
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from lab.windows_ca.authority import extensions
from lab.windows_ca.authority.errors import BAD_SIGNATURE, BAD_TAG, NOT_SUPPORTED, CertSrvError

RENEWAL_CERTIFICATE = "1.3.6.1.4.1.311.13.1"
NAME_VALUE_PAIR = "1.3.6.1.4.1.311.13.2.1"
REQUEST_EXTENSIONS = ("1.2.840.113549.1.9.14", "1.3.6.1.4.1.311.2.1.14")
CMC = "1.3.6.1.5.5.7.12.2"
HASHES = {"sha1": hashes.SHA1, "sha224": hashes.SHA224, "sha256": hashes.SHA256, "sha384": hashes.SHA384, "sha512": hashes.SHA512}


class NameValuePair(core.Sequence):
    _fields = [("name", core.BMPString), ("value", core.BMPString)]


class Extension(core.Sequence):
    _fields = [("extn_id", core.ObjectIdentifier), ("critical", core.Boolean, {"default": False}), ("extn_value", core.OctetString)]


class Extensions(core.SequenceOf):
    _child_spec = Extension


class Attribute(core.Sequence):
    _fields = [("type", core.ObjectIdentifier), ("values", core.SetOf, {"spec": core.Any})]


class Attributes(core.SetOf):
    _child_spec = Attribute


class RequestInfo(core.Sequence):
    _fields = [
        ("version", core.Integer),
        ("subject", core.Any),
        ("key", core.Any),
        ("attributes", Attributes, {"implicit": 0, "optional": True}),
    ]


class Request(core.Sequence):
    _fields = [("info", RequestInfo), ("algorithm", core.Any), ("signature", core.OctetBitString)]


@dataclass(frozen=True)
class ParsedRequest:
    pkcs10: x509.CertificateSigningRequest
    extensions: dict[str, bytes]
    """requested, OID -> DER"""
    attributes: dict[str, str] = field(default_factory=dict)
    """name-value pairs, names in lower case; of the PKCS#10 and of the signatures"""
    renewal_of: bytes | None = None
    """DER of the certificate that the request says it renews"""
    signers: tuple[bytes, ...] = ()
    """DER of the certificates whose keys signed the CMS around it; the signatures hold"""
    chain: tuple[bytes, ...] = ()
    """all certificates that came along"""

    @property
    def subject(self) -> x509.Name:
        return self.pkcs10.subject

    @property
    def key_bits(self) -> int:
        key = self.pkcs10.public_key()
        if isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey)):
            return key.key_size
        raise CertSrvError(NOT_SUPPORTED, "the stand-in knows RSA and elliptic curve keys only")


def der_of(content: bytes) -> bytes:
    """DER, PEM or bare base64, as `certreq -submit` takes them."""
    text = content.strip()
    if text[:1] == b"\x30":
        return content
    body = re.sub(rb"-----(BEGIN|END)[^-]*-----", b"", text)
    try:
        return base64.b64decode(b"".join(body.split()), validate=True)
    except binascii.Error as error:
        raise CertSrvError(BAD_TAG) from error


def parse(content: bytes) -> ParsedRequest:
    """Raises CertSrvError: 0x8009310b for what is no request, 0x80090006 for a signature that does not hold."""
    der = der_of(content)
    try:
        info = cms.ContentInfo.load(der, strict=True)
        signed = info["content_type"].native == "signed_data"
    except (ValueError, TypeError, KeyError):
        signed = False
    try:
        return parse_signed(info) if signed else parse_pkcs10(der)
    except (ValueError, TypeError, KeyError, OverflowError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise CertSrvError(BAD_TAG) from error


def parse_pkcs10(der: bytes) -> ParsedRequest:
    pkcs10 = x509.load_der_x509_csr(der)
    list(pkcs10.subject)  # read now, while a mistake in it is still the request's
    if not pkcs10.is_signature_valid:
        raise CertSrvError(BAD_SIGNATURE)
    wanted: dict[str, bytes] = {}
    pairs: dict[str, str] = {}
    renewal = None
    for attribute in Request.load(der, strict=True)["info"]["attributes"] or []:
        kind = attribute["type"].native if attribute["type"].native[:1].isdigit() else attribute["type"].dotted
        for value in attribute["values"]:
            if kind in REQUEST_EXTENSIONS:
                found = Extensions.load(value.dump())
                wanted.update({extension["extn_id"].dotted: extension["extn_value"].native for extension in found})
            elif kind == NAME_VALUE_PAIR:
                pair = NameValuePair.load(value.dump())
                pairs[pair["name"].native.lower()] = pair["value"].native
            elif kind == RENEWAL_CERTIFICATE:
                renewal = asn1_x509.Certificate.load(value.dump()).dump()
    return ParsedRequest(pkcs10, wanted, pairs, renewal)


def parse_signed(info: cms.ContentInfo) -> ParsedRequest:
    """A CMS SignedData around a PKCS#10 or around another such CMS."""
    data = info["content"]
    inner = data["encap_content_info"]
    if inner["content_type"].dotted == CMC:
        raise CertSrvError(NOT_SUPPORTED, "CMC requests are not modelled by the stand-in: send PKCS#10, or PKCS#10 in a CMS SignedData")
    content = inner["content"].native
    if not isinstance(content, bytes):
        raise CertSrvError(BAD_TAG)
    below = parse(content)
    chain = tuple(choice.chosen.dump() for choice in data["certificates"] if choice.name == "certificate")
    signers, pairs = [], dict(below.attributes)
    for signer in data["signer_infos"]:
        certificate = signer_certificate(signer, chain)
        verify(signer, certificate, content)
        signers.append(certificate)
        for attribute in signer["signed_attrs"] or []:
            if attribute["type"].dotted == NAME_VALUE_PAIR:
                for value in attribute["values"]:
                    pair = NameValuePair.load(value.dump())
                    pairs[pair["name"].native.lower()] = pair["value"].native
    return ParsedRequest(below.pkcs10, below.extensions, pairs, below.renewal_of, (*below.signers, *signers), (*below.chain, *chain))


def signer_certificate(signer: cms.SignerInfo, chain: tuple[bytes, ...]) -> bytes:
    for der in chain:
        found = asn1_x509.Certificate.load(der)
        if signer["sid"].name == "issuer_and_serial_number":
            wanted = signer["sid"].chosen
            if found.issuer.dump() == wanted["issuer"].dump() and found.serial_number == wanted["serial_number"].native:
                return der
        elif found.key_identifier == signer["sid"].chosen.native:
            return der
    raise CertSrvError(BAD_SIGNATURE, "the signer's certificate is not in the request")


def verify(signer: cms.SignerInfo, certificate: bytes, content: bytes) -> None:
    """The signature of one signer over the content (RFC 5652 5.4)."""
    digest = HASHES.get(signer["digest_algorithm"]["algorithm"].native)
    if digest is None:
        raise CertSrvError(BAD_SIGNATURE)
    signed = content
    if signer["signed_attrs"]:
        computed = hashes.Hash(digest())
        computed.update(content)
        said = [
            value.native
            for attribute in signer["signed_attrs"]
            if attribute["type"].native == "message_digest"
            for value in attribute["values"]
        ]
        if said != [computed.finalize()]:
            raise CertSrvError(BAD_SIGNATURE)
        signed = b"\x31" + signer["signed_attrs"].dump()[1:]
    key = x509.load_der_x509_certificate(certificate).public_key()
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signer["signature"].native, signed, padding.PKCS1v15(), digest())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signer["signature"].native, signed, ec.ECDSA(digest()))
        else:
            raise CertSrvError(NOT_SUPPORTED, "the stand-in knows RSA and elliptic curve keys only")
    except InvalidSignature as error:
        raise CertSrvError(BAD_SIGNATURE) from error


def requested_template(request: ParsedRequest) -> tuple[str | None, str | None]:
    """What the request itself says about its template: name (1.3.6.1.4.1.311.20.2) and OID (1.3.6.1.4.1.311.21.7)."""
    name = request.extensions.get(extensions.TEMPLATE_NAME)
    oid = request.extensions.get(extensions.TEMPLATE)
    try:
        return (
            None if name is None else core.BMPString.load(name).native,
            None if oid is None else extensions.TemplateInformation.load(oid)["oid"].dotted,
        )
    except (ValueError, TypeError) as error:
        raise CertSrvError(BAD_TAG) from error


def pem(label: str, der: bytes) -> bytes:
    text = base64.encodebytes(der).decode().replace("\n", "")
    lines = "\r\n".join(text[i : i + 64] for i in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\r\n{lines}\r\n-----END {label}-----\r\n".encode()


def certificate_der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)
