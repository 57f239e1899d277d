# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of the site's playbook would change."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts, Verdict, failed, passed, unknown

VARIABLES: Mapping[str, tuple[str, ...]] = {
    "certificate_templates": ("certlogon_certificate_templates", "certlogon_template_options"),
    "certification_authority": ("certlogon_authority_settings",),
    "connect_secure_gateway": ("vpn_gateway_trusted_client_cas", "connect_secure_realms"),
    "domain_controller_certificates": ("certlogon_domain_controller_template",),
    "ocserv_gateway": ("vpn_gateway_trusted_client_cas",),
    "smart_card_policy": ("certlogon_smart_card_services", "certlogon_smart_card_settings"),
    "trust_roots": ("certlogon_trusted_certificates", "certlogon_pushed_certificates"),
}
"""What the inventory says about the objects of each role first of all."""


def none(facts: Facts, _parameters: Mapping[str, Any]) -> Iterator[Verdict]:
    """One failure for each object that would change, one unknown for each host that could not be asked."""
    differing = set()
    for found in facts["findings"]:
        role = found["role"].rpartition(".")[2]
        where = f"{found['host']}, {found['task']}"
        differing.add(found["host"])
        yield failed(
            f"{found['host']}: {found['object']}",
            f"{where}: {_what(found)}",
            variables=VARIABLES.get(role, ()),
            role=role,
            task=found["task"],
            before=found["before"],
            after=found["after"],
        )
    for failure in facts["failures"]:
        differing.add(failure["host"])
        yield unknown(f"{failure['host']}: {failure['task']}", f"could not be judged ({failure['status']}): {failure['message']}")
    if facts["judged"] and not differing:
        yield passed(facts.target.name, f"{facts['judged']} tasks would change nothing")


def _what(found: Mapping[str, Any]) -> str:
    if found["note"]:
        return f"{found['object']} would change ({found['note']})"
    before, after = found["before"], found["after"]
    if not before:
        return f"{found['object']} would be made"
    if not after:
        return f"{found['object']} would be removed"
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        names = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
        shown = ", ".join(f"{name} from {_short(before.get(name))} to {_short(after.get(name))}" for name in names[:3])
        return f"{found['object']} would change: {shown}{' and more' if len(names) > 3 else ''}"
    return f"{found['object']} would change"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}…"
