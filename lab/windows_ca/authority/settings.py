# SPDX-License-Identifier: GPL-3.0-or-later
"""The authority's settings: the registry below CertSvc\\Configuration, with the values that AD CS's setup writes ([MS-CSRA] 3.1.1.10)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from lab.windows_ca.authority import descriptors
from lab.windows_ca.authority.capolicy import CAPolicy
from lab.windows_ca.authority.errors import INVALID_ARGUMENT, NOT_SUPPORTED, CertSrvError
from lab.windows_ca.authority.names import Place
from lab.windows_ca.machine import Machine

CONFIGURATION = r"HKLM\SYSTEM\CurrentControlSet\Services\CertSvc\Configuration"
POLICY = "CertificateAuthority_MicrosoftDefault.Policy"
EXIT = "CertificateAuthority_MicrosoftDefault.Exit"
ENTERPRISE_ROOT, ENTERPRISE_SUBORDINATE, STANDALONE_ROOT, STANDALONE_SUBORDINATE = 0, 1, 3, 4
CERTENROLL = r"C:\Windows\system32\CertSrv\CertEnroll"

MANAGE_CA, MANAGE_CERTIFICATES, AUDITOR, OPERATOR, READ, ENROLL = 0x1, 0x2, 0x4, 0x8, 0x100, 0x200
DEFAULT_SECURITY = "O:BAG:BAD:(A;;0x3;;;BA)(A;;0x3;;;DA)(A;;0x3;;;EA)(A;;0x200;;;AU)"
STANDALONE_SECURITY = "O:BAG:BAD:(A;;0x3;;;BA)(A;;0x200;;;WD)"

# EditFlags, [MS-CSRA] 3.1.1.10.1 (EDITF_…)
EDITF_REQUEST_EXTENSION_LIST, EDITF_DISABLE_EXTENSION_LIST, EDITF_ATTRIBUTE_END_DATE = 0x2, 0x4, 0x20
EDITF_BASIC_CONSTRAINTS_CRITICAL, EDITF_BASIC_CONSTRAINTS_CA, EDITF_AKI_KEY_ID = 0x40, 0x80, 0x100
EDITF_ATTRIBUTE_CA, EDITF_ATTRIBUTE_EKU, EDITF_ATTRIBUTE_SAN2 = 0x200, 0x8000, 0x40000
ENTERPRISE_EDIT_FLAGS, STANDALONE_EDIT_FLAGS = 0x11014E, 0x83EE
# IF_LOCKICERTREQUEST | IF_NOREMOTEICERTADMINBACKUP | IF_ENFORCEENCRYPTICERTREQUEST | IF_ENFORCEENCRYPTICERTADMIN
INTERFACE_FLAGS = 0x641
REQUEST_ISSUE, REQUEST_PENDING_FIRST = 0x1, 0x100

LDAP_CDP = "ldap:///CN=%7%8,CN=%2,CN=CDP,CN=Public Key Services,CN=Services,%6%10"
LDAP_AIA = "ldap:///CN=%7,CN=AIA,CN=Public Key Services,CN=Services,%6%11"
ENTERPRISE_CRL_URLS = [
    f"65:{CERTENROLL}\\%3%8%9.crl",
    f"79:{LDAP_CDP}",
    "0:http://%1/CertEnroll/%3%8%9.crl",
    "0:file://%1/CertEnroll/%3%8%9.crl",
]
ENTERPRISE_AIA_URLS = [
    f"1:{CERTENROLL}\\%1_%3%4.crt",
    f"3:{LDAP_AIA}",
    "0:http://%1/CertEnroll/%1_%3%4.crt",
    "0:file://%1/CertEnroll/%1_%3%4.crt",
]
STANDALONE_CRL_URLS = [ENTERPRISE_CRL_URLS[0], f"0:{LDAP_CDP}", "6:http://%1/CertEnroll/%3%8%9.crl", ENTERPRISE_CRL_URLS[3]]
STANDALONE_AIA_URLS = [ENTERPRISE_AIA_URLS[0], f"0:{LDAP_AIA}", "2:http://%1/CertEnroll/%1_%3%4.crt", ENTERPRISE_AIA_URLS[3]]

PERIOD_DAYS = {"seconds": 1 / 86400, "minutes": 1 / 1440, "hours": 1 / 24, "days": 1, "weeks": 7}


@dataclass(frozen=True)
class Period:
    """So many days, weeks, months, …; 0 of them means none."""

    units: int
    name: str

    def after(self, moment: datetime) -> datetime:
        word = self.name.casefold()
        if word in PERIOD_DAYS:
            return moment + timedelta(days=PERIOD_DAYS[word] * self.units)
        months = {"months": 1, "years": 12}.get(word)
        if months is None:
            raise CertSrvError(INVALID_ARGUMENT, f"{self.name!r} is no period: Hours, Days, Weeks, Months or Years")
        total = moment.year * 12 + moment.month - 1 + months * self.units
        year, month = min(total // 12, 9999), total % 12 + 1
        for day in range(moment.day, 27, -1):
            try:
                return moment.replace(year=year, month=month, day=day)
            except ValueError:
                continue
        return moment.replace(year=year, month=month)


def key(ca: str, *below: str) -> str:
    return "\\".join([CONFIGURATION, ca, *below])


def write_defaults(
    machine: Machine,
    *,
    ca: str,
    common_name: str,
    kind: int,
    domain_sid: str,
    domain: bool,
    policy: CAPolicy,
    hash_name: str,
    provider: str,
    key_algorithm: str,
    database: str,
    log: str,
) -> None:
    """What setup leaves in the registry, CAPolicy.inf honoured."""
    enterprise = kind in (ENTERPRISE_ROOT, ENTERPRISE_SUBORDINATE)
    security = descriptors.from_sddl(DEFAULT_SECURITY if enterprise else STANDALONE_SECURITY, domain_sid).to_bytes()

    def put(path: str, values: dict[str, Any]) -> None:
        for name, value in values.items():
            kinds = {int: "REG_DWORD", str: "REG_SZ", list: "REG_MULTI_SZ", bytes: "REG_BINARY"}
            machine.registry.set(path, name, value, kinds[type(value)])

    put(
        CONFIGURATION,
        {
            "Active": ca,
            "DBDirectory": database,
            "DBLogDirectory": log,
            "DBSystemDirectory": log,
            "DBTempDirectory": log,
            "DBSessionCount": 100,
            "ConfigurationDirectory": "",
            "Version": 0x00060001,
            "SetupStatus": 0,
        },
    )
    put(
        key(ca),
        {
            "CAServerName": machine.fqdn,
            "CommonName": common_name,
            "CAType": kind,
            "UseDS": int(domain),
            "Enabled": 1,
            "DSConfigDN": f"CN=Configuration,{machine.base_dn}" if domain else "",
            "DSDomainDN": machine.base_dn if domain else "",
            "Security": security,
            "SetupStatus": 0,
            "CertEnrollCompatible": 0,
            "CRLPeriod": policy.text("CRLPeriod", "Weeks"),
            "CRLPeriodUnits": policy.number("CRLPeriodUnits", 1),
            "CRLOverlapPeriod": policy.text("CRLOverlapPeriod", "Hours"),
            "CRLOverlapUnits": policy.number("CRLOverlapUnits", 0),
            "CRLDeltaPeriod": policy.text("CRLDeltaPeriod", "Days"),
            "CRLDeltaPeriodUnits": policy.number("CRLDeltaPeriodUnits", 1),
            "CRLDeltaOverlapPeriod": policy.text("CRLDeltaOverlapPeriod", "Minutes"),
            "CRLDeltaOverlapUnits": policy.number("CRLDeltaOverlapUnits", 0),
            "CRLPublicationURLs": list(ENTERPRISE_CRL_URLS if enterprise else STANDALONE_CRL_URLS),
            "CACertPublicationURLs": list(ENTERPRISE_AIA_URLS if enterprise else STANDALONE_AIA_URLS),
            "CAXchgValidityPeriod": "Weeks",
            "CAXchgValidityPeriodUnits": 1,
            "ValidityPeriod": "Years",
            "ValidityPeriodUnits": 2 if enterprise else 1,
            "ClockSkewMinutes": policy.number("ClockSkewMinutes", 10),
            "AuditFilter": 0,
            "InterfaceFlags": INTERFACE_FLAGS,
            "RoleSeparationEnabled": 0,
            "ForceTeletex": 0x12,
            "EnforceX500NameLengths": 1,
            "LogLevel": 3,
            "HighSerial": 0,
            "CACertHash": [],
            "KRACertCount": 0,
            "KRACertHash": [],
            "KRAFlags": 0,
            "ViewAgeMinutes": 16,
            "ViewIdleMinutes": 8,
            "MaxIncomingMessageSize": 0x10000,
        },
    )
    put(
        key(ca, "CSP"),
        {
            "Provider": provider,
            "ProviderType": 0,
            "CNGHashAlgorithm": hash_name,
            "CNGPublicKeyAlgorithm": key_algorithm,
            "AlternateSignatureAlgorithm": 0,
            "MachineKeyset": 1,
        },
    )
    put(key(ca, "PolicyModules"), {"Active": POLICY})
    put(
        key(ca, "PolicyModules", POLICY),
        {
            "RequestDisposition": REQUEST_ISSUE if enterprise else REQUEST_ISSUE | REQUEST_PENDING_FIRST,
            "EditFlags": ENTERPRISE_EDIT_FLAGS if enterprise else STANDALONE_EDIT_FLAGS,
            "CAPathLength": 0xFFFFFFFF,
            "EnableRequestExtensionList": ["1.2.840.113549.1.9.15", "1.3.6.1.4.1.311.21.1", "1.3.6.1.4.1.311.21.2", "2.5.29.15"],
            "DisableExtensionList": [],
            "DefaultSMIME": ["1.2.840.113549.3.7", "2.16.840.1.101.3.4.1.42"],
            "SubjectAltName": "EMail",
            "SubjectAltName2": "EMail",
        },
    )
    put(key(ca, "ExitModules"), {"Active": [EXIT]})
    put(key(ca, "ExitModules", EXIT), {"PublishCertFlags": 1 if enterprise else 0})


@dataclass(frozen=True)
class Settings:
    """What the service has read when it was started."""

    kind: int
    common_name: str
    security: descriptors.Descriptor
    officer_rights: descriptors.Descriptor | None
    agent_rights: descriptors.Descriptor | None
    crl: Period
    crl_overlap: Period
    delta: Period
    delta_overlap: Period
    validity: Period
    skew: timedelta
    crl_places: tuple[Place, ...]
    certificate_places: tuple[Place, ...]
    audit_filter: int
    interface_flags: int
    edit_flags: int
    request_disposition: int
    disabled_extensions: frozenset[str]
    request_extensions: frozenset[str]
    role_separation: bool
    hash_name: str

    @property
    def enterprise(self) -> bool:
        return self.kind in (ENTERPRISE_ROOT, ENTERPRISE_SUBORDINATE)

    @classmethod
    def read(cls, machine: Machine, ca: str) -> Settings:
        """Raises CertSrvError for a value without which, or with which, the service would not start."""
        top, csp, policy = key(ca), key(ca, "CSP"), key(ca, "PolicyModules", POLICY)
        active = machine.registry.get(key(ca, "PolicyModules"), "Active")
        if active != POLICY:
            raise CertSrvError(NOT_SUPPORTED, f"policy module {active!r} is not modelled by the stand-in")

        def get(path: str, name: str) -> Any:
            found = machine.registry.get(path, name)
            if found is None:
                raise CertSrvError(0x80070002, f"{path}: {name}: the value is missing")
            return found

        def period(name: str, units: str) -> Period:
            return Period(get(top, units), get(top, name))

        def descriptor(name: str) -> descriptors.Descriptor | None:
            data = machine.registry.get(top, name)
            return descriptors.parse(data) if data else None

        if machine.registry.get(csp, "AlternateSignatureAlgorithm"):
            raise CertSrvError(NOT_SUPPORTED, "AlternateSignatureAlgorithm=1 (RSASSA-PSS) is not modelled by the stand-in")
        security = descriptor("Security")
        if security is None:
            raise CertSrvError(0x80070002, f"{top}: Security: the value is missing")
        return cls(
            kind=get(top, "CAType"),
            common_name=get(top, "CommonName"),
            security=security,
            officer_rights=descriptor("OfficerRights"),
            agent_rights=descriptor("EnrollmentAgentRights"),
            crl=period("CRLPeriod", "CRLPeriodUnits"),
            crl_overlap=period("CRLOverlapPeriod", "CRLOverlapUnits"),
            delta=period("CRLDeltaPeriod", "CRLDeltaPeriodUnits"),
            delta_overlap=period("CRLDeltaOverlapPeriod", "CRLDeltaOverlapUnits"),
            validity=period("ValidityPeriod", "ValidityPeriodUnits"),
            skew=timedelta(minutes=machine.registry.get(top, "ClockSkewMinutes") or 0),
            crl_places=tuple(Place.parse(line) for line in get(top, "CRLPublicationURLs")),
            certificate_places=tuple(Place.parse(line) for line in get(top, "CACertPublicationURLs")),
            audit_filter=get(top, "AuditFilter"),
            interface_flags=get(top, "InterfaceFlags"),
            edit_flags=get(policy, "EditFlags"),
            request_disposition=get(policy, "RequestDisposition"),
            disabled_extensions=frozenset(machine.registry.get(policy, "DisableExtensionList") or []),
            request_extensions=frozenset(machine.registry.get(policy, "EnableRequestExtensionList") or []),
            role_separation=bool(machine.registry.get(top, "RoleSeparationEnabled")),
            hash_name=get(csp, "CNGHashAlgorithm"),
        )
