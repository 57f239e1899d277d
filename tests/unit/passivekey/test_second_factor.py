# SPDX-License-Identifier: GPL-3.0-or-later
"""The second factor of an enrolment (protocol 3.1), and privacyIDEA as a judge of codes."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest

pytest.importorskip("starlette", reason="Starlette is not installed")
pytest.importorskip("pyotp", reason="pyotp is not installed")

from starlette.testclient import TestClient

from passivekey.errors import ConfigurationError
from passivekey.protocol import codes
from passivekey.protocol.errors import Refused
from passivekey.server import cli, settings
from passivekey.server.factors import ticket_secret
from passivekey.server.privacyidea import Asking, PrivacyIdea
from passivekey.server.web import Fronts, application
from tests.unit.passivekey import privacyidea_standin
from tests.unit.passivekey.agent_server import certificate
from tests.unit.passivekey.test_operations import good, written  # noqa: F401  # a fixture

ALL = ("device", "ticket", "privacyidea")


@pytest.fixture
def asking(service):
    """The service, asking for a second factor of any kind."""
    service.rules = replace(service.rules, second_factor=ALL)
    return service


@pytest.fixture
def pc(service, workstation, alice):
    """Enrolled before policy asked for more."""
    rules, service.rules = service.rules, replace(service.rules, second_factor=())
    found = workstation(alice).complete()
    service.rules = replace(service.rules, second_factor=rules.second_factor)
    return found


def enroll(workstation, factor=None, **more):
    return workstation.service.enroll(
        workstation.account, {**workstation.body(), **({"second_factor": factor} if factor else {})}, "10.0.0.7"
    )


def refused(why, workstation, factor=None):
    with pytest.raises(Refused) as found:
        enroll(workstation, factor)
    assert found.value.code == why, found.value.detail
    return found.value


def ticket(service, account, **more):
    return {"kind": "ticket", "code": service.issue_ticket(account, by="admin", **more)}


def of_device(device, at=0):
    return {"kind": "device", "code": device.seed.code("enrollment", codes.counter_at(device.service.now + at))}


def events(service, event):
    return [entry for entry in service.audit.read() if entry["event"] == event]


def enrolled(service, account):
    with service.store.transaction(reading=True) as transaction:
        return len(transaction.devices_of(account.sid, "pending", "active"))


# ---- asked for


def test_without_a_factor_nothing_is_made(asking, workstation, alice):
    found = refused("second-factor-required", workstation(alice))
    assert found.more == {"accepted": list(ALL)} and enrolled(asking, alice) == 0
    for _again in range(20):
        refused("second-factor-required", workstation(alice))
    enroll(workstation(alice), ticket(asking, alice))  # asking is not guessing


def test_by_default_none_is_asked_for(service, workstation, alice):
    assert enroll(workstation(alice))["state"] == "pending"
    assert enroll(workstation(alice), {"kind": "ticket", "code": "whatever"})["state"] == "pending"


def test_who_may_not_enroll_is_not_asked(asking, workstation, alice, directory):
    factor = ticket(asking, alice)
    directory.change(alice, usable=False)
    refused("not-allowed", workstation(alice), factor)


def test_kinds_that_policy_does_not_take(asking, workstation, alice, pc):
    asking.rules = replace(asking.rules, second_factor=("ticket",))
    assert refused("second-factor-required", workstation(alice), of_device(pc)).more == {"accepted": ["ticket"]}


@pytest.mark.parametrize(
    "factor",
    [
        "ticket",
        {},
        {"kind": "ticket"},
        {"kind": 7, "code": ""},
        {"kind": "ticket", "code": "x" * 300},
        {"kind": "ticket", "code": "", "x": 1},
    ]
    + [{"kind": "privacyidea", "code": "", "transaction": value} for value in ("a b", "x" * 65, "é", 7)],
)
def test_factors_that_are_none(asking, workstation, alice, factor):
    with pytest.raises(Refused) as found:
        asking.enroll(alice, {**workstation(alice).body(), "second_factor": factor}, "")
    assert found.value.code == "malformed"


# ---- tickets


def test_a_ticket_is_good_once_and_leaves_no_trace(asking, workstation, alice, tmp_path):
    factor = ticket(asking, alice)
    text = factor["code"]
    assert len(text.replace("-", "")) == 16 and not set(text) & set("ILOU")
    assert enroll(workstation(alice), factor)["state"] == "pending"
    assert refused("second-factor-required", workstation(alice), factor).detail == "this second factor is not good"
    assert events(asking, "enroll")[-1]["factor"] == "ticket" and events(asking, "ticket")[0]["by"] == "admin"
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert text.encode() not in kept and text.replace("-", "").encode() not in kept


@pytest.mark.parametrize(
    "read", [str.lower, lambda text: text.replace("-", ""), lambda text: text.replace("-", " ").replace("0", "O").replace("1", "l")]
)
def test_tickets_as_people_type_them(asking, workstation, alice, read, monkeypatch):
    monkeypatch.setattr("passivekey.server.factors.secrets.choice", lambda letters: next(drawn))
    drawn = iter("0123456789ABCDEF")
    factor = ticket(asking, alice)
    monkeypatch.undo()
    enroll(workstation(alice), {**factor, "code": read(factor["code"])})


@pytest.mark.parametrize("case", ["wrong", "empty", "another's", "late", "withdrawn", "a device's"])
def test_tickets_refused(asking, workstation, alice, bob, pc, clock, case):
    factor = ticket(asking, bob if case == "another's" else alice)
    if case == "late":
        clock.now += 24 * 3600 + 1
    elif case == "withdrawn":
        assert asking.withdraw_tickets(alice, by="admin") == 1
    elif case in ("wrong", "empty"):
        factor = {**factor, "code": "0000-0000-0000-0000" if case == "wrong" else ""}
    elif case == "a device's":
        factor = {**factor, "code": of_device(pc)["code"]}
    found = refused("second-factor-required", workstation(alice), factor)
    assert (found.detail, found.more) == ("this second factor is not good", {"accepted": list(ALL)})
    assert len(events(asking, "second-factor-refused")) == 1
    if case == "another's":
        enroll(workstation(bob), factor)  # and nobody else can use it up


def test_who_gets_a_ticket(asking, alice, bob, directory):
    directory.members[bob.sid] = frozenset()
    for account, hours, code in ((bob, 24, "not-allowed"), (alice, 0, "malformed"), (alice, 169, "malformed")):
        with pytest.raises(Refused) as found:
            asking.issue_ticket(account, hours, by="admin")
        assert found.value.code == code
    asking.rules = replace(asking.rules, second_factor=())
    with pytest.raises(Refused, match=r"enrollment\.second_factor"):
        asking.issue_ticket(alice, by="admin")


def test_two_at_once_with_one_ticket(asking, workstation, alice):
    factor, outcomes = ticket(asking, alice), []

    def ask(pc):
        try:
            outcomes.append(enroll(pc, factor)["state"])
        except Refused as found:
            outcomes.append(found.code)

    threads = [threading.Thread(target=ask, args=(workstation(alice),)) for _number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes)[:2] == ["pending", "second-factor-required"] and outcomes.count("pending") == 1


# ---- killed, and repeated


def test_a_request_that_made_its_device_needs_no_second_ticket(asking, workstation, alice):
    """The answer was lost: the same request gives the same device, with the spent ticket or without any."""
    pc, factor = workstation(alice), ticket(asking, alice)
    first = enroll(pc, factor)
    assert enroll(pc) == first == enroll(pc, factor) and enrolled(asking, alice) == 1
    assert not events(asking, "second-factor-refused")
    stranger = workstation(alice)
    stranger.request = pc.request
    refused("malformed", stranger)  # the request alone is not enough: the key is another


def test_a_refused_enrolment_spends_nothing(asking, workstation, alice):
    """Too many devices, a bad request: the ticket is still good."""
    factor = ticket(asking, alice)
    pc = workstation(alice)
    with pytest.raises(Refused):
        asking.enroll(alice, {**pc.body(), "agreement_key": None, "second_factor": factor}, "")
    for _number in range(3):
        enroll(workstation(alice), ticket(asking, alice))
    refused("too-many-devices", pc, factor)
    asking.rules = replace(asking.rules, devices_per_account=4)
    enroll(pc, factor)


def test_the_database_fails_and_the_ticket_is_not_spent(asking, workstation, alice, monkeypatch):
    factor = ticket(asking, alice)
    monkeypatch.setattr(
        "passivekey.server.store.Transaction.add_certificate", lambda *_given: (_ for _ in ()).throw(Refused("unavailable", ""))
    )
    refused("unavailable", workstation(alice), factor)
    monkeypatch.undo()
    enroll(workstation(alice), factor)


def test_a_revoked_device_is_not_brought_back_by_its_request(asking, workstation, alice):
    pc = workstation(alice)
    device = enroll(pc, ticket(asking, alice))["device"]
    asking.revoke(device, "lost", by="admin")
    refused("no-such-device", pc)


# ---- a code of another device


def test_another_device_vouches_once(asking, workstation, alice, pc, clock):
    factor = of_device(pc)
    assert enroll(workstation(alice), factor)["state"] == "pending"
    refused("second-factor-required", workstation(alice), factor)
    clock.now += 30
    enroll(workstation(alice), of_device(pc))
    assert events(asking, "enroll")[-1]["factor"] == "device"


@pytest.mark.parametrize("case", ["radius code", "web code", "late", "bob's device", "revoked", "pending", "own", "no device"])
def test_codes_of_devices_refused(asking, workstation, alice, bob, pc, clock, case):
    new = workstation(alice)
    factor = of_device(pc)
    if case == "radius code":
        factor["code"] = pc.code()
    elif case == "web code":
        factor["code"] = pc.seed.code("web", codes.counter_at(asking.now), "intranet.corp.example")
    elif case == "late":
        clock.now += 120
    elif case == "bob's device":
        asking.rules = replace(asking.rules, second_factor=())
        factor = of_device(workstation(bob).complete())
        asking.rules = replace(asking.rules, second_factor=ALL)
    elif case == "revoked":
        asking.revoke(pc.device, "lost", by="admin")
    elif case in ("pending", "own"):
        pending = new if case == "own" else workstation(alice)
        pending.device = enroll(pending, ticket(asking, alice))["device"]
        pending.fetch_seed()
        factor, new = of_device(pending), workstation(alice)
    elif case == "no device":
        new = workstation(bob)
    refused("second-factor-required", new, factor)


def test_a_code_that_vouched_is_not_taken_after_a_restore(asking, workstation, alice, pc):
    with asking.store.transaction() as transaction:
        transaction.refuse_until(asking.now)
    refused("second-factor-required", workstation(alice), of_device(pc))


def test_guessing_locks(asking, workstation, alice, bob, clock):
    for _try in range(8):
        refused("second-factor-required", workstation(alice), {"kind": "device", "code": "00000000"})
    assert refused("throttled", workstation(alice), ticket(asking, alice)).more == {}
    enroll(workstation(bob), ticket(asking, bob))
    clock.now += 901
    enroll(workstation(alice), ticket(asking, alice))
    assert events(asking, "second-factor-throttled")


# ---- over HTTP


def test_over_http(asking, workstation, alice):
    client = TestClient(application(asking, Fronts()), base_url="https://passivekey.corp.example")
    client.post("/v1/sign-in", json={"username": alice.name, "password": "pass"})
    pc = workstation(alice)
    answer = client.post("/v1/devices", json=pc.body())
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
    assert answer.json()["type"] == "urn:passivekey:error:second-factor-required" and answer.json()["accepted"] == list(ALL)
    assert client.post("/v1/devices", json={**pc.body(), "second_factor": ticket(asking, alice)}).status_code == 201
    client.cookies.clear()
    answer = client.post("/v1/devices", json={**workstation(alice).body(), "second_factor": ticket(asking, alice)})
    assert answer.json()["type"] == "urn:passivekey:error:unauthenticated", "a ticket is no sign-in"


# ---- privacyIDEA, by a stand-in of our own


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("pi"))


@pytest.fixture(scope="module")
def started(tls):
    with privacyidea_standin.running(*tls) as found:
        yield found


@pytest.fixture
def pi(started, clock):
    started.clock, started.instead = clock, None
    started.seen.clear()
    started.used.clear()
    return started


@pytest.fixture
def options(pi, tls):
    return Asking(pi.url, tls[0], "corp", "login", privacyidea_standin.API_KEY, 5)


@pytest.fixture
def backed(asking, options, directory):
    """The service with privacyIDEA, for enrolment and for RADIUS."""
    for account in list(directory.accounts.values()):
        directory.change(account, login=account.name.partition("@")[0])
    asking.backend = PrivacyIdea(options)
    asking.rules = replace(asking.rules, backend_radius=True)
    return asking


def radius(service, name, *answers):
    state = service.radius(name, "pass", "", "10.0.0.1")
    for answer in answers:
        assert len(state) == 32
        state = service.radius(name, answer, state, "10.0.0.1")
    return state


def test_enrolled_by_a_token_of_privacyidea(backed, workstation, alice, pi):
    code = pi.code()
    enroll(workstation(alice), {"kind": "privacyidea", "code": code})
    assert pi.seen == [("/pi/validate/check", {"user": "alice", "pass": code, "realm": "corp"})]
    assert events(backed, "enroll")[-1]["factor"] == "privacyidea"
    refused("second-factor-required", workstation(alice), {"kind": "privacyidea", "code": code})


def test_a_challenge_at_enrolment(backed, workstation, bob):
    pc = workstation(bob)
    asked = refused("second-factor-required", pc, {"kind": "privacyidea", "code": "pin"})
    assert asked.more["prompt"] == "Enter the OTP from the SMS:" and not events(backed, "second-factor-refused")
    answer = {"kind": "privacyidea", "transaction": asked.more["transaction"]}
    assert refused("second-factor-required", pc, {**answer, "code": "000000"}).more == {"accepted": list(ALL)}
    enroll(pc, {**answer, "code": "424242"})


def test_radius_by_privacyidea(backed, alice, pi):
    assert radius(backed, alice.name, pi.code()) == ""
    assert events(backed, "radius")[-1]["backend"] == "privacyidea" and "device" not in events(backed, "radius")[-1]
    with pytest.raises(Refused, match="not good"):
        radius(backed, alice.name, pi.code())  # once, as privacyIDEA says


def test_a_challenge_over_radius(backed, bob):
    assert radius(backed, bob.name, "pin", "424242") == ""
    with pytest.raises(Refused, match="not good"):
        radius(backed, bob.name, "pin", "000000")
    with pytest.raises(Refused, match="not good"):
        radius(backed, bob.name, "424242")


def test_devices_of_ours_are_asked_first(backed, alice, pc, pi):
    assert radius(backed, alice.name, pc.code()) == "" and pi.seen == []
    with pytest.raises(Refused):
        radius(backed, alice.name, pc.code())


def test_wrong_passwords_are_not_sent_on(backed, alice, pi):
    """privacyIDEA is not asked (and sends no text messages) for who did not know the password; it takes as long."""
    slept = []
    backed.backend._sleep = slept.append
    with pytest.raises(Refused):
        radius(backed, alice.name, "000000")
    pi.seen.clear()
    for name, password in ((alice.name, "wrong"), ("nobody@corp.example", "pass")):
        state = backed.radius(name, password, "", "")
        with pytest.raises(Refused, match="not good"):
            backed.radius(name, "000000", state, "")
    assert pi.seen == [] and len(slept) == 2 and all(0 < seconds < 2 for seconds in slept)


def test_no_token_is_no_second_factor(backed, directory, workstation, alice):
    """passOnNoToken accepts who has no token at all."""
    carol = directory.add("carol@corp.example", 1103, login="carol")
    with pytest.raises(Refused, match="not good"):
        radius(backed, carol.name, "anything")
    assert "passOnNoToken" in events(backed, "backend-refused")[0]["why"]


def test_guessing_locks_here_too(backed, alice, pi):
    for _try in range(8):
        with pytest.raises(Refused):
            radius(backed, alice.name, "000000")
    pi.seen.clear()
    with pytest.raises(Refused):
        radius(backed, alice.name, pi.code())
    assert pi.seen == []


OTHERS = {
    "down for repair": (503, b"<html>"),
    "a page": (200, b"<html>"),
    "nothing": (200, b""),
    "a list": (200, b"[]"),
    "deep": (200, b"[" * 100_000),
    "no result": (200, b'{"detail": {}}'),
    "a redirect": (302, b""),
    "an error of its own": (500, json.dumps({"result": {"status": False, "error": {"code": 500}}}).encode()),
}


@pytest.mark.parametrize("name", OTHERS)
def test_answers_that_are_none_let_nobody_in(backed, workstation, alice, pi, name):
    pi.instead = OTHERS[name]
    with pytest.raises(Refused) as found:
        radius(backed, alice.name, pi.code())
    assert found.value.code == "unavailable"
    refused("unavailable", workstation(alice), {"kind": "privacyidea", "code": pi.code()})
    assert "HTTP" in events(backed, "backend-failed")[0]["why"]


def result(**words):
    return (200, json.dumps({"detail": {"serial": "T1"}, "result": {"status": True, **words}}).encode())


REFUSALS = {
    "text for true": result(value="true", authentication="ACCEPT"),
    "one for true": result(value=1),
    "reject": result(value=True, authentication="REJECT"),
    "no value": result(),
    "false status": (200, json.dumps({"detail": {"serial": "T1"}, "result": {"status": False, "value": True}}).encode()),
    "status 400": (400, result(value=True)[1]),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_not_quite_an_acceptance_is_none(backed, alice, pi, name):
    pi.instead = REFUSALS[name]
    with pytest.raises(Refused) as found:
        radius(backed, alice.name, pi.code())
    assert found.value.code == "unauthenticated"


def test_older_versions_do_not_say_authentication(backed, alice, pi):
    pi.instead = result(value=True)
    assert radius(backed, alice.name, "755224") == ""


@pytest.mark.parametrize("change", [{"url": "https://localhost:1"}, {"ca_file": None}, {"url": "https://127.0.0.1:{port}/pi"}])
def test_nobody_is_in_where_it_cannot_be_reached(backed, options, pi, alice, pc, change):
    """Down, a certificate of nobody's, a certificate for another name: refused, and codes of our own devices go on working."""
    port = pi.url.rpartition(":")[2].partition("/")[0]
    backed.backend = PrivacyIdea(replace(options, **{name: value and value.format(port=port) for name, value in change.items()}))
    with pytest.raises(Refused) as found:
        radius(backed, alice.name, pi.code())
    assert found.value.code == "unavailable" and pi.seen == []
    assert backed.health()["backend"].startswith("privacyIDEA")
    state = backed.radius(alice.name, "wrong", "", "")
    with pytest.raises(Refused) as found:
        backed.radius(alice.name, "000000", state, "")
    assert found.value.code == "unavailable", "who did not know the password sees the same"
    assert radius(backed, alice.name, pc.code()) == ""


