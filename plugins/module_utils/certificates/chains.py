# SPDX-License-Identifier: GPL-3.0-or-later
"""The authorities above a certificate: found, put in order, judged (RFC 5280 6.1, without policies and name constraints)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import description, keys
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate, attempt
from ansible_collections.certlogon.core.plugins.module_utils.libraries import crypto, x509

LONGEST = 10


@dataclass(frozen=True)
class Chain:
    """The authorities above a certificate, its issuer first; `problems` is why it is not to be trusted."""

    above: tuple[Any, ...]
    problems: tuple[str, ...]

    @property
    def issuer(self) -> Any:
        return self.above[0] if self.above else None


def parsed(found: Iterable[Certificate]) -> list[Any]:
    """The library's objects. Raises `FormatError`."""
    return [attempt("certificate", lambda der=one.der: x509.load_der_x509_certificate(der)) for one in found]  # type: ignore[misc]


def encoded(certificate: Any) -> bytes:
    return bytes(certificate.public_bytes(crypto.serialization.Encoding.DER))


def pem(certificates: Iterable[Any]) -> bytes:
    return b"".join(one.public_bytes(crypto.serialization.Encoding.PEM) for one in certificates)


def self_issued(certificate: Any) -> bool:
    return bool(certificate.subject == certificate.issuer)


def issued_by(certificate: Any, issuer: Any) -> bool:
    """Whether the names follow one another and the issuer's key made the signature."""
    if certificate.issuer != issuer.subject:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # a wrong signature, or an algorithm that the library does not know
        return False
    return True


def build(leaf: Any, pool: Sequence[Any], anchors: Sequence[Any] | None, now: datetime) -> Chain:
    """The chain from the certificates at hand. `anchors` are the only roots trusted; None trusts the root that the pool has.

    Of several issuers with one name and key, the anchor is taken, then the one that lasts longest.
    """
    above: list[Any] = []
    trusted = list(anchors or ())
    current = leaf
    while not self_issued(current) and len(above) < LONGEST:
        found = [one for one in [*trusted, *pool] if issued_by(current, one) and one not in above]
        if not found:
            break
        current = next((one for one in found if one in trusted), None) or max(found, key=lambda one: one.not_valid_after_utc)
        above.append(current)
        if current in trusted:
            break
    return Chain(tuple(above), tuple(_problems(leaf, above, anchors, now)))


def _problems(leaf: Any, above: Sequence[Any], anchors: Sequence[Any] | None, now: datetime) -> Iterable[str]:
    last = above[-1] if above else leaf
    if anchors is not None and last not in anchors:
        roots = "; ".join(one.subject.rfc4514_string() for one in anchors) or "none"
        what = "ends in" if self_issued(last) else "breaks off after"
        yield f"its chain {what} {last.subject.rfc4514_string()}, and leads to none of the trusted roots ({roots})"
    elif anchors is None and not self_issued(last):
        yield f"its chain is incomplete: the issuer of {last.subject.rfc4514_string()} ({last.issuer.rfc4514_string()}) is missing"
    for depth, one in enumerate(above):
        name = one.subject.rfc4514_string()
        if one.not_valid_after_utc < now:
            yield f"the authority {name} above it expired on {one.not_valid_after_utc:%Y-%m-%d}"
        elif one.not_valid_before_utc > now:
            yield f"the authority {name} above it is not valid before {one.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        yield from _authority(one, name, depth)


def _authority(certificate: Any, name: str, depth: int) -> Iterable[str]:
    constraints = description.extension(certificate, x509.BasicConstraints)
    usage = description.extension(certificate, x509.KeyUsage)
    if not (constraints and constraints.ca) or (usage is not None and not usage.key_cert_sign):
        yield f"{name} above it may not issue certificates (basicConstraints, keyUsage)"
    elif constraints.path_length is not None and constraints.path_length < depth:
        yield f"{name} may have only {constraints.path_length} authorities below it, but there are {depth}"


def has_key(certificate: Any, identity: bytes) -> bool:
    try:
        return keys.identity(certificate.public_key()) == identity
    except Exception:  # a kind of key that the library does not know
        return False
