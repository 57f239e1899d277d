# SPDX-License-Identifier: GPL-3.0-or-later
"""The PassiveKey server on a real domain: accounts as Samba has them, tickets of its KDC, curl and the agent's client as users."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import time
from pathlib import Path

import ldap3
import pytest

pytest.importorskip("joserfc", reason="joserfc is not installed")
pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")
pytest.importorskip("starlette", reason="Starlette is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")

from ansible_collections.certlogon.core.tests.integration.passivekey_lab import (
    ACCEPT,
    CHALLENGE,
    EXAMPLES,
    HOST,
    OTHER_SITE,
    RADDB,
    REJECT,
    REPLY_MESSAGE,
    SITE,
    STATE,
    Domain,
    Gateway,
    Service,
    Workstation,
    radius_server,
    server_certificate,
)
from passivekey.agent.client import ServerError
from passivekey.errors import ConfigurationError
from passivekey.protocol.errors import Refused
from passivekey.server.ldap import Connecting, LdapDirectory
from passivekey.server.spnego import Acceptor

ODD_PASSWORD = f"{secrets.token_urlsafe(9)} pä½€ß²\u00a0\ufb01\"\\'%{{User-Name}}"
"""What preparing text (RFC 4013) would change, quoting would spoil, and expanding would replace."""


@pytest.fixture(scope="module")
def domain(lab):
    found = Domain(lab).begin()
    found.sids = {name: found.user(name) for name in ("pk.anna", "pk.bert", "pk.cara")}
    found.sids |= {
        "pk.disabled": found.user("pk.disabled", userAccountControl=0x202),
        "pk.expired": found.user("pk.expired", accountExpires=131000000000000000),
        "pk.mail": found.user("pk.mail", userPrincipalName="mail.user@elsewhere.example"),
        "pk.odd": found.user("pk.odd", ODD_PASSWORD, sAMAccountName="o'brien(x)&é"),
    }
    found.change("pk.cara", userPrincipalName="cara@elsewhere.example")
    found.sids["PK Inner"] = found.group("PK Inner", "pk.anna", "pk.mail", "pk.odd", "pk.disabled")
    found.sids["PK Users"] = found.group("PK Users", "PK Inner", "pk.expired")
    found.sids["PK Help Desk"] = found.group("PK Help Desk", "pk.bert")
    found.sids["PK Admins"] = found.group("PK Admins", "PK Help Desk")
    found.service("pk.service", HOST)
    found.service("pk.other", "other.corp.example")
    yield found
    found.end()


@pytest.fixture(scope="module")
def directory(lab, domain):
    who = lab.account("svc-vpn")
    return LdapDirectory(
        Connecting(("dc1.corp.example",), "DC=corp,DC=example", who["upn"], who["password"], lab.files["ca_bundle"], "CORP", remember=0)
    )


# ---- accounts


@pytest.mark.parametrize(
    ("name", "account"),
    [
        ("pk.anna", "pk.anna"),
        ("PK.Anna", "pk.anna"),
        ("CORP\\pk.anna", "pk.anna"),
        ("corp\\PK.ANNA", "pk.anna"),
        ("pk.anna@corp.example", "pk.anna"),
        ("Pk.Anna@CORP.EXAMPLE", "pk.anna"),
        ("mail.user@elsewhere.example", "pk.mail"),
        ("pk.mail@CORP.EXAMPLE", "pk.mail"),  # as its ticket says
        ("o'brien(x)&é", "pk.odd"),
        ("pk.cara@corp.example", "pk.cara"),
        ("cara@elsewhere.example", "pk.cara"),
        ("pk.mail@elsewhere.example", None),
        ("ELSEWHERE\\pk.anna", None),
        ("*", None),
        ("pk.*", None),
        ("pk.anna)(objectClass=*", None),
        ("", None),
        ("@", None),
        ("@corp.example", None),
        ("CORP\\", None),
        ("CORP\\*", None),
        ("WS-0001$", None),  # no person
        ("pk.anna\0", None),
    ],
)
def test_names(directory, domain, name, account):
    found = directory.by_name(name)
    assert (found and found.sid) == (domain.sids[account] if account else None)


def test_accounts_by_sid(directory, domain):
    assert directory.by_sid(domain.sids["pk.anna"]).name == "pk.anna@corp.example"
    assert {name: directory.by_sid(domain.sids[f"pk.{name}"]).usable for name in ("anna", "disabled", "expired")} == {
        "anna": True,
        "disabled": False,
        "expired": False,
    }
    assert directory.by_sid(domain.sids["pk.anna"].rpartition("-")[0] + "-999999") is None


def test_groups_by_way_of_groups(directory, domain):
    inner, users = domain.sids["PK Inner"], domain.sids["PK Users"]
    found = {name: directory.groups(domain.sids[name]) for name in ("pk.anna", "pk.expired", "pk.bert")}
    assert {inner, users} <= found["pk.anna"] and users in found["pk.expired"]
    assert inner not in found["pk.expired"] and not {inner, users} & found["pk.bert"]
    assert any(sid.endswith("-513") for sid in found["pk.bert"]), "the primary group is one of them"
    assert directory.groups(domain.sids["pk.anna"].rpartition("-")[0] + "-999999") == frozenset()


@pytest.mark.parametrize("form", ["{0}", "CORP\\{0}", "{0}@corp.example", "{0}@CORP.EXAMPLE"])
def test_passwords(directory, domain, form):
    right = domain.passwords["pk.anna"]
    asked = (right, right + "x", right.upper(), "", "\0", right + "\0")
    assert [directory.password_is(form.format("pk.anna"), password) for password in asked] == [True] + [False] * 5


def test_passwords_that_are_right_and_do_not_count(directory, domain):
    assert directory.password_is("o'brien(x)&é", ODD_PASSWORD)
    assert not directory.password_is("pk.anna", "a\nb") and not directory.password_is("pk.anna", "\ud800")
    for name in ("pk.disabled", "pk.expired"):
        assert not directory.password_is(name, domain.passwords[name])
    for name in ("nobody.here", "", "*", domain.dn("pk.anna"), "corp.example/Corp/PassiveKey/pk.anna", f"HTTP/{HOST}"):
        assert not directory.password_is(name, domain.passwords["pk.anna"]), name
    assert directory.password_is("pk.cara@corp.example", domain.passwords["pk.cara"]), "its UPN is another, its name is this"


def test_a_server_that_is_gone_and_one_that_lies(lab, domain):
    who = lab.account("svc-vpn")

    def asked(*servers, ca=lab.files["ca_bundle"], password=who["password"]):
        options = Connecting(servers, "DC=corp,DC=example", who["upn"], password, ca, "CORP", timeout=1)
        return LdapDirectory(options).by_sid(domain.sids["pk.anna"])

    assert asked("nowhere.corp.example", "dc1.corp.example").name == "pk.anna@corp.example"
    for wrong in ({"ca": lab.files["rogue_ca"]}, {"password": "wrong"}):
        with pytest.raises(Refused, match="no domain controller answers"):
            asked("dc1.corp.example", **wrong)
    with pytest.raises(Refused, match="no domain controller answers"):
        asked("dc1")  # its certificate names it in full


# ---- enrolment


@pytest.fixture(scope="module")
def service(lab, domain, tmp_path_factory):
    pytest.importorskip("gssapi", reason="gssapi is not installed")
    keytab = domain.keytab(f"HTTP/{HOST}")
    found = Service(tmp_path_factory.mktemp("passivekey"), lab.files["ca_bundle"])
    found.prepare(lab.files, lab.account("svc-vpn"), keytab, domain.sids["PK Users"], domain.sids["PK Admins"]).start()
    yield found
    found.stop()


@pytest.fixture
def signed_on(domain, tmp_path, monkeypatch):
    """`signed_on(name)`: this user has a ticket."""

    def call(name):
        monkeypatch.setenv("KRB5CCNAME", domain.ticket(name, tmp_path))

    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path}/none")
    return call


def devices(service, name):
    return [json.loads(line) for line in service.run("user", "--json", name).splitlines()[1:]]


def test_a_ticket_enrolls_without_a_question(service, domain, signed_on):
    signed_on("pk.anna")
    pc = Workstation(service).enroll()
    assert pc.server.channel_binding(), "the ticket is bound to the channel"
    assert pc.proved("status")["state"] == "active"
    [device] = [found for found in devices(service, "pk.anna") if found["id"] == pc.device]
    assert (device["sid"], device["name"], device["workstation"]) == (domain.sids["pk.anna"], "pk.anna@corp.example", "PC7")


@pytest.fixture
def asking(service):
    """The server, started anew with a policy that asks for a second factor."""
    settings = (service.folder / "server.toml").read_bytes()
    service.stop()
    service.write("server.toml", settings.replace(b"devices = 50", b'devices = 50\nsecond_factor = ["ticket", "device"]'))
    yield service.start()
    service.stop()
    service.write("server.toml", settings)
    service.start()


def test_a_second_factor_beside_the_ticket(asking, signed_on):
    """Each request has a Kerberos ticket of its own; a code of an administrator's enrolls the first workstation, that one the second."""
    signed_on("pk.anna")
    with pytest.raises(ServerError) as asked:
        Workstation(asking).enroll()
    assert asked.value.code == "second-factor-required" and asked.value.words["accepted"] == ["ticket", "device"]
    ticket = {"kind": "ticket", "code": asking.run("ticket", "pk.anna").strip()}
    first = Workstation(asking).enroll(factor=ticket)
    second = Workstation(asking, "PC8").enroll(factor={"kind": "device", "code": first.code("enrollment")})
    assert [pc.proved("status")["state"] for pc in (first, second)] == ["active", "active"]
    with pytest.raises(ServerError, match="not good"):
        Workstation(asking, "PC9").enroll(factor=ticket)
    log = [json.loads(line) for line in asking.run("export").splitlines()]
    assert [entry["factor"] for entry in log if entry["event"] == "enroll" and "factor" in entry] == ["ticket", "device"]


