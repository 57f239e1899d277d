# SPDX-License-Identifier: GPL-3.0-or-later
"""What inventories/lab and the roles' defaults ask for, written down a second time by hand and in the formats of the wire:
a mistake in the roles or the engine cannot hide in a proof that is computed from them. Change it together with the inventory."""

from __future__ import annotations

SMART_CARD_POLICY = "Certlogon - Smart Card Logon"
TRUST_POLICY = "Certlogon - Trusted Certificates"
POLICIES = (SMART_CARD_POLICY, TRUST_POLICY)
CARD_TEMPLATE = "CorpSmartcardLogon"

# [MS-GPSB] 2.2.8: 2 = automatic
SERVICES = {"SCardSvr": "2", "SCPolicySvc": "2", "CertPropSvc": "2"}
STARTED_SERVICES = ("CertPropSvc", "SCPolicySvc", "SCardSvr")
# [MS-GPSB] 2.2.5: 1 = text; removal behaviour "1" = lock
REGISTRY_VALUES = (r'MACHINE\Software\Microsoft\Windows NT\CurrentVersion\Winlogon\ScRemoveOption=1,"1"',)
AUTOENROLLMENT = r"Software\Policies\Microsoft\Cryptography\AutoEnrollment"
PROVIDER = r"SOFTWARE\Policies\Microsoft\Windows\SmartCardCredentialProvider"
KERBEROS = r"Software\Microsoft\Windows\CurrentVersion\Policies\System\Kerberos\Parameters"
# half, key, value, data of the smart card policy's registry.pol
REGISTRY = (
    ("machine", AUTOENROLLMENT, "AEPolicy", 7),
    ("user", AUTOENROLLMENT, "AEPolicy", 7),
    ("machine", PROVIDER, "AllowTimeInvalidCertificates", 0),
    ("machine", PROVIDER, "DisallowPlaintextPin", 1),
    ("machine", KERBEROS, "KdcValidation", 2),
)
# corp-ca: the CA that the first run installed
PUSHED = {"Root": ("root-ca",), "CA": ("issuing-ca", "vpn-ca", "corp-ca")}
STORES = {"ntauth": ("corp-ca",), "root": ("root-ca",), "intermediate": ("issuing-ca", "vpn-ca", "corp-ca")}

CLIENT_AUTHENTICATION = "1.3.6.1.5.5.7.3.2"
SERVER_AUTHENTICATION = "1.3.6.1.5.5.7.3.1"
SECURE_EMAIL = "1.3.6.1.5.5.7.3.4"
SMART_CARD_LOGON = "1.3.6.1.4.1.311.20.2.2"
KDC_AUTHENTICATION = "1.3.6.1.5.2.3.5"
REQUEST_AGENT = "1.3.6.1.4.1.311.20.2.1"
CARD_PROVIDER = {"1,Microsoft Base Smart Card Crypto Provider"}
# 365 days: negative count of 100 ns, 8 bytes little-endian ([MS-CRTD] 2.20)
ONE_YEAR = {"base64:AEA5hy7h/v8="}
# Template by template, attribute by attribute ([MS-CRTD]); sets, for the directory keeps no order.
TEMPLATES = {
    CARD_TEMPLATE: {
        "pKIDefaultCSPs": CARD_PROVIDER,
        "pKIExtendedKeyUsage": {CLIENT_AUTHENTICATION, SMART_CARD_LOGON},
        "msPKI-Certificate-Application-Policy": {CLIENT_AUTHENTICATION, SMART_CARD_LOGON},
        "msPKI-Certificate-Name-Flag": {str(0x82000000 - 2**32)},
        "msPKI-Minimal-Key-Size": {"2048"},
        "msPKI-Template-Schema-Version": {"2"},
        "pKIExpirationPeriod": ONE_YEAR,
    },
    "CorpSmartcardUser": {
        "pKIDefaultCSPs": CARD_PROVIDER,
        "pKIExtendedKeyUsage": {CLIENT_AUTHENTICATION, SMART_CARD_LOGON, SECURE_EMAIL},
        "pKIExpirationPeriod": ONE_YEAR,
    },
    "CorpDomainController": {
        "pKIExtendedKeyUsage": {CLIENT_AUTHENTICATION, SERVER_AUTHENTICATION, SMART_CARD_LOGON, KDC_AUTHENTICATION},
        "msPKI-Supersede-Templates": {"DomainController", "DomainControllerAuthentication", "KerberosAuthentication"},
    },
    "CorpEnrollmentAgent": {"pKIExtendedKeyUsage": {REQUEST_AGENT}},
}
AUTHORITY = "Corp CA"
PUBLISHED = {AUTHORITY: {*TEMPLATES, "Machine", "WebServer"}}
GATEWAYS = ("vpn.corp.example", "gw.corp.example")
