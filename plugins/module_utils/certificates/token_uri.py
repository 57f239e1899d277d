# SPDX-License-Identifier: GPL-3.0-or-later
"""PKCS#11 URIs (RFC 7512): which token, which object on it, and through which library."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from urllib.parse import quote, unquote_to_bytes

from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

SCHEME = "pkcs11:"
TYPES = ("public", "private", "cert", "secret-key", "data")
_IN_QUERY = ("module-path", "module-name", "pin-source")
# RFC 7512 2.3: what may stand unescaped in both parts; "&" and ";" separate attributes
_PLAIN = ":[]@!$'()*+,="
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True)
class TokenUri:
    """A PKCS#11 URI. Attributes that it does not name are None, and match everything."""

    token: str | None = None
    manufacturer: str | None = None
    serial: str | None = None
    model: str | None = None
    library_manufacturer: str | None = None
    library_description: str | None = None
    library_version: str | None = None
    slot_manufacturer: str | None = None
    slot_description: str | None = None
    slot_id: int | None = None
    object: str | None = None
    type: str | None = None
    id: bytes | None = None
    module_path: str | None = None
    module_name: str | None = None
    pin_source: str | None = None

    def __str__(self) -> str:
        """The URI's text; `parse` makes the same URI of it."""
        path, query = list[str](), list[str]()
        for attribute in _ATTRIBUTES:
            value = getattr(self, attribute.replace("-", "_"))
            if value is None:
                continue
            if isinstance(value, bytes):
                text = "".join(f"%{byte:02x}" for byte in value)
            else:
                text = quote(str(value), safe=_PLAIN + ("/" if attribute in _IN_QUERY else ""))
            (query if attribute in _IN_QUERY else path).append(f"{attribute}={text}")
        return SCHEME + ";".join(path) + ("?" + "&".join(query) if query else "")

    def matches(self, facts: Mapping[str, str | int]) -> bool:
        """Whether a token with these facts (keys as the fields here) is meant."""
        named = {name: getattr(self, name) for name in facts if getattr(self, name) is not None}
        return all(facts[name] == value for name, value in named.items())


_ATTRIBUTES = [field.name.replace("_", "-") for field in fields(TokenUri)]


def is_token_uri(text: str) -> bool:
    """Whether a key or certificate is named by a PKCS#11 URI and not by a file's path."""
    return text[: len(SCHEME)].lower() == SCHEME


def parse(text: str) -> TokenUri:
    """The URI. Raises `FormatError`, also for a PIN in it, which it does not repeat."""
    if not is_token_uri(text):
        raise FormatError("is no PKCS#11 URI; it begins with pkcs11:, as in pkcs11:token=NAME (RFC 7512)")
    path, *query = text[len(SCHEME) :].split("?", 1)
    values: dict[str, str | bytes | int] = {}
    for part, separator, in_query in ((path, ";", False), ("".join(query), "&", True)):
        for item in part.split(separator) if part else ():
            name, value = _attribute(item, in_query)
            field = name.replace("-", "_")
            if field in values:
                raise FormatError(f"names {name} twice")
            values[field] = value
    return TokenUri(**values)  # type: ignore[arg-type]  # _value makes them what the fields are


def _attribute(item: str, in_query: bool) -> tuple[str, str | bytes | int]:
    name, equals, value = item.partition("=")
    if name == "pin-value":
        raise FormatError(
            "holds a PIN (pin-value), which would show in logs and process lists; give it in the option pin, or as pin-source"
        )
    if name not in _ATTRIBUTES or (name in _IN_QUERY) != in_query:
        place = "after the question mark" if in_query else "before the question mark"
        known = ", ".join(one for one in _ATTRIBUTES if (one in _IN_QUERY) == in_query)
        raise FormatError(f"has {place} the attribute {name[:40]!r}; there are {known}")
    if not equals:
        raise FormatError(f"gives {name} no value")
    return name, _value(name, value)


def _value(name: str, text: str) -> str | bytes | int:
    if _PERCENT.search(text):
        raise FormatError(f"has in {name} a percent sign without two hexadecimal digits after it; a percent sign itself is written %25")
    raw = unquote_to_bytes(text)
    if name == "id":
        return raw
    try:
        value = raw.decode()
    except UnicodeDecodeError:
        raise FormatError(f"has in {name} bytes that are no UTF-8") from None
    if "\0" in value:
        raise FormatError(f"has a NUL in {name}")
    if name == "slot-id":
        if not re.fullmatch("[0-9]{1,20}", value):
            raise FormatError(f"has the slot-id {value[:40]!r}, which is no number")
        return int(value)
    if name == "type" and value not in TYPES:
        raise FormatError(f"has the type {value[:40]!r}; there are {', '.join(TYPES)}")
    return value
