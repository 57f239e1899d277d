# SPDX-License-Identifier: GPL-3.0-or-later
"""What the demo makes of a day with PassiveKey: each proof holds, and fails when one thing is off."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab import labs, passivekey_day
from lab.browser import Page
from lab.passivekey_day import Day, Enrollment, judged
from lab.story import STAND_IN
from lab.tunnels import Gateway, Tunnel
from lab.vpn_logins import Place

DEVICE = {"id": "d1", "name": "chiara.conti@corp.example", "state": "active", "workstation": "client1"}
TICKETS = "Default principal: chiara.conti@CORP.EXAMPLE\n11/23/26 06:35  HTTP/passivekey.corp.example@CORP.EXAMPLE\n"
LATER = Page("401 Authorization Required", "401 Authorization Required\nnginx", "https://intranet.corp.example/", "", b"\x89PNG", 0, 9.0)
PAGE = replace(LATER, title="intranet", text="account=S-1-5-21 user=chiara.conti@corp.example device=d1", later=LATER)
PLACE = Place("the ocserv gateway", "gw1", Gateway("https://gw.corp.example"), STAND_IN, "ocserv, openconnect")
TUNNEL = Tunnel(labs.Lab("none"), True, "Hello", "10.85.2.225", "tun0", "", "user logged in", 1.0, None, 1)
REPLAYED = replace(TUNNEL, up=False, page="", gateway_log="radius-auth: error authenticating user 'chiara.conti' (code 2)")
DAY = Day(Enrollment(TICKETS, "d1", [DEVICE], 3.0), PAGE, LATER, TUNNEL, REPLAYED, PLACE)


def test_all_hold_in_a_chapter_of_their_own():
    found = judged(DAY, {"openconnect": "9.12"}, "150.0")
    assert [proof.outcome for proof in found] == ["passed"] * 6, [proof.reason for proof in found]
    assert {proof.chapter for proof in found} == {passivekey_day.CHAPTER} and all(proof.requirements for proof in found)
    assert [bool(proof.picture) for proof in found] == [False, True, True, False, False, True]


@pytest.mark.parametrize(
    ("day", "number", "why"),
    [
        (replace(DAY, enrollment=replace(DAY.enrollment, tickets="none")), 0, "there is no ticket for passivekey.corp.example"),
        (replace(DAY, enrollment=replace(DAY.enrollment, devices=[])), 0, "the server does not know the device"),
        (replace(DAY, enrollment=replace(DAY.enrollment, devices=[DEVICE | {"state": "pending"}])), 0, "has it as pending on client1"),
        (replace(DAY, page=replace(PAGE, text="account=S-1-5-21 user=somebody@corp.example")), 1, "does not say 'user=chiara.conti@"),
        (replace(DAY, page=replace(PAGE, error="no answer within 60 s")), 1, "no answer within 60 s"),
        (replace(DAY, plain=PAGE), 2, "the page does not say '401"),
        (replace(DAY, tunnel=REPLAYED), 3, "no page came through"),
        (replace(DAY, replayed=TUNNEL), 4, "a page came through all the same"),
        (replace(DAY, replayed=replace(REPLAYED, gateway_log="no certificate")), 4, "refused for another reason"),
        (replace(DAY, page=replace(PAGE, later=replace(LATER, text=PAGE.text))), 5, "the page does not say '401"),
        (replace(DAY, page=replace(PAGE, later=None)), 5, "did not come so far"),
    ],
)
def test_one_thing_off(day, number, why):
    found = judged(day, {})
    assert [proof.outcome for proof in found] == ["failed" if place == number else "passed" for place in range(6)]
    assert why in found[number].reason
