# SPDX-License-Identifier: GPL-3.0-or-later
"""Which certificates log on as which account: altSecurityIdentities ([MS-PKCA] 3.1.5.2.1; strong mappings: KB5014754)."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import mappings as formats
from ansible_collections.certlogon.core.plugins.module_utils.certificates import sources
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate, load_one
from ansible_collections.certlogon.core.plugins.module_utils.directory import values
from ansible_collections.certlogon.core.plugins.module_utils.directory.connection import CONNECTION, ConnectionOptions
from ansible_collections.certlogon.core.plugins.module_utils.directory.names import escape_filter, escape_filter_bytes, split_dn
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import Sid
from ansible_collections.certlogon.core.plugins.module_utils.directory.session import Directory, Entry, connect
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, Problems, UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Change, Plan, Resource, Warn, Words

ATTRIBUTE = "altSecurityIdentities"
FORMS = ("issuer_serial", "ski", "sha1_public_key", "issuer_sid")

_BATCH = 50
"""Names in one search filter."""

_REMEDY = "use issuer and serial number, SKI or SHA1-PUKEY: domain controllers ignore weak mappings since 2025"


@dataclass(frozen=True)
class Account:
    """One account; `mappings` as stored."""

    name: str
    dn: str
    sid: Sid
    mappings: Sequence[str]


@dataclass(frozen=True)
class Mappings:
    """The accounts by the names that `config` gives them (or by sAMAccountName), and the certificates that `config` names."""

    accounts: Mapping[str, Account]
    certificates: Mapping[str, Sequence[Certificate]]
    now: datetime.datetime


class CertificateMappings(Resource[Directory, Mappings]):
    key = "user"
    connection = CONNECTION
    options = {
        "user": {"type": "str", "required": True},
        "mappings": {"type": "list", "elements": "str"},
        "certificates": {
            "type": "list",
            "elements": "dict",
            "options": {**sources.SOURCE, "form": {"type": "str", "choices": list(FORMS), "default": "issuer_serial"}},
            "mutually_exclusive": [("path", "content")],
            "required_one_of": [("path", "content")],
        },
    }
    extra = {"strict": {"type": "bool", "default": False}}

    def check(self, params: Mapping[str, Any]) -> None:
        if params["state"] == "gathered":
            return
        problems = Problems()
        for entry in params["config"]:
            problems.collect(_misgiven(entry, params["state"]))
        problems.raise_any()
        _load(params)

    def open(self, params: Mapping[str, Any], warn: Warn) -> AbstractContextManager[Directory]:
        return connect(ConnectionOptions.from_params(params), warn)

    def read(self, session: Directory, params: Mapping[str, Any]) -> Mappings:
        names = [entry["user"] for entry in params.get("config") or ()]
        certificates = {} if params["state"] == "gathered" else _load(params)
        accounts = _mapped(session) if params["state"] == "gathered" and not names else _named(session, names)
        return Mappings(accounts, certificates, datetime.datetime.now(datetime.timezone.utc))

    def objects(self, current: Mappings) -> dict[str, Words]:
        return {name: _words(name, account.mappings) for name, account in current.accounts.items()}

    def plan(self, params: Mapping[str, Any], current: Mappings) -> Plan:
        problems = Problems()
        warnings: list[str] = []
        changes: list[Change] = []
        problems.collect(_same_account(current.accounts))
        owners: dict[str, str] = {}
        for entry in params["config"]:
            user, account = entry["user"], current.accounts[entry["user"]]
            certificates = current.certificates.get(user, ())
            try:
                wanted = [*(entry.get("mappings") or ()), *_strings(entry, certificates, account.sid)]
            except UserError as error:
                problems.add(f"config: {user}: certificates: {error}")
                continue
            edit = values.edit(account.dn, ATTRIBUTE, account.mappings, wanted, params["state"], _is_foreign)
            (problems.collect if params["strict"] else warnings.extend)(_weak(user, "mappings", edit.add))
            if params["state"] != "deleted":
                warnings.extend(_weak(user, "stored", [value for value in account.mappings if value not in edit.delete]))
                problems.collect(_shared(owners, user, wanted))
                warnings.extend(_certificate_warnings(user, certificates, current.now))
            if edit:
                before, after = _words(user, account.mappings), _words(user, edit.result(account.mappings))
                changes.append(Change(user, before, after, edit))
        problems.raise_any()
        return Plan(changes, warnings)

    def authorize(self, session: Directory, plan: Plan, current: Mappings) -> None:
        values.authorize(session, plan, "have the right delegated on its OU")

    def apply(self, session: Directory, change: Change) -> None:
        change.details.apply(session)

    def render(self, params: Mapping[str, Any]) -> list[Words]:
        problems = Problems()
        rendered: list[Words] = []
        certificates = _load(params)
        for entry in params["config"]:
            user = entry["user"]
            try:
                sid = Sid.parse(user) if user.upper().startswith("S-1-") else None
                wanted = values.unique([*(entry.get("mappings") or ()), *_strings(entry, certificates.get(user, ()), sid)])
            except UserError as error:
                problems.add(f"config: {user}: certificates: {error}")
                continue
            if params["strict"]:
                problems.collect(_weak(user, "mappings", wanted))
            rendered.append(_words(user, wanted))
        problems.raise_any()
        return rendered


# --- what config asks for ---


def _misgiven(entry: Words, state: str) -> Iterator[str]:
    user = entry["user"]
    if entry.get("mappings") is None and entry.get("certificates") is None:
        yield f"config: {user}: neither mappings nor certificates is given; name what to map (an empty list and state=replaced: nothing)"
    elif state == "deleted" and not entry.get("mappings") and not entry.get("certificates"):
        yield f"config: {user}: nothing to remove is named; state=replaced with an empty list of mappings removes all"
    for value in entry.get("mappings") or ():
        if _is_foreign(value):
            continue
        try:
            formats.classify(value)
        except FormatError as error:
            yield f"config: {user}: mappings: {error}"


def _load(params: Mapping[str, Any]) -> dict[str, list[Certificate]]:
    problems = Problems()
    loaded: dict[str, list[Certificate]] = {}
    for entry in params["config"]:
        for index, item in enumerate(entry.get("certificates") or ()):
            try:
                loaded.setdefault(entry["user"], []).append(sources.read(f"config: {entry['user']}: certificates[{index}]", item, load_one))
            except UserError as error:
                problems.add(str(error))
    problems.raise_any()
    return loaded


def _strings(entry: Words, certificates: Sequence[Certificate], sid: Sid | None) -> list[str]:
    """The mapping strings of the entry's certificates, each in its form."""
    strings = []
    for item, certificate in zip(entry.get("certificates") or (), certificates, strict=True):
        if item["form"] == "issuer_sid":
            if sid is None:
                raise UserError("form=issuer_sid needs the account's SID; without a server, give the user as SID")
            strings.append(formats.issuer_sid(certificate, str(sid)))
        else:
            make = {"issuer_serial": formats.issuer_serial, "ski": formats.ski, "sha1_public_key": formats.public_key}[item["form"]]
            strings.append(make(certificate))
    return strings


