# SPDX-License-Identifier: GPL-3.0-or-later
"""The device certificates of an appliance: had, renewed, bound, and the old ones removed once the new ones answer.

The order of the steps is such that a run which dies leaves nothing that the next does not take up: the request waits on the appliance, what
the CA made of it lies in a file here, and the old certificate serves until the new one was seen on the port.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import (
    chains,
    description,
    endpoints,
    file_store,
    keys,
    request_memory,
    signing_request,
)
from ansible_collections.certlogon.core.plugins.module_utils.certificates import request_plan as plans
from ansible_collections.certlogon.core.plugins.module_utils.certificates import request_wishes as requests_of
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate, load, load_one
from ansible_collections.certlogon.core.plugins.module_utils.certificates.enrollment import ENROLLMENT, EnrollmentOptions
from ansible_collections.certlogon.core.plugins.module_utils.certificates.request_plan import Decision, Situation, decide
from ansible_collections.certlogon.core.plugins.module_utils.certificates.request_session import FILE, RequestSession
from ansible_collections.certlogon.core.plugins.module_utils.certificates.request_steps import Enroller
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import device_certificate_words as wording
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import pkcs12_memory
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.client import ApplianceSession, appliance
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.connection import CONNECTION, file_name
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.device_certificate_words import Device, Pending, Wanted, wish
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.table import Shape, find
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, Problems, UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import x509
from ansible_collections.certlogon.core.plugins.module_utils.resource import Change, Plan, Resource, Warn, Words

DEVICE, REQUEST = "device_certificate", "certificate_request"
KEEP, BIND, IMPORT, ENROLL, WAIT, STOP = "keep", "bind", "import", "enroll", "wait", "stop"
KNOWN_AFTER_APPLY = plans.KNOWN_AFTER_APPLY
LOCK_SECONDS = 600
_SAME = ("method", "url")
_PREFIX = "enrollment_"

EXTRA: dict[str, Any] = {
    **{name: line for name, line in ENROLLMENT.items() if name in _SAME},
    **{_PREFIX + name: line for name, line in ENROLLMENT.items() if name not in _SAME},
    "template": {"type": "str"},
    "folder": {"type": "path", "default": "~/.local/share/certlogon/device-certificates"},
    "answer_timeout": {"type": "int", "default": 30},
}


@dataclass(frozen=True)
class Current:
    """What there is. `requests` are the pending ones that entries can go on with, and what is known of them here, by the entry's label.

    `answers` tells of entries whose certificate is bound and that have earlier ones left whether the port shows it.
    """

    wishes: Sequence[Wanted]
    devices: Sequence[Device]
    now: datetime
    requests: Mapping[str, tuple[Pending, Situation | None]] = field(default_factory=dict)
    answers: Mapping[str, Answer] = field(default_factory=dict)
    gathering: bool = False


@dataclass(frozen=True)
class Answer:
    """What the ports show: `seen` True for the certificate, False for another one, None where nobody could be asked."""

    seen: bool | None
    text: str = ""


@dataclass(frozen=True, repr=False)
class Step:
    """What is to be done for one entry. `ports` is what the certificate is to serve, `old` what goes once it does."""

    wanted: Wanted
    kind: str
    device: Device | None = None
    reason: str = ""
    decision: Decision | None = None
    pending: Pending | None = None
    ports: frozenset[str] = frozenset()
    old: tuple[Device, ...] = ()


@dataclass
class Outcome:
    status: str
    reason: str = ""


@dataclass
class DeviceSession:
    """The appliance and the authority; `current` is the last read, `outcomes` what became of entries in this run."""

    appliance: ApplianceSession
    enrollment: RequestSession
    warn: Warn
    params: Mapping[str, Any]
    current: Current | None = None
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def shape(self, resource: str) -> Shape:
        shape: Shape = self.appliance.table.resource(resource)
        return shape

    @property
    def method(self) -> str:
        return self.enrollment.options.method


class DeviceCertificates(Resource[DeviceSession, Current]):
    connection = CONNECTION
    options = wording.OPTIONS
    extra = EXTRA
    states = ("merged", "deleted", "gathered")

    def identify(self, entry: Words) -> str:
        return wording.label(entry)

    def check(self, params: Mapping[str, Any]) -> None:
        _enrollment(params)
        problems = Problems()
        if params["answer_timeout"] < 0:
            problems.add(f"answer_timeout: {params['answer_timeout']} is no number of seconds from 0 on")
        places: dict[str, str] = {}
        for entry in params["config"] if params["state"] == "merged" else ():
            try:
                wanted = wish(entry, _folder(params))
            except UserError as error:
                problems.add(str(error))
                continue
            # what names a certificate that is there keeps nothing
            if not wanted.named and places.setdefault(wanted.path, wanted.label) != wanted.label:
                problems.add(f"{wanted.where}: path: {wanted.path} is also that of {places[wanted.path]}; give each its own path")
        problems.raise_any()

    @contextmanager
    def open(self, params: Mapping[str, Any], warn: Warn) -> Iterator[DeviceSession]:
        enrollment = RequestSession(_enrollment(params), warn)
        with appliance(params, warn) as session:
            try:
                yield DeviceSession(session, enrollment, warn, params)
            finally:
                enrollment.close()

    # ---- reading

    def read(self, session: DeviceSession, params: Mapping[str, Any]) -> Current:
        merging = params["state"] == "merged"
        wishes = [wish(entry, _folder(params), reading=merging) for entry in params.get("config") or []]
        devices = _devices(session)
        wishes = [_opened(one, devices, params) for one in wishes]
        current = Current(wishes, devices, _now(), gathering=params["state"] == "gathered")
        if merging:
            wanting = [one for one in wishes if _wants(one, current)]
            waiting = _pending(session) if wanting else []
            requests = {one.label: found for one in wanting if (found := _request(session, one, waiting)) is not None}
            current = Current(wishes, current.devices, current.now, requests, _asked(session, current))
        session.current = current
        return current

    def objects(self, current: Current) -> dict[str, Words]:
        if current.gathering:
            return {one.name: one.words for one in current.devices}
        chosen = {one.label: wording.choose(one, current.devices, current.now) for one in current.wishes}
        return {label: _shown(device) for label, device in chosen.items() if device is not None}

    def settled(self, change: Change, params: Mapping[str, Any], current: Current) -> bool:
        """A request that is pending leaves the certificates as they were."""
        return (change.after or {}).get("status") == "pending"

    # ---- planning

    def plan(self, params: Mapping[str, Any], current: Current) -> Plan:
        if params["state"] == "deleted":
            return _removals(current)
        problems, steps = Problems(), []
        for wanted in current.wishes:
            try:
                steps.append(assess(wanted, current))
            except UserError as error:
                problems.add(f"{wanted.where}: {error}")
        method, url = params["method"], (params.get("url") or "").strip()
        asking = [one for one in steps if one.kind == ENROLL and _asks(one)]
        if asking and method != FILE and not url:
            names = ", ".join(one.wanted.label for one in asking)
            problems.add(f"url: {names} has to be requested, but there is no authority; set url, such as https://ca1.corp.example/certsrv")
        problems.collect(_contested(steps))
        problems.raise_any()
        changes = [_change(one, current) for one in steps if one.kind in (BIND, IMPORT, ENROLL)]
        return Plan(changes, [text for one in steps for text in _warnings(one, current)])

    # ---- writing

    def apply(self, session: DeviceSession, change: Change) -> None:
        if change.after is None:
            _remove(session, change.details)
            return
        step: Step = change.details
        device = step.device
        if step.kind == IMPORT:
            device = _import(session, step)
        elif step.kind == ENROLL:
            device = _Enrolling(session, step).run()
        if device is None:
            reason = session.outcomes[step.wanted.label].reason
            change.after.clear()
            change.after.update({**(change.before or {}), "status": "pending", "reason": reason})
            return
        device = _bind(session, step, device)
        change.after.clear()
        change.after.update(_shown(device))
        session.outcomes[step.wanted.label] = Outcome("valid")

    def complete(self, session: DeviceSession, params: Mapping[str, Any], report: Words) -> Words:
        if params["state"] != "merged" or session.current is None:
            return report
        failed = {entry["name"]: entry["msg"] for entry in report["changes"] if entry.get("failed")}
        results, failures = [], []
        for wanted in session.current.wishes:
            step = assess(wanted, session.current)
            results.append(_result(session, step, failed.get(wanted.label)))
            usable = step.device is not None and step.device.certificate.not_after > session.current.now
            if step.kind == STOP and not usable and wanted.label not in failed:
                failures.append(f"{wanted.label}: {step.reason}")
        report = {**report, "certificates": results}
        if failures:
            report.update(failed=True, msg="\n".join([*([report["msg"]] if report.get("msg") else []), *failures]))
        return report


# ---- options


def _enrollment(params: Mapping[str, Any]) -> EnrollmentOptions:
    names = {name: name if name in _SAME else _PREFIX + name for name in ENROLLMENT}
    values = {name: params.get(option) for name, option in names.items()}
    try:
        return EnrollmentOptions.from_params(values)
    except UserError as error:
        raise UserError(f"{error} (here the options for the authority begin with {_PREFIX})") from error


def _folder(params: Mapping[str, Any]) -> str:
    """Where the certificates of this appliance (or this node of a cluster) are kept on the control node."""
    place = "_".join(filter(None, (str(params.get("host")), params.get("node"))))
    return str(Path(params["folder"]).expanduser() / file_name(place, params.get("port") or 443))


def _entry_for_ca(session: DeviceSession, wanted: Wanted, csr: str) -> Words:
    """The entry of `certificate_request` that has this request signed."""
    entry = wanted.entry
    taken = ("request_attributes", "anchor_path", "renew_before", "retry_denied", "crl_check", "issuer", "request_path", "answer_path")
    template = entry.get("template") or session.params.get("template")
    return {
        "path": wanted.path,
        "name": wanted.label,
        "csr_content": csr,
        # a person carries the request: what template it is for, is between them and the authority
        **({"template": template} if template and session.method != FILE else {}),
        **{name: entry[name] for name in taken if entry.get(name) is not None},
    }


# ---- reading


def _devices(session: DeviceSession) -> list[Device]:
    shape = session.shape(DEVICE)
    found = []
    for wire in session.appliance.list(DEVICE):
        words, name = shape.decode(wire), shape.name_of(wire)
        if not words.get("certificate"):
            raise UserError(
                f"device certificate {name!r}: the appliance does not show it, which is how certificates are told apart here; override the "
                f"line resources.{DEVICE}.fields.certificate in connect_secure_table"
            )
        try:
            certificate = load_one(words["certificate"])
            (parsed,) = chains.parsed([certificate])
        except FormatError as error:
            raise FormatError(f"device certificate {name!r}: it {error}") from error
        internal, external = (tuple(words.get(option) or ()) for option in wording.PORTS)
        found.append(Device(name, certificate, parsed, internal, external, bool(words.get("management_port"))))
    return found


def _opened(wanted: Wanted, devices: Sequence[Device], params: Mapping[str, Any]) -> Wanted:
    """The entry with its PKCS#12 file opened, where what is remembered of it is not in place and has to be imported again."""
    if wanted.given is None or wanted.given.key is not None or any(one.certificate == wanted.given.certificate for one in devices):
        return wanted
    return wish(wanted.entry, _folder(params), remembering=False)


