# SPDX-License-Identifier: GPL-3.0-or-later
r"""Preferences that copy files, write registry values and schedule tasks, of the computer half ([MS-GPPREF] 2.2.1.6, 2.2.1.17, 2.2.1.18.3).

Items, attributes and filters that are not asked for stay. Not tried on Windows: the files are what the specification and files of Windows'
own editor say.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import preference_xml
from ansible_collections.certlogon.core.plugins.module_utils.resource import Words

ACTIONS = {"create": "C", "replace": "R", "update": "U", "delete": "D"}
_ACTION_WORDS = {letter: word for word, letter in ACTIONS.items()}
_PLACES = "CRUD"
HIVES = ("HKEY_LOCAL_MACHINE", "HKEY_CURRENT_USER", "HKEY_CLASSES_ROOT", "HKEY_USERS", "HKEY_CURRENT_CONFIG")
TYPES = {"string": "REG_SZ", "expandstring": "REG_EXPAND_SZ", "dword": "REG_DWORD"}
_TYPE_WORDS = {name: word for word, name in TYPES.items()}
RUN_AS = {"users": ("S-1-5-32-545", "Group"), "system": ("S-1-5-18", "S4U")}
"""Who a task runs as: each user who logs on, by the group of all; or the computer. Names of both differ by Windows' language."""

_RUN_AS_WORDS = {value: word for word, value in RUN_AS.items()}
_ITEMS = uuid.UUID("2b0c5d1e-7a35-5c0e-8f7b-6a1d4c9e0b52")
"""Namespace of the identifiers of items, so that equal input makes equal files."""

_ATTRIBUTES = frozenset({"clsid", "name", "status", "image", "changed", "uid", "removePolicy"})
_DEFAULTS = {"userContext": "0", "bypassErrors": "0", "disabled": "0"}
_AUTHOR = "Author"


class Item(Protocol):
    """What an item of one kind says. `removed`: whether the client undoes it once the policy applies no longer."""

    @property
    def action(self) -> str: ...

    @property
    def removed(self) -> bool: ...

    @property
    def title(self) -> str: ...

    def properties(self) -> Element: ...

    def words(self) -> Words: ...


# ---- files


@dataclass(frozen=True)
class FileItem:
    """A file copied from `source` to `target`, each a whole path as the computer sees it; `%ProgramFilesDir%` and the like count."""

    target: str
    source: str = ""
    action: str = "update"
    read_only: bool = False
    hidden: bool = False
    removed: bool = False

    @property
    def title(self) -> str:
        return self.target.rpartition("\\")[2] or self.target

    def properties(self) -> Element:
        switches = {"readOnly": self.read_only, "archive": True, "hidden": self.hidden, "suppress": False}
        words = {"action": ACTIONS[self.action], "fromPath": self.source, "targetPath": self.target}
        return Element("Properties", {**words, **{name: str(int(on)) for name, on in switches.items()}})

    def words(self) -> Words:
        return {"target": self.target, "source": self.source, "action": self.action, "read_only": self.read_only, "hidden": self.hidden}


def _read_file(properties: Element, removed: bool) -> FileItem:
    have = properties.attrib
    action = _ACTION_WORDS[have.get("action", "U")]
    return FileItem(have["targetPath"], have.get("fromPath", ""), action, have.get("readOnly") == "1", have.get("hidden") == "1", removed)


def _wanted_file(words: Words, action: str, removed: bool) -> FileItem:
    item = FileItem(words["target"], words.get("source") or "", action, bool(words["read_only"]), bool(words["hidden"]), removed)
    if "\\" not in item.target or item.target.endswith("\\"):
        raise UserError(f"target {item.target!r} is no whole path of a file, such as %ProgramFilesDir%\\PassiveKey\\agent.exe")
    if not item.source and action != "delete":
        raise UserError("source is missing")
    return item


# ---- registry


@dataclass(frozen=True)
class RegistryItem:
    """One value of the registry; an empty `value` is the key's own. `data` is text, of a dword its number."""

    hive: str
    key: str
    value: str
    type: str = "string"
    data: str = ""
    action: str = "update"
    removed: bool = False

    @property
    def title(self) -> str:
        return self.value or self.key.rpartition("\\")[2]

    def properties(self) -> Element:
        data = f"{int(self.data):08X}" if self.type == "dword" else self.data
        words = {"action": ACTIONS[self.action], "displayDecimal": "0", "default": str(int(not self.value)), "hive": self.hive}
        return Element("Properties", {**words, "key": self.key, "name": self.value, "type": TYPES[self.type], "value": data})

    def words(self) -> Words:
        return {
            "hive": self.hive,
            "key": self.key,
            "value": self.value,
            "type": self.type,
            "data": self.data,
            "action": self.action,
        }


