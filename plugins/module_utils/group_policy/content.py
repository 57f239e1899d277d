# SPDX-License-Identifier: GPL-3.0-or-later
"""What a policy says: its files in SYSVOL in words, and words carried out on its files. Pure, but for certificate files that are read.

What has words is edited in place; everything else in a file, and every other file, stays as it is. What has no words is shown raw
(sections of the security template, whole files, client-side extensions), so that nothing of a policy is lost in an export.
"""

from __future__ import annotations

import base64
import binascii
import copy
import datetime
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ansible_collections.certlogon.core.plugins.module_utils.certificates import certificate as certificates
from ansible_collections.certlogon.core.plugins.module_utils.certificates import sources
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate
from ansible_collections.certlogon.core.plugins.module_utils.certificates.sources import Authorities
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, Problems, UserError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import (
    certificate_blob,
    extensions,
    preference_items,
    preferences,
    registry_pol,
    security_template,
)
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.preferences import ServicePreference
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.registry_pol import Record, Setting
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.security_template import RegistryValue, Service
from ansible_collections.certlogon.core.plugins.module_utils.resource import Words

COMPUTER_REGISTRY = "Machine\\Registry.pol"
USER_REGISTRY = "User\\Registry.pol"
SECURITY = "Machine\\Microsoft\\Windows NT\\SecEdit\\GptTmpl.inf"
SERVICES = "Machine\\Preferences\\Services\\Services.xml"
KNOWN = (COMPUTER_REGISTRY, USER_REGISTRY, SECURITY, SERVICES, *(kind.path for kind in preference_items.KINDS))
"""The files that have words, relative to the policy's folder ([MS-GPREG] 2.2.1, [MS-GPSB] 2.2, [MS-GPPREF] 2.2)."""

GPT_INI = "GPT.INI"

_REGISTRY = {"computer": COMPUTER_REGISTRY, "user": USER_REGISTRY}
_KNOWN = {path.casefold(): path for path in KNOWN}

Files = Mapping[str, bytes | None]  # pylint: disable=unsupported-binary-operation  # judged for Python 3.8
"""Contents by path relative to the policy's folder; None for a file that is not there."""

OPTIONS: dict[str, Any] = {
    "services": {
        "type": "list",
        "elements": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "startup": {
                "type": "str",
                "required": True,
                "choices": ["automatic", "manual", "disabled", "boot", "system", "not_configured"],
            },
            "security": {"type": "str", "default": ""},
        },
    },
    "security_options": {
        "type": "dict",
        "options": {
            "smart_card_removal_behaviour": {
                "type": "str",
                "choices": ["no_action", "lock", "force_logoff", "disconnect", "not_configured"],
            },
            "require_smart_card": {"type": "str", "choices": ["true", "false", "not_configured"]},
            "registry_values": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "path": {"type": "str", "required": True},
                    "type": {"type": "str"},
                    "value": {"type": "str"},
                    "state": {"type": "str", "choices": ["present", "not_configured"], "default": "present"},
                },
            },
        },
    },
    "registry": {
        "type": "list",
        "elements": "dict",
        "options": {
            "half": {"type": "str", "choices": ["computer", "user"], "default": "computer"},
            "key": {"type": "str", "required": True, "no_log": False},
            "value": {"type": "str", "default": ""},
            "type": {"type": "str"},
            "data": {"type": "raw"},
            "base64": {"type": "str"},
            "state": {
                "type": "str",
                "choices": [
                    "present",
                    "absent",
                    "default",
                    "values_cleared",
                    "values_absent",
                    "keys_absent",
                    "key_present",
                    "secured",
                    "not_configured",
                ],
                "default": "present",
            },
        },
        "mutually_exclusive": [("data", "base64")],
    },
    "certificates": {
        "type": "dict",
        "options": {
            **{
                store: {
                    "type": "list",
                    "elements": "dict",
                    "options": {**sources.CERTIFICATE, **sources.PINS},
                    "mutually_exclusive": [sources.ONE_SOURCE],
                    "required_one_of": [sources.ONE_SOURCE],
                }
                for store in ("trusted_root", "intermediate", "trusted_publisher", "disallowed", "trusted_people", "enterprise_trust")
            },
            "allow_expired": {"type": "bool", "default": False},
            "allow_weak": {"type": "bool", "default": False},
            "allow_non_ca": {"type": "bool", "default": False},
        },
    },
    "autoenrollment": {
        "type": "dict",
        "options": {
            half: {
                "type": "dict",
                "options": {
                    "enabled": {"type": "bool", "required": True},
                    "renew": {"type": "bool"},
                    "update_templates": {"type": "bool"},
                    "expiration_percent": {"type": "int"},
                    "expiration_stores": {"type": "list", "elements": "str"},
                },
            }
            for half in ("computer", "user")
        },
    },
    "service_preferences": {
        "type": "list",
        "elements": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "startup": {
                "type": "str",
                "choices": ["no_change", "automatic", "manual", "disabled", "boot", "system"],
                "default": "no_change",
            },
            "action": {
                "type": "str",
                "choices": ["no_change", "start", "stop", "restart", "restart_if_required"],
                "default": "no_change",
            },
            "timeout": {"type": "int", "default": 30},
            "state": {"type": "str", "choices": ["present", "not_configured"], "default": "present"},
        },
    },
    **{name: {"type": "list", "elements": "dict", "options": options} for name, options in preference_items.OPTIONS.items()},
    "security_template": {
        "type": "list",
        "elements": "dict",
        "options": {
            "section": {"type": "str", "required": True},
            "lines": {"type": "list", "elements": "str", "required": True},
        },
    },
    "files": {
        "type": "list",
        "elements": "dict",
        "options": {
            "path": {"type": "str", "required": True},
            "content": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        "required_if": [("state", "present", ["content"])],
    },
    "extensions": {
        "type": "dict",
        "options": {"computer": {"type": "list", "elements": "str"}, "user": {"type": "list", "elements": "str"}},
    },
}

