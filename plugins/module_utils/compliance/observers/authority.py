# SPDX-License-Identifier: GPL-3.0-or-later
"""A Windows certification authority as its host shows it: registry, rights, CRLs, web services. Facts only, no opinion."""

from __future__ import annotations

import base64
import binascii
import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ansible_collections.certlogon.core.plugins.module_utils.adcs import authority_words, crl_state, restrictions
from ansible_collections.certlogon.core.plugins.module_utils.adcs.authority_state import State
from ansible_collections.certlogon.core.plugins.module_utils.adcs.crl_state import CrlState
from ansible_collections.certlogon.core.plugins.module_utils.adcs.powershell import HostResource, PowerShellSession
from ansible_collections.certlogon.core.plugins.module_utils.adcs.web_enrollment_state import Held, Host
from ansible_collections.certlogon.core.plugins.module_utils.adcs.web_enrollment_state import parse as parse_web
from ansible_collections.certlogon.core.plugins.module_utils.certificates import chains, description
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate, load, load_one
from ansible_collections.certlogon.core.plugins.module_utils.certificates.crl import signed_by
from ansible_collections.certlogon.core.plugins.module_utils.certificates.crl_source import http
from ansible_collections.certlogon.core.plugins.module_utils.compliance import read_only, seen
from ansible_collections.certlogon.core.plugins.module_utils.compliance.looking import Looking, attempted, left, now, reason
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Target, Unread
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers import issued
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Words

RIGHT = "a logon by WinRM to the CA host with the rights of its local Administrators"
VIEW = "the right Read, Manage CA or Issue and Manage Certificates on the CA"

FACTS = {
    "adcs_state": (
        *(
            "ca",
            "service",
            "edit_flags",
            "interface_flags",
            "disabled_extensions",
            "audit_filter",
            "request_disposition",
            "validity",
            "crl",
        ),
        *("places", "key", "hash", "rights", "restrictions", "certificates", "waits", "aia"),
    ),
    "adcs_crl_state": ("crls",),
    "web_enrollment_state": ("web_enrollment",),
    "adcs_audit": ("windows", "yubihsm", "web", "backups"),
}
"""The scripts, and the facts that come from each."""

NEXT_PUBLISH = "1.3.6.1.4.1.311.21.4"
"""szOID_CRL_NEXT_PUBLISH: when the CA means to publish the next one."""

Read = TypeVar("Read")


class AuthorityObservation(HostResource[Words], Looking[PowerShellSession]):
    """Reads; never writes anything but the observation's file."""

    extra = {
        "name": {"type": "str", "required": True},
        "account": {"type": "str", "default": ""},
        "parameters": {"type": "dict", "default": {}},
        "backup_path": {"type": "str", "default": ""},
        "timeout": {"type": "int", "default": 10},
        **issued.OPTIONS,
    }

    def read(self, session: PowerShellSession, params: Mapping[str, Any]) -> Words:
        observation = Observation(Target("certification_authority", params["name"]), now(), account=params["account"])
        look(session, params, observation)
        observation.ended = now()
        return left(params["folder"], observation)


def look(session: PowerShellSession, params: Mapping[str, Any], observation: Observation) -> None:
    """All that the host says, in one round a script; what one of them cannot read is unread, and the others go on."""
    asked = read_only.Asked(observation.asked)
    host = read_only.powershell(session, asked)

    def script(name: str, parse: Callable[[Mapping[str, Any]], Read], right: str, **parameters: Any) -> Read | None:
        try:
            return parse(host.run(name, parameters, doing=f"reading {params['name']}"))
        except UserError as error:
            for fact in FACTS[name]:
                observation.set(fact, Unread(reason(error), right))
            return None

    state = script("adcs_state", _configured, RIGHT)
    if state is not None:
        observation.servers = [state.host.fqdn]
        _of_state(state, observation)
        _aia(state.host, observation, asked, params["timeout"])
    crls = script("adcs_crl_state", CrlState.parse, VIEW)
    if crls is not None:
        _of_crls(crls, observation)
        _cdps(state.host.certificates if state else (), crls, observation)
    web = script("web_enrollment_state", lambda answer: WebAnswer(parse_web(answer, _moment()), answer), RIGHT)
    if web is not None:
        _of_web_enrollment(web, state.host.certificates if state else (), observation)
    audit = script("adcs_audit", dict, RIGHT, BackupPath=params["backup_path"])
    if audit is not None:
        _of_audit(audit, params, observation)
    if params["issued"]:
        issued.observe(host, params, observation)
    else:
        # nobody asked for it: no judgement, not an unknown one
        observation.set(issued.STREAM, None)
    session.rounds += host.rounds


