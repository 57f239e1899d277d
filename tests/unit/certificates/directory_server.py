# SPDX-License-Identifier: GPL-3.0-or-later
"""An LDAP server with one object, for tests: simple binds and searches (RFC 4511), nothing else."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ansible_collections.certlogon.core.plugins.module_utils.certificates import der

BIND_REQUEST, SEARCH_REQUEST = 0x60, 0x63


class Directory(socketserver.ThreadingTCPServer):
    """`values` by attribute, of the object `dn`; `account` is who may read it, None for everybody."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, dn: str, values: dict[str, list[bytes]], account: tuple[str, str] | None) -> None:
        self.dn, self.values, self.account = dn, values, account
        self.binds: list[tuple[str, str]] = []
        super().__init__(("127.0.0.1", 0), _Connection)


class _Connection(socketserver.BaseRequestHandler):
    server: Directory

    def handle(self) -> None:
        self.known, pending = False, b""
        while True:
            try:
                _tag, message, end = der.read(pending)
            except ValueError:
                received = self.request.recv(65536)
                if not received:
                    return
                pending += received
                continue
            pending = pending[end:]
            _tag, number, position = der.read(message)
            tag, content, _end = der.read(message, position)
            if tag == BIND_REQUEST:
                self._bind(number, content)
            elif tag == SEARCH_REQUEST:
                self._search(number, content)
            else:
                return

    def _send(self, number: bytes, operation: bytes) -> None:
        self.request.sendall(der.sequence(der.element(0x02, number), operation))

    def _result(self, number: bytes, tag: int, code: int, text: str = "") -> None:
        self._send(number, der.element(tag, der.element(0x0A, bytes([code])) + der.octet_string(b"") + der.octet_string(text.encode())))

    def _bind(self, number: bytes, content: bytes) -> None:
        _tag, _version, position = der.read(content)
        _tag, name, position = der.read(content, position)
        _tag, password, _end = der.read(content, position)
        given = (name.decode(), password.decode())
        self.server.binds.append(given)
        self.known = given == self.server.account
        self._result(number, 0x61, 0 if self.known or not given[0] else 49)

    def _search(self, number: bytes, content: bytes) -> None:
        _tag, base, _end = der.read(content)
        if self.server.account and not self.known:
            self._result(number, 0x65, 1, "a successful bind must be completed on the connection")
        elif base.decode().casefold() != self.server.dn.casefold():
            self._result(number, 0x65, 32)
        else:
            attributes = b"".join(
                der.sequence(der.octet_string(name.encode()), der.element(0x31, b"".join(map(der.octet_string, values))))
                for name, values in self.server.values.items()
            )
            self._send(number, der.element(0x64, der.octet_string(self.server.dn.encode()) + der.sequence(attributes)))
            self._result(number, 0x65, 0)


@contextmanager
def directory(dn: str, values: dict[str, list[bytes]], account: tuple[str, str] | None = None) -> Iterator[Directory]:
    with Directory(dn, values, account) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()