def _read_registry(properties: Element, removed: bool) -> RegistryItem:
    have = properties.attrib
    kind = _TYPE_WORDS[have.get("type", "REG_SZ")]
    data = str(int(have.get("value", ""), 16)) if kind == "dword" else have.get("value", "")
    return RegistryItem(have["hive"], have["key"], have.get("name", ""), kind, data, _ACTION_WORDS[have.get("action", "U")], removed)


def _wanted_registry(words: Words, action: str, removed: bool) -> RegistryItem:
    data = "" if words.get("data") is None else str(words["data"])
    if words["type"] == "dword" and not (data.isascii() and data.isdigit() and int(data) < 1 << 32):
        raise UserError(f"data {data!r} is no number from 0 to {(1 << 32) - 1}")
    if not words["key"].strip("\\") or words["key"].upper().startswith("HKEY_"):
        raise UserError(f"key {words['key']!r} is no key below its hive, such as Software\\Corp")
    return RegistryItem(words["hive"], words["key"], words.get("value") or "", words["type"], data, action, removed)


# ---- tasks


@dataclass(frozen=True)
class TaskItem:
    """A program that is started at each logon."""

    name: str
    command: str
    arguments: str = ""
    description: str = ""
    run_as: str = "users"
    repeat_minutes: int = 0
    action: str = "update"
    removed: bool = False

    @property
    def title(self) -> str:
        return self.name

    def properties(self) -> Element:
        who, kind = RUN_AS[self.run_as]
        found = Element("Properties", {"action": ACTIONS[self.action], "name": self.name, "runAs": who, "logonType": kind})
        task = SubElement(found, "Task", {"version": "1.2"})
        about = SubElement(task, "RegistrationInfo")
        _leaves(about, {"Author": "certlogon", **({"Description": self.description} if self.description else {})})
        principal = SubElement(SubElement(task, "Principals"), "Principal", {"id": _AUTHOR})
        level = {"RunLevel": "LeastPrivilege" if self.run_as == "users" else "HighestAvailable"}
        _leaves(principal, {"GroupId": who, **level} if kind == "Group" else {"UserId": who, "LogonType": kind, **level})
        settings = SubElement(task, "Settings")
        _leaves(SubElement(settings, "IdleSettings"), {"StopOnIdleEnd": "false", "RestartOnIdle": "false"})
        _leaves(settings, _SETTINGS)
        trigger = SubElement(SubElement(task, "Triggers"), "LogonTrigger")
        _leaves(trigger, {"Enabled": "true"})
        if self.repeat_minutes:
            _leaves(SubElement(trigger, "Repetition"), {"Interval": f"PT{self.repeat_minutes}M", "StopAtDurationEnd": "false"})
        program = SubElement(SubElement(task, "Actions", {"Context": _AUTHOR}), "Exec")
        _leaves(program, {"Command": self.command, **({"Arguments": self.arguments} if self.arguments else {})})
        return found

    def words(self) -> Words:
        return {
            "name": self.name,
            "command": self.command,
            "arguments": self.arguments,
            "description": self.description,
            "run_as": self.run_as,
            "repeat_minutes": self.repeat_minutes,
            "action": self.action,
        }


_SETTINGS = {
    "MultipleInstancesPolicy": "Parallel",  # one for each user who is logged on
    "DisallowStartIfOnBatteries": "false",
    "StopIfGoingOnBatteries": "false",
    "AllowHardTerminate": "true",
    "StartWhenAvailable": "true",
    "Enabled": "true",
    "Hidden": "false",
    "ExecutionTimeLimit": "PT0S",  # none
    "Priority": "7",
}


