# SPDX-License-Identifier: GPL-3.0-or-later
"""What `web_enrollment_state.ps1` tells, typed."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import certificate
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import x509

MARK = "certlogon web enrollment: "
"""Begins the friendly name of a certificate that was requested here; the template's name follows, which the certificate may not hold."""

TEMPLATE_NAME = "1.3.6.1.4.1.311.20.2"
"""szOID_ENROLL_CERTTYPE_EXTENSION: the name of a version 1 template, a BMPString ([MS-WCCE] 2.2.2.7.7.1)."""

TOKEN_CHECKING = ("None", "Allow", "Require")
"""By number, as some versions of the WebAdministration module return it."""


@dataclass(frozen=True)
class Held:
    """A certificate of the computer's own store."""

    thumbprint: str
    issuer: str
    issuer_common_name: str | None
    names: frozenset[str]
    """DNS names, in lower case."""
    not_before: datetime
    not_after: datetime
    private_key: bool
    server_authentication: bool
    template: str | None
    """None where neither the certificate nor its friendly name tells."""
    authority: bool = False
    """Whether it is the CA's own."""
    subject: str = ""


@dataclass(frozen=True)
class Host:
    """The CA host, as far as its web enrollment goes. `skew`: how far its clock is ahead of ours."""

    fqdn: str
    now: datetime
    skew: timedelta
    features: Mapping[str, bool]
    authority: str | None
    certificates: Sequence[Held] = ()
    pending: Mapping[str, str] = field(default_factory=dict)
    """Pending requests: thumbprint -> friendly name."""
    begun: bool = False
    """Whether a run configured it and died before all was set."""
    configured: bool = False
    bound: Held | None = None
    http: bool = False
    require_ssl: bool = False
    anonymous: bool = False
    basic: bool = False
    windows: bool = False
    token_checking: str = "None"
    providers: Sequence[str] = ()
    certenroll_requires_ssl: bool = False
    double_escaping: bool = False

    @property
    def authority_names(self) -> frozenset[str]:
        """The subjects of the CA's own certificates."""
        return frozenset(held.subject for held in self.certificates if held.authority)


def parse(answer: Mapping[str, Any], here: datetime) -> Host:
    """`here`: this machine's time. Raises `UserError` where the answer is not the script's."""
    try:
        return _parsed(answer, here)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"reading the web enrollment's state: the host's answer is not understood ({type(error).__name__}: {error})"
        ) from None


def _parsed(answer: Mapping[str, Any], here: datetime) -> Host:
    now = moment(answer["now"])
    certificates = [one for one in map(_readable, _listed(answer["certificates"])) if one]
    host = Host(
        fqdn=str(answer["fqdn"]),
        now=now,
        skew=now - here,
        features={str(name): bool(there) for name, there in answer["features"].items()},
        authority=answer["authority"] or None,
        certificates=certificates,
        begun=bool(answer["begun"]),
        pending={str(one["thumbprint"]): str(one["friendly_name"]) for one in _listed(answer["pending"])},
    )
    iis = answer.get("iis")
    certsrv = (iis or {}).get("certsrv")
    if not iis or not certsrv or not host.features.get("ADCS-Web-Enrollment"):
        return host
    bindings = _listed(iis["bindings"])
    bound = next((str(one["thumbprint"]).upper() for one in bindings if one["protocol"] == "https" and _port(one) == 443), "")
    certenroll = iis.get("certenroll") or {}
    token_checking = str(certsrv["token_checking"])
    return Host(
        **{name: getattr(host, name) for name in ("fqdn", "now", "skew", "features", "authority", "certificates", "pending", "begun")},
        configured=True,
        bound=next((one for one in certificates if one.thumbprint == bound), None),
        http=any(one["protocol"] == "http" and _port(one) == 80 for one in bindings),
        require_ssl=_flag(certsrv["ssl_flags"], "Ssl", 0x8),
        anonymous=_truth(certsrv["anonymous"]),
        basic=_truth(certsrv["basic"]),
        windows=_truth(certsrv["windows"]),
        token_checking=TOKEN_CHECKING[int(token_checking)] if token_checking.isdecimal() else token_checking,
        providers=[str(name) for name in _listed(certsrv["providers"])],
        certenroll_requires_ssl=_flag(certenroll.get("ssl_flags"), "Ssl", 0x8),
        double_escaping=_truth(certenroll.get("double_escaping")),
    )


def held(entry: Mapping[str, Any]) -> Held:
    """Raises `FormatError`."""
    der = base64.b64decode(entry["der"])
    known = certificate.load_one(der)
    parsed = certificate.attempt("certificate", lambda: _extensions(der))
    friendly = str(entry.get("friendly_name") or "")
    issuer = [value for names in known.issuer_names for oid, value in names if oid == "2.5.4.3"]
    return Held(
        thumbprint=known.thumbprint,
        issuer=known.issuer,
        issuer_common_name=issuer[-1] if issuer else None,
        names=parsed[0],
        not_before=known.not_before,
        not_after=known.not_after,
        private_key=bool(entry["private_key"]),
        server_authentication=parsed[1],
        template=friendly.removeprefix(MARK) if friendly.startswith(MARK) else parsed[2],
        authority=bool(entry.get("authority")),
        subject=known.subject,
    )


def _readable(entry: Mapping[str, Any]) -> Held | None:
    """Others' certificates in the store may be as odd as they like."""
    try:
        return held(entry)
    except FormatError:
        return None


def _extensions(der: bytes) -> tuple[frozenset[str], bool, str | None]:
    """DNS names, whether a TLS server may use it, and a version 1 template's name."""
    extensions = x509.load_der_x509_certificate(der).extensions
    names: frozenset[str] = frozenset()
    serves, template = True, None
    for extension in extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            names = frozenset(name.lower() for name in extension.value.get_values_for_type(x509.DNSName))
        elif isinstance(extension.value, x509.ExtendedKeyUsage):
            serves = x509.oid.ExtendedKeyUsageOID.SERVER_AUTH in extension.value
        elif extension.oid.dotted_string == TEMPLATE_NAME and extension.value.value[:1] == b"\x1e" and len(extension.value.value) < 130:
            template = extension.value.value[2:].decode("utf-16-be", "replace")
    return names, serves, template


def moment(text: str) -> datetime:
    """PowerShell's round-trip format, which has seven digits of a second."""
    head, dot, rest = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{head}{dot}{rest[:6]}+00:00")


def _listed(value: Any) -> list[Any]:
    """PowerShell makes one of a list of one, and nothing of an empty one."""
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


def _port(binding: Mapping[str, Any]) -> int:
    return int(str(binding["information"]).rsplit(":", 2)[1])


def _truth(value: Any) -> bool:
    return value if isinstance(value, bool) else str(value).casefold() == "true"


def _flag(value: Any, name: str, number: int) -> bool:
    text = str(value or "")
    return bool(int(text) & number) if text.isdecimal() else name in text.replace(" ", "").split(",")
