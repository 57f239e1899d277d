# SPDX-License-Identifier: GPL-3.0-or-later
"""Subject alternative names (RFC 5280 4.2.1.6) as options write them: `KIND:value`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import der
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import x509

UPN = "1.3.6.1.4.1.311.20.2.3"
SID_URI = "tag:microsoft.com,2022-09-14:sid:"
"""[MS-PKCA] 3.1.5.2.1.6."""

SID_EXTENSION = "1.3.6.1.4.1.311.25.2"
SID_VALUE = "1.3.6.1.4.1.311.25.2.1"
"""[MS-WCCE] 2.2.2.7.7.4: an OtherName of this type, whose value is the SID as text in an octet string."""

_KINDS = {kind.casefold(): kind for kind in ("DNS", "IP", "email", "UPN", "URI", "SID")}
_DNS = re.compile(r"(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?", re.IGNORECASE)
_SID = re.compile(r"S-1-\d+(-\d+){1,15}", re.IGNORECASE)


def canonical(text: str) -> str:
    """The name in the one form in which it is compared. Raises `UserError` that says what is wrong with it."""
    kind, colon, value = text.partition(":")
    kind, value = _KINDS.get(kind.strip().casefold(), ""), value.strip()
    if not colon or not kind or not value:
        raise UserError(
            f"{text!r} is no alternative name; write its kind before it, such as DNS:web1.corp.example ({', '.join(_KINDS.values())})"
        )
    return f"{kind}:{_CANONICAL[kind](value)}"


def _dns(value: str) -> str:
    try:
        ascii_name = value.lower().rstrip(".") if value.isascii() else value.encode("idna").decode().lower()
    except UnicodeError:
        ascii_name = ""
    if len(ascii_name) > 253 or not _DNS.fullmatch(ascii_name):
        raise UserError(f"DNS:{value} is no DNS name")
    return ascii_name


def _ip(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise UserError(f"IP:{value} is no IP address") from None


def _email(value: str) -> str:
    local, at, domain = value.rpartition("@")
    if not at or not local or not value.isascii() or " " in value:
        raise UserError(f"email:{value} is no e-mail address of ASCII letters")
    return f"{local}@{_dns(domain)}"


def _upn(value: str) -> str:
    if not all(value.rpartition("@")):
        raise UserError(f"UPN:{value} is no user principal name, which is like user@domain")
    return value


def _uri(value: str) -> str:
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", value) or not value.isascii() or " " in value:
        raise UserError(f"URI:{value} is no URI with a scheme, in ASCII")
    return value


def sid(value: str) -> str:
    """The SID in capitals. Raises `UserError`."""
    if not _SID.fullmatch(value):
        raise UserError(f"{value!r} is no SID, which is like S-1-5-21-1-2-3-1104")
    return value.upper()


_CANONICAL = {"DNS": _dns, "IP": _ip, "email": _email, "UPN": _upn, "URI": _uri, "SID": sid}


def general_name(name: str) -> Any:
    """A canonical name as the library's GeneralName."""
    kind, _colon, value = name.partition(":")
    if kind == "DNS":
        return x509.DNSName(value)
    if kind == "IP":
        return x509.IPAddress(ipaddress.ip_address(value))
    if kind == "email":
        return x509.RFC822Name(value)
    if kind == "UPN":
        return x509.OtherName(x509.ObjectIdentifier(UPN), der.utf8_string(value))
    return x509.UniformResourceIdentifier(SID_URI + value if kind == "SID" else value)


def describe(names: Iterable[Any]) -> list[str]:
    """GeneralNames as options write them; kinds that options do not have with the names that OpenSSL gives them."""
    return [_described(name) for name in names]


def _described(name: Any) -> str:
    if isinstance(name, x509.DNSName):
        return f"DNS:{name.value.lower()}"
    if isinstance(name, x509.IPAddress):
        return f"IP:{name.value}"
    if isinstance(name, x509.RFC822Name):
        local, at, domain = name.value.rpartition("@")
        return f"email:{local}{at}{domain.lower()}"
    if isinstance(name, x509.UniformResourceIdentifier):
        return f"SID:{name.value[len(SID_URI) :].upper()}" if name.value.lower().startswith(SID_URI) else f"URI:{name.value}"
    if isinstance(name, x509.DirectoryName):
        return f"dirName:{name.value.rfc4514_string()}"
    if isinstance(name, x509.RegisteredID):
        return f"RID:{name.value.dotted_string}"
    return _other(name.type_id.dotted_string, name.value)


def _other(kind: str, value: bytes) -> str:
    try:
        tag, content, end = der.read(value)
        text = content.decode() if tag in (0x0C, 0x13, 0x16) and end == len(value) else None
    except ValueError:
        text = None
    if kind == UPN and text:
        return f"UPN:{text}"
    return f"otherName:{kind};{text if text is not None else value.hex()}"


def same(name: str) -> str:
    """What two names have in common that mean the same: UPNs are compared without case."""
    return name.casefold() if name.startswith(("UPN:", "SID:")) else name


def sid_extension(value: str) -> bytes:
    """Content of the security extension: SEQUENCE { [0] { type-id, [0] OCTET STRING } } ([MS-WCCE] 2.2.2.7.7.4)."""
    return der.sequence(der.context(0, der.oid(SID_VALUE) + der.context(0, der.octet_string(value.encode()))))


def sid_of_extension(content: bytes) -> str | None:
    """The SID in the security extension; None where there is none to be read."""
    found = re.search(rb"S-1-\d+(?:-\d+){1,15}", content)
    return found.group().decode() if found else None
