# SPDX-License-Identifier: GPL-3.0-or-later
"""The hotkey on Windows, by user32: RegisterHotKey takes the key, SendInput types by the keys of the layout in use.

Every function has its types: without them ctypes cuts handles to 32 bits. Members of structures have Windows' sizes on any platform.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from passivekey.agent import hotkey

HELD_TOO_LONG = 10.0
"""Seconds that the hotkey itself may be held: it repeats, and what repeats would be typed between the digits."""

MUTEX = r"Local\PassiveKey hotkey"
"""Of the session: a user may have several."""

_ID = 1
_MODIFIERS = {"alt": 0x1, "ctrl": 0x2, "shift": 0x4, "super": 0x8}
_NO_REPEAT = 0x4000
_WM_QUIT, _WM_HOTKEY, _REMOVE = 0x12, 0x312, 0x1
_ERROR_ALREADY_EXISTS, _ERROR_HOTKEY_ALREADY_REGISTERED = 183, 1409
_INPUT_KEYBOARD = 1
_EXTENDED, _UP = 0x1, 0x2
_KEEP_STATE = 0x4
"""ToUnicodeEx leaves the keyboard's state alone (Windows 10, 1607 and later)."""

_VK_RETURN, _VK_SHIFT, _VK_CONTROL, _VK_MENU, _VK_CAPITAL = 0x0D, 0x10, 0x11, 0x12, 0x14
_VK_LWIN, _VK_RWIN, _VK_RCONTROL, _VK_RMENU = 0x5B, 0x5C, 0xA3, 0xA5
_HOLDABLE = (0xA0, 0xA1, 0xA2, _VK_RCONTROL, 0xA4, _VK_RMENU, _VK_LWIN, _VK_RWIN)
"""Shift, Ctrl, Alt and the Windows key, left and right."""

_EXTENDED_KEYS = {_VK_LWIN, _VK_RWIN, _VK_RCONTROL, _VK_RMENU}
_SHIFT_STATES = ((0x1, _VK_SHIFT), (0x2, _VK_CONTROL), (0x4, _VK_MENU))
"""Bits of VkKeyScanEx, and the keys; Ctrl and Alt together are AltGr."""

_NAMED = {"space": 0x20, "insert": 0x2D, "pause": 0x13, **{f"f{number}": 0x6F + number for number in range(1, 25) if number != 12}}
"""Without F12, which Windows keeps for debuggers."""

_ICON_WARNING, _TO_THE_FRONT, _TOPMOST = 0x30, 0x10000, 0x40000
_ELEVATED = (
    "Windows refused to type the code ({}): a window of a program that runs as administrator takes no keys of other programs; "
    "type what `passivekey-agent code` prints"
)

_Handle, _Long, _Dword, _Word = ctypes.c_void_p, ctypes.c_int32, ctypes.c_uint32, ctypes.c_uint16
_Text = ctypes.c_wchar_p


class _KeyboardInput(ctypes.Structure):
    _fields_ = [("vk", _Word), ("scan", _Word), ("flags", _Dword), ("time", _Dword), ("extra", ctypes.c_size_t)]


class _MouseInput(ctypes.Structure):
    _fields_ = [("x", _Long), ("y", _Long), ("data", _Dword), ("flags", _Dword), ("time", _Dword), ("extra", ctypes.c_size_t)]


class _AnyInput(ctypes.Union):
    _fields_ = [("keyboard", _KeyboardInput), ("mouse", _MouseInput)]  # the largest decides the size


class Input(ctypes.Structure):
    """INPUT: 40 bytes, 28 on 32 bits."""

    _fields_ = [("type", _Dword), ("any", _AnyInput)]


class Message(ctypes.Structure):
    """MSG."""

    _fields_ = [
        *(("window", _Handle), ("message", _Dword), ("w", ctypes.c_size_t), ("l", ctypes.c_ssize_t)),
        *(("time", _Dword), ("x", _Long), ("y", _Long)),
    ]


_Types = Mapping[str, tuple[Any, ...]]
"""Of functions, the type of the result and those of the arguments."""

