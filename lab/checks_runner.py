# SPDX-License-Identifier: GPL-3.0-or-later
"""How the steps of `test` are run: two lanes, a log file each, one line when a step has ended, a table in the end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from lab.errors import LabError

TAIL = 25
LONGEST = 30 * 60.0
"""Seconds that a command may take; one that hangs is a failure, not an endless run."""


class StepFailed(Exception):
    """The step found something; the message is one line."""


class StepSkipped(Exception):
    """The step cannot be done here; the message says why."""


@dataclass
class Tally:
    """Tests or steps by outcome, and why those that were skipped were."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.reasons += other.reasons

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def junit_tally(files: Iterable[Path]) -> Tally:
    """The tests in JUnit files, as pytest writes them."""
    tally = Tally()
    for file in files:
        for case in ElementTree.parse(file).getroot().iter("testcase"):
            skipped = case.find("skipped")
            if case.find("failure") is not None or case.find("error") is not None:
                tally.failed += 1
            elif skipped is not None:
                tally.skipped += 1
                tally.reasons[skipped.get("message") or "no reason given"] += 1
            else:
                tally.passed += 1
    return tally


@dataclass(frozen=True)
class Step:
    """A check. `lane` says which of the two takes it first; `needs`: what must have passed; `after`: what must have ended."""

    name: str
    title: str
    action: Callable[[Job], str | None]
    lane: str = "static"
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass
class Result:
    step: Step
    state: str  # passed, failed, skipped
    seconds: float
    detail: str
    log: Path
    tests: Tally

    @property
    def tally(self) -> Tally:
        """Its tests, and the step itself."""
        own = Tally(passed=self.state == "passed", failed=self.state == "failed", skipped=self.state == "skipped")
        if self.state == "skipped":
            own.reasons[self.detail] = 1
        own.add(self.tests)
        return own


