# SPDX-License-Identifier: GPL-3.0-or-later
"""A compliance run writes nothing: said by the hosts that it looked at. And what an account without rights may not read is unknown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.compliance.read_only import ALLOWED
from ansible_collections.certlogon.core.plugins.module_utils.directory.certificate_templates import CertificateTemplates
from ansible_collections.certlogon.core.tests.integration.left_alone import Asked, written

INVENTORY = Path(__file__).resolve().parents[2] / "inventories/lab"
PLAIN = "plain.user"


def test_an_account_without_rights_reads_what_it_may(
    ca_lab: Any, vpn_lab: Any, playbook: Callable[..., Any], run_resource: Callable[..., Any], connection_as: Any, tmp_path: Path
) -> None:
    """An ordinary user of the domain, whom neither the CA's host nor the domain controller lets in."""
    who = ca_lab.account(PLAIN)
    others = {
        "domains": {"hosts": {"corp.example": {"certlogon_username": who["upn"], "certlogon_password": who["password"]}}},
        "certification_authorities": {"hosts": {"ca1.corp.example": {"ansible_user": who["netbios"], "ansible_password": who["password"]}}},
        "domain_controllers": {"hosts": {"dc1.corp.example": {"ansible_user": "nobody"}}},
    }
    (tmp_path / "others.yml").write_text(json.dumps(others))
    run_resource(CertificateTemplates(), state="gathered", **connection_as(PLAIN))  # the first logon in days is noted at the account
    before, asked = written(ca_lab), Asked(ca_lab)
    variables = {
        "certlogon_compliance_folder": str(tmp_path),
        "certlogon_compliance_fail_on": "never",
        "certlogon_compliance_drift": False,
    }
    run = playbook(
        "certlogon.core.compliance", inventory=INVENTORY, variables=variables, arguments=["-i", str(tmp_path / "others.yml")], timeout=600
    )
    report = json.loads((tmp_path / "report.json").read_text())
    assert written(ca_lab) == before and run.changed == []
    verbs = {line for target in report["targets"] for line in target["asked"]}
    assert all(verb in ALLOWED[protocol] for protocol, _space, verb in (line.partition(" ") for line in verbs))
    assert {line.partition(" ")[0] for line in asked.appliance() if "realm_auth" not in line} == {"GET"}
    assert asked.scripts() == set(), "who is no administrator there runs none"
    status = {(control["id"], result["target"]["kind"]): result for control in report["controls"] for result in control["results"]}
    # nearly all of the directory is everybody's to read
    domain = [result["status"] for (_name, kind), result in status.items() if kind == "domain"]
    assert domain.count("unknown") <= 3 and domain.count("pass") > 40
    # what needs a right names it, and nothing of it passes
    for kind, name in (("certification_authority", "authority-esc6"), ("domain_controller", "dc-kdc-crls")):
        result = status[name, kind]
        assert result["status"] == "unknown"
        assert all(finding["right"] for finding in result["findings"]), result["findings"]
    assert status["dc-certificate-served", "domain_controller"]["status"] == "pass", "its ports are everybody's"
