# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes a PassiveKey server what it is, as the host has it: run there, without being installed. Opens files for reading only, runs
programs that only tell (`passivekey observe`, `freeradius -v`), asks the server for its CRL, and writes nothing but JSON to standard
output. No secret is in it: of secrets the length, and which are the same. Needs Python 3.11.
"""

from __future__ import annotations

import base64
import grp
import hashlib
import http.client
import json
import os
import pwd
import re
import socket
import ssl
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

SETTINGS = "/etc/passivekey/server.toml"
PROGRAM = "/opt/passivekey/bin/passivekey"
USER = "passivekey"
RADIUS = ("/etc/passivekey/radius", "/etc/freeradius/3.0")
"""Where FreeRADIUS is configured: as the role has it, else as Debian has it."""

BACKUPS = "/var/backups/passivekey"
FRONTS = ("/etc/nginx/conf.d", "/etc/nginx/sites-enabled")
KNOWN = ("testing123", "secret", "radius", "password", "changeme")
TIME_SERVICES = ("chronyd", "systemd-timesyn", "ntpd", "ntpsec", "openntpd")
LIMIT = 4 << 20
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SALT = os.urandom(16)


class Same:
    """Numbers for secrets, the same for the same; only within this run."""

    def __init__(self) -> None:
        self._known: dict[bytes, int] = {}

    def words(self, secret: str) -> dict[str, Any]:
        digest = hashlib.sha256(SALT + secret.encode()).digest()
        number = self._known.setdefault(digest, len(self._known) + 1)
        return {"length": len(secret), "same": number, "known": secret.lower() in KNOWN}


def about(path: str) -> dict[str, Any]:
    """Owner, group, mode; `missing`, or `reason` where it cannot be told."""
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        return {"path": path, "missing": True}
    except OSError as error:
        return {"path": path, "reason": error.strerror or str(error)}
    words = {"path": path, "owner": owner(found.st_uid), "mode": found.st_mode & 0o7777, "size": found.st_size, "changed": found.st_mtime}
    try:
        words["group"] = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        words["group"] = str(found.st_gid)
    return words


def owner(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def text(path: str) -> str:
    with Path(path).open("rb") as opened:
        return opened.read(LIMIT).decode("utf-8", "replace")


def told(*command: str, timeout: int = 15) -> tuple[int, str, str]:
    """What a program that only tells says; -1 where there is no such program, or it does not end."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=timeout, errors="replace", env={"PATH": PATH, "LC_ALL": "C"}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return -1, "", str(error)
    return done.returncode, done.stdout, done.stderr


def attempt(look: Any) -> Any:
    """What `look()` brings; why not, where that fails."""
    try:
        return look()
    except FileNotFoundError as error:
        return {"missing": True, "reason": f"{error.filename}: there is no such file"}
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        return {"reason": f"{type(error).__name__}: {error}"[:300], "denied": isinstance(error, PermissionError)}


# ---- settings, and the files that they name


def settings() -> dict[str, Any]:
    import tomllib  # type: ignore[import-not-found, unused-ignore]  # of Python 3.11, which the server has

    found = tomllib.loads(text(SETTINGS))
    found["database"] = without_password(str(found.get("database", "")))
    if isinstance(keys := found.get("keys"), dict) and "passphrase" in keys:
        # the server wants a pin-source, but a URI may hold both
        keys["passphrase"] = re.sub(r"(?i)([?;&]pin-value=)[^;&]*", r"\1***", str(keys["passphrase"]))
    return {"is": found}


def without_password(url: str) -> str:
    """A database's address; its password may hold anything but an @, or be a parameter."""
    bare = re.sub(r"(://[^:/@?]*):[^@]*@", r"\1:***@", url)
    return re.sub(r"(?i)([?&][^=&]*password[^=&]*=)[^&]*", r"\1***", bare)


def database(url: str) -> str:
    """The file of an SQLite database."""
    return re.sub(r"^sqlite(\+\w+)?:///", "", url).partition("?")[0] if url.startswith("sqlite") else ""


def parameter(url: str, name: str) -> str | None:
    """What a database's address hands to libpq."""
    return dict(parse_qsl(urlsplit(url).query)).get(name)


def secret_files(found: dict[str, Any]) -> dict[str, str]:
    """By path, what is in it: all that lets others act as the server, its users or its sites."""
    passphrase, address = found.get("keys", {}).get("passphrase", ""), found.get("database", "")
    named = {
        "keys": found.get("keys", {}).get("file"),
        "passphrase": passphrase.removeprefix("file:") if passphrase.startswith("file:") else None,
        "keytab": found.get("kerberos", {}).get("keytab"),
        "TLS key": found.get("tls", {}).get("key"),
        "directory password": found.get("directory", {}).get("password_file"),
        "RADIUS bearer": found.get("radius", {}).get("secret_file"),
        "privacyIDEA token": found.get("backend", {}).get("token_file"),
        "database": database(address),
        "database password": parameter(address, "passfile"),
        "database key": parameter(address, "sslkey"),
    }
    paths = {path: name for name, path in named.items() if path}
    paths.update({path: f"secret of site {site}" for site, path in found.get("sites", {}).items()})
    folder = Path(SETTINGS).parent
    several = [path for each in ("secrets/*", "nginx/*", "radius-*", "*.cred", "pgpass*") for path in folder.glob(each)]
    several += [Path(RADIUS[0], name) for name in ("clients.conf", "local.conf", "bearer.conf")]
    paths.update({str(path): path.name for path in several if path.is_file() and str(path) not in paths})
    return paths