def admin(service, tmp_path, *arguments, path=""):
    """The status and the last page that curl gets of the administrators' pages, with its cookies."""
    jar, bounds = str(tmp_path / "cookies"), ("--max-redirs", "3", "--cacert", service.ca)
    command = ["curl", "-sSL", "-c", jar, "-b", jar, *bounds, "-w", "\n%{http_code}", *arguments, f"{service.origin}/admin/{path}"]
    page, _newline, status = subprocess.run(command, capture_output=True, text=True, check=True).stdout.rpartition("\n")
    return int(status), page


def test_the_administrators_pages_are_for_members_of_their_groups(service, domain, signed_on, tmp_path):
    by_ticket = ("--negotiate", "-u", ":")
    assert admin(service, tmp_path)[0] == 401
    signed_on("pk.anna")
    status, page = admin(service, tmp_path, *by_ticket)
    assert status == 403 and "pk.anna@corp.example" in page
    signed_on("pk.bert")
    status, page = admin(service, tmp_path, *by_ticket)
    assert status == 200 and "<h1>Overview</h1>" in page and "pk.bert@corp.example" in page
    assert admin(service, tmp_path, path="devices")[0] == 200, "by the cookie"
    membership = {"member": [(ldap3.MODIFY_DELETE, [domain.dn("pk.bert")])]}
    domain.connection.modify(domain.dn("PK Help Desk"), membership)
    assert [admin(service, tmp_path, path="devices")[0] for _again in range(2)] == [403, 401]
    domain.connection.modify(domain.dn("PK Help Desk"), {"member": [(ldap3.MODIFY_ADD, [domain.dn("pk.bert")])]})
    form = ("-H", f"Origin: {service.origin}", "--data-urlencode", "username=CORP\\pk.bert", "--data-urlencode", "password@-")
    command = [
        "curl",
        "-sS",
        "--cacert",
        service.ca,
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{redirect_url}",
        *form,
        f"{service.origin}/admin/sign-in",
    ]
    done = subprocess.run(command, input=domain.passwords["pk.bert"], capture_output=True, text=True, check=True)
    assert done.stdout == f"303 {service.origin}/admin/"


