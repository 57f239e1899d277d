# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole of PassiveKey in the lab: pk1 with server, FreeRADIUS and nginx, client1 with the agent, and what the story asks of them."""

from __future__ import annotations

import base64
import io
import json
import os
import secrets
import subprocess
import sys
import tarfile
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
    Domain,
    Gateway,
    server_certificate,
)
from lab import tunnels, workstation
from lab.tunnels import CLIENT

ROOT = Path(__file__).parents[2]
RADIUS_PID, SERVER_PID = "/run/passivekey-radius.pid", "/run/passivekey-server.pid"
PACKAGE = ROOT / "passivekey"
EXAMPLES = ROOT / "docs/examples/passivekey"
PK1, SERVER = "pk1", "passivekey.corp.example"
ORIGIN = f"https://{SERVER}:8443"
SITE, OTHER_SITE = "intranet.corp.example", "wiki.corp.example"
COOKIE, SESSION = "__Host-passivekey", "__Host-passivekey-session"
FOLDER, RADDB = "/etc/passivekey", "/etc/passivekey/radius"
CA = "/srv/files/ca-bundle.pem"
EXTENSION = "/opt/passivekey/extension"
LIBRARY = "/opt/passivekey/lib"

SETTINGS = f"""\
origin = "{ORIGIN}"
database = "sqlite:////var/lib/passivekey/passivekey.db"
[keys]
file = "/var/lib/passivekey/keys.json"
passphrase = "file:{FOLDER}/passphrase"
[directory]
servers = ["dc1.corp.example"]
base = "DC=corp,DC=example"
username = "{{reader}}"
password_file = "{FOLDER}/reader"
ca_file = "{CA}"
netbios = "CORP"
remember = 0.0
[kerberos]
keytab = "{FOLDER}/http.keytab"
[tls]
certificate = "{FOLDER}/server.pem"
key = "{FOLDER}/server.key"
address = "0.0.0.0"
port = 8443
[enrollment]
groups = ["{{group}}"]
devices = 50
[sites]
"{SITE}" = "{FOLDER}/site"
"{OTHER_SITE}" = "{FOLDER}/site"
[radius]
secret_file = "{FOLDER}/radius-secret"
[audit]
folder = "/var/log/passivekey"
"""
WHOLE = """\
user www-data;
pid /run/passivekey-nginx.pid;
error_log /var/log/nginx-site.log;
events {}
http {
    access_log off;
    include /etc/passivekey/site.conf;
    server {
        listen 127.0.0.1:8080;
        default_type text/html;
        location / { return 200 '<!doctype html><title>Intranet</title><h1>Intranet</h1><p>Welcome, $http_x_passivekey_user.</p>
            <p>You are $http_x_passivekey_account, at device $http_x_passivekey_device.</p>\\n'; }
    }
}
"""
PROGRAM = f"""\
#!/usr/bin/python3
import sys
sys.path.insert(0, {LIBRARY!r})
from passivekey.{{module}} import main
sys.exit(main())
"""
ON_CLIENT1 = (
    *("/etc/passivekey", "/etc/xdg/autostart/passivekey.desktop", "/etc/chromium/native-messaging-hosts/org.certlogon.passivekey.json"),
    *("/usr/local/bin/passivekey-agent", "/usr/local/bin/passivekey-native-host"),
)
AUTOSTART = b"[Desktop Entry]\nType=Application\nName=PassiveKey\nExec=passivekey-agent\n"