# --- plans ---


def _same_account(accounts: Mapping[str, Account]) -> Iterator[str]:
    names: dict[str, str] = {}
    for name, account in accounts.items():
        first = names.setdefault(account.dn.casefold(), name)
        if first != name:
            yield f"config: {first} and {name} are the same account, {account.dn}; put its mappings into one entry"


def _shared(owners: dict[str, str], user: str, wanted: Iterable[str]) -> Iterator[str]:
    """A certificate that maps to two accounts logs on as neither."""
    for value in values.unique(wanted):
        first = owners.setdefault(value.casefold(), user)
        if first != user:
            yield f"config: {user}: mappings: {value!r} is given to {first} as well; a mapping may name one account only"


def _weak(user: str, where: str, mappings: Iterable[str]) -> Iterator[str]:
    for value in mappings:
        if _is_foreign(value):
            continue
        try:
            mapping = formats.classify(value)
        except FormatError:
            yield f"{user}: {where}: {value!r} is not a certificate mapping; remove it"
            continue
        if not mapping.strong:
            yield f"{user}: {where}: {value!r} is a weak mapping ({mapping.kind}); {_REMEDY}"


def _certificate_warnings(user: str, certificates: Iterable[Certificate], now: datetime.datetime) -> Iterator[str]:
    for certificate in certificates:
        if certificate.not_after < now:
            yield f"{user}: certificates: {certificate} expired on {certificate.not_after:%Y-%m-%d}; map the account's current certificate"
        if certificate.is_ca:
            yield f"{user}: certificates: {certificate} is a CA certificate; map the account's own certificate"


