# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports to draw: an ordinary one, a very bad one, an all-good one, one where nothing answered, a hostile one, a huge one."""

from __future__ import annotations

import hashlib
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.compliance.chain import chain

STARTED, ENDED = "2026-11-23T01:00:00Z", "2026-11-23T01:01:12Z"
SEVERITIES = ("critical", "high", "medium", "low", "info")
STATUSES = ("pass", "fail", "unknown", "not_applicable", "waived")
TITLES = {
    "10-templates": "Certificate templates",
    "15-enrollment_services": "Enrollment services",
    "20-authority": "Certification authorities",
    "30-trust": "NTAuth and trust roots",
    "40-domain_controllers": "Domain controllers",
    "50-mappings": "Strong mapping of accounts",
    "60-group_policy": "Group Policy",
    "70-crls": "Revocation lists",
    "80-connect_secure": "Connect Secure appliances",
    "85-ocserv": "ocserv gateways",
    "90-drift": "Drift",
}
ROOT, CA = "CN=Corp Example Root CA,O=Corp Example", "CN=Corp Example Issuing CA,DC=corp,DC=example"
DOMAIN = ("domain", "corp.example")
AUTHORITY = ("certification_authority", "ca1.corp.example")
DCS = [("domain_controller", f"dc{n}.corp.example") for n in (1, 2)]
APPLIANCE, OCSERV = ("connect_secure", "vpn1.corp.example"), ("ocserv", "gate1.corp.example")
CRLS, DRIFT = ("crls", "localhost"), ("drift", "localhost")
TARGETS = [DOMAIN, AUTHORITY, *DCS, APPLIANCE, OCSERV, CRLS, DRIFT]

