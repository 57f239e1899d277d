# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that keeps an ocserv gateway: what ocserv is given to trust, whatever the CRLs are like. cryptography makes the CRLs."""

from __future__ import annotations

import argparse
import base64
import importlib.util
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ROLES = Path(__file__).resolve().parents[3] / "roles"
SHARED = ROLES / "domain_controller_certificates/files"
NOW = datetime.now(timezone.utc).replace(microsecond=0)
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="the program asks openssl")


def load(path: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


load(SHARED / "certlogon_crl.py", "certlogon_crl")
load(SHARED / "domain_controller_state.py", "domain_controller_state")
load(ROLES / "ocserv_gateway/files/certlogon_radius.py", "certlogon_radius")
keeper = load(ROLES / "ocserv_gateway/files/certlogon_gateway.py", "certlogon_gateway")
state = load(ROLES / "ocserv_gateway/files/ocserv_state.py", "ocserv_state")


class Authority:
    def __init__(self, name: str = "Users", parent: Authority | None = None, serial: int = 7, ca: bool = True) -> None:
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        issuer, key = (parent.name, parent.key) if parent else (self.name, self.key)
        builder = x509.CertificateBuilder(issuer, self.name, self.key.public_key(), serial, NOW - 24 * HOUR, NOW + 999 * HOUR)
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
        self.pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()

    def crl(self, *revoked: int, begins: datetime = NOW - HOUR, ends: datetime = NOW + 24 * HOUR) -> bytes:
        builder = x509.CertificateRevocationListBuilder(self.name, begins, ends).add_extension(x509.CRLNumber(1), critical=False)
        for serial in revoked:
            builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder(serial, NOW).build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


class Gateway:
    """A gateway without ocserv: the files that it would read."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.sources = folder / "state", folder / "sources"
        self.folder.mkdir()
        self.sources.mkdir()
        self.authorities: list[dict[str, Any]] = []
        self.further: dict[str, Any] = {}

    def trust(self, authority: Authority, name: str = "users", **changes: Any) -> None:
        entry = {"name": name, "subject": f"CN={name}", "pem": authority.pem, "crl": f"{name}.crl.pem", "checked": True, "anchor": True}
        entry |= {"verify": False, "points": False, "urls": [f"file://{self.sources}/{name}.crl"], "frequency": 1.0}
        self.authorities.append(entry | changes)

    def offer(self, crl: bytes | None, name: str = "users") -> None:
        path = self.sources / f"{name}.crl"
        path.unlink(missing_ok=True)
        if crl is not None:
            path.write_bytes(crl)

    @property
    def settings(self) -> dict[str, Any]:
        missing = str(self.folder / "none")
        fixed = {"folder": str(self.folder), "authorities": self.authorities, "without_crl": "refuse", "prove_again": True}
        return fixed | dict.fromkeys(("config", "groups", "certificate", "socket", "pid_file", "record", "log"), missing) | self.further

    def run(self, command: str = "refresh", **options: Any) -> tuple[int, dict[str, Any]]:
        asked = {"command": command, "check": False, "serial": [], "user": []} | options
        found: tuple[int, dict[str, Any]] = keeper.run(self.settings, argparse.Namespace(**asked))
        return found

    def trusted(self) -> list[str]:
        text = (self.folder / "trust.pem").read_text()
        return [one["name"] for one in self.authorities if one["pem"] in text]

    def gate(self) -> int:
        return int((self.folder / "gate").read_text())


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway(tmp_path)


@pytest.fixture
def ca(gateway: Gateway) -> Authority:
    found = Authority()
    gateway.trust(found)
    return found


def test_a_good_crl_opens_and_the_next_run_changes_nothing(gateway: Gateway, ca: Authority) -> None:
    gateway.offer(ca.crl(5))
    assert gateway.run(check=True)[1]["changes"] == ["CRL of users", "users let in"]
    assert list(gateway.folder.iterdir()) == []
    code, report = gateway.run()
    assert (code, gateway.trusted(), report["changed"]) == (0, ["users"], True)
    assert gateway.gate() == int((NOW + 24 * HOUR).timestamp())
    assert x509.load_pem_x509_crl((gateway.folder / "crl.pem").read_bytes()).get_revoked_certificate_by_serial_number(5)
    assert stat.S_IMODE((gateway.folder / "crl.pem").stat().st_mode) == 0o644
    assert gateway.run()[1]["changed"] is False


BAD: dict[str, Callable[[Authority], bytes | None]] = {
    "foreign": lambda ca: Authority().crl(),
    "expired": lambda ca: ca.crl(begins=NOW - 9 * HOUR, ends=NOW - HOUR),
    "of the future": lambda ca: ca.crl(begins=NOW + HOUR),
    "no CRL": lambda ca: b"<html>",
    "missing": lambda ca: None,
}


@pytest.mark.parametrize("kind", BAD)
def test_without_a_good_crl_nobody_gets_in_and_the_administrator_is_told(
    gateway: Gateway, ca: Authority, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.offer(BAD[kind](ca))
    assert (gateway.run()[0], gateway.trusted(), gateway.gate()) == (2, [], 0)
    assert "no certificate of it opens the gateway" in capsys.readouterr().err
    assert x509.load_pem_x509_crl((gateway.folder / "crl.pem").read_bytes()).issuer, "ocserv takes no empty file"
    assert json.loads((gateway.folder / "status.json").read_text())["code"] == 2
    gateway.offer(ca.crl())
    assert gateway.run("tick")[0] == 0
    assert gateway.trusted() == ["users"], "back by itself"


@pytest.mark.parametrize("kind", BAD)
def test_a_good_crl_in_place_stays_until_its_end(gateway: Gateway, ca: Authority, kind: str) -> None:
    gateway.offer(ca.crl(5, ends=NOW + HOUR))
    gateway.run()
    gateway.offer(BAD[kind](ca))
    code, report = gateway.run()
    assert (code, gateway.trusted(), gateway.gate()) == (1, ["users"], int((NOW + HOUR).timestamp()))
    assert "no usable CRL at file://" in report["authorities"][0]["trouble"]


def test_one_ca_is_shut_out_and_the_other_is_not(gateway: Gateway, ca: Authority) -> None:
    """A CA that is rolled over: same name, another key."""
    second = Authority()
    gateway.trust(second, "second")
    gateway.offer(ca.crl())
    gateway.offer(ca.crl(), "second")
    assert gateway.run()[0] == 2
    assert gateway.trusted() == ["users"]
    gateway.offer(second.crl(), "second")
    assert gateway.run()[0] == 0
    assert gateway.trusted() == ["users", "second"]


def test_a_crl_that_takes_too_long_to_read_keeps_no_other_from_being_fetched(
    gateway: Gateway, ca: Authority, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(gateway.further, "without_crl", "reject")
    second, asked, slow = Authority("Second"), keeper.crls.subprocess.run, b"-----BEGIN SLOW"
    gateway.trust(second, "second")
    gateway.offer(slow)
    gateway.offer(second.crl(17), "second")

    def run(command: list[str], **options: Any) -> Any:
        given = Path(command[command.index("-in") + 1]).read_bytes() if "-in" in command else b""
        if given.startswith(slow):
            raise subprocess.TimeoutExpired(command, options["timeout"])
        return asked(command, **options)

    monkeypatch.setattr(keeper.crls.subprocess, "run", run)
    assert gateway.run()[0] == 2
    assert gateway.trusted() == ["second"]
    assert "users.crl: openssl was not done" in capsys.readouterr().err


def test_a_ca_that_is_revoked_itself_is_shut_out(gateway: Gateway) -> None:
    root = Authority("Root")
    issuing = Authority("Issuing", root, serial=0xABC)
    gateway.trust(issuing, verify=True)
    gateway.offer(issuing.crl())
    assert "is not among the CAs" in gateway.run()[1]["authorities"][0]["problem"]
    gateway.trust(root, "root", anchor=False)
    gateway.offer(root.crl(), "root")
    assert gateway.run()[0] == 0
    assert gateway.trusted() == ["users"], "the one above is no anchor"
    gateway.offer(root.crl(0xABC, begins=NOW - HOUR / 2), "root")
    assert gateway.run()[1]["authorities"][0]["problem"] == "it is revoked by root"
    assert gateway.trusted() == []


@pytest.mark.parametrize("upwards", [True, False])
def test_what_is_below_a_revoked_ca_is_shut_out_in_whatever_order_they_are_given(gateway: Gateway, upwards: bool) -> None:
    root = Authority("Root")
    policy = Authority("Policy", root, serial=0xABC)
    issuing = Authority("Issuing", policy)
    given = [(issuing, "users", True), (policy, "policy", False), (root, "root", False)]
    for authority, name, anchor in given if upwards else reversed(given):
        gateway.trust(authority, name, anchor=anchor, verify=True)
        gateway.offer(authority.crl(), name)
    assert (gateway.run()[0], gateway.trusted()) == (0, ["users"])
    gateway.offer(root.crl(0xABC, begins=NOW - HOUR / 2), "root")
    assert (gateway.run()[0], gateway.trusted()) == (2, [])


def test_the_gate_knows_when_the_crl_of_a_ca_above_ends(gateway: Gateway) -> None:
    root = Authority("Root")
    issuing = Authority("Issuing", root)
    gateway.trust(issuing, verify=True)
    gateway.trust(root, "root", anchor=False)
    gateway.offer(issuing.crl())
    gateway.offer(root.crl(ends=NOW + 2 * HOUR), "root")
    gateway.run()
    assert gateway.gate() == int((NOW + 2 * HOUR).timestamp())
    gateway.authorities[0]["verify"] = False
    gateway.run()
    assert gateway.gate() == int((NOW + 24 * HOUR).timestamp()), "nobody asks for that one"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"authorities": [1]}', "null"])
def test_a_status_that_cannot_be_read_is_written_anew(gateway: Gateway, ca: Authority, content: str) -> None:
    gateway.offer(ca.crl())
    gateway.run()
    (gateway.folder / "status.json").write_text(content)
    assert gateway.run("tick")[0] == 0
    assert json.loads((gateway.folder / "status.json").read_text())["authorities"][0]["fetched"]


def test_a_lost_status_does_not_prolong_a_crl_that_cannot_be_fetched(gateway: Gateway, ca: Authority) -> None:
    gateway.further = {"unreachable_hours": 2}
    gateway.offer(ca.crl())
    gateway.run()
    gateway.offer(None)
    (gateway.folder / "status.json").unlink()
    os.utime(gateway.folder / "users.crl.pem", (0, NOW.timestamp() - 3 * 3600))
    assert (gateway.run("tick")[0], gateway.trusted()) == (2, [])


class Running(keeper.Server):  # type: ignore[name-defined, misc]
    """An ocserv that notes what is done to it."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        self.done = settings["done"]

    def ready(self) -> bool:
        return True

    def pid(self) -> int:
        return 1

    def needed(self, closed: bool) -> str:
        return ""

    def tested(self) -> str:
        return ""

    def reload(self) -> None:
        self.done.append("reload")

    def prove_again(self) -> list[str]:
        self.done.append("cut")
        return []

    def end(self, users: list[str]) -> list[str]:
        return []


def test_sessions_are_cut_also_after_a_run_that_died_with_the_new_crl_in_place(
    gateway: Gateway, ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    gateway.further = {"done": done}
    monkeypatch.setattr(keeper, "Server", Running)
    gateway.offer(ca.crl(5))
    gateway.run()
    gateway.offer(ca.crl(5, 6, begins=NOW - HOUR / 2))
    done.clear()

    def fails(*_arguments: Any) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as full:
        full.setattr(keeper.Files, "write", fails)
        with pytest.raises(OSError, match="No space"):
            gateway.run()
    assert done == []
    gateway.run("tick")
    assert done == ["reload", "cut"]
    done.clear()
    gateway.run()
    assert done == []


@pytest.mark.parametrize(
    ("needed", "refusal", "pid", "systemd", "wrong"),
    [
        ("reload", "", 1, False, ""),
        ("reload", "line 3: unknown option", 1, False, "ocserv refuses its configuration .*: line 3: unknown option; it was left as it is"),
        ("start", "no certificate", 0, False, "ocserv refuses its configuration .*: no certificate; it was left as it is"),
        ("", "", 0, False, "ocserv does not run; .*none says why"),
        ("", "", 0, True, "ocserv does not run; journalctl -u ocserv says why"),
    ],
)
def test_the_report_says_what_is_wrong_with_ocserv_itself(
    gateway: Gateway, ca: Authority, monkeypatch: pytest.MonkeyPatch, needed: str, refusal: str, pid: int, systemd: bool, wrong: str
) -> None:
    """Beside the exit code, which is the same for a CA that is shut out: the role fails for the one and not for the other."""
    gateway.further = {"done": [], "systemd": systemd}
    monkeypatch.setattr(keeper, "Server", Running)
    for name, value in {"needed": needed, "tested": refusal, "pid": pid, "wait": "", "note": None}.items():
        monkeypatch.setattr(Running, name, lambda _self, *_arguments, value=value: value)
    shut_out, report = gateway.run("apply")
    assert shut_out == 2 and re.fullmatch(wrong, report["wrong"])
    gateway.offer(ca.crl(5))
    gateway.run()
    code, report = gateway.run("apply")
    assert re.fullmatch(wrong, report["wrong"]), report["wrong"]
    assert code == (2 if wrong else 0)
    assert json.loads((gateway.folder / "status.json").read_text())["wrong"] == report["wrong"]


@pytest.mark.parametrize(
    ("before", "after", "action"),
    [
        ('auth = "certificate"', 'auth = "radius[config=/etc/radcli/radiusclient.conf]"', "restart"),
        ('auth = "certificate"', 'auth = "certificate"\nauth = "radius[config=/etc/radcli/radiusclient.conf]"', "restart"),
        ('auth = "certificate"', 'auth = "certificate"\nenable-auth = "plain[passwd=/etc/ocserv/passwd]"', "restart"),
        ("tcp-port = 443", "tcp-port=444", "restart"),
        ("max-clients = 10", "  max-clients = 20", "restart"),
        ("pin-file = /etc/ocserv/pin", "pin-file = /etc/ocserv/pin2", "restart"),
        ("ipv4-network = 10.85.2.0/24", "ipv4-network = 10.85.3.0/24", "restart"),
        ("cert-user-oid = 2.5.4.3", "cert-user-oid = 0.9.2342.19200300.100.1.1", "reload"),
        ("route = 10.84.0.0/24", "route = 10.84.0.0/24\nroute = 10.90.0.0/24", "reload"),
        ("auth-timeout = 240", "auth-timeout = 60", "reload"),
        ("dpd = 90", "dpd = 90", ""),
    ],
)
def test_what_ocserv_reads_at_its_start_only_has_it_start_again(tmp_path: Path, before: str, after: str, action: str) -> None:
    """A reload would leave it as it was, without a word."""
    (tmp_path / "groups").mkdir()
    (tmp_path / "cert.pem").write_text("one")
    (tmp_path / "pid").write_text(str(os.getpid()))
    files = {"config": tmp_path / "conf", "certificate": tmp_path, "groups": tmp_path / "groups"}
    files |= {"record": tmp_path / "record", "pid_file": tmp_path / "pid"}
    server = keeper.Server({name: str(path) for name, path in files.items()})
    server.pid = os.getpid
    (tmp_path / "conf").write_text(f"{before}\n")
    server.note()
    (tmp_path / "conf").write_text(f"{after}\n")
    assert server.needed(closed=False) == action
    server.note()
    (tmp_path / "cert.pem").write_text("another")
    assert server.needed(closed=False) == "reload", "live sessions stay"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize(("mode", "private"), [(0o600, True), (0o400, True), (0o640, False), (0o604, False), (None, True)])
def test_whether_the_key_is_roots_alone(tmp_path: Path, mode: int | None, private: bool) -> None:
    if mode is not None:
        (tmp_path / "key.pem").touch()
        (tmp_path / "key.pem").chmod(mode)
        os.chown(tmp_path / "key.pem", 0, 0)
    assert state.key_private(tmp_path / "key.pem") is private
    if private and mode:
        os.chown(tmp_path / "key.pem", 1000, 0)
        assert not state.key_private(tmp_path / "key.pem")


def _buried(pid: int) -> None:
    """What init does for it elsewhere."""
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)


def test_the_relay_to_radius_servers_is_kept(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Started, started again when it died or has something else to do, ended when nobody asks it any more. No CA is needed for that."""
    folder = gateway.folder / "radius"
    monkeypatch.setattr(keeper.radius, "PID_FILE", str(gateway.folder / "pid"))
    assert keeper.Relay({"radius": str(folder)}).needed() == "", "files that the role has not written yet are waited for"
    folder.mkdir()
    (folder / "relay.json").write_text(json.dumps({"port": 0, "patience": 1, "nas_identifier": "gw", "servers": []}))
    monkeypatch.setattr(keeper, "Server", Running)
    monkeypatch.setattr(keeper.radius, "PROGRAM", str(ROLES / "ocserv_gateway/files/certlogon_radius.py"))
    (folder / "servers").write_text("")
    gateway.further = {"done": [], "systemd": False}
    gateway.run()
    gateway.further = {"done": [], "systemd": False, "radius": str(folder), "log": str(gateway.folder / "log")}
    assert gateway.run("apply", check=True)[1]["relay"] == "start" and not (gateway.folder / "pid").exists()
    try:
        code, report = gateway.run("apply")
        assert (code, report["relay"], report["wrong"], report["changes"]) == (0, "start", "", ["RADIUS relay: start"])
        assert gateway.run("tick")[1]["changed"] is False
        pid = keeper.Relay(gateway.settings).running()[0]
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        assert gateway.run("tick")[1]["relay"] == "start"
        (folder / "servers").write_text("127.0.0.1 another-secret\n")
        pid = keeper.Relay(gateway.settings).running()[0]
        threading.Thread(target=_buried, args=(pid,), daemon=True).start()
        assert gateway.run("apply")[1]["changes"] == ["RADIUS relay: restart"]
    finally:
        gateway.further |= {"radius": ""}
        pid = keeper.Relay(gateway.settings).running()[0]
        burial = threading.Thread(target=_buried, args=(pid,), daemon=True)
        burial.start()
        assert gateway.run("apply")[1]["changes"] == ["RADIUS relay: stop"]
        burial.join(10)
    assert not Path(f"/proc/{pid}").exists()


def test_nobody_else_can_keep_it_from_running_by_a_lock(gateway: Gateway) -> None:
    (gateway.folder / ".lock").touch(0o644)
    with keeper.locked(gateway.folder, wait=False) as ours:
        assert ours and stat.S_IMODE((gateway.folder / ".lock").stat().st_mode) == 0o600
        with keeper.locked(gateway.folder, wait=False) as again:
            assert not again


def test_a_crl_that_cannot_be_fetched_counts_only_so_long(gateway: Gateway, ca: Authority) -> None:
    gateway.further = {"unreachable_hours": 2}
    gateway.offer(ca.crl())
    gateway.run()
    assert gateway.gate() <= (datetime.now(timezone.utc) + 2 * HOUR).timestamp()
    gateway.offer(None)
    status = gateway.folder / "status.json"
    status.write_text(status.read_text().replace(f'"fetched": "{datetime.now(timezone.utc):%Y-%m-%d}', '"fetched": "2020-01-01'))
    assert gateway.run()[0] == 2
    assert gateway.trusted() == []


def test_it_is_fetched_when_due_and_retried_now_and_then(gateway: Gateway, ca: Authority) -> None:
    now = datetime.now(timezone.utc)
    entry = gateway.trust(ca) or gateway.authorities[0]
    cases = [
        ({}, True),
        ({"fetched": now - HOUR / 2}, False),
        ({"fetched": now - 2 * HOUR}, True),
        ({"fetched": now - 2 * HOUR, "tried": now - HOUR / 60}, False),
        ({"fetched": now - 2 * HOUR, "tried": now - HOUR / 6}, True),
        ({"fetched": now - HOUR / 2, "problem": "expired"}, True),
        ({"fetched": now + HOUR}, True),
    ]
    for before, expected in cases:
        told = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in before.items()}
        assert keeper.due(entry, told, now) is expected, before


def test_serials_must_be_on_a_crl(gateway: Gateway, ca: Authority) -> None:
    gateway.offer(ca.crl(0x0A1B))
    assert gateway.run(serial=["0a:1b"])[0] == 0
    assert gateway.run(serial=["0A1C"])[0] == 2


def test_a_ca_without_status_checking_is_let_in(gateway: Gateway) -> None:
    gateway.trust(Authority(), checked=False)
    assert gateway.run()[0] == 0
    assert gateway.trusted() == ["users"] and gateway.gate() > 1 << 39


def test_the_gate_says_names_as_they_are(tmp_path: Path) -> None:
    template = (ROLES / "ocserv_gateway/templates/ocserv-gate.sh.j2").read_text()
    logger = tmp_path / "logger"
    logger.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/logged\n')
    logger.chmod(0o755)
    gate = tmp_path / "gate.sh"
    gate.write_text(template.replace("{{ __ocserv_state }}", str(tmp_path)))
    (tmp_path / "gate").write_text("0\n")
    name = "-f\\nroot\\c"
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "USERNAME": name, "IP_REAL": "192.0.2.1"}
    done = subprocess.run(["sh", gate], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1
    assert f"{name} from 192.0.2.1 refused" in done.stderr
    words = (tmp_path / "logged").read_text().splitlines()
    assert words[-2] == "--" and words[-1].startswith(f"{name} from")


def test_the_gates_arithmetic_in_sh(gateway: Gateway, tmp_path: Path) -> None:
    template = (ROLES / "ocserv_gateway/templates/ocserv-gate.sh.j2").read_text()
    gate = tmp_path / "gate.sh"
    gate.write_text(template.replace("{{ __ocserv_state }}", str(tmp_path)).replace("logger", "true"))
    for content, code in (("0\n", 1), (f"{1 << 40}\n", 0), (f"{int(NOW.timestamp()) - 1}\n", 1), ("", 1), ("later\n", 1), (None, 1)):
        (tmp_path / "gate").unlink(missing_ok=True)
        if content is not None:
            (tmp_path / "gate").write_text(content)
        done = subprocess.run(["sh", gate], capture_output=True, env={"PATH": "/usr/bin:/bin"}, check=False)
        assert (done.returncode != 0) is bool(code), content


# ---- reading the host


def given(pem: str) -> dict[str, Any]:
    return {"name": "", "data": base64.b64encode(pem.encode()).decode()}


def test_what_is_said_of_a_ca(ca: Authority) -> None:
    found = state.authority(given(ca.pem), NOW)
    assert (found["name"], found["subject"], found["problems"]) == ("Users", "CN=Users", [])
    der = x509.load_pem_x509_certificate(ca.pem.encode()).public_bytes(serialization.Encoding.DER)
    assert state.authority({"name": "", "data": base64.b64encode(der).decode()}, NOW)["pem"] == found["pem"]
    assert "is not the certificate of a CA" in state.authority(given(Authority("leaf", ca=False).pem), NOW)["problems"][0]
    assert "more than one certificate" in state.authority(given(ca.pem + Authority().pem), NOW)["problems"][0]
    for text in ("", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        assert state.authority(given(text), NOW)["problems"] == ["it is no certificate (PEM or DER)"]


@pytest.mark.parametrize(
    ("arguments", "key_type", "length"), [(("RSA", "rsa_keygen_bits:2048"), "rsa", 2048), (("EC", "ec_paramgen_curve:P-256"), "ec", 0)]
)
def test_a_request_fits_until_something_else_is_asked_for(tmp_path: Path, arguments: tuple[str, str], key_type: str, length: int) -> None:
    script = (ROLES / "ocserv_gateway/files/make_request.sh").read_text()
    subject = "/O=Corp \\+ Sons/CN=gw.corp.example"
    command = ["sh", "-s", "--", subject, "DNS:gw.corp.example,DNS:b", "-algorithm", arguments[0], "-pkeyopt", arguments[1]]
    subprocess.run(command, input=script, text=True, cwd=tmp_path, check=True)
    wanted = {
        "names": ["gw.corp.example", "b"],
        "subject": subject,
        "key_type": key_type,
        "key_length": length or 2048,
        "curve": "prime256v1",
    }
    assert state.request_fits(tmp_path, wanted)
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
    for change in ({"names": ["b"]}, {"subject": "/CN=x"}, {"key_type": "ec" if key_type == "rsa" else "rsa"}):
        assert not state.request_fits(tmp_path, wanted | change)


def test_a_given_pkcs12_becomes_key_chain_and_mark(tmp_path: Path) -> None:
    ca = Authority("Root")
    leaf = Authority("gw", ca, ca=False)
    command = ["openssl", "pkcs12", "-export", "-out", "given.p12", "-inkey", "k", "-in", "c", "-certfile", "r", "-passout", "pass:secret"]
    key = leaf.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for name, data in (("k", key), ("c", leaf.pem.encode()), ("r", ca.pem.encode())):
        (tmp_path / name).write_bytes(data)
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    script = (ROLES / "ocserv_gateway/files/take_pkcs12.sh").read_text()
    subprocess.run(["sh", "-s"], input=script, text=True, cwd=tmp_path, check=True, env={"PATH": "/usr/bin:/bin", "PASSPHRASE": "secret"})
    assert (tmp_path / "cert.pem").read_text() == leaf.pem + ca.pem
    assert len((tmp_path / "given").read_text().strip()) == 64 and not (tmp_path / "given.p12").exists()
