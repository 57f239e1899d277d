# SPDX-License-Identifier: GPL-3.0-or-later
"""What the administrator is told where the programs that fetch CRLs end without a report, as on a full disk, by Ansible itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROLES = Path(__file__).resolve().parents[3] / "roles"
TROUBLE = "No space left on device"
CALLS = {
    "gateway": ("ocserv_gateway", "run.yml"),
    "gateway, asked": ("ocserv_gateway", "status.yml"),
    "gateway, at once": ("ocserv_gateway", "refresh_crls.yml"),
    "controller": ("domain_controller_certificates", "crls.yml"),
    "controller, at once": ("domain_controller_certificates", "refresh_crls.yml"),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("play")
    program = folder / "python"
    program.write_text(f"#!/bin/sh\ncat >/dev/null\necho 'certlogon: {TROUBLE}' >&2\nexit 1\n")
    program.chmod(0o755)
    tasks = [
        {
            "block": [{"ansible.builtin.include_tasks": str(ROLES / role / "tasks" / file), "vars": {"role_path": str(ROLES / role)}}],
            "rescue": [
                {"ansible.builtin.set_fact": {"found": f"{{{{ found | default({{}}) | combine({{'{name}': ansible_failed_result}}) }}}}"}}
            ],
        }
        for name, (role, file) in CALLS.items()
    ]
    tasks += [{"ansible.builtin.copy": {"content": "{{ found | default({}) | to_json }}", "dest": str(folder / "found")}}]
    variables = {
        "ansible_python_interpreter": sys.executable,
        "ocserv_python": str(program),
        "certlogon_samba_python": str(program),
        "certlogon_domain_controller_kind": "samba",
        "__ocserv_command": "refresh",
        "__ocserv_loader": "",
        "__ocserv_gateway_settings": {},
        "__ocserv_gateway_program": {},
        "__ocserv_library": "/none",
        "__ocserv_folder": "/none",
        "__ocserv_purposes": "",
        "vpn_gateway_revoked_serials": [],
        "vpn_gateway_revoked_users": [],
        "__certlogon_dc_crl_settings": {},
        "__certlogon_dc_loader": "",
        "__certlogon_dc_paths": {"crl_script": str(folder / "script"), "crl_settings": str(folder / "settings")},
        "__certlogon_dc_timer": "none",
    }
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": variables, "tasks": tasks}
    (folder / "play.yml").write_text(json.dumps([play]))
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "play.yml"]
    environment = os.environ | {"ANSIBLE_LOCAL_TEMP": str(folder / "local"), "ANSIBLE_REMOTE_TEMP": str(folder / "remote")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert (folder / "found").exists(), done.stdout + done.stderr
    found: dict[str, dict[str, Any]] = json.loads((folder / "found").read_text())
    return found


@pytest.mark.parametrize("name", CALLS)
def test_what_the_program_said_is_the_failure(results: dict[str, dict[str, Any]], name: str) -> None:
    assert name in results, "it went on as if the CRLs had been looked at"
    assert TROUBLE in results[name].get("stderr", "")
    assert not results[name]["changed"]
    assert "from_json" not in json.dumps(results[name])
