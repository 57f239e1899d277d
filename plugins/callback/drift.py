# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: drift
short_description: Writes what a run in check mode would change as findings
author: certlogon contributors (@certlogon)
version_added: 0.1.0
description:
  - Notes every object that a task in check mode would change, with its difference, and every host and task that could not be judged, and
    writes them as one JSON file when the run ends.
  - It judges any playbook, not those of this collection alone. Tasks outside check mode are not noted, for what they change is no drift
    any more.
  - The playbook C(certlogon.core.compliance) runs C(certlogon.core.site) in check mode with this plugin by itself.
type: notification
requirements:
  - enable in configuration
options:
  file:
    description: The file to write; it is readable by its owner only.
    type: path
    default: certlogon-drift.json
    env:
      - name: CERTLOGON_DRIFT_FILE
    ini:
      - section: callback_drift
        key: file
"""

EXAMPLES = r"""
# ansible.cfg
# [defaults]
# callbacks_enabled = certlogon.core.drift
# [callback_drift]
# file = drift.json

# or for one run:
# ANSIBLE_CALLBACKS_ENABLED=certlogon.core.drift CERTLOGON_DRIFT_FILE=drift.json ansible-playbook certlogon.core.site --check --diff
"""

import datetime
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

from ansible_collections.certlogon.core.plugins.plugin_utils.drift import FORMAT, Noted, findings


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible ships no type hints
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "certlogon.core.drift"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._begun = _now()
        self._playbook = ""
        self._play = ""
        self._findings: list[dict[str, Any]] = []
        self._failures: list[dict[str, Any]] = []
        self._judged = 0

    def v2_playbook_on_start(self, playbook: Any) -> None:
        self._playbook = Path(playbook._file_name).name

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._play = play.get_name()

    def v2_runner_on_ok(self, result: Any) -> None:
        if not _member(result, "result").get("results"):  # the items of a loop were noted one by one
            self._note(result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        self._note(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if ignore_errors:
            return
        # what a resource did foresee before it failed is drift all the same
        self._note(result)
        self._failures.append(self._failure(result, "failed"))

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._failures.append(self._failure(result, "unreachable"))

    def v2_playbook_on_stats(self, stats: Any) -> None:
        # a failure that the play rescued took nothing from the judgement of its host
        kept = [failure for failure in self._failures if failure["status"] != "failed" or stats.failures.get(failure["host"])]
        document = {
            "format": FORMAT,
            "playbook": self._playbook,
            "started": self._begun,
            "ended": _now(),
            "judged": self._judged,
            "hosts": {host: stats.summarize(host) for host in sorted(stats.processed)},
            "findings": self._findings,
            "failures": kept,
        }
        path = Path(self.get_option("file"))
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1, default=str)
        self._display.display(f"certlogon drift: {len(self._findings)} objects differ, {len(kept)} not judged: {path}")

    def _note(self, result: Any) -> None:
        if not _member(result, "task_fields").get("check_mode"):
            return
        self._judged += 1
        self._findings += findings(self._noted(result), _member(result, "result"))

    def _failure(self, result: Any, status: str) -> dict[str, Any]:
        noted = self._noted(result)
        message = str(_member(result, "result").get("msg") or "no reason given")
        return {"host": noted.host, "role": noted.role, "task": noted.task, "status": status, "message": message}

    def _noted(self, result: Any) -> Noted:
        task = _member(result, "task")
        role = task._role.get_name() if task._role else ""
        return Noted(_member(result, "host").get_name(), self._play, role, task.name or task.action, task.action)


def _member(result: Any, name: str) -> Any:
    """ansible-core before 2.19 has it with an underscore only, and later ones warn of that."""
    value = getattr(result, name) if hasattr(result, name) else getattr(result, f"_{name}")
    return value if name in ("task", "host") or isinstance(value, Mapping) else {}


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
