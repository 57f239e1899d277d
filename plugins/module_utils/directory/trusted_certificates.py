# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificates and CRLs that the forest's members trust or find by the directory, as AD CS publishes them ([MS-WCCE] 2.2.2.11).

Stores of certificates hold objects of class certificationAuthority, whose mandatory attributes are a single zero byte where there is
nothing to say. A store is managed as one set of certificates; in which object each is kept follows the CA's name, as AD CS does.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import crl as crls
from ansible_collections.certlogon.core.plugins.module_utils.certificates import sources
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate, judge, load_one
from ansible_collections.certlogon.core.plugins.module_utils.certificates.crl import Crl
from ansible_collections.certlogon.core.plugins.module_utils.certificates.sources import Authorities
from ansible_collections.certlogon.core.plugins.module_utils.directory import authorities
from ansible_collections.certlogon.core.plugins.module_utils.directory.connection import CONNECTION, ConnectionOptions
from ansible_collections.certlogon.core.plugins.module_utils.directory.names import escape_rdn, parent_dn, rdn_value
from ansible_collections.certlogon.core.plugins.module_utils.directory.session import (
    AlreadyExists,
    Directory,
    Entry,
    Modify,
    NoSuchObject,
    connect,
)
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, Problems, UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Change, Plan, Resource, Warn, Words

CONTAINERS = {"root": "Certification Authorities", "intermediate": "AIA"}
"""Stores that hold one object a CA."""

NTAUTH = "NTAuthCertificates"

PLACEHOLDER = b"\x00"
"""What AD CS writes into a mandatory attribute that has no value yet."""

CERTIFICATES = "cACertificate"
BASE_CRL = "certificateRevocationList"
DELTA_CRL = "deltaRevocationList"

_OVERRIDES = {"expired": "allow_expired", "weak": "allow_weak", "not_a_ca": "allow_non_ca"}
"""Kind of a certificate's defect -> the option that lets it in."""

_CRL_OPTION = {
    "type": "dict",
    "options": sources.SOURCE,
    "mutually_exclusive": [("path", "content")],
    "required_one_of": [("path", "content")],
}

_CA_OBJECT = {
    "objectClass": ["top", "certificationAuthority"],
    "authorityRevocationList": PLACEHOLDER,
    BASE_CRL: PLACEHOLDER,
}


@dataclass(frozen=True)
class CaObject:
    """One certificationAuthority object: its certificates, and whether it says anything else (a cross certificate pair, a real CRL)."""

    name: str
    dn: str
    certificates: Sequence[bytes]
    placeholder: bool
    says_more: bool


@dataclass(frozen=True)
class CrlObject:
    """One cRLDistributionPoint object; None where there is no CRL but the placeholder."""

    name: str
    host: str
    dn: str
    crl: bytes | None
    delta_crl: bytes | None

    @property
    def key(self) -> str:
        return _cdp_key(self.host, self.name)


@dataclass(frozen=True)
class Wanted:
    """One entry of `config`, its certificates and CRLs loaded."""

    entry: Words
    certificates: Sequence[Certificate]
    pins: frozenset[str]
    crl: Crl | None = None
    delta_crl: Crl | None = None
    pending: Sequence[Words] = ()
    """Items of `certificates` that name a CA which is yet to be installed."""

    @cached_property
    def fingerprints(self) -> frozenset[str]:
        return self.pins | {certificate.sha256 for certificate in self.certificates}


@dataclass(frozen=True)
class Stores:
    """Everything that the directory publishes, what `config` wants of it, and the time by which it is judged."""

    base: str
    stores: Mapping[str, Sequence[CaObject]]
    points: Sequence[CrlObject]
    hosts: frozenset[str]
    wanted: Sequence[Wanted]
    now: datetime.datetime


@dataclass(frozen=True)
class Add:
    dn: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Edit:
    dn: str
    changes: Sequence[Modify]


