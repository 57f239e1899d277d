# SPDX-License-Identifier: GPL-3.0-or-later
"""`./certlogon test`: every check, on labs of its own beside a running demo."""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import checks_second as second
from lab import checks_steps as steps
from lab.checks_runner import Runner, Step, table
from lab.errors import LabError
from lab.labs import Lab, all_labs
from lab.settings import CHECKOUT

STEPS = (
    Step("ruff", "style: ruff check, ruff format", steps.ruff),
    Step("mypy", "types: mypy, strict on the engine", steps.mypy),
    Step("lab", "a lab of its own", steps.lab, "lab"),
    # the longest first, so that the lanes end together
    Step("authority", "integration tests with the CA host", steps.authority, "lab", needs=("lab",)),
    Step("integration", "integration tests", steps.integration, "lab", needs=("lab",)),
    Step("whole-site", "certlogon.core.site from CA to tunnel: foreseen, done, done once", steps.whole_site, "lab", needs=("lab",)),
    Step("gateways", "integration tests with VPN gateways", steps.gateways, "lab", needs=("lab",)),
    Step("unit", "unit tests", steps.unit),
    Step("lint", "ansible-lint, profile production", steps.ansible_lint),
    Step("docs", "documentation, changelog, role tables", steps.documentation),
    Step("sanity", "ansible-test sanity", steps.sanity),
    Step("units", "ansible-test units (engine, filters, directory, CA host)", steps.units),
    Step("packaging", "wheel, development install and tarball in empty environments", steps.packaging),
    Step("molecule", "molecule: check, converge, idempotence, verify", steps.molecule, "lab", needs=("lab",)),
    Step("second", "Debian 13's Python with the newest ansible-core", second.install, "lab", needs=("lab",)),
    Step("second-unit", "unit tests, second pair", second.unit, "lab", needs=("second",)),
    Step("second-integration", "integration tests, second pair", second.integration, "lab", needs=("second",), after=("second-unit",)),
    Step("second-site", "certlogon.core.site twice, second pair", second.site, "lab", needs=("second",), after=("second-integration",)),
    Step(
        "second-ca",
        "certlogon.core.site twice with a CA host, second pair",
        second.site_with_ca,
        "lab",
        needs=("second",),
        after=("second-site",),
    ),
    Step("coverage", "coverage, which a run with --long measures", steps.coverage_report, needs=(), after=("unit", "integration")),
)
NEEDED_FOR_COVERAGE = {"unit", "integration"}
ONLY_IF_LONG = {"coverage", "second-ca"}


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    chosen = choose(options)
    if options.list:
        width = max(len(step.name) for step in chosen)
        print("\n".join(f"{step.name:{width}}  {step.title}" for step in chosen))
        return 0
    if options.long:
        os.environ[steps.LONG] = "1"
    signal.signal(signal.SIGTERM, _interrupted)
    signal.signal(signal.SIGHUP, _interrupted)
    with only_one_run():
        begun = time.monotonic()
        users = dict(os.environ)
        shutil.rmtree(steps.OUT / "dist", ignore_errors=True)
        steps.prepare(users)
        end_labs_of_dead_runs()
        end_own_labs()  # of a dead run that had our number
        runner = Runner(steps.OUT, CHECKOUT, steps.environment(users))
        stopped = False
        try:
            runner.run(chosen, ["lab", "static"])
        except KeyboardInterrupt:
            stopped = True
            runner.stop()
        finally:
            end_own_labs()
        results = [runner.results[step.name] for step in chosen if step.name in runner.results]
        print(f"\n{len(results)} of {len(chosen)} steps in {time.monotonic() - begun:.0f} s; logs in {steps.OUT}")
        print(table(results, shutil.get_terminal_size((140, 24)).columns), flush=True)
        failed = stopped or any(result.state == "failed" for result in results)
        return 130 if stopped else int(failed)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="certlogon test", description="All checks. Goes on after a step that fails.")
    made.add_argument("--only", metavar="STEP,STEP", help="only these steps")
    made.add_argument("--skip", metavar="STEP,STEP", help="all but these steps")
    made.add_argument("--long", action="store_true", help="the long tests too, and coverage: about an hour")
    made.add_argument("--list", action="store_true", help="print the steps and do nothing")
    return made


def choose(options: argparse.Namespace) -> list[Step]:
    names = [step.name for step in STEPS]
    asked = {option: [name for name in (getattr(options, option) or "").split(",") if name] for option in ("only", "skip")}
    for name in (*asked["only"], *asked["skip"]):
        if name not in names:
            raise LabError(f"there is no step {name!r}; there are {', '.join(names)}")
    chosen = {name for name in names if (not asked["only"] or name in asked["only"]) and name not in asked["skip"]}
    if not asked["only"]:
        if not options.long:
            chosen -= ONLY_IF_LONG
        if not chosen >= NEEDED_FOR_COVERAGE:
            chosen.discard("coverage")  # it would judge half of the tests
    return [step for step in STEPS if step.name in chosen]


def _interrupted(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


@contextmanager
def only_one_run() -> Iterator[None]:
    """The folder of results belongs to one run at a time."""
    steps.OUT.mkdir(parents=True, exist_ok=True)
    with (steps.OUT / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError("another test run is using build/test of this checkout; wait for it, or test in another copy") from None
        yield


def end_own_labs() -> None:
    for lab in all_labs():
        if lab.name == steps.lab_name() or lab.name.startswith(steps.lab_name() + "-"):
            end(lab)


def end_labs_of_dead_runs() -> None:
    """A run that was killed leaves its labs; its number tells that it is gone."""
    for lab in all_labs():
        prefix, _, rest = lab.name.partition("-")
        pid = rest.partition("-")[0]
        if prefix == "test" and pid.isdigit() and not Path(f"/proc/{pid}").exists():
            end(lab)


def end(lab: Lab) -> None:
    try:
        lab.down()
    except (LabError, OSError) as error:
        print(f"lab {lab.name!r} could not be ended: {error}", file=sys.stderr)
