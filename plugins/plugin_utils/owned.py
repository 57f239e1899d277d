# SPDX-License-Identifier: GPL-3.0-or-later
"""A command that ends with its owner: `python owned.py COMMAND...`, whose standard input is a pipe that nobody but the owner holds.

Nothing is ever written to the pipe. Its end says that the owner has closed it or is gone, by whatever signal, for the kernel closes what
a process held. That holds on every Unix; Linux's PR_SET_PDEATHSIG would end one process only, and not those that it has started.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

COMMAND = (sys.executable, "-I", "-S", __file__)
"""What goes before the command. Start it in a session of its own, or else what ends the owner's process group ends the keeper first."""
ENDS = ((signal.SIGINT, 15), (signal.SIGTERM, 5), (signal.SIGKILL, 0))
"""What the command's process group is told, and how many seconds it has. First as from a terminal: then Ansible ends its forks itself."""


def run(command: list[str]) -> int:
    """The command's exit code; 128 and the number of the signal that ended it, as a shell has it."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    gone = threading.Event()
    ending = threading.Thread(target=_end_with_owner, args=(child.pid, gone), daemon=True)
    ending.start()
    code = child.wait()
    if gone.is_set():  # what the command has started may take longer than itself
        ending.join()
    return code if code >= 0 else 128 - code


def _end_with_owner(group: int, gone: threading.Event) -> None:
    os.read(sys.stdin.fileno(), 1)
    gone.set()
    for number, patience in ENDS:
        until = time.monotonic() + patience
        try:
            os.killpg(group, number)
            while time.monotonic() < until:
                time.sleep(0.1)
                os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):  # nobody is left; macOS says the latter while the last is not reaped
            return


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
