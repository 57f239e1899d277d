# SPDX-License-Identifier: GPL-3.0-or-later
"""Role passivekey_server: its programs for the host, its templates beside the examples in docs, its units as systemd-analyze sees them."""

from __future__ import annotations

import base64
import getpass
import grp
import importlib.util
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jinja2
import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli", reason="this Python has no reader of TOML")

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles/passivekey_server"
EXAMPLES = ROOT / "docs/examples/passivekey"


def program(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A program of the role, with those of other roles that are given to it as modules."""
    for path in (ROOT / "roles/domain_controller_certificates/files", ROOT / "roles/ocserv_gateway/files", ROLE / "files"):
        monkeypatch.syspath_prepend(str(path))
    specification = importlib.util.spec_from_file_location(name, ROLE / f"files/{name}.py")
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


# ---- the keytab


def keytab(*entries: tuple[str, int]) -> bytes:
    """As MIT Kerberos writes it: file format 0x0502."""
    written = b"\5\2"
    for principal, kind in entries:
        name, realm = principal.split("@")
        words = [realm, *name.split("/")]
        entry = struct.pack(">H", len(words) - 1) + b"".join(struct.pack(">H", len(word)) + word.encode() for word in words)
        entry += struct.pack(">IIB", 1, 1700000000, 3) + struct.pack(">HH", kind, 16) + bytes(16) + struct.pack(">I", 3)
        written += struct.pack(">i", len(entry)) + entry + struct.pack(">i", -4) + bytes(4)  # and a hole
    return written


SERVICE = "HTTP/passivekey.corp.example"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (keytab((f"{SERVICE}@CORP.EXAMPLE", 18), (f"{SERVICE}@CORP.EXAMPLE", 17)), ""),
        (keytab((f"{SERVICE.lower()}@CORP.EXAMPLE", 18), ("host/pk1@CORP.EXAMPLE", 23)), ""),
        (keytab((f"{SERVICE}@CORP.EXAMPLE", 18), (f"{SERVICE}@CORP.EXAMPLE", 23)), "keys of arcfour-hmac; export it anew"),
        (keytab(("HTTP/other.corp.example@CORP.EXAMPLE", 18)), f"no key of {SERVICE}, but of HTTP/other.corp.example@CORP.EXAMPLE"),
        (keytab(), f"no key of {SERVICE}, but of nobody"),
        (b"not a keytab", "no keytab"),
        (keytab((f"{SERVICE}@CORP.EXAMPLE", 18))[:30], "cut off"),
    ],
)
def test_a_keytab_is_judged(content: bytes, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state = program("passivekey_state", monkeypatch)
    found = " ".join(state.keytab_problems(base64.b64encode(content).decode(), SERVICE))
    assert expected in found and bool(expected) == bool(found)


@pytest.mark.skipif(not shutil.which("klist"), reason="klist is not installed")
def test_klist_reads_the_keytabs_of_these_tests(tmp_path: Path) -> None:
    (tmp_path / "keytab").write_bytes(keytab((f"{SERVICE}@CORP.EXAMPLE", 18)))
    shown = subprocess.run(["klist", "-ke", tmp_path / "keytab"], capture_output=True, text=True, check=True).stdout
    assert f"{SERVICE}@CORP.EXAMPLE (aes256-cts" in shown


# ---- files with secrets


def test_secrets_are_made_once_and_nobody_else_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = program("passivekey_write", monkeypatch)
    me, mine = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
    made = {
        "path": f"{tmp_path}/f/secret",
        "owner": me,
        "for": f"{tmp_path}/f/front",
        "group": mine,
        "mode": "0640",
        "form": 'key = "%s"\n',
    }
    monkeypatch.setattr(write, "own", lambda path, _owner, _group, mode: path.chmod(int(mode, 8)))
    options: dict[str, Any] = {
        "folders": [{"path": f"{tmp_path}/f", "owner": me, "group": mine, "mode": "0700"}],
        "files": [{"path": f"{tmp_path}/f/given", "content": base64.b64encode(b"\0\xff").decode(), "group": mine, "mode": "0600"}],
        "made": [made],
        "passphrase": f"{tmp_path}/f/passphrase",
        "passphrase_given": "",
        "keys": f"{tmp_path}/f/keys.json",
    }
    write.main(options)
    first = {path.name: path.read_bytes() for path in (tmp_path / "f").iterdir()}
    assert first["given"] == b"\0\xff" and len(first["passphrase"]) >= 40
    assert first["front"] == b'key = "%b"\n' % first["secret"] and len(first["secret"]) >= 32
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "f").iterdir()} == {
        "given": "0o600",
        "passphrase": "0o600",
        "secret": "0o600",
        "front": "0o640",
    }
    (tmp_path / "f/front").write_text("spoilt")
    write.main(options | {"passphrase": ""})
    assert {path.name: path.read_bytes() for path in (tmp_path / "f").iterdir()} == first


CREDS = """#!/bin/sh
# systemd-creds encrypt|decrypt --name=passivekey FROM TO, which encrypts nothing
[ "$2 $4" = "--name=passivekey -" ] || exit 1
case $1 in encrypt) printf sealed:; cat ;; decrypt) sed s/^sealed:// "$3" ;; esac
"""


@pytest.fixture
def keeping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Keeps the passphrase of keys that are under PHRASE in a file of this name; what the file holds then."""
    keyring = pytest.importorskip("passivekey.server.keyring", reason="what the server stands on is not installed")
    keyring.Keyring.create(tmp_path / "keys.json", PHRASE, "CA", "passivekey.corp.example", 1700000000)
    write = program("passivekey_write", monkeypatch)
    monkeypatch.setattr(write, "own", lambda path, _owner, _group, mode: path.chmod(int(mode, 8)))
    monkeypatch.setattr(write, "PYTHON", Path(sys.executable))
    (tmp_path / "systemd-creds").write_text(CREDS)
    (tmp_path / "systemd-creds").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.chdir(ROOT)

    def keep(name: str, given: str = "") -> str:
        write.main({"passphrase": f"{tmp_path}/{name}", "passphrase_given": given, "keys": f"{tmp_path}/keys.json"})
        return (tmp_path / name).read_text()

    return keep


