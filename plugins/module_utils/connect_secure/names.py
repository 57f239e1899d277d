# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that have to be known: what is said about one that is not, and lists of named things whose order counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import TypeVar

_LISTED = 12
"""Names that an error message lists at most."""

Item = TypeVar("Item")


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The message about a name that is not among the known ones: the near one, or all that there are."""
    names = sorted(set(known), key=str.casefold)
    near = get_close_matches(name.casefold(), [item.casefold() for item in names], 1, 0.6)
    if near:
        return f"{what} {name!r}; did you mean {next(item for item in names if item.casefold() == near[0])!r}?"
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{what} {name!r}; there are {', '.join(map(repr, names[:_LISTED])) or 'none'}{more}"


def unfit(name: str) -> Iterator[str]:
    """Why nothing on the appliance can be called so; what exactly it takes is not documented, but these mean something else there."""
    if not name.strip():
        yield f"name: {name!r} is empty; give a name (is the variable that it comes from set?)"
    elif name in (".", ".."):
        yield f"name: {name!r} would mean another path; choose another name"
    elif name.casefold() in ("none", "-"):
        yield f"name: {name!r} is what the appliance writes for nothing at all; choose another name"
    elif not name.isprintable() or name != name.strip():
        yield f"name: {name!r} has spaces around it, or a character that cannot be printed; leave them out"


def in_order(have: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The names of both lists, those of `wanted` in its order, and no other name moved more than that needs.

    Names in both share the places that they have already. A new name comes right after the one before it in `wanted`; new names at the
    beginning of `wanted` come right before the first one that is there already, or at the end where none is.
    """
    there = set(have)
    common = iter([name for name in wanted if name in there])
    chosen = set(wanted)
    result = [next(common) if name in chosen else name for name in have]
    place = next((result.index(name) for name in wanted if name in there), len(result))
    for name in wanted:
        if name in there:
            place = result.index(name) + 1
        else:
            result.insert(place, name)
            place += 1
    return result
