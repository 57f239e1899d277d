# SPDX-License-Identifier: GPL-3.0-or-later
"""The service: it reads its settings when it starts, publishes what is due, and stops."""

from __future__ import annotations

import threading

from lab.windows_ca.authority import database, names
from lab.windows_ca.authority.directory import Directory
from lab.windows_ca.authority.errors import (
    BAD_STATUS,
    CertSrvError,
    DirectoryError,
)
from lab.windows_ca.authority.publishing import Publishing
from lab.windows_ca.authority.settings import Settings
from lab.windows_ca.machine import Machine

TICK = 5.0
"""seconds between two looks at the clock: is a CRL due?"""


class CertSvc(Publishing):
    def __init__(self, machine: Machine, directory: Directory) -> None:
        super().__init__(machine, directory)
        self._stop = threading.Event()
        if self.configured and self._service and self._service.state == "running":
            self._resume()

    def _resume(self) -> None:
        """The service ran when the machine was switched off; if it cannot any more, it is stopped and the event log says why."""
        try:
            self.start_service()
        except (CertSrvError, DirectoryError, OSError) as error:
            self.events.append(f"{self.machine.now().isoformat()} the service does not start: {error}")
            self.stop_service()

    def start_service(self) -> None:
        """Read the settings, publish certificates and CRLs that are due, and answer requests."""
        with self.machine.transaction():
            if not self.configured:
                raise CertSrvError(BAD_STATUS, "The service did not start: the CA's setup is not complete.")
            if self.running:
                return
            service = self._service
            assert service is not None
            if service.start_mode == "disabled":
                raise CertSrvError(BAD_STATUS, "The service cannot be started because it is disabled.")
            self._settings = Settings.read(self.machine, self.ca_key)
            service.state = "running"
            self._database = database.Database(self.machine.folder / "certlog.sqlite")
            self._write_certificate_files()
            if self._settings.enterprise:
                self._tolerating("Enrollment service", lambda: self._publication().running())
            self._publish_due()
            self._stop = threading.Event()
            threading.Thread(target=self._watch, args=(self._stop,), name="CertSvc CRL publication", daemon=True).start()

    def stop_service(self) -> None:
        with self.machine.transaction():
            self._stop.set()
            self._settings = None
            if self._database is not None:
                self._database.close()
                self._database = None
            if self._service is not None:
                self._service.state = "stopped"

    def _watch(self, stop: threading.Event) -> None:
        while not stop.wait(TICK):
            with self._lock:
                if stop.is_set():
                    return
                self._tolerating("CRL publication", self._publish_due)

    def _write_certificate_files(self) -> None:
        settings = self._running()
        for ca in self._loaded:
            for place in settings.certificate_places:
                if place.flags & names.PUBLISH and not place.text.casefold().startswith("ldap:"):
                    path = self._tokens(ca).expand(place.text, for_url=False)
                    if self.machine.files.get(path) != ca.der:
                        self._tolerating("CA certificate", lambda path=path, ca=ca: self.machine.files.write(path, ca.der))  # type: ignore[misc]
