# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables as YAML for an inventory: lossless through Ansible's loader and templating, and readable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

_EXPRESSIONS = ("{{", "{%", "{#")
"""What opens an expression, a statement or a comment in Jinja."""


class _Dumper(yaml.SafeDumper):
    """Lists indented below their key, and no anchors: the same certificate twice is written twice."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    if any(mark in value for mark in _EXPRESSIONS):
        return dumper.represent_scalar("!unsafe", value, style='"')
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value.rstrip("\n") else None)


_Dumper.add_representer(str, _text)


def inventory_text(variables: Mapping[str, Any], heading: str = "") -> str:
    """The text of a file; `heading` is put before it as comment, line by line. Values are of exact built-in types."""
    comment = [f"# {line}".rstrip() for line in heading.splitlines()]
    body = [_dump({name: value}) for name, value in variables.items()]
    return "\n".join(["---", *comment, *body])


def _dump(value: Mapping[str, Any]) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000, default_flow_style=False)
