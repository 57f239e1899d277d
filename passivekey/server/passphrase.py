# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the passphrase of the server's keys comes from: a systemd credential, a PKCS#11 token, or a file that only its owner reads."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote

from passivekey.errors import ConfigurationError

SHORTEST = 20
"""Characters: less can be tried."""


def passphrase(source: str) -> str:
    """`credential:NAME`, `file:PATH`, or a PKCS#11 URI of a data object (RFC 7512) with `module-path` and `pin-source`."""
    kind, _colon, rest = source.partition(":")
    readers = {"credential": _credential, "file": lambda path: _file(Path(path)), "pkcs11": _token}
    if kind not in readers:
        raise ConfigurationError(f"keys.passphrase: {source!r} begins with none of credential:, file:, pkcs11:")
    found = readers[kind](rest).strip("\r\n")
    if len(found) < SHORTEST:
        raise ConfigurationError(f"keys.passphrase: {kind} holds {len(found)} characters; {SHORTEST} are the least")
    return found


def _credential(name: str) -> str:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise ConfigurationError(
            f"keys.passphrase: no credential {name!r}; systemd gives it to a unit with LoadCredentialEncrypted={name}:…"
        )
    path = Path(folder) / Path(name).name
    if not path.is_file():
        raise ConfigurationError(f"keys.passphrase: {path} is missing; name the credential {name!r} in LoadCredentialEncrypted")
    return path.read_text(encoding="utf-8")


def _file(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"keys.passphrase: {path}: {error.strerror}") from error
    if mode & 0o077:
        raise ConfigurationError(f"keys.passphrase: {path} can be read by others (mode {mode & 0o777:04o}); chmod 0600 {path}")
    return content


def _token(uri: str) -> str:
    try:
        import pkcs11
    except ImportError as error:
        raise ConfigurationError("keys.passphrase: a PKCS#11 token needs python-pkcs11 (pip install certlogon[cards])") from error
    path, _mark, query = uri.partition("?")
    words = {name: unquote(value) for name, _equals, value in (part.partition("=") for part in (*path.split(";"), *query.split("&")))}
    for needed in ("token", "object", "module-path", "pin-source"):
        if needed not in words:
            raise ConfigurationError(f"keys.passphrase: the PKCS#11 URI lacks {needed}")
    pin = _file(Path(words["pin-source"].removeprefix("file:"))).strip("\r\n")
    try:
        token = pkcs11.lib(words["module-path"]).get_token(token_label=words["token"])
        with token.open(user_pin=pin) as session:
            wanted = {pkcs11.Attribute.CLASS: pkcs11.ObjectClass.DATA, pkcs11.Attribute.LABEL: words["object"]}
            found = [bytes(item[pkcs11.Attribute.VALUE]) for item in session.get_objects(wanted)]
    except (pkcs11.PKCS11Error, RuntimeError) as error:
        raise ConfigurationError(f"keys.passphrase: token {words['token']!r}: {error or type(error).__name__}") from error
    if len(found) != 1:
        raise ConfigurationError(
            f"keys.passphrase: token {words['token']!r} has {len(found)} data objects {words['object']!r}; it needs one"
        )
    return found[0].decode("utf-8", "replace")
