# SPDX-License-Identifier: GPL-3.0-or-later
"""The harness of `./certlogon test`: it must see failures, count right, and go on."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest

from lab import checks, checks_runner, checks_second, checks_steps
from lab.checks_runner import Job, Runner, Step, StepFailed, StepSkipped, Tally
from lab.errors import LabError

JUNIT = """<testsuites><testsuite>
<testcase name="a"/><testcase name="b"><failure message="x"/></testcase><testcase name="c"><error message="x"/></testcase>
<testcase name="d"><skipped message="no vectors"/></testcase><testcase name="e"><skipped message="no vectors"/></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path, tmp_path, {"PATH": "/usr/bin:/bin", "GREETING": "hello"})


def run(runner: Runner, *steps: Step) -> dict[str, str]:
    runner.run(steps, ["lab", "static"])
    return {name: result.state for name, result in runner.results.items()}


def passes(_job: Job) -> None:
    return None


def fails(job: Job) -> None:
    job.run([sys.executable, "-c", "import sys; print('the reason'); sys.exit(3)"])


def skips(_job: Job) -> None:
    raise StepSkipped("no tool")


def breaks(_job: Job) -> None:
    raise KeyError("bug in a step")


def test_a_failing_step_is_told_with_its_log_and_the_others_run(runner, capsys):
    states = run(runner, Step("one", "first", fails), Step("two", "second", passes), Step("three", "third", breaks))
    assert states == {"one": "failed", "two": "passed", "three": "failed"}
    shown = capsys.readouterr().out
    assert "the reason" in shown
    assert "ended with code 3" in shown
    assert "bug in a step" in shown


def test_what_needs_a_failed_step_is_skipped(runner):
    states = run(
        runner, Step("lab", "lab", fails, "lab"), Step("test", "test", passes, "lab", needs=("lab",)), Step("other", "other", passes)
    )
    assert states == {"lab": "failed", "test": "skipped", "other": "passed"}
    assert runner.results["test"].detail == "lab did not pass"


def test_a_step_waits_for_what_it_comes_after(runner):
    order = []
    slow = Step("slow", "slow", lambda _job: time.sleep(0.2) or order.append("slow"), "lab")
    last = Step("last", "last", lambda _job: order.append("last"), after=("slow", "not chosen"))
    run(runner, last, slow)
    assert order == ["slow", "last"]


def test_two_lanes_run_at_the_same_time(runner):
    meeting = threading.Barrier(2, timeout=10)
    states = run(runner, Step("a", "a", lambda _job: str(meeting.wait()), "lab"), Step("b", "b", lambda _job: str(meeting.wait())))
    assert states == {"a": "passed", "b": "passed"}


def test_a_step_that_is_stopped_ends(runner):
    timer = threading.Timer(0.3, runner.stop)
    timer.start()
    begun = time.monotonic()
    states = run(runner, Step("long", "long", lambda job: job.run(["sleep", "60"])), Step("next", "next", passes, after=("long",)))
    assert time.monotonic() - begun < 10
    assert states == {"long": "failed"}


def test_a_command_that_hangs_fails_the_step(runner, monkeypatch):
    monkeypatch.setattr(checks_runner, "LONGEST", 0.3)
    assert run(runner, Step("long", "long", lambda job: job.run(["sleep", "60"]))) == {"long": "failed"}
    assert "did not end within" in runner.results["long"].detail


def test_commands_have_their_environment_and_log(runner):
    def greet(job: Job) -> str:
        job.run(["sh", "-c", "echo $GREETING $NAME"], env={"NAME": "you"})
        return job.output(["sh", "-c", "echo $GREETING"]).strip()

    run(runner, Step("greet", "greet", greet))
    assert "hello you" in runner.results["greet"].log.read_text()
    assert runner.results["greet"].detail == "hello"


def test_a_program_that_is_missing_fails_the_step(runner):
    assert run(runner, Step("x", "x", lambda job: job.run(["no-such-program"]))) == {"x": "failed"}


