# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole of certlogon.core.site from the CA to the tunnel: rolled out once, renewed, revoked, and taken up again after a power cut.

The tests of this file are one story on one lab with a CA host and VPN gateways, in order; openconnect and openssl judge.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.directory.certificate_mappings import CertificateMappings
from lab import logons, vpn_logins
from lab.labs import Lab
from lab.tunnels import try_tunnel

INVENTORY = Path(__file__).resolve().parents[2] / "inventories/lab"
OWNER, OTHER = logons.OWNER, logons.OTHER
APPLIANCE, GATEWAY = "vpn1.corp.example", "gw1.corp.example"
NAMES = {APPLIANCE: "vpn.corp.example", GATEWAY: "gw.corp.example"}


@pytest.fixture
def run(ca_lab: Any, vpn_lab: Any, playbook: Callable[..., Any]) -> Callable[..., Any]:
    """`run("site", ...)`: a playbook of the collection with the lab's inventory."""

    def call(name: str, **keywords: Any) -> Any:
        return playbook(f"certlogon.core.{name}", inventory=INVENTORY, timeout=600, **keywords)

    return call


@pytest.fixture(scope="module")
def company(ca_lab: Any, vpn_lab: Any) -> Lab:
    return Lab(ca_lab.status["name"])


def changed(run: Any, *hosts: str) -> list[tuple[str, str]]:
    return [(task.host, task.task) for task in run.changed if not hosts or task.host in hosts]


def shown(name: str) -> str:
    """Subject and serial number of the certificate that users are shown, in openssl's words."""
    script = f"openssl s_client -connect {name}:443 -servername {name} < /dev/null 2> /dev/null | openssl x509 -noout -subject -serial"
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout


def test_both_gateways_are_rolled_out_once(run: Callable[..., Any], ca_lab: Any) -> None:
    """Where the lab is new: foreseen before even the CA is there."""
    new = not Path(f"{Lab(ca_lab.status['name']).folder}/authority/corp-ca.pem").exists()
    if new:
        foreseen = run("site", check=True)
        told = json.dumps([task.result.get("diff") for task in foreseen.changed if task.host == APPLIANCE])
        assert "corp-ca.pem (known after apply)" in told and '"certificate": "known after apply"' in told, "device certificate and CA"
        parts = {change.get("part") for task in foreseen.changed if task.host == APPLIANCE for change in task.result.get("changes", [])}
        assert parts >= {"device_certificates", "trusted_client_cas", "auth_servers", "realms", "sign_in_policies"}
        assert {host for host, _task in changed(foreseen)} >= {APPLIANCE, GATEWAY}
        done = run("site")
        assert {host for host, _task in changed(done)} >= {APPLIANCE, GATEWAY}
    again = run("site")
    assert changed(again) == []
    logins = [task.result["logins"] for task in again.tasks if task.host == APPLIANCE and "logins" in task.result]
    assert sum(logins) == 1 and len(logins) >= 2, "one login serves all tasks"
    for name in NAMES.values():
        assert f"CN = {name}" in shown(name)


def test_cards_open_both(run: Callable[..., Any], company: Lab) -> None:
    logons.prepare(company)
    run("enroll_card")
    box = vpn_logins.carry(company)
    logins = vpn_logins.log_in(company, box, vpn_logins.places(company))
    assert [(proof.claim, proof.reason) for proof in vpn_logins.judged(logins, {}) if proof.outcome != "passed"] == []


def test_what_is_new_is_not_renewed_and_what_must_be_is_one_by_one(run: Callable[..., Any], company: Lab) -> None:
    assert changed(run("renew")) == []
    before = {host: shown(name) for host, name in NAMES.items()}
    other = {"vpn_gateway_device_certificate": {"organization": "Corp Example", "key_type": "rsa", "key_length": 3072}}
    renewed = run("renew", variables=other, arguments=["--limit", "vpn"])
    assert {host for host, _task in changed(renewed)} == {APPLIANCE, GATEWAY}
    hosts = [task.host for task in renewed.tasks]
    assert hosts == sorted(hosts, key=[APPLIANCE, GATEWAY].index), "one is well before the next is touched"
    assert [task.task.rpartition(" : ")[2] for task in renewed.tasks if task.host == APPLIANCE][-1].startswith("Refuse an appliance")
    for host, name in NAMES.items():
        assert shown(name) != before[host]
    assert changed(run("renew", variables=other, arguments=["--limit", "vpn"])) == []
    certificates = run("site", variables=other, check=True, arguments=["--limit", APPLIANCE]).task(
        "certlogon.core.connect_secure_gateway : Let cards open the appliance"
    )["certificates"]
    assert len(certificates) == 1 and len(company_certificates(company)) == 2, "the first one is gone; the management port keeps its own"


