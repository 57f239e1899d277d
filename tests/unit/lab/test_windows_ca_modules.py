# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible sends, taken apart, and the modelled modules: payloads made by Ansible's own code, arguments by its documentation."""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import sys
from pathlib import Path

import pytest
from ansible.executor.powershell.module_manifest import _bootstrap_powershell_script, _create_powershell_wrapper, _get_powershell_script
from ansible.plugins.loader import become_loader, init_plugin_loader, module_loader, shell_loader

pytest.importorskip("gssapi", reason="the stand-in's gate needs it (the extra kerberos)")

from lab.windows_ca import module_specs, modules, scripts
from lab.windows_ca.authority.errors import DirectoryError
from lab.windows_ca.machine import Machine
from lab.windows_ca.modules_features import FEATURES
from lab.windows_ca.server import Metrics
from lab.windows_ca.winrm_commands import Commands

for name in ("modules_facts", "modules_powershell", "modules_services"):
    importlib.import_module(f"lab.windows_ca.{name}")  # they register themselves

REFUSED = "The lab's stand-in for Windows does not model"


class FakeDirectory:
    """One that knows the password "right"."""

    def as_user(self, user, password):
        if password != "right":
            raise DirectoryError(DirectoryError.INVALID_CREDENTIALS, "no")
        return self

    def search(self, *_):
        return []


class FakeHost:
    """As much of a host as modules ask for."""

    address = "10.83.0.20"
    authority = None

    @property
    def directory(self):
        return FakeDirectory()

    def __init__(self, folder):
        self.machine = Machine(folder)
        self.metrics = Metrics(folder / "metrics.json")
        self.reboots, self.started, self.stopped = [], [], []

    def schedule_reboot(self, delay):
        self.reboots.append(delay)
        return len(self.reboots) == 1

    def abort_reboot(self):
        self.reboots.clear()

    def change_features(self, changes, reboot):
        self.machine.features.update(changes)
        self.machine.pending_reboot |= reboot

    def start_service(self, name):
        self.started.append(name)
        self.machine.services[name].state = "running"

    def stop_service(self, name):
        self.stopped.append(name)
        self.machine.services[name].state = "stopped"

    def identify(self, account):
        return f"caller {account}"

    def winrm_certificate(self):
        from datetime import datetime

        return datetime(2030, 1, 1), "AB" * 20


@pytest.fixture
def host(tmp_path):
    return FakeHost(tmp_path / "state")


@pytest.fixture(scope="module")
def shell():
    init_plugin_loader()
    return shell_loader.get("powershell")


# ---- payloads


def module_path(module):
    """Skips where ansible.windows is not installed."""
    path = module_loader.find_plugin_with_context(module, mod_type=".ps1").plugin_resolved_path
    if path is None:
        pytest.skip("the collection ansible.windows is not installed here")
    return path


def encoded(shell, script):
    """A script as a command line; the method has another name since ansible-core 2.21."""
    method = getattr(shell, "_encode_script", None) or shell._encode_pwsh_script_as_command
    return method(script)


def payload(module, arguments, *, become=None, async_timeout=0, environment=None):
    """Standard input for the bootstrap wrapper, by ansible-core itself."""
    path = module_path(module)
    name = f"ansible_collections.{module.rpartition('.')[0]}.plugins.modules.{module.rpartition('.')[2]}"
    return _create_powershell_wrapper(
        name=name,
        module_data=Path(path).read_bytes(),
        module_path=path,
        module_args={"_ansible_check_mode": False, "_ansible_diff": True, "_ansible_no_log": False, **arguments},
        environment=environment or {},
        async_timeout=async_timeout,
        become_plugin=become,
        substyle="powershell",
        task_vars={},
        profile="legacy",
    )


def bootstrap_2_19(shell):
    return encoded(shell, _get_powershell_script("bootstrap_wrapper.ps1").decode())


