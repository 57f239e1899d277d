# SPDX-License-Identifier: GPL-3.0-or-later
"""The published schema of reports: it is one, takes what is right, and refuses what is not."""

from __future__ import annotations

import pytest

jsonschema = pytest.importorskip("jsonschema")


def validate(document, schema):
    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER).validate(document)


def test_schema_is_a_schema(schema):
    jsonschema.Draft202012Validator.check_schema(schema)


def test_every_object_of_ours_is_closed(schema):
    """Free are only: verbs, evidence, families."""

    def walk(node, path=""):
        if isinstance(node, dict):
            if "properties" in node and node.get("type") == "object":
                assert node["additionalProperties"] is False, path
            for name, inner in node.items():
                walk(inner, f"{path}/{name}")
        elif isinstance(node, list):
            for item in node:
                walk(item, path)

    walk(schema)


def test_report_is_valid(report, schema):
    validate(report, schema)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda r: r.update(extra=1),
        lambda r: r["run"].pop("title"),
        lambda r: r["controls"][0].update(severity="terrible"),
        lambda r: r["controls"][0]["results"][0]["findings"][0].update(fingerprint="X"),
        lambda r: r["controls"][0]["results"][0]["findings"][0].update(status="pass"),
        lambda r: r["summary"].update(score=101),
        lambda r: r["targets"][0]["asked"].update(search="many"),
    ],
)
def test_what_is_wrong_is_refused(report, schema, spoil):
    spoil(report)
    with pytest.raises(jsonschema.ValidationError):
        validate(report, schema)
