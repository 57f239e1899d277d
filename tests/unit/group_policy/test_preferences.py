# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from datetime import datetime, timezone

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import preferences
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.preferences import ServicePreference

pytest.importorskip("hypothesis", reason="property tests need hypothesis")

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certlogon.core.tests.unit.fuzzing import mutated

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=timezone.utc)
START = ServicePreference("SCardSvr", "automatic", "start")
REAL = (
    b'<?xml version="1.0" encoding="utf-8"?>\r\n'
    b'<NTServices clsid="{2CFB484A-4E96-4b5d-A0B6-093D2F91E6AE}"><!-- ours -->'
    b'<NTService clsid="{AB6F0B67-341F-4e51-92F9-005FBFBA1A43}" name="WinRM" image="2" changed="2022-10-25 17:35:16"'
    b' uid="{401AC3E6-C47E-44A5-89E4-FC427698E07D}" bypassErrors="1">'
    b'<Properties startupType="AUTOMATIC" serviceName="WinRM" serviceAction="START" timeout="30" accountName="LocalSystem"/>'
    b'<Filters><FilterGroup bool="AND" not="0" name="CORP\\Card users"/></Filters></NTService>\r\n</NTServices>\r\n'
)


def test_reads_a_file_of_windows() -> None:
    found = preferences.parse(REAL)
    assert found.services() == [ServicePreference("WinRM", "automatic", "start", 30)]
    assert preferences.serialise(found) == REAL
    assert preferences.edit(found, [ServicePreference("winrm", "automatic", "start")], now=NOW) is found


def test_attributes_may_be_left_out() -> None:
    data = b'<NTServices><NTService name="x"><Properties serviceName="x"/></NTService><NTService/></NTServices>'
    assert preferences.parse(data).services() == [ServicePreference("x", "no_change", "no_change", 30)]


def test_a_new_file() -> None:
    assert preferences.new().is_empty
    made = preferences.edit(preferences.new(), [START], now=NOW)
    assert not made.is_empty
    assert preferences.parse(made.data).services() == [START]
    text = made.data.decode()
    assert text.startswith(
        '<?xml version="1.0" encoding="utf-8"?>\r\n<NTServices clsid="{2CFB484A-4E96-4b5d-A0B6-093D2F91E6AE}"><NTService clsid="{AB6F0B67-'
    )
    assert ' name="SCardSvr" image="2" changed="2026-03-04 05:06:07" uid="{' in text
    assert '<Properties startupType="AUTOMATIC" serviceName="SCardSvr" serviceAction="START" timeout="30" />' in text


def test_equal_input_makes_equal_files() -> None:
    assert preferences.edit(preferences.new(), [START], now=NOW) == preferences.edit(preferences.new(), [START], now=NOW)


def test_what_is_foreign_stays() -> None:
    found = preferences.edit(preferences.parse(REAL), [ServicePreference("WINRM", "manual", "stop", 60), START], now=NOW)
    assert found.services() == [ServicePreference("WinRM", "manual", "stop", 60), START]
    text = found.data.decode()
    for kept in (
        "<!-- ours -->",
        'bypassErrors="1"',
        'accountName="LocalSystem"',
        r'name="CORP\Card users"',
        "{401AC3E6-C47E-44A5-89E4-FC427698E07D}",
    ):
        assert kept in text
    assert text.count('changed="2026-03-04 05:06:07"') == 2
    assert preferences.edit(found, [START], now=datetime(2027, 1, 1, tzinfo=timezone.utc)) is found


def test_remove_and_exact() -> None:
    both = preferences.edit(preferences.parse(REAL), [START], now=NOW)
    assert preferences.edit(both, [], ["WINRM"], now=NOW).services() == [START]
    assert preferences.edit(both, [START], exact=True, now=NOW).services() == [START]
    assert preferences.edit(both, [], ["absent"], now=NOW) is both
    assert preferences.edit(both, [], exact=True, now=NOW).services() == []


def test_a_service_may_have_several_items() -> None:
    twice = preferences.parse(
        REAL.replace(b"</NTServices>", REAL[REAL.index(b"<NTService ") : REAL.index(b"</NTServices>")] + b"</NTServices>")
    )
    found = twice.services()
    assert len(found) == 2
    assert preferences.edit(twice, found, exact=True, now=NOW) is twice
    assert preferences.edit(twice, found[:1], exact=True, now=NOW).services() == found[:1]
    assert preferences.edit(twice, found[:1], now=NOW) is twice


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no well-formed XML"),
        (b"<NTServices>", "no well-formed XML"),
        (b"<Groups/>", "outermost element is 'Groups'"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><NTServices>&a;</NTServices>', "document type declaration"),
        (b'<?xml version="1.0" encoding="nonsense"?><NTServices/>', "no well-formed XML"),
        (b"<NTServices>" + b"<a>" * 70 + b"</a>" * 70 + b"</NTServices>", "nested more than 64 deep"),
        (REAL.replace(b'"START"', b'"JUMP"'), "service 'WinRM': serviceAction 'JUMP' is none of NOCHANGE, START"),
        (REAL.replace(b'"AUTOMATIC"', b'""'), "startupType '' is none of"),
        (REAL.replace(b'"30"', b'"256"'), "timeout '256' is no integer from 0 to 255"),
    ],
)
def test_refuses(data: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        preferences.parse(data)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (ServicePreference(""), "is no service name"),
        (ServicePreference("a\n"), "is no service name"),
        (ServicePreference("a", startup="auto"), "startup 'auto' is none of no_change, automatic"),
        (ServicePreference("a", action="go"), "action 'go' is none of"),
        (ServicePreference("a", timeout=300), "timeout 300 is not from 0 to 255"),
    ],
)
def test_values_that_the_format_does_not_have(wanted: ServicePreference, message: str) -> None:
    with pytest.raises(UserError, match=message):
        preferences.edit(preferences.new(), [wanted], now=NOW)


@given(st.binary(max_size=40) | mutated(st.just(REAL)))
def test_any_bytes_are_refused_or_come_back(data: bytes) -> None:
    try:
        found = preferences.parse(data)
    except FormatError:
        return
    assert preferences.serialise(found) == data
    edited = preferences.edit(found, [START], now=NOW)
    assert START in preferences.parse(edited.data).services()
    assert preferences.edit(edited, [START], now=NOW) is edited


@pytest.mark.parametrize(
    ("data", "effects"),
    [
        (REAL, [(ServicePreference("WinRM", "automatic", "start"), True)]),
        (
            REAL.replace(b'<FilterGroup bool="AND" not="0" name="CORP\\Card users"/>', b""),
            [(ServicePreference("WinRM", "automatic", "start"), False)],
        ),
        (REAL.replace(b"<NTService clsid", b'<NTService disabled="1" clsid'), []),
        (REAL.replace(b"<NTServices clsid", b'<NTServices disabled="1" clsid'), []),
        (preferences.edit(preferences.new(), [START], now=NOW).data, [(START, False)]),
    ],
)
def test_effects_are_those_switched_on_and_say_whether_they_are_targeted(
    data: bytes, effects: list[tuple[ServicePreference, bool]]
) -> None:
    assert preferences.parse(data).effects() == effects
