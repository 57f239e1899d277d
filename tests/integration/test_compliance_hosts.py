# SPDX-License-Identifier: GPL-3.0-or-later
"""The compliance observers of hosts on ca1 (the stand-in) and dc1: a CA set up well passes, and each setting that is spoilt is found.

The tests go on where the one before ended; the module begins with a host on which nothing is configured.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.compliance.catalogue import load
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judging import Result, judge
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts, Target
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import load as load_observation
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers.domain_controllers import (
    NONE,
    SAMBA,
    DomainControllerObservation,
    Host,
    program,
)
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import run
from ansible_collections.certlogon.core.tests.integration.web_enrollment_lab import CA, ENROLL, authority_task, reset, web_task

NAME = "ca1.corp.example"
DIRECTORY = (
    "ldap:///CN=<CATruncatedName><CRLNameSuffix>,CN=<ServerShortName>,CN=CDP,CN=Public Key Services,CN=Services,"
    "<ConfigurationContainer><CDPObjectClass>"
)
HTTP = "http://ca1.corp.example/CertEnroll"
CERTIFICATE = "<ServerDNSName>_<CaName><CertificateName>.crt"
GOOD: dict[str, Any] = {
    "cdp": [
        {"url": rf"{ENROLL}\<CaName><CRLNameSuffix><DeltaCRLAllowed>.crl", "flags": ["publish_base", "publish_delta"]},
        {"url": f"{HTTP}/<CaName><CRLNameSuffix><DeltaCRLAllowed>.crl", "flags": ["include_in_certificates", "include_freshest"]},
    ],
    "aia": [
        {"url": rf"{ENROLL}\{CERTIFICATE}", "flags": ["publish"]},
        {"url": f"{HTTP}/{CERTIFICATE}", "flags": ["include_in_certificates"]},
    ],
    "crl_overlap": "1 day",
    "audit_filter": ["all"],
}
SPOILT: dict[str, Any] = {
    "edit_flags": ["attribute_subject_alt_name2"],  # ESC6
    "permissions": [{"principal": "Authenticated Users", "rights": ["manage_certificates", "enroll"]}],  # ESC7
    "interface_flags": ["lock_requests"],  # ESC11
    "disabled_extensions": ["1.3.6.1.4.1.311.25.2"],  # ESC16
    "audit_filter": ["start_stop"],
    "issued_validity": "30 years",
    "crl_overlap": "1 hour",
    "cdp": [
        {"url": rf"{ENROLL}\<CaName><CRLNameSuffix><DeltaCRLAllowed>.crl", "flags": ["publish_base", "publish_delta"]},
        {"url": DIRECTORY, "flags": ["include_in_certificates"]},
    ],
    "aia": [{"url": f"{HTTP}/elsewhere.crt", "flags": ["include_in_certificates"]}],
}
SPOILT_WEB = {"extended_protection": "allowed", "double_escaping": False}  # ESC8


@pytest.fixture(scope="module")
def host(ca_lab: Any) -> Iterator[Any]:
    reset(ca_lab)
    yield ca_lab
    reset(ca_lab)


def look(folder: Path) -> dict[str, Any]:
    return {"name": "Look", "certlogon.core.compliance_authority": {"folder": str(folder), "name": NAME}}


def judged(seen: Observation, **others: Any) -> dict[str, Result]:
    now = datetime.fromisoformat(seen.at)
    beside = [Facts(Target(kind, f"other {kind}"), facts, now) for kind, facts in others.items()]
    facts = Facts(seen.target, seen.facts, now, beside, error=seen.error)
    return {result.control.id: result for result in judge(load().of(seen.target.kind), facts, {})}


def of(results: Mapping[str, Result], status: str) -> set[str]:
    return {name for name, result in results.items() if result.status == status}


def test_a_good_ca(host: Any, on_ca1: Callable[..., Any], tmp_path: Path) -> None:
    done = on_ca1([authority_task(host, **GOOD), web_task("replaced"), look(tmp_path)]).task("Look")
    assert not done.changed and done["rounds"] == 4 and done["unread"] == ["backups"]
    assert done["asked"] == {
        "winrm adcs_state": 1,
        "winrm adcs_crl_state": 1,
        "winrm web_enrollment_state": 1,
        "winrm adcs_audit": 1,
        "http GET": 1,
    }
    seen = load_observation(Path(done["observation"]))
    results = judged(seen)
    assert of(results, "fail") == set()
    # what needs the domain beside it, and what Windows does not tell
    assert of(results, "unknown") == {"authority-agents-restricted", "authority-backup"}
    assert {one["use"] for one in seen.certificates} == {"root", "web"}
    assert {one["url"] for one in seen.cdps} == {f"{HTTP}/{CA.replace(' ', '%20')}.crl"}
    assert "PRIVATE KEY" not in Path(done["observation"]).read_text()


def test_a_spoilt_ca_that_stops(host: Any, on_ca1: Callable[..., Any], tmp_path: Path) -> None:
    """By the modules that set it well: exactly what was spoilt is found."""
    web = web_task("merged", site="Default Web Site", **SPOILT_WEB)
    stop = {"ansible.windows.win_service": {"name": "CertSvc", "state": "stopped"}}
    done = on_ca1([authority_task(host, **SPOILT), web, look(tmp_path), stop, {**look(tmp_path / "stopped"), "name": "Look again"}])
    results = judged(load_observation(Path(done.task("Look")["observation"])))
    assert of(results, "fail") == {
        "authority-esc6",
        "authority-esc7",
        "authority-esc8",
        "authority-esc11",
        "authority-esc16",
        "authority-audit-filter",
        "authority-outlives",
        "authority-crl-overlap",
        "authority-cdp-http",
        "authority-places-published",
        "authority-aia-served",
    }
    assert results["authority-esc8"].verdicts[0].evidence["token_checking"] == "Allow"
    assert results["authority-esc7"].verdicts[0].subject.endswith("Authenticated Users")

    # what the service would have to say is unknown now, and the registry still speaks
    results = judged(load_observation(Path(done.task("Look again")["observation"])))
    assert {"authority-running", "authority-esc6"} <= of(results, "fail")
    assert results["authority-crl-newest"].status == "unknown"
    assert "CertSvc does not run" in results["authority-crl-newest"].verdicts[0].message


def served(port: int, *options: str) -> str:
    """The SHA-256 of the certificate there, by openssl."""
    command = ["openssl", "s_client", "-connect", f"dc1.corp.example:{port}", *options]
    shown = subprocess.run(command, input="", capture_output=True, text=True, timeout=30, check=False).stdout
    pem = re.search(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", shown, re.DOTALL)
    assert pem is not None, shown
    digest = ["openssl", "x509", "-noout", "-fingerprint", "-sha256"]
    found = subprocess.run(digest, input=pem[0], capture_output=True, text=True, check=True).stdout
    return found.partition("=")[2].strip().replace(":", "").lower()


def over_ssh(lab: Any) -> Host:
    """The script as SSH would run it."""

    def ask(question: str, asked: Any) -> Mapping[str, Any]:
        asked.ask("ssh", "domain_controller_state")
        found: Mapping[str, Any] = json.loads(lab.run("dc1", "python3", "-", question, stdin=program()).stdout)
        return found

    return Host(SAMBA, ask, "root")


def observed(host: Host, folder: Path, **options: Any) -> Observation:
    """As the module does, in this process."""
    spec = DomainControllerObservation.argument_spec()
    params = {name: option.get("default") for name, option in spec.items()} | {"folder": str(folder), "name": "dc1.corp.example"} | options
    result = run(DomainControllerObservation(host), params, check_mode=False, warn=print)
    return load_observation(Path(result["observation"]))


def test_a_domain_controller(lab: Any, tmp_path: Path) -> None:
    seen = observed(over_ssh(lab), tmp_path)
    facts = seen.facts
    assert facts["ldaps"]["leaf"]["sha256"] == served(636)
    assert facts["starttls"]["leaf"]["sha256"] == served(389, "-starttls", "ldap")
    assert facts["kdc"]["name"] == "KDC_ERR_PREAUTH_REQUIRED" and 16 in facts["kdc"]["preauthentication"]
    assert abs(facts["directory"]["clock_seconds"]) <= 2
    assert facts["expected"]["domain"] == "corp.example" and facts["system"]["name"].startswith("Samba 4.")
    results = judged(seen)
    passed = {"dc-certificate-served", "dc-certificate-starttls", "dc-certificate-purposes", "dc-certificate-names", "dc-clock"}
    assert passed | {"dc-kdc-answers", "dc-ldap-signing", "dc-ldap-channel-binding"} <= of(results, "pass")
    # the KDC is Samba's own way until role domain_controller_certificates sets it up
    assert results["dc-esc10-binding"].status == "unknown"
    assert set(seen.asked) == {"ldap bind", "ldap search", "tls handshake", "kerberos AS-REQ", "ssh domain_controller_state"}


def test_a_kdc_that_is_spoilt(host: Any, tmp_path: Path) -> None:
    """Its configuration is another file here, which samba never reads: nothing of the lab changes."""
    settings = """[kdc]
    enable-pkinit = no
    pkinit_identity = FILE:/etc/samba/tls/dc.pem,/etc/samba/tls/dc.key
    pkinit_anchors = FILE:/etc/samba/tls/ca.pem
    pkinit_revoke = FILE:/run/elsewhere.crl.pem
