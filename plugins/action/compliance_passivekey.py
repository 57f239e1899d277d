# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from ansible_collections.certlogon.core.plugins.action import compliance_ocserv
from ansible_collections.certlogon.core.plugins.module_utils.compliance.passivekey_observation import PassiveKeyObservation


class ActionModule(compliance_ocserv.ActionModule):
    observation = PassiveKeyObservation
