# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of the appliance's interface: paths, words and wire, overrides."""

from __future__ import annotations

import contextlib
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import values
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.table import STANDINGS, Field, Table
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError

TABLE = Table.load()


@pytest.mark.parametrize(
    ("resource", "name", "path"),
    [
        ("trusted_client_ca", None, "configuration/system/configuration/certificates/trusted-client-cas/trusted-client-ca"),
        ("user_realm", "Admin Users", "configuration/users/user-realms/realm/Admin%20Users"),
        ("admin_realm", "x", "configuration/administrators/admin-realms/realm/x"),
        ("sign_in_policy", "*/admin/", "configuration/authentication/signin/urls/access-url/%2A%2Fadmin%2F"),
        (
            "sign_in_policy",
            "vpn.corp.example/ä?#%",
            "configuration/authentication/signin/urls/access-url/vpn.corp.example%2F%C3%A4%3F%23%25",
        ),
    ],
)
def test_path(resource: str, name: str | None, path: str) -> None:
    assert TABLE.resource(resource).path(name) == path


@given(st.text(min_size=1).filter(lambda name: name not in (".", "..") and name.isprintable()))
def test_a_name_is_one_segment_and_comes_back(name: str) -> None:
    written = values.segment(name)
    assert unquote(written) == name
    assert not set(written) & set("/*?#& ")


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_names_that_would_mean_another_path_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="another path"):
        values.segment(name)


def test_plural_and_member() -> None:
    shape = TABLE.resource("auth_server")
    assert (shape.list_path, shape.member) == ("configuration/authentication/auth-servers", "auth-server")


def test_operation() -> None:
    assert TABLE.operation("end_session").address("a/b") == "system/active-users/session/a%2Fb"
    assert TABLE.operation("end_session").method == "DELETE"


@pytest.mark.parametrize(
    ("kind", "wire", "word"),
    [
        ("text", "x", "x"),
        ("text", "", None),
        ("text", 5, "5"),
        ("number", "24", 24),
        ("number", 24, 24),
        ("number", "", None),
        ("switch", "true", True),
        ("switch", "disabled", False),
        ("switch", False, False),
        ("enabling", "enable", True),
        ("words", ["a", "b"], ["a", "b"]),
        ("words", "a", ["a"]),
        ("words", "", []),
        ("words", [], []),
        ("reference", "None", None),
        ("reference", "-", None),
        ("reference", "", None),
        ("reference", "AD", "AD"),
    ],
)
def test_decode(kind: str, wire: Any, word: Any) -> None:
    assert values.decode(kind, wire) == word


@pytest.mark.parametrize("kind", [kind for kind in values.TYPES if kind not in ("objects", "secret")])
def test_missing_is_none(kind: str) -> None:
    assert values.decode(kind, None) is None


@pytest.mark.parametrize(
    ("kind", "wire"), [("number", "soon"), ("number", True), ("switch", "perhaps"), ("words", {"a": 1}), ("text", []), ("certificate", "!")]
)
def test_other_types_are_refused(kind: str, wire: Any) -> None:
    with pytest.raises(FormatError):
        values.decode(kind, wire)


@given(st.sampled_from(values.TYPES), st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_no_value_of_an_appliance_raises_anything_else(kind: str, wire: Any) -> None:
    if kind in ("objects", "secret"):
        return
    with contextlib.suppress(FormatError):
        values.decode(kind, wire, values={"a": "b"})


TEXT = st.text(min_size=1).filter(lambda text: text.casefold() not in ("none", "-"))


def field_words(line: Field) -> st.SearchStrategy[Any]:
    """What a decoded field of that type can be."""
    if line.type == "objects":
        return st.lists(shape_words(line.fields), max_size=3)
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "text": st.none() | TEXT,
        "number": st.none() | st.integers(0, 2**40),
        "switch": st.booleans(),
        "enabling": st.booleans(),
        "words": st.lists(TEXT, max_size=3),
        "reference": st.none() | TEXT,
        "choice": st.sampled_from(sorted(line.values)) if line.values else st.none(),
        "secret": st.none(),
        "certificate": st.binary(min_size=1).map(values.pem_of),
    }
    return kinds[line.type]


