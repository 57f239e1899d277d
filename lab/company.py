# SPDX-License-Identifier: GPL-3.0-or-later
"""Corp Example: the people, groups and machines of the lab's directory. Data; `lab/guest/populate.py` writes it."""

from __future__ import annotations

import secrets
from typing import Any

from lab.settings import DNS_DOMAIN, NETBIOS_DOMAIN, REALM

UNITS = (
    "OU=Corp,",
    "OU=Staff,OU=Corp,",
    "OU=Groups,OU=Corp,",
    "OU=Workstations,OU=Corp,",
    "OU=Kiosks,OU=Workstations,OU=Corp,",
    "OU=Servers,OU=Corp,",
    "OU=Administrators,OU=Corp,",
    "OU=Service Accounts,OU=Corp,",
    "OU=Test Accounts,OU=Corp,",
)
# given name, family name, department, title
STAFF = (
    ("Alice", "Andersson", "Finance", "Controller"),
    ("Bruno", "Bianchi", "Finance", "Accountant"),
    ("Chiara", "Conti", "Finance", "Payroll Clerk"),
    ("David", "Dvořák", "Sales", "Account Manager"),
    ("Elena", "Echeverría", "Sales", "Head of Sales"),
    ("Farid", "Farouk", "Sales", "Account Manager"),
    ("Greta", "Grünwald", "Engineering", "Mechanical Engineer"),
    ("Hiroshi", "Hayashi", "Engineering", "Firmware Engineer"),
    ("Ingrid", "Iversen", "Engineering", "Head of Engineering"),
    ("Jamal", "Jackson", "Engineering", "Test Engineer"),
    ("Katarzyna", "Kowalska", "Engineering", "Software Engineer"),
    ("Liam", "Lynch", "Engineering", "Software Engineer"),
    ("Mei", "Ma", "Purchasing", "Buyer"),
    ("Noah", "Nkosi", "Logistics", "Warehouse Lead"),
    ("Olivia", "O'Brien", "People", "Head of People"),
    ("Pavel", "Petrov", "People", "Recruiter"),
    ("Quentin", "Quint", "Legal", "Counsel"),
    ("Rosa", "Ruiz", "IT", "Helpdesk Agent"),
    ("Sanne", "Smit", "IT", "Helpdesk Agent"),
    ("Tomasz", "Tkaczyk", "IT", "Systems Administrator"),
    ("Uma", "Upadhyay", "IT", "Security Officer"),
)
# account, what it is for
TEST_ACCOUNTS = {
    "plain.user": "no rights beyond a user's",
    "expired.user": "its password has expired (LDAP data 532)",
    "mustchange.user": "must change its password at next logon (LDAP data 773)",
    "disabled.user": "account disabled (LDAP data 533)",
    "policy.editor": "member of Group Policy Creator Owners only",
    "domain.admin": "member of Domain Admins only",
    "enterprise.admin": "member of Enterprise Admins and Domain Admins",
}
GROUPS = {
    "Smart Card Users": ("alice.andersson", "bruno.bianchi", "elena.echeverria", "ingrid.iversen", "katarzyna.kowalska", "uma.upadhyay"),
    "VPN Users": ("david.dvorak", "elena.echeverria", "farid.farouk", "greta.grunwald", "hiroshi.hayashi", "liam.lynch", "tomasz.tkaczyk"),
    "Helpdesk": ("rosa.ruiz", "sanne.smit"),
    "Enrollment Agents": ("rosa.ruiz",),
    "PKI Admins": ("tomasz.tkaczyk", "uma.upadhyay"),
    "Key Recovery Officers": ("uma.upadhyay",),
    "Kiosk Computers": ("WS-0005$",),
    "Finance": ("alice.andersson", "bruno.bianchi", "chiara.conti"),
    "Engineering": ("greta.grunwald", "hiroshi.hayashi", "ingrid.iversen", "jamal.jackson", "katarzyna.kowalska", "liam.lynch"),
}
BUILT_IN_GROUPS = {
    "Group Policy Creator Owners": ("policy.editor",),
    "Domain Admins": ("domain.admin", "enterprise.admin"),
    "Enterprise Admins": ("enterprise.admin",),
    "Cert Publishers": ("CA1$",),
}
CA_HOST = "CA1"
WORKSTATIONS = {"WS-0001": "", "WS-0002": "", "WS-0003": "", "WS-0004": "", "WS-0005": "OU=Kiosks,"}
SERVERS = ("SRV-FILE1", "SRV-WEB1", "SRV-VPN1", CA_HOST)
SERVICE_ACCOUNTS = {"svc-ansible": "Ansible, configuration management", "svc-vpn": "SSL VPN gateway, reads users and groups"}
PLAIN_LETTERS = str.maketrans("řáíüé", "raiue", "'")


