# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificate revocation lists (RFC 5280 5)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import attempt, plain, unwrap
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import x509


@dataclass(frozen=True)
class Crl:
    """A CRL. The issuer is RFC 4514 text, times are aware of UTC; `number` and `next_update` are None where they are missing."""

    der: bytes
    issuer: str = field(compare=False)
    number: int | None = field(compare=False)
    this_update: datetime = field(compare=False)
    next_update: datetime | None = field(compare=False)
    is_delta: bool = field(compare=False)
    revoked: int = field(compare=False)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.der).hexdigest()


def load(data: bytes | str) -> Crl:
    """The CRL in PEM, DER or base64. Raises `FormatError`."""
    blocks = unwrap(plain(data), (b"X509 CRL",))
    if len(blocks) != 1:
        raise FormatError(f"holds {len(blocks)} CRLs; give them one by one")
    der = blocks[0][1]
    return attempt("CRL", lambda: _described(der, x509.load_der_x509_crl(der)))


def _described(der: bytes, parsed: Any) -> Crl:
    number = _extension(parsed, x509.CRLNumber)
    return Crl(
        der=der,
        issuer=parsed.issuer.rfc4514_string(),
        number=None if number is None else number.crl_number,
        this_update=parsed.last_update_utc,
        next_update=parsed.next_update_utc,
        is_delta=_extension(parsed, x509.DeltaCRLIndicator) is not None,
        revoked=len(parsed),
    )


def _extension(parsed: Any, kind: Any) -> Any:
    try:
        return parsed.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
