# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of the PassiveKey server share: users of their own in the domain, the server as a process, a workstation."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ldap3
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from ldap3.core.exceptions import LDAPException

from passivekey.agent.client import Server
from passivekey.protocol import codes, keys, messages
from passivekey.server.ldap import sid_text

HOST = "control.corp.example"
"""Where the machine is in the lab's network."""

SITE, OTHER_SITE = "intranet.corp.example", "wiki.corp.example"
UNIT = "OU=PassiveKey,OU=Corp,DC=corp,DC=example"
NORMAL = 0x200
_TREE_DELETE = [("1.2.840.113556.1.4.805", True, None)]


@dataclass
class Domain:
    """An organizational unit of the test's own, written over LDAPS as the administrator."""

    lab: Any
    passwords: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=self.lab.files["ca_bundle"])
        server = ldap3.Server("dc1.corp.example", 636, use_ssl=True, tls=tls, get_info=ldap3.NONE)
        who = self.lab.account("administrator")
        self.connection = ldap3.Connection(server, who["upn"], who["password"], auto_bind=True, raise_exceptions=True)

    def begin(self) -> Domain:
        self.end()
        self.connection.add(UNIT, "organizationalUnit")
        return self

    def end(self) -> None:
        with suppress(LDAPException):
            self.connection.delete(UNIT, controls=_TREE_DELETE)

    def user(self, name: str, password: str = "", **attributes: Any) -> str:
        """A user with a password; its SID."""
        self.passwords[name] = password or secrets.token_urlsafe(16) + "aB3"
        words = {"sAMAccountName": name, "userPrincipalName": f"{name}@corp.example", "unicodePwd": unicode_password(self.passwords[name])}
        self.connection.add(self.dn(name), "user", {**words, "userAccountControl": NORMAL, **attributes})
        return self.sid(name)

    def group(self, name: str, *members: str) -> str:
        dns = [self.dn(member) for member in members]
        self.connection.add(self.dn(name), "group", {"sAMAccountName": name, "groupType": -2147483646, "member": dns})
        return self.sid(name)

    def change(self, name: str, **attributes: Any) -> None:
        self.connection.modify(self.dn(name), {key: [(ldap3.MODIFY_REPLACE, [value])] for key, value in attributes.items()})

    def sid(self, name: str) -> str:
        self.connection.search(self.dn(name), "(objectClass=*)", ldap3.BASE, attributes=["objectSid"])
        return sid_text(self.connection.response[0]["raw_attributes"]["objectSid"][0])

    def dn(self, name: str) -> str:
        return f"CN={name},{UNIT}"

    def service(self, name: str, *hosts: str) -> None:
        """A service account with AES keys only: the types first, then a password, for keys are made when a password is set."""
        self.user(name)
        spns = [f"HTTP/{host}" for host in hosts]
        changes = {"servicePrincipalName": spns, "msDS-SupportedEncryptionTypes": [24]}
        self.connection.modify(self.dn(name), {key: [(ldap3.MODIFY_REPLACE, values)] for key, values in changes.items()})
        self.change(name, unicodePwd=unicode_password(self.passwords[name]))

    def keytab(self, *principals: str) -> bytes:
        """The keys as an administrator exports them on a domain controller."""
        exports = " && ".join(f"samba-tool domain exportkeytab $f --principal={principal}" for principal in principals)
        script = f"f=$(mktemp -u) && {exports} >&2 && base64 $f; rm -f $f"
        return base64.b64decode(self.lab.run("dc1", "sh", "-c", script).stdout)

    def ticket(self, name: str, folder: Path) -> str:
        """KRB5CCNAME of a fresh ticket."""
        cache = f"FILE:{folder}/{name}.ccache"
        subprocess.run(
            ["kinit", "-c", cache, f"{name}@CORP.EXAMPLE"], input=self.passwords[name], text=True, check=True, capture_output=True
        )
        return cache


