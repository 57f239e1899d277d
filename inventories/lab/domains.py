#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's domain as an inventory: one host in group `domains`, with the connection as the lab made it.

Which lab: the one whose network this runs in (`./certlogon lab exec machine -- …`), else CERTLOGON_LAB, else the demo's.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lab.__main__ import lab_name
from lab.errors import LabError
from lab.labs import Lab


def inventory(status: dict[str, Any]) -> dict[str, Any]:
    """What `--list` answers, with all variables of the hosts in it."""
    controllers = [host["fqdn"] for host in status["hosts"].values() if "ports" in host]
    administrator = status["accounts"]["administrator"]
    domain = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "certlogon_server": controllers,
        "certlogon_domain": status["dns_domain"],
        "certlogon_username": administrator["upn"],
        "certlogon_password": administrator["password"],
        "certlogon_ca_path": status["files"]["ca_bundle"],
        # Where the lab keeps its certificates, for the variables in group_vars.
        "certlogon_lab_files": status["files"]["folder"],
    }
    return {"domains": {"hosts": [status["dns_domain"]]}, "_meta": {"hostvars": {status["dns_domain"]: domain}}}


def main() -> int:
    if sys.argv[1:2] == ["--host"]:  # all of it is in _meta
        print("{}")
        return 0
    try:
        lab = Lab(lab_name())
        status = lab.status()
        if status["state"] != "running":
            raise LabError(f"lab {lab.name!r} is not running; start it with: ./certlogon lab up --name {lab.name}")
    except (LabError, PermissionError) as error:
        print(f"inventories/lab: {error}", file=sys.stderr)
        return 1
    print(json.dumps(inventory(status), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
