# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in's RADIUS: what the appliance makes of a server's answers before ocserv sees them."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, strategies

from ansible_collections.certlogon.core.tests.unit.radius_answers import ACCEPT, CHALLENGE, REJECT, Server, unpack
from lab.connect_secure.data import radius
from lab.connect_secure.data.plan import RadiusServer

STATE, MESSAGE = (24, b"0123456789abcdef"), (18, b"Enter your code")
LONG = "a password of more than sixteen bytes, \u00e4\u00f6\u20ac"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as found:
        yield found


class Radcli:
    """What ocserv's library does: it signs nothing, and knows the relay's own secret."""

    def __init__(self, server: Server, **options: Any) -> None:
        self.refused: list[tuple[str, str, str]] = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        given = {"nas_identifier": "vpn1", "timeout": 1, "challenges": True, **options}
        asked = RadiusServer("Codes", ("127.0.0.1",), server.port, server.secret.decode(), **given)
        self.relay = radius.Relay(asked, lambda *words: self.refused.append(words), port)

    def ask(self, password: str = LONG, timeout: float = 5) -> tuple[int, dict[int, bytes]] | None:
        authenticator, secret = os.urandom(16), self.relay.secret.encode()
        text = password.encode()
        hidden = radius.mask(text.ljust(-(-len(text) // 16) * 16, b"\0"), secret, authenticator, hide=True)
        pairs = [(1, b"alice"), (2, hidden), (31, b"203.0.113.9"), (32, b"radcli")]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(timeout)
            for _time in range(2):  # it asks again at once
                client.sendto(radius.compose(1, 7, authenticator, pairs), ("127.0.0.1", self.relay.port))
            answer = client.recv(4096)
        assert answer[1] == 7 and answer[4:20] == hashlib.md5(answer[:4] + authenticator + answer[20:] + secret).digest()
        return answer[0], unpack(answer)


@pytest.fixture
def radcli(server: Server) -> Iterator[Callable[..., Radcli]]:
    made: list[Radcli] = []

    def make(**options: Any) -> Radcli:
        made.append(Radcli(server, **options))
        return made[-1]

    yield make
    for one in made:
        one.relay.close()


def test_the_server_is_asked_with_its_own_secret_and_signed(server: Server, radcli: Callable[..., Radcli]) -> None:
    here = radcli()
    server.says(CHALLENGE, STATE, MESSAGE)
    assert here.ask() == (CHALLENGE, dict([STATE, MESSAGE]))
    (asked,) = server.asked
    assert (asked.signed, asked.password, asked.attributes[32], asked.attributes[31]) == (True, LONG, b"vpn1", b"203.0.113.9")
    server.says(ACCEPT)
    assert here.ask("123456") == (ACCEPT, {})
    assert here.refused == []
    other = b"written since"
    server.secret, here.relay.radius = other, replace(here.relay.radius, secret=other.decode())
    server.says(ACCEPT)
    assert here.ask("123456") == (ACCEPT, {}), "what is configured counts from the next request on"


@pytest.mark.parametrize(
    ("options", "says", "reason"),
    [
        ({}, {"code": REJECT}, "the RADIUS server Codes refuses what was typed"),
        (
            {"challenges": False},
            {"code": CHALLENGE},
            "the RADIUS server Codes asks back (Access-Challenge), and it has no custom RADIUS rule by which",
        ),
        ({}, {"code": ACCEPT, "sign": False}, "its answer has no Message-Authenticator that is right"),
        ({}, {"code": ACCEPT, "secret": b"x"}, "its answer was made with another secret"),
        ({"retries": 1}, None, "no answer within 1 s, asked 2 times"),
    ],
)
def test_who_is_kept_out_and_why(
    server: Server, radcli: Callable[..., Radcli], options: dict[str, Any], says: dict[str, Any] | None, reason: str
) -> None:
    here = radcli(**options)
    if says is not None:
        server.says(says.pop("code"), **says)
    answer = here.ask()
    assert answer is not None and answer[0] == REJECT
    ((user, address, told),) = here.refused
    assert (user, address) == ("alice", "203.0.113.9") and reason in told
    assert len(server.asked) == options.get("retries", 0) + 1


def test_the_backup_is_asked_where_the_first_does_not_answer(server: Server, radcli: Callable[..., Radcli]) -> None:
    here = radcli(timeout=1)
    here.relay.radius = replace(here.relay.radius, hosts=("127.0.0.2", "127.0.0.1"))
    server.says(ACCEPT)
    assert here.ask() == (ACCEPT, {})


@given(strategies.binary(max_size=120))
def test_any_bytes_are_a_packet_or_trouble(data: bytes) -> None:
    whole = data[:2] + len(data).to_bytes(2, "big") + data[4:] if len(data) > 4 else data
    for packet in (data, whole):
        with pytest.raises(radius.Trouble):
            radius.answered(packet, bytes(20), b"s")
