# SPDX-License-Identifier: GPL-3.0-or-later
"""The PassiveKey server: `python -m tests.benchmarks.passivekey FOLDER --layers DIR:DIR [--quick]`.

Two workers, on SQLite and on PostgreSQL, audit log and lock-out on, 100,000 accounts with 200,000 devices; the directory costs nothing
(passivekey_server.py). Each login is another device's, for a code is good once. The layers are those of the lab's root with FreeRADIUS.

- logins by REST as FreeRADIUS asks (password, challenge, code), and by cookie as nginx asks (a browser's first request);
- one login at a time, beside a server with 100 accounts and 200 devices;
- logins by RADIUS through FreeRADIUS with the documented configuration; beside it FreeRADIUS with a static file, which asks nobody;
- enrolments;
- kill -9 in the middle of logins: after a restart every code that was accepted is tried again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from passivekey.protocol import codes, messages
from tests.benchmarks.passivekey_load import (
    Candidate,
    Http,
    Job,
    Outcome,
    Radius,
    by_cookie,
    by_enrolment,
    by_password,
    by_radius,
    by_rest,
    drive,
)
from tests.benchmarks.passivekey_server import name_of, password_of
from tests.benchmarks.passivekey_world import (
    SITE,
    Device,
    Population,
    Postgres,
    Server,
    World,
    certificate,
    fill,
    freeradius,
    population,
    processor_seconds,
    running,
)
from tests.integration.passivekey_lab import Gateway

CLIENTS = 16
FEW = 100


@dataclass
class Figures:
    """Of all runs of one contender."""

    runs: list[Outcome] = field(default_factory=list)
    server: list[float] = field(default_factory=list)
    """Processor milliseconds of a login."""

    database: list[float] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        return {
            "rate": round(statistics.median(run.rate for run in self.runs), 1),
            "runs": len(self.runs),
            "logins": sum(run.good for run in self.runs),
            "refused": sum(run.bad for run in self.runs),
            "median_ms": round(statistics.median(run.median for run in self.runs), 1),
            "worst_ms": round(statistics.median(run.worst for run in self.runs), 1),
            "server_ms": round(statistics.median(self.server), 2),
            "database_ms": round(statistics.median(self.database), 2),
        }


@dataclass
class Logins:
    """Devices, each taken once, and from where each is used."""

    world: World
    devices: Iterator[Device]
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def source(self) -> str:
        number = next(self.numbers)
        return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"

    def rest(self, count: int) -> Iterator[Job]:
        for one in itertools.islice(self.devices, count):
            yield by_rest(self.world.secrets["radius"], name_of(one.account), password_of(one.account), one.code(), self.source())

    def cookies(self, count: int) -> list[Job]:
        """Made beforehand, for that is the workstations' work."""
        key = self.world.ring.cookie_jwks[0]
        return [
            by_cookie(self.world.secrets["site"], SITE, messages.cookie(one.key, one.id, one.seed, key, SITE, time.time()), self.source())
            for one in itertools.islice(self.devices, count)
        ]

    def radius(self, gateway: Gateway, count: int) -> Iterator[Job]:
        for one in itertools.islice(self.devices, count):
            yield by_radius(gateway, name_of(one.account), password_of(one.account), one.code(), self.source())


