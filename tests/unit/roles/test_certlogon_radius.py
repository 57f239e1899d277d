# SPDX-License-Identifier: GPL-3.0-or-later
"""The relay that signs what ocserv asks RADIUS servers: what goes through it, and what does not."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies

from ansible_collections.certlogon.core.tests.unit import radius_answers
from ansible_collections.certlogon.core.tests.unit.radius_answers import ACCEPT, CHALLENGE, REJECT, Server

PROGRAM = Path(__file__).resolve().parents[3] / "roles/ocserv_gateway/files/certlogon_radius.py"
specification = importlib.util.spec_from_file_location("certlogon_radius", PROGRAM)
assert specification is not None and specification.loader is not None
relay: Any = importlib.util.module_from_spec(specification)
sys.modules["certlogon_radius"] = relay
specification.loader.exec_module(relay)

STATE, MESSAGE = (24, b"0123456789abcdef"), (18, b"Enter your code")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as found:
        yield found


@pytest.fixture
def folder(server: Server, tmp_path: Path) -> Callable[..., Path]:
    """As the role writes it."""

    def write(signed: bool = True, secret: str = "") -> Path:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        one = {"listen": "127.0.0.1", "address": "127.0.0.1", "port": server.port, "signed": signed}
        settings = {"port": port, "nas_identifier": "gw1", "patience": 1, "servers": [one]}
        (tmp_path / "relay.json").write_text(json.dumps(settings))
        (tmp_path / "servers").write_text(f"# by Ansible\n127.0.0.1 {secret or server.secret.decode()}\n")
        return tmp_path

    return write


class Running:
    """The relay as a process, and radcli before it, which signs nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, json.loads((folder / "relay.json").read_text())["port"]
        command = [sys.executable, str(PROGRAM), str(folder), str(folder / "pid")]
        self.errors = (folder / "log").open("w")
        self.process = subprocess.Popen(command, stderr=self.errors)
        end = time.monotonic() + 20
        while not (folder / "pid").exists():
            assert time.monotonic() < end and self.process.poll() is None, self.log()
            time.sleep(0.02)
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.client.connect(("127.0.0.1", self.port))

    def ask(self, packet: bytes, timeout: float = 1.5) -> bytes | None:
        self.client.send(packet)
        self.client.settimeout(timeout)
        try:
            return self.client.recv(4096)
        except TimeoutError:
            return None

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def end(self) -> None:
        self.client.close()
        self.process.kill()
        self.process.wait()
        self.errors.close()


@pytest.fixture
def running(folder: Callable[..., Path]) -> Iterator[Callable[..., Running]]:
    made: list[Running] = []

    def start(**options: Any) -> Running:
        made.append(Running(folder(**options)))
        return made[-1]

    yield start
    for one in made:
        one.end()


def unsigned(secret: bytes, password: str = "Passw0rd!") -> bytes:
    """As radcli 1.2.11 asks."""
    packet = relay.question("alice", password, "gw1", secret)
    assert packet[20:22] == bytes([80, 18])
    return packet[:2] + (len(packet) - 18).to_bytes(2, "big") + packet[4:20] + packet[38:]


def test_a_request_is_signed_and_its_answer_comes_back(server: Server, running: Callable[..., Running]) -> None:
    here = running()
    mode = (here.folder / "pid").stat().st_mode & 0o777
    assert mode == 0o600 and (here.folder / "pid").read_text() == f"{here.process.pid} {relay.digest(here.folder, PROGRAM)}\n"
    for code, pairs in ((CHALLENGE, (STATE, MESSAGE)), (ACCEPT, ()), (REJECT, (MESSAGE,))):
        server.says(code, *pairs)
        packet = unsigned(server.secret)
        answer = here.ask(packet)
        assert answer is not None and answer[0] == code
        found = radius_answers.unpack(answer)
        assert [(kind, found[kind]) for kind, _value in pairs] == list(pairs)
        assert relay.objection(answer, packet, server.secret, True) == ""
    assert [(one.signed, one.password, one.attributes[1]) for one in server.asked] == [(True, "Passw0rd!", b"alice")] * 3
    signed = relay.sign(unsigned(server.secret), server.secret)
    here.ask(signed)
    assert server.asked[-1].packet == signed, "what is signed already, as by newer clients, stays"


