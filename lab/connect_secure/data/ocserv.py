# SPDX-License-Identifier: GPL-3.0-or-later
"""ocserv: its configuration, a virtual host for each sign-in policy that has a host name of its own; its process; its words.

Tried with ocserv 1.3.0: a CRL or CA file that is replaced counts at the next connection; an expired CRL and one of a foreign CA are
accepted without a word (so a CA without a good CRL is taken out of the files); the purpose of a certificate is not looked at (so
peer.c); what a certificate was is not told to scripts (so peer.c writes it to the log, with the worker's process, which scripts
know as ID). `udp-port` does not reach virtual hosts, so there is no DTLS: the tunnel's data goes over TLS.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from cryptography import x509

from lab.connect_secure.data.crls import replace
from lab.connect_secure.data.plan import Plan, VirtualHost

PORT = 4443  # on 127.0.0.1, behind the port that tunnels and browsers share
REMEMBERED = 2000  # workers and what their clients presented
HERE = Path(__file__).resolve().parent
PEER = re.compile(r"^peer: (\d+) ([0-9a-f]+)$")
REFUSED = re.compile(r"^worker(?:\[vhost:([^\]]+)\])?:\s+(\S+) client certificate verification failed: (.*)$")
ASKED = re.compile(r"^worker: (\S+) client requested hostname: (\S+)")
NO_CERTIFICATE = re.compile(
    r"(Certificate is required\.|no certificate was found|no certificate provided for authentication)", re.IGNORECASE
)


class Paths:
    """`folder`: ours alone. The sockets are elsewhere, for ocserv's workers are nobody's and must reach one of them."""

    def __init__(self, folder: Path, run: Path = Path("/run/connect_secure")) -> None:
        self.folder, self.run = folder, run
        self.configuration, self.authorities, self.crls = folder / "ocserv.conf", folder / "ocserv-ca.pem", folder / "ocserv-crl.pem"
        self.peer, self.gate, self.gate_socket = folder / "peer.so", folder / "gate.sh", folder / "gate.sock"
        self.pid, self.socket, self.control = run / "ocserv.pid", run / "ocserv.sock", run / "occtl.sock"

    def radius(self, host: str) -> Path:
        """radcli's configuration for a virtual host; beside it, `.servers`, its secret."""
        return self.folder / f"radius-{host}.conf"


@dataclass(frozen=True)
class Networks:
    """`external`: the address that users come to; `pool`: what they get addresses from; `inner`: an address in the network behind."""

    external: str
    inner: str
    pool: str

    @property
    def inner_network(self) -> str:
        return str(ip_network(f"{self.inner}/24", strict=False))


def configuration(
    plan: Plan, paths: Paths, networks: Networks, certificates: Mapping[str, tuple[Path, Path]], stale: Iterable[str] = ()
) -> str:
    """`certificates`: files of certificate and key by the name of a device certificate. `stale`: hosts that a running ocserv knows and
    that are gone: they trust nobody, for ocserv 1.3.0 ends when a virtual host is missing at a reload."""
    first = next(iter(certificates.values()))
    lines = [
        *_host(first, paths, networks, "2.5.4.3", trusts=False),
        "listen-host = 127.0.0.1",
        f"tcp-port = {PORT}",
        "listen-proxy-proto = true",
        f"socket-file = {paths.socket}",
        f"occtl-socket-file = {paths.control}",
        f"pid-file = {paths.pid}",
        "use-occtl = true",
        "run-as-user = nobody",
        "run-as-group = daemon",
        "device = vpns",
        "isolate-workers = true",
        "log-level = 3",
        'tls-priorities = "NORMAL:%SERVER_PRECEDENCE:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"',
        "cisco-client-compat = false",
        "dtls-legacy = false",
        "max-clients = 200",
        "max-same-clients = 0",
        "rate-limit-ms = 0",
        "max-ban-score = 0",
        "auth-timeout = 60",
        "cookie-timeout = 60",
        "persistent-cookies = false",
        "keepalive = 300",
        "dpd = 60",
        "mobile-dpd = 300",
        "try-mtu-discovery = false",
        "predictable-ips = true",
        "ping-leases = false",
        f"connect-script = {paths.gate}",
        f"disconnect-script = {paths.gate}",
    ]
    for name in stale:
        lines += [f"[vhost:{name}]", *_host(first, paths, networks, "2.5.4.3", trusts=False)]
    for host in plan.hosts:
        device = plan.certificate_for(host.host)
        assert device is not None
        lines += [f"[vhost:{host.host}]", *_host(certificates[device.name], paths, networks, host.user_oid, radius=_asked(host, paths))]
    return "\n".join(lines) + "\n"


