# SPDX-License-Identifier: GPL-3.0-or-later
"""The store on SQLite and on a real PostgreSQL: two at once never both win, and a killed process leaves nothing accepted and forgotten."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from passivekey.errors import ConfigurationError
from passivekey.protocol.errors import Refused
from passivekey.server.database import Conflict
from passivekey.server.store import Store


def postgresql_programs():
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@pytest.fixture(scope="session")
def postgresql():
    """The URL of a server of its own, on a socket, as the user postgres, ended after the tests."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    programs = postgresql_programs()
    if programs is None or os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("PostgreSQL is not installed, or this is not root")
    folder = Path(tempfile.mkdtemp(prefix="passivekey-pg"))
    shutil.chown(folder, "postgres", "postgres")
    as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    subprocess.run([*as_postgres, programs / "initdb", "-D", folder / "data", "-A", "trust", "-E", "UTF8", "-N"], check=True, **quiet)
    settings = ("listen_addresses=", f"unix_socket_directories={folder}", "fsync=off")
    command = [*as_postgres, programs / "postgres", "-D", folder / "data", *(part for setting in settings for part in ("-c", setting))]
    server = subprocess.Popen(command, **quiet)
    try:
        for _try in range(100):
            if subprocess.run([programs / "pg_isready", "-q", "-h", folder], check=False).returncode == 0:
                break
            threading.Event().wait(0.1)
        yield f"postgresql+psycopg://postgres@/postgres?host={folder}"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(20)
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/passivekey.db"
    import sqlalchemy

    found = request.getfixturevalue("postgresql")
    engine = sqlalchemy.create_engine(found)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    engine.dispose()
    return found


@pytest.fixture
def store(url):
    found = Store(url)
    with found.transaction() as transaction:
        account = transaction.account("S-1-5-21-1-2-3-1101", "alice@corp.example", 1)
        transaction.add_device(id="d" * 32, account=account, request="r" * 32, workstation="PC7", public_key=b"\x00k", created=1, touched=1)
        transaction.activate("d" * 32, 1)
    yield found
    found.close()


def together(count, work):
    """The outcomes of as many threads that all begin at once."""
    outcomes, gate = [], threading.Barrier(count)

    def run(number):
        gate.wait()
        try:
            outcomes.append(work(number))
        except (Conflict, Refused) as error:
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def accept(store, counter, site=""):
    with store.transaction() as transaction:
        return transaction.accept("d" * 32, "web" if site else "radius", counter, site)


def test_of_many_at_once_one_is_accepted(store):
    for counter in (10, 11):  # the first inserts, the second updates
        outcomes = together(12, lambda _number, counter=counter: accept(store, counter))
        assert outcomes.count(True) == 1, outcomes
    assert accept(store, 10) is False and accept(store, 12) is True
    assert accept(store, 5, "a.example") is True and accept(store, 5, "b.example") is True


def test_nothing_is_accepted_of_a_device_that_is_not_active(store):
    with store.transaction() as transaction:
        assert transaction.accept("e" * 32, "radius", 10) is False  # there is none
        transaction.revoke("d" * 32, 2, "lost")
    assert accept(store, 10) is False


def test_what_need_not_outlive_a_power_cut_is_there_for_all(store, url):
    with store.transaction(lasting=False) as transaction:
        transaction.add_ticket("secret", "radius", "about", 100)
    other = Store(url)
    with other.transaction(reading=True) as transaction:
        assert transaction.read_ticket("secret", "radius", 50) == "about"
    with pytest.raises(Conflict), other.transaction(lasting=False) as transaction:
        transaction.add_ticket("other", "radius", "about", 100)
        transaction.add_ticket("secret", "radius", "about", 100)
    with store.transaction() as transaction:  # all of it or nothing; and the same connection writes again
        assert transaction.read_ticket("other", "radius", 50) is None and transaction.accept("d" * 32, "radius", 1)
    other.close()


def test_an_account_is_made_once(store):
    def make(number):
        with store.transaction() as transaction:
            return transaction.account("S-1-5-21-1-2-3-2000", f"name{number}", 1)

    made = {outcome for outcome in together(8, make) if isinstance(outcome, int)}
    assert len(made) == 1


def test_a_secret_is_spent_once(store):
    with store.transaction() as transaction:
        transaction.add_ticket("secret", "nonce", "about", 100)

    def spend(_number):
        with store.transaction() as transaction:
            return transaction.spend_ticket("secret", "nonce", 50)

    assert sorted(map(str, together(8, spend))) == ["None"] * 7 + ["about"]


def test_failures_are_counted_by_all(store):
    def fail(_number):
        with store.transaction() as transaction:
            return transaction.failed("source:x", 100, 8, 60, 900)

    assert sorted(together(8, fail)) == list(range(1, 9))  # nobody was so fast that another had to try again
    with store.transaction() as transaction:
        assert transaction.waits_until("source:x") == 160
        assert transaction.failed("source:x", 1000, 8, 60, 900) == 9 and transaction.waits_until("source:x") == 1060
        assert transaction.failed("source:x", 1901, 8, 60, 900) == 1 and transaction.waits_until("source:x") == 0


def test_who_has_to_wait_gets_another_challenge(store):
    for now, good in ((50, False), (60, True)):
        with store.transaction() as transaction:
            transaction.failed("account:x", 0, 1, 60, 900)
            assert transaction.add_challenge(f"secret{now}", "radius", "right", "wrong", 100, who="account:x", now=now) is good
            assert transaction.spend_ticket(f"secret{now}", "radius", now) == ("right" if good else "wrong")


