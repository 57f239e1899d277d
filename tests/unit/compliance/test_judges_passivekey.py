# SPDX-License-Identifier: GPL-3.0-or-later
"""PassiveKey servers: each control on what passes, fails and cannot be known; and the observer on what a host brings."""

from __future__ import annotations

import base64
import copy
import json
import re
import runpy
import struct
import subprocess
import sys
import time
from datetime import timedelta
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from ansible_collections.certlogon.core.plugins.module_utils.compliance.judges import front_ends
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation, load
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers import passivekey as observer
from ansible_collections.certlogon.core.plugins.module_utils.compliance.passivekey_observation import PassiveKeyObservation
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import run
from ansible_collections.certlogon.core.tests.unit.compliance.gate_samples import authority, device_pem, sha256
from ansible_collections.certlogon.core.tests.unit.compliance.judged import NOW, Case, at, check, incomplete, raised, rows
from ansible_collections.certlogon.core.tests.unit.connect_secure.authorities import DER, PEM, named

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "docs/examples/passivekey"
NAME = "passivekey.corp.example"
UNREAD = {"unread": {"reason": "Permission denied", "right": "root on the server"}}
MISSING = {"missing": True}
DAY = 86400
SITE = "intranet.corp.example"


# ---- what there is, made by hand: all is well


@cache
def ca(
    *,
    host: str = NAME,
    length: int | None = 0,
    usage: str = "1.3.6.1.5.5.7.3.2",
    excluded: bool = True,
    life: tuple[int, int] = (-10, 3000),
    issuer: str = "PassiveKey",
) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    never = [x509.DNSName(""), x509.IPAddress(ip_network("0.0.0.0/0"))] if excluded else [x509.RFC822Name("x@invalid")]
    builder = x509.CertificateBuilder().subject_name(named("PassiveKey")).issuer_name(named(issuer)).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(NOW + timedelta(days=life[0])).not_valid_after(NOW + timedelta(days=life[1]))
    for extension in (
        x509.BasicConstraints(True, length),
        x509.ExtendedKeyUsage([x509.ObjectIdentifier(usage)]),
        x509.NameConstraints([x509.UniformResourceIdentifier(host)], never),
    ):
        builder = builder.add_extension(extension, False)
    return builder.sign(key, hashes.SHA256()).public_bytes(PEM).decode()


def ring(pem: str | None = None, **ages: int) -> dict[str, Any]:
    keys = [
        {"purpose": purpose, "kid": purpose, "created": int(NOW.timestamp()) - ages.get(purpose, 10) * DAY}
        for purpose in ("ca", "cookie", "storage", "policy")
    ]
    held = [{"pem": pem or ca(), "sha256": sha256(pem or ca()), "subject": "CN=PassiveKey"}]
    return {"is": {"keys": keys, "certificates": held}}


def settings(**sections: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "origin": f"https://{NAME}:8443",
        "database": "sqlite:////var/lib/passivekey/passivekey.db",
        "keys": {"file": "/var/lib/passivekey/keys.json", "passphrase": "credential:passivekey"},
        "tls": {"certificate": "/etc/passivekey/tls/current/cert.pem"},
        "enrollment": {"groups": ["S-1-5-21-1-2-3-1201"], "second_factor": ["ticket"]},
        "administration": {"groups": ["S-1-5-21-1-2-3-512"], "passwords": False},
    }
    return {"is": {**usual, **sections}}


def file(path: str, mode: int = 0o600, owner: str = "passivekey", group: str = "passivekey", **more: Any) -> dict[str, Any]:
    return {"path": path, "mode": mode, "owner": owner, "group": group, "size": 40, "changed": NOW.timestamp() - 3600, **more}


def secret(mode: int = 0o600, **more: Any) -> dict[str, Any]:
    return {"is": [file("/var/lib/passivekey/keys.json", mode, holds="keys", **more)]}


def pgpass(**more: Any) -> dict[str, Any]:
    return {"is": [*secret()["is"], {"path": "/etc/passivekey/pgpass", "holds": "database password", **more}]}


def observed(**parts: Any) -> dict[str, Any]:
    devices = {
        "states": {"active": 3},
        "accounts": 2,
        "allowed": 5,
        "orphaned": [],
        "orphaned_count": 0,
        "over": [],
        "over_count": 0,
        "unused": [],
        "unused_count": 0,
        "unused_days": 60,
        "last_expiry": int(NOW.timestamp()) + 80 * DAY,
    }
    usual = {"devices": devices, "database": {"kind": "sqlite"}, "clock": {"ahead": 0.7}, "service": service()}
    changed = {name: {**usual[name], **words} if "error" not in words else words for name, words in parts.items()}
    return {"is": {**usual, **changed}}


def service(*others: str, **more: str) -> dict[str, Any]:
    account = {"sAMAccountName": "svc-passivekey", "userAccountControl": "512", "msDS-KeyVersionNumber": "3"}
    account |= {"msDS-SupportedEncryptionTypes": "24", **more}
    return {"principal": f"HTTP/{NAME}", "holders": [account, *({"sAMAccountName": other} for other in others)]}


def keytab(*types: int, version: int = 3) -> dict[str, Any]:
    return {"is": [{"principal": f"HTTP/{NAME}@CORP.EXAMPLE", "type": kind, "version": version} for kind in types or (17, 18)]}


def processes(*more: tuple[str, str, list[str]], server: str = "passivekey") -> list[dict[str, Any]]:
    found = [("server", server, []), ("freeradius", "freerad", ["-f", "-l", "stdout"]), ("chronyd", "_chrony", []), *more]
    return [{"name": name, "user": user, "arguments": arguments} for name, user, arguments in found if user]


def client(name: str = "gw1", secret: str = "length:48,same:1,known:0", **lines: str) -> str:
    words = {"ipaddr": "10.0.0.1", "secret": secret, "require_message_authenticator": "yes", "limit_proxy_state": "yes", **lines}
    return f"client {name} {{\n" + "".join(f"\t{key} = {value}\n" for key, value in words.items() if value) + "}\n"


