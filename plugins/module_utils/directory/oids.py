# SPDX-License-Identifier: GPL-3.0-or-later
"""Object identifiers of certificate templates: names people use, the forest's own arcs, and the names of OID objects."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import lru_cache
from uuid import UUID

from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

ENROLL = UUID("0e10c968-78fb-11d2-90d4-00c04f79dc55")
AUTO_ENROLL = UUID("a05b8cc2-17bc-4802-a710-e7c15ab866a2")
"""Extended rights of certificate templates ([MS-CRTD] 2.5.2)."""

FOREST_ARC = "1.3.6.1.4.1.311.21.8"
"""Below it lies the arc of each forest with AD CS: six numbers, stored at CN=OID,CN=Public Key Services."""

_DOTTED = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+", re.ASCII)

USAGES: Mapping[str, str] = {
    "server_authentication": "1.3.6.1.5.5.7.3.1",
    "client_authentication": "1.3.6.1.5.5.7.3.2",
    "code_signing": "1.3.6.1.5.5.7.3.3",
    "secure_email": "1.3.6.1.5.5.7.3.4",
    "ip_security_end_system": "1.3.6.1.5.5.7.3.5",
    "ip_security_tunnel_termination": "1.3.6.1.5.5.7.3.6",
    "ip_security_user": "1.3.6.1.5.5.7.3.7",
    "time_stamping": "1.3.6.1.5.5.7.3.8",
    "ocsp_signing": "1.3.6.1.5.5.7.3.9",
    "ip_security_ike_intermediate": "1.3.6.1.5.5.8.2.2",
    "pkinit_client": "1.3.6.1.5.2.3.4",
    "kdc_authentication": "1.3.6.1.5.2.3.5",
    "any_purpose": "2.5.29.37.0",
    "smart_card_logon": "1.3.6.1.4.1.311.20.2.2",
    "certificate_request_agent": "1.3.6.1.4.1.311.20.2.1",
    "private_key_archival": "1.3.6.1.4.1.311.21.5",
    "key_recovery_agent": "1.3.6.1.4.1.311.21.6",
    "directory_service_email_replication": "1.3.6.1.4.1.311.21.19",
    "microsoft_trust_list_signing": "1.3.6.1.4.1.311.10.3.1",
    "microsoft_time_stamping": "1.3.6.1.4.1.311.10.3.2",
    "encrypting_file_system": "1.3.6.1.4.1.311.10.3.4",
    "file_recovery": "1.3.6.1.4.1.311.10.3.4.1",
    "windows_hardware_driver_verification": "1.3.6.1.4.1.311.10.3.5",
    "windows_system_component_verification": "1.3.6.1.4.1.311.10.3.6",
    "qualified_subordination": "1.3.6.1.4.1.311.10.3.10",
    "key_recovery": "1.3.6.1.4.1.311.10.3.11",
    "document_signing": "1.3.6.1.4.1.311.10.3.12",
    "lifetime_signing": "1.3.6.1.4.1.311.10.3.13",
    "digital_rights": "1.3.6.1.4.1.311.10.5.1",
    "key_pack_licenses": "1.3.6.1.4.1.311.10.6.1",
    "license_server_verification": "1.3.6.1.4.1.311.10.6.2",
    "remote_desktop_authentication": "1.3.6.1.4.1.311.54.1.2",
    "bitlocker_drive_encryption": "1.3.6.1.4.1.311.67.1.1",
    "bitlocker_data_recovery_agent": "1.3.6.1.4.1.311.67.1.2",
    "document_encryption": "1.3.6.1.4.1.311.80.1",
    "endorsement_key_certificate": "2.23.133.8.1",
    "platform_certificate": "2.23.133.8.2",
    "attestation_identity_key_certificate": "2.23.133.8.3",
}
"""Extended key usages and application policies (RFC 5280 4.2.1.12, RFC 4556, [MS-WCCE] 2.2.2.7)."""

EXTENSIONS: Mapping[str, str] = {
    "subject_directory_attributes": "2.5.29.9",
    "subject_key_identifier": "2.5.29.14",
    "key_usage": "2.5.29.15",
    "subject_alternative_name": "2.5.29.17",
    "issuer_alternative_name": "2.5.29.18",
    "basic_constraints": "2.5.29.19",
    "name_constraints": "2.5.29.30",
    "crl_distribution_points": "2.5.29.31",
    "certificate_policies": "2.5.29.32",
    "policy_mappings": "2.5.29.33",
    "authority_key_identifier": "2.5.29.35",
    "policy_constraints": "2.5.29.36",
    "extended_key_usage": "2.5.29.37",
    "application_policies": "1.3.6.1.4.1.311.21.10",
    "application_policy_mappings": "1.3.6.1.4.1.311.21.11",
    "application_policy_constraints": "1.3.6.1.4.1.311.21.12",
    "certificate_template": "1.3.6.1.4.1.311.21.7",
    "sid": "1.3.6.1.4.1.311.25.2",
}
"""Certificate extensions (RFC 5280 4.2.1, [MS-WCCE] 2.2.2.7.7)."""

POLICIES: Mapping[str, str] = {"all_issuance": "2.5.29.32.0"}
"""Issuance policies that are the same everywhere."""

ASSURANCES: Mapping[str, str] = {"low_assurance": "1.400", "medium_assurance": "1.401", "high_assurance": "1.402"}
"""Issuance policies that AD CS installs below the forest's arc."""


