# SPDX-License-Identifier: GPL-3.0-or-later
"""Which certificates log on as whom: the certificates in the directory, altSecurityIdentities, and who may write that (pure).

All but one of these judges are called for each of perhaps a hundred thousand accounts: what passes is one constant, and a verdict is
made only where there is something to say.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import certificate as certificates
from ansible_collections.certlogon.core.plugins.module_utils.certificates import mappings as formats
from ansible_collections.certlogon.core.plugins.module_utils.certificates.logon_certificate import LogonCertificate
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts, Verdict, failed, passed, unknown
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError

PASSED = passed("")
"""Of subjects that are only counted."""

WEAK_FORMS = {
    "issuer_subject": "issuer and subject, which the CA gives again to whoever asks for that subject",
    "subject": "a subject, which any CA may put into a certificate",
    "rfc822": "an e-mail address, which any CA may put into a certificate",
}

_FORMS: Mapping[str, Callable[[certificates.Certificate], str]] = {
    "issuer_serial": formats.issuer_serial,
    "ski": formats.ski,
    "sha1_public_key": formats.public_key,
}
_MINIMA = {"rsa": "rsa_bits", "1.2.840.10040.4.1": "rsa_bits", "ec": "ec_bits"}
_ID = {"1.2.840.10040.4.1": "dsa", "1.3.101.112": "ed25519", "1.3.101.113": "ed448"}


@dataclass
class Account:
    """An account that has certificates or mappings.

    `certificates` are those of the directory that can be read, `unreadable` says of each other what is wrong with it. `mappings` are
    those values of altSecurityIdentities that map certificates; `shared` the accounts that have the same one, by mapping. `implicit` is
    the user principal name that the account has where it is not given one.
    """

    name: str
    sid: str
    upn: str = ""
    implicit: str = ""
    enabled: bool = True
    privileged: bool = False
    certificates: Sequence[LogonCertificate] = ()
    unreadable: Sequence[str] = ()
    mappings: Sequence[str] = ()
    shared: Mapping[str, str] = field(default_factory=dict)

    @property
    def evidence(self) -> dict[str, Any]:
        found: dict[str, Any] = {"account": self.name, "sid": self.sid}
        if self.privileged:
            found["adminCount"] = 1
        return found


@dataclass(frozen=True)
class Issued:
    """A valid certificate in a CA's database; None, and the reason, where it cannot be read."""

    request: int
    requester: str
    template: str
    certificate: LogonCertificate | None
    unreadable: str = ""

    @property
    def evidence(self) -> dict[str, Any]:
        found: dict[str, Any] = {"request": self.request, "account": self.requester, "template": self.template}
        if self.certificate is not None:
            found |= {"sid": self.certificate.sid, "serial": self.certificate.serial_number}
        return found


@dataclass(frozen=True)
class LogonAuthorities:
    """The CAs whose certificates log on: those of NTAuthCertificates. Key identifiers by the DER of the name, and the names as text."""

    keys: Mapping[bytes, frozenset[bytes]]
    names: frozenset[str]


Verdicts = Iterable[Verdict]


# --- each account's certificates ---


def readable(account: Account, facts: Facts, parameters: Mapping[str, Any]) -> Verdicts:
    if account.unreadable:
        return [
            failed(f"{account.name}, {where}", f"A value in the directory is no certificate: {where} {text}.", **account.evidence)
            for where, _separator, text in (item.partition(" ") for item in account.unreadable)
        ]
    return (PASSED,) if account.certificates else ()


