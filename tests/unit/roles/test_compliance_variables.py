# SPDX-License-Identifier: GPL-3.0-or-later
"""What role compliance makes of its variables, by Ansible itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROLE = Path(__file__).parents[3] / "roles/compliance"


def test_the_site_that_is_expected_is_the_one_that_is_looked_at() -> None:
    """compliance_drift calls it by the playbook's name without its folder: else the report had two, one of which never answered."""
    playbooks = ["certlogon.core.site", "site.yml", "/srv/our site/site.yml"]
    given = {
        "role": str(ROLE),
        "always": {"certlogon_compliance_kind": "drift", "inventory_hostname": "localhost"},
        "cases": [{"certlogon_compliance_drift_playbook": playbook} for playbook in playbooks],
        "wanted": ["__certlogon_compliance_target"],
    }
    command = [sys.executable, str(Path(__file__).with_name("rendering.py"))]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=True, timeout=60)
    names = [case["__certlogon_compliance_target"]["name"] for case in json.loads(done.stdout)]
    assert names == [Path(playbook).name for playbook in playbooks]