_REMOVAL = {"no_action": "0", "lock": "1", "force_logoff": "2", "disconnect": "3"}
_REMOVAL_WORDS = {number: word for word, number in _REMOVAL.items()}
_OWN_SECTIONS = frozenset(name.casefold() for name in ("Unicode", "Version", security_template.SERVICES, security_template.REGISTRY_VALUES))

_AUTOENROLLMENT_KEY = "Software\\Policies\\Microsoft\\Cryptography\\AutoEnrollment"
_STORES_KEY = certificate_blob.PARENT
_POLICY, _PERCENT, _STORES = "AEPolicy", "OfflineExpirationPercent", "OfflineExpirationStoreNames"
_UPDATE_TEMPLATES, _RENEW, _SWITCHED_OFF = 1, 6, 0x8000
"""Bits of AEPolicy: enrol by templates; manage the store and fetch pending certificates; do nothing at all."""

_ALLOWANCES = {"expired": "allow_expired", "weak": "allow_weak", "not_a_ca": "allow_non_ca"}
_CA_STORES = ("trusted_root", "intermediate")


@dataclass(frozen=True)
class Autoenrollment:
    """What AutoEnrollment of one half should be; None leaves a part alone."""

    policy: int
    percent: int | None
    stores: str | None

    def settings(self) -> list[Setting]:
        found = [Setting(_AUTOENROLLMENT_KEY, _POLICY, type=registry_pol.DWORD, data=self.policy)]
        if self.percent is not None:
            found.append(Setting(_AUTOENROLLMENT_KEY, _PERCENT, type=registry_pol.DWORD, data=self.percent))
        if self.stores is not None:
            found.append(Setting(_AUTOENROLLMENT_KEY, _STORES, type=registry_pol.STRING, data=self.stores))
        return found


@dataclass(frozen=True)
class Wanted:
    """What one entry of `config` says about a policy's content, its certificates loaded."""

    services: Mapping[str, Service | None] = field(default_factory=dict)
    registry_values: Mapping[str, RegistryValue | None] = field(default_factory=dict)
    registry: Mapping[str, Sequence[Setting]] = field(default_factory=dict)
    certificates: Mapping[str, Sequence[Certificate]] = field(default_factory=dict)
    autoenrollment: Mapping[str, Autoenrollment] = field(default_factory=dict)
    service_preferences: Mapping[str, ServicePreference | None] = field(default_factory=dict)
    preference_items: Mapping[str, preference_items.Wanted] = field(default_factory=dict)
    """By option."""

    sections: Mapping[str, Sequence[str]] = field(default_factory=dict)
    files: Mapping[str, bytes | None] = field(default_factory=dict)
    extensions: Mapping[str, Sequence[extensions.Pair]] = field(default_factory=dict)
    pending: Mapping[str, Sequence[Words]] = field(default_factory=dict)
    """By store, the items that name a CA which is yet to be installed."""


# ---- words -> Wanted


