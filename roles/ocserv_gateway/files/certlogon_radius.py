# SPDX-License-Identifier: GPL-3.0-or-later
"""Sign what ocserv asks RADIUS servers, and take signed answers only: a relay on the gateway itself.

certlogon_radius.py FOLDER [PIDFILE]    serves what FOLDER/relay.json lists; the secrets are in FOLDER/servers, as radcli reads them

ocserv asks by the library radcli, which before its version 1.5 (Debian 13 has 1.2.11) neither sends nor looks at a Message-Authenticator.
Without one an answer can be forged (CVE-2024-3596), and a RADIUS server that demands it does not answer at all. So radcli asks an address
of the loopback device for each server; the relay adds the Message-Authenticator (RFC 3579 section 3.2), and hands back what the server
has signed. All else stays as it is, since the secret is the same on both sides. A request that is sent again goes by the same port, so
that the server knows it for the same. Stand-alone: Python 3.10 and its standard library.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import pwd
import secrets
import socket
import sys
import time
from pathlib import Path
from typing import Any

PID_FILE = "/run/certlogon-radius.pid"  # the process and the digest of what it was started with
PROGRAM = "/usr/local/lib/certlogon/certlogon_radius.py"
FILES = ("relay.json", "servers")
USER = "nobody"
REQUEST, ACCEPT, REJECT, CHALLENGE = 1, 2, 3, 11
USER_NAME, USER_PASSWORD, NAS_IDENTIFIER, MESSAGE_AUTHENTICATOR = 1, 2, 32, 80
WORDS = {ACCEPT: "accept", REJECT: "reject", CHALLENGE: "challenge"}
HEADER, LENGTH = 20, 18  # of a packet; of a Message-Authenticator with its type and length


def log(text: str) -> None:
    print(f"certlogon-radius: {text}", file=sys.stderr, flush=True)


# ---- packets (RFC 2865 section 3)


def place_of_signature(packet: bytes) -> int:
    """Where the value of the Message-Authenticator begins; 0 where there is none. Raises ValueError for what is no packet."""
    if len(packet) < HEADER or int.from_bytes(packet[2:4], "big") != len(packet):
        raise ValueError("what came is no RADIUS packet")
    position, found = HEADER, 0
    while position < len(packet):
        length = packet[position + 1] if position + 1 < len(packet) else 0
        if length < 2 or position + length > len(packet):
            raise ValueError("what came has a broken attribute")
        if packet[position] == MESSAGE_AUTHENTICATOR and length == LENGTH:
            found = position + 2
        position += length
    return found


def sign(packet: bytes, secret: bytes) -> bytes:
    """The request with its Message-Authenticator, as the first attribute where it had none."""
    packet = packet[: max(HEADER, int.from_bytes(packet[2:4], "big"))]
    place = place_of_signature(packet)
    if not place:
        length = (len(packet) + LENGTH).to_bytes(2, "big")
        packet = packet[:2] + length + packet[4:HEADER] + bytes([MESSAGE_AUTHENTICATOR, LENGTH]) + bytes(16) + packet[HEADER:]
        place = HEADER + 2
    packet = packet[:place] + bytes(16) + packet[place + 16 :]
    return packet[:place] + hmac.digest(secret, packet, "md5") + packet[place + 16 :]


def objection(answer: bytes, request: bytes, secret: bytes, signed: bool) -> str:
    """Why an answer is not taken; empty if it is. `signed`: whether it must have a Message-Authenticator."""
    try:
        place = place_of_signature(answer)
    except ValueError as error:
        return str(error)
    if answer[1] != request[1]:
        return "an answer to something else came"
    authenticator = hashlib.md5(answer[:4] + request[4:HEADER] + answer[HEADER:] + secret, usedforsecurity=False).digest()
    if not hmac.compare_digest(answer[4:HEADER], authenticator):
        return "an answer came that was made with another secret"
    if not place:
        return "an answer came without Message-Authenticator, so anybody on the way may have made it" if signed else ""
    plain = answer[:4] + request[4:HEADER] + answer[HEADER:place] + bytes(16) + answer[place + 16 :]
    if not hmac.compare_digest(answer[place : place + 16], hmac.digest(secret, plain, "md5")):
        return "an answer came whose Message-Authenticator is wrong"
    return ""


def question(name: str, password: str, nas: str, secret: bytes) -> bytes:
    """A signed Access-Request with a password of at most 16 bytes (RFC 2865 section 5.2)."""
    authenticator = os.urandom(16)
    mask = hashlib.md5(secret + authenticator, usedforsecurity=False).digest()
    hidden = bytes(one ^ other for one, other in zip(password.encode().ljust(16, b"\0"), mask, strict=True))
    pairs = ((USER_NAME, name.encode()), (USER_PASSWORD, hidden), (NAS_IDENTIFIER, nas.encode()))
    body = b"".join(bytes([kind, len(value) + 2]) + value for kind, value in pairs)
    header = bytes([REQUEST, secrets.randbelow(256)]) + (HEADER + len(body)).to_bytes(2, "big") + authenticator
    return sign(header + body, secret)


# ---- the relay


def read(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What relay.json says, and the secrets by the address that the relay listens on."""
    settings: dict[str, Any] = json.loads((folder / "relay.json").read_text())
    lines = [line.split(maxsplit=1) for line in (folder / "servers").read_text().splitlines() if not line.startswith("#")]
    return settings, {line[0]: line[1].strip().encode() for line in lines if len(line) == 2}