@cache
def radiusd() -> str:
    text = (EXAMPLES / "radiusd.conf").read_text()
    return text.replace("https://passivekey.corp.example:8443", f"https://{NAME}:8443")


def radius(*clients: str, old: str = "", new: str = "", version: str = "3.2.7") -> dict[str, Any]:
    assert old in radiusd()
    files = {"radiusd.conf": radiusd().replace(old, new) if old else radiusd(), "clients.conf": "".join(clients) or client()}
    return {"is": {"folder": "/etc/passivekey/radius", "version": f"radiusd: FreeRADIUS Version {version}, for host x", "files": files}}


@cache
def site() -> str:
    return (EXAMPLES / "nginx-site.conf").read_text()


def nginx(old: str = "", new: str = "", more: str = "") -> dict[str, Any]:
    assert old in site(), old
    return {"is": {"/etc/nginx/conf.d/passivekey.conf": (site().replace(old, new) if old else site()) + more}}


def backups(hours: float = 3, mode: int = 0o600, keys: bool = True, folder: int = 0o700) -> dict[str, Any]:
    one = file("/var/backups/passivekey/x.backup", mode, changed=NOW.timestamp() - hours * 3600)
    return {"is": {"folder": file("/var/backups/passivekey", folder), "backups": [one], "keys": [one] if keys else []}}


def audit(mode: int = 0o600, folder: int = 0o700, files: int = 1) -> dict[str, Any]:
    return {"is": {"folder": file("/var/log/passivekey", folder), "files": [file("/var/log/passivekey/a.log", mode)] * files}}


def crl(**more: Any) -> dict[str, Any]:
    usual = {"number": 7, "this_update": at(-0.02), "next_update": at(24), "entries": 0, "issuer": "CN=PassiveKey", "signed_by": ["x"]}
    return {"is": {**usual, **more}}


def words(pem: str) -> dict[str, Any]:
    return {"is": [{"pem": pem, "sha256": sha256(pem), "subject": f"CN={NAME}"}]}


def port(pem: str, name: str = NAME, **more: Any) -> list[dict[str, Any]]:
    return [{"host": name, "port": 8443, "server_name": name, "version": "TLSv1.3", "certificates": [pem], **more}]


def facts(**changed: Any) -> dict[str, Any]:
    own = device_pem(name=NAME, issuer="Web CA")
    usual: dict[str, Any] = {
        "expected": {"server_names": [NAME], "anchors": authority("Web CA").pem, "anchor_path": "ca.pem"},
        "clock": at(0),
        "processes": processes(),
        "container": False,
        "settings": settings(),
        "settings_file": file("/etc/passivekey/server.toml", 0o640, "root"),
        "secrets": secret(),
        "keyring": ring(),
        "keytab": keytab(),
        "sqlite": {"is": {"wal": True, "filesystem": "ext4"}},
        "observed": observed(),
        "crl": crl(),
        "radius": radius(),
        "nginx": nginx(),
        "site_secrets": {"is": {SITE: {"length": 43, "same": 1, "known": False}}},
        "backups": backups(),
        "audit": audit(),
        "certificate": words(own),
        "users_port": port(own),
        "tls_versions": {"TLSv1": False, "TLSv1.1": False, "TLSv1.2": True, "TLSv1.3": True},
    }
    return {**usual, **changed}


def domain(*digests: str) -> dict[str, Any]:
    return {"domain": {"stores": {"ntauth": [{"dn": "CN=NTAuth", "certificates": list(digests)}], "root": None}}}


def orphan(**more: Any) -> dict[str, Any]:
    one = {"device": "d1", "account": "bob@corp.example", "sid": "S-1-5-21-1-2-3-9", "is": "disabled or expired"}
    return observed(devices={"orphaned": [one], "orphaned_count": 1, **more})


NOBODY = observed(devices={"error": "no domain controller answers"})
OVER = {"account": "bob@corp.example", "sid": "S-1-5-21-1-2-3-9", "devices": 7}
UNUSED = {"device": "d1", "account": "bob@corp.example", "days": 90}
TWICE = radius(client(), client("gw2"))
ASKING = "\t\tproxy_ssl_verify on;"


def gateway(*addresses: str, running: bool = True, auth: str = "radius[config=/x]", **more: Any) -> dict[str, Any]:
    return {"configuration": {"is": {"auth": [auth]}}, "radius": {"is": list(addresses)}, "relay_running": running, **more}


def appliance(host: str = NAME, kind: str = "radius") -> dict[str, Any]:
    return {"auth_servers": [{"name": "PassiveKey", "type": kind, "radius": {"host": host}}]}


SHORT = radius(client(), client("gw2", secret="length:8,same:2,known:0"))

