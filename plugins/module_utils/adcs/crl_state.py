# SPDX-License-Identifier: GPL-3.0-or-later
"""What a CA says of its CRLs and certificates: the typed answer of the script `adcs_crl_state`, and the addresses where clients look."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

from ansible_collections.certlogon.core.plugins.module_utils.certificates import crl as crls
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import attempt
from ansible_collections.certlogon.core.plugins.module_utils.certificates.crl import Crl
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import x509

BASE, DELTA = "base", "delta"

IN_CERTIFICATES, FRESHEST = 0x2, 0x4
"""CSURL_ADDTOCERTCDP, CSURL_ADDTOFRESHESTCRL: where clients look for base and for delta CRLs."""

ISSUED, REVOKED = 20, 21
"""Dispositions of the CA's database ([MS-CSRA] 3.1.1.1.2)."""

REASONS = (
    "unspecified",
    "key_compromise",
    "ca_compromise",
    "affiliation_changed",
    "superseded",
    "cessation_of_operation",
    "certificate_hold",
)
"""By their number (RFC 5280 5.3.1)."""

HOLD = 6


@dataclass(frozen=True)
class RevocationList:
    """One CRL of one of the CA's keys; `urls` is where clients look for it."""

    name: str
    kind: str
    index: int
    crl: Crl
    urls: tuple[str, ...]


@dataclass(frozen=True)
class Issued:
    """A certificate in the CA's database; `reason` is None unless it is revoked."""

    serial: str
    requester: str
    common_name: str
    not_after: datetime
    reason: int | None

    @property
    def status(self) -> str:
        return "valid" if self.reason is None else "on_hold" if self.reason == HOLD else "revoked"


@dataclass(frozen=True)
class CrlState:
    """The CA. `rows` by serial number, in lower case without leading zeros."""

    now: datetime
    active: str | None
    common_name: str
    server: str
    running: bool
    deltas: bool
    lists: Sequence[RevocationList]
    rows: Mapping[str, Issued]

    @property
    def config(self) -> str:
        return f"{self.server}\\{self.common_name}"

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> CrlState:
        """From the script's table. Raises `UserError` where it is not what the script writes, or no CA runs there."""
        try:
            return cls._parse(answer)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise UserError(f"the CA's answer cannot be read: {type(error).__name__}: {error}") from error

    @classmethod
    def _parse(cls, answer: Mapping[str, Any]) -> CrlState:
        if not answer["active"]:
            raise UserError("no certification authority is configured on this host; install one with certlogon.core.adcs_authority")
        if not answer["running"]:
            raise UserError("the service CertSvc does not run on this host; start it (ansible.windows.win_service) and run again")
        rows = [_issued(row) for row in answer["rows"] or () if row.get("SerialNumber")]
        return cls(
            now=_moment(answer["now"]),
            active=str(answer["active"]),
            common_name=str(answer["common_name"]),
            server=str(answer["server"]),
            running=True,
            deltas=bool(answer["delta_units"]),
            lists=_lists(answer),
            rows={row.serial: row for row in rows},
        )

    def listed(self) -> dict[str, int]:
        """Serial number -> reason of everything that the newest CRLs name, deltas applied to their bases."""
        found: dict[str, int] = {}
        for one in sorted(self.lists, key=lambda one: one.kind == DELTA):
            for serial, reason in _entries(one.crl):
                if reason is None:
                    found.pop(serial, None)
                else:
                    found[serial] = reason
        return found


def normal(serial: str) -> str:
    """A serial number without separators and leading zeros, lower case. Raises ValueError."""
    digits = re.sub(r"[\s:]", "", serial).casefold()
    digits = digits.removeprefix("0x")
    if not re.fullmatch("[0-9a-f]+", digits):
        raise ValueError(f"{serial!r} is no serial number: hexadecimal digits, such as 1a000000057c0de5")
    return digits.lstrip("0") or "0"


def stored(serial: str) -> str:
    """As the CA's database spells it: whole octets."""
    return serial.zfill(len(serial) + len(serial) % 2)


def _entries(crl: Crl) -> list[tuple[str, int | None]]:
    """(serial number, reason); None is a release."""
    parsed = attempt("CRL", lambda: x509.load_der_x509_crl(crl.der))
    found: list[tuple[str, int | None]] = []
    for entry in parsed:
        try:
            name = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.name
        except x509.ExtensionNotFound:
            name = REASONS[0]
        found.append((f"{entry.serial_number:x}", REASONS.index(name) if name in REASONS else None if name == "remove_from_crl" else 0))
    return found


def _lists(answer: Mapping[str, Any]) -> list[RevocationList]:
    found = []
    for entry in answer["lists"] or ():
        for kind in (BASE, DELTA):
            if not entry[kind]:
                continue
            index, delta = int(entry["index"]), kind == DELTA
            bit = FRESHEST if delta else IN_CERTIFICATES
            urls = [expand(text, answer, index, delta=delta) for flags, text in _places(answer["places"]) if flags & bit]
            name = f"{answer['active']}{_suffix(index)}{'+' if delta else ''}.crl"
            try:
                crl = crls.load(base64.b64decode(entry[kind]))
            except binascii.Error as error:
                raise ValueError(f"{name} is not base64") from error
            found.append(RevocationList(name, kind, index, crl, tuple(urls)))
    return found


def _places(lines: Sequence[str] | None) -> list[tuple[int, str]]:
    found = []
    for line in lines or ():
        flags, *text = str(line).split(":", 1)
        found.append((int(flags), "".join(text)))
    return found


def _suffix(index: int) -> str:
    return f"({index})" if index else ""


def expand(text: str, answer: Mapping[str, Any], index: int, *, delta: bool) -> str:
    """An address of CRLPublicationURLs as certificates and CRLs name it (%1 to %11, as AD CS documents them)."""
    attribute = "deltaRevocationList" if delta else "certificateRevocationList"
    values = {
        "%1": answer["server"],
        "%2": str(answer["server"]).partition(".")[0],
        "%3": answer["active"],
        "%4": "",
        "%6": answer["configuration_dn"] or "",
        "%7": answer["active"],
        "%8": _suffix(index),
        "%9": "+" if delta else "",
        "%10": f"?{attribute}?base?objectClass=cRLDistributionPoint",
        "%11": "?cACertificate?base?objectClass=certificationAuthority",
    }
    return quote(re.sub(r"%(1[01]|[1-46-9])", lambda match: str(values[match[0]]), text), safe="%:/?=,&()+!$~@;'*")


def _issued(row: Mapping[str, Any]) -> Issued:
    revoked = int(row["Request.Disposition"]) == REVOKED
    return Issued(
        serial=normal(row["SerialNumber"]),
        requester=str(row["Request.RequesterName"]),
        common_name=str(row.get("CommonName") or ""),
        not_after=_moment(row["NotAfter"]),
        reason=int(row.get("Request.RevokedReason") or 0) if revoked else None,
    )


def _moment(text: str) -> datetime:
    """The host writes seven digits after the second; Python reads six."""
    found = datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", text).replace("Z", "+00:00"))
    return found.astimezone(timezone.utc) if found.tzinfo else found.replace(tzinfo=timezone.utc)
