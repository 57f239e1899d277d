# SPDX-License-Identifier: GPL-3.0-or-later
"""What is on a smart card: certificates, their keys and their chain."""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import env_fallback

from ansible_collections.certlogon.core.plugins.module_utils.certificates import pkcs12_file, sources, token_uri
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate, attempt, load
from ansible_collections.certlogon.core.plugins.module_utils.certificates.pkcs11 import (
    Contents,
    KeyFacts,
    Token,
    TokenCertificate,
    key_id,
    open_token,
)
from ansible_collections.certlogon.core.plugins.module_utils.certificates.token_errors import PinMissing
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, Problems, UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import x509
from ansible_collections.certlogon.core.plugins.module_utils.resource import Change, Plan, Resource, Warn, Words

UPN = "1.3.6.1.4.1.311.20.2.3"


@dataclass(frozen=True)
class Wanted:
    """An entry of `config` with what its files hold; `key` is a private key to import."""

    name: str
    entry: Words
    certificate: Certificate | None = None
    chain: tuple[Certificate, ...] = ()
    key: Any = field(default=None, repr=False)


@dataclass(frozen=True)
class Card:
    contents: Contents
    wanted: Sequence[Wanted]


@dataclass(frozen=True)
class Steps:
    """What a change does on the token, in this order."""

    key: Any = field(default=None, repr=False)
    store: TokenCertificate | None = None
    delete_certificates: tuple[bytes, ...] = ()
    delete_keys: tuple[bytes, ...] = ()


class SmartCard(Resource[Token, Card]):
    states = ("merged", "deleted", "gathered")
    connection = {
        "uri": {"type": "str", "required": True},
        "pin": {"type": "str", "no_log": True, "fallback": (env_fallback, ["CERTLOGON_CARD_PIN"])},
        "module": {"type": "str"},
        "spend_last_try": {"type": "bool", "default": False},
    }
    options = {
        "name": {"type": "str", "required": True},
        "path": {"type": "path"},
        "content": {"type": "str"},
        "pkcs12_path": {"type": "path"},
        "pkcs12_password": {"type": "str", "no_log": True},
        "chain_path": {"type": "path"},
        "store_chain": {"type": "bool", "default": True},
        "upn": {"type": "str"},
        "sha256": {"type": "str"},
        "subject": {"type": "str"},
        "id": {"type": "str"},
        "key": {"type": "bool"},
        "delete_key": {"type": "bool", "default": True},
        "remove_old_key": {"type": "bool", "default": False},
        "facts": {"type": "dict"},
    }

    def check(self, params: Mapping[str, Any]) -> None:
        try:
            token_uri.parse(params["uri"])
        except FormatError as error:
            raise FormatError(f"uri: {error}") from None
        if params["state"] == "merged":
            _load(params)

    def open(self, params: Mapping[str, Any], warn: Warn) -> AbstractContextManager[Token]:
        options = {"write": params["state"] != "gathered", "spend_last_try": params["spend_last_try"]}
        return open_token(params["uri"], params["pin"], params["module"], **options)

    def read(self, session: Token, params: Mapping[str, Any]) -> Card:
        return Card(session.contents(), _load(params) if params["state"] == "merged" else [])

    def objects(self, current: Card) -> dict[str, Words]:
        return objects(current.contents)

    def shown(self, words: Words) -> Words:
        return {name: value for name, value in words.items() if name != "content"}

    def plan(self, params: Mapping[str, Any], current: Card) -> Plan:
        if params["state"] == "deleted":
            return Plan([change for entry in params["config"] for change in plan_deletion(entry, current.contents)])
        problems = Problems()
        changes: list[Change] = []
        for wanted in current.wanted:
            try:
                changes += plan_entry(wanted, current.contents, [change.name for change in changes])
            except UserError as error:
                problems.add(str(error))
        problems.raise_any()
        return Plan(changes, _warnings(current.contents))

    def authorize(self, session: Token, plan: Plan, current: Card) -> None:
        if not session.logged_in:
            raise PinMissing(f"{session}: it has to be written on, which needs its PIN; give pin, or pin-source in the URI")

    def apply(self, session: Token, change: Change) -> None:
        steps: Steps = change.details
        if steps.key is not None:
            session.import_key(change.name, steps.key)
        if steps.store is not None:
            session.store_certificate(steps.store.label, steps.store.id, steps.store.certificate.der)
        for der in steps.delete_certificates:
            session.delete_certificate(der)
        for id in steps.delete_keys:
            session.delete_key(id)


# ---- what is asked for


def _load(params: Mapping[str, Any]) -> list[Wanted]:
    """The entries with their files. Raises `UserError`, which names everything that is wrong."""
    problems = Problems()
    wanted = []
    for entry in params["config"]:
        try:
            wanted.append(_wanted(entry))
        except UserError as error:
            problems.add(f"config {entry['name']!r}: {error}")
    problems.raise_any()
    return wanted


