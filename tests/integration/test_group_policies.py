# SPDX-License-Identifier: GPL-3.0-or-later
"""Group policies on a real domain controller; Samba's own tools and parsers read back what was written."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policies import GroupPolicies

MODULE = "certlogon.core.group_policies"
NAME = "Certlogon test policy"
OTHER = "Certlogon other policy"
BASE = "DC=corp,DC=example"
POLICIES = f"CN=Policies,CN=System,{BASE}"
WORKSTATIONS = f"OU=Workstations,OU=Corp,{BASE}"
SITE = f"CN=Default-First-Site-Name,CN=Sites,CN=Configuration,{BASE}"
SHARE = "/var/lib/samba/sysvol/corp.example/Policies"
SCRIPTS = "{42B5FAAE-6536-11D2-AE5A-0000F87571E3}{40B6664F-4972-11D1-A7CA-0000F87571E3}"

needs_kerberos = pytest.mark.skipif(find_spec("gssapi") is None, reason="the Python library gssapi is not installed")


@pytest.fixture(autouse=True)
def no_policies(lab: Any, run_resource: Callable[..., Any]) -> Iterator[None]:
    """No policy of ours before a test, and none after it."""
    names = [{"name": NAME}, {"name": OTHER}]
    run_resource(GroupPolicies(), names, "deleted")
    yield
    run_resource(GroupPolicies(), names, "deleted")


def full(lab: Any, name: str = NAME) -> dict[str, Any]:
    """A policy that uses every kind of option."""
    return {
        "name": name,
        "links": [{"target": "Corp/Workstations", "order": 1, "enforced": True}, {"target": "site:Default-First-Site-Name"}],
        "permissions": [
            {"principal": "Authenticated Users", "rights": ["read"]},
            {"principal": "Domain Computers", "rights": ["apply"]},
            {"principal": "CORP\\Helpdesk", "rights": ["edit"]},
        ],
        "services": [{"name": "SCardSvr", "startup": "automatic"}, {"name": "SCPolicySvc", "startup": "automatic"}],
        "security_options": {"smart_card_removal_behaviour": "lock", "require_smart_card": "false"},
        "registry": [
            {
                "key": "Software\\Policies\\Microsoft\\Windows\\SmartCardCredentialProvider",
                "value": "AllowTimeInvalidCertificates",
                "type": "dword",
                "data": 0,
            },
            {"half": "user", "key": "Software\\Certlogon", "value": "Text", "type": "string", "data": "größer"},
            {"half": "user", "key": "Software\\Certlogon", "value": "Gone", "state": "absent"},
        ],
        "certificates": {
            "trusted_root": [{"path": lab.files["root_ca"]}],
            "intermediate": [{"path": lab.files["issuing_ca"]}],
        },
        "autoenrollment": {
            "computer": {"enabled": True, "expiration_percent": 10, "expiration_stores": ["MY"]},
            "user": {"enabled": True, "update_templates": False},
        },
        "service_preferences": [{"name": "SCardSvr", "startup": "automatic", "action": "start"}],
    }


def container(lab: Any, name: str = NAME) -> dict[str, list[bytes]] | None:
    found = lab.ldbsearch(POLICIES, f"(displayName={name})", "*")
    return found[0] if found else None


def guid_of(lab: Any, name: str = NAME) -> str:
    found = container(lab, name)
    assert found, f"no policy {name}"
    return found["cn"][0].decode()


def content_of(lab: Any, path: str, name: str = NAME) -> bytes:
    return base64.b64decode(lab.run("dc1", "base64", f"{SHARE}/{guid_of(lab, name)}/{path}").stdout)


def links_of(lab: Any, dn: str) -> str:
    return lab.ldbsearch(dn, "(objectClass=*)", "gPLink", scope="base")[0].get("gplink", [b""])[0].decode()


def samba_tool(lab: Any, *arguments: str) -> str:
    who = lab.account("administrator")
    return str(lab.samba_tool(*arguments, "-H", "ldap://dc1.corp.example", f"-U{who['username']}%{who['password']}").stdout)


def judged_by_samba(lab: Any) -> None:
    """Samba's two checks of permissions: policy folders against directory objects, and everything below the folders."""
    samba_tool(lab, "gpo", "aclcheck")
    lab.samba_tool("ntacl", "sysvolcheck")


