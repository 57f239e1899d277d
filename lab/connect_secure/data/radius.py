# SPDX-License-Identifier: GPL-3.0-or-later
"""RADIUS for tunnels: ocserv asks us by its library radcli, and we ask the RADIUS server that is configured, as the appliance would.

So what the appliance has and ocserv has not counts: the backup server, timeout and retries, and that a question of the server
(Access-Challenge) reaches the user only by a custom RADIUS rule. Requests are signed and answers must be (Message-Authenticator, RFC 3579
section 3.2): radcli 1.2.11 does neither. That the appliance demands it, is inferred.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from typing import Any

from lab.connect_secure.data.plan import RadiusServer

REQUEST, ACCEPT, REJECT, CHALLENGE = 1, 2, 3, 11
USER_NAME, USER_PASSWORD, CALLING_STATION, NAS_IDENTIFIER, SIGNATURE = 1, 2, 31, 32, 80
HEADER = 20
PORTS = range(18120, 18320)  # radcli takes none above 32767
Pairs = list[tuple[int, bytes]]


class Trouble(Exception):
    """Why there is no answer to be taken."""


def parse(packet: bytes) -> Pairs:
    """The attributes (RFC 2865 section 3). Raises Trouble."""
    pairs, position = [], HEADER
    if len(packet) < HEADER or int.from_bytes(packet[2:4], "big") != len(packet):
        raise Trouble("what came is no RADIUS packet")
    while position < len(packet):
        length = packet[position + 1] if position + 1 < len(packet) else 0
        if length < 2 or position + length > len(packet):
            raise Trouble("what came has a broken attribute")
        pairs.append((packet[position], packet[position + 2 : position + length]))
        position += length
    return pairs


def compose(code: int, number: int, authenticator: bytes, pairs: Pairs) -> bytes:
    body = b"".join(bytes([kind, len(value) + 2]) + value for kind, value in pairs)
    return bytes([code, number]) + (HEADER + len(body)).to_bytes(2, "big") + authenticator + body


def signed(code: int, number: int, authenticator: bytes, pairs: Pairs, secret: bytes) -> bytes:
    """With a Message-Authenticator, before all others, in place of one that was there."""
    rest = [pair for pair in pairs if pair[0] != SIGNATURE]
    digest = hmac.digest(secret, compose(code, number, authenticator, [(SIGNATURE, bytes(16)), *rest]), "md5")
    return compose(code, number, authenticator, [(SIGNATURE, digest), *rest])


def answered(answer: bytes, request: bytes, secret: bytes) -> tuple[int, Pairs]:
    """The code and attributes of an answer to this request. Raises Trouble for one that is not the server's."""
    pairs = parse(answer)
    if answer[4:HEADER] != hashlib.md5(answer[:4] + request[4:HEADER] + answer[HEADER:] + secret).digest():
        raise Trouble("its answer was made with another secret")
    given = next((value for kind, value in pairs if kind == SIGNATURE), None)
    plain = [(kind, bytes(16) if kind == SIGNATURE else value) for kind, value in pairs]
    if given is None or given != hmac.digest(secret, compose(answer[0], answer[1], request[4:HEADER], plain), "md5"):
        raise Trouble("its answer has no Message-Authenticator that is right")
    return answer[0], pairs


def mask(text: bytes, secret: bytes, authenticator: bytes, *, hide: bool) -> bytes:
    """A password hidden or shown (RFC 2865 section 5.2)."""
    found, before = b"", authenticator
    for start in range(0, len(text), 16):
        block = text[start : start + 16]
        made = bytes(one ^ other for one, other in zip(block, hashlib.md5(secret + before).digest(), strict=True))
        found, before = found + made, made if hide else block
    return found


