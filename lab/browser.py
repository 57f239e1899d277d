# SPDX-License-Identifier: GPL-3.0-or-later
"""A user's browser: Chromium on client1, by a software certificate (headless) or by the card, whose PIN is typed into its dialog (Xvfb).

page = by_software_certificate(lab, "https://vpn.corp.example/", pkcs12, passphrase, issuer="Corp Example VPN User CA")
page = by_card(lab, "https://vpn.corp.example/", card, issuer="…")
page.title, page.text, page.save(path)     # the final page; a PNG
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lab.cards import FOLDER, LIBRARY, Card
from lab.errors import LabError
from lab.tunnels import CLIENT, LAB_CA, Runner

GUEST = Path(__file__).resolve().parent / "judges/browser_on_client1.py"
TIMEOUT = 25.0


@dataclass(frozen=True)
class Page:
    """The page at the end. `error`: the browser's own (net::ERR_…), or that time ran out; `pin_dialogs`: how often it asked for the PIN;
    `cookies`: where the visit waited for one, those of the page; `later`: what the same browser showed when it loaded the page again."""

    title: str
    text: str
    url: str
    error: str
    screenshot: bytes
    pin_dialogs: int
    seconds: float
    cookies: Mapping[str, str] = field(default_factory=dict)
    later: Page | None = None

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.screenshot)


def by_software_certificate(lab: Runner, url: str, pkcs12: bytes, passphrase: str, *, issuer: str, **options: Any) -> Page:
    """`issuer`: the common name of the CA whose certificate the browser shall show, by policy. Further options: see `visit`."""
    software = {"data": base64.b64encode(pkcs12).decode(), "passphrase": passphrase}
    return visit(lab, url, {"pkcs12": software, "issuer": issuer}, **options)


def by_card(lab: Runner, url: str, card: Card, *, issuer: str, pin_file: Path | None = None, **options: Any) -> Page:
    """`card` as client1 sees it (`UserCard.card`); `pin_file`, on client1: what to type instead of its PIN."""
    token = {"token": card.name, "folder": FOLDER, "library": LIBRARY, "pin_file": str(pin_file or card.pin_file)}
    return visit(lab, url, {"card": token, "issuer": issuer}, **options)


def visit(
    lab: Runner,
    url: str,
    certificate: Mapping[str, Any] | None = None,
    *,
    ca_file: str = LAB_CA,
    fill: Mapping[str, str] | None = None,
    click: str = "",
    timeout: float = TIMEOUT,
) -> Page:
    """Open a page; then fill fields (by CSS selector) and click, where the page is a form. Without certificate: none is shown."""
    asked = {"url": url, "ca_file": ca_file, "timeout": timeout, "fill": dict(fill or {}), "click": click, **(certificate or {})}
    return page_of(lab.run(CLIENT, "python3", "-c", GUEST.read_text(), stdin=json.dumps(asked), check=False))


def page_of(done: subprocess.CompletedProcess[str]) -> Page:
    """What the program on client1 answered."""
    if done.returncode:
        raise LabError(f"the browser on {CLIENT}: {(done.stderr or done.stdout).strip()[-2000:]}")
    answer = json.loads(done.stdout)
    later = answer.pop("later", None)
    page = Page(**{**answer, "screenshot": base64.b64decode(answer["screenshot"])})
    if later is None:
        return page
    return replace(page, later=replace(page, **{**later, "screenshot": base64.b64decode(later["screenshot"])}))