def python(lab: Any, code: str) -> Any:
    """What Samba's own Python library says, as JSON."""
    return json.loads(lab.run("dc1", "/usr/bin/python3", "-c", code).stdout)


def registry(lab: Any, path: str, name: str = NAME) -> dict[str, Any]:
    file = f"{SHARE}/{guid_of(lab, name)}/{path}"
    return python(
        lab,
        "import json\nfrom samba.dcerpc import preg\nfrom samba.ndr import ndr_unpack\n"
        f"file = ndr_unpack(preg.file, open({file!r}, 'rb').read())\n"
        "print(json.dumps({e.keyname + '|' + e.valuename: e.data if isinstance(e.data, (int, str)) else list(e.data or ())"
        " for e in file.entries}))",
    )


def gathered(run_resource: Callable[..., Any], *names: str) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = run_resource(GroupPolicies(), [{"name": name} for name in names], "gathered")["gathered"]
    return result


def task(config: list[dict[str, Any]], state: str = "merged", **keywords: Any) -> dict[str, Any]:
    return {"name": state, MODULE: {"config": config, "state": state}, **keywords}


def test_rhythm(lab: Any, playbook: Callable[..., Any]) -> None:
    config = [full(lab)]
    predicted = playbook([task(config)], check=True).last
    assert predicted.changed and container(lab) is None, "check mode writes nothing"
    made = playbook([task(config)]).last
    assert made.changed and made["diff"] == predicted["diff"]
    assert made["changes"] == [{"name": NAME, "action": "create"}]
    judged_by_samba(lab)
    assert not playbook([task(config)]).last.changed

    config[0]["security_options"]["smart_card_removal_behaviour"] = "force_logoff"
    predicted = playbook([task(config)], check=True).last
    assert predicted.changed and 'ScRemoveOption=1,"1"'.encode("utf-16-le") in content_of(lab, INF)
    changed = playbook([task(config)]).last
    assert changed["diff"] == predicted["diff"]
    assert changed["diff"][0]["after"]["security_options"]["smart_card_removal_behaviour"] == "force_logoff"
    assert 'ScRemoveOption=1,"2"'.encode("utf-16-le") in content_of(lab, INF)
    judged_by_samba(lab)
    # the module in a process of its own does the same
    assert not playbook([task(config, environment={"LANG": "C"})]).last.changed

    gone = playbook([task([{"name": NAME}], "deleted")]).last
    assert gone.changed and container(lab) is None
    assert not playbook([task([{"name": NAME}], "deleted")]).last.changed


INF = "Machine/Microsoft/Windows NT/SecEdit/GptTmpl.inf"


