# SPDX-License-Identifier: GPL-3.0-or-later
"""Any node of the appliance's configuration, as it is: for what no module knows, or what the table has wrong."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import raw_values
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.client import ApplianceSession, appliance, plain_path
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.connection import CONNECTION
from ansible_collections.certlogon.core.plugins.module_utils.errors import Problems, UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Change, Plan, Resource, Warn, Words

Current = Mapping[str, Any]
"""What is at each path of `config`; None where there is nothing."""


class RawConfiguration(Resource[ApplianceSession, Current]):
    key = "path"
    states = ("merged", "deleted", "gathered")
    connection = CONNECTION
    options = {
        "path": {"type": "str", "required": True},
        "body": {"type": "dict"},
        "secrets": {"type": "dict", "no_log": True},
        "create_with": {"type": "str", "choices": ["put", "post"], "default": "put"},
    }

    @classmethod
    def argument_spec(cls) -> dict[str, Any]:
        spec = super().argument_spec()
        return {**spec, "config": {**spec["config"], "required": True}}

    @classmethod
    def rules(cls) -> dict[str, Any]:
        return {}

    def identify(self, entry: Words) -> str:
        return plain_path(entry["path"])

    def check(self, params: Mapping[str, Any]) -> None:
        problems = Problems()
        for entry in params["config"]:
            if params["state"] == "merged" and not entry["body"]:
                problems.add(f"config: {entry['path']}: body is missing; give the members that the node shall have")
            if params["state"] != "gathered" and not self.identify(entry).startswith("configuration/"):
                problems.add(f"config: {entry['path']}: only paths below configuration/ are written; this one can be read (gathered)")
        problems.raise_any()

    def open(self, params: Mapping[str, Any], warn: Warn) -> AbstractContextManager[ApplianceSession]:
        return appliance(params, warn)

    def read(self, session: ApplianceSession, params: Mapping[str, Any]) -> Current:
        return {path: session.raw("GET", path) for path in map(self.identify, params["config"])}

    def objects(self, current: Current) -> dict[str, Words]:
        return {path: {"path": path, "body": raw_values.readable(body)} for path, body in current.items() if body is not None}

    def plan(self, params: Mapping[str, Any], current: Current) -> Plan:
        deleted = params["state"] == "deleted"
        changes = (
            _deletion(self.identify(entry), current) if deleted else _setting(entry, self.identify(entry), current)
            for entry in params["config"]
        )
        return Plan([change for change in changes if change])

    def settled(self, change: Change, params: Mapping[str, Any], current: Current) -> bool:
        """The appliance may have set more than was asked; what was asked has to be there."""
        return change.after is not None and raw_values.holds(current.get(change.name), change.details["body"])

    def apply(self, session: ApplianceSession, change: Change) -> None:
        if change.after is None:
            session.raw("DELETE", change.name)
        elif change.before is None and change.details["create_with"] == "post":
            session.raw("POST", f"{change.name.rpartition('/')[0]}/", change.details["sent"])
        else:
            session.raw("PUT", change.name, change.details["sent"])


def _deletion(path: str, current: Current) -> Change | None:
    body = current[path]
    return None if body is None else Change(path, {"path": path, "body": raw_values.readable(body)}, None)


def _setting(entry: Words, path: str, current: Current) -> Change | None:
    have, wanted = current[path], entry["body"]
    if have is not None and not isinstance(have, Mapping):
        raise UserError(f"config: {path}: there is no object, but {have!r}; only objects are written")
    if have is not None and raw_values.holds(have, wanted):
        return None
    sent = _merged(raw_values.with_wire_booleans(wanted), raw_values.with_wire_booleans(entry["secrets"] or {}))
    before = None if have is None else {"path": path, "body": raw_values.readable(raw_values.part(have, wanted))}
    after = {"path": path, "body": raw_values.readable(wanted)}
    return Change(path, before, after, {"body": wanted, "sent": sent, "create_with": entry["create_with"]})


def _merged(body: dict[str, Any], secrets: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(body)
    for name, value in secrets.items():
        mine = result.get(name)
        result[name] = _merged(mine, value) if isinstance(mine, dict) and isinstance(value, Mapping) else value
    return result
