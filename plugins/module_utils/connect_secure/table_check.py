# SPDX-License-Identifier: GPL-3.0-or-later
"""The table held against a live appliance: which of its lines are found there, missing, or different. Nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import values
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.client import ApplianceSession, Wire
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.table import Field, Operation, Shape, find
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, SessionLost, UserError

STATUSES = ("found", "missing", "different", "untested")
Line = dict[str, str]


def check(session: ApplianceSession) -> list[Line]:
    """Every line of the table: `line`, `is` (path or member), `standing`, `status` and `detail`."""
    lines = [_operation(session, session.table.operation(name)) for name in session.table.operations]
    for name in session.table.resources:
        lines += _resource(session, session.table.resource(name))
    return lines


def _line(name: str, says: str, standing: str, status: str, detail: str = "") -> Line:
    return {"line": name, "says": says, "standing": standing, "status": status, "detail": detail}


def _operation(session: ApplianceSession, operation: Operation) -> Line:
    name, says = f"operations.{operation.name}", f"{operation.method} {operation.path}"
    if operation.body:
        says += f" with {', '.join(member for member in operation.body.values() if member)}"
    if operation.name in session.table.login:
        status, detail = ("found", "") if session.answered_login == operation.name else ("untested", "another login came first")
    elif operation.method == "GET" and "{" in operation.path:
        status, detail = "untested", "needs the name of something"
    elif operation.method != "GET":
        status, detail = "untested", "would change something"
    elif operation.name == "backup":
        status, detail = _asked(lambda: session.content(operation.name))
    else:
        status, detail = _asked(lambda: session.call(operation.name))
    return _line(name, says, operation.standing, status, detail)


def _asked(ask: Any) -> tuple[str, str]:
    try:
        ask()
    except SessionLost:
        raise
    except UserError as error:
        return ("missing" if "HTTP 404" in str(error) else "different"), str(error)
    return "found", ""


def _resource(session: ApplianceSession, shape: Shape) -> list[Line]:
    name = f"resources.{shape.resource}"
    elements: list[Wire] = []
    try:
        elements = session.list(shape.resource)
        status, detail = "found", _unknown(shape, elements)
    except SessionLost:
        raise
    except UserError as error:
        status, detail = ("missing" if "HTTP 404" in str(error) else "different"), str(error)
    lines = [_line(name, shape.element, shape.own_standing, status, detail)]
    why = "no element there has it" if status == "found" else "the resource was not found"
    for field in shape.fields.values():
        having = [wire for wire in elements if _concerns(field, shape, wire)]
        lines += _field(f"{name}.fields.{field.name}", field, having, why)
    return lines


def _concerns(field: Field, shape: Shape, wire: Wire) -> bool:
    """Fields of one kind of element are asked of elements of that kind only."""
    child = field.at.partition("/")[0]
    return child not in shape.kinds.values() or child in wire


def _field(name: str, field: Field, elements: Sequence[Mapping[str, Any]], why: str) -> list[Line]:
    says = f"{field.at} ({field.type})"
    members = [*field.at.split("/"), field.read] if field.type == "secret" else field.at.split("/")
    values_found = [value for wire in elements if (value := find(wire, members)) is not None]
    if not elements:
        status, detail = "untested", why
    elif not values_found:
        status, detail = _absent(field, members, elements)
    else:
        status, detail = _fits(field, values_found)
    lines = [_line(name, says, field.standing, status, detail)]
    entries = [entry for value in values_found if field.type == "objects" for entry in (value if isinstance(value, list) else [value])]
    objects = [entry for entry in entries if isinstance(entry, Mapping)]
    for inner in field.fields.values():
        lines += _field(f"{name}.fields.{inner.name}", inner, objects, "no such object there")
    return lines


def _absent(field: Field, members: Sequence[str], elements: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    if field.type == "secret":
        return "untested", "no element has a value for it"
    parents = [parent for wire in elements if isinstance(parent := find(wire, members[:-1]), Mapping)]
    if not parents:
        return "untested", f"none of {len(elements)} has {'/'.join(members[:-1])}"
    beside = sorted({str(name) for parent in parents for name in parent})
    there = f"; beside it: {', '.join(beside)}" if beside else ""
    return "missing", f"in none of {len(elements)}; it may have another name, or be left out where it has no value{there}"


def _fits(field: Field, found: Sequence[Any]) -> tuple[str, str]:
    if field.type in ("secret", "objects"):
        fits = all(isinstance(value, str) == (field.type == "secret") for value in found)
        return ("found", "") if fits else ("different", f"is {values.shown(found[0])}")
    for value in found:
        try:
            word = values.decode(field.type, value, values=field.values)
        except FormatError as error:
            return "different", str(error)
        if field.type == "choice" and word is not None and word not in field.values:
            return "different", f"has the value {values.shown(value)}, which is none of {', '.join(field.values.values())}"
    return "found", ""


def _unknown(shape: Shape, elements: Sequence[Wire]) -> str:
    """Members that elements have and no line names: perhaps what a missing line should say."""
    named = {field.at.partition("/")[0] for field in shape.fields.values()} | {shape.key, *shape.kinds.values()}
    others = sorted({name for wire in elements for name in wire} - named)
    return f"members that no line names: {', '.join(others)}" if others else f"{len(elements)} there" if elements else "none there"
