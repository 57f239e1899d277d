# SPDX-License-Identifier: GPL-3.0-or-later
"""One line a step, with its seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Progress:
    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.started = time.monotonic()

    def say(self, text: str) -> None:
        if not self.quiet:
            print(f"\r\033[K{text}" if sys.stderr.isatty() else text, file=sys.stderr, flush=True)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Shows the step while it runs and its seconds when it has ended."""
        begun = time.monotonic()
        if sys.stderr.isatty() and not self.quiet:
            print(f"\r\033[K    ...    {what}", end="\r", file=sys.stderr, flush=True)
        try:
            yield
        except BaseException:
            self.say(f"  failed   {what}")
            raise
        self.say(f"  {time.monotonic() - begun:5.1f} s  {what}")

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started
