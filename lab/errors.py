# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path


class LabError(Exception):
    """Something the user can act on; with the log that tells why, if there is one."""

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log

    def explain(self, lines: int = 20) -> str:
        """The message and the last lines of the log."""
        if self.log is None or not self.log.is_file():
            return str(self)
        tail = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join([str(self), f"last lines of {self.log}:", *(f"  | {line}" for line in tail)])
