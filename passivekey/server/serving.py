# SPDX-License-Identifier: GPL-3.0-or-later
"""The service under uvicorn, with TLS of its own or behind a proxy on the same machine."""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.supervisors import Multiprocess

from passivekey.errors import ConfigurationError
from passivekey.protocol import messages
from passivekey.protocol.errors import Refused
from passivekey.server import settings
from passivekey.server.cli import opened
from passivekey.server.metrics import FOLDER
from passivekey.server.service import PENDING_LIFE, Service
from passivekey.server.spnego import Acceptor
from passivekey.server.web import Fronts, application

_SETTINGS = "PASSIVEKEY_SETTINGS"
HEAD_WITHIN = 20.0
"""Seconds in which the head of a request has come, from the connection or its first octet on."""

_CLEANING = 3600
"""Seconds between two times that what is over is forgotten."""


class Impatient(H11Protocol):
    """uvicorn waits for the head of a request as long as a client likes, who so could hold all connections that there are."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._wait()
        else:
            self._wait_no_more()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._waiting is None:
            self._waiting = self.loop.call_later(HEAD_WITHIN, self.transport.abort)

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


def run(given: settings.Settings, path: Path, workers: int, factory: str = "passivekey.server.serving:create") -> None:
    """Serve until told to stop. Without TLS only this machine is answered: a proxy stands in front. `factory` is what a worker calls."""
    if given.certificate is None and given.address not in ("127.0.0.1", "::1"):
        raise ConfigurationError(f"tls.certificate is missing, and {given.address} is not this machine alone; set it, or tls.address")
    for file in (given.certificate, given.certificate_key):
        if file is not None and not file.is_file():
            raise ConfigurationError(f"tls: {file} is missing")
    opened(given)  # what is wrong is said here, once, and not by each worker
    os.environ[_SETTINGS] = str(path)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a connection each; 1024 is what most systems begin with
    config = configured(given, factory, workers)
    with _alone(path), tempfile.TemporaryDirectory(prefix="passivekey-metrics-") as counts:
        os.environ[FOLDER] = counts
        _serve(config, _listen(given.address, given.port), workers)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """No other server with these settings: two that begin together find the port free, and would share it."""
    with path.open("rb") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(f"{path}: another server runs with these settings; stop it first") from error
        except OSError:
            pass  # a file system without locks: the port alone tells of a server that answers already
        yield


def configured(given: settings.Settings, factory: str | Callable[[], Starlette], workers: int = 1) -> uvicorn.Config:
    """How uvicorn serves; who asks is known by the address, or by what a proxy of the settings says of it."""
    return uvicorn.Config(
        factory,
        factory=True,
        host=given.address,
        port=given.port,
        workers=workers,
        ssl_certfile=given.certificate,
        ssl_keyfile=given.certificate_key,
        proxy_headers=bool(given.proxies),
        forwarded_allow_ips=list(given.proxies),
        server_header=False,
        access_log=False,
        log_level="warning",
        timeout_keep_alive=30,
        # proxies keep connections open, and TLS would wait for them to say goodbye
        timeout_graceful_shutdown=3,
        http=Impatient,
        # a ticket of somebody in many groups is a long header; 16 KiB are what h11 would take
        h11_max_incomplete_event_size=messages.LONGEST,
    )


def _serve(config: uvicorn.Config, listening: socket.socket, workers: int) -> None:
    if workers > 1:
        # uvicorn 0.32 (of Debian 13) wants to be told what each process runs; later ones know
        told: dict[str, Any] = {"target": uvicorn.Server(config).run} if "target" in signature(Multiprocess).parameters else {}
        Multiprocess(config, sockets=[listening], **told).run()
    else:
        uvicorn.Server(config).run(sockets=[listening])


class Line(socket.socket):
    """Where connections wait for a worker. Each worker has a line of its own, and the kernel sends about as many to each: of one line for
    all, asyncio takes all that there are, so that the connections that a proxy opens at once, and keeps, are all of one worker."""

    def __reduce__(self) -> tuple[Callable[[str, int], Line], tuple[str, int]]:
        """For the worker that is started with it."""
        return _line, self.getsockname()[:2]


def _line(address: str, port: int) -> Line:
    """It says that it is of TCP. On a socket that does not, as uvicorn makes for several workers, asyncio leaves Nagle's algorithm on, and
    each answer on a connection that is kept takes 40 ms more."""
    found = Line(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    found.bind((address, port))
    return found


def _listen(address: str, port: int) -> Line:
    try:
        # another server of the same user would share the port with this one: only without SO_REUSEPORT the kernel says that it is there
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
        return _line(address, port)
    except OSError as error:
        raise ConfigurationError(f"tls.address {address}, tls.port {port}: {error.strerror}") from error


def create() -> Starlette:
    """The application of one worker."""
    given = settings.load(Path(os.environ[_SETTINGS]))
    service = opened(given)
    certificate = given.certificate.read_bytes() if given.certificate else None
    acceptor = Acceptor(given.rules.host, given.keytab, certificate) if given.keytab else None
    threading.Thread(target=_clean, args=(service,), daemon=True).start()
    administrators = given.administrators, given.administrators_by_password
    return application(service, Fronts(given.sites, given.radius, acceptor, given.metrics, *administrators))


def _clean(service: Service) -> None:
    while True:
        try:
            with service.store.transaction() as transaction:
                transaction.clean(service.now, PENDING_LIFE, service.rules.session_life)
        except Refused:
            pass  # the database is away, as every answer says; the next time will do
        time.sleep(_CLEANING)
