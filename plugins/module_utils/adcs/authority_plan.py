# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be done to a CA host so that its CA is as `config` says. Pure: no I/O, all decided by the state and the options."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.adcs import authority_words as words
from ansible_collections.certlogon.core.plugins.module_utils.adcs import capolicy, restrictions
from ansible_collections.certlogon.core.plugins.module_utils.adcs.authority_state import (
    HASHES,
    SECURITY_CHANGED,
    Request,
    State,
    crl_dates,
    public_key,
)
from ansible_collections.certlogon.core.plugins.module_utils.adcs.restrictions import Restriction
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate, attempt
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import SecurityDescriptor
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, Problems, UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import x509
from ansible_collections.certlogon.core.plugins.module_utils.resource import Words

PERIODS = {
    "crl_period": ("CRLPeriod", "CRLPeriodUnits"),
    "crl_overlap": ("CRLOverlapPeriod", "CRLOverlapUnits"),
    "crl_delta_period": ("CRLDeltaPeriod", "CRLDeltaPeriodUnits"),
    "crl_delta_overlap": ("CRLDeltaOverlapPeriod", "CRLDeltaOverlapUnits"),
    "issued_validity": ("ValidityPeriod", "ValidityPeriodUnits"),
}
"""Option -> the registry's values for unit and number."""

RESTRICTIONS = {
    "officer_restrictions": ("OfficerRights", "officer", "requesters"),
    "enrollment_agent_restrictions": ("EnrollmentAgentRights", "agent", "subjects"),
}
"""Option -> the registry's value, who is restricted, and for whom."""

DEFAULTS: Words = {
    "crl_period": "1 week",
    "crl_overlap": "0 hours",
    "crl_delta_period": "1 day",
    "crl_delta_overlap": "0 minutes",
    "audit_filter": [],
    "interface_flags": words.words(0x641, words.INTERFACE),
    "disabled_extensions": [],
    "role_separation": False,
    "officer_restrictions": [],
    "enrollment_agent_restrictions": [],
}
"""What Windows sets at the installation, and `replaced` where `config` says nothing (IF_DEFAULT, dw*DEFAULT of certsrv.h)."""

_ENTERPRISE: Words = {"issued_validity": "2 years", "edit_flags": words.words(0x11014E, words.EDIT)}
_STANDALONE: Words = {"issued_validity": "1 year", "edit_flags": words.words(0x83EE, words.EDIT)}

ONLY_AT_INSTALLATION = ("validity",)
FIXED = ("type", "distinguished_name_suffix", "key", "database_path", "log_path")
SKEW = timedelta(minutes=5)


@dataclass(frozen=True)
class Local:
    """What lies on the control node: the files of `request_path` and `certificate_path`, None where they are not there."""

    request: bytes | None = None
    certificates: Sequence[Certificate] | None = None
    served: Mapping[str, bytes] = field(default_factory=dict)
    """Files of `certenroll_files`: name -> content in DER."""


@dataclass(frozen=True)
class Known:
    """All that the plan decides by."""

    host: State
    local: Local
    here: datetime
    """The control node's clock."""


@dataclass(frozen=True)
class Work:
    """The steps of a change, in order, and what they need."""

    steps: Sequence[str]
    given: Words
    chain: Sequence[Certificate] = ()
    """The certificate that came back, then its parents."""


# ---- what config says


def normalized(entry: Mapping[str, Any]) -> Words:
    """An entry of `config` in canonical form, without what it leaves out. Raises `UserError` that names every fault."""
    problems = Problems()
    where = f"config: {entry['name']}"
    given: Words = {}
    for name, value in entry.items():
        if value is None:
            continue
        try:
            given[name] = _normal(name, value, f"{where}: {name}")
        except FormatError as error:
            problems.add(str(error))
    problems.raise_any()
    return {name: value for name, value in given.items() if value is not None}


def _normal(name: str, value: Any, where: str) -> Any:
    if name in PERIODS or name == "validity":
        return words.period(value, where)
    if name in ("cdp", "aia"):
        table = words.CDP if name == "cdp" else words.AIA
        return [words.location(place, table, f"{where}: {place['url']}") for place in value]
    if name in ("interface_flags", "edit_flags"):
        table = words.INTERFACE if name == "interface_flags" else words.EDIT
        return words.words(words.bits(value, table, where), table)
    if name == "audit_filter":
        return words.audit(value, where)
    if name == "capolicy":
        text = capolicy.text(value, where)
        return None if text is None else {"content": text}
    if name == "key":
        key = {field: item for field, item in value.items() if item is not None}
        return {**key, "provider": key["provider"].rpartition("#")[2]} if "provider" in key else key
    if name == "disabled_extensions":
        for oid in value:
            if not capolicy.is_oid(oid):
                raise FormatError(f"{where}: {oid!r} is no object identifier")
        return list(dict.fromkeys(value))
    if name == "permissions":
        return [dict(item) for item in value]
    if name in RESTRICTIONS:
        return [{field: part for field, part in item.items() if part is not None} for item in value]
    if name in ("database_path", "log_path"):
        return value.rstrip("\\") or value
    return value


