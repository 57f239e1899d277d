# SPDX-License-Identifier: GPL-3.0-or-later
"""Registry policy files: `registry.pol` of either half of a policy ([MS-GPREG] 2.2.1, 3.2.5.1).

A file is a sequence of instructions whose order counts. What is read is written back byte for byte; an edit touches what it was asked
to and nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError

HEADER = b"PReg\x01\0\0\0"
MAXIMUM_SIZE = 0xFFFF
"""Bytes of data an instruction may carry by the specification. Larger ones are read and kept, but not made."""

Data = str | int | Sequence[str] | bytes  # pylint: disable=unsupported-binary-operation  # judged for Python 3.8

NONE, STRING, EXPAND_STRING, BINARY, DWORD, DWORD_BIG_ENDIAN, LINK, MULTI_STRING, QWORD = 0, 1, 2, 3, 4, 5, 6, 7, 11

TYPES = {
    "none": NONE,
    "string": STRING,
    "expandstring": EXPAND_STRING,
    "binary": BINARY,
    "dword": DWORD,
    "dword_big_endian": DWORD_BIG_ENDIAN,
    "link": LINK,
    "multistring": MULTI_STRING,
    "resource_list": 8,
    "full_resource_descriptor": 9,
    "resource_requirements_list": 10,
    "qword": QWORD,
}
"""Registry value types ([MS-RRP] 3.1.1.5) in the words of `ansible.windows.win_regedit`, and the rest of them."""

_WORDS = {number: word for word, number in TYPES.items()}
_INTEGERS = {DWORD: (4, "little"), DWORD_BIG_ENDIAN: (4, "big"), QWORD: (8, "little")}


class Record(NamedTuple):
    """One instruction as it stands in the file.

    An empty `value` is the key's default value, or the key itself where type and data are empty.
    """

    key: str
    value: str
    type: int
    data: bytes


@dataclass(frozen=True)
class Setting:
    """One instruction in words ([MS-GPREG] 3.2.5.1).

    `state` is `present` (set the value), `absent` (`**del.`), `default` (`**soft.`: set the value where there is none), `values_cleared`
    (`**delvals.`: remove all values of the key), `values_absent` (`**DeleteValues`, `data` lists the names), `keys_absent`
    (`**DeleteKeys`, `data` lists the subkeys), `key_present` (make the key), `secured` (`**SecureKey`, `data` is 1 or 0), and for `edit`
    only `not_configured` (no instruction about this value).
    """

    key: str
    value: str = ""
    state: str = "present"
    type: int = NONE
    data: Data = b""


# ---- the file


def parse(data: bytes) -> list[Record]:
    """The instructions of a registry policy file, in its order. Raises `FormatError`."""
    if data[: len(HEADER)] != HEADER:
        raise FormatError(f"registry.pol: begins with {data[: len(HEADER)].hex(' ') or 'nothing'}, not with 'PReg' and version 1")
    records: list[Record] = []
    position, end = len(HEADER), len(data)
    while position < end:
        try:
            record, position = _record_at(data, position)
        except _Broken as error:
            raise FormatError(f"registry.pol: instruction {len(records) + 1} at byte {position} of {end}: {error}") from None
        records.append(record)
    return records


def serialise(records: Iterable[Record]) -> bytes:
    """The file that holds these instructions."""
    parts = [HEADER]
    for key, value, number, data in records:
        parts += (
            b"[\0",
            key.encode("utf-16-le"),
            b"\0\0;\0",
            value.encode("utf-16-le"),
            b"\0\0",
            _NUMBERS.pack(b";\0", number, b";\0", len(data), b";\0"),
            data,
            b"]\0",
        )
    return b"".join(parts)


_NUMBERS = struct.Struct("<2sI2sI2s")


class _Broken(Exception):
    """What is wrong with one instruction."""


def _record_at(data: bytes, position: int) -> tuple[Record, int]:
    if data[position : position + 2] != b"[\0":
        raise _Broken("does not begin with '['")
    key, position = _name_at(data, position + 2, "key")
    if data[position : position + 2] != b";\0":
        raise _Broken("no ';' after the key")
    value, position = _name_at(data, position + 2, "value name")
    try:
        first, number, second, size, third = _NUMBERS.unpack_from(data, position)
    except struct.error:
        raise _Broken("truncated in type and size") from None
    if not first == second == third == b";\0":
        raise _Broken("type and size are not set off by ';'")
    start = position + _NUMBERS.size
    end = start + size
    if end + 2 > len(data):
        raise _Broken(f"truncated: {size} bytes of data announced, {len(data) - start} bytes left")
    if data[end : end + 2] != b"]\0":
        raise _Broken(f"no ']' after {size} bytes of data")
    return Record(key, value, number, data[start:end]), end + 2


def _name_at(data: bytes, start: int, what: str) -> tuple[str, int]:
    """A NUL-terminated UTF-16LE name and the position after it."""
    end = data.find(b"\0\0", start)
    while end >= 0 and (end - start) % 2:
        end = data.find(b"\0\0", end + 1)
    if end < 0:
        raise _Broken(f"the {what} has no end")
    try:
        return data[start:end].decode("utf-16-le"), end + 2
    except UnicodeDecodeError:
        raise _Broken(f"the {what} is not UTF-16") from None


# ---- types


def type_word(number: int) -> str:
    """The word of a value type; the number itself, as text, where it has none."""
    return _WORDS.get(number, str(number))


def type_number(word: str) -> int:
    """The number of a value type by its word; numbers are let through. Raises `UserError`."""
    if word in TYPES:
        return TYPES[word]
    if word.isascii() and word.isdigit() and int(word) < 1 << 32:
        return int(word)
    raise UserError(f"registry value type {word!r} is unknown; use one of {', '.join(TYPES)}")


def encode(number: int, value: Data, what: str = "registry value") -> bytes:
    """The data of a value of this type. Bytes are raw data and fit every type. Raises `UserError`, which names `what`."""
    if isinstance(value, bytes):
        return value
    if number in (STRING, EXPAND_STRING):
        return _encode_strings([value], what)
    if number in _INTEGERS:
        return _encode_integer(number, value, what)
    if number == MULTI_STRING:
        if isinstance(value, (str, int)):
            raise UserError(f"{what}: {value!r} is no list of strings")
        if "" in value:
            raise UserError(f"{what}: a multistring cannot hold an empty string")
        return _encode_strings(value, what) + b"\0\0"
    raise UserError(f"{what}: type {type_word(number)} takes raw bytes, not {value!r}")


def decode(number: int, data: bytes) -> Data:
    """The value that this data stands for: a string, an integer or a list of strings; the raw bytes where the data is not what its type
    asks for, so that `encode` always makes the same bytes again."""
    value = _decoded(number, data)
    return data if value is None or encode(number, value) != data else value


def _decoded(number: int, data: bytes) -> Data | None:
    if number in _INTEGERS:
        size, order = _INTEGERS[number]
        return int.from_bytes(data, "big" if order == "big" else "little") if len(data) == size else None
    if number not in (STRING, EXPAND_STRING, MULTI_STRING) or data[-2:] != b"\0\0":
        return None
    try:
        text = data[:-2].decode("utf-16-le")
    except UnicodeDecodeError:
        return None
    if number == MULTI_STRING:
        strings = text.split("\0")[:-1]
        return None if "" in strings else strings
    return None if "\0" in text else text


def _encode_strings(strings: Iterable[object], what: str) -> bytes:
    parts = []
    for string in strings:
        if not isinstance(string, str) or "\0" in string:
            raise UserError(f"{what}: {string!r} is no string without NUL")
        try:
            parts.append(string.encode("utf-16-le") + b"\0\0")
        except UnicodeEncodeError:
            raise UserError(f"{what}: {string!r} holds half a surrogate pair") from None
    return b"".join(parts)


def _encode_integer(number: int, value: object, what: str) -> bytes:
    size, order = _INTEGERS[number]
    try:
        integer = int(value, 16) if isinstance(value, str) and value.lower().startswith("0x") else int(value)  # type: ignore[call-overload]
        return bytes(integer.to_bytes(size, "big" if order == "big" else "little"))
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{what}: {value!r} is no {type_word(number)}, which is an integer from 0 to {(1 << size * 8) - 1}") from None


# ---- words

_MARKER = encode(STRING, " ")
"""What Windows' editors put into an instruction that needs no data."""

