# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts with certificates or mappings: read in pages, judged while they are read, and let go.

The filter leaves accounts without either to the server, so that a domain of a hundred thousand users costs what its certificates cost.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import certificate as certificates
from ansible_collections.certlogon.core.plugins.module_utils.certificates import mappings as formats
from ansible_collections.certlogon.core.plugins.module_utils.certificates.logon_certificate import LogonCertificate, read
from ansible_collections.certlogon.core.plugins.module_utils.compliance.annexes import Annexes
from ansible_collections.certlogon.core.plugins.module_utils.compliance.catalogue import load
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judges.mappings import (
    Account,
    LogonAuthorities,
    plain_mapping,
    plain_name,
)
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judging import LISTED, Stream
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts, Unread, Verdict, unknown
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation
from ansible_collections.certlogon.core.plugins.module_utils.directory import mapping_rights
from ansible_collections.certlogon.core.plugins.module_utils.directory.names import escape_filter_bytes
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import SecurityDescriptor, Sid
from ansible_collections.certlogon.core.plugins.module_utils.directory.session import AccessDenied, Directory, Entry
from ansible_collections.certlogon.core.plugins.module_utils.directory.trusted_certificates import CERTIFICATES, NTAUTH, PLACEHOLDER
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import x509

OPTIONS: Mapping[str, Any] = {}
FACTS = ("accounts", "privileged_accounts")

STREAM = "accounts"
"""Which is the name of the fact, too, that says whether it was read."""
PEOPLE = "(sAMAccountType=805306368)"
"""Users, by an attribute of another property set than what may be hidden: with Public-Information, objectClass is too."""

SAMPLE = 1000
"""Accounts whose permissions are looked at, to know whether the server hides something."""

FILTER = "(|(userCertificate=*)(userSMIMECertificate=*)(altSecurityIdentities=*))"
"""Contacts have certificates too; that they are no accounts is cheaper to see here than to ask of a server for each object."""

ATTRIBUTES = (
    "sAMAccountName",
    "userPrincipalName",
    "objectSid",
    "userAccountControl",
    "adminCount",
    "userCertificate",
    "userSMIMECertificate",
    "altSecurityIdentities",
)
_OF_ACCOUNTS = ("objectSid", "sAMAccountName", "userAccountControl")
_DISABLED = 0x2
"""ADS_UF_ACCOUNT_DISABLE of userAccountControl ([MS-ADTS] 2.2.16)."""

_OWNER_AND_DACL = 0x5
"""OWNER_SECURITY_INFORMATION and DACL_SECURITY_INFORMATION ([MS-ADTS] 3.1.1.3.4.1.11)."""


def observe(directory: Directory, params: Mapping[str, Any], observation: Observation) -> None:
    """`accounts`: how many were seen, after all controls of the stream `accounts` judged them. `privileged_accounts`: user accounts that
    AdminSDHolder protects, each with who can write its mappings."""
    try:
        observation.set("privileged_accounts", privileged(directory))
    except UserError as error:
        observation.set("privileged_accounts", _unread(error, "Read adminCount and permissions of user accounts"))
    judge(directory, params, observation)


def judge(directory: Directory, params: Mapping[str, Any], observation: Observation) -> None:
    now = datetime.datetime.fromisoformat(observation.at)
    authorities = read_logon_authorities(directory)
    facts = Facts(
        observation.target,
        {**observation.facts, "logon_authorities": authorities.words() if isinstance(authorities, Unread) else authorities},
        now,
    )
    seen = {"accounts": 0, "certificates": 0, "mappings": 0}
    with Annexes(Path(params["folder"]), observation.target) as annexes:
        stream = Stream(load().of("domain", STREAM), facts, params["parameters"], annexes)
        try:
            for account in accounts(directory):
                seen["accounts"] += 1
                seen["certificates"] += len(account.certificates) + len(account.unreadable)
                seen["mappings"] += len(account.mappings)
                stream.feed(account)
            for verdict in _hidden(directory, observation.target.name):
                for result in stream.results:
                    result.add(verdict, LISTED)
            observation.set("accounts", seen)
        except UserError as error:
            # what was judged until then stays; that there is more, nobody can deny
            unread = _unread(error, "Read userCertificate and altSecurityIdentities of all accounts")
            observation.set("accounts", unread)
            for result in stream.results:
                result.add(unknown(observation.target.name, f"accounts: {unread.reason}", right=unread.right), LISTED)
    observation.take(stream.results)
    observation.annexes.update(annexes.files)


