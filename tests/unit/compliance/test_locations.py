# SPDX-License-Identifier: GPL-3.0-or-later
"""From a host and variables to the line of the inventory: the file that Ansible would take, in its order."""

from __future__ import annotations

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.compliance.outputs.locations import Locator

FILES = {
    "hosts.yml": """---
domains:
  hosts:
    corp.example:
      own: 1
    branch.example:
  vars:
    for_group: 1
  children:
    inner:
      hosts:
        deep.example: {deepest: 1}
vpn:
  hosts:
    vpn1.corp.example:
all:
  vars:
    everywhere: 1
""",
    "more.ini": """# names
[gateways]
gw1.corp.example port=1 inline=2

[gateways:vars]
ini_var = 3
""",
    "group_vars/domains/templates.yml": """---
# comment
for_group_file:
  - a
vaulted: !vault |
  $ANSIBLE_VAULT;1.1;AES256
  00
both: 1
""",
    "group_vars/all.yml": "both: 2\nonly_all: {{ broken\n",
    "group_vars/vpn.yaml": "both: 3\n",
    "host_vars/corp.example.yml": "\n\nboth: 0\n",
    "host_vars/branch.example/x.json": '{\n "json": 1\n}\n',
    "group_vars/domains/notes.txt~": "",
    "group_vars/domains/binary.yml": b"\xff\xfe\x00",
}


@pytest.fixture(scope="module")
def locator(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inventory")
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Locator([folder])


@pytest.mark.parametrize(
    ("host", "groups", "variables", "place"),
    [
        ("corp.example", ["domains"], ["both"], ("host_vars/corp.example.yml", 3)),
        ("branch.example", ["domains"], ["both"], ("group_vars/domains/templates.yml", 8)),
        ("branch.example", ["domains"], ["vaulted"], ("group_vars/domains/templates.yml", 5)),
        ("branch.example", ["domains"], ["json"], ("host_vars/branch.example/x.json", 2)),
        ("vpn1.corp.example", ["vpn"], ["both"], ("group_vars/vpn.yaml", 1)),
        ("corp.example", ["domains"], ["own"], ("hosts.yml", 5)),
        ("corp.example", ["domains"], ["for_group"], ("hosts.yml", 8)),
        ("deep.example", ["inner", "domains"], ["deepest"], ("hosts.yml", 12)),
        ("vpn1.corp.example", ["vpn"], ["everywhere"], ("hosts.yml", 18)),
        ("gw1.corp.example", ["gateways"], ["ini_var"], ("more.ini", 6)),
        ("gw1.corp.example", ["gateways"], ["inline"], ("more.ini", 3)),
        ("corp.example", ["domains"], ["nowhere", "for_group_file"], ("group_vars/domains/templates.yml", 3)),
        ("branch.example", ["domains"], ["own"], ("hosts.yml", 6)),  # another host's: only where the host itself is written
        ("branch.example", ["domains"], ["nowhere"], ("hosts.yml", 6)),
        ("gw1.corp.example", ["gateways"], ["nowhere"], ("more.ini", 3)),
        ("unheard.example", [], ["nowhere"], None),
    ],
)
def test_places(locator, host, groups, variables, place):
    found = locator.find(host, groups, variables)
    assert (found and (found["file"], found["line"])) == place


def test_files_outside_the_root_keep_their_names_only(tmp_path):
    (tmp_path / "play/group_vars").mkdir(parents=True)
    (tmp_path / "play/group_vars/all.yml").write_text("a: 1\n")
    (tmp_path / "inventory").mkdir()
    locator = Locator([tmp_path / "inventory"], tmp_path / "play")
    assert locator.find("h", [], ["a"]) == {"file": "all.yml", "line": 1}


def test_no_inventory_is_no_error(tmp_path):
    assert Locator([tmp_path / "absent"]).find("h", ["g"], ["v"]) is None
