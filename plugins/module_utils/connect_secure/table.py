# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of the appliance's interface (resources.yml), with what the inventory overrides (pure but for reading the file once)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import values
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import yaml
from ansible_collections.certlogon.core.plugins.module_utils.resource import Words

FILE = Path(__file__).with_name("resources.yml")
GENERATIONS = ("connect_secure", "pulse", "juniper")
STANDINGS = ("confirmed", "seen", "inferred", "overridden")
"""How sure a line is; `overridden` is what the inventory says."""

_SECTIONS = {
    "operations": ("method", "path", "standing", "changes", "body"),
    "resources": ("path", "xml_path", "key", "standing", "kinds", "fields"),
}
_PATH = re.compile("[!-~]+")
"""What an address may have, and braces around what is filled in."""
_FIELD = ("at", "type", "standing", "values", "none", "write", "read", "fields")


@dataclass(frozen=True)
class Field:
    """One value of an element: where it is (`at`, "/" between the levels) and how it is written."""

    name: str
    at: str
    type: str
    standing: str
    values: Mapping[str, str] = field(default_factory=dict)
    none: str = "None"
    write: str = ""
    read: str = ""
    fields: Mapping[str, Field] = field(default_factory=dict)

    @property
    def steps(self) -> list[str]:
        """The members on the way to the value, from the element on. Of a secret, to what it is written as."""
        return [*self.at.split("/"), self.write] if self.type == "secret" else self.at.split("/")


@dataclass(frozen=True)
class Operation:
    """What can be asked of the appliance besides its configuration. `changes`: whether the configuration is another after it."""

    name: str
    method: str
    path: str
    standing: str
    changes: bool
    body: Mapping[str, str] = field(default_factory=dict)

    def members(self, words: Mapping[str, Any]) -> dict[str, Any]:
        """What is sent for these words, by the names that the appliance has for them; a word that the line does not have is a bug."""
        sent: dict[str, Any] = {}
        for word, value in words.items():
            if self.body[word]:
                _put(sent, self.body[word].split("/"), value)
        return sent

    def address(self, name: str | None = None, node: str | None = None) -> str:
        """The path below /api/v1, with the (percent-encoded) name and cluster node in it."""
        return fill(self.path, name=name, node=node)


@dataclass(frozen=True)
class Shape:
    """One kind of element: its address, its members, and how each is written."""

    resource: str
    element: str
    key: str
    own_standing: str
    fields: Mapping[str, Field]
    kinds: Mapping[str, str] = field(default_factory=dict)
    xml_element: str = ""

    @property
    def member(self) -> str:
        """The member that holds the elements in the answer of the plural."""
        return self.element.rpartition("/")[2]

    @property
    def list_path(self) -> str:
        """The plural's path below /api/v1; may hold `{node}`."""
        return self.element.rpartition("/")[0]

    def path(self, name: str | None = None, node: str | None = None) -> str:
        """The path of one element, or (without a name) where elements are created."""
        address = fill(self.element, node=node)
        return address if name is None else f"{address}/{values.segment(name)}"

    def plural(self, node: str | None = None) -> str:
        return fill(self.list_path, node=node)

    def name_of(self, wire: Mapping[str, Any]) -> str:
        """The element's key; "" where it has none."""
        return str(wire.get(self.key) or "")

    def standing(self, name: str | None = None) -> str:
        """How sure the resource (its path), or the field of that name, is."""
        return self.own_standing if name is None else self.fields[name].standing

    def kind(self, wire: Mapping[str, Any]) -> str | None:
        """Which kind of element this is, told by the child that it has; None for none that is known here."""
        return next((kind for kind, child in self.kinds.items() if child in wire), None)

    def decode(self, wire: Mapping[str, Any]) -> Words:
        """An element in our words: every field, nested by the dots of its name; None where the element does not say. Secrets are None.

        Raises `FormatError` that names the line of the table that does not fit the appliance.
        """
        return _decode(self.fields, wire, self.resource)

    def encode(self, words: Words) -> dict[str, Any]:
        """The members that `words` gives, as the appliance writes them. None is written as the type's "no value", or not at all."""
        return _encode(self.fields, words, self.resource)

    def secret_set(self, wire: Mapping[str, Any], name: str) -> bool:
        """Whether the element has a value for this secret (which one, cannot be told)."""
        secret = self.fields[name]
        found = find(wire, [*secret.at.split("/"), secret.read])
        return found not in (None, "")


