# SPDX-License-Identifier: GPL-3.0-or-later
"""User name templates of certificate servers: how the appliance makes a user name of a certificate (vendor's article KB43937).

A template is text with variables in angle brackets: `<certAttr.CN>` is an attribute of the subject, `<certAttr.altName.UPN>` one of the
subject alternative names, `<certDN.OU>` a part of the subject's distinguished name. Of several values the first is taken; with
`<certDN.OU SEP=":">` all are, joined by the separator.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import der
from ansible_collections.certlogon.core.plugins.module_utils.certificates.alternative_names import UPN
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate, attempt
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.names import unknown
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import x509

DEFAULT = "<certDN.CN>"

# name -> attribute type; UI is read as the user identifier of RFC 4519 2.39
_ATTRIBUTES = {
    "C": "2.5.4.6",
    "CN": "2.5.4.3",
    "description": "2.5.4.13",
    "e-mailAddress": "1.2.840.113549.1.9.1",
    "GN": "2.5.4.42",
    "initials": "2.5.4.43",
    "L": "2.5.4.7",
    "O": "2.5.4.10",
    "OU": "2.5.4.11",
    "SN": "2.5.4.4",
    "serialNumber": "2.5.4.5",
    "ST": "2.5.4.8",
    "title": "2.5.4.12",
    "UI": "0.9.2342.19200300.100.1.1",
}

_CARD_NUMBER = ("", "AC", "SC", "CN", "CS", "ICI", "PI", "OC", "OI", "POA", "LRC")
"""Parts of the FASC-N that cards of the United States' government carry."""


def _whole(text: str) -> str:
    return text


def _identifier(text: str) -> str:
    return text.rpartition("@")[0] or text


def _domain(text: str) -> str:
    return text.rpartition("@")[2] if "@" in text else ""


# name -> kind of alternative name, what of it; the vendor prints the first of the two spellings of the e-mail address's local part
_ALTERNATIVE: dict[str, tuple[str, Callable[[str], str]]] = {
    "Email": ("email", _whole),
    "Emailld": ("email", _identifier),
    "EmailId": ("email", _identifier),
    "EmailDomain": ("email", _domain),
    "DNS": ("DNS", _whole),
    "registeredId": ("registeredId", _whole),
    "ipAddress": ("IP", _whole),
    "UPN": ("UPN", _whole),
    "UPNid": ("UPN", _identifier),
    "UPNDomain": ("UPN", _domain),
    **{f"fascn{part}": ("FASC-N", _whole) for part in _CARD_NUMBER},
}

VARIABLES = (
    *(f"certAttr.{name}" for name in _ATTRIBUTES),
    *(f"certAttr.altName.{name}" for name in _ALTERNATIVE),
    *(f"certDN.{name}" for name in _ATTRIBUTES),
)
"""Every variable that the vendor's documents name."""

_PART = re.compile(r"<(?P<inside>[^<>]*)>|(?P<text>[^<>]+)|(?P<stray>[<>])")
_INSIDE = re.compile(r"(?P<name>[^\s\"]+)(?:\s+SEP=\"(?P<separator>[^\"]*)\")?")


@dataclass(frozen=True)
class Variable:
    """A variable; without separator the first value is taken, with one all of them."""

    name: str
    separator: str | None = None

    @property
    def known(self) -> bool:
        return self.name in VARIABLES


@dataclass(frozen=True)
class UserNameTemplate:
    """Text and variables, in their order."""

    source: str
    parts: Sequence[str | Variable]

    @property
    def variables(self) -> list[Variable]:
        return [part for part in self.parts if isinstance(part, Variable)]


def parse(source: str) -> UserNameTemplate:
    """Raises `FormatError` for what is no template: brackets without partner, nothing in them, and variables that are none."""
    if not source.strip():
        raise FormatError(f"is empty; write a template such as {DEFAULT}")
    parts: list[str | Variable] = []
    for found in _PART.finditer(source):
        if found["stray"]:
            raise FormatError(f"{source!r} has {found['stray']!r} without its partner at character {found.start() + 1}")
        parts.append(found["text"] if found["text"] else _variable(found["inside"]))
    template = UserNameTemplate(source, parts)
    if not template.variables:
        raise FormatError(f"{source!r} has no variable, so everybody would be the same user; use one such as {DEFAULT}")
    return template


def _variable(inside: str) -> Variable:
    found = _INSIDE.fullmatch(inside.strip())
    if not found:
        raise FormatError(f'<{inside}> is no variable; they are like {DEFAULT} or <certDN.OU SEP=":">')
    return Variable(found["name"], found["separator"])


def unknown_variables(template: UserNameTemplate) -> list[str]:
    """What is wrong with the variables' names, each with the near name."""
    return [unknown("unknown variable", variable.name, VARIABLES) for variable in template.variables if not variable.known]


# ---- predicting


def evaluate(template: str, certificate: Certificate) -> str:
    """The user name that the appliance makes of this certificate, by the vendor's description; what the certificate lacks is left empty.

    Raises `FormatError` for a template that is none, `UserError` for variables whose value cannot be predicted.
    """
    parsed = attempt("certificate", lambda: x509.load_der_x509_certificate(certificate.der))
    return "".join(part if isinstance(part, str) else _value(part, parsed) for part in parse(template).parts)


def _value(variable: Variable, parsed: Any) -> str:
    if not variable.known:
        raise UserError(unknown("unknown variable", variable.name, VARIABLES))
    values = [value for value in _values(variable.name, parsed) if value]
    return variable.separator.join(values) if variable.separator is not None else next(iter(values), "")


def _values(name: str, parsed: Any) -> Iterable[str]:
    where, _dot, attribute = name.rpartition(".")
    if where != "certAttr.altName":
        found = parsed.subject.get_attributes_for_oid(x509.ObjectIdentifier(_ATTRIBUTES[attribute]))
        return [str(one.value) for one in found]
    kind, part = _ALTERNATIVE[attribute]
    if kind == "FASC-N":
        raise UserError(f"<{name}>: what the appliance makes of a FASC-N is not documented, so it cannot be predicted")
    return [part(value) for value in _alternative_names(parsed, kind)]


def _alternative_names(parsed: Any, kind: str) -> list[str]:
    try:
        names = attempt("certificate", lambda: parsed.extensions).get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    if kind == "UPN":
        others = names.get_values_for_type(x509.OtherName)
        return [_text(other.value) for other in others if other.type_id.dotted_string == UPN]
    if kind == "registeredId":
        return [one.dotted_string for one in names.get_values_for_type(x509.RegisteredID)]
    types = {"email": x509.RFC822Name, "DNS": x509.DNSName, "IP": x509.IPAddress}
    return [str(value) for value in names.get_values_for_type(types[kind])]


def _text(value: bytes) -> str:
    """The text of an OtherName; empty where it holds none."""
    try:
        _tag, content, _end = der.read(value)
        return content.decode()
    except ValueError:
        return ""
