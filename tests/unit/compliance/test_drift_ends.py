# SPDX-License-Identifier: GPL-3.0-or-later
"""The run in check mode that looks for drift ends with the run that started it, however that is ended: nobody goes on talking to hosts."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.certlogon.core.plugins.plugin_utils import owned
from ansible_collections.certlogon.core.plugins.plugin_utils.site_check import SiteCheck

pytestmark = pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="processes are found by /proc")

SITE = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.command: {argv: [sh, -c, "touch busy; exec sleep 300"]}
      check_mode: false
"""
ENDS: dict[str, Callable[[int], None]] = {
    "killed": lambda pid: os.kill(pid, signal.SIGKILL),
    "terminated": lambda pid: os.kill(pid, signal.SIGTERM),
    "interrupted at the terminal": lambda pid: os.killpg(pid, signal.SIGINT),
    "its task killed": lambda pid: os.kill(only_child(pid), signal.SIGKILL),
}


def only_child(pid: int) -> int:
    [found] = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(found)


def at_work(folder: Path) -> list[int]:
    """The processes that were started in the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (path / "cwd").resolve(strict=True) == folder:
                found.append(int(path.name))
    return found


def awaited(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    return condition()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Path, subprocess.Popen[bytes]]]]:
    """For each way to end one: a run that looks for drift, whose child is at work on a host. All at once, for each takes its time."""
    found = {}
    for name in ENDS:
        folder = tmp_path_factory.mktemp("drift")
        (folder / "site.yml").write_text(SITE)
        task = {"certlogon.core.compliance_drift": {"folder": "seen", "playbook": "site.yml", "timeout": 200}}
        (folder / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
        given = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        command = [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", "-e", json.dumps(given), "play.yml"]
        with (folder / "output").open("wb") as output:
            found[name] = (folder, subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, start_new_session=True))
    yield found
    for folder, child in found.values():
        for pid in at_work(folder):
            os.kill(pid, signal.SIGKILL)
        child.wait()


@pytest.mark.parametrize("name", ENDS)
def test_it_ends_with_the_run_that_started_it(runs: dict[str, tuple[Path, subprocess.Popen[bytes]]], name: str) -> None:
    folder, child = runs[name]
    assert awaited((folder / "busy").exists, 90), (folder / "output").read_text()
    ENDS[name](child.pid)
    assert awaited(lambda: not at_work(folder), 30), [Path(f"/proc/{one}/cmdline").read_text() for one in at_work(folder)]


def test_it_ends_when_its_time_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site.yml").write_text(SITE.replace("all", "localhost"))  # which is there without an inventory
    found = SiteCheck().read(None, {"folder": "seen", "playbook": "site.yml", "skip_tags": [], "timeout": 1})
    assert "did not end within 1 s" in found["error"]
    assert at_work(tmp_path) == [os.getpid()]


@pytest.mark.parametrize(("script", "code"), [("exit 3", 3), ("kill -9 $$", 137)])
def test_a_command_that_ends_by_itself(script: str, code: int) -> None:
    with subprocess.Popen([*owned.COMMAND, "sh", "-c", script], stdin=subprocess.PIPE) as keeper:
        assert keeper.wait(20) == code


HURRIED = f"""
import sys; sys.path.insert(0, {str(Path(owned.__file__).parent)!r})
import owned; owned.ENDS = tuple((number, min(patience, 0.5)) for number, patience in owned.ENDS)
sys.exit(owned.run(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "script",
    [
        "touch busy; sleep 300",
        "trap '' INT; touch busy; sleep 300",
        "trap '' INT TERM; touch busy; sleep 300",
        "sleep 300 & touch busy; wait",
    ],
    ids=["plain", "deaf to one signal", "deaf to two", "its child deaf"],
)
def test_a_command_that_its_owner_has_done_with(tmp_path: Path, script: str) -> None:
    """Nothing of it is left, whatever it makes of signals. A shell lets what it starts in the background ignore interrupts."""
    command = [sys.executable, "-I", "-S", "-c", HURRIED, "sh", "-c", script]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, start_new_session=True):
        assert awaited((tmp_path / "busy").exists, 20)
    assert awaited(lambda: not at_work(tmp_path), 5)
