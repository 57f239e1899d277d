# SPDX-License-Identifier: GPL-3.0-or-later
"""What an attacker sends and measures: each was tried against a running server, and what was found is kept found."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import contextmanager

import pytest

pytest.importorskip("starlette", reason="Starlette is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

from starlette.testclient import TestClient

from passivekey.protocol import codes, messages
from passivekey.protocol.errors import Refused
from passivekey.server.database import Connection, Database
from passivekey.server.ldap import Connecting, LdapDirectory
from passivekey.server.service import Service
from passivekey.server.store import Transaction
from passivekey.server.web import COOKIE, Fronts, application

SITE = "intranet.corp.example"
ORIGIN = "https://passivekey.corp.example"


@pytest.fixture
def client(service):
    """Raises what the server does not handle."""
    return TestClient(application(service, Fronts({SITE: "site"}, "radius")), base_url=ORIGIN, client=("10.0.0.7", 1234))


def radius(client, **words):
    return client.post("/v1/radius", content=json.dumps(words), headers={"Authorization": "Bearer radius"})


def login(client, name, password, code):
    state = radius(client, username=name, password=password).json()["reply:State"]
    return radius(client, username=name, password=code, state=state).status_code


# ---- JSON that can be read in two ways


AMBIGUOUS = {
    "a member twice": b'{"username": "alice@corp.example", "password": "pass", "username": "bob@corp.example"}',
    "twice within": b'{"username": {"a": 1, "a": 2}, "password": "pass"}',
    "half a character": b'{"username": "\\ud800", "password": "pass"}',
    "half a character as a name": b'{"\\udfff": 1}',
    "no number": b'{"username": NaN, "password": "pass"}',
    "endless": b'{"username": -Infinity, "password": "pass"}',
    "UTF-16": '{"username": "alice@corp.example", "password": "pass"}'.encode("utf-16"),
    "a mark before it": b'\xef\xbb\xbf{"username": "alice@corp.example", "password": "pass"}',
    "deep": b'{"username": ' + b"[" * 30000 + b"]" * 30000 + b"}",
    "a long number": b'{"username": ' + b"9" * 60000 + b"}",
}


def test_bodies_that_could_be_read_in_two_ways(client):
    for name, body in AMBIGUOUS.items():
        for path in ("/v1/sign-in", "/v1/radius", f"/v1/devices/{'0' * 32}/status"):
            answer = client.post(path, content=body, headers={"Authorization": "Bearer radius"})
            assert (answer.status_code, answer.json()["type"]) == (400, "urn:passivekey:error:malformed"), (name, path)


def test_characters_beyond_the_first_plane_are_text(client):
    """As JSON writes them: two halves."""
    assert client.post("/v1/sign-in", content=b'{"username": "\\ud83d\\udd11", "password": "x"}').status_code == 401


def test_radius_takes_text_alone(client):
    for member in ("username", "password", "state", "source"):
        for value in (True, 0, 123456, 1.5, [], {}, ["alice@corp.example"]):
            words = {"username": "alice@corp.example", "password": "pass", "state": "", "source": "", "nas": "", member: value}
            assert radius(client, **words).status_code == 400, (member, value)


# ---- JOSE with headers of the wrong type: the cookie key is public, and everybody makes a cookie of rubbish


def token(key, head, payload):
    message = ".".join(messages.text(part if isinstance(part, bytes) else json.dumps(part).encode()) for part in (head, payload))
    return f"{message}.{messages.text(key.sign(message.encode()))}"


WRONG_HEADERS = [
    *({"crit": value} for value in ([1], 1, "x", ["exp"], {})),
    *({"alg": value} for value in ("none", "HS256", "PS256", ["ES256"], None, {})),
    *(
        {"b64": False},
        {"zip": "DEF"},
        {"zip": 1},
        {"cty": 1},
        {"kid": "\ud800"},
        {"kid": "a\0b"},
        {"kid": "x" * 9000},
        {"kid": 1},
        {"typ": []},
    ),
]


def test_proofs_with_other_headers(client, pc):
    for change in WRONG_HEADERS:
        claims = {"aud": f"{ORIGIN}/v1/devices/{pc.device}/status", "nonce": pc.service.nonce(), "iat": pc.service.now}
        proof = token(pc.key, {"typ": messages.PROOF, "alg": "ES256", "kid": pc.device, **change}, claims)
        assert client.post(f"/v1/devices/{pc.device}/status", json={"proof": proof}).status_code == 401, change


def test_proofs_of_rubbish(client, pc):
    head = {"typ": messages.PROOF, "alg": "ES256", "kid": pc.device}
    for part in (b"[" * 9000, b"[]", b"1", b"\xff", b'{"aud": 1, "aud": 2}', b'{"nonce": "\\ud800"}'):
        for proof in (token(pc.key, part, {}), token(pc.key, head, part)):
            assert client.post(f"/v1/devices/{pc.device}/status", json={"proof": proof}).status_code == 401, part


def ask(client, cookie):
    return client.get("/v1/check", headers={"X-Passivekey-Site": SITE, "Authorization": "Bearer site", "Cookie": f"{COOKIE}={cookie}"})


POINT = {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}
WRONG_ENVELOPES = [
    *WRONG_HEADERS,
    *({"enc": value} for value in (["A256GCM"], None, "A128CBC-HS256", 1)),
    *({"epk": value} for value in (None, [], {}, {"kty": "oct", "k": "AA"}, POINT, {**POINT, "x": 1}, {**POINT, "crv": "P-521"})),
    *({"apu": 1}, {"apu": "*"}, {"apv": []}, {"alg": "dir"}, {"alg": "PBES2-HS256+A128KW", "p2c": 10**9, "p2s": "AAAAAAAAAAAAAAAAAAAAAA"}),
]


def test_cookies_with_other_headers(client, pc):
    head, *parts = pc.cookie().split(".")
    for change in WRONG_ENVELOPES:
        words = {**json.loads(messages.octets(head)), **change}
        assert ask(client, ".".join([messages.text(json.dumps(words).encode()), *parts])).status_code == 401, change


def test_cookies_that_hold_rubbish(client, pc, service):
    claims = {"aud": SITE, "counter": codes.counter_at(service.now), "code": "00000000", "iat": service.now}
    key = service.keyring.cookie_jwks[0]
    public = next(iter(service.keyring.cookie_keys.values())).public_key()
    for change in WRONG_HEADERS:
        inner = token(pc.key, {"typ": messages.CODE, "alg": "ES256", "kid": pc.device, **change}, claims).encode()
        assert ask(client, messages.encrypted(public, messages.COOKIE, key["kid"], inner, cty="JWT")).status_code == 401, change


def test_a_cookie_that_would_unpack_to_much_is_not_unpacked(client, service):
    from joserfc import jwe

    from passivekey.protocol import keys

    public = next(iter(service.keyring.cookie_keys.values())).public_key()
    head = {"typ": messages.COOKIE, "alg": "ECDH-ES+A256KW", "enc": "A256GCM", "kid": service.keyring.cookie_jwks[0]["kid"], "zip": "DEF"}
    bomb = jwe.encrypt_compact(head, b"\0" * 20_000_000, keys.jose(public), algorithms=["ECDH-ES+A256KW", "A256GCM", "DEF"])
    assert len(bomb) < 40_000 and ask(client, bomb).status_code == 401


def test_digits_of_others_are_no_digits(client, pc, clock):
    def digits(code, zero):
        return "".join(chr(zero + int(digit)) for digit in code)

    changes = [lambda code, zero=zero: digits(code, zero) for zero in (0xFF10, 0x0660, 0x1D7CE)]
    changes += [lambda code: f"{code} ", lambda code: f" {code}", lambda code: f"{code}\0", lambda code: f"0{code}"]
    changes += [lambda code: code[:-1] + digits(code[-1], 0xFF10)]
    for change in changes:
        clock.now += 1000  # so that nobody waits
        assert login(client, "alice@corp.example", "pass", change(pc.code())) == 401
    assert login(client, "alice@corp.example", "pass", pc.code()) == 200


# ---- browsers


def test_no_page_enrolls_a_device_with_its_visitors_ticket(service, workstation, alice):
    """A form or a script of any page, posted as text/plain without asking: the browser adds the ticket by itself."""

    class Tickets:
        def accept(self, header):
            from passivekey.server.spnego import Negotiation

            return Negotiation(header.partition(" ")[2], b"")

    client = TestClient(application(service, Fronts(acceptor=Tickets())), base_url=ORIGIN)
    headers = {"Authorization": f"Negotiate {alice.name}", "Content-Type": "text/plain"}
    for origin in ("https://evil.example", "null", ORIGIN):
        answer = client.post("/v1/devices", content=json.dumps(workstation(alice).body()), headers={**headers, "Origin": origin})
        assert answer.status_code == 403
    assert service.counts() == {}
    assert client.post("/v1/devices", content=json.dumps(workstation(alice).body()), headers=headers).status_code == 201


# ---- what time tells


@contextmanager
def counted(*methods):
    """How often each of these (owner, name) is called meanwhile."""
    done = Counter()

    def count(name, real):
        return lambda *given, **named: done.update([name]) or real(*given, **named)

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in methods:
            patch.setattr(owner, name, count(name, getattr(owner, name)))
        yield done


def worked(service, directory, client, name, password):
    """What is done at the second step of a login with a wrong code."""
    state = radius(client, username=name, password=password).json()["reply:State"]
    with counted((directory, "by_sid"), (service, "_open"), (Transaction, "failed")) as done:
        assert radius(client, username=name, password="000000", state=state).status_code == 401
    return done


def test_the_second_step_does_the_same_whatever_the_password_was(service, directory, client, pc, bob):
    """A login with the right password and a wrong code took 10 ms longer than others, and told that the password was right."""
    known = {password: worked(service, directory, client, "alice@corp.example", password) for password in ("pass", "wrong")}
    nobody = worked(service, directory, client, "nobody@corp.example", "pass")
    without = worked(service, directory, client, bob.name, "pass")
    assert known["pass"] == known["wrong"] == nobody == without == {"by_sid": 1, "_open": 1, "failed": 2}


def asked(client, name, password):
    """How many transactions and statements the first step of a login is."""
    with counted((Database, "_begin"), (Connection, "run")) as done:
        assert "reply:State" in radius(client, username=name, password=password).json()
    return done


def test_the_first_step_asks_the_database_the_same_whatever_was_wrong(service, client, alice, bob):
    """Who had to wait was told by one transaction more that the password was right; each failure took three times as long as a login."""
    with service.store.transaction() as transaction:
        for _failure in range(limit := service.rules.account_failures):
            transaction.failed(f"account:{bob.sid}", service.now, limit, 900, 900)
    names = [(alice.name, "wrong"), ("nobody@corp.example", "pass"), (bob.name, "wrong"), (bob.name, "pass")]
    found = [asked(client, *given) for given in names]
    assert found == [{"_begin": 2, "run": 4}] * 4
    assert asked(client, alice.name, "pass") == {"_begin": 2, "run": 2}


def test_a_wrong_password_is_counted_once_and_spends_no_code(service, client, pc, alice):
    code = pc.code()
    for _attempt in range(7):
        assert login(client, alice.name, "wrong", code) == 401
    assert login(client, alice.name, "pass", code) == 200, "seven failures of eight, and the code is still good"


def test_an_unknown_name_is_nobodys_challenge(client, pc, alice):
    state = radius(client, username="nobody@corp.example", password="pass").json()["reply:State"]
    assert radius(client, username="nobody@corp.example", password=pc.code(), state=state).status_code == 401
    state = radius(client, username=alice.name, password="pass").json()["reply:State"]
    assert radius(client, username="nobody@corp.example", password=pc.code(), state=state).status_code == 401


def test_passwords_of_unknown_names_take_as_long(monkeypatch):
    """A domain controller refuses them sooner."""
    slept = []
    monkeypatch.setattr("passivekey.server.ldap.time.sleep", slept.append)
    found = LdapDirectory(Connecting(["dc1"], "DC=corp,DC=example", "reader", "password"))
    found._even_out(0.002, known=False)
    for took in (0.030, 0.032):
        found._even_out(took, known=True)
    found._even_out(0.002, known=False)
    found._even_out(0.5, known=False)
    assert slept[0] == pytest.approx(0.03, abs=0.003) and slept[1] == 0.0


# ---- who is counted


@pytest.mark.parametrize(
    ("sources", "throttled"),
    [
        ([f"2001:db8:1:2::{number:x}" for number in range(41)], True),
        ([f"2001:db8:1:{number:x}::1" for number in range(41)], False),
        ([f"::ffff:10.1.2.{number}" for number in range(41)], False),
        (["::ffff:10.1.2.3", "10.1.2.3"] * 21, True),
        ([f"fe80::1%eth{number}" for number in range(41)], True),
        (["02-00-5e-10-00-00"] * 41, True),
    ],
)
def test_failures_are_counted_by_network(service, directory, sources, throttled):
    for number, source in enumerate(sources):
        with pytest.raises(Refused) as refused:
            service.sign_in(f"nobody{number}@corp.example", "x", source)
    assert (refused.value.code == "throttled") is throttled


def test_of_many_guesses_at_once_no_more_count_than_one_after_the_other(service, client, pc, alice, monkeypatch):
    """All are judged before the first is counted: the right one is too late then, and is not spent."""
    code, state = pc.code(), radius(client, username=alice.name, password="pass").json()["reply:State"]
    fitting = service._fitting

    def late(*given):
        found = fitting(*given)
        with service.store.transaction() as transaction:
            for _guess in range(service.rules.account_failures):
                transaction.failed(f"account:{alice.sid}", service.now, service.rules.account_failures, 900, 900)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(service, "_fitting", late)
        assert radius(client, username=alice.name, password=code, state=state).status_code == 401
    with service.store.transaction() as transaction:
        assert transaction.last_accepted(pc.device, "radius") == -1
        transaction.forgive(f"account:{alice.sid}")
    assert login(client, alice.name, "pass", code) == 200


@pytest.mark.parametrize("source", ["\0", "10.0.0.1\0", "x" * 5000, "é\n10.0.0.1", "\u202e1.2.3.4"])
def test_addresses_that_are_none_are_counted_too(service, client, source):
    """What a database does not take is cut before, so that nobody's failures go uncounted."""
    for _attempt in range(8):
        radius(client, username="alice@corp.example", password="wrong", source=source)
    with service.store.transaction(reading=True) as transaction:
        assert [each.count for each in transaction.waiting(service.now, 10) if each.who.startswith("account:")] == [8]
        counted = service.audit.read()[-1].get("source", "")
    assert len(counted) <= 45 and counted.isascii() and counted.isprintable()


# ---- what is not audited is not done


@pytest.mark.parametrize("step", ["seed", "confirm", "certificate"])
def test_a_step_that_cannot_be_logged_is_not_done(service, workstation, alice, client, monkeypatch, step):
    device = workstation(alice)
    device.enroll()
    if step != "seed":
        device.fetch_seed()
    counter = codes.counter_at(service.now)
    code = device.seed.code("enrollment", counter) if device.seed else ""
    proof = device.proof(step, code=code, counter=counter, csr=device.csr())

    def state(owner: Service):
        with owner.store.transaction(reading=True) as transaction:
            found = transaction.device(device.device)
            return found.state, transaction.seed(device.device, "pending"), transaction.certificate(device.device)

    before = state(service)
    with monkeypatch.context() as patch:
        patch.setattr(service.audit, "write", lambda *_given, **_named: (_ for _ in ()).throw(OSError("full")))
        assert client.post(f"/v1/devices/{device.device}/{step}", json={"proof": proof}).status_code == 503
    assert state(service) == before
