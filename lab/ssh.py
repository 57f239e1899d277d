# SPDX-License-Identifier: GPL-3.0-or-later
"""SSH on a host of the lab, so that Ansible can manage it: root, by a key pair made for this lab only."""

from __future__ import annotations

import subprocess
from pathlib import Path

from lab import processes, settings
from lab.errors import LabError
from lab.processes import Process

OPTIONS = (
    *("HostKey=/etc/ssh/lab_host_key", "UsePAM=no", "PermitRootLogin=prohibit-password", "PasswordAuthentication=no"),
    *("KbdInteractiveAuthentication=no", "PidFile=/run/sshd/lab.pid", "UseDNS=no"),
)
# The user's private key leaves the host by standard output only.
MAKE_KEYS = """\
set -e
umask 077
install -d -m 700 /root/.ssh
ssh-keygen -q -t ed25519 -N '' -C 'certlogon lab' -f /run/lab-key
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/lab_host_key
mv /run/lab-key.pub /root/.ssh/authorized_keys
cat /run/lab-key /etc/ssh/lab_host_key.pub
rm /run/lab-key
"""


def prepare(host: Process, plan: settings.HostPlan, folder: Path) -> None:
    """Make the keys: `folder` gets `id_ed25519` (mode 0600) and `known_hosts`."""
    made = subprocess.run(processes.entering(host, ["sh", "-c", MAKE_KEYS]), capture_output=True, text=True, check=False)
    if made.returncode:
        raise LabError(f"{plan.name}: SSH keys cannot be made: {made.stderr.strip()}")
    end = "-----END OPENSSH PRIVATE KEY-----\n"
    private, _, public = made.stdout.partition(end)
    folder.mkdir(mode=0o700)
    (folder / "id_ed25519").touch(mode=0o600)
    (folder / "id_ed25519").write_text(private + end)
    key = " ".join(public.split()[:2])
    names = (plan.fqdn, plan.name, plan.address, *(alias for alias, _ in plan.aliases))
    (folder / "known_hosts").write_text("".join(f"{name} {key}\n" for name in names))


def start(host: Process, log: Path) -> None:
    """sshd, and cron, which a host that Ansible manages has as well."""
    subprocess.run(processes.entering(host, ["mkdir", "-p", "/run/sshd"]), check=True)
    processes.daemon(host, ["/usr/sbin/sshd", "-D", "-e", *(word for option in OPTIONS for word in ("-o", option))], log)
    processes.daemon(host, ["cron", "-f"], log)


def runs(host: Process) -> bool:
    return subprocess.run(processes.entering(host, ["pgrep", "-x", "sshd"]), capture_output=True, check=False).returncode == 0


def files(folder: Path, prefix: str = "") -> dict[str, str]:
    """For the lab's status; empty where this lab has no SSH."""
    if not folder.is_dir():
        return {}
    return {f"{prefix}ssh_key": str(folder / "id_ed25519"), f"{prefix}ssh_known_hosts": str(folder / "known_hosts")}
