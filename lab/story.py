# SPDX-License-Identifier: GPL-3.0-or-later
"""What a demo found out, as data: the screen, the page and `proofs.json` are three ways to show it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

REAL = "real"
STAND_IN = "stand-in"
Outcome = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class ObjectChange:
    """One object of one task, before and after in the words of the module's options."""

    role: str
    task: str
    module: str
    name: str
    action: str
    before: Any = None
    after: Any = None

    def diff(self) -> list[tuple[str, str]]:
        """Lines of a diff as (kind, text): "+", "-", " " or "@" where unchanged lines are left out."""
        before, after = lines_of(self.before), lines_of(self.after)
        found = []
        for line in list(difflib.unified_diff(before, after, lineterm="", n=2))[2:]:
            found.append(("@", "") if line.startswith("@@") else (line[0], line[1:]))
        return found[1:] if found[:1] == [("@", "")] else found


def lines_of(value: Any) -> list[str]:
    """A value as YAML; a text as it is."""
    if value in (None, "", {}, []):
        return []
    if isinstance(value, str):
        return value.splitlines()
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1000).splitlines()


@dataclass(frozen=True)
class Run:
    """One `ansible-playbook`."""

    title: str
    command: str
    seconds: float
    tasks: int
    changed_tasks: int
    changes: Sequence[ObjectChange] = ()
    warnings: Sequence[str] = ()
    messages: Sequence[str] = ()
    """What the playbook itself said."""

    @property
    def summary(self) -> str:
        if not self.changed_tasks and not self.changes:
            return "nothing to change"
        return f"{counted(len(self.changes), 'object')} in {counted(self.changed_tasks, 'task')}"


@dataclass(frozen=True)
class Touch:
    """Something that somebody else's tool changed behind our back."""

    what: str
    tool: str
    object: str
    why: str
    marks: Sequence[str] = ()


@dataclass(frozen=True)
class Proof:
    """A claim, and who judged it."""

    claim: str
    judge: str
    outcome: Outcome
    kind: str = REAL
    evidence: Sequence[str] = ()
    requirements: Sequence[str] = ()
    version: str = ""
    reason: str = ""
    picture: str = ""
    """A data: URI of what somebody saw."""
    chapter: str = ""
    """Where the page and the screen tell of it, if not among the others."""

    @property
    def judged_by(self) -> str:
        return f"{self.judge} {self.version}".strip()


@dataclass(frozen=True)
class Audit:
    """What a compliance run found."""

    run: Run
    score: float | None
    counts: Mapping[str, int]
    """pass, fail, unknown, … of controls on targets."""
    failing: Sequence[tuple[str, str, str]]
    """Control, subject, message."""
    gone: int

    @property
    def summary(self) -> str:
        gone = f", {self.gone} gone" if self.gone else ""
        return f"score {self.score}, {self.counts['fail']} failing{gone}, {self.counts['unknown']} unknown"


@dataclass
class Story:
    """All of one demo."""

    started: str
    domain: Mapping[str, str]
    versions: dict[str, str]
    lab_was_running: bool
    seconds: float = 0.0
    steps: list[tuple[str, float]] = field(default_factory=list)
    runs: dict[str, Run] = field(default_factory=dict)
    audits: dict[str, Audit] = field(default_factory=dict)
    touches: list[Touch] = field(default_factory=list)
    proofs: list[Proof] = field(default_factory=list)
    stand_ins: list[tuple[str, str, str]] = field(default_factory=list)
    refused_after: dict[str, float] = field(default_factory=dict)
    """VPN gateway -> seconds from the command that revoked a certificate until it refused it."""
    next_commands: list[tuple[str, str]] = field(default_factory=list)

    def chapter(self, name: str = "") -> list[Proof]:
        """The proofs of a chapter; of none: the others."""
        return [proof for proof in self.proofs if proof.chapter == name]

    def count(self, outcome: Outcome) -> int:
        return sum(proof.outcome == outcome for proof in self.proofs)

    @property
    def failed(self) -> bool:
        return self.count("failed") > 0


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
