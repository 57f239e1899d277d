# SPDX-License-Identifier: GPL-3.0-or-later
"""The server's settings: one TOML file, checked whole before anything is opened."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from passivekey.errors import ConfigurationError
from passivekey.server import factors
from passivekey.server.ldap import Connecting
from passivekey.server.privacyidea import Asking
from passivekey.server.service import Rules

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found]  # of the extra, for Python 3.10 only

DEFAULT = Path("/etc/passivekey/server.toml")
_SITE = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+(:\d{1,5})?")
_SID = re.compile(r"S-1-\d+(-\d+){1,14}")

_MEMBERS: Mapping[str, Mapping[str, Any]] = {
    "": {"origin": str, "database": str},
    "keys": {"file": str, "passphrase": str},
    "directory": {
        **dict.fromkeys(("base", "username", "password_file", "ca_file", "netbios"), str),
        "servers": list,
        "timeout": int,
        "remember": float,
    },
    "kerberos": {"keytab": str},
    "tls": {"certificate": str, "key": str, "address": str, "port": int, "proxies": list},
    "enrollment": {"groups": list, "devices": int, "second_factor": list},
    "backend": {**dict.fromkeys(("kind", "url", "ca_file", "realm", "names", "token_file"), str), "timeout": int, "radius": bool},
    "administration": {"groups": list, "passwords": bool},
    "sites": {},
    "radius": {"secret_file": str, "refuse_wrong_password_at_once": bool},
    "agents": {"interval": int, "hotkey": str},
    "sessions": {"idle": int, "life": int},
    "lockout": {"account_failures": int, "source_failures": int, "within": int, "for": int},
    "audit": {"folder": str, "days": int, "megabytes": int},
    "metrics": {"addresses": list},
    "crl": {"life": int},
}
_NEEDED = (("", "origin"), ("", "database"), ("keys", "file"), ("keys", "passphrase"), ("directory", "servers"), ("directory", "base"))
_NUMBERS = {
    ("agents", "interval"): (30, 600),
    ("enrollment", "devices"): (1, 100),
    ("crl", "life"): (3600, 30 * 86400),
    ("backend", "timeout"): (1, 60),
    ("audit", "days"): (1, 36500),
    ("audit", "megabytes"): (8, 2**24),
}


@dataclass(frozen=True)
class Settings:
    origin: str
    database: str
    keys: Path
    passphrase: str
    rules: Rules
    directory: Connecting
    keytab: Path | None = None
    certificate: Path | None = None
    certificate_key: Path | None = None
    address: str = "127.0.0.1"
    port: int = 8443
    sites: Mapping[str, str] = field(default_factory=dict, repr=False)
    radius: str = field(default="", repr=False)
    administrators: frozenset[str] = frozenset()
    audit: Path = Path("/var/log/passivekey")
    audit_days: int = 365
    metrics: frozenset[str] = frozenset({"127.0.0.1", "::1"})
    audit_megabytes: int = 4096
    backend: Asking | None = None
    administrators_by_password: bool = True
    proxies: tuple[str, ...] = ()
    """Addresses whose X-Forwarded-For is believed."""


def load(path: Path) -> Settings:
    """Raises `ConfigurationError` that names the file, the setting, its value and the remedy."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; name the file with --settings, or write it") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    try:
        return _settings(document)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def _settings(document: Mapping[str, Any]) -> Settings:
    _check_members(document)

    def part(name: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = document.get(name, {})
        return found

    origin = document["origin"].rstrip("/")
    if not re.fullmatch(r"https://[a-z0-9.-]+(:\d+)?", origin):
        raise ConfigurationError(f"origin: {document['origin']!r} is no address such as https://passivekey.corp.example")
    sites = {site: _secret(f"sites.{site}", file) for site, file in part("sites").items()}
    for site in sites:
        if not _SITE.fullmatch(site):
            raise ConfigurationError(f"sites: {site!r} is no host name in lower case, with :port where it is not 443")
        host = site.partition(":")[0]
        if sum(other.partition(":")[0] == host for other in sites) > 1:  # RFC 6265 section 8.5
            raise ConfigurationError(
                f"sites: {host} is there with several ports; browsers keep one cookie for all: give each a name of its own"
            )
    lockout = part("lockout")
    backend = _backend(document["backend"]) if "backend" in document else None
    rules = Rules(
        origin,
        _sids("enrollment.groups", part("enrollment").get("groups", [])),
        part("enrollment").get("devices", 5),
        tuple(sites),
        part("agents").get("interval", 60),
        part("agents").get("hotkey", "ctrl+shift+o"),
        part("sessions").get("idle", 900),
        part("sessions").get("life", 28800),
        part("crl").get("life", 86400),
        lockout.get("account_failures", 8),
        lockout.get("source_failures", 40),
        lockout.get("within", 900),
        lockout.get("for", 900),
        part("radius").get("refuse_wrong_password_at_once", False),
        _second_factor(part("enrollment").get("second_factor", []), backend),
        backend is not None and part("backend").get("radius", True),
    )
    if part("administration").get("groups") and find_spec("jinja2") is None:
        raise ConfigurationError("administration.groups: the pages need Jinja2; install it (Debian: python3-jinja2)")
    directory = part("directory")
    connecting = Connecting(
        tuple(directory["servers"]),
        directory["base"],
        directory.get("username", ""),
        _secret("directory.password_file", directory["password_file"]) if "password_file" in directory else "",
        _path(directory.get("ca_file")),
        directory.get("netbios", ""),
        directory.get("timeout", 5),
        directory.get("remember", 2.0),
    )
    tls = part("tls")
    return Settings(
        origin,
        document["database"],
        Path(part("keys")["file"]),
        part("keys")["passphrase"],
        rules,
        connecting,
        _path(part("kerberos").get("keytab")),
        _path(tls.get("certificate")),
        _path(tls.get("key")),
        tls.get("address", "127.0.0.1"),
        tls.get("port", 8443),
        sites,
        _secret("radius.secret_file", part("radius")["secret_file"]) if "secret_file" in part("radius") else "",
        _sids("administration.groups", part("administration").get("groups", [])),
        Path(part("audit").get("folder", "/var/log/passivekey")),
        part("audit").get("days", 365),
        # behind a proxy that is not named here, everybody asks from this machine
        frozenset(part("metrics").get("addresses", ["127.0.0.1", "::1"] if "certificate" in tls or "proxies" in tls else [])),
        part("audit").get("megabytes", 4096),
        backend,
        part("administration").get("passwords", True),
        _addresses("tls.proxies", tls.get("proxies", [])),
    )


def _addresses(label: str, values: list[str]) -> tuple[str, ...]:
    for value in values:
        try:
            ip_address(value)
        except ValueError as error:
            raise ConfigurationError(f"{label}: {value!r} is no IP address") from error
    return tuple(values)


def _second_factor(kinds: list[str], backend: Asking | None) -> tuple[str, ...]:
    label = "enrollment.second_factor"
    for kind in kinds:
        if kind not in factors.KINDS:
            raise ConfigurationError(f"{label}: {kind!r} is none of {', '.join(factors.KINDS)}")
    if kinds == ["device"]:
        raise ConfigurationError(f"{label}: with device alone nobody enrolls a first device; add ticket or privacyidea")
    if "privacyidea" in kinds and backend is None:
        raise ConfigurationError(f"{label}: privacyidea needs the section [backend]")
    return tuple(dict.fromkeys(kinds))


def _backend(words: Mapping[str, Any]) -> Asking:
    kind, url, names = words.get("kind"), words.get("url", ""), words.get("names", "login")
    if kind != "privacyidea":
        raise ConfigurationError(f"backend.kind: {kind!r} is not privacyidea, the only one there is")
    if not re.fullmatch(r"https://[A-Za-z0-9.-]+(:\d+)?(/[A-Za-z0-9._~/-]*)?", url):
        raise ConfigurationError(f"backend.url: {url!r} is no address such as https://privacyidea.corp.example")
    if names not in ("login", "upn"):
        raise ConfigurationError(f"backend.names: {names!r} is neither login (sAMAccountName) nor upn")
    ca_file = _path(words.get("ca_file"))
    if ca_file is not None and not ca_file.is_file():
        raise ConfigurationError(f"backend.ca_file: {ca_file} is missing")
    token = _secret("backend.token_file", words["token_file"]) if "token_file" in words else ""
    return Asking(url, ca_file, words.get("realm", ""), names, token, words.get("timeout", 5))


def _check_members(document: Mapping[str, Any]) -> None:
    """Every name is known, every value of its type, and what is needed is there."""
    for section, members in document.items():
        if not isinstance(members, Mapping):
            _check_value("", section, members)
            continue
        if section not in _MEMBERS or not section:
            raise ConfigurationError(f"[{section}] is no section; there are {', '.join(filter(None, _MEMBERS))}")
        for name, value in members.items():
            if section == "sites":
                if not isinstance(value, str):
                    raise ConfigurationError(f"sites.{name}: {value!r} is no file with the site's secret")
            else:
                _check_value(section, name, value)
    for section, name in _NEEDED:
        if name not in (document.get(section, {}) if section else document):
            raise ConfigurationError(f"{_label(section, name)} is missing")


def _check_value(section: str, name: str, value: Any) -> None:
    label, known = _label(section, name), _MEMBERS[section]
    if name not in known:
        raise ConfigurationError(f"{label} is no setting; there are {', '.join(known)}")
    wanted = known[name]
    if not (isinstance(value, wanted) or (wanted is float and isinstance(value, int))) or (isinstance(value, bool) and wanted is not bool):
        raise ConfigurationError(f"{label}: {value!r} is no {wanted.__name__}")
    if isinstance(value, list) and not all(isinstance(item, str) for item in value):
        raise ConfigurationError(f"{label}: {value!r} is no list of texts")
    least, most = _NUMBERS.get((section, name), (0, 2**31))
    if isinstance(value, (int, float)) and not least <= value <= most:
        raise ConfigurationError(f"{label}: {value} is not between {least} and {most}")


def _label(section: str, name: str) -> str:
    return f"{section}.{name}" if section else name


def _sids(label: str, values: list[str]) -> frozenset[str]:
    for value in values:
        if not _SID.fullmatch(value):
            raise ConfigurationError(f"{label}: {value!r} is no SID; groups are named by SID, so that a rename changes nothing")
    return frozenset(values)


def _path(value: str | None) -> Path | None:
    return Path(value) if value else None


def _secret(label: str, file: str) -> str:
    """A secret of its own file, which others may not read."""
    path = Path(file)
    try:
        content, mode = path.read_text(encoding="utf-8").strip("\r\n"), path.stat().st_mode
    except OSError as error:
        raise ConfigurationError(f"{label}: {path}: {error.strerror}") from error
    if mode & 0o037:
        raise ConfigurationError(f"{label}: {path} can be read by others (mode {mode & 0o777:04o}); chmod 0600 {path}")
    if len(content) < 8:
        raise ConfigurationError(f"{label}: {path} holds {len(content)} characters; 8 are the least")
    return content