def bootstrap_2_21(shell):
    """2.21 strips comments, and says `powershell` (ansible/_internal/_powershell/_script.py)."""
    lines = [b"" if line.strip().startswith(b"#") else line for line in _get_powershell_script("bootstrap_wrapper.ps1").splitlines()]
    script = "param([string]$InputFile)\n" + b"\n".join(lines).decode()
    encoded = base64.b64encode(script.encode("utf-16-le")).decode()
    return f"powershell -NoProfile -NonInteractive -ExecutionPolicy Unrestricted -EncodedCommand {encoded}"


def as_2_21(stdin):
    first, rest = stdin.split(b"\n\0\0\0\0\n", 1)
    wrapper = json.loads(first)
    wrapper["params"]["PwshPath"] = "powershell"
    return json.dumps(wrapper).encode() + b"\n\0\0\0\0\n" + rest


@pytest.mark.parametrize("version", ["2.19", "2.21"])
def test_a_module_as_ansible_sends_it(host, shell, version):
    stdin = payload("ansible.windows.win_service", {"name": "SCardSvr", "state": "started"})
    line = bootstrap_2_19(shell) if version == "2.19" else bootstrap_2_21(shell)
    output = Commands(host).run(line, stdin if version == "2.19" else as_2_21(stdin), "CORP\\administrator")
    result = json.loads(output.stdout)
    assert (output.code, output.stderr) == (0, b"")
    assert (result["changed"], result["state"]) == (True, "running")
    assert result["invocation"]["module_args"]["name"] == "SCardSvr"
    assert host.started == ["SCardSvr"]


def test_an_unknown_module_async_and_environment(host, shell):
    line = bootstrap_2_19(shell)
    cases = [
        (payload("ansible.windows.win_regedit", {"path": "HKLM:\\x"}), "the module ansible.windows.win_regedit"),
        (payload("ansible.windows.win_service", {"name": "x"}, async_timeout=10, environment={"ANSIBLE_ASYNC_DIR": "x"}), "async"),
        (payload("ansible.windows.win_service", {"name": "x"}, environment={"A": "b"}), "the keyword environment"),
    ]
    for stdin, message in cases:
        result = json.loads(Commands(host).run(line, stdin, "admin").stdout)
        assert result["failed"] is True
        assert f"{REFUSED} {message}" in result["msg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"become_user": "CORP\\enterprise.admin", "become_pass": "right"}, None),
        ({"become_user": "CORP\\enterprise.admin", "become_pass": "wrong"}, "Failed to become user CORP\\enterprise.admin: LogonUser"),
        ({"become_user": "SYSTEM"}, f"{REFUSED} become without a password"),
        (
            {"become_user": "CORP\\a", "become_pass": "right", "become_flags": "logon_type=batch"},
            f"{REFUSED} become without a password, or",
        ),
    ],
)
def test_become(host, shell, options, message):
    plugin = become_loader.get("runas")
    plugin.set_options(direct=options)
    stdin = payload("ansible.windows.win_service", {"name": "SCardSvr"}, become=plugin)
    result = json.loads(Commands(host).run(bootstrap_2_19(shell), stdin, "admin").stdout)
    assert result.get("failed", False) is (message is not None)
    assert message is None or result["msg"].startswith(message)


def test_files_and_folders_of_ansible_core(host, shell):
    commands = Commands(host)
    script, stdin = _bootstrap_powershell_script("powershell_mkdtemp.ps1", {"Directory": "%TEMP%", "Name": "ansible-tmp-1"})
    made = commands.run(encoded(shell, script), stdin, "admin").stdout.decode().strip()
    assert made == r"C:\Windows\Temp\ansible-tmp-1"
    content = bytes(range(256)) * 3000
    script, stdin = _bootstrap_powershell_script("winrm_put_file.ps1", {"Path": rf"{made}\x.bin"}, has_input=True)
    lines = [base64.b64encode(content[i : i + 250000]) + b"\r\n" for i in range(0, len(content), 250000)]
    put = commands.run(encoded(shell, script), stdin + b"".join(lines), "admin")
    assert json.loads(put.stdout) == {"sha1": hashlib.sha1(content).hexdigest()}
    script, stdin = _bootstrap_powershell_script("winrm_fetch_file.ps1", {"Path": rf"{made}\X.BIN", "BufferSize": 2**19, "Offset": 2**19})
    assert base64.b64decode(commands.run(encoded(shell, script), stdin, "admin").stdout) == content[2**19 :]
    assert commands.run(shell.remove(made, recurse=True), b"", "admin").code == 0
    assert commands.run(encoded(shell, script), stdin, "admin").code == 1, "it is gone"


