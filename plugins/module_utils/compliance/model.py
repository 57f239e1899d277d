# SPDX-License-Identifier: GPL-3.0-or-later
"""The words that observers, judges and reports share (pure).

An *observer* reads one target and says what it found as *facts*; a *judge* is a pure function from facts to *verdicts*; a *control* of
the catalogue says which judge, why, how severe, and what mends it. What could not be read is `Unread`, and whatever a judge wants to know
of it becomes "unknown", with the reason: never a pass, never a failure.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FORMAT = 1
"""Of observations as files."""

KINDS = ("domain", "certification_authority", "domain_controller", "connect_secure", "ocserv", "passivekey", "crls", "drift", "waivers")
"""What can be looked at. `crls` is what the CDPs of all others serve, `drift` what a run of `site` would change, `waivers` their file."""

SEVERITIES = ("info", "low", "medium", "high", "critical")
STATUSES = ("pass", "fail", "unknown", "not_applicable", "waived")


@dataclass(frozen=True)
class Target:
    """What was looked at: one of KINDS, and its name in the inventory."""

    kind: str
    name: str

    def words(self) -> dict[str, str]:
        return {"kind": self.kind, "name": self.name}


@dataclass(frozen=True)
class Unread:
    """A fact that could not be read: why, and the right or setting that the account lacks, where that is known."""

    reason: str
    right: str = ""

    def words(self) -> dict[str, Any]:
        return {"unread": {"reason": self.reason, "right": self.right}}


class NotRead(Exception):
    """A judge asked for a fact that could not be read; becomes the verdict "unknown" of the control."""

    def __init__(self, fact: str, unread: Unread) -> None:
        super().__init__(f"{fact}: {unread.reason}")
        self.fact = fact
        self.unread = unread


@dataclass(frozen=True)
class Verdict:
    """What a judge says of one subject.

    `subject` names the object so that it is the same in every run ("template SmartCard", a DN, a URL); `status` is pass, fail or unknown;
    `message` is one sentence for people: what is so, and what it means; `evidence` are the values seen, by the field's names, as JSON;
    `mend` says what is to be done where the control's remedy is too general, `variables` narrows the control's remedy likewise.
    """

    subject: str
    status: str
    message: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    right: str = ""
    mend: str = ""
    variables: Sequence[str] = ()


def passed(subject: str, message: str = "", **evidence: Any) -> Verdict:
    return Verdict(subject, "pass", message, evidence)


def failed(subject: str, message: str, *, mend: str = "", variables: Sequence[str] = (), **evidence: Any) -> Verdict:
    return Verdict(subject, "fail", message, evidence, mend=mend, variables=variables)


def unknown(subject: str, message: str, *, right: str = "", **evidence: Any) -> Verdict:
    return Verdict(subject, "unknown", message, evidence, right=right)


class Facts(Mapping[str, Any]):
    """The facts of one target. Asking for one that was not read raises `NotRead`, which the engine makes "unknown"; `read` asks first.

    `now` is when it was looked at, UTC. `others(kind)` are the facts of the run's other targets of a kind, for what no target shows alone.
    `previous` are the CRLs of the baseline by URL, {number, this_update, next_update}; empty where there is none to compare with.
    """

    def __init__(
        self,
        target: Target,
        facts: Mapping[str, Any],
        now: datetime.datetime,
        run: Sequence[Facts] = (),
        *,
        error: str = "",
        previous: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.target = target
        self.now = now
        self.error = error
        self.previous = previous or {}
        self._facts = facts
        self._run = run

    def __getitem__(self, name: str) -> Any:
        if name not in self._facts:
            raise NotRead(name, Unread(self.error or "the observer did not look for it"))
        value = self._facts[name]
        if isinstance(value, Mapping) and "unread" in value:
            raise NotRead(name, Unread(**value["unread"]))
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._facts)

    def __len__(self) -> int:
        return len(self._facts)

    def read(self, name: str) -> bool:
        """Whether the fact is there."""
        try:
            self[name]
        except NotRead:
            return False
        return True

    def others(self, kind: str) -> list[Facts]:
        return [facts for facts in self._run if facts.target.kind == kind]
