# SPDX-License-Identifier: GPL-3.0-or-later
"""What the demo makes of a page that a browser showed."""

from __future__ import annotations

from dataclasses import replace

from lab.browser import Page
from lab.vpn_browser import Visit, judged

GOOD = Page("Signed in", "Welcome, alice\nRealm Staff", "https://vpn.corp.example/", "", b"\x89PNG", 1, 3.0)


def test_a_page_that_says_what_it_should_holds_and_is_shown():
    (proof,) = judged([Visit("opens", GOOD, "Welcome, alice")], "156.0")
    assert (proof.outcome, proof.judged_by, proof.reason) == ("passed", "Chromium 156.0", "")
    assert proof.picture == "data:image/png;base64,iVBORw==" and "Realm Staff" in proof.evidence


def test_what_does_not_hold_and_why():
    for page, why in (
        (replace(GOOD, text="Welcome, bob"), "the page does not say 'Welcome, alice'"),
        (replace(GOOD, error="net::ERR_CERT_COMMON_NAME_INVALID", text=""), "the browser says: net::ERR_CERT_COMMON_NAME_INVALID"),
        (replace(GOOD, pin_dialogs=2), "the browser asked for the PIN 2 times"),
        (replace(GOOD, pin_dialogs=0, screenshot=b""), "the browser asked for the PIN 0 times"),
    ):
        (proof,) = judged([Visit("opens", page, "Welcome, alice")])
        assert (proof.outcome, proof.reason) == ("failed", why)
