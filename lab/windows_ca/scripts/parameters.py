# SPDX-License-Identifier: GPL-3.0-or-later
"""The `param` block of a thin PowerShell script, and the binding of values to it (about_Functions_Advanced_Parameters).

Only what thin scripts need is modelled; an attribute, type or default beyond that raises `NotModelled`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

IGNORED_ATTRIBUTES = ("allowemptystring", "allownull", "allowemptycollection", "validatenotnullorempty", "validatenotnull")
PARAMETER_PROPERTIES = ("mandatory", "helpmessage", "dontshow")
LITERALS = {"$true": True, "$false": False, "$null": None}
NET_NAMES = {
    "string": "System.String",
    "int": "System.Int32",
    "int32": "System.Int32",
    "uint32": "System.UInt32",
    "long": "System.Int64",
    "int64": "System.Int64",
    "bool": "System.Boolean",
    "switch": "System.Management.Automation.SwitchParameter",
    "datetime": "System.DateTime",
    "hashtable": "System.Collections.Hashtable",
    "object": "System.Object",
    "psobject": "System.Management.Automation.PSObject",
    "pscustomobject": "System.Management.Automation.PSObject",
    "pscredential": "System.Management.Automation.PSCredential",
    "securestring": "System.Security.SecureString",
}
ALIASES = {"system.collections.idictionary": "hashtable", "system.management.automation.pscredential": "pscredential"}
ALIASES |= {"system.security.securestring": "securestring", "collections.idictionary": "hashtable"}
INTEGERS = {"int": 32, "int32": 32, "uint32": 32, "long": 64, "int64": 64}


class NotModelled(Exception):
    """PowerShell knows this; the stand-in does not."""


class BindingError(Exception):
    """PowerShell's message for a call that does not fit the `param` block."""


@dataclass
class Parameter:
    name: str
    type: str = "object"
    is_list: bool = False
    mandatory: bool = False
    attributes: set[str] = field(default_factory=set)
    choices: list[str] | None = None
    limits: tuple[int, int] | None = None
    pattern: str | None = None
    default: Any = None
    has_default: bool = False

    def bind(self, value: Any, *, secure: bool) -> Any:
        if value is None and self.mandatory and "allownull" not in self.attributes:
            raise BindingError(f"Cannot bind argument to parameter '{self.name}' because it is null.")
        if self.is_list:
            items = [] if value is None else value if isinstance(value, list) else [value]
            if not items and self.mandatory and "allowemptycollection" not in self.attributes:
                raise BindingError(f"Cannot bind argument to parameter '{self.name}' because it is an empty array.")
            bound: Any = [self._judge(self._convert(item, secure)) for item in items]
        else:
            bound = self._judge(self._convert(value, secure))
        if "validatenotnullorempty" in self.attributes and bound in (None, "", []):
            raise self._invalid(
                "The argument is null or empty. Provide an argument that is not null or empty, and then try the command again."
            )
        return bound

    def _convert(self, value: Any, secure: bool) -> Any:
        if (self.type in ("pscredential", "securestring")) is not secure:
            raise self._cannot_convert(value)
        if self.type == "pscredential" and not isinstance(value, dict):
            raise self._cannot_convert("System.Security.SecureString")
        if self.type == "securestring" and isinstance(value, dict):
            raise self._cannot_convert("System.Management.Automation.PSCredential")
        if secure or self.type in ("object", "psobject", "pscustomobject"):
            return value
        if self.type == "string":
            return self._string(value)
        if self.type in INTEGERS:
            return self._integer(value)
        if self.type in ("bool", "switch"):
            if not isinstance(value, (bool, int)):
                raise self._cannot_convert(value)
            return bool(value)
        if self.type == "hashtable":
            if not isinstance(value, dict):
                raise self._cannot_convert(value)
            return value
        if self.type == "datetime" and isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d(T|$)", value):
            return value
        raise self._cannot_convert(value)

    def _string(self, value: Any) -> str:
        if isinstance(value, (dict, list)):
            raise self._cannot_convert(value)
        text = "" if value is None else str(value)
        if not text and self.mandatory and "allowemptystring" not in self.attributes:
            raise BindingError(f"Cannot bind argument to parameter '{self.name}' because it is an empty string.")
        return text

    def _integer(self, value: Any) -> int:
        bits = INTEGERS[self.type]
        low, high = (0, 2**bits) if self.type == "uint32" else (-(2 ** (bits - 1)), 2 ** (bits - 1))
        try:
            number = int(value, 0) if isinstance(value, str) else int(value)
        except (TypeError, ValueError):
            raise self._cannot_convert(value) from None
        if not low <= number < high:
            raise self._cannot_convert(value)
        return number

    def _judge(self, value: Any) -> Any:
        if self.choices is not None:
            found = next((choice for choice in self.choices if choice.lower() == str(value).lower()), None)
            if found is None:
                allowed = ",".join(self.choices)
                raise self._invalid(
                    f'The argument "{value}" does not belong to the set "{allowed}" specified by the ValidateSet attribute. '
                    "Supply an argument that is in the set and then try the command again."
                )
        if self.limits is not None and not self.limits[0] <= value <= self.limits[1]:
            raise self._invalid(f"The {value} argument is not in the range of {self.limits[0]} to {self.limits[1]}.")
        if self.pattern is not None and not re.search(self.pattern, str(value), re.IGNORECASE):
            raise self._invalid(f'The argument "{value}" does not match the "{self.pattern}" pattern.')
        return value

    def _invalid(self, why: str) -> BindingError:
        return BindingError(f"Cannot validate argument on parameter '{self.name}'. {why}")

    def _cannot_convert(self, value: Any) -> BindingError:
        kind = NET_NAMES[self.type] + ("[]" if self.is_list else "")
        return BindingError(
            f'Cannot process argument transformation on parameter \'{self.name}\'. Cannot convert value "{value}" to type "{kind}".'
        )


