# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import struct

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import registry_pol
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.registry_pol import Record, Setting

pytest.importorskip("hypothesis", reason="property tests need hypothesis")

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certlogon.core.tests.unit import vectors
from ansible_collections.certlogon.core.tests.unit.fuzzing import mutated

KEY = r"Software\Policies\Corp"
DWORD, STRING, BINARY = registry_pol.DWORD, registry_pol.STRING, registry_pol.BINARY


def number(value: int) -> bytes:
    return struct.pack("<I", value)


def instruction(key: bytes, value: bytes, kind: int, data: bytes, size: int | None = None) -> bytes:
    """One instruction written out by hand ([MS-GPREG] 2.2.1)."""
    return b"".join(
        (
            b"[\0",
            key,
            b"\0\0;\0",
            value,
            b"\0\0;\0",
            number(kind),
            b";\0",
            number(len(data) if size is None else size),
            b";\0",
            data,
            b"]\0",
        )
    )


def wide(text: str) -> bytes:
    return text.encode("utf-16-le")


GOOD = b"PReg\1\0\0\0" + instruction(wide(KEY), wide("Tries"), 4, number(3))


# ---- the file


def test_reads_what_the_specification_shows() -> None:
    assert registry_pol.parse(GOOD) == [Record(KEY, "Tries", 4, number(3))]
    assert registry_pol.serialise(registry_pol.parse(GOOD)) == GOOD


def test_an_empty_policy_is_its_header() -> None:
    assert registry_pol.parse(b"PReg\1\0\0\0") == []
    assert registry_pol.serialise([]) == b"PReg\1\0\0\0"


