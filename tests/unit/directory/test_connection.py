# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.certlogon.core.plugins.module_utils.directory.connection import CONNECTION, ConnectionOptions
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError

GIVEN = {"server": ["dc1.corp.example"], "username": "admin@corp.example", "password": "secret-word", "auth": "negotiate", "timeout": 10}


def options(**changes):
    return ConnectionOptions.from_params({**GIVEN, **changes})


@pytest.mark.parametrize(
    ("changes", "tls", "port"),
    [
        ({}, "none", 389),
        ({"auth": "simple"}, "ldaps", 636),
        ({"auth": "simple", "tls": "starttls"}, "starttls", 389),
        ({"auth": "kerberos", "tls": "ldaps", "port": 1636}, "ldaps", 1636),
    ],
)
def test_tls_and_port_follow_from_the_rest(changes, tls, port):
    found = options(**changes)
    assert (found.tls, found.default_port) == (tls, port)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"server": [], "username": "admin"}, "server: neither server nor domain is set"),
        ({"auth": "simple", "tls": "none"}, "auth: simple would send the password in clear"),
        ({"password": None}, "username, password: auth=negotiate needs both"),
        ({"auth": "ntlm", "username": None}, "username, password: auth=ntlm needs both"),
        ({"timeout": 0}, "timeout: 0"),
        ({"port": 70000}, "port: 70000"),
    ],
)
def test_what_cannot_work_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        options(**changes)


def test_all_problems_come_at_once():
    with pytest.raises(UserError) as refused:
        options(password=None, timeout=0)
    assert len(str(refused.value).splitlines()) == 2


def test_kerberos_takes_the_ticket_that_is_there():
    assert options(auth="kerberos", username=None, password=None).username is None


def test_the_domain_comes_from_the_user_name():
    assert options(server=[]).domain == "corp.example"
    assert options(domain="other.example").domain == "other.example"


def test_the_password_is_not_shown():
    assert "secret-word" not in repr(options())


def test_environment_fall_backs(monkeypatch):
    monkeypatch.setenv("CERTLOGON_SERVER", "dc1.corp.example,dc2.corp.example")
    monkeypatch.setenv("CERTLOGON_PASSWORD", "from-environment")
    monkeypatch.setenv("CERTLOGON_VALIDATE_CERTS", "no")
    checked = ArgumentSpecValidator(CONNECTION).validate({"username": "admin@corp.example"})
    assert not checked.error_messages
    found = ConnectionOptions.from_params(checked.validated_parameters)
    assert found.server == ("dc1.corp.example", "dc2.corp.example")
    assert found.password == "from-environment"
    assert found.validate_certs is False
