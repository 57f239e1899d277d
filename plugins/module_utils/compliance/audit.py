# SPDX-License-Identifier: GPL-3.0-or-later
"""From what observers saw to one report: judged, waived, compared, counted (pure).

The report is a dictionary that docs/schemas/compliance-report.schema.json describes; every output is made of it alone.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.compliance import judging
from ansible_collections.certlogon.core.plugins.module_utils.compliance.baseline import REPORT, Baseline, fingerprint
from ansible_collections.certlogon.core.plugins.module_utils.compliance.catalogue import Catalogue, Control
from ansible_collections.certlogon.core.plugins.module_utils.compliance.chain import chain
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judging import LISTED
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import (
    SEVERITIES,
    STATUSES,
    Facts,
    Target,
    Unread,
    Verdict,
    unknown,
)
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation
from ansible_collections.certlogon.core.plugins.module_utils.compliance.score import score
from ansible_collections.certlogon.core.plugins.module_utils.compliance.waivers import Waiver, Waivers

NEVER = "never"
FAIL_ON = (*SEVERITIES, NEVER)
"""From which severity on a failure makes the run fail."""

PASSES = 200
"""How many subjects that passed a result names."""

_WORST_FIRST = tuple(reversed(SEVERITIES))
_SUBJECT_STATUSES = ("fail", "unknown", "waived")
_EXPIRED = "waiver-expired"
_INTERNAL = ("control", "seen", "marks", "changes")
"""Members of results that are not the report's."""
_ALWAYS = (_EXPIRED,)
"""Controls whose failures fail a run whatever the threshold."""

Words = dict[str, Any]
Parameters = Mapping[str, Mapping[str, Any]]
Locate = Callable[[Target, str, Sequence[str]], Mapping[str, Any] | None]  # pylint: disable=unsupported-binary-operation
"""File and line of the inventory where one of these variables is set, for a subject of a target."""


@dataclass(frozen=True)
class Expected:
    """A target that was to be looked at; `error` says why nothing came of it, if that is known."""

    target: Target
    error: str = ""


@dataclass(frozen=True)
class Setting:
    """What a run was asked to do with what was seen.

    `annex` gives the verdicts of the file that an observer wrote beside its observation; `annex_file` is where a report lists them.
    `run` are the report's own words on it (title, versions, started, stand_ins).
    """

    run: Mapping[str, Any]
    now: datetime.datetime
    parameters: Parameters = field(default_factory=dict)
    waivers: Waivers | None = None
    baseline: Baseline | None = None
    fail_on: str = "high"
    annex: Callable[[str], Iterable[Verdict]] = lambda name: ()
    annex_file: str = "findings.csv"
    locate: Locate = lambda target, subject, variables: None


def audit(catalogue: Catalogue, observations: Sequence[Observation], expected: Sequence[Expected], setting: Setting) -> Words:
    """The report. Targets that are expected and have no observation did not answer: all their controls are unknown, and say why."""
    observations = [*observations, *_silent(observations, expected)]
    audited = _Audit(catalogue, setting)
    results = audited.judged(observations)
    if observed := audited.of_waivers(results):
        observations.append(observed)
        results += audited.judged([observed])
    controls = [_control(control, [result for result in results if result["control"] is control]) for control in catalogue.controls]
    gone, more_gone = _gone(setting.baseline, results)
    report: Words = {
        "format": REPORT,
        "run": _run(catalogue, setting, observations),
        "targets": [_target(observation) for observation in observations],
        "summary": _summary(catalogue, results, len(gone) + more_gone, setting),
        "controls": controls,
        "gone": gone,
        "waivers": audited.waivers(),
        "certificates": _with_target(observations, "certificates"),
        "crls": _with_target(observations, "crls"),
    }
    return {**report, "chain": chain(report, _published(observations))}