def test_a_file_of_windows_comes_back_byte_for_byte() -> None:
    data = (vectors.folder("group-policy-certificates") / "registry.pol").read_bytes()
    records = registry_pol.parse(data)
    assert len(records) == 65
    assert sum(record.type == 0 for record in records) == 28
    assert registry_pol.serialise(records) == data
    assert registry_pol.edit(records, [registry_pol.setting(record) for record in records], lambda record: True) == records


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "begins with nothing"),
        (b"PReg\2\0\0\0", "begins with 50 52 65 67 02"),
        (b"PReg", "not with 'PReg' and version 1"),
        (GOOD + b"x", "instruction 2 at byte .* does not begin with"),
        (GOOD[:-1], "instruction 1 at byte 8 of .* truncated: 4 bytes of data announced, 5 bytes left"),
        (GOOD[:-2], "truncated: 4 bytes of data announced, 4 bytes left"),
        (GOOD[:-12], "truncated in type and size"),
        (GOOD[:20], "the key has no end"),
        (GOOD[:60], "the value name has no end"),
        (GOOD[:8] + instruction(wide(KEY), wide("x"), 4, number(3), size=2), "no ']' after 2 bytes of data"),
        (GOOD[:8] + instruction(wide(KEY), wide("x"), 4, number(3), size=0xFFFFFFFF), "truncated: 4294967295 bytes of data announced"),
        (GOOD[:8] + instruction(b"\0\xd8", wide("x"), 4, number(3)), "the key is not UTF-16"),
        (GOOD.replace(b"\0\0;\0", b"\0\0:\0", 1), "no ';' after the key"),
        (GOOD.replace(b"\4\0\0\0;\0", b"\4\0\0\0,\0", 1), "not set off by ';'"),
    ],
)
def test_refuses(data: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        registry_pol.parse(data)


@pytest.mark.parametrize(
    "record",
    [
        Record(KEY, "", 0, b""),
        Record(KEY, "kind of its own", 0x1234, b"\1"),
        Record(KEY, "larger than the specification allows", 3, b"x" * 70000),
        Record("a;b]c[", "with ; and ]", 1, wide("x;]\0")),
        Record("Ā\u0100", "\U0001f511", 3, b"\0" * 9),
        Record("", "", 1, b"odd"),
    ],
)
def test_keeps_what_is_odd(record: Record) -> None:
    assert registry_pol.parse(registry_pol.serialise([record, record])) == [record, record]


# ---- values


@pytest.mark.parametrize(
    ("word", "value", "data"),
    [
        ("string", "a", wide("a\0")),
        ("string", "", wide("\0")),
        ("expandstring", "%TEMP%", wide("%TEMP%\0")),
        ("dword", 5, b"\5\0\0\0"),
        ("dword_big_endian", 5, b"\0\0\0\5"),
        ("qword", 1 << 63, b"\0" * 7 + b"\x80"),
        ("multistring", ["a", "bc"], wide("a\0bc\0\0")),
        ("multistring", [], wide("\0")),
        ("binary", b"\1\2", b"\1\2"),
        ("none", b"", b""),
        ("link", wide("target"), wide("target")),
    ],
)
def test_values(word: str, value: registry_pol.Data, data: bytes) -> None:
    kind = registry_pol.type_number(word)
    assert registry_pol.encode(kind, value) == data
    assert registry_pol.decode(kind, data) == value
    assert registry_pol.type_word(kind) == word


@pytest.mark.parametrize(("value", "data"), [("17", number(17)), ("0x11", number(17)), ("0XFFFFFFFF", b"\xff" * 4), (True, number(1))])
def test_integers_may_be_text(value: registry_pol.Data, data: bytes) -> None:
    assert registry_pol.encode(DWORD, value) == data


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (1, b""),
        (1, b"a\0"),
        (1, wide("a")),
        (1, wide("a\0b\0")),
        (4, b"\1"),
        (7, b""),
        (7, wide("a\0")),
        (7, wide("\0\0")),
        (1, b"\0\xd8\0\0"),
        (11, b"1234"),
    ],
)
def test_data_that_is_not_as_its_type_asks_stays_bytes(kind: int, data: bytes) -> None:
    assert registry_pol.decode(kind, data) == data


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (1, 5, "5 is no string"),
        (1, "a\0b", "no string without NUL"),
        (1, "\ud800", "half a surrogate pair"),
        (4, -1, "-1 is no dword, which is an integer from 0 to 4294967295"),
        (4, 1 << 32, "4294967296 is no dword"),
        (4, "many", "'many' is no dword"),
        (4, ["1"], "is no dword"),
        (11, 1 << 64, "is no qword"),
        (7, "a", "'a' is no list of strings"),
        (7, ["a", ""], "cannot hold an empty string"),
        (7, [1], "1 is no string"),
        (3, "ff", "type binary takes raw bytes"),
        (99, 1, "type 99 takes raw bytes"),
    ],
)
def test_values_that_do_not_fit(kind: int, value: registry_pol.Data, message: str) -> None:
    with pytest.raises(UserError, match=message):
        registry_pol.encode(kind, value, "there")


def test_types_by_number() -> None:
    assert registry_pol.type_number("99") == 99
    assert registry_pol.type_word(99) == "99"
    with pytest.raises(UserError, match="'sz' is unknown; use one of none, string"):
        registry_pol.type_number("sz")


# ---- words

SPACE = wide(" \0")