# family, id, severity, title, why, target, references, role, variables, subjects
_CATALOGUE: list[tuple[Any, ...]] = [
    ("10-templates", "template-esc1", "critical", "Nobody without privileges can enroll as somebody else",
     "Whoever may write a foreign name into his own request logs on as anybody: administrators included.", DOMAIN,
     [{"esc": "ESC1"}], "certificate_templates", ["certlogon_certificate_templates"],
     ["template CorpSmartcardLogon", "template CorpVpnUser", "template WebServer", "template User", "template Machine"]),
    ("10-templates", "template-esc4", "critical", "Templates are changed by administrators of the PKI only",
     "Who may write a template makes it what ESC1 needs, enrolls, and puts it back.", DOMAIN,
     [{"esc": "ESC4"}], "certificate_templates", ["certlogon_certificate_templates"],
     ["template CorpSmartcardLogon", "template CorpVpnUser", "template WebServer", "template User", "template Machine"]),
    ("10-templates", "template-esc9", "high", "Certificates carry the SID of their account",
     "Without the extension a domain controller can map by name only, and names can be changed.", DOMAIN,
     [{"esc": "ESC9"}, {"kb": "KB5014754", "url": "https://support.microsoft.com/help/5014754"}], "certificate_templates",
     ["certlogon_certificate_templates"], ["template CorpSmartcardLogon", "template CorpVpnUser", "template User"]),
    ("15-enrollment_services", "enrollment-service-esc5", "high", "PKI objects are written by PKI administrators only",
     "Rights on the containers are rights on everything that they hold.", DOMAIN, [{"esc": "ESC5"}],
     "enrollment_services", ["certlogon_enrollment_services"], ["enrollment service Corp Example Issuing CA", "container AIA"]),
    ("20-authority", "authority-esc6", "critical", "The CA lets no requester choose alternative names",
     "EDITF_ATTRIBUTESUBJECTALTNAME2 makes every template an ESC1.", AUTHORITY, [{"esc": "ESC6"}],
     "certification_authority", ["certlogon_authority"], ["CA Corp Example Issuing CA"]),
    ("20-authority", "authority-audit-filter", "medium", "The CA writes an event for everything it does",
     "What was not written down cannot be found out afterwards.", AUTHORITY, [{"document": "CA audit events"}],
     "certification_authority", ["certlogon_authority_audit"], ["CA Corp Example Issuing CA"]),
    ("20-authority", "authority-crl-period", "low", "CRLs live longer than it takes to mend a CA",
     "When the last CRL runs out every logon by card ends.", AUTHORITY, [{"requirement": "C9"}],
     "certification_authority", ["certlogon_authority_crl"], ["CA Corp Example Issuing CA"]),
    ("30-trust", "ntauth-unknown-certificate", "critical", "NTAuth holds only CAs that the inventory names",
     "Each certificate in NTAuth is allowed to log anybody on.", DOMAIN, [{"requirement": "C4"}], "trust_roots",
     ["certlogon_ntauth_certificates"], ["NTAuth Corp Example Issuing CA"]),
    ("30-trust", "root-days-left", "high", "No trust root expires soon", "What a root signed ends with it.", DOMAIN,
     [{"requirement": "C4"}], "trust_roots", ["certlogon_trust_roots"], ["root Corp Example Root CA"]),
    ("40-domain_controllers", "dc-certificate-days-left", "high", "Domain controllers' certificates last",
     "Without a valid certificate a domain controller answers no card.", DCS, [{"requirement": "C4"}],
     "domain_controller_certificates", ["certlogon_domain_controller_certificate"], None),
    ("40-domain_controllers", "dc-esc10", "high", "Domain controllers enforce strong mapping",
     "StrongCertificateBindingEnforcement below 2 lets weak mappings in.", DCS, [{"esc": "ESC10"}, {"kb": "KB5014754"}],
     "domain_controller_certificates", ["certlogon_strong_mapping"], None),
    ("50-mappings", "account-weak-mapping", "high", "No account is mapped by names alone",
     "A mapping by issuer and subject name can be made by whoever can have a certificate of that name.", DOMAIN,
     [{"esc": "ESC14"}, {"kb": "KB5014754"}], "", [], "stream"),
    ("60-group_policy", "policy-not-linked", "medium", "The policies are linked where the computers are",
     "A policy without a link does nothing, and looks as if it did.", DOMAIN, [{"requirement": "C10"}], "smart_card_policy",
     ["certlogon_smart_card_policy_links"], ["policy Certlogon - Smart Card Services", "policy Certlogon - Trusted Certificates"]),
    ("70-crls", "crl-expired", "critical", "Every CRL in use is valid", "An expired CRL refuses every card at once.", CRLS,
     [{"requirement": "C9"}], "certification_authority", ["certlogon_authority_crl"],
     ["http://pki.corp.example/CertEnroll/issuing.crl", "http://pki.corp.example/CertEnroll/root.crl"]),
    ("80-connect_secure", "appliance-crl-checking", "high", "The appliance checks certificates against the CRL",
     "Without it a revoked card opens the VPN until it expires.", APPLIANCE, [{"requirement": "C6"}, {"requirement": "C9"}],
     "connect_secure_gateway", ["certlogon_trusted_client_cas"], ["trusted client CA Corp Example Issuing CA"]),
    ("80-connect_secure", "appliance-realm-certificate", "high", "Realms ask for a certificate",
     "A realm that asks for none lets passwords in.", APPLIANCE, [{"requirement": "C8"}], "connect_secure_gateway",
     ["certlogon_user_realms"], ["realm Users", "realm Contractors"]),
    ("85-ocserv", "ocserv-certificate-required", "high", "The gateway asks every user for a certificate",
     "A login without a certificate is a login by password.", OCSERV, [{"requirement": "C6"}], "ocserv_gateway",
     ["certlogon_ocserv"], ["gateway gate1.corp.example"]),
    ("90-drift", "drift-site", "medium", "A run of site would change nothing", "What differs from the inventory was changed by hand.",
     DRIFT, [], "", [], ["certificate template CorpVpnUser on corp.example"]),
]  # fmt: skip


def fingerprint(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:32]


