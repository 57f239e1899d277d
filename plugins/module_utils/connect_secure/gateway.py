# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of an appliance that cards open, as a rule, from few words (pure).

In Python rather than in templates of a role: Ansible compiles each template anew for each appliance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.common.validation import check_type_list

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import user_name_template
from ansible_collections.certlogon.core.plugins.module_utils.resource import Words

_TEXTS: dict[str, Any] = {"type": "list", "elements": "str"}
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
}


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
    result["auth_servers"] = [_server(words), *_listed(arguments.get("auth_servers"))]
    result["trusted_client_cas"] = [_authority(entry, words) for entry in _listed(arguments.get("trusted_client_cas"))]
    return result


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
            "answers_at": [f"{words['users_address'] or names[0]}:443"],
            **({"anchor_path": words["anchor_path"]} if words["anchor_path"] else {}),
            **(own if isinstance(own, Mapping) else {}),
        }
    ]


def _authority(entry: Any, words: Words) -> Any:
    """Checked by its CRL, whose address is that in users' certificates unless the entry gives one."""
    if not isinstance(entry, Mapping):
        return entry
    source = "manual" if entry.get("primary_cdp") else "client_certificate"
    common = {"status_checking": "crl", "crl_download_frequency": words["crl_download_frequency"], "cdp_source": source}
    return {**common, **{name: value for name, value in entry.items() if value is not None}}


def _server(words: Words) -> Words:
    template = {"user_name_template": words["user_name_template"]}
    return {"name": words["certificate_server"], "type": "certificate", "certificate": template}


def _realms(words: Words) -> list[Words]:
    everybody = {
        "name": "Everybody with a certificate",
        "user_name": {"test": "is", "names": ["*"]},
        "roles": words["user_roles"],
        "stop": True,
    }
    realm = {"name": words["user_realm"], "kind": "user", "authentication_server": words["certificate_server"]}
    return [{**realm, "role_mapping_rules": [everybody]}]


def _policies(words: Words) -> list[Words]:
    return [{"url": f"{name}/", "kind": "user", "realms": [words["user_realm"]], "enabled": True} for name in words["server_names"]]
