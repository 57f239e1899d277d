# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges applied to facts: one result for each control and target (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.compliance.catalogue import Control
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts, NotRead, Target, Verdict, unknown
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError

LISTED = 20
"""How many verdicts that are no passes a streamed control keeps; all of them are counted and go to the sink."""

Sink = Callable[[Control, Verdict], None]
"""Where a stream's verdicts that are no passes go: the annex."""


@dataclass
class Result:
    """What was judged of one target by one control. `counts` count subjects; `verdicts` lists those that did not pass.

    A stream's list is cut at LISTED; `passes` keeps the names of what passed, but not of streams.
    """

    control: Control
    target: Target
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("pass", "fail", "unknown", "waived"), 0))
    verdicts: list[Verdict] = field(default_factory=list)
    passes: list[str] = field(default_factory=list)

    @property
    def status(self) -> str:
        """The worst that is known: fail before unknown, unknown before waived, waived before pass; nothing judged is not applicable."""
        return next((status for status in ("fail", "unknown", "waived", "pass") if self.counts[status]), "not_applicable")

    def add(self, verdict: Verdict, limit: int | None = None) -> None:
        self.counts[verdict.status] += 1
        if verdict.status == "pass":
            if limit is None:
                self.passes.append(verdict.subject)
        elif limit is None or len(self.verdicts) < limit:
            self.verdicts.append(verdict)


def judge(controls: Iterable[Control], facts: Facts, parameters: Mapping[str, Mapping[str, Any]]) -> list[Result]:
    """The controls on one target's facts. `parameters`: what inventory changes, by control id."""
    return [_judged(control, facts, parameters.get(control.id, {})) for control in controls]


def _judged(control: Control, facts: Facts, changed: Mapping[str, Any]) -> Result:
    result = Result(control, facts.target)
    try:
        for verdict in control.function(facts, control.figures(changed)):
            result.add(verdict)
    except NotRead as error:
        # what was judged before it stays: one missing fact takes back no failure
        result.add(unknown(facts.target.name, str(error), right=error.unread.right))
    except UserError as error:
        result.add(unknown(facts.target.name, f"What was read cannot be judged: {error}"))
    return result


class Stream:
    """Subjects judged one by one while they are read; nothing of them is kept but counts and the first that did not pass."""

    def __init__(
        self, controls: Sequence[Control], facts: Facts, parameters: Mapping[str, Mapping[str, Any]], sink: Sink | None = None
    ) -> None:
        self._facts = facts
        self._sink = sink
        self._judges = [
            (Result(control, facts.target), control.function, control.figures(parameters.get(control.id, {}))) for control in controls
        ]

    def feed(self, subject: Any) -> None:
        # most of a hundred thousand subjects pass all controls: what passes costs a count and no more
        facts = self._facts
        for result, function, parameters in self._judges:
            try:
                for verdict in function(subject, facts, parameters):
                    if verdict.status == "pass":
                        result.counts["pass"] += 1
                        continue
                    result.add(verdict, LISTED)
                    if self._sink:
                        self._sink(result.control, verdict)
            except NotRead as error:
                if not result.counts["unknown"]:
                    result.add(unknown(facts.target.name, str(error), right=error.unread.right))

    @property
    def results(self) -> list[Result]:
        return [result for result, _function, _parameters in self._judges]
