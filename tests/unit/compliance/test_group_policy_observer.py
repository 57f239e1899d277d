# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read of Group Policy, from a directory and a SYSVOL made by hand: what may not be read, and which computers are looked from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.compliance import read_only
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Target
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers import group_policy as observer
from ansible_collections.certlogon.core.plugins.module_utils.directory.names import parent_dn
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import SddlContext, SecurityDescriptor, Sid
from ansible_collections.certlogon.core.plugins.module_utils.directory.session import Entry, NoSuchObject
from ansible_collections.certlogon.core.plugins.module_utils.errors import SessionLost, UserError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import gpt_ini, registry_pol, scripts_ini
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.resultant import REGISTRY, SECURITY
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.sysvol import Item

SID = "S-1-5-21-1-2-3"
CONTEXT = SddlContext(Sid.parse(SID))
DOMAIN, CONFIGURATION = "DC=corp,DC=example", "CN=Configuration,DC=corp,DC=example"
POLICIES = f"CN=Policies,CN=System,{DOMAIN}"
FOLDER = "corp.example\\Policies"
DESCRIPTOR = SecurityDescriptor.from_sddl("O:DAG:DAD:P(A;CI;LCRPLORC;;;AU)", CONTEXT)
POL = registry_pol.serialise([registry_pol.record(registry_pol.Setting("Software\\X", "Y", type=registry_pol.DWORD, data=1))])
CARD, OTHER, BARE = (f"{{0000000{number}-0000-0000-0000-000000000000}}" for number in (1, 2, 3))
GROUPS = f"CN=Inner,OU=Groups,{DOMAIN}", f"CN=Outer,OU=Groups,{DOMAIN}"


def entry(dn: str, kind: str, **attributes: Any) -> Entry:
    values = {"objectClass": kind, **attributes}
    listed = {name: value if isinstance(value, list) else [value] for name, value in values.items()}
    return Entry(dn, {name: [one if isinstance(one, bytes) else str(one).encode() for one in several] for name, several in listed.items()})


def policy(guid: str, name: str, version: int, extensions: str = "", **more: Any) -> Entry:
    named = {"gPCMachineExtensionNames": extensions} if extensions else {}
    return entry(f"CN={guid},{POLICIES}", "groupPolicyContainer", cn=guid, displayName=name, versionNumber=version, **named, **more)


def computer(name: str, place: str, rid: int, *groups: str, control: int = 4096, **more: Any) -> Entry:
    sid = bytes(CONTEXT.domain.child(rid))
    words = {"sAMAccountName": f"{name}$", "objectSid": sid, "primaryGroupID": 515, "userAccountControl": control, **more}
    return entry(f"CN={name},{place}", "computer", memberOf=list(groups), **words)


DESKS = f"OU=Desks,{DOMAIN}"
OBJECTS = [
    policy(CARD, "Card", 1, f"[{REGISTRY}{{D02B1F72-3407-48AE-BA88-E8213C6761F1}}]", nTSecurityDescriptor=bytes(DESCRIPTOR)),
    policy(OTHER, "Other", 5),
    policy(BARE, "Bare", 0),
    entry(DOMAIN, "domainDNS", gPLink=f"[LDAP://CN={CARD},{POLICIES};0]"),
    entry(f"CN=Hall,CN=Sites,{CONFIGURATION}", "site"),
    entry(f"CN=dc1,CN=Servers,CN=Hall,CN=Sites,{CONFIGURATION}", "server", serverReference=f"CN=dc1,OU=Domain Controllers,{DOMAIN}"),
    computer("dc1", f"OU=Domain Controllers,{DOMAIN}", 1000, control=0x82000, tokenGroups=[bytes(CONTEXT.domain.child(516))]),
    computer("ws1", DESKS, 1101),
    computer("ws2", DESKS, 1102, GROUPS[0]),
    computer("ws3", DESKS, 1103, GROUPS[0]),
    computer("off", f"OU=Off,{DOMAIN}", 1104, control=4098),
    computer("srv", f"OU=Servers,{DOMAIN}", 1105, dNSHostName="srv.corp.example"),
    entry(GROUPS[0], "group", objectSid=bytes(CONTEXT.domain.child(1201)), memberOf=GROUPS[1]),
    entry(GROUPS[1], "group", objectSid=bytes(CONTEXT.domain.child(1202)), memberOf=GROUPS[0]),
    entry(f"CN=S-1-5-11,CN=ForeignSecurityPrincipals,{DOMAIN}", "foreignSecurityPrincipal", memberOf=GROUPS[1]),
]
FILES = {
    f"{CARD}\\GPT.INI": gpt_ini.serialise(gpt_ini.new(1)),
    f"{CARD}\\Machine\\Registry.pol": POL,
    f"{OTHER}\\GPT.INI": b"rubbish",
    f"{OTHER}\\Machine\\Registry.pol": POL,
    f"{BARE}\\GPT.INI": gpt_ini.serialise(gpt_ini.new(0)),
}