class Builder:
    def __init__(self, targets: list[tuple[str, str]] | None = None) -> None:
        self.targets = TARGETS if targets is None else targets
        self.verdicts: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.unanswered: dict[str, str] = {}
        self.gone: list[dict[str, Any]] = []
        self.waivers: list[dict[str, Any]] = []
        self.certificates: list[dict[str, Any]] = []
        self.crls: list[dict[str, Any]] = []
        self.stand_ins: list[str] = []
        self.baseline: dict[str, Any] | None = None
        self.mapped = {"pass": 51_204, "fail": 0, "unknown": 0, "waived": 0}

    def say(self, control: str, target: str, subject: str, status: str, message: str, **words: Any) -> None:
        self.verdicts[control, target, subject] = {"status": status, "message": message, **words}

    def certificate(
        self, use: str, name: str, target: tuple[str, str], ends: str, issuer: str = CA, template: str = "", key: str = "RSA 2048"
    ) -> None:
        subject = {ROOT[3:23]: ROOT, CA[3:26]: CA}.get(name, f"CN={name}")
        self.certificates.append(
            {
                "use": use, "name": name, "subject": subject, "issuer": issuer, "serial": fingerprint(name, use)[:20],
                "sha256": fingerprint(name, issuer) * 2, "not_before": "2025-11-20T00:00:00Z", "not_after": f"{ends}T12:00:00Z",
                "key": key, "held_by": target[1], "template": template, "cdps": [], "target": {"kind": target[0], "name": target[1]},
            }
        )  # fmt: skip

    def crl(self, url: str, name: str, issuer: str, this: str, following: str | None, status: str = "good", entries: int = 12) -> None:
        self.crls.append(
            {
                "url": url, "name": name, "issuer": issuer, "number": 4711, "this_update": this, "next_update": following,
                "status": status, "entries": entries, "size": 600 + 37 * entries, "held_by": "pki.corp.example",
                "target": {"kind": CRLS[0], "name": CRLS[1]},
            }
        )  # fmt: skip

    def report(self) -> dict[str, Any]:
        controls = [self._control(*words) for words in _CATALOGUE]
        return {
            "format": "certlogon-compliance-report/1",
            "run": {
                "started": STARTED, "ended": ENDED, "seconds": 72.4, "title": "corp.example", "certlogon": "0.1.0",
                "ansible_core": "2.19.3", "python": "3.11.2", "catalogue_sha256": "9f" * 32,
                "waivers": {"path": "compliance/waivers.yml", "sha256": "3c" * 32} if self.waivers else None,
                "baseline": self.baseline, "pseudonyms": False, "stand_ins": self.stand_ins,
            },
            "targets": [self._target(*target) for target in self.targets],
            "summary": self._summary(controls),
            "controls": controls,
            "gone": self.gone,
            "waivers": self.waivers,
            "certificates": self.certificates,
            "crls": self.crls,
            "chain": chain({"targets": self.targets and [self._target(*t) for t in self.targets], "controls": controls,
                            "certificates": self.certificates, "crls": self.crls}),
        }  # fmt: skip

    def _target(self, kind: str, name: str) -> dict[str, Any]:
        error = self.unanswered.get(name, "")
        asked = {"domain": {"bind": 3, "search": 41, "read": 18}, "connect_secure": {"login": 1, "GET": 23}}.get(kind, {"GET": 2})
        return {
            "kind": kind, "name": name, "at": None if error else STARTED, "ended": None if error else ENDED,
            "account": "CORP\\auditor" if kind != "crls" else "",
            "servers": [] if error else [name], "answered": not error, "error": error, "asked": {} if error else asked,
        }  # fmt: skip

    def _control(self, family: str, key: str, severity: str, title: str, why: str, targets: Any, references: Any, role: str,
                 variables: list[str], subjects: Any) -> dict[str, Any]:  # fmt: skip
        own = targets if isinstance(targets, list) else [targets]
        results = [self._result(key, target, subjects) for target in own if target in self.targets]
        remedy = {
            "text": "Set it in the inventory and run site again." if role else "A person has to decide: give the account a strong mapping.",
            "role": f"certlogon.core.{role}" if role else "",
            "variables": variables,
        }
        return {
            "id": key, "family": family, "title": title, "why": why, "severity": severity, "references": references,
            "remedy": remedy, "not_applicable": "There is nothing of the kind.", "results": results,
        }  # fmt: skip

    def _result(self, control: str, target: tuple[str, str], subjects: Any) -> dict[str, Any]:
        name = target[1]
        streamed = subjects == "stream"
        names = [] if streamed else list(subjects or [name])
        if name in self.unanswered:
            names = []
            self.verdicts[control, name, name] = {"status": "unknown", "message": f"{name}: {self.unanswered[name]}"}
        own = {subject: words for (key, where, subject), words in self.verdicts.items() if (key, where) == (control, name)}
        counts = dict.fromkeys(("pass", "fail", "unknown", "waived"), 0)
        if streamed and name not in self.unanswered:
            counts |= self.mapped
        passes = [subject for subject in names if subject not in own]
        counts["pass"] += len(passes)
        findings = []
        for subject, words in own.items():
            if not streamed or name in self.unanswered:
                counts[words["status"]] += 1
            findings.append(
                {
                    "subject": subject, "evidence": {}, "right": "", "mend": "", "variables": [], "change": "", "waiver": None,
                    "location": None, "fingerprint": fingerprint(control, *target, subject), **words,
                }
            )  # fmt: skip
        status = next((each for each in ("fail", "unknown", "waived", "pass") if counts[each]), "not_applicable")
        return {
            "target": {"kind": target[0], "name": name}, "status": status, "counts": counts, "passes": passes, "findings": findings,
            "listed": len(findings), "unlisted": [],
            "annex": f"{control}.csv" if streamed and counts["fail"] else "",
        }  # fmt: skip

    def _summary(self, controls: list[dict[str, Any]]) -> dict[str, Any]:
        counts = dict.fromkeys(STATUSES, 0)
        findings = dict.fromkeys(("fail", "unknown", "waived"), 0)
        by_severity = {severity: dict.fromkeys(STATUSES, 0) for severity in SEVERITIES}
        by_family = {key: {"title": title, "score": None, "counts": dict.fromkeys(STATUSES, 0)} for key, title in TITLES.items()}
        changes = {"new": 0, "still": 0}
        for control in controls:
            for result in control["results"]:
                counts[result["status"]] += 1
                by_severity[control["severity"]][result["status"]] += 1
                by_family[control["family"]]["counts"][result["status"]] += 1
                for status in findings:
                    findings[status] += result["counts"][status]
                for finding in result["findings"]:
                    if finding["change"]:
                        changes[finding["change"]] += 1
        for family in by_family.values():
            own: dict[str, int] = family["counts"]  # type: ignore[assignment]
            judged = own["pass"] + own["fail"] + own["unknown"]
            family["score"] = round(100 * own["pass"] / judged, 1) if judged else None
        judged = counts["pass"] + counts["fail"] + counts["unknown"]
        failing = sum(by_severity[severity]["fail"] for severity in ("critical", "high"))
        verdict = "fail" if failing else "unknown" if counts["unknown"] or not judged else "pass"
        reasons = [f"{failing} results of severity high or critical fail"] if failing else []
        reasons += [f"{counts['unknown']} results could not be judged"] if counts["unknown"] else []
        reasons += ["nothing was judged"] if not judged else []
        return {
            "counts": counts, "findings": findings, "by_severity": by_severity, "by_family": by_family,
            "score": round(100 * counts["pass"] / judged, 1) if judged else None, "fail_on": "high", "verdict": verdict,
            "reasons": reasons, "new": changes["new"], "gone": len(self.gone), "still": changes["still"],
        }  # fmt: skip


