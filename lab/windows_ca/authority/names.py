# SPDX-License-Identifier: GPL-3.0-or-later
"""Names: of the CA in files and in the directory ([MS-WCCE] 3.1.1.4.1.1), in URLs with their % tokens, and X.500 names of certificates."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from cryptography import x509
from cryptography.x509.oid import NameOID

from lab.windows_ca.authority.errors import BAD_SUBJECT, NOT_SUPPORTED, CertSrvError

KINDS = {
    "CN": NameOID.COMMON_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "L": NameOID.LOCALITY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "S": NameOID.STATE_OR_PROVINCE_NAME,
    "C": NameOID.COUNTRY_NAME,
    "DC": NameOID.DOMAIN_COMPONENT,
    "E": NameOID.EMAIL_ADDRESS,
}
# X.520's upper bounds, which AD CS enforces (EnforceX500NameLengths).
LENGTHS = {
    NameOID.COMMON_NAME: 64,
    NameOID.ORGANIZATIONAL_UNIT_NAME: 64,
    NameOID.ORGANIZATION_NAME: 64,
    NameOID.LOCALITY_NAME: 128,
    NameOID.STATE_OR_PROVINCE_NAME: 128,
    NameOID.COUNTRY_NAME: 2,
    NameOID.DOMAIN_COMPONENT: 128,
    NameOID.EMAIL_ADDRESS: 128,
}
PRINTABLE = re.compile(r"[A-Za-z0-9 '()+,\-./:=?]*")
MAXIMUM_NAME = 51


def sanitize(name: str) -> str:
    """A CA's name as files, registry and directory spell it: what may not stand there becomes !xxxx."""
    return "".join(c if re.match(r"[A-Za-z0-9 _.$@~-]", c) else f"!{ord(c):04x}" for c in name)


def check_ca_name(name: str) -> None:
    if not name or len(sanitize(name)) > MAXIMUM_NAME:
        raise CertSrvError(
            NOT_SUPPORTED, f"CA name {name!r}: the stand-in takes 1 to {MAXIMUM_NAME} characters (truncated names are not modelled)"
        )


@dataclass(frozen=True)
class Place:
    """A URL or path of CRLPublicationURLs or CACertPublicationURLs, `flags:text` in the registry."""

    flags: int
    text: str

    @classmethod
    def parse(cls, line: str) -> Place:
        flags, separator, text = line.partition(":")
        if not separator or not flags.isdigit() or not text:
            raise CertSrvError(0x80070057, f"publication URL {line!r} is not of the form FLAGS:URL")
        return cls(int(flags), text)


PUBLISH, IN_CERTIFICATE, FRESHEST, IN_CRL, OCSP, PUBLISH_DELTA, IN_IDP = 0x1, 0x2, 0x4, 0x8, 0x20, 0x40, 0x80
CDP_CLASS = "?{attribute}?base?objectClass=cRLDistributionPoint"
CA_CLASS = "?cACertificate?base?objectClass=certificationAuthority"


@dataclass(frozen=True)
class Tokens:
    """What the % tokens of a URL stand for."""

    fqdn: str
    host: str
    ca: str
    """sanitized"""
    config_dn: str
    certificate_suffix: str = ""
    """"" or "(1)": which of the CA's certificates"""
    crl_suffix: str = ""
    """"" or "(1)": which of the CA's keys"""
    delta: bool = False

    def expand(self, text: str, *, for_url: bool) -> str:
        """`for_url` makes an LDAP or HTTP URL as certificates carry it, blanks and the like escaped."""
        attribute = "deltaRevocationList" if self.delta else "certificateRevocationList"
        values = {
            "1": self.fqdn,
            "2": self.host,
            "3": self.ca,
            "4": self.certificate_suffix,
            "6": self.config_dn,
            "7": self.ca,
            "8": self.crl_suffix,
            "9": "+" if self.delta else "",
            "10": CDP_CLASS.format(attribute=attribute),
            "11": CA_CLASS,
        }
        found = re.sub(r"%(1[01]|[1-46-9])", lambda match: values[match[1]], text)
        if for_url and re.match(r"(?i)(ldap|http|https|file):", found):
            return quote(found, safe=":/?=,%&()+!$~@;'*-._")
        return found


def directory_path(dn: str) -> list[tuple[str, str]]:
    """A directory's DN as (kind, value), the root first, as certificates have it."""
    parts = []
    for rdn in reversed(split_dn(dn)):
        kind, _, value = rdn.partition("=")
        parts.append((kind.strip().upper(), unescape(value)))
    return parts


def split_dn(dn: str) -> list[str]:
    return [part for part in re.findall(r"(?:\\.|[^,\\])+", dn) if part]


def unescape(value: str) -> str:
    """RFC 4514."""
    raw = re.sub(rb"\\([0-9A-Fa-f]{2})|\\(.)", lambda m: bytes.fromhex(m[1].decode()) if m[1] else m[2], value.strip().encode())
    return raw.decode()


def attribute(kind: str, value: str) -> x509.NameAttribute[str]:
    oid = KINDS.get(kind)
    if oid is None:
        raise CertSrvError(BAD_SUBJECT, f"the stand-in does not know the name attribute {kind}")
    try:
        if kind in ("DC", "E"):
            value.encode("ascii")
            return x509.NameAttribute(oid, value, x509.name._ASN1Type.IA5String)
        string = x509.name._ASN1Type.PrintableString if PRINTABLE.fullmatch(value) else x509.name._ASN1Type.UTF8String
        return x509.NameAttribute(oid, value, string)
    except ValueError as error:
        raise CertSrvError(BAD_SUBJECT) from error


def name_of(parts: list[tuple[str, str]]) -> x509.Name:
    """An X.500 name, one attribute an RDN. Raises CertSrvError(0x80094001) for parts that are too long."""
    name = x509.Name([attribute(kind, value) for kind, value in parts])
    check_lengths(name)
    return name


def check_lengths(name: x509.Name) -> None:
    for part in name:
        value = part.value if isinstance(part.value, str) else ""
        limit = LENGTHS.get(part.oid)
        if limit is not None and (len(value) > limit or not value):
            raise CertSrvError(BAD_SUBJECT)


def shown(name: x509.Name) -> str:
    """As the CA's database and the directory write it: "CN=Corp CA, DC=corp, DC=example"."""
    short = {oid: kind for kind, oid in KINDS.items() if kind != "S"}
    return ", ".join(f"{short.get(part.oid, part.oid.dotted_string)}={part.value!s}" for part in reversed(list(name)))