@dataclass(frozen=True)
class StateAnswer:
    """The CA's state, and the service as the host has it, which the typed state leaves out."""

    host: State
    service: Mapping[str, Any]


@dataclass(frozen=True)
class WebAnswer:
    """The web enrolment's state, and the script's own table, which has the certificates whole."""

    host: Host
    answer: Mapping[str, Any]


def _configured(answer: Mapping[str, Any]) -> StateAnswer:
    state = State.parse(answer)
    if not state.configured:
        raise UserError("no certification authority is configured on this host; install one with certlogon.core.adcs_authority")
    return StateAnswer(state, answer["service"] or {})


# ---- registry


def _of_state(answer: StateAnswer, observation: Observation) -> None:
    state, service = answer.host, answer.service
    why: Unread | None = None
    try:
        words = state.words()
    except UserError as error:  # one odd value; what does not rest on it is told all the same
        words, why = {}, Unread(reason(error))
    observation.set(
        "ca",
        {
            "name": state.name,
            "config": state.config_string,
            "fqdn": state.fqdn,
            "type": words.get("type"),
            "root": state.is_root,
            "enterprise": state.is_enterprise,
            "policy_module": state.policy_module,
        },
    )
    observation.set("service", {"status": service.get("status", ""), "start_type": service.get("start_type", "")})
    _value(observation, "edit_flags", state.policy, "EditFlags", lambda value: _flags(value, authority_words.EDIT))
    _value(observation, "interface_flags", state.ca, "InterfaceFlags", lambda value: _flags(value, authority_words.INTERFACE))
    # without the value nothing is disabled; without the policy module's key nobody knows
    extensions = list(state.policy.get("DisableExtensionList") or ())
    observation.set(
        "disabled_extensions", extensions if state.policy else Unread("the registry has no values of the active policy module", RIGHT)
    )
    _value(observation, "audit_filter", state.ca, "AuditFilter", lambda value: _flags(value, authority_words.AUDIT))
    _value(observation, "request_disposition", state.policy, "RequestDisposition", int)
    observation.set("validity", words.get("issued_validity") or why or Unread("the registry has no ValidityPeriod that can be understood"))
    observation.set("crl", why or {name: words.get(f"crl_{name}") for name in ("period", "overlap", "delta_period", "delta_overlap")})
    observation.set("places", why or {"cdp": words["cdp"], "aia": words["aia"]})
    observation.set(
        "key", {"provider": state.csp.get("Provider")} if state.csp.get("Provider") else Unread("the registry names no provider")
    )
    observation.set("hash", words.get("hash") or why or Unread("the registry names no hash algorithm"))
    attempted(observation, "rights", lambda: _rights(state))
    attempted(observation, "restrictions", lambda: _restrictions(state))
    observation.set("waits", state.pending)
    observation.set("certificates", [_words(certificate) for certificate in state.certificates])
    own = chains.parsed(state.certificates)
    for parsed in own:
        issuer = next((one for one in own if chains.issued_by(parsed, one)), None)
        use = seen.ROOT if chains.self_issued(parsed) else seen.CA
        observation.certificates.append(seen.certificate(parsed, use, observation.target.name))
        observation.cdps += seen.cdps(parsed, issuer, f"the certificate of {seen.common_name(parsed.subject)}")


def _value(observation: Observation, fact: str, table: Mapping[str, Any], name: str, words: Callable[[int], Any]) -> None:
    value = table.get(name)
    observation.set(fact, words(value) if isinstance(value, int) else Unread(f"the registry has no number {name} where it is kept"))


