# SPDX-License-Identifier: GPL-3.0-or-later
"""Elements of the appliance's configuration: our words for them, what is sent of them, and how they are written where others write too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.client import ApplianceSession
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.names import in_order
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.table import Field, Shape
from ansible_collections.certlogon.core.plugins.module_utils.errors import Problems, UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Change, Words

Wire = Mapping[str, Any]


@dataclass(frozen=True)
class Element:
    """One element as the appliance holds it, and in our words."""

    wire: Wire
    words: Words


# ---- planning


def each_change(
    entries: Iterable[Words], title: Callable[[Words], str], change: Callable[[Words], Change | None], problems: Problems
) -> list[Change]:
    """The changes that the entries of `config` ask for; what is wrong with one is added to `problems` under its title."""
    changes = []
    for entry in entries:
        try:
            wanted = change(entry)
        except UserError as error:
            problems.add(f"config: {title(entry)}: {error}")
        else:
            changes += [wanted] if wanted else []
    return changes


# ---- writing


@dataclass(frozen=True)
class Edit:
    """The way of one change to the appliance: `body` are the members to be written, None to delete the element.

    `planned` is the element as it was when the change was planned, and `describe` puts what is there now into the same words. `back` is
    there where the change touches how the acting administrator signs in: it is written again if a second login then fails.
    """

    shape: Shape
    name: str
    describe: Callable[[Wire], Words]
    planned: Words | None
    body: dict[str, Any] | None
    back: dict[str, Any] | None = None

    def apply(self, session: ApplianceSession) -> None:
        self._refuse_changed(session.get(self.shape.resource, self.name))
        if self.body is None:
            session.delete(self.shape.resource, self.name)
        elif self.planned is None:
            session.create(self.shape.resource, {self.shape.key: self.name, **self.body})
        else:
            session.update(self.shape.resource, self.name, self.body)
        if self.back is not None:
            prove(session, lambda: self._put_back(session, self.back or {}))

    def _put_back(self, session: ApplianceSession, back: dict[str, Any]) -> None:
        if self.planned is None:
            session.delete(self.shape.resource, self.name)
        elif self.body is None:
            session.create(self.shape.resource, back)
        else:
            session.update(self.shape.resource, self.name, back)

    def _refuse_changed(self, wire: Wire | None) -> None:
        now = None if wire is None else self.describe(wire)
        if now != self.planned:
            raise UserError(f"{changed_meanwhile(self.planned, now)}; {BEST_EFFORT}")


BEST_EFFORT = (
    "nothing was written to it, and the next run starts from what is there now. The appliance has no way to write only if nothing changed, "
    "so this is found out by reading just before the write, which is best effort"
)


def changed_meanwhile(planned: Words | None, now: Words | None) -> str:
    """What somebody else did since the plan was made."""
    if planned is None:
        return "changed meanwhile: somebody else has made it"
    if now is None:
        return "changed meanwhile: somebody else has deleted it"
    fields = sorted(name for name in {*planned, *now} if planned.get(name) != now.get(name))
    return "changed meanwhile by somebody else: " + "; ".join(f"{name} was {planned.get(name)!r}, is {now.get(name)!r}" for name in fields)


def prove(session: ApplianceSession, put_back: Callable[[], None]) -> None:
    """Sign in a second time, while the first key still works; where that fails, write the old values back. Raises `UserError`."""
    try:
        session.log_in_anew()
        return
    except UserError as error:
        failure = str(error)
    try:
        put_back()
    except UserError as error:
        raise UserError(
            f"written, but then a second login failed ({failure}), and the old values could not be written back ({error}); the "
            "administrator who runs this may be locked out: restore the backup in the console before signing out there"
        ) from error
    raise UserError(
        f"with this change the administrator who runs it could not sign in any more: {failure}; the old values were written back "
        "(secrets cannot be)"
    )


# ---- words


def tidy(words: Any) -> Any:
    """The same without what says nothing: None, empty texts, and objects that have nothing else. Lists stay, also empty ones."""
    if isinstance(words, Mapping):
        kept = {name: tidy(value) for name, value in words.items()}
        return {name: value for name, value in kept.items() if value is not None and value != "" and value != {}}
    if isinstance(words, (list, tuple)):
        return [tidy(item) for item in words]
    return words


def overlay(base: Words, given: Words, *, merge: bool) -> Words:
    """`given` over `base`, option by option; None is "not given".

    With `merge`, a list of named things is merged by name: those that are given replace their namesakes option by option, the others stay,
    and the given ones stand in the order in which they are given. All other lists are taken whole.
    """
    result = dict(base)
    for name, value in given.items():
        have = result.get(name)
        if value is None:
            continue
        if isinstance(value, Mapping):
            result[name] = overlay(have or {}, dict(value), merge=merge)
        elif merge and _named(value) and _named(have or []):
            result[name] = _merged(have or [], value)
        else:
            result[name] = deepcopy(value)
    return result


def _named(items: Any) -> bool:
    return isinstance(items, list) and all(isinstance(item, Mapping) and item.get("name") for item in items)


def _merged(have: list[Words], given: list[Words]) -> list[Words]:
    there = {item["name"]: item for item in have}
    wanted = {item["name"]: overlay(there.get(item["name"], {}), item, merge=False) for item in given}
    return [wanted.get(name) or there[name] for name in in_order(list(there), list(wanted))]


def value_of(words: Words, name: str) -> Any:
    """The value of a field by its dotted name; None where there is none."""
    here: Any = words
    for step in name.split("."):
        here = here.get(step) if isinstance(here, Mapping) else None
    return here


# ---- wire


def body(shape: Shape, before: Words, after: Words, wire: Wire) -> dict[str, Any]:
    """The members that turn `before` into `after`: only fields that differ, lists whole.

    What the table does not know of an item of a list stays as `wire`, the element as it was read, has it: items are the same by their name,
    or where they have none by what they say.
    """
    result: dict[str, Any] = {}
    for name, line in shape.fields.items():
        value = value_of(after, name)
        if line.type == "secret" or value == value_of(before, name):
            continue
        if line.type == "objects":
            put(result, line.steps, _items(line, value or [], wire))
        else:
            merge(result, shape.encode(_nested(name, value)))
    return result


def _items(line: Field, items: Iterable[Words], wire: Wire) -> list[dict[str, Any]]:
    key = line.fields["name"].steps if "name" in line.fields else []
    there = find(wire, line.steps) or []
    known = {find(item, key): item for item in ([there] if isinstance(there, Mapping) else there)} if key else {}
    return [_item(line, item, deepcopy(dict(known.get(item.get("name"), {})))) for item in items]


def _item(line: Field, item: Words, known: dict[str, Any]) -> dict[str, Any]:
    for name, part in line.fields.items():
        value = value_of(item, name)
        if value is None:
            _remove(known, part.steps)
        else:
            put(known, part.steps, find(encode_one(line, name, value), part.steps))
    return known


def encode_one(line: Field, name: str, value: Any) -> dict[str, Any]:
    """An item of a list with this one value."""
    return Shape(line.name, "", "", line.standing, {name: line.fields[name]}).encode(_nested(name, value))


def _remove(target: dict[str, Any], steps: list[str]) -> None:
    """The member, and the objects that it was alone in."""
    inner = target.get(steps[0])
    if len(steps) > 1 and isinstance(inner, dict):
        _remove(inner, steps[1:])
    if len(steps) == 1 or inner == {}:
        target.pop(steps[0], None)


def _nested(name: str, value: Any) -> Words:
    for step in reversed(name.split(".")):
        value = {step: value}
    result: Words = value
    return result


def find(wire: Any, steps: Iterable[str]) -> Any:
    for step in steps:
        wire = wire.get(step) if isinstance(wire, Mapping) else None
    return wire


def put(target: dict[str, Any], steps: list[str], value: Any) -> None:
    for step in steps[:-1]:
        target = target.setdefault(step, {})
    target[steps[-1]] = value


def merge(target: dict[str, Any], over: Wire) -> dict[str, Any]:
    """`over` into `target`, member by member; returns `target`."""
    for name, value in over.items():
        if isinstance(value, Mapping) and isinstance(target.get(name), dict):
            merge(target[name], value)
        else:
            target[name] = deepcopy(value)
    return target


# ---- plans


def lookup(elements: Mapping[str, Element], name: str) -> Element | None:
    """The element of this name. Raises `UserError` where there is one whose name differs in case or in a slash at the end only."""
    if name in elements:
        return elements[name]
    other = next((known for known in elements if _folded(known) == _folded(name)), None)
    if other is not None:
        raise UserError(f"{name!r} is there as {other!r}; write it as the appliance does")
    return None


def _folded(name: str) -> str:
    return name.casefold().rstrip("/")


def contains(found: Any, wanted: Any) -> bool:
    """Whether everything that `wanted` says is in `found`; lists have to be the same."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(contains(found.get(name), value) for name, value in wanted.items())
    return bool(found == wanted)
