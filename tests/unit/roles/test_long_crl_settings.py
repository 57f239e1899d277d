# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of CRLs that are longer than Linux lets one argument of a program be, by Ansible itself: of many CAs, or of many places."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from .test_certlogon_gateway import Authority, Gateway

MAX_ARG_STRLEN = 128 << 10  # execve(2)
LONG = 200 << 10
REGISTERED = ["__ocserv_run", "__ocserv_read_again", "__certlogon_dc_crls", "__certlogon_dc_probed"]


class Site:
    """A gateway and a domain controller, both this host, whose roles have been given much."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gateway, self.ca = Gateway(folder), Authority()
        self.gateway.offer(self.ca.crl())
        (folder / "kdc").mkdir()
        self.crl = folder / "kdc/users.crl.pem"

    def variables(self) -> dict[str, Any]:
        found = f"file://{self.gateway.sources}/users.crl"
        nowhere = [f"file:///nowhere/{'x' * 180}/{number:04}.crl" for number in range(LONG // 200)]
        self.gateway.authorities.clear()
        self.gateway.trust(self.ca, urls=[*nowhere, found])
        wordy = "a CA certificate may come with what openssl says of it\n" * (LONG // 55) + self.ca.pem
        given: dict[str, Any] = {
            "ansible_python_interpreter": sys.executable,
            "ocserv_python": sys.executable,
            "certlogon_samba_python": sys.executable,
            "certlogon_domain_controller_address": "127.0.0.1",
            "__ocserv_command": "refresh",
            "__ocserv_gateway_settings": self.gateway.settings | {"radius": "", "systemd": False},
            "__ocserv_state_options": {
                "folder": str(self.folder / "none"),
                "folders": {},
                "files": {},
                "certificate": {"names": ["gw"], "given": "", "subject": "/CN=gw", "renew_before": 1},
                "authorities": [{"name": "users", "data": base64.b64encode(wordy.encode()).decode()}],
            },
            "__certlogon_dc_crl_settings": {
                "folder": str(self.folder / "kdc"),
                "authorities": [{"subject": "CN=users", "pem": self.ca.pem, "crl": self.crl.name}],
                "sources": [*nowhere, found],
            },
            "__certlogon_dc_paths": {"crl_script": str(self.folder / "script"), "crl_settings": str(self.folder / "settings")},
            "__certlogon_dc_timer": "none",
            "__certlogon_dc_proof_names": ["dc1"],
            "__certlogon_dc_proof_excuse": True,
            "__certlogon_dc_ntauth": [wordy],
        }
        for name in ("__ocserv_gateway_settings", "__ocserv_state_options", "__certlogon_dc_crl_settings", "__certlogon_dc_ntauth"):
            assert len(json.dumps(given[name])) >= LONG > MAX_ARG_STRLEN
        return given

    def play(self) -> dict[str, Any]:
        calls = [("ocserv_gateway", "run"), ("ocserv_gateway", "read_again")]
        calls += [("domain_controller_certificates", "crls"), ("domain_controller_certificates", "prove")]
        tasks: list[dict[str, Any]] = [
            {"ansible.builtin.include_role": {"name": f"certlogon.core.{role}", "tasks_from": file}} for role, file in calls
        ]
        words = "{{ {" + ", ".join(f"'{name}': {name}" for name in REGISTERED) + "} | to_json }}"
        tasks += [{"ansible.builtin.copy": {"content": words, "dest": str(self.folder / "found")}}]
        (self.folder / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
        (self.folder / "variables.json").write_text(json.dumps(self.variables()))
        command = [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", "-c", "local", "-e", "@variables.json", "play.yml"]
        environment = os.environ | {"ANSIBLE_LOCAL_TEMP": str(self.folder / "l"), "ANSIBLE_REMOTE_TEMP": str(self.folder / "r")}
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=120)
        assert (self.folder / "found").exists(), "\n".join(line[:300] for line in (done.stdout + done.stderr).splitlines())
        found: dict[str, Any] = json.loads((self.folder / "found").read_text())
        return {name: {**json.loads(found[name]["stdout"]), "_changed": found[name]["changed"]} for name in REGISTERED}


def test_long_settings_reach_the_host(tmp_path: Path) -> None:
    site = Site(tmp_path)
    found = site.play()
    for name in ("__ocserv_run", "__certlogon_dc_crls"):
        assert found[name]["changed"] and found[name]["_changed"]
    assert found["__ocserv_run"]["changes"] and not found["__ocserv_run"]["authorities"][0]["problem"]
    assert found["__ocserv_read_again"]["authorities"][0]["problems"] == []
    assert "no TLS handshake at 127.0.0.1:636" in found["__certlogon_dc_probed"]["problems"][0]
    assert site.crl.exists() and site.gateway.trusted() == ["users"]