# ---- one waits for the other


def account_and_device(transaction, name):
    transaction.account("S-1-5-21-1-2-3-1101", "alice@corp.example", 1)
    found = len(transaction.devices_of("S-1-5-21-1-2-3-1101"))
    transaction.add_device(id=name * 32, account=1, request=name * 32, workstation="PC8", public_key=b"k", created=1, touched=1)
    return found


def next_number(transaction, _name):
    found = transaction.number("crl", alone=True) + 1
    transaction.set_number("crl", found)
    return found


@contextmanager
def meanwhile(store, work):
    """A transaction, while which another one begins."""

    def second():
        with store.transaction() as transaction:
            work(transaction)

    thread = threading.Thread(target=second)
    with store.transaction() as transaction:
        yield transaction, lambda: thread.start() or thread.join(0.3)
    thread.join()


@pytest.mark.parametrize(("work", "expected"), [(account_and_device, [1, 2]), (next_number, [2, 3])], ids=["devices", "CRLs"])
def test_who_comes_second_knows_what_the_first_did(store, work, expected):
    """Devices of an account are counted, and CRLs have numbers of their own."""
    with store.transaction() as transaction:
        transaction.set_number("crl", 1)
    found = []
    with meanwhile(store, lambda transaction: found.append(work(transaction, "b"))) as (transaction, begin):
        found.append(work(transaction, "a"))
        begin()
    assert found == expected


def test_a_certificate_that_is_made_while_its_device_is_revoked_is_revoked(store):
    with meanwhile(store, lambda transaction: transaction.revoke("d" * 32, 2, "lost")) as (transaction, begin):
        assert transaction.device("d" * 32, alone=True).state == "active"
        begin()
        transaction.add_certificate("d" * 32, 5, b"der", 100)
    with store.transaction(reading=True) as transaction:
        assert [serial for serial, _at, _der in transaction.revoked_certificates(2)] == [5]


def test_a_backup_is_of_one_moment(store, url):
    other = Store(url)
    with store.transaction(reading=True, steady=True) as transaction:
        rows = transaction.dump()
        found = [next(rows)]
        with other.transaction() as more:  # it is not waited for
            account = more.account("S-1-5-21-1-2-3-2000", "bob@corp.example", 1)
            more.add_device(id="e" * 32, account=account, request="r" * 32, workstation="PC8", public_key=b"k", created=1, touched=1)
        found += rows
    assert [(table, row["id"]) for table, row in found] == [("accounts", 1), ("devices", "d" * 32)]
    other.close()


def test_many_servers_begin_with_a_new_database(url):
    opened = together(4, lambda _number: Store(url))
    assert len(opened) == 4
    for each in opened:
        each.close()


def test_a_database_of_another_version_is_refused(url):
    import sqlalchemy

    store = Store(url)
    with store._engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE meta SET value = '99' WHERE name = 'schema'"))
    store.close()
    with pytest.raises(ConfigurationError, match="schema is 99"):
        Store(url)


def test_a_database_of_the_first_version_is_brought_to_this_one(store, url):
    import sqlalchemy

    with store.transaction() as transaction:
        for serial, expires in ((1, 50), (2, 90), (3, 70)):
            transaction.add_certificate("d" * 32, serial, b"der", expires)
    with store._engine.begin() as connection:
        for name in ("state_created", "workstation", "state_expires"):
            connection.execute(sqlalchemy.text(f"DROP INDEX ix_devices_{name}"))
        connection.execute(sqlalchemy.text("ALTER TABLE devices DROP COLUMN expires"))
        connection.execute(sqlalchemy.text("UPDATE meta SET value = '1' WHERE name = 'schema'"))
    store.close()
    for _again in range(2):
        store = Store(url)
        with store.transaction(reading=True) as transaction:
            assert [(found.device, found.expires) for found in transaction.expiring(91)] == [("d" * 32, 90)]
            assert [found.id for found in transaction.devices_on("pc7", 9)] == ["d" * 32]
        store.close()


@pytest.mark.parametrize("bad", ["nonsense", "sqlite:////nowhere/at/all.db", "other+driver://x", "postgresql+psycopg://x@/y?host=/nowhere"])
def test_databases_that_cannot_be_opened_are_named(bad):
    with pytest.raises(ConfigurationError, match="database: "):
        Store(bad)


KILLED = """
import os, sys
from passivekey.server.store import Store
store = Store(sys.argv[1])
counter = 100
while True:
    counter += 1
    with store.transaction() as transaction:
        assert transaction.accept("d" * 32, "radius", counter)
    os.write(1, b"%d\\n" % counter)
"""


def test_what_was_accepted_is_remembered_by_who_is_killed(store, url):
    """Every counter that was told before the kill is refused after it."""
    child = subprocess.Popen([sys.executable, "-c", KILLED, url], stdout=subprocess.PIPE)
    told = [int(child.stdout.readline()) for _number in range(30)]
    child.kill()
    told += [int(line) for line in child.stdout.read().split()]
    child.wait()
    with store.transaction(reading=True) as transaction:
        assert transaction.last_accepted("d" * 32, "radius") >= told[-1]
    assert accept(store, told[-1]) is False
