# SPDX-License-Identifier: GPL-3.0-or-later
"""ca1: a Windows server freshly installed and joined, played by `lab.windows_ca` (docs/stand-ins.md)."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from lab import processes, settings
from lab.errors import LabError
from lab.processes import Process

SECRETS = "/etc/windows_ca"  # ca1.keytab, ntlm_users, winrm.key, winrm.pem
COMMAND = ("/usr/bin/python3", "-m", "lab.windows_ca")
ENVIRONMENT = {
    "PYTHONPATH": "/srv/certlogon",
    "PYTHONUNBUFFERED": "1",
    # The host's own identity, to accept and to ask with.
    "KRB5_KTNAME": f"FILE:{SECRETS}/ca1.keytab",
    "KRB5_CLIENT_KTNAME": f"FILE:{SECRETS}/ca1.keytab",
}
# As a pattern that a command line with the pattern in it does not match.
PATTERN = "[l]ab.windows_ca"
# kill(-1) spares the caller and the host's first process.
KILL = f"kill -9 -1; while pgrep -f '{PATTERN}' > /dev/null; do sleep 0.02; done"
# Accounts whom Windows would not let in; NTLM here knows only passwords.
LOCKED_OUT = ("expired.user", "mustchange.user", "disabled.user")


def prepare(upper: Path, joined: Path, accounts: Mapping[str, Mapping[str, str]]) -> None:
    """What only the host may read, put under its root before it starts."""
    folder = upper / SECRETS[1:]
    folder.mkdir(parents=True)
    folder.chmod(0o700)
    for file in joined.iterdir():
        shutil.copy(file, folder / file.name)
        (folder / file.name).chmod(0o600)
    users = folder / "ntlm_users"
    users.touch(mode=0o600)
    users.write_text("".join(ntlm_lines(accounts)))


def ntlm_lines(accounts: Mapping[str, Mapping[str, str]]) -> list[str]:
    """`DOMAIN:user:password` for each way of writing an account: CORP\\user, corp.example\\user, user@corp.example."""
    lines = []
    for name, account in accounts.items():
        if name not in LOCKED_OUT and "upn" in account:  # an appliance has accounts of its own
            ways = ((settings.NETBIOS_DOMAIN, name), (settings.DNS_DOMAIN, name), ("", account["upn"]))
            lines += [f"{domain}:{user}:{account['password']}\n" for domain, user in ways]
    return lines


def start(host: Process, log: Path, timeout: float = 30) -> None:
    """Start the stand-in and wait until WinRM answers."""
    variables = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
    service = processes.daemon(host, ["/usr/bin/env", *variables, *COMMAND], log)
    deadline = time.monotonic() + timeout
    probe = ["/usr/bin/python3", "-I", "-S", "-c", PROBE, "127.0.0.1", str(settings.WINRM_PORT)]
    while subprocess.run(processes.entering(host, probe), capture_output=True, check=False).returncode:
        if not service.alive:
            raise LabError("the stand-in on ca1 has ended", log)
        if time.monotonic() > deadline:
            raise LabError(f"the stand-in on ca1 does not answer on port {settings.WINRM_PORT} after {timeout:.0f} s", log)
        time.sleep(0.1)


PROBE = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1)"


def runs(host: Process) -> bool:
    return subprocess.run(processes.entering(host, ["pgrep", "-f", PATTERN]), capture_output=True, check=False).returncode == 0
