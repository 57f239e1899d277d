# SPDX-License-Identifier: GPL-3.0-or-later
"""From observations to a report: judged, waived, compared, counted."""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.compliance import baseline as baselines
from ansible_collections.certlogon.core.plugins.module_utils.compliance import waivers as waiver_files
from ansible_collections.certlogon.core.plugins.module_utils.compliance.audit import Expected, Setting, audit, fails
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judging import Stream
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts, Target, Unread, Verdict
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation

NOW = datetime.datetime(2026, 11, 22, 3, 0, tzinfo=datetime.timezone.utc)
RUN = {"title": "night", "certlogon": "0.5.0", "ansible_core": "2.19.0", "python": "3.11.7", "stand_ins": []}
CORP, BRANCH = Target("domain", "corp.example"), Target("domain", "branch.example")
GOOD = {"roots": [("root A", "pass")], "templates": [("template A", "pass")], "policies": [], "account": None}


def seen(target=CORP, **facts):
    observation = Observation(target, "2026-11-22T02:59:00Z", "2026-11-22T02:59:30Z", account="auditor", servers=["dc1"])
    for name, value in {**GOOD, **facts}.items():
        observation.set(name, value)
    return observation


def waivers(text, catalogue):
    return waiver_files.Waivers("w.yml", "0" * 64, waiver_files.parse(text.encode(), "w.yml", {c.id for c in catalogue.controls}), "w.yml")


def results(report, control):
    return {result["target"]["name"]: result for found in report["controls"] if found["id"] == control for result in found["results"]}


def run(catalogue, *observations, expected=(), **setting):
    return audit(catalogue, observations, expected, Setting(RUN, NOW, **setting))


def as_baseline(report):
    return baselines.parse(json.loads(json.dumps(report)), "last.json")


def test_statuses(catalogue):
    report = run(
        catalogue,
        seen(
            roots=[("root A", "pass"), ("root B", "fail"), ("root C", "unknown")],
            templates=Unread("the account may not read them", "Read on Certificate Templates"),
        ),
    )
    roots, templates, policies = (results(report, f"fake-{name}")["corp.example"] for name in ("roots", "templates", "policies"))
    assert (roots["status"], roots["counts"], roots["passes"]) == ("fail", {"pass": 1, "fail": 1, "unknown": 1, "waived": 0}, ["root A"])
    assert [finding["status"] for finding in roots["findings"]] == ["fail", "unknown"]
    assert templates["status"] == "unknown"
    assert templates["findings"][0]["message"] == "templates: the account may not read them"
    assert templates["findings"][0]["right"] == "Read on Certificate Templates"
    assert policies["status"] == "not_applicable"
    assert report["summary"]["counts"] == {"pass": 0, "fail": 1, "unknown": 1, "not_applicable": 1, "waived": 0}
    assert report["summary"]["findings"] == {"fail": 1, "unknown": 2, "waived": 0}
    assert report["summary"]["verdict"] == "fail"
    assert report["summary"]["reasons"] == [
        "1 critical failure: fake-roots (corp.example)",
        "1 high unknown: fake-templates (corp.example)",
    ]
    assert report["summary"]["score"] == 0.0


def test_who_does_not_answer_is_unknown_and_stops_nobody(catalogue):
    report = run(catalogue, seen(), expected=[Expected(CORP), Expected(BRANCH, "timed out"), Expected(Target("domain", "third.example"))])
    assert {target["name"]: (target["answered"], target["error"]) for target in report["targets"]} == {
        "corp.example": (True, ""),
        "branch.example": (False, "timed out"),
        "third.example": (False, "it was to be looked at, and left no observation"),
    }
    found = results(report, "fake-roots")
    assert (found["corp.example"]["status"], found["branch.example"]["status"]) == ("pass", "unknown")
    assert found["branch.example"]["findings"][0]["message"] == "timed out"
    assert report["summary"]["counts"] == {"pass": 2, "fail": 0, "unknown": 8, "not_applicable": 1, "waived": 0}
    assert report["summary"]["verdict"] == "unknown"
    # 10 + 5 of three times 10 + 5, and twice 1 + 3: of corp.example there are no policies, and no accounts were asked for
    assert report["summary"]["score"] == pytest.approx(100 * 15 / 53, abs=0.1)


@pytest.mark.parametrize(
    ("fail_on", "facts", "verdict"),
    [
        ("high", {}, "pass"),
        ("high", {"policies": [("p", "fail")]}, "pass"),
        ("low", {"policies": [("p", "fail")]}, "fail"),
        ("critical", {"templates": [("t", "fail")]}, "pass"),
        ("high", {"templates": [("t", "fail")]}, "fail"),
        ("high", {"templates": [("t", "unknown")]}, "unknown"),
        ("high", {"templates": [("t", "unknown")], "roots": [("r", "fail")]}, "fail"),
        ("high", {"policies": [("p", "unknown")]}, "pass"),
        ("never", {"roots": [("r", "fail")]}, "pass"),
    ],
)
def test_threshold(catalogue, fail_on, facts, verdict):
    report = run(catalogue, seen(**facts), fail_on=fail_on)
    assert report["summary"]["verdict"] == verdict
    assert fails(report, unknown_fails=False) == (verdict == "fail")
    assert fails(report, unknown_fails=True) == (verdict != "pass")


