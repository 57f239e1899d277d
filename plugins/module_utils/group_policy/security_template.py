# SPDX-License-Identifier: GPL-3.0-or-later
r"""Security templates: `Machine\Microsoft\Windows NT\SecEdit\GptTmpl.inf` ([MS-GPSB] 2.2).

The lines of a file are kept as they are; what is edited is the services ([MS-GPSB] 2.2.8) and the registry values behind the security
options ([MS-GPSB] 2.2.5). A client that meets a line it cannot read abandons that line's whole section ([MS-GPSB] 3.2.5), so such a line
is refused here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Generic, NamedTuple, TypeVar

from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import text

_WHAT = "GptTmpl.inf"
SERVICES, REGISTRY_VALUES = "Service General Setting", "Registry Values"

SC_REMOVE_OPTION = r"MACHINE\Software\Microsoft\Windows NT\CurrentVersion\Winlogon\ScRemoveOption"
"""Smart card removal behaviour, REG_SZ: 0 no action, 1 lock workstation, 2 force logoff, 3 disconnect a remote session."""

SC_FORCE_OPTION = r"MACHINE\Software\Microsoft\Windows\CurrentVersion\Policies\System\ScForceOption"
"""Interactive logon needs a smart card, REG_DWORD 0 or 1."""

STARTUP = {"boot": 0, "system": 1, "automatic": 2, "manual": 3, "disabled": 4}
"""Service start types; a template may hold the last three ([MS-GPSB] 2.2.8, [MS-SCMR] 2.2.15)."""

_STARTUP_WORDS = {number: word for word, number in STARTUP.items()}

STRING, EXPAND_STRING, BINARY, DWORD, MULTI_STRING = 1, 2, 3, 4, 7

_HEADER = ("[Unicode]\r\n", "Unicode=yes\r\n", "[Version]\r\n", 'signature="$CHICAGO$"\r\n', "Revision=1\r\n")


class Service(NamedTuple):
    """How a service starts, and its security descriptor in SDDL; an empty one leaves the service's own alone."""

    name: str
    startup: str
    security: str = ""

    @property
    def key(self) -> str:
        return self.name.casefold()

    @property
    def line(self) -> str:
        security = self.security.replace('"', '""')
        return f'"{self.name}",{STARTUP[self.startup]},"{security}"'


class RegistryValue(NamedTuple):
    """A registry value: `path` with hive (MACHINE or USERS) and value name, registry type, and the value as text without quotes.

    The text of a multistring (type 7) is what follows the comma, as it stands.
    """

    path: str
    type: int
    value: str

    @property
    def key(self) -> str:
        return self.path.casefold()

    @property
    def line(self) -> str:
        quoted = self.type in (STRING, EXPAND_STRING)
        value = '"{}"'.format(self.value.replace('"', '""')) if quoted else self.value
        return f"{self.path}={self.type},{value}"


@dataclass(frozen=True)
class Template:
    """A security template as it stands in its file."""

    content: text.Text

    @cached_property
    def _entries(self) -> tuple[_Line, ...]:
        return tuple(_lines(self.content.lines))

    @cached_property
    def _services(self) -> tuple[_Item[Service], ...]:
        return tuple(_Item(entry.place, _service(entry)) for entry in self._of(SERVICES))

    @cached_property
    def _registry_values(self) -> tuple[_Item[RegistryValue], ...]:
        return tuple(_Item(entry.place, _registry_value(entry)) for entry in self._of(REGISTRY_VALUES))

    def _of(self, section: str) -> Iterator[_Line]:
        wanted = section.casefold()
        return (entry for entry in self._entries if entry.section.casefold() == wanted)

    def services(self) -> list[Service]:
        """The lines of [Service General Setting]."""
        return [item.value for item in self._services]

    def registry_values(self) -> list[RegistryValue]:
        """The lines of [Registry Values]."""
        return [item.value for item in self._registry_values]

    def sections(self) -> list[str]:
        """The names of the sections, in the order and spelling of the file, each once."""
        names: dict[str, str] = {}
        for line in self.content.lines:
            if name := _header(line):
                names.setdefault(name.casefold(), name)
        return list(names.values())

    def lines(self, section: str) -> list[str]:
        """A section's lines without comments, blank lines and white space around them."""
        return [entry.text for entry in self._of(section)]

    @property
    def is_empty(self) -> bool:
        """Whether it asks for nothing."""
        return all(entry.section.casefold() in ("unicode", "version") for entry in self._entries)


class _Line(NamedTuple):
    """A line that says something: its place in the file, its section, and its text without white space around it."""

    place: int
    section: str
    text: str

    def broken(self, why: str) -> FormatError:
        return FormatError(
            f"{_WHAT}: line {self.place + 1} in [{self.section}]: {why}: {self.text!r}; clients skip the whole section until it is mended"
        )