CASES: dict[str, list[Case]] = {
    "passivekey-gateway-signed": [
        Case(gateway("127.0.0.1"), "pass"),
        Case(gateway("::1"), "pass"),
        Case(gateway(auth="certificate"), "not_applicable"),
        Case(gateway("127.0.0.1", "10.0.0.5"), "fail", "It asks 10.0.0.5 itself", {"relay_running": True}),
        Case(gateway("127.0.0.1", running=False), "fail", "does not run", {"authserver": ["127.0.0.1"]}),
        Case(gateway(radius=MISSING), "unknown", "is not the role's"),
        Case(gateway(radius=UNREAD), "unknown", "Permission denied"),
    ],
    "passivekey-gateway-secret": [
        Case(appliance(), "pass", others={"passivekey": facts()}),
        Case(appliance(kind="local"), "not_applicable"),
        Case(appliance(), "fail", "other passivekey has RADIUS client gw2", {"host": NAME}, others={"passivekey": facts(radius=SHORT)}),
        Case(appliance(), "fail", "no RADIUS client at all", others={"passivekey": facts(radius=MISSING)}),
        Case(appliance("radius.corp.example"), "unknown", "Its secret cannot be read", others={"passivekey": facts()}),
        Case(appliance(), "unknown", "Its secret cannot be read"),
        Case(appliance(), "unknown", "Permission denied", others={"passivekey": facts(radius=UNREAD)}),
    ],
    "passivekey-answers": [
        Case(facts(), "pass"),
        Case(facts(processes=processes(server="")), "fail", "It does not run", {"processes": []}),
        Case(facts(crl=UNREAD), "fail", "gives no CRL at its own port"),
        Case(facts(crl=UNREAD, settings=UNREAD), "unknown", "Permission denied"),
    ],
    "passivekey-service-user": [
        Case(facts(), "pass"),
        Case(facts(processes=processes(server="root")), "fail", "It runs as root", {"users": ["root"]}),
        Case(facts(processes=processes(server="")), "unknown", "does not run"),
    ],
    "passivekey-secrets-protected": [
        Case(facts(), "pass"),
        Case(facts(secrets=secret(0o640, group="freerad")), "pass"),
        Case(facts(secrets=secret(0o644)), "fail", "Everybody on the host may use it", {"mode": "0644", "owner": "passivekey"}),
        Case(facts(secrets=secret(0o640, group="users")), "fail", "The group users may read it"),
        Case(facts(secrets=secret(0o660)), "fail", "may write it"),
        Case(facts(secrets=secret(owner="bob")), "fail", "It belongs to bob"),
        Case(facts(secrets={"is": [{"path": "/x", "holds": "keytab", "missing": True}]}), "fail", "there is none"),
        Case(facts(secrets={"is": [{"path": "/x", "holds": "keytab", "reason": "Input/output error"}]}), "unknown", "Input/output"),
        Case(facts(secrets=pgpass(**file("/etc/passivekey/pgpass"))), "pass"),
        Case(facts(secrets=pgpass(**file("/etc/passivekey/pgpass", 0o644))), "fail", "Everybody on the host may use it", {"mode": "0644"}),
        Case(facts(secrets=pgpass(**file("/etc/passivekey/pgpass", owner="postgres"))), "fail", "It belongs to postgres"),
        Case(facts(secrets=pgpass(missing=True)), "fail", "The settings name it, and there is none", {"path": "/etc/passivekey/pgpass"}),
        Case(facts(secrets=pgpass(reason="Permission denied")), "unknown", "Permission denied"),
    ],
    "passivekey-settings-protected": [
        Case(facts(), "pass"),
        Case(facts(settings_file=file("/x", 0o660, "root")), "fail", "Others than root may write", {"mode": "0660"}),
        Case(facts(settings_file=file("/x", 0o640)), "fail", "Others than root", {"owner": "passivekey"}),
        Case(facts(settings_file={"missing": True}), "unknown", "there is none"),
    ],
    "passivekey-passphrase-source": [
        Case(facts(), "pass"),
        Case(facts(settings=settings(keys={"passphrase": "file:/x"})), "fail", "in a file beside", {"passphrase": "file:/x"}),
        Case(facts(settings=settings(keys={"passphrase": "vault:x"})), "unknown", "'vault' is none that is known"),
    ],
    "passivekey-keys-rotated": [
        Case(facts(), "pass"),
        Case(facts(keyring=ring(cookie=181)), "fail", "It is 181 days old, more than 180", {"days": 181}),
        Case(facts(keyring=ring(cookie=181)), "pass", parameters={"cookie_days": 200}),
        Case(facts(keyring=MISSING), "unknown", "there is none"),
    ],
    "passivekey-ca-separate": [
        Case(facts(), "pass", others=domain("other")),
        Case(facts(), "fail", "trusted by the directory of other domain", {"sha256": sha256(ca())}, others=domain(sha256(ca()))),
        Case(
            facts(),
            "fail",
            "trusted by the gateway other connect_secure",
            others={**domain(), "connect_secure": {"trusted_client_cas": [{"sha256": sha256(ca())}]}},
        ),
        Case(facts(), "fail", "the gateway other ocserv", others={**domain(), "ocserv": {"trust": {"is": [{"sha256": sha256(ca())}]}}}),
        Case(facts(keyring=ring(ca(issuer="Corp CA"))), "fail", "It was issued by CN=Corp CA", others=domain()),
        Case(facts(), "unknown", "no domain is in this run"),
        Case(facts(), "unknown", "the gateway other ocserv", others={**domain(), "ocserv": {"trust": UNREAD}}),
    ],
    "passivekey-ca-constrained": [
        Case(facts(), "pass"),
        Case(facts(keyring=ring(ca(length=1))), "fail", "no path length 0"),
        Case(facts(keyring=ring(ca(usage="1.3.6.1.5.5.7.3.1"))), "fail", "more than clients"),
        Case(facts(keyring=ring(ca(host="other.example"))), "fail", f"not bound to {NAME}", {"host": NAME}),
        Case(facts(keyring=ring(ca(excluded=False))), "fail", "may name hosts"),
        Case(facts(keyring=ring(authority("Open CA").pem)), "fail", "no path length 0"),
        Case(facts(keyring=UNREAD), "unknown", "Permission denied"),
    ],
    "passivekey-ca-days-left": [
        Case(facts(), "pass"),
        Case(facts(keyring=ring(ca(life=(-3000, 100)))), "fail", "It expires in 100 days", {"days_left": 100}),
        Case(facts(keyring={"is": {"keys": [], "certificates": []}}), "unknown", "holds no certificate"),
    ],
    "passivekey-crl": [
        Case(facts(), "pass"),
        Case(facts(crl=crl(signed_by=[])), "fail", "None of the server's own CAs signed it"),
        Case(facts(crl=crl(next_update=at(-1))), "fail", "in force no more", {"next_update": at(-1)}),
        Case(facts(crl=crl(this_update=at(-5))), "fail", "made 5 hours ago"),
        Case(facts(crl=UNREAD), "unknown", "Permission denied"),
    ],
    "passivekey-device-life": [
        Case(facts(), "pass"),
        Case(facts(observed=observed(devices={"last_expiry": 0})), "not_applicable"),
        Case(facts(observed=observed(devices={"last_expiry": int(NOW.timestamp()) + 400 * DAY})), "fail", "for 400 more days"),
        Case(facts(observed=NOBODY), "unknown", "no domain controller answers"),
    ],
    "passivekey-devices-of-gone-accounts": [
        Case(facts(), "pass"),
        Case(facts(observed=orphan()), "fail", "its account is disabled or expired", {"account": "bob@corp.example"}),
        Case(facts(observed=orphan(orphaned=[], orphaned_count=300)), "fail", "accounts are disabled", {"count": 300}),
        Case(facts(observed=NOBODY), "unknown", "no domain controller answers"),
        Case(facts(observed={"is": {}}), "unknown", "this version of the server does not tell it"),
    ],
    "passivekey-devices-per-account": [
        Case(facts(), "pass"),
        Case(facts(observed=observed(devices={"over": [OVER], "over_count": 1})), "fail", "7 devices in force", {"devices": 7}),
        Case(facts(observed=observed(devices={"over_count": 300})), "fail", "more devices in force than the 5", {"count": 300}),
        Case(facts(observed=NOBODY), "unknown", "no domain controller answers"),
    ],
    "passivekey-devices-unused": [
        Case(facts(), "pass"),
        Case(facts(observed=observed(devices={"unused": [UNUSED], "unused_count": 1})), "fail", "not seen for 90 days", {"days": 90}),
        Case(facts(observed=observed(devices={"unused_count": 3})), "fail", "not seen for 60 days", {"count": 3}),
        Case(facts(observed=UNREAD), "unknown", "Permission denied"),
    ],
    "passivekey-enrollment-groups": [
        Case(facts(), "pass"),
        Case(facts(settings=settings(enrollment={})), "fail", "Everybody with an account may", {"groups": []}),
        Case(facts(settings=settings(enrollment={"groups": ["S-1-5-11"]})), "fail", "S-1-5-11 is among"),
        Case(facts(settings=UNREAD), "unknown", "Permission denied"),
    ],
    "passivekey-second-factor": [
        Case(facts(), "pass"),
        Case(facts(settings=settings(enrollment={})), "fail", "Whoever has a user's password", {"second_factor": []}),
        Case(facts(settings=MISSING), "unknown", "there is none"),
    ],
    "passivekey-administrators": [
        Case(facts(), "pass"),
        Case(facts(settings=settings(administration={})), "not_applicable"),
        Case(facts(settings=settings(administration={"groups": ["S-1-5-21-1"]})), "fail", "A password alone", {"groups": ["S-1-5-21-1"]}),
        Case(facts(settings=UNREAD), "unknown", "Permission denied"),
    ],
    "passivekey-lockout": [
        Case(facts(), "pass"),
        Case(facts(settings=settings(lockout={"account_failures": 1000})), "fail", "after 1000 failures", {"account_failures": 1000}),
        Case(facts(settings=settings(lockout={"source_failures": 10**6})), "fail", "an address waits after 1000000"),
        Case(facts(settings=settings(lockout={"for": 1})), "fail", "for is 1 s (at least 300)", {"for": 1}),
        Case(facts(settings=UNREAD), "unknown", "Permission denied"),
    ],
    "passivekey-sources": [
        Case(facts(), "pass"),
        Case(facts(settings=settings(tls={"proxies": ["127.0.0.1"]})), "pass"),
        Case(facts(settings=settings(tls={})), "fail", "one guesser makes everybody wait", {"certificate": False}),
        Case(facts(settings=settings(tls={"proxies": ["10.0.0.9"]})), "fail", "What 10.0.0.9 says", {"proxies": ["10.0.0.9"]}),
        Case(facts(settings=UNREAD), "unknown", "Permission denied"),
    ],
    "passivekey-audit-kept": [
        Case(facts(), "pass"),
        Case(facts(settings=settings(audit={"days": 7})), "fail", "for 7 days only", {"days": 7}),
        Case(facts(audit=audit(files=0)), "fail", "There is no file"),
        Case(facts(audit=audit(folder=0o777)), "fail", "Others may write into its folder", {"mode": "0777"}),
        Case(facts(audit=audit(mode=0o644)), "fail", "Everybody on the host may read it"),
        Case(facts(audit=UNREAD), "unknown", "Permission denied"),
    ],
    "passivekey-database-durable": [
        Case(facts(), "pass"),
        Case(facts(sqlite={"is": {"wal": False, "filesystem": "ext4"}}), "fail", "no write-ahead log", {"wal": False}),
        Case(facts(sqlite={"is": {"wal": True, "filesystem": "tmpfs"}}), "fail", "(tmpfs) forgets it"),
        Case(
            facts(settings=settings(database="postgresql+psycopg:///x"), observed=observed(database={"fsync": "off", "local": True})),
            "fail",
            "Fsync is off",
            {"fsync": "off"},
        ),
        Case(
            facts(settings=settings(database="postgresql+psycopg://db/x"), observed=observed(database={"fsync": "on", "local": False})),
            "fail",
            "without TLS",
        ),
        Case(
            facts(settings=settings(database="postgresql+psycopg:///x"), observed=observed(database={"fsync": "on", "local": True})),
            "pass",
        ),
        Case(facts(settings=settings(database="postgresql:///x"), observed=observed(database={"error": "gone"})), "unknown", "gone"),
    ],
    "passivekey-backup-fresh": [
        Case(facts(), "pass"),
        Case(facts(backups=backups(hours=50)), "fail", "The newest is 50 hours old", {"hours": 50.0}),
        Case(facts(backups=backups(keys=False)), "fail", "its keys are not"),
        Case(facts(backups=backups(mode=0o644)), "fail", "Everybody on the host may read"),
        Case(facts(backups=backups(folder=0o755)), "fail", "may look into its folder"),
        Case(facts(backups={"is": {"folder": {"path": "/b", "missing": True}, "backups": [], "keys": []}}), "fail", "There is none"),
        Case(facts(backups=UNREAD), "unknown", "Permission denied"),
    ],
    "passivekey-certificate-days-left": [
        Case(facts(), "pass"),
        Case(facts(certificate=words(device_pem(life=(-300, 5.5)))), "fail", "It expires in 5 days", {"days_left": 5}),
        Case(facts(certificate=MISSING), "unknown", "there is none"),
    ],
    "passivekey-certificate-strength": [
        Case(facts(), "pass"),
        Case(facts(certificate=words(device_pem(bits=1024))), "fail", "1024", {"key": "rsa 1024"}),
        Case(facts(certificate=UNREAD), "unknown", "Permission denied"),
    ],
    "passivekey-port": [
        Case(facts(), "pass"),
        Case(facts(users_port=port(device_pem())), "fail", "a certificate for vpn.corp.example"),
        Case(facts(users_port=port(device_pem(name=NAME, bits=1024))), "fail", "none of the gateway's own"),
        Case(facts(users_port=port("", problem="connection refused")), "unknown", "connection refused"),
    ],
    "passivekey-port-chain": [
        Case(facts(), "pass"),
        Case(facts(expected={"anchors": authority("Corp CA").pem, "anchor_path": "ca.pem"}), "fail", "none of the trusted roots"),
        Case(facts(expected={}), "unknown", "no domain is in this run"),
        Case(facts(expected={"anchors_problem": "ca.pem cannot be read"}), "unknown", "ca.pem cannot be read"),
    ],
    "passivekey-tls-versions": [
        Case(facts(), "pass"),
        Case(facts(tls_versions={"TLSv1": True, "TLSv1.1": False, "TLSv1.2": True}), "fail", "still takes TLSv1"),
        Case(facts(tls_versions=UNREAD), "unknown", "Permission denied"),
    ],
    "passivekey-keytab-aes": [
        Case(facts(), "pass"),
        Case(facts(keytab=MISSING), "not_applicable"),
        Case(facts(keytab=keytab(18, 23)), "fail", "no AES keys (types 23)", {"types": [18, 23]}),
        Case(facts(keytab=UNREAD), "unknown", "Permission denied"),
    ],
    "passivekey-keytab-current": [
        Case(facts(), "pass"),
        Case(facts(keytab=keytab(version=2)), "fail", "no key of HTTP/passivekey.corp.example of version 3", {"versions": [2]}),
        Case(facts(observed=observed(service={"holders": []})), "fail", "No account has HTTP/", {"accounts": []}),
        Case(facts(observed=observed(service=service("other"))), "fail", "2 accounts have HTTP/"),
        Case(facts(observed=observed(service=service(userAccountControl="514"))), "fail", "svc-passivekey is disabled"),
        Case(facts(observed=observed(service={"error": "no domain controller answers"})), "unknown", "no domain controller"),
    ],
    "passivekey-service-account": [
        Case(facts(), "pass"),
        Case(facts(observed=observed(service=service(adminCount="1"))), "fail", "group of administrators", {"adminCount": 1}),
        Case(facts(observed=observed(service=service(**{"msDS-SupportedEncryptionTypes": "28"}))), "fail", "RC4 or DES"),
        Case(facts(observed=observed(service=service(**{"msDS-SupportedEncryptionTypes": "0"}))), "fail", "says no AES"),
        Case(facts(observed=observed(service=service("other"))), "unknown", "Not exactly one account"),
    ],
    "passivekey-clock": [
        Case(facts(), "pass"),
        Case(facts(observed=observed(clock={"ahead": -42.0})), "fail", "42 seconds behind the domain controller's", {"seconds": -42.0}),
        Case(facts(observed=UNREAD, clock=at(1)), "fail", "3600 seconds ahead of the control node's"),
        Case(facts(observed=observed(clock={"error": "no domain controller answers"})), "unknown", "no domain controller answers"),
    ],
    "passivekey-time-service": [
        Case(facts(), "pass"),
        Case(facts(processes=[]), "fail", "None runs", {"running": []}),
        Case(facts(processes=[], container=True), "unknown", "It is a container"),
    ],
    "passivekey-radius-signed": [
        Case(facts(), "pass"),
        Case(facts(radius=MISSING), "not_applicable"),
        Case(facts(radius=radius(client(require_message_authenticator="no"))), "fail", "is no)", {"address": "10.0.0.1"}),
        Case(
            facts(radius=radius(client(limit_proxy_state=""), old="limit_proxy_state = yes", new="limit_proxy_state = no")),
            "fail",
            "Proxy-State can be smuggled in",
        ),
        Case(facts(radius=UNREAD), "unknown", "Permission denied"),
    ],
    "passivekey-radius-version": [
        Case(facts(), "pass"),
        Case(facts(radius=radius(version="3.0.27")), "pass"),
        Case(facts(radius=radius(version="3.2.1")), "fail", "Version 3.2.1 does not know", {"least": "3.2.5"}),
        Case(facts(radius=radius(version="?")), "unknown", "is not understood"),
    ],
    "passivekey-radius-secrets": [
        Case(facts(), "pass"),
        Case(facts(radius=TWICE), "fail", "the same secret as RADIUS client gw2", {"shared_with": ["RADIUS client gw2"]}),
        Case(facts(radius=radius(client(secret="length:10,same:1,known:1"))), "fail", "everybody tries first"),
        Case(facts(radius=radius(client(secret="length:12,same:1,known:0"))), "fail", "has 12 characters", {"length": 12}),
        Case(facts(radius=radius(client(secret="12345"))), "unknown", "was not found"),
    ],
    "passivekey-radius-silent": [
        Case(facts(), "pass"),
        Case(facts(processes=processes(("freeradius", "root", ["-fxx"]))), "fail", "It runs with -X or -x"),
        Case(facts(radius=radius(old="auth_badpass = no", new="auth_badpass = yes")), "fail", "auth_badpass", {"log": ["auth_badpass"]}),
        Case(facts(radius=UNREAD), "unknown", "Permission denied"),
    ],
    "passivekey-radius-asks": [
        Case(facts(), "pass"),
        Case(facts(radius=radius(old="check_cert = yes", new="check_cert = no")), "fail", "check_cert is no"),
        Case(facts(radius=radius(old="\t\t\tstart = 0", new="\t\t\tstart = 5")), "fail", "pool start is 5", {"start": "5"}),
        Case(facts(radius=radius(old=f"https://{NAME}:8443", new=f"http://{NAME}")), "fail", "without TLS"),
        Case(facts(radius=radius(old=f"https://{NAME}:8443", new="https://other.example")), "fail", "which is not https://"),
        Case(facts(radius=radius(old="ca_info_file", new="ca_nothing")), "fail", "believes every CA"),
        Case(facts(radius=radius(old="\trest {", new="\trested {")), "fail", "no module rest"),
        Case(facts(radius=UNREAD), "unknown", "Permission denied"),
    ],
    "passivekey-radius-network": [
        Case(facts(), "pass"),
        Case(facts(radius=radius(client(ipaddr="10.0.0.0/8"))), "fail", "16777216 addresses", {"address": "10.0.0.0/8"}),
        Case(facts(radius=radius(client(ipaddr="*"))), "fail", "all with one secret"),
        Case(facts(radius=radius(client(ipaddr="8.8.8.8"))), "fail", "from a public address"),
        Case(facts(radius=radius(client(ipaddr="gw1.corp.example"))), "unknown", "a name is looked up"),
    ],
    "passivekey-nginx-guarded": [
        Case(facts(), "pass"),
        Case(facts(nginx=MISSING), "not_applicable"),
        Case(
            facts(nginx=nginx("\tlocation / {", "\tlocation /open/ {\n\t\tproxy_pass http://127.0.0.1:8080;\n\t}\n\tlocation / {")),
            "fail",
            "/open/ of it is open to everybody",
            {"locations": ["/open/"]},
        ),
        Case(facts(nginx=nginx("listen 443 ssl", "listen 80")), "fail", "without TLS"),
        Case(facts(nginx=UNREAD), "unknown", "Permission denied"),
    ],
    "passivekey-nginx-asks": [
        Case(facts(), "pass"),
        Case(facts(nginx=nginx(ASKING, "\t\tproxy_ssl_verify off;")), "fail", "Whoever answers there is believed"),
        Case(facts(nginx=nginx("\t\tinternal;", "")), "fail", "Browsers can ask it themselves"),
        Case(facts(nginx=nginx("proxy_pass_request_headers off;", "")), "fail", "All that browsers send"),
        Case(facts(nginx=nginx("auth_request /_passivekey;", "auth_request /_other;")), "unknown", "is not in this file"),
    ],
    "passivekey-nginx-names": [
        Case(facts(), "pass"),
        Case(
            facts(nginx=nginx("\t\tproxy_set_header X-Passivekey-User $passivekey_user;", "")),
            "fail",
            "X-Passivekey-User is passed on",
            {"headers": ["X-Passivekey-User"]},
        ),
        Case(facts(nginx=UNREAD), "unknown", "Permission denied"),
    ],
    "passivekey-site-secrets": [
        Case(facts(), "pass"),
        Case(facts(site_secrets={"is": {}}), "not_applicable"),
        Case(facts(site_secrets={"is": {SITE: {"length": 9, "same": 1}}}), "fail", "has 9 characters", {"length": 9}),
        Case(
            facts(site_secrets={"is": {SITE: {"length": 20, "same": 1}, "wiki": {"length": 20, "same": 1}}}),
            "fail",
            "the same secret as wiki",
        ),
        Case(facts(site_secrets=UNREAD), "unknown", "Permission denied"),
    ],
}