def test_a_user_whose_upn_is_of_elsewhere(service, signed_on):
    signed_on("pk.mail")
    pc = Workstation(service).enroll()
    assert [found["name"] for found in devices(service, "mail.user@elsewhere.example") if found["id"] == pc.device]


def curl(service, *arguments, body="{}"):
    command = [
        "curl",
        "-sS",
        "--cacert",
        service.ca,
        "-o",
        "-",
        "-w",
        "\n%{http_code}",
        "--data",
        "@-",
        *arguments,
        f"{service.origin}/v1/devices",
    ]
    done = subprocess.run(command, input=body, capture_output=True, text=True, check=True)
    content, _newline, status = done.stdout.rpartition("\n")
    return int(status), json.loads(content)


def test_curl_signs_in(service, signed_on):
    signed_on("pk.anna")
    body = json.dumps(Workstation(service, "CURL").words())
    status, answer = curl(service, "--negotiate", "-u", ":", body=body)
    assert (status, answer["state"]) == (201, "pending")
    status, answer = curl(service, body=body)
    assert (status, answer["type"]) == (401, "urn:passivekey:error:unauthenticated")


def test_who_may_not_enroll(service, signed_on):
    signed_on("pk.bert")
    with pytest.raises(ServerError, match="not-allowed"):
        Workstation(service).enroll()


