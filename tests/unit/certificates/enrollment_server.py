# SPDX-License-Identifier: GPL-3.0-or-later
"""A small authority behind HTTPS on the loopback, for tests of the client: it issues what is asked for, or what it is told to answer.

It knows nothing of templates; the lab's stand-in judges requests as AD CS does.
"""

from __future__ import annotations

import base64
import ipaddress
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7

USER, PASSWORD = "web1@corp.example", "Right-1"
PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER


def common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


@dataclass
class Authority:
    """A root and an issuing authority. Tests set the fields to have it behave otherwise."""

    lifetime: timedelta = timedelta(days=365)
    start: timedelta = timedelta(minutes=-10)
    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)
    crl_url: str | None = None
    names_from_request: bool = True
    disposition: str = "issued"
    denial: str = "Denied by Policy Module  0x80094800, The request was for a certificate template that is not supported."
    issued: dict[int, x509.Certificate] = field(default_factory=dict)
    requests: list[tuple[bytes, str]] = field(default_factory=list)
    states: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root_key, self.key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        self.root = self.sign_ca("Test Root", self.root_key, "Test Root", self.root_key)
        self.certificate = self.sign_ca("Test CA", self.key, "Test Root", self.root_key)

    def sign_ca(self, name: str, key: Any, issuer: str, issuer_key: Any) -> x509.Certificate:
        now = self.now()
        builder = x509.CertificateBuilder(
            common_name(issuer), common_name(name), key.public_key(), x509.random_serial_number(), now - timedelta(1), now + timedelta(3650)
        )
        # identifiers and usages as X.509 has them: Python 3.13 and later insist (VERIFY_X509_STRICT)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(x509.BasicConstraints(True, None), True).add_extension(usage, True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        return builder.add_extension(self.issuer_identifier(issuer_key), False).sign(issuer_key, hashes.SHA256())

    def issuer_identifier(self, issuer_key: Any) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())

    def sign(self, csr: x509.CertificateSigningRequest, **changes: Any) -> x509.Certificate:
        now = self.now()
        start, end = changes.get("start", now + self.start), changes.get("end", now + self.lifetime)
        builder = x509.CertificateBuilder(
            changes.get("issuer", self.certificate.subject),
            csr.subject,
            changes.get("key", csr.public_key()),
            x509.random_serial_number(),
            start,
            end,
        )
        for extension in csr.extensions:
            if self.names_from_request or not isinstance(extension.value, x509.SubjectAlternativeName):
                builder = builder.add_extension(extension.value, extension.critical)
        if self.crl_url:
            point = x509.DistributionPoint([x509.UniformResourceIdentifier(self.crl_url)], None, None, None)
            builder = builder.add_extension(x509.CRLDistributionPoints([point]), False)
        return builder.sign(self.key, hashes.SHA256())

    def submit(self, request: bytes, attributes: str) -> int:
        self.requests.append((request, attributes))
        number = len(self.requests)
        self.states[number] = self.disposition
        if self.disposition == "issued":
            self.issue(number)
        return number

    def issue(self, number: int) -> None:
        self.issued[number] = self.sign(x509.load_pem_x509_csr(self.requests[number - 1][0]))
        self.states[number] = "issued"

    def crl(self, *revoked: int, last: datetime | None = None, following: datetime | None = None, reason: Any = None) -> bytes:
        now = self.now()
        builder = x509.CertificateRevocationListBuilder(
            self.certificate.subject, last or now - timedelta(1), following or now + timedelta(7)
        )
        for serial in revoked:
            entry = x509.RevokedCertificateBuilder(serial, now - timedelta(hours=1))
            if reason:
                entry = entry.add_extension(x509.CRLReason(reason), False)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(DER)


class Server:
    """`/certsrv` of an authority, with Basic, or with NTLM bound to the TLS certificate where pyspnego accepts it."""

    def __init__(self, authority: Authority, folder: Path, offers: tuple[str, ...] = ("Basic",)) -> None:
        self.authority = authority
        self.offers = offers
        self.log: list[tuple[str, str]] = []
        self.override: Callable[[str], tuple[int, str, bytes] | None] = lambda _path: None
        self.files: dict[str, bytes] = {}
        self.tls_certificate, key = _tls_pair(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.tls_certificate, key)
        self._servers = [self._start(context), self._start(None)]
        self.url = f"https://localhost:{self._servers[0].server_address[1]}/certsrv"
        self.plain_url = f"http://localhost:{self._servers[1].server_address[1]}"

    def _start(self, context: ssl.SSLContext | None) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"owner": self}))
        server.daemon_threads = True
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def options(self, **changes: Any) -> dict[str, Any]:
        return {
            "url": self.url,
            "username": USER,
            "password": PASSWORD,
            "auth": "basic",
            "ca_path": str(self.tls_certificate),
            "timeout": 5,
            **changes,
        }