PHRASE = "correct horse battery staple"


def test_a_passphrase_goes_with_its_keys_from_a_file_to_systemd_and_back(keeping: Any, tmp_path: Path) -> None:
    (tmp_path / "passphrase").write_text(f"{PHRASE}\n")
    assert keeping("passphrase.cred") == f"sealed:{PHRASE}"
    (tmp_path / "passphrase").unlink()
    assert keeping("passphrase") == PHRASE


def test_a_passphrase_that_does_not_open_the_keys_is_not_kept(keeping: Any, tmp_path: Path) -> None:
    for given in ("another one of twenty characters", ""):
        with pytest.raises(SystemExit, match="is not the one that the keys in"):
            keeping("passphrase", given)
        assert not (tmp_path / "passphrase").exists()
    assert keeping("passphrase", PHRASE) == PHRASE


@pytest.mark.parametrize(
    ("there", "given", "kept", "expected"),
    [
        ([], "", "passphrase", "none"),
        (["keys.json"], "", "passphrase", "lost"),
        (["keys.json"], "given", "passphrase", "none"),
        (["keys.json", "passphrase.cred"], "", "passphrase", "none"),
        (["keys.json", "passphrase"], "", "passphrase.cred", "none"),
        (["keys.json", "passphrase"], "given", "passphrase", "other"),
        (["keys.json", "passphrase"], "text", "passphrase", "there"),
        (["keys.json", "passphrase.cred"], "given", "passphrase.cred", "there"),
        (["keys.json"], "", "", "there"),
    ],
)
def test_where_the_passphrase_is(
    there: list[str], given: str, kept: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in there:
        (tmp_path / name).write_text("text\n")
    options = {
        "passphrase": f"{tmp_path}/{kept}" if kept else "",
        "passphrase_given": given,
        "passphrases": [f"{tmp_path}/passphrase", f"{tmp_path}/passphrase.cred"],
        "keys": f"{tmp_path}/keys.json",
    }
    assert program("passivekey_state", monkeypatch).passphrase(options) == expected


@pytest.mark.parametrize(
    ("asked", "systemd", "expected"),
    [
        ("auto", True, ["cron.d", "keytab", "old-secret"]),
        ("auto", False, ["keytab", "old-secret", "unit"]),
        ("cron", True, ["keytab", "old-secret", "unit"]),
        ("systemd", True, ["cron.d", "keytab", "old-secret"]),
    ],
)
def test_what_is_no_longer_asked_for(
    asked: str, systemd: bool, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("swept/old-secret", "swept/secret", "keytab", "cron.d", "unit"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    options = {
        "files": dict.fromkeys(f"{tmp_path}/{name}" for name in ("swept/secret", "cron.d", "unit")),
        "made": [],
        "swept": [f"{tmp_path}/swept"],
        "not_always": [f"{tmp_path}/{name}" for name in ("keytab", "unit", "absent")],
        "supervisor": asked,
        "supervised": {"cron": [f"{tmp_path}/cron.d"], "systemd": [f"{tmp_path}/unit"]},
    }
    found = program("passivekey_state", monkeypatch).stale(options, systemd)
    assert sorted(Path(path).name for path in found) == expected


# ---- the database's password

DATABASE = """#!/bin/sh
# A judge: takes the password "good", read from where the URL says.
read -r url || true
grep -qx '[*]:[*]:[*]:[*]:good' "${url#*passfile=}" && exit
echo Traceback >&2
echo "database: password authentication failed" >&2
exit 1
"""


@pytest.fixture
def trying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A password is tried; the one in use is `old`."""
    password = program("passivekey_password", monkeypatch)
    monkeypatch.setattr("passivekey_write.own", lambda path, _owner, _group, mode: path.chmod(int(mode, 8)))
    monkeypatch.setattr(password, "PYTHON", tmp_path / "python")
    monkeypatch.setattr(password, "AS_SERVER", [])
    (tmp_path / "python").write_text(DATABASE)
    (tmp_path / "python").chmod(0o755)
    (tmp_path / "pgpass").write_text("*:*:*:*:old")
    (tmp_path / "pgpass").chmod(0o600)

    def attempt(secret: str) -> None:
        content = base64.b64encode(f"*:*:*:*:{secret}".encode()).decode()
        file = {"path": f"{tmp_path}/pgpass", "content": content, "owner": "passivekey", "group": "passivekey", "mode": "0600"}
        password.main(file | {"url": f"postgresql+psycopg://pk@db/pk?sslmode=require&passfile={tmp_path}/pgpass"})

    return attempt


def passwords(folder: Path) -> dict[str, tuple[str, str]]:
    return {path.name: (path.read_text().removeprefix("*:*:*:*:"), oct(path.stat().st_mode & 0o777)) for path in folder.glob("pgpass*")}


def test_a_password_that_the_database_does_not_take_leaves_the_one_in_use(trying: Callable[[str], None], tmp_path: Path) -> None:
    before = passwords(tmp_path)
    with pytest.raises(SystemExit, match=r"^database: password authentication failed$"):
        trying("wrong")
    assert passwords(tmp_path) == before


@pytest.mark.parametrize("secret", ["good", "old"])
def test_a_password_that_will_do_waits_beside_the_one_in_use(trying: Callable[[str], None], tmp_path: Path, secret: str) -> None:
    """So does the one in use itself, where only its owner or mode changes: then nobody is asked."""
    before = passwords(tmp_path)
    trying(secret)
    assert passwords(tmp_path) == before | {"pgpass.next": (secret, "0o600")}


def test_the_server_says_why_it_cannot_open_its_database(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("passivekey.server.store", reason="what the server stands on is not installed")
    password = program("passivekey_password", monkeypatch)
    monkeypatch.setattr(password, "PYTHON", Path(sys.executable))
    monkeypatch.setattr(password, "AS_SERVER", [])
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert password.refusal("sqlite:////nowhere.db") == ""
    assert password.refusal("postgresql+psycopg://pk@127.0.0.1:1/pk").startswith("database: ")


# ---- the package

FAKE_PYTHON = """#!/bin/sh
# Knows `-c`, `-m venv` and `-m pip install … WHEEL`; a wheel is the text of the program passivekey that it brings.
case "$*" in
    "-c "*) echo 3.13 ;;
    "-m venv "*) mkdir -p bin lib/python3.13 && ln -s "$0" bin/python3 ;;
    "-m pip install "*) for wheel; do :; done; cp "$wheel" bin/passivekey && chmod 755 bin/passivekey ;;