def test_down_over_http_is_503(backed, alice, options, pi):
    backed.backend = PrivacyIdea(replace(options, url="https://localhost:1"))
    client = TestClient(application(backed, Fronts(radius="radius-secret")), base_url="https://passivekey.corp.example")

    def ask(**words):
        return client.post("/v1/radius", json=words, headers={"Authorization": "Bearer radius-secret"})

    state = ask(username=alice.name, password="pass", state="").json()["reply:State"]
    assert ask(username=alice.name, password="123456", state=state).status_code == 503


@pytest.mark.parametrize("typed", ["a&user=bob&pass=x", "é%00\n\"'", "%{User-Name}", "x" * 200])
def test_what_users_type_stays_what_it_is(backed, alice, pi, typed):
    with pytest.raises(Refused):
        radius(backed, alice.name, typed)
    assert pi.seen == [("/pi/validate/check", {"user": "alice", "pass": typed, "realm": "corp"})]
    assert typed not in json.dumps(backed.audit.read(), ensure_ascii=False)


def test_why_it_refuses_is_in_the_log_without_what_was_typed(backed, options, alice):
    backed.backend = PrivacyIdea(replace(options, token="no-such-key"))
    with pytest.raises(Refused):
        radius(backed, alice.name, "000000")
    backed.backend = PrivacyIdea(replace(options, realm="other"))
    with pytest.raises(Refused):
        radius(backed, alice.name, "000000")
    assert [entry["why"] for entry in events(backed, "backend-refused")] == [
        "privacyIDEA answers HTTP 403, error 303",
        "privacyIDEA answers HTTP 400, error 904",
    ]


