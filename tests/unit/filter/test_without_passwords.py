# SPDX-License-Identifier: GPL-3.0-or-later
"""Passwords of Group Policy preferences get into no export."""

from __future__ import annotations

import base64

import pytest

from ansible_collections.certlogon.core.plugins.filter.without_passwords import FilterModule

FILTER = FilterModule().filters()["without_passwords"]


def policy(text: str, encoding: str = "utf-8") -> dict[str, object]:
    return {
        "name": "P",
        "files": [{"path": r"Machine\Preferences\Groups\Groups.xml", "content": base64.b64encode(text.encode(encoding)).decode()}],
    }


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('<Properties userName="admin" cpassword="j1Uyj3Vx8TY9LtLZil2uAuZkFQA/4latT76ZwgdHdhw"/>', False),
        ("<Properties CPASSWORD = 'j1Uy'/>", False),
        ('<Properties userName="admin" cpassword=""/>', True),
        ("<Properties/>", True),
        ("", True),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_files_with_passwords_are_left_out(text: str, kept: bool, encoding: str) -> None:
    assert bool(FILTER([policy(text, encoding)])[0]["files"]) is kept


def test_policies_without_files_are_as_they_were() -> None:
    assert FILTER([{"name": "P"}, {"name": "Q", "files": []}]) == [{"name": "P"}, {"name": "Q", "files": []}]
