# SPDX-License-Identifier: GPL-3.0-or-later
"""Distinguished names and filters as text (RFC 4514, RFC 4515)."""

from __future__ import annotations

import re

_FILTER = {ord(character): f"\\{ord(character):02x}" for character in "\\*()\0"}
# "#" needs it only in front, and some readers want it everywhere
_RDN_SPECIAL = frozenset(',+"\\<>;=#')
_RDN = re.compile(r"(?:\\.|[^,\\])*", re.DOTALL)


def escape_filter(value: str) -> str:
    """A value for an LDAP filter (RFC 4515 section 3)."""
    return value.translate(_FILTER)


def escape_filter_bytes(value: bytes) -> str:
    """A binary value for an LDAP filter, every octet escaped."""
    return "".join(f"\\{octet:02x}" for octet in value)


def escape_rdn(value: str) -> str:
    """A value for a relative distinguished name (RFC 4514 section 2.4)."""
    escaped = "".join(f"\\{character}" if character in _RDN_SPECIAL else character for character in value).replace("\0", "\\00")
    if escaped.startswith(" "):
        escaped = "\\" + escaped
    return escaped[:-1] + "\\ " if value.endswith(" ") and len(value) > 1 else escaped


def split_dn(dn: str) -> list[str]:
    """The relative distinguished names of `dn`, escapes kept."""
    parts, rest = [], dn
    while rest:
        match = _RDN.match(rest)
        part = match.group() if match else rest
        parts.append(_trim(part))
        rest = rest[len(part) + 1 :]
    return parts


def _trim(part: str) -> str:
    """Without the spaces around it; the last one stays if it is escaped."""
    bare = part.strip(" ")
    backslashes = len(bare) - len(bare.rstrip("\\"))
    return bare + " " if backslashes % 2 and len(bare) < len(part.lstrip(" ")) else bare


def rdn_value(dn: str) -> str:
    """The value of the first relative distinguished name, unescaped."""
    text = split_dn(dn)[0].partition("=")[2]
    octets = re.sub(rb"\\([0-9A-Fa-f]{2}|.)", _unescape, text.encode(), flags=re.DOTALL)
    return octets.decode("utf-8", "replace")


def _unescape(match: re.Match[bytes]) -> bytes:
    value = match.group(1)
    return bytes.fromhex(value.decode()) if len(value) == 2 else value


def parent_dn(dn: str) -> str:
    return ",".join(split_dn(dn)[1:])


def same_dn(one: str, other: str) -> bool:
    """Whether two names mean the same object: case and spaces between parts do not count."""
    return [part.casefold() for part in split_dn(one)] == [part.casefold() for part in split_dn(other)]
