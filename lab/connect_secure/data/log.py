# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's log: a line for each who is let in or refused, with the reason in words, and those of ocserv or nginx."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from cryptography import x509

REPEATED = 2.0  # seconds in which a client's next try, refused for the same reason, is the same refusal


class Log:
    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file
        self._lock = threading.Lock()
        self._refusals: dict[str, float] = {}

    def system(self, text: str) -> None:
        self._write("system", text)

    def admitted(self, door: str, host: str, address: str, who: str, text: str, certificate: x509.Certificate | None) -> None:
        self._write(door, f"{host} {address} ADMITTED {who}: {text}{_which(certificate)}")

    def ended(self, door: str, host: str, address: str, who: str, text: str) -> None:
        self._write(door, f"{host} {address} ENDED {who}: {text}")

    def refused(
        self, door: str, host: str, address: str, reason: str, certificate: x509.Certificate | None, words: str = "", who: str = ""
    ) -> None:
        """`words`: those of ocserv or nginx itself. `who`: the user, where no certificate says it."""
        own = f" [{words}]" if words else ""
        text = f"{host or '-'} {address or '-'} REFUSED {who or _who(certificate)}: {reason}{own}{_which(certificate)}"
        key = f"{door} {host} {address} {who} {reason} {_which(certificate)}"
        now = time.monotonic()
        with self._lock:
            self._refusals = {known: at for known, at in self._refusals.items() if now - at < REPEATED}
            repeated = key in self._refusals
            self._refusals[key] = now
        if not repeated:
            self._write(door, text)

    def _write(self, door: str, text: str) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = " ".join(f"{stamp} {door} {text}".split("\n"))
        with self._lock, self._file.open("a") as file:
            file.write(line + "\n")


def _who(certificate: x509.Certificate | None) -> str:
    if certificate is None:
        return "somebody without a certificate"
    found = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(found[0].value) if found else certificate.subject.rfc4514_string() or "an empty subject"


def _which(certificate: x509.Certificate | None) -> str:
    if certificate is None:
        return ""
    subject, issuer = certificate.subject.rfc4514_string(), certificate.issuer.rfc4514_string()
    return f" (subject={subject} issuer={issuer} serial={certificate.serial_number:x})"
