# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTPS for one or many stand-in appliances in one process: one event loop, HTTP/1.1 with keep-alive, faults on command.

handle = start(tmp_path)
requests.post(f"{handle.url}/api/v1/realm_auth", auth=(handle.admin, handle.password), json={"realm": handle.realm}, verify=handle.ca_file)
handle.stop()
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import json
import secrets
import ssl
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from cryptography import x509

from lab.connect_secure import certificates
from lab.connect_secure.answers import Answer, Request, envelope
from lab.connect_secure.appliance import REALM, Appliance, DataPlane
from lab.connect_secure.state import State, Tree, replace

REASONS = {200: "OK", 201: "Created", 204: "No Content", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found"}
REASONS |= {422: "Unprocessable Entity", 500: "Internal Server Error"}
MAX_BODY = 16 * 1024 * 1024
HTML = b"<html><head><title>Sign in</title></head><body><h1>Welcome to Connect Secure</h1></body></html>"


class Port:
    """The management port of one appliance: listener, TLS, connections."""

    def __init__(
        self, appliance: Appliance, address: str, port: int, *, fault_certificates: Any, metrics: Path | None, threaded: bool
    ) -> None:
        self.appliance, self.address, self.port = appliance, address, port
        self.metrics_file, self.threaded = metrics, threaded
        self.connections: set[Connection] = set()
        self._fault_certificates = fault_certificates
        self._server: asyncio.Server | None = None
        self._shown: tuple[str, str] = ("", "")
        self._asked: tuple[Any, Tree] = (None, {})
        self._current = self._listening = self.context()
        self._listening.sni_callback = self._choose
        appliance.state.subscribe(self._follow)

    def context(self) -> ssl.SSLContext:
        """TLS with what the management port is to show now."""
        fault, tree = self.appliance.faults.get("management_certificate"), self.appliance.state.tree
        if tree is self._asked[1] and fault == self._asked[0]:
            return self._current
        self._asked = fault, tree
        shown = self._fault_certificates(fault) if fault else self.appliance.management_certificate()
        if shown != self._shown:
            self._shown = shown
            self._current = _server_context(*shown)
        return self._current

    def _choose(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        current = self.context()
        if current is not context:
            connection.context = current

    def _follow(self, tree: Tree) -> None:
        """A bound certificate is served from the next connection on."""
        self.context()

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        # The handshake of many clients at once waits for its turn; the limit is for those that never come to it.
        self._server = await loop.create_server(
            lambda: Connection(self),
            self.address,
            self.port,
            ssl=self._listening,
            backlog=512,
            ssl_handshake_timeout=60,
            reuse_address=True,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def reboot(self, seconds: float) -> None:
        """The host goes down: connections break, the port refuses, the keys are forgotten; then it is back."""
        assert self._server is not None
        self._server.close()
        for connection in list(self.connections):
            connection.abort()
        self.appliance.accounts.forget_all()
        await asyncio.sleep(seconds)
        await self.open()

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.abort()

    def save_metrics(self) -> None:
        if self.metrics_file is not None:
            replace(self.metrics_file, json.dumps(self.appliance.metrics(), sort_keys=True))


def _server_context(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.num_tickets = 0
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "certificate.pem"), Path(folder, "key.pem")
        for file, text in zip(files, (certificate, key), strict=True):
            replace(file, text)
        context.load_cert_chain(*files)
    return context


class Connection(asyncio.Protocol):
    """One client's connection: a request at a time, in the order in which they came."""

    def __init__(self, port: Port) -> None:
        self.port, self.appliance = port, port.appliance
        self._buffer = bytearray()
        self._busy = False
        self.client = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.client = str(transport.get_extra_info("peername", ("",))[0])
        self.port.connections.add(self)
        self.appliance.counts["connections"] += 1

    def connection_lost(self, error: Exception | None) -> None:
        self.port.connections.discard(self)

    def abort(self) -> None:
        self.transport.abort()

    def data_received(self, received: bytes) -> None:
        self._buffer += received
        self._next()

    def _next(self) -> None:
        while not self._busy and self._buffer:
            try:
                request, close = self._parse()
            except ValueError:
                self._send(envelope(400, errors=("Malformed request",)), close=True)
                return
            if request is None:
                return
            self._serve(request, close)

    def _parse(self) -> tuple[Request | None, bool]:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > 65536:
                raise ValueError
            return None, False
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        method, target, protocol = lines[0].split(" ")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        start = end + 4
        if headers.get("transfer-encoding", "").lower() == "chunked":
            unpacked = _unchunk(self._buffer, start)
            if unpacked is None:
                return None, False
            body, start = unpacked
        else:
            length = int(headers.get("content-length") or 0)
            if length > MAX_BODY or length < 0:
                raise ValueError
            if len(self._buffer) < start + length:
                if headers.get("expect", "").lower() == "100-continue" and len(self._buffer) == start:
                    self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return None, False
            body, start = bytes(self._buffer[start : start + length]), start + length
        del self._buffer[:start]
        path, _, query = target.partition("?")
        close = headers.get("connection", "").lower() == "close" or protocol == "HTTP/1.0"
        return Request(method, path, query, headers, body, self.client), close

    def _serve(self, request: Request, close: bool) -> None:
        faults = self.appliance.faults.take(request.method, request.path)
        if not faults and not self.port.threaded:
            self._send(self._handle(request), close=close)
            return
        self._busy = True
        task = asyncio.get_running_loop().create_task(self._serve_slowly(request, close, faults))
        task.add_done_callback(self._served)

    def _served(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log(f"FAULT IN THE STAND-IN: {''.join(traceback.format_exception(error))}")
            self.abort()
        self._busy = False
        self._next()

    def _handle(self, request: Request) -> Answer:
        try:
            return self.appliance.handle(request)
        except Exception:
            log(f"{request.method} {request.path}: FAULT IN THE STAND-IN: {traceback.format_exc()}")
            return envelope(500, errors=("stand-in: a fault in the stand-in itself, see its log",))

    async def _serve_slowly(self, request: Request, close: bool, faults: dict[str, dict[str, Any]]) -> None:
        """With faults, or with a data plane that takes its time."""
        if "slow" in faults:
            await asyncio.sleep(faults["slow"].get("seconds", 1))
        if "reboot" in faults and faults["reboot"].get("when") == "before":
            await self.port.reboot(faults["reboot"].get("seconds", 2))
            return
        if "drop" in faults and faults["drop"].get("when", "before") == "before":
            self.abort()
            return
        if "status" in faults:
            status = faults["status"].get("status", 500)
            self._send(envelope(status, errors=("The REST server is not responding",)), close=close)
            return
        if "console" in faults:
            await asyncio.to_thread(self.appliance.console, faults["console"].get("change", []))
        answer = await asyncio.to_thread(self._handle, request)
        if "reboot" in faults:
            await self.port.reboot(faults["reboot"].get("seconds", 2))
        elif "drop" in faults:
            self.abort()
        else:
            self._send(_spoiled(answer, faults["body"]) if "body" in faults else answer, close=close)

    def _send(self, answer: Answer, *, close: bool) -> None:
        self.appliance.counts["requests"] += 1
        self.appliance.counts[f"status_{answer.status}"] += 1
        self.port.save_metrics()
        head = [f"HTTP/1.1 {answer.status} {REASONS.get(answer.status, 'Unknown')}", f"Content-Type: {answer.content_type}"]
        head.append(f"Content-Length: {len(answer.body)}")
        head += [f"{name}: {value}" for name, value in answer.headers.items()]
        if answer.status == 401:
            head.append('WWW-Authenticate: Basic realm="Connect Secure"')
        if close:
            head.append("Connection: close")
        self.transport.write("\r\n".join(head).encode() + b"\r\n\r\n" + answer.body)
        if close:
            self.transport.close()


def _unchunk(buffer: bytearray, start: int) -> tuple[bytes, int] | None:
    """The body of a chunked message and where it ends; None while it is not all there."""
    body = bytearray()
    while (line := buffer.find(b"\r\n", start)) >= 0:
        size = int(buffer[start:line].split(b";")[0], 16)
        if size + len(body) > MAX_BODY:
            raise ValueError
        chunk = line + 2
        if len(buffer) < chunk + size + 2:
            return None
        if size == 0:
            return bytes(body), chunk + 2
        body += buffer[chunk : chunk + size]
        start = chunk + size + 2
    return None


def _spoiled(answer: Answer, fault: dict[str, Any]) -> Answer:
    kind = fault.get("kind", "half")
    if kind == "half":
        return Answer(answer.status, answer.body[: len(answer.body) // 2], answer.content_type)
    if kind == "html":
        return Answer(200, HTML, "text/html")
    if kind == "empty":
        return Answer(200, b"")
    raise ValueError(f"no such kind of body: {kind}")


_log_lock = threading.Lock()


def log(text: str) -> None:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with _log_lock:
        print(f"{stamp} connect_secure: {text}", flush=True)


class Authority:
    """The CA of the certificates that stand-ins begin with, and of those that the fault `management_certificate` asks for."""

    def __init__(self) -> None:
        self._pair = certificates.make_authority("Stand-in appliances CA")
        self.pem = certificates.pem(self._pair[0])
        self._made: dict[tuple[str, ...], tuple[str, str]] = {}

    def server(self, hosts: list[str], *, days: int = 365, self_signed: bool = False) -> tuple[str, str]:
        """Certificate and key, PEM."""
        made, key = certificates.make_server(
            [_general_name(host) for host in hosts], hosts[0], None if self_signed else self._pair, days=days
        )
        return certificates.pem(made), certificates.key_pem(key)

    def faulty(self, hosts: list[str], fault: Any) -> tuple[str, str]:
        if isinstance(fault, dict):
            return Path(fault["certificate"]).read_text(), Path(fault["key"]).read_text()
        if fault not in ("expired", "self-signed"):
            raise ValueError(f"no such management_certificate: {fault}")
        known = (fault, *hosts)
        if known not in self._made:
            self._made[known] = self.server(hosts, days=-2) if fault == "expired" else self.server(hosts, self_signed=True)
        return self._made[known]


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="connect_secure", daemon=True)
        self._thread.start()

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def call(self, work: Any) -> None:
        async def do() -> None:
            work()

        self.run(do())

    def stop(self) -> None:
        async def finish() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        with contextlib.suppress(Exception):
            asyncio.run_coroutine_threadsafe(finish(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


class Handle:
    """A running stand-in. `ca_file`: PEM of what its first certificate is verified with; `faults`: assign an object (see faults.py)."""

    def __init__(self, port: Port, loop: Loop, ca_file: Path) -> None:
        self._port, self._loop, self.ca_file = port, loop, ca_file
        self.appliance = port.appliance
        self.admin, self.password, self.realm = self.appliance.admin, self.appliance.password, REALM

    @property
    def address(self) -> str:
        return self._port.address

    @property
    def port(self) -> int:
        return self._port.port

    @property
    def url(self) -> str:
        return f"https://{self.address}:{self.port}"

    @property
    def state(self) -> State:
        return self.appliance.state

    @property
    def metrics(self) -> dict[str, Any]:
        return self.appliance.metrics()

    @property
    def faults(self) -> dict[str, Any]:
        return self.appliance.faults.all()

    @faults.setter
    def faults(self, faults: dict[str, Any]) -> None:
        self.appliance.faults.set(faults)

    def reset_metrics(self) -> None:
        self.appliance.counts.clear()
        self.appliance.refused.clear()

    def stop(self) -> None:
        """Once or more often."""
        if not self._loop.loop.is_closed():
            self._loop.call(self._port.close)
            self._loop.stop()


def start(
    folder: Path | str,
    address: str = "127.0.0.1",
    port: int = 0,
    *,
    hostname: str = "vpn1.corp.example",
    certificate: Path | None = None,
    key: Path | None = None,
    data_plane: DataPlane | None = None,
    **options: Any,
) -> Handle:
    """One stand-in in a thread of this process; its state, faults.json and metrics.json are in `folder`.

    `certificate` and `key`: PEM files of its first device certificate; without them one is made for `hostname` and `address`, by a CA in
    `handle.ca_file`. `options`: version (22.7R2.10: realm_auth only; 22.7R1 or 9.1R13: auth only), admin, password, node, key_lifetime,
    max_sessions, shallow, quiet, names, as in `Appliance`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority = Authority()
    hosts = [hostname, address]
    if certificate is not None and key is not None:
        first = certificate.read_text(), key.read_text()
    else:
        first = authority.server(hosts)
        if not (folder / "state.json").exists():
            replace(folder / "ca.pem", authority.pem)
    metrics = folder / "metrics.json"
    appliance = Appliance(folder, certificate=first[0], key=first[1], data_plane=data_plane, **options)
    if metrics.exists():
        appliance.count_on(json.loads(metrics.read_text()))
    loop = Loop()
    opened = Port(
        appliance,
        address,
        port,
        fault_certificates=functools.partial(authority.faulty, hosts),
        metrics=metrics,
        threaded=data_plane is not None,
    )
    loop.run(opened.open())
    return Handle(opened, loop, folder / "ca.pem")


class Fleet:
    """Many control planes in one process, one event loop, one CA; each with an address of its own, all with the same administrator."""

    def __init__(self, folder: Path, addresses: list[str], port: int, password: str, **options: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder, self._loop = folder, Loop()
        authority = Authority()
        first = authority.server(addresses)
        self.ports = [self._port(authority, address, port, first, password, options) for address in addresses]
        self.appliances = {port.address: port.appliance for port in self.ports}
        replace(folder / "ca.pem", authority.pem)
        self._loop.run(self._open())
        self.save_metrics()
        told = {"addresses": addresses, "port": self.ports[0].port, "ca_file": str(folder / "ca.pem")}
        replace(folder / "appliances.json", json.dumps(told | {"admin": "admin", "password": password, "realm": REALM}))

    def _port(self, authority: Authority, address: str, port: int, first: tuple[str, str], password: str, options: dict[str, Any]) -> Port:
        appliance = Appliance(None, certificate=first[0], key=first[1], password=password, **options)
        faulty = functools.partial(authority.faulty, [address])
        return Port(appliance, address, port, fault_certificates=faulty, metrics=None, threaded=False)

    async def _open(self) -> None:
        for port in self.ports:
            await port.open()

    def save_metrics(self) -> None:
        metrics = {address: appliance.metrics() for address, appliance in self.appliances.items()}
        replace(self._folder / "metrics.json", json.dumps(metrics))

    def stop(self) -> None:
        self.save_metrics()
        for port in self.ports:
            self._loop.call(port.close)
        self._loop.stop()


def start_many(folder: Path, first: str, count: int, *, port: int = 8443, **options: Any) -> Fleet:
    """`count` control planes at the loopback addresses from `first` on. They share the certificate that they begin with."""
    start_address = ipaddress.ip_address(first)
    addresses = [str(start_address + number) for number in range(count)]
    return Fleet(Path(folder), addresses, port, secrets.token_urlsafe(12), **options)