@dataclass
class ParamBlock:
    supports_should_process: bool
    parameters: dict[str, Parameter]

    @classmethod
    def parse(cls, text: str) -> ParamBlock:
        """Raises `NotModelled`."""
        bare = without_comments(text)
        match = re.match(r"\s*(?:#requires[^\n]*\s*|using\s[^\n]*\s*)*((?:\[[^\]]*\]\s*)*)param\s*\(", bare, re.IGNORECASE)
        if match is None:
            return cls(False, {})
        inside, _ = balanced(bare, match.end() - 1)
        declared = [parameter(part) for part in split(inside) if part.strip()]
        supports = re.search(r"SupportsShouldProcess(?!\s*=\s*\$false)", match.group(1), re.IGNORECASE) is not None
        return cls(supports, {found.name.lower(): found for found in declared})

    def bind(self, given: Mapping[str, Any], secure: Mapping[str, Any]) -> dict[str, Any]:
        """Values by declared name. `secure`: {name: {"username", "password"} or text}. Raises `BindingError`."""
        bound: dict[str, Any] = {}
        for name, value, is_secure in [*((n, v, False) for n, v in given.items()), *((n, v, True) for n, v in secure.items())]:
            found = self.parameters.get(name.lower())
            if found is None:
                raise BindingError(f"A parameter cannot be found that matches parameter name '{name}'.")
            bound[found.name] = found.bind(value, secure=is_secure)
        missing = [p.name for p in self.parameters.values() if p.mandatory and p.name not in bound]
        if missing:
            raise BindingError(f"Cannot process command because of one or more missing mandatory parameters: {' '.join(missing)}.")
        defaults = {p.name: p.default for p in self.parameters.values() if p.has_default and p.name not in bound}
        return defaults | bound


def parameter(declaration: str) -> Parameter:
    found = Parameter("")
    rest = declaration.strip()
    while rest.startswith("["):
        inside, end = balanced(rest, 0)
        attribute(found, inside.strip())
        rest = rest[end:].strip()
    match = re.fullmatch(r"\$(\w+)\s*(?:=\s*(.*))?", rest, re.DOTALL)
    if match is None:
        raise NotModelled(f"the declaration {declaration.strip()!r}")
    found.name = match.group(1)
    if match.group(2) is not None:
        found.default, found.has_default = literal(match.group(2).strip()), True
    elif found.type == "switch":
        found.default, found.has_default = False, True
    return found


