# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import security_template
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.security_template import RegistryValue, Service

pytest.importorskip("hypothesis", reason="property tests need hypothesis")

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certlogon.core.tests.unit import vectors
from ansible_collections.certlogon.core.tests.unit.fuzzing import mutated

HEADER = '[Unicode]\r\nUnicode=yes\r\n[Version]\r\nsignature="$CHICAGO$"\r\nRevision=1\r\n'
SERVICES = "[Service General Setting]\r\n"
VALUES = "[Registry Values]\r\n"
LOCK = RegistryValue(security_template.SC_REMOVE_OPTION, 1, "1")


def file(text: str) -> bytes:
    return b"\xff\xfe" + text.encode("utf-16-le")


def text(template: security_template.Template) -> str:
    return security_template.serialise(template).decode("utf-16")


# ---- reading


def test_a_file_of_windows_comes_back_byte_for_byte() -> None:
    data = (vectors.folder("group-policy-service") / "GptTmpl.inf").read_bytes()
    template = security_template.parse(data)
    assert template.services() == [Service("AppIDSvc", "automatic", "")]
    assert security_template.serialise(template) == data
    assert security_template.edit(security_template.new(), {"AppIDSvc": Service("AppIDSvc", "automatic")}) == template


def test_a_new_file_is_as_windows_makes_it() -> None:
    data = (vectors.folder("group-policy-certificates") / "GptTmpl.inf").read_bytes()
    assert security_template.serialise(security_template.new()) == data
    assert security_template.new().is_empty


@pytest.mark.parametrize(
    ("line", "service"),
    [
        ('"SCardSvr",2,""', Service("SCardSvr", "automatic")),
        ("SCardSvr,3,", Service("SCardSvr", "manual")),
        ('  "SCardSvr" , 4 , "D:(A;;RC;;;SY)"  ', Service("SCardSvr", "disabled", "D:(A;;RC;;;SY)")),
        ("SCardSvr,2,D:(A;;RC;;;SY)", Service("SCardSvr", "automatic", "D:(A;;RC;;;SY)")),
        ('x,2,"D:(XA;;GA;;;WD;(@User.a == ""b""))"', Service("x", "automatic", 'D:(XA;;GA;;;WD;(@User.a == "b"))')),
        ('"with, comma",0,""', Service("with, comma", "boot")),
    ],
)
def test_services(line: str, service: Service) -> None:
    assert security_template.parse(file(HEADER + SERVICES + line + "\r\n")).services() == [service]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('MACHINE\\A\\b=1,"1"', RegistryValue("MACHINE\\A\\b", 1, "1")),
        ("MACHINE\\A\\b=1,1", RegistryValue("MACHINE\\A\\b", 1, "1")),
        ('"MACHINE\\A\\b" = 1 , "say ""no"""', RegistryValue("MACHINE\\A\\b", 1, 'say "no"')),
        ("MACHINE\\A\\b=4,1", RegistryValue("MACHINE\\A\\b", 4, "1")),
        ("MACHINE\\A\\b=4,0x10", RegistryValue("MACHINE\\A\\b", 4, "0x10")),
        ("MACHINE\\A\\b=7,", RegistryValue("MACHINE\\A\\b", 7, "")),
        ('MACHINE\\A\\b=7,one,"two"', RegistryValue("MACHINE\\A\\b", 7, 'one,"two"')),
        ("MACHINE\\A\\x=y=3,0,1", RegistryValue("MACHINE\\A\\x=y", 3, "0,1")),
    ],
)
def test_registry_values(line: str, value: RegistryValue) -> None:
    assert security_template.parse(file(HEADER + VALUES + line + "\r\n")).registry_values() == [value]


