# SPDX-License-Identifier: GPL-3.0-or-later
"""What the demo makes of VPN logins: each proof fails when the thing it judges is not so."""

from __future__ import annotations

import pytest

from lab import proofs
from lab.story import STAND_IN
from lab.tunnels import Gateway, Tunnel
from lab.vpn_logins import NO_CARD, REVOKED, STRANGER, Login, Place, judged, refused_after

PLACE = Place("the gateway", "gw1", Gateway("https://gw.corp.example"), STAND_IN, "ocserv, openconnect")


def tunnel(*, up: bool, log: str = "", page: str = "Hello") -> Tunnel:
    return Tunnel(None, up, page if up else "", "10.85.2.1" if up else "", "tun0", "Using client certificate", log, 0.1, None, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("up", "log", "reasons", "outcome"),
    [
        (True, "user logged in", (), "passed"),
        (False, "", (), "failed"),
        (False, "Certificate is required.", NO_CARD, "passed"),
        (False, "the disk is full", NO_CARD, "failed"),
        (False, "The certificate issuer is unknown.", STRANGER, "passed"),
        (False, "The certificate has expired.", STRANGER, "failed"),
        (False, "The certificate chain is revoked.", REVOKED, "passed"),
        (True, "The certificate chain is revoked.", REVOKED, "failed"),
        (False, "", REVOKED, "failed"),
    ],
)
def test_a_login(up: bool, log: str, reasons: tuple[str, ...], outcome: str) -> None:
    [proof] = judged([Login("claim", PLACE, tunnel(up=up, log=log), reasons)], {"openconnect": "9.12"})
    assert (proof.outcome, proof.judged_by, bool(proof.reason)) == (outcome, "ocserv, openconnect 9.12", outcome == "failed")


def test_seconds_are_the_playbooks() -> None:
    said = ["vpn1.corp.example: checks against the new CRL 1.3 s after the command\ngw1.corp.example: NOT DONE, it may go on", "other"]
    assert refused_after(said) == {"vpn1.corp.example": 1.3}


GOOD = """Verification: OK
subject=O = Corp Example, CN = vpn.corp.example
issuer=DC = example, DC = corp, CN = Corp CA
    DNS:vpn.corp.example
"""


@pytest.mark.parametrize(
    ("shown", "outcome"),
    [(GOOD, "passed"), (GOOD.replace("DNS:vpn", "DNS:www"), "failed"), (GOOD.replace("Corp CA", "Other CA"), "failed"), ("", "failed")],
)
def test_the_certificate_of_a_gateway(shown: str, outcome: str) -> None:
    facts = {"versions": {"openssl": "3.5.7"}, "gateways": {"vpn.corp.example": {"output": shown}}}
    assert [proof.outcome for proof in proofs.of_gateways(facts)] == [outcome]
