# SPDX-License-Identifier: GPL-3.0-or-later
"""What an entry of device certificates asks for, what the appliance has for it, and how far the one is from the other (pure)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import alternative_names, description, keys, pkcs12_file
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate, Finding, judge
from ansible_collections.certlogon.core.plugins.module_utils.certificates.keys import KeyKind
from ansible_collections.certlogon.core.plugins.module_utils.certificates.pkcs12_file import KeyAndCertificate
from ansible_collections.certlogon.core.plugins.module_utils.certificates.request_wishes import same_issuer
from ansible_collections.certlogon.core.plugins.module_utils.certificates.signing_request import Given
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import pkcs12_memory
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, Problems, UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import x509
from ansible_collections.certlogon.core.plugins.module_utils.resource import Words

# option -> (object identifier, longest value: RFC 5280 appendix A.1)
SUBJECT: dict[str, tuple[str, int]] = {
    "common_name": ("2.5.4.3", 64),
    "organization": ("2.5.4.10", 64),
    "organizational_unit": ("2.5.4.11", 64),
    "locality": ("2.5.4.7", 128),
    "state": ("2.5.4.8", 128),
    "country": ("2.5.4.6", 2),
    "email": ("1.2.840.113549.1.9.1", 255),
}
CURVES = {"P-256": "secp256r1", "P-384": "secp384r1", "P-521": "secp521r1"}
_CURVE_NAMES = {**CURVES, **{name: name for name in CURVES.values()}, "prime256v1": "secp256r1"}
PORTS = ("internal_ports", "external_ports")

OPTIONS: dict[str, Any] = {
    "name": {"type": "str"},
    "sha256": {"type": "str"},
    **{name: {"type": "str"} for name in SUBJECT},
    "key_type": {"type": "str", "choices": ["rsa", "ec"], "default": "rsa"},
    "key_length": {"type": "int", "default": 2048, "no_log": False},
    "curve": {"type": "str", "choices": list(_CURVE_NAMES), "default": "P-256"},
    "server_names": {"type": "list", "elements": "str"},
    "issuer": {"type": "str"},
    "internal_ports": {"type": "list", "elements": "str"},
    "external_ports": {"type": "list", "elements": "str"},
    "management_port": {"type": "bool"},
    "answers_at": {"type": "list", "elements": "str"},
    "renew_before": {"type": "int", "default": 30},
    "remove_old": {"type": "bool", "default": True},
    "path": {"type": "path"},
    "template": {"type": "str"},
    "request_attributes": {"type": "dict"},
    "retry_denied": {"type": "bool", "default": False},
    "anchor_path": {"type": "path"},
    "crl_check": {"type": "str", "choices": ["ignore", "warn", "fail"], "default": "warn"},
    "request_path": {"type": "path"},
    "answer_path": {"type": "path"},
    "pkcs12_path": {"type": "path"},
    "pkcs12_passphrase": {"type": "str", "no_log": True},
    "allow_weak": {"type": "bool", "default": False},
    "allow_expired": {"type": "bool", "default": False},
    "allow_mismatch": {"type": "bool", "default": False},
}

SWITCHES = {"weak": "allow_weak", "expired": "allow_expired", "mismatch": "allow_mismatch"}


@dataclass(frozen=True)
class Device:
    """A device certificate as the appliance has it."""

    name: str
    certificate: Certificate
    parsed: Any
    internal_ports: tuple[str, ...]
    external_ports: tuple[str, ...]
    management_port: bool

    @property
    def bound(self) -> frozenset[str]:
        """Its ports, each with the kind of port it is."""
        ports = {f"internal port {port}" for port in self.internal_ports} | {f"external port {port}" for port in self.external_ports}
        return frozenset(ports | ({"the management port"} if self.management_port else set()))

    @property
    def words(self) -> Words:
        """In the words of the options; the certificate's own values are what it says, not what was asked for."""
        kind = keys.kind_of(self.parsed.public_key())
        key: Words = {"key_type": kind.type}
        if kind.type == "rsa":
            key["key_length"] = kind.size
        elif kind.curve:
            key["curve"] = next((name for name, curve in CURVES.items() if curve == kind.curve), kind.curve)
        return {
            "name": self.name,
            "sha256": self.certificate.sha256,
            **subject_of(self.parsed.subject),
            **key,
            "server_names": host_names(self.parsed),
            "internal_ports": sorted(self.internal_ports),
            "external_ports": sorted(self.external_ports),
            "management_port": self.management_port,
        }


