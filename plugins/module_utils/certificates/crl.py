# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificate revocation lists (RFC 5280 5): read, and judged as the CRL of a CA. No I/O.

A CRL may have a million entries: nothing here makes an object an entry, and a CRL is held in memory once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Finding, attempt, plain, unwrap
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import crypto_ec, crypto_rsa, x509


@dataclass(frozen=True)
class Crl:
    """A CRL. The issuer is RFC 4514 text, times are aware of UTC; `number` and `next_update` are None where they are missing.

    `freshest` are the addresses of the delta CRLs that go with it; `parsed` is the library's object.
    """

    der: bytes = field(repr=False)
    issuer: str = field(compare=False)
    number: int | None = field(compare=False)
    this_update: datetime = field(compare=False)
    next_update: datetime | None = field(compare=False)
    is_delta: bool = field(compare=False)
    revoked: int = field(compare=False)
    freshest: tuple[str, ...] = field(compare=False, default=())
    parsed: Any = field(compare=False, repr=False, default=None)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.der).hexdigest()


def load(data: bytes | str) -> Crl:
    """The CRL in PEM, DER or base64. Raises `FormatError`."""
    # DER, and no search for PEM in what may be fifty megabytes of it
    blocks = [(b"", data)] if isinstance(data, bytes) and data[:1] == b"\x30" else unwrap(plain(data), (b"X509 CRL",))
    if len(blocks) != 1:
        raise FormatError(f"holds {len(blocks)} CRLs; give them one by one")
    der = blocks[0][1]
    return attempt("CRL", lambda: _described(der, x509.load_der_x509_crl(der)))


def _described(der: bytes, parsed: Any) -> Crl:
    number, freshest = _extension(parsed, x509.CRLNumber), _extension(parsed, x509.FreshestCRL)
    return Crl(
        der=der,
        issuer=parsed.issuer.rfc4514_string(),
        number=None if number is None else number.crl_number,
        this_update=parsed.last_update_utc,
        next_update=parsed.next_update_utc,
        is_delta=_extension(parsed, x509.DeltaCRLIndicator) is not None,
        revoked=len(parsed),
        freshest=tuple(
            name.value for point in freshest or () for name in point.full_name or () if isinstance(name, x509.UniformResourceIdentifier)
        ),
        parsed=parsed,
    )


def _extension(parsed: Any, kind: Any) -> Any:
    try:
        return parsed.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


# ---- judging

FOREIGN, EXPIRED, NOT_YET, ENDING, DELTA, PARTIAL, ENDLESS = "foreign", "expired", "not_yet_valid", "ending", "delta", "partial", "endless"
"""Kinds of findings. All but `ending` and `endless` make a CRL useless."""

FATAL = (FOREIGN, EXPIRED, NOT_YET, DELTA, PARTIAL)


def signed_by(crl: Crl, issuer: Any) -> bool:
    """Whether the key of this certificate made the CRL; False also for an algorithm that the library does not know.

    The library's own `is_signature_valid` writes the CRL anew to hash it, which takes longer than all else; here the octets are hashed
    that came.
    """
    try:
        signed, algorithms_agree = _signed_part(crl.der)
        key, algorithm, signature = issuer.public_key(), crl.parsed.signature_hash_algorithm, crl.parsed.signature
        parameters = crl.parsed.signature_algorithm_parameters
        if isinstance(key, crypto_rsa.RSAPublicKey):
            key.verify(signature, signed, parameters, algorithm)
        elif isinstance(key, crypto_ec.EllipticCurvePublicKey):
            key.verify(signature, signed, parameters)
        else:
            return bool(crl.parsed.is_signature_valid(key))
    except Exception:  # a wrong signature, or one of the many kinds of what the library does not support
        return False
    return algorithms_agree


def _signed_part(content: bytes) -> tuple[Any, bool]:
    """The octets of tBSCertList, and whether the algorithm that it names is that of the signature (RFC 5280 5.1.1.2)."""
    whole = memoryview(content)
    start, _end = _place(whole, 0)
    inner, end = _place(whole, start)
    if whole[inner] == 0x02:  # the version
        inner = _place(whole, inner)[1]
    return whole[start:end], whole[inner : _place(whole, inner)[1]] == whole[end : _place(whole, end)[1]]


