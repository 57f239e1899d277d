# SPDX-License-Identifier: GPL-3.0-or-later
"""Accepted failures: who accepts which, why, and until when. A YAML file, checked whole before anything is looked at.

    waivers:
      - control: template-key-size
        target: corp.example             # optional; all targets
        subject: template Kiosk*
        owner: pki-team@corp.example
        reason: The kiosks' cards are replaced in March.
        expires: 2027-03-31              # the last day

Only what is known to fail can be accepted: what is unknown stays unknown.
"""

from __future__ import annotations

import datetime
import difflib
import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Target
from ansible_collections.certlogon.core.plugins.module_utils.errors import Problems, UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import yaml

_NEEDED = ("control", "subject", "owner", "reason", "expires")
_MEMBERS = ("control", "target", *_NEEDED[1:])
_OURS = "waiver-"
"""Controls that judge waivers cannot be waived."""


@dataclass(frozen=True)
class Waiver:
    """Patterns know `*` (any text) and `?` (any sign), and no case. `line` is its line in the file."""

    control: str
    target: Sequence[str]
    subject: Sequence[str]
    owner: str
    reason: str
    expires: datetime.date
    line: int

    @property
    def name(self) -> str:
        """The same in every run, and different for each."""
        where = "" if list(self.target) == ["*"] else f" on {', '.join(self.target)}"
        return f"{self.control}: {', '.join(self.subject)}{where}"

    def expired(self, today: datetime.date) -> bool:
        return today > self.expires

    def concerns(self, control: str, target: Target) -> bool:
        return control == self.control and _matches(self.target, target.name)

    def covers(self, control: str, target: Target, subject: str) -> bool:
        return self.concerns(control, target) and _matches(self.subject, subject)

    def words(self) -> dict[str, Any]:
        return {
            "control": self.control,
            "target": list(self.target),
            "subject": list(self.subject),
            "owner": self.owner,
            "reason": self.reason,
            "expires": self.expires.isoformat(),
        }


@dataclass(frozen=True)
class Waivers:
    """A file of waivers; `path` as the user gave it, `file` as reports point to it."""

    path: str = ""
    sha256: str = ""
    listed: Sequence[Waiver] = field(default_factory=tuple)
    file: str = ""


def load(path: str | Path, controls: Collection[str], root: Path | None = None) -> Waivers:
    """The file's waivers; `controls` are the ids that there are, `root` what reports name files relative to.

    Raises one `UserError` that names every line that is wrong.
    """
    try:
        content = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise UserError(
            f"waivers: {path} cannot be read ({error.strerror or error}); name a YAML file, or leave the option out where nothing is waived"
        ) from error
    whole = Path(path).expanduser().resolve()
    file = whole.relative_to(root).as_posix() if root and whole.is_relative_to(root) else whole.name
    return Waivers(str(path), hashlib.sha256(content).hexdigest(), parse(content, str(path), controls), file)


def parse(content: bytes, name: str, controls: Collection[str]) -> tuple[Waiver, ...]:
    """Raises `UserError`, and nothing else on any bytes."""
    try:
        root = yaml.compose(content.decode("utf-8-sig"), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"waivers: {name} is no YAML text: {' '.join(str(error).split())}") from error
    if root is None:
        return ()
    problems = Problems()
    found = [waiver for node in _items(root, name) if (waiver := _waiver(node, name, controls, problems)) is not None]
    seen: dict[str, int] = {}
    for waiver in found:
        if waiver.name in seen:
            problems.add(f"waivers: {name}:{waiver.line}: the same as line {seen[waiver.name]} ({waiver.name}); leave one of them")
        seen.setdefault(waiver.name, waiver.line)
    problems.raise_any()
    return tuple(found)


def _items(root: Any, name: str) -> Sequence[Any]:
    members = {str(key.value): value for key, value in root.value} if isinstance(root, yaml.MappingNode) else {}
    inner = members.get("waivers")
    if set(members) != {"waivers"} or not (isinstance(inner, yaml.SequenceNode) or _empty(inner)):
        raise UserError(f"waivers: {name} has to be a mapping with the one key waivers, a list; see docs/compliance.md for an example")
    return inner.value if isinstance(inner, yaml.SequenceNode) else ()


def _empty(node: Any) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.value in ("", "null", "~")


def _waiver(node: Any, name: str, controls: Collection[str], problems: Problems) -> Waiver | None:
    line = node.start_mark.line + 1
    where = f"waivers: {name}:{line}"
    if not isinstance(node, yaml.MappingNode):
        problems.add(f"{where}: a waiver is a mapping of {', '.join(_MEMBERS)}")
        return None
    values = dict(_values(node))
    errors = list(_errors(values, controls))
    problems.collect(f"{where}: {error}" for error in errors)
    if errors:
        return None
    return Waiver(
        control=values["control"],
        target=_patterns(values.get("target", "*")),
        subject=_patterns(values["subject"]),
        owner=values["owner"],
        reason=" ".join(values["reason"].split()),
        expires=datetime.date.fromisoformat(values["expires"]),
        line=line,
    )


def _values(node: Any) -> Iterator[tuple[str, Any]]:
    """Members as text or lists of text, as they are written: YAML's own types would make dates and numbers of names."""
    for key, value in node.value:
        if isinstance(value, yaml.ScalarNode):
            yield str(key.value), str(value.value)
        elif isinstance(value, yaml.SequenceNode) and all(isinstance(item, yaml.ScalarNode) for item in value.value):
            yield str(key.value), [str(item.value) for item in value.value]
        else:
            yield str(key.value), None


def _errors(values: Mapping[str, Any], controls: Collection[str]) -> Iterator[str]:
    for member in sorted(set(values) - set(_MEMBERS)):
        near = difflib.get_close_matches(member, _MEMBERS, 1)
        yield f"{member}: a waiver has no such member{f'; is {near[0]} meant?' if near else ''}"
    for member in _NEEDED:
        if not values.get(member):
            yield f"{member}: missing; a waiver says {', '.join(_NEEDED)}"
        elif member != "subject" and not isinstance(values[member], str):
            yield f"{member}: one value is wanted, not a list"
    if "target" in values and not values["target"]:
        yield "target: empty; leave it out for all targets"
    control, expires = values.get("control"), values.get("expires")
    if isinstance(control, str) and control:
        yield from _control_errors(control, controls)
    if isinstance(expires, str) and expires and not _date(expires):
        yield f"expires: {expires!r} is no date; write the last day on which it holds as YYYY-MM-DD"


def _control_errors(control: str, controls: Collection[str]) -> Iterator[str]:
    if control.startswith(_OURS):
        yield f"control: {control} cannot be waived; mend the waiver that it is about"
    elif control not in controls:
        near = difflib.get_close_matches(control, controls, 3)
        yield f"control: there is no control {control!r}{'; is ' + ' or '.join(near) + ' meant?' if near else ''}"


def _date(text: str) -> bool:
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        return False
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _patterns(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _matches(patterns: Sequence[str], text: str) -> bool:
    return any(re.fullmatch(_expression(pattern), text, re.IGNORECASE | re.DOTALL) for pattern in patterns)


def _expression(pattern: str) -> str:
    return "".join({"*": ".*", "?": "."}.get(sign, re.escape(sign)) for sign in pattern)