def wanted(entry: Words, found: Authorities | None = None) -> Wanted:
    """The entry's content, checked; certificates of CAs are those `found` in the directory (None: not asked yet).

    Raises one `UserError` that names everything that is wrong with it.
    """
    problems = Problems()
    pending: dict[str, list[Words]] = {}

    def part(read: Callable[[Any, Problems], Any], value: Any) -> Any:
        return read(value, problems) if value is not None else {}

    options = entry.get("security_options") or {}
    result = Wanted(
        services=part(_services, entry.get("services")),
        registry_values=part(_registry_values, options),
        registry=part(_registry, entry.get("registry")),
        certificates=part(lambda value, into: _certificates(value, into, found, pending), entry.get("certificates")),
        autoenrollment=part(_autoenrollment, entry.get("autoenrollment")),
        service_preferences=part(_service_preferences, entry.get("service_preferences")),
        preference_items={kind.option: part(partial(_preference_items, kind), entry.get(kind.option)) for kind in preference_items.KINDS},
        sections=part(_sections, entry.get("security_template")),
        files=part(_files, entry.get("files")),
        extensions=part(_extensions, entry.get("extensions")),
        pending=pending,
    )
    problems.collect(_contradictions(result))
    problems.raise_any()
    return result


def _services(items: Iterable[Words], problems: Problems) -> dict[str, Service | None]:
    found: dict[str, Service | None] = {}
    for item in items:
        if item["name"].casefold() in {name.casefold() for name in found}:
            problems.add(f"services: {item['name']!r} is listed twice")
        found[item["name"]] = (
            None if item["startup"] == "not_configured" else Service(item["name"], item["startup"], item.get("security") or "")
        )
    return found


def _registry_values(options: Words, problems: Problems) -> dict[str, RegistryValue | None]:
    found: dict[str, RegistryValue | None] = {}
    removal, force = options.get("smart_card_removal_behaviour"), options.get("require_smart_card")
    for path, word, number, value in (
        (security_template.SC_REMOVE_OPTION, removal, security_template.STRING, _REMOVAL.get(removal or "")),
        (security_template.SC_FORCE_OPTION, force, security_template.DWORD, "1" if force == "true" else "0"),
    ):
        if word is not None:
            found[path] = None if word == "not_configured" else RegistryValue(path, number, value or "0")
    for item in options.get("registry_values") or ():
        if item["path"].casefold() in {path.casefold() for path in found}:
            problems.add(f"security_options.registry_values: {item['path']} is set twice")
        if item.get("state") == "not_configured":
            found[item["path"]] = None
        elif item.get("type") is None or item.get("value") is None:
            problems.add(f"security_options.registry_values: {item['path']}: type and value are needed")
        else:
            try:
                found[item["path"]] = RegistryValue(item["path"], registry_pol.type_number(item["type"]), item["value"])
            except UserError as error:
                problems.add(f"security_options.registry_values: {item['path']}: {error}")
    return found


def _registry(items: Iterable[Words], problems: Problems) -> dict[str, list[Setting]]:
    found: dict[str, list[Setting]] = {"computer": [], "user": []}
    for item in items:
        name = f"registry: {item['key']}\\{item.get('value') or ''}"
        try:
            found[item.get("half") or "computer"].append(_setting(item, name))
        except UserError as error:
            problems.add(str(error))
    return found


def _setting(item: Words, name: str) -> Setting:
    state = item.get("state") or "present"
    data: Any = item.get("data")
    if item.get("base64") is not None:
        data = _from_base64(item["base64"], name)
    if state in ("present", "default"):
        if item.get("type") is None:
            raise UserError(f"{name}: type is missing; use one of {', '.join(registry_pol.TYPES)}")
        if data is None and item["type"] != "none":
            raise UserError(f"{name}: data is missing")
    kind = registry_pol.type_number(item["type"]) if item.get("type") is not None else registry_pol.NONE
    if kind in (registry_pol.STRING, registry_pol.EXPAND_STRING) and isinstance(data, (int, float, bool)):
        raise UserError(f"{name}: data {data!r} is no text; put it in quotes")
    if isinstance(data, list):
        data = [str(one) for one in data]
    return Setting(item["key"], item.get("value") or "", state, kind, b"" if data is None else data)


def _certificates(
    options: Words, problems: Problems, authorities: Authorities | None, pending: dict[str, list[Words]]
) -> dict[str, list[Certificate]]:
    found: dict[str, list[Certificate]] = {}
    now = datetime.datetime.now(datetime.timezone.utc)
    for store in certificate_blob.STORES:
        if options.get(store) is None:
            continue
        loaded: dict[str, Certificate] = {}
        for index, item in enumerate(options[store]):
            where = f"certificates.{store}[{index}]"
            try:
                if sources.from_directory(item):
                    there = sources.published(where, item, authorities) if authorities is not None else []
                    if there is None:
                        pending.setdefault(store, []).append({"enrollment_service": item["enrollment_service"], "chain": item["chain"]})
                else:
                    there = _load(where, item)
                loaded |= {one.sha256: one for one in there or ()}
            except UserError as error:
                problems.add(str(error))
        if store in _CA_STORES:
            problems.collect(_refusals(store, loaded.values(), options, now))
        found[store] = list(loaded.values())
    return found


