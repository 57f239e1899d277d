# SPDX-License-Identifier: GPL-3.0-or-later
"""The session with a Windows host: what it sends, what it makes of the answers; and the action in front of it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from winrm.exceptions import WinRMError

from ansible_collections.certlogon.core.plugins.module_utils.adcs import powershell
from ansible_collections.certlogon.core.plugins.module_utils.adcs.powershell import Credential, HostResource, PowerShellSession
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Change, Plan
from ansible_collections.certlogon.core.plugins.plugin_utils import powershell as front
from ansible_collections.certlogon.core.plugins.plugin_utils.powershell import PowerShellAction

SECRET = "correct horse battery staple"


def error(message: str, hresult: int = -2146233087) -> dict[str, Any]:
    return {"output": "At line:1", "exception": {"message": message, "type": "X", "hresult": hresult}}


class Host:
    """Answers what it is told to, and remembers what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, Any]] = []

    def __call__(self, name: str, arguments: Any, runas: Any = None) -> Any:
        self.asked.append((name, arguments))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def session(host: Host, warnings: list[str] | None = None) -> PowerShellSession:
    return PowerShellSession(host, (warnings if warnings is not None else []).append)


def test_what_is_sent():
    host, warnings = Host({"result": {"a": 1}, "warning": ["slow"], "changed": False}), list[str]()
    secrets = {"Credential": Credential("CORP\\admin", SECRET), "Password": SECRET}
    assert session(host, warnings).run("adcs_state", {"Principals": ["x"], "Left": None}, secrets, doing="ca") == {"a": 1}
    name, arguments = host.asked[0]
    assert name == "ansible.windows.win_powershell"
    assert arguments["script"] == powershell.source("adcs_state")
    assert arguments["parameters"] == {"Principals": ["x"]}
    assert arguments["error_action"] == "stop"
    assert arguments["sensitive_parameters"] == [
        {"name": "Credential", "username": "CORP\\admin", "password": SECRET},
        {"name": "Password", "value": SECRET},
    ]
    assert warnings == ["slow"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"failed": True, "error": [error("No  such\nthing")]}, "Corp CA: read: No such thing"),
        ({"failed": True, "error": [error("Access is denied", -2147024891)]}, "(0x80070005); the account lacks a right there"),
        ({"failed": True, "error": [error("CCertSrvSetup: Access is denied. 0x80070005 (WIN32: 5)")]}, "the account lacks a right"),
        ({"failed": True, "error": [error("0x80094800")]}, "0x80094800; publish the template"),
        ({"failed": True, "msg": "Unhandled exception"}, "Corp CA: read: Unhandled exception"),
        ({"failed": True, "module_stderr": "#< CLIXML"}, "#< CLIXML"),
        ({"failed": True}, "without saying why"),
        ({"result": {}, "host_out": "Hello\n"}, "ended without a result; it wrote Hello"),
        ({"result": None}, "ended without a result"),
        ({}, "it wrote nothing"),
    ],
)
def test_failures(answer: dict[str, Any], message: str):
    with pytest.raises(UserError) as caught:
        session(Host(answer)).run("adcs_state", doing="Corp CA: read", remedies={"0x80094800": "publish the template"})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rounds_are_counted():
    made = session(Host({"result": {"a": 1}}, {"reboot_required": True}))
    made.run("adcs_state", doing="x")
    made.module("ansible.windows.win_feature", {"name": "ADCS-Cert-Authority"}, doing="x")
    assert made.rounds == 2


# ---- the action


class Lamp(HostResource[dict[str, Any]]):
    extra = {"password": {"type": "str", "no_log": True}}
    options = {"name": {"type": "str", "required": True}, "on": {"type": "bool"}}

    def read(self, session: PowerShellSession, params: Any) -> dict[str, Any]:
        return session.run("adcs_state", secrets={"P": params["password"] or "none"}, doing="lamp")

    def objects(self, current: dict[str, Any]) -> dict[str, Any]:
        return {"lamp": {"name": "lamp", "on": current["on"]}}

    def plan(self, params: Any, current: dict[str, Any]) -> Plan:
        have, want = self.objects(current)["lamp"], params["config"][0]
        return Plan([Change("lamp", have, want)] if have != want else [])

    def apply(self, session: PowerShellSession, change: Change) -> None:
        session.run("adcs_state", doing="lamp")

    def returns(self, params: Any) -> dict[str, Any]:
        return {"shown": params["password"]}