def _flags(value: int, table: authority_words.Table) -> dict[str, Any]:
    return {"value": value & 0xFFFFFFFF, "flags": authority_words.words(value, table)}


def _rights(state: State) -> list[dict[str, Any]] | Unread:
    if not isinstance(state.ca.get("Security"), bytes):
        return Unread("the registry has no security descriptor of the CA")
    return [
        {
            "sid": sid,
            "principal": state.principal(sid),
            "rights": [word for word, bit in authority_words.RIGHTS.items() if mask & bit],
        }
        for sid, mask in restrictions.rights(state.security).items()
    ]


def _restrictions(state: State) -> dict[str, Any]:
    return {
        kind: None if state.ca.get(value) is None else state.restricted(value, who, whom)
        for kind, value, who, whom in (
            ("officers", "OfficerRights", "officer", "requesters"),
            ("agents", "EnrollmentAgentRights", "agent", "subjects"),
        )
    }


def _words(certificate: Certificate) -> dict[str, Any]:
    return {
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "serial": f"{certificate.serial:x}",
        "sha256": certificate.sha256,
        "not_before": description.time_text(certificate.not_before),
        "not_after": description.time_text(certificate.not_after),
        "key_type": certificate.key_type,
        "key_bits": certificate.key_bits,
        "signature_hash": certificate.signature_hash,
        "self_signed": certificate.self_signed,
    }


def _aia(state: State, observation: Observation, asked: read_only.Asked, timeout: int) -> None:
    """What is served where certificates say that the CA's certificate is."""
    found = []
    answer = _variables(state)
    for place in state.ca.get("CACertPublicationURLs", ()):
        flags, _colon, text = str(place).partition(":")
        flag = authority_words.AIA["include_in_certificates"]
        if not (flags.strip().isdecimal() and int(flags) & flag) or not text.casefold().startswith("http:"):
            continue
        url = crl_state.expand(text, answer, 0, delta=False)
        asked.ask("http", "GET")
        entry: dict[str, Any] = {"url": url, "sha256": [], "error": ""}
        try:
            entry["sha256"] = [one.sha256 for one in load(http(url, timeout, limit=1 << 20))]
        except UserError as error:
            entry["error"] = reason(error).replace("publish the CRL there (adcs_crl)", "publish the CA's certificate there")
        found.append(entry)
    observation.set("aia", found)


def _variables(state: State) -> dict[str, Any]:
    """What `crl_state.expand` puts for the variables."""
    return {
        "server": state.ca.get("CAServerName") or state.fqdn,
        "active": state.active,
        "configuration_dn": state.ca.get("DSConfigDN"),
    }


# ---- CRLs


def _of_crls(crls: CrlState, observation: Observation) -> None:
    observation.set(
        "crls",
        [
            {
                "name": one.name,
                "kind": one.kind,
                "index": one.index,
                "issuer": one.crl.issuer,
                "number": one.crl.number,
                "sha256": one.crl.sha256,
                "this_update": description.time_text(one.crl.this_update),
                "next_update": description.time_text(one.crl.next_update) if one.crl.next_update else None,
                "next_publish": _next_publish(one.crl.parsed),
                "revoked": one.crl.revoked,
                "urls": list(one.urls),
            }
            for one in crls.lists
        ],
    )