def check(params: Mapping[str, Any]) -> None:
    """What is wrong with the request by itself."""
    problems = Problems()
    config = params.get("config") or []
    if len(config) > 1:
        problems.add(f"config: a host has one CA at most; {', '.join(entry['name'] for entry in config)} are {len(config)}")
    for entry in config:
        try:
            given = normalized(entry)
        except UserError as error:
            problems.add(str(error))
            continue
        if "subordinate" in given.get("type", "") and "validity" in given:
            problems.add(
                f"config: {entry['name']}: validity: the parent decides how long a subordinate's certificate is valid; leave it out"
            )
        for option, (_value, who, _whom) in RESTRICTIONS.items():
            for item in given.get(option, ()):
                if item.get("templates") == [] or item.get("requesters") == [] or item.get("subjects") == []:
                    problems.add(f"config: {entry['name']}: {option}: {item[who]}: an empty list restricts nothing; leave it out for all")
    if bool(params.get("install_username")) != bool(params.get("install_password")):
        problems.add("install_username and install_password: give both or none")
    if params.get("parent_ca") and "\\" not in params["parent_ca"]:
        problems.add(f"parent_ca: {params['parent_ca']!r} is not host and name of a CA, such as root.corp.example\\Corp Root CA")
    problems.raise_any()


def principals(config: Iterable[Mapping[str, Any]]) -> list[str]:
    """Every account and group that `config` names."""
    found: list[str] = []
    for entry in config:
        found += [item["principal"] for item in entry.get("permissions") or ()]
        for option, (_value, who, whom) in RESTRICTIONS.items():
            for item in entry.get(option) or ():
                found += [item[who], *(item.get(whom) or ())]
    return list(dict.fromkeys(found))


# ---- what is to become of it


def target(given: Words, host: State, *, replaced: bool) -> Words:
    """The CA's words after the change; raises `UserError` for people that do not exist."""
    have = host.words()
    after = {**have}
    if replaced:
        kind = given.get("type") or have.get("type") or ""
        after |= {**DEFAULTS, **(_ENTERPRISE if kind.startswith("enterprise") else _STANDALONE)}
    special = ("permissions", *RESTRICTIONS, *FIXED, *ONLY_AT_INSTALLATION, "name")
    after |= {name: value for name, value in given.items() if name not in special}
    if "edit_flags" not in given:
        after["edit_flags"] = [word for word in after.get("edit_flags", []) if word != "attribute_subject_alt_name2"]
    if "interface_flags" not in given:
        bits = words.bits(after.get("interface_flags", []), words.INTERFACE, "interface_flags") | words.ENCRYPTED_REQUESTS
        after["interface_flags"] = words.words(bits, words.INTERFACE)
    _refuse_unknown(given, host)
    if "permissions" in given:
        after["permissions"] = host.permissions(restrictions.rights(_security(given, host, replaced)))
    for option, (_value, who, whom) in RESTRICTIONS.items():
        if option in given:
            after[option] = host.restriction_words(_restrictions(given, host, option), who, whom)
    return after


def _refuse_unknown(given: Words, host: State) -> None:
    problems = Problems()
    for name in principals([given]):
        if host.sids.get(name) is None:
            problems.add(
                f"config: {given['name']}: {host.fqdn} knows no account or group {name!r}; write it as DOMAIN\\name, "
                "and make it first if it is new"
            )
    problems.raise_any()


def _sid(host: State, name: str) -> str:
    sid = host.sids.get(name)
    if sid is None:
        raise UserError(f"no account or group {name!r} on {host.fqdn}")
    return sid


def _security(given: Words, host: State, replaced: bool) -> SecurityDescriptor:
    wanted: dict[str, int] = {}
    for item in given["permissions"]:
        sid = _sid(host, item["principal"])
        wanted[sid] = wanted.get(sid, 0) | words.bits(item["rights"], words.RIGHTS, "permissions")
    return restrictions.with_rights(host.security, wanted, only=replaced)


