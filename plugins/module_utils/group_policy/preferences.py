# SPDX-License-Identifier: GPL-3.0-or-later
r"""Service preferences: `Machine\Preferences\Services\Services.xml` ([MS-GPPREF] 2.2.1.19).

They start, stop and configure services when the policy is applied, which a security template only does at the next boot. Items,
attributes and filters that are not asked for stay.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from xml.etree import ElementTree

from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import preference_xml

_WHAT = "Services.xml"
_OUTER, _INNER = "{2CFB484A-4E96-4b5d-A0B6-093D2F91E6AE}", "{AB6F0B67-341F-4e51-92F9-005FBFBA1A43}"
_ITEMS = uuid.UUID("0f3a4f0e-6b5c-5d0a-9f57-3f6d3d1e7c11")
"""Namespace of the identifiers of items: one service has the same in every policy, so that equal input makes equal files."""

STARTUP = {
    "no_change": "NOCHANGE",
    "automatic": "AUTOMATIC",
    "boot": "BOOT",
    "disabled": "DISABLED",
    "manual": "MANUAL",
    "system": "SYSTEM",
}
ACTION = {
    "no_change": "NOCHANGE",
    "start": "START",
    "stop": "STOP",
    "restart": "RESTART",
    "restart_if_required": "RESTART_IF_REQUIRED",
}
_STARTUP_WORDS = {value: word for word, value in STARTUP.items()}
_ACTION_WORDS = {value: word for word, value in ACTION.items()}

_ICONS = {"automatic": "2"}
"""Only for the editor's display. Seen in files of Windows: 2 with AUTOMATIC, 0 with NOCHANGE."""


@dataclass(frozen=True)
class ServicePreference:
    """One item. `timeout` is how long to wait for the service, in seconds from 0 to 255."""

    name: str
    startup: str = "no_change"
    action: str = "no_change"
    timeout: int = 30


@dataclass(frozen=True)
class Preferences:
    """The file as it stands."""

    data: bytes

    @cached_property
    def _services(self) -> tuple[ServicePreference, ...]:
        return tuple(_preference(properties) for _item, properties in _items(_tree(self.data)))

    def services(self) -> list[ServicePreference]:
        """The items in the order of the file. A service may have several, told apart by their filters."""
        return list(self._services)

    def effects(self) -> list[tuple[ServicePreference, bool]]:
        """The items that are not switched off, and whether item-level targeting decides where each acts ([MS-GPPREF] 2.2.1.22)."""
        found = []
        root = _tree(self.data)
        for item, properties in _items(root):
            if "1" not in (root.get("disabled"), item.get("disabled"), properties.get("disabled")):
                filters = item.find("Filters")
                found.append((_preference(properties), filters is not None and len(filters) > 0))
        return found

    @property
    def is_empty(self) -> bool:
        """Whether it holds no item at all."""
        return not len(_tree(self.data))


def new() -> Preferences:
    """A file without items."""
    return Preferences(preference_xml.serialised(ElementTree.Element("NTServices", {"clsid": _OUTER})))


def parse(data: bytes) -> Preferences:
    """The file. Raises `FormatError`, also for a document type declaration, which these files never have."""
    preferences = Preferences(data)
    preferences.services()
    return preferences


def serialise(preferences: Preferences) -> bytes:
    """The file."""
    return preferences.data


def edit(
    preferences: Preferences, wanted: Iterable[ServicePreference], remove: Iterable[str] = (), *, exact: bool = False, now: datetime
) -> Preferences:
    """The file with these preferences and without those of the services in `remove`, or with `exact` without all others.

    An item that says so already stays as it is; one that is changed or made is marked as changed `now`. Where a service has several
    items, the wanted ones are matched with them in order. Raises `UserError` for values that the format does not have.
    """
    root = _tree(preferences.data)
    found: dict[str, list[tuple[ElementTree.Element, ElementTree.Element]]] = {}
    for item, properties in _items(root):
        found.setdefault(properties.get("serviceName", "").casefold(), []).append((item, properties))
    changed = False
    for preference in wanted:
        _check(preference)
        present = found.get(preference.name.casefold())
        if present:
            changed |= _set(*present.pop(0), preference, now)
        else:
            _append(root, preference, now)
            changed = True
    gone = set(found) if exact else {name.casefold() for name in remove}
    for name in gone:
        for item, _properties in found.get(name, ()):
            root.remove(item)
            changed = True
    return Preferences(preference_xml.serialised(root)) if changed else preferences


