# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of `adcs_authority` and what they stand for in the registry of a CA host (`certsrv.h`; [MS-CSRA] 3.1.1).

Bits that no table names appear as hexadecimal words, so that nothing the registry holds is lost in words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.directory.template_flags import bits_of, words_of
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

Table = Mapping[str, int]

TYPES: Table = {"enterprise_root": 0, "enterprise_subordinate": 1, "standalone_root": 3, "standalone_subordinate": 4}
"""`CAType` (ENUM_CATYPES of certsrv.h)."""

CMDLET_TYPES = {
    "enterprise_root": "EnterpriseRootCA",
    "enterprise_subordinate": "EnterpriseSubordinateCA",
    "standalone_root": "StandaloneRootCA",
    "standalone_subordinate": "StandaloneSubordinateCA",
}

CDP: Table = {
    "publish_base": 0x1,
    "include_in_certificates": 0x2,
    "include_freshest": 0x4,
    "include_in_crls": 0x8,
    "publish_delta": 0x40,
    "include_in_idp": 0x80,
}
"""What stands before each entry of `CRLPublicationURLs` (CSURL_*)."""

AIA: Table = {"publish": 0x1, "include_in_certificates": 0x2, "ocsp": 0x20}
"""What stands before each entry of `CACertPublicationURLs`."""

AUDIT: Table = {
    "start_stop": 0x1,
    "backup_restore": 0x2,
    "requests": 0x4,
    "revocation": 0x8,
    "security": 0x10,
    "key_archival": 0x20,
    "configuration": 0x40,
}
"""`AuditFilter` ([MS-CSRA] 3.1.1.5)."""

INTERFACE: Table = {
    "lock_requests": 0x1,
    "no_remote_requests": 0x2,
    "no_local_requests": 0x4,
    "no_rpc_requests": 0x8,
    "no_remote_admin": 0x10,
    "no_local_admin": 0x20,
    "no_remote_admin_backup": 0x40,
    "no_local_admin_backup": 0x80,
    "no_snapshot_backup": 0x100,
    "enforce_encrypted_requests": 0x200,
    "enforce_encrypted_admin": 0x400,
    "enable_exit_key_retrieval": 0x800,
    "enable_admin_as_auditor": 0x1000,
}
"""`InterfaceFlags` (IF_*)."""

EDIT: Table = {
    "enable_request_extensions": 0x1,
    "request_extension_list": 0x2,
    "disable_extension_list": 0x4,
    "add_old_key_usage": 0x8,
    "add_old_cert_type": 0x10,
    "attribute_end_date": 0x20,
    "basic_constraints_critical": 0x40,
    "basic_constraints_ca": 0x80,
    "enable_aki_key_id": 0x100,
    "attribute_ca": 0x200,
    "ignore_requester_group": 0x400,
    "enable_aki_issuer_name": 0x800,
    "enable_aki_issuer_serial": 0x1000,
    "enable_aki_critical": 0x2000,
    "server_upgraded": 0x4000,
    "attribute_eku": 0x8000,
    "enable_default_smime": 0x10000,
    "email_optional": 0x20000,
    "attribute_subject_alt_name2": 0x40000,
    "enable_ldap_referrals": 0x80000,
    "enable_chase_client_dc": 0x100000,
    "audit_template_load": 0x200000,
    "disable_old_oscn_upn": 0x400000,
    "disable_ldap_package_list": 0x800000,
    "enable_upn_map": 0x1000000,
    "enable_ocsp_rev_no_check": 0x2000000,
    "enable_renew_on_behalf_of": 0x4000000,
    "enable_key_encipherment_ca_cert": 0x8000000,
}
"""`EditFlags` of the policy module (EDITF_*)."""

ENCRYPTED_REQUESTS = INTERFACE["enforce_encrypted_requests"]
SID_EXTENSION = "1.3.6.1.4.1.311.25.2"

RIGHTS: Table = {"manage_ca": 0x1, "manage_certificates": 0x2, "read": 0x100, "enroll": 0x200}
"""Rights in a CA's security descriptor ([MS-CSRA] 3.1.1.7, CA_ACCESS_* of certsrv.h)."""

