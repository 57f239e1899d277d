# SPDX-License-Identifier: GPL-3.0-or-later
"""Every variable of role passivekey_server: what it changes on the host, what is started anew for it, and what the server reads of it.

Ansible renders the role's files, the server's own loader reads the settings, and the role's own program says what runs with other files.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import runpy
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli", reason="this Python has no reader of TOML")

settings = pytest.importorskip("passivekey.server.settings", reason="what the server stands on is not installed")

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles/passivekey_server"
OPTIONS = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
DIRECTORY = {
    "servers": ["dc1.corp.example"],
    "base": "DC=corp,DC=example",
    "netbios": "CORP",
    "username": "svc@corp.example",
    "password": "the reader's",
}
CLIENT = {"name": "gw1", "address": "10.0.0.40", "secret": "0123456789abcdef"}
SITE = {"name": "intranet.corp.example", "backend": "http://127.0.0.1:8080"}
TOKEN = "pkcs11:token=t;object=o?module-path=/usr/lib/x.so&pin-source=/etc/passivekey/secrets/pin"
POSTGRESQL = "postgresql+psycopg://passivekey@db.corp.example/passivekey?sslmode=verify-full"

SETTINGS, UNIT, RUN, RADIUS, CLIENTS, NGINX = (
    "/etc/passivekey/server.toml",
    "/etc/systemd/system/passivekey.service",
    "/usr/local/sbin/passivekey-run",
    "/etc/passivekey/radius/radiusd.conf",
    "/etc/passivekey/radius/clients.conf",
    "/etc/nginx/conf.d/passivekey.conf",
)
RADIUS_UNIT = "/etc/systemd/system/passivekey-radius.service"
COMMAND, BACKUP, RESTORE = (f"/usr/local/sbin/passivekey{name}" for name in ("", "-backup", "-restore"))
INSTALLED = "/opt/passivekey/installed"
ALL = "server radius nginx"


RUNNING = {"systemd": True, "current": {"certificate": {"sha256": "x"}}}
NEW_PASSWORD = RUNNING | {"initialised": True, "differing": ["/etc/passivekey/pgpass"]}
NEXT_JUDGED = (
    "sh -c 'sed \"s|passfile=/etc/passivekey/pgpass|&.next|\" %s | /opt/passivekey/bin/passivekey --settings /dev/stdin check --whole'"
)


@dataclass(frozen=True)
class Case:
    """`value` of the variable (with `more` variables); files that differ then, services that are begun anew, and what the server reads."""

    value: Any
    files: tuple[str, ...] = ()
    begun: str = ""
    reads: Mapping[str, Any] | None = None
    computed: Mapping[str, Any] | None = None
    more: Mapping[str, Any] | None = None


def secret(name: str) -> str:
    return f"/etc/passivekey/{name}"


CASES: dict[str, list[Case]] = {
    "passivekey_server_package": [Case("certlogon==1.1.0", (INSTALLED,), "server")],
    "passivekey_server_name": [
        Case(
            "pk.corp.example",
            (SETTINGS, RADIUS, NGINX),
            ALL,
            {"origin": "https://pk.corp.example:8443", "rules.host": "pk.corp.example"},
            {"__passivekey_wanted.names": ["pk.corp.example", "intranet.corp.example"]},
        )
    ],
    "passivekey_server_port": [
        Case(9443, (SETTINGS, RADIUS, NGINX), ALL, {"port": 9443, "origin": "https://passivekey.corp.example:9443"}),
        Case(443, (SETTINGS, UNIT, RADIUS, NGINX), ALL, {"port": 443, "origin": "https://passivekey.corp.example"}),
    ],
    "passivekey_server_listen_address": [
        Case("10.0.0.5", (SETTINGS, NGINX), "server nginx", {"address": "10.0.0.5"}, {"__passivekey_near": "10.0.0.5"}),
        Case("::", (SETTINGS,), "server", {"address": "::"}, {"__passivekey_near": "127.0.0.1"}),
        Case("fd00::5", (SETTINGS, NGINX), "server nginx", {"address": "fd00::5"}, {"__passivekey_near": "[fd00::5]"}),
    ],
    "passivekey_server_workers": [Case(4, (UNIT, RUN), "server")],
    "passivekey_server_database": [
        Case(
            "sqlite:////var/lib/passivekey/other.db", (SETTINGS, RESTORE), "server", {"database": "sqlite:////var/lib/passivekey/other.db"}
        ),
        Case(POSTGRESQL, (SETTINGS, RESTORE, UNIT), "server", {"database": POSTGRESQL}),
    ],
    "passivekey_server_database_password": [
        Case(
            "a:b\\c",
            (SETTINGS, RESTORE, UNIT, secret("pgpass")),
            "server",
            {"database": f"{POSTGRESQL}&passfile=/etc/passivekey/pgpass"},
            {"files./etc/passivekey/pgpass": r"*:*:*:*:a\:b\\c", "judge": "/opt/passivekey/bin/passivekey --settings %s check"},
            {"passivekey_server_database": POSTGRESQL},
        ),
        Case(
            "another",
            (SETTINGS, RESTORE, UNIT, secret("pgpass")),
            "server",
            computed={"judge": NEXT_JUDGED},
            more={"passivekey_server_database": POSTGRESQL, "__passivekey_read": {}, "__passivekey": NEW_PASSWORD},
        ),
    ],
    "passivekey_server_directory": [
        Case(
            DIRECTORY | {"servers": ["dc2.corp.example"], "netbios": "OTHER"},
            (SETTINGS,),
            "server",
            {"directory.servers": ("dc2.corp.example",), "directory.netbios": "OTHER"},
        ),
        Case(DIRECTORY | {"password": 'ü"$\\ x98'}, (secret("reader"),), "server", {"directory.password": 'ü"$\\ x98'}),
        Case(
            DIRECTORY | {"base": "DC=b", "username": "b@b"}, (SETTINGS,), "server", {"directory.base": "DC=b", "directory.username": "b@b"}
        ),
    ],
    "passivekey_server_ca_path": [Case("OTHER", (secret("ca.pem"),), ALL)],
    "passivekey_server_keytab_path": [Case("", (SETTINGS, secret("http.keytab")), "server", {"keytab": None})],
    "passivekey_server_enrollment_groups": [
        Case(["S-1-5-21-9-9-9-513"], (SETTINGS,), "server", {"rules.enrollment_groups": frozenset({"S-1-5-21-9-9-9-513"})})
    ],
    "passivekey_server_administration_groups": [
        Case(["S-1-5-21-9-9-9-512"], (SETTINGS,), "server", {"administrators": frozenset({"S-1-5-21-9-9-9-512"})})
    ],
    "passivekey_server_settings": [
        Case(
            {"lockout": {"account_failures": 5, "for": 60}, "directory": {"remember": 0.5}, "audit": {"folder": "/srv/log/pk", "days": 30}},
            (SETTINGS, UNIT, BACKUP),
            "server",
            {
                "rules.account_failures": 5,
                "rules.locked_for": 60,
                "directory.remember": 0.5,
                "audit": Path("/srv/log/pk"),
                "audit_days": 30,
            },
            {"folders": ["/srv/log/pk"]},
        )
    ],
    "passivekey_server_secrets": [Case({"privacyidea": "token-of-it"}, (secret("secrets/privacyidea"),), "server")],
    "passivekey_server_passphrase_source": [
        Case("credential", (SETTINGS, UNIT, COMMAND), "server", {"passphrase": "credential:passivekey"}),
        Case(TOKEN, (SETTINGS, UNIT), "server", {"passphrase": TOKEN}, {"packages": ["python3-pkcs11"]}),
    ],
    "passivekey_server_passphrase": [Case("correct horse battery staple")],  # refused where it is another than that of the keys
    "passivekey_server_user_groups": [Case(["softhsm"], (UNIT, RUN), "server")],
    "passivekey_server_sites": [
        Case(
            {"wiki.corp.example:8443": "s" * 16},
            (SETTINGS, secret("sites/wiki.corp.example:8443")),
            "server",
            {"sites": {"intranet.corp.example": "made " * 4, "wiki.corp.example:8443": "s" * 16}},
        )
    ],
    "passivekey_server_nginx_sites": [
        Case([SITE | {"backend": "http://127.0.0.1:9090"}], (NGINX,), "nginx"),
        Case([], (SETTINGS, NGINX, RUN, secret("sites/intranet.corp.example"), secret("nginx/intranet.corp.example.conf")), "server nginx"),
    ],
    "passivekey_server_radius_clients": [
        Case([CLIENT | {"secret": "f" * 16}], (CLIENTS,), "radius"),
        Case(
            [],
            (
                *(SETTINGS, CLIENTS, RADIUS, RADIUS_UNIT, RUN, secret("radius-secret"), secret("radius-local")),
                *(secret("radius/bearer.conf"), secret("radius/local.conf")),
            ),
            "server radius",
            {"radius": ""},
        ),
    ],
    "passivekey_server_radius_port": [Case(1645, (RADIUS,), "radius"), Case(812, (RADIUS, RADIUS_UNIT), "radius")],
    "passivekey_server_backup_days": [Case(3, (BACKUP,))],
    "passivekey_server_certificate": [
        Case(
            {"organization": "Corp, Inc.", "key_type": "ec", "renew_before": 10},
            computed={
                "__passivekey_wanted.subject": "/O=Corp, Inc./CN=passivekey.corp.example",
                "__passivekey_wanted.key_type": "ec",
                "__passivekey_wanted.renew_before": 10,
            },
        )
    ],
}
IN_TASKS = {
    "passivekey_server_certificate_template": "place.yml",
    "passivekey_server_requests": "request.yml",
    "certlogon_enrollment_method": "request.yml",
    "certlogon_enrollment_url": "request.yml",
    "certlogon_enrollment_username": "request.yml",
    "certlogon_enrollment_password": "request.yml",
    "certlogon_enrollment_auth": "request.yml",
    "certlogon_enrollment_ca_path": "request.yml",
    "certlogon_enrollment_retry_denied": "../vars/main.yml",
    "passivekey_server_supervisor": "../vars/main.yml",
    "passivekey_server_python": "read_again.yml",
    "passivekey_server_prove": "main.yml",
}
"""Variables that change no file of a host that is made already, and where they are used."""

WANTED = {
    "private": "__passivekey_private_files + __passivekey_programs",
    "plain": "__passivekey_anchors + __passivekey_configuration + __passivekey_fronts + __passivekey_cron + __passivekey_units",
    "made": "__passivekey_made_secrets",
    "services": "__passivekey_services",
    "packages": "__passivekey_packages",
    "folders": "__passivekey_all_folders | map(attribute='path') | list",
    "installed": "__passivekey_installed",
    "judge": "__passivekey_judge_settings",
    "__passivekey_wanted": "__passivekey_wanted",
    "__passivekey_near": "__passivekey_near",
}


class Host:
    """What a rendering makes of a host: its files, and what would be begun anew."""

    def __init__(self, values: Mapping[str, Any], folder: Path) -> None:
        self.values = {name: values[words] for name, words in WANTED.items()}
        self.files = {file["path"]: base64.b64decode(file["content"]).decode(errors="replace") for file in self.values["private"]}
        self.files |= {file["path"]: file["content"] for file in self.values["plain"]}
        for made in self.values["made"]:
            self.files |= {made["path"]: "made " * 4, made["for"]: made["form"].replace("%s", "made")}
        self.files[INSTALLED] = self.values["installed"]
        self.folder = folder
        for path, content in self.files.items():
            file = folder / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
            file.chmod(0o600)

    def running(self, apply: ModuleType) -> dict[str, str]:
        """Each service that is wanted, and the digest of what it runs with."""
        here = str(self.folder)
        return {
            service["name"]: apply.digest([here + path for path in service["files"]]).replace(here, "")
            for service in self.values["services"]
            if service["wanted"]
        }

    def settings(self) -> Any:
        """As the server reads them, from files in this folder."""
        (self.folder / "server.toml").write_text(self.files[SETTINGS].replace('"/etc/passivekey/', f'"{self.folder}/etc/passivekey/'))
        return settings.load(self.folder / "server.toml")


@pytest.fixture(scope="module")
def apply() -> ModuleType:
    specification = importlib.util.spec_from_file_location("passivekey_apply", ROLE / "files/passivekey_apply.py")
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


NAMED = [(name, case) for name, cases in CASES.items() for case in cases]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Of a host with all of it, once more, and of each case; by one process, for Ansible is slow to start."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "ca.pem").write_text("a CA\n")
    (folder / "other.pem").write_text("another CA\n")
    always = {
        "inventory_hostname": "pk1.corp.example",
        "ansible_managed": "Ansible managed",
        "__passivekey": RUNNING,
        "__passivekey_wheel_digest": "",
        "__passivekey_keytab": base64.b64encode(b"\5\2keytab").decode(),
        "passivekey_server_package": "certlogon==1.0.0",
        "passivekey_server_name": "passivekey.corp.example",
        "passivekey_server_directory": DIRECTORY,
        "passivekey_server_ca_path": str(folder / "ca.pem"),
        "passivekey_server_keytab_path": str(folder / "http.keytab"),
        "passivekey_server_enrollment_groups": ["S-1-5-21-1-2-3-513"],
        "passivekey_server_radius_clients": [CLIENT],
        "passivekey_server_nginx_sites": [SITE],
    }
    cases = [{}, {}] + [{**(case.more or {}), name: case.value} for name, case in NAMED]
    for case in cases:
        if case.get("passivekey_server_ca_path") == "OTHER":
            case["passivekey_server_ca_path"] = str(folder / "other.pem")
    given: dict[str, Any] = {"role": str(ROLE), "always": always, "cases": cases, "wanted": list(WANTED.values())}
    command = [sys.executable, str(Path(__file__).with_name("rendering.py"))]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_every_variable_is_in_the_table() -> None:
    assert {*CASES, *IN_TASKS} == {*OPTIONS}
    for name, file in IN_TASKS.items():
        assert name in (ROLE / "tasks" / file).read_text(), name


def test_what_is_the_same_changes_nothing(rendered: list[dict[str, Any]], apply: ModuleType, tmp_path: Path) -> None:
    first, again = Host(rendered[0], tmp_path / "a"), Host(rendered[1], tmp_path / "b")
    assert first.files == again.files
    assert set(first.running(apply)) == {"server", "radius", "nginx"}


@pytest.mark.parametrize(
    ("number", "name", "case"), [(2 + at, *named) for at, named in enumerate(NAMED)], ids=[name for name, _case in NAMED]
)
def test_a_variable_changes_what_it_says(
    rendered: list[dict[str, Any]], apply: ModuleType, tmp_path: Path, number: int, name: str, case: Case
) -> None:
    # the same folder for both, for its path is part of the digest
    before = Host(rendered[0], tmp_path / "host")
    was = before.running(apply)
    (tmp_path / "host").rename(tmp_path / "before")
    after = Host(rendered[number], tmp_path / "host")
    now = after.running(apply)
    assert {path for path in {*before.files, *after.files} if before.files.get(path) != after.files.get(path)} == {*case.files}
    assert {service for service in ("server", "radius", "nginx") if was.get(service) != now.get(service)} == {*case.begun.split()}
    read = after.settings()
    for label, expected in (case.reads or {}).items():
        found: Any = read
        for part in label.split("."):
            found = getattr(found, part)
        if isinstance(found, str):
            found = found.replace(f"{after.folder}/etc", "/etc")
        assert found == expected, label
    for label, expected in (case.computed or {}).items():
        where, _dot, member = label.partition(".")
        value = after.files if where == "files" else after.values[where]
        value = value[member] if member else value
        if where in ("packages", "folders"):
            assert set(value) - set(before.values[where]) == set(expected)
        else:
            assert value == expected, label


def test_an_audit_looks_at_all_secrets_that_the_role_writes(
    rendered: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are given and those that are made, of each case, as control passivekey-secrets-protected has them."""
    audit = runpy.run_path(str(ROOT / "plugins/module_utils/compliance/observers/on_host/passivekey_state.py"), run_name="on_a_host")
    for number, values in enumerate(rendered):
        host = Host(values, tmp_path / str(number))
        here = f"{host.folder}/etc/passivekey"
        monkeypatch.setitem(audit["secret_files"].__globals__, "SETTINGS", f"{here}/server.toml")
        monkeypatch.setitem(audit["secret_files"].__globals__, "RADIUS", (f"{here}/radius",))
        given = [file["path"] for file in host.values["private"] if not int(file["mode"], 8) & 0o007]
        made = [path for made in host.values["made"] for path in (made["path"], made["for"])]
        looked_at = audit["secret_files"](tomllib.loads(host.files[SETTINGS].replace("/etc/passivekey", here)))
        assert {str(host.folder) + path for path in (*given, *made)} <= {*looked_at}


def test_settings_are_judged_with_the_password_that_is_beside_the_one_in_use(tmp_path: Path) -> None:
    """By the shell that Ansible's copy runs, with a judge that shows what it is given."""
    (tmp_path / "given").write_text(
        f'database = "{POSTGRESQL}&passfile=/etc/passivekey/pgpass"\npassword_file = "/etc/passivekey/pgpass"\n'
    )
    words = [word.replace("/opt/passivekey/bin/passivekey --settings /dev/stdin check --whole", "cat") for word in shlex.split(NEXT_JUDGED)]
    command = [word.replace("%s", str(tmp_path / "given")) for word in words]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert shown == (tmp_path / "given").read_text().replace("passfile=/etc/passivekey/pgpass", "passfile=/etc/passivekey/pgpass.next")