def all_findings(
    catalogue: Catalogue, observations: Sequence[Observation], report: Mapping[str, Any], setting: Setting
) -> Iterator[tuple[Words, Words, Words]]:
    """(control, target, finding) of everything that did not pass, also of what the report only counts."""
    audited = _Audit(catalogue, setting)
    controls = {control.id: control for control in catalogue.controls}
    by_target = {observation.target: observation for observation in observations}
    for words in report["controls"]:
        for result in words["results"]:
            if not result["annex"]:
                yield from ((words, result["target"], finding) for finding in result["findings"])
                continue
            control, seen = controls[words["id"]], by_target[Target(**result["target"])]
            listed = [verdict for found in seen.results(controls) if found.control is control for verdict in found.verdicts]
            for verdict in audited.of_annex(seen, control, listed):
                yield words, result["target"], audited.finding(control, seen.target, verdict)


def fails(report: Mapping[str, Any], *, unknown_fails: bool) -> bool:
    """Whether the run is to end with an error."""
    verdict = report["summary"]["verdict"]
    return bool(verdict == "fail" or (verdict == "unknown" and unknown_fails))


# ---- judging


class _Audit:
    def __init__(self, catalogue: Catalogue, setting: Setting) -> None:
        self._catalogue = catalogue
        self._setting = setting
        self._controls = {control.id: control for control in catalogue.controls}
        self._today = setting.now.date()
        self._waivers = setting.waivers.listed if setting.waivers else ()
        self._used = {waiver.name: 0 for waiver in self._waivers}

    def judged(self, observations: Sequence[Observation]) -> list[Words]:
        run: list[Facts] = []
        previous = self._setting.baseline.crls if self._setting.baseline else {}
        run += [
            Facts(seen.target, seen.facts, _moment(seen.at) or self._setting.now, run, error=seen.error, previous=previous)
            for seen in observations
        ]
        return [result for seen, facts in zip(observations, run, strict=True) for result in self._of_target(seen, facts)]

    def _of_target(self, seen: Observation, facts: Facts) -> Iterator[Words]:
        streamed = {result.control.id: result for result in seen.results(self._controls)}
        for control in self._catalogue.controls:
            if control.target != seen.target.kind:
                continue
            if not seen.facts and seen.error:
                yield self._result(control, seen.target, [unknown(seen.target.name, seen.error, right=_missing_right(seen))])
            elif control.id in streamed:
                yield self._of_stream(streamed[control.id], seen)
            elif control.each:
                if reason := _not_streamed(control, seen):
                    yield self._result(control, seen.target, [unknown(seen.target.name, reason.reason, right=reason.right)])
            else:
                judged = judging.judge([control], facts, self._setting.parameters)[0]
                yield self._result(control, seen.target, judged.verdicts, judged.passes)

    def of_annex(self, seen: Observation, control: Control, listed: Sequence[Verdict]) -> Iterable[Verdict]:
        name = seen.annexes.get(control.id)
        return _all(self._setting.annex(name), listed) if name else listed

    def _of_stream(self, result: judging.Result, seen: Observation) -> Words:
        verdicts = self.of_annex(seen, result.control, result.verdicts)
        found = self._result(result.control, seen.target, verdicts, limit=LISTED)
        found["counts"]["pass"] = result.counts["pass"]
        for status in ("fail", "unknown"):
            # what the observer counted and no file lists
            found["counts"][status] += max(0, result.counts[status] - found["seen"][status])
        if found["listed"] < sum(found["counts"][status] for status in _SUBJECT_STATUSES):
            found["annex"] = self._setting.annex_file
        found["status"] = _status(found["counts"])
        return found

    def _result(
        self, control: Control, target: Target, verdicts: Iterable[Verdict], passes: Sequence[str] = (), limit: int | None = None
    ) -> Words:
        """`seen` counts verdicts as they were judged, before waivers; `marks` are all failures' fingerprints, `changes` counts theirs."""
        counts = dict.fromkeys(("pass", *_SUBJECT_STATUSES), 0)
        seen = dict.fromkeys(("fail", "unknown"), 0)
        kept: dict[tuple[str, bool], list[Words]] = {}
        changes = dict.fromkeys(("", "new", "still"), 0)
        unlisted: list[str] = []
        marks: set[str] = set()
        for verdict in verdicts:
            finding = self.finding(control, target, verdict)
            counts[finding["status"]] += 1
            seen[verdict.status] += 1
            changes[finding["change"]] += 1
            if verdict.status == "fail" and self._setting.baseline:
                marks.add(finding["fingerprint"])
            place = kept.setdefault((finding["status"], finding["change"] == "new"), [])
            if limit is None or len(place) < limit:
                place.append(finding)
            elif finding["status"] != "unknown":
                unlisted.append(finding["fingerprint"])
        order = sorted(kept, key=lambda place: (_SUBJECT_STATUSES.index(place[0]), not place[1]))
        findings = [finding for place in order for finding in kept[place]]
        if limit is not None:
            unlisted += [finding["fingerprint"] for finding in findings[limit:] if finding["status"] != "unknown"]
            findings = findings[:limit]
        for finding in findings:
            finding["location"] = self._location(control, target, finding)
        counts["pass"] = len(passes)
        return {
            "control": control,
            "target": target.words(),
            "status": _status(counts),
            "counts": counts,
            "passes": list(passes[:PASSES]),
            "findings": findings,
            "listed": len(findings),
            "unlisted": unlisted,
            "annex": "",
            "seen": seen,
            "marks": marks,
            "changes": changes,
        }

    def of_waivers(self, results: Sequence[Mapping[str, Any]]) -> Observation | None:
        """The waivers as something to judge, when all others are judged; None where there is none."""
        if not self._setting.waivers or not self._waivers:
            return None
        facts = [
            {**words, "name": waiver.name, "line": waiver.line, "undecided": _undecided(waiver, results)}
            for waiver, words in zip(self._waivers, self.waivers(), strict=True)
        ]
        now = _text(self._setting.now)
        return Observation(Target("waivers", PurePath(self._setting.waivers.path).name), now, now, facts={"waivers": facts})

    def waivers(self) -> list[Words]:
        return [{**waiver.words(), "used": self._used[waiver.name], "expired": waiver.expired(self._today)} for waiver in self._waivers]

    def finding(self, control: Control, target: Target, verdict: Verdict) -> Words:
        baseline = self._setting.baseline
        mark = fingerprint(control.id, target, verdict.subject)
        waiver = self._waiver(control, target, verdict) if verdict.status == "fail" else None
        status = "waived" if waiver else verdict.status
        change = "" if status != "fail" or baseline is None else "still" if mark in baseline.known else "new"
        return {
            "subject": verdict.subject,
            "status": status,
            "message": verdict.message,
            "evidence": dict(verdict.evidence),
            "right": verdict.right,
            "mend": verdict.mend,
            "variables": list(verdict.variables),
            "fingerprint": mark,
            "change": change,
            "waiver": {"owner": waiver.owner, "reason": waiver.reason, "expires": waiver.expires.isoformat()} if waiver else None,
            "location": None,
        }

    def _waiver(self, control: Control, target: Target, verdict: Verdict) -> Waiver | None:
        """The waiver that accepts it; each that is about it counts as used, those that have ended too."""
        covering = [one for one in self._waivers if one.covers(control.id, target, verdict.subject)]
        for one in covering:
            self._used[one.name] += 1
        return next((one for one in covering if not one.expired(self._today)), None)

    def _location(self, control: Control, target: Target, finding: Mapping[str, Any]) -> Words | None:
        if target.kind == "waivers" and self._setting.waivers:
            line = next((one.line for one in self._waivers if one.name == finding["subject"]), None)
            return {"file": self._setting.waivers.file, "line": line} if line else None
        found = self._setting.locate(target, finding["subject"], finding["variables"] or control.remedy.variables)
        return dict(found) if found else None


