# SPDX-License-Identifier: GPL-3.0-or-later
"""PassiveKey from the logon to the tunnel: a user of the domain, a workstation, a protected site and gateways, and who is refused.

Nothing is mocked but the desktop's display. Needs a lab `--with vpn --with passivekey`. What a part can do beyond it is in its own tests.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

pytest.importorskip("joserfc", reason="joserfc is not installed")
pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from ansible_collections.certlogon.core.tests.integration import passivekey_story_lab as story_lab
from ansible_collections.certlogon.core.tests.integration.passivekey_lab import (
    ACCEPT,
    CHALLENGE,
    HOST,
    REJECT,
    REPLY_MESSAGE,
    STATE,
    Domain,
    Service,
    Workstation,
)
from ansible_collections.certlogon.core.tests.integration.passivekey_story_lab import COOKIE, OTHER_SITE, SESSION, SITE, Server
from lab import workstation
from lab.browser import Page
from lab.tunnels import CLIENT, Tunnel, try_tunnel
from lab.workstation import Desk
from passivekey.agent import enrollment, state
from passivekey.agent.client import Server as Client
from passivekey.agent.client import ServerError
from passivekey.agent.secret_store import FileStore
from passivekey.protocol import messages
from tests.unit.passivekey.test_databases import postgresql

__all__ = ["postgresql"]

PEOPLE = ("anna", "bert", "cara", "dora", "eric", "finn", "gina", "hugo")
ENROLMENT = 60.0
"""Seconds that it may take behind the user's back, on a busy machine."""


@dataclass
class Story:
    lab: Any
    domain: Domain
    server: Server
    folder: Path
    sids: dict[str, str]
    desks: dict[str, Desk] = field(default_factory=dict)
    pages: dict[str, Page] = field(default_factory=dict)
    gateways: subprocess.Popen[str] | None = None
    """The playbook that makes them, while the first tests run."""

    def password(self, name: str) -> str:
        return self.domain.passwords[f"pk.{name}"]

    def desk(self, name: str) -> Desk:
        """This user's session at client1, and an enrolment that came by itself."""
        if name not in self.desks:
            self.desks[name] = workstation.log_on(self.lab, f"pk.{name}", self.password(name))
            enrolled(self.desks[name])
        return self.desks[name]

    def device(self, name: str) -> Workstation:
        """A device of a client that is not ours, by name and password."""
        return Workstation(self.server).enroll((f"pk.{name}", self.password(name)))  # type: ignore[arg-type]

    def refused(self, name: str, code: str, password: str = "") -> bool:
        return self.server.log_in(f"pk.{name}", password or self.password(name), code) == REJECT