@dataclass(frozen=True)
class Remove:
    dn: str


class TrustedCertificates(Resource[Directory, Stores]):
    key = "store"
    connection = CONNECTION
    options = {
        "store": {"type": "str", "required": True, "choices": ["root", "intermediate", "ntauth", "cdp"]},
        "certificates": {
            "type": "list",
            "elements": "dict",
            "options": {**sources.CERTIFICATE, **sources.PINS},
            "mutually_exclusive": [sources.ONE_SOURCE],
            "required_one_of": [(*sources.ONE_SOURCE, "sha256")],
        },
        "name": {"type": "str"},
        "host": {"type": "str"},
        "crl": _CRL_OPTION,
        "delta_crl": _CRL_OPTION,
        "allow_expired": {"type": "bool", "default": False},
        "allow_weak": {"type": "bool", "default": False},
        "allow_non_ca": {"type": "bool", "default": False},
    }
    extra = authorities.EXPECTED

    def identify(self, entry: Words) -> str:
        return _cdp_key(entry.get("host"), entry.get("name")) if entry["store"] == "cdp" else str(entry["store"])

    def check(self, params: Mapping[str, Any]) -> None:
        problems = Problems()
        for entry in params.get("config") or ():
            problems.collect(_misplaced(self.identify(entry), entry, params["state"]))
        problems.raise_any()
        if params["state"] != "gathered":
            self._load(params)

    def open(self, params: Mapping[str, Any], warn: Warn) -> AbstractContextManager[Directory]:
        return connect(ConnectionOptions.from_params(params), warn)

    def read(self, session: Directory, params: Mapping[str, Any]) -> Stores:
        base = session.public_key_services
        attributes = ("cn", CERTIFICATES, "crossCertificatePair", "authorityRevocationList", BASE_CRL)
        stores = {
            store: [
                _ca_object(entry)
                for entry in session.search(f"CN={container},{base}", "(objectClass=certificationAuthority)", attributes, scope="level")
            ]
            for store, container in CONTAINERS.items()
        }
        ntauth = session.get(f"CN={NTAUTH},{base}", attributes)
        stores["ntauth"] = [_ca_object(ntauth)] if ntauth else []
        below = session.search(f"CN=CDP,{base}", "(objectClass=*)", ("cn", "objectClass", BASE_CRL, DELTA_CRL))
        points = [_crl_object(entry) for entry in below if "crldistributionpoint" in {name.lower() for name in entry.texts("objectClass")}]
        hosts = frozenset((entry.text("cn") or "").casefold() for entry in below)
        items = [item for entry in params.get("config") or () for item in entry.get("certificates") or ()]
        wanted = [] if params["state"] == "gathered" else self._load(params, authorities.read(session, params, items))
        return Stores(base, stores, points, hosts, wanted, datetime.datetime.now(datetime.timezone.utc))

    def objects(self, current: Stores) -> dict[str, Words]:
        stores = {store: _store_words(store, _held(objects), current.now) for store, objects in current.stores.items()}
        for point in current.points:
            stores[point.key] = _point_words(point.name, point.host, point.crl, point.delta_crl, current.now)
        return stores

    def shown(self, words: Words) -> Words:
        """Subjects, dates and fingerprints: nobody can read PEM."""
        shown = {name: value for name, value in words.items() if not name.startswith("allow_")}
        if "certificates" in words:
            shown["certificates"] = [_certificate_line(item) for item in words["certificates"]]
        return shown | {name: _crl_line(words[name]["content"]) for name in ("crl", "delta_crl") if name in words}

    def plan(self, params: Mapping[str, Any], current: Stores) -> Plan:
        problems = Problems()
        warnings: list[str] = []
        changes: list[Change] = []
        for wanted in current.wanted:
            try:
                change, notes = (_plan_point if wanted.entry["store"] == "cdp" else _plan_store)(wanted, current, params["state"])
            except UserError as error:
                problems.collect(str(error).splitlines())
                continue
            warnings.extend(notes)
            if change:
                changes.append(change)
        problems.raise_any()
        return Plan(changes, warnings)

    def authorize(self, session: Directory, plan: Plan, current: Stores) -> None:
        problems = Problems()
        for change in plan.changes:
            for step in change.details:
                if isinstance(step, Add) and parent_dn(step.dn).casefold() not in {item.dn.casefold() for item in change.details}:
                    object_class = step.attributes["objectClass"][-1]
                    if not session.may_create(parent_dn(step.dn), object_class):
                        problems.add(_no_right(change.name, f"create a {object_class} in {parent_dn(step.dn)}"))
                elif isinstance(step, Edit):
                    for attribute in sorted({modify.attribute for modify in step.changes}):
                        if not session.may_write(step.dn, attribute):
                            problems.add(_no_right(change.name, f"write {attribute} of {step.dn}"))
        problems.raise_any()

    def apply(self, session: Directory, change: Change) -> None:
        sources.refuse_unknown((change.after or {}).get("certificates") or ())
        for step in change.details:
            if isinstance(step, Add):
                self._add(session, step)
            elif isinstance(step, Edit):
                session.modify(step.dn, step.changes, permissive=True)
            else:
                try:
                    session.delete(step.dn)
                except NoSuchObject:
                    continue

    def render(self, params: Mapping[str, Any]) -> list[Words]:
        now = datetime.datetime.now(datetime.timezone.utc)
        problems = Problems()
        rendered: list[Words] = []
        for wanted in self._load(params):
            entry = wanted.entry
            if entry["store"] == "cdp":
                problems.collect(_crl_defects(wanted, now))
                crl, delta = (item.der if item else None for item in (wanted.crl, wanted.delta_crl))
                rendered.append(_point_words(entry["name"], entry["host"], crl, delta, now))
            else:
                problems.collect(_refusals(wanted, wanted.certificates, now))
                words = _store_words(entry["store"], [certificate.der for certificate in wanted.certificates], now)
                words["certificates"] += [
                    {name: value for name, value in item.items() if value is not None}
                    for item in entry["certificates"]
                    if sources.from_directory(item)
                ]
                rendered.append(words)
        problems.raise_any()
        return rendered

    @staticmethod
    def _add(session: Directory, step: Add) -> None:
        try:
            session.add(step.dn, step.attributes)
        except AlreadyExists:
            # another run made it since the read: what it lacks is added, what it has stays
            if CERTIFICATES in step.attributes:
                session.modify(step.dn, [Modify("add", CERTIFICATES, step.attributes[CERTIFICATES])], permissive=True)

    def _load(self, params: Mapping[str, Any], found: Authorities | None = None) -> list[Wanted]:
        """What `config` names: files, texts, and the CAs that were `found` in the directory (None: not asked yet).

        Raises one `UserError` for all that are not what they should be.
        """
        problems = Problems()
        loaded: list[Wanted] = []
        for entry in params["config"]:
            try:
                loaded.append(_load_entry(self.identify(entry), entry, params["state"], found))
            except UserError as error:
                problems.collect(str(error).splitlines())
        problems.raise_any()
        return loaded