_PREFIXES = {"absent": "**del.", "default": "**soft."}
_WHOLE = {"values_absent": "**DeleteValues", "keys_absent": "**DeleteKeys", "secured": "**SecureKey", "values_cleared": "**delvals."}
_HIVES = ("hklm", "hkcu", "hkey_local_machine", "hkey_current_user", "machine", "user")


def setting(record: Record) -> Setting:
    """An instruction in words."""
    name = record.value.lower()
    if not name.startswith("**"):
        if not name and record.type == NONE and not record.data:
            return Setting(record.key, state="key_present")
        return Setting(record.key, record.value, "present", record.type, decode(record.type, record.data))
    if name.startswith("**delvals"):
        return Setting(record.key, state="values_cleared")
    for state, prefix in _PREFIXES.items():
        if name.startswith(prefix):
            kept = Setting(record.key, record.value[len(prefix) :], state)
            return replace(kept, type=record.type, data=decode(record.type, record.data)) if state == "default" else kept
    if name == "**securekey":
        return Setting(record.key, state="secured", type=DWORD, data=decode(DWORD, record.data))
    for state in ("values_absent", "keys_absent"):
        if name == _WHOLE[state].lower():
            return Setting(record.key, state=state, type=STRING, data=_listed(record.data))
    return Setting(record.key, record.value, "present", record.type, decode(record.type, record.data))


