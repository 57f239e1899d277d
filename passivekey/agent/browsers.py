# SPDX-License-Identifier: GPL-3.0-or-later
"""The browser's side: the extension for one browser, packed where it is to be forced, and the registration of the native messaging host.

The extension may touch only the sites that it is built for, and asks nobody: browsers give optional permissions only at a click, which a
forced extension never gets, and all sites (`--all-sites`) would be more than it needs.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import io
import json
import os
import shutil
import struct
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

BROWSERS = ("chromium", "edge", "firefox")
HOST = "org.certlogon.passivekey"
FIREFOX_ID = "passivekey@certlogon.org"
VERSION = "1.0"

PUBLIC_KEY = (
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAnE0AYBl+soGqe+3YVs8eM8/gSyc+eHmzOE8MO0mEsBQ8p6G50MgeN85ILDO0Ly0NFBYNBZBtAVP0"
    "nhHapAwIAdP2z6hC/tfcncoimDlq5Pdakmd3qIHkZzLRxezsTrxgD8IOQt+H5XUUjqgarvmdKhngo4+pD8vQ/mPBB/b9eom+Ok50HBSN7ewibI5gqNvAwb5I"
    "T7OLqZJGJefEoeZBEtHDz0pXhoBG+3FDLpiofl1k6pNeb4dZVvRSu6znJNZw9n4OuTFeWkM810TKk18ZidaVo7X07drdFBWZb174j9qcBQFnOzTfpn8mYioz"
    "/2ZKAz6bA6L4UxPS63+JFNxmvwIDAQAB"
)
"""What fixes the id of an extension that is loaded unpacked. Its private key was thrown away: who packs needs a key of their own."""

SOURCES = Path(__file__).parent.parent / "extension"
_ALL_SITES = "https://*/*"
_FOLDERS = {
    # of the user, of the machine
    "chromium": ("~/.config/chromium/NativeMessagingHosts", "/etc/chromium/native-messaging-hosts"),
    "edge": ("~/.config/microsoft-edge/NativeMessagingHosts", "/etc/opt/edge/native-messaging-hosts"),
    "firefox": ("~/.mozilla/native-messaging-hosts", "/usr/lib/mozilla/native-messaging-hosts"),
}
_WINDOWS_KEYS = {
    "chromium": r"Software\Google\Chrome\NativeMessagingHosts",
    "edge": r"Software\Microsoft\Edge\NativeMessagingHosts",
    "firefox": r"Software\Mozilla\NativeMessagingHosts",
}


class BrowserError(Exception):
    """What cannot be built or registered, and what to do."""


def extension_id(public_key: str = PUBLIC_KEY) -> str:
    """The id that Chromium makes of a key: half of its SHA-256, with letters a to p for digits."""
    digest = hashlib.sha256(base64.b64decode(public_key)).hexdigest()[:32]
    return digest.translate(str.maketrans("0123456789abcdef", "abcdefghijklmnop"))


def public_key(key_file: Path) -> tuple[rsa.RSAPrivateKey, str]:
    """The organisation's key, which packs, and its public half as manifests have it."""
    try:
        key = load_pem_private_key(key_file.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise BrowserError(f"{key_file} is no RSA key in PEM without a passphrase: {error}") from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise BrowserError(f"{key_file} is no RSA key: make one by `openssl genrsa -out {key_file} 2048`")
    return key, base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def manifest(browser: str, sites: Sequence[str], key: str = PUBLIC_KEY, update_url: str = "", version: str = VERSION) -> dict[str, Any]:
    """The manifest for one browser. `sites`: as in the policy; empty: all."""
    hosts = sorted({f"https://{site.partition(':')[0]}/*" for site in sites}) or [_ALL_SITES]  # patterns have no port in Firefox
    common = {
        "manifest_version": 3,
        "name": "PassiveKey",
        "version": version,
        "description": "Shows the sites of your organisation that this workstation is yours.",
        "permissions": ["alarms", "cookies", "nativeMessaging"],
        "host_permissions": hosts,
        "action": {"default_title": "PassiveKey"},
        "incognito": "not_allowed",
    }
    if browser == "firefox":
        gecko = {"id": FIREFOX_ID, "strict_min_version": "121.0", **({"update_url": update_url} if update_url else {})}
        return {**common, "background": {"scripts": ["worker.js"]}, "browser_specific_settings": {"gecko": gecko}}
    packed = {"update_url": update_url} if update_url else {}
    return {**common, "key": key, "minimum_chrome_version": "116", "background": {"service_worker": "worker.js"}, **packed}


def build(browser: str, sites: Sequence[str], into: Path, key_file: Path | None = None, update_url: str = "") -> str:
    """Write the extension's folder; with a key and an address for Chromium or Edge also `passivekey.crx` and `updates.xml`. Its id."""
    signer, key = public_key(key_file) if key_file else (None, PUBLIC_KEY)
    worker = (SOURCES / "worker.js").read_bytes()
    version = _version(into, manifest(browser, sites, key, update_url), worker)
    files = {
        "manifest.json": json.dumps(manifest(browser, sites, key, update_url, version), indent=2).encode() + b"\n",
        "worker.js": worker,
    }
    into.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (into / name).write_bytes(content)
    if browser == "firefox":
        (into.parent / "passivekey.xpi").write_bytes(_zip(files))
        return FIREFOX_ID
    number = extension_id(key)
    if signer and update_url:
        (into.parent / "passivekey.crx").write_bytes(crx(_zip(files), signer))
        updates = _updates(number, update_url.rpartition("/")[0] + "/passivekey.crx", version)
        (into.parent / "updates.xml").write_text(updates, encoding="utf-8")
    return number


def _version(folder: Path, wanted: dict[str, Any], worker: bytes) -> str:
    """That of the extension in the folder while it says the same, else a later one: browsers take an update by its version alone."""
    try:
        there = json.loads((folder / "manifest.json").read_bytes())
        found, before = str(there.pop("version")), (folder / "worker.js").read_bytes()
    except (OSError, ValueError, KeyError, AttributeError):
        return VERSION
    now = datetime.datetime.now(datetime.timezone.utc)
    same = there == {name: value for name, value in wanted.items() if name != "version"} and before == worker
    return found if same else f"{now.year}.{now.month * 100 + now.day}.{now.hour * 100 + now.minute}.{now.second}"


def crx(archive: bytes, key: rsa.RSAPrivateKey) -> bytes:
    """CRX3: the archive, signed by the key that its id comes from (chromium: components/crx_file/crx3.proto)."""
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    signed = _field(1, hashlib.sha256(public).digest()[:16])
    message = b"CRX3 SignedData\0" + struct.pack("<I", len(signed)) + signed + archive
    proof = _field(1, public) + _field(2, key.sign(message, padding.PKCS1v15(), SHA256()))
    header = _field(2, proof) + _field(10000, signed)
    return b"Cr24" + struct.pack("<II", 3, len(header)) + header + archive


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field of Protocol Buffers."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _zip(files: dict[str, bytes]) -> bytes:
    """The same bytes for the same files."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return packed.getvalue()


def _updates(number: str, address: str, version: str) -> str:
    return (
        "<?xml version='1.0' encoding='UTF-8'?>\n<gupdate xmlns='http://www.google.com/update2/response' protocol='2.0'>\n"
        f"  <app appid='{number}'><updatecheck codebase='{address}' version='{version}'/></app>\n</gupdate>\n"
    )


# ---- native messaging


def host_manifest(browser: str, program: Path, extension: str = "") -> dict[str, Any]:
    """Which program answers, and whom."""
    common = {"name": HOST, "description": "PassiveKey agent", "path": str(program), "type": "stdio"}
    if browser == "firefox":
        return {**common, "allowed_extensions": [extension or FIREFOX_ID]}
    return {**common, "allowed_origins": [f"chrome-extension://{extension or extension_id()}/"]}


def register(browser: str, program: Path | None = None, extension: str = "", *, system: bool = False, into: Path | None = None) -> Path:
    """Write the host's manifest to where the browser looks (`into`: another folder), under Windows to its registry too. The file."""
    found = program or host_program()
    if not found.is_absolute() or not os.access(found, os.X_OK):
        raise BrowserError(f"{found} is no program to start by its whole path; give --program")
    folder = into or _folder(browser, system)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{HOST}.json"
    file.write_text(json.dumps(host_manifest(browser, found, extension), indent=2) + "\n", encoding="utf-8")
    if sys.platform == "win32" and into is None:
        _register_in_windows(browser, file, system)
    return file


def host_program() -> Path:
    """passivekey-native-host of this installation."""
    name = "passivekey-native-host" + (".exe" if sys.platform == "win32" else "")
    beside = Path(sys.executable).parent / name
    found = beside if beside.exists() else Path(shutil.which(name) or "")
    if not found.name:
        raise BrowserError(f"{name} is not installed beside {sys.executable}, nor on the PATH; give --program")
    return found.absolute()


def _folder(browser: str, system: bool) -> Path:
    if sys.platform == "win32":
        return Path(os.environ["PROGRAMDATA" if system else "LOCALAPPDATA"]) / "PassiveKey" / browser
    return Path(_FOLDERS[browser][system]).expanduser()


def _register_in_windows(browser: str, file: Path, system: bool) -> None:
    import winreg

    root = winreg.HKEY_LOCAL_MACHINE if system else winreg.HKEY_CURRENT_USER  # type: ignore[attr-defined]  # of Windows only
    with winreg.CreateKey(root, f"{_WINDOWS_KEYS[browser]}\\{HOST}") as key:  # type: ignore[attr-defined]
        winreg.SetValueEx(key, "", 0, winreg.REG_SZ, str(file))  # type: ignore[attr-defined]
