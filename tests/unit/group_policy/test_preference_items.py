# SPDX-License-Identifier: GPL-3.0-or-later
"""Preferences that copy files, write registry values and schedule tasks: as files of Windows look, in words, and edited in place."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any
from xml.etree import ElementTree

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import content, extensions, preference_items

pytest.importorskip("hypothesis", reason="property tests need hypothesis")

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certlogon.core.tests.unit.fuzzing import mutated

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=timezone.utc)
LATER = datetime(2027, 1, 1, tzinfo=timezone.utc)
FILES, VALUES, TASKS = preference_items.KINDS
FILE = {"target": r"%ProgramFilesDir%\PassiveKey\agent.exe", "source": r"\\corp.example\NETLOGON\agent.exe"}
VALUE = {"key": r"Software\Mozilla\NativeMessagingHosts\org.example", "data": r"C:\host.json"}
TASK = {"name": "PassiveKey", "command": r"C:\Program Files\PassiveKey\agent.exe", "description": "Enrolls", "arguments": "enroll --quiet"}
# The shape of items as Windows' editor writes them: file and value with all attributes, the value in a collection, a task of the system's.
REAL_FILES = (
    b'<?xml version="1.0" encoding="utf-8"?>\r\n<Files clsid="{215B2E53-57CE-475c-80FE-9EEC14635851}">'
    b'<File clsid="{50BE44C8-567A-4ed1-B1D0-9234FE1F38AF}" name="a.ini" status="a.ini" image="2" changed="2020-01-02 03:04:05"'
    b' uid="{0E28E245-9368-4853-AD84-6DA3BA35BB75}" bypassErrors="1"><Properties action="U" fromPath="\\\\srv\\s\\a.ini"'
    b' targetPath="C:\\a.ini" readOnly="0" archive="1" hidden="0" suppress="0"/><Filters><FilterComputer bool="AND" not="0" type="NETBIOS"'
    b' name="PC1"/></Filters></File></Files>\r\n'
)
REAL_VALUES = (
    b'<?xml version="1.0" encoding="utf-8"?>\r\n<RegistrySettings clsid="{A3CCFC41-DFDB-43a5-8D26-0FE8B954DA51}">'
    b'<Collection clsid="{53B533F5-224C-47e3-B01B-CA3B3F3FF4BF}" name="ours">'
    b'<Registry clsid="{9CD4B2F4-923D-47f5-A062-E897DD1DAD50}" name="N" status="N" image="12" changed="2020-01-02 03:04:05"'
    b' uid="{99501837-5199-4107-907B-795024EF25EF}"><Properties action="U"'
    b' displayDecimal="0" default="0" hive="HKEY_LOCAL_MACHINE" key="Software\\X" name="N" type="REG_DWORD" value="0000000A"/>'
    b"</Registry></Collection></RegistrySettings>\r\n"
)


def asked(kind: preference_items.Kind, *entries: dict[str, Any]) -> preference_items.Wanted:
    """Options as Ansible hands them over, with their defaults."""
    checked = ArgumentSpecValidator(content.OPTIONS).validate({kind.option: list(entries)})
    assert not checked.error_messages, checked.error_messages
    found, problems = preference_items.wanted(kind, checked.validated_parameters[kind.option])
    assert problems == []
    return found


def edit(
    kind: preference_items.Kind, data: bytes | None, *entries: dict[str, Any], exact: bool = False, now: datetime = NOW
) -> bytes | None:
    return preference_items.edit(kind, data, asked(kind, *entries), exact=exact, now=now)


def made(kind: preference_items.Kind, *entries: dict[str, Any]) -> bytes:
    data = edit(kind, None, *entries)
    assert data is not None
    return data


def test_a_file() -> None:
    text = made(FILES, FILE | {"remove_when_unapplied": True}).decode()
    assert text.startswith(
        '<?xml version="1.0" encoding="utf-8"?>\r\n<Files clsid="{215B2E53-57CE-475c-80FE-9EEC14635851}">'
        '<File clsid="{50BE44C8-567A-4ed1-B1D0-9234FE1F38AF}" name="agent.exe" status="agent.exe" image="1" changed="2026-03-04 05:06:07"'
        ' removePolicy="1" uid="{'
    )
    assert (
        '<Properties action="R" fromPath="\\\\corp.example\\NETLOGON\\agent.exe" targetPath="%ProgramFilesDir%\\PassiveKey\\agent.exe"'
        ' readOnly="0" archive="1" hidden="0" suppress="0" />' in text
    )


def test_a_value() -> None:
    own, number = (ElementTree.fromstring(made(VALUES, entry)).find("Registry/Properties") for entry in (VALUE, DWORD))
    assert own is not None and own.attrib == {
        "action": "U",
        "displayDecimal": "0",
        "default": "1",
        "hive": "HKEY_LOCAL_MACHINE",
        "key": VALUE["key"],
        "name": "",
        "type": "REG_SZ",
        "value": VALUE["data"],
    }
    assert number is not None and number.get("value") == "0000000A" and number.get("default") == "0"


DWORD = {"key": "Software\\X", "value": "N", "type": "dword", "data": "10"}


def test_a_task_of_each_user() -> None:
    """[MS-TSCH] 2.5: elements in the order of the schema's groups; a group's principal has no logon type."""
    properties = ElementTree.fromstring(made(TASKS, TASK)).find("TaskV2/Properties")
    assert properties is not None
    assert properties.attrib == {"action": "U", "name": "PassiveKey", "runAs": "S-1-5-32-545", "logonType": "Group"}
    task = properties.find("Task")
    assert task is not None and [part.tag for part in task] == ["RegistrationInfo", "Principals", "Settings", "Triggers", "Actions"]
    texts = {part.tag: part.text for part in task.iter() if part.text}
    assert texts["GroupId"] == "S-1-5-32-545" and texts["RunLevel"] == "LeastPrivilege" and "LogonType" not in texts
    assert texts["Command"] == TASK["command"] and texts["Arguments"] == "enroll --quiet" and texts["ExecutionTimeLimit"] == "PT0S"
    assert task.find("Triggers/LogonTrigger/Enabled") is not None and task.find("Triggers/LogonTrigger/UserId") is None
    again = made(TASKS, TASK | {"repeat_minutes": 90}).decode()
    assert (
        "<Enabled>true</Enabled><Repetition><Interval>PT90M</Interval><StopAtDurationEnd>false</StopAtDurationEnd></Repetition></" in again
    )
    assert "cpassword" not in made(TASKS, TASK).decode().lower()
    system = made(TASKS, TASK | {"run_as": "system"}).decode()
    assert "<UserId>S-1-5-18</UserId><LogonType>S4U</LogonType><RunLevel>HighestAvailable</RunLevel>" in system


@pytest.mark.parametrize(
    ("kind", "entry"),
    [(FILES, FILE), (VALUES, VALUE), (VALUES, DWORD), (TASKS, TASK), (TASKS, {"name": "x", "command": "y", "repeat_minutes": 60})],
)
def test_words_and_back(kind: preference_items.Kind, entry: dict[str, Any]) -> None:
    data = made(kind, entry)
    said = preference_items.words(kind, data)
    assert {name: said[0][name] for name in entry} == entry
    assert edit(kind, data, *said, now=LATER) is data and edit(kind, None, *said) == data, "nothing to change; and equal input, equal files"
    removed = edit(kind, data, entry | {"remove_when_unapplied": True})
    assert removed is not None and preference_items.words(kind, removed)[0]["action"] == "replace"
    assert edit(kind, data, entry | {"state": "not_configured"}) is None and edit(kind, data, exact=True) is None
    files = dict.fromkeys(content.KNOWN) | {kind.path: data}
    assert content.words(files, None, None) == {kind.option: said} and content.kinds(files)["computer"] == {kind.option}
    names = content.extension_names("computer", None, dict.fromkeys(content.KNOWN), files, content.Wanted())
    assert [group.cse for group in extensions.parse(names)] == sorted({cse for cse, _tool in extensions.MACHINE[kind.option]})


def test_what_is_foreign_stays() -> None:
    both = edit(FILES, REAL_FILES, FILE, {"target": "c:\\A.INI", "source": r"\\srv\s\b.ini"})
    assert both is not None
    text = both.decode()
    for kept in ('type="NETBIOS"', 'bypassErrors="1"', "{0E28E245-9368-4853-AD84-6DA3BA35BB75}"):
        assert kept in text
    assert 'fromPath="\\\\srv\\s\\b.ini"' in text and text.count('changed="2026-03-04 05:06:07"') == 2 and text.count("<File ") == 2
    assert edit(FILES, both, FILE, now=LATER) is both
    only = edit(FILES, both, FILE, exact=True)
    assert only is not None and preference_items.words(FILES, only)[0]["target"] == FILE["target"]


def test_items_in_collections_are_found() -> None:
    assert edit(VALUES, REAL_VALUES, DWORD) is REAL_VALUES
    changed = edit(VALUES, REAL_VALUES, DWORD | {"data": "11"})
    assert changed is not None and b'value="0000000B"' in changed and b'name="ours"' in changed
    assert b"<Registry " not in (edit(VALUES, REAL_VALUES, DWORD | {"state": "not_configured"}) or b"")


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (FILES, REAL_FILES),
        (VALUES, REAL_VALUES),
        (FILES, REAL_FILES.replace(b"<Filters>", b"<X>").replace(b"</Filters>", b"</X>")),
        (
            TASKS,
            b'<ScheduledTasks><TaskV2><Properties name="a" runAs="X" logonType="Password" cpassword="x"/></TaskV2></ScheduledTasks>',
        ),
        (TASKS, b"<ScheduledTasks><ImmediateTaskV2/></ScheduledTasks>"),
        (TASKS, b"<ScheduledTasks><!-- ours --></ScheduledTasks>"),
        (FILES, b"<Groups/>"),
        (FILES, b"<Files>"),
    ],
)
def test_what_words_cannot_say_is_raw(kind: preference_items.Kind, data: bytes) -> None:
    with pytest.raises(FormatError):
        preference_items.words(kind, data)
    found = content.words(dict.fromkeys(content.KNOWN) | {kind.path: data}, None, None)
    assert [one["path"] for one in found["files"]] == [kind.path] and kind.option not in found


@pytest.mark.parametrize(
    ("kind", "entry", "message"),
    [
        (FILES, {"target": "agent.exe", "source": "x"}, "target 'agent.exe' is no whole path"),
        (FILES, {"target": "C:\\a"}, "source is missing"),
        (FILES, FILE | {"action": "update", "remove_when_unapplied": True}, "needs action replace"),
        (FILES, {"target": "C:\\a", "source": "x\0"}, "cannot be printed"),
        (VALUES, {"key": "HKEY_LOCAL_MACHINE\\Software"}, "is no key below its hive"),
        (VALUES, DWORD | {"data": "0x10"}, "is no number from 0"),
        (VALUES, {"key": "Software\\X", "type": "dword"}, "data '' is no number"),
        (TASKS, {"name": "a\\b", "command": "x"}, "is no name of a task"),
        (TASKS, {"name": "a"}, "command is missing"),
        (TASKS, {"name": "a", "command": "x", "repeat_minutes": 44641}, "repeat_minutes 44641 is not from 0"),
    ],
)
def test_refuses(kind: preference_items.Kind, entry: dict[str, Any], message: str) -> None:
    checked = ArgumentSpecValidator(content.OPTIONS).validate({kind.option: [entry, entry]})
    _found, problems = preference_items.wanted(kind, checked.validated_parameters[kind.option])
    assert message in problems[0] and problems[0].startswith(f"{kind.option}: ")


def test_nothing_is_listed_twice() -> None:
    checked = ArgumentSpecValidator(content.OPTIONS).validate({"file_preferences": [FILE, FILE | {"target": FILE["target"].upper()}]})
    assert "is listed twice" in preference_items.wanted(FILES, checked.validated_parameters["file_preferences"])[1][0]


@given(st.sampled_from([(FILES, REAL_FILES), (VALUES, REAL_VALUES), (TASKS, made(TASKS, TASK))]), st.data())
def test_reads_anything_or_says_why(example: tuple[preference_items.Kind, bytes], data: st.DataObject) -> None:
    kind, real = example
    broken = data.draw(mutated(st.just(real)))
    try:
        preference_items.words(kind, broken)
    except FormatError:
        return
    assert preference_items.edit(kind, broken, {}, exact=True, now=LATER) in (broken, None), "nothing is left, or nothing was there"
