# SPDX-License-Identifier: GPL-3.0-or-later
"""Drift: what the callback notes, how it is judged, and a child run that hands on what it was given and changes nothing."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.certlogon.core.plugins.module_utils.compliance.catalogue import load
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judges import drift as judges
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judging import judge
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts, Target, Unread
from ansible_collections.certlogon.core.plugins.plugin_utils.drift import LONGEST, Noted, findings
from ansible_collections.certlogon.core.plugins.plugin_utils.site_check import SiteCheck, arguments

CHECKOUT = Path(__file__).resolve().parents[3]
NOTED = Noted("corp.example", "Roll out", "certlogon.core.smart_card_policy", "Set the policies", "certlogon.core.group_policies")
NOW = datetime.datetime(2026, 11, 23, tzinfo=datetime.timezone.utc)


# ---- the callback's notes


@pytest.mark.parametrize(
    ("result", "objects"),
    [
        ({"changed": False}, []),
        ({"changed": False, "diff": {"before": "a", "after": "a"}}, []),
        ({"changed": True, "diff": [{"after_header": "Policy", "before": {"a": 1}, "after": {"a": 2}}]}, ["Policy"]),
        ({"changed": True, "diff": {"before": "", "after": "x"}}, ["Set the policies"]),
        ({"changed": True, "diff": {"before": {}, "after": {"p": 1}}, "_ansible_item_label": "second"}, ["second"]),
        (
            {"changed": True, "diff": [{"before": 1, "after": 2}, {"before_header": "Gone", "before": "x", "after": ""}]},
            ["Set the policies", "Gone"],
        ),
        ({"changed": True, "diff": [{"prepared": "- old\n+ new"}]}, ["Set the policies"]),
        ({"changed": True}, ["Set the policies"]),
        ({"failed": True, "msg": "no"}, []),
        ({"failed": True, "changed": True, "diff": [{"after_header": "A", "before": "", "after": "x"}]}, ["A"]),
    ],
)
def test_notes(result, objects):
    assert [found["object"] for found in findings(NOTED, result)] == objects


def test_notes_keep_secrets_and_stay_short():
    [hidden] = findings(NOTED, {"changed": True, "censored": "the output has been hidden"})
    assert "secret" in hidden["note"] and hidden["before"] == hidden["after"] == ""
    [long] = findings(NOTED, {"changed": True, "diff": {"before": "", "after": "x" * 10 * LONGEST}})
    assert len(long["after"]) < LONGEST + 50


# ---- the judge


def judged(**facts):
    [control] = load().of("drift")
    [result] = judge([control], Facts(Target("drift", "certlogon.core.site"), facts, NOW), {})
    return result


def noted(before, after, note="", role="certlogon.core.smart_card_policy"):
    return {
        "host": "h",
        "play": "",
        "role": role,
        "task": "T",
        "action": "a",
        "object": "O",
        "before": before,
        "after": after,
        "note": note,
    }


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (noted({}, {"a": 1}), "h, T: O would be made"),
        (noted({"a": 1}, {}), "h, T: O would be removed"),
        (noted({"a": 1, "b": 2}, {"a": 3, "b": 2}), "h, T: O would change: a from 1 to 3"),
        (
            noted(dict.fromkeys("abcd", 1), dict.fromkeys("abcd", 2)),
            "h, T: O would change: a from 1 to 2, b from 1 to 2, c from 1 to 2 and more",
        ),
        (noted("x", "y"), "h, T: O would change"),
        (noted("", "", "the task keeps its difference secret"), "h, T: O would change (the task keeps its difference secret)"),
    ],
)
def test_what_would_change_fails(found, message):
    result = judged(findings=[found], failures=[], judged=3)
    [verdict] = result.verdicts
    assert (result.status, verdict.message) == ("fail", message)
    assert verdict.evidence["before"] == found["before"] and verdict.evidence["after"] == found["after"]
    assert verdict.variables == judges.VARIABLES["smart_card_policy"]


def test_nothing_to_change_passes():
    assert judged(findings=[], failures=[], judged=7).status == "pass"


def test_who_could_not_be_asked_is_unknown():
    result = judged(findings=[], failures=[{"host": "ca1", "task": "Read", "status": "unreachable", "message": "no route"}], judged=7)
    assert (result.status, result.counts["pass"]) == ("unknown", 0) and "no route" in result.verdicts[0].message


def test_a_run_that_could_not_be_made_is_unknown():
    lost = Unread("it ended with 1").words()
    assert judged(findings=lost, failures=lost, judged=lost).status == "unknown"


def test_no_task_is_not_applicable():
    assert judged(findings=[], failures=[], judged=0).status == "not_applicable"


def test_the_variables_named_exist():
    for role, variables in judges.VARIABLES.items():
        specs = yaml.safe_load((CHECKOUT / "roles" / role / "meta/argument_specs.yml").read_text())["argument_specs"]
        known = {name for entry in specs.values() for name in entry.get("options", {})}
        assert set(variables) <= known, role


# ---- the child


def test_options_of_the_run_are_handed_on(tmp_path):
    given = {
        "inventory": ("/i/hosts.yml", "b,"),
        "subset": "domains",
        "vault_ids": ("prod@/v/file", "@prompt"),
        "vault_password_files": ("/v/other",),
        "forks": 7,
        "private_key_file": "/k",
        "extra_vars": ("@/vars.yml", "a=1 b='x y'", '{"secret": "s3cret"}'),
        "verbosity": 3,
    }
    found = arguments(given, tmp_path)
    assert found[:10] == [
        "-i",
        "/i/hosts.yml",
        "-i",
        "b,",
        "--limit",
        "domains",
        "--vault-password-file",
        "/v/other",
        "--vault-id",
        "prod@/v/file",
    ]
    assert found[10:14] == ["--forks", "7", "--private-key", "/k"]
    assert found[14:16] == ["-e", "@/vars.yml"] and "s3cret" not in " ".join(found)
    assert json.loads(Path(found[17][1:]).read_text()) == {"a": "1", "b": "x y"}
    assert Path(found[19][1:]).stat().st_mode & 0o077 == 0


SITE = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Keep a file
      ansible.builtin.copy: {dest: "{{ target }}", content: "wanted\\n", mode: "0600"}
    - name: Refuse
      ansible.builtin.fail: {msg: this one is broken}
      when: inventory_hostname == 'broken'
"""


