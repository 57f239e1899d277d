# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.trusted_client_cas import DELEGATE, TrustedClientCas
from ansible_collections.certlogon.core.plugins.plugin_utils.connect_secure import ConnectSecureAction
from ansible_collections.certlogon.core.plugins.plugin_utils.crl_delegate import CrlDelegate


class ActionModule(ConnectSecureAction):
    resource = TrustedClientCas()

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        if self._task.args.get("cdp_check") == DELEGATE:
            host = self._task.delegate_to
            self.resource = TrustedClientCas(CrlDelegate(host, self._low_level_execute_command).fetch)  # type: ignore[misc]
        return super().run(tmp, task_vars)