def test_every_control_has_cases() -> None:
    assert incomplete("87-passivekey", CASES) == []


def test_not_knowing_turns_no_failure_into_a_pass() -> None:
    assert raised(CASES) == []


@pytest.mark.parametrize(("control", "case"), rows(CASES))
def test_verdicts(control: str, case: Case) -> None:
    check(control, case)


def test_the_server_makes_such_a_ca() -> None:
    certificates = pytest.importorskip("passivekey.protocol.certificates", reason="the server's libraries are not installed")
    made = certificates.authority(ec.generate_private_key(ec.SECP256R1()), "PassiveKey", NAME, NOW - timedelta(days=1))
    check("passivekey-ca-constrained", Case(facts(keyring=ring(made.public_bytes(PEM).decode())), "pass"))


# ---- configurations


def test_a_configuration_of_freeradius_is_a_tree() -> None:
    text = 'a = "x # y" # z\nclient gw {\nipaddr = 1.2.3.4\n# secret = no\n}\nmodules {\n rest {\n  tls {\n  check_cert = no\n }\n }\n}\n'
    tree = front_ends.radius(text + "}}\nb = 2\n")
    assert (tree.value("a"), tree.value("b")) == ("x # y", "2")
    assert [(one.argument, one.values) for one in tree.under("client")] == [("gw", {"ipaddr": ["1.2.3.4"]})]
    assert next(tree.under("tls")).value("check_cert") == "no"


