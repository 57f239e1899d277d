# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task of `certificate_request` holds open: the web enrolment, tokens, CRLs; and what there is to be found for each entry."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import chains, file_store, keys, request_memory, revocation
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import load
from ansible_collections.certlogon.core.plugins.module_utils.certificates.enrollment import EnrollmentOptions
from ansible_collections.certlogon.core.plugins.module_utils.certificates.hresults import explain
from ansible_collections.certlogon.core.plugins.module_utils.certificates.request_memory import PENDING, Memory
from ansible_collections.certlogon.core.plugins.module_utils.certificates.request_plan import HeldKey, Situation, choose
from ansible_collections.certlogon.core.plugins.module_utils.certificates.request_wishes import IN_FILE, ON_TOKEN, Wanted
from ansible_collections.certlogon.core.plugins.module_utils.certificates.revocation import CrlSource
from ansible_collections.certlogon.core.plugins.module_utils.certificates.token_errors import NoSuchKey
from ansible_collections.certlogon.core.plugins.module_utils.certificates.web_pages import DENIED, ISSUED, Answer
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import pkcs12, x509
from ansible_collections.certlogon.core.plugins.module_utils.resource import Warn

if TYPE_CHECKING:
    from ansible_collections.certlogon.core.plugins.module_utils.certificates import pkcs11 as tokens
    from ansible_collections.certlogon.core.plugins.module_utils.certificates.web_enrollment import WebEnrollment

FILE = "file"


@dataclass
class Outcome:
    """What became of an entry in this run, as far as the files do not tell."""

    status: str
    reason: str = ""
    request_id: int | None = None


class RequestSession:
    """Knows no policy. Everything is opened when it is first needed, and only then.

    `chain` are the authorities that the task has met, `outcomes` what became of each entry, by path, `situations` the last read.
    """

    def __init__(self, options: EnrollmentOptions, warn: Warn) -> None:
        self.options = options
        self.warn = warn
        self.crls = CrlSource(options.timeout)
        self.outcomes: dict[str, Outcome] = {}
        self.situations: Sequence[Situation] = ()
        self.chain: list[Any] = []
        self.chain_asked = False
        self._web: WebEnrollment | None = None
        self._tokens: dict[tuple[str, str | None, str | None], tokens.Token] = {}
        self._answers: dict[int, Answer] = {}
        self._warned: set[str] = set()

    @property
    def web(self) -> WebEnrollment:
        if self._web is None:
            # only now: most runs ask no authority, and what it takes to sign in to one is the larger half of all that is loaded
            from ansible_collections.certlogon.core.plugins.module_utils.certificates.web_enrollment import WebEnrollment

            self._web = WebEnrollment(self.options, self.warn)
        return self._web

    @property
    def asked(self) -> WebEnrollment | None:
        """The web enrolment, if it was asked at all."""
        return self._web

    @property
    def authority(self) -> str:
        return FILE if self.options.method == FILE else self.options.url

    def now(self) -> datetime:
        return datetime.now(timezone.utc)

    def warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self.warn(text)

    def close(self) -> None:
        if self._web is not None:
            self._web.__exit__(None, None, None)
        for token in self._tokens.values():
            token.close()

    def token(self, uri: str, pin: str | None, module: str | None) -> tokens.Token:
        """Raises `TokenError`."""
        key = (uri, pin, module)
        if key not in self._tokens:
            # only now, as above
            from ansible_collections.certlogon.core.plugins.module_utils.certificates import pkcs11 as tokens

            self._tokens[key] = tokens.open_token(uri, pin, module)
        return self._tokens[key]

    def token_of(self, wanted: Wanted) -> tokens.Token:
        options = wanted.key_options
        return self.token(options["uri"], options.get("pin"), options.get("module"))

    # ---- what there is

    def look(self, wanted: Wanted, *, ask: bool) -> Situation:
        """Everything about one entry. With `ask`, pending requests are asked for and CRLs fetched. Raises `UserError`."""
        found = self._certificate(wanted)
        found = replace(found, key=self._key(wanted), staged=self._staged(wanted), memory=request_memory.load(wanted.path))
        if found.certificate is not None:
            found = replace(found, issuers=tuple(_issuers(found)))
            found = self._judged(found, ask)
        if ask:
            found = self._asked(found)
        return replace(found, files=tuple(_files(wanted)))

    def files(self, wanted: Wanted) -> list[str]:
        return _files(wanted)

    def _certificate(self, wanted: Wanted) -> Situation:
        data = file_store.read(wanted.path)
        if data is None:
            return Situation(wanted)
        try:
            first = load(data)[0]
        except FormatError as error:
            return Situation(wanted, unreadable=str(error))
        return Situation(wanted, x509.load_der_x509_certificate(first.der), first.der)

    def _key(self, wanted: Wanted) -> HeldKey | None:
        if wanted.key_place == ON_TOKEN:
            try:
                return _held(self.token_of(wanted).find_key())
            except NoSuchKey:
                return None
        if wanted.key_place != IN_FILE or wanted.key_path is None:
            return None
        key = private_key(wanted.key_path, wanted)
        return None if key is None else _held(key)

    def _staged(self, wanted: Wanted) -> HeldKey | None:
        if wanted.key_place != IN_FILE:
            return None
        try:
            key = private_key(wanted.staged_key_path, wanted)
        except UserError:
            return None
        return None if key is None else _held(key)

    def _judged(self, found: Situation, ask: bool) -> Situation:
        chain = chains.build(found.certificate, found.issuers, found.wanted.anchors, self.now())
        # a chain that nobody asked to keep is not there to be judged
        known = bool(found.issuers) or found.wanted.anchors is not None
        revoked = None
        if ask and found.wanted.entry.get("crl_check", "warn") != "ignore":
            revoked = revocation.check(found.certificate, chain.issuer, self.crls, self.now())
        return replace(found, problems=chain.problems if known else (), faults=tuple(_faults(found, chain.above)), revocation=revoked)

    def _asked(self, found: Situation) -> Situation:
        memory = found.memory
        if memory is None or memory.status != PENDING:
            return found
        if memory.authority != self.authority:
            # without an address nobody is asked, and the request goes on waiting where it is
            return replace(found, elsewhere=bool(self.authority))
        if memory.authority == FILE:
            return self._taken_from_file(found, memory)
        if memory.request_id is None:
            return found
        return replace(found, answer=self._answer(memory.request_id, found.wanted))

    def _answer(self, request_id: int, wanted: Wanted) -> Answer:
        if request_id not in self._answers:
            answer = self.web.retrieve(request_id, chain=True)
            if answer.disposition == DENIED:
                answer = replace(
                    answer, message=f"request {request_id} was denied: {explain(answer.code, answer.message, facts(self, wanted))}"
                )
            self._answers[request_id] = answer
        return self._answers[request_id]

    def _taken_from_file(self, found: Situation, memory: Memory) -> Situation:
        wanted = found.wanted
        path = wanted.answer_path
        data = file_store.read(path)
        if data is None:
            waiting = f"give {wanted.request_path} to the authority and put its answer into {path}; waiting since {memory.since}"
            return replace(found, waiting=waiting)
        try:
            certificates = load(data)
        except FormatError as error:
            raise FormatError(
                f"{wanted.label}: answer_path ({path}): {error}; save the authority's answer as PEM, DER or PKCS#7"
            ) from error
        leaf, _others = choose(certificates, memory.key)
        if leaf is None:
            of = "; ".join(one.subject for one in certificates)
            waiting = (
                f"{path} holds no certificate of the requested key, but of {of}; give {wanted.request_path} to the authority once more"
            )
            return replace(found, waiting=waiting)
        return replace(found, answer=Answer(ISSUED, certificates=tuple(certificates)))


