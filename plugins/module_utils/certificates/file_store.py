# SPDX-License-Identifier: GPL-3.0-or-later
"""Files replaced in one step and kept from others; two runs kept apart."""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
import pwd
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError

LOCK_NAME = ".certificate_request.lock"


@dataclass(frozen=True)
class Attributes:
    """Who may read a file; `owner` and `group` are numbers, None for those of whoever writes."""

    mode: int
    owner: int | None = None
    group: int | None = None


def attributes(where: str, mode: str, owner: str | None, group: str | None, *, secret: bool) -> Attributes:
    """Raises `UserError` for unknown accounts, and for modes that let others read a secret."""
    try:
        bits = int(mode, 8)
    except ValueError:
        bits = -1
    if not 0 <= bits <= 0o7777:
        raise UserError(f"{where}: mode {mode!r} is no octal mode such as '0640'")
    if secret and bits & 0o037:
        raise UserError(f"{where}: mode {mode} would let others read the private key, or its group change it; use 0600 or 0640")
    return Attributes(
        bits,
        _number(where, "owner", owner, lambda name: pwd.getpwnam(name).pw_uid),
        _number(where, "group", group, lambda name: grp.getgrnam(name).gr_gid),
    )


def _number(where: str, option: str, name: str | None, look_up: Callable[[str], int]) -> int | None:
    if name is None or name == "":
        return None
    try:
        return int(name) if name.isdecimal() else look_up(name)
    except KeyError:
        raise UserError(f"{where}: {option} {name!r} is not known here; create it first") from None


def read(path: str) -> bytes | None:
    """The file; None where there is none. Raises `UserError`."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; may the account of this run read it?") from error


def differs(path: str, wanted: Attributes) -> list[str]:
    """Which of the attributes of a file that is there are others than wanted: mode, owner, group."""
    found = Path(path).stat()
    pairs = (
        ("mode", stat.S_IMODE(found.st_mode), wanted.mode),
        ("owner", found.st_uid, wanted.owner),
        ("group", found.st_gid, wanted.group),
    )
    return [name for name, now, wish in pairs if wish is not None and now != wish]


class Staged:
    """New contents beside their files, on disk and safe; `commit` puts each into its place in one step.

    Left without commit, nothing has changed. A failure to write (disk full, no right) leaves every file as it was.
    """

    def __init__(self) -> None:
        self._files: list[tuple[str, str]] = []

    def __enter__(self) -> Staged:
        return self

    def __exit__(self, *_error: object) -> None:
        for temporary, _path in self._files:
            with contextlib.suppress(OSError):
                Path(temporary).unlink(missing_ok=True)
        self._files = []

    def add(self, path: str, data: bytes, wanted: Attributes) -> None:
        """Raises `UserError`."""
        temporary = f"{path}.{os.getpid()}.tmp"
        self._files.append((temporary, path))
        try:
            _write(temporary, data, wanted)
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror}; what was there before is intact. {_REMEDY}") from error

    def commit(self) -> None:
        """In the order in which they were added."""
        folders = {Path(path).parent for _temporary, path in self._files}
        while self._files:
            temporary, path = self._files[0]
            try:
                Path(temporary).replace(path)
            except OSError as error:
                raise UserError(f"{path}: cannot be replaced: {error.strerror}; is it a folder?") from error
            del self._files[0]
        for folder in folders:
            _sync_folder(folder)


_REMEDY = "Make room, or give the account of this run the right to write there, and run again"


def _write(path: str, data: bytes, wanted: Attributes) -> None:
    Path(path).unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        if wanted.owner is not None or wanted.group is not None:
            os.fchown(descriptor, -1 if wanted.owner is None else wanted.owner, -1 if wanted.group is None else wanted.group)
        os.fchmod(descriptor, wanted.mode)
        os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: str, data: bytes, wanted: Attributes) -> None:
    """Write one file in one step. Raises `UserError`."""
    with Staged() as staged:
        staged.add(path, data, wanted)
        staged.commit()


def change_attributes(path: str, wanted: Attributes) -> None:
    """Raises `UserError`."""
    try:
        os.chown(path, -1 if wanted.owner is None else wanted.owner, -1 if wanted.group is None else wanted.group)
        Path(path).chmod(wanted.mode)
    except OSError as error:
        raise UserError(
            f"{path}: mode and owner cannot be changed: {error.strerror}; run as the owner of the file, or with become"
        ) from error


def remove(path: str) -> None:
    """Raises `UserError`; a file that is not there is fine."""
    try:
        Path(path).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be removed: {error.strerror}; may the account of this run write in its folder?") from error


@contextlib.contextmanager
def locked(folders: Sequence[str], timeout: float) -> Iterator[None]:
    """Hold the lock of each folder; another run waits for it. Folders that cannot be written to are left unlocked: writing fails later.

    Raises `UserError` where another run holds one longer than `timeout` seconds.
    """
    with contextlib.ExitStack() as stack:
        for folder in sorted(set(folders)):
            stack.enter_context(_locked(folder, timeout))
        yield


@contextlib.contextmanager
def _locked(folder: str, timeout: float) -> Iterator[None]:
    path = Path(folder) / LOCK_NAME
    descriptor = _acquire(path, time.monotonic() + timeout)
    try:
        yield
    finally:
        if descriptor is not None:
            # removed while it is held: whoever waits for it finds that its file is gone, and makes a new one
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(descriptor)


def _acquire(path: Path, deadline: float) -> int | None:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise UserError(f"{path}: another run has been at work in this folder for too long; wait for it, or end it") from None
            time.sleep(0.1)
        except OSError:
            pass
        os.close(descriptor)
