# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the browsers' extension on the control node; prints {"id", "changed"} as JSON. Needs certlogon[passivekey-agent].

Options, as JSON in the first argument: `folder`, `sites` (empty: all), `update_url`, `check` (change nothing). In the folder:
extension.pem, the key that decides the id (made where there is none, and to be kept), and public/: passivekey.crx and updates.xml for
Chromium's family, passivekey.xpi for Firefox, and what they are made of.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

KEY_BITS = 2048


def main(options: dict[str, Any]) -> dict[str, Any]:
    try:
        from passivekey.agent import browsers
    except ImportError as error:
        sys.exit(
            f"{sys.executable} cannot build the extension ({error}): install certlogon[passivekey-agent] beside ansible-core, "
            "or leave passivekey_workstation_sites empty"
        )
    folder, check = Path(options["folder"]), options["check"]
    key, public = folder / "extension.pem", folder / "public"
    if not key.exists():
        if check:
            return {"id": "", "changed": True}
        make_key(key)
    with tempfile.TemporaryDirectory() as name:
        fresh = Path(name) / "public"
        if public.is_dir():
            shutil.copytree(public, fresh)
        try:
            number = browsers.build("chromium", options["sites"], fresh / "chromium", key, options["update_url"])
            browsers.build("firefox", options["sites"], fresh / "firefox")
        except browsers.BrowserError as error:
            sys.exit(str(error))
        changed = [path for path in fresh.rglob("*") if path.is_file() and not same(path, public / path.relative_to(fresh))]
        for path in [] if check else changed:
            put(path, public / path.relative_to(fresh))
    return {"id": number, "changed": bool(changed)}


def make_key(path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    path.parent.mkdir(parents=True, exist_ok=True)
    key = rsa.generate_private_key(65537, KEY_BITS).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key)


def same(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()


def put(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f"{target.name}.new")
    shutil.copyfile(source, new)
    new.replace(target)


if __name__ == "__main__":
    json.dump(main(json.loads(sys.argv[1])), sys.stdout)