# --- reading ---


def accounts(directory: Directory) -> Iterator[Account]:
    """Each account that has certificates or mappings. Which mappings were seen before is kept as numbers of 64 bits."""
    seen: dict[int, str] = {}
    for entry in directory.stream(directory.domain_dn, FILTER, ATTRIBUTES):
        if any(map(entry.has, _OF_ACCOUNTS)):
            yield account(entry, directory.domain, seen)


def account(entry: Entry, domain: str, seen: dict[int, str]) -> Account:
    """`seen`: whose each mapping is, by its hash; what the account has is added."""
    name = entry.text("sAMAccountName") or entry.dn
    readable: list[LogonCertificate] = []
    unreadable: list[str] = []
    for attribute in ("userCertificate", "userSMIMECertificate"):
        for place, value in enumerate(entry.raws(attribute)):
            if value == PLACEHOLDER:
                continue
            try:
                readable += [read(value)] if attribute == "userCertificate" else [read(one.der) for one in certificates.load(value)]
            except FormatError as error:
                unreadable.append(f"{attribute}[{place}] {error}")
    mappings = [value for value in entry.texts("altSecurityIdentities") if not _foreign(value)]
    sid = entry.raw("objectSid")
    return Account(
        name=name,
        sid=str(Sid.from_bytes(sid)) if sid else "",
        upn=entry.text("userPrincipalName") or "",
        implicit=f"{name}@{domain}",
        enabled=not (entry.integer("userAccountControl") or 0) & _DISABLED,
        privileged=entry.integer("adminCount") == 1,
        certificates=readable,
        unreadable=unreadable,
        mappings=mappings,
        shared={} if not mappings else {value: other for value in mappings if (other := _first(seen, value, name)) != name},
    )


def _first(seen: dict[int, str], mapping: str, name: str) -> str:
    """The account that had this mapping first."""
    return seen.setdefault(hash(plain_mapping(mapping)), name)


def _foreign(value: str) -> bool:
    """Whether a value maps something other than a certificate, such as a Kerberos principal."""
    return ":" in value and not value.casefold().startswith("x509:")


def read_logon_authorities(directory: Directory) -> LogonAuthorities | Unread:
    try:
        entry = directory.get(f"CN={NTAUTH},{directory.public_key_services}", [CERTIFICATES])
    except UserError as error:
        return _unread(error, f"Read {CERTIFICATES} of CN={NTAUTH}")
    return logon_authorities(entry.raws(CERTIFICATES) if entry else ())


def logon_authorities(ders: Iterable[bytes]) -> LogonAuthorities:
    """By the certificates of NTAuthCertificates; what is none of them is left to the control that judges that store."""
    keys: dict[bytes, set[bytes]] = {}
    names = set()
    for der in ders:
        try:
            whole = certificates.load_one(der)
        except FormatError:
            continue
        subject = x509.load_der_x509_certificate(der).subject
        words = [[(part.oid.dotted_string, str(part.value)) for part in relative] for relative in subject.rdns]
        keys.setdefault(subject.public_bytes(), set()).add(whole.ski or b"")
        names.add(plain_name(formats.windows_name(words)))
    return LogonAuthorities({name: frozenset(found) for name, found in keys.items()}, frozenset(names))


# --- what the server leaves out ---


