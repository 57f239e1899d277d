# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue of controls: one YAML file a family below `controls/`, read once and checked whole (pure but for the reading)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import KINDS, SEVERITIES, Verdict
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, Problems
from ansible_collections.certlogon.core.plugins.module_utils.libraries import yaml

FOLDER = Path(__file__).with_name("controls")
REFERENCES = ("requirement", "esc", "kb", "stig", "cis", "specification", "cve", "document")
_JUDGES = f"{__name__.rpartition('.')[0]}.judges"
_MEMBERS = {"id", "title", "why", "severity", "references", "target", "reads", "each", "judge", "remedy", "not_applicable", "parameters"}
_NEEDED = _MEMBERS - {"each", "parameters"}

Judge = Callable[..., Iterable[Verdict]]


@dataclass(frozen=True)
class Remedy:
    """What mends it: a sentence, the role that does it and the variables to set; without a role, a person has to."""

    text: str
    role: str = ""
    variables: Sequence[str] = ()


@dataclass(frozen=True)
class Control:
    """One thing that is looked at.

    `target` is the kind that it judges; `reads` the facts its judge needs; `each`, where it is set, names the stream of subjects (users,
    issued certificates) that are judged one by one while they are read, too many to keep; `not_applicable` is said where there is no
    subject; `parameters` are the figures that inventory may change, with their defaults.
    """

    id: str
    family: str
    title: str
    why: str
    severity: str
    references: Sequence[Mapping[str, str]]
    target: str
    reads: Sequence[str]
    judge: str
    remedy: Remedy
    not_applicable: str
    each: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def figures(self, changed: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters with what inventory changes, each of the kind that its default is. Raises `UserError`."""
        figures, problems = dict(self.parameters), Problems()
        for name, value in changed.items():
            try:
                figures[name] = _like(value, self.parameters.get(name))
            except ValueError as error:
                problems.add(f"parameters: {self.id}: {name}: {value!r} is {error}")
        problems.raise_any()
        return figures

    @property
    def function(self) -> Judge:
        """`judge(facts, parameters)`, or `judge(subject, facts, parameters)` where `each` is set; yields verdicts."""
        module, _dot, name = self.judge.rpartition(".")
        function: Judge = getattr(import_module(f"{_JUDGES}.{module}"), name)
        return function


@dataclass(frozen=True)
class Family:
    """Controls that belong together, as one file has them."""

    id: str
    title: str
    controls: Sequence[Control]


@dataclass(frozen=True)
class Catalogue:
    families: Sequence[Family]
    sha256: str

    @property
    def controls(self) -> list[Control]:
        return [control for family in self.families for control in family.controls]

    def of(self, kind: str, each: str = "") -> list[Control]:
        """The controls that judge this kind of target: as a whole, or each subject of a stream."""
        return [control for control in self.controls if control.target == kind and control.each == each]


@cache
def load(folder: Path = FOLDER) -> Catalogue:
    """All families, by file name. Raises `FormatError` that names file, control and member."""
    digest = hashlib.sha256()
    families = []
    for file in sorted(folder.glob("*.yml")):
        content = file.read_bytes()
        digest.update(content)
        # the loader in C reads seven times as fast, and every task of a report loads the catalogue
        families.append(_family(file.name, yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))))
    problems = Problems()
    seen: set[str] = set()
    for control in (control for family in families for control in family.controls):
        if control.id in seen:
            problems.add(f"control {control.id}: the id is used twice")
        seen.add(control.id)
    problems.raise_any()
    return Catalogue(families, digest.hexdigest())


def _like(value: Any, default: Any) -> Any:
    """What is given, as the kind that the default is: extra variables and templates are texts. Raises `ValueError`."""
    if isinstance(default, bool):
        try:
            return boolean(value)
        except TypeError:
            raise ValueError("neither true nor false") from None
    if isinstance(default, (int, float)):
        return _number(value, default)
    if isinstance(default, (list, tuple)):
        if value is None or isinstance(value, Mapping):
            raise ValueError("no list")
        return list(value) if isinstance(value, (list, tuple)) else [value]
    if not isinstance(value, (str, int, float)):
        raise ValueError("no text")
    return str(value)


def _number(value: Any, default: float) -> float:
    told = f"no number, as {default} is"
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(told)
    try:
        number = float(value)
    except ValueError:
        raise ValueError(told) from None
    if not math.isfinite(number):
        raise ValueError(told)
    return int(number) if number.is_integer() else number


def _family(name: str, document: Mapping[str, Any]) -> Family:
    family = name.removesuffix(".yml")
    try:
        controls = [_control(family, words) for words in document["controls"]]
        return Family(family, document["title"], controls)
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{name}: {error}") from error


def _control(family: str, words: Mapping[str, Any]) -> Control:
    label = f"control {words.get('id', '?')}"
    if missing := sorted(_NEEDED - words.keys()):
        raise ValueError(f"{label}: {', '.join(missing)} missing")
    if strange := sorted(words.keys() - _MEMBERS):
        raise ValueError(f"{label}: unknown members {', '.join(strange)}")
    for member, choices in (("severity", SEVERITIES), ("target", KINDS)):
        if words[member] not in choices:
            raise ValueError(f"{label}: {member} {words[member]!r} is none of {', '.join(choices)}")
    for reference in words["references"]:
        if set(reference) - {"url"} - set(REFERENCES) or len(set(reference) & set(REFERENCES)) != 1:
            raise ValueError(f"{label}: a reference is one of {', '.join(REFERENCES)}, and perhaps url: {reference!r}")
    return Control(family=family, **{**words, "remedy": Remedy(**words["remedy"])})
