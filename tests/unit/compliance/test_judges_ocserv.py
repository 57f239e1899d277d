# SPDX-License-Identifier: GPL-3.0-or-later
"""VPN gateways with ocserv: each control on what passes, fails and cannot be known; and the observer on what a host brings."""

from __future__ import annotations

import base64
import json
import runpy
import subprocess
import sys
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation, load
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers import ocserv as observer
from ansible_collections.certlogon.core.plugins.module_utils.compliance.ocserv_observation import OcservObservation
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import run
from ansible_collections.certlogon.core.tests.unit.compliance.gate_samples import authority, device_pem, sha256
from ansible_collections.certlogon.core.tests.unit.compliance.judged import NOW, Case, at, check, incomplete, raised, rows

NAME = "vpn.corp.example"
UNREAD = {"unread": {"reason": "Permission denied", "right": "root on the gateway"}}
MISSING = {"missing": True}
FOLDER = "/var/lib/certlogon/vpn"
DIRECTIVES: dict[str, Any] = {
    "auth": ["certificate"],
    "ca-cert": [f"{FOLDER}/trust.pem"],
    "crl": [f"{FOLDER}/crl.pem"],
    "connect-script": ["/usr/local/lib/certlogon/ocserv-gate"],
    "cert-user-oid": ["2.5.4.3"],
    "cisco-client-compat": ["false"],
    "vhosts": [],
}


# ---- what there is, made by hand: all is well


def file(value: Any, **more: Any) -> dict[str, Any]:
    return {"is": value, "changed": at(-1), "mode": 0o644, **more}


def words(pem: str, issuer: str = "CN=Corp CA") -> dict[str, Any]:
    return {"pem": pem, "sha256": sha256(pem), "subject": "CN=Corp CA", "issuer": issuer}


def ca(**more: Any) -> dict[str, Any]:
    usual = {"name": "Corp CA", "sha256": authority().sha256, "checked": True, "anchor": True, "verify": False, "points": False}
    return {**usual, "pem": authority().pem, "urls": ["http://pki/a.crl"], "frequency": 1, **more}


def crl(**more: Any) -> dict[str, Any]:
    usual = {
        "name": "Corp CA",
        "issuer": "CN=Corp CA",
        "number": 7,
        "this_update": at(-2),
        "next_update": at(100),
        "entries": 1,
        "size": 400,
    }
    return {**usual, "delta": False, "signed_by": [authority().sha256], **more}


def settings(*authorities: dict[str, Any], **more: Any) -> dict[str, Any]:
    return file({"authorities": list(authorities) or [ca()], "without_crl": "refuse", "prove_again": True, **more})


def status(**more: Any) -> dict[str, Any]:
    return file({"at": at(0), "code": 0, "authorities": [{"name": "Corp CA", "problem": "", "trouble": ""}], **more})


def facts(expected: dict[str, Any] | None = None, **changed: Any) -> dict[str, Any]:
    declared: dict[str, Any] = {
        "server_names": [NAME],
        "device_certificate": {"key_type": "rsa", "key_length": 2048},
        "trusted_client_cas": [{"sha256": authority().sha256, "subject": "CN=Corp CA", "name": ""}],
        "user_name_attribute": "2.5.4.3",
        "dedicated_ca": True,
        "revoked_users": ["bob"],
    }
    own = device_pem(issuer="Other CA")
    usual: dict[str, Any] = {
        "expected": {**declared, **(expected or {})},
        "clock": at(0),
        "running": True,
        "systemd": True,
        "timer_active": True,
        "timer_enabled": True,
        "cron_running": False,
        "version": "OpenConnect VPN Server 1.3.0",
        "key_mode": 0o600,
        "sessions": [{"user": "alice", "since": at(-0.5)}],
        "configuration": file(DIRECTIVES),
        "settings": settings(),
        "status": status(),
        "certificate": file([words(own, "CN=Other CA")]),
        "trust": file([words(authority().pem)]),
        "gate": file(int(NOW.timestamp()) + 100 * 3600),
        "connect_script": file({"gate": True}),
        "program": file({"there": True}),
        "cron": MISSING,
        "crls": file([crl()]),
        "users_port": [{"host": NAME, "port": 443, "server_name": NAME, "version": "TLSv1.3", "certificates": [own]}],
        "tls_versions": {"TLSv1": False, "TLSv1.1": False, "TLSv1.2": True, "TLSv1.3": True},
    }
    return {**usual, **changed}


def directives(**changed: Any) -> dict[str, Any]:
    return facts(configuration=file({**DIRECTIVES, **{name.replace("_", "-"): value for name, value in changed.items()}}))