@pytest.mark.parametrize(
    ("line", "stdin"),
    [
        ("whoami /all", b""),
        ("cmd.exe /c dir", b""),
        ("powershell -Command Get-Date", b""),
        ("powershell -NoProfile -EncodedCommand ????", b""),
        ("powershell -EncodedCommand", b""),
        ("powershell -WindowStyle Hidden -EncodedCommand " + base64.b64encode("x".encode("utf-16-le")).decode(), b""),
        ("powershell -EncodedCommand " + base64.b64encode("Remove-Item 'C:\\Windows' -Force -Recurse;".encode("utf-16-le")).decode(), b""),
        ("powershell -EncodedCommand " + base64.b64encode("Get-Process".encode("utf-16-le")).decode(), b""),
        (None, b""),
        (None, b"{}\n\0\0\0\0\n{}"),
        (None, b'{"name":"exec_wrapper","params":{}}\n\0\0\0\0\n{"actions":[{"name":"x.ps1"}],"scripts":{}}'),
        (None, b'{"name":"exec_wrapper","params":{"PwshPath":"pwsh"}}\n\0\0\0\0\n{"actions":[{"name":"x"}],"scripts":{"x":{}}}'),
        (None, b'{"name":"exec_wrapper","params":{"MinOSVersion":"11.0"}}\n\0\0\0\0\n{"actions":[{"name":"x"}],"scripts":{"x":{}}}'),
        (None, b'{"name":"exec_wrapper","params":{}}\n\0\0\0\0\n{"actions":[{"name":"x","params":{}}],"scripts":{"x":{}}}'),
    ],
)
def test_all_other_commands_are_refused(host, shell, line, stdin):
    output = Commands(host).run(line or bootstrap_2_19(shell), stdin, "admin")
    assert output.code == 1
    assert output.stderr.decode().startswith(REFUSED)
    assert output.stdout == b""


def test_the_raw_commands_of_a_restart(host):
    _reboot = pytest.importorskip("ansible_collections.ansible.windows.plugins.plugin_utils._reboot")
    sent = []

    class Connection:
        def exec_command(self, command, in_data=None, sudoable=False):
            output = Commands(host).run(command, b"", "admin")
            sent.append(output)
            return output.code, output.stdout, output.stderr

    before = _reboot._get_system_boot_time("win_reboot", Connection(), _reboot._DEFAULT_BOOT_TIME_COMMAND)
    assert before.isdigit()
    host.machine.reboot()
    assert _reboot._get_system_boot_time("win_reboot", Connection(), _reboot._DEFAULT_BOOT_TIME_COMMAND) > before
    test = f"Get-Item -LiteralPath '{_reboot._LOGON_UI_KEY}' -ErrorAction Stop; 'success-12ab'"
    _reboot._run_test_command("win_reboot", Connection(), test, "success-12ab")
    with pytest.raises(_reboot._TestCommandFailure):
        _reboot._run_test_command("win_reboot", Connection(), "Get-Something", "x")


# ---- arguments


def test_the_specs_are_those_of_the_documentation(shell):
    module_path("ansible.windows.win_service")
    fresh = module_specs.documented(str(Path(sys.executable).with_name("ansible-doc")))
    assert module_specs.FILE.read_text() == module_specs.text(fresh), "run: python -m lab.windows_ca.module_specs"


