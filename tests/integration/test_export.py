# SPDX-License-Identifier: GPL-3.0-or-later
"""What certlogon.core.export writes is what the domain has, and certlogon.core.undo brings it back."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policies import GroupPolicies
from ansible_collections.certlogon.core.tests.integration.site_inventory import DOMAIN, SERVICES, put_back, write_inventory

FOREIGN = "Export Test - Foreign"
CARDS = "Export Test - Smart Card Logon"
TRUST = "Export Test - Trusted Certificates"
CA = "Corp Example VPN CA"


@pytest.fixture(autouse=True)
def domain(run_resource: Callable[..., dict[str, Any]]) -> Iterator[None]:
    with put_back(run_resource):
        yield


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    return tmp_path / "exports"


@pytest.fixture
def inventory(lab: Any, connection: dict[str, Any], tmp_path: Path, exports: Path) -> Path:
    variables = {
        "certlogon_trusted_certificates": [
            {"store": "root", "certificates": [{"path": lab.files["rogue_ca"]}]},
            {"store": "ntauth", "certificates": [{"path": lab.files["issuing_ca"]}]},
        ],
        "certlogon_trust_policy_name": TRUST,
        "certlogon_template_prefix": "ExportTest",
        "certlogon_certification_authorities": [CA],
        "certlogon_smart_card_policy_name": CARDS,
        "certlogon_smart_card_policy_links": [{"target": "Corp/Workstations"}],
        "certlogon_export_directory": str(exports),
    }
    return write_inventory(tmp_path / "inventory", connection, variables)


@pytest.fixture
def run(playbook: Callable[..., Any], inventory: Path) -> Callable[..., Any]:
    def call(name: str, variables: dict[str, Any] | None = None, **keywords: Any) -> Any:
        return playbook(f"certlogon.core.{name}", **{"inventory": inventory, "variables": variables, **keywords})

    return call


@pytest.fixture
def foreign_policy(lab: Any, run_resource: Callable[..., dict[str, Any]], connection: dict[str, Any]) -> None:
    """A policy that Samba's tool made, with what an export could stumble over."""
    login = f"-U{connection['username']}"
    script = 'read -r PASSWD; export PASSWD; samba-tool gpo create "$0" -H ldap://dc1.corp.example "$1"'
    lab.run("dc1", "sh", "-c", script, FOREIGN, login, stdin=connection["password"] + "\n")
    groups = '<Groups><User><Properties userName="local" cpassword="j1Uyj3Vx8TY9LtLZil2uAuZkFQA/4latT76ZwgdHdhw"/></User></Groups>'
    config = {
        "name": FOREIGN,
        "links": [{"target": "Corp/Servers", "enforced": True}],
        "registry": [
            {"key": "Software\\Policies\\Example", "value": "Expression", "type": "string", "data": "{{ 7 * 7 }} {% raw %} {# gone #}"},
            {"key": "Software\\Policies\\Example", "value": "Word", "type": "string", "data": "yes"},
            {"key": "Software\\Policies\\Example", "value": "Lines", "type": "multistring", "data": ["one", "1.10"]},
            {"half": "user", "key": "Software\\Policies\\Example", "value": "Old", "state": "absent"},
        ],
        "files": [
            {"path": "Machine\\Preferences\\Groups\\Groups.xml", "content": base64.b64encode(groups.encode()).decode()},
            {"path": "Machine\\Scripts\\scripts.ini", "content": base64.b64encode("[Startup]\r\n".encode("utf-16")).decode()},
        ],
    }
    run_resource(GroupPolicies(), config=[config])


def test_an_exported_inventory_changes_nothing(
    run: Callable[..., Any], connection: dict[str, Any], tmp_path: Path, foreign_policy: None
) -> None:
    run("site")
    folder = tmp_path / "domains"
    exported = run("export", {"certlogon_export_directory": str(folder)})
    assert exported.changed
    assert run("export", {"certlogon_export_directory": str(folder)}).changed == [], "an unchanged domain makes the same files"

    texts = {path.name: path.read_text(encoding="utf-8") for path in folder.rglob("*.yml")}
    everything = "".join(texts.values())
    kinds = {"trusted_certificates", "certificate_templates", "enrollment_services", "group_policies"}
    assert set(texts) == {"hosts.yml", *(f"{kind}.yml" for kind in kinds)}
    assert all(text.startswith("---\n# ") for text in texts.values())
    assert connection["password"] not in everything + exported.output
    assert "cpassword=" not in everything and "cpassword=" not in decoded(everything)
    assert "scripts.ini" in everything and '!unsafe "{{ 7 * 7 }} {% raw %} {# gone #}"' in everything
    for name in (FOREIGN, CARDS, TRUST, "Default Domain Policy", "ExportTestSmartcardLogon"):
        assert name in everything

    secret = {"CERTLOGON_PASSWORD": connection["password"]}
    fresh = run("site", {"certlogon_export_before_change": False}, inventory=folder, environment=secret, check=True)
    assert fresh.changed == []
    judged = {task.action.rpartition(".")[2] for task in fresh.tasks if task.status == "ok"}
    assert {"ad_trusted_certificates", "ad_certificate_templates", "ad_enrollment_services", "group_policies"} <= judged


