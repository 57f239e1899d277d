# SPDX-License-Identifier: GPL-3.0-or-later
"""The workstation's side against the real server over TLS: enrolment in all its accidents, renewal, what is stolen, what is damaged."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="uvicorn is not installed")

from passivekey.agent import cli, container, enrollment, native_host, state
from passivekey.agent.client import Server, ServerError
from passivekey.agent.container import ContainerError
from passivekey.agent.lock import alone
from passivekey.agent.secret_store import FileStore, SecretStoreError
from passivekey.protocol import codes, messages
from passivekey.protocol.errors import Refused
from passivekey.server import keyring as server_keyring

SITE = "intranet.corp.example"
DAY = 86400


@pytest.fixture
def clocks(clock):
    """The workstation's clock, as far from the server's as `ahead` says."""

    class Local:
        ahead = 0.0

        def __call__(self):
            return clock.now + self.ahead

    return Local()


@pytest.fixture
def agent(https, tmp_path, clocks):
    """Makes agents of one workstation; each has read nothing yet, as after a logon. They give alice's password."""

    def make(ask=lambda: ("alice@corp.example", "pass"), folder="home", secrets="secrets"):
        server = Server(https.origin, str(https.ca_file), clocks)
        server._ticket = lambda: ""  # what a domain's ticket does is tried where there is a domain
        said = []
        places = state.Places(tmp_path / folder)
        found = enrollment.Agent(places, FileStore(tmp_path / folder / secrets), server, "PC7", ask, said.append, clocks)
        found.said = said
        return found

    return make


def devices(service, *states):
    with service.store.transaction(reading=True) as transaction:
        return [device.id for device in transaction.devices_of("S-1-5-21-1-2-3-1101", *(states or ("active",)))]


def radius(service, code):
    state = service.radius("alice@corp.example", "pass", "", "")
    return service.radius("alice@corp.example", code, state, "")


# ---- enrolment


def test_enrolment(agent, service, https, clock):
    found = agent().bring_up()
    assert devices(service) == [found.device] and found.stage == "active"
    assert radius(service, enrollment.code(found, clock())[0]) == ""
    (cookie, other) = enrollment.cookies(found, agent().current_policy(found), clock())
    assert service.check(SITE, "", cookie["value"], "").device == found.device and other["site"] != SITE
    assert cookie["name"] == "__Host-passivekey" and cookie["expires"] == clock() + 120
    https.seen.clear()
    again = agent().bring_up()
    assert again == container.load(agent().places.container, agent().store) and again.device == found.device
    assert https.seen == ["/v1/nonces", f"/v1/devices/{found.device}/status", "/v1/policy"]
    modes = {path.name: path.stat().st_mode & 0o777 for path in agent().places.folder.rglob("*") if path.is_file()}
    assert modes["container"] == 0o600 and all(not mode & 0o077 for name, mode in modes.items() if len(name) == 16)


def test_what_is_on_the_disk_has_no_secret(agent):
    found = agent().bring_up()
    for path in agent().places.folder.glob("*"):
        if path.is_file():
            assert not any(secret in path.read_text() for secret in (found.seed, found.key, found.agreement)), path


def test_nobody_to_ask(agent):
    with pytest.raises(ServerError, match="no Kerberos ticket"):
        agent(enrollment.nobody).bring_up()


def test_wrong_password_then_right_one(agent, service):
    with pytest.raises(ServerError, match="unauthenticated: wrong name or password"):
        agent(lambda: ("alice@corp.example", "wrong")).bring_up()
    assert devices(service, "active", "pending") == []
    assert agent().bring_up().device in devices(service)


def test_the_tls_channel_is_bound(https, agent):
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256

    certificate = x509.load_pem_x509_certificate(https.ca_file.read_bytes())
    assert agent().server.channel_binding() == b"tls-server-end-point:" + certificate.fingerprint(SHA256())


# ---- killed