def call(host, module, check=False, **arguments):
    return modules.run(host, f"ansible.windows.{module}", {**arguments, "_ansible_check_mode": check, "_ansible_diff": True}, "CORP\\admin")


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        ("win_service", {}, "missing required arguments: name"),
        ("win_service", {"name": "x", "nome": "y"}, "Unsupported parameters for (win_service) module: nome. Supported parameters include:"),
        ("win_service", {"name": "x", "state": "up"}, "value of state must be one of: absent, paused, started, stopped, restarted. Got"),
        ("win_service", {"name": {"a": 1}}, "argument for name is of type System.Collections.Generic.Dictionary"),
        ("win_service", {"name": "x", "force_dependent_services": "maybe"}, "unable to convert to bool"),
        ("win_service", {"name": "x", "password": "s"}, "missing parameter(s) required by 'password': username"),
        ("win_service", {"name": "x", "failure_actions": [{"kind": "y"}]}, "kind found in failure_actions"),
        ("win_powershell", {}, "one of the following is required: path, script"),
        ("win_powershell", {"script": "x", "path": "y"}, "parameters are mutually exclusive: path, script"),
        ("win_powershell", {"script": "x", "depth": "deep"}, "argument for depth is of type System.String and we were unable to convert"),
        (
            "win_powershell",
            {"script": "x", "sensitive_parameters": [{"value": "y"}]},
            "missing required arguments: name found",
        ),
        (
            "win_powershell",
            {"script": "x", "sensitive_parameters": [{"name": "y"}]},
            "one of the following is required: username",
        ),
        (
            "win_powershell",
            {"script": "x", "sensitive_parameters": [{"name": "y", "username": "u"}]},
            "parameters are required together: username, password found in sensitive_parameters",
        ),
        ("win_feature", {"name": "Web-Server", "state": "here"}, "value of state must be one of: absent, present"),
        ("setup", {"gather_timeout": True}, "argument for gather_timeout"),
    ],
)
def test_wrong_arguments(host, module, arguments, message):
    result = call(host, module, **arguments)
    assert result["failed"] is True
    assert message in result["msg"]


# ---- facts, features, services


@pytest.mark.parametrize(
    ("subset", "present", "absent"),
    [
        ("all", {"os_family", "windows_domain", "processor_cores", "win_rm_certificate_expires"}, set()),
        (["!all"], {"os_family", "hostname", "date_time"}, {"windows_domain", "processor_cores"}),
        (["!all", "!min"], set(), {"os_family", "windows_domain"}),
        (["!all", "network"], {"os_family", "windows_domain"}, {"processor_cores"}),
        (["!min", "uptime"], {"lastboot", "windows_domain"}, {"os_family"}),
    ],
)
def test_facts_by_subset(host, subset, present, absent):
    facts = call(host, "setup", gather_subset=subset)["ansible_facts"]
    assert {f"ansible_{name}" for name in present} <= set(facts)
    assert not {f"ansible_{name}" for name in absent} & set(facts)


def test_an_unknown_subset_is_a_warning(host):
    assert call(host, "setup", gather_subset=["moon"])["warnings"] == ["invalid value moon specified in gather_subset"]


def test_the_machine_and_the_model_know_the_same_features(host):
    assert set(host.machine.features) == set(FEATURES)


