# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a CA host: the typed answer of the script `adcs_state`, and the CA in the words of the module's options."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.adcs import authority_words as words
from ansible_collections.certlogon.core.plugins.module_utils.adcs import restrictions
from ansible_collections.certlogon.core.plugins.module_utils.adcs.restrictions import Restriction
from ansible_collections.certlogon.core.plugins.module_utils.certificates import certificate as certificates
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate, attempt
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import SecurityDescriptor
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import crypto, x509
from ansible_collections.certlogon.core.plugins.module_utils.resource import Words

# SetupStatus (SETUP_* of certsrv.h)
INSTALLED, SUSPENDED, REQUESTED, SECURITY_CHANGED = 0x1, 0x4, 0x8, 0x1000

HASHES = {"SHA1": 0x8004, "SHA256": 0x800C, "SHA384": 0x800D, "SHA512": 0x800E}
"""`HashAlgorithm` of a cryptographic service provider (CALG_*)."""


@dataclass(frozen=True)
class PublishedCrl:
    """A CRL in the CertEnroll folder: its file's name and its dates."""

    file: str
    this_update: datetime
    next_update: datetime | None


@dataclass(frozen=True)
class Request:
    """A request file of the CA on its host."""

    path: str
    written: str
    der: bytes

    @property
    def pem(self) -> str:
        body = base64.encodebytes(self.der).decode()
        lines = "".join(body.split())
        folded = "\n".join(lines[start : start + 64] for start in range(0, len(lines), 64))
        return f"-----BEGIN CERTIFICATE REQUEST-----\n{folded}\n-----END CERTIFICATE REQUEST-----\n"

    @cached_property
    def public_key(self) -> bytes:
        """Its subjectPublicKeyInfo, DER."""
        return public_key(attempt("certificate request", lambda: x509.load_der_x509_csr(self.der)))

    @property
    def common_name(self) -> str:
        """Its subject's; empty where there is none, or no request."""
        try:
            subject = attempt("certificate request", lambda: x509.load_der_x509_csr(self.der).subject)
        except FormatError:
            return ""
        return next((str(name.value) for name in subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)), "")


