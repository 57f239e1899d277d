# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import gateway
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.trusted_client_cas import DELEGATE
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.whole_appliance import WholeAppliance
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Warn
from ansible_collections.certlogon.core.plugins.plugin_utils.connect_secure import ConnectSecureAction
from ansible_collections.certlogon.core.plugins.plugin_utils.connect_secure_rehearsal import rehearse
from ansible_collections.certlogon.core.plugins.plugin_utils.crl_delegate import CrlDelegate

ONLY_IN_CHECK_MODE = ("expected_certificates",)
"""What is looked at in check mode only, and costs to compute."""


class ActionModule(ConnectSecureAction):
    resource = WholeAppliance()

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
                found[option] = self._value(task_vars[name])
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
    rehearse(ActionModule.validator(), ActionModule.resource)
