# SPDX-License-Identifier: GPL-3.0-or-later
"""From a run's folder to its reports, as the action does it."""

from __future__ import annotations

import csv
import json
import stat
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader

from ansible_collections.certlogon.core.plugins.action import compliance_report as compliance_action
from ansible_collections.certlogon.core.plugins.module_utils.compliance import observation as observations
from ansible_collections.certlogon.core.plugins.module_utils.compliance import reporting
from ansible_collections.certlogon.core.plugins.module_utils.compliance.audit import Expected
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judging import Stream
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts, Target
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.plugin_utils import compliance_report

CORP = Target("domain", "corp.example")
RUN = {"title": "night", "certlogon": "0.5.0", "ansible_core": "2.19.0", "python": "3.11.7", "stand_ins": []}
SETTING = {"run": RUN, "fail_on": "high", "locate": lambda target, subject, variables: None}
ALL = ["json", "html", "junit", "sarif", "csv"]


@pytest.fixture
def params(tmp_path, catalogue, monkeypatch):
    monkeypatch.setattr(reporting, "load", lambda: catalogue)
    return {
        **{name: line.get("default") for name, line in reporting.ARGUMENTS.items()},
        "folder": str(tmp_path / "run"),
        "outputs": [],
    }


def look(folder, accounts=()):
    """A domain with one good root, one bad one, and accounts with their annex."""
    inside = folder / reporting.OBSERVATIONS
    observation = Observation(CORP, "2026-11-22T02:00:00+00:00", account="CORP\\auditor")
    for name, value in {"roots": [("root A", "pass"), ("root B", "fail")], "templates": [], "policies": []}.items():
        observation.set(name, value)
    lines = []
    stream = Stream(
        reporting.load().of("domain", "account"),
        Facts(CORP, {}, None),
        {},
        lambda control, verdict: lines.append(json.dumps({"control": control.id, **asdict(verdict)})),
    )
    for account in accounts:
        stream.feed(account)
    observation.take(stream.results)
    if lines:
        (inside / "accounts.jsonl").write_text("\n".join(lines) + "\n")
        observation.annexes["fake-accounts"] = "accounts.jsonl"
    observations.save(inside, observation)


def report(params, tmp_path, accounts=(), warn=pytest.fail, **more):
    params = {**params, **more}
    folder = tmp_path / "run"
    wishes = reporting.examine(params, warn)
    reporting.prepare(folder)
    look(folder, accounts)
    return reporting.write(folder, wishes, [Expected(CORP)], SETTING, warn)


def test_targets_whose_names_files_do_not_have(tmp_path: Path) -> None:
    """CAs are called as people call them: each has a file of its own."""
    names = ("Büro CA", "Bäro CA", "Buro CA", "büro ca")
    paths = [observations.save(tmp_path, Observation(Target("certification_authority", name), "")) for name in names]
    assert [observations.load(path).target.name for path in paths] == list(names)
    assert all(path.name.isascii() and " " not in path.name for path in paths)
    assert observations.file_name(Target("ocserv", "gw1.corp.example")) == "ocserv-gw1.corp.example.json"


def test_all_outputs(params, tmp_path):
    written = report(params, tmp_path, outputs=ALL)
    assert {name: path.name for name, path in written.outputs.items()} == {
        "json": "report.json",
        "html": "report.html",
        "junit": "junit.xml",
        "sarif": "report.sarif",
        "csv": "findings.csv",
    }
    for path in written.outputs.values():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert "root B" in path.read_text()
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    assert json.loads(written.outputs["json"].read_text()) == json.loads(json.dumps(written.report))


def test_outputs_of_a_run_before_are_removed_and_it_is_the_baseline(params, tmp_path):
    report(params, tmp_path, outputs=ALL)
    second = report(params, tmp_path, outputs=["json"])
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["observations", "report.json"]
    assert second.report["run"]["baseline"]["path"].endswith("run/report.json")
    assert (second.report["summary"]["new"], second.report["summary"]["still"]) == (0, 1)


def test_findings_by_account_are_in_the_csv_whole(params, tmp_path):
    accounts = [(f"user {number}", "fail") for number in range(50)]
    path = tmp_path / "waivers.yml"
    path.write_text("waivers: [{control: fake-accounts, subject: 'user 4?', owner: hr, reason: leavers, expires: 2099-01-01}]")
    written = report(params, tmp_path, accounts, waivers=str(path))
    with written.outputs["csv"].open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["control"] == "fake-accounts"]
    assert len(rows) == 50
    assert sum(row["waived_by"] == "hr" for row in rows) == 10
    result = next(c for c in written.report["controls"] if c["id"] == "fake-accounts")["results"][0]
    assert (result["listed"], result["annex"]) == (20, "findings.csv")