def company_certificates(company: Lab) -> list[Any]:
    """The device certificates as the stand-in's own file has them."""
    state = json.loads(company.run("vpn1", "cat", "/var/lib/connect_secure/state.json").stdout)
    tree = state.get("tree", state)
    found: list[Any] = tree["configuration"]["system"]["configuration"]["certificates"]["device-certificates"]["device-certificate"]
    return found


def test_revoked_within_seconds(run: Callable[..., Any], company: Lab, run_resource: Callable[..., Any]) -> None:
    """A named account: signed in on both gateways, mapped, revoked; then out everywhere, and others are not."""
    card = [{"user": OTHER, "certificates": [{"path": str(logons.certificate_file(company, OTHER))}]}]
    run_resource(CertificateMappings(), card)
    wish = {"certlogon_revoke_user": f"CORP/{OTHER}", "certlogon_revoke_reason": "key_compromise"}
    places = vpn_logins.places(company)
    with vpn_logins.signed_in(company, places) as sessions:
        assert all(session.tunnel.up for session in sessions)
        foreseen = run("revoke", variables=wish, check=True)
        assert "would be revoked" in foreseen.last.msg and all(session.tunnel.fetch() for session in sessions), "check mode revokes nothing"
        begun = time.monotonic()
        done = run("revoke", variables=wish)
        took = time.monotonic() - begun
        logins = vpn_logins.revoked(company, sessions, vpn_logins.refused_after([done.last.msg]))
    assert [(proof.claim, proof.reason) for proof in vpn_logins.judged(logins, {}) if proof.outcome != "passed"] == []
    told = re.search(r"Refused by every gateway ([\d.]+) s after the command", done.last.msg)
    assert told and 0 < float(told[1]) < took < 60
    assert set(vpn_logins.refused_after([done.last.msg])) == {APPLIANCE, GATEWAY}
    mapped = run_resource(CertificateMappings(), [{"user": OTHER}], state="gathered")["gathered"]
    assert not any(entry["mappings"] for entry in mapped)
    assert all(try_tunnel(company, place.gateway, vpn_logins.uri(OWNER)).up for place in places)
    assert changed(run("revoke", variables=wish)) == []


def test_a_control_character_of_the_command_line_is_named(run: Callable[..., Any]) -> None:
    refused = run("revoke", arguments=["-e", "certlogon_revoke_user=CORP\\alice"], fails=True)
    assert "Write DOMAIN/name with a slash" in refused.output and refused.changed == []


def test_a_gateway_that_is_not_reached_is_named(run: Callable[..., Any], vpn_lab: Any) -> None:
    wish = {"certlogon_revoke_user": f"CORP/{OTHER}", "certlogon_revoke_reason": "key_compromise"}
    vpn_lab.kill("vpn1")
    try:
        lost = run("revoke", variables=wish, fails=True)
    finally:
        vpn_lab.start("vpn1")
    assert f"{APPLIANCE}: NOT DONE" in lost.last.msg and f"{GATEWAY}: checks against" in lost.last.msg
    assert "Refused by every gateway" not in lost.last.msg


def test_a_power_cut_in_the_middle_is_repaired_by_the_next_run(run: Callable[..., Any], vpn_lab: Any) -> None:
    other = {
        "connect_secure_certificate_server": "Second certificate server",
        "connect_secure_user_realm": "Second realm",
        "connect_secure_sign_in_policies": [{"url": "vpn2.corp.example/", "kind": "user", "realms": ["Second realm"]}],
    }
    limited = ["--limit", APPLIANCE, "--tags", "vpn"]
    vpn_lab.run("vpn1", "sh", "-c", "cat > /var/lib/connect_secure/faults.json", stdin=json.dumps({"slow": {"seconds": 0.4}}))
    log = Path(vpn_lab.status["hosts"]["vpn1"]["log"])
    seen = len(log.read_text())
    cut = threading.Thread(target=cut_power, args=(vpn_lab, log, seen))
    cut.start()
    try:
        broken = run("site", variables=other, arguments=limited, fails=True)
    finally:  # what comes after finds the appliance, whatever became of the run
        cut.join()
        vpn_lab.run("vpn1", "rm", "-f", "/var/lib/connect_secure/faults.json")
        vpn_lab.start("vpn1")
    assert [task.host for task in broken.failed] == [APPLIANCE] and "Traceback" not in broken.output
    repaired = run("site", variables=other, arguments=limited)
    assert changed(repaired) and not repaired.failed
    assert changed(run("site", variables=other, arguments=limited)) == []


def cut_power(lab: Any, log: Path, seen: int) -> None:
    """As soon as the first thing of the run is written."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not re.search(r"auth-server/?: 201", log.read_text()[seen:]):
        time.sleep(0.05)
    lab.kill("vpn1")