def test_a_configuration_of_nginx_is_a_tree() -> None:
    tree = front_ends.nginx("server { listen 443 ssl; # }\n add_header X \"a; {b}\"; location = /x { internal; } location ~ '^/y$' {} }}")
    (server,) = tree.sections
    assert server.values == {"listen": ["443 ssl"], "add_header": ["X a; {b}"]}
    assert [(one.argument, one.values) for one in server.sections] == [("= /x", {"internal": [""]}), ("~ ^/y$", {})]


# ---- the observer


@cache
def script() -> dict[str, Any]:
    return runpy.run_path(str(Path(observer.__file__).parent / "on_host/passivekey_state.py"), run_name="on_a_host")


def observed_of(folder: Path, answer: dict[str, Any], expected: dict[str, Any] | None = None) -> tuple[dict[str, Any], Observation]:
    def execute(command: str, given: bytes) -> dict[str, Any]:
        assert command == "/usr/bin/python3 -" and given.startswith(b"# SPDX")
        return answer

    params = {"folder": str(folder), "name": "pk1", "python": "/usr/bin/python3", "expected": expected or {}}
    result = run(PassiveKeyObservation(execute, "root", "10.0.0.1"), params, check_mode=False, warn=print)
    return result, load(Path(result["observation"]))


def brought(**more: Any) -> dict[str, Any]:
    answer = {name: copy.deepcopy(facts()[name]) for name in (*observer._AS_BROUGHT, "processes", "container", "settings_file")}
    der = x509.load_pem_x509_certificate(ca().encode()).public_bytes(DER)
    text = base64.urlsafe_b64encode(der).rstrip(b"=").decode()
    key = {"purpose": "ca", "kid": "k", "created": 1, "certificate": text}
    answer |= {"now": NOW.timestamp(), "keyring": {"is": {"kdf": {}, "keys": [key]}}, "certificate": {"is": device_pem(name=NAME)}}
    return {**answer, "crl": {"is": base64.b64encode(authority().crl()).decode()}, **more}


