# SPDX-License-Identifier: GPL-3.0-or-later
"""The floor: bare ldap3 and smbprotocol reading, comparing and writing the same bytes, with no thought of what they mean.

    floor.py dump|first|unchanged|one-change templates|policies FILE

The connection comes from the environment (CERTLOGON_SERVER, ...). FILE is what `dump` wrote: the objects of the last run of the modules.
"""

from __future__ import annotations

import os
import pickle
import ssl
import sys
from pathlib import Path
from typing import Any

import ldap3
import smbclient

PREFIX = "bench-"
SD_FLAGS = [("1.2.840.113556.1.4.801", True, bytes([0x30, 3, 2, 1, 7]))]
TEMPLATE = [
    "cn", "displayName", "flags", "revision", "pKIDefaultKeySpec", "pKIKeyUsage", "pKIMaxIssuingDepth", "pKIExpirationPeriod",
    "pKIOverlapPeriod", "pKICriticalExtensions", "pKIExtendedKeyUsage", "pKIDefaultCSPs", "msPKI-RA-Signature", "msPKI-Enrollment-Flag",
    "msPKI-Private-Key-Flag", "msPKI-Certificate-Name-Flag", "msPKI-Minimal-Key-Size", "msPKI-Template-Schema-Version",
    "msPKI-Template-Minor-Revision", "msPKI-Cert-Template-OID", "msPKI-Certificate-Application-Policy", "nTSecurityDescriptor",
]  # fmt: skip
OID = ["cn", "flags", "displayName", "msPKI-Cert-Template-OID"]
POLICY = [
    "cn",
    "displayName",
    "flags",
    "versionNumber",
    "gPCMachineExtensionNames",
    "gPCUserExtensionNames",
    "gPCFileSysPath",
    "nTSecurityDescriptor",
]
FILES = [
    "GPT.INI",
    r"Machine\Registry.pol",
    r"Machine\Microsoft\Windows NT\SecEdit\GptTmpl.inf",
    r"Machine\Preferences\Services\Services.xml",
]


def connect() -> Any:
    tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=os.environ["CERTLOGON_CA_PATH"])
    server = ldap3.Server(os.environ["CERTLOGON_SERVER"], 636, use_ssl=True, tls=tls, get_info=ldap3.NONE)
    return ldap3.Connection(server, os.environ["CERTLOGON_USERNAME"], os.environ["CERTLOGON_PASSWORD"], auto_bind=True, check_names=False)


def naming_contexts(connection: Any) -> tuple[str, str]:
    connection.search("", "(objectClass=*)", "BASE", attributes=["defaultNamingContext", "configurationNamingContext"])
    found = connection.response[0]["raw_attributes"]
    return found["defaultNamingContext"][0].decode(), found["configurationNamingContext"][0].decode()


def search(connection: Any, base: str, filter: str, attributes: list[str]) -> dict[str, dict[str, list[bytes]]]:
    entries: dict[str, dict[str, list[bytes]]] = {}
    cookie = None
    while True:
        connection.search(base, filter, "LEVEL", attributes=attributes, controls=SD_FLAGS, paged_size=1000, paged_cookie=cookie)
        entries.update((item["dn"], {k: v for k, v in item["raw_attributes"].items() if v}) for item in connection.response if "dn" in item)
        cookie = connection.result["controls"]["1.2.840.113556.1.4.319"]["value"]["cookie"]
        if not cookie:
            return entries


def write(connection: Any, dn: str, wanted: dict[str, list[bytes]], there: dict[str, list[bytes]] | None) -> None:
    if there is None:
        classes = wanted["objectClass"]
        done = connection.add(dn, classes, {k: v for k, v in wanted.items() if k not in ("objectClass", "cn")}, controls=SD_FLAGS)
    else:
        changes = {k: [(ldap3.MODIFY_REPLACE, v)] for k, v in wanted.items() if k != "objectClass" and there.get(k) != v}
        done = connection.modify(dn, changes, controls=SD_FLAGS)
    if not done:
        raise SystemExit(f"{dn}: {connection.result}")


def templates(mode: str, file: Path) -> None:
    connection = connect()
    services = f"CN=Public Key Services,CN=Services,{naming_contexts(connection)[1]}"
    found = search(connection, f"CN=Certificate Templates,{services}", "(objectClass=pKICertificateTemplate)", TEMPLATE)
    oids = search(connection, f"CN=OID,{services}", "(objectClass=msPKI-Enterprise-Oid)", OID)
    if mode == "dump":
        wanted = {dn: {**entry, "objectClass": [b"top", b"pKICertificateTemplate"]} for dn, entry in found.items() if PREFIX in dn}
        ours = {entry["msPKI-Cert-Template-OID"][0] for entry in wanted.values()}
        registered = {
            dn: {**entry, "objectClass": [b"top", b"msPKI-Enterprise-Oid"]}
            for dn, entry in oids.items()
            if entry["msPKI-Cert-Template-OID"][0] in ours
        }
        file.write_bytes(pickle.dumps((wanted, registered)))
        return
    wanted, registered = pickle.loads(file.read_bytes())  # our own file, written by `dump`
    counts = {"first": len(wanted), "unchanged": 0, "one-change": 1}
    compare_and_write(connection, registered, oids, expected=counts[mode] if mode == "first" else 0)
    compare_and_write(connection, wanted, found, expected=counts[mode])


def compare_and_write(connection: Any, wanted: dict[str, Any], found: dict[str, Any], expected: int) -> None:
    different = [dn for dn, entry in wanted.items() if any(found.get(dn, {}).get(k) != v for k, v in entry.items() if k != "objectClass")]
    for dn in different:
        write(connection, dn, wanted[dn], found.get(dn))
    if len(different) != expected:
        raise SystemExit(f"{len(different)} objects differed, expected {expected}")


def policies(mode: str, file: Path) -> None:
    connection = connect()
    domain_dn = naming_contexts(connection)[0]
    found = search(
        connection, f"CN=Policies,CN=System,{domain_dn}", f"(&(objectClass=groupPolicyContainer)(displayName={PREFIX}*))", POLICY
    )
    server = os.environ["CERTLOGON_SERVER"]
    smbclient.ClientConfig(username=os.environ["CERTLOGON_USERNAME"], password=os.environ["CERTLOGON_PASSWORD"], auth_protocol="ntlm")
    share = rf"\\{server}\sysvol"
    paths = {dn: share + entry["gPCFileSysPath"][0].decode().lower().partition(r"\sysvol")[2] for dn, entry in found.items()}
    content = {dn: {name: read_file(rf"{path}\{name}") for name in FILES} for dn, path in paths.items()}
    if mode == "dump":
        file.write_bytes(pickle.dumps((found, content)))
        return
    wanted, files = pickle.loads(file.read_bytes())  # our own file, written by `dump`
    different = [dn for dn in wanted if content.get(dn) != files[dn]]
    for dn in different:
        for name, data in files[dn].items():
            if data != content[dn][name]:
                with smbclient.open_file(rf"{paths[dn]}\{name}", "wb") as opened:
                    opened.write(data)
    if len(different) != {"unchanged": 0, "one-change": 1}[mode]:
        raise SystemExit(f"{len(different)} policies differed in {mode}")


def read_file(path: str) -> bytes | None:
    try:
        with smbclient.open_file(path, "rb", share_access="rw") as opened:
            data: bytes = opened.read()
    except FileNotFoundError:
        return None
    return data


if __name__ == "__main__":
    {"templates": templates, "policies": policies}[sys.argv[2]](sys.argv[1], Path(sys.argv[3]))