# ---- settings, command line


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('second_factor = ["sms"]', "enrollment.second_factor: 'sms' is none of device, ticket, privacyidea"),
        ('second_factor = ["device"]', "nobody enrolls a first device; add ticket"),
        ('second_factor = ["privacyidea"]', r"needs the section \[backend\]"),
        ('[backend]\nurl = "https://pi.corp.example"', "backend.kind: None is not privacyidea"),
        ('[backend]\nkind = "privacyidea"\nurl = "http://pi.corp.example"', "backend.url: 'http://pi.corp.example' is no address"),
        ('[backend]\nkind = "privacyidea"\nurl = "https://pi.corp.example"\nnames = "dn"', "backend.names: 'dn' is neither"),
        ('[backend]\nkind = "privacyidea"\nurl = "https://pi.corp.example"\nca_file = "/absent"', "backend.ca_file: /absent is missing"),
        ('[backend]\nkind = "privacyidea"\nurl = "https://pi.corp.example"\ntimeout = 0', "backend.timeout: 0 is not between"),
        ('[tls]\nproxies = ["localhost"]', "tls.proxies: 'localhost' is no IP address"),
        ("[audit]\nmegabytes = 1", "audit.megabytes: 1 is not between"),
    ],
)
def test_settings_refused(good, tmp_path, more, message):  # noqa: F811
    with pytest.raises(ConfigurationError, match=message):
        settings.load(written(tmp_path, good.replace("devices = 3", f"devices = 3\n{more}")))


