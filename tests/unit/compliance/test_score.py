# SPDX-License-Identifier: GPL-3.0-or-later
"""The score, and the law that not knowing never raises it."""

from __future__ import annotations

import datetime

import pytest

pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.certlogon.core.plugins.module_utils.compliance import waivers as waiver_files
from ansible_collections.certlogon.core.plugins.module_utils.compliance.audit import Expected, Setting, audit
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Target, Unread
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation
from ansible_collections.certlogon.core.plugins.module_utils.compliance.score import WEIGHTS, score

NOW = datetime.datetime(2026, 11, 22, tzinfo=datetime.timezone.utc)
RUN = {"title": "", "certlogon": "0", "ansible_core": "0", "python": "0", "stand_ins": []}


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([], None),
        ([("high", "waived"), ("critical", "not_applicable")], None),
        ([("info", "fail")], None),
        ([("low", "pass")], 100.0),
        ([("low", "fail")], 0.0),
        ([("low", "unknown")], 0.0),
        ([("critical", "pass"), ("high", "fail")], 66.6),
        ([("critical", "pass")] * 1000 + [("low", "unknown")], 99.9),
        ([("critical", "fail"), ("high", "pass"), ("medium", "waived")], 33.3),
    ],
)
def test_score(results, expected):
    assert score(results) == expected


def test_severities_weigh_in_their_order():
    weights = [WEIGHTS[severity] for severity in ("info", "low", "medium", "high", "critical")]
    assert weights == sorted(set(weights))


SUBJECTS = st.lists(st.tuples(st.sampled_from(["a", "b", "corp"]), st.sampled_from(["pass", "fail", "unknown"])), max_size=4)
FACTS = st.fixed_dictionaries({"roots": SUBJECTS, "templates": SUBJECTS, "policies": SUBJECTS})
LOSSES = st.fixed_dictionaries(
    {
        "unread": st.lists(st.sampled_from(["roots", "templates", "policies"]), unique=True),
        "subjects": st.sets(st.integers(0, 3)),
        "silent": st.booleans(),
    }
)
CONTROLS = st.sampled_from(["fake-roots", "fake-templates", "fake-policies"])
WAIVED = st.lists(st.tuples(CONTROLS, st.sampled_from(["*", "a", "corp"])), unique=True, max_size=3)


def _observation(name, facts):
    observation = Observation(Target("domain", name), "2026-11-22T00:00:00Z")
    for fact, value in {**facts, "account": None}.items():
        observation.set(fact, value)
    return observation


def _lose(facts, loss):
    """The same facts, less readable."""
    return {
        name: Unread("denied")
        if name in loss["unread"]
        else [(subject, "unknown" if place in loss["subjects"] else status) for place, (subject, status) in enumerate(subjects)]
        for name, subjects in facts.items()
    }


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(domains=st.lists(FACTS, min_size=1, max_size=2), losses=st.lists(LOSSES, min_size=2, max_size=2), waived=WAIVED)
def test_not_knowing_never_raises_the_score(catalogue, domains, losses, waived):
    names = ["corp", "branch"]
    listed = [f"- {{control: {control}, subject: '{subject}', owner: o, reason: r, expires: 2030-01-01}}" for control, subject in waived]
    text = "\n".join(["waivers:", *listed]).encode()
    ids = [control.id for control in catalogue.controls]
    setting = Setting(RUN, NOW, waivers=waiver_files.Waivers("w.yml", "0" * 64, waiver_files.parse(text, "w.yml", ids)))
    expected = [Expected(Target("domain", name), "silent") for name in names[: len(domains)]]
    all_seen = [_observation(name, facts) for name, facts in zip(names, domains, strict=False)]
    less_seen = [
        _observation(name, _lose(facts, loss)) for name, facts, loss in zip(names, domains, losses, strict=False) if not loss["silent"]
    ]
    before = audit(catalogue, all_seen, expected, setting)["summary"]
    after = audit(catalogue, less_seen, expected, setting)["summary"]
    assert before["score"] is None or (after["score"] is not None and after["score"] <= before["score"])
    for family, about in before["by_family"].items():
        assert about["score"] is None or after["by_family"][family]["score"] <= about["score"]
    assert not (after["verdict"] == "pass" and before["verdict"] != "pass")
