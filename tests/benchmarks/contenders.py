# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is compared: the modules, what a user would otherwise pick, and the floor; each as a command for the same work."""

from __future__ import annotations

import base64
import json
import os
import pickle
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.floor import PREFIX
from tests.benchmarks.measure import Run, timed

HERE = Path(__file__).resolve().parent
BINARY = {"pkikeyusage", "pkiexpirationperiod", "pkioverlapperiod", "ntsecuritydescriptor"}


class Ansible:
    """Playbooks in an interpreter's environment; the connection is in the environment, as a user would have it."""

    def __init__(self, folder: Path, interpreter: Path) -> None:
        self.folder = folder
        self.program = str(interpreter.with_name("ansible-playbook"))
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
            "ANSIBLE_HOME": str(folder / "ansible"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PYTHON_INTERPRETER": str(interpreter),
            "ANSIBLE_DISPLAY_OK_HOSTS": "0",
            "LC_ALL": "C.UTF-8",
        }

    def play(self, name: str, tasks: list[dict[str, Any]], variables: dict[str, Any] | None = None) -> list[str]:
        """Write a playbook; returns the command that runs it."""
        file = self.folder / f"{name}.json"
        play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": variables or {}, "tasks": tasks}
        file.write_text(json.dumps([play]))
        return [self.program, "-i", "localhost,", str(file)]

    def run(self, command: list[str]) -> Run:
        return timed(command, self.folder / "last.log", self.environment)


def template_config(count: int) -> list[dict[str, Any]]:
    return [
        {
            "name": f"{PREFIX}{number:04}",
            "display_name": f"{PREFIX}{number:04}",
            "based_on": "SmartcardLogon",
            "extended_key_usages": ["smart_card_logon", "client_authentication"],
            "providers": ["Microsoft Base Smart Card Crypto Provider"],
            "validity": "1y",
            "renewal_overlap": "6w",
            "permissions": [{"principal": "Domain Admins", "rights": ["read", "enroll"]}],
        }
        for number in range(count)
    ]


def policy_config(count: int) -> list[dict[str, Any]]:
    key = r"Software\Policies\Microsoft\Windows\SmartCardCredentialProvider"
    return [
        {
            "name": f"{PREFIX}{number:04}",
            "services": [{"name": "SCardSvr", "startup": "automatic"}, {"name": "SCPolicySvc", "startup": "automatic"}],
            "security_options": {"smart_card_removal_behaviour": "lock"},
            "registry": [{"key": key, "value": "AllowIntegratedUnblock", "type": "dword", "data": 1}],
            "service_preferences": [{"name": "SCardSvr", "startup": "automatic", "action": "start"}],
        }
        for number in range(count)
    ]


def module_task(module: str, config: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{f"certlogon.core.{module}": {"config": config}}]


def ldap_tasks(dump: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """community.general: each object made, then its attributes kept; without ACL, OID object and binary values."""
    wanted, _current = pickle.loads(dump.read_bytes())  # written by floor.py
    objects = []
    for dn, entry in wanted.items():
        attributes = {
            name: [value.decode() for value in values]
            for name, values in entry.items()
            if name.lower() not in BINARY | {"cn", "objectclass"}
        }
        objects.append({"dn": dn, "attributes": attributes})
    connection = {
        "server_uri": f"ldaps://{os.environ['CERTLOGON_SERVER']}",
        "bind_dn": os.environ["CERTLOGON_USERNAME"],
        "bind_pw": os.environ["CERTLOGON_PASSWORD"],
        "ca_path": os.environ["CERTLOGON_CA_PATH"],
    }
    tasks = [
        {
            "community.general.ldap_entry": {
                **connection,
                "dn": "{{ item.dn }}",
                "objectClass": ["top", "pKICertificateTemplate"],
                "attributes": "{{ item.attributes }}",
            },
            "loop": "{{ objects }}",
            "loop_control": {"label": "{{ item.dn }}"},
        },
        {
            "community.general.ldap_attrs": {**connection, "dn": "{{ item.dn }}", "attributes": "{{ item.attributes }}", "state": "exact"},
            "loop": "{{ objects }}",
            "loop_control": {"label": "{{ item.dn }}"},
        },
    ]
    return tasks, {"objects": objects}


def floor(folder: Path, mode: str, kind: str, dump: Path) -> Run:
    return timed([sys.executable, str(HERE / "floor.py"), mode, kind, str(dump)], folder / "floor.log")


def empty_script(folder: Path) -> Run:
    """What starting the interpreter costs; subtracted from the floor, as the empty play is from the playbooks."""
    return timed([sys.executable, "-c", "pass"], folder / "empty.log")


def registry_json(guid: str, data: int) -> str:
    """What `samba-tool gpo load` takes for the same registry value."""
    key = r"Software\Policies\Microsoft\Windows\SmartCardCredentialProvider"
    entry = {"keyname": key, "valuename": "AllowIntegratedUnblock", "class": "MACHINE", "type": "REG_DWORD", "data": data}
    return f"printf %s {base64.b64encode(json.dumps([entry]).encode()).decode()} | base64 -d > /tmp/bench.json; " + (
        f'samba-tool gpo load {guid} -H ldap://$SERVER -U "$ACCOUNT" --content=/tmp/bench.json > /dev/null'
    )