def _tls_pair(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(timezone.utc)
    name = common_name("localhost")
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(400), now + timedelta(4000))
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = builder.add_extension(names, False).add_extension(x509.BasicConstraints(True, None), True).sign(key, hashes.SHA256())
    paths = folder / "tls.pem", folder / "tls.key"
    paths[0].write_bytes(certificate.public_bytes(PEM))
    paths[1].write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return paths


class _Handler(BaseHTTPRequestHandler):
    owner: Server
    protocol_version = "HTTP/1.1"
    timeout = 10

    def setup(self) -> None:
        super().setup()
        self.context: Any = None
        self.signed_in = False

    def log_message(self, *_arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _serve(self, body: bytes) -> None:
        self.owner.log.append((self.command, self.path))
        parts = urlsplit(self.path)
        if parts.path in self.owner.files:
            return self._send(200, "application/pkix-crl", self.owner.files[parts.path])
        offer = self._refused()
        if offer is not None:
            return self._send(401, "text/html", b"<h2>401</h2>", offer)
        answer = self.owner.override(self.path) or self._answer(parts.path.rsplit("/", 1)[1], parse_qs(parts.query), body)
        return self._send(*answer)

    def _refused(self) -> list[str] | None:
        if self.signed_in:
            return None
        scheme, _space, token = self.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic" and "Basic" in self.owner.offers:
            return None if token == base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode() else ["Basic"]
        if scheme in ("NTLM", "Negotiate") and scheme in self.owner.offers:
            return self._negotiate(scheme, base64.b64decode(token))
        return list(self.owner.offers)

    def _negotiate(self, scheme: str, token: bytes) -> list[str] | None:
        import spnego
        from spnego.channel_bindings import GssChannelBindings

        certificate = x509.load_pem_x509_certificate(self.owner.tls_certificate.read_bytes()).public_bytes(DER)
        digest = hashes.Hash(hashes.SHA256())
        digest.update(certificate)
        bindings = GssChannelBindings(application_data=b"tls-server-end-point:" + digest.finalize())
        if self.context is None:
            self.context = spnego.server(protocol=scheme.lower(), channel_bindings=bindings)
        try:
            answer = self.context.step(token)
        except Exception:
            self.context = None
            return [scheme]
        self.signed_in = self.context.complete
        return None if self.signed_in else [f"{scheme} {base64.b64encode(answer or b'').decode()}"]

    def _answer(self, page: str, query: dict[str, list[str]], body: bytes) -> tuple[int, str, bytes]:
        authority = self.owner.authority
        if page == "certfnsh.asp":
            form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            number = authority.submit(form["CertRequest"].encode(), form.get("CertAttrib", ""))
            return 200, "text/html; Charset=UTF-8", self._outcome(number).encode()
        if page == "certcarc.asp":
            return 200, "text/html", b"<script>var nRenewals=0;</script>"
        number = query["ReqID"][0]
        above = [authority.certificate, authority.root]
        if number == "CACert":
            return 200, "application/x-pkcs7-certificates", pkcs7.serialize_certificates(above, DER)
        if authority.states.get(int(number)) != "issued":
            return 200, "text/html", self._outcome(int(number), again=True).encode()
        issued = authority.issued[int(number)]
        if page == "certnew.p7b":
            return 200, "application/x-pkcs7-certificates", pkcs7.serialize_certificates([issued, *above], DER)
        return 200, "application/pkix-cert", issued.public_bytes(DER)

    def _outcome(self, number: int, again: bool = False) -> str:
        state = self.owner.authority.states.get(number)
        if state == "issued":
            return f'<A Href="certnew.cer?ReqID={number}&amp;Enc=b64">Download</A>'
        if state == "denied":
            return f'Your request was denied. Your Request Id is {number}. The disposition message is "{self.owner.authority.denial}"'
        if again:
            return "Disposition message:\r\n\t\tTaken Under Submission\r\n"
        return f"Certificate Pending. Your Request Id is {number}. Return in a day. You must return within 10 days."

    def _send(self, status: int, kind: str, body: bytes, offers: list[str] | None = None) -> None:
        self.send_response(status)
        for offer in offers or ():
            self.send_header("WWW-Authenticate", offer)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
