# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import html.parser
import re

import pytest

from lab import page
from lab.story import STAND_IN, Audit, ObjectChange, Proof, Run, Story, Touch

TEMPLATE = {
    "name": "CorpSmartcardLogon",
    "display_name": "Corp Smart Card Logon",
    "schema_version": 2,
    "extended_key_usages": ["client_authentication", "smart_card_logon"],
    "providers": ["Microsoft Base Smart Card Crypto Provider"],
    "permissions": [{"principal": "CORP\\Smart Card Users", "rights": ["read", "enroll"]}],
}


def sample() -> Story:
    changes = (
        ObjectChange(
            "trust_roots",
            "Publish CA certificates",
            "certlogon.core.ad_trusted_certificates",
            "root",
            "create",
            None,
            "CN=Corp Example Root CA",
        ),
        ObjectChange(
            "certificate_templates",
            "Certificate templates",
            "certlogon.core.ad_certificate_templates",
            TEMPLATE["name"],
            "create",
            {},
            TEMPLATE,
        ),
        ObjectChange(
            "certificate_templates",
            "Certificate templates",
            "certlogon.core.ad_certificate_templates",
            "<b>&\"'",
            "delete",
            {"x": "<script>"},
            None,
        ),
    )
    drift = (
        ObjectChange(
            "certificate_templates",
            "Certificate templates",
            "certlogon.core.ad_certificate_templates",
            TEMPLATE["name"],
            "update",
            {"subject": {"supplied_in_request": True}},
            {"subject": {"supplied_in_request": False}},
        ),
    )
    command = "ansible-playbook certlogon.core.site -i inventories/lab"
    return Story(
        started="22 November 2026, 16:04",
        domain={"dns": "corp.example", "server": "dc1.corp.example"},
        versions={"certlogon": "0.1.0", "ansible-core": "2.19.14", "Python": "3.11.7", "Samba": "4.22.11"},
        lab_was_running=False,
        seconds=27.4,
        steps=[("Lab: a domain controller of its own", 1.4), ("First run", 5.2), ("Second run", 3.1)],
        runs={
            "first": Run("First run", command, 5.2, 14, 4, changes, ("a template is <weak>",)),
            "second": Run("Second run", command, 3.1, 14, 0),
            "check": Run("Check", command + " --check --diff", 3.2, 14, 1, drift),
            "repair": Run("Repair", command, 3.9, 14, 1, drift),
        },
        audits={
            "meddled": Audit(
                Run("Compliance of the domain, meddled with", command, 6.1, 20, 0),
                81.5,
                {"pass": 60, "fail": 1, "unknown": 2},
                [("template-esc1", "template <Weak>", "<Anybody> can enroll as anybody.")],
                0,
            )
        },
        touches=[
            Touch(
                "Subject to be supplied in the request", "ldbmodify", TEMPLATE["name"], "ESC1: anybody who may enrol becomes anybody else"
            )
        ],
        proofs=[
            Proof(
                "The second run changes nothing",
                "ansible-playbook",
                "passed",
                version="2.19.14",
                evidence=("dc1 : ok=14 changed=0",),
                requirements=("C3",),
            ),
            Proof(
                "Policies carry the permissions that Samba expects",
                "samba-tool gpo aclcheck",
                "failed",
                version="4.22",
                reason="exit code 1",
            ),
            Proof("Blobs are rebuilt byte for byte", "cmp", "skipped", STAND_IN, reason="no vectors beside the checkout"),
        ],
        stand_ins=[("Domain controller", "real", "Samba"), ("Certification authority", STAND_IN, "objects only")],
        next_commands=[("./certlogon lab exec --name demo dc1", "A shell on the domain controller")],
    )


class Parser(html.parser.HTMLParser):
    VOID = {"meta", "link", "br", "path", "rect", "img"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def rendered():
    return page.render(sample())


@pytest.fixture
def parsed(rendered):
    parser = Parser()
    parser.feed(rendered)
    parser.close()
    assert parser.open == []
    return parser


def test_is_self_contained(rendered, parsed):
    assert not re.search(r"https?://(?!www\.w3\.org)|@import|url\(", rendered)
    assert {tag for tag, _attributes in parsed.tags}.isdisjoint({"script", "link", "img", "iframe"})
    assert all("src" not in attributes for _tag, attributes in parsed.tags)
    # the report of compliance lies beside it
    assert {attributes["href"] for _tag, attributes in parsed.tags if "href" in attributes} == {"compliance/report.html"}


def test_tells_of_the_compliance_report(parsed):
    assert "score 81.5, 1 failing, 2 unknown" in parsed.text and "<Anybody> can enroll as anybody." in parsed.text


def test_escapes_what_the_domain_says(rendered, parsed):
    assert "<script>" not in rendered
    assert "<b>" not in rendered
    assert "x: <script>" in parsed.text
    assert "a template is <weak>" in parsed.text


def test_shows_each_proof_with_judge_and_label(parsed):
    for text in (
        "samba-tool gpo aclcheck 4.22",
        "exit code 1",
        "does not hold",
        "no vectors beside the checkout",
        "stand-in",
        "real thing",
    ):
        assert text in parsed.text
    assert "not everything held" in parsed.text


def test_says_so_when_the_first_run_had_nothing_to_do():
    story = sample()
    story.runs["first"] = Run("First run", "ansible-playbook", 3.0, 14, 0)
    story.lab_was_running = True
    text = page.render(story)
    assert "Nothing: the domain was already as the inventory asks" in text
    assert "the lab was running already" in text


def test_a_chapter_has_its_proofs_and_what_was_seen(parsed):
    assert "PassiveKey:" not in parsed.text
    story = sample()
    seen = "data:image/png;base64,iVBORw=="
    story.proofs.append(Proof("Nobody typed a code", "Chromium", "passed", evidence=("<i>",), picture=seen, chapter="PassiveKey"))
    parser = Parser()
    parser.feed(page.render(story))
    assert parser.open == [] and "PassiveKey: a second factor" in parser.text
    pictures = [attributes for tag, attributes in parser.tags if tag == "img"]
    assert [each["src"] for each in pictures] == [seen, seen] and pictures[0]["alt"] == "<i>"
    assert parser.text.index("Policies carry") < parser.text.index("PassiveKey: a second") < parser.text.rindex("Nobody typed a code")


def test_write_replaces_the_whole_file(tmp_path):
    target = tmp_path / "new" / "index.html"
    page.write(sample(), target)
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert list(target.parent.iterdir()) == [target]