def decoded(text: str) -> str:
    """Everything in it that is base64 of something readable."""
    words = (word.strip("'\"") for word in text.split())
    found = []
    for word in words:
        if len(word) > 40:
            try:
                found.append(base64.b64decode(word, validate=True).replace(b"\0", b"").decode("latin-1"))
            except ValueError:
                continue
    return "".join(found)


def test_undo_of_a_roll_out(lab: Any, run: Callable[..., Any], exports: Path, foreign_policy: None) -> None:
    run("site")
    [export] = (exports / DOMAIN).iterdir()
    file = {"certlogon_undo_file": str(export)}

    stopped = run("undo", file, fails=True)
    assert stopped.changed == []
    new = json.loads(stopped.last.msg.partition("-e '")[2].rpartition("'")[0])["certlogon_undo_delete"]
    assert new == [
        "template ExportTestDomainController",
        "template ExportTestSmartcardLogon",
        "template ExportTestSmartcardUser",
        f"policy {CARDS}",
        f"policy {TRUST}",
    ]
    foreseen = run("undo", file, check=True)
    tasks = {"Delete templates", "Delete policies", "Bring the stores of trusted certificates back"}
    assert {task.task.rpartition(" : ")[2] for task in foreseen.changed} >= tasks

    partly = run("undo", {**file, "certlogon_undo_delete": new[:-1]})
    assert partly.changed and TRUST in lab.samba_tool("gpo", "listall").stdout
    run("undo", {**file, "certlogon_undo_delete": new[-1:]})

    listed = lab.samba_tool("gpo", "listall").stdout
    assert CARDS not in listed and TRUST not in listed and FOREIGN in listed
    assert lab.ldbsearch(f"CN=Certificate Templates,{SERVICES}", "(cn=ExportTest*)", "cn") == []
    assert lab.ldbsearch(f"CN=Certification Authorities,{SERVICES}", "(cn=Totally Trustworthy CA)", "cn") == []
    lab.samba_tool("ntacl", "sysvolcheck")

    run("site", arguments=["--tags", "export"])
    assert len(list((exports / DOMAIN).iterdir())) == 1, "the domain is as it was at the first export, so there is no second one"


def test_undo_brings_back_what_others_deleted(lab: Any, run: Callable[..., Any], exports: Path, connection: dict[str, Any]) -> None:
    run("site", {"certlogon_export_before_change": False})
    run("site", arguments=["--tags", "export"])
    [export] = (exports / DOMAIN).iterdir()
    lab.ldbmodify(f"dn: CN=ExportTestSmartcardUser,CN=Certificate Templates,{SERVICES}\nchangetype: delete\n\n")
    lab.ldbmodify(f"dn: CN=NTAuthCertificates,{SERVICES}\nchangetype: modify\nreplace: cACertificate\ncACertificate:: AA==\n\n")
    container = lab.ldbsearch("CN=Policies,CN=System,DC=corp,DC=example", f"(displayName={CARDS})", "cn")[0]["cn"][0].decode()
    script = 'read -r PASSWD; export PASSWD; samba-tool gpo del "$0" -H ldap://dc1.corp.example "$1"'
    lab.run("dc1", "sh", "-c", script, container, f"-U{connection['username']}", stdin=connection["password"] + "\n")

    undone = run("undo", {"certlogon_undo_file": str(export)})
    assert {change["name"] for task in undone.changed for change in task["changes"]} == {"ExportTestSmartcardUser", "ntauth", CARDS}
    run("site", arguments=["--tags", "export"])
    assert len(list((exports / DOMAIN).iterdir())) == 1, "the domain is as it was"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"certlogon_export_of": "other.example"}, "is an export of other.example; give an export of corp.example"),
        ({"certlogon_certificate_templates": []}, "is no export; give an export of corp.example"),
    ],
)
def test_undo_refuses_what_is_no_export_of_this_domain(
    content: dict[str, Any], message: str, run: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "export.yml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert message in run("undo", {"certlogon_undo_file": str(path)}, fails=True).last.msg


def test_undo_deletes_nothing_that_the_export_has(run: Callable[..., Any], exports: Path) -> None:
    run("site", arguments=["--tags", "export"])
    [export] = (exports / DOMAIN).iterdir()
    refused = run("undo", {"certlogon_undo_file": str(export), "certlogon_undo_delete": ["policy Default Domain Policy"]}, fails=True)
    assert "policy Default Domain Policy: only objects that are not in the export can be deleted" in refused.last.msg
    assert refused.changed == []
