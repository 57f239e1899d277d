# SPDX-License-Identifier: GPL-3.0-or-later
"""All that lets people in to an appliance, as one request: its parts are the resources of the single modules.

Everything is read and planned before anything is written, each part taking for granted what those before it are about to make. Then the
parts are carried out in their order, and a part whose ground has changed by then is read and planned anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, ClassVar

from ansible_collections.certlogon.core.plugins.module_utils.certificates import crl_source
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import gateway, xml_import
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.auth_servers import AuthServers, type_of
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.client import appliance
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.connection import CONNECTION, SESSION
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.crl_check import Fetch
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.device_certificates import DeviceCertificates
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.realms import AuthenticationRealms
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.sign_in_policies import SignInPolicies
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.sign_in_reading import KINDS
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.trusted_client_cas import TrustedClientCas
from ansible_collections.certlogon.core.plugins.module_utils.errors import SessionLost, UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import (
    Prepared,
    Resource,
    Warn,
    carry_out,
    examine,
    gather,
    prepare,
)

PARTS: Mapping[str, type[Resource[Any, Any]]] = {
    "device_certificates": DeviceCertificates,
    "trusted_client_cas": TrustedClientCas,
    "auth_servers": AuthServers,
    "realms": AuthenticationRealms,
    "sign_in_policies": SignInPolicies,
}
"""The parts in the order in which they are done."""
NEEDS: Mapping[str, Sequence[str]] = {
    "realms": ("trusted_client_cas", "auth_servers"),
    "sign_in_policies": ("trusted_client_cas", "auth_servers", "realms"),
}
"""What must not have failed before a part is carried out: nobody is offered a way in before what guards it is there."""
_EXPECTED = {"expected_servers": "auth_servers", "expected_realms": "realms"}
"""Options of parts for what is about to be there, and the part whose names these are."""
_NOT_HERE = {"update_crl", *xml_import.RENDERING, *_EXPECTED}
"""Options of the single modules that this one has not."""

Report = dict[str, Any]


class WholeAppliance:
    """The request; `fetch` is how CRLs are looked at."""

    connection: ClassVar[Mapping[str, Any]] = CONNECTION
    extra: ClassVar[Mapping[str, Any]] = {
        name: line for resource in PARTS.values() for name, line in resource.extra.items() if name not in _NOT_HERE
    }

    def __init__(self, fetch: Fetch = crl_source.fetch) -> None:
        self._resources = {part: TrustedClientCas(fetch) if kind is TrustedClientCas else kind() for part, kind in PARTS.items()}

    @classmethod
    def argument_spec(cls, *, deep: bool = False) -> dict[str, Any]:
        """The options; with `deep` also those of the parts' entries, whose documentation is that of the single modules."""
        entries: dict[str, Any] = {"type": "list", "elements": "dict"}
        return {
            **cls.connection,
            **{part: {**entries, **({"options": dict(kind.options)} if deep else {})} for part, kind in PARTS.items()},
            "state": {"type": "str", "choices": ["merged", "gathered"], "default": "merged"},
            "gateway": {"type": "dict", "options": gateway.OPTIONS},
            "parts": {"type": "list", "elements": "str", "choices": list(PARTS)},
            "variables": {"type": "dict"},
            "role_variables": {"type": "bool", "default": False},
            **cls.extra,
        }

    @classmethod
    def rules(cls) -> dict[str, Any]:
        return {"required_if": [("state", "merged", [*PARTS, "gateway"], True)]}

    def run(self, params: Mapping[str, Any], *, check_mode: bool, warn: Warn) -> Report:
        """The module's result. Raises `UserError` where the appliance cannot be asked at all."""
        gathering = params["state"] == "gathered"
        # what is planned anew warns anew
        warn = _once(warn)
        named = _named(params) or (PARTS if gathering else ())
        wanted = {part: _params(part, params) for part in PARTS if part in named and part in (params["parts"] or PARTS)}
        unfit = "\n".join(gateway.problems(params.get("gateway")))
        if unfit:
            return _refused({"gateway": unfit})
        wrong = _collected(wanted, lambda part: examine(self._resources[part], wanted[part]))[1]
        if wrong:
            return _refused(wrong)
        with ExitStack() as stack, appliance(params, warn) as shared:

            def opened(part: str) -> Any:
                own = {**wanted[part], SESSION: shared}
                return stack.enter_context(self._resources[part].open(own, warn))

            if gathering:
                found = {part: gather(self._resources[part], opened(part), wanted[part])["gathered"] for part in wanted}
                return {"changed": False, "gathered": found}
            plans, wrong = _collected(wanted, lambda part: prepare(self._resources[part], opened(part), wanted[part], warn))
            if wrong:
                return _refused(wrong)
            return _reported(_carried_out(plans, check_mode=check_mode, warn=warn))


