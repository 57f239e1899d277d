# SPDX-License-Identifier: GPL-3.0-or-later
"""The service under uvicorn, with TLS of its own or behind a proxy on the same machine."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from passivekey.errors import ConfigurationError
from passivekey.protocol.errors import Refused
from passivekey.server import settings
from passivekey.server.cli import opened
from passivekey.server.service import PENDING_LIFE, Service
from passivekey.server.spnego import Acceptor
from passivekey.server.web import Fronts, application

_SETTINGS = "PASSIVEKEY_SETTINGS"
_CLEANING = 3600
"""Seconds between two times that what is over is forgotten."""


def run(given: settings.Settings, path: Path, workers: int) -> None:
    """Serve until told to stop. Without TLS only this machine is answered: a proxy stands in front."""
    if given.certificate is None and given.address not in ("127.0.0.1", "::1"):
        raise ConfigurationError(f"tls.certificate is missing, and {given.address} is not this machine alone; set it, or tls.address")
    for file in (given.certificate, given.certificate_key):
        if file is not None and not file.is_file():
            raise ConfigurationError(f"tls: {file} is missing")
    opened(given)  # what is wrong is said here, once, and not by each worker
    os.environ[_SETTINGS] = str(path)
    uvicorn.run(
        "passivekey.server.serving:create",
        factory=True,
        host=given.address,
        port=given.port,
        workers=workers,
        ssl_certfile=given.certificate,
        ssl_keyfile=given.certificate_key,
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_level="warning",
        timeout_keep_alive=30,
    )


def create() -> Starlette:
    """The application of one worker."""
    given = settings.load(Path(os.environ[_SETTINGS]))
    service = opened(given)
    certificate = given.certificate.read_bytes() if given.certificate else None
    acceptor = Acceptor(given.rules.host, given.keytab, certificate) if given.keytab else None
    threading.Thread(target=_clean, args=(service,), daemon=True).start()
    return application(service, Fronts(given.sites, given.radius, acceptor, given.metrics))


def _clean(service: Service) -> None:
    while True:
        try:
            with service.store.transaction() as transaction:
                transaction.clean(service.now, PENDING_LIFE, service.rules.session_life)
        except Refused:
            pass  # the database is away, as every answer says; the next time will do
        time.sleep(_CLEANING)
