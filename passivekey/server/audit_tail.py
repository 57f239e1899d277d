# SPDX-License-Identifier: GPL-3.0-or-later
"""The newest entries of the audit log, read from the files' ends: what a page shows costs the same however long the log is."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_BLOCK = 2**16
MOST = 2**25
"""Octets that one page looks through; an inquiry goes on from there."""

Place = tuple[str, int]
"""A file's name, and the octet before which is looked."""

_PLACE = re.compile(r"(passivekey-[0-9.-]{10,16}\.log)@(\d{1,15})")


@dataclass(frozen=True)
class Page:
    """Entries, newest first; where to go on, if there is more before; whether as much as one page may was looked through."""

    entries: list[dict[str, str]]
    more: Place | None
    cut: bool = False


@dataclass(frozen=True)
class Wanted:
    """Which entries: of one of these events, if there are any; with one of these values in a member, if there are any."""

    events: Collection[str] = ()
    values: Collection[str] = ()

    def signs(self) -> list[list[bytes]]:
        """A line that fits holds one of each of these. Within a value a quotation mark is escaped: no value is an event."""
        events = [f'"event":"{event}"'.encode() for event in self.events]
        return [signs for signs in (events, [json.dumps(value)[1:-1].encode() for value in self.values]) if signs]

    def fits(self, entry: dict[str, str]) -> bool:
        if self.events and entry["event"] not in self.events:
            return False
        if not self.values:
            return True
        about = [value for name, value in entry.items() if name not in ("at", "event", "n", "prev")]
        words = {word for value in about for word in (value, value.partition(" ")[0])}
        return not words.isdisjoint(self.values)


def newest(files: Sequence[Path], wanted: Wanted, *, before: Place | None = None, limit: int = 50, most: int = MOST) -> Page:
    """`files`: oldest first, as `Audit.files` has them. A `before` whose file is gone begins at the newest."""
    found: list[dict[str, str]] = []
    place: Place | None = None
    signs = wanted.signs()
    for file, end in _from(files, before):
        last = end
        for start, line in _backwards(file, end, signs):
            entry = _entry(line) if _holds(line, signs) else {}
            if entry and wanted.fits(entry):
                if len(found) == limit:
                    return Page(found, place)
                found.append(entry)
            place = file.name, start
            most -= last - start
            last = start
            if most <= 0:
                return Page(found, place, cut=True)
    return Page(found, None)


def read_place(text: str) -> Place | None:
    found = _PLACE.fullmatch(text)
    return (found[1], int(found[2])) if found else None


def place_text(place: Place) -> str:
    return f"{place[0]}@{place[1]}"


def _from(files: Sequence[Path], before: Place | None) -> Iterator[tuple[Path, int]]:
    """Newest first, each with the octet before which is looked."""
    names = [file.name for file in files]
    begin = names.index(before[0]) if before and before[0] in names else len(names) - 1
    for file in reversed(files[: begin + 1]):
        try:
            size = file.stat().st_size
        except FileNotFoundError:  # retired meanwhile
            continue
        yield file, min(size, before[1]) if before and file.name == before[0] else size


def _backwards(file: Path, end: int, signs: Sequence[Sequence[bytes]]) -> Iterator[tuple[int, bytes]]:
    """Lines before an octet, last first, each with the octet at which it begins; one that is empty for many without these signs."""
    try:
        handle = file.open("rb")
    except FileNotFoundError:
        return
    with handle:
        rest = b""
        while end > 0:
            begin = max(0, end - _BLOCK)
            handle.seek(begin)
            block = handle.read(end - begin) + rest
            whole = (block.find(b"\n") + 1 or len(block)) if begin else 0
            rest = block[:whole]
            place = begin + len(block)
            for line in reversed(block[whole:].split(b"\n") if _holds(block, signs) else ()):
                place -= len(line)
                if line:
                    yield place, line
                place -= 1
            yield begin + whole, b""
            end = begin


def _holds(text: bytes, signs: Sequence[Sequence[bytes]]) -> bool:
    return all(any(sign in text for sign in either) for either in signs)


def _entry(line: bytes) -> dict[str, str]:
    """What a line says; nothing where a crash cut it."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        return {}
    return found if "event" in found and "at" in found else {}
