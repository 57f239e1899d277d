# SPDX-License-Identifier: GPL-3.0-or-later
"""CAPolicy.inf: what it may hold here, and nothing else. Source: Microsoft's page on its syntax; keys not listed are refused."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from lab.windows_ca.authority.errors import INVALID_ARGUMENT, NOT_SUPPORTED, CertSrvError

PATH = r"C:\Windows\CAPolicy.inf"
PERIODS = ("Hours", "Days", "Weeks", "Months", "Years")
SETTINGS = {
    **dict.fromkeys(("renewalkeylength", "renewalvalidityperiodunits", "crlperiodunits", "crldeltaperiodunits", "crloverlapunits"), int),
    **dict.fromkeys(("crldeltaoverlapunits", "loaddefaulttemplates", "alternatesignaturealgorithm", "forceutf8", "clockskewminutes"), int),
    **dict.fromkeys(("renewalvalidityperiod", "crlperiod", "crldeltaperiod", "crloverlapperiod", "crldeltaoverlapperiod"), str),
    "discretesignaturealgorithm": int,
    "cnghashalgorithm": str,
}


@dataclass(frozen=True)
class CAPolicy:
    settings: dict[str, str | int] = field(default_factory=dict)
    """[Certsrv_Server], names in lower case"""
    path_length: int | None = None
    policies: tuple[tuple[str, str | None], ...] = ()
    """(OID, URL of the practice statement)"""

    def text(self, name: str, default: str = "") -> str:
        return str(self.settings.get(name.lower(), default))

    def number(self, name: str, default: int) -> int:
        return int(self.settings.get(name.lower(), default))


def parse(content: bytes | None) -> CAPolicy:
    """Raises CertSrvError for a file that Windows would not understand, or that asks for what the stand-in does not model."""
    if content is None:
        return CAPolicy()
    sections = read(decode(content))
    signature = dict(sections.pop("version", [])).get("signature", "").strip('"')
    if signature.casefold() != "$windows nt$":
        raise CertSrvError(INVALID_ARGUMENT, f'{PATH}: [Version] Signature="$Windows NT$" is missing')
    settings = {key: setting(key, value) for key, value in sections.pop("certsrv_server", [])}
    if settings.get("alternatesignaturealgorithm") or settings.get("discretesignaturealgorithm"):
        raise CertSrvError(NOT_SUPPORTED, f"{PATH}: AlternateSignatureAlgorithm=1 (RSASSA-PSS) is not modelled by the stand-in")
    length = path_length(sections.pop("basicconstraintsextension", []))
    policies = []
    for key, value in sections.pop("policystatementextension", []):
        if key == "policies":
            for name in value.split(","):
                policy = dict(sections.pop(name.strip().casefold(), []))
                if "oid" not in policy:
                    raise CertSrvError(INVALID_ARGUMENT, f"{PATH}: policy {name.strip()} has no section with an OID")
                if set(policy) - {"oid", "url"}:
                    raise CertSrvError(NOT_SUPPORTED, f"{PATH}: [{name.strip()}]: only OID and URL are modelled by the stand-in")
                policies.append((policy["oid"], policy.get("url")))
        elif key != "critical":
            raise CertSrvError(NOT_SUPPORTED, f"{PATH}: [PolicyStatementExtension] {key} is not modelled by the stand-in")
    for empty in ("crldistributionpoint", "authorityinformationaccess"):  # a root's own certificate has none anyway
        if set(dict(sections.pop(empty, []))) - {"empty", "critical"}:
            raise CertSrvError(NOT_SUPPORTED, f"{PATH}: [{empty}]: only Empty=True is modelled by the stand-in")
    if sections:
        raise CertSrvError(NOT_SUPPORTED, f"{PATH}: section [{next(iter(sections))}] is not modelled by the stand-in")
    return CAPolicy(settings, length, tuple(policies))


def path_length(section: list[tuple[str, str]]) -> int | None:
    found = dict(section)
    if set(found) - {"pathlength", "critical"}:
        raise CertSrvError(NOT_SUPPORTED, f"{PATH}: [BasicConstraintsExtension]: only PathLength and Critical are modelled by the stand-in")
    return int(found["pathlength"], 0) if "pathlength" in found else None


def setting(key: str, value: str) -> str | int:
    kind = SETTINGS.get(key)
    if kind is None:
        raise CertSrvError(NOT_SUPPORTED, f"{PATH}: [Certsrv_Server] {key} is not modelled by the stand-in")
    value = value.strip().strip('"')
    if kind is int:
        words = {"true": 1, "yes": 1, "false": 0, "no": 0}
        if value.casefold() in words:
            return words[value.casefold()]
        try:
            return int(value, 0)
        except ValueError as error:
            raise CertSrvError(INVALID_ARGUMENT, f"{PATH}: {key}={value} is no number") from error
    found = {period.casefold(): period for period in PERIODS}.get(value.casefold())
    if found is None and key != "cnghashalgorithm":
        raise CertSrvError(INVALID_ARGUMENT, f"{PATH}: {key}={value}: one of {', '.join(PERIODS)}")
    return found or value


def decode(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16")
    return content.decode("utf-8-sig", errors="replace")


def read(text: str) -> dict[str, list[tuple[str, str]]]:
    sections: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] | None = None
    for line in text.splitlines():
        line = re.sub(r"\s*;.*", "", line).strip()
        if not line:
            continue
        header = re.fullmatch(r"\[([^\]]+)\]", line)
        if header:
            current = sections.setdefault(header[1].strip().casefold(), [])
            continue
        key, separator, value = line.partition("=")
        if current is None or not separator:
            raise CertSrvError(INVALID_ARGUMENT, f"{PATH}: line not understood: {line}")
        current.append((key.strip().casefold(), value.strip().strip('"')))
    return sections
