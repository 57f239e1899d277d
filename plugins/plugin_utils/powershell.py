# SPDX-License-Identifier: GPL-3.0-or-later
"""Resources of a Windows host: decided in the controller process, read and written by thin scripts over the task's own connection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import become_loader, module_loader

from ansible_collections.certlogon.core.plugins.module_utils.adcs.powershell import Credential, HostResource, PowerShellSession
from ansible_collections.certlogon.core.plugins.module_utils.errors import SessionLost, UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import run
from ansible_collections.certlogon.core.plugins.plugin_utils.in_process import plain, refusal

_REMEDIES = {
    "credentials were rejected": "check ansible_user and ansible_password (and that ansible_winrm_transport suits the account)",
    "refused": "is WinRM on and listening there? On the host: winrm quickconfig -transport:https; look at ansible_port and the firewall",
    "certificate verify failed": "name the CA that issued the host's WinRM certificate in ansible_winrm_ca_trust_path",
    "timed out": "is the host up, and does the firewall let WinRM through (port 5986 for HTTPS)?",
    "name or service not known": "check ansible_host, and that this machine resolves the name",
    "name resolution": "check ansible_host, and that this machine resolves the name",
}

_TRANSPORTS = ("winrm", "requests", "urllib3", "pypsrp", "psrp", "httpx", "httpcore")
"""Libraries whose exceptions come through the connection plugins as they are, where a host goes away in the middle."""


class PowerShellAction(ActionBase):  # type: ignore[misc]  # ansible ships no type hints
    """Runs a resource here whose session is the task's connection to a Windows host.

    A subclass names `resource`, a class derived from `HostResource`. The result holds `rounds`: how often the host was asked.
    """

    resource: ClassVar[type[HostResource[Any]]]
    _supports_check_mode = True
    _supports_async = False
    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        checked = ArgumentSpecValidator(self.resource.argument_spec(), **self.resource.rules()).validate(self._task.args)
        if checked.error_messages:
            result.update(failed=True, msg=remove_values(refusal(self._task.action, checked), checked._no_log_values))
            return result
        params = plain(checked.validated_parameters)
        warnings = [entry["warning"] for entry in checked._warnings]
        session = PowerShellSession(lambda *asked: self._invoke(session, task_vars, *asked), warnings.append)
        resource = self.resource(session)
        try:
            if params.get("state") != "rendered":
                self._refuse_other_hosts()
            outcome = run(resource, params, check_mode=self._task.check_mode, warn=warnings.append)
        except UserError as error:
            outcome = {"failed": True, "msg": str(error)}
        outcome.update(resource.returns(params), rounds=session.rounds)
        if warnings:
            outcome["warnings"] = warnings
        result.update(remove_values(outcome, checked._no_log_values))
        return result

    def _refuse_other_hosts(self) -> None:
        if not getattr(self._connection._shell, "_IS_WINDOWS", False):
            raise UserError(
                f"{self._task.action}: the task's host is not reached as a Windows host (connection {self._connection.transport}); "
                "run it on the CA host, with ansible_connection winrm or psrp, or ssh with ansible_shell_type powershell"
            )

    def _invoke(
        self,
        session: PowerShellSession,
        task_vars: Mapping[str, Any] | None,
        name: str,
        arguments: Mapping[str, Any],
        runas: Credential | None = None,
    ) -> Mapping[str, Any]:
        if not module_loader.find_plugin_with_context(name, mod_type=".ps1").resolved:
            raise UserError("the collection ansible.windows is missing here; install it: ansible-galaxy collection install ansible.windows")
        try:
            with self._becoming(runas):
                answer: Mapping[str, Any] = plain(self._execute_module(module_name=name, module_args=dict(arguments), task_vars=task_vars))
        except AnsibleConnectionFailure as error:
            raise self._lost(session, str(error)) from error
        except AnsibleError as error:
            if "timed out" not in str(error):
                raise
            raise self._lost(session, str(error)) from error
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in _TRANSPORTS:
                raise
            raise self._lost(session, str(error)) from error
        return answer

    @contextmanager
    def _becoming(self, user: Credential | None) -> Iterator[None]:
        """As with the task's keyword become and the method runas; a task that has them itself keeps its own."""
        if user is None or self._connection.become is not None:
            yield
            return
        plugin = become_loader.get("ansible.builtin.runas")
        plugin.set_options(direct={"become_user": user.username, "become_pass": user.password, "become_flags": ""})
        self._connection.set_become_plugin(plugin)
        try:
            yield
        finally:
            self._connection.set_become_plugin(None)

    def _lost(self, session: PowerShellSession, reason: str) -> AnsibleConnectionFailure | SessionLost:
        """Unreachable from the start is Ansible's own matter; gone in the middle, the task reports what was done until then."""
        host = self._connection.get_option("remote_addr") if self._connection.has_option("remote_addr") else "the host"
        text = " ".join(reason.split())
        remedy = next((remedy for sign, remedy in _REMEDIES.items() if sign in text.casefold()), "")
        message = f"{host} cannot be reached by {self._connection.transport}: {text}{'; ' if remedy else ''}{remedy}"
        lost: AnsibleConnectionFailure | SessionLost
        if session.rounds <= 1:
            lost = AnsibleConnectionFailure(message)
        else:
            lost = SessionLost(f"{message}; what was begun is taken up by the next run")
        return lost
