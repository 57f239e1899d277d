# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/connect-secure.md says what the table and the options say."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from ansible_collections.certlogon.core.plugins.doc_fragments.connect_secure import ModuleDocFragment
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.backup import OPEN
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.connection import CONNECTION, VARIABLES
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.table import STANDINGS, Shape, Table

PAGE = Path(__file__).parents[3] / "docs" / "connect-secure.md"


@pytest.fixture(scope="module")
def page() -> str:
    if not PAGE.is_file():
        pytest.skip("the collection alone has no docs")
    return PAGE.read_text(encoding="utf-8")


def row(shape: Shape) -> str:
    counts = Counter(field.standing for field in shape.fields.values())
    members = ", ".join(f"{counts[standing]} {standing}" for standing in STANDINGS if counts[standing])
    return f"| `{shape.resource}` | `{shape.element}` | {shape.own_standing} | {members} |"


def test_the_standing_of_each_resource(page: str) -> None:
    table = Table.load()
    rows = [row(table.resource(name)) for name in table.resources]
    found = page.partition("<!-- standing")[2].partition("<!-- end -->")[0].splitlines()[3:]
    assert found == rows, "\n".join(rows)


def test_the_example_of_an_override_is_one(page: str) -> None:
    example = page.partition("connect_secure_table:\n")[2].partition("```")[0]
    lines = yaml.safe_load("connect_secure_table:\n" + example)["connect_secure_table"]
    assert Table.load(lines).resource("trusted_client_ca").standing("status_checking") == "overridden"


def test_the_command_that_opens_a_backup(page: str) -> None:
    assert OPEN in page
    assert OPEN in ModuleDocFragment.DOCUMENTATION


def test_options_variables_and_documentation_agree() -> None:
    documented = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
    assert set(documented) == set(CONNECTION)
    for name, spec in CONNECTION.items():
        assert documented[name].get("default") == spec.get("default"), name
        assert documented[name]["type"] == spec["type"], name
        text = " ".join(documented[name]["description"])
        assert re.findall(r"C\(((?:connect_secure|ansible_(?:host|httpapi|user|password))\w*)\)", text) == [
            variable for variable in (f"connect_secure_{name}", *VARIABLES.get(name, ())) if variable != "inventory_hostname"
        ], name


def test_variables_of_the_page(page: str) -> None:
    for variables in VARIABLES.values():
        for variable in variables:
            assert variable in page or variable == "inventory_hostname" or variable.startswith("ansible_httpapi_client")