BODY = (
    "; a comment\r\n[system ACCESS]\r\nMinimumPasswordAge = 1\r\n\r\n"
    + SERVICES
    + '"a",2,""\r\n  [Odd] ; really\r\nanything at all\r\n[Version]\r\nx=1\r\n'
)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(file(BODY), id="UTF-16 with mark"),
        pytest.param(BODY.encode("utf-16-le"), id="UTF-16 without mark"),
        pytest.param(b"\xef\xbb\xbf" + BODY.encode(), id="UTF-8 with mark"),
        pytest.param(BODY.encode() + "; grün".encode("cp1252"), id="ANSI, no final line end"),
        pytest.param(file(BODY.replace("\r\n", "\n")), id="LF"),
        pytest.param(file(BODY + "[service general setting]\r\nb,3,\r\n"), id="a section twice"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\xfe", id="mark only"),
    ],
)
def test_tolerates(data: bytes) -> None:
    template = security_template.parse(data)
    assert security_template.serialise(template) == data
    if len(data) > 2:
        assert template.services()[0] == Service("a", "automatic")
        assert template.lines("System Access") == ["MinimumPasswordAge = 1"]
        assert template.sections()[:4] == ["system ACCESS", "Service General Setting", "Odd", "Version"]
        assert not template.is_empty


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            SERVICES + '"a",2\r\n',
            r"""line 7 in \[Service General Setting\]: no '"service",mode,"descriptor"': '"a",2'; clients skip the whole section""",
        ),
        (SERVICES + '"a",7,""\r\n', "start type 7 is none of 2"),
        (SERVICES + '"a,2,""\r\n', "line 7"),
        (SERVICES + "\r\n; fine\r\nbroken\r\n", "line 9"),
        (VALUES + "MACHINE\\x=1\r\n", "no 'path=type,value'"),
        (VALUES + 'MACHINE\\x=1,"a\r\n', "quotes that do not close"),
        (VALUES + "MACHINE\\x=4,yes\r\n", "'yes' is no integer"),
        ("[System Access]\r\nMinimumPasswordAge\r\n", "line 7 in .System Access.: no 'name = value'"),
        ("[File Security]\r\n%SystemRoot%,0\r\n", "line 7 in .File Security."),
        ("[Service General Setting\r\n", "line 6: no section header"),
    ],
)
def test_refuses_broken_lines(body: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        security_template.parse(file(HEADER + body))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (file(HEADER)[:-1], r"odd number of bytes \(141\); the file is truncated"),
        (b"\xff\xfe\0\xd8", "no valid UTF-16-LE at byte 2"),
        (b"\xfe\xff\0[", "big-endian"),
        (b"\xef\xbb\xbf\xff", "no valid UTF-8 at byte 3"),
        (b"stray\r\n[Version]\r\n", "line 1: stands before the first section: 'stray'"),
    ],
)
def test_refuses_files(data: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        security_template.parse(data)


# ---- editing


@pytest.mark.parametrize(
    ("before", "services", "after"),
    [
        pytest.param(HEADER, {"a": Service("a", "manual")}, HEADER + SERVICES + '"a",3,""\r\n', id="new section"),
        pytest.param(HEADER[:-2], {"a": Service("a", "manual")}, HEADER + SERVICES + '"a",3,""\r\n', id="file without final line end"),
        pytest.param(HEADER + SERVICES + "A , 3,\r\n", {"a": Service("a", "manual")}, HEADER + SERVICES + "A , 3,\r\n", id="there already"),
        pytest.param(
            HEADER + SERVICES + 'A,3,""\r\nb,2,\r\n',
            {"a": Service("a", "disabled", "D:")},
            HEADER + SERVICES + '"a",4,"D:"\r\nb,2,\r\n',
            id="changed",
        ),
        pytest.param(
            HEADER + SERVICES + "b,2,\r\n\r\n[X]\r\n",
            {"a": Service("a", "manual")},
            HEADER + SERVICES + 'b,2,\r\n"a",3,""\r\n\r\n[X]\r\n',
            id="added",
        ),
        pytest.param(HEADER + SERVICES + "b,2,\r\na,2,\r\n", {"A": None}, HEADER + SERVICES + "b,2,\r\n", id="removed"),
        pytest.param(
            HEADER + SERVICES + "a,2,\r\n\r\n[X]\r\ny\r\n", {"a": None}, HEADER + "\r\n[X]\r\ny\r\n", id="removed with its section"
        ),
        pytest.param(
            HEADER + SERVICES + "; why\r\na,2,\r\n", {"a": None}, HEADER + SERVICES + "; why\r\n", id="a comment keeps its section"
        ),
        pytest.param(
            HEADER + SERVICES + "a,2,\r\nA,4,\r\n", {"a": Service("a", "manual")}, HEADER + SERVICES + '"a",3,""\r\n', id="said twice"
        ),
        pytest.param(
            HEADER.replace("\r\n", "\n"), {"a": Service("a", "manual")}, (HEADER + SERVICES + '"a",3,""\r\n').replace("\r\n", "\n"), id="LF"
        ),
        pytest.param(HEADER + "x=1", {"b": None}, HEADER + "x=1", id="nothing to remove"),
    ],
)
def test_edit_services(before: str, services: dict[str, Service | None], after: str) -> None:
    edited = security_template.edit(security_template.parse(file(before)), services)
    assert text(edited) == after
    assert security_template.edit(edited, services) == edited


def test_edit_registry_values() -> None:
    template = security_template.edit(security_template.new(), {}, {LOCK.path.upper(): LOCK})
    assert text(template) == HEADER + VALUES + security_template.SC_REMOVE_OPTION + '=1,"1"\r\n'
    unlocked = security_template.edit(template, registry_values={LOCK.path: LOCK._replace(value="0")})
    assert text(unlocked) == text(template).replace('"1"', '"0"')
    assert security_template.edit(unlocked, registry_values={LOCK.path: None}) == security_template.new()


def test_integers_are_compared_by_value() -> None:
    template = security_template.parse(file(HEADER + VALUES + "MACHINE\\a=4,0x1\r\n"))
    assert security_template.edit(template, registry_values={"machine\\A": RegistryValue("MACHINE\\a", 4, "1")}) is template


def test_exact_leaves_only_what_is_named() -> None:
    before = HEADER + "[System Access]\r\nx = 1\r\n" + SERVICES + "a,2,\r\nb,3,\r\n" + VALUES + "MACHINE\\a=4,1\r\n"
    edited = security_template.edit(security_template.parse(file(before)), {"b": Service("b", "manual")}, exact=True)
    assert text(edited) == HEADER + "[System Access]\r\nx = 1\r\n" + SERVICES + "b,3,\r\n"


PRIVILEGES = "[Privilege Rights]\r\n"


@pytest.mark.parametrize(
    ("before", "lines", "after"),
    [
        (HEADER, ["SeBackup = *S-1-5-32-544"], HEADER + PRIVILEGES + "SeBackup = *S-1-5-32-544\r\n"),
        (HEADER + PRIVILEGES + "  x=1\r\n; y\r\nz=2\r\n", ["x=1", "z=2"], HEADER + PRIVILEGES + "  x=1\r\n; y\r\nz=2\r\n"),
        (HEADER + PRIVILEGES + "x=1\r\n" + SERVICES + "a,2,\r\n", ["z=2"], HEADER + PRIVILEGES + "z=2\r\n" + SERVICES + "a,2,\r\n"),
        (HEADER + PRIVILEGES + "x=1\r\n" + SERVICES + "a,2,\r\n", [], HEADER + SERVICES + "a,2,\r\n"),
        (HEADER, [], HEADER),
    ],
)
def test_a_whole_section(before: str, lines: list[str], after: str) -> None:
    edited = security_template.with_section(
        security_template.parse(file(before)), "privilege rights" if PRIVILEGES in before else "Privilege Rights", lines
    )
    assert text(edited) == after
    assert edited.lines("Privilege Rights") == lines


@pytest.mark.parametrize("line", ["[x]", "; x", "", "a\r\nb=1", " x=1", "without equals sign"])
def test_lines_that_no_section_can_hold(line: str) -> None:
    with pytest.raises(UserError):
        security_template.with_section(security_template.new(), "System Access", [line])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Service("a", "boot"), "startup 'boot' is none of automatic, manual, disabled"),
        (Service('a"b', "manual"), "cannot be written as a line"),
        (Service("a\nb", "manual"), "cannot be written as a line"),
        (Service("", "manual"), "cannot be written as a line"),
        (RegistryValue("MACHINE\\a", 4, "x"), "cannot be written as a line"),
        (RegistryValue("MACHINE\\a\r\n[X]", 4, "1"), "cannot be written as a line"),
        (RegistryValue("[MACHINE", 4, "1"), "cannot be written as a line"),
        (RegistryValue(";MACHINE", 4, "1"), "cannot be written as a line"),
    ],
)
def test_values_that_no_line_can_hold(value: Service | RegistryValue, message: str) -> None:
    services = {value.name: value} if isinstance(value, Service) else {}
    registry_values = {value.path: value} if isinstance(value, RegistryValue) else {}
    with pytest.raises(UserError, match=message):
        security_template.edit(security_template.new(), services, registry_values)