def _leaves(parent: Element, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        SubElement(parent, name).text = text


def _read_task(properties: Element, removed: bool) -> TaskItem:
    have = properties.attrib
    who = _RUN_AS_WORDS[have["runAs"], have["logonType"]]
    texts = {name: properties.findtext(f"Task/{path}") or "" for name, path in _TEXTS.items()}
    repeat = int((texts["repeat"] or "PT0M").removeprefix("PT").removesuffix("M"))
    return TaskItem(have["name"], texts["command"], texts["arguments"], texts["description"], who, repeat, _action(have), removed)


_TEXTS = {
    "command": "Actions/Exec/Command",
    "arguments": "Actions/Exec/Arguments",
    "description": "RegistrationInfo/Description",
    "repeat": "Triggers/LogonTrigger/Repetition/Interval",
}
_LONGEST_REPEAT = 31 * 24 * 60
"""Minutes of P31D ([MS-TSCH] 2.5.3.1)."""


def _action(have: Mapping[str, str]) -> str:
    return _ACTION_WORDS[have.get("action", "U")]


def _wanted_task(words: Words, action: str, removed: bool) -> TaskItem:
    texts = {name: words.get(name) or "" for name in ("arguments", "description")}
    command, repeat = words.get("command") or "", words["repeat_minutes"]
    item = TaskItem(words["name"], command, texts["arguments"], texts["description"], words["run_as"], repeat, action, removed)
    if not item.name or not item.name.isprintable() or set(item.name) & set('\\/:*?"<>|'):
        raise UserError(f"name {item.name!r} is no name of a task")
    if not item.command and action != "delete":
        raise UserError("command is missing")
    if not 0 <= repeat <= _LONGEST_REPEAT:
        raise UserError(f"repeat_minutes {repeat} is not from 0 (never) to {_LONGEST_REPEAT} (31 days)")
    return item


# ---- kinds


@dataclass(frozen=True)
class Kind:
    """One kind of preferences: its option in `config`, its file, its elements with their class ids, and its two ways of words."""

    option: str
    path: str
    outer: tuple[str, str]
    inner: tuple[str, str]
    names: tuple[str, ...]
    read: Callable[[Element, bool], Item]
    wanted: Callable[[Words, str, bool], Item]

    @property
    def what(self) -> str:
        return self.path.rpartition("\\")[2]

    def identity(self, properties: Element) -> str:
        return "\\".join(properties.get(name, "") for name in self.names).casefold()


_COMMON: dict[str, Any] = {
    "action": {"type": "str", "choices": list(ACTIONS)},
    "remove_when_unapplied": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "not_configured"], "default": "present"},
}
OPTIONS: dict[str, dict[str, Any]] = {
    "file_preferences": {
        "target": {"type": "str", "required": True},
        "source": {"type": "str"},
        "read_only": {"type": "bool", "default": False},
        "hidden": {"type": "bool", "default": False},
        **_COMMON,
    },
    "registry_preferences": {
        "hive": {"type": "str", "choices": list(HIVES), "default": HIVES[0]},
        "key": {"type": "str", "required": True, "no_log": False},
        "value": {"type": "str", "default": ""},
        "type": {"type": "str", "choices": list(TYPES), "default": "string"},
        "data": {"type": "str"},
        **_COMMON,
    },
    "task_preferences": {
        "name": {"type": "str", "required": True},
        "command": {"type": "str"},
        "arguments": {"type": "str"},
        "description": {"type": "str"},
        "run_as": {"type": "str", "choices": list(RUN_AS), "default": "users"},
        "repeat_minutes": {"type": "int", "default": 0},
        **_COMMON,
    },
}
KINDS = (
    Kind(
        "file_preferences",
        "Machine\\Preferences\\Files\\Files.xml",
        ("Files", "{215B2E53-57CE-475c-80FE-9EEC14635851}"),
        ("File", "{50BE44C8-567A-4ed1-B1D0-9234FE1F38AF}"),
        ("targetPath",),
        _read_file,
        _wanted_file,
    ),
    Kind(
        "registry_preferences",
        "Machine\\Preferences\\Registry\\Registry.xml",
        ("RegistrySettings", "{A3CCFC41-DFDB-43a5-8D26-0FE8B954DA51}"),
        ("Registry", "{9CD4B2F4-923D-47f5-A062-E897DD1DAD50}"),
        ("hive", "key", "name"),
        _read_registry,
        _wanted_registry,
    ),
    Kind(
        "task_preferences",
        "Machine\\Preferences\\ScheduledTasks\\ScheduledTasks.xml",
        ("ScheduledTasks", "{CC63F200-7309-4ba0-B154-A71CD118DBCC}"),
        ("TaskV2", "{D8896631-B747-47a7-84A6-C155337F3BC8}"),
        ("name",),
        _read_task,
        _wanted_task,
    ),
)

Wanted = dict[str, "Item | None"]
"""By identity; None for an item that is to go."""