def _all(annex: Iterable[Verdict], listed: Sequence[Verdict]) -> Iterator[Verdict]:
    """The annex's verdicts, and those that the observer listed without writing them there."""
    missing = {(verdict.status, verdict.subject): verdict for verdict in listed}
    for verdict in annex:
        missing.pop((verdict.status, verdict.subject), None)
        yield verdict
    yield from missing.values()


def _not_streamed(control: Control, seen: Observation) -> Unread | None:
    """Why a stream's control has no result; None where the stream was not asked for, and says so by a fact of its name that is null."""
    value = seen.facts.get(control.each, {})
    if value is None:
        return None
    if isinstance(value, Mapping) and "unread" in value:
        return Unread(f"{control.each}: {value['unread']['reason']}", value["unread"]["right"])
    return Unread(seen.error or f"{control.each}: the observer did not look for it")


def _status(counts: Mapping[str, int]) -> str:
    return next((status for status in ("fail", "unknown", "waived", "pass") if counts[status]), "not_applicable")


def _silent(observations: Sequence[Observation], expected: Sequence[Expected]) -> Iterator[Observation]:
    answered = {observation.target for observation in observations}
    for one in expected:
        if one.target not in answered:
            answered.add(one.target)
            yield Observation(one.target, "", error=one.error or "it was to be looked at, and left no observation")


