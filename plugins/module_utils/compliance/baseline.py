# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of the run before: what is new, gone, still; and the CRLs that were seen then."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Target
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError

REPORT = "certlogon-compliance-report/1"


def fingerprint(control: str, target: Target, subject: str) -> str:
    """The same over runs, whatever the message and evidence are."""
    return hashlib.sha256("\0".join((control, target.kind, target.name, subject)).encode()).hexdigest()[:32]


CRL_MEMBERS = ("issuer", "number", "this_update", "next_update")


@dataclass(frozen=True)
class Failure:
    """A failure of the baseline that its report lists, waived or not."""

    control: str
    target: Target
    subject: str
    message: str
    fingerprint: str


@dataclass(frozen=True)
class Baseline:
    """`known` are the fingerprints of its failures, waived ones and those that it only counts included; `failures` those that it lists.

    `unlisted` are fingerprints by control and target; `crls` by URL, with CRL_MEMBERS.
    """

    path: str
    at: str
    known: frozenset[str] = frozenset()
    failures: tuple[Failure, ...] = ()
    unlisted: Mapping[tuple[str, Target], frozenset[str]] = field(default_factory=dict)
    crls: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def load(path: str | Path) -> Baseline:
    """Raises `FormatError` for what is no report that findings can be compared with."""
    try:
        report = json.loads(Path(path).expanduser().read_bytes())
    except OSError as error:
        raise UserError(f"baseline: {path} cannot be read ({error.strerror or error}); name the report.json of a run before") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"baseline: {path} is no JSON text ({error}); name the report.json of a run before") from error
    return parse(report, str(path))


def parse(report: Any, name: str) -> Baseline:
    """Of a report as JSON has it. Raises `FormatError`."""
    remedy = "name the report.json of a run before with this version, or leave the option out"
    try:
        if report["format"] != REPORT:
            raise FormatError(f"baseline: {name} has format {report['format']!r}, not {REPORT!r}; {remedy}")
        if report["run"]["pseudonyms"]:
            raise FormatError(f"baseline: {name} has pseudonyms for names; name the report.json that has the names themselves")
        return Baseline(
            path=name,
            at=str(report["run"]["ended"]),
            known=frozenset(_known(report)),
            failures=tuple(_failures(report)),
            unlisted={(control, _target(result)): frozenset(map(str, result["unlisted"])) for control, result in _results(report)},
            crls={str(crl["url"]): {member: crl[member] for member in CRL_MEMBERS if member in crl} for crl in report["crls"]},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"baseline: {name} is no compliance report ({type(error).__name__}: {error}); {remedy}") from error


def _results(report: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    return ((str(control["id"]), result) for control in report["controls"] for result in control["results"])


def _known(report: Mapping[str, Any]) -> Iterator[str]:
    for _control, result in _results(report):
        yield from (str(finding["fingerprint"]) for finding in result["findings"] if finding["status"] in ("fail", "waived"))
        yield from (str(one) for one in result["unlisted"])


def _failures(report: Mapping[str, Any]) -> Iterator[Failure]:
    for control, result in _results(report):
        target = _target(result)
        for finding in result["findings"]:
            if finding["status"] != "unknown":
                yield Failure(control, target, str(finding["subject"]), str(finding["message"]), str(finding["fingerprint"]))


def _target(result: Mapping[str, Any]) -> Target:
    return Target(str(result["target"]["kind"]), str(result["target"]["name"]))
