# SPDX-License-Identifier: GPL-3.0-or-later
"""`GPT.INI`: a policy's version in SYSVOL ([MS-GPOL] 2.2.4), which the directory's `versionNumber` must equal.

The version's upper 16 bits count the changes of the user half, the lower 16 bits those of the machine half.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import text

_WHAT = "GPT.INI"
_SECTION = re.compile(r"\s*\[\s*([^\]]*?)\s*\]")
_NUMBER = re.compile(r"[0-9]{1,10}\Z")


@dataclass(frozen=True)
class GptIni:
    """The file, its version with the index of its line, and the name it may carry (Windows writes a constant there)."""

    version: int
    display_name: str | None
    content: text.Text
    line: int

    @property
    def user(self) -> int:
        return split(self.version)[0]

    @property
    def machine(self) -> int:
        return split(self.version)[1]


def parse(data: bytes) -> GptIni:
    """The file. Raises `FormatError` where it has no version."""
    content = text.decode(data, _WHAT)
    place = _find(content, "version")
    if place is None:
        raise FormatError(f"{_WHAT}: no Version in section [General]; restore the line to the policy's versionNumber in the directory")
    value = _value(content, place)
    if not _NUMBER.match(value) or int(value) > 0xFFFFFFFF:
        raise FormatError(f"{_WHAT}: line {place + 1}: Version {value!r} is no integer from 0 to {0xFFFFFFFF}")
    name = _find(content, "displayname")
    return GptIni(int(value), None if name is None else _value(content, name), content, place)


def serialise(ini: GptIni) -> bytes:
    """The file."""
    return text.encode(ini.content, _WHAT)


def new(version: int = 0, display_name: str | None = None) -> GptIni:
    """The file of a new policy. It is ANSI: other characters of the name become question marks."""
    lines = ["[General]\r\n", f"Version={version}\r\n"]
    if display_name is not None:
        name = re.sub(r"[\r\n\0]", " ", display_name).strip().encode("latin-1", "replace").decode("latin-1")
        lines.append(f"displayName={name}\r\n")
    return parse(text.encode(text.Text(tuple(lines)), _WHAT))


def with_version(ini: GptIni, version: int) -> GptIni:
    """The file with another version; all else stays."""
    if version == ini.version:
        return ini
    lines = list(ini.content.lines)
    key, equals, value = lines[ini.line].partition("=")
    number = value.strip()
    lines[ini.line] = key + equals + value.replace(number, str(version), 1)
    return replace(ini, version=version, content=replace(ini.content, lines=tuple(lines)))


def split(version: int) -> tuple[int, int]:
    """The versions of the user half and of the machine half."""
    return version >> 16 & 0xFFFF, version & 0xFFFF


def join(user: int, machine: int) -> int:
    """The version made of those of the halves."""
    return (user & 0xFFFF) << 16 | machine & 0xFFFF


def bump(version: int, *, machine: bool = False, user: bool = False) -> int:
    """The version after a change of these halves.

    A half that is full goes on at 1, for 0 is a half without content, and a policy of version 0 is not applied at all
    ([MS-GPOL] 3.2.5.1).
    """
    user_version, machine_version = split(version)
    return join(_next(user_version) if user else user_version, _next(machine_version) if machine else machine_version)


def _next(half: int) -> int:
    return half % 0xFFFF + 1


def _find(content: text.Text, key: str) -> int | None:
    """The line of a key of section [General]; the first one counts, as with Windows."""
    general = False
    for index, line in enumerate(content.lines):
        header = _SECTION.match(line)
        if header:
            general = header[1].lower() == "general"
        elif general:
            name, equals, _rest = line.partition("=")
            if equals and name.strip().lower() == key:
                return index
    return None


def _value(content: text.Text, place: int) -> str:
    return content.lines[place].partition("=")[2].strip()
