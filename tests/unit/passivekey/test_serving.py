# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients that take their time, and clients that come at once, against the server as it runs: uvicorn on a port of this machine."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from types import SimpleNamespace

import pytest

pytest.importorskip("starlette", reason="Starlette is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")

import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from passivekey.errors import ConfigurationError
from passivekey.server import serving

WITHIN = 0.6


@pytest.fixture
def port(monkeypatch):
    monkeypatch.setattr(serving, "HEAD_WITHIN", WITHIN)

    async def answer(request):
        return PlainTextResponse(f"{len(await request.body())}")

    given = SimpleNamespace(address="127.0.0.1", port=0, certificate=None, certificate_key=None, proxies=())
    server = uvicorn.Server(serving.configured(given, lambda: Starlette(routes=[Route("/", answer, methods=["GET", "POST"])])))
    listening = serving._listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield listening.getsockname()[1]
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


def connected(port, sent=b""):
    found = socket.create_connection(("127.0.0.1", port), 5)
    found.settimeout(5)
    found.sendall(sent)
    return found


def closed_after(connection):
    """Seconds until the server has ended it."""
    begun = time.monotonic()
    with suppress(ConnectionResetError):
        assert connection.recv(1) == b""
    return time.monotonic() - begun


def test_heads_that_do_not_come_to_their_end(port):
    """One that says nothing, one that stops in the middle, one that goes on for ever."""
    silent, half = connected(port), connected(port, b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ")
    assert closed_after(silent) < 2 * WITHIN and closed_after(half) < 2 * WITHIN
    endless, begun = connected(port, b"GET / HTTP/1.1\r\n"), time.monotonic()
    with pytest.raises(OSError):
        while time.monotonic() - begun < 5:
            endless.sendall(b"X-A: b\r\n")
            time.sleep(0.05)
    assert time.monotonic() - begun < 3 * WITHIN


def test_requests_that_come_in_time_go_on(port):
    """Also one that is asked on a connection that was idle for longer, and a body that comes later."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    for _request in range(2):
        client.request("GET", "/")
        assert client.getresponse().read() == b"0"
        time.sleep(1.5 * WITHIN)
    late = connected(port, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\n")
    time.sleep(1.5 * WITHIN)
    late.sendall(b"abc")
    assert late.makefile("rb").read().endswith(b"\r\n\r\n3")


def test_the_second_request_of_a_connection_has_to_come_as_well(port):
    slow = connected(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    found = b""
    while not found.endswith(b"\r\n\r\n0"):
        found += slow.recv(4096)
    time.sleep(0.1)
    slow.sendall(b"GET / HT")
    assert closed_after(slow) < 2 * WITHIN


# ---- several workers


def whose():
    """An application that says which worker it is of."""

    async def answer(_request):
        return PlainTextResponse(str(os.getpid()))

    return Starlette(routes=[Route("/", answer)])


TWO = f"""
from types import SimpleNamespace
from passivekey.server import serving
given = SimpleNamespace(address="127.0.0.1", port=0, certificate=None, certificate_key=None, proxies=())
listening = serving._listen("127.0.0.1", 0)
print(listening.getsockname()[1], flush=True)
serving._serve(serving.configured(given, "{__name__}:whose", 2), listening, 2)
"""


@pytest.fixture(scope="module")
def two_workers():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # workers import this file
    started = subprocess.Popen([sys.executable, "-c", TWO], stdout=subprocess.PIPE, text=True, start_new_session=True, env=environment)
    try:
        port = int(started.stdout.readline())
        deadline = time.monotonic() + 30
        while len(workers_of(port, 8)) < 2:
            assert time.monotonic() < deadline, "the workers do not start"
            time.sleep(0.1)
        yield port
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        started.wait(20)


def workers_of(port, count):
    """Who answers on so many connections that are opened at once."""
    with suppress(ConnectionError):
        clients = [connected(port) for _ in range(count)]
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return Counter(client.makefile("rb").read().rpartition(b"\r\n")[2] for client in clients)
    return Counter()


def test_connections_that_come_at_once_are_of_all_workers(two_workers):
    found = [sorted(workers_of(two_workers, 16).values()) for _proxy in range(20)]
    assert sum(few[0] for few in found if len(few) == 2) >= 90, found  # about 128, with a deviation of 7


def test_a_worker_that_is_killed_is_replaced(two_workers):
    victim = next(iter(workers_of(two_workers, 1)))
    os.kill(int(victim), signal.SIGKILL)
    deadline, found = time.monotonic() + 30, Counter()
    while len(found) < 2 or victim in found:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
        found = workers_of(two_workers, 16)
    assert found.total() == 16


def test_settings_that_a_server_has_already(tmp_path):
    """Two that begin together find the port free, and would share it."""
    path = tmp_path / "settings.toml"
    path.write_text("")
    with serving._alone(path), pytest.raises(ConfigurationError, match="another server"), serving._alone(path):
        pass
    with serving._alone(path):
        pass


def test_a_port_that_another_server_has(two_workers):
    with pytest.raises(ConfigurationError, match="in use"):
        serving._listen("127.0.0.1", two_workers)