class Relay(socketserver.ThreadingMixIn, socketserver.UDPServer):
    """What radcli takes for the RADIUS server of one sign-in policy. `refused(user, address, reason)` for each whom it keeps out."""

    daemon_threads = True

    def __init__(self, server: RadiusServer, refused: Callable[[str, str, str], None], port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.radius, self.refused = server, refused
        self.secret = secrets.token_hex(16)
        self._asked: dict[bytes, float] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def first_time(self, packet: bytes) -> bool:
        """False for what radcli sends again: it is being asked about."""
        now = time.monotonic()
        with self._lock:
            self._asked = {key: at for key, at in self._asked.items() if now - at < 300}
            return self._asked.setdefault(packet[:HEADER], now) == now

    def close(self) -> None:
        self.shutdown()
        self.server_close()

    def client_configuration(self, servers: str) -> str:
        """radcli's radiusclient.conf; `servers`: the file with the secret."""
        return (
            f"authserver 127.0.0.1:{self.port}\nservers {servers}\ndictionary /etc/radcli/dictionary\ndefault_realm\n"
            f"radius_timeout {int(self.radius.patience) + 2}\nradius_retries 1\nbindaddr *\n"
        )


class _Handler(socketserver.BaseRequestHandler):
    server: Relay

    def handle(self) -> None:
        packet, answers = self.request
        relay, local = self.server, self.server.secret.encode()
        if not relay.first_time(packet):
            return
        pairs = parse(packet)
        words = dict(pairs)
        user, address = (words.get(kind, b"").decode(errors="replace") for kind in (USER_NAME, CALLING_STATION))
        try:
            code, found = ask(relay.radius, packet, pairs, local)
            reason = f"the RADIUS server {relay.radius.name} refuses what was typed" if code == REJECT else ""
            if code == CHALLENGE and not relay.radius.challenges:
                reason = (
                    f"the RADIUS server {relay.radius.name} asks back (Access-Challenge), and it has no custom RADIUS rule by which "
                    "the Generic Login page shows that"
                )
        except Trouble as trouble:
            found, reason = [], f"RADIUS server {relay.radius.name}: {trouble}"
        if reason:
            relay.refused(user, address, reason)
            code = REJECT
        unsigned = [pair for pair in found if pair[0] != SIGNATURE]
        bare = compose(code, packet[1], packet[4:HEADER], unsigned)
        answers.sendto(bare[:4] + hashlib.md5(bare + local).digest() + bare[HEADER:], self.client_address)


def ask(server: RadiusServer, packet: bytes, pairs: Pairs, local: bytes) -> tuple[int, Pairs]:
    """What the server, or its backup, answers. Raises Trouble."""
    authenticator, secret = packet[4:HEADER], server.secret.encode()
    own: Pairs = [(NAS_IDENTIFIER, server.nas_identifier.encode())] if server.nas_identifier else []
    asked = [(kind, _again(value, local, secret, authenticator) if kind == USER_PASSWORD else value) for kind, value in pairs]
    request = signed(REQUEST, packet[1], authenticator, [*(pair for pair in asked if pair[0] != NAS_IDENTIFIER), *own], secret)
    problems = []
    for host in server.hosts:
        try:
            return _one(host, server, request, secret)
        except (Trouble, OSError) as trouble:
            problems.append(f"{host}:{server.port}: {trouble}")
    raise Trouble("; ".join(problems))


def _again(value: bytes, local: bytes, secret: bytes, authenticator: bytes) -> bytes:
    return mask(mask(value, local, authenticator, hide=False), secret, authenticator, hide=True)


def _one(host: str, server: RadiusServer, request: bytes, secret: bytes) -> tuple[int, Pairs]:
    kind, _, _, _, address = socket.getaddrinfo(host, server.port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(kind, socket.SOCK_DGRAM) as connection:
        connection.connect(address)
        for _time in range(server.retries + 1):
            connection.send(request)
            end = time.monotonic() + server.timeout
            while (left := end - time.monotonic()) > 0:
                connection.settimeout(left)
                try:
                    answer: Any = connection.recv(4096)
                except TimeoutError:
                    break
                if answer[1:2] == request[1:2]:
                    return answered(answer, request, secret)
    raise Trouble(f"no answer within {server.timeout} s, asked {server.retries + 1} times")
