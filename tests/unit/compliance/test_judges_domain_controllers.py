# SPDX-License-Identifier: GPL-3.0-or-later
"""Controls of domain controllers: each on what passes, fails and cannot be known."""

from __future__ import annotations

import base64
import copy
import hashlib
from functools import cache
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import load_one
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Unread
from ansible_collections.certlogon.core.tests.unit.compliance.judged import Case, at, check, controls, incomplete, rows
from ansible_collections.certlogon.core.tests.unit.directory import pki_samples as pki

Words = dict[str, Any]

HOST = "dc1.corp.example"
ROOT, CA, FOREIGN = pki.certificate("Root"), pki.certificate("Issuing", "Root"), pki.certificate("Foreign")
KDC, SERVER, CARD = "1.3.6.1.5.2.3.5", "1.3.6.1.5.5.7.3.1", "1.3.6.1.4.1.311.20.2.2"
ANCHORS = "FILE:/etc/samba/certlogon/anchors.pem"
CRL = "/var/lib/certlogon/crl/issuing-abababab.crl.pem"


def sha256(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()


LEAF: Words = {
    "subject": "CN=dc1.corp.example",
    "issuer": "CN=Issuing,DC=example",
    "serial": "1a2b",
    "sha256": "ab" * 32,
    "not_before": at(-24),
    "not_after": at(24 * 300),
    "dns_names": [HOST, "corp.example"],
    "purposes": [SERVER, KDC, CARD],
    "key_type": "rsa",
    "key_bits": 2048,
    "signature_hash": "sha256",
    "self_signed": False,
    "crl": ["http://ca1.corp.example/x.crl"],
    "ocsp": [],
}


@cache
def shown(*ders: bytes) -> Words:
    return {"port": 636, "tls_version": "TLSv1.3", "certificates": [pki.pem(der) for der in ders], "leaf": LEAF}


@cache
def certificate(issuer: str = "Issuing") -> bytes:
    return pki.certificate(HOST, issuer, ca=False)


def samba() -> Words:
    return {
        "expected": {"host": HOST, "domain": "corp.example", "names": [HOST, "corp.example"], "address": HOST, "kind": "samba"},
        "answers": True,
        "ldaps": shown(certificate()),
        "starttls": {**shown(certificate()), "port": 389},
        "directory": {"time": at(0), "clock_seconds": 1, "host": HOST, "domain": "corp.example"},
        "kdc": {"error": 25, "name": "KDC_ERR_PREAUTH_REQUIRED", "preauthentication": [16, 15, 2]},
        "system": {"kind": "samba", "name": "Samba 4.22.11", "running": True},
        "mapping": {"kerberos": "full", "backdating": 0, "system": "Samba 4.99"},
        "ldap_policy": {"kind": "samba", "ldap server require strong auth": "Yes"},
        "ntauth": {"hash": "sha256", "fingerprints": [sha256(CA)], "directory": [sha256(CA)]},
        "kdc_certificates": {"current": LEAF, "problems": []},
        "kdc_settings": {
            "enable_pkinit": "yes",
            "pkinit_identity": "FILE:cert.pem,key.pem",
            "pkinit_anchors": ANCHORS,
            "read_by_samba": "/etc/krb5.conf",
            "foreign": [],
        },
        "kdc_crls": {
            "checked": f"FILE:{CRL}",
            "files": [{"issuer": "CN=Issuing,DC=example", "path": CRL, "next_update": at(100), "problem": ""}],
            "ambiguous": [],
        },
        "kdc_changes": [],
    }


def windows() -> Words:
    return samba() | {
        "expected": {**samba()["expected"], "kind": "windows"},
        "system": {"kind": "windows", "name": "Windows Server 2022 20348.4171", "running": True, "role": 5},
        "mapping": {
            "kerberos": None,
            "backdating": None,
            "schannel": None,
            "build": "20348",
            "revision": 4171,
            "system": "Windows Server 2022",
        },
        "ldap_policy": {"kind": "windows", "build": "20348", "LDAPServerIntegrity": 2, "LdapEnforceChannelBinding": 2},
        "ntauth": {"hash": "sha1", "fingerprints": [load_one(CA).thumbprint]},
        "kdc_certificates": {"held": [{**LEAF, "private_key": True}]},
        "kdc_settings": {"none": "not here"},
        "kdc_crls": {"none": "not here"},
        "kdc_changes": {"none": "not here"},
    }


DOMAIN: Words = {
    "domain": {"dns": "corp.example"},
    "domain_controllers": [{"name": "DC1", "host": HOST, "dn": "CN=DC1", "site": "Default", "system": "Samba"}],
    "stores": {
        "ntauth": [{"certificates": [sha256(CA)]}],
        "root": [{"certificates": [sha256(ROOT)]}],
        "intermediate": [{"certificates": [sha256(CA)]}],
    },
    "pki_certificates": {sha256(der): {"der": base64.b64encode(der).decode()} for der in (ROOT, CA, FOREIGN)},
}


def of(start: Words, **changes: Any) -> Words:
    """The facts with some in another state: `kdc=…`, or `kdc__error=…` for a member of one."""
    facts = copy.deepcopy(start)
    for name, value in changes.items():
        fact, _dots, member = name.partition("__")
        if member:
            facts[fact][member] = value
        else:
            facts[fact] = value
    return facts


def unread(*names: str) -> Words:
    return of(samba(), **{name: Unread("root is needed", "root").words() for name in names})


def leaf(**changes: Any) -> Words:
    return of(samba(), ldaps={**shown(certificate()), "leaf": {**LEAF, **changes}})


def crl(**changes: Any) -> Words:
    return of(samba(), kdc_crls__files=[{**samba()["kdc_crls"]["files"][0], **changes}])


def domain(**changes: Any) -> dict[str, Words]:
    return {"domain": of(DOMAIN, **changes)}


def held(**changes: Any) -> Words:
    return of(windows(), kdc_certificates={"held": [{**LEAF, "private_key": True, **changes}]})


SILENT = {"problem": "dc1.corp.example:636: no connection"}
NO_LDAPS = of(samba(), ldaps=SILENT)
DEAD = of(samba(), ldaps=SILENT, answers=False, kdc={"problem": "no connection"})

CASES: dict[str, list[Case]] = {
    "dc-looked-at": [
        Case(DOMAIN, "pass", others={"domain_controller": samba()}),
        Case(DOMAIN, "unknown", "not in the inventory", {"dn": "CN=DC1"}),
        Case(DOMAIN, "unknown", "only the domain controller's ports", others={"domain_controller": of(samba(), expected__kind="none")}),
        Case({**DOMAIN, "domain_controllers": []}, "not_applicable"),
        Case({**DOMAIN, "domain_controllers": []}, "fail", "does not know it as one", {"known": []}, others={"domain_controller": samba()}),
        Case({}, "unknown", "domain_controllers"),
    ],
    "dc-certificate-served": [
        Case(samba(), "pass"),
        Case(NO_LDAPS, "fail", "does not serve LDAPS", {"problem": SILENT["problem"]}),
        Case(leaf(self_signed=True), "fail", "made for itself", {"tls": "TLSv1.3"}),
        Case(DEAD, "unknown", "does not answer at all"),
    ],
    "dc-certificate-starttls": [
        Case(samba(), "pass"),
        Case(of(samba(), starttls={"problem": "refused"}), "fail", "StartTLS is not: refused"),
        Case(of(samba(), starttls__leaf={**LEAF, "sha256": "cd" * 32}), "fail", "different certificates", {"starttls": "cd" * 32}),
        Case(NO_LDAPS, "unknown", "ldaps"),
    ],
    "dc-certificate-chain": [
        Case(samba(), "pass", others=domain()),
        Case(
            of(samba(), ldaps=shown(certificate("Foreign"))),
            "fail",
            "leads to none of the trusted roots",
            {"chain": [f"CN={HOST},DC=example", "CN=Foreign,DC=example"]},
            others=domain(),
        ),
        Case(samba(), "fail", "leads to none of the trusted roots", others=domain(stores__root=[])),
        Case(samba(), "unknown", "the domain corp.example was not looked at"),
        Case(samba(), "unknown", "hidden from the account", others=domain(stores__root=None)),
        Case(NO_LDAPS, "unknown", "ldaps", others=domain()),
    ],
    "dc-certificate-ntauth": [
        Case(samba(), "pass", others=domain()),
        Case(
            samba(),
            "fail",
            "is not in NTAuthCertificates",
            {"NTAuthCertificates": ["CN=Foreign,DC=example"], "issuer": "CN=Issuing,DC=example"},
            others=domain(stores__ntauth=[{"certificates": [sha256(FOREIGN)]}]),
        ),
        Case(samba(), "unknown", "was not looked at"),
        Case(samba(), "unknown", "hidden", others=domain(stores__ntauth=None)),
    ],
    "dc-certificate-purposes": [
        Case(samba(), "pass"),
        Case(leaf(purposes=[SERVER]), "fail", f"KDC authentication ({KDC})", {"missing": [KDC, CARD], "extended_key_usages": [SERVER]}),
        Case(leaf(purposes=None), "fail", "KDC authentication"),
        Case(leaf(purposes=["2.5.29.37.0"]), "pass"),
        Case(leaf(purposes=[KDC, SERVER]), "pass", parameters={"purposes": [KDC, SERVER]}),
        Case(NO_LDAPS, "unknown", "ldaps"),
    ],
    "dc-certificate-names": [
        Case(samba(), "pass"),
        Case(leaf(dns_names=[HOST]), "fail", "does not name corp.example", {"missing": ["corp.example"], "dns_names": [HOST]}),
        Case(NO_LDAPS, "unknown", "ldaps"),
    ],
    "dc-certificate-days-left": [
        Case(samba(), "pass"),
        Case(leaf(not_after=at(49)), "fail", "ends in 2 days", {"days_left": 2, "serial": "1a2b"}),
        Case(leaf(not_after=at(-1)), "fail", "expired"),
        Case(leaf(not_before=at(2)), "fail", "not valid before"),
        Case(leaf(not_after=at(49)), "pass", parameters={"days_left": 1}),
        Case(NO_LDAPS, "unknown", "ldaps"),
    ],
    "dc-certificate-strength": [
        Case(samba(), "pass"),
        Case(leaf(key_bits=1024), "fail", "RSA key has 1024 bits", {"key_bits": 1024}),
        Case(leaf(signature_hash="sha1"), "fail", "signed with SHA1"),
        Case(leaf(key_type="1.3.101.112", key_bits=0), "unknown", "1.3.101.112"),
        Case(NO_LDAPS, "unknown", "ldaps"),
    ],
    "dc-certificate-revocation": [
        Case(samba(), "pass"),
        Case(leaf(crl=[], ocsp=["http://ocsp"]), "pass"),
        Case(leaf(crl=[]), "fail", "does not say where", {"crl": [], "ocsp": []}),
        Case(NO_LDAPS, "unknown", "ldaps"),
    ],
    "dc-kdc-answers": [
        Case(samba(), "pass"),
        Case(of(samba(), kdc={"problem": "refused"}), "fail", "does not answer: refused", {"problem": "refused"}),
        Case(DEAD, "unknown", "does not answer at all"),
    ],
    "dc-kdc-takes-cards": [
        Case(samba(), "pass"),
        Case(of(samba(), kdc__preauthentication=[2]), "fail", "does not offer", {"preauthentication": [2]}),
        Case(of(samba(), kdc__preauthentication=None), "pass"),
        Case(of(samba(), kdc_settings__enable_pkinit="no"), "fail", "not switched on", {"enable_pkinit": "no"}),
        Case(of(samba(), kdc_settings={"foreign": [], "read_by_samba": ""}), "fail", "not switched on"),
        Case(of(samba(), kdc_settings__pkinit_identity=""), "fail", "names no certificate"),
        Case(of(samba(), kdc_settings__foreign=["enable-pkinit = no"]), "fail", "several settings"),
        Case(of(samba(), kdc_certificates__problems=["its key is missing"]), "fail", "its key is missing"),
        Case(windows(), "pass"),
        Case(held(purposes=[SERVER, CARD]), "fail", f"KDC authentication ({KDC})"),
        Case(held(private_key=False), "fail", "no certificate with a key", {"certificates": []}),
        Case(held(not_after=at(-1)), "fail", "in force"),
        Case(of(windows(), system__running=False), "fail", "does not run"),
        Case(unread("kdc_certificates"), "unknown", "kdc_certificates: root is needed"),
        Case(unread("kdc_settings"), "unknown", "kdc_settings"),
    ],
    "dc-kdc-authorities": [
        Case(samba(), "pass", others=domain()),
        Case(windows(), "pass", others=domain()),
        Case(
            of(samba(), ntauth__fingerprints=[sha256(CA), sha256(FOREIGN)]),
            "fail",
            "believes 1 authorities that are not",
            {"not_in_NTAuthCertificates": [sha256(FOREIGN)]},
            others=domain(),
        ),
        Case(
            of(windows(), ntauth__fingerprints=[]),
            "fail",
            "does not believe CN=Issuing",
            {"missing": ["CN=Issuing,DC=example"]},
            others=domain(),
        ),
        Case(unread("ntauth"), "unknown", "ntauth", others=domain()),
        Case(samba(), "unknown", "was not looked at"),
    ],
    "dc-kdc-crls": [
        Case(samba(), "pass"),
        Case(of(samba(), kdc_crls__checked=""), "fail", "revoked cards log on"),
        Case(crl(problem="expired"), "fail", "is expired: no card logs on"),
        Case(crl(problem="missing", next_update=""), "fail", "is missing"),
        Case(crl(next_update=at(-1)), "fail", "has ended", {"hours_left": -1.0}),
        Case(crl(next_update=at(3)), "fail", "ends in 3 hours", {"hours_left": 3.0, "issuer": "CN=Issuing,DC=example"}),
        Case(crl(path="/elsewhere.pem"), "fail", "does not ask the CRL"),
        Case(windows(), "not_applicable"),
        Case(unread("kdc_crls"), "unknown", "kdc_crls"),
    ],
    "dc-kdc-crls-distinct": [
        Case(samba(), "pass"),
        Case(of(samba(), kdc_crls__ambiguous=["CN=Issuing"]), "fail", "several keys of CN=Issuing", {"authorities": ["CN=Issuing"]}),
        Case(windows(), "not_applicable"),
        Case(unread("kdc_crls"), "unknown", "kdc_crls"),
    ],
    "dc-kdc-current": [
        Case(samba(), "pass"),
        Case(
            of(samba(), kdc_changes=["/etc/krb5.conf"]),
            "fail",
            "not restarted since /etc/krb5.conf changed",
            {"changed": ["/etc/krb5.conf"]},
        ),
        Case(windows(), "not_applicable"),
        Case(unread("kdc_changes"), "unknown", "kdc_changes"),
    ],
    "dc-esc10-binding": [
        Case(samba(), "pass"),
        Case(of(samba(), mapping__kerberos="compatibility"), "fail", "mode compatibility"),
        Case(of(samba(), mapping__kerberos=None), "unknown", "has no setting for strong mappings"),
        Case(windows(), "pass"),
        Case(of(windows(), mapping__kerberos=0), "pass"),
        Case(of(windows(), mapping__kerberos=0, mapping__revision=3207), "fail", "not at all", {"StrongCertificateBindingEnforcement": 0}),
        Case(of(windows(), mapping__kerberos=1, mapping__revision=887), "fail", "compatibility mode"),
        Case(of(windows(), mapping__kerberos=2, mapping__revision=887), "pass"),
        Case(of(windows(), mapping__revision=3207), "pass"),
        Case(of(windows(), mapping__revision=887), "fail", "takes weak mappings then"),
        Case(of(windows(), mapping__build="9600"), "unknown", "not known here"),
        Case(of(windows(), mapping__build="28000", mapping__revision=None), "pass"),
        Case(unread("mapping"), "unknown", "mapping"),
    ],
    "dc-esc10-schannel": [
        Case(windows(), "pass"),
        Case(of(windows(), mapping__schannel=0x18), "pass"),
        Case(
            of(windows(), mapping__schannel=0x1F),
            "fail",
            "user principal name",
            {"CertificateMappingMethods": "0x1f", "weak": ["subject and issuer", "issuer", "user principal name"]},
        ),
        Case(samba(), "not_applicable"),
        Case({**unread("mapping"), "system": windows()["system"]}, "unknown", "mapping"),
    ],
    "dc-backdating": [
        Case(samba(), "pass"),
        Case(of(samba(), mapping__backdating=None), "not_applicable"),
        Case(windows(), "pass"),
        Case(of(windows(), mapping__backdating=31536000), "pass"),
        Case(
            of(windows(), mapping__backdating=31536000, mapping__revision=3207),
            "fail",
            "older than their account",
            {"CertificateBackdatingCompensation": 31536000},
        ),
        Case(of(windows(), mapping__revision=3207), "pass"),
        Case(unread("mapping"), "unknown", "mapping"),
    ],
    "dc-ldap-signing": [
        Case(samba(), "pass"),
        Case(of(samba(), ldap_policy={"kind": "samba", "ldap server require strong auth": "No"}), "fail", "without encryption"),
        Case(windows(), "pass"),
        Case(of(windows(), ldap_policy__LDAPServerIntegrity=1), "fail", "not signed", {"LDAPServerIntegrity": 1}),
        Case(of(windows(), ldap_policy={"kind": "windows"}), "unknown", "nothing is set"),
        Case(unread("ldap_policy"), "unknown", "ldap_policy"),
    ],
    "dc-ldap-channel-binding": [
        Case(samba(), "pass"),
        Case(
            of(samba(), ldap_policy={"kind": "samba", "ldap server require strong auth": "allow_sasl_over_tls"}),
            "fail",
            "is taken",
        ),
        Case(windows(), "pass"),
        Case(of(windows(), ldap_policy__LdapEnforceChannelBinding=1), "fail", "only asked of clients", {"LdapEnforceChannelBinding": 1}),
        Case(of(windows(), ldap_policy__LdapEnforceChannelBinding=0), "fail", "is not asked for"),
        Case(of(windows(), ldap_policy={"kind": "windows"}), "unknown", "nothing is set"),
        Case(unread("ldap_policy"), "unknown", "ldap_policy"),
    ],
    "dc-clock": [
        Case(samba(), "pass"),
        Case(of(samba(), directory__clock_seconds=-200), "fail", "200 seconds behind", {"clock_seconds": -200}),
        Case(of(samba(), directory__clock_seconds=200), "fail", "200 seconds ahead of"),
        Case(unread("directory"), "unknown", "directory"),
    ],
}


@pytest.mark.parametrize(("control", "case"), rows(CASES))
def test_verdicts(control: str, case: Case) -> None:
    check(control, case)


def test_every_control_has_its_cases() -> None:
    assert incomplete("40-domain_controllers", CASES) == []


def test_nothing_was_read() -> None:
    """Where the domain controller was not looked at, nothing passes and nothing fails."""
    for control in controls("40-domain_controllers"):
        check(control, Case({}, "unknown"))
