# SPDX-License-Identifier: GPL-3.0-or-later
"""The domain's PKI objects as the directory has them, here and on the other domain controllers: facts only, no opinion.

All of `CN=Public Key Services` is one paged search; CRLs, which may be large, are not asked for.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import chains, sources
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate, load_one
from ansible_collections.certlogon.core.plugins.module_utils.certificates.sources import Authorities
from ansible_collections.certlogon.core.plugins.module_utils.compliance import read_only, seen
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Unread
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation
from ansible_collections.certlogon.core.plugins.module_utils.directory import exposure, oids
from ansible_collections.certlogon.core.plugins.module_utils.directory.certificate_templates import (
    APPLICATION_POLICY,
    ISSUANCE_POLICY,
    named_oids,
    template_of,
)
from ansible_collections.certlogon.core.plugins.module_utils.directory.names import escape_filter, escape_filter_bytes, rdn_value
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import SecurityDescriptor, Sid
from ansible_collections.certlogon.core.plugins.module_utils.directory.session import Directory, Entry, NoSuchObject, dns_name
from ansible_collections.certlogon.core.plugins.module_utils.directory.template_plan import DESCRIPTOR, GROUP_LINK, OID, OWNER_GROUP_DACL
from ansible_collections.certlogon.core.plugins.module_utils.directory.template_words import (
    INTEGERS,
    LISTS,
    OCTETS,
    TEXTS,
    Vocabulary,
    to_words,
)
from ansible_collections.certlogon.core.plugins.module_utils.directory.trusted_certificates import CERTIFICATES, NTAUTH, PLACEHOLDER
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError

OPTIONS: Mapping[str, Any] = {
    "authorities": {"type": "list", "elements": "str", "default": []},
    "trusted_certificates": {"type": "list", "elements": "dict", "default": []},
    "smart_card_templates": {"type": "list", "elements": "str", "default": []},
    "unprivileged": {"type": "list", "elements": "str", "default": []},
}
FACTS = (
    "domain",
    "domain_controllers",
    "principals",
    "anybody",
    "templates",
    "issuance_policies",
    "enrollment_services",
    "stores",
    "pki_certificates",
    "pki_objects",
    "ca_computers",
    "declared",
    "smart_card_templates",
    "replicas",
)

_CONTAINERS: Mapping[str, str] = {
    "templates": "Certificate Templates",
    "issuance_policies": "OID",
    "enrollment_services": "Enrollment Services",
    "root": "Certification Authorities",
    "intermediate": "AIA",
}
_WRITTEN_ALWAYS = ("flags", "revision", "msPKI-Certificate-Name-Flag", "msPKI-Enrollment-Flag", "msPKI-RA-Signature")
"""Attributes that AD CS writes into each template; where one of them is not shown, the account may not read it."""

_ATTRIBUTES = tuple(
    dict.fromkeys(
        (
            "cn",
            "objectClass",
            DESCRIPTOR,
            *INTEGERS,
            *TEXTS,
            *OCTETS,
            *LISTS,
            GROUP_LINK,
            CERTIFICATES,
            "crossCertificatePair",
            "certificateTemplates",
            "dNSHostName",
            "msPKI-Enrollment-Servers",
            "userCertificate",
        )
    )
)
_LISTED = 50
"""Differences of one replica that are listed at most."""


@dataclass
class Pki:
    """Everything below Public Key Services, by what it is."""

    base: str
    entries: Sequence[Entry]
    templates: list[Entry] = field(default_factory=list)
    oids: list[Entry] = field(default_factory=list)
    services: list[Entry] = field(default_factory=list)
    authorities: list[Entry] = field(default_factory=list)
    others: list[Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        kinds = {
            "pkicertificatetemplate": self.templates,
            "mspki-enterprise-oid": self.oids,
            "pkienrollmentservice": self.services,
            "certificationauthority": self.authorities,
        }
        for entry in self.entries:
            kind = (entry.texts("objectClass") or [""])[-1].lower()
            kinds.get(kind, self.others).append(entry)

    def dn(self, container: str) -> str:
        return f"CN={container},{self.base}"

    def find(self, dn: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.dn.casefold() == dn.casefold()), None)

    def below(self, container: str, entries: Iterable[Entry]) -> list[Entry]:
        ending = f",{self.dn(container)}".casefold()
        return [entry for entry in entries if entry.dn.casefold().endswith(ending)]


def observe(directory: Directory, params: Mapping[str, Any], observation: Observation) -> None:
    observation.set("domain", _domain(directory))
    observation.set("smart_card_templates", params["smart_card_templates"])
    controllers = _domain_controllers(directory)
    observation.set("domain_controllers", controllers)
    anybody = _anybody(directory, params["unprivileged"])
    observation.set("anybody", {str(sid): through for sid, through in anybody.items()})
    pki = _read(directory)
    _set_containers(pki, observation)
    pool = _certificates(pki)
    _set_certificates(pki, pool, observation)
    computers = _computers(directory, pki)
    observation.set("ca_computers", computers)
    observation.set(
        "pki_objects", [_object(entry) for entries in (pki.others, pki.services, pki.authorities, pki.oids) for entry in entries]
    )
    observation.set("principals", _principals(directory, pki, computers))
    observation.set("declared", _declared(params, pki))
    observation.set("replicas", [_replica(directory, controller, pki, observation) for controller in controllers])


def _domain(directory: Directory) -> dict[str, Any]:
    return {
        "dns": directory.domain,
        "dn": directory.domain_dn,
        "forest": directory.forest,
        "configuration_dn": directory.configuration_dn,
        "sid": str(directory.domain_sid),
        "root_sid": str(directory.root_domain_sid),
        "samba": directory.is_samba,
    }


def _domain_controllers(directory: Directory) -> list[dict[str, Any]]:
    """Those of this domain, by the configuration of its sites."""
    attributes = ("cn", "dNSHostName", "serverReference")
    found = directory.search(f"CN=Sites,{directory.configuration_dn}", "(&(objectClass=server)(serverReference=*))", attributes)
    controllers = []
    for entry in found:
        account = entry.text("serverReference") or ""
        if dns_name(account).casefold() != directory.domain.casefold():  # a domain below this one ends alike
            continue
        site = entry.dn.partition(",CN=Servers,")[2]
        computer = directory.get(account, ("primaryGroupID", "operatingSystem", "operatingSystemVersion", "dNSHostName"))
        controllers.append(
            {
                "name": entry.text("cn") or rdn_value(entry.dn),
                "host": entry.text("dNSHostName") or (computer.text("dNSHostName") if computer else None) or "",
                "dn": account,
                "site": rdn_value(site) if site else "",
                "read_only": bool(computer and computer.integer("primaryGroupID") == 521),
                "system": " ".join(filter(None, (computer.text(name) for name in ("operatingSystem", "operatingSystemVersion"))))
                if computer
                else "",
            }
        )
    return sorted(controllers, key=lambda controller: str(controller["host"]))


def _anybody(directory: Directory, unprivileged: Sequence[str]) -> dict[Sid, str]:
    """Groups that hold accounts without privileges though their names do not say so, and who makes them so."""
    further = {principal.sid: principal.name for principal in directory.resolve(unprivileged).values()}
    domain = directory.domain_sid
    start = {**further, **{Sid.parse(text): name for text, name in exposure.ANYBODY.items()}}
    start |= {domain.child(rid): "" for rid in exposure.ANYBODY_OF_DOMAIN}
    found = dict.fromkeys(further, "named as unprivileged")
    attributes = ("cn", "memberOf", "objectSid", "sAMAccountName")
    filters = "".join(f"(objectSid={escape_filter_bytes(bytes(sid))})" for sid in start)
    level = directory.search(directory.domain_dn, f"(|{filters})", attributes)
    seen_sids = set(start)
    with ExitStack() as stack:
        elsewhere: Directory | None = None
        while level:
            through = {dn: _called(member) for member in level for dn in member.texts("memberOf")}
            level = []
            for dn, name in through.items():
                holder = directory
                if dns_name(dn).casefold() != directory.domain.casefold():
                    # a universal group; asked for it, this server would refer to its own domain's
                    elsewhere = holder = elsewhere or stack.enter_context(directory.global_catalogue())
                group = holder.get(dn, attributes)
                value = group.raw("objectSid") if group else None
                sid = Sid.from_bytes(value) if value else None
                if group is not None and sid is not None and sid not in seen_sids:
                    seen_sids.add(sid)
                    level.append(group)
                    if not exposure.is_anybody(sid):
                        found[sid] = f"{name} is a member"
    return found


def _called(member: Entry) -> str:
    return exposure.ANYBODY.get(member.text("cn") or "") or member.text("sAMAccountName") or member.text("cn") or ""


def _read(directory: Directory) -> Pki:
    base = directory.public_key_services
    try:
        return Pki(base, directory.search(base, "(objectClass=*)", _ATTRIBUTES, descriptor=OWNER_GROUP_DACL))
    except NoSuchObject as error:
        raise UserError(f"{base}: is not there, or this account may not see it") from error


# ---- templates, policies, services


def _set_containers(pki: Pki, observation: Observation) -> None:
    makers: Mapping[str, Callable[[Pki], list[dict[str, Any]]]] = {
        "templates": _templates,
        "issuance_policies": lambda pki: _issuance_policies(pki, _vocabulary(pki)),
        "enrollment_services": lambda pki: [_service(entry) for entry in pki.services],
    }
    for fact, make in makers.items():
        container = pki.dn(_CONTAINERS[fact])
        hidden = pki.find(container) is None
        observation.set(
            fact,
            Unread(f"{container} is not there, or is hidden from this account", f"List Contents and Read on {container}")
            if hidden
            else make(pki),
        )


def _vocabulary(pki: Pki) -> Vocabulary:
    container = pki.find(pki.dn("OID"))
    arc = container.text(OID) if container else None
    # without the forest's arc the assurance policies keep their numbers
    return Vocabulary.of(arc or oids.FOREST_ARC, named_oids(pki.oids, APPLICATION_POLICY), named_oids(pki.oids, ISSUANCE_POLICY))


def _templates(pki: Pki) -> list[dict[str, Any]]:
    vocabulary = _vocabulary(pki)
    found = []
    for entry in pki.templates:
        template = template_of(entry)
        found.append(
            {
                "name": template.name,
                "dn": entry.dn,
                "words": to_words(template.name, template.attributes, vocabulary),
                "descriptor": _encoded(template.descriptor),
                "unread": [name for name in _WRITTEN_ALWAYS if not entry.has(name)],
            }
        )
    return sorted(found, key=lambda template: str(template["name"]).casefold())


def _issuance_policies(pki: Pki, vocabulary: Vocabulary) -> list[dict[str, Any]]:
    return [
        {
            "name": entry.text("displayName") or entry.text("cn") or "",
            "dn": entry.dn,
            "oid": oid,
            "word": vocabulary.policies.words([oid])[0],
            "group": entry.text(GROUP_LINK) or "",
        }
        for entry in pki.oids
        if entry.integer("flags") == ISSUANCE_POLICY and (oid := entry.text(OID))
    ]


def _service(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.text("cn") or rdn_value(entry.dn),
        "dn": entry.dn,
        "host": entry.text("dNSHostName") or "",
        "templates": entry.texts("certificateTemplates"),
        "certificates": [_sha256(value) for value in _held(entry)],
        "enrollment_servers": entry.texts("msPKI-Enrollment-Servers"),
    }


def _object(entry: Entry) -> dict[str, Any]:
    return {"dn": entry.dn, "class": (entry.texts("objectClass") or ["?"])[-1], "descriptor": _encoded(entry.raw(DESCRIPTOR))}


def _computers(directory: Directory, pki: Pki) -> list[dict[str, Any]]:
    """The computer account of each enrollment service's host; several domains are asked by the global catalogue."""
    hosts = {host.casefold(): host for entry in pki.services if (host := entry.text("dNSHostName"))}
    if not hosts:
        return []
    filters = "".join(
        f"(sAMAccountName={escape_filter(host.partition('.')[0][:15])}$)(servicePrincipalName=HOST/{escape_filter(host)})"
        for host in hosts.values()
    )
    several = len(directory.domains) > 1
    with directory.global_catalogue() if several else nullcontext(directory) as session:
        entries = session.search(
            "" if several else directory.domain_dn,
            f"(&(objectClass=computer)(|{filters}))",
            ("dNSHostName", "sAMAccountName", "userAccountControl", DESCRIPTOR),
            descriptor=OWNER_GROUP_DACL,
        )
    return [
        {
            "host": entry.text("dNSHostName") or "",
            "account": entry.text("sAMAccountName") or "",
            "dn": entry.dn,
            "disabled": bool((entry.integer("userAccountControl") or 0) & 2),
            "descriptor": _encoded(entry.raw(DESCRIPTOR)),
        }
        for entry in entries
        if not entry.has("dNSHostName") or (entry.text("dNSHostName") or "").casefold() in hosts
    ]


