# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit log's chain: what somebody cut out, changed or put in is found and said; what a crash left is told apart from it."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import subprocess
from types import SimpleNamespace

import pytest

pytest.importorskip("joserfc", reason="joserfc is not installed")

from passivekey.errors import ConfigurationError
from passivekey.server import audit_chain, cli
from passivekey.server.audit import Audit

DAY = 86400
SMALL = 0.0625
"""Megabytes: files of 8 KiB."""

TODAY = "passivekey-2027-01-15.log"


def flood(audit, lines):
    for number in range(lines):
        audit.write("web-refused", site="intranet.corp.example", source=f"10.0.{number % 256}.7", why="the code was used already")


def wrong(folder, **more):
    return [str(finding) for finding in audit_chain.verify(folder, **more).wrong]


def cut(folder):
    return [str(finding) for finding in audit_chain.verify(folder).cut]


def edit(file, change):
    """`change`: from lines to lines."""
    file.write_bytes(b"".join(change(file.read_bytes().splitlines(keepends=True))))


@pytest.fixture
def log(tmp_path, clock):
    """Three days of ten lines."""
    folder = tmp_path / "log"
    audit = Audit(folder, clock)
    for day in range(3):
        for number in range(10):
            audit.write("revoke", device=f"{day}-{number}")
        clock.now += DAY
    assert [file.name[11:21] for file in audit.files()] == ["2027-01-15", "2027-01-16", "2027-01-17"]
    return folder


def test_the_chain_as_others_compute_it(log):
    """By sed and sha256sum: each line has the hash of the one before, over all files."""
    script = r"""cat "$@" | while IFS= read -r line; do
        prev=$(printf '%s\n' "$line" | sed 's/.*"prev":"\([0-9a-f]*\)"}/\1/')
        printf '%s %s\n' "$prev" "$(printf '%s\n' "$line" | sha256sum | cut -d' ' -f1)"
    done"""
    files = sorted(str(file) for file in log.glob("passivekey-*.log"))
    told = subprocess.run(["sh", "-c", script, "sh", *files], capture_output=True, text=True, check=True).stdout.splitlines()
    pairs = [line.split() for line in told]
    assert len(pairs) == 30 and pairs[0][0] == "0" * 64
    assert [prev for prev, _own in pairs[1:]] == [own for _prev, own in pairs[:-1]]
    assert (wrong(log), cut(log), audit_chain.verify(log).end) == ([], [], (30, pairs[-1][1]))


def put(line, place):
    return lambda lines: [*lines[:place], line, *lines[place:]]


