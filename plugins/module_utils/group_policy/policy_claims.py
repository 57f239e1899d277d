# SPDX-License-Identifier: GPL-3.0-or-later
"""A policy's files as plain words that can be kept, and those words as the instructions that the resultant set is made of (pure)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import (
    certificate_blob,
    content,
    preferences,
    registry_pol,
    resultant,
    security_template,
)
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.registry_pol import Record
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.resultant import Claim, Setting, Sweep

Words = dict[str, Any]

_PHASES = {
    content.COMPUTER_REGISTRY: resultant.REGISTRY,
    content.SECURITY: resultant.SECURITY,
    content.SERVICES: resultant.SERVICES,
}
_HIVE = "machine\\"
_SHOWN = 64
_SOFT = "an instruction that only sets a value where there is none"


def words(files: Mapping[str, bytes | None]) -> Words:
    """What policy files say, as JSON: `registry` and `user_registry` [key, value, state, type, data], `services` [name, startup],
    `registry_values` [path, type, data], `preferences` [service, startup, action, targeted], `kinds` of content by half, and `unread`:
    why, by file.
    """
    found: Words = {"unread": {}}
    readers: tuple[tuple[str, str, Callable[[bytes], Any]], ...] = (
        ("registry", content.COMPUTER_REGISTRY, _records),
        ("user_registry", content.USER_REGISTRY, _records),
        ("services", content.SECURITY, _services),
        ("registry_values", content.SECURITY, _registry_values),
        ("preferences", content.SERVICES, _preferences),
    )
    for name, path, read in readers:
        data = files.get(path)
        if data is None:
            continue
        try:
            found[name] = read(data)
        except FormatError as error:
            found["unread"][path] = str(error)
    found["kinds"] = {half: sorted(kinds) for half, kinds in content.kinds(files).items()}
    return found


def _records(data: bytes) -> list[list[Any]]:
    return [list(_record(record)) for record in registry_pol.parse(data)]


def _record(record: Record) -> tuple[str, str, str, str, Any]:
    setting = registry_pol.setting(record)
    return setting.key, setting.value, setting.state, registry_pol.type_word(setting.type), _data(record, setting.data)


def _data(record: Record, data: Any) -> Any:
    """A value that can be kept and compared; of certificates, their SHA-256."""
    if not isinstance(data, bytes):
        return data
    if registry_pol.under(record.key, certificate_blob.PARENT) and record.value.casefold() == "blob":
        try:
            return f"certificate {hashlib.sha256(certificate_blob.certificate(data)).hexdigest()}"
        except FormatError:
            pass
    return data.hex() if len(data) <= _SHOWN else f"{len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}"


def _services(data: bytes) -> list[list[str]]:
    return [[service.name, service.startup] for service in security_template.parse(data).services()]


def _registry_values(data: bytes) -> list[list[Any]]:
    return [[one.path, one.type, one.value] for one in security_template.parse(data).registry_values()]


def _preferences(data: bytes) -> list[list[Any]]:
    return [[one.name, one.startup, one.action, targeted] for one, targeted in preferences.parse(data).effects()]


def registry_setting(key: str, value: str) -> Setting:
    return Setting("registry", f"{key}\\{value}")


def certificate_setting(store: str, sha1: str) -> Setting:
    """Where a certificate stands that a policy pushes: `store` is a word of `certificate_blob.STORES`."""
    name = certificate_blob.STORES[store]
    return registry_setting(f"{certificate_blob.PARENT}\\{name}\\Certificates\\{sha1}", "Blob")


def claims(said: Words, where: str) -> tuple[dict[tuple[str, str], list[Claim]], list[Sweep], dict[str, str]]:
    """The instructions for the computer in `words`: by setting, about whole keys, and what could not be read by extension.

    `where` names the policy in doubts.
    """
    found: dict[tuple[str, str], list[Claim]] = {}
    sweeps: list[Sweep] = []
    for place, (setting, claim) in enumerate(_claims(said, where)):
        placed = Claim(claim.value, claim.phase, claim.doubts, place)
        if isinstance(setting, Setting):
            found.setdefault(setting.key, []).append(placed)
        else:
            sweeps.append(Sweep(setting[0].casefold(), setting[1], placed))
    unread = {_PHASES[path]: f"{path} of policy {where}: {reason}" for path, reason in said.get("unread", {}).items() if path in _PHASES}
    return found, sweeps, unread


def settings(said: Words) -> dict[tuple[str, str], Setting]:
    """The settings in `words`, as they are spelt there."""
    return {setting.key: setting for setting, _claim in _claims(said, "") if isinstance(setting, Setting)}


def _claims(said: Words, where: str) -> Iterator[tuple[Setting | tuple[str, bool], Claim]]:
    for key, value, state, _type, data in said.get("registry", ()):
        yield from _of_record(key, value, state, data)
    for name, startup in said.get("services", ()):
        yield Setting("service", name), Claim(startup, resultant.SECURITY)
    for path, _type, data in said.get("registry_values", ()):
        if path.casefold().startswith(_HIVE):
            yield Setting("registry", path[len(_HIVE) :]), Claim(data, resultant.SECURITY)
    for name, startup, action, targeted in said.get("preferences", ()):
        doubts = (f"item-level targeting of service {name} in policy {where}",) if targeted else ()
        for kind, word in (("service", startup), ("service_action", action)):
            if word != "no_change":
                yield Setting(kind, name), Claim(word, resultant.SERVICES, doubts)


def _of_record(key: str, value: str, state: str, data: Any) -> Iterator[tuple[Setting | tuple[str, bool], Claim]]:
    gone = Claim(None, resultant.REGISTRY)
    if state in ("present", "default"):
        yield registry_setting(key, value), Claim(text(data), resultant.REGISTRY, (_SOFT,) if state == "default" else ())
    elif state == "absent":
        yield registry_setting(key, value), gone
    elif state == "values_cleared":
        yield (key, False), gone
    elif state == "values_absent":
        for name in _names(data):
            yield registry_setting(key, name), gone
    elif state == "keys_absent":
        for name in _names(data):
            yield (f"{key}\\{name}", True), gone


def _names(data: Any) -> Sequence[str]:
    return [str(name) for name in data] if isinstance(data, list) else []


def text(data: Any) -> str:
    """A value of whichever type as it is compared."""
    return ";".join(str(one) for one in data) if isinstance(data, list) else str(data)