"""
    host.run("dc1", "sh", "-c", "cat > /run/spoilt.conf", stdin=settings)
    seen = observed(over_ssh(host), tmp_path, krb5_conf="/run/spoilt.conf")
    domain = {"domain": {"dns": "corp.example"}, "stores": {"ntauth": [], "root": []}, "pki_certificates": {}}
    results = judged(seen, domain=domain)
    messages = {name: [verdict.message for verdict in results[name].verdicts] for name in of(results, "fail")}
    assert "not switched on" in messages["dc-kdc-takes-cards"][0]
    assert all("does not ask the CRL of" in message for message in messages["dc-kdc-crls"])
    assert "not in NTAuthCertificates" in messages["dc-kdc-authorities"][0]
    host.run("dc1", "rm", "/run/spoilt.conf")


def test_a_domain_controller_whose_host_says_nothing(lab: Any, tmp_path: Path) -> None:
    """Its ports are judged all the same, and the rest is unknown, with the right that is missing."""

    def refused(_question: str, _asked: Any) -> Mapping[str, Any]:
        raise UserError("Permission denied (publickey)")

    results = judged(observed(Host(SAMBA, refused), tmp_path))
    assert results["dc-certificate-served"].status == "pass"
    unknown = {"dc-kdc-takes-cards", "dc-kdc-crls", "dc-esc10-binding", "dc-ldap-signing", "dc-kdc-authorities"}
    assert unknown <= of(results, "unknown")
    assert "Permission denied" in results["dc-kdc-crls"].verdicts[0].message and "root" in results["dc-kdc-crls"].verdicts[0].right
    bare = judged(observed(Host(NONE, None, why_not="not in the inventory"), tmp_path))
    assert unknown <= of(bare, "unknown")
