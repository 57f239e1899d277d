# SPDX-License-Identifier: GPL-3.0-or-later
"""The host as a whole: machine, authority, IIS and WinRM, and what concerns all of them: features, services, restarts."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from lab.windows_ca import (  # noqa: F401  (they register themselves)
    iis,
    modules_facts,
    modules_features,
    modules_powershell,
    modules_services,
    scripts,
)
from lab.windows_ca.authority import Authority
from lab.windows_ca.authority.directory import SambaDirectory, escape
from lab.windows_ca.authority.settings import CERTENROLL
from lab.windows_ca.gate import Gate
from lab.windows_ca.iis_config import Configuration
from lab.windows_ca.machine import Machine
from lab.windows_ca.modules import NOT_MODELLED, ServiceError
from lab.windows_ca.server import Metrics, log, state_folder
from lab.windows_ca.winrm import Shells, WinRMHandler, WinRMServer
from lab.windows_ca.winrm_commands import Commands

SECRETS = Path("/etc/windows_ca")
SERVER = "dc1.corp.example"
WINRM_PORT = 5986
DOWN_SECONDS = 2.0  # how long a restart takes
TOKEN_SECONDS = 30  # for how long an account's groups are remembered


class EventLog(list[str]):
    """The authority's events, which also go to the log."""

    def __init__(self, events: Iterable[str]) -> None:
        super().__init__()
        self += events

    def append(self, event: str) -> None:
        log("authority", event)
        super().append(event)

    def __iadd__(self, events: Iterable[str]) -> EventLog:  # type: ignore[misc,override]
        for event in events:
            self.append(event)
        return self


class Host:
    address = "10.83.0.20"

    def __init__(self, folder: Path | None = None, secrets: Path = SECRETS) -> None:
        self.machine = Machine(folder or state_folder())
        if not self.machine.saved_before:
            for carried in secrets.glob("*.crl"):
                self.machine.files[rf"{CERTENROLL}\{carried.name}"] = carried.read_bytes()
        self.metrics = Metrics(self.machine.folder / "metrics.json")
        self.secrets = secrets
        self.certificate = x509.load_pem_x509_certificate((secrets / "winrm.pem").read_bytes())
        der = self.certificate.public_bytes(serialization.Encoding.DER)
        self.gate = Gate(secrets / "ca1.keytab", secrets / "ntlm_users", lambda: der)
        self.directory = SambaDirectory(
            SERVER,
            self.machine.realm,
            self.machine.netbios,
            keytab=secrets / "ca1.keytab",
            machine_account=f"{self.machine.hostname.upper()}$",
            folder=self.machine.folder,
        )
        self.authority = Authority(self.machine, self.directory)
        self.authority.events = EventLog(self.authority.events)
        self.shells = Shells(Commands(self).run, self.may_manage, self.metrics.count)
        self._administrators: dict[str, tuple[float, bool]] = {}
        self._winrm: WinRMServer | None = None
        self._reboot: threading.Timer | None = None

    # ---- starting and restarting

    def start(self) -> None:
        scripts.load_handlers()
        self.machine.add_to_store(self.gate.server_certificate_der() or b"", (self.secrets / "winrm.key").read_text(), "WinRM")
        self._boot()
        iis.serve(self.machine, self.authority, self.gate, self.metrics)
        self._listen()
        log("host", f"{self.machine.fqdn} is up; a stand-in, no Windows")

    def _boot(self) -> None:
        self.machine.reboot()
        service = self.machine.services.get("CertSvc")
        if service is not None and service.start_mode == "auto":
            try:
                self.authority.start_service()
            except Exception as error:  # the host comes up all the same, as Windows does
                service.state = "stopped"
                log("host", f"CertSvc does not start: {error}")

    def _listen(self) -> None:
        self._winrm = WinRMServer(
            "winrm",
            WINRM_PORT,
            WinRMHandler,
            self.gate,
            self.metrics,
            shells=self.shells,
            faults=lambda: self.machine.faults,
            certificate=self.secrets / "winrm.pem",
            key=self.secrets / "winrm.key",
            allow=("negotiate", "kerberos"),
        )
        self._winrm.start()

    def schedule_reboot(self, delay: float) -> bool:
        """False if one is scheduled already."""
        if self._reboot is not None:
            return False
        self._reboot = threading.Timer(delay, self._restart)
        self._reboot.start()
        return True

    def abort_reboot(self) -> None:
        if self._reboot is not None:
            self._reboot.cancel()
            self._reboot = None

    def _restart(self) -> None:
        assert self._winrm is not None
        log("host", "goes down")
        self._winrm.shutdown()
        self._winrm.server_close()
        self._winrm.drop_connections()
        self.shells.clear()
        with self.machine.transaction():
            for service in self.machine.services.values():
                service.state = "stopped"
        with contextlib.suppress(Exception):
            self.authority.stop_service()
        time.sleep(DOWN_SECONDS)
        self._boot()
        self._reboot = None
        self._listen()
        log("host", "is up again")

    def drop_connections(self) -> None:
        """As when the network fails: nobody gets an answer, and the shells are lost."""
        log("host", "drops all connections")
        self.shells.clear()
        if self._winrm is not None:
            self._winrm.drop_connections()

    # ---- who may do what

    def may_manage(self, account: str) -> bool:
        """Only the host's administrators may use its remote shell: on a member server, the Domain Admins."""
        known = self._administrators.get(account)
        if known is not None and time.monotonic() - known[0] < TOKEN_SECONDS:
            return known[1]
        allowed = self.administers(account)
        self._administrators[account] = (time.monotonic(), allowed)
        if not allowed:
            log("winrm", f"{account}: ACCESS DENIED: not a member of Domain Admins")
        return allowed

    def administers(self, account: str) -> bool:
        name = account.rpartition("\\")[2].partition("@")[0]
        search = self.directory.search
        found = search(self.machine.base_dn, "sub", f"(&(objectClass=user)(sAMAccountName={escape(name)}))", ["distinguishedName"])
        admins = search(self.machine.base_dn, "sub", "(&(objectClass=group)(sAMAccountName=Domain Admins))", ["objectSid"])
        if not found or not admins:
            return False
        token = search(found[0].dn, "base", "(objectClass=*)", ["tokenGroups"])
        return admins[0].first("objectSid") in token[0].all("tokenGroups")

    def identify(self, account: str) -> Any:
        return self.authority.identify(account)

    def winrm_certificate(self) -> tuple[datetime, str]:
        return self.certificate.not_valid_after_utc, self.certificate.fingerprint(hashes.SHA1()).hex().upper()

    # ---- features and services

    def change_features(self, changes: Mapping[str, bool], reboot: bool) -> None:
        with self.machine.transaction():
            self.machine.features.update(changes)
            self.machine.pending_reboot |= reboot
            if changes.get("Web-Server") is True:
                Configuration(self.machine).begin()
            elif changes.get("Web-Server") is False:
                self.machine.services.pop("W3SVC", None)

    def start_service(self, name: str) -> None:
        self._service(name, "running")

    def stop_service(self, name: str) -> None:
        if name == "WinRM":
            raise ServiceError(f"{NOT_MODELLED} a WinRM that stops itself")
        self._service(name, "stopped")

    def _service(self, name: str, state: str) -> None:
        if name == "CertSvc":
            try:
                self.authority.start_service() if state == "running" else self.authority.stop_service()
            except Exception as error:
                raise ServiceError(str(error)) from error
        with self.machine.transaction():
            self.machine.services[name].state = state
