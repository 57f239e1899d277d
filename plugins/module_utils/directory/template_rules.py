# SPDX-License-Identifier: GPL-3.0-or-later
"""What a certificate template may be: the directory accepts nearly anything, so the plan judges ([MS-CRTD] 2, [MS-WCCE] 3.2.2.6.2.1.4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.directory.template_words import parse_period, takes_algorithms
from ansible_collections.certlogon.core.plugins.module_utils.resource import Words

LONGEST_NAME = 64
"""rangeUpper of cn ([MS-ADA1] 2.110)."""
LONGEST_DISPLAY_NAME = 256
"""rangeUpper of displayName ([MS-ADA1] 2.175)."""

_NEEDS_SCHEMA: Mapping[str, Mapping[str, int]] = {
    "enrollment_flags": {"key_based_renewal": 4, "issuance_policies_from_request": 3},
    "private_key.flags": {
        "alternate_signature_format": 3,
        "same_key_renewal": 4,
        "legacy_provider": 4,
        "attestation_user_credentials": 4,
        "attestation_certificate": 4,
        "attestation_key": 4,
        "attestation_preferred": 4,
        "attestation_required": 4,
        "attestation_without_policy": 4,
        "hello_logon_key": 4,
    },
}
_ELLIPTIC = {"ECDSA_P256": 256, "ECDSA_P384": 384, "ECDSA_P521": 521, "ECDH_P256": 256, "ECDH_P384": 384, "ECDH_P521": 521}
_WHOLE_SUBJECTS = ("directory_path", "common_name", "dns_as_common_name")


def is_legacy_provider(name: str) -> bool:
    """A CryptoAPI provider: key storage providers (CNG) say so in their names, all of Microsoft's others are older."""
    return name.startswith("Microsoft ") and "Key Storage Provider" not in name and "Platform Crypto Provider" not in name


def problems(words: Words, before: Words | None) -> list[str]:
    """What cannot be, each as `option: reason and remedy`; `before` is the template as it is."""
    return [
        *_names(words),
        *_schema(words, before),
        *_periods(words),
        *_keys(words),
        *_subject(words),
        *_signatures(words),
    ]


def warnings(words: Words, before: Words | None) -> list[str]:
    """What can be, but should be known."""
    found = []
    size, asymmetric = words["minimum_key_size"], words.get("algorithms", {}).get("asymmetric", "RSA")
    if asymmetric not in _ELLIPTIC and size < 2048:
        found.append(f"minimum_key_size: {size} bits are too weak for {asymmetric}; use 2048 or more")
    if before is None and words["schema_version"] == 1:
        found.append("schema_version: tools of Windows refuse to edit version 1 templates; use 2 unless an old client needs this one")
    if before is not None and before["schema_version"] == 1 and _but_access(words) != _but_access(before):
        found.append(
            "schema_version: this is a version 1 template, of which Windows lets only permissions be changed; make a copy with based_on"
        )
    if words["signatures"]["count"] and not words["signatures"]["application_policies"] and not words["signatures"]["issuance_policies"]:
        found.append("signatures: any certificate can sign the request; name application_policies or issuance_policies of the signer")
    machine_names = {"dns", "domain_dns"} & {*words["subject_alternative_name"]["parts"]}
    if words["subject_type"] == "user" and (machine_names or "dns_as_common_name" in words["subject"]["parts"]):
        found.append("subject_alternative_name: users have no DNS name, so their requests will fail; use upn, or subject_type: computer")
    return found


def _but_access(words: Words) -> Words:
    access = ("owner", "permissions", "inherit_permissions", "revision", "oid_registered")
    return {option: value for option, value in words.items() if option not in access}


def _names(words: Words) -> Iterator[str]:
    name = words["name"]
    if not name or len(name) > LONGEST_NAME or name != name.strip() or not name.isprintable():
        yield f"name: {name!r} cannot be a cn; use 1 to {LONGEST_NAME} printable characters without spaces at the ends"
    display_name = words.get("display_name")
    if display_name is not None and not 0 < len(display_name) <= LONGEST_DISPLAY_NAME:
        yield f"display_name: it has {len(display_name)} characters; use 1 to {LONGEST_DISPLAY_NAME}"
    for superseded in words["supersedes"]:
        if superseded.casefold() == name.casefold():
            yield f"supersedes: {superseded} cannot supersede itself"


