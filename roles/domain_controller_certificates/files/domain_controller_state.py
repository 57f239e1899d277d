# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Samba domain controller has of certificates, and what it shows to others. Reads only, prints JSON.

python3 - '{"read": {...}}' < this file     on the domain controller, as root
python3 THIS - < {"probe": {...}}           anywhere: its LDAPS as a client sees it

Needs Python 3.9 and openssl 3, and to read a domain controller Samba's Python package, which each has.
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

KDC_PURPOSE = "1.3.6.1.5.2.3.5"
PURPOSES = {"Signing KDC Response": KDC_PURPOSE, "TLS Web Server Authentication": "1.3.6.1.5.5.7.3.1"}
SERVICES = "CN=Public Key Services,CN=Services,"
PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
KDC_SETTING = re.compile(r"^\s*(enable[-_]pkinit|pkinit_\w+)\s*=", re.IGNORECASE)


def openssl(*arguments: str, stdin: str | bytes = b"") -> str:
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(["openssl", *arguments], input=data, capture_output=True, check=False)
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""


def to_pem(der: bytes) -> str:
    text = base64.b64encode(der).decode()
    return "\n".join(["-----BEGIN CERTIFICATE-----", *(text[i : i + 64] for i in range(0, len(text), 64)), "-----END CERTIFICATE-----"])


# ---- certificates


def certificate(pem: str) -> dict[str, Any]:
    """Names, dates, purposes and key of a certificate; empty if it is none. Dates in UTC, ISO 8601."""
    shown = openssl(
        *("x509", "-noout", "-subject", "-issuer", "-serial", "-startdate", "-enddate", "-dateopt", "iso_8601", "-nameopt", "RFC2253"),
        *("-fingerprint", "-sha256", "-ext", "subjectAltName,extendedKeyUsage"),
        stdin=pem,
    )
    if not shown:
        return {}
    values = dict(line.split("=", 1) for line in shown.splitlines() if re.match(r"[A-Za-z0-9 ]+=", line))
    key = openssl("x509", "-noout", "-pubkey", stdin=pem)
    described = openssl("pkey", "-pubin", "-noout", "-text", stdin=key)
    bits = re.search(r"\((\d+) bit\)", described)
    return {
        "subject": values["subject"],
        "issuer": values["issuer"],
        "serial": values["serial"],
        "sha256": values["sha256 Fingerprint"].replace(":", "").lower(),
        "not_before": iso(values["notBefore"]),
        "not_after": iso(values["notAfter"]),
        "dns_names": sorted(name.lower() for name in re.findall(r"DNS:([^,\s]+)", extension(shown, "Subject Alternative Name"))),
        "purposes": sorted(PURPOSES.get(name, name) for name in listed(extension(shown, "Extended Key Usage"))),
        "key": key.strip(),
        "key_type": "rsa" if "Modulus:" in described else "other",
        "key_size": int(bits.group(1)) if bits else 0,
        "pem": pem.strip() + "\n",
    }


def extension(shown: str, name: str) -> str:
    found = re.search(rf"X509v3 {name}:[^\n]*\n\s+([^\n]*)", shown)
    return found.group(1) if found else ""


def listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def iso(text: str) -> str:
    return text.strip().replace(" ", "T")


def until(text: str, now: datetime) -> float:
    """Days from now to a date."""
    return (datetime.fromisoformat(text.replace("Z", "+00:00")) - now).total_seconds() / 86400