_Value = TypeVar("_Value", Service, RegistryValue)


@dataclass(frozen=True)
class _Item(Generic[_Value]):
    index: int
    value: _Value


def new() -> Template:
    """A template without settings, as Windows' editor begins one."""
    return Template(text.Text(_HEADER, "utf-16-le", b"\xff\xfe"))


def parse(data: bytes) -> Template:
    """A template; tolerant in encoding and arrangement, strict in every line. Raises `FormatError`, which names the line."""
    template = Template(text.decode(data, _WHAT))
    for entry in template._entries:
        _check(entry)
    _read_all = template._services, template._registry_values
    return template


def serialise(template: Template) -> bytes:
    """The file. Raises `UserError` where new text does not fit a file in an old encoding."""
    return text.encode(template.content, _WHAT)


# ---- reading

_HEADER_LINE = re.compile(r"\[([^\]]+)\]\s*(?:;.*)?\Z")
_TRIPLE = re.compile(r'(?:"([^"]+)"|([^",;][^",]*?))\s*,\s*([0-9]{1,9})\s*,\s*(?:"((?:[^"]|"")*)"|([^"]*?))\s*\Z')
_REGISTRY_LINE = re.compile(r'(?:"([^"]+)"|([^"]+?))\s*=\s*([0-9]{1,9})\s*,\s*(.*)\Z', re.DOTALL)
_QUOTED = re.compile(r'"((?:[^"]|"")*)"\s*\Z')
_INTEGER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})\Z")

_PAIRS = frozenset(
    (
        "unicode",
        "version",
        "system access",
        "event audit",
        "kerberos policy",
        "system log",
        "security log",
        "application log",
        "privilege rights",
        "group membership",
    )
)
"""Sections of `name = value` lines ([MS-GPSB] 2.2.1 to 2.2.6, 2.2.11)."""

_TRIPLES = frozenset(("registry keys", "file security"))
"""Sections of `name, mode, descriptor` lines besides the services ([MS-GPSB] 2.2.7, 2.2.9)."""


def _header(line: str) -> str | None:
    found = _HEADER_LINE.match(line.strip())
    return found[1].strip() or None if found else None


def _lines(lines: tuple[str, ...]) -> Iterator[_Line]:
    section = ""
    for index, line in enumerate(lines):
        stripped = line.strip()
        if not stripped or stripped[0] == ";":
            continue
        if stripped[0] == "[":
            name = _header(line)
            if name is None:
                raise FormatError(f"{_WHAT}: line {index + 1}: no section header: {stripped!r}")
            section = name
        elif not section:
            raise FormatError(f"{_WHAT}: line {index + 1}: stands before the first section: {stripped!r}")
        else:
            yield _Line(index, section, stripped)


def _check(entry: _Line) -> None:
    section = entry.section.casefold()
    if section in _PAIRS and "=" not in entry.text:
        raise entry.broken("no 'name = value'")
    if section in _TRIPLES and not _TRIPLE.match(entry.text):
        raise entry.broken('no \'"name",mode,"descriptor"\'')


def _service(entry: _Line) -> Service:
    found = _TRIPLE.match(entry.text)
    if not found:
        raise entry.broken('no \'"service",mode,"descriptor"\'')
    startup = _STARTUP_WORDS.get(int(found[3]))
    if startup is None:
        raise entry.broken(f"start type {found[3]} is none of 2 (automatic), 3 (manual), 4 (disabled)")
    return Service(found[1] or found[2], startup, (found[4] or "").replace('""', '"') or found[5] or "")


def _registry_value(entry: _Line) -> RegistryValue:
    found = _REGISTRY_LINE.match(entry.text)
    if not found:
        raise entry.broken("no 'path=type,value'")
    number, value = int(found[3]), found[4]
    if number in (STRING, EXPAND_STRING) and value.startswith('"'):
        quoted = _QUOTED.match(value)
        if not quoted:
            raise entry.broken("quotes that do not close")
        value = quoted[1].replace('""', '"')
    elif number == DWORD and not _INTEGER.match(value):
        raise entry.broken(f"{value!r} is no integer")
    return RegistryValue(found[1] or found[2], number, value)


# ---- editing


def edit(
    template: Template,
    services: Mapping[str, Service | None] | None = None,
    registry_values: Mapping[str, RegistryValue | None] | None = None,
    *,
    exact: bool = False,
) -> Template:
    """The template with these services and registry values, found by name without case; None takes one out.

    With `exact`, services and registry values that are not named go too. All other lines stay. Raises `UserError` for a name or
    value that no line can hold.
    """
    edited = _edit_section(template, SERVICES, template._services, services or {}, _same_service, exact)
    return _edit_section(edited, REGISTRY_VALUES, edited._registry_values, registry_values or {}, _same_registry_value, exact)