def sanitized(name: str) -> str:
    """The cn that AD CS gives the object of a CA of this name ([MS-WCCE] 3.1.1.4.1.1): at most 57 characters, none of them special."""
    units = name.encode("utf-16-le")
    codes = [int.from_bytes(units[index : index + 2], "little") for index in range(0, len(units), 2)]
    pieces = [f"!{code:04x}" if code < 0x20 or code >= 0x7F or chr(code) in _DISALLOWED else chr(code) for code in codes]
    full = "".join(pieces)
    if len(full) <= 51:
        return full
    kept = ""
    for piece in pieces:
        if len(kept + piece) > 51:
            break
        kept += piece
    rotated = 0
    for character in full[len(kept) :]:
        rotated = (((rotated << 1) | (rotated >> 15 & 1)) + ord(character)) & 0xFFFF
    return f"{kept}-{rotated:05d}"


_DISALLOWED = frozenset("!\"#%&'()*+,/:;<=>?[\\]^`{|}")


# --- what config asks for ---


def _misplaced(name: str, entry: Words, state: str) -> Iterable[str]:
    """Options that are missing, that belong to another store, or that cannot be what they are meant to be."""
    point = entry["store"] == "cdp"
    for option in ("name", "host") if point else ("certificates",):
        if entry.get(option) is None and (point or state != "gathered"):
            yield f"config: {name}: {option} is missing; store={entry['store']} needs it"
    for option in ("certificates",) if point else ("name", "host", "crl", "delta_crl"):
        if entry.get(option) is not None:
            yield f"config: {name}: {option} does not belong to store={entry['store']}; leave it out"
    if point and entry.get("name") and len(entry["name"]) > 64:
        yield f"config: {name}: name has more than 64 characters; use the short form that AD CS uses, {sanitized(entry['name'])!r}"
    if point and "." in (entry.get("host") or ""):
        yield f"config: {name}: host is the short name of the CA's host, {entry['host'].partition('.')[0]!r}, not its DNS name"
    if state == "deleted" and entry.get("certificates") == []:
        yield f"config: {name}: certificates is empty; state=deleted removes the named ones (state=replaced empties a store)"
    for index, item in enumerate(entry.get("certificates") or ()):
        if state not in ("deleted", "gathered") and all(item.get(source) is None for source in sources.ONE_SOURCE):
            yield f"config: {name}: certificates[{index}] has neither path nor content; a sha256 alone serves state=deleted only"