@pytest.mark.parametrize(
    ("record", "setting"),
    [
        (Record(KEY, "a", 1, wide("x\0")), Setting(KEY, "a", "present", 1, "x")),
        (Record(KEY, "", 1, wide("x\0")), Setting(KEY, "", "present", 1, "x")),
        (Record(KEY, "", 0, b""), Setting(KEY, state="key_present")),
        (Record(KEY, "**del.a", 1, SPACE), Setting(KEY, "a", "absent")),
        (Record(KEY, "**soft.a", 4, number(1)), Setting(KEY, "a", "default", 4, 1)),
        (Record(KEY, "**delvals.", 1, SPACE), Setting(KEY, state="values_cleared")),
        (Record(KEY, "**DeleteValues", 1, wide("a;b\0")), Setting(KEY, state="values_absent", type=1, data=["a", "b"])),
        (Record(KEY, "**DeleteKeys", 1, wide("a\0")), Setting(KEY, state="keys_absent", type=1, data=["a"])),
        (Record(KEY, "**SecureKey", 4, number(1)), Setting(KEY, state="secured", type=4, data=1)),
        (Record(KEY, "**Comment:x", 1, wide("y\0")), Setting(KEY, "**Comment:x", "present", 1, "y")),
    ],
)
def test_words(record: Record, setting: Setting) -> None:
    assert registry_pol.setting(record) == setting
    assert registry_pol.record(setting) == record


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("**DEL.a", "absent"),
        ("**DelVals.", "values_cleared"),
        ("**delvals", "values_cleared"),
        ("**SOFT.a", "default"),
        ("**securekey", "secured"),
    ],
)
def test_instructions_are_known_in_any_case(name: str, state: str) -> None:
    assert registry_pol.setting(Record(KEY, name, 4, number(0))).state == state


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (Setting(r"HKLM\Software", "a", "present", 4, 1), "without its hive"),
        (Setting("\\Software", "a", "present", 4, 1), "without a backslash at either end"),
        (Setting("", "a", "present", 4, 1), "without its hive"),
        (Setting(KEY, "**del.a", "present", 4, 1), r"instruction of another kind \(absent\)"),
        (Setting(KEY, "a\0", "present", 4, 1), "without NUL"),
        (Setting(KEY, "a", "present", 3, b"x" * 65536), "65536 bytes of data; a policy carries at most 65535"),
        (Setting(KEY, state="values_absent", data=["a;b"]), "no list of names without semicolons"),
        (Setting(KEY, state="keys_absent", data=[]), "no list of names"),
        (Setting(KEY, "a", "present", 4, "x"), r"registry Software\\Policies\\Corp\\a \(present\): 'x' is no dword"),
        (Setting(KEY, "a", "gone"), "this state cannot be written"),
    ],
)
def test_instructions_that_cannot_be_written(setting: Setting, message: str) -> None:
    with pytest.raises(UserError, match=message):
        registry_pol.record(setting)


# ---- editing


def values(*pairs: tuple[str, int]) -> list[Record]:
    return [Record(KEY, name, 4, number(value)) for name, value in pairs]


def present(name: str, value: int) -> Setting:
    return Setting(KEY, name, "present", DWORD, value)


CLEAR = Record(KEY, "**DelVals.", 1, SPACE)
CLEARED = Setting(KEY, state="values_cleared")