def test_waiver_accepts_until_its_last_day(catalogue):
    text = "waivers:\n- {control: fake-roots, target: corp.*, subject: ROOT b*, owner: pki, reason: later, expires: %s}"
    facts = {"roots": [("root A", "pass"), ("root B", "fail"), ("root C", "unknown")]}
    today, yesterday = (run(catalogue, seen(**facts), waivers=waivers(text % day, catalogue)) for day in ("2026-11-22", "2026-11-21"))
    held = results(today, "fake-roots")["corp.example"]
    assert [finding["status"] for finding in held["findings"]] == ["unknown", "waived"]
    assert held["findings"][1]["waiver"] == {"owner": "pki", "reason": "later", "expires": "2026-11-22"}
    assert results(today, "waiver-expired")["w.yml"]["status"] == "pass"
    assert today["waivers"][0]["used"] == 1
    ended = results(yesterday, "fake-roots")["corp.example"]
    assert [finding["status"] for finding in ended["findings"]] == ["fail", "unknown"]
    expired = results(yesterday, "waiver-expired")["w.yml"]["findings"][0]
    assert expired["status"] == "fail"
    assert expired["message"] == "The waiver of pki ended on 2026-11-21; what it accepted counts again."
    assert expired["location"] == {"file": "w.yml", "line": 2}
    assert yesterday["waivers"][0]["expired"]


def test_ended_waiver_fails_whatever_the_threshold_is(catalogue):
    text = "waivers: [{control: fake-policies, subject: gone, owner: pki, reason: later, expires: 2020-01-01}]"
    report = run(catalogue, seen(), waivers=waivers(text, catalogue), fail_on="critical")
    assert report["summary"]["verdict"] == "fail"
    assert run(catalogue, seen(), waivers=waivers(text, catalogue), fail_on="never")["summary"]["verdict"] == "pass"


def test_waiver_that_accepts_nothing_is_told(catalogue):
    text = "waivers: [{control: fake-roots, subject: root Z, owner: pki, reason: later, expires: 2030-01-01}]"
    decided = run(catalogue, seen(), waivers=waivers(text, catalogue))
    assert results(decided, "waiver-unused")["w.yml"]["status"] == "fail"
    undecided = run(catalogue, seen(roots=Unread("denied")), waivers=waivers(text, catalogue))
    found = results(undecided, "waiver-unused")["w.yml"]
    assert found["status"] == "unknown"
    assert "fake-roots is unknown on corp.example" in found["findings"][0]["message"]


def test_what_is_unknown_cannot_be_accepted(catalogue):
    text = "waivers: [{control: fake-roots, subject: '*', owner: pki, reason: later, expires: 2030-01-01}]"
    report = run(catalogue, seen(roots=Unread("denied")), waivers=waivers(text, catalogue))
    assert results(report, "fake-roots")["corp.example"]["status"] == "unknown"


def test_baseline_tells_new_gone_and_still(catalogue):
    before = run(catalogue, seen(roots=[("root A", "fail"), ("root B", "fail")], templates=[("t", "fail")], policies=[("p", "fail")]))
    after = run(
        catalogue,
        seen(roots=[("root A", "fail"), ("root B", "pass"), ("root C", "fail")], templates=[("t", "unknown")], policies=[]),
        baseline=as_baseline(before),
    )
    assert {f["subject"]: f["change"] for f in results(after, "fake-roots")["corp.example"]["findings"]} == {
        "root A": "still",
        "root C": "new",
    }
    # of the template nothing is known: it is not gone
    assert [(entry["control"], entry["subject"]) for entry in after["gone"]] == [("fake-roots", "root B"), ("fake-policies", "p")]
    assert [after["summary"][word] for word in ("new", "gone", "still")] == [1, 2, 1]


def test_new_findings_come_first_and_without_baseline_nothing_is_new(catalogue):
    before = run(catalogue, seen(roots=[("root B", "fail")]))
    assert {f["change"] for f in results(before, "fake-roots")["corp.example"]["findings"]} == {""}
    after = run(catalogue, seen(roots=[("root B", "fail"), ("root A", "fail")]), baseline=as_baseline(before))
    assert [f["subject"] for f in results(after, "fake-roots")["corp.example"]["findings"]] == ["root A", "root B"]


def streamed(catalogue, accounts):
    """An observation whose stream of accounts was judged, with what its annex has."""
    observation, annex = seen(account=len(accounts)), []
    stream = Stream(catalogue.of("domain", "account"), Facts(CORP, {}, NOW), {}, lambda control, verdict: annex.append(verdict))
    for account in accounts:
        stream.feed(account)
    observation.take(stream.results)
    observation.annexes["fake-accounts"] = "a.jsonl"
    return observation, annex