def _pending(session: DeviceSession) -> list[Pending]:
    shape = session.shape(REQUEST)
    found = []
    for wire in session.appliance.list(REQUEST):
        words = shape.decode(wire)
        if not words.get("csr"):
            continue
        try:
            given = signing_request.load(words["csr"])
        except FormatError as error:
            session.warn(f"certificate request {shape.name_of(wire)!r}: it {error}; it is left alone")
            continue
        found.append(_described(shape.name_of(wire), given))
    return found


def _described(name: str, given: signing_request.Given) -> Pending:
    subject = wording.attributes(x509.load_der_x509_csr(given.der).subject)
    return Pending(name, given, subject, keys.kind_of(given.public_key))


def _wants(wanted: Wanted, current: Current) -> bool:
    """Whether an entry needs a certificate that a CA has to sign."""
    if wanted.given is not None or wanted.named or not wanted.entry.get("common_name"):
        return False
    device = wording.choose(wanted, current.devices, current.now)
    return device is None or bool(wording.due(wanted, device, current.now))


def _request(session: DeviceSession, wanted: Wanted, waiting: Sequence[Pending]) -> tuple[Pending, Situation | None] | None:
    memory = request_memory.load(wanted.path)
    pending = wording.pending_for(wanted, waiting, memory.key if memory else "")
    if pending is None:
        return None
    return pending, _look(session, wanted, pending) if Path(wanted.path).parent.is_dir() else None