RADIUS_FILE = """
client gw1 {
    secret = hidden{1
    secret = "hidden-2 # no comment" # a comment
    shared_secret='hidden-3'
}
client one { ipaddr = 10.0.0.2, secret = hidden-4, limit_proxy_state = yes }
    &REST-HTTP-Header := "Authorization: Bearer hidden-5=="
    &REST-HTTP-Header := "Authorization: Bearer ${passivekey_bearer}"
    data = '{"password": "%{jsonquote:%{User-Password}}", "user": "%{User-Name}"}'
    password = "%{User-Password}"
"""
NGINX_FILE = """
    set $pk_secret "hidden-6";
    proxy_set_header Authorization "Bearer hidden-7";
    set $bearer hidden-8;
    auth_request /check; proxy_set_header X-Passivekey-User $pk_user;
"""


def test_no_secret_leaves_the_host_however_it_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What only names where a secret comes from stays."""
    program = script()
    shown = program["without_secrets"](RADIUS_FILE, program["Same"]())
    assert "hidden" not in shown
    assert [int(found) for found in re.findall(r"length:(\d+)", shown)] == [8, 21, 8, 8]
    assert {f"RADIUS client {one.argument}" for one in front_ends.radius(shown).under("client")} >= {"RADIUS client gw1"}
    for kept in (
        "Bearer ${passivekey_bearer}",
        "%{jsonquote:%{User-Password}}",
        'password = "%{User-Password}"',
        "limit_proxy_state = yes",
    ):
        assert kept in shown
    (tmp_path / "site.conf").write_text(NGINX_FILE)
    names = program["nginx"].__globals__
    monkeypatch.setitem(names, "FRONTS", (str(tmp_path),))
    (text,) = program["nginx"]()["is"].values()
    assert "hidden" not in text and "auth_request /check; proxy_set_header X-Passivekey-User $pk_user;" in text


@pytest.mark.parametrize(
    "database",
    [
        "postgresql+psycopg://pk:hid/den@db/pk",
        "postgresql://pk:hidden@db/pk?sslmode=require",
        "postgresql://db/pk?user=pk&password=hidden&sslmode=require",
        "postgresql://pk:hid:den@[2001:db8::1]:5432/pk",
    ],
)
def test_no_secret_of_the_settings_leaves_the_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, database: str) -> None:
    pin = "pkcs11:token=keys;object=pk?module-path=/usr/lib/x.so&pin-source=file:/etc/pin&pin-value=hidden"
    (tmp_path / "server.toml").write_text(f'origin = "https://pk.example"\ndatabase = "{database}"\n[keys]\npassphrase = "{pin}"\n')
    program = script()
    monkeypatch.setitem(program["settings"].__globals__, "SETTINGS", str(tmp_path / "server.toml"))
    found = program["settings"]()["is"]
    assert not re.search("hid|den", json.dumps(found))
    assert found["database"].partition("://")[0] == database.partition("://")[0] and found["database"][-5:] == database[-5:]
    assert "pin-source=file:/etc/pin" in found["keys"]["passphrase"]


@pytest.mark.parametrize("left", [(), ("pgpass.next",)])
def test_files_of_the_database_that_settings_name_are_looked_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, left: tuple[str, ...]
) -> None:
    """Its password and its key, wherever they are; and passwords that were left beside the settings."""
    program = script()
    monkeypatch.setitem(program["secret_files"].__globals__, "SETTINGS", str(tmp_path / "server.toml"))
    for name in left:
        (tmp_path / name).touch()
    found = program["secret_files"]({"database": "postgresql+psycopg://pk@db/pk?sslkey=/srv/a%20key&sslmode=require&passfile=/srv/pass"})
    assert found == {"/srv/pass": "database password", "/srv/a key": "database key"} | {str(tmp_path / name): name for name in left}


def test_what_a_host_brings_becomes_facts(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(authority().pem)
    expected = {"anchor_path": str(tmp_path / "ca.pem")}
    result, seen = observed_of(tmp_path, {"rc": 0, "stdout": f"Welcome\n{json.dumps(brought())}\n"}, expected)
    assert result["asked"] == {"ssh passivekey_state": 1} and result["unread"] == ["tls_versions", "users_port"]
    assert (seen.target.kind, seen.account, seen.facts["expected"]["anchors"]) == ("passivekey", "root", authority().pem)
    assert [one["sha256"] for one in seen.facts["keyring"]["is"]["certificates"]] == [sha256(ca())]
    assert seen.facts["crl"]["is"]["signed_by"] == [] and seen.facts["crl"]["is"]["status"] == "foreign" and seen.crls == []
    assert [one["use"] for one in seen.certificates] == ["web"], "the CA of devices is no link of the chain of logons"


def test_what_starts_the_server_is_not_the_server() -> None:
    """cron has it started each minute, as root, where it does not run: whoever looked at that moment saw a server of root's."""
    program = script()["PROGRAM"]
    waits = "import time; time.sleep(60)"
    begun = [
        subprocess.Popen(
            ["start-stop-daemon", "-c", waits, "--startas", program, "--", "serve", "--workers", "7"], executable=sys.executable
        ),
        subprocess.Popen([program, "-c", waits, "serve", "--workers", "8"], executable=sys.executable),
    ]
    try:
        deadline = time.monotonic() + 10
        while not (found := [one for one in script()["processes"]() if one["arguments"][-2:] in (["--workers", "7"], ["--workers", "8"])]):
            assert time.monotonic() < deadline
        assert [(one["name"], one["arguments"][-1]) for one in found] == [("server", "8")]
    finally:
        for one in begun:
            one.kill()
            one.wait()


