# SPDX-License-Identifier: GPL-3.0-or-later
"""Enrolment and validation as the protocol has them: what is taken, what is refused, and what two at once can do."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

pytest.importorskip("joserfc", reason="joserfc is not installed")

from cryptography import x509

from passivekey.protocol import codes, messages
from passivekey.protocol.errors import Refused
from passivekey.server.keyring import Keyring

SITE, OTHER_SITE = "intranet.corp.example", "wiki.corp.example"


def refused(why, call, /, *arguments, **named):
    with pytest.raises(Refused) as found:
        call(*arguments, **named)
    assert found.value.code == why, found.value.detail
    return found.value.detail


def radius(service, account, code, password="pass", source="10.0.0.1"):
    """Both steps; the second's outcome."""
    state = service.radius(account.name, password, "", source)
    return service.radius(account.name, code, state, source)


def events(service, *kinds):
    return [entry["event"] for entry in service.audit.read() if not kinds or entry["event"] in kinds]


# ---- enrolment


def test_enrolment(service, workstation, alice):
    pc = workstation(alice)
    answer = pc.enroll()
    assert answer["state"] == "pending"
    certificate = x509.load_der_x509_certificate(messages.octets(answer["certificate"]))
    certificate.verify_directly_issued_by(x509.load_der_x509_certificate(messages.octets(answer["ca"])))
    assert certificate.subject.rfc4514_string() == f"CN={pc.device}"  # and not what the request said
    pc.fetch_seed()
    assert pc.confirm() == {"device": pc.device, "state": "active"} == pc.confirm()
    assert service.status(pc.device, pc.proof("status"))["state"] == "active"
    assert events(service) == ["enroll", "seed", "confirm", "confirm"]


def test_a_step_may_be_repeated_by_who_was_killed(service, workstation, alice, clock):
    """Whatever was lost on the way: the same request gives the same device, and only the last seed counts."""
    pc = workstation(alice)
    first = pc.enroll()
    assert pc.enroll() == first
    old = pc.fetch_seed()
    pc.fetch_seed()
    counter = codes.counter_at(service.now)
    refused("proof-refused", pc.confirm, code=old.code("enrollment", counter))
    pc.confirm()
    assert pc.enroll()["state"] == "active"
    with service.store.transaction(reading=True) as transaction:
        assert transaction.count() == {"active": 1}


def test_no_code_of_a_pending_device_is_good(service, workstation, alice):
    pc = workstation(alice)
    pc.enroll()
    pc.fetch_seed()
    refused("unauthenticated", radius, service, alice, pc.code())
    refused("unauthenticated", service.check, SITE, "", pc.cookie(), "")


def test_an_active_device_keeps_its_seed_until_the_new_one_is_confirmed(service, pc, alice, clock):
    old = pc.seed
    new = pc.fetch_seed()
    pc.seed = old
    assert radius(service, alice, pc.code()) == ""
    pc.seed = new
    clock.now += 60
    refused("unauthenticated", radius, service, alice, pc.code())
    pc.confirm()
    assert radius(service, alice, pc.code()) == ""
    pc.seed = old
    clock.now += 60
    refused("unauthenticated", radius, service, alice, pc.code())


def test_pending_devices_vanish(service, workstation, alice, clock):
    pc = workstation(alice)
    pc.enroll()
    pc.fetch_seed()
    clock.now += 3700
    with service.store.transaction() as transaction:
        assert transaction.clean(service.now, 3600, 28800) == [pc.device]
        assert transaction.count() == {} and transaction.certificate(pc.device) is None
    refused("no-such-device", pc.fetch_seed)


def test_who_may_not_enroll(service, workstation, alice, bob, directory):
    directory.change(alice, usable=False)
    directory.members[bob.sid] = frozenset({"S-1-5-21-1-2-3-513"})
    for account in (alice, bob):
        refused("not-allowed", workstation(account).enroll)
    assert events(service) == ["enroll-refused"] * 2


