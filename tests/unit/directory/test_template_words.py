# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.directory import oids
from ansible_collections.certlogon.core.plugins.module_utils.directory import template_flags as flags
from ansible_collections.certlogon.core.plugins.module_utils.directory.builtin_templates import BUILT_IN
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import SddlContext, SecurityDescriptor, Sid
from ansible_collections.certlogon.core.plugins.module_utils.directory.template_words import (
    INTEGERS,
    LISTS,
    OCTETS,
    TEXTS,
    Vocabulary,
    canonical,
    parse_period,
    period_text,
    to_attributes,
    to_words,
)
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

pytest.importorskip("hypothesis", reason="property tests need hypothesis")

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certlogon.core.tests.unit import vectors

ARC = "1.3.6.1.4.1.311.21.8.1.2.3.4.5.6"
VOCABULARY = Vocabulary.of(ARC, {"Corp Purpose": "1.2.3.4"}, {"Corp Policy": "1.2.3.5"})
DOMAIN = SddlContext(Sid.parse("S-1-5-21-1-2-3"))
REFERENCE = vectors.FOLDER.parent / "reference" / "builtin-templates.json"
EXPORTS = sorted((vectors.FOLDER / "templates").glob("*.ldf"))


def by_meaning(attributes: dict[str, Any]) -> dict[str, Any]:
    """Attributes without what does not matter: order, absent or empty or 0, one or two octets of key usage, order of properties."""
    result = {}
    for name, value in attributes.items():
        if isinstance(value, tuple):
            value = frozenset("`".join(sorted(_properties(item))) if "`" in item else item for item in value)
        if name == "pKIKeyUsage":
            value = value.ljust(2, b"\0")
        if value not in (None, frozenset(), 0, b"\0\0"):
            result[name] = value
    return result


def _properties(value: str) -> list[str]:
    fields = value.split("`")
    return ["`".join(fields[place : place + 3]) for place in range(0, len(fields) - 1, 3)]


def read_ldf(text: str) -> dict[str, Any]:
    raw: dict[str, list[bytes]] = {}
    for line in text.replace("\n ", "").splitlines():
        name, _colon, value = line.partition(":")
        raw.setdefault(name, []).append(base64.b64decode(value[1:]) if value.startswith(":") else value.strip().encode())
    return {
        **{name: int(raw[name][0]) for name in INTEGERS if name in raw},
        **{name: raw[name][0].decode() for name in TEXTS if name in raw},
        **{name: raw[name][0] for name in OCTETS if name in raw},
        **{name: tuple(value.decode() for value in raw[name]) for name in LISTS if name in raw},
    }


def round_trip(attributes: dict[str, Any]) -> None:
    words = to_words("T", attributes, VOCABULARY)
    again = to_attributes(words, VOCABULARY)
    assert by_meaning(again) == by_meaning(attributes)
    present = {name: value for name, value in again.items() if value is not None and value != ()}
    assert to_words("T", present, VOCABULARY) == words
    accepted, wrong = canonical(words, VOCABULARY)
    assert (accepted, wrong) == (words, [])


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_templates_lose_nothing_in_words(name: str) -> None:
    round_trip(dict(BUILT_IN[name].attributes))


@pytest.mark.parametrize("path", EXPORTS or [pytest.param(None, marks=pytest.mark.skip("no vectors"))], ids=lambda path: path and path.stem)
def test_exported_templates_lose_nothing_in_words(path: Path) -> None:
    attributes = read_ldf(path.read_text("utf-8", "replace"))
    assert attributes["flags"] >> 17
    round_trip(attributes)


