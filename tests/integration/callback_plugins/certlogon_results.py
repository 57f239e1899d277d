# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Task results as JSON lines in the file that CERTLOGON_RESULTS names; ansible-core's own json callback is gone."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: certlogon_results
type: aggregate
short_description: Task results as JSON lines, for tests
description: Writes one JSON object a task and host into the file named by E(CERTLOGON_RESULTS).
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "certlogon_results"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, display=None, options=None):
        super().__init__(display, options)
        self._file = Path(os.environ["CERTLOGON_RESULTS"]).open("a", encoding="utf-8")  # noqa: SIM115  # open as long as the play

    def _write(self, status, result):
        outcome = json.loads(self._dump_results(result._result, indent=0))
        if "diff" in result._result:
            # left out of what is meant for the screen
            outcome["diff"] = result._result["diff"]
        line = {
            "host": result._host.get_name(),
            "task": result._task.get_name(),
            "action": result._task.action,
            "status": status,
            "result": outcome,
        }
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def v2_runner_on_ok(self, result):
        self._write("ok", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._write("ignored" if ignore_errors else "failed", result)

    def v2_runner_on_skipped(self, result):
        self._write("skipped", result)

    def v2_runner_on_unreachable(self, result):
        self._write("unreachable", result)