def _asked(host: VirtualHost, paths: Paths) -> str:
    """ocserv's words for the RADIUS server of a virtual host; empty if it has none."""
    return f"radius[config={paths.radius(host.host)},groupconfig=false]" if host.radius else ""


def _host(
    certificate: tuple[Path, Path], paths: Paths, networks: Networks, user_oid: str, *, trusts: bool = True, radius: str = ""
) -> list[str]:
    """The part that each virtual host has; one that trusts nobody for names that no policy has. Without `user_oid` no certificate is
    asked for; what is trusted then does not matter."""
    return [
        *(['auth = "certificate"'] if user_oid else []),
        *([f'auth = "{radius}"'] if radius else []),
        f"server-cert = {certificate[0]}",
        f"server-key = {certificate[1]}",
        f"ca-cert = {paths.authorities if trusts else paths.folder / 'nobody.pem'}",
        f"crl = {paths.crls}",
        f"cert-user-oid = {user_oid or '2.5.4.3'}",
        f"ipv4-network = {networks.pool}",
        f"route = {networks.inner_network}",
    ]


GATE = """\
#!/bin/sh
exec /usr/bin/python3 -I -S {script} {socket}
"""


def prepare(paths: Paths) -> None:
    """What is there before ocserv starts: the library, made from peer.c, and the script that asks us."""
    paths.run.mkdir(parents=True, exist_ok=True)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", str(paths.peer), str(HERE / "peer.c")], check=True, capture_output=True)
    replace(paths.gate, GATE.format(script=HERE / "gate.py", socket=paths.gate_socket).encode())
    paths.gate.chmod(0o700)


def command(paths: Paths) -> list[str]:
    environment = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", f"LD_PRELOAD={paths.peer}"]
    return [*environment, "ocserv", "--log-stderr", "-f", "-c", str(paths.configuration)]


def test(paths: Paths) -> str:
    """ocserv's own judgement of its configuration; empty if it is content."""
    done = subprocess.run(["ocserv", "--test-config", "-c", str(paths.configuration)], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr + done.stdout).strip()


def occtl(paths: Paths, *arguments: str) -> str:
    done = subprocess.run(["occtl", "-s", str(paths.control), *arguments], capture_output=True, text=True, timeout=10, check=False)
    return done.stdout if done.returncode == 0 else ""


def users(paths: Paths) -> list[dict[str, Any]]:
    text = occtl(paths, "-j", "show", "users")
    try:
        found = json.loads(text) if text.strip() else []
    except ValueError:
        return []
    return [user for user in found if user.get("Username", "(none)") != "(none)"]


class Words:
    """Reads what ocserv writes, line by line. `refused(host, address, certificate, words)` for each that it does not let in;
    `certificate_of` and `address_of` tell what a worker's client presented and where it came from.

    Lines of two clients that come in the same moment may be taken for one another's where ocserv does not say whose they are.
    """

    def __init__(self, refused: Callable[[str, str, x509.Certificate | None, str], None]) -> None:
        self._refused = refused
        self._presented: dict[int, tuple[x509.Certificate | None, str]] = {}
        self._last: x509.Certificate | None = None
        self._address = self._host = ""

    def certificate_of(self, worker: int) -> x509.Certificate | None:
        return self._presented.get(worker, (None, ""))[0]

    def address_of(self, worker: int) -> str:
        return self._presented.get(worker, (None, ""))[1]

    def read(self, line: str) -> bool:
        """False for a line that is for us alone."""
        if peer := PEER.match(line):
            self._present(int(peer.group(1)), bytes.fromhex(peer.group(2)))
            return False
        if asked := ASKED.match(line):
            self._address, self._host = asked.groups()
        elif refused := REFUSED.match(line):
            self._refused(refused.group(1) or self._host, refused.group(2), self._last, refused.group(3).strip())
        elif nothing := NO_CERTIFICATE.search(line):
            self._refused(self._host, self._address, None, nothing.group(1))
        return True

    def _present(self, worker: int, der: bytes) -> None:
        try:
            self._last = x509.load_der_x509_certificate(der)
        except ValueError:
            self._last = None
        self._presented.pop(worker, None)
        self._presented[worker] = (self._last, self._address)
        while len(self._presented) > REMEMBERED:
            self._presented.pop(next(iter(self._presented)))