class Server:
    """pk1, with all three of its services."""

    def __init__(self, lab: Any) -> None:
        self.lab = lab
        self.secrets = {name: secrets.token_hex(16) for name in ("passphrase", "site", "radius-secret", "radius-client")}
        self.origin, self.ca = ORIGIN, lab.files["ca_bundle"]
        self.radius = Gateway(lab.status["hosts"][PK1]["address"], self.secrets["radius-client"].encode())

    def run(self, *arguments: str, check: bool = True) -> str:
        """`passivekey` on pk1."""
        return str(self.lab.run(PK1, "/usr/local/bin/passivekey", *arguments, check=check).stdout)

    def devices(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.run("user", "--json", name).splitlines()[1:]]

    def active(self, name: str) -> list[str]:
        return [found["id"] for found in self.devices(name) if found["state"] == "active"]

    def start(self) -> None:
        begin = f"passivekey serve > /var/log/passivekey.log 2>&1 < /dev/null & echo $! > {SERVER_PID}"
        probe = f"for i in $(seq 100); do curl -s --cacert {CA} {ORIGIN}/health > /dev/null && exit 0; sleep 0.1; done; exit 1"
        self.lab.run(PK1, "sh", "-c", f"{begin}\n{probe}")

    def stop(self) -> None:
        self.lab.run(PK1, "sh", "-c", f"p=$(cat {SERVER_PID}); kill -9 $p; while [ -d /proc/$p ]; do sleep 0.05; done")

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


# ---- deployment


def send(lab: Any, host: str, files: Mapping[str, tuple[int, bytes]], script: str) -> str:
    """Files with their modes, and then a script; what it prints."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path, (mode, content) in files.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.mode, entry.size = mode, len(content)
            archive.addfile(entry, io.BytesIO(content))
    command = f"base64 -d | tar -xzf - -C / --no-overwrite-dir --touch\n{script}"
    return str(lab.run(host, "sh", "-ec", command, stdin=base64.b64encode(packed.getvalue()).decode()).stdout)


def package(programs: Mapping[str, str]) -> dict[str, tuple[int, bytes]]:
    """The package as it lies here, for hosts that have what it stands on, and its programs."""
    found = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    files = {f"{LIBRARY}/passivekey/{path.relative_to(PACKAGE)}": (0o644, path.read_bytes()) for path in found}
    return files | {f"/usr/local/bin/{name}": (0o755, PROGRAM.format(module=module).encode()) for name, module in programs.items()}


def deploy(lab: Any, domain: Domain, group: str, folder: Path) -> Server:
    """By hand, as docs/passivekey-server.md and docs/passivekey-workstation.md say."""
    server, reader = Server(lab), lab.account("svc-vpn")
    certificate, key = (path.read_bytes() for path in server_certificate(lab.files, folder, SERVER, SITE, OTHER_SITE))
    gateways = {"control": "10.83.0.100", "gw1": "10.83.0.40", "vpn1": "10.83.0.30"}
    client = "client {0} {{\nipaddr = {1}\nsecret = {2}\nrequire_message_authenticator = yes\nlimit_proxy_state = yes\n}}\n"
    secret = {name: server.secrets[name].encode() for name in ("passphrase", "site", "radius-secret")}
    secret |= {"reader": reader["password"].encode(), "http.keytab": domain.keytab(f"HTTP/{SERVER}"), "server.key": key, "site.key": key}
    secret["server.toml"] = SETTINGS.format(reader=reader["upn"], group=group).encode()
    secret["site-bearer.conf"] = f'proxy_set_header Authorization "Bearer {server.secrets["site"]}";'.encode()
    secret["radius/clients.conf"] = "".join(client.format(*each, server.secrets["radius-client"]) for each in gateways.items()).encode()
    secret["radius/bearer.conf"] = f'passivekey_bearer = "{server.secrets["radius-secret"]}"\n'.encode()
    secret["radius/radiusd.conf"] = (EXAMPLES / "radiusd.conf").read_bytes().replace(b"reject_delay = 1", b"reject_delay = 0")
    plain = {"server.pem": certificate, "site.pem": certificate, "ca.pem": Path(lab.files["ca_bundle"]).read_bytes()}
    plain |= {"site.conf": sites().encode(), "nginx.conf": WHOLE.encode()}
    files = {f"{FOLDER}/{name}": (0o600, content) for name, content in secret.items()}
    files |= {f"{FOLDER}/{name}": (0o644, content) for name, content in plain.items()}
    send(lab, PK1, package({"passivekey": "server.cli"}) | files, BEGIN)
    server.start()
    files = package({"passivekey-agent": "agent.logon", "passivekey-native-host": "agent.native_host"})
    files["/etc/passivekey/agent.conf"] = (0o644, f"[agent]\norigin = {ORIGIN}\nca_file = {workstation.CA}\n".encode())
    files["/etc/xdg/autostart/passivekey.desktop"] = (0o644, AUTOSTART)
    send(lab, CLIENT, files, REGISTER)
    return server


def clean(lab: Any) -> None:
    """Nothing of it stays on pk1 and client1."""
    lab.run(PK1, "sh", "-c", END, check=False)
    lab.run(CLIENT, "sh", "-c", f"rm -rf {LIBRARY} {EXTENSION} {' '.join(ON_CLIENT1)}", check=False)


END = f"""\
kill $(cat /run/passivekey-nginx.pid {RADIUS_PID} {SERVER_PID})
rm -rf {FOLDER} {LIBRARY} /var/lib/passivekey /var/log/passivekey /usr/local/bin/passivekey
"""


def sites() -> str:
    """The example's site, and one more like it."""
    common, server, rest = (EXAMPLES / "nginx-site.conf").read_text().partition("\nserver {")
    return common + server + rest + server + rest.replace(SITE, OTHER_SITE)


