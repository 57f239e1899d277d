# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m lab.run demo|test|bench|bench-peer ARGUMENTS`: what the entrance hands over to."""

from __future__ import annotations

import importlib
import sys

from lab.errors import LabError

COMMANDS = {"demo": "lab.demo", "test": "lab.checks", "bench": "lab.bench", "bench-peer": "lab.bench_peer"}


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in COMMANDS:
        print(f"usage: python -m lab.run {'|'.join(COMMANDS)}", file=sys.stderr)
        return 2
    try:
        result: int = importlib.import_module(COMMANDS[arguments[0]]).main(arguments[1:])
    except LabError as error:
        print(f"certlogon {arguments[0]}: {error.explain()}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