def digest(folder: Path, program: str) -> str:
    """Of what a relay is started with."""
    whole = hashlib.sha256()
    for path in (*(folder / name for name in FILES), Path(program)):
        whole.update(hashlib.sha256(path.read_bytes() if path.exists() else b"").digest())
    return whole.hexdigest()


def name_of(server: dict[str, Any]) -> str:
    return f"{server['address']}:{server['port']}"


class Upstream(asyncio.DatagramProtocol):
    """One request and its way to the server."""

    def __init__(self, listener: Listener, request: bytes, client: tuple[str, int]) -> None:
        self.listener, self.request, self.client = listener, request, client
        self.answered = self.told = False
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        if self.transport is not None:
            self.transport.sendto(self.request)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        wrong = objection(data, self.request, self.listener.secret, self.listener.server["signed"])
        if wrong:
            self.tell(f"{wrong}; it was not taken")
            return
        self.answered = True
        self.listener.answer(data, self.client)

    def error_received(self, exc: Exception) -> None:
        self.tell(str(exc))

    def tell(self, trouble: str) -> None:
        """Once a request."""
        if not self.told:
            self.told = self.listener.silent = True
            log(f"{name_of(self.listener.server)}: {trouble}")


class Listener(asyncio.DatagramProtocol):
    """What radcli takes for one of the servers."""

    def __init__(self, server: dict[str, Any], secret: bytes, patience: float) -> None:
        self.server, self.secret, self.patience = server, secret, patience
        self.pending: dict[tuple[Any, ...], Upstream] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.transport: asyncio.DatagramTransport | None = None
        self.silent = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        key = (addr, data[:HEADER])
        if key in self.pending:
            self.pending[key].send()
            return
        try:
            upstream = self.pending[key] = Upstream(self, sign(data, self.secret), addr)
        except ValueError as error:
            log(f"{name_of(self.server)}: not sent: {error}")
            return
        task = asyncio.get_running_loop().create_task(self.ask(key, upstream))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def ask(self, key: tuple[Any, ...], upstream: Upstream) -> None:
        transport = None
        remote = (self.server["address"], self.server["port"])
        try:
            made = await asyncio.get_running_loop().create_datagram_endpoint(lambda: upstream, remote_addr=remote)
            transport = made[0]
            await asyncio.sleep(self.patience)
        except OSError as error:
            upstream.tell(str(error))
        finally:
            del self.pending[key]
            if transport is not None:
                transport.close()
        if not upstream.answered:
            upstream.tell(f"no answer within {self.patience:.0f} s")

    def answer(self, data: bytes, client: Any) -> None:
        if self.silent:
            self.silent = False
            log(f"{name_of(self.server)}: answers again")
        if self.transport is not None:
            self.transport.sendto(data, client)


async def serve(folder: Path, pid_file: Path) -> None:
    settings, known = read(folder)
    loop = asyncio.get_running_loop()
    for server in settings["servers"]:
        listener = Listener(server, known[server["listen"]], settings["patience"])
        await loop.create_datagram_endpoint(lambda one=listener: one, local_addr=(server["listen"], settings["port"]))
    started = Path(f"{pid_file}.new")
    with os.fdopen(os.open(started, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(f"{os.getpid()} {digest(folder, __file__)}\n")
    started.replace(pid_file)
    if os.getuid() == 0:
        account = pwd.getpwnam(USER)
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
    await asyncio.Event().wait()


# ---- whether the servers answer


def probe(folder: Path, timeout: float = 10.0) -> list[dict[str, str]]:
    """What each server says of a user that there is not: `answer` (reject or challenge), or why there is none in `problem`."""
    settings, known = read(folder)
    return [asked(server, known[server["listen"]], settings["nas_identifier"], timeout) for server in settings["servers"]]


def asked(server: dict[str, Any], secret: bytes, nas: str, timeout: float) -> dict[str, str]:
    request = question("certlogon-probe", secrets.token_hex(8), nas, secret)
    trouble = "does not answer: it is down, a firewall drops what is sent, it does not know this gateway, or the secret is another one"
    try:
        found = socket.getaddrinfo(server["address"], server["port"], type=socket.SOCK_DGRAM)[0]
        kind, address = found[0], found[4]
        with socket.socket(kind, socket.SOCK_DGRAM) as connection:
            connection.connect(address)
            end = time.monotonic() + timeout
            while (left := end - time.monotonic()) > 0:
                connection.send(request)  # again: a packet may be lost
                connection.settimeout(min(2.5, left))
                with contextlib.suppress(TimeoutError):
                    answer = connection.recv(4096)
                    wrong = objection(answer, request, secret, server["signed"])
                    return told(server, wrong, "" if wrong else WORDS.get(answer[0], str(answer[0])))
    except OSError as error:
        trouble = str(error)
    return told(server, trouble, "")


def told(server: dict[str, Any], problem: str, answer: str) -> dict[str, str]:
    if answer == "accept":
        problem = "lets in somebody that there is not: whoever types any name and password gets in"
    return {"server": name_of(server), "answer": answer, "problem": problem}


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(Path(sys.argv[1]), Path((sys.argv[2:] or [PID_FILE])[0])))
