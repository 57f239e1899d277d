# SPDX-License-Identifier: GPL-3.0-or-later
"""Many logins at once by one process: each is a generator that yields what is sent, and is given the answer; RADIUS and HTTP alike."""

from __future__ import annotations

import json
import os
import secrets
import select
import socket
import statistics
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from passivekey.protocol import codes, keys, messages
from tests.integration.passivekey_lab import ACCEPT, CALLING_STATION, CHALLENGE, REQUEST, STATE, USER_NAME, USER_PASSWORD, Answer, Gateway

Job = Generator[bytes, Any, bool]
"""A login: True where it was let in."""

_SILENCE = 30.0
"""Seconds without any answer after which a measurement is given up."""


class Wire(Protocol):
    """One client, which asks and waits."""

    def fileno(self) -> int: ...

    def send(self, message: bytes) -> None: ...

    def received(self) -> Any:
        """The whole answer; None while it is not complete."""


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes
    head: bytes


class Http:
    """A connection that is kept. Knows what uvicorn and gunicorn answer: a length, or 204."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_SILENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._pending = b""

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: bytes) -> None:
        self._pending = b""
        self._socket.sendall(message)

    def received(self) -> Reply | None:
        part = self._socket.recv(65536)
        if not part:
            raise ConnectionError("the server closed the connection")
        self._pending += part
        head, blank, body = self._pending.partition(b"\r\n\r\n")
        if not blank:
            return None
        length = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        if len(body) < int(length or 0):
            return None
        return Reply(int(head[9:12]), body, head)

    def close(self) -> None:
        self._socket.close()


class Radius:
    """A gateway with a port of its own."""

    def __init__(self, gateway: Gateway) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect((gateway.address, gateway.port))
        self._gateway = gateway
        self._authenticator = b""

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: bytes) -> None:
        self._authenticator = message[4:20]
        self._socket.send(message)

    def received(self) -> Answer:
        return self._gateway.read(self._socket.recv(4096), self._authenticator)

    def close(self) -> None:
        self._socket.close()


@dataclass(frozen=True)
class Outcome:
    seconds: float
    good: int
    bad: int
    times: list[float]
    """Of each login, sorted."""

    @property
    def rate(self) -> float:
        return self.good / self.seconds

    @property
    def median(self) -> float:
        """Milliseconds."""
        return statistics.median(self.times) * 1000

    @property
    def worst(self) -> float:
        """Milliseconds of which 99 of 100 logins need no more."""
        return self.times[int(len(self.times) * 0.99)] * 1000


def drive(wires: Sequence[Wire], jobs: Iterable[Job], *, until: float = 0) -> Outcome:
    """All jobs, each client one after the other; `until` (of time.monotonic) ends it before, with what is under way."""
    waiting: dict[int, tuple[Wire, Job, float]] = {}
    poll, work = select.epoll(), iter(jobs)
    times: list[float] = []
    good = 0
    begun = time.perf_counter()

    def begin(wire: Wire) -> None:
        job = None if until and time.monotonic() > until else next(work, None)
        if job is None:
            waiting.pop(wire.fileno(), None)
            return
        waiting[wire.fileno()] = (wire, job, time.perf_counter())
        wire.send(next(job))

    try:
        for wire in wires:
            poll.register(wire.fileno(), select.EPOLLIN)
            begin(wire)
        while waiting:
            ready = poll.poll(_SILENCE)
            if not ready:
                raise TimeoutError(f"{len(waiting)} logins are not answered for {_SILENCE:.0f} s")
            for number, _events in ready:
                wire, job, at = waiting[number]
                answer = wire.received()
                if answer is None:
                    continue
                try:
                    wire.send(job.send(answer))
                except StopIteration as end:
                    times.append(time.perf_counter() - at)
                    good += bool(end.value)
                    begin(wire)
    finally:
        poll.close()
    return Outcome(time.perf_counter() - begun, good, len(times) - good, sorted(times))


# ---- what is sent


def post(path: str, body: bytes, headers: Mapping[str, str], kind: str = "application/json") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def get(path: str, headers: Mapping[str, str]) -> bytes:
    return "\r\n".join(
        [f"GET {path} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    ).encode()


def by_radius(gateway: Gateway, name: str, password: str, code: str, source: str) -> Job:
    """Password, challenge, code."""
    answer = yield _packet(gateway, name, password, source)
    if answer.code != CHALLENGE:
        return False
    answer = yield _packet(gateway, name, code, source, answer.attributes[STATE])
    return bool(answer.code == ACCEPT)


def by_password(gateway: Gateway, name: str, password: str, source: str) -> Job:
    answer = yield _packet(gateway, name, password, source)
    return bool(answer.code == ACCEPT)


def _packet(gateway: Gateway, name: str, password: str, source: str, state: bytes = b"") -> bytes:
    authenticator = os.urandom(16)
    attributes = [(USER_NAME, name.encode()), (USER_PASSWORD, gateway.hidden(password.encode(), authenticator))]
    attributes += [(CALLING_STATION, source.encode())] + ([(STATE, state)] if state else [])
    return gateway.packet(REQUEST, authenticator, attributes, True)


def by_rest(secret: str, name: str, password: str, code: str, source: str) -> Job:
    """What FreeRADIUS asks the server: password, challenge, code."""
    headers = {"Authorization": f"Bearer {secret}"}
    words = {"username": name, "password": password, "state": "", "source": source, "nas": ""}
    reply = yield post("/v1/radius", json.dumps(words).encode(), headers)
    state = json.loads(reply.body).get("reply:State", "")
    if not state:
        return False
    reply = yield post("/v1/radius", json.dumps({**words, "password": code, "state": state}).encode(), headers)
    return bool(reply.status == 200 and b'"ok"' in reply.body)


def by_cookie(secret: str, site: str, cookie: str, source: str) -> Job:
    """What nginx asks the server for a browser's first request: the code in the cookie."""
    headers = {"Authorization": f"Bearer {secret}", "X-Passivekey-Site": site, "X-Real-IP": source, "Cookie": f"__Host-passivekey={cookie}"}
    reply = yield get("/v1/check", headers)
    return bool(reply.status == 204)


