# SPDX-License-Identifier: GPL-3.0-or-later
"""Smart card logon on the real KDC, configured by role domain_controller_certificates: who gets in, who does not, and the KDC's reason."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certlogon.core.tests.integration.controller_under_test import Controller, controller
from lab import logon
from lab.cards import CardBox
from lab.labs import Lab
from lab.logon import Desk, Holder, Issued

ALICE = "alice.andersson"


@pytest.fixture(scope="module")
def dc(ca_lab: Any, run_resource: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    with controller(ca_lab, run_resource, tmp_path_factory.mktemp("controller")) as found:
        yield found


@pytest.fixture
def kdc(dc: Controller, playbook: Callable[..., Any]) -> Controller:
    """The domain controller, configured by the role before the first test."""
    if not dc.configured:
        dc.run(playbook)
        dc.answer()
        dc.run(playbook)
        dc.configured = True
    return dc


@pytest.fixture
def desk(kdc: Controller) -> Desk:
    return Desk(kdc.lab.run)


@pytest.fixture(scope="module")
def issued(dc: Controller) -> Issued:
    return dc.maker.issue("alice", f"{ALICE}@corp.example")


@pytest.fixture(scope="module")
def alice(dc: Controller, issued: Issued) -> Holder:
    """Alice with her card."""
    box = CardBox.of_lab(Lab(dc.lab.status["name"]))
    name = f"logon-test-{issued.serial}"  # cards outlive a run
    pin = box.make(name).pin
    inside = box.inside.card(name)
    logon.put_on_card(dc.lab.run, inside, issued, box.inside.environment)
    return Holder(ALICE, inside.identity(), pin, box.inside.environment)


def held(proof: logon.LogonProof) -> None:
    assert proof.held, "\n".join([proof.claim, *proof.evidence])


def test_the_card_opens_the_domain(desk: Desk, alice: Holder) -> None:
    held(logon.opens_the_domain(desk, alice))


def test_the_card_of_one_is_no_card_for_another(desk: Desk, alice: Holder) -> None:
    held(logon.not_for_another(desk, alice, "bruno.bianchi"))


@pytest.mark.parametrize("authority", ["rogue-ca", "vpn-ca"])
def test_an_authority_outside_ntauth_opens_nothing(desk: Desk, kdc: Controller, authority: str) -> None:
    """vpn-ca hangs below the same root as the issuing CA: with the root for an anchor, as often advised, it could log on anybody."""
    held(logon.not_of_a_stranger(desk, kdc.maker, ALICE, authority))


def test_an_unknown_authority_is_not_even_sent(desk: Desk, kdc: Controller) -> None:
    stranger = kdc.maker.issue("stranger", f"{ALICE}@corp.example", authority="rogue-ca")
    outcome = desk.log_on(ALICE, stranger.identity)
    assert not outcome.ticket and "unable to get local issuer certificate" in outcome.kinit and not outcome.reasons


def test_an_expired_certificate_opens_nothing(desk: Desk, kdc: Controller) -> None:
    held(logon.not_when_expired(desk, kdc.maker, ALICE))


def test_an_expired_certificate_is_not_even_sent(desk: Desk, kdc: Controller) -> None:
    expired = kdc.maker.issue("expired", f"{ALICE}@corp.example", begins="20260101000000Z", ends="20260201000000Z")
    outcome = desk.log_on(ALICE, expired.identity)
    assert not outcome.ticket and "certificate has expired" in outcome.kinit and not outcome.reasons


def test_a_disabled_account_stays_out(desk: Desk, alice: Holder) -> None:
    held(logon.not_when_disabled(desk, alice))
    held(logon.opens_the_domain(desk, alice))


def test_a_wrong_pin_is_refused_by_the_card(desk: Desk, alice: Holder) -> None:
    held(logon.not_with_a_wrong_pin(desk, alice))
    held(logon.opens_the_domain(desk, alice))


def test_revocation_counts_at_the_next_logon(desk: Desk, kdc: Controller, alice: Holder, issued: Issued) -> None:
    samba = kdc.samba()
    for proof in logon.revocation_counts(desk, alice, lambda: kdc.publish((issued.serial,)), kdc.publish):
        held(proof)
    assert kdc.samba() == samba


def test_a_missing_crl_stops_everybody(desk: Desk, alice: Holder) -> None:
    for proof in logon.a_missing_crl_stops_everybody(desk, alice):
        held(proof)


def put_expired_crl(kdc: Controller) -> str:
    """An expired CRL in the KDC's file, behind the back of the script, which would not take it."""
    name = kdc.shell("ls /var/lib/certlogon/crl/corp-example-issuing-ca-*").strip()
    kdc.shell(f"sleep 1; cat > {name}.new; mv {name}.new {name}", stdin=kdc.maker.crl(begins="20260101000000Z", ends="20260201000000Z"))
    return name