@pytest.fixture(scope="module")
def observed(tmp_path_factory):
    """A playbook that runs compliance_drift over another one."""
    folder = tmp_path_factory.mktemp("drift")
    (folder / "site.yml").write_text(SITE)
    (folder / "hosts.ini").write_text(
        f"[all:vars]\nansible_connection=local\nansible_python_interpreter={sys.executable}\n[some]\ngood\nbroken\n"
    )
    task = {"folder": str(folder / "seen"), "playbook": str(folder / "site.yml"), "timeout": 60}
    lost = {"folder": str(folder / "lost"), "playbook": str(folder / "absent.yml"), "timeout": 60}
    tasks = [{"certlogon.core.compliance_drift": task}, {"certlogon.core.compliance_drift": lost}]
    (folder / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    command = [sys.executable, "-m", "ansible", "playbook", "-i", "hosts.ini", "-e", f"target={folder}/file", "play.yml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def seen(path):
    [file] = path.glob("drift-*.json")
    return json.loads(file.read_text())


def test_a_child_tells_what_would_change_and_changes_nothing(observed):
    document = seen(observed / "seen")
    assert not (observed / "file").exists()
    found = document["facts"]["findings"]
    assert sorted((entry["host"], entry["object"]) for entry in found) == [(host, f"{observed}/file") for host in ("broken", "good")]
    assert found[0]["after"] == "wanted\n"
    assert [(entry["host"], entry["status"]) for entry in document["facts"]["failures"]] == [("broken", "failed")]
    assert (observed / "seen/drift.log").stat().st_mode & 0o077 == 0


def test_a_child_that_cannot_run_leaves_unknown(observed):
    document = seen(observed / "lost")
    assert "could not be run (exit code 1)" in document["error"] and "absent.yml" in document["error"]
    assert document["facts"]["findings"]["unread"]["reason"] == document["error"]


def test_bad_options_are_refused_before_anything_runs():
    for params, message in (({"playbook": "--list", "timeout": 5}, "no playbook"), ({"playbook": "p", "timeout": 0}, "no time")):
        with pytest.raises(Exception, match=message):
            SiteCheck().check(params)
