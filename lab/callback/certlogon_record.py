# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a run did, as JSON lines: the demo's ear on ansible-playbook."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: certlogon_record
type: aggregate
short_description: Records a run as JSON lines
description:
  - Writes one JSON object a line, at once, for each task that starts, each result and the recap,
    into the file that E(CERTLOGON_RECORD) names.
"""

KEPT = ("changed", "failed", "skipped", "unreachable", "msg", "changes", "diff", "warnings")


class CallbackModule(CallbackBase):  # type: ignore[misc]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "certlogon_record"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        path = os.environ.get("CERTLOGON_RECORD")
        self.disabled = not path
        if path:
            self._file = Path(path).open("a", buffering=1, encoding="utf-8")  # noqa: SIM115 - open as long as the process

    def _write(self, event: str, **values: Any) -> None:
        self._file.write(json.dumps({"event": event, **values}, default=str) + "\n")

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        role = task._role.get_name() if task._role else ""
        self._write("task", name=task.get_name(), role=role)

    def v2_runner_on_ok(self, result: Any) -> None:
        self._result(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._result(result, ignored=ignore_errors)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._result(result)

    def _result(self, result: Any, ignored: bool = False) -> None:
        task = result._task
        role = task._role.get_name() if task._role else ""
        kept = {name: result._result[name] for name in KEPT if name in result._result}
        self._write("result", host=result._host.get_name(), task=task.get_name(), role=role, module=task.action, ignored=ignored, **kept)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._write("stats", hosts={host: stats.summarize(host) for host in sorted(stats.processed)})
