# SPDX-License-Identifier: GPL-3.0-or-later
"""With certificates from the Windows CA host's stand-in: the domain controller asks as itself; revoked there, refused at the KDC."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certlogon.core.tests.integration.controller_under_test import DC, Controller, controller
from ansible_collections.certlogon.core.tests.integration.test_domain_controller_certificates import x509
from ansible_collections.certlogon.core.tests.integration.web_enrollment_lab import CA, ready, reset
from lab.logon import FOLDER, REVOKED, Desk, Holder, judged, opens_the_domain, refresh_crls

URL = "https://ca1.corp.example/certsrv"
ALICE = "alice.andersson"


@pytest.fixture(scope="module")
def dc(ca_lab: Any, run_resource: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    reset(ca_lab)
    with controller(ca_lab, run_resource, tmp_path_factory.mktemp("controller")) as found:
        yield found
    reset(ca_lab)


@pytest.fixture
def site(dc: Controller, on_ca1: Callable[..., Any], playbook: Callable[..., Any]) -> Controller:
    """ca1 with its web enrolment, and the domain controller with a certificate from there."""
    if not dc.configured:
        ready(dc.lab, on_ca1)
        (dc.folder / "ca.pem").write_text(authority(dc))
        dc.lab.run("control", "sh", "-c", f"umask 077; mkdir -p {FOLDER}; cat > {FOLDER}/ca.pem", stdin=authority(dc))
        dc.first = dc.run(playbook, changes=way(dc))  # type: ignore[attr-defined]
        dc.configured = True
    return dc


def way(dc: Controller) -> dict[str, Any]:
    """The role's variables for the CA host; the lab's other CA is in NTAuth too, and its CRLs come from their files."""
    return {
        "certlogon_domain_controller_method": "web_enrollment",
        "certlogon_enrollment_url": URL,
        "certlogon_enrollment_ca_path": str(dc.folder / "ca.pem"),
    }


def authority(dc: Controller) -> str:
    text = dc.shell(
        "python3 - <<'END'\nimport base64, subprocess\n"
        f"found = subprocess.run(['ldbsearch', '-H', '/var/lib/samba/private/sam.ldb', '--cross-ncs', '(&(cn={CA})(cACertificate=*))',"
        " 'cACertificate', '-b', 'CN=Certification Authorities,CN=Public Key Services,CN=Services,CN=Configuration,DC=corp,DC=example'],"
        " capture_output=True, text=True).stdout.replace('\\n ', '')\n"
        "value = next(line for line in found.splitlines() if line.startswith('cACertificate:: ')).split()[1]\n"
        "print('-----BEGIN CERTIFICATE-----\\n' + base64.encodebytes(base64.b64decode(value)).decode() + '-----END CERTIFICATE-----')\nEND"
    )
    assert text.startswith("-----BEGIN")
    return text


def shown_by_ldaps(dc: Controller) -> str:
    return dc.lab.run(
        "control", "sh", "-c", f"openssl s_client -connect {DC}:636 -CAfile {FOLDER}/ca.pem -verify_return_error </dev/null"
    ).stdout


def test_the_domain_controller_asked_as_itself(site: Controller, playbook: Callable[..., Any]) -> None:
    first = site.first  # type: ignore[attr-defined]
    assert "In order." in first.output and f"issued by CN={CA}" in first.output
    pem = shown_by_ldaps(site)
    assert "dc1.corp.example" in x509(pem, "-ext", "subjectAltName"), "built by the CA from the directory object of the account that asked"
    assert "Signing KDC Response" in x509(pem, "-ext", "extendedKeyUsage")
    assert not site.shell("ls -d /run/certlogon.* 2>/dev/null", check=False), "the ticket is gone"
    assert "PRIVATE" not in "".join(path.read_text() for path in site.requests.iterdir() if path.is_file())
    again = site.run(playbook, changes=way(site))
    assert not again.changed
    assert "krbtgt" not in first.output


def test_revoked_at_the_ca_refused_at_the_kdc(
    site: Controller, playbook: Callable[..., Any], on_ca1: Callable[..., Any], tmp_path: Path
) -> None:
    who = site.lab.account(ALICE)
    wish = {
        "path": str(tmp_path / "alice.pem"),
        "template": "User",
        "key": {"path": str(tmp_path / "alice.key")},
        "anchor_path": str(site.folder / "ca.pem"),
    }
    way_there = {"url": URL, "username": who["upn"], "password": who["password"], "ca_path": str(site.folder / "ca.pem")}
    playbook([{"certlogon.core.certificate_request": {"config": [wish], **way_there}}])
    for name in ("alice.pem", "alice.key"):
        site.lab.run("control", "sh", "-c", f"umask 077; cat > {FOLDER}/ca-{name}", stdin=(tmp_path / name).read_text())
    desk = Desk(site.lab.run, [f"{FOLDER}/ca.pem"], [])
    alice = Holder(ALICE, f"FILE:{FOLDER}/ca-alice.pem,{FOLDER}/ca-alice.key")
    proof = opens_the_domain(desk, alice)
    assert proof.held, proof.evidence

    samba = site.samba()
    for status, ticket in (("on_hold", False), ("valid", True), ("revoked", False)):
        entry = {"certificate_path": str(tmp_path / "alice.pem"), "status": status}
        on_ca1([{"certlogon.core.adcs_revocation": {"config": [entry]}}])
        refresh_crls(desk)
        outcome = judged(status, alice.log_on(desk), ticket=ticket, because="NT_STATUS_OK" if ticket else REVOKED)
        assert outcome.held, outcome.evidence
    assert site.samba() == samba, "no restart was needed"
