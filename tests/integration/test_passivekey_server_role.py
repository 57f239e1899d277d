# SPDX-License-Identifier: GPL-3.0-or-later
"""Role passivekey_server on pk1, from a bare host to a server that users, gateways and sites ask; then backup, restore, and refusals.

The tests of this file are one story, in order. Judges: openssl, klist, nginx, freeradius, radclient, curl, and a workstation as in
test_passivekey_server.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("joserfc", reason="joserfc is not installed")

from ansible_collections.certlogon.core.tests.integration.passivekey_faults import FILES, KEEP, SPOIL, SPOILED, UNDO, UNKNOWN, USUAL, look
from ansible_collections.certlogon.core.tests.integration.passivekey_lab import (
    ACCEPT,
    CHALLENGE,
    REJECT,
    SITE,
    STATE,
    Gateway,
    Service,
    Workstation,
    server_certificate,
)
from lab import package
from passivekey.agent.client import ServerError

INVENTORY = Path(__file__).resolve().parents[2] / "inventories/lab"
HOST, NAME, PORT = "pk1.corp.example", "passivekey.corp.example", 8443
MADE = (
    "/etc/passivekey /opt/passivekey /var/lib/passivekey /var/log/passivekey /var/backups/passivekey /etc/cron.d/passivekey"
    " /etc/nginx/conf.d/passivekey.conf /usr/local/sbin/passivekey /usr/local/sbin/passivekey-run /usr/local/sbin/passivekey-backup"
    " /usr/local/sbin/passivekey-restore"
)
BARE = f"""
rm -f /etc/cron.d/passivekey
[ ! -x /usr/local/sbin/passivekey-run ] || for service in server radius nginx; do passivekey-run stop $service; done
rm -rf {MADE} /run/passivekey-* /var/lib/softhsm/tokens/*
while pkill -KILL -u passivekey 2> /dev/null; do sleep 0.1; done
! id passivekey > /dev/null 2>&1 || userdel passivekey
"""
FORGET_PACKAGE = """cd /var/lib/dpkg && cp -p status status-kept
sed -i '/^Package: python3-psycopg$/,/^$/s/^Status: .*/Status: deinstall ok config-files/' status"""
USER = "alice.andersson"