esac
"""


def test_a_package_that_does_not_run_leaves_the_one_before(tmp_path: Path) -> None:
    """First one, a broken one, a good one, and the same for another Python."""
    home, script = tmp_path / "opt", (ROLE / "files/install_package.sh").read_text()
    home.mkdir()
    for name in ("python3.13", "other3.13"):
        (tmp_path / name).write_text(FAKE_PYTHON)
        (tmp_path / name).chmod(0o755)

    def install(name: str, text: str, python: str = "python3.13") -> subprocess.CompletedProcess[str]:
        wheel = home / "wheels" / name / "certlogon-1-py3-none-any.whl"
        wheel.parent.mkdir(parents=True, exist_ok=True)
        wheel.write_text(f"#!/bin/sh\n{text}\n")
        command = ["sh", "-s", "--", str(tmp_path / python), str(wheel), f"certlogon {name}"]
        return subprocess.run(command, input=script.replace("/opt/passivekey", str(home)), capture_output=True, text=True, check=False)

    def state() -> tuple[str, str, list[str]]:
        text = (home / "bin/passivekey").read_text().splitlines()[1]
        return (home / "installed").read_text(), text, sorted(path.name for path in (home / "wheels").iterdir())

    assert install("one", "echo 1").returncode == 0 and state() == ("certlogon one", "echo 1", ["one"])
    broken = install("two", "exit 3")
    assert broken.returncode == 1 and "wheels/one/certlogon-1-py3-none-any.whl is in place as before" in broken.stderr
    assert state() == ("certlogon one", "echo 1", ["one", "two"])
    assert install("three", "echo 3").returncode == 0 and state() == ("certlogon three", "echo 3", ["three"])
    assert install("three", "echo 3", "other3.13").returncode == 0
    assert (home / "bin/python3").resolve().name == "other3.13"


# ---- what runs with which files


class Host:
    """Services that run where they were started; what was done to them."""

    def __init__(self, apply: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.apply, self.folder, self.running, self.done = apply, folder, set[str](), list[str]()
        (folder / "settings").write_text("a")
        monkeypatch.setattr(apply, "MARKS", folder / "applied.json")
        monkeypatch.setattr(apply, "PATIENCE", 0.3)
        monkeypatch.setattr(apply.Service, "control", self.control)
        monkeypatch.setattr(apply.Service, "answers", lambda service: service.name in self.running)

    def control(self, service: Any, action: str = "") -> bool:
        raise NotImplementedError

    def have(self, *, check: bool = False, wanted: bool = True, judge: str = "true") -> dict[str, Any]:
        service = {"name": "server", "wanted": wanted, "unit": "s.service", "judge": [judge], "port": ["tcp", "127.0.0.1", 1]}
        options = {"services": [service | {"files": [str(self.folder / "settings")]}], "systemd": False, "check": check}
        found: dict[str, Any] = self.apply.main(options)
        return found


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    apply = program("passivekey_apply", monkeypatch)
    found = Host(apply, tmp_path, monkeypatch)

    def control(service: Any, action: str) -> bool:
        if action == "status":
            return service.name in found.running
        found.done.append(action)
        (found.running.discard if action == "stop" else found.running.add)(service.name)
        return True

    monkeypatch.setattr(apply.Service, "control", control)
    return found


def test_only_what_runs_with_other_files_is_restarted(host: Host) -> None:
    assert host.have(check=True)["begun"] == ["server"] and not host.done
    assert host.have() == {"changed": True, "begun": ["server"], "wrong": []}
    assert not host.have()["changed"] and host.done == ["restart"]
    (host.folder / "settings").write_text("b")
    assert host.have()["changed"] and host.done == ["restart", "restart"]
    host.running.clear()  # it died
    assert host.have()["changed"] and len(host.done) == 3
    assert host.have(wanted=False)["begun"] == ["server"] and host.done[-1] == "stop"
    assert not host.have(wanted=False)["changed"]


def test_what_is_judged_wrong_goes_on_as_it_was(host: Host) -> None:
    host.have()
    (host.folder / "settings").write_text("spoilt")
    for _again in range(2):
        assert host.have(judge="false") == {"changed": True, "begun": ["server"], "wrong": ["server: false ended with code 1"]}
    assert host.done == ["restart"] and "server" in host.running


def test_what_does_not_answer_is_begun_again_the_next_time(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as deaf:
        deaf.setattr(host.apply.Service, "answers", lambda _service: False)
        assert "does not answer at tcp port 1" in host.have()["wrong"][0]
    assert host.have() == {"changed": True, "begun": ["server"], "wrong": []}


def test_numbers_are_texts_before_ansible_2_19(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apply = program("passivekey_apply", monkeypatch)
    monkeypatch.setattr(apply, "table", lambda _name: ["  1: 0100007F:0714 00000000:0000 07"])
    given = {"name": "radius", "wanted": True, "unit": "r.service", "judge": ["true"], "files": [], "port": ["udp", "127.0.0.1", "1812"]}
    assert apply.Service(given, False).answers()
    ocserv_state = program("passivekey_state", monkeypatch).ocserv_state
    wanted = {"key_type": "rsa", "key_length": "2048", "curve": "prime256v1"}
    private = subprocess.run(["openssl", "genrsa", "2048"], capture_output=True, text=True, check=True).stdout
    public = subprocess.run(["openssl", "pkey", "-pubout"], input=private, capture_output=True, text=True, check=True).stdout
    assert ocserv_state.key_fits(public, wanted) and not ocserv_state.key_fits(public, wanted | {"key_length": "3072"})


# ---- templates


VARIABLES: dict[str, Any] = {
    "ansible_managed": "Ansible managed",
    "__passivekey_origin": "https://passivekey.corp.example:8443",
    "__passivekey_near": "passivekey.corp.example",
    "__passivekey_tls": "/etc/passivekey/tls",
    "__passivekey_program": "/opt/passivekey/bin/passivekey",
    "__passivekey_state_folder": "/var/lib/passivekey",
    "__passivekey_audit": "/srv/log/passivekey",
    "__passivekey_radius": True,
    "__passivekey_nginx": True,
    "passivekey_server_name": "passivekey.corp.example",
    "passivekey_server_port": 8443,
    "passivekey_server_workers": 2,
    "passivekey_server_radius_port": 1812,
    "passivekey_server_radius_clients": [{"name": "gw1", "address": "10.0.0.40", "secret": "0123456789abcdef"}],
    "passivekey_server_nginx_sites": [{"name": "intranet.corp.example", "backend": "http://127.0.0.1:8080"}],
    "passivekey_server_passphrase_source": "file",
    "passivekey_server_backup_days": 14,
    "passivekey_server_user_groups": ["softhsm"],
    "__passivekey_sqlite": "",
    "__passivekey_audit_days": 365,
}


def rendered(name: str, **variables: Any) -> str:
    """A template with the settings that Ansible has, and the few filters and tests that it uses."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROLE / "templates"), trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"bool": bool, "to_json": json.dumps}
    environment.tests["match"] = lambda text, pattern: re.match(pattern, text) is not None
    return environment.get_template(name).render(VARIABLES | variables)


