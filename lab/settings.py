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
# What users of a VPN gateway get addresses from; the inner network sends answers for them to the gateway.
VPN_POOLS = {"vpn1": "10.85.1.0/24", "gw1": "10.85.2.0/24"}


@dataclass(frozen=True)
class HostPlan:
    """A host of the lab: its short name, its address and what it is there for.

    `further`: more addresses on the lab's network. `inner`: its address on the network behind the VPN gateways, if it is there;
    the same as `address` for a host that is nowhere else. `aliases`: more names, in full, by the address that they are at.
    """

    name: str
    address: str
    purpose: str
    further: tuple[str, ...] = ()
    inner: str = ""
    aliases: tuple[tuple[str, str], ...] = ()

    @property
    def fqdn(self) -> str:
        return f"{self.name}.{DNS_DOMAIN}"


HOSTS = {
    host.name: host
    for host in (
        HostPlan("dc1", "10.83.0.10", "Samba AD domain controller"),
        HostPlan("dc2", "10.83.0.11", "second domain controller (--with dc2)"),
        HostPlan("ca1", "10.83.0.20", "stand-in for the Windows host of the certification authority (--with ca1)"),
        HostPlan(
            "vpn1",
            "10.83.0.30",
            "stand-in for a Connect Secure appliance (--with vpn)",
            further=("10.83.0.31",),
            inner="10.84.0.30",
            aliases=tuple((f"{name}.{DNS_DOMAIN}", "10.83.0.31") for name in ("vpn", "staff.vpn", "partners.vpn", "admin.vpn", "vpn2")),
        ),
        HostPlan(
            "gw1",
            "10.83.0.40",
            "Debian that becomes an ocserv gateway (--with vpn)",
            inner="10.84.0.40",
            aliases=((f"gw.{DNS_DOMAIN}", "10.83.0.40"),),
        ),
        HostPlan("client1", "10.83.0.50", "a user's computer with card reader, openconnect and Chromium (--with vpn)"),
        HostPlan("inner1", "10.84.0.10", "HTTP server behind the VPN gateways (--with vpn)", inner="10.84.0.10"),
        HostPlan(
            "pk1",
            "10.83.0.60",
            "Debian that becomes the PassiveKey server, with FreeRADIUS and nginx (--with passivekey)",
            aliases=tuple((f"{name}.{DNS_DOMAIN}", "10.83.0.60") for name in ("passivekey", "intranet", "wiki")),
        ),
        HostPlan("control", "10.83.0.100", "where Ansible runs"),
    )
}
DOMAIN_CONTROLLERS = ("dc1", "dc2")
VPN_HOSTS = ("vpn1", "gw1", "client1", "inner1")
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
