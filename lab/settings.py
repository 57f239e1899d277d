# SPDX-License-Identifier: GPL-3.0-or-later
"""What every lab has in common: names, addresses, folders. The same in every lab, for each has a network of its own."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

CHECKOUT = Path(__file__).resolve().parent.parent
REALM = "CORP.EXAMPLE"
DNS_DOMAIN = "corp.example"
NETBIOS_DOMAIN = "CORP"
BASE_DN = "DC=corp,DC=example"
PREFIX_LENGTH = 24
GATEWAY = "10.83.0.1"


@dataclass(frozen=True)
class HostPlan:
    """A host of the lab: its short name, its address and what it is there for."""

    name: str
    address: str
    purpose: str

    @property
    def fqdn(self) -> str:
        return f"{self.name}.{DNS_DOMAIN}"


HOSTS = {
    host.name: host
    for host in (
        HostPlan("dc1", "10.83.0.10", "Samba AD domain controller"),
        HostPlan("dc2", "10.83.0.11", "second domain controller (--with dc2)"),
        HostPlan("ca1", "10.83.0.20", "stand-in for the Windows host of the certification authority (--with ca1)"),
        HostPlan("control", "10.83.0.100", "where Ansible runs"),
    )
}
DOMAIN_CONTROLLERS = ("dc1", "dc2")
WINRM_PORT = 5986
PORTS = {
    "dns": 53,
    "kerberos": 88,
    "rpc": 135,
    "ldap": 389,
    "smb": 445,
    "kpasswd": 464,
    "ldaps": 636,
    "global_catalog": 3268,
    "global_catalog_tls": 3269,
}


def cache_dir() -> Path:
    """Roots and domain snapshots, shared by all labs; safe to delete while no lab runs."""
    return Path(os.environ.get("CERTLOGON_CACHE") or "/var/cache/certlogon").absolute()


def state_dir() -> Path:
    """One folder a running lab."""
    return Path(os.environ.get("CERTLOGON_STATE") or "/var/lib/certlogon/labs").absolute()


def check_name(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name):
        raise LabError(f"--name {name!r}: a lab's name is 1 to 31 of a-z, 0-9 and -, beginning with a letter")
    return name
