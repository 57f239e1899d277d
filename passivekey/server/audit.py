# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit log: one JSON object a line, only ever appended, on the disk before what it tells is done."""

from __future__ import annotations

import datetime
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

from passivekey.errors import ConfigurationError

_DURABLE = ("revoke", "enroll", "confirm", "restore", "rotate")
"""What a restored backup has to be told of is on the disk when `write` returns; the rest within moments."""


class Audit:
    """Appends to `folder`/passivekey-YYYY-MM-DD.log (UTC); several processes may append to the same."""

    def __init__(self, folder: Path, clock: Callable[[], float], days: int = 365) -> None:
        self._folder = folder
        self._clock = clock
        self._days = days
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
        line = json.dumps(words, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            handle = self._today(now.date().isoformat())
            if os.write(handle, line) != len(line):
                raise OSError("the audit log is full")
            if event in _DURABLE:
                os.fsync(handle)

    def _today(self, day: str) -> int:
        if day != self._day:
            if self._handle >= 0:
                os.close(self._handle)
            self._handle = os.open(self._folder / f"passivekey-{day}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            self._day = day
            self._retire(day)
        return self._handle

    def _retire(self, today: str) -> None:
        """Delete the files of days that are over longer than they are kept."""
        oldest = datetime.date.fromisoformat(today) - datetime.timedelta(days=self._days)
        for file in self._folder.glob("passivekey-????-??-??.log"):
            if file.stem.removeprefix("passivekey-") < oldest.isoformat():
                file.unlink(missing_ok=True)

    def read(self, *, after: str = "") -> list[dict[str, str]]:
        """All entries at or after a time, oldest first; a line cut by a crash is passed over."""
        found = []
        for file in sorted(self._folder.glob("passivekey-????-??-??.log")):
            if file.stem.removeprefix("passivekey-") < after[:10]:
                continue
            for line in file.read_text(encoding="ascii", errors="replace").splitlines():
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if isinstance(entry, dict) and entry.get("at", "") >= after:
                    found.append(entry)
        return found
