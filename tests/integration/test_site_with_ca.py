# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole of certlogon.core.site with a CA host: foreseen before anything is there, done, done once; judged by Samba's tools and openssl.

The tests of this file are one story on one lab, in order: what the first run did cannot be done again there.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.directory.certificate_templates import CertificateTemplates
from ansible_collections.certlogon.core.plugins.module_utils.directory.enrollment_services import EnrollmentServices
from ansible_collections.certlogon.core.plugins.module_utils.directory.trusted_certificates import TrustedCertificates
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policies import GroupPolicies
from ansible_collections.certlogon.core.tests.integration.site_inventory import SERVICES

SITE = "certlogon.core.site"
CA = "Corp CA"
INVENTORY = Path(__file__).resolve().parents[2] / "inventories/lab"
LATER = re.compile(r"known after apply")
KINDS = {
    "certlogon.core.ad_certificate_templates": CertificateTemplates,
    "certlogon.core.ad_enrollment_services": EnrollmentServices,
    "certlogon.core.ad_trusted_certificates": TrustedCertificates,
    "certlogon.core.group_policies": GroupPolicies,
}


@pytest.fixture
def site(ca_lab: Any, playbook: Callable[..., Any]) -> Callable[..., Any]:
    def call(**keywords: Any) -> Any:
        return playbook(SITE, inventory=INVENTORY, timeout=600, **keywords)

    return call


def is_bare(lab: Any) -> bool:
    return not lab.ldbsearch(f"CN=Enrollment Services,{SERVICES}", "(objectClass=pKIEnrollmentService)", "cn", scope="one")


def predictions(run: Any) -> dict[tuple[str, str], Any]:
    """Module and object -> what it is to be, of the modules that tell of objects; what is done in several tasks, together."""
    found: dict[tuple[str, str], Any] = {}
    for task in run.changed:
        if task.action.startswith("certlogon.core."):
            for diff in task.result.get("diff") or []:
                key = (task.action, diff["after_header"])
                found[key] = {**found.get(key, {}), **diff["after"]}
    return found


def differs(foreseen: Any, found: Any, path: str = "") -> list[str]:
    """Where what is there is not what was foreseen; what was to be known later, and lists that grow by it, may be anything."""
    if isinstance(foreseen, str) and LATER.search(foreseen):
        return []
    if isinstance(foreseen, Mapping) and isinstance(found, Mapping):
        return [line for key, value in foreseen.items() for line in differs(value, found.get(key), f"{path}.{key}")]
    if isinstance(foreseen, list) and isinstance(found, list):
        known = [item for item in foreseen if not (isinstance(item, str) and LATER.search(item))]
        if all(isinstance(item, str) for item in known):
            missing = [item for item in known if item not in found]
            extra = [item for item in found if item not in known] if len(known) == len(foreseen) else []
            return [f"{path}: {what} {item!r}" for what, items in (("missing", missing), ("not foreseen", extra)) for item in items]
        if len(known) == len(foreseen) == len(found):
            return [line for number, pair in enumerate(zip(known, found, strict=True)) for line in differs(*pair, f"{path}[{number}]")]
    return [] if foreseen == found else [f"{path}: foreseen {foreseen!r}, found {found!r}"]


def test_the_comparison_finds_what_differs() -> None:
    assert differs({"a": "x (known after apply)", "b": ["1", "the rest (known after apply)"]}, {"a": 5, "b": ["1", "2"]}) == []
    assert differs({"a": {"b": 1}}, {"a": {"b": 2}}) == [".a.b: foreseen 1, found 2"]
    assert differs({"a": ["1"]}, {"a": ["1", "2"]}) == [".a: not foreseen '2'"]
    assert differs({"a": [{"b": 1}]}, {"a": [{"b": 2}]}) == [".a[0].b: foreseen 1, found 2"]


