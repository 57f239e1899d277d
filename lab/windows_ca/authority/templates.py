# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificate templates ([MS-CRTD]): the 33 that AD CS brings, and any template as the directory holds it."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from lab.windows_ca.authority import descriptors
from lab.windows_ca.authority.directory import Entry

BUILT_IN: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "builtin_templates.json").read_text())
PUBLISHED = (
    *("DirectoryEmailReplication", "DomainControllerAuthentication", "KerberosAuthentication", "EFSRecovery", "EFS", "DomainController"),
    *("WebServer", "Machine", "User", "SubCA", "Administrator"),
)
ISSUANCE_POLICIES = {"1.400": "Low Assurance", "1.401": "Medium Assurance", "1.402": "High Assurance"}

# flags, [MS-CRTD] 2.4
MACHINE_TYPE, IS_CA, IS_CROSS_CA = 0x40, 0x80, 0x800
# msPKI-Enrollment-Flag, 2.26
INCLUDE_SMIME, PEND_ALL, PUBLISH_TO_DS, PREVIOUS_APPROVAL = 0x1, 0x2, 0x8, 0x40
OCSP_NOCHECK, NO_REVOCATION_INFO, BASIC_CONSTRAINTS, NO_SECURITY_EXTENSION = 0x1000, 0x4000, 0x8000, 0x80000
# msPKI-Private-Key-Flag, 2.27
REQUIRE_ARCHIVAL, ATTESTATION_REQUIRED, LEGACY_PROVIDER = 0x1, 0x2000, 0x100
# msPKI-Certificate-Name-Flag, 2.28
SUPPLIES_SUBJECT, OLD_CERTIFICATE_SUPPLIES = 0x1, 0x8
SAN_DOMAIN_DNS, SAN_SPN, SAN_GUID, SAN_UPN, SAN_EMAIL, SAN_DNS = 0x400000, 0x800000, 0x1000000, 0x2000000, 0x4000000, 0x8000000
DNS_AS_CN, SUBJECT_EMAIL, COMMON_NAME, DIRECTORY_PATH = 0x10000000, 0x20000000, 0x40000000, 0x80000000

ATTRIBUTES = (
    *("cn", "displayName", "flags", "revision", "pKIKeyUsage", "pKIExtendedKeyUsage", "pKICriticalExtensions", "pKIExpirationPeriod"),
    *("pKIMaxIssuingDepth", "msPKI-Template-Minor-Revision", "msPKI-RA-Signature", "msPKI-Enrollment-Flag", "msPKI-Private-Key-Flag"),
    *("msPKI-Certificate-Name-Flag", "msPKI-Minimal-Key-Size", "msPKI-Template-Schema-Version", "msPKI-Cert-Template-OID"),
    *("msPKI-Certificate-Application-Policy", "msPKI-RA-Application-Policies", "msPKI-RA-Policies", "msPKI-Certificate-Policy"),
    "nTSecurityDescriptor",
)


