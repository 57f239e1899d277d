# SPDX-License-Identifier: GPL-3.0-or-later
"""Controls of enrollment services and PKI objects: each on what passes, fails and cannot be known."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.certlogon.core.tests.unit.compliance.domain_facts import (
    Change,
    Words,
    add_certificate,
    add_template,
    descriptor,
    hide_template,
    judged,
    of_family,
    template,
    unread,
)
from ansible_collections.certlogon.core.tests.unit.directory import pki_samples as pki

Case = tuple[list[Change], str, str, dict[str, Any]]
NTAUTH = "object CN=NTAuthCertificates,CN=Public Key Services,CN=Services,CN=Configuration,DC=corp,DC=example"


def give(fact: str, entries: str = "", owner: str = "EA") -> Change:
    return lambda words: words[fact][0].update(descriptor=descriptor(entries, owner))


def hide(fact: str) -> Change:
    return lambda words: words[fact][0].update(descriptor=None)


def service(**changes: Any) -> Change:
    return lambda words: words["enrollment_services"][0].update(changes)


def publish(*names: str) -> Change:
    return lambda words: words["enrollment_services"][0]["templates"].extend(names)


def computer(**changes: Any) -> Change:
    return lambda words: words["ca_computers"][0].update(changes)


def sign_with(der: bytes) -> Change:
    return lambda words: words["enrollment_services"][0].update(certificates=[add_certificate(words, der)])


def rubbish(words: Words) -> None:
    words["pki_certificates"]["ab" * 32] = {"broken": "is truncated DER"}
    words["enrollment_services"][0]["certificates"] = ["ab" * 32]


def successor(words: Words) -> None:
    words["templates"].append(template("NewCard", "SmartcardLogon", supersedes=["corpCARD"]))
    publish("NewCard")(words)


WHO = ["CORP\\Domain Users (S-1-5-21-1-2-3-513)"]
CASES: dict[str, list[Case]] = {
    "pki-object-esc5": [
        ([], "pass", "", {}),
        (
            [give("pki_objects", "(A;;WP;;;AU)")],
            "fail",
            "Authenticated Users can change it (write_property)",
            {"class": "certificationAuthority"},
        ),
        (
            [give("pki_objects", "(A;;CC;;;DU)")],
            "fail",
            "create_child",
            {"who": WHO},
        ),
        ([give("pki_objects", "", "AU")], "fail", "owner", {"rights": ["owner"]}),
        ([give("pki_objects", "(OA;;WP;bf967932-0de6-11d0-a285-00aa003049e2;;DU)")], "fail", "single attributes", {}),
        ([give("pki_objects", "(D;;WP;;;WD)(A;;WP;;;AU)")], "pass", "", {}),
        ([hide("pki_objects")], "unknown", "nTSecurityDescriptor", {}),
        ([give("pki_objects"), lambda words: words["pki_objects"][0].update(descriptor="AAAA")], "unknown", "cannot be understood", {}),
        ([unread("pki_objects")], "unknown", "pki_objects", {}),
    ],
    "ca-computer-esc5": [
        ([], "pass", "", {}),
        ([give("ca_computers", "(A;;WP;;;DU)")], "fail", "Domain Users can change it", {}),
        ([give("ca_computers", "(OA;;CR;00299570-246d-11d0-a768-00aa006e0529;;DU)")], "fail", "set the password", {}),
        ([give("ca_computers", "(A;;CCDC;;;DU)")], "pass", "", {}),
        ([hide("ca_computers")], "unknown", "nTSecurityDescriptor", {}),
    ],
    "service-host-account": [
        ([], "pass", "", {}),
        ([computer(host="", account="CA1$")], "pass", "", {}),
        (
            [service(host="old.corp.example")],
            "fail",
            "There is no computer account of old.corp.example",
            {"dNSHostName": "old.corp.example"},
        ),
        ([service(host="")], "fail", "no dNSHostName", {}),
        ([computer(disabled=True)], "fail", "is disabled", {}),
        ([unread("ca_computers")], "unknown", "ca_computers", {}),
    ],
    "service-certificate-valid": [
        ([], "pass", "", {}),
        ([sign_with(pki.certificate("Issuing", "Root", expired=True))], "fail", "expired on 2026-05-31", {"days_left": -1}),
        ([sign_with(pki.certificate("Issuing", "Root", future=True))], "fail", "not valid before 2026-06-11", {}),
        ([service(certificates=[])], "fail", "it shows none", {}),
        ([rubbish], "fail", "is truncated DER", {}),
        ([unread("pki_certificates")], "unknown", "pki_certificates", {}),
    ],
    "service-template-missing": [
        ([], "pass", "", {}),
        ([publish("Gone", "corpcard")], "fail", "It publishes Gone, and", {"templates": ["Gone"]}),
        ([publish("Gone"), hide_template], "unknown", "cannot see", {"templates": ["Gone"]}),
    ],
    "service-template-superseded": [
        ([], "pass", "", {}),
        ([successor], "fail", "CorpCard, superseded by NewCard", {"superseded": {"CorpCard": ["NewCard"]}}),
        ([unread("templates")], "unknown", "templates", {}),
    ],
    "service-template-default": [
        ([], "pass", "", {}),
        ([publish("subca")], "fail", "It publishes SubCA (Subordinate Certification Authority)", {"templates": ["SubCA"]}),
        ([unread("enrollment_services")], "unknown", "enrollment_services", {}),
    ],
    "service-card-template": [
        ([], "pass", "", {}),
        ([service(templates=["CorpController"])], "fail", "the templates are CorpCard", {"templates": ["CorpCard"]}),
        ([lambda words: words["templates"].clear()], "fail", "there is no template for smart card logon", {}),
        ([unread("templates")], "unknown", "templates", {}),
    ],
}


@pytest.mark.parametrize(("control", "case"), [(control, case) for control, cases in CASES.items() for case in cases])
def test_verdicts(control: str, case: Case) -> None:
    changes, status, says, evidence = case
    result = judged(control, *changes)
    assert result.status == status, result.verdicts
    if status != "pass":
        [verdict] = [verdict for verdict in result.verdicts if verdict.status == status]
        assert says in verdict.message
        assert evidence.items() <= verdict.evidence.items()


def test_every_control_has_its_cases() -> None:
    assert CASES.keys() == of_family("15-enrollment_services")
    for cases in CASES.values():
        assert {"pass", "fail", "unknown"} <= {case[1] for case in cases}


def test_subjects_are_objects() -> None:
    assert judged("pki-object-esc5").passes == [NTAUTH]
    assert judged("service-certificate-valid").passes == ["service Issuing"]


def test_the_newest_certificate_counts() -> None:
    def renewed(words: Words) -> None:
        old = add_certificate(words, pki.certificate("Issuing", "Root", expired=True))
        words["enrollment_services"][0]["certificates"].insert(0, old)

    assert judged("service-certificate-valid", renewed).status == "pass"
    assert judged("service-certificate-valid", days_left=10_000).verdicts[0].evidence["days_left"] == 4000


def test_without_services_nothing_passes() -> None:
    for control in sorted(of_family("15-enrollment_services") - {"pki-object-esc5", "ca-computer-esc5"}):
        assert judged(control, lambda words: words["enrollment_services"].clear()).status == "not_applicable"


def test_cards_may_be_named() -> None:
    named = [lambda words: words.update(smart_card_templates=["Kiosk"]), add_template("Kiosk", "User", publish=False)]
    assert judged("service-card-template", *named).status == "fail"
    assert judged("service-card-template", *named, publish("Kiosk")).status == "pass"