class Bench:
    def __init__(self, folder: Path, layers: Sequence[Path], *, quick: bool) -> None:
        self.world = World.create(folder)
        self.layers, self.quick = layers, quick
        self.accounts, self.rounds, self.logins_each = (2_000, 1, 200) if quick else (100_000, 3, 1500)
        used = 4 * self.logins_each * self.rounds + 1000
        self.people = population(self.world.ring, self.accounts, min(used, 2 * self.accounts))
        self.few = population(self.world.ring, FEW, 2 * FEW)
        self.postgres = Postgres(folder / "postgresql")
        self.rows: list[dict[str, Any]] = []

    def measure(self) -> list[dict[str, Any]]:
        self.postgres.start()
        try:
            self._all()
        finally:
            self.postgres.stop()
        return self.rows

    def _all(self) -> None:
        urls = {kind: {size: self._database(kind, size, people) for size, people in self._sizes()} for kind in ("sqlite", "postgresql")}
        # a device is another one in each database: what was accepted in one, the other does not know
        logins = {kind: Logins(self.world, iter(self.people.devices)) for kind in urls}
        servers = {kind: Server(self.world, kind, found["many"]) for kind, found in urls.items()}
        with running(*servers.values()):
            self._throughput(servers, logins)
            for kind, server in servers.items():
                small = Server(self.world, f"{kind}-few", urls[kind]["few"])
                with running(small):
                    self._flat(kind, server, small, logins[kind])
                self._enrolments(kind, server)
        for kind, server in servers.items():
            with running(server):
                self._killed(kind, server, logins[kind])
        self._radius(urls, logins)

    def _sizes(self) -> tuple[tuple[str, Population], ...]:
        return ("many", self.people), ("few", self.few)

    def _database(self, kind: str, size: str, people: Population) -> str:
        url = f"sqlite:///{self.world.folder}/{size}.db" if kind == "sqlite" else f"postgresql+psycopg://{self.postgres.create(size)}"
        fill(url, people)
        return url

    def _run(self, figures: Figures, wires: Sequence[Any], jobs: Iterable[Job], *pids: int) -> None:
        """One run; what the processes (the server's, FreeRADIUS's) spend on a login, and what PostgreSQL does."""
        before, database = [sum(map(processor_seconds, pids))], [processor_seconds(self.postgres.daemon.pid)]
        try:
            outcome = drive(wires, jobs)
        finally:
            for wire in wires:
                wire.close()
        figures.runs.append(outcome)
        figures.server.append((sum(map(processor_seconds, pids)) - before[0]) / max(1, outcome.good) * 1000)
        figures.database.append((processor_seconds(self.postgres.daemon.pid) - database[0]) / max(1, outcome.good) * 1000)

    def _keep(self, kind: str, **words: Any) -> None:
        self.rows.append({"kind": kind, **words})
        print(f"{kind}: {', '.join(f'{name} {value}' for name, value in words.items())}", flush=True)

    def _throughput(self, servers: dict[str, Server], logins: dict[str, Logins]) -> None:
        found = {(what, kind): Figures() for what in ("rest", "cookie") for kind in servers}
        for server, login in zip(servers.values(), logins.values(), strict=True):  # connections, statements: not of the first logins
            drive([Http(server.port) for _ in range(CLIENTS)], [*login.rest(100), *login.cookies(100)])
        for _round in range(self.rounds):
            for (what, kind), figures in found.items():
                login = logins[kind]
                jobs = login.rest(self.logins_each) if what == "rest" else login.cookies(self.logins_each)
                port = servers[kind].port
                self._run(figures, [Http(port) for _ in range(CLIENTS)], jobs, servers[kind].daemon.pid)
        for (what, kind), figures in found.items():
            self._keep("passivekey", what=what, database=kind, accounts=self.accounts, clients=CLIENTS, **figures.row())

    def _flat(self, kind: str, many: Server, few: Server, login: Logins) -> None:
        """One login at a time, by turns at both, each of so many devices."""
        times: dict[str, list[float]] = {"many": [], "few": []}
        sources = {"many": (many, login), "few": (few, Logins(self.world, iter(self.few.devices)))}
        wires = {name: Http(server.port) for name, (server, _login) in sources.items()}
        for turn in range(2 * FEW // 20):
            for name, (_server, source) in sources.items():
                outcome = drive([wires[name]], source.rest(20))
                if turn:  # the first warms up
                    times[name] += outcome.times
        median = {name: round(statistics.median(values) * 1000, 2) for name, values in times.items()}
        ratio = round(median["many"] / median["few"], 2)
        self._keep("passivekey-flat", database=kind, many=self.accounts, few=FEW, ms_many=median["many"], ms_few=median["few"], ratio=ratio)

    def _enrolments(self, kind: str, server: Server) -> None:
        count = 50 if self.quick else 400
        candidates = [Candidate.make(name_of(number), password_of(number)) for number in range(count)]
        figures = Figures()
        origin = f"https://localhost:{server.port}"
        self._run(
            figures,
            [Http(server.port) for _ in range(CLIENTS)],
            (by_enrolment(candidate, origin) for candidate in candidates),
            server.daemon.pid,
        )
        self._keep("passivekey-enrolment", database=kind, **figures.row())

    def _killed(self, kind: str, server: Server, login: Logins) -> None:
        """Everything that was accepted before kill -9 is refused after the restart, while its time would still be right."""
        accepted: list[tuple[str, Device, str]] = []
        half = self.logins_each // 2
        secrets, key = self.world.secrets, self.world.ring.cookie_jwks[0]

        def remembered(what: str, one: Device, code: str, job: Job) -> Job:
            done = yield from job
            if done:
                accepted.append((what, one, code))
                if len(accepted) == half:
                    server.stop()  # while the other clients wait for answers
            return done

        def job(what: str, one: Device, code: str) -> Job:
            if what == "rest":
                return by_rest(secrets["radius"], name_of(one.account), password_of(one.account), code, login.source())
            return by_cookie(secrets["site"], SITE, code, login.source())

        def fresh(what: str, one: Device) -> str:
            return one.code() if what == "rest" else messages.cookie(one.key, one.id, one.seed, key, SITE, time.time())

        while time.time() % codes.STEP > codes.STEP / 2:  # so that the codes are good for long enough after the restart
            time.sleep(0.2)
        begun = codes.counter_at(time.time())
        wanted = [(what, one) for one in itertools.islice(login.devices, half) for what in ("rest", "cookie")]
        broken = False
        wires = [Http(server.port) for _ in range(CLIENTS)]
        try:
            drive(wires, (remembered(what, one, code, job(what, one, code)) for what, one in wanted for code in (fresh(what, one),)))
        except OSError:
            broken = True  # as it should be: killed under way
        server.start()
        wires = [Http(server.port) for _ in range(CLIENTS)]
        again = drive(wires, (job(what, one, code) for what, one, code in accepted))
        in_time = codes.counter_at(time.time()) <= begun + 1
        others = [("rest", one) for one in itertools.islice(login.devices, 50)]
        control = drive(wires, (job(what, one, fresh(what, one)) for what, one in others))
        self._keep(
            "passivekey-killed",
            database=kind,
            under_way=broken,
            accepted=len(accepted),
            accepted_again=again.good,
            in_time=in_time,
            others=len(others),
            others_accepted=control.good,
        )
        if again.good or not accepted or not in_time or control.good != len(others):
            raise SystemExit(f"after kill -9 on {kind}: {again.good} of {len(accepted)} codes were accepted again; see above")

    def _radius(self, urls: dict[str, dict[str, str]], logins: dict[str, Logins]) -> None:
        tls = certificate(self.world.folder)
        servers = {kind: Server(self.world, f"{kind}-tls", found["many"], tls=tls) for kind, found in urls.items()}
        fronts: dict[str, tuple[Any, Gateway]] = {}
        found = {name: Figures() for name in (*servers, "static")}
        with running(*servers.values()):
            try:
                for name in found:
                    fronts[name] = freeradius(self.world.folder, name, self.layers, servers.get(name), self.accounts)
                for turn in range(self.rounds + 1):
                    for name, (daemon, gateway) in fronts.items():
                        wires = [Radius(gateway) for _ in range(CLIENTS)]
                        count = self.logins_each if turn else 100
                        if name == "static":
                            jobs: Iterable[Job] = (by_password(gateway, name_of(n), password_of(n), "10.0.0.1") for n in range(4 * count))
                        else:
                            jobs = logins[name].radius(gateway, count)
                        pids = [daemon.pid, *([servers[name].daemon.pid] if name in servers else [])]
                        self._run(found[name] if turn else Figures(), wires, jobs, *pids)
            finally:
                for daemon, _gateway in fronts.values():
                    daemon.kill()
        for name, figures in found.items():
            self._keep("passivekey-radius", database=name, accounts=self.accounts, clients=CLIENTS, **figures.row())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.passivekey", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", required=True, help="the lab's root with FreeRADIUS, uppermost first")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_given: sys.exit(143))  # so that servers end too
    folder = options.folder.resolve()
    rows = Bench(folder / "passivekey", [Path(one) for one in options.layers.split(":")], quick=options.quick).measure()
    (folder / "results-passivekey.json").write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