def codes(sign_in: str, *auth: str, **changed: Any) -> dict[str, Any]:
    """A gateway whose inventory says what else opens it; RADIUS is asked by the relay."""
    own = {"auth": list(auth), **{name.replace("_", "-"): value for name, value in changed.items()}}
    kept = {name: value for name, value in DIRECTIVES.items() if sign_in != "radius" or name in ("cisco-client-compat", "vhosts")}
    return facts({"sign_in": sign_in}, configuration=file({**kept, **own}))


RADIUS = "radius[config=/etc/ocserv/certlogon/radius/radiusclient.conf,groupconfig=false,nas-identifier=gw]"


def own(pem: str) -> dict[str, Any]:
    return facts(certificate=file([words(pem)]))


def newer(**more: Any) -> dict[str, Any]:
    usual = {"signed_by": [authority().sha256], "number": 8, "this_update": at(-10), "next_update": at(90), "next_publish": None}
    return {"crls": {"crls": [{"url": "http://pki/a.crl", "lists": [{**usual, "delta": False, **more}]}]}}


OTHER = authority("Other CA")
GONE = {"where": "config (gone.pem)", "problem": "gone.pem: no such file"}

CASES: dict[str, list[Case]] = {
    "ocserv-certificate-required": [
        Case(facts(), "pass"),
        Case(directives(auth=["pam"]), "fail", "Who has no certificate gets in"),
        Case(directives(**{"enable-auth": ["plain[passwd=/etc/ocserv/passwd]"]}), "fail", "enable-auth"),
        Case(directives(**{"cisco-client-compat": ["true"]}), "fail", "A cookie opens"),
        Case(directives(vhosts=["b.example"]), "unknown", "virtual hosts b.example"),
        Case(codes("certificate_and_radius", "certificate", RADIUS), "pass"),
        Case(codes("certificate_and_radius", "certificate"), "fail", "A card alone opens the gateway"),
        Case(codes("certificate_and_radius", RADIUS), "fail", "Who has no certificate gets in"),
        Case(codes("certificate", RADIUS), "fail", "Who has no certificate gets in"),
        Case(codes("radius", RADIUS), "pass"),
        Case(codes("radius", "certificate"), "fail", "No RADIUS server is asked"),
        Case(codes("radius", RADIUS, enable_auth=["plain[passwd=/x]"]), "fail", "there is plain[passwd=/x] too"),
        Case(codes("certificate_or_radius", RADIUS, enable_auth=["certificate"]), "pass"),
        Case(codes("radius", RADIUS, enable_auth=["certificate"]), "fail", "there is certificate too"),
        Case(facts(configuration=UNREAD), "unknown", "Permission denied"),
        Case(facts(configuration=MISSING), "unknown", "role ocserv_gateway"),
    ],
    "ocserv-trusted-client-ca": [
        Case(facts(), "pass"),
        Case(directives(**{"ca-cert": ["/etc/ssl/all.pem"]}), "fail", "nobody closes", {"ca_cert": "/etc/ssl/all.pem"}),
        Case(facts(trust=file([words(authority().pem), words(OTHER.pem)])), "fail", "in no configuration", {"sha256": OTHER.sha256}),
        Case(facts({"trusted_client_cas": []}), "fail", "declared nowhere", {"opens": True}),
        Case(facts({"trusted_client_cas": [{"sha256": OTHER.sha256}]}, settings=settings(ca(sha256="0"))), "fail"),
        Case(facts({"trusted_client_cas": [GONE]}), "unknown", "no such file"),
        Case(facts(trust=UNREAD), "unknown", "Permission denied"),
    ],
    "ocserv-purposes": [
        Case(facts(), "pass"),
        Case(facts({"dedicated_ca": False}), "fail", "NOT ENFORCEABLE", {"dedicated_ca": False}),
        Case(own(device_pem()), "fail", "has issued the gateway's own", {"issued_the_gateways_own": True}),
        Case(facts(trust=UNREAD), "unknown", "Permission denied"),
    ],
    "ocserv-user-names": [
        Case(facts(), "pass"),
        Case(directives(**{"cert-user-oid": ["0.9.2342.19200300.100.1.1"]}), "fail", "not from 2.5.4.3", {"declared": "2.5.4.3"}),
        Case(facts(configuration=MISSING), "unknown", "no such file"),
    ],
    "ocserv-crl-checking": [
        Case(facts(), "pass"),
        Case(facts(settings=settings(ca(checked=False))), "fail", "nothing is checked", {"checked": False}),
        Case(directives(crl=[]), "fail", "no file"),
        Case(facts(settings=MISSING), "unknown", "no such file"),
    ],
    "ocserv-crl-in-use": [
        Case(facts(), "pass"),
        Case(facts(crls=file([crl(next_update=at(-1))])), "fail", "It ended on", {"next_update": at(-1)}),
        Case(facts(crls=file([crl(signed_by=[])])), "fail", "none that this CA has signed"),
        Case(facts(crls=file([]), trust=file([])), "fail", "is shut out"),
        Case(facts(crls={"problem": "is no CRL"}), "fail", "none that this CA has signed"),
        Case(facts(crls=file([crl(this_update=at(-200), next_update=at(5))])), "fail", "ends in 5.0 hours", {"hours_left": 5.0}),
        Case(facts(), "fail", "number 8 has been at http://pki/a.crl", {"number": 7}, others=newer()),
        Case(facts(), "pass", others=newer(this_update=at(-1.5))),
        Case(facts(crls=UNREAD), "unknown", "Permission denied"),
    ],
    "ocserv-closed-without-crl": [
        Case(facts(), "pass"),
        Case(facts(crls=file([crl(next_update=at(-1))])), "fail", "revoked cards included", {"opens": True}),
        Case(facts(crls=file([crl(next_update=at(-1))]), trust=file([])), "pass"),
        Case(facts(crls=file([]), trust=file([]), settings=settings(without_crl="stop")), "fail", "but it runs", {"running": True}),
        Case(facts(crls=file([]), trust=file([]), settings=settings(without_crl="stop"), running=False), "pass"),
        Case(facts(trust=UNREAD), "unknown", "Permission denied"),
    ],
    "ocserv-gate": [
        Case(facts(), "pass"),
        Case(directives(**{"connect-script": []}), "fail", "asks nobody"),
        Case(facts(connect_script=MISSING), "fail", "and not the gate"),
        Case(facts(gate=file(0)), "fail", "It is closed", {"until": 0}),
        Case(facts(gate=file(int(NOW.timestamp()) + 101 * 3600)), "fail", "open for longer"),
        Case(facts(gate=MISSING), "fail", "Its time is not there"),
        Case(facts(gate=UNREAD), "unknown", "Permission denied"),
    ],
    "ocserv-timer": [
        Case(facts(), "pass"),
        Case(facts(timer_active=False), "fail", "Neither its timer nor its cron job"),
        Case(facts(timer_enabled=False), "fail", "after the next boot", {"timer_enabled": False}),
        Case(facts(timer_active=None, timer_enabled=None, cron=file({"tick": True}), cron_running=True), "pass"),
        Case(facts(timer_active=None, timer_enabled=None, cron=file({"tick": True})), "fail", "Neither"),
        Case(facts(program=MISSING), "fail", "is not on the gateway"),
        Case(facts(program=UNREAD), "unknown", "Permission denied"),
    ],
    "ocserv-last-run": [
        Case(facts(), "pass"),
        Case(facts(status=status(at=at(-1))), "fail", "60 minutes ago", {"minutes_ago": 60.0}),
        Case(
            facts(status=status(code=1, authorities=[{"name": "Corp CA", "problem": "", "trouble": "no usable CRL"}])),
            "fail",
            "Corp CA: no usable CRL",
            {"code": 1, "troubles": ["Corp CA: no usable CRL"]},
        ),
        Case(facts(status=MISSING), "fail", "never come to its end"),
        Case(facts(status=UNREAD), "unknown", "Permission denied"),
    ],
    "ocserv-running": [
        Case(facts(), "pass"),
        Case(facts(running=False), "fail", "does not run", {"running": False}),
        Case(facts(running=False, trust=file([]), settings=settings(without_crl="stop")), "pass"),
        Case(facts(running=UNREAD), "unknown", "Permission denied"),
    ],
    "ocserv-clock": [
        Case(facts(), "pass"),
        Case(facts(clock=at(-1)), "fail", "3600 seconds behind", {"seconds": -3600}),
        Case(facts(clock=UNREAD), "unknown", "Permission denied"),
    ],
    "ocserv-revoked-sessions": [
        Case(facts(), "pass"),
        Case(facts(sessions=[{"user": "Bob", "since": at(-5)}]), "fail", "was revoked", {"since": at(-5)}),
        Case(facts(sessions=[{"user": "alice", "since": at(-5)}], settings=settings(prove_again=False)), "unknown", "is not known"),
        Case(facts(sessions=UNREAD), "unknown", "Permission denied"),
    ],
    "ocserv-device-certificate": [
        Case(facts(), "pass"),
        Case(facts({"server_names": ["b.corp.example"]}), "fail", "is not for b.corp.example", {"names": [NAME]}),
        Case(facts({"device_certificate": {"key_type": "ec"}}), "fail", "has a key of the kind RSA 2048, not EC secp256r1"),
        Case(facts({"device_certificate": {"pkcs12_path": "x"}}), "pass"),
        Case(facts(certificate=MISSING), "fail", "There is none"),
        Case(facts(certificate=file([{**words(device_pem()), "pem": "garbage"}])), "unknown", "cannot be judged"),
        Case(facts(certificate=UNREAD), "unknown", "Permission denied"),
    ],
    "ocserv-device-certificate-days-left": [
        Case(facts(), "pass"),
        Case(own(device_pem(life=(-300, 20))), "fail", "expires in"),
        Case(facts(certificate=UNREAD), "unknown", "Permission denied"),
    ],
    "ocserv-device-certificate-strength": [
        Case(facts(), "pass"),
        Case(own(device_pem(bits=1024)), "fail", "1024 bits"),
        Case(facts(certificate=UNREAD), "unknown", "Permission denied"),
    ],
    "ocserv-private-key": [
        Case(facts(), "pass"),
        Case(facts(key_mode=0o640), "fail", "may read it", {"mode": "0640"}),
        Case(facts(key_mode=None), "unknown", "There is none"),
    ],
    "ocserv-users-port": [
        Case(facts(), "pass"),
        Case(own(device_pem(life=(-10, 300))), "fail", "none of the gateway's own"),
        Case(facts(certificate=MISSING), "unknown", "is not known"),
        Case(facts(users_port=UNREAD), "unknown", "Permission denied"),
    ],
    "ocserv-users-port-chain": [
        Case(facts({"anchors": OTHER.pem, "anchor_path": "root.pem"}), "pass"),
        Case(facts({"anchors": authority().pem, "anchor_path": "root.pem"}), "fail", "none of the trusted roots", {"roots": "root.pem"}),
        Case(facts(), "unknown", "no domain is in this run"),
    ],
    "ocserv-tls-versions": [
        Case(facts(), "pass"),
        Case(facts(tls_versions={"TLSv1": True, "TLSv1.1": False, "TLSv1.2": True}), "fail", "still takes TLSv1"),
        Case(facts(tls_versions=UNREAD), "unknown", "Permission denied"),
    ],
}