class Table:
    """The lines for one generation of the product."""

    def __init__(self, generation: str, lines: Mapping[str, Any], overridden: Mapping[str, Any]) -> None:
        self.generation = generation
        about = lines["generations"][generation]
        self.title: str = about["title"]
        self.rest: bool = about["rest"]
        self.login: tuple[str, ...] = tuple(about["login"])
        self.xml_namespace: str = about["xml_namespace"]
        self._lines = lines
        self._overridden = overridden
        self._shapes: dict[str, Shape] = {}

    @classmethod
    def load(cls, overrides: Mapping[str, Any] | None = None, generation: str = "connect_secure") -> Table:
        """The table of the collection with the inventory's lines over it. Raises `UserError` for lines that there are not."""
        if not overrides:
            return _plain(generation)
        lines = _lines_of(generation)
        _check(overrides, _lines())
        table = cls(generation, _merged(lines, overrides), overrides)
        for name in overrides.get("resources", {}):
            table.resource(name)
        return table

    @property
    def resources(self) -> list[str]:
        return list(self._lines["resources"])

    @property
    def operations(self) -> list[str]:
        return list(self._lines["operations"])

    def resource(self, name: str) -> Shape:
        """The shape of one kind of element. Raises `UserError` for a name that the table does not have."""
        if name not in self._shapes:
            _known("resource", name, self._lines["resources"])
            line = self._lines["resources"][name]
            changed = self._overridden.get("resources", {}).get(name, {})
            standing = line["standing"]
            self._shapes[name] = Shape(
                resource=name,
                element=line["path"],
                key=line["key"],
                own_standing=_standing(changed, standing),
                fields=_fields(line["fields"], changed.get("fields", {}), standing, f"resources.{name}.fields"),
                kinds=line.get("kinds", {}),
                xml_element=line.get("xml_path", line["path"]),
            )
        return self._shapes[name]

    def operation(self, name: str) -> Operation:
        """One operation. Raises `UserError` for a name that the table does not have."""
        _known("operation", name, self._lines["operations"])
        line = self._lines["operations"][name]
        changed = self._overridden.get("operations", {}).get(name, {})
        return Operation(
            name,
            line["method"],
            line["path"],
            _standing(changed, line["standing"]),
            line.get("changes", line["method"] != "GET"),
            line.get("body", {}),
        )


def fill(path: str, *, name: str | None = None, node: str | None = None) -> str:
    """A path of the table with its {name} and {node}. Raises `UserError` where one is needed and not given."""
    if "{node}" in path:
        if not node:
            raise UserError(f"node: the path {path} is each cluster node's own; say which node is meant (option node)")
        path = path.replace("{node}", values.segment(node))
    if "{name}" in path:
        path = path.replace("{name}", values.segment(name or ""))
    return path


# ---- decode, encode


def _decode(fields: Mapping[str, Field], wire: Mapping[str, Any], where: str) -> Words:
    words: Words = {}
    for name, line in fields.items():
        try:
            value = _decoded(line, wire, f"{where}.{name}")
        except FormatError as error:
            if str(error).startswith(where):
                raise
            raise FormatError(
                f"{where}.{name}: the appliance's {line.at} is not of type {line.type}: {error}; "
                "if it means something else than the table says, override that line in connect_secure_table"
            ) from error
        _put(words, name.split("."), value)
    return words


def _decoded(line: Field, wire: Mapping[str, Any], where: str) -> Any:
    if line.type == "secret":
        return None
    value = find(wire, line.at.split("/"))
    if line.type != "objects":
        return values.decode(line.type, value, values=line.values)
    if value is None:
        return None
    entries = value if isinstance(value, list) else [value] if value != "" else []
    if not all(isinstance(entry, Mapping) for entry in entries):
        raise FormatError(f"{values.shown(value)} is no list of objects")
    return [_decode(line.fields, entry, where) for entry in entries]


def _encode(fields: Mapping[str, Field], words: Words, where: str) -> dict[str, Any]:
    wire: dict[str, Any] = {}
    for name, value in _flat(words, fields):
        line = fields[name]
        try:
            written = _encoded(line, value, f"{where}.{name}")
        except UserError as error:
            if str(error).startswith(where):
                raise
            raise UserError(f"{where}.{name}: {error}") from error
        if written is not None:
            _put(wire, line.steps, written)
    return wire


def _encoded(line: Field, value: Any, where: str) -> Any:
    if line.type == "objects" and value is not None:
        return [_encode(line.fields, entry, where) for entry in value]
    return values.encode(line.type, value, values=line.values, none=line.none)


