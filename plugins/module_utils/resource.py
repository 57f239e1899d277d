# SPDX-License-Identifier: GPL-3.0-or-later
"""What every managed resource has in common: read, plan, apply, verify, report."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from ansible_collections.certlogon.core.plugins.module_utils.errors import Problems, SessionLost, UserError

Words = dict[str, Any]
"""An object in the words of the module's options: what `config` accepts and `gathered` returns."""

Warn = Callable[[str], None]
Session = TypeVar("Session")
Current = TypeVar("Current")

WRITING_STATES = ("merged", "replaced", "deleted")


@dataclass(frozen=True)
class Change:
    """One object, before and after, in the words of the module's options; None where it does not exist.

    `details` is what `apply` needs besides (attributes, identifiers); it is shown to nobody.
    """

    name: str
    before: Words | None
    after: Words | None
    details: Any = None

    @property
    def action(self) -> str:
        return "create" if self.before is None else "delete" if self.after is None else "update"


@dataclass(frozen=True)
class Plan:
    """All that has to be done, and what the administrator should know about it."""

    changes: Sequence[Change] = ()
    warnings: Sequence[str] = ()


class Resource(ABC, Generic[Session, Current]):
    """A kind of object: its options, its plan (pure) and its way to the wire.

    The states mean the same for every resource. `merged` sets what `config` names and keeps the rest of each object; `replaced` makes
    each named object exactly what `config` says, options left out taking their defaults; `deleted` removes the named objects;
    `gathered` reads; `rendered` shows offline what `config` asks for. Objects that `config` does not name are left alone by all of them.
    """

    key: ClassVar[str] = "name"
    states: ClassVar[Sequence[str]] = (*WRITING_STATES, "gathered", "rendered")
    connection: ClassVar[Mapping[str, Any]] = {}
    options: ClassVar[Mapping[str, Any]] = {}
    extra: ClassVar[Mapping[str, Any]] = {}
    constraints: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def argument_spec(cls) -> dict[str, Any]:
        """The module's options as Ansible's argument spec."""
        return {
            **cls.connection,
            "config": {"type": "list", "elements": "dict", "options": dict(cls.options)},
            "state": {"type": "str", "choices": list(cls.states), "default": "merged"},
            **cls.extra,
        }

    @classmethod
    def rules(cls) -> dict[str, Any]:
        """The relations between the module's options (required_if and its kin)."""
        needing = [state for state in (*WRITING_STATES, "rendered") if state in cls.states]
        return {**cls.constraints, "required_if": [*cls.constraints.get("required_if", ()), *(("state", s, ["config"]) for s in needing)]}

    def identify(self, entry: Words) -> str:
        """What makes an object of `config` one of its kind; compared without case."""
        return str(entry[self.key])

    def distinguish(self, entry: Words) -> str:
        """What no two entries of `config` may have in common; for kinds whose names need not be unique, more than the name."""
        return self.identify(entry)

    def check(self, params: Mapping[str, Any]) -> None:
        """Raise `UserError` for what is wrong with the request by itself, before anything is connected."""

    @abstractmethod
    def open(self, params: Mapping[str, Any], warn: Warn) -> AbstractContextManager[Session]:
        """A session with the server; knows no resource."""

    @abstractmethod
    def read(self, session: Session, params: Mapping[str, Any]) -> Current:
        """Everything the plan needs, in one read."""

    @abstractmethod
    def objects(self, current: Current) -> dict[str, Words]:
        """The objects there are, by name, each exactly as `config` would accept it (pure)."""

    def shown(self, words: Words) -> Words:
        """An object as diffs and mismatches show it, where `config` holds more than people want to read (pure)."""
        return words

    def settled(self, change: Change, params: Mapping[str, Any], current: Current) -> bool:
        """Whether what was read back fulfils `config`, though it is not what was predicted, since others write the same object (pure)."""
        return False

    @abstractmethod
    def plan(self, params: Mapping[str, Any], current: Current) -> Plan:
        """What has to change (pure). Raises `UserError` for what can be known to be wrong."""

    def authorize(self, session: Session, plan: Plan, current: Current) -> None:
        """Raise `UserError` where the account lacks a right that the plan needs; called before the first write."""

    @abstractmethod
    def apply(self, session: Session, change: Change) -> None:
        """Write one object."""

    def complete(self, session: Session, params: Mapping[str, Any], report: Words) -> Words:
        """The result, for kinds that have more to say than what changed; called within the session, also in check mode."""
        return report

    def render(self, params: Mapping[str, Any]) -> list[Words]:
        """What `config` asks for, complete, without any server (pure)."""
        raise NotImplementedError


