# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificates of the forest's enterprise CAs, as their installation publishes them ([MS-WCCE] 2.2.2.11)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import sources
from ansible_collections.certlogon.core.plugins.module_utils.certificates.sources import Authorities
from ansible_collections.certlogon.core.plugins.module_utils.directory.session import Directory

EXPECTED: dict[str, Any] = {"expected_authorities": {"type": "list", "elements": "str", "default": []}}
"""The option that names CAs which an earlier task of the play installs, and which check mode therefore does not find."""

_CERTIFICATE = "cACertificate"
_CHAINS = ("AIA", "Certification Authorities")
_PLACEHOLDER = b"\x00"


def expected(params: Mapping[str, Any]) -> Sequence[str]:
    return params.get("expected_authorities") or ()


def read(session: Directory, params: Mapping[str, Any], items: Iterable[Mapping[str, Any]]) -> Authorities:
    """What the items need to be found; nothing is read where none of them names a CA."""
    named = [item for item in items if sources.from_directory(item)]
    if not named:
        return Authorities(expected=expected(params))
    services = session.search(
        f"CN=Enrollment Services,{session.public_key_services}", "(objectClass=pKIEnrollmentService)", ("cn", _CERTIFICATE), scope="level"
    )
    issuers: list[bytes] = []
    for container in _CHAINS if any(item.get("chain") == "root" for item in named) else ():
        found = session.search(
            f"CN={container},{session.public_key_services}", "(objectClass=certificationAuthority)", (_CERTIFICATE,), scope="level"
        )
        issuers += [value for entry in found for value in entry.raws(_CERTIFICATE) if value != _PLACEHOLDER]
    certificates = {entry.text("cn") or "": [value for value in entry.raws(_CERTIFICATE) if value != _PLACEHOLDER] for entry in services}
    return Authorities(certificates, issuers, expected(params))