def test_every_control_has_cases() -> None:
    assert incomplete("85-ocserv", CASES) == []


def test_not_knowing_turns_no_failure_into_a_pass() -> None:
    assert raised(CASES) == []


@pytest.mark.parametrize(("control", "case"), rows(CASES))
def test_verdicts(control: str, case: Case) -> None:
    check(control, case)


# ---- the observer


@cache
def script() -> dict[str, Any]:
    return runpy.run_path(str(Path(observer.__file__).parent / "on_host" / "ocserv_state.py"), run_name="on_a_host")


def brought(**files: str) -> str:
    def packed(text: str) -> dict[str, Any]:
        return {"content": base64.b64encode(zlib.compress(text.encode())).decode(), "changed": NOW.timestamp(), "mode": 0o644}

    names = script()["FILES"]
    found = {"files": {name: packed(files[name]) if name in files else {"missing": True} for name in names}}
    about = {"now": NOW.timestamp(), "running": True, "systemd": False, "timer_active": None, "timer_enabled": None, "cron_running": True}
    about["relay_running"] = False
    sessions = {"sessions": [{"user": "alice", "since": NOW.timestamp() - 60}]}
    return json.dumps({**found, **about, "version": "1.3.0", "key_mode": 0o600, "sessions": sessions})


def observed(folder: Path, answer: dict[str, Any], expected: dict[str, Any] | None = None) -> tuple[dict[str, Any], Observation]:
    ran = []

    def execute(command: str, given: bytes) -> dict[str, Any]:
        ran.append((command, given))
        return answer

    resource = OcservObservation(execute, "root", "10.0.0.1")
    params = {"folder": str(folder), "name": "gw1", "python": "/usr/bin/python3", "expected": expected or {}}
    result = run(resource, params, check_mode=False, warn=print)
    ((command, given),) = ran
    assert command == "/usr/bin/python3 -" and given.startswith(b"# SPDX")
    return result, load(Path(result["observation"]))


