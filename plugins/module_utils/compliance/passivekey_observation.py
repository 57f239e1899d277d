# SPDX-License-Identifier: GPL-3.0-or-later
"""A PassiveKey server as a resource that only reads."""

from __future__ import annotations

from types import ModuleType
from typing import ClassVar

from ansible_collections.certlogon.core.plugins.module_utils.compliance.host_observation import HostObservation
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers import passivekey


class PassiveKeyObservation(HostObservation):
    kind = "passivekey"
    observer: ClassVar[ModuleType] = passivekey
    needs = "3.11"
