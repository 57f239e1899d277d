# SPDX-License-Identifier: GPL-3.0-or-later
"""No name of the site is left in a report with pseudonyms, and it says the same as before."""

from __future__ import annotations

import copy
import json
from urllib.parse import quote

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.compliance.outputs import pseudonyms

KEY = b"k" * 32
SID = "S-1-5-21-1111111111-222222222-3333333333"


def finding(subject, message, **evidence):
    return {
        "subject": subject,
        "status": "fail",
        "message": message,
        "evidence": evidence,
        "right": "",
        "mend": "",
        "variables": [],
        "fingerprint": "a" * 32,
        "change": "new",
        "waiver": {"owner": "carol@corp.example", "reason": "carol knows", "expires": "2027-01-01"},
        "location": {"file": "host_vars/corp.example.yml", "line": 3},
    }


REPORT = {
    "format": "certlogon-compliance-report/1",
    "run": {
        "title": "corp.example",
        "waivers": {"path": "/home/carol/waivers.yml", "sha256": "0" * 64},
        "pseudonyms": False,
        "catalogue_sha256": "1" * 64,
    },
    "targets": [
        {
            "kind": "domain",
            "name": "corp.example",
            "account": "CORP\\auditor",
            "servers": ["dc1.corp.example"],
            "error": "",
            "answered": True,
        },
        {"kind": "connect_secure", "name": "vpn1.corp.example", "account": "admin7", "servers": [], "error": "", "answered": True},
    ],
    "summary": {"verdict": "fail"},
    "chain": {
        "nodes": [
            {"id": "ca/CN=Corp CA,DC=corp,DC=example", "kind": "ca", "label": "Corp CA", "detail": "", "status": "pass"},
            {"id": "gateway/vpn1.corp.example", "kind": "gateway", "label": "vpn1.corp.example", "detail": "", "status": "fail"},
        ],
        "edges": [
            {"from": "ca/CN=Corp CA,DC=corp,DC=example", "to": "gateway/vpn1.corp.example", "label": "", "status": "fail", "message": ""},
        ],
    },
    "controls": [
        {
            "id": "template-esc1",
            "family": "templates",
            "title": "Nobody can enroll as corp",
            "results": [
                {
                    "target": {"kind": "domain", "name": "corp.example"},
                    "status": "fail",
                    "passes": ["template Blue Card"],
                    "findings": [
                        finding(
                            "template Red Card",
                            "CORP\\Domain Users and alice@corp.example can enroll red card; see https://pki.corp.example/Red%20Card",
                            holders=["CORP\\Domain Users", f"{SID}-513", f"{SID}-1105", "S-1-5-11"],
                            dn="CN=Red Card,CN=Certificate Templates,CN=Services,CN=Configuration,DC=corp,DC=example",
                            thumbprint="0123456789ABCDEF0123456789ABCDEF01234567",
                            address="10.83.0.30",
                            minimum_key_size=2048,
                            extended_key_usages=["client_authentication"],
                        )
                    ],
                }
            ],
        }
    ],
    "certificates": [
        {"name": "Corp Issuing CA", "subject": "CN=Corp Issuing CA,O=Blue Widgets", "issuer": "CN=Corp Root", "held_by": "dc1.corp.example"}
    ],
    "crls": [{"url": "http://ca1.corp.example/CertEnroll/Corp%20Issuing%20CA.crl", "name": "Corp Issuing CA"}],
    "gone": [],
}
NAMES = (
    "corp",
    "auditor",
    "dc1",
    "vpn1",
    "ca1",
    "red card",
    "red%20card",
    "blue",
    "alice",
    "carol",
    "admin7",
    "widgets",
    SID,
    "0123456789ab",
    "10.83",
)


@pytest.fixture(scope="module")
def hidden():
    return pseudonyms.hide(REPORT, KEY)


@pytest.mark.parametrize("name", NAMES)
def test_no_name_is_left(hidden, name):
    text = json.dumps(hidden).replace("Nobody can enroll as corp", "")  # the catalogue's own words are public
    assert name not in text.lower()