def test_pseudonyms_are_beside(params, tmp_path):
    accounts = [(f"user {number}", "fail") for number in range(50)]
    written = report(params, tmp_path, accounts, outputs=ALL, pseudonyms=True, pseudonym_key="0123456789abcdef")
    hidden = json.loads(written.outputs["pseudonyms/json"].read_text())
    assert hidden["run"]["pseudonyms"]
    for name in ALL:
        text = written.outputs[f"pseudonyms/{name}"].read_text()
        assert "corp.example" not in text and "auditor" not in text, name
        assert "corp.example" in written.outputs[name].read_text() or name == "csv"
    with pytest.raises(UserError, match="has pseudonyms"):
        reporting.examine({**params, "baseline": str(written.outputs["pseudonyms/json"])}, pytest.fail)


def test_who_did_not_answer_is_noted_with_the_reason(params, tmp_path):
    wishes = reporting.examine(params, pytest.fail)
    folder = tmp_path / "run"
    reporting.prepare(folder)
    reporting.unanswered(folder, CORP, "")
    reporting.unanswered(folder, CORP, "Task failed: Action failed: no domain\n  controller")
    written = reporting.write(folder, wishes, [Expected(Target("domain", "branch.example"))], SETTING, pytest.fail)
    assert {target["name"]: target["error"] for target in written.report["targets"]} == {
        "corp.example": "no domain controller",
        "branch.example": "it was to be looked at, and left no observation",
    }
    assert written.report["summary"]["verdict"] == "unknown"


def test_what_a_run_before_has_seen_is_not_seen_again(params, tmp_path):
    report(params, tmp_path, [("user", "fail")])
    reporting.prepare(tmp_path / "run")
    assert [path.name for path in (tmp_path / "run/observations").iterdir()] == ["started"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"parameters": {"fake-root": {"a": 1}}}, "no control 'fake-root'; is fake-roots"),
        ({"parameters": {"zzz": {"a": 1}}}, "no control 'zzz'; docs/compliance.md lists all"),
        ({"parameters": {"fake-roots": 1}}, "fake-roots: a mapping of its figures is wanted: none"),
        ({"parameters": {"fake-roots": {"days": 1}}}, "fake-roots has no days; it has none"),
        ({"waivers": "/nowhere/w.yml"}, "waivers: /nowhere/w.yml cannot be read"),
        ({"pseudonym_key": "short"}, "pseudonym_key: it has 5 bytes"),
        ({"targets": {"house": ["a"]}}, "targets: 'house' is none of"),
        ({"targets": {"domain": "a"}}, "targets: 'domain' is none of"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_looked_at(params, more, message):
    with pytest.raises(UserError, match=message):
        reporting.examine({**params, **more}, pytest.fail)


def test_all_that_is_wrong_is_told_at_once(params, tmp_path):
    (tmp_path / "b.json").write_text("{}")
    wrong = {"parameters": {"x": {}}, "waivers": "/nowhere", "baseline": str(tmp_path / "b.json"), "pseudonym_key": "short"}
    with pytest.raises(UserError) as error:
        reporting.examine({**params, **wrong}, pytest.fail)
    assert len(str(error.value).splitlines()) == 4


def test_baselines_that_are_not_there_or_not_ours_are_told_and_not_used(params, tmp_path):
    told = []
    assert reporting.examine({**params, "baseline": "/nowhere.json"}, told.append).baseline is None
    (tmp_path / "run").mkdir()
    (tmp_path / "run/report.json").write_text("{}")
    assert reporting.examine(params, told.append).baseline is None
    assert ["/nowhere.json is not there" in told[0], "nothing is compared" in told[1]] == [True, True]


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"folder: .*name a folder that this account may write to"):
        reporting.prepare(tmp_path / "file/run")


def test_observations_of_another_version_are_told(params, tmp_path):
    told = []
    folder = tmp_path / "run"
    wishes = reporting.examine(params, told.append)
    reporting.prepare(folder)
    (folder / "observations/domain-old.json").write_text('{"format": 0}')
    reporting.write(folder, wishes, [], SETTING, told.append)
    assert "another format; look again with this version" in told[0]


