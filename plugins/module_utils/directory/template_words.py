# SPDX-License-Identifier: GPL-3.0-or-later
"""A certificate template's attributes in words, and back ([MS-CRTD] 2).

`to_words` and `to_attributes` are inverse by meaning: `to_words(to_attributes(words)) == words` for canonical words, and attributes that
were read give the same values again, but for the order of multi-valued ones. `canonical` brings what an administrator writes into the
form that `to_words` returns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.directory import oids
from ansible_collections.certlogon.core.plugins.module_utils.directory import template_flags as flags
from ansible_collections.certlogon.core.plugins.module_utils.directory.oids import Names, suggestion
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import SecurityDescriptor
from ansible_collections.certlogon.core.plugins.module_utils.directory.template_flags import Table, signed, unsigned
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Words

Attributes = Mapping[str, Any]
"""LDAP attributes: integers signed, texts, `pKIKeyUsage` and the periods bytes, multi-valued ones tuples of text."""

INTEGERS = (
    "flags",
    "revision",
    "pKIDefaultKeySpec",
    "pKIMaxIssuingDepth",
    "msPKI-RA-Signature",
    "msPKI-Enrollment-Flag",
    "msPKI-Private-Key-Flag",
    "msPKI-Certificate-Name-Flag",
    "msPKI-Minimal-Key-Size",
    "msPKI-Template-Schema-Version",
    "msPKI-Template-Minor-Revision",
)
TEXTS = ("displayName", "msPKI-Cert-Template-OID")
OCTETS = ("pKIKeyUsage", "pKIExpirationPeriod", "pKIOverlapPeriod")
LISTS = (
    "pKIExtendedKeyUsage",
    "pKICriticalExtensions",
    "pKIDefaultCSPs",
    "msPKI-RA-Application-Policies",
    "msPKI-RA-Policies",
    "msPKI-Certificate-Policy",
    "msPKI-Certificate-Application-Policy",
    "msPKI-Supersede-Templates",
)


@dataclass(frozen=True)
class Vocabulary:
    """What names of object identifiers mean in a forest."""

    usages: Names
    extensions: Names
    policies: Names

    @classmethod
    def of(cls, arc: str, usages: Mapping[str, str] | None = None, policies: Mapping[str, str] | None = None) -> Vocabulary:
        """`arc` is the forest's; `usages` and `policies` are OIDs by the display names that the forest's own OID objects have."""
        assurances = {word: f"{arc}.{suffix}" for word, suffix in oids.ASSURANCES.items()}
        return cls(
            Names("purpose", oids.USAGES, usages),
            Names("extension", oids.EXTENSIONS),
            Names("issuance policy", {**oids.POLICIES, **assurances}, policies),
        )


# --- periods ---

_TICKS = {"y": 365 * 864_000_000_000, "mo": 30 * 864_000_000_000, "w": 7 * 864_000_000_000, "d": 864_000_000_000}
_TICKS |= {"h": 36_000_000_000, "min": 600_000_000, "s": 10_000_000, "ticks": 1}
_TERM = re.compile(r"\s*([0-9]{1,19})\s*([a-z]+)", re.ASCII | re.IGNORECASE)
_LONG_UNITS = {"year": "y", "month": "mo", "week": "w", "day": "d", "hour": "h", "minute": "min", "second": "s", "tick": "ticks"}


def parse_period(text: str) -> bytes:
    """Eight bytes of pKIExpirationPeriod or pKIOverlapPeriod ([MS-CRTD] 2.11, 2.15): minus the count of 100 nanoseconds."""
    if text.startswith("0x"):
        try:
            return bytes.fromhex(text[2:])
        except ValueError as error:
            raise FormatError(f"{text!r} is not a period") from error
    position = total = 0
    while position < len(text.rstrip()):
        match = _TERM.match(text, position)
        unit = match[2].lower() if match else ""
        unit = _LONG_UNITS.get(unit.removesuffix("s"), unit)
        if not match or unit not in _TICKS:
            raise FormatError(f"{text!r} is not a period; write one like 1y, 6w, 42d, 8h or '1y 6w' (units {', '.join(_TICKS)})")
        total += int(match[1]) * _TICKS[unit]
        position = match.end()
    if not 0 < total < 1 << 63:
        raise FormatError(f"{text!r} is not a period that a certificate can have")
    return (-total).to_bytes(8, "little", signed=True)


@lru_cache(maxsize=1024)
def period_text(data: bytes) -> str:
    """The shortest way to write a period; what is none is the hexadecimal of its bytes."""
    ticks = -int.from_bytes(data, "little", signed=True)
    if len(data) != 8 or not 0 < ticks < 1 << 63:
        return f"0x{data.hex()}"
    unit = next(unit for unit, size in _TICKS.items() if unit != "mo" and ticks % size == 0)
    return f"{ticks // _TICKS[unit]}{unit}"


# --- attributes -> words ---


def to_words(name: str, attributes: Attributes, vocabulary: Vocabulary) -> Words:
    """Everything but owner and permissions. An attribute that is absent is what the template's readers take it for: 0, or none."""
    integer = attributes.get
    subject_type, general = _general_words(integer("flags", 0))
    subject, alternative_name = _name_words(integer("msPKI-Certificate-Name-Flag", 0))
    private_key, compatibility = _private_key_words(integer("msPKI-Private-Key-Flag", 0))
    enrollment = unsigned(integer("msPKI-Enrollment-Flag", 0))
    schema = integer("msPKI-Template-Schema-Version", 1)
    usages = vocabulary.usages.words(attributes.get("pKIExtendedKeyUsage", ()))
    policies = vocabulary.usages.words(attributes.get("msPKI-Certificate-Application-Policy", ()))
    algorithms, signing = _signing_words(attributes.get("msPKI-RA-Application-Policies", ()))
    words: Words = {
        "name": name,
        "display_name": attributes.get("displayName"),
        "schema_version": schema,
        "subject_type": subject_type,
        "subject": {**subject, "parts": list(subject["parts"]), "other_flags": list(subject["other_flags"])},
        "subject_alternative_name": {**alternative_name, "parts": list(alternative_name["parts"])},
        "extended_key_usages": usages,
        "application_policies": policies if policies != (usages if schema > 1 else []) else None,
        "critical_extensions": vocabulary.extensions.words(attributes.get("pKICriticalExtensions", ())),
        "key_usage": _key_usage_words(attributes.get("pKIKeyUsage", b"")),
        "path_length": integer("pKIMaxIssuingDepth", 0),
        "validity": _optional(period_text, attributes.get("pKIExpirationPeriod")),
        "renewal_overlap": _optional(period_text, attributes.get("pKIOverlapPeriod")),
        "minimum_key_size": integer("msPKI-Minimal-Key-Size", 0),
        "key_spec": _key_spec_word(integer("pKIDefaultKeySpec", 0)),
        "providers": _provider_words(attributes.get("pKIDefaultCSPs", ())),
        "algorithms": algorithms,
        "private_key": {**private_key, "flags": list(private_key["flags"])},
        "compatibility": dict(compatibility),
        "manager_approval": bool(enrollment & flags.MANAGER_APPROVAL),
        "signatures": {
            "count": integer("msPKI-RA-Signature", 0),
            "application_policies": vocabulary.usages.words(signing),
            "issuance_policies": vocabulary.policies.words(attributes.get("msPKI-RA-Policies", ())),
        },
        "issuance_policies": vocabulary.policies.words(attributes.get("msPKI-Certificate-Policy", ())),
        "supersedes": sorted(attributes.get("msPKI-Supersede-Templates", ())),
        "autoenrollment": bool(enrollment & flags.AUTO_ENROLLMENT),
        "publish_to_directory": bool(enrollment & flags.PUBLISH_TO_DIRECTORY),
        "sid_extension": not enrollment & flags.NO_SID_EXTENSION,
        "reuse_key_when_full": bool(enrollment & flags.REUSE_KEY_WHEN_FULL),
        "enrollment_flags": flags.words_of(enrollment & ~_OWN_ENROLLMENT_BITS, flags.ENROLLMENT),
        "general_flags": list(general),
        "oid": attributes.get("msPKI-Cert-Template-OID"),
        "revision": f"{integer('revision', 0)}.{integer('msPKI-Template-Minor-Revision', 0)}",
    }
    return {option: value for option, value in words.items() if value is not None}