@dataclass(frozen=True)
class Pending:
    """A request that waits on the appliance for its certificate."""

    name: str
    request: Given
    subject: frozenset[tuple[str, str]]
    kind: KeyKind

    @property
    def identity(self) -> bytes:
        return keys.identity(self.request.public_key)


@dataclass(frozen=True)
class Wanted:
    """An entry; `path` is where its certificate is kept on the control node, `given` a PKCS#12 file."""

    entry: Mapping[str, Any]
    label: str
    path: str
    given: KeyAndCertificate | None = field(default=None, repr=False)

    @property
    def where(self) -> str:
        return f"config ({self.label})"

    @property
    def named(self) -> bool:
        """Whether the entry names a certificate that is there, rather than one to be had."""
        return bool(self.entry.get("sha256"))

    @property
    def kind(self) -> KeyKind:
        if self.entry.get("key_type") == "ec":
            return KeyKind("ec", curve=_CURVE_NAMES[self.entry.get("curve") or "P-256"])
        return KeyKind("rsa", size=self.entry.get("key_length") or 2048)

    @property
    def subject(self) -> frozenset[tuple[str, str]]:
        return frozenset((oid, self.entry[option]) for option, (oid, _longest) in SUBJECT.items() if self.entry.get(option))

    @property
    def server_names(self) -> list[str]:
        found = self.entry.get("server_names")
        return [self.entry["common_name"]] if found is None and self.entry.get("common_name") else list(found or ())

    @property
    def ports(self) -> frozenset[str]:
        """The ports that it is to serve, as `Device.bound` calls them."""
        kinds = {"internal_ports": "internal port", "external_ports": "external port"}
        ports = {f"{kind} {port}" for option, kind in kinds.items() for port in self.entry.get(option) or ()}
        return frozenset(ports | ({"the management port"} if self.entry.get("management_port") else set()))


# ---- reading an entry


def label(entry: Mapping[str, Any]) -> str:
    return str(entry.get("name") or entry.get("common_name") or entry.get("pkcs12_path") or entry.get("sha256") or "?")


def wish(entry: Mapping[str, Any], folder: str, *, reading: bool = True, remembering: bool = True) -> Wanted:
    """Raises `UserError` that names everything that is wrong with the entry by itself.

    Without `reading`, files are not read. With `remembering`, a PKCS#12 file that an earlier run has imported is not opened again; what is
    `given` then has no key.
    """
    problems = Problems()
    name = label(entry)
    where = f"config ({name})"
    problems.collect(f"{where}: {text}" for text in _contradictions(entry))
    place = entry.get("path") or str(Path(folder) / f"{_file_name(str(entry.get('common_name') or name))}.pem")
    given = None
    if entry.get("pkcs12_path") and reading:
        try:
            given = _pkcs12(entry, place if remembering else None)
        except UserError as error:
            problems.add(f"{where}: {error}")
    problems.raise_any()
    return Wanted(entry, name, place, given)


def _file_name(name: str) -> str:
    """Of letters, digits and few signs. Names that differ beyond ASCII differ here too; others have the names that they always had."""
    plain = re.sub(r"[^A-Za-z0-9._*-]", "_", name).replace("*", "_wildcard")
    return plain if name.isascii() else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


@lru_cache(maxsize=8)
def _opened(content: bytes, passphrase: str | None) -> KeyAndCertificate:
    """Opening a file takes its thousands of rounds of hashing; a task looks at its entries several times."""
    return pkcs12_file.load(content, passphrase)


def _pkcs12(entry: Mapping[str, Any], remembered_at: str | None) -> KeyAndCertificate:
    path = entry["pkcs12_path"]
    try:
        content = Path(path).read_bytes()
        if remembered_at and (remembered := pkcs12_memory.load(remembered_at, content)):
            return remembered
        found = _opened(content, entry.get("pkcs12_passphrase"))
    except FormatError as error:
        raise FormatError(f"pkcs12_path ({path}): {error}") from error
    except OSError as error:
        raise UserError(f"pkcs12_path: {path} cannot be read: {error.strerror or error}; give the path of a PKCS#12 file") from error
    parsed = x509.load_der_x509_certificate(found.certificate.der)
    if keys.identity(parsed.public_key()) != keys.identity(found.key.public_key()):
        raise UserError(f"pkcs12_path ({path}): its key is not that of its certificate ({found.certificate}); export both together")
    return found


