# SPDX-License-Identifier: GPL-3.0-or-later
"""What an audit wants to know and only the server can tell: devices held against the directory, the database, the service account.

Nothing is written, no key is opened, and nobody is locked out of anything. What fails is told in its place, and the rest goes on.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa

from passivekey.errors import ConfigurationError
from passivekey.protocol.errors import Refused
from passivekey.server.ldap import LdapDirectory
from passivekey.server.settings import Settings
from passivekey.server.store import Device, Store, Transaction

FORMAT = "passivekey-observed/1"
LISTED = 200
"""Of each kind of finding, at most; all are counted."""

UNUSED_DAYS = 60
_PAGE = 1000


def observed(given: Settings, now: int) -> dict[str, Any]:
    """All of it; what could not be had is {"error": why}."""
    directory = LdapDirectory(given.directory)
    return {
        "format": FORMAT,
        "at": now,
        "devices": _attempt(lambda: _devices(given, directory, now)),
        "database": _attempt(lambda: _database(given)),
        "clock": _attempt(lambda: _clock(directory)),
        "service": _attempt(lambda: {"principal": f"HTTP/{given.rules.host}", "holders": directory.holders(f"HTTP/{given.rules.host}")}),
    }


def _attempt(look: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return look()
    except (ConfigurationError, Refused) as error:
        return {"error": " ".join(str(error).split())}


# ---- devices


def _devices(given: Settings, directory: LdapDirectory, now: int) -> dict[str, Any]:
    """How many there are, whose accounts are gone, disabled or expired, who has more than policy allows, and which nobody uses."""
    store = Store(given.database, reading=True)
    states: Counter[str] = Counter()
    held: Counter[str] = Counter()
    live: list[tuple[str, str, str]] = []
    unused: list[dict[str, Any]] = []
    try:
        with store.transaction(reading=True) as transaction:
            for device in _all(transaction):
                states[device.state] += 1
                if device.state in ("active", "pending"):
                    held[device.sid] += 1
                    live.append((device.id, device.sid, device.name))
                    seen = max(device.seen or 0, device.touched)
                    if device.state == "active" and now - seen > UNUSED_DAYS * 86400:
                        unused.append({"device": device.id, "account": device.name, "days": (now - seen) // 86400})
            longest = transaction.last_expiry()
    finally:
        store.close()
    accounts = directory.by_sids(sorted(held))
    orphaned = [
        {"device": device, "account": name, "sid": sid, "is": "disabled or expired" if sid in accounts else "not in the directory"}
        for device, sid, name in live
        if sid not in accounts or not accounts[sid].usable
    ]
    names = {sid: name for _device, sid, name in live}
    over = [{"account": names[sid], "sid": sid, "devices": count} for sid, count in held.items() if count > given.rules.devices_per_account]
    return {
        "states": dict(states),
        "accounts": len(held),
        "allowed": given.rules.devices_per_account,
        "orphaned": orphaned[:LISTED],
        "orphaned_count": len(orphaned),
        "over": over[:LISTED],
        "over_count": len(over),
        "unused": unused[:LISTED],
        "unused_count": len(unused),
        "unused_days": UNUSED_DAYS,
        "last_expiry": longest,
    }


def _all(transaction: Transaction) -> Iterator[Device]:
    page = transaction.all_devices(limit=_PAGE)
    while page:
        yield from page
        page = transaction.all_devices(after=page[-1].id, limit=_PAGE)


# ---- the rest


def _database(given: Settings) -> dict[str, Any]:
    """PostgreSQL's own settings of what outlives a power cut. Of SQLite the server sets them with each connection."""
    url = sa.make_url(given.database)
    found: dict[str, Any] = {"kind": url.get_backend_name()}
    if found["kind"] != "postgresql":
        return found
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            for name in ("fsync", "full_page_writes", "synchronous_commit", "server_version"):
                found[name] = str(connection.execute(sa.text(f"SHOW {name}")).scalar())
            found["local"] = connection.execute(sa.text("SELECT inet_server_addr() IS NULL")).scalar()
            found["tls"] = connection.execute(sa.text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")).scalar()
    except sa.exc.SQLAlchemyError as error:
        raise ConfigurationError(f"database: {' '.join(str(error).split())[:300]}") from error
    finally:
        engine.dispose()
    return found


def _clock(directory: LdapDirectory) -> dict[str, Any]:
    """How many seconds this host is ahead of a domain controller, which tells whole seconds."""
    theirs = directory.time()
    ahead = (datetime.datetime.now(datetime.timezone.utc) - theirs).total_seconds()
    return {"controller": theirs.isoformat(), "ahead": round(ahead, 1)}