USER32: _Types = {
    "GetAsyncKeyState": (ctypes.c_int16, _Long),
    "GetForegroundWindow": (_Handle,),
    "GetKeyState": (ctypes.c_int16, _Long),
    "GetKeyboardLayout": (_Handle, _Dword),
    "GetMessageW": (_Long, ctypes.POINTER(Message), _Handle, _Dword, _Dword),
    "GetWindowThreadProcessId": (_Dword, _Handle, ctypes.POINTER(_Dword)),
    "MapVirtualKeyExW": (_Dword, _Dword, _Dword, _Handle),
    "MessageBeep": (_Long, _Dword),
    "MessageBoxW": (_Long, _Handle, _Text, _Text, _Dword),
    "PeekMessageW": (_Long, ctypes.POINTER(Message), _Handle, _Dword, _Dword, _Dword),
    "RegisterHotKey": (_Long, _Handle, _Long, _Dword, _Dword),
    "SendInput": (_Dword, _Dword, ctypes.POINTER(Input), _Long),
    "ToUnicodeEx": (_Long, _Dword, _Dword, ctypes.POINTER(ctypes.c_uint8), _Text, _Long, _Dword, _Handle),
    "VkKeyScanExW": (ctypes.c_int16, ctypes.c_wchar, _Handle),
}
KERNEL32: _Types = {
    "CreateMutexW": (_Handle, _Handle, _Long, _Text),
    "GlobalAddAtomW": (_Word, _Text),
    "GlobalFindAtomW": (_Word, _Text),
}


class System:
    """The functions above, and the number of the last one's error."""

    def __init__(self, user32: Any = None, kernel32: Any = None, error: Callable[[], int] | None = None) -> None:
        # of Windows only
        user32 = user32 or ctypes.WinDLL("user32", use_last_error=True)  # type: ignore[attr-defined]
        kernel32 = kernel32 or ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined]
        self.error = error or ctypes.get_last_error  # type: ignore[attr-defined]
        self.user, self.kernel = _typed(user32, USER32), _typed(kernel32, KERNEL32)


def _typed(library: Any, types: _Types) -> Any:
    for name, (result, *arguments) in types.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def first(system: System | None = None) -> bool:
    """Whether no other helper runs in this session."""
    system = system or System()
    return not (system.kernel.CreateMutexW(None, False, MUTEX) and system.error() == _ERROR_ALREADY_EXISTS)


def show(text: str, system: System | None = None) -> None:
    """In a window, where there is no console to say it on: each text once a session, for the helper is started again each hour."""
    system = system or System()
    mark = f"PassiveKey: {text}"[:250]
    if not system.kernel.GlobalFindAtomW(mark):
        system.kernel.GlobalAddAtomW(mark)
        system.user.MessageBoxW(None, text, "PassiveKey", _ICON_WARNING | _TO_THE_FRONT | _TOPMOST)


@dataclass(frozen=True)
class Key:
    """What makes a character: a key, and those held with it. All are virtual keys."""

    key: int
    held: tuple[int, ...] = ()


