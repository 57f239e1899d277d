# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from ansible_collections.certlogon.core.plugins.module_utils.compliance.crl_observation import CrlObservation
from ansible_collections.certlogon.core.plugins.plugin_utils.in_process import InProcessAction


class ActionModule(InProcessAction):
    resource = CrlObservation()
    _supports_async = False

    def _needs_module(self) -> bool:
        """Never: the observations are on the control node."""
        return False
