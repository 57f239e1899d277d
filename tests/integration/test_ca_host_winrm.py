# SPDX-License-Identifier: GPL-3.0-or-later
"""The CA host by WinRM: unmodified ansible-playbook and pywinrm against the lab's stand-in."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import requests
import winrm
import xmltodict
from winrm.exceptions import WSManFaultError
from winrm.protocol import Protocol

NOT_MODELLED = "The lab's stand-in for Windows does not model"
needs_kinit = pytest.mark.skipif(shutil.which("kinit") is None, reason="Ansible's winrm asks kinit for tickets (Debian: krb5-user)")


@pytest.fixture
def protocol(ca_lab):
    """pywinrm's own client, as an account of the lab."""

    def connect(account="administrator", password=None, **options):
        who = ca_lab.account(account)
        return Protocol(
            "https://ca1.corp.example:5986/wsman",
            transport="ntlm",
            username=who["netbios"],
            password=password or who["password"],
            ca_trust_path=ca_lab.files["ca_bundle"],
            **options,
        )

    return connect


# ---- who may come in


@pytest.mark.parametrize("encryption", ["auto", "always"])
@pytest.mark.parametrize("kerberos", [False, pytest.param(True, marks=needs_kinit)], ids=["ntlm", "kerberos"])
def test_facts_by_either_protocol_with_and_without_message_encryption(on_ca1, kerberos, encryption):
    task = {"ansible.windows.setup": {"gather_subset": ["!all", "distribution", "windows_domain"]}}
    variables = {"ansible_winrm_message_encryption": encryption}
    if kerberos:
        variables["ansible_winrm_kinit_env_vars"] = ["KRB5_CONFIG"]
    facts = on_ca1([task], kerberos=kerberos, host_variables=variables).last["ansible_facts"]
    assert facts["ansible_os_family"] == "Windows"
    assert facts["ansible_windows_domain"] == "corp.example"
    assert facts["ansible_hostname"] == "CA1"
    assert "ansible_processor_count" not in facts, "not asked for"


def test_a_wrong_password_is_refused(on_ca1, ca_lab):
    run = on_ca1([{"ansible.windows.setup": {}}], fails=True, host_variables={"ansible_password": "wrong"})
    assert run.last.status == "unreachable"
    assert "ntlm: the specified credentials were rejected by the server" in run.last.msg
    assert "REFUSED: NTLM for CORP\\administrator" in ca_lab.ca_log()


def test_who_is_no_administrator_is_refused(protocol):
    with pytest.raises(WSManFaultError, match="Access is denied") as refusal:
        protocol("plain.user").open_shell()
    assert refusal.value.wsman_fault_code == 5
    assert protocol("domain.admin").open_shell()


@pytest.mark.parametrize("account", ["disabled.user", "expired.user", "mustchange.user"])
def test_who_may_not_log_on_is_nobody(protocol, account):
    with pytest.raises(winrm.exceptions.InvalidCredentialsError):
        protocol(account).open_shell()


def test_certificate_is_of_the_labs_root(ca_lab):
    trusted = ssl.create_default_context(cafile=ca_lab.files["root_ca"])
    with socket.create_connection(("ca1.corp.example", 5986), 5) as plain:
        assert trusted.wrap_socket(plain, server_hostname="ca1.corp.example").version() in ("TLSv1.2", "TLSv1.3")


def test_channel_bindings_by_kerberos(ca_lab):
    """MIT's acceptor lets missing ones pass; the gate must not, where they are required."""
    script = "/srv/certlogon/tests/integration/on_ca1/gate_with_kerberos.py"
    environment = ("env", "PYTHONPATH=/srv/certlogon", "KRB5_CLIENT_KTNAME=FILE:/etc/windows_ca/ca1.keytab")
    found = json.loads(ca_lab.run("ca1", *environment, "python3", script).stdout)
    assert len(found) == 12
    for case, outcome in found.items():
        accepted = "right" in case or case.endswith("none optional")
        assert (outcome["account"] == "CA1$@CORP.EXAMPLE") is accepted, (case, outcome)
        assert outcome["sealed"] == ("hello" if accepted else None)
        assert accepted or "channel bindings" in outcome["error"]


# ---- the protocol


def test_shells_side_by_side_and_their_faults(protocol):
    client = protocol()
    first, second = client.open_shell(), client.open_shell()
    assert first != second
    client.close_shell(first, close_session=False)
    with pytest.raises(WSManFaultError, match="shell was not found") as fault:
        client.run_command(first, "whoami")
    assert fault.value.wsman_fault_code == 2150858843
    command = client.run_command(second, "whoami")
    out, err, code = client.get_command_output(second, command)
    assert (out, code) == (b"", 1)
    assert f"{NOT_MODELLED} the command line whoami" in err.decode()


