# SPDX-License-Identifier: GPL-3.0-or-later
"""A certification authority for VPN users where a lab has none (ca1 costs seconds): cards' certificates, CRLs good and bad, their server.

ca = UserCa("Corp Example VPN User CA", crl_url="http://control.corp.example:8089/users.crl")
card = ca.card(box, "alice", User.named("alice.andersson"))     # key pair made on the card, RSA 2048
ca.revoke(card.certificate); server.put("users.crl", ca.crl())
"""

from __future__ import annotations

import datetime as dt
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_public_key,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from lab import settings
from lab.cards import LIBRARY, Card, CardBox
from lab.errors import LabError

UPN = ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
SMART_CARD_LOGON = ObjectIdentifier("1.3.6.1.4.1.311.20.2.2")
CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH, SMART_CARD_LOGON)
KEY_ID = "01"
# PKCS#11 tools take the PIN from the environment; on the command line all processes could read it.
TOOL = ("pkcs11-tool", "--module", LIBRARY, "--login", "--pin", "env:CARD_PIN", "--id", KEY_ID)
DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class User:
    """Whom a certificate names: CN, rfc822Name and UPN."""

    common_name: str
    mail: str
    upn: str

    @classmethod
    def named(cls, account: str) -> User:
        address = f"{account}@{settings.DNS_DOMAIN}"
        return cls(account, address, address)


@dataclass(frozen=True)
class UserCard:
    """A card with one key pair and its certificate; `card` has the URI and the PIN as its own host sees them."""

    card: Card
    user: User
    certificate: x509.Certificate

    @property
    def uri(self) -> str:
        """For GnuTLS (openconnect, ocserv), whose own list of modules has the card's."""
        return f"pkcs11:token={self.card.name};id=%{KEY_ID}?pin-source={self.card.pin_file}"


