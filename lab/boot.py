# SPDX-License-Identifier: GPL-3.0-or-later
# Stand-alone and without pathlib, so that it starts in milliseconds.
# ruff: noqa: PTH102, PTH103, PTH110, PTH114, PTH115, PTH120, PTH108, PTH123, PTH211
"""Start a host: its namespaces, its overlay root, its first process. Stand-alone: `python3 -E -S boot.py '<json>'`.

Prints the host's process id (as the machine sees it) once its file system is ready.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

import enter  # type: ignore[import-not-found]  # a neighbour: this runs as a script

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MNT_DETACH = 2
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "fuse", "net/tun")
REAPER = "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True: signal.pause()"


def build_root(spec: dict[str, Any]) -> None:
    root = spec["root"]
    enter.make_private()
    layers = f"lowerdir={':'.join(spec['lower'])},upperdir={spec['upper']},workdir={spec['work']}"
    enter.mount("overlay", root, "overlay", 0, layers)
    enter.mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    enter.mount("sysfs", f"{root}/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY)
    enter.mount("tmpfs", f"{root}/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    enter.mount("tmpfs", f"{root}/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    build_dev(f"{root}/dev")
    for source, target in spec["read_only_binds"]:
        os.makedirs(root + target, exist_ok=True)
        enter.mount(source, root + target, None, enter.MS_BIND)
        enter.mount("none", root + target, None, enter.MS_BIND | MS_REMOUNT | MS_RDONLY)
    for path, text in spec["files"].items():
        write(root + path, text)


def build_dev(dev: str) -> None:
    enter.mount("tmpfs", dev, "tmpfs", MS_NOSUID, "mode=755")
    for name in DEVICES:
        if os.path.exists(f"/dev/{name}"):
            write(f"{dev}/{name}", "")
            enter.mount(f"/dev/{name}", f"{dev}/{name}", None, enter.MS_BIND)
    os.mkdir(f"{dev}/pts")
    enter.mount("devpts", f"{dev}/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")
    os.symlink("pts/ptmx", f"{dev}/ptmx")
    os.mkdir(f"{dev}/shm")
    enter.mount("tmpfs", f"{dev}/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"{dev}/{name}")
    os.symlink("/proc/self/fd", f"{dev}/fd")


def write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.islink(path):
        os.unlink(path)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def switch_root(root: str) -> None:
    """pivot_root where possible; in a chroot that is no mount point, move the new root over the old one."""
    os.chdir(root)
    system_call = {"x86_64": 155, "aarch64": 41}.get(os.uname().machine)
    if system_call and enter.libc.syscall(system_call, b".", b".") == 0:
        enter.check(enter.libc.umount2(b".", MNT_DETACH), "unmount the machine's root")
    else:
        enter.mount(".", "/", None, 0x2000)  # MS_MOVE
        os.chroot(".")
    os.chdir("/")


def main() -> None:
    spec = json.loads(sys.argv[1])
    enter.enter(spec["keeper"], ["pid"])
    if os.fork():
        os.wait()
        return
    enter.unshare("mnt", "uts", "ipc", "pid", "net")
    if os.fork():
        return
    os.setsid()
    seen_as = os.readlink("/proc/self")  # the machine's /proc: the machine's numbering
    build_root(spec)
    switch_root(spec["root"])
    name = spec["hostname"].encode()
    enter.check(enter.libc.sethostname(name, len(name)), "set the host name")
    print(seen_as, flush=True)
    nothing = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.execve("/usr/bin/python3", ["python3", "-I", "-S", "-c", REAPER, spec["label"]], {"PATH": "/usr/sbin:/usr/bin"})


if __name__ == "__main__":
    main()