def test_stream_is_counted_waived_and_compared_whole(catalogue):
    accounts = [(f"user {number}", "fail" if number % 2 else "pass") for number in range(100)]
    observation, annex = streamed(catalogue, accounts)
    text = "waivers: [{control: fake-accounts, subject: user 9*, owner: hr, reason: leavers, expires: 2030-01-01}]"
    report = run(catalogue, observation, waivers=waivers(text, catalogue), annex=lambda name: annex)
    found = results(report, "fake-accounts")["corp.example"]
    assert found["counts"] == {"pass": 50, "fail": 44, "unknown": 0, "waived": 6}
    assert (found["status"], found["listed"], len(found["findings"]), len(found["unlisted"])) == ("fail", 20, 20, 30)
    assert found["annex"] == "findings.csv"

    fewer, annex = streamed(catalogue, [*accounts[:90], ("user 1000", "fail")])
    later = run(catalogue, fewer, annex=lambda name: annex, baseline=as_baseline(report))
    found = results(later, "fake-accounts")["corp.example"]
    assert found["findings"][0]["subject"] == "user 1000"
    assert [later["summary"][word] for word in ("new", "gone", "still")] == [1, 5, 45]
    assert results(later, "fake-roots")["corp.example"]["counts"]["pass"] == 1

    last, annex = streamed(catalogue, accounts[:10])
    assert run(catalogue, last, annex=lambda name: annex, baseline=as_baseline(later))["summary"]["gone"] == 41


def test_stream_without_its_annex_counts_all_the_same(catalogue):
    observation, _annex = streamed(catalogue, [(f"user {number}", "fail") for number in range(50)])
    observation.annexes.clear()
    found = results(run(catalogue, observation), "fake-accounts")["corp.example"]
    assert (found["counts"]["fail"], found["listed"]) == (50, 20)


def test_stream_that_could_not_be_read_is_unknown(catalogue):
    report = run(catalogue, seen(account=Unread("denied", "Read userCertificate")))
    found = results(report, "fake-accounts")["corp.example"]["findings"][0]
    assert (found["status"], found["message"], found["right"]) == ("unknown", "account: denied", "Read userCertificate")
    missing = seen()
    del missing.facts["account"]
    assert results(run(catalogue, missing), "fake-accounts")["corp.example"]["status"] == "unknown"
    assert not results(run(catalogue, seen(account=None)), "fake-accounts")


def test_judges_see_the_baseline_and_the_other_targets(catalogue, monkeypatch):
    told = []

    def judge(facts, _parameters):
        told.append((facts.previous, [other.target.name for other in facts.others("domain")]))
        return ()

    monkeypatch.setattr(type(catalogue.controls[0]), "function", property(lambda self: judge))
    before = run(catalogue, seen())
    before["crls"] = [{"url": "http://a", "number": 7, "this_update": "x", "next_update": None, "status": "good"}]
    told.clear()
    run(catalogue, seen(), seen(BRANCH), baseline=as_baseline(before))
    assert told[0] == ({"http://a": {"number": 7, "this_update": "x", "next_update": None}}, ["corp.example", "branch.example"])


def test_locations_come_from_the_inventory(catalogue):
    asked = []

    def locate(target, subject, variables):
        asked.append((target, subject, list(variables)))
        return {"file": "group_vars/all.yml", "line": 3}

    report = run(catalogue, seen(roots=[("root A", "fail")]), locate=locate)
    assert asked == [(CORP, "root A", ["certlogon_trusted_certificates"])]
    assert results(report, "fake-roots")["corp.example"]["findings"][0]["location"] == {"file": "group_vars/all.yml", "line": 3}


def test_real_reports_are_valid_by_the_schema(catalogue, schema):
    jsonschema = pytest.importorskip("jsonschema")
    text = "waivers: [{control: fake-roots, subject: [root B], owner: pki, reason: later, expires: 2026-01-01}]"
    observation, annex = streamed(catalogue, [(f"user {number}", "fail") for number in range(50)])
    observation.set("roots", [("root B", "fail"), ("root C", "unknown")])
    before = run(catalogue, seen(policies=[("p", "fail")]))
    report = run(
        catalogue,
        observation,
        expected=[Expected(BRANCH, "timed out")],
        waivers=waivers(text, catalogue),
        baseline=as_baseline(before),
        annex=lambda name: annex,
    )
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.Draft202012Validator(schema, format_checker=checker).validate(json.loads(json.dumps(report)))


def test_verdicts_survive_the_observation(catalogue):
    verdict = Verdict("s", "fail", "m", {"a": [1]}, variables=("v",))
    assert Verdict(**json.loads(json.dumps(asdict(verdict)))).evidence == {"a": [1]}
