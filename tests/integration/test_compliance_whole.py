# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole of certlogon.core.compliance on the whole lab: a good one has no failure, a bad one has those of compliance_faults and
what they imply, and certlogon.core.site mends what it is said to.

The tests of this file are one story on one lab with a CA host and VPN gateways, in order.
"""

from __future__ import annotations

import datetime
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.certlogon.core.plugins.module_utils.compliance.catalogue import load
from ansible_collections.certlogon.core.plugins.module_utils.compliance.read_only import ALLOWED
from ansible_collections.certlogon.core.tests.integration.compliance_faults import ALICE, ELSEWHERE, FAULTS, Spoiler
from ansible_collections.certlogon.core.tests.integration.left_alone import Asked, written
from lab import bench
from lab.errors import LabError

INVENTORY = Path(__file__).resolve().parents[2] / "inventories/lab"
CASES = Path(__file__).resolve().parents[1] / "unit/compliance"
LOST = "gw9.corp.example"
NOT_KNOWN = {
    "authority-backup": "Windows keeps no record of backups, and the lab's inventory names no folder of them",
    "dc-esc10-binding": "Samba has no setting for strong mappings",
}
"""All that a good lab leaves unknown."""
EXACTLY = {
    "certlogon_publish_exactly": True,
    "certlogon_exact_stores": ["ntauth", "root"],
    "certlogon_authority_exact": True,
    "certlogon_authority_permissions": [
        {"principal": "Administrators", "rights": ["manage_ca", "manage_certificates"]},
        {"principal": "Authenticated Users", "rights": ["enroll"]},
    ],
}
"""What the remedies name for those who want nothing but what their inventory says."""


ONLY_OURS = {("ESC4", "CorpDomainController")}
"""All properties may be written there, but no extended right goes with it; Certipy wants both."""


@pytest.fixture(scope="module")
def certipy() -> Iterator[Future[Path]]:
    """Its environment, installed while the rest runs."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(bench.certipy)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    made: Path = tmp_path_factory.mktemp("compliance")
    return made


@pytest.fixture
def look(ca_lab: Any, vpn_lab: Any, playbook: Callable[..., Any], folder: Path) -> Callable[..., Any]:
    """`look(waivers=[...])`: the playbook once more in the same folder, and its report."""

    def call(waivers: list[dict[str, Any]] | None = None, **keywords: Any) -> tuple[Any, dict[str, Any]]:
        accepted = waiver("ocserv-purposes", "*", "The lab has one CA for everything.", 30)
        (folder / "waivers.yml").write_text(yaml.safe_dump({"waivers": [accepted, *(waivers or [])]}))
        variables = {
            "certlogon_compliance_folder": str(folder),
            "certlogon_compliance_waivers": str(folder / "waivers.yml"),
            "certlogon_compliance_drift": False,  # a second run of site is what test_site_with_ca.py has
            "certlogon_compliance_unprivileged": ["CORP\\Smart Card Users"],
        }
        variables |= keywords.pop("variables", {})
        run = playbook("certlogon.core.compliance", inventory=INVENTORY, timeout=600, variables=variables, **keywords)
        return run, json.loads((folder / "report.json").read_text())

    return call


def waiver(control: str, subject: str, reason: str, days: int) -> dict[str, Any]:
    expires = f"{datetime.date.today() + datetime.timedelta(days):%Y-%m-%d}"
    return {"control": control, "subject": subject, "owner": "lab", "reason": reason, "expires": expires}


def found(report: dict[str, Any], status: str) -> dict[tuple[str, str], dict[str, Any]]:
    """(control, subject) -> finding, without those of the host that is not there; digests differ from lab to lab."""
    return {
        (control["id"], subject(control["id"], finding["subject"])): finding
        for control in report["controls"]
        for result in control["results"]
        for finding in result["findings"]
        if finding["status"] == status and result["target"]["name"] != LOST
    }


def subject(control: str, text: str) -> str:
    """Of two accounts with one mapping, it is found at whichever is read later."""
    shown = re.sub(r"\b[0-9a-f]{16,}\b", "*", text)
    return shown.partition(": ")[2] if control == "account-mapping-shared" else shown


def controls(report: dict[str, Any], status: str) -> set[str]:
    return {name for name, _subject in found(report, status)}


def test_every_control_has_its_row() -> None:
    """It is broken here, or the table says why not and the unit tests have a case in which it fails."""
    here = {fault.control for fault in FAULTS} | {control for fault in FAULTS for control, _subject in fault.implies}
    elsewhere = [control for several in ELSEWHERE.values() for control in several]
    assert here | set(elsewhere) == {control.id for control in load().controls}
    assert len(elsewhere) == len(set(elsewhere)) and not here & set(elsewhere)
    tables = "".join(file.read_text() for file in CASES.glob("test_*.py"))
    assert [name for name in elsewhere if f'"{name}"' not in tables] == ["drift-none"], "test_drift.py calls its judge"


def test_a_good_lab_has_no_failure(ca_lab: Any, look: Callable[..., Any], playbook: Callable[..., Any], certipy: Future[Path]) -> None:
    playbook("certlogon.core.site", inventory=INVENTORY, timeout=600)  # whatever other tests have left
    before, asked = written(ca_lab), Asked(ca_lab)
    run, report = look()
    assert written(ca_lab) == before
    assert found(report, "fail") == {}
    assert {name: NOT_KNOWN[name] for name in controls(report, "unknown")} == NOT_KNOWN
    assert controls(report, "waived") == {"ocserv-purposes"}
    assert run.changed == [] and run.code == 0
    assert all(target["answered"] for target in report["targets"])
    assert len({target["kind"] for target in report["targets"]}) >= 7
    verbs = {line for target in report["targets"] for line in target["asked"]}
    assert verbs and all(verb in ALLOWED[protocol] for protocol, _space, verb in (line.partition(" ") for line in verbs))
    # and the stand-ins say the same of what they were asked
    assert {line.partition(" ")[0] for line in asked.appliance() if "realm_auth" not in line} == {"GET"}
    assert asked.scripts() == {line.removeprefix("winrm ") for line in verbs if line.startswith("winrm ")}


