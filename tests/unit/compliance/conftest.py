# SPDX-License-Identifier: GPL-3.0-or-later
"""A small catalogue and a rich report, made by hand and valid by the schema, for what draws or converts reports."""

from __future__ import annotations

import copy
import hashlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.compliance import judges
from ansible_collections.certlogon.core.plugins.module_utils.compliance.catalogue import Catalogue, Control, Family, Remedy, load
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Verdict

SCHEMA = Path(__file__).resolve().parents[3] / "docs/schemas/compliance-report.schema.json"
NO_COUNTS = {"pass": 0, "fail": 0, "unknown": 0, "waived": 0}
DOMAIN = {"kind": "domain", "name": "corp.example"}
OTHER = {"kind": "domain", "name": "branch.example"}
AUTHORITY = {"kind": "certification_authority", "name": "ca1.corp.example"}
CONTROLLER = {"kind": "domain_controller", "name": "dc1.corp.example"}
APPLIANCE = {"kind": "connect_secure", "name": "vpn1.corp.example"}
CRLS = {"kind": "crls", "name": "crls"}
DRIFT = {"kind": "drift", "name": "site"}
WAIVER = {"owner": "pki-team@corp.example", "reason": "the kiosk cards are replaced in March", "expires": "2027-03-31"}


def fingerprint(control: str, target: dict[str, str], subject: str) -> str:
    return hashlib.sha256("\0".join((control, target["kind"], target["name"], subject)).encode()).hexdigest()[:32]


def finding(control: str, target: dict[str, str], subject: str, message: str, status: str = "fail", **more: Any) -> dict[str, Any]:
    return {
        "subject": subject,
        "status": status,
        "message": message,
        "evidence": {},
        "right": "",
        "mend": "",
        "variables": [],
        "fingerprint": fingerprint(control, target, subject),
        "change": "",
        "waiver": None,
        "location": None,
        **more,
    }


def result(target: dict[str, str], status: str, passes: list[str] | None = None, *findings: dict[str, Any], **more: Any) -> dict[str, Any]:
    counts = dict(NO_COUNTS, **{"pass": len(passes or [])})
    for found in findings:
        counts[found["status"]] += 1
    return {
        "target": target,
        "status": status,
        "counts": counts,
        "passes": passes or [],
        "findings": list(findings),
        "listed": len(findings),
        "unlisted": [],
        "annex": "",
        **more,
    }


def control(id: str, family: str, title: str, severity: str, results: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "id": id,
        "family": family,
        "title": title,
        "why": "Who can do this is anybody in the domain.",
        "severity": severity,
        "references": [{"requirement": "C3"}],
        "remedy": {
            "text": "Set the template as the role does.",
            "role": "certlogon.core.certificate_templates",
            "variables": ["certlogon_certificate_templates"],
        },
        "not_applicable": "There is no such object.",
        "results": results,
        **more,
    }


def _certificate(use: str, name: str, issuer: str, not_after: str, target: dict[str, str], **more: Any) -> dict[str, Any]:
    return {
        "use": use,
        "name": name,
        "subject": f"CN={name}",
        "issuer": f"CN={issuer}",
        "serial": "1a2b",
        "sha256": hashlib.sha256(name.encode()).hexdigest(),
        "not_before": "2026-01-01T00:00:00Z",
        "not_after": not_after,
        "key": "RSA 2048",
        "held_by": target["name"],
        "template": "",
        "cdps": ["http://pki.corp.example/corp.crl"],
        "target": target,
        **more,
    }


def _crl(url: str, status: str, this_update: str | None, next_update: str | None, **more: Any) -> dict[str, Any]:
    return {
        "url": url,
        "name": "Corp CA",
        "issuer": "CN=Corp CA",
        "number": 42,
        "this_update": this_update,
        "next_update": next_update,
        "status": status,
        "entries": 3,
        "size": 812,
        "held_by": "pki.corp.example",
        "target": CRLS,
        **more,
    }


def _target(words: dict[str, str], error: str = "", **more: Any) -> dict[str, Any]:
    return {
        **words,
        "at": None if error else "2026-11-22T02:00:05Z",
        "ended": None if error else "2026-11-22T02:00:09Z",
        "account": "" if error else "CORP\\svc-audit",
        "servers": [] if error else [words["name"]],
        "answered": not error,
        "error": error,
        "asked": {} if error else {"ldap bind": 1, "ldap search": 14},
        **more,
    }


