# SPDX-License-Identifier: GPL-3.0-or-later
"""One control on facts made by hand."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.compliance import judging
from ansible_collections.certlogon.core.plugins.module_utils.compliance.catalogue import load
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judging import Result
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts, Target

NOW = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.timezone.utc)


@dataclass
class Case:
    """Facts, and what the control is to say of them: its status, part of the message and of the evidence of the first that did not pass."""

    facts: Mapping[str, Any]
    status: str
    says: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    previous: Mapping[str, Any] = field(default_factory=dict)
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def at(hours: float) -> str:
    return f"{NOW + datetime.timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}"


def controls(family: str) -> list[str]:
    return [control.id for control in load().controls if control.family == family]


def judged(control_id: str, case: Case) -> Result:
    control = next(one for one in load().controls if one.id == control_id)
    run: list[Facts] = []
    facts = Facts(Target(control.target, "it"), case.facts, NOW, run, previous=case.previous)
    run += [facts, *(Facts(Target(kind, f"other {kind}"), words, NOW, run) for kind, words in case.others.items())]
    (result,) = judging.judge([control], facts, {control_id: case.parameters})
    return result


def check(control_id: str, case: Case) -> None:
    result = judged(control_id, case)
    assert result.status == case.status, result.verdicts
    if result.verdicts:
        first = result.verdicts[0]
        assert case.says in first.message
        assert case.evidence.items() <= first.evidence.items(), first.evidence
    else:
        assert not case.says


def rows(cases: Mapping[str, Iterable[Case]]) -> list[tuple[str, Case]]:
    return [(control, case) for control, several in cases.items() for case in several]


def incomplete(family: str, cases: Mapping[str, Iterable[Case]]) -> list[str]:
    """The controls that have no case of each kind."""
    known = {control: {case.status for case in cases.get(control, ())} for control in controls(family)}
    lacking = [f"{control}: {status}" for control, seen in known.items() for status in ("pass", "fail", "unknown") if status not in seen]
    return [*lacking, *(f"{control}: no such control" for control in cases if control not in known)]


def raised(cases: Mapping[str, Iterable[Case]]) -> list[str]:
    """Failures that become a pass, or nothing, where one of the facts that the control reads could not be read. There must be none."""
    unread = {"unread": {"reason": "gone", "right": ""}}
    reads = {control.id: control.reads for control in load().controls}
    return [
        f"{control} without {fact}"
        for control, case in rows(cases)
        if case.status == "fail"
        for fact in reads[control]
        if judged(control, replace(case, facts={**case.facts, fact: unread})).status in ("pass", "not_applicable")
    ]