class Hotkey(hotkey.Hotkey):
    """A key that is registered with Windows for this thread."""

    def __init__(self, keys: str, warn: Callable[[str], None], system: System | None = None) -> None:
        super().__init__(warn)
        self._system = system or System()
        self._user = self._system.user
        self._layout: int | None = None
        modifiers, name = hotkey.parsed(keys)
        self._key = _NAMED.get(name) or (ord(name.upper()) if len(name) == 1 and name.isascii() and name.isalnum() else 0)
        if not self._key:
            raise hotkey.none_such(keys)
        if not self._user.RegisterHotKey(None, _ID, sum(_MODIFIERS[one] for one in modifiers) | _NO_REPEAT, self._key):
            error = self._system.error()
            if error == _ERROR_HOTKEY_ALREADY_REGISTERED:
                raise hotkey.taken(keys)
            raise hotkey.HotkeyError(f"Windows refused the key {keys} (error {error}); give another one by --keys, or in the policy")

    def wait(self) -> bool:
        message = Message()
        while self._user.PeekMessageW(ctypes.byref(message), None, _WM_HOTKEY, _WM_HOTKEY, _REMOVE):
            if message.message == _WM_QUIT:  # comes whatever is asked for
                return False
            # else pressed while the code before was typed
        while self._user.GetMessageW(ctypes.byref(message), None, 0, 0) > 0:
            if message.message == _WM_HOTKEY and message.w == _ID:
                self._focus = self._focused()
                return True
        return False

    def _focused(self) -> int | None:
        window: int | None = self._user.GetForegroundWindow()
        return window

    def _ring(self) -> None:
        self._user.MessageBeep(_ICON_WARNING)

    # ---- the layout

    def _keys_of(self, code: str) -> list[Key]:
        if self._focus is None:
            raise hotkey.HotkeyError("no window had the focus; the code was not typed")
        thread = self._user.GetWindowThreadProcessId(self._focus, None)
        self._layout = self._user.GetKeyboardLayout(thread) or self._user.GetKeyboardLayout(0)
        return [self._key_of(character) for character in code] + [Key(_VK_RETURN)]

    def _key_of(self, character: str) -> Key:
        """With Shift or without, as CapsLock is: on French keyboards it does for digits what Shift does."""
        found = self._user.VkKeyScanExW(character, self._layout) & 0xFFFF
        key, states = found & 0xFF, found >> 8
        if found == 0xFFFF or states > 7:
            raise hotkey.HotkeyError("this keyboard layout has no key for a digit of the code")
        ways = [Key(key, tuple(one for bit, one in _SHIFT_STATES if way & bit)) for way in (states, states ^ 1)]
        if self._user.GetKeyState(_VK_CAPITAL) & 1:
            ways = [way for way in ways if self._makes(way) == character] or ways
        return ways[0]

    def _makes(self, way: Key) -> str:
        """What comes of a key while CapsLock is on."""
        state = (ctypes.c_uint8 * 256)()
        state[_VK_CAPITAL] = 1
        for held in way.held:
            state[held] = 0x80
        text = ctypes.create_unicode_buffer(8)
        count = self._user.ToUnicodeEx(way.key, self._scan(way.key), state, text, len(text), _KEEP_STATE, self._layout)
        return str(text.value)[: max(count, 0)]

    # ---- typing

    def _wait_until_released(self) -> None:
        end = time.monotonic() + HELD_TOO_LONG
        while self._down(self._key):
            if time.monotonic() > end:
                raise hotkey.HotkeyError("the hotkey was held on; the code was not typed")
            time.sleep(hotkey.PAUSE)
        super()._wait_until_released()

    def _down(self, key: int) -> bool:
        return bool(self._user.GetAsyncKeyState(key) & 0x8000)

    def _held(self) -> list[int]:
        return [key for key in _HOLDABLE if self._down(key)]

    def _release(self, held: list[int]) -> None:
        self._send([(key, _UP) for key in held])

    def _press(self, key: Key) -> None:
        downs = (*key.held, key.key)
        self._send([(one, 0) for one in downs] + [(one, _UP) for one in reversed(downs)])

    def _send(self, events: list[tuple[int, int]]) -> None:
        """All at once, so that nothing that the user types comes between."""
        inputs = (Input * len(events))()
        for place, (key, flags) in zip(inputs, events, strict=True):
            place.type = _INPUT_KEYBOARD
            place.any.keyboard = _KeyboardInput(key, self._scan(key), flags | (_EXTENDED if key in _EXTENDED_KEYS else 0))
        if self._user.SendInput(len(inputs), inputs, ctypes.sizeof(Input)) != len(inputs):
            raise hotkey.HotkeyError(_ELEVATED.format(f"error {self._system.error()}"))

    def _scan(self, key: int) -> int:
        """Programs such as those of remote desktops go by the scan code."""
        scan: int = self._user.MapVirtualKeyExW(key, 0, self._layout) & 0xFF
        return scan