def test_what_a_host_brings_becomes_facts(tmp_path: Path) -> None:
    one, other = authority(), OTHER
    gateway = {
        "folder": FOLDER,
        "without_crl": "refuse",
        "prove_again": True,
        "authorities": [{**ca(), "subject": "CN=Corp CA", "crl": "a.pem"}],
    }
    text = pem_crl(one.crl(1, 2)) + pem_crl(other.crl())
    answer = brought(
        settings=json.dumps(gateway),
        configuration=f'auth = "certificate"\n# auth = "pam"\nca-cert = {FOLDER}/trust.pem\n\n[vhost:b]\nauth = "pam"\n',
        trust=one.pem,
        certificate=device_pem(),
        crls=text,
        gate="1800000000\n",
        radius="# authserver 10.0.0.9\nauthserver 127.0.0.1:1812,127.0.0.2:1812\nservers /x\n",
        cron="* * * * * root /usr/local/sbin/certlogon-gateway tick 2>&1\n",
        status="{",
    )
    entry = {"certificate": {"content": one.pem}, "primary_cdp": "file:/tmp/x.crl", "crl_download_frequency": 0.5}
    expected = {"trusted_client_cas": [entry], "device_certificate": {"pkcs12_passphrase": "TOPSECRET"}}
    result, seen = observed(tmp_path, {"rc": 0, "stdout": f"Welcome to gw1\n{answer}\n"}, expected)
    assert [found["sha256"] for found in seen.facts["expected"]["trusted_client_cas"]] == [one.sha256]
    assert "TOPSECRET" not in json.dumps(seen.facts)
    assert result["asked"] == {"ssh ocserv_state": 1} and result["unread"] == ["tls_versions", "users_port"]
    assert (seen.account, seen.servers) == ("root", ["10.0.0.1"])
    configuration = seen.facts["configuration"]["is"]
    assert configuration["auth"] == ["certificate"] and configuration["vhosts"] == ["b"]
    assert [found["signed_by"] for found in seen.facts["crls"]["is"]] == [[one.sha256], []]
    assert [(found["status"], found["entries"]) for found in seen.crls] == [("good", 2), ("foreign", 0)]
    assert seen.facts["radius"]["is"] == ["127.0.0.1", "127.0.0.2"] and seen.facts["relay_running"] is False
    assert seen.facts["gate"]["is"] == 1800000000 and seen.facts["cron"]["is"] == {"tick": True}
    assert "is no JSON" in seen.facts["status"]["problem"] and seen.facts["timer_active"] is None
    assert [found["use"] for found in seen.certificates] == ["device", "root"]
    assert [(found["url"], found["issuer"] == one.pem) for found in seen.cdps] == [("http://pki/a.crl", True)]


