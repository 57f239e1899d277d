# SPDX-License-Identifier: GPL-3.0-or-later
"""`certlogon bench-peer`: PassiveKey beside privacyIDEA, which is installed from PyPI into build/peer; nothing else needs it."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from lab import bench, settings
from lab.progress import Progress

FOLDER = settings.CHECKOUT / "build/peer"
PACKAGES = ["privacyidea==3.14", "gunicorn==27.0.1", "psycopg2-binary>=2.9"]
PATIENCE = 900
"""Seconds for the installation: half a gigabyte."""


class Missing(Exception):
    """Why there is no privacyIDEA to measure."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="certlogon bench-peer", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, few users; docs/benchmarks.md is not written")
    options = parser.parse_args(arguments)
    progress = Progress()
    try:
        with progress.step(f"the peer's own environment ({PACKAGES[0]})"):
            programs = peer()
    except Missing as reason:
        print(f"bench-peer: skipped: {reason}")
        return 0
    bench.FOLDER.mkdir(parents=True, exist_ok=True)
    bench.databases(progress)
    command = [sys.executable, "-m", "tests.benchmarks.passivekey_peer", str(bench.FOLDER), "--peer", str(programs)]
    bench.measured(command + ["--quick"] * options.quick, os.environ)
    if not options.quick:
        if not (bench.FOLDER / "results.json").exists():
            print("docs/benchmarks.md is left as it is: it is written from all parts, and ./certlogon bench did not run here")
            return 0
        (bench.FOLDER / "machine.json").write_text(json.dumps(bench.machine(), indent=1) + "\n")
        bench.render()
    return 0


def peer() -> Path:
    """The programs of its environment, installed if they are not there."""
    programs, stamp = FOLDER / "venv/bin", FOLDER / "complete"
    if stamp.exists() and stamp.read_text() == repr(PACKAGES):
        return programs
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    for command in (
        [sys.executable, "-m", "venv", str(FOLDER / "venv")],
        [str(programs / "python"), "-m", "pip", "install", "-q", *PACKAGES],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise Missing(f"{' '.join(command)} takes more than {PATIENCE} s") from error
        if done.returncode:
            lines = [line for line in (done.stderr or done.stdout).splitlines() if not line.startswith("WARNING")]
            raise Missing(f"{' '.join(command)} ended with {done.returncode}: {' '.join(lines[-3:])}")
    stamp.write_text(repr(PACKAGES))
    return programs