_OWN_ENROLLMENT_BITS = (
    flags.MANAGER_APPROVAL | flags.PUBLISH_TO_DIRECTORY | flags.AUTO_ENROLLMENT | flags.REUSE_KEY_WHEN_FULL | flags.NO_SID_EXTENSION
)
_OWN_PRIVATE_KEY_BITS = flags.ARCHIVE | flags.EXPORTABLE | flags.STRONG_PROTECTION | flags.COMPATIBILITY_BITS


def _optional(function: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else function(value)


@lru_cache(maxsize=256)
def _general_words(value: int) -> tuple[str, tuple[str, ...]]:
    bits = unsigned(value)
    kind = bits & flags.SUBJECT_TYPE_BITS
    # an unusual mixture stays visible: what the type does not imply is left among the flags
    word = next((word for word, type_bits in flags.SUBJECT_TYPES.items() if type_bits == kind), "computer" if kind & 0x40 else "user")
    return word, tuple(flags.words_of(bits & ~flags.SUBJECT_TYPES[word], flags.GENERAL))


@lru_cache(maxsize=256)
def _name_words(value: int) -> tuple[Words, Words]:
    bits = unsigned(value)
    own = flags.SUPPLIED_SUBJECT | flags.SUBJECT_FROM_OLD | flags.SUPPLIED_ALTERNATIVE_NAME
    known = own | flags.all_bits((*flags.SUBJECT_PARTS.values(), *flags.ALTERNATIVE_NAME_PARTS.values()))
    subject = {
        "supplied_in_request": bool(bits & flags.SUPPLIED_SUBJECT),
        "from_old_certificate": bool(bits & flags.SUBJECT_FROM_OLD),
        "parts": [word for word, bit in flags.SUBJECT_PARTS.items() if bits & bit],
        "other_flags": flags.words_of(bits & ~known, {}),
    }
    alternative_name = {
        "supplied_in_request": bool(bits & flags.SUPPLIED_ALTERNATIVE_NAME),
        "parts": [word for word, bit in flags.ALTERNATIVE_NAME_PARTS.items() if bits & bit],
    }
    return subject, alternative_name


@lru_cache(maxsize=256)
def _private_key_words(value: int) -> tuple[Words, Words]:
    bits = unsigned(value)
    private_key = {
        "exportable": bool(bits & flags.EXPORTABLE),
        "strong_protection": bool(bits & flags.STRONG_PROTECTION),
        "archive": bool(bits & flags.ARCHIVE),
        "flags": flags.words_of(bits & ~_OWN_PRIVATE_KEY_BITS, flags.PRIVATE_KEY),
    }
    compatibility = {
        "authority": _word(bits >> flags.AUTHORITY_SHIFT & 0xF, flags.AUTHORITIES),
        "client": _word(bits >> flags.CLIENT_SHIFT & 0xF, flags.CLIENTS),
    }
    return private_key, compatibility


def _word(value: int, table: Table) -> str:
    return next((word for word, number in table.items() if number == value), str(value))


def _key_spec_word(value: int) -> str:
    return _word(value, flags.KEY_SPECS)


@lru_cache(maxsize=256)
def _key_usage_bits(data: bytes) -> int:
    return int.from_bytes(data[:2].ljust(2, b"\0"), "big")


def _key_usage_words(data: bytes) -> list[str]:
    return flags.words_of(_key_usage_bits(data), flags.KEY_USAGE)


def _provider_words(values: Sequence[str]) -> list[str]:
    """The names by preference; values that are not numbered from 1 on keep their numbers."""
    numbered = sorted((int(match[1]), match[2]) for value in values if (match := _NUMBERED.fullmatch(value)))
    if [place for place, _name in numbered] == list(range(1, len(values) + 1)):
        return [name for _place, name in numbered]
    return sorted(values)


_NUMBERED = re.compile(r"([0-9]{1,9}),(.*)", re.ASCII | re.DOTALL)

_TEXT_PROPERTIES = {
    "asymmetric": "msPKI-Asymmetric-Algorithm",
    "hash": "msPKI-Hash-Algorithm",
    "symmetric": "msPKI-Symmetric-Algorithm",
    "key_permissions": "msPKI-Key-Security-Descriptor",
}
_KEY_LENGTH, _KEY_USAGE, _SIGNING = "msPKI-Symmetric-Key-Length", "msPKI-Key-Usage", "msPKI-RA-Application-Policies"


def _signing_words(values: Sequence[str]) -> tuple[Words | None, Sequence[str]]:
    """Key algorithms, and application policies of required signatures, from either syntax ([MS-CRTD] 2.23.1, 2.23.2)."""
    if not any("`" in value for value in values):
        return None, values
    fields = values[0].split("`") if len(values) == 1 else []
    if len(fields) % 3 != 1 or fields[-1]:
        return {"raw": list(values)}, ()
    algorithms: Words = {}
    signing: Sequence[str] = ()
    others = []
    for name, kind, value in _triplets(fields):
        option = next((option for option, known in _TEXT_PROPERTIES.items() if known == name), None)
        if option and kind == "PZPWSTR":
            algorithms[option] = value
        elif name == _SIGNING and kind == "PZPWSTR":
            signing = [oid for oid in value.split(",") if oid]
        elif name in (_KEY_LENGTH, _KEY_USAGE) and kind == "DWORD" and value.isascii() and value.isdecimal():
            algorithms["symmetric_key_length" if name == _KEY_LENGTH else "key_usage"] = _cng_words(name, int(value))
        else:
            others.append(f"{name}`{kind}`{value}")
    if others:
        algorithms["other"] = sorted(others)
    return algorithms, signing


def _cng_words(name: str, value: int) -> Any:
    if name == _KEY_LENGTH:
        return value
    return ["all"] if value == flags.CNG_ALL_USAGES else flags.words_of(value, flags.CNG_KEY_USAGE)


def _triplets(fields: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    for place in range(0, len(fields) - 1, 3):
        yield fields[place], fields[place + 1], fields[place + 2]


# --- words -> attributes ---


def to_attributes(words: Words, vocabulary: Vocabulary) -> dict[str, Any]:
    """All attributes of the words, empty ones included (None, or an empty tuple)."""
    usages = tuple(map(vocabulary.usages.oid, words["extended_key_usages"]))
    policies = words.get("application_policies")
    in_step = usages if words["schema_version"] > 1 else ()
    major, minor = words["revision"].split(".")
    signatures = words["signatures"]
    return {
        "displayName": words.get("display_name"),
        "flags": signed(flags.SUBJECT_TYPES[words["subject_type"]] | flags.bits_of(words["general_flags"], flags.GENERAL)),
        "revision": int(major),
        "msPKI-Template-Minor-Revision": int(minor),
        "msPKI-Template-Schema-Version": words["schema_version"],
        "msPKI-Cert-Template-OID": words.get("oid"),
        "msPKI-Certificate-Name-Flag": signed(_name_bits(words["subject"], words["subject_alternative_name"])),
        "pKIExtendedKeyUsage": usages,
        "msPKI-Certificate-Application-Policy": in_step if policies is None else tuple(map(vocabulary.usages.oid, policies)),
        "pKICriticalExtensions": tuple(map(vocabulary.extensions.oid, words["critical_extensions"])),
        "pKIKeyUsage": flags.bits_of(words["key_usage"], flags.KEY_USAGE).to_bytes(2, "big"),
        "pKIMaxIssuingDepth": words["path_length"],
        "pKIExpirationPeriod": _optional(parse_period, words.get("validity")),
        "pKIOverlapPeriod": _optional(parse_period, words.get("renewal_overlap")),
        "msPKI-Minimal-Key-Size": words["minimum_key_size"],
        "pKIDefaultKeySpec": flags.KEY_SPECS.get(words["key_spec"]) or int(words["key_spec"]),
        "pKIDefaultCSPs": _provider_values(words["providers"]),
        "msPKI-Private-Key-Flag": signed(_private_key_bits(words["private_key"], words["compatibility"])),
        "msPKI-Enrollment-Flag": signed(_enrollment_bits(words)),
        "msPKI-RA-Signature": signatures["count"],
        "msPKI-RA-Application-Policies": _signing_values(words, vocabulary),
        "msPKI-RA-Policies": tuple(map(vocabulary.policies.oid, signatures["issuance_policies"])),
        "msPKI-Certificate-Policy": tuple(map(vocabulary.policies.oid, words["issuance_policies"])),
        "msPKI-Supersede-Templates": tuple(words["supersedes"]),
    }


def _name_bits(subject: Words, alternative_name: Words) -> int:
    bits = flags.bits_of(subject["parts"], flags.SUBJECT_PARTS) | flags.bits_of(subject["other_flags"], {})
    bits |= flags.bits_of(alternative_name["parts"], flags.ALTERNATIVE_NAME_PARTS)
    bits |= flags.SUPPLIED_SUBJECT if subject["supplied_in_request"] else 0
    bits |= flags.SUBJECT_FROM_OLD if subject["from_old_certificate"] else 0
    return bits | (flags.SUPPLIED_ALTERNATIVE_NAME if alternative_name["supplied_in_request"] else 0)


def _private_key_bits(private_key: Words, compatibility: Words) -> int:
    bits = flags.bits_of(private_key["flags"], flags.PRIVATE_KEY)
    bits |= flags.EXPORTABLE if private_key["exportable"] else 0
    bits |= flags.STRONG_PROTECTION if private_key["strong_protection"] else 0
    bits |= flags.ARCHIVE if private_key["archive"] else 0
    bits |= flags.bits_of([compatibility["authority"]], flags.AUTHORITIES) << flags.AUTHORITY_SHIFT
    return bits | flags.bits_of([compatibility["client"]], flags.CLIENTS) << flags.CLIENT_SHIFT


def _enrollment_bits(words: Words) -> int:
    bits = flags.bits_of(words["enrollment_flags"], flags.ENROLLMENT)
    bits |= flags.MANAGER_APPROVAL if words["manager_approval"] else 0
    bits |= flags.PUBLISH_TO_DIRECTORY if words["publish_to_directory"] else 0
    bits |= flags.AUTO_ENROLLMENT if words["autoenrollment"] else 0
    bits |= flags.REUSE_KEY_WHEN_FULL if words["reuse_key_when_full"] else 0
    return bits | (0 if words["sid_extension"] else flags.NO_SID_EXTENSION)


def _provider_values(names: Sequence[str]) -> tuple[str, ...]:
    if any(_NUMBERED.fullmatch(name) for name in names):
        return tuple(names)
    return tuple(f"{place},{name}" for place, name in enumerate(names, 1))


def takes_algorithms(words: Words) -> bool:
    """Whether msPKI-RA-Application-Policies has the syntax with properties ([MS-CRTD] 2.23.2)."""
    schema = words["schema_version"]
    return bool(schema == 3 or (schema == 4 and "legacy_provider" not in words["private_key"]["flags"]))


def _signing_values(words: Words, vocabulary: Vocabulary) -> tuple[str, ...]:
    algorithms = words.get("algorithms") or {}
    signing = tuple(map(vocabulary.usages.oid, words["signatures"]["application_policies"]))
    if "raw" in algorithms:
        return tuple(algorithms["raw"])
    if not algorithms and not (signing and takes_algorithms(words)):
        return signing
    properties = {name: ("PZPWSTR", algorithms[option]) for option, name in _TEXT_PROPERTIES.items() if option in algorithms}
    if "symmetric_key_length" in algorithms:
        properties[_KEY_LENGTH] = ("DWORD", str(algorithms["symmetric_key_length"]))
    if "key_usage" in algorithms:
        usage = algorithms["key_usage"]
        properties[_KEY_USAGE] = ("DWORD", str(flags.CNG_ALL_USAGES if usage == ["all"] else flags.bits_of(usage, flags.CNG_KEY_USAGE)))
    if signing:
        properties[_SIGNING] = ("PZPWSTR", ",".join(signing))
    texts = [f"{name}`{kind}`{value}" for name, (kind, value) in properties.items()]
    # Windows writes them in the order of their names
    return ("".join(f"{text}`" for text in sorted([*texts, *algorithms.get("other", ())])),)


# --- what an administrator writes -> canonical words ---


def canonical(entry: Mapping[str, Any], vocabulary: Vocabulary) -> tuple[Words, list[str]]:
    """The options that `entry` gives (not None), in canonical form, and what is wrong with others, as `option: reason`."""
    words: Words = {}
    problems: list[str] = []
    for option, value in entry.items():
        if value is None:
            continue
        function = _CANONICAL.get(option)
        try:
            words[option] = value if function is None else function(value, vocabulary)
        except FormatError as error:
            problems.append(f"{option}: {error}")
    return words, problems


def _in_order(value: Iterable[str], table: Table) -> list[str]:
    """Flags by word, bits without word by number."""
    for word in value:
        if word not in table and not re.fullmatch(r"0[xX][0-9a-fA-F]{1,8}|[0-9]{1,10}", word, re.ASCII):
            raise FormatError(f"{word!r} is not known{suggestion(word, table)}")
    return flags.words_of(flags.bits_of(value, table), table)


def _of_table(value: str, table: Table) -> str:
    if value in table:
        return value
    if not (value.isascii() and value.isdecimal() and len(value) < 10):
        raise FormatError(f"{value!r} is not known{suggestion(value, table)}")
    return _word(int(value), table)


def _nested(functions: Mapping[str, Callable[[Any, Vocabulary], Any]]) -> Callable[[Any, Vocabulary], Words]:
    def convert(value: Mapping[str, Any], vocabulary: Vocabulary) -> Words:
        words: Words = {}
        for option, item in value.items():
            if item is None:
                continue
            try:
                words[option] = functions[option](item, vocabulary) if option in functions else item
            except FormatError as error:
                raise FormatError(f"{option}: {error}") from error
        return words

    return convert


def _usages(value: Iterable[str], vocabulary: Vocabulary) -> list[str]:
    return vocabulary.usages.words({vocabulary.usages.oid(name) for name in value})


def _policies(value: Iterable[str], vocabulary: Vocabulary) -> list[str]:
    return vocabulary.policies.words({vocabulary.policies.oid(name) for name in value})


def _extensions(value: Iterable[str], vocabulary: Vocabulary) -> list[str]:
    return vocabulary.extensions.words({vocabulary.extensions.oid(name) for name in value})


def _period(value: str, _vocabulary: Vocabulary) -> str:
    return period_text(parse_period(value))


def _flags(table: Table) -> Callable[[Any, Vocabulary], list[str]]:
    return lambda value, _vocabulary: _in_order(value, table)


def _choice(table: Table) -> Callable[[Any, Vocabulary], str]:
    return lambda value, _vocabulary: _of_table(value, table)


def _cng_usage(value: Sequence[str], _vocabulary: Vocabulary) -> list[str]:
    return ["all"] if "all" in value else _in_order(value, flags.CNG_KEY_USAGE)


def _key_permissions(value: str, _vocabulary: Vocabulary) -> str:
    SecurityDescriptor.from_sddl(value)
    return _one_field(value, _vocabulary)


def _one_field(value: str, _vocabulary: Vocabulary) -> str:
    if "`" in value:
        raise FormatError(f"{value!r} cannot hold a grave accent, which separates the properties")
    return value


def _properties(value: Sequence[str], _vocabulary: Vocabulary) -> list[str]:
    for text in value:
        if text.count("`") != 2:
            raise FormatError(f"{text!r} is not a property; one is written name`type`value")
    return sorted(value)


def _providers(value: Sequence[str], _vocabulary: Vocabulary) -> list[str]:
    names = [name.strip() for name in value]
    if len({name.casefold() for name in names}) < len(names):
        raise FormatError(f"a provider is listed twice: {', '.join(names)}")
    return _provider_words(_provider_values(names))


def _revision(value: str, _vocabulary: Vocabulary) -> str:
    if not re.fullmatch(r"[0-9]{1,9}\.[0-9]{1,9}", value, re.ASCII):
        raise FormatError(f"{value!r} is not a revision; one looks like 100.3")
    major, minor = value.split(".")
    return f"{int(major)}.{int(minor)}"


def _oid(value: str, _vocabulary: Vocabulary) -> str:
    if not oids.is_oid(value):
        raise FormatError(f"{value!r} is not an object identifier; one looks like 1.3.6.1.4.1.311.21.8.1.2.3")
    return value


def _unique(value: Iterable[str], _vocabulary: Vocabulary) -> list[str]:
    return sorted(set(value))


_CANONICAL: Mapping[str, Callable[[Any, Vocabulary], Any]] = {
    "subject": _nested({"parts": _flags(flags.SUBJECT_PARTS), "other_flags": _flags({})}),
    "subject_alternative_name": _nested({"parts": _flags(flags.ALTERNATIVE_NAME_PARTS)}),
    "extended_key_usages": _usages,
    "application_policies": _usages,
    "critical_extensions": _extensions,
    "key_usage": _flags(flags.KEY_USAGE),
    "validity": _period,
    "renewal_overlap": _period,
    "key_spec": _choice(flags.KEY_SPECS),
    "providers": _providers,
    "algorithms": _nested(
        {
            "asymmetric": _one_field,
            "hash": _one_field,
            "symmetric": _one_field,
            "key_usage": _cng_usage,
            "key_permissions": _key_permissions,
            "other": _properties,
        }
    ),
    "private_key": _nested({"flags": _flags(flags.PRIVATE_KEY)}),
    "compatibility": _nested({"authority": _choice(flags.AUTHORITIES), "client": _choice(flags.CLIENTS)}),
    "signatures": _nested({"application_policies": _usages, "issuance_policies": _policies}),
    "issuance_policies": _policies,
    "supersedes": _unique,
    "enrollment_flags": _flags(flags.ENROLLMENT),
    "general_flags": _flags(flags.GENERAL),
    "oid": _oid,
    "revision": _revision,
}