def killed_at(make, number):
    """Runs an agent in a process of its own, ended by SIGKILL before its number-th write or message; or it completes."""
    time.sleep(0.01)  # the server is in this process: no thread of it may hold a lock when the agent is forked
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(60)
            left = iter(range(number))

            def deadly(work):
                def done(*given, **more):
                    if next(left, None) is None:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return work(*given, **more)

                return done

            found = make()
            found.server.post = deadly(found.server.post)
            found.store.put = deadly(found.store.put)
            Path.replace = deadly(Path.replace)
            found.bring_up()
            os._exit(0)
        except BaseException:
            os._exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_killed_at_every_step(agent, service):
    """After kill -9 anywhere the next logon completes: one active device, and no seed in force that no workstation has."""
    for number in range(30):
        folder = f"home{number}"
        outcome = killed_at(lambda folder=folder: agent(folder=folder), number)
        assert outcome in (0, -signal.SIGKILL)
        found = agent(folder=folder).bring_up()
        assert devices(service) == [found.device], number
        with service.store.transaction(reading=True) as transaction:
            (sealed, kid) = transaction.seed(found.device)
            assert transaction.seed(found.device, "pending") is None
        opened = messages.unseal(sealed, found.device, service.keyring.storage_key(kid))
        assert messages.text(opened) == found.seed
        service.revoke(found.device, "tried", by="test")
        with service.store.transaction() as transaction:
            transaction.clean(service.now + 4000, 3600, 28800)
        assert devices(service, "active", "pending") == []
        if outcome == 0:
            break
    assert number > 15 and outcome == 0


def test_lost_answers(agent, service, https):
    """Each answer of an enrolment is lost once, and the run after it goes on."""
    lost = set()

    def lose(scope):
        path = scope["path"].rsplit("/", 1)[1]
        if scope["method"] == "POST" and path not in lost:
            lost.add(path)
            return 502, [], b"<html>"
        return None

    https.after = lose
    for _logon in range(10):
        try:
            found = agent().bring_up()
            break
        except ServerError as error:
            assert error.code == "unreachable"
    assert lost == {"sign-in", "devices", "nonces", "seed", "confirm", "status"} or lost >= {"devices", "nonces", "seed", "confirm"}
    assert devices(service, "active", "pending") == [found.device]


def test_an_enrolment_broken_off_for_long(agent, service, clock):
    found = agent()
    content = found._begun()
    found._enroll(content)
    clock.now += 4000
    with service.store.transaction() as transaction:
        transaction.clean(service.now, 3600, 28800)
    second = agent().bring_up()
    assert devices(service) == [second.device] != [content.device]


def test_a_seed_that_another_took_the_place_of(agent, service):
    found = agent()
    content = found._begun()
    found._enroll(content)
    found._seed(content)
    late = replace(content, seed=messages.text(b"x" * 32))
    container.save(found.places.container, late, found.store)
    assert agent().bring_up().device == content.device
    assert devices(service) == [content.device]


def test_a_server_that_never_agrees_is_not_asked_for_ever(agent, https):
    refusal = {"type": "urn:passivekey:error:proof-refused", "detail": "no"}
    https.before = lambda scope: (401, [], refusal) if scope["path"].endswith("/confirm") else None
    with pytest.raises(ServerError, match="proof-refused"):
        agent().bring_up()
    assert len(https.seen) < 40


def test_too_many_devices(agent, service):
    for number in range(3):
        agent(folder=f"pc{number}").bring_up()
    with pytest.raises(ServerError, match="too-many-devices: 3 devices"):
        agent(folder="pc4").bring_up()


# ---- later


def test_renewal_at_two_thirds(agent, service, clock):
    first = agent().bring_up()
    assert state.read(agent().places).well(clock())
    clock.now += 59 * DAY
    early = agent().bring_up()
    assert early.certificate == first.certificate
    clock.now += 2 * DAY
    assert not state.read(agent().places).well(clock())
    renewed = agent().bring_up()
    assert renewed.certificate != first.certificate and (renewed.device, renewed.key, renewed.seed) == (first.device, first.key, first.seed)
    assert state.read(agent().places).well(clock()) and devices(service) == [first.device]


