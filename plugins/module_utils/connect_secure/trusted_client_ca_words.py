# SPDX-License-Identifier: GPL-3.0-or-later
"""What an entry of trusted client CAs asks for: read, checked, and laid over what there is (pure but for the files that it names)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import cdp, sources
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate, judge, load
from ansible_collections.certlogon.core.plugins.module_utils.certificates.chains import issued_by, parsed
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.values import pem_of
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, Problems, UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Words

FREQUENCIES = (1, 9999)
"""Hours, as the product's console takes them."""

STATUS_CHECKING = ("none", "ocsp", "crl", "ocsp_crl")
CDP_SOURCES = ("ca_certificate", "client_certificate", "manual")

SETTINGS: dict[str, Any] = {
    "status_checking": {"type": "str", "choices": list(STATUS_CHECKING)},
    "verify_trusted_client_ca": {"type": "bool"},
    "trusted_for_client_authentication": {"type": "bool"},
    "participate_in_negotiation": {"type": "bool"},
    "cdp_source": {"type": "str", "choices": list(CDP_SOURCES)},
    "primary_cdp": {"type": "str"},
    "primary_cdp_username": {"type": "str"},
    "backup_cdp": {"type": "str"},
    "backup_cdp_username": {"type": "str"},
    "crl_download_frequency": {"type": "int"},
    "ocsp_responder": {"type": "str"},
}
SECRETS = ("primary_cdp_password", "backup_cdp_password")
OPTIONS: dict[str, Any] = {
    "name": {"type": "str"},
    "certificate": {
        "type": "dict",
        "options": {**sources.SOURCE, **sources.PINS},
        "mutually_exclusive": [("path", "content")],
        "required_one_of": [("path", "content", "sha256", "subject")],
    },
    "import_chain": {"type": "bool", "default": False},
    **SETTINGS,
    **{name: {"type": "str", "no_log": True} for name in SECRETS},
    "update_secrets": {"type": "str", "choices": ["on_create", "always"], "default": "on_create"},
    "allow_expired": {"type": "bool", "default": False},
    "allow_weak": {"type": "bool", "default": False},
    "allow_not_a_ca": {"type": "bool", "default": False},
}

DEFAULTS: Words = {
    "status_checking": "none",
    "verify_trusted_client_ca": False,
    "trusted_for_client_authentication": True,
    "participate_in_negotiation": True,
    "cdp_source": "ca_certificate",
    "crl_download_frequency": 24,
}
"""What `replaced` and `rendered` make of options left out."""


@dataclass(frozen=True)
class Wanted:
    """An entry, its own CA, and the others of its file where they are wanted too (`above`)."""

    entry: Mapping[str, Any]
    where: str
    certificate: Certificate | None
    above: tuple[Certificate, ...] = ()

    @property
    def given(self) -> Words:
        """The settings that the entry names; the address of a CRL means that it is the one to use."""
        named = {name: self.entry[name] for name in SETTINGS if self.entry.get(name) is not None}
        return {"cdp_source": "manual", **named} if named.get("primary_cdp") else named

    @property
    def secrets(self) -> dict[str, str]:
        return {name: self.entry[name] for name in SECRETS if self.entry.get(name)}

    @property
    def pin(self) -> tuple[str, str]:
        """SHA-256 and subject that the entry names a certificate by, without giving it."""
        item = self.entry.get("certificate") or {}
        return sources.fingerprint(item.get("sha256") or ""), str(item.get("subject") or "")


def label(certificate: Certificate) -> str:
    """What tells CAs of one name apart, and people can read."""
    return f"{certificate.common_name or certificate.subject or 'CA'} (SHA-256 {certificate.sha256[:16]})"


def where(entry: Mapping[str, Any]) -> str:
    item = entry.get("certificate") or {}
    named = entry.get("name") or item.get("path") or item.get("subject") or item.get("sha256")
    return f"config ({named})" if named else f"config (certificate {hashlib.sha256(str(item).encode()).hexdigest()[:8]})"