def test_settings(good, tmp_path):  # noqa: F811
    (tmp_path / "token").write_text("an-api-key")
    (tmp_path / "token").chmod(0o600)
    backend = f'[backend]\nkind = "privacyidea"\nurl = "https://pi.corp.example/x"\ntoken_file = "{tmp_path}/token"\nradius = false'
    found = settings.load(
        written(tmp_path, good.replace("devices = 3", f'devices = 3\nsecond_factor = ["ticket", "privacyidea"]\n{backend}'))
    )
    assert found.rules.second_factor == ("ticket", "privacyidea") and not found.rules.backend_radius
    assert found.backend.token == "an-api-key" and "an-api-key" not in repr(found)
    plain = settings.load(written(tmp_path, good))
    assert plain.metrics == frozenset(), "behind a proxy that is not named, everybody would be 127.0.0.1"
    assert plain.rules.second_factor == () and plain.backend is None and plain.audit_megabytes == 4096


def test_the_command_line(good, tmp_path, capsys, monkeypatch, asking, alice, workstation):  # noqa: F811
    path = str(written(tmp_path, good))
    monkeypatch.setattr(cli, "opened", lambda given: asking)
    assert cli.main(["--settings", path, "ticket", alice.name, "--hours", "2"]) == 0
    shown = capsys.readouterr()
    assert "for 2 hours" in shown.err
    enroll(workstation(alice), {"kind": "ticket", "code": shown.out})
    assert cli.main(["--settings", path, "ticket", alice.name]) == 0 == cli.main(["--settings", path, "ticket", alice.name, "--withdraw"])
    assert "withdrawn: 1" in capsys.readouterr().out
    for arguments, message in ((["nobody"], "'nobody' is not in the directory"), ([alice.name, "--hours", "0"], "1 to 168 hours")):
        assert cli.main(["--settings", path, "ticket", *arguments]) == 1
        assert message in capsys.readouterr().err


def test_a_ticket_has_its_account_in_it():
    assert ticket_secret("abcd-0o1l", "S-1-5-21-7") == "ABCD0011/S-1-5-21-7"