def chain(leaf: dict[str, Any], pool: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The certificates above one, from its issuer on to the root as far as they are known, each link verified by its signature."""
    found, current = [], leaf
    while current["issuer"] != current["subject"] and len(found) < 8:
        issuers = [other for other in pool if other["subject"] == current["issuer"] and signed_by(current["pem"], other["pem"])]
        if not issuers:
            break
        current = max(issuers, key=lambda other: str(other["not_after"]))
        found.append(current)
    return found


def signed_by(pem: str, issuer: str) -> bool:
    """Whether the signature is the issuer's, whatever the dates say."""
    with Memory(issuer) as anchor:
        return "OK" in openssl("verify", "-partial_chain", "-no_check_time", "-no-CApath", "-no-CAstore", "-CAfile", anchor, stdin=pem)


class Memory:
    """A text as a file that is nowhere on a disk."""

    def __init__(self, text: str) -> None:
        self.handle = os.memfd_create("certificate")
        os.write(self.handle, text.encode())

    def __enter__(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self.handle}"

    def __exit__(self, *_: object) -> None:
        os.close(self.handle)


def problems(found: dict[str, Any], wanted: dict[str, Any], trusted: set[str], above: list[dict[str, Any]], now: datetime) -> list[str]:
    """Why a certificate will not do, or not for long; nothing if it will."""
    if not found:
        return ["there is none"]
    reasons = []
    days = until(found["not_after"], now)
    window = min(float(wanted["renew_before"]), (days - until(found["not_before"], now)) / 2)
    if days <= 0:
        reasons.append(f"it has expired ({found['not_after']})")
    elif days <= window:
        reasons.append(f"it expires in {days:.0f} days ({found['not_after']})")
    if until(found["not_before"], now) > 0:
        reasons.append(f"it is not valid before {found['not_before']}")
    missing = [name for name in wanted["dns_names"] if name.lower() not in found["dns_names"]]
    if missing:
        reasons.append(f"it does not name {', '.join(missing)}")
    if KDC_PURPOSE not in found["purposes"]:
        reasons.append(f"it lacks the purpose of a KDC ({KDC_PURPOSE})")
    if not above:
        reasons.append(f"its issuer ({found['issuer']}) is not known in this domain")
    elif above[0]["sha256"] not in trusted:
        reasons.append(f"its issuer ({found['issuer']}) is not in the NTAuth store")
    if found["key_type"] != "rsa" or found["key_size"] < wanted["key_size"]:
        reasons.append(f"its key is {found['key_type']} {found['key_size']}, asked is rsa {wanted['key_size']}")
    return reasons


# ---- this host


def directory(smb_conf: str) -> tuple[dict[str, Any], Any]:
    from samba.auth import system_session  # only where there is a domain controller
    from samba.param import LoadParm
    from samba.samdb import SamDB

    parameters = LoadParm()
    parameters.load(smb_conf)
    if parameters.get("server role") != "active directory domain controller":
        raise SystemExit(f"{smb_conf}: server role is {parameters.get('server role')!r}; this host is not a Samba domain controller")
    database = SamDB(url=parameters.private_path("sam.ldb"), session_info=system_session(), lp=parameters)
    name = parameters.get("netbios name")
    host = {
        "account": f"{name}$",
        "fqdn": f"{name}.{parameters.get('realm')}".lower(),
        "domain": parameters.get("realm").lower(),
        "realm": parameters.get("realm"),
        "netbios_domain": parameters.get("workgroup"),
        "keytab": parameters.private_path("secrets.keytab"),
        "tls": {
            "tls enabled": "yes" if parameters.get("tls enabled") else "no",
            **{option: parameters.get(option) or "" for option in ("tls certfile", "tls keyfile", "tls cafile")},
        },
    }
    return host, database


def authorities(database: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The certificates of NTAuth, and all CA certificates that the directory knows, both without those that have expired."""
    import ldb

    base = SERVICES + str(database.get_config_basedn())
    stores: dict[bool, dict[str, dict[str, Any]]] = {True: {}, False: {}}
    for entry in database.search(base, ldb.SCOPE_SUBTREE, "(cACertificate=*)", ["cACertificate", "cn"]):
        trusted = str(entry["cn"]).lower() == "ntauthcertificates"
        for value in entry["cACertificate"]:
            found = certificate(to_pem(bytes(value))) if len(bytes(value)) > 1 else {}
            if found and until(found["not_after"], datetime.now(timezone.utc)) > 0:
                stores[trusted][found["sha256"]] = found
    trusted_ones = sorted(stores[True].values(), key=lambda one: str(one["sha256"]))
    return trusted_ones, list({**stores[True], **stores[False]}.values())


def foreign_settings(text: str, marker: str) -> list[str]:
    """PKINIT settings in [kdc] that are not between our marks: the KDC would take the first it finds."""
    section, ours, found = "", False, []
    for line in text.splitlines():
        heading = re.match(r"^\[(\w+)\]", line.strip())
        if marker in line:
            ours = "BEGIN" in line
        elif heading:
            section = heading.group(1)
        elif section == "kdc" and not ours and KDC_SETTING.match(line):
            found.append(line.strip())
    return found


def samba() -> Path | None:
    """The folder in /proc of samba's first process; None if it does not run."""
    try:
        found = Path(f"/proc/{int(Path('/run/samba/samba.pid').read_text())}")
    except (OSError, ValueError):
        return None
    return found if found.is_dir() else None


def configuration_of(process: Path, default: str) -> str:
    """The Kerberos configuration that samba was started with."""
    for setting in (process / "environ").read_bytes().split(b"\0"):
        name, *value = setting.decode(errors="replace").split("=", 1)
        if name == "KRB5_CONFIG" and any(value):
            return value[0]
    return default


def started(process: Path) -> float | None:
    """When samba was started, as seconds since 1970."""
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    boot = re.search(r"^btime (\d+)$", Path("/proc/stat").read_text(), re.MULTILINE)
    return int(boot.group(1)) + int(fields[19]) / os.sysconf("SC_CLK_TCK") if boot else None


def changed_since(moment: float, paths: list[str]) -> list[str]:
    """Which of the files were put in place later; the start of samba is known to about a second."""
    found = []
    for path in paths:
        try:
            if os.lstat(path).st_ctime > moment + 1.5:
                found.append(path)
        except FileNotFoundError:
            pass
    return found


def ambiguous(cas: list[dict[str, Any]]) -> list[str]:
    """The names that CAs with different keys share: Samba's KDC knows a CRL by its issuer's name and mistakes one for the other."""
    keys: dict[str, set[str]] = {}
    for one in cas:
        keys.setdefault(one["subject"], set()).add(one["key"])
    return sorted(name for name, found in keys.items() if len(found) > 1)


def crls(folder: Path, wanted: list[dict[str, Any]], now: datetime) -> list[dict[str, Any]]:
    """The CRL file of each authority: its path, the end of its validity, what is wrong with it."""
    result = []
    for one in wanted:
        path = folder / crl_name(one)
        shown = openssl("crl", "-in", str(path), "-noout", "-nextupdate", "-dateopt", "iso_8601") if path.exists() else ""
        ends = iso(shown.partition("=")[2]) if shown else ""
        problem = "missing" if not path.exists() else "unreadable" if not ends else "expired" if until(ends, now) <= 0 else ""
        result.append({"issuer": one["subject"], "path": str(path), "next_update": ends, "problem": problem})
    return result


def crl_name(one: dict[str, Any]) -> str:
    common = re.search(r"CN=([^,]+)", str(one["subject"]))
    words = re.sub(r"[^A-Za-z0-9]+", "-", common.group(1) if common else "ca").strip("-").lower()
    return f"{words}-{str(one['sha256'])[:8]}.crl.pem"


def read(options: dict[str, Any]) -> dict[str, Any]:
    now = datetime.now(timezone.utc)
    folder, krb5_conf = Path(options["folder"]), Path(os.path.realpath(options["krb5_conf"]))
    host, database = directory(options["smb_conf"])
    ntauth, known = authorities(database)
    trusted = {one["sha256"] for one in ntauth}
    wanted = {
        "dns_names": options["dns_names"] or [host["fqdn"], host["domain"]],
        "renew_before": options["renew_before"],
        "key_size": options["key_size"],
    }

    def judged(path: Path) -> dict[str, Any]:
        """The certificate, key and chain in a folder, and why they will not do."""
        text = (path / "cert.pem").read_text() if (path / "cert.pem").exists() else ""
        first, *rest = [certificate(pem) for pem in PEM.findall(text)] or [{}]
        above = chain(first, known + [one for one in rest if one]) if first else []
        reasons = problems(first, wanted, trusted, above, now)
        key = openssl("pkey", "-in", str(path / "key.pem"), "-passin", "pass:", "-pubout").strip()
        if first and key != first["key"]:
            reasons.append("its key is missing" if not key else "its key is another's")
        shown = {name: value for name, value in first.items() if name not in ("pem", "key")}
        return {"certificate": shown, "chain": [one["pem"] for one in above], "problems": reasons}

    anchors = ntauth
    superiors = {above["sha256"]: above for one in anchors for above in chain(one, known)}
    cas = anchors + [one for name, one in sorted(superiors.items()) if name not in trusted]
    current, following = judged(folder / "current"), judged(folder / "next")
    process = samba()
    moment = started(process) if process else None
    text = krb5_conf.read_text() if krb5_conf.exists() else ""
    audited = {"audit": audit(text, options["smb_conf"])} if options.get("audit") else {}
    watched = [str(folder / "current"), str(folder / "anchors.pem"), str(krb5_conf), options["smb_conf"]]
    return {
        "host": {**host, "system_name": socket.getfqdn().lower()},
        "dns_names": wanted["dns_names"],
        "anchors": [{name: one[name] for name in ("subject", "sha256", "not_after", "pem")} for one in anchors],
        "authorities": [{"subject": one["subject"], "pem": one["pem"], "crl": crl_name(one)} for one in cas],
        "ambiguous": ambiguous(cas),
        "current": current,
        "next": {**following, "request_fits": request_fits(folder / "next", wanted)},
        "krb5_conf": str(krb5_conf),
        "foreign_settings": foreign_settings(text, options["marker"]),
        "crls": crls(Path(options["crl_folder"]), cas, now),
        "systemd": Path("/run/systemd/system").is_dir(),
        "running": process is not None,
        "reads_krb5_conf": configuration_of(process, "/etc/krb5.conf") if process else "",
        "stale": changed_since(moment, watched) if moment is not None else [],
        **audited,
    }


def audit(krb5_conf: str, smb_conf: str) -> dict[str, Any]:
    """What an audit wants to know besides: the KDC's settings as they are, whom they make it believe, and how it maps certificates."""
    import samba
    from samba.param import LoadParm

    parameters = LoadParm()
    parameters.load(smb_conf)
    settings = kdc_settings(krb5_conf)
    return {
        "now": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "version": samba.version,
        "kdc": settings,
        # fingerprints; None where the setting names what is no file of certificates
        "believed": believed(settings.get("pkinit_anchors", "")),
        # None: this version of Samba does not know the setting
        "settings": {
            name: parameters.get(name)
            for name in (
                "strong certificate binding enforcement",
                "certificate backdating compensation",
                "ldap server require strong auth",
            )
        },
    }


def kdc_settings(text: str) -> dict[str, str]:
    """What the section [kdc] says; the KDC takes the first of several."""
    section, found = "", dict[str, str]()
    for line in text.splitlines():
        heading = re.match(r"^\[(\w+)\]", line.strip())
        if heading:
            section = heading.group(1)
        elif section == "kdc" and "=" in line and not line.strip().startswith(("#", ";")):
            name, _equals, value = line.partition("=")
            found.setdefault(name.strip().replace("-", "_").lower(), value.strip())
    return found


def believed(anchors: str) -> list[str] | None:
    if not anchors.startswith("FILE:"):
        return None
    try:
        text = Path(anchors[len("FILE:") :]).read_text()
    except (OSError, ValueError):
        return None
    return sorted(found["sha256"] for found in map(certificate, PEM.findall(text)) if found)


def request_fits(folder: Path, wanted: dict[str, Any]) -> bool:
    """Whether a request that was begun is still what is asked for, and its key there."""
    shown = openssl("req", "-in", str(folder / "request.pem"), "-noout", "-text", "-pubkey")
    names = re.findall(r"DNS:([^,\s]+)", extension(shown, "Subject Alternative Name"))
    bits = re.search(r"\((\d+) bit\)", shown)
    key = openssl("pkey", "-in", str(folder / "key.pem"), "-passin", "pass:", "-pubout").strip()
    return bool(key) and key in shown and names == wanted["dns_names"] and bits is not None and int(bits.group(1)) == wanted["key_size"]


# ---- from outside


def probe(options: dict[str, Any]) -> dict[str, Any]:
    """What LDAPS shows, and why a client that believes in the NTAuth store would not take it for this domain's KDC."""
    now = datetime.now(timezone.utc)
    command = ["openssl", "s_client", "-connect", f"{options['host']}:{options['port']}", "-servername", options["name"], "-showcerts"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=options["timeout"])
    except subprocess.TimeoutExpired:
        return {"certificate": {}, "problems": [f"LDAPS at {options['host']}:{options['port']} does not answer"]}
    shown = [one for one in map(certificate, PEM.findall(done.stdout)) if one]
    if not shown:
        lines = (done.stderr or done.stdout).strip().splitlines()
        return {"certificate": {}, "problems": [f"no TLS handshake at {options['host']}:{options['port']}: {lines[0] if lines else ''}"]}
    trusted = [one for one in map(certificate, options["ntauth"]) if one]
    wanted = {"dns_names": options["dns_names"], "renew_before": 0, "key_size": 2048}
    leaf = shown[0]
    reasons = problems(leaf, wanted, {one["sha256"] for one in trusted}, chain(leaf, trusted + shown[1:]), now)
    result = {name: leaf[name] for name in ("subject", "issuer", "serial", "not_after", "dns_names", "purposes", "sha256")}
    return {"certificate": result, "days_left": int(until(leaf["not_after"], now)), "problems": reasons}


if __name__ == "__main__":
    asked = json.loads(sys.stdin.read() if sys.argv[1] == "-" else sys.argv[1])
    json.dump(read(asked["read"]) if "read" in asked else probe(asked["probe"]), sys.stdout)
