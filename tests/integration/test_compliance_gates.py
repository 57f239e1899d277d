# SPDX-License-Identifier: GPL-3.0-or-later
"""The compliance observers of VPN gateways and CRLs on the lab's hosts: what they say to vpn1, gw1 and dc1, and that nothing changes there.

Whether site has been rolled out before decides what the judges say of gw1; what is looked at is the same.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.compliance.catalogue import load as catalogue
from ansible_collections.certlogon.core.plugins.module_utils.compliance.crl_observation import CrlObservation
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judging import judge
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts, Target
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation, load, save
from ansible_collections.certlogon.core.plugins.module_utils.compliance.ocserv_observation import OcservObservation
from ansible_collections.certlogon.core.plugins.module_utils.directory.connection import CONNECTION
from ansible_collections.certlogon.core.plugins.module_utils.resource import run
from ansible_collections.certlogon.core.tests.unit.connect_secure.authorities import Authority, now

INVENTORY = Path(__file__).resolve().parents[2] / "inventories/lab"
# but for what certlogon-gateway writes every minute
FILES = "find /etc /usr/local /var/lib -xdev -type f ! -name status.json ! -name .lock -printf '%p %T@ %C@ %s\\n' | sort | sha256sum"
FOLDER = "/var/lib/certlogon/vpn"
NAMES = ("Gates CA", "No CA")


def verdicts(seen: Observation) -> dict[str, str]:
    facts = Facts(seen.target, seen.facts, now(), [])
    return {result.control.id: result.status for result in judge(catalogue().of(seen.target.kind), facts, {})}


def test_both_gateways_are_looked_at_and_left_as_they_are(vpn_lab: Any, playbook: Callable[..., Any], tmp_path: Path) -> None:
    """By the roles' own tasks, over the connections of the inventory."""
    lab = vpn_lab
    if "ca1" not in lab.status["hosts"]:
        pytest.skip("the lab's inventory has gateways only beside ca1; start one with: --with ca1 --with vpn")
    before = lab.run("gw1", "sh", "-c", FILES).stdout
    state = lab.run("vpn1", "sha256sum", "/var/lib/connect_secure/state.json").stdout
    look = {"name": "Look", "ansible.builtin.include_role": {"name": "certlogon.core.{{ __role }}", "tasks_from": "compliance"}}
    given = {"certlogon_compliance_folder": str(tmp_path)}
    plays = [
        {"hosts": f"vpn_{kind}", "gather_facts": False, "vars": {**given, "__role": role}, "tasks": [look]}
        for kind, role in (("appliances", "connect_secure_gateway"), ("gateways", "ocserv_gateway"))
    ]
    (tmp_path / "look.yml").write_text(json.dumps(plays))
    done = playbook(tmp_path / "look.yml", inventory=INVENTORY)
    assert done.changed == []
    assert lab.run("gw1", "sh", "-c", FILES).stdout == before
    assert lab.run("vpn1", "sha256sum", "/var/lib/connect_secure/state.json").stdout == state
    asked = json.loads(lab.run("vpn1", "cat", "/var/lib/connect_secure/metrics.json").stdout)["asked"]
    appliance, gateway = (load(tmp_path / f"observations/{name}.example.json") for name in ("connect_secure-vpn1.corp", "ocserv-gw1.corp"))
    assert {line.partition(" ")[0] for line in asked[-appliance.asked["https GET"] :]} == {"GET"}
    assert appliance.facts["stand_in"] and appliance.account.endswith("(realm Admin Users)")
    assert gateway.asked["ssh ocserv_state"] == 1 and gateway.account == "root"
    assert verdicts(appliance)["appliance-identified"] == "pass"
    rolled_out = "is" in gateway.facts["settings"]
    # before the role: what the package brings
    assert verdicts(gateway)["ocserv-crl-checking"] == ("pass" if rolled_out else "fail")
    assert verdicts(gateway)["ocserv-crl-in-use"] == ("pass" if rolled_out else "unknown")


