# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that exist for their documentation: the work is done by the action plugin of the same name."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.connection import CONNECTION
from ansible_collections.certlogon.core.plugins.module_utils.resource import Resource

__all__ = ["CONNECTION", "explain"]


def explain(resource: type[Resource[Any, Any]]) -> None:
    """End with the one reason there can be for running such a module."""
    module = AnsibleModule(resource.argument_spec(), supports_check_mode=True, **resource.rules())
    module.fail_json(
        msg="this module runs as an action on the control node; call it by its full name (certlogon.core.…) in an ordinary task"
    )
