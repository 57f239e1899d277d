# SPDX-License-Identifier: GPL-3.0-or-later
"""`ansible-playbook` in the machine's own environment, inside the lab's network, and what it did."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.labs import MACHINE, Lab
from lab.screen import Step
from lab.settings import CHECKOUT
from lab.story import Audit, ObjectChange, Run

CALLBACKS = Path(__file__).resolve().parent / "callback"
SITE = "certlogon.core.site"
COMPLIANCE = "certlogon.core.compliance"


def command_line(playbook: str, *options: str) -> str:
    return " ".join(("ansible-playbook", playbook, "-i", "inventories/lab", *options))


def site_command(*options: str) -> str:
    return command_line(SITE, *options)


def play(lab: Lab, title: str, logs: Path, step: Step, *options: str, playbook: str = SITE) -> Run:
    """Run a playbook once; its tasks show up in the step as they begin. Raises LabError, with the log, if it fails."""
    slug = "-".join(re.findall(r"[a-z0-9]+", title.lower()))
    log, record = logs / f"{slug}.log", logs / f"{slug}.jsonl"
    for file in (log, record):
        file.unlink(missing_ok=True)
    record.touch()
    program = Path(sys.executable).parent / "ansible-playbook"
    users = [f"--unset={name}" for name in os.environ if name.startswith("ANSIBLE_")]
    command = [
        "env",
        *users,
        *(f"{k}={v}" for k, v in environment(record).items()),
        str(program),
        playbook,
        "-i",
        "inventories/lab",
        *options,
    ]
    started = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(
            lab.command(MACHINE, command), cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            follow(process, record, step)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode:
        raise LabError(f"{command_line(playbook, *options)} ended with code {process.returncode}", log)
    return understand(title, command_line(playbook, *options), time.monotonic() - started, events(record))


def audit(lab: Lab, title: str, logs: Path, step: Step, folder: Path, *options: str) -> Audit:
    """The compliance playbook, which leaves its report in the folder."""
    told = {"folder": folder, "fail_on": "never", "drift": "false"}
    words = [word for name, value in told.items() for word in ("-e", f"certlogon_compliance_{name}={value}")]
    run = play(lab, title, logs, step, *words, *options, playbook=COMPLIANCE)
    report = json.loads((folder / "report.json").read_text())
    failing = [
        (control["id"], finding["subject"], finding["message"])
        for control in report["controls"]
        for result in control["results"]
        for finding in result["findings"]
        if finding["status"] == "fail"
    ]
    summary = report["summary"]
    return Audit(run, summary["score"], summary["counts"], failing, summary["gone"])


def environment(record: Path) -> dict[str, str]:
    """Ansible as the demo wants it, whatever the user's own configuration says."""
    empty = record.with_name("ansible.cfg")
    empty.touch()
    return {
        "ANSIBLE_CONFIG": str(empty),
        "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / "collections"),
        "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
        "ANSIBLE_CALLBACKS_ENABLED": "certlogon_record",
        "ANSIBLE_NOCOLOR": "1",
        "CERTLOGON_RECORD": str(record),
        "LC_ALL": "C.UTF-8",
    }


def follow(process: subprocess.Popen[bytes], record: Path, step: Step) -> None:
    """Name the running task in the step until the process ends."""
    with record.open() as lines:
        while True:
            ended = process.poll() is not None
            for line in lines:
                if line.startswith('{"event": "task"') and line.endswith("\n"):
                    step.now = json.loads(line)["name"].rpartition(" : ")[2]
            if ended:
                return
            time.sleep(0.05)


def events(record: Path) -> Iterator[dict[str, Any]]:
    with record.open() as lines:
        for line in lines:
            yield json.loads(line)


def understand(title: str, command: str, seconds: float, found: Iterator[dict[str, Any]] | Sequence[dict[str, Any]]) -> Run:
    """A run from its events."""
    tasks = changed = 0
    changes: list[ObjectChange] = []
    warnings: dict[str, None] = {}
    messages: list[str] = []
    for event in found:
        if event["event"] == "stats":
            changed = sum(host["changed"] for host in event["hosts"].values())
            tasks = sum(host["ok"] for host in event["hosts"].values())
        if event["event"] == "result":
            warnings |= dict.fromkeys(event.get("warnings") or [])
            if event["module"].endswith("debug"):
                messages.append(str(event.get("msg", "")))
            if event.get("changed"):
                changes += object_changes(event)
    return Run(title, command, seconds, tasks, changed, tuple(changes), tuple(warnings), tuple(messages))


def object_changes(event: dict[str, Any]) -> list[ObjectChange]:
    """One for each object of the result; a module that reports no objects counts as one."""
    diffs = {diff.get("after_header"): diff for diff in event.get("diff") or [] if isinstance(diff, dict)}
    task = event["task"].rpartition(" : ")[2]
    if "changes" not in event:
        diff = event.get("diff") or {}
        diff = diff[0] if isinstance(diff, list) and diff else diff
        before, after = (diff.get("before"), diff.get("after")) if isinstance(diff, dict) else (None, None)
        return [ObjectChange(event["role"], task, event["module"], task, "update", before, after)]
    found = []
    for change in event["changes"]:
        name, part = change["name"], change.get("part")
        # of a module with parts, each part is what a module of its own would be
        module = f"{event['module']} {part}" if part else event["module"]
        diff = diffs.get(f"{part}: {name}" if part else name, {})
        found.append(ObjectChange(event["role"], task, module, name, change["action"], diff.get("before"), diff.get("after")))
    return found