PLAIN = b'{"at":"2027-01-15T08:00:00.000+00:00","event":"revoke","device":"x"}\n'
TAMPERED = {
    "a line is cut out": (lambda lines: lines[:4] + lines[5:], ":5: 1 line is missing before it, or changed: from number 5"),
    "three lines": (lambda lines: lines[:4] + lines[7:], ":5: 3 lines are missing before it, or changed: from number 5"),
    "the first": (lambda lines: lines[1:], ":1: has number 2, and the log does not say that what was before it was deleted for its age"),
    "the last": (lambda lines: lines[:-1], "passivekey-2027-01-16.log:1: 1 line is missing before it"),
    "changed": (lambda lines: [line.replace(b'"0-4"', b'"0-7"') for line in lines], f"{TODAY}:5: was changed: {TODAY}:6 has another hash"),
    "the last is changed": (
        lambda lines: [line.replace(b'"0-9"', b'"1"') for line in lines],
        f"{TODAY}:10: was changed: passivekey-2027-01-16",
    ),
    "its number is changed": (
        lambda lines: [line.replace(b'"n":"5"', b'"n":"50"') for line in lines],
        ":5: 45 lines are missing before it",
    ),
    "its hash is changed": (lambda lines: [re.sub(rb'("n":"5","prev":")..', rb"\g<1>00", line) for line in lines], ":4: was changed"),
    "its link is cut off": (lambda lines: [re.sub(rb',"n":"5".*(?=})', b"", line) for line in lines], ":5: was put in or changed"),
    "put in": (put(PLAIN, 5), ":6: was put in or changed: it is not of the chain"),
    "put in with a link": (put(PLAIN[:-2] + b',"n":"6","prev":"' + b"0" * 64 + b'"}\n', 5), ":5: was changed"),
    "moved": (lambda lines: [*lines[:4], *lines[5:8], lines[4], *lines[8:]], ":8: has number 5 after 8: put in, moved or changed"),
    "repeated": (lambda lines: lines + lines[2:6], ":11: has number 3 after 10"),
    "made rubbish of": (lambda lines: [*lines[:4], b"\0" * 80 + b"\n", *lines[5:]], ":6: 1 line is missing before it, or changed"),
    "all but the last": (lambda lines: lines[-1:], ":1: has number 10, and the log does not say"),
    "emptied": (lambda lines: [], "passivekey-2027-01-16.log:1: has number 11, and the log does not say"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_tampering_is_found_at_its_place(log, name):
    change, text = TAMPERED[name]
    before = (log / TODAY).read_bytes()
    edit(log / TODAY, change)
    assert (log / TODAY).read_bytes() != before
    found = wrong(log)
    assert any(text in finding for finding in found), found
    assert len(found) <= 3, "one deed is not told as many"


def test_a_file_that_is_gone(log):
    (log / "passivekey-2027-01-16.log").unlink()
    assert wrong(log) == ["passivekey-2027-01-17.log:1: 10 lines are missing before it, or changed: from number 11"]


def test_lines_at_the_end_are_missed_by_who_noted_the_last(log):
    """Nothing in a log tells what was after its last line."""
    number, text = audit_chain.verify(log).end
    edit(log / "passivekey-2027-01-17.log", lambda lines: lines[:-2])
    assert wrong(log) == []
    assert wrong(log, known=(number, text)) == ["the log: line number 30, which was noted elsewhere, is not there, or was changed"]
    assert wrong(log, known=audit_chain.verify(log).end) == []


@pytest.mark.parametrize("change", [lambda lines: lines[:-2], lambda lines: [], lambda lines: [*lines[:-1], PLAIN]])
def test_who_writes_misses_lines_at_the_end(tmp_path, clock, change):
    """A server that runs knows which line it wrote last."""
    first, second = Audit(tmp_path, clock), Audit(tmp_path, clock)
    for number in range(3):
        for audit in (first, second):
            audit.write("revoke", device=str(number))
    edit(tmp_path / TODAY, change)
    first.write("revoke", device="a")
    second.write("revoke", device="b")
    assert wrong(tmp_path) != []


def test_a_file_is_taken_away_while_it_is_written_to(tmp_path, clock):
    first, second = Audit(tmp_path, clock), Audit(tmp_path, clock)
    first.write("revoke", device="1")
    second.write("revoke", device="2")
    (tmp_path / "chain").unlink()
    for number in range(3):  # the file that they meet at is another: they still write one chain
        for audit in (Audit(tmp_path, clock), first, second):
            audit.write("revoke", device=str(number))
    assert wrong(tmp_path) == [] and audit_chain.verify(tmp_path).end[0] == 11
    (tmp_path / TODAY).unlink()
    second.write("revoke", device="last")
    assert wrong(tmp_path) == [f"{TODAY}:1: has number 12, and the log does not say that what was before it was deleted for its age"]


def test_from_a_file_on(log):
    edit(log / TODAY, lambda lines: lines[:4] + lines[5:])
    assert len(wrong(log)) == 1 and wrong(log, since="passivekey-2027-01-16.log") == []
    edit(log / TODAY, lambda lines: lines[:-1])
    assert "passivekey-2027-01-16.log:1: 1 line is missing" in wrong(log, since="passivekey-2027-01-16.log")[0]
    with pytest.raises(ConfigurationError, match="the first is passivekey-2027-01-15"):
        audit_chain.verify(log, "passivekey-2020-01-01.log")


# ---- crashes


@pytest.mark.parametrize("torn", [b'{"at": "2027', b"\0" * 9000, b"{", b'{"at":"x","event":"y","n":"31","prev":"00'])
def test_a_torn_line_is_no_tampering_and_takes_no_good_line_along(log, clock, torn):
    newest = log / "passivekey-2027-01-17.log"
    with newest.open("ab") as file:
        file.write(torn)
    assert (wrong(log), cut(log)) == ([], ["passivekey-2027-01-17.log:11: is cut off, or none of ours"])
    clock.now -= DAY
    audit = Audit(log, clock)
    audit.write("revoke", device="after")
    assert [entry["device"] for entry in audit.read()][-2:] == ["2-9", "after"], "the next line stands by itself"
    assert (wrong(log), len(cut(log)), audit_chain.verify(log).end[0]) == ([], 1, 31)
    edit(newest, lambda lines: [line.replace(b'"2-9"', b'"2-8"') for line in lines])
    assert wrong(log) == ["passivekey-2027-01-17.log:10: was changed: passivekey-2027-01-17.log:12 has another hash of it"]


def test_torn_before_the_next_day(log, clock):
    with (log / "passivekey-2027-01-17.log").open("ab") as file:
        file.write(b'{"at": "2027')
    Audit(log, clock).write("revoke", device="next day")
    assert (wrong(log), len(cut(log)), len(audit_chain.files(log))) == ([], 1, 4)


def test_a_full_disk(log, clock, monkeypatch):
    audit = Audit(log, clock)
    audit.write("revoke", device="before")
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda handle, text: write(handle, text[:30]))
        with pytest.raises(OSError, match="full"):
            audit.write("revoke", device="lost")
    audit.write("revoke", device="after")
    assert (wrong(log), len(cut(log))) == ([], 1)
    assert [entry["device"] for entry in audit.read()][-2:] == ["before", "after"]


# ---- many processes, many files


def _writer(folder, name, clock):
    audit = Audit(folder, clock, megabytes=SMALL)
    for number in range(60):
        audit.write("enroll", device=f"{name}-{number}")
        flood(audit, 20)


def test_processes_write_one_chain(tmp_path, clock):
    """Three workers write, go on to new files, and thin out each other's old ones."""
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=_writer, args=(tmp_path, name, clock), daemon=True) for name in ("a", "b", "c")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    found = audit_chain.verify(tmp_path)
    assert (found.wrong, found.cut) == ([], []) and found.thinned > 8 and found.end[0] > 3 * 60 * 21
    entries = Audit(tmp_path, clock).read()
    kept = [entry["device"] for entry in entries if entry["event"] == "enroll"]
    assert sorted(kept) == sorted(f"{name}-{number}" for name in "abc" for number in range(60)), "no line is lost that is kept"


