# SPDX-License-Identifier: GPL-3.0-or-later
"""Real VPN logins: openconnect on client1 with a card, and a page of the inner network as the proof.

    gateway = Gateway("https://gw.corp.example", log=lambda: lab.run("gw1", "cat", "/var/log/ocserv.log").stdout)
    with open_tunnel(lab, gateway, card) as tunnel:
        assert tunnel.up and tunnel.fetch() == tunnel.page
    attempt = try_tunnel(lab, gateway, revoked_card)   # attempt.up, attempt.words (the client's), attempt.gateway_log

The PIN comes from the card's PIN file on client1; it is on no command line.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from lab.cards import FOLDER
from lab.errors import LabError
from lab.vpn_hosts import INNER1, INNER_PORT

CLIENT = "client1"
GUEST = Path(__file__).resolve().parent / "judges/on_client1.py"
LAB_CA = "/srv/files/ca-bundle.pem"
TIMEOUT = 15.0


class Runner(Protocol):
    """A lab, as far as it runs commands on its hosts."""

    def run(self, host: str, *command: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]: ...


@dataclass(frozen=True)
class Gateway:
    """What a user connects to. `ca_file`: on client1; `address`: instead of the name's own; `log`: the gateway's log so far."""

    url: str
    ca_file: str = LAB_CA
    address: str | None = None
    log: Callable[[], str] = str


@dataclass(frozen=True)
class Tunnel:
    """A login and what came of it.

    `up`: a page came through; `page`: its text; `address`: the client's in the tunnel; `words`: all the client said;
    `gateway_log`: what the gateway logged meanwhile; `code`: the client's exit code if it has ended; `seconds` until the page or the end.
    """

    lab: Runner
    up: bool
    page: str
    address: str
    device: str
    words: str
    gateway_log: str
    seconds: float
    code: int | None
    pid: int

    def fetch(self, timeout: float = 2) -> str:
        """The page once more, through this tunnel only; empty if nothing comes."""
        answer = ask(self.lab, "fetch", inner_page() | {"device": self.device, "timeout": timeout})
        return str(answer["page"])

    def close(self) -> None:
        if self.up:
            ask(self.lab, "close", {"pid": self.pid, "device": self.device})


@contextmanager
def open_tunnel(
    lab: Runner,
    gateway: Gateway,
    uri: str | None,
    *,
    user: str | None = None,
    group: str | None = None,
    stdin: str = "",
    arguments: Sequence[str] = (),
    timeout: float = TIMEOUT,
) -> Iterator[Tunnel]:
    """Log in with the card of a PKCS#11 URI (`UserCard.uri`; None: without one) and keep the tunnel until the block ends.

    user, group: what the user types as name and chooses as group; stdin: answers to further questions (passwords, codes), a line each.
    A refusal is no exception: see `up`, `words` and `gateway_log`.
    """
    before = len(gateway.log())
    asked = {
        "command": command(gateway, uri, user, group, bool(stdin), arguments),
        "environment": {"SOFTHSM2_CONF": f"{FOLDER}/softhsm2.conf"},
        "stdin": stdin,
        "page": inner_page(),
        "timeout": timeout,
    }
    answer = ask(lab, "open", asked)
    names = ("up", "page", "address", "device", "words", "seconds", "code", "pid")
    said = log_since(gateway, before, settled=answer["up"])
    tunnel = Tunnel(lab, gateway_log=said, **{name: answer[name] for name in names})
    try:
        yield tunnel
    finally:
        tunnel.close()


def log_since(gateway: Gateway, before: int, *, settled: bool, patience: float = 1) -> str:
    """What the gateway has logged. It may refuse first and write afterwards: wait until it has, and until no more comes."""
    said = gateway.log()[before:]
    deadline = time.monotonic() + patience
    while not settled and time.monotonic() < deadline:
        time.sleep(0.1)
        now = gateway.log()[before:]
        settled, said = bool(said) and now == said, now
    return said


def try_tunnel(lab: Runner, gateway: Gateway, uri: str | None, **options: Any) -> Tunnel:
    """Log in, fetch the page, and leave again."""
    with open_tunnel(lab, gateway, uri, **options) as tunnel:
        return tunnel


def command(
    gateway: Gateway, uri: str | None, user: str | None, group: str | None, answers: bool, arguments: Sequence[str] = ()
) -> list[str]:
    """openconnect's command line; it takes no questions but those that standard input answers."""
    found = ["openconnect", "--non-inter", "--no-system-trust", f"--cafile={gateway.ca_file}", "--reconnect-timeout=1"]
    found += [f"--certificate={uri}"] if uri else []
    found += [f"--user={user}"] if user else []
    found += [f"--authgroup={group}"] if group else []
    found += ["--passwd-on-stdin"] if answers else []
    found += [f"--resolve={urlsplit(gateway.url).hostname}:{gateway.address}"] if gateway.address else []
    return [*found, *arguments, gateway.url]


def inner_page() -> dict[str, Any]:
    return {"address": INNER1.address, "port": INNER_PORT, "path": "/"}


def ask(lab: Runner, what: str, settings: dict[str, Any]) -> dict[str, Any]:
    done = lab.run(CLIENT, "python3", "-c", GUEST.read_text(), what, stdin=json.dumps(settings), check=False)
    if done.returncode:
        raise LabError(f"the VPN client on {CLIENT}: {(done.stderr or done.stdout).strip()[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