class LampAction(PowerShellAction):
    resource = Lamp


class Loader:
    """Ansible's own would import the collection, which others' tests load in another way."""

    def __init__(self, found: bool = True) -> None:
        self.found = found

    def find_plugin_with_context(self, name: str, mod_type: str) -> SimpleNamespace:
        return SimpleNamespace(resolved=self.found)


@pytest.fixture(autouse=True)
def loader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "module_loader", Loader())


def run(host: Host, *, windows: bool = True, check: bool = False, **args: Any) -> dict[str, Any]:
    task = SimpleNamespace(
        args={"config": [{"name": "lamp", "on": True}], **args},
        action="certlogon.core.lamp",
        async_val=0,
        check_mode=check,
        environment=[],
        diff=True,
    )
    shell = SimpleNamespace(tmpdir=None, _IS_WINDOWS=windows)
    connection = SimpleNamespace(transport="winrm", _shell=shell, has_option=lambda name: True, get_option=lambda name: "ca1.corp.example")
    action = LampAction(task, connection, SimpleNamespace(), None, None, None)
    action._execute_module = lambda module_name, module_args, task_vars: host(module_name, module_args)
    result: dict[str, Any] = action.run(task_vars={})
    return result


def on(value: bool) -> dict[str, Any]:
    return {"result": {"on": value}}


def test_no_change_is_one_round():
    host = Host(on(True))
    result = run(host)
    assert (result["changed"], result["rounds"]) == (False, 1)


def test_change_is_read_written_and_read_back():
    result = run(Host(on(False), on(True), on(True)))
    assert (result["changed"], result["rounds"]) == (True, 3)
    assert result["diff"][0]["after"] == {"on": True}


def test_check_mode_only_reads():
    result = run(Host(on(False)), check=True)
    assert (result["changed"], result["rounds"]) == (True, 1)


def test_secrets_are_in_nothing_that_is_returned():
    result = run(Host(on(True)), password=SECRET)
    assert SECRET not in json.dumps(result, default=str)
    result = run(Host({"failed": True, "error": [error(f"bad password {SECRET}")]}), password=SECRET)
    assert result["failed"] and SECRET not in json.dumps(result, default=str)


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("ntlm: the specified credentials were rejected by the server", "check ansible_user"),
        ("ssl: HTTPSConnectionPool(host='ca1', port=5986): Max retries exceeded: [Errno 111] Connection refused", "winrm quickconfig"),
        ("ssl: SSLError(certificate verify failed)", "ansible_winrm_ca_trust_path"),
    ],
)
def test_unreachable_stays_ansibles_own(reason: str, remedy: str):
    with pytest.raises(AnsibleConnectionFailure) as caught:
        run(Host(AnsibleConnectionFailure(reason)))
    assert str(caught.value).startswith("ca1.corp.example cannot be reached by winrm: ") and remedy in str(caught.value)


def test_time_out_is_unreachable():
    with pytest.raises(AnsibleConnectionFailure, match="firewall"):
        run(Host(AnsibleError("the connection attempt timed out")))


def test_other_errors_of_ansible_stay():
    with pytest.raises(AnsibleError, match="winrm or requests is not installed"):
        run(Host(AnsibleError("winrm or requests is not installed")))


def test_gone_in_the_middle():
    result = run(Host(on(False), AnsibleConnectionFailure("connection aborted")))
    assert result["failed"] and "taken up by the next run" in result["msg"] and result["rounds"] == 2


def test_gone_in_the_middle_in_the_librarys_own_words():
    result = run(Host(on(False), WinRMError("the shell was not found on the server")))
    assert result["failed"] and "the shell was not found on the server; what was begun is taken up" in result["msg"]


def test_bugs_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        run(Host(ZeroDivisionError()))


def test_not_a_windows_host():
    result = run(Host(), windows=False)
    assert result["failed"] and "not reached as a Windows host" in result["msg"]


def test_collection_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(front, "module_loader", Loader(found=False))
    result = run(Host())
    assert result["failed"] and "ansible-galaxy collection install ansible.windows" in result["msg"]


def test_unknown_option():
    result = run(Host(), colour="red")
    assert result["failed"] and result["msg"].startswith("Unsupported parameters for (certlogon.core.lamp) module: colour")
