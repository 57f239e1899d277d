# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import gpt_ini

pytest.importorskip("hypothesis", reason="property tests need hypothesis")

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certlogon.core.tests.unit.fuzzing import mutated

FULL = b"[General]\r\nVersion=131073\r\ndisplayName=New Group Policy Object\r\n"


def test_reads_the_version() -> None:
    assert gpt_ini.split(gpt_ini.parse(FULL).version) == (2, 1)


@pytest.mark.parametrize(
    ("data", "after"),
    [
        (FULL, FULL.replace(b"131073", b"7")),
        (b"[general]\nVERSION = 1 ", b"[general]\nVERSION = 7 "),
        (b"; x\r\n[Other]\r\nVersion=9\r\n[General]\r\nfunctionality=2\r\nVersion=0\r\nVersion=5\r\n", None),
        (b"\xff\xfe" + "[General]\r\nVersion=1\r\n".encode("utf-16-le"), b"\xff\xfe" + "[General]\r\nVersion=7\r\n".encode("utf-16-le")),
        (b"[General]\r\nVersion=007\r\ndisplayName=gr\xfcn\r\n", b"[General]\r\nVersion=7\r\ndisplayName=gr\xfcn\r\n"),
    ],
)
def test_only_the_version_changes(data: bytes, after: bytes | None) -> None:
    ini = gpt_ini.parse(data)
    changed = gpt_ini.serialise(gpt_ini.with_version(ini, 7))
    assert gpt_ini.serialise(ini) == data
    assert gpt_ini.parse(changed).version == 7
    if ini.version != 7:
        assert changed == (after or data.replace(b"Version=0", b"Version=7"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"no Version in section \[General\]; restore the line"),
        (b"[General]\r\ndisplayName=x\r\n", "no Version"),
        (b"Version=1\r\n", "no Version"),
        (b"[Other]\r\nVersion=1\r\n", "no Version"),
        (b"[General]\r\nVersion=\r\n", "line 2: Version '' is no integer"),
        (b"[General]\r\nVersion=-1\r\n", "Version '-1' is no integer from 0 to 4294967295"),
        (b"[General]\r\nVersion=4294967296\r\n", "is no integer"),
        (b"\xff\xfe[\0G", "odd number of bytes"),
    ],
)
def test_refuses(data: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        gpt_ini.parse(data)


def test_new() -> None:
    assert gpt_ini.serialise(gpt_ini.new()) == b"[General]\r\nVersion=0\r\n"
    assert gpt_ini.parse(gpt_ini.serialise(gpt_ini.new(3))) == gpt_ini.new(3)


@pytest.mark.parametrize(
    ("version", "machine", "user", "after"),
    [
        (0, True, False, 1),
        (0, False, True, 0x10000),
        (0, True, True, 0x10001),
        (5, False, False, 5),
        (0xFFFF, True, False, 1),
        (0x2FFFF, True, False, 0x20001),
        (0xFFFF0005, False, True, 0x10005),
        (0xFFFFFFFF, True, True, 0x10001),
    ],
)
def test_bump(version: int, machine: bool, user: bool, after: int) -> None:
    assert gpt_ini.bump(version, machine=machine, user=user) == after


@given(st.integers(0, 0xFFFFFFFF), st.booleans(), st.booleans())
def test_halves(version: int, machine: bool, user: bool) -> None:
    assert gpt_ini.join(*gpt_ini.split(version)) == version
    changed = gpt_ini.split(gpt_ini.bump(version, machine=machine, user=user))
    before = gpt_ini.split(version)
    assert (changed[0] != before[0], changed[1] != before[1]) == (user, machine)
    assert 0 not in [half for half, moved in zip(changed, (user, machine), strict=True) if moved]


@given(st.binary(max_size=60) | mutated(st.just(FULL)))
def test_any_bytes_are_refused_or_come_back(data: bytes) -> None:
    try:
        ini = gpt_ini.parse(data)
    except FormatError:
        return
    assert gpt_ini.serialise(ini) == data
    changed = gpt_ini.with_version(ini, 4711)
    assert gpt_ini.parse(gpt_ini.serialise(changed)).version == 4711
