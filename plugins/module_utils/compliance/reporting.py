# SPDX-License-Identifier: GPL-3.0-or-later
"""From a run's folder to its reports: reads what observers left, and writes what people and machines read.

FOLDER/observations/    one file a target, and the files of streams beside it
FOLDER/report.json      and the other outputs
FOLDER/pseudonyms/      the same for readers outside, with pseudonyms for names
"""

from __future__ import annotations

import datetime
import difflib
import json
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.compliance import baseline as baselines
from ansible_collections.certlogon.core.plugins.module_utils.compliance import observation as observations
from ansible_collections.certlogon.core.plugins.module_utils.compliance import waivers as waiver_files
from ansible_collections.certlogon.core.plugins.module_utils.compliance.audit import FAIL_ON, Expected, Setting, all_findings, audit
from ansible_collections.certlogon.core.plugins.module_utils.compliance.baseline import Baseline
from ansible_collections.certlogon.core.plugins.module_utils.compliance.catalogue import Catalogue, load
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import KINDS, Target, Verdict
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, Problems, UserError

OBSERVATIONS = "observations"
ANNEX = "findings.csv"
OUTPUTS: Mapping[str, tuple[str, str]] = {
    "json": ("report.json", "json_report"),
    "html": ("report.html", "page"),
    "junit": ("junit.xml", "junit"),
    "sarif": ("report.sarif", "sarif"),
    "csv": (ANNEX, "annex"),
}
"""File and module of compliance.outputs, by the name of the output."""

STATES = ("prepared", "unanswered", "reported")
UNKNOWN_IS = ("tolerated", "failure")
ARGUMENTS: dict[str, Any] = {
    "state": {"type": "str", "choices": list(STATES), "default": "reported"},
    "folder": {"type": "path", "required": True},
    "target": {
        "type": "dict",
        "options": {
            "kind": {"type": "str", "required": True, "choices": list(KINDS)},
            "name": {"type": "str", "required": True},
            "error": {"type": "str", "default": ""},
        },
    },
    "targets": {"type": "dict", "default": {}},
    "title": {"type": "str", "default": ""},
    "fail_on": {"type": "str", "choices": list(FAIL_ON), "default": "high"},
    "unknown_is": {"type": "str", "choices": list(UNKNOWN_IS), "default": "tolerated"},
    "parameters": {"type": "dict", "default": {}},
    "waivers": {"type": "path"},
    "baseline": {"type": "path"},
    "outputs": {"type": "list", "elements": "str", "choices": list(OUTPUTS), "default": ["json", "html"]},
    "pseudonyms": {"type": "bool", "default": False},
    "pseudonym_key": {"type": "str", "no_log": True},
    "stand_ins": {"type": "list", "elements": "str", "default": []},
    "color": {"type": "bool"},
}
RULES: dict[str, Any] = {"required_if": [("state", "unanswered", ["target"])]}

_STARTED = "started"
_KEY_BYTES = 16

Warn = Callable[[str], None]
Words = dict[str, Any]


@dataclass(frozen=True)
class Wishes:
    """What a run is to do, checked."""

    catalogue: Catalogue
    outputs: Sequence[str]
    parameters: Mapping[str, Mapping[str, Any]]
    waivers: waiver_files.Waivers | None
    baseline: Baseline | None
    pseudonym_key: bytes | None


@dataclass(frozen=True)
class Written:
    """The report, and where it is."""

    report: Mapping[str, Any]
    outputs: Mapping[str, Path] = field(default_factory=dict)


def examine(params: Mapping[str, Any], warn: Warn, root: Path | None = None) -> Wishes:
    """All that can be wrong before anything is looked at, in one `UserError`. `root`: what files are named relative to."""
    catalogue = load()
    problems = Problems()
    _check_parameters(params.get("parameters") or {}, catalogue, problems)
    waivers = baseline = None
    try:
        waivers = waiver_files.load(params["waivers"], [control.id for control in catalogue.controls], root) if params["waivers"] else None
    except UserError as error:
        problems.add(str(error))
    try:
        baseline = _baseline(params, warn)
    except UserError as error:
        problems.add(str(error))
    key = params.get("pseudonym_key") or ""
    if key and len(key.encode()) < _KEY_BYTES:
        problems.add(f"pseudonym_key: it has {len(key.encode())} bytes; give a random text of {_KEY_BYTES} or more, or leave it out")
    for name, member in params.get("targets", {}).items():
        if name not in KINDS or not isinstance(member, list):
            problems.add(f"targets: {name!r} is none of {', '.join(KINDS)}, or has no list of names")
    problems.raise_any()
    outputs = list(dict.fromkeys(["json", *params["outputs"]]))
    pseudonyms = (key.encode() or secrets.token_bytes(_KEY_BYTES)) if params["pseudonyms"] else None
    return Wishes(catalogue, outputs, params.get("parameters") or {}, waivers, baseline, pseudonyms)


def prepare(folder: Path) -> str:
    """Make the folder, and remove what a run before has seen; when the run started."""
    inside = folder / OBSERVATIONS
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        inside.mkdir(exist_ok=True, mode=0o700)
        inside.chmod(0o700)
        for file in inside.iterdir():
            if file.is_file() and (file.suffix in (".json", ".jsonl", ".log") or file.name == _STARTED):
                file.unlink()
        started = _now()
        _write(inside / _STARTED, started)
    except OSError as error:
        raise UserError(f"folder: {error.filename or folder}: {error.strerror}; name a folder that this account may write to") from error
    return started