def test_after_years_away(agent, service, clock):
    first = agent().bring_up()
    clock.now += 400 * DAY
    assert agent().bring_up().device == first.device
    assert service.check(SITE, "", enrollment.cookies(agent().load(), agent().current_policy(agent().load()), clock())[0]["value"], "")


def test_a_revoked_device_enrolls_anew(agent, service, clock):
    first = agent().bring_up()
    service.revoke(first.device, "lost", by="test")
    assert state.read(agent().places).well(clock())
    clock.now += DAY  # a logon of the next day asks
    assert not state.read(agent().places).well(clock())
    second = agent().bring_up()
    assert second.device != first.device and second.key != first.key and devices(service) == [second.device]
    assert len(list((agent().places.folder / "secrets").iterdir())) == 1


def test_a_server_that_lost_its_database(agent, service, tmp_path):
    from passivekey.server.store import Store

    first = agent().bring_up()
    service.store.close()
    service.store = Store(f"sqlite:///{tmp_path}/empty.db")
    second = agent().bring_up()
    assert devices(service) == [second.device] != [first.device]


def test_retire(agent, service, https):
    agent().bring_up()
    https.before = lambda scope: (503, [], {"type": "urn:passivekey:error:unavailable"})
    with pytest.raises(ServerError, match="unavailable"):
        agent().retire()
    assert agent().load()
    https.before = None
    agent().retire()
    assert devices(service) == [] and agent().load() is None and not list((agent().places.folder / "secrets").iterdir())


def test_policy_keys_are_followed(agent, service, clock, tmp_path, https):
    """A policy by an unknown key is believed only when the keys known lead to it."""
    found = agent().bring_up()
    old = service.keyring
    service.keyring = server_keyring.Keyring.create(tmp_path / "other.json", "p", "Other", "other", clock())
    clock.now += 3601
    with pytest.raises(ServerError, match="unknown key"):
        agent().policy(found)
    assert agent().current_policy(found)["sites"], "the one kept is still good"
    service.keyring = old


def test_sites_of_tomorrow(agent, service, clock):
    found = agent().bring_up()
    service.rules = replace(service.rules, sites=("new.corp.example",))
    assert agent().current_policy(found)["sites"] != ["new.corp.example"]
    clock.now += 3601
    assert agent().current_policy(found)["sites"] == ["new.corp.example"]


def test_an_older_policy_is_refused(agent, https, clock):
    found = agent().bring_up()
    old = agent().server.get("/v1/policy")
    clock.now += 100
    agent().policy(found)
    https.before = lambda scope: (200, [], old) if scope["path"] == "/v1/policy" else None
    with pytest.raises(ServerError, match="older"):
        agent().policy(found)


# ---- clocks, and servers that are none


@pytest.mark.parametrize("ahead", [600, -600])
def test_clock_off_by_ten_minutes(agent, service, clocks, clock, ahead):
    """Enrolment goes by the server's time, and says so; codes of a wrong clock are refused."""
    clocks.ahead = ahead
    found = agent()
    content = found.bring_up()
    assert devices(service) == [content.device]
    (said,) = found.said
    assert re.search(r"\b(59\d|60\d) seconds", said) and ("ahead" if ahead > 0 else "behind") in said, said  # of a busy host
    with pytest.raises(Refused):
        radius(service, enrollment.code(content, clocks())[0])


def test_unreachable(agent, https):
    content = agent().bring_up()
    away = agent()
    https.before = lambda scope: (503, [], {"type": "urn:passivekey:error:unavailable", "detail": "the directory"})
    assert away.bring_up() == content and "goes on working" in away.said[0]
    with pytest.raises(ServerError, match=r"unreachable: .*refused"):
        Server("https://127.0.0.1:1", None).get("/health")


