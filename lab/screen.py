# SPDX-License-Identifier: GPL-3.0-or-later
"""What `demo` shows: steps that tick, and a summary. Plain lines where there is no terminal, ASCII where there is no UTF-8."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TextIO

SYMBOLS = {"done": "✓", "failed": "✗", "skipped": "-", "running": "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "dot": "·", "ellipsis": "…"}
ASCII = {"done": "ok", "failed": "FAILED", "skipped": "--", "running": "|/-\\", "dot": "-", "ellipsis": "..."}
STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
PLAIN_TEXT = str.maketrans({"…": "...", "·": "-"})
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def speaks_unicode(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether the stream's encoding and the user's locale can both show more than ASCII."""
    encoding = (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "")
    locale = next((environment[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environment.get(name)), "C")
    # The entrance gives Ansible a UTF-8 locale and tells here what the user's was; Python itself writes UTF-8 in the C locale.
    charmap = environment.get("CERTLOGON_CHARMAP") or ("ANSI" if locale in ("C", "POSIX") else "UTF-8")
    return encoding == "utf8" and charmap == "UTF-8"


class Step:
    """A step while it runs: `now` is what it does at the moment, `note` what is worth saying at its end."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.now = ""
        self.note = ""
        self.started = time.monotonic()
        self.seconds = 0.0

    def stop(self) -> None:
        self.seconds = time.monotonic() - self.started


class Screen:
    def __init__(self, stream: TextIO | None = None, environment: Mapping[str, str] | None = None) -> None:
        self.stream = stream or sys.stdout
        environment = os.environ if environment is None else environment
        terminal = self.stream.isatty() and environment.get("TERM", "dumb") != "dumb"
        self.live = terminal
        self.colour = terminal and not environment.get("NO_COLOR")
        self.unicode = speaks_unicode(self.stream, environment)
        self.symbols = SYMBOLS if self.unicode else ASCII
        self.width = min(shutil.get_terminal_size((100, 24)).columns, 110)

    # ---- text

    def style(self, text: str, *names: str) -> str:
        if not self.colour or not names:
            return text
        return f"\x1b[{';'.join(STYLES[name] for name in names)}m{text}\x1b[0m"

    def say(self, text: str = "") -> None:
        if not self.unicode:
            text = text.translate(PLAIN_TEXT).encode("ascii", "replace").decode()
        self.stream.write(text + "\n")
        self.stream.flush()

    def heading(self, text: str) -> None:
        self.say()
        self.say(self.style(text, "bold"))

    def wrapped(self, text: str, indent: int = 2) -> None:
        for line in textwrap.wrap(text, self.width - indent - 1) or [""]:
            self.say(" " * indent + line)

    def mark(self, outcome: str) -> str:
        styles = {"done": ("green",), "failed": ("red", "bold"), "skipped": ("yellow",)}[outcome]
        symbol = self.symbols[outcome]
        return self.style(symbol, *styles) + " " * max(0, self.mark_width - len(symbol))

    @property
    def mark_width(self) -> int:
        return 1 if self.unicode else 2

    # ---- steps

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """One line that ticks while the step runs and stays with its seconds when it has ended."""
        step = Step(title)
        ended = threading.Event()
        ticker = threading.Thread(target=self._tick, args=(step, ended), daemon=True) if self.live else None
        if ticker:
            ticker.start()
        outcome = "failed"
        try:
            yield step
            outcome = "done"
        finally:
            step.stop()
            ended.set()
            if ticker:
                ticker.join()
                self.stream.write("\r\x1b[K")
            self.say(self._ended(step, outcome))

    def _ended(self, step: Step, outcome: str) -> str:
        title = f"  {self.mark(outcome)} {step.title}"
        seconds = f"{step.seconds:.1f} s"
        gap = max(2, 58 - visible_length(title) + 8 - len(seconds))
        note = f"   {step.note}" if step.note else ""
        return f"{title}{' ' * gap}{self.style(seconds, 'dim')}{note}"

    def _tick(self, step: Step, ended: threading.Event) -> None:
        frames, count = self.symbols["running"], 0
        while True:
            seconds = time.monotonic() - step.started
            now = f" {self.symbols['dot']} {step.now}" if step.now else ""
            text = f"{step.title}{now}"
            room = self.width - 14
            if len(text) > room:
                text = text[: room - 3] + self.symbols["ellipsis"]
            self.stream.write(
                f"\r\x1b[K  {self.style(frames[count % len(frames)], 'cyan')} {text}  {self.style(f'{seconds:.0f} s', 'dim')}"
            )
            self.stream.flush()
            count += 1
            if ended.wait(0.12):
                return

    # ---- tables

    def rows(self, rows: Sequence[Sequence[str]], *, wrap: int = -1, indent: int = 2) -> None:
        """Columns as wide as they need to be; column `wrap` takes the room that is left and wraps in it."""
        if not rows:
            return
        wrap %= len(rows[0])
        widths = [max(visible_length(row[column]) for row in rows) for column in range(len(rows[0]))]
        others = sum(widths) - widths[wrap] + 2 * (len(widths) - 1) + indent
        widths[wrap] = min(widths[wrap], max(24, self.width - others))
        for row in rows:
            wrapped = textwrap.wrap(row[wrap], widths[wrap]) or [""]
            for number, text in enumerate(wrapped):
                cells = [text if column == wrap else cell if number == 0 else "" for column, cell in enumerate(row)]
                self.say(" " * indent + "  ".join(pad(cell, width) for cell, width in zip(cells, widths, strict=True)).rstrip())


def pad(text: str, width: int) -> str:
    return text + " " * (width - visible_length(text))


def visible_length(text: str) -> int:
    return len(ESCAPES.sub("", text))
