# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as SARIF 2.1.0 (OASIS standard, errata 01), for code scanning (pure).

A rule is a control. A failed subject is a result of kind "fail", one that could not be judged of kind "open" (3.27.9), a waived one a
suppressed failure (3.35). Each points to the line of the inventory that mends it; its partial fingerprint stays the same from run to run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
FINGERPRINT = "certlogonFinding/v1"
ROOT = "INVENTORY"
"""The base of all files named: where the inventory lies, as the report has it."""

_LEVELS = {"critical": "error", "high": "error", "medium": "warning", "low": "note", "info": "note"}
# what GitHub sorts security results by
_SCORES = {"critical": "9.5", "high": "8.0", "medium": "5.5", "low": "3.0", "info": "0.5"}
_STATES = {"new": "new", "still": "unchanged"}


def render(report: Mapping[str, Any]) -> str:
    controls = report["controls"]
    places = {control["id"]: number for number, control in enumerate(controls)}
    results = [
        _result(control, places[control["id"]], result["target"], finding, bool(report["run"]["baseline"]))
        for control in controls
        for result in control["results"]
        for finding in result["findings"]
    ]
    gone = [_gone(entry, places) for entry in report["gone"]]
    run = {
        "tool": {"driver": _driver(report, controls)},
        "automationDetails": {"id": "certlogon/compliance/"},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {ROOT: {"description": {"text": "The folder of the inventory."}}},
        "invocations": [_invocation(report)],
        "results": [*results, *gone],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _driver(report: Mapping[str, Any], controls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "name": "certlogon",
        "fullName": "certlogon compliance",
        "semanticVersion": report["run"]["certlogon"],
        "rules": [_rule(control) for control in controls],
    }


def _rule(control: Mapping[str, Any]) -> dict[str, Any]:
    remedy = control["remedy"]
    by = [remedy["text"], *([f"Role: {remedy['role']}"] if remedy["role"] else []), *(f"Variable: {name}" for name in remedy["variables"])]
    references = [
        f"{kind.upper() if kind in ('esc', 'kb', 'stig', 'cis', 'cve') else kind}: {value}"
        for reference in control["references"]
        for kind, value in reference.items()
        if kind != "url"
    ]
    url = next((reference["url"] for reference in control["references"] if "url" in reference), None)
    return {
        "id": control["id"],
        "name": "".join(word.capitalize() for word in control["id"].split("-")),
        "shortDescription": {"text": control["title"]},
        "fullDescription": {"text": control["why"]},
        "help": {"text": "\n".join(by)},
        **({"helpUri": url} if url else {}),
        "defaultConfiguration": {"level": _LEVELS[control["severity"]]},
        "properties": {
            "security-severity": _SCORES[control["severity"]],
            "tags": sorted({"security", "certlogon", control["family"], *references}),
        },
    }


def _result(
    control: Mapping[str, Any], place: int, target: Mapping[str, str], finding: Mapping[str, Any], compared: bool
) -> dict[str, Any]:
    unknown = finding["status"] == "unknown"
    text = " ".join(part for part in (f"{finding['subject']}: {finding['message']}", finding["mend"]) if part)
    written: dict[str, Any] = {
        "ruleId": control["id"],
        "ruleIndex": place,
        "kind": "open" if unknown else "fail",
        "level": "none" if unknown else _LEVELS[control["severity"]],
        "message": {"text": text},
        "locations": [_location(target, finding)],
        "partialFingerprints": {FINGERPRINT: finding["fingerprint"]},
        "properties": {"evidence": finding["evidence"], **({"missingRight": finding["right"]} if finding["right"] else {})},
    }
    if compared and finding["change"]:
        written["baselineState"] = _STATES[finding["change"]]
    if finding["waiver"]:
        reason = "{reason} ({owner}, until {expires})".format(**finding["waiver"])
        written["suppressions"] = [{"kind": "external", "status": "accepted", "justification": reason}]
    return written


def _location(target: Mapping[str, str], finding: Mapping[str, Any]) -> dict[str, Any]:
    location: dict[str, Any] = {
        "logicalLocations": [
            {
                "name": finding["subject"],
                "fullyQualifiedName": f"{target['kind']}/{target['name']}/{finding['subject']}",
                "kind": "resource",
            }
        ]
    }
    if place := finding["location"]:
        location["physicalLocation"] = {
            "artifactLocation": {"uri": quote(place["file"]), "uriBaseId": ROOT},
            "region": {"startLine": place["line"]},
        }
    return location


def _gone(entry: Mapping[str, Any], places: Mapping[str, int]) -> dict[str, Any]:
    """A finding of the baseline that is no more (3.27.24)."""
    index = {"ruleIndex": places[entry["control"]]} if entry["control"] in places else {}
    return {
        "ruleId": entry["control"],
        **index,
        "kind": "fail",
        "message": {"text": f"{entry['subject']}: {entry['message']}"},
        "baselineState": "absent",
        "properties": {"target": entry["target"]},
    }


def _invocation(report: Mapping[str, Any]) -> dict[str, Any]:
    silent = [target for target in report["targets"] if not target["answered"]]
    return {
        "executionSuccessful": not silent,
        "startTimeUtc": report["run"]["started"],
        "endTimeUtc": report["run"]["ended"],
        "toolExecutionNotifications": list(_notifications(silent)),
    }


def _notifications(silent: Iterable[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    for target in silent:
        yield {"level": "error", "message": {"text": f"{target['kind']} {target['name']} did not answer: {target['error']}"}}