def _pki(builder: Builder) -> None:
    builder.certificate("root", "Corp Example Root CA", DOMAIN, "2036-05-01", ROOT, key="RSA 4096")
    builder.certificate("ca", "Corp Example Issuing CA", AUTHORITY, "2031-05-01", ROOT, key="RSA 4096")
    builder.certificate("domain_controller", "dc1.corp.example", DCS[0], "2027-11-02", template="CorpDomainController")
    builder.certificate("domain_controller", "dc2.corp.example", DCS[1], "2027-11-02", template="CorpDomainController")
    builder.certificate("device", "vpn1.corp.example", APPLIANCE, "2027-08-14", template="WebServer")
    builder.certificate("device", "gate1.corp.example", OCSERV, "2027-08-14", template="WebServer")
    builder.certificate("web", "pki.corp.example", AUTHORITY, "2027-06-30", template="WebServer")
    builder.crl("http://pki.corp.example/CertEnroll/root.crl", "Corp Example Root CA", ROOT, "2026-09-01T10:00:00Z",
                "2027-03-01T10:00:00Z", entries=1)  # fmt: skip
    builder.crl("http://pki.corp.example/CertEnroll/issuing.crl", "Corp Example Issuing CA", CA, "2026-11-20T10:00:00Z",
                "2026-11-28T10:00:00Z")  # fmt: skip


def good() -> dict[str, Any]:
    builder = Builder()
    _pki(builder)
    return builder.report()