def enrolled(desk: Desk) -> str:
    """The device's number, once there is one."""
    deadline = time.monotonic() + ENROLMENT
    while True:
        done = desk.run("passivekey-agent", "status", check=False)
        if done.returncode == 0:
            return done.stdout.split()[1]
        log = desk.lab.run(CLIENT, "tail", "-n", "5", "/var/log/desktop.log").stdout
        assert time.monotonic() < deadline, f"no enrolment came: {log}"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def story(vpn_lab: Any, passivekey_lab: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("story")
    story_lab.clean(vpn_lab)
    domain = Domain(passivekey_lab).begin()
    sids = {name: domain.user(f"pk.{name}") for name in PEOPLE}
    for name in PEOPLE:
        workstation.forget(vpn_lab, f"pk.{name}")
    made = Story(vpn_lab, domain, story_lab.deploy(vpn_lab, folder), folder, sids)
    made.gateways = story_lab.gateways(vpn_lab, made.server, folder)
    yield made
    made.gateways.kill()
    for desk in made.desks.values():
        desk.log_off()
    story_lab.clean(vpn_lab)
    domain.end()


# ---- a. the logon


def test_a_logon_enrolls_without_a_question(story: Story) -> None:
    """PAM asks for the password, and nobody after it: the agent is let in by the ticket, behind the user's back."""
    with pytest.raises(workstation.Refused, match="Authentication failure"):
        workstation.log_on(story.lab, "pk.anna", "wrong")
    desk = story.desks["anna"] = workstation.log_on(story.lab, "pk.anna", story.password("anna"))
    early = desk.run("passivekey-agent", "status", check=False).stdout
    device = enrolled(desk)
    print(f"desktop after {desk.seconds} s; {'enrolled later' if 'not enrolled' in early else 'enrolled by then'}")
    [found] = story.server.devices("pk.anna@corp.example")
    assert (found["id"], found["sid"], found["state"], found["workstation"]) == (device, story.sids["anna"], "active", "client1")
    assert f"HTTP/{story_lab.SERVER}@CORP.EXAMPLE" in desk.run("klist").stdout, "by Kerberos"
    everywhere = desk.run("sh", "-c", "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'").stdout
    assert "KRB5CCNAME" in everywhere and story.password("anna") not in everywhere


def test_the_next_logon_ends_at_once(story: Story) -> None:
    """Measured where it would find no network and no store for secrets. What it keeps there is found again in the new session."""
    story.desk("anna").log_off()
    desk = story.desks["anna"] = workstation.log_on(story.lab, "pk.anna", story.password("anna"))
    alone = {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/none", "KRB5CCNAME": "FILE:/none"}
    program = "import os, subprocess, time\nbest = {}\nfor line in (['python3', '-c', ''], ['passivekey-agent']):\n"
    program += "    for _ in range(5):\n        begun, before = time.perf_counter(), os.times()\n        done = subprocess.run(line)\n"
    program += "        used = os.times()\n        assert done.returncode == 0\n"
    program += "        took = (used[2] - before[2] + used[3] - before[3], time.perf_counter() - begun)\n"
    program += "        best[line[0]] = min(best.get(line[0], took), took)\nimport json; print(json.dumps(best))"
    cut_off = ["unshare", "--user", "--net", "python3", "-c", program]
    took = json.loads(desk.run(*cut_off, **alone).stdout)
    (bare, _wall), (agent, wall) = took["python3"], took["passivekey-agent"]
    print(f"agent: {agent * 1000:.0f} ms of processor time, {wall * 1000:.0f} ms in all; an empty Python {bare * 1000:.0f} ms")
    assert agent < bare + 0.15
    assert len(story.server.devices("pk.anna")) == 1 and code_of(desk).isdecimal()


# ---- b. the web


@pytest.fixture(scope="module")
def screenshots() -> Path:
    return Path(os.environ.get("CERTLOGON_SCREENSHOTS") or story_lab.ROOT / "build/screenshots")


def test_a_browser_with_the_extension_is_in_without_a_code(story: Story, screenshots: Path) -> None:
    page = story.desk("anna").visit(f"https://{SITE}/", extension=True, cookie=COOKIE, timeout=60)
    page.save(screenshots / "passivekey-in.png")
    assert page.title == SITE and f"account={story.sids['anna']} user=pk.anna@corp.example" in page.text, page
    assert {COOKIE, SESSION} <= set(page.cookies) and page.screenshot.startswith(b"\x89PNG")
    story.pages["anna"] = page


def test_a_browser_without_the_extension_is_refused(story: Story, screenshots: Path) -> None:
    page = story.desk("anna").visit(f"https://{SITE}/")
    page.save(screenshots / "passivekey-refused.png")
    assert "401" in page.text and "account=" not in page.text


# ---- e. who is refused


def cookie_of(desk: Desk, site: str = SITE) -> str:
    found = json.loads(desk.run("passivekey-agent", "cookies").stdout)["cookies"]
    return next(str(each["value"]) for each in found if each["site"] == site)


def test_a_cookie_is_good_once_and_on_its_own_site(story: Story) -> None:
    """What a thief reads in the user's browser, and what the agent made for another site."""
    page, fetch = story.pages["anna"], story.server.fetch
    assert fetch({COOKIE: page.cookies[COOKIE]}).status == 401, "replayed"
    assert fetch({SESSION: page.cookies[SESSION]}).status == 200, "the session is the user's until it ends"
    assert fetch({SESSION: page.cookies[SESSION]}, OTHER_SITE).status != 200
    desk = story.desk("bert")
    assert fetch({COOKIE: cookie_of(desk, OTHER_SITE)}).status == 401, "of another site"
    cookie = cookie_of(desk)
    first = fetch({COOKIE: cookie})
    assert first.status == 200 and first.session and "pk.bert@corp.example" in first.page
    assert fetch({COOKIE: cookie}).status == 401


OTHER_CODES = """\
import time
from passivekey.agent import cli
from passivekey.protocol import codes
content = cli.agent_of(cli.parser().parse_args(["code"])).load()
now = codes.counter_at(time.time())
print(content.codes.code("enrollment", now), content.codes.code("web", now, "intranet.corp.example"))
"""


def test_codes_of_other_channels_and_codes_that_were_used(story: Story) -> None:
    desk, server = story.desk("bert"), story.server
    enrollment_code, web_code = desk.run(story_lab.LIBRARY, "-c", OTHER_CODES).stdout.split()
    assert story.refused("bert", enrollment_code) and story.refused("bert", web_code) and story.refused("bert", web_code[:6])
    code = code_of(desk)
    assert server.log_in("pk.bert", story.password("bert"), code) == ACCEPT
    assert story.refused("bert", code), "replayed"
    assert story.refused("anna", code), "of somebody else"


def code_of(desk: Desk) -> str:
    return str(desk.run("passivekey-agent", "code", "--plain").stdout.strip())


def test_a_stolen_container_without_the_store_is_worth_nothing(story: Story) -> None:
    """The thief has a session, a keyring and an enrolment of their own."""
    mine, thief = story.desk("anna"), story.desk("bert")
    home = thief.environment["HOME"]
    steal = 'cp -r "$1/.local/share/passivekey" "$2/stolen" && chown -R "$3" "$2/stolen"'
    story.lab.run(CLIENT, "sh", "-ec", steal, "sh", mine.environment["HOME"], home, "pk.bert")
    for command in (("code", "--plain"), ("cookies",)):
        done = thief.run("passivekey-agent", *command, check=False, PASSIVEKEY_HOME=f"{home}/stolen")
        assert done.returncode == 1 and not done.stdout and "passphrase" in done.stderr, done
    before = story.server.active("pk.anna")
    with_mine = code_of(mine)
    assert with_mine.isdecimal() and before == [enrolled(mine)]


def test_who_enrolls_is_who_signed_in(story: Story) -> None:
    """A request for another name gets a certificate for the device of the principal."""
    client = Workstation(story.server)  # type: ignore[arg-type]
    words = client.words()
    assert "Administrator" in x509.load_der_x509_csr(messages.octets(words["csr"])).subject.rfc4514_string()
    answer = client.server.enroll(words, lambda: ("pk.cara", story.password("cara")), lambda _wanted: None)
    certificate = x509.load_der_x509_certificate(messages.octets(answer["certificate"]))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert certificate.subject.rfc4514_string() == f"CN={answer['device']}"
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"passivekey://{story_lab.SERVER}/device/{answer['device']}"]
    [device] = [found for found in story.server.devices("pk.cara") if found["id"] == answer["device"]]
    assert device["sid"] == story.sids["cara"] and not story.server.devices("administrator")


def test_a_certificate_of_a_foreign_ca_is_none(story: Story) -> None:
    """The same names, a key and a CA of the attacker's own; and a server that is not ours."""
    mine, other = story.device("cara"), story.device("cara")
    foreign = other.key
    other.device, other.seed = mine.device, mine.seed  # all that mine has but its key
    with pytest.raises(ServerError, match="proof-refused"):
        other.proved("status")
    assert story.server.fetch({COOKIE: other.cookie()}).status == 401
    empty = x509.Name([])
    csr = x509.CertificateSigningRequestBuilder().subject_name(empty).sign(foreign.private_key, SHA256())
    with pytest.raises(ServerError, match=r"request-refused|proof-refused"):
        mine.proved("certificate", csr=messages.text(csr.public_bytes(Encoding.DER)))
    assert story.server.fetch({COOKIE: mine.cookie()}).status == 200
    with pytest.raises(ServerError, match="certificate is refused"):
        Client(story.server.origin, story.lab.files["rogue_ca"]).get("/v1/policy")


def test_brute_force(story: Story) -> None:
    """Eight guesses, and then nothing is right for a while, as for a name that there is not; others go on."""
    server, pc, source = story.server, story.device("dora"), {"source": "192.0.2.66"}
    told: dict[str, set[Any]] = {}
    for name, password in (("pk.dora", story.password("dora")), ("nobody.here", "x")):
        for guess in [f"{number:06}" for number in range(8)] + [pc.code()]:
            asked = server.challenge(name, password, **source)
            answer = server.radius.ask(name, guess, asked.attributes[STATE], **source)
            assert answer is not None
            said = (
                asked.code,
                asked.attributes[REPLY_MESSAGE],
                len(asked.attributes[STATE]),
                answer.code,
                answer.attributes[REPLY_MESSAGE],
            )
            told.setdefault(name, set()).add(said)
    assert told["pk.dora"] == told["nobody.here"] == {(CHALLENGE, b"Enter your PassiveKey code", 32, REJECT, b"Access denied")}
    assert server.log_in("pk.cara", story.password("cara"), story.device("cara").code(), **source) == ACCEPT


def test_a_clock_that_is_off(story: Story) -> None:
    desk = story.desk("cara")
    ahead = ("faketime", "-f", "+600s", "passivekey-agent")
    assert story.refused("cara", desk.run(*ahead, "code", "--plain").stdout.strip())
    assert re.search(r"clock is (59|60)\d seconds ahead of the server's", desk.run(*ahead, "enroll").stderr)
    assert story.server.log_in("pk.cara", story.password("cara"), code_of(desk)) == ACCEPT, "nothing else was wrong"


def test_a_disabled_account(story: Story) -> None:
    desk, server, code = story.desk("cara"), story.server, story.device("cara").code()
    session = server.fetch({COOKIE: cookie_of(desk)}).session
    assert server.fetch({SESSION: session}).status == 200
    story.domain.change("pk.cara", userAccountControl=0x202)
    try:
        time.sleep(2)  # what the directory said is believed for so long
        assert server.fetch({SESSION: session}).status == 401
        assert server.fetch({COOKIE: cookie_of(desk)}).status == 401
        assert story.refused("cara", code)
        assert "not-allowed" in desk.run("passivekey-agent", "enroll", check=False).stderr
    finally:
        story.domain.change("pk.cara", userAccountControl=0x200)


def test_a_back_end_that_is_down(story: Story) -> None:
    """FreeRADIUS and nginx are up, and refuse; what was open before is open afterwards."""
    desk, server = story.desk("bert"), story.server
    session = server.fetch({COOKIE: story.device("finn").cookie()}).session
    server.stop()
    try:
        answer = server.radius.ask("pk.bert", story.password("bert"))
        assert answer is not None and (answer.code, answer.signed) == (REJECT, True)
        assert server.fetch({SESSION: session}).status == 500
        assert code_of(desk).isdecimal(), "codes are made without the server"
    finally:
        server.start()
    assert server.fetch({SESSION: session}).status == 200
    time.sleep(1.1)  # what FreeRADIUS waits before it tries again
    server.challenge("pk.bert", story.password("bert"))


# ---- g. killed


def killed_at(number: int, make: Callable[[], enrollment.Agent]) -> int:
    """An agent in a process of its own, killed before its number-th write or message; or it completes."""
    time.sleep(0.01)  # the server is in this process: no thread of it may hold a lock when the agent is forked
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(60)
            left = iter(range(number))

            def deadly(work: Callable[..., Any]) -> Callable[..., Any]:
                def done(*given: Any, **more: Any) -> Any:
                    if next(left, None) is None:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return work(*given, **more)

                return done

            agent = make()
            agent.server.post = deadly(agent.server.post)  # type: ignore[method-assign]
            agent.store.put = deadly(agent.store.put)  # type: ignore[method-assign]
            Path.replace = deadly(Path.replace)  # type: ignore[method-assign]
            agent.bring_up()
            os._exit(0)
        except BaseException:
            os._exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_killed_at_every_step(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next logon completes by the ticket: one device more, which is the one that works."""
    pytest.importorskip("gssapi", reason="gssapi is not installed")
    monkeypatch.setenv("KRB5CCNAME", story.domain.ticket("pk.eric", story.folder))
    known: set[str] = set()
    for number in range(30):
        places = state.Places(story.folder / f"killed{number}")

        def make(places: state.Places = places) -> enrollment.Agent:
            server = Client(story.server.origin, story.server.ca)
            return enrollment.Agent(places, FileStore(places.folder / "secrets"), server, f"PC{number}", warn=lambda _text: None)  # noqa: B023

        outcome = killed_at(number, make)
        assert outcome in (0, -signal.SIGKILL)
        device = make().bring_up().device
        known.add(device)
        if outcome == 0:
            break
    assert outcome == 0 and number > 12, number
    found = story.server.devices("pk.eric")
    assert {each["id"] for each in found if each["state"] == "active"} == known and len(known) == number + 1
    assert {each["state"] for each in found} <= {"active", "pending"}
    content = make().load()
    assert content is not None
    assert story.server.log_in("pk.eric", story.password("eric"), enrollment.code(content)[0]) == ACCEPT


# ---- c. the tunnels


@pytest.fixture(scope="module")
def gateways(story: Story) -> None:
    """By their roles, behind RADIUS."""
    assert story.gateways is not None
    story_lab.ended(story.gateways)


@pytest.mark.usefixtures("gateways")
@pytest.mark.parametrize(("host", "name"), [("gw1", "gina"), ("vpn1", "hugo")])
def test_password_and_code_open_a_tunnel(story: Story, host: str, name: str) -> None:
    desk, password = story.desk(name), story.password(name)
    code = code_of(desk)
    gateway = story_lab.gateway(story.lab, host)

    def attempt(code: str, password: str = password) -> Tunnel:
        return try_tunnel(story.lab, gateway, None, user=f"pk.{name}", stdin=f"{password}\n{code}\n", arguments=["--no-dtls"])

    tunnel = attempt(code)
    assert tunnel.up and tunnel.page == story.lab.status["hosts"]["inner1"]["text"], tunnel.words + tunnel.gateway_log
    assert "Enter your PassiveKey code" in tunnel.words
    for refused in (attempt(code), attempt("000000"), attempt(story.device(name).code(), "wrong")):
        assert not refused.up and "401" in refused.words, refused.words


# ---- d. the hotkey


def test_the_hotkey_types_a_code_that_is_good(story: Story, screenshots: Path) -> None:
    """Into a terminal and into a page of a browser; its device is the one that came at the logon."""
    typed = story.desk("finn").hotkey()
    (screenshots / "passivekey-hotkey.png").write_bytes(base64.b64decode(typed["screenshot"]))
    assert re.fullmatch(r"\d{6}", typed["terminal"]) and re.fullmatch(r"\d{6}", typed["browser"]), typed
    assert not typed["said"]
    assert story.server.log_in("pk.finn", story.password("finn"), typed["browser"]) == ACCEPT


# ---- f. the database in life


def test_the_core_of_it_on_postgresql(story: Story, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same server with PostgreSQL: a ticket enrolls, cookie and code are good once, and nothing after a revocation."""
    url = request.getfixturevalue("postgresql")
    domain, server = story.domain, OnPostgresql(story.folder / "postgresql", story.lab.files["ca_bundle"], url=url)
    server.folder.mkdir()
    domain.service("pk.control", HOST)
    keytab, group = domain.keytab(f"HTTP/{HOST}"), domain.group("PK Users", "pk.anna")
    server.prepare(story.lab.files, story.lab.account("svc-vpn"), keytab, group).start()
    try:
        monkeypatch.setenv("KRB5CCNAME", domain.ticket("pk.anna", story.folder))
        pc = Workstation(server).enroll()
        cookie, code = pc.cookie(), pc.code()
        assert server.check(cookie) == 204 and server.check(cookie) == 401
        assert [server.radius(story.password("anna"), each) for each in (code, code, pc.code("enrollment"))] == [200, 401, 401]
        server.run("revoke", "--device", pc.device)
        assert server.check(pc.cookie(at=30)) == 401 and server.radius(story.password("anna"), pc.code(at=30)) == 401
        with pytest.raises(ServerError, match="no-such-device"):
            pc.proved("status")
    finally:
        server.stop()


@dataclass
class OnPostgresql(Service):
    url: str = ""

    def write(self, name: str, content: bytes) -> None:
        super().write(name, re.sub(rb'"sqlite:.*"', f'"{self.url}"'.encode(), content) if name == "server.toml" else content)

    def check(self, cookie: str) -> int:
        headers = {"Cookie": f"{COOKIE}={cookie}", "X-Passivekey-Site": SITE, "Authorization": f"Bearer {self.secrets['site']}"}
        return requests.get(f"{self.origin}/v1/check", headers=headers, verify=self.ca, timeout=10).status_code

    def radius(self, password: str, code: str) -> int:
        def ask(password: str, state: str = "") -> requests.Response:
            words = {"username": "pk.anna", "password": password, "state": state, "source": "203.0.113.9", "nas": "test"}
            headers = {"Authorization": f"Bearer {self.secrets['radius']}"}
            return requests.post(f"{self.origin}/v1/radius", json=words, headers=headers, verify=self.ca, timeout=10)

        return ask(code, ask(password).json()["reply:State"]).status_code


# ---- revoked: the last, for it ends what the others stand on


def test_a_revoked_device_is_out_at_once(story: Story) -> None:
    """With the cookie and the session that the browser still has, and with the next code; the next logon enrolls another."""
    desk, server, session = story.desk("anna"), story.server, {SESSION: story.pages["anna"].cookies[SESSION]}
    [device] = {enrolled(desk)}
    assert server.fetch(session).status == 200
    cookie, code = cookie_of(desk), code_of(desk)
    server.run("revoke", "--device", device, "--reason", "stolen")
    assert server.fetch(session).status == 401
    assert server.fetch({COOKIE: cookie}).status == 401
    assert story.refused("anna", code)
    assert device not in server.active("pk.anna")
    desk.run("passivekey-agent", "enroll")
    assert enrolled(desk) != device and server.fetch({COOKIE: cookie_of(desk)}).status == 200
