# SPDX-License-Identifier: GPL-3.0-or-later
"""The chain that the lines of the audit log are: its links, where it ends, and what is wrong with it.

A line ends in `"n":"<its number>","prev":"<SHA-256 of the line before, with its newline>"}`. A file that was thinned out begins with a line
that has number and hash of its last line as it was, and a later line of the log has the hash of what is left of it. Lines from before
there was a chain stay as they are: the first of the chain has the hash of the last of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from passivekey.errors import ConfigurationError

THINNED, THINNING, RETIRED = "thinned", "thinning", "retired"
"""The first line of a file that was thinned out; that this is done to a file; that a file is deleted."""

Link = tuple[int, str]
"""Number and hash of a line."""

BEGIN: Link = (0, "0" * 64)
"""Before the first line of all."""

_NAME = re.compile(r"passivekey-(\d{4}-\d{2}-\d{2})(?:\.(\d+))?\.log")
_LINK = re.compile(rb',"n":"(\d{1,18})","prev":"([0-9a-f]{64})"\}\n?')
_BLOCK = 4096
_FARTHEST = 2**24
"""Octets from a file's end in which its last link is looked for: behind it are only lines that a crash cut."""


def place(name: str) -> tuple[str, int]:
    """Day and number of a file, by which they are in order."""
    found = _NAME.fullmatch(name)
    return (found[1], int(found[2] or 0)) if found else ("", 0)


def files(folder: Path) -> list[Path]:
    """The log's, oldest first."""
    return sorted((file for file in folder.iterdir() if _NAME.fullmatch(file.name)), key=lambda file: place(file.name))


def entry(line: bytes) -> dict[str, Any]:
    """What a line says; nothing, where a crash cut it."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _number(line: bytes) -> int:
    """Of a line of the chain; 0 of others."""
    found = _LINK.search(line, max(0, len(line) - 120))
    return int(found[1]) if found and found.end() == len(line) else 0


def link(line: bytes) -> Link | None:
    """Of a whole line of the chain; None of others."""
    number = _number(line)
    return (number, _hash(line)) if number and line.endswith(b"\n") else None


# ---- where it ends


def end(handle: int, before: Callable[[], Sequence[Path]]) -> Link:
    """What the next line follows: the last link of this file, which nobody thins out, else of the files `before`, oldest first; where there
    is none at all, the last line."""
    number, text = _last(handle)
    for file in () if number else reversed(before()):
        found, its = _ends(file)
        number, text = found, (its if found else text or its)
        if number:
            break
    return number, text or BEGIN[1]


def last(file: Path) -> Link:
    """The link that a file ends with; 0 where it has none."""
    number, text = _ends(file)
    return number, text or BEGIN[1]


def _ends(file: Path) -> Link:
    try:
        handle = os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        return 0, ""
    try:
        marker = entry(os.pread(handle, 1024, 0).partition(b"\n")[0])
        if marker.get("event") == THINNED and "head" in marker:
            return int(marker.get("to", 0)), str(marker["head"])
        return _last(handle)
    finally:
        os.close(handle)


def _last(handle: int) -> Link:
    """The last link of a file; without one, 0 and the hash of its last line."""
    size, length, text = os.fstat(handle).st_size, _BLOCK, ""
    while True:
        begin = max(0, size - length)
        lines = os.pread(handle, size - begin, begin).splitlines(keepends=True)
        for line in reversed(lines if begin == 0 else lines[1:]):
            number = _number(line)
            if number:
                return number, _hash(line)
            text = text or _hash(line)
        if begin == 0 or length >= _FARTHEST:
            return 0, text
        length *= 8


# ---- thinning out


def thinned(content: bytes, kept: Collection[str]) -> tuple[bytes, int]:
    """What stays of a file, told by its first line, and how many lines do not."""
    lines = content.splitlines(keepends=True)
    stays = [line for line in lines if entry(line).get("event") in kept]
    gone = len(lines) - len(stays)
    first = next((line for line in lines if entry(line)), b"{}")
    words = entry(first)
    if not gone or words.get("event") == THINNED:
        return content, 0
    linked = next((line for line in reversed(lines) if _number(line)), None)
    marker = {"at": str(words.get("at", "")), "event": THINNED, "lines": str(gone), "head": _hash(linked or lines[-1])}
    marker |= {"to": str(_number(linked))} if linked else {}
    marker |= {"n": str(_number(first)), "prev": words["prev"]} if _number(first) else {}
    return json.dumps(marker, separators=(",", ":")).encode() + b"\n" + b"".join(stays), gone


# ---- what is wrong with it


@dataclass(frozen=True)
class Finding:
    """`line`: from 1; 0 where it is the whole file."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}{f':{self.line}' if self.line else ''}: {self.text}"


@dataclass
class Verdict:
    """What a log was found to be. `wrong`: by somebody; `cut`: by a crash or a full disk; `plain`: lines from before there was a chain."""

    wrong: list[Finding] = field(default_factory=list)
    cut: list[Finding] = field(default_factory=list)
    lines: int = 0
    plain: int = 0
    thinned: int = 0
    begin: int = 0
    end: Link = BEGIN


