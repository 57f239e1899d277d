# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit log: one JSON object a line, only ever appended, on the disk before what it tells is done.

Kept for days, and within a size. Where the size is reached first, the oldest files lose what can be done without (validations and refusals,
of which whoever floods the server can make any number) and keep what restoring and inquiries need: devices, tickets, keys, backups.
"""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from passivekey.errors import ConfigurationError

_DURABLE = ("revoke", "enroll", "confirm", "restore", "rotate")
"""What a restored backup has to be told of is on the disk when `write` returns; the rest within moments."""

_KEPT = (*_DURABLE, "backup", "renew", "ticket", "tickets-withdrawn", "unlock", "admin-sign-in", "thinned")
"""What stays for all its days, whatever the size."""

_NAME = re.compile(r"passivekey-(\d{4}-\d{2}-\d{2})(?:\.(\d+))?\.log")
_PARTS = 8
"""A file is at most this part of the whole size, so that the oldest can go without the newest."""


class Audit:
    """Appends to `folder`/passivekey-YYYY-MM-DD.log (UTC), the next of a day …-DD.1.log and so on; several processes append to them.
    `megabytes`: of all files together, 0 for no limit."""

    def __init__(self, folder: Path, clock: Callable[[], float], days: int = 365, megabytes: float = 0) -> None:
        self._folder = folder
        self._clock = clock
        self._days = days
        self._most = int(megabytes * 2**20)
        self._day = ""
        self._handle = -1
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigurationError(f"audit.folder: {folder}: {error.strerror}") from error

    def write(self, event: str, **about: str) -> None:
        """Raises OSError where it cannot be written: what is not audited is not done."""
        now = datetime.datetime.fromtimestamp(self._clock(), datetime.timezone.utc)
        words = {"at": now.isoformat(timespec="milliseconds"), "event": event, **{name: value for name, value in about.items() if value}}
        with self._lock:
            self._append(now.date().isoformat(), _line(words), event in _DURABLE)

    def _append(self, day: str, line: bytes, durable: bool) -> None:
        """To today's newest file, which nobody thins out meanwhile."""
        if day != self._day:
            self._open(day)
        while not self._appended(line, durable):
            self._open(day)

    def _appended(self, line: bytes, durable: bool) -> bool:
        """False where the file is full, or was thinned out meanwhile."""
        with _shared(self._handle):
            found = os.fstat(self._handle)
            if not found.st_nlink or (self._most and found.st_size > self._most // _PARTS):
                return False
            if os.write(self._handle, line) != len(line):
                raise OSError("the audit log is full")
            if durable:
                os.fsync(self._handle)
            return True

    def _open(self, day: str) -> None:
        """The day's newest file, or the next where that is full; and what is over goes."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle, self._day = -1, ""
        last = max((part for file in self.files() for found, part in [_place(file)] if found == day), default=0)
        path = self._path(day, last)
        if self._most and path.exists() and path.stat().st_size > self._most // _PARTS:
            path = self._path(day, last + 1)
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._day = day
        self.retire()

    def _path(self, day: str, part: int) -> Path:
        return self._folder / f"passivekey-{day}{f'.{part}' if part else ''}.log"

    def files(self) -> list[Path]:
        """Oldest first."""
        return sorted((file for file in self._folder.iterdir() if _NAME.fullmatch(file.name)), key=_place)

    def retire(self) -> None:
        """Delete the files of days that are over longer than they are kept; thin out the oldest until all are within the size."""
        today = datetime.datetime.fromtimestamp(self._clock(), datetime.timezone.utc).date()
        oldest = (today - datetime.timedelta(days=self._days)).isoformat()
        kept = []
        for file in self.files():
            if _place(file)[0] < oldest:
                file.unlink(missing_ok=True)
            else:
                kept.append(file)
        size = sum(_size(file) for file in kept)
        for file in kept[:-1]:  # the newest is being written
            if not self._most or size <= self._most - self._most // _PARTS:
                break
            size -= self._thin(file)

    def _thin(self, file: Path) -> int:
        """Rewrite a file with what is kept; how many octets that saves. Who still writes into it goes on in a newer one."""
        try:
            handle = os.open(file, os.O_RDWR)
        except FileNotFoundError:
            return 0
        try:
            with _alone(handle) as mine:
                if not mine or not os.fstat(handle).st_nlink:
                    return 0  # another process is at it, or has done it
                content, less = _thinned(file.read_bytes())
                if less > 0:
                    _replace(file, content)
                return max(less, 0)
        finally:
            os.close(handle)

    def read(self, *, after: str = "") -> list[dict[str, str]]:
        """All entries at or after a time, oldest first; a line cut by a crash is passed over."""
        found = []
        for file in self.files():
            if _place(file)[0] < after[:10]:
                continue
            for line in file.read_bytes().splitlines():
                entry = _entry(line)
                if entry and entry.get("at", "") >= after:
                    found.append(entry)
        return found


def _place(file: Path) -> tuple[str, int]:
    """Day and number of a file, by which they are in order."""
    found = _NAME.fullmatch(file.name)
    return (found[1], int(found[2] or 0)) if found else ("", 0)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _line(words: dict[str, Any]) -> bytes:
    return json.dumps(words, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


def _entry(line: bytes) -> dict[str, str]:
    """What a line says; nothing, where a crash cut it."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _thinned(content: bytes) -> tuple[bytes, int]:
    """What stays of a file, told by its first line, and how many octets less that is."""
    entries = [(line, _entry(line)) for line in content.splitlines(keepends=True)]
    gone = [entry for _text, entry in entries if entry.get("event") not in _KEPT]
    if not gone:
        return content, 0
    stays = b"".join(line for line, entry in entries if entry.get("event") in _KEPT)
    told = _line({"at": entries[0][1].get("at", ""), "event": "thinned", "lines": str(len(gone))})
    return told + stays, len(content) - len(told + stays)


def _replace(file: Path, content: bytes) -> None:
    """What a crash leaves of this is overwritten by the next attempt, for the size is as it was."""
    new = file.with_suffix(".thinned")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    new.replace(file)


@contextmanager
def _shared(handle: int) -> Iterator[None]:
    """While this file is written to, nobody thins it out."""
    fcntl.flock(handle, fcntl.LOCK_SH)
    try:
        yield
    finally:
        fcntl.flock(handle, fcntl.LOCK_UN)


@contextmanager
def _alone(handle: int) -> Iterator[bool]:
    """Whether nobody writes to this file or thins it out now; until the end of this nobody does."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        yield False
        return
    yield True
    fcntl.flock(handle, fcntl.LOCK_UN)