def _next_publish(parsed: Any) -> str | None:
    """The extension's content is a Time (RFC 5280 4.1.2.5)."""
    content = description.raw_extension(parsed, NEXT_PUBLISH) or b""
    form = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}.get(content[0] if content else 0)
    if form is None:
        return None
    try:
        return datetime.datetime.strptime(content[2:].decode("ascii"), form).strftime("%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return None


def _cdps(authorities: Sequence[Certificate], crls: CrlState, observation: Observation) -> None:
    """Where clients look for the CRLs of each key; the newest certificate with the key is the issuer. The base CRL tells its deltas."""
    issuers = chains.parsed(authorities)
    for one in (one for one in crls.lists if one.kind == crl_state.BASE):
        issuer = next((ca for ca in reversed(issuers) if signed_by(one.crl, ca)), None)
        pem = seen.pem([issuer]) if issuer is not None else ""
        observation.cdps += [{"url": url, "issuer": pem, "used_by": f"{crls.common_name} ({one.name})"} for url in one.urls]


# ---- the web


def _of_web_enrollment(web: WebAnswer, authorities: Sequence[Certificate], observation: Observation) -> None:
    host = web.host
    if host.bound:
        issuers = chains.parsed(authorities)
        for entry in _listed(web.answer["certificates"]):
            try:
                certificate = load_one(base64.b64decode(entry["der"]))
            except (FormatError, binascii.Error):
                continue  # others' certificates in the store may be as odd as they like
            if certificate.thumbprint == host.bound.thumbprint:
                parsed = chains.parsed([certificate])[0]
                issuer = next((one for one in issuers if chains.issued_by(parsed, one)), None)
                template = host.bound.template or ""
                observation.certificates.append(seen.certificate(parsed, seen.WEB, observation.target.name, template=template))
                observation.cdps += seen.cdps(parsed, issuer, f"web enrollment of {host.fqdn}")
                break
    observation.set(
        "web_enrollment",
        {
            "configured": host.configured,
            "fqdn": host.fqdn,
            "clock_seconds": round(host.skew.total_seconds()),
            "certificate": _held(host.bound) if host.bound else None,
            "crl_over_tls_only": host.certenroll_requires_ssl,
            "double_escaping": host.double_escaping,
        },
    )


def _held(held: Held) -> dict[str, Any]:
    return {
        "thumbprint": held.thumbprint,
        "issuer": held.issuer,
        "names": sorted(held.names),
        "not_before": description.time_text(held.not_before),
        "not_after": description.time_text(held.not_after),
    }


def _of_audit(audit: Mapping[str, Any], params: Mapping[str, Any], observation: Observation) -> None:
    observation.set("windows", audit["windows"])
    observation.set("yubihsm", audit["yubihsm"])
    web = audit["web"]
    if web["installed"] and not web["readable"]:
        observation.set(
            "web", Unread("IIS is there without its scripting tools (feature Web-Scripting-Tools), so its settings cannot be read")
        )
    else:
        observation.set("web", [endpoint for site in _listed(web["sites"]) for endpoint in _endpoints(site)])
    if params["backup_path"]:
        observation.set("backups", [{"path": one["path"], "written": _second(one["written"])} for one in _listed(audit["backups"])])
    else:
        observation.set(
            "backups",
            Unread("Windows does not say when a CA's key was backed up; name the folder of the backups in certlogon_authority_backup"),
        )


def _endpoints(site: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The site's applications, each with the schemes by which it is reached."""
    schemes = sorted({one["protocol"] for one in _listed(site["bindings"]) if one["protocol"] in ("http", "https")})
    return [
        {
            "site": site["name"],
            "path": one["path"],
            "schemes": schemes,
            "require_ssl": "Ssl" in str(one["ssl_flags"]).replace(" ", "").split(",") or bool(_number(one["ssl_flags"]) & 0x8),
            "windows": _truth(one["windows"]),
            "basic": _truth(one["basic"]),
            "token_checking": _token_checking(one["token_checking"]),
            "providers": [str(name) for name in _listed(one["providers"])],
        }
        for one in _listed(site["applications"])
    ]


def _token_checking(value: Any) -> str:
    return ("None", "Allow", "Require")[int(value)] if str(value) in ("0", "1", "2") else str(value)


def _number(value: Any) -> int:
    return int(value) if str(value).isdecimal() else 0


def _truth(value: Any) -> bool:
    return value if isinstance(value, bool) else str(value).casefold() == "true"


def _listed(value: Any) -> Sequence[Any]:
    """PowerShell makes one of a list of one, and nothing of an empty one."""
    return [] if value is None else value if isinstance(value, (list, tuple)) else [value]


def _second(text: str) -> str:
    """PowerShell's round-trip time, without the parts of a second."""
    return f"{text.partition('.')[0].rstrip('Z')}Z"


def _moment() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
