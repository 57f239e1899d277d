# SPDX-License-Identifier: GPL-3.0-or-later
"""certlogon.core.site on the whole lab, CA host included: the first run, and runs that change nothing.

`python -m tests.benchmarks.site FOLDER [--quick]`, within the network of a fresh lab with ca1. It also says how often each task asked
the CA host.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from lab.settings import CHECKOUT
from tests.benchmarks.contenders import Ansible
from tests.benchmarks.measure import Series

RECAP = re.compile(r"(?m)^(\S+)\s+: ok=(\d+)\s+changed=(\d+)")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    ansible = Ansible(options.folder, Path(sys.executable))
    ansible.environment |= {
        "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / "collections"),
        "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
        "ANSIBLE_DISPLAY_OK_HOSTS": "1",
    }
    command = [ansible.program, "-i", str(CHECKOUT / "inventories/lab"), "certlogon.core.site", "-v"]
    rows = []
    for phase, rounds in (("first", 1), ("unchanged", 1 if options.quick else 3)):
        series, said = Series(), ""
        for _round in range(rounds):
            series.runs.append(ansible.run(command))
            said = (options.folder / "last.log").read_text(errors="replace")
        row = described(phase, series, said)
        if phase == "unchanged" and row["changed"]:
            raise RuntimeError(f"the second run of certlogon.core.site changed {row['changed']} things")
        rows.append(row)
        print(shown(row), flush=True)
    (options.folder / "results-site.json").write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def described(phase: str, series: Series, said: str) -> dict[str, Any]:
    """The row of the results, from what the last run printed."""
    recap = RECAP.findall(said.rpartition("PLAY RECAP")[2])
    rounds = [int(number) for number in re.findall(r'"rounds": (\d+)', said)]
    return {
        "kind": "site",
        "count": len(recap),
        "phase": phase,
        "tasks": sum(int(ok) for _host, ok, _changed in recap),
        "changed": sum(int(changed) for _host, _ok, changed in recap),
        "rounds": rounds,
        "certlogon": {
            "seconds": round(series.seconds, 4),
            "whole": round(series.seconds, 4),
            "runs": len(series.runs),
            "megabytes": round(series.megabytes),
        },
    }


def shown(row: dict[str, Any]) -> str:
    asked, seconds = ", ".join(map(str, row["rounds"])), row["certlogon"]["seconds"]
    return (
        f"site, {row['phase']}: {seconds:.1f} s, {row['tasks']} tasks on {row['count']} hosts, {row['changed']} changed; "
        f"rounds to the CA host, task by task: {asked}"
    )


if __name__ == "__main__":
    sys.exit(main())
