# SPDX-License-Identifier: GPL-3.0-or-later
"""A policy's files in words, and words carried out on its files."""

from __future__ import annotations

import base64
import datetime
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import content, preferences, registry_pol
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.content import (
    COMPUTER_REGISTRY,
    KNOWN,
    SECURITY,
    SERVICES,
    USER_REGISTRY,
)
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.registry_pol import Record
from ansible_collections.certlogon.core.tests.unit import vectors

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
NOTHING = dict.fromkeys(KNOWN)
AUTOENROLLMENT = "Software\\Policies\\Microsoft\\Cryptography\\AutoEnrollment"


def entry(**options: Any) -> dict[str, Any]:
    """Options as Ansible hands them over, with their defaults."""
    checked = ArgumentSpecValidator(content.OPTIONS).validate(options)
    assert not checked.error_messages, checked.error_messages
    found: dict[str, Any] = checked.validated_parameters
    return found


def edit(files: content.Files, /, *, exact: bool = False, **options: Any) -> dict[str, bytes | None]:
    return content.edit(files, content.wanted(entry(**options)), exact=exact, now=NOW)


def words(files: content.Files) -> dict[str, Any]:
    return content.words(files, None, None)


FULL: dict[str, Any] = {
    "services": [{"name": "SCardSvr", "startup": "automatic", "security": ""}],
    "security_options": {
        "smart_card_removal_behaviour": "lock",
        "require_smart_card": "true",
        "registry_values": [{"path": "MACHINE\\Software\\X\\Y", "type": "dword", "value": "3", "state": "present"}],
    },
    "registry": [
        {"half": "computer", "key": "Software\\A", "value": "Cleared", "state": "absent"},
        {"half": "computer", "key": "Software\\A", "value": "D", "type": "dword", "data": 5, "state": "present"},
        {"half": "computer", "key": "Software\\A", "value": "Odd", "type": "dword", "base64": "AQI=", "state": "present"},
        {"half": "user", "key": "Software\\B", "value": "M", "type": "multistring", "data": ["a", "b"], "state": "default"},
        {"half": "user", "key": "Software\\B", "value": "", "state": "values_absent", "data": ["x", "y"]},
        {"half": "user", "key": "Software\\C", "value": "", "state": "key_present"},
    ],
    "autoenrollment": {
        "computer": {
            "enabled": True,
            "renew": True,
            "update_templates": False,
            "expiration_percent": 20,
            "expiration_stores": ["MY", "Other"],
        },
        "user": {"enabled": False},
    },
    "service_preferences": [{"name": "SCardSvr", "startup": "automatic", "action": "start", "timeout": 30, "state": "present"}],
    "security_template": [{"section": "System Access", "lines": ["MinimumPasswordLength = 12"]}],
    "files": [{"path": "Machine\\Scripts\\scripts.ini", "content": "AAEC", "state": "present"}],
}


def test_words_and_back() -> None:
    files = edit(NOTHING, **FULL)
    assert words(files) == FULL
    for exact in (False, True):
        assert edit(files, exact=exact, **FULL) == files, "gathered goes back in unchanged"
    assert words(edit(NOTHING, exact=True, **FULL)) == FULL


def test_nothing_asked_is_nothing_done() -> None:
    files = edit(NOTHING, **FULL)
    assert edit(files) == files
    assert edit(NOTHING) == NOTHING and edit(NOTHING, exact=True) == NOTHING


def test_exact_empties_what_has_words_and_keeps_what_is_raw() -> None:
    emptied = edit(edit(NOTHING, **FULL), exact=True)
    assert words(emptied) == {name: FULL[name] for name in ("security_template", "files")}
    assert emptied[COMPUTER_REGISTRY] is emptied[USER_REGISTRY] is emptied[SERVICES] is None


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"services": [{"name": "scardsvr", "startup": "not_configured"}]}, SECURITY),
        ({"security_options": {"smart_card_removal_behaviour": "not_configured", "require_smart_card": "not_configured"}}, SECURITY),
        ({"security_options": {"registry_values": [{"path": "machine\\software\\x\\y", "state": "not_configured"}]}}, SECURITY),
        ({"security_template": [{"section": "system access", "lines": []}]}, SECURITY),
        ({"registry": [{"key": "software\\a", "value": "d", "state": "not_configured"}]}, COMPUTER_REGISTRY),
        ({"service_preferences": [{"name": "scardsvr", "state": "not_configured"}]}, SERVICES),
        ({"files": [{"path": "Machine\\Scripts\\scripts.ini", "state": "absent"}]}, "Machine\\Scripts\\scripts.ini"),
        ({"autoenrollment": {"user": {"enabled": True}}}, USER_REGISTRY),
    ],
)
def test_one_option_touches_one_file(options: dict[str, Any], path: str) -> None:
    files = edit(NOTHING, **FULL)
    edited = edit(files, **options)
    assert {name for name in files if files[name] != edited[name]} == {path}
    assert edit(edited, **options) == edited


