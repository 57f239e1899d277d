# SPDX-License-Identifier: GPL-3.0-or-later
"""GET, POST, PUT and DELETE below /api/v1/configuration/: addressing, types, merging, listing.

Status codes and verbs are the vendor's table (ICS REST API guide, overview); that PUT merges objects and replaces lists, and the
texts, are inferred.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from lab.connect_secure import integrity
from lab.connect_secure.answers import Answer, NotModelled, Refused, data, gone, written
from lab.connect_secure.state import State, Tree
from lab.connect_secure.wire import Container, Elements, Leaf, PerNode, Schema, load

MISSING = object()


@dataclass
class Spot:
    """A place in the tree: `value` or MISSING. `parent` and `name`: the object that it is a member of. `element`: the innermost
    element of a list
    that it is in or is, whose list is `elements`; `key`: that element's key as the path has it."""

    schema: Schema
    value: Any
    parent: dict[str, Any]
    parent_schema: Container
    name: str
    elements: list[dict[str, Any]] | None = None
    list_schema: Elements | None = None
    key: str = ""
    is_element: bool = False

    @property
    def inferred(self) -> bool:
        own = "confirmed" if isinstance(self.schema, (Container, PerNode)) else self.schema.standing
        return "inferred" in (own, self.list_schema.standing if self.list_schema else "")


def find(tree: Tree, path: str) -> Spot:
    """What `path` (below /api/v1, percent-encoded) addresses. Refused 404 where nothing can be; `stand-in:` in its message where an
    appliance
    might have something that is not modelled."""
    segments = [unquote(segment) for segment in path.strip("/").split("/")]
    spot = Spot(load().root.children["configuration"], tree["configuration"], tree, load().root, "configuration")
    for segment in segments[1:]:
        spot = _step(spot, segment, path)
    return spot


def _step(spot: Spot, segment: str, path: str) -> Spot:
    schema = spot.schema
    if isinstance(schema, Elements) and not spot.is_element:
        found = next((element for element in spot.value if element[schema.key] == segment), MISSING)
        return Spot(schema, found, spot.parent, spot.parent_schema, spot.name, spot.value, schema, segment, is_element=True)
    if spot.value is MISSING:
        raise Refused(404, f"The resource {path} does not exist")
    inner = schema.element if isinstance(schema, Elements) else schema
    if isinstance(inner, Leaf):
        raise Refused(404, f"The resource {path} does not exist")
    if isinstance(inner, PerNode):
        if segment not in spot.value:
            raise Refused(404, f"The node {segment} does not exist")
        return Spot(inner.child, spot.value[segment], spot.value, Container(), segment)
    if segment not in inner.children:
        raise NotModelled(f"{path}: {segment} is not modelled here", 404)
    return Spot(
        inner.children[segment],
        spot.value.get(segment, MISSING),
        spot.value,
        inner,
        segment,
        spot.elements,
        spot.list_schema,
        spot.key,
    )


