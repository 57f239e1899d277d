# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates and CRLs as options name them: by a file, by their text or by the CA whose they are, and which one it must be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate, load, load_one
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import x509

SOURCE: dict[str, Any] = {"path": {"type": "path"}, "content": {"type": "str"}}
"""The options that say where a certificate or CRL is; exactly one of them is given."""

PINS: dict[str, Any] = {"sha256": {"type": "str"}, "subject": {"type": "str"}}
"""The options that say which certificate it must be."""

CERTIFICATE: dict[str, Any] = {
    **SOURCE,
    "enrollment_service": {"type": "str"},
    "chain": {"type": "str", "choices": ["authority", "root"], "default": "authority"},
}
"""`SOURCE`, and a certificate that is read from the directory: the one of an enterprise CA, or the root that it chains up to."""

ONE_SOURCE = ("path", "content", "enrollment_service")
"""Exactly one of these names a certificate."""

Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class Authorities:
    """The forest's enterprise CAs: their certificates by the name of the enrollment service, and those that chains are made of.

    `expected` are CAs that another task is about to install: their certificates are known after that, and no earlier.
    """

    certificates: Mapping[str, Sequence[bytes]] = field(default_factory=dict)
    issuers: Sequence[bytes] = ()
    expected: Sequence[str] = ()

    def find(self, service: str) -> tuple[str, Sequence[bytes]] | None:
        """The CA's name as it is in the directory and its certificates; None where there is no such CA, or it has none yet."""
        named = next((name for name in self.certificates if name.casefold() == service.casefold()), None)
        return (named, self.certificates[named]) if named is not None and self.certificates[named] else None

    def expects(self, service: str) -> bool:
        return service.casefold() in {name.casefold() for name in self.expected}


def name(where: str, item: Mapping[str, Any]) -> str:
    """The place of the item in the options, and its file."""
    return f"{where} ({item['path']})" if item.get("path") else where


def read(where: str, item: Mapping[str, Any], parse: Callable[[bytes | str], Loaded]) -> Loaded:
    """What `parse` makes of the item's file or text. Raises `UserError`, which begins with `where` the item is."""
    try:
        return parse(Path(item["path"]).read_bytes() if item.get("path") else item["content"])
    except FormatError as error:
        raise FormatError(f"{name(where, item)}: {error}; give it as PEM, DER or base64") from error
    except OSError as error:
        raise UserError(f"{name(where, item)}: cannot be read: {error.strerror or error}; give the path of a PEM or DER file") from error


def certificates(where: str, item: Mapping[str, Any]) -> list[Certificate]:
    """The item's certificates, which are what its pins say. Raises `UserError`."""
    return _pinned(where, item, read(where, item, load))


def from_directory(item: Mapping[str, Any]) -> bool:
    """Whether the item names a certificate that only the directory has."""
    return item.get("enrollment_service") is not None


def known_later(item: Mapping[str, Any]) -> str:
    """How a certificate is shown that a CA has yet to make."""
    whose = "certificate" if item.get("chain", "authority") == "authority" else "root"
    return f"the {whose} of enrollment service {item['enrollment_service']} (known after apply)"


def refuse_unknown(items: Iterable[Mapping[str, Any]]) -> None:
    """Raise `UserError` where a certificate is to be written that is not there yet: expecting CAs is for check mode."""
    for item in items:
        if from_directory(item):
            raise UserError(
                f"enrollment service {item['enrollment_service']} is not there yet, so that its certificate cannot be written; "
                "finish the installation of the CA first (expected_authorities is for check mode)"
            )


def published(where: str, item: Mapping[str, Any], authorities: Authorities) -> list[Certificate] | None:
    """The item's certificates as the directory has them (pure); None for those of an expected CA, which are not there yet.

    Raises `UserError`.
    """
    service = item["enrollment_service"]
    found = authorities.find(service)
    if found is None:
        if authorities.expects(service):
            return None
        raise UserError(f"{where}: enrollment_service: {_unknown(service, authorities)}")
    name, ders = found
    try:
        own = [load_one(der) for der in ders]
    except FormatError as error:
        raise FormatError(f"{where}: enrollment_service: the certificate of {name} in the directory {error}; renew it on the CA") from error
    if item.get("chain") != "root":
        return _pinned(where, item, own)
    issuers = _readable([*ders, *authorities.issuers])
    return _pinned(where, item, list({root.sha256: root for root in (_root(where, one, issuers) for one in own)}.values()))


def _unknown(service: str, authorities: Authorities) -> str:
    names = sorted(authorities.certificates, key=str.casefold)
    if service.casefold() in {name.casefold() for name in names}:
        return f"{service} has no certificate yet; let its installation be finished"
    near = get_close_matches(service, names, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names) or 'none'}"
    return f"there is no enterprise CA {service!r}; {hint}"


def _readable(ders: Iterable[bytes]) -> list[Certificate]:
    found = []
    for der in ders:
        try:
            found.append(load_one(der))
        except FormatError:
            continue
    return found


def _root(where: str, certificate: Certificate, issuers: Sequence[Certificate]) -> Certificate:
    """The self-signed certificate at the end of the chain."""
    chain = [certificate]
    while not chain[-1].self_signed:
        issuer = next((one for one in issuers if one not in chain and _issued(one, chain[-1])), None)
        if issuer is None:
            raise UserError(
                f"{where}: chain: the issuer of {chain[-1]}, {chain[-1].issuer}, is in neither CN=AIA nor CN=Certification Authorities; "
                "publish it there (store root or intermediate of ad_trusted_certificates), or give it as path"
            )
        chain.append(issuer)
    return chain[-1]


def _issued(issuer: Certificate, certificate: Certificate) -> bool:
    if issuer.subject != certificate.issuer:
        return False
    try:
        x509.load_der_x509_certificate(certificate.der).verify_directly_issued_by(x509.load_der_x509_certificate(issuer.der))
    except Exception:  # the library's kinds are many, and all mean that it did not sign this
        return False
    return True


def _pinned(where: str, item: Mapping[str, Any], found: list[Certificate]) -> list[Certificate]:
    _check_pin(where, item, "sha256", fingerprint(item.get("sha256") or ""), [one.sha256 for one in found], found)
    _check_pin(where, item, "subject", (item.get("subject") or "").casefold(), [one.subject.casefold() for one in found], found)
    return found


def fingerprint(text: str) -> str:
    """A fingerprint in hex, as people write it (colons, spaces, capitals), in lower-case digits."""
    return text.replace(":", "").replace(" ", "").lower()


def _check_pin(where: str, item: Mapping[str, Any], option: str, pin: str, values: Sequence[str], found: Sequence[Certificate]) -> None:
    if pin and values != [pin]:
        actual = "; ".join(f"{one.subject}, SHA-256 {one.sha256}" for one in found)
        raise UserError(f"{name(where, item)}: {option} is {item[option]!r}, but the certificate is {actual}; mend one of the two")
