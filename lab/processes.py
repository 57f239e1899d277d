# SPDX-License-Identifier: GPL-3.0-or-later
"""Keepers, hosts and commands in them, as processes of the machine."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab import root, settings
from lab.errors import LabError

HERE = Path(__file__).resolve().parent
ALL_NAMESPACES = ("mnt", "uts", "ipc", "pid", "net")
GUEST_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def python(script: str, *arguments: str) -> list[str]:
    """One of our stand-alone scripts; -S -E: quick, and deaf to the user's Python settings."""
    return [sys.executable, "-E", "-S", str(HERE / script), *arguments]


@dataclass(frozen=True)
class Process:
    """A process that cannot be mistaken for a later one with the same number."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Process:
        return cls(pid, start_time(pid) or "")

    @property
    def exists(self) -> bool:
        return bool(self.started) and start_time(self.pid) == self.started

    @property
    def alive(self) -> bool:
        """There and not on its way out (the first process of a PID namespace stays a while to bury the others)."""
        return self.exists and not exiting(self.pid)

    def end(self, timeout: float = 20) -> None:
        """SIGKILL and wait until it is gone; for the first process of a PID namespace, with all others in it."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if not self.exists:
                return
            if self.alive:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            if not select.select([handle], [], [], timeout)[0]:
                raise LabError(f"process {self.pid} does not end")
        finally:
            os.close(handle)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def start_time(pid: int) -> str | None:
    """Boot and clock tick of a process' start; None if there is none or it is a zombie."""
    fields = stat(pid)
    if not fields or fields[0] in "ZX":
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}:{fields[19]}"


def exiting(pid: int) -> bool:
    fields = stat(pid)
    return not fields or bool(int(fields[6]) & 0x4)  # PF_EXITING


def stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


class Keeper:
    """The first process of a lab, its PID namespace and its bridge."""

    def __init__(self, name: str, using: Sequence[Path] = ()) -> None:
        """`using`: the folders of the cache that must stay while the lab runs."""
        handles = [root.hold(path) for path in using]
        self._starter = subprocess.Popen(
            [*python("keeper.py"), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=handles,
        )
        for handle in handles:
            os.close(handle)
        assert self._starter.stdout is not None
        line = self._starter.stdout.readline()
        if not line.strip():
            assert self._starter.stderr is not None
            raise LabError(
                f"the lab cannot have namespaces of its own (is this root, with CAP_SYS_ADMIN?): {self._starter.stderr.read().strip()}"
            )
        self._starter.wait()
        self.process = Process.of(int(line))
        network(
            self.process.pid,
            ["link set lo up", "link add lab0 type bridge", f"addr add {settings.GATEWAY}/{settings.PREFIX_LENGTH} dev lab0"],
        )
        network(self.process.pid, ["link set lab0 up"])

    def add_inner_network(self) -> None:
        """A second bridge, for the hosts behind the VPN gateways. It has no address: nothing but a gateway leads there."""
        network(self.process.pid, ["link add lab1 type bridge", "link set lab1 up"])

    def keep(self) -> None:
        """From here on the lab outlives us."""
        assert self._starter.stdin is not None
        self._starter.stdin.write("keep")
        self._starter.stdin.close()


def network(pid: int, commands: Sequence[str]) -> None:
    """Run `ip` commands in a process' network namespace, with the machine's own ip."""
    batch = subprocess.run(
        ["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-batch", "-"],
        input="\n".join(commands) + "\n",
        text=True,
        capture_output=True,
        check=False,
    )
    if batch.returncode:
        raise LabError(f"ip {'; '.join(commands)}: {batch.stderr.strip()}")


def start_host(
    keeper: Process,
    plan: settings.HostPlan,
    folder: Path,
    lower: Sequence[Path],
    files: Mapping[str, str],
    read_only_binds: Sequence[tuple[Path, str]],
    label: str,
) -> Process:
    """A host with its namespaces, its overlay over `lower` (topmost first) and its addresses on the lab's bridges."""
    spec: dict[str, Any] = {
        "keeper": keeper.pid,
        "hostname": plan.name,
        "lower": [str(path) for path in lower],
        "files": dict(files),
        "read_only_binds": [(str(source), target) for source, target in read_only_binds],
        "label": f"{label} {plan.name}",
    }
    for name in ("upper", "work", "root"):
        spec[name] = str(folder / name)
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "upper").chmod(0o755)
    started = subprocess.run(python("boot.py", json.dumps(spec)), capture_output=True, text=True, check=False)
    if not started.stdout.strip():
        raise LabError(f"{plan.name} does not start: {started.stderr.strip()}")
    host = Process.of(int(started.stdout))
    outside, inside = network_commands(plan, host.pid)
    network(keeper.pid, outside)
    network(host.pid, inside)
    return host


def network_commands(plan: settings.HostPlan, pid: int) -> tuple[list[str], list[str]]:
    """For `ip`: in the keeper's network and then in the host's. eth0 is on the lab's network, where the host has an address there."""
    links = [("lab0", (plan.address, *plan.further))] if plan.address != plan.inner else []
    links += [("lab1", (plan.inner,))] if plan.inner else []
    outside, inside = [], ["link set lo up"]
    for number, (bridge, addresses) in enumerate(links):
        link = f"to-{plan.name}" + (f"-{number}" if number else "")
        outside += [f"link add {link} type veth peer name eth{number} netns {pid}", f"link set {link} master {bridge} up"]
        inside += [f"addr add {address}/{settings.PREFIX_LENGTH} dev eth{number}" for address in addresses]
        inside += [f"link set eth{number} up"]
        inside += [f"route add default via {settings.GATEWAY}"] if bridge == "lab0" else []
    return outside, inside


def entering(
    host: Process,
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | None = "/root",
    namespaces: Sequence[str] = ALL_NAMESPACES,
    binds: Sequence[tuple[str, str]] = (),
    hide: Sequence[str] = (),
    detach: bool = False,
    tell: int = -1,
) -> list[str]:
    """The command line that runs `command` in a host; its standard streams and exit code are the command's."""
    spec = {
        "pid": host.pid,
        "command": list(command),
        "env": dict(GUEST_ENVIRONMENT if env is None else env),
        "cwd": cwd,
        "namespaces": list(namespaces),
        "binds": list(binds),
        "hide": list(hide),
        "detach": detach,
        "tell": tell,
    }
    return python("enter.py", json.dumps(spec))


def run(host: Process, command: Sequence[str], log: Path, *, stdin: str = "") -> None:
    """A step of building a host: everything it prints goes to the log; a LabError if it fails."""
    with log.open("ab") as output:
        finished = subprocess.run(entering(host, command), input=stdin.encode(), stdout=output, stderr=output, check=False)
    if finished.returncode:
        raise LabError(f"{command[0]} {command[1] if len(command) > 1 else ''}: ended with code {finished.returncode}", log)


def daemon(host: Process, command: Sequence[str], log: Path) -> Process:
    """Start a daemon in a host; it lives until the host ends."""
    reader, writer = os.pipe()
    try:
        with log.open("ab") as output:
            line = entering(host, command, cwd="/", detach=True, tell=writer)
            subprocess.run(line, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=[writer], check=True)
        return Process.of(int(os.read(reader, 20)))
    finally:
        os.close(reader)
        os.close(writer)
