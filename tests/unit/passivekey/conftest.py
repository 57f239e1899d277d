# SPDX-License-Identifier: GPL-3.0-or-later
"""A service on a database of its own, a directory of a few accounts, a clock that tests move, a workstation that speaks the protocol."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace

import pytest

pytest.importorskip("joserfc", reason="joserfc is not installed")
pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from passivekey.protocol import codes, keys, messages
from passivekey.server.accounts import Account
from passivekey.server.audit import Audit
from passivekey.server.keyring import Keyring
from passivekey.server.service import Rules, Service
from passivekey.server.store import Store

ORIGIN = "https://passivekey.corp.example"
SITE, OTHER_SITE = "intranet.corp.example", "wiki.corp.example"
PASSPHRASE = "correct horse battery staple"
ALLOWED = "S-1-5-21-1-2-3-1200"
NOW = 1_800_000_000


class Clock:
    now = float(NOW)

    def __call__(self):
        return self.now


@dataclass
class FakeDirectory:
    """Accounts by SID; `passwords` by name."""

    accounts: dict = field(default_factory=dict)
    passwords: dict = field(default_factory=dict)
    members: dict = field(default_factory=dict)

    def add(self, name, rid, password="pass", **more):
        account = Account(f"S-1-5-21-1-2-3-{rid}", name, True)
        self.accounts[account.sid] = replace(account, **more)
        self.members[account.sid] = frozenset({ALLOWED})
        self.passwords[name] = password
        return self.accounts[account.sid]

    def change(self, account, **more):
        self.accounts[account.sid] = replace(self.accounts[account.sid], **more)

    def by_sid(self, sid):
        return self.accounts.get(sid)

    def by_name(self, name):
        return next((account for account in self.accounts.values() if account.name == name.casefold()), None)

    def groups(self, sid):
        return self.members[sid]

    def password_is(self, name, password):
        return self.passwords.get(name.casefold()) == password


class Workstation:
    """Enrolls and makes codes by passivekey.protocol alone."""

    def __init__(self, service, account, name="PC7", source="10.0.0.7"):
        self.service, self.account, self.name, self.source = service, account, name, source
        self.key, self.agreement = keys.SoftwareKey.generate(), ec.generate_private_key(ec.SECP256R1())
        self.request = secrets.token_hex(16)
        self.device, self.seed = "", None

    def csr(self, subject="Administrator"):
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)])
        signed = x509.CertificateSigningRequestBuilder().subject_name(name).sign(self.key.private_key, SHA256())
        return messages.text(signed.public_bytes(Encoding.DER))

    def body(self):
        agreement = {name: value for name, value in keys.jwk(self.agreement.public_key()).items() if name != "kid"}
        return {"request": self.request, "csr": self.csr(), "agreement_key": agreement, "workstation": self.name}

    def enroll(self):
        answer = self.service.enroll(self.account, self.body(), self.source)
        self.device = answer["device"]
        return answer

    def proof(self, step, **claims):
        path = f"{ORIGIN}/v1/devices/{self.device}/{step}"
        return messages.proof(self.key, self.device, path, self.service.nonce(), self.service.now, **claims)

    def fetch_seed(self):
        answer = self.service.seed(self.device, self.proof("seed"), self.source)
        self.seed = messages.take(answer["seed"], self.device, self.agreement)
        return self.seed

    def confirm(self, **more):
        counter = codes.counter_at(self.service.now)
        claims = {"code": self.seed.code("enrollment", counter), "counter": counter, **more}
        return self.service.confirm(self.device, self.proof("confirm", **claims), self.source)

    def complete(self):
        self.enroll()
        self.fetch_seed()
        self.confirm()
        return self

    def code(self, at=0):
        return self.seed.code("radius", codes.counter_at(self.service.now + at))

    def cookie(self, site=SITE, at=0):
        return messages.cookie(self.key, self.device, self.seed, self.service.keyring.cookie_jwks[0], site, self.service.now + at)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def directory():
    found = FakeDirectory()
    found.add("alice@corp.example", 1101)
    found.add("bob@corp.example", 1102)
    return found


@pytest.fixture
def alice(directory):
    return directory.by_name("alice@corp.example")


@pytest.fixture
def bob(directory):
    return directory.by_name("bob@corp.example")


@pytest.fixture(scope="session")
def ring(tmp_path_factory):
    """Made once: scrypt is slow on purpose."""
    return Keyring.create(
        tmp_path_factory.mktemp("keys") / "keys.json", PASSPHRASE, "PassiveKey corp.example", "passivekey.corp.example", NOW
    )


@pytest.fixture
def service(tmp_path, directory, clock, ring):
    rules = Rules(ORIGIN, frozenset({ALLOWED}), devices_per_account=3, sites=(SITE, OTHER_SITE))
    store = Store(f"sqlite:///{tmp_path}/passivekey.db")
    yield Service(rules, store, ring, directory, Audit(tmp_path / "audit", clock), clock)
    store.close()


@pytest.fixture
def workstation(service):
    """Makes workstations, not enrolled yet."""

    def make(account, **more):
        return Workstation(service, account, **more)

    return make


@pytest.fixture
def pc(workstation, alice):
    return workstation(alice).complete()


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A server over TLS in this process, for agents."""
    from tests.unit.passivekey.agent_server import running  # of uvicorn, which is not everywhere

    with running(tmp_path_factory.mktemp("https")) as found:
        yield found


@pytest.fixture
def https(started, service, clock):
    return started.serve(service, clock)