def unicode_password(password: str) -> bytes:
    return f'"{password}"'.encode("utf-16-le")


def server_certificate(files: Mapping[str, str], folder: Path, *hosts: str) -> tuple[Path, Path]:
    """Certificate (with chain) and key of a TLS server by the lab's issuing CA."""
    pki = Path(files["folder"])
    ca = x509.load_pem_x509_certificate((pki / "issuing-ca.pem").read_bytes())
    ca_key = load_pem_private_key((pki / "issuing-ca.key").read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)
    names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, hosts[0])]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.public_key()), critical=False)
        .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(ca_key, SHA256())
    )
    chain = folder / "server.pem"
    chain.write_bytes(certificate.public_bytes(Encoding.PEM) + (pki / "issuing-ca.pem").read_bytes())
    private = folder / "server.key"
    private.touch(mode=0o600)
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return chain, private


SETTINGS = """\
origin = "https://{host}:{port}"
database = "sqlite:///{folder}/passivekey.db"
[keys]
file = "{folder}/keys.json"
passphrase = "file:{folder}/passphrase"
[directory]
servers = ["dc1.corp.example"]
base = "DC=corp,DC=example"
username = "{reader}"
password_file = "{folder}/reader"
ca_file = "{ca}"
netbios = "CORP"
remember = 0.0
[kerberos]
keytab = "{folder}/http.keytab"
[tls]
certificate = "{certificate}"
key = "{key}"
address = "{address}"
port = {port}
[enrollment]
groups = ["{group}"]
devices = 50
[sites]
"intranet.corp.example" = "{folder}/site"
"wiki.corp.example" = "{folder}/site"
[radius]
secret_file = "{folder}/radius"
[audit]
folder = "{folder}/audit"
[metrics]
addresses = []
"""


@dataclass
class Service:
    """The server as a process of the machine: `passivekey init`, then `passivekey serve`."""

    folder: Path
    ca: str
    port: int = 8443
    secrets: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def origin(self) -> str:
        return f"https://{HOST}:{self.port}"

    def prepare(self, files: Mapping[str, str], reader: Mapping[str, str], keytab: bytes, group: str, administrators: str = "") -> Service:
        certificate, key = server_certificate(files, self.folder, HOST)
        self.secrets = {name: secrets.token_urlsafe(24) for name in ("passphrase", "site", "radius")}
        for name, content in {**self.secrets, "reader": reader["password"]}.items():
            self.write(name, content.encode())
        self.write("http.keytab", keytab)
        words = {"host": HOST, "port": self.port, "folder": self.folder, "reader": reader["upn"], "ca": self.ca, "group": group}
        settings = SETTINGS.format(**words, certificate=certificate, key=key, address="0.0.0.0")
        settings += f'[administration]\ngroups = ["{administrators}"]\n' if administrators else ""
        self.write("server.toml", settings.encode())
        subprocess.run([*self.command, "init"], check=True, capture_output=True)
        return self

    def write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(content)

    @property
    def command(self) -> list[str]:
        program = "import sys; from passivekey.server.cli import main; sys.exit(main())"
        return [sys.executable, "-c", program, "--settings", str(self.folder / "server.toml")]

    def start(self) -> Service:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([*self.command, "serve"], stdout=log, stderr=log, start_new_session=True)
        context = ssl.create_default_context(cafile=self.ca)
        deadline = time.monotonic() + 20
        while True:
            try:
                urllib.request.urlopen(f"{self.origin}/health", context=context, timeout=5).close()
                return self
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    self.stop()
                    raise RuntimeError((self.folder / "log").read_text()) from None
                time.sleep(0.1)

    def stop(self) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def run(self, *arguments: str) -> str:
        return subprocess.run([*self.command, *arguments], check=True, capture_output=True, text=True).stdout

    def log(self) -> str:
        return (self.folder / "log").read_text()