class Job:
    """What a step's function works with: commands that write to the step's log, and the tests that they ran."""

    def __init__(self, step: Step, folder: Path, environment: Mapping[str, str], cwd: Path, runner: Runner) -> None:
        self.step = step
        self.folder = folder
        self.log = folder / f"{step.name}.log"
        self.environment = dict(environment)
        self.cwd = cwd
        self.tests = Tally()
        self._runner = runner
        self.log.write_text("")

    def note(self, text: str) -> None:
        with self.log.open("a") as log:
            log.write(text + "\n")

    def run(
        self, command: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None, ends: int | None = 0
    ) -> int:
        """Run a command, its output into the log. StepFailed unless its exit code is `ends` (None: any)."""
        words = [str(word) for word in command]
        self.note(f"$ {' '.join(words)}"[:2000])
        with self.log.open("ab") as log:
            code = self._runner.call(words, log.fileno(), str(cwd or self.cwd), {**self.environment, **(env or {})})
        if ends is not None and code != ends:
            raise StepFailed(f"{Path(words[0]).name} ended with code {code}")
        return code

    def output(self, command: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
        """Run a quick command and return what it prints."""
        words = [str(word) for word in command]
        done = subprocess.run(
            words,
            cwd=cwd or self.cwd,
            env={**self.environment, **(env or {})},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            self.note(f"$ {' '.join(words)}\n{done.stdout}{done.stderr}")
            raise StepFailed(f"{Path(words[0]).name} ended with code {done.returncode}")
        return done.stdout


class Runner:
    """Runs steps in lanes and keeps their results."""

    def __init__(self, folder: Path, cwd: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.cwd = cwd
        self.environment = environment
        self.results: dict[str, Result] = {}
        self._names: frozenset[str] = frozenset()
        self._turn = threading.Condition()
        self._running: list[str] = []
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._threads: list[threading.Thread] = []
        self._stopped = False
        self._live = sys.stdout.isatty()

    # ---- commands

    def call(self, command: Sequence[str], output: int, cwd: str, env: Mapping[str, str]) -> int:
        """Run a command in a process group of its own, so that `stop` ends all of it."""
        try:
            with self._turn:
                if self._stopped:
                    raise StepFailed("stopped")
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=cwd, env=dict(env), start_new_session=True
                )
                self._processes.add(process)
        except OSError as error:
            raise StepFailed(f"{command[0]}: {error.strerror}") from None
        try:
            return process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise StepFailed(f"{Path(command[0]).name} did not end within {LONGEST / 60:.0f} minutes") from None
        finally:
            with self._turn:
                self._processes.discard(process)

    def stop(self, patience: float = 15) -> None:
        """End all commands that run, start no further step, and wait until the lanes have noticed."""
        self._stopped = True
        for number in (signal.SIGTERM, signal.SIGKILL):
            with self._turn:
                for process in self._processes:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, number)
                self._turn.notify_all()
            end = time.monotonic() + patience
            for thread in self._threads:
                thread.join(max(0, end - time.monotonic()))
            if not any(thread.is_alive() for thread in self._threads):
                return

    # ---- lanes

    def run(self, steps: Sequence[Step], lanes: Sequence[str]) -> None:
        """Run the steps, one lane a thread; a lane without work of its own helps the other."""
        waiting = list(steps)
        self._names = frozenset(step.name for step in steps)
        self._threads = [threading.Thread(target=self._lane, args=(lane, waiting), daemon=True) for lane in lanes]
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            while thread.is_alive():
                thread.join(0.2)

    def _lane(self, lane: str, waiting: list[Step]) -> None:
        while True:
            with self._turn:
                while (step := self._next(lane, waiting)) is None:
                    if not waiting or self._stopped:
                        return
                    self._turn.wait(1)
                waiting.remove(step)
                self._running.append(step.title)
                self._show_running()
            result = self._perform(step)
            with self._turn:
                self._running.remove(step.title)
                self.results[step.name] = result
                self._report(result)
                self._turn.notify_all()

    def _next(self, lane: str, waiting: Sequence[Step]) -> Step | None:
        """The first step whose turn it is, this lane's own before the other's."""
        if self._stopped:
            return None
        unfinished = self._names - self.results.keys()
        ready = [step for step in waiting if not unfinished.intersection((*step.needs, *step.after))]
        return next((step for step in ready if step.lane == lane), ready[0] if ready else None)

    def _perform(self, step: Step) -> Result:
        begun = time.monotonic()
        job = Job(step, self.folder, self.environment, self.cwd, self)
        state, detail = "passed", ""
        missing = [name for name in step.needs if name in self._names and self.results[name].state != "passed"]
        try:
            if missing:
                raise StepSkipped(f"{' and '.join(missing)} did not pass")
            detail = step.action(job) or ""
        except StepSkipped as reason:
            state, detail = "skipped", str(reason)
        except StepFailed as reason:
            state, detail = "failed", str(reason)
        except LabError as error:
            job.note(error.explain())
            state, detail = "failed", str(error).splitlines()[0]
        except Exception as error:
            job.note(traceback.format_exc())
            state, detail = "failed", f"{type(error).__name__}: {error}".splitlines()[0][:160]
        return Result(step, state, time.monotonic() - begun, detail, job.log, job.tests)

    # ---- what one sees

    def _show_running(self) -> None:
        if self._live:
            print(f"\r\033[K    ...    {'; '.join(self._running)}"[:200], end="", flush=True)

    def _report(self, result: Result) -> None:
        if self._live:
            print("\r\033[K", end="")
        print(line(result), flush=True)
        if result.state == "failed":
            tail = result.log.read_text(errors="replace").splitlines()[-TAIL:]
            print("\n".join([*(f"         | {text[:220]}" for text in tail), f"         all of it: {result.log}"]), flush=True)
        self._show_running()


def line(result: Result) -> str:
    tests = f"{result.tests}" if result.tests != Tally() else ""
    detail = "; ".join(part for part in (tests, result.detail) if part)
    return f"{result.seconds:7.1f} s  {result.state:8} {result.step.title}{f' ({detail})' if detail else ''}"


def table(results: Sequence[Result], width: int) -> str:
    """All steps, why what was skipped was, and the sum."""
    name = max((len(result.step.name) for result in results), default=0)
    lines = ["", f"{'step':{name}}  {'seconds':>8}  result"]
    for result in results:
        tests = f"{result.tests}" if result.tests != Tally() else ""
        detail = "; ".join(part for part in (tests, result.detail if result.state == "failed" else "") if part)
        lines.append(f"{result.step.name:{name}}  {result.seconds:8.1f}  {result.state:7}  {detail}".rstrip()[:width])
    total = Tally()
    for result in results:
        total.add(result.tally)
    if total.reasons:
        lines += ["", "skipped because:", *(f"{count:5} x {reason}" for reason, count in total.reasons.most_common())]
    return "\n".join([*lines, "", str(total)])
