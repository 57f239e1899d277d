# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a certificate is good as it is, and what has to be done about it (pure)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import alternative_names, chains, description, keys
from ansible_collections.certlogon.core.plugins.module_utils.certificates import request_memory as memories
from ansible_collections.certlogon.core.plugins.module_utils.certificates import web_pages as pages
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate
from ansible_collections.certlogon.core.plugins.module_utils.certificates.keys import KeyKind
from ansible_collections.certlogon.core.plugins.module_utils.certificates.request_memory import Memory
from ansible_collections.certlogon.core.plugins.module_utils.certificates.request_wishes import ELSEWHERE, ON_TOKEN, Wanted, same_issuer
from ansible_collections.certlogon.core.plugins.module_utils.certificates.revocation import HOLD, REVOKED, Revocation
from ansible_collections.certlogon.core.plugins.module_utils.certificates.signing_request import purpose_name, subject
from ansible_collections.certlogon.core.plugins.module_utils.certificates.web_pages import Answer
from ansible_collections.certlogon.core.plugins.module_utils.resource import Words

KEEP, REPAIR, REQUEST, TAKE_UP, PENDING, DENIED, REFUSED, HELD = (
    "keep",
    "repair",
    "request",
    "take_up",
    "pending",
    "denied",
    "refused",
    "held",
)
KNOWN_AFTER_APPLY = "known after apply"


@dataclass(frozen=True)
class HeldKey:
    """The private key that is there: `identity` is its SubjectPublicKeyInfo."""

    identity: bytes
    kind: KeyKind

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.identity).hexdigest()


@dataclass(frozen=True)
class Situation:
    """An entry, and everything that was found for it.

    `key` is None where it is missing or not this module's; `staged` the new key of a request under way. `issuers` are the authorities in
    the chain files. `faults` are files that have to be written anew, with the reason. `problems` is what is wrong with a certificate that
    another one would not mend. `answer` is what became of the pending request; `elsewhere` says that it pends at another authority than
    the one to be asked now.
    """

    wanted: Wanted
    certificate: Any = None
    der: bytes = b""
    unreadable: str = ""
    key: HeldKey | None = None
    staged: HeldKey | None = None
    memory: Memory | None = None
    answer: Answer | None = None
    waiting: str = ""
    elsewhere: bool = False
    issuers: Sequence[Any] = ()
    problems: Sequence[str] = ()
    faults: Sequence[tuple[str, str]] = ()
    revocation: Revocation | None = None
    files: Sequence[str] = field(default=())

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.der).hexdigest()

    @property
    def remembers_certificate(self) -> bool:
        return self.memory is not None and self.certificate is not None and self.memory.describes(self.sha256)


@dataclass(frozen=True)
class Decision:
    """`reason` says why, in words for the administrator."""

    kind: str
    reason: str = ""


def decide(found: Situation, now: datetime) -> Decision:
    """What to do about one entry."""
    reason = need(found, now)
    memory = found.memory
    same = memory is not None and dict(memory.requested) == dict(found.wanted.requested)
    if memory is not None and same and memory.status == memories.PENDING and not found.elsewhere:
        return _of_answer(found, memory, reason)
    if not reason:
        if found.revocation is not None and found.revocation.status == HOLD:
            return Decision(
                HELD, f"is on hold {found.revocation.reason}; have the hold released (adcs_revocation), or set force=true for another one"
            )
        return Decision(REPAIR, "; ".join(f"{path}: {what}" for path, what in found.faults)) if found.faults else Decision(KEEP)
    if memory is not None and same and memory.status in (memories.DENIED, memories.REFUSED) and not found.wanted.entry.get("retry_denied"):
        return Decision(DENIED if memory.status == memories.DENIED else REFUSED, memory.reason)
    return Decision(REQUEST, reason)


def _of_answer(found: Situation, memory: Memory, reason: str) -> Decision:
    answer = found.answer
    if answer is not None and answer.disposition == pages.ISSUED:
        return Decision(TAKE_UP, f"request {answer.request_id or 'by file'} was answered")
    if answer is not None and answer.disposition == pages.DENIED:
        retried = reason and found.wanted.entry.get("retry_denied")
        return Decision(REQUEST, reason) if retried else Decision(DENIED, answer.message)
    number = f"request {memory.request_id}" if memory.request_id is not None else "the request"
    words = f" ({answer.message})" if answer is not None and answer.message else ""
    where = found.waiting or f"{number} waits at {memory.authority} for an officer since {memory.since}{words}"
    return Decision(PENDING, where)


# ---- why a certificate is needed


def need(found: Situation, now: datetime) -> str:
    """Why a new certificate has to be requested; empty where the present one is good."""
    return next((reason for reason in _needs(found, now) if reason), "")