def _load_entry(name: str, entry: Words, state: str, found: Authorities | None) -> Wanted:
    problems = Problems()
    certificates: list[Certificate] = []
    pins: set[str] = set()
    pending: list[Words] = []
    for index, item in enumerate(entry.get("certificates") or ()):
        where = f"config: {name}: certificates[{index}]"
        if all(item.get(source) is None for source in sources.ONE_SOURCE):
            pins.add(sources.fingerprint(item["sha256"]))
            continue
        try:
            if not sources.from_directory(item):
                certificates.extend(sources.certificates(where, item))
            elif found is not None:
                there = sources.published(where, item, found)
                certificates.extend(there or ())
                pending += [item] if there is None else []
        except UserError as error:
            problems.add(str(error))
    lists: dict[str, Crl | None] = {"crl": None, "delta_crl": None}
    for option in lists if state != "deleted" else ():
        if entry.get(option):
            try:
                lists[option] = sources.read(f"config: {name}: {option}", entry[option], crls.load)
            except UserError as error:
                problems.add(str(error))
    problems.raise_any()
    return Wanted(entry, certificates, frozenset(pins), pending=pending, **lists)


# --- plans ---


def _plan_store(wanted: Wanted, current: Stores, state: str) -> tuple[Change | None, list[str]]:
    store = wanted.entry["store"]
    objects = current.stores[store]
    held = _held(objects)
    fingerprints = {_sha256(value): value for value in held}
    if state == "deleted":
        new: list[Certificate] = []
        gone = [value for fingerprint, value in fingerprints.items() if fingerprint in wanted.fingerprints]
    else:
        new = list({item.sha256: item for item in wanted.certificates if item.sha256 not in fingerprints}.values())
        gone = (
            [value for fingerprint, value in fingerprints.items() if fingerprint not in wanted.fingerprints] if state == "replaced" else []
        )
        problems = Problems()
        problems.collect(_refusals(wanted, new, current.now))
        problems.raise_any()
    warnings = _store_warnings(wanted, new, fingerprints, current.now) if state != "deleted" else []
    if not (new or gone or (wanted.pending and state != "deleted")):
        return None, warnings
    before = _store_words(store, held, current.now)
    after = _store_words(store, [*(value for value in held if value not in gone), *(item.der for item in new)], current.now)
    if state != "deleted":
        after["certificates"] += [{"enrollment_service": item["enrollment_service"], "chain": item["chain"]} for item in wanted.pending]
    return Change(store, before, after, _store_steps(store, objects, new, frozenset(gone), current.base)), warnings


