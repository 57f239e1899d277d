# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of a domain as the judges of its families use them (pure)."""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate, load_one
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts, Verdict, unknown
from ansible_collections.certlogon.core.plugins.module_utils.directory.exposure import Exposure, exposure_of
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import Sid
from ansible_collections.certlogon.core.plugins.module_utils.directory.template_weaknesses import people
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

Object = dict[str, Any]
"""A directory object of the facts: `dn`, `descriptor` (base64, or None where it was not shown), and more."""


class Anybody:
    """Who counts as a principal without privileges in this domain, and what they are called."""

    def __init__(self, facts: Facts) -> None:
        self._names: Mapping[str, str] = facts["principals"]
        self._through: Mapping[str, str] = facts["anybody"]
        self._others = frozenset(map(Sid.parse, self._through))

    def name(self, sid: Sid) -> str:
        text = str(sid)
        name = self._names.get(text, text)
        return f"{name} ({self._through[text]})" if text in self._through else name

    def names(self, sids: Collection[Sid]) -> str:
        return people(sids, self.name)

    def listed(self, sids: Iterable[Sid]) -> list[str]:
        """For evidence: name and SID."""
        return sorted({f"{self._names.get(str(sid), '?')} ({sid})" for sid in sids})

    def exposure(self, item: Object) -> Exposure:
        """Raises `FormatError`; only for objects whose descriptor was shown."""
        return exposure_of(base64.b64decode(item["descriptor"]), self._others)


def failure(subject: str, message: str, evidence: Mapping[str, Any], *, mend: str = "", variables: Sequence[str] = ()) -> Verdict:
    """As `model.failed`, for evidence with names that are its own."""
    return Verdict(subject, "fail", message, evidence, mend=mend, variables=variables)


def exposed(items: Iterable[Object], subject_of: Any, anybody: Anybody) -> Iterator[tuple[Object, Exposure | Verdict]]:
    """Each object with what anybody may do to it, or with the verdict that this is not known."""
    for item in items:
        if item["descriptor"] is None:
            yield item, unshown(subject_of(item), item["dn"])
            continue
        try:
            yield item, anybody.exposure(item)
        except FormatError as error:
            yield item, unknown(subject_of(item), f"Its nTSecurityDescriptor cannot be understood: {error}.")


def unshown(subject: str, dn: str) -> Verdict:
    return unknown(
        subject,
        "The directory does not show its nTSecurityDescriptor to this account, so who may change or use it is not known.",
        right=f"Read Permissions on {dn}",
    )


def published(facts: Facts) -> dict[str, list[str]]:
    """Names of templates in lower case, with the enrollment services that publish them."""
    found: dict[str, list[str]] = {}
    for service in facts["enrollment_services"]:
        for name in service["templates"]:
            found.setdefault(name.casefold(), []).append(service["name"])
    return found


class Certificates:
    """The certificates of the facts, by their SHA-256."""

    def __init__(self, facts: Facts) -> None:
        self._found: Mapping[str, Mapping[str, str]] = facts["pki_certificates"]

    def get(self, fingerprint: str) -> Certificate | None:
        """None for what is no certificate."""
        der = self._found[fingerprint].get("der")
        return _loaded(der) if der else None

    def broken(self, fingerprint: str) -> str:
        return self._found[fingerprint].get("broken", "")

    @property
    def all(self) -> list[Certificate]:
        return [one for fingerprint in self._found if (one := self.get(fingerprint))]


@lru_cache(maxsize=4096)
def _loaded(der: str) -> Certificate:
    return load_one(base64.b64decode(der))


def certificate_subject(certificate: Certificate) -> str:
    """The same in every run, and another for a renewed certificate of the same CA."""
    return f"certificate {certificate.common_name or certificate.subject} ({certificate.sha256[:16]})"


def described(certificate: Certificate) -> dict[str, Any]:
    """For evidence."""
    return {
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "sha256": certificate.sha256,
        "not_after": f"{certificate.not_after:%Y-%m-%dT%H:%M:%SZ}",
    }
