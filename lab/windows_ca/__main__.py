# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in's service on ca1: `python3 -m lab.windows_ca`. Ends with the host, or by SIGKILL; its state is on disk at all times."""

from __future__ import annotations

import signal
import sys

from lab.windows_ca import host


def main() -> int:
    host.Host().start()
    while True:
        signal.pause()


if __name__ == "__main__":
    sys.exit(main())