class Workstation:
    """Enrolls and makes codes by passivekey.protocol; asks the server by the agent's client."""

    def __init__(self, service: Service, name: str = "PC7") -> None:
        self.server, self.name = Server(service.origin, service.ca), name
        self.key, self.agreement = keys.SoftwareKey.generate(), ec.generate_private_key(ec.SECP256R1())
        self.request = secrets.token_hex(16)
        self.device, self.seed = "", codes.Seed(codes.new_seed())

    def words(self) -> dict[str, Any]:
        anybody = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Administrator")])
        csr = x509.CertificateSigningRequestBuilder().subject_name(anybody).sign(self.key.private_key, SHA256())
        agreement = {name: value for name, value in keys.jwk(self.agreement.public_key()).items() if name != "kid"}
        der = messages.text(csr.public_bytes(Encoding.DER))
        return {"request": self.request, "csr": der, "agreement_key": agreement, "workstation": self.name}

    def proved(self, step: str, **claims: Any) -> dict[str, Any]:
        path = f"/v1/devices/{self.device}/{step}"
        proof = messages.proof(self.key, self.device, self.server.origin + path, self.server.nonce(), int(time.time()), **claims)
        return self.server.post(path, {"proof": proof})

    def enroll(self, password: tuple[str, str] | None = None, factor: dict[str, str] | None = None) -> Workstation:
        """By the ticket that KRB5CCNAME names; else by this name and password. `factor`: given once, where it is asked for."""
        given = iter([factor])
        self.device = self.server.enroll(self.words(), lambda: password, lambda _wanted: next(given, None))["device"]
        self.seed = messages.take(self.proved("seed")["seed"], self.device, self.agreement)
        counter = codes.counter_at(time.time())
        self.proved("confirm", code=self.seed.code("enrollment", counter), counter=counter)
        return self

    def code(self, channel: str = "radius", at: float = 0) -> str:
        return self.seed.code(channel, codes.counter_at(time.time() + at))

    def cookie(self, site: str = SITE, at: float = 0) -> str:
        policy = self.server.get("/v1/policy").decode().split(".")[1]
        cookie_key = read_json(messages.octets(policy))["cookie_keys"][0]
        return messages.cookie(self.key, self.device, self.seed, cookie_key, site, time.time() + at)