def bound(account: Account, facts: Facts, parameters: Mapping[str, Any]) -> Verdicts:
    """Of certificates that log on today: is the account named by the CA, or the certificate by the account?"""
    found = []
    for certificate in _in_use(account, facts):
        mapped = bool(certificate.sid or certificate.sid_names) or _mapped(account, certificate)
        if mapped:
            found.append(PASSED)
        elif mapped is None:
            text = f"Whether a mapping of {account.name} names the certificate {certificate.serial_number} cannot be told: it is malformed."
            found.append(unknown(f"{account.name}: certificate {certificate.serial_number}", text, **account.evidence))
        else:
            found.append(
                _failed(
                    account,
                    certificate,
                    "has no SID of the account, and no strong mapping of the account names it: domain controllers refuse it",
                    upn=", ".join(certificate.upns),
                    altSecurityIdentities=list(account.mappings),
                )
            )
    if account.unreadable:
        found.append(unknown(account.name, "Of its certificates, some cannot be read.", **account.evidence))
    return found


def own_sid(account: Account, facts: Facts, parameters: Mapping[str, Any]) -> Verdicts:
    found = []
    for certificate in account.certificates:
        if not (certificate.sid or certificate.sid_names):
            continue
        others = [sid for sid in {certificate.sid, *certificate.sid_names} - {""} if sid != account.sid]
        if others:
            found.append(
                _failed(
                    account,
                    certificate,
                    f"names the SID of another account, {', '.join(sorted(others))}",
                    certificate_sid=", ".join(sorted(others)),
                )
            )
        else:
            found.append(PASSED)
    return found


def own_name(account: Account, facts: Facts, parameters: Mapping[str, Any]) -> Verdicts:
    found = []
    for certificate in _in_use(account, facts):
        if not certificate.upns:
            continue
        if all(upn.casefold() in (account.upn.casefold(), account.implicit.casefold()) for upn in certificate.upns):
            found.append(PASSED)
        else:
            names = ", ".join(certificate.upns)
            found.append(
                _failed(
                    account,
                    certificate,
                    f"is made out to {names}, but the account is {account.upn or account.implicit}",
                    upn=names,
                    userPrincipalName=account.upn or account.implicit,
                )
            )
    return found


def from_logon_authority(account: Account, facts: Facts, parameters: Mapping[str, Any]) -> Verdicts:
    found = []
    for certificate in _in_use(account, facts):
        trusted: LogonAuthorities = facts["logon_authorities"]
        keys = trusted.keys.get(certificate.issuer)
        if keys is not None and (not certificate.aki or certificate.aki in keys or b"" in keys):
            found.append(PASSED)
            continue
        issuer = certificate.issuer_name
        text = (
            f"is of a CA that is not in NTAuthCertificates, {issuer}"
            if keys is None
            else f"is signed with another key of {issuer} than those that NTAuthCertificates has"
        )
        found.append(_failed(account, certificate, text, issuer=issuer, authority_key_identifier=certificate.aki.hex()))
    return found


def unexpired(account: Account, facts: Facts, parameters: Mapping[str, Any]) -> Verdicts:
    now = _moment(facts.now)
    return [
        PASSED
        if certificate.not_after >= now
        else _failed(account, certificate, f"expired on {_date(certificate.not_after)}", not_after=_date(certificate.not_after))
        for certificate in account.certificates
    ]


def strong(account: Account, facts: Facts, parameters: Mapping[str, Any]) -> Verdicts:
    found = []
    for certificate in account.certificates:
        if _expired(certificate, facts):
            continue
        weakness = _weakness(certificate, parameters)
        words = {"key": _key(certificate), "signature_hash": certificate.signature_hash} if weakness else {}
        found.append(_failed(account, certificate, weakness, **words) if weakness else PASSED)
    return found


def of_enabled_account(account: Account, facts: Facts, parameters: Mapping[str, Any]) -> Verdicts:
    found = []
    for certificate in account.certificates:
        if _expired(certificate, facts):
            continue
        if account.enabled:
            found.append(PASSED)
        else:
            text = f"is valid until {_date(certificate.not_after)}, while the account is disabled"
            found.append(_failed(account, certificate, text, not_after=_date(certificate.not_after)))
    return found


# --- each account's mappings ---


