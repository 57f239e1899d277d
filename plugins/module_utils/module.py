# SPDX-License-Identifier: GPL-3.0-or-later
"""A resource as an ordinary Ansible module."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.parameters import remove_values

from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Resource, run


def run_module(resource: Resource[Any, Any]) -> None:
    module = AnsibleModule(resource.argument_spec(), supports_check_mode=True, **resource.rules())

    def warn(message: str) -> None:
        # AnsibleModule censors results, not warnings
        module.warn(remove_values(message, module.no_log_values))

    try:
        result = run(resource, module.params, check_mode=module.check_mode, warn=warn)
    except UserError as error:
        module.fail_json(msg=str(error))
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(**result)
