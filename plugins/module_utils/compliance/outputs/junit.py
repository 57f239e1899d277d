# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as JUnit XML, in the dialect of Jenkins' xunit plugin (`junit-10.xsd`), which GitLab reads too (pure).

One suite a family, one case for each control and target. A failure is a failure; what is unknown is an error, for nothing was proved;
what is waived or not applicable is skipped, with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 section 2.2 does not let in."""

_ELEMENTS = {"fail": "failure", "unknown": "error", "waived": "skipped", "not_applicable": "skipped"}
_COUNTED = (("failures", "failure"), ("errors", "error"), ("skipped", "skipped"))


def render(report: Mapping[str, Any]) -> str:
    """The document; times are the whole run's, since its judging takes no time worth naming."""
    root = ElementTree.Element("testsuites", name="certlogon compliance", time=f"{min(report['run']['seconds'], 999_999):.3f}")
    families = report["summary"]["by_family"]
    for family, about in families.items():
        controls = [control for control in report["controls"] if control["family"] == family]
        _suite(root, family, about["title"], controls, report["run"]["started"])
    for name, tag in (("tests", "testcase"), *_COUNTED[:2]):
        root.set(name, str(len(root.findall(f".//{tag}"))))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(root: ElementTree.Element, family: str, title: str, controls: Sequence[Mapping[str, Any]], started: str) -> None:
    suite = ElementTree.SubElement(root, "testsuite", name=_text(title), package=f"certlogon.{family}", timestamp=started)
    for control in controls:
        for result in control["results"]:
            _case(suite, control, result)
    for name, tag in (("tests", "testcase"), *_COUNTED):
        suite.set(name, str(len(suite.findall(f".//{tag}"))))


def _case(suite: ElementTree.Element, control: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    target = result["target"]
    name = f"{control['id']}: {control['title']} [{target['name']}]"
    case = ElementTree.SubElement(suite, "testcase", classname=f"certlogon.{control['family']}.{target['kind']}", name=_text(name))
    tag = _ELEMENTS.get(result["status"])
    if tag is None:
        return
    outcome = ElementTree.SubElement(case, tag, type=control["severity"], message=_text(_headline(control, result)))
    outcome.text = _text("\n".join(_lines(control, result)))


def _headline(control: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    if result["status"] == "not_applicable":
        return f"not applicable: {control['not_applicable']}"
    decisive = [finding for finding in result["findings"] if finding["status"] == result["status"]]
    more = result["counts"][result["status"]] - 1
    text = decisive[0]["message"] if decisive else control["title"]
    return f"{result['status']}: {text}" + (f" (and {more} more)" if more > 0 else "")


def _lines(control: Mapping[str, Any], result: Mapping[str, Any]) -> Iterable[str]:
    for finding in result["findings"]:
        place = finding["location"]
        yield f"{finding['status']}: {finding['subject']}: {finding['message']}"
        yield from (f"  {name}: {value}" for name, value in finding["evidence"].items())
        if finding["right"]:
            yield f"  missing: {finding['right']}"
        if finding["waiver"]:
            yield "  waived by {owner} until {expires}: {reason}".format(**finding["waiver"])
        if finding["mend"]:
            yield f"  mend: {finding['mend']}"
        if place:
            yield f"  at: {place['file']}:{place['line']}"
    if result["annex"]:
        yield f"all of them: {result['annex']}"
    if result["status"] != "not_applicable":
        yield f"remedy: {control['remedy']['text']}"


def _text(value: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", value)