class Names:
    """OIDs by name: one table of words, and further names (of the directory) that are understood, but not used in return."""

    def __init__(self, what: str, table: Mapping[str, str], further: Mapping[str, str] | None = None) -> None:
        self._what = what
        self._table = table
        self._words = {oid: word for word, oid in table.items()}
        self._known = {plain(name): oid for names in (further or {}, table) for name, oid in names.items()}

    def oid(self, name: str) -> str:
        """The OID of `name` (dotted, a word of the table, or the same spelt as Windows does); `FormatError` with a suggestion."""
        if _DOTTED.fullmatch(name):
            return name
        oid = self._known.get(plain(name))
        if oid is None:
            raise FormatError(f"{self._what} {name!r} is not known{suggestion(name, self._table, plain)}")
        return oid

    def words(self, oids: Iterable[str]) -> list[str]:
        return sorted(self._words.get(oid, oid) for oid in oids)


def plain(name: str) -> str:
    """A name without what people spell differently: `Smart Card Log-on` is `smartcardlogon`."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def suggestion(name: str, known: Iterable[str], key: Callable[[str], str] = str.casefold) -> str:
    """`; did you mean ...?`, or all there are where nothing is near and they are few."""
    names = sorted(known)
    near = get_close_matches(key(name), [key(item) for item in names], 1, 0.6)
    if near:
        return f"; did you mean {next(item for item in names if key(item) == near[0])!r}?"
    if len(names) > 12:
        return ""
    return f"; there are {', '.join(names)}" if names else "; there is none"


def is_oid(text: str) -> bool:
    return bool(_DOTTED.fullmatch(text))


def forest_arc(guid: bytes) -> str:
    """The arc of a forest that has none yet, from 16 bytes that identify it: five numbers of 24 bits and one of 8, as AD CS makes it."""
    numbers = [int.from_bytes(guid[start : start + 3], "big") for start in range(0, 16, 3)]
    return ".".join([FOREST_ARC, *map(str, numbers)])


def template_oid(arc: str, name: str, taken: Iterable[str] = ()) -> str:
    """The OID of a new template: two numbers of 7 or 8 digits below the forest's arc, the same in every run."""
    used = frozenset(taken)
    attempt = 0
    while True:
        digest = hashlib.sha256(f"{arc}\0{name.casefold()}\0{attempt}".encode()).digest()
        numbers = (1_000_000 + int.from_bytes(digest[start : start + 8], "big") % 99_000_000 for start in (0, 8))
        oid = ".".join([arc, *map(str, numbers)])
        if oid not in used:
            return oid
        attempt += 1


@lru_cache(maxsize=4096)
def object_name(oid: str) -> str:
    """The cn of the OID's object: its last number and the MD5 of its UTF-16 text, as AD CS names it."""
    digest = hashlib.md5(oid.encode("utf-16-le"), usedforsecurity=False).hexdigest().upper()
    return f"{oid.rpartition('.')[2]}.{digest}"
