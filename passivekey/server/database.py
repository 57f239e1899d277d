# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections, transactions and prepared statements, of SQLite or PostgreSQL.

What each login asks is compiled once and given to the driver as it is: SQLAlchemy's own way to execute costs several times what the
database needs. Everything else goes SQLAlchemy's way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL

from passivekey.protocol.errors import Refused

CONNECTIONS = 20
"""Of one process, at most; kept open."""

_IDLE = 5.0
"""Seconds after which a connection is tried before it is used, for the database may have been restarted."""

_SCHEMA_LOCK = 0x70617373
"""PostgreSQL's number of what servers that start together stand in line for."""


class Conflict(Exception):
    """Another request did the same thing at the same time; to be tried again from the start."""


class Database:
    """One database, for all threads of a process."""

    def __init__(self, url: URL) -> None:
        self._sqlite = url.get_backend_name() == "sqlite"
        more: dict[str, Any] = {"connect_args": {"timeout": 10}} if self._sqlite else {}
        self.engine = sa.create_engine(url, poolclass=sa.QueuePool, pool_size=CONNECTIONS, max_overflow=0, **more)
        self._statements: dict[sa.Executable, tuple[str, dict[str, Any], list[str] | None]] = {}
        # SQLite has one writer at a time, and who comes second sleeps: within a process it is better to stand in line
        self._writer = threading.Lock() if self._sqlite else nullcontext()
        (_prepare_sqlite if self._sqlite else _prepare_postgresql)(self.engine)

    @contextmanager
    def transaction(self, *, reading: bool = False, lasting: bool = True, steady: bool = False) -> Iterator[Connection]:
        """All of it or nothing. Committed means on the disk; where not `lasting`, it outlives this process, but maybe not a power cut.
        `steady`, for `reading`: all that is read is of one moment.

        Raises `Conflict`, or `Refused("unavailable")` where the database fails.
        """
        dbapi = self.engine.dialect.loaded_dbapi
        try:
            with nullcontext() if reading else self._writer, self.engine.begin() as connection:
                found = Connection(self, connection)
                self._begin(found, reading, lasting, steady)
                yield found
        except (sa.exc.IntegrityError, dbapi.IntegrityError) as error:
            raise Conflict(plain(error)) from error
        except (sa.exc.SQLAlchemyError, dbapi.Error) as error:
            raise Refused("unavailable", "the database cannot be used") from error

    @contextmanager
    def schema_change(self) -> Iterator[sa.Connection]:
        """A transaction that raises SQLAlchemy's errors."""
        try:
            with self.engine.begin() as connection:
                found = Connection(self, connection)
                self._begin(found, False, True)
                if not self._sqlite:  # which has one writer at a time anyway
                    found.driver.execute(f"SELECT pg_advisory_xact_lock({_SCHEMA_LOCK})")
                yield connection
        except self.engine.dialect.loaded_dbapi.Error as error:
            raise sa.exc.OperationalError("BEGIN", None, error) from error

    def _begin(self, connection: Connection, reading: bool, lasting: bool, steady: bool = False) -> None:
        if not self._sqlite:
            if steady:
                connection.driver.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", prepare=False)
            elif not reading:  # in a transaction too, each statement sees all that is committed; without one it is two messages less
                connection.driver.execute("BEGIN" if lasting else "BEGIN; SET LOCAL synchronous_commit = off", prepare=False)
        elif reading:
            connection.driver.execute("BEGIN")
        else:
            connection.driver.execute(f"PRAGMA synchronous={'FULL' if lasting else 'NORMAL'}")
            connection.driver.execute("BEGIN IMMEDIATE")  # as a writer from the start, so that none has to be taken back

    def prepared(self, statement: sa.Executable) -> tuple[str, dict[str, Any], list[str] | None]:
        """Its text for the driver, the values that it has by itself, and the order of all of them where they have no names."""
        found = self._statements.get(statement)
        if found is None:
            compiled: Any = statement.compile(dialect=self.engine.dialect)  # type: ignore[attr-defined]
            found = (str(compiled), dict(compiled.params), list(compiled.positiontup) if compiled.positional else None)
            self._statements[statement] = found
        return found


class Connection:
    """Within a transaction."""

    def __init__(self, database: Database, connection: sa.Connection) -> None:
        self.execute = connection.execute
        self._prepared = database.prepared
        self.driver: Any = connection.connection.dbapi_connection

    def run(self, statement: sa.Executable, **values: Any) -> Any:
        """A statement of a module, with the values of its `bindparam`s; the driver's cursor."""
        text, own, order = self._prepared(statement)
        given = {**own, **values}
        return self.driver.execute(text, [given[name] for name in order] if order is not None else given)


def plain(error: Exception) -> str:
    return " ".join(str(getattr(error, "orig", None) or error).split())


def _prepare_sqlite(engine: sa.Engine) -> None:
    @sa.event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun above
        for setting in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {setting}")


def _prepare_postgresql(engine: sa.Engine) -> None:
    @sa.event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        connection.autocommit = True  # transactions are begun above

    @sa.event.listens_for(engine, "checkin")
    def _returned(_connection: Any, record: Any) -> None:
        record.info["idle since"] = time.monotonic()

    @sa.event.listens_for(engine, "checkout")
    def _taken(connection: Any, record: Any, _proxy: Any) -> None:
        if time.monotonic() - record.info.get("idle since", time.monotonic()) < _IDLE:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise sa.exc.DisconnectionError from error  # the pool opens another
