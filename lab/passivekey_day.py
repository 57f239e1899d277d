# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's day with PassiveKey: somebody logs on at client1, opens the intranet and a tunnel, and loses the workstation.

`spend` does; `judged` is pure."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from lab import settings, vpn_browser, vpn_logins, workstation
from lab.browser import Page
from lab.errors import LabError
from lab.labs import Lab
from lab.passivekey_host import NAME, SITES
from lab.story import REAL, Outcome, Proof
from lab.tunnels import CLIENT, Tunnel, try_tunnel
from lab.vpn_logins import Login, Place
from lab.workstation import Desk, Pause

CHAPTER = "PassiveKey"
USER = "chiara.conti"
COOKIE = "__Host-passivekey"
SITE = f"https://{SITES[0]}/"
PATIENCE = 60.0
"""Seconds, for a busy machine."""


@dataclass(frozen=True)
class Enrollment:
    """What came of a logon by itself. `tickets`: what klist says; `devices`: what the server has of the user, as `passivekey user` says."""

    tickets: str
    device: str
    devices: Sequence[Mapping[str, Any]]
    seconds: float


@dataclass(frozen=True)
class Day:
    """`page`: of the browser with the extension, `page.later` the same after the revocation; `plain`: of one without."""

    enrollment: Enrollment
    page: Page
    plain: Page
    tunnel: Tunnel
    replayed: Tunnel
    place: Place


# ---- what is done


def log_on(lab: Lab) -> Desk:
    """A first logon: of an earlier one nothing is left on the computer."""
    workstation.forget(lab, USER)
    return workstation.log_on(lab, USER, password(lab))


def password(lab: Lab) -> str:
    return str(lab.status()["accounts"][USER]["password"])


def enrolled(lab: Lab, desk: Desk) -> Enrollment:
    """Once the agent, which nobody calls, has been there."""
    began = time.monotonic()
    while (said := desk.run("passivekey-agent", "status", check=False)).returncode:
        if time.monotonic() - began > PATIENCE:
            raise LabError(f"no enrolment of {USER} came: {(said.stdout + said.stderr).strip()[-1000:]}")
        time.sleep(0.1)
    devices = [json.loads(line) for line in lab.run("pk1", "passivekey", "user", "--json", USER).stdout.splitlines()[1:]]
    return Enrollment(desk.run("klist").stdout, said.stdout.split()[1], devices, desk.seconds + time.monotonic() - began)


def spend(lab: Lab, desk: Desk, enrollment: Enrollment) -> Day:
    """Browser and VPN at once, for each waits for the other's programs; then the device is revoked, and the browser still open."""
    place = next(place for place in vpn_logins.places(lab) if place.host == "gw1")
    pause = Pause(desk)
    with ThreadPoolExecutor(1) as beside:
        visit = beside.submit(desk.visit, SITE, extension=True, cookie=COOKIE, again=pause.path, timeout=2 * PATIENCE)
        try:
            words = f"{password(lab)}\n{desk.run('passivekey-agent', 'code', '--plain').stdout.strip()}\n"
            tunnel, replayed = (
                try_tunnel(lab, place.gateway, None, user=USER, stdin=words, arguments=["--no-dtls"]) for _login in range(2)
            )
            plain = desk.visit(SITE)
            pause.wait(PATIENCE)
            lab.run("pk1", "passivekey", "revoke", "--device", enrollment.device, "--reason", "stolen")
        finally:
            pause.end()
        return Day(enrollment, visit.result(), plain, tunnel, replayed, place)


# ---- judgements

# What the gateway's log says of a code that the RADIUS server refuses.
NO_CODE = ("error authenticating user",)


def judged(day: Day, versions: Mapping[str, str], chromium: str = "") -> list[Proof]:
    tunnels = [
        Login("Password and code open the ocserv gateway's tunnel, to a page behind it", day.place, day.tunnel, (), ("P8",)),
        Login("The same code opens it no second time", day.place, day.replayed, NO_CODE, ("P8",)),
    ]
    inside = f"user={USER}@{settings.DNS_DOMAIN}"
    found = [
        _enrolled(day.enrollment),
        _page("In a browser with the extension the intranet is open, and nobody typed a code", day.page, inside, ("P6",), chromium),
        _page("In a browser without it the same page is refused", day.plain, REFUSED, ("P6",), chromium),
        *vpn_logins.judged(tunnels, versions),
        _page("Her device revoked: the browser that was in is refused with its next page", day.page.later, REFUSED, ("P9",), chromium),
    ]
    return [replace(proof, chapter=CHAPTER) for proof in found]


REFUSED = "401 Authorization Required"
"""nginx's own page."""


def _enrolled(found: Enrollment) -> Proof:
    problems = []
    if f"HTTP/{NAME}@{settings.REALM}" not in found.tickets:
        problems.append(f"there is no ticket for {NAME}")
    ours = [device for device in found.devices if device["id"] == found.device]
    if not ours:
        problems.append("the server does not know the device")
    problems += [f"the server has it as {device['state']} on {device['workstation']}" for device in ours if not _right(device)]
    words = ("name", "id", "workstation", "state")
    return Proof(
        f"{USER}'s logon at {CLIENT} enrolled the workstation by Kerberos, and asked for the password alone",
        "PAM, MIT klist",
        "failed" if problems else "passed",
        evidence=(
            f"enrolled {found.seconds:.1f} s after the password was typed",
            *(line.rstrip() for line in found.tickets.splitlines() if "@" in line),
            *(", ".join(f"{word} {device[word]}" for word in words) for device in ours),
        ),
        requirements=("P1", "P2", "P3"),
        reason="; ".join(problems),
    )


def _right(device: Mapping[str, Any]) -> bool:
    return bool(device["state"] == "active" and device["workstation"] == CLIENT)


def _page(claim: str, page: Page | None, expected: str, requirements: Sequence[str], version: str) -> Proof:
    if page is None:
        return Proof(claim, "Chromium", "failed", version=version, requirements=requirements, reason="the browser did not come so far")
    problems = []
    if page.error:
        problems.append(f"the browser says: {page.error}")
    elif expected not in page.text:
        problems.append(f"the page does not say '{expected}'")
    evidence = tuple(line for line in (page.url, page.title, *page.text.splitlines()) if line.strip())
    outcome: Outcome = "failed" if problems else "passed"
    picture = vpn_browser.picture(page)
    return Proof(claim, "Chromium", outcome, REAL, evidence, tuple(requirements), version, "; ".join(problems), picture)
