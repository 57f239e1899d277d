# SPDX-License-Identifier: GPL-3.0-or-later
"""Smart cards of the lab: SoftHSM tokens on its control host, where the card readers are, or on another one.

    box = CardBox.of_lab(lab)                 # as this machine reaches them
    card = box.make("alice.andersson")        # once; random PINs
    card.uri, box.environment                 # for Ansible here
    box.inside.card("alice.andersson"), box.inside.environment  # the same for commands on control
    CardBox.of_lab(lab, host="client1")       # cards of a VPN's user

A box is the folder /var/lib/cards on its host: `softhsm2.conf`, `tokens/`, and for each card `NAME.pin` and `NAME.so-pin`, for root only.
The machine reaches the same files through the host's process, so a card is on both sides at once, and gone with the lab.
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from lab.errors import LabError
from lab.labs import Lab

FOLDER = "/var/lib/cards"
LIBRARY = "/usr/lib/softhsm/libsofthsm2.so"
SCRIPT = Path(__file__).resolve().parent / "guest/card.py"

RunScript = Callable[[str, str], str]
"""(script, standard input) -> why it failed, empty if it did not."""


@dataclass(frozen=True)
class Card:
    """A card by its name, which is the token's label."""

    name: str
    folder: Path

    @property
    def pin_file(self) -> Path:
        return self.folder / f"{self.name}.pin"

    @property
    def pin(self) -> str:
        return self.pin_file.read_text().strip()

    @property
    def token(self) -> str:
        """The PKCS#11 URI without a way to the PIN."""
        return f"pkcs11:token={quote(self.name)}?module-path={LIBRARY}"

    @property
    def uri(self) -> str:
        """The PKCS#11 URI, with the file that holds the PIN."""
        return f"{self.token}&pin-source={quote(str(self.pin_file))}"

    def identity(self, certificate: str | None = None) -> str:
        """For `kinit -X X509_user_identity=…`; `certificate` is the label of the one to use where the card has several."""
        return f"PKCS11:module_name={LIBRARY}:token={self.name}" + (f":certlabel={certificate}" if certificate else "")


class CardBox:
    """A folder of cards as seen from one place; `inside` is the same folder as its own host sees it."""

    def __init__(self, folder: Path, run_script: RunScript, configuration: Path | None = None, inside: CardBox | None = None) -> None:
        self.folder, self._run_script = folder, run_script
        self._configuration = configuration or folder / "softhsm2.conf"
        self.inside = inside or self

    @classmethod
    def of_lab(cls, lab: Lab, inside: str = FOLDER, host: str = "control") -> CardBox:
        """The lab's cards, as this machine sees them; another folder, or another host, is another box."""
        there = cls(Path(inside), lambda script, text: _on_host(lab, host, script, text))
        folder = Path(f"/proc/{lab.host(host).pid}/root{inside}")
        name = ("" if host == "control" else f"-{host}") + inside.removeprefix(FOLDER).replace("/", "-")
        configuration = lab.folder / f"softhsm2{name}.conf"
        configuration.write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
        return cls(folder, there._run_script, configuration, there)

    @classmethod
    def here(cls, folder: Path) -> CardBox:
        """Cards in a folder of this machine; no lab needed."""
        return cls(folder, _here)

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to see the cards."""
        return {"SOFTHSM2_CONF": str(self._configuration)}

    def card(self, name: str) -> Card:
        return Card(name, self.folder)

    def make(self, name: str) -> Card:
        """The card of this name; a new one with random PINs where there is none."""
        card = self.card(name)
        if card.pin_file.exists():
            return card
        pins = {"so_pin": digits(8), "pin": digits(6)}
        settings = {"library": LIBRARY, "folder": str(self.inside.folder), "label": name, **pins}
        problem = self._run_script(SCRIPT.read_text(), json.dumps(settings))
        if problem:
            raise LabError(f"card {name!r} cannot be made: {problem}")
        for suffix, value in (("so-pin", pins["so_pin"]), ("pin", pins["pin"])):
            file = self.folder / f"{name}.{suffix}"
            file.touch(0o600)
            file.write_text(value)  # without newline, which GnuTLS would take as part of it
        return card

    def discard(self, name: str) -> None:
        """The card is gone, with its keys; nothing if there is none."""
        label = name.encode().ljust(32)
        for token in self.folder.glob("tokens/*/token.object"):
            if label in token.read_bytes():
                shutil.rmtree(token.parent)
        for suffix in ("pin", "so-pin"):
            (self.folder / f"{name}.{suffix}").unlink(missing_ok=True)


def digits(count: int) -> str:
    return "".join(secrets.choice("0123456789") for _ in range(count))


def _here(script: str, text: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], input=text, capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""


def _on_host(lab: Lab, host: str, script: str, text: str) -> str:
    done = lab.run(host, "python3", "-c", script, stdin=text, check=False)
    return done.stderr.strip() if done.returncode else ""
