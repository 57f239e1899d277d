# SPDX-License-Identifier: GPL-3.0-or-later
"""What the server remembers: accounts, devices, seeds (sealed), what was accepted, sessions, failures. SQLite or PostgreSQL.

Every question that decides something is answered and recorded by one statement or in one transaction, so that two requests, two workers or
two servers never both win. Times are whole seconds since 1970.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from passivekey.errors import ConfigurationError
from passivekey.protocol import codes
from passivekey.server.database import Connection, Database, plain

SCHEMA = 2
"""Of the tables; an older database is brought to it at the start, one of a later version is refused."""

_metadata = sa.MetaData()
_meta = sa.Table("meta", _metadata, sa.Column("name", sa.String(32), primary_key=True), sa.Column("value", sa.Text, nullable=False))
_WHICH_SCHEMA = sa.select(_meta.c.value).where(_meta.c.name == "schema")
accounts = sa.Table(
    "accounts",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("sid", sa.String(184), nullable=False, unique=True),
    sa.Column("name", sa.String(512), nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
)
devices = sa.Table(
    "devices",
    _metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("account", sa.ForeignKey("accounts.id"), nullable=False, index=True),
    sa.Column("state", sa.String(8), nullable=False),
    sa.Column("request", sa.String(32), nullable=False),
    sa.Column("workstation", sa.String(64), nullable=False),
    sa.Column("public_key", sa.LargeBinary, nullable=False),
    sa.Column("agreement_key", sa.LargeBinary),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("touched", sa.BigInteger, nullable=False),
    sa.Column("seen", sa.BigInteger),
    sa.Column("drift", sa.Integer, nullable=False, default=0),
    sa.Column("revoked", sa.BigInteger),
    sa.Column("reason", sa.String(200)),
    sa.Column("expires", sa.BigInteger),  # of its latest certificate, for those who look which end soon
    sa.UniqueConstraint("account", "request"),
)
certificates = sa.Table(
    "certificates",
    _metadata,
    sa.Column("serial", sa.String(40), primary_key=True),
    sa.Column("device", sa.ForeignKey("devices.id"), nullable=False, index=True),
    sa.Column("der", sa.LargeBinary, nullable=False),
    sa.Column("expires", sa.BigInteger, nullable=False),
    sa.Column("revoked", sa.BigInteger),
)
vanished = sa.Table(
    "vanished",
    _metadata,
    sa.Column("serial", sa.String(40), primary_key=True),
    sa.Column("der", sa.LargeBinary, nullable=False),
    sa.Column("expires", sa.BigInteger, nullable=False),
    sa.Column("revoked", sa.BigInteger, nullable=False),
)
"""Certificates of devices that never came to their end: somebody has them, so they are on the CRL until they end."""

seeds = sa.Table(
    "seeds",
    _metadata,
    sa.Column("device", sa.ForeignKey("devices.id"), primary_key=True),
    sa.Column("state", sa.String(8), primary_key=True),
    sa.Column("sealed", sa.Text, nullable=False),
    sa.Column("kid", sa.String(43), nullable=False, index=True),
    sa.Column("created", sa.BigInteger, nullable=False),
)
accepted = sa.Table(
    "accepted",
    _metadata,
    sa.Column("device", sa.ForeignKey("devices.id"), primary_key=True),
    sa.Column("channel", sa.String(12), primary_key=True),
    sa.Column("site", sa.String(261), primary_key=True),
    sa.Column("counter", sa.BigInteger, nullable=False),
)
sessions = sa.Table(
    "sessions",
    _metadata,
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("device", sa.ForeignKey("devices.id"), nullable=False, index=True),
    sa.Column("site", sa.String(261), nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("used", sa.BigInteger, nullable=False, index=True),
)
tickets = sa.Table(
    "tickets",
    _metadata,
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("purpose", sa.String(12), nullable=False),
    sa.Column("about", sa.Text, nullable=False),
    sa.Column("expires", sa.BigInteger, nullable=False, index=True),
)
failures = sa.Table(
    "failures",
    _metadata,
    sa.Column("who", sa.String(300), primary_key=True),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("last", sa.BigInteger, nullable=False, index=True),
    sa.Column("until", sa.BigInteger, nullable=False),
)

_INDEXES = (
    sa.Index("ix_devices_state_created", devices.c.state, devices.c.created, devices.c.id),
    sa.Index("ix_devices_workstation", sa.func.lower(devices.c.workstation)),
    sa.Index("ix_devices_state_expires", devices.c.state, devices.c.expires, devices.c.id),
)
"""Of what administrators look for; none of them is touched when a code is accepted."""


@dataclass(frozen=True)
class Holder:
    """An account, and how many devices of it are in force."""

    sid: str
    name: str
    active: int


@dataclass(frozen=True)
class Expiring:
    """An active device whose latest certificate ends at `expires`."""

    device: str
    name: str
    workstation: str
    seen: int | None
    expires: int


@dataclass(frozen=True)
class Waiting:
    """Who has to wait: `account:<SID>` or `source:<address>`, after so many failures, until then."""

    who: str
    count: int
    until: int


SAVED = (accounts, devices, certificates, vanished, seeds, accepted, failures)
"""What a backup holds, in the order of their references; sessions and tickets end with the database."""

CRL_NUMBER = "crl"
"""The number in `meta` of the last CRL, of whatever CA."""

FLOOR = "refused-until"
"""The number in `meta`: codes of this time and earlier are refused, after a restore."""


@dataclass(frozen=True)
class Device:
    """A device with its account, as the database has them."""

    id: str
    account: int
    sid: str
    name: str
    state: str
    request: str
    workstation: str
    public_key: bytes
    agreement_key: bytes | None
    created: int
    touched: int
    seen: int | None
    drift: int
    revoked: int | None
    reason: str | None


Held = tuple[Device, tuple[str, str] | None]
"""A device, with its sealed seed and the kid of the storage key."""

_DEVICE = sa.select(
    devices.c.id,
    devices.c.account,
    accounts.c.sid,
    accounts.c.name,
    *(devices.c[name] for name in ("state", "request", "workstation", "public_key", "agreement_key", "created", "touched")),
    *(devices.c[name] for name in ("seen", "drift", "revoked", "reason")),
).join(accounts, accounts.c.id == devices.c.account)


_given = sa.bindparam
"""A value that is given when the statement is run. (Names of columns stand for what is inserted.)"""

_ONE_DEVICE = _DEVICE.where(devices.c.id == _given("device"))
_ONE_DEVICE_ALONE = _ONE_DEVICE.with_for_update(of=devices, key_share=True)
_WITH_SEED = devices.join(accounts, accounts.c.id == devices.c.account).outerjoin(
    seeds, sa.and_(seeds.c.device == devices.c.id, seeds.c.state == "active")
)
_HELD = (
    sa.select(failures.c.until, *_DEVICE.selected_columns, seeds.c.sealed, seeds.c.kid)
    # a row without a device where there is none, for somebody may have to wait all the same
    .select_from(
        sa.select(sa.literal(1).label("one"))
        .subquery("always")
        .outerjoin(failures, failures.c.who == _given("one"))
        .outerjoin(_WITH_SEED, sa.and_(accounts.c.sid == _given("sid"), devices.c.state == "active"))
    )
    .order_by(devices.c.created, devices.c.id)
)
_LATEST = sa.select(sa.func.max(certificates.c.expires)).where(certificates.c.device == devices.c.id).scalar_subquery()
_ACTIVE = (
    _DEVICE.add_columns(seeds.c.sealed, seeds.c.kid)
    .join(seeds, seeds.c.device == devices.c.id)
    .where(devices.c.id == _given("device"), devices.c.state == "active", _given("now") <= _LATEST, seeds.c.state == "active")
)
_SAW = sa.update(devices).where(devices.c.id == _given("device")).values(seen=_given("now"), drift=_given("moved"))
_CERTIFICATE = (
    sa.select(certificates.c.der, certificates.c.expires)
    .where(certificates.c.device == _given("device"))
    .order_by(certificates.c.expires.desc())
    .limit(1)
)
_SEED = sa.select(seeds.c.sealed, seeds.c.kid).where(seeds.c.device == _given("device"), seeds.c.state == _given("state"))
_ACCEPTED = (
    accepted.c.device == _given("where_device"),
    accepted.c.channel == _given("where_channel"),
    accepted.c.site == _given("where_site"),
)
_LAST_ACCEPTED = sa.select(accepted.c.counter).where(*_ACCEPTED)
_ACCEPT = sa.text(
    "INSERT INTO accepted (device, channel, site, counter) SELECT id, :channel, :site, :counter FROM devices "
    "WHERE id = :device AND state = 'active' AND NOT EXISTS (SELECT 1 FROM failures WHERE who = :who AND until > :now) "
    # what may have been accepted in a time that a restored database knows nothing of (a step of the future included)
    f"AND NOT EXISTS (SELECT 1 FROM meta WHERE name = '{FLOOR}' "
    f"AND CASE WHEN name = '{FLOOR}' THEN CAST(value AS BIGINT) END / {codes.STEP} + {1 + codes.MOST_DRIFT} >= :counter) "
    "ON CONFLICT (device, channel, site) DO UPDATE SET counter = excluded.counter WHERE accepted.counter < excluded.counter"
).bindparams(
    sa.bindparam("device", type_=sa.String),
    sa.bindparam("channel", type_=sa.String),
    sa.bindparam("site", type_=sa.String),
    sa.bindparam("counter", type_=sa.BigInteger),
    sa.bindparam("who", type_=sa.String),
    sa.bindparam("now", type_=sa.BigInteger),
)
_ADD_SESSION = sa.insert(sessions)
_SESSION = sa.select(sessions.c.device, sessions.c.created, sessions.c.used).where(
    sessions.c.hash == _given("token"), sessions.c.site == _given("place")
)
_THIS_TICKET = (tickets.c.hash == _given("secret"), tickets.c.purpose == _given("what"))
_HAS_TO_WAIT = sa.exists().where(failures.c.who == _given("one"), failures.c.until > _given("now"))
_ADD_TICKET = sa.insert(tickets)
_ADD_CHALLENGE = sa.text(
    "INSERT INTO tickets (hash, purpose, about, expires) SELECT :hash, :purpose, "
    "CASE WHEN EXISTS (SELECT 1 FROM failures WHERE who = :who AND until > :now) THEN :otherwise ELSE :about END, :expires RETURNING about"
).bindparams(
    *(sa.bindparam(name, type_=sa.String) for name in ("hash", "purpose", "who", "otherwise", "about")),
    *(sa.bindparam(name, type_=sa.BigInteger) for name in ("now", "expires")),
)
_TICKET = sa.select(tickets.c.about).where(*_THIS_TICKET, tickets.c.expires >= _given("now"))
_SPEND_TICKET = sa.delete(tickets).where(*_THIS_TICKET, ~_HAS_TO_WAIT).returning(tickets.c.about, tickets.c.expires)
_WAITS = sa.select(failures.c.until).where(failures.c.who == _given("one"))
_COUNT = "CASE WHEN :now - failures.last > :forget THEN 1 ELSE failures.count + 1 END"
_FAILED = sa.text(
    "INSERT INTO failures (who, count, last, until) VALUES (:who, 1, :now, CASE WHEN 1 >= :most THEN :now + :lock ELSE 0 END) "
    f"ON CONFLICT (who) DO UPDATE SET count = {_COUNT}, last = :now, "
    f"until = CASE WHEN {_COUNT} >= :most THEN :now + :lock ELSE 0 END RETURNING count"
).bindparams(
    sa.bindparam("who", type_=sa.String),
    *(sa.bindparam(name, type_=sa.BigInteger) for name in ("now", "most", "lock", "forget")),
)
_FORGIVE = sa.delete(failures).where(failures.c.who == _given("one"))
_NUMBER = sa.select(_meta.c.value).where(_meta.c.name == _given("which"))
_NUMBER_ALONE = _NUMBER.with_for_update()


def digest(secret: str) -> str:
    """As what secrets that are random anyway are remembered."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Store:
    """One database. Methods are short transactions of their own, or run in one that `transaction` has opened."""

    def __init__(self, url: str | URL, *, reading: bool = False) -> None:
        """`reading`: as it is; makes and migrates nothing."""
        try:
            self._database = Database(make_url(url))
            self._engine = self._database.engine
            if reading:
                _refuse_other_schema(self._engine)
                return
            with self._database.schema_change() as connection:
                _check_schema(connection)
                _metadata.create_all(connection)
        except (SQLAlchemyError, ImportError) as error:
            raise ConfigurationError(f"database: {plain(error)}; check the URL, and that the server may write there") from error

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def transaction(self, *, reading: bool = False, lasting: bool = True, steady: bool = False) -> Iterator[Transaction]:
        """All of it or nothing; a database that fails is `Refused("unavailable")`, and nothing was accepted. `reading` blocks nobody, and
        reads what is of one moment only if it is `steady`. What is not `lasting` outlives this process, but may be lost with the machine's
        power."""
        with self._database.transaction(reading=reading, lasting=lasting, steady=steady) as connection:
            yield Transaction(connection)


