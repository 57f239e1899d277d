# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates that a CA has issued: read in pages from the stand-in, and judged one by one."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.adcs.powershell import PowerShellSession
from ansible_collections.certlogon.core.plugins.module_utils.compliance import read_only
from ansible_collections.certlogon.core.plugins.module_utils.compliance.catalogue import load
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judges.mappings import Issued
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judging import Stream
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts, Target
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers import issued as observer
from ansible_collections.certlogon.core.tests.unit.adcs.test_revocation_on_stand_in import StandIn
from ansible_collections.certlogon.core.tests.unit.compliance.test_judges_mappings import (
    MAIL,
    NOW,
    OTHER_SID,
    SID,
    cert,
    certificate,
    sha1,
)

TARGET = Target("certification_authority", "ca1")
CONTROLS = {control.id: control for control in load().of("certification_authority", "issued")}


def made(found: Any = None, unreadable: str = "") -> Issued:
    return Issued(7, "CORP\\alice", "SmartCard", found, unreadable)


CASES: dict[str, list[tuple[Issued, str, dict[str, Any]]]] = {
    "issued-certificate-binding": [
        (made(cert(SID)), "pass", {}),
        (made(cert(uri=SID)), "pass", {}),
        (made(cert(upn="alice@corp.example")), "fail", {"request": 7, "account": "CORP\\alice", "upn": "alice@corp.example"}),
        (made(cert(purpose=MAIL)), "", {}),
        (made(None, "is truncated DER"), "unknown", {"request": 7}),
    ],
    "issued-certificate-sid": [
        (made(cert(SID, uri=SID)), "pass", {}),
        (made(cert(SID, uri=OTHER_SID)), "fail", {"sids": sorted([SID, OTHER_SID]), "template": "SmartCard"}),
        (made(cert()), "", {}),
        (made(None, "is truncated DER"), "unknown", {}),
    ],
    "issued-certificate-strength": [
        (made(cert()), "pass", {}),
        (made(cert(key="weak")), "fail", {"key": "rsa 1024"}),
        (made(sha1()), "fail", {"signature_hash": "sha1", "serial": "1abcdef"}),
        (made(None, "is truncated DER"), "unknown", {}),
    ],
}


@pytest.mark.parametrize(("control", "case"), [(control, case) for control, cases in CASES.items() for case in cases])
def test_verdicts(control: str, case: Any) -> None:
    subject, status, evidence = case
    stream = Stream([CONTROLS[control]], Facts(TARGET, {}, NOW), {})
    stream.feed(subject)
    [result] = stream.results
    assert result.status == (status or "not_applicable")
    if result.verdicts:
        assert evidence.items() <= result.verdicts[0].evidence.items()


def test_every_control_has_cases() -> None:
    assert CASES.keys() == CONTROLS.keys()


def look(invoke: Any, folder: Path) -> Observation:
    observation = Observation(TARGET, datetime.datetime.now(datetime.timezone.utc).isoformat())
    host = read_only.powershell(PowerShellSession(invoke, print), read_only.Asked(observation.asked))
    observer.observe(host, {"folder": str(folder), "parameters": {}, "name": "ca1"}, observation)
    return observation


def test_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observer, "PAGE", 2)
    ders = [certificate(SID), certificate(), b"nonsense", certificate(SID, uri=OTHER_SID), certificate(SID)]
    rows = [
        {"RequestID": 3 * place, "Request.RequesterName": "CORP\\alice", "RawCertificate": base64.encodebytes(der).decode()}
        for place, der in enumerate(ders, 1)
    ]
    asked = []

    def invoke(_name: str, arguments: Mapping[str, Any]) -> Any:
        wanted = arguments["parameters"]
        asked.append(wanted["After"])
        page = [row for row in rows if row["RequestID"] > wanted["After"]][: wanted["Count"]]
        return {"result": {"running": True, "rows": page, "more": len(page) == wanted["Count"]}}

    observation = look(invoke, tmp_path)
    assert asked == [0, 6, 12]
    assert observation.asked == {"winrm adcs_issued": 3}
    assert observation.facts["issued"] == {"certificates": 5}
    counts = {result.control.id: result.counts for result in observation.results(CONTROLS)}
    assert counts["issued-certificate-binding"] == {"pass": 3, "fail": 1, "unknown": 1, "waived": 0}
    assert counts["issued-certificate-sid"] == {"pass": 2, "fail": 1, "unknown": 1, "waived": 0}
    assert (tmp_path / observation.annexes["issued-certificate-sid"]).read_text().count("\n") == 2


def test_database_that_is_not_shown(tmp_path: Path) -> None:
    denied = {"failed": True, "error": [{"exception": {"message": "CCertView::OpenConnection: Access is denied. 0x80070005"}}]}
    observation = look(lambda *_arguments: denied, tmp_path)
    assert "the right Read" in observation.facts["issued"]["unread"]["right"]
    results = observation.results(CONTROLS)
    assert {result.status for result in results} == {"unknown"} and len(results) == len(CONTROLS)


def test_stopped_service(tmp_path: Path) -> None:
    observation = look(lambda *_arguments: {"result": {"running": False, "rows": [], "more": False}}, tmp_path)
    assert "CertSvc does not run" in observation.facts["issued"]["unread"]["reason"]


def test_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script by name and text, bound and answered by the lab's stand-in."""
    stand_in = StandIn(tmp_path / "host")
    monkeypatch.setattr(observer, "PAGE", 2)
    for _each in range(3):
        stand_in.issue()
    observation = look(stand_in.invoke, tmp_path / "run")
    assert observation.facts["issued"] == {"certificates": 3}
    counts = {result.control.id: result.counts for result in observation.results(CONTROLS)}
    assert counts["issued-certificate-strength"]["pass"] == 3
    stand_in.caller = "alice"
    assert "unread" in look(stand_in.invoke, tmp_path / "denied").facts["issued"]
