# SPDX-License-Identifier: GPL-3.0-or-later
"""What tasks in check mode said they would change, as findings (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

FORMAT = "certlogon-drift/1"
LONGEST = 4000
"""Characters of a side of a difference; longer ones are cut, for a report is no backup."""


@dataclass(frozen=True)
class Noted:
    """Where it was seen."""

    host: str
    play: str
    role: str
    task: str
    action: str


def findings(noted: Noted, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One finding for each object that the result's differences name; one for the task where it gives none."""
    if not result.get("changed") and not result.get("failed"):
        return []
    label = str(result.get("_ansible_item_label") or result.get("item") or noted.task)
    found = [{**asdict(noted), **difference} for difference in _differences(result.get("diff"), label)]
    if found or not result.get("changed"):
        return found
    hidden = "the task keeps its difference secret" if "censored" in result else "the task shows no difference"
    return [{**asdict(noted), "object": label, "before": "", "after": "", "note": hidden}]


def _differences(diff: Any, label: str) -> Iterator[dict[str, Any]]:
    for part in diff if isinstance(diff, list) else [diff]:
        if not isinstance(part, Mapping):
            continue
        before, after = (_side(part.get(side)) for side in ("before", "after"))
        text = _side(part.get("prepared"))
        if before != after or text:
            name = str(part.get("after_header") or part.get("before_header") or label).strip()
            yield {"object": name, "before": before, "after": after or text, "note": ""}


def _side(value: Any) -> Any:
    """Words as they are, where they are small; text cut."""
    if isinstance(value, (Mapping, list)) and len(str(value)) <= LONGEST:
        return value
    text = "" if value is None else str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text) - LONGEST} more characters)"
