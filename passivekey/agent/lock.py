# SPDX-License-Identifier: GPL-3.0-or-later
"""One writer at a time: the check at logon, the browser's host and the hotkey's helper are processes of one user."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from passivekey.agent.state import Places


@contextlib.contextmanager
def alone(places: Places) -> Iterator[bool]:
    """Whether no other agent of this user is at it now. The system lets go of the lock when the process ends, however it ends."""
    places.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with places.lock.open("a") as file:
        try:
            if os.name == "posix":
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            else:
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]  # of Windows only
        except OSError:
            yield False
            return
        yield True
