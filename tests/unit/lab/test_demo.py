# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from lab import demo, runs
from lab.screen import Screen
from lab.story import ObjectChange


class Terminal(io.TextIOWrapper):
    def __init__(self, encoding="utf-8", terminal=True):
        self.bytes = io.BytesIO()
        self.terminal = terminal
        super().__init__(self.bytes, encoding=encoding)

    def isatty(self):
        return self.terminal

    @property
    def text(self):
        self.flush()
        return self.bytes.getvalue().decode(self.encoding)


def screen(terminal=True, encoding="utf-8", **environment):
    stream = Terminal(encoding, terminal)
    return Screen(stream, {"TERM": "xterm", "LANG": "C.UTF-8"} | environment), stream


def one_step(shown, fails=False):
    with shown.step("First run") as step:
        step.now = "Certificate templates"
        step.note = "14 objects"
        if fails:
            raise RuntimeError


def test_a_step_ticks_in_a_terminal_and_leaves_one_line():
    shown, stream = screen()
    one_step(shown)
    assert "\r" in stream.text
    assert "\x1b[32m✓" in stream.text
    assert stream.text.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "terminal", "has", "lacks"),
    [
        ({}, False, "✓ First run", "\x1b"),
        ({"TERM": "dumb"}, True, "✓ First run", "\x1b"),
        ({"NO_COLOR": "1"}, True, "✓ First run", "\x1b[3"),
        ({"LC_ALL": "C"}, False, "ok First run", "✓"),
        ({"CERTLOGON_CHARMAP": "ANSI_X3.4-1968"}, False, "ok First run", "✓"),
    ],
)
def test_plain_where_the_output_is(given, terminal, has, lacks):
    shown, stream = screen(terminal, **given)
    one_step(shown)
    assert has in stream.text
    assert lacks not in stream.text


def test_ascii_where_the_encoding_has_no_more():
    shown, stream = screen(False, encoding="ascii")
    one_step(shown)
    shown.say("Čert … · done")
    assert "ok First run" in stream.text
    assert "?ert ... - done" in stream.text


def test_a_failed_step_is_marked_and_passed_on():
    shown, stream = screen(False)
    with pytest.raises(RuntimeError):
        one_step(shown, fails=True)
    assert "✗ First run" in stream.text


def test_rows_wrap_in_one_column():
    shown, stream = screen(False)
    shown.width = 60
    shown.rows([("a", "word " * 12, "judge"), ("b", "short", "other judge")], wrap=1)
    lines = stream.text.splitlines()
    assert max(map(len, lines)) <= 60
    assert lines[0].startswith("  a  word") and lines[0].endswith("judge")
    assert lines[-1].startswith("  b  short")


EVENTS = [
    {"event": "task", "name": "certlogon.core.r : Set", "role": "r"},
    {
        "event": "result",
        "host": "d",
        "task": "certlogon.core.r : Set",
        "role": "certlogon.core.r",
        "module": "certlogon.core.m",
        "changed": True,
        "changes": [{"name": "A", "action": "create"}, {"name": "B", "action": "delete"}],
        "diff": [{"after_header": "A", "before_header": "A", "before": {}, "after": {"x": 1}}],
        "warnings": ["careful"],
    },
    {
        "event": "result",
        "host": "d",
        "task": "copy",
        "role": "",
        "module": "copy",
        "changed": True,
        "diff": {"before": "a\n", "after": "b\n"},
    },
    {"event": "result", "host": "d", "task": "quiet", "role": "", "module": "m", "changed": False, "changes": []},
    {"event": "stats", "hosts": {"d": {"ok": 3, "changed": 2, "failures": 0}}},
]


def test_a_run_is_understood_from_its_events():
    run = runs.understand("First run", "ansible-playbook", 1.0, EVENTS)
    assert (run.tasks, run.changed_tasks, run.warnings) == (3, 2, ("careful",))
    assert [(change.task, change.name, change.action) for change in run.changes] == [
        ("Set", "A", "create"),
        ("Set", "B", "delete"),
        ("copy", "copy", "update"),
    ]
    assert run.changes[0].diff() == [("+", "x: 1")]
    assert run.changes[2].diff() == [("-", "a"), ("+", "b")]
    assert run.summary == "3 objects in 2 tasks"


def test_parts_of_one_module_are_told_apart():
    """Two objects of one name in two parts: each has its own difference, and counts as changed by a module of its own."""
    changes = [{"part": part, "name": "A", "action": "create"} for part in ("one", "two")]
    diffs = [{"after_header": f"{part}: A", "before": {}, "after": {"x": part}} for part in ("one", "two")]
    event = {"task": "r : Set", "role": "r", "module": "certlogon.core.m", "changes": changes, "diff": diffs}
    found = runs.object_changes(event)
    assert [(change.module, change.name, change.after) for change in found] == [
        ("certlogon.core.m one", "A", {"x": "one"}),
        ("certlogon.core.m two", "A", {"x": "two"}),
    ]


def test_a_long_diff_leaves_out_what_is_the_same():
    before = {f"option{number}": 1 for number in range(20)}
    after = before | {"option2": 2, "option15": 3}
    kinds = [kind for kind, _text in ObjectChange("r", "t", "m", "n", "update", before, after).diff()]
    assert kinds.count("@") == 1
    assert (kinds.count("+"), kinds.count("-")) == (2, 2)


def test_what_an_earlier_demo_left_is_removed(tmp_path):
    for name in ("index.html", "proofs.json"):
        (tmp_path / name).write_text("old")
    demo.prepare(tmp_path, tmp_path / "log")
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_next_commands_name_the_lab_and_the_export():
    text = json.dumps(demo.next_commands("other", Path("/labs/other/exports/x.yml")))
    assert "lab exec --name other machine -- ansible-playbook certlogon.core.site -i inventories/lab --check --diff" in text
    assert "certlogon_undo_file=/labs/other/exports/x.yml" in text
    assert "--name" not in json.dumps(demo.next_commands("demo", None))
