# SPDX-License-Identifier: GPL-3.0-or-later
"""What the stand-in's configuration tree may hold, read from the table of what is known (resources.yml) and from extras.yml beside
this file.

A schema has the shape of the tree: `Container` (an object), `Elements` (a list of objects with a key, each addressable by it),
`PerNode` (an
object by the cluster nodes' names), `Leaf` (a value). What is in no schema is not modelled.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

TABLE = Path(__file__).resolve().parents[2] / "plugins/module_utils/connect_secure/resources.yml"
EXTRAS = Path(__file__).with_name("extras.yml")
STANDINGS = ("inferred", "seen", "confirmed")


@dataclass
class Leaf:
    """A value. `type` as resources.yml says; `write` and `read`: the two names of a secret; `fields`: of each object of `objects`."""

    type: str
    standing: str
    values: tuple[str, ...] = ()
    none: str = "None"
    write: str = ""
    read: str = ""
    fields: Container | None = None
    range: tuple[int, int] | None = None


@dataclass
class Container:
    children: dict[str, Schema] = field(default_factory=dict)
    standing: str = "confirmed"


@dataclass
class Elements:
    """A list of objects. `kinds`: children of which each object has exactly one; `defaults`: what an object has when nothing else is
    said."""

    resource: str
    key: str
    standing: str
    element: Container = field(default_factory=Container)
    kinds: tuple[str, ...] = ()
    defaults: dict[str, Any] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    # Made and imported by an operation of its own, never by POST or PUT here.
    imported: bool = False


@dataclass
class PerNode:
    child: Container = field(default_factory=Container)
    standing: str = "confirmed"


Schema = Leaf | Container | Elements | PerNode


@dataclass(frozen=True)
class Wire:
    """`paths`: each resource's own; `operations`: what is no configuration element, as in resources.yml."""

    root: Container
    paths: dict[str, str]
    operations: dict[str, dict[str, Any]]


@functools.cache
def load() -> Wire:
    """The schema of the whole tree. Two files, read once a process."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    table = yaml.load(TABLE.read_text(), loader)
    extras = yaml.load(EXTRAS.read_text(), loader)
    root = Container()
    resources: dict[str, dict[str, Any]] = {}
    for source in (table["resources"], extras["resources"]):
        for name, entry in source.items():
            known = resources.setdefault(name, {"fields": {}})
            known.update({member: value for member, value in entry.items() if member != "fields"})
            known["fields"] = known["fields"] | {
                title: {"standing": entry.get("standing", known.get("standing", "inferred"))} | line
                for title, line in entry.get("fields", {}).items()
            }
    for name, entry in resources.items():
        _place(root, name, entry)
    for path, line in extras["settings"].items():
        _put_leaf(root, path.split("/"), _leaf(line))
    paths = {name: entry["path"] for name, entry in resources.items()}
    return Wire(root, paths, table["operations"])


def _place(root: Container, name: str, entry: dict[str, Any]) -> None:
    *way, last = entry["path"].split("/")
    here: Container = root
    for position, segment in enumerate(way):
        if segment.startswith("{"):
            continue
        following = way[position + 1] if position + 1 < len(way) else ""
        child = here.children.get(segment)
        if child is None:
            child = PerNode() if following.startswith("{") else Container()
            here.children[segment] = child
        if isinstance(child, PerNode):
            here = child.child
        elif isinstance(child, Elements):
            here = child.element
        else:
            assert isinstance(child, Container)
            here = child
    elements = Elements(
        resource=name,
        key=entry["key"],
        standing=entry["standing"],
        kinds=tuple(entry.get("kinds", {}).values()),
        defaults=entry.get("defaults", {}),
        required=tuple(entry.get("required", ())),
        imported=entry.get("imported", False),
    )
    for line in entry["fields"].values():
        _put_leaf(elements.element, line["at"].split("/"), _leaf(line))
    for kind in elements.kinds:
        elements.element.children.setdefault(kind, Container())
    here.children[last] = elements


def _leaf(line: dict[str, Any]) -> Leaf:
    fields = None
    if line["type"] == "objects":
        fields = Container()
        for inner in line["fields"].values():
            _put_leaf(fields, inner["at"].split("/"), _leaf({"standing": line["standing"]} | inner))
    return Leaf(
        type=line["type"],
        standing=line["standing"],
        values=tuple(line.get("values", {}).values()),
        none=line.get("none", "None"),
        write=line.get("write", ""),
        read=line.get("read", ""),
        fields=fields,
        range=tuple(line["range"]) if "range" in line else None,
    )


def _put_leaf(container: Container, at: list[str], leaf: Leaf) -> None:
    way, names = (at, [leaf.write, leaf.read]) if leaf.type == "secret" else (at[:-1], at[-1:])
    for segment in filter(None, way):
        child = container.children.setdefault(segment, Container())
        assert isinstance(child, Container), segment
        container = child
    for name in names:
        container.children[name] = leaf