def _contradictions(entry: Mapping[str, Any]) -> Iterable[str]:
    if not any(entry.get(option) for option in ("common_name", "pkcs12_path", "sha256", "name")):
        yield "says nothing of the certificate; give common_name for a new one, pkcs12_path, or the sha256 of one that is there"
    if entry.get("sha256") and entry.get("pkcs12_path"):
        yield "sha256 and pkcs12_path: give one of them"
    if entry.get("pkcs12_passphrase") and not entry.get("pkcs12_path"):
        yield "pkcs12_passphrase: is given without pkcs12_path; leave it out"
    yield from _subject_problems(entry)
    if (entry.get("renew_before") or 0) < 0:
        yield f"renew_before: {entry['renew_before']} is no number of days from 0 on"
    if entry.get("key_type", "rsa") == "rsa" and (entry.get("key_length") or 2048) < 2048 and not entry.get("allow_weak"):
        yield f"key_length: {entry['key_length']} bits are less than 2048; give 2048 or more, or set allow_weak=true"
    for name in entry.get("server_names") or ():
        try:
            alternative_names.canonical(f"DNS:{name}")
        except UserError:
            yield f"server_names: {name!r} is no DNS name"
    for place in entry.get("answers_at") or ():
        if endpoint(place) is None:
            yield f"answers_at: {place!r} is no host:port such as vpn.corp.example:443"


def _subject_problems(entry: Mapping[str, Any]) -> Iterable[str]:
    for option, (_oid, longest) in SUBJECT.items():
        value = entry.get(option)
        if not value:
            continue
        if not value.isprintable():
            wrong = next((character for character in value if not character.isprintable()), "")
            yield f"{option}: {value!r} has the character {wrong!r}, which no name may have; leave it out"
        if len(value) > longest:
            yield f"{option}: {value!r} has {len(value)} characters, but {longest} are the most; shorten it"
        if value != value.strip():
            yield f"{option}: {value!r} begins or ends with a space; leave it out"
    country = entry.get("country")
    if country and not re.fullmatch("[A-Z]{2}", country):
        yield f"country: {country!r} is no country code of two capital letters (ISO 3166), such as SE"


def endpoint(text: str) -> tuple[str, int] | None:
    """Host and port; None for what is neither a host nor host:port. IPv6 addresses stand in brackets."""
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\s/\[\]]+)(?::(\d{1,5}))?", text)
    port = int(found[2] or 443) if found else 0
    return (found[1].strip("[]"), port) if found and 0 < port < 65536 else None


# ---- what a certificate says


def subject_of(name: Any) -> dict[str, str]:
    """A library's name in the words of the options; of several values of a kind, the last."""
    options = {oid: option for option, (oid, _longest) in SUBJECT.items()}
    return {options[part.oid.dotted_string]: str(part.value) for part in name if part.oid.dotted_string in options}


def attributes(name: Any) -> frozenset[tuple[str, str]]:
    return frozenset((part.oid.dotted_string, str(part.value)) for part in name)


def host_names(parsed: Any) -> list[str]:
    return sorted(name.removeprefix("DNS:") for name in description.names(parsed) if name.startswith("DNS:"))


def covers(parsed: Any, name: str) -> bool:
    """Whether a TLS client takes the certificate for this host's (RFC 9525 6.3; one wildcard label on the left), or address."""
    try:
        return f"IP:{ip_address(name)}" in description.names(parsed)
    except ValueError:
        wanted = _ascii(name)
    named = [one.casefold() for one in host_names(parsed)]
    if not named:
        # only clients of old look here
        named = [value.casefold() for option, value in subject_of(parsed.subject).items() if option == "common_name"]
    return any(one == wanted or (one.startswith("*.") and wanted.partition(".")[2] == one[2:]) for one in named)


def _ascii(name: str) -> str:
    """A host's name as certificates have it: without capitals, and in A-labels (RFC 5891)."""
    try:
        return alternative_names.canonical(f"DNS:{name}").removeprefix("DNS:")
    except UserError:
        return name.casefold().rstrip(".")


# ---- how far it is from what is wanted


