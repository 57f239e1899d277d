# SPDX-License-Identifier: GPL-3.0-or-later
"""The CRLs that an appliance is about to rely on: which there are (pure), fetched, and judged before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import cdp, crl, description
from ansible_collections.certlogon.core.plugins.module_utils.certificates.cdp import Cdp
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate, Finding, attempt
from ansible_collections.certlogon.core.plugins.module_utils.certificates.chains import issued_by
from ansible_collections.certlogon.core.plugins.module_utils.certificates.crl import Crl
from ansible_collections.certlogon.core.plugins.module_utils.certificates.crl_source import Account
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import x509
from ansible_collections.certlogon.core.plugins.module_utils.resource import Words

Fetch = Callable[[Cdp, float, "Account | None"], list[bytes]]
"""The values at a CDP, within so many seconds. Raises `UserError`."""

WARN, FAIL = "warn", "fail"


@dataclass(frozen=True, repr=False)
class Look:
    """One CRL to look at: of which CA (`issuer`, the library's certificate) it has to be, and whose serial number must not be on it.

    `addresses` are alternatives: one good CRL is enough.
    """

    option: str
    addresses: tuple[str, ...]
    issuer: Any
    account: Account | None = None
    subject: Any = None


@dataclass
class Verdicts:
    """`errors` keep the run from writing anything."""

    crls: list[Words] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


# ---- which


def load(certificate: Certificate) -> Any:
    return attempt("certificate", lambda: x509.load_der_x509_certificate(certificate.der))


def own_cdps(certificate: Certificate) -> list[str]:
    """The CDPs that a certificate names: where the CRL of its issuer is."""
    return attempt("certificate", lambda: description.addresses(load(certificate), "crl"))


def looks(
    after: Words, certificate: Certificate, passwords: Mapping[str, str], pool: Sequence[Certificate]
) -> tuple[list[Look], list[str]]:
    """The CRLs behind these settings, and what cannot be looked at. `pool` are the CAs that are known."""
    if after.get("status_checking") not in ("crl", "ocsp_crl"):
        return [], []
    found, notes = [], []
    authority = load(certificate)
    source = after.get("cdp_source")
    if source == "manual":
        for option in ("primary_cdp", "backup_cdp"):
            if after.get(option):
                user = after.get(f"{option}_username")
                account = Account(user, passwords.get(f"{option}_password", "")) if user else None
                found.append(Look(option, (after[option],), authority, account))
    elif source == "ca_certificate":
        found.append(Look("cdp_source", tuple(own_cdps(certificate)), authority))
    else:
        notes.append("cdp_source: the CRL is where each client's certificate says, so that it cannot be looked at beforehand")
    if after.get("verify_trusted_client_ca"):
        above, more = _above(authority, [load(one) for one in pool])
        found += above
        notes += more
    return found, notes


def _above(authority: Any, pool: Sequence[Any]) -> tuple[list[Look], list[str]]:
    """The CRL on which each CA of the chain would be: that of the one above it."""
    found, notes = [], []
    current = authority
    for _depth in range(10):
        if current.issuer == current.subject:
            break
        name = current.subject.rfc4514_string()
        issuer = next((one for one in pool if one != current and issued_by(current, one)), None)
        if issuer is None:
            notes.append(
                f"verify_trusted_client_ca: the issuer of {name} ({current.issuer.rfc4514_string()}) is not among the CAs known here, so "
                "that its CRL cannot be judged; import it too (import_chain)"
            )
            break
        addresses = tuple(description.addresses(current, "crl"))
        if addresses:
            found.append(Look("verify_trusted_client_ca", addresses, issuer, subject=current))
        else:
            notes.append(f"verify_trusted_client_ca: {name} names no CDP, so that whether it was revoked cannot be told")
        current = issuer
    return found, notes


# ---- look


class Checker:
    """Fetches each address once a task."""

    def __init__(self, fetch: Fetch, timeout: float, *, required: bool, ending: str, where: str) -> None:
        self._fetch = fetch
        self._timeout = timeout
        self._required = required
        self._ending = ending
        self._where = where
        self._found: dict[tuple[str, str], list[Crl] | UserError] = {}

    def look(self, label: str, look: Look, frequency: int, now: datetime, verdicts: Verdicts) -> None:
        """Judge one CRL; where several addresses are given, those that fail are a warning as long as one is good."""
        reasons: list[str] = []
        errors: list[str] = []
        good = False
        for address in look.addresses:
            place = f"{label}: {look.option}: {address}"
            try:
                chosen = self._crl(address, look)
            except FormatError as error:
                reasons.append(f"{place} {error}")
                errors.append(f"{place} {error}")
                continue
            except UserError as error:
                reasons.append(f"{place}: {error}")
                continue
            findings = [*crl.judge(chosen, look.issuer, now, timedelta(hours=frequency)), *_revoked(chosen, look.subject)]
            fatal = [
                one for one in findings if one.kind in crl.FATAL or one.kind == "revoked" or (one.kind, self._ending) == (crl.ENDING, FAIL)
            ]
            mild = [one for one in findings if one not in fatal]
            verdicts.crls.append(_words(label, look.option, address, chosen, findings, now))
            verdicts.warnings += [f"{place}: the CRL {one}" for one in mild]
            errors += [f"{place}: the CRL {one}" for one in fatal]
            good = good or not fatal
        if good:
            verdicts.warnings += [*reasons, *(text for text in errors if text not in reasons)]
            return
        verdicts.errors += errors
        unreachable = [text for text in reasons if text not in errors]
        if self._required:
            verdicts.errors += [f"{text} (cdp_required is true)" for text in unreachable]
        elif unreachable:
            verdicts.warnings += [f"{text} (it was not fetched from {self._where}; see that the appliance can)" for text in unreachable]

    def _crl(self, address: str, look: Look) -> Crl:
        """The CRL there that is this CA's, or else the first. Raises `FormatError` for what is none, `UserError` for what does not come."""
        key = (address, look.account.name if look.account else "")
        if key not in self._found:
            try:
                self._found[key] = [crl.load(data) for data in self._fetch(cdp.parse(address), self._timeout, look.account)]
            except UserError as error:
                self._found[key] = error
        found = self._found[key]
        if isinstance(found, UserError):
            raise found
        complete = [one for one in found if not one.is_delta] or found
        return next((one for one in complete if crl.signed_by(one, look.issuer)), complete[0])


def _revoked(found: Crl, subject: Any) -> Iterable[Finding]:
    entry = crl.entry(found, subject.serial_number) if subject is not None else None
    if entry is not None:
        since = f"{entry.revocation_date_utc:%Y-%m-%d %H:%M} UTC"
        yield Finding("revoked", f"names {subject.subject.rfc4514_string()} itself, revoked since {since}; trust another CA")


def _words(label: str, option: str, address: str, found: Crl, findings: Sequence[Any], now: datetime) -> Words:
    ends = found.next_update
    return {
        "ca": label,
        "option": option,
        "url": address,
        "issuer": found.issuer,
        "number": found.number,
        "this_update": description.time_text(found.this_update),
        "next_update": description.time_text(ends) if ends else None,
        "hours_left": int((ends - now).total_seconds() // 3600) if ends else None,
        "revoked": found.revoked,
        "delta_cdps": list(found.freshest),
        "problems": [str(one) for one in findings],
    }
