# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad days of a policy on a real domain controller: broken files, dead runs, dead servers, readers and writers at the same time."""

from __future__ import annotations

import base64
import multiprocessing
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.directory.connection import ConnectionOptions
from ansible_collections.certlogon.core.plugins.module_utils.errors import SessionLost, UserError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import policy_container, sysvol
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policies import GroupPolicies
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.sysvol import Sysvol

NAME = "Certlogon fault policy"
POLICIES = "CN=Policies,CN=System,DC=corp,DC=example"
SHARE = "/var/lib/samba/sysvol/corp.example/Policies"
POL = "Machine/Registry.pol"
INF = "Machine/Microsoft/Windows NT/SecEdit/GptTmpl.inf"
ROUNDS = 50


@pytest.fixture(autouse=True)
def no_policy(lab: Any, run_resource: Callable[..., Any]) -> Iterator[None]:
    run_resource(GroupPolicies(), [{"name": NAME}], "deleted")
    yield
    run_resource(GroupPolicies(), [{"name": NAME}], "deleted")


@pytest.fixture
def mortal(lab: Any, no_policy: None) -> Iterator[Any]:
    """The lab with a server that may be killed: it runs again afterwards."""
    yield lab
    try:
        lab.start("dc1")
    except Exception as error:
        assert "runs on dc1 already" in str(error)


@pytest.fixture
def guid(lab: Any, run_resource: Callable[..., Any]) -> str:
    """A policy with one registry value and one service."""
    run_resource(GroupPolicies(), [wanted()])
    return str(attributes(lab)["cn"][0].decode())


def wanted(number: int = 1) -> dict[str, Any]:
    return {
        "name": NAME,
        "registry": [{"key": "Software\\Certlogon", "value": "Number", "type": "dword", "data": number}],
        "services": [{"name": "SCardSvr", "startup": "automatic"}],
    }


def attributes(lab: Any) -> dict[str, list[bytes]]:
    found: list[dict[str, list[bytes]]] = lab.ldbsearch(POLICIES, f"(displayName={NAME})", "*")
    assert len(found) == 1
    return found[0]


def get(lab: Any, guid: str, path: str) -> bytes:
    return base64.b64decode(lab.run("dc1", "base64", f"{SHARE}/{guid}/{path}").stdout)


def put(lab: Any, guid: str, path: str, data: bytes) -> None:
    """Overwrite a file behind everybody's back; its permissions stay."""
    lab.run("dc1", "sh", "-c", f"base64 -d > '{SHARE}/{guid}/{path}'", stdin=base64.b64encode(data).decode())


def whole(lab: Any, guid: str) -> None:
    """Versions in step, nothing left behind, permissions as Samba wants them."""
    version = int(attributes(lab)["versionnumber"][0])
    assert get(lab, guid, "GPT.INI").split() == [b"[General]", f"Version={version}".encode()]
    assert "certlogon-" not in lab.run("dc1", "find", f"{SHARE}/{guid}").stdout
    lab.samba_tool("ntacl", "sysvolcheck")


@pytest.mark.parametrize(
    ("path", "spoil", "message"),
    [
        (POL, lambda data: data[:-5], r"Machine\\registry.pol: instruction 1 .*(truncated|no '\]')"),
        (POL, lambda data: b"nonsense", r"Machine\\registry.pol: begins with"),
        (INF, lambda data: data[:-1], r"GptTmpl.inf: .*odd number of bytes"),
        (
            INF,
            lambda data: data + "SCPolicySvc automatic\r\n".encode("utf-16-le"),
            r"SecEdit\\GptTmpl.inf: line \d+ .. \[Service General Setting\]",
        ),
        ("GPT.INI", lambda data: b"[General]\r\n", r"GPT.INI: no Version in section \[General\]"),
        ("GPT.INI", lambda data: b"[General]\r\nVersion=x\r\n", r"GPT.INI: line 2: Version 'x' is no integer"),
    ],
    ids=["truncated registry.pol", "no registry.pol", "odd UTF-16", "broken line", "no version", "no number"],
)
def test_broken_files(
    lab: Any, run_resource: Callable[..., Any], guid: str, path: str, spoil: Callable[[bytes], bytes], message: str
) -> None:
    spoiled = spoil(get(lab, guid, path))
    put(lab, guid, path, spoiled)
    version = attributes(lab)["versionnumber"]
    with pytest.raises(UserError, match=message) as caught:
        run_resource(GroupPolicies(), [wanted(2)])
    assert len(str(caught.value).splitlines()) == 1 and str(caught.value).startswith(NAME)
    assert get(lab, guid, path) == spoiled and attributes(lab)["versionnumber"] == version, "nothing was written"
    found = run_resource(GroupPolicies(), [{"name": NAME}], "gathered")["gathered"][0]
    if path != "GPT.INI":
        assert [base64.b64decode(item["content"]) for item in found["files"]] == [spoiled], "an export loses nothing"