def _refusals(wanted: Wanted, certificates: Iterable[Certificate], now: datetime.datetime) -> list[str]:
    """Why these certificates are not to be trusted, unless the entry allows it."""
    return [
        f"config: {wanted.entry['store']}: {certificate}: {finding.text}; leave it out, or set {_OVERRIDES[finding.kind]} on this entry"
        for certificate in certificates
        for finding in judge(certificate, now)
        if not wanted.entry[_OVERRIDES[finding.kind]]
    ]


def _store_warnings(wanted: Wanted, new: Sequence[Certificate], held: Mapping[str, bytes], now: datetime.datetime) -> list[str]:
    store, kept = wanted.entry["store"], [certificate for certificate in wanted.certificates if certificate.sha256 in held]
    warnings = [
        f"{store}: {certificate} is published although {finding.text}; remove it, or set {_OVERRIDES[finding.kind]} on this entry"
        for certificate in kept
        for finding in judge(certificate, now)
        if not wanted.entry[_OVERRIDES[finding.kind]]
    ]
    if store == "root":
        warnings.extend(
            f"root: {certificate} is not self-signed; an intermediate belongs into store=intermediate"
            for certificate in new
            if not certificate.self_signed
        )
    return warnings


def _store_steps(
    store: str, objects: Sequence[CaObject], new: Iterable[Certificate], gone: frozenset[bytes], base: str
) -> list[Add | Edit | Remove]:
    """The writes that bring one store to its new content, one an object; additions come first."""
    parent = base if store == "ntauth" else f"CN={CONTAINERS[store]},{base}"
    additions: dict[str, list[bytes]] = {}
    names = {item.name.casefold(): item.name for item in objects}
    for certificate in new:
        name = NTAUTH if store == "ntauth" else sanitized(_ca_name(certificate))
        additions.setdefault(names.setdefault(name.casefold(), name), []).append(certificate.der)
    steps: list[Add | Edit | Remove] = []
    for item in objects:
        add, delete = additions.pop(item.name, []), [value for value in item.certificates if value in gone]
        if not add and not delete:
            continue
        empty = not add and len(delete) == len(item.certificates)
        if empty and store != "ntauth" and not item.says_more:
            steps.append(Remove(item.dn))
            continue
        add = [PLACEHOLDER] if empty and not item.placeholder else add
        delete = [*delete, PLACEHOLDER] if item.placeholder and not empty else delete
        edits = [Modify("add", CERTIFICATES, add), Modify("delete", CERTIFICATES, delete)]
        steps.append(Edit(item.dn, [modify for modify in edits if modify.values]))
    created: list[Add | Edit | Remove] = [
        Add(f"CN={escape_rdn(name)},{parent}", {**_CA_OBJECT, CERTIFICATES: values}) for name, values in additions.items()
    ]
    return created + steps


def _ca_name(certificate: Certificate) -> str:
    """The name AD CS would publish this CA under; one without common name goes by its whole subject."""
    return certificate.common_name or certificate.subject or certificate.thumbprint