def facts(session: RequestSession, wanted: Wanted) -> Mapping[str, str]:
    """Who asks for what, for the explanation of a refusal."""
    return {
        "account": session.options.username or "the account of the ticket",
        "template": str(wanted.requested.get("template") or "(none)"),
        "requester": str(wanted.requested.get("requester") or "(itself)"),
    }


def private_key(path: str, wanted: Wanted) -> Any:
    """The library's key; None where there is no file. Raises `UserError`."""
    data = file_store.read(path)
    if data is None:
        return None
    try:
        return keys.load(data, wanted.key_options.get("passphrase"))
    except UserError as error:
        raise UserError(f"{wanted.label}: key.path ({path}): {error}; it is left as it is") from error


def _held(key: Any) -> HeldKey:
    public = key.public_key()
    return HeldKey(keys.identity(public), keys.kind_of(public))


def _issuers(found: Situation) -> list[Any]:
    """The authorities in the chain files and in the memory; unreadable ones are a fault, found elsewhere."""
    issuers: list[Any] = []
    for path in found.wanted.outputs.values():
        issuers += [one for one in _loaded(path) if one not in issuers]
    if found.memory is not None and found.remembers_certificate:
        try:
            remembered = chains.parsed(one for text in found.memory.chain for one in load(text))
        except FormatError:
            remembered = []
        issuers += [one for one in remembered if one not in issuers]
    return issuers


def _loaded(path: str) -> list[Any]:
    data = file_store.read(path)
    try:
        return chains.parsed(load(data)) if data else []
    except FormatError:
        return []


def _faults(found: Situation, above: Sequence[Any]) -> list[tuple[str, str]]:
    """Files whose content, mode or owner is not what it should be; content first."""
    wanted, certificate = found.wanted, found.certificate
    faults = []
    for kind, path in wanted.outputs.items():
        stored = _loaded(path)
        if kind == "fullchain" and stored[:1] != [certificate]:
            faults.append((path, "is missing" if not stored else "does not begin with the certificate"))
        if kind == "chain" and not chains.self_issued(certificate) and not (stored and above and stored[0] == above[0]):
            faults.append((path, "is missing" if not stored else "is not the chain of the certificate"))
    if wanted.entry.get("pfx_path") and found.key is not None and not _pfx_fits(wanted, certificate):
        faults.append((wanted.entry["pfx_path"], "does not hold the certificate and its key, or has another passphrase"))
    secrets = [path for path in (wanted.key_path, wanted.entry.get("pfx_path")) if path]
    for paths, attributes in (((wanted.path, *wanted.outputs.values()), wanted.public), (secrets, wanted.secret)):
        for path in paths:
            if Path(path).exists() and not any(path == one for one, _what in faults):
                faults += [(path, f"has another {name}") for name in file_store.differs(path, attributes)]
    return faults


def _pfx_fits(wanted: Wanted, certificate: Any) -> bool:
    data = file_store.read(wanted.entry["pfx_path"])
    if data is None:
        return False
    try:
        key, stored, _further = pkcs12.load_key_and_certificates(data, wanted.entry["pfx_passphrase"].encode())
    except Exception:  # the library has no exception of its own for a wrong passphrase
        return False
    return stored == certificate and key is not None and chains.has_key(certificate, keys.identity(key.public_key()))


def _files(wanted: Wanted) -> list[str]:
    """The files of an entry that are there, the memory last."""
    paths = [wanted.path, *wanted.outputs.values(), wanted.entry.get("pfx_path")]
    if wanted.key_path:
        paths += [wanted.key_path, wanted.staged_key_path]
    if wanted.method == FILE:
        paths.append(wanted.request_path)
    paths.append(request_memory.path(wanted.path))
    return [path for path in paths if path and os.path.lexists(path)]