def test_what_is_said_stays(hidden):
    result = hidden["controls"][0]["results"][0]
    evidence = result["findings"][0]["evidence"]
    assert hidden["controls"][0]["title"] == "Nobody can enroll as corp"
    assert evidence["extended_key_usages"] == ["client_authentication"] and evidence["minimum_key_size"] == 2048
    assert evidence["holders"][3] == "S-1-5-11"
    assert evidence["holders"][0].endswith("\\Domain Users")
    assert evidence["holders"][1].endswith("-513") and not evidence["holders"][2].endswith("1105")
    assert result["findings"][0]["message"].endswith(result["findings"][0]["subject"].removeprefix("template "))
    assert result["findings"][0]["location"]["line"] == 3 and hidden["run"]["pseudonyms"] is True
    assert hidden["run"]["waivers"]["path"] == "waivers.yml"


def test_the_same_name_has_the_same_pseudonym_with_the_same_key(hidden):
    result = hidden["controls"][0]["results"][0]
    assert result["target"]["name"] == hidden["targets"][0]["name"]
    assert result["findings"][0]["subject"].removeprefix("template ") in result["findings"][0]["message"]
    assert pseudonyms.hide(REPORT, KEY) == hidden
    other = pseudonyms.hide(REPORT, b"other key of the site")
    assert other["targets"][0]["name"] != hidden["targets"][0]["name"]
    assert other["controls"][0]["results"][0]["findings"][0]["fingerprint"] != result["findings"][0]["fingerprint"] != "a" * 32


def test_the_report_itself_stays_what_it_is():
    before = copy.deepcopy(REPORT)
    pseudonyms.hide(REPORT, KEY)
    assert before == REPORT


def test_the_chain_still_hangs_together(hidden):
    ids = {node["id"] for node in hidden["chain"]["nodes"]}
    assert len(ids) == 2
    assert all({edge["from"], edge["to"]} <= ids for edge in hidden["chain"]["edges"])


def test_how_many_more_there_are_is_not_a_name():
    report = copy.deepcopy(REPORT)
    report["chain"]["nodes"].append({**report["chain"]["nodes"][0], "id": "template/", "kind": "template", "label": "12 more templates"})
    assert pseudonyms.hide(report, KEY)["chain"]["nodes"][-1]["label"] == "12 more templates"


def test_a_whole_report_stays_valid(report, schema):
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator(schema).validate(pseudonyms.hide(report, KEY))
    assert "corp.example" not in json.dumps(pseudonyms.hide(report, KEY))


@pytest.mark.parametrize("name", ["Straße Issuing CA", "Österreich Issuing CA", "ÆØÅ CA", "ΣΊΣΥΦΟΣ CA", "İzmir CA"])
def test_names_beyond_ascii(name):
    """Also as addresses and JSON write them, and in whatever case."""
    report = copy.deepcopy(REPORT)
    ways = [name, name.lower(), name.upper(), quote(name), quote(name.upper()), quote(name.lower()).lower()]
    report["certificates"][0] |= {"name": name, "subject": f"CN={name},O=Blue Widgets"}
    report["crls"][0] |= {"url": f"http://ca1.corp.example/{quote(name)}.crl", "name": name}
    report["controls"][0]["results"][0]["findings"] += [finding(f"service {name}", f"It is at {way} today.") for way in ways]
    hidden = json.dumps(pseudonyms.hide(report, KEY), ensure_ascii=False)
    assert [way for way in ways if way.partition(" ")[0].partition("%20")[0] in hidden] == []
    assert json.loads(hidden)["certificates"][0]["name"] == json.loads(hidden)["crls"][0]["name"], "the same name by the same pseudonym"


@pytest.mark.parametrize(
    "text",
    [
        "2001:db8:0:1::30",
        "[2001:db8:0:1::30]:8443",
        "fd00::5",
        "fe80::1%eth0",
        "::ffff:10.83.0.30",
        "2001:0db8:0000:0001:0000:0000:0000:0030",
    ],
)
def test_addresses_of_ipv6(text):
    report = copy.deepcopy(REPORT)
    report["controls"][0]["results"][0]["findings"] += [finding("users' port vpn", f"It asks {text}: nobody answers.", address=text)]
    hidden = json.dumps(pseudonyms.hide(report, KEY))
    assert not any(part in hidden for part in ("db8", "fd00", "fe80", "10.83"))


@pytest.mark.parametrize("text", ["12:30:45", "ESC1: a, x::y", "sha256:", "number 3: it", "Std::vector", "at 2026-11-23T08:00:00Z"])
def test_what_is_no_address_stays(text):
    report = copy.deepcopy(REPORT)
    report["controls"][0]["results"][0]["findings"] += [finding("clock", text)]
    assert json.dumps(text) in json.dumps(pseudonyms.hide(report, KEY))
