# SPDX-License-Identifier: GPL-3.0-or-later
"""A RADIUS server for tests, written from RFC 2865 and RFC 3579 alone: it says what it was asked, and answers as it is told."""

from __future__ import annotations

import hashlib
import hmac
import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

ACCEPT, REJECT, CHALLENGE = 2, 3, 11
SIGNATURE = 80


@dataclass(frozen=True)
class Asked:
    """`signed`: whether the Message-Authenticator is right; None where there is none. `port`: the client's."""

    packet: bytes
    attributes: dict[int, bytes]
    password: str
    signed: bool | None
    port: int


def unpack(packet: bytes) -> dict[int, bytes]:
    found, rest = {}, packet[20:]
    while rest:
        found[rest[0]] = rest[2 : rest[1]]
        rest = rest[rest[1] :]
    return found


def signature(packet: bytes, authenticator: bytes, secret: bytes) -> bytes:
    """RFC 3579 section 3.2: over the packet with the request's authenticator and a Message-Authenticator of zeros."""
    place, value = packet.find(bytes([SIGNATURE, 18]), 20), unpack(packet)[SIGNATURE]
    assert packet[place + 2 : place + 18] == value
    return hmac.new(secret, packet[:4] + authenticator + packet[20 : place + 2] + bytes(16) + packet[place + 18 :], hashlib.md5).digest()


def shown(hidden: bytes, authenticator: bytes, secret: bytes) -> str:
    text, last = b"", authenticator
    for number in range(0, len(hidden), 16):
        key = int.from_bytes(hashlib.md5(secret + last).digest(), "big")
        last = hidden[number : number + 16]
        text += (int.from_bytes(last, "big") ^ key).to_bytes(16, "big")
    return text.rstrip(b"\0").decode()


def answer(asked: Asked, code: int, secret: bytes, *pairs: tuple[int, bytes], sign: bool = True, number: int | None = None) -> bytes:
    authenticator = asked.packet[4:20]
    attributes = b"".join(bytes([kind, len(value) + 2]) + value for kind, value in pairs)
    attributes = bytes([SIGNATURE, 18]) + bytes(16) + attributes if sign else attributes
    head = bytes([code, asked.packet[1] if number is None else number]) + (20 + len(attributes)).to_bytes(2, "big")
    if sign:
        attributes = attributes[:2] + signature(head + authenticator + attributes, authenticator, secret) + attributes[18:]
    return head + hashlib.md5(head + authenticator + attributes + secret).digest() + attributes


@dataclass
class Server:
    """`answers`: what comes of each request; None for silence."""

    secret: bytes = b"a secret of both sides"
    answers: Callable[[Asked], bytes | None] = lambda asked: None
    asked: list[Asked] = field(default_factory=list)

    def __enter__(self) -> Server:
        owner = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                packet, connection = self.request
                found = unpack(packet)
                right = signature(packet, packet[4:20], owner.secret) == found[SIGNATURE] if SIGNATURE in found else None
                one = Asked(packet, found, shown(found[2], packet[4:20], owner.secret), right, self.client_address[1])
                owner.asked.append(one)
                if (told := owner.answers(one)) is not None:
                    connection.sendto(told, self.client_address)

        self._server = socketserver.ThreadingUDPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def says(self, code: int, *pairs: tuple[int, bytes], secret: bytes | None = None, sign: bool = True, number: int | None = None) -> None:
        self.answers = lambda asked: answer(asked, code, secret or self.secret, *pairs, sign=sign, number=number)
