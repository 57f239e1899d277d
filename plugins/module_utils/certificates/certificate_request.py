# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates that are kept valid: requested, renewed, verified, written."""

from __future__ import annotations

from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates.enrollment import ENROLLMENT
from ansible_collections.certlogon.core.plugins.module_utils.resource import Resource

KEY: dict[str, Any] = {
    "path": {"type": "path"},
    "passphrase": {"type": "str", "no_log": True},
    "mode": {"type": "str", "default": "0600"},
    "uri": {"type": "str"},
    "pin": {"type": "str", "no_log": True},
    "module": {"type": "path"},
    "store_certificate": {"type": "bool", "default": True},
    "type": {"type": "str", "choices": ["rsa", "ec"], "default": "rsa"},
    "size": {"type": "int", "default": 2048},
    "curve": {"type": "str", "choices": ["secp256r1", "secp384r1", "secp521r1"], "default": "secp256r1"},
    "reuse": {"type": "bool"},
}

ON_BEHALF_OF: dict[str, Any] = {
    "requester": {"type": "str", "required": True},
    "agent_certificate_path": {"type": "path", "required": True},
    "agent_key_path": {"type": "path"},
    "agent_key_passphrase": {"type": "str", "no_log": True},
    "agent_key_uri": {"type": "str"},
    "agent_key_pin": {"type": "str", "no_log": True},
    "agent_key_module": {"type": "path"},
}

OPTIONS: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "name": {"type": "str"},
    "chain_path": {"type": "path"},
    "fullchain_path": {"type": "path"},
    "pfx_path": {"type": "path"},
    "pfx_passphrase": {"type": "str", "no_log": True},
    "pfx_encryption": {"type": "str", "choices": ["aes", "compatible"], "default": "aes"},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "mode": {"type": "str", "default": "0644"},
    "key": {"type": "dict", "no_log": False, "options": KEY, "mutually_exclusive": [("path", "uri")], "required_by": {"pin": ["uri"]}},
    "csr_path": {"type": "path"},
    "csr_content": {"type": "str"},
    "subject": {"type": "str"},
    "subject_alt_names": {"type": "list", "elements": "str"},
    "sid": {"type": "str"},
    "extended_key_usage": {"type": "list", "elements": "str"},
    "template": {"type": "str"},
    "request_attributes": {"type": "dict"},
    "issuer": {"type": "str"},
    "digest": {"type": "str", "choices": ["sha256", "sha384", "sha512"], "default": "sha256"},
    "on_behalf_of": {
        "type": "dict",
        "options": ON_BEHALF_OF,
        "mutually_exclusive": [("agent_key_path", "agent_key_uri")],
        "required_one_of": [("agent_key_path", "agent_key_uri")],
    },
    "renew_before": {"type": "int", "default": 30},
    "force": {"type": "bool", "default": False},
    "retry_denied": {"type": "bool", "default": False},
    "anchor_path": {"type": "path"},
    "crl_check": {"type": "str", "choices": ["ignore", "warn", "fail"], "default": "warn"},
    "request_path": {"type": "path"},
    "answer_path": {"type": "path"},
}


class CertificateRequest(Resource[Any, Any]):
    key = "path"
    states = ("merged", "deleted", "gathered")
    connection = ENROLLMENT
    options = OPTIONS
    constraints = {"required_if": [("state", "gathered", ["config"])]}