class FakeDirectory:
    """Answers by place and class."""

    host, address, domain, is_samba = "dc1.corp.example", "192.0.2.1", "corp.example", True
    domain_dn, configuration_dn, public_key_services = DOMAIN, CONFIGURATION, f"CN=Public Key Services,CN=Services,{CONFIGURATION}"
    domain_sid = root_domain_sid = Sid.parse(SID)
    options = SimpleNamespace(username="auditor@corp.example")

    def __init__(self, objects: Sequence[Entry] | None = None) -> None:
        self.objects = OBJECTS if objects is None else objects

    def search(self, base: str, filter: str, attributes: Any, scope: str = "subtree", *, descriptor: int = 0) -> list[Entry]:
        below = [one for one in self.objects if one.dn == base or one.dn.endswith(f",{base}")]
        if not below:
            raise NoSuchObject(f"{base}: the server refused to search: noSuchObject")
        if "gPLink" in filter:
            return [one for one in below if one.has("gPLink")]
        kind = filter.partition("=")[2].partition(")")[0]
        return [one for one in below if kind in one.texts("objectClass") and (scope != "level" or parent_dn(one.dn) == base)]

    stream = search

    def get(self, dn: str, attributes: Sequence[str]) -> Entry | None:
        found = next((one for one in self.objects if one.dn == dn), None)
        return found if found is None or attributes != ("tokenGroups",) or found.has("tokenGroups") else Entry(dn, {})

    def principal_names(self, sids: list[Sid]) -> dict[Sid, str]:
        return {sid: f"name of {sid}" for sid in sids}


class FakeSysvol:
    """Files below the policies' folder; who asks for one of `refused` fails with all that was asked at once."""

    def __init__(self, files: dict[str, bytes], refused: set[str]) -> None:
        self.files = {f"{FOLDER}\\{path}": data for path, data in files.items()}
        self.refused = {f"{FOLDER}\\{path}" for path in refused}
        self.asked: list[str] = []

    def _check(self, paths: Sequence[str]) -> None:
        for path in paths:
            if path in self.refused:
                raise UserError(f"cannot read {path}: access denied")
        self.asked += paths

    def read_files(self, paths: Sequence[str]) -> dict[str, bytes | None]:
        self._check(paths)
        return {path: self.files.get(path) for path in paths}

    def read_descriptors(self, paths: Sequence[str]) -> dict[str, SecurityDescriptor | None]:
        self._check(paths)
        return {path: DESCRIPTOR if any(name.startswith(path) for name in self.files) else None for path in paths}

    def list_folders(self, paths: Sequence[str]) -> dict[str, list[Item]]:
        names = {name[len(FOLDER) + 1 :].partition("\\")[0] for name in self.files}
        return {path: [Item(name, True, 0) for name in sorted({*names, BARE.replace("3", "9"), "PolicyDefinitions"})] for path in paths}

    def walk(self, roots: Sequence[str]) -> dict[str, Item]:
        return {
            name: Item(name.rpartition("\\")[2], False, 9) for name in self.files if any(name.startswith(f"{root}\\") for root in roots)
        }