def test_a_bad_lab_has_what_was_broken(ca_lab: Any, look: Callable[..., Any], run_resource: Callable[..., Any], tmp_path: Path) -> None:
    """Those, what they imply, and nothing else; a gateway that is not there and a waiver that has ended stop nothing."""
    Spoiler(ca_lab, run_resource).spoil()
    lost = {"vpn_gateways": {"hosts": {LOST: {"ansible_host": "127.0.0.9", "ansible_port": 9, "ansible_connection": "ssh"}}}}
    (tmp_path / "lost.yml").write_text(json.dumps(lost))
    waivers = [waiver("policy-passwords", "*", "It is old.", -1), waiver("ca-computer-esc5", "nobody", "It is mistyped.", 9)]
    run, report = look(waivers, fails=True, arguments=["-i", str(tmp_path / "lost.yml")])
    seen = found(report, "fail")
    wanted = {pair for fault in FAULTS for pair in ((fault.control, fault.subject), *fault.implies)}
    assert sorted(seen.keys() - wanted) == [] and sorted(wanted - seen.keys()) == []
    told = {
        (one["control"], one["subject"]): one["message"] for one in ({"control": key[0], "subject": key[1], **seen[key]} for key in seen)
    }
    silent = [fault.control for fault in FAULTS if fault.says not in seen[fault.control, fault.subject]["message"]]
    assert silent == [], told
    assert all(finding["evidence"] or name.startswith("waiver-") for (name, _subject), finding in seen.items())
    assert controls(report, "unknown") == NOT_KNOWN.keys() | {"account-certificate-binding"}, "one of its certificates cannot be read"
    # every failure is new since the run before, and says so
    assert {finding["change"] for finding in seen.values()} == {"new"} and report["summary"]["still"] == 0
    assert {name: target["answered"] for name, target in targets(report).items() if not target["answered"]} == {LOST: False}
    lost_results = [result["status"] for control in report["controls"] for result in control["results"] if result["target"]["name"] == LOST]
    assert set(lost_results) == {"unknown"} and len(lost_results) >= 20
    assert run.code == 2 and report["summary"]["verdict"] == "fail" and "Compliance fails" in run.output


def test_another_auditor_agrees(ca_lab: Any, folder: Path, certipy: Future[Path]) -> None:
    """Certipy, as a user who is what the faults are open to; docs/compliance.md explains what only one of both sees."""
    try:
        interpreter = certipy.result()
    except LabError as error:
        pytest.skip(f"Certipy cannot be installed here: {error}")
    who, dc = ca_lab.account(ALICE), ca_lab.status["hosts"]["dc1"]
    command = [str(interpreter), "-c", "from certipy.entry import main; main()", "find", "-u", who["upn"], "-p", who["password"]]
    command += ["-dc-ip", dc["address"], "-target", dc["fqdn"], "-ldap-scheme", "ldaps", "-ldap-simple-auth", "-dc-only", "-json"]
    done = subprocess.run([*command, "-output", str(folder / "other")], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    templates = json.loads((folder / "other_Certipy.json").read_text())["Certificate Templates"].values()
    theirs = {(name, one["Template Name"]) for one in templates for name in one.get("[!] Vulnerabilities") or ()}
    report = json.loads((folder / "report.json").read_text())
    ours = {
        (control.removeprefix("template-").upper(), name.removeprefix("template "))
        for control, name in found(report, "fail")
        if re.fullmatch(r"template-esc\d+", control)
    }
    assert sorted(theirs - ours) == []
    assert ours - theirs == ONLY_OURS
    assert len(ours & theirs) >= 6


def targets(report: dict[str, Any]) -> dict[str, Any]:
    return {target["name"]: target for target in report["targets"]}


def test_site_and_a_person_mend_it(
    ca_lab: Any, look: Callable[..., Any], playbook: Callable[..., Any], run_resource: Callable[..., Any]
) -> None:
    """What remains after site is what the table leaves to a person; the report says what has gone; and then there is nothing left."""
    playbook("certlogon.core.site", inventory=INVENTORY, timeout=600, variables=EXACTLY)
    _run, report = look(fails=True)
    left = {pair for fault in FAULTS if not fault.mended for pair in ((fault.control, fault.subject), *fault.implies)}
    remains = {pair for fault in FAULTS for pair in fault.remains}
    seen = found(report, "fail")
    assert sorted(seen.keys() ^ (left | remains)) == []
    assert {pair for pair, finding in seen.items() if finding["change"] == "still"} == left
    mended = {fault.control for fault in FAULTS if fault.mended}
    assert mended - {"waiver-expired", "waiver-unused"} <= {one["control"] for one in report["gone"]} | {
        control for control, _subject in left
    }
    Spoiler(ca_lab, run_resource).mend_by_hand()
    run, report = look(variables={"certlogon_compliance_fail_on": "info"})
    assert found(report, "fail") == {} and controls(report, "unknown") == NOT_KNOWN.keys()
    gone = {(one["control"], subject(one["control"], one["subject"])) for one in report["gone"]}
    assert gone == left | remains and run.changed == []
