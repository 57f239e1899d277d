# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.compliance import baseline
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Target
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError

DOMAIN = Target("domain", "corp.example")


def test_fingerprints_are_of_control_target_and_subject_alone():
    one = baseline.fingerprint("template-esc1", DOMAIN, "template A")
    assert len(one) == 32
    others = {
        baseline.fingerprint("template-esc2", DOMAIN, "template A"),
        baseline.fingerprint("template-esc1", Target("ocserv", "corp.example"), "template A"),
        baseline.fingerprint("template-esc1", Target("domain", "branch.example"), "template A"),
        baseline.fingerprint("template-esc1", DOMAIN, "template B"),
    }
    assert len(others | {one}) == 5


def test_report_as_baseline(report, tmp_path):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report))
    found = baseline.load(path)
    assert (found.path, found.at) == (str(path), "2026-11-22T02:00:41Z")
    assert found.crls["http://pki.corp.example/corp.crl"] == {
        "issuer": "CN=Corp CA",
        "number": 42,
        "this_update": "2026-11-20T00:00:00Z",
        "next_update": "2026-11-27T00:00:00Z",
    }
    subjects = {failure.subject for failure in found.failures}
    assert {"template LegacyWeb", "template Kiosk"} <= subjects
    assert "dc1.corp.example" not in subjects  # unknown
    unlisted = found.unlisted["account-weak-mapping", DOMAIN]
    assert len(unlisted) == 3
    assert unlisted < found.known


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: r.update(format="other/1"), "has format 'other/1'"),
        (lambda r: r["run"].update(pseudonyms=True), "has pseudonyms for names"),
        (lambda r: r.pop("controls"), "is no compliance report"),
        (lambda r: r["controls"][0].pop("results"), "is no compliance report"),
        (lambda r: r["crls"].append({}), "is no compliance report"),
    ],
)
def test_what_cannot_be_compared_is_refused(report, spoil, message):
    spoil(report)
    with pytest.raises(FormatError, match=message):
        baseline.parse(report, "r.json")


@pytest.mark.parametrize("content", ["", "[]", "null", '"a"', "{", "[" * 100_000])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(FormatError, match=r"r\.json"):
        baseline.load(path)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        baseline.load(tmp_path / "gone.json")
