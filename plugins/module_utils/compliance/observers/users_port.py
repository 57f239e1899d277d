# SPDX-License-Identifier: GPL-3.0-or-later
"""The port that users reach, as a browser sees it: facts `users_port` and `tls_versions` of gateways and servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.compliance.looking import reason
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Unread
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers import tls
from ansible_collections.certlogon.core.plugins.module_utils.compliance.read_only import Asked
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError


def observe(observation: Observation, expected: Mapping[str, Any], what: str, asked: Asked, timeout: int = 10) -> None:
    """What is shown for each name. The versions of TLS are the port's, whatever name is asked for. `what`: what users reach."""
    names, address, port = users_names(expected)
    if not address:
        nothing = Unread(f"expected.server_names: the inventory does not say by which names users reach the {what}")
        observation.set("users_port", nothing)
        observation.set("tls_versions", nothing)
        return
    shown = []
    for name in names:
        try:
            shown.append(tls.shown(address, port, name, timeout, asked))
        except UserError as error:
            shown.append({"host": address, "port": port, "server_name": name, "problem": reason(error)})
    observation.set("users_port", shown)
    failed = all("problem" in one for one in shown)
    observation.set("tls_versions", Unread(shown[0]["problem"]) if failed else tls.versions(address, port, names[0], timeout, asked))


def users_names(expected: Mapping[str, Any]) -> tuple[list[str], str, int]:
    """By which names the port is asked, where, and at which port; "" where nobody says where."""
    names = list(expected.get("server_names") or ())
    address = expected.get("users_address") or (names[0] if names else "")
    return names or [address], address, int(expected.get("users_port") or 443)
