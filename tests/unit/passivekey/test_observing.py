# SPDX-License-Identifier: GPL-3.0-or-later
"""What the server tells an audit: devices held against the directory, and that it changes nothing and opens no key."""

from __future__ import annotations

import hashlib
import json
from types import SimpleNamespace

import ldap3
import pytest
import sqlalchemy as sa

from passivekey.errors import ConfigurationError
from passivekey.protocol.errors import Refused
from passivekey.server import cli, observing
from passivekey.server.ldap import Connecting, LdapDirectory
from passivekey.server.service import Rules
from passivekey.server.store import Store

DAY = 86400


class Audited:
    """What an audit asks of a directory, of the fake one's accounts."""

    def __init__(self, directory):
        self.directory, self.asked = directory, []

    def by_sids(self, sids):
        self.asked.append(list(sids))
        return {sid: found for sid in sids if (found := self.directory.by_sid(sid))}

    def time(self):
        raise Refused("unavailable", "no domain controller answers")

    def holders(self, service):
        return [{"sAMAccountName": "svc", "spn": service}]


@pytest.fixture
def look(service, directory, clock, tmp_path, monkeypatch):
    """The server's answer, `days` from now; with `devices` allowed."""
    audited = Audited(directory)
    monkeypatch.setattr(observing, "LdapDirectory", lambda _options: audited)

    def observed(days=0, devices=3):
        rules = Rules("https://passivekey.corp.example", devices_per_account=devices)
        given = SimpleNamespace(directory=None, rules=rules, database=f"sqlite:///{tmp_path}/passivekey.db")
        return observing.observed(given, int(clock() + days * DAY))

    return observed


def test_devices_of_accounts_that_may_not_are_told(look, workstation, alice, bob, directory, service):
    mine, other, gone = (workstation(account, name=name).complete() for account, name in ((alice, "A"), (bob, "B"), (bob, "C")))
    service.revoke(gone.device, "lost", by="test")
    assert look()["devices"]["orphaned_count"] == 0
    directory.change(alice, usable=False)
    del directory.accounts[bob.sid]
    devices = look()["devices"]
    assert {(one["device"], one["is"]) for one in devices["orphaned"]} == {
        (mine.device, "disabled or expired"),
        (other.device, "not in the directory"),
    }
    assert (devices["states"], devices["accounts"], devices["orphaned_count"]) == ({"active": 2, "revoked": 1}, 2, 2)


def test_what_is_too_much_and_what_nobody_uses(look, workstation, alice, service):
    for name in ("A", "B"):
        workstation(alice, name=name).complete()
    devices = look(devices=1)["devices"]
    assert [(one["account"], one["devices"]) for one in devices["over"]] == [("alice@corp.example", 2)]
    assert devices["unused"] == [] and look(devices=2)["devices"]["over"] == []
    assert [one["days"] for one in look(days=61)["devices"]["unused"]] == [61, 61]
    assert devices["last_expiry"] == pytest.approx(service.now + 90 * DAY, abs=600)


def test_lists_are_cut_and_counted(look, workstation, bob, directory, monkeypatch):
    monkeypatch.setattr(observing, "LISTED", 1)
    monkeypatch.setattr(observing, "_PAGE", 1)
    for name in ("A", "B"):
        workstation(bob, name=name).complete()
    directory.change(bob, usable=False)
    devices = look()["devices"]
    assert (len(devices["orphaned"]), devices["orphaned_count"]) == (1, 2)


def test_what_fails_is_told_in_its_place(look, tmp_path, service):
    assert look()["clock"] == {"error": "no domain controller answers"}
    assert look()["service"]["principal"] == "HTTP/passivekey.corp.example"
    service.store.close()
    (tmp_path / "passivekey.db").unlink()
    assert "there is no" in look()["devices"]["error"]
    assert not (tmp_path / "passivekey.db").exists(), "looking makes nothing"


def test_nothing_is_changed(look, pc, tmp_path, service):
    service.store.close()  # so that its log is in the file
    database = tmp_path / "passivekey.db"
    before = hashlib.sha256(database.read_bytes()).hexdigest()
    assert look()["devices"]["states"] == {"active": 1}
    assert hashlib.sha256(database.read_bytes()).hexdigest() == before


def test_another_schema_is_not_brought_up_to_date(tmp_path, service):
    with service.store.transaction() as transaction:
        transaction._do(sa.text("UPDATE meta SET value = '1' WHERE name = 'schema'"))
    with pytest.raises(ConfigurationError, match="its schema is 1"):
        Store(f"sqlite:///{tmp_path}/passivekey.db", reading=True)


def test_the_command_needs_no_passphrase(monkeypatch, capsys):
    monkeypatch.setattr(cli.settings, "load", lambda path: path)
    monkeypatch.setattr(cli.observing, "observed", lambda given, now: {"format": observing.FORMAT, "settings": str(given)})
    assert cli.main(["--settings", "x.toml", "observe"]) == 0
    assert json.loads(capsys.readouterr().out) == {"format": "passivekey-observed/1", "settings": "x.toml"}


# ---- the directory's part, on ldap3's own stand-in


@pytest.fixture
def domain(monkeypatch):
    """`LdapDirectory` whose searches are answered by what the test puts there."""
    found = LdapDirectory(Connecting(("dc1",), "DC=corp,DC=example", "reader", "password"))
    asked = []

    def search(base, query, attributes, scope):
        asked.append((base, query, attributes, scope))
        return found.answers.pop(0)

    found.answers = []
    monkeypatch.setattr(found, "_search", search)
    return found, asked


def sid(rid):
    return bytes([1, 5, 0, 0, 0, 0, 0, 5]) + b"".join(part.to_bytes(4, "little") for part in (21, 1, 2, 3, rid))


def test_many_accounts_are_asked_for_at_once(domain):
    directory, asked = domain
    entry = {"raw_attributes": {"objectSid": [sid(7)], "userPrincipalName": [b"a@b"], "userAccountControl": [b"514"]}}
    directory.answers = [[entry], []]
    found = directory.by_sids([f"S-1-5-21-1-2-3-{rid}" for rid in range(201)])
    assert list(found) == ["S-1-5-21-1-2-3-7"] and not found["S-1-5-21-1-2-3-7"].usable
    assert [query.count("objectSid=") for _base, query, *_rest in asked] == [200, 1]


def test_time_and_holders(domain):
    directory, asked = domain
    directory.answers = [[{"raw_attributes": {"currentTime": [b"20261123061444.0Z"]}}]]
    assert directory.time().isoformat() == "2026-11-23T06:14:44+00:00"
    assert asked[0][0] == "" and asked[0][3] == ldap3.BASE
    directory.answers = [[{"raw_attributes": {"sAMAccountName": [b"svc"], "adminCount": []}}]]
    assert directory.holders("HTTP/a(b)") == [{"sAMAccountName": "svc"}]
    assert asked[1][1] == r"(servicePrincipalName=HTTP/a\28b\29)"
