# SPDX-License-Identifier: GPL-3.0-or-later
"""Controls of certificate templates: each on what passes, fails and cannot be known."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.compliance.judges import templates as judges
from ansible_collections.certlogon.core.tests.unit.compliance.domain_facts import (
    CARD_PROVIDER,
    ENROLL,
    HELPDESK,
    STAFF,
    WRONG_POLICY,
    Change,
    Words,
    add_template,
    card,
    descriptor,
    enroll,
    facts,
    hide_attributes,
    hide_template,
    judged,
    of_family,
    unread,
)

SUPPLIED = {"supplied_in_request": True, "from_old_certificate": False, "parts": [], "other_flags": []}
USERS = enroll("DU")


def link(words: Words) -> None:
    words["issuance_policies"][0]["group"] = "CN=Enterprise Admins,CN=Users,DC=corp,DC=example"


def agent(words: Words) -> None:
    add_template("Agent", "EnrollmentAgent", USERS)(words)


def give(entries: str, owner: str = "EA") -> Change:
    return lambda words: words["templates"][0].update(descriptor=descriptor(entries, owner))


Case = tuple[list[Change], str, str, dict[str, Any]]
"""What is changed, the status, what the message says, what the evidence has."""

HIDDEN: list[Case] = [
    ([hide_template], "unknown", "nTSecurityDescriptor", {}),
    ([unread("templates")], "unknown", "templates: access was denied", {}),
    ([unread("principals")], "unknown", "principals", {}),
]
UNKNOWN: list[Case] = [
    *HIDDEN,
    ([hide_attributes], "unknown", "msPKI-Enrollment-Flag", {}),
    ([unread("enrollment_services")], "unknown", "enrollment_services", {}),
]
WHO = ["CORP\\Domain Users (S-1-5-21-1-2-3-513)"]
ESC1 = add_template("Web", "SmartcardLogon", USERS, subject=SUPPLIED)

CASES: dict[str, list[Case]] = {
    "template-esc1": [
        ([], "pass", "", {}),
        ([ESC1], "fail", "Domain Users can enroll as anybody", {"who": WHO, "published_by": ["Issuing"], "subject": SUPPLIED}),
        ([add_template("Web", "SmartcardLogon", USERS, subject=SUPPLIED, publish=False)], "pass", "", {}),
        ([add_template("Web", "SmartcardLogon", USERS, subject=SUPPLIED, manager_approval=True)], "pass", "", {}),
        ([add_template("Web", "SmartcardLogon", enroll(STAFF), subject=SUPPLIED)], "pass", "", {}),
        ([add_template("Web", "SmartcardLogon", "(A;;CR;;;DU)", subject=SUPPLIED)], "fail", "Domain Users", {"who": WHO}),
        ([add_template("Web", "SmartcardLogon", f"(OD;;CR;{ENROLL};;WD){USERS}", subject=SUPPLIED)], "pass", "", {}),
        (
            [
                add_template("Web", "SmartcardLogon", enroll(STAFF), subject=SUPPLIED),
                lambda words: words["anybody"].update({STAFF: "Domain Users is a member"}),
            ],
            "fail",
            "CORP\\Staff (Domain Users is a member) can enroll",
            {"who": [f"CORP\\Staff ({STAFF})"]},
        ),
        *UNKNOWN,
    ],
    "template-esc2": [
        ([], "pass", "", {}),
        ([add_template("Any", "User", USERS, extended_key_usages=[])], "fail", "any purpose", {"extended_key_usages": []}),
        ([add_template("Any", "User", USERS, extended_key_usages=["any_purpose"])], "fail", "any purpose", {"who": WHO}),
        *UNKNOWN,
    ],
    "template-esc3": [
        ([], "pass", "", {}),
        ([agent], "fail", "enrollment agent", {"who": WHO}),
        ([add_template("Agent", "EnrollmentAgent", enroll(STAFF))], "pass", "", {}),
        *UNKNOWN,
    ],
    "template-esc3-target": [
        ([], "pass", "", {}),
        ([add_template("Old", "User", USERS, schema_version=1)], "pass", "", {}),
        (
            [add_template("Old", "User", USERS, schema_version=1), agent],
            "fail",
            "as an enrollment agent",
            {"agent_templates": ["Agent"], "who": WHO},
        ),
        (
            [
                add_template(
                    "ByAgent",
                    "SmartcardLogon",
                    USERS,
                    signatures={"count": 1, "application_policies": ["certificate_request_agent"], "issuance_policies": []},
                ),
                agent,
            ],
            "fail",
            "Agent",
            {},
        ),
        ([add_template("Old", "User", USERS, schema_version=1), hide_template], "unknown", "whether anybody can become one", {}),
        ([unread("templates")], "unknown", "templates", {}),
    ],
    "template-esc4": [
        ([], "pass", "", {}),
        ([give("(A;;WP;;;AU)")], "fail", "Authenticated Users can change the template (write_property)", {"rights": ["write_property"]}),
        ([give("(A;;GA;;;WD)")], "fail", "write_owner", {"who": ["Everyone (S-1-1-0)"]}),
        ([give("", "DU")], "fail", "owns the template", {"who": WHO}),
        ([give("(OA;;WP;bf967953-0de6-11d0-a285-00aa003049e2;;DU)")], "fail", "write attributes", {}),
        ([give(USERS)], "pass", "", {}),  # AD CS writes WP beside Enroll, where it means nothing
        ([give("(A;CIIO;GA;;;WD)")], "pass", "", {}),
        ([give("(A;CIID;WP;;;WD)")], "fail", "Everyone", {}),
        ([give(f"(A;;GA;;;{HELPDESK})")], "pass", "", {}),
        ([unread("enrollment_services")], "pass", "", {}),
        ([hide_attributes], "pass", "", {}),
        *HIDDEN,
    ],
    "template-esc9": [
        ([], "pass", "", {}),
        ([card(sid_extension=False)], "fail", "no SID binds", {"sid_extension": False}),
        *UNKNOWN,
    ],
    "template-esc13": [
        ([card(issuance_policies=[WRONG_POLICY])], "pass", "", {}),
        ([link], "pass", "", {}),
        ([card(issuance_policies=[WRONG_POLICY]), link], "fail", "members of CN=Enterprise Admins", {"issuance_policies": [WRONG_POLICY]}),
        ([unread("issuance_policies")], "unknown", "issuance_policies", {}),
        *UNKNOWN,
    ],
    "template-esc15": [
        ([], "pass", "", {}),
        ([add_template("Web", "WebServer", USERS, schema_version=1)], "fail", "CVE-2024-49019", {"schema_version": 1}),
        *UNKNOWN,
    ],
    "template-esc17": [
        ([], "pass", "", {}),
        ([add_template("Web", "WebServer", USERS)], "fail", "any server's name", {"who": WHO}),
        *UNKNOWN,
    ],
    "template-weak-unpublished": [
        ([add_template("Other", "User", publish=False)], "pass", "", {}),
        ([add_template("Web", "WebServer", USERS, publish=False)], "fail", "As soon as a CA publishes it (ESC17)", {"weaknesses": "ESC17"}),
        (
            [add_template("Other", "User", publish=False), lambda words: words["templates"][-1].update(descriptor=None)],
            "unknown",
            "nTSecurityDescriptor",
            {},
        ),
        ([unread("enrollment_services")], "unknown", "enrollment_services", {}),
    ],
    "template-card-purposes": [
        ([], "pass", "", {}),
        ([card(extended_key_usages=["smart_card_logon"])], "fail", "client_authentication", {"extended_key_usages": ["smart_card_logon"]}),
        ([hide_attributes], "unknown", "msPKI-Enrollment-Flag", {}),
    ],
    "template-card-provider": [
        ([], "pass", "", {}),
        ([card(providers=["Other", CARD_PROVIDER])], "fail", "Its default provider is Other", {"providers": ["Other", CARD_PROVIDER]}),
        ([card(providers=[])], "fail", "It names no provider", {"providers": []}),
        ([unread("templates")], "unknown", "templates", {}),
    ],
    "template-card-key": [
        ([], "pass", "", {}),
        ([card(minimum_key_size=1024)], "fail", "Keys of 1024 bits", {"minimum_key_size": 1024}),
        ([card(private_key={"exportable": True, "flags": []})], "fail", "exported", {}),
        ([card(key_spec="signature")], "fail", "signing only", {"key_spec": "signature"}),
        ([hide_attributes], "unknown", "msPKI-Enrollment-Flag", {}),
    ],
    "template-card-validity": [
        ([], "pass", "", {}),
        ([card(validity="5y")], "fail", "valid for 1825 days", {"validity": "5y"}),
        ([card(renewal_overlap="1d")], "fail", "can be renewed 1 days before", {}),
        ([card(validity="0x00")], "fail", "none that Windows can use", {}),
        ([unread("enrollment_services")], "unknown", "enrollment_services", {}),
    ],
    "template-card-binding": [
        ([], "pass", "", {}),
        ([card(sid_extension=False)], "fail", "KB5014754", {"sid_extension": False}),
        ([card(subject=SUPPLIED)], "fail", "from the request", {}),
        ([hide_attributes], "unknown", "msPKI-Enrollment-Flag", {}),
    ],
    "template-card-approval": [
        ([], "pass", "", {}),
        ([card(subject=SUPPLIED, manager_approval=True)], "pass", "", {}),
        ([card(subject=SUPPLIED)], "fail", "nobody looks at the request", {"manager_approval": False}),
        ([unread("smart_card_templates")], "unknown", "smart_card_templates", {}),
    ],
}


@pytest.mark.parametrize(("control", "case"), [(control, case) for control, cases in CASES.items() for case in cases])
def test_verdicts(control: str, case: Case) -> None:
    changes, status, says, evidence = case
    result = judged(control, *changes)
    assert result.status == status, result.verdicts
    for verdict in result.verdicts:
        assert verdict.message[:1].isupper() or status == "unknown"
    if status != "pass":
        [verdict] = [verdict for verdict in result.verdicts if verdict.status == status]
        assert says in verdict.message
        assert evidence.items() <= verdict.evidence.items()
        assert status == "fail" or verdict.right


def test_every_control_has_its_cases() -> None:
    assert CASES.keys() == of_family("10-templates")
    for cases in CASES.values():
        assert {"pass", "fail", "unknown"} <= {case[1] for case in cases}


def test_a_template_is_found_by_all_that_it_is() -> None:
    found = facts(add_template("Web", "WebServer", USERS, schema_version=1, extended_key_usages=[]))
    failing = [
        name for name in ("esc1", "esc2", "esc3", "esc15", "esc17") if any(v.status == "fail" for v in getattr(judges, name)(found, {}))
    ]
    assert failing == ["esc1", "esc2", "esc3", "esc15", "esc17"]


def test_templates_that_the_inventory_names_are_judged_wherever_they_are() -> None:
    def named(words):
        words.update(smart_card_templates=["corpcard", "Gone"])

    result = judged("template-card-provider", named)
    assert result.passes == ["template CorpCard"]
    assert [verdict.message for verdict in result.verdicts] == [
        "The inventory names it as a template for cards, and the directory shows this account no such template."
    ]


def test_nothing_to_judge_is_no_pass() -> None:
    assert judged("template-card-key", lambda words: words["enrollment_services"][0].update(templates=[])).status == "not_applicable"
    assert judged("template-esc1", lambda words: words.update(templates=[])).status == "not_applicable"


def test_what_mends_is_said_in_words_of_the_role() -> None:
    [verdict] = judged("template-esc1", ESC1).verdicts
    assert verdict.subject == "template Web"
    assert verdict.mend.startswith(
        "In the template's entry of certlogon_certificate_templates: set subject.supplied_in_request: false, set manager"
    )