def test_other_actions_and_resources_are_faults(protocol):
    client = protocol()
    cases = [
        (
            "http://schemas.microsoft.com/powershell/Microsoft.PowerShell",
            "http://schemas.xmlsoap.org/ws/2004/09/transfer/Create",
            2150858752,
        ),
        ("http://schemas.microsoft.com/wbem/wsman/1/windows/shell/cmd", "http://schemas.xmlsoap.org/ws/2004/09/transfer/Put", 2150858753),
    ]
    for resource, action, code in cases:
        header = client.build_wsman_header(action, resource, shell_id=client.open_shell())
        with pytest.raises(WSManFaultError) as fault:
            client.send_message(xmltodict.unparse({"env:Envelope": header | {"env:Body": {}}}))
        assert fault.value.wsman_fault_code == code


def test_only_post_to_wsman(ca_lab):
    session = requests.Session()
    session.trust_env = False
    session.verify = ca_lab.files["ca_bundle"]
    assert session.post("https://ca1.corp.example:5986/wsman", data="x").headers["WWW-Authenticate"] == "Negotiate, Kerberos"
    assert session.get("https://ca1.corp.example:5986/wsman").status_code == 501
    assert session.post("https://ca1.corp.example:5986/other", data="x").status_code == 404


# ---- what it refuses


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"ansible.windows.win_regedit": {"path": r"HKLM:\SOFTWARE\x", "name": "a"}}, "the module ansible.windows.win_regedit"),
        ({"ansible.windows.win_powershell": {"script": "Get-ChildItem"}}, "PowerShell: this script is none of the project's own"),
        ({"ansible.windows.win_service": {"name": "W32Time", "description": "x"}}, "win_service with description"),
        ({"ansible.windows.win_service": {"name": "W32Time"}, "environment": {"A": "b"}}, "the keyword environment"),
        (
            {"ansible.windows.win_service": {"name": "W32Time"}, "become": True, "become_method": "runas", "become_user": "SYSTEM"},
            "become without a password",
        ),
        ({"ansible.windows.win_service": {"name": "W32Time"}, "async": 10, "poll": 1}, "async"),
    ],
)
def test_what_is_not_modelled_fails(on_ca1, task, message):
    run = on_ca1([task], fails=True)
    assert run.last.status == "failed"
    assert f"{NOT_MODELLED} {message}" in run.output


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        ("win_service", {"name": "W32Time", "colour": "red"}, "Unsupported parameters for (win_service) module: colour. Supported"),
        ("win_service", {"state": "started"}, "missing required arguments: name"),
        ("win_service", {"name": "W32Time", "state": "on"}, "value of state must be one of: absent, paused, started"),
        ("win_service", {"name": "Nobody", "state": "started"}, "Service 'Nobody' is not installed, need to set 'path'"),
        ("win_feature", {"name": "No-Such"}, "The role, role service, or feature name is not valid: 'No-Such'"),
        ("win_powershell", {"error_action": "stop"}, "one of the following is required: path, script"),
    ],
)
def test_wrong_arguments_are_refused(on_ca1, module, options, message):
    assert message in on_ca1([{f"ansible.windows.{module}": options}], fails=True).last.msg


# ---- features, services, restarts


def test_features(on_ca1):
    """With one that no other test needs: they share the host."""

    def feature(**options):
        return [{"ansible.windows.win_feature": {"name": "RSAT-Online-Responder", **options}}]

    on_ca1(feature(state="absent"))
    predicted, done, again = on_ca1(feature(), check=True).last, on_ca1(feature()).last, on_ca1(feature()).last
    gone = on_ca1(feature(state="absent")).last
    assert predicted.changed and done.changed and not again.changed and gone.changed
    assert predicted["feature_result"] == done["feature_result"]
    assert "Online Responder Tools" in [entry["display_name"] for entry in done["feature_result"]]
    assert (done["exitcode"], again["exitcode"]) == ("Success", "NoChangeNeeded")
    assert again["reboot_required"] is False


def test_a_feature_that_needs_a_restart(on_ca1, ca_lab):
    ca_lab.faults(feature_needs_reboot=["RSAT-AD-PowerShell"])
    feature = {"ansible.windows.win_feature": {"name": "RSAT-AD-PowerShell"}, "register": "feature"}
    tasks = [
        feature,
        {"ansible.windows.setup": {"gather_subset": ["!all", "platform"]}, "name": "before"},
        {"ansible.windows.win_reboot": {}, "name": "restart", "when": "feature.reboot_required"},
        {"ansible.windows.setup": {"gather_subset": ["!all", "platform"]}, "name": "after"},
        {"ansible.windows.win_feature": {"name": "RSAT-AD-PowerShell", "state": "absent"}, "name": "away"},
    ]
    run = on_ca1(tasks)
    assert run.tasks[0]["exitcode"] == "SuccessRestartRequired"
    assert run.task("before")["ansible_facts"]["ansible_reboot_pending"] is True
    assert run.task("restart")["rebooted"] is True
    assert run.task("after")["ansible_facts"]["ansible_reboot_pending"] is False
    assert "host: goes down" in ca_lab.ca_log()


def test_a_restart_is_only_predicted_in_check_mode(on_ca1, ca_lab):
    downs = ca_lab.ca_log().count("host: goes down")
    assert on_ca1([{"ansible.windows.win_reboot": {}}], check=True).last.changed
    assert ca_lab.ca_log().count("host: goes down") == downs


