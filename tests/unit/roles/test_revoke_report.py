# SPDX-License-Identifier: GPL-3.0-or-later
"""What the playbook `revoke` says at its end of gateways that did it, that did not, and whose proof failed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

PLAYBOOK = Path(__file__).resolve().parents[3] / "playbooks/revoke.yml"
NAMES = ("gw1", "gw2", "gw3")
DONE = {"__certlogon_refused_after": 1.25, "__certlogon_proven": True}


@pytest.mark.parametrize(
    ("found", "fails", "said"),
    [
        ([DONE, DONE, DONE], False, ["gw1: checks against the new CRL 1.2 s", "Refused by every gateway 1.2 s after the command"]),
        ([DONE, DONE, DONE | {"__certlogon_proven": False}], False, ["gw3: does not tell what is on the CRL"]),
        ([DONE, DONE, {"__certlogon_failed": "Fetch: no route"}], True, ["gw3: NOT DONE", "(Fetch: no route)", "gw2: checks against"]),
        ([DONE, DONE, DONE | {"__certlogon_failed": "Log in: it opened"}], True, ["gw3: has the new CRL, but FAILED (Log in: it opened)"]),
    ],
    ids=["done", "not told", "not reached", "proof failed"],
)
def test_the_end_says_what_became_of_each_gateway(tmp_path: Path, found: list[dict[str, Any]], fails: bool, said: list[str]) -> None:
    last = yaml.safe_load(PLAYBOOK.read_text())[-1]
    hosts = dict(zip(NAMES, found, strict=True))
    revoked = {"certificates": [{"serial": "1a", "common_name": "alice", "status": "revoked"}]}
    inventory = {
        "certification_authorities": {"hosts": {"ca1": {"__certlogon_revoked": revoked}}},
        "vpn_gateways": {"hosts": hosts},
        "all": {"vars": {"ansible_connection": "local"}},
    }
    (tmp_path / "inventory.yml").write_text(yaml.safe_dump(inventory))
    (tmp_path / "play.yml").write_text(yaml.safe_dump([last]))
    command = [sys.executable, "-m", "ansible", "playbook", "-i", "inventory.yml", "play.yml"]
    environment = os.environ | {"ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml", "ANSIBLE_LOCALHOST_WARNING": "false"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode != 0) is fails, done.stdout + done.stderr
    for words in said:
        assert words in done.stdout, done.stdout
    assert ("Refused by every gateway" in done.stdout) is (said[-1].startswith("Refused"))