def _plan_point(wanted: Wanted, current: Stores, state: str) -> tuple[Change | None, list[str]]:
    entry = wanted.entry
    key = _cdp_key(entry["host"], entry["name"])
    point = next((item for item in current.points if item.key.casefold() == key.casefold()), None)
    before = _point_words(point.name, point.host, point.crl, point.delta_crl, current.now) if point else None
    if state == "deleted":
        return (Change(point.key, before, None, [Remove(point.dn)]) if point else None), []
    lists, warnings = _chosen_lists(wanted, point)
    problems = Problems()
    problems.collect(_crl_defects(wanted, current.now))
    problems.raise_any()
    name, host = (point.name, point.host) if point else (entry["name"], entry["host"])
    after = _point_words(name, host, lists[BASE_CRL], lists[DELTA_CRL], current.now)
    if before == after:
        return None, warnings
    steps: list[Add | Edit | Remove] = _new_point(entry, lists, current) if point is None else [_edited_point(point, lists)]
    return Change(_cdp_key(host, name), before, after, steps), warnings


def _chosen_lists(wanted: Wanted, point: CrlObject | None) -> tuple[dict[str, bytes | None], list[str]]:
    """The CRLs the object is to hold. One that `config` does not name stays, for the CA publishes its own; and an older one never takes a
    newer one's place, for that would bring revoked certificates back."""
    chosen: dict[str, bytes | None] = {}
    warnings = []
    for attribute, crl, held in (
        (BASE_CRL, wanted.crl, point.crl if point else None),
        (DELTA_CRL, wanted.delta_crl, point.delta_crl if point else None),
    ):
        chosen[attribute] = crl.der if crl else held
        published = _parsed_crl(held) if held else None
        if crl and published and crl.der != held and crl.issuer == published.issuer and _age(crl) < _age(published):
            chosen[attribute] = held
            warnings.append(
                f"{_cdp_key(wanted.entry['host'], wanted.entry['name'])}: the published CRL, {_crl_text(published)}, is newer than "
                f"the one in config, {_crl_text(crl)}, and was kept; give the newer one"
            )
    return chosen, warnings


def _crl_defects(wanted: Wanted, now: datetime.datetime) -> Iterable[str]:
    name = _cdp_key(wanted.entry["host"], wanted.entry["name"])
    for option, crl, is_delta in (("crl", wanted.crl, False), ("delta_crl", wanted.delta_crl, True)):
        if crl is None:
            continue
        if crl.is_delta != is_delta:
            kind, other = ("delta", "delta_crl") if crl.is_delta else ("base", "crl")
            yield f"config: {name}: {option} is a {kind} CRL; it belongs into {other}"
        if crl.next_update and crl.next_update < now and not wanted.entry["allow_expired"]:
            yield f"config: {name}: {option} {_crl_text(crl)} has expired; have the CA issue a new one, or set allow_expired on this entry"


def _new_point(entry: Words, lists: Mapping[str, bytes | None], current: Stores) -> list[Add | Edit | Remove]:
    container = f"CN={escape_rdn(entry['host'])},CN=CDP,{current.base}"
    steps: list[Add | Edit | Remove] = []
    if entry["host"].casefold() not in current.hosts:
        steps.append(Add(container, {"objectClass": ["top", "container"]}))
    values = {attribute: value or PLACEHOLDER for attribute, value in lists.items()}
    return [*steps, Add(f"CN={escape_rdn(entry['name'])},{container}", {"objectClass": ["top", "cRLDistributionPoint"], **values})]


def _edited_point(point: CrlObject, lists: Mapping[str, bytes | None]) -> Edit:
    held = {BASE_CRL: point.crl, DELTA_CRL: point.delta_crl}
    return Edit(
        point.dn, [Modify("replace", attribute, [value or PLACEHOLDER]) for attribute, value in lists.items() if value != held[attribute]]
    )


# --- words ---


def _store_words(store: str, certificates: Iterable[bytes], now: datetime.datetime) -> Words:
    """A store as `config` accepts it, with the permissions that its certificates need there."""
    items: list[Words] = []
    allowed: set[str] = set()
    for value in dict.fromkeys(certificates):
        certificate = _parsed(value)
        if certificate is None:
            items.append({"content": base64.b64encode(value).decode()})
            continue
        items.append({"subject": certificate.subject, "sha256": certificate.sha256, "content": _pem(value, "CERTIFICATE")})
        allowed.update(_OVERRIDES[finding.kind] for finding in judge(certificate, now))
    items.sort(key=lambda item: (item.get("subject", "\uffff"), item.get("sha256", ""), item["content"]))
    return {"store": store, "certificates": items, **dict.fromkeys(sorted(allowed), True)}


