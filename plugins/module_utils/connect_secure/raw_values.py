# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON of the appliance compared and shown by what it means, where no table says what is what (pure)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "********"
_SECRET = re.compile(r"-cleartext$|-encrypted$|(^|-)(password|passwd|secret|passphrase|private-key)($|-)")


def normal(value: Any) -> Any:
    """The same without what the wire may write in several ways: numbers and switches as text, nothing and emptiness as absence.

    Objects lose members without value; lists keep their order.
    """
    if isinstance(value, Mapping):
        inner = {str(name): normal(item) for name, item in value.items()}
        return {name: item for name, item in inner.items() if item is not None} or None
    if isinstance(value, (list, tuple)):
        return [normal(item) for item in value] or None
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def holds(current: Any, wanted: Any) -> bool:
    """Whether `current` says all that `wanted` says; secrets do not count, and members that `wanted` does not name neither."""
    return _holds(normal(current), normal(without_secrets(wanted)), wanted)


def _holds(current: Any, wanted: Any, asked: Any) -> bool:
    if isinstance(asked, Mapping):
        if current is not None and not isinstance(current, Mapping):
            return wanted is None
        have, want = current or {}, wanted or {}
        return all(_holds(have.get(str(name)), want.get(str(name)), item) for name, item in asked.items() if not is_secret(str(name)))
    if isinstance(asked, (list, tuple)) and isinstance(current, list) and isinstance(wanted, list):
        # within lists an object is held if it has what is asked: the appliance may add members to it
        return len(current) == len(asked) and all(_holds(c, w, a) for c, w, a in zip(current, wanted, asked, strict=True))
    return bool(current == wanted)


def part(current: Any, wanted: Any) -> Any:
    """Of `current`, what `wanted` speaks of: the "before" of a change."""
    if isinstance(current, Mapping) and isinstance(wanted, Mapping):
        return {name: part(current[name], wanted[name]) for name in wanted if name in current}
    return current


def is_secret(name: str) -> bool:
    """Whether a member of this name holds a secret, by the interface's own habit of naming."""
    return bool(_SECRET.search(name))


def without_secrets(value: Any, *, hidden: bool = False) -> Any:
    """The same without the members that hold secrets; with `hidden`, with a mark in the place of each that has a value."""
    if isinstance(value, Mapping):
        kept = {}
        for name, item in value.items():
            if not is_secret(str(name)) or isinstance(item, (Mapping, list)):
                kept[name] = without_secrets(item, hidden=hidden)
            elif hidden and item not in (None, ""):
                kept[name] = HIDDEN
        return kept
    if isinstance(value, (list, tuple)):
        return [without_secrets(item, hidden=hidden) for item in value]
    return value


def readable(value: Any) -> Any:
    """As shown and exported: secrets hidden, "true" and "false" as booleans."""
    return _booleans(without_secrets(value, hidden=True))


def _booleans(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _booleans(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_booleans(item) for item in value]
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def with_wire_booleans(value: Any) -> Any:
    """As sent: what YAML made booleans and numbers of, as the interface writes them."""
    if isinstance(value, Mapping):
        return {str(name): with_wire_booleans(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [with_wire_booleans(item) for item in value]
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (int, float)) else "" if value is None else value