def shape_words(fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    def nest(flat: dict[str, Any]) -> dict[str, Any]:
        words: dict[str, Any] = {}
        for name, value in flat.items():
            at = words
            *steps, last = name.split(".")
            for step in steps:
                at = at.setdefault(step, {})
            at[last] = value
        return words

    return st.fixed_dictionaries({name: field_words(line) for name, line in fields.items()}).map(nest)


@pytest.mark.parametrize("resource", TABLE.resources)
def test_what_is_encoded_decodes_to_the_same(resource: str) -> None:
    shape = TABLE.resource(resource)

    @settings(max_examples=25)
    @given(shape_words(shape.fields))
    def check(words: dict[str, Any]) -> None:
        assert shape.decode(shape.encode(words)) == words

    check()


def test_encode_writes_only_what_is_given() -> None:
    shape = TABLE.resource("trusted_client_ca")
    assert shape.encode({"crl_download_frequency": 4, "primary_cdp": None, "verify_trusted_client_ca": None}) == {
        "crl-settings": {"crl-download-frequency": "4", "primary-cdp": {"url": ""}}
    }


def test_secrets_are_written_and_never_read() -> None:
    shape = TABLE.resource("auth_server")
    assert shape.encode({"radius": {"secret": "s3cret"}}) == {"radius": {"settings": {"shared-secret-cleartext": "s3cret"}}}
    wire = {"name": "otp", "radius": {"settings": {"shared-secret-encrypted": "3u+Ur6n8", "shared-secret-cleartext": "s3cret"}}}
    assert shape.decode(wire)["radius"]["secret"] is None
    assert shape.secret_set(wire, "radius.secret")
    assert not shape.secret_set({"radius": {"settings": {}}}, "radius.secret")


@pytest.mark.parametrize(("wire", "kind"), [({"name": "a", "radius": {}}, "radius"), ({"name": "a", "anonymous": {}}, None)])
def test_kind_is_told_by_the_child(wire: dict[str, Any], kind: str | None) -> None:
    assert TABLE.resource("auth_server").kind(wire) == kind


def test_a_reference_without_value_has_its_own_word() -> None:
    assert TABLE.resource("user_realm").encode({"directory_server": None, "secondary_authentication": {"server": None}}) == {
        "directory-server": "None",
        "secondary-authentication-settings": {"name": "-"},
    }


def test_an_unknown_word_of_the_appliance_stays_as_it_is() -> None:
    found = TABLE.resource("trusted_client_ca").decode({"name": "x", "client-certificate-status-checking": "Inherit from root CA"})
    assert found["status_checking"] == "Inherit from root CA"


def test_a_line_that_does_not_fit_says_which_to_override() -> None:
    with pytest.raises(FormatError, match=r"trusted_client_ca\.crl_download_frequency: .* 'daily' is no number; .*connect_secure_table"):
        TABLE.resource("trusted_client_ca").decode({"crl-settings": {"crl-download-frequency": "daily"}})


def test_every_line_is_complete_and_has_a_standing() -> None:
    for name in TABLE.resources:
        shape = TABLE.resource(name)
        assert shape.own_standing in STANDINGS
        assert any(line.at == shape.key for line in shape.fields.values()), name
        assert all(line.type in values.TYPES and line.standing in STANDINGS for line in shape.fields.values())
    assert {TABLE.operation(name).method for name in TABLE.operations} <= {"GET", "POST", "PUT", "DELETE"}


def test_override_of_one_line_leaves_the_others() -> None:
    table = Table.load(
        {
            "resources": {
                "trusted_client_ca": {
                    "fields": {
                        "status_checking": {"at": "status/checking", "values": {"crl": "CRL"}},
                        "verify_trusted_client_ca": {"type": "enabling"},
                    }
                }
            },
            "operations": {"update_crl": {"path": "somewhere/{name}"}},
        }
    )
    shape = table.resource("trusted_client_ca")
    assert shape.encode({"status_checking": "crl", "verify_trusted_client_ca": True}) == {
        "status": {"checking": "CRL"},
        "verify-trusted-client-ca": "enabled",
    }
    assert shape.encode({"status_checking": "ocsp"}) == {"status": {"checking": "Use OCSP"}}
    assert (shape.standing("status_checking"), shape.standing("name"), shape.standing()) == ("overridden", "inferred", "inferred")
    assert table.operation("update_crl").address("x y") == "somewhere/x%20y"
    assert Table.load().resource("trusted_client_ca").encode({"status_checking": "crl"}) == {
        "client-certificate-status-checking": "Use CRLs"
    }


def test_what_an_operation_sends() -> None:
    words = {"common_name": "vpn", "random_data": "x"}
    assert Table.load().operation("create_certificate_request").members(words) == {"common-name": "vpn", "random-data": "x"}
    body = {"common_name": "subject/cn", "random_data": ""}
    line = Table.load({"operations": {"create_certificate_request": {"body": body}}}).operation("create_certificate_request")
    assert line.members({**words, "country": "SE"}) == {"subject": {"cn": "vpn"}, "country": "SE"}
    assert line.standing == "overridden"


def test_override_of_one_realm_leaves_the_other() -> None:
    table = Table.load({"resources": {"user_realm": {"fields": {"role_mapping_rules": {"fields": {"stop": {"at": "stop"}}}}}}})
    rules = {"role_mapping_rules": [{"stop": True}]}
    assert table.resource("user_realm").encode(rules) == {"role-mapping-rules": {"rule": [{"stop": "true"}]}}
    assert table.resource("admin_realm").encode(rules) == {"role-mapping-rules": {"rule": [{"stop-rules-processing": "true"}]}}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"resource": {}}, "did you mean resources"),
        ({"resources": {"trusted_client_cas": {}}}, "did you mean trusted_client_ca"),
        ({"resources": {"user_realm": {"fields": {"authentification_server": {"at": "x"}}}}}, "did you mean authentication_server"),
        ({"resources": {"user_realm": {"fields": {"name": {"where": "x"}}}}}, "there is no 'where'"),
        ({"resources": {"user_realm": {"fields": {"name": {"type": "swich"}}}}}, "did you mean switch"),
        ({"resources": {"user_realm": {"fields": {"name": {"type": "secret"}}}}}, "needs write"),
        ({"resources": {"user_realm": {"fields": {"name": "x"}}}}, "no mapping"),
        ({"resources": {"user_realm": {"path": ""}}}, "no text"),
        ({"resources": {"user_realm": {"path": "configuration/users/a b/realm"}}}, "write what an address may not have as %XX"),
        ({"operations": {"alive": {"path": "configuration/ä"}}}, "write what an address may not have as %XX"),
        ({"resources": {"trusted_client_ca": {"fields": {"status_checking": {"values": {"crls": "x"}}}}}}, "did you mean crl"),
        ({"operations": {"updatecrl": {}}}, "did you mean update_crl"),
        ({"operations": {"import_trusted_client_ca": {"body": {"cert": "x"}}}}, r"import_trusted_client_ca.body: there is no 'cert'"),
        ({"operations": {"import_trusted_client_ca": {"body": {"certificate": None}}}}, "give the member's name, or an empty text"),
    ],
)
def test_overrides_that_would_have_no_effect_are_refused(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Table.load(overrides)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UserError, match="did you mean pulse"):
        Table.load(None, "puls")
    with pytest.raises(UserError, match="did you mean auth_server"):
        TABLE.resource("auth_servers")


def test_a_path_of_each_node_wants_the_node() -> None:
    shape = Table.load({"resources": {"device_certificate": {"path": "configuration/x/{node}/y/z"}}}).resource("device_certificate")
    assert shape.path("a", node="node 1") == "configuration/x/node%201/y/z/a"
    with pytest.raises(UserError, match="option node"):
        shape.path("a")
