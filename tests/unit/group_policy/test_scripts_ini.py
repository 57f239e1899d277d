# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import configparser
from contextlib import suppress

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.scripts_ini import Script, parse

pytest.importorskip("hypothesis", reason="property tests need hypothesis")

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certlogon.core.tests.unit.fuzzing import mutated

FULL = (
    "\ufeff\r\n[Startup]\r\n0CmdLine=start.cmd\r\n0Parameters=/quiet\r\n1Parameters=\r\n1CmdLine=\\\\files\\all\\more.cmd\r\n"
    "[ScriptsConfig]\r\nStartExecutePSFirst=true\r\n[ logoff ]\r\n0CMDLINE = bye.vbs \r\n2Parameters=alone\r\n"
).encode("utf-16-le")


@pytest.mark.parametrize(
    ("data", "scripts"),
    [
        (
            FULL,
            [
                Script("startup", "start.cmd", "/quiet"),
                Script("startup", "\\\\files\\all\\more.cmd", ""),
                Script("logoff", "bye.vbs", ""),
            ],
        ),
        (b"[Shutdown]\n0CmdLine=a=b\n", [Script("shutdown", "a=b", "")]),
        (b"0CmdLine=x\n[Other]\n0CmdLine=y\n", []),
        (b"", []),
    ],
)
def test_scripts(data: bytes, scripts: list[Script]) -> None:
    assert parse(data) == scripts


_words = st.text(st.characters(codec="utf-8", categories=["L", "N"], include_characters="\\/.-_ $"), min_size=1).map(str.strip).filter(bool)


@given(st.lists(st.tuples(_words, _words), max_size=4))
def test_reads_what_another_parser_reads(scripts: list[tuple[str, str]]) -> None:
    text = "[Logon]\r\n" + "".join(f"{n}CmdLine={command}\r\n{n}Parameters={more}\r\n" for n, (command, more) in enumerate(scripts))
    theirs = configparser.RawConfigParser(delimiters="=", comment_prefixes=None, interpolation=None)
    theirs.read_string(text)
    section = theirs["Logon"]
    expected = [Script("logon", section[f"{n}cmdline"], section[f"{n}parameters"]) for n in range(len(scripts))]
    assert parse(("\ufeff" + text).encode("utf-16-le")) == expected


@given(mutated(st.just(FULL)) | st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    with suppress(FormatError):
        parse(data)
