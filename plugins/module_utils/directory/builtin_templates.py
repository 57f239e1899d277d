# SPDX-License-Identifier: GPL-3.0-or-later
"""The 33 certificate templates that Active Directory Certificate Services installs, as Windows Server 2016 writes them.

Attribute values were read off the installation's own LDAP requests. What all of them share is in `_built_in`: the minimum key size, the
critical key usage extension, Enterprise Admins as owner, and the base of the permissions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.directory.oids import AUTO_ENROLL, ENROLL
from ansible_collections.certlogon.core.plugins.module_utils.directory.template_flags import signed

_ENHANCED = ("Microsoft Enhanced Cryptographic Provider v1.0",)
_ENHANCED_BASE = (*_ENHANCED, "Microsoft Base Cryptographic Provider v1.0")
_ENHANCED_BASE_DSS = (*_ENHANCED_BASE, "Microsoft Base DSS Cryptographic Provider")
_SCHANNEL = ("Microsoft RSA SChannel Cryptographic Provider",)
_SCHANNEL_DH = (*_SCHANNEL, "Microsoft DH SChannel Cryptographic Provider")
_OCSP_KEY = (
    "msPKI-Asymmetric-Algorithm`PZPWSTR`RSA`msPKI-Hash-Algorithm`PZPWSTR`SHA1`msPKI-Key-Security-Descriptor`PZPWSTR`D:P(A;;FA;;;BA)(A;;FA;;;SY)"
    "(A;;GR;;;S-1-5-80-3804348527-3718992918-2141599610-3686422417-2726379419)`msPKI-Key-Usage`DWORD`2`",
)
_PREFIXES = {"pkix.": "1.3.6.1.5.5.7.3.", "ms.": "1.3.6.1.4.1.311."}

_TICKS_PER_DAY = 864_000_000_000
_ADMINISTRATORS = "(A;;LCRPLORC;;;AU)(A;;CCDCLCSWRPWPDTLOSDRCWDWO;;;DA)(A;;CCDCLCSWRPWPDTLOSDRCWDWO;;;EA)"


@dataclass(frozen=True)
class BuiltIn:
    """One built-in template. `attributes` as LDAP has them, but for the OID (`oid_suffix` after the forest's base) and the
    descriptor (`sddl`, with the forest's root domain as its context)."""

    name: str
    oid_suffix: str
    attributes: Mapping[str, Any]
    sddl: str

    @property
    def display_name(self) -> str:
        return str(self.attributes["displayName"])


def _built_in(
    name: str,
    display_name: str,
    oid: int,
    schema: int,
    revision: tuple[int, int],
    flags: int,
    name_flags: int,
    enrollment_flags: int,
    private_key_flags: int,
    key_spec: int,
    key_usage: str,
    days: tuple[int, int],
    purposes: str,
    providers: tuple[str, ...],
    enroll: str,
    *,
    auto_enroll: str = "",
    critical: tuple[str, ...] = ("2.5.29.15",),
    path_length: int = 0,
    signatures: int = 0,
    signature_policies: tuple[str, ...] = (),
    supersedes: tuple[str, ...] = (),
) -> BuiltIn:
    usages = tuple(_oid(purpose) for purpose in purposes.split())
    attributes = {
        "displayName": display_name,
        "flags": flags,
        "revision": revision[0],
        "pKIDefaultKeySpec": key_spec,
        "pKIKeyUsage": bytes.fromhex(key_usage),
        "pKIMaxIssuingDepth": path_length,
        "pKICriticalExtensions": critical,
        "pKIExpirationPeriod": _period(days[0]),
        "pKIOverlapPeriod": _period(days[1]),
        "pKIExtendedKeyUsage": usages,
        "pKIDefaultCSPs": tuple(f"{place},{provider}" for place, provider in enumerate(providers, 1)),
        "msPKI-RA-Signature": signatures,
        "msPKI-Enrollment-Flag": enrollment_flags,
        "msPKI-Private-Key-Flag": private_key_flags,
        "msPKI-Certificate-Name-Flag": signed(name_flags),
        "msPKI-Minimal-Key-Size": 2048,
        "msPKI-Template-Schema-Version": schema,
        "msPKI-Template-Minor-Revision": revision[1],
        "msPKI-RA-Application-Policies": signature_policies,
        "msPKI-Supersede-Templates": supersedes,
        "msPKI-Certificate-Application-Policy": usages if schema > 1 else (),
    }
    rights = _object_aces(ENROLL, enroll) + _object_aces(AUTO_ENROLL, auto_enroll)
    present = {attribute: value for attribute, value in attributes.items() if value != ()}
    return BuiltIn(name, f"1.{oid}", present, f"O:EAG:EAD:PAI{_ADMINISTRATORS}{rights}")


def _oid(purpose: str) -> str:
    prefix = next((prefix for prefix in _PREFIXES if purpose.startswith(prefix)), "")
    return _PREFIXES.get(prefix, "") + purpose.removeprefix(prefix)


def _period(days: int) -> bytes:
    return (-days * _TICKS_PER_DAY).to_bytes(8, "little", signed=True)


def _object_aces(right: object, principals: str) -> str:
    """Read-only domain controllers (RO) are not given WRITE_PROPERTY."""
    return "".join(f"(OA;;{'RPCR' if alias == 'RO' else 'RPWPCR'};{right};;{alias})" for alias in principals.split())


# name, display name, OID, schema version, revision, flags, name flags, enrollment flags, private key flags, key spec, key usage,
# days valid and before renewal, extended key usages, providers, who may enroll
# fmt: off
_TEMPLATES = (
    _built_in("User", "User", 1, 1, (3, 1), 0x1023A, 0xA6000000, 0x29, 0x10, 1, "a000", (365, 42),
              "pkix.2 pkix.4 ms.10.3.4", _ENHANCED_BASE, "DA DU EA"),
    _built_in("UserSignature", "User Signature Only", 2, 1, (4, 1), 0x10222, 0xA6000000, 0x20, 0x0, 2, "8000", (365, 42),
              "pkix.2 pkix.4", _ENHANCED_BASE_DSS, "DA DU EA"),
    _built_in("SmartcardUser", "Smartcard User", 3, 1, (11, 1), 0x1020A, 0xA6000000, 0x9, 0x0, 1, "a000", (365, 42),
              "ms.20.2.2 pkix.2 pkix.4", (), "DA EA"),
    _built_in("ClientAuth", "Authenticated Session", 4, 1, (3, 1), 0x10220, 0x82000000, 0x20, 0x0, 2, "8000", (365, 42),
              "pkix.2", _ENHANCED_BASE_DSS, "DA DU EA"),
    _built_in("SmartcardLogon", "Smartcard Logon", 5, 1, (6, 1), 0x10200, 0x82000000, 0x0, 0x0, 1, "a000", (365, 42),
              "ms.20.2.2 pkix.2", (), "DA EA"),
    _built_in("EFS", "Basic EFS", 6, 1, (3, 1), 0x10238, 0x82000000, 0x29, 0x10, 1, "2000", (365, 42),
              "ms.10.3.4", _ENHANCED_BASE, "DA DU EA"),
    _built_in("Administrator", "Administrator", 7, 1, (4, 1), 0x1023A, 0xA6000000, 0x29, 0x10, 1, "a000", (365, 42),
              "pkix.2 pkix.4 ms.10.3.4 ms.10.3.1", _ENHANCED_BASE, "DA EA"),
    _built_in("EFSRecovery", "EFS Recovery Agent", 8, 1, (6, 1), 0x10230, 0x82000000, 0x21, 0x10, 1, "2000", (1825, 42),
              "ms.10.3.4.1", _ENHANCED_BASE, "DA EA"),
    _built_in("CodeSigning", "Code Signing", 9, 1, (3, 1), 0x10220, 0x82000000, 0x20, 0x0, 2, "8000", (365, 42),
              "pkix.3", _ENHANCED_BASE_DSS, "DA EA"),
    _built_in("CTLSigning", "Trust List Signing", 10, 1, (3, 1), 0x10220, 0x82000000, 0x20, 0x0, 2, "8000", (365, 42),
              "ms.10.3.1", _ENHANCED_BASE_DSS, "DA EA"),
    _built_in("EnrollmentAgent", "Enrollment Agent", 11, 1, (4, 1), 0x10220, 0x82000000, 0x20, 0x0, 2, "8000", (730, 42),
              "ms.20.2.1", _ENHANCED_BASE_DSS, "DA EA"),
    _built_in("EnrollmentAgentOffline", "Exchange Enrollment Agent (Offline request)", 12, 1, (4, 1), 0x10201, 0x1, 0x0, 0x0, 2,
              "8000", (730, 42), "ms.20.2.1", _ENHANCED_BASE_DSS, "DA EA"),
    _built_in("MachineEnrollmentAgent", "Enrollment Agent (Computer)", 13, 1, (5, 1), 0x10260, 0x18000000, 0x20, 0x0, 2, "8000", (730, 42),
              "ms.20.2.1", _ENHANCED_BASE_DSS, "DA EA"),
    _built_in("Machine", "Computer", 14, 1, (5, 1), 0x10260, 0x18000000, 0x20, 0x0, 1, "a000", (365, 42),
              "pkix.1 pkix.2", _SCHANNEL, "DA DC EA"),
    _built_in("DomainController", "Domain Controller", 15, 1, (4, 1), 0x1026C, 0x19000000, 0x29, 0x0, 1, "a000", (365, 42),
              "pkix.1 pkix.2", _SCHANNEL, "ED RO DA DD EA"),
    _built_in("WebServer", "Web Server", 16, 1, (4, 1), 0x10241, 0x1, 0x0, 0x0, 1, "a000", (730, 42), "pkix.1", _SCHANNEL_DH, "DA EA"),
    _built_in("CA", "Root Certification Authority", 17, 1, (5, 1), 0x100D1, 0x1, 0x0, 0x10, 2, "8600", (1825, 42), "", _ENHANCED, "DA EA",
              critical=("2.5.29.19", "2.5.29.15"), path_length=-1),
    _built_in("SubCA", "Subordinate Certification Authority", 18, 1, (5, 1), 0x102D1, 0x1, 0x0, 0x10, 2, "8600", (1825, 42),
              "", _ENHANCED, "DA EA", critical=("2.5.29.19", "2.5.29.15"), path_length=-1),
    _built_in("IPSECIntermediateOnline", "IPSec", 19, 1, (8, 1), 0x10260, 0x18000000, 0x20, 0x0, 1, "a000", (730, 42),
              "1.3.6.1.5.5.8.2.2", _SCHANNEL, "DA DC DD EA"),
    _built_in("IPSECIntermediateOffline", "IPSec (Offline request)", 20, 1, (7, 1), 0x10241, 0x1, 0x0, 0x0, 1, "a000", (730, 42),
              "1.3.6.1.5.5.8.2.2", _SCHANNEL, "DA EA"),
    _built_in("OfflineRouter", "Router (Offline request)", 21, 1, (4, 1), 0x10241, 0x1, 0x0, 0x0, 1, "a000", (730, 42),
              "pkix.2", _SCHANNEL, "DA EA"),
    _built_in("CEPEncryption", "CEP Encryption", 22, 1, (4, 1), 0x10241, 0x1, 0x0, 0x0, 1, "2000", (730, 42),
              "ms.20.2.1", _SCHANNEL, "DA EA"),
    _built_in("ExchangeUser", "Exchange User", 23, 1, (7, 1), 0x10211, 0x1, 0x1, 0x10, 1, "2000", (365, 42),
              "pkix.4", _ENHANCED_BASE, "DA EA"),
    _built_in("ExchangeUserSignature", "Exchange Signature Only", 24, 1, (6, 1), 0x10201, 0x1, 0x0, 0x0, 2, "8000", (365, 42),
              "pkix.4", _ENHANCED_BASE_DSS, "DA EA"),
    _built_in("CrossCA", "Cross Certification Authority", 25, 2, (105, 0), 0x10810, 0x1, 0x8, 0x10, 2, "8600", (1825, 42),
              "", _ENHANCED, "DA EA",
              critical=("2.5.29.19", "2.5.29.15"), path_length=-1, signatures=1, signature_policies=("1.3.6.1.4.1.311.10.3.10",)),
    _built_in("CAExchange", "CA Exchange", 26, 2, (106, 0), 0x10040, 0x1, 0x1, 0x0, 1, "2000", (7, 1), "ms.21.5", _ENHANCED_BASE, "DA EA"),
    _built_in("KeyRecoveryAgent", "Key Recovery Agent", 27, 2, (105, 0), 0x10020, 0x82000000, 0x27, 0x10, 1, "2000", (730, 42),
              "ms.21.6", _ENHANCED, "DA EA"),
    _built_in("DomainControllerAuthentication", "Domain Controller Authentication", 28, 2, (110, 0), 0x10060, 0x8000000, 0x20, 0x0, 1,
              "a000", (365, 42),
              "ms.20.2.2 pkix.1 pkix.2", _SCHANNEL, "ED RO DA DD EA", auto_enroll="ED RO DD",
              critical=("2.5.29.17", "2.5.29.15"), supersedes=("DomainController",)),
    _built_in("DirectoryEmailReplication", "Directory Email Replication", 29, 2, (115, 0), 0x10060, 0x9000000, 0x29, 0x0, 1,
              "a000", (365, 42),
              "ms.21.19", _SCHANNEL, "ED RO DA DD EA", auto_enroll="ED RO DD",
              critical=("2.5.29.17", "2.5.29.15"), supersedes=("DomainController",)),
    _built_in("Workstation", "Workstation Authentication", 30, 2, (101, 0), 0x10260, 0x8000000, 0x20, 0x0, 1, "a000", (365, 42),
              "pkix.2", _SCHANNEL, "DA DC EA"),
    _built_in("RASAndIASServer", "RAS and IAS Server", 31, 2, (101, 0), 0x10260, 0x48000000, 0x20, 0x0, 1, "a000", (365, 42),
              "pkix.1 pkix.2", _SCHANNEL, "DA EA RS"),
    _built_in("OCSPResponseSigning", "OCSP Response Signing", 32, 3, (101, 0), 0x10240, 0x18000000, 0x5000, 0x0, 2, "8000", (14, 2),
              "pkix.9", (), "DA EA", signature_policies=_OCSP_KEY),
    _built_in("KerberosAuthentication", "Kerberos Authentication", 33, 2, (110, 0), 0x10060, 0x8400000, 0x20, 0x0, 1, "a000", (365, 42),
              "1.3.6.1.5.2.3.5 ms.20.2.2 pkix.1 pkix.2", _SCHANNEL, "ED RO DA DD EA", auto_enroll="ED RO DD",
              critical=("2.5.29.17", "2.5.29.15")),
)
# fmt: on

BUILT_IN: Mapping[str, BuiltIn] = {template.name: template for template in _TEMPLATES}
"""By name (cn)."""
