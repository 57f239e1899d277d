# SPDX-License-Identifier: GPL-3.0-or-later
"""The PassiveKey server on a real domain: accounts as Samba has them, tickets of its KDC, curl and the agent's client as users."""

from __future__ import annotations

import base64
import json
import subprocess

import pytest

pytest.importorskip("joserfc", reason="joserfc is not installed")
pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")
pytest.importorskip("starlette", reason="Starlette is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")

from ansible_collections.certlogon.core.tests.integration.passivekey_lab import HOST, Domain, Service, Workstation
from passivekey.agent.client import ServerError
from passivekey.errors import ConfigurationError
from passivekey.protocol.errors import Refused
from passivekey.server.ldap import Connecting, LdapDirectory
from passivekey.server.spnego import Acceptor


@pytest.fixture(scope="module")
def domain(lab):
    found = Domain(lab).begin()
    found.sids = {name: found.user(name) for name in ("pk.anna", "pk.bert", "pk.cara")}
    found.sids |= {
        "pk.disabled": found.user("pk.disabled", userAccountControl=0x202),
        "pk.expired": found.user("pk.expired", accountExpires=131000000000000000),
        "pk.mail": found.user("pk.mail", userPrincipalName="mail.user@elsewhere.example"),
        "pk.odd": found.user("pk.odd", sAMAccountName="o'brien(x)&é"),
    }
    found.change("pk.cara", userPrincipalName="cara@elsewhere.example")
    found.sids["PK Inner"] = found.group("PK Inner", "pk.anna", "pk.mail", "pk.disabled")
    found.sids["PK Users"] = found.group("PK Users", "PK Inner", "pk.expired")
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
    found.prepare(lab.files, lab.account("svc-vpn"), keytab, domain.sids["PK Users"]).start()
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