def _look(session: DeviceSession, wanted: Wanted, pending: Pending) -> Situation:
    """What is known here of a request that waits on the appliance; asks the authority if it pends there."""
    entry = _entry_for_ca(session, wanted, signing_request.pem(pending.request.der))
    return session.enrollment.look(requests_of.wish(entry, session.method), ask=True)


def _asked(session: DeviceSession, current: Current) -> dict[str, Answer]:
    """The ports of entries that have nothing left to do but to remove what an earlier run left."""
    answers = {}
    for wanted in current.wishes:
        device = wording.choose(wanted, current.devices, current.now)
        if device is None or not wanted.ports <= device.bound or not wording.leftovers(wanted, current.devices, device, current.now):
            continue
        if wanted.given is not None and device.certificate != wanted.given.certificate:
            continue
        if not _wants(wanted, current):
            answers[wanted.label] = _see(session, wanted, device, device.bound, 0)
    return answers


# ---- planning (pure)


def assess(wanted: Wanted, current: Current) -> Step:
    """What is to be done for one entry. Raises `UserError`, without the place."""
    device = wording.choose(wanted, current.devices, current.now)
    if wanted.named or not (wanted.given or wanted.entry.get("common_name")):
        if device is None:
            there = "; ".join(f"{one.name}: {one.certificate.subject}, SHA-256 {one.certificate.sha256}" for one in current.devices)
            raise UserError(
                f"the appliance has no such device certificate, but {there or 'none'}; give common_name or pkcs12_path for a new one"
            )
        return _bound(wanted, device, current, wanted.ports)
    if wanted.given is not None:
        return _assess_given(wanted, device, current)
    reason = wording.due(wanted, device, current.now) if device else "there is no certificate"
    ports = wanted.ports | (device.bound if device else frozenset())
    if device is not None and not reason:
        return _bound(wanted, device, current, ports)
    pending, situation = current.requests.get(wanted.label, (None, None))
    decision = decide(situation, current.now) if situation is not None else Decision(plans.REQUEST, reason)
    kind = {plans.PENDING: WAIT, plans.DENIED: STOP, plans.REFUSED: STOP, plans.HELD: STOP}.get(decision.kind, ENROLL)
    words = reason if kind == ENROLL else decision.reason
    return Step(wanted, kind, device, words, decision, pending, ports, _old(wanted, current, device, ports))


