# SPDX-License-Identifier: GPL-3.0-or-later
"""A user's VPN client: `python3 on_client1.py open|fetch|close` with settings as JSON by standard input; answers JSON. Stand-alone.

A cookie is no login (a gateway may refuse after it): `up` means that a page came through the tunnel's own device.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SCRIPT = "/usr/share/vpnc-scripts/vpnc-script"
CONFIGURED = re.compile(r"Configured as (\d+\.\d+\.\d+\.\d+)")


def main() -> int:
    asked = json.load(sys.stdin)
    answer = {"open": open_tunnel, "fetch": fetch_page, "close": close}[sys.argv[1]](asked)
    print(json.dumps(answer))
    return 0


def open_tunnel(asked: dict[str, Any]) -> dict[str, Any]:
    """`command` (openconnect's, without device), `environment`, `stdin`, `page` {address, port, path}, `timeout` seconds."""
    began = time.monotonic()
    deadline = began + asked["timeout"]
    device = free_device()
    log = Path(f"/run/{device}.log")
    with log.open("wb") as output:
        client = subprocess.Popen(
            [asked["command"][0], f"--interface={device}", f"--script={SCRIPT}", *asked["command"][1:]],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8", **asked["environment"]},
            start_new_session=True,
        )
    assert client.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        client.stdin.write(asked["stdin"].encode())
        client.stdin.close()
    answer: dict[str, Any] = {"up": False, "pid": client.pid, "device": device, "address": "", "page": "", "code": None}
    while time.monotonic() < deadline and client.poll() is None:
        found = CONFIGURED.search(log.read_text(errors="replace"))
        if found and has_address(device):
            answer["address"] = found[1]
            break
        time.sleep(0.03)
    while answer["address"] and not answer["page"] and time.monotonic() < deadline and client.poll() is None:
        answer |= fetch_page({**asked["page"], "device": device, "timeout": 1})
    answer["up"] = bool(answer["page"])
    if not answer["up"]:
        end(client.pid)
    answer["code"] = client.poll()
    answer["seconds"] = round(time.monotonic() - began, 3)
    answer["words"] = log.read_text(errors="replace")
    return answer


def free_device() -> str:
    return next(name for name in (f"vpn{number}" for number in range(100)) if not Path(f"/sys/class/net/{name}").exists())


def has_address(device: str) -> bool:
    shown = subprocess.run(["ip", "-4", "-o", "address", "show", "dev", device, "up"], capture_output=True, text=True, check=False)
    return "inet " in shown.stdout


def fetch_page(asked: dict[str, Any]) -> dict[str, Any]:
    """HTTP through one network device and no other: {"page": "status and body", "problem": why there is none}."""
    try:
        with socket.socket() as connection:
            connection.settimeout(asked["timeout"])
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, asked["device"].encode())
            connection.connect((asked["address"], asked["port"]))
            connection.sendall(f"GET {asked['path']} HTTP/1.0\r\nHost: {asked['address']}\r\n\r\n".encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode(errors="replace")
    except OSError as error:
        return {"page": "", "problem": str(error)}
    head, _, body = answer.partition("\r\n\r\n")
    return {"page": body if " 200 " in head.partition("\r\n")[0] else "", "problem": head.partition("\r\n")[0]}


def close(asked: dict[str, Any]) -> dict[str, Any]:
    """End the client `pid`; what it and its script said."""
    end(asked["pid"])
    log = Path(f"/run/{asked['device']}.log")
    return {"words": log.read_text(errors="replace") if log.exists() else ""}


def end(pid: int) -> None:
    for number, patience in ((signal.SIGINT, 3.0), (signal.SIGKILL, 1.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            if not Path(f"/proc/{pid}").exists():
                return
            time.sleep(0.03)


if __name__ == "__main__":
    sys.exit(main())