def test_an_expired_crl_stops_everybody_until_it_is_replaced(desk: Desk, kdc: Controller, alice: Holder) -> None:
    samba, name = kdc.samba(), put_expired_crl(kdc)
    outcome = alice.log_on(desk)
    assert not outcome.ticket, outcome.evidence
    assert any("evo" in reason for reason in outcome.reasons), outcome.evidence
    time.sleep(1)  # which the file's time shows in seconds
    refreshed = kdc.lab.run("dc1", "certlogon-crl")
    assert f"{name}: written" in refreshed.stderr
    held(logon.opens_the_domain(desk, alice))
    assert kdc.samba() == samba, "mended without a restart"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mail", {"purposes": ["1.3.6.1.5.5.7.3.4"]}),
        ("no-purpose", {"purposes": []}),
        ("sid-of-another", {"sid": "S-1-5-21-1111111111-2222222222-3333333333-500"}),
    ],
)
def test_what_this_kdc_does_not_check(desk: Desk, kdc: Controller, name: str, options: dict[str, Any]) -> None:
    """Purposes and the SID extension. Should this fail some day, docs/smart-card-logon.md has good news to tell."""
    found = desk.log_on(ALICE, kdc.maker.issue(name, f"{ALICE}@corp.example", **options).identity)
    assert found.ticket, found.evidence


def test_elliptic_curves_are_not_for_this_kdc(desk: Desk, kdc: Controller) -> None:
    outcome = desk.log_on(ALICE, kdc.maker.issue("elliptic", f"{ALICE}@corp.example", elliptic=True).identity)
    assert not outcome.ticket
    assert "PKINIT: Signature algorithm doesn't match certificate key" in outcome.reasons


def test_explicit_mappings_are_not_looked_at(desk: Desk, kdc: Controller, alice: Holder) -> None:
    dn = kdc.shell(f"samba-tool user show {ALICE} --attributes=dn").partition("dn: ")[2].splitlines()[0]
    change = f"dn: {dn}\nchangetype: modify\n%s: altSecurityIdentities\naltSecurityIdentities: X509:<SHA1-PUKEY>{'0' * 40}\n"
    kdc.lab.ldbmodify(change % "add")
    try:
        held(logon.opens_the_domain(desk, alice))
    finally:
        kdc.lab.ldbmodify(change % "delete")


def test_linters_find_no_error_in_the_logon_certificate(kdc: Controller, issued: Issued, tmp_path: Path) -> None:
    pem = tmp_path / "user.pem"
    pem.write_text(kdc.lab.run("control", "cat", issued.certificate).stdout)
    lint = Path(sys.executable).with_name("lint_pkix_cert")
    found = subprocess.run([lint, "lint", "-s", "ERROR", "-f", "TEXT", pem], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    judged = kdc.lab.run("control", "zlint", "-pretty", "-excludeSources", "CABF_BR,Mozilla,Apple", issued.certificate, check=False).stdout
    assert '"error"' not in judged and '"fatal"' not in judged, judged
