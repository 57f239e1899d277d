# SPDX-License-Identifier: GPL-3.0-or-later
"""What `config` asks for, offline: in words, as REST requests, or as a file for the console's XML import, where there is no REST.

An XML file holds elements whose names somebody has read in a document or an export. Others are deduced from those; they are written only if
that is allowed, each with a comment. Namespaces carry the release: http://xml.juniper.net/ive-sa/7.4R1.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.connection import load_table
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.elements import Wire, body, put, value_of
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.table import Field, Shape, Table
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, Problems
from ansible_collections.certlogon.core.plugins.module_utils.resource import Words

RENDERING: dict[str, Any] = {
    "rendered_as": {"type": "str", "choices": ["words", "json", "xml"], "default": "words"},
    "xml_version": {"type": "str"},
    "allow_inferred": {"type": "bool", "default": False},
}
"""Options of `state: rendered` that the modules share."""

FILE_NAME = "ive-import.xml"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_VERSION = re.compile(r"\d{1,2}\.\d{1,2}[A-Za-z]\d{1,2}(\.\d{1,3}){0,2}")
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 (section 2.2) cannot hold."""

_INFERRED = " inferred: the name of {} was deduced and not seen; compare it with an export of your appliance before importing "
_HEAD = " Merged into the configuration by Maintenance > Import/Export > Import XML. Export the same parts first. "
_SECRET = " secrets are not in this file; set {} in the console after importing "


@dataclass(frozen=True)
class Item:
    """An object to be rendered: complete in the module's words, complete as the table has it, and what `config` itself says of it."""

    resource: str
    words: Words
    members: Words
    given: Words


