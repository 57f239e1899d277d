# SPDX-License-Identifier: GPL-3.0-or-later
"""The hotkey of Windows against a keyboard that is told as Windows' documentation tells it, and that refuses calls without types.

On Wine's user32: test_agent_hotkey_wine.py.
"""

from __future__ import annotations

import ctypes

import pytest

from passivekey.agent import hotkey, hotkey_windows
from passivekey.agent.hotkey import HotkeyError, serve
from passivekey.agent.hotkey_windows import Hotkey, System

CODE = "4071938"
WINDOW, OTHER, LAYOUT = 0x7FF6_0001_0002, 0x7FF6_0001_0004, 0x7FFF_F040_C040
"""Handles of more than 32 bits: who cuts one is found out."""

SHIFT, CONTROL, MENU, CAPITAL, RIGHT_CONTROL, LEFT_SHIFT, LETTER_O = 0x10, 0x11, 0x12, 0x14, 0xA3, 0xA0, 0x4F
FRENCH = dict(zip("&é\"'(-è_çà", "1234567890", strict=True))
ALREADY_REGISTERED, ACCESS_DENIED, ALREADY_EXISTS = 1409, 5, 183
HOTKEY, QUIT, FAILED = 0x312, 0x12, 0xFFFF
WORD, DWORD, LONG, SHORT, POINTER = ("u", 2), ("u", 4), ("i", 4), ("i", 2), ("p", ctypes.sizeof(ctypes.c_void_p))
# As winuser.h and winbase.h have them, result first; a CHAR is one of the platform's.
DECLARED = {
    "GetAsyncKeyState": (SHORT, LONG),
    "GetForegroundWindow": (POINTER,),
    "GetKeyState": (SHORT, LONG),
    "GetKeyboardLayout": (POINTER, DWORD),
    "GetMessageW": (LONG, POINTER, POINTER, DWORD, DWORD),
    "GetWindowThreadProcessId": (DWORD, POINTER, POINTER),
    "MapVirtualKeyExW": (DWORD, DWORD, DWORD, POINTER),
    "MessageBeep": (LONG, DWORD),
    "MessageBoxW": (LONG, POINTER, POINTER, POINTER, DWORD),
    "PeekMessageW": (LONG, POINTER, POINTER, DWORD, DWORD, DWORD),
    "RegisterHotKey": (LONG, POINTER, LONG, DWORD, DWORD),
    "SendInput": (DWORD, DWORD, POINTER, LONG),
    "ToUnicodeEx": (LONG, DWORD, DWORD, POINTER, POINTER, LONG, DWORD, POINTER),
    "VkKeyScanExW": (SHORT, ("c", ctypes.sizeof(ctypes.c_wchar)), POINTER),
    "CreateMutexW": (POINTER, POINTER, LONG, POINTER),
    "GlobalAddAtomW": (WORD, POINTER),
    "GlobalFindAtomW": (WORD, POINTER),
}


def shape(kind):
    letter = kind._type_ if isinstance(getattr(kind, "_type_", None), str) else "P"
    return {"P": "p", "Z": "p", "u": "c"}.get(letter, "u" if letter.isupper() else "i"), ctypes.sizeof(kind)


class Function:
    """A function of a library: takes what its types let through, as C would."""

    def __init__(self, work):
        self.work, self.restype, self.argtypes = work, None, None

    def __call__(self, *arguments):
        assert self.restype is not None and len(arguments) == len(self.argtypes), self.work.__name__
        for kind, value in zip(self.argtypes, arguments, strict=True):
            kind.from_param(value)
        result = self.work(*arguments)
        return None if self.restype is ctypes.c_void_p and not result else self.restype(result).value


