# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible.windows.win_service: state and start mode of services that are there."""

from __future__ import annotations

from typing import Any

from lab.windows_ca.machine import Service
from lab.windows_ca.module_arguments import ModuleFailure
from lab.windows_ca.module_specs import specs
from lab.windows_ca.modules import NOT_MODELLED, Call, ServiceError, module

MODELLED = ("name", "state", "start_mode", "force_dependent_services")
STATES = {"running": "started", "stopped": "stopped"}


@module("ansible.windows.win_service")
def win_service(call: Call) -> dict[str, Any]:
    refuse_other_options(call)
    service = call.host.machine.services.get(call["name"]) or by_display_name(call)
    if service is None:
        call.diff |= {"before": "", "after": ""}
        if call["state"] or call["start_mode"]:
            raise ModuleFailure(f"Service '{call['name']}' is not installed, need to set 'path' to create a new service")
        return {"changed": False, "exists": False}
    before = described(service)
    after, changed = dict(before), False
    mode, state = call["start_mode"], call["state"]
    if mode and mode != service.start_mode:
        after["start_mode"], changed = mode, True
    if state in ("started", "restarted") and after["start_mode"] == "disabled":
        raise ModuleFailure(
            f"failed to start service {service.name}: Service '{service.display_name} ({service.name})' cannot be started due to the "
            f"following error: Cannot start service {service.name} on computer '.'."
        )
    if state == "restarted" or (state and state != before["state"]):
        after["state"], changed = ("started" if state == "restarted" else state), True
    call.diff |= {"before": before, "after": after}
    if changed and not call.check_mode:
        carry_out(call, service, mode, state if state == "restarted" or state != before["state"] else None)
    return result(service, after) | {"changed": changed}


def refuse_other_options(call: Call) -> None:
    options = specs()["ansible.windows.win_service"]
    others = [
        name
        for name, value in call.arguments.values.items()
        if name not in MODELLED and value is not None and value != options[name].get("default")
    ]
    if call["state"] in ("absent", "paused"):
        others.append(f"state={call['state']}")
    if call["start_mode"] == "delayed":
        others.append("start_mode=delayed")
    if others:
        raise ModuleFailure(f"{NOT_MODELLED} win_service with {', '.join(sorted(others))}")


def by_display_name(call: Call) -> Service | None:
    services = call.host.machine.services.values()
    return next((service for service in services if service.display_name.lower() == call["name"].lower()), None)


def carry_out(call: Call, service: Service, mode: str | None, state: str | None) -> None:
    if mode:
        with call.host.machine.transaction():
            service.start_mode = mode
    try:
        if state in ("stopped", "restarted"):
            call.host.stop_service(service.name)
        if state in ("started", "restarted"):
            call.host.start_service(service.name)
    except ServiceError as error:
        doing = "stop" if state == "stopped" else "start"
        raise ModuleFailure(f"failed to {doing} service {service.name}: {error}") from None


def described(service: Service) -> dict[str, Any]:
    return {
        "dependencies": [],
        "description": None,
        "desktop_interact": False,
        "display_name": service.display_name,
        "name": service.name,
        "path": service.path,
        "start_mode": service.start_mode,
        "state": STATES[service.state],
        "username": "NT AUTHORITY\\SYSTEM" if service.account == "LocalSystem" else service.account,
    }


def result(service: Service, after: dict[str, Any]) -> dict[str, Any]:
    return {
        **after,
        "exists": True,
        "state": "running" if after["state"] == "started" else after["state"],
        "username": service.account,
        "can_pause_and_continue": False,
        "depended_by": [],
    }