class Configuration:
    """The verbs. `shallow`: a listing names its elements and tells nothing else of them."""

    def __init__(self, state: State, *, shallow: bool = False) -> None:
        self.state, self.shallow = state, shallow
        # What else must agree before a configuration is accepted: raises Refused.
        self.checks: list[Callable[[Tree], None]] = []

    def get(self, path: str) -> Answer:
        spot = find(self.state.tree, path)
        if spot.value is MISSING:
            raise Refused(404, f"The resource {path} does not exist")
        if isinstance(spot.schema, Elements) and not spot.is_element:
            return data({spot.name: self._listed(spot.schema, spot.value)}, inferred=spot.inferred)
        if isinstance(spot.schema, Leaf):
            return data({spot.name: spot.value}, inferred=spot.inferred)
        inner = spot.schema.element if isinstance(spot.schema, Elements) else spot.schema
        inferred = spot.inferred or (spot.is_element and isinstance(inner, Container) and _rests_on_inferred(inner, spot.value))
        if isinstance(inner, Container):
            inferred = inferred or any(isinstance(child, Elements) and child.standing == "inferred" for child in inner.children.values())
        return data(self._shown(inner, spot.value), inferred=inferred)

    def _shown(self, schema: Schema, value: Any) -> Any:
        if not self.shallow:
            return value
        if isinstance(schema, PerNode):
            return {name: self._shown(schema.child, inner) for name, inner in value.items()}
        if isinstance(schema, Elements):
            return self._listed(schema, value)
        if isinstance(schema, Container):
            return {name: self._shown(schema.children[name], inner) for name, inner in value.items()}
        return value

    def _listed(self, schema: Elements, elements: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{schema.key: element[schema.key]} for element in elements] if self.shallow else elements

    def post(self, path: str, body: dict[str, Any]) -> Answer:
        tree = self.state.copy()
        spot = find(tree, path)
        if not isinstance(spot.schema, Elements) or spot.is_element:
            raise NotModelled(f"POST is for the node of a list's elements, which {path} is not")
        key = body.get(spot.schema.key)
        if not isinstance(key, str) or not key:
            raise Refused(422, f"{spot.schema.key}: a value is required")
        if any(element[spot.schema.key] == key for element in spot.value):
            raise Refused(422, f"{spot.schema.resource.replace('_', ' ')} '{key}' already exists")
        writing = Writing(self.state)
        spot.value.append(writing.new(spot.schema, key, body))
        return self._accept(tree, writing, 201, spot)

    def put(self, path: str, body: dict[str, Any]) -> Answer:
        tree = self.state.copy()
        spot = find(tree, path)
        if isinstance(spot.schema, Elements) and not spot.is_element:
            key = body.get(spot.schema.key)
            if not isinstance(key, str) or not key:
                raise Refused(422, f"{spot.schema.key}: a value is required")
            spot = _step(spot, key, path)
        writing = Writing(self.state)
        status = 200
        if spot.is_element and spot.value is MISSING:
            assert isinstance(spot.schema, Elements) and spot.elements is not None
            _same_key(spot.schema, spot.key, body)
            spot.elements.append(writing.new(spot.schema, spot.key, body))
            status = 201
        elif spot.is_element:
            assert isinstance(spot.schema, Elements)
            _same_key(spot.schema, spot.key, body)
            writing.merge(spot.schema.element, spot.value, body, "")
            writing.complete(spot.schema, spot.value)
        elif isinstance(spot.schema, Leaf):
            if set(body) != {spot.name}:
                raise Refused(422, f"{spot.name}: the body must hold this member and no other")
            if spot.list_schema and spot.name == spot.list_schema.key:
                _same_key(spot.list_schema, spot.key, body)
            writing.merge(spot.parent_schema, spot.parent, body, "")
        elif isinstance(spot.schema, Container):
            if spot.value is MISSING:
                spot.value = spot.parent.setdefault(spot.name, {})
            writing.merge(spot.schema, spot.value, body, "")
        else:
            raise NotModelled(f"PUT {path} is not modelled")
        return self._accept(tree, writing, status, spot)

    def delete(self, path: str) -> Answer:
        tree = self.state.copy()
        spot = find(tree, path)
        if not spot.is_element:
            raise NotModelled(f"only an element of a list can be deleted, which {path} is not")
        if spot.value is MISSING or spot.elements is None:
            raise Refused(404, f"The resource {path} does not exist")
        used = integrity.used_by(self.state.tree, spot.list_schema.resource if spot.list_schema else "", spot.value)
        if used:
            raise Refused(422, *used)
        spot.elements.remove(spot.value)
        answer = self._accept(tree, Writing(self.state), 204, spot)
        return gone(inferred="X-Stand-In" in answer.headers)

    def _accept(self, tree: Tree, writing: Writing, status: int, spot: Spot) -> Answer:
        warnings = (*writing.warnings, *self.settle(tree))
        self.state.accept(tree)
        return written(status, tuple(dict.fromkeys(warnings)), inferred=spot.inferred or writing.inferred)

    def settle(self, tree: Tree) -> tuple[str, ...]:
        """What the appliance itself changes in a configuration that it is about to accept, and its refusal of one that does not hold
        together."""
        warnings = integrity.settle(self.state.tree, tree)
        errors = integrity.check(tree)
        if errors:
            raise Refused(422, *errors)
        for agree in self.checks:
            agree(tree)
        return warnings


def _same_key(schema: Elements, key: str, body: dict[str, Any]) -> None:
    if body.get(schema.key, key) != key:
        raise Refused(422, f"{schema.key}: '{key}' cannot be renamed to '{body[schema.key]}'")


def _rests_on_inferred(schema: Container, value: dict[str, Any]) -> bool:
    for name, inner in value.items():
        child = schema.children[name]
        if isinstance(child, Leaf) and child.standing == "inferred":
            return True
        if isinstance(child, Container) and isinstance(inner, dict) and _rests_on_inferred(child, inner):
            return True
    return False


