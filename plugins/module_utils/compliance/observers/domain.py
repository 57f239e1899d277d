# SPDX-License-Identifier: GPL-3.0-or-later
"""The domain's PKI objects as the directory has them: facts only, no opinion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation
from ansible_collections.certlogon.core.plugins.module_utils.directory.session import Directory

OPTIONS: Mapping[str, Any] = {
    "authorities": {"type": "list", "elements": "str", "default": []},
    "trusted_certificates": {"type": "list", "elements": "dict", "default": []},
    "smart_card_templates": {"type": "list", "elements": "str", "default": []},
    "unprivileged": {"type": "list", "elements": "str", "default": []},
}
FACTS = ("domain",)


def observe(directory: Directory, params: Mapping[str, Any], observation: Observation) -> None:
    observation.set(
        "domain",
        {
            "dns": directory.domain,
            "dn": directory.domain_dn,
            "forest": directory.forest,
            "configuration_dn": directory.configuration_dn,
            "sid": str(directory.domain_sid),
            "root_sid": str(directory.root_domain_sid),
            "samba": directory.is_samba,
        },
    )
