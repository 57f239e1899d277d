# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory session against a real domain controller: every way to sign in, and one clear line for every bad day."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import textwrap

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.directory.connection import ConnectionOptions
from ansible_collections.certlogon.core.plugins.module_utils.directory.session import (
    AccessDenied,
    AlreadyExists,
    Modify,
    NoSuchAttribute,
    NoSuchObject,
    connect,
)
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError

needs_kerberos = pytest.mark.skipif(not importlib.util.find_spec("gssapi"), reason="the Python library gssapi is not installed")


@pytest.fixture
def session(connection_as):
    def open_session(account="administrator", warnings=None, **options):
        params = {"auth": "negotiate", "validate_certs": True, "timeout": 10, **connection_as(account, **options)}
        return connect(ConnectionOptions.from_params(params), (warnings if warnings is not None else []).append)

    return open_session


@pytest.mark.parametrize(
    ("auth", "tls"),
    [
        ("simple", "ldaps"),
        ("simple", "starttls"),
        ("ntlm", "none"),
        ("negotiate", "none"),
        pytest.param("kerberos", "none", marks=needs_kerberos),
        # channel bindings: Samba takes them from Kerberos
        pytest.param("kerberos", "ldaps", marks=needs_kerberos),
        pytest.param("kerberos", "starttls", marks=needs_kerberos),
    ],
)
def test_ways_to_sign_in(session, lab, auth, tls):
    with session(auth=auth, tls=tls) as directory:
        assert directory.is_samba
        assert (directory.host, directory.domain, directory.forest) == ("dc1.corp.example", "corp.example", "corp.example")
        assert directory.pdc_emulator == "dc1.corp.example"
        head = lab.ldbsearch(directory.domain_dn, "(objectClass=domain)", "objectSid", scope="base")
        assert str(directory.domain_sid) == head[0]["objectsid"][0].decode()
        found = directory.search(directory.configuration_dn, attributes=["cn"])
    assert len(found) > 1000, "more than one page"


@needs_kerberos
def test_a_ticket_is_enough(session, lab, tmp_path, monkeypatch):
    who = lab.account("administrator")
    cache = f"FILE:{tmp_path}/ticket"
    script = "import gssapi, sys; n = gssapi.Name(sys.argv[1], gssapi.NameType.user); " + (
        "c = gssapi.raw.acquire_cred_with_password(n, sys.stdin.read().encode(), usage='initiate'); "
        "gssapi.raw.store_cred_into({b'ccache': sys.argv[2].encode()}, c.creds, usage='initiate', overwrite=True, set_default=True)"
    )
    subprocess.run(
        [sys.executable, "-c", script, who["upn"].upper().replace("ADMINISTRATOR", "administrator"), cache],
        input=who["password"],
        text=True,
        check=True,
    )
    monkeypatch.setenv("KRB5CCNAME", cache)
    with session(auth="kerberos", username=None, password=None) as directory:
        assert directory.get(directory.domain_dn, ["objectClass"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"password": "wrong", "auth": "simple"}, "wrong user name or password"),
        ({"password": "wrong", "auth": "ntlm"}, "wrong user name or password"),
        ({"account": "expired.user", "auth": "simple"}, "the password has expired"),
        ({"account": "expired.user", "auth": "ntlm"}, "the password has expired"),
        ({"account": "disabled.user", "auth": "simple"}, "the account is disabled"),
        ({"account": "mustchange.user", "auth": "simple"}, "the password must be changed"),
        ({"auth": "ntlm", "tls": "ldaps"}, "takes no such sign-in over TLS"),
        ({"server": [], "domain": "nowhere.example", "timeout": 3}, "DNS has no domain controllers for 'nowhere.example'"),
        ({"server": ["10.83.0.77"], "timeout": 1}, "no domain controller answered"),
    ],
)
def test_bad_days_are_one_clear_line(session, options, message):
    with pytest.raises(UserError, match=message) as refused, session(**options):
        pass
    assert len(str(refused.value).splitlines()) == 1
    assert "wrong" not in str(refused.value).replace("wrong user name or password", "")


def test_an_untrusted_certificate(session, lab, monkeypatch):
    # whatever the environment trusts, ca_path is what counts
    monkeypatch.setenv("SSL_CERT_FILE", lab.files["ca_bundle"])
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", lab.files["ca_bundle"])
    with (
        pytest.raises(UserError, match="is not trusted by"),
        session(auth="simple", ca_path=lab.files["rogue_ca"]),
    ):
        pass


def test_a_certificate_for_another_name(session, lab):
    with (
        pytest.raises(UserError, match=r"not trusted .*10\.83\.0\.100|no domain controller answered"),
        session(auth="simple", server=["10.83.0.100"], timeout=2),
    ):
        pass