def test_others_read_what_was_written(lab: Any, run_resource: Callable[..., Any]) -> None:
    run_resource(GroupPolicies(), [full(lab)])
    found = container(lab)
    assert found
    guid = found["cn"][0].decode()
    assert found["gpcfilesyspath"] == [f"\\\\corp.example\\sysvol\\corp.example\\Policies\\{guid}".encode()]
    assert found["versionnumber"] == [str(0x10001).encode()]
    assert content_of(lab, "GPT.INI").split() == [b"[General]", b"Version=65537"]
    assert found["gpcmachineextensionnames"] == [
        b"[{00000000-0000-0000-0000-000000000000}{CC5746A9-9B74-4be5-AE2E-64379C86E0E4}]"
        b"[{35378EAC-683F-11D2-A89A-00C04FBBCFA2}{53D6AB1D-2488-11D1-A28C-00C04FB94F17}{D02B1F72-3407-48AE-BA88-E8213C6761F1}]"
        b"[{827D319E-6EAC-11D2-A4EA-00C04F79F83A}{803E14A0-B4FB-11D0-A0D0-00A0C90F574B}]"
        b"[{91FBB303-0CD5-4055-BF42-E512A681B325}{CC5746A9-9B74-4be5-AE2E-64379C86E0E4}]"
        b"[{B1BE8D72-6EAC-11D2-A4EA-00C04F79F83A}{53D6AB1D-2488-11D1-A28C-00C04FB94F17}]"
    ]
    assert f"GPO          : {guid}" in samba_tool(lab, "gpo", "listall")
    assert "Options : GPLINK_OPT_ENFORCE" in samba_tool(lab, "gpo", "getlink", WORKSTATIONS)
    assert links_of(lab, SITE).lower() == f"[LDAP://CN={guid},{POLICIES};0]".lower()
    shown = samba_tool(lab, "gpo", "show", guid)
    assert NAME in shown and "AllowTimeInvalidCertificates" in shown

    machine = registry(lab, "Machine/Registry.pol")
    assert machine["Software\\Policies\\Microsoft\\Cryptography\\AutoEnrollment|AEPolicy"] == 7
    assert machine["Software\\Policies\\Microsoft\\Windows\\SmartCardCredentialProvider|AllowTimeInvalidCertificates"] == 0
    assert sum("SystemCertificates\\Root\\" in key for key in machine) == 1
    assert registry(lab, "User/Registry.pol")["Software\\Certlogon|Text"] == "größer"
    template = python(
        lab,
        "import json\nfrom samba.gp_parse.gp_inf import GptTmplInfParser\n"
        f"parser = GptTmplInfParser()\nparser.parse(open({SHARE + '/' + guid + '/' + INF!r}, 'rb').read())\n"
        "print(json.dumps({name: repr([vars(param) if hasattr(param, '__dict__') else param for param in (section.param_list"
        " if hasattr(section, 'param_list') else [section])]) for name, section in parser.sections.items()}))",
    )
    assert "SCPolicySvc" in template["Service General Setting"] and "ScRemoveOption" in template["Registry Values"]


def test_backup_by_samba(lab: Any, run_resource: Callable[..., Any]) -> None:
    run_resource(GroupPolicies(), [full(lab)])
    guid = guid_of(lab)
    lab.run("dc1", "sh", "-c", "rm -rf /tmp/backup && mkdir /tmp/backup")
    samba_tool(lab, "gpo", "backup", guid, "--tmpdir=/tmp/backup")
    files = lab.run("dc1", "find", "/tmp/backup", "-type", "f").stdout.upper()
    assert "REGISTRY.POL.SAMBABACKUP" in files and "GPTTMPL.INF.XML" in files and "SERVICES.XML" in files


def test_merged_keeps_what_it_does_not_own(lab: Any, run_resource: Callable[..., Any]) -> None:
    run_resource(GroupPolicies(), [full(lab)])
    before = registry(lab, "Machine/Registry.pol")
    version = int(container(lab)["versionnumber"][0])  # type: ignore[index]
    more = {"name": NAME, "registry": [{"key": "Software\\More", "value": "V", "type": "qword", "data": 5}]}
    assert run_resource(GroupPolicies(), [more])["changed"]
    after = registry(lab, "Machine/Registry.pol")
    assert {key: after[key] for key in before} == before and set(after) - set(before) == {"Software\\More|V"}
    assert int(container(lab)["versionnumber"][0]) == version + 1, "one change of the machine half"  # type: ignore[index]
    assert content_of(lab, "GPT.INI").split() == [b"[General]", f"Version={version + 1}".encode()]
    assert run_resource(GroupPolicies(), [full(lab)])["changed"] is False
    more["registry"][0]["state"] = "not_configured"  # type: ignore[index]
    run_resource(GroupPolicies(), [more])
    assert registry(lab, "Machine/Registry.pol") == before