def wish(entry: Mapping[str, Any]) -> Wanted:
    """Raises `UserError` that names everything that is wrong with the entry by itself."""
    place, problems = where(entry), Problems()
    problems.collect(f"{place}: {text}" for text in _contradictions(entry))
    own, others = _certificates(entry, place, problems)
    problems.raise_any()
    return Wanted(entry, place, own, tuple(others))


def _certificates(entry: Mapping[str, Any], place: str, problems: Problems) -> tuple[Certificate | None, list[Certificate]]:
    item = entry.get("certificate")
    if not item:
        if not entry.get("name"):
            problems.add(f"{place}: names neither a certificate nor, for a CA that is there already, its name; give one of them")
        return None, []
    empty = [part for part in ("path", "content", "sha256", "subject") if item.get(part) is not None and not item[part].strip()]
    if empty:
        problems.add(f"{place}: certificate.{empty[0]}: is empty; give the CA's certificate (is the variable that it comes from set?)")
        return None, []
    if not (item.get("path") or item.get("content")):
        return None, []
    try:
        found = list({one.sha256: one for one in sources.read(f"{place}: certificate", item, load)}.values())
        own = _own(f"{place}: certificate", item, found)
    except UserError as error:
        problems.add(str(error))
        return None, []
    others = [one for one in found if one != own]
    if others and not entry.get("import_chain") and not (item.get("sha256") or item.get("subject")):
        problems.add(
            f"{place}: certificate: holds {len(found)} certificates ({'; '.join(map(label, found))}); set import_chain=true to import "
            "all of them, or name the one with subject or sha256"
        )
    return own, others if entry.get("import_chain") else []


def _own(place: str, item: Mapping[str, Any], found: list[Certificate]) -> Certificate:
    """The certificate that the entry is about: the one it names, or the one that issued none of the others."""
    if item.get("sha256") or item.get("subject"):
        named = [one for one in found if _is_pinned(one, item)]
        if len(named) != 1:
            raise UserError(
                f"{place}: {len(named)} of the certificates there have the sha256 or subject that is asked for; there are "
                f"{'; '.join(f'{one.subject}, SHA-256 {one.sha256}' for one in found)}; mend one of the two"
            )
        return named[0]
    objects = parsed(found)
    lowest = [
        one for one, own in zip(found, objects, strict=True) if not any(issued_by(other, own) for other in objects if other is not own)
    ]
    if len(lowest) != 1:
        raise UserError(
            f"{place}: holds certificates that are no chain ({'; '.join(map(label, found))}); give each an entry of its own, with subject "
            "or sha256"
        )
    return lowest[0]


def _is_pinned(certificate: Certificate, item: Mapping[str, Any]) -> bool:
    digest, subject = sources.fingerprint(item.get("sha256") or ""), (item.get("subject") or "").casefold()
    return (not digest or certificate.sha256 == digest) and (not subject or certificate.subject.casefold() == subject)


# ---- what contradicts itself


def _contradictions(entry: Mapping[str, Any]) -> Iterable[str]:
    frequency = entry.get("crl_download_frequency")
    low, high = FREQUENCIES
    if frequency is not None and not low <= frequency <= high:
        yield f"crl_download_frequency: {frequency} is no number of hours from {low} to {high}; give one, such as 24"
    if entry.get("participate_in_negotiation") and entry.get("trusted_for_client_authentication") is False:
        yield (
            "participate_in_negotiation: is true, but trusted_for_client_authentication is false, and only a CA trusted for client "
            "authentication is named to clients; set both to true, or both to false"
        )
    for which in ("primary", "backup"):
        yield from _cdp_problems(entry, which)
    responder = entry.get("ocsp_responder")
    if responder:
        try:
            found = cdp.parse(responder)
            if not isinstance(found, cdp.HttpCdp):
                yield f"ocsp_responder: {responder!r} is no http or https address"
        except FormatError as error:
            yield f"ocsp_responder: {_without_account(responder)!r} {error}"