def problems(params: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the options of rendering."""
    if params["state"] != "rendered" or params["rendered_as"] != "xml":
        return
    version = params.get("xml_version")
    if not version:
        yield (
            "xml_version: is missing; the file's namespace carries the appliance's release, such as 7.4R1 (the console shows it under "
            "Maintenance > System; an export has it in its second line)"
        )
    elif not _VERSION.fullmatch(version):
        yield f"xml_version: {version!r} is no release; it is like 7.4R1 or 22.7R2.10"


def rendered(params: Mapping[str, Any], items: Sequence[Item]) -> list[Words]:
    """The value of `rendered`. Raises `UserError` for elements that are inferred where that is not allowed."""
    if params["rendered_as"] == "words":
        return [item.words for item in items]
    table = load_table(params)
    if params["rendered_as"] == "json":
        return [_request(table.resource(item.resource), item) for item in items]
    return [{"file": FILE_NAME, "xml": document(table, items, params["xml_version"], allow_inferred=params["allow_inferred"])}]


def _request(shape: Shape, item: Item) -> Words:
    members = {shape.key: item.members[_key_field(shape)], **body(shape, {}, item.members, {})}
    inferred = [name for name, line in shape.fields.items() if line.standing == "inferred" and value_of(item.members, name) is not None]
    return {"method": "POST", "path": f"/api/v1/{shape.path(node='')}/", "body": members, "inferred": inferred}


def _key_field(shape: Shape) -> str:
    return next(name for name, line in shape.fields.items() if line.at == shape.key)


# ---- XML


def document(table: Table, items: Sequence[Item], version: str, *, allow_inferred: bool) -> str:
    """The import file. Raises `UserError` for inferred elements that are not allowed, and for characters that XML cannot hold."""
    found = Problems()
    root = ET.Element("configuration", {"xmlns": table.xml_namespace.format(version=version), "xmlns:xsi": _XSI})
    root.append(ET.Comment(_HEAD))
    for item in items:
        shape = table.resource(item.resource)
        found.collect(_not_to_be_written(shape, item, allow_inferred=allow_inferred))
        _write_item(root, shape, item)
    found.raise_any()
    return _text(root)


def combined(documents: Sequence[str]) -> str:
    """One import file of several, what belongs to the same parent put together. Raises `FormatError` for what is no such file, and where
    they are for different releases.
    """
    roots = [_root(document) for document in documents]
    tags = {root.tag for root in roots}
    if len(tags) != 1:
        raise FormatError(f"the files are for different releases: {', '.join(sorted(tags)) or 'there is none'}")
    namespace = roots[0].tag[1:].partition("}")[0]
    result = ET.Element("configuration", {"xmlns": namespace, "xmlns:xsi": _XSI})
    result.append(ET.Comment(_HEAD))
    for root in roots:
        _add(result, root, _PARENTS)
    return _text(result)


_PARENTS = ("users", "user-realms", "administrators", "admin-realms", "authentication", "auth-servers", "signin", "access-urls")
"""Elements of which there is one, and others beneath it."""


def _root(document: str) -> ET.Element:
    if "<!DOCTYPE" in document:
        raise FormatError("an import file has no document type")
    try:
        root = ET.fromstring(document, ET.XMLParser(target=ET.TreeBuilder(insert_comments=True)))
    except (ET.ParseError, ValueError) as error:
        raise FormatError(f"is no XML: {error}") from error
    if not root.tag.endswith("}configuration"):
        raise FormatError(f"has {root.tag}, not configuration in the namespace of a release; give what rendered_as=xml returned")
    return root


def _add(target: ET.Element, source: ET.Element, parents: Sequence[str]) -> None:
    for child in source:
        if _is_comment(child):
            if child.text != _HEAD:
                target.append(child)
            continue
        child.tag = child.tag.partition("}")[2]
        if child.tag in parents:
            _add(_child(target, child.tag), child, parents)
        else:
            _add(ET.SubElement(target, child.tag), child, ())
    if not len(source) or all(map(_is_comment, source)):
        target.text = source.text


def _is_comment(element: ET.Element) -> bool:
    tag: Any = element.tag
    return tag is ET.Comment


def _text(root: ET.Element) -> str:
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _not_to_be_written(shape: Shape, item: Item, *, allow_inferred: bool) -> Iterator[str]:
    name = item.members[_key_field(shape)]
    if not allow_inferred:
        for field, line in _fields(shape, item):
            if line.standing == "inferred":
                yield (
                    f"config: {name}: {field}: the name of its XML element ({line.at}) is inferred, nobody here has seen it; set "
                    "allow_inferred to write it with a comment and compare it with an export, or set this in the console"
                )
    if _FORBIDDEN.search(repr_all(item.given)):
        yield f"config: {name}: holds a control character, which XML cannot"


def repr_all(value: Any) -> str:
    """All texts in a value, one after the other."""
    if isinstance(value, Mapping):
        return "".join(repr_all(inner) for inner in value.values())
    if isinstance(value, (list, tuple)):
        return "".join(repr_all(inner) for inner in value)
    return value if isinstance(value, str) else ""


def _fields(shape: Shape, item: Item) -> Iterator[tuple[str, Field]]:
    """The fields that `config` gives, in the table's order."""
    for name, line in shape.fields.items():
        if value_of(item.given, name) not in (None, [], ""):
            yield name, line


def _write_item(root: ET.Element, shape: Shape, item: Item) -> None:
    *parents, tag = shape.xml_element.split("/")[1:]
    here = root
    for parent in parents:
        here = _child(here, parent)
    element = ET.SubElement(here, tag)
    for name, line in _fields(shape, item):
        if line.type == "secret":
            element.append(ET.Comment(_SECRET.format(line.name)))
            continue
        if line.standing == "inferred":
            element.append(ET.Comment(_INFERRED.format(line.at)))
        wire: dict[str, Any] = {}
        put(wire, name.split("."), value_of(item.given, name))
        _write(element, body(shape, {}, wire, {}))


def _child(parent: ET.Element, tag: str) -> ET.Element:
    """The last child of this name, so that what belongs together stays together; a new one where there is none."""
    found = parent.findall(tag)
    return found[-1] if found else ET.SubElement(parent, tag)


def _write(parent: ET.Element, wire: Wire) -> None:
    """JSON members as elements: lists are repeated elements."""
    for tag, value in wire.items():
        if isinstance(value, Mapping):
            _write(_child(parent, tag), value)
            continue
        for one in value if isinstance(value, list) else [value]:
            element = ET.SubElement(parent, tag)
            if isinstance(one, Mapping):
                _write(element, one)
            else:
                element.text = str(one)