def test_what_is_sent_again_comes_from_the_same_port(server: Server, running: Callable[..., Running]) -> None:
    here, packet = running(), unsigned(server.secret)
    assert here.ask(packet, 0.2) is None
    server.says(ACCEPT)
    assert here.ask(packet) is not None
    assert len({(one.packet, one.port) for one in server.asked}) == 1 and len(server.asked) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sign": False}, "an answer came without Message-Authenticator, so anybody on the way may have made it; it was not taken"),
        ({"secret": b"another"}, "an answer came that was made with another secret; it was not taken"),
        ({"number": 8}, "an answer to something else came; it was not taken"),
    ],
)
def test_answers_that_anybody_could_have_made_are_not_taken(
    server: Server, running: Callable[..., Running], options: dict[str, Any], message: str
) -> None:
    here, packet = running(), unsigned(server.secret)
    packet = packet[:1] + bytes([7]) + packet[2:]
    server.says(ACCEPT, **options)
    assert here.ask(packet) is None
    end = time.monotonic() + 5
    while f"certlogon-radius: 127.0.0.1:{server.port}: {message}" not in here.log():
        assert time.monotonic() < end, here.log()
        time.sleep(0.05)
    server.says(ACCEPT)
    assert here.ask(unsigned(server.secret)) is not None
    assert "answers again" in here.log()


def test_an_old_server_may_be_believed_without_signature(server: Server, running: Callable[..., Running]) -> None:
    here = running(signed=False)
    server.says(ACCEPT, sign=False)
    assert here.ask(unsigned(server.secret)) is not None
    server.says(ACCEPT)
    server.answers = lambda asked, right=server.answers: _tampered(asked, right(asked), server.secret)  # type: ignore[misc]
    assert here.ask(unsigned(server.secret)) is None, "a signature that is there must be right"


def _tampered(asked: Any, packet: bytes, secret: bytes) -> bytes:
    """With a Message-Authenticator of another packet, and the response authenticator right."""
    wrong = packet[:22] + bytes(16) + packet[38:]
    return wrong[:4] + radius_answers.hashlib.md5(wrong[:4] + asked.packet[4:20] + wrong[20:] + secret).digest() + wrong[20:]


PROBED = [
    ("challenge", {"code": CHALLENGE}, "challenge", ""),
    ("reject", {"code": REJECT}, "reject", ""),
    ("accept", {"code": ACCEPT}, "accept", "lets in somebody that there is not"),
    ("unsigned", {"code": REJECT, "sign": False}, "", "without Message-Authenticator"),
    ("another secret", {"code": REJECT, "secret": b"x"}, "", "made with another secret"),
    ("silence", None, "", "does not answer: it is down, a firewall drops what is sent, it does not know this gateway, or the secret"),
]


@pytest.mark.parametrize(("options", "answer", "problem"), [case[1:] for case in PROBED], ids=[case[0] for case in PROBED])
def test_whether_servers_answer(
    server: Server, folder: Callable[..., Path], options: dict[str, Any] | None, answer: str, problem: str
) -> None:
    if options is not None:
        server.says(options.pop("code"), **options)
    (found,) = relay.probe(folder(), timeout=0.3)
    assert (found["server"], found["answer"]) == (f"127.0.0.1:{server.port}", answer)
    assert found["problem"].startswith(problem) if problem.startswith(("lets", "does")) else problem in found["problem"]
    assert server.asked[0].attributes[1] == b"certlogon-probe" and server.asked[0].signed
    assert server.secret.decode() not in repr(found)


def test_a_server_that_is_down_or_has_no_address_is_told(server: Server, folder: Callable[..., Path]) -> None:
    place = folder()
    settings = json.loads((place / "relay.json").read_text())
    for address, port, message in (("127.0.0.1", 9, "refused"), ("radius.invalid", 1812, "")):
        settings["servers"][0] |= {"address": address, "port": port}
        (place / "relay.json").write_text(json.dumps(settings))
        (found,) = relay.probe(place, timeout=0.3)
        assert found["answer"] == "" and found["problem"] and message in found["problem"]


@given(strategies.binary(max_size=200))
def test_any_bytes_are_a_packet_or_refused(data: bytes) -> None:
    request = unsigned(b"s")
    whole = data[:2] + (len(data)).to_bytes(2, "big") + data[4:] if len(data) > 4 else data
    for packet in (data, whole):
        assert relay.objection(packet, request, b"s", True), "nobody who does not know the secret makes an answer"
        try:
            relay.sign(packet, b"s")
        except ValueError as error:
            assert str(error).startswith("what came ")
