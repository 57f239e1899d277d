# SPDX-License-Identifier: GPL-3.0-or-later
"""Where in the inventory a variable is set: the file and line that mends a finding.

The files are looked at as text with YAML's own marks, nothing of them is evaluated: secrets stay what they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.libraries import yaml

_SUFFIXES = ("", ".yml", ".yaml", ".json")
_NOT_READ = (".pyc", ".pyo", ".swp", ".bak", ".retry", ".orig")


class Locator:
    """Searches as Ansible does: next to each inventory source and next to the playbook, the host's own variables first, `all` last."""

    def __init__(self, sources: Iterable[Path], playbook_folder: Path | None = None, root: Path | None = None) -> None:
        self._sources = [source.resolve() for source in sources if source.exists()]
        folders = [source if source.is_dir() else source.parent for source in self._sources]
        folders += [playbook_folder.resolve()] if playbook_folder else []
        self._folders = list(dict.fromkeys(folders))
        self._root = (root or (self._folders[0] if self._folders else Path())).resolve()

    def find(self, host: str, groups: Sequence[str], variables: Sequence[str]) -> dict[str, Any] | None:
        """{file, line} of the first of `variables` that is set for the host (`groups`: nearest first), else of the host itself."""
        scopes = [("host_vars", host), *(("group_vars", group) for group in groups if group != "all"), ("group_vars", "all")]
        for variable in variables:
            for kind, name in scopes:
                for file in self._files(kind, name):
                    if line := _keys(file).get(variable):
                        return self._place(file, line)
            for source in self._inventories():
                if line := _in_inventory(source, {host, *groups, "all"}, variable):
                    return self._place(source, line)
        for source in self._inventories():
            if line := _host_line(source, host):
                return self._place(source, line)
        return None

    def _files(self, kind: str, name: str) -> Iterator[Path]:
        for folder in self._folders:
            for suffix in _SUFFIXES:
                path = folder / kind / f"{name}{suffix}"
                if path.is_dir():
                    yield from sorted(file for file in path.rglob("*") if _readable(file))
                elif path.is_file():
                    yield path

    def _inventories(self) -> Iterator[Path]:
        for source in self._sources:
            if source.is_dir():
                yield from sorted(file for file in source.iterdir() if _readable(file))
            elif _readable(source):
                yield source

    def _place(self, file: Path, line: int) -> dict[str, Any]:
        inside = file.is_relative_to(self._root)
        return {"file": file.relative_to(self._root).as_posix() if inside else file.name, "line": line}


def _readable(file: Path) -> bool:
    return file.is_file() and not file.name.startswith(".") and file.suffix not in (*_NOT_READ, ".py", ".sh")


def _composed(file: Path) -> Any:
    """The file's YAML tree with its marks; None where it is none. Tags are kept as text, so vaults and !unsafe do no harm."""
    try:
        return yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, OSError):
        return None


def _members(node: Any) -> Iterator[tuple[str, int, Any]]:
    """Name, line and value of each member of a mapping."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield str(key.value), key.start_mark.line + 1, value


@cache
def _keys(file: Path) -> dict[str, int]:
    return {name: line for name, line, _value in _members(_composed(file))}


@cache
def _inventory_vars(file: Path) -> dict[tuple[str, str], int]:
    """(host or group, variable) -> line, of an inventory in YAML."""
    found: dict[tuple[str, str], int] = {}
    waiting = list(_members(_composed(file)))
    while waiting:
        group, _line, node = waiting.pop()
        for part, _at, inside in _members(node):
            if part == "vars":
                found.update({(group, name): line for name, line, _value in _members(inside)})
            elif part == "children":
                waiting += _members(inside)
            elif part == "hosts":
                for host, line, values in _members(inside):
                    found[(host, "")] = line
                    found.update({(host, name): line for name, line, _value in _members(values)})
    return found


def _in_inventory(file: Path, names: set[str], variable: str) -> int | None:
    """The line of an inventory file, YAML or INI, that sets the variable for one of these hosts and groups."""
    known = _inventory_vars(file)
    if known:
        return next((known[(name, variable)] for name in sorted(names) if (name, variable) in known), None)
    section = ""
    for number, text in _ini_lines(file):
        if heading := re.fullmatch(r"\[([^\]]+)\]", text):
            section = heading[1]
        elif section.endswith(":vars"):
            if section.removesuffix(":vars") in names and re.match(rf"{re.escape(variable)}\s*=", text):
                return number
        elif text.split()[0] in names and re.search(rf"\s{re.escape(variable)}=", text):
            return number
    return None


def _host_line(file: Path, host: str) -> int | None:
    line = _inventory_vars(file).get((host, ""))
    return line or next((number for number, text in _ini_lines(file) if text.split()[0] == host), None)


@cache
def _ini_lines(file: Path) -> list[tuple[int, str]]:
    """Lines of an inventory in INI, without comments; none of what YAML understands, or of what is neither."""
    if _composed(file) is not None and file.suffix in (".yml", ".yaml", ".json"):
        return []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (UnicodeDecodeError, OSError):
        return []
    bare = ((number, line.strip()) for number, line in enumerate(lines, 1))
    return [(number, line) for number, line in bare if line and line[0] not in "#;"]