def wanted(kind: Kind, entries: Iterable[Words]) -> tuple[Wanted, list[str]]:
    """The entries of an option as items, and what is wrong with them."""
    found: Wanted = {}
    problems = []
    for entry in entries:
        name = f"{kind.option}: {entry.get('target') or entry.get('key') or entry.get('name')}"
        removed = bool(entry["remove_when_unapplied"])
        gone = entry["state"] == "not_configured"
        action = entry.get("action") or ("replace" if removed else "delete" if gone else "update")
        try:
            if any(isinstance(value, str) and not value.isprintable() for value in entry.values()):
                raise UserError("holds characters that cannot be printed")
            if removed and action != "replace":
                raise UserError("remove_when_unapplied needs action replace, for only then does a client note what it made")
            item = kind.wanted(entry, action, removed)
        except UserError as error:
            problems.append(f"{name}: {error}")
            continue
        identity = kind.identity(item.properties())
        if identity in found:
            problems.append(f"{name}: is listed twice")
        found[identity] = None if gone else item
    return found, problems


def words(kind: Kind, data: bytes) -> list[Words]:
    """The items in words. Raises `FormatError` where the file holds more than words can say: filters, accounts, other kinds of items."""
    root, found = preference_xml.tree(data, kind.outer[0], kind.what), []
    for item in root:
        read = _plain(kind, item)
        found.append({**read.words(), "remove_when_unapplied": read.removed, "state": "present"})
    if len({kind.identity(item[0]) for item in root}) != len(root):
        raise FormatError(f"{kind.what}: holds two items about one thing")
    return sorted(found, key=lambda one: [str(value).casefold() for value in one.values()])


def _plain(kind: Kind, item: Element) -> Item:
    strange = {name for name, value in item.attrib.items() if name not in _ATTRIBUTES and _DEFAULTS.get(name) != value}
    if item.tag == kind.inner[0] and len(item) == 1 and item[0].tag == "Properties" and not strange:
        try:
            read = kind.read(item[0], item.get("removePolicy") == "1")
        except (KeyError, ValueError):
            pass
        else:
            if _canonical(read.properties()) == _canonical(item[0]):
                return read
    raise FormatError(f"{kind.what}: item {item.get('name')!r} says more than the options can")


def _canonical(element: Element) -> str:
    return ElementTree.canonicalize(ElementTree.tostring(element, encoding="unicode"), strip_text=True)


def is_empty(kind: Kind, data: bytes) -> bool:
    """Whether the file holds no item at all. Raises `FormatError`."""
    return not len(preference_xml.tree(data, kind.outer[0], kind.what))


def edit(kind: Kind, data: bytes | None, asked: Wanted, *, exact: bool, now: datetime) -> bytes | None:
    """The file with the items that are asked for, without those that are not to be (`exact`: any others). None for no file.

    An item that says so already stays as it is, and so does a file that is right; what is changed is marked as changed `now`.
    """
    if data is None and not any(asked.values()):
        return None
    root = preference_xml.tree(data, kind.outer[0], kind.what) if data is not None else Element(kind.outer[0], {"clsid": kind.outer[1]})
    found: dict[str, list[tuple[Element, Element, Element]]] = {}
    for parent in root.iter():
        for item in parent.findall(kind.inner[0]):
            properties = item.find("Properties")
            if properties is not None:
                found.setdefault(kind.identity(properties), []).append((parent, item, properties))
    changed = False
    for identity, wish in asked.items():
        if wish is None:
            continue
        present = found.get(identity)
        if present:
            _parent, item, properties = present.pop(0)
            changed |= _set(item, properties, wish, now)
        else:
            _append(kind, root, identity, wish, now)
            changed = True
    for identity in set(found) if exact else {identity for identity, wish in asked.items() if wish is None}:
        for parent, item, _properties in found.get(identity, ()):
            parent.remove(item)
            changed = True
    if not changed:
        return data
    return preference_xml.serialised(root) if len(root) else None


def _set(item: Element, properties: Element, wish: Item, now: datetime) -> bool:
    fresh = wish.properties()
    if _canonical(fresh) == _canonical(properties) and (item.get("removePolicy") == "1") == wish.removed:
        return False
    item.attrib.update(_shown(wish, now))
    properties.attrib.update(fresh.attrib)
    properties[:] = list(fresh)
    return True


def _append(kind: Kind, root: Element, identity: str, wish: Item, now: datetime) -> None:
    uid = str(uuid.uuid5(_ITEMS, f"{kind.option} {identity}")).upper()
    item = SubElement(root, kind.inner[0], {"clsid": kind.inner[1], **_shown(wish, now), "uid": f"{{{uid}}}"})
    item.append(wish.properties())
    item.tail = "\n"


def _shown(wish: Item, now: datetime) -> dict[str, str]:
    shown = {"name": wish.title, "status": wish.title, "image": str(_PLACES.index(ACTIONS[wish.action]))}
    return {**shown, "changed": preference_xml.moment(now), "removePolicy": str(int(wish.removed))}
