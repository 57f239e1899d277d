# SPDX-License-Identifier: GPL-3.0-or-later
# Stand-alone and without pathlib, so that it starts in milliseconds.
# ruff: noqa: PTH112, PTH118, PTH119, PTH123
"""Run one command inside a host of the lab. Stand-alone and quick to start: `python3 -I -S enter.py '<json>'`.

The specification: `pid` (the host's first process), `command`, `env`, `cwd`; `namespaces` (which of the host's to enter);
`binds` ([source, target] pairs, mounted for this command only); `hide` (folders to cover); `detach` (a daemon: do not wait for it,
do not end it with us, write its process id to the descriptor `tell`). Ends with the command's exit code.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import sys
from typing import Any

FLAGS = {"mnt": 0x00020000, "uts": 0x04000000, "ipc": 0x08000000, "pid": 0x20000000, "net": 0x40000000}
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def unshare(*names: str) -> None:
    check(libc.unshare(sum(FLAGS[n] for n in names)), "unshare " + " ".join(names))


def mount(source: str, target: str, kind: str | None = None, flags: int = 0, data: str | None = None) -> None:
    encoded = [None if value is None else os.fsencode(value) for value in (source, target, kind)]
    check(libc.mount(*encoded, ctypes.c_ulong(flags), None if data is None else os.fsencode(data)), f"mount {source} on {target}")


def make_private() -> None:
    """Mounts made from here on stay in this mount namespace."""
    if libc.mount(None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None) == 0:
        return
    # In a chroot "/" need not be a mount point; then each mount below it is told by itself.
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        for line in table:
            libc.mount(None, os.fsencode(line.split()[4]), None, ctypes.c_ulong(MS_PRIVATE), None)


def die_with_parent(parent: int) -> None:
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() not in (parent, 0):  # 0: the parent is in an outer PID namespace
        os._exit(137)


def enter(pid: int, names: list[str]) -> None:
    """Join the host's namespaces; with its mounts, its root too."""
    handles = [(name, os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)) for name in names]
    root = os.open(f"/proc/{pid}/root", os.O_RDONLY | os.O_CLOEXEC)
    for name, handle in handles:
        check(libc.setns(handle, FLAGS[name]), f"enter the {name} namespace of process {pid}")
    if "mnt" in names:
        os.fchdir(root)
        os.chroot(".")
        os.chdir("/")


def prepare(spec: dict[str, Any]) -> None:
    """Join the namespaces; with `binds` or `hide`, in a private copy of the mounts that ends with the command."""
    binds, inside = spec["binds"], "mnt" in spec["namespaces"]
    contents = [read(source) for source, _ in binds] if inside else []
    enter(spec["pid"], spec["namespaces"])
    if not binds and not spec["hide"]:
        return
    if inside:
        binds = [(carry(data, target), target) for data, (_, target) in zip(contents, binds, strict=False)]
    unshare("mnt")
    make_private()
    for folder in spec["hide"]:
        if os.path.isdir(folder):
            mount("none", folder, "tmpfs", 0, "mode=755")
    for source, target in binds:
        mount(source, os.path.realpath(target), None, MS_BIND)


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def carry(data: bytes, target: str) -> str:
    """A file of the machine, as one in the host's /run. It stays: a mount on a deleted file could not be covered by another."""
    copy = f"/run/lab-machine-{os.path.basename(target)}"
    with open(copy, "wb") as file:
        file.write(data)
    return copy


def execute(command: list[str], env: dict[str, str]) -> None:
    """As os.execvpe, which would import a module: from here on the machine's Python library is out of sight."""
    missing = FileNotFoundError(errno.ENOENT, "command not found")
    for folder in [""] if "/" in command[0] else env.get("PATH", "/usr/bin:/bin").split(":"):
        try:
            os.execve(os.path.join(folder, command[0]), command, env)
        except (FileNotFoundError, NotADirectoryError):
            continue
    raise missing


def run(spec: dict[str, Any]) -> int:
    numbers = os.open("/proc", os.O_RDONLY | os.O_CLOEXEC)  # processes by our own numbers
    prepare(spec)
    me = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            if spec["detach"]:
                os.setsid()
                if os.fork():  # an orphan of the host, which its first process reaps; ours might belong to one that reaps nobody
                    os._exit(0)
                os.write(spec["tell"], os.readlink("self", dir_fd=numbers).encode())
                os.close(spec["tell"])
            else:
                die_with_parent(me)
            if spec["cwd"]:
                os.chdir(spec["cwd"])
            execute(spec["command"], spec["env"])
        except OSError as error:
            print(f"{spec['command'][0]}: {error.strerror or error}", file=sys.stderr)
            os._exit(127 if isinstance(error, FileNotFoundError) else 126)
    if spec["detach"]:
        os.waitpid(child, 0)
        return 0
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: os.kill(child, received))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the command as well
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    try:
        sys.exit(run(json.loads(sys.argv[1])))
    except OSError as problem:
        sys.exit(f"lab: {problem}")
