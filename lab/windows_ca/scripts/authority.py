# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scripts adcs_*.ps1 of `adcs_authority` do on Windows, on the modelled machine and authority."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from lab.windows_ca.authority import Authority, Caller, CertSrvError, DirectoryError, InstallOptions, descriptors
from lab.windows_ca.authority import settings as registry
from lab.windows_ca.authority.directory import escape
from lab.windows_ca.authority.errors import KEY_EXISTS
from lab.windows_ca.machine import Machine
from lab.windows_ca.scripts import PowerShellError, handler, logon

MARK = r"HKLM\SOFTWARE\certlogon\CertificationAuthority"
SYSTEM_ROOT = r"C:\Windows"
KINDS = {
    "REG_SZ": "String",
    "REG_EXPAND_SZ": "ExpandString",
    "REG_DWORD": "DWord",
    "REG_QWORD": "QWord",
    "REG_MULTI_SZ": "MultiString",
    "REG_BINARY": "Binary",
}
WELL_KNOWN = {
    "S-1-1-0": "Everyone",
    "S-1-5-11": "NT AUTHORITY\\Authenticated Users",
    "S-1-5-18": "NT AUTHORITY\\SYSTEM",
    "S-1-5-32-544": "BUILTIN\\Administrators",
    "S-1-5-32-545": "BUILTIN\\Users",
    "S-1-5-9": "NT AUTHORITY\\ENTERPRISE DOMAIN CONTROLLERS",
}
SUSPENDED, REQUESTED, SECURITY_CHANGED = 0x4, 0x8, 0x1000


def table(machine: Machine, path: str) -> dict[str, Any]:
    return {name: {"kind": KINDS[machine.registry.kind(path, name) or ""], "value": shown(value)} for name, value in values(machine, path)}


def values(machine: Machine, path: str) -> list[tuple[str, Any]]:
    return list(machine.registry.values(path).items())


def shown(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, int):
        return value - (1 << 32) if value & 0x80000000 else value
    return value


def sid_of(authority: Authority, name: str) -> str | None:
    """NTAccount.Translate: None for nobody."""
    known = {known.casefold(): sid for sid, known in WELL_KNOWN.items()}
    known |= {known.rpartition("\\")[2].casefold(): sid for sid, known in WELL_KNOWN.items()}
    if name.casefold() in known:
        return known[name.casefold()]
    if re.fullmatch(r"S-1-[0-9-]+", name):
        return name
    domain, separator, _ = name.rpartition("\\")
    if separator and domain.casefold() not in (authority.machine.netbios.casefold(), authority.machine.dns_domain.casefold()):
        return None
    try:
        return authority.identify(name).sid
    except CertSrvError:
        return None


def name_of(authority: Authority, sid: str) -> str | None:
    if sid in WELL_KNOWN:
        return WELL_KNOWN[sid]
    found = authority.directory.search(authority.directory.base_dn, "sub", f"(objectSid={escape(sid)})", ["sAMAccountName"])
    return f"{authority.machine.netbios}\\{found[0].text('sAMAccountName')}" if found else None


