# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the container's passphrase is kept: by the platform's store for secrets of a user, or in a file of the user's.

Windows' store is protected by DPAPI, GNOME's and KDE's by the login password (Secret Service). A file protects against nobody who runs as
the user, or who has the disk: it is the weakest, taken only where the administrator says so.
"""

from __future__ import annotations

import os
import secrets
import string
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

LENGTH = 64
_SERVICE = "PassiveKey"
_PLAIN = "keyrings.alt"
_CHARACTERS = string.ascii_letters + string.digits
Result = TypeVar("Result")


class SecretStoreError(Exception):
    """The store cannot be used now: locked, absent, or the secret is gone. The text says what to do."""


class SecretStore(Protocol):
    def get(self, name: str) -> str | None: ...

    def put(self, name: str, secret: str) -> None: ...

    def forget(self, name: str) -> None: ...


def new_passphrase() -> str:
    """64 random letters and digits: 381 bits."""
    return "".join(secrets.choice(_CHARACTERS) for _number in range(LENGTH))


class PlatformStore:
    """By `keyring`, which knows each platform's store; imported only when a secret is asked for."""

    def get(self, name: str) -> str | None:
        return self._use(lambda store: store.get_password(_SERVICE, name))

    def put(self, name: str, secret: str) -> None:
        self._use(lambda store: store.set_password(_SERVICE, name, secret))

    def forget(self, name: str) -> None:
        from keyring.errors import PasswordDeleteError

        with suppress(PasswordDeleteError):  # it is not there
            self._use(lambda store: store.delete_password(_SERVICE, name))

    @staticmethod
    def _use(work: Callable[[KeyringBackend], Result]) -> Result:
        import keyring
        from keyring.errors import KeyringError, PasswordDeleteError

        store = keyring.get_keyring()
        first = next(iter(getattr(store, "backends", ())), store)  # of a chain, the one that is asked first
        if type(first).__module__.startswith(_PLAIN):
            raise SecretStoreError(
                f"keyring would keep the secret in a file, by {_PLAIN}; log on to a desktop with a store for secrets, or set store = file"
            )
        try:
            return work(store)
        except PasswordDeleteError:
            raise
        except KeyringError as error:
            raise SecretStoreError(_unusable(error)) from error


class FileStore:
    """One file a secret, of mode 0600, in a folder of mode 0700."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, name: str) -> str | None:
        path = self._folder / name
        try:
            if path.stat().st_mode & 0o077 and os.name == "posix":
                raise SecretStoreError(f"{path} can be read by others; chmod 0600 {path}, and enroll anew if somebody may have")
            return path.read_text(encoding="ascii")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise SecretStoreError(f"{path} cannot be read: {error}") from error

    def put(self, name: str, secret: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secret)
            file.flush()
            os.fsync(file.fileno())

    def forget(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)


def _unusable(error: Exception) -> str:
    kind = type(error).__name__
    if kind == "NoKeyringError":
        return "there is no store for secrets in this session (no Secret Service on D-Bus); log on to a desktop, or set store = file"
    return f"the store for secrets cannot be used ({kind}: {error}); is it locked?"