def test_the_whole_site_is_foreseen_done_and_done_once(
    ca_lab: Any, site: Callable[..., Any], run_resource: Callable[..., Any], tmp_path: Path
) -> None:
    if not is_bare(ca_lab):
        pytest.skip("this lab has a CA already; the first run needs a fresh one")
    foreseen = site(check=True)
    assert is_bare(ca_lab), "check mode writes nothing"
    expected = predictions(foreseen)
    names = {name for _module, name in expected}
    assert {CA, "CorpSmartcardLogon", "CorpDomainController", "root", "intermediate", "ntauth", "Default Web Site"} <= names
    assert {"Certlogon - Trusted Certificates", "Certlogon - Smart Card Logon"} <= names
    shown = json.dumps(list(expected.values()))
    assert f"the certificate of enrollment service {CA} (known after apply)" in shown
    assert expected["certlogon.core.ad_certificate_templates", "CorpSmartcardLogon"]["oid"] == "(known after apply)"
    assert expected["certlogon.core.adcs_authority", CA]["certificate"] == "known after apply"

    done = site()
    made = predictions(done)
    # a request to the CA cannot be rehearsed: of the domain controller check mode says why it needs one
    requested = {key for key in made if key[0] == "certlogon.core.certificate_request"}
    # and a CA that there is not yet, has no certificate to name it by on an appliance
    awaited = {key for key in made if key[0] == "certlogon.core.connect_secure_appliance" and key[1].startswith("trusted_client_cas: ")}
    assert set(made) - requested - awaited <= set(expected), "nothing is made that was not foreseen"
    reasons = [task.host for task in foreseen.changed if task.task.endswith(": Say why a certificate is needed")]
    gateways = {"gw1.corp.example"} if "gw1" in ca_lab.status["hosts"] else set()
    assert set(reasons) - gateways == {"dc1.corp.example"} and len(requested) == 1 + len(gateways)
    assert any("corp-ca.pem" in name for module, name in expected if (module, name) not in made) == bool(awaited)
    # what was foreseen and not made by its own task, the installation of the CA did itself: the end decides
    problems = []
    for module, kind in KINDS.items():
        resource = kind()
        found = {resource.identify(words): resource.shown(words) for words in run_resource(resource, state="gathered")["gathered"]}
        for (by, name), after in expected.items():
            if by == module:
                problems += [f"{name}{line}" for line in differs(without_rights(after), found.get(name, {}))]
    assert problems == []
    for name in ("adcs_authority", "adcs_web_enrollment"):
        module = f"certlogon.core.{name}"
        for key in (key for key in made if key[0] == module):
            assert differs(expected[key], made[key]) == []

    again = site()
    assert [(task.host, task.task) for task in again.changed] == []
    rounds = [task.result["rounds"] for task in again.tasks if task.action.startswith("certlogon.core.adcs_") and "rounds" in task.result]
    assert rounds and set(rounds) == {1}, "a task that changes nothing asks the CA host once"


def without_rights(after: Any) -> Any:
    """A new policy's permissions are completed by the directory, with what it gives every policy."""
    return {key: value for key, value in after.items() if key not in ("permissions", "guid")} if "links" in after else after


def test_other_tools_see_the_same(ca_lab: Any) -> None:
    """Samba's own reader, and openssl: NTAuth holds the new CA alone, which chains up to the published root."""
    [ntauth] = ca_lab.ldbsearch(f"CN=NTAuthCertificates,{SERVICES}", "(objectClass=*)", "cACertificate", scope="base")
    [service] = ca_lab.ldbsearch(f"CN={CA},CN=Enrollment Services,{SERVICES}", "(objectClass=*)", "*", scope="base")
    assert ntauth["cacertificate"] == service["cacertificate"]
    assert {b"CorpSmartcardLogon", b"CorpDomainController", b"Machine"} <= set(service["certificatetemplates"])
    text = pem(ntauth["cacertificate"][0])
    assert "OK" in ca_lab.run("dc1", "openssl", "verify", "-CAfile", "/srv/files/root-ca.pem", stdin=text).stdout
    script = "openssl s_client -connect dc1.corp.example:636 -verify_return_error -CAfile /srv/files/root-ca.pem < /dev/null"
    assert f"CN={CA}" in ca_lab.run("control", "sh", "-c", script).stdout.replace(" = ", "=")


def test_a_part_by_tag(site: Callable[..., Any]) -> None:
    run = site(check=True, arguments=["--tags", "authority"])
    actions = {task.action for task in run.tasks if task.status == "ok"}
    assert "certlogon.core.adcs_authority" in actions and "certlogon.core.ad_certificate_templates" not in actions