@dataclass(frozen=True)
class State:
    """The host. Registry tables map a value's name to its value: text, numbers, lists of text, or bytes."""

    fqdn: str
    in_domain: bool
    now: datetime
    reboot_pending: bool
    feature: bool
    running: bool
    begun: str | None
    active: str | None
    configuration: Mapping[str, Any]
    ca: Mapping[str, Any]
    csp: Mapping[str, Any]
    policy_module: str | None
    policy: Mapping[str, Any]
    certificates: Sequence[Certificate]
    capolicy: str | None
    requests: Sequence[Request]
    crls: Sequence[PublishedCrl]
    served: Mapping[str, str]
    """The files of the CertEnroll folder: name in lower case -> SHA-256 in lower-case hex."""
    sids: Mapping[str, str | None]
    names: Mapping[str, str | None]
    system_root: str

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> State:
        """From the script's table. Raises `UserError` where it is not what the script writes."""
        try:
            return cls._parse(answer)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise UserError(
                f"the host's state cannot be read: {type(error).__name__}: {error}; is the script's answer cut short by another tool?"
            ) from error

    @classmethod
    def _parse(cls, answer: Mapping[str, Any]) -> State:
        service = answer["service"]
        configuration = _table(answer["configuration"])
        capolicy = answer["capolicy"]
        return cls(
            fqdn=str(answer["computer"]["fqdn"]),
            in_domain=bool(answer["computer"]["in_domain"]),
            now=_time(answer["now"]),
            reboot_pending=bool(answer["reboot_pending"]),
            feature=bool(answer["feature"]["installed"]),
            running=bool(service) and service["status"] == "Running",
            begun=_table(answer["begun"]).get("Name"),
            active=configuration.get("Active") or None,
            configuration=configuration,
            ca=_table(answer["ca"]),
            csp=_table(answer["csp"]),
            policy_module=answer["policy_module"],
            policy=_table(answer["policy"]),
            certificates=[certificates.load_one(_bytes(entry["der"])) for entry in answer["certificates"] or ()],
            capolicy=None if capolicy is None else _bytes(capolicy).decode("cp1252", "replace"),
            requests=list(_requests(answer["requests"] or ())),
            crls=list(_crls(answer["crls"] or ())),
            served={str(name).casefold(): str(digest).lower() for name, digest in (answer["served"] or {}).items()},
            sids=dict(answer["sids"] or {}),
            names=dict(answer["names"] or {}),
            system_root=str(answer["system_root"]),
        )

    @property
    def name(self) -> str | None:
        """The CA's common name."""
        found = self.ca.get("CommonName") or self.active
        return found if isinstance(found, str) else None

    @property
    def status(self) -> int:
        return _number(self.ca.get("SetupStatus"))

    @property
    def configured(self) -> bool:
        """Whether an installation came to its end, if only to wait for a certificate."""
        return self.active is not None and bool(self.status & (INSTALLED | SUSPENDED))

    @property
    def pending(self) -> bool:
        """Whether a request waits for its certificate: the first one, or a renewal's."""
        return self.configured and bool(self.status & (SUSPENDED | REQUESTED))

    @property
    def request(self) -> Request | None:
        """The request that waits: the newest of this CA's. Other people's may lie in the same folder."""
        if not self.pending:
            return None
        return max(filter(self._is_own, self.requests), key=lambda request: request.written, default=None)

    def _is_own(self, request: Request) -> bool:
        """By the file's name, as the registry's RequestFileName has it (the values of certutil -getreg), or by the subject."""
        pattern = self.ca.get("RequestFileName")
        if isinstance(pattern, str):
            host = str(self.ca.get("CAServerName") or self.fqdn)
            values = {"%1": host, "%2": host.partition(".")[0], "%3": self.active or "", "%4": ""}
            stem = re.sub("%[1-4]", lambda found: values[found[0]], _stem(pattern))
            # a renewal's request has the certificate's number (%4), such as (1) or (0-1)
            if re.fullmatch(re.escape(stem) + r"(\(\d+(-\d+)?\))?", _stem(request.path), re.IGNORECASE):
                return True
        return self.name is not None and request.common_name.casefold() == self.name.casefold()

    @property
    def is_root(self) -> bool:
        return _number(self.ca.get("CAType")) in (words.TYPES["enterprise_root"], words.TYPES["standalone_root"])

    @property
    def is_enterprise(self) -> bool:
        return _number(self.ca.get("CAType")) in (words.TYPES["enterprise_root"], words.TYPES["enterprise_subordinate"])

    @property
    def config_string(self) -> str | None:
        return f"{self.ca.get('CAServerName') or self.fqdn}\\{self.name}" if self.configured else None

    def principal(self, sid: str) -> str:
        """A SID as people read it, where the host knows its name."""
        return self.names.get(sid) or sid

    def words(self) -> Words:
        """The CA exactly as `config` would accept it; without what the host does not say."""
        return {name: value for name, value in self._words().items() if value is not None}

    def _words(self) -> Words:
        ca = self.ca
        return {
            "name": self.name,
            "type": next((word for word, number in words.TYPES.items() if number == ca.get("CAType")), None),
            "distinguished_name_suffix": self._suffix(),
            "key": self._key(),
            "hash": self.csp.get("CNGHashAlgorithm") or next((n for n, v in HASHES.items() if v == self.csp.get("HashAlgorithm")), None),
            "database_path": self.configuration.get("DBDirectory"),
            "log_path": self.configuration.get("DBLogDirectory"),
            "capolicy": None if self.capolicy is None else {"content": self.capolicy},
            "cdp": [words.location_of(text, words.CDP) for text in ca.get("CRLPublicationURLs", ())],
            "aia": [words.location_of(text, words.AIA) for text in ca.get("CACertPublicationURLs", ())],
            "crl_period": words.period_of(ca.get("CRLPeriodUnits"), ca.get("CRLPeriod")),
            "crl_overlap": words.period_of(ca.get("CRLOverlapUnits"), ca.get("CRLOverlapPeriod")),
            "crl_delta_period": words.period_of(ca.get("CRLDeltaPeriodUnits"), ca.get("CRLDeltaPeriod")),
            "crl_delta_overlap": words.period_of(ca.get("CRLDeltaOverlapUnits"), ca.get("CRLDeltaOverlapPeriod")),
            "issued_validity": words.period_of(ca.get("ValidityPeriodUnits"), ca.get("ValidityPeriod")),
            "audit_filter": words.words(_number(ca.get("AuditFilter")), words.AUDIT),
            "interface_flags": words.words(_number(ca.get("InterfaceFlags")), words.INTERFACE),
            "edit_flags": words.words(_number(self.policy.get("EditFlags")), words.EDIT),
            "disabled_extensions": list(self.policy.get("DisableExtensionList", ())),
            "role_separation": bool(_number(ca.get("RoleSeparationEnabled"))),
            "permissions": self.permissions(restrictions.rights(self.security)),
            "officer_restrictions": self.restricted("OfficerRights", "officer", "requesters"),
            "enrollment_agent_restrictions": self.restricted("EnrollmentAgentRights", "agent", "subjects"),
        }

    @property
    def security(self) -> SecurityDescriptor:
        data = self.ca.get("Security")
        return SecurityDescriptor.parse(data) if isinstance(data, bytes) else SecurityDescriptor()

    def permissions(self, rights: Mapping[str, int]) -> list[Words]:
        found = [
            {"principal": self.principal(sid), "rights": [word for word, bit in words.RIGHTS.items() if mask & bit]}
            for sid, mask in rights.items()
            if mask & restrictions.KNOWN_RIGHTS
        ]
        return sorted(found, key=lambda entry: str(entry["principal"]).casefold())

    def restricted(self, value: str, who: str, whom: str) -> list[Words]:
        data = self.ca.get(value)
        return self.restriction_words(restrictions.restrictions(data) if isinstance(data, bytes) else (), who, whom)

    def restriction_words(self, found: Iterable[Restriction], who: str, whom: str) -> list[Words]:
        """Restrictions in words: one entry for all templates with the same people, in one order."""
        groups: dict[tuple[str, tuple[str, ...], bool], list[str | None]] = {}
        for one in found:
            groups.setdefault((one.sid, one.subjects, one.allow), []).append(one.template)
        entries = []
        for (sid, subjects, allow), templates in groups.items():
            entry: Words = {who: self.principal(sid), "allow": allow}
            if None not in templates:
                entry["templates"] = sorted((name for name in templates if name is not None), key=str.casefold)
            if subjects != (str(restrictions.EVERYONE),):
                entry[whom] = sorted((self.principal(subject) for subject in subjects), key=str.casefold)
            entries.append(entry)
        return sorted(
            entries, key=lambda entry: (entry["allow"], str(entry[who]).casefold(), entry.get("templates") or [], entry.get(whom) or [])
        )

    def _key(self) -> Words | None:
        key: Words = {}
        if self.certificates:
            # the first one's: what the CA was installed with
            key |= key_words(self.certificates[0])
        elif self.request is not None:
            key |= request_key_words(self.request)
        if self.csp.get("Provider"):
            key["provider"] = self.csp["Provider"]
        return key or None

    def _suffix(self) -> str | None:
        if not self.certificates:
            return None
        return self.certificates[0].subject.partition(",")[2]


