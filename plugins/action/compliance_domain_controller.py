# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
from ansible.plugins.action import ActionBase

from ansible_collections.certlogon.core.plugins.module_utils.adcs.powershell import PowerShellSession
from ansible_collections.certlogon.core.plugins.module_utils.compliance import read_only
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers import domain_controllers as observer
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import run
from ansible_collections.certlogon.core.plugins.plugin_utils.in_process import plain, refusal
from ansible_collections.certlogon.core.plugins.plugin_utils.powershell import PowerShellAction


class ActionModule(PowerShellAction):
    """The ports are looked at from here, the host is asked over the task's own connection, if it is one to a domain controller."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = ActionBase.run(self, tmp, task_vars)
        spec = observer.DomainControllerObservation.argument_spec()
        checked = ArgumentSpecValidator(spec).validate(self._task.args)
        if checked.error_messages:
            result.update(failed=True, msg=remove_values(refusal(self._task.action, checked), checked._no_log_values))
            return result
        params = plain(checked.validated_parameters)
        warnings: list[str] = []
        resource = observer.DomainControllerObservation(self._host(params, task_vars, warnings))
        try:
            result.update(run(resource, params, check_mode=self._task.check_mode, warn=warnings.append))
        except UserError as error:
            result.update(failed=True, msg=str(error))
        if warnings:
            result["warnings"] = warnings
        return result

    def _host(self, params: Mapping[str, Any], task_vars: Mapping[str, Any] | None, warnings: list[str]) -> observer.Host:
        windows = getattr(self._connection._shell, "_IS_WINDOWS", False)
        local = self._connection.transport == "local"
        kind = params["kind"] or (observer.NONE if local else observer.WINDOWS if windows else observer.SAMBA)
        if kind == observer.NONE:
            return observer.Host(
                kind, None, why_not="the inventory has no way to the domain controller's host, only its ports were looked at"
            )
        if (kind == observer.WINDOWS) != windows:
            reached = "a Windows host" if windows else "no Windows host"
            return observer.Host(kind, None, why_not=f"the domain controller is said to be {kind}, but is reached as {reached}")
        option = "remote_user"
        user = self._connection.get_option(option) if self._connection.has_option(option) else None
        account = str(user or self._play_context.remote_user or "")

        def ask(question: str, asked: read_only.Asked) -> Mapping[str, Any]:
            try:
                if kind == observer.SAMBA:
                    return self._samba(params["samba_python"], question, asked)
                session = PowerShellSession(lambda *given: self._invoke(session, task_vars, *given), warnings.append)
                return read_only.powershell(session, asked).run(observer.SCRIPT, doing=f"reading {params['name']}")
            except AnsibleConnectionFailure as error:
                raise UserError(" ".join(str(error).split())) from error

        return observer.Host(kind, ask, account)

    def _samba(self, python: str, question: str, asked: read_only.Asked) -> Mapping[str, Any]:
        asked.ask("ssh", observer.SCRIPT)
        command = f"{shlex.quote(python)} - {shlex.quote(question)}"
        done = plain(self._low_level_execute_command(command, in_data=observer.program().encode()))
        if done["rc"] != 0:
            text = " ".join(str(done.get("stderr") or done.get("stdout") or "it said nothing").split())
            raise UserError(f"the script {observer.SCRIPT} ended with {done['rc']} on the domain controller: {text[-300:]}")
        try:
            answer: Mapping[str, Any] = json.loads(done["stdout"])
        except ValueError as error:
            raise UserError(f"the script {observer.SCRIPT} does not answer in JSON: {done['stdout'][:200]!r}") from error
        return answer
