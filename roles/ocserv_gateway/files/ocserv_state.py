# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has of what makes an ocserv gateway. Reads only: options and answer are JSON. Needs Python 3.10 and openssl 3.

The reading of certificates is that of role domain_controller_certificates (domain_controller_state.py), given as a module beside this.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import domain_controller_state as pki

PROGRAMS = {"ocserv": "ocserv", "occtl": "ocserv", "openssl": "openssl", "ip": "iproute2"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SERVER = "1.3.6.1.5.5.7.3.1"
CURVES = {"prime256v1": 256, "secp384r1": 384, "secp521r1": 521}


def authority(given: dict[str, Any], now: datetime) -> dict[str, Any]:
    """A trusted client CA as its certificate shows it, and why it will not do."""
    given, data = {name: value for name, value in given.items() if name != "data"}, base64.b64decode(given["data"])
    several = pki.PEM.findall(data.decode(errors="replace")) or [pki.to_pem(data)]
    first = several[0]
    found = pki.certificate(first + "\n")
    if not found:
        return given | {
            "name": given["name"] or "?",
            "problems": ["it is no certificate (PEM or DER)"],
            "pem": "",
            "subject": "",
            "crl": "",
        }
    text = pki.openssl("x509", "-noout", "-text", stdin=first)
    problems = []
    if not re.search(r"X509v3 Basic Constraints:[^\n]*\n\s+CA:TRUE", text):
        problems.append(f"{found['subject']} is not the certificate of a CA; give the certificate of the CA that issues the users'")
    if pki.until(found["not_after"], now) <= 0:
        problems.append(f"it has expired ({found['not_after']})")
    if len(several) > 1:
        problems.append("there is more than one certificate in it; give each CA an entry of its own")
    common = re.search(r"CN=((?:\\.|[^,])+)", found["subject"])
    return given | {
        "name": given["name"] or (common.group(1) if common else found["subject"]),
        "pem": found["pem"],
        "subject": found["subject"],
        "sha256": found["sha256"],
        "crl": pki.crl_name(found),
        "problems": problems,
    }


def certificate_problems(found: dict[str, Any], wanted: dict[str, Any], now: datetime) -> list[str]:
    """Why the gateway's certificate will not do, or not for long."""
    if not found:
        return ["there is none"]
    reasons = []
    days = pki.until(found["not_after"], now)
    window = min(float(wanted["renew_before"]), (days - pki.until(found["not_before"], now)) / 2)
    if days <= 0:
        reasons.append(f"it has expired ({found['not_after']})")
    elif days <= window:
        reasons.append(f"it expires in {days:.0f} days ({found['not_after']})")
    if pki.until(found["not_before"], now) > 0:
        reasons.append(f"it is not valid before {found['not_before']}")
    missing = [name for name in wanted["names"] if not named(name, found["dns_names"])]
    if missing:
        reasons.append(f"it does not name {', '.join(missing)}")
    if found["purposes"] and SERVER not in found["purposes"]:
        reasons.append(f"it lacks the purpose of a TLS server ({SERVER})")
    if not wanted["given"] and not key_fits(found["key"], wanted):
        reasons.append(f"its key is not {key_words(wanted)}")
    return reasons


def named(name: str, found: list[str]) -> bool:
    return name.lower() in found or f"*.{name.lower().partition('.')[2]}" in found


def key_words(wanted: dict[str, Any]) -> str:
    return f"RSA {wanted['key_length']}" if wanted["key_type"] == "rsa" else f"EC {wanted['curve']}"


def key_fits(public: str, wanted: dict[str, Any]) -> bool:
    shown = pki.openssl("pkey", "-pubin", "-noout", "-text", stdin=public)
    bits = re.search(r"\((\d+) bit\)", shown)
    size, rsa = int(bits.group(1)) if bits else 0, "Modulus:" in shown
    return rsa and size == int(wanted["key_length"]) if wanted["key_type"] == "rsa" else not rsa and size == CURVES[wanted["curve"]]


def judged(folder: Path, wanted: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Certificate, key and chain in a folder."""
    text = (folder / "cert.pem").read_text() if (folder / "cert.pem").exists() else ""
    first, *rest = [pki.certificate(pem) for pem in pki.PEM.findall(text)] or [{}]
    reasons = certificate_problems(first, wanted, now)
    key = pki.openssl("pkey", "-in", str(folder / "key.pem"), "-passin", "pass:", "-pubout").strip()
    if first and key != first["key"]:
        reasons.append("its key is missing" if not key else "its key is another's")
    if wanted["given"] and first and (folder / "given").exists() and (folder / "given").read_text().strip() != wanted["given"]:
        reasons.append("another one is given")
    shown = {name: value for name, value in first.items() if name not in ("pem", "key")}
    return {"certificate": shown, "issuers": [one["sha256"] for one in rest if one], "problems": reasons}


def request_fits(folder: Path, wanted: dict[str, Any]) -> bool:
    """Whether a request that was begun is still what is asked for, and its key there."""
    shown = pki.openssl("req", "-in", str(folder / "request.pem"), "-noout", "-text", "-subject", "-nameopt", "RFC2253", "-pubkey")
    names = re.findall(r"DNS:([^,\s]+)", pki.extension(shown, "Subject Alternative Name"))
    key = pki.openssl("pkey", "-in", str(folder / "key.pem"), "-passin", "pass:", "-pubout").strip()
    asked = folder / "asked"
    same = asked.exists() and asked.read_text() == hashlib.sha256(wanted["subject"].encode()).hexdigest()
    return bool(key) and key in shown and names == wanted["names"] and key_fits(key, wanted) and same


def key_private(path: Path) -> bool:
    """Whether a key is root's alone. One that is not there needs nothing done to it."""
    if not path.exists():
        return True
    found = path.stat()
    return found.st_uid == 0 and not found.st_mode & 0o077


def text_of(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def digest_of(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""


def runs(*names: str) -> bool:
    return any(text_of(str(path)).strip() in names for path in Path("/proc").glob("[0-9]*/comm"))


def read(options: dict[str, Any]) -> dict[str, Any]:
    now, folder = datetime.now(timezone.utc), Path(options["folder"])
    missing = sorted({package for program, package in PROGRAMS.items() if not shutil.which(program, path=PATH)})
    here: dict[str, Any] = {
        "missing": missing,
        "systemd": Path("/run/systemd/system").is_dir(),
        "cron": runs("cron", "crond"),
        "forwarding": text_of("/proc/sys/net/ipv4/ip_forward").strip() == "1",
        "tun": Path("/dev/net/tun").exists(),
        "differing": [path for path, digest in options["files"].items() if digest_of(path) != digest]
        + [
            path
            for path, mode in options["folders"].items()
            if not Path(path).is_dir() or Path(path).stat().st_mode & 0o7777 != int(mode, 8)
        ],
        "groups": sorted(str(path) for path in (folder / "groups").glob("*")),
        "radius": (folder / "radius").is_dir(),
        "settings": text_of(f"{folder}/gateway.json"),
    }
    if "openssl" in missing:
        return here
    wanted = options["certificate"]
    cas = [authority(given, now) for given in options["authorities"]]
    current = judged(folder / "current", wanted, now)
    issuer = current["issuers"][0] if current["issuers"] else ""
    return here | {
        "authorities": cas,
        "current": current | {"key_private": key_private(folder / "current/key.pem")},
        "next": judged(folder / "next", wanted, now) | {"request_fits": request_fits(folder / "next", wanted)},
        "issued_here_too": [one["name"] for one in cas if one.get("sha256") == issuer or signed_by_it(folder / "current/cert.pem", one)],
    }


def signed_by_it(path: Path, ca: dict[str, Any]) -> bool:
    """Whether a CA that users' certificates come from has issued the gateway's own as well: evidence that it is not for users alone."""
    return bool(path.exists() and ca.get("sha256") and pki.signed_by(path.read_text(), ca["pem"]))


if __name__ == "__main__":
    json.dump(read(json.load(sys.stdin)), sys.stdout)
