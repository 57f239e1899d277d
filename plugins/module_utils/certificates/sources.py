# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates and CRLs as options name them: by a file, or by their text, and which one it must be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate, load
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError

SOURCE: dict[str, Any] = {"path": {"type": "path"}, "content": {"type": "str"}}
"""The options that say where a certificate or CRL is; exactly one of them is given."""

PINS: dict[str, Any] = {"sha256": {"type": "str"}, "subject": {"type": "str"}}
"""The options that say which certificate it must be."""

Loaded = TypeVar("Loaded")


def name(where: str, item: Mapping[str, Any]) -> str:
    """The place of the item in the options, and its file."""
    return f"{where} ({item['path']})" if item.get("path") else where


def read(where: str, item: Mapping[str, Any], parse: Callable[[bytes | str], Loaded]) -> Loaded:
    """What `parse` makes of the item's file or text. Raises `UserError`, which begins with `where` the item is."""
    try:
        return parse(Path(item["path"]).read_bytes() if item.get("path") else item["content"])
    except FormatError as error:
        raise FormatError(f"{name(where, item)}: {error}; give it as PEM, DER or base64") from error
    except OSError as error:
        raise UserError(f"{name(where, item)}: cannot be read: {error.strerror or error}; give the path of a PEM or DER file") from error


def certificates(where: str, item: Mapping[str, Any]) -> list[Certificate]:
    """The item's certificates, which are what its pins say. Raises `UserError`."""
    found = read(where, item, load)
    _check_pin(where, item, "sha256", fingerprint(item.get("sha256") or ""), [one.sha256 for one in found], found)
    _check_pin(where, item, "subject", (item.get("subject") or "").casefold(), [one.subject.casefold() for one in found], found)
    return found


def fingerprint(text: str) -> str:
    """A fingerprint in hex, as people write it (colons, spaces, capitals), in lower-case digits."""
    return text.replace(":", "").replace(" ", "").lower()


def _check_pin(where: str, item: Mapping[str, Any], option: str, pin: str, values: Sequence[str], found: Sequence[Certificate]) -> None:
    if pin and values != [pin]:
        actual = "; ".join(f"{one.subject}, SHA-256 {one.sha256}" for one in found)
        raise UserError(f"{name(where, item)}: {option} is {item[option]!r}, but the certificate is {actual}; mend one of the two")
