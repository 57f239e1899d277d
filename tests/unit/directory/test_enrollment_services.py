# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.directory.enrollment_services import (
    OTHERS,
    EnrollmentServices,
    Published,
    Service,
)
from ansible_collections.certlogon.core.plugins.module_utils.directory.values import ValueEdit
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import run

DN = "CN=Corp CA,CN=Enrollment Services"


def published(*templates: str) -> Published:
    return Published([Service("Corp CA", DN, templates)], ["User", "WebServer", "SmartcardLogon", "SmartcardUser"])


def params(state: str, templates: list[str] | None, name: str = "Corp CA", allow: bool = False) -> dict[str, object]:
    return {"state": state, "config": [{"name": name, "templates": templates}], "allow_missing_templates": allow}


@pytest.mark.parametrize(
    ("state", "stored", "wanted", "add", "delete"),
    [
        ("merged", ["User"], ["User"], [], []),
        ("merged", ["User"], ["user"], [], []),
        ("merged", ["User"], [], [], []),
        ("merged", ["User"], ["smartcardlogon", "SmartcardLogon"], ["SmartcardLogon"], []),
        ("merged", ["Gone"], ["User", "Gone"], ["User"], []),
        ("replaced", ["WebServer", "User"], ["User", "WebServer"], [], []),
        ("replaced", ["User"], ["SmartcardLogon"], ["SmartcardLogon"], ["User"]),
        ("replaced", ["User", "WebServer"], [], [], ["User", "WebServer"]),
        ("replaced", ["User", "user"], ["USER"], [], ["user"]),
        ("deleted", ["User", "user", "WebServer"], ["USER"], [], ["User", "user"]),
        ("deleted", ["User"], ["WebServer", "NeverWas"], [], []),
    ],
)
def test_plan(state, stored, wanted, add, delete):
    changes = EnrollmentServices().plan(params(state, wanted), published(*stored)).changes
    assert [change.details for change in changes] == ([ValueEdit(DN, "certificateTemplates", add, delete)] if add or delete else [])
    for change in changes:
        assert change.before == {"name": "Corp CA", "templates": sorted(stored, key=lambda name: (name.lower(), name))}
        assert sorted(change.after["templates"]) == sorted({*stored, *add} - set(delete))


def test_gathered_is_what_replaced_accepts():
    current = published("WebServer", "User")
    words = EnrollmentServices().objects(current)["Corp CA"]
    assert words == {"name": "Corp CA", "templates": ["User", "WebServer"]}
    assert not EnrollmentServices().plan({"state": "replaced", "config": [words], "allow_missing_templates": False}, current).changes


@pytest.mark.parametrize(
    ("state", "name", "templates", "message"),
    [
        ("merged", "Corp C", ["User"], "config: no enrollment service 'Corp C'; did you mean 'Corp CA'?"),
        ("deleted", "Nothing alike", ["User"], "config: no enrollment service 'Nothing alike'; there are Corp CA"),
        (
            "merged",
            "corp ca",
            ["SmartcardLogin"],
            "Corp CA: templates: no certificate template 'SmartcardLogin'; did you mean 'SmartcardLogon'?",
        ),
        ("replaced", "Corp CA", ["xyz"], "no certificate template 'xyz'; there are SmartcardLogon, SmartcardUser, User, WebServer"),
    ],
)
def test_unknown_names(state, name, templates, message):
    with pytest.raises(UserError) as caught:
        EnrollmentServices().plan(params(state, templates, name), published("User"))
    assert message in str(caught.value)


def test_all_unknown_names_are_reported_at_once():
    wanted = {
        "state": "merged",
        "allow_missing_templates": False,
        "config": [{"name": "X", "templates": ["User"]}, {"name": "Corp CA", "templates": ["a", "b"]}],
    }
    with pytest.raises(UserError) as caught:
        EnrollmentServices().plan(wanted, published())
    assert len(str(caught.value).splitlines()) == 3


def test_long_lists_are_cut():
    current = Published([Service("CA", DN, [])], [f"Template{number:03}" for number in range(200)])
    with pytest.raises(UserError, match=r"Template011 and 188 more$"):
        EnrollmentServices().plan(params("merged", ["zzz"], "CA"), current)


def test_missing_template_may_be_allowed():
    plan = EnrollmentServices().plan(params("merged", ["Coming"], allow=True), published())
    assert [change.details.add for change in plan.changes] == [["Coming"]]
    assert "no certificate template 'Coming'" in plan.warnings[0]


@pytest.mark.parametrize(
    ("state", "templates", "message"), [("merged", None, "templates is missing"), ("deleted", [], "templates is empty")]
)
def test_request_that_says_nothing(state, templates, message):
    with pytest.raises(UserError, match=message):
        run(EnrollmentServices(), params(state, templates), check_mode=False, warn=print)


def test_rendered():
    result = run(EnrollmentServices(), params("rendered", ["User", "SmartcardLogon", "user"]), check_mode=False, warn=print)
    assert result == {"changed": False, "rendered": [{"name": "Corp CA", "templates": ["SmartcardLogon", "User"]}]}


@pytest.mark.parametrize(
    ("state", "wanted", "after"),
    [
        ("merged", ["webserver", "SmartcardUser"], ["SmartcardUser", "WebServer", OTHERS]),
        ("replaced", ["SmartcardUser"], ["SmartcardUser"]),
    ],
)
def test_an_expected_authority_is_foreseen(state, wanted, after):
    nothing = Published([], [])
    plan = EnrollmentServices().plan({**params(state, wanted, "new ca", allow=True), "expected_authorities": ["New CA"]}, nothing)
    assert [(change.name, change.before, change.after) for change in plan.changes] == [
        ("New CA", None, {"name": "New CA", "templates": after})
    ]
    assert plan.warnings == [], "the installation writes the built-in templates"
    with pytest.raises(UserError, match="is not there yet"):
        EnrollmentServices().apply(None, plan.changes[0])


def test_what_is_foreseen_may_be_misspelt_all_the_same():
    with pytest.raises(UserError, match="no enrollment service 'Nwe CA'"):
        EnrollmentServices().plan({**params("merged", ["User"], "Nwe CA"), "expected_authorities": ["New CA"]}, Published([], []))
    plan = EnrollmentServices().plan(
        {**params("merged", ["Usre"], "New CA", allow=True), "expected_authorities": ["New CA"]}, Published([], [])
    )
    assert "no certificate template 'Usre'; did you mean 'User'?" in plan.warnings[0]


def test_an_expected_authority_that_is_there_is_like_any_other():
    wanted = {**params("merged", ["SmartcardUser"]), "expected_authorities": ["Corp CA"]}
    [change] = EnrollmentServices().plan(wanted, published("User")).changes
    assert change.details == ValueEdit(DN, "certificateTemplates", ["SmartcardUser"], [])
