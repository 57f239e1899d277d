# SPDX-License-Identifier: GPL-3.0-or-later
"""Controls of certification authorities: each on what passes, fails and cannot be known."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Unread
from ansible_collections.certlogon.core.tests.unit.compliance.judged import Case, at, check, controls, incomplete, rows

Words = dict[str, Any]
Change = Callable[[Words], Any]

CERTIFICATE: Words = {
    "subject": "CN=Corp Issuing CA,DC=corp,DC=example",
    "issuer": "CN=Corp Root CA,DC=corp,DC=example",
    "serial": "1a2b",
    "sha256": "ab" * 32,
    "not_before": at(-24 * 365),
    "not_after": at(24 * 365 * 9),
    "key_type": "rsa",
    "key_bits": 4096,
    "signature_hash": "sha256",
    "self_signed": False,
}
CERTSRV: Words = {
    "site": "Default Web Site",
    "path": "/CertSrv",
    "schemes": ["http", "https"],
    "require_ssl": True,
    "windows": True,
    "basic": False,
    "token_checking": "Require",
    "providers": ["Negotiate", "NTLM"],
}
LDAP = "ldap:///CN=<CATruncatedName>,CN=CDP"
GOOD: Words = {
    "ca": {"name": "Corp Issuing CA", "fqdn": "ca1.corp.example", "type": "enterprise_subordinate", "root": False, "enterprise": True},
    "service": {"status": "Running", "start_type": "Automatic"},
    "edit_flags": {"value": 0x11014E, "flags": ["request_extension_list"]},
    "interface_flags": {"value": 0x641, "flags": ["enforce_encrypted_requests", "enforce_encrypted_admin"]},
    "disabled_extensions": [],
    "audit_filter": {
        "value": 127,
        "flags": ["start_stop", "backup_restore", "requests", "revocation", "security", "key_archival", "configuration"],
    },
    "request_disposition": 1,
    "validity": "2 years",
    "crl": {"period": "1 week", "overlap": "3 days", "delta_period": "1 day", "delta_overlap": "12 hours"},
    "places": {
        "cdp": [
            {"url": r"C:\Windows\CertEnroll\x.crl", "flags": ["publish_base", "publish_delta"]},
            {"url": LDAP, "flags": ["publish_base", "publish_delta", "include_in_certificates", "include_freshest"]},
            {"url": "http://ca1.corp.example/CertEnroll/x.crl", "flags": ["include_in_certificates", "include_freshest"]},
        ],
        "aia": [{"url": "http://ca1.corp.example/CertEnroll/x.crt", "flags": ["include_in_certificates"]}],
    },
    "key": {"provider": "RSA#Microsoft Software Key Storage Provider"},
    "hash": "SHA256",
    "rights": [
        {"sid": "S-1-5-32-544", "principal": "BUILTIN\\Administrators", "rights": ["manage_ca", "manage_certificates"]},
        {"sid": "S-1-5-11", "principal": "NT AUTHORITY\\Authenticated Users", "rights": ["enroll"]},
    ],
    "restrictions": {
        "officers": None,
        "agents": [{"agent": "CORP\\Desk", "allow": True, "templates": ["Card"], "subjects": ["CORP\\Staff"]}],
    },
    "certificates": [CERTIFICATE],
    "waits": False,
    "aia": [{"url": "http://ca1.corp.example/CertEnroll/x.crt", "sha256": ["ab" * 32], "error": ""}],
    "crls": [
        {
            "name": "Corp Issuing CA.crl",
            "kind": "base",
            "number": 7,
            "this_update": at(-24),
            "next_update": at(24 * 9),
            "next_publish": at(24 * 6),
            "urls": ["http://ca1.corp.example/CertEnroll/x.crl"],
        },
        {
            "name": "Corp Issuing CA+.crl",
            "kind": "delta",
            "number": 8,
            "this_update": at(-1),
            "next_update": at(35),
            "next_publish": at(23),
            "urls": ["http://ca1.corp.example/CertEnroll/x+.crl"],
        },
    ],
    "web_enrollment": {
        "configured": True,
        "fqdn": "ca1.corp.example",
        "clock_seconds": 0,
        "certificate": {
            "thumbprint": "AA",
            "issuer": "CN=x",
            "names": ["ca1.corp.example"],
            "not_before": at(-24),
            "not_after": at(24 * 300),
        },
        "crl_over_tls_only": False,
        "double_escaping": True,
    },
    "windows": {"name": "Microsoft Windows Server 2022 Standard", "build": "20348", "revision": 4171},
    "yubihsm": {"configured": False, "password": False},
    "web": [CERTSRV],
    "backups": [{"path": r"D:\Backup\Corp Issuing CA.p12", "written": at(-24 * 30)}],
}
DOMAIN: Words = {
    "enrollment_services": [{"name": "Corp Issuing CA", "templates": ["Card", "Desk"]}],
    "templates": [
        {"name": "Card", "words": {"extended_key_usages": ["smart_card_logon"], "validity": "1y"}},
        {"name": "Desk", "words": {"extended_key_usages": ["certificate_request_agent"], "validity": "1y"}},
        {"name": "Elsewhere", "words": {"extended_key_usages": ["certificate_request_agent"], "validity": "10y"}},
    ],
    "anybody": {"S-1-5-21-1-2-3-1105": "Domain Users is a member"},
}


def of(**changes: Any) -> Words:
    """The good facts with some in another state: `rights=…`, or `crl__period=…` for a member of one."""
    facts = copy.deepcopy(GOOD)
    for name, value in changes.items():
        fact, _dots, member = name.partition("__")
        if member:
            facts[fact][member] = value
        else:
            facts[fact] = value
    return facts


def unread(*names: str) -> Words:
    return of(**{name: Unread("the registry says nothing", "more rights").words() for name in names})


def passing(**others: Any) -> Case:
    return Case(GOOD, "pass", others=others)


def endpoint(**changes: Any) -> Words:
    return of(web=[{**CERTSRV, **changes}])


def certificate(**changes: Any) -> Words:
    return of(certificates=[{**CERTIFICATE, **changes}])


def crl(index: int = 0, **changes: Any) -> Words:
    facts = copy.deepcopy(GOOD)
    facts["crls"][index].update(changes)
    return facts


def place(kind: str, url: str, *flags: str) -> Words:
    return of(**{f"places__{kind}": [{"url": url, "flags": list(flags)}]})


def manager(sid: str, principal: str, *rights: str) -> Words:
    return of(rights=[*GOOD["rights"], {"sid": sid, "principal": principal, "rights": list(rights)}])


HELPDESK = manager("S-1-5-21-1-2-3-1105", "CORP\\Helpdesk", "manage_certificates")
STANDALONE = {**GOOD["ca"], "type": "standalone_root", "enterprise": False, "root": True}
UNPATCHED = {"name": "Microsoft Windows Server 2022 Standard", "build": "20348", "revision": 887}
NO_FLAG = {"value": 0x441, "flags": ["enforce_encrypted_admin"]}

SERVICES: Words = {
    "domain": {"dns": "corp.example"},
    "enrollment_services": [{"name": "Corp Issuing CA", "host": "ca1.corp.example", "templates": ["Card"]}],
}

CASES: dict[str, list[Case]] = {
    "authority-looked-at": [
        Case(SERVICES, "pass", others={"certification_authority": GOOD}),
        Case(SERVICES, "unknown", "nothing is known of its host ca1.corp.example", {"dNSHostName": "ca1.corp.example"}),
        Case(SERVICES, "unknown", "nothing is known", others={"certification_authority": unread("ca")}),
        Case(
            {**SERVICES, "enrollment_services": []},
            "fail",
            "does not offer this enterprise CA",
            {"host": "ca1.corp.example"},
            others={"certification_authority": GOOD},
        ),
        Case({**SERVICES, "enrollment_services": []}, "not_applicable", others={"certification_authority": of(ca=STANDALONE)}),
        Case({}, "unknown", "enrollment_services"),
    ],
    "authority-esc6": [
        passing(),
        Case(
            of(edit_flags={"value": 0x15014E, "flags": ["attribute_subject_alt_name2"]}),
            "fail",
            "name another account",
            {"EditFlags": "0x15014e"},
        ),
        Case(unread("edit_flags"), "unknown", "edit_flags: the registry says nothing"),
    ],
    "authority-esc7": [
        passing(),
        Case(
            manager("S-1-5-11", "Authenticated Users", "manage_ca"),
            "fail",
            "change every setting",
            {"sid": "S-1-5-11", "rights": ["manage_ca"], "restricted_officer": False},
        ),
        Case(manager("S-1-5-21-1-2-3-513", "CORP\\Domain Users", "manage_certificates", "read"), "fail", "issue what was denied"),
        Case(HELPDESK, "pass"),
        Case(HELPDESK, "fail", "(Domain Users is a member)", others={"domain": DOMAIN}),
        Case(HELPDESK, "fail", "is named as unprivileged", parameters={"unprivileged": ["corp\\helpdesk"]}),
        Case(unread("rights"), "unknown", "rights"),
        Case(of(rights=[]), "not_applicable"),
    ],
    "authority-esc8": [
        passing(),
        Case(endpoint(require_ssl=False), "fail", "over plain HTTP", {"require_ssl": False, "schemes": ["http", "https"]}),
        Case(endpoint(token_checking="None"), "fail", "extended protection is off", {"token_checking": "None"}),
        Case(endpoint(token_checking="Allow"), "fail", "only asked of clients that have it"),
        Case(endpoint(path="/Corp Issuing CA_CES_Kerberos/service.svc", token_checking="None"), "fail", "extended protection is off"),
        Case(endpoint(path="/CertSrv/mscep_admin", require_ssl=False), "fail", "over plain HTTP"),
        Case(endpoint(require_ssl=False, schemes=["https"]), "pass"),
        Case(endpoint(windows=False, token_checking="None"), "pass"),
        Case(endpoint(path="/ADPolicyProvider_CEP_Kerberos", token_checking="None"), "not_applicable"),
        Case(of(web=[]), "not_applicable"),
        Case(unread("web"), "unknown", "web"),
    ],
    "authority-web-passwords": [
        Case(endpoint(basic=True), "pass"),
        Case(endpoint(basic=True, require_ssl=False), "fail", "over plain HTTP", {"basic": True}),
        Case(endpoint(), "not_applicable"),
        Case(unread("web"), "unknown", "web"),
    ],
    "authority-web-certificate": [
        passing(),
        Case(of(web_enrollment__certificate=None), "fail", "No certificate is bound"),
        Case(of(web_enrollment__certificate={**GOOD["web_enrollment"]["certificate"], "not_after": at(-1)}), "fail", "expired"),
        Case(
            of(web_enrollment__certificate={**GOOD["web_enrollment"]["certificate"], "not_after": at(49)}),
            "fail",
            "in 2 days",
            {"days_left": 2},
        ),
        Case(of(web_enrollment__certificate={**GOOD["web_enrollment"]["certificate"], "names": ["old"]}), "fail", "does not name"),
        Case(of(web_enrollment__configured=False), "not_applicable"),
        Case(unread("web_enrollment"), "unknown", "web_enrollment"),
    ],
    "authority-esc11": [
        passing(),
        Case(unread("windows"), "pass"),
        Case(of(interface_flags=NO_FLAG), "fail", "asks for encryption all the same", {"InterfaceFlags": "0x441"}),
        Case(of(interface_flags=NO_FLAG, windows=UNPATCHED), "fail", "is not installed"),
        Case({**unread("windows"), "interface_flags": NO_FLAG}, "fail", "whether it is installed is not known"),
        Case(of(interface_flags=NO_FLAG, windows={"name": "x", "build": "9600", "revision": 1}), "fail", "is not known"),
        Case(
            of(interface_flags=NO_FLAG, windows={"name": "x", "build": "26100", "revision": None}),
            "fail",
            "asks for encryption all the same",
        ),
        Case(unread("interface_flags"), "unknown", "interface_flags"),
    ],
    "authority-esc12": [
        passing(),
        Case(
            of(key={"provider": "RSA#YubiHSM Key Storage Provider"}, yubihsm={"configured": True, "password": True}),
            "fail",
            "in its registry",
            {"AuthKeysetPassword": "there is one"},
        ),
        Case(of(key={"provider": "RSA#YubiHSM Key Storage Provider"}), "pass"),
        Case(of(key={"provider": "nCipher Security World Key Storage Provider"}), "unknown", "nCipher"),
        Case({**unread("yubihsm"), "key": {"provider": "RSA#YubiHSM Key Storage Provider"}}, "unknown", "yubihsm"),
    ],
    "authority-esc16": [
        passing(),
        Case(
            of(disabled_extensions=["1.3.6.1.4.1.311.25.2"]),
            "fail",
            "names the SID",
            {"DisableExtensionList": ["1.3.6.1.4.1.311.25.2"]},
        ),
        Case(of(disabled_extensions=["1.3.6.1.5.5.7.48.1.5"]), "pass"),
        Case(unread("disabled_extensions"), "unknown", "disabled_extensions"),
    ],
    "authority-agents-restricted": [
        passing(),
        Case(
            of(restrictions__agents=None),
            "fail",
            "Desk can enroll on behalf of everybody",
            {"templates": ["Desk"]},
            others={"domain": DOMAIN},
        ),
        Case(
            of(restrictions__agents=[{"agent": "CORP\\Desk", "allow": True}]), "fail", "on behalf of everybody", others={"domain": DOMAIN}
        ),
        Case(
            of(restrictions__agents=None),
            "pass",
            others={"domain": {**DOMAIN, "enrollment_services": [{"name": "Corp Issuing CA", "templates": ["Card"]}]}},
        ),
        Case(of(restrictions__agents=None, ca=STANDALONE), "pass"),
        Case(of(restrictions__agents=None), "unknown", "the domain's templates were not read"),
        Case(unread("restrictions"), "unknown", "restrictions"),
    ],
    "authority-request-disposition": [
        passing(),
        Case(of(request_disposition=0x101), "fail", "holds every request back", {"RequestDisposition": "0x101"}),
        Case(of(request_disposition=2), "fail", "denies every request"),
        Case(of(request_disposition=7), "fail", "not documented"),
        Case(of(ca=STANDALONE, request_disposition=0x101), "pass"),
        Case(of(ca=STANDALONE, request_disposition=1), "fail", "with the names that it asks for"),
        Case(unread("request_disposition"), "unknown", "request_disposition"),
    ],
    "authority-audit-filter": [
        passing(),
        Case(of(audit_filter={"value": 1, "flags": ["start_stop"]}), "fail", "does not tell of backup_restore", {"AuditFilter": 1}),
        Case(unread("audit_filter"), "unknown", "audit_filter"),
    ],
    "authority-key-strength": [
        passing(),
        Case(certificate(key_bits=1024), "fail", "RSA key has 1024 bits, less than 2048", {"key_bits": 1024, "serial": "1a2b"}),
        Case(certificate(), "fail", "less than 8192", parameters={"rsa_bits": 8192}),
        Case(certificate(key_type="ec", key_bits=384), "pass"),
        Case(certificate(key_type="1.3.101.112", key_bits=0), "unknown", "1.3.101.112"),
        Case(certificate(key_bits=1024, not_after=at(-1)), "not_applicable"),
        Case(unread("certificates"), "unknown", "certificates"),
    ],
    "authority-hash": [
        passing(),
        Case(of(hash="SHA1"), "fail", "signed with SHA1", {"CNGHashAlgorithm": "SHA1"}),
        Case(certificate(signature_hash="sha1"), "fail", "certificate is signed with SHA1", {"signature_hash": "sha1"}),
        Case(certificate(signature_hash="sha1", self_signed=True), "pass"),
        Case(unread("hash"), "unknown", "hash"),
    ],
    "authority-days-left": [
        passing(),
        Case(certificate(not_after=at(24 * 100 + 1)), "fail", "ends in 100 days", {"days_left": 100}),
        Case(certificate(not_after=at(-1)), "fail", "expired"),
        Case(of(certificates=[{**CERTIFICATE, "not_after": at(-99)}, CERTIFICATE]), "pass"),
        Case(of(certificates=[]), "not_applicable"),
        Case(unread("certificates"), "unknown", "certificates"),
    ],
    "authority-outlives": [
        passing(),
        Case(certificate(not_after=at(24 * 600)), "fail", "before the 730 days that it may last (ValidityPeriod)", {"days_left": 600}),
        Case(certificate(not_after=at(24 * 600)), "pass", others={"domain": DOMAIN}),
        Case(certificate(not_after=at(24 * 200)), "fail", "before the 365 days", {"longest": "Desk"}, others={"domain": DOMAIN}),
        Case(unread("validity"), "unknown", "validity"),
    ],
    "authority-issued-validity": [
        passing(),
        Case(of(validity="10 years"), "fail", "longer than 1830 days", {"ValidityPeriod": "10 years"}),
        Case(of(validity="0 years"), "fail", "last 0 years"),
        Case(unread("validity"), "unknown", "validity"),
    ],
    "authority-crl-periods": [
        passing(),
        Case(of(crl__period="0 weeks"), "fail", "publishes no CRL by itself"),
        Case(of(crl__period="6 months"), "fail", "lasts 6 months", {"period": "6 months"}),
        Case(of(crl__period="6 months", crl__delta_period="0 days", ca={**GOOD["ca"], "root": True}), "pass"),
        Case(of(crl__delta_period="2 weeks"), "fail", "no shorter than the base CRL"),
        Case(of(crl__period=None), "unknown", "no period"),
        Case(unread("crl"), "unknown", "crl"),
    ],
    "authority-crl-overlap": [
        passing(),
        Case(of(crl__overlap="0 hours"), "pass"),
        Case(of(crl__overlap="0 hours", crl__period="1 day"), "fail", "ends 2.4 hours later", {"overlap_hours": 2.4}),
        Case(of(crl__overlap="2 hours"), "fail", "ends 2.0 hours later"),
        Case(of(crl__overlap="2 days", crl__period="6 hours"), "fail", "ends 6.0 hours later"),
        Case(of(crl__period=None), "unknown", "no period"),
    ],
    "authority-crl-newest": [
        passing(),
        Case(of(crls=[]), "fail", "no CRL"),
        Case(crl(next_update=at(-1)), "fail", "ended", {"hours_left": -1.0, "number": 7}),
        Case(crl(next_publish=at(-3)), "fail", "was not published"),
        Case(crl(next_publish=at(-1)), "pass"),
        Case(crl(next_update=None), "fail", "has no end"),
        Case(crl(this_update=at(1)), "fail", "begins in the future"),
        Case(crl(1, next_update=at(-1)), "fail", "ended"),
        Case(unread("crls"), "unknown", "crls"),
    ],
    "authority-crl-delta-names": [
        passing(),
        Case(
            of(web_enrollment__double_escaping=False),
            "fail",
            "allowDoubleEscaping",
            {"urls": ["http://ca1.corp.example/CertEnroll/x+.crl"]},
        ),
        Case({**of(web_enrollment__double_escaping=False), "crls": GOOD["crls"][:1]}, "not_applicable"),
        Case(unread("crls"), "unknown", "crls"),
    ],
    "authority-cdp-http": [
        passing(),
        Case(place("cdp", LDAP, "publish_base", "include_in_certificates"), "fail", "no HTTP address", {"include_in_certificates": [LDAP]}),
        Case(place("cdp", "https://x/x.crl", "include_in_certificates"), "fail", "no HTTP address"),
        Case(of(places__cdp=[*GOOD["places"]["cdp"], {"url": "file://x/x.crl", "flags": ["include_in_certificates"]}]), "fail", "file://x"),
        Case(of(places__cdp=[]), "fail", "do not say where"),
        Case(unread("places"), "unknown", "places"),
    ],
    "authority-aia-http": [
        passing(),
        Case(place("aia", LDAP, "publish", "include_in_certificates"), "fail", "no HTTP address"),
        Case(unread("places"), "unknown", "places"),
    ],
    "authority-places-published": [
        passing(),
        Case(
            place("cdp", LDAP, "include_in_certificates"),
            "fail",
            "does not publish there (publish_base)",
            {"flags": ["include_in_certificates"]},
        ),
        Case(place("cdp", LDAP, "publish_base", "include_freshest"), "fail", "(publish_delta)"),
        Case(place("aia", LDAP, "include_in_certificates"), "fail", "(publish)"),
        Case(of(places={"cdp": [], "aia": []}), "not_applicable"),
        Case(unread("places"), "unknown", "places"),
    ],
    "authority-aia-served": [
        passing(),
        Case(of(aia=[{"url": "http://x", "sha256": [], "error": "HTTP 404"}]), "fail", "HTTP 404", {"url": "http://x"}),
        Case(of(aia=[{"url": "http://x", "sha256": ["cd" * 32], "error": ""}]), "fail", "no certificate of this CA"),
        Case(of(aia=[]), "not_applicable"),
        Case(unread("aia"), "unknown", "aia"),
    ],
    "authority-running": [
        passing(),
        Case(of(service={"status": "Stopped", "start_type": "Automatic"}), "fail", "does not run", {"status": "Stopped"}),
        Case(of(service={"status": "Running", "start_type": "Manual"}), "fail", "does not start"),
        Case(unread("service"), "unknown", "service"),
    ],
    "authority-request-waits": [
        passing(),
        Case(of(waits=True), "fail", "waits for the answer"),
        Case(unread("waits"), "unknown", "waits"),
    ],
    "authority-backup": [
        passing(),
        Case(of(backups=[]), "fail", "no backup"),
        Case(of(backups=[{"path": "x", "written": at(-24 * 500)}]), "fail", "older than its certificate"),
        Case(
            {**certificate(not_before=at(-24 * 900)), "backups": [{"path": "x", "written": at(-24 * 500)}]},
            "fail",
            "500 days old",
            {"days": 500},
        ),
        Case(unread("backups"), "unknown", "backups"),
    ],
}


@pytest.mark.parametrize(("control", "case"), rows(CASES))
def test_verdicts(control: str, case: Case) -> None:
    check(control, case)


def test_every_control_has_its_cases() -> None:
    assert incomplete("20-authority", CASES) == []


def test_nothing_was_read() -> None:
    """Where the host did not answer, nothing passes and nothing fails."""
    for control in controls("20-authority"):
        check(control, Case({}, "unknown"))
