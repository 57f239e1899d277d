# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrying out what was decided about one entry: request, take up, repair, remove.

The new key is on disk before the request is sent, and the memory knows the request's number before the certificate is fetched: whatever
happens in between, the next run goes on from there. The old pair is replaced only by a complete, verified new one.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import (
    chains,
    description,
    enrollment_agent,
    file_store,
    keys,
    request_memory,
    revocation,
    signing_request,
)
from ansible_collections.certlogon.core.plugins.module_utils.certificates import web_pages as pages
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate
from ansible_collections.certlogon.core.plugins.module_utils.certificates.chains import Chain
from ansible_collections.certlogon.core.plugins.module_utils.certificates.file_store import Staged
from ansible_collections.certlogon.core.plugins.module_utils.certificates.hresults import explain
from ansible_collections.certlogon.core.plugins.module_utils.certificates.request_memory import Memory
from ansible_collections.certlogon.core.plugins.module_utils.certificates.request_plan import (
    Decision,
    Situation,
    choose,
    needs_new_key,
    unfit,
)
from ansible_collections.certlogon.core.plugins.module_utils.certificates.request_session import (
    FILE,
    Outcome,
    RequestSession,
    facts,
    private_key,
)
from ansible_collections.certlogon.core.plugins.module_utils.certificates.request_wishes import ELSEWHERE, IN_FILE, ON_TOKEN, Wanted
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import crypto, pkcs12