def key_words(certificate: Certificate) -> Words:
    return {"algorithm": "RSA" if certificate.key_type == "rsa" else "ECDSA", "size": certificate.key_bits}


def request_key_words(request: Request) -> Words:
    parsed = attempt("certificate request", lambda: x509.load_der_x509_csr(request.der))
    key: Any = parsed.public_key()
    return {"algorithm": "ECDSA" if hasattr(key, "curve") else "RSA", "size": key.key_size}


def public_key(parsed: Any) -> bytes:
    """The subjectPublicKeyInfo of a certificate or a request of the library, DER."""
    serialization = crypto.serialization
    found: bytes = parsed.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return found


def _table(answer: Mapping[str, Any] | None) -> dict[str, Any]:
    """A registry key's values; an empty table of PowerShell may come as nothing."""
    return {str(name): _value(entry) for name, entry in (answer or {}).items()}


def _value(entry: Mapping[str, Any]) -> Any:
    kind, value = entry["kind"], entry["value"]
    if kind == "Binary":
        return _bytes(value or "")
    if kind == "MultiString":
        return [str(item) for item in ([value] if isinstance(value, str) else value or ())]
    return value


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {text[:40]!r}") from error


def _stem(path: str) -> str:
    """A Windows path's file name without its extension."""
    name = path.rpartition("\\")[2]
    return name[:-4] if name.casefold().endswith(".req") else name