@handler("adcs_state")
def state(machine: Machine, authority: Authority, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
    active = authority.ca_key or None
    top = registry.key(active) if active else ""
    policy = machine.registry.get(registry.key(active, "PolicyModules"), "Active") if active else None
    service = machine.services.get("CertSvc")
    try:
        sids = {name: sid_of(authority, name) for name in parameters.get("Principals") or []}
        known = set(filter(None, sids.values())) | {
            sid for value in ("Security", "OfficerRights", "EnrollmentAgentRights") for sid in people(machine, top, value)
        }
        names = {sid: name_of(authority, sid) for sid in sorted(known)}
    except DirectoryError as error:
        raise PowerShellError(f"The trust relationship between this workstation and the primary domain failed. ({error})") from error
    folder = r"C:\Windows\System32\CertSrv\CertEnroll"
    pattern = machine.registry.get(top, "RequestFileName") if top else None
    capolicy = machine.files.get(r"C:\Windows\CAPolicy.inf")
    return {
        "computer": {"name": machine.hostname.upper(), "fqdn": machine.fqdn, "in_domain": True, "domain": machine.dns_domain},
        "now": machine.now().strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z",
        "reboot_pending": machine.pending_reboot,
        "feature": {
            "installed": bool(machine.features.get("ADCS-Cert-Authority")),
            "state": "Installed" if machine.features.get("ADCS-Cert-Authority") else "Available",
        },
        "service": service
        and {
            "status": service.state.capitalize(),
            "start_type": {"auto": "Automatic"}.get(service.start_mode, service.start_mode.capitalize()),
        },
        "begun": table(machine, MARK),
        "configuration": table(machine, registry.CONFIGURATION),
        "ca": table(machine, top) if top else {},
        "csp": table(machine, registry.key(active, "CSP")) if active else {},
        "policy_module": policy,
        "policy": table(machine, registry.key(active, "PolicyModules", policy)) if active and policy else {},
        "certificates": certificates(machine, top),
        "capolicy": None if capolicy is None else base64.b64encode(capolicy).decode(),
        "requests": requests(machine, pattern),
        "system_root": SYSTEM_ROOT,
        "crls": [
            {"name": name, "head": base64.b64encode(machine.files[f"{folder}\\{name}"][:4096]).decode()}
            for name in machine.files.list(folder)
            if name.casefold().endswith(".crl")
        ],
        "served": {name: hashlib.sha256(machine.files[f"{folder}\\{name}"]).hexdigest().upper() for name in machine.files.list(folder)},
        "sids": sids,
        "names": names,
    }


def people(machine: Machine, top: str, value: str) -> list[str]:
    data = machine.registry.get(top, value) if top else None
    return [ace.sid for ace in descriptors.parse(data).aces] if data else []


def certificates(machine: Machine, top: str) -> list[dict[str, Any]]:
    hashes = machine.registry.get(top, "CACertHash") or [] if top else []
    entries = [machine.store.get(one.replace(" ", "").upper()) for one in hashes]
    return [{"der": base64.b64encode(entry.der).decode(), "private_key": entry.key_pem is not None} for entry in entries if entry]


def requests(machine: Machine, pattern: str | None) -> list[dict[str, Any]]:
    if not pattern:
        return []
    folder = pattern.rpartition("\\")[0]
    # files here have no dates of their own: the newest request is the one that the authority waits for, named by its number
    found = sorted((name for name in machine.files.list(folder) if name.casefold().endswith(".req")), key=lambda name: (len(name), name))
    return [
        {
            "path": f"{folder}\\{name}",
            "written": f"2026-01-01T00:00:{place:02}.0000000Z",
            "content": base64.b64encode(machine.files[f"{folder}\\{name}"]).decode(),
        }
        for place, name in enumerate(found)
    ]


@handler("adcs_capolicy")
def capolicy(machine: Machine, authority: Authority, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
    write(machine, r"C:\Windows\CAPolicy.inf", base64.b64decode(parameters["Content"]))
    return {"path": r"C:\Windows\CAPolicy.inf"}


def write(machine: Machine, path: str, content: bytes) -> None:
    try:
        machine.files[path] = content
    except OSError as error:
        raise PowerShellError(
            f'Exception calling "WriteAllBytes" with "2" argument(s): "There is not enough space on the disk. : \'{path}\'"',
            hresult=-2147024784,
        ) from error


@handler("adcs_install")
def install(machine: Machine, authority: Authority, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
    fresh = not machine.registry.exists(MARK)
    machine.registry.set(MARK, "Name", parameters["CACommonName"], "REG_SZ")
    fields = {
        "ca_type": "CAType",
        "ca_common_name": "CACommonName",
        "ca_distinguished_name_suffix": "CADistinguishedNameSuffix",
        "crypto_provider_name": "CryptoProviderName",
        "key_length": "KeyLength",
        "hash_algorithm_name": "HashAlgorithmName",
        "validity_period": "ValidityPeriod",
        "validity_period_units": "ValidityPeriodUnits",
        "database_directory": "DatabaseDirectory",
        "log_directory": "LogDirectory",
        "output_cert_request_file": "OutputCertRequestFile",
        "parent_ca": "ParentCA",
        "overwrite_existing_key": "OverwriteExistingKey",
        "overwrite_existing_database": "OverwriteExistingDatabase",
        "overwrite_existing_ca_in_ds": "OverwriteExistingCAinDS",
    }
    options = InstallOptions(**{field: parameters[name] for field, name in fields.items() if parameters.get(name) is not None})
    credential = parameters.get("Credential")
    try:
        outcome = authority.install(options, (credential["username"], credential["password"]) if credential else None, caller)
    except CertSrvError as error:
        if fresh and error.hresult == KEY_EXISTS:
            with machine.transaction():
                machine.registry.delete(MARK)
        raise
    if outcome.request_file:
        machine.registry.set(registry.key(authority.ca_key), "RequestFileName", outcome.request_file, "REG_SZ")
    with machine.transaction():
        machine.registry.delete(MARK)
    waits = outcome.status == "waiting_for_certificate"
    return {"error_id": 398 if waits else 0, "error": outcome.message}


@handler("adcs_certificate")
def certificate(machine: Machine, authority: Authority, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
    for root in parameters.get("Roots") or []:
        authority.trust_root(base64.b64decode(root))
    chain = [parameters["Certificate"], *(parameters.get("Intermediates") or [])]
    content = b"".join(x509.load_der_x509_certificate(base64.b64decode(one)).public_bytes(serialization.Encoding.PEM) for one in chain)
    try:
        authority.install_certificate(content, logon())
    except CertSrvError as error:
        raise certutil("installcert", error) from error
    with machine.transaction():
        top = registry.key(authority.ca_key)
        machine.registry.set(top, "SetupStatus", authority.setup_status & ~(SUSPENDED | REQUESTED), "REG_DWORD")
        authority.start_service()
    return {"status": "Running"}


def certutil(verb: str, error: CertSrvError) -> PowerShellError:
    signed = error.hresult - (1 << 32)
    return PowerShellError(f"certutil -{verb}: CertUtil: -{verb} command FAILED: 0x{error.hresult:08x} ({signed}) CertUtil: {error.text}")


@handler("adcs_settings")
def settings(machine: Machine, authority: Authority, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
    root = registry.key(parameters["Authority"])
    entries = parameters["Values"]
    with machine.transaction():
        for entry in entries:
            path = f"{root}\\{entry['key']}" if entry.get("key") else root
            if not machine.registry.exists(path):
                raise PowerShellError(f"Cannot find path '{path}' because it does not exist.", category="ObjectNotFound")
            put(machine, path, entry)
        restarted = authority.running
        if restarted:
            authority.stop_service()
            try:
                authority.start_service()
            except CertSrvError as error:
                raise PowerShellError(
                    f"Failed to start service 'Active Directory Certificate Services (CertSvc)'. {error}", category="OpenError"
                ) from error
            # CertSvc carries changed rights over to its object in the directory and drops the mark; the object's rights are not modelled
            machine.registry.set(root, "SetupStatus", authority.setup_status & ~SECURITY_CHANGED, "REG_DWORD")
    return {"written": len(entries), "restarted": restarted}


def put(machine: Machine, path: str, entry: dict[str, Any]) -> None:
    name, kind = entry["name"], entry.get("kind")
    value: Any = entry.get("value")
    if kind is None:
        machine.registry.delete(path, name)
    elif kind == "Binary":
        machine.registry.set(path, name, base64.b64decode(value), "REG_BINARY")
    elif kind == "MultiString":
        machine.registry.set(path, name, [str(item) for item in value], "REG_MULTI_SZ")
    elif kind == "DWord":
        machine.registry.set(path, name, int(value), "REG_DWORD")
    elif kind == "String":
        machine.registry.set(path, name, str(value), "REG_SZ")
    else:
        raise PowerShellError(f"a value of the kind {kind!r} is not modelled by the stand-in")


@handler("adcs_backup")
def backup(machine: Machine, authority: Authority, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
    return {"path": parameters["Path"], "files": authority.backup(parameters["Path"], parameters["Password"], caller)}


@handler("adcs_renew")
def renew(machine: Machine, authority: Authority, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
    if parameters.get("ParentCA"):
        raise PowerShellError("certutil -renewCert: a parent that is asked online is not modelled by the stand-in")
    top = registry.key(authority.ca_key)
    pattern = machine.registry.get(top, "RequestFileName") or ""
    number = len(authority.certificates)
    file = pattern.removesuffix(".req") + f"({number}).req" if pattern else ""
    try:
        outcome = authority.renew(bool(parameters.get("ReuseKeys")), logon(), request_file=file)
    except CertSrvError as error:
        raise certutil("renewCert", error) from error
    if outcome.request_file:
        with machine.transaction():
            machine.registry.set(top, "SetupStatus", authority.setup_status | REQUESTED, "REG_DWORD")
    return {"output": outcome.message or "CertUtil: -renewCert command completed successfully."}


@handler("adcs_file")
def file(machine: Machine, authority: Authority, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
    folder = r"C:\Windows\System32\CertSrv\CertEnroll"
    for entry in parameters["Files"]:
        write(machine, f"{folder}\\{entry['name'].rpartition(chr(92))[2]}", base64.b64decode(entry["content"]))
    return {"folder": folder}
