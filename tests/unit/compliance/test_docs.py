# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of controls are current, and the tool that says so would notice if they were not; the example of waivers holds."""

from __future__ import annotations

import datetime
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.compliance import waivers
from ansible_collections.certlogon.core.plugins.module_utils.compliance.catalogue import load

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = ROOT / "tests/tools/compliance_docs.py"
    if not path.is_file():
        pytest.skip("the tool is not in this tree")
    specification = importlib.util.spec_from_file_location("compliance_docs", path)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    copy = tmp_path / "compliance.md"
    copy.write_text(module.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(module, "PAGE", copy)
    monkeypatch.setattr(sys, "argv", ["compliance_docs.py", "--check"])
    return module


def test_tables_are_current(tool: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main() == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("`template-esc1`", "`template-esc99`", "not current"),
        ("<!-- end of generated controls -->", "", "marks of the generated part are missing"),
    ],
)
def test_what_is_not_current_is_told(tool: ModuleType, old: str, new: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = tool.PAGE.read_text(encoding="utf-8")
    assert old in text
    tool.PAGE.write_text(text.replace(old, new), encoding="utf-8")
    assert tool.main() == 1
    assert message in capsys.readouterr().err


def test_tables_are_written(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    current = tool.PAGE.read_text(encoding="utf-8")
    tool.PAGE.write_text(current.replace("| Control |", "| Name |"), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["compliance_docs.py"])
    assert tool.main() == 0
    assert tool.PAGE.read_text(encoding="utf-8") == current


def test_example_of_waivers_can_be_used() -> None:
    path = ROOT / "docs/examples/waivers.yml"
    if not path.is_file():
        pytest.skip("the example is not in this tree")
    found = waivers.load(path, [control.id for control in load().controls])
    assert found.listed
    assert not any(waiver.expired(datetime.date(2026, 11, 1)) for waiver in found.listed)
