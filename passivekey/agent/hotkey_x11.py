# SPDX-License-Identifier: GPL-3.0-or-later
"""The hotkey under X11: an exclusive grab, for browsers have the default's key too, and the code typed into the window that had the focus.

Keys are pressed by key codes through XTEST. Events that are sent (XSendEvent) are marked as such, and xterm among others drops them.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Any

from passivekey.agent import hotkey

WAYLAND = (
    "this is a Wayland session: programs can neither take a key nor type there. Give the compositor a shortcut of its own that runs "
    "`passivekey-agent code --plain | wl-copy -n` (docs/passivekey-workstation.md)"
)
_GROUP_SHIFT = 13
"""Where a key event's state has the layout (XKB protocol section 2.2.1)."""


class Hotkey(hotkey.Hotkey):
    """A grabbed key of an X display."""

    def __init__(self, keys: str, warn: Callable[[str], None]) -> None:
        super().__init__(warn)
        if os.environ.get("XDG_SESSION_TYPE") == "wayland" or (os.environ.get("WAYLAND_DISPLAY") and not os.environ.get("DISPLAY")):
            raise hotkey.HotkeyError(WAYLAND)
        try:
            from Xlib import XK, X, display, error
            from Xlib.ext import xtest
        except ImportError as failure:
            raise hotkey.HotkeyError("python-xlib is missing; install certlogon[passivekey-agent]") from failure
        self._x, self._xk, self._xtest, self._error = X, XK, xtest, error
        try:
            self._display = display.Display()
        except (error.DisplayError, error.XauthError, OSError) as failure:
            raise hotkey.HotkeyError(f"there is no X display: {failure}") from failure
        if not self._display.query_extension("XTEST"):
            raise hotkey.HotkeyError("this X server has no XTEST, by which keys are typed")
        self._keys = keys
        self._group = 0
        self._grab()

    # ---- taking the key

    def _grab(self) -> None:
        modifiers, key = hotkey.parsed(self._keys)
        keysym = self._xk.string_to_keysym(key) or self._xk.string_to_keysym(key.capitalize())  # F9, Insert
        self._keycode = self._display.keysym_to_keycode(keysym) if keysym else 0
        if not self._keycode:
            raise hotkey.none_such(self._keys)
        masks = {"ctrl": self._x.ControlMask, "shift": self._x.ShiftMask, "alt": self._x.Mod1Mask, "super": self._x.Mod4Mask}
        wanted = sum(masks[name] for name in modifiers)
        refused = self._error.CatchError(self._error.BadAccess)
        root = self._display.screen().root
        root.ungrab_key(self._keycode, self._x.AnyModifier)
        for locks in _subsets(self._locks()):
            root.grab_key(self._keycode, wanted | sum(locks), False, self._x.GrabModeAsync, self._x.GrabModeAsync, onerror=refused)
        self._display.sync()
        if refused.get_error():
            raise hotkey.taken(self._keys)

    def _locks(self) -> list[int]:
        """The modifiers of CapsLock, NumLock and ScrollLock, which must not matter."""
        found = {self._x.LockMask}
        for mask, codes in enumerate(self._display.get_modifier_mapping()):
            for keysym in (self._xk.XK_Num_Lock, self._xk.XK_Scroll_Lock):
                if self._display.keysym_to_keycode(keysym) in [code for code in codes if code]:
                    found.add(1 << mask)
        return sorted(found)

    def wait(self) -> bool:
        while True:
            event = self._display.next_event()
            if event.type == self._x.MappingNotify:
                self._display.refresh_keyboard_mapping(event)
                if event.request != self._x.MappingPointer:
                    self._grab()
            elif event.type == self._x.KeyPress and event.detail == self._keycode:
                self._focus = self._focused()
                self._group = event.state >> _GROUP_SHIFT & 3
                return True

    def _focused(self) -> Any:
        """The id of the window; of none and of the root (X.PointerRoot), a number too."""
        focus = self._display.get_input_focus().focus
        return getattr(focus, "id", focus)

    # ---- typing

    def _keys_of(self, code: str) -> list[tuple[int, bool]]:
        return [self._key(self._xk.string_to_keysym(character)) for character in code] + [self._key(self._xk.XK_Return)]

    def _key(self, keysym: int) -> tuple[int, bool]:
        """The key of this symbol in the layout in use, and whether Shift goes with it."""
        found = list(self._display.keysym_to_keycodes(keysym))
        for level in (0, 1):
            for keycode, index in found:
                if index == 2 * self._group + level:
                    return keycode, bool(level)
        for keycode, index in found:  # keys that have the same in all layouts, such as Return
            if index in (0, 1) and not self._display.keycode_to_keysym(keycode, 2 * self._group):
                return keycode, bool(index)
        raise hotkey.HotkeyError("this keyboard layout has no key for a digit of the code")

    def _held(self) -> list[int]:
        down = self._display.query_keymap()
        codes = {self._keycode, *itertools.chain.from_iterable(self._display.get_modifier_mapping())} - {0}
        return [code for code in sorted(codes) if down[code // 8] >> code % 8 & 1]

    def _release(self, held: list[int]) -> None:
        for keycode in held:
            self._xtest.fake_input(self._display, self._x.KeyRelease, keycode)
        self._display.sync()

    def _ring(self) -> None:
        self._display.bell(0)
        self._display.flush()

    def _press(self, key: tuple[int, bool]) -> None:
        keycode, shift = key
        held = [self._display.keysym_to_keycode(self._xk.XK_Shift_L)] if shift else []
        for code in (*held, keycode):
            self._xtest.fake_input(self._display, self._x.KeyPress, code)
        for code in (keycode, *held):
            self._xtest.fake_input(self._display, self._x.KeyRelease, code)
        self._display.sync()


def _subsets(masks: list[int]) -> list[tuple[int, ...]]:
    return [subset for size in range(len(masks) + 1) for subset in itertools.combinations(masks, size)]