class Reading(Resource[Session, Words]):
    """A kind that only reads: nothing is planned or written, and the result is what `read` returns."""

    states = ("gathered",)

    @classmethod
    def rules(cls) -> dict[str, Any]:
        return dict(cls.constraints)

    def objects(self, current: Words) -> dict[str, Words]:
        return {"": current}

    def plan(self, params: Mapping[str, Any], current: Words) -> Plan:
        return Plan()

    def apply(self, session: Session, change: Any) -> None:
        raise NotImplementedError

    def complete(self, session: Session, params: Mapping[str, Any], report: Words) -> Words:
        return {"changed": False, **report["gathered"][0]}


@dataclass
class _Outcome:
    """What became of one change."""

    change: Change
    done: bool = False
    error: str | None = None

    def report(self) -> dict[str, Any]:
        entry: dict[str, Any] = {"name": self.change.name, "action": self.change.action}
        return {**entry, "failed": True, "msg": self.error} if self.error else entry


@dataclass
class _Run:
    outcomes: list[_Outcome] = field(default_factory=list)

    @property
    def failures(self) -> list[_Outcome]:
        return [outcome for outcome in self.outcomes if outcome.error]


@dataclass(frozen=True)
class Prepared:
    """A request that was read and planned for, with nothing written so far."""

    resource: Resource[Any, Any]
    session: Any
    params: Mapping[str, Any]
    plan: Plan


def run(resource: Resource[Any, Any], params: Mapping[str, Any], *, check_mode: bool, warn: Warn) -> dict[str, Any]:
    """Bring the objects of `params["config"]` into `params["state"]`; returns the module's result."""
    state = params.get("state", "gathered")
    examine(resource, params)
    if state == "rendered":
        return {"changed": False, "rendered": resource.render(params)}
    with resource.open(params, warn) as session:
        if state == "gathered":
            return gather(resource, session, params)
        return carry_out(prepare(resource, session, params, warn), check_mode=check_mode)


def examine(resource: Resource[Any, Any], params: Mapping[str, Any]) -> None:
    """Raise `UserError` for what is wrong with the request by itself."""
    _refuse_duplicates(resource, params.get("config") or [])
    resource.check(params)


def gather(resource: Resource[Any, Any], session: Any, params: Mapping[str, Any]) -> dict[str, Any]:
    """The result of `state: gathered`."""
    current = resource.read(session, params)
    gathered = _selected(resource, params.get("config") or [], resource.objects(current))
    return resource.complete(session, params, {"changed": False, "gathered": gathered})


def prepare(resource: Resource[Any, Any], session: Any, params: Mapping[str, Any], warn: Warn) -> Prepared:
    """Read and plan, and see that the plan may be carried out. Raises `UserError`."""
    current = resource.read(session, params)
    plan = resource.plan(params, current)
    for warning in plan.warnings:
        warn(warning)
    if plan.changes:
        resource.authorize(session, plan, current)
    return Prepared(resource, session, params, plan)


def carry_out(prepared: Prepared, *, check_mode: bool) -> dict[str, Any]:
    """Do what is planned (in check mode nothing), read it back, and report."""
    resource, session, params = prepared.resource, prepared.session, prepared.params
    result = _Run([_Outcome(change, done=check_mode) for change in prepared.plan.changes])
    if result.outcomes and not check_mode:
        _apply(resource, session, result.outcomes)
        _verify(resource, session, params, result.outcomes)
    return resource.complete(session, params, _report(resource, result))