def _load(where: str, item: Words) -> list[Certificate]:
    source = f"{where} ({item['path']})" if item.get("path") else where
    try:
        found = list(_parsed(Path(item["path"]).read_bytes() if item.get("path") else item["content"]))
    except FormatError as error:
        raise UserError(f"{source}: {error}") from error
    except OSError as error:
        raise UserError(f"{source}: cannot be read: {error.strerror or error}; give the path of a PEM or DER file") from error
    subject = item.get("subject")
    if subject and [one.subject.casefold() for one in found] != [subject.casefold()]:
        raise UserError(f"{source}: subject is {subject!r}, but the certificate is {'; '.join(map(str, found))}")
    pin = (item.get("sha256") or "").replace(":", "").replace(" ", "").lower()
    if pin and [one.sha256.lower() for one in found] != [pin]:
        raise UserError(f"{source}: sha256 is {pin}, but the certificate is {'; '.join(f'{one} {one.sha256}' for one in found)}")
    return found


@lru_cache(maxsize=1024)
def _parsed(source: bytes | str) -> tuple[Certificate, ...]:
    """Many policies push the same certificates."""
    return tuple(certificates.load(source))


def _refusals(store: str, found: Iterable[Certificate], options: Words, now: datetime.datetime) -> Iterable[str]:
    for one in found:
        for finding in certificates.judge(one, now):
            if not options.get(_ALLOWANCES[finding.kind]):
                yield f"certificates.{store}: {one}: {finding.text}; leave it out, or set certificates.{_ALLOWANCES[finding.kind]}"


def _autoenrollment(options: Words, problems: Problems) -> dict[str, Autoenrollment]:
    found = {}
    for half in ("computer", "user"):
        item = options.get(half)
        if item is None:
            continue
        percent, stores = item.get("expiration_percent"), item.get("expiration_stores")
        if percent is not None and not 0 < percent < 100:
            problems.add(f"autoenrollment.{half}: expiration_percent {percent} is not from 1 to 99")
        if any(not store or "," in store for store in stores or ()):
            problems.add(f"autoenrollment.{half}: expiration_stores {stores} are not names of certificate stores, such as MY")
        on = (_RENEW if item.get("renew") is not False else 0) | (_UPDATE_TEMPLATES if item.get("update_templates") is not False else 0)
        found[half] = Autoenrollment(on if item["enabled"] else _SWITCHED_OFF, percent, None if stores is None else ",".join(stores))
    return found


def _service_preferences(items: Iterable[Words], problems: Problems) -> dict[str, ServicePreference | None]:
    found: dict[str, ServicePreference | None] = {}
    for item in items:
        if item["name"].casefold() in {name.casefold() for name in found}:
            problems.add(f"service_preferences: {item['name']!r} is listed twice")
        if not 0 <= item["timeout"] <= 255:
            problems.add(f"service_preferences: {item['name']}: timeout {item['timeout']} is not from 0 to 255 seconds")
        found[item["name"]] = (
            None
            if item.get("state") == "not_configured"
            else ServicePreference(item["name"], item["startup"], item["action"], item["timeout"])
        )
    return found


def _preference_items(kind: preference_items.Kind, items: Iterable[Words], problems: Problems) -> preference_items.Wanted:
    found, wrong = preference_items.wanted(kind, items)
    problems.collect(wrong)
    return found


def _sections(items: Iterable[Words], problems: Problems) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for item in items:
        if item["section"].casefold() in _OWN_SECTIONS:
            problems.add(f"security_template: [{item['section']}] has options of its own (services, security_options); use those")
        found[item["section"]] = [line.strip() for line in item["lines"]]
    return found


def _files(items: Iterable[Words], problems: Problems) -> dict[str, bytes | None]:
    found: dict[str, bytes | None] = {}
    for item in items:
        try:
            path = _file_path(item["path"])
            found[path] = None if item.get("state") == "absent" else _from_base64(item["content"] or "", f"files: {path}: content")
        except UserError as error:
            problems.add(str(error))
    return found