def _needs(found: Situation, now: datetime) -> Iterable[str]:
    wanted, certificate = found.wanted, found.certificate
    if certificate is None:
        yield f"the certificate {found.unreadable}" if found.unreadable else "there is no certificate"
        return
    yield _key_need(found)
    yield _request_need(found)
    if wanted.entry.get("issuer") and not same_issuer(wanted.entry["issuer"], certificate):
        yield f"issuer is {certificate.issuer.rfc4514_string()}, not {wanted.entry['issuer']}"
    if found.revocation is not None and found.revocation.status == REVOKED:
        yield f"was revoked {found.revocation.reason}"
    yield _time_need(certificate, wanted.entry.get("renew_before", 30), now)
    if wanted.entry.get("force"):
        yield "force is true"


def _key_need(found: Situation) -> str:
    wanted = found.wanted
    if wanted.key_place == ELSEWHERE:
        identity = keys.identity(wanted.csr.public_key) if wanted.csr else b""
        return "" if chains.has_key(found.certificate, identity) else "the certificate is of another key than the given request"
    if found.key is None:
        return "its key is missing"
    if not chains.has_key(found.certificate, found.key.identity):
        return "the certificate is of another key"
    if wanted.key_kind is not None and found.key.kind != wanted.key_kind:
        return f"key is {found.key.kind}, not {wanted.key_kind}"
    return ""


def _request_need(found: Situation) -> str:
    """What the request would say differently: by the memory of the last one, or without it by the certificate itself."""
    wanted = found.wanted.requested
    if found.remembers_certificate and found.memory is not None:
        before = found.memory.installed.get("requested") or {}
        changed = [name for name in sorted({*before, *wanted}) if before.get(name) != wanted.get(name)]
        return "; ".join(f"{name} changes from {before.get(name) or 'nothing'} to {wanted.get(name) or 'nothing'}" for name in changed)
    return next((one for one in _lacking(found.wanted, found.certificate) if one), "")


def _lacking(wanted: Wanted, certificate: Any) -> Iterable[str]:
    requested = wanted.requested
    if requested.get("subject") and certificate.subject != subject(requested["subject"]):
        yield f"subject is {certificate.subject.rfc4514_string() or 'empty'}, not {requested['subject']}"
    yield _lacking_names(wanted, certificate)
    yield _lacking_purposes(wanted, certificate)
    known = description.template(certificate).get("name")
    if known and requested.get("template") and known.casefold() != requested["template"].casefold():
        yield f"template is {known}, not {requested['template']}"


def _lacking_names(wanted: Wanted, certificate: Any) -> str:
    there = {alternative_names.same(name) for name in description.names(certificate)}
    missing = [name for name in wanted.names if alternative_names.same(name) not in there]
    return f"lacks the alternative names {', '.join(missing)}" if missing else ""


def _lacking_purposes(wanted: Wanted, certificate: Any) -> str:
    there = description.purposes(certificate)
    missing = [purpose_name(one) for one in wanted.purposes if there is not None and one not in there]
    return f"lacks the purposes {', '.join(missing)}" if missing else ""


def _time_need(certificate: Any, renew_before: int, now: datetime) -> str:
    expiry = certificate.not_valid_after_utc
    if expiry <= now:
        return f"expired on {expiry:%Y-%m-%d %H:%M} UTC"
    if expiry - description.window(certificate, renew_before) <= now:
        return f"expires on {expiry:%Y-%m-%d}, within {renew_before} days"
    return ""


# ---- judging what was issued


def choose(certificates: Sequence[Certificate], identity_hash: str) -> tuple[Any, list[Any]]:
    """The certificate of the key with this SHA-256, and the others; None where no certificate is of it."""
    found = chains.parsed(certificates)
    leaf = next((one for one in found if _fingerprint(one) == identity_hash), None)
    return leaf, [one for one in found if one is not leaf]


def _fingerprint(certificate: Any) -> str:
    try:
        return hashlib.sha256(keys.identity(certificate.public_key())).hexdigest()
    except Exception:  # a kind of key that the library does not know
        return ""


def unfit(wanted: Wanted, certificate: Any) -> list[str]:
    """Why a certificate that was issued is not the one that was asked for."""
    names, purposes = _lacking_names(wanted, certificate), _lacking_purposes(wanted, certificate)
    found = []
    if names:
        found.append(
            f"{names}, which template {wanted.requested.get('template', '(none)')} does not take from the request; "
            "let it be supplied there, or leave them out"
        )
    if purposes:
        found.append(f"{purposes}; use a template that has them")
    if wanted.entry.get("issuer") and not same_issuer(wanted.entry["issuer"], certificate):
        found.append(f"was issued by {certificate.issuer.rfc4514_string()}, not {wanted.entry['issuer']}; mend url or issuer")
    return found