def lines(text: str, **replaced: str) -> list[str]:
    for before, after in replaced.items():
        text = text.replace(before, after)
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


def test_freeradius_is_configured_as_the_example_says() -> None:
    example = (EXAMPLES / "radiusd.conf").read_text().replace("$INCLUDE ${confdir}", "$INCLUDE /etc/passivekey/radius")
    found = lines(rendered("radiusd.conf.j2"))
    found.remove("$INCLUDE /etc/passivekey/radius/local.conf")
    assert found == lines(example)


def test_nginx_is_configured_as_the_example_says() -> None:
    example = (EXAMPLES / "nginx-site.conf").read_text()
    for name, ours in (
        ("/etc/passivekey/site.pem", "/etc/passivekey/tls/current/cert.pem"),
        ("/etc/passivekey/site.key", "/etc/passivekey/tls/current/key.pem"),
        ("/etc/passivekey/site-bearer.conf", "/etc/passivekey/nginx/intranet.corp.example.conf"),
    ):
        assert name in example
        example = example.replace(name, ours)
    assert lines(rendered("nginx-sites.conf.j2")) == lines(example)


def test_settings_are_toml_whatever_is_in_them() -> None:
    document = {
        "": {"origin": "https://pk.corp.example", "database": 'sqlite:////x"\\ä'},
        "enrollment": {"groups": ["S-1-5-21-1"], "devices": 3},
        "sites": {"intranet.corp.example:8443": "/etc/x"},
        "radius": {"refuse_wrong_password_at_once": True},
        "administration": {},
        "directory": {"remember": 0.5},
    }
    read = tomllib.loads(rendered("server.toml.j2", __passivekey_document=document))
    assert read == document[""] | {name: values for name, values in document.items() if name and values}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("source", ["file", "credential", "pkcs11:token=t;object=o"])
