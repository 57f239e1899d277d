# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible.windows.win_powershell with the project's own scripts, and no others."""

from __future__ import annotations

import traceback
from typing import Any

from lab.windows_ca import scripts
from lab.windows_ca.module_arguments import ModuleFailure
from lab.windows_ca.modules import NOT_MODELLED, Call, module
from lab.windows_ca.scripts import BindingError, PowerShellError, Script
from lab.windows_ca.scripts.parameters import NotModelled
from lab.windows_ca.server import log

EMPTY: dict[str, Any] = {
    "result": {},
    "host_out": "",
    "host_err": "",
    "output": [],
    "error": [],
    "warning": [],
    "verbose": [],
    "debug": [],
    "information": [],
}
IGNORED_OPTIONS = ("arguments", "chdir", "creates", "removes", "executable", "path")


@module("ansible.windows.win_powershell")
def win_powershell(call: Call) -> dict[str, Any]:
    unknown = [name for name in IGNORED_OPTIONS if call[name]] + ["remote_src"] * bool(call["remote_src"])
    if unknown:
        raise ModuleFailure(f"{NOT_MODELLED} win_powershell with {', '.join(unknown)}")
    script = recognise(call["script"])
    if call.check_mode and not script.parameters.supports_should_process:
        return {**EMPTY, "changed": True, "msg": "skipped, running in check mode"}
    if call.check_mode and not script.reads_only:
        raise ModuleFailure(f"{NOT_MODELLED} the WhatIf of {script.name}.ps1: only scripts that never change anything run in check mode")
    call.host.metrics.count("scripts")
    call.host.metrics.count(f"script_{script.name}")
    try:
        parameters = script.parameters.bind(call["parameters"] or {}, sensitive(call))
    except BindingError as error:
        return failed(
            str(error), "System.Management.Automation.ParameterBindingException", -2146233087, "InvalidArgument", "ParameterBinding"
        )
    done = carry_out(call, script, parameters)
    if call.host.machine.faults.get("winrm_drop_after") == script.name:
        call.host.drop_connections()
    return {**done, "result": flattened(done["result"], call["depth"])}


def recognise(text: str) -> Script:
    try:
        script = scripts.recognise(text)
    except NotModelled as error:
        raise ModuleFailure(f"{NOT_MODELLED} the param block of this script: {error}") from None
    if script is None:
        known = ", ".join(file.name for file in scripts.scripts())
        begin = " ".join(text.split())[:120]
        raise ModuleFailure(f"{NOT_MODELLED} PowerShell: this script is none of the project's own ({known}), byte for byte: {begin} …")
    if script.name not in scripts.HANDLERS:
        raise ModuleFailure(f"{NOT_MODELLED} {script.name}.ps1: no handler of that name")
    return script


def sensitive(call: Call) -> dict[str, Any]:
    """By name: a PSCredential as {"username", "password"}, a SecureString as its text."""
    entries = call["sensitive_parameters"] or []
    return {
        entry["name"]: {"username": entry["username"], "password": entry["password"] or ""} if entry["username"] else entry["value"] or ""
        for entry in entries
    }


def carry_out(call: Call, script: Script, parameters: dict[str, Any]) -> dict[str, Any]:
    try:
        result = scripts.HANDLERS[script.name](call.host.machine, call.host.authority, parameters, call.host.identify(call.account))
    except PowerShellError as error:
        return changed(script, failed(str(error), error.exception_type, error.hresult, error.category, error.error_id))
    except Exception as error:
        hresult = getattr(error, "hresult", None)
        if hresult is None:
            raise
        log("scripts", f"{script.name}: {traceback.format_exc()}")
        signed = hresult - (1 << 32) if hresult >= 1 << 31 else hresult
        text = getattr(error, "text", "") or str(error)
        shown = f"{text} 0x{hresult:08x} ({signed})"
        return changed(script, failed(shown, "System.Runtime.InteropServices.COMException", signed, "OperationStopped", text))
    return {**EMPTY, "result": result, "changed": script.changed(result)}


def changed(script: Script, result: dict[str, Any]) -> dict[str, Any]:
    """After an error the task has changed, unless the script had said otherwise before."""
    return result | {"changed": not script.reads_only}


def flattened(value: Any, depth: int) -> Any:
    """Convert-OutputObject of win_powershell.ps1: what lies deeper than `depth` becomes a string."""
    if not isinstance(value, (dict, list, tuple)):
        return value
    if depth < 0:
        return "System.Collections.Hashtable" if isinstance(value, dict) else " ".join(str(flattened(entry, -1)) for entry in value)
    if isinstance(value, dict):
        return {name: flattened(entry, depth - 1) for name, entry in value.items()}
    return [flattened(entry, depth - 1) for entry in value]


def failed(message: str, exception_type: str, hresult: int, category: str, error_id: str) -> dict[str, Any]:
    """The result after a terminating error: no `msg`, as in the module itself."""
    error: dict[str, Any] = {
        "output": f"{message}\r\n    + CategoryInfo          : {category}: (:) [], {exception_type.rpartition('.')[2]}\r\n"
        f"    + FullyQualifiedErrorId : {error_id}\r\n \r\n",
        "error_details": None,
        "exception": {
            "message": message,
            "type": exception_type,
            "help_link": None,
            "source": "System.Management.Automation",
            "hresult": hresult,
            "inner_exception": None,
        },
        "target_object": None,
        "category_info": {
            "category": category,
            "category_id": {"InvalidArgument": 5, "OperationStopped": 14}.get(category, 0),
            "activity": "",
            "reason": exception_type.rpartition(".")[2],
            "target_name": "",
            "target_type": "",
        },
        "fully_qualified_error_id": error_id,
        "script_stack_trace": "at <ScriptBlock>, <No file>: line 1",
        "pipeline_iteration_info": [],
    }
    return {**EMPTY, "changed": True, "failed": True, "error": [error]}
