# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of an appliance that cards open, as a rule, from few words (pure).

In Python rather than in templates of a role: Ansible compiles each template anew for each appliance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible.module_utils.common.validation import check_type_list
from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import user_name_template
from ansible_collections.certlogon.core.plugins.module_utils.resource import Words

CERTIFICATE, BOTH, RADIUS = "certificate", "certificate_and_radius", "radius"
_TEXTS: dict[str, Any] = {"type": "list", "elements": "str"}
_RADIUS_SERVER: dict[str, Any] = {
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "default": 1812},
    "secret": {"type": "str", "required": True, "no_log": True},
    "require_message_authenticator": {"type": "bool", "default": True},
}
OPTIONS: dict[str, Any] = {
    "server_names": {**_TEXTS, "required": True},
    "device_certificate": {"type": "dict", "default": {}},
    "external_ports": {**_TEXTS, "default": ["External Port"]},
    "users_address": {"type": "str"},
    "anchor_path": {"type": "path"},
    "crl_download_frequency": {"type": "int", "default": 1},
    "certificate_server": {"type": "str", "default": "Certificates"},
    "user_name_template": {"type": "str", "default": user_name_template.DEFAULT},
    "user_realm": {"type": "str", "default": "Certificate Users"},
    "user_roles": {**_TEXTS, "default": ["Users"]},
    "sign_in": {"type": "str", "choices": [CERTIFICATE, BOTH, RADIUS], "default": CERTIFICATE},
    "radius_name": {"type": "str", "default": "One-Time Codes"},
    "radius_servers": {"type": "list", "elements": "dict", "default": [], "options": _RADIUS_SERVER},
    "radius_timeout": {"type": "int", "default": 60},
    "radius_retries": {"type": "int", "default": 1},
    "radius_nas_identifier": {"type": "str"},
    "radius_update_secret": {"type": "bool", "default": False, "no_log": False},
}
_CHALLENGE = {"name": "Ask what the server asks", "response": "challenge", "action": "show_generic_login"}
"""The appliance shows a RADIUS server's question only by such a rule."""

ROLE: dict[str, Any] = {
    "gateway": {
        "server_names": "vpn_gateway_server_names",
        "device_certificate": "vpn_gateway_device_certificate",
        "external_ports": "connect_secure_external_ports",
        "users_address": "connect_secure_users_address",
        "anchor_path": "connect_secure_anchor_path",
        "crl_download_frequency": "vpn_gateway_crl_download_frequency",
        "certificate_server": "connect_secure_certificate_server",
        "user_name_template": "vpn_gateway_user_name_template",
        "user_realm": "connect_secure_user_realm",
        "user_roles": "connect_secure_user_roles",
        "sign_in": "vpn_gateway_sign_in",
        "radius_name": "connect_secure_radius_server",
        "radius_servers": "vpn_gateway_radius_servers",
        "radius_timeout": "vpn_gateway_radius_timeout",
        "radius_retries": "vpn_gateway_radius_retries",
        "radius_nas_identifier": "vpn_gateway_radius_nas_identifier",
        "radius_update_secret": "connect_secure_update_radius_secret",
    },
    "device_certificates": "connect_secure_device_certificates",
    "method": "certlogon_enrollment_method",
    "url": "certlogon_enrollment_url",
    "enrollment_username": "certlogon_enrollment_username",
    "enrollment_password": "certlogon_enrollment_password",
    "enrollment_auth": "certlogon_enrollment_auth",
    "enrollment_ca_path": "certlogon_enrollment_ca_path",
    "template": "connect_secure_certificate_template",
    "folder": "connect_secure_requests",
    "trusted_client_cas": "vpn_gateway_trusted_client_cas",
    "cdp_check": "connect_secure_cdp_check",
    "cdp_required": "connect_secure_cdp_required",
    "expected_certificates": "__connect_secure_expected",
    "auth_servers": "connect_secure_auth_servers",
    "realms": "connect_secure_realms",
    "sign_in_policies": "connect_secure_sign_in_policies",
}
"""The variables of role connect_secure_gateway that options are taken from. Here and not in its tasks, which are templates, and are sent
back with each result: with many appliances that takes as long as two requests to each.
"""