def test_devices_are_counted(service, workstation, alice, bob):
    first = [workstation(alice, name=f"PC{number}").complete() for number in range(3)]
    assert "3 devices" in refused("too-many-devices", workstation(alice).enroll)
    workstation(bob).complete()
    service.revoke(first[0].device, "lost", by="admin")
    workstation(alice).complete()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"request": "x"}, "malformed"),
        ({"request": None}, "malformed"),
        ({"request": "A" * 32}, "malformed"),
        ({"workstation": ""}, "malformed"),
        ({"workstation": "a" * 65}, "malformed"),
        ({"workstation": "a\nb"}, "malformed"),
        ({"csr": "AAAA"}, "request-refused"),
        ({"csr": "%"}, "malformed"),
        ({"agreement_key": None}, "malformed"),
        ({"agreement_key": {"kty": "RSA"}}, "malformed"),
    ],
)
def test_bad_requests(service, workstation, alice, change, code):
    refused(code, service.enroll, alice, {**workstation(alice).body(), **change}, "")
    assert events(service, "enroll") == []


def test_the_same_request_with_another_key_is_refused(service, workstation, alice, bob):
    pc, other = workstation(alice), workstation(alice)
    pc.enroll()
    other.request = pc.request
    refused("malformed", other.enroll)
    stranger = workstation(bob)
    stranger.request = pc.request
    assert stranger.enroll()["device"] != pc.device  # requests are an account's own


def test_the_agreement_key_is_not_the_device_key(service, workstation, alice):
    pc = workstation(alice)
    pc.agreement = pc.key.private_key
    refused("request-refused", pc.enroll)


# ---- proofs


def test_proofs(service, pc, workstation, bob, clock):
    other = workstation(bob).complete()
    proof = pc.proof("status")
    assert service.status(pc.device, proof)["device"] == pc.device
    refused("proof-refused", service.status, pc.device, proof)  # its nonce is spent
    refused("proof-refused", service.status, other.device, pc.proof("status"))
    refused("proof-refused", service.status, pc.device, pc.proof("seed"))
    pc.key, key = other.key, pc.key
    refused("proof-refused", service.status, pc.device, pc.proof("status"))
    pc.key = key
    late = pc.proof("status")
    clock.now += 121
    refused("proof-refused", service.status, pc.device, late)


@pytest.mark.parametrize("case", ["spent", "of the future", "old", "changed", "short", "of other keys", "no base64"])
def test_nonces(service, pc, clock, case, tmp_path):
    """They are not written down before they are spent; what is not ours, not of now, or spent, is refused."""
    store, service.store = service.store, None
    nonce, other = service.nonce(), service.nonce()
    service.store = store
    assert nonce != other
    if case == "spent":
        assert service._spend_nonce(nonce) is True
    elif case == "of the future":
        clock.now -= 31
    elif case == "old":
        clock.now += 121
    elif case == "changed":
        nonce = ("B" if nonce[0] == "A" else "A") + nonce[1:]
    elif case == "short":
        nonce = messages.text(messages.octets(nonce)[:-3])
    elif case == "of other keys":
        service.keyring = Keyring.create(tmp_path / "other.json", "passphrase of other keys", "Other", "other", int(clock.now))
    elif case == "no base64":
        refused("proof-refused", service._spend_nonce, nonce[:-1] + "=")
        return
    assert service._spend_nonce(nonce) is False


