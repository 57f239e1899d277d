# SPDX-License-Identifier: GPL-3.0-or-later
"""What a workstation has of PassiveKey. Reads only, prints JSON. Needs Python 3.10 or later, and nothing else.

Options, as JSON in the first argument: `modules` and `programs` {name: package} that the agent needs, `folder` of its environment,
`installed` (what its mark is to say), `files` {path: SHA-256}, `links` {path: target}, `known` (paths), `policies` {path of a file of
policies: names that no other file of its folder may have}, `firefox`: `path` of its policies.json, which others write into as well, and
what is to be in it (`wanted`, `servers`, `id` and `settings` of the extension, `unsigned`); `keep_firefox` where that is not known yet.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

SIGNATURES = "xpinstall.signatures.required"
CLOCKS = ("chronyd", "ntpd", "openntpd", "systemd-timesyn")
"""Time services by the name of their process, which has 15 characters at most."""


def missing(modules: dict[str, str], programs: dict[str, str]) -> list[str]:
    wanted = [package for name, package in modules.items() if not _there(name)]
    return sorted({*wanted, *(package for name, package in programs.items() if shutil.which(name) is None)})


def _there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False


def installed(folder: str, mark: str) -> bool:
    """Whether the environment is the wanted one, and still works (a newer Python of the system breaks it)."""
    if _bytes(f"{folder}/installed").decode(errors="replace").strip() != mark:
        return False
    try:
        command = [f"{folder}/bin/passivekey-agent", "--help"]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def set_elsewhere(file: str, names: list[str]) -> list[str]:
    """Policies that another file of the same folder sets as well: which of the two a browser takes is not said anywhere."""
    found = []
    for other in sorted(Path(file).parent.glob("*.json")):
        words = _object(_bytes(str(other))) if str(other) != file else {}
        found += [f"{other}: {name}" for name in names if name in words]
    return found


def firefox(options: dict[str, Any], keep: bool) -> dict[str, Any]:
    """The file with our policies, or without; everything else in it stays. `content` is None for no file."""
    data = _bytes(options["path"])
    found = _object(data)
    readable = (not data.strip() or bool(found) or data.strip() == b"{}") and _as_documented(found)
    content = found if keep or not readable else with_ours(found, options)
    return {"readable": readable, "wanted": options["wanted"], "differs": content != found, "content": content or None}


def _as_documented(found: dict[str, Any]) -> bool:
    """Whether what we write into has the shape that Firefox asks for; anything else is somebody's mistake, and not ours to mend."""
    policies = found.get("policies")
    if policies is None:
        return True
    parts = [policies.get(name) for name in ("Authentication", "ExtensionSettings", "Preferences")] if isinstance(policies, dict) else [""]
    if not all(part is None or isinstance(part, dict) for part in parts):
        return False
    return isinstance((parts[0] or {}).get("SPNEGO") or [], list)


def with_ours(found: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    policies = dict(found.get("policies") or {})
    sites = [name for name in _below(policies, "Authentication", "SPNEGO", []) if name not in options["servers"]]
    _put(policies, "Authentication", "SPNEGO", sites + options["servers"] if options["wanted"] else sites)
    _put(policies, "ExtensionSettings", options["id"], options["settings"] if options["wanted"] else {})
    unsigned = options["wanted"] and options["unsigned"]
    ours = {"Value": False, "Status": "locked"}
    if unsigned or _below(policies, "Preferences", SIGNATURES, {}) == ours:
        _put(policies, "Preferences", SIGNATURES, ours if unsigned else {})
    others = {name: value for name, value in found.items() if name != "policies"}
    return {**others, **({"policies": policies} if policies else {})}


def _below(policies: dict[str, Any], name: str, key: str, default: Any) -> Any:
    return (policies.get(name) or {}).get(key) or default


def _put(policies: dict[str, Any], name: str, key: str, value: Any) -> None:
    """A value in an object that others write into, or neither, where both are empty."""
    rest = {other: kept for other, kept in (policies.get(name) or {}).items() if other != key}
    policies[name] = {**rest, **({key: value} if value else {})}
    if not policies[name]:
        del policies[name]


def _object(data: bytes) -> dict[str, Any]:
    try:
        words = json.loads(data)
    except ValueError:
        return {}
    return words if isinstance(words, dict) else {}


def _bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def linked(path: Path, target: str) -> bool:
    return path.is_symlink() and str(path.readlink()) == target


def clock() -> str:
    """The time service that runs; empty where none is seen."""
    for path in Path("/proc").glob("[0-9]*/comm"):
        name = _bytes(str(path)).decode(errors="replace").strip()
        if name in CLOCKS:
            return name
    return ""


def read(options: dict[str, Any]) -> dict[str, Any]:
    files = (*options["known"], options["firefox"]["path"])
    return {
        "missing": missing(options["modules"], options["programs"]),
        "installed": installed(options["folder"], options["installed"]),
        "differing": [path for path, digest in options["files"].items() if hashlib.sha256(_bytes(path)).hexdigest() != digest],
        "links": [path for path, target in options["links"].items() if not linked(Path(path), target)],
        "folders": sorted({str(path) for file in files for path in Path(file).parents if path.is_dir()}),
        "present": [path for path in options["known"] if os.path.lexists(path)],
        "firefox": firefox(options["firefox"], options["keep_firefox"]),
        "conflicts": [found for file, names in options["policies"].items() for found in set_elsewhere(file, names)],
        "systemd": Path("/run/systemd/system").is_dir(),
        "clock": clock(),
    }


if __name__ == "__main__":
    json.dump(read(json.loads(sys.argv[1])), sys.stdout)
