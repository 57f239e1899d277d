# SPDX-License-Identifier: GPL-3.0-or-later
"""The report's page: complete, harmless whatever names a report has, self-contained, and light."""

from __future__ import annotations

import base64
import copy
import datetime
import hashlib
import html.parser
import importlib.util
import re
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from ansible_collections.certlogon.core.plugins.module_utils.compliance.outputs import page, page_chain, page_time
from ansible_collections.certlogon.core.tests.unit.compliance import page_samples as samples

ROOT = Path(__file__).resolve().parents[3]
NOW = datetime.datetime(2026, 11, 23, 1, tzinfo=datetime.timezone.utc)
SAMPLES = {name: getattr(samples, name) for name in ("good", "ordinary", "bad", "unanswered", "empty", "hostile")}
VOID = {"meta", "link", "input", "br", "img", "hr"}


class Page(html.parser.HTMLParser):
    """Elements with their attributes, text, and whether every element is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _value in attrs}) == len(attrs), f"{tag} has an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] in self.raw:
            self.raw[self.open[-1]].append(data)
        else:
            self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def pages():
    return {name: page.render(sample()) for name, sample in SAMPLES.items()}


@pytest.mark.parametrize("name", SAMPLES)
def test_is_well_formed_with_unique_ids_and_headings_in_steps(pages, name):
    parsed = Page(pages[name])
    ids = [attributes["id"] for _tag, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    levels = [int(tag[1]) for tag, _attributes in parsed.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "hostile"])
def test_links_within_the_page_lead_somewhere(pages, name):
    parsed = Page(pages[name])
    ids = {attributes.get("id") for _tag, attributes in parsed.elements}
    inner = {attributes["href"][1:] for attributes in parsed.all("a") if attributes["href"].startswith("#")}
    assert inner <= ids
    referred = {attributes["aria-labelledby"] for _tag, attributes in parsed.elements if "aria-labelledby" in attributes}
    assert referred <= ids


@pytest.mark.parametrize("name", SAMPLES)
def test_loads_nothing(pages, name):
    parsed = Page(pages[name])
    assert {tag for tag, _attributes in parsed.elements} & {"img", "iframe", "object", "embed", "base", "video", "audio", "use"} == set()
    for tag, attributes in parsed.elements:
        assert "src" not in attributes and "xlink:href" not in attributes and "srcset" not in attributes
        assert tag == "a" or attributes.get("href", "data:,") == "data:,"
        assert "style" not in attributes, "the policy lets no style attribute count"
        assert not [name for name in attributes if name.startswith("on")]
    assert "url(" not in "".join(parsed.raw["style"]) and "@import" not in "".join(parsed.raw["style"])


@pytest.mark.parametrize("name", SAMPLES)
def test_policy_lets_only_our_style_and_script_count(pages, name):
    parsed = Page(pages[name])
    policy = next(each["content"] for each in parsed.all("meta") if each.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        assert len(parsed.all(tag)) == 1
        digest = base64.b64encode(hashlib.sha256("".join(parsed.raw[tag]).encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}';" in policy


def test_hostile_names_are_text_only(pages):
    parsed = Page(pages["hostile"])
    assert pages["hostile"].count("<script>") == 1 and "<img" not in pages["hostile"]
    assert "<script>alert(1)</script>" in parsed.words, "it is shown, as text"
    assert "{{7*7}}" in parsed.words and "49" not in re.findall(r"`(\d+)", parsed.words)
    shown = "".join(parsed.text)
    assert "\u202e" not in shown and "\\u202e" in shown
    assert "\0" not in pages["hostile"] and not re.search("[\ud800-\udfff]", pages["hostile"])
    pages["hostile"].encode("utf-8")


@pytest.mark.parametrize(
    ("url", "followed"),
    [
        ("https://support.microsoft.com/help/5014754", True),
        ("http://plain.example/", False),
        ("javascript:alert(1)", False),
        ('https://x.example/" onclick="alert(1)', False),
        ("https://user@x.example/", False),
        ("data:text/html,x", False),
    ],
)
def test_only_plain_https_references_are_links(url, followed):
    report = samples.ordinary()
    report["controls"][0]["references"] = [{"document": "A document", "url": url}]
    links = [attributes for attributes in Page(page.render(report)).all("a") if attributes["href"] == url]
    assert bool(links) is followed
    assert all(link["rel"] == "noreferrer noopener" for link in links)


def test_reference_of_the_engine_is_drawn_whole(report):
    parsed = Page(page.render(report))
    for control in report["controls"]:
        assert control["title"] in parsed.words
        for result in control["results"]:
            for finding in result["findings"]:
                assert " ".join(finding["subject"].split()) in parsed.words
                assert finding["message"].split(": ", 1)[-1] in parsed.words
    for text in (*report["run"]["stand_ins"], report["run"]["catalogue_sha256"][:16], "CORP\\svc-audit", "ldap search 14", "findings.csv"):
        assert text in parsed.words
    assert "group_vars/domains/templates.yml:12" in parsed.words


def test_samples_are_reports_of_the_published_schema(schema):
    jsonschema = pytest.importorskip("jsonschema")
    for name in ("good", "ordinary", "bad", "unanswered", "empty"):
        jsonschema.Draft202012Validator(schema).validate(SAMPLES[name]())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("good", ["corp.example: in order", "Nothing that was judged fails.", "Everything that was asked could be read."]),
        ("ordinary", ["5 controls fail", "Missing right. Remote Management Users on dc2.corp.example", "1,313 more of corp.example are in",
                      "by pki-team@corp.example until 2027-03-31", "Gone since the run before", "ended 3 d 15 h ago", "in 16 days",
                      "a stand-in for the Windows CA host", "+subject_name: directory"]),
        ("bad", ["17 controls fail"[2:], "did not answer: no route to host"]),
        ("unanswered", ["nothing could be read", "8 did not answer"]),
        ("empty", ["nothing was judged", "Nothing was asked", "No CRL was seen.", "No certificate was seen."]),
    ],
)  # fmt: skip
def test_says_what_is_so(pages, name, words):
    text = Page(pages[name]).words
    for each in words:
        assert each in text


def test_unknown_is_apart_and_never_among_the_findings(pages):
    text = pages["ordinary"]
    findings, unknown = text.index('id="findings"'), text.index('id="unknown"')
    assert "WinRM answered 401" not in text[findings:unknown].split("</form>")[1]
    assert "WinRM answered 401" in text[unknown:]


def test_one_reason_is_said_once():
    causes = page.causes(samples.unanswered()["controls"])
    assert len(causes) == len(samples.TARGETS)
    assert {cause.reason for cause in causes} == {"connection timed out"}
    assert sum(len(cause.open) for cause in causes) == 20


def test_huge_report_stays_light():
    report = samples.huge()
    before = copy.deepcopy(report["summary"])
    text = page.render(report)
    assert len(text) < 1_000_000
    assert text.count('class="finding ') <= page.MOST_FINDINGS
    assert "12,475 more of corp.example are in the JSON report and the CSV annex" in Page(text).words
    assert report["summary"] == before


def test_most_severe_findings_are_shown_first_where_there_are_too_many():
    report = samples.huge()
    blocks = page.findings(report["controls"])
    assert [block.control["severity"] for block in blocks if block.fails] == sorted(
        (block.control["severity"] for block in blocks if block.fails), key=page.WORST_FIRST.index
    )


@pytest.mark.parametrize(
    ("value", "kind"),
    [("one", "text"), (7, "text"), (None, "text"), (["a", "b"], "list"), ({"a": 1}, "block"), ([{"a": 1}], "block"), ("a\nb", "block"),
     ("--- before\n+++ after", "diff")],
)  # fmt: skip
def test_evidence_is_shown_by_its_kind(value, kind):
    assert page.evidence({"field": value})[0].kind == kind


def test_long_evidence_is_cut_and_says_so():
    found = page.evidence({"members": [f"CN={number}" for number in range(50)], "text": "x" * 5000})
    assert found[0].more == 30 and len(found[0].content) == 20
    assert found[1].content.endswith("3,500 characters more in the JSON report)")


def test_waiver_to_copy_is_what_the_file_takes(report):
    control = report["controls"][0]
    result = control["results"][0]
    found = {**result["findings"][1], "owner": ""}
    text = page.waiver(found, control, result["target"])
    (words,) = yaml.safe_load(text)
    assert words == {"control": control["id"], "target": "corp.example", "subject": found["subject"], "owner": None, "reason": None,
                     "expires": None}  # fmt: skip
    assert page.waiver({**found, "status": "waived"}, control, result["target"]) == ""
    assert page.waiver(found, {**control, "id": "waiver-expired"}, result["target"]) == ""


# ---- time


@pytest.mark.parametrize(
    ("begin", "end", "status", "state", "text"),
    [
        ("2026-11-20T01:00:00Z", "2026-11-30T01:00:00Z", "good", "good", "7 d left of 10 d"),
        ("2026-11-14T01:00:00Z", "2026-11-24T01:00:00Z", "good", "soon", "1 d left of 10 d"),
        ("2026-11-10T01:00:00Z", "2026-11-22T22:00:00Z", "expired", "over", "ended 3 h ago"),
        ("2026-11-20T01:00:00Z", None, "good", "soon", "no end is named"),
        (None, None, "unreachable", "unknown", "unreachable"),
    ],
)
def test_crl_on_the_time_line(begin, end, status, state, text):
    life = page_time.time_line([{"this_update": begin, "next_update": end, "status": status}], NOW).lives[0]
    assert (life.state, life.text) == (state, text)
    assert 0 <= life.begin <= life.end <= 100


def test_time_line_holds_a_delta_and_a_root():
    crls = [
        {"this_update": "2026-11-22T13:00:00Z", "next_update": "2026-11-23T13:00:00Z", "status": "good"},
        {"this_update": "2026-06-01T00:00:00Z", "next_update": "2027-06-01T00:00:00Z", "status": "good"},
    ]
    line = page_time.time_line(crls, NOW)
    assert [round(life.end - life.begin) > 10 for life in line.lives] == [True, True]
    assert ("now", line.now) in [(text, place) for place, text in line.ticks]
    assert [place for place, _text in line.ticks] == sorted(place for place, _text in line.ticks)


def _certificate(ends, name="x"):
    return {"not_after": ends, "name": name, "sha256": name + ends, "use": "web", "held_by": "h"}


@pytest.mark.parametrize(
    ("ends", "state", "days"),
    [("2026-11-23T00:59:00Z", "over", -1), ("2026-12-22T00:00:00Z", "soon", 28), ("2027-01-20T01:00:00Z", "later", 58),
     ("2027-03-01T00:00:00Z", "good", 97)],
)  # fmt: skip
def test_ends_of_certificates(ends, state, days):
    found = page_time.endings([_certificate(ends)], NOW)[0]
    assert (found.state, found.days) == (state, days)


@pytest.mark.parametrize(("last", "count"), [("2026-12-01", 12), ("2027-11-30", 18), ("2028-10-01", 24), ("2035-01-01", 12)])
def test_calendar_has_a_year_or_two(last, count):
    months = page_time.months(page_time.endings([_certificate(f"{last}T00:00:00Z")], NOW), NOW)
    assert len(months) == count
    assert months[0].title == "Nov 2026" and months[0].today == 23


def test_day_of_the_calendar():
    """29 February 2028 is a Tuesday in the fifth week of its month."""
    endings = page_time.endings([_certificate("2028-02-29T12:00:00Z", name) for name in ("a", "b")], NOW)
    month = page_time.months(endings, NOW)[15]
    assert (month.title, month.offset, month.length) == ("Feb 2028", 1, 29)
    assert [(day.column, day.row, day.count, day.title) for day in month.days] == [(1, 4, 2, "2028-02-29: a, b")]


# ---- the picture of the chain


@pytest.mark.parametrize("name", ["good", "ordinary", "bad", "hostile", "huge", "unanswered"])
def test_boxes_do_not_overlap_and_stay_inside(name):
    chain = getattr(samples, name)()["chain"]
    for picture in page_chain.pictures(chain):
        for number, box in enumerate(picture.boxes):
            assert box.x >= -1 and box.x + box.width <= picture.width + 1, (picture.name, box)
            assert box.y >= 0 and box.y + box.height <= picture.height + 1
            for other in picture.boxes[:number]:
                apart = box.x >= other.x + other.width or other.x >= box.x + box.width
                assert apart or box.y >= other.y + other.height or other.y >= box.y + box.height, (picture.name, box.label, other.label)


def test_every_picture_shows_every_break(report):
    chain = samples.ordinary()["chain"]
    numbers = {each.number for each in page_chain.breaks(chain)}
    assert len(numbers) == 5
    for picture in page_chain.pictures(chain):
        assert {link.number for link in picture.links if link.number} == numbers, picture.name


def test_picture_of_the_documentation_is_current(monkeypatch):
    if not (ROOT / "docs/compliance-chain.svg").is_file():
        pytest.skip("the documentation is not in this tree")
    specification = importlib.util.spec_from_file_location("compliance_page", ROOT / "tests/tools/compliance_page.py")
    tool = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(tool)
    monkeypatch.setattr(sys, "argv", ["compliance_page.py", "--check"])
    assert tool.main() == 0
    ElementTree.fromstring(tool.picture())


def test_worst_nodes_are_kept_and_the_rest_is_counted():
    chain = samples.huge(400)["chain"]
    nodes, edges = page_chain.reduced(chain, page_chain.DOWN)
    controllers = [node for node in nodes if node["kind"] == "domain_controller"]
    assert [controllers[0]["status"], controllers[-1]["label"]] == ["fail", "and 201 more"], "those that the chain itself left out too"
    assert {edge[end] for edge in edges for end in ("from", "to")} <= {node["id"] for node in nodes}


@pytest.mark.parametrize(
    ("text", "lines"),
    [("dc1", ["dc1"]), ("Corp Example Root CA", ["Corp Example", "Root CA"]), ("CorpSmartcardLogon", ["CorpSmartcard", "Logon"]),
     ("gateway-one.corp.example", ["gateway-one.", "corp.example"]), ("W" * 60, ["W" * 10 + "…"]),
     ("Corp Example VPN CA", ["Corp Example", "VPN CA"]), ("ÄÖ-\N{CJK UNIFIED IDEOGRAPH-8BC1}", ["ÄÖ-\N{CJK UNIFIED IDEOGRAPH-8BC1}"])],
)  # fmt: skip
def test_labels_wrap(text, lines):
    assert page_chain.wrapped(text, 116, 13, 2) == lines
