# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
from ansible.plugins.action import ActionBase

from ansible_collections.certlogon.core.plugins.module_utils.compliance.host_observation import HostObservation
from ansible_collections.certlogon.core.plugins.module_utils.compliance.ocserv_observation import OcservObservation
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import run
from ansible_collections.certlogon.core.plugins.plugin_utils.in_process import plain, refusal


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no type hints
    """One command over the task's own connection; everything else is done here."""

    _supports_check_mode = True
    _supports_async = False
    _requires_connection = True
    observation: ClassVar[type[HostObservation]] = OcservObservation

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        resource = self.observation(self._command, *self._where())
        checked = ArgumentSpecValidator(resource.argument_spec()).validate(self._task.args)
        if checked.error_messages:
            result.update(failed=True, msg=remove_values(refusal(self._task.action, checked), checked._no_log_values))
            return result
        warnings: list[str] = []
        try:
            result.update(run(resource, plain(checked.validated_parameters), check_mode=self._task.check_mode, warn=warnings.append))
        except UserError as error:
            result.update(failed=True, msg=str(error))
        if warnings:
            result["warnings"] = warnings
        return result

    def _command(self, command: str, given: bytes) -> Mapping[str, Any]:
        done: Mapping[str, Any] = plain(self._low_level_execute_command(command, in_data=given))
        return done

    def _where(self) -> tuple[str, str]:
        """Who looks, and at which address."""
        become = getattr(self._connection, "become", None)
        user = become.get_option("become_user") if become else None
        address = self._connection.get_option("host") if self._connection.has_option("host") else ""
        return str(user or self._play_context.remote_user or ""), str(address or self._play_context.remote_addr or "")
