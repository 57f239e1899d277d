# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates that are kept valid: requested, renewed, verified, written."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import description, file_store
from ansible_collections.certlogon.core.plugins.module_utils.certificates import request_plan as plans
from ansible_collections.certlogon.core.plugins.module_utils.certificates.enrollment import ENROLLMENT, EnrollmentOptions
from ansible_collections.certlogon.core.plugins.module_utils.certificates.request_plan import Decision, Situation, decide
from ansible_collections.certlogon.core.plugins.module_utils.certificates.request_session import FILE, RequestSession
from ansible_collections.certlogon.core.plugins.module_utils.certificates.request_steps import Enroller
from ansible_collections.certlogon.core.plugins.module_utils.certificates.request_wishes import label, places, wish
from ansible_collections.certlogon.core.plugins.module_utils.errors import Problems, UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Change, Plan, Resource, Warn, Words

KEY: dict[str, Any] = {
    "path": {"type": "path"},
    "passphrase": {"type": "str", "no_log": True},
    "mode": {"type": "str", "default": "0600"},
    "uri": {"type": "str"},
    "pin": {"type": "str", "no_log": True},
    "module": {"type": "path"},
    "store_certificate": {"type": "bool", "default": True},
    "type": {"type": "str", "choices": ["rsa", "ec"], "default": "rsa"},
    "size": {"type": "int", "default": 2048},
    "curve": {"type": "str", "choices": ["secp256r1", "secp384r1", "secp521r1"], "default": "secp256r1"},
    "reuse": {"type": "bool"},
}

ON_BEHALF_OF: dict[str, Any] = {
    "requester": {"type": "str", "required": True},
    "agent_certificate_path": {"type": "path", "required": True},
    "agent_key_path": {"type": "path"},
    "agent_key_passphrase": {"type": "str", "no_log": True},
    "agent_key_uri": {"type": "str", "no_log": False},
    "agent_key_pin": {"type": "str", "no_log": True},
    "agent_key_module": {"type": "path"},
}

OPTIONS: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "name": {"type": "str"},
    "chain_path": {"type": "path"},
    "fullchain_path": {"type": "path"},
    "pfx_path": {"type": "path"},
    "pfx_passphrase": {"type": "str", "no_log": True},
    "pfx_encryption": {"type": "str", "choices": ["aes", "compatible"], "default": "aes"},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "mode": {"type": "str", "default": "0644"},
    "key": {"type": "dict", "no_log": False, "options": KEY, "mutually_exclusive": [("path", "uri")], "required_by": {"pin": ["uri"]}},
    "csr_path": {"type": "path"},
    "csr_content": {"type": "str"},
    "subject": {"type": "str"},
    "subject_alt_names": {"type": "list", "elements": "str"},
    "sid": {"type": "str"},
    "extended_key_usage": {"type": "list", "elements": "str"},
    "template": {"type": "str"},
    "request_attributes": {"type": "dict"},
    "issuer": {"type": "str"},
    "digest": {"type": "str", "choices": ["sha256", "sha384", "sha512"], "default": "sha256"},
    "on_behalf_of": {
        "type": "dict",
        "options": ON_BEHALF_OF,
        "mutually_exclusive": [("agent_key_path", "agent_key_uri")],
        "required_one_of": [("agent_key_path", "agent_key_uri")],
    },
    "renew_before": {"type": "int", "default": 30},
    "force": {"type": "bool", "default": False},
    "retry_denied": {"type": "bool", "default": False},
    "anchor_path": {"type": "path"},
    "crl_check": {"type": "str", "choices": ["ignore", "warn", "fail"], "default": "warn"},
    "request_path": {"type": "path"},
    "answer_path": {"type": "path"},
}


LOCK_SECONDS = 600
"""How long to wait for another run in the same folder; it may have hundreds of certificates to request."""

_STATUS = {
    plans.KEEP: "valid",
    plans.REPAIR: "valid",
    plans.REQUEST: "due",
    plans.TAKE_UP: "due",
    plans.PENDING: "pending",
    plans.DENIED: "denied",
    plans.REFUSED: "refused",
    plans.HELD: "valid",
}


@dataclass(frozen=True)
class Found:
    """What there is for every entry, and the time by which it is judged."""

    situations: Sequence[Situation]
    authority: str
    now: datetime


@dataclass(frozen=True)
class Step:
    """What `apply` needs besides the words."""

    found: Situation
    decision: Decision


