# SPDX-License-Identifier: GPL-3.0-or-later
"""A resource run inside the controller process, where the task allows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ansible import template as templating
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
from ansible.module_utils.errors import UnsupportedError
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import filter_loader, test_loader

from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Resource, run

# Ansible loads this in the process that all tasks are forked from. Its filters and tests, all of which the first template that names
# one loads, are loaded there too: in a task, that costs some 30 ms each time.
filter_loader.get("ansible.builtin.combine")
test_loader.get("ansible.builtin.match")
# Likewise what Jinja keeps from its first template on.
_trusted = getattr(templating, "trust_as_template", str)  # since ansible-core 2.19
templating.Templar(None).template(_trusted("{{ [{}] | product([{}]) | map('combine') | list }}"))


class InProcessAction(ActionBase):  # type: ignore[misc]  # ansible ships no type hints
    """The module's twin: same options, same engine, no process of its own (about 10 ms a task where a module costs 210 ms)."""

    resource: ClassVar[Resource[Any, Any]]
    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        if self._needs_module():
            result.update(self._execute_module(task_vars=task_vars, wrap_async=self._task.async_val))
            return result
        checked = ArgumentSpecValidator(self.resource.argument_spec(), **self.resource.rules()).validate(self._task.args)
        if checked.error_messages:
            result.update(failed=True, msg=remove_values(refusal(self._task.action, checked), checked._no_log_values))
            return result
        warnings = [entry["warning"] for entry in checked._warnings]
        try:
            outcome = run(self.resource, plain(checked.validated_parameters), check_mode=self._task.check_mode, warn=warnings.append)
        except UserError as error:
            outcome = {"failed": True, "msg": str(error)}
        if warnings:
            outcome["warnings"] = warnings
        result.update(remove_values(outcome, checked._no_log_values))
        return result

    def _needs_module(self) -> bool:
        """Only the module process can honour another connection, async, become or environment."""
        return bool(
            self._connection.transport != "local"
            or self._task.async_val
            or getattr(self._connection, "become", None)
            or any(self._task.environment or ())
        )


def refusal(action: str, checked: Any) -> str:
    """The validator's messages in the words of `AnsibleModule`."""
    unsupported = any(isinstance(error, UnsupportedError) for error in checked.errors)
    text = "; ".join(checked.error_messages)
    return f"Unsupported parameters for ({action}) module: {text}" if unsupported else text


def plain(value: Any) -> Any:
    """The same value in exact built-in types: Ansible tags what it templates, and some libraries refuse subclasses."""
    if value is None or type(value) in (str, bool, int, float, bytes):
        return value
    if isinstance(value, str):
        return str.__str__(value)  # str(value) would call the subclass, and ansible-core before 2.19 keeps its own kind there
    if isinstance(value, (dict, Mapping)):  # an abstract class takes milliseconds to judge a kind that it has not met in this process
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    kinds: tuple[type[Any], ...] = (bool, int, float, bytes)
    for kind in kinds:
        if isinstance(value, kind):
            return value if type(value) is kind else kind(value)  # pylint: disable=unidiomatic-typecheck
    return value
