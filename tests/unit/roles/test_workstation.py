# SPDX-License-Identifier: GPL-3.0-or-later
"""What role passivekey_workstation reads of a workstation and writes into Firefox' policies; and the extension it builds."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLE = Path(__file__).resolve().parents[3] / "roles/passivekey_workstation"


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROLE / f"files/{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


state = load("workstation_state")
extension = load("build_extension")
OURS = {
    "wanted": True,
    "servers": ["pk.example"],
    "id": "us@example",
    "settings": {"installation_mode": "force_installed"},
    "unsigned": False,
}
NONE = {**OURS, "wanted": False}
UNSIGNED = {"Preferences": {"xpinstall.signatures.required": {"Value": False, "Status": "locked"}}}
THEIRS = {
    "policies": {
        "DisableTelemetry": True,
        "Authentication": {"SPNEGO": ["wiki.example"], "Locked": True},
        "ExtensionSettings": {"*": {"installation_mode": "blocked"}},
        "Preferences": {"xpinstall.signatures.required": {"Value": True, "Status": "locked"}},
    },
    "other": 1,
}


def test_firefox_policies_of_others_stay() -> None:
    both = state.with_ours(THEIRS, OURS)
    assert both["policies"]["Authentication"] == {"SPNEGO": ["wiki.example", "pk.example"], "Locked": True}
    assert set(both["policies"]["ExtensionSettings"]) == {"*", "us@example"} and both["other"] == 1
    assert both["policies"]["Preferences"] == THEIRS["policies"]["Preferences"]  # type: ignore[index]
    assert state.with_ours(both, OURS) == both
    assert state.with_ours(both, NONE) == THEIRS


@pytest.mark.parametrize("options", [OURS, {**OURS, "unsigned": True}, {**OURS, "settings": {}}])
def test_nothing_is_left_where_nothing_was(options: dict[str, Any]) -> None:
    made = state.with_ours({}, options)
    assert made and state.with_ours(made, {**options, "wanted": False}) == {}
    assert ("Preferences" in made["policies"]) == options["unsigned"]


def test_a_file_that_cannot_be_read_is_not_lost(tmp_path: Path) -> None:
    file = tmp_path / "policies.json"
    strange = ('{"policies": []}', '{"policies": {"Authentication": "x"}}', '{"policies": {"Authentication": {"SPNEGO": "x"}}}')
    odd = [(content, False) for content in strange]
    for content, readable in (("{", False), ("[]", False), *odd, ("", True), ("{}", True), (json.dumps(THEIRS), True)):
        file.write_text(content)
        found = state.firefox({**OURS, "path": str(file)}, False)
        assert found["readable"] is readable and (found["differs"] is readable)
    assert state.firefox({**OURS, "path": str(tmp_path / "none")}, True)["differs"] is False, "a dry run that cannot know the extension"


def test_policies_that_another_file_sets(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"AuthServerAllowlist": "x", "HomepageLocation": "y"}')
    (tmp_path / "b.json").write_text("no json")
    (tmp_path / "passivekey.json").write_text('{"AuthServerAllowlist": "ours"}')
    names = ["AuthServerAllowlist", "ExtensionInstallForcelist"]
    assert state.set_elsewhere(str(tmp_path / "passivekey.json"), names) == [f"{tmp_path}/a.json: AuthServerAllowlist"]
    assert state.set_elsewhere(str(tmp_path / "nowhere/passivekey.json"), names) == []


def test_an_environment_that_no_longer_works(tmp_path: Path) -> None:
    program = tmp_path / "bin/passivekey-agent"
    program.parent.mkdir()
    (tmp_path / "installed").write_text("certlogon 1\n")
    assert not state.installed(str(tmp_path), "certlogon 1"), "there is no program"
    program.write_text(f"#!{sys.executable}\n")
    program.chmod(0o755)
    assert state.installed(str(tmp_path), "certlogon 1") and not state.installed(str(tmp_path), "certlogon 2")
    program.write_text("#!/gone/python3\n")
    assert not state.installed(str(tmp_path), "certlogon 1")


def test_what_is_missing_and_what_is_linked(tmp_path: Path) -> None:
    modules = {"json": "python3", "no_such_module": "python3-none", "neither.is": "python3-none"}
    assert state.missing(modules, {"sh": "dash", "no-such-program": "none"}) == ["none", "python3-none"]
    (tmp_path / "link").symlink_to("../there")
    assert state.linked(tmp_path / "link", "../there") and not state.linked(tmp_path / "link", "there")


def test_the_extension_and_its_key(tmp_path: Path) -> None:
    browsers = pytest.importorskip("passivekey.agent.browsers", reason="the package passivekey is not there")
    options = {"folder": str(tmp_path / "pk"), "sites": ["a.example"], "update_url": "https://f.example/pk/updates.xml", "check": True}
    assert extension.main(options) == {"id": "", "changed": True} and not (tmp_path / "pk").exists()
    made = extension.main({**options, "check": False})
    key, public = tmp_path / "pk/extension.pem", tmp_path / "pk/public"
    assert made["changed"] and key.stat().st_mode & 0o777 == 0o600
    assert made["id"] == browsers.extension_id(browsers.public_key(key)[1]) and made["id"] in (public / "updates.xml").read_text()
    packed = {path: path.read_bytes() for path in public.rglob("*") if path.is_file()}
    assert {path.name for path in packed} >= {"passivekey.crx", "passivekey.xpi", "updates.xml"}
    assert extension.main({**options, "check": False}) == extension.main(options) == {"id": made["id"], "changed": False}
    more = {**options, "sites": ["a.example", "b.example"]}
    assert extension.main(more) == {"id": made["id"], "changed": True}
    assert all(path.read_bytes() == content for path, content in packed.items()), "a dry run changes nothing"
    assert extension.main({**more, "check": False})["changed"]
    assert "version='1.0'/>" not in (public / "updates.xml").read_text(), "browsers take an update by its version"
    key.write_text("no key")
    with pytest.raises(SystemExit, match="is no RSA key"):
        extension.main(options)


def test_names_are_those_of_the_agent() -> None:
    browsers = pytest.importorskip("passivekey.agent.browsers", reason="the package passivekey is not there")
    words = yaml.safe_load((ROLE / "vars/main.yml").read_text())
    assert words["__workstation_native_host"] == browsers.HOST and words["__workstation_firefox_id"] == browsers.FIREFOX_ID
    places = words["__workstation_places"]
    assert {name: places[name]["hosts"] for name in browsers.BROWSERS} == {name: browsers._FOLDERS[name][1] for name in browsers.BROWSERS}
    windows = {"chrome": "chromium", "edge": "edge", "firefox": "firefox"}
    assert words["__workstation_windows_keys"] == {name: browsers._WINDOWS_KEYS[theirs] for name, theirs in windows.items()}


@pytest.mark.skipif(os.name != "posix", reason="reads /proc")
def test_a_time_service_is_known_by_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "CLOCKS", (Path("/proc/self/comm").read_text().strip(),))
    assert state.clock() in state.CLOCKS
    monkeypatch.setattr(state, "CLOCKS", ("no such",))
    assert state.clock() == ""
