# SPDX-License-Identifier: GPL-3.0-or-later
"""`passivekey-agent hotkey` in a session, under Xvfb: pressed in a terminal, then in a field of Chromium's, which has the key itself.

Stand-alone; answers JSON: {"terminal": what was typed there, "browser": the same, "said": the helper's words, "screenshot": PNG, base64}.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

KEYS, KEYSYM = "ctrl+shift+o", "o"
PATIENCE = 60.0
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-component-update", "--disable-sync", "--disable-quic"),
    *("--disable-background-networking", "--password-store=basic", "--window-size=800,500", "--window-position=0,0"),
)
PAGE = (
    "data:text/html,<title>waiting</title><h2>VPN</h2><form onsubmit=\"document.title='sent '+document.forms[0].code.value;return false\">"
    "Code <input name=code autofocus></form>"
)
Found = TypeVar("Found")


def main() -> int:
    answer = {}
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        os.environ["DISPLAY"] = stack.enter_context(display())
        said = folder / "said"
        with said.open("wb") as output:
            stack.enter_context(started("passivekey-agent", "hotkey", stdout=output, stderr=output))
        until(taken, said)
        typed = folder / "typed"
        with started("xterm", "-T", "terminal", "-e", "sh", "-c", f"read -r line && echo $line > {typed}.new && mv {typed}.new {typed}"):
            focus("terminal")
            xdotool("key", KEYS)
            until(typed.exists, said)
            answer["terminal"] = typed.read_text().strip()
        with started("chromium", *FLAGS, f"--user-data-dir={folder}/profile", PAGE):
            window = focus("waiting")
            xdotool("mousemove", "--window", window, "130", "190")
            time.sleep(0.5)
            xdotool("key", KEYS)
            sent = until(lambda: names("sent"), said)
            answer["browser"] = xdotool("getwindowname", sent).split()[1]
            xdotool("mousemove", "700", "450")
            answer["screenshot"] = screenshot()
        answer["said"] = said.read_text(errors="replace")
    print(json.dumps(answer))
    return 0


@contextlib.contextmanager
def started(*command: str, **options: object) -> Iterator[None]:
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, start_new_session=True, **{**quiet, **options})  # type: ignore[call-overload]
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def display() -> Iterator[str]:
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", "800x500x24", "-nolisten", "tcp", "-noreset"]
    with started(*command, pass_fds=[writer]):
        os.close(writer)
        with os.fdopen(reader) as told:
            number = told.readline().strip()
        yield f":{number}"


def until(found: Callable[[], Found], said: Path) -> Found:
    deadline = time.monotonic() + PATIENCE
    while not (value := found()):
        if time.monotonic() > deadline:
            sys.exit(f"it did not come; the helper said: {said.read_text(errors='replace')!r}; windows: {names('.')!r}")
        time.sleep(0.05)
    return value


def taken() -> bool:
    """Whether somebody has the hotkey."""
    from Xlib import XK, X, display, error

    screen = display.Display()
    refused, root = error.CatchError(error.BadAccess), screen.screen().root
    code = screen.keysym_to_keycode(XK.string_to_keysym(KEYSYM))
    root.grab_key(code, X.ControlMask | X.ShiftMask, False, X.GrabModeAsync, X.GrabModeAsync, onerror=refused)
    screen.sync()
    screen.close()
    return refused.get_error() is not None


def xdotool(*arguments: str) -> str:
    return subprocess.run(["xdotool", *arguments], capture_output=True, text=True, check=True).stdout.strip()


def names(name: str) -> str:
    """The last window of this name that is seen."""
    with contextlib.suppress(subprocess.CalledProcessError):
        return xdotool("search", "--onlyvisible", "--name", f"^{name}").split()[-1]
    return ""


def focus(name: str) -> str:
    def given() -> str:
        window = names(name)
        with contextlib.suppress(subprocess.CalledProcessError):
            if window:
                xdotool("windowfocus", window)
                return window if xdotool("getwindowfocus", "-f") == window else ""
        return ""

    return until(given, Path(os.devnull))


def screenshot() -> str:
    """Of the whole display, as a PNG."""
    from Xlib import X, display

    screen = display.Display()
    root = screen.screen().root
    shape = root.get_geometry()
    pixels = root.get_image(0, 0, shape.width, shape.height, X.ZPixmap, 0xFFFFFFFF).data
    return base64.b64encode(png(pixels, shape.width, shape.height)).decode()


def png(pixels: bytes, width: int, height: int) -> bytes:
    """32 bits a pixel, blue first, as a PNG (RFC 2083)."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = []
    for row in range(height):
        line = pixels[row * width * 4 : (row + 1) * width * 4]
        colours = bytearray(width * 3)
        colours[0::3], colours[1::3], colours[2::3] = line[2::4], line[1::4], line[0::4]
        rows.append(b"\0" + bytes(colours))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"".join(rows), 6)) + chunk(b"IEND", b"")


if __name__ == "__main__":
    sys.exit(main())