def _assess_given(wanted: Wanted, device: Device | None, current: Current) -> Step:
    if wanted.given is None:
        raise AssertionError("only a given certificate is compared with one")
    ports = wanted.ports | (device.bound if device else frozenset())
    if device is not None and device.certificate == wanted.given.certificate:
        return _bound(wanted, device, current, ports)
    (parsed,) = chains.parsed([wanted.given.certificate])
    found = wording.faults(wanted, wanted.given.certificate, parsed, current.now)
    if found:
        switches = ", ".join(f"{wording.SWITCHES[one.kind]}=true" for one in found)
        raise UserError(
            f"pkcs12_path: {wanted.given.certificate} {'; '.join(map(str, found))}; give another file, or set {switches} if it has to be"
        )
    return Step(wanted, IMPORT, device, "there is another certificate", None, None, ports, _old(wanted, current, device, ports))


def _old(wanted: Wanted, current: Current, device: Device | None, ports: frozenset[str]) -> tuple[Device, ...]:
    """What goes once a new certificate serves these ports: the present one too."""
    if not wanted.entry.get("remove_old", True):
        return ()
    return tuple(one for one in current.devices if wording.belongs(wanted, one) and not one.bound - ports)


def _bound(wanted: Wanted, device: Device, current: Current, ports: frozenset[str]) -> Step:
    left = wording.leftovers(wanted, current.devices, device, current.now)
    if not ports <= device.bound:
        return Step(wanted, BIND, device, "is not bound to all ports", ports=ports | device.bound, old=tuple(left))
    answer = current.answers.get(wanted.label)
    if left and answer is not None and answer.seen:
        return Step(wanted, BIND, device, "an earlier certificate is left", ports=device.bound, old=tuple(left))
    if left and answer is not None:
        return Step(wanted, KEEP, device, f"earlier certificates are kept: {answer.text}", ports=device.bound)
    return Step(wanted, KEEP, device, ports=device.bound)


def _asks(step: Step) -> bool:
    return step.decision is not None and step.decision.kind in (plans.REQUEST, plans.TAKE_UP)


def _contested(steps: Sequence[Step]) -> Iterable[str]:
    """A port has one certificate."""
    owners: dict[str, str] = {}
    for step in steps:
        for port in sorted(step.wanted.ports):
            if port in owners:
                yield f"{step.wanted.where}: {port} is also that of {owners[port]}; a port has one device certificate"
            owners.setdefault(port, step.wanted.label)