def _number(value: Any) -> int:
    return value & 0xFFFFFFFF if isinstance(value, int) else 0


def _time(text: str) -> datetime:
    # .NET writes seven digits of a second, which Python 3.10 does not read
    whole, _dot, _fraction = text.replace("Z", "").partition(".")
    return datetime.fromisoformat(whole).replace(tzinfo=timezone.utc)


def _requests(answer: Iterable[Mapping[str, Any]]) -> Iterable[Request]:
    for entry in answer:
        try:
            blocks = certificates.unwrap(_bytes(entry["content"] or ""), (b"NEW CERTIFICATE REQUEST", b"CERTIFICATE REQUEST"))
        except FormatError:
            continue  # somebody else's file, or one that is being written
        yield Request(str(entry["path"]), str(entry["written"]), blocks[0][1])


def _crls(answer: Iterable[Mapping[str, Any]]) -> Iterable[PublishedCrl]:
    for entry in answer:
        try:
            this_update, next_update = crl_dates(_bytes(entry["head"]))
        except FormatError:
            continue
        yield PublishedCrl(str(entry["name"]), this_update, next_update)


def crl_dates(head: bytes) -> tuple[datetime, datetime | None]:
    """thisUpdate and nextUpdate of a CRL in DER (RFC 5280 5.1), which may be cut off after them. Raises `FormatError`."""
    position = 0
    for _level in range(2):  # CertificateList, TBSCertList
        tag, position, _length = _header(head, position)
        if tag != 0x30:
            raise FormatError("not a CRL")
    dates: list[datetime] = []
    while len(dates) < 2:
        if dates and (position >= len(head) or head[position] not in (0x17, 0x18)):
            break  # without a nextUpdate
        tag, content, length = _header(head, position)
        if tag in (0x17, 0x18):
            dates.append(_asn1_time(tag, head[content : content + length]))
        elif tag not in (0x02, 0x30):
            raise FormatError("not a CRL")
        position = content + length
    return dates[0], dates[1] if len(dates) == 2 else None


def _header(data: bytes, position: int) -> tuple[int, int, int]:
    """Tag, where the content begins, its length."""
    try:
        tag, length = data[position], data[position + 1]
        position += 2
        if length & 0x80:
            count = length & 0x7F
            if not 0 < count <= 4 or position + count > len(data):
                raise FormatError("not a CRL")
            length = int.from_bytes(data[position : position + count], "big")
            position += count
    except IndexError:
        raise FormatError("a CRL is cut short") from None
    return tag, position, length


def _asn1_time(tag: int, text: bytes) -> datetime:
    form = "%y%m%d%H%M%SZ" if tag == 0x17 else "%Y%m%d%H%M%SZ"
    try:
        return datetime.strptime(text.decode("ascii"), form).replace(tzinfo=timezone.utc)
    except ValueError as error:
        raise FormatError(f"a CRL with the date {text[:20]!r}") from error