def read_json(content: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(content)
    return found


# ---- FreeRADIUS on pk1, as docs/examples has it

EXAMPLES = Path(__file__).parents[2] / "docs/examples/passivekey"
RADDB = "/etc/passivekey/radius"
BEGIN_RADIUS = f"""\
set -e
cat > {RADDB}/radiusd.conf
install -m 644 /srv/files/ca-bundle.pem /etc/passivekey/ca.pem
chmod 755 /etc/passivekey
chown -R root:freerad {RADDB}
chmod -R u=rwX,g=rX,o= {RADDB}
freeradius -d {RADDB} -C > /dev/null
mkdir -p /run/freeradius && chown freerad /run/freeradius
freeradius -d {RADDB} -f -l stdout > /var/log/radius.log 2>&1 < /dev/null &
number=$!
for i in $(seq 50); do ss -uln | grep -q :1812 && break; sleep 0.1; done
echo $number
"""


@contextmanager
def radius_server(lab: Any, service: Service) -> Iterator[Gateway]:
    """Before the service, for every client of the lab's network with one secret, and quick to refuse."""
    secret = secrets.token_hex(16)
    client = f"client lab {{\nipaddr = 10.83.0.0/24\nsecret = {secret}\nrequire_message_authenticator = yes\nlimit_proxy_state = yes\n}}\n"
    for name, content in (("clients.conf", client), ("bearer.conf", f'passivekey_bearer = "{service.secrets["radius"]}"\n')):
        lab.run("pk1", "sh", "-c", f"umask 077; mkdir -p {RADDB}; cat > {RADDB}/{name}", stdin=content)
    config = (EXAMPLES / "radiusd.conf").read_text()
    for default, ours in (
        ("https://passivekey.corp.example:8443", service.origin),
        ("reject_delay = 1", "reject_delay = 0"),
    ):
        assert default in config
        config = config.replace(default, ours)
    number = lab.run("pk1", "sh", "-c", BEGIN_RADIUS, stdin=config).stdout.strip()
    try:
        yield Gateway(lab.status["hosts"]["pk1"]["address"], secret.encode(), process=number)
    finally:
        lab.run("pk1", "sh", "-c", f"kill {number} 2>/dev/null", check=False)


# ---- RADIUS (RFC 2865, RFC 3579), as far as a gateway's login needs it

REQUEST, ACCEPT, REJECT, CHALLENGE = 1, 2, 3, 11
USER_NAME, USER_PASSWORD, REPLY_MESSAGE, STATE, CALLING_STATION, MESSAGE_AUTHENTICATOR = 1, 2, 18, 24, 31, 80


@dataclass(frozen=True)
class Answer:
    """`signed`: whether it holds a Message-Authenticator that is right; its Response Authenticator is judged in any case."""

    code: int
    attributes: dict[int, bytes]
    signed: bool


@dataclass
class Gateway:
    """A RADIUS client of our own. `sign` off: as clients from before 2024 ask. `process`: the server's, on pk1."""

    address: str
    secret: bytes
    port: int = 1812
    timeout: float = 5.0
    process: str = ""

    def ask(self, name: str, password: str, state: bytes = b"", *, source: str = "203.0.113.9", sign: bool = True) -> Answer | None:
        """None where nobody answers."""
        authenticator = os.urandom(16)
        attributes = [(USER_NAME, name.encode()), (USER_PASSWORD, self.hidden(password.encode(), authenticator))]
        attributes += [(CALLING_STATION, source.encode())] + ([(STATE, state)] if state else [])
        packet = self.packet(REQUEST, authenticator, attributes, sign)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(self.timeout)
            udp.sendto(packet, (self.address, self.port))
            try:
                return self.read(udp.recv(4096), authenticator)
            except TimeoutError:
                return None

    def packet(self, code: int, authenticator: bytes, attributes: list[tuple[int, bytes]], sign: bool) -> bytes:
        if sign:
            attributes = [(MESSAGE_AUTHENTICATOR, bytes(16)), *attributes]
        body = b"".join(bytes([kind, len(value) + 2]) + value for kind, value in attributes)
        packet = bytes([code, 7]) + (len(body) + 20).to_bytes(2, "big") + authenticator + body
        if not sign:
            return packet
        return packet[:22] + hmac.digest(self.secret, packet, "md5") + packet[38:]

    def hidden(self, password: bytes, authenticator: bytes) -> bytes:
        """RFC 2865 section 5.2."""
        found, before = b"", authenticator
        padded = password.ljust(-(-max(len(password), 1) // 16) * 16, b"\0")
        for start in range(0, len(padded), 16):
            mask = hashlib.md5(self.secret + before).digest()
            before = bytes(one ^ other for one, other in zip(padded[start : start + 16], mask, strict=True))
            found += before
        return found

    def read(self, packet: bytes, authenticator: bytes) -> Answer:
        expected = hashlib.md5(packet[:4] + authenticator + packet[20:] + self.secret).digest()
        assert packet[4:20] == expected, "the answer is not of who knows the secret"
        attributes, position, signed = {}, 20, False
        while position < len(packet):
            kind, length = packet[position], packet[position + 1]
            value = attributes[kind] = packet[position + 2 : position + length]
            if kind == MESSAGE_AUTHENTICATOR:
                unsigned = packet[:4] + authenticator + packet[20 : position + 2] + bytes(16) + packet[position + 18 :]
                signed = value == hmac.digest(self.secret, unsigned, "md5")
            position += length
        return Answer(packet[0], attributes, signed)