def _statuses(**counts: int) -> dict[str, int]:
    return {"pass": 0, "fail": 0, "unknown": 0, "not_applicable": 0, "waived": 0, **counts}


def _unanswered(control: str) -> dict[str, Any]:
    return result(OTHER, "unknown", None, finding(control, OTHER, OTHER["name"], "no domain controller answered", "unknown"))


NASTY = 'template <img src=x onerror="alert(1)"> & "Küche" ]]> =1+1'
"""A subject as an attacker who may name objects would have it."""

REPORT: dict[str, Any] = {
    "format": "certlogon-compliance-report/1",
    "run": {
        "started": "2026-11-22T02:00:03Z",
        "ended": "2026-11-22T02:00:41Z",
        "seconds": 38.2,
        "title": "Corp, every night",
        "certlogon": "0.5.0",
        "ansible_core": "2.19.14",
        "python": "3.11.7",
        "catalogue_sha256": hashlib.sha256(b"catalogue").hexdigest(),
        "waivers": {"path": "waivers.yml", "sha256": hashlib.sha256(b"waivers").hexdigest()},
        "baseline": {"path": "last-night.json", "at": "2026-11-21T02:00:44Z"},
        "pseudonyms": False,
        "stand_ins": ["The appliance vpn1.corp.example stands in for a Connect Secure."],
    },
    "targets": [
        _target(DOMAIN),
        _target(OTHER, "no domain controller answered: dc.branch.example:389 does not answer: timed out"),
        _target(AUTHORITY, asked={"winrm adcs_state": 1}),
        _target(CONTROLLER, asked={"tls handshake": 3}),
        _target(APPLIANCE, account="admin (realm Admin Users)", asked={"https GET": 31, "https POST login": 1}),
        _target(CRLS, account="", servers=["pki.corp.example"], asked={"http GET": 2}),
        _target(DRIFT, account="", servers=[], asked={}),
        _target({"kind": "waivers", "name": "waivers.yml"}, account="", servers=[], asked={}),
    ],
    "summary": {
        "counts": _statuses(**{"pass": 4, "fail": 6, "unknown": 4, "not_applicable": 1, "waived": 1}),
        "findings": {"fail": 1208, "unknown": 5, "waived": 1},
        "by_severity": {
            "critical": _statuses(fail=1, unknown=1),
            "high": _statuses(**{"pass": 1, "fail": 3, "unknown": 3}),
            "medium": _statuses(**{"pass": 2, "fail": 2, "waived": 1}),
            "low": _statuses(**{"pass": 1, "not_applicable": 1}),
            "info": _statuses(),
        },
        "by_family": {
            "10-templates": {"title": "Certificate templates", "score": 0.0, "counts": _statuses(fail=1, unknown=1, waived=1)},
            "20-authority": {"title": "Certification authorities", "score": 100.0, "counts": _statuses(**{"pass": 1, "not_applicable": 1})},
            "40-domain_controllers": {"title": "Domain controllers", "score": 20.0, "counts": _statuses(**{"pass": 1, "unknown": 1})},
            "50-mappings": {"title": "Mapping of accounts", "score": 0.0, "counts": _statuses(fail=1, unknown=1)},
            "70-crls": {"title": "Revocation lists", "score": 0.0, "counts": _statuses(fail=1)},
            "80-connect_secure": {
                "title": "Connect Secure appliances",
                "score": 35.7,
                "counts": _statuses(**{"pass": 1, "fail": 1, "unknown": 1}),
            },
            "90-drift": {"title": "Drift", "score": 0.0, "counts": _statuses(fail=1)},
            "95-waivers": {"title": "Waivers", "score": 28.6, "counts": _statuses(**{"pass": 1, "fail": 1})},
        },
        "score": 20.4,
        "fail_on": "high",
        "verdict": "fail",
        "reasons": [
            "1 critical failure: template-esc1 (corp.example)",
            "3 high failures: crl-expired (crls), account-weak-mapping (corp.example), waiver-expired (waivers.yml)",
        ],
        "new": 2,
        "gone": 1,
        "still": 3,
    },
    "controls": [
        control(
            "template-esc1",
            "10-templates",
            "Nobody without privileges can enroll as somebody else",
            "critical",
            [
                result(
                    DOMAIN,
                    "fail",
                    ["template CorpSmartcardLogon", "template CorpSmartcardUser"],
                    finding(
                        "template-esc1",
                        DOMAIN,
                        "template LegacyWeb",
                        "Authenticated Users may enroll for a certificate for logon and choose the subject themselves.",
                        evidence={
                            "msPKI-Certificate-Name-Flag": 1,
                            "pKIExtendedKeyUsage": ["1.3.6.1.5.5.7.3.2"],
                            "enroll": ["NT AUTHORITY\\Authenticated Users (S-1-5-11)"],
                        },
                        variables=["certlogon_certificate_templates"],
                        change="new",
                        location={"file": "group_vars/domains/templates.yml", "line": 12},
                    ),
                    finding("template-esc1", DOMAIN, NASTY, "Everyone may <b>enroll</b>.", change="still", evidence={"cn": NASTY}),
                ),
                _unanswered("template-esc1"),
            ],
            references=[{"esc": "ESC1"}, {"requirement": "C3"}, {"document": "Certified Pre-Owned", "url": "https://specterops.io/"}],
        ),
        control(
            "template-key-size",
            "10-templates",
            "Keys have 2048 bits or more",
            "medium",
            [
                result(
                    DOMAIN,
                    "waived",
                    ["template CorpSmartcardLogon"],
                    finding(
                        "template-key-size",
                        DOMAIN,
                        "template Kiosk",
                        "Keys of 1024 bits are accepted.",
                        "waived",
                        evidence={"msPKI-Minimal-Key-Size": 1024},
                        waiver=WAIVER,
                    ),
                )
            ],
        ),
        control(
            "authority-audit-filter",
            "20-authority",
            "The CA writes all events to the audit log",
            "low",
            [result(AUTHORITY, "pass", ["CA Corp CA"])],
            remedy={
                "text": "Set the audit filter.",
                "role": "certlogon.core.certification_authority",
                "variables": ["certlogon_authority_settings"],
            },
        ),
        control(
            "authority-esc8",
            "20-authority",
            "Web enrollment needs TLS with channel binding",
            "low",
            [result(AUTHORITY, "not_applicable")],
            not_applicable="There is no web enrollment.",
        ),
        control(
            "dc-certificate-days-left",
            "40-domain_controllers",
            "Certificates of domain controllers last for weeks",
            "medium",
            [result(CONTROLLER, "pass", ["certificate dc1.corp.example"])],
        ),
        control(
            "dc-strong-mapping-enforced",
            "40-domain_controllers",
            "Weak mappings are refused",
            "high",
            [
                result(
                    CONTROLLER,
                    "unknown",
                    None,
                    finding(
                        "dc-strong-mapping-enforced",
                        CONTROLLER,
                        "dc1.corp.example",
                        "StrongCertificateBindingEnforcement: the registry cannot be read from here",
                        "unknown",
                        right="read HKLM\\SYSTEM\\CurrentControlSet\\Services\\Kdc by WinRM (group Remote Management Users)",
                    ),
                )
            ],
            references=[{"kb": "KB5014754"}, {"esc": "ESC10"}],
            remedy={"text": "A person has to set it.", "role": "", "variables": []},
        ),
        control(
            "account-weak-mapping",
            "50-mappings",
            "No account is mapped by names alone",
            "high",
            [
                result(
                    DOMAIN,
                    "fail",
                    None,
                    *(
                        finding(
                            "account-weak-mapping",
                            DOMAIN,
                            f"CN=User {number},OU=Staff,DC=corp,DC=example",
                            "The mapping by subject and issuer names is weak.",
                            evidence={"altSecurityIdentities": [f"X509:<I>CN=Corp CA<S>CN=User {number}"]},
                            change="still",
                        )
                        for number in range(1, 21)
                    ),
                    counts={"pass": 48799, "fail": 1201, "unknown": 0, "waived": 0},
                    listed=20,
                    unlisted=[fingerprint("account-weak-mapping", DOMAIN, f"CN=User {number}") for number in range(21, 24)],
                    annex="findings.csv",
                ),
                _unanswered("account-weak-mapping"),
            ],
            references=[{"esc": "ESC14"}, {"kb": "KB5014754"}],
        ),
        control(
            "crl-expired",
            "70-crls",
            "Every CRL is valid for longer than it takes to publish the next",
            "high",
            [
                result(
                    CRLS,
                    "fail",
                    ["http://pki.corp.example/corp.crl"],
                    finding(
                        "crl-expired",
                        CRLS,
                        "http://pki.corp.example/root.crl",
                        "The CRL of Corp Root CA ended 3 hours ago; nobody who checks revocation believes the CA below it.",
                        evidence={"nextUpdate": "2026-11-21T23:00:00Z", "hours_left": -3.0},
                        mend="Publish a CRL on the offline root, and bring it here.",
                        change="new",
                    ),
                )
            ],
        ),
        control(
            "appliance-crl-checking",
            "80-connect_secure",
            "The appliance checks users' certificates against CRLs",
            "high",
            [result(APPLIANCE, "pass", ["CA Corp CA"])],
        ),
        control(
            "appliance-certificate-days-left",
            "80-connect_secure",
            "The device certificate lasts for weeks",
            "medium",
            [
                result(
                    APPLIANCE,
                    "fail",
                    None,
                    finding(
                        "appliance-certificate-days-left",
                        APPLIANCE,
                        "certificate vpn.corp.example",
                        "The device certificate ends in 9 days.",
                        evidence={"days_left": 9, "not_after": "2026-12-01T00:00:00Z"},
                        location={"file": "hosts.yml", "line": 31},
                    ),
                )
            ],
        ),
        control(
            "appliance-realm-server",
            "80-connect_secure",
            "Every realm asks for a certificate",
            "high",
            [
                result(
                    APPLIANCE,
                    "unknown",
                    ["realm Users"],
                    finding(
                        "appliance-realm-server", APPLIANCE, "realm Partners", "The realm may not be read.", "unknown", right="Admin Roles"
                    ),
                )
            ],
        ),
        control(
            "drift-site",
            "90-drift",
            "A run of site would change nothing",
            "medium",
            [
                result(
                    DRIFT,
                    "fail",
                    ["Publish trusted certificates on corp.example"],
                    finding(
                        "drift-site",
                        DRIFT,
                        "policy Certlogon - Smart Card Logon on corp.example",
                        "site would change this policy.",
                        evidence={"diff": "--- before\n+++ after\n-ScRemoveOption: '0'\n+ScRemoveOption: '1'\n"},
                    ),
                )
            ],
        ),
        control(
            "waiver-expired",
            "95-waivers",
            "No waiver has expired",
            "high",
            [
                result(
                    {"kind": "waivers", "name": "waivers.yml"},
                    "fail",
                    ["template-key-size: template Kiosk"],
                    finding(
                        "waiver-expired",
                        {"kind": "waivers", "name": "waivers.yml"},
                        "dc-ldaps: dc9.corp.example",
                        "The waiver of web-team@corp.example expired on 2026-10-01.",
                        evidence={"expires": "2026-10-01", "owner": "web-team@corp.example"},
                    ),
                )
            ],
        ),
        control(
            "waiver-unused",
            "95-waivers",
            "Every waiver is still needed",
            "medium",
            [result({"kind": "waivers", "name": "waivers.yml"}, "pass", ["template-key-size: template Kiosk"])],
        ),
    ],
    "gone": [
        {"control": "template-esc1", "target": DOMAIN, "subject": "template Old", "message": "Authenticated Users may enroll."},
    ],
    "waivers": [
        {
            "control": "template-key-size",
            "target": ["corp.example"],
            "subject": ["template Kiosk"],
            **WAIVER,
            "used": 1,
            "expired": False,
        },
        {
            "control": "dc-ldaps",
            "target": ["dc9.corp.example"],
            "subject": ["*"],
            "owner": "web-team@corp.example",
            "reason": "being replaced",
            "expires": "2026-10-01",
            "used": 0,
            "expired": True,
        },
    ],
    "certificates": [
        _certificate("root", "Corp Root CA", "Corp Root CA", "2046-01-01T00:00:00Z", DOMAIN, key="RSA 4096", cdps=[]),
        _certificate("ca", "Corp CA", "Corp Root CA", "2031-01-01T00:00:00Z", AUTHORITY, key="RSA 4096"),
        _certificate(
            "domain_controller", "dc1.corp.example", "Corp CA", "2027-06-01T00:00:00Z", CONTROLLER, template="CorpDomainController"
        ),
        _certificate("device", "vpn.corp.example", "Corp CA", "2026-12-01T00:00:00Z", APPLIANCE, template="WebServer"),
        _certificate("web", "ca1.corp.example", "Corp CA", "2026-11-01T00:00:00Z", AUTHORITY, template="Machine"),
    ],
    "crls": [
        _crl("http://pki.corp.example/corp.crl", "good", "2026-11-20T00:00:00Z", "2026-11-27T00:00:00Z"),
        _crl(
            "http://pki.corp.example/root.crl",
            "expired",
            "2026-05-21T23:00:00Z",
            "2026-11-21T23:00:00Z",
            name="Corp Root CA",
            issuer="CN=Corp Root CA",
        ),
        _crl("ldap:///CN=Gone", "unreachable", None, None, number=None, entries=None, size=None),
    ],
    "chain": {
        "nodes": [
            {"id": "root-1", "kind": "root", "label": "Corp Root CA", "detail": "RSA 4096, until 2046-01-01", "status": "pass"},
            {"id": "ca-1", "kind": "ca", "label": "Corp CA", "detail": "RSA 4096, until 2031-01-01", "status": "pass"},
            {"id": "user", "kind": "user", "label": "User", "detail": "", "status": "warn"},
        ],
        "edges": [
            {
                "from": "root-1",
                "to": "ca-1",
                "label": "issued",
                "status": "fail",
                "message": "The CRL of Corp Root CA ended 3 hours ago.",
                "control": "crl-expired",
            },
            {"from": "ca-1", "to": "user", "label": "", "status": "unknown", "message": "", "control": ""},
        ],
    },
}


