# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a certificate was revoked, by the CRLs that it names (RFC 5280 6.3), fetched over HTTP as its users do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import crl_source, description
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import attempt
from ansible_collections.certlogon.core.plugins.module_utils.certificates.crl import Crl, load, signed_by
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import x509

GOOD, REVOKED, HOLD, UNKNOWN, NOT_CHECKED = "good", "revoked", "on_hold", "unknown", "not_checked"

Fetch = Callable[[str], bytes]
"""The content behind an address. Raises `UserError`."""


@dataclass(frozen=True)
class Revocation:
    """`status` is good, revoked, on_hold, unknown (no CRL that could be judged) or not_checked; `problems` is what is wrong with CRLs."""

    status: str
    problems: tuple[str, ...] = ()
    reason: str = ""
    next_update: datetime | None = None

    @property
    def words(self) -> dict[str, Any]:
        due = description.time_text(self.next_update) if self.next_update else None
        return {"status": self.status, "problems": list(self.problems), "reason": self.reason or None, "next_update": due}


class CrlSource:
    """Fetches each CRL once a run; remembers failures too, so that a dead server is waited for once."""

    def __init__(self, timeout: int) -> None:
        self._timeout = timeout
        self._found: dict[str, bytes | UserError] = {}
        self._parsed: dict[bytes, Crl] = {}

    def fetch(self, url: str) -> bytes:
        """Raises `UserError`."""
        if url not in self._found:
            try:
                self._found[url] = crl_source.http(url, self._timeout)
            except UserError as error:
                self._found[url] = error
        found = self._found[url]
        if isinstance(found, UserError):
            raise found
        return found

    def parse(self, data: bytes) -> Crl:
        """Raises `FormatError`."""
        if data not in self._parsed:
            self._parsed[data] = load(data)
        return self._parsed[data]


def check(certificate: Any, issuer: Any, source: CrlSource, now: datetime) -> Revocation:
    """Ask the first CRL that can be judged; `issuer` None leaves its signature unverified, which is a problem."""
    addresses = description.addresses(certificate, "crl")
    urls = [url for url in addresses if url.lower().startswith("http://")]
    if not urls:
        return Revocation(NOT_CHECKED, _out_of_reach(addresses))
    problems: list[str] = []
    verdict: Revocation | None = None
    for url in urls:
        try:
            crl = source.parse(source.fetch(url))
        except FormatError as error:
            problems.append(f"CRL {url}: {error}; publish it anew (adcs_crl)")
            continue
        except UserError as error:
            problems.append(str(error))
            continue
        try:
            found = _problems(crl, url, certificate, issuer, now)
            verdict = attempt("CRL", lambda crl=crl: _listed(crl.parsed, certificate))  # type: ignore[misc]
        except FormatError as error:
            problems.append(f"CRL {url}: {error}; publish it anew (adcs_crl)")
            continue
        problems += found
        # what a CRL with a wrong signature or issuer says counts for nothing
        if any("was not made by" in one or "is of" in one for one in found):
            verdict = None
            continue
        break
    if verdict is None:
        return Revocation(UNKNOWN, tuple(problems))
    stale = verdict.status == GOOD and bool(problems)
    return Revocation(UNKNOWN if stale else verdict.status, tuple(problems), verdict.reason, verdict.next_update)


def _out_of_reach(addresses: Sequence[str]) -> tuple[str, ...]:
    """A certificate that names no CRL at all, such as a root's, has no problem."""
    if not addresses:
        return ()
    return (f"CRL {' and '.join(addresses)}: cannot be fetched, since only http:// addresses can; give the CA an HTTP CDP",)


def _problems(crl: Crl, url: str, certificate: Any, issuer: Any, now: datetime) -> list[str]:
    problems = []
    if crl.parsed.issuer != certificate.issuer:
        problems.append(f"CRL {url}: is of {crl.issuer}, not of {certificate.issuer.rfc4514_string()}; publish the right one")
    elif issuer is not None and not signed_by(crl, issuer):
        problems.append(f"CRL {url}: was not made by the key of {issuer.subject.rfc4514_string()}; publish it anew (adcs_crl)")
    if crl.next_update is not None and crl.next_update < now:
        problems.append(
            f"CRL {url}: is stale, it was to be replaced by {crl.next_update:%Y-%m-%d %H:%M} UTC; publish it anew (adcs_crl), "
            "or else card logons are refused"
        )
    if crl.this_update > now:
        problems.append(
            f"CRL {url}: is not valid before {crl.this_update:%Y-%m-%d %H:%M} UTC; set the clock of this machine or of the CA's host right"
        )
    return problems


def _listed(crl: Any, certificate: Any) -> Revocation:
    entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
    due = crl.next_update_utc
    if entry is None:
        return Revocation(GOOD, next_update=due)
    reason = description.extension(entry, x509.CRLReason)
    name = reason.reason.value if reason else "unspecified"
    text = f"since {entry.revocation_date_utc:%Y-%m-%d %H:%M} UTC ({name})"
    return Revocation(HOLD if name == "certificateHold" else REVOKED, (), text, due)