def _restrictions(given: Words, host: State, option: str) -> list[Restriction]:
    _value, who, whom = RESTRICTIONS[option]
    found = []
    for item in given[option]:
        subjects = sorted(_sid(host, name) for name in item.get(whom) or ()) or [str(restrictions.EVERYONE)]
        templates: Sequence[str | None] = item.get("templates") or [None]
        found += [Restriction(_sid(host, item[who]), tuple(subjects), template, item.get("allow", True)) for template in templates]
    return found


def settings(given: Words, host: State, *, replaced: bool) -> list[dict[str, Any]]:
    """The registry values that have to be written, as the script `adcs_settings` takes them."""
    have, after = host.words(), target(given, host, replaced=replaced)
    values = _Values(host)
    changed = [name for name in after if after[name] != have.get(name)]
    for name in changed:
        if name in PERIODS:
            count, unit = words.period_parts(after[name])
            for value, kind, data in zip(PERIODS[name], ("String", "DWord"), (unit, count), strict=True):
                values.set("", value, kind, data)
    if "hash" in changed:
        if "HashAlgorithm" in host.csp and "CNGHashAlgorithm" not in host.csp:
            values.set("CSP", "HashAlgorithm", "DWord", HASHES[after["hash"]])
        else:
            values.set("CSP", "CNGHashAlgorithm", "String", after["hash"])
    if "cdp" in changed:
        values.set("", "CRLPublicationURLs", "MultiString", [words.location_text(place, words.CDP) for place in after["cdp"]])
    if "aia" in changed:
        values.set("", "CACertPublicationURLs", "MultiString", [words.location_text(place, words.AIA) for place in after["aia"]])
    if "audit_filter" in changed:
        values.set("", "AuditFilter", "DWord", words.bits(after["audit_filter"], words.AUDIT, "audit_filter"))
    if "interface_flags" in changed:
        values.set("", "InterfaceFlags", "DWord", words.bits(after["interface_flags"], words.INTERFACE, "interface_flags"))
    if "role_separation" in changed:
        values.set("", "RoleSeparationEnabled", "DWord", int(after["role_separation"]))
    if "edit_flags" in changed:
        values.policy("EditFlags", "DWord", words.bits(after["edit_flags"], words.EDIT, "edit_flags"))
    if "disabled_extensions" in changed:
        values.policy("DisableExtensionList", "MultiString", after["disabled_extensions"])
    if "permissions" in changed:
        values.set("", "Security", "Binary", _base64(bytes(_security(given, host, replaced))))
        # tells the service to carry the rights over to its object in the directory when it starts
        values.set("", "SetupStatus", "DWord", host.status | SECURITY_CHANGED)
    for option, (value, _who, _whom) in RESTRICTIONS.items():
        if option in changed:
            wanted = _restrictions(given, host, option) if option in given else []
            values.set("", value, "Binary" if wanted else None, _base64(restrictions.descriptor_of(wanted)) if wanted else None)
    return values.values


class _Values:
    def __init__(self, host: State) -> None:
        self._host = host
        self.values: list[dict[str, Any]] = []

    def set(self, key: str, name: str, kind: str | None, value: Any) -> None:
        if kind == "DWord" and value & 0x80000000:
            value -= 1 << 32  # PowerShell's integers are signed
        self.values.append({"key": key, "name": name, **({} if kind is None else {"kind": kind, "value": value})})

    def policy(self, name: str, kind: str, value: Any) -> None:
        if not self._host.policy_module:
            raise UserError(f"{self._host.name}: the registry names no active policy module; is the installation whole?")
        self.set(f"PolicyModules\\{self._host.policy_module}", name, kind, value)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# ---- what cannot be changed


def fixed(given: Words, host: State) -> None:
    """Raise `UserError` where `config` asks for what only a new installation could bring."""
    have = host.words()
    problems = Problems()

    def differs(option: str, wanted: Any, found: Any) -> None:
        problems.add(
            f"config: {given['name']}: {option} is {found!r} and cannot be changed to {wanted!r}; correct the option, "
            "or take the CA from the host by hand first (its certificates and CRLs end with it)"
        )

    if host.name is not None and host.name.casefold() != given["name"].casefold():
        problems.add(
            f"config: {given['name']}: the host has the CA {host.name!r}, and can have one only; name that one, or use another host"
        )
    for option in FIXED:
        if option not in given or option not in have:
            continue
        wanted, found = given[option], have[option]
        if option == "key":
            for part, value in wanted.items():
                if part in found and str(found[part]).casefold() != str(value).casefold():
                    differs(f"key: {part}", value, found[part])
        elif _meant(option, wanted) != _meant(option, found):
            differs(option, wanted, found)
    problems.raise_any()