def _cdp_problems(entry: Mapping[str, Any], which: str) -> Iterable[str]:
    option = f"{which}_cdp"
    text, user, password = entry.get(option), entry.get(f"{option}_username"), entry.get(f"{option}_password")
    if password and not user:
        yield f"{option}_password: is given without {option}_username; give the DN of the account, too"
    if not text:
        return
    source = entry.get("cdp_source")
    if source is not None and source != "manual":
        yield f"{option}: is given, but cdp_source is {source}, so that it would not be used; set cdp_source=manual, or leave {option} out"
    try:
        found = cdp.parse(text)
    except FormatError as error:
        yield f"{option}: {_without_account(text)!r} {error}"
        return
    if user and isinstance(found, cdp.HttpCdp):
        yield f"{option}_username: is for a directory (ldap://) only, but {option} is {text}; leave it out"


def _without_account(address: str) -> str:
    """An address as messages show it: who writes a password into one, is not shown it again."""
    return re.sub(r"//[^/]*@", "//********@", address)


# ---- laid over what there is


def tidy(words: Mapping[str, Any]) -> Words:
    """Without options that have no value."""
    return {name: value for name, value in words.items() if value is not None and value != ""}


def merged(have: Words, given: Words, state: str) -> Words:
    """The settings that there will be. Raises `UserError`, without the place, for what the product cannot do."""
    base = {**DEFAULTS} if state in ("replaced", "rendered") else {name: have[name] for name in SETTINGS if name in have}
    after = tidy({**base, **given})
    if after.get("trusted_for_client_authentication") is False and after.get("participate_in_negotiation"):
        if given.get("participate_in_negotiation"):
            raise UserError(
                "participate_in_negotiation: needs trusted_for_client_authentication, which is false on the appliance; set it to true, too"
            )
        # the product forces it: a CA that is not trusted for client authentication is not named to clients either
        after["participate_in_negotiation"] = False
    return after


def lacking(after: Words, certificate: Certificate, own_cdps: Sequence[str]) -> Iterable[str]:
    """What the settings need together and do not have."""
    if after.get("status_checking") not in ("crl", "ocsp_crl"):
        return
    why = "the OCSP check falls back to CRLs" if after["status_checking"] == "ocsp_crl" else "status_checking is crl"
    source = after.get("cdp_source")
    if source == "manual" and not after.get("primary_cdp"):
        yield f"primary_cdp: is missing, but {why} and cdp_source is manual; give the address of the CRL"
    elif source == "ca_certificate" and not own_cdps:
        yield (
            f"cdp_source: is ca_certificate, but the certificate of {certificate.common_name} names no CDP, and {why}; set "
            "cdp_source=manual with primary_cdp, or client_certificate"
        )


def refusals(wanted: Wanted, certificate: Certificate, now: datetime) -> Iterable[str]:
    """Why the certificate is not imported, each with its switch."""
    switches = {"expired": "allow_expired", "weak": "allow_weak", "not_a_ca": "allow_not_a_ca"}
    remedies = {
        "expired": "give the renewed certificate of the CA",
        "weak": "renew the CA with a stronger key or hash",
        "not_a_ca": "give the certificate of the CA that issues the users' certificates, not one of theirs",
    }
    for finding in judge(certificate, now):
        if not wanted.entry.get(switches[finding.kind]):
            remedy = f"{remedies[finding.kind]}, or set {switches[finding.kind]}=true"
            yield f"{wanted.where}: certificate {certificate} {finding.text}; {remedy}"


def described(certificate: Certificate) -> str:
    """A certificate as diffs show it."""
    issuer = "itself" if certificate.self_signed else certificate.issuer
    return f"{certificate.subject}, by {issuer}, until {certificate.not_after:%Y-%m-%d}, SHA-256 {certificate.sha256}"


def content(certificate: Certificate) -> Words:
    return {"content": pem_of(certificate.der)}
