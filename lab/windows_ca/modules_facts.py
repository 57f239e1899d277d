# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible.windows.setup: the facts of a freshly joined Windows Server 2025."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from lab.windows_ca.machine import Machine
from lab.windows_ca.modules import Call, module

# $groupedSubsets of setup.ps1
SUBSETS = {
    "min": ("date_time", "distribution", "dns", "env", "local", "platform", "powershell_version", "user"),
    "network": ("all_ipv4_addresses", "all_ipv6_addresses", "interfaces", "windows_domain", "winrm"),
    "hardware": ("bios", "memory", "processor", "uptime", "virtual"),
    "external": ("facter",),
}
ALL = frozenset(name for names in SUBSETS.values() for name in names)
OS_VERSION, OS_NAME = "10.0.26100.0", "Microsoft Windows Server 2025 Standard"


@module("ansible.windows.setup")
def setup(call: Call) -> dict[str, Any]:
    facts: dict[str, Any] = {"gather_subset": call["gather_subset"], "module_setup": True}
    for subset in sorted(wanted(call)):
        facts |= {f"ansible_{name}": value for name, value in gather(subset, call).items()}
    return {"ansible_facts": facts}


def wanted(call: Call) -> set[str]:
    """setup.ps1: all, without the excluded, with the explicitly named."""
    explicit: set[str] = set()
    excluded: set[str] = set()
    for item in call["gather_subset"]:
        name = item.removeprefix("!")
        members = set(SUBSETS.get(name, (name,))) & ALL
        if name == "all":
            members = set(ALL - set(SUBSETS["min"])) if item != name else set(ALL)
        if item != name:
            excluded |= members
        elif members:
            explicit |= members
        else:
            call.warnings.append(f"invalid value {item} specified in gather_subset")
    return (set(ALL) - excluded) | explicit


def gather(subset: str, call: Call) -> dict[str, Any]:
    machine: Machine = call.host.machine
    known: dict[str, Callable[[], dict[str, Any]]] = {
        "all_ipv4_addresses": lambda: {"ip_addresses": [call.host.address]},
        "interfaces": lambda: {"interfaces": [interface(call)]},
        "bios": bios,
        "date_time": lambda: {"date_time": date_time(machine.now())},
        "distribution": distribution,
        "env": lambda: {
            "env": {"COMPUTERNAME": machine.hostname.upper(), "SystemDrive": "C:", "SystemRoot": r"C:\Windows", "OS": "Windows_NT"}
        },
        "memory": lambda: {"memtotal_mb": 4096, "memfree_mb": 2048, "swaptotal_mb": 0, "pagefiletotal_mb": 704, "pagefilefree_mb": 704},
        "platform": lambda: platform(machine),
        "powershell_version": lambda: {"powershell_version": 5},
        "processor": lambda: {"processor_count": 1, "processor_cores": 2, "processor_vcpus": 2, "processor_threads_per_core": 1},
        "uptime": lambda: uptime(machine),
        "user": lambda: user(call.account),
        "windows_domain": lambda: {
            "windows_domain": machine.dns_domain,
            "windows_domain_member": True,
            "windows_domain_role": "Member server",
        },
        "winrm": lambda: winrm(call),
        "virtual": lambda: {"virtualization_role": "guest", "virtualization_type": "certlogon lab stand-in"},
    }
    return known[subset]() if subset in known else {}


def bios() -> dict[str, Any]:
    return {"bios_date": "01/01/2026", "bios_version": "lab", "product_name": "Stand-in for Windows Server", "product_serial": "None"}


def distribution() -> dict[str, Any]:
    return {
        "distribution": OS_NAME,
        "distribution_version": OS_VERSION,
        "distribution_major_version": "10",
        "os_family": "Windows",
        "os_name": OS_NAME,
        "os_product_type": "server",
        "os_installation_type": "Server",
    }


def platform(machine: Machine) -> dict[str, Any]:
    return {
        "architecture": "64-bit",
        "architecture2": "x86_64",
        "domain": machine.dns_domain,
        "fqdn": machine.fqdn,
        "hostname": machine.hostname.upper(),
        "kernel": OS_VERSION,
        "machine_id": "S-1-5-21-" + str(int(hashlib.sha256(machine.fqdn.encode()).hexdigest()[:8], 16)),
        "netbios_name": machine.hostname.upper(),
        "nodename": machine.fqdn,
        "owner_contact": "",
        "owner_name": "",
        "reboot_pending": machine.pending_reboot,
        "system": "Win32NT",
        "system_description": "",
        "system_vendor": "certlogon lab",
    }


def interface(call: Call) -> dict[str, Any]:
    return {
        "connection_name": "Ethernet",
        "default_gateway": None,
        "dns_domain": call.host.machine.dns_domain,
        "interface_index": 2,
        "interface_name": "Ethernet",
        "ipv4": {"address": call.host.address, "prefix": "24"},
        "ipv4_address": call.host.address,
        "ipv6": {},
        "macaddress": "00:15:5D:00:00:14",
    }


def date_time(now: datetime) -> dict[str, str]:
    formats = {
        "date": "%Y-%m-%d",
        "day": "%d",
        "hour": "%H",
        "iso8601": "%Y-%m-%dT%H:%M:%SZ",
        "iso8601_basic": "%Y%m%dT%H%M%S%f",
        "iso8601_basic_short": "%Y%m%dT%H%M%S",
        "iso8601_micro": "%Y-%m-%dT%H:%M:%S.%fZ",
        "minute": "%M",
        "month": "%m",
        "second": "%S",
        "time": "%H:%M:%S",
        "weekday": "%A",
        "year": "%Y",
    }
    return {name: now.strftime(form) for name, form in formats.items()} | {
        "epoch": str(now.timestamp()),
        "tz": "UTC",
        "tz_offset": "+00:00",
    }


def uptime(machine: Machine) -> dict[str, Any]:
    boot = machine.boot_time
    seconds = round((machine.now() - boot).total_seconds())
    return {"lastboot": boot.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ"), "uptime_seconds": seconds}


def user(account: str) -> dict[str, str]:
    name = account.rpartition("\\")[2].partition("@")[0]
    return {"user_dir": rf"C:\Users\{name}", "user_gecos": "", "user_id": name}


def winrm(call: Call) -> dict[str, str]:
    expires, thumbprint = call.host.winrm_certificate()
    return {"win_rm_certificate_expires": expires.strftime("%Y-%m-%d %H:%M:%S"), "win_rm_certificate_thumbprint": thumbprint}