def _change(step: Step, current: Current) -> Change:
    before = _shown(step.device) if step.device else None
    if step.kind == BIND and step.device is not None:
        after = {**_shown(step.device), **_port_words(step.ports)}
        removed = [wording.described(one.certificate) for one in step.old if one != step.device]
        if removed:
            after["removed"] = removed
        return Change(step.wanted.label, before, after, step)
    after = {**_predicted(step), **_port_words(step.ports)}
    return Change(step.wanted.label, before, after, step)


def _predicted(step: Step) -> Words:
    wanted = step.wanted
    if wanted.given is not None:
        (parsed,) = chains.parsed([wanted.given.certificate])
        device = Device(KNOWN_AFTER_APPLY, wanted.given.certificate, parsed, (), (), False)
        return _shown(device)
    asked = {option: wanted.entry[option] for option in wording.SUBJECT if wanted.entry.get(option)}
    return {"certificate": KNOWN_AFTER_APPLY, "reason": step.reason, **asked, "key": str(wanted.kind), "server_names": wanted.server_names}


def _port_words(ports: frozenset[str]) -> Words:
    return {
        "internal_ports": sorted(one.removeprefix("internal port ") for one in ports if one.startswith("internal port ")),
        "external_ports": sorted(one.removeprefix("external port ") for one in ports if one.startswith("external port ")),
        "management_port": "the management port" in ports,
    }


def _shown(device: Device) -> Words:
    return {**device.words, "certificate": wording.described(device.certificate)}


def _removals(current: Current) -> Plan:
    changes, problems = [], Problems()
    left = list(current.devices)
    for wanted in current.wishes:
        found = [one for one in left if wording.belongs(wanted, one)]
        left = [one for one in left if one not in found]
        problems.collect(f"{wanted.where}: {_in_use(one)}" for one in found if one.bound)
        if found:
            before = {"certificates": [wording.described(one.certificate) for one in found]}
            changes.append(Change(wanted.label, before, None, found))
    problems.raise_any()
    return Plan(changes)


def _in_use(device: Device) -> str:
    return f"{device.name} ({device.certificate}) serves {', '.join(sorted(device.bound))}; bind another certificate there first"


def _remove(session: DeviceSession, planned: Sequence[Device]) -> None:
    """Remove what is still as it was when this was planned. Raises `UserError` that says what was removed already."""
    removed: list[str] = []
    for device in planned:
        now = next((one for one in _devices(session) if one.name == device.name), None)
        if now is not None and (now.certificate != device.certificate or now.bound):
            done = f"; removed before: {', '.join(removed)}" if removed else ""
            what = _in_use(now) if now.bound else f"another certificate is under the name {device.name}; run again"
            raise UserError(f"changed meanwhile by somebody else: {what}{done}")
        if now is not None:
            session.appliance.delete(DEVICE, device.name)
            removed.append(device.name)


def _warnings(step: Step, current: Current) -> Iterable[str]:
    label = step.wanted.label
    if step.kind in (WAIT, STOP):
        last = f"; the present certificate lasts until {step.device.certificate.not_after:%Y-%m-%d}" if step.device else ""
        yield f"{label}: {step.reason}{last}"
    if step.kind == KEEP and step.reason:
        yield f"{label}: {step.reason}"
    if step.wanted.given is not None:
        parsed = chains.parsed([step.wanted.given.certificate])[0]
        days = step.wanted.entry.get("renew_before", 30)
        if step.wanted.given.certificate.not_after - description.window(parsed, days) <= current.now:
            path, ends = step.wanted.entry["pkcs12_path"], step.wanted.given.certificate.not_after
            yield f"{label}: the certificate in {path} ends on {ends:%Y-%m-%d}; renew it"
    if step.device and step.kind in (KEEP, BIND) and not wording.host_names(step.device.parsed):
        names = ", ".join(step.wanted.server_names)
        yield f"{label}: the certificate has no alternative names, and browsers look at no other; have the CA put {names} into it"


# ---- importing