@pytest.mark.parametrize(
    ("arguments", "installed"),
    [
        ({"name": "ADCS-Cert-Authority"}, {"AD-Certificate", "ADCS-Cert-Authority"}),
        (
            {"name": ["adcs-cert-authority"], "include_management_tools": True},
            {"AD-Certificate", "ADCS-Cert-Authority", "RSAT-ADCS", "RSAT-ADCS-Mgmt"},
        ),
        ({"name": "RSAT-ADCS", "include_sub_features": True}, {"RSAT-ADCS", "RSAT-ADCS-Mgmt", "RSAT-Online-Responder"}),
    ],
)
def test_features_bring_what_they_need(host, arguments, installed):
    predicted = call(host, "win_feature", check=True, **arguments)
    assert not any(host.machine.features.values()), "check mode changes nothing"
    done, again = call(host, "win_feature", **arguments), call(host, "win_feature", **arguments)
    assert {name for name, here in host.machine.features.items() if here} == installed
    assert predicted["feature_result"] == done["feature_result"]
    assert (done["changed"], again["changed"], again["exitcode"]) == (True, False, "NoChangeNeeded")


def test_removing_a_feature_removes_what_needs_it(host):
    call(host, "win_feature", name=["ADCS-Cert-Authority", "ADCS-Web-Enrollment"])
    call(host, "win_feature", name="Web-Server", state="absent")
    left = {name for name, here in host.machine.features.items() if here}
    assert left == {"AD-Certificate", "ADCS-Cert-Authority"}


@pytest.mark.parametrize(("fault", "wanted"), [(True, True), (["Web-Asp"], False), (["AD-Certificate"], True)])
def test_a_feature_that_wants_a_restart(host, fault, wanted):
    host.machine.faults = {"feature_needs_reboot": fault}
    result = call(host, "win_feature", name="ADCS-Cert-Authority")
    assert (result["reboot_required"], host.machine.pending_reboot) == (wanted, wanted)
    assert result["exitcode"] == ("SuccessRestartRequired" if wanted else "Success")


def test_a_service_by_its_display_name_and_its_diff(host):
    result = call(host, "win_service", check=True, name="Smart Card", state="started", start_mode="auto")
    assert result["changed"] and result["name"] == "SCardSvr"
    assert (result["diff"]["before"]["state"], result["diff"]["after"]["state"]) == ("stopped", "started")
    assert host.started == []


def test_a_missing_service(host):
    assert call(host, "win_service", name="CertSvc")["exists"] is False
    assert "is not installed" in call(host, "win_service", name="CertSvc", state="started")["msg"]


@pytest.mark.parametrize("options", [{"state": "absent"}, {"state": "paused"}, {"start_mode": "delayed"}, {"path": "x"}, {"username": "x"}])
def test_what_services_do_not_model(host, options):
    assert call(host, "win_service", name="SCardSvr", **options)["msg"].startswith(REFUSED)


# ---- PowerShell

READS = """\
[CmdletBinding(SupportsShouldProcess)]
param(
    [Parameter(Mandatory)] [ValidateSet('one', 'two')] [string]$Kind,
    [string[]]$Names = @('a'),  # a comment, with a comma (
    [int]$Count,
    [pscredential]$Credential,
    [securestring]$Secret
)
$ErrorActionPreference = 'Stop'
$Ansible.Changed = $false
$Ansible.Result = @{}
"""
CHANGES = "[CmdletBinding()]\nparam([string]$Text)\n$Ansible.Changed = $done\n"


