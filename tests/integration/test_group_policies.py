# SPDX-License-Identifier: GPL-3.0-or-later
"""Group policies on the real domain controller, read back by Samba's own tools."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policies import GroupPolicies

NAME = "Certlogon test policy"
BASE = "DC=corp,DC=example"
POLICIES = f"CN=Policies,CN=System,{BASE}"
SHARE = "/var/lib/samba/sysvol/corp.example/Policies"


@pytest.fixture
def policy(lab, run_resource) -> Iterator[str]:
    """The name of a policy that is not there before the test, and not after it."""
    yield NAME
    run_resource(GroupPolicies(), [{"name": NAME}], "deleted")


def full(lab: Any, name: str = NAME) -> dict[str, Any]:
    """A policy that uses every option."""
    return {
        "name": name,
        "links": [{"target": "Corp/Workstations", "order": 1, "enforced": True}, {"target": "site:Default-First-Site-Name"}],
        "permissions": [
            {"principal": "Authenticated Users", "rights": ["read"]},
            {"principal": "Domain Computers", "rights": ["apply"]},
            {"principal": "CORP\\Helpdesk", "rights": ["edit"]},
        ],
        "services": [{"name": "SCardSvr", "startup": "automatic"}, {"name": "SCPolicySvc", "startup": "automatic"}],
        "security_options": {"smart_card_removal_behaviour": "lock", "require_smart_card": "false"},
        "registry": [
            {
                "key": "Software\\Policies\\Microsoft\\Windows\\SmartCardCredentialProvider",
                "value": "AllowTimeInvalidCertificates",
                "type": "dword",
                "data": 0,
            },
            {"half": "user", "key": "Software\\Certlogon", "value": "Text", "type": "string", "data": "größer"},
            {"half": "user", "key": "Software\\Certlogon", "value": "Gone", "state": "absent"},
        ],
        "certificates": {
            "trusted_root": [{"path": lab.files["root_ca"]}],
            "intermediate": [{"path": lab.files["issuing_ca"]}],
        },
        "autoenrollment": {
            "computer": {"enabled": True, "expiration_percent": 10, "expiration_stores": ["MY"]},
            "user": {"enabled": True, "update_templates": False},
        },
        "service_preferences": [{"name": "SCardSvr", "startup": "automatic", "action": "start"}],
    }


def container(lab: Any, name: str = NAME) -> dict[str, list[bytes]] | None:
    found = lab.ldbsearch(POLICIES, f"(displayName={name})", "*", "nTSecurityDescriptor")
    return found[0] if found else None


def guid_of(lab: Any, name: str = NAME) -> str:
    found = container(lab, name)
    assert found, f"no policy {name}"
    return found["cn"][0].decode()


def accepted_by_samba(lab: Any) -> None:
    """The two checks of Samba for directory and SYSVOL permissions."""
    administrator = lab.account("administrator")
    credentials = f"{administrator['username']}%{administrator['password']}"
    lab.samba_tool("gpo", "aclcheck", "-H", "ldap://dc1.corp.example", "-U", credentials)


def test_rhythm(lab, run_resource, policy: str) -> None:
    config = [full(lab)]
    checked = run_resource(GroupPolicies(), config, check_mode=True)
    assert checked["changed"]
    assert container(lab) is None

    made = run_resource(GroupPolicies(), config)
    assert made["changed"], made
    assert "failed" not in made, made["msg"]
    accepted_by_samba(lab)
    assert run_resource(GroupPolicies(), config)["changed"] is False