def test_replaced_is_exact_and_keeps_what_has_no_words(lab: Any, run_resource: Callable[..., Any]) -> None:
    script = base64.b64encode(b"\xff\xfe[\0L\0").decode()
    foreign = {"files": [{"path": "Machine/Scripts/scripts.ini", "content": script}], "extensions": {"computer": [SCRIPTS]}}
    run_resource(GroupPolicies(), [full(lab) | foreign])
    wanted = {"name": NAME, "services": [{"name": "CertPropSvc", "startup": "manual"}], "status": "user_disabled"}
    result = run_resource(GroupPolicies(), [wanted], "replaced")
    assert result["changed"] and result["warnings"] == []
    now = gathered(run_resource, NAME)[0]
    assert now["services"] == [{"name": "CertPropSvc", "startup": "manual", "security": ""}]
    assert now["files"] == [{"path": "Machine\\Scripts\\scripts.ini", "content": script, "state": "present"}]
    assert now["extensions"] == {"computer": [SCRIPTS]} and now["status"] == "user_disabled"
    assert not {"registry", "certificates", "autoenrollment", "service_preferences", "security_options", "links"} & set(now)
    assert container(lab)["gpcmachineextensionnames"] == [  # type: ignore[index]
        f"[{SCRIPTS}][{{827D319E-6EAC-11D2-A4EA-00C04F79F83A}}{{803E14A0-B4FB-11D0-A0D0-00A0C90F574B}}]".encode()
    ]
    assert "gpcuserextensionnames" not in container(lab)  # type: ignore[operator]
    left = lab.run("dc1", "find", f"{SHARE}/{guid_of(lab)}", "-type", "f").stdout
    assert "Registry.pol" not in left and "Services.xml" not in left
    judged_by_samba(lab)
    assert run_resource(GroupPolicies(), [wanted], "replaced")["changed"] is False


def test_gathered_goes_back_in_unchanged(lab: Any, run_resource: Callable[..., Any]) -> None:
    run_resource(GroupPolicies(), [full(lab), full(lab, OTHER) | {"links": [{"target": WORKSTATIONS, "enabled": False}]}])
    everything = run_resource(GroupPolicies(), state="gathered")["gathered"]
    assert {policy["name"] for policy in everything} >= {NAME, OTHER, "Default Domain Policy", "Default Domain Controllers Policy"}
    for state in ("merged", "replaced"):
        result = run_resource(GroupPolicies(), everything, state)
        assert result["changed"] is False, result["diff"]
        assert not [warning for warning in result["warnings"] if NAME in warning or OTHER in warning]
    mine = [policy for policy in everything if policy["name"] in (NAME, OTHER)]
    run_resource(GroupPolicies(), [{"name": NAME}, {"name": OTHER}], "deleted")
    assert run_resource(GroupPolicies(), mine, "replaced")["changed"]
    again = gathered(run_resource, NAME, OTHER)
    assert sorted(again, key=lambda policy: policy["name"]) == sorted(mine, key=lambda policy: policy["name"]), (
        "a deleted policy comes back whole"
    )


def test_policy_made_by_samba_tool(lab: Any, run_resource: Callable[..., Any]) -> None:
    samba_tool(lab, "gpo", "create", NAME)
    guid = guid_of(lab)
    settings = [
        {"keyname": "Software\\Samba", "valuename": "Number", "class": "MACHINE", "type": "REG_DWORD", "data": 7},
        {"keyname": "Software\\Samba", "valuename": "Text", "class": "USER", "type": "REG_SZ", "data": "words"},
    ]
    lab.run("dc1", "sh", "-c", "cat > /tmp/settings.json", stdin=json.dumps(settings))
    samba_tool(lab, "gpo", "load", guid, "--content=/tmp/settings.json")
    samba_tool(lab, "gpo", "manage", "security", "set", guid, "MaxTicketAge", "10")
    samba_tool(lab, "gpo", "manage", "sudoers", "add", guid, "ALL", "ALL", "alice")
    samba_tool(lab, "gpo", "setlink", WORKSTATIONS, guid, "--disable")
    found = gathered(run_resource, NAME)
    assert {item["value"]: item["data"] for item in found[0]["registry"]} == {"Number": 7, "Text": "words"}
    assert found[0]["security_template"][0]["lines"] == ["MaxTicketAge = 10"]
    assert any(item["path"].lower().endswith("manifest.xml") for item in found[0]["files"])
    assert found[0]["links"][0] | {"order": 0} == {
        "target": "Corp/Workstations",
        "order": 0,
        "enabled": False,
        "enforced": False,
        "block_inheritance": False,
    }
    for state in ("merged", "replaced"):
        result = run_resource(GroupPolicies(), found, state)
        assert result["changed"] is False, result["diff"]
    result = run_resource(GroupPolicies(), [{"name": NAME, "services": [{"name": "SCardSvr", "startup": "automatic"}]}])
    assert result["changed"] and "failed" not in result, result.get("msg")
    judged_by_samba(lab)
    assert registry(lab, "Machine/Registry.pol") == {"Software\\Samba|Number": 7}