def test_junit(tmp_path):
    (tmp_path / "r.xml").write_text(JUNIT)
    tally = checks_runner.junit_tally([tmp_path / "r.xml"])
    assert (tally.passed, tally.failed, tally.skipped, dict(tally.reasons)) == (1, 2, 2, {"no vectors": 2})


def test_the_sum_counts_tests_and_steps(runner, tmp_path):
    def tested(job: Job) -> None:
        (tmp_path / "r.xml").write_text(JUNIT)
        job.tests = checks_runner.junit_tally([tmp_path / "r.xml"])
        raise StepFailed("pytest ended with code 1")

    run(runner, Step("tests", "tests", tested), Step("ok", "ok", passes), Step("no", "no", skips))
    text = checks_runner.table(list(runner.results.values()), 140)
    assert text.splitlines()[-1] == "2 passed, 3 failed, 3 skipped"
    assert "2 x no vectors" in text
    assert "1 x no tool" in text


def test_tally_adds_reasons():
    tally = Tally(1, 0, 1)
    tally.reasons["a"] = 1
    tally.add(tally)
    assert (tally.passed, tally.skipped, tally.reasons["a"]) == (2, 2, 2)


# ---- options


@pytest.mark.parametrize(
    ("arguments", "chosen", "without"),
    [
        (["--long"], {"ruff", "unit", "coverage", "second-site"}, set()),
        ([], {"ruff", "unit", "second-site"}, {"coverage"}),
        (["--only", "ruff,mypy"], {"ruff", "mypy"}, {"unit", "coverage"}),
        (["--long", "--skip", "sanity"], {"coverage"}, {"sanity"}),
        (["--long", "--skip", "integration"], {"unit"}, {"integration", "coverage"}),
    ],
)
def test_choice(arguments, chosen, without):
    names = {step.name for step in checks.choose(checks.parser().parse_args(arguments))}
    assert chosen <= names
    assert not without & names


def test_unknown_step():
    with pytest.raises(LabError, match="no step 'rufff'; there are ruff, mypy"):
        checks.choose(checks.parser().parse_args(["--only", "rufff"]))


def test_needs_are_steps():
    names = [step.name for step in checks.STEPS]
    for step in checks.STEPS:
        for other in (*step.needs, *step.after):
            assert names.index(other) < names.index(step.name), f"{step.name} waits for {other}"


# ---- environment


def test_the_users_settings_do_not_reach_the_tools(monkeypatch):
    users = {
        "ANSIBLE_STRATEGY": "free",
        "PYTHONPATH": "/x",
        "LC_MESSAGES": "de",
        "LANG": "de",
        "XDG_CACHE_HOME": "/y",
        "CERTLOGON_SERVER": "z",
        "CERTLOGON_CACHE": "/cache",
        "PIP_CERT": "/ca.pem",
        "PATH": "/usr/bin",
        "HOME": "/home/user",
    }
    made = checks_steps.environment(users)
    assert not {"ANSIBLE_STRATEGY", "PYTHONPATH", "LC_MESSAGES", "LANG", "XDG_CACHE_HOME", "CERTLOGON_SERVER"} & made.keys()
    assert made["PIP_CERT"] == "/ca.pem"
    assert made["CERTLOGON_CACHE"] == "/cache"
    assert made["LC_ALL"] == "C.UTF-8"
    assert made["HOME"] != "/home/user"
    assert made["PATH"].endswith(":/usr/bin")


def test_pip_settings_of_the_environment_become_a_file(tmp_path):
    text = checks_steps.pip_settings(
        {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PIP_INDEX_URL": "https://a.example/simple", "https_proxy": "http://p:1"}
    )
    assert "index-url = https://a.example/simple" in text
    assert "proxy = http://p:1" in text
    assert text.startswith("[global]\n")


def test_the_status_as_the_control_host_sees_it():
    status = {"files": {"ca_bundle": "/var/lib/x/files/ca.pem", "folder": "/var/lib/x/files", "logs": "/var/lib/x/logs"}}
    moved = checks_second.moved(status, "/var/lib/x/files", "/srv/files")
    assert moved["files"] == {"ca_bundle": "/srv/files/ca.pem", "folder": "/srv/files", "logs": "/var/lib/x/logs"}
