# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold between the objects of a configuration, and what the appliance changes by itself. Pure functions of trees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lab.connect_secure.answers import IMPLICIT
from lab.connect_secure.state import Tree, elements
from lab.connect_secure.wire import load

REFERENCES = ("authentication-server", "directory-server", "accounting-server")
NONE = ("", "-", "None")
REALMS = {"user": "user_realm", "admin": "admin_realm"}
ROLES = {"user": "user_role", "admin": "admin_role"}


def _all(tree: Tree, resource: str) -> list[dict[str, Any]]:
    return elements(tree, load().paths[resource])


def names(tree: Tree, resource: str) -> set[str]:
    return {element["name"] for element in _all(tree, resource)}


def _servers_of(realm: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for member in REFERENCES:
        if realm.get(member, "None") not in NONE:
            yield member, realm[member]
    secondary = realm.get("secondary-authentication-settings", {}).get("name", "-")
    if secondary not in NONE:
        yield "secondary-authentication-settings/name", secondary


def check(tree: Tree) -> list[str]:
    """Why this configuration is refused; nothing if it holds together."""
    return [*_check_realms(tree), *_check_sign_in(tree), *_check_servers(tree), *_check_management_port(tree)]


def _check_realms(tree: Tree) -> Iterator[str]:
    servers = {server["name"]: server for server in _all(tree, "auth_server")}
    for kind, resource in REALMS.items():
        roles = names(tree, ROLES[kind])
        for realm in _all(tree, resource):
            name = realm["name"]
            for member, server in _servers_of(realm):
                if server not in servers:
                    yield f"realm '{name}': {member} refers to auth server '{server}', which does not exist"
                elif member.startswith("secondary") and "certificate" in servers[server]:
                    yield f"realm '{name}': {member}: the certificate server '{server}' cannot be an additional authentication server"
            if realm.get("authentication-server", "None") in NONE:
                yield f"realm '{name}': authentication-server: a value is required"
            yield from _check_rules(name, realm, roles)


def _check_rules(realm: str, wire: dict[str, Any], roles: set[str]) -> Iterator[str]:
    rules = wire.get("role-mapping-rules", {}).get("rule", [])
    for number, rule in enumerate(rules):
        what = f"realm '{realm}': role mapping rule '{rule.get('name', number + 1)}'"
        for role in rule.get("roles", []):
            if role not in roles:
                yield f"{what} refers to role '{role}', which does not exist"
        if ("user-name" in rule) == ("custom-expression" in rule):
            yield f"{what}: exactly one of user-name, custom-expression is required"
    titles = [rule.get("name") for rule in rules]
    if len(set(titles)) != len(titles):
        yield f"realm '{realm}': two role mapping rules have the same name"


def _check_sign_in(tree: Tree) -> Iterator[str]:
    for policy in _all(tree, "sign_in_policy"):
        for kind, resource in REALMS.items():
            for realm in policy.get(kind, {}).get("realms", []):
                if realm not in names(tree, resource):
                    yield f"sign-in policy '{policy['url-pattern']}' refers to {kind} realm '{realm}', which does not exist"


def _check_servers(tree: Tree) -> Iterator[str]:
    for server in _all(tree, "auth_server"):
        settings = server.get("radius", {}).get("settings", {})
        if "radius" in server:
            for member in ("radius-server", "shared-secret-encrypted"):
                if not settings.get(member):
                    yield f"auth server '{server['name']}': radius/settings/{member}: a value is required"
        if "ldap" in server and not server["ldap"].get("settings", {}).get("ldap-server"):
            yield f"auth server '{server['name']}': ldap/settings/ldap-server: a value is required"


def _check_management_port(tree: Tree) -> Iterator[str]:
    if not any(certificate.get("management-port") == "true" for certificate in _all(tree, "device_certificate")):
        yield "the management port cannot be left without a device certificate"


def used_by(tree: Tree, resource: str, element: dict[str, Any]) -> list[str]:
    """Why this element cannot be deleted."""
    name = element.get("name", "")
    if resource == "auth_server":
        return [
            f"auth server '{name}' is in use by realm '{realm['name']}'"
            for kind in REALMS.values()
            for realm in _all(tree, kind)
            if any(server == name for _, server in _servers_of(realm))
        ]
    if resource in ROLES.values():
        kind = next(kind for kind, title in ROLES.items() if title == resource)
        return [
            f"role '{name}' is in use by realm '{realm['name']}'"
            for realm in _all(tree, REALMS[kind])
            if any(name in rule.get("roles", []) for rule in realm.get("role-mapping-rules", {}).get("rule", []))
        ]
    if resource in REALMS.values():
        kind = next(kind for kind, title in REALMS.items() if title == resource)
        return [
            f"realm '{name}' is in use by sign-in policy '{policy['url-pattern']}'"
            for policy in _all(tree, "sign_in_policy")
            if name in policy.get(kind, {}).get("realms", [])
        ]
    if resource == "device_certificate":
        ports = bound_ports(element)
        return [f"device certificate '{name}' is in use by {', '.join(ports)}"] if ports else []
    return []


def bound_ports(certificate: dict[str, Any]) -> list[str]:
    ports = [f"internal port '{port}'" for port in certificate.get("internal-ports", [])]
    ports += [f"external port '{port}'" for port in certificate.get("external-ports", [])]
    return ports + ["the management port"] * (certificate.get("management-port") == "true")


def settle(before: Tree, after: Tree) -> tuple[str, ...]:
    """Change `after` as the appliance does by itself; its warnings, if it did."""
    changed = [_settle_client_ca(authority) for authority in _all(after, "trusted_client_ca")]
    old = {certificate["name"]: certificate for certificate in _all(before, "device_certificate")}
    certificates = _all(after, "device_certificate")
    for certificate in certificates:
        others = [other for other in certificates if other is not certificate]
        changed += [_take_ports(certificate, old.get(certificate["name"], {}), other) for other in others]
    return (IMPLICIT,) if any(changed) else ()


def _settle_client_ca(authority: dict[str, Any]) -> bool:
    """A CA that is not trusted for client authentication takes no part in the negotiation."""
    trusted = authority.get("trusted-for-client-authentication", "true") == "true"
    if trusted or authority.get("participate-in-client-certificate-negotiation") != "true":
        return False
    authority["participate-in-client-certificate-negotiation"] = "false"
    return True


def _take_ports(certificate: dict[str, Any], old: dict[str, Any], other: dict[str, Any]) -> bool:
    """A port has one device certificate: what is bound newly to one leaves the other."""
    changed = False
    for member in ("internal-ports", "external-ports"):
        taken = set(certificate.get(member, [])) - set(old.get(member, []))
        rest = [port for port in other.get(member, []) if port not in taken]
        if rest != other.get(member, []):
            other[member], changed = rest, True
    newly = certificate.get("management-port") == "true" and old.get("management-port") != "true"
    if newly and other.get("management-port") == "true":
        other["management-port"], changed = "false", True
    return changed