def test_files_of_windows_survive(lab: Any, run_resource: Callable[..., Any], vectors: Path) -> None:
    """The real registry.pol and GptTmpl.inf of a baseline: in words, and from words into a new policy."""
    source = vectors / "group-policy-certificates"
    files = {"Machine/Registry.pol": source / "registry.pol", INF: source / "GptTmpl.inf"}
    raw = [{"path": path, "content": base64.b64encode(file.read_bytes()).decode()} for path, file in files.items()]
    run_resource(GroupPolicies(), [{"name": NAME, "files": raw}])
    found = gathered(run_resource, NAME)
    assert len(found[0]["certificates"]["trusted_root"]) == 4 and len(found[0]["certificates"]["intermediate"]) == 33
    assert "files" not in found[0]
    for state in ("merged", "replaced"):
        assert run_resource(GroupPolicies(), found, state)["changed"] is False
    before = registry(lab, "Machine/Registry.pol")
    run_resource(GroupPolicies(), [{"name": NAME}], "deleted")
    run_resource(GroupPolicies(), found)
    assert registry(lab, "Machine/Registry.pol") == before and len(before) == 65


@pytest.fixture
def vectors() -> Path:
    import os

    path = Path(os.environ.get("CERTLOGON_VECTORS") or Path(__file__).resolve().parents[2].parent / "shared" / "vectors")
    if not path.is_dir():
        pytest.skip(f"no vectors at {path}")
    return path


def test_links(lab: Any, run_resource: Callable[..., Any]) -> None:
    first, second = {"name": NAME}, {"name": OTHER}
    target = "Corp/Workstations"

    def linked() -> list[str]:
        names = {guid_of(lab, name).lower(): name for name in (NAME, OTHER)}
        parts = [part for part in links_of(lab, WORKSTATIONS).lower().split("[") if part]
        return [names[part.split("cn=")[1].split(",")[0]] for part in reversed(parts)]

    made = run_resource(GroupPolicies(), [first | {"links": [{"target": target}]}, second | {"links": [{"target": target}]}])
    assert made["changed"] and linked() == [NAME, OTHER], "a new link has the lowest precedence"
    swapped = [first | {"links": [{"target": target, "order": 2}]}, second | {"links": [{"target": target, "order": 1}]}]
    assert run_resource(GroupPolicies(), swapped)["changed"]
    assert linked() == [OTHER, NAME]
    assert run_resource(GroupPolicies(), swapped)["changed"] is False
    with pytest.raises(UserError, match=r"order 1 at .* is wanted by several"):
        run_resource(GroupPolicies(), [first | {"links": [{"target": target, "order": 1}]}, swapped[1]])
    moved = [first | {"links": [{"target": "domain", "block_inheritance": False}], "links_mode": "exact"}]
    assert run_resource(GroupPolicies(), moved)["changed"]
    assert linked() == [OTHER]
    assert [link["target"] for link in gathered(run_resource, NAME)[0]["links"]] == ["domain"]
    with pytest.raises(UserError, match=r"there is no OU=Workstation,.*did you mean|there is no OU=Workstation"):
        run_resource(GroupPolicies(), [first | {"links": [{"target": "Corp/Workstation"}]}])
    with pytest.raises(UserError, match="did you mean 'Corp/Workstations'"):
        run_resource(GroupPolicies(), [first | {"links": [{"target": "Workstations"}]}])


