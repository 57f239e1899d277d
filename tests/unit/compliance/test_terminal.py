# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.compliance.outputs import json_report, terminal


def test_summary_says_what_a_person_needs(report):
    text = terminal.render(report, outputs={"html": "/var/lib/report.html"})
    for words in (
        "FAIL  score 20.4 of 100  (fails from severity high on)",
        "controls: 6 failing, 4 unknown, 4 passed, 1 waived, 1 not applicable",
        "failures: 2 new, 3 still, 1 gone since 2026-11-21 02:00 UTC",
        "! The appliance vpn1.corp.example stands in for a Connect Secure.",
        "critical  template-esc1",
        "corp.example: template LegacyWeb (new)",
        "role certlogon.core.certificate_templates: certlogon_certificate_templates",
        "at group_vars/domains/templates.yml:12",
        "and 1198 more, in findings.csv",
        "branch.example (domain) did not answer: no domain controller answered",
        "missing right: read HKLM",
        "Something was changed beside the inventory",
        "html: /var/lib/report.html",
    ):
        assert words in text, words
    severities = re.findall(r"^  (critical|high|medium|low|info)  \S", text, re.MULTILINE)
    assert severities == sorted(severities, key=["critical", "high", "medium", "low", "info"].index)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 200])
def test_lines_fit(report, width):
    lines = terminal.render(report, width=width).splitlines()
    assert max(map(len, lines)) <= max(80, min(width, 120)), max(lines, key=len)


def test_colour_only_where_it_is_asked_for(report):
    assert "\033" not in terminal.render(report)
    coloured = terminal.render(report, color=True)
    assert re.sub(r"\033\[\d+m", "", coloured) == terminal.render(report)


def test_nothing_of_a_name_reaches_the_terminal_as_a_command(report):
    report["controls"][0]["results"][0]["findings"][0].update(subject="template \033]0;owned\a\r\n\u202eevil", message="\033[2J")
    report["run"]["title"] = "\033[31mred"
    text = terminal.render(report)
    assert set(text) - {"\n"} == {sign for sign in text if sign.isprintable()}


def test_a_good_report_says_that_there_is_nothing_to_do(report):
    report["controls"] = []
    report["targets"] = report["targets"][:1]
    report["summary"].update(counts=dict.fromkeys(report["summary"]["counts"], 0), by_family={}, score=None, verdict="pass")
    text = terminal.render(report)
    assert "PASS  no score" in text
    assert "Nothing to do." in text
    assert "Unknown" not in text


def test_json_is_the_report(report):
    import json

    text = json_report.render(report)
    assert json.loads(text) == report
    assert text.endswith("\n")