def test_foreign_records_stay_byte_for_byte() -> None:
    foreign = [
        Record("Software\\Z", "Odd", 4, b"\1"),
        Record("Software\\Z", "**del.x", 1, b"q\0"),
        Record("software\\z", "S", 1, b"a\0\0\0\0\0"),
    ]
    data = registry_pol.serialise(foreign)
    edited = edit({**NOTHING, COMPUTER_REGISTRY: data}, registry=[{"key": "Software\\Y", "value": "V", "type": "string", "data": "x"}])
    assert registry_pol.parse(edited[COMPUTER_REGISTRY] or b"")[:3] == foreign


def test_autoenrollment_that_has_no_words_stays_raw() -> None:
    for record in (Record(AUTOENROLLMENT, "AEPolicy", 4, b"\2\0\0\0"), Record(AUTOENROLLMENT, "OfflineExpirationPercent", 4, b"\5\0\0\0")):
        found = words({**NOTHING, USER_REGISTRY: registry_pol.serialise([record])})
        assert "autoenrollment" not in found and found["registry"][0]["key"] == AUTOENROLLMENT


@pytest.mark.parametrize(("path", "data"), [(COMPUTER_REGISTRY, b"garbage"), (SECURITY, b"\xff\xfea"), (SERVICES, b"<NTServices>")])
def test_broken_files(path: str, data: bytes) -> None:
    files = {**NOTHING, path: data}
    assert words(files) == {"files": [{"path": path, "content": base64.b64encode(data).decode(), "state": "present"}]}
    assert edit(files) == files, "a broken file that nobody asks for is no obstacle"
    with pytest.raises(FormatError, match=r"restore the file from a backup, or have it replaced whole by option files"):
        edit(files, exact=True)
    whole = [{"path": path, "content": base64.b64encode(data).decode()}]
    assert edit(files, exact=True, files=whole)[path] == data