@pytest.mark.parametrize(
    ("fail_on", "unknown_is", "failed"), [("high", "tolerated", True), ("never", "tolerated", False), ("never", "failure", False)]
)
def test_the_task_fails_by_threshold(params, tmp_path, fail_on, unknown_is, failed):
    report(params, tmp_path)
    inventory = compliance_report.Inventory({})
    result, made = compliance_report.run({**params, "fail_on": fail_on, "unknown_is": unknown_is}, inventory, pytest.fail)
    assert bool(result.get("failed")) == failed
    assert made is not None
    if failed:
        assert result["msg"].startswith("Compliance fails: 1 critical failure: fake-roots (corp.example). All of it: ")


def test_unknown_fails_only_where_it_is_said(params, tmp_path):
    inventory = compliance_report.Inventory({})
    compliance_report.run({**params, "state": "prepared"}, inventory, pytest.fail)
    target = {"kind": "domain", "name": "corp.example", "error": "down"}
    compliance_report.run({**params, "state": "unanswered", "target": target}, inventory, pytest.fail)
    tolerated, _report = compliance_report.run(params, inventory, pytest.fail)
    assert (tolerated["verdict"], tolerated.get("failed")) == ("unknown", None)
    strict, _report = compliance_report.run({**params, "unknown_is": "failure"}, inventory, pytest.fail)
    assert strict["failed"]
    assert strict["msg"].startswith("Compliance cannot be judged: ")


def test_the_version_is_the_collections_own():
    assert compliance_report.version()[0].isdigit()


# ---- the action


def action(args, monkeypatch, **variables):
    """The action on a task, as far as it looks at one; its result."""
    monkeypatch.setattr(compliance_action.ActionBase, "run", lambda self, tmp, task_vars: {})
    made = compliance_action.ActionModule.__new__(compliance_action.ActionModule)
    made._task = SimpleNamespace(args=args, action="certlogon.core.compliance_report")
    return made.run(task_vars=variables)


def test_the_action_shows_the_summary(params, tmp_path, monkeypatch, capsys):
    report(params, tmp_path)
    result = action({"folder": params["folder"], "color": False, "title": "night"}, monkeypatch)
    shown = capsys.readouterr().out
    assert "night\n" in shown
    assert "critical  fake-roots" in shown
    assert result["failed"]
    assert result["outputs"]["json"].endswith("report.json")


def test_the_action_says_what_is_wrong_and_keeps_the_secret(params, monkeypatch):
    assert "value of fail_on must be one of" in action({"folder": "/x", "fail_on": "some"}, monkeypatch)["msg"]
    assert "missing: target" in action({"folder": "/x", "state": "unanswered"}, monkeypatch)["msg"]
    failed = action({"folder": "/x", "state": "prepared", "pseudonym_key": "short one", "waivers": "/short one"}, monkeypatch)
    assert failed["failed"]
    assert "short one" not in failed["msg"]


def test_findings_point_into_the_inventory(tmp_path):
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "hosts.yml").write_text(
        "domains:\n  hosts:\n    corp.example:\nvpn:\n  children:\n    gateways:\n      hosts:\n        gw1:\n"
    )
    (tmp_path / "group_vars/domains.yml").write_text("---\n\ncertlogon_trusted_certificates: []\n")
    (tmp_path / "group_vars/vpn.yml").write_text("vpn_size: 1\n")
    (tmp_path / "group_vars/gateways.yml").write_text("\nvpn_size: 2\n")
    manager = InventoryManager(DataLoader(), [str(tmp_path / "hosts.yml")])
    hosts = SimpleNamespace(_inventory=manager)
    inventory = compliance_report.Inventory({"ansible_inventory_sources": [str(tmp_path / "hosts.yml")], "hostvars": hosts})
    assert inventory.root == tmp_path.resolve()
    certificates = ["certlogon_trusted_certificates"]
    assert inventory.locate(CORP, "root A", certificates) == {"file": "group_vars/domains.yml", "line": 3}
    # children override their parents
    assert inventory.locate(Target("ocserv", "gw1"), "x", ["vpn_size"]) == {"file": "group_vars/gateways.yml", "line": 2}
    assert inventory.locate(Target("drift", "site"), "gw1: size", ["vpn_size"]) == {"file": "group_vars/gateways.yml", "line": 2}
    # what is found beside hosts is mended in the groups that there may be
    assert inventory.locate(Target("crls", "crls"), "http://x", certificates) == {"file": "group_vars/domains.yml", "line": 3}
    assert inventory.locate(Target("ocserv", "gw1"), "x", ["nothing"]) == {"file": "hosts.yml", "line": 8}
    assert compliance_report.Inventory({"ansible_inventory_sources": ["gw1,"]}).locate(CORP, "x", certificates) is None