def unanswered(folder: Path, target: Target, error: str) -> Path:
    """Note that a target could not be looked at."""
    reason = re.sub(r"^((Task|Action|Module) failed: )+", "", " ".join(error.split()))
    return observations.save(
        folder / OBSERVATIONS, Observation(target, "", error=reason or "it was to be looked at, and left no observation")
    )


def write(folder: Path, wishes: Wishes, expected: Sequence[Expected], setting: Mapping[str, Any], warn: Warn) -> Written:
    """Judge what is in the folder, and write all outputs. `setting` has run, fail_on and locate of `audit.Setting`."""
    inside = folder / OBSERVATIONS
    seen = list(_observations(inside, warn))
    started = _text(inside / _STARTED)
    whole = Setting(
        run={**setting["run"], "started": started},
        now=datetime.datetime.now(datetime.timezone.utc),
        parameters=wishes.parameters,
        waivers=wishes.waivers,
        baseline=wishes.baseline,
        fail_on=setting["fail_on"],
        annex=lambda name: _annex(inside / name),
        annex_file=ANNEX,
        locate=setting["locate"],
    )
    report = audit(wishes.catalogue, seen, expected, whole)
    outputs = list(wishes.outputs)
    if "csv" not in outputs and any(result["annex"] for control in report["controls"] for result in control["results"]):
        outputs.append("csv")
    written = _outputs(folder, report, [name for name in outputs if name != "csv"])
    if "csv" in outputs:
        written["csv"] = _table(folder, all_findings(wishes.catalogue, seen, report, whole))
    if wishes.pseudonym_key:
        hidden = import_module(f"{__package__}.outputs.pseudonyms").hide(_without_annexes(report), wishes.pseudonym_key)
        outside = folder / "pseudonyms"
        outside.mkdir(exist_ok=True, mode=0o700)
        written |= {f"pseudonyms/{name}": path for name, path in _outputs(outside, hidden, outputs).items()}
    return Written(report, written)


# ---- what is asked for


def _check_parameters(parameters: Mapping[str, Any], catalogue: Catalogue, problems: Problems) -> None:
    controls = {control.id: control for control in catalogue.controls}
    for name, values in parameters.items():
        if name not in controls:
            near = difflib.get_close_matches(name, controls, 2)
            hint = f"; is {' or '.join(near)} meant?" if near else "; docs/compliance.md lists all of them"
            problems.add(f"parameters: there is no control {name!r}{hint}")
        elif not isinstance(values, Mapping):
            problems.add(f"parameters: {name}: a mapping of its figures is wanted: {_figures(controls[name].parameters)}")
        elif strange := sorted(set(values) - set(controls[name].parameters)):
            problems.add(f"parameters: {name} has no {', '.join(strange)}; it has {_figures(controls[name].parameters)}")
        else:
            try:
                controls[name].figures(values)
            except UserError as error:
                problems.add(str(error))


def _figures(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} (default {value})" for name, value in parameters.items()) or "none"


def _baseline(params: Mapping[str, Any], warn: Warn) -> Baseline | None:
    """The report named, or that of the run before in the same folder."""
    if params["baseline"]:
        if Path(params["baseline"]).expanduser().exists():
            return baselines.load(params["baseline"])
        warn(f"baseline: {params['baseline']} is not there; without it nothing is new or gone")
        return None
    last = Path(params["folder"]) / OUTPUTS["json"][0]
    if not last.exists():
        return None
    try:
        return baselines.load(last)
    except UserError as error:
        warn(f"{error}; nothing is compared")
        return None


# ---- reading


def _observations(folder: Path, warn: Warn) -> Iterator[Observation]:
    for path in sorted(folder.glob("*.json")):
        try:
            yield observations.load(path)
        except FormatError as error:
            warn(str(error))


def _annex(path: Path) -> Iterator[Verdict]:
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                words = json.loads(line)
                words.pop("control", None)
                yield Verdict(**words)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} cannot be read as findings of an observation ({error}); run all of the playbook again") from error


# ---- writing


def _outputs(folder: Path, report: Mapping[str, Any], names: Sequence[str]) -> dict[str, Path]:
    """Write these outputs, and remove those of a run before that are not wanted any more."""
    for name in OUTPUTS.keys() - set(names):
        (folder / OUTPUTS[name][0]).unlink(missing_ok=True)
    written = {}
    for name in names:
        file, module = OUTPUTS[name]
        # loaded where they are asked for: a page's templates cost what nobody else needs
        content = import_module(f"{__package__}.outputs.{module}").render(report)
        written[name] = _write(folder / file, content)
    return written


def _table(folder: Path, found: Iterator[tuple[Words, Words, Words]]) -> Path:
    annex = import_module(f"{__package__}.outputs.annex")
    path = folder / ANNEX
    handle, name = tempfile.mkstemp(dir=folder, prefix=".")
    with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
        annex.write(file, (annex.row(control, target, finding) for control, target, finding in found))
    Path(name).replace(path)
    return path


def _without_annexes(report: Mapping[str, Any]) -> Words:
    """The report where only what it lists is handed out."""
    return {
        **report,
        "controls": [
            {**control, "results": [{**result, "annex": "", "unlisted": []} for result in control["results"]]}
            for control in report["controls"]
        ],
    }


def _write(path: Path, content: str | bytes) -> Path:
    """Whole or not at all, for the owner only."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".")
    with os.fdopen(handle, "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())
    Path(name).replace(path)
    return path


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
