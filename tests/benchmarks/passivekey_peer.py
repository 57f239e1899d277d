# SPDX-License-Identifier: GPL-3.0-or-later
"""The PassiveKey server beside privacyIDEA: `python -m tests.benchmarks.passivekey_peer FOLDER --peer BIN [--quick]`.

Both: two workers (uvicorn; gunicorn with two threads each, for with more of them privacyIDEA is slower), a PostgreSQL database of its own
in the same server, as many users with two tokens each, audit log and lock-out on, plain HTTP on loopback with connections that are kept,
the same client, runs by turns. A login is a code that is accepted; each is another token's.

- privacyIDEA: one request, POST /validate/check with user and code (`otppin=none`: no PIN is hashed), users in a table of its database; and
  by serial number, which spares it the user. Its audit log signs each entry, as it comes; its own metrics, which it writes into the
  database at each request, are off, and its connections to the database are kept.
- PassiveKey: two requests, as FreeRADIUS asks (password, challenge, code); and one, a browser's cookie (decrypt, verify, code, session).
  The password costs nothing here, and neither does the directory: privacyIDEA asks none either.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

from passivekey.protocol import codes
from tests.benchmarks.passivekey import CLIENTS, Figures, Logins
from tests.benchmarks.passivekey_load import Http, Job, drive, post
from tests.benchmarks.passivekey_world import (
    Daemon,
    Postgres,
    Server,
    World,
    fill,
    free_port,
    population,
    processor_seconds,
)

RATIO = 10
"""How many times as many logins a second as privacyIDEA are wanted."""

CONFIG = """\
SQLALCHEMY_DATABASE_URI = {url!r}
SECRET_KEY = {secret!r}
PI_PEPPER = {pepper!r}
PI_ENCFILE = {folder!r} + "/enckey"
PI_AUDIT_KEY_PRIVATE = {folder!r} + "/private.pem"
PI_AUDIT_KEY_PUBLIC = {folder!r} + "/public.pem"
SQLALCHEMY_ENGINE_OPTIONS = {{"pool_size": 20}}
PI_ENGINE_REGISTRY_CLASS = "shared"
PI_NO_INTERNAL_METRICS = True
PI_LOGFILE = {folder!r} + "/privacyidea.log"
PI_LOGLEVEL = 40
SUPERUSER_REALM = []
"""


class Peer:
    """privacyIDEA under gunicorn."""

    def __init__(self, folder: Path, programs: Path, url: str, users: int) -> None:
        self.folder, self.programs = folder, programs
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        config = folder / "pi.cfg"
        config.write_text(CONFIG.format(url=url, secret=secrets.token_hex(32), pepper=secrets.token_hex(16), folder=str(folder)))
        self.environment = {**os.environ, "PRIVACYIDEA_CONFIGFILE": str(config), "PYTHONPATH": ""}
        for what in ("create_enckey", "create_audit_keys"):
            self._run("pi-manage", "setup", what)
        loader = Path(__file__).with_name("privacyidea_tokens.py")
        self._run("python", str(loader), str(config), str(users), str(folder / "seeds"))
        self.tokens = [line.split() for line in (folder / "seeds").read_text().splitlines()]
        random.shuffle(self.tokens)
        self.port = free_port()
        call = f"privacyidea.app:create_app(config_name='production', config_file={str(config)!r}, silent=True)"
        options = [
            "-w",
            "2",
            "-k",
            "gthread",
            "--threads",
            "2",
            "--no-control-socket",
            "--keep-alive",
            "60",
            "-b",
            f"127.0.0.1:{self.port}",
        ]
        self.daemon = Daemon([str(programs / "gunicorn"), *options, call], folder / "gunicorn.log", self.environment)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")

    def start(self) -> None:
        self.daemon.start()
        self.daemon.wait_for(self.port)
        for _request in range(8):  # until each worker has imported it
            with suppress(HTTPError):
                urlopen(f"http://127.0.0.1:{self.port}/nothing", timeout=120).close()
            time.sleep(0.5)

    def jobs(self, tokens: Iterator[list[str]], count: int, by: str) -> Iterator[Job]:
        for serial, user, seed in itertools.islice(tokens, count):
            yield self._login({by: serial if by == "serial" else user}, bytes.fromhex(seed))

    @staticmethod
    def _login(who: dict[str, str], seed: bytes) -> Job:
        words = {**who, "pass": codes.code(seed, codes.counter_at(time.time()), 6)}
        reply = yield post("/validate/check", urlencode(words).encode(), {}, "application/x-www-form-urlencoded")
        return bool(reply.status == 200 and json.loads(reply.body)["result"]["value"] is True)


def benchmark(folder: Path, programs: Path, *, quick: bool) -> list[dict[str, Any]]:
    users, rounds, theirs, ours = (500, 1, 50, 200) if quick else (20_000, 4, 150, 1500)
    world = World.create(folder)
    postgres = Postgres(folder / "postgresql")
    postgres.start()
    server = peer = None
    try:
        people = population(world.ring, users, min(2 * users, 2 * rounds * ours + 400))
        url = f"postgresql+psycopg://{postgres.create('passivekey')}"
        fill(url, people)
        server = Server(world, "peer", url)
        peer = Peer(folder / "privacyidea", programs, f"postgresql+psycopg2://{postgres.create('privacyidea')}", users)
        peer.start()
        server.start()
        logins, tokens = Logins(world, iter(people.devices)), iter(peer.tokens)
        # connections, statements, caches: not of the first logins
        drive([Http(server.port) for _ in range(CLIENTS)], [*logins.rest(100), *logins.cookies(100)])
        drive([Http(peer.port) for _ in range(CLIENTS)], peer.jobs(tokens, 40, "user"))
        found = {name: Figures() for name in ("rest", "cookie", "user", "serial")}
        for _round in range(rounds):
            for name, figures in found.items():
                if name in ("user", "serial"):
                    port, pid, jobs = peer.port, peer.daemon.pid, peer.jobs(tokens, theirs, name)
                else:
                    port, pid = server.port, server.daemon.pid
                    jobs = logins.rest(ours) if name == "rest" else iter(logins.cookies(ours))
                wires = [Http(port) for _ in range(CLIENTS)]
                before, database = processor_seconds(pid), processor_seconds(postgres.daemon.pid)
                outcome = drive(wires, jobs)
                figures.runs.append(outcome)
                figures.server.append((processor_seconds(pid) - before) / max(1, outcome.good) * 1000)
                figures.database.append((processor_seconds(postgres.daemon.pid) - database) / max(1, outcome.good) * 1000)
                for wire in wires:
                    wire.close()
    finally:
        for one in (server and server.daemon, peer and peer.daemon):
            if one:
                one.kill()
        postgres.stop()
    return _rows(found, users, peer.programs)


def _rows(found: dict[str, Figures], users: int, programs: Path) -> list[dict[str, Any]]:
    version = subprocess.run(
        [str(programs / "python"), "-c", "from importlib.metadata import version; print(version('privacyIDEA'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    rows = [{"kind": "passivekey-peer", "what": name, "users": users, "version": version, **item.row()} for name, item in found.items()]
    ratios = {}
    for mine, other in itertools.product(("rest", "cookie"), ("user", "serial")):
        pairs = zip(found[mine].runs, found[other].runs, strict=True)
        clock = statistics.median(one.rate / two.rate for one, two in pairs)
        spent = [statistics.median(item.server) + statistics.median(item.database) for item in (found[other], found[mine])]
        ratios[f"{mine}/{other}"] = {"clock": round(clock, 1), "processor": round(spent[0] / spent[1], 1)}
    return [*rows, {"kind": "passivekey-peer-ratios", **ratios}]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.passivekey_peer", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--peer", type=Path, required=True, help="the folder of programs of the environment that has privacyIDEA")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_given: sys.exit(143))  # so that servers end too
    folder = options.folder.resolve()
    rows = benchmark(folder / "passivekey-peer", options.peer.absolute(), quick=options.quick)
    for row in rows:
        print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    (folder / "results-passivekey-peer.json").write_text(json.dumps(rows, indent=1) + "\n")
    refused = sum(row.get("refused", 0) for row in rows)
    least = min(ratio["clock"] for name, ratio in rows[-1].items() if name.endswith("/user"))
    if refused or (least < RATIO and not options.quick):
        raise SystemExit(f"{refused} codes were refused; {least} times as many logins a second as privacyIDEA, {RATIO} are wanted")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