def _meant(option: str, value: str) -> str:
    text = value.casefold()
    return ",".join(part.strip() for part in text.split(",")) if option == "distinguished_name_suffix" else text.rstrip("\\")


# ---- installation


def install_problems(given: Words, known: Known, params: Mapping[str, Any]) -> None:
    """Raise `UserError` for what an installation would fail of, before anything is written."""
    host, problems = known.host, Problems()
    where = f"config: {given['name']}"
    if "type" not in given:
        problems.add(f"{where}: there is no CA on {host.fqdn}; say which type to install, such as enterprise_root")
    enterprise = given.get("type", "").startswith("enterprise")
    if enterprise and not host.in_domain:
        problems.add(f"{where}: type: {host.fqdn} is in no domain; an enterprise CA needs one, join the host first")
    if enterprise and not params.get("install_username"):
        problems.add(
            f"{where}: an enterprise CA is installed by an Enterprise Admin, and a WinRM logon has no rights on the domain controller; "
            "give install_username and install_password"
        )
    problems.raise_any()


def install_parameters(given: Words, host: State, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the script `adcs_install`."""
    kind = given["type"]
    key = given.get("key", {})
    parameters: dict[str, Any] = {
        "CAType": words.CMDLET_TYPES[kind],
        "CACommonName": given["name"],
        "CADistinguishedNameSuffix": given.get("distinguished_name_suffix"),
        "CryptoProviderName": _provider(key),
        "KeyLength": key.get("size"),
        "HashAlgorithmName": given.get("hash"),
        "DatabaseDirectory": given.get("database_path"),
        "LogDirectory": given.get("log_path"),
    }
    if "validity" in given:
        count, unit = words.period_parts(given["validity"])
        parameters |= {"ValidityPeriod": unit, "ValidityPeriodUnits": count}
    if kind.endswith("subordinate"):
        if params.get("parent_ca"):
            parameters["ParentCA"] = params["parent_ca"]
        else:
            file = "".join(letter if letter.isalnum() or letter in " -_." else "_" for letter in given["name"])
            parameters["OutputCertRequestFile"] = f"{host.system_root}\\System32\\CertSrv\\{host.fqdn}_{file}.req"
    if host.begun is not None and host.begun.casefold() == given["name"].casefold():
        parameters |= {"OverwriteExistingKey": True, "OverwriteExistingDatabase": True}
        if kind.startswith("enterprise"):
            parameters["OverwriteExistingCAinDS"] = True
    return parameters


def _provider(key: Words) -> str | None:
    """The provider as the cmdlet wants it: with the algorithm, where it is a key storage provider."""
    if not key:
        return None
    provider = key.get("provider", "Microsoft Software Key Storage Provider")
    if "key storage provider" not in provider.casefold():
        return str(provider)
    algorithm = key.get("algorithm", "RSA")
    return f"RSA#{provider}" if algorithm == "RSA" else f"ECDSA_P{key.get('size', 256)}#{provider}"


# ---- certificates


def fitting(found: Sequence[Certificate], request: Request, where: str) -> tuple[Certificate, list[Certificate]]:
    """The certificate that was issued for a request, and its parents. Raises `UserError`."""
    own = [one for one in found if _key(one) == request.public_key]
    if not own:
        names = "; ".join(map(str, found))
        raise UserError(
            f"{where}: no certificate there is for the key of the request {request.path}: {names}; "
            "have that request signed, and put the certificate there that comes back"
        )
    newest = max(own, key=lambda one: one.not_before)
    if not newest.is_ca:
        raise UserError(f"{where}: {newest} is no CA's certificate (basic constraints); have the request signed as a subordinate CA")
    return newest, [one for one in found if one not in own]


def came_back(known: Known) -> Sequence[Certificate] | None:
    """What `certificate_path` holds beyond the CA's own certificates; None where it still holds the answer to an earlier request."""
    found, request = known.local.certificates, known.host.request
    if found is None or request is None:
        return None
    own = {one.sha256 for one in known.host.certificates}
    fresh = [one for one in found if one.sha256 not in own]
    if len(fresh) < len(found) and not any(_key(one) == request.public_key for one in fresh):
        return None
    return fresh


def _key(certificate: Certificate) -> bytes:
    return attempt("certificate", lambda: public_key(x509.load_der_x509_certificate(certificate.der)))


def due(host: State, renewal: Mapping[str, Any] | None) -> bool:
    """Whether the CA's certificate is to be renewed now. Raises `UserError` for a window in which every new certificate would be due."""
    if not renewal or not host.certificates:
        return False
    last, window = host.certificates[-1], timedelta(days=renewal["days"])
    life = last.not_after - last.not_before
    if renewal["when"] == "before_expiry" and life <= window:
        raise UserError(
            f"{host.name}: renewal.days is {renewal['days']}, but the CA's certificate is valid for {life.days} days in all, so that "
            "every run would renew it; give fewer"
        )
    if host.pending:
        return False
    return bool(renewal["when"] == "now" or (renewal["when"] == "before_expiry" and last.not_after - host.now < window))


def unserved(known: Known) -> list[str]:
    """Names of `certenroll_files` that the host does not have, or has otherwise; a CRL never takes the place of a newer one."""
    here = {name: hashlib.sha256(content).hexdigest() for name, content in known.local.served.items()}
    outdated = overtaken(known)
    return [name for name, digest in here.items() if name not in outdated and known.host.served.get(name.casefold()) != digest]


def overtaken(known: Known) -> list[str]:
    """Names of CRLs in `certenroll_files` of which the host has a newer one."""
    there = {crl.file.casefold(): crl.this_update for crl in known.host.crls}
    lists = [name for name in known.local.served if name.casefold().endswith(".crl") and name.casefold() in there]
    return [name for name in lists if crl_dates(known.local.served[name])[0] < there[name.casefold()]]


# ---- warnings


def warnings(known: Known, params: Mapping[str, Any]) -> list[str]:
    """What the administrator should know, whatever else is done."""
    host = known.host
    found = []
    skew = host.now - known.here
    if abs(skew) > SKEW:
        found.append(
            f"{host.fqdn}: its clock is {_span(abs(skew))} {'ahead of' if skew > timedelta(0) else 'behind'} this machine's; "
            "certificates and CRLs may be not yet valid, or no longer"
        )
    if host.certificates:
        found += _expiry(host, params)
    found += [f"certenroll_files: {name}: the host has a newer CRL, which was kept; carry the newest one here" for name in overtaken(known)]
    newest: dict[str, Any] = {}
    for crl in host.crls:
        if crl.next_update is None:
            continue
        left = crl.next_update - host.now
        threshold = min(timedelta(hours=params["crl_warn_before"]), (crl.next_update - crl.this_update) / 4)
        if left <= timedelta(0):
            newest[crl.file] = (
                f"{host.name}: the CRL {crl.file} ended {_span(-left)} ago; publish a new one, logons by certificate may fail"
            )
        elif left < threshold:
            newest[crl.file] = f"{host.name}: the CRL {crl.file} ends in {_span(left)} and the next is not there; is the CA publishing?"
    return found + list(newest.values())


def _expiry(host: State, params: Mapping[str, Any]) -> list[str]:
    last = host.certificates[-1]
    left = last.not_after - host.now
    if left <= timedelta(0):
        return [f"{host.name}: the CA's certificate ended {_span(-left)} ago; renew it (renewal) and publish it"]
    if left < timedelta(days=params["warn_before"]):
        return [f"{host.name}: the CA's certificate ends in {_span(left)}; renew it in time (renewal)"]
    return []


def choices(given: Words) -> list[str]:
    """Warnings about what was asked for."""
    found = []
    where = f"config: {given['name']}"
    if "attribute_subject_alt_name2" in given.get("edit_flags", ()):
        found.append(f"{where}: edit_flags: with attribute_subject_alt_name2 whoever may enrol can be issued a certificate for anybody")
    if "interface_flags" in given and "enforce_encrypted_requests" not in given["interface_flags"]:
        found.append(f"{where}: interface_flags: without enforce_encrypted_requests enrolment over RPC can be relayed")
    if words.SID_EXTENSION in given.get("disabled_extensions", ()):
        found.append(f"{where}: disabled_extensions: without {words.SID_EXTENSION} certificates are not mapped strongly, and logons fail")
    return found


def _span(time: timedelta) -> str:
    hours = int(time.total_seconds() // 3600)
    if hours >= 48:
        return f"{hours // 24} days"
    return f"{hours} hours" if hours >= 2 else f"{int(time.total_seconds() // 60)} minutes"