def expanded(arguments: Mapping[str, Any]) -> Words:
    """The task's arguments with the parts that `gateway` stands for; where it is not well formed, as they are, for they are checked yet.

    Parts that are given stay, but that the certificate server comes before other servers, and that CAs are told what they leave open.
    """
    words = arguments.get("gateway")
    try:
        names = check_type_list(words["server_names"]) if isinstance(words, Mapping) else []
    except (KeyError, TypeError):
        names = []
    if not names or not isinstance(words, Mapping):
        return dict(arguments)
    given = {name: value for name, value in words.items() if value not in (None, "")}
    words = {**{name: line.get("default") for name, line in OPTIONS.items()}, **given, "server_names": names}
    parts = {"device_certificates": _device_certificates(words), "realms": _realms(words), "sign_in_policies": _policies(words)}
    result = {**parts, **{name: value for name, value in arguments.items() if value is not None}}
    result["auth_servers"] = [*_servers(words), *_listed(arguments.get("auth_servers"))]
    result["trusted_client_cas"] = [_authority(entry, words) for entry in _listed(arguments.get("trusted_client_cas"))]
    return result


def problems(words: Mapping[str, Any] | None) -> Iterator[str]:
    """What is wrong with the words of a gateway, each well formed by itself."""
    if not words or words["sign_in"] == CERTIFICATE:
        return
    servers = words["radius_servers"]
    if not servers:
        yield f"radius_servers: there is none, and sign_in is {words['sign_in']}; name one, with address and secret"
    if len(servers) > 2:
        yield f"radius_servers: are {len(servers)}; the appliance takes one and a backup"
    if len({(server["port"], server["secret"]) for server in servers}) > 1:
        yield "radius_servers: differ in port or secret; the appliance has no place for those of a backup that is known; give both the same"


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _device_certificates(words: Words) -> list[Words]:
    names = words["server_names"]
    own = words["device_certificate"]
    return [
        {
            "common_name": names[0],
            "server_names": names,
            "external_ports": words["external_ports"],
            "answers_at": [_at_443(str(words["users_address"] or names[0]))],
            **({"anchor_path": words["anchor_path"]} if words["anchor_path"] else {}),
            **(own if isinstance(own, Mapping) else {}),
        }
    ]


def _at_443(host: str) -> str:
    return f"[{host}]:443" if ":" in host and not host.startswith("[") else f"{host}:443"


def _authority(entry: Any, words: Words) -> Any:
    """Checked by its CRL, whose address is that in users' certificates unless the entry gives one."""
    if not isinstance(entry, Mapping):
        return entry
    source = "manual" if entry.get("primary_cdp") else "client_certificate"
    common = {"status_checking": "crl", "crl_download_frequency": words["crl_download_frequency"], "cdp_source": source}
    return {**common, **{name: value for name, value in entry.items() if value is not None}}


def _servers(words: Words) -> list[Words]:
    template = {"user_name_template": words["user_name_template"]}
    certificate = {"name": words["certificate_server"], "type": "certificate", "certificate": template}
    asked = words["sign_in"]
    return [*([certificate] if asked != RADIUS else []), *(_radius(words) if asked != CERTIFICATE else [])]


def _radius(words: Words) -> list[Words]:
    """The RADIUS server, its backup in it; none where they are not well formed."""
    servers = words["radius_servers"]
    if not isinstance(servers, list) or not servers or not all(isinstance(server, Mapping) for server in servers):
        return []
    first, backup = servers[0], servers[1] if len(servers) > 1 else {}
    own = {
        "host": first.get("address"),
        "port": first.get("port") or _RADIUS_SERVER["port"]["default"],
        "secret": first.get("secret"),
        "backup_host": backup.get("address"),
        "nas_identifier": words["radius_nas_identifier"] or words["server_names"][0],
        "timeout": words["radius_timeout"],
        "retries": words["radius_retries"],
        "one_time_passwords": True,
        "challenge_rules": [_CHALLENGE],
    }
    update = "always" if boolean(words["radius_update_secret"], strict=False) else "on_create"
    return [{"name": words["radius_name"], "type": "radius", "radius": own, "update_secrets": update}]


def _realms(words: Words) -> list[Words]:
    by_certificate = words["sign_in"] != RADIUS
    everybody = {
        "name": "Everybody with a certificate" if by_certificate else "Everybody",
        "user_name": {"test": "is", "names": ["*"]},
        "roles": words["user_roles"],
        "stop": True,
    }
    server = words["certificate_server"] if by_certificate else words["radius_name"]
    realm = {"name": words["user_realm"], "kind": "user", "authentication_server": server, "role_mapping_rules": [everybody]}
    if words["sign_in"] == BOTH:
        # without the last, a wrong code would be no obstacle
        realm["secondary_authentication"] = {"server": words["radius_name"], "user_name": "<USER>", "end_session_on_failure": True}
    else:  # as it may be from a run that had both; another additional server is somebody else's, and stays
        realm["secondary_authentication"] = {"retired_server": words["radius_name"]}
    return [realm]


def _policies(words: Words) -> list[Words]:
    return [{"url": f"{name}/", "kind": "user", "realms": [words["user_realm"]], "enabled": True} for name in words["server_names"]]
