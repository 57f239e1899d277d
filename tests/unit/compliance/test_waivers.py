# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import datetime

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.compliance import waivers
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Target
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError

CONTROLS = ["template-esc1", "template-esc2", "waiver-expired"]
ONE = "{control: template-esc1, subject: template A, owner: pki, reason: later, expires: 2027-01-31}"


def parse(text):
    return waivers.parse(text.encode() if isinstance(text, str) else text, "w.yml", CONTROLS)


def test_file(tmp_path):
    path = tmp_path / "waivers.yml"
    path.write_text(f"---\n# ours\nwaivers:\n  - {ONE}\n")
    found = waivers.load(path, CONTROLS, tmp_path)
    assert (found.path, found.file, len(found.sha256)) == (str(path), "waivers.yml", 64)
    assert found.listed[0] == waivers.Waiver("template-esc1", ("*",), ("template A",), "pki", "later", datetime.date(2027, 1, 31), 4)
    assert waivers.load(path, CONTROLS).file == "waivers.yml"


@pytest.mark.parametrize("text", ["", "# nothing\n", "waivers:\n", "waivers: []\n"])
def test_empty_files_waive_nothing(text):
    assert parse(text) == ()


@pytest.mark.parametrize(
    ("pattern", "subject", "covered"),
    [
        ("template A", "template A", True),
        ("TEMPLATE a", "template A", True),
        ("template A", "template AB", False),
        ("template A*", "template AB", True),
        ("*", "CN=x\nCN=y", True),
        ("user ?", "user 1", True),
        ("user ?", "user 12", False),
        ("CN=a[b]", "CN=a[b]", True),
        ("CN=a[b]", "CN=ab", False),
        ("a.c", "abc", False),
    ],
)
def test_patterns(pattern, subject, covered):
    waiver = waivers.Waiver("c", ("corp.*",), (pattern,), "o", "r", datetime.date(2027, 1, 1), 1)
    assert waiver.covers("c", Target("domain", "corp.example"), subject) == covered
    assert not waiver.covers("c", Target("domain", "branch.example"), subject)
    assert not waiver.covers("d", Target("domain", "corp.example"), subject)


def test_last_day_counts():
    waiver = parse(f"waivers: [{ONE}]")[0]
    assert not waiver.expired(datetime.date(2027, 1, 31))
    assert waiver.expired(datetime.date(2027, 2, 1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("waivers: [", "is no YAML text"),
        (b"\xff\xfe\x00", "is no YAML text"),
        ("[]", "a mapping with the one key waivers"),
        ("other: []", "a mapping with the one key waivers"),
        ("waivers: {a: b}", "a mapping with the one key waivers"),
        ("waivers: [text]", "w.yml:1: a waiver is a mapping"),
        (f"waivers: [{ONE}]".replace("template-esc1", "template-esc11"), r"no control 'template-esc11'; is template-esc1 or template-esc2"),
        (f"waivers: [{ONE}]".replace("template-esc1", "waiver-expired"), "waiver-expired cannot be waived"),
        (f"waivers: [{ONE}]".replace("owner: pki, ", ""), "owner: missing"),
        (f"waivers: [{ONE}]".replace("pki", "''"), "owner: missing"),
        (f"waivers: [{ONE}]".replace("pki", "[a, b]"), "owner: one value is wanted"),
        (f"waivers: [{ONE}]".replace("pki", "{a: b}"), "owner: missing"),
        (f"waivers: [{ONE}]".replace("2027-01-31", "2027-02-30"), "'2027-02-30' is no date"),
        (f"waivers: [{ONE}]".replace("2027-01-31", "31.1.2027"), "'31.1.2027' is no date"),
        (f"waivers: [{ONE}]".replace("2027-01-31", "never"), "'never' is no date"),
        (f"waivers: [{ONE}]".replace("reason", "reasons"), "reasons: a waiver has no such member; is reason meant"),
        (f"waivers: [{ONE}]".replace("subject", "target: [], subject"), "target: empty"),
        (f"waivers:\n- {ONE}\n- {ONE}\n", "w.yml:3: the same as line 2"),
    ],
)
def test_bad_files_are_refused_by_line(text, message):
    with pytest.raises(UserError, match=message):
        parse(text)


def test_all_that_is_wrong_is_told_at_once():
    with pytest.raises(UserError) as error:
        parse(f"waivers:\n- {ONE}\n- {{}}\n- {ONE}\n- x\n".replace("pki", "''"))
    assert [line.split(":")[2] for line in str(error.value).splitlines()] == ["2", "3", "3", "3", "3", "3", "4", "5"]


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"waivers: .*gone.yml cannot be read .*leave the option out"):
        waivers.load(tmp_path / "gone.yml", CONTROLS)


def test_no_bytes_end_in_anything_but_a_user_error():
    hypothesis = pytest.importorskip("hypothesis")
    words = hypothesis.strategies.sampled_from(
        ["waivers:", "\n", "- ", "{", "}", "control: template-esc1", ", ", "&a", "*a", "!!x", "? ", "|", "\t"]
    )
    texts = hypothesis.strategies.lists(words, max_size=12).map("".join).map(str.encode)

    @hypothesis.given(hypothesis.strategies.one_of(texts, hypothesis.strategies.binary(max_size=40)))
    def check(content):
        with contextlib.suppress(UserError):
            waivers.parse(content, "w.yml", CONTROLS)

    check()