def negotiate(service, token):
    try:
        return Workstation(service).server.post("/v1/devices", Workstation(service).words(), {"Authorization": f"Negotiate {token}"})
    except ServerError as error:
        return error.code


def client_token(**options):
    spnego = pytest.importorskip("spnego")
    return base64.b64encode(spnego.client(hostname=HOST, service="HTTP", **options).step()).decode()


def test_tickets_that_are_refused(service, domain, signed_on):
    from spnego.channel_bindings import GssChannelBindings

    signed_on("pk.anna")
    elsewhere = GssChannelBindings(application_data=b"tls-server-end-point:" + bytes(32))
    assert negotiate(service, client_token(protocol="kerberos", channel_bindings=elsewhere)) == "unauthenticated", "another channel's"
    good = client_token(protocol="kerberos")
    assert negotiate(service, good)["state"] == "pending"
    assert negotiate(service, good) == "unauthenticated", "seen before"
    for token in ("", "AAAA", "=", good[:-8], good[:100], "A" * 60_000):
        assert negotiate(service, token) == "unauthenticated", token[:20]


def test_ntlm_is_refused_and_the_form_is_left(service, domain, signed_on):
    who = {"username": "CORP\\pk.anna", "password": domain.passwords["pk.anna"]}
    assert negotiate(service, client_token(protocol="ntlm", **who)) == "unauthenticated"
    status, _answer = curl(service, "--ntlm", "-u", f"{who['username']}:{who['password']}")
    assert status == 401
    with pytest.raises(ServerError, match="unauthenticated"):
        Workstation(service).enroll(("pk.anna", "wrong"))
    with pytest.raises(ServerError, match="unauthenticated"):
        Workstation(service).enroll(None)
    assert Workstation(service).enroll(("pk.anna", domain.passwords["pk.anna"])).proved("status")["state"] == "active"