_RIGHTS = {
    "domain": "an account of the domain",
    "certification_authority": "membership of the host's local administrators",
    "connect_secure": "an administrator of the appliance who may use its REST API and read",
    "domain_controller": "a logon by SSH or WinRM as root or a local administrator",
    "ocserv": "a logon by SSH as root (or with become)",
    "passivekey": "a logon by SSH as root (or with become)",
}
_REFUSED = re.compile(r"denied|unauthorized|not allowed|credentials|\b40[13]\b|does not accept the (user|password)", re.IGNORECASE)


def _missing_right(seen: Observation) -> str:
    """Who was not let in at all, lacks what its kind of target wants."""
    return _RIGHTS.get(seen.target.kind, "") if _REFUSED.search(seen.error) else ""


def _moment(text: str) -> datetime.datetime | None:
    if not text:
        return None
    found = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return found if found.tzinfo else found.replace(tzinfo=datetime.timezone.utc)


# ---- waivers


def _undecided(waiver: Waiver, results: Iterable[Mapping[str, Any]]) -> str:
    """Why it cannot be said whether there is something that it accepts; empty where it can."""
    concerned = (result for result in results if waiver.concerns(result["control"].id, Target(**result["target"])))
    unsure = next((result for result in concerned if result["counts"]["unknown"]), None)
    return f"{waiver.control} is unknown on {unsure['target']['name']}" if unsure else ""


# ---- the report's parts


def _control(control: Control, results: Iterable[Mapping[str, Any]]) -> Words:
    return {
        "id": control.id,
        "family": control.family,
        "title": control.title,
        "why": control.why,
        "severity": control.severity,
        "references": [dict(reference) for reference in control.references],
        "remedy": {"text": control.remedy.text, "role": control.remedy.role, "variables": list(control.remedy.variables)},
        "not_applicable": control.not_applicable,
        "results": [{name: value for name, value in result.items() if name not in _INTERNAL} for result in results],
    }


def _run(catalogue: Catalogue, setting: Setting, observations: Iterable[Observation]) -> Words:
    begun = _moment(setting.run.get("started", "")) or min(
        (moment for observation in observations if (moment := _moment(observation.at))), default=setting.now
    )
    waivers, baseline = setting.waivers, setting.baseline
    return {
        "started": _text(begun),
        "ended": _text(setting.now),
        "seconds": max(0.0, round((setting.now - begun).total_seconds(), 1)),
        **{name: setting.run[name] for name in ("title", "certlogon", "ansible_core", "python", "stand_ins")},
        "catalogue_sha256": catalogue.sha256,
        "waivers": {"path": waivers.path, "sha256": waivers.sha256} if waivers else None,
        "baseline": {"path": baseline.path, "at": baseline.at} if baseline else None,
        "pseudonyms": False,
    }


def _target(observation: Observation) -> Words:
    at, ended = _moment(observation.at), _moment(observation.ended)
    return {
        **observation.target.words(),
        "at": _text(at) if at else None,
        "ended": _text(last) if (last := ended or at) else None,
        "account": observation.account,
        "servers": list(observation.servers),
        "answered": not observation.error,
        "error": observation.error,
        "asked": dict(observation.asked),
    }