@pytest.mark.parametrize(("directory", "file"), [(5, 3), (3, 5), (0x10002, 0x20001)])
def test_versions_apart(lab: Any, run_resource: Callable[..., Any], guid: str, directory: int, file: int) -> None:
    dn = f"CN={guid},{POLICIES}"
    lab.ldbmodify(f"dn: {dn}\nchangetype: modify\nreplace: versionNumber\nversionNumber: {directory}\n\n")
    put(lab, guid, "GPT.INI", f"[General]\r\nVersion={file}\r\n".encode())
    result = run_resource(GroupPolicies(), [wanted()])
    assert result["changed"] and any("are brought together" in warning for warning in result["warnings"])
    version = int(attributes(lab)["versionnumber"][0])
    assert version & 0xFFFF > max(directory & 0xFFFF, file & 0xFFFF), "clients see the machine half anew"
    whole(lab, guid)
    again = run_resource(GroupPolicies(), [wanted()])
    assert again["changed"] is False and again["warnings"] == []


@pytest.mark.parametrize(
    "damage",
    [
        "rm -rf {folder}",
        "rm {folder}/GPT.INI",
        "rm {folder}/Machine/Registry.pol",
        "printf x > '{folder}/Machine/~certlogon-0011.tmp';"
        " printf '; certlogon: a change is under way; if it is not\\r\\n' >> {folder}/GPT.INI",
        "samba-tool ntacl set 'O:BAG:BAD:(A;OICI;FA;;;BA)' {folder}",
    ],
    ids=["no folder", "no GPT.INI", "no registry.pol", "died in the middle", "other permissions"],
)
def test_damage_is_repaired(lab: Any, run_resource: Callable[..., Any], guid: str, damage: str) -> None:
    lab.run("dc1", "sh", "-c", damage.replace("{folder}", f"{SHARE}/{guid}"))
    before = int(attributes(lab)["versionnumber"][0])
    assert run_resource(GroupPolicies(), [wanted()], check_mode=True)["changed"]
    result = run_resource(GroupPolicies(), [wanted()])
    assert result["changed"] and "failed" not in result, result.get("msg")
    whole(lab, guid)
    if "ntacl" not in damage:
        assert int(attributes(lab)["versionnumber"][0]) > before, "clients read it anew"
    assert run_resource(GroupPolicies(), [wanted()])["changed"] is False


