# SPDX-License-Identifier: GPL-3.0-or-later
"""Extensions of certificates and CRLs: Microsoft's own ([MS-WCCE] 2.2.2.7) and those that the builder of certificates has no class for."""

# mypy: disable-error-code="misc,import-untyped"
from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence
from datetime import datetime

from asn1crypto import core
from cryptography import x509
from cryptography.x509.oid import ObjectIdentifier

from lab.windows_ca.authority.errors import INVALID_ARGUMENT, CertSrvError

TEMPLATE_NAME = "1.3.6.1.4.1.311.20.2"
TEMPLATE = "1.3.6.1.4.1.311.21.7"
APPLICATION_POLICIES = "1.3.6.1.4.1.311.21.10"
CA_VERSION = "1.3.6.1.4.1.311.21.1"
PREVIOUS_CA_HASH = "1.3.6.1.4.1.311.21.2"
NEXT_PUBLISH = "1.3.6.1.4.1.311.21.4"
PUBLISHED_CRL_LOCATIONS = "1.3.6.1.4.1.311.21.14"
SID = "1.3.6.1.4.1.311.25.2"
SID_NAME = "1.3.6.1.4.1.311.25.2.1"
UPN = "1.3.6.1.4.1.311.20.2.3"
GUID = "1.3.6.1.4.1.311.25.1"
SMIME_CAPABILITIES = "1.2.840.113549.1.9.15"
SAN, KEY_USAGE, BASIC_CONSTRAINTS, EKU, CERTIFICATE_POLICIES = "2.5.29.17", "2.5.29.15", "2.5.29.19", "2.5.29.37", "2.5.29.32"
SKI, AKI, CDP, AIA, OCSP_NOCHECK = "2.5.29.14", "2.5.29.35", "2.5.29.31", "1.3.6.1.5.5.7.1.1", "1.3.6.1.5.5.7.48.1.5"
REQUEST_AGENT = "1.3.6.1.4.1.311.20.2.1"
ANY_PURPOSE = "2.5.29.37.0"


class TemplateInformation(core.Sequence):
    _fields = [("oid", core.ObjectIdentifier), ("major", core.Integer), ("minor", core.Integer, {"optional": True})]


class Policy(core.Sequence):
    _fields = [("oid", core.ObjectIdentifier), ("qualifiers", core.Any, {"optional": True})]


class Policies(core.SequenceOf):
    _child_spec = Policy


def raw(oid: str, der: bytes) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(ObjectIdentifier(oid), der)


def template_name(name: str) -> x509.UnrecognizedExtension:
    return raw(TEMPLATE_NAME, core.BMPString(name).dump())


def template(oid: str, major: int, minor: int) -> x509.UnrecognizedExtension:
    return raw(TEMPLATE, TemplateInformation({"oid": oid, "major": major, "minor": minor}).dump())


def application_policies(oids: Iterable[str]) -> x509.UnrecognizedExtension:
    return raw(APPLICATION_POLICIES, Policies([{"oid": oid} for oid in oids]).dump())


def application_policies_of(certificate: x509.Certificate) -> set[str]:
    """Application policies, or the extended key usages where there are none ([MS-WCCE] 3.2.2.6.2.1.4.5.2)."""
    for extension in certificate.extensions:
        if extension.oid.dotted_string == APPLICATION_POLICIES and isinstance(extension.value, x509.UnrecognizedExtension):
            return {policy["oid"].dotted for policy in Policies.load(extension.value.value)}
    try:
        return {usage.dotted_string for usage in certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value}
    except x509.ExtensionNotFound:
        return set()


def template_of(certificate: x509.Certificate) -> str | None:
    """The template's name (version 1) or OID."""
    for extension in certificate.extensions:
        if not isinstance(extension.value, x509.UnrecognizedExtension):
            found = getattr(extension.value, "template_id", None)  # newer libraries know this one
            if found is not None:
                return str(found.dotted_string)
        elif extension.oid.dotted_string == TEMPLATE_NAME:
            return str(core.BMPString.load(extension.value.value).native)
        elif extension.oid.dotted_string == TEMPLATE:
            return str(TemplateInformation.load(extension.value.value)["oid"].dotted)
    return None


def version(certificate_index: int, key_index: int) -> x509.UnrecognizedExtension:
    return raw(CA_VERSION, core.Integer(certificate_index | key_index << 16).dump())


def sid(text: str) -> x509.UnrecognizedExtension:
    """[MS-WCCE] 2.2.2.7.7.4: a GeneralNames of one OtherName."""
    return raw(SID, bytes(x509.SubjectAlternativeName([other_name(SID_NAME, core.OctetString(text.encode()).dump())]).public_bytes()))


def other_name(oid: str, der: bytes) -> x509.OtherName:
    return x509.OtherName(ObjectIdentifier(oid), der)


def upn(name: str) -> x509.OtherName:
    return other_name(UPN, core.UTF8String(name).dump())


def guid(value: bytes) -> x509.OtherName:
    return other_name(GUID, core.OctetString(value).dump())


def key_usage(data: bytes) -> x509.KeyUsage:
    """From pKIKeyUsage: one or two octets of a BIT STRING, the first bit being digitalSignature."""
    first, second = (*data, 0, 0)[:2]
    agreement = bool(first & 0x08)
    return x509.KeyUsage(
        digital_signature=bool(first & 0x80),
        content_commitment=bool(first & 0x40),
        key_encipherment=bool(first & 0x20),
        data_encipherment=bool(first & 0x10),
        key_agreement=agreement,
        key_cert_sign=bool(first & 0x04),
        crl_sign=bool(first & 0x02),
        encipher_only=agreement and bool(first & 0x01),
        decipher_only=agreement and bool(second & 0x80),
    )


def points(urls: Sequence[str]) -> list[x509.DistributionPoint]:
    """One point with all URLs, as AD CS writes it."""
    names = [x509.UniformResourceIdentifier(url) for url in urls]
    return [x509.DistributionPoint(full_name=names, relative_name=None, reasons=None, crl_issuer=None)]


def next_publish(moment: datetime) -> x509.UnrecognizedExtension:
    text = moment.strftime("%y%m%d%H%M%SZ")
    return raw(NEXT_PUBLISH, b"\x17" + bytes([len(text)]) + text.encode())


def attribute_names(text: str) -> list[x509.GeneralName]:
    """The names of a request attribute "SAN" ("dns=a&upn=b&email=c", EDITF_ATTRIBUTESUBJECTALTNAME2)."""
    names: list[x509.GeneralName] = []
    for part in re.split(r"[&\r\n]+", text.strip()):
        kind, separator, value = part.partition("=")
        kind, value = kind.strip().lower(), value.strip()
        if not separator or not value:
            raise CertSrvError(INVALID_ARGUMENT, f"request attribute SAN: {part!r} is not of the form KIND=VALUE")
        if kind == "dns":
            names.append(x509.DNSName(value))
        elif kind == "upn":
            names.append(upn(value))
        elif kind == "email":
            names.append(x509.RFC822Name(value))
        elif kind == "url":
            names.append(x509.UniformResourceIdentifier(value))
        elif kind == "guid":
            names.append(guid(struct.pack("16s", bytes.fromhex(value.strip("{}").replace("-", "")))))
        else:
            raise CertSrvError(INVALID_ARGUMENT, f"request attribute SAN: {kind}= is not modelled by the stand-in")
    return names
