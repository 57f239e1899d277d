# SPDX-License-Identifier: GPL-3.0-or-later
"""Make folders and files that hold secrets, each in place at once and never readable by others in between. Prints nothing of them.

`folders` and `files` have path, owner, group, mode; a file its content, in base64. `made` is a secret that is made here unless it is
there, and the file of a front end that has it too (`for`, `form`). `passphrase` is where that of the server's keys is to be, made where
none is given and there are no keys yet.
"""

from __future__ import annotations

import base64
import grp
import json
import os
import pwd
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any


def own(path: Path, owner: str, group: str, mode: str) -> None:
    os.chown(path, pwd.getpwnam(owner).pw_uid, grp.getgrnam(group).gr_gid)
    path.chmod(int(mode, 8))


def write(path: Path, content: bytes, owner: str, group: str, mode: str) -> None:
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    own(new, owner, group, mode)
    new.replace(path)


def make(path: Path, wanted: dict[str, Any]) -> None:
    secret = path.read_text() if path.exists() else secrets.token_urlsafe(32)
    write(path, secret.encode(), wanted["owner"], wanted["owner"], "0600")
    write(Path(wanted["for"]), wanted["form"].replace("%s", secret).encode(), "root", wanted["group"], wanted["mode"])


OPENS = "import sys, pathlib; from passivekey.server.keyring import Keyring; Keyring.load(pathlib.Path(sys.argv[1]), sys.stdin.read())"
PYTHON = Path("/opt/passivekey/bin/python3")


def opens(passphrase: bytes, keys: Path) -> bool:
    """Whether the keys are under it, where there are keys and a program that can tell."""
    if not keys.exists() or not PYTHON.exists():
        return True
    return subprocess.run([PYTHON, "-c", OPENS, keys], input=passphrase, capture_output=True, check=False).returncode == 0


def where_it_was(path: Path) -> bytes:
    """The passphrase from where it was kept before, beside `path`; empty where there was none."""
    before = path.with_suffix("" if path.suffix == ".cred" else ".cred")
    if not before.exists():
        return b""
    if before.suffix != ".cred":
        return before.read_bytes().strip(b"\r\n")
    return creds("decrypt", str(before), "-")


def creds(action: str, *arguments: str, given: bytes = b"") -> bytes:
    done = subprocess.run(["systemd-creds", action, "--name=passivekey", *arguments], input=given, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"systemd-creds: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def keep_passphrase(path: Path, given: str, keys: Path) -> None:
    """In a file; or, where its name says so, encrypted by systemd to this host."""
    passphrase = given.encode() or where_it_was(path) or secrets.token_urlsafe(40).encode()
    if not opens(passphrase, keys):
        raise SystemExit(f"passivekey_server_passphrase is not the one that the keys in {keys} are under")
    if path.suffix != ".cred":
        write(path, passphrase, "passivekey", "passivekey", "0600")
        return
    write(path, creds("encrypt", "-", "-", given=passphrase), "root", "root", "0600")


def main(options: dict[str, Any]) -> None:
    for folder in options.get("folders", []):
        Path(folder["path"]).mkdir(mode=0o700, parents=True, exist_ok=True)
        own(Path(folder["path"]), folder.get("owner", "root"), folder.get("group", "root"), folder["mode"])
    for file in options.get("files", []):
        content = base64.b64decode(file["content"])
        write(Path(file["path"]), content, file.get("owner", "root"), file.get("group", "root"), file["mode"])
    for wanted in options.get("made", []):
        make(Path(wanted["path"]), wanted)
    if options.get("passphrase"):
        keep_passphrase(Path(options["passphrase"]), options["passphrase_given"], Path(options["keys"]))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