@pytest.mark.parametrize("ending", [ConnectionResetError("x"), ssl.SSLEOFError(8, "EOF occurred in violation of protocol")])
def test_a_kept_connection_that_the_server_ended_is_made_anew(https, monkeypatch, ending):
    """Once: a new one that ends is an answer."""
    server = Server(https.origin, str(https.ca_file))
    server.get("/health")

    def ends(*_arguments):
        raise ending

    monkeypatch.setattr(server._connection, "getresponse", ends)
    assert server.get("/health")
    monkeypatch.setattr("passivekey.agent.client.HTTPSConnection.getresponse", ends)
    with pytest.raises(ServerError, match="unreachable"):
        server.get("/health")


def test_the_servers_certificate_is_verified(https):
    with pytest.raises(ServerError, match="certificate is refused"):
        Server(https.origin).get("/health")
    with pytest.raises(ServerError, match="certificate is refused"):
        Server(https.origin.replace("localhost", "127.0.0.1"), str(https.ca_file)).get("/health")


ANSWERS = {
    "redirect": (302, [(b"location", b"https://elsewhere.example/")], b""),
    "page": (200, [(b"content-type", b"text/html")], b"<html>portal</html>"),
    "list": (200, [], b"[]"),
    "deep": (200, [], b"[" * 60000),
    "long": (200, [], b'"' + b"x" * 70000 + b'"'),
    "proxy": (502, [], b"Bad Gateway"),
    "type": (400, [], b"[]"),
    "empty": (200, [], b""),
    "members": (200, [], b'{"device": 7}'),
    "nonsense": (200, [], b'{"nonce": "x", "device": "d", "certificate": "AAAA", "ca": "%", "policy_keys": []}'),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_that_are_none(agent, https, name):
    https.before = lambda scope: ANSWERS[name]
    with pytest.raises(ServerError) as caught:
        agent().bring_up()
    assert caught.value.code in ("unreachable", "malformed")
    if name == "redirect":
        assert "redirect, which is not followed" in str(caught.value)


@pytest.mark.parametrize("name", ["page", "members", "nonsense"])
@pytest.mark.parametrize("step", ["seed", "policy", "status", "certificate"])
def test_later_answers_that_are_none(agent, https, clock, name, step):
    content = agent().bring_up()
    clock.now += 61 * DAY
    if step == "seed":
        content.stage = "pending"
        container.save(agent().places.container, content, agent().store)
    https.before = lambda scope: ANSWERS[name] if scope["path"].endswith(f"/{step}") else None
    try:
        agent().bring_up()
    except ServerError as error:
        assert error.code in ("unreachable", "malformed", "proof-refused"), error
    assert container.load(agent().places.container, agent().store).device == content.device


# ---- what is stolen or damaged


def test_a_stolen_container_without_the_store_is_closed(agent, tmp_path):
    agent().bring_up()
    thief = agent(secrets="empty")
    with pytest.raises(ContainerError, match="not in this user's store"):
        thief.load()
    name = json.loads(thief.places.container.read_text())["name"]
    thief.store.put(name, "A" * 64)
    with pytest.raises(ContainerError, match="cannot be opened"):
        thief.load()


def test_without_the_secret_a_new_device_is_enrolled(agent, service):
    first = agent().bring_up()
    for secret in (agent().places.folder / "secrets").iterdir():
        secret.unlink()
    found = agent()
    second = found.bring_up()
    assert second.device != first.device and "enrolling anew" in found.said[0]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "\xff", '{"format": 1}', '{"format": 2, "name": "a"}', '{"format":1,"name":"../x"}']
)
def test_damaged_containers(agent, service, content):
    first = agent().bring_up()
    agent().places.container.write_text(content, encoding="latin-1")
    with pytest.raises(ContainerError, match="damaged"):
        agent().load()
    assert agent().bring_up().device != first.device


def test_a_container_with_one_octet_changed(agent):
    agent().bring_up()
    path = agent().places.container
    document = json.loads(path.read_text())
    for member, value in (("content", "AAAA" + document["content"][4:]), ("nonce", "AAAA"), ("nonce", "%"), ("content", 7)):
        path.write_text(json.dumps({**document, member: value}))
        with pytest.raises(ContainerError, match="cannot be opened"):
            agent().load()