def _refuse_duplicates(resource: Resource[Any, Any], desired: Iterable[Words]) -> None:
    seen: set[str] = set()
    problems = Problems()
    for entry in desired:
        key = resource.distinguish(entry).casefold()
        if key in seen:
            problems.add(f"config: {resource.key} {resource.identify(entry)!r} is listed twice; put all of its options into one entry")
        seen.add(key)
    problems.raise_any()


def _selected(resource: Resource[Any, Any], desired: Iterable[Words], found: Mapping[str, Words]) -> list[Words]:
    """All objects, or those that `config` names."""
    names = {resource.identify(entry).casefold() for entry in desired}
    return [words for name, words in found.items() if not names or names & {name.casefold(), resource.identify(words).casefold()}]


def _apply(resource: Resource[Any, Any], session: Any, outcomes: list[_Outcome]) -> None:
    """Write each object; one that fails does not keep the others from being written, unless the server is gone."""
    lost = ""
    for outcome in outcomes:
        if lost:
            outcome.error = f"not attempted: {lost}"
            continue
        try:
            resource.apply(session, outcome.change)
            outcome.done = True
        except SessionLost as error:
            outcome.error = lost = str(error)
        except UserError as error:
            outcome.error = str(error)


def _verify(resource: Resource[Any, Any], session: Any, params: Mapping[str, Any], outcomes: list[_Outcome]) -> None:
    """Read back what was written; a mismatch is a failure that shows both values."""
    written = [outcome for outcome in outcomes if outcome.done]
    if not written:
        return
    try:
        current = resource.read(session, params)
        now = resource.objects(current)
    except UserError as error:
        for outcome in written:
            outcome.error = f"written, but not read back: {error}"
        return
    for outcome in written:
        mismatch = _mismatch(resource, outcome.change.after, _read_back(resource, outcome.change, now))
        outcome.error = None if mismatch is None or resource.settled(outcome.change, params, current) else mismatch


def _read_back(resource: Resource[Any, Any], change: Change, now: Mapping[str, Words]) -> Words | None:
    """The object that was changed; where the server tells names apart by case, not the one beside it."""
    if change.name in now:
        return now[change.name]
    found = next((words for name, words in now.items() if name.casefold() == change.name.casefold()), None)
    beside = found is not None and change.before is not None and change.after is None
    return None if beside and resource.identify(found or {}) != resource.identify(change.before or {}) else found


def _mismatch(resource: Resource[Any, Any], wanted: Words | None, found: Words | None) -> str | None:
    if wanted == found:
        return None
    if wanted is None or found is None:
        there = "still there" if wanted is None else "not there"
        return f"written, but read back as {there}; did somebody else change it meanwhile?"
    fields = sorted(field for field in {*wanted, *found} if wanted.get(field) != found.get(field))
    # what people are shown may hide the difference: then the plain values have to do
    shown = [{**words, **resource.shown(words)} for words in (wanted, found)]
    return "; ".join(f"{field}: wrote {shown[0].get(field)!r}, read back {shown[1].get(field)!r}" for field in fields)


def _report(resource: Resource[Any, Any], result: _Run) -> dict[str, Any]:
    done = [outcome.change for outcome in result.outcomes if outcome.done]
    report: dict[str, Any] = {
        "changed": bool(done),
        "changes": [outcome.report() for outcome in result.outcomes],
        "diff": [_diff(resource, change) for change in done],
    }
    if result.failures:
        report["failed"] = True
        report["msg"] = "\n".join(f"{outcome.change.name}: {outcome.error}" for outcome in result.failures)
    return report


def _diff(resource: Resource[Any, Any], change: Change) -> dict[str, Any]:
    """What differs, in the words of the options; an object that stays shows only the options that change."""
    before, after = (resource.shown(words) if words else {} for words in (change.before, change.after))
    if change.action == "update":
        fields = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        before = {name: before[name] for name in fields if name in before}
        after = {name: after[name] for name in fields if name in after}
    return {"before_header": change.name, "after_header": change.name, "before": before, "after": after}
