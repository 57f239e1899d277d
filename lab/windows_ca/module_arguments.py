# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge a module's arguments by its documentation, with the conversions and messages of Ansible.Basic (C#, ansible-core)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.windows_ca.module_specs import RULES, specs

TRUE, FALSE = ("y", "yes", "on", "1", "true", "t", "1.0"), ("n", "no", "off", "0", "false", "f", "0.0")
# What Ansible passes beside the task's arguments ($passVars, $passBools, $passInts of Ansible.Basic).
INTERNAL = "_ansible_"


class ModuleFailure(Exception):
    """FailJson: `msg`, and further keys of the result."""

    def __init__(self, msg: str, **result: Any) -> None:
        super().__init__(msg)
        self.result = result


@dataclass(frozen=True)
class Arguments:
    """Of one module call. `values`: every documented option, with defaults; `secrets`: values that must not be shown."""

    values: dict[str, Any]
    check_mode: bool = False
    diff: bool = False
    verbosity: int = 0
    secrets: frozenset[str] = field(default_factory=frozenset)

    def __getitem__(self, name: str) -> Any:
        return self.values[name]


def judge(module: str, given: Mapping[str, Any]) -> Arguments:
    """Raises `ModuleFailure`."""
    internal = {name.removeprefix(INTERNAL): value for name, value in given.items() if name.startswith(INTERNAL)}
    own = {name: value for name, value in given.items() if not name.startswith(INTERNAL)}
    secrets: set[str] = set()
    values = Judge(module.rpartition(".")[2], secrets).options(module, specs()[module], own, "")
    return Arguments(
        values,
        check_mode=bool(internal.get("check_mode")),
        diff=bool(internal.get("diff")),
        verbosity=int(internal.get("verbosity") or 0),
        secrets=frozenset(secrets),
    )


class Judge:
    def __init__(self, module: str, secrets: set[str]) -> None:
        self._module, self._secrets = module, secrets

    def options(self, rules_of: str, spec: Mapping[str, Any], given: Mapping[str, Any], found_in: str) -> dict[str, Any]:
        """The values of one level of options; `found_in`: where that is, for messages."""
        rules, where = RULES.get(rules_of, {}), f" found in {found_in}" if found_in else ""
        aliases = {alias.lower(): name for name, option in spec.items() for alias in (name, *option.get("aliases", ()))}
        unknown = [name for name in given if name.lower() not in aliases]
        if unknown:
            known = ", ".join(sorted(spec))
            raise ModuleFailure(
                f"Unsupported parameters for ({self._module}) module: {', '.join(unknown)}{where}. Supported parameters include: {known}"
            )
        values = {aliases[name.lower()]: value for name, value in given.items() if value is not None}
        self._secrets |= {str(values[name]) for name in rules.get("no_log", ()) if values.get(name)}
        self._exclusive(values, rules.get("mutually_exclusive", ()), where)
        values = {name: option["default"] for name, option in spec.items() if "default" in option} | values
        missing = [name for name, option in spec.items() if option.get("required") and name not in values]
        if missing:
            raise ModuleFailure(f"missing required arguments: {', '.join(missing)}{where}")
        for name, value in values.items():
            values[name] = self._convert(name, spec[name], value, where)
            self._choose(name, spec[name], values[name], where)
        self._together(values, rules, where)
        for name, option in spec.items():
            values.setdefault(name, None)
            if "options" in option and values[name] is not None:
                inner = f"{found_in} -> {name}" if found_in else name
                values[name] = [self.options(f"{rules_of} {name}", option["options"], entry, inner) for entry in values[name]]
        return values

    def _convert(self, name: str, option: Mapping[str, Any], value: Any, where: str) -> Any:
        kind = option.get("type", "str")
        try:
            converted = convert(kind, value)
            if kind == "list" and option.get("elements"):
                return [convert(option["elements"], entry) for entry in converted]
            return converted
        except (TypeError, ValueError) as error:
            text = f"argument for {name} is of type {net_type(value)} and we were unable to convert to {kind}: {error}"
            raise ModuleFailure(text + where) from None

    def _choose(self, name: str, option: Mapping[str, Any], value: Any, where: str) -> None:
        choices = option.get("choices")
        if choices and str(value).lower() not in [choice.lower() for choice in choices]:
            raise ModuleFailure(f"value of {name} must be one of: {', '.join(choices)}. Got no match for: {value}{where}")

    def _exclusive(self, values: Mapping[str, Any], groups: Sequence[Sequence[str]], where: str) -> None:
        for names in groups:
            if sum(name in values for name in names) > 1:
                raise ModuleFailure(f"parameters are mutually exclusive: {', '.join(names)}{where}")

    def _together(self, values: Mapping[str, Any], rules: Mapping[str, Any], where: str) -> None:
        for names in rules.get("required_together", ()):
            if 0 < sum(name in values for name in names) < len(names):
                raise ModuleFailure(f"parameters are required together: {', '.join(names)}{where}")
        for names in rules.get("required_one_of", ()):
            if not any(name in values for name in names):
                raise ModuleFailure(f"one of the following is required: {', '.join(names)}{where}")
        for name, needed in rules.get("required_by", {}).items():
            missing = [other for other in needed if other not in values]
            if name in values and missing:
                raise ModuleFailure(f"missing parameter(s) required by '{name}': {', '.join(missing)}{where}")


def convert(kind: str, value: Any) -> Any:
    """Raises TypeError or ValueError."""
    if kind == "bool":
        return to_bool(value)
    if kind == "int":
        if isinstance(value, bool):
            raise ValueError("Input string was not in a correct format.")
        return int(value)
    if kind == "list":
        return (
            list(value) if isinstance(value, list) else [part.strip() for part in value.split(",")] if isinstance(value, str) else [value]
        )
    if kind == "dict":
        if not isinstance(value, dict):
            raise TypeError("unable to convert to dict")
        return value
    if kind in ("str", "path"):
        if isinstance(value, (dict, list)):
            raise TypeError("unable to convert to str")
        return {True: "True", False: "False"}.get(value, str(value)) if isinstance(value, bool) else str(value)
    return value


def to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text not in TRUE + FALSE:
        raise ValueError(f"The value '{value}' is not a valid boolean.")
    return text in TRUE


def net_type(value: Any) -> str:
    names = {bool: "System.Boolean", int: "System.Int32", str: "System.String", list: "System.Collections.Generic.List`1[System.Object]"}
    return names.get(type(value), "System.Collections.Generic.Dictionary`2[System.String,System.Object]")


def censored(value: Any, secrets: frozenset[str]) -> Any:
    """The value without the secrets, as Ansible.Basic hides them."""
    if isinstance(value, dict):
        return {name: censored(entry, secrets) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [censored(entry, secrets) for entry in value]
    if isinstance(value, str):
        if value in secrets:
            return "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
        for secret in found(value, secrets):
            value = value.replace(secret, "********")
    return value


def found(text: str, secrets: frozenset[str]) -> Iterator[str]:
    return (secret for secret in sorted(secrets, key=len, reverse=True) if secret in text)
