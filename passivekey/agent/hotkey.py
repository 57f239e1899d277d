# SPDX-License-Identifier: GPL-3.0-or-later
"""The hotkey: a key that no other program gets, and the code typed into the window that had the focus. What platforms have in common.

How a key is taken and how keys are typed: `hotkey_x11`, `hotkey_windows`.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

DEFAULT = "ctrl+shift+o"
MODIFIERS = ("ctrl", "shift", "alt", "super")
RELEASE_WAIT = 1.5
"""Seconds that the user has to let go of the hotkey; then what is still held is released for the keys typed."""

PAUSE = 0.01
"""Seconds between two keys: programs that look the layout up for each are slow."""


class HotkeyError(Exception):
    """The hotkey cannot be had, or the code not be typed; the text says why and what to do."""


class FocusMoved(Exception):
    """Another window has the focus than when the hotkey was pressed."""


def parsed(keys: str) -> tuple[frozenset[str], str]:
    """The modifiers and the key of `ctrl+shift+o`, in small letters."""
    *modifiers, key = keys.lower().split("+")
    if not key or not modifiers or not set(modifiers) <= set(MODIFIERS):
        raise none_such(keys)
    return frozenset(modifiers), key


def none_such(keys: str) -> HotkeyError:
    return HotkeyError(f"the hotkey {keys!r} is none: give modifiers ({', '.join(MODIFIERS)}) and a key of this layout, as in {DEFAULT}")


def taken(keys: str) -> HotkeyError:
    return HotkeyError(f"another program has the key {keys}; give another one by --keys, or in the policy")


class Hotkey(ABC):
    """A key that is taken. `_focus` is the window that had the focus when it was pressed."""

    _focus: Any = None

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn

    @abstractmethod
    def wait(self) -> bool:
        """Until the hotkey is pressed (True), remembering which window had the focus; or the session ends."""

    def type(self, code: str) -> None:
        """The code and Return, into the window that had the focus; nothing more once another one has it."""
        try:
            keys = self._keys_of(code)
            self._wait_until_released()
            for key in keys:
                if self._focused() != self._focus:
                    raise FocusMoved
                self._press(key)
                time.sleep(PAUSE)
        except FocusMoved:
            self._ring()
            self._warn("another window took the focus; the code was not typed to its end")
        except HotkeyError as error:
            self._ring()
            self._warn(str(error))

    def _wait_until_released(self) -> None:
        end = time.monotonic() + RELEASE_WAIT
        while held := self._held():
            if time.monotonic() > end:
                self._release(held)
                return
            time.sleep(PAUSE)

    @abstractmethod
    def _keys_of(self, code: str) -> list[Any]:
        """What is pressed for the code, and for Return after it. Raises `HotkeyError`."""

    @abstractmethod
    def _held(self) -> list[int]:
        """Of the hotkey and the modifiers, the keys that are down."""

    @abstractmethod
    def _release(self, held: list[int]) -> None: ...

    @abstractmethod
    def _focused(self) -> Any: ...

    @abstractmethod
    def _press(self, key: Any) -> None: ...

    @abstractmethod
    def _ring(self) -> None: ...


def take(keys: str, warn: Callable[[str], None]) -> Hotkey:
    """The key, as this platform has keys. Raises `HotkeyError`."""
    if os.name == "nt":
        from passivekey.agent import hotkey_windows

        return hotkey_windows.Hotkey(keys, warn)
    from passivekey.agent import hotkey_x11

    return hotkey_x11.Hotkey(keys, warn)


def serve(hotkey: Hotkey, code: Callable[[], str | None]) -> int:
    """Type a code, where there is one, each time that the key is pressed, until the session ends."""
    while hotkey.wait():
        value = code()
        if value:
            hotkey.type(value)
    return 0
