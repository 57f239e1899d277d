# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's page: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from lab.story import STAND_IN, ObjectChange, Story, counted

HERE = Path(__file__).resolve().parent


def render(story: Story) -> str:
    """The page as HTML; everything that comes from the domain or from a tool is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html.j2").render(
        story=story,
        style=Markup((HERE / "style.css").read_text()),
        first=story.runs.get("first"),
        second=story.runs.get("second"),
        check=story.runs.get("check"),
        repair=story.runs.get("repair"),
        groups=groups(story.runs["first"].changes) if "first" in story.runs else [],
        longest=max([seconds for _, seconds in story.steps], default=1.0) or 1.0,
        ours=ours,
        STAND_IN=STAND_IN,
    )


def groups(changes: Any) -> list[tuple[str, list[ObjectChange]]]:
    """Changes by the task that made them, in order; those of Ansible's own modules, which tell of no objects, by their role."""
    found: dict[str, list[ObjectChange]] = {}
    for change in changes:
        found.setdefault(change.task if ours(change) else f"Role {change.role.rpartition('.')[2]}", []).append(change)
    return list(found.items())


def listed(items: Sequence[ObjectChange]) -> str:
    """The objects of a group in one line."""
    if all(ours(change) for change in items):
        return ", ".join(dict.fromkeys(change.name for change in items))
    return counted(len(items), "step") + " on the way there"


def ours(change: ObjectChange) -> bool:
    return not change.module.startswith(("ansible.", "community."))


def write(story: Story, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(render(story), encoding="utf-8")
    temporary.replace(path)