def test_services(on_ca1):
    def service(**options):
        return [{"ansible.windows.win_service": {"name": "SCardSvr", **options}}]

    on_ca1(service(state="stopped", start_mode="manual"))
    wanted = {"state": "started", "start_mode": "auto"}
    predicted = on_ca1(service(**wanted), check=True).last
    assert predicted.changed and predicted["diff"]["before"]["state"] == "stopped"
    assert predicted["diff"]["after"]["state"] == "started"
    assert on_ca1(service()).last["state"] == "stopped", "check mode has changed nothing"
    done, again = on_ca1(service(**wanted)).last, on_ca1(service(**wanted)).last
    assert done.changed and not again.changed
    assert (again["state"], again["start_mode"], again["display_name"]) == ("running", "auto", "Smart Card")
    assert on_ca1(service(state="restarted")).last.changed
    on_ca1(service(state="stopped", start_mode="disabled"))
    assert "failed to start service SCardSvr" in on_ca1(service(state="started"), fails=True).last.msg
    on_ca1(service(start_mode="manual"))


# ---- bad days


def test_winrm_refuses(on_ca1, ca_lab):
    ca_lab.faults(winrm_refuse=True)
    assert on_ca1([{"ansible.windows.setup": {}}], fails=True).last.status == "unreachable"
    ca_lab.faults()
    on_ca1([{"ansible.windows.setup": {}}])


def test_a_slow_host_answers_after_operation_timeouts(protocol, ca_lab):
    ca_lab.faults(winrm_delay=0.6)
    client = protocol(operation_timeout_sec=1, read_timeout_sec=20)
    assert client.open_shell()
    ca_lab.faults()


def test_a_killed_host_is_unreachable_and_remembers(on_ca1, ca_lab):
    on_ca1([{"ansible.windows.win_service": {"name": "ScDeviceEnum", "start_mode": "auto"}}])
    ca_lab.kill("ca1")
    try:
        assert on_ca1([{"ansible.windows.setup": {}}], fails=True).last.status == "unreachable"
    finally:
        ca_lab.start("ca1")
    service = on_ca1([{"ansible.windows.win_service": {"name": "ScDeviceEnum"}}]).last
    assert (service["start_mode"], service["state"]) == ("auto", "running"), "it starts with the host"
    on_ca1([{"ansible.windows.win_service": {"name": "ScDeviceEnum", "start_mode": "manual", "state": "stopped"}}])


def test_requests_are_counted(on_ca1, ca_lab):
    before = ca_lab.metrics()
    on_ca1([{"ansible.windows.win_service": {"name": "W32Time"}}])
    after = ca_lab.metrics()
    assert after["winrm_shells"] == before["winrm_shells"] + 1
    assert after["winrm_authentications"] == before["winrm_authentications"] + 1
    assert after["modules"] == before["modules"] + 1
    assert after["winrm_requests"] > before["winrm_requests"]


# ---- the lab around it


def test_dc1_by_ssh(ca_lab):
    status = ca_lab.status["files"]
    assert oct(Path(status["ssh_key"]).stat().st_mode & 0o777) == "0o600"
    assert not Path(status["ssh_key"]).is_relative_to(status["folder"]), "hosts can read that folder"
    command = [str(Path(sys.executable).with_name("ansible")), "-i", "inventories/lab/domains.py", "domain_controllers", "-m", "ping"]
    ping = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert '"ping": "pong"' in ping.stdout, ping.stdout + ping.stderr


def test_secrets_of_ca1_are_for_root_only(ca_lab):
    modes = ca_lab.run("ca1", "stat", "-c", "%a %n", "/etc/windows_ca", "/etc/windows_ca/ntlm_users", "/etc/windows_ca/ca1.keytab")
    assert [line.split()[0] for line in modes.stdout.splitlines()] == ["700", "600", "600"]
    assert not list(Path(ca_lab.files["folder"]).rglob("*keytab*"))


def test_dns_knows_ca1(ca_lab):
    assert ca_lab.run("control", "host", "ca1.corp.example").stdout.strip() == "ca1.corp.example has address 10.83.0.20"


SCRIPTS = Path(__file__).parents[2] / "plugins/module_utils/adcs/scripts"
STATE = [{"ansible.windows.win_powershell": {"path": str(SCRIPTS / "adcs_state.ps1"), "depth": 9, "error_action": "stop"}}]


@pytest.mark.parametrize("check", [False, True])
def test_a_script_of_the_project(on_ca1, ca_lab, check):
    before = ca_lab.metrics().get("script_adcs_state", 0)
    result = on_ca1(STATE, check=check).last
    assert not result.changed, "it only reads"
    assert result["result"] and result["error"] == []
    assert ca_lab.metrics()["script_adcs_state"] == before + 1


def test_the_connection_breaks_after_a_script(on_ca1, ca_lab):
    ca_lab.faults(winrm_drop_after="adcs_state")
    run = on_ca1(STATE, fails=True)
    assert run.last.status in ("unreachable", "failed")
    ca_lab.faults()
    on_ca1(STATE)