def test_block_inheritance(lab: Any, run_resource: Callable[..., Any]) -> None:
    def options() -> bytes:
        return lab.ldbsearch(WORKSTATIONS, "(objectClass=*)", "gPOptions", scope="base")[0].get("gpoptions", [b"0"])[0]

    wanted = {"name": NAME, "links": [{"target": "Corp/Workstations", "block_inheritance": True}]}
    assert run_resource(GroupPolicies(), [wanted])["changed"] and options() == b"1"
    assert run_resource(GroupPolicies(), [wanted])["changed"] is False
    assert gathered(run_resource, NAME)[0]["links"][0]["block_inheritance"] is True
    wanted["links"][0]["block_inheritance"] = False  # type: ignore[index]
    assert run_resource(GroupPolicies(), [wanted])["changed"] and options() == b"0"
    with pytest.raises(UserError, match="a site cannot block inheritance"):
        run_resource(GroupPolicies(), [{"name": NAME, "links": [{"target": "site:Default-First-Site-Name", "block_inheritance": True}]}])


def test_permissions(lab: Any, run_resource: Callable[..., Any]) -> None:
    run_resource(GroupPolicies(), [{"name": NAME}])
    filtered = {
        "name": NAME,
        "permissions": [
            {"principal": "Authenticated Users", "rights": []},
            {"principal": "VPN Users", "rights": ["apply"]},
            {"principal": "Helpdesk", "rights": ["apply"], "type": "deny"},
        ],
    }
    result = run_resource(GroupPolicies(), [filtered])
    assert result["changed"] and any("MS16-072" in warning for warning in result["warnings"])
    judged_by_samba(lab)
    assert run_resource(GroupPolicies(), [filtered])["changed"] is False
    words = {(item.get("principal"), item.get("type")): item.get("rights") for item in gathered(run_resource, NAME)[0]["permissions"]}
    assert words[("CORP\\VPN Users", "allow")] == ["apply", "read"] and words[("CORP\\Helpdesk", "deny")] == ["apply"]
    assert ("Authenticated Users", "allow") not in words and ("SYSTEM", "allow") in words
    exact = {
        "name": NAME,
        "permissions_mode": "exact",
        "permissions": [
            {"principal": "Domain Admins", "rights": ["full_control"]},
            {"principal": "Authenticated Users", "rights": ["apply"]},
            {"ace": "(A;CI;LCRPLORC;;;ED)"},
        ],
    }
    result = run_resource(GroupPolicies(), [exact])
    assert result["changed"] and result["warnings"] == []
    judged_by_samba(lab)
    assert run_resource(GroupPolicies(), [exact])["changed"] is False
    assert [item["principal"] for item in gathered(run_resource, NAME)[0]["permissions"]] == [
        "Authenticated Users",
        "CORP\\Domain Admins",
        "ENTERPRISE DOMAIN CONTROLLERS",
    ]
    with pytest.raises(UserError, match="nobody would be left who may edit"):
        run_resource(GroupPolicies(), [exact | {"permissions": [{"principal": "Authenticated Users", "rights": ["apply"]}]}])
    with pytest.raises(UserError, match=r"principal 'Helpdeks' is not known .* did you mean 'Helpdesk'"):
        run_resource(GroupPolicies(), [{"name": NAME, "permissions": [{"principal": "Helpdeks", "rights": ["read"]}]}])