def _is_foreign(value: str) -> bool:
    """Whether a value maps something other than a certificate."""
    return ":" in value and not value.casefold().startswith("x509:")


def _words(user: str, mappings: Iterable[str]) -> Words:
    return {"user": user, "mappings": values.in_order(mappings)}


# --- the directory's accounts ---

_ATTRIBUTES = ("sAMAccountName", "userPrincipalName", "objectSid", ATTRIBUTE)


def _mapped(session: Directory) -> dict[str, Account]:
    """Every account that has mappings, by sAMAccountName."""
    entries = session.search(session.domain_dn, f"(&(objectClass=user)({ATTRIBUTE}=*))", _ATTRIBUTES)
    accounts = [_account(entry) for entry in entries]
    return {account.name: account for account in sorted(accounts, key=lambda account: account.name.casefold())}


def _named(session: Directory, names: Sequence[str]) -> dict[str, Account]:
    """The accounts of these names, in one search for many; raises one `UserError` for all that are unknown or ambiguous."""
    found: dict[str, list[Account]] = {}
    for start in range(0, len(names), _BATCH):
        batch = names[start : start + _BATCH]
        filters = "".join(_filter(session, name) for name in batch)
        for entry in session.search(session.domain_dn, f"(&(objectClass=user)(|{filters}))", _ATTRIBUTES):
            account = _account(entry)
            for key in (account.name, entry.text("userPrincipalName") or "", ",".join(split_dn(account.dn)), str(account.sid)):
                matches = found.setdefault(key.casefold(), [])
                if account not in matches:
                    matches.append(account)
    problems = Problems()
    accounts = {}
    for name in names:
        matches = found.get(_plain(session, name).casefold(), [])
        if len(matches) == 1:
            accounts[name] = matches[0]
        elif matches:
            several = "; ".join(account.dn for account in matches)
            problems.add(f"config: user {name!r} means several accounts: {several}; give the DN or the SID")
        else:
            problems.add(f"config: no user {name!r} in {session.domain}; give the sAMAccountName, UPN, DN or SID of one")
    problems.raise_any()
    return accounts


def _plain(session: Directory, name: str) -> str:
    """Without the domain of `DOMAIN\\name`, where it is this one; a DN without spaces between its parts."""
    if _is_dn(name):
        return ",".join(split_dn(name))
    domain, separator, account = name.rpartition("\\")
    here = (short for short, dn in session.domains.items() if dn.casefold() == session.domain_dn.casefold())
    names = {session.domain.casefold(), *(short.casefold() for short in here)}
    return account if separator and domain.casefold() in names else name


def _filter(session: Directory, name: str) -> str:
    if name.upper().startswith("S-1-"):
        return f"(objectSid={escape_filter_bytes(bytes(Sid.parse(name)))})"
    if _is_dn(name):
        return f"(distinguishedName={escape_filter(name)})"
    attribute = "userPrincipalName" if "@" in name else "sAMAccountName"
    return f"({attribute}={escape_filter(_plain(session, name))})"


def _is_dn(name: str) -> bool:
    return "=" in name and "," in name


def _account(entry: Entry) -> Account:
    return Account(entry.text("sAMAccountName") or "", entry.dn, Sid.from_bytes(entry.raw("objectSid") or b""), entry.texts(ATTRIBUTE))