def test_a_proxy_in_the_environment_is_not_asked(session, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with session(auth="simple") as directory:
        assert directory.domain == "corp.example"


def test_switching_verification_off_warns(session, lab):
    warnings = []
    with session(auth="simple", validate_certs=False, ca_path=lab.files["rogue_ca"], warnings=warnings):
        pass
    assert any("was not verified" in warning for warning in warnings)


def test_dead_servers_are_passed_over(session):
    warnings = []
    with session(server=["10.83.0.77", "dc1.corp.example"], timeout=2, warnings=warnings) as directory:
        assert directory.host == "dc1.corp.example"
    assert any("10.83.0.77" in warning and "using dc1.corp.example" in warning for warning in warnings)


def test_dns_knows_the_servers(session):
    with session(server=[], domain="corp.example") as directory:
        assert directory.host == "dc1.corp.example"


def test_a_wrong_password_is_tried_once(session):
    """A second server would count towards the lock-out, and refuse as well."""
    with (
        pytest.raises(UserError, match="wrong user name or password"),
        session(server=["dc1.corp.example", "10.83.0.77"], password="wrong", auth="simple"),
    ):
        pass


def test_principals(session):
    with session() as directory:
        found = directory.resolve(
            ["Domain Admins", r"corp\alice.andersson", "alice.andersson@corp.example", "everyone", "S-1-5-11", "WS-0001$"]
        )
        assert found["Domain Admins"].sid == directory.domain_sid.child(512)
        assert found[r"corp\alice.andersson"] == found["alice.andersson@corp.example"]
        assert (found["everyone"].name, found["S-1-5-11"].name) == ("Everyone", "Authenticated Users")
        named = directory.principal_names([found["Domain Admins"].sid, directory.domain_sid.child(999999)])
        assert list(named.values()) == ["CORP\\Domain Admins", str(directory.domain_sid.child(999999))]
        with directory.global_catalogue() as catalogue:
            assert catalogue.search("", "(sAMAccountName=Domain Admins)", ["cn"])


def test_unknown_principals_are_named_all_at_once(session):
    with session() as directory, pytest.raises(UserError) as refused:
        directory.resolve(["Domain Admin", r"OTHER\x", "zzz"])
    assert "did you mean 'Domain Admins'?" in str(refused.value)
    assert "the forest has no domain 'OTHER'; it has CORP" in str(refused.value)
    assert "'zzz' is not known" in str(refused.value)


def test_rights(session):
    with session() as directory:
        policies = f"CN=Policies,CN=System,{directory.domain_dn}"
        assert directory.may_create(policies, "groupPolicyContainer")
        assert directory.may_write(directory.domain_dn, "gPLink")
    with session("plain.user") as directory:
        assert not directory.may_create(policies, "groupPolicyContainer")
        assert not directory.may_write(directory.domain_dn, "gPLink")


def test_writes_and_their_errors(session):
    with session() as directory:
        dn = f"CN=certlogon-session-test,CN=Users,{directory.domain_dn}"
        directory.add(dn, {"objectClass": ["top", "container"], "description": "eins"})
        try:
            with pytest.raises(AlreadyExists):
                directory.add(dn, {"objectClass": "container"})
            directory.modify(dn, [Modify("delete", "description", ["eins"]), Modify("add", "description", ["zwei"])])
            with pytest.raises(NoSuchAttribute):  # compare-and-swap: the second writer loses
                directory.modify(dn, [Modify("delete", "description", ["eins"]), Modify("add", "description", ["drei"])])
            assert directory.get(dn, ["description"]).text("description") == "zwei"
            with session("plain.user") as other, pytest.raises(AccessDenied):
                other.modify(dn, [Modify("replace", "description", ["vier"])])
        finally:
            directory.delete(dn)
        with pytest.raises(NoSuchObject):
            directory.delete(dn)
        assert directory.get(dn) is None


@pytest.mark.skipif(not shutil.which("faketime"), reason="the program faketime is not installed")
@pytest.mark.parametrize(
    ("auth", "outcome"), [("ntlm", "WARNING the clock"), pytest.param("kerberos", "ERROR auth: kerberos: the clock", marks=needs_kerberos)]
)
def test_a_clock_that_is_off(connection_as, auth, outcome):
    script = textwrap.dedent("""
        import json, sys
        from ansible_collections.certlogon.core.plugins.module_utils.directory.connection import ConnectionOptions
        from ansible_collections.certlogon.core.plugins.module_utils.directory.session import connect
        from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
        try:
            with connect(ConnectionOptions.from_params(json.load(sys.stdin)), lambda text: print("WARNING", text)):
                pass
        except UserError as error:
            print("ERROR", error)
    """)
    params = {"auth": auth, "validate_certs": True, "timeout": 10, **connection_as(auth=auth)}
    # the collection is found as this process found it
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        ["faketime", "-f", "+2h", sys.executable, "-c", script],
        input=json.dumps(params),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{outcome} of this machine is 120 minutes ahead of" in done.stdout, done.stdout + done.stderr