def test_preferences_with_filters_stay_raw_and_whole() -> None:
    plain = edit(NOTHING, service_preferences=[{"name": "A", "action": "start"}])[SERVICES] or b""
    filtered = plain.replace(b"</NTService>", b'<Filters><FilterOs bool="AND"/></Filters></NTService>').replace(
        b" /></NTService>", b"/></NTService>"
    )
    if b"Filters" not in filtered:
        filtered = plain.replace(b"</NTServices>", b'<NTService name="B"/></NTServices>')
    found = words({**NOTHING, SERVICES: filtered})
    assert "service_preferences" not in found and base64.b64decode(found["files"][0]["content"]) == filtered
    edited = edit({**NOTHING, SERVICES: filtered}, service_preferences=[{"name": "C", "action": "stop"}])[SERVICES] or b""
    assert {one.name for one in preferences.parse(edited).services()} >= {"A", "C"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"services": [{"name": "A", "startup": "manual"}, {"name": "a", "startup": "manual"}]}, "'a' is listed twice"),
        ({"registry": [{"key": "K", "value": "V"}]}, "type is missing; use one of"),
        ({"registry": [{"key": "K", "value": "V", "type": "dwrod", "data": 1}]}, "'dwrod' is unknown"),
        ({"registry": [{"key": "K", "value": "V", "type": "dword"}]}, "data is missing"),
        ({"registry": [{"key": "K", "value": "V", "type": "string", "data": 1}]}, "is no text; put it in quotes"),
        ({"registry": [{"key": "K", "value": "V", "type": "binary", "base64": "###"}]}, "is no base64"),
        ({"security_options": {"registry_values": [{"path": "MACHINE\\X"}]}}, "type and value are needed"),
        ({"security_options": {"registry_values": [{"path": "MACHINE\\X", "type": "q", "value": "1"}]}}, "'q' is unknown"),
        ({"security_template": [{"section": "registry values", "lines": []}]}, "has options of its own"),
        ({"service_preferences": [{"name": "A", "timeout": 256}]}, "is not from 0 to 255"),
        ({"service_preferences": [{"name": "A"}, {"name": "A"}]}, "is listed twice"),
        ({"files": [{"path": "..\\x", "content": ""}]}, "is no path below"),
        ({"files": [{"path": "gpt.ini", "content": ""}]}, "is kept by this module"),
        ({"extensions": {"user": ["{nonsense}"]}}, "extensions.user"),
        ({"extensions": {"user": ["{42B5FAAE-6536-11D2-AE5A-0000F87571E3}"]}}, "names no tool"),
        ({"autoenrollment": {"user": {"enabled": True, "expiration_percent": 100}}}, "is not from 1 to 99"),
        ({"autoenrollment": {"user": {"enabled": True, "expiration_stores": ["a,b"]}}}, "are not names of certificate stores"),
        ({"certificates": {"trusted_root": [{"content": "garbage"}]}}, r"certificates.trusted_root\[0\]"),
        ({"certificates": {"trusted_root": [{"path": "/nowhere/x.pem"}]}}, r"trusted_root\[0\] \(/nowhere/x.pem\): cannot be read"),
        (
            {"services": [{"name": "A", "startup": "manual"}], "files": [{"path": SECURITY, "content": ""}]},
            "is given whole, and other options of the entry write into it",
        ),
    ],
)
def test_bad_input(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        content.wanted(entry(**options))
    assert len(str(caught.value).splitlines()) == 1


def test_extensions_follow_content() -> None:
    empty = content.wanted(entry())
    full = edit(NOTHING, **FULL)
    text = content.extension_names("computer", None, NOTHING, full, empty)
    assert [group.split("}")[0] for group in text.split("[{")[1:]] == [
        "00000000-0000-0000-0000-000000000000",
        "35378EAC-683F-11D2-A89A-00C04FBBCFA2",
        "827D319E-6EAC-11D2-A4EA-00C04F79F83A",
        "91FBB303-0CD5-4055-BF42-E512A681B325",
    ]
    foreign = "{42B5FAAE-6536-11D2-AE5A-0000F87571E3}{40B6664F-4972-11D1-A7CA-0000F87571E3}"
    wish = content.wanted(entry(extensions={"computer": [foreign]}))
    both = content.with_wished_extensions("computer", text, wish)
    assert f"[{foreign}]" in both and content.with_wished_extensions("computer", both, wish) == both
    assert content.words(full, both, None)["extensions"] == {"computer": [foreign]}
    assert content.extension_names(
        "computer", both, full, edit(full, exact=True, security_template=[{"section": "System Access", "lines": []}]), empty
    ) == (f"[{foreign}]")
    assert content.missing_extensions("computer", f"[{foreign}]", full) == ["preferences_services", "registry", "security"]
    assert content.missing_extensions("computer", text, full) == [] and content.missing_extensions("computer", "nonsense", full) == []


def test_certificates() -> None:
    source = vectors.folder("group-policy-certificates")
    data = (source / "registry.pol").read_bytes()
    files = {**NOTHING, COMPUTER_REGISTRY: data}
    found = words(files)["certificates"]
    assert (len(found["trusted_root"]), len(found["intermediate"])) == (4, 33)
    allowances = dict.fromkeys(("allow_expired", "allow_weak", "allow_non_ca"), True)
    assert edit(files, certificates=found | allowances) == files and edit(files, exact=True, **words(files)) == files
    one = next((source / "root").iterdir())
    again = edit(files, certificates={"trusted_root": [{"path": str(one)}], **allowances})
    assert again == files, "what is there already stays as it is"
    fewer = edit(files, exact=True, certificates={"trusted_root": [{"path": str(one)}], **allowances})
    assert len(words(fewer)["certificates"]["trusted_root"]) == 1 and "registry" not in words(fewer)
    with pytest.raises(UserError, match="subject is 'CN=Else', but the certificate is"):
        content.wanted(entry(certificates={"disallowed": [{"path": str(one), "subject": "CN=Else"}]}))
    with pytest.raises(UserError, match="sha256 is 00, but the certificate is"):
        content.wanted(entry(certificates={"disallowed": [{"path": str(one), "sha256": "00"}]}))
    expired = sorted((source / "intermediate").iterdir())[0]
    with pytest.raises(UserError, match=r"set certificates\.allow_expired"):
        content.wanted(entry(certificates={"intermediate": [{"path": str(expired)}]}))


@pytest.mark.parametrize("folder", ["group-policy-certificates", "group-policy-service"])
def test_template_lines_of_windows_survive(folder: str) -> None:
    files = {**NOTHING, SECURITY: (vectors.folder(folder) / "GptTmpl.inf").read_bytes()}
    assert edit(files, exact=True, **words(files)) == files