class Windows:
    """One desktop: its keyboard, what the window in front got, and what was registered."""

    def __init__(self, french=False, caps=False):
        self.french, self.caps, self.front, self.text, self.calls = french, caps, WINDOW, "", []
        self.down, self.sent, self.rings, self.boxes, self.messages = set(), [], 0, [], []
        self.digits, self.elevated, self.refuses, self.error, self.atoms, self.mutexes = True, False, 0, 0, {}, set()
        self.after_key = lambda: None
        for name in DECLARED:
            setattr(self, name, Function(getattr(self, f"_{name}")))

    def system(self):
        return System(self, self, lambda: self.error)

    def character(self, key, shift, caps):
        if 0x30 <= key <= 0x39:
            if not self.french:
                return ")!@#$%^&*("[key - 0x30] if shift else chr(key)
            return chr(key) if shift != caps else next(plain for plain, digit in FRENCH.items() if digit == chr(key))
        return {0x0D: "\r"}.get(key, "" if key < 0x30 or key > 0x5A else chr(key))

    # ---- taking

    def _RegisterHotKey(self, window, number, modifiers, key):
        assert not window and 0 <= number <= 0xBFFF
        self.registered = (modifiers, key)
        self.error = self.refuses
        return not self.refuses

    def _GetMessageW(self, message, window, first, last):
        assert not (window or first or last)
        found = self.messages.pop(0)
        message._obj.message, message._obj.w = found
        return {QUIT: 0, FAILED: -1}.get(found[0], 1)

    def _PeekMessageW(self, message, window, first, last, remove):
        assert (first, last, remove) == (HOTKEY, HOTKEY, 1)
        if not self.messages or self.messages[0] not in ("stale", "end"):
            return 0
        message._obj.message = {"stale": HOTKEY, "end": QUIT}[self.messages.pop(0)]  # the end comes whatever is asked for
        return 1

    def _GetForegroundWindow(self):
        return self.front

    # ---- the layout

    def _GetWindowThreadProcessId(self, window, process):
        assert window == WINDOW and process is None
        return 77

    def _GetKeyboardLayout(self, thread):
        assert thread == 77
        return LAYOUT

    def _VkKeyScanExW(self, character, layout):
        assert layout == LAYOUT
        return (ord(character) | (0x100 if self.french else 0)) if self.digits else -1

    def _MapVirtualKeyExW(self, key, kind, layout):
        assert kind == 0 and layout == LAYOUT
        return {0x0D: 0x1C, SHIFT: 0x2A, 0x30: 0x0B}.get(key, (key - 0x2F) if 0x31 <= key <= 0x39 else 0x1D)

    def _GetKeyState(self, key):
        assert key == CAPITAL
        return int(self.caps)

    def _ToUnicodeEx(self, key, scan, state, text, size, flags, layout):
        assert (flags, layout, size) == (4, LAYOUT, len(text)) and scan
        text[0] = self.character(key, bool(state[SHIFT] & 0x80), bool(state[CAPITAL] & 1))
        return 1

    # ---- typing

    def _GetAsyncKeyState(self, key):
        return -0x8000 if key in self.down else 0

    def _SendInput(self, count, inputs, size):
        assert size == ctypes.sizeof(hotkey_windows.Input) and count == len(inputs)
        if self.elevated:
            self.error = ACCESS_DENIED
            return 0
        events = [(one.any.keyboard.vk, one.any.keyboard.scan, one.any.keyboard.flags) for one in inputs]
        assert all(one.type == 1 and not one.any.keyboard.time for one in inputs)
        self.sent.append(events)
        for key, _scan, flags in events:
            self.down.discard(key) if flags & 2 else self.down.add(key)
            if not flags & 2 and key not in (SHIFT, CONTROL, MENU):
                self.text += self.character(key, bool(self.down & {SHIFT, LEFT_SHIFT}), self.caps)
        self.after_key()
        return count

    # ---- the rest

    def _MessageBeep(self, _kind):
        self.rings += 1
        return 1

    def _MessageBoxW(self, owner, text, title, _kind):
        assert not owner and title == "PassiveKey"
        self.boxes.append(text)
        return 1

    def _CreateMutexW(self, _security, owned, name):
        assert not owned and name.startswith("Local\\")
        self.error = ALREADY_EXISTS if name in self.mutexes else 0
        self.mutexes.add(name)
        return 0x1_0000_0040

    def _GlobalAddAtomW(self, text):
        return self.atoms.setdefault(text, 0xC000 + len(self.atoms))

    def _GlobalFindAtomW(self, text):
        assert len(text) <= 255
        return self.atoms.get(text, 0)


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(hotkey, "RELEASE_WAIT", 0.02)
    monkeypatch.setattr(hotkey, "PAUSE", 0.0)
    monkeypatch.setattr(hotkey_windows, "HELD_TOO_LONG", 0.02)


def pressed(windows, keys="ctrl+shift+o"):
    """A hotkey that was just pressed, and what it says."""
    said = []
    taken = Hotkey(keys, said.append, windows.system())
    windows.messages += [(0x100, 1), (HOTKEY, 9), (HOTKEY, 1)]  # others' messages before it
    assert taken.wait() and not windows.messages
    return taken, said


@pytest.mark.parametrize("name", DECLARED)
def test_functions_have_the_types_of_windows(name):
    declared = hotkey_windows.USER32.get(name) or hotkey_windows.KERNEL32[name]
    assert tuple(shape(kind) for kind in declared) == DECLARED[name]
    assert DECLARED.keys() == hotkey_windows.USER32.keys() | hotkey_windows.KERNEL32.keys()


@pytest.mark.skipif(ctypes.sizeof(ctypes.c_void_p) != 8, reason="offsets of 64 bits")
def test_structures_are_those_of_windows():
    sent, message = hotkey_windows.Input, hotkey_windows.Message
    keyboard = type(sent().any.keyboard)
    assert (ctypes.sizeof(sent), sent.any.offset, ctypes.sizeof(message)) == (40, 8, 48)
    assert (keyboard.vk.offset, keyboard.scan.offset, keyboard.flags.offset, keyboard.time.offset, keyboard.extra.offset) == (
        0,
        2,
        4,
        8,
        16,
    )
    assert (message.message.offset, message.w.offset, message.l.offset, message.time.offset) == (8, 16, 24, 32)


