# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's browser: a card at the appliance's sign-in page, its PIN typed into Chromium's own dialog. `judged` is pure."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509

from lab import browser, logons, settings
from lab.cards import CardBox
from lab.labs import Lab
from lab.story import STAND_IN, Proof
from lab.tunnels import CLIENT

URL = f"https://vpn.{settings.DNS_DOMAIN}/"


@dataclass(frozen=True)
class Visit:
    """A page that somebody's browser showed, and what it should say: `expected`, and the name in the certificate if that lets in."""

    claim: str
    page: browser.Page
    expected: str
    requirements: Sequence[str] = ("C5", "C15")


def sign_in(lab: Lab, account: str, *, revoked: bool = False) -> Visit:
    """Whose card is in the reader of the user's computer opens the page."""
    name = common_name(logons.certificate_file(lab, account).read_bytes())
    issuer = common_name((lab.folder / "authority/corp-ca.pem").read_bytes())
    card = CardBox.of_lab(lab, host=CLIENT).inside.card(account)
    page = browser.by_card(lab, URL, card, issuer=issuer)
    if revoked:
        return Visit("In a browser, the revoked card gets a page that says why it is refused", page, "Revoked", ("C9", "C15"))
    return Visit("In a browser, card and PIN open the appliance's sign-in page", page, f"Welcome, {name}")


def common_name(pem: bytes) -> str:
    found = x509.load_pem_x509_certificate(pem).subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(found[0].value)


def judged(visits: Sequence[Visit], version: str = "") -> list[Proof]:
    return [_judged(visit, version) for visit in visits]


def _judged(visit: Visit, version: str) -> Proof:
    page, problems = visit.page, []
    if page.error:
        problems.append(f"the browser says: {page.error}")
    elif visit.expected not in page.text:
        problems.append(f"the page does not say '{visit.expected}'")
    if page.pin_dialogs != 1:
        problems.append(f"the browser asked for the PIN {page.pin_dialogs} times")
    return Proof(
        visit.claim,
        "Chromium",
        "failed" if problems else "passed",
        STAND_IN,
        tuple(line for line in (page.url, page.title, *page.text.splitlines()) if line.strip()),
        tuple(visit.requirements),
        version,
        "; ".join(problems),
        picture(page),
    )


def picture(page: browser.Page) -> str:
    """As a page can hold it; empty if there is none."""
    return f"data:image/png;base64,{base64.b64encode(page.screenshot).decode()}" if page.screenshot else ""


def version(lab: Lab) -> str:
    words = lab.run(CLIENT, "chromium", "--version", check=False).stdout.split()
    return words[1] if len(words) > 1 else ""
