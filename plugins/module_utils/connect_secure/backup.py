# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of an appliance's whole configuration, as files that the administrator can open and restore."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import os
import re
import zipfile
from datetime import datetime, timezone
from pathlib import Path

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.connection import ConnectionOptions, file_name
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import crypto_ciphers

ITERATIONS = 600_000
"""Rounds of PBKDF2-HMAC-SHA256, as `openssl enc -iter` has to be told."""
OPEN = f"openssl enc -d -aes-256-cbc -pbkdf2 -iter {ITERATIONS} -md sha256"

_OFF = "set backup (connect_secure_backup) to false to change the appliance without one"


def keep(options: ConnectionOptions, answer: bytes) -> str:
    """Write the answer of `system/binary-configuration` into `backup_dir` and remove the oldest; the file's path. Raises `UserError`."""
    content = unpacked(answer, options.address)
    host = file_name(options.host, options.port)
    moment = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
    name = f"{host}-{moment}.zip"
    if options.backup_passphrase:
        content, name = encrypted(content, options.backup_passphrase), f"{name}.enc"
    folder = Path(options.backup_dir).expanduser()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(folder / name, content)
        _thin_out(folder, host, options.backup_keep)
    except OSError as error:
        raise UserError(
            f"backup_dir: the backup of {options.address} cannot be kept in {folder}: {error.strerror or error}; nothing was changed. "
            f"Give another backup_dir (connect_secure_backup_dir), or {_OFF}"
        ) from error
    return str(folder / name)


def unpacked(answer: bytes, address: str) -> bytes:
    """The ZIP of system.cfg and user.cfg in the base64 text that the appliance answers. Raises `UserError` for anything else."""
    try:
        content = base64.b64decode(b"".join(answer.strip().strip(b'"').split()), validate=True)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            complete = archive.testzip() is None and bool(archive.namelist())
    except (binascii.Error, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError):
        complete = False
    if not complete:
        raise UserError(
            f"{address}: what the appliance gives as its configuration's backup is no ZIP file in base64; nothing was changed. Run again, "
            f"or export it in the console (Maintenance > Import/Export) and {_OFF}"
        )
    return content


def encrypted(content: bytes, passphrase: str, salt: bytes | None = None) -> bytes:
    """AES-256-CBC by a key from the passphrase, in the form of `openssl enc -salt`: "Salted__", salt (8 bytes), ciphertext."""
    salt = salt or os.urandom(8)
    secret = hashlib.pbkdf2_hmac("sha256", passphrase.encode(), salt, ITERATIONS, 48)
    cipher = crypto_ciphers.Cipher(crypto_ciphers.algorithms.AES(secret[:32]), crypto_ciphers.modes.CBC(secret[32:])).encryptor()
    fill = 16 - len(content) % 16
    return b"Salted__" + salt + cipher.update(content + bytes([fill]) * fill) + cipher.finalize()


def how_to_restore(path: str) -> str:
    """For a run that failed: where the backup is, and what to do with it in the console."""
    opened = path.removesuffix(".enc")
    first = f"decrypt it ({OPEN} -in '{path}' -out '{opened}'), then unpack it" if path.endswith(".enc") else "unpack it"
    return (
        f"The configuration as it was before this run's first change is in {path}. Most failures are mended by the next run. To go back: "
        f"{first} and import user.cfg (users, realms, sign-in), and system.cfg only if certificates or the system's settings have to go "
        "back too, in the console under Maintenance > Import/Export > Configuration; system.cfg brings network settings and needs a restart"
    )


def _write(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(handle)


def _thin_out(folder: Path, host: str, kept: int) -> None:
    mine = re.compile(rf"{re.escape(host)}-\d{{8}}T\d{{6}}\.\d{{6}}Z\.zip(\.enc)?")
    for path in sorted(entry for entry in folder.iterdir() if mine.fullmatch(entry.name))[:-kept]:
        path.unlink()
