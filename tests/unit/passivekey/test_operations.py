# SPDX-License-Identifier: GPL-3.0-or-later
"""What an administrator does: settings, keys, backups that forget nothing, the log, the command line."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("starlette", reason="Starlette is not installed")

from passivekey.errors import ConfigurationError
from passivekey.protocol import codes
from passivekey.protocol.errors import Refused
from passivekey.server import backup, cli, settings
from passivekey.server.audit import Audit
from passivekey.server.keyring import Keyring
from passivekey.server.passphrase import passphrase
from passivekey.server.store import Store

SITE = "intranet.corp.example"
PHRASE = "correct horse battery staple"


# ---- backups


@pytest.fixture
def restored(service, tmp_path):
    """A new, empty database of the same service, filled from a backup made now."""
    backup.save(service, tmp_path / "backup")

    def fill(**more):
        service.store.close()
        service.store = Store(f"sqlite:///{tmp_path}/restored.db")
        return backup.restore(service, tmp_path / "backup", **more)

    return fill


def radius(service, account, code):
    state = service.radius(account.name, "pass", "", "")
    return service.radius(account.name, code, state, "")


def test_a_restored_backup_accepts_nothing_twice(service, pc, alice, restored, clock):
    used, cookie = pc.code(), pc.cookie()
    radius(service, alice, used)
    service.check(SITE, "", cookie, "")
    assert restored()["rows"] > 3
    for attempt in (
        lambda: radius(service, alice, used),
        lambda: service.check(SITE, "", cookie, ""),
        lambda: radius(service, alice, pc.code(30)),
    ):
        with pytest.raises(Refused):
            attempt()
    clock.now += 120
    assert radius(service, alice, pc.code()) == ""
    assert service.check(SITE, "", pc.cookie(), "").session


def test_a_restored_backup_revives_no_device(service, pc, alice, workstation, restored, clock):
    other = workstation(alice)
    service.revoke(pc.device, "lost", by="admin")
    other.complete()  # enrolled after the backup: unknown to it, and enrolls anew
    assert restored()["revoked"] == 1
    clock.now += 120
    with pytest.raises(Refused):
        radius(service, alice, pc.code())
    with pytest.raises(Refused, match="no such device"):
        service.status(other.device, other.proof("status"))


def test_what_is_being_revoked_when_a_backup_is_made_stays_revoked(service, pc, alice, restored, tmp_path, monkeypatch):
    """The log has it before the backup, the database after."""
    (tmp_path / "backup").unlink()
    write = service.audit.write

    def late(event, **about):
        write(event, **about)
        if event == "revoke":
            backup.save(service, tmp_path / "backup")

    monkeypatch.setattr(service.audit, "write", late)
    service.revoke(pc.device, "lost", by="test")
    monkeypatch.undo()
    assert restored()["revoked"] == 1


def test_without_the_log_all_devices_are_revoked(service, pc, alice, restored, tmp_path):
    shutil.rmtree(tmp_path / "audit")
    service.audit = Audit(tmp_path / "audit", service.clock)
    with pytest.raises(ConfigurationError, match="--without-audit"):
        restored()
    assert backup.restore(service, tmp_path / "backup", without_audit=True)["revoked"] == 1
    with service.store.transaction(reading=True) as transaction:
        assert transaction.count() == {"revoked": 1} and transaction.seed(pc.device) is None


def test_a_backup_is_restored_where_somebody_was_refused_meanwhile(service, pc, restored, tmp_path):
    """A new server is asked before it is filled: by the role's proof, and by whoever tries."""
    service.store.close()
    service.store = Store(f"sqlite:///{tmp_path}/restored.db")
    with pytest.raises(Refused):
        service.radius("nobody", "000000", service.radius("nobody", "pass", "", ""), "")
    with service.store.transaction(reading=True) as transaction:
        assert {table for table, _row in transaction.dump()} == {"failures"}
    assert restored()["rows"] > 3


def test_backups_refused(service, pc, tmp_path):
    backup.save(service, tmp_path / "backup")
    with pytest.raises(ConfigurationError, match="not empty"):
        backup.restore(service, tmp_path / "backup")
    with pytest.raises(FileExistsError):
        backup.save(service, tmp_path / "backup")
    (tmp_path / "broken").write_text('{"format": "other"}\n')
    for name, message in (("broken", "no backup"), ("absent", "No such file")):
        with pytest.raises(ConfigurationError, match=message):
            backup.restore(service, tmp_path / name)
    assert (tmp_path / "backup").stat().st_mode & 0o077 == 0
    assert pc.seed.value.hex() not in (tmp_path / "backup").read_text()


# ---- keys


