# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the CRL files of a Samba KDC fresh: fetch, verify, replace by rename; never replace a good one by a worse one.

certlogon-crl [--check] [CONFIGURATION]       default /etc/samba/certlogon/crl.json; --check fetches and judges, and writes nothing

The KDC reads one CRL a file (of several in one, only the last counts) and takes a new one at the next logon, if the file's time in
whole seconds changed. It cannot start PKINIT when a file is missing, and refuses every certificate of a CA whose CRL has expired when
it reads it.

The configuration: {"folder": where the files are, "authorities": [{"subject", "pem", "crl": file name}], "sources": [URL, ...],
"certificates": [PEM file, ...], "warn_hours": 24 (at most a quarter of a CRL's time), "smb_conf": "/etc/samba/smb.conf"}. CRLs are
sought at `sources` (http, https, file, ldap), at the distribution points that the certificates name, and, given `smb_conf`, among those
in this domain's directory; whichever is signed by an authority of the list, is no delta, is in force and newest is that authority's.

Exit codes: 0 all files are good; 1 one could not be refreshed and ends soon; 2 one is missing or has expired, PKINIT fails or will
at the next start of samba; 3 wrong configuration. The last line of standard output says what was done, as JSON.

Role ocserv_gateway uses the parts of this file for the CRLs of an SSL VPN (certlogon_gateway.py).
"""

from __future__ import annotations

import argparse
import fcntl
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import IO, Any

LIMIT = 64 << 20  # bytes of a CRL
TIMEOUT = 20  # seconds without a byte
DEADLINE = 300  # seconds for the whole of it: whoever sends a byte now and then must not keep everything else from being done
PATIENCE = 60  # seconds for openssl to read one of them
PARTS = 100  # CRLs in one file
CONFIGURATION = "/etc/samba/certlogon/crl.json"
PROGRAM = "certlogon-crl"  # what messages begin with
PEM_CRL = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----\s?", re.DOTALL)
Crl = dict[str, Any]


def shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def log(message: str) -> None:
    print(f"{PROGRAM}: {message}", file=sys.stderr)


def openssl(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
    try:
        done = subprocess.run(["openssl", *arguments], input=stdin, capture_output=True, check=False, timeout=PATIENCE)
    except FileNotFoundError:
        raise SystemExit(f"{PROGRAM}: the program openssl is missing; install the package openssl") from None
    except subprocess.TimeoutExpired:
        raise OSError(f"openssl was not done with it after {PATIENCE} s") from None
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


def openssl_crl(data: bytes, *arguments: str) -> tuple[int, str, str]:
    """From a file: openssl reads PEM from its standard input byte by byte, far too slow for CRLs of many megabytes."""
    with tempfile.NamedTemporaryFile() as given:
        given.write(data)
        given.flush()
        return openssl("crl", "-in", given.name, *arguments)


# ---- a CRL


def read(data: bytes) -> Crl | None:
    """What a CRL (PEM or DER) says of itself; None if it is none. Of several in PEM only the first counts: see `split`."""
    code, pem = openssl_crl(data, "-inform", "PEM" if b"-----BEGIN" in data else "DER")[:2]
    if code:
        return None
    code, text = openssl_crl(
        pem.encode(), "-noout", "-issuer", "-nameopt", "RFC2253", "-lastupdate", "-nextupdate", "-dateopt", "iso_8601", "-text"
    )[:2]
    this = re.search(r"^lastUpdate=(.+)$", text, re.MULTILINE)
    if code or not this:
        return None
    following = re.search(r"^nextUpdate=(.+)$", text, re.MULTILINE)
    number = re.search(r"X509v3 CRL Number:[^\n]*\n\s+(?:0x)?([0-9A-Fa-f]+)", text)
    extensions = text.partition("CRL extensions:")[2].partition("Revoked Certificates:")[0].partition("Signature Algorithm:")[0]
    return {
        "pem": pem,
        "issuer": re.search(r"^issuer=(.*)$", text, re.MULTILINE).group(1),  # type: ignore[union-attr]
        "this_update": date(this.group(1)),
        "next_update": date(following.group(1)) if following and following.group(1) != "NONE" else None,
        "number": int(number.group(1), 16 if "0x" in number.group(0) else 10) if number else -1,
        "critical": re.findall(r"^\s+([^\n]+?): critical\s*$", extensions, re.MULTILINE),
        "revoked": len(re.findall(r"^\s+Serial Number: ", text, re.MULTILINE)),
    }


def date(text: str) -> datetime:
    return datetime.fromisoformat(text.strip().replace(" ", "T").replace("Z", "+00:00"))


def split(data: bytes) -> list[bytes]:
    return PEM_CRL.findall(data)[:PARTS] or [data]


def verified(crl: Crl, authority: str) -> bool:
    """Whether this authority signed it."""
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as anchor:
        anchor.write(authority)
        anchor.flush()
        code, out, err = openssl_crl(crl["pem"].encode(), "-noout", "-verify", "-no-CApath", "-no-CAstore", "-CAfile", anchor.name)
    return code == 0 and "verify OK" in out + err


def objection(crl: Crl, now: datetime) -> str:
    """Why nobody should go by it, a KDC or a VPN gateway; empty if one can."""
    if any("Delta" in name for name in crl["critical"]):
        return "it is a delta CRL; the base CRL is needed"
    if crl["critical"]:
        return f"it has the critical extension {', '.join(crl['critical'])}, so it may be a part only, and a KDC refuses everybody for it"
    if crl["next_update"] is None:
        return "it has no end of validity (nextUpdate)"
    if crl["this_update"] > now:
        return f"it is not valid before {shown(crl['this_update'])}; is a clock wrong?"
    if crl["next_update"] <= now:
        return f"it expired at {shown(crl['next_update'])}"
    return ""


def age(crl: Crl) -> tuple[datetime, int]:
    return crl["this_update"], crl["number"]


# ---- where they come from


def distribution_points(text: str) -> list[str]:
    """The URLs of the distribution points of certificates in PEM."""
    found = []
    for pem in re.findall(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", text, re.DOTALL):
        shown = openssl("x509", "-noout", "-ext", "crlDistributionPoints", stdin=pem.encode())[1]
        found += re.findall(r"URI:(\S+)", shown)
    return found


def fetch(url: str) -> bytes:
    if url.startswith("file:"):
        with Path(urllib.request.url2pathname(urllib.parse.urlsplit(url).path)).open("rb") as file:
            data = file.read(LIMIT + 1)
        if len(data) > LIMIT:
            raise OSError("the file is too long for a CRL")
        return data
    data, end = b"", time.monotonic() + DEADLINE
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:  # schemes are chosen by `candidates`
        while len(data) <= LIMIT and (part := answer.read1(1 << 20)):
            data += part
            if time.monotonic() > end:
                raise OSError(f"the answer was not complete after {DEADLINE} s")
    if len(data) > LIMIT:
        raise OSError("the answer is too long for a CRL")
    if getattr(answer, "length", None):
        raise OSError("the answer ended too early")
    return data


def from_directory(smb_conf: str) -> list[tuple[str, bytes]]:
    """The base CRLs that CAs published in the directory of which this host has a copy."""
    import ldb
    from samba.auth import system_session
    from samba.param import LoadParm
    from samba.samdb import SamDB

    parameters = LoadParm()
    parameters.load(smb_conf)
    database = SamDB(url=parameters.private_path("sam.ldb"), session_info=system_session(), lp=parameters)
    base = f"CN=CDP,CN=Public Key Services,CN=Services,{database.get_config_basedn()}"
    entries = database.search(base, ldb.SCOPE_SUBTREE, "(certificateRevocationList=*)", ["certificateRevocationList"])
    return [
        (f"ldap:///{entry.dn}", bytes(value)) for entry in entries for value in entry["certificateRevocationList"] if len(bytes(value)) > 1
    ]


def candidates(settings: dict[str, Any]) -> list[tuple[str, bytes]]:
    """Everything that could be a CRL, with where it is from. What cannot be fetched is logged; another place may have it."""
    texts = [one["pem"] for one in settings["authorities"]]
    texts += [Path(path).read_text(errors="replace") for path in settings.get("certificates", []) if Path(path).exists()]
    urls = [*settings.get("sources", []), *(url for text in texts for url in distribution_points(text))]
    found: list[tuple[str, bytes]] = []
    for url in dict.fromkeys(urls):
        if url.lower().startswith(("http://", "https://", "file:")):
            try:
                found += [(url, part) for part in split(fetch(url))]
            except (OSError, ValueError, http.client.HTTPException) as error:
                log(f"{url}: {error or type(error).__name__}")
        elif not url.lower().startswith("ldap:///"):
            log(f"{url}: only http, https, file and the domain's own directory (ldap:///) are supported")
    try:
        found += from_directory(settings["smb_conf"]) if settings.get("smb_conf") else []
    except Exception as error:  # whatever ails Samba's library: CRLs over HTTP must come in all the same
        log(f"the directory cannot be read: {error}")
    return found


def fetched(settings: dict[str, Any]) -> list[tuple[str, Crl]]:
    """What of that is a CRL. What is none, or takes too long to read, is logged."""
    found = []
    for url, data in candidates(settings):
        try:
            crl = read(data)
        except OSError as error:
            log(f"{url}: {error}")
            continue
        if crl is None:
            log(f"{url}: what is there is not a CRL")
        else:
            found.append((url, crl))
    return found


# ---- the files


def own(path: Path) -> IO[str]:
    """A file to lock that nobody else can open: who can read a file can lock it, and keep new CRLs out by that."""
    file = open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600))  # noqa: SIM115
    os.fchmod(file.fileno(), 0o600)
    return file


def place(folder: Path, name: str, pem: str) -> None:
    """Put a CRL in place by rename, with a time that the KDC sees as another one."""
    target = folder / name
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(pem)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        now = datetime.now().timestamp()
        if target.exists():
            now = max(now, int(target.stat().st_mtime) + 1)
        os.utime(temporary, (now, now))
        Path(temporary).rename(target)
    except BaseException:
        Path(temporary).unlink()
        raise


def refresh(authority: dict[str, Any], found: list[tuple[str, Crl]], folder: Path, now: datetime, write: bool) -> dict[str, Any]:
    """Take the newest usable CRL of one authority if it is newer than the one in place."""
    path = folder / authority["crl"]
    present = read(path.read_bytes()) if path.exists() else None
    if present is not None and (not verified(present, authority["pem"]) or objection(present, now)):
        usable, present_objection = None, objection(present, now) or "it is not signed by this authority"
    else:
        usable, present_objection = present, "missing" if present is None else ""
    best, origin = usable, ""
    for url, crl in found:
        if best is not None and age(crl) <= age(best):
            continue
        if not verified(crl, authority["pem"]):
            continue
        problem = objection(crl, now)
        if problem:
            log(f"{url}: {problem}")
            continue
        best, origin = crl, url
    changed = best is not None and best is not usable
    result = {"issuer": authority["subject"], "path": str(path), "changed": changed, "problem": ""}
    if best is None:
        return result | {"problem": present_objection}
    if changed and write:
        place(folder, authority["crl"], best["pem"])
    if changed:
        done = "written" if write else "would be written"
        log(f"{path}: {done}, from {origin}, {best['revoked']} revoked, until {shown(best['next_update'])}")
    ends = {"next_update": best["next_update"].isoformat(), "lifetime": (best["next_update"] - best["this_update"]).total_seconds()}
    return result | ends | {"revoked": best["revoked"]}


def run(settings: dict[str, Any], write: bool) -> tuple[int, list[dict[str, Any]]]:
    folder, now = Path(settings["folder"]), datetime.now(timezone.utc)
    found = fetched(settings)
    results = [refresh(authority, found, folder, now, write) for authority in settings["authorities"]]
    code, warning = 0, timedelta(hours=settings.get("warn_hours", 24))
    for result in results:
        if result["problem"]:
            log(
                f"no usable CRL of {result['issuer']} ({result['problem']}): its cards cannot log on, at the latest once samba is restarted"
            )
            code = 2
        elif datetime.fromisoformat(result["next_update"]) - now <= min(warning, timedelta(seconds=result["lifetime"] / 4)):
            log(f"the CRL of {result['issuer']} ends at {result['next_update']} and no newer one was found")
            code = max(code, 1)
    return code, results


def main() -> int:
    parser = argparse.ArgumentParser(description="Keep the CRL files of a Samba KDC fresh.")
    parser.add_argument("--check", action="store_true", help="fetch and judge, write nothing")
    parser.add_argument("configuration", nargs="?", default=CONFIGURATION, help="file, or - for standard input")
    arguments = parser.parse_args()
    given = arguments.configuration
    try:
        settings = json.loads(sys.stdin.read() if given == "-" else Path(given).read_text())
        folder = Path(settings["folder"])
        assert isinstance(settings["authorities"], list)
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        log(f"{given}: {error!r}")
        return 3
    try:
        if arguments.check:
            code, results = run(settings, write=False)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            with own(folder / ".lock") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                code, results = run(settings, write=True)
    except OSError as error:  # such as a full disk: the files in place are untouched
        log(f"{folder}: {error}")
        return 2
    print(json.dumps({"code": code, "changed": any(result["changed"] for result in results), "crls": results}))
    return code


if __name__ == "__main__":
    sys.exit(main())
