# SPDX-License-Identifier: GPL-3.0-or-later
"""What one observer saw, as the file that it leaves for the report: JSON, one file a target."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.compliance.catalogue import Control
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judging import Result
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import FORMAT, Target, Unread, Verdict
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError


@dataclass
class Observation:
    """`at` and `ended` are ISO 8601, UTC. `account` is who looked, `servers` who answered, `asked` counts each verb used on the wire.

    `facts` are JSON values or Unread's words; `streamed` the results of controls that judged while reading; `annexes` the files beside
    this one that list all their findings (JSON lines), by control id. `certificates` and `crls` are what the report draws:
    certificates: {use: root|ca|domain_controller|device|web|enrollment_agent, name, subject, issuer, serial, sha256, not_before, not_after,
    key ("RSA 2048"), held_by, template}; crls: {url, name, issuer, number, this_update, next_update, status,
    entries, size, held_by}. `cdps` are the CDPs to look at: {url, issuer (PEM of the CA), used_by}. `error`: why nothing was seen.
    """

    target: Target
    at: str
    ended: str = ""
    account: str = ""
    servers: Sequence[str] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    streamed: list[dict[str, Any]] = field(default_factory=list)
    annexes: dict[str, str] = field(default_factory=dict)
    certificates: list[dict[str, Any]] = field(default_factory=list)
    crls: list[dict[str, Any]] = field(default_factory=list)
    cdps: list[dict[str, Any]] = field(default_factory=list)
    asked: dict[str, int] = field(default_factory=dict)
    error: str = ""

    def set(self, name: str, value: Any) -> None:
        """A fact: any JSON value, or `Unread`."""
        self.facts[name] = value.words() if isinstance(value, Unread) else value

    def take(self, results: Sequence[Result]) -> None:
        """The results of streams."""
        self.streamed += [
            {"control": r.control.id, "counts": dict(r.counts), "verdicts": [asdict(verdict) for verdict in r.verdicts]} for r in results
        ]

    def results(self, controls: Mapping[str, Control]) -> list[Result]:
        """The streams' results again, of controls that the catalogue still has."""
        return [
            Result(controls[words["control"]], self.target, dict(words["counts"]), [Verdict(**verdict) for verdict in words["verdicts"]])
            for words in self.streamed
            if words["control"] in controls
        ]


def file_name(target: Target) -> str:
    """Another for each target, also where names differ in what file names should not have."""
    plain = re.sub(r"[^A-Za-z0-9.-]", "_", target.name)
    return f"{target.kind}-{plain}{'' if plain == target.name else '-' + hashlib.sha256(target.name.encode()).hexdigest()[:8]}.json"


def save(folder: Path, observation: Observation) -> Path:
    """Write the file whole or not at all, readable by its owner only."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / file_name(observation.target)
    handle, name = tempfile.mkstemp(dir=folder, prefix=".")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        # at once: dump, which writes in pieces, is ten times as slow
        file.write(json.dumps({"format": FORMAT, **vars(observation), "target": observation.target.words()}, separators=(",", ":")))
    Path(name).replace(path)
    return path


def load(path: Path) -> Observation:
    """Raises `FormatError` for a file that no observer of this version wrote."""
    try:
        words = json.loads(path.read_text(encoding="utf-8"))
        if words.pop("format") != FORMAT:
            raise ValueError("another format; look again with this version")
        return Observation(**{**words, "target": Target(**words["target"])})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"{path}: no observation: {error}") from error