VARIABLES = {
    "<ServerDNSName>": "%1",
    "<ServerShortName>": "%2",
    "<CaName>": "%3",
    "<CertificateName>": "%4",
    "<ConfigurationContainer>": "%6",
    "<CATruncatedName>": "%7",
    "<CRLNameSuffix>": "%8",
    "<DeltaCRLAllowed>": "%9",
    "<CDPObjectClass>": "%10",
    "<CAObjectClass>": "%11",
}
"""The variables of publication URLs, as the console and the registry write them."""

UNITS = ("minutes", "hours", "days", "weeks", "months", "years")
_PERIOD = re.compile(r"\s*(\d{1,6})\s*(minute|hour|day|week|month|year)s?\s*\Z", re.IGNORECASE)
_VARIABLE = re.compile(r"<[A-Za-z]+>|%1[01]|%[1-9]")
_NAMES = {number: name for name, number in VARIABLES.items()}
_NUMBERS = {name.casefold(): number for name, number in VARIABLES.items()}
_MOST = 0x7FFFFFFF


def words(bits: int, table: Table) -> list[str]:
    """The words for bits of the registry, which PowerShell returns signed."""
    return words_of(bits & 0xFFFFFFFF, table)


def bits(chosen: Iterable[str], table: Table, where: str) -> int:
    """The bits of words; raises `FormatError` that names the option and the words there are."""
    total = 0
    for word in chosen:
        try:
            total |= bits_of([word], table)
        except FormatError:
            raise FormatError(f"{where}: {word!r} is no flag; there are {', '.join(table)}, and numbers") from None
    return total


def audit(chosen: Sequence[str], where: str) -> list[str]:
    """The audit filter's words in order, `all` resolved."""
    if "all" in chosen:
        return list(AUDIT)
    return words(bits(chosen, AUDIT, where), AUDIT)


def period(text: str, where: str) -> str:
    """A period in its one form, such as `2 weeks`. Raises `FormatError`."""
    match = _PERIOD.match(text)
    if match is None:
        raise FormatError(f"{where}: {text!r} is not a period; write a number and {', '.join(UNITS)}, such as '2 weeks'")
    count, unit = int(match[1]), match[2].lower()
    return f"{count} {unit}{'' if count == 1 else 's'}"


def period_parts(text: str) -> tuple[int, str]:
    """Number and unit of a period in its one form, as the registry has them: 2, `Weeks`."""
    count, unit = text.split()
    return int(count), unit.rstrip("s").capitalize() + "s"


def period_of(count: Any, unit: Any) -> str | None:
    """A period from the registry's number and unit; None where it has none or an odd one."""
    if not isinstance(count, int) or not isinstance(unit, str):
        return None
    try:
        return period(f"{count & _MOST} {unit}", "")
    except FormatError:
        return None


def url(text: str, where: str) -> str:
    """A publication URL with the console's variables. Raises `FormatError` for a variable that does not exist."""

    def named(match: re.Match[str]) -> str:
        token = match[0]
        number = token if token.startswith("%") else _NUMBERS.get(token.casefold())
        name = _NAMES.get(number or "")
        if name is None:
            raise FormatError(f"{where}: {token} is no variable; there are {', '.join(VARIABLES)}")
        return name

    return _VARIABLE.sub(named, text)


def registry_url(text: str) -> str:
    """A publication URL as the registry has it."""
    return _VARIABLE.sub(lambda match: _NUMBERS.get(match[0].casefold(), match[0]), text)


def location(entry: Mapping[str, Any], table: Table, where: str) -> dict[str, Any]:
    """A publication place in its one form."""
    chosen = entry.get("flags") or []
    return {"url": url(entry["url"], f"{where}: url"), "flags": words(bits(chosen, table, f"{where}: flags"), table)}


def location_of(text: str, table: Table) -> dict[str, Any]:
    """A publication place from the registry: `65:C:\\Windows\\…`. Raises `FormatError`."""
    number, colon, rest = text.partition(":")
    if not colon or not number.strip().isdigit():
        raise FormatError(f"{text!r} in the registry is not flags, a colon and a URL")
    return {"url": _VARIABLE.sub(lambda match: _NAMES.get(match[0], match[0]), rest), "flags": words(int(number), table)}


def location_text(entry: Mapping[str, Any], table: Table) -> str:
    """A publication place as the registry has it."""
    return f"{bits_of(entry['flags'], table)}:{registry_url(entry['url'])}"
