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
    """The file, its version, and the index of the line that has it."""

    version: int
    content: text.Text
    line: int


def parse(data: bytes) -> GptIni:
    """The file. Raises `FormatError` where it has no version."""
    content = text.decode(data, _WHAT)
    place = _version_line(content)
    if place is None:
        raise FormatError(f"{_WHAT}: no Version in section [General]; restore the line to the policy's versionNumber in the directory")
    value = content.lines[place].partition("=")[2].strip()
    if not _NUMBER.match(value) or int(value) > 0xFFFFFFFF:
        raise FormatError(f"{_WHAT}: line {place + 1}: Version {value!r} is no integer from 0 to {0xFFFFFFFF}")
    return GptIni(int(value), content, place)


def serialise(ini: GptIni) -> bytes:
    """The file."""
    return text.encode(ini.content, _WHAT)


def new(version: int = 0) -> GptIni:
    """The file of a new policy."""
    return GptIni(version, text.Text(("[General]\r\n", f"Version={version}\r\n")), 1)


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


def _version_line(content: text.Text) -> int | None:
    """The line of Version in section [General]; the first one counts, as with Windows."""
    general = False
    for index, line in enumerate(content.lines):
        header = _SECTION.match(line)
        if header:
            general = header[1].lower() == "general"
        elif general:
            name, equals, _rest = line.partition("=")
            if equals and name.strip().lower() == "version":
                return index
    return None