def _wanted(entry: Words) -> Wanted:
    given = [name for name in ("path", "content", "pkcs12_path") if entry.get(name)]
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} are given; give one of them")
    if not given and not entry.get("key"):
        raise UserError("no certificate is given; give path, content or pkcs12_path")
    found = _read(entry, given[0]) if given else Wanted(entry["name"], entry)
    if entry.get("chain_path"):
        found = replace(found, chain=(*found.chain, *load(_bytes("chain_path", entry["chain_path"]))))
    _check_pins(entry, found.certificate)
    return found


def _read(entry: Words, source: str) -> Wanted:
    try:
        if source == "pkcs12_path":
            file = pkcs12_file.load(_bytes(source, entry[source]), entry.get("pkcs12_password"))
            return Wanted(entry["name"], entry, file.certificate, file.chain, file.key)
        certificates = load(entry["content"] if source == "content" else _bytes(source, entry[source]))
    except FormatError as error:
        raise FormatError(f"{source} {entry[source]}: {error}" if source != "content" else f"content: {error}") from None
    own = next((one for one in certificates if not one.is_ca), certificates[0])
    return Wanted(entry["name"], entry, own, tuple(one for one in certificates if one != own))


def _bytes(option: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{option} {path}: cannot be read: {error.strerror or error}") from error


def _check_pins(entry: Words, certificate: Certificate | None) -> None:
    if certificate is None:
        return
    names = upns(certificate)
    expected = entry.get("upn")
    if expected and expected.casefold() not in {name.casefold() for name in names}:
        of = f"is for {', '.join(names)}" if names else "names no user (no UPN in it)"
        raise UserError(f"the certificate {of}, and not for upn {expected!r}; it is not put on the card")
    for option, value in (("sha256", certificate.sha256), ("subject", certificate.subject)):
        pin = entry.get(option)
        given = sources.fingerprint(pin or "") if option == "sha256" else (pin or "")
        if pin and given.casefold() != value.casefold():
            raise UserError(f"{option} is {pin!r}, but the certificate has {value}; mend one of the two")


def upns(certificate: Certificate) -> list[str]:
    """The user principal names in the subject alternative name."""

    def read() -> list[str]:
        parsed = x509.load_der_x509_certificate(certificate.der)
        try:
            names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return []
        others = [one.value for one in names if isinstance(one, x509.OtherName) and one.type_id.dotted_string == UPN]
        # UTF8String; a name of 128 bytes or more has a long length
        return [value[2 + (value[1] & 0x7F if value[1] & 0x80 else 0) :].decode("utf-8", "replace") for value in others if len(value) > 2]

    return attempt("certificate", read)


# ---- what is there


def objects(contents: Contents) -> dict[str, Words]:
    """Certificates, and keys that have none, by label. Where a label is there twice, SHA-256 or identifier tell them apart."""
    keys = {one.id: one for one in contents.keys}
    certified = {one.id for one in contents.certificates}
    found: dict[str, Words] = {}
    labels: list[str] = []
    for group in (
        [_words(one.label, one.id, one.certificate, keys.get(one.id)) for one in contents.certificates],
        [_words(one.label, one.id, None, one) for one in contents.keys if one.id not in certified],
    ):
        labels += [words["name"].casefold() for words in group]
        for words in group:
            label = words["name"]
            found[label if labels.count(label.casefold()) == 1 else f"{label} ({words.get('sha256') or words['id']})"] = words
    return found


def _words(label: str, id: bytes, certificate: Certificate | None, key: KeyFacts | None) -> Words:
    words: Words = {"name": label, "id": id.hex(), "key": key is not None}
    facts: Words = {}
    if certificate is not None:
        words |= {"subject": certificate.subject, "sha256": certificate.sha256, "content": _pem(certificate.der)}
        facts = {
            "issuer": certificate.issuer,
            "serial": f"{certificate.serial:x}",
            "not_before": certificate.not_before.isoformat(),
            "not_after": certificate.not_after.isoformat(),
            "upn": upns(certificate),
            "ca": certificate.is_ca,
        }
    if key is not None:
        facts |= {"key_type": key.kind, "key_size": key.bits}
        if key.private:
            facts |= {"generated_on_card": key.generated, "extractable": key.extractable}
    return words | {"facts": facts}


def _pem(der: bytes) -> str:
    body = "\n".join(textwrap.wrap(base64.b64encode(der).decode(), 64))
    return f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"


def _warnings(contents: Contents) -> list[str]:
    return [f"card {contents.token['token']!r}: the object {label!r} is no certificate that can be read" for label in contents.unreadable]


# ---- the plan


def plan_entry(wanted: Wanted, contents: Contents, taken: Sequence[str] = ()) -> list[Change]:
    """What has to change for one entry (pure). Raises `UserError` where the card has no key for the certificate."""
    if wanted.certificate is None:
        if not any(one.label.casefold() == wanted.name.casefold() for one in contents.keys):
            raise UserError(f"config {wanted.name!r}: the card has no such key, and no certificate is given to put beside it")
        return []
    changes = [_plan_certificate(wanted, wanted.certificate, contents)]
    if wanted.entry["store_chain"]:
        names = [*taken, wanted.name]
        for one in wanted.chain:
            if one != wanted.certificate:
                changes.append(_plan_authority(one, contents, names))
    return [change for change in changes if change]


def _plan_certificate(wanted: Wanted, certificate: Certificate, contents: Contents) -> Change | None:
    public = key_id(certificate.public_key)
    key = next((one for one in contents.keys if one.public == public), None)
    id = key.id if key else public  # where the token names its keys itself, the certificate goes by that name
    imported = wanted.key is not None and key is None
    if key is None and not imported and (wanted.entry["key"] or (wanted.entry["key"] is None and not certificate.is_ca)):
        raise UserError(
            f"config {wanted.name!r}: the card has no key for the certificate {certificate}; "
            "make the key on the card (certificate_request), or give the .pfx that holds it"
        )
    same_name = [one for one in contents.certificates if one.label.casefold() == wanted.name.casefold()]
    there = [one for one in contents.certificates if one.certificate == certificate and one.label == wanted.name and one.id == id]
    beside = [one for one in contents.certificates if one.id == id and one.certificate != certificate]
    others = [one for one in same_name if one not in there and one not in beside]
    if there and not imported and not beside and not others:
        return None
    replaced = [one.certificate.der for one in others if one.certificate != certificate or one.id != id]
    ids = {one.id for one in contents.keys} - {id}
    old_keys = tuple({one.id: None for one in others if one.id in ids}) if wanted.entry["remove_old_key"] else ()
    facts = KeyFacts(id, wanted.name, *_kind(certificate), True, public, True, False, False) if imported else key
    before = _before(wanted.name, contents)
    steps = Steps(
        wanted.key if imported else None,
        TokenCertificate(id, wanted.name, certificate) if not there or beside else None,
        tuple(der for der in replaced if der != certificate.der),
        old_keys,
    )
    return Change(wanted.name, before, _words(wanted.name, id, certificate, facts), steps)


def _before(name: str, contents: Contents) -> Words | None:
    """What has this label now, if anything."""
    return next((words for words in objects(contents).values() if words["name"].casefold() == name.casefold()), None)


def _kind(certificate: Certificate) -> tuple[str, int]:
    return certificate.key_type, certificate.key_bits


def _plan_authority(certificate: Certificate, contents: Contents, taken: list[str]) -> Change | None:
    """A certificate of the chain, under its common name; left alone where it is on the card under whatever name."""
    if any(one.certificate == certificate for one in contents.certificates):
        return None
    there = {one.label.casefold() for one in contents.certificates} | {name.casefold() for name in taken}
    name = certificate.common_name or certificate.subject or certificate.sha256[:16]
    if name.casefold() in there:
        name = f"{name} {certificate.sha256[:8]}"
    if name.casefold() in there:
        return None
    taken.append(name)
    id = key_id(certificate.public_key)
    return Change(name, None, _words(name, id, certificate, None), Steps(store=TokenCertificate(id, name, certificate)))


def plan_deletion(entry: Words, contents: Contents) -> list[Change]:
    """The objects of this name, or those of them that the entry's `id` and `sha256` name (pure)."""
    changes = []
    keys = {one.id: one for one in contents.keys}
    id, sha256 = entry.get("id"), sources.fingerprint(entry.get("sha256") or "")
    for name, words in objects(contents).items():
        if words["name"].casefold() != entry["name"].casefold():
            continue
        if (id and sources.fingerprint(id) != words["id"]) or (sha256 and sha256 != words.get("sha256")):
            continue
        number = bytes.fromhex(words["id"])
        ders = tuple(one.certificate.der for one in contents.certificates if one.certificate.sha256 == words.get("sha256"))
        key = keys.get(number)
        shared = any(one.id == number and one.certificate.der not in ders for one in contents.certificates)
        key_goes = key is not None and entry["delete_key"] and not shared
        if not key_goes and not ders:
            continue
        stays = key is not None and not key_goes and not shared and key.label.casefold() == words["name"].casefold()
        after = _words(key.label, number, None, key) if stays and key else None
        changes.append(Change(name, words, after, Steps(delete_certificates=ders, delete_keys=(number,) if key_goes else ())))
    return changes
