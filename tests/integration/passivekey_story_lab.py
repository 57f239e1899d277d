# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole of PassiveKey in the lab, made by the playbook `site`: pk1 with server, FreeRADIUS and nginx, client1, the gateways."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key, pkcs12

from ansible_collections.certlogon.core.tests.integration.passivekey_lab import (
    CHALLENGE,
    STATE,
    Answer,
    Gateway,
    server_certificate,
)
from lab import tunnels
from lab.tunnels import CLIENT

ROOT = Path(__file__).parents[2]
PK1, SERVER = "pk1", "passivekey.corp.example"
ORIGIN = f"https://{SERVER}:8443"
SITE, OTHER_SITE = "intranet.corp.example", "wiki.corp.example"
COOKIE, SESSION = "__Host-passivekey", "__Host-passivekey-session"
LIBRARY = "/opt/passivekey-agent/bin/python"
"""Python on client1 that has the agent's package."""


def until(command: str) -> str:
    """A shell's line that waits for a command to succeed."""
    return f"for i in $(seq 100); do {command} && exit 0; sleep 0.1; done; exit 1"


class Server:
    """pk1, with all three of its services."""

    def __init__(self, lab: Any) -> None:
        self.lab = lab
        self.origin, self.ca = ORIGIN, lab.files["ca_bundle"]
        found = lab.status["hosts"][PK1]
        self.secret = found["passivekey"]["radius_secrets"]
        self.radius = Gateway(found["address"], self.secret["control"].encode(), timeout=15)

    def run(self, *arguments: str) -> str:
        """`passivekey` on pk1."""
        return str(self.lab.run(PK1, "passivekey", *arguments).stdout)

    def devices(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.run("user", "--json", name).splitlines()[1:]]

    def active(self, name: str) -> list[str]:
        return [found["id"] for found in self.devices(name) if found["state"] == "active"]

    def stop(self) -> None:
        """As if it had died, with all its workers; and cron does not start it again meanwhile."""
        die = "kill -STOP $(cat /run/crond.pid); p=$(cat /run/passivekey-server.pid); pkill -9 -P $p; kill -9 $p"
        self.lab.run(PK1, "sh", "-c", f"{die}; while [ -d /proc/$p ]; do sleep 0.05; done")

    def start(self) -> None:
        ready = f"curl -s --cacert /etc/passivekey/ca.pem {ORIGIN}/health > /dev/null"
        self.lab.run(PK1, "sh", "-c", f"passivekey-run start server; kill -CONT $(cat /run/crond.pid); {until(ready)}")

    # ---- as gateways and browsers ask

    def challenge(self, name: str, password: str, **more: Any) -> Answer:
        found = self.radius.ask(name, password, **more)
        assert found is not None and found.code == CHALLENGE, found
        return found

    def log_in(self, name: str, password: str, code: str, **more: Any) -> int:
        """Password, challenge, code; the code of the last answer."""
        found = self.radius.ask(name, code, self.challenge(name, password, **more).attributes[STATE], **more)
        assert found is not None and found.signed
        return found.code

    def fetch(self, cookies: Mapping[str, str], site: str = SITE) -> Fetched:
        """A page, by curl."""
        sent = "; ".join(f"{name}={value}" for name, value in cookies.items())
        command = ["curl", "-sS", "-i", "--http1.1", "--cacert", self.ca, f"https://{site}/"]
        done = subprocess.run([*command, *(["-H", f"Cookie: {sent}"] if sent else [])], capture_output=True, text=True, check=True)
        head, _, body = done.stdout.replace("\r", "").partition("\n\n")
        came = [line.partition(": ")[2] for line in head.splitlines() if line.lower().startswith("set-cookie:")]
        session = came[0].partition("=")[2].partition(";")[0] if came else ""
        return Fetched(int(head.split()[1]), session, body)


@dataclass(frozen=True)
class Fetched:
    """`session`: the value of the session cookie that came with the page, if one did."""

    status: int
    session: str
    page: str


# ---- deployment, by roles


def deploy(lab: Any, folder: Path) -> Server:
    """pk1 and client1 as the lab's inventory has them, but for more devices an account, and a FreeRADIUS that refuses without a pause."""
    inventory, options = ROOT / "inventories/lab", folder / "options.json"
    options.write_text(json.dumps({"passivekey_server_settings": {"enrollment": {"devices": 50}}}))
    ended(play(folder / "passivekey", inventory, "--tags", "passivekey", "--limit", "pk1*:client1*", "-e", f"@{options}"))
    lab.run(
        PK1, "sh", "-c", "sed -i 's/reject_delay = 1/reject_delay = 0/' /etc/passivekey/radius/radiusd.conf; passivekey-run restart radius"
    )
    lab.run(PK1, "sh", "-c", "for i in $(seq 50); do ss -uln | grep -q :1812 && exit 0; sleep 0.1; done; exit 1")
    return Server(lab)


def clean(lab: Any) -> None:
    """Nothing of it stays, for those who begin with bare hosts."""
    lab.run(PK1, "sh", "-c", END_PK1, check=False)
    lab.run(CLIENT, "sh", "-c", END_CLIENT1, check=False)
    lab.run("gw1", "sh", "-c", END_GW1, check=False)
    lab.kill("vpn1")
    lab.run("vpn1", "sh", "-c", "rm -rf /var/lib/connect_secure/*")
    lab.start("vpn1")


