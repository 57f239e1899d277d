# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups that can be restored without forgetting: no code is accepted twice, and no revoked device comes back.

A backup is older than the moment it is restored at, so two things are made up for. Codes of all steps until then are refused, whatever
was accepted meanwhile. And what was revoked meanwhile is revoked again, as the audit log tells, which is kept apart from the database;
where the log does not reach back to the backup, every device is revoked.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from passivekey.errors import ConfigurationError
from passivekey.server.service import Service
from passivekey.server.store import CRL_NUMBER

FORMAT = "passivekey-backup/1"


def save(service: Service, path: Path) -> int:
    """Write the backup; how many rows it has. It holds sealed seeds and no keys: those are saved with the key file, elsewhere."""
    number = secrets.token_hex(16)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    rows = 0
    with os.fdopen(handle, "w", encoding="ascii") as file, service.store.transaction(reading=True, steady=True) as transaction:
        service.audit.write("backup", number=number)
        head = {"format": FORMAT, "number": number, "at": service.now, "crl": transaction.number(CRL_NUMBER)}
        file.write(json.dumps(head) + "\n")
        for table, row in transaction.dump():
            file.write(json.dumps([table, {name: _written(value) for name, value in row.items()}]) + "\n")
            rows += 1
        file.flush()
        os.fsync(file.fileno())
    return rows


def restore(service: Service, path: Path, *, without_audit: bool = False) -> dict[str, int]:
    """Fill an empty database; how many rows there are, and how many devices were revoked since."""
    lines = _lines(path)
    head = next(lines, None)
    if not isinstance(head, Mapping) or head.get("format") != FORMAT:
        raise ConfigurationError(f"{path} is no backup of this version")
    gone = _revoked(service, str(head["number"]))
    if gone is None and not without_audit:
        raise ConfigurationError(
            f"{path}: the audit log does not reach back to this backup, so nobody knows what was revoked since; "
            "bring the log back, or restore with --without-audit, which revokes all devices"
        )
    rows = 0
    with service.store.transaction() as transaction:
        if not transaction.begin_anew():
            raise ConfigurationError("the database is not empty; restore into a new one")
        for table, row in lines:
            transaction.load(table, {name: _read(value) for name, value in row.items()})
            rows += 1
        transaction.refuse_until(service.now)
        transaction.set_number(CRL_NUMBER, max(transaction.number(CRL_NUMBER), int(head.get("crl", 0))))
        chosen = [device for device in transaction.device_ids("active", "pending") if gone is None or device in gone]
        revoked = sum(transaction.revoke(device, service.now, "revoked before the backup was restored") for device in chosen)
        service.audit.write("restore", number=str(head["number"]), revoked=str(revoked))
    return {"rows": rows, "revoked": revoked}


def _revoked(service: Service, number: str) -> set[str] | None:
    """The devices that the log has as revoked; None where it does not know the backup. Also those that it has before the backup: it says so
    first, and what it said a moment before may have been done after."""
    entries = service.audit.read()
    if not any((entry.get("event"), entry.get("number")) == ("backup", number) for entry in entries):
        return None
    return {entry["device"] for entry in entries if entry.get("event") == "revoke"}


def _lines(path: Path) -> Iterator[Any]:
    try:
        with path.open(encoding="ascii") as file:
            for line in file:
                yield json.loads(line)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"{path}: damaged: {error}") from error


def _written(value: Any) -> Any:
    return {"bytes": base64.b64encode(value).decode()} if isinstance(value, (bytes, memoryview)) else value


def _read(value: Any) -> Any:
    return base64.b64decode(value["bytes"]) if isinstance(value, dict) else value