@pytest.mark.parametrize("caps", [False, True])
@pytest.mark.parametrize("french", [False, True])
def test_the_code_and_return(french, caps):
    """CapsLock does on a French keyboard what Shift does, for digits too."""
    windows = Windows(french, caps)
    taken, said = pressed(windows)
    taken.type(CODE)
    assert windows.text == f"{CODE}\r" and not said and not windows.down


def test_a_key_goes_with_its_shift_and_its_scan_code():
    windows = Windows(french=True)
    pressed(windows)[0].type("1")
    assert windows.sent == [[(SHIFT, 0x2A, 0), (0x31, 2, 0), (0x31, 2, 2), (SHIFT, 0x2A, 2)], [(0x0D, 0x1C, 0), (0x0D, 0x1C, 2)]]


def test_a_key_goes_with_alt_gr_where_the_layout_wants_it():
    windows = Windows()
    windows.VkKeyScanExW.work = lambda character, layout: ord(character) | 0x600
    pressed(windows)[0].type("1")
    keys = [(key, flags) for key, _scan, flags in windows.sent[0]]
    assert keys == [(CONTROL, 0), (MENU, 0), (0x31, 0), (0x31, 2), (MENU, 2), (CONTROL, 2)]


def test_modifiers_that_are_held_on_are_released():
    windows = Windows()
    taken, said = pressed(windows)
    windows.down = {RIGHT_CONTROL, LEFT_SHIFT}
    taken.type(CODE)
    assert [(key, flags) for key, _scan, flags in windows.sent[0]] == [(LEFT_SHIFT, 2), (RIGHT_CONTROL, 3)]
    assert windows.text == f"{CODE}\r" and not said


def test_a_hotkey_that_is_held_on_types_nothing():
    windows = Windows()
    taken, said = pressed(windows)
    windows.down = {LETTER_O}
    taken.type(CODE)
    assert said == ["the hotkey was held on; the code was not typed"] and not windows.sent and windows.rings == 1


def test_nothing_more_once_the_focus_moved():
    windows = Windows()
    taken, said = pressed(windows)
    windows.after_key = lambda: setattr(windows, "front", OTHER if len(windows.text) > 2 else WINDOW)
    taken.type(CODE)
    assert windows.text == CODE[:3] and "took the focus" in said[0] and windows.rings == 1


def test_a_window_of_an_administrator():
    windows = Windows()
    taken, said = pressed(windows)
    windows.elevated = True
    taken.type(CODE)
    assert "runs as administrator" in said[0] and "error 5" in said[0] and windows.rings == 1


def test_a_layout_without_digits_and_no_window():
    windows = Windows()
    taken, said = pressed(windows)
    windows.digits = False
    taken.type(CODE)
    windows.front = 0
    windows.messages.append((HOTKEY, 1))
    assert taken.wait()
    taken.type(CODE)
    assert "no key for a digit" in said[0] and "no window had the focus" in said[1] and not windows.sent


def test_the_end_of_the_session_and_presses_while_it_typed():
    windows = Windows()
    taken = Hotkey("ctrl+shift+o", print, windows.system())
    windows.messages = ["stale", "stale", (HOTKEY, 1), (QUIT, 0)]
    asked = []
    assert serve(taken, lambda: asked.append(1)) == 0 and len(asked) == 1, "no code: nothing is typed"
    windows.messages = [(FAILED, 0)]
    assert not taken.wait(), "an error of GetMessage is an end"
    windows.messages = ["stale", "end"]
    assert not taken.wait()


@pytest.mark.parametrize(
    ("keys", "registered"),
    [
        ("ctrl+shift+o", (0x4006, LETTER_O)),
        ("Alt+Super+F9", (0x4009, 0x78)),
        ("ctrl+7", (0x4002, 0x37)),
        ("alt+space", (0x4001, 0x20)),
    ],
)
def test_hotkeys(keys, registered):
    windows = Windows()
    Hotkey(keys, print, windows.system())
    assert windows.registered == registered


@pytest.mark.parametrize("keys", ["o", "ctrl+", "hyper+o", "ctrl+nokey", "", "ctrl+f12", "ctrl+é"])
def test_hotkeys_that_are_none(keys):
    with pytest.raises(HotkeyError, match="the hotkey"):
        Hotkey(keys, print, Windows().system())


@pytest.mark.parametrize(
    ("error", "text"), [(ALREADY_REGISTERED, "another program has the key"), (ACCESS_DENIED, "refused the key .*error 5")]
)
def test_a_key_that_cannot_be_had(error, text):
    windows = Windows()
    windows.refuses = error
    with pytest.raises(HotkeyError, match=f"{text}.*--keys"):
        Hotkey("ctrl+shift+o", print, windows.system())


def test_one_helper_a_session_and_each_text_once():
    system = (windows := Windows()).system()
    assert hotkey_windows.first(system) and not hotkey_windows.first(system)
    for text in ("a" * 300, "a" * 300, "b"):
        hotkey_windows.show(text, system)
    assert windows.boxes == ["a" * 300, "b"]