def _file_path(text: str) -> str:
    path = text.replace("/", "\\").strip("\\")
    parts = path.split("\\")
    if not path or any(part in ("", ".", "..") or set(part) & set('<>:"|?*') for part in parts):
        raise UserError(f"files: {text!r} is no path below the policy's folder; it looks like Machine\\Scripts\\scripts.ini")
    if path.casefold() == GPT_INI.casefold():
        raise UserError("files: GPT.INI holds the policy's version, which is kept by this module")
    return _KNOWN.get(path.casefold(), path)


def _extensions(options: Words, problems: Problems) -> dict[str, list[extensions.Pair]]:
    found: dict[str, list[extensions.Pair]] = {}
    for half in ("computer", "user"):
        for text in options.get(half) or ():
            try:
                groups = extensions.parse(text if text.startswith("[") else f"[{text}]")
            except FormatError as error:
                problems.add(f"extensions.{half}: {error}")
                continue
            pairs = [(group.cse, tool) for group in groups for tool in group.tools]
            if not pairs:
                problems.add(f"extensions.{half}: {text!r} names no tool; it looks like {{client-side extension}}{{tool}}")
            found.setdefault(half, []).extend(pairs)
    return found


def _contradictions(result: Wanted) -> Iterable[str]:
    """A file given whole and in words."""
    uses = {
        COMPUTER_REGISTRY: result.registry.get("computer") or result.certificates or result.autoenrollment.get("computer"),
        USER_REGISTRY: result.registry.get("user") or result.autoenrollment.get("user"),
        SECURITY: result.services or result.registry_values or result.sections,
        SERVICES: result.service_preferences,
        **{kind.path: result.preference_items.get(kind.option) for kind in preference_items.KINDS},
    }
    for path, used in uses.items():
        if used and path in result.files:
            yield f"files: {path} is given whole, and other options of the entry write into it; use one of the two"