@pytest.fixture
def own_scripts(tmp_path, monkeypatch):
    """A folder of scripts, and handlers that return what they were given."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    (folder / "reads.ps1").write_text(READS)
    (folder / "changes.ps1").write_text(CHANGES)
    (folder / "alone.ps1").write_text("param()\n'alone'\n")
    calls = []

    def model(machine, authority, parameters, caller):
        calls.append((parameters, caller))
        if parameters.get("Text") == "throw":
            raise scripts.PowerShellError("it broke")
        if parameters.get("Text") == "bug":
            raise RuntimeError("ouch")
        deep = {"a": {"b": {"c": {"d": 1}}, "list": [1, [2, [3]]]}}
        return {"changed": parameters.get("Text") == "yes", "deep": deep, "names": parameters.get("Names")}

    monkeypatch.setattr(scripts, "HANDLERS", {"reads": model, "changes": model})
    monkeypatch.setattr(scripts, "FOLDER", folder)
    monkeypatch.setattr(scripts.recognise, "__defaults__", (folder,))
    monkeypatch.setattr(scripts.scripts, "__defaults__", (folder,))
    return calls


def powershell(host, script, check=False, secrets=(), depth=2, **parameters):
    return call(host, "win_powershell", check, script=script, parameters=parameters, sensitive_parameters=list(secrets), depth=depth)


def test_a_known_script_gets_its_parameters(host, own_scripts):
    secrets = [{"name": "Credential", "username": "u", "password": "p4ss-word"}, {"name": "secret", "value": "s3cr3t-text"}]
    result = powershell(host, READS.replace("\n", "\r\n"), secrets=secrets, kind="ONE", Count="3")
    assert own_scripts == [
        (
            {"Names": ["a"], "Kind": "ONE", "Count": 3, "Credential": {"username": "u", "password": "p4ss-word"}, "Secret": "s3cr3t-text"},
            "caller CORP\\admin",
        )
    ]
    assert (result["changed"], result["error"], result["output"], result["host_out"]) == (False, [], [], "")
    assert "p4ss-word" not in json.dumps(result) and "s3cr3t-text" not in json.dumps(result)


def test_depth_flattens_what_lies_deeper(host, own_scripts):
    assert powershell(host, READS, kind="one")["result"]["deep"] == {"a": {"b": "System.Collections.Hashtable", "list": "1 2 3"}}
    assert powershell(host, READS, kind="one", depth=9)["result"]["deep"]["a"]["b"]["c"]["d"] == 1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "Cannot process command because of one or more missing mandatory parameters: Kind."),
        ({"kind": "one", "colour": "red"}, "A parameter cannot be found that matches parameter name 'colour'."),
        ({"kind": "three"}, 'The argument "three" does not belong to the set "one,two"'),
        ({"kind": "one", "count": "many"}, 'Cannot convert value "many" to type "System.Int32"'),
        ({"kind": "one", "secret": "open"}, "Cannot convert value"),
        ({"kind": ""}, "because it is an empty string"),
    ],
)
def test_a_call_that_does_not_fit_the_param_block(host, own_scripts, parameters, message):
    result = powershell(host, READS, **parameters)
    assert result["failed"] is True
    assert "msg" not in result, "the module has none either"
    assert message in result["error"][0]["exception"]["message"]
    assert own_scripts == []


def test_changes_check_mode_and_errors(host, own_scripts):
    assert powershell(host, CHANGES, Text="yes")["changed"] is True
    assert powershell(host, CHANGES, Text="no")["changed"] is False
    skipped = powershell(host, CHANGES, check=True, Text="yes")
    assert (skipped["changed"], skipped["msg"]) == (True, "skipped, running in check mode")
    assert powershell(host, READS, check=True, kind="one")["changed"] is False
    failed = powershell(host, CHANGES, Text="throw")
    assert (failed["failed"], failed["changed"]) == (True, True)
    assert failed["error"][0]["exception"]["message"] == "it broke"
    assert "FAULT IN THE LAB'S STAND-IN" in powershell(host, CHANGES, Text="bug")["msg"]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (READS + "Remove-Item x\n", "PowerShell: this script is none of the project's own (alone.ps1, changes.ps1, reads.ps1)"),
        ("param()\n'alone'\n", "alone.ps1: no handler of that name"),
    ],
)
def test_unknown_scripts(host, own_scripts, script, message):
    assert f"{REFUSED} {message}" in powershell(host, script)["msg"]


def test_every_script_of_the_project_has_a_handler_and_a_param_block():
    scripts.load_handlers()
    files = scripts.scripts()
    assert files
    for file in files:
        scripts.Script(file.stem, file.read_text())
        assert file.stem in scripts.HANDLERS, f"{file.name} has no handler in lab/windows_ca/scripts"
    assert set(scripts.HANDLERS) <= {file.stem for file in files}, "handlers without a script"
