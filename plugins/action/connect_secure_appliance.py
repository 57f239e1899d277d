# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import gateway
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.trusted_client_cas import DELEGATE
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.whole_appliance import WholeAppliance
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import yaml
from ansible_collections.certlogon.core.plugins.module_utils.resource import Warn
from ansible_collections.certlogon.core.plugins.plugin_utils.connect_secure import ConnectSecureAction
from ansible_collections.certlogon.core.plugins.plugin_utils.connect_secure_rehearsal import rehearse
from ansible_collections.certlogon.core.plugins.plugin_utils.crl_delegate import CrlDelegate
from ansible_collections.certlogon.core.plugins.plugin_utils.in_process import plain

ONLY_IN_CHECK_MODE = ("expected_certificates",)
"""What is looked at in check mode only, and costs to compute."""


ROLE = Path(__file__).resolve().parents[2] / "roles/connect_secure_gateway/meta/argument_specs.yml"


@cache
def role_validator() -> ArgumentSpecValidator:
    """By what Ansible checks the role's variables, unless the play tells it not to."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    specification = yaml.load(ROLE.read_text(encoding="utf-8"), Loader=loader)
    return ArgumentSpecValidator(specification["argument_specs"]["main"]["options"])


class ActionModule(ConnectSecureAction):
    resource = WholeAppliance()

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        self._known: dict[str, Any] = {}
        if not boolean(self._task.args.get("role_variables"), strict=False):
            return super().run(tmp, task_vars)
        # As Ansible itself checks them, in a task of its own before the role's. With many appliances that task takes as long as all that
        # an unchanged one is asked. A play that has the role's check off (rolespec_validate) leaves it to this one.
        given = task_vars or {}
        self._known = {name: plain(self._value(given[name])) for name in role_validator().argument_spec if name in given}
        checked = role_validator().validate(self._known, validate_role_argument_spec=True)
        if not checked.error_messages:
            return super().run(tmp, task_vars)
        told = remove_values(checked.error_messages, checked._no_log_values)
        return {"failed": True, "changed": False, "msg": "\n".join(["Validation of arguments failed:", *told]), "argument_errors": told}

    def _arguments(self, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the task, and for the others the variables that it names: what is no template in them costs nothing."""
        given = self._task.args
        named = given.get("variables")
        found = self._looked_up(gateway.ROLE, task_vars) if boolean(given.get("role_variables"), strict=False) else {}
        found |= self._looked_up(named, task_vars) if isinstance(named, Mapping) else {}
        return gateway.expanded({**found, **given})

    def _looked_up(self, named: Mapping[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for option, name in named.items():
            if isinstance(name, Mapping):
                found[option] = self._looked_up(name, task_vars)
            elif name in task_vars and (option not in ONLY_IN_CHECK_MODE or self._task.check_mode):
                found[option] = self._known[name] if name in self._known else self._value(task_vars[name])
        return {option: value for option, value in found.items() if value not in (None, "")}

    @classmethod
    def argument_spec(cls) -> dict[str, Any]:
        return cls.resource.argument_spec(deep=True)

    def _perform(self, params: Mapping[str, Any], warn: Warn) -> dict[str, Any]:
        whole = self.resource
        if params["cdp_check"] == DELEGATE:
            whole = WholeAppliance(CrlDelegate(self._task.delegate_to, self._low_level_execute_command).fetch)
        return whole.run(params, check_mode=self._task.check_mode, warn=warn)


with suppress(UserError, OSError):  # whatever is missing is told of where it is needed
    role_validator()
    rehearse(ActionModule.validator(), ActionModule.resource)
