# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from types import SimpleNamespace

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.adcs import powershell as windows
from ansible_collections.certlogon.core.plugins.module_utils.compliance import read_only
from ansible_collections.certlogon.core.plugins.module_utils.compliance.read_only import ALLOWED, Asked, NotReadOnly
from ansible_collections.certlogon.core.plugins.module_utils.directory.session import Directory, Entry, Modify
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import sysvol as smb
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.sysvol import Sysvol

ROOT = Entry(
    "",
    {
        name: [b"DC=corp,DC=example"]
        for name in ("defaultNamingContext", "configurationNamingContext", "schemaNamingContext", "rootDomainNamingContext")
    },
)


class Wire:
    """A connection that answers every search with nothing, and must never be asked for more."""

    def __init__(self) -> None:
        self.result = {"result": 0}
        self.response = []
        self.searches = 0

    def search(self, *_arguments, **_named):
        self.searches += 1


@pytest.fixture
def asked():
    return Asked({})


@pytest.fixture
def directory(asked):
    return read_only.ReadOnlyDirectory(Directory(Wire(), SimpleNamespace(), "dc1", ROOT), asked)


def test_searches_are_counted(directory, asked):
    directory.search("DC=corp,DC=example")
    directory.get("CN=a,DC=corp,DC=example")
    assert directory._connection.searches == 2
    assert asked.counts == {"ldap bind": 1, "ldap search": 2}


@pytest.mark.parametrize(
    "write",
    [
        lambda d: d.add("CN=a", {"cn": "a"}),
        lambda d: d.modify("CN=a", [Modify("replace", "cn", ["b"])]),
        lambda d: d.delete("CN=a"),
        lambda d: d._do("CN=a", "modify_dn", "CN=a", "CN=b"),
    ],
)
def test_directory_writes_never_reach_the_wire(directory, write):
    with pytest.raises(NotReadOnly, match=r"ldap (add|modify|delete|modify_dn)"):
        write(directory)


@pytest.fixture
def sysvol(asked, monkeypatch):
    seen = []
    monkeypatch.setattr(
        Sysvol, "_run", lambda self, requests: seen.extend(requests) or [smb._Answer(smb._NAME_NOT_FOUND) for _request in requests]
    )
    tree = SimpleNamespace(session=SimpleNamespace(connection=SimpleNamespace(max_read_size=1 << 20)))
    session = read_only.ReadOnlySysvol(Sysvol("dc1", tree, 10), asked)
    session.seen = seen
    return session


def test_reading_files_is_counted(sysvol, asked):
    sysvol.read_files(["a", "b"])
    sysvol.read_descriptors(["a"])
    sysvol.list_folders(["c"])
    assert len(sysvol.seen) == 4
    assert {name: asked.counts[name] for name in ("smb create", "smb query_info", "smb query_directory", "smb close")} == {
        "smb create": 4,
        "smb query_info": 1,
        "smb query_directory": 2,
        "smb close": 4,
    }
    assert set(asked.counts) <= {f"smb {verb}" for verb in ALLOWED["smb"]}


@pytest.mark.parametrize(
    "write",
    [
        lambda s: s.write_files({"a": b"b"}, None),
        lambda s: s.delete_files(["a"]),
        lambda s: s.make_folders(["a"], None),
        lambda s: s.lock("a").__enter__(),
        lambda s: s._send(None),
    ],
)
def test_sysvol_writes_never_reach_the_wire(sysvol, write):
    with pytest.raises(NotReadOnly):
        write(sysvol)
    assert not sysvol.seen


def test_windows_hosts_run_reading_scripts_only(asked):
    ran = []

    def invoke(name, arguments, runas=None):
        ran.append(name)
        return {"result": {"a": 1}}

    session = read_only.powershell(windows.PowerShellSession(invoke, print), asked)
    session.run("adcs_state", doing="read")
    assert asked.counts == {"winrm adcs_state": 1}
    for write in (
        lambda: session.run("adcs_install", doing="install"),
        lambda: session.module("ansible.windows.win_service", {}, doing="stop"),
        lambda: session.module(windows.MODULE, {"script": windows.source("adcs_state") + "\nRestart-Service CertSvc"}, doing="restart"),
    ):
        with pytest.raises(NotReadOnly):
            write()
    assert len(ran) == 1


@pytest.mark.parametrize(("method", "path", "verb"), [("GET", "system", "https GET"), ("POST", "realm_auth", "https POST login")])
def test_appliances_are_asked_and_logged_in_to(asked, monkeypatch, method, path, verb):
    monkeypatch.setattr(read_only.transport.Transport, "__init__", lambda self, options, run: None)
    monkeypatch.setattr(read_only.transport.Transport, "_once", lambda self, *_arguments: "answer")
    sender = read_only._ReadOnlyTransport(None, None, asked, frozenset({"realm_auth"}))
    assert sender._once(method, path, ("", ""), None, None, True) == "answer"
    assert asked.counts == {verb: 1}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_appliances_are_never_written_to(asked, monkeypatch, method):
    monkeypatch.setattr(read_only.transport.Transport, "__init__", lambda self, options, run: None)
    sender = read_only._ReadOnlyTransport(None, None, asked, frozenset({"realm_auth"}))
    with pytest.raises(NotReadOnly):
        sender.send(method, "configuration/system", ("", ""))
    assert not asked.counts
