# SPDX-License-Identifier: GPL-3.0-or-later
"""The report in a terminal: what is wrong, worst first, how to mend it, what is not known and why (pure).

Plain ASCII of its own, since terminals in CI are what they are. Names come from outside: no control character of them gets through.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import SEVERITIES

SUBJECTS = 3
"""How many subjects of a control are shown; the report has them all."""
CONTROLS = 25
"""How many failing controls are shown with what mends them."""
_LEAST, _MOST = 40, 120
_FACT = re.compile(r"^[a-z_]+: ")
"""The fact that could not be read, before the reason that it shares with others."""
_BAR = 10
_COLOURS = {"fail": "31", "unknown": "33", "pass": "32", "waived": "36", "not_applicable": "2", "head": "1", "dim": "2"}
_WORDS = (("fail", "failing"), ("unknown", "unknown"), ("pass", "passed"), ("waived", "waived"), ("not_applicable", "not applicable"))
_VERDICTS = {"pass": "PASS", "fail": "FAIL", "unknown": "UNKNOWN"}

Report = Mapping[str, Any]


def render(report: Report, *, width: int = 100, color: bool = False, outputs: Mapping[str, str] | None = None) -> str:
    """`outputs`: where the report's files are, by name."""
    page = _Page(max(_LEAST, min(width, _MOST)), color)
    _head(page, report)
    _families(page, report)
    _failing(page, report)
    _unknown(page, report)
    _going_on(page, report, outputs or {})
    return "\n".join(page.lines) + "\n"


class _Page:
    def __init__(self, width: int, color: bool) -> None:
        self.width = width
        self.lines: list[str] = []
        self._color = color

    def paint(self, text: str, what: str) -> str:
        return f"\033[{_COLOURS[what]}m{text}\033[0m" if self._color and text else text

    def line(self, text: str = "") -> None:
        self.lines.append(text.rstrip())

    def heading(self, text: str) -> None:
        self.lines += ["", self.paint(text, "head")]

    def wrapped(self, text: str, indent: int, what: str = "", *, first: str = "") -> None:
        """A paragraph; `first` stands at its beginning, within the indent."""
        found = textwrap.wrap(plain(text), max(20, self.width - indent), break_long_words=True, break_on_hyphens=False) or [""]
        for number, piece in enumerate(found):
            lead = (first if number == 0 else "").ljust(indent)
            self.line(lead + (self.paint(piece, what) if what else piece))


def plain(text: Any) -> str:
    """Without anything that a terminal would obey."""
    return "".join(sign if sign.isprintable() else " " for sign in str(text))


def _head(page: _Page, report: Report) -> None:
    run, summary = report["run"], report["summary"]
    names = [target["name"] for target in report["targets"] if target["kind"] == "domain"] or [
        target["name"] for target in report["targets"]
    ]
    title = run["title"] or "Compliance of " + (
        ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") or "nothing"
    )
    page.line(page.paint(plain(title), "head"))
    silent = sum(not target["answered"] for target in report["targets"])
    looked = f"{_moment(run['started'])}, {run['seconds']:.0f} s, {_count(len(report['targets']), 'target')}"
    page.line(looked + (f", {page.paint(f'{silent} did not answer', 'unknown')}" if silent else ""))
    page.line()
    score = "no score" if summary["score"] is None else f"score {summary['score']:.1f} of 100"
    page.line(f"{page.paint(_VERDICTS[summary['verdict']], summary['verdict'])}  {score}  (fails from severity {summary['fail_on']} on)")
    counts = ", ".join(
        page.paint(f"{summary['counts'][status]} {word}", status)
        for status, word in _WORDS
        if summary["counts"][status] or status == "fail"
    )
    page.line(f"controls: {counts}")
    if run["baseline"]:
        page.line(
            f"failures: {summary['new']} new, {summary['still']} still, {summary['gone']} gone since {_moment(run['baseline']['at'])}"
        )
    for text in run["stand_ins"]:
        page.wrapped(text, 2, "unknown", first="!")


def _families(page: _Page, report: Report) -> None:
    families = report["summary"]["by_family"]
    if not families:
        return
    page.heading("By family")
    room = min(max(len(plain(about["title"])) for about in families.values()), page.width - 36)
    for about in families.values():
        counts = about["counts"]
        score = about["score"]
        figure = "    -" if score is None else f"{score:5.1f}"
        filled = " " * _BAR if score is None else ("#" * int(score / 100 * _BAR)).ljust(_BAR, ".")
        worst = "fail" if counts["fail"] else "unknown" if counts["unknown"] else "pass"
        shown = ", ".join(f"{counts[status]} {word}" for status, word in _WORDS[:2] if counts[status])
        page.line(f"  {plain(about['title'])[:room]:{room}}  {figure}  {page.paint(filled, worst)}  {shown}")


def _failing(page: _Page, report: Report) -> None:
    failing = [
        (control, [result for result in control["results"] if result["status"] == "fail"])
        for severity in reversed(SEVERITIES)
        for control in report["controls"]
        if control["severity"] == severity
    ]
    failing = [(control, results) for control, results in failing if results]
    if not failing:
        return
    page.heading("Failing, worst first")
    for control, results in failing[:CONTROLS]:
        _control(page, control, results)
    if len(failing) > CONTROLS:
        page.line()
        page.line(f"  and {_count(len(failing) - CONTROLS, 'control')} more, in the report")