def _from_base64(text: str, where: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UserError(f"{where} is no base64: {error}") from error


# ---- Wanted -> files


def edit(files: Files, wish: Wanted, *, exact: bool, now: datetime.datetime) -> dict[str, bytes | None]:
    """The files with the wish carried out on them. `exact`: whatever has words and is not wished goes; raw parts stay all the same.

    A file that nothing has to be changed in is the same bytes. Raises `FormatError` for a file that cannot be read and would have to be.
    """
    editors: dict[str, Callable[[bytes | None], bytes | None]] = {
        COMPUTER_REGISTRY: lambda data: _edit_registry(data, wish, "computer", exact),
        USER_REGISTRY: lambda data: _edit_registry(data, wish, "user", exact),
        SECURITY: lambda data: _edit_template(data, wish, exact),
        SERVICES: lambda data: _edit_preferences(data, wish, exact, now),
    }
    for kind in preference_items.KINDS:
        editors[kind.path] = partial(_edit_items, kind, wish, exact, now)
    edited = {path: _edited(path, files, editor) for path, editor in editors.items() if path not in wish.files}
    return {**files, **edited, **wish.files}


def _edited(path: str, files: Files, editor: Callable[[bytes | None], bytes | None]) -> bytes | None:
    try:
        return editor(files.get(path))
    except FormatError as error:
        raise FormatError(
            f"{path.rpartition(chr(92))[0]}\\{error}; restore the file from a backup, or have it replaced whole by option files"
        ) from error


def _edit_registry(data: bytes | None, wish: Wanted, half: str, exact: bool) -> bytes | None:
    settings = list(wish.registry.get(half, ()))
    autoenrollment = wish.autoenrollment.get(half)
    pushed = wish.certificates if half == "computer" else {}
    if not (settings or autoenrollment or pushed or exact) or (data is None and not (settings or autoenrollment or any(pushed.values()))):
        return data
    records = registry_pol.parse(data) if data is not None else []
    for store, wished in pushed.items():
        present = _present(records, store)
        settings += [present.get(one.der) or certificate_blob.setting(store, one.der) for one in wished]
    settings += autoenrollment.settings() if autoenrollment else []
    edited = registry_pol.edit(records, settings, (lambda _record: True) if exact else None)
    if edited == records:
        return data
    return registry_pol.serialise(edited) if edited else None


def _present(records: Iterable[Record], store: str) -> dict[bytes, Setting]:
    """The certificates that a store's instructions hold, in whatever form."""
    found = {}
    for record in records:
        if certificate_blob.store_of(record) == store:
            try:
                found[certificate_blob.certificate(record.data)] = registry_pol.setting(record)
            except FormatError:
                continue
    return found


def _edit_template(data: bytes | None, wish: Wanted, exact: bool) -> bytes | None:
    asked = wish.services or wish.registry_values or wish.sections
    if not (asked or exact) or (data is None and not asked):
        return data
    template = security_template.parse(data) if data is not None else security_template.new()
    edited = security_template.edit(template, wish.services, wish.registry_values, exact=exact)
    for section, lines in wish.sections.items():
        edited = security_template.with_section(edited, section, lines)
    if edited is template:
        return data
    return None if edited.is_empty else security_template.serialise(edited)


def _edit_preferences(data: bytes | None, wish: Wanted, exact: bool, now: datetime.datetime) -> bytes | None:
    asked = wish.service_preferences
    if not (asked or exact) or (data is None and not any(asked.values())):
        return data
    present = preferences.parse(data) if data is not None else preferences.new()
    kept = [item for item in asked.values() if item is not None]
    edited = preferences.edit(present, kept, [name for name, item in asked.items() if item is None], exact=exact, now=now)
    result = preferences.serialise(edited)
    if result == data:
        return data
    return None if edited.is_empty else result


def _edit_items(kind: preference_items.Kind, wish: Wanted, exact: bool, now: datetime.datetime, data: bytes | None) -> bytes | None:
    asked = wish.preference_items.get(kind.option) or {}
    return preference_items.edit(kind, data, asked, exact=exact, now=now) if asked or exact else data


# ---- extensions


def kinds(files: Files) -> dict[str, set[str]]:
    """The kinds of content that each half has, as `extensions.MACHINE` and `extensions.USER` name them. Unreadable files have none."""
    found: dict[str, set[str]] = {"computer": set(), "user": set()}
    for half, path in _REGISTRY.items():
        records = _quietly(registry_pol.parse, files.get(path)) or []
        stores = half == "computer" and any(registry_pol.under(record.key, _STORES_KEY) for record in records)
        others = any(half == "user" or not registry_pol.under(record.key, _STORES_KEY) for record in records)
        found[half] |= ({"certificates"} if stores else set()) | ({"registry"} if others else set())
    template = _quietly(security_template.parse, files.get(SECURITY))
    if template is not None and not template.is_empty:
        found["computer"].add("security")
    services = _quietly(preferences.parse, files.get(SERVICES))
    if services is not None and not services.is_empty:
        found["computer"].add("preferences_services")
    for kind in preference_items.KINDS:
        if _quietly(partial(preference_items.is_empty, kind), files.get(kind.path)) is False:
            found["computer"].add(kind.option)
    return found


_TABLES: Mapping[str, Mapping[str, tuple[extensions.Pair, ...]]] = {"computer": extensions.MACHINE, "user": extensions.USER}


def extension_names(half: str, text: str | None, before: Files, after: Files, wish: Wanted) -> str:
    """The half's extension names after a change of its files: those of content that is there in, those of content that is gone out."""
    had, has = kinds(before)[half], kinds(after)[half]
    table = _TABLES[half]
    needed = [pair for kind in table if kind in has for pair in table[kind]]
    gone = [pair for kind in table if kind in had - has for pair in table[kind]]
    return extensions.merge(text, [*needed, *wish.extensions.get(half, ())], gone)


def with_wished_extensions(half: str, text: str | None, wish: Wanted) -> str:
    """The half's extension names with those that `config` names, where no file changes."""
    return extensions.merge(text, wish.extensions.get(half, ()))


def missing_extensions(half: str, text: str | None, files: Files) -> list[str]:
    """Kinds of content that are there, but that no client looks at, for their client-side extension is not named."""
    try:
        present = {group.cse.casefold() for group in extensions.parse(text)}
    except FormatError:
        return []
    table = _TABLES[half]
    return sorted(kind for kind in kinds(files)[half] if any(cse.casefold() not in present for cse, _tool in table[kind]))


# ---- files -> words


def words(files: Files, machine_extensions: str | None, user_extensions: str | None) -> Words:
    """The content as `config` accepts it; what is empty is left out."""
    result: Words = {}
    raw = {path: data for path, data in files.items() if data is not None and path not in KNOWN}
    readers: tuple[tuple[str, Callable[[bytes], Words]], ...] = (
        (SECURITY, _template_words),
        (COMPUTER_REGISTRY, lambda data: _registry_words(data, "computer")),
        (USER_REGISTRY, lambda data: _registry_words(data, "user")),
        (SERVICES, _preferences_words),
        *((kind.path, partial(_item_words, kind)) for kind in preference_items.KINDS),
    )
    for path, read in readers:
        data = files.get(path)
        found = _quietly(read, data)
        if found is not None:
            _add(result, found)
        elif data is not None:
            raw[path] = data
    if raw:
        result["files"] = [
            {"path": path, "content": base64.b64encode(data).decode(), "state": "present"}
            for path, data in sorted(raw.items(), key=lambda item: item[0].casefold())
        ]
    foreign = {
        half: names
        for half, text in (("computer", machine_extensions), ("user", user_extensions))
        if (names := _foreign_extensions(half, text, files))
    }
    if foreign:
        result["extensions"] = foreign
    return {name: result[name] for name in OPTIONS if name in result}


def with_items(found: Words, items: Mapping[str, Sequence[Words]]) -> Words:
    """A policy's words with further certificates by store, in the order of the words."""
    stores = dict(found.get("certificates", {}))
    for store, more in items.items():
        if more:
            stores[store] = [*stores.get(store, []), *more]
    result = {**found, "certificates": stores} if stores else found
    first = [name for name in result if name not in OPTIONS]
    return {name: result[name] for name in (*first, *OPTIONS) if name in result}


def _add(result: Words, found: Words) -> None:
    # the readers' answers are kept for the next policy with the same file, and must not be shared
    for name, value in copy.deepcopy(found).items():
        if isinstance(value, list):
            result[name] = [*result.get(name, []), *value]
        else:
            result[name] = {**result.get(name, {}), **value}


@lru_cache(maxsize=4096)
def _template_words(data: bytes) -> Words:
    template = security_template.parse(data)
    found: Words = {}
    services = [{"name": one.name, "startup": one.startup, "security": one.security} for one in template.services()]
    if services:
        found["services"] = sorted(services, key=lambda item: item["name"].casefold())
    options: Words = {}
    values = []
    for one in template.registry_values():
        path = one.path.casefold()
        if path == security_template.SC_REMOVE_OPTION.casefold() and one.type == security_template.STRING and one.value in _REMOVAL_WORDS:
            options["smart_card_removal_behaviour"] = _REMOVAL_WORDS[one.value]
        elif path == security_template.SC_FORCE_OPTION.casefold() and one.type == security_template.DWORD and one.value in ("0", "1"):
            options["require_smart_card"] = "true" if one.value == "1" else "false"
        else:
            values.append({"path": one.path, "type": registry_pol.type_word(one.type), "value": one.value, "state": "present"})
    if values:
        options["registry_values"] = sorted(values, key=lambda item: item["path"].casefold())
    if options:
        found["security_options"] = options
    sections = [
        {"section": name, "lines": lines}
        for name in template.sections()
        if name.casefold() not in _OWN_SECTIONS and (lines := template.lines(name))
    ]
    if sections:
        found["security_template"] = sorted(sections, key=lambda item: str(item["section"]).casefold())
    return found


@lru_cache(maxsize=8192)
def _registry_words(data: bytes, half: str) -> Words:
    records = registry_pol.parse(data)
    autoenrollment, theirs = _autoenrollment_words(records)
    pushed: dict[str, list[Words]] = {}
    settings = []
    for record in records:
        if record in theirs:
            continue
        certificate = _certificate_words(record) if half == "computer" else None
        if certificate:
            pushed.setdefault(certificate[0], []).append(certificate[1])
        else:
            settings.append(_setting_words(record, half))
    found: Words = {}
    if settings:
        found["registry"] = settings
    if pushed:
        found["certificates"] = _with_allowances(pushed)
    if autoenrollment:
        found["autoenrollment"] = {half: autoenrollment}
    return found


def _setting_words(record: Record, half: str) -> Words:
    setting = registry_pol.setting(record)
    item: Words = {"half": half, "key": setting.key, "value": setting.value, "state": setting.state}
    if setting.state in ("present", "default"):
        item["type"] = registry_pol.type_word(setting.type)
    if setting.state not in ("absent", "values_cleared", "key_present"):
        if isinstance(setting.data, bytes):
            if setting.data or setting.type != registry_pol.NONE:
                item["base64"] = base64.b64encode(setting.data).decode()
        else:
            item["data"] = setting.data if isinstance(setting.data, (str, int)) else list(setting.data)
    return item


def _certificate_words(record: Record) -> tuple[str, Words] | None:
    """Store and certificate, where the record is exactly what would be written for it."""
    store = certificate_blob.store_of(record)
    if store is None:
        return None
    try:
        der = certificate_blob.certificate(record.data)
        ours = registry_pol.record(certificate_blob.setting(store, der))
        subject = _parsed(der)[0]
    except UserError:
        return None
    if (ours.key.casefold(), ours.value.casefold(), ours.type, ours.data) != (
        record.key.casefold(),
        record.value.casefold(),
        record.type,
        record.data,
    ):
        return None
    return store, {"subject": subject.subject, "sha256": subject.sha256, "content": _pem(der)}


def _with_allowances(pushed: Mapping[str, list[Words]]) -> Words:
    """The stores' certificates, and the permissions that they need to be accepted again."""
    result: Words = {store: sorted(items, key=lambda item: (item["subject"], item["sha256"])) for store, items in pushed.items()}
    now = datetime.datetime.now(datetime.timezone.utc)
    for store in _CA_STORES:
        for item in pushed.get(store, ()):
            for finding in certificates.judge(_parsed(item["content"])[0], now):
                result[_ALLOWANCES[finding.kind]] = True
    return result


def _autoenrollment_words(records: Sequence[Record]) -> tuple[Words, list[Record]]:
    """The half's autoenrolment in words and the records that say it; nothing where they say anything unusual."""
    mine = [record for record in records if record.key.casefold() == _AUTOENROLLMENT_KEY.casefold()]
    values = {record.value.casefold(): registry_pol.setting(record) for record in mine}
    policy, percent, stores = (values.get(name.casefold()) for name in (_POLICY, _PERCENT, _STORES))
    legal = (0, _UPDATE_TEMPLATES, _RENEW, _RENEW | _UPDATE_TEMPLATES, _SWITCHED_OFF)
    if (
        policy is None
        or len(values) != len(mine)
        or len(mine) != sum(one is not None for one in (policy, percent, stores))
        or policy.type != registry_pol.DWORD
        or policy.data not in legal
        or (percent is not None and not (percent.type == registry_pol.DWORD and isinstance(percent.data, int) and 0 < percent.data < 100))
        or (stores is not None and not (stores.type == registry_pol.STRING and isinstance(stores.data, str) and stores.data))
    ):
        return {}, []
    on = policy.data != _SWITCHED_OFF
    item: Words = {"enabled": on}
    if on and isinstance(policy.data, int):
        item |= {"renew": bool(policy.data & _RENEW), "update_templates": bool(policy.data & _UPDATE_TEMPLATES)}
    if percent is not None:
        item["expiration_percent"] = percent.data
    if stores is not None:
        item["expiration_stores"] = str(stores.data).split(",")
    return item, mine


@lru_cache(maxsize=4096)
def _preferences_words(data: bytes) -> Words:
    found = preferences.parse(data).services()
    if not _is_plain(data, found):
        raise FormatError("holds more than the options can say")
    items = [
        {"name": one.name, "startup": one.startup, "action": one.action, "timeout": one.timeout, "state": "present"}
        for one in sorted(found, key=lambda one: one.name.casefold())
    ]
    return {"service_preferences": items} if items else {}


@lru_cache(maxsize=4096)
def _item_words(kind: preference_items.Kind, data: bytes) -> Words:
    found = preference_items.words(kind, data)
    return {kind.option: found} if found else {}


def _is_plain(data: bytes, services: Sequence[ServicePreference]) -> bool:
    """Whether the services are all that the file says: no filters, accounts or recovery actions, and one item for each service."""
    root = ElementTree.fromstring(data)
    if len(root) != len(services) or len({one.name.casefold() for one in services}) != len(services):
        return False
    return all(
        item.tag == "NTService"
        and len(item) == 1
        and set(item.attrib) <= {"clsid", "name", "image", "changed", "uid"}
        and set(item[0].attrib) <= {"startupType", "serviceName", "serviceAction", "timeout"}
        for item in root
    )


def _foreign_extensions(half: str, text: str | None, files: Files) -> list[str]:
    """Extensions that are named for content without words."""
    try:
        groups = extensions.parse(text)
    except FormatError:
        return []
    table = _TABLES[half]
    ours = {(cse.casefold(), tool.casefold()) for kind in kinds(files)[half] for cse, tool in table[kind]}
    foreign = []
    for group in groups:
        tools = [tool for tool in group.tools if (group.cse.casefold(), tool.casefold()) not in ours]
        if tools:
            foreign.append(group.cse + "".join(tools))
    return sorted(foreign, key=str.casefold)


def _quietly(read: Callable[[bytes], Any], data: bytes | None) -> Any:
    """What a file says; None where it is not there or cannot be read."""
    if data is None:
        return None
    try:
        return read(data)
    except FormatError:
        return None


def _pem(der: bytes) -> str:
    lines = "\n".join(textwrap.wrap(base64.b64encode(der).decode(), 64))
    return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"