# ---- words


def words(found: Situation) -> Words:
    """What diffs show of an entry's certificate."""
    certificate = found.certificate
    if certificate is None:
        return {}
    purposes = description.purposes(certificate)
    return {
        "subject": certificate.subject.rfc4514_string(),
        "subject_alt_names": sorted(description.names(certificate)),
        "extended_key_usage": None if purposes is None else [purpose_name(one) for one in purposes],
        "issuer": certificate.issuer.rfc4514_string(),
        "template": _template(found),
        "serial_number": description.serial(certificate.serial_number),
        "not_before": description.time_text(certificate.not_valid_before_utc),
        "not_after": description.time_text(certificate.not_valid_after_utc),
        "thumbprint": hashlib.sha1(found.der, usedforsecurity=False).hexdigest().upper(),
        "key": str(keys.kind_of(certificate.public_key())),
        "key_sha256": _fingerprint(certificate),
    }


def _template(found: Situation) -> str | None:
    remembered = (found.memory.installed.get("requested") or {}).get("template") if found.memory and found.remembers_certificate else None
    name: str | None = remembered or description.template(found.certificate).get("name")
    return name


def predicted(found: Situation, decision: Decision, now: datetime) -> Words:
    """What diffs show of the certificate that there will be."""
    if decision.kind == TAKE_UP and found.answer is not None and found.memory is not None:
        leaf, _others = choose(found.answer.certificates, found.memory.key)
        if leaf is not None:
            der = chains.encoded(leaf)
            installed = {"sha256": hashlib.sha256(der).hexdigest(), "requested": dict(found.memory.requested)}
            memory = found.memory.became(memories.ISSUED, installed=installed)
            return words(Situation(found.wanted, leaf, der, memory=memory))
    wanted = found.wanted
    requested = wanted.requested
    key = wanted.key_kind or keys.kind_of(wanted.csr.public_key if wanted.csr else None)
    identity = keys.identity(wanted.csr.public_key) if wanted.csr else b""
    if found.key is not None and not needs_new_key(found, decision):
        identity = found.key.identity
    by_template = bool(requested.get("template"))
    return {
        "subject": KNOWN_AFTER_APPLY if by_template else requested.get("subject") or (wanted.csr.subject if wanted.csr else ""),
        "subject_alt_names": KNOWN_AFTER_APPLY if by_template and not wanted.names else sorted(wanted.names),
        "extended_key_usage": KNOWN_AFTER_APPLY,
        "issuer": KNOWN_AFTER_APPLY,
        "template": requested.get("template"),
        "serial_number": KNOWN_AFTER_APPLY,
        "not_before": KNOWN_AFTER_APPLY,
        "not_after": KNOWN_AFTER_APPLY,
        "thumbprint": KNOWN_AFTER_APPLY,
        "key": str(key),
        "key_sha256": hashlib.sha256(identity).hexdigest() if identity else KNOWN_AFTER_APPLY,
    }


def needs_new_key(found: Situation, decision: Decision) -> bool:
    """Whether a request makes a new key: where there is none that fits, and on renewal unless the key is kept."""
    wanted = found.wanted
    if wanted.key_place == ELSEWHERE:
        return False
    if found.key is None or found.key.kind != wanted.key_kind:
        return True
    if wanted.key_place == ON_TOKEN or wanted.reuses_key:
        return False
    # a key that no certificate is of yet is one that somebody made for this one
    return found.certificate is not None and chains.has_key(found.certificate, found.key.identity)


def gathered(found: Situation) -> Words:
    """An entry of `config` whose certificate is there, with what the certificate says."""
    wanted, certificate = found.wanted, found.certificate
    key = (
        {"path": wanted.key_path}
        if wanted.key_path
        else {name: value for name, value in wanted.key_options.items() if name in ("uri", "module") and value}
    )
    kind = keys.kind_of(certificate.public_key()).words if certificate is not None else {}
    names = {name: wanted.entry[name] for name in ("name", "chain_path", "fullchain_path") if wanted.entry.get(name)}
    subject_text = certificate.subject.rfc4514_string()
    template = _template(found)
    return {
        "path": wanted.path,
        **names,
        **({"key": {**key, **kind}} if wanted.key_place != ELSEWHERE else {}),
        **({"subject": subject_text} if subject_text else {}),
        "subject_alt_names": [
            name for name in description.names(certificate) if name.partition(":")[0] in ("DNS", "IP", "email", "UPN", "URI", "SID")
        ],
        **({"template": template} if template else {}),
        "issuer": certificate.issuer.rfc4514_string(),
    }
