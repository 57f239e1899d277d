# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes an ocserv gateway what it is, as the host has it: run there, without being installed. Opens files for reading only, runs
programs that only tell (`systemctl is-active`, `occtl show users`), writes nothing but JSON to standard output. Needs Python 3.8.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

FILES = {
    "settings": "/etc/ocserv/certlogon/gateway.json",
    "configuration": "/etc/ocserv/ocserv.conf",
    "certificate": "/etc/ocserv/certlogon/current/cert.pem",
    "trust": "/var/lib/certlogon/vpn/trust.pem",
    "crls": "/var/lib/certlogon/vpn/crl.pem",
    "gate": "/var/lib/certlogon/vpn/gate",
    "status": "/var/lib/certlogon/vpn/status.json",
    "cron": "/etc/cron.d/certlogon-gateway",
    "timer": "/etc/systemd/system/certlogon-gateway.timer",
    "connect_script": "/usr/local/lib/certlogon/ocserv-gate",
    "program": "/usr/local/lib/certlogon/certlogon_gateway.py",
    "radius": "/etc/ocserv/certlogon/radius/radiusclient.conf",
}
RELAY = "/usr/local/lib/certlogon/certlogon_radius.py"
KEY = "/etc/ocserv/certlogon/current/key.pem"
LIMIT = 64 << 20
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def file(path: str) -> dict[str, Any]:
    """`content` (zlib, base64), `changed` and `mode`; `missing`, or `reason` where it cannot be read."""
    try:
        with Path(path).open("rb") as opened:
            about = os.fstat(opened.fileno())
            content = opened.read(LIMIT + 1)
    except FileNotFoundError:
        return {"missing": True}
    except OSError as error:
        return {"reason": f"{path}: {error.strerror or error}", "denied": isinstance(error, PermissionError)}
    if len(content) > LIMIT:
        return {"reason": f"{path} is larger than {LIMIT} bytes"}
    packed = base64.b64encode(zlib.compress(content, 6)).decode()
    return {"content": packed, "changed": about.st_mtime, "mode": about.st_mode & 0o7777}


def told(*command: str) -> tuple[int, str]:
    """What a program that only tells says; -1 where there is no such program."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=15, errors="replace", env={"PATH": PATH, "LC_ALL": "C"}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return -1, str(error)
    return done.returncode, done.stdout + done.stderr


def processes(*names: str) -> bool:
    return any(text(str(path)) in names for path in Path("/proc").glob("[0-9]*/comm"))


def runs(program: str) -> bool:
    """Whether a script of this path is run."""
    return any(program in text(str(path)).split("\0") for path in Path("/proc").glob("[0-9]*/cmdline"))


def text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""


def sessions(socket: str) -> dict[str, Any]:
    """User, address and beginning of each open session."""
    code, shown = told("occtl", "-s", socket, "-j", "show", "users")
    if code:
        return {"reason": f"occtl does not tell the sessions: {shown.strip()[:200] or code}"}
    try:
        rows = json.loads(re.sub(r",(\s*[}\]])", r"\1", shown)) if shown.strip() else []
        return {"sessions": [{"user": row.get("Username", ""), "since": row.get("raw_connected_at", 0)} for row in rows]}
    except (ValueError, AttributeError) as error:
        return {"reason": f"occtl tells the sessions in a way that is not understood: {error}"}


def mode(path: str) -> int | None:
    try:
        return Path(path).stat().st_mode & 0o7777
    except OSError:
        return None


def main() -> dict[str, Any]:
    os.environ["PATH"] = PATH
    running = processes("ocserv", "ocserv-main")
    systemd = Path("/run/systemd/system").is_dir()
    return {
        "now": time.time(),
        "files": {name: file(path) for name, path in FILES.items()},
        "key_mode": mode(KEY),
        "root": os.geteuid() == 0,
        "running": running,
        "systemd": systemd,
        "timer_active": told("systemctl", "is-active", "certlogon-gateway.timer")[1].strip() == "active" if systemd else None,
        "timer_enabled": told("systemctl", "is-enabled", "certlogon-gateway.timer")[1].strip() == "enabled" if systemd else None,
        "cron_running": processes("cron", "crond"),
        "relay_running": runs(RELAY),
        "version": told("ocserv", "--version")[1].partition("\n")[0].strip(),
        "sessions": sessions("/run/occtl.socket") if running else {"sessions": []},
    }


if __name__ == "__main__":
    json.dump(main(), sys.stdout)
