# SPDX-License-Identifier: GPL-3.0-or-later
"""What the measurements of PassiveKey stand on: a PostgreSQL, databases full of devices, servers as processes, FreeRADIUS before them."""

from __future__ import annotations

import multiprocessing
import os
import random
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lab import settings
from lab.errors import LabError
from passivekey.protocol import codes, keys, messages
from passivekey.server import store as tables
from passivekey.server.keyring import Keyring
from tests.benchmarks.passivekey_server import name_of, password_of, sid_of
from tests.integration.passivekey_lab import Gateway

SITE = "intranet.corp.example"
YEAR = 365 * 86400
TICKS = os.sysconf("SC_CLK_TCK")


# ---- processes


def processor_seconds(pid: int) -> float:
    """Of a process and all that it started, the ended ones included."""
    children: dict[int, list[int]] = {}
    spent: dict[int, float] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            words = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(words[1]), []).append(int(folder.name))
        spent[int(folder.name)] = sum(map(int, words[11:15])) / TICKS
    found, pending = 0.0, [pid]
    while pending:
        one = pending.pop()
        found += spent.get(one, 0.0)
        pending += children.get(one, [])
    return found


def _members(group: int) -> list[int]:
    """The processes of a group that have not ended."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _parent, its = file.read_text().rpartition(")")[2].split()[:3]
            if int(its) == group and state not in "ZX":
                found.append(int(file.parent.name))
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Daemon:
    """A process with its children, in a group of its own."""

    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    folder: Path = settings.CHECKOUT
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.environment,
                cwd=self.folder,
                start_new_session=True,
            )

    def wait_for(self, port: int, seconds: float = 60) -> None:
        """Until somebody listens there."""
        deadline = time.monotonic() + seconds
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
                return
            if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise LabError(f"{self.command[0]} does not start: {self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, how)
            self.process.wait(30)
            while _members(self.process.pid):  # a child that has not quite ended still listens
                time.sleep(0.05)
            self.process = None


# ---- PostgreSQL


class Postgres:
    """A server of its own on loopback, which writes as durably as in life."""

    def __init__(self, folder: Path) -> None:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        if not programs:
            raise LabError("PostgreSQL is missing; apt-get install postgresql")
        self.programs, self.folder = programs[-1], folder
        self.command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        self.port = free_port()
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(folder),
            "shared_buffers": "256MB",
            "max_connections": "300",
        }
        self.daemon = Daemon(
            [*self.command, str(self.programs / "postgres"), "-D", str(folder / "data"), *(f"--{k}={v}" for k, v in options.items())],
            folder.with_suffix(".log"),
            folder=folder,
        )

    def start(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        shutil.chown(self.folder, "postgres", "postgres")
        make = [*self.command, str(self.programs / "initdb"), "-D", str(self.folder / "data"), "-A", "trust", "-E", "UTF8"]
        subprocess.run(make, check=True, capture_output=True, cwd=self.folder)
        self.daemon.start()
        for _try in range(300):
            if (self.folder / f".s.PGSQL.{self.port}").exists():
                break
            time.sleep(0.1)
        ask = [*self.command, str(self.programs / "pg_isready"), "-q", "-t", "30", "-h", str(self.folder), "-p", str(self.port)]
        while subprocess.run(ask, check=False).returncode:
            time.sleep(0.1)

    def create(self, name: str) -> str:
        """An empty database; its URL without driver."""
        command = [*self.command, str(self.programs / "createdb"), "-h", str(self.folder), "-p", str(self.port), "-U", "postgres", name]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder)
        return f"postgres@127.0.0.1:{self.port}/{name}"

    def stop(self) -> None:
        self.daemon.kill(signal.SIGINT)


# ---- devices


@dataclass(frozen=True)
class Device:
    """What a workstation has."""

    id: str
    account: int
    seed: codes.Seed
    key: keys.SoftwareKey

    def code(self, steps: int = 0) -> str:
        return self.seed.code("radius", codes.counter_at(time.time()) + steps)


@dataclass(frozen=True)
class Population:
    """Accounts with two devices each; `devices` are those that logins are made with, in random order. The others are rows like them."""

    accounts: int
    devices: list[Device]
    rows: Mapping[str, list[dict[str, Any]]] = field(repr=False)


def population(ring: Keyring, accounts: int, used: int) -> Population:
    """Twice as many devices as accounts. Those that nobody logs in with share the bytes of one seed, and all the bytes of one certificate,
    which no login reads: the rows are as long, and as many."""
    kid, public = ring.storage
    point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    chosen = [2 * account + each for account in random.sample(range(accounts), used // 2) for each in (0, 1)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        made = pool.starmap(_device, [(number // 2, point, kid) for number in chosen], chunksize=500)
    real = dict(zip(chosen, made, strict=True))
    sample = made[0]
    now = int(time.time())
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ("accounts", "devices", "certificates", "seeds")}
    certificate = secrets.token_bytes(600)
    for number in range(accounts):
        rows["accounts"].append({"id": number + 1, "sid": sid_of(number), "name": name_of(number), "created": now})
    for number in range(2 * accounts):
        found = real.get(number)
        words = found or {**sample, "id": secrets.token_hex(16)}
        rows["devices"].append(
            {
                "id": words["id"],
                "account": number // 2 + 1,
                "state": "active",
                "request": secrets.token_hex(16),
                "workstation": f"PC{number:06}",
                "public_key": words["public"],
                "agreement_key": words["public"],
                "created": now,
                "touched": now,
                "drift": 0,
                "expires": now + YEAR,
            }
        )
        serial = secrets.token_hex(20)
        rows["certificates"].append({"serial": serial, "device": words["id"], "der": certificate, "expires": now + YEAR})
        rows["seeds"].append({"device": words["id"], "state": "active", "sealed": words["sealed"], "kid": kid, "created": now})
    devices = [
        Device(one["id"], number // 2, codes.Seed(one["seed"]), keys.SoftwareKey(ec.derive_private_key(one["private"], ec.SECP256R1())))
        for number, one in real.items()
    ]
    random.shuffle(devices)
    return Population(accounts, devices, rows)


def _device(_account: int, storage: bytes, kid: str) -> dict[str, Any]:
    key, seed, number = ec.generate_private_key(ec.SECP256R1()), codes.new_seed(), secrets.token_hex(16)
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), storage)
    return {
        "id": number,
        "seed": seed,
        "private": key.private_numbers().private_value,
        "public": key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "sealed": messages.seal(seed, number, public, kid),
    }


def fill(url: str, people: Population) -> None:
    """All rows into an empty database, as fast as it takes them."""
    tables.Store(url).close()
    if url.startswith("sqlite"):
        _fill_sqlite(Path(url.removeprefix("sqlite:///")), people.rows)
    else:
        _fill_postgresql(url, people.rows)


def _fill_sqlite(file: Path, rows: Mapping[str, list[dict[str, Any]]]) -> None:
    connection = sqlite3.connect(file)
    with connection:
        for table, values in rows.items():
            names = list(values[0])
            marks = ", ".join(f":{name}" for name in names)
            connection.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", values)
        connection.execute("ANALYZE")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _fill_postgresql(url: str, rows: Mapping[str, list[dict[str, Any]]]) -> None:
    engine = sa.create_engine(url)
    connection = engine.raw_connection()
    cursor: Any = connection.cursor()
    for table, values in rows.items():
        with cursor.copy(f"COPY {table} ({', '.join(values[0])}) FROM STDIN") as copy:
            for row in values:
                copy.write_row(tuple(row.values()))
    connection.commit()
    cursor.execute("SELECT setval(pg_get_serial_sequence('accounts', 'id'), (SELECT max(id) FROM accounts))")
    connection.commit()
    connection.driver_connection.autocommit = True  # type: ignore[union-attr]
    cursor.execute("VACUUM ANALYZE")
    connection.close()
    engine.dispose()


# ---- the server

SETTINGS = """\
origin = "https://localhost:{port}"
database = "{database}"
[keys]
file = "{keys}"
passphrase = "file:{secrets}/passphrase"
[directory]
servers = ["nowhere.corp.example"]
base = "DC=corp,DC=example"
{tls}
[enrollment]
devices = 5
[sites]
"{site}" = "{secrets}/site"
[radius]
secret_file = "{secrets}/radius"
[audit]
folder = "{audit}"
"""


@dataclass
class World:
    """Keys and secrets that all servers of one measurement share."""

    folder: Path
    ring: Keyring
    secrets: Mapping[str, str]

    @classmethod
    def create(cls, folder: Path) -> World:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o755)
        words = {name: secrets.token_urlsafe(24) for name in ("passphrase", "site", "radius")}
        for name, content in words.items():
            (folder / name).touch(mode=0o600)
            (folder / name).write_text(content)
        ring = Keyring.create(folder / "keys.json", words["passphrase"], "Benchmark", "localhost", int(time.time()))
        return cls(folder, ring, words)


@dataclass
class Server:
    """The PassiveKey server on a database, as a process with workers."""

    world: World
    name: str
    database: str
    workers: int = 2
    tls: tuple[Path, Path] | None = None
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        folder = self.world.folder
        tls = f"[tls]\nport = {self.port}\n"
        if self.tls:
            tls += f'certificate = "{self.tls[0]}"\nkey = "{self.tls[1]}"\n'
        words = {"port": self.port, "database": self.database, "secrets": folder, "tls": tls, "site": SITE}
        self.audit = folder / f"audit-{self.name}"
        self.settings = folder / f"{self.name}.toml"
        self.settings.write_text(SETTINGS.format(**words, keys=folder / "keys.json", audit=self.audit))
        command = [sys.executable, "-m", "tests.benchmarks.passivekey_server", str(self.settings), str(self.workers)]
        self.daemon = Daemon(command, folder / f"{self.name}.log")

    def start(self) -> Server:
        self.daemon.start()
        self.daemon.wait_for(self.port)
        time.sleep(1.0)  # until each worker answers
        return self

    def stop(self) -> None:
        self.daemon.kill()


@contextmanager
def running(*servers: Server) -> Iterator[None]:
    try:
        for server in servers:
            server.start()
        yield
    finally:
        for server in servers:
            server.stop()


# ---- FreeRADIUS, of the lab's root

_ENTER = """\
set -eu
mount -t overlay overlay -o lowerdir="$1" "$2"
mount --bind "$3" "$2/mnt"
mount -t tmpfs tmpfs "$2/run"
mount --bind /dev "$2/dev"
mkdir -p "$2/run/freeradius"
chown -R freerad:freerad "$2/run/freeradius" 2> /dev/null || chmod 777 "$2/run/freeradius"
exec chroot "$2" freeradius -d /mnt -f -l stdout
"""
_STATIC_MODULES = """\
modules {
	files {
		filename = /mnt/users
	}
	pap {
	}
}
"""
_STATIC_STEPS = """\
	authorize {
		files
		pap
	}
	authenticate {
		Auth-Type PAP {
			pap
		}
	}
}
"""


def freeradius(folder: Path, name: str, layers: Sequence[Path], server: Server | None, users: int) -> tuple[Daemon, Gateway]:
    """The documented configuration before a server; without one, a static file with as many users."""
    raddb, mount = folder / f"raddb-{name}", folder / f"root-{name}"
    for made in (raddb, mount):
        made.mkdir()
    gateway = Gateway("127.0.0.1", secrets.token_hex(16).encode(), free_port())
    text = (settings.CHECKOUT / "docs/examples/passivekey/radiusd.conf").read_text()
    text = text.replace("confdir = /etc/passivekey/radius", "confdir = /mnt").replace("ipaddr = *", "ipaddr = 127.0.0.1")
    text = text.replace("port = 1812", f"port = {gateway.port}").replace("/etc/passivekey/ca.pem", "/mnt/ca.pem")
    if server and server.tls:
        text = text.replace("https://passivekey.corp.example:8443", f"https://127.0.0.1:{server.port}")
        shutil.copy(server.tls[0], raddb / "ca.pem")
        bearer = server.world.secrets["radius"]
    else:
        before, _start, rest = text.partition("modules {\n")
        _modules, start, steps = rest.partition("server passivekey {\n")
        text = before + _STATIC_MODULES + start + steps.partition("\tauthorize {\n")[0] + _STATIC_STEPS
        lines = [f'{name_of(number)} Cleartext-Password := "{password_of(number)}"\n' for number in range(users)]
        (raddb / "users").write_text("".join(lines))
        bearer = "none"
    (raddb / "radiusd.conf").write_text(text)
    (raddb / "bearer.conf").write_text(f'passivekey_bearer = "{bearer}"\n')
    client = f"ipaddr = 127.0.0.1\nsecret = {gateway.secret.decode()}\nrequire_message_authenticator = yes\nlimit_proxy_state = yes"
    (raddb / "clients.conf").write_text(f"client gateway {{\n{client}\n}}\n")
    command = ["unshare", "-m", "--propagation", "private", "sh", "-c", _ENTER, "sh", ":".join(map(str, layers)), str(mount), str(raddb)]
    daemon = Daemon(command, folder / f"freeradius-{name}.log")
    daemon.start()
    ready = "Ready to process requests"
    deadline = time.monotonic() + 60
    while ready not in daemon.log.read_text(errors="replace"):
        if daemon.process is None or daemon.process.poll() is not None or time.monotonic() > deadline:
            daemon.kill()
            raise LabError(f"FreeRADIUS does not start: {daemon.log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)
    return daemon, gateway


def certificate(folder: Path) -> tuple[Path, Path]:
    """Of loopback, its own CA."""
    found = folder / "server.pem", folder / "server.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command, "-out", str(found[0]), "-keyout", str(found[1])], check=True, capture_output=True)
    return found
