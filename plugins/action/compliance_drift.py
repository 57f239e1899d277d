# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from ansible_collections.certlogon.core.plugins.plugin_utils.in_process import InProcessAction
from ansible_collections.certlogon.core.plugins.plugin_utils.site_check import SiteCheck


class ActionModule(InProcessAction):
    resource = SiteCheck()
    _supports_async = False

    def _needs_module(self) -> bool:
        """Never: the run to be checked is this control node's."""
        return False