class Writing:
    """One write: what it brought with it (`warnings`), and whether it rests on inferred lines."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.warnings: list[str] = []
        self.inferred = False

    def new(self, schema: Elements, key: str, body: dict[str, Any]) -> dict[str, Any]:
        """A new element of a list."""
        if schema.imported:
            raise NotModelled(f"a {schema.resource.replace('_', ' ')} is made by its operation, not by a write to the configuration")
        element: dict[str, Any] = {schema.key: key}
        kinds = [kind for kind in schema.kinds if kind in body]
        if schema.kinds and len(kinds) != 1:
            raise Refused(422, f"'{key}': exactly one of {', '.join(schema.kinds)} is required")
        for name, value in schema.defaults.items():
            if name not in schema.kinds or name in kinds:
                element[name] = copy.deepcopy(value)
        self.merge(schema.element, element, body, "")
        self.complete(schema, element)
        return element

    def complete(self, schema: Elements, element: dict[str, Any]) -> None:
        """Nothing missing, and of one kind."""
        kinds = [kind for kind in schema.kinds if kind in element]
        if schema.kinds and len(kinds) != 1:
            raise Refused(422, f"'{element[schema.key]}': its kind ({kinds[0]}) cannot be changed")
        absent = [name for name in schema.required if not element.get(name)]
        if absent:
            raise Refused(422, *(f"{name}: a value is required" for name in absent))

    def merge(self, schema: Container, current: dict[str, Any], body: dict[str, Any], at: str) -> None:
        for name, value in body.items():
            where = f"{at}{name}"
            child = schema.children.get(name)
            if child is None:
                raise NotModelled(f"{where} is not modelled here")
            if isinstance(child, Container):
                if not isinstance(value, dict):
                    raise Refused(422, f"{where}: an object is expected")
                self.merge(child, current.setdefault(name, {}), value, f"{where}/")
            elif isinstance(child, Elements):
                current[name] = self._list(child, current.get(name, []), value, where)
            elif isinstance(child, Leaf):
                self._leaf(child, current, name, value, where)
            else:
                raise NotModelled(f"{where}: not to be written from here")

    def _list(self, schema: Elements, current: list[dict[str, Any]], value: Any, where: str) -> list[dict[str, Any]]:
        """A whole list in place of the one that was there; elements that stay are merged."""
        if not isinstance(value, list) or not all(isinstance(entry, dict) and isinstance(entry.get(schema.key), str) for entry in value):
            raise Refused(422, f"{where}: a list of objects with {schema.key} is expected")
        keys = [entry[schema.key] for entry in value]
        if len(set(keys)) != len(keys):
            raise Refused(422, f"{where}: {schema.key} is not unique")
        known = {element[schema.key]: element for element in current}
        result = []
        for key, entry in zip(keys, value, strict=True):
            if key in known:
                self.merge(schema.element, known[key], entry, f"{where}/{key}/")
                self.complete(schema, known[key])
            result.append(known[key] if key in known else self.new(schema, key, entry))
        self.inferred = True
        return result

    def _leaf(self, leaf: Leaf, current: dict[str, Any], name: str, value: Any, where: str) -> None:
        if leaf.standing == "inferred" and current.get(name) != value:
            self.inferred = True
        if leaf.type == "secret":
            self._secret(leaf, current, name, value, where)
        elif leaf.type == "certificate":
            if "".join(str(value).split()) != "".join(current.get(name, "").split()):
                raise NotModelled(f"{where}: a certificate is imported, not written")
        else:
            current[name] = self.checked(leaf, value, where)

    def _secret(self, leaf: Leaf, current: dict[str, Any], name: str, value: Any, where: str) -> None:
        if not isinstance(value, str):
            raise Refused(422, f"{where}: a string is expected")
        if name == leaf.read:
            if value != current.get(leaf.read) and not self.state.secret(value):
                raise Refused(422, f"{where}: not encrypted by this appliance")
            current[leaf.read] = value
        elif value:
            current[leaf.read] = self.state.keep_secret(value)
        else:
            current.pop(leaf.read, None)

    def checked(self, leaf: Leaf, value: Any, where: str) -> Any:
        """The value, if it is what the appliance writes at this place; Refused otherwise."""
        if leaf.type == "words":
            if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
                raise Refused(422, f"{where}: a list of strings is expected")
            return list(value)
        if leaf.type == "objects":
            return self._objects(leaf, value, where)
        if not isinstance(value, str):
            raise Refused(422, f"{where}: a string is expected")
        allowed = {"switch": ("true", "false"), "enabling": ("enabled", "disabled"), "choice": leaf.values}.get(leaf.type)
        if allowed is not None and value not in allowed:
            raise Refused(422, f"{where}: '{value}' is none of {', '.join(allowed)}")
        if leaf.type == "number":
            _check_number(leaf, value, where)
        return value or leaf.none if leaf.type == "reference" else value

    def _objects(self, leaf: Leaf, value: Any, where: str) -> list[dict[str, Any]]:
        assert leaf.fields is not None
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            raise Refused(422, f"{where}: a list of objects is expected")
        result = []
        for number, entry in enumerate(value):
            fresh: dict[str, Any] = {}
            self.merge(leaf.fields, fresh, entry, f"{where}[{number}]/")
            result.append(fresh)
        return result


def _check_number(leaf: Leaf, value: str, where: str) -> None:
    if not re.fullmatch("[0-9]{1,10}", value):
        raise Refused(422, f"{where}: '{value}' is not a number")
    if leaf.range and not leaf.range[0] <= int(value) <= leaf.range[1]:
        raise Refused(422, f"{where}: {value} is not in the range {leaf.range[0]} to {leaf.range[1]}")