class CertificateRequest(Resource[RequestSession, Found]):
    key = "path"
    states = ("merged", "deleted", "gathered")
    connection = ENROLLMENT
    options = OPTIONS
    constraints = {"required_if": [("state", "gathered", ["config"])]}

    def identify(self, entry: Words) -> str:
        return label(entry)

    def distinguish(self, entry: Words) -> str:
        return str(Path(entry["path"]).absolute())

    def check(self, params: Mapping[str, Any]) -> None:
        options = EnrollmentOptions.from_params(params)
        problems = Problems()
        names = [label(entry).casefold() for entry in params["config"]]
        problems.collect(
            f"config: two entries are called {name!r}; give each its own name"
            for name in sorted({one for one in names if names.count(one) > 1})
        )
        if params["state"] == "merged":
            for entry in params["config"]:
                try:
                    wish(entry, options.method)
                except UserError as error:
                    problems.add(str(error))
        problems.raise_any()

    @contextmanager
    def open(self, params: Mapping[str, Any], warn: Warn) -> Iterator[RequestSession]:
        session = RequestSession(EnrollmentOptions.from_params(params), warn)
        folders = [str(Path(entry["path"]).absolute().parent) for entry in params["config"]]
        # whoever waits here reads afterwards, and finds what the other run did
        with file_store.locked(folders if params["state"] != "gathered" else [], LOCK_SECONDS):
            try:
                yield session
            finally:
                session.close()

    def read(self, session: RequestSession, params: Mapping[str, Any]) -> Found:
        asks = params["state"] == "merged"
        understand = wish if asks else places
        wishes = [understand(entry, session.options.method) for entry in params["config"]]
        session.situations = [session.look(one, ask=asks) if asks else _files_only(session, one) for one in wishes]
        return Found(session.situations, session.authority, session.now())

    def objects(self, current: Found) -> dict[str, Words]:
        return {found.wanted.label: plans.gathered(found) for found in current.situations if found.certificate is not None}

    def settled(self, change: Change, params: Mapping[str, Any], current: Found) -> bool:
        if params["state"] != "merged":
            return False
        found = next(one for one in current.situations if one.wanted.label == change.name)
        unforced = replace(found, wanted=replace(found.wanted, entry={**found.wanted.entry, "force": False}))
        written = (change.after or {}).get("thumbprint")
        same = written in (None, plans.KNOWN_AFTER_APPLY) or written == plans.words(found).get("thumbprint")
        return same and decide(unforced, current.now).kind in (plans.KEEP, plans.PENDING, plans.TAKE_UP, plans.HELD)

    # ---- plan

    def plan(self, params: Mapping[str, Any], current: Found) -> Plan:
        if params["state"] == "deleted":
            return Plan([_removal(found) for found in current.situations if found.files])
        steps = [Step(found, decide(found, current.now)) for found in current.situations]
        _check_authority(steps, current.authority)
        changes = [_change(step, current.now) for step in steps if step.decision.kind in (plans.REQUEST, plans.TAKE_UP, plans.REPAIR)]
        return Plan(changes, [warning for step in steps for warning in _warnings(step, current.now)])

    def authorize(self, session: RequestSession, plan: Plan, current: Found) -> None:
        problems = Problems()
        for change in plan.changes:
            problems.collect(_unwritable(change.details.found))
        problems.raise_any()

    def apply(self, session: RequestSession, change: Change) -> None:
        step: Step = change.details
        if change.after is None:
            for path in step.found.files:
                file_store.remove(path)
            return
        enroller = Enroller(session, step.found)
        if step.decision.kind == plans.REPAIR:
            enroller.repair()
            return
        if step.decision.kind == plans.TAKE_UP:
            enroller.take_up()
        else:
            enroller.request(step.decision)
        # what was known after apply only is known now; the diff shows it
        change.after.clear()
        change.after.update(_now_known(session, step.found))

    def complete(self, session: RequestSession, params: Mapping[str, Any], report: Words) -> Words:
        if params["state"] != "merged":
            return report
        now = session.now()
        failed = {entry["name"]: entry["msg"] for entry in report["changes"] if entry.get("failed")}
        results, failures = [], []
        for found in session.situations:
            decision = decide(found, now)
            results.append(_result(session, found, decision, failed.get(found.wanted.label), now))
            failure = _failure(found, decision, now)
            if failure and found.wanted.label not in failed:
                failures.append(f"{found.wanted.label}: {failure}")
        report = {**report, "certificates": results}
        if session.asked is not None:
            report["authority"] = {"round_trips": session.asked.round_trips, "sign_ins": session.asked.sign_ins}
        if failures:
            report.update(failed=True, msg="\n".join([*([report["msg"]] if report.get("msg") else []), *failures]))
        return report


def _files_only(session: RequestSession, wanted: Any) -> Situation:
    """Removing and gathering look at no key and ask nobody."""
    found = session.look(replace(wanted, key_place="elsewhere"), ask=False)
    return replace(found, wanted=wanted, files=tuple(session.files(wanted)))