def belongs(wanted: Wanted, device: Device) -> bool:
    if wanted.named:
        return device.certificate.sha256 == _digits(wanted.entry["sha256"])
    if wanted.given is not None:
        return device.certificate == wanted.given.certificate or _same_name(wanted.given.certificate.common_name, device)
    if wanted.entry.get("common_name"):
        return _same_name(wanted.entry["common_name"], device)
    return device.name == wanted.entry.get("name")


def _same_name(common_name: str | None, device: Device) -> bool:
    return bool(common_name) and (device.certificate.common_name or "").casefold() == str(common_name).casefold()


def _digits(text: str) -> str:
    return text.replace(":", "").replace(" ", "").lower()


def faults(wanted: Wanted, certificate: Certificate, parsed: Any, now: datetime) -> list[Finding]:
    """Why a certificate is not the one that is asked for, apart from its age; what the entry allows is left out."""
    found = [one for one in judge(certificate, now) if one.kind in ("weak", "expired")]
    missing = [name for name in wanted.server_names if not covers(parsed, name)]
    if missing:
        there = ", ".join(host_names(parsed)) or f"only the common name {certificate.common_name}"
        found.append(Finding("mismatch", f"is not for {', '.join(missing)}, but for {there}"))
    if wanted.given is None and not wanted.named:
        found += [Finding("mismatch", text) for text in _differences(wanted, parsed)]
    return [one for one in found if not wanted.entry.get(SWITCHES[one.kind])]


def _differences(wanted: Wanted, parsed: Any) -> Iterable[str]:
    kind = keys.kind_of(parsed.public_key())
    if kind != wanted.kind:
        yield f"has a key of the kind {kind}, not {wanted.kind}"
    if wanted.entry.get("issuer") and not same_issuer(wanted.entry["issuer"], parsed):
        yield f"is by {parsed.issuer.rfc4514_string()}, not {wanted.entry['issuer']}"
    says = subject_of(parsed.subject)
    # a CA may leave parts of the subject out, as its template says
    for option in SUBJECT:
        if wanted.entry.get(option) and option in says and says[option].casefold() != wanted.entry[option].casefold():
            yield f"says {option} {says[option]!r}, not {wanted.entry[option]!r}"


def due(wanted: Wanted, device: Device, now: datetime) -> str:
    """Why another certificate has to be had; empty where this one is good."""
    found = faults(wanted, device.certificate, device.parsed, now)
    if found:
        return "; ".join(map(str, found))
    days = wanted.entry.get("renew_before", 30)
    if device.certificate.not_after - description.window(device.parsed, days) <= now:
        return f"expires on {device.certificate.not_after:%Y-%m-%d}, within {days} days"
    return ""


def choose(wanted: Wanted, devices: Sequence[Device], now: datetime) -> Device | None:
    """The certificate that serves an entry: of those that belong to it the good one, the longest-lived, the one that is bound."""
    mine = [one for one in devices if belongs(wanted, one)]
    if wanted.given is not None:
        exact = [one for one in mine if one.certificate == wanted.given.certificate]
        mine = exact or mine
    return max(mine, key=lambda one: (not due(wanted, one, now), bool(one.bound & wanted.ports), one.certificate.not_after), default=None)


def leftovers(wanted: Wanted, devices: Sequence[Device], chosen: Device, now: datetime) -> list[Device]:
    """Earlier certificates of the entry that serve no port beside those that are to be the chosen one's."""
    if not wanted.entry.get("remove_old", True) or wanted.named:
        return []
    others = [one for one in devices if belongs(wanted, one) and one != chosen and not one.bound - (wanted.ports | chosen.bound)]
    return [one for one in others if due(wanted, one, now) or one.certificate.not_before <= chosen.certificate.not_before]


def pending_for(wanted: Wanted, found: Sequence[Pending], remembered: str = "") -> Pending | None:
    """The request on the appliance that has this subject and kind of key: the one that was sent to the CA, or else the newest."""
    mine = [one for one in found if one.subject == wanted.subject and one.kind == wanted.kind]
    sent = [one for one in mine if hashlib.sha256(one.identity).hexdigest() == remembered]
    return sent[0] if sent else mine[-1] if mine else None


def described(certificate: Certificate) -> str:
    """A certificate as diffs show it."""
    return f"{certificate.subject}, by {certificate.issuer}, until {certificate.not_after:%Y-%m-%d}, SHA-256 {certificate.sha256}"