def test_renewal_of_what_is_new_renews_nothing(ca_lab: Any, playbook: Callable[..., Any]) -> None:
    run = playbook("certlogon.core.renew", inventory=INVENTORY, timeout=600)
    assert [(task.host, task.task) for task in run.changed] == []


def test_a_lost_card_is_revoked(ca_lab: Any, playbook: Callable[..., Any], tmp_path: Path) -> None:
    """Foreseen, revoked, found on the CRL by those who fetch it, and revoked once; openssl judges."""
    who, file, files = ca_lab.account("alice.andersson"), tmp_path / "alice.pem", ca_lab.files["folder"]
    request = {
        "url": "https://ca1.corp.example/certsrv",
        "username": who["upn"],
        "password": who["password"],
        "ca_path": ca_lab.files["ca_bundle"],
        "config": [{"path": str(file), "template": "CorpSmartcardLogon", "key": {"type": "rsa"}, "anchor_path": f"{files}/root-ca.pem"}],
    }
    playbook([{"certlogon.core.certificate_request": request}])
    serial = openssl("x509", "-in", str(file), "-noout", "-serial").strip().partition("=")[2]
    [url] = re.findall(r"URI:(http:\S+\.crl)", openssl("x509", "-in", str(file), "-noout", "-ext", "crlDistributionPoints"))

    def listed() -> dict[str, str]:
        """Serial number -> reason, from the CRL as clients fetch it."""
        der = subprocess.run(["curl", "-sf", url], capture_output=True, check=True).stdout
        (tmp_path / "ca.crl").write_bytes(der)
        blocks = openssl("crl", "-inform", "DER", "-in", str(tmp_path / "ca.crl"), "-noout", "-text").split("Serial Number: ")[1:]
        return {block.split()[0]: block for block in blocks}

    def revoke(**keywords: Any) -> Any:
        given = {"certlogon_revoke_certificate": str(file), "certlogon_revoke_reason": "key_compromise"}
        return playbook("certlogon.core.revoke", inventory=INVENTORY, variables=given, **keywords)

    assert serial not in listed()
    foreseen = revoke(check=True)
    assert {task.host for task in foreseen.changed} - {"vpn1.corp.example"} == {"ca1.corp.example"}, "an appliance would fetch the CRL"
    assert [change["name"].upper() for change in foreseen.changed[0]["changes"]] == [serial]
    assert serial not in listed(), "check mode revokes nothing"

    done = revoke()
    assert [change["name"].upper() for change in done.task("Revoke and publish")["changes"]] == [serial]
    assert "Key Compromise" in listed()[serial]
    command = ["openssl", "verify", "-crl_check", "-CRLfile", "ca.crl", "-partial_chain", "-CAfile", "ca.pem", file.name]
    [service] = ca_lab.ldbsearch(f"CN={CA},CN=Enrollment Services,{SERVICES}", "(objectClass=*)", "cACertificate", scope="base")
    (tmp_path / "ca.pem").write_text(pem(service["cacertificate"][0]))
    verdict = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert verdict.returncode != 0 and "certificate revoked" in verdict.stdout + verdict.stderr

    again = revoke()
    assert [(task.host, task.task) for task in again.changed] == []


def openssl(*arguments: str) -> str:
    return subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=True).stdout


def pem(der: bytes) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{base64.encodebytes(der).decode()}-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "exactly one of certlogon_revoke_certificate"),
        ({"certlogon_revoke_serial": "12", "certlogon_revoke_user": "CORP\\x"}, "exactly one of certlogon_revoke_certificate"),
        ({"certlogon_revoke_serial": "1234567890"}, "1234567890"),
    ],
)
def test_revocation_needs_to_know_what(ca_lab: Any, playbook: Callable[..., Any], given: dict[str, str], message: str) -> None:
    run = playbook("certlogon.core.revoke", inventory=INVENTORY, variables=given, fails=True)
    assert message in run.output and run.changed == []


def test_an_unreachable_ca_host_stops_everything_with_one_message(ca_lab: Any, site: Callable[..., Any]) -> None:
    run = site(
        variables={"ansible_winrm_port": 5999, "ansible_port": 5999}, fails=True, check=True, arguments=["--limit", "ca1.corp.example"]
    )
    assert "5999" in run.output or "cannot be reached" in run.output
    assert run.changed == []