def _control(page: _Page, control: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> None:
    page.line()
    page.line(f"  {page.paint(control['severity'], 'fail')}  {page.paint(control['id'], 'head')}")
    page.wrapped(control["title"], 4)
    found = [(result, finding) for result in results for finding in result["findings"] if finding["status"] == "fail"]
    # what is new is what somebody has to look at today
    found.sort(key=lambda pair: pair[1]["change"] != "new")
    for result, finding in found[:SUBJECTS]:
        where = "" if finding["subject"] == result["target"]["name"] else f"{result['target']['name']}: "
        page.wrapped(f"{where}{finding['subject']}{' (new)' if finding['change'] == 'new' else ''}", 6, first="    -")
        page.wrapped(finding["message"], 8, "dim")
        if finding["mend"]:
            page.wrapped(finding["mend"], 8)
    more = sum(result["counts"]["fail"] for result in results) - len(found[:SUBJECTS])
    if more:
        annexes = sorted({result["annex"] for result in results if result["annex"]})
        page.line(f"    - and {more} more" + (f", in {', '.join(annexes)}" if annexes else ""))
    _remedy(page, control, [finding for _result, finding in found])


def _remedy(page: _Page, control: Mapping[str, Any], findings: Sequence[Mapping[str, Any]]) -> None:
    remedy = control["remedy"]
    page.wrapped(remedy["text"], 6, first="    >")
    variables = list(dict.fromkeys(name for finding in findings for name in finding["variables"])) or list(remedy["variables"])
    if remedy["role"]:
        page.wrapped(f"role {remedy['role']}" + (f": {', '.join(variables)}" if variables else ""), 6)
    places = dict.fromkeys(f"{finding['location']['file']}:{finding['location']['line']}" for finding in findings if finding["location"])
    if places:
        page.wrapped(f"at {', '.join(list(places)[:SUBJECTS])}", 6)


def _unknown(page: _Page, report: Report) -> None:
    """Grouped by reason: one right that is missing hides many controls."""
    silent = {(target["kind"], target["name"]) for target in report["targets"] if not target["answered"]}
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for control, target, finding in _findings(report, "unknown"):
        if (target["kind"], target["name"]) not in silent:
            ids = reasons.setdefault((target["name"], _FACT.sub("", finding["message"]), finding["right"]), [])
            if control["id"] not in ids:
                ids.append(control["id"])
    if not (silent or reasons):
        return
    page.heading("Unknown, and why")
    for target in report["targets"]:
        if not target["answered"]:
            page.wrapped(
                f"{target['name']} ({target['kind'].replace('_', ' ')}) did not answer: {target['error']}", 4, "unknown", first="  ?"
            )
    shown = sorted(reasons.items(), key=lambda pair: -len(pair[1]))[:CONTROLS]
    for (name, message, right), ids in shown:
        page.wrapped(f"{name}: {message}", 4, first="  ?")
        if right:
            page.wrapped(f"missing right: {right}", 4, "unknown")
        page.wrapped(f"{', '.join(ids[:SUBJECTS])}{f' and {len(ids) - SUBJECTS} more' if len(ids) > SUBJECTS else ''}", 4, "dim")
    if len(reasons) > len(shown):
        page.line(f"  ? and {_count(len(reasons) - len(shown), 'reason')} more, in the report")


def _findings(report: Report, status: str) -> Iterator[tuple[Mapping[str, Any], Mapping[str, str], Mapping[str, Any]]]:
    for control in report["controls"]:
        for result in control["results"]:
            for finding in result["findings"]:
                if finding["status"] == status:
                    yield control, result["target"], finding


def _going_on(page: _Page, report: Report, outputs: Mapping[str, str]) -> None:
    page.heading("How to go on")
    summary = report["summary"]
    drift = any(
        control["family"].endswith("drift") and any(r["status"] == "fail" for r in control["results"]) for control in report["controls"]
    )
    if summary["counts"]["fail"]:
        page.wrapped("Set what the remedies name, see what would change (certlogon.core.site --check --diff), and run it.", 4, first="  -")
    if any(not target["answered"] for target in report["targets"]):
        page.wrapped("See that everything answers that did not, and look again: until then all of it is unknown.", 4, first="  -")
    elif summary["counts"]["unknown"] and not summary["counts"]["fail"]:
        page.wrapped("Nothing that could be read fails. Give the account the rights named above, and look again.", 4, first="  -")
    elif not summary["counts"]["fail"]:
        page.wrapped("Nothing to do.", 4, first="  -")
    if drift:
        page.wrapped("Something was changed beside the inventory: certlogon.core.site would take it back.", 4, first="  -")
    if summary["counts"]["fail"]:
        page.wrapped(
            "What you accept for a time goes into a file of waivers, with owner, reason and end (docs/compliance.md).", 4, first="  -"
        )
    for name, path in outputs.items():
        page.line(f"  - {name}: {path}")


def _moment(text: str) -> str:
    """`2026-11-22T02:00:03Z` -> `2026-11-22 02:00 UTC`."""
    return f"{text[:10]} {text[11:16]} UTC"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