def strong_mapping(account: Account, facts: Facts, parameters: Mapping[str, Any]) -> Verdicts:
    found = []
    for value in account.mappings:
        mapping = _classified(value)
        if mapping is None:
            continue
        if mapping.strong:
            found.append(PASSED)
        else:
            text = f"A mapping of {account.name} names {WEAK_FORMS[mapping.kind]}."
            found.append(failed(f"{account.name}: {value}", text, **account.evidence, form=mapping.kind, altSecurityIdentities=value))
    return found


def valid_mapping(account: Account, facts: Facts, parameters: Mapping[str, Any]) -> Verdicts:
    found = []
    for value in account.mappings:
        try:
            formats.classify(value)
        except FormatError as error:
            text = f"Domain controllers do not understand a mapping of {account.name}: {error}."
            found.append(failed(f"{account.name}: {value}", text, **account.evidence, altSecurityIdentities=value))
        else:
            found.append(PASSED)
    return found


def mapping_to_logon_authority(account: Account, facts: Facts, parameters: Mapping[str, Any]) -> Verdicts:
    found = []
    for value in account.mappings:
        mapping = _classified(value)
        if mapping is None or not mapping.kind.startswith("issuer_"):
            continue
        trusted: LogonAuthorities = facts["logon_authorities"]
        issuer = plain_name(mapping.values[0])
        if issuer in trusted.names:
            found.append(PASSED)
            continue
        turned = ",".join(reversed(issuer.split(",")))
        text = (
            f"A mapping of {account.name} names its issuer in reverse order, {mapping.values[0]}."
            if turned in trusted.names
            else f"A mapping of {account.name} names a CA that is not in NTAuthCertificates, {mapping.values[0]}."
        )
        found.append(failed(f"{account.name}: {value}", text, **account.evidence, issuer=mapping.values[0], altSecurityIdentities=value))
    return found


def own_mapping(account: Account, facts: Facts, parameters: Mapping[str, Any]) -> Verdicts:
    """A certificate that maps to two accounts logs on as neither, or as the one that was asked for."""
    return [
        failed(
            f"{account.name}: {value}",
            f"{account.name} and {account.shared[value]} have the same mapping.",
            **account.evidence,
            other=account.shared[value],
            altSecurityIdentities=value,
        )
        if value in account.shared
        else PASSED
        for value in account.mappings
    ]


# --- each certificate that a CA has issued ---


def issued_bound(issued: Issued, facts: Facts, parameters: Mapping[str, Any]) -> Verdicts:
    certificate = issued.certificate
    if certificate is None:
        return [_unreadable(issued)]
    if not certificate.logs_on:
        return ()
    if certificate.sid or certificate.sid_names:
        return (PASSED,)
    return [
        _failed_issued(
            issued, "names no SID: domain controllers refuse it unless a strong mapping names it", upn=", ".join(certificate.upns)
        )
    ]


def issued_one_sid(issued: Issued, facts: Facts, parameters: Mapping[str, Any]) -> Verdicts:
    if issued.certificate is None:
        return [_unreadable(issued)]
    sids = sorted({issued.certificate.sid, *issued.certificate.sid_names} - {""})
    if len(sids) < 2:
        return (PASSED,) if sids else ()
    return [_failed_issued(issued, f"names the SIDs {' and '.join(sids)}", sids=sids)]


def issued_strong(issued: Issued, facts: Facts, parameters: Mapping[str, Any]) -> Verdicts:
    certificate = issued.certificate
    if certificate is None:
        return [_unreadable(issued)]
    weakness = _weakness(certificate, parameters)
    if not weakness:
        return (PASSED,)
    return [_failed_issued(issued, weakness, key=_key(certificate), signature_hash=certificate.signature_hash)]


def _unreadable(issued: Issued) -> Verdict:
    return unknown(f"request {issued.request}", f"The certificate in the CA's database {issued.unreadable}.", **issued.evidence)


def _failed_issued(issued: Issued, text: str, **evidence: Any) -> Verdict:
    sentence = f"The certificate of request {issued.request}, which {issued.requester} made, {text}."
    return failed(f"request {issued.request}", sentence, **issued.evidence, **evidence)