def test_two_at_once_with_one_nonce(service):
    nonce, outcomes = service.nonce(), []
    threads = [threading.Thread(target=lambda: outcomes.append(service._spend_nonce(nonce))) for _number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 7 + [True]


def test_proofs_of_disabled_accounts_are_refused(service, pc, alice, directory):
    directory.change(alice, usable=False)
    refused("not-allowed", service.status, pc.device, pc.proof("status"))
    refused("not-allowed", pc.fetch_seed)


def test_renewal(service, pc, workstation, alice, clock):
    clock.now += 60 * 86400
    answer = service.renew(pc.device, pc.proof("certificate", csr=pc.csr()), "")
    certificate = x509.load_der_x509_certificate(messages.octets(answer["certificate"]))
    assert certificate.not_valid_after_utc.timestamp() > service.now + 89 * 86400
    refused("request-refused", service.renew, pc.device, pc.proof("certificate", csr=workstation(alice).csr()), "")
    refused("malformed", service.renew, pc.device, pc.proof("certificate"), "")


def test_a_certificate_that_ended_makes_no_cookie_good(service, pc, clock):
    clock.now += 91 * 86400
    refused("unauthenticated", service.check, SITE, "", pc.cookie(), "")


# ---- the web


def test_a_cookie_becomes_a_session(service, pc, alice, clock):
    admitted = service.check(SITE, "", pc.cookie(), "10.0.0.7")
    assert (admitted.account, admitted.device) == (alice, pc.device) and len(admitted.session) == 43
    clock.now += 800
    again = service.check(SITE, admitted.session, "", "")
    assert (again.account, again.session) == (alice, "")
    clock.now += 800
    assert service.check(SITE, admitted.session, "rubbish", "").device == pc.device


def test_a_session_ends_where_it_is_not_used(service, pc, clock):
    admitted = service.check(SITE, "", pc.cookie(), "")
    clock.now += 901
    refused("unauthenticated", service.check, SITE, admitted.session, "", "")


def test_a_session_ends_however_much_it_is_used(service, pc, clock):
    admitted = service.check(SITE, "", pc.cookie(), "")
    for _step in range(40):  # 8 hours
        clock.now += 720
        service.check(SITE, admitted.session, "", "")
    clock.now += 1
    refused("unauthenticated", service.check, SITE, admitted.session, "", "")


def test_a_session_is_of_one_site(service, pc):
    admitted = service.check(SITE, "", pc.cookie(), "")
    refused("unauthenticated", service.check, OTHER_SITE, admitted.session, "", "")
    refused("unauthenticated", service.check, "evil.example", admitted.session, "", "")


def test_replayed_cookie(service, pc, clock):
    cookie = pc.cookie()
    service.check(SITE, "", cookie, "")
    refused("unauthenticated", service.check, SITE, "", cookie, "10.6.6.6")
    assert "used already" in [entry for entry in service.audit.read() if entry["event"] == "web-refused"][-1]["why"]
    refused("unauthenticated", service.check, SITE, "", pc.cookie(at=-30), "")  # older than what was accepted
    clock.now += 30
    service.check(SITE, "", pc.cookie(), "")


def test_cookies_of_two_sites_do_not_disturb_each_other(service, pc):
    service.check(SITE, "", pc.cookie(SITE), "")
    service.check(OTHER_SITE, "", pc.cookie(OTHER_SITE), "")
    refused("unauthenticated", service.check, OTHER_SITE, "", pc.cookie(SITE), "")


@pytest.mark.parametrize(
    ("at", "good"), [(0, True), (-60, True), (-90, True), (-150, False), (30, True), (90, False), (-600, False), (600, False)]
)
def test_clocks_that_differ(service, pc, at, good):
    """The web takes what is as old as the interval and a step more, and one step of the future."""
    if good:
        assert service.check(SITE, "", pc.cookie(at=at), "").session
    else:
        refused("unauthenticated", service.check, SITE, "", pc.cookie(at=at), "")


def test_a_code_of_another_channel_or_device_makes_no_cookie(service, pc, workstation, alice):
    class OfRadius:
        step = codes.STEP

        @staticmethod
        def code(channel, counter, site=""):
            return pc.seed.code("radius", counter)

    jwk = service.keyring.cookie_jwks[0]
    bad = messages.cookie(pc.key, pc.device, OfRadius, jwk, SITE, service.now)
    refused("unauthenticated", service.check, SITE, "", bad, "")
    other = workstation(alice).complete()
    refused("unauthenticated", service.check, SITE, "", messages.cookie(other.key, pc.device, pc.seed, jwk, SITE, service.now), "")
    refused("unauthenticated", service.check, SITE, "", messages.cookie(pc.key, pc.device, other.seed, jwk, SITE, service.now), "")


@pytest.mark.parametrize("cookie", ["", "x", "a.b.c.d.e", "e30.e30.e30.e30.e30", "é" * 4000])
def test_rubbish_is_no_cookie(service, cookie):
    refused("unauthenticated", service.check, SITE, "", cookie, "")


def test_revocation_works_at_once(service, pc, workstation, alice):
    other = workstation(alice).complete()
    session = service.check(SITE, "", pc.cookie(), "").session
    others = service.check(SITE, "", other.cookie(), "").session
    assert service.revoke(pc.device, "lost", by="admin") is True
    assert service.revoke(pc.device, "lost", by="admin") is False
    refused("unauthenticated", service.check, SITE, session, "", "")
    refused("unauthenticated", service.check, SITE, "", pc.cookie(OTHER_SITE), "")
    refused("unauthenticated", radius, service, alice, pc.code())
    refused("no-such-device", service.status, pc.device, pc.proof("status"))
    assert service.check(SITE, others, "", "").device == other.device  # and touches no other
    serials = [entry.serial_number for entry in x509.load_der_x509_crl(service.crl())]
    assert len(serials) == 1


def test_a_disabled_account_is_out_at_once(service, pc, alice, directory):
    session = service.check(SITE, "", pc.cookie(), "").session
    directory.change(alice, usable=False)
    refused("unauthenticated", service.check, SITE, session, "", "")
    refused("unauthenticated", radius, service, alice, pc.code())
    directory.change(alice, usable=True, name="alice.renamed@corp.example")
    assert service.check(SITE, session, "", "").account.name == "alice.renamed@corp.example"


def test_two_requests_with_one_cookie(service, pc):
    cookie, outcomes = pc.cookie(), []

    def ask():
        try:
            outcomes.append(bool(service.check(SITE, "", cookie, "").session))
        except Refused as found:
            outcomes.append(found.code)

    threads = [threading.Thread(target=ask) for _number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcomes)) == ["True"] + ["unauthenticated"] * 11