def record(wanted: Setting) -> Record:
    """The instruction as Windows' editors write it. Raises `UserError` for what cannot be written."""
    what = _described(wanted)
    value, number, data = _instruction(wanted, what)
    result = Record(wanted.key, value, number, data)
    for name in (result.key, result.value):
        _encode_strings([name], what)
    if not result.key or result.key.split("\\", 1)[0].lower() in _HIVES or result.key != result.key.strip("\\"):
        raise UserError(f"{what}: the key is written without its hive and without a backslash at either end")
    if len(data) > MAXIMUM_SIZE:
        raise UserError(f"{what}: {len(data)} bytes of data; a policy carries at most {MAXIMUM_SIZE} in one value")
    if setting(result).state != wanted.state:
        raise UserError(f"{what}: Windows would take this name for an instruction of another kind ({setting(result).state})")
    return result


def _described(wanted: Setting) -> str:
    path = f"{wanted.key}\\{wanted.value}" if wanted.value else wanted.key
    return f"registry {path} ({wanted.state})"


def _instruction(wanted: Setting, what: str) -> tuple[str, int, bytes]:
    """Value name, type and data."""
    state = wanted.state
    if state == "present":
        return wanted.value, wanted.type, encode(wanted.type, wanted.data, what)
    if state == "default":
        return _PREFIXES[state] + wanted.value, wanted.type, encode(wanted.type, wanted.data, what)
    if state == "absent":
        return _PREFIXES[state] + wanted.value, STRING, _MARKER
    if state == "values_cleared":
        return _WHOLE[state], STRING, _MARKER
    if state == "key_present":
        return "", NONE, b""
    if state == "secured":
        return _WHOLE[state], DWORD, encode(DWORD, wanted.data, what)
    if state in ("values_absent", "keys_absent"):
        return _WHOLE[state], STRING, _encode_list(wanted.data, what)
    raise UserError(f"{what}: this state cannot be written")


def _listed(data: bytes) -> Data:
    """The names of a semicolon-separated list; the raw bytes where the data is no such list."""
    text = _decoded(STRING, data)
    if not isinstance(text, str) or not text:
        return data
    return [name for name in text.split(";") if name] or data


def _encode_list(names: Data, what: str) -> bytes:
    if isinstance(names, bytes):
        return names
    if isinstance(names, (str, int)) or not names or any(";" in name or not name for name in names):
        raise UserError(f"{what}: {names!r} is no list of names without semicolons")
    return _encode_strings([";".join(names)], what)


# ---- editing

_Target = tuple[str, str, frozenset[str]]
"""What an instruction is about: the key, the kind of instruction and the names, all without case."""

_CLEARING = ("values_cleared", "values_absent", "keys_absent")


def under(key: str, parent: str) -> bool:
    """Whether a key is this one or below it."""
    key, parent = key.casefold(), parent.casefold()
    return key == parent or key.startswith(parent + "\\")