@pytest.mark.parametrize(
    ("before", "wanted", "after"),
    [
        pytest.param([], [present("a", 1)], values(("a", 1)), id="first"),
        pytest.param(values(("a", 1)), [present("a", 1)], values(("a", 1)), id="there already"),
        pytest.param(values(("A", 1)), [present("a", 1)], values(("A", 1)), id="there in another case"),
        pytest.param(values(("b", 0), ("A", 1), ("c", 0)), [present("a", 2)], values(("b", 0), ("A", 2), ("c", 0)), id="changed in place"),
        pytest.param(
            [*values(("b", 0)), Record("Other", "x", 4, number(0))],
            [present("a", 1)],
            [*values(("b", 0), ("a", 1)), Record("Other", "x", 4, number(0))],
            id="joins its key",
        ),
        pytest.param(values(("a", 1), ("a", 2)), [present("a", 2)], values(("a", 1), ("a", 2)), id="the last one counts"),
        pytest.param(values(("a", 2), ("a", 1)), [present("a", 2)], values(("a", 2)), id="the last one counts and is changed"),
        pytest.param(values(("a", 1)), [Setting(KEY, "a", "absent")], [Record(KEY, "**del.a", 1, SPACE)], id="turned into its deletion"),
        pytest.param(
            [Record(KEY, "**Del.a", 4, number(9))],
            [Setting(KEY, "a", "absent")],
            [Record(KEY, "**Del.a", 4, number(9))],
            id="data of markers",
        ),
        pytest.param(values(("a", 1), ("b", 1)), [Setting(KEY, "A", "not_configured")], values(("b", 1)), id="not configured"),
        pytest.param([*values(("a", 1)), CLEAR], [present("a", 1)], [CLEAR, *values(("a", 1))], id="set after what clears it"),
        pytest.param([CLEAR, *values(("a", 1))], [present("a", 1)], [CLEAR, *values(("a", 1))], id="already after what clears it"),
        pytest.param(values(("a", 1)), [CLEARED], [CLEAR._replace(value="**delvals."), *values(("a", 1))], id="clears before others set"),
        pytest.param([], [CLEARED, present("a", 1)], [CLEAR._replace(value="**delvals."), *values(("a", 1))], id="clear, then set"),
        pytest.param([*values(("a", 1)), CLEAR], [CLEARED, present("a", 1)], [CLEAR, *values(("a", 1))], id="brought into order"),
        pytest.param([*values(("a", 1)), CLEAR], [present("a", 1), CLEARED], [*values(("a", 1)), CLEAR], id="order as wanted"),
        pytest.param(
            [*values(("a", 1)), Record(KEY, "**DeleteValues", 1, wide("x;A\0"))],
            [present("a", 1), present("b", 1)],
            [Record(KEY, "**DeleteValues", 1, wide("x;A\0")), *values(("a", 1), ("b", 1))],
            id="list of names",
        ),
        pytest.param(
            [*values(("a", 1)), Record(r"SOFTWARE\Policies", "**DeleteKeys", 1, wide("corp\0"))],
            [present("a", 1)],
            [Record(r"SOFTWARE\Policies", "**DeleteKeys", 1, wide("corp\0")), *values(("a", 1))],
            id="key of its own",
        ),
    ],
)
def test_edit(before: list[Record], wanted: list[Setting], after: list[Record]) -> None:
    assert registry_pol.edit(before, wanted) == after
    assert registry_pol.edit(after, wanted) == after


def test_owned_records_go_and_others_stay() -> None:
    records = [*values(("a", 1), ("b", 2)), Record(r"Elsewhere\X", "c", 0x77, b"kept")]
    edited = registry_pol.edit(records, [present("b", 3)], lambda record: registry_pol.under(record.key, "software"))
    assert edited == [*values(("b", 3)), records[2]]


def test_under() -> None:
    assert registry_pol.under(r"SOFTWARE\a", "software")
    assert registry_pol.under("software", "Software")
    assert not registry_pol.under("softwares", "software")


# ---- properties

names = st.text("aA\\;[]", max_size=4) | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)
markers = st.sampled_from(("**del.", "**DelVals.", "**DeleteValues", "**DeleteKeys", "**soft.", "**SecureKey", "**"))
kinds = st.sampled_from((0, 1, 2, 3, 4, 5, 7, 11)) | st.integers(0, 0xFFFFFFFF)
data = st.binary(max_size=12) | names.map(lambda text: (text + "\0").encode("utf-16-le")) | st.integers(0, 3).map(number)
records = st.lists(st.builds(Record, names, names | st.builds("{}{}".format, markers, names), kinds, data), max_size=6)


@given(records)
def test_every_list_of_records_survives_its_file(found: list[Record]) -> None:
    assert registry_pol.parse(registry_pol.serialise(found)) == found


@given(
    st.binary(max_size=80) | st.binary(max_size=80).map(lambda tail: b"PReg\1\0\0\0" + tail) | mutated(records.map(registry_pol.serialise))
)
def test_any_bytes_are_refused_or_come_back(found: bytes) -> None:
    try:
        parsed = registry_pol.parse(found)
    except FormatError:
        return
    assert registry_pol.serialise(parsed) == found


@given(kinds, data)
def test_decoding_loses_nothing(kind: int, found: bytes) -> None:
    assert registry_pol.encode(kind, registry_pol.decode(kind, found)) == found


@given(records)
def test_what_was_read_is_no_change(found: list[Record]) -> None:
    assert registry_pol.edit(found, [registry_pol.setting(record) for record in found], lambda record: True) == found


