# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab's hosts themselves say of what was written there, and of what was asked: beside what a compliance run says of itself."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.certlogon.core.tests.integration.conftest import CA_STATE, SAM

SYSVOL = "find /var/lib/samba/sysvol /etc/samba /etc/krb5.conf -printf '%p %T@ %C@ %s\\n' | sort | sha256sum"
# but for what certlogon-gateway writes every minute
GATEWAY = "find /etc /usr/local /var/lib -xdev -type f ! -name status.json ! -name .lock -printf '%p %T@ %C@ %s\\n' | sort | sha256sum"


def written(lab: Any) -> dict[str, str]:
    """What changes as soon as anything is written: the directory's own count of changes, digests of files and of the stand-ins' states."""
    root = lab.run("dc1", "ldbsearch", "-H", SAM, "-s", "base", "-b", "", "highestCommittedUSN").stdout
    found = {
        "directory": next(line for line in root.splitlines() if line.startswith("highestCommittedUSN")),
        "SYSVOL and settings of dc1": lab.run("dc1", "sh", "-c", SYSVOL).stdout,
    }
    if "ca1" in lab.status["hosts"]:
        found["ca1"] = lab.run("ca1", "sha256sum", f"{CA_STATE}/machine.json").stdout
    if "vpn1" in lab.status["hosts"]:
        found["vpn1"] = lab.run("vpn1", "sha256sum", "/var/lib/connect_secure/state.json").stdout
        found["gw1"] = lab.run("gw1", "sh", "-c", GATEWAY).stdout
    return found


class Asked:
    """What the stand-ins were asked since this was made."""

    def __init__(self, lab: Any) -> None:
        self.lab = lab
        self._requests, self._scripts = self._appliance()["requests"], lab.metrics()

    def _appliance(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.lab.run("vpn1", "cat", "/var/lib/connect_secure/metrics.json").stdout)
        return found

    def appliance(self) -> list[str]:
        """`GET /api/v1/…`, in order. It remembers a hundred."""
        now = self._appliance()
        count = now["requests"] - self._requests
        assert 0 < count <= len(now["asked"])
        asked: list[str] = now["asked"][-count:]
        return asked

    def scripts(self) -> set[str]:
        """Names of the scripts that ran on ca1."""
        now = self.lab.metrics()
        return {
            name.removeprefix("script_") for name, count in now.items() if name.startswith("script_") and count > self._scripts.get(name, 0)
        }
