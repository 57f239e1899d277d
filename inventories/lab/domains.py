#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's domain as an inventory: one host in group `domains`, with the connection as the lab made it.

A lab with ca1 also has `certification_authorities` (ca1, by WinRM) and `domain_controllers` (dc1, by SSH); with VPN hosts besides, it has
`vpn_appliances` (vpn1, by its REST API) and `vpn_gateways` (gw1, by SSH), together `vpn`. A lab with pk1 and VPN hosts has
`passivekey_workstations` (client1, by SSH).

Which lab: the one whose network this runs in (`./certlogon lab exec machine -- …`), else CERTLOGON_LAB, else the demo's.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lab import package
from lab.__main__ import lab_name
from lab.cards import FOLDER, Card
from lab.errors import LabError
from lab.labs import Lab

CHECKOUT = Path(__file__).resolve().parents[2]


def inventory(status: dict[str, Any]) -> dict[str, Any]:
    """What `--list` answers, with all variables of the hosts in it."""
    controllers = [host["fqdn"] for host in status["hosts"].values() if "ports" in host]
    administrator = status["accounts"]["administrator"]
    domain = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "certlogon_server": controllers,
        "certlogon_domain": status["dns_domain"],
        "certlogon_username": administrator["upn"],
        "certlogon_password": administrator["password"],
        "certlogon_ca_path": status["files"]["ca_bundle"],
        # Where the lab keeps its certificates, for the variables in group_vars.
        "certlogon_lab_files": status["files"]["folder"],
    }
    groups: dict[str, dict[str, Any]] = {"domains": {status["dns_domain"]: domain}}
    if "ca1" in status["hosts"]:
        groups["certification_authorities"] = {status["hosts"]["ca1"]["fqdn"]: ca_host(status)}
    if "ssh_key" in status["files"]:
        groups["domain_controllers"] = {status["hosts"]["dc1"]["fqdn"]: over_ssh(status["hosts"]["dc1"], status["files"])}
    if {"ca1", "vpn1"} <= status["hosts"].keys():
        gateway = status["hosts"]["gw1"]
        groups["vpn_appliances"] = {status["hosts"]["vpn1"]["fqdn"]: appliance(status)}
        groups["vpn_gateways"] = {gateway["fqdn"]: over_ssh(gateway, gateway) | vpn_gateway(status["hosts"])}
    if {"pk1", "client1"} <= status["hosts"].keys():
        workstation = status["hosts"]["client1"]
        groups["passivekey_workstations"] = {workstation["fqdn"]: over_ssh(workstation, workstation)}
    if "pk1" in status["hosts"]:
        groups["passivekey_servers"] = {status["hosts"]["pk1"]["fqdn"]: passivekey_server(status["hosts"]["pk1"], status["hosts"])}
    cards = cards_in_readers(status)
    if cards:
        groups["cards"] = cards
    hostvars = {name: variables for hosts in groups.values() for name, variables in hosts.items()}
    everywhere = {
        "certlogon_lab_files": status["files"]["folder"],
        "certlogon_lab_administrator": administrator,
        "certlogon_lab_tasks": str(CHECKOUT / "lab/tasks"),
    }
    if "pk1" in status["hosts"]:
        everywhere["certlogon_lab_wheel"] = str(package.wheel(Path(status["files"]["folder"]).with_name("dist")))
    listed: dict[str, Any] = {name: {"hosts": list(hosts)} for name, hosts in groups.items()}
    if "vpn_appliances" in groups:
        listed["vpn"] = {"children": ["vpn_appliances", "vpn_gateways"]}
    return listed | {"all": {"vars": everywhere}, "_meta": {"hostvars": hostvars}}


def cards_in_readers(status: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The cards that lab.cards has made, each its owner's; who enrolls signs in as himself."""
    folder = Path(f"/proc/{status['hosts']['control']['pid']}/root{FOLDER}")
    found = {}
    for file in sorted(folder.glob("*.pin")):
        owner = status["accounts"].get(file.stem)
        if owner:
            found[f"card-of-{file.stem}"] = {
                "ansible_connection": "local",
                "ansible_python_interpreter": "{{ ansible_playbook_python }}",
                "certlogon_card_upn": owner["upn"],
                "certlogon_card_uri": Card(file.stem, folder).uri,
                "certlogon_enrollment_username": owner["upn"],
                "certlogon_enrollment_password": owner["password"],
            }
    return found


def vpn_gateway(hosts: dict[str, Any]) -> dict[str, Any]:
    """gw1's own addresses for clients, and whom it asks about codes where the lab has pk1."""
    found = {"vpn_gateway_address_pool": hosts["gw1"]["pool"]}
    if "pk1" in hosts:
        secret = hosts["pk1"]["passivekey"]["radius_secrets"]["gw1"]
        found["certlogon_lab_radius_servers"] = [{"address": hosts["pk1"]["address"], "secret": secret}]
    return found


def passivekey_server(host: dict[str, Any], hosts: dict[str, Any]) -> dict[str, Any]:
    """pk1 by SSH, with what its administrator has ready."""
    known = host["passivekey"]
    gateways = [(name, secret) for name, secret in known["radius_secrets"].items() if name in hosts]
    asking = [{"name": name, "address": hosts[name]["address"], "secret": secret} for name, secret in gateways]
    return over_ssh(host, host) | {"certlogon_lab_passivekey": known, "passivekey_server_radius_clients": asking}


def ca_host(status: dict[str, Any]) -> dict[str, Any]:
    """NTLM by default; for Kerberos set ansible_winrm_transport, and ansible_user to name@REALM."""
    administrator = status["accounts"]["administrator"]
    return {
        "ansible_connection": "winrm",
        "ansible_port": status["hosts"]["ca1"]["winrm_port"],
        "ansible_winrm_transport": "ntlm",
        "ansible_user": administrator["netbios"],
        "ansible_password": administrator["password"],
        "ansible_winrm_ca_trust_path": status["files"]["ca_bundle"],
        "ansible_winrm_kinit_env_vars": ["KRB5_CONFIG"],
    }


def appliance(status: dict[str, Any]) -> dict[str, Any]:
    """The REST API of the stand-in for Connect Secure."""
    administrator = status["accounts"]["vpn_admin"]
    return {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "ansible_host": status["hosts"]["vpn1"]["fqdn"],
        "ansible_user": administrator["name"],
        "ansible_password": administrator["password"],
        "ansible_httpapi_ca_path": status["files"]["ca_bundle"],
    }


def over_ssh(host: dict[str, Any], files: dict[str, Any]) -> dict[str, Any]:
    return {
        "ansible_connection": "ssh",
        "ansible_host": host["address"],
        "ansible_user": "root",
        "ansible_ssh_private_key_file": files["ssh_key"],
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={files['ssh_known_hosts']} -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes",
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_pipelining": True,
        # All labs have the same addresses: a connection that is kept open must be found by its own lab alone.
        "ansible_control_path_dir": str(Path(files["ssh_key"]).with_name("connections")),
    }


def main() -> int:
    if sys.argv[1:2] == ["--host"]:  # all of it is in _meta
        print("{}")
        return 0
    try:
        lab = Lab(lab_name())
        status = lab.status()
        if status["state"] != "running":
            raise LabError(f"lab {lab.name!r} is not running; start it with: ./certlogon lab up --name {lab.name}")
    except (LabError, PermissionError) as error:
        print(f"inventories/lab: {error}", file=sys.stderr)
        return 1
    print(json.dumps(inventory(status), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
