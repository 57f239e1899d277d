# SPDX-License-Identifier: GPL-3.0-or-later
"""Configurations of FreeRADIUS and nginx as trees, as far as judges ask of them (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Section:
    """`name argument { values; sections }`."""

    name: str = ""
    argument: str = ""
    values: dict[str, list[str]] = field(default_factory=dict)
    sections: list[Section] = field(default_factory=list)

    def value(self, name: str, default: str = "") -> str:
        """The last that is given."""
        return self.values.get(name, [default])[-1]

    def under(self, *names: str) -> Iterator[Section]:
        """The sections of these names, at any depth."""
        for one in self.sections:
            if one.name in names:
                yield one
            yield from one.under(*names)


# ---- FreeRADIUS 3: unlang(5), radiusd.conf(5)

_COMMENT = re.compile(r"""((?:[^#"']|"(?:\\.|[^"])*"|'(?:\\.|[^'])*')*)#.*""")


def radius(text: str) -> Section:
    """A file of its configuration; conditions and assignments of unlang are kept as they are, and nobody asks for them."""
    top = Section()
    open_ones = [top]
    for line in text.splitlines():
        code = _COMMENT.sub(r"\1", line).strip()
        while code.startswith("}"):
            if len(open_ones) > 1:
                open_ones.pop()
            code = code[1:].strip()
        if code.endswith("{"):
            name, _blank, argument = code[:-1].strip().partition(" ")
            open_ones[-1].sections.append(Section(name, argument.strip()))
            open_ones.append(open_ones[-1].sections[-1])
        elif "=" in code:
            name, _equals, value = code.partition("=")
            open_ones[-1].values.setdefault(name.strip(), []).append(value.strip().strip("\"'"))
        elif code:
            open_ones[-1].values.setdefault(code, []).append("")
    return top


# ---- nginx: its directives are names, words, and `;` or a block

_TOKEN = re.compile(r"""#[^\n]*|"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|([{};])|([^\s{};"']+)""")


def nginx(text: str) -> Section:
    top = Section()
    open_ones, words = [top], list[str]()
    for found in _TOKEN.finditer(text):
        if found[0].startswith("#"):
            continue
        if found[3] == "{":
            name, *rest = words or [""]
            open_ones[-1].sections.append(Section(name, " ".join(rest)))
            open_ones.append(open_ones[-1].sections[-1])
            words = []
        elif found[3] == ";":
            if words:
                open_ones[-1].values.setdefault(words[0], []).append(" ".join(words[1:]))
            words = []
        elif found[3] == "}":
            if len(open_ones) > 1:
                open_ones.pop()
            words = []
        else:
            words.append(next((found[number] for number in (1, 2, 4) if found[number] is not None), ""))
    return top