def _point_words(name: str, host: str, crl: bytes | None, delta_crl: bytes | None, now: datetime.datetime) -> Words:
    words: Words = {"store": "cdp", "name": name, "host": host}
    for option, value in (("crl", crl), ("delta_crl", delta_crl)):
        if value is not None:
            words[option] = {"content": _pem(value, "X509 CRL")}
            parsed = _parsed_crl(value)
            if parsed and parsed.next_update and parsed.next_update < now:
                words["allow_expired"] = True
    return words


def _certificate_line(item: Words) -> str:
    if sources.from_directory(item):
        return sources.known_later(item)
    try:
        found = load_one(item["content"])
    except FormatError:
        return f"unreadable value {item['content'][:24]}…"
    valid = f"valid {found.not_before:%Y-%m-%d} to {found.not_after:%Y-%m-%d}"
    return f"{found.subject}, {valid}, thumbprint {found.thumbprint}, SHA-256 {found.sha256}"


def _crl_line(content: str) -> str:
    try:
        crl = crls.load(content)
    except FormatError:
        return f"unreadable value {content[:24]}…"
    return f"{_crl_text(crl)}, SHA-256 {_sha256(crl.der)}"


def _crl_text(crl: Crl) -> str:
    until = f" to {crl.next_update:%Y-%m-%d %H:%M}" if crl.next_update else ""
    return f"number {crl.number} of {crl.issuer}, valid {crl.this_update:%Y-%m-%d %H:%M}{until}"


# --- the directory's values ---


def _ca_object(entry: Entry) -> CaObject:
    values = entry.raws(CERTIFICATES)
    lists = [*entry.raws("authorityRevocationList"), *entry.raws(BASE_CRL)]
    return CaObject(
        entry.text("cn") or rdn_value(entry.dn),
        entry.dn,
        [value for value in values if value != PLACEHOLDER],
        PLACEHOLDER in values,
        entry.has("crossCertificatePair") or any(value != PLACEHOLDER for value in lists),
    )


def _crl_object(entry: Entry) -> CrlObject:
    def value(attribute: str) -> bytes | None:
        held = entry.raw(attribute)
        return None if held == PLACEHOLDER else held

    return CrlObject(entry.text("cn") or rdn_value(entry.dn), rdn_value(parent_dn(entry.dn)), entry.dn, value(BASE_CRL), value(DELTA_CRL))


def _cdp_key(host: Any, name: Any) -> str:
    return f"cdp {host}/{name}"


def _held(objects: Iterable[CaObject]) -> list[bytes]:
    return list(dict.fromkeys(value for item in objects for value in item.certificates))


def _no_right(name: str, what: str) -> str:
    return f"{name}: this account may not {what}; use an Enterprise Admin of the forest's root domain or have the right delegated"


def _sha256(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()


def _age(crl: Crl) -> tuple[int, datetime.datetime]:
    """Orders the CRLs of one CA: by CRL number (RFC 5280 5.2.3), then by date."""
    return crl.number or 0, crl.this_update


@lru_cache(maxsize=1024)
def _parsed(value: bytes) -> Certificate | None:
    """The certificate that a stored value is; None for anything else, be it a certificate in another wrapping than DER."""
    try:
        certificate = load_one(value)
    except FormatError:
        return None
    return certificate if certificate.der == value else None


def _parsed_crl(value: bytes) -> Crl | None:
    try:
        return crls.load(value)
    except FormatError:
        return None


def _pem(value: bytes, label: str) -> str:
    """RFC 7468 text."""
    lines = "\n".join(textwrap.wrap(base64.b64encode(value).decode(), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"