def test_a_crl_that_ends_on_a_gateway_is_found(vpn_lab: Any, tmp_path: Path) -> None:
    """With the certificate of a CA and a CRL of its own in place of the gateway's, for as long as this looks."""
    lab = vpn_lab
    one = Authority("Gates CA")

    def look(crl: bytes) -> dict[str, str]:
        settings = {"without_crl": "refuse", "prove_again": True, "authorities": [authority]}
        files = {
            "trust.pem": one.pem,
            "crl.pem": f"-----BEGIN X509 CRL-----\n{base64.encodebytes(crl).decode()}-----END X509 CRL-----\n",
            "gate": f"{int(now().timestamp()) + 3600}\n",
            "/etc/ocserv/certlogon/gateway.json": json.dumps(settings),
            "/etc/ocserv/ocserv.conf": f'auth = "certificate"\nca-cert = {FOLDER}/trust.pem\ncrl = {FOLDER}/crl.pem\n',
        }
        # in a mount namespace of its own: the gateway itself goes on with what it has
        script = "set -e; mkdir -p /etc/ocserv /var/lib/certlogon; "
        script += "for place in /etc/ocserv /var/lib/certlogon; do mount -t tmpfs none $place; done; "
        script += f"mkdir -p /etc/ocserv/certlogon {FOLDER}; "
        for name, text in files.items():
            path = name if name.startswith("/") else f"{FOLDER}/{name}"
            script += f"echo {base64.b64encode(text.encode()).decode()} | base64 -d > {path}; "

        def execute(command: str, given: bytes) -> dict[str, Any]:
            done = lab.run("gw1", "unshare", "-m", "sh", "-c", f"{script}exec {command}", stdin=given.decode(), check=False)
            return {"rc": done.returncode, "stdout": done.stdout, "stderr": done.stderr}

        params = {"folder": str(tmp_path), "name": "gw1", "python": "/usr/bin/python3", "expected": {}}
        result = run(OcservObservation(execute), params, check_mode=False, warn=print)
        return verdicts(load(Path(result["observation"])))

    authority = {"name": "Gates CA", "pem": one.pem, "subject": "CN=Gates CA", "checked": True, "anchor": True, "verify": False}
    authority |= {"points": False, "urls": [], "frequency": 1}
    try:
        good, ended, foreign = look(one.crl()), look(one.crl(hours=(-9, -1))), look(Authority("Gates CA").crl())
    finally:
        lab.run("gw1", "rmdir", "--ignore-fail-on-non-empty", "/etc/ocserv", "/var/lib/certlogon")
    assert (good["ocserv-crl-in-use"], good["ocserv-closed-without-crl"], good["ocserv-certificate-required"]) == ("pass",) * 3
    assert (ended["ocserv-crl-in-use"], ended["ocserv-closed-without-crl"], ended["ocserv-gate"]) == ("fail",) * 3
    assert (foreign["ocserv-crl-in-use"], foreign["ocserv-closed-without-crl"]) == ("fail",) * 2


def test_a_crl_in_the_directory_is_fetched_as_members_do(lab: Any, connection: dict[str, Any], tmp_path: Path) -> None:
    one = Authority("Gates CA")
    base = f"CN=CDP,CN=Public Key Services,CN=Services,CN=Configuration,{lab.status['base_dn']}"
    crl = base64.b64encode(one.crl(5)).decode()
    lab.ldbmodify(
        f"dn: CN=gates,{base}\nchangetype: add\nobjectClass: container\n\n"
        f"dn: CN=Gates CA,CN=gates,{base}\nchangetype: add\nobjectClass: cRLDistributionPoint\ncertificateRevocationList:: {crl}\n\n"
    )
    try:
        urls = [f"ldap:///CN={name},CN=gates,{base}?certificateRevocationList?base?objectClass=cRLDistributionPoint" for name in NAMES]
        urls += [url.replace("///", f"//{place}/") for place in (connection["server"][0], "127.0.0.1:1") for url in urls[:1]]
        cdps = [{"url": url.replace(" ", "%20"), "issuer": one.pem, "used_by": "a test"} for url in urls]
        save(tmp_path, Observation(Target("domain", "corp.example"), "2026-01-01T00:00:00Z", cdps=cdps))
        directory = {**{name: line.get("default") for name, line in CONNECTION.items()}, **connection}
        params = {"folder": str(tmp_path), "timeout": 10, "size_limit": 1 << 20, "directories": [directory]}
        result = run(CrlObservation(), params, check_mode=False, warn=print)
    finally:
        lab.ldbmodify(f"dn: CN=Gates CA,CN=gates,{base}\nchangetype: delete\n\ndn: CN=gates,{base}\nchangetype: delete\n\n")
    found, gone, by_name, silent = load(Path(result["observation"])).facts["crls"]
    assert [each["signed_by"] for each in found["lists"]] == [[one.sha256]] and found["lists"][0]["entries"] == 1
    assert gone["absent"] and "dc1.corp.example says" in gone["reason"]
    assert by_name["lists"] == found["lists"], "the directory answers nobody without an account, but this run has one"
    assert "cannot be fetched" in silent["reason"] and not silent["lists"], "another server's answer is not its"
    assert result["asked"] == {"ldap bind": 3, "ldap search": 5}
