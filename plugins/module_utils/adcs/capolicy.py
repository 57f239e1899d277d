# SPDX-License-Identifier: GPL-3.0-or-later
"""CAPolicy.inf: what an installation and a renewal of a CA read from the Windows folder (Microsoft: "CAPolicy.inf Syntax").

Text in the system's code page with CR LF; kept to ASCII, which is the same in all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.adcs.authority_words import period, period_parts
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

_OID = re.compile(r"[0-2](\.(0|[1-9]\d*)){1,}\Z")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*\Z")
_RESERVED = ("version", "certsrv_server", "policystatementextension", "basicconstraintsextension")
STRUCTURED = (
    "policies",
    "renewal_key_size",
    "renewal_validity",
    "crl_period",
    "crl_delta_period",
    "load_default_templates",
    "alternate_signature_algorithm",
    "path_length",
)


def is_oid(text: str) -> bool:
    """Whether that is an object identifier in dotted form."""
    return bool(_OID.match(text))


def text(options: Mapping[str, Any], where: str) -> str | None:
    """The file that the options of `capolicy` ask for, with CR LF; None where they ask for nothing. Raises `FormatError`."""
    content = options.get("content")
    asked = [name for name in STRUCTURED if options.get(name) is not None]
    if content is None:
        return "\r\n".join([*_lines(options, where), ""]) if asked else None
    if asked:
        raise FormatError(f"{where}: content is the whole file; give it without {', '.join(asked)}")
    if not content.isascii():
        raise FormatError(f"{where}: content holds {next(c for c in content if not c.isascii())!r}; the file must be ASCII")
    lines = content.splitlines()
    if not any(re.match(r"\s*signature\s*=\s*\"?\$Windows NT\$", line, re.IGNORECASE) for line in lines):
        raise FormatError(f'{where}: content has no [Version] with Signature="$Windows NT$"; Windows ignores such a file')
    return "\r\n".join([*lines, ""])


def _lines(options: Mapping[str, Any], where: str) -> Iterator[str]:
    yield from ("[Version]", 'Signature="$Windows NT$"')
    policies = options.get("policies") or []
    if policies:
        yield from ("", "[PolicyStatementExtension]", f"Policies={','.join(_policy_name(policy, where) for policy in policies)}")
    for policy in policies:
        yield from _policy(policy, where)
    settings = list(_settings(options, where))
    if settings:
        yield from ("", "[Certsrv_Server]", *settings)
    if options.get("path_length") is not None:
        if options["path_length"] < 0:
            raise FormatError(f"{where}: path_length: {options['path_length']} is negative; leave it out where there is no limit")
        yield from ("", "[BasicConstraintsExtension]", f"PathLength={options['path_length']}", "Critical=Yes")


def _policy_name(policy: Mapping[str, Any], where: str) -> str:
    name: str = policy["name"]
    if not _NAME.match(name) or name.casefold() in _RESERVED:
        raise FormatError(f"{where}: policies: name {name!r} cannot name a section; use letters and digits, such as InternalPolicy")
    return name


def _policy(policy: Mapping[str, Any], where: str) -> Iterator[str]:
    if not is_oid(policy["oid"]):
        raise FormatError(
            f"{where}: policies: {policy['name']}: oid: {policy['oid']!r} is no object identifier, such as 1.3.6.1.4.1.99999.1"
        )
    yield from ("", f"[{policy['name']}]", f"OID={policy['oid']}")
    for key, label in (("notice", "Notice"), ("url", "URL")):
        value = policy.get(key)
        if value is None:
            continue
        if not value.isascii() or re.search(r'[\r\n"]', value):
            raise FormatError(f"{where}: policies: {policy['name']}: {key}: only ASCII without quotes and line ends can be written there")
        yield f'{label}="{value}"'


def _settings(options: Mapping[str, Any], where: str) -> Iterator[str]:
    if options.get("renewal_key_size") is not None:
        yield f"RenewalKeyLength={options['renewal_key_size']}"
    for option, name in (
        ("renewal_validity", "RenewalValidityPeriod"),
        ("crl_period", "CRLPeriod"),
        ("crl_delta_period", "CRLDeltaPeriod"),
    ):
        if options.get(option) is not None:
            count, unit = period_parts(period(options[option], f"{where}: {option}"))
            yield from (f"{name}={unit}", f"{name}Units={count}")
    for option, name in (
        ("load_default_templates", "LoadDefaultTemplates"),
        ("alternate_signature_algorithm", "AlternateSignatureAlgorithm"),
    ):
        if options.get(option) is not None:
            yield f"{name}={int(options[option])}"
