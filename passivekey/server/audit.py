# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit log: one JSON object a line, only ever appended, on the disk before what it tells is done.

Lines are a chain: each has a number (`n`), one more than the line before it, and the SHA-256 (`prev`) of that line with its newline, over
all files and all processes that write. What is cut out or changed is found (audit_chain).

Kept for days, and within a size. Where the size is reached first, the oldest files lose what can be done without (validations and refusals,
of which whoever floods the server can make any number) and keep what restoring and inquiries need: devices, tickets, keys, backups. The log
says itself which files it let go, and what is left of those that it thinned out.
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from passivekey.errors import ConfigurationError
from passivekey.server import audit_chain
from passivekey.server.audit_chain import BEGIN, Link

_DURABLE = ("revoke", "enroll", "confirm", "restore", "rotate", "drop")
"""What a restored backup has to be told of is on the disk when `write` returns; the rest within moments."""

_KEPT = (
    *(*_DURABLE, "backup", "renew", "ticket", "tickets-withdrawn", "unlock", "admin-sign-in"),
    *(audit_chain.THINNED, audit_chain.THINNING, audit_chain.RETIRED),
)
"""What stays for all its days, whatever the size."""

_CHAIN = "chain"
"""The file that who writes has locked; it names the file that is written to."""

_LITTLE = 2**16
"""Octets of others that are read to find the last line; more are looked through from the end."""

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
        self._chain = -1
        self._name = ""
        self._handle = -1
        self._size = 0
        """Of the file when its end was looked at last, where `_link` stands."""

        self._link: Link = BEGIN
        self._begun = False
        """Whether a file was begun since what is over was let go."""

        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigurationError(f"audit.folder: {folder}: {error.strerror}") from error

    def write(self, event: str, **about: str) -> None:
        """Raises OSError where it cannot be written: what is not audited is not done."""
        with self._lock:
            self._write(event, about)
            while self._begun:
                self._begun = False
                self._retire()

    def _write(self, event: str, about: dict[str, str]) -> None:
        now = datetime.datetime.fromtimestamp(self._clock(), datetime.timezone.utc)
        words = {"at": now.isoformat(timespec="milliseconds"), "event": event, **{name: value for name, value in about.items() if value}}
        text = json.dumps(words, ensure_ascii=True, separators=(",", ":"))
        with self._alone():
            self._find_end(now.date().isoformat())
            number, before = self._link
            line = f'{text[:-1]},"n":"{number + 1}","prev":"{before}"}}\n'.encode()
            size, self._size = self._size, -1  # nobody knows how much is there until all of it is
            if os.write(self._handle, line) != len(line):
                raise OSError("the audit log is full")
            self._size, self._link = size + len(line), (number + 1, hashlib.sha256(line).hexdigest())
        if event in _DURABLE:
            os.fsync(self._handle)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time, also where somebody took the file away that they meet at."""
        while True:
            if self._chain < 0:
                self._chain = os.open(self._folder / _CHAIN, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._chain, fcntl.LOCK_EX)
            if os.fstat(self._chain).st_nlink:
                break
            os.close(self._chain)
            self._chain = -1
        try:
            yield
        finally:
            fcntl.flock(self._chain, fcntl.LOCK_UN)

    # ---- where the next line goes

    def _find_end(self, day: str) -> None:
        """The file to write to, open, and what its next line follows; a new one for a new day, and where the last is full."""
        found = os.fstat(self._handle) if self._handle >= 0 and os.pread(self._chain, 64, 0) == self._name.encode() else None
        if found is None or not found.st_nlink:
            files = self.files()
            self._open(files[-1].name if files else _name(day, 0))
            found = os.fstat(self._handle)
        if found.st_size != self._size:
            self._catch_up(found.st_size)
        last, part = audit_chain.place(self._name)
        if last < day:
            self._begin(_name(day, 0))
        elif self._most and self._size > self._most // _PARTS:
            self._begin(_name(last, part + 1))

    def _begin(self, name: str) -> None:
        """Go on in another file; what was the last line stays the one before."""
        self._open(name)
        self._size = 0

    def _open(self, name: str) -> None:
        opened = os.open(self._folder / name, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        if self._handle >= 0:
            os.close(self._handle)
        self._handle, self._name, self._size, self._begun = opened, name, -1, True
        os.pwrite(self._chain, name.encode(), 0)
        os.ftruncate(self._chain, len(name))

    def _catch_up(self, size: int) -> None:
        """Others wrote, or a crash cut the last line: that one gets its newline, so that no good line is lost with it."""
        if 0 <= self._size < size <= self._size + _LITTLE:
            more = os.pread(self._handle, size - self._size, self._size)
            link = audit_chain.link(more[more.rfind(b"\n", 0, -1) + 1 :])
            if link is not None:
                self._size, self._link = size, link
                return
        if size and os.pread(self._handle, 1, size - 1) != b"\n":
            os.write(self._handle, b"\n")
            size += 1
        found = audit_chain.end(self._handle, lambda: [file for file in self.files() if file.name != self._name])
        # where this process wrote more than is there, lines were taken away: going on from its own shows that
        self._size, self._link = size, self._link if self._link[0] and self._link[0] >= found[0] else found

    # ---- what is over

    def files(self) -> list[Path]:
        """Oldest first."""
        return audit_chain.files(self._folder)

    def _retire(self) -> None:
        """Delete the files of days that are over longer than they are kept; thin out the oldest until all are within the size."""
        today = datetime.datetime.fromtimestamp(self._clock(), datetime.timezone.utc).date()
        oldest = (today - datetime.timedelta(days=self._days)).isoformat()
        current = audit_chain.place(self._name)
        files = [file for file in self.files() if audit_chain.place(file.name) < current]  # to which nobody writes any more
        kept = [file for file in files if audit_chain.place(file.name)[0] >= oldest]
        for file in files:
            if file not in kept:
                self._let_go(file)
        size = _size(self._folder / self._name) + sum(_size(file) for file in kept)
        for file in kept:
            if not self._most or size <= self._most - self._most // _PARTS:
                break
            size -= self._thin(file)

    def _let_go(self, file: Path) -> None:
        with _held(file) as mine:
            if mine:
                self._write(audit_chain.RETIRED, {"file": file.name, "last": str(audit_chain.last(file)[0])})
                file.unlink(missing_ok=True)

    def _thin(self, file: Path) -> int:
        """Rewrite a file with what is kept; how many octets that saves. The log has its hash before it is so."""
        with _held(file) as mine:
            if not mine:
                return 0
            old = file.read_bytes()
            new, lines = audit_chain.thinned(old, _KEPT)
            if len(new) >= len(old):
                return 0
            about = {"file": file.name, "lines": str(lines), "sha256": hashlib.sha256(new).hexdigest()}
            self._write(audit_chain.THINNING, about)
            _replace(file, new)
            return len(old) - len(new)

    def read(self, *, after: str = "") -> list[dict[str, str]]:
        """All entries at or after a time, oldest first; a line cut by a crash is passed over."""
        found = []
        for file in self.files():
            if audit_chain.place(file.name)[0] < after[:10]:
                continue
            for line in file.read_bytes().splitlines():
                entry = audit_chain.entry(line)
                if entry and entry.get("at", "") >= after:
                    found.append(entry)
        return found


def _name(day: str, part: int) -> str:
    return f"passivekey-{day}{f'.{part}' if part else ''}.log"


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _replace(file: Path, content: bytes) -> None:
    """What a crash leaves of this is overwritten by the next attempt, for the size is as it was."""
    new = file.with_suffix(".thinned")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    new.replace(file)


@contextmanager
def _held(file: Path) -> Iterator[bool]:
    """Whether no other process thins this file out or deletes it, or has just done so."""
    try:
        handle = os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield bool(os.fstat(handle).st_nlink)
    finally:
        os.close(handle)