# ---- XML


def _tree(data: bytes) -> ElementTree.Element:
    return preference_xml.tree(data, "NTServices", _WHAT)


def _items(root: ElementTree.Element) -> list[tuple[ElementTree.Element, ElementTree.Element]]:
    """The items that are about a service, each with its properties."""
    pairs = ((item, item.find("Properties")) for item in root.iter("NTService"))
    return [(item, properties) for item, properties in pairs if properties is not None and properties.get("serviceName")]


def _preference(properties: ElementTree.Element) -> ServicePreference:
    name = properties.get("serviceName", "")
    startup = _word(_STARTUP_WORDS, properties, "startupType")
    action = _word(_ACTION_WORDS, properties, "serviceAction")
    timeout = properties.get("timeout", "30")
    if not (timeout.isascii() and timeout.isdigit() and len(timeout) < 10 and int(timeout) < 256):
        raise FormatError(f"{_WHAT}: service {name!r}: timeout {timeout!r} is no integer from 0 to 255")
    return ServicePreference(name, startup, action, int(timeout))


def _word(words: Mapping[str, str], properties: ElementTree.Element, attribute: str) -> str:
    value = properties.get(attribute, "NOCHANGE")
    if value.upper() not in words:
        raise FormatError(f"{_WHAT}: service {properties.get('serviceName')!r}: {attribute} {value!r} is none of {', '.join(words)}")
    return words[value.upper()]


# ---- editing


def _check(preference: ServicePreference) -> None:
    where = f"service preference {preference.name!r}"
    if not preference.name or not preference.name.isprintable():
        raise UserError(f"{where}: is no service name")
    if preference.startup not in STARTUP:
        raise UserError(f"{where}: startup {preference.startup!r} is none of {', '.join(STARTUP)}")
    if preference.action not in ACTION:
        raise UserError(f"{where}: action {preference.action!r} is none of {', '.join(ACTION)}")
    if not 0 <= preference.timeout <= 255:
        raise UserError(f"{where}: timeout {preference.timeout} is not from 0 to 255")


def _set(item: ElementTree.Element, properties: ElementTree.Element, wanted: ServicePreference, now: datetime) -> bool:
    have = _preference(properties)
    if (have.startup, have.action, have.timeout) == (wanted.startup, wanted.action, wanted.timeout):
        return False
    item.set("changed", preference_xml.moment(now))
    item.set("image", _ICONS.get(wanted.startup, "0"))
    properties.attrib.update(_attributes(wanted, properties.get("serviceName", wanted.name)))
    return True


def _append(root: ElementTree.Element, wanted: ServicePreference, now: datetime) -> None:
    identifier = str(uuid.uuid5(_ITEMS, wanted.name.casefold())).upper()
    attributes = {
        "clsid": _INNER,
        "name": wanted.name,
        "image": _ICONS.get(wanted.startup, "0"),
        "changed": preference_xml.moment(now),
        "uid": f"{{{identifier}}}",
    }
    item = ElementTree.SubElement(root, "NTService", attributes)
    ElementTree.SubElement(item, "Properties", _attributes(wanted, wanted.name))
    item.tail = "\n"


def _attributes(wanted: ServicePreference, name: str) -> dict[str, str]:
    return {
        "startupType": STARTUP[wanted.startup],
        "serviceName": name,
        "serviceAction": ACTION[wanted.action],
        "timeout": str(wanted.timeout),
    }
