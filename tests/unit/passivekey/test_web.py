# SPDX-License-Identifier: GPL-3.0-or-later
"""The protocol over HTTP, asked by a client that is not ours (httpx against the ASGI application)."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="Starlette is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from starlette.testclient import TestClient

from passivekey.protocol import codes, messages
from passivekey.server import web
from passivekey.server.web import COOKIE, SESSION, Fronts, application

SITE = "intranet.corp.example"
FRONTS = Fronts(sites={SITE: "site-secret", "wiki.corp.example": "wiki-secret"}, radius="radius-secret", metrics=frozenset({"10.9.9.9"}))


@pytest.fixture
def client(service):
    return TestClient(application(service, FRONTS), base_url="https://passivekey.corp.example", client=("10.0.0.7", 1234))


def problem(response, status, kind):
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json"), response.text
    assert response.json()["type"] == f"urn:passivekey:error:{kind}" and response.json()["status"] == status


def sign_in(client):
    return client.post("/v1/sign-in", json={"username": "alice@corp.example", "password": "pass"})


def test_enrolment_over_http(client, service, workstation, alice):
    pc = workstation(alice)
    problem(client.post("/v1/devices", json=pc.body()), 401, "unauthenticated")
    assert sign_in(client).status_code == 204
    answer = client.post("/v1/devices", json=pc.body())
    assert answer.status_code == 201 and answer.headers["cache-control"] == "no-store"
    pc.device = answer.json()["device"]
    seed = client.post(f"/v1/devices/{pc.device}/seed", json={"proof": pc.proof("seed")}).json()["seed"]
    pc.seed = messages.take(seed, pc.device, pc.agreement)
    counter = codes.counter_at(service.now)
    proof = pc.proof("confirm", code=pc.seed.code("enrollment", counter), counter=counter)
    assert client.post(f"/v1/devices/{pc.device}/confirm", json={"proof": proof}).json() == {"device": pc.device, "state": "active"}
    assert client.post(f"/v1/devices/{pc.device}/status", json={"proof": pc.proof("status")}).json()["state"] == "active"
    assert client.post(f"/v1/devices/{pc.device}/retire", json={"proof": pc.proof("retire")}).json()["state"] == "revoked"
    problem(client.post(f"/v1/devices/{pc.device}/status", json={"proof": "x"}), 401, "proof-refused")


def test_nobody_signs_in_as_another(client, workstation, bob):
    """Who enrolls is who signed in, whatever the request says."""
    sign_in(client)
    device = client.post("/v1/devices", json=workstation(bob).body()).json()["device"]
    found = workstation(bob).service.store
    with found.transaction(reading=True) as transaction:
        assert transaction.device(device).name == "alice@corp.example"


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"[]", 400), (b"{", 400), (b'{"other": 1}', 400), (b"[" * 50000, 400), (b'"' + b"x" * 70000 + b'"', 400), (b"\xff", 400)],
)
def test_bodies_that_are_none(client, body, status):
    problem(client.post("/v1/sign-in", content=body), status, "malformed")


def test_wrong_passwords_are_counted(client):
    for _try in range(8):
        problem(client.post("/v1/sign-in", json={"username": "alice@corp.example", "password": "x"}), 401, "unauthenticated")
    problem(sign_in(client), 401, "unauthenticated")


def test_public_documents(client, service, clock):
    keys = service.keyring.policy_jwks
    policy = messages.read_policy(client.get("/v1/policy").text, keys, service.now)
    assert policy["origin"] == "https://passivekey.corp.example"
    crl = x509.load_der_x509_crl(client.get("/v1/crl").content)
    ca = x509.load_der_x509_certificate(client.get("/v1/ca").content)
    assert crl.is_signature_valid(ca.public_key())
    assert client.get("/v1/policy/succession").json() == {"statements": []}
    assert client.get("/v1/crl").content == crl.public_bytes(Encoding.DER), "not made anew for everybody who asks"
    clock.now += 60
    again = x509.load_der_x509_crl(client.get("/v1/crl").content)
    numbers = [each.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number for each in (crl, again)]
    assert numbers[0] < numbers[1]


def check(client, secret="site-secret", site=SITE, **cookies):
    headers = {"X-Passivekey-Site": site, "Authorization": f"Bearer {secret}", "Cookie": "; ".join(f"{n}={v}" for n, v in cookies.items())}
    return client.get("/v1/check", headers=headers)


def test_a_site_asks(client, pc, alice):
    answer = check(client, **{COOKIE: pc.cookie()})
    assert answer.status_code == 204
    assert (answer.headers["x-passivekey-account"], answer.headers["x-passivekey-user"]) == (alice.sid, alice.name)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{SESSION}=") and all(part in cookie for part in ("Secure", "HttpOnly", "SameSite=lax", "Path=/"))
    assert "Domain" not in cookie
    session = cookie.partition("=")[2].partition(";")[0]
    again = check(client, **{SESSION: session})
    assert again.status_code == 204 and "set-cookie" not in again.headers
    problem(check(client, **{SESSION: "x"}), 401, "unauthenticated")


@pytest.mark.parametrize(
    ("secret", "site"), [("", SITE), ("wrong", SITE), ("wiki-secret", SITE), ("site-secret", "wiki.corp.example"), ("", "x")]
)
def test_only_a_site_asks_for_itself(client, pc, secret, site):
    assert check(client, secret, site, **{COOKIE: pc.cookie(site)}).status_code == 403


def radius(client, **words):
    return client.post("/v1/radius", json=words, headers={"Authorization": "Bearer radius-secret"})


def test_radius_over_http(client, pc):
    first = radius(client, username="alice@corp.example", password="pass", state="", source="10.0.0.1", nas="gw1").json()
    assert first["control:Tmp-String-0"] == "challenge"
    assert "\x00" not in bytes.fromhex(first["reply:State"][2:]).decode("ascii")
    second = radius(client, username="alice@corp.example", password=pc.code(), state=first["reply:State"])
    assert second.json() == {"control:Tmp-String-0": "ok"}
    again = radius(client, username="alice@corp.example", password=pc.code(), state=first["reply:State"])
    assert (again.status_code, again.json()) == (401, {"reply:Reply-Message": "Access denied"})


def test_radius_says_the_same_to_all_and_repeats_nothing(client, pc):
    known = radius(client, username="alice@corp.example", password="wrong%{User-Password}")
    unknown = radius(client, username="%{User-Name}", password="pass")
    assert known.status_code == unknown.status_code == 200 and known.json().keys() == unknown.json().keys()
    assert "%" not in known.text + unknown.text
    assert client.post("/v1/radius", json={}).status_code == 403


@pytest.mark.parametrize(("proxies", "seen"), [((), "127.0.0.1"), (("127.0.0.1",), "10.9.9.9"), (("10.1.1.1",), "127.0.0.1")])
def test_who_asks_through_a_proxy(service, proxies, seen):
    """An address that a client says is its own counts only where a proxy of the settings says it: who is it that guesses?"""
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    from passivekey.server.serving import configured
    from passivekey.server.settings import Settings

    given = Settings(service.rules.origin, "", Path(), "", service.rules, None, proxies=proxies)
    config = configured(given, lambda: application(service, FRONTS))
    config.load()
    client = TestClient(config.loaded_app, base_url="https://passivekey.corp.example", client=("127.0.0.1", 1))
    words = {"username": "alice@corp.example", "password": "wrong"}
    assert (
        client.post("/v1/sign-in", json=words, headers={"X-Forwarded-For": "6.6.6.6, 10.9.9.9", "X-Real-IP": "6.6.6.6"}).status_code == 401
    )
    assert service.audit.read()[-1]["source"] == seen
    assert client.get("/metrics", headers={"X-Forwarded-For": "10.9.9.9"}).status_code == (200 if seen == "10.9.9.9" else 403)


def test_metrics_of_all_workers(service, tmp_path, monkeypatch):
    """Whichever worker is asked; what one counted that has ended is not forgotten."""
    monkeypatch.setenv("PASSIVEKEY_METRICS", str(tmp_path / "counts"))
    (tmp_path / "counts").mkdir()
    workers = [
        TestClient(application(service, FRONTS), base_url="https://passivekey.corp.example", client=("10.9.9.9", 1)) for _n in range(2)
    ]
    for worker in (*workers, workers[0]):
        assert worker.get("/v1/policy").status_code == 200
    assert workers[0].get("/v1/nonces").status_code == 405
    for asked in (workers[1], TestClient(application(service, FRONTS), client=("10.9.9.9", 1))):
        assert 'passivekey_requests_total{path="/v1/policy",status="200"} 3\n' in asked.get("/metrics").text


def test_metrics_and_health(client, service, pc, tmp_path):
    assert client.get("/health").json() == {"status": "ok", "checks": {"database": "ok", "directory": "ok"}}
    assert client.get("/metrics").status_code == 403
    inside = TestClient(application(service, FRONTS), client=("10.9.9.9", 1))
    inside.get("/health")
    text = inside.get("/metrics").text
    assert 'passivekey_devices{state="active"} 1' in text and 'passivekey_requests_total{path="/health",status="200"} 1' in text


def test_a_directory_that_is_down_is_said(client, service, pc, directory):
    from passivekey.protocol.errors import Refused

    def down(*_arguments):
        raise Refused("unavailable", "no domain controller answers")

    directory.by_sid = down
    assert client.get("/health").status_code == 503
    problem(check(client, **{COOKIE: pc.cookie()}), 503, "unavailable")
    assert json.loads(client.get("/health").text)["checks"]["directory"] == "no domain controller answers"


@pytest.fixture
def looks(service, monkeypatch):
    """How often the service looked at what it stands on; `time` is what the application goes by."""

    class Looks:
        count, time, takes, found = 0, 1000.0, 0.0, "ok"

        def __call__(self):
            self.count += 1
            self.time += self.takes
            return {"directory": self.found}

    found = Looks()
    service.health = found
    monkeypatch.setattr(web, "monotonic", lambda: found.time)
    return found


@pytest.mark.parametrize(("state", "status", "takes"), [("ok", 200, 0.0), ("no domain controller answers", 503, 0.0), ("slow", 503, 9.0)])
def test_many_who_ask_for_health_are_answered_from_one_look(client, looks, state, status, takes):
    """No longer than its life, which begins when it begins: one that fails late is not kept for longer."""
    looks.found, looks.takes = state, takes
    assert [client.get("/health").status_code for _n in range(5)] == [status] * 5
    assert looks.count == (1 if takes < web.HEALTH_LIFE else 5)
    looks.time += web.HEALTH_LIFE + 0.1
    looks.found, looks.takes = "ok" if status != 200 else "gone", 0.0
    assert client.get("/health").json()["checks"]["directory"] == looks.found


def test_who_asks_for_health_during_a_look_waits_for_that_one(service, looks):
    """And waits in no thread, which others need; who goes away ends it for nobody."""
    begun, end = threading.Event(), threading.Event()

    def slow():
        begun.set()
        assert end.wait(10)
        return looks()

    service.health = slow
    asked = httpx.ASGITransport(application(service, FRONTS))

    async def ask():
        async with httpx.AsyncClient(transport=asked, base_url="https://passivekey.corp.example") as browser:
            first = asyncio.create_task(browser.get("/health"))
            await asyncio.to_thread(begun.wait, 10)
            others = [asyncio.create_task(browser.get("/health")) for _n in range(100)]
            first.cancel()
            nonce = await browser.post("/v1/nonces")
            end.set()
            return nonce.status_code, {answer.status_code for answer in await asyncio.gather(*others)}

    assert asyncio.run(ask()) == (201, {200})
    assert looks.count == 1


def test_nothing_is_done_that_cannot_be_audited(client, service, pc):
    def full(*_arguments, **_named):
        raise OSError("no space")

    service.audit.write = full
    problem(check(client, **{COOKIE: pc.cookie()}), 503, "unavailable")


def test_what_is_not_there(client):
    assert client.get("/v1/devices").status_code == 405
    assert client.get("/v2/policy").status_code == 404


@pytest.mark.parametrize("password", ["pässwörd €", "Ã©", "plain", "\x00\x7f"])
def test_radius_text_comes_as_rlm_rest_writes_it(client, service, alice, password):
    """Each octet of UTF-8 a character of its own, as FreeRADIUS 3.2.7 was seen to."""
    service.directory.passwords["alice@corp.example"] = password
    body = {"username": "alice@corp.example", "password": password.encode().decode("latin-1"), "state": "", "source": "", "nas": ""}
    headers = {"Authorization": "Bearer radius-secret"}
    asked = client.post("/v1/radius", json=body, headers=headers).json()
    assert asked["control:Tmp-String-0"] == "challenge"
    assert not [entry for entry in service.audit.read() if entry["event"] == "radius-password-refused"], "the password was understood"
