# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors an administrator can mend. Everything else is a bug and keeps its traceback."""

from __future__ import annotations

from collections.abc import Iterable


class UserError(Exception):
    """Something the administrator can mend; the message names the object, the field, the value and the remedy."""


class FormatError(UserError):
    """Bytes or text that are not what their format's specification says; raised by every parser, and nothing else is."""


class SessionLost(UserError):
    """The server went away: what has not been written yet cannot be attempted any more."""


class Problems:
    """Collects what is wrong with a request, so that one run names all of it."""

    def __init__(self) -> None:
        self._messages: list[str] = []

    def add(self, message: str) -> None:
        if message not in self._messages:
            self._messages.append(message)

    def collect(self, messages: Iterable[str]) -> None:
        for message in messages:
            self.add(message)

    def raise_any(self) -> None:
        """Raise one `UserError` that holds every message; nothing where there is none."""
        if self._messages:
            raise UserError("\n".join(self._messages))