def test_keytabs_that_are_wrong(domain, signed_on, tmp_path):
    """One for another name is said at the start; old keys, or RC4 only, take no ticket."""
    signed_on("pk.anna")
    token = client_token(protocol="kerberos")
    (tmp_path / "other").write_bytes(domain.keytab("HTTP/other.corp.example"))
    (tmp_path / "good").write_bytes(domain.keytab(f"HTTP/{HOST}"))
    with pytest.raises(ConfigurationError, match=f"other has no keys for HTTP/{HOST}"):
        Acceptor(HOST, tmp_path / "other")
    with pytest.raises(ConfigurationError, match="missing; export it"):
        Acceptor(HOST, tmp_path / "none")
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="empty has no keys"):
        Acceptor(HOST, tmp_path / "empty")
    listed = subprocess.run(["klist", "-ket", str(tmp_path / "good")], capture_output=True, text=True, check=True).stdout
    assert "aes256-cts" in listed and "arcfour" not in listed
    assert Acceptor(HOST, tmp_path / "good").accept(f"Negotiate {token}").principal == "pk.anna@CORP.EXAMPLE"


def test_a_renamed_account_keeps_its_devices(service, domain, signed_on):
    signed_on("pk.anna")
    pc = Workstation(service, "RENAMED").enroll()
    domain.change("pk.anna", sAMAccountName="pk.anna-maria", userPrincipalName="anna-maria@corp.example")
    try:
        assert pc.proved("status")["state"] == "active"
        assert pc.device in [found["id"] for found in devices(service, "anna-maria@corp.example")]
    finally:
        domain.change("pk.anna", sAMAccountName="pk.anna", userPrincipalName="pk.anna@corp.example")


def test_a_disabled_account_is_refused_at_once(service, domain, signed_on):
    signed_on("pk.mail")
    pc = Workstation(service, "DISABLED").enroll()
    assert pc.proved("status")["state"] == "active"
    domain.change("pk.mail", userAccountControl=0x202)
    try:
        with pytest.raises(ServerError, match="not-allowed"):
            pc.proved("status")
        with pytest.raises(ServerError, match="not-allowed"):
            Workstation(service).enroll()  # its ticket is still good
    finally:
        domain.change("pk.mail", userAccountControl=0x200)
    assert pc.proved("status")["state"] == "active"


# ---- RADIUS


@pytest.fixture(scope="module")
def gateway(passivekey_lab, service):
    """A gateway of FreeRADIUS on pk1, which is configured as the example says, and asks the server by TLS."""
    with radius_server(passivekey_lab, service) as found:
        yield found


@pytest.fixture(scope="module")
def vpn_user(service, domain):
    """bert, who has a device, and his password."""
    return Workstation(service).enroll(("pk.anna", domain.passwords["pk.anna"])), domain.passwords["pk.anna"]


def test_a_password_then_a_code(gateway, vpn_user):
    pc, password = vpn_user
    asked = gateway.ask("pk.anna", password)
    assert (asked.code, asked.signed, asked.attributes[REPLY_MESSAGE]) == (CHALLENGE, True, b"Enter your PassiveKey code")
    state = asked.attributes[STATE]
    assert len(state) == 32 and all(0x21 <= octet <= 0x7E for octet in state)
    code = pc.code()
    accepted = gateway.ask("pk.anna", code, state)
    assert (accepted.code, accepted.signed) == (ACCEPT, True)
    for other in (state, gateway.ask("pk.anna", password).attributes[STATE]):
        refused = gateway.ask("pk.anna", code, other)
        assert (refused.code, refused.signed, refused.attributes[REPLY_MESSAGE]) == (REJECT, True, b"Access denied"), "a code is good once"


def challenge(gateway, *who, **more):
    return gateway.ask(*who, **more).attributes[STATE]