few_keys, few_names = st.sampled_from(("K", "k", r"K\s", r"K\s\t")), st.sampled_from("abA")
settings = st.one_of(
    st.builds(Setting, few_keys, few_names, st.sampled_from(("present", "default")), st.just(DWORD), st.integers(0, 2)),
    st.builds(Setting, few_keys, few_names, st.sampled_from(("absent", "not_configured"))),
    st.builds(Setting, few_keys, st.just(""), st.sampled_from(("values_cleared", "key_present"))),
    st.builds(Setting, few_keys, st.just(""), st.just("values_absent"), st.just(STRING), st.lists(few_names, min_size=1, max_size=2)),
    st.builds(
        Setting, few_keys, st.just(""), st.just("keys_absent"), st.just(STRING), st.lists(st.sampled_from("sS"), min_size=1, max_size=1)
    ),
)


def written(wanted: list[Setting]) -> list[Record]:
    return [registry_pol.record(one) for one in wanted if one.state != "not_configured"]


def applied(found: list[Record], registry: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
    """What a client makes of a registry by these instructions ([MS-GPREG] 3.2.5.1), written without the code under test."""
    for record in found:
        key, name = record.key.lower(), record.value.lower()
        if name == "**deletekeys":
            for sub in record.data.decode("utf-16-le").rstrip("\0").lower().split(";"):
                for existing in [other for other in registry if f"{other}\\".startswith(f"{key}\\{sub}\\")]:
                    del registry[existing]
            continue
        there = registry.setdefault(key, {})
        if name.startswith("**delvals"):
            there.clear()
        elif name == "**deletevalues":
            for value in record.data.decode("utf-16-le").rstrip("\0").lower().split(";"):
                there.pop(value, None)
        elif name.startswith("**del."):
            there.pop(name[6:], None)
        elif name.startswith("**soft."):
            there.setdefault(name[7:], record.data)
        elif name or record.type:
            there[name] = record.data
    return registry


@given(st.lists(settings, max_size=6), st.lists(settings, min_size=1, max_size=4))
def test_what_is_wanted_takes_effect_on_the_client(before: list[Setting], wanted: list[Setting]) -> None:
    edited = registry_pol.edit(written(before), wanted)
    assert registry_pol.edit(edited, wanted) == edited
    alone = applied(written(wanted), {})
    unconfigured = {(one.key.lower(), one.value.lower()) for one in wanted if one.state == "not_configured"}
    outcome = applied(edited, {})
    for key, there in alone.items():
        sure = {name: value for name, value in there.items() if (key, name) not in unconfigured and not _defaulted(wanted, key, name)}
        assert {name: outcome.get(key, {}).get(name) for name in sure} == sure
    for one in wanted:
        if one.state == "absent" and one.value.lower() not in alone.get(one.key.lower(), {}):
            others = {(found.key.lower(), found.value.lower()) for found in wanted if found.state != "absent"}
            if (one.key.lower(), one.value.lower()) not in others:
                assert one.value.lower() not in outcome.get(one.key.lower(), {})


def _defaulted(wanted: list[Setting], key: str, name: str) -> bool:
    """Whether a value is only a default, which what is there already outdoes; or repeated, where the last one counts."""
    about = [
        one
        for one in wanted
        if (one.key.lower(), one.value.lower()) == (key, name) and one.state in ("present", "default", "absent", "not_configured")
    ]
    return any(one.state != "present" for one in about)


@given(st.lists(settings, max_size=6), st.lists(settings, max_size=4))
def test_foreign_records_stay_in_order(before: list[Setting], wanted: list[Setting]) -> None:
    found = written(before)
    foreign = [record for record in found if record.key.lower() == "k" and record.value.lower() == "b"]
    ours = [one for one in wanted if one.key.lower() != "k" or one.value.lower() != "b"]
    edited = registry_pol.edit(found, ours)
    assert [record for record in edited if record.key.lower() == "k" and record.value.lower() == "b"] == foreign
