# SPDX-License-Identifier: GPL-3.0-or-later
"""What a CA's host says, where a part of it is odd: the rest is seen all the same."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.adcs.powershell import PowerShellSession
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import load_one
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Target
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers import authority as observer
from ansible_collections.certlogon.core.tests.unit.adcs.test_revocation_on_stand_in import StandIn

PARAMS = {"name": "ca1", "parameters": {}, "backup_path": "", "timeout": 1, "issued": False, "folder": "/nowhere"}


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """The facts of a host whose answers are changed on the way."""
    monkeypatch.setattr(observer, "http", lambda *_question, **_limits: b"")
    stand_in = StandIn(tmp_path / "host")

    def looked(change: Callable[[str, Any], None] = lambda _script, _answer: None) -> dict[str, Any]:
        def invoke(name: str, arguments: Mapping[str, Any], *runas: Any) -> Mapping[str, Any]:
            answer = stand_in.invoke(name, arguments, *runas)
            change(stand_in.scripts[-1], answer["result"])
            return answer

        observation = Observation(Target("certification_authority", "ca1"), "2026-11-23T00:00:00+00:00")
        observer.look(PowerShellSession(invoke, print), PARAMS, observation)
        return observation.facts

    return looked


def unread(facts: Mapping[str, Any]) -> list[str]:
    return sorted(name for name, value in facts.items() if isinstance(value, Mapping) and "unread" in value and name != "backups")


def test_all_is_read(look: Callable[..., dict[str, Any]]) -> None:
    facts = look()
    assert unread(facts) == [] and facts["places"]["aia"] and facts["certificates"]


def test_a_place_that_is_none(look: Callable[..., dict[str, Any]]) -> None:
    """Somebody has written an address into the registry without the number before it."""

    def change(script: str, answer: Any) -> None:
        if script == "adcs_state":
            answer["ca"]["CACertPublicationURLs"]["value"] = ["http://pki.corp.example/ca.crt"]

    facts = look(change)
    assert "is not flags, a colon and a URL" in facts["places"]["unread"]["reason"]
    assert facts["edit_flags"]["flags"] and facts["certificates"] and facts["crls"], "what does not rest on it is there"
    assert set(unread(facts)) == {"places", "crl", "hash", "validity"}, "what the words of the CA are made of"


def test_certificates_of_others_in_the_store(look: Callable[..., dict[str, Any]]) -> None:
    def change(script: str, answer: Any) -> None:
        if script == "web_enrollment_state":
            own, odd = answer["certificates"][0], {"der": base64.b64encode(b"0\x03odd").decode(), "private_key": False, "friendly_name": ""}
            answer["certificates"] = [odd, own]
            answer["features"]["ADCS-Web-Enrollment"] = True
            bound = {"protocol": "https", "information": "*:443:", "thumbprint": load_one(base64.b64decode(own["der"])).thumbprint}
            certsrv = {
                "ssl_flags": "Ssl",
                "token_checking": "Require",
                "anonymous": False,
                "basic": False,
                "windows": True,
                "providers": [],
            }
            answer["iis"] = {"bindings": [bound], "certsrv": certsrv, "certenroll": {"ssl_flags": "", "double_escaping": True}}

    facts = look(change)
    assert unread(facts) == [], facts["web_enrollment"]
    assert facts["web_enrollment"]["certificate"]