def with_section(template: Template, section: str, lines: Sequence[str]) -> Template:
    """The template with exactly these lines in a section; the same template where it has them. Raises `UserError` for what is no line."""
    present = list(template._of(section))
    if [entry.text for entry in present] == list(lines):
        return template
    for line in lines:
        try:
            read = [] if re.search(r"[\r\n\0]", line) else list(_lines((f"[{section}]\n", line)))
            if [entry.text for entry in read] != [line]:
                raise UserError(f"{_WHAT} [{section}]: {line!r} cannot be written as a line of a security template")
            _check(read[0])
        except FormatError as error:
            raise UserError(str(error)) from error
    changed = _rewritten(template.content.lines, section, {entry.place: None for entry in present}, list(lines))
    return replace(template, content=replace(template.content, lines=changed))


def _edit_section(
    template: Template,
    section: str,
    items: tuple[_Item[_Value], ...],
    changes: Mapping[str, _Value | None],
    same: Callable[[_Value, _Value], bool],
    exact: bool,
) -> Template:
    wanted = {name.casefold(): value for name, value in changes.items()}
    found: dict[str, list[_Item[_Value]]] = {}
    for item in items:
        found.setdefault(item.value.key, []).append(item)
    lines: dict[int, str | None] = {}
    for key, present in found.items():
        value = wanted.get(key)
        if value is None:
            if exact or key in wanted:
                lines.update({item.index: None for item in present})
        elif not all(same(item.value, value) for item in present):
            lines.update({item.index: None for item in present[1:]})
            lines[present[0].index] = _checked(value)
    added = [_checked(value) for key, value in wanted.items() if value is not None and key not in found]
    if not lines and not added:
        return template
    return replace(template, content=replace(template.content, lines=_rewritten(template.content.lines, section, lines, added)))


def _rewritten(lines: tuple[str, ...], section: str, changes: Mapping[int, str | None], added: list[str]) -> tuple[str, ...]:
    end = text.line_end(lines)
    kept: list[tuple[str, str]] = []
    name = ""
    for index, line in enumerate(lines):
        name = _header(line) or name
        if index not in changes:
            kept.append((name.casefold(), line))
        elif (new_line := changes[index]) is not None:
            kept.append((name.casefold(), new_line + (line[len(line.rstrip("\r\n")) :] or end)))
    ours = section.casefold()
    places = [index for index, (owner, line) in enumerate(kept) if owner == ours and line.strip()]
    if added:
        if not places:
            kept.append((ours, f"[{section}]{end}"))
            places = [len(kept) - 1]
        kept[places[-1] + 1 : places[-1] + 1] = [(ours, line + end) for line in added]
    elif all(_header(kept[index][1]) for index in places):
        kept = [(owner, line) for owner, line in kept if owner != ours or not line.strip()]
    return _ended([line for _owner, line in kept], end)


def _ended(lines: list[str], end: str) -> tuple[str, ...]:
    """Every line but the last must have an end; a file without final line end may have been appended to."""
    last = len(lines) - 1
    return tuple(line if index == last or line.endswith(("\r", "\n")) else line + end for index, line in enumerate(lines))


def _same_service(one: Service, other: Service) -> bool:
    return (one.startup, one.security) == (other.startup, other.security)


def _same_registry_value(one: RegistryValue, other: RegistryValue) -> bool:
    if one.type == other.type == DWORD and _INTEGER.match(one.value) and _INTEGER.match(other.value):
        return _integer(one.value) == _integer(other.value)
    return (one.type, one.value) == (other.type, other.value)


def _integer(value: str) -> int:
    return int(value, 16 if "x" in value.lower() else 10)


def _checked(value: Service | RegistryValue) -> str:
    """The line that says this, made sure of by reading it again."""
    section = SERVICES if isinstance(value, Service) else REGISTRY_VALUES
    if isinstance(value, Service) and value.startup not in ("automatic", "manual", "disabled"):
        raise UserError(f"service {value.name!r}: startup {value.startup!r} is none of automatic, manual, disabled")
    line = value.line
    try:
        if len(list(_lines((f"[{section}]\n", line)))) == 1 and not re.search(r"[\r\n\0]", line):
            entry = _Line(0, section, line)
            read: Service | RegistryValue = _service(entry) if isinstance(value, Service) else _registry_value(entry)
            if read == value:
                return line
    except FormatError:
        pass
    raise UserError(f"{_WHAT} [{section}]: {value[0]!r} with {value[-1]!r} cannot be written as a line of a security template")
