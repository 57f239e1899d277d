# SPDX-License-Identifier: GPL-3.0-or-later
"""All findings as a table: CSV (RFC 4180), one line a subject, also those that the report only counts (pure but for the files)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.compliance.catalogue import Control
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Verdict

COLUMNS = (
    "control",
    "severity",
    "target_kind",
    "target",
    "status",
    "subject",
    "message",
    "evidence",
    "right",
    "waived_by",
    "expires",
    "change",
)
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet would take for the beginning of a formula."""


def line(control: Control, verdict: Verdict) -> str:
    """One line of a stream's file, which an observer writes while it judges."""
    return json.dumps({"control": control.id, **asdict(verdict)}, separators=(",", ":"))


def render(report: Mapping[str, Any]) -> str:
    """The findings that the report lists."""
    out = io.StringIO(newline="")
    write(out, rows(report))
    return out.getvalue()


def write(out: Any, found: Iterable[Mapping[str, Any]]) -> int:
    """The table, into a text file opened with newline=""; how many lines it has besides the heading."""
    writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\r\n")
    writer.writeheader()
    written = 0
    for values in found:
        writer.writerow({name: _cell(value) for name, value in values.items()})
        written += 1
    return written


def rows(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for control in report["controls"]:
        for result in control["results"]:
            for finding in result["findings"]:
                yield row(control, result["target"], finding)


def row(control: Mapping[str, Any], target: Mapping[str, str], finding: Mapping[str, Any]) -> dict[str, Any]:
    waiver = finding.get("waiver") or {}
    return {
        "control": control["id"],
        "severity": control["severity"],
        "target_kind": target["kind"],
        "target": target["name"],
        "status": finding["status"],
        "subject": finding["subject"],
        "message": finding["message"],
        "evidence": json.dumps(finding["evidence"], ensure_ascii=False) if finding["evidence"] else "",
        "right": finding["right"],
        "waived_by": waiver.get("owner", ""),
        "expires": waiver.get("expires", ""),
        "change": finding.get("change", ""),
    }


def _cell(value: Any) -> str:
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULAS) else text
