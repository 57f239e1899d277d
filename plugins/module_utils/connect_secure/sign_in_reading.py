# SPDX-License-Identifier: GPL-3.0-or-later
"""Realms and sign-in policies as the appliance holds them, in the words of the modules' options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.client import ApplianceSession
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.elements import Element, Wire, tidy
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.sign_in_guard import SignIn
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.table import Shape
from ansible_collections.certlogon.core.plugins.module_utils.resource import Words

KINDS = ("user", "admin")
SERVERS = ("authentication_server", "directory_server", "accounting_server")
"""A realm's references to servers, besides that to a secondary one."""
_NOTHING = ("", "none", "-")


def realms(session: ApplianceSession, kind: str) -> dict[str, Element]:
    """The realms of a kind by name."""
    shape = session.table.resource(f"{kind}_realm")
    return {shape.name_of(wire): Element(wire, describe_realm(shape, wire, kind)) for wire in session.list(shape.resource)}


def policies(session: ApplianceSession) -> dict[str, Element]:
    """The sign-in policies by URL, in the order of evaluation."""
    shape = session.table.resource("sign_in_policy")
    return {shape.name_of(wire): Element(wire, describe_policy(shape, wire)) for wire in session.list(shape.resource)}


def sign_in(servers: Mapping[str, Any], admin_realms: Mapping[str, Element], known: Mapping[str, Element]) -> SignIn:
    """What the lock-out guard judges."""
    return SignIn(servers, {name: element.words for name, element in admin_realms.items()}, [element.words for element in known.values()])


def servers_of(realm: Words) -> list[str]:
    """The servers that a realm refers to."""
    return [name for name in (*(realm.get(field) for field in SERVERS), realm.get("secondary_authentication", {}).get("server")) if name]


def users_of_servers(realms_by_kind: Mapping[str, Mapping[str, Element]]) -> dict[str, list[str]]:
    """Which realms refer to each server."""
    users: dict[str, list[str]] = {}
    for kind, known in realms_by_kind.items():
        for name, element in known.items():
            for server in dict.fromkeys(servers_of(element.words)):
                users.setdefault(server, []).append(f"{kind} realm {name!r}")
    return users


# ---- words


def describe_realm(shape: Shape, wire: Wire, kind: str) -> Words:
    return settled_realm({**shape.decode(wire), "kind": kind})


def settled_realm(words: Words) -> Words:
    """A realm in the one form in which it is compared: what is not set is left out, but for what has a value then as well."""
    plain: Words = tidy(words)
    for field in SERVERS:
        if str(plain.get(field, "")).casefold() in _NOTHING:
            plain.pop(field, None)
    secondary = plain.pop("secondary_authentication", {})
    if str(secondary.get("server", "")).casefold() not in _NOTHING:
        plain["secondary_authentication"] = {"end_session_on_failure": False, **secondary}
    restriction = {"mode": "none", "rules": [], **plain.get("certificate_restriction", {})}
    rules = [{"roles": [], "stop": False, **rule} for rule in plain.get("role_mapping_rules", [])]
    return {**plain, "certificate_restriction": restriction, "role_mapping_rules": rules}


def describe_policy(shape: Shape, wire: Wire) -> Words:
    words = shape.decode(wire)
    kind = shape.kind(wire) or "unknown"
    offered: Sequence[str] = (words.get(kind) or {}).get("realms") or []
    return {"url": shape.name_of(wire), "kind": kind, "realms": list(offered), "enabled": bool(words.get("enabled"))}


def policy_members(words: Words) -> Words:
    """A policy as the table has it: the realms below its kind."""
    return {"url": words["url"], "enabled": words["enabled"], words["kind"]: {"realms": words["realms"]}}
