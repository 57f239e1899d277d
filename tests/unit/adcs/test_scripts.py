# SPDX-License-Identifier: GPL-3.0-or-later
"""The PowerShell scripts: their grammar, what they may call, and, where there is a pwsh, what they call.

Where there is none, nothing here says that a script does the right thing on Windows; only that it is a script, that it takes its input
as parameters, and that it calls nothing but what is listed here with the reason for it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tree_sitter_powershell", reason="the grammar of PowerShell is not installed (the extra dev)")

import tree_sitter_powershell
from tree_sitter import Language, Node, Parser

from ansible_collections.certlogon.core.plugins.module_utils.adcs.powershell import SCRIPTS

PARSER = Parser(Language(tree_sitter_powershell.language()))
FILES = sorted(SCRIPTS.glob("*.ps1"))

COMMANDS = {
    # reading
    "Get-ChildItem": "files and registry keys",
    "Get-CimInstance": "the computer: its name, its domain",
    "Get-Content": "a file's text",
    "Get-FileHash": "whether a file that is served is the one that is wanted",
    "Get-Item": "a registry key, a file, a certificate",
    "Get-ItemProperty": "registry values",
    "Get-Service": "whether CertSvc is there and runs",
    "Get-WindowsFeature": "which role services are installed",
    "Join-Path": "paths",
    "Split-Path": "paths",
    "Test-Path": "whether something is there",
    # writing
    "New-Item": "a registry key, a folder",
    "New-ItemProperty": "a registry value with its kind",
    "Set-ItemProperty": "a registry value",
    "Remove-Item": "a temporary file, our own registry key",
    "Remove-ItemProperty": "a registry value",
    "Import-Certificate": "a parent's certificate into the host's stores",
    "Restart-Service": "CertSvc reads its settings when it starts",
    "Start-Service": "CertSvc after its certificate was installed",
    "Stop-Service": "CertSvc before its certificate is replaced",
    "Install-AdcsCertificationAuthority": "the CA role service",
    "Backup-CARoleService": "the CA's key and database",
    "certutil.exe": "what no cmdlet does: install and renew the CA's certificate, publish and revoke",
    "icacls.exe": "who may read a backup",
    # web enrolment
    "Import-Module": "WebAdministration, whose drive is used before its first command",
    "Get-Certificate": "the web server's certificate, from the CA",
    "Install-AdcsWebEnrollment": "the web enrolment role service",
    "Uninstall-AdcsWebEnrollment": "what an installation left that died",
    "Get-WebApplication": "which web services a site of IIS has",
    "Get-WebBinding": "IIS's bindings",
    "New-WebBinding": "an IIS binding",
    "Set-Item": "the certificate of an IIS binding",
    "Get-WebConfiguration": "IIS's configuration",
    "Get-WebConfigurationProperty": "IIS's configuration",
    "Set-WebConfigurationProperty": "IIS's configuration",
    "Add-WebConfigurationProperty": "IIS's configuration",
    "Remove-WebConfigurationProperty": "IIS's configuration",
    # the language's own
    "ForEach-Object": "a pipeline's items",
    "Where-Object": "a pipeline's items",
    "Select-Object": "a pipeline's items",
    "Sort-Object": "a pipeline's items",
    "Out-Null": "drops output",
    "New-Object": "a COM object of the certification authority",
    "Get-Location": "where a drive is",
    "Set-Location": "where a drive is",
}
"""The commands that scripts may call, and what for. Whoever adds one says why."""


def nodes(node: Node, *kinds: str) -> Iterator[Node]:
    if node.type in kinds:
        yield node
    for child in node.children:
        yield from nodes(child, *kinds)


def text(node: Node) -> str:
    assert node.text is not None
    return node.text.decode()


def tree(source: str) -> Node:
    return PARSER.parse(source.encode()).root_node


def faults(source: str) -> list[str]:
    """What is wrong with a script, by line."""
    root = tree(source)
    found: list[str] = []

    def fault(node: Node, message: str) -> None:
        found.append(f"line {node.start_point.row + 1}: {message}: {text(node)[:60]!r}")

    for node in nodes(root, "ERROR"):
        fault(node, "not PowerShell")
    if root.has_error and not found:
        found.append("something is missing somewhere: not PowerShell")
    blocks = [child for child in root.children if child.type == "param_block"]
    if not blocks:
        return [*found, "no param block"]
    binding = " ".join(text(node) for node in nodes(blocks[0], "attribute") if text(node).startswith("[CmdletBinding"))
    if binding != "[CmdletBinding(SupportsShouldProcess)]":
        found.append(f"the param block must have [CmdletBinding(SupportsShouldProcess)], which win_powershell looks for: {binding!r}")
    for parameter in nodes(blocks[0], "script_parameter"):
        if not any(list(nodes(attribute, "type_literal")) for attribute in nodes(parameter, "attribute")):
            fault(parameter, "a parameter without a type")
    if "$ErrorActionPreference = 'Stop'" not in source:
        found.append("$ErrorActionPreference is not 'Stop'")
    functions = {text(name).casefold() for node in nodes(root, "function_statement") for name in nodes(node, "function_name")}
    known = {name.casefold() for name in COMMANDS} | functions
    for command in nodes(root, "command"):
        name = command.child_by_field_name("command_name") or command.children[0]
        operator = next(iter(nodes(command, "command_invokation_operator")), None)
        if operator is not None and operator.parent == command:
            name = command.children[1]
            if list(nodes(name, "variable", "string_literal", "script_block_expression", "parenthesized_expression")):
                fault(command, "a call operator on something computed")
                continue
            if not text(name).endswith(".exe"):
                fault(command, "a call operator where a plain call does")
        if text(name).casefold() not in known:
            fault(command, "an unknown command")
    for call in nodes(root, "invokation_expression"):
        called = text(call).casefold()
        if any(word in called for word in ("scriptblock]::create", "invokescript", "addscript", "newscriptblock")):
            fault(call, "a command built from text")
    return found


def test_there_are_scripts():
    assert FILES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_script(file: Path):
    source = file.read_bytes()
    assert source.startswith(b"# SPDX-License-Identifier: GPL-3.0-or-later\n")
    assert b"\r" not in source and source.endswith(b"\n")
    assert source.isascii(), "Windows PowerShell reads files without a mark in the machine's own code page"
    assert faults(source.decode()) == []
    assert source.count(b"$Ansible.Result =") >= 1, "a script answers with one table"


HEAD = "[CmdletBinding(SupportsShouldProcess)]\nparam([string]$Name)\n$ErrorActionPreference = 'Stop'\n"


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ("Get-Item -LiteralPath 'x'\n", "no param block"),
        ("[CmdletBinding()]\nparam([string]$Name)\n$ErrorActionPreference = 'Stop'\n", "SupportsShouldProcess"),
        ("[CmdletBinding(SupportsShouldProcess)]\nparam([string]$Name)\n", "ErrorActionPreference"),
        ("[CmdletBinding(SupportsShouldProcess)]\nparam($Name)\n$ErrorActionPreference = 'Stop'\n", "without a type"),
        (HEAD + "if ($Name) {\n", "not PowerShell"),
        (HEAD + "Invoke-Expression $Name\n", "unknown command"),
        (HEAD + "iex $Name\n", "unknown command"),
        (HEAD + "& $Name\n", "computed"),
        (HEAD + '& "certutil $Name"\n', "computed"),
        (HEAD + "& { Get-Item x }\n", "computed"),
        (HEAD + ". $Name\n", ""),
        (HEAD + "& ($Name)\n", "computed"),
        (HEAD + "& cmd.exe @('/c', $Name)\n", "unknown command"),
        (HEAD + "powershell.exe -Command $Name\n", "unknown command"),
        (HEAD + "$x = [scriptblock]::Create($Name)\n", "built from text"),
        (HEAD + "$x = [ScriptBlock]::Create($Name)\n", "built from text"),
    ],
)
def test_faults_are_found(script: str, fault: str):
    found = faults(script)
    assert found and any(fault in line for line in found), found


def test_a_good_script_has_no_faults():
    assert faults(HEAD + "$text = & certutil.exe @('-dump', $Name) 2>&1\n$Ansible.Result = @{ text = [string]$text }\n") == []


# ---- with a pwsh

PWSH = shutil.which("pwsh")
NO_PWSH = "there is no pwsh on the PATH: the scripts are not run"

CERTIFICATE_ADMIN = (
    "[pscustomobject]@{}"
    " | Add-Member -PassThru ScriptMethod PublishCRLs { [void]$global:Calls.Add(@{ name = ('PublishCRLs {0}' -f $args[2]) }) }"
    " | Add-Member -PassThru ScriptMethod RevokeCertificate"
    " { [void]$global:Calls.Add(@{ name = ('RevokeCertificate {0} {1}' -f $args[1], $args[2]) }) }"
)
"""The COM object CertificateAuthority.Admin, which writes down what it is asked."""

RUNS: dict[str, dict[str, Any]] = {
    "adcs_state": {
        "parameters": {"Principals": []},
        "calls": ["Get-CimInstance", "Get-WindowsFeature", "Get-Service", *["Test-Path"] * 5],
        "result": [
            *("computer", "now", "reboot_pending", "feature", "service", "begun", "configuration", "ca", "csp", "policy_module", "policy"),
            *("certificates", "capolicy", "requests", "system_root", "crls", "served", "sids", "names"),
        ],
    },
    "adcs_capolicy": {"parameters": {"Content": "W1ZlcnNpb25d"}, "calls": [], "result": ["path"]},
    "adcs_install": {
        "parameters": {"CAType": "StandaloneRootCA", "CACommonName": "Corp CA", "KeyLength": 4096},
        "stubs": {"Install-AdcsCertificationAuthority": "[pscustomobject]@{ ErrorId = 0; ErrorString = '' }"},
        "calls": ["Test-Path", "New-Item", "New-ItemProperty", "Install-AdcsCertificationAuthority", "Remove-Item"],
        "result": ["error_id", "error"],
    },
    "adcs_certificate": {
        "parameters": {"Certificate": "MAA=", "Roots": ["MAA="], "Intermediates": ["MAA=", "MAA="]},
        "calls": [*["Import-Certificate"] * 3, "certutil.exe", "Start-Service", "Get-Service"],
        "result": ["status"],
    },
    "adcs_settings": {
        "parameters": {
            "Authority": "Corp CA",
            "Values": [
                {"key": "", "name": "CRLPeriod", "kind": "String", "value": "Days"},
                {"key": "", "name": "AuditFilter", "kind": "DWord", "value": 127},
                {"key": "CSP", "name": "X", "kind": "MultiString", "value": ["a"]},
                {"key": "", "name": "Security", "kind": "Binary", "value": "AQA="},
                {"key": "", "name": "OfficerRights"},
            ],
        },
        "stubs": {"Get-Service": "[pscustomobject]@{ Status = 'Running' }"},
        "calls": [*["New-ItemProperty"] * 4, "Remove-ItemProperty", "Get-Service", "Restart-Service"],
        "result": ["written", "restarted"],
    },
    "adcs_backup": {
        "parameters": {"Path": "D:\\Backup"},
        "secure": {"Password": "a password"},
        "calls": ["New-Item", "icacls.exe", "Backup-CARoleService", "Get-ChildItem"],
        "result": ["path", "files"],
    },
    "adcs_renew": {"parameters": {"ReuseKeys": True}, "calls": ["certutil.exe", "Start-Service"], "result": ["output"]},
    "adcs_file": {
        "parameters": {"Files": [{"name": "root.crl", "content": "MAA="}]},
        "calls": ["New-Item"],
        "result": ["folder"],
    },
    "adcs_crl_state": {"parameters": {"Serials": ["1a"]}, "calls": ["Test-Path"], "result": ["now", "active", "running", "lists", "rows"]},
    "adcs_issued": {"parameters": {"After": 7}, "calls": ["Test-Path", "Get-Service"], "result": ["now", "running", "rows", "more"]},
    "adcs_crl_publish": {
        "parameters": {"Config": "ca1\\Corp CA", "Base": True, "Delta": True},
        "stubs": {"New-Object": CERTIFICATE_ADMIN},
        "calls": ["New-Object", "PublishCRLs 3"],
        "result": ["published"],
    },
    "adcs_revoke": {
        "parameters": {"Config": "ca1\\Corp CA", "Serial": "1a", "Reason": 1, "Base": True},
        "stubs": {"New-Object": CERTIFICATE_ADMIN},
        "calls": ["New-Object", "RevokeCertificate 1a 1", "PublishCRLs 1"],
        "result": ["serial", "published"],
    },
    "adcs_audit": {
        "parameters": {"BackupPath": "D:\\Backup"},
        "stubs": {"Get-Item": "[pscustomobject]@{} | Add-Member -PassThru ScriptMethod GetValue { '1' }"},
        "calls": ["Get-Item", "Test-Path", "Get-WindowsFeature", "Get-Service", "Test-Path"],
        "result": ["now", "windows", "yubihsm", "web", "backups"],
    },
    "domain_controller_state": {
        "stubs": {"Get-Item": "[pscustomobject]@{} | Add-Member -PassThru ScriptMethod GetValue { '1' }"},
        "calls": ["Get-Item", "Get-CimInstance", "Get-Service", "Get-ChildItem", *["Test-Path"] * 4],
        "result": ["now", "fqdn", "domain", "role", "windows", "service", "kdc", "schannel", "ntds", "ntauth", "certificates"],
    },
    "web_enrollment_state": {
        "calls": ["Get-WindowsFeature", "Test-Path", "Get-ChildItem", "Get-ChildItem", "Get-Service", "Get-CimInstance", "Test-Path"],
        "result": ["fqdn", "now", "features", "authority", "certificates", "pending", "begun", "service", "iis"],
    },
    "web_enrollment_install": {"calls": ["New-Item", "Install-AdcsWebEnrollment"], "result": ["error_id", "error"]},
    "web_enrollment_uninstall": {"calls": ["Uninstall-AdcsWebEnrollment", "Test-Path"], "result": ["error_id", "error"]},
    "web_enrollment_certificate": {
        "parameters": {"Template": "Machine", "FriendlyName": "test"},
        "calls": ["Get-Certificate"],
        "result": ["status", "der"],
    },
    "web_enrollment_binding": {
        "parameters": {"Thumbprint": "AB", "Http": True},
        "calls": [
            *("Import-Module", "Get-WebBinding", "New-WebBinding"),
            *("Get-Item", "Get-WebBinding", "New-WebBinding", "Test-Path", "New-Item"),
        ],
        "result": ["thumbprint"],
    },
    "web_enrollment_settings": {
        "parameters": {"SslFlags": "Ssl", "Providers": ["Negotiate"]},
        "calls": [
            *("Import-Module", "Set-WebConfigurationProperty", "Get-WebConfiguration", "Add-WebConfigurationProperty", "Test-Path"),
        ],
        "result": ["set"],
    },
}
"""Name of a script -> its parameters (`secure`: those that are SecureStrings), `stubs` (what commands answer, as PowerShell), `calls` (the
commands it must call, in order) and `result` (what its answer must hold)."""


def harness(script: str, case: dict[str, Any], folder: Path) -> str:
    """A PowerShell program that runs a script with every listed command replaced by a recorder."""
    stubs = []
    for name in COMMANDS:
        if name in ("ForEach-Object", "Where-Object", "Select-Object", "Sort-Object", "Out-Null", "Join-Path", "Split-Path"):
            continue
        answer = case.get("stubs", {}).get(name, "$global:LASTEXITCODE = 0" if name.endswith(".exe") else "")
        stubs.append(f"function global:{name} {{ [void]$Calls.Add(@{{ name = '{name}'; arguments = @($args) }}); {answer} }}")
    parameters = json.dumps(case.get("parameters", {})).replace("'", "''")
    return "\n".join(
        [
            "$global:Calls = [System.Collections.ArrayList]::new()",
            f"$global:Ansible = [pscustomobject]@{{ Result = @{{}}; Changed = $true; CheckMode = $false; Tmpdir = '{folder}' }}",
            *stubs,
            f"$parameters = ConvertFrom-Json '{parameters}' -AsHashtable",
            *(
                f"$parameters['{name}'] = ConvertTo-SecureString '{text}' -AsPlainText -Force"
                for name, text in case.get("secure", {}).items()
            ),
            f"& '{SCRIPTS / script}.ps1' @parameters | Out-Null",
            "[System.Console]::Out.WriteLine((ConvertTo-Json -Depth 8 @{ calls = @($Calls); result = $Ansible.Result }))",
        ]
    )


@pytest.mark.parametrize("script", sorted(RUNS) or ["none"])
def test_run_with_stubs(script: str, tmp_path: Path):
    if PWSH is None:
        pytest.skip(NO_PWSH)
    program = tmp_path / "run.ps1"
    program.write_text(harness(script, RUNS[script], tmp_path))
    command = [PWSH, "-NoProfile", "-NonInteractive", "-File", str(program)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert [call["name"] for call in answer["calls"]] == RUNS[script]["calls"]
    assert set(RUNS[script].get("result", ())) <= set(answer["result"])
