# SPDX-License-Identifier: GPL-3.0-or-later
"""The trusted client CAs of an appliance. What makes one the same is the SHA-256 of its certificate; names are for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import crl_source
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate, judge, load_one
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import crl_check
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import trusted_client_ca_words as wording
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.client import ApplianceSession, appliance
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.connection import CONNECTION
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.crl_check import Checker, Fetch, Look, Verdicts
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.table import Shape
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.trusted_client_ca_words import Wanted, label, wish
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, Problems, UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Change, Plan, Resource, Warn, Words

RESOURCE = "trusted_client_ca"
CONTROLLER, DELEGATE, SKIP = "controller", "delegate", "skip"
AFTER_APPLY = "known after apply"

EXTRA: dict[str, Any] = {
    "cdp_check": {"type": "str", "choices": [CONTROLLER, DELEGATE, SKIP], "default": CONTROLLER},
    "cdp_required": {"type": "bool", "default": False},
    "cdp_timeout": {"type": "int", "default": 30},
    "crl_ends_before_download": {"type": "str", "choices": [crl_check.WARN, crl_check.FAIL], "default": crl_check.WARN},
    "update_crl": {"type": "bool", "default": False},
    "expected_certificates": {"type": "list", "elements": "path", "default": []},
}


@dataclass(frozen=True)
class Known:
    """A CA as the appliance has it; `name` is its key there, `secrets` which passwords it has."""

    name: str
    certificate: Certificate
    settings: Words
    secrets: frozenset[str]

    @property
    def words(self) -> Words:
        return {"name": self.name, "certificate": wording.content(self.certificate), **self.settings}


@dataclass(frozen=True)
class Current:
    """What there is, by SHA-256; `now` is the time to judge certificates by."""

    known: Mapping[str, Known]
    now: datetime


@dataclass(frozen=True, repr=False)
class Step:
    """What `apply` needs besides the words. `imports` is the certificate to bring, `settings` what it is to have then (None: as it is)."""

    certificate: Certificate
    name: str | None = None
    imports: bool = False
    import_name: str | None = None
    settings: Words | None = None
    secrets: Mapping[str, str] = field(default_factory=dict)
    looks: Sequence[Look] = ()
    update_crl: bool = False


@dataclass
class CaSession:
    """The appliance, and what was found out about CRLs."""

    appliance: ApplianceSession
    warn: Warn
    params: Mapping[str, Any]
    verdicts: Verdicts = field(default_factory=Verdicts)

    @property
    def shape(self) -> Shape:
        shape: Shape = self.appliance.table.resource(RESOURCE)
        return shape


class TrustedClientCas(Resource[CaSession, Current]):
    connection = CONNECTION
    options = wording.OPTIONS
    extra = EXTRA

    def __init__(self, fetch: Fetch = crl_source.fetch) -> None:
        self._fetch = fetch

    def identify(self, entry: Words) -> str:
        return str(entry.get("name") or wording.where(entry))

    def distinguish(self, entry: Words) -> str:
        item = entry.get("certificate") or {}
        return "|".join(str(item.get(part) or "") for part in ("path", "content", "sha256", "subject")) if item else self.identify(entry)

    # ---- before anything is connected

    def check(self, params: Mapping[str, Any]) -> None:
        problems = Problems()
        if params.get("cdp_timeout", 1) < 1:
            problems.add(f"cdp_timeout: {params['cdp_timeout']} is no number of seconds from 1 on")
        seen: dict[str, str] = {}
        for entry in _there(params) if params["state"] != "gathered" else []:
            try:
                wanted = wish(entry)
            except UserError as error:
                problems.add(str(error))
                continue
            if wanted.certificate and wanted.certificate.sha256 in seen:
                first = seen[wanted.certificate.sha256]
                problems.add(f"{wanted.where}: {label(wanted.certificate)} is also that of {first}; put all of its options into one entry")
            elif wanted.certificate:
                seen[wanted.certificate.sha256] = wanted.where
        problems.raise_any()

    @contextmanager
    def open(self, params: Mapping[str, Any], warn: Warn) -> Iterator[CaSession]:
        with appliance(params, warn) as session:
            yield CaSession(session, warn, params)

    def read(self, session: CaSession, params: Mapping[str, Any]) -> Current:
        found = [_known(session.shape, wire) for wire in session.appliance.list(RESOURCE)]
        return Current({one.certificate.sha256: one for one in found}, datetime.now(timezone.utc))

    def objects(self, current: Current) -> dict[str, Words]:
        return {label(one.certificate): one.words for one in current.known.values()}

    def shown(self, words: Words) -> Words:
        item = words.get("certificate")
        return {**words, "certificate": wording.described(load_one(item["content"]))} if isinstance(item, Mapping) else words

    def settled(self, change: Change, params: Mapping[str, Any], current: Current) -> bool:
        """What was predicted of names and passwords cannot be read back; an update of the CRL changes no setting."""
        step: Step = change.details
        found = current.known.get(step.certificate.sha256)
        if change.after is None or found is None:
            return False
        return step.update_crl or step.settings is None or found.settings == step.settings

    # ---- plan

    def plan(self, params: Mapping[str, Any], current: Current) -> Plan:
        wishes = [wish(entry) for entry in _there(params)]
        if params["state"] == "deleted":
            return _removals(wishes, current)
        plan = _Planner(params, current, wishes).plan()
        return Plan([*plan.changes, *map(_foreseen, _awaited(params))], plan.warnings)

    def authorize(self, session: CaSession, plan: Plan, current: Current) -> None:
        """Look at the CRLs that the appliance will rely on: whoever cannot fetch one denies everybody."""
        params = session.params
        if params["cdp_check"] == SKIP:
            return
        where = "the control node" if params["cdp_check"] == CONTROLLER else "the host that the task is delegated to"
        checker = Checker(
            self._fetch,
            params["cdp_timeout"],
            required=params["cdp_required"],
            ending=params["crl_ends_before_download"],
            where=where,
        )
        for change in plan.changes:
            step: Step | None = change.details
            for look in step.looks if step else ():
                checker.look(change.name, look, _frequency(change.details), current.now, session.verdicts)
        for text in dict.fromkeys(session.verdicts.warnings):
            session.warn(text)
        problems = Problems()
        problems.collect(session.verdicts.errors)
        problems.raise_any()

    # ---- apply

    def apply(self, session: CaSession, change: Change) -> None:
        if change.details is None:
            raise UserError("its certificate was to be there by now; expected_certificates is for check mode")
        step: Step = change.details
        if change.after is None:
            _delete(session, step, change)
        elif step.update_crl:
            _update_crl(session, step)
        else:
            _write(session, step, change)

    def complete(self, session: CaSession, params: Mapping[str, Any], report: Words) -> Words:
        return {**report, "crls": session.verdicts.crls} if "changes" in report else report

    def render(self, params: Mapping[str, Any]) -> list[Words]:
        found = []
        for wanted in map(wish, params["config"]):
            settings = _place(wanted.where, lambda one=wanted: wording.merged({}, one.given, "rendered"))
            for certificate in (wanted.certificate, *wanted.above):
                item = {"certificate": wording.content(certificate)} if certificate else {}
                own = certificate == wanted.certificate
                name = (wanted.entry.get("name") if own else None) or (certificate.common_name if certificate else None)
                found.append({**wording.tidy({"name": name}), **item, **(settings if own else {})})
        return found


def _awaited(params: Mapping[str, Any]) -> list[Words]:
    """The entries whose certificate an earlier play would have written by now."""
    expected = {str(path) for path in params.get("expected_certificates") or ()}
    paths = [((entry.get("certificate") or {}).get("path"), entry) for entry in params.get("config") or []]
    return [entry for path, entry in paths if path in expected and not Path(path).exists()]


def _there(params: Mapping[str, Any]) -> list[Words]:
    awaited = _awaited(params)
    return [entry for entry in params.get("config") or [] if entry not in awaited]


def _foreseen(entry: Words) -> Change:
    path = entry["certificate"]["path"]
    after = {"name": entry.get("name") or AFTER_APPLY, "certificate": f"{path} ({AFTER_APPLY})"}
    settings = wording.tidy({option: entry.get(option) for option in wording.SETTINGS})
    return Change(entry.get("name") or f"the CA in {path}", None, {**after, **settings})


def _frequency(step: Step) -> int:
    return int((step.settings or {}).get("crl_download_frequency") or wording.DEFAULTS["crl_download_frequency"])


def _place(where: str, call: Any) -> Any:
    try:
        return call()
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


# ---- reading


def _known(shape: Shape, wire: Mapping[str, Any]) -> Known:
    words = shape.decode(wire)
    name = shape.name_of(wire)
    if not words.get("certificate"):
        raise UserError(
            f"trusted client CA {name!r}: the appliance does not show its certificate, which is how CAs are told apart here; override "
            f"the line resources.{RESOURCE}.fields.certificate in connect_secure_table"
        )
    try:
        certificate = load_one(words["certificate"])
    except FormatError as error:
        raise FormatError(f"trusted client CA {name!r}: its certificate {error}") from error
    settings = wording.tidy({option: words.get(option) for option in wording.SETTINGS})
    return Known(name, certificate, settings, frozenset(one for one in wording.SECRETS if shape.secret_set(wire, one)))


def find(wanted: Wanted, current: Current) -> Known | None:
    """The CA that an entry is about. Raises `UserError` where several fit a name."""
    if wanted.certificate is not None:
        return current.known.get(wanted.certificate.sha256)
    digest, subject = wanted.pin
    if digest or subject:
        found = [
            one
            for one in current.known.values()
            if (not digest or one.certificate.sha256 == digest)
            and (not subject or one.certificate.subject.casefold() == subject.casefold())
        ]
    else:
        name = str(wanted.entry["name"])
        found = [one for one in current.known.values() if one.name == name]
        found = found or [one for one in current.known.values() if (one.certificate.common_name or "").casefold() == name.casefold()]
    if len(found) > 1:
        raise UserError(
            f"{wanted.where}: {len(found)} trusted client CAs are called so ({'; '.join(label(one.certificate) for one in found)}); say "
            "which one with certificate.sha256"
        )
    return found[0] if found else None


# ---- planning


def _removals(wishes: Sequence[Wanted], current: Current) -> Plan:
    # several entries may mean the same one
    found = {one.certificate.sha256: one for wanted in wishes if (one := find(wanted, current)) is not None}
    return Plan([Change(label(one.certificate), one.words, None, Step(one.certificate, one.name)) for one in found.values()])


class _Planner:
    """What has to change, CA by CA."""

    def __init__(self, params: Mapping[str, Any], current: Current, wishes: Sequence[Wanted]) -> None:
        self._params = params
        self._current = current
        self._wishes = wishes
        self._problems = Problems()
        self._changes: list[Change] = []
        self._updates: list[Change] = []
        self._warnings: list[str] = []
        self._owners: dict[str, str] = {}
        listed = [one for wanted in wishes for one in (wanted.certificate, *wanted.above) if one is not None]
        self._pool = [*listed, *(one.certificate for one in current.known.values())]

    def plan(self) -> Plan:
        own = {wanted.certificate.sha256 for wanted in self._wishes if wanted.certificate}
        for wanted in self._wishes:
            # issuers first: an appliance may want to know a CA's issuer before the CA
            for certificate in reversed(wanted.above):
                if certificate.sha256 not in own and certificate.sha256 not in self._current.known:
                    own.add(certificate.sha256)
                    self._import_other(wanted, certificate)
            try:
                self._own(wanted)
            except UserError as error:
                text = str(error)
                self._problems.add(text if text.startswith(wanted.where) else f"{wanted.where}: {text}")
        self._problems.raise_any()
        return Plan([*self._changes, *self._updates], self._warnings)

    def _import_other(self, wanted: Wanted, certificate: Certificate) -> None:
        self._problems.collect(wording.refusals(wanted, certificate, self._current.now))
        after = {"name": certificate.common_name, "certificate": wording.content(certificate)}
        self._changes.append(Change(label(certificate), None, wording.tidy(after), Step(certificate, imports=True)))

    def _own(self, wanted: Wanted) -> None:
        known = find(wanted, self._current)
        if known is None and wanted.certificate is None:
            names = ", ".join(sorted(one.name for one in self._current.known.values())) or "none"
            raise UserError(f"is no trusted client CA of the appliance, which has {names}; give its certificate with path or content")
        certificate = known.certificate if known else wanted.certificate
        if certificate is None:
            raise AssertionError("a CA that is not there has a certificate")
        other = self._owners.setdefault(certificate.sha256, wanted.where)
        if other != wanted.where:
            raise UserError(f"{label(certificate)} is also that of {other}; put all of its options into one entry")
        if known is None:
            self._problems.collect(wording.refusals(wanted, certificate, self._current.now))
        else:
            self._warnings += [f"{label(certificate)}: {one}" for one in judge(certificate, self._current.now)]
        have = known.settings if known else {}
        after = wording.merged(have if known else dict(wording.DEFAULTS), wanted.given, self._params["state"])
        for text in wording.lacking(after, certificate, crl_check.own_cdps(certificate)):
            self._problems.add(f"{wanted.where}: {text}")
        self._warn_forced(certificate, have, after, wanted)
        secrets = _secrets(wanted, known, after)
        if known is None or after != have or secrets:
            self._change(wanted, known, certificate, after, secrets)
        if self._params.get("update_crl"):
            self._update(wanted, known, certificate, after)

    def _warn_forced(self, certificate: Certificate, have: Words, after: Words, wanted: Wanted) -> None:
        forced = have.get("participate_in_negotiation") and after.get("participate_in_negotiation") is False
        if forced and "participate_in_negotiation" not in wanted.given:
            self._warnings.append(
                f"{label(certificate)}: participate_in_negotiation is switched off with trusted_for_client_authentication, as in the "
                "product"
            )

    def _change(self, wanted: Wanted, known: Known | None, certificate: Certificate, after: Words, secrets: Mapping[str, str]) -> None:
        looks, notes = crl_check.looks(after, certificate, wanted.secrets, self._pool)
        if self._params["cdp_check"] != SKIP:
            self._warnings += [f"{label(certificate)}: {note}" for note in notes if not note.startswith("cdp_source")]
        name = known.name if known else wanted.entry.get("name") or certificate.common_name
        shown = dict.fromkeys(secrets, "written (not shown)")
        words = wording.tidy({"name": name, "certificate": wording.content(certificate), **after, **shown})
        step = Step(
            certificate,
            name=known.name if known else None,
            imports=known is None,
            import_name=wanted.entry.get("name"),
            settings=after,
            secrets=secrets,
            looks=looks,
        )
        self._changes.append(Change(label(certificate), known.words if known else None, words, step))

    def _update(self, wanted: Wanted, known: Known | None, certificate: Certificate, after: Words) -> None:
        if after.get("status_checking") not in ("crl", "ocsp_crl"):
            self._warnings.append(f"{label(certificate)}: update_crl: its status_checking is not by CRLs, so that there is none to update")
            return
        step = Step(certificate, name=known.name if known else None, update_crl=True)
        self._updates.append(Change(label(certificate), {"crl": "as last downloaded"}, {"crl": "downloaded now"}, step))


def _secrets(wanted: Wanted, known: Known | None, after: Words) -> dict[str, str]:
    """The passwords to write: they cannot be compared."""
    if known is None or wanted.entry.get("update_secrets") == "always":
        return wanted.secrets
    changed = {
        name
        for name in wanted.secrets
        for cdp in (name.removesuffix("_password"),)
        if name not in known.secrets or any(after.get(part) != known.settings.get(part) for part in (cdp, f"{cdp}_username"))
    }
    return {name: value for name, value in wanted.secrets.items() if name in changed}


# ---- writing


def _write(session: CaSession, step: Step, change: Change) -> None:
    """Import what is not there, then bring its settings to what they are to be, by one PUT and only if they differ."""
    if step.imports:
        if any(_known(session.shape, wire).certificate == step.certificate for wire in session.appliance.list(RESOURCE)):
            raise UserError("somebody else imported it since this run read it; nothing was written, run again")
        words = {"certificate": wording.content(step.certificate)["content"]}
        if step.import_name:
            words["name"] = step.import_name
        session.appliance.call("import_trusted_client_ca", words=words)
    known = _now(session, step)
    if not step.imports and change.before is not None and known.words != change.before:
        raise UserError("somebody else changed it since this run read it; nothing was written, run again")
    if step.settings is not None:
        difference: Words = {
            option: step.settings.get(option) for option in wording.SETTINGS if step.settings.get(option) != known.settings.get(option)
        }
        difference.update(step.secrets)
        if difference:
            session.appliance.update(RESOURCE, known.name, session.shape.encode(difference))
    if change.after is not None:
        change.after["name"] = known.name
        if step.settings is None:
            change.after.update(known.settings)


def _delete(session: CaSession, step: Step, change: Change) -> None:
    """Delete what was planned to be deleted, and nothing else that is under its name by now."""
    wire = session.appliance.get(RESOURCE, step.name or "")
    if wire is None:
        return
    if _known(session.shape, wire).words != change.before:
        raise UserError("somebody else changed it since this run read it; it was not deleted, run again")
    session.appliance.delete(RESOURCE, step.name or "")


def _now(session: CaSession, step: Step) -> Known:
    """The CA as the appliance has it at this moment. Raises `UserError` where it is gone."""
    if step.name is not None:
        wire = session.appliance.get(RESOURCE, step.name)
        found = [_known(session.shape, wire)] if wire else []
    else:
        found = [_known(session.shape, wire) for wire in session.appliance.list(RESOURCE)]
    known = next((one for one in found if one.certificate == step.certificate), None)
    if known is None:
        raise UserError(
            "it was imported, but is not among the trusted client CAs; look at the appliance's event log"
            if step.imports
            else "it is no longer there, or another certificate is under its name; run again"
        )
    return known


def _update_crl(session: CaSession, step: Step) -> None:
    """Raises `UserError` with the appliance's own words where it does not get the CRL, or refuses it."""
    session.appliance.call("update_crl", name=step.name or _now(session, step).name)
