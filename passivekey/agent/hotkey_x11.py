# SPDX-License-Identifier: GPL-3.0-or-later
"""The hotkey under X11: an exclusive grab, for browsers have the default's key too, and the code typed into the window that had the focus.

Keys are pressed by key codes through XTEST. Events that are sent (XSendEvent) are marked as such, and xterm among others drops them.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from typing import Any

from passivekey.agent import enrollment
from passivekey.agent.client import ServerError
from passivekey.agent.container import ContainerError
from passivekey.agent.secret_store import SecretStoreError

DEFAULT = "ctrl+shift+o"
RELEASE_WAIT = 1.5
"""Seconds that the user has to let go of the hotkey; then what is still held is released for the keys typed."""

PAUSE = 0.01
"""Seconds between two keys: programs that look the layout up for each are slow."""

WAYLAND = (
    "this is a Wayland session: programs can neither take a key nor type there. Give the compositor a shortcut of its own that runs "
    "`passivekey-agent code --plain | wl-copy -n` (docs/passivekey-workstation.md)"
)
_GROUP_SHIFT = 13
"""Where a key event's state has the layout (XKB protocol section 2.2.1)."""


class HotkeyError(Exception):
    """The hotkey cannot be had; the text says why and what to do."""


class FocusMoved(Exception):
    """Another window has the focus than when the hotkey was pressed."""


def serve(agent: enrollment.Agent, keys: str) -> int:
    """Wait for the hotkey until the session ends."""
    hotkey = Hotkey(keys, agent.warn)
    while True:
        hotkey.wait()
        try:
            content = agent.load()
        except (ServerError, ContainerError, SecretStoreError) as error:
            agent.warn(str(error))
            continue
        if content is None:
            agent.warn("not enrolled on this workstation; run: passivekey-agent enroll")
            continue
        hotkey.type(enrollment.code(content, agent.clock())[0])


class Hotkey:
    """A grabbed key of an X display."""

    def __init__(self, keys: str, warn: Callable[[str], None]) -> None:
        if os.environ.get("XDG_SESSION_TYPE") == "wayland" or (os.environ.get("WAYLAND_DISPLAY") and not os.environ.get("DISPLAY")):
            raise HotkeyError(WAYLAND)
        try:
            from Xlib import XK, X, display, error
            from Xlib.ext import xtest
        except ImportError as failure:
            raise HotkeyError("python-xlib is missing; install certlogon[passivekey-agent]") from failure
        self._x, self._xk, self._xtest, self._error = X, XK, xtest, error
        try:
            self._display = display.Display()
        except (error.DisplayError, error.XauthError, OSError) as failure:
            raise HotkeyError(f"there is no X display: {failure}") from failure
        if not self._display.query_extension("XTEST"):
            raise HotkeyError("this X server has no XTEST, by which keys are typed")
        self._keys, self._warn = keys, warn
        self._focus: Any = None
        self._group = 0
        self._grab()

    # ---- taking the key

    def _grab(self) -> None:
        *modifiers, key = self._keys.lower().split("+")
        keysym = self._xk.string_to_keysym(key)
        self._keycode = self._display.keysym_to_keycode(keysym) if keysym else 0
        masks = {"ctrl": self._x.ControlMask, "shift": self._x.ShiftMask, "alt": self._x.Mod1Mask, "super": self._x.Mod4Mask}
        if not self._keycode or not modifiers or not set(modifiers) <= set(masks):
            raise HotkeyError(
                f"the hotkey {self._keys!r} is none: give modifiers ({', '.join(masks)}) and a key of this layout, as in {DEFAULT}"
            )
        wanted = sum(masks[name] for name in set(modifiers))
        refused = self._error.CatchError(self._error.BadAccess)
        root = self._display.screen().root
        root.ungrab_key(self._keycode, self._x.AnyModifier)
        for locks in _subsets(self._locks()):
            root.grab_key(self._keycode, wanted | sum(locks), False, self._x.GrabModeAsync, self._x.GrabModeAsync, onerror=refused)
        self._display.sync()
        if refused.get_error():
            raise HotkeyError(f"another program has the key {self._keys}; give another one by --keys, or in the policy")

    def _locks(self) -> list[int]:
        """The modifiers of CapsLock, NumLock and ScrollLock, which must not matter."""
        found = {self._x.LockMask}
        for mask, codes in enumerate(self._display.get_modifier_mapping()):
            for keysym in (self._xk.XK_Num_Lock, self._xk.XK_Scroll_Lock):
                if self._display.keysym_to_keycode(keysym) in [code for code in codes if code]:
                    found.add(1 << mask)
        return sorted(found)

    def wait(self) -> None:
        """Until the hotkey is pressed; remembers which window had the focus."""
        while True:
            event = self._display.next_event()
            if event.type == self._x.MappingNotify:
                self._display.refresh_keyboard_mapping(event)
                if event.request != self._x.MappingPointer:
                    self._grab()
            elif event.type == self._x.KeyPress and event.detail == self._keycode:
                self._focus = self._focused()
                self._group = event.state >> _GROUP_SHIFT & 3
                return

    def _focused(self) -> Any:
        """The id of the window; of none and of the root (X.PointerRoot), a number too."""
        focus = self._display.get_input_focus().focus
        return getattr(focus, "id", focus)

    # ---- typing

    def type(self, code: str) -> None:
        """The code and Return, into the window that had the focus; nothing more once another one has it."""
        try:
            keys = [self._key(self._xk.string_to_keysym(character)) for character in code] + [self._key(self._xk.XK_Return)]
            self._wait_until_released()
            for keycode, shift in keys:
                if self._focused() != self._focus:
                    raise FocusMoved
                self._press(keycode, shift)
        except FocusMoved:
            self._display.bell(0)
            self._display.flush()
            self._warn("another window took the focus; the code was not typed to its end")
        except HotkeyError as error:
            self._warn(str(error))

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
        raise HotkeyError("this keyboard layout has no key for a digit of the code")

    def _held(self) -> list[int]:
        """Of the hotkey and the modifiers, the keys that are down."""
        down = self._display.query_keymap()
        codes = {self._keycode, *itertools.chain.from_iterable(self._display.get_modifier_mapping())} - {0}
        return [code for code in sorted(codes) if down[code // 8] >> code % 8 & 1]

    def _wait_until_released(self) -> None:
        end = time.monotonic() + RELEASE_WAIT
        while self._held():
            if time.monotonic() > end:
                for keycode in self._held():
                    self._xtest.fake_input(self._display, self._x.KeyRelease, keycode)
                break
            time.sleep(PAUSE)
        self._display.sync()

    def _press(self, keycode: int, shift: bool) -> None:
        held = [self._display.keysym_to_keycode(self._xk.XK_Shift_L)] if shift else []
        for code in (*held, keycode):
            self._xtest.fake_input(self._display, self._x.KeyPress, code)
        for code in (keycode, *held):
            self._xtest.fake_input(self._display, self._x.KeyRelease, code)
        self._display.sync()
        time.sleep(PAUSE)


def _subsets(masks: list[int]) -> list[tuple[int, ...]]:
    return [subset for size in range(len(masks) + 1) for subset in itertools.combinations(masks, size)]
