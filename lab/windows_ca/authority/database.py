# SPDX-License-Identifier: GPL-3.0-or-later
"""The authority's database: requests, certificates, revocations, CRLs. Dispositions are those of [MS-CSRA] 3.1.1.1.2."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

PENDING, CA_CERTIFICATE, ISSUED, REVOKED, FAILED, DENIED = 9, 15, 20, 21, 30, 31
STATUS = {PENDING: "pending", CA_CERTIFICATE: "issued", ISSUED: "issued", REVOKED: "issued", FAILED: "denied", DENIED: "denied"}
SCHEMA = """
create table if not exists requests (
    request_id integer primary key, submitted_when text not null, resolved_when text, requester_name text not null, requester_sid text,
    caller_name text not null, request blob not null, attributes text not null, disposition integer not null, status_code integer not null,
    disposition_message text not null, certificate_template text, common_name text, distinguished_name text, upn text,
    serial_number text, certificate_hash text, certificate blob, key_id text, key_index integer, not_before text, not_after text,
    revoked_when text, revoked_effective_when text, revoked_reason integer, released_when text
);
create unique index if not exists requests_by_serial on requests(serial_number);
create index if not exists requests_by_requester on requests(requester_name);
create table if not exists crls (
    row_id integer primary key, number integer not null, key_index integer not null, delta integer not null, base_number integer,
    this_update text not null, next_update text not null, next_publish text not null, crl blob not null, count integer not null,
    published text not null
);
"""
MOMENTS = ("submitted_when", "resolved_when", "not_before", "not_after", "revoked_when", "revoked_effective_when", "released_when")


def moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def stored(value: Any) -> Any:
    return value.astimezone(timezone.utc).isoformat() if isinstance(value, datetime) else value


class Database:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        path.chmod(0o600)
        with self._lock:
            self._connection.execute("pragma journal_mode = wal")
            self._connection.execute("pragma synchronous = normal")
            self._connection.executescript(SCHEMA)

    def close(self) -> None:
        self._connection.close()

    def _write(self, statement: str, values: Sequence[Any]) -> int:
        with self._lock, self._connection:
            return self._connection.execute(statement, [stored(value) for value in values]).lastrowid or 0

    def _all(self, statement: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        with self._lock:
            return [dict(row) for row in self._connection.execute(statement, [stored(value) for value in values])]

    def add_request(self, values: Mapping[str, Any]) -> int:
        given = {**values, "attributes": json.dumps(values["attributes"])}
        columns = ", ".join(given)
        return self._write(f"insert into requests ({columns}) values ({', '.join('?' * len(given))})", list(given.values()))

    def update_request(self, request_id: int, values: Mapping[str, Any]) -> None:
        columns = ", ".join(f"{name} = ?" for name in values)
        self._write(f"update requests set {columns} where request_id = ?", [*values.values(), request_id])

    def request(self, request_id: int) -> dict[str, Any] | None:
        found = self.requests("request_id = ?", [request_id])
        return found[0] if found else None

    def by_serial(self, serial: str) -> dict[str, Any] | None:
        found = self.requests("serial_number = ?", [serial.lower()])
        return found[0] if found else None

    def requests(self, where: str = "1", values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Rows by number; moments as datetime, attributes as a dictionary."""
        rows = self._all(f"select * from requests where {where} order by request_id", values)
        for row in rows:
            row["attributes"] = json.loads(row["attributes"])
            for name in MOMENTS:
                row[name] = moment(row[name])
        return rows

    def add_crl(self, values: Mapping[str, Any]) -> None:
        self._write(f"insert into crls ({', '.join(values)}) values ({', '.join('?' * len(values))})", list(values.values()))

    def last_crl(self, key_index: int, delta: bool) -> dict[str, Any] | None:
        rows = self._all("select * from crls where key_index = ? and delta = ? order by row_id desc limit 1", [key_index, int(delta)])
        for row in rows:
            for name in ("this_update", "next_update", "next_publish"):
                row[name] = moment(row[name])
            row["published"] = json.loads(row["published"])
        return rows[0] if rows else None

    def next_crl_number(self) -> int:
        found = self._all("select max(number) as number from crls")
        return (found[0]["number"] or 0) + 1

    def copy_to(self, path: Path) -> None:
        with self._lock, closing(sqlite3.connect(path)) as target:
            self._connection.backup(target)