def test_seeds_are_put_under_a_new_key(service, pc, alice, workstation, tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "_BATCH", 2)
    shutil.copy(service.keyring._path, tmp_path / "keys.json")
    service.keyring = Keyring.load(tmp_path / "keys.json", PHRASE)
    old = service.keyring.storage[0]
    for _number in range(2):
        workstation(alice).complete()
    new = service.keyring.rotate("storage", service.now)
    assert cli.rewrap(service) == 3 and cli.rewrap(service) == 0
    with service.store.transaction(reading=True) as transaction:
        assert transaction.seed(pc.device)[1] == new != old
    assert radius(service, alice, pc.code()) == ""
    with pytest.raises(ConfigurationError, match=old):
        Keyring.load(tmp_path / "keys.json", PHRASE).storage_key(old)


def test_passphrases(tmp_path, monkeypatch):
    file = tmp_path / "phrase"
    file.write_text(PHRASE + "\n")
    file.chmod(0o600)
    assert passphrase(f"file:{file}") == PHRASE
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert passphrase("credential:phrase") == PHRASE
    file.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 0600"):
        passphrase(f"file:{file}")
    (tmp_path / "short").write_text("short")
    for source, message in (
        ("credential:absent", "missing"),
        ("credential:short", "20 are the least"),
        ("plain text", "none of credential:"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            passphrase(source)


def test_a_passphrase_on_a_token(tmp_path, monkeypatch):
    """A data object on a SoftHSM token, written by pkcs11-tool."""
    pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed")
    module = next(
        (
            path
            for path in map(Path, ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"))
            if path.exists()
        ),
        None,
    )
    if module is None or not shutil.which("pkcs11-tool") or not shutil.which("softhsm2-util"):
        pytest.skip("SoftHSM and OpenSC are not installed")
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path}/tokens\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
    (tmp_path / "phrase").write_text(PHRASE)
    for command in (
        ["softhsm2-util", "--init-token", "--free", "--label", "server", "--pin", "123456", "--so-pin", "12345678"],
        [
            "pkcs11-tool",
            "--module",
            module,
            "--token-label",
            "server",
            "--login",
            "--pin",
            "123456",
            "--write-object",
            tmp_path / "phrase",
            "--type",
            "data",
            "--label",
            "passivekey",
            "--private",
        ],
    ):
        subprocess.run(command, check=True, capture_output=True)
    (tmp_path / "pin").write_text("123456\n")
    (tmp_path / "pin").chmod(0o600)
    uri = f"pkcs11:token=server;object=passivekey?module-path={module}&pin-source=file:{tmp_path}/pin"
    code = f"from passivekey.server.passphrase import passphrase; print(passphrase({uri!r}))"  # SoftHSM reads its settings once a process
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == PHRASE, done.stderr


# ---- the log


def test_the_log_is_kept_for_days_and_survives_a_crash(tmp_path, clock):
    audit = Audit(tmp_path, clock, days=2)
    audit.write("first", account="S-1", empty="")
    clock.now += 86400
    audit.write("second", text='a\n\u00fc"')
    [old, today] = sorted(tmp_path.glob("*.log"))
    with today.open("ab") as file:
        file.write(b'{"at": "cut')
    assert [entry["event"] for entry in audit.read()] == ["first", "second"]
    assert audit.read(after=today.stem[-10:])[0] == {**audit.read()[1]} and "empty" not in audit.read()[0]
    clock.now += 2 * 86400
    audit.write("third")
    assert not old.exists() and today.exists() and today.stat().st_mode & 0o077 == 0


# ---- settings


@pytest.fixture
def good(tmp_path):
    for name, content in (("phrase", PHRASE), ("site", "site-secret"), ("radius", "radius-secret"), ("password", "directory-secret")):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o600)
    return f'''
origin = "https://passivekey.corp.example"
database = "sqlite:///{tmp_path}/db"
[keys]
file = "{tmp_path}/keys.json"
passphrase = "file:{tmp_path}/phrase"
[directory]
servers = ["dc1.corp.example"]
base = "DC=corp,DC=example"
username = "CORP\\\\svc"
password_file = "{tmp_path}/password"
[enrollment]
groups = ["S-1-5-21-1-2-3-1200"]
devices = 3
[sites]
"intranet.corp.example" = "{tmp_path}/site"
[radius]
secret_file = "{tmp_path}/radius"
[lockout]
account_failures = 5
'''


def written(tmp_path, text):
    (tmp_path / "server.toml").write_text(text)
    return tmp_path / "server.toml"


def test_settings(good, tmp_path):
    found = settings.load(written(tmp_path, good))
    assert found.rules.sites == ("intranet.corp.example",) and found.sites["intranet.corp.example"] == "site-secret"
    assert found.rules.account_failures == 5 and found.rules.devices_per_account == 3 and found.directory.password == "directory-secret"
    assert "secret" not in repr(found).replace("directory-secret", "")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("origin =", "orign =", "orign is no setting"),
        ('"https://passivekey.corp.example"', '"http://passivekey.corp.example"', "origin: 'http:"),
        ("[enrollment]", "[enrolment]", r"\[enrolment\] is no section"),
        ("devices = 3", "devices = 0", "enrollment.devices: 0 is not between 1 and 100"),
        ("devices = 3", 'devices = "3"', "enrollment.devices: '3' is no int"),
        ("S-1-5-21-1-2-3-1200", "Domain Users", "enrollment.groups: 'Domain Users' is no SID"),
        ('"intranet.corp.example"', '"Intranet"', "sites: 'Intranet' is no host name"),
        ("[radius]", '"intranet.corp.example:8443" = "{0}/site"\n[radius]', "sites: intranet.corp.example is there with several ports"),
        ("/site", "/absent", "sites.intranet.corp.example: .*absent: No such file"),
        ('base = "DC', '# base = "DC', "directory.base is missing"),
        ("[keys]", "[keys", "server.toml"),
        ("account_failures = 5", "account_failures = true", "lockout.account_failures: True is no int"),
    ],
)
def test_settings_refused(good, tmp_path, old, new, message):
    assert old in good
    with pytest.raises(ConfigurationError, match=message):
        settings.load(written(tmp_path, good.replace(old, new.format(tmp_path), 1)))