@dataclass(frozen=True)
class Template:
    cn: str
    oid: str
    schema: int
    major: int
    minor: int
    flags: int
    enrollment: int
    private_key: int
    naming: int
    minimal_key: int
    key_usage: bytes
    extended_usages: tuple[str, ...]
    application_policies: tuple[str, ...]
    certificate_policies: tuple[str, ...]
    critical: frozenset[str]
    path_length: int
    """-1: no limit"""
    validity: timedelta
    signatures: int
    signature_usages: tuple[str, ...]
    signature_policies: tuple[str, ...]
    descriptor: descriptors.Descriptor

    @classmethod
    def of(cls, entry: Entry) -> Template:
        """Raises ValueError for an object that no CA could use."""
        period = entry.first("pKIExpirationPeriod")
        descriptor = entry.first("nTSecurityDescriptor")
        if period is None or len(period) != 8 or descriptor is None:
            raise ValueError(f"template {entry.dn}: pKIExpirationPeriod or nTSecurityDescriptor is missing")
        depth = int(entry.text("pKIMaxIssuingDepth") or 0)
        schema = entry.integer("msPKI-Template-Schema-Version") or 1
        return cls(
            cn=entry.text("cn") or "",
            oid=entry.text("msPKI-Cert-Template-OID") or "",
            schema=schema,
            major=entry.integer("revision"),
            minor=entry.integer("msPKI-Template-Minor-Revision"),
            flags=entry.integer("flags"),
            enrollment=entry.integer("msPKI-Enrollment-Flag"),
            private_key=entry.integer("msPKI-Private-Key-Flag"),
            naming=entry.integer("msPKI-Certificate-Name-Flag"),
            minimal_key=entry.integer("msPKI-Minimal-Key-Size"),
            key_usage=entry.first("pKIKeyUsage") or b"",
            extended_usages=tuple(entry.texts("pKIExtendedKeyUsage")),
            application_policies=tuple(entry.texts("msPKI-Certificate-Application-Policy")),
            certificate_policies=tuple(entry.texts("msPKI-Certificate-Policy")),
            critical=frozenset(entry.texts("pKICriticalExtensions")),
            path_length=depth,
            validity=timedelta(microseconds=-struct.unpack("<q", period)[0] // 10),
            signatures=entry.integer("msPKI-RA-Signature"),
            signature_usages=signature_usages(
                entry.texts("msPKI-RA-Application-Policies"), schema, entry.integer("msPKI-Private-Key-Flag")
            ),
            signature_policies=tuple(entry.texts("msPKI-RA-Policies")),
            descriptor=descriptors.parse(descriptor),
        )

    @property
    def for_machines(self) -> bool:
        return bool(self.flags & MACHINE_TYPE)

    @property
    def for_authorities(self) -> bool:
        return bool(self.flags & (IS_CA | IS_CROSS_CA))


def signature_usages(values: list[str], schema: int, private_key: int) -> tuple[str, ...]:
    """The application policies that a signature needs, from either of the attribute's syntaxes ([MS-CRTD] 2.23)."""
    if schema < 3 or (schema == 4 and private_key & LEGACY_PROVIDER):
        return tuple(values)
    if values and "`" not in values[0]:
        return tuple(values)
    parts = values[0].split("`") if values else []
    for name, _kind, value in zip(parts[::3], parts[1::3], parts[2::3], strict=False):
        if name == "msPKI-RA-Application-Policies":
            return tuple(part for part in value.split(",") if part)
    return ()


def period_bytes(days: float) -> bytes:
    return struct.pack("<q", -int(days * 864_000_000_000))


def built_in_attributes(name: str, oid_base: str, domain_sid: str) -> dict[str, list[bytes]]:
    """A built-in template as the installer writes it."""
    facts = dict(BUILT_IN[name])
    descriptor = descriptors.from_sddl(facts.pop("sddl").replace("{domain}", domain_sid), domain_sid)
    attributes: dict[str, list[bytes]] = {
        "objectClass": [b"top", b"pKICertificateTemplate"],
        "cn": [name.encode()],
        "nTSecurityDescriptor": [descriptor.to_bytes()],
        "pKIKeyUsage": [bytes.fromhex(facts.pop("pKIKeyUsage_hex"))],
        "pKIExpirationPeriod": [period_bytes(facts.pop("expiration_days"))],
        "pKIOverlapPeriod": [period_bytes(facts.pop("overlap_days"))],
        "msPKI-Cert-Template-OID": [f"{oid_base}.{facts.pop('oid_suffix')}".encode()],
    }
    for attribute, value in facts.items():
        values = value if isinstance(value, list) else [value]
        if values:
            attributes[attribute] = [str(v).encode() for v in values]
    return attributes


def oid_object_cn(oid: str) -> str:
    """The deterministic name of an msPKI-Enterprise-Oid object."""
    return f"{oid.rpartition('.')[2]}.{hashlib.md5(oid.encode('utf-16-le')).hexdigest().upper()}"


def oid_objects(oid_base: str) -> list[tuple[str, str, int]]:
    """(OID, display name, flags) of the objects that the installer makes: templates of version 2 and later, and issuance policies."""
    found = [
        (f"{oid_base}.{facts['oid_suffix']}", facts["displayName"], 1)
        for facts in BUILT_IN.values()
        if facts["msPKI-Template-Schema-Version"] > 1
    ]
    return found + [(f"{oid_base}.{suffix}", name, 2) for suffix, name in ISSUANCE_POLICIES.items()]