def _flat(words: Words, fields: Mapping[str, Field], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """The fields that are given, by their dotted names; a name that the table does not have is a bug of the caller."""
    for key, value in words.items():
        name = f"{prefix}{key}"
        if name in fields:
            yield name, value
        elif any(known.startswith(f"{name}.") for known in fields):
            yield from _flat(value or {}, fields, f"{name}.")
        else:
            raise KeyError(name)


def find(wire: Any, steps: Iterable[str]) -> Any:
    """What is at the end of a way of members; None where there is none."""
    for step in steps:
        if not isinstance(wire, Mapping):
            return None
        wire = wire.get(step)
    return wire


def _put(target: dict[str, Any], steps: list[str], value: Any) -> None:
    for step in steps[:-1]:
        target = target.setdefault(step, {})
    target[steps[-1]] = value


# ---- lines


@cache
def _plain(generation: str) -> Table:
    """The table without an inventory's lines; one for all tasks, since they are forked."""
    return Table(generation, _lines_of(generation), {})


def _lines_of(generation: str) -> dict[str, Any]:
    lines = _lines()
    _known("generation", generation, lines["generations"])
    own = lines["generations"][generation]
    extra = {section: own[section] for section in _SECTIONS if section in own}
    return _merged(lines, extra) if extra else lines


@cache
def _lines() -> dict[str, Any]:
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml reads the file in 3 ms, Python in 20
    lines: dict[str, Any] = yaml.load(FILE.read_text(encoding="utf-8"), Loader=loader)
    return lines


def _fields(lines: Mapping[str, Any], changed: Mapping[str, Any], standing: str, where: str) -> dict[str, Field]:
    found: dict[str, Field] = {}
    for name, line in lines.items():
        own = changed.get(name, {})
        sure = line.get("standing", standing)
        one = Field(
            name=name,
            at=line["at"],
            type=line["type"],
            standing=_standing(own, sure),
            values=line.get("values", {}),
            none=line.get("none", "None"),
            write=line.get("write", ""),
            read=line.get("read", ""),
        )
        if line["type"] == "objects":
            one = replace(one, fields=_fields(line.get("fields", {}), own.get("fields", {}), sure, f"{where}.{name}.fields"))
        _complete(one, f"{where}.{name}")
        found[name] = one
    return found


def _complete(line: Field, where: str) -> None:
    needed = {"choice": ("values",), "secret": ("write", "read"), "objects": ("fields",)}.get(line.type, ())
    for name in needed:
        if not getattr(line, name):
            raise UserError(f"connect_secure_table: {where}: type {line.type} needs {name} too")


def _standing(changed: Mapping[str, Any], standing: str) -> str:
    return str(changed.get("standing", "overridden" if set(changed) - {"fields"} else standing))


def _merged(lines: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both, member by member; neither is changed, for lines are shared (admin_realm is a user_realm elsewhere)."""
    result = dict(lines)
    for name, value in over.items():
        mine = result.get(name)
        result[name] = _merged(mine, value) if isinstance(mine, Mapping) and isinstance(value, Mapping) else value
    return result


def _check(overrides: Mapping[str, Any], lines: Mapping[str, Any]) -> None:
    """Refuse what would silently have no effect."""
    where = "connect_secure_table"
    for section, entries in _mapping(overrides, where).items():
        _known(where, section, _SECTIONS)
        for name, line in _mapping(entries, f"{where}: {section}").items():
            _known(f"{where}: {section}", name, lines[section])
            at = f"{where}: {section}.{name}"
            for member in _mapping(line, at):
                _known(at, member, _SECTIONS[section])
            _check_line(line, at)
            if "fields" in line:
                _check_fields(line["fields"], lines[section][name]["fields"], f"{at}.fields")
            for word, member in _mapping(line.get("body", {}), f"{at}.body").items():
                _known(f"{at}.body", word, lines[section][name].get("body", {}))
                if not isinstance(member, str):
                    raise UserError(f"{at}.body.{word}: {member!r} is no text; give the member's name, or an empty text to send none")


def _check_fields(given: Any, known: Mapping[str, Any], where: str) -> None:
    for name, line in _mapping(given, where).items():
        _known(where, name, known)
        at = f"{where}.{name}"
        for member in _mapping(line, at):
            _known(at, member, _FIELD)
        _check_line(line, at)
        if "type" in line:
            _known(f"{at}.type", line["type"], values.TYPES)
        if "values" in line:
            words = known[name].get("values")
            for word in _mapping(line["values"], f"{at}.values"):
                if words is not None:
                    _known(f"{at}.values", word, words)
        if "fields" in line:
            _check_fields(line["fields"], known[name].get("fields", {}), f"{at}.fields")


def _check_line(line: Mapping[str, Any], where: str) -> None:
    if "standing" in line:
        _known(f"{where}.standing", line["standing"], STANDINGS)
    for member in ("path", "xml_path", "at", "key", "method"):
        if member in line and (not isinstance(line[member], str) or not line[member].strip("/")):
            raise UserError(f"{where}.{member}: {line[member]!r} is no text with something in it")
    if "path" in line and not _PATH.fullmatch(line["path"]):
        raise UserError(f"{where}.path: {line['path']!r} is no path; write what an address may not have as %XX (a space as %20)")


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: {value!r} is no mapping; write it as in resources.yml")
    return value


def _known(where: str, name: Any, known: Iterable[str]) -> None:
    names = list(known)
    if name in names:
        return
    near = difflib.get_close_matches(str(name), names, 3, 0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
    raise UserError(f"{where}: there is no {name!r}; {hint}")
