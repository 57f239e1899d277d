# SPDX-License-Identifier: GPL-3.0-or-later
"""connect_secure_config and connect_secure_info against the stand-in, as their actions run them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import raw_values
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.client import plain_path
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.information import Information, generation, system
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.raw_configuration import RawConfiguration
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import run

ROLE = "configuration/users/user-roles/user-role/Staff"
POLICY = "configuration/authentication/signin/urls/access-url/*%2Fstaff%2F"


def config(appliance: Any, entry: dict[str, Any], *, check: bool = False, state: str = "merged", **params: Any) -> dict[str, Any]:
    whole = {"body": None, "secrets": None, "create_with": "put", **entry}
    task = {**appliance.params, **params, "config": [whole], "state": state}
    return run(RawConfiguration(), task, check_mode=check, warn=appliance.warnings.append)


def info(appliance: Any, **params: Any) -> dict[str, Any]:
    defaults = {"roots": [], "depth": 12, "max_requests": 1000, "active_users": False, "check_table": False}
    return run(Information(), {**appliance.params, **defaults, **params}, check_mode=False, warn=appliance.warnings.append)


# ---- comparing


@pytest.mark.parametrize(
    ("current", "wanted", "same"),
    [
        ({"a": "true"}, {"a": True}, True),
        ({"a": "false"}, {"a": True}, False),
        ({"a": "24"}, {"a": 24}, True),
        ({"a": "1", "b": "2"}, {"a": 1}, True),
        ({}, {"a": ""}, True),
        ({"a": "x"}, {"a": ""}, False),
        ({"a": {"b": []}}, {"a": {"b": None}}, True),
        ({"routes": {"route": []}}, {"routes": {}}, True),
        ({"a": [{"n": "1", "more": "x"}]}, {"a": [{"n": 1}]}, True),
        ({"a": ["1", "2"]}, {"a": ["2", "1"]}, False),
        ({"a": ["1"]}, {"a": []}, False),
        ({"a": "x"}, {"a": {"b": 1}}, False),
        ({"a": {"b": "1"}}, {"a": "x"}, False),
        ({"p": {"password-encrypted": "zz"}}, {"p": {"password-cleartext": "new"}}, True),
        ({"shared-secret": "a"}, {"shared-secret": "b"}, True),
        (None, {"a": 1}, False),
    ],
)
def test_holds(current: Any, wanted: Any, same: bool) -> None:
    assert raw_values.holds(current, wanted) is same


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(JSON)
def test_what_is_written_is_held(value: Any) -> None:
    wanted = {"x": value}
    assert raw_values.holds(raw_values.with_wire_booleans(wanted), wanted)


@given(JSON)
def test_no_secret_is_shown(value: Any) -> None:
    shown = raw_values.readable({"a": {"shared-secret-cleartext": "s3cret", "b": value}})
    assert shown["a"]["shared-secret-cleartext"] == raw_values.HIDDEN


@pytest.mark.parametrize(
    ("given_path", "path"),
    [
        ("/api/v1/configuration/users/", "configuration/users"),
        ("https://vpn1/api/v1/configuration/a b", "configuration/a%20b"),
        ("configuration/urls/*%2Fadmin%2F", "configuration/urls/%2A%2Fadmin%2F"),
        ("configuration/{node}/x", "configuration/{node}/x"),
    ],
)
def test_paths(given_path: str, path: str) -> None:
    assert plain_path(given_path) == path


@pytest.mark.parametrize("path", ["", "/", "configuration/../system", "configuration/x?y", "a//b", "100%", "a#b"])
def test_paths_that_mean_something_else_are_refused(path: str) -> None:
    with pytest.raises(UserError, match=r"no path below /api/v1"):
        plain_path(path)


# ---- connect_secure_config


@pytest.mark.parametrize(
    ("path", "body", "create_with"),
    [
        (ROLE, {"name": "Staff"}, "put"),
        (POLICY, {"url-pattern": "*/staff/", "enabled": True, "user": {"realms": ["Users"]}}, "post"),
    ],
)
def test_a_node_comes_stays_and_goes(appliance: Any, path: str, body: dict[str, Any], create_with: str) -> None:
    entry = {"path": path, "body": body, "create_with": create_with}
    address = plain_path(path)
    assert config(appliance, entry, check=True)["changed"]
    assert appliance.session().raw("GET", address) is None
    first = config(appliance, entry)
    assert first["changed"] and not first.get("failed")
    assert first["changes"] == [{"name": address, "action": "create"}]
    assert first["diff"][0]["after"]["body"] == body
    assert raw_values.holds(appliance.session().raw("GET", address), body)
    assert not config(appliance, entry)["changed"]
    assert config(appliance, entry, state="gathered")["gathered"][0]["path"] == address
    assert config(appliance, entry, state="deleted")["changed"]
    assert appliance.session().raw("GET", address) is None
    assert not config(appliance, entry, state="deleted")["changed"]


def test_an_update_shows_only_what_it_is_about(appliance: Any) -> None:
    config(
        appliance,
        {"path": POLICY, "body": {"url-pattern": "*/staff/", "enabled": True, "user": {"realms": ["Users"]}}, "create_with": "post"},
    )
    changed = config(appliance, {"path": POLICY, "body": {"enabled": False}})
    assert (changed["diff"][0]["before"], changed["diff"][0]["after"]) == ({"body": {"enabled": True}}, {"body": {"enabled": False}})


def test_what_the_appliance_refuses_is_reported(appliance: Any) -> None:
    result = config(appliance, {"path": "configuration/users/user-realms/realm/Users", "body": {"authentication-server": "nobody"}})
    assert result["failed"] and not result["changed"]
    assert "HTTP 422" in result["msg"] and "nobody" in result["msg"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"path": ROLE}, "body is missing"),
        ({"path": "system/active-users/session/x", "body": {"a": 1}}, "only paths below configuration/ are written"),
    ],
)
def test_requests_that_cannot_be(appliance: Any, entry: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config(appliance, entry)


def test_secrets_are_sent_but_not_shown(appliance: Any) -> None:
    path = "configuration/authentication/auth-servers/auth-server/OTP"
    body = {"name": "OTP", "radius": {"settings": {"radius-server": "radius.corp.example", "authentication-port": 1812}}}
    entry = {"path": path, "body": body, "secrets": {"radius": {"settings": {"shared-secret-cleartext": "s3cret"}}}}
    first = config(appliance, entry)
    assert first["changed"] and not first.get("failed"), first
    assert "s3cret" not in repr(first)
    found = appliance.session().get("auth_server", "OTP")
    assert found["radius"]["settings"]["shared-secret-encrypted"]
    assert not config(appliance, entry)["changed"]
    shown = config(appliance, {"path": path}, state="gathered")["gathered"][0]["body"]
    assert shown["radius"]["settings"]["shared-secret-encrypted"] == raw_values.HIDDEN


# ---- connect_secure_info


def test_version_and_generation(appliance: Any) -> None:
    found = info(appliance)
    assert found["system"]["version"] == "22.7R2.10"
    assert found["system"]["generation"] == "connect_secure"
    assert found["changed"] is False


@pytest.mark.parametrize(
    ("answer", "version", "machine"),
    [
        ({"system-information": {"machine-id": "M", "software-inventory": {"software": {"build": "9.1R13 (build 1)"}}}}, "9.1R13", "M"),
        ({"system-information": {"machine-id": "M"}, "software-inventory": {"software": {"build": "22.7R2.1"}}}, "22.7R2.1", "M"),
        ({"software-inventory": []}, "", ""),
        (None, "", ""),
        ([], "", ""),
    ],
)
def test_system_information_of_either_nesting(answer: Any, version: str, machine: str) -> None:
    found = system(answer)
    assert (found["version"], found["machine_id"]) == (version, machine)


@pytest.mark.parametrize(
    ("version", "name"), [("22.7R2.1", "connect_secure"), ("9.1R13", "pulse"), ("8.3R3", "pulse"), ("7.4R1", "juniper")]
)
def test_generation(version: str, name: str) -> None:
    assert generation(version) == name


@pytest.mark.parametrize("shallow", [False, True])
def test_the_tree_is_exported_however_shallow_the_answers_are(another_appliance: Any, shallow: bool) -> None:
    stand_in = another_appliance(shallow=shallow)
    root = "configuration/authentication"
    found = info(stand_in, roots=[root])
    policies = found["configuration"][root]["signin"]["urls"]["access-url"]
    assert all(isinstance(policy["enabled"], bool) and {"user", "admin"} & set(policy) for policy in policies)
    assert found["unread"] == []


def test_no_secret_is_exported(appliance: Any) -> None:
    text = repr(info(appliance, roots=["configuration/authentication"]))
    assert appliance.handle.password not in text
    users = appliance.session().raw("GET", "configuration/authentication/auth-servers/auth-server/Administrators/local/users/user/admin")
    assert users["password-encrypted"] not in text


def test_bounds_are_kept_and_told(another_appliance: Any) -> None:
    stand_in = another_appliance(shallow=True)
    few = info(stand_in, roots=["configuration/authentication"], max_requests=2)
    assert any("max_requests" in entry["reason"] for entry in few["unread"])
    flat = info(stand_in, roots=["configuration/authentication"], depth=1)
    assert flat["unread"] == [] or all("depth" in entry["reason"] for entry in flat["unread"])
    nothing = info(stand_in, roots=["configuration/nowhere"])
    assert nothing["configuration"] == {"configuration/nowhere": None}
    assert "404" in nothing["unread"][0]["reason"]


def test_active_users(appliance: Any) -> None:
    assert info(appliance, active_users=True)["active_users"] == []


# ---- the table against the appliance


def lines(appliance: Any, **params: Any) -> dict[str, Any]:
    return {line["line"]: line for line in info(appliance, check_table=True, **params)["table"]}


def test_the_stand_in_has_what_the_table_says(appliance: Any) -> None:
    found = lines(appliance)
    unset = "resources.{0}_realm.fields.secondary_authentication.{1}"
    empty = {unset.format(kind, name) for kind in ("user", "admin") for name in ("user_name", "end_session_on_failure")}
    assert {name for name, line in found.items() if line["status"] in ("missing", "different")} == empty
    for name in ("operations.backup", "operations.realm_auth", "resources.user_realm", "resources.sign_in_policy.fields.enabled"):
        assert found[name]["status"] == "found", found[name]
    assert found["resources.trusted_client_ca"]["standing"] == "inferred"
    assert found["operations.auth"]["status"] == "untested"


@pytest.mark.parametrize(
    ("overrides", "line", "status", "detail"),
    [
        ({"user_realm": {"path": "configuration/users/realms/realm"}}, "resources.user_realm", "missing", "HTTP 404"),
        ({"user_realm": {"path": "configuration/users/realms/realm"}}, "resources.user_realm.fields.name", "untested", "not found"),
        (
            {"user_realm": {"path": "configuration/users/user-realms/realms"}},
            "resources.user_realm",
            "different",
            "the answer has realm, not realms",
        ),
        (
            {"sign_in_policy": {"fields": {"enabled": {"at": "is-enabled"}}}},
            "resources.sign_in_policy.fields.enabled",
            "missing",
            "beside it: admin, enabled, url-pattern",
        ),
        ({"sign_in_policy": {"fields": {"enabled": {"at": "is-enabled"}}}}, "resources.sign_in_policy", "found", "no line names: enabled"),
        ({"sign_in_policy": {"fields": {"url": {"type": "number"}}}}, "resources.sign_in_policy.fields.url", "different", "is no number"),
    ],
)
def test_lines_that_do_not_fit_are_told(appliance: Any, overrides: Any, line: str, status: str, detail: str) -> None:
    found = lines(appliance, table={"resources": overrides})[line]
    assert found["status"] == status, found
    assert detail in found["detail"]