def attribute(found: Parameter, text: str) -> None:
    """One `[...]` before the name: an attribute or the type."""
    match = re.fullmatch(r"([\w.]+)\s*(?:\((.*)\))?", text, re.DOTALL)
    if match is None or match.group(2) is None:
        set_type(found, text)
        return
    name, arguments = match.group(1).lower(), match.group(2)
    found.attributes.add(name)
    if name == "parameter":
        for argument in split(arguments):
            key, separator, value = (part.strip() for part in argument.partition("="))
            if key.lower() not in PARAMETER_PROPERTIES:
                raise NotModelled(f"the parameter attribute {argument.strip()!r}")
            found.mandatory |= key.lower() == "mandatory" and (not separator or value.lower() == "$true")
    elif name == "validateset":
        found.choices = [str(literal(part.strip())) for part in split(arguments)]
    elif name == "validaterange":
        low, high = (literal(part.strip()) for part in split(arguments))
        found.limits = (low, high)
    elif name == "validatepattern":
        found.pattern = str(literal(arguments.strip()))
    elif name not in IGNORED_ATTRIBUTES:
        raise NotModelled(f"the attribute [{text}]")


def set_type(found: Parameter, text: str) -> None:
    name = text.lower().replace(" ", "")
    if name.endswith("[]"):
        name, found.is_list = name[:-2], True
    if name == "array":
        name, found.is_list = "object", True
    name = ALIASES.get(name, name.removeprefix("system."))
    if name not in NET_NAMES:
        raise NotModelled(f"the type [{text}]")
    found.type = name


def literal(text: str) -> Any:
    if text.lower() in LITERALS:
        return LITERALS[text.lower()]
    if re.fullmatch(r"-?(0x[0-9a-fA-F]+|\d+)", text):
        return int(text, 0)
    if re.fullmatch(r"'(?:[^']|'')*'", text):
        return text[1:-1].replace("''", "'")
    if re.fullmatch(r'"[^"$`]*"', text):
        return text[1:-1]
    if re.fullmatch(r"@\(\s*\)", text):
        return []
    if re.fullmatch(r"@\{\s*\}", text):
        return {}
    if text.startswith("@(") and text.endswith(")"):
        return [literal(part.strip()) for part in split(text[2:-1])]
    raise NotModelled(f"the value {text!r}")


def without_comments(text: str) -> str:
    """The text without `<# #>` and `#` comments; strings are left alone."""
    kept = re.compile(r"""('(?:[^']|'')*'|"(?:[^"`]|`.|"")*")|<#.*?#>|#(?!requires)[^\n]*""", re.DOTALL | re.IGNORECASE)
    return kept.sub(lambda match: match.group(1) or "", text)


STRING = re.compile(r"""'(?:[^']|'')*'|"(?:[^"`]|`.|"")*\"""", re.DOTALL)
CLOSING = {"(": ")", "[": "]", "{": "}"}


def balanced(text: str, start: int) -> tuple[str, int]:
    """What is between the bracket at `start` and its partner, and the place after that."""
    place, open_ones = start, []
    while place < len(text):
        string = STRING.match(text, place)
        if string:
            place = string.end()
            continue
        character = text[place]
        if character in CLOSING:
            open_ones.append(CLOSING[character])
        elif open_ones and character == open_ones[-1]:
            open_ones.pop()
            if not open_ones:
                return text[start + 1 : place], place + 1
        place += 1
    raise NotModelled("a bracket without its partner")


def split(text: str) -> list[str]:
    """By the commas that are in no bracket and no string."""
    parts, start, place = [], 0, 0
    while place < len(text):
        string = STRING.match(text, place)
        if string:
            place = string.end()
        elif text[place] in CLOSING:
            place = balanced(text, place)[1]
        else:
            if text[place] == ",":
                parts.append(text[start:place])
                start = place + 1
            place += 1
    return [*parts, text[start:]]