class UserCa:
    """A root that issues users' certificates. Two of the same name are two: that is what a foreign CA looks like."""

    def __init__(self, name: str | x509.Name = "Corp Example VPN User CA", *, crl_url: str | None = None) -> None:
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) if isinstance(name, str) else name
        self.crl_url = crl_url
        self.key = rsa.generate_private_key(65537, 2048)
        self.revoked: dict[int, dt.datetime] = {}
        self.crl_number = 0
        self.certificate = self._sign_itself()

    def _sign_itself(self) -> x509.Certificate:
        public, now = self.key.public_key(), now_utc()
        return (
            x509.CertificateBuilder(self.name, self.name, public, x509.random_serial_number(), now - 30 * DAY, now + 3650 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(key_usage(ca=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        public_key: rsa.RSAPublicKey,
        user: User,
        *,
        purposes: Sequence[ObjectIdentifier] = CLIENT,
        begins: dt.timedelta = -DAY,
        ends: dt.timedelta = 365 * DAY,
    ) -> x509.Certificate:
        """A certificate as AD CS shapes one for smart card logon; `begins` and `ends` count from now."""
        now = now_utc()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, user.common_name)])
        upn = user.upn.encode()
        names = x509.SubjectAlternativeName(
            [x509.OtherName(UPN, bytes([0x0C, len(upn)]) + upn), x509.RFC822Name(user.mail)]  # a UTF8String
        )
        builder = (
            x509.CertificateBuilder(self.name, subject, public_key, x509.random_serial_number(), now + begins, now + ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(names, critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if self.crl_url:
            point = x509.DistributionPoint([x509.UniformResourceIdentifier(self.crl_url)], None, None, None)
            builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def card(
        self,
        box: CardBox,
        name: str,
        user: User,
        *,
        purposes: Sequence[ObjectIdentifier] = CLIENT,
        begins: dt.timedelta = -DAY,
        ends: dt.timedelta = 365 * DAY,
    ) -> UserCard:
        """A new card, in the place of an older one of the name. The key pair is made on it, the certificate is written beside the key."""
        box.discard(name)
        card = box.make(name)
        variables = {"SOFTHSM2_CONF": box.environment["SOFTHSM2_CONF"], "CARD_PIN": card.pin, "PATH": "/usr/bin:/bin"}

        def tool(*arguments: str, stdin: bytes = b"") -> bytes:
            command = [*TOOL, "--token-label", name, *arguments]
            done = subprocess.run(command, input=stdin, env=variables, capture_output=True, check=False)
            if done.returncode:
                raise LabError(f"card {name!r}: {' '.join(arguments)}: {done.stderr.decode().strip()}")
            return done.stdout

        tool("--keypairgen", "--key-type", "rsa:2048", "--label", name, "--usage-sign")
        public_key = load_der_public_key(tool("--read-object", "--type", "pubkey"))
        assert isinstance(public_key, rsa.RSAPublicKey)
        certificate = self.issue(public_key, user, purposes=purposes, begins=begins, ends=ends)
        der = certificate.public_bytes(Encoding.DER)
        tool("--write-object", "/dev/stdin", "--type", "cert", "--label", name, stdin=der)
        return UserCard(box.inside.card(name), user, certificate)

    def pkcs12(self, user: User, passphrase: str) -> tuple[bytes, x509.Certificate]:
        """A software certificate with its key."""
        key = rsa.generate_private_key(65537, 2048)
        certificate = self.issue(key.public_key(), user)
        encryption = BestAvailableEncryption(passphrase.encode())
        return pkcs12.serialize_key_and_certificates(
            user.common_name.encode(), key, certificate, [self.certificate], encryption
        ), certificate

    def revoke(self, certificate: x509.Certificate) -> None:
        self.revoked[certificate.serial_number] = now_utc()

    def crl(self, *, begins: dt.timedelta = -DAY / 24, ends: dt.timedelta = 7 * DAY, signer: UserCa | None = None) -> bytes:
        """The CRL as DER, newer than the last; `ends` in the past: expired; `signer`: what another CA of the same name would sign."""
        self.crl_number += 1
        now = now_utc()
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.name)
            .last_update(now + begins)
            .next_update(now + ends)
            .add_extension(x509.CRLNumber(self.crl_number), critical=False)
        )
        key = (signer or self).key
        builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        for serial, when in self.revoked.items():
            builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(when).build())
        return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)

    def expired_crl(self) -> bytes:
        return self.crl(begins=-3 * DAY, ends=-DAY)

    def server_certificate(self, name: str) -> tuple[bytes, bytes]:
        """(certificate, key) as PEM, for a TLS server of a test's own."""
        key = rsa.generate_private_key(65537, 2048)
        now = now_utc()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            x509.CertificateBuilder(self.name, subject, key.public_key(), x509.random_serial_number(), now - DAY, now + 365 * DAY)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return certificate.public_bytes(Encoding.PEM), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def crl_pem(der: bytes) -> bytes:
    return x509.load_der_x509_crl(der).public_bytes(Encoding.PEM)


def key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=not ca,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def now_utc() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc).replace(microsecond=0)


class CrlServer:
    """An HTTP server whose files a test puts, replaces and takes away, and which it takes down and up. It counts what is asked of it."""

    def __init__(self, address: str, port: int = 0, name: str | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self._address, self._port = address, port
        self._name = name or address
        self._server: ThreadingHTTPServer | None = None
        self.up()

    def up(self) -> None:
        """Listen at the same address and port as before; nothing if it does."""
        if self._server:
            return
        files, requests = self.files, self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.lstrip("/")
                requests.append(path)
                body = files.get(path)
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Type", "application/pkix-crl")
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_arguments: object) -> None:
                pass

        ThreadingHTTPServer.allow_reuse_address = True
        self._server = ThreadingHTTPServer((self._address, self._port), Handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def down(self) -> None:
        """Nobody listens any more: connections are refused."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def url(self, path: str) -> str:
        return f"http://{self._name}:{self._port}/{path}"

    def put(self, path: str, body: bytes) -> str:
        self.files[path] = body
        return self.url(path)

    def __enter__(self) -> CrlServer:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.down()