class Enroller:
    """The steps for one entry."""

    def __init__(self, session: RequestSession, found: Situation) -> None:
        self._session = session
        self._found = found
        self._wanted = found.wanted

    # ---- request

    def request(self, decision: Decision) -> None:
        """Raises `UserError` where the authority refuses, or what it issues does not fit."""
        key, staged = self._obtain_key(decision)
        wanted, session = self._wanted, self._session
        identity = keys.identity(wanted.csr.public_key if wanted.csr else key.public_key())
        content = wanted.csr.der if wanted.csr else self._build(key)
        memory = Memory(
            status=request_memory.SUBMITTED,
            requested=dict(wanted.requested),
            authority=session.authority,
            key=hashlib.sha256(identity).hexdigest(),
            since=description.time_text(session.now()),
            installed=self._found.memory.installed if self._found.memory and self._found.remembers_certificate else {},
        )
        if session.authority == FILE:
            self._hand_over(content, memory)
        else:
            self._submit(content, memory, key, staged)

    def _obtain_key(self, decision: Decision) -> tuple[Any, bool]:
        """The key to request for, and whether it is a new one that waits in its file beside the old one."""
        wanted = self._wanted
        if wanted.key_place == ELSEWHERE:
            return None, False
        if wanted.key_place == ON_TOKEN:
            return self._token_key(decision), False
        if not needs_new_key(self._found, decision):
            return private_key(wanted.key_path or "", wanted), False
        return self._staged_key(), True

    def _staged_key(self) -> Any:
        wanted, memory, staged = self._wanted, self._found.memory, self._found.staged
        # the key of a run that ended before its request had an answer
        if memory is not None and memory.status == request_memory.SUBMITTED and staged is not None and staged.kind == wanted.key_kind:
            return private_key(wanted.staged_key_path, wanted)
        if wanted.key_kind is None:
            raise AssertionError("a key in a file has a kind")
        key = keys.generate(wanted.key_kind)
        file_store.write(wanted.staged_key_path, keys.pem(key, wanted.key_options.get("passphrase")), wanted.secret)
        return key

    def _token_key(self, decision: Decision) -> Any:
        wanted, kind = self._wanted, self._wanted.key_kind
        token = self._session.token_of(wanted)
        if not needs_new_key(self._found, decision):
            return token.find_key()
        if kind is None:
            raise AssertionError("a key on a token has a kind")
        name = token.uri.object or wanted.label
        if self._found.key is not None:
            raise UserError(
                f"key.uri: the key {name!r} on the token is {self._found.key.kind}, not {kind}; name another label in key.uri, "
                "or delete that key"
            )
        return token.generate_rsa(name, kind.size or 2048) if kind.type == "rsa" else token.generate_ec(name, kind.curve or "secp256r1")

    def _build(self, key: Any) -> bytes:
        wanted, requested = self._wanted, self._wanted.requested
        return signing_request.build(
            key,
            subject_text=requested.get("subject", ""),
            names=wanted.names,
            purposes=wanted.purposes,
            template=requested.get("template") if self._session.authority != FILE else None,
            sid=requested.get("sid"),
            digest=wanted.entry.get("digest") or "sha256",
        )

    def _hand_over(self, content: bytes, memory: Memory) -> None:
        wanted = self._wanted
        file_store.write(wanted.request_path, signing_request.pem(content).encode(), wanted.public)
        self._remember(memory.became(request_memory.PENDING))
        self._note("pending", f"give {wanted.request_path} to the authority and put its answer into {wanted.answer_path}")

    def _submit(self, content: bytes, memory: Memory, key: Any, staged: bool) -> None:
        wanted, session = self._wanted, self._session
        attributes = {
            **({"CertificateTemplate": wanted.requested["template"]} if wanted.requested.get("template") else {}),
            **wanted.requested.get("request_attributes", {}),
        }
        if wanted.agent:
            content = self._wrap(content, wanted.agent)
        self._remember(memory)
        answer = session.web.submit(content, attributes)
        memory = memory.became(request_memory.PENDING, request_id=answer.request_id)
        if answer.disposition == pages.DENIED:
            self._denied(answer, memory, staged)
        self._remember(memory)
        if answer.disposition == pages.PENDING or answer.request_id is None:
            self._note("pending", f"request {answer.request_id} waits at {session.authority} for an officer", answer.request_id)
            return
        fetched = session.web.retrieve(answer.request_id, chain=not self._knows_chain())
        if fetched.disposition != pages.ISSUED:
            raise UserError(
                f"request {answer.request_id} was issued, but its certificate is not handed out: {fetched.message}; run again to fetch it"
            )
        self._install(fetched.certificates, memory)

    def _knows_chain(self) -> bool:
        """Whether this session has met the authority's chain already, so that one more certificate needs no more of it."""
        return bool(self._session.chain)

    def _wrap(self, content: bytes, agent: Certificate) -> bytes:
        options = self._wanted.entry["on_behalf_of"]
        if options.get("agent_key_uri"):
            key = self._session.token(options["agent_key_uri"], options.get("agent_key_pin"), options.get("agent_key_module")).find_key()
        else:
            path = options["agent_key_path"]
            data = file_store.read(path)
            if data is None:
                raise UserError(f"on_behalf_of.agent_key_path: {path} is not there; give the file of the agent's key")
            try:
                key = keys.load(data, options.get("agent_key_passphrase"))
            except UserError as error:
                raise UserError(f"on_behalf_of.agent_key_path ({path}): {error}") from error
        return enrollment_agent.wrap(content, options["requester"], agent.der, key, self._wanted.entry.get("digest") or "sha256")

    def _denied(self, answer: pages.Answer, memory: Memory, staged: bool) -> None:
        number = f"request {answer.request_id}" if answer.request_id is not None else "the request"
        reason = f"{number} was denied: {explain(answer.code, answer.message, facts(self._session, self._wanted))}"
        self._remember(memory.became(request_memory.DENIED, reason=reason))
        if staged:
            file_store.remove(self._wanted.staged_key_path)
        self._note("denied", reason, answer.request_id)
        raise UserError(reason)

    # ---- take up

    def take_up(self) -> None:
        """Install the answer to a pending request. Raises `UserError`."""
        found = self._found
        if found.answer is None or found.memory is None:
            raise AssertionError("only an answered request is taken up")
        self._install(found.answer.certificates, found.memory)

    def _install(self, certificates: Sequence[Certificate], memory: Memory) -> None:
        leaf, others = choose(certificates, memory.key)
        self._check_fit(leaf, certificates, memory)
        self._check_time(leaf)
        chain = self._chain(leaf, others)
        self._check_revocation(leaf, chain)
        self._put(leaf, chain, memory)
        self._note("valid", "", memory.request_id)

    def _check_fit(self, leaf: Any, certificates: Sequence[Certificate], memory: Memory) -> None:
        other = f"is of another key ({'; '.join(one.subject for one in certificates)})"
        reasons = [other] if leaf is None else unfit(self._wanted, leaf)
        if reasons:
            number = f" to request {memory.request_id}" if memory.request_id is not None else ""
            reason = f"the certificate that was issued{number} {'; it '.join(reasons)}"
            self._remember(memory.became(request_memory.REFUSED, reason=reason))
            self._note("refused", reason, memory.request_id)
            raise UserError(f"{reason}. What was there before is left as it is")

    def _check_time(self, leaf: Any) -> None:
        now = self._session.now()
        if leaf.not_valid_before_utc > now:
            raise UserError(
                f"the certificate is issued, but not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC, and it is "
                f"{now:%Y-%m-%d %H:%M:%S} here; set the clocks of this machine and of the CA's host right, and run again to take it up"
            )
        if leaf.not_valid_after_utc <= now:
            raise UserError(
                f"the certificate is issued, but expired on {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC already, and it is "
                f"{now:%Y-%m-%d %H:%M} here; set the clocks right, or look at the validity period of the template"
            )

    def _chain(self, leaf: Any, others: Sequence[Any]) -> Chain:
        """The chain from what came with the certificate, what is there, and what the authority hands out. Raises `UserError`."""
        session, anchors = self._session, self._wanted.anchors
        chain = chains.build(leaf, [*others, *session.chain, *self._found.issuers], anchors, session.now())
        if chain.problems and session.authority != FILE and not session.chain_asked:
            session.chain_asked = True
            session.chain += [one for one in chains.parsed(session.web.chain()) if one not in session.chain]
            chain = chains.build(leaf, [*others, *session.chain, *self._found.issuers], anchors, session.now())
        if chain.problems:
            place = "put the authorities' certificates into the answer file too, or name them with anchor_path"
            remedy = place if session.authority == FILE else "mend anchor_path, or renew the authority's certificate"
            raise UserError(f"the certificate is issued, but {'; '.join(chain.problems)}; {remedy}, and run again to take it up")
        session.chain += [one for one in chain.above if one not in session.chain]
        return chain

    def _check_revocation(self, leaf: Any, chain: Chain) -> None:
        session, mode = self._session, self._wanted.entry.get("crl_check", "warn")
        if mode == "ignore":
            return
        found = revocation.check(leaf, chain.issuer, session.crls, session.now())
        if found.status in (revocation.REVOKED, revocation.HOLD):
            raise UserError(f"the certificate is issued, but on the CRL {found.reason}; ask the authority")
        if found.problems and mode == "fail":
            raise UserError(
                f"the certificate is issued, but cannot be checked for revocation: {'; '.join(found.problems)}; or set crl_check=warn. "
                "Run again to take it up"
            )
        for problem in found.problems:
            session.warn_once(problem)

    # ---- files

    def _put(self, leaf: Any, chain: Chain, memory: Memory) -> None:
        """Everything is on disk before the first file is replaced; the key and its certificate are replaced together."""
        wanted = self._wanted
        staged_key = self._key_of(memory)
        if wanted.key_place == ON_TOKEN and wanted.key_options.get("store_certificate", True):
            token = self._session.token_of(wanted)
            key = token.find_key()
            token.store_certificate(key.label, key.id, chains.encoded(leaf))
        with Staged() as staged:
            if staged_key is not None and wanted.key_path:
                staged.add(wanted.key_path, keys.pem(staged_key, wanted.key_options.get("passphrase")), wanted.secret)
            staged.add(wanted.path, chains.pem([leaf]), wanted.public)
            self._add_chain(staged, leaf, chain)
            if wanted.entry.get("pfx_path"):
                key = staged_key if staged_key is not None else private_key(wanted.key_path or "", wanted)
                staged.add(wanted.entry["pfx_path"], pfx(wanted, key, leaf, chain), wanted.secret)
            installed = {
                "sha256": hashlib.sha256(chains.encoded(leaf)).hexdigest(),
                "requested": dict(memory.requested),
                "chain": [base64.b64encode(chains.encoded(one)).decode() for one in chain.above],
            }
            done = memory.became(request_memory.ISSUED, installed=installed, reason="")
            staged.add(request_memory.path(wanted.path), request_memory.dump(done), wanted.public)
            staged.commit()
        if wanted.key_place == IN_FILE:
            file_store.remove(wanted.staged_key_path)

    def _key_of(self, memory: Memory) -> Any:
        """The new key that belongs to the request; None where the one in place does. Raises `UserError` where neither does."""
        wanted = self._wanted
        if wanted.key_place != IN_FILE:
            return None
        for path in (wanted.staged_key_path, wanted.key_path or ""):
            key = private_key(path, wanted)
            if key is not None and hashlib.sha256(keys.identity(key.public_key())).hexdigest() == memory.key:
                return key if path == wanted.staged_key_path else None
        raise UserError(
            f"the certificate is issued, but the key that it was requested for is neither in {wanted.staged_key_path} nor in "
            f"{wanted.key_path}; restore it, or remove {request_memory.path(wanted.path)} to request another one"
        )

    def _add_chain(self, staged: Staged, leaf: Any, chain: Chain) -> None:
        for kind, path in self._wanted.outputs.items():
            staged.add(path, chain_file(kind, leaf, chain), self._wanted.public)

    def repair(self) -> None:
        """Write files anew whose content, mode or owner is not what it should be. Raises `UserError`."""
        found, wanted = self._found, self._wanted
        contents = {path for path, what in found.faults if not what.startswith("has another ")}
        if contents:
            chain = (
                self._chain(found.certificate, [])
                if contents & {*wanted.outputs.values()} or not found.issuers
                else Chain(tuple(found.issuers), ())
            )
            with Staged() as staged:
                for kind, path in wanted.outputs.items():
                    if path in contents:
                        staged.add(path, chain_file(kind, found.certificate, chain), wanted.public)
                if wanted.entry.get("pfx_path") in contents:
                    key = private_key(wanted.key_path or "", wanted)
                    staged.add(wanted.entry["pfx_path"], pfx(wanted, key, found.certificate, chain), wanted.secret)
                staged.commit()
        for path in {path for path, _what in found.faults} - contents:
            secret = path in (wanted.key_path, wanted.entry.get("pfx_path"))
            file_store.change_attributes(path, wanted.secret if secret else wanted.public)
        self._note("valid")

    def _remember(self, memory: Memory) -> None:
        request_memory.save(self._wanted.path, memory, self._wanted.public)

    def _note(self, status: str, reason: str = "", request_id: int | None = None) -> None:
        self._session.outcomes[self._wanted.path] = Outcome(status, reason, request_id)


def chain_file(kind: str, leaf: Any, chain: Chain) -> bytes:
    """PEM of the authorities, or of the certificate and the authorities between it and the root."""
    if kind == "chain":
        return chains.pem(chain.above)
    return chains.pem([leaf, *(one for one in chain.above if not chains.self_issued(one))])


def pfx(wanted: Wanted, key: Any, leaf: Any, chain: Chain) -> bytes:
    """PKCS#12 of key, certificate and chain (RFC 7292)."""
    serialization, algorithms = crypto.serialization, pkcs12.PBES
    builder = serialization.PrivateFormat.PKCS12.encryption_builder()
    if wanted.entry.get("pfx_encryption") == "compatible":
        builder = builder.kdf_rounds(50000).key_cert_algorithm(algorithms.PBESv1SHA1And3KeyTripleDESCBC).hmac_hash(crypto.hashes.SHA1())
    else:
        builder = builder.kdf_rounds(50000).key_cert_algorithm(algorithms.PBESv2SHA256AndAES256CBC).hmac_hash(crypto.hashes.SHA256())
    sealing = builder.build(wanted.entry["pfx_passphrase"].encode())
    return bytes(pkcs12.serialize_key_and_certificates(wanted.label.encode(), key, leaf, chain.above, sealing))