def test_who_is_refused(gateway, vpn_user, domain):
    """Wrong password, unknown user, the other channel's code, another's state: the challenge tells nothing, and the end is the same."""
    pc, password = vpn_user
    asked = [
        gateway.ask(*who) for who in (("pk.anna", "wrong"), ("nobody.here", "wrong"), ("pk.disabled", domain.passwords["pk.disabled"]))
    ]
    right = gateway.ask("pk.anna", password)
    assert {(answer.code, answer.attributes[REPLY_MESSAGE], len(answer.attributes[STATE])) for answer in [*asked, right]} == {
        (CHALLENGE, b"Enter your PassiveKey code", 32)
    }
    attempts = [
        ("pk.anna", pc.code(at=30), asked[0].attributes[STATE]),
        ("nobody.here", pc.code(at=30), asked[1].attributes[STATE]),
        ("pk.bert", pc.code(at=30), right.attributes[STATE]),
        ("pk.anna", pc.code("enrollment", at=30), challenge(gateway, "pk.anna", password)),
        ("pk.anna", pc.code(at=600), challenge(gateway, "pk.anna", password)),
        ("pk.anna", "", challenge(gateway, "pk.anna", password)),
        ("pk.anna", pc.code(at=30), b"0" * 32),
        ("pk.anna", pc.code(at=30), b"\0\xff" * 16),
        ("pk.anna", pc.code(at=30), b"%{exec:/bin/id}"),
    ]
    answers = [gateway.ask(*attempt) for attempt in attempts]
    assert {(answer.code, answer.attributes[REPLY_MESSAGE]) for answer in answers} == {(REJECT, b"Access denied")}


@pytest.mark.parametrize(
    "odd", ['"', "\\", '", "state": "x', "%{User-Password}", "`id`", "é€", "a\nb", "%{rest:http://127.0.0.1/}", "x" * 120]
)
def test_what_users_type_stays_text(gateway, vpn_user, odd):
    """As name and as password: nothing of it is expanded, or comes back."""
    for name, password in ((odd, "wrong"), ("pk.bert", odd)):
        answer = gateway.ask(name, password, source="198.51.100.7")
        assert answer.code == CHALLENGE and answer.attributes[REPLY_MESSAGE] == b"Enter your PassiveKey code"


def test_passwords_of_all_characters(gateway, service):
    who = ("o'brien(x)&é", ODD_PASSWORD)
    pc = Workstation(service).enroll(who)
    assert gateway.ask(who[0], pc.code(), challenge(gateway, *who)).code == ACCEPT


def test_who_does_not_sign_is_not_answered(gateway, vpn_user):
    _pc, password = vpn_user
    gateway.timeout, before = 1.0, gateway.timeout
    try:
        assert gateway.ask("pk.anna", password, sign=False) is None
        assert Gateway(gateway.address, b"wrong secret", timeout=1.0).ask("pk.anna", password) is None
    finally:
        gateway.timeout = before
    assert gateway.ask("pk.anna", password).signed


def test_freeradius_stays_up_while_the_server_is_down(gateway, vpn_user, service):
    _pc, password = vpn_user
    service.stop()
    try:
        for _time in range(2):
            answer = gateway.ask("pk.anna", password)
            assert (answer.code, answer.signed, answer.attributes[REPLY_MESSAGE]) == (REJECT, True, b"Access denied")
    finally:
        service.start()
    time.sleep(1.1)  # what the pool waits before it tries again
    assert gateway.ask("pk.anna", password).code == CHALLENGE


def test_freeradius_starts_while_the_server_is_down(gateway, passivekey_lab):
    other = f"sed -e 's/port = 1812/port = 1899/' -e 's/control.corp.example:8443/control.corp.example:1/' {RADDB}/radiusd.conf"
    script = (
        f"cp -a {RADDB} /run/other && {other} > /run/other/radiusd.conf && sed -i s,confdir.=.*,confdir=/run/other, /run/other/radiusd.conf"
    )
    passivekey_lab.run("pk1", "sh", "-c", script)
    begin = "freeradius -d /run/other -f -l stdout > /var/log/other.log 2>&1 < /dev/null & echo $!"
    number = passivekey_lab.run("pk1", "sh", "-c", begin).stdout.strip()
    try:
        second = Gateway(gateway.address, gateway.secret, 1899, timeout=3)
        answers = (second.ask("pk.anna", "x") for _try in range(5) if not time.sleep(0.3))
        assert next(answer for answer in answers if answer is not None).code == REJECT
    finally:
        passivekey_lab.run("pk1", "sh", "-c", f"kill {number}; rm -r /run/other", check=False)


