# SPDX-License-Identifier: GPL-3.0-or-later
"""The flag words of a certificate template and the bits they stand for ([MS-CRTD] 2.4, 2.13, 2.26, 2.27, 2.28).

Each table maps words of the module's options to bits of one attribute. Bits that no table names appear as hexadecimal words
(`0x400000`), so that nothing an attribute holds is lost in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

Table = Mapping[str, int]

GENERAL: Table = {
    "subject_in_request": 0x1,
    "add_email": 0x2,
    "add_object_identifier": 0x4,
    "publish_to_directory": 0x8,
    "exportable_key": 0x10,
    "auto_enrollment": 0x20,
    "machine_type": 0x40,
    "is_ca": 0x80,
    "add_directory_path": 0x100,
    "add_template_name": 0x200,
    "add_subject_directory_path": 0x400,
    "is_cross_ca": 0x800,
    "do_not_persist": 0x1000,
    "is_default": 0x10000,
    "is_modified": 0x20000,
}
"""`flags` ([MS-CRTD] 2.4). Bits below 0x20 are reserved there, but built-in templates have them."""

GENERAL_AUTO_ENROLLMENT, IS_DEFAULT, IS_MODIFIED = GENERAL["auto_enrollment"], GENERAL["is_default"], GENERAL["is_modified"]

SUBJECT_TYPES: Table = {"user": 0, "computer": 0x40, "ca": 0xC0, "cross_ca": 0x800}
"""What the built-in templates have in the bits machine_type, is_ca and is_cross_ca of `flags`."""

SUBJECT_TYPE_BITS = 0x8C0

ENROLLMENT: Table = {
    "smime_capabilities": 0x1,
    "publish_to_kra_container": 0x4,
    "check_user_certificate": 0x10,
    "previous_approval": 0x40,
    "user_interaction": 0x100,
    "remove_invalid": 0x400,
    "enroll_on_behalf_of": 0x800,
    "ocsp_nocheck": 0x1000,
    "no_revocation_information": 0x4000,
    "basic_constraints": 0x8000,
    "key_based_renewal": 0x10000,
    "issuance_policies_from_request": 0x20000,
    "skip_auto_renewal": 0x40000,
}
"""`msPKI-Enrollment-Flag` ([MS-CRTD] 2.26), without the bits that are options of their own."""

MANAGER_APPROVAL, PUBLISH_TO_DIRECTORY, AUTO_ENROLLMENT, REUSE_KEY_WHEN_FULL, NO_SID_EXTENSION = 0x2, 0x8, 0x20, 0x2000, 0x80000

PRIVATE_KEY: Table = {
    "alternate_signature_format": 0x40,
    "same_key_renewal": 0x80,
    "legacy_provider": 0x100,
    "attestation_user_credentials": 0x200,
    "attestation_certificate": 0x400,
    "attestation_key": 0x800,
    "attestation_preferred": 0x1000,
    "attestation_required": 0x2000,
    "attestation_without_policy": 0x4000,
    "hello_logon_key": 0x200000,
}
"""`msPKI-Private-Key-Flag` ([MS-CRTD] 2.27), without the bits that are options of their own and the two version nibbles."""

ARCHIVE, EXPORTABLE, STRONG_PROTECTION = 0x1, 0x10, 0x20
LEGACY_PROVIDER = PRIVATE_KEY["legacy_provider"]

AUTHORITIES: Table = {
    "none": 0,
    "windows_server_2003": 1,
    "windows_server_2008": 2,
    "windows_server_2008_r2": 3,
    "windows_server_2012": 4,
    "windows_server_2012_r2": 5,
    "windows_server_2016": 6,
}
"""Bits 16 to 19 of `msPKI-Private-Key-Flag`: the oldest CA that can issue from the template ([MS-WCCE] 3.2.2.6.2.1.4.5.7)."""

CLIENTS: Table = {
    "none": 0,
    "windows_xp": 1,
    "windows_vista": 2,
    "windows_7": 3,
    "windows_8": 4,
    "windows_8_1": 5,
    "windows_10": 6,
}
"""Bits 24 to 27 of `msPKI-Private-Key-Flag`: the oldest client that can use the template ([MS-WCCE] 3.1.2.4.2.2.2.8)."""

AUTHORITY_SHIFT, CLIENT_SHIFT = 16, 24
COMPATIBILITY_BITS = 0x0F0F0000

SUPPLIED_SUBJECT, SUBJECT_FROM_OLD, SUPPLIED_ALTERNATIVE_NAME = 0x1, 0x8, 0x10000

SUBJECT_PARTS: Table = {
    "directory_path": 0x80000000,
    "common_name": 0x40000000,
    "email": 0x20000000,
    "dns_as_common_name": 0x10000000,
}
"""`msPKI-Certificate-Name-Flag` ([MS-CRTD] 2.28): the subject."""

ALTERNATIVE_NAME_PARTS: Table = {
    "upn": 0x2000000,
    "email": 0x4000000,
    "dns": 0x8000000,
    "domain_dns": 0x400000,
    "spn": 0x800000,
    "directory_guid": 0x1000000,
}
"""`msPKI-Certificate-Name-Flag` ([MS-CRTD] 2.28): the subject alternative name."""

KEY_USAGE: Table = {
    "digital_signature": 0x8000,
    "non_repudiation": 0x4000,
    "key_encipherment": 0x2000,
    "data_encipherment": 0x1000,
    "key_agreement": 0x0800,
    "certificate_signing": 0x0400,
    "crl_signing": 0x0200,
    "encipher_only": 0x0100,
    "decipher_only": 0x0080,
}
"""`pKIKeyUsage` ([MS-CRTD] 2.13): two octets in the bit order of the DER BIT STRING (RFC 5280 4.2.1.3)."""

KEY_SPECS: Table = {"key_exchange": 1, "signature": 2}
"""`pKIDefaultKeySpec` ([MS-CRTD] 2.9)."""

CNG_KEY_USAGE: Table = {"decrypt": 0x1, "sign": 0x2, "key_agreement": 0x4}
CNG_ALL_USAGES = 0xFFFFFF
"""`msPKI-Key-Usage` inside msPKI-RA-Application-Policies ([MS-CRTD] 2.23.2)."""


def unsigned(value: int) -> int:
    """An LDAP integer as the 32 bits it stands for."""
    return value & 0xFFFFFFFF


def signed(bits: int) -> int:
    """32 bits as LDAP stores them: signed ([MS-ADTS] 3.1.1.2.2.2.1)."""
    return bits - (1 << 32) if bits & 0x80000000 else bits


def words_of(bits: int, table: Table) -> list[str]:
    """The words for `bits` in the table's order; a bit without a word is its hexadecimal number."""
    named = [word for word, bit in table.items() if bits & bit]
    rest = bits & ~all_bits(tuple(table.values()))
    return named + [hex(1 << place) for place in range(rest.bit_length()) if rest >> place & 1]


@lru_cache(maxsize=64)
def all_bits(bits: tuple[int, ...]) -> int:
    total = 0
    for bit in bits:
        total |= bit
    return total


def bits_of(words: Iterable[str], table: Table) -> int:
    """The bits that `words` stand for; raises `FormatError` for a word that is neither in the table nor a number."""
    total = 0
    for word in words:
        total |= table[word] if word in table else number(word)
    return total


def number(word: str) -> int:
    """An integer written as such, decimal or 0x..., of at most 32 bits."""
    try:
        value = int(word, 0)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 32:
        raise FormatError(f"{word!r} is neither a known word nor a number")
    return value