def edit(records: Iterable[Record], wanted: Sequence[Setting], owned: Callable[[Record], bool] | None = None) -> list[Record]:
    """The instructions with `wanted` carried out by them, and with nothing else that is `owned`.

    All other instructions stay, in their order. What sets a value is placed after what would remove it, and what clears a key before
    what sets its values; among `wanted` itself the given order counts. Of several wanted instructions about one value the last one counts,
    as on the client.
    """
    targets: dict[_Target, Setting] = {}
    for one in reversed(wanted):
        targets.setdefault(_target(one), one)
    keep = {target for target, one in targets.items() if one.state != "not_configured"}
    items = [(found, _target(setting(found))) for found in records]
    items = [(found, target) for found, target in items if target in keep or not (target in targets or (owned and owned(found)))]
    if not _in_effect(items, targets, keep):
        done: set[_Target] = set()
        waiting = set(keep)
        for target in reversed(targets):
            if target in keep:
                waiting.discard(target)
                _place(items, target, targets[target], done, waiting)
                done.add(target)
    return [found for found, _about in items]


def _target(wanted: Setting) -> _Target:
    key, state, data = wanted.key.casefold(), wanted.state, wanted.data
    if state in ("present", "absent", "default", "not_configured"):
        return key, "value", frozenset((wanted.value.casefold(),))
    if state in ("values_absent", "keys_absent"):
        names = [data.hex()] if isinstance(data, bytes) else [data] if isinstance(data, str) else [] if isinstance(data, int) else data
        return key, state, frozenset(name.casefold() for name in names)
    return key, state, frozenset()


def _clears(first: _Target, second: _Target) -> bool:
    """Whether the first instruction undoes the second where it comes later."""
    key, kind, names = first
    if kind == "keys_absent":
        return any(under(second[0], f"{key}\\{name}") for name in names)
    if key != second[0] or second[1] != "value":
        return False
    return kind == "values_cleared" or (kind == "values_absent" and second[2] <= names)


def _says(one: Record, wanted: Setting) -> bool:
    """Whether an instruction about the same target means the same."""
    found = setting(one)
    if found.state != wanted.state:
        return False
    if wanted.state in ("present", "default"):
        return one.type == wanted.type and one.data == encode(wanted.type, wanted.data, _described(wanted))
    return wanted.state != "secured" or one.data == encode(DWORD, wanted.data, _described(wanted))


def _in_effect(items: Sequence[tuple[Record, _Target]], targets: dict[_Target, Setting], keep: set[_Target]) -> bool:
    """Whether all that is kept is there already and takes effect. Where instructions clear others, that is for `_place` to see."""
    if any(target[1] in _CLEARING for _one, target in items) or any(target[1] in _CLEARING for target in keep):
        return False
    last = {target: one for one, target in items}
    return all(target in last and _says(last[target], targets[target]) for target in keep)


def _place(items: list[tuple[Record, _Target]], target: _Target, wanted: Setting, done: set[_Target], waiting: set[_Target]) -> None:
    """Bring one wanted instruction to where it takes effect. `done` and `waiting` are the wanted ones before and after it."""
    floor = 0
    found: list[int] = []
    for index, (_one, other) in enumerate(items):
        if other == target:
            found.append(index)
        elif (other not in waiting and _clears(other, target)) or (other in done and _clears(target, other)):
            floor = index + 1
    if found and found[-1] >= floor:
        old = items[found[-1]][0]
        if not _says(old, wanted):
            items[found[-1]] = (_rewritten(old, wanted), target)
            for index in reversed(found[:-1]):
                del items[index]
        return
    fresh = record(wanted)
    for index in reversed(found):
        del items[index]
        floor -= index < floor
    items.insert(_spot(items, target, floor), (fresh, target))


def _rewritten(old: Record, wanted: Setting) -> Record:
    """The wanted instruction in the spelling of the one it replaces."""
    fresh = record(wanted)
    return fresh._replace(key=old.key, value=old.value if old.value.casefold() == fresh.value.casefold() else fresh.value)


def _spot(items: Sequence[tuple[Record, _Target]], target: _Target, floor: int) -> int:
    """Before the first that it would undo; otherwise with its key, otherwise at the end."""
    spot = None
    for index in range(floor, len(items)):
        other = items[index][1]
        if _clears(target, other):
            return index
        if other[0] == target[0]:
            spot = index + 1
    return len(items) if spot is None else spot
