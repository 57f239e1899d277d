# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible.windows.win_feature: the features of a CA host, what they pull in, their management tools (Get-WindowsFeature, Server 2022)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lab.windows_ca.machine import Machine
from lab.windows_ca.module_arguments import ModuleFailure
from lab.windows_ca.modules import NOT_MODELLED, Call, module

# name: (display name, parent, further features it cannot be without, management tools)
FEATURES: dict[str, tuple[str, str | None, tuple[str, ...], tuple[str, ...]]] = {
    "AD-Certificate": ("Active Directory Certificate Services", None, (), ("RSAT-ADCS-Mgmt",)),
    "ADCS-Cert-Authority": ("Certification Authority", "AD-Certificate", (), ("RSAT-ADCS-Mgmt",)),
    "ADCS-Web-Enrollment": (
        "Certification Authority Web Enrollment",
        "AD-Certificate",
        (
            *("Web-Default-Doc", "Web-Http-Errors", "Web-Static-Content", "Web-Http-Redirect", "Web-Filtering", "Web-Windows-Auth"),
            *("Web-Asp", "Web-Metabase"),
        ),
        ("Web-Mgmt-Console",),
    ),
    "ADCS-Enroll-Web-Pol": ("Certificate Enrollment Policy Web Service", "AD-Certificate", ("Web-Windows-Auth",), ("Web-Mgmt-Console",)),
    "ADCS-Enroll-Web-Svc": ("Certificate Enrollment Web Service", "AD-Certificate", ("Web-Windows-Auth",), ("Web-Mgmt-Console",)),
    "ADCS-Online-Cert": ("Online Responder", "AD-Certificate", ("Web-Windows-Auth",), ("RSAT-Online-Responder",)),
    "ADCS-Device-Enrollment": ("Network Device Enrollment Service", "AD-Certificate", ("Web-Windows-Auth",), ("Web-Mgmt-Console",)),
    "RSAT-ADCS": ("Active Directory Certificate Services Tools", None, (), ()),
    "RSAT-ADCS-Mgmt": ("Certification Authority Management Tools", "RSAT-ADCS", (), ()),
    "RSAT-Online-Responder": ("Online Responder Tools", "RSAT-ADCS", (), ()),
    "RSAT-AD-PowerShell": ("Active Directory module for Windows PowerShell", None, (), ()),
    "Web-Server": (
        "Web Server (IIS)",
        None,
        ("Web-Default-Doc", "Web-Http-Errors", "Web-Static-Content", "Web-Filtering"),
        ("Web-Mgmt-Console",),
    ),
    "Web-WebServer": ("Web Server", "Web-Server", (), ("Web-Mgmt-Console",)),
    "Web-Common-Http": ("Common HTTP Features", "Web-WebServer", (), ()),
    "Web-Default-Doc": ("Default Document", "Web-Common-Http", (), ()),
    "Web-Static-Content": ("Static Content", "Web-Common-Http", (), ()),
    "Web-Http-Errors": ("HTTP Errors", "Web-Common-Http", (), ()),
    "Web-Http-Redirect": ("HTTP Redirection", "Web-Common-Http", (), ()),
    "Web-Security": ("Security", "Web-WebServer", (), ()),
    "Web-Filtering": ("Request Filtering", "Web-Security", (), ()),
    "Web-Windows-Auth": ("Windows Authentication", "Web-Security", (), ()),
    "Web-Basic-Auth": ("Basic Authentication", "Web-Security", (), ()),
    "Web-App-Dev": ("Application Development", "Web-WebServer", (), ()),
    "Web-Asp": ("ASP", "Web-App-Dev", ("Web-ISAPI-Ext",), ()),
    "Web-ISAPI-Ext": ("ISAPI Extensions", "Web-App-Dev", (), ()),
    "Web-Mgmt-Tools": ("Management Tools", "Web-Server", (), ()),
    "Web-Mgmt-Console": ("IIS Management Console", "Web-Mgmt-Tools", (), ()),
    "Web-Metabase": ("IIS 6 Metabase Compatibility", "Web-Mgmt-Tools", (), ()),
    "Web-Scripting-Tools": ("IIS Management Scripts and Tools", "Web-Mgmt-Tools", (), ()),
}
NUMBERS = {name: number for number, name in enumerate(FEATURES, 1)}


@module("ansible.windows.win_feature")
def win_feature(call: Call) -> dict[str, Any]:
    if call["source"]:
        raise ModuleFailure(f"{NOT_MODELLED} win_feature's option source")
    machine: Machine = call.host.machine
    names = [find(name, machine, call["state"]) for name in call["name"]]
    tools = call["include_management_tools"]
    if call["state"] == "present":
        wanted = needed(with_sub_features(names) if call["include_sub_features"] else names, tools)
        changing = [name for name in FEATURES if name in wanted and not machine.features.get(name)]
    else:
        going = dependent(names) | ({tool for name in names for tool in FEATURES[name][3]} if tools else set())
        changing = [name for name in FEATURES if name in going and machine.features.get(name)]
    reboot = bool(changing) and wants_reboot(machine, changing)
    if not call.check_mode and changing:
        call.host.change_features(dict.fromkeys(changing, call["state"] == "present"), reboot)
    restart = reboot or (machine.pending_reboot and not call.check_mode)
    return {
        "changed": bool(changing),
        "success": True,
        "failed": False,
        "exitcode": ("SuccessRestartRequired" if reboot else "Success") if changing else "NoChangeNeeded",
        "reboot_required": restart,
        "feature_result": [feature_result(name, reboot) for name in changing],
    }


def find(name: str, machine: Machine, state: str) -> str:
    known = next((feature for feature in FEATURES if feature.lower() == name.lower()), None)
    if known is None:
        doing = "install" if state == "present" else "uninstall"
        command = f"{doing.capitalize()}-WindowsFeature"
        raise ModuleFailure(
            f"Failed to {doing} Windows Feature: ArgumentNotValid: The role, role service, or feature name is not valid: '{name}'. "
            f"The name was not found. ({command}; the lab's stand-in knows: {', '.join(FEATURES)})"
        )
    return known


def needed(names: Iterable[str], tools: bool) -> set[str]:
    """The features with their parents, what they cannot be without, and their management tools if wanted."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        _, parent, others, managed_by = FEATURES[name]
        waiting += [*([parent] if parent else []), *others, *(managed_by if tools else ())]
    return found


def with_sub_features(names: Iterable[str]) -> set[str]:
    found = set(names)
    while more := {name for name, (_, parent, _, _) in FEATURES.items() if parent in found} - found:
        found |= more
    return found


def dependent(names: Iterable[str]) -> set[str]:
    """The features with all that cannot be without them."""
    found = set(names)
    while more := {name for name, (_, parent, others, _) in FEATURES.items() if {parent, *others} & found} - found:
        found |= more
    return found


def wants_reboot(machine: Machine, names: Iterable[str]) -> bool:
    """faults["feature_needs_reboot"]: true, or the names of features."""
    fault = machine.faults.get("feature_needs_reboot", False)
    return fault is True or bool(fault and set(fault) & set(names))


def feature_result(name: str, reboot: bool) -> dict[str, Any]:
    return {
        "id": NUMBERS[name],
        "display_name": FEATURES[name][0],
        "message": [],
        "reboot_required": reboot,
        "skip_reason": "NotSkipped",
        "success": True,
    }