def test_radclient_agrees(gateway, passivekey_lab, vpn_user):
    """Somebody else's client, which refuses answers without Message-Authenticator."""
    words = f'User-Name = "pk.anna"\nUser-Password = "{vpn_user[1]}"\nMessage-Authenticator = 0x00\n'
    client = f"printf %s {gateway.secret.decode()} > /run/secret; radclient -x -b -S /run/secret {gateway.address} auth; rm /run/secret"
    done = passivekey_lab.run("pk1", "sh", "-c", client, stdin=words, check=False)
    assert "Access-Challenge" in done.stdout and "Message-Authenticator" in done.stdout, done.stdout + done.stderr


def test_brute_force(gateway, service, domain):
    """Codes are guessed until the account is locked: then the right one is refused too, and others are not."""
    pc = Workstation(service).enroll(("pk.mail", domain.passwords["pk.mail"]))
    password = domain.passwords["pk.mail"]
    for guess in range(8):
        state = challenge(gateway, "pk.mail", password, source="192.0.2.66")
        assert gateway.ask("pk.mail", f"{guess:06}", state, source="192.0.2.66").code == REJECT
    refused = gateway.ask("pk.mail", pc.code(), challenge(gateway, "pk.mail", password))
    assert refused.code == REJECT
    assert gateway.ask("pk.anna", domain.passwords["pk.anna"]).code == CHALLENGE


def test_nobody_logs_passwords(gateway, passivekey_lab, service, domain):
    logs = passivekey_lab.run("pk1", "cat", "/var/log/radius.log").stdout + service.log() + service.run("export")
    assert "radius-code-refused" in logs
    for name in ("pk.anna", "pk.mail"):
        assert domain.passwords[name] not in logs
    assert gateway.secret.decode() not in logs and service.secrets["radius"] not in logs


# ---- a site behind nginx

WHOLE = """\
user www-data;
pid /run/passivekey-nginx.pid;
error_log /var/log/nginx-site.log;
events {}
http {
    access_log off;
    include /etc/passivekey/site.conf;
    server {
        listen 127.0.0.1:8081;
        location / { return 200 "account=$http_x_passivekey_account user=$http_x_passivekey_user site=$http_x_passivekey_site\\n"; }
    }
}
"""


@pytest.fixture(scope="module")
def site(passivekey_lab, service, tmp_path_factory):
    """nginx on pk1 with the example's site, the site itself behind it; `site(cookies, headers)` is what curl gets."""
    lab = passivekey_lab
    certificate, key = server_certificate(lab.files, tmp_path_factory.mktemp("site"), SITE)
    config = (EXAMPLES / "nginx-site.conf").read_text().replace("127.0.0.1:8080", "127.0.0.1:8081")  # 8080 is the lab's page
    for before, after in (("server ", ":8443"), ("_ssl_name ", ";")):
        assert f"{before}passivekey.corp.example{after}" in config
        config = config.replace(f"{before}passivekey.corp.example{after}", f"{before}{HOST}{after}")
    bearer = f'proxy_set_header Authorization "Bearer {service.secrets["site"]}";'
    files = {"site.conf": config, "site-bearer.conf": bearer, "nginx.conf": WHOLE}
    files |= {"site.pem": certificate.read_text(), "site.key": key.read_text(), "ca.pem": Path(service.ca).read_text()}
    for name, content in files.items():
        lab.run("pk1", "sh", "-c", f"mkdir -p /etc/passivekey && cat > /etc/passivekey/{name}", stdin=content)
    lab.run("pk1", "nginx", "-q", "-t", "-c", "/etc/passivekey/nginx.conf")
    lab.run("pk1", "nginx", "-c", "/etc/passivekey/nginx.conf")

    def ask(cookies="", *arguments):
        command = ["curl", "-sS", "-i", "--cacert", service.ca, *(["-H", f"Cookie: {cookies}"] if cookies else []), *arguments]
        done = subprocess.run([*command, f"https://{SITE}/page"], capture_output=True, text=True, check=True).stdout
        head, _empty, body = done.partition("\r\n\r\n") if "\r\n\r\n" in done else done.partition("\n\n")
        return int(head.split()[1]), head, body.strip()

    yield ask
    lab.run("pk1", "nginx", "-c", "/etc/passivekey/nginx.conf", "-s", "stop")


