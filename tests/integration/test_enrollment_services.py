# SPDX-License-Identifier: GPL-3.0-or-later
"""Publication of templates, on a real domain controller; `ldbsearch` reads back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from ansible_collections.certlogon.core.plugins.module_utils.directory.enrollment_services import EnrollmentServices
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.modules.ad_enrollment_services import EXAMPLES

MODULE = "certlogon.core.ad_enrollment_services"
CA = "Corp Example VPN CA"
BASE = "CN=Public Key Services,CN=Services,CN=Configuration,DC=corp,DC=example"
DN = f"CN={CA},CN=Enrollment Services,{BASE}"
TEMPLATES = [f"ServiceTest{letter}" for letter in "ABC"]


@pytest.fixture
def templates(lab: Any) -> Iterator[list[str]]:
    """Three templates (as little of one as the directory accepts), and a CA whose publications are put back."""
    before = stored(lab)
    lab.ldbmodify(f"dn: {DN}\nchangetype: modify\nreplace: certificateTemplates\n")
    for name in TEMPLATES:
        lab.ldbmodify(f"dn: CN={name},CN=Certificate Templates,{BASE}\nchangetype: add\nobjectClass: pKICertificateTemplate\nflags: 0\n\n")
    yield TEMPLATES
    values = "".join(f"certificateTemplates: {name}\n" for name in before)
    lab.ldbmodify(f"dn: {DN}\nchangetype: modify\nreplace: certificateTemplates\n{values}")
    for name in TEMPLATES:
        lab.ldbmodify(f"dn: CN={name},CN=Certificate Templates,{BASE}\nchangetype: delete\n\n")


def stored(lab: Any) -> list[str]:
    entry = lab.ldbsearch(DN, "(objectClass=*)", "certificateTemplates", scope="base")[0]
    return sorted(value.decode() for value in entry.get("certificatetemplates", []))


def test_rhythm(lab: Any, run_resource: Callable[..., Any], templates: list[str]) -> None:
    first, second, third = templates
    steps = [
        (("merged", [{"name": CA.lower(), "templates": [first, second.lower()]}]), [first, second]),
        (("replaced", [{"name": CA, "templates": [third]}]), [third]),
        (("replaced", [{"name": CA, "templates": [third, first]}]), [first, third]),
        (("deleted", [{"name": CA, "templates": [third.upper()]}]), [first]),
        (("replaced", [{"name": CA, "templates": []}]), []),
    ]
    for (state, config), expected in steps:
        before = stored(lab)
        predicted = run_resource(EnrollmentServices(), config, state, check_mode=True)
        assert predicted["changed"] and stored(lab) == before, "check mode writes nothing"
        done = run_resource(EnrollmentServices(), config, state)
        assert done == predicted and stored(lab) == expected
        assert done["diff"][0]["before"] == {"templates": before}
        assert done["diff"][0]["after"] == {"templates": expected}
        assert not run_resource(EnrollmentServices(), config, state)["changed"]


def test_gathered_is_accepted_and_changes_nothing(run_resource: Callable[..., Any], templates: list[str]) -> None:
    run_resource(EnrollmentServices(), [{"name": CA, "templates": templates}])
    gathered = run_resource(EnrollmentServices(), state="gathered")["gathered"]
    assert {"name": CA, "templates": templates} in gathered
    for state in ("merged", "replaced"):
        assert not run_resource(EnrollmentServices(), gathered, state)["changed"]
    assert run_resource(EnrollmentServices(), [{"name": CA.upper()}], "gathered")["gathered"] == [{"name": CA, "templates": templates}]


def test_ansible_and_the_module_process(lab: Any, playbook: Callable[..., Any], templates: list[str]) -> None:
    task = {"name": "publish", MODULE: {"config": [{"name": CA, "templates": templates}]}}
    by_module = {**task, "environment": {"A": "b"}}
    predicted = playbook([task, by_module], check=True)
    assert [one.changed for one in predicted.tasks] == [True, True] and stored(lab) == []
    assert predicted.output.count(f'+        "{templates[0]}"') == 2
    done = playbook([by_module, task, by_module])
    assert [one.changed for one in done.tasks] == [True, False, False]
    assert stored(lab) == templates


def test_examples(playbook: Callable[..., Any]) -> None:
    tasks = yaml.safe_load(EXAMPLES)
    for option in ("server", "username", "password"):
        tasks[0][MODULE].pop(option)
    for task in tasks[:2]:
        task[MODULE]["allow_missing_templates"] = True
    done = playbook(tasks, check=True)
    assert done.tasks[0].changed and len(done.last["gathered"]) >= 2


def test_names_that_differ_in_case_only(lab: Any, run_resource: Callable[..., Any], templates: list[str]) -> None:
    """Samba stores both; `replaced` leaves one."""
    values = "".join(f"certificateTemplates: {name}\n" for name in (templates[0], templates[0].upper()))
    lab.ldbmodify(f"dn: {DN}\nchangetype: modify\nreplace: certificateTemplates\n{values}")
    assert not run_resource(EnrollmentServices(), [{"name": CA, "templates": [templates[0].lower()]}])["changed"]
    run_resource(EnrollmentServices(), [{"name": CA, "templates": [templates[0]]}], "replaced")
    assert len(stored(lab)) == 1


def test_a_value_of_somebody_else_survives(lab: Any, templates: list[str], connection: dict[str, Any]) -> None:
    """Another writer adds a template between our read and our write."""
    resource = EnrollmentServices()
    params = {**connection, "config": [{"name": CA, "templates": [templates[0]]}], "state": "merged", "allow_missing_templates": False}
    with resource.open({**defaults(resource), **params}, print) as session:
        plan = resource.plan(params, resource.read(session, params))
        lab.ldbmodify(f"dn: {DN}\nchangetype: modify\nadd: certificateTemplates\ncertificateTemplates: {templates[1]}\n")
        resource.apply(session, plan.changes[0])
    assert {templates[0], templates[1]} <= set(stored(lab))


def defaults(resource: Any) -> dict[str, Any]:
    return {name: option.get("default") for name, option in resource.argument_spec().items()}


@pytest.mark.parametrize("account", ["plain.user", "policy.editor"])
def test_missing_rights_are_named(lab: Any, run_resource: Any, connection_as: Any, templates: list[str], account: str) -> None:
    before = stored(lab)
    with pytest.raises(UserError, match=f"{CA}: this account may not write certificateTemplates of CN={CA}"):
        run_resource(EnrollmentServices(), [{"name": CA, "templates": templates}], **connection_as(account))
    assert stored(lab) == before


def test_unknown_names(run_resource: Callable[..., Any], templates: list[str]) -> None:
    with pytest.raises(UserError, match="no enrollment service 'Corp Example VPM CA'; did you mean 'Corp Example VPN CA'"):
        run_resource(EnrollmentServices(), [{"name": "Corp Example VPM CA", "templates": []}])
    with pytest.raises(UserError, match="no certificate template 'ServiceTestAA'; did you mean 'ServiceTestA'"):
        run_resource(EnrollmentServices(), [{"name": CA, "templates": ["ServiceTestAA"]}])


def test_an_authority_to_come_is_foreseen_in_check_mode_only(run_resource: Callable[..., Any], templates: list[str]) -> None:
    config = [{"name": "Corp New CA", "templates": ["KerberosAuthentication", templates[0]]}]
    result = run_resource(EnrollmentServices(), config, check_mode=True, expected_authorities=["Corp New CA"])
    assert result["changes"] == [{"name": "Corp New CA", "action": "create"}] and not result["warnings"]
    assert "known after apply" in str(result["diff"])
    done = run_resource(EnrollmentServices(), config, expected_authorities=["Corp New CA"])
    assert done["failed"] and "is not there yet" in done["msg"]
