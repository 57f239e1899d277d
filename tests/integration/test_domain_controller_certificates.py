# SPDX-License-Identifier: GPL-3.0-or-later
"""Role domain_controller_certificates on a real Samba domain controller: foreseen, done once, renewed, refused; read by other tools."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.directory.trusted_certificates import TrustedCertificates
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policies import GroupPolicies
from ansible_collections.certlogon.core.tests.integration.controller_under_test import DC, Controller, controller
from lab.logon import Desk

FOLDER = "/etc/samba/certlogon"
KDC_MARK = "BEGIN certlogon: PKINIT"
KDC_PURPOSE = "Signing KDC Response"


@pytest.fixture(scope="module")
def dc(ca_lab: Any, run_resource: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    with controller(ca_lab, run_resource, tmp_path_factory.mktemp("controller")) as found:
        yield found


@pytest.fixture
def role(dc: Controller, playbook: Callable[..., Any]) -> Callable[..., Any]:
    return lambda **options: dc.run(playbook, **options)


@pytest.fixture
def configured(dc: Controller, role: Callable[..., Any]) -> Controller:
    """Configured by the test before, or now."""
    if KDC_MARK not in dc.shell("cat /etc/krb5.conf") or dc.shell(f"ls {FOLDER}/current/cert.pem", check=False) == "":
        role()
        dc.answer()
        role()
    return dc


def names(run: Any) -> set[str]:
    return {task.task.rpartition(" : ")[2] for task in run.changed}


def x509(pem: str, *arguments: str) -> str:
    return subprocess.run(["openssl", "x509", "-noout", *arguments], input=pem, capture_output=True, text=True, check=True).stdout


def state(dc: Controller) -> str:
    """All that the role could change on the domain controller."""
    files = f"/etc/samba/smb.conf /etc/krb5.conf {FOLDER} /var/lib/certlogon /etc/cron.d /usr/local/sbin"
    return dc.shell(f"find {files} -type f -exec sha256sum {{}} + 2>/dev/null | sort; cat /run/samba/samba.pid")


def test_from_nothing_to_a_domain_controller_for_cards(dc: Controller, role: Callable[..., Any]) -> None:
    virgin = state(dc)
    foreseen = role(check=True)
    assert state(dc) == virgin, "a check changes nothing"
    assert {"Say why a certificate is needed", "Let LDAPS show the certificate", "Tell the KDC"} <= names(foreseen)
    assert {"Let the KDC believe the CAs of the NTAuth store, and no other", "Fetch CRLs", "Say that samba would be restarted"} <= names(
        foreseen
    )
    assert "pkinit_revoke = FILE:/var/lib/certlogon/crl/corp-example-issuing-ca-" in foreseen.output

    waiting = role()
    assert "Until then nothing is configured." in waiting.output
    assert dc.parameter("tls certfile") == "/etc/samba/tls/dc.pem"
    assert "PRIVATE" not in "".join(path.read_text() for path in dc.requests.iterdir())
    key = dc.shell(f"sha256sum {FOLDER}/next/key.pem")
    assert not role().changed, "it waits on"

    dc.answer()
    done = role()
    assert "In order." in done.output and f"LDAPS of {DC}" in done.output
    assert dc.shell(f"stat -c %a {FOLDER}/current/key.pem {FOLDER}").split() == ["600", "700"]
    assert dc.shell(f"sha256sum {FOLDER}/current/key.pem").split()[0] == key.split()[0]
    assert dc.parameter("tls certfile") == f"{FOLDER}/current/cert.pem"
    shown = dc.shown()
    assert KDC_PURPOSE in x509(shown, "-ext", "extendedKeyUsage")
    assert "DNS:dc1.corp.example, DNS:corp.example" in x509(shown, "-ext", "subjectAltName")
    assert shown in dc.shell(f"cat {FOLDER}/current/cert.pem")
    alice = dc.maker.issue("alice", "alice.andersson@corp.example")
    outcome = Desk(dc.lab.run).log_on("alice.andersson", alice.identity)
    assert outcome.ticket, outcome.evidence

    samba, settled = dc.samba(), state(dc)
    again = role()
    assert not again.changed, names(again)
    assert not role(check=True).changed
    assert (dc.samba(), state(dc)) == (samba, settled), "and samba was left alone"


def test_renewed_inside_the_window_and_the_old_pair_serves_meanwhile(configured: Controller, role: Callable[..., Any]) -> None:
    dc = configured
    dc.shell(
        f"cd {FOLDER}/current && openssl x509 -req -in request.pem -CA /srv/files/issuing-ca.pem -CAkey /srv/files/issuing-ca.key"
        " -not_before 20260101000000Z -not_after $(date -u -d '+20 days' +%Y%m%d%H%M%SZ) -copy_extensions copyall 2>/dev/null > cert.pem"
        " && cat /srv/files/issuing-ca.pem >> cert.pem && sh /usr/local/sbin/restart-samba"
    )
    old, samba = dc.shown(), dc.samba()
    waiting = role()
    assert "it expires in 20 days" in waiting.output
    assert (dc.shown(), dc.samba()) == (old, samba)
    dc.answer()
    role()
    assert dc.shown() != old
    assert len(dc.shell(f"ls -d {FOLDER}/????????????????").split()) == 2, "the pair before is kept"


def test_a_run_that_died_before_the_restart_is_finished_by_the_next(configured: Controller, role: Callable[..., Any]) -> None:
    samba = configured.samba()
    configured.shell("sleep 2; touch /etc/samba/smb.conf")
    assert names(role()) == {"Restart samba by command"}
    assert configured.samba() != samba


def test_a_certificate_that_will_not_do_is_not_installed(configured: Controller, role: Callable[..., Any]) -> None:
    dc = configured
    shown, changes = dc.shown(), {"certlogon_domain_controller_names": ["dc1.corp.example", "corp.example", "ldap.corp.example"]}
    role(changes=changes)
    dc.answer("vpn-ca")
    refused = role(fails=True, changes=changes)
    assert "is not known in this domain" in refused.output or "is not in the NTAuth store" in refused.output
    assert "what there was is untouched" in refused.output
    assert dc.shown() == shown
    request = (dc.requests / f"{DC}.csr").read_text()
    (dc.requests / f"{DC}.answer").unlink()
    role(changes=changes)
    assert (dc.requests / f"{DC}.csr").read_text() != request, "asked anew"


def test_revocation_is_not_switched_on_without_its_crls(configured: Controller, role: Callable[..., Any]) -> None:
    dc = configured
    dc.shell(f"rm -r /var/lib/certlogon/crl; sed -i '/{KDC_MARK}/,$d' /etc/krb5.conf")
    dc.publish(begins="20260101000000Z", ends="20260201000000Z")
    refused = role(fails=True)
    assert "it expired at 2026-02-01 00:00:00 UTC" in refused.output
    assert "no usable CRL" in refused.output
    assert "pkinit" not in dc.shell("cat /etc/krb5.conf")
    dc.publish()
    role()
    assert "pkinit_revoke" in dc.shell("cat /etc/krb5.conf")


def test_an_empty_ntauth_store_is_refused(configured: Controller, role: Callable[..., Any], run_resource: Callable[..., Any]) -> None:
    kind = TrustedCertificates()
    before = [entry for entry in run_resource(kind, state="gathered")["gathered"] if entry["store"] == "ntauth"]
    run_resource(kind, [{"store": "ntauth", "certificates": []}], "replaced")
    try:
        untouched = state(configured)
        assert "No CA is in the NTAuth store of corp.example" in role(fails=True).output
        foreseen = role(check=True)
        assert "pkinit_revoke = (known after apply)" in foreseen.output, "in a check, another play of the same run may be what fills it"
        assert state(configured) == untouched
    finally:
        run_resource(kind, before, "replaced")


def test_settings_of_others_in_the_kdcs_section_are_refused(configured: Controller, role: Callable[..., Any]) -> None:
    configured.shell("printf '[kdc]\\n  pkinit_anchors = FILE:/etc/other.pem\\n' >> /etc/krb5.conf")
    try:
        assert "pkinit_anchors = FILE:/etc/other.pem" in role(fails=True).output
    finally:
        configured.shell("sed -i '/END certlogon/q' /etc/krb5.conf")


def test_a_kdc_that_reads_another_configuration_is_refused(configured: Controller, role: Callable[..., Any]) -> None:
    refused = role(fails=True, changes={"certlogon_kdc_krb5_conf": "/etc/other.conf"})
    assert "started with KRB5_CONFIG=/etc/krb5.conf" in refused.output


def test_a_cron_that_does_not_run_is_refused(configured: Controller, role: Callable[..., Any]) -> None:
    configured.shell("kill $(pgrep -x cron)")
    try:
        assert "cron does not run" in role(fails=True).output
    finally:
        configured.shell("cron")


def test_cron_fetches_a_new_crl(configured: Controller, role: Callable[..., Any]) -> None:
    role(changes={"certlogon_crl_refresh_minutes": 1})
    lines = configured.shell("cat /etc/cron.d/certlogon-crl").splitlines()
    assert any(line.startswith("* * * * * root ") for line in lines)
    configured.publish((4711,))
    end = time.monotonic() + 75
    while "Serial Number: 1267" not in configured.shell(
        "openssl crl -noout -text -in /var/lib/certlogon/crl/corp-example-issuing-ca-*", check=False
    ):
        assert time.monotonic() < end, "cron has not fetched it"
        time.sleep(1)
    configured.publish()


def test_linters_find_no_error_in_what_is_shown(configured: Controller, tmp_path: Path) -> None:
    pem = tmp_path / "dc.pem"
    pem.write_text(configured.shown() + "\n")
    lint = Path(sys.executable).with_name("lint_pkix_cert")
    found = subprocess.run([lint, "lint", "-s", "ERROR", "-f", "TEXT", pem], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_a_windows_domain_controller_is_told_to_enroll(
    dc: Controller, role: Callable[..., Any], run_resource: Callable[..., Any], connection: dict[str, Any]
) -> None:
    """dc1 is no Windows host: what is done for one is done in the directory and in SYSVOL."""
    policy = "Test - Domain Controller Certificates"
    changes = {"certlogon_domain_controller_kind": "windows", "certlogon_domain_controller_policy_name": policy}
    play = {"module_defaults": {"group/certlogon.core.directory": connection}}
    untouched = state(dc)
    try:
        assert role(changes=changes, play=play, check=True).changed
        role(changes=changes, play=play)
        again = role(changes=changes, play=play)
        assert not again.changed and "In order." in again.output
        assert state(dc) == untouched, "nothing is done on the host"
        found = next(entry for entry in run_resource(GroupPolicies(), state="gathered")["gathered"] if entry["name"] == policy)
        assert [link["target"] for link in found["links"]] == ["Domain Controllers"]
        assert found["autoenrollment"]["computer"]["enabled"] is True
        shown = dc.shell(f"samba-tool gpo show '{{{found['guid'].strip('{}')}}}'")
        assert "AEPolicy" in shown and '"data": 7' in shown
    finally:
        run_resource(GroupPolicies(), [{"name": policy}], "deleted")
