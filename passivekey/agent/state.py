# SPDX-License-Identifier: GPL-3.0-or-later
"""What the check at logon needs to know, without any secret: where things are, and until when all is well.

Imports nothing but the standard library's light parts (`dataclasses` is none of them); `logon` exits by it in tens of milliseconds.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

FORMAT = 1
ASK_EVERY = 86400
"""Seconds after which a logon asks the server whether the device is still good; one that was revoked enrolls anew."""


class Places(NamedTuple):
    """Where one user's things are on this workstation."""

    folder: Path

    @classmethod
    def of_user(cls) -> Places:
        """PASSIVEKEY_HOME, else the platform's place for a program's data of a user, which does not roam."""
        given = os.environ.get("PASSIVEKEY_HOME")
        if given:
            return cls(Path(given))
        if sys.platform == "win32":
            return cls(Path(os.environ["LOCALAPPDATA"]) / "PassiveKey")
        return cls(Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "passivekey")

    @property
    def state(self) -> Path:
        return self.folder / "state.json"

    @property
    def container(self) -> Path:
        return self.folder / "container"

    @property
    def policy(self) -> Path:
        return self.folder / "policy.jws"

    @property
    def notice(self) -> Path:
        return self.folder / "notice.txt"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"


class State(NamedTuple):
    """Of an active device: when its certificate is to be renewed, when it ends, and when the server last knew it (seconds since 1970)."""

    device: str
    origin: str
    renew_at: int
    expires: int
    seen: int
    format: int = FORMAT

    def well(self, now: float) -> bool:
        """Nothing to do: no renewal is due, and the server was asked within a day (or a clock that was set back says so)."""
        return now < self.renew_at and abs(now - self.seen) < ASK_EVERY


def read(places: Places) -> State | None:
    """None where there is none, or none that can be understood; then all of it is looked at."""
    try:
        words = json.loads(places.state.read_text(encoding="utf-8"))
        found = State(**words)
    except (OSError, ValueError, TypeError):
        return None
    numbers = (found.renew_at, found.expires, found.seen)
    understood = found.format == FORMAT and all(isinstance(number, int) for number in numbers)
    return found if understood and places.container.exists() else None


def write(places: Places, state: State) -> None:
    temporary = places.state.with_suffix(".new")
    temporary.write_text(json.dumps(state._asdict()), encoding="utf-8")
    temporary.replace(places.state)


def all_is_well(places: Places) -> bool:
    found = read(places)
    return found is not None and found.well(time.time())


def told(error: OSError) -> str:
    """What of the user's things cannot be read or written, as on a full disk."""
    return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)


def notice(places: Places) -> str:
    """What the user has to do, as the last logon left it; "" where there is nothing."""
    try:
        return places.notice.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
