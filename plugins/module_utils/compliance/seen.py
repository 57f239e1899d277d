# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates and CRLs as every observer notes them: one form, so that reports can list and draw them (pure)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import description
from ansible_collections.certlogon.core.plugins.module_utils.certificates.chains import encoded, self_issued
from ansible_collections.certlogon.core.plugins.module_utils.certificates.chains import pem as pem_of
from ansible_collections.certlogon.core.plugins.module_utils.certificates.crl import Crl
from ansible_collections.certlogon.core.plugins.module_utils.libraries import x509

ROOT, CA, DOMAIN_CONTROLLER, DEVICE, WEB, AGENT = "root", "ca", "domain_controller", "device", "web", "enrollment_agent"
"""What a certificate is used for."""


def certificate(parsed: Any, use: str, held_by: str, *, name: str = "", template: str = "") -> dict[str, Any]:
    """A certificate (the library's object) as `Observation.certificates` has it, with the CDPs that it names in `cdps`."""
    return {
        "use": use,
        "name": name or common_name(parsed.subject),
        "subject": parsed.subject.rfc4514_string(),
        "issuer": parsed.issuer.rfc4514_string(),
        "serial": description.serial(parsed.serial_number),
        "sha256": hashlib.sha256(encoded(parsed)).hexdigest(),
        "not_before": description.time_text(parsed.not_valid_before_utc),
        "not_after": description.time_text(parsed.not_valid_after_utc),
        "key": key_text(parsed),
        "held_by": held_by,
        "template": template,
        "cdps": description.addresses(parsed, "crl"),
    }


def cdps(parsed: Any, issuer: Any, used_by: str) -> list[dict[str, Any]]:
    """The CDPs that a certificate names, as `Observation.cdps` has them. `issuer`: the CA's certificate; None where it is not known.

    None of a root: it vouches for itself, and nobody asks a CRL about it.
    """
    if self_issued(parsed):
        return []
    issuer_pem = pem([issuer]) if issuer is not None else ""
    return [{"url": url, "issuer": issuer_pem, "used_by": used_by} for url in description.addresses(parsed, "crl")]


def crl(found: Crl, url: str, held_by: str, status: str) -> dict[str, Any]:
    """A CRL as `Observation.crls` has it. `status`: a word for what is wrong with it, "good" for nothing."""
    return {
        "url": url,
        "name": common_name(found.parsed.issuer),
        "issuer": found.issuer,
        "number": found.number,
        "this_update": description.time_text(found.this_update),
        "next_update": description.time_text(found.next_update) if found.next_update else None,
        "status": status,
        "entries": found.revoked,
        "size": len(found.der),
        "held_by": held_by,
    }


def pem(certificates: Iterable[Any]) -> str:
    return pem_of(certificates).decode()


def common_name(name: Any) -> str:
    """What people call a subject: the last common name, or all of it."""
    found = name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(found[-1].value) if found else str(name.rfc4514_string())


def key_text(parsed: Any) -> str:
    """`RSA 2048`, `EC secp256r1`."""
    words = description.key_words(parsed)
    return " ".join(str(part) for part in (str(words["type"]).upper(), words.get("curve") or words.get("size")) if part)