def _hidden(directory: Directory, name: str) -> Iterator[Verdict]:
    """Servers leave out what may not be read as if it were not there; the permissions of the first accounts tell whether they do."""
    root = directory.get("", ["tokenGroups"])
    token = frozenset(Sid.from_bytes(sid) for sid in (root.raws("tokenGroups") if root else ()))
    entries = list(islice(directory.stream(directory.domain_dn, PEOPLE, ("nTSecurityDescriptor",), descriptor=_OWNER_AND_DACL), SAMPLE))
    sampled, closed, secret, example = len(entries), 0, Counter[str](), ""
    for entry in entries:
        try:
            attributes = mapping_rights.hidden(SecurityDescriptor.parse(entry.raw("nTSecurityDescriptor") or b""), token) if token else None
        except FormatError:
            attributes = None
        if attributes is None:
            closed += 1
            continue
        secret.update(attributes)
        example = example or (entry.dn if attributes else "")
    if secret:
        counts = ", ".join(f"{attribute} of {count}" for attribute, count in sorted(secret.items()))
        text = f"Of {sampled} accounts, the account that looks may not read {counts}, such as {example}; what they have is not seen."
        yield unknown(name, text, right=f"Read {', '.join(sorted(secret))}", hidden=dict(secret))
    if closed:
        text = f"Of {sampled} accounts, the permissions of {closed} cannot be read, and so not whether all that they have is seen."
        yield unknown(name, text, right="Read Permissions")


# --- privileged accounts ---


def privileged(directory: Directory) -> list[dict[str, Any]]:
    """User accounts that AdminSDHolder protects (adminCount is 1), with those who can write altSecurityIdentities.

    Each writer: sid, name, rights, and whether it is protected itself: by what it is, or by a group that it is in; None where that
    cannot be read.
    """
    attributes = ("sAMAccountName", "objectSid", "nTSecurityDescriptor")
    entries = directory.search(directory.domain_dn, "(&(objectClass=user)(adminCount=1))", attributes, descriptor=_OWNER_AND_DACL)
    found = []
    strangers: dict[Sid, None] = {}
    for entry in entries:
        sid = entry.raw("objectSid")
        words: dict[str, Any] = {"name": entry.text("sAMAccountName") or entry.dn, "sid": str(Sid.from_bytes(sid)) if sid else ""}
        descriptor = entry.raw("nTSecurityDescriptor")
        try:
            words["writers"] = mapping_rights.writers(SecurityDescriptor.parse(descriptor)) if descriptor else ()
            if not descriptor:
                words["unread"] = "the server does not show nTSecurityDescriptor"
        except FormatError as error:
            words["unread"] = str(error)
            words["writers"] = ()
        strangers.update(dict.fromkeys(sid for sid, _rights in words["writers"] if not mapping_rights.is_protected(sid)))
        found.append(words)
    protected = {sid: _in_protected_group(directory, sid) for sid in strangers}
    names = directory.principal_names({sid for words in found for sid, _rights in words["writers"]})
    for words in found:
        words["writers"] = [
            {"sid": str(sid), "name": names[sid], "rights": list(rights), "protected": protected.get(sid, True)}
            for sid, rights in words["writers"]
        ]
    return found


def _in_protected_group(directory: Directory, sid: Sid) -> bool | None:
    """Whether a principal is in a protected group, directly or not; None where that cannot be read."""
    if sid.domain is None:
        return False
    try:
        entries = directory.search(directory.domain_dn, f"(objectSid={escape_filter_bytes(bytes(sid))})", ["1.1"])
        if not entries:
            return None if sid.domain != directory.domain_sid else False
        entry = directory.get(entries[0].dn, ["tokenGroups"])
    except UserError:
        return None
    groups: Sequence[bytes] = entry.raws("tokenGroups") if entry else ()
    if not groups:
        return None
    return any(mapping_rights.is_protected(Sid.from_bytes(group)) for group in groups)


def _unread(error: UserError, right: str) -> Unread:
    return Unread(" ".join(str(error).split()), right if isinstance(error, AccessDenied) else "")