def verify(folder: Path, since: str = "", known: Link | None = None) -> Verdict:
    """Look at all files, or those from one on, by its name; `known`: a line that is there, as somebody noted it elsewhere."""
    found = files(folder)
    names = [file.name for file in found]
    if since and since not in names:
        raise ConfigurationError(f"{folder} has no {since}; the first is {names[0] if names else 'none'}")
    start = names.index(since) if since else 0
    walk = _Walk(known)
    if start:
        walk.follow(found[start - 1])
    for file in found[start:]:
        try:
            walk.file(file.name, file.read_bytes())
        except FileNotFoundError:  # retired meanwhile, of which a later line tells
            walk.begin_anew()
    return walk.finish()


class _Walk:
    def __init__(self, known: Link | None) -> None:
        self._verdict = Verdict()
        self._known = known
        self._link = BEGIN
        """Of the last line of the chain; number 0 before it begins, with the hash of the last line if there is one."""

        self._before = ("", 0)
        """File and line of that."""

        self._line_before = ""
        """The hash of the last line, whatever it is."""

        self._begins: tuple[str, int, int] | None = None
        self._thinned: dict[str, str] = {}
        self._told: dict[str, set[str]] = {}
        self._retired: set[int] = set()

    def follow(self, file: Path) -> None:
        self._link, self._before = last(file), (file.name, 0)
        self._verdict.begin = self._link[0] + 1

    def begin_anew(self) -> None:
        self._link = BEGIN

    def file(self, name: str, content: bytes) -> None:
        lines = content.splitlines(keepends=True)
        self._verdict.lines += len(lines)
        marker = entry(lines[0]) if lines else {}
        if marker.get("event") == THINNED:
            self._file_thinned(name, lines, marker, hashlib.sha256(content).hexdigest())
            return
        for place, line in enumerate(lines, 1):
            self._line(name, place, line, _hash(line))

    def _file_thinned(self, name: str, lines: list[bytes], marker: dict[str, Any], digest: str) -> None:
        self._verdict.thinned += 1
        if "head" not in marker:  # by a version that had no chain
            self._verdict.plain += len(lines)
            self._line_before = _hash(lines[-1])
            self._link = self._link if self._link[0] else (0, self._line_before)
            return
        self._thinned[name] = digest
        number = _number(lines[0])
        if number:
            self._fits(name, 1, (number, str(marker.get("prev"))))
        for line in lines[1:]:
            self._remember(entry(line))
            self._look_for((_number(line) or 0, _hash(line)) if self._known else None)
        to = str(marker.get("to", ""))
        self._link = (int(to) if to.isdecimal() else self._link[0]), str(marker["head"])
        self._before, self._line_before = (name, 0), self._link[1]
        self._look_for(self._link)

    def _line(self, name: str, place: int, line: bytes, its: str) -> None:
        number, words = _number(line), entry(line)
        if number and words:
            if self._fits(name, place, (number, str(words.get("prev")))):
                self._link, self._before = (number, its), (name, place)
            self._remember(words)
            self._look_for((number, its))
        elif not words:
            self._verdict.cut.append(Finding(name, place, "is cut off, or none of ours"))
        elif self._link[0]:
            self._wrong(name, place, "was put in or changed: it is not of the chain")
        if not self._link[0]:
            self._verdict.plain += 1
            self._link, self._before = (0, its), (name, place)
        self._line_before = its

    def _fits(self, name: str, place: int, link: Link) -> bool:
        """Whether a line (its number, what it says of the one before) is where the chain goes on."""
        number, before = link
        if not self._link[0]:
            self._begins, self._verdict.begin = ((name, place, number) if number > 1 else None), number
            if number == 1 and before != self._link[1]:
                self._wrong(name, place, "begins the chain, and the line before it was cut out or changed")
            return True
        missing = number - self._link[0] - 1
        if missing < 0:
            if before != self._line_before:
                new = "; a chain begins anew" if number == 1 else ""
                self._wrong(name, place, f"has number {number} after {self._link[0]}: put in, moved or changed{new}")
            return number == 1 or before == self._line_before
        if missing:
            one = "1 line is" if missing == 1 else f"{missing} lines are"
            self._wrong(name, place, f"{one} missing before it, or changed: from number {self._link[0] + 1}")
        elif before != self._link[1]:
            self._wrong(*self._before, f"was changed: {name}:{place} has another hash of it")
        return True

    def _remember(self, words: dict[str, Any]) -> None:
        if words.get("event") == THINNING:
            self._told.setdefault(str(words.get("file")), set()).add(str(words.get("sha256")))
        elif words.get("event") == RETIRED and str(words.get("last")).isdecimal():
            self._retired.add(int(words["last"]))

    def _look_for(self, link: Link | None) -> None:
        if link == self._known:
            self._known = None

    def finish(self) -> Verdict:
        for name, digest in self._thinned.items():
            if digest not in self._told.get(name, ()):
                self._wrong(name, 0, "is not as it was when it was thinned out")
        if self._begins is not None and self._begins[2] - 1 not in self._retired:
            name, place, number = self._begins
            self._wrong(name, place, f"has number {number}, and the log does not say that what was before it was deleted for its age")
        if self._known is not None:
            self._wrong("the log", 0, f"line number {self._known[0]}, which was noted elsewhere, is not there, or was changed")
        self._verdict.end = self._link
        return self._verdict

    def _wrong(self, file: str, line: int, text: str) -> None:
        self._verdict.wrong.append(Finding(file, line, text))
