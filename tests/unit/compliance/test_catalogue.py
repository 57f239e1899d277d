# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue as it is shipped: every control can be judged, and every remedy can be carried out."""

from __future__ import annotations

import inspect
import re
import textwrap
from pathlib import Path

import pytest
import yaml

from ansible_collections.certlogon.core.plugins.module_utils.compliance import catalogue as catalogues
from ansible_collections.certlogon.core.plugins.module_utils.compliance import reporting
from ansible_collections.certlogon.core.plugins.module_utils.compliance.catalogue import load
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, Problems, UserError

ROOT = Path(__file__).resolve().parents[3]
CONTROLS = load().controls
IDS = [control.id for control in CONTROLS]


def variables(role):
    """What the role documents, at any depth of its options."""
    path = ROOT / "roles" / role / "meta/argument_specs.yml"
    if not path.is_file():
        return None
    found = set()
    waiting = [entry.get("options", {}) for entry in yaml.safe_load(path.read_text())["argument_specs"].values()]
    while waiting:
        for name, option in waiting.pop().items():
            found.add(name)
            waiting.append(option.get("options", {}))
    return found


@pytest.mark.parametrize("control", CONTROLS, ids=IDS)
def test_control(control):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", control.id)
    assert control.references, "where does it come from?"
    parameters = list(inspect.signature(control.function).parameters)
    assert len(parameters) == (3 if control.each else 2), parameters
    assert control.reads
    for text in (control.title, control.why, control.remedy.text, control.not_applicable):
        assert text and text == text.strip() and len(text) < 700
    assert not control.title.endswith(".")
    assert control.why.rstrip().endswith((".", "?", "!"))


@pytest.mark.parametrize("control", [control for control in CONTROLS if control.remedy.role], ids=lambda control: control.id)
def test_remedy(control):
    collection, _dot, role = control.remedy.role.rpartition(".")
    assert collection == "certlogon.core"
    known = variables(role)
    assert known is not None, f"there is no role {role}"
    assert not set(control.remedy.variables) - known
    assert control.remedy.variables or role


def test_who_has_no_role_has_no_variables():
    assert not [control.id for control in CONTROLS if control.remedy.variables and not control.remedy.role]


def test_titles_and_families_are_told_apart():
    titles = [control.title for control in CONTROLS]
    assert len(set(titles)) == len(titles)
    assert [family.id for family in load().families] == sorted(family.id for family in load().families)


def test_public_references_have_their_form():
    forms = {"esc": r"ESC\d+", "kb": r"KB\d+", "stig": r"V-\d+", "cve": r"CVE-\d{4}-\d+", "requirement": r"[CP]\d+", "cis": r"[\d.]+"}
    for control in CONTROLS:
        for reference in control.references:
            for name, value in reference.items():
                assert re.fullmatch(forms.get(name, r".+"), value), (control.id, name, value)


GOOD = """
title: Family
controls:
  - id: a-control
    title: All is well
    why: Because.
    severity: high
    references: [{requirement: C1}]
    target: domain
    reads: [roots]
    judge: waivers.expired
    remedy: {text: Do it.}
    not_applicable: There is none.
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("severity: high", "severity: terrible", "severity 'terrible' is none of"),
        ("target: domain", "target: house", "target 'house' is none of"),
        ("    why: Because.\n", "", "why missing"),
        ("    why: Because.", "    why: Because.\n    colour: red", "unknown members colour"),
        ("{requirement: C1}", "{guess: C1}", "a reference is one of"),
        ("title: Family\n", "", "title"),
        ("{text: Do it.}", "{texts: Do it.}", "texts"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, old, new, message):
    assert old in GOOD
    (tmp_path / "10-a.yml").write_text(textwrap.dedent(GOOD.replace(old, new)))
    with pytest.raises(FormatError, match=message):
        catalogues.load(tmp_path)


def test_ids_are_used_once(tmp_path):
    for name in ("10-a.yml", "20-b.yml"):
        (tmp_path / name).write_text(GOOD)
    with pytest.raises(UserError, match="a-control: the id is used twice"):
        catalogues.load(tmp_path)


BY_ID = {control.id: control for control in CONTROLS}


@pytest.mark.parametrize(
    ("control", "given", "taken"),
    [
        # extra variables (-e) and templates are texts
        ("authority-days-left", {"days_left": "30"}, {"days_left": 30}),
        ("authority-days-left", {"days_left": 1.5}, {"days_left": 1.5}),
        ("crl-reachable", {"must_reach": "http://pki.corp.example/*"}, {"must_reach": ["http://pki.corp.example/*"]}),
        ("policy-delegated", {"editors": "CORP\\Bob"}, {"editors": ["CORP\\Bob"]}),
        ("appliance-release", {"least": 22.7}, {"least": "22.7"}),
        ("policy-smart-card-service", {"unset": "yes"}, {"unset": True}),
        ("policy-smart-card-service", {}, {}),
    ],
)
def test_figures_are_taken_as_the_catalogue_has_them(control, given, taken):
    assert BY_ID[control].figures(given) == {**BY_ID[control].parameters, **taken}


@pytest.mark.parametrize(
    ("control", "given", "says"),
    [
        ("authority-days-left", {"days_left": "a month"}, "parameters: authority-days-left: days_left: 'a month' is no number, as 180 is"),
        ("authority-days-left", {"days_left": None}, "days_left: None is no number"),
        ("authority-days-left", {"days_left": True}, "days_left: True is no number"),
        ("authority-days-left", {"days_left": "nan"}, "is no number"),
        ("policy-delegated", {"editors": {"a": 1}}, "editors: .* is no list"),
        ("policy-smart-card-service", {"unset": "perhaps"}, "unset: 'perhaps' is neither true nor false"),
        ("appliance-release", {"least": ["22.7"]}, "is no text"),
    ],
)
def test_figures_that_are_none_are_told(control, given, says):
    with pytest.raises(UserError, match=says):
        BY_ID[control].figures(given)
    wrong = Problems()
    reporting._check_parameters({control: given}, load(), wrong)
    with pytest.raises(UserError, match=says):
        wrong.raise_any()