def test_template_of_another_tool_loses_nothing_in_words() -> None:
    path = vectors.folder("templates") / "GoateePFE-PowerShellCMS.json"
    found = json.loads(path.read_text("utf-16"))
    attributes = {name: found[name] for name in (*INTEGERS, *TEXTS) if name in found}
    attributes |= {name: bytes(found[name]) for name in OCTETS if name in found}
    attributes |= {name: tuple(found[name]) for name in LISTS if name in found}
    assert attributes["pKIKeyUsage"] == b"\x20"
    assert to_words("T", attributes, VOCABULARY)["key_usage"] == ["key_encipherment"]
    round_trip(attributes)


def test_built_in_templates_are_those_of_a_real_installation() -> None:
    if not REFERENCE.exists():
        pytest.skip(f"{REFERENCE} is absent")
    reference = json.loads(REFERENCE.read_text())
    assert list(BUILT_IN) == list(reference)
    for name, expected in reference.items():
        built_in = BUILT_IN[name]
        attributes = {key: tuple(value) if isinstance(value, list) else value for key, value in expected.items()}
        sddl, suffix = attributes.pop("sddl"), attributes.pop("oid_suffix")
        attributes["pKIKeyUsage"] = bytes.fromhex(attributes.pop("pKIKeyUsage_hex"))
        for key, days in (("pKIExpirationPeriod", "expiration_days"), ("pKIOverlapPeriod", "overlap_days")):
            attributes[key] = parse_period(f"{attributes.pop(days):.0f}d")
        assert by_meaning(dict(built_in.attributes)) == by_meaning(attributes)
        assert built_in.oid_suffix == suffix
        wanted = SecurityDescriptor.from_sddl(sddl.replace("{domain}", str(DOMAIN.domain)), DOMAIN)
        assert SecurityDescriptor.from_sddl(built_in.sddl, DOMAIN).meaning == wanted.meaning


integers = st.integers(-(1 << 31), (1 << 31) - 1)
oid_lists = st.lists(st.sampled_from([*oids.USAGES.values(), "1.2.3", f"{ARC}.1.400"]), max_size=4, unique=True).map(tuple)
texts = st.text(alphabet=st.characters(blacklist_characters="`", blacklist_categories=["Cs"]), max_size=12)
properties = st.lists(
    st.tuples(st.sampled_from(["msPKI-Hash-Algorithm", "msPKI-Key-Usage", "msPKI-Symmetric-Key-Length", "x"]), st.just("PZPWSTR"), texts)
    | st.tuples(st.sampled_from(["msPKI-Key-Usage", "msPKI-Symmetric-Key-Length"]), st.just("DWORD"), st.integers(0, 1 << 31).map(str)),
    unique_by=lambda item: item[0],
    min_size=1,
    max_size=4,
).map(lambda items: ("".join(f"{name}`{kind}`{value}`" for name, kind, value in items),))


@given(
    st.fixed_dictionaries(
        {"msPKI-Template-Schema-Version": st.integers(1, 4)},
        optional={
            **{name: integers for name in INTEGERS if "evision" not in name and "Schema" not in name},
            "revision": st.integers(0, 200),
            "pKIDefaultKeySpec": st.integers(0, 3),
            "displayName": texts,
            "pKIKeyUsage": st.binary(min_size=1, max_size=2),
            "pKIExpirationPeriod": st.binary(max_size=9),
            "pKIOverlapPeriod": st.integers(1, 1 << 62).map(lambda ticks: (-ticks).to_bytes(8, "little", signed=True)),
            **dict.fromkeys(LISTS, oid_lists),
            "pKIDefaultCSPs": st.lists(texts, max_size=3, unique=True).map(lambda names: tuple(f"{n},{x}" for n, x in enumerate(names, 1)))
            | st.lists(st.integers(0, 5).map(lambda n: f"{n},Some Provider {n}"), max_size=3, unique=True).map(tuple),
            "msPKI-RA-Application-Policies": oid_lists
            | properties
            | st.lists(texts.map(lambda t: f"{t}`"), max_size=2, unique=True).map(tuple),
        },
    )
)
def test_no_value_is_lost_in_words(attributes: dict[str, Any]) -> None:
    words = to_words("T", attributes, VOCABULARY)
    again = to_attributes(words, VOCABULARY)
    schema = attributes["msPKI-Template-Schema-Version"]
    if schema == 1 and "msPKI-Certificate-Application-Policy" not in attributes:
        assert again["msPKI-Certificate-Application-Policy"] == ()
    signing = attributes.get("msPKI-RA-Application-Policies", ())
    if not any("`" in value for value in signing):
        # a plain list in a template whose schema wants properties is the one thing that is put right
        again["msPKI-RA-Application-Policies"] = signing
    assert by_meaning(again) == by_meaning(attributes)