BEGIN = f"""\
chmod 755 {FOLDER}
chown -R root:freerad {RADDB}
chmod -R u=rwX,g=rX,o= {RADDB}
mkdir -p -m 700 /var/lib/passivekey /var/log/passivekey
passivekey init
nginx -c {FOLDER}/nginx.conf
mkdir -p /run/freeradius && chown freerad /run/freeradius
freeradius -d {RADDB} -C > /dev/null
freeradius -d {RADDB} -f -l stdout > /var/log/radius.log 2>&1 < /dev/null & echo $! > {RADIUS_PID}
for _try in $(seq 50); do ss -uln | grep -q :1812 && exit 0; sleep 0.1; done; cat /var/log/radius.log; exit 1
"""
REGISTER = f"""\
passivekey-agent register --browser chromium --system --program /usr/local/bin/passivekey-native-host
passivekey-agent extension --browser chromium --into {EXTENSION} --site {SITE} --site {OTHER_SITE}
"""


# ---- gateways, by their roles

URLS = {"gw1": "https://gw.corp.example", "vpn1": "https://vpn.corp.example"}
LOGS = {"gw1": "cat /var/log/ocserv.log", "vpn1": "cat /var/lib/connect_secure/log/*.log"}


def gateway(lab: Any, host: str) -> tunnels.Gateway:
    return tunnels.Gateway(URLS[host], log=lambda: str(lab.run(host, "sh", "-c", LOGS[host], check=False).stdout))


def gateways(lab: Any, server: Server, folder: Path) -> None:
    """The playbook `site` for both, with password and code and no card."""
    hosts = lab.status["hosts"]
    common = {
        "vpn_gateway_sign_in": "radius",
        "vpn_gateway_radius_servers": [{"address": hosts[PK1]["address"], "secret": server.secrets["radius-client"]}],
        "vpn_gateway_radius_timeout": 5,
    }
    gw1 = {
        **over_ssh(hosts["gw1"], folder),
        **common,
        **device_certificate(lab, folder, "gw.corp.example"),
        "vpn_gateway_address_pool": hosts["gw1"]["pool"],
        "vpn_gateway_networks": ["10.84.0.0/24"],
        "ocserv_settings": {"max-ban-score": 0},
    }
    play(folder, {"vpn_gateways": {"hosts": {"gw1.corp.example": gw1}}})


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


def play(folder: Path, groups: Mapping[str, Any]) -> str:
    """The playbook `site`; its output."""
    inventory = folder / "hosts.yml"
    inventory.touch(mode=0o600)
    inventory.write_text(json.dumps(groups))
    line = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), "certlogon.core.site"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "CERTLOGON_ENROLLMENT"))}
    environment = kept | {"ANSIBLE_HOME": str(folder / "ansible"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_RETRY_FILES_ENABLED": "0"}
    done = subprocess.run(line, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    return done.stdout
