# SPDX-License-Identifier: GPL-3.0-or-later
"""The real server on loopback, with TLS by a CA of its own and a clock that tests move: what the agent's tests talk to."""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import json
import socket
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from passivekey.server.web import Fronts, application


@dataclass
class Https:
    """`before` and `after` may answer in the server's place: they get the ASGI scope, and return (status, headers, body) or None."""

    ca_file: Path
    origin: str
    inner: object = None
    clock: object = None
    before: object = None
    after: object = None
    seen: list = field(default_factory=list)

    def serve(self, service, clock):
        """This service from now on, with its clock's time as Date."""
        service.rules = replace(service.rules, origin=self.origin)
        self.inner, self.clock, self.before, self.after = application(service, Fronts()), clock, None, None
        self.seen.clear()
        return self


def certificate(folder):
    """A server's certificate for localhost, and the CA it is verified by: paths."""
    now = datetime.datetime.now(datetime.timezone.utc)
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
    builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=30))
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    signed = builder.add_extension(names, False).add_extension(x509.BasicConstraints(True, 0), True).sign(key, hashes.SHA256())
    paths = folder / "localhost.pem", folder / "localhost.key"
    paths[0].write_bytes(signed.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths


@contextlib.contextmanager
def running(folder):
    """An `Https`, for one service after the other."""
    listening = socket.socket(proto=socket.IPPROTO_TCP)  # or asyncio leaves Nagle's delay on
    listening.bind(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    crt, key = certificate(folder)
    found = Https(crt, f"https://localhost:{port}")

    async def outer(scope, receive, send):
        if scope["type"] != "http":
            return
        found.seen.append(scope["path"])
        date = email.utils.formatdate(found.clock(), usegmt=True).encode()
        answer = found.before(scope) if found.before else None
        if answer is None:
            kept = []

            async def keep(message):
                kept.append(message)

            await found.inner(scope, receive, keep)
            start, bodies = kept[0], kept[1:]
            answer = found.after(scope) if found.after else None
            if answer is None:
                headers = [(name, value) for name, value in start["headers"] if name != b"date"]
                await send({**start, "headers": [*headers, (b"date", date)]})
                for body in bodies:
                    await send(body)
                return
        status, headers, body = answer
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"date", date)]})
        await send({"type": "http.response.body", "body": content})

    config = uvicorn.Config(
        outer, ssl_certfile=crt, ssl_keyfile=key, log_level="critical", date_header=False, lifespan="off", access_log=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield found
    finally:
        server.force_exit = server.should_exit = True
        thread.join(5)
        listening.close()