def _with_target(observations: Iterable[Observation], member: str) -> list[Words]:
    return [{**words, "target": observation.target.words()} for observation in observations for words in getattr(observation, member)]


def _published(observations: Iterable[Observation]) -> dict[str, list[str]]:
    """Names of the templates that each CA offers."""
    services = [
        service
        for observation in observations
        if isinstance(found := observation.facts.get("enrollment_services"), Sequence)
        for service in found
    ]
    return {str(service["name"]): list(service["templates"]) for service in services}


def _gone(baseline: Baseline | None, results: Sequence[Mapping[str, Any]]) -> tuple[list[Words], int]:
    """Failures of the baseline that were judged now and are none any more, and how many besides that it had only counted.

    Where anything of a control is unknown on a target, nothing of it is said to be gone.
    """
    if baseline is None:
        return [], 0
    judged = {(result["control"].id, Target(**result["target"])): result for result in results if not result["counts"]["unknown"]}
    gone = [
        {"control": failure.control, "target": failure.target.words(), "subject": failure.subject, "message": failure.message}
        for failure in baseline.failures
        if (result := judged.get((failure.control, failure.target))) and failure.fingerprint not in result["marks"]
    ]
    more = sum(len(marks - judged[place]["marks"]) for place, marks in baseline.unlisted.items() if place in judged)
    return gone, more


# ---- the summary


def _summary(catalogue: Catalogue, results: Sequence[Mapping[str, Any]], gone: int, setting: Setting) -> Words:
    verdict, reasons = _verdict(results, setting.fail_on)
    return {
        "counts": _statuses(results),
        "findings": {status: sum(result["counts"][status] for result in results) for status in _SUBJECT_STATUSES},
        "by_severity": {
            severity: _statuses([result for result in results if result["control"].severity == severity]) for severity in _WORST_FIRST
        },
        "by_family": {
            family.id: _of_family(family.title, [result for result in results if result["control"].family == family.id])
            for family in catalogue.families
            if any(result["control"].family == family.id for result in results)
        },
        "score": _score(results),
        "fail_on": setting.fail_on,
        "verdict": verdict,
        "reasons": reasons,
        "new": sum(result["changes"]["new"] for result in results),
        "gone": gone,
        "still": sum(result["changes"]["still"] for result in results),
    }


def _of_family(title: str, results: Sequence[Mapping[str, Any]]) -> Words:
    return {"title": title, "score": _score(results), "counts": _statuses(results)}


def _statuses(results: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    counts = dict.fromkeys(STATUSES, 0)
    for result in results:
        counts[result["status"]] += 1
    return counts


def _score(results: Iterable[Mapping[str, Any]]) -> float | None:
    return score((result["control"].severity, result["status"]) for result in results)


def _verdict(results: Sequence[Mapping[str, Any]], fail_on: str) -> tuple[str, list[str]]:
    """What the run is, and why: every failure or unknown at or above the threshold, by severity."""
    counting = [] if fail_on == NEVER else SEVERITIES[SEVERITIES.index(fail_on) :]
    reasons: dict[str, list[str]] = {"fail": [], "unknown": []}
    for status, words in (("fail", "failure"), ("unknown", "unknown")):
        for severity in _WORST_FIRST:
            found = [
                f"{result['control'].id} ({result['target']['name']})"
                for result in results
                if result["status"] == status
                and result["control"].severity == severity
                and (severity in counting or (status == "fail" and fail_on != NEVER and result["control"].id in _ALWAYS))
            ]
            if found:
                plural = "" if len(found) == 1 or status == "unknown" else "s"
                reasons[status].append(f"{len(found)} {severity} {words}{plural}: {', '.join(found[:3])}{_and_more(len(found) - 3)}")
    verdict = "fail" if reasons["fail"] else "unknown" if reasons["unknown"] else "pass"
    return verdict, [*reasons["fail"], *reasons["unknown"]]


def _and_more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""


def _text(moment: datetime.datetime) -> str:
    return moment.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
