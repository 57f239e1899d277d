# SPDX-License-Identifier: GPL-3.0-or-later
"""User name templates of certificate servers, and the variables of a certificate that they, restrictions and rules may name.

Variables as Pulse Secure's KB43937 lists them (`certAttr.<X>`, `certAttr.altName.<X>`), and `certDN.<X>`, `issuerDN.<X>`; `SEP="…"`
inside a variable joins all values of an attribute, else the first counts. That `certAttr.serialNumber` is the certificate's serial
number, not the attribute of the subject of that name, is inferred.
"""

from __future__ import annotations

import re

from cryptography import x509

ATTRIBUTES = {
    "C": "2.5.4.6",
    "CN": "2.5.4.3",
    "DC": "0.9.2342.19200300.100.1.25",
    "description": "2.5.4.13",
    "e-mailAddress": "1.2.840.113549.1.9.1",
    "E": "1.2.840.113549.1.9.1",
    "GN": "2.5.4.42",
    "initials": "2.5.4.43",
    "L": "2.5.4.7",
    "O": "2.5.4.10",
    "OU": "2.5.4.11",
    "SN": "2.5.4.4",
    "ST": "2.5.4.8",
    "title": "2.5.4.12",
    "UI": "0.9.2342.19200300.100.1.1",
}
UPN = "1.3.6.1.4.1.311.20.2.3"
ALTERNATIVE = ("Email", "Emailld", "EmailId", "EmailDomain", "DNS", "ipAddress", "UPN", "UPNid", "UPNDomain")
_VARIABLE = re.compile(r'<([A-Za-z]+(?:\.[A-Za-z-]+)*)(?:\s+SEP\s*=\s*"([^"]*)")?>')


class UnknownVariable(ValueError):
    """A variable that no document of the vendor names, or that is not modelled."""


def check(template: str) -> None:
    """Raise UnknownVariable for what cannot be filled from a certificate."""
    rest = _VARIABLE.sub("", template)
    if "<" in rest or ">" in rest:
        raise UnknownVariable(f"'{template}' is not a user name template: < and > enclose one variable each")
    for match in _VARIABLE.finditer(template):
        _source(match.group(1))


def user_oid(template: str) -> str | None:
    """ocserv's `cert-user-oid` for a template that is one variable which ocserv can read; None for any other."""
    match = _VARIABLE.fullmatch(template.strip())
    if match is None or match.group(2) is not None:
        return None
    source, name = _source(match.group(1))
    if source == "subject":
        return ATTRIBUTES[name]
    return "SAN(rfc822name)" if (source, name) == ("altName", "Email") else None


def fill(template: str, certificate: x509.Certificate) -> str:
    """The user name; empty if the certificate lacks what the template names."""
    missing = False

    def value(match: re.Match[str]) -> str:
        nonlocal missing
        found = values(match.group(1), certificate)
        missing |= not found
        return match.group(2).join(found) if match.group(2) is not None else (found or [""])[0]

    name = _VARIABLE.sub(value, template).strip()
    return "" if missing else name


def values(variable: str, certificate: x509.Certificate) -> list[str]:
    """All values of a variable, without its angle brackets."""
    source, name = _source(variable)
    if source == "subject":
        return _attributes(certificate.subject, name)
    if source == "issuer":
        return _attributes(certificate.issuer, name)
    if source == "serial":
        return [f"{certificate.serial_number:x}"]
    return _alternative(certificate, name)


def _source(variable: str) -> tuple[str, str]:
    group, _, name = variable.partition(".")
    if variable == "certAttr.serialNumber":
        return "serial", ""
    if group in ("certAttr", "certDN") and name in ATTRIBUTES:
        return "subject", name
    if group == "issuerDN" and name in ATTRIBUTES:
        return "issuer", name
    kind = name.removeprefix("altName.")
    if group == "certAttr" and name != kind and kind in ALTERNATIVE:
        return "altName", kind
    raise UnknownVariable(f"<{variable}> is not modelled: no attribute of a certificate of that name is known here")


def _attributes(name: x509.Name, attribute: str) -> list[str]:
    return [str(part.value) for part in name.get_attributes_for_oid(x509.ObjectIdentifier(ATTRIBUTES[attribute]))]


def _alternative(certificate: x509.Certificate, kind: str) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    if kind.startswith("UPN"):
        found = [_text(name.value) for name in names if isinstance(name, x509.OtherName) and name.type_id.dotted_string == UPN]
    elif kind.startswith("Email"):
        found = names.get_values_for_type(x509.RFC822Name)
    elif kind == "DNS":
        found = names.get_values_for_type(x509.DNSName)
    else:
        found = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    if kind in ("UPNid", "Emailld", "EmailId"):
        return [name.partition("@")[0] for name in found]
    if kind.endswith("Domain"):
        return [name.partition("@")[2] for name in found]
    return found


def _text(der: bytes) -> str:
    """The UTF8String of a user principal name; shorter than 128 bytes as account names are, or its long form."""
    if len(der) < 2 or der[0] != 0x0C:
        return ""
    offset = 2 if der[1] < 0x80 else 2 + (der[1] & 0x7F)
    return der[offset:].decode(errors="replace")