# ---- RADIUS


def test_radius(service, pc, alice):
    state = service.radius("ALICE@corp.example", "pass", "", "10.0.0.1")
    assert len(state) == 32 and state.isascii() and state.isprintable()
    assert service.radius("alice@corp.example", pc.code(), state, "10.0.0.1") == ""


def test_a_code_and_a_state_are_good_once(service, pc, alice, clock):
    code = pc.code()
    state = service.radius(alice.name, "pass", "", "")
    service.radius(alice.name, code, state, "")
    refused("unauthenticated", service.radius, alice.name, code, state, "")
    refused("unauthenticated", radius, service, alice, code)
    clock.now += 30
    assert radius(service, alice, pc.code()) == ""


def test_of_two_devices_either_code_is_good(service, pc, workstation, alice):
    other = workstation(alice).complete()
    assert radius(service, alice, other.code()) == "" == radius(service, alice, pc.code())


@pytest.mark.parametrize("case", ["wrong code", "wrong password", "unknown", "bob's state", "late", "web code", "no device"])
def test_radius_refused(service, pc, alice, bob, clock, case):
    """Each is told apart by nobody: a challenge, then a refusal."""
    name, password, code = alice.name, "pass", pc.code()
    if case == "wrong code":
        code = str((int(code) + 1) % 10**6).zfill(6)
    elif case == "wrong password":
        password = "other"
    elif case == "unknown":
        name = "nobody@corp.example"
    elif case == "web code":
        code = pc.seed.code("web", codes.counter_at(service.now), SITE)
    elif case == "no device":
        name = bob.name
    state = service.radius(name, password, "", "10.0.0.1")
    if case == "bob's state":
        name = bob.name
    elif case == "late":
        clock.now += 121
        code = pc.code()
    assert "not good" in refused("unauthenticated", service.radius, name, code, state, "10.0.0.1")