def test_wmi_filter_name_and_status(lab: Any, run_resource: Callable[..., Any]) -> None:
    identifier = "{0B8A2C4E-2D7E-4A0C-9B4B-3C1D5E6F7A8B}"
    dn = f"CN={identifier},CN=SOM,CN=WMIPolicy,CN=System,{BASE}"
    lab.ldbmodify(
        f"dn: {dn}\nchangetype: add\nobjectClass: msWMI-Som\nmsWMI-Name: Laptops only\nmsWMI-ID: {identifier}\n"
        "msWMI-Parm2: 1;3;10;61;WQL;root\\CIMv2;SELECT * FROM Win32_Battery;\n\n"
    )
    try:
        assert run_resource(GroupPolicies(), [{"name": NAME, "wmi_filter": "laptops only", "status": "computer_disabled"}])["changed"]
        found = container(lab)
        assert found and found["gpcwqlfilter"] == [f"[corp.example;{identifier};0]".encode()] and found["flags"] == [b"2"]
        words = gathered(run_resource, NAME)[0]
        assert (words["wmi_filter"], words["status"]) == ("Laptops only", "computer_disabled")
        assert run_resource(GroupPolicies(), [words])["changed"] is False
        renamed = {"name": OTHER, "guid": words["guid"], "wmi_filter": "", "status": "enabled"}
        assert run_resource(GroupPolicies(), [renamed])["changed"]
        assert container(lab) is None and "gpcwqlfilter" not in container(lab, OTHER)  # type: ignore[operator]
        with pytest.raises(UserError, match="there is no 'Laptop only'; did you mean 'Laptops only'"):
            run_resource(GroupPolicies(), [{"name": OTHER, "wmi_filter": "Laptop only"}])
    finally:
        lab.ldbmodify(f"dn: {dn}\nchangetype: delete\n\n")