@pytest.fixture
def report() -> dict[str, Any]:
    """A report with everything in it, for one test alone."""
    return copy.deepcopy(REPORT)


@pytest.fixture(scope="session")
def schema() -> dict[str, Any]:
    if not SCHEMA.is_file():
        pytest.skip("the schema is not in this tree")
    found: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return found


def fake_control(id: str, fact: str, severity: str = "high", **more: Any) -> Control:
    """Judges a list of [subject, status] that the fact of that name is."""
    words: dict[str, Any] = {
        "family": "10-fakes",
        "title": f"All is well with {fact}",
        "why": "Because.",
        "references": [{"requirement": "C1"}],
        "target": "domain",
        "reads": [fact],
        "judge": f"fakes.{fact}",
        "remedy": Remedy("Do it.", "certlogon.core.trust_roots", ["certlogon_trusted_certificates"]),
        "not_applicable": "There is none.",
        **more,
    }
    return Control(id=id, severity=severity, **words)


def _fake_judge(fact: str) -> Any:
    def judge(facts: Any, _parameters: Any) -> Any:
        for subject, status in facts[fact]:
            yield Verdict(subject, status, f"{subject} is {status}.", {"status": status})

    return judge


@pytest.fixture
def catalogue(monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    """Four controls of domains, each with its own fact, one of them a stream; and those of waivers."""
    module = ModuleType(f"{judges.__name__}.fakes")
    for fact in ("roots", "templates", "policies"):
        setattr(module, fact, _fake_judge(fact))
    setattr(module, "accounts", lambda subject, _facts, _parameters: [Verdict(*subject, f"{subject[0]} is {subject[1]}.")])  # noqa: B010
    monkeypatch.setitem(sys.modules, module.__name__, module)
    fakes = Family(
        "10-fakes",
        "Fakes",
        [
            fake_control("fake-roots", "roots", "critical"),
            fake_control("fake-templates", "templates", "high"),
            fake_control("fake-policies", "policies", "low"),
            fake_control("fake-accounts", "accounts", "medium", each="account"),
        ],
    )
    waivers = next(family for family in load().families if family.id == "95-waivers")
    return Catalogue([fakes, waivers], "0" * 64)
