# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs at each logon. When all is well it ends before it has imported anything that takes time."""

from __future__ import annotations

import os
import sys

from passivekey.agent import state


def main() -> int:
    """`passivekey-agent`: with no arguments the check at logon; else the commands of `passivekey.agent.cli`."""
    if len(sys.argv) == 1 and state.all_is_well(state.Places.of_user()):
        return 0
    try:
        from passivekey.agent import cli
    except ModuleNotFoundError as error:
        print(
            f"passivekey-agent: the Python package {error.name} is missing; install certlogon with its extra passivekey-agent",
            file=sys.stderr,
        )
        return 1
    return cli.main(sys.argv[1:] or ["enroll", "--quiet"])


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # nothing is left to be done, and tearing an interpreter down takes as long as the check