def _params(part: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The request in the words of the part's own module. What is expected is told by its kind, too."""
    expected = {option: _kinds(other, params.get(other) or ()) for option, other in _EXPECTED.items()}
    rendering = {name: line.get("default") for name, line in xml_import.RENDERING.items()}
    return {**params, **rendering, **expected, "update_crl": False, "config": params.get(part)}


def _kinds(part: str, entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The names of what is about to be there: servers with their type, realms by their kind."""
    if part == "auth_servers":
        return {entry["name"]: type_of(dict(entry)) for entry in entries}
    return {kind: [entry["name"] for entry in entries if entry["kind"] == kind] for kind in KINDS}


def _named(params: Mapping[str, Any]) -> list[str]:
    return [part for part in PARTS if params.get(part) is not None]


def _once(warn: Warn) -> Warn:
    said: set[str] = set()

    def first(text: str) -> None:
        if text not in said:
            said.add(text)
            warn(text)

    return first


def _collected(parts: Mapping[str, Any], call: Callable[[str], Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """What came of each part, and what is wrong with those of which nothing came. Raises `SessionLost`."""
    came, wrong = {}, {}
    for part in parts:
        try:
            came[part] = call(part)
        except SessionLost:
            raise
        except UserError as error:
            wrong[part] = str(error)
    return came, wrong


def _carried_out(plans: Mapping[str, Prepared], *, check_mode: bool, warn: Warn) -> dict[str, Report]:
    """The parts' results, part by part."""
    results: dict[str, Report] = {}
    for part, planned in plans.items():
        needed = [need for need in NEEDS.get(part, ()) if need in results and planned.plan.changes]
        failed = [need for need in needed if results[need].get("failed")]
        if failed:
            results[part] = _not_attempted(planned, failed)
        elif not check_mode and any(results[need]["changed"] for need in needed):
            results[part] = _anew(planned, warn)
        else:
            results[part] = carry_out(planned, check_mode=check_mode)
    return results


def _anew(planned: Prepared, warn: Warn) -> Report:
    """A part on ground that this run has changed: planned by what is there, not by what was expected."""
    params = {**planned.params, **dict.fromkeys(_EXPECTED, ())}
    try:
        return carry_out(prepare(planned.resource, planned.session, params, warn), check_mode=False)
    except UserError as error:
        return {"changed": False, "changes": [], "diff": [], "failed": True, "msg": str(error)}


def _not_attempted(planned: Prepared, failed: Sequence[str]) -> Report:
    text = f"not attempted, for {' and '.join(failed)} failed"
    changes = [{"name": change.name, "action": change.action, "failed": True, "msg": text} for change in planned.plan.changes]
    names = ", ".join(change.name for change in planned.plan.changes)
    return {"changed": False, "changes": changes, "diff": [], "failed": True, "msg": f"{names}: {text}"}


# ---- the result


def _refused(wrong: Mapping[str, str]) -> Report:
    told = "\n".join(_placed(part, text) for part, text in wrong.items())
    return {"failed": True, "changed": False, "msg": f"nothing was written:\n{told}" if "\n" in told else f"nothing was written: {told}"}


def _placed(part: str, text: str) -> str:
    """Messages of a part, each line saying so; what is `config` for the part's own module, has the part's name here."""
    lines = (re.sub(r"^config\b", part, line) for line in text.split("\n"))
    return "\n".join(line if line.startswith(part) else f"{part}: {line}" for line in lines)


def _reported(results: Mapping[str, Report]) -> Report:
    report: Report = {
        "changed": any(result["changed"] for result in results.values()),
        "changes": [{"part": part, **change} for part, result in results.items() for change in result["changes"]],
        "diff": [_headed(part, diff) for part, result in results.items() for diff in result["diff"]],
        "certificates": results.get("device_certificates", {}).get("certificates", []),
        "crls": results.get("trusted_client_cas", {}).get("crls", []),
    }
    failed = {part: result["msg"] for part, result in results.items() if result.get("failed")}
    if failed:
        report.update(failed=True, msg="\n".join(_placed(part, text) for part, text in failed.items()))
    return report


def _headed(part: str, diff: Mapping[str, Any]) -> Report:
    return {**diff, **{header: f"{part}: {diff[header]}" for header in ("before_header", "after_header")}}