class World:
    """What is there, to be changed by a test before it looks."""

    def __init__(self) -> None:
        self.files = dict(FILES)
        self.refused: set[str] = set()
        self.sysvol: Any = None
        self.others: dict[str, Any] = {}

    def look(self, controllers: Any = (), objects: Sequence[Entry] | None = None, **params: Any) -> dict[str, Any]:
        seen = Observation(Target("domain", "corp.example"), "")
        seen.set("domain_controllers", [{"host": host, "name": host} for host in controllers])
        usual = {"policies": [], "computers": [], "computers_limit": 500}
        observer.observe(FakeDirectory(objects), {**usual, **params}, seen)  # type: ignore[arg-type]
        assert set(observer.FACTS) <= set(seen.facts)
        json.dumps(seen.facts)
        return seen.facts


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    found = World()

    @contextmanager
    def sysvol(host: str, address: str, options: Any, asked: Any) -> Iterator[Any]:
        found.sysvol = FakeSysvol(found.files if host == "dc1.corp.example" else found.others[host][1], found.refused)
        yield found.sysvol

    @contextmanager
    def directory(options: Any, warn: Any, asked: Any, *, host: str) -> Iterator[Any]:
        if isinstance(found.others[host], Exception):
            raise found.others[host]
        there = FakeDirectory(found.others[host][0])
        there.host = host
        yield there

    monkeypatch.setattr(read_only, "sysvol", sysvol)
    monkeypatch.setattr(read_only, "directory", directory)
    return found


def test_files_are_read_where_extension_lists_say_so(world: World) -> None:
    facts = world.look()
    assert set(facts["policy_contents"]) == {CARD, OTHER}  # the other one was edited, and names no extension
    assert facts["policy_contents"][CARD]["registry"] == [["Software\\X", "Y", "present", "dword", 1]]
    assert not any(BARE in path and "GPT.INI" not in path and path != f"{FOLDER}\\{BARE}" for path in world.sysvol.asked)
    assert sum(CARD in path and path.endswith(".pol") for path in world.sysvol.asked) == 1


def test_versions_and_folders(world: World) -> None:
    found = world.look()["policy_folders"]
    assert found["policies"][CARD]["version"] == 1 and found["policies"][BARE]["version"] == 0
    assert found["policies"][OTHER]["version"] is None and "no Version" in found["policies"][OTHER]["version_problem"]
    assert found["orphans"] == [BARE.replace("3", "9")]
    del world.files[f"{BARE}\\GPT.INI"]
    assert world.look()["policy_folders"]["policies"][BARE]["present"] is False


def test_one_refusal_hides_nothing_else(world: World) -> None:
    world.refused = {f"{CARD}\\GPT.INI", OTHER, f"{CARD}\\Machine\\Registry.pol"}
    facts = world.look()
    folders = facts["policy_folders"]["policies"]
    assert folders[CARD]["version_unread"] and "access denied" in folders[CARD]["version_problem"]
    assert not folders[BARE]["version_unread"]
    assert folders[OTHER]["present"] and folders[OTHER]["descriptor"] is None and "access denied" in folders[OTHER]["descriptor_problem"]
    assert folders[CARD]["descriptor"] is not None
    assert "access denied" in facts["policy_contents"][CARD]["unread"]["Machine\\Registry.pol"]
    assert facts["policy_contents"][OTHER]["registry"]


def test_computers_stand_for_places_and_groups(world: World) -> None:
    found = world.look(computers=["SRV.corp.example", "gone"])["policy_computers"]
    assert [(one["name"], one["kind"], one["stands_for"]) for one in found["chosen"]] == [
        ("dc1", "domain_controller", 1),
        ("srv", "named", 1),
        ("ws1", "representative", 3),
        ("ws2", "representative", 3),
    ]
    assert (found["total"], found["left_out"], found["missing"]) == (6, 0, ["gone"])
    assert world.look(computers_limit=2)["policy_computers"]["left_out"] == 2