def _principals(directory: Directory, pki: Pki, computers: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Names of all whom the descriptors name."""
    sids: set[Sid] = set()
    texts = (computer["descriptor"] for computer in computers)
    for data in {*(entry.raw(DESCRIPTOR) for entry in pki.entries), *(base64.b64decode(text) for text in texts if text)}:
        try:
            sids |= exposure.sids_of(data) if data else set()
        except FormatError:
            continue
    return {str(sid): name for sid, name in directory.principal_names(sorted(sids, key=str)).items()}


# ---- certificates


def _held(entry: Entry) -> list[bytes]:
    return [value for value in entry.raws(CERTIFICATES) if value != PLACEHOLDER]


def _certificates(pki: Pki) -> dict[str, Certificate | str]:
    """Each certificate there is, by its SHA-256; why it is none, where it is none."""
    pool: dict[str, Certificate | str] = {}
    for value in (value for entry in (*pki.services, *pki.authorities) for value in _held(entry)):
        fingerprint = _sha256(value)
        if fingerprint not in pool:
            try:
                pool[fingerprint] = load_one(value)
            except FormatError as error:
                pool[fingerprint] = str(error)
    return pool


def _set_certificates(pki: Pki, pool: Mapping[str, Certificate | str], observation: Observation) -> None:
    stores: dict[str, Any] = {
        store: [
            {"name": entry.text("cn") or "", "dn": entry.dn, "certificates": [_sha256(value) for value in _held(entry)]} for entry in found
        ]
        for store, found in (
            ("root", pki.below(_CONTAINERS["root"], pki.authorities)),
            ("intermediate", pki.below(_CONTAINERS["intermediate"], pki.authorities)),
        )
    }
    ntauth = pki.find(pki.dn(NTAUTH))
    stores["ntauth"] = [{"name": NTAUTH, "dn": ntauth.dn, "certificates": [_sha256(value) for value in _held(ntauth)]}] if ntauth else None
    for store in ("root", "intermediate"):
        if pki.find(pki.dn(_CONTAINERS[store])) is None:
            stores[store] = None
    observation.set("stores", stores)
    observation.set(
        "pki_certificates",
        {
            fingerprint: {"broken": one} if isinstance(one, str) else {"der": base64.b64encode(one.der).decode()}
            for fingerprint, one in pool.items()
        },
    )
    _list_certificates(pki, pool, observation)


def _list_certificates(pki: Pki, pool: Mapping[str, Certificate | str], observation: Observation) -> None:
    """For the report's lists and pictures: each certificate once, by its first use in this order."""
    parsed = {fingerprint: chains.parsed([one])[0] for fingerprint, one in pool.items() if not isinstance(one, str)}
    uses = [
        *((entry, seen.CA, "enrollment service") for entry in pki.services),
        *((entry, seen.ROOT, "Certification Authorities") for entry in pki.below(_CONTAINERS["root"], pki.authorities)),
        *((entry, seen.CA, "AIA") for entry in pki.below(_CONTAINERS["intermediate"], pki.authorities)),
        *((entry, seen.CA, "NTAuth") for entry in pki.authorities),
    ]
    listed = set()
    for entry, use, where in uses:
        for fingerprint in map(_sha256, _held(entry)):
            if fingerprint in listed or fingerprint not in parsed:
                continue
            listed.add(fingerprint)
            one = parsed[fingerprint]
            issuer = next((other for other in parsed.values() if chains.issued_by(one, other)), None)
            name = entry.text("cn") if where == "enrollment service" else ""
            observation.certificates.append(seen.certificate(one, use, where, name=name or ""))
            if not chains.self_issued(one):
                observation.cdps += seen.cdps(one, issuer, f"CA certificate {seen.common_name(one.subject)}")


def _declared(params: Mapping[str, Any], pki: Pki) -> dict[str, list[str]] | Unread:
    """Fingerprints by store, of what the inventory names; a store that it says nothing of is missing."""
    services = {entry.text("cn") or "": _held(entry) for entry in pki.services}
    issuers = [value for entry in pki.authorities for value in _held(entry)]
    there = Authorities(services, issuers)
    declared: dict[str, list[str]] = {}
    try:
        for entry in params["trusted_certificates"]:
            store = str(entry.get("store"))
            for index, item in enumerate(entry.get("certificates") or ()):
                where = f"trusted_certificates: {store}: certificates[{index}]"
                found = sources.published(where, item, there) if sources.from_directory(item) else sources.certificates(where, item)
                declared.setdefault(store, []).extend(one.sha256 for one in found or ())
        for name in params["authorities"]:
            found = sources.published("authorities", {"enrollment_service": name}, there) or []
            declared.setdefault("ntauth", []).extend(one.sha256 for one in found)
            declared.setdefault("intermediate", []).extend(one.sha256 for one in found)
            roots = sources.published("authorities", {"enrollment_service": name, "chain": "root"}, there) or []
            declared.setdefault("root", []).extend(one.sha256 for one in roots)
    except UserError as error:
        return Unread(" ".join(str(error).split()))
    return {store: sorted(set(fingerprints)) for store, fingerprints in declared.items()}


# ---- replicas


def _replica(directory: Directory, controller: Mapping[str, Any], pki: Pki, observation: Observation) -> dict[str, Any]:
    """What another domain controller has of the same objects, and where that differs."""
    host = controller["host"]
    answer: dict[str, Any] = {"host": host, "answered": True, "error": "", "reference": False, "differences": [], "count": 0}
    if host.casefold() == directory.host.casefold():
        return {**answer, "reference": True}
    if not host:
        return {**answer, "host": controller["name"], "answered": False, "error": "its dNSHostName is not known"}
    asked = read_only.Asked(observation.asked)
    try:
        with read_only.directory(directory.options, lambda _warning: None, asked, host=host) as other:
            there = _read(other)
    except UserError as error:
        return {**answer, "answered": False, "error": " ".join(str(error).split())}
    observation.servers = [*observation.servers, host]
    found = _differences(pki, there)
    return {**answer, "differences": found[:_LISTED], "count": len(found)}


def _differences(here: Pki, there: Pki) -> list[dict[str, Any]]:
    """Objects that only one has, and attributes with other values."""
    ours = {entry.dn.casefold(): entry for entry in here.entries}
    theirs = {entry.dn.casefold(): entry for entry in there.entries}
    found: list[dict[str, Any]] = []
    for key in sorted({*ours, *theirs}):
        one, other = ours.get(key), theirs.get(key)
        if one is None or other is None:
            found.append({"dn": (one or other or here.entries[0]).dn, "what": "missing" if other is None else "extra", "attributes": []})
        elif differing := [name for name in _ATTRIBUTES if not _same(name, one, other)]:
            found.append({"dn": one.dn, "what": "differs", "attributes": differing})
    return found


def _same(name: str, one: Entry, other: Entry) -> bool:
    if sorted(one.raws(name)) == sorted(other.raws(name)):
        return True
    mine, its = one.raw(name), other.raw(name)
    if name != DESCRIPTOR or mine is None or its is None:
        return False
    try:
        return SecurityDescriptor.parse(mine).meaning == SecurityDescriptor.parse(its).meaning
    except FormatError:
        return False


def _sha256(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()


def _encoded(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()