def test_deleted_between_read_and_write(lab: Any, run_resource: Callable[..., Any], guid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def delete(*_arguments: Any) -> None:
        lab.run("dc1", "ldbdel", "-r", "-H", "/var/lib/samba/private/sam.ldb", f"CN={guid},{POLICIES}")
        lab.run("dc1", "rm", "-rf", f"{SHARE}/{guid}")

    monkeypatch.setattr(GroupPolicies, "authorize", delete)
    result = run_resource(GroupPolicies(), [wanted(2)])
    assert result["failed"] and result["changed"] is False
    assert "the policy was deleted after it had been read; run again" in result["msg"]
    assert lab.run("dc1", "ls", SHARE).stdout.count(guid) == 0
    monkeypatch.undo()
    assert run_resource(GroupPolicies(), [wanted(2)])["changed"]
    whole(lab, guid)


def dying(lab: Any, original: Callable[..., Any], when: int = 1) -> Callable[..., Any]:
    """The call before which the server dies."""
    calls = 0

    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == when:
            lab.kill("dc1")
        return original(*arguments, **named)

    return call


@pytest.mark.parametrize(
    ("owner", "function", "when"),
    [
        (Sysvol, "make_folders", 1),
        (Sysvol, "write_files", 1),
        (Sysvol, "walk", 1),
        (policy_container, "commit", 1),
        (policy_container, "edit_value", 1),
    ],
    ids=["before SYSVOL", "before the files", "after the files", "before the version", "before the link"],
)
def test_server_killed_in_the_middle(
    mortal: Any, run_resource: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, owner: Any, function: str, when: int
) -> None:
    lab = mortal
    config = wanted() | {"links": [{"target": "Corp/Workstations"}]}
    monkeypatch.setattr(owner, function, dying(lab, getattr(owner, function), when))
    result = run_resource(GroupPolicies(), [config], timeout=5)
    monkeypatch.undo()
    assert result["failed"] and result["changed"] is False
    assert "dc1.corp.example" in result["msg"] and "lost" in result["msg"] and len(result["msg"].splitlines()) == 1
    lab.start("dc1")
    result = run_resource(GroupPolicies(), [config])
    assert result["changed"] and "failed" not in result, result.get("msg")
    whole(lab, attributes(lab)["cn"][0].decode())
    assert int(attributes(lab)["versionnumber"][0]) > 0
    assert run_resource(GroupPolicies(), [config])["changed"] is False


@pytest.mark.parametrize("function", ["delete", "edit_value"])
def test_server_killed_while_deleting(
    mortal: Any, run_resource: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, guid: str, function: str
) -> None:
    lab = mortal
    run_resource(GroupPolicies(), [wanted() | {"links": [{"target": "Corp/Workstations"}]}])
    original = getattr(policy_container, function)

    def then_die(*arguments: Any) -> None:
        original(*arguments)
        lab.kill("dc1")

    monkeypatch.setattr(policy_container, function, then_die)
    with suppress(SessionLost):
        assert run_resource(GroupPolicies(), [{"name": NAME}], "deleted", timeout=5)["failed"]
    monkeypatch.undo()
    lab.start("dc1")
    assert guid in lab.run("dc1", "ls", SHARE).stdout
    result = run_resource(GroupPolicies(), [{"name": NAME}], "deleted")
    assert result["changed"] and "failed" not in result, result.get("msg")
    assert guid not in lab.run("dc1", "ls", SHARE).stdout
    assert run_resource(GroupPolicies(), [{"name": NAME}], "deleted")["changed"] is False


def test_reader_holds_a_file(
    run_resource: Callable[..., Any], connection: dict[str, Any], lab: Any, guid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysvol, "PATIENCE", 0.5)
    options = ConnectionOptions.from_params({**connection, "auth": "ntlm", "validate_certs": True, "timeout": 10})
    with sysvol.connect("dc1.corp.example", "dc1.corp.example", options) as other:
        request = sysvol._Request(f"corp.example\\Policies\\{guid}\\Machine\\Registry.pol", sysvol._READ_DATA)
        handle = other._run([request], keep_open=True)[0].data[0]
        result = run_resource(GroupPolicies(), [wanted(2)])
        assert result["failed"] and "cannot replace" in result["msg"] and "Registry.pol" in result["msg"]
        assert "smbstatus" in result["msg"] and len(result["msg"].splitlines()) == 1
        assert "certlogon-" not in lab.run("dc1", "find", f"{SHARE}/{guid}").stdout, "no temporary file stays"
        other._send(sysvol._close(handle))
    result = run_resource(GroupPolicies(), [wanted(2)])
    assert result["changed"] and any("an earlier run died" in warning for warning in result["warnings"])
    whole(lab, guid)


def test_writer_holds_the_lock(
    run_resource: Callable[..., Any], connection: dict[str, Any], guid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysvol, "PATIENCE", 0.5)
    options = ConnectionOptions.from_params({**connection, "auth": "ntlm", "validate_certs": True, "timeout": 10})
    with (
        sysvol.connect("dc1.corp.example", "dc1.corp.example", options) as other,
        other.lock(f"corp.example\\Policies\\{guid}\\GPT.INI"),
    ):
        result = run_resource(GroupPolicies(), [wanted(2)])
    assert result["failed"] and "cannot lock" in result["msg"] and "somebody has it open" in result["msg"]


def test_directory_edited_by_others_meanwhile(
    lab: Any, run_resource: Callable[..., Any], guid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor that does not know our lock raises the version in the directory: ours goes on from there."""
    original, calls = policy_container.commit, []

    def late(*arguments: Any) -> bool:
        if not calls:
            lab.ldbmodify(f"dn: CN={guid},{POLICIES}\nchangetype: modify\nreplace: versionNumber\nversionNumber: 9\n\n")
        calls.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(policy_container, "commit", late)
    result = run_resource(GroupPolicies(), [wanted(2)])
    assert result["changed"] and "failed" not in result, result.get("msg")
    assert len(calls) == 2 and int(attributes(lab)["versionnumber"][0]) == 10
    monkeypatch.undo()
    whole(lab, guid)


def _writer(run_resource: Callable[..., Any], tag: str, rounds: range, barrier: Any, results: Any) -> None:
    try:
        for number in rounds:
            setting = {"key": "Software\\Certlogon\\Rounds", "value": f"{tag}{number}", "type": "dword", "data": number}
            barrier.wait(60)
            result = run_resource(GroupPolicies(), [{"name": NAME, "registry": [setting], "links": [{"target": "Corp/Workstations"}]}])
            assert result["changed"] and "failed" not in result, result.get("msg")
        results.put("")
    except BaseException:
        barrier.abort()
        results.put(traceback.format_exc())


def test_two_runs_at_once_lose_nothing(lab: Any, run_resource: Callable[..., Any]) -> None:
    """Fifty rounds of two processes, each adding its own value to the same policy at the same moment; the first round makes it."""
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(2), context.Queue()
    writers = [context.Process(target=_writer, args=(run_resource, tag, range(ROUNDS), barrier, results)) for tag in ("one", "two")]
    for writer in writers:
        writer.start()
    said = "".join(results.get(timeout=600) for _writer_ in writers)
    assert not said, said
    for writer in writers:
        writer.join()
    found = run_resource(GroupPolicies(), [{"name": NAME}], "gathered")["gathered"][0]
    assert {item["value"] for item in found["registry"]} == {f"{tag}{number}" for tag in ("one", "two") for number in range(ROUNDS)}
    assert int(attributes(lab)["versionnumber"][0]) == 2 * ROUNDS, "one version a change"
    assert [link["target"] for link in found["links"]] == ["Corp/Workstations"]
    whole(lab, attributes(lab)["cn"][0].decode())