class Transaction:
    """What can be asked and remembered. All names are those of the protocol."""

    def __init__(self, connection: Connection) -> None:
        self._do = connection.execute
        self._run = connection.run

    # ---- accounts and devices

    def account(self, sid: str, name: str, now: int) -> int:
        """The account's number; its name is remembered for people, and follows the directory. Of one account one at a time has it."""
        query = sa.select(accounts.c.id, accounts.c.name).where(accounts.c.sid == sid)
        found = self._do(query.with_for_update(key_share=True)).first()
        if found is None:
            number = self._do(sa.insert(accounts).values(sid=sid, name=name, created=now)).inserted_primary_key
            return int(number[0]) if number else 0
        if found.name != name:
            self._do(sa.update(accounts).where(accounts.c.id == found.id).values(name=name))
        return int(found.id)

    def device(self, device: str, *, alone: bool = False) -> Device | None:
        """`alone`: nobody changes or revokes it before this transaction is over."""
        found = self._run(_ONE_DEVICE_ALONE if alone else _ONE_DEVICE, device=device).fetchone()
        return Device(*found) if found else None

    def devices_of(self, sid: str, *states: str) -> list[Device]:
        query = _DEVICE.where(accounts.c.sid == sid).order_by(devices.c.created, devices.c.id)
        return [Device(*found) for found in self._do(query.where(devices.c.state.in_(states)) if states else query)]

    def held(self, sid: str, who: str) -> tuple[list[Held], int | None]:
        """The account's active devices, each with its sealed seed and the kid of the storage key; and until when `who` (as in `failed`) has
        to wait, None where no failure is counted."""
        found = self._run(_HELD, sid=sid, one=who).fetchall()
        held: list[Held] = [(Device(*row[1:-2]), (row[-2], row[-1]) if row[-2] else None) for row in found if row[1] is not None]
        return held, found[0][0]

    def active(self, device: str, now: int) -> tuple[Device, tuple[str, str]] | None:
        """An active device whose certificate has not ended, with its sealed seed and the kid of the storage key."""
        found = self._run(_ACTIVE, device=device, now=now).fetchone()
        return (Device(*found[:-2]), (found[-2], found[-1])) if found else None

    def all_devices(self, *, after: str = "", limit: int = 200) -> list[Device]:
        """Page by page, by id."""
        return [Device(*found) for found in self._do(_DEVICE.where(devices.c.id > after).order_by(devices.c.id).limit(limit))]

    def add_device(self, **values: Any) -> None:
        self._do(sa.insert(devices).values(state="pending", drift=0, **values))

    def touch(self, device: str, now: int) -> None:
        self._do(sa.update(devices).where(devices.c.id == device).values(touched=now))

    def activate(self, device: str, now: int) -> None:
        self._do(sa.update(devices).where(devices.c.id == device, devices.c.state != "revoked").values(state="active", touched=now))

    def saw(self, device: str, now: int, drift: int) -> None:
        self._run(_SAW, device=device, now=now, moved=drift)

    def revoke(self, device: str, now: int, reason: str) -> bool:
        """Whether it was in force until now. Seeds and sessions go, certificates get onto the CRL."""
        query = sa.update(devices).where(devices.c.id == device, devices.c.state != "revoked")
        done = self._do(query.values(state="revoked", revoked=now, reason=reason[:200])).rowcount
        self._do(sa.delete(seeds).where(seeds.c.device == device))
        self._do(sa.delete(sessions).where(sessions.c.device == device))
        self._do(sa.update(certificates).where(certificates.c.device == device, certificates.c.revoked.is_(None)).values(revoked=now))
        return bool(done)

    # ---- certificates

    def add_certificate(self, device: str, serial: int, der: bytes, expires: int) -> None:
        self._do(sa.insert(certificates).values(serial=f"{serial:x}", device=device, der=der, expires=expires))
        self._do(sa.update(devices).where(devices.c.id == device).values(expires=expires))

    def certificate(self, device: str) -> tuple[bytes, int] | None:
        """The latest certificate, and when it ends."""
        found = self._run(_CERTIFICATE, device=device).fetchone()
        return (bytes(found[0]), int(found[1])) if found else None

    def last_expiry(self) -> int:
        """When the last of all certificates ends that devices were given; 0 where there is none."""
        return int(self._do(sa.select(sa.func.max(certificates.c.expires))).scalar() or 0)

    def revoked_certificates(self, now: int) -> list[tuple[int, int, bytes]]:
        """Serial number, time and DER, of those that have not ended yet."""
        found = []
        for table in (certificates, vanished):
            query = sa.select(table.c.serial, table.c.revoked, table.c.der).where(table.c.revoked.is_not(None), table.c.expires > now)
            found += [(int(row.serial, 16), int(row.revoked), bytes(row.der)) for row in self._do(query)]
        return found

    def live_certificates(self, now: int) -> Iterator[tuple[bytes, int]]:
        """DER and end, of all that have not ended yet, revoked or not."""
        for table in (certificates, vanished):
            for row in self._do(sa.select(table.c.der, table.c.expires).where(table.c.expires > now)):
                yield bytes(row.der), int(row.expires)

    # ---- seeds

    def put_seed(self, device: str, sealed: str, kid: str, now: int) -> None:
        """A new pending seed; an older pending one is forgotten."""
        self._do(sa.delete(seeds).where(seeds.c.device == device, seeds.c.state == "pending"))
        self._do(sa.insert(seeds).values(device=device, state="pending", sealed=sealed, kid=kid, created=now))

    def seed(self, device: str, state: str = "active") -> tuple[str, str] | None:
        """The sealed seed and the kid of the storage key."""
        found = self._run(_SEED, device=device, state=state).fetchone()
        return (found[0], found[1]) if found else None

    def confirm_seed(self, device: str) -> None:
        """The pending seed becomes the active one; what was accepted of the old one is no more."""
        self._do(sa.delete(seeds).where(seeds.c.device == device, seeds.c.state == "active"))
        self._do(sa.update(seeds).where(seeds.c.device == device, seeds.c.state == "pending").values(state="active"))
        self._do(sa.delete(accepted).where(accepted.c.device == device))

    def seeds_not_under(self, kid: str, limit: int) -> list[tuple[str, str, str, str]]:
        """(device, state, sealed, kid) of seeds that another storage key seals."""
        query = sa.select(seeds.c.device, seeds.c.state, seeds.c.sealed, seeds.c.kid).where(seeds.c.kid != kid).limit(limit)
        return [(row.device, row.state, row.sealed, row.kid) for row in self._do(query)]

    def reseal(self, device: str, state: str, old: str, sealed: str, kid: str) -> None:
        """Put a seed under another key, unless it was replaced meanwhile."""
        query = sa.update(seeds).where(seeds.c.device == device, seeds.c.state == state, seeds.c.sealed == old)
        self._do(query.values(sealed=sealed, kid=kid))

    # ---- codes

    def last_accepted(self, device: str, channel: str, site: str = "") -> int:
        """The last counter that was accepted there; -1 where there was none."""
        found = self._run(_LAST_ACCEPTED, where_device=device, where_channel=channel, where_site=site).fetchone()
        return -1 if found is None else int(found[0])

    def accept(self, device: str, channel: str, counter: int, site: str = "", *, who: str = "", now: int = 0) -> bool:
        """Whether this counter is accepted now, and by nobody else: the device is active, the counter later than all before it and than
        what a restore has forgotten, and `who` (as in `failed`) need not wait."""
        return bool(self._run(_ACCEPT, device=device, channel=channel, site=site, counter=counter, who=who, now=now).rowcount)

    # ---- sessions of sites

    def add_session(self, token: str, device: str, site: str, now: int) -> None:
        self._run(_ADD_SESSION, hash=digest(token), device=device, site=site, created=now, used=now)

    def session(self, token: str, site: str, now: int, idle: int, life: int) -> tuple[str, int] | None:
        """The device of a session that is in force, and when it was used last."""
        found = self._run(_SESSION, token=digest(token), place=site).fetchone()
        if found is None or now - found[2] > idle or now - found[1] > life:
            return None
        return str(found[0]), int(found[2])

    def use_session(self, token: str, now: int) -> None:
        self._do(sa.update(sessions).where(sessions.c.hash == digest(token)).values(used=now))

    # ---- nonces, challenges, sign-ins: secrets that are good once

    def add_ticket(self, secret: str, purpose: str, about: str, expires: int) -> None:
        self._run(_ADD_TICKET, hash=digest(secret), purpose=purpose, about=about, expires=expires)

    def add_challenge(self, secret: str, purpose: str, about: str, otherwise: str, expires: int, *, who: str, now: int) -> bool:
        """As `add_ticket`, but about something else for `who` (as in `failed`) has to wait: whether that is not so. It takes as long."""
        values = {"hash": digest(secret), "purpose": purpose, "about": about, "otherwise": otherwise, "expires": expires}
        return bool(self._run(_ADD_CHALLENGE, who=who, now=now, **values).fetchone()[0] == about)

    def read_ticket(self, secret: str, purpose: str, now: int) -> str | None:
        """What the secret was given out about, while it is good."""
        found = self._run(_TICKET, secret=digest(secret), what=purpose, now=now).fetchone()
        return str(found[0]) if found else None

    def ticket(self, secret: str, purpose: str, now: int) -> tuple[str, int] | None:
        """What it is about, and when it ends."""
        query = sa.select(tickets.c.about, tickets.c.expires).where(tickets.c.hash == digest(secret), tickets.c.purpose == purpose)
        found = self._do(query.where(tickets.c.expires >= now)).first()
        return (found.about, int(found.expires)) if found else None

    def prolong_ticket(self, secret: str, purpose: str, expires: int) -> None:
        self._do(sa.update(tickets).where(tickets.c.hash == digest(secret), tickets.c.purpose == purpose).values(expires=expires))

    def spend_ticket(self, secret: str, purpose: str, now: int, *, who: str = "") -> str | None:
        """As `read_ticket`, for the one that comes first; it stays as it is where `who` (as in `failed`) has to wait."""
        found = self._run(_SPEND_TICKET, secret=digest(secret), what=purpose, one=who, now=now).fetchone()
        return str(found[0]) if found and found[1] >= now else None

    def drop_tickets(self, purpose: str, about: str) -> int:
        """How many of this purpose were out about this, and are good no more."""
        return self._do(sa.delete(tickets).where(tickets.c.purpose == purpose, tickets.c.about == about)).rowcount

    # ---- failures

    def waits_until(self, *who: str) -> int:
        """Until when these have to wait; 0 if none does."""
        return max((int(found[0]) for one in who for found in self._run(_WAITS, one=one)), default=0)

    def failed(self, who: str, now: int, limit: int, lock: int, forget: int) -> int:
        """One more failure; after `limit` of them in `forget` seconds it waits `lock` seconds. How many there are."""
        return int(self._run(_FAILED, who=who, now=now, most=limit, lock=lock, forget=forget).fetchone()[0])

    def forgive(self, *who: str) -> None:
        for one in who:
            self._run(_FORGIVE, one=one)

    # ---- what administrators look at; what is asked for page by page is found by an index, however many there are

    def devices_page(
        self, state: str, *, older: tuple[int, str] | None = None, newer: tuple[int, str] | None = None, limit: int = 50
    ) -> list[Device]:
        """Of one state, newest first: those beyond a (created, id), or the newest."""
        place = sa.tuple_(devices.c.created, devices.c.id)
        query = _DEVICE.where(devices.c.state == state).limit(limit)
        if newer is not None:
            query = query.where(place > sa.tuple_(*map(sa.literal, newer))).order_by(devices.c.created, devices.c.id)
            return [Device(*found) for found in self._do(query)][::-1]
        if older is not None:
            query = query.where(place < sa.tuple_(*map(sa.literal, older)))
        return [Device(*found) for found in self._do(query.order_by(devices.c.created.desc(), devices.c.id.desc()))]

    def devices_on(self, workstation: str, limit: int) -> list[Device]:
        """By the workstation's whole name, upper or lower case, newest first."""
        query = _DEVICE.where(sa.func.lower(devices.c.workstation) == workstation.lower())
        return [Device(*found) for found in self._do(query.order_by(devices.c.created.desc(), devices.c.id).limit(limit))]

    def accounts_named(self, part: str, limit: int) -> list[Holder]:
        """Accounts whose name holds this part, upper or lower case."""
        chosen = sa.select(accounts.c.id, accounts.c.sid, accounts.c.name).where(accounts.c.name.icontains(part, autoescape=True))
        page = chosen.order_by(accounts.c.name, accounts.c.id).limit(limit).subquery()
        active = sa.select(sa.func.count()).where(devices.c.account == page.c.id, devices.c.state == "active").scalar_subquery()
        return [Holder(*found) for found in self._do(sa.select(page.c.sid, page.c.name, active).order_by(page.c.name, page.c.id))]

    def names(self, sids: Collection[str]) -> dict[str, str]:
        """What accounts were called last, by SID."""
        found = self._do(sa.select(accounts.c.sid, accounts.c.name).where(accounts.c.sid.in_(sids)))
        return {str(row.sid): str(row.name) for row in found}

    def account_count(self) -> int:
        return int(self._do(sa.select(sa.func.count()).select_from(accounts)).scalar() or 0)

    def expiring(self, before: int, *, after: tuple[int, str] = (0, ""), limit: int = 50) -> list[Expiring]:
        """Active devices whose latest certificate ends before this time, the first to end first, beyond an (expires, device)."""
        query = (
            sa.select(devices.c.id, accounts.c.name, devices.c.workstation, devices.c.seen, devices.c.expires)
            .join(accounts, accounts.c.id == devices.c.account)
            .where(devices.c.state == "active", devices.c.expires < before)
            .where(sa.tuple_(devices.c.expires, devices.c.id) > sa.tuple_(*map(sa.literal, after)))
        )
        return [Expiring(*found) for found in self._do(query.order_by(devices.c.expires, devices.c.id).limit(limit))]

    def accepted_of(self, device: str) -> list[tuple[str, str, int]]:
        """(channel, site, last counter), the latest first."""
        query = sa.select(accepted.c.channel, accepted.c.site, accepted.c.counter).where(accepted.c.device == device)
        return [(row.channel, row.site, int(row.counter)) for row in self._do(query.order_by(accepted.c.counter.desc(), accepted.c.site))]

    def sessions_of(self, device: str, now: int, idle: int, life: int) -> list[tuple[str, int, int]]:
        """(site, begun, used last) of sessions in force."""
        query = sa.select(sessions.c.site, sessions.c.created, sessions.c.used).where(sessions.c.device == device)
        query = query.where(sessions.c.used >= now - idle, sessions.c.created >= now - life).order_by(sessions.c.used.desc())
        return [(row.site, int(row.created), int(row.used)) for row in self._do(query)]

    def waiting(self, now: int, limit: int) -> list[Waiting]:
        query = sa.select(failures.c.who, failures.c.count, failures.c.until).where(failures.c.until > now)
        return [Waiting(*found) for found in self._do(query.order_by(failures.c.until.desc(), failures.c.who).limit(limit))]

    # ---- backups

    def dump(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every row that a backup holds."""
        for table in SAVED:
            for row in self._do(sa.select(table).order_by(*table.primary_key)):
                yield table.name, dict(row._mapping)

    def begin_anew(self) -> bool:
        """Whether nobody ever enrolled here. Forgets who was refused: to a server of its own there is always somebody who tries."""
        if any(table != failures.name for table, _row in self.dump()):
            return False
        self._do(sa.delete(failures))
        return True

    def load(self, table: str, row: dict[str, Any]) -> None:
        self._do(sa.insert(_metadata.tables[table]).values(**row))

    def device_ids(self, *states: str) -> list[str]:
        return [row.id for row in self._do(sa.select(devices.c.id).where(devices.c.state.in_(states)))]

    def refuse_until(self, now: int) -> None:
        """What was accepted since a backup was made is not known: no code of until now is accepted any more."""
        self.set_number(FLOOR, now)

    # ---- numbers, and what is over

    def number(self, name: str, *, alone: bool = False) -> int:
        """`alone`: nobody else reads it so before this transaction is over."""
        found = self._run(_NUMBER_ALONE if alone else _NUMBER, which=name).fetchone()
        return int(found[0]) if found else 0

    def set_number(self, name: str, value: int) -> None:
        if not self._do(sa.update(_meta).where(_meta.c.name == name).values(value=str(value))).rowcount:
            self._do(sa.insert(_meta).values(name=name, value=str(value)))

    def count(self, sid: str | None = None) -> dict[str, int]:
        """Devices by state."""
        query = sa.select(devices.c.state, sa.func.count()).group_by(devices.c.state)
        if sid is not None:
            query = query.join(accounts, accounts.c.id == devices.c.account).where(accounts.c.sid == sid)
        return {state: int(number) for state, number in self._do(query)}

    def clean(self, now: int, pending: int, session_life: int) -> list[str]:
        """Forget what is over; the ids of devices that never came to their end: seeds go, certificates are revoked."""
        self._do(sa.delete(tickets).where(tickets.c.expires < now))
        self._do(sa.delete(sessions).where(sessions.c.used < now - session_life))
        self._do(sa.delete(failures).where(failures.c.until < now, failures.c.last < now - 86400))
        query = sa.select(devices.c.id).where(devices.c.state == "pending", devices.c.touched < now - pending)
        orphans: Sequence[str] = [row.id for row in self._do(query.with_for_update())]
        theirs = sa.select(certificates.c.serial, certificates.c.der, certificates.c.expires, sa.literal(now))
        self._do(sa.insert(vanished).from_select(["serial", "der", "expires", "revoked"], theirs.where(certificates.c.device.in_(orphans))))
        self._do(sa.delete(vanished).where(vanished.c.expires < now))
        for table, column in ((seeds, seeds.c.device), (certificates, certificates.c.device), (devices, devices.c.id)):
            self._do(sa.delete(table).where(column.in_(orphans)))
        return list(orphans)


def judge(url: str) -> None:
    """That this version could begin with a database, or would make it anew; changes nothing. Raises `ConfigurationError`."""
    try:
        engine = Database(make_url(url)).engine
        if engine.url.get_backend_name() == "sqlite" and not Path(engine.url.database or "").is_file():
            return
        with engine.connect() as connection:
            if sa.inspect(connection).has_table(_meta.name):
                _refuse_later_schema(connection.execute(_WHICH_SCHEMA).scalar())
        engine.dispose()
    except (SQLAlchemyError, ImportError) as error:
        raise ConfigurationError(f"database: {plain(error)}; check the URL, and that the server may write there") from error


def _refuse_other_schema(engine: sa.Engine) -> None:
    if engine.url.get_backend_name() == "sqlite" and not Path(engine.url.database or "").is_file():
        raise ConfigurationError(f"database: there is no {engine.url.database}; make it with: passivekey init")
    with engine.connect() as connection:
        found = connection.execute(_WHICH_SCHEMA).scalar()
    if found != str(SCHEMA):
        raise ConfigurationError(f"database: its schema is {found}, {SCHEMA} is needed; restart the server, which brings it there")


def _refuse_later_schema(found: str | None) -> None:
    if found is not None and found not in map(str, range(1, SCHEMA + 1)):
        raise ConfigurationError(
            f"database: its schema is {found}, {SCHEMA} is needed; start the version of PassiveKey that it was made by"
        )


def _check_schema(connection: sa.Connection) -> None:
    """Say which schema a new database has; bring an older one to it, step by step."""
    _meta.create(connection, checkfirst=True)
    found = connection.execute(_WHICH_SCHEMA).scalar()
    if found is None:
        connection.execute(sa.insert(_meta).values(name="schema", value=str(SCHEMA)))
        return
    _refuse_later_schema(found)
    for statements in _STEPS[int(found) - 1 :]:
        for statement in statements:
            connection.execute(statement)
    connection.execute(sa.update(_meta).where(_meta.c.name == "schema").values(value=str(SCHEMA)))


_STEPS: tuple[tuple[sa.Executable, ...], ...] = (
    (
        sa.text("ALTER TABLE devices ADD COLUMN expires BIGINT"),
        sa.update(devices).values(expires=_LATEST),
        *(sa.schema.CreateIndex(index) for index in _INDEXES),
    ),
)
"""From schema 1 to 2, and so on."""
