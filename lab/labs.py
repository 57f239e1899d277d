# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab by its name: up, status, commands in it, down."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab import ca_host, domain, passivekey_host, processes, root, settings, ssh, vpn_hosts
from lab.errors import LabError
from lab.processes import Keeper, Process
from lab.progress import Progress

MACHINE = "machine"
DEFAULT_NAME = "demo"  # the demo's lab
# kill(-1) spares the caller and the host's first process.
KILL_SAMBA = "kill -9 -1; while pgrep -x samba > /dev/null; do sleep 0.02; done; rm -f /run/samba/*.pid"


class Lab:
    def __init__(self, name: str = DEFAULT_NAME) -> None:
        self.name = settings.check_name(name)
        self.folder = settings.state_dir() / name
        self.known: list[settings.HostPlan] = []  # hosts whom the others shall know without DNS

    # ---- what is there

    @property
    def record_file(self) -> Path:
        return self.folder / "lab.json"

    def record(self) -> dict[str, Any] | None:
        """What `up` wrote; None where no lab of this name was ever finished."""
        try:
            found: dict[str, Any] = json.loads(self.record_file.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return found

    def running(self) -> bool:
        record = self.record()
        return record is not None and Process(**record["keeper"]).alive

    def host(self, name: str) -> Process:
        record = self.record()
        if record is None or not Process(**record["keeper"]).alive:
            raise LabError(f"lab {self.name!r} is not running; start it with: lab up --name {self.name}")
        if name not in record["hosts"]:
            raise LabError(f"lab {self.name!r} has no host {name!r}; it has {', '.join(record['hosts'])}")
        return Process(**record["hosts"][name])

    @contextmanager
    def lock(self) -> Iterator[None]:
        settings.state_dir().mkdir(parents=True, exist_ok=True)
        with (settings.state_dir() / f".{self.name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    # ---- up and down

    def up(
        self,
        progress: Progress,
        *,
        second_dc: bool = False,
        bare: bool = False,
        ca: bool = False,
        vpn: bool = False,
        passivekey: bool = False,
    ) -> bool:
        """Start the lab; False if it runs already. `ca`: with ca1, in a bare domain, and SSH on dc1. `vpn`: with the hosts of a VPN.
        `passivekey`: with pk1; with `vpn`, client1 is then a workstation of the domain."""
        with self.lock():
            if self.running():
                return False
            self.remove()
            snapshot = domain.ensure_snapshot(progress, bare=bare or ca)
            layers = [root.ensure_layer(progress, root.VPN)] if vpn else []
            own = [root.ensure_layer(progress, root.PASSIVEKEY)] if passivekey else []
            desk = [root.ensure_layer(progress, root.WORKSTATION)] if vpn and passivekey else []
            self.folder.mkdir(parents=True, mode=0o700)
            (self.folder / "logs").mkdir()
            keeper = Keeper(f"certlogon-lab {self.name}", using=[snapshot, root.path(), *layers, *own, *desk])
            try:
                shutil.copy(snapshot / "accounts.json", self.folder / "accounts.json")
                self.known = [settings.HOSTS[name] for name in present(second_dc, ca, vpn, passivekey)] if vpn or passivekey else []
                hosts = self.start_hosts(progress, keeper.process, snapshot, second_dc)
                if vpn:
                    keeper.add_inner_network()
                    resolvers = [domain.DC1.address]
                    lower = [*layers, root.path()]

                    def boot(name: str) -> Process:
                        return self.boot(keeper.process, name, [*(desk if name == "client1" else []), *lower], resolvers)

                    hosts |= vpn_hosts.start(progress, boot, self.folder)
                if passivekey:

                    def boot_pk1() -> Process:
                        return self.boot(keeper.process, "pk1", [*own, root.path()], [domain.DC1.address])

                    hosts["pk1"] = passivekey_host.start(progress, boot_pk1, hosts["dc1"], self.folder)
                if ca:
                    hosts["ca1"] = self.start_ca(progress, keeper.process, snapshot, hosts["dc1"])
                self.record_file.write_text(
                    json.dumps({"keeper": keeper.process.to_json(), "hosts": {n: p.to_json() for n, p in hosts.items()}})
                )
                keeper.keep()
            except BaseException:
                keeper.process.end()
                self.record_file.unlink(missing_ok=True)
                raise
        return True

    def start_hosts(self, progress: Progress, keeper: Process, snapshot: Path, second_dc: bool) -> dict[str, Process]:
        base = root.path()
        shutil.copytree(snapshot / "pki", self.folder / "files")
        (self.folder / "files/krb5.conf").write_text(domain.KRB5_CONF)
        resolvers = [domain.DC1.address] + ([domain.DC2.address] if second_dc else [])
        hosts = {}
        with progress.step("dc1: samba answers on all ports"):
            hosts["dc1"] = self.boot(keeper, "dc1", [snapshot / "dc1", base], ["127.0.0.1"])
            domain.start_samba(hosts["dc1"], domain.DC1, self.log("dc1"))
        with progress.step("control: resolver is the domain's DNS"):
            hosts["control"] = self.boot(keeper, "control", [base], resolvers)
            for name in ("hosts", "resolv.conf"):
                shutil.copy(self.folder / "hosts/control/upper/etc" / name, self.folder / "files" / name)
        if second_dc:
            with progress.step("dc2: joined, samba answers on all ports (Samba does not replicate SYSVOL: its is empty)"):
                hosts["dc2"] = self.boot(keeper, "dc2", [base], [domain.DC1.address])
                domain.join(
                    hosts["dc2"],
                    json.loads((snapshot / "accounts.json").read_text())["administrator"]["password"],
                    self.log("dc2"),
                    "/srv/files",
                )
                domain.start_samba(hosts["dc2"], domain.DC2, self.log("dc2"))
                domain.wait_until_found(hosts["dc2"], self.log("dc2"))
        return hosts

    def start_ca(self, progress: Progress, keeper: Process, snapshot: Path, dc1: Process) -> Process:
        with progress.step("dc1: SSH for Ansible"):
            ssh.prepare(dc1, domain.DC1, self.folder / "ssh")
            ssh.start(dc1, self.log("dc1-ssh"))
        with progress.step("ca1: stand-in for the Windows host answers on WinRM"):
            ca_host.prepare(self.folder / "hosts/ca1/upper", snapshot / "ca1", json.loads((self.folder / "accounts.json").read_text()))
            host = self.boot(keeper, "ca1", [root.path()], [domain.DC1.address])
            ca_host.start(host, self.log("ca1"))
        return host

    def boot(self, keeper: Process, name: str, lower: Sequence[Path], resolvers: list[str]) -> Process:
        plan = settings.HOSTS[name]
        binds = [(self.folder / "files", "/srv/files")]
        if name in ("control", "ca1", "vpn1"):
            binds.append((settings.CHECKOUT, "/srv/certlogon"))
        files = domain.host_files(plan, resolvers, self.known)
        return processes.start_host(keeper, plan, self.folder / "hosts" / name, lower, files, binds, f"certlogon-lab {self.name}")

    def down(self) -> bool:
        """End everything of the lab; False if there was nothing."""
        with self.lock():
            return self.remove()

    def remove(self) -> bool:
        record = self.record()
        if record is not None:
            Process(**record["keeper"]).end()
        if not self.folder.exists():
            return False
        shutil.rmtree(self.folder)
        return True

    # ---- commands

    def command(self, host: str, command: Sequence[str], *, online: bool = False) -> list[str]:
        """The command line that runs `command` on a host, or on the machine itself inside the lab's network."""
        if host == MACHINE:
            return self.machine_command(command or [os.environ.get("SHELL") or "/bin/sh"])
        process = self.host(host)
        command = command or ["/bin/bash", "-l"]
        environment = dict(processes.GUEST_ENVIRONMENT) | {"TERM": os.environ.get("TERM", "dumb")}
        if online:
            environment |= {k: v for k, v in os.environ.items() if k.startswith("PIP_") or k.lower().endswith("_proxy")}
            return processes.entering(
                process, command, env=environment, namespaces=["mnt", "uts", "ipc", "pid"], binds=[("/etc/resolv.conf", "/etc/resolv.conf")]
            )
        return processes.entering(process, command, env=environment)

    def machine_command(self, command: Sequence[str]) -> list[str]:
        files = self.folder / "files"
        environment = dict(os.environ) | {"KRB5_CONFIG": str(files / "krb5.conf"), "KRB5CCNAME": f"FILE:{self.folder}/machine.ccache"}
        environment |= {"CERTLOGON_LAB": self.name, "LDAPSASL_NOCANON": "on"}
        environment |= {"SOFTHSM2_CONF": str(self.folder / "softhsm2.conf")}  # the cards, once lab.cards has made some
        for name in [n for n in environment if n.lower() in ("http_proxy", "https_proxy", "all_proxy")]:
            del environment[name]
        binds = [(str(files / name), f"/etc/{name}") for name in ("resolv.conf", "hosts")]
        return processes.entering(
            self.host("control"),
            command,
            env=environment,
            cwd=str(Path.cwd()),
            namespaces=["net"],
            binds=binds,
            hide=["/run/systemd/resolve", "/run/nscd"],
        )

    def run(self, host: str, *command: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command and take its output; for tests and proofs."""
        finished = subprocess.run(self.command(host, command), input=stdin, capture_output=True, text=True, check=False)
        if check and finished.returncode:
            raise LabError(
                f"{host}: {' '.join(command)} ended with code {finished.returncode}: {(finished.stderr or finished.stdout).strip()[-2000:]}"
            )
        return finished

    # ---- faults

    def kill(self, host: str) -> None:
        """SIGKILL samba on a host (on ca1, vpn1: the stand-in), with all else that runs there; the host stays."""
        self.require_service(host)
        kill = vpn_hosts.KILL if host in settings.VPN_HOSTS else ca_host.KILL if host == "ca1" else KILL_SAMBA
        self.run(host, "sh", "-c", kill, check=False)

    def require_service(self, host: str) -> None:
        if host == "control":
            raise LabError("control is no domain controller: there is no samba on it")
        if host == "pk1":
            raise LabError("pk1 has nothing that the lab started; end what runs there with: lab exec pk1 -- kill …")

    def start(self, host: str) -> None:
        """Start what `kill` ended; on a host of the VPN, what it started with: kill and start are a reboot."""
        self.require_service(host)
        if host in settings.VPN_HOSTS:
            vpn_hosts.start_again(host, self.host(host), self.folder)
            return
        if host == "ca1":
            if ca_host.runs(self.host(host)):
                raise LabError("the stand-in runs on ca1 already")
            ca_host.start(self.host(host), self.log(host))
            return
        if host == "dc1" and (self.folder / "ssh").is_dir() and not ssh.runs(self.host(host)):
            ssh.start(self.host(host), self.log("dc1-ssh"))
        if self.samba_runs(host):
            raise LabError(f"samba runs on {host} already")
        domain.start_samba(self.host(host), settings.HOSTS[host], self.log(host))

    def samba_runs(self, host: str) -> bool:
        return self.run(host, "pgrep", "-x", "samba", check=False).returncode == 0

    # ---- status

    def status(self) -> dict[str, Any]:
        record = self.record()
        if record is None or not Process(**record["keeper"]).alive:
            return {"name": self.name, "state": "stale" if self.folder.exists() else "down"}
        files = self.folder / "files"
        hosts = {name: self.host_status(name, Process(**found)) for name, found in record["hosts"].items()}
        return {
            "name": self.name,
            "state": "running",
            "keeper_pid": record["keeper"]["pid"],
            "realm": settings.REALM,
            "dns_domain": settings.DNS_DOMAIN,
            "netbios_domain": settings.NETBIOS_DOMAIN,
            "base_dn": settings.BASE_DN,
            "hosts": hosts,
            "accounts": json.loads((self.folder / "accounts.json").read_text()),
            "files": {
                "ca_bundle": str(files / "ca-bundle.pem"),
                "krb5_conf": str(files / "krb5.conf"),
                "accounts": str(self.folder / "accounts.json"),
                "root_ca": str(files / "root-ca.pem"),
                "issuing_ca": str(files / "issuing-ca.pem"),
                "vpn_ca": str(files / "vpn-ca.pem"),
                "rogue_ca": str(files / "rogue-ca.pem"),
                "odd_certificates": str(files / "odd"),
                "folder": str(files),
                "logs": str(self.folder / "logs"),
                **ssh.files(self.folder / "ssh"),
            },
        }

    def host_status(self, name: str, process: Process) -> dict[str, Any]:
        plan = settings.HOSTS[name]
        status: dict[str, Any] = {
            "fqdn": plan.fqdn,
            "address": plan.address,
            "pid": process.pid,
            "running": process.alive,
            "purpose": plan.purpose,
        }
        if name in settings.VPN_HOSTS:
            status |= vpn_hosts.status(name, process, self.folder)
        if name == "pk1":
            status |= passivekey_host.status(self.folder)
        if name == "ca1":
            status |= {"service": ca_host.runs(process), "winrm_port": settings.WINRM_PORT, "log": str(self.log(name))}
        if name in settings.DOMAIN_CONTROLLERS:
            samba = self.run(name, "pgrep", "-x", "samba", check=False).returncode == 0
            status |= {
                "samba": samba,
                "ports": settings.PORTS,
                "log": str(self.log(name)),
                "smb_conf": f"/proc/{process.pid}/root/etc/samba/smb.conf",
            }
        return status


def present(second_dc: bool, ca: bool, vpn: bool, passivekey: bool) -> list[str]:
    """The names of a lab's hosts."""
    extras = {"dc2": second_dc, "ca1": ca, **dict.fromkeys(settings.VPN_HOSTS, vpn), "pk1": passivekey}
    return ["dc1", *(name for name, there in extras.items() if there), "control"]


def all_labs() -> list[Lab]:
    folders = sorted(settings.state_dir().iterdir()) if settings.state_dir().is_dir() else []
    return [Lab(folder.name) for folder in folders if folder.is_dir()]
