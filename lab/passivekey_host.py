# SPDX-License-Identifier: GPL-3.0-or-later
"""The host of `up --with passivekey`: pk1, a Debian that Ansible makes the PassiveKey server, and what its administrator has ready for
that: a service account with its keytab, a certificate, and secrets of the gateways. And a web site on it that nginx is to protect."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lab import company, processes, settings, ssh
from lab.errors import LabError
from lab.processes import Process
from lab.progress import Progress

PK1 = settings.HOSTS["pk1"]
NAME = f"passivekey.{settings.DNS_DOMAIN}"
SITES = (f"intranet.{settings.DNS_DOMAIN}", f"wiki.{settings.DNS_DOMAIN}")
SITE_PORT = 8080
GATEWAYS = ("gw1", "vpn1", "control")
ACCOUNT = "svc-passivekey"
GUEST = Path(__file__).resolve().parent / "guest"
# Names as subjectAltName has them; certificate with its chain, and key, to standard output.
CERTIFICATE = """\
set -eu
umask 077
cd "$(mktemp -d)"
openssl req -x509 -newkey rsa:2048 -noenc -quiet -keyout key -out certificate -subj "/CN=$1" -days 825 \\
    -CA /srv/files/issuing-ca.pem -CAkey /srv/files/issuing-ca.key -addext basicConstraints=critical,CA:false \\
    -addext keyUsage=critical,digitalSignature,keyEncipherment -addext extendedKeyUsage=serverAuth \\
    -addext subjectKeyIdentifier=hash -addext authorityKeyIdentifier=keyid -addext "subjectAltName=$2"
cat certificate /srv/files/issuing-ca.pem
echo -- key
cat key
rm -r "$PWD"
"""


def start(progress: Progress, boot: Callable[[], Process], dc1: Process, folder: Path) -> Process:
    """`folder`: the lab's; in it `passivekey` gets what the administrator has ready (mode 0700)."""
    with progress.step("pk1: SSH for Ansible, a web site, and the server's account in the domain"):
        host = boot()
        ssh.prepare(host, PK1, folder / "ssh-pk1")
        ssh.start(host, folder / "logs/pk1-ssh.log")
        processes.daemon(host, ["python3", "-c", (GUEST / "site.py").read_text(), str(SITE_PORT)], folder / "logs/pk1-site.log")
        make_ready(host, dc1, folder / "passivekey")
    return host


def make_ready(host: Process, dc1: Process, folder: Path) -> None:
    folder.mkdir(mode=0o700)
    account = {"name": ACCOUNT, "password": company.new_password(), "spn": f"HTTP/{NAME}"}
    script = (GUEST / "service_account.py").read_text()
    made = json.loads(output(dc1, ["python3", "-c", script], json.dumps(account)))
    keep(folder / "http.keytab", base64.b64decode(made["keytab"]))
    names = ",".join(f"DNS:{name}" for name in (NAME, *SITES))
    chain, _, key = output(host, ["sh", "-c", CERTIFICATE, "sh", NAME, names]).partition("-- key\n")
    keep(folder / "server.pem", chain.encode())
    keep(folder / "server.key", key.encode())
    known = {
        "username": f"{ACCOUNT}@{settings.DNS_DOMAIN}",
        "password": account["password"],
        "domain_sid": made["domain_sid"],
        "radius_secrets": {name: secrets.token_hex(24) for name in GATEWAYS},
    }
    keep(folder / "known.json", json.dumps(known).encode())


def output(host: Process, command: Sequence[str], stdin: str = "") -> str:
    """What a command on a host prints; it holds secrets, so no log gets it."""
    done = subprocess.run(processes.entering(host, command), input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"pk1: {command[0]} ended with code {done.returncode}: {done.stderr.strip()[-1000:]}")
    return done.stdout


def keep(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


def status(folder: Path) -> dict[str, Any]:
    """What is known of pk1: the connection, and what the administrator has ready. `folder`: the lab's."""
    own = folder / "passivekey"
    files = {"keytab": own / "http.keytab", "certificate": own / "server.pem", "key": own / "server.key"}
    known: dict[str, Any] = json.loads((own / "known.json").read_text())
    return ssh.files(folder / "ssh-pk1") | {"passivekey": known | {"folder": str(own)} | {name: str(path) for name, path in files.items()}}
