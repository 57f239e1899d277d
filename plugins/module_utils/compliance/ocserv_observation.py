# SPDX-License-Identifier: GPL-3.0-or-later
"""An ocserv gateway as a resource that only reads."""

from __future__ import annotations

from types import ModuleType
from typing import ClassVar

from ansible_collections.certlogon.core.plugins.module_utils.compliance.host_observation import HostObservation
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers import ocserv


class OcservObservation(HostObservation):
    kind = "ocserv"
    observer: ClassVar[ModuleType] = ocserv
    needs = "3.8"
