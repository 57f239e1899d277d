# SPDX-License-Identifier: GPL-3.0-or-later
"""The hotkey of Windows on Wine: its user32 is the judge, an edit control of its what reads the keys. Wine is not Windows.

Needs Wine and a Python for Windows (python.org's embeddable package, unpacked): CERTLOGON_WINDOWS_PYTHON is the path of its python.exe.
For the whole agent also packages for it, CERTLOGON_WINDOWS_PACKAGES:

    pip install --target FOLDER --platform win_amd64 --python-version 3.11 --only-binary=:all: \\
        cryptography==42.0.5 joserfc keyring pywin32-ctypes

(Wine 8 has no bcryptprimitives.dll, which later ones of cryptography want.)
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

CODE = "4071938"
KEYS = "ctrl+shift+o"
ROOT = Path(__file__).resolve().parents[3]
PREFIX = ROOT / "build/wine"
PYTHON = os.environ.get("CERTLOGON_WINDOWS_PYTHON", "")
PACKAGES = os.environ.get("CERTLOGON_WINDOWS_PACKAGES", "")
MISSING = [name for name in ("wine", "Xvfb", "xdotool", "setxkbmap") if not shutil.which(name)]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.skipif(not Path(PYTHON).is_file(), reason="CERTLOGON_WINDOWS_PYTHON is not set to a python.exe of Windows"),
]
# Says each text that its edit control has.
EDITOR = """
import ctypes, json, sys
from ctypes import c_int, c_size_t, c_uint, c_void_p, c_wchar_p, byref, create_unicode_buffer
user = ctypes.WinDLL("user32")
user.CreateWindowExW.restype = c_void_p
user.CreateWindowExW.argtypes = [c_uint, c_wchar_p, c_wchar_p, c_uint, c_int, c_int, c_int, c_int, c_void_p, c_void_p, c_void_p, c_void_p]
user.SetFocus.argtypes = user.SetForegroundWindow.argtypes = [c_void_p]
user.SetTimer.argtypes = [c_void_p, c_size_t, c_uint, c_void_p]
user.GetWindowTextW.argtypes = [c_void_p, c_wchar_p, c_int]
window = user.CreateWindowExW(0, "STATIC", sys.argv[1], 0x10CF0000, 50, 50, 400, 200, None, None, None, None)
edit = user.CreateWindowExW(0, "EDIT", "", 0x50001044, 0, 0, 390, 190, window, None, None, None)
message, text, last = (c_size_t * 8)(), create_unicode_buffer(200), None
user.SetForegroundWindow(window)
user.SetFocus(edit)
user.SetTimer(edit, 1, 50, None)
while user.GetMessageW(byref(message), None, 0, 0) > 0:
    user.TranslateMessage(byref(message))
    user.DispatchMessageW(byref(message))
    if user.GetForegroundWindow() == window & 0xFFFFFFFF and user.GetFocus() != edit & 0xFFFFFFFF:
        user.SetFocus(edit)
    user.GetWindowTextW(edit, text, 200)
    if text.value != last:
        last = text.value
        print(json.dumps(last), flush=True)
"""
# What the helper is but for the code, which it types once it may.
LISTENER = """
import json, sys
sys.path.insert(0, sys.argv[1])
from passivekey.agent import hotkey, hotkey_windows
def say(*words):
    print(json.dumps(words), flush=True)
hotkey.RELEASE_WAIT, hotkey_windows.HELD_TOO_LONG = 0.3, 1.0
try:
    taken = hotkey.take(sys.argv[2], lambda text: say("said", text))
except hotkey.HotkeyError as error:
    say("refused", str(error))
    sys.exit()
say("ready", hotkey_windows.first())
while taken.wait():
    say("pressed")
    if sys.argv[3] == "gate":
        sys.stdin.readline()
    taken.type(sys.argv[4])
    say("done")
"""
SHOWN = """
import sys
sys.path.insert(0, sys.argv[1])
from passivekey.agent import hotkey_windows
for text in ("first", "first", "second"):
    hotkey_windows.show(text)
