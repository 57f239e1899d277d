# SPDX-License-Identifier: GPL-3.0-or-later
"""What shall go wrong, on command of a test: an object in the process or `faults.json` in the stand-in's folder, read when it changes.

    {"slow": {"seconds": 0.5}, "status": {"status": 500, "method": "PUT", "times": 1}, "drop": {"when": "after", "path": "user-realms"}, …}

A fault that happens to a request may say to which: `method`, `path` (a part of it, as it came), `after` (so many matching requests
          pass first), `times`
(how many it happens to; without it, all from then on). `true` instead of an object: to every request, with its default values.

slow      {"seconds": 1}: waits before it does anything.
status    {"status": 500}: answers so, and does nothing.
drop      {"when": "before" | "after"}: closes the connection, before or after the request was carried out.
body      {"kind": "half" | "html" | "empty"}: carried out, and answered with half the JSON, a page, or nothing with status 200.
reboot    {"seconds": 2, "when": "after" | "before"}: connections break, the port is closed so long, all keys are dead.
console   {"change": [{"path": "configuration/…", "body": {…}}]}: an administrator at the console makes these changes just before the
          request is
          carried out; a change with "delete": true deletes. Without `method` it waits for a write.

Not to a request: `expire_key` (a key is dead after so many requests), `session_table_full` (true), `clock_offset` (seconds),
`management_certificate` ("expired", "self-signed", or {"certificate": file, "key": file}: what the management port shows),
`hour_seconds` (so long is an hour of the CRL download frequency), `keep_revoked_sessions` (true: a CRL ends no tunnels).
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PER_REQUEST = ("slow", "status", "drop", "body", "reboot", "console")
STANDING = ("expire_key", "session_table_full", "clock_offset", "management_certificate", "hour_seconds", "keep_revoked_sessions")


@dataclass
class _Seen:
    matched: int = 0
    happened: int = 0


class Faults:
    def __init__(self, folder: Path | None) -> None:
        self._file = folder / "faults.json" if folder else None
        self._stamp: tuple[int, int] | None = None
        self._lock = threading.Lock()
        self._faults: dict[str, Any] = {}
        self._seen: dict[str, _Seen] = {}

    def set(self, faults: dict[str, Any]) -> None:
        """From now on these and no others; what was counted is forgotten."""
        unknown = set(faults) - {*PER_REQUEST, *STANDING}
        if unknown:
            raise ValueError(f"no such faults: {', '.join(sorted(unknown))}")
        with self._lock:
            self._faults, self._seen = dict(faults), {}

    def all(self) -> dict[str, Any]:
        self._read()
        return dict(self._faults)

    def get(self, name: str) -> Any:
        self._read()
        return self._faults.get(name)

    def _read(self) -> None:
        if self._file is None:
            return
        try:
            found = self._file.stat()
        except FileNotFoundError:
            if self._stamp is not None:
                self._stamp = None
                self.set({})
            return
        stamp = (found.st_mtime_ns, found.st_ino)
        if stamp != self._stamp:
            self._stamp = stamp
            self.set(json.loads(self._file.read_text()))

    def take(self, method: str, path: str) -> dict[str, dict[str, Any]]:
        """The faults that happen to this request."""
        self._read()
        if not self._faults:
            return {}
        with self._lock:
            return {name: fault for name in PER_REQUEST if (fault := self._happens(name, method, path)) is not None}

    def _happens(self, name: str, method: str, path: str) -> dict[str, Any] | None:
        value = self._faults.get(name)
        if value is None or value is False:
            return None
        fault: dict[str, Any] = value if isinstance(value, dict) else {}
        writes = ("POST", "PUT", "DELETE") if name == "console" and "method" not in fault else (method,)
        if method not in writes or fault.get("method", method) != method or fault.get("path", "") not in path:
            return None
        seen = self._seen.setdefault(name, _Seen())
        seen.matched += 1
        once = 1 if name in ("reboot", "console") else None
        times = fault.get("times", once)
        if seen.matched <= fault.get("after", 0) or (times is not None and seen.happened >= times):
            return None
        seen.happened += 1
        return fault