def test_wrong_passwords_may_be_refused_at_once(service, pc, alice):
    service.rules = replace(service.rules, refuse_wrong_password_at_once=True)
    refused("unauthenticated", service.radius, alice.name, "wrong", "", "")


def test_guessing_locks_the_account_and_then_the_source(service, pc, alice, bob, workstation, clock):
    for _try in range(8):
        refused("unauthenticated", radius, service, alice, "000000", source="10.0.0.1")
    refused("unauthenticated", radius, service, alice, pc.code(), source="10.0.0.2")  # the right code does not help
    clock.now += 901
    assert radius(service, alice, pc.code(), source="10.0.0.2") == ""
    last = []
    for number in range(40):
        with pytest.raises(Refused) as found:
            radius(service, bob if number % 2 else alice, "000000", source="10.6.6.6")
        last.append(found.value.code)
    assert last[-1] == "throttled"
    refused("throttled", service.radius, bob.name, "pass", "", "10.6.6.6")


def test_a_slow_clock_is_remembered(service, pc, alice, clock):
    """A device that is 30 seconds behind gets a minute more of slack, never more than two steps."""
    assert radius(service, alice, pc.code(at=-30)) == ""
    clock.now += 300
    assert radius(service, alice, pc.code(at=-60)) == ""
    clock.now += 300
    assert radius(service, alice, pc.code(at=-90)) == ""
    clock.now += 300
    refused("unauthenticated", radius, service, alice, pc.code(at=-120))


# ---- keys


def test_cookies_and_seeds_outlive_a_rotation(service, pc, alice, tmp_path):
    from passivekey.server.keyring import Keyring

    path = tmp_path / "keys.json"
    path.write_bytes(service.keyring._path.read_bytes())
    service.keyring = Keyring.load(path, "correct horse battery staple")
    before = pc.cookie()
    for purpose in ("cookie", "storage", "policy", "ca"):
        service.keyring.rotate(purpose, service.now)
    service.keyring = Keyring.load(path, "correct horse battery staple")
    assert service.check(SITE, "", before, "").session
    assert service.check(OTHER_SITE, "", pc.cookie(OTHER_SITE), "").session
    assert radius(service, alice, pc.code()) == ""
    assert service.renew(pc.device, pc.proof("certificate", csr=pc.csr()), "")["ca"] != ""


def test_an_agent_follows_the_policy_keys(service, tmp_path):
    from passivekey.server.keyring import Keyring

    path = tmp_path / "keys.json"
    path.write_bytes(service.keyring._path.read_bytes())
    service.keyring = Keyring.load(path, "correct horse battery staple")
    known = service.keyring.policy_jwks
    for _times in range(3):
        service.keyring.rotate("policy", service.now)
    refused("malformed", messages.read_policy, service.policy(), known, service.now)
    followed = messages.follow(known, service.keyring.succession)
    assert messages.read_policy(service.policy(), followed, service.now)["sites"] == [SITE, OTHER_SITE]
    stranger = Keyring.create(tmp_path / "other.json", "another horse battery staple", "x", "passivekey.corp.example", service.now)
    assert messages.follow(known, stranger.succession) == known


def test_the_passphrase_opens_the_keys_and_no_other(ring):
    from passivekey.errors import ConfigurationError
    from passivekey.server.keyring import Keyring

    with pytest.raises(ConfigurationError, match="passphrase"):
        Keyring.load(ring._path, "wrong horse battery staple")
    content = ring._path.read_text()
    assert "PRIVATE" not in content and ring._path.stat().st_mode & 0o077 == 0


def test_what_is_stored_tells_no_secret(service, pc, tmp_path):
    session = service.check(SITE, "", pc.cookie(), "").session
    content = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    for secret in (pc.seed.value, messages.text(pc.seed.value).encode(), pc.seed.value.hex().encode(), session.encode(), b"pass\n"):
        assert secret not in content