@given(st.binary(max_size=10))
def test_any_octets_are_a_period(data: bytes) -> None:
    assert parse_period(period_text(data)) == data


@given(st.text(max_size=12) | st.from_regex(r" ?[0-9]{1,22}(y|mo|w|d|h|min|s|Days|x)( [0-9]+w)?", fullmatch=True))
def test_periods_are_understood_or_refused(text: str) -> None:
    try:
        data = parse_period(text)
    except FormatError:
        return
    assert parse_period(period_text(data)) == data


@pytest.mark.parametrize(
    ("text", "canonical_text", "days"),
    [
        ("1y", "1y", 365),
        ("730d", "2y", 730),
        ("42d", "6w", 42),
        ("6 weeks", "6w", 42),
        ("1y 6w", "407d", 407),
        ("1mo", "30d", 30),
        ("8h", "8h", 8 / 24),
        ("90min", "90min", 90 / 1440),
        ("1s", "1s", 1 / 86400),
        ("5 Years", "5y", 1825),
    ],
)
def test_periods(text: str, canonical_text: str, days: float) -> None:
    data = parse_period(text)
    assert period_text(data) == canonical_text
    assert -int.from_bytes(data, "little", signed=True) == round(days * 864_000_000_000)


@pytest.mark.parametrize("text", ["", "1", "y", "0d", "1x", "1y,6w", "-1d", "99999999999999999999y", "9999999y", "0xzz", "1m"])
def test_what_is_no_period_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="not a period"):
        parse_period(text)