END_PK1 = """\
rm -f /etc/cron.d/passivekey
for service in server radius nginx; do passivekey-run stop $service; done
rm -rf /etc/passivekey /opt/passivekey /var/lib/passivekey /var/log/passivekey /var/backups/passivekey /run/passivekey-*
rm -rf /usr/local/sbin/passivekey* /etc/nginx/conf.d/passivekey.conf
userdel passivekey
"""
END_CLIENT1 = """\
rm -rf /opt/passivekey-agent /etc/passivekey /usr/local/bin/passivekey-agent /usr/local/share/passivekey
rm -rf /etc/xdg/autostart/passivekey* /etc/systemd/user/passivekey-agent.* /etc/systemd/user/*/passivekey-agent.*
rm -f /etc/*/native-messaging-hosts/org.certlogon.* /usr/lib/mozilla/native-messaging-hosts/org.certlogon.*
rm -f /etc/chromium/policies/managed/passivekey.json /etc/firefox/policies/policies.json
"""
END_GW1 = """\
rm -f /etc/cron.d/certlogon-gateway
for file in /run/ocserv.pid /run/certlogon-radius.pid; do kill $(cut -d' ' -f1 $file); rm -f $file; done
rm -rf /etc/ocserv/certlogon /var/lib/certlogon/vpn /etc/ocserv/ocserv.conf
"""


# ---- gateways, by their roles

URLS = {"gw1": "https://gw.corp.example", "vpn1": "https://vpn.corp.example"}
LOGS = {"gw1": "cat /var/log/ocserv.log", "vpn1": "cat /var/lib/connect_secure/log/*.log"}


def gateway(lab: Any, host: str) -> tunnels.Gateway:
    return tunnels.Gateway(URLS[host], log=lambda: str(lab.run(host, "sh", "-c", LOGS[host], check=False).stdout))


def gateways(lab: Any, server: Server, folder: Path) -> subprocess.Popen[str]:
    """The playbook for both, with password and code and no card: begun, for it takes a while."""
    hosts = lab.status["hosts"]

    def radius(name: str) -> dict[str, Any]:
        return {
            **device_certificate(lab, folder, URLS[name].rpartition("/")[2]),
            "vpn_gateway_sign_in": "radius",
            "vpn_gateway_radius_servers": [{"address": hosts[PK1]["address"], "secret": server.secret[name]}],
            "vpn_gateway_radius_timeout": 5,
        }

    gw1 = {
        **over_ssh(hosts["gw1"], folder),
        **radius("gw1"),
        "vpn_gateway_address_pool": hosts["gw1"]["pool"],
        "vpn_gateway_networks": ["10.84.0.0/24"],
        "ocserv_settings": {"max-ban-score": 0},
    }
    administrator = lab.account("vpn_admin")
    vpn1 = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "ansible_user": administrator["name"],
        "ansible_password": administrator["password"],
        "ansible_httpapi_ca_path": lab.files["ca_bundle"],
        "connect_secure_backup_dir": str(folder / "backups"),
        "connect_secure_requests": str(folder / "requests"),
        **radius("vpn1"),
    }
    inventory = folder / "gateways.yml"
    groups = (("vpn_gateways", "gw1", gw1), ("vpn_appliances", "vpn1", vpn1))
    inventory.touch(mode=0o600)
    inventory.write_text(json.dumps({group: {"hosts": {f"{name}.corp.example": found}} for group, name, found in groups}))
    return play(folder / "gateways", inventory)


def over_ssh(host: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    return {
        "ansible_host": host["address"],
        "ansible_user": "root",
        "ansible_ssh_private_key_file": host["ssh_key"],
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={host['ssh_known_hosts']} -o StrictHostKeyChecking=yes",
        "ansible_control_path_dir": str(folder / "ssh"),
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_pipelining": True,
    }


def device_certificate(lab: Any, folder: Path, name: str) -> dict[str, Any]:
    """A certificate that was made elsewhere, as variables of a gateway."""
    chain, key = server_certificate(lab.files, folder, name)
    first, *rest = x509.load_pem_x509_certificates(chain.read_bytes())
    packed, opening = folder / f"{name}.p12", secrets.token_hex(8)
    private = load_pem_private_key(key.read_bytes(), None)
    content = pkcs12.serialize_key_and_certificates(name.encode(), private, first, rest, BestAvailableEncryption(opening.encode()))
    packed.write_bytes(content)
    given = {"pkcs12_path": str(packed), "pkcs12_passphrase": opening}
    return {"vpn_gateway_server_names": [name], "vpn_gateway_device_certificate": given}


def play(folder: Path, inventory: Path, *arguments: str) -> subprocess.Popen[str]:
    """The playbook `site`, begun."""
    folder.mkdir()
    line = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), "certlogon.core.site", *arguments]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "CERTLOGON_ENROLLMENT"))}
    environment = kept | {"ANSIBLE_HOME": str(folder / "ansible"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_RETRY_FILES_ENABLED": "0"}
    quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(line, cwd=folder, env=environment, **quiet)


def ended(run: subprocess.Popen[str]) -> str:
    """Its output, once it has ended well."""
    output, _nothing = run.communicate(timeout=600)
    assert run.returncode == 0, output[-5000:]
    return output