# ---- enrolment


@dataclass(frozen=True)
class Candidate:
    """A workstation before its enrolment: keys and request are made, which is its own work."""

    name: str
    password: str
    words: Mapping[str, Any]
    key: keys.SoftwareKey
    agreement: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, name: str, password: str) -> Candidate:
        key, agreement = keys.SoftwareKey.generate(), ec.generate_private_key(ec.SECP256R1())
        csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key.private_key, SHA256())
        point = {name: value for name, value in keys.jwk(agreement.public_key()).items() if name != "kid"}
        request = messages.text(csr.public_bytes(Encoding.DER))
        return cls(
            name, password, {"request": secrets.token_hex(16), "csr": request, "agreement_key": point, "workstation": "PC"}, key, agreement
        )


def by_enrolment(candidate: Candidate, origin: str) -> Job:
    """Sign-in by the form, request, seed, confirmation, with a nonce for each of the two proofs: six requests."""
    reply = yield _json("/v1/sign-in", {"username": candidate.name, "password": candidate.password})
    cookie = reply.head.partition(b"\r\nset-cookie: ")[2].partition(b";")[0].decode()  # uvicorn writes names in lower case
    reply = yield _json("/v1/devices", candidate.words, Cookie=cookie)
    if reply.status != 201:
        return False
    device = json.loads(reply.body)["device"]
    reply = yield _json("/v1/nonces", {})
    reply = yield _proved(candidate, origin, device, "seed", reply)
    seed = messages.take(json.loads(reply.body)["seed"], device, candidate.agreement)
    counter = codes.counter_at(time.time())
    reply = yield _json("/v1/nonces", {})
    reply = yield _proved(candidate, origin, device, "confirm", reply, code=seed.code("enrollment", counter), counter=counter)
    return bool(reply.status == 200)


def _proved(candidate: Candidate, origin: str, device: str, step: str, reply: Reply, **claims: Any) -> bytes:
    path, nonce = f"/v1/devices/{device}/{step}", json.loads(reply.body)["nonce"]
    return _json(path, {"proof": messages.proof(candidate.key, device, origin + path, nonce, int(time.time()), **claims)})


def _json(path: str, words: Mapping[str, Any], **headers: str) -> bytes:
    return post(path, json.dumps(words).encode(), headers)
