# SPDX-License-Identifier: GPL-3.0-or-later
"""The Ansible modules that the stand-in models: functions of a call. Results have the shape of each module's RETURN documentation."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lab.windows_ca.module_arguments import Arguments, ModuleFailure, censored, judge
from lab.windows_ca.server import log

if TYPE_CHECKING:
    from lab.windows_ca.host import Host

NOT_MODELLED = "The lab's stand-in for Windows does not model"


@dataclass
class Call:
    """One call of a module: by whom, with what; `diff`, `warnings` are for the module to fill."""

    host: Host
    account: str
    arguments: Arguments
    diff: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def __getitem__(self, option: str) -> Any:
        return self.arguments[option]

    @property
    def check_mode(self) -> bool:
        return self.arguments.check_mode


class ServiceError(Exception):
    """A service does not start or stop."""


Module = Callable[[Call], dict[str, Any]]
MODULES: dict[str, Module] = {}


def module(name: str) -> Callable[[Module], Module]:
    def register(function: Module) -> Module:
        MODULES[name] = function
        return function

    return register


def run(host: Host, name: str, given: Mapping[str, Any], account: str) -> dict[str, Any]:
    """The result that the module prints. Never raises: what is not modelled, or goes wrong, is a failed result, and logged."""
    known = MODULES.get(name)
    if known is None:
        log("modules", f"{account}: {name}: NOT MODELLED")
        return {"failed": True, "changed": False, "msg": f"{NOT_MODELLED} the module {name}; it knows {', '.join(sorted(MODULES))}"}
    host.metrics.count("modules")
    try:
        arguments = judge(name, given)
    except ModuleFailure as failure:
        log("modules", f"{account}: {name}: REFUSED: {failure}")
        return {"failed": True, "changed": False, "msg": str(failure)}
    result = perform(known, name, Call(host, account, arguments))
    shown = {option: value for option, value in arguments.values.items() if value is not None}
    log("modules", f"{account}: {name}{' (check mode)' if arguments.check_mode else ''}: {outcome(censored(result, arguments.secrets))}")
    done: dict[str, Any] = censored({**result, "invocation": {"module_args": shown}}, arguments.secrets)
    return done


def perform(known: Module, name: str, call: Call) -> dict[str, Any]:
    try:
        result: dict[str, Any] = {"changed": False, **known(call)}
    except ModuleFailure as failure:
        result = {"failed": True, "changed": False, "msg": str(failure), **failure.result}
    except Exception as error:
        log("modules", f"{name}: FAULT IN THE STAND-IN\n{traceback.format_exc()}")
        result = {"failed": True, "changed": False, "msg": f"FAULT IN THE LAB'S STAND-IN for Windows: {error!r} (its log has all of it)"}
    if call.diff and call.arguments.diff:
        result["diff"] = call.diff
    if call.warnings:
        result["warnings"] = call.warnings
    return result


def outcome(result: Mapping[str, Any]) -> str:
    if result.get("failed"):
        errors = [entry["exception"]["message"] for entry in result.get("error", ())]
        return f"FAILED: {result.get('msg') or '; '.join(errors)}"
    return "changed" if result.get("changed") else "ok"
