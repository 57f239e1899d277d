# SPDX-License-Identifier: GPL-3.0-or-later
"""Values as the appliance writes them, and back (pure).

The interface writes switches and numbers as strings ("true", "2"), and a missing value as nothing, "", "None" or "-" according to the
field. What a type is called, is explained at the head of resources.yml.
"""

from __future__ import annotations

import base64
import binascii
import textwrap
from collections.abc import Callable, Mapping
from copy import copy
from typing import Any
from urllib.parse import quote

from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError

TYPES = ("text", "number", "switch", "enabling", "words", "reference", "choice", "secret", "objects", "certificate")

_SWITCH = {
    **dict.fromkeys(("true", "enabled", "enable", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "disabled", "disable", "no", "off", "0"), False),
}
_NOTHING = ("", "none", "-")
_SHOWN = 60
"""Characters of a value that a message shows at most."""


def segment(name: str) -> str:
    """A name as one segment of a path: everything but letters, digits and `-._~` is percent-encoded, `/` and `*` too."""
    if name in ("", ".", ".."):
        raise UserError(f"name: {name!r} cannot be the name of anything on the appliance; it would mean another path")
    return quote(name, safe="")


def decode(kind: str, value: Any, *, values: Mapping[str, str] | None = None) -> Any:
    """A value of the wire in the words of the options; None where there is none. Raises `FormatError` for what is not of that type."""
    if value is None:
        return None
    if kind == "choice":
        return _word(str(value), values or {})
    return _DECODERS[kind](value)


def encode(kind: str, value: Any, *, values: Mapping[str, str] | None = None, none: str = "None") -> Any:
    """A value as the appliance writes it; None stands for "no value". Raises `UserError` for a word that the choice does not have."""
    if value is None:
        return none if kind == "reference" else copy(_EMPTY.get(kind))
    if kind == "choice":
        known = values or {}
        if value not in known:
            raise UserError(f"{value!r} is none of {', '.join(known)}")
        return known[value]
    if kind == "reference":
        return str(value) if value != "" else none
    return _ENCODERS[kind](value)


def pem_of(certificate: str | bytes) -> str:
    """A certificate (DER, base64 of DER, or PEM of which the first is taken) as PEM with lines of 64. Raises `FormatError`."""
    der = certificate if isinstance(certificate, bytes) else _der(certificate)
    body = "\n".join(textwrap.wrap(base64.b64encode(der).decode("ascii"), 64))
    return f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"


def _der(text: str) -> bytes:
    body = text.strip()
    if "-----BEGIN" in body:
        body = body.partition("-----BEGIN")[2].partition("-----")[2].partition("-----END")[0]
    try:
        der = base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError(f"{shown(text)} is neither PEM nor base64") from error
    if not der:
        raise FormatError("an empty text is no certificate")
    return der


def shown(value: Any) -> str:
    """A value as messages show it."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _word(value: str, values: Mapping[str, str]) -> str | None:
    """Our word for the appliance's; one that the table does not know stays as it is, and so differs from all of ours."""
    if value == "":
        return None
    return next((word for word, wire in values.items() if wire.casefold() == value.casefold()), value)


def _text(value: Any) -> str | None:
    if isinstance(value, (dict, list)):
        raise FormatError(f"{shown(value)} is no text")
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) or None


def _number(value: Any) -> int | None:
    if value == "":
        return None
    try:
        if isinstance(value, bool):
            raise ValueError
        return int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise FormatError(f"{shown(value)} is no number") from error


def _switch(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    text = str(value).strip().casefold()
    if text == "":
        return None
    if text not in _SWITCH:
        raise FormatError(f"{shown(value)} is neither true nor false")
    return _SWITCH[text]


def _words(value: Any) -> list[str]:
    """A list; the appliance may also write one element without its list, and nothing as ""."""
    if isinstance(value, dict):
        raise FormatError(f"{shown(value)} is no list of texts")
    items = value if isinstance(value, list) else [value]
    return [text for item in items if item is not None and (text := _text(item)) is not None]


def _reference(value: Any) -> str | None:
    text = _text(value)
    return None if text is None or text.casefold() in _NOTHING else text


def _certificate(value: Any) -> str | None:
    if not isinstance(value, str):
        raise FormatError(f"{shown(value)} is no certificate")
    return pem_of(value) if value.strip() else None


_DECODERS: dict[str, Callable[[Any], Any]] = {
    "text": _text,
    "number": _number,
    "switch": _switch,
    "enabling": _switch,
    "words": _words,
    "reference": _reference,
    "certificate": _certificate,
}

_ENCODERS: dict[str, Callable[[Any], Any]] = {
    "text": str,
    "secret": str,
    "number": lambda value: str(int(value)) if value != "" else "",
    "switch": lambda value: "true" if value else "false",
    "enabling": lambda value: "enabled" if value else "disabled",
    "words": lambda value: [str(item) for item in value],
    "certificate": pem_of,
}

_EMPTY: dict[str, Any] = {"text": "", "number": "", "words": [], "objects": []}
"""What "no value" is written as; types that are not here have no such value, and such members are not written."""
