# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook `revoke` says so where it has revoked nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PLAYBOOK = Path(__file__).resolve().parents[2] / "playbooks/revoke.yml"


def test_without_an_authority_it_fails(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("certification_authority: {hosts: {ca1.corp.example: }}\n", encoding="utf-8")  # mistyped
    ran = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", PLAYBOOK, "-i", "hosts.yml", "-e", "certlogon_revoke_user=CORP/alice"],
        cwd=tmp_path,
        env={**os.environ, "LC_ALL": "C.UTF-8", "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2, ran.stdout + ran.stderr
    assert "Nothing is revoked: the inventory has no host in" in ran.stdout + ran.stderr