@pytest.mark.parametrize(
    ("base64_text", "text"), [("AICmCv/e//8=", "6w"), ("AEA5hy7h/v8=", "1y"), ("AEAepOhl+v8=", "5y"), ("AIAuaRb7x/8=", "50y")]
)
def test_periods_that_windows_wrote(base64_text: str, text: str) -> None:
    assert period_text(base64.b64decode(base64_text)) == text


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("extended_key_usages", ["Client Authentication", "1.3.6.1.4.1.311.20.2.2"], ["client_authentication", "smart_card_logon"]),
        ("extended_key_usages", ["smartCardLogon", "Corp Purpose"], ["1.2.3.4", "smart_card_logon"]),
        ("issuance_policies", ["Low Assurance", f"{ARC}.1.401", "corp policy"], ["1.2.3.5", "low_assurance", "medium_assurance"]),
        ("critical_extensions", ["Key Usage", "2.5.29.17"], ["key_usage", "subject_alternative_name"]),
        ("key_usage", ["key_encipherment", "digital_signature"], ["digital_signature", "key_encipherment"]),
        ("key_usage", ["0x0040"], ["0x40"]),
        ("key_spec", "2", "signature"),
        ("validity", "52w", "52w"),
        ("compatibility", {"authority": "3", "client": None}, {"authority": "windows_server_2008_r2"}),
        ("private_key", {"flags": ["legacy_provider", "same_key_renewal"]}, {"flags": ["same_key_renewal", "legacy_provider"]}),
        ("algorithms", {"key_usage": ["sign", "all"]}, {"key_usage": ["all"]}),
        ("algorithms", {"other": ["b`DWORD`1", "a`DWORD`1"]}, {"other": ["a`DWORD`1", "b`DWORD`1"]}),
        ("algorithms", {"key_permissions": "D:P(A;;FA;;;BA)"}, {"key_permissions": "D:P(A;;FA;;;BA)"}),
        ("supersedes", ["b", "a", "b"], ["a", "b"]),
        ("providers", [" First ", "Second"], ["First", "Second"]),
        ("revision", "007.1", "7.1"),
    ],
)
def test_what_people_write(option: str, value: Any, expected: Any) -> None:
    assert canonical({option: value, "owner": None}, VOCABULARY) == ({option: expected}, [])


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("extended_key_usages", ["smart_card_login"], "purpose 'smart_card_login' is not known; did you mean 'smart_card_logon'?"),
        ("application_policies", ["zzz"], "purpose 'zzz' is not known"),
        ("critical_extensions", ["keyusages"], "did you mean 'key_usage'?"),
        ("issuance_policies", ["lowassurence"], "did you mean 'low_assurance'?"),
        ("key_usage", ["digital_sig"], "did you mean 'digital_signature'?"),
        ("enrollment_flags", ["smime"], "'smime' is not known"),
        ("key_spec", "exchange", "did you mean 'key_exchange'?"),
        ("compatibility", {"client": "windows_11"}, "client: 'windows_11' is not known; did you mean"),
        ("private_key", {"flags": ["legacy"]}, "flags: 'legacy' is not known"),
        ("algorithms", {"hash": "SHA`1"}, "hash: 'SHA`1' cannot hold a grave accent"),
        ("algorithms", {"other": ["x"]}, "other: 'x' is not a property"),
        ("algorithms", {"key_permissions": "D:(X)"}, "key_permissions: SDDL"),
        ("providers", ["A", "a"], "listed twice"),
        ("validity", "soon", "not a period"),
        ("revision", "1", "not a revision"),
        ("oid", "1.2.x", "not an object identifier"),
    ],
)
def test_what_is_wrong_is_named_with_its_option(option: str, value: Any, message: str) -> None:
    words, wrong = canonical({option: value}, VOCABULARY)
    assert words == {}
    assert len(wrong) == 1
    assert wrong[0].startswith(f"{option}: ")
    assert message in wrong[0]


def test_flag_words_are_unambiguous() -> None:
    for table in (flags.GENERAL, flags.ENROLLMENT, flags.PRIVATE_KEY, flags.SUBJECT_PARTS, flags.ALTERNATIVE_NAME_PARTS, flags.KEY_USAGE):
        bits = list(table.values())
        assert all(bit & (bit - 1) == 0 for bit in bits)
        assert len(set(bits)) == len(bits)


def test_numbers_for_flags() -> None:
    assert flags.bits_of(["0x40", "4"], {}) == 0x44
    for word in ("x", "-1", str(1 << 32)):
        with pytest.raises(FormatError):
            flags.number(word)


@pytest.mark.parametrize(
    ("oid", "name"),
    [
        # read off a real installation
        (f"{ARC}.1.400", None),
        ("1.3.6.1.4.1.311.21.8.14606814.4579994.15679635.15482926.4928991.141.63412935.14964662", "14964662."),
    ],
)
def test_names_of_oid_objects(oid: str, name: str | None) -> None:
    made = oids.object_name(oid)
    assert made.startswith(name or "400.")
    assert len(made) == len(oid.rpartition(".")[2]) + 33
    assert made == oids.object_name(oid)


def test_arcs() -> None:
    arc = oids.forest_arc(bytes(range(16)))
    assert arc == "1.3.6.1.4.1.311.21.8.258.197637.395016.592395.789774.15"
    first = oids.template_oid(arc, "Corp")
    assert first == oids.template_oid(arc, "CORP")
    assert [7 <= len(number) <= 8 for number in first.removeprefix(arc + ".").split(".")] == [True, True]
    second = oids.template_oid(arc, "Corp", [first])
    assert second not in (first, oids.template_oid(arc, "Other"))
