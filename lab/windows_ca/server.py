# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP server under WinRM and IIS: a thread and a conversation a connection, keep-alive, TLS, counters."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Collection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lab.windows_ca.gate import Answer, Conversation, Gate


class Metrics:
    """Counters in a JSON file, written before the response that they count leaves: `{"winrm_requests": 12, ...}`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        with contextlib.suppress(FileNotFoundError, ValueError):
            self._counts.update(json.loads(path.read_text()))

    def count(self, name: str, number: int = 1) -> None:
        with self._lock:
            self._counts[name] += number
            temporary = self._path.with_suffix(".tmp")
            temporary.write_text(json.dumps(self._counts, sort_keys=True))
            temporary.replace(self._path)


_log_lock = threading.Lock()


def log(area: str, text: str) -> None:
    """One line in the lab's logs/ca1.log (standard output)."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with _log_lock:
        print(f"{stamp} {area}: {text}", file=sys.stdout, flush=True)


class Server(ThreadingHTTPServer):
    """`name`: of the counters and log lines (winrm, iis). `certificate`, `key`: PEM files; without them plain HTTP."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        name: str,
        port: int,
        handler: type[Handler],
        gate: Gate,
        metrics: Metrics,
        *,
        certificate: Path | None = None,
        key: Path | None = None,
        allow: Collection[str] = ("negotiate",),
        require_channel_binding: bool = False,
    ) -> None:
        self.name, self.gate, self.metrics = name, gate, metrics
        self.allow, self.require_channel_binding = allow, require_channel_binding
        self._tls: ssl.SSLContext | None = None
        self._open: set[socket.socket] = set()
        if certificate is not None and key is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate, key)
        super().__init__(("", port), handler)

    def load_certificate(self, certificate: Path, key: Path) -> None:
        """For connections from now on."""
        assert self._tls is not None
        self._tls.load_cert_chain(certificate, key)

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        connection.settimeout(120)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:  # the handshake waits for the connection's own thread
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def drop_connections(self) -> None:
        """As a host that goes down: every connection is reset."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.2}, name=self.name, daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, (OSError, ssl.SSLError)):
            log(self.name, f"{client_address[0]}: connection lost: {error}")
            return
        log(self.name, f"{client_address[0]}: FAULT IN THE STAND-IN: {error!r}")
        super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection. A subclass writes do_GET, do_POST, and calls `authenticate()` where it wants to know who it is."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "Microsoft-HTTPAPI/2.0", ""
    wbufsize = -1  # headers and body leave together
    disable_nagle_algorithm = True
    server: Server
    conversation: Conversation

    def setup(self) -> None:
        if isinstance(self.request, ssl.SSLSocket):
            self.request.do_handshake()
        self.conversation = self.server.gate.new_conversation(
            allow=self.server.allow, require_channel_binding=self.server.require_channel_binding
        )
        self.server.metrics.count(f"{self.server.name}_connections")
        super().setup()

    def authenticate(self) -> Answer:
        """Who it is by this request's Authorization header or by an earlier one of this connection; logged and counted."""
        authorization = self.headers.get("Authorization")
        answer = self.conversation.step(authorization)
        if authorization and (answer.authenticated or answer.error):
            outcome = f"signed in by {self.conversation.method}" if answer.authenticated else f"REFUSED: {answer.error}"
            log(self.server.name, f"{self.client_address[0]}: {answer.authenticated or 'nobody'}: {outcome}")
            self.server.metrics.count(f"{self.server.name}_{'authentications' if answer.authenticated else 'refusals'}")
        return answer

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(self._chunks())
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _chunks(self) -> list[bytes]:
        found = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            found.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return found

    def respond(
        self, status: int, body: bytes = b"", content_type: str | None = None, www_authenticate: Collection[str] = (), **headers: str
    ) -> None:
        """Further headers as keywords: `Location="…"`, `Content_Disposition="…"`."""
        self.server.metrics.count(f"{self.server.name}_requests")
        self.send_response(status)
        if content_type:
            self.send_header("Content-Type", content_type)
        for value in www_authenticate:
            self.send_header("WWW-Authenticate", value)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def unauthorized(self, answer: Answer) -> None:
        self.respond(401, www_authenticate=answer.www_authenticate)

    def log_message(self, format: str, *arguments: Any) -> None:
        """What was done is logged by whoever does it."""


def state_folder() -> Path:
    """Where the stand-in keeps its state: the Windows host's disk, so to speak."""
    return Path(os.environ.get("WINDOWS_CA_STATE") or "/var/lib/windows_ca")
