# SPDX-License-Identifier: GPL-3.0-or-later
"""A task of adcs_authority that changes nothing: its seconds, and what the CA host counted meanwhile. It has to be one script.

Seconds are those of the whole play less the same play with a module that does nothing on the same host, so a sign-in is in neither.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.benchmarks.contenders import Ansible
from tests.benchmarks.measure import Series

COUNTED = {"scripts": "scripts", "modules": "modules", "commands": "winrm_commands", "requests": "winrm_requests"}
IDLE = {"ansible.windows.win_service": {"name": "WinRM"}}
"""What the other play does: it asks for one service."""


def measure(
    folder: Path, host: Mapping[str, Any], config: Mapping[str, Any], counters: Callable[[], Mapping[str, int]], rounds: int
) -> dict[str, Any]:
    """The row of the results; `host` is the inventory's only one with its variables. Raises if it takes more than one script."""
    ansible = Ansible(folder, Path(sys.executable))
    inventory = folder / "authority-inventory.json"
    inventory.touch(mode=0o600)
    inventory.write_text(json.dumps({"all": {"hosts": dict(host)}}))
    plays = {"unchanged": {"certlogon.core.adcs_authority": {"config": [dict(config)]}}, "idle": IDLE}
    series = {name: Series() for name in plays}
    counts: dict[str, int] = {}
    try:
        for _round in range(rounds):
            for name, task in plays.items():
                play = folder / f"authority-{name}.json"
                play.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
                before = counters()
                series[name].runs.append(ansible.run([ansible.program, "-i", str(inventory), str(play)]))
                after = counters()
                if name == "unchanged":
                    counts = {word: after.get(counter, 0) - before.get(counter, 0) for word, counter in COUNTED.items()}
    finally:
        inventory.unlink()
    if (counts["scripts"], counts["modules"]) != (1, 1):
        raise RuntimeError(f"adcs_authority changed nothing with {counts['scripts']} scripts in {counts['modules']} rounds; it must be one")
    seconds = max(series["unchanged"].seconds - series["idle"].seconds, 0.0)
    return {
        "kind": "authority",
        "count": 1,
        "phase": "unchanged",
        "certlogon": {
            "seconds": round(seconds, 4),
            "whole": round(series["unchanged"].seconds, 4),
            "runs": rounds,
            "megabytes": round(series["unchanged"].megabytes),
            **counts,
        },
    }


def shown(row: Mapping[str, Any]) -> str:
    words = (
        "{modules} round, {scripts} script, {requests} WinRM requests; {whole:.2f} s the play, {seconds:.2f} s more than one win_service"
    )
    return f"adcs_authority unchanged: {words.format(**row['certlogon'])}"