"""

AGENT = """
import pathlib, sys
sys.path[:0] = sys.argv[1:3]
from passivekey.agent import cli
cli.SETTINGS = (pathlib.Path(sys.argv[3]),) * 2
sys.exit(cli.main(sys.argv[4:]))
"""


def until(found, seconds=30.0):
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)
    return value


def windows_path(path):
    return "Z:" + str(path).replace("/", "\\")


class Program:
    """A program of Windows; what it says is JSON, a line each."""

    def __init__(self, script, *arguments, python=PYTHON):
        # Wine gives Python no standard streams that are not pipes
        command = ["wine", python, "-c", script, *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._lines = queue.Queue()
        self._reader = threading.Thread(target=lambda: [self._lines.put(line) for line in self.process.stdout], daemon=True)
        self._reader.start()

    def says(self, seconds=30):
        line = self._lines.get(timeout=seconds)
        try:
            return json.loads(line)
        except ValueError:
            pytest.fail(line + "".join(self.process.stdout))

    def ends(self):
        """All that it said; it ended well."""
        status = self.process.wait(120)
        self._reader.join()
        said = "".join(self._lines.queue)
        assert status == 0, said
        return said

    def is_quiet(self):
        return self._lines.empty()

    def proceed(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def x():
    """xdotool on a display that Wine is on."""
    reader, writer = os.pipe()
    # -r: no repeated keys, for Wine 8 repeats hotkeys whatever MOD_NOREPEAT says
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", "900x600x24", "-nolisten", "tcp", "-noreset", "-r"]
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=[writer])
        stack.callback(server.wait)
        stack.callback(server.kill)
        os.close(writer)
        with os.fdopen(reader) as told:
            patch.setenv("DISPLAY", f":{told.readline().strip()}")
        PREFIX.mkdir(parents=True, exist_ok=True)
        patch.setenv("WINEPREFIX", str(PREFIX))
        patch.setenv("WINEDEBUG", "-all")
        patch.setenv("WINEDLLOVERRIDES", "mscoree,mshtml=")
        stack.callback(subprocess.run, ["wineserver", "-k"], check=False, capture_output=True)
        subprocess.run(["wine", "wineboot", "-i"], check=True, capture_output=True, timeout=120)
        yield lambda *arguments: subprocess.run(["xdotool", *arguments], check=True, capture_output=True, text=True).stdout.strip()


@contextlib.contextmanager
def editor(x, name):
    with Program(EDITOR, name) as program:
        assert program.says() == ""
        focus(x, name)
        yield program


def focus(x, name):
    def given():
        with contextlib.suppress(subprocess.CalledProcessError):
            window = x("search", "--onlyvisible", "--name", f"^{name}$").split()[-1]
            x("windowfocus", window)
            return window if x("getwindowfocus", "-f") == window else None

    until(given)
    time.sleep(0.3)  # until Wine has heard


@contextlib.contextmanager
def listening(keys=KEYS, gate=""):
    with Program(LISTENER, windows_path(ROOT), keys, gate, CODE) as program:
        assert program.says() == ["ready", True]
        yield program


def typed(program):
    """What stands in the editor once a line is there."""
    text = ""
    while not text.endswith("\r\n"):
        text = program.says()
    return text


def test_into_an_edit_control(x):
    with editor(x, "one") as window, listening() as helper:
        x("key", "a", KEYS)
        assert typed(window) == f"a{CODE}\r\n" and [helper.says(), helper.says()] == [["pressed"], ["done"]]


@pytest.mark.parametrize(("layout", "locks"), [("us", ["Num_Lock"]), ("fr", []), ("fr", ["Caps_Lock"])])
def test_layouts_and_locks(x, layout, locks):
    """On a French keyboard digits want Shift."""
    subprocess.run(["setxkbmap", layout], check=True, capture_output=True)
    try:
        with editor(x, "one") as window, listening():
            x("key", *locks, KEYS)
            assert typed(window) == f"{CODE}\r\n"
            if locks:
                x("key", *locks)
    finally:
        subprocess.run(["setxkbmap", "us"], check=True, capture_output=True)


def test_modifiers_that_are_held_on(x):
    with editor(x, "one") as window, listening():
        x("keydown", "ctrl", "keydown", "shift", "key", "o")
        try:
            assert typed(window) == f"{CODE}\r\n"
        finally:
            x("keyup", "shift", "keyup", "ctrl")


def test_a_hotkey_that_is_held_on_types_nothing(x):
    with editor(x, "one") as window, listening() as helper:
        x("keydown", "ctrl", "keydown", "shift", "keydown", "o")
        try:
            assert helper.says() == ["pressed"] and helper.says()[1].startswith("the hotkey was held on")
        finally:
            x("keyup", "o", "keyup", "shift", "keyup", "ctrl")
        x("key", "z")
        assert window.says() == "z"


def test_a_key_that_is_pressed_twice_types_once(x):
    with editor(x, "one") as window, listening(gate="gate") as helper:
        x("key", KEYS)
        assert helper.says() == ["pressed"]
        x("key", KEYS)
        time.sleep(0.3)
        helper.proceed()
        assert helper.says() == ["done"] and typed(window) == f"{CODE}\r\n"
        x("key", "z")
        assert window.says() == f"{CODE}\r\nz"


def test_nothing_is_typed_once_the_focus_moved(x):
    with editor(x, "one") as first, listening(gate="gate") as helper:
        x("key", KEYS)
        assert helper.says() == ["pressed"]
        with editor(x, "two") as second:
            helper.proceed()
            assert "took the focus" in helper.says()[1]
            x("key", "Return")
            assert typed(second) == "\r\n" and first.is_quiet()


@pytest.mark.parametrize("keys", ["alt+super+f9", "ctrl+alt+7", KEYS])
def test_a_key_that_another_program_has(x, keys):
    with listening(keys), Program(LISTENER, windows_path(ROOT), keys, "", CODE) as second:
        assert second.says() == ["refused", f"another program has the key {keys}; give another one by --keys, or in the policy"]


def test_one_helper_a_session(x):
    with listening(), Program(LISTENER, windows_path(ROOT), "ctrl+alt+p", "", CODE) as second:
        assert second.says() == ["ready", False]


def test_a_program_without_a_console_shows_each_text_once(x):
    with Program(SHOWN, windows_path(ROOT), python=str(Path(PYTHON).with_name("pythonw.exe"))) as program:
        for _box in range(2):
            focus(x, "PassiveKey")
            assert program.process.poll() is None
            x("key", "Return")
            time.sleep(0.5)
        until(lambda: program.process.poll() is not None)


@pytest.mark.skipif(not PACKAGES, reason="CERTLOGON_WINDOWS_PACKAGES is not set to a folder of packages for Windows")
def test_from_the_enrolment_to_a_code_that_is_good(x, service, clock, monkeypatch, tmp_path):
    """The agent without a console; its passphrase in Wine's Credential Manager, by keyring."""
    from tests.unit.passivekey.agent_server import running

    monkeypatch.setattr(type(clock), "__call__", lambda _clock: time.time())
    monkeypatch.setenv("LOGNAME", "alice@corp.example")
    monkeypatch.setenv("PASSIVEKEY_HOME", windows_path(tmp_path / "home"))
    (tmp_path / "ask.bat").write_text("@echo pass\r\n")
    settings = tmp_path / "agent.conf"

    def agent(*words, python="pythonw.exe"):
        places = (windows_path(ROOT), windows_path(PACKAGES), windows_path(settings))
        return Program(AGENT, *places, *words, python=str(Path(PYTHON).with_name(python)))

    with running(tmp_path) as https, contextlib.ExitStack() as stack:
        https.serve(service, clock)
        lines = (f"origin = {https.origin}", f"ca_file = {windows_path(https.ca_file)}", f"prompt = {windows_path(tmp_path / 'ask.bat')}")
        settings.write_text("\n".join(["[agent]", *lines]))
        assert agent("enroll", "--quiet").ends() == ""
        stack.callback(lambda: agent("retire").ends())
        assert sorted(path.name for path in (tmp_path / "home").iterdir()) == ["container", "lock", "policy.jws", "state.json"]
        with editor(x, "one") as window, agent("hotkey") as helper:

            def heard():
                x("key", KEYS)
                with contextlib.suppress(queue.Empty):
                    return window.says(5)

            text = until(heard, 60) and typed(window)
            assert agent("hotkey").ends() == "" and helper.process.poll() is None, "a second one ends at once"
        state = service.radius("alice@corp.example", "pass", "", "")
        assert state and service.radius("alice@corp.example", text.strip(), state, "") == ""