@pytest.mark.parametrize("content", ["", "[]", "{}", "\xff", '{"device":"a","origin":"b","renew_at":"z","expires":1,"seen":1}'])
def test_damaged_state_is_looked_at_anew(agent, content):
    agent().bring_up()
    agent().places.state.write_text(content, encoding="latin-1")
    assert state.read(agent().places) is None and not state.all_is_well(agent().places)


def test_a_secret_that_others_may_read_is_not_used(agent):
    agent().bring_up()
    (secret,) = (agent().places.folder / "secrets").iterdir()
    secret.chmod(0o644)
    with pytest.raises(SecretStoreError, match="can be read by others"):
        agent().bring_up()


def test_a_damaged_policy_is_asked_for_again(agent, clock):
    found = agent().bring_up()
    agent().places.policy.write_bytes(b"\xff\xfe")
    assert agent().current_policy(found)["sites"][0] == SITE


# ---- two at once, the command line, the browser's host


def settings(monkeypatch, agent, https, tmp_path):
    monkeypatch.setenv("PASSIVEKEY_HOME", str(agent().places.folder))
    file = tmp_path / "agent.conf"
    file.write_text(f"[agent]\norigin = {https.origin}\nca_file = {https.ca_file}\nstore = file\nkey = container\n")
    monkeypatch.setattr(cli, "SETTINGS", (file,))


def test_two_at_once(agent, https, monkeypatch, tmp_path, capsys):
    settings(monkeypatch, agent, https, tmp_path)
    with alone(agent().places) as first, alone(agent().places) as second:
        assert first and not second
        assert cli.main(["enroll", "--quiet"]) == 0
        assert "another agent" in capsys.readouterr().err
    assert https.seen == []


def test_commands(agent, https, monkeypatch, tmp_path, capsys, service):
    settings(monkeypatch, agent, https, tmp_path)
    assert cli.main(["code"]) == 1 and "not enrolled" in capsys.readouterr().err
    assert cli.main(["status"]) == 1
    service.clock.now = time.time()
    assert cli.main(["check"]) == 0 and re.search(r"is reached, its clock differs by \d s", capsys.readouterr().out)
    service.clock.now += 600
    assert cli.main(["check"]) == 1 and "clock is off" in capsys.readouterr().err
    monkeypatch.setattr(Server, "_ticket", lambda _server: "")
    assert cli.main(["enroll", "--quiet"]) == 1 and "nobody gave a password" in capsys.readouterr().err
    found = agent().bring_up()
    assert cli.main(["status"]) == 0 and found.device in capsys.readouterr().out
    assert cli.main(["code", "--plain"]) == 0 and re.fullmatch(r"\d{6}\n", capsys.readouterr().out)
    assert cli.main(["retire"]) == 0 and devices(service) == []


def test_no_server_is_set(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(cli, "SETTINGS", (tmp_path / "none", tmp_path / "none"))
    assert cli.main(["enroll", "--quiet"]) == 1 and "set origin" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"origin = https://passivekey.corp.example\n", "no section headers"),
        (b"[agent]\norigin = https://a.example\norigin = https://b.example\n", "already exists"),
        (b"[agent]\norigin = https://a.example\nprompt = /opt/B\xfcro/ask\n", "UTF-8"),
        (
            b"[agent]\norigin = https://a.example\nstore = files\n",
            "store = files .*: it has to be one of platform, file",
        ),
        (b"[agent]\norigin = https://a.example\nca_file = /nowhere/ca.pem\nstore = file\n", "ca_file /nowhere/ca.pem"),
        (b"[agent]\norigin = https://a..example\nstore = file\n", "unreachable"),
    ],
)
def test_settings_that_cannot_be_understood(monkeypatch, tmp_path, capsys, content, says):
    """The administrator's mistakes are named, where the user would else see a traceback."""
    monkeypatch.setenv("PASSIVEKEY_HOME", str(tmp_path / "home"))
    (tmp_path / "agent.conf").write_bytes(content)
    monkeypatch.setattr(cli, "SETTINGS", (tmp_path / "agent.conf", tmp_path / "agent.conf"))
    assert cli.main(["enroll", "--quiet"]) == 1
    assert re.search(says, capsys.readouterr().err)


