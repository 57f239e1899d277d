# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults of a PassiveKey server that the compliance report has to find, on pk1 as the role made it; nothing is restarted with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.compliance.catalogue import load as catalogue
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judging import judge
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import load
from ansible_collections.certlogon.core.plugins.module_utils.compliance.passivekey_observation import PassiveKeyObservation
from ansible_collections.certlogon.core.plugins.module_utils.resource import run
from ansible_collections.certlogon.core.tests.unit.connect_secure.authorities import now

FILES = "find /etc /usr/local /opt /var/backups -xdev -type f -printf '%p %T@ %C@ %s\\n' | sort | sha256sum"

USUAL = {"passivekey-passphrase-source", "passivekey-second-factor", "passivekey-administrators", "passivekey-time-service"}
"""What fails with the lab's inventory, which leaves what is so by default, and no host of the lab keeps its own time."""

UNKNOWN = {"passivekey-ca-separate"}
"""Without the domain in the same run."""

_PLACES = "/etc/passivekey /etc/nginx/conf.d/passivekey.conf /var/backups/passivekey"
KEEP = f"tar -C / -cf /run/passivekey-kept.tar {_PLACES.replace(' /', ' ').lstrip('/')}\n"
UNDO = f"rm -r {_PLACES} && tar -C / -xpf /run/passivekey-kept.tar && rm /run/passivekey-kept.tar"

SPOIL = r"""
set -e
cd /etc/passivekey
chmod 644 http.keytab
chmod 666 server.toml
sed -i '/^\[enrollment\]/,/^$/s/^groups = .*/groups = []/' server.toml
printf '[lockout]\naccount_failures = 1000\n[audit]\ndays = 1\n' >> server.toml
cp sites/intranet.corp.example sites/wiki.corp.example
sed -i 's/require_message_authenticator = yes/require_message_authenticator = no/; s/secret = .*/secret = "testing123"/' radius/clients.conf
sed -i 's/ipaddr = .*/ipaddr = 10.0.0.0\/8/' radius/clients.conf
sed -i 's/auth_badpass = no/auth_badpass = yes/; s/check_cert = yes/check_cert = no/; s/^\(\t*\)start = 0/\1start = 5/' radius/radiusd.conf
sed -i 's/proxy_ssl_verify on/proxy_ssl_verify off/; s/^\t\tinternal;//; /X-Passivekey-User/d' /etc/nginx/conf.d/passivekey.conf
sed -i 's/^\tlocation \/ {/\tlocation \/open\/ {\n\t\tproxy_pass http:\/\/127.0.0.1:8080;\n\t}\n&/' /etc/nginx/conf.d/passivekey.conf
rm /var/backups/passivekey/*.backup
"""

SPOILED = {
    "passivekey-secrets-protected": "Everybody on the host may use it",
    "passivekey-settings-protected": "Others than root may write it",
    "passivekey-enrollment-groups": "Everybody with an account may",
    "passivekey-lockout": "an account waits after 1000 failures",
    "passivekey-audit-kept": "kept for 1 days only",
    "passivekey-site-secrets": "the same secret as",
    "passivekey-radius-signed": "Requests that nobody signed are answered",
    "passivekey-radius-secrets": "everybody tries first",
    "passivekey-radius-network": "16777216 addresses",
    "passivekey-radius-silent": "auth_badpass",
    "passivekey-radius-asks": "check_cert is no",
    "passivekey-nginx-guarded": "/open/ of it is open to everybody",
    "passivekey-nginx-asks": "Browsers can ask it themselves",
    "passivekey-nginx-names": "X-Passivekey-User is passed on",
    "passivekey-backup-fresh": "There is none",
    "passivekey-devices-of-gone-accounts": "its account is disabled or expired",
}
"""What is spoiled by `SPOIL`, and by an account that is disabled -> what the report says of it."""


def look(lab: Any, folder: Path, name: str, port: int) -> dict[str, dict[str, str]]:
    """By status, the controls and the first message of each; as the role's task `compliance` looks."""

    def execute(command: str, given: bytes) -> dict[str, Any]:
        done = lab.run("pk1", "sh", "-c", command, stdin=given.decode(), check=False)
        return {"rc": done.returncode, "stdout": done.stdout, "stderr": done.stderr}

    expected = {"server_names": [name], "users_port": port, "anchor_path": str(lab.files["ca_bundle"])}
    params = {"folder": str(folder), "name": "pk1", "python": "/usr/bin/python3", "expected": expected}
    seen = load(Path(run(PassiveKeyObservation(execute), params, check_mode=False, warn=print)["observation"]))
    results: dict[str, dict[str, str]] = {}
    for result in judge(catalogue().of("passivekey"), Facts(seen.target, seen.facts, now(), []), {}):
        results.setdefault(result.status, {})[result.control.id] = "; ".join(one.message for one in result.verdicts)
    return results