def _import(session: DeviceSession, step: Step) -> Device:
    wanted = step.wanted
    if wanted.given is None:
        raise AssertionError("only a given certificate is imported with its key")
    content = Path(wanted.entry["pkcs12_path"]).read_bytes()
    words: Words = {
        "certificate": base64.b64encode(content).decode(),
        "passphrase": wanted.entry.get("pkcs12_passphrase") or "",
        # bound afterwards, so that what serves the ports now is known and can be put back
        "internal_ports": [],
        "external_ports": [],
        "management_port": False,
    }
    session.appliance.call("import_device_certificate", words=words)
    device = _found(session, wanted.given.certificate)
    with suppress(UserError):  # it is a saving of time only
        pkcs12_memory.save(wanted.path, content, wanted.given)
    return device


def _found(session: DeviceSession, certificate: Certificate) -> Device:
    device = next((one for one in _devices(session) if one.certificate == certificate), None)
    if device is None:
        raise UserError(
            f"{certificate} was imported, but is not among the device certificates; look at the appliance's event log, and run again"
        )
    return device


# ---- enrolling


class _Enrolling:
    """From the request on the appliance to the certificate in it."""

    def __init__(self, session: DeviceSession, step: Step) -> None:
        self._session = session
        self._step = step
        self._wanted = step.wanted

    def run(self) -> Device | None:
        """None while the request is pending at the authority. Raises `UserError`."""
        folder = Path(self._wanted.path).parent
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise UserError(f"folder: {folder} cannot be made: {error.strerror}; give another folder, or path") from error
        with file_store.locked([str(folder)], LOCK_SECONDS):
            pending = self._step.pending or self._create()
            try:
                signed = self._signed(pending)
            except UserError as error:
                # said also of a request that was there before: it is what the next run goes on with
                raise type(error)(
                    f"{error}\nThe request {pending.name!r} stays on the appliance, with its key; the next run goes on with it"
                ) from error
        return None if signed is None else self._take(pending, *signed)

    def _create(self) -> Pending:
        """Make key and request on the appliance. Raises `UserError` that names the option whose value it refuses."""
        session, wanted = self._session, self._wanted
        before = {one.name for one in _pending(session)}
        subject = {option: wanted.entry[option] for option in wording.SUBJECT if wanted.entry.get(option)}
        words = {**subject, **_key(session.shape(REQUEST), wanted), "random_data": secrets.token_hex(20)}
        name = wanted.entry.get("name") or wanted.entry["common_name"]
        words["name"] = name if name not in before else f"{name} {datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S}"
        try:
            session.appliance.call("create_certificate_request", words=words)
        except UserError as error:
            raise _refused(error, wanted, session.appliance.table.operation("create_certificate_request").body) from error
        made = [one for one in _pending(session) if one.name not in before]
        found = wording.pending_for(wanted, made)
        if found is None:
            there = "; ".join(f"{one.request.subject} ({one.kind})" for one in made) or "none"
            raise UserError(
                f"the appliance was asked for a request with the subject {subject} and a key {wanted.kind}, but its new requests are: "
                f"{there}"
            )
        return found

    def _signed(self, pending: Pending) -> tuple[Certificate, list[Any]] | None:
        """What the authority made of the request, and its issuers. None while it is pending."""
        session, wanted = self._session, self._wanted
        entry = requests_of.wish(_entry_for_ca(session, wanted, signing_request.pem(pending.request.der)), session.method)
        situation = session.enrollment.look(entry, ask=True)
        decision = decide(situation, session.enrollment.now())
        enroller = Enroller(session.enrollment, situation)
        if decision.kind == plans.TAKE_UP:
            enroller.take_up()
        elif decision.kind == plans.REQUEST:
            enroller.request(decision)
        elif decision.kind in (plans.DENIED, plans.REFUSED, plans.HELD):
            raise UserError(decision.reason)
        outcome = session.enrollment.outcomes.get(wanted.path)
        if decision.kind == plans.PENDING or (outcome is not None and outcome.status == "pending"):
            session.outcomes[wanted.label] = Outcome("pending", outcome.reason if outcome else decision.reason)
            return None
        situation = session.enrollment.look(entry, ask=False)
        pool = [*session.enrollment.chain, *situation.issuers]
        above = chains.build(situation.certificate, pool, None, session.enrollment.now()).above
        return load_one(situation.der), [one for one in above if not chains.self_issued(one)]

    def _take(self, pending: Pending, certificate: Certificate, issuers: Sequence[Any]) -> Device:
        """Bring the certificate to its key. Raises `UserError` where it is not the one that was asked for."""
        wanted = self._wanted
        (parsed,) = chains.parsed([certificate])
        if not chains.has_key(parsed, pending.identity):
            raise UserError(
                f"{wanted.path} holds {certificate}, which is not of the key of the request {pending.name!r} on the appliance "
                f"(SHA-256 of that key: {hashlib.sha256(pending.identity).hexdigest()}); put the right answer there, or remove the file"
            )
        found = wording.faults(wanted, certificate, parsed, _now())
        if found:
            switches = " or ".join(sorted({f"{wording.SWITCHES[one.kind]}=true" for one in found}))
            raise UserError(
                f"the certificate that was issued ({certificate}) {'; '.join(map(str, found))}. Nothing was imported. "
                f"{_about_names(wanted, parsed)}Have the CA issue another (remove {wanted.path} and "
                f"{request_memory.path(wanted.path)}), or set {switches}"
            )
        words = {"certificate": chains.pem([parsed, *issuers]).decode()}
        self._session.appliance.call("import_signed_certificate", name=pending.name, words=words)
        return _found(self._session, certificate)