def _now_known(session: RequestSession, before: Situation) -> Words:
    """What there is after the step: the new certificate, or the old one while the request for another is pending."""
    words, status = plans.words(session.look(before.wanted, ask=False)), session.outcomes[before.wanted.path].status
    return words if status == "valid" else {**words, "status": status}


def _change(step: Step, now: datetime) -> Change:
    found, decision = step.found, step.decision
    if decision.kind == plans.REPAIR:
        return Change(found.wanted.label, {"files": [f"{path} {what}" for path, what in found.faults]}, {"files": []}, step)
    before = plans.words(found) or None
    return Change(found.wanted.label, before, plans.predicted(found, decision, now), step)


def _removal(found: Situation) -> Change:
    before = {**plans.words(found), "files": list(found.files)}
    return Change(found.wanted.label, before, None, Step(found, Decision(plans.KEEP)))


def _check_authority(steps: Sequence[Step], authority: str) -> None:
    if not authority and any(step.decision.kind == plans.REQUEST for step in steps):
        names = ", ".join(step.found.wanted.label for step in steps if step.decision.kind == plans.REQUEST)
        raise UserError(f"url: {names} has to be requested, but there is no authority; set url, such as https://ca1.corp.example/certsrv")


def _unwritable(found: Situation) -> Iterator[str]:
    wanted = found.wanted
    paths = [wanted.path, *wanted.outputs.values(), wanted.key_path, wanted.entry.get("pfx_path")]
    if wanted.method == FILE:
        paths.append(wanted.request_path)
    for folder in sorted({Path(path).absolute().parent for path in paths if path}):
        if not os.access(folder, os.W_OK | os.X_OK):
            yield f"{wanted.label}: the account of this run may not write in {folder}; let it, or run the task with become"
    if os.geteuid() != 0 and wanted.public.owner not in (None, os.geteuid()):
        yield f"{wanted.label}: owner: only root gives files to another user; run the task with become"


def _warnings(step: Step, now: datetime) -> Iterator[str]:
    found, decision = step.found, step.decision
    name = found.wanted.label
    mode = found.wanted.entry.get("crl_check", "warn")
    if decision.kind in (plans.KEEP, plans.REPAIR, plans.PENDING, plans.DENIED, plans.REFUSED):
        yield from (f"{name}: {problem}" for problem in found.problems)
        if found.revocation is not None and mode == "warn":
            yield from found.revocation.problems
    if decision.kind == plans.PENDING:
        yield f"{name}: {decision.reason}"
    if decision.kind in (plans.DENIED, plans.REFUSED) and not _failure(found, decision, now):
        yield f"{name}: {_again(decision)}; the present certificate lasts until {found.certificate.not_valid_after_utc:%Y-%m-%d}"
    yield from _short_lived(found)


def _short_lived(found: Situation) -> Iterator[str]:
    certificate = found.certificate
    if certificate is None:
        return
    days = found.wanted.entry.get("renew_before", 30)
    if timedelta(days=days) > description.window(certificate, days):
        lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        yield (
            f"{found.wanted.label}: renew_before ({days} days) is more than half of the certificate's lifetime "
            f"({lifetime.days} days); half counts"
        )


def _again(decision: Decision) -> str:
    return (
        f"{decision.reason}. It is not asked again; mend the cause and set retry_denied=true (in roles certlogon_enrollment_retry_denied, "
        "of cards certlogon_card_retry_denied), or change the request"
    )


def _failure(found: Situation, decision: Decision, now: datetime) -> str:
    """Why the task fails though it had nothing to do: the certificate is not there, or not to be trusted."""
    usable = found.certificate is not None and found.certificate.not_valid_after_utc > now
    if decision.kind in (plans.DENIED, plans.REFUSED) and not usable:
        return _again(decision)
    if decision.kind == plans.HELD:
        return decision.reason
    if found.revocation is not None and found.wanted.entry.get("crl_check") == "fail" and decision.kind in (plans.KEEP, plans.REPAIR):
        return "; ".join((*found.revocation.problems, "or set crl_check=warn")) if found.revocation.problems else ""
    return ""


def _result(session: RequestSession, found: Situation, decision: Decision, error: str | None, now: datetime) -> Words:
    outcome = session.outcomes.get(found.wanted.path)
    status = outcome.status if outcome else _STATUS[decision.kind]
    if error and status in ("valid", "due"):
        status = "failed"
    reason = error or (outcome.reason if outcome else "") or decision.reason
    memory = found.memory
    number = outcome.request_id if outcome and outcome.request_id is not None else memory.request_id if memory else None
    result: Words = {"name": found.wanted.label, "path": found.wanted.path, "status": status}
    if reason:
        result["reason"] = reason
    if number is not None:
        result["request_id"] = number
    if status == "pending" and session.authority == FILE:
        result["request_path"] = found.wanted.request_path
    if found.certificate is not None:
        result.update(description.identity(found.certificate, found.der, now))
    return result
