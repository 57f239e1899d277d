# SPDX-License-Identifier: GPL-3.0-or-later
"""The first process of a lab: it holds the lab's PID namespace and its network. When it ends, however, everything of the lab ends.

Stand-alone: `python3 -E -S keeper.py NAME`. Prints its process id; ends by itself unless it reads `keep` before its input closes,
so that an `up` that is killed half-way leaves nothing.
"""

from __future__ import annotations

import os
import signal
import sys

import enter  # type: ignore[import-not-found]  # a neighbour: this runs as a script


def main() -> None:
    enter.unshare("pid", "net")
    child = os.fork()
    if child:
        print(child, flush=True)
        return
    os.setsid()
    os.chdir("/")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # orphans of the lab are reaped by the kernel
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    nothing = os.open("/dev/null", os.O_RDWR)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    if os.read(0, 4) != b"keep":
        return
    os.dup2(nothing, 0)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