def _about_names(wanted: Wanted, parsed: Any) -> str:
    """What to do about names that no request of an appliance has."""
    own = str(wanted.entry.get("common_name") or "")
    others = [name for name in wanted.server_names if name.casefold() != own.casefold() and not wording.covers(parsed, name)]
    if not others:
        return ""
    return (
        f"The appliance's request names {own} only: give {', '.join(others)} a certificate and a port of its own "
        "(a further entry), or have the CA put all names into this one (request_attributes, where it takes names from there). "
    )


def _key(shape: Shape, wanted: Wanted) -> Words:
    """The kind of key, each value as the resource's own line writes it."""
    kind = wanted.kind
    words: Words = {"key_type": kind.type}
    if kind.type == "rsa":
        words["key_length"] = kind.size
    else:
        words["curve"] = next(name for name, curve in wording.CURVES.items() if curve == kind.curve)
    wire = shape.encode(words)
    return {word: find(wire, shape.fields[word].steps) for word in words}


def _refused(error: UserError, wanted: Wanted, members: Mapping[str, str]) -> UserError:
    """The appliance's refusal of a request, with the option that it means."""
    text = str(error)
    for option in wording.SUBJECT:
        if wanted.entry.get(option) and f"{members[option]}:" in text:
            return type(error)(
                f"{option}: the appliance does not take {wanted.entry[option]!r}: {text}; write it without that (letters, digits, spaces, "
                "points and hyphens are safe), and have the CA put the rest into the certificate if it has to be there"
            )
    return error


# ---- binding


def _bind(session: DeviceSession, step: Step, device: Device) -> Device:
    """Bind the certificate, see it answer, remove what it replaces. Raises `UserError`; then what served before serves again."""
    _keep_a_way_in(session, step, device)
    owners = [one for one in _devices(session) if one.certificate != device.certificate and one.bound & step.ports]
    if not step.ports <= device.bound:
        session.appliance.update(DEVICE, device.name, session.shape(DEVICE).encode(_port_words(step.ports | device.bound)))
        device = _found(session, device.certificate)
        if not step.ports <= device.bound:
            raise UserError(
                f"{device.name} was bound to {', '.join(sorted(step.ports))}, but serves {', '.join(sorted(device.bound)) or 'none'}"
            )
    old = [one for one in step.old if one.certificate != device.certificate]
    if not old and not owners:
        return device
    answer = _see(session, step.wanted, device, device.bound, session.params["answer_timeout"])
    if answer.seen is False and owners:
        for one in owners:
            session.appliance.update(DEVICE, one.name, session.shape(DEVICE).encode(_port_words(one.bound)))
        names = ", ".join(one.name for one in owners)
        raise UserError(f"{device.name} was bound, but {answer.text}; {names} was bound again, nothing was removed. Look at the appliance")
    if not answer.seen:
        if old:
            session.warn(f"{step.wanted.label}: earlier certificates are kept: {answer.text}")
        return device
    for one in _devices(session):
        # as it is now: what somebody bound meanwhile stays
        if one.certificate in {each.certificate for each in old} and not one.bound:
            session.appliance.delete(DEVICE, one.name)
    return device


def _keep_a_way_in(session: DeviceSession, step: Step, device: Device) -> None:
    """Raise `UserError` where this run's own next connection to the management port would not take the certificate.

    Where this run verifies nothing, since what is there now cannot be verified, it is told what the next run would say.
    """
    if "the management port" not in step.ports - device.bound:
        return
    problem = _shut_out(session, step, device)
    if not problem:
        return
    if session.appliance.options.validate_certs:
        raise UserError(f"management_port: {device.name} is imported, but not bound to it: {problem}, and run again")
    session.warn(f"{step.wanted.label}: management_port: with validate_certs true, the next run would not get in: {problem}")


