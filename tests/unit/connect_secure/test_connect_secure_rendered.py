# SPDX-License-Identifier: GPL-3.0-or-later
"""The XML import file, read by xml.etree; and the REST requests, made with plain requests."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest
import requests
from ansible.errors import AnsibleFilterError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.certlogon.core.plugins.filter.connect_secure_xml import connect_secure_xml
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.auth_servers import AuthServers
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.realms import AuthenticationRealms
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.sign_in_policies import SignInPolicies
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Resource, run

NAMESPACE = "http://xml.juniper.net/ive-sa/7.4R1"
CARDS: dict[str, Any] = {"name": "Cards", "certificate": {"user_name_template": "<certAttr.altName.UPN>"}}
CODES: dict[str, Any] = {"name": "Codes", "radius": {"host": "radius.corp.example", "secret": "s3cret", "challenge_rules": [{"name": "C"}]}}
RULES = [
    {"name": "Sales & <more>", "roles": ["Users", "Sales"], "stop": True, "user_name": {"names": ["*@corp.example", "x"]}},
    {"name": "Others", "roles": ["Users"], "expression": 'certDN.OU = "Ops"'},
]
REALM: dict[str, Any] = {"name": "Card users", "authentication_server": "Cards", "role_mapping_rules": RULES}


def rendered(resource: Resource[Any, Any], config: list[dict[str, Any]], how: str = "xml", **task: Any) -> list[dict[str, Any]]:
    arguments = {"config": [dict(entry) for entry in config], "state": "rendered", "rendered_as": how, **task}
    if how == "xml":
        arguments = {"generation": "juniper", "xml_version": "7.4R1", **arguments}
    checked = ArgumentSpecValidator(resource.argument_spec(), **resource.rules()).validate(arguments)
    assert not checked.error_messages, checked.error_messages
    result = run(resource, checked.validated_parameters, check_mode=False, warn=lambda text: None)
    assert result["changed"] is False
    found: list[dict[str, Any]] = result["rendered"]
    return found


def xml(resource: Resource[Any, Any], config: list[dict[str, Any]], **task: Any) -> str:
    [only] = rendered(resource, config, **task)
    assert only["file"] == "ive-import.xml"
    text: str = only["xml"]
    return text


def outline(element: ET.Element) -> Any:
    """An element as nested lists, its namespace checked on the way."""
    assert element.tag.startswith(f"{{{NAMESPACE}}}"), element.tag
    inner = [outline(child) for child in element]
    return [element.tag.partition("}")[2], inner or element.text]


def test_realm_of_seen_elements() -> None:
    text = xml(AuthenticationRealms(), [REALM])
    assert "inferred" not in text
    assert outline(ET.fromstring(text)) == [
        "configuration",
        [
            [
                "users",
                [
                    [
                        "user-realms",
                        [
                            [
                                "realm",
                                [
                                    ["name", "Card users"],
                                    ["authentication-server", "Cards"],
                                    [
                                        "role-mapping-rules",
                                        [
                                            [
                                                "rule",
                                                [
                                                    ["name", "Sales & <more>"],
                                                    ["roles", "Users"],
                                                    ["roles", "Sales"],
                                                    ["stop-rules-processing", "true"],
                                                    ["user-name", [["test", "is"], ["user-names", "*@corp.example"], ["user-names", "x"]]],
                                                ],
                                            ],
                                            [
                                                "rule",
                                                [
                                                    ["name", "Others"],
                                                    ["roles", "Users"],
                                                    ["stop-rules-processing", "false"],
                                                    ["custom-expression", [["expressions", 'certDN.OU = "Ops"']]],
                                                ],
                                            ],
                                        ],
                                    ],
                                ],
                            ]
                        ],
                    ]
                ],
            ]
        ],
    ]


def test_two_objects_share_their_parents() -> None:
    realms = [REALM, {**REALM, "name": "Second"}, {**REALM, "name": "Admins", "kind": "admin"}]
    root = ET.fromstring(xml(AuthenticationRealms(), realms))
    assert [child.tag.partition("}")[2] for child in root] == ["users", "administrators"]
    names = [
        found.text for found in root.iterfind(f"{{{NAMESPACE}}}users/{{{NAMESPACE}}}user-realms/{{{NAMESPACE}}}realm/{{{NAMESPACE}}}name")
    ]
    assert names == ["Card users", "Second"]


def test_sign_in_policies() -> None:
    config = [
        {"url": "vpn.corp.example/", "realms": ["Card users", "Users"]},
        {"url": "*/admin/", "kind": "admin", "realms": ["Admin Users"]},
    ]
    root = ET.fromstring(xml(SignInPolicies(), config))
    [urls] = root.iter(f"{{{NAMESPACE}}}access-urls")
    assert [outline(child) for child in urls] == [
        [
            "access-url",
            [["url-pattern", "vpn.corp.example/"], ["enabled", "true"], ["user", [["realms", "Card users"], ["realms", "Users"]]]],
        ],
        ["access-url", [["url-pattern", "*/admin/"], ["enabled", "true"], ["admin", [["realms", "Admin Users"]]]]],
    ]


INFERRED = [
    (AuthServers(), CARDS, "certificate/settings/user-name-template"),
    (AuthServers(), CODES, "radius/settings/radius-server"),
    (AuthServers(), {"name": "Plain", "type": "certificate"}, "certificate/settings/user-name-template"),
    (AuthenticationRealms(), {**REALM, "certificate_restriction": {"mode": "required"}}, "authentication-policy/certificate"),
]


@pytest.mark.parametrize(("resource", "entry", "member"), INFERRED)
def test_inferred_elements_need_to_be_allowed(resource: Resource[Any, Any], entry: dict[str, Any], member: str) -> None:
    with pytest.raises(UserError, match="is inferred, nobody here has seen it; set allow_inferred") as caught:
        xml(resource, [entry])
    assert member in str(caught.value)
    text = xml(resource, [entry], allow_inferred=True)
    last = member.rpartition("/")[2]
    comment = re.search(rf"<!-- inferred: the name of {re.escape(member)}[^>]*-->", text)
    assert comment, text
    assert any(element.tag.endswith(f"}}{last}") for element in ET.fromstring(text).iter()), text
    comments = len(re.findall("<!-- inferred:", text))
    assert comments == len({found.group() for found in re.finditer("<!-- inferred: the name of [^ ]+", text)})


def test_secrets_are_not_in_the_file() -> None:
    text = xml(AuthServers(), [CODES], allow_inferred=True)
    assert "s3cret" not in text
    assert "secrets are not in this file; set radius.secret in the console" in text


def test_release_and_characters() -> None:
    with pytest.raises(UserError, match="xml_version: is missing"):
        rendered(AuthenticationRealms(), [REALM], xml_version=None)
    with pytest.raises(UserError, match="xml_version: '7' is no release"):
        rendered(AuthenticationRealms(), [REALM], xml_version="7")
    with pytest.raises(UserError, match="holds a control character"):
        rendered(AuthenticationRealms(), [{**REALM, "directory_server": "x\x07"}])
    [only] = rendered(AuthenticationRealms(), [REALM], generation="connect_secure", xml_version="22.7R2.10")
    assert 'xmlns="http://xml.pulsesecure.net/ive-sa/22.7R2.10"' in only["xml"]


def test_words_are_what_config_accepts() -> None:
    [words] = rendered(AuthServers(), [CARDS], "words")
    assert words == {
        "name": "Cards",
        "type": "certificate",
        "certificate": {"user_name_template": "<certAttr.altName.UPN>", "user_record_synchronization": False},
    }
    assert rendered(AuthServers(), [words], "words") == [words]


def test_requests_make_what_they_say(appliance: Any) -> None:
    """The rendered requests, made by hand."""
    handle = appliance.handle
    client = requests.Session()
    client.trust_env, client.verify = False, str(handle.ca_file)
    login = client.post(f"{handle.url}/api/v1/realm_auth", auth=(handle.admin, handle.password), json={"realm": handle.realm})
    client.auth = (login.json()["api_key"], "")
    realm = {**REALM, "role_mapping_rules": [{**RULES[1], "roles": ["Users"]}]}
    wanted = [
        *rendered(AuthServers(), [CARDS], "json"),
        *rendered(AuthenticationRealms(), [realm], "json"),
        *rendered(SignInPolicies(), [{"url": "vpn.corp.example/", "realms": ["Card users"]}], "json"),
    ]
    assert wanted[0]["inferred"] == ["certificate.user_name_template", "certificate.user_record_synchronization"]
    for one in wanted:
        answer = client.request(one["method"], f"{handle.url}{one['path']}", json=one["body"])
        assert answer.status_code == 201, answer.text
    server = client.get(f"{handle.url}/api/v1/configuration/authentication/auth-servers/auth-server/Cards").json()
    assert server["certificate"]["settings"]["user-name-template"] == "<certAttr.altName.UPN>"


def test_one_file_of_several() -> None:
    """What each file has under a parent, the one file has under it once; comments stay with what they are about."""
    parts = [
        *rendered(AuthServers(), [CARDS, CODES], allow_inferred=True),
        *rendered(AuthenticationRealms(), [REALM, {**REALM, "name": "A", "kind": "admin"}]),
        *rendered(SignInPolicies(), [{"url": "vpn.corp.example/", "realms": ["Card users"]}]),
    ]
    text = connect_secure_xml(parts)
    root = ET.fromstring(text)
    assert outline(root)[1] == [
        ["authentication", [*outline(ET.fromstring(parts[0]["xml"]))[1][0][1], *outline(ET.fromstring(parts[2]["xml"]))[1][0][1]]],
        *outline(ET.fromstring(parts[1]["xml"]))[1],
    ]
    comments = [len(re.findall("<!--", part["xml"])) for part in parts]
    assert len(re.findall("<!--", text)) == sum(comments) - 2, "the head is there more than once, or a comment is lost"
    assert connect_secure_xml([{"xml": text}]) == text


@pytest.mark.parametrize("value", [[], [{}], [{"xml": "<"}], [{"xml": "<configuration/>"}], [{"xml": "<!DOCTYPE x><x/>"}], [{"xml": ""}]])
def test_what_is_no_import_file(value: list[dict[str, Any]]) -> None:
    with pytest.raises(AnsibleFilterError, match="give the values of rendered of tasks with rendered_as=xml"):
        connect_secure_xml(value)


def test_files_of_two_releases() -> None:
    parts = [*rendered(AuthenticationRealms(), [REALM]), *rendered(AuthenticationRealms(), [REALM], xml_version="6.5R9")]
    with pytest.raises(AnsibleFilterError, match="different releases"):
        connect_secure_xml(parts)
