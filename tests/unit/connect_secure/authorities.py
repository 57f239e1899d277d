# SPDX-License-Identifier: GPL-3.0-or-later
"""CAs, their CRLs and what they issue, made for the tests; CRLs served over HTTP on the loopback."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs7

PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER


def now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


class Authority:
    """A CA; `parent` None for a root."""

    def __init__(
        self,
        name: str = "Corp CA",
        parent: Authority | None = None,
        *,
        cdp: str = "",
        days: tuple[float, float] = (-1, 300),
        ca: bool = True,
        weak: bool = False,
    ) -> None:
        self.key: Any = rsa.generate_private_key(65537, 1024) if weak else ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._made(name, parent, cdp, days, ca)

    def _made(self, name: str, parent: Authority | None, cdp: str, days: tuple[float, float], ca: bool) -> x509.Certificate:
        signer = parent or self
        issuer = parent.certificate.subject if parent else named(name)
        builder = certificate_builder(named(name), issuer, self.key.public_key(), days, cdp)
        builder = builder.add_extension(x509.BasicConstraints(ca, None), True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), False)
        return builder.sign(signer.key, hashes.SHA256())

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(PEM).decode()

    @property
    def sha256(self) -> str:
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    @property
    def label(self) -> str:
        name = self.certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value
        return f"{name} (SHA-256 {self.sha256[:16]})"

    def crl(self, *serials: int, hours: tuple[float, float] = (-1, 200), delta: bool = False) -> bytes:
        moment = now()
        builder = x509.CertificateRevocationListBuilder(
            self.certificate.subject, moment + timedelta(hours=hours[0]), moment + timedelta(hours=hours[1])
        )
        for serial in serials:
            builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder(serial, moment).build())
        builder = builder.add_extension(x509.CRLNumber(7), False)
        if delta:
            builder = builder.add_extension(x509.DeltaCRLIndicator(6), True)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(DER)

    def sign(self, request: x509.CertificateSigningRequest, *names: str, days: tuple[float, float] = (-1, 90)) -> x509.Certificate:
        """A TLS server's certificate for a request; `names` are its DNS names."""
        builder = certificate_builder(request.subject, self.certificate.subject, request.public_key(), days, "")
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
        return builder.sign(self.key, hashes.SHA256())


def certificate_builder(subject: x509.Name, issuer: x509.Name, key: Any, days: tuple[float, float], cdp: str) -> x509.CertificateBuilder:
    moment = now()
    builder = x509.CertificateBuilder(
        issuer, subject, key, x509.random_serial_number(), moment + timedelta(days[0]), moment + timedelta(days[1])
    )
    if cdp:
        point = x509.DistributionPoint([x509.UniformResourceIdentifier(cdp)], None, None, None)
        builder = builder.add_extension(x509.CRLDistributionPoints([point]), False)
    return builder


def bundle(form: str, *authorities: Authority) -> bytes:
    """Several certificates in one file: pem, der (one), p7b or p7b-pem."""
    certificates = [one.certificate for one in authorities]
    if form.startswith("p7b"):
        return pkcs7.serialize_certificates(certificates, PEM if form.endswith("pem") else DER)
    return b"".join(one.public_bytes(PEM if form == "pem" else DER) for one in certificates)


class Files(dict[str, bytes]):
    """What the server has, by path; `url` is where it is."""

    url = ""
    asked: list[str]


@contextmanager
def served() -> Iterator[Files]:
    files = Files()
    files.asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.strip("/")
            files.asked.append(name)
            if name not in files:
                self.send_error(404)
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(files[name])

        def log_message(self, *_arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        files.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield files
        finally:
            server.shutdown()