# --- who may write mappings of privileged accounts ---


def mapping_writers(facts: Facts, parameters: Mapping[str, Any]) -> Iterator[Verdict]:
    trusted = {str(name).casefold() for name in parameters["trusted"]}
    for account in facts["privileged_accounts"]:
        name, evidence = account["name"], {"account": account["name"], "sid": account["sid"]}
        if "unread" in account:
            yield unknown(name, f"Its permissions cannot be read: {account['unread']}.", right="Read Permissions", **evidence)
            continue
        writers = [writer for writer in account["writers"] if not {writer["sid"].casefold(), writer["name"].casefold()} & trusted]
        others = [writer for writer in writers if writer["protected"] is False]
        unclear = [writer for writer in writers if writer["protected"] is None]
        if others:
            who = "; ".join(f"{writer['name']} ({', '.join(writer['rights'])})" for writer in others)
            text = f"Without being privileged, {who} can write altSecurityIdentities, and so log on as {name}."
            yield failed(name, text, **evidence, writers=others)
        elif unclear:
            who = ", ".join(writer["name"] for writer in unclear)
            text = f"{who} can write altSecurityIdentities, and whether that is a member of a privileged group cannot be read."
            yield unknown(name, text, right="Read tokenGroups of that account", **evidence, writers=unclear)
        else:
            yield passed(name)


# --- shared ---


def _in_use(account: Account, facts: Facts) -> list[LogonCertificate]:
    """The certificates that log on today."""
    if not account.enabled:
        return []
    now = _moment(facts.now)
    return [each for each in account.certificates if each.logs_on and each.not_after >= now]


def _expired(certificate: LogonCertificate, facts: Facts) -> bool:
    return certificate.not_after < _moment(facts.now)


def _mapped(account: Account, certificate: LogonCertificate) -> bool | None:
    """Whether a strong mapping of the account names this certificate; None where it is malformed in what was not looked at before."""
    wanted = {plain_mapping(value) for value in account.mappings if (mapping := _classified(value)) is not None and mapping.strong}
    if not wanted:
        return False
    try:
        whole = certificates.load_one(certificate.der)
    except FormatError:
        return None
    for make in _FORMS.values():
        try:
            if plain_mapping(make(whole)) in wanted:
                return True
        except UserError:
            continue
    return False


def plain_mapping(value: str) -> str:
    """What two spellings of a mapping have in common."""
    return value.casefold().replace(", ", ",").replace(" ", "")


def plain_name(name: str) -> str:
    """What two spellings of a name in a mapping have in common."""
    return name.casefold().replace(" ", "")


def _classified(value: str) -> formats.Mapping | None:
    try:
        return formats.classify(value)
    except FormatError:
        return None


def _weakness(certificate: LogonCertificate, parameters: Mapping[str, Any]) -> str:
    minimum = _MINIMA.get(certificate.key)
    if minimum and 0 < certificate.key_bits < parameters[minimum]:
        return f"has a key of {certificate.key_bits} bits ({_key(certificate)}), fewer than {parameters[minimum]}"
    if certificate.signature_hash in certificates.WEAK_HASHES:
        return f"is signed with {certificate.signature_hash.upper()}"
    return ""


def _key(certificate: LogonCertificate) -> str:
    return f"{_ID.get(certificate.key, certificate.key)} {certificate.key_bits or ''}".strip()


def _failed(account: Account, certificate: LogonCertificate, text: str, **evidence: Any) -> Verdict:
    serial = certificate.serial_number
    return failed(
        f"{account.name}: certificate {serial}",
        f"The certificate {serial} of {account.name} {text}.",
        **account.evidence,
        serial=serial,
        **evidence,
    )


@lru_cache(maxsize=16)
def _moment(now: datetime.datetime) -> bytes:
    return now.strftime("%Y%m%d%H%M%SZ").encode()


def _date(moment: bytes) -> str:
    text = moment.decode()
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}"