def _place(data: memoryview, position: int) -> tuple[int, int]:
    """Where the content of the element here begins and ends (X.690 8.1)."""
    size, start = data[position + 1], position + 2
    if size & 0x80:
        count = size & 0x7F
        size, start = int.from_bytes(data[start : start + count], "big"), start + count
    return start, start + size


def judge(crl: Crl, issuer: Any, now: datetime, until_download: timedelta | None = None) -> list[Finding]:
    """What is wrong with the CRL as the complete and current one of the CA `issuer` (the library's certificate); empty for nothing.

    `until_download` is how long it will be used before the next is fetched. Raises `FormatError`.
    """
    return attempt("CRL", lambda: list(_findings(crl, issuer, now, until_download)))


def _findings(crl: Crl, issuer: Any, now: datetime, until_download: timedelta | None) -> Iterable[Finding]:
    yield from _origin(crl, issuer)
    if crl.is_delta:
        yield Finding(DELTA, "is a delta CRL, which names only what has changed; give the address of the base CRL")
    yield from _scope(crl.parsed)
    if crl.this_update > now:
        yield Finding(NOT_YET, f"is not valid before {crl.this_update:%Y-%m-%d %H:%M} UTC; set the clock here or on the CA's host right")
    if crl.next_update is None:
        yield Finding(ENDLESS, "says no time of the next one, so that nobody can tell whether it is still the newest")
    elif crl.next_update <= now:
        yield Finding(EXPIRED, f"ended on {crl.next_update:%Y-%m-%d %H:%M} UTC; publish it anew (adcs_crl)")
    elif until_download is not None and crl.next_update < now + until_download:
        hours = (crl.next_update - now).total_seconds() / 3600
        yield Finding(
            ENDING,
            f"ends on {crl.next_update:%Y-%m-%d %H:%M} UTC, in {hours:.1f} hours, and the next download is up to "
            f"{until_download.total_seconds() / 3600:g} hours away; in between nobody gets in. Download it more often, or let the CA "
            "publish CRLs that overlap (adcs_authority)",
        )


def _origin(crl: Crl, issuer: Any) -> Iterable[Finding]:
    name = issuer.subject.rfc4514_string()
    if crl.parsed.issuer != issuer.subject:
        yield Finding(FOREIGN, f"is of {crl.issuer}, not of {name}; give the address at which {name} publishes its own")
    elif not signed_by(crl, issuer):
        own = "give the address at which this CA publishes its own, or the certificate of the CA that made this one"
        theirs, ours = _key_identifier(crl.parsed), _extension(issuer, x509.SubjectKeyIdentifier)
        if theirs and ours and theirs != ours.digest:
            yield Finding(
                FOREIGN, f"was made by another CA of the name {name}: its key is {theirs.hex()}, the CA's is {ours.digest.hex()}; {own}"
            )
        else:
            yield Finding(FOREIGN, f"was not made by the key of {name}: its signature does not fit; {own}")


def _key_identifier(parsed: Any) -> bytes | None:
    value = _extension(parsed, x509.AuthorityKeyIdentifier)
    return value.key_identifier if value else None


def _scope(parsed: Any) -> Iterable[Finding]:
    """RFC 5280 5.2.5."""
    point = _extension(parsed, x509.IssuingDistributionPoint)
    if point is None:
        return
    if point.only_contains_ca_certs:
        yield Finding(PARTIAL, "is of CA certificates only, so that no user's certificate is ever on it")
    if point.only_contains_attribute_certs:
        yield Finding(PARTIAL, "is of attribute certificates only")
    if point.only_some_reasons:
        yield Finding(PARTIAL, "is of some reasons only")
    if point.indirect_crl:
        yield Finding(PARTIAL, "is an indirect CRL, of several CAs at once")


def entry(crl: Crl, serial: int) -> Any:
    """The library's entry of this serial number; None where it is not on the CRL. Raises `FormatError`."""
    return attempt("CRL", lambda: crl.parsed.get_revoked_certificate_by_serial_number(serial))
