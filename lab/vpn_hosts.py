# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of `up --with vpn`: vpn1 (an appliance, played by `lab.connect_secure`), gw1 (a Debian that Ansible makes an ocserv gateway),
client1 (a user's computer) and inner1 (an HTTP server behind the gateways)."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab import company, processes, settings, ssh
from lab.errors import LabError
from lab.processes import Process
from lab.progress import Progress

VPN1, GW1, CLIENT1, INNER1 = (settings.HOSTS[name] for name in settings.VPN_HOSTS)
HTTPS_PORT, INNER_PORT = 443, 80
SECRETS = "/etc/connect_secure"  # administrator.json, management.key, management.pem
STATE = "/var/lib/connect_secure"
COMMAND = (
    *("/usr/bin/env", "PYTHONPATH=/srv/certlogon", "PYTHONUNBUFFERED=1", "/usr/bin/python3", "-m", "lab.connect_secure"),
    *("--folder", STATE, "--secrets", SECRETS, "--address", VPN1.address, "--external", VPN1.further[0]),
    *("--inner", VPN1.inner, "--pool", settings.VPN_POOLS["vpn1"]),
)
# As a pattern that a command line with the pattern in it does not match.
PATTERN = "[l]ab.connect_secure"
# kill(-1) spares the caller and the host's first process. As after a power cut, /run is empty.
KILL = "kill -9 -1; while [ $(pgrep -c .) -gt 2 ]; do sleep 0.02; done; find /run -xdev -mindepth 1 -delete"
INNER_TEXT = "Hello from the inner network.\n"
INNER_ROOT = "/srv/www"
ADMINISTRATOR, ADMINISTRATOR_REALM = "admin", "Admin Users"
# certificate FILE NAME SUBJECT-ALTERNATIVE-NAMES: by the lab's root.
CERTIFICATE = """\
set -eu
umask 077
mkdir -p "$(dirname "$1")"
openssl req -x509 -newkey rsa:2048 -noenc -quiet -keyout "$1.key" -out "$1.pem" -subj "/CN=$2" -days 825 \\
    -CA /srv/files/root-ca.pem -CAkey /srv/files/root-ca.key -addext basicConstraints=critical,CA:false \\
    -addext keyUsage=critical,digitalSignature,keyEncipherment -addext extendedKeyUsage=serverAuth \\
    -addext subjectKeyIdentifier=hash -addext authorityKeyIdentifier=keyid -addext "subjectAltName=$3" \\
    -addext crlDistributionPoints=URI:http://ca1.corp.example/CertEnroll/Corp%20Example%20Root%20CA.crl
"""

Boot = Callable[[str], Process]


def start(progress: Progress, boot: Boot, folder: Path) -> dict[str, Process]:
    """All four; `boot` starts a host by its name, `folder` is the lab's, with accounts.json and logs in it."""
    hosts = {}
    administrator = add_administrator(folder / "accounts.json")
    with progress.step("inner1 answers HTTP"):
        hosts["inner1"] = boot("inner1")
        start_inner(hosts["inner1"], folder / "logs/inner1.log")
    with progress.step("gw1: SSH for Ansible"):
        hosts["gw1"] = boot("gw1")
        forward(hosts["gw1"])
        ssh.prepare(hosts["gw1"], GW1, folder / "ssh-gw1")
        ssh.start(hosts["gw1"], folder / "logs/gw1-ssh.log")
    with progress.step("client1: a computer with card reader and browser"):
        hosts["client1"] = boot("client1")
        ssh.prepare(hosts["client1"], CLIENT1, folder / "ssh-client1")
        ssh.start(hosts["client1"], folder / "logs/client1-ssh.log")
    with progress.step("vpn1: the appliance answers"):
        hosts["vpn1"] = boot("vpn1")
        forward(hosts["vpn1"])
        prepare_appliance(hosts["vpn1"], administrator, folder / "logs/vpn1.log")
        start_appliance(hosts["vpn1"], folder / "logs/vpn1.log")
    return hosts


def add_administrator(accounts: Path) -> dict[str, str]:
    """The appliance's first administrator, local to it, among the lab's accounts; without `upn`, for the domain does not know it."""
    known = json.loads(accounts.read_text())
    administrator = {
        "name": ADMINISTRATOR,
        "username": ADMINISTRATOR,
        "password": company.new_password(),
        "realm": ADMINISTRATOR_REALM,
        "purpose": "administrator of the VPN appliance vpn1",
    }
    accounts.write_text(json.dumps(known | {"vpn_admin": administrator}, indent=1))
    return administrator


def forward(host: Process) -> None:
    """A gateway hands packets on. Without reverse path filter: a tunnel's addresses are on no network of ours."""
    script = "sysctl -q -w net.ipv4.ip_forward=1; sysctl -q -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0"
    subprocess.run(processes.entering(host, ["sh", "-c", script]), capture_output=True, check=True)


def start_inner(host: Process, log: Path) -> None:
    processes.network(host.pid, [f"route add {pool} via {settings.HOSTS[name].inner}" for name, pool in settings.VPN_POOLS.items()])
    page = ["sh", "-c", f"mkdir -p {INNER_ROOT} && cat > {INNER_ROOT}/index.html"]
    subprocess.run(processes.entering(host, page), input=INNER_TEXT, text=True, check=True)
    serve(host, log)


def serve(host: Process, log: Path) -> None:
    server = ["python3", "-u", "-m", "http.server", "--directory", INNER_ROOT, "--bind", INNER1.address, str(INNER_PORT)]
    wait(host, processes.daemon(host, server, log), INNER1.name, INNER1.address, INNER_PORT, log)


def prepare_appliance(host: Process, administrator: dict[str, str], log: Path) -> None:
    """What its console would have asked for: an administrator, and a certificate for its management."""
    names = f"DNS:{VPN1.fqdn},DNS:{VPN1.name},IP:{VPN1.address}"
    processes.run(host, ["sh", "-c", CERTIFICATE, "sh", f"{SECRETS}/management", VPN1.fqdn, names], log)
    account = json.dumps({name: administrator[name] for name in ("name", "password", "realm")})
    processes.run(host, ["sh", "-c", f"umask 077; cat > {SECRETS}/administrator.json"], log, stdin=account)


def start_appliance(host: Process, log: Path) -> None:
    if not (settings.CHECKOUT / "lab/connect_secure/__main__.py").is_file():
        return
    wait(host, processes.daemon(host, COMMAND, log), VPN1.name, VPN1.address, HTTPS_PORT, log)


def wait(host: Process, service: Process, name: str, address: str, port: int, log: Path, timeout: float = 20) -> None:
    deadline = time.monotonic() + timeout
    probe = ["/usr/bin/python3", "-I", "-S", "-c", PROBE, address, str(port), str(timeout)]
    while subprocess.run(processes.entering(host, probe), capture_output=True, check=False).returncode:
        if not service.alive:
            raise LabError(f"the service on {name} has ended", log)
        if time.monotonic() > deadline:
            raise LabError(f"the service on {name} does not answer on port {port} after {timeout:.0f} s", log)


# Tries for a second, so that we start few processes.
PROBE = """\
import socket, sys, time
end = time.monotonic() + 1
while True:
    try:
        socket.create_connection((sys.argv[1], int(sys.argv[2])), 1).close()
        break
    except OSError:
        if time.monotonic() > end:
            sys.exit(1)
        time.sleep(0.05)
"""


def start_again(name: str, host: Process, folder: Path) -> None:
    """What a host of ours starts with, after its processes were killed."""
    log = folder / f"logs/{name}.log"
    if name == "vpn1":
        if appliance_runs(host):
            raise LabError("the stand-in runs on vpn1 already")
        start_appliance(host, log)
    elif name in ("gw1", "client1"):
        if ssh.runs(host):
            raise LabError(f"sshd runs on {name} already")
        ssh.start(host, folder / f"logs/{name}-ssh.log")
    elif name == "inner1":
        serve(host, log)


def appliance_runs(host: Process) -> bool:
    return subprocess.run(processes.entering(host, ["pgrep", "-f", PATTERN]), capture_output=True, check=False).returncode == 0


def status(name: str, host: Process, folder: Path) -> dict[str, Any]:
    """What the lab's status says of one of these hosts beyond what it says of all."""
    plan = settings.HOSTS[name]
    found: dict[str, Any] = {"log": str(folder / f"logs/{name}.log")}
    if plan.inner:
        found["inner_address"] = plan.inner
    if name in settings.VPN_POOLS:
        found["pool"] = settings.VPN_POOLS[name]
    if name == "vpn1":
        found |= {"service": appliance_runs(host), "https_port": HTTPS_PORT, "external_address": VPN1.further[0]}
    if name in ("gw1", "client1"):
        found |= {"ssh_port": 22, **ssh.files(folder / f"ssh-{name}")}
    if name == "inner1":
        found |= {"http_port": INNER_PORT, "text": INNER_TEXT}
    return found