def test_old_encodings_cannot_hold_everything() -> None:
    value = RegistryValue("MACHINE\\Legal", 1, "Привет")
    template = security_template.edit(security_template.parse(b"[Version]\r\n"), registry_values={value.path: value})
    with pytest.raises(UserError, match="the file is ANSI and cannot hold"):
        security_template.serialise(template)


# ---- properties

lines = st.sampled_from(
    (
        "",
        "; comment",
        "[Unicode]",
        "Unicode=yes",
        "[Version]",
        "[Service General Setting]",
        "[SERVICE general setting] ",
        '"SCardSvr",2,""',
        'x, 3 ,"D:(A;;RC;;;SY)"',
        "[Registry Values]",
        'MACHINE\\a=1,"x"',
        "MACHINE\\b=4,0",
        "[Odd]",
        "[System Access]",
        "a = b",
    )
)
ends = st.sampled_from(("\r\n", "\n", "\r", ""))
texts = st.lists(st.tuples(lines, ends).map("".join), max_size=12).map("".join)
files = st.one_of(texts.map(file), texts.map(str.encode), texts.map(lambda found: b"\xef\xbb\xbf" + found.encode()))


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda tail: b"\xff\xfe" + tail) | files | mutated(files))
def test_any_bytes_are_refused_or_come_back(data: bytes) -> None:
    try:
        template = security_template.parse(data)
    except FormatError:
        return
    assert security_template.serialise(template) == data
    services = {service.name: service for service in template.services() if service.startup in ("automatic", "manual", "disabled")}
    named = {service.name.casefold() for service in template.services()}
    if len(services) == len(named) == len(template.services()):
        assert security_template.edit(template, services) is template


@given(files, st.sampled_from((None, Service("scardsvr", "manual"), Service("scardsvr", "automatic"))), st.booleans())
def test_edits_hold_and_touch_nothing_else(data: bytes, service: Service | None, exact: bool) -> None:
    try:
        template = security_template.parse(data)
    except FormatError:
        return
    edited = security_template.edit(template, {"SCardSvr": service}, exact=exact)
    read = security_template.parse(security_template.serialise(edited))
    assert (
        [found for found in read.services() if found.name.lower() == "scardsvr" and found != service._replace(name=found.name)] == []
        if service
        else True
    )
    assert any(found.name.lower() == "scardsvr" for found in read.services()) == (service is not None)
    assert security_template.edit(read, {"SCardSvr": service}, exact=exact) == read
    assert read.lines("Odd") == template.lines("Odd")
    assert read.lines("System Access") == template.lines("System Access")
    if not exact:
        assert read.registry_values() == template.registry_values()
        others = [found for found in template.services() if found.name.lower() != "scardsvr"]
        assert [found for found in read.services() if found.name.lower() != "scardsvr"] == others
