# SPDX-License-Identifier: GPL-3.0-or-later
"""What the reading scripts of the compliance audit find on the modelled machine.

The stand-in is no domain controller, and says by its role that it is a member server. For tests of `domain_controller_state` a machine
counts as one if there is NTDS in its registry.
"""

from __future__ import annotations

import base64
from typing import Any

from lab.windows_ca.iis_config import SITE, Configuration
from lab.windows_ca.machine import Machine
from lab.windows_ca.modules_facts import OS_NAME, OS_VERSION
from lab.windows_ca.scripts import handler

WINDOWS = r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion"
YUBIHSM = r"HKLM\SOFTWARE\Yubico\YubiHSM"
SERVICES = r"HKLM\SYSTEM\CurrentControlSet\Services"
SCHANNEL = r"HKLM\SYSTEM\CurrentControlSet\Control\SecurityProviders\SCHANNEL"
NTAUTH = r"HKLM\SOFTWARE\Microsoft\EnterpriseCertificates\NTAuth\Certificates"
MEMBER_SERVER, DOMAIN_CONTROLLER = 3, 5
FOLDERS = ("certenroll",)
"""Paths below the site that are virtual directories; all others are applications."""


@handler("adcs_audit")
def audit(machine: Machine, authority: Any, parameters: dict[str, Any], caller: Any) -> dict[str, Any]:
    configuration = Configuration(machine)
    readable = bool(machine.features.get("Web-Scripting-Tools"))
    sites = [site(machine, configuration)] if configuration.installed and readable else []
    return {
        "now": moment(machine),
        "windows": windows(machine),
        "yubihsm": {
            "configured": machine.registry.exists(YUBIHSM),
            "password": machine.registry.get(YUBIHSM, "AuthKeysetPassword") is not None,
        },
        "web": {"installed": configuration.installed and "W3SVC" in machine.services, "readable": readable, "sites": sites},
        "backups": backups(machine, parameters["BackupPath"]) if parameters.get("BackupPath") else None,
    }


def moment(machine: Machine) -> str:
    return machine.now().strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"


def windows(machine: Machine) -> dict[str, Any]:
    return {
        "name": OS_NAME,
        "build": machine.registry.get(WINDOWS, "CurrentBuild") or OS_VERSION.split(".")[2],
        "revision": machine.registry.get(WINDOWS, "UBR"),
    }


def site(machine: Machine, configuration: Configuration) -> dict[str, Any]:
    return {
        "name": SITE,
        "bindings": [{"protocol": one.protocol, "information": one.information} for one in configuration.bindings],
        "applications": [
            application(machine, configuration.settings(f"{SITE}/{path}"), path)
            for path in machine.iis.get("paths", ())
            if path.casefold() not in FOLDERS
        ],
    }


def application(machine: Machine, settings: dict[str, Any], path: str) -> dict[str, Any]:
    return {
        "path": f"/{path}",
        "ssl_flags": settings["sslFlags"],
        "basic": settings["basic"] and bool(machine.features.get("Web-Basic-Auth")),
        "windows": settings["windows"] and bool(machine.features.get("Web-Windows-Auth")),
        "token_checking": settings["tokenChecking"],
        "providers": settings["providers"],
    }


def backups(machine: Machine, folder: str) -> list[dict[str, Any]]:
    """Files here have no dates of their own: those that are there are as old as the question."""
    start = folder.rstrip("\\").casefold() + "\\"
    return [
        {"path": path, "written": moment(machine)}
        for path in machine.files
        if path.casefold().startswith(start) and path.casefold().endswith(".p12")
    ]


@handler("domain_controller_state")
def domain_controller(machine: Machine, authority: Any, parameters: dict[str, Any], caller: Any) -> dict[str, Any]:
    service = machine.services.get("Kdc")
    return {
        "now": moment(machine),
        "fqdn": machine.fqdn,
        "domain": machine.dns_domain,
        "role": DOMAIN_CONTROLLER if machine.registry.exists(rf"{SERVICES}\NTDS\Parameters") else MEMBER_SERVER,
        "windows": windows(machine),
        "service": service.state.capitalize() if service else None,
        "kdc": some(
            machine, rf"{SERVICES}\Kdc", "StrongCertificateBindingEnforcement", "CertificateBackdatingCompensation", "UseSubjectAltName"
        ),
        "schannel": some(machine, SCHANNEL, "CertificateMappingMethods"),
        "ntds": some(machine, rf"{SERVICES}\NTDS\Parameters", "LDAPServerIntegrity", "LdapEnforceChannelBinding"),
        "ntauth": machine.registry.keys(NTAUTH),
        "certificates": [
            {"der": base64.b64encode(entry.der).decode(), "private_key": entry.key_pem is not None} for entry in machine.store.values()
        ],
    }


def some(machine: Machine, path: str, *names: str) -> dict[str, Any]:
    return {name: value for name in names if (value := machine.registry.get(path, name)) is not None}
