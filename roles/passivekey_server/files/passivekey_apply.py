# SPDX-License-Identifier: GPL-3.0-or-later
"""Have the server and its front ends run with the files that there are. Prints JSON: what was begun anew, what would be, what went wrong.

A service is started anew where its files are not those that it was last started with; before that they are judged, and a service whose
files will not do goes on with what it has.
"""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

MARKS = Path("/etc/passivekey/applied.json")
PATIENCE = 30.0
"""Seconds that a service may take until it answers."""
SETTLED = 2.0
"""Seconds until one that was started is seen to run, or has ended."""


def digest(paths: list[str]) -> str:
    """Of all files in this list, and in folders of this list."""
    found = hashlib.sha256()
    for file in files(paths):
        found.update(f"{file} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()


def files(paths: list[str]) -> Iterator[Path]:
    for path in map(Path, paths):
        yield from sorted(path.iterdir()) if path.is_dir() else [path] if path.is_file() else []


class Service:
    def __init__(self, given: dict[str, Any], systemd: bool) -> None:
        self.name, self.wanted, self.unit, self.judge = given["name"], given["wanted"], given["unit"], given["judge"]
        kind, host, port = given["port"]
        # numbers are texts before ansible-core 2.19
        self.reload, self.port, self.systemd = given.get("reload", False), (kind, host, int(port)), systemd
        self.digest = digest(given["files"]) if given["wanted"] else ""
        self.said = ""

    def control(self, action: str) -> bool:
        """Start, stop, restart, reload, or ask for the status."""
        if self.systemd:
            words = {"status": ["is-active", "--quiet"], "reload": ["reload-or-restart"]}.get(action, [action])
            return run(["systemctl", *words, self.unit]).returncode == 0
        return run(["/usr/local/sbin/passivekey-run", action, self.name]).returncode == 0

    def wrong(self) -> str:
        done = run(self.judge)
        words = (done.stderr + done.stdout).strip()[-1500:]
        return "" if done.returncode == 0 else words or f"{self.judge[0]} ended with code {done.returncode}"

    def begin(self) -> str:
        """Start it anew; what went wrong."""
        running = self.control("status")
        self.control("reload" if self.reload and running else "restart")
        begun = time.monotonic()
        while not self.answers():
            waited = time.monotonic() - begun
            if waited > PATIENCE or (waited > SETTLED and not self.control("status")):
                return f"does not answer at {self.port[0]} port {self.port[2]}: {self.said or self.log()}"
            time.sleep(0.1)
        return ""

    def answers(self) -> bool:
        kind, host, port = self.port
        if kind == "udp":
            return any(line.split()[1].endswith(f":{port:04X}") for name in ("udp", "udp6") for line in table(name))
        try:
            if kind == "tcp":
                socket.create_connection((host, port), 2).close()
                return True
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # whether it answers; whose it is, the proof looks at
            with urlopen(f"https://{host}:{port}/health", context=context, timeout=5) as answer:
                return bool(answer.status == 200)
        except HTTPError as error:
            self.said = error.read(500).decode(errors="replace")  # what it is that fails
            return False
        except (OSError, URLError):
            return False

    def log(self) -> str:
        if self.systemd:
            return run(["journalctl", "-u", self.unit, "-n", "8", "-o", "cat", "--no-pager"]).stdout.strip()
        file = Path(f"/var/log/passivekey/{self.name}.log")
        return " / ".join(file.read_text(errors="replace").strip().splitlines()[-8:]) if file.exists() else "its log is empty"


def table(name: str) -> list[str]:
    try:
        return Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    except OSError:
        return []


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def main(options: dict[str, Any]) -> dict[str, Any]:
    marks: dict[str, str] = json.loads(MARKS.read_text()) if MARKS.exists() else {}
    done: list[str] = []
    wrong: list[str] = []
    for service in [Service(given, options["systemd"]) for given in options["services"]]:
        if not service.wanted:
            if service.name in marks and not service.reload:
                done.append(service.name)
                if not options["check"]:
                    service.control("stop")
                    marks.pop(service.name)
            elif service.name in marks and not options["check"]:
                service.control("reload")
                marks.pop(service.name)
            continue
        if marks.get(service.name) == service.digest and service.control("status"):
            continue
        done.append(service.name)
        if options["check"]:
            continue
        problem = service.wrong() or service.begin()
        if problem:
            wrong.append(f"{service.name}: {problem}")
            continue
        marks[service.name] = service.digest
        MARKS.write_text(json.dumps(marks))
    if not options["check"] and MARKS.parent.is_dir():
        MARKS.write_text(json.dumps(marks))
    return {"changed": bool(done), "begun": done, "wrong": wrong}


if __name__ == "__main__":
    json.dump(main(json.loads(sys.argv[1])), sys.stdout)