def test_a_percent_sign_in_the_settings_is_one(monkeypatch, tmp_path):
    (tmp_path / "agent.conf").write_text("[agent]\norigin = https://a.example\nca_file = /etc/100%/ca.pem\n", encoding="utf-8")
    monkeypatch.setattr(cli, "SETTINGS", (tmp_path / "agent.conf", tmp_path / "agent.conf"))
    assert cli.settings(cli.parser().parse_args(["status"]))["ca_file"] == "/etc/100%/ca.pem"


def test_a_home_that_cannot_be_written(monkeypatch, tmp_path, capsys, agent, https):
    (tmp_path / "home").write_text("a file where a folder has to be", encoding="utf-8")
    monkeypatch.setenv("PASSIVEKEY_HOME", str(tmp_path / "home"))
    assert cli.main(["--origin", https.origin, "--store", "file", "enroll", "--quiet"]) == 1
    assert f"{tmp_path}/home" in capsys.readouterr().err
    (answer,) = asked(agent(), b'{"want": "cookies"}')
    assert answer == {"error": "not enrolled"}


def test_the_extension_is_told_of_a_full_disk(agent, monkeypatch):
    agent().bring_up()

    def full(*_arguments):
        raise OSError(28, "No space left on device", "container.new")

    there = agent()
    there.clock.ahead = enrollment.POLICY_AGE + 1
    monkeypatch.setattr(container, "save", full)
    assert asked(there, b'{"want": "cookies"}') == [{"error": "container.new: No space left on device"}]


def asked(agent, *questions):
    import io
    import struct

    given = b"".join(struct.pack("@I", len(question)) + question for question in questions)
    answers = io.BytesIO()
    native_host.serve(agent, io.BytesIO(given), answers)
    content, found = answers.getvalue(), []
    while content:
        (length,) = struct.unpack("@I", content[:4])
        found.append(json.loads(content[4 : 4 + length]))
        content = content[4 + length :]
    return found


def test_native_messages(agent, service):
    assert asked(agent(), b'{"want": "cookies"}') == [{"error": "not enrolled"}]
    agent().bring_up()
    answers = asked(agent(), b'{"want": "cookies"}', b"{", b'{"want": "seed"}', b'{"want": "cookies"}')
    assert service.check(SITE, "", answers[0]["cookies"][0]["value"], "")
    assert "error" in answers[1] and "error" in answers[2] and set(answers[3]) == {"interval", "cookies"}
    assert asked(agent(), b"x" * 5000, b'{"want": "cookies"}') == []


# ---- the quick path

QUICK = """
import sys
sys.argv = ["passivekey-agent"]
from passivekey.agent import logon
print(logon.main(), *sorted(sys.modules))
"""


def test_the_quick_path_imports_nothing_slow(agent, monkeypatch):
    """By the real clock, in a process of its own, on a workstation where all is well."""
    import time

    agent().bring_up()
    found = state.read(agent().places)
    state.write(agent().places, found._replace(renew_at=int(time.time()) + DAY, seen=int(time.time())))
    env = {"PASSIVEKEY_HOME": str(agent().places.folder), "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", QUICK], env=env, capture_output=True, text=True, check=True)
    code, *modules = done.stdout.split()
    assert code == "0" and "passivekey.agent.state" in modules
    slow = ("keyring", "cryptography", "requests", "spnego", "argparse", "inspect", "ssl", "socket", "joserfc", "subprocess", "http")
    assert not [name for name in modules if name.partition(".")[0] in slow]
    assert not [name for name in modules if name.startswith("passivekey.") and "agent" not in name]


def test_vectors_of_codes_are_the_servers(agent, service, clock):
    found = agent().bring_up()
    value, seconds = enrollment.code(found, clock())
    assert len(value) == 6 and 0 < seconds <= 30
    assert value == found.codes.code("radius", codes.counter_at(clock()))