def test_a_worker_that_is_behind_goes_on_in_the_newest_file(tmp_path, clock):
    yesterday = clock()
    late, early = Audit(tmp_path, lambda: yesterday), Audit(tmp_path, clock)
    late.write("revoke", device="1")
    clock.now += DAY
    early.write("revoke", device="2")
    late.write("revoke", device="3")
    early.write("revoke", device="4")
    assert wrong(tmp_path) == [] and [entry["device"] for entry in early.read()] == ["1", "2", "3", "4"]
    assert [len(file.read_bytes().splitlines()) for file in audit_chain.files(tmp_path)] == [1, 3]


@pytest.fixture
def thinned(tmp_path, clock):
    audit = Audit(tmp_path / "log", clock, megabytes=SMALL)
    for number in range(40):
        audit.write("revoke", device=str(number))
        flood(audit, 20)
    [first, *_others] = audit.files()
    assert json.loads(first.read_bytes().splitlines()[0])["event"] == "thinned" and wrong(tmp_path / "log") == []
    return tmp_path / "log", first


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [lines[0], *lines[2:]],
        lambda lines: [*lines, PLAIN],
        lambda lines: [line.replace(b'"device":"1"', b'"device":"2"') for line in lines],
        lambda lines: [re.sub(rb'"lines":"\d+"', b'"lines":"1"', lines[0]), *lines[1:]],
    ],
    ids=["cut out", "put in", "changed", "another number of lines"],
)
def test_what_was_thinned_out_is_covered_too(thinned, change):
    folder, first = thinned
    edit(first, change)
    assert wrong(folder) == [f"{first.name}: is not as it was when it was thinned out"]


def test_nobody_hides_lines_by_thinning_out(log):
    """As the server would do it, but it did not say so."""
    content, gone = audit_chain.thinned((log / TODAY).read_bytes(), ())
    (log / TODAY).write_bytes(content)
    assert gone == 10 and wrong(log) == [f"{TODAY}: is not as it was when it was thinned out"]


