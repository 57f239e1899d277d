# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers.authority import AuthorityObservation
from ansible_collections.certlogon.core.plugins.plugin_utils.powershell import PowerShellAction


class ActionModule(PowerShellAction):
    resource = AuthorityObservation

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        user = self._connection.get_option("remote_user") if self._connection.has_option("remote_user") else None
        self._task.args = {"account": user or "", **self._task.args}
        return super().run(tmp, task_vars)