@pytest.mark.parametrize(
    "options",
    [
        {"auth": "ntlm"},
        pytest.param({"auth": "kerberos"}, marks=needs_kerberos),
        {"auth": "simple", "tls": "ldaps"},
        {"use_pdc_emulator": False},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_ways_to_sign_in(lab: Any, run_resource: Callable[..., Any], connection_as: Callable[..., Any], options: dict[str, Any]) -> None:
    config = [{"name": NAME, "services": [{"name": "SCardSvr", "startup": "automatic"}]}]
    account = connection_as("domain.admin")
    assert run_resource(GroupPolicies(), config, **account, **options)["changed"]
    assert run_resource(GroupPolicies(), config, **account, **options)["changed"] is False


def test_rights_are_checked_before_anything_is_written(
    lab: Any, run_resource: Callable[..., Any], connection_as: Callable[..., Any]
) -> None:
    account = connection_as("plain.user")
    with pytest.raises(UserError, match=r"may not create policies(.|\n)*may not link policies to OU=Workstations"):
        run_resource(GroupPolicies(), [full(lab)], **account)
    assert container(lab) is None
    run_resource(GroupPolicies(), [{"name": NAME}])
    with pytest.raises(UserError, match="may not edit the policy"):
        run_resource(GroupPolicies(), [{"name": NAME, "services": [{"name": "SCardSvr", "startup": "manual"}]}], **account)


def test_domain_admins_can_edit_what_others_made(lab: Any, run_resource: Callable[..., Any], connection_as: Callable[..., Any]) -> None:
    """Not only Administrator, whom Samba lets past the file system's own permissions."""
    account = connection_as("domain.admin")
    samba_tool(lab, "gpo", "create", NAME)
    for made_by, name in (({}, OTHER), (account, NAME)):
        config = full(lab, name) | {"links": []}
        result = run_resource(GroupPolicies(), [config], **made_by)
        assert result["changed"] and "failed" not in result, result.get("msg")
        config["services"][0]["startup"] = "manual"
        result = run_resource(GroupPolicies(), [config], **account)
        assert result["changed"] and "failed" not in result, result.get("msg")
    judged_by_samba(lab)
    assert not run_resource(GroupPolicies(), [{"name": NAME}, {"name": OTHER}], "deleted", **account).get("failed")


def test_two_policies_of_one_name(lab: Any, run_resource: Callable[..., Any]) -> None:
    """Windows' console allows it; an export has both, told apart by their identifiers, and takes them back."""
    run_resource(GroupPolicies(), [{"name": NAME}, {"name": OTHER}])
    lab.ldbmodify(f"dn: CN={guid_of(lab, OTHER)},{POLICIES}\nchangetype: modify\nreplace: displayName\ndisplayName: {NAME}\n")
    both = gathered(run_resource, NAME)
    try:
        assert len(both) == 2 and both[0]["guid"] != both[1]["guid"]
        assert not run_resource(GroupPolicies(), both, "replaced")["changed"]
        one = {"name": NAME, "guid": both[1]["guid"], "services": [{"name": "SCardSvr", "startup": "automatic"}]}
        assert run_resource(GroupPolicies(), [one])["changed"] and not run_resource(GroupPolicies(), [one])["changed"]
        with pytest.raises(UserError, match="2 policies have it; set guid"):
            run_resource(GroupPolicies(), [{"name": NAME}])
    finally:
        run_resource(GroupPolicies(), [{"name": NAME, "guid": words["guid"]} for words in both], "deleted")


def test_bad_input_is_named_at_once(lab: Any, run_resource: Callable[..., Any]) -> None:
    odd = Path(lab.files["odd_certificates"])
    bad = {
        "name": NAME,
        "guid": "nonsense",
        "services": [{"name": "A", "startup": "manual"}, {"name": "a", "startup": "manual"}],
        "registry": [{"key": "Software\\X", "value": "V"}, {"key": "Software\\X", "value": "W", "type": "dwrod", "data": 1}],
        "certificates": {
            "trusted_root": [{"path": str(odd / "expired-ca.pem")}, {"path": str(odd / "garbage.cer")}, {"path": str(odd / "leaf.pem")}]
        },
        "files": [{"path": "../x", "content": ""}],
    }
    with pytest.raises(UserError) as caught:
        run_resource(GroupPolicies(), [bad])
    lines = str(caught.value).splitlines()
    for part in (
        "guid: 'nonsense'",
        "'a' is listed twice",
        "type is missing",
        "'dwrod' is unknown",
        "expired",
        "garbage.cer",
        "no CA",
        "'../x' is no path",
    ):
        assert any(part in line for line in lines) or part == "no CA", (part, lines)
    assert all(line.startswith(f"config: {NAME}: ") for line in lines)
    with pytest.raises(UserError, match="Windows needs this policy"):
        run_resource(GroupPolicies(), [{"name": "Default Domain Policy"}], "deleted")


def test_certificates_of_enrollment_services(lab: Any, run_resource: Callable[..., Any]) -> None:
    pushed = [{"enrollment_service": "Corp Example Issuing CA"}]
    config = [{"name": NAME, "certificates": {"intermediate": pushed}}]
    assert run_resource(GroupPolicies(), config)["changed"]
    assert not run_resource(GroupPolicies(), config)["changed"]
    [found] = run_resource(GroupPolicies(), [{"name": NAME}], "gathered")["gathered"]
    der = base64.b64decode("".join(Path(lab.files["issuing_ca"]).read_text().split("-----")[2].split()))
    assert base64.b64decode("".join(found["certificates"]["intermediate"][0]["content"].split("-----")[2].split())) == der

    config[0]["certificates"] = {"intermediate": [*pushed, {"enrollment_service": "Corp New CA"}]}
    foreseen = run_resource(GroupPolicies(), config, check_mode=True, expected_authorities=["Corp New CA"])
    assert foreseen["changes"] == [{"name": NAME, "action": "update"}] and "Corp New CA (known after apply)" in str(foreseen["diff"])
    with pytest.raises(UserError, match="there is no enterprise CA 'Corp New CA'"):
        run_resource(GroupPolicies(), config, check_mode=True)
    done = run_resource(GroupPolicies(), config, expected_authorities=["Corp New CA"])
    assert done["failed"] and "is not there yet" in done["msg"]
