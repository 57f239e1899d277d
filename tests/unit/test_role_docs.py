# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles' tables are current, and the tool that says so would notice if they were not."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tool, set on a copy of the roles."""
    path = ROOT / "tests/tools/role_docs.py"
    if not path.is_file():
        pytest.skip("the tool is not in this tree")
    specification = importlib.util.spec_from_file_location("role_docs", path)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    shutil.copytree(ROOT / "roles", tmp_path / "roles")
    monkeypatch.setattr(module, "ROLES", tmp_path / "roles")
    monkeypatch.setattr(sys, "argv", ["role_docs.py", "--check"])
    return module


def test_tables_are_current(tool: ModuleType) -> None:
    assert tool.main() == 0


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("trust_roots/README.md", "| `certlogon_exact_stores` |", "| `certlogon_stores` |", "tables of variables are not current"),
        ("trust_roots/README.md", "<!-- end of generated variables -->", "", "marks of the generated part are missing"),
        (
            "smart_card_policy/defaults/main.yml",
            "behaviour: lock",
            "behaviour: disconnect",
            "is 'disconnect' in defaults/main.yml",
        ),
        ("smart_card_policy/defaults/main.yml", "certlogon_group_policies:", "certlogon_policies:", "no entry in meta/argument_specs.yml"),
    ],
)
def test_what_is_not_current_is_told(
    tool: ModuleType, file: str, old: str, new: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tool.ROLES / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    assert tool.main() == 1
    assert message in capsys.readouterr().err


def test_tables_are_written(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = tool.ROLES / "export/README.md"
    current = readme.read_text(encoding="utf-8")
    readme.write_text(current.replace("| Variable |", "| Name |"), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["role_docs.py"])
    assert tool.main() == 0
    assert readme.read_text(encoding="utf-8") == current