class Host:
    """pk1 with the variables of inventories/lab, but a certificate that a person has issued."""

    def __init__(self, lab: Any, folder: Path) -> None:
        self.lab, self.requests, self.known = lab, folder / "requests", lab.status["hosts"]["pk1"]["passivekey"]
        self.package = str(package.wheel(folder))
        self.service = Service(folder, lab.files["ca_bundle"])
        self.password: str = lab.account(USER)["password"]

    def variables(self) -> dict[str, Any]:
        return {
            "passivekey_server_package": self.package,
            "passivekey_server_certificate": {},
            "certlogon_enrollment_method": "file",
            "passivekey_server_requests": str(self.requests),
        }

    def run(self, playbook: Callable[..., Any], *, changes: dict[str, Any] | None = None, **options: Any) -> Any:
        found = playbook(
            "certlogon.core.site",
            inventory=INVENTORY,
            arguments=["--limit", "passivekey_servers"],
            variables=self.variables() | (changes or {}),
            **options,
        )
        for secret in self.secrets():
            assert secret not in found.output
        return found

    def secrets(self) -> list[str]:
        """What no output may hold."""
        made = self.shell(
            "cat /etc/passivekey/passphrase /etc/passivekey/radius-* /etc/passivekey/sites/* 2>/dev/null | tr '\\n' ' '", check=False
        )
        return [self.known["password"], *self.known["radius_secrets"].values(), *made.split()]

    def shell(self, script: str, check: bool = True) -> str:
        return str(self.lab.run("pk1", "sh", "-c", script, check=check).stdout)

    def answer(self) -> None:
        """What the person does who carries the request."""
        files = Path(self.lab.files["folder"])
        command = ["openssl", "x509", "-req", "-in", self.requests / f"passivekey-{HOST}.csr", "-days", "90", "-copy_extensions", "copyall"]
        command += ["-CA", files / "issuing-ca.pem", "-CAkey", files / "issuing-ca.key"]
        issued = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout
        (self.requests / f"passivekey-{HOST}.answer").write_text(
            issued + "".join((files / name).read_text() for name in ("issuing-ca.pem", "root-ca.pem"))
        )

    def gateway(self) -> Gateway:
        return Gateway(self.lab.status["hosts"]["pk1"]["address"], self.known["radius_secrets"]["control"].encode(), timeout=12)

    def page(self, cookies: str = "") -> str:
        """Status and body of the protected site."""
        command = [
            "curl",
            "-sS",
            "-w",
            "%{http_code}",
            "--cacert",
            self.lab.files["ca_bundle"],
            "-H",
            f"Cookie: {cookies}",
            f"https://{SITE}/",
        ]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def host(passivekey_lab: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    found = Host(passivekey_lab, tmp_path_factory.mktemp("pk1"))
    found.shell(BARE)
    found.service.port = PORT
    yield found
    found.shell(BARE)


@pytest.fixture(scope="module")
def origin(host: Host) -> Iterator[Service]:
    """Where workstations find the server."""

    class Named(Service):
        @property
        def origin(self) -> str:
            return f"https://{NAME}:{PORT}"

    return Named(host.service.folder, host.service.ca, PORT)


def test_what_cannot_work_is_refused_before_anything_is_done(host: Host, playbook: Callable[..., Any]) -> None:
    wrong = {
        "passivekey_server_name": "Passivekey",
        "passivekey_server_package": "/nowhere/certlogon.whl",
        "passivekey_server_enrollment_groups": ["Domain Users"],
        "passivekey_server_radius_clients": [
            {"name": "gw1", "address": "0.0.0.0/0", "secret": "s" * 16},
            {"name": "gw 2", "address": "10.0.0.1", "secret": 'has "quotes" in it'},
        ],
        "passivekey_server_nginx_sites": [{"name": "intranet.corp.example", "backend": "127.0.0.1"}],
        "passivekey_server_settings": {"keys": {"passphrase": "file:/x"}, "lockout": 5, "tls": {"port": 1, "proxies": []}},
        "passivekey_server_passphrase_source": "here",
        "passivekey_server_keytab_path": "/nowhere/http.keytab",
        "passivekey_server_database": "postgresql+psycopg://passivekey:ge/heim@db.corp.example/passivekey",
        "passivekey_server_listen_address": "pk1",
        "passivekey_server_workers": 0,
        "passivekey_server_port": 443,
        "passivekey_server_secrets": {"pin": "123"},
    }
    told = host.run(playbook, changes=wrong, fails=True).failed[0].msg
    for words in (
        "passivekey_server_name Passivekey is no DNS name",
        "there is no file /nowhere/certlogon.whl",
        "there is no file /nowhere/http.keytab",
        "Domain Users is no SID",
        "address of gw1, 0.0.0.0/0",
        "gw 2 has other characters",
        "the secret of gw 2 has less than 16 characters, or blanks",
        "the backend of intranet.corp.example, 127.0.0.1",
        "passivekey_server_settings.keys.passphrase: the role sets that itself",
        "passivekey_server_settings.tls.port: the role sets",
        "passivekey_server_settings.lockout is no section",
        "passivekey_server_passphrase_source here",
        "passivekey_server_database has a password in it",
        "passivekey_server_listen_address pk1 is no IP address",
        "passivekey_server_workers 0 is not between 1 and 64",
        "passivekey_server_port 443 is the port of nginx",
        "passivekey_server_secrets.pin: give it",
    ):
        assert words in told, words
    assert "quotes" not in told and "heim" not in told
    assert not host.shell(f"ls -d {MADE} 2>/dev/null", check=False)


def test_check_on_an_empty_host(host: Host, playbook: Callable[..., Any]) -> None:
    """Says what would be, down to packages, and does nothing of it."""
    changes = {"passivekey_server_database": "postgresql+psycopg:///passivekey"}
    host.shell(FORGET_PACKAGE)
    try:
        run = host.run(playbook, check=True, changes=changes)
    finally:
        host.shell("mv /var/lib/dpkg/status-kept /var/lib/dpkg/status")
    assert "python3-psycopg would be installed" in run.output and "there is none" in run.output
    assert "+origin = " in run.output and "require_message_authenticator = yes" in run.output and "auth_request /_passivekey" in run.output
    assert not host.shell(f"ls -d {MADE} 2>/dev/null; id passivekey 2>/dev/null", check=False)


def test_the_first_run_waits_for_the_certificate(host: Host, playbook: Callable[..., Any]) -> None:
    run = host.run(playbook)
    assert run.changed and "Then run again." in run.output
    host.answer()
    run = host.run(playbook)
    assert f"{NAME} answers with a certificate that openssl trusts; RADIUS refuses a wrong password" in run.output


def test_again_nothing_changes(host: Host, playbook: Callable[..., Any]) -> None:
    assert not host.run(playbook).changed


def test_others_read_what_was_made(host: Host) -> None:
    ca = host.lab.files["ca_bundle"]
    tls = ["openssl", "s_client", "-connect", f"{NAME}:{PORT}", "-CAfile", ca, "-verify_return_error", "-verify_hostname", SITE, "-brief"]
    shown = subprocess.run(tls, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert "Verification: OK" in shown.stderr, shown.stderr
    keys = host.shell("klist -ke /etc/passivekey/http.keytab")
    assert f"HTTP/{NAME}@CORP.EXAMPLE (aes256" in keys and "arcfour" not in keys
    whole = host.shell("nginx -T 2>&1")
    assert "syntax is ok" in whole and whole.count("auth_request /_passivekey;") == 2
    judged = host.shell("freeradius -d /etc/passivekey/radius -XC")
    assert "Configuration appears to be OK" in judged and "start = 0" in judged
    words = 'User-Name = "alice.andersson"\\nUser-Password = "wrong"\\nMessage-Authenticator = 0x00\\n'
    asked = host.shell(f"printf '{words}' | radclient -x -b -S /etc/passivekey/radius-local 127.0.0.1 auth", check=False)
    assert "Access-Challenge" in asked and "Message-Authenticator" in asked, asked
    open_to_others = "find /etc/passivekey /var/lib/passivekey /var/log/passivekey /var/backups/passivekey -perm /o=r ! -type d ! -type l"
    readable = set(host.shell(open_to_others).split())
    assert {Path(path).name for path in readable if "/log/" not in path} <= {"ca.pem", "cert.pem", "applied.json"}
    for user in ("www-data", "nobody"):
        for secret in ("server.toml", "reader", "passphrase", "radius/clients.conf", "tls/current/key.pem", f"nginx/{SITE}.conf"):
            assert host.lab.run("pk1", "setpriv", f"--reuid={user}", "cat", f"/etc/passivekey/{secret}", check=False).returncode, secret


@pytest.fixture(scope="module")
def workstation(host: Host, origin: Service) -> Workstation:
    return Workstation(origin, "ROLE").enroll((USER, host.password))


def test_a_user_from_enrolment_to_site_and_vpn(host: Host, workstation: Workstation) -> None:
    assert host.page().endswith("401")
    page = host.page(f"__Host-passivekey={workstation.cookie()}")
    assert page.endswith("200") and f"user={USER}@corp.example" in page
    gateway = host.gateway()
    asked = gateway.ask(USER, host.password)
    assert asked is not None and (asked.code, asked.signed) == (CHALLENGE, True)
    code = workstation.code(at=30)
    answered = gateway.ask(USER, code, asked.attributes[STATE])
    assert answered is not None and (answered.code, answered.signed) == (ACCEPT, True)
    again = gateway.ask(USER, host.password)
    assert again is not None
    refused = gateway.ask(USER, code, again.attributes[STATE])
    assert refused is not None and refused.code == REJECT
    logs = host.shell("cat /var/log/passivekey/*.log")
    assert not [secret for secret in (host.password, *host.secrets()) if secret in logs]


# ---- where keys' passphrase and database are: from one place to another, and back


def settled(host: Host, playbook: Callable[..., Any], changes: dict[str, Any]) -> None:
    """Run again, and in check mode: nothing would change."""
    assert not host.run(playbook, changes=changes).changed
    assert not host.run(playbook, changes=changes, check=True).changed


TOKEN = """
set -eu
as_server() { setpriv --reuid passivekey --regid passivekey --groups softhsm "$@"; }
as_server softhsm2-util --init-token --free --label passivekey --so-pin 87654321 --pin "$1" > /dev/null
printf %s "$2" | as_server sh -c 'umask 077; cat > /var/lib/passivekey/phrase'
as_server pkcs11-tool --module /usr/lib/softhsm/libsofthsm2.so --token-label passivekey --login --pin "$1" --private --type data \\
    --label phrase --write-object /var/lib/passivekey/phrase > /dev/null
rm /var/lib/passivekey/phrase
"""
TOKEN_URI = "pkcs11:token=passivekey;object=phrase?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=/etc/passivekey/secrets/pin"


def test_the_passphrase_goes_to_a_token_and_back(host: Host, playbook: Callable[..., Any], workstation: Workstation) -> None:
    phrase, pin = host.shell("cat /etc/passivekey/passphrase"), str(secrets.randbelow(10**12)).zfill(12)
    host.lab.run("pk1", "sh", "-c", TOKEN, "sh", pin, phrase)
    changes = {
        "passivekey_server_passphrase_source": TOKEN_URI,
        "passivekey_server_secrets": {"pin": pin},
        "passivekey_server_user_groups": ["softhsm"],
    }
    process = host.shell("cat /run/passivekey-server.pid")
    wrong = host.run(playbook, changes=changes | {"passivekey_server_secrets": {"pin": "000000"}}, fails=True)
    assert "keys.passphrase: token 'passivekey'" in wrong.output
    assert host.shell("cat /run/passivekey-server.pid") == process and host.page().endswith("401"), "the one that runs goes on"
    run = host.run(playbook, changes=changes)
    assert run.changed and phrase not in run.output and pin not in run.output
    assert "absent" in host.shell("ls /etc/passivekey/passphrase 2> /dev/null || echo absent")
    settled(host, playbook, changes)
    host.shell("passivekey-run restart server")
    assert served(host, workstation), "its keys are the same"
    assert workstation.device in host.shell(f"passivekey user {USER}")
    assert "give it as passivekey_server_passphrase" in host.run(playbook, fails=True).failed[0].msg
    back = {"passivekey_server_passphrase": phrase}
    wrong = host.run(playbook, changes={"passivekey_server_passphrase": phrase[::-1]}, fails=True)
    assert "is not the one that the keys in" in wrong.failed[0].msg and phrase[::-1] not in wrong.output
    assert host.run(playbook, changes=back).changed
    settled(host, playbook, {})
    assert served(host, workstation)


def served(host: Host, workstation: Workstation) -> bool:
    """Whether a device's cookie opens the site, within the time that a start takes and a step lasts."""
    deadline = time.monotonic() + 70
    while not (page := host.page(f"__Host-passivekey={workstation.cookie()}") if listening(host) else "").endswith("200"):
        if time.monotonic() > deadline:
            return False
        time.sleep(2)
    return f"user={USER}@corp.example" in page


def listening(host: Host) -> bool:
    return "200" in host.shell(f"curl -sko /dev/null -w '%{{http_code}}' https://127.0.0.1:{PORT}/health || true")


class Postgresql:
    """On another host than the server: by TLS, with a password."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))[-1].parent
        self.address, self.password = host.lab.status["hosts"]["control"]["address"], f"a:b\\{secrets.token_hex(12)}"
        self.folder = folder
        certificate, key = server_certificate(host.lab.files, folder, "db.corp.example")
        (folder / "password").write_text(self.password)
        for path in (folder, certificate, key, folder / "password"):
            shutil.chown(path, "postgres", "postgres")
        self.user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        make = [*self.user, self.programs / "initdb", "-D", folder / "data", "-U", "passivekey", f"--pwfile={folder}/password"]
        subprocess.run([*make, "-E", "UTF8", "-A", "scram-sha-256", "-N"], check=True, capture_output=True, cwd=folder)
        (folder / "data/pg_hba.conf").write_text("hostssl all all all scram-sha-256\n")
        words = {"listen_addresses": self.address, "unix_socket_directories": folder, "ssl": "on"}
        words |= {"ssl_cert_file": certificate, "ssl_key_file": key}
        options = [part for name, value in words.items() for part in ("-c", f"{name}={value}")]
        self.command = [*self.user, self.programs / "postgres", "-D", folder / "data", *options]
        self.start()

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, cwd=self.folder)
        while subprocess.run([self.programs / "pg_isready", "-q", "-h", self.address], check=False).returncode:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.1)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)

    @property
    def url(self) -> str:
        how = f"hostaddr={self.address}&sslmode=verify-full&sslrootcert=/etc/passivekey/ca.pem"
        return f"postgresql+psycopg://passivekey@db.corp.example/postgres?{how}"


@pytest.fixture
def database(host: Host) -> Iterator[Postgresql]:
    if os.geteuid() != 0 or not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        pytest.skip("PostgreSQL is not installed, or this is not root")
    folder = Path(tempfile.mkdtemp(prefix="passivekey-pg"))
    found = Postgresql(host, folder)
    yield found
    found.stop()
    shutil.rmtree(folder)


OPEN_FILES = "find / -xdev -type f -perm /o=r ! -path '/proc/*' ! -path '/sys/*' ! -path '/usr/*' -print0 | xargs -0r grep -lF -- \"$1\""


def test_from_sqlite_to_postgresql_and_back(
    host: Host, origin: Service, playbook: Callable[..., Any], workstation: Workstation, database: Postgresql
) -> None:
    seen = {"passivekey_server_database": database.url.replace("passivekey@", "passivekey:geheim@")}
    refused = host.run(playbook, changes=seen, fails=True)
    assert "has a password in it" in refused.failed[0].msg and "geheim" not in refused.failed[0].msg
    changes = {"passivekey_server_database": database.url, "passivekey_server_database_password": database.password}
    wrong = host.run(playbook, changes=changes | {"passivekey_server_database_password": "another-one"}, fails=True)
    assert "password authentication failed" in wrong.output and "another-one" not in wrong.output
    assert host.page().endswith("401"), "the server goes on with what it has"
    host.shell("passivekey-backup")  # as does the command
    run = host.run(playbook, changes=changes)
    assert run.changed and database.password not in run.output
    told = host.shell("passivekey-restore $(ls /var/backups/passivekey/*.backup | tail -1)")
    assert "0 devices revoked" in told, told
    settled(host, playbook, changes)
    kept = host.shell("stat -c '%n %i' /etc/passivekey/pgpass*")
    wrong = host.run(playbook, changes=changes | {"passivekey_server_database_password": "another-one"}, fails=True)
    assert "passivekey_server_database_password was not put in place" in wrong.failed[0].msg and "another-one" not in wrong.output
    assert "password authentication failed" in wrong.failed[0].msg
    assert host.shell("stat -c '%n %i' /etc/passivekey/pgpass*") == kept and ".next" not in kept
    # codes of before the restore are refused for two minutes; who it is, is known at once
    assert workstation.proved("status")["state"] == "active"
    assert workstation.device in host.shell(f"passivekey user {USER}")
    later = Workstation(origin, "ON-POSTGRESQL").enroll((USER, host.password))
    host.shell("passivekey-backup")
    assert later.device in host.shell("cat $(ls /var/backups/passivekey/*.backup | tail -1)")
    assert database.password not in host.shell("ps axeww; cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    escaped = database.password.replace("\\", "\\\\").replace(":", "\\:")
    for text in (database.password, escaped):
        assert not host.lab.run("pk1", "sh", "-c", OPEN_FILES, "sh", text, check=False).stdout
    assert host.shell("stat -c %a,%U /etc/passivekey/pgpass") == "600,passivekey\n" and escaped in host.shell("cat /etc/passivekey/pgpass")
    database.stop()
    assert "passivekey: database:" in host.shell(f"passivekey user {USER} 2>&1 || true")
    database.start()
    host.shell(f"passivekey revoke --device {later.device}")
    assert host.run(playbook).changed, "back to SQLite"
    assert "absent" in host.shell("ls /etc/passivekey/pgpass 2> /dev/null || echo absent")
    assert not host.run(playbook).changed


def test_what_ends_is_started_again(host: Host) -> None:
    """What cron does each minute."""
    host.shell("kill -9 $(cat /run/passivekey-server.pid) $(cat /run/passivekey-radius.pid); nginx -s stop")
    host.shell("sh -c \"$(sed -n 's/^\\* \\* \\* \\* \\* root //p' /etc/cron.d/passivekey)\"")
    deadline = time.monotonic() + 20
    while not (
        page := host.page() if not host.lab.run("pk1", "passivekey-run", "status", "nginx", check=False).returncode else ""
    ).endswith("401"):
        assert time.monotonic() < deadline, page
        time.sleep(0.2)
    time.sleep(1)  # the server ends where the port is not free
    for service in ("server", "radius", "nginx"):
        host.shell(f"passivekey-run status {service}")
    asked = host.gateway().ask(USER, "wrong")
    assert asked is not None and asked.code in (CHALLENGE, REJECT)


def test_an_audit_finds_what_is_spoiled(host: Host, tmp_path: Path) -> None:
    host.shell("passivekey-backup")
    before = host.shell(FILES)
    found = look(host.lab, tmp_path, NAME, PORT)
    assert (set(found["fail"]), set(found["unknown"])) == (USUAL, UNKNOWN), found
    assert host.shell(FILES) == before, "looking changes nothing"
    observation = (tmp_path / "passivekey-pk1.json").read_text()
    assert not [secret for secret in host.secrets() if secret in observation]
    host.lab.samba_tool("user", "disable", USER)
    try:
        host.shell(KEEP + SPOIL)
        spoiled = look(host.lab, tmp_path, NAME, PORT)["fail"]
    finally:
        host.lab.samba_tool("user", "enable", USER)
        host.shell(UNDO)
    assert set(spoiled) == {*USUAL, *SPOILED}
    for control, says in SPOILED.items():
        assert says in spoiled[control]
    assert set(look(host.lab, tmp_path, NAME, PORT)["fail"]) == USUAL


def test_the_role_mends_what_an_audit_finds(host: Host, playbook: Callable[..., Any], tmp_path: Path) -> None:
    host.shell(SPOIL)
    host.shell("rm /etc/passivekey/sites/wiki.corp.example")  # a secret as such is as good as any other
    assert host.run(playbook).changed
    host.shell("passivekey-backup")
    assert set(look(host.lab, tmp_path, NAME, PORT)["fail"]) == USUAL


def test_what_the_server_or_freeradius_would_not_take_is_not_put_in_place(host: Host, playbook: Callable[..., Any]) -> None:
    before = host.shell("cat /etc/passivekey/server.toml; cat /run/passivekey-server.pid")
    run = host.run(playbook, changes={"passivekey_server_settings": {"lockout": {"acount_failures": 5}}}, fails=True)
    assert "lockout.acount_failures is no setting" in run.output
    assert host.shell("cat /etc/passivekey/server.toml; cat /run/passivekey-server.pid") == before
    assert host.page().endswith("401")
    reader = {
        "servers": ["dc1.corp.example"],
        "base": "DC=corp,DC=example",
        "username": host.known["username"],
        "password": "not-its-password",
    }
    run = host.run(playbook, changes={"passivekey_server_directory": reader}, fails=True)
    assert "directory: no domain controller answers as svc-passivekey@corp.example" in run.output and "not-its-password" not in run.output
    assert host.shell("cat /etc/passivekey/server.toml; cat /run/passivekey-server.pid") == before
    assert host.run(playbook).changed


def test_a_restored_server_forgets_no_revocation(host: Host, origin: Service, workstation: Workstation) -> None:
    host.shell("passivekey-backup")
    other = Workstation(origin, "LATER").enroll((USER, host.password))
    host.shell(f"passivekey revoke --device {workstation.device}")
    told = host.shell("passivekey-restore $(ls /var/backups/passivekey/*.backup | tail -1)")
    assert "1 devices revoked" in told
    found = [json.loads(line) for line in host.shell(f"passivekey user {USER} --json").splitlines()[1:]]
    assert {device["id"]: device["state"] for device in found} == {workstation.device: "revoked"}, "what was enrolled since is unknown"
    deadline = time.monotonic() + 20
    while not host.page().endswith("401"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    for gone in (workstation, other):
        with pytest.raises(ServerError):
            gone.proved("status")
    assert "passivekey.db" in host.shell("ls /var/lib/passivekey/before-*/").split()


def test_fronts_that_nobody_asks_for_are_taken_away(host: Host, playbook: Callable[..., Any]) -> None:
    run = host.run(playbook, changes={"passivekey_server_radius_clients": [], "passivekey_server_nginx_sites": []})
    assert run.changed
    assert not host.shell(
        "ls /etc/nginx/conf.d/passivekey.conf /etc/passivekey/nginx/* /etc/passivekey/radius/radiusd.conf 2>/dev/null", check=False
    )
    assert host.lab.run("pk1", "passivekey-run", "status", "radius", check=False).returncode
    assert "[radius]" not in host.shell("cat /etc/passivekey/server.toml")
