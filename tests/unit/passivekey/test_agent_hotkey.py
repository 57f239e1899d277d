# SPDX-License-Identifier: GPL-3.0-or-later
"""The hotkey on a real X server: into xterm, into a page of Chromium that has the key itself, and what it does not type."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import time
import urllib.request

import pytest

pytest.importorskip("Xlib", reason="python-xlib is not installed")

from passivekey.agent import hotkey
from passivekey.agent.hotkey import HotkeyError
from passivekey.agent.hotkey_x11 import Hotkey

CODE = "4071938"


def needs(*programs):
    missing = [name for name in programs if not shutil.which(name)]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@contextlib.contextmanager
def started(*command, **options):
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, **options)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


def until(found, seconds=20.0):
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)
    return value


@pytest.fixture(scope="module")
def display():
    if not shutil.which("Xvfb"):
        pytest.skip("not installed: Xvfb")
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", "900x600x24", "-nolisten", "tcp", "-noreset"]
    with started(*command, stdout=subprocess.DEVNULL, pass_fds=[writer]):
        os.close(writer)
        with os.fdopen(reader) as told:
            number = told.readline().strip()
        yield f":{number}"


@pytest.fixture
def x(display, monkeypatch):
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("XDG_SESSION_TYPE", raising=False)
    return lambda *arguments: subprocess.run(["xdotool", *arguments], check=True, capture_output=True, text=True).stdout.strip()


class Listener:
    """What the helper says, a line each: that it listens, that the key was pressed, its warnings."""

    def __init__(self, told, go):
        self.told, self.go, self.lines = told, go, []

    def line(self, start):
        until(lambda: self.more() or any(line.startswith(start) for line in self.lines))
        return next(line for line in self.lines if line.startswith(start))

    def more(self):
        if select.select([self.told], [], [], 0)[0]:
            self.lines += os.read(self.told, 4096).decode().splitlines()

    def proceed(self):
        os.write(self.go, b"go")


@contextlib.contextmanager
def listening(keys="ctrl+shift+o", proceed=True):
    """A process that types CODE at each press, once it may `proceed`."""
    (told, tell), (wait, go) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            taken = Hotkey(keys, lambda text: os.write(tell, f"said {text}\n".encode()))
            os.write(tell, b"ready\n")
            while True:
                taken.wait()
                os.write(tell, b"pressed\n")
                os.read(wait, 2)
                taken.type(CODE)
        except BaseException as error:
            os.write(tell, f"failed {error!r}\n".encode())
        finally:
            os._exit(1)
    try:
        found = Listener(told, go)
        found.line("ready")
        if proceed:
            found.proceed()
        yield found
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        for handle in (told, tell, wait, go):
            os.close(handle)


def focus(x, name):
    """The window of this name, once it is seen and has the focus."""

    def given():
        with contextlib.suppress(subprocess.CalledProcessError):
            window = x("search", "--onlyvisible", "--name", f"^{name}").split()[-1]
            x("windowfocus", window)
            return window if x("getwindowfocus", "-f") == window else None

    return until(given)


@contextlib.contextmanager
def xterm(x, tmp_path, name="typed"):
    """A terminal with the focus, whose lines go to a file."""
    script = f'while read -r line; do echo "$line" >> {tmp_path}/{name}; done'
    with started("xterm", "-T", name, "-e", "sh", "-c", script):
        focus(x, name)
        yield tmp_path / name


def read(path):
    return path.read_text() if path.exists() else ""


@needs("xterm", "xdotool")
def test_into_xterm(x, tmp_path):
    with xterm(x, tmp_path) as typed, listening():
        x("key", "ctrl+shift+o")
        assert until(lambda: read(typed)) == f"{CODE}\n"


@needs("xterm", "xdotool")
@pytest.mark.parametrize("lock", ["Caps_Lock", "Num_Lock"])
def test_locks_do_not_matter(x, tmp_path, lock):
    x("key", lock)
    try:
        with xterm(x, tmp_path) as typed, listening():
            x("key", "ctrl+shift+o")
            assert until(lambda: read(typed)) == f"{CODE}\n"
    finally:
        x("key", lock)


@needs("xterm", "xdotool")
def test_modifiers_that_are_held_on(x, tmp_path, monkeypatch):
    monkeypatch.setattr(hotkey, "RELEASE_WAIT", 0.3)
    with xterm(x, tmp_path) as typed, listening():
        x("keydown", "ctrl", "keydown", "shift", "key", "o")
        try:
            assert until(lambda: read(typed)) == f"{CODE}\n"
        finally:
            x("keyup", "shift", "keyup", "ctrl")


@needs("xterm", "xdotool", "setxkbmap")
@pytest.mark.parametrize("layout", ["fr", "us,ru"])
def test_other_layouts(x, tmp_path, display, layout):
    """On a French keyboard digits want Shift."""
    subprocess.run(["setxkbmap", "-display", display, "-layout", layout], check=True, capture_output=True)
    try:
        with xterm(x, tmp_path) as typed, listening():
            x("key", "ctrl+shift+o")
            assert until(lambda: read(typed)) == f"{CODE}\n"
    finally:
        subprocess.run(["setxkbmap", "-display", display, "-layout", "us"], check=True, capture_output=True)


@needs("xterm", "xdotool")
def test_nothing_is_typed_once_the_focus_moved(x, tmp_path):
    with xterm(x, tmp_path, "first") as first, listening(proceed=False) as helper:
        x("key", "ctrl+shift+o")
        helper.line("pressed")
        with xterm(x, tmp_path, "second") as second:
            helper.proceed()
            assert "took the focus" in helper.line("said")
            x("key", "Return")
            assert until(lambda: read(second)) == "\n" and not read(first)


@needs("xdotool")
def test_a_key_that_another_program_has(x):
    with listening("ctrl+alt+p"), pytest.raises(HotkeyError, match="another program has the key"):
        Hotkey("ctrl+alt+p", print)


@pytest.mark.parametrize("keys", ["o", "ctrl+", "hyper+o", "ctrl+nokey", ""])
def test_hotkeys_that_are_none(x, keys):
    with pytest.raises(HotkeyError, match="the hotkey"):
        Hotkey(keys, print)


def test_wayland_is_told(monkeypatch):
    monkeypatch.setenv("XDG_SESSION_TYPE", "wayland")
    with pytest.raises(HotkeyError, match="code --plain"):
        Hotkey("ctrl+shift+o", print)


def test_no_display(monkeypatch):
    monkeypatch.setenv("XDG_SESSION_TYPE", "x11")
    monkeypatch.setenv("DISPLAY", ":987")
    with pytest.raises(HotkeyError, match="no X display"):
        Hotkey("ctrl+shift+o", print)


PAGE = (
    "data:text/html,<title>waiting</title><form onsubmit=\"document.title='sent '+document.forms[0].code.value;return false\">"
    "<input name=code autofocus></form>"
)


@needs("chromium", "xdotool")
def test_into_a_page_of_a_browser_that_has_the_key_too(x, tmp_path):
    """Ctrl-Shift-O is Chromium's bookmark manager."""
    flags = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-component-update", "--disable-sync", "--disable-quic")
    more = ("--password-store=basic", "--remote-debugging-port=0", f"--user-data-dir={tmp_path}/profile", "--window-size=800,500")
    with listening() as helper, started("chromium", *flags, *more, PAGE, stdout=subprocess.DEVNULL):
        port = until(lambda: read(tmp_path / "profile/DevToolsActivePort"), 60).split()[0]

        def titles():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
                return answer.read().decode()

        until(lambda: "waiting" in titles(), 40)
        window = focus(x, "waiting")
        x("mousemove", "--window", window, "60", "140")
        time.sleep(0.3)
        x("key", "ctrl+shift+o")
        until(lambda: f"sent {CODE}" in titles(), 20)
        assert helper.more() is None and helper.lines == ["ready", "pressed"] and "bookmarks" not in titles()