def _shut_out(session: DeviceSession, step: Step, device: Device) -> str:
    """Why a connection that verifies certificates would not take this one; "" where it would."""
    options = session.appliance.options
    host = options.host
    if not wording.covers(device.parsed, host):
        names = ", ".join(wording.host_names(device.parsed)) or "no alternative names at all"
        return (
            f"it has {names}, and this run reaches the appliance as {host}, so its next connection would fail. Have it issued for that "
            "name too, or set ansible_host to one of its names"
        )
    if not options.ca_path:
        return ""
    anchors = chains.parsed(load(Path(options.ca_path).read_bytes()))
    given = step.wanted.given.chain if step.wanted.given else ()
    pool = [*session.enrollment.chain, *chains.parsed(given), *_kept_issuers(step.wanted)]
    found = chains.build(device.parsed, pool, anchors, _now()).problems
    if not found:
        return ""
    return f"{'; '.join(found)}, which are those in ca_path ({options.ca_path}), so that the next connection would fail. Add its CA there"


def _kept_issuers(wanted: Wanted) -> list[Any]:
    memory = request_memory.load(wanted.path)
    return chains.parsed(one for text in (memory.chain if memory else ()) for one in load(text))


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _see(session: DeviceSession, wanted: Wanted, device: Device, ports: frozenset[str], seconds: float) -> Answer:
    """Whether every address of these ports shows the certificate, within so many seconds."""
    places = _addresses(session, wanted, device, ports)
    if not places:
        return Answer(None, "there is no address at which to see that the new one answers; set answers_at")
    deadline = time.monotonic() + seconds
    while True:
        answer = _shown_at(places, wanted, device, session.appliance.options.timeout)
        if answer.seen or time.monotonic() >= deadline:
            return answer
        time.sleep(min(0.5, max(0.0, deadline - time.monotonic())))


def _addresses(session: DeviceSession, wanted: Wanted, device: Device, ports: frozenset[str]) -> list[tuple[str, int]]:
    given = wanted.entry.get("answers_at")
    if given is not None:
        return [found for text in given if (found := wording.endpoint(text)) is not None]
    options = session.appliance.options
    places = [(options.host, options.port)] if "the management port" in ports else []
    names = [name for name in (wanted.server_names or wording.host_names(device.parsed)) if not name.startswith("*")]
    return places + ([(names[0], 443)] if names and ports - {"the management port"} else [])


def _shown_at(places: Sequence[tuple[str, int]], wanted: Wanted, device: Device, timeout: int) -> Answer:
    names = [name for name in wanted.server_names if not name.startswith("*")]
    unknown = ""
    for host, port in places:
        try:
            shown = endpoints.show(host, port, start_tls=False, server_name=names[0] if names else None, timeout=timeout)
        except UserError as error:
            unknown = f"whether the new one answers is not known: {error}"
            continue
        if not shown.certificates or shown.certificates[0] != device.certificate.der:
            other = load_one(shown.certificates[0]) if shown.certificates else "none"
            return Answer(False, f"{host}:{port} shows another certificate ({other})")
    return Answer(None, unknown) if unknown else Answer(True)


# ---- the result


def _result(session: DeviceSession, step: Step, error: str | None) -> Words:
    current, wanted = session.current, step.wanted
    outcome = session.outcomes.get(wanted.label)
    status = {KEEP: "valid", BIND: "valid", WAIT: "pending", STOP: "refused"}.get(step.kind, "due")
    if outcome is not None and outcome.status == "pending":
        status = "pending"
    result: Words = {"name": wanted.label, "status": "failed" if error else status}
    reason = error or (outcome.reason if outcome else "") or step.reason
    if reason:
        result["reason"] = reason
    if status == "pending" and session.method == FILE:
        result["request_path"] = wanted.entry.get("request_path") or f"{wanted.path}.csr"
        result["answer_path"] = wanted.entry.get("answer_path") or f"{wanted.path}.answer"
    if step.device is not None and current is not None:
        result["device_certificate"] = step.device.name
        result.update(description.identity(step.device.parsed, step.device.certificate.der, current.now))
        result.update(_port_words(step.device.bound))
    return result
