# SPDX-License-Identifier: GPL-3.0-or-later
"""What the filter writes, Ansible's own loader and templating read back as the same values."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.certlogon.core.plugins.filter.to_inventory import FilterModule, to_inventory

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\nAAAA\n-----END CERTIFICATE-----\n"

VALUES = [
    "plain",
    "yes",
    "1.10",
    "0x10",
    "2026-11-22",
    "null",
    "",
    " lead and trail ",
    "a: b # c",
    "{31B2F340-016D-11D2-945F-00C04FB984F9}",
    "{{ 1 + 1 }}",
    "{% raw %}",
    "{# gone #}",
    "C:\\Windows\\{{x}}",
    "line one\nline two {{ x }}\n",
    "tab\tand\r\nreturn",
    "Größe 名前",
    PEM,
    "\x07bell",
    "trailing space \nnext",
    True,
    None,
    -2113929216,
    [],
    {},
    ["a", ["b"], {"c": "no"}],
]


def read_back(text: str, tmp_path: Path) -> dict[str, object]:
    path = tmp_path / "vars.yml"
    path.write_text(text, encoding="utf-8")
    loader = DataLoader()
    variables = loader.load_from_file(str(path))
    result = Templar(loader=loader, variables=variables).template(variables)
    assert isinstance(result, dict)
    return result


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_come_back_as_they_were(value: object, tmp_path: Path) -> None:
    assert read_back(to_inventory({"certlogon_x": [{"value": value}]}), tmp_path) == {"certlogon_x": [{"value": value}]}


def test_certificates_are_literal_blocks() -> None:
    assert "content: |\n      -----BEGIN CERTIFICATE-----\n      MIIB\n" in to_inventory({"certlogon_x": [{"content": PEM}]})


def test_heading_is_comment_line_by_line() -> None:
    assert to_inventory({"a": 1}, "first\n\nsecond").splitlines() == ["---", "# first", "#", "# second", "a: 1"]


def test_lists_are_indented_below_their_key() -> None:
    assert to_inventory({"a": ["b"]}) == "---\na:\n  - b\n"


def test_repeated_values_are_written_twice() -> None:
    same = ["b"]
    assert "&" not in to_inventory({"a": same, "c": same})


def test_anything_but_variables_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="a dictionary of variables is needed, not list"):
        FilterModule().filters()["to_inventory"]([])


class Stubborn(str):
    """Text as ansible-core 2.17 marks it: its own kind even of str()."""

    def __str__(self) -> str:
        return self


def test_marked_text_is_text() -> None:
    assert to_inventory({Stubborn("a"): [Stubborn("b")]}, Stubborn("c")) == "---\n# c\na:\n  - b\n"