def keyring(path: str) -> dict[str, Any]:
    """Purposes and ages; the private parts stay here, encrypted as they are."""
    document = json.loads(text(path))
    kept = ("purpose", "kid", "created", "certificate")
    return {"is": {"kdf": document.get("kdf"), "keys": [{name: one[name] for name in kept if name in one} for one in document["keys"]]}}


def keytab(path: str) -> dict[str, Any]:
    """Principal, encryption type and version of each key (MIT Kerberos, file format 0x0502)."""
    data = Path(path).read_bytes()
    if data[:2] != b"\5\2":
        raise ValueError("it is no keytab (format 0x0502)")
    found, position = [], 2
    while position + 4 <= len(data):
        (length,) = struct.unpack_from(">i", data, position)
        position += 4
        if length > 0:
            found.append(keytab_entry(data[position : position + length]))
        if length == 0:
            break
        position += abs(length)
    return {"is": found}


def keytab_entry(data: bytes) -> dict[str, Any]:
    (count,) = struct.unpack_from(">H", data)
    position, words = 2, []
    for _word in range(count + 1):
        (length,) = struct.unpack_from(">H", data, position)
        words.append(data[position + 2 : position + 2 + length].decode())
        position += 2 + length
    position += 4 + 4  # name type, time
    version = data[position]
    kind, length = struct.unpack_from(">HH", data, position + 1)
    position += 5 + length
    if position + 4 <= len(data):
        (long,) = struct.unpack_from(">I", data, position)
        version = long or version
    return {"principal": f"{'/'.join(words[1:])}@{words[0]}", "type": kind, "version": version}


def sqlite(path: str) -> dict[str, Any]:
    """Whether it is kept with a write-ahead log (SQLite's file format, 1.3), and on what."""
    with Path(path).open("rb") as opened:
        head = opened.read(20)
    return {"is": {"wal": head[18:20] == b"\2\2", "filesystem": filesystem(path)}}


def filesystem(path: str) -> str:
    """The type of what is mounted there."""
    place, best, kind = os.path.realpath(path), "", ""
    for line in text("/proc/self/mounts").splitlines():
        _device, mount, name, *_rest = line.split()
        mount = mount.replace("\\040", " ")
        if len(mount) >= len(best) and (place == mount or place.startswith(mount.rstrip("/") + "/")):
            best, kind = mount, name
    return kind


# ---- what runs


def processes() -> list[dict[str, Any]]:
    """The server's, FreeRADIUS's and nginx's, with arguments; and who keeps the time."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")[:-1]
            name = (folder / "comm").read_text().strip()
            user = owner(folder.stat().st_uid)
        except OSError:
            continue
        # not what starts it (as root, each minute where cron does): that has the program further on among its arguments
        server = PROGRAM in arguments[:2] and "serve" in arguments
        if server or name in ("freeradius", "radiusd", "nginx", *TIME_SERVICES):
            kind = "server" if server else name
            found.append({"name": kind, "user": user, "arguments": arguments[1:] if kind != "nginx" else []})
    return found


def container() -> bool:
    """Whether the clock is that of a machine beneath."""
    return Path("/run/systemd/container").exists() or Path("/.dockerenv").exists() or b"container=" in environment()


def environment() -> bytes:
    try:
        return Path("/proc/1/environ").read_bytes()
    except OSError:
        return b""


def observe() -> dict[str, Any]:
    """The server's own word, as its user: it needs no passphrase."""
    code, said, wrong = told("setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", PROGRAM, "observe", timeout=120)
    if code:
        return {"reason": (wrong or said).strip()[-300:] or f"passivekey observe ended with {code}"}
    return {"is": json.loads(said.splitlines()[-1])}


def crl(found: dict[str, Any]) -> dict[str, Any]:
    """What the server gives to everybody, over its own port."""
    host, _colon, _port = found["origin"].removeprefix("https://").partition(":")
    tls = found.get("tls", {})
    address, port = tls.get("address", "127.0.0.1"), tls.get("port", 8443)
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
    with socket.create_connection((address, port), 5) as plain:
        connection = http.client.HTTPConnection(address, port, timeout=5)
        connection.sock = plain
        if tls.get("certificate"):
            # who it is, is judged from outside
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection.sock = context.wrap_socket(plain, server_hostname=host)
        connection.request("GET", "/v1/crl", headers={"Host": host})
        answer = connection.getresponse()
        content = answer.read(LIMIT)
    if answer.status != 200:
        raise ValueError(f"the server answers with HTTP {answer.status}")
    return {"is": base64.b64encode(content).decode()}