def test_tokens(world: World) -> None:
    chosen = {one["name"]: one for one in world.look()["policy_computers"]["chosen"]}
    assert {f"{SID}-516", "S-1-5-9", "S-1-5-11", f"{SID}-1000", f"{SID}-1202"} <= set(chosen["dc1"]["sids"])
    assert chosen["dc1"]["site"] == f"CN=Hall,CN=Sites,{CONFIGURATION}" and chosen["ws2"]["site"] is None
    # what the server does not reckon is followed, group by group, round and round
    assert {f"{SID}-515", f"{SID}-1201", f"{SID}-1202"} <= set(chosen["ws2"]["sids"])
    assert "S-1-5-9" not in chosen["ws2"]["sids"]
    assert {f"{SID}-1201", f"{SID}-1202"} <= set(chosen["ws1"]["sids"])  # by Authenticated Users, who are in Outer


def test_other_domain_controllers(world: World) -> None:
    behind = [policy(CARD, "Card", 1) if one.dn.startswith(f"CN={OTHER}") else one for one in OBJECTS]
    world.others = {
        "dc2": (OBJECTS, FILES),
        "dc3": (behind, {**FILES, f"{CARD}\\GPT.INI": gpt_ini.serialise(gpt_ini.new(7))}),
        "dc4": SessionLost("dc4:389 does not answer"),
    }
    same, differing, silent = world.look(["dc1.corp.example", "dc2", "dc3", "dc4"])["policy_replicas"]
    assert (same["count"], same["compared"]) == (0, 3)
    assert differing["differences"] == [
        {"policy": "Card", "where": "SYSVOL", "here": 1, "there": 7},
        {"policy": "Other", "where": "directory", "here": 5, "there": None},
    ]
    assert silent["error"] == "dc4:389 does not answer"


def test_scripts_and_passwords(world: World) -> None:
    groups = "[{17D89FEC-5C44-4972-B12D-241CAEF74509}{79F92669-4224-476C-9C5C-6EFB4D87DF4A}]"
    names = f"{groups}[{scripts_ini.EXTENSION}{{40B6664F-4972-11D1-A7CA-0000F87571E3}}]"
    ini = "\ufeff[Startup]\r\n0CmdLine=a.cmd\r\n0Parameters=/x\r\n1CmdLine=\\\\files\\b.cmd\r\n".encode("utf-16-le")
    world.files |= {
        f"{CARD}\\Machine\\Scripts\\scripts.ini": ini,
        f"{CARD}\\Machine\\Scripts\\Startup\\a.cmd": b"rem",
        f"{CARD}\\Machine\\Preferences\\Groups\\Groups.xml": b'<Groups cpassword="abc"/>',
        f"{CARD}\\Machine\\Preferences\\Drives\\Drives.xml": b'<Drives cpassword=""/>',
    }
    said = world.look(objects=[policy(CARD, "Card", 1, names), *OBJECTS[1:]])["policy_contents"][CARD]
    assert [(one["command"], one["parameters"], one["there"]) for one in said["scripts"]] == [
        ("a.cmd", "/x", True),
        ("\\\\files\\b.cmd", "", None),
    ]
    assert said["passwords"] == ["Machine\\Preferences\\Groups\\Groups.xml"]


def test_what_is_declared(world: World) -> None:
    good, broken = world.look(
        policies=[
            {"name": "Card", "services": [{"name": "SCardSvr", "startup": "automatic"}], "links": [{"target": "Desks"}]},
            {"name": "Broken", "certificates": {"trusted_root": [{"path": "/nowhere/ca.pem"}]}},
        ]
    )["policies_declared"]
    assert good["contents"]["services"] == [["SCardSvr", "automatic"]] and good["links"][0]["dn"] == DESKS and not good["unread"]
    assert "/nowhere/ca.pem" in broken["unread"]
    assert world.look(policies=[{"name": "Card"}])["policy_contents"][CARD]["kinds"]["computer"] == ["registry"]
    with pytest.raises(UserError, match="policies: "):
        world.look(policies=[{"name": "Card", "service": []}])
    assert SECURITY not in world.sysvol.asked