def test_secrets_that_others_read_are_refused(good, tmp_path):
    (tmp_path / "radius").chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 0600"):
        settings.load(written(tmp_path, good))


# ---- the command line


def test_the_command_line(good, tmp_path, capsys, monkeypatch, service, pc, alice, directory):
    path = str(written(tmp_path, good))
    assert cli.main(["--settings", path, "device"]) == 1
    assert "make it with: passivekey init" in capsys.readouterr().err
    assert cli.main(["--settings", path, "init"]) == 0
    assert cli.main(["--settings", path, "init"]) == 1
    assert "there already" in capsys.readouterr().err
    monkeypatch.setattr(cli, "opened", lambda given: service)
    assert cli.main(["--settings", path, "user", alice.name]) == 0
    assert pc.device in capsys.readouterr().out
    assert cli.main(["--settings", path, "device", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "active"
    assert cli.main(["--settings", path, "revoke", "--user", alice.name, "--reason", "left"]) == 0
    assert cli.main(["--settings", path, "device", pc.device]) == 0
    assert "(left)" in capsys.readouterr().out
    assert cli.main(["--settings", path, "revoke", "--device", "f" * 32]) == 1
    assert "no such device" in capsys.readouterr().err


def test_what_a_server_could_not_start_with_is_said_before(good, tmp_path, capsys, monkeypatch):
    """`check --whole`: each fault beside good settings, and nothing is made or changed by looking."""
    (tmp_path / "ca.pem").write_text("no certificate")
    plain = written(tmp_path, good)

    def judged(text=good):
        code = cli.main(["--settings", str(written(tmp_path, text)), "check", "--whole"])
        return capsys.readouterr().err if code else ""

    assert "make it with: passivekey init" in judged()
    cli.main(["--settings", str(plain), "init"])
    database = tmp_path / "db"
    before = database.read_bytes()
    assert "directory: no domain controller answers as CORP\\svc (dc1.corp.example)" in judged()
    monkeypatch.setattr("passivekey.server.ldap.LdapDirectory.by_sid", lambda _self, _sid: None)
    assert judged() == "" and database.read_bytes() == before
    assert "holds no CA" in judged(good.replace("[directory]", f'[directory]\nca_file = "{tmp_path}/ca.pem"'))
    assert "are no pair" in judged(good + f'[tls]\ncertificate = "{tmp_path}/ca.pem"\nkey = "{tmp_path}/ca.pem"\n')
    assert "keytab" in judged(good + f'[kerberos]\nkeytab = "{tmp_path}/absent"\n')
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE name = 'schema'")
    connection.close()
    assert "its schema is 99" in judged()
    (tmp_path / "phrase").write_text("another one of twenty characters")
    assert "the passphrase is not the one" in judged()


def test_the_password_of_a_database_is_not_printed(good, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli, "Store", lambda _url: SimpleNamespace(close=lambda: None))
    text = re.sub("(?m)^database = .*", 'database = "postgresql+psycopg://passivekey:very-secret@db.corp.example/passivekey"', good)
    assert cli.main(["--settings", str(written(tmp_path, text)), "init"]) == 0
    shown = capsys.readouterr().out
    assert "db.corp.example/passivekey" in shown and "very-secret" not in shown


@pytest.mark.parametrize("command", [[], ["--help"], ["rotate", "seed"]])
def test_the_command_line_explains_itself(command, capsys):
    with pytest.raises(SystemExit):
        cli.main(command)
    assert "passivekey" in "".join(capsys.readouterr())


def test_codes_after_a_restore_are_refused_for_two_minutes_at_most():
    assert (1 + codes.MOST_DRIFT + 1) * codes.STEP <= 120