def _schema(words: Words, before: Words | None) -> Iterator[str]:
    schema = words["schema_version"]
    if before is not None and schema != before["schema_version"]:
        old = before["schema_version"]
        if old == 1:
            yield f"schema_version: a version 1 template cannot become version {schema}; make a copy with based_on: {words['name']}"
        elif schema < old:
            yield f"schema_version: it is {old} and cannot become {schema}; remove the option or make another template"
    if schema == 1:
        given = [
            ("application_policies", words.get("application_policies")),
            ("signatures.count", words["signatures"]["count"]),
            ("issuance_policies", words["issuance_policies"]),
            ("supersedes", words["supersedes"]),
            ("manager_approval", words["manager_approval"]),
            ("private_key.archive", words["private_key"]["archive"]),
        ]
        for option in (option for option, value in given if value):
            yield f"{option}: version 1 templates have no such thing; use schema_version: 2"
    for option, needs in _NEEDS_SCHEMA.items():
        value = words["private_key"]["flags"] if option == "private_key.flags" else words[option]
        for word in value:
            if needs.get(word, 1) > schema:
                yield f"{option}: {word} needs schema_version: {needs[word]}, not {schema}"
    if words.get("algorithms") and not takes_algorithms(words):
        reason = "schema_version: 3 or 4" if schema < 3 else "a template without private_key.flags: legacy_provider"
        yield f"algorithms: they need {reason}"


def _periods(words: Words) -> Iterator[str]:
    lengths = {}
    for option in ("validity", "renewal_overlap"):
        text = words.get(option)
        if text is None or text.startswith("0x"):
            yield f"{option}: {text or 'it is missing'}; give a period like 1y, 6w or 8h"
        else:
            lengths[option] = -int.from_bytes(parse_period(text), "little", signed=True)
    if len(lengths) == 2 and lengths["renewal_overlap"] >= lengths["validity"]:
        yield f"renewal_overlap: {words['renewal_overlap']} is not shorter than validity {words['validity']}; make it shorter"


def _keys(words: Words) -> Iterator[str]:
    size = words["minimum_key_size"]
    algorithms = words.get("algorithms") or {}
    curve = _ELLIPTIC.get(algorithms.get("asymmetric", ""))
    if curve and size != curve:
        yield f"minimum_key_size: {algorithms['asymmetric']} keys have {curve} bits, not {size}"
    elif not curve and not 0 < size <= 16384:
        yield f"minimum_key_size: {size} is not a key size (up to 16384 bits)"
    if words["key_spec"].isdecimal():
        yield f"key_spec: {words['key_spec']} is neither key_exchange nor signature"
    if takes_algorithms(words):
        for provider in filter(is_legacy_provider, words["providers"]):
            remedy = "add private_key.flags: legacy_provider" if words["schema_version"] == 4 else "use schema_version: 2"
            yield f"providers: {provider!r} is no key storage provider, which this template needs; {remedy}"
    elif words["schema_version"] < 3 or "legacy_provider" in words["private_key"]["flags"]:
        for provider in words["providers"]:
            if "Key Storage Provider" in provider or "Platform Crypto Provider" in provider:
                yield f"providers: {provider!r} is a key storage provider; use schema_version: 3, or 4 without legacy_provider"
    if words["private_key"]["archive"] and not {"key_encipherment", "key_agreement"} & {*words["key_usage"]}:
        yield "private_key.archive: only encryption keys are archived; add key_encipherment to key_usage"
    if {"attestation_preferred", "attestation_required"} <= {*words["private_key"]["flags"]}:
        yield "private_key.flags: attestation is either preferred or required"
    if words["path_length"] < -1:
        yield f"path_length: {words['path_length']} is neither a number of CAs nor -1 for any number"


def _subject(words: Words) -> Iterator[str]:
    subject, alternative_name = words["subject"], words["subject_alternative_name"]
    parts = [*subject["parts"], *alternative_name["parts"]]
    if subject["supplied_in_request"] and parts:
        yield f"subject: it is supplied in the request, so the directory cannot give {', '.join(parts)}; keep one of both"
    whole = [part for part in _WHOLE_SUBJECTS if part in subject["parts"]]
    if len(whole) > 1:
        yield f"subject.parts: {' and '.join(whole)} exclude one another; keep one"
    if subject["supplied_in_request"] and words["autoenrollment"] and not subject["from_old_certificate"]:
        yield "autoenrollment: nobody is there to supply the subject; set subject.supplied_in_request: false, or from_old_certificate: true"
    supplied = subject["supplied_in_request"] or alternative_name["supplied_in_request"]
    if not parts and not supplied and words["subject_type"] in ("user", "computer"):
        yield "subject: certificates would name nobody; give subject.parts or subject_alternative_name.parts"


def _signatures(words: Words) -> Iterator[str]:
    signatures = words["signatures"]
    if not 0 <= signatures["count"] <= 100:
        yield f"signatures.count: {signatures['count']} signatures cannot be required"
    policies: Sequence[Any] = [*signatures["application_policies"], *signatures["issuance_policies"]]
    if policies and not signatures["count"]:
        yield f"signatures.count: it is 0, so nobody has to show {', '.join(policies)}; set it to 1 or remove the policies"
