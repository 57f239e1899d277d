# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole-process figures: wall seconds, processor seconds (children included), the largest process; medians of interleaved rounds."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Run:
    seconds: float
    megabytes: float
    processor: float = 0.0


@dataclass
class Series:
    """The runs of one contender on one case."""

    runs: list[Run] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return statistics.median(run.seconds for run in self.runs)

    @property
    def processor(self) -> float:
        return statistics.median(run.processor for run in self.runs)

    @property
    def megabytes(self) -> float:
        return max(run.megabytes for run in self.runs)

    @property
    def spread(self) -> tuple[float, float]:
        return min(run.seconds for run in self.runs), max(run.seconds for run in self.runs)


def timed(command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Run:
    """One run of a command; raises with the end of its output where it fails."""
    with log.open("wb") as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment)
        _pid, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{log.read_text(errors='replace')[-2000:]}")
    return Run(seconds, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime)


def interleaved(contenders: Mapping[str, Callable[[], Run]], rounds: int, before: Callable[[], None] | None = None) -> dict[str, Series]:
    """Each contender once a round, so that a slow minute of the machine meets all of them; `before` restores the state, untimed."""
    series = {name: Series() for name in contenders}
    for _round in range(rounds):
        for name, contender in contenders.items():
            if before:
                before()
            series[name].runs.append(contender())
    return series
