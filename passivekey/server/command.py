# SPDX-License-Identifier: GPL-3.0-or-later
"""`passivekey` where the extra passivekey-server may not be installed: the program is there without it."""

from __future__ import annotations

import sys


def main() -> int:
    try:
        from passivekey.server import cli
    except ModuleNotFoundError as error:
        print(
            f"passivekey: the Python package {error.name} is missing; install certlogon with its extra passivekey-server", file=sys.stderr
        )
        return 1
    return cli.main()