def account_name(given: str, family: str) -> str:
    return f"{given}.{family}".lower().translate(PLAIN_LETTERS)


def new_password() -> str:
    """Random, 24 characters, with the kinds of characters the domain's policy asks for."""
    return secrets.token_urlsafe(18)[:21] + "aB3"


def accounts() -> dict[str, dict[str, str]]:
    """All accounts that can sign in, each with a new password."""
    purposes = {account_name(given, family): f"{title}, {department}" for given, family, department, title in STAFF}
    purposes |= TEST_ACCOUNTS | SERVICE_ACCOUNTS
    named = {"administrator": "built-in administrator (Domain, Enterprise and Schema Admins)"} | purposes
    return {
        name: {
            "username": name,
            "upn": f"{name}@{REALM.lower()}",
            "netbios": f"{NETBIOS_DOMAIN}\\{name}",
            "password": new_password(),
            "purpose": purpose,
        }
        for name, purpose in named.items()
    }


def ca_host_account() -> dict[str, Any]:
    """What joining the domain gives the CA host: a password (its keytab comes from it) and its principals, with AES keys."""
    names = (CA_HOST, f"{CA_HOST.lower()}.{DNS_DOMAIN}")
    return {
        "account": f"{CA_HOST}$",
        "password": new_password(),
        "servicePrincipalName": [f"{service}/{name}" for service in ("HOST", "HTTP", "WSMAN", "RestrictedKrbHost") for name in names],
        "msDS-SupportedEncryptionTypes": "28",
    }


def entries() -> list[tuple[str, dict[str, Any]]]:
    """Units, users, groups and computers as (DN, attributes); a DN that ends in a comma lacks the domain's."""
    found: list[tuple[str, dict[str, Any]]] = [(unit, {"objectClass": "organizationalUnit"}) for unit in UNITS]
    for given, family, department, title in STAFF:
        attributes = {"givenName": given, "sn": family, "department": department, "title": title, "company": "Corp Example"}
        found.append(user(account_name(given, family), f"{given} {family}", "OU=Staff,OU=Corp,", attributes))
    for name, purpose in TEST_ACCOUNTS.items():
        found.append(user(name, name, "OU=Test Accounts,OU=Corp,", {"description": purpose}))
    for name, purpose in SERVICE_ACCOUNTS.items():
        found.append(user(name, name, "OU=Service Accounts,OU=Corp,", {"description": purpose}))
    for name in GROUPS:
        found.append((f"CN={name},OU=Groups,OU=Corp,", {"objectClass": "group", "sAMAccountName": name}))
    for name, unit in WORKSTATIONS.items():
        found.append(computer(name, f"{unit}OU=Workstations,OU=Corp,", "Windows 11 Enterprise"))
    for name in SERVERS:
        found.append(computer(name, "OU=Servers,OU=Corp,", "Windows Server 2025 Standard"))
    found.append(expired_passwords())
    return found


def user(name: str, shown: str, parent: str, attributes: dict[str, str]) -> tuple[str, dict[str, Any]]:
    common = {
        "objectClass": "user",
        "sAMAccountName": name,
        "userPrincipalName": f"{name}@{DNS_DOMAIN}",
        "displayName": shown,
        "mail": f"{name}@{DNS_DOMAIN}",
        "userAccountControl": "512",
    }
    return f"CN={shown},{parent}", common | attributes


def computer(name: str, parent: str, system: str) -> tuple[str, dict[str, Any]]:
    host = f"{name.lower()}.{DNS_DOMAIN}"
    return f"CN={name},{parent}", {
        "objectClass": "computer",
        "sAMAccountName": f"{name}$",
        "dNSHostName": host,
        "servicePrincipalName": [f"HOST/{name}", f"HOST/{host}"],
        "operatingSystem": system,
        "userAccountControl": "4096",
    }


def expired_passwords() -> tuple[str, dict[str, Any]]:
    """A password policy under which a password is old after one second: the honest way to an expired one."""
    return "CN=Expires At Once,CN=Password Settings Container,CN=System,", {
        "objectClass": "msDS-PasswordSettings",
        "msDS-PasswordSettingsPrecedence": "1",
        "msDS-PasswordReversibleEncryptionEnabled": "FALSE",
        "msDS-PasswordHistoryLength": "0",
        "msDS-PasswordComplexityEnabled": "FALSE",
        "msDS-MinimumPasswordLength": "7",
        "msDS-MinimumPasswordAge": "0",
        "msDS-MaximumPasswordAge": "-10000000",
        "msDS-LockoutThreshold": "0",
        "msDS-LockoutObservationWindow": "-18000000000",
        "msDS-LockoutDuration": "-18000000000",
        "msDS-PSOAppliesTo": "CN=expired.user,OU=Test Accounts,OU=Corp,DC=corp,DC=example",
    }
