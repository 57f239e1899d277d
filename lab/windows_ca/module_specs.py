# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the modelled modules, from each module's own documentation; made where Ansible is, read where it is not.

`python -m lab.windows_ca.module_specs` writes `module_specs.json` anew from `ansible-doc`; a test compares the two.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".json")
MODULES = ("ansible.windows.setup", "ansible.windows.win_feature", "ansible.windows.win_service", "ansible.windows.win_powershell")
KEPT = ("type", "elements", "required", "default", "choices", "aliases")
# What documentation cannot say; from the argument specification in each module's .ps1 (ansible.windows 3.3.0).
RULES: dict[str, dict[str, Any]] = {
    "ansible.windows.win_service": {"required_by": {"password": ["username"]}, "no_log": ["password"]},
    "ansible.windows.win_powershell": {"required_one_of": [["path", "script"]], "mutually_exclusive": [["path", "script"]]},
    "ansible.windows.win_powershell sensitive_parameters": {
        "mutually_exclusive": [["value", "username"], ["value", "password"]],
        "required_one_of": [["username", "value"]],
        "required_together": [["username", "password"]],
        "no_log": ["password", "value"],
    },
}


@cache
def specs() -> dict[str, Any]:
    """`{module: {option: {type, elements, required, default, choices, aliases, options}}}`."""
    found: dict[str, Any] = json.loads(FILE.read_text())
    return found


def documented(ansible_doc: str) -> dict[str, Any]:
    """The same from `ansible-doc`."""
    found = {}
    for module in MODULES:
        done = subprocess.run([ansible_doc, "-t", "module", "-j", module], capture_output=True, text=True, check=True)
        found[module] = options(json.loads(done.stdout)[module]["doc"]["options"])
    return found


def options(documentation: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for name, option in sorted(documentation.items()):
        found[name] = {key: option[key] for key in KEPT if key in option}
        if "suboptions" in option:
            found[name]["options"] = options(option["suboptions"])
    return found


def text(found: dict[str, Any]) -> str:
    return json.dumps(found, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(documented(str(Path(sys.executable).with_name("ansible-doc")))))
