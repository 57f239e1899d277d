# SPDX-License-Identifier: GPL-3.0-or-later
"""What all files of Group Policy preferences have in common ([MS-GPPREF] 2.2.1.1): an outer element, and items with their properties."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from xml.etree import ElementTree
from xml.parsers import expat

from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

_DECLARATION = '<?xml version="1.0" encoding="utf-8"?>\n'
_DEPTH = 64


def tree(data: bytes, tag: str, what: str) -> ElementTree.Element:
    """The outer element, which is to be a `tag`. Raises `FormatError`, also for a document type declaration, which these never have."""
    try:
        _refuse_traps(data, what)
        builder = ElementTree.TreeBuilder(insert_comments=True, insert_pis=True)
        root = ElementTree.fromstring(data, parser=ElementTree.XMLParser(target=builder))
    except (ElementTree.ParseError, expat.ExpatError, LookupError, ValueError) as error:
        raise FormatError(f"{what}: no well-formed XML: {error}") from None
    if root.tag != tag:
        raise FormatError(f"{what}: the outermost element is {root.tag!r}, not {tag!r}")
    return root


def _refuse_traps(data: bytes, what: str) -> None:
    """Entities and deep nesting make small files expensive; neither occurs in real ones."""
    depth = 0

    def start(_name: str, _attributes: Mapping[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEPTH:
            raise FormatError(f"{what}: elements nested more than {_DEPTH} deep")

    def end(_name: str) -> None:
        nonlocal depth
        depth -= 1

    def doctype(*_declaration: object) -> None:
        raise FormatError(f"{what}: holds a document type declaration, which preferences never do; restore the file")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler, parser.StartDoctypeDeclHandler = start, end, doctype
    parser.Parse(data, True)


def serialised(root: ElementTree.Element) -> bytes:
    return (_DECLARATION + ElementTree.tostring(root, encoding="unicode") + "\n").replace("\n", "\r\n").encode()


def moment(now: datetime) -> str:
    """As attribute `changed` has it."""
    return f"{now:%Y-%m-%d %H:%M:%S}"
