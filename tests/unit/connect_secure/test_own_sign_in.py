# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes of what the task itself signs in with: last, proved by a second login, put back where that fails (sessions of a few lines)."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.auth_servers import AuthServers, Servers, describe
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.elements import Edit, Element, body, overlay, prove
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.sign_in_guard import SignIn
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.table import Table
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError

TABLE = Table.load()
SHAPE = TABLE.resource("auth_server")
OWN: dict[str, Any] = {"name": "Codes", "radius": {"settings": {"radius-server": "a", "authentication-port": "1812"}}}
OTHER: dict[str, Any] = {"name": "Other", "radius": {"settings": {"radius-server": "a", "authentication-port": "1812"}}}
ADMINS = {"name": "Admins", "kind": "admin", "authentication_server": "Codes"}
URL = {"url": "*/admin/", "kind": "admin", "realms": ["Admins"], "enabled": True}


def servers(*wires: dict[str, Any]) -> Servers:
    known = {wire["name"]: Element(wire, describe(SHAPE, wire)) for wire in wires}
    return Servers(SHAPE, known, SignIn({wire["name"]: wire for wire in wires}, {"Admins": ADMINS}, [URL]))


def params(*config: dict[str, Any], state: str = "merged", realm: str = "Admins") -> dict[str, Any]:
    entries = [{"type": None, "update_secrets": "on_create", **entry} for entry in config]
    return {"config": entries, "state": state, "realm": realm, "allow_unknown_variables": False}


def host(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "radius": {"host": value}}


def test_own_server_is_last_and_proved() -> None:
    plan = AuthServers().plan(params(host("Codes", "b"), host("Other", "b")), servers(OWN, OTHER))
    assert [change.name for change in plan.changes] == ["Other", "Codes"]
    assert plan.changes[0].details.back is None
    assert plan.changes[1].details.back == {"radius": {"settings": {"radius-server": "a"}}}


def test_a_secret_of_the_own_server_is_proved_too() -> None:
    entry = {"name": "Codes", "radius": {"secret": "x"}, "update_secrets": "always"}
    [change] = AuthServers().plan(params(entry), servers(OWN)).changes
    assert change.details.body == {"radius": {"settings": {"shared-secret-cleartext": "x"}}}
    assert change.details.back == {}


def test_server_of_the_last_way_in_is_not_changed_unproved() -> None:
    with pytest.raises(UserError, match="which is new or changed, and nothing has proved that it works"):
        AuthServers().plan(params(host("Codes", "b"), realm="Elsewhere"), servers(OWN))


class Session:
    """Counts what is asked of it; `refused` logins, then `broken` writes."""

    def __init__(self, there: dict[str, Any], *, refused: bool = False, broken: bool = False) -> None:
        self.there, self.refused, self.broken = there, refused, broken
        self.did: list[Any] = []

    def get(self, resource: str, name: str) -> dict[str, Any]:
        return deepcopy(self.there)

    def update(self, resource: str, name: str, wire: dict[str, Any]) -> None:
        if self.did and self.broken:
            raise UserError("HTTP 500")
        self.did.append(wire)

    def log_in_anew(self) -> None:
        self.did.append("login")
        if self.refused:
            raise UserError("HTTP 401")


def edit() -> Edit:
    [change] = AuthServers().plan(params(host("Codes", "b")), servers(OWN)).changes
    found: Edit = change.details
    return found


WRITTEN, BACK = {"radius": {"settings": {"radius-server": "b"}}}, {"radius": {"settings": {"radius-server": "a"}}}


def test_login_follows_the_write() -> None:
    session = Session(OWN)
    edit().apply(session)  # type: ignore[arg-type]
    assert session.did == [WRITTEN, "login"]


def test_put_back() -> None:
    session = Session(OWN, refused=True)
    with pytest.raises(UserError, match=r"could not sign in any more: HTTP 401; the old values were written back \(secrets cannot be\)"):
        edit().apply(session)  # type: ignore[arg-type]
    assert session.did == [WRITTEN, "login", BACK]


def test_not_put_back_is_said_loudly() -> None:
    with pytest.raises(UserError, match=r"could not be written back \(HTTP 500\); the administrator who runs this may be locked out"):
        edit().apply(Session(OWN, refused=True, broken=True))  # type: ignore[arg-type]


