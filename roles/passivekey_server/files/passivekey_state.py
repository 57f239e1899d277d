# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has of what makes a PassiveKey server. Reads only, prints JSON. Needs Python 3.10; openssl 3 to judge certificates.

The reading of certificates is that of the roles domain_controller_certificates and ocserv_gateway, given as modules beside this.
"""

from __future__ import annotations

import base64
import grp
import hashlib
import json
import pwd
import shutil
import struct
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import ocserv_state

AES = {17: "aes128-cts-hmac-sha1-96", 18: "aes256-cts-hmac-sha1-96", 19: "aes128-cts-hmac-sha256-128", 20: "aes256-cts-hmac-sha384-192"}
WEAK = {1: "des-cbc-crc", 3: "des-cbc-md5", 16: "des3-cbc-sha1", 23: "arcfour-hmac"}


def missing_packages(names: list[str]) -> list[str]:
    query = ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *names]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    there = {line.split()[0] for line in done.stdout.splitlines() if line.endswith(" installed")}
    return [name for name in names if name not in there]


def like(path: Path, wanted: dict[str, Any]) -> bool:
    """Whether owner, group, mode and, of a file, the content are as wanted."""
    try:
        found = path.stat()
        same = "content" not in wanted or path.read_bytes() == base64.b64decode(wanted["content"])
        same = same and ("digest" not in wanted or hashlib.sha256(path.read_bytes()).hexdigest() == wanted["digest"])
        owner, group = pwd.getpwuid(found.st_uid).pw_name, grp.getgrgid(found.st_gid).gr_name
    except (OSError, KeyError):
        return False
    return same and (owner, group, found.st_mode & 0o7777) == (wanted["owner"], wanted["group"], int(wanted["mode"], 8))


def secret_made(wanted: dict[str, Any]) -> bool:
    """A secret that is made here, and the file of the front end that has it too."""
    path = Path(wanted["path"])
    if not like(path, {"owner": wanted["owner"], "group": wanted["owner"], "mode": "0600"}):
        return False
    digest = hashlib.sha256(wanted["form"].replace("%s", path.read_text()).encode()).hexdigest()
    return like(Path(wanted["for"]), {"owner": "root", "group": wanted["group"], "mode": wanted["mode"], "digest": digest})


# ---- the keytab (MIT Kerberos, file format 0x0502)


def keytab_entries(data: bytes) -> list[tuple[str, int]]:
    """Principal (with its realm) and encryption type of each key. Raises ValueError where it is no keytab."""
    if data[:2] != b"\5\2":
        raise ValueError("it is no keytab (format 0x0502)")
    found, position = [], 2
    try:
        while position + 4 <= len(data):
            (length,) = struct.unpack_from(">i", data, position)
            position += 4
            if length > 0:
                found.append(keytab_entry(data[position : position + length]))
            if length == 0:
                break
            position += abs(length)
    except (struct.error, UnicodeDecodeError) as error:
        raise ValueError("it is cut off, or no keytab") from error
    return found


def keytab_entry(data: bytes) -> tuple[str, int]:
    (count,) = struct.unpack_from(">H", data)
    position, words = 2, []
    for _word in range(count + 1):
        (length,) = struct.unpack_from(">H", data, position)
        words.append(data[position + 2 : position + 2 + length].decode())
        position += 2 + length
    position += 4 + 4 + 1  # name type, time, version
    (kind,) = struct.unpack_from(">H", data, position)
    return f"{'/'.join(words[1:])}@{words[0]}", kind


def keytab_problems(given: str, service: str) -> list[str]:
    """Why tickets for a service (HTTP/name) cannot be judged by it."""
    if not given:
        return []
    try:
        entries = keytab_entries(base64.b64decode(given))
    except ValueError as error:
        return [str(error)]
    ours = [kind for principal, kind in entries if principal.partition("@")[0].lower() == service.lower()]
    if not ours:
        others = ", ".join(sorted({principal for principal, _kind in entries})) or "nobody"
        return [f"it has no key of {service}, but of {others}"]
    weak = sorted({WEAK.get(kind, f"type {kind}") for kind in ours if kind not in AES})
    if weak:
        return [f"it has keys of {', '.join(weak)}; export it anew from an account that has AES keys only"]
    return []


# ---- all of it


def stale(options: dict[str, Any], systemd: bool) -> list[str]:
    """Files of sites and secrets that nobody asks for any more, and those of the supervisor that is not asked for."""
    supervisor = options["supervisor"] if options["supervisor"] != "auto" else "systemd" if systemd else "cron"
    others = [path for name, paths in options["supervised"].items() if name != supervisor for path in paths]
    wanted = {*options["files"], *(path for made in options["made"] for path in (made["path"], made["for"]))} - {*others}
    kept = [str(path) for folder in options["swept"] for path in sorted(Path(folder).glob("*"))]
    return [path for path in dict.fromkeys([*kept, *options["not_always"], *others]) if path not in wanted and Path(path).exists()]


def passphrase(options: dict[str, Any]) -> str:
    """`none` (to be made, or taken over), `other` than the one that is given, `lost`, or `there`. What systemd has encrypted, or a token
    has, cannot be compared here."""
    if not options["passphrase"]:
        return "there"
    path, given = Path(options["passphrase"]), options["passphrase_given"]
    if not path.exists():
        known = given or any(Path(other).exists() for other in options["passphrases"]) or not Path(options["keys"]).exists()
        return "none" if known else "lost"
    return "other" if given and path.suffix != ".cred" and path.read_text().strip("\r\n") != given else "there"


def installed(options: dict[str, Any]) -> bool:
    """The package that is wanted, for the Python that is there: one that was replaced since finds nothing of it."""
    home = Path("/opt/passivekey")
    same = (home / "bin/python3").resolve() == Path(sys.executable).resolve()
    library = home / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages/passivekey"
    return same and library.is_dir() and ocserv_state.text_of(str(home / "installed")) == options["installed"]


def group_members(name: str) -> list[str] | None:
    try:
        return grp.getgrnam(name).gr_mem
    except KeyError:
        return None


def user_there(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def read(options: dict[str, Any]) -> dict[str, Any]:
    systemd = Path("/run/systemd/system").is_dir()
    groups = {name: group_members(name) for name in options["groups"]}
    here: dict[str, Any] = {
        "missing": missing_packages(options["packages"]),
        "apt": shutil.which("apt-get") is not None,
        "python": sys.version_info >= (3, 10),
        "systemd": systemd,
        "cron": ocserv_state.runs("cron", "crond"),
        "user": user_there("passivekey"),
        "groups": [name for name, members in groups.items() if "passivekey" not in (members or [])],
        "unknown_groups": [name for name, members in groups.items() if members is None],
        "folders": [path for path, wanted in options["folders"].items() if not like(Path(path), wanted)],
        "differing": [path for path, wanted in options["files"].items() if not like(Path(path), wanted)],
        "unmade": [wanted["path"] for wanted in options["made"] if not secret_made(wanted)],
        "stale": stale(options, systemd),
        "keytab": keytab_problems(options["keytab"], options["service"]),
        "installed": installed(options),
        "initialised": Path(options["keys"]).exists(),
        "passphrase": passphrase(options),
        "superseded": [path for path in options["passphrases"] if path != options["passphrase"] and Path(path).exists()],
    }
    if not shutil.which("openssl", path=ocserv_state.PATH):
        return here | {"current": {"problems": ["there is none"], "certificate": {}}, "next": {"problems": [], "request_fits": False}}
    folder, wanted, now = Path(options["tls"]), options["certificate"], datetime.now(timezone.utc)
    fits = ocserv_state.request_fits(folder / "next", wanted)
    return here | {
        "current": ocserv_state.judged(folder / "current", wanted, now),
        "next": ocserv_state.judged(folder / "next", wanted, now) | {"request_fits": fits},
    }


if __name__ == "__main__":
    json.dump(read(json.loads(sys.argv[1])), sys.stdout)