def test_systemd_takes_the_units_and_finds_them_hardened(tmp_path: Path, source: str) -> None:
    """In a root of their own, with programs that are there."""
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    for target in ("sysinit", "basic", "multi-user", "network-online", "shutdown", "timers"):
        (units / f"{target}.target").write_text("[Unit]\nDescription=x\n")
    for path in ("/opt/passivekey/bin/passivekey", "/usr/sbin/freeradius", "/usr/local/sbin/passivekey-backup"):
        file = Path(f"{tmp_path}{path}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("#!/bin/sh\n")
        file.chmod(0o755)
    names = ("passivekey.service", "passivekey-radius.service", "passivekey-backup.service", "passivekey-backup.timer")
    for name in names:
        (units / name).write_text(rendered(f"{name}.j2", passivekey_server_passphrase_source=source))
    verify = ["systemd-analyze", "verify", f"--root={tmp_path}", "--man=no", "--recursive-errors=no", *names]
    judged = subprocess.run(verify, capture_output=True, text=True, check=False)
    complaints = [line for line in judged.stderr.splitlines() if "passivekey" in line]
    assert not complaints and judged.returncode == 0, judged.stderr
    for name in names[:2]:
        security = ["systemd-analyze", "security", "--offline=true", f"--root={tmp_path}", "--threshold=25", name]
        rated = subprocess.run(security, capture_output=True, text=True, check=False)
        assert rated.returncode == 0, rated.stdout[-600:] + rated.stderr
    credential = "LoadCredentialEncrypted=passivekey:" in (units / "passivekey.service").read_text()
    assert credential == (source == "credential")
