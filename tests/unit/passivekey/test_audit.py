# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the audit log is kept: by days and by size, and what stays whatever is thrown at it."""

from __future__ import annotations

import subprocess

import pytest

pytest.importorskip("joserfc", reason="joserfc is not installed")

from passivekey.server import backup
from passivekey.server.audit import Audit
from passivekey.server.store import Store

DAY = 86400
SMALL = 0.0625
"""Megabytes: files of 8 KiB."""


def flood(audit, lines):
    for number in range(lines):
        audit.write("web-refused", site="intranet.corp.example", source=f"10.0.{number % 256}.7", why="the code was used already")


def size(folder):
    return sum(file.stat().st_size for file in folder.iterdir())


def test_days(tmp_path, clock):
    audit = Audit(tmp_path, clock, days=2)
    for _day in range(5):
        audit.write("enroll", device="d")
        clock.now += DAY
    audit.write("enroll", device="last")
    assert len(audit.files()) == 3 and [entry["event"] for entry in audit.read()].count("enroll") == 3


def test_the_size_is_kept_by_what_can_be_done_without(tmp_path, clock):
    audit = Audit(tmp_path, clock, megabytes=SMALL)
    audit.write("backup", number="one")
    audit.write("revoke", device="lost")
    flood(audit, 3000)
    assert size(tmp_path) <= SMALL * 2**20
    entries = audit.read()
    assert [entry["event"] for entry in entries if entry["event"] in ("backup", "revoke")] == ["backup", "revoke"]
    refused = sum(entry["event"] == "web-refused" for entry in entries)
    assert 0 < refused < 3000 and refused + sum(int(entry["lines"]) for entry in entries if entry["event"] == "thinned") == 3000
    assert len(audit.files()) > 8 and all(file.stat().st_mode & 0o077 == 0 for file in audit.files())


def test_no_limit(tmp_path, clock):
    audit = Audit(tmp_path, clock)
    flood(audit, 3000)
    assert len(audit.read()) == 3000 and len(audit.files()) == 1


def test_thinned_files_go_with_their_days(tmp_path, clock):
    audit = Audit(tmp_path, clock, days=1, megabytes=SMALL)
    flood(audit, 2000)
    clock.now += 2 * DAY
    audit.write("enroll")
    assert {entry["event"] for entry in audit.read()} == {"enroll", "retired"}


def test_order_of_files(tmp_path, clock):
    """The tenth file of a day is after the ninth."""
    audit = Audit(tmp_path, clock, megabytes=SMALL)
    flood(audit, 2000)
    names = [file.name for file in audit.files()]
    assert names[0].count(".") == 1 and names[10].endswith(".10.log") and names[2].endswith(".2.log")
    times = [entry["at"] for entry in audit.read()]
    assert times == sorted(times)


def test_a_line_that_a_crash_cut(tmp_path, clock):
    audit = Audit(tmp_path, clock, megabytes=SMALL)
    audit.write("revoke", device="d")
    with audit.files()[0].open("ab") as file:
        file.write(b'{"at": "2026')
    with audit.files()[0].open("ab") as file:
        file.write(b"\n[7]\n\xff\n")
    flood(audit, 2000)
    assert [entry["device"] for entry in audit.read() if entry["event"] == "revoke"] == ["d"]


def test_lines_are_json_for_others(tmp_path, clock):
    jq = subprocess.run(["sh", "-c", "command -v jq"], capture_output=True, text=True, check=False).stdout.strip()
    if not jq:
        pytest.skip("jq is not installed")
    audit = Audit(tmp_path, clock, megabytes=SMALL)
    flood(audit, 1000)
    told = subprocess.run([jq, "-e", "-c", ".event", *audit.files()], capture_output=True, text=True, check=True).stdout.split()
    assert set(told) == {'"web-refused"', '"thinned"', '"thinning"'}


def test_a_flood_does_not_make_restoring_forget(service, pc, tmp_path, clock):
    """What was revoked after the backup is revoked again, although refusals filled the log many times over."""
    service.audit = Audit(tmp_path / "audit", clock, megabytes=SMALL)
    backup.save(service, tmp_path / "backup")
    service.revoke(pc.device, "lost", by="admin")
    flood(service.audit, 3000)
    service.store.close()
    service.store = Store(f"sqlite:///{tmp_path}/restored.db")
    assert backup.restore(service, tmp_path / "backup")["revoked"] == 1


def test_a_late_line_is_not_written_into_a_file_that_is_gone(tmp_path, clock):
    """A worker that is still at yesterday's file, which another has thinned out meanwhile."""
    yesterday = clock()
    late = Audit(tmp_path, lambda: yesterday, megabytes=SMALL)
    flood(late, 20)
    clock.now += DAY
    flood(Audit(tmp_path, clock, megabytes=SMALL), 2000)
    late.write("revoke", device="d")
    assert [entry["device"] for entry in late.read() if entry["event"] == "revoke"] == ["d"]