@pytest.mark.parametrize(
    ("fact", "value", "says"),
    [
        ("keyring", {"is": {"keys": [{"purpose": "ca"}]}}, "not understood"),
        ("keyring", {"is": {"keys": [{"purpose": "ca", "kid": "k", "created": 1, "certificate": "AAAA"}]}}, "not understood"),
        ("certificate", {"is": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"}, "not understood"),
        ("crl", {"is": "AAAA"}, "as its CRL is none"),
        ("observed", {"reason": "passivekey: no such command"}, "no such command"),
    ],
)
def test_what_is_not_understood_is_unread(tmp_path: Path, fact: str, value: Any, says: str) -> None:
    _result, seen = observed_of(tmp_path, {"rc": 0, "stdout": json.dumps(brought(**{fact: value}))})
    assert says in seen.facts[fact]["unread"]["reason"]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"rc": 127, "stderr": "python3: not found"}, "python3: not found; is it Python 3.11"),
        ({"rc": 0, "stdout": "Password:"}, "does not answer as the script does"),
    ],
)
def test_a_host_that_cannot_be_looked_at_says_why(tmp_path: Path, answer: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        observed_of(tmp_path, answer)
    assert not list(tmp_path.iterdir())


def test_the_program_runs_anywhere_and_only_reads(tmp_path: Path) -> None:
    """On this machine, where there is no server: everything is missing, nothing is made."""
    if Path("/etc/passivekey").exists():
        pytest.skip("this machine has a PassiveKey server")
    done = subprocess.run([sys.executable, "-"], input=observer.script(), capture_output=True, text=True, check=True, cwd=tmp_path)
    _result, seen = observed_of(tmp_path / "seen", {"rc": 0, "stdout": done.stdout})
    assert list(tmp_path.iterdir()) == [tmp_path / "seen"]
    check("passivekey-lockout", Case(seen.facts, "unknown", "there is none"))
    check("passivekey-secrets-protected", Case(seen.facts, "unknown", "the settings could not be read"))
    for word in ("write_", "unlink", "rename", "mkdir", "chmod", '"wb"', '"w")'):
        assert word not in observer.script(), "the program must not be able to write"


def test_no_secret_leaves_the_host() -> None:
    program = script()
    same = program["Same"]()
    secrets = {"a": '"TOPSECRETTOPSECRET"', "b": "testing123", "c": "TOPSECRETTOPSECRET"}
    text = "".join(f"client {name} {{\n\tsecret = {secret}\n}}\n" for name, secret in secrets.items())
    shown = program["without_secrets"](text + 'passivekey_bearer = "TOPSECRET2"\nuri = "https://x"\n', same)
    assert "TOPSECRET" not in shown and "testing123" not in shown and 'uri = "https://x"' in shown
    clients = [one.value("secret") for one in front_ends.radius(shown).under("client")]
    assert clients == ["length:18,same:1,known:0", "length:10,same:2,known:1", "length:18,same:1,known:0"]


def keytab_entry(principal: str, kind: int, version: int) -> bytes:
    """MIT's format 0x0502, by its documentation."""
    name, _at, realm = principal.partition("@")
    words = [realm, *name.split("/")]
    content = struct.pack(">H", len(words) - 1) + b"".join(struct.pack(">H", len(word)) + word.encode() for word in words)
    content += struct.pack(">IIBHH", 1, 0, version & 255, kind, 16) + b"k" * 16 + struct.pack(">I", version)
    return struct.pack(">i", len(content)) + content


def test_a_keytab_is_told_without_its_keys(tmp_path: Path) -> None:
    entries = [keytab_entry("HTTP/a.example@CORP", 18, 3), struct.pack(">i", -4) + b"hole", keytab_entry("HTTP/a.example@CORP", 23, 300)]
    (tmp_path / "tab").write_bytes(b"\5\2" + b"".join(entries))
    read = script()["keytab"](str(tmp_path / "tab"))["is"]
    principal = "HTTP/a.example@CORP"
    assert read == [{"principal": principal, "type": 18, "version": 3}, {"principal": principal, "type": 23, "version": 300}]
    (tmp_path / "tab").write_bytes(b"\5\2\0\0\0\x20short")
    assert "reason" in script()["attempt"](lambda: script()["keytab"](str(tmp_path / "tab")))