def ordinary() -> dict[str, Any]:
    """A site on a Monday: two things break logons, some are not known, one is waived, one got mended."""
    builder = Builder()
    _pki(builder)
    builder.stand_ins = [
        "ca1.corp.example: a stand-in for the Windows CA host",
        "vpn1.corp.example: a stand-in for the Connect Secure appliance",
    ]
    builder.baseline = {"path": "compliance/last.json", "at": "2026-11-22T01:01:10Z"}
    builder.certificates[2]["not_after"] = "2026-12-09T07:00:00Z"
    builder.certificates[4]["not_after"] = "2027-02-14T07:00:00Z"
    builder.crl("http://pki.corp.example/CertEnroll/issuing+.crl", "Corp Example Issuing CA", CA, "2026-11-22T10:00:00Z",
                "2026-11-23T22:00:00Z", entries=2)  # fmt: skip
    builder.crl("ldap:///CN=Old CA,CN=CDP,DC=corp,DC=example", "Old CA", "CN=Old CA", "2026-10-01T10:00:00Z",
                "2026-11-19T10:00:00Z", "expired", entries=0)  # fmt: skip
    waiver = {"owner": "pki-team@corp.example", "reason": "Printers need it until they are replaced", "expires": "2027-03-31"}
    builder.waivers = [{"control": "template-esc4", "target": ["corp.example"], "subject": ["template Machine"], **waiver, "used": 1,
                        "expired": False}]  # fmt: skip
    builder.gone = [
        {"control": "authority-esc6", "target": {"kind": AUTHORITY[0], "name": AUTHORITY[1]}, "subject": "CA Corp Example Issuing CA",
         "message": "EDITF_ATTRIBUTESUBJECTALTNAME2 is set: a requester chooses the names."}
    ]  # fmt: skip
    builder.say(
        "template-esc1", DOMAIN[1], "template CorpVpnUser", "fail",
        "Domain Users may enroll and name any subject, and the certificate is good for logon.", change="new",
        evidence={"msPKI-Certificate-Name-Flag": ["CT_FLAG_ENROLLEE_SUPPLIES_SUBJECT"], "pKIExtendedKeyUsage": ["1.3.6.1.5.5.7.3.2"],
                  "enrollers": ["CORP\\Domain Users (S-1-5-21-1004336348-1177238915-682003330-513)"], "msPKI-RA-Signature": 0,
                  "manager_approval": False},
        mend="Take the subject's name from the directory: subject_name: directory.",
        location={"file": "inventories/corp/group_vars/all/templates.yml", "line": 42},
    )  # fmt: skip
    builder.say(
        "template-esc4", DOMAIN[1], "template Machine", "waived", "Print Operators may write the template.", waiver=waiver, change="still",
        evidence={"writers": ["BUILTIN\\Print Operators (S-1-5-32-550)"], "rights": "GenericWrite"},
    )  # fmt: skip
    builder.say(
        "dc-certificate-days-left", DCS[0][1], DCS[0][1], "fail", "The certificate expires in 16 days, on 2026-12-09.", change="new",
        evidence={"not_after": "2026-12-09T07:00:00Z", "days_left": 16, "wanted": 30, "template": "CorpDomainController"},
        location={"file": "inventories/corp/host_vars/dc1.corp.example.yml", "line": 3},
    )  # fmt: skip
    builder.say(
        "dc-esc10", DCS[1][1], DCS[1][1], "unknown", "registry: WinRM answered 401 to CORP\\auditor.", change="still",
        right="Remote Management Users on dc2.corp.example",
    )  # fmt: skip
    builder.say(
        "authority-audit-filter", AUTHORITY[1], "CA Corp Example Issuing CA", "fail", "The CA writes no event for 2 of 7 kinds.",
        change="still", evidence={"AuditFilter": 95, "missing": ["AUDIT_KEY_ARCHIVE"]},
    )  # fmt: skip
    builder.say(
        "policy-not-linked", DOMAIN[1], "policy Certlogon - Smart Card Services", "unknown",
        "Whether it wins on dc1.corp.example depends on a WMI filter, which is evaluated on the computer only.", change="still",
        evidence={"wmi_filter": "SELECT * FROM Win32_OperatingSystem WHERE ProductType = 1"},
    )  # fmt: skip
    builder.say(
        "drift-site", DRIFT[1], "certificate template CorpVpnUser on corp.example", "fail", "A run of site would change it.", change="new",
        evidence={"diff": "--- before\n+++ after\n@@ -1,5 +1,5 @@\n name: CorpVpnUser\n-subject_name: request\n+subject_name: directory\n"
                  " validity: 1 year\n"},
        location={"file": "inventories/corp/group_vars/all/templates.yml", "line": 42},
    )  # fmt: skip
    builder.mapped = {"pass": 49_871, "fail": 1_333, "unknown": 0, "waived": 0}
    for number in range(20):
        builder.say(
            "account-weak-mapping", DOMAIN[1], f"CN=User {number:05},OU=Sales,DC=corp,DC=example", "fail",
            "The account is mapped by issuer and subject name only.", change="new" if number < 3 else "still",
            evidence={"altSecurityIdentities": [f"X509:<I>DC=example,DC=corp,CN=Old CA<S>CN=User {number:05}"], "form": "names"},
        )  # fmt: skip
    return builder.report()