def test_nothing_is_written_to_what_changed_meanwhile() -> None:
    session = Session({**OWN, "radius": {"settings": {"radius-server": "c", "authentication-port": "1812"}}})
    with pytest.raises(UserError, match="changed meanwhile by somebody else: radius was"):
        edit().apply(session)  # type: ignore[arg-type]
    assert session.did == []


def test_proof_that_succeeds_puts_nothing_back() -> None:
    prove(Session(OWN), lambda: pytest.fail("put back"))  # type: ignore[arg-type]


OVERLAYS = [
    # (there, given, merged, replaced lists)
    ({"a": 1}, {"a": None, "b": 2}, {"a": 1, "b": 2}, {"a": 1, "b": 2}),
    ({"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"x": 1, "y": 2}}, {"a": {"x": 1, "y": 2}}),
    ({"l": ["x"]}, {"l": ["y"]}, {"l": ["y"]}, {"l": ["y"]}),
    (
        {"l": [{"name": "p", "v": 1, "w": 1}, {"name": "q"}]},
        {"l": [{"name": "q", "v": 2}, {"name": "p", "v": 3}]},
        {"l": [{"name": "q", "v": 2}, {"name": "p", "v": 3, "w": 1}]},
        {"l": [{"name": "q", "v": 2}, {"name": "p", "v": 3}]},
    ),
    ({"l": [{"name": "p"}]}, {"l": []}, {"l": [{"name": "p"}]}, {"l": []}),
    ({"l": [{"a": 1}]}, {"l": [{"a": 2}]}, {"l": [{"a": 2}]}, {"l": [{"a": 2}]}),
]


@pytest.mark.parametrize(("there", "given", "merged", "replaced"), OVERLAYS)
def test_overlay(there: dict[str, Any], given: dict[str, Any], merged: dict[str, Any], replaced: dict[str, Any]) -> None:
    before = deepcopy(there)
    assert overlay(there, given, merge=True) == merged
    assert overlay(there, given, merge=False) == replaced
    assert there == before


def test_a_list_of_one_that_is_written_without_its_list() -> None:
    """What the table does not know of its only item stays, too."""
    shape = TABLE.resource("user_realm")
    rule = {"name": "a", "roles": ["R"], "stop": False, "user_name": {"test": "is", "names": ["x"]}}
    only = {"name": "a", "roles": "R", "stop-rules-processing": "false", "user-name": {"test": "is", "user-names": "x"}, "foreign": 1}
    wire = {"name": "n", "role-mapping-rules": {"rule": only}}
    before, after = {"name": "n", "role_mapping_rules": [rule]}, {"name": "n", "role_mapping_rules": [{**rule, "stop": True}]}
    assert shape.decode(wire)["role_mapping_rules"][0]["roles"] == ["R"]
    (sent,) = body(shape, before, after, wire)["role-mapping-rules"]["rule"]
    assert (sent["foreign"], sent["stop-rules-processing"]) == (1, "true")


def test_only_changed_members_are_sent_and_lists_whole() -> None:
    shape = TABLE.resource("user_realm")
    rules = [{"name": "a", "roles": ["R"], "stop": False, "user_name": {"test": "is", "names": ["x"]}}]
    before = {"name": "n", "authentication_server": "A", "directory_server": "D", "role_mapping_rules": rules}
    wire_rule = {
        "name": "a",
        "roles": ["R"],
        "stop-rules-processing": "false",
        "user-name": {"test": "is", "user-names": ["x"]},
        "foreign": 1,
    }
    wire = {"name": "n", "role-mapping-rules": {"rule": [wire_rule]}}
    assert body(shape, before, before, wire) == {}
    gone = {name: value for name, value in before.items() if name != "directory_server"}
    assert body(shape, before, gone, wire) == {"directory-server": "None"}
    changed = [{"name": "b", "roles": ["R"], "stop": True, "expression": "e"}, {**rules[0], "user_name": None, "expression": "f"}]
    assert body(shape, before, {**before, "role_mapping_rules": changed}, wire)["role-mapping-rules"]["rule"] == [
        {"name": "b", "roles": ["R"], "stop-rules-processing": "true", "custom-expression": {"expressions": "e"}},
        {"name": "a", "roles": ["R"], "stop-rules-processing": "false", "foreign": 1, "custom-expression": {"expressions": "f"}},
    ]