def test_a_crash_between_the_word_and_the_deed(tmp_path, clock, monkeypatch):
    """The log says that a file is thinned out, and it is not: all lines are there, and the next attempt does it."""
    audit = Audit(tmp_path, clock, megabytes=SMALL)
    with monkeypatch.context() as patch:
        patch.setattr("passivekey.server.audit._replace", lambda file, content: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            flood(audit, 3000)
    assert audit_chain.verify(tmp_path).thinned == 0 and wrong(tmp_path) == []
    flood(Audit(tmp_path, clock, megabytes=SMALL), 300)
    assert audit_chain.verify(tmp_path).thinned > 0 and wrong(tmp_path) == []


def test_files_deleted_for_their_age_are_no_tampering_but_others_are(tmp_path, clock):
    audit = Audit(tmp_path, clock, days=3)
    for _day in range(9):
        audit.write("revoke", device="d")
        clock.now += DAY
    assert len(audit.files()) == 4 and wrong(tmp_path) == [] and audit_chain.verify(tmp_path).begin > 5
    audit.files()[0].unlink()
    assert "deleted for its age" in wrong(tmp_path)[0]


def test_retired_and_thinned_over_months(tmp_path, clock):
    audit = Audit(tmp_path, clock, days=5, megabytes=SMALL)
    for _day in range(12):
        audit.write("revoke", device="d")
        flood(audit, 150)
        clock.now += DAY
        assert wrong(tmp_path) == []


# ---- logs from before


def old_lines(count):
    return b"".join(PLAIN.replace(b'"x"', f'"old-{number}"'.encode()) for number in range(count))


def test_a_log_without_a_chain_goes_on(tmp_path, clock):
    (tmp_path / "passivekey-2027-01-14.log").write_bytes(old_lines(5))
    (tmp_path / TODAY).write_bytes(old_lines(5))
    audit = Audit(tmp_path, clock)
    for number in range(3):
        audit.write("revoke", device=str(number))
    found = audit_chain.verify(tmp_path)
    assert (found.wrong, found.lines, found.plain, found.begin, found.end[0]) == ([], 13, 10, 1, 3) and len(audit.read()) == 13
    edit(tmp_path / TODAY, lambda lines: lines[:4] + lines[5:])
    assert "begins the chain, and the line before it was cut out or changed" in wrong(tmp_path)[0]


def test_a_log_without_a_chain_ends_with_a_file(tmp_path, clock):
    (tmp_path / "passivekey-2027-01-14.log").write_bytes(old_lines(5) + b'{"at')
    Audit(tmp_path, clock).write("revoke", device="1")
    assert wrong(tmp_path) == [] and audit_chain.verify(tmp_path).plain == 6


def test_a_log_without_a_chain_is_thinned_out(tmp_path, clock):
    (tmp_path / "passivekey-2027-01-14.log").write_bytes(old_lines(2) + PLAIN.replace(b"revoke", b"web") * 200)
    audit = Audit(tmp_path, clock, megabytes=SMALL)
    flood(audit, 600)
    assert wrong(tmp_path) == [] and len([entry for entry in audit.read() if entry["event"] == "revoke"]) == 2
    edit(tmp_path / "passivekey-2027-01-14.log", lambda lines: lines[:-1])
    assert wrong(tmp_path) == ["passivekey-2027-01-14.log: is not as it was when it was thinned out"]


def test_the_chain_begins_in_a_file_that_is_thinned_out_later(tmp_path, clock):
    (tmp_path / TODAY).write_bytes(PLAIN + PLAIN.replace(b"revoke", b"web") * 20)
    flood(Audit(tmp_path, clock, megabytes=SMALL), 600)
    found = audit_chain.verify(tmp_path)
    assert found.wrong == [] and found.thinned > 0


def test_a_log_that_was_brought_back(log, tmp_path, clock):
    """Into a new host's folder, where a server has begun a chain of its own."""
    (tmp_path / "new").mkdir()
    Audit(tmp_path / "new", clock).write("revoke", device="new")
    for file in audit_chain.files(log):
        shutil.copy(file, tmp_path / "new")
    [finding] = wrong(tmp_path / "new")
    assert finding == "passivekey-2027-01-18.log:1: has number 1 after 30: put in, moved or changed; a chain begins anew"


# ---- the command


def run(folder, capsys, **words):
    arguments = SimpleNamespace(what="verify", since=words.pop("since", ""), known=words.pop("known", None))
    code = cli.audit(SimpleNamespace(audit=folder), arguments)
    return code, capsys.readouterr().out


def test_the_command(log, capsys):
    code, shown = run(log, capsys)
    last = shown.splitlines()[-1].split()[1]
    assert code == 0 and "whole  what is there is as it was written" in shown and last.startswith("30:")
    edit(log / "passivekey-2027-01-17.log", lambda lines: [*lines[:4], *lines[5:], b"torn"])
    code, shown = run(log, capsys, known=last)
    assert code == 1 and "wrong  passivekey-2027-01-17.log:5: 1 line is missing before it" in shown and "NOT WHOLE  in 1 places" in shown
    assert "cut    passivekey-2027-01-17.log:10: is cut off, or none of ours: a crash or a full disk" in shown
    with pytest.raises(ConfigurationError, match="NUMBER:HASH"):
        run(log, capsys, known="12")
    with pytest.raises(ConfigurationError, match="there is no"):
        run(log / "absent", capsys)
    assert cli.parser().parse_args(["audit", "verify", "--from", TODAY]).since == TODAY
