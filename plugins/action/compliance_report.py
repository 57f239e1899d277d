# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
from ansible.plugins.action import ActionBase
from ansible.utils import color as colors
from ansible.utils.display import Display

from ansible_collections.certlogon.core.plugins.module_utils.compliance import reporting
from ansible_collections.certlogon.core.plugins.module_utils.compliance.outputs import terminal
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.plugin_utils import compliance_report
from ansible_collections.certlogon.core.plugins.plugin_utils.in_process import plain, refusal


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no type hints
    _supports_check_mode = True
    _supports_async = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        checked = ArgumentSpecValidator(reporting.ARGUMENTS, **reporting.RULES).validate(self._task.args)
        if checked.error_messages:
            result.update(failed=True, msg=remove_values(refusal(self._task.action, checked), checked._no_log_values))
            return result
        params = plain(checked.validated_parameters)
        warnings: list[str] = []
        try:
            outcome, report = compliance_report.run(params, compliance_report.Inventory(task_vars or {}), warnings.append)
        except UserError as error:
            outcome, report = {"failed": True, "msg": str(error)}, None
        if report:
            self._show(report, outcome["outputs"], params["color"])
        if warnings:
            outcome["warnings"] = warnings
        result.update(remove_values(outcome, checked._no_log_values))
        return result

    def _show(self, report: Mapping[str, Any], outputs: Mapping[str, str], color: bool | None) -> None:
        """The summary as it is: Ansible would show it with its lines in one."""
        display = Display()
        coloured = bool(colors.ANSIBLE_COLOR) if color is None else color
        display.display(terminal.render(report, width=display.columns, color=coloured, outputs=outputs))