def bad() -> dict[str, Any]:
    """Everything that can fail fails, and nothing of the gateways is known."""
    builder = Builder()
    _pki(builder)
    for number, certificate in enumerate(builder.certificates):
        certificate["not_after"] = f"2026-{11 if number % 2 else 12}-{3 + 4 * number:02}T07:00:00Z"
    for crl in builder.crls:
        crl.update(next_update="2026-11-20T10:00:00Z", status="expired")
    builder.unanswered = {APPLIANCE[1]: "no route to host", OCSERV[1]: "connection refused (port 22)"}
    for family, key, _severity, title, why, targets, _references, _role, _variables, subjects in _CATALOGUE:
        if family in ("80-connect_secure", "85-ocserv"):
            continue
        for target in targets if isinstance(targets, list) else [targets]:
            names = [f"CN=User {n},DC=corp,DC=example" for n in range(20)] if subjects == "stream" else subjects or [target[1]]
            for subject in names:
                builder.say(key, target[1], subject, "fail", f"Not so: {title[0].lower()}{title[1:]}.", change="new",
                            evidence={"found": why, "wanted": title})  # fmt: skip
    builder.mapped = {"pass": 0, "fail": 51_204, "unknown": 0, "waived": 0}
    return builder.report()


def unanswered() -> dict[str, Any]:
    builder = Builder()
    builder.unanswered = {name: "connection timed out" for _kind, name in TARGETS}
    return builder.report()


def empty() -> dict[str, Any]:
    return Builder([]).report()


HOSTILE = "<script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)>\"'`{{7*7}}</style></title>\u202egnp.exe\x00\ud800"


def hostile() -> dict[str, Any]:
    """Names and values that somebody chose to harm who reads the report, wherever a report has text."""
    return _poisoned(ordinary())


def _poisoned(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _poisoned(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [_poisoned(each, key) for each in value]
    kept = ("format", "status", "severity", "kind", "family", "fingerprint", "change", "use", "verdict", "fail_on", "sha256", "expires")
    times = ("started", "ended", "at", "this_update", "next_update", "not_before", "not_after")
    return value + HOSTILE if isinstance(value, str) and key not in (*kept, *times) else value


def huge(findings: int = 50_000) -> dict[str, Any]:
    """Every list of a large site: findings, passes, certificates, CRLs, domain controllers and appliances."""
    dcs = [("domain_controller", f"dc{n:03}.corp.example") for n in range(200)]
    appliances = [("connect_secure", f"vpn{n:02}.corp.example") for n in range(60)]
    report = ordinary()
    report["targets"] += [{**report["targets"][2], "kind": kind, "name": name} for kind, name in (*dcs, *appliances)]
    for control in report["controls"]:
        for result in control["results"][:1]:
            if control["id"] in ("template-esc1", "policy-not-linked", "drift-site", "authority-audit-filter"):
                sample = (result["findings"] or [{}])[0]
                result["findings"] = [
                    {**sample, "subject": f"template Number {n:05} of many", "fingerprint": fingerprint(control["id"], str(n))}
                    for n in range(findings // 4)
                ]
                result["counts"][sample["status"]] = len(result["findings"])
            result["passes"] = [f"template Good {n}" for n in range(200)]
    report["certificates"] += [
        {**report["certificates"][2], "name": f"dc{n:03}.corp.example", "sha256": fingerprint(str(n)) * 2,
         "not_after": f"{2027 + n % 3}-{1 + n % 12:02}-{1 + n % 28:02}T00:00:00Z"}
        for n in range(2000)
    ]  # fmt: skip
    report["crls"] += [{**report["crls"][1], "url": f"http://pki{n}.corp.example/issuing.crl"} for n in range(500)]
    report["chain"] = chain(report)
    return report