# ---- RADIUS, nginx, backups, the log


def radius(same: Same) -> dict[str, Any]:
    """All files of FreeRADIUS's configuration that count here, without secrets."""
    folder = next((Path(each) for each in RADIUS if Path(each, "radiusd.conf").is_file()), None)
    if folder is None:
        return {"missing": True}
    names = ["radiusd.conf", "clients.conf", "local.conf"]
    names += [str(path.relative_to(folder)) for part in ("mods-enabled/rest", "sites-enabled/*") for path in folder.glob(part)]
    files = {}
    for name in names:
        if (folder / name).is_file():
            files[name] = without_secrets(text(str(folder / name)), same)
    version = told("freeradius", "-v")[1].partition("\n")[0]
    return {"is": {"folder": str(folder), "version": version.strip(), "files": files}}


def without_secrets(content: str, same: Same) -> str:
    def replaced(found: re.Match[str]) -> str:
        bare = found[2][1:-1] if found[2][0] in "\"'" else found[2]
        if only_refers(bare):
            return found[0]
        words = same.words(bare)
        return f"{found[1]}= length:{words['length']},same:{words['same']},known:{int(words['known'])}"

    return BEARER.sub(r"\1***", NAMED_SECRET.sub(replaced, content))


NAMED_SECRET = re.compile(
    r"""(?ix) (\b[\w-]*(?:secret|password|bearer|token)\w*[ \t]*) [:+]?=(?![=~])[ \t]*
    ("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|[^\s,;]+)"""
)
BEARER = re.compile(r"""(?i)(\bBearer[ \t]+)(?![$%]\{)[^\s"';]+""")


def only_refers(value: str) -> bool:
    """Whether it is put together of other values (${…}, %{…}), and so holds no secret itself."""
    while (rest := re.sub(r"[$%]\{[^{}]*\}", "", value)) != value:
        value = rest
    return not value


def nginx() -> dict[str, Any]:
    """Files of sites, but for headers and variables with secrets."""
    files = {}
    for path in sorted(each for folder in FRONTS for each in Path(folder).glob("*")):
        if path.is_file() and "auth_request" in (content := text(str(path))):
            hidden = re.sub(r"(?i)(Authorization\s+)[^;]*;", r'\1"";', content)
            files[str(path)] = re.sub(r"(?i)(\bset\s+\$\w*(?:secret|password|bearer|token)\w*\s+)[^;]*;", r'\1"";', hidden)
    return {"is": files} if files else {"missing": True}


def site_secrets(found: dict[str, Any], same: Same) -> dict[str, Any]:
    return {"is": {site: same.words(text(path).strip("\r\n")) for site, path in found.get("sites", {}).items()}}


def backups() -> dict[str, Any]:
    found = [about(str(path)) for path in Path(BACKUPS).glob("*.backup")]
    keys = [about(str(path)) for path in Path(BACKUPS).glob("*.keys.json")]
    return {"is": {"folder": about(BACKUPS), "backups": found, "keys": keys}}


def audit(folder: str) -> dict[str, Any]:
    files = sorted(Path(folder).glob("passivekey-*.log"))
    return {"is": {"folder": about(folder), "files": [about(str(path)) for path in files]}}


def main() -> dict[str, Any]:
    os.environ["PATH"] = PATH
    same, told_settings = Same(), attempt(settings)
    found = told_settings.get("is", {})

    def named(look: Any, path: Any = True) -> Any:
        """What only the settings say where to look for; `path`: none, where they name none."""
        if not found:
            return {"reason": "the settings could not be read"}
        return attempt(look) if path else {"missing": True}

    ring, tab = found.get("keys", {}).get("file"), found.get("kerberos", {}).get("keytab")
    path, certificate = database(str(found.get("database", ""))), found.get("tls", {}).get("certificate")
    return {
        "now": time.time(),
        "settings": told_settings,
        "settings_file": about(SETTINGS),
        "secrets": named(lambda: {"is": [about(file) | {"holds": name} for file, name in secret_files(found).items()]}),
        "keyring": named(lambda: keyring(ring), ring),
        "keytab": named(lambda: keytab(tab), tab),
        "sqlite": named(lambda: sqlite(path), path),
        "processes": processes(),
        "container": container(),
        "observed": attempt(observe),
        "crl": named(lambda: crl(found)),
        "radius": attempt(lambda: radius(same)),
        "nginx": attempt(nginx),
        "site_secrets": named(lambda: site_secrets(found, same)),
        "backups": attempt(backups),
        "audit": named(lambda: audit(found.get("audit", {}).get("folder", "/var/log/passivekey"))),
        "certificate": named(lambda: {"is": text(certificate)}, certificate),
    }


if __name__ == "__main__":
    json.dump(main(), sys.stdout)