COOKIE, SESSION = "__Host-passivekey", "__Host-passivekey-session"


def session_of(head):
    [found] = [line for line in head.splitlines() if line.lower().startswith("set-cookie:")]
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= set(found.split("; ")), found
    return found.partition(": ")[2].partition(";")[0]


def test_a_cookie_opens_the_site_once_and_its_session_stays(site, service, domain):
    pc = Workstation(service).enroll(("pk.anna", domain.passwords["pk.anna"]))
    cookie = f"{COOKIE}={pc.cookie()}"
    status, head, body = site(cookie)
    assert (status, body) == (200, f"account={domain.sids['pk.anna']} user=pk.anna@corp.example site=")
    session = session_of(head)
    assert session.startswith(f"{SESSION}=")
    assert site(cookie)[0] == 401, "a cookie is good once"
    status, head, body = site(f"{cookie}; {session}")
    assert (status, body.partition(" ")[0]) == (200, f"account={domain.sids['pk.anna']}") and "set-cookie" not in head.lower()
    service.run("revoke", "--device", pc.device)
    assert site(session)[0] == 401, "at once"


def test_what_does_not_open_the_site(site, service, domain):
    pc = Workstation(service).enroll(("pk.anna", domain.passwords["pk.anna"]))
    for cookies in ("", f"{COOKIE}=x", f"{SESSION}=x", f"{COOKIE}={pc.cookie(OTHER_SITE)}", f"{COOKIE}={pc.cookie(at=-600)}"):
        status, head, body = site(cookies)
        assert status == 401 and "set-cookie" not in head.lower() and "account=" not in body, cookies[:40]
    forged = ("X-Passivekey-Account: S-1-5-21-1-2-3-500", "X-Passivekey-User: administrator", f"X-Passivekey-Site: {OTHER_SITE}")
    headers = [word for header in (*forged, "Authorization: Bearer x") for word in ("-H", header)]
    assert site(f"{COOKIE}={pc.cookie(OTHER_SITE)}", *headers)[0] == 401, "a browser does not say which site this is"
    status, _head, body = site(f"{COOKIE}={pc.cookie()}", *headers, "-X", "POST", "--data", "x=y")
    assert (status, body) == (200, f"account={domain.sids['pk.anna']} user=pk.anna@corp.example site=")
    assert site("", "--http1.0")[0] == 401


def test_a_disabled_account_is_out_of_its_session(site, service, domain, signed_on):
    signed_on("pk.mail")
    pc = Workstation(service).enroll()
    session = session_of(site(f"{COOKIE}={pc.cookie()}")[1])
    assert site(session)[0] == 200
    domain.change("pk.mail", userAccountControl=0x202)
    try:
        assert site(session)[0] == 401
    finally:
        domain.change("pk.mail", userAccountControl=0x200)


def test_a_site_is_shut_while_the_server_is_down(site, service, domain):
    pc = Workstation(service).enroll(("pk.anna", domain.passwords["pk.anna"]))
    session = session_of(site(f"{COOKIE}={pc.cookie()}")[1])
    service.stop()
    try:
        status, _head, body = site(session)
        assert status == 500 and "account=" not in body
    finally:
        service.start()
    assert site(session)[0] == 200, "a session outlives the server's restart"