def pem_crl(der: bytes) -> str:
    text = base64.encodebytes(der).decode()
    return f"-----BEGIN X509 CRL-----\n{text}-----END X509 CRL-----\n"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"rc": 127, "stderr": "python3: not found"}, "python3: not found"),
        ({"rc": 0, "stdout": "Password:"}, "does not answer as the script does"),
        ({"rc": 0, "stdout": '{"files": {}}'}, "does not answer as the script does"),
    ],
)
def test_a_host_that_cannot_be_looked_at_says_why(tmp_path: Path, answer: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        observed(tmp_path, answer)
    assert not list(tmp_path.iterdir())


def test_the_program_runs_anywhere_and_only_reads(tmp_path: Path) -> None:
    """On this machine, where there is no gateway: everything is missing, nothing is made."""
    command = [sys.executable, "-"]
    done = subprocess.run(command, input=observer.script(), capture_output=True, text=True, check=True, cwd=tmp_path)
    _result, seen = observed(tmp_path / "seen", {"rc": 0, "stdout": done.stdout})
    assert list(tmp_path.iterdir()) == [tmp_path / "seen"]
    if not Path("/etc/ocserv/certlogon").exists():
        assert seen.facts["settings"] == {"missing": True}
        check("ocserv-crl-checking", Case(seen.facts, "unknown", "no such file"))
    for word in ("write", "unlink", "rename", "mkdir", "chmod"):
        assert f".{word}" not in observer.script(), "the program must not be able to write"


def test_addresses_of_radius_servers() -> None:
    text = "authserver 127.0.0.1:1812,[::1]:1812\nauthserver 2001:db8::1\n authserver\tradius.example\n"
    assert observer._radius(text) == ["127.0.0.1", "::1", "2001:db8::1", "radius.example"]


def test_a_file_that_cannot_be_read_is_unread(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    found = script()["file"](str(tmp_path / "folder"))
    assert "reason" in found and not found["denied"]
    assert script()["file"](str(tmp_path / "none")) == {"missing": True}
