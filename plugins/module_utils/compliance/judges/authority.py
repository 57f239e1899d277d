# SPDX-License-Identifier: GPL-3.0-or-later
"""How a Windows certification authority is set, and what it serves (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.adcs import authority_words
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import WEAK_HASHES
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts, Verdict, failed, passed, unknown
from ansible_collections.certlogon.core.plugins.module_utils.directory.exposure import is_anybody
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import Sid
from ansible_collections.certlogon.core.plugins.module_utils.directory.template_weaknesses import AGENT, is_any_purpose, purposes
from ansible_collections.certlogon.core.plugins.module_utils.directory.template_words import parse_period
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

Parameters = Mapping[str, Any]
Verdicts = Iterator[Verdict]

SAN_BY_REQUEST = "attribute_subject_alt_name2"
ENCRYPTED = "enforce_encrypted_requests"

PATCHED = {14393: 5427, 17763: 3532, 20348: 1129}
"""Of Windows' builds, the first revision that asks for encrypted requests whatever the flag says (CVE-2022-37976, October 2022)."""
FIRST_PATCHED_BUILD = 20349
"""Builds from here on came after it."""

REQUEST_DISPOSITIONS = {0: "pending", 1: "issue", 2: "deny"}
PENDING_FIRST = 0x100

HOURS = {"minute": 1 / 60, "hour": 1.0, "day": 24.0, "week": 168.0, "month": 30 * 24.0, "year": 365 * 24.0}

TICKS_OF_AN_HOUR = 36_000_000_000
SOFTWARE_PROVIDERS = ("microsoft ",)
YUBIHSM_PROVIDER = "yubihsm"


def _name(facts: Facts) -> str:
    return f"CA {facts['ca']['name']}"


# ---- all there are


def looked_at(facts: Facts, _parameters: Parameters) -> Verdicts:
    """For each CA that the directory offers, whether its host was looked at; and whether the directory offers each that was."""
    seen = {str(other["ca"]["name"]).casefold(): other for other in facts.others("certification_authority") if other.read("ca")}
    offered = {str(one["name"]).casefold(): one for one in facts["enrollment_services"]}
    for name, one in offered.items():
        evidence = {"dNSHostName": one["host"], "certificateTemplates": len(one["templates"])}
        if name in seen:
            yield passed(f"CA {one['name']}", **evidence)
        else:
            yield unknown(
                f"CA {one['name']}",
                f"nothing is known of its host {one['host']}: it is not in the inventory, or did not answer",
                **evidence,
            )
    ending = f".{facts['domain']['dns']}".casefold()
    for name, other in seen.items():
        if name not in offered and other["ca"]["enterprise"] and str(other["ca"]["fqdn"]).casefold().endswith(ending):
            yield failed(
                f"CA {other['ca']['name']}", "The directory does not offer this enterprise CA, so nobody finds it", host=other["ca"]["fqdn"]
            )


# ---- who may what


def alternative_names_by_request(facts: Facts, _parameters: Parameters) -> Verdicts:
    """ESC6."""
    flags = facts["edit_flags"]
    if SAN_BY_REQUEST in flags["flags"]:
        yield failed(
            _name(facts),
            "Whoever may enroll for any template can name another account in the request (EDITF_ATTRIBUTESUBJECTALTNAME2)",
            EditFlags=f"0x{flags['value']:x}",
        )
    else:
        yield passed(_name(facts), EditFlags=f"0x{flags['value']:x}")


def managers(facts: Facts, parameters: Parameters) -> Verdicts:
    """ESC7: one verdict for each principal that manages."""
    also = {str(name).casefold() for name in parameters["unprivileged"]}
    restricted = {entry["officer"] for entry in facts["restrictions"]["officers"] or ()}
    for entry in facts["rights"]:
        rights = [right for right in entry["rights"] if right in ("manage_ca", "manage_certificates")]
        if not rights:
            continue
        subject = f"{_name(facts)}: {entry['principal']}"
        evidence = {"sid": entry["sid"], "rights": rights, "restricted_officer": entry["principal"] in restricted}
        named = {entry["sid"].casefold(), entry["principal"].casefold()} & also
        why = "is named as unprivileged" if named else _anybody(facts, entry["sid"])
        if why:
            what = "change every setting of the CA" if "manage_ca" in rights else "issue what was denied"
            yield failed(subject, f"{entry['principal']} {why} and can {what} ({', '.join(rights)})", **evidence)
        else:
            yield passed(subject, **evidence)


def _anybody(facts: Facts, sid: str) -> str:
    """Why the principal holds accounts without privileges; empty where it does not, as far as is known."""
    try:
        if bool(is_anybody(Sid.parse(sid))):
            return "holds accounts without privileges"
    except FormatError:
        return ""
    for domain in facts.others("domain"):
        if domain.read("anybody") and (through := domain["anybody"].get(sid)):
            return f"holds accounts without privileges ({through})"
    return ""


def agents_restricted(facts: Facts, _parameters: Parameters) -> Verdicts:
    """Whether enrollment agents may act for everybody; without a template for agents, there are none."""
    agents = facts["restrictions"]["agents"]
    open_to_all = [entry for entry in agents or () if entry["allow"] and "subjects" not in entry and "templates" not in entry]
    if agents is not None and not open_to_all:
        yield passed(_name(facts), EnrollmentAgentRights=agents)
        return
    templates = _agent_templates(facts)
    if templates is None:
        yield unknown(
            _name(facts),
            "enrollment agents are not restricted, and whether this CA publishes a template for agents is not known: "
            "the domain's templates were not read",
        )
    elif templates:
        yield failed(
            _name(facts),
            f"Whoever has a certificate of {', '.join(templates)} can enroll on behalf of everybody, for every template that takes agents",
            EnrollmentAgentRights=agents,
            templates=templates,
        )
    else:
        yield passed(_name(facts), "No template for enrollment agents is published", EnrollmentAgentRights=agents)


def _agent_templates(facts: Facts) -> list[str] | None:
    """The templates for enrollment agents that this CA publishes; None where its domain's were not read."""
    templates = _templates(facts)
    if templates is None:
        return None
    return [str(one["name"]) for one in templates if AGENT in purposes(one["words"]) or is_any_purpose(one["words"])]


def _templates(facts: Facts) -> list[Mapping[str, Any]] | None:
    """The templates that this CA publishes, as its domain has them."""
    if not facts["ca"]["enterprise"]:
        return []
    name = facts["ca"]["name"].casefold()
    for domain in facts.others("domain"):
        if not (domain.read("enrollment_services") and domain.read("templates")):
            continue
        service = next((one for one in domain["enrollment_services"] if one["name"].casefold() == name), None)
        if service is not None:
            published = {one.casefold() for one in service["templates"]}
            return [one for one in domain["templates"] if one["name"].casefold() in published]
    return None


# ---- requests


def encrypted_requests(facts: Facts, _parameters: Parameters) -> Verdicts:
    """ESC11."""
    flags = facts["interface_flags"]
    evidence: dict[str, Any] = {"InterfaceFlags": f"0x{flags['value']:x}"}
    if facts.read("windows"):
        evidence["windows"] = "{name} {build}.{revision}".format(**facts["windows"])
    if ENCRYPTED in flags["flags"]:
        yield passed(_name(facts), **evidence)
        return
    patched = _patched(facts)
    if patched:
        after = "; this Windows has the update for CVE-2022-37976 and asks for encryption all the same, which other tools cannot see"
    elif patched is None:
        after = "; with the update for CVE-2022-37976 the CA asks for encryption all the same, but whether it is installed is not known"
    else:
        after = ", and the update for CVE-2022-37976, with which the CA would ask for encryption all the same, is not installed"
    yield failed(_name(facts), f"Requests by RPC need not be encrypted, so that a relayed sign-in gets a certificate{after}", **evidence)


def _patched(facts: Facts) -> bool | None:
    if not facts.read("windows"):
        return None
    try:
        build, revision = int(facts["windows"]["build"]), facts["windows"]["revision"]
    except (TypeError, ValueError):
        return None
    if build >= FIRST_PATCHED_BUILD:
        return True
    first = PATCHED.get(build)
    return None if first is None or revision is None else int(revision) >= first


def sid_extension(facts: Facts, _parameters: Parameters) -> Verdicts:
    """ESC16."""
    disabled = facts["disabled_extensions"]
    if authority_words.SID_EXTENSION in disabled:
        yield failed(
            _name(facts),
            "No certificate of this CA names the SID of its account, so domain controllers cannot bind it to the account",
            DisableExtensionList=disabled,
        )
    else:
        yield passed(_name(facts), DisableExtensionList=disabled)


def disposition(facts: Facts, _parameters: Parameters) -> Verdicts:
    """A stand-alone CA knows no templates: what it issues at once, anybody gets with any name."""
    value = facts["request_disposition"]
    does = REQUEST_DISPOSITIONS.get(value & 0xFF, "unknown")
    held = does == "pending" or bool(value & PENDING_FIRST)
    evidence = {"RequestDisposition": f"0x{value:x}", "type": facts["ca"]["type"]}
    if does == "deny":
        yield failed(_name(facts), "The CA denies every request", **evidence)
    elif does == "unknown":
        yield failed(_name(facts), "The CA's policy module does with requests what is not documented", **evidence)
    elif held == facts["ca"]["enterprise"]:
        kind = (
            "An enterprise CA holds every request back until somebody issues it, whatever the template says; certificates are not renewed"
        )
        yield failed(
            _name(facts), kind if held else "A stand-alone CA issues every request at once, with the names that it asks for", **evidence
        )
    else:
        yield passed(_name(facts), **evidence)


def audited(facts: Facts, _parameters: Parameters) -> Verdicts:
    found = facts["audit_filter"]
    missing = [word for word in authority_words.AUDIT if word not in found["flags"]]
    if missing:
        yield failed(_name(facts), f"The security log does not tell of {', '.join(missing)}", AuditFilter=found["value"], missing=missing)
    else:
        yield passed(_name(facts), AuditFilter=found["value"])


# ---- the web


def relay(facts: Facts, _parameters: Parameters) -> Verdicts:
    """ESC8: one verdict for each web service that issues certificates to whoever signs in there."""
    for endpoint in _enrolling(facts["web"]):
        subject = f"{facts['ca']['fqdn']}{endpoint['path']}"
        reasons = list(_relayable(endpoint))
        evidence = {
            name: endpoint[name]
            for name in ("site", "schemes", "require_ssl", "windows", "token_checking", "providers")
            if name in endpoint
        }
        if reasons:
            yield failed(subject, f"A sign-in that is relayed here gets a certificate: {' and '.join(reasons)}", **evidence)
        else:
            yield passed(subject, **evidence)


def _enrolling(endpoints: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Web enrolment, the enrolment web services (CES) and NDES's administration; not the policy service, which issues nothing."""
    return [one for one in endpoints if _issues(one["path"].casefold().strip("/"))]


def _issues(path: str) -> bool:
    return path in ("certsrv", "certsrv/mscep_admin") or "_ces_" in path


def _relayable(endpoint: Mapping[str, Any]) -> Iterator[str]:
    if not endpoint["windows"]:
        return
    if "http" in endpoint["schemes"] and not endpoint["require_ssl"]:
        yield "it takes Windows authentication over plain HTTP (require SSL is off)"
    elif endpoint["token_checking"] == "Allow":
        yield "extended protection is only asked of clients that have it"
    elif endpoint["token_checking"] != "Require":
        yield "extended protection is off"


def passwords_in_clear(facts: Facts, _parameters: Parameters) -> Verdicts:
    for endpoint in facts["web"]:
        if not endpoint["basic"]:
            continue
        subject = f"{facts['ca']['fqdn']}{endpoint['path']}"
        evidence = {name: endpoint[name] for name in ("schemes", "require_ssl", "basic")}
        if "http" in endpoint["schemes"] and not endpoint["require_ssl"]:
            yield failed(subject, "Passwords come over plain HTTP", **evidence)
        else:
            yield passed(subject, **evidence)


def web_certificate(facts: Facts, parameters: Parameters) -> Verdicts:
    web = facts["web_enrollment"]
    if not web["configured"]:
        return
    subject = f"web enrollment of {web['fqdn']}"
    held = web["certificate"]
    if held is None:
        yield failed(subject, "No certificate is bound to port 443, so nobody enrolls by HTTPS")
        return
    days = (_time(held["not_after"]) - facts.now).days
    evidence = {**held, "days_left": days}
    if days < 0:
        yield failed(subject, f"Its certificate expired on {held['not_after'][:10]}", **evidence)
    elif days < parameters["days_left"]:
        yield failed(subject, f"Its certificate ends in {days} days", **evidence)
    elif web["fqdn"].casefold() not in held["names"]:
        yield failed(subject, f"Its certificate does not name {web['fqdn']}", **evidence)
    else:
        yield passed(subject, **evidence)


# ---- key and certificate


def key_storage(facts: Facts, _parameters: Parameters) -> Verdicts:
    """ESC12."""
    provider = facts["key"]["provider"]
    evidence: dict[str, Any] = {"provider": provider}
    # what comes before the # is the algorithm
    if provider.rpartition("#")[2].casefold().startswith(SOFTWARE_PROVIDERS):
        yield passed(_name(facts), "The key is kept by Windows itself", **evidence)
    elif YUBIHSM_PROVIDER in provider.casefold():
        evidence["AuthKeysetPassword"] = "there is one" if facts["yubihsm"]["password"] else "there is none"
        if facts["yubihsm"]["password"]:
            yield failed(
                _name(facts),
                "Whoever has a shell on the host reads the YubiHSM's password in its registry and signs with the CA's key",
                **evidence,
            )
        else:
            yield passed(_name(facts), **evidence)
    else:
        yield unknown(
            _name(facts),
            f"where {provider} keeps what unlocks the key on this host is not known here; see its maker's documentation",
            **evidence,
        )


def key_strength(facts: Facts, parameters: Parameters) -> Verdicts:
    for certificate in _in_force(facts):
        least = {"rsa": parameters["rsa_bits"], "ec": parameters["ec_bits"]}.get(certificate["key_type"])
        evidence = {name: certificate[name] for name in ("key_type", "key_bits", "serial", "not_after")}
        if least is None:
            yield unknown(_subject(certificate), f"the strength of {certificate['key_type']} keys is not known here", **evidence)
        elif certificate["key_bits"] < least:
            yield failed(
                _subject(certificate),
                f"The CA's {certificate['key_type'].upper()} key has {certificate['key_bits']} bits, less than {least}",
                **evidence,
            )
        else:
            yield passed(_subject(certificate), **evidence)


def hash_algorithm(facts: Facts, _parameters: Parameters) -> Verdicts:
    """The hash that the CA signs with, and that under its own certificates; a root's own signature protects nothing."""
    used = facts["hash"]
    if used.replace("-", "").casefold() in WEAK_HASHES:
        yield failed(_name(facts), f"Certificates and CRLs are signed with {used}", CNGHashAlgorithm=used)
    else:
        yield passed(_name(facts), CNGHashAlgorithm=used)
    for certificate in _in_force(facts):
        if certificate["self_signed"]:
            continue
        evidence = {"signature_hash": certificate["signature_hash"], "serial": certificate["serial"]}
        if certificate["signature_hash"] in WEAK_HASHES:
            yield failed(_subject(certificate), f"The CA's certificate is signed with {certificate['signature_hash'].upper()}", **evidence)
        else:
            yield passed(_subject(certificate), **evidence)


def days_left(facts: Facts, parameters: Parameters) -> Verdicts:
    """Of the newest certificate; older ones serve what was issued under them."""
    certificate = _newest(facts)
    if certificate is None:
        return
    days = (_time(certificate["not_after"]) - facts.now).days
    evidence = {"not_after": certificate["not_after"], "serial": certificate["serial"], "days_left": days}
    if days < 0:
        yield failed(_subject(certificate), f"The CA's certificate expired on {certificate['not_after'][:10]}", **evidence)
    elif days < parameters["days_left"]:
        yield failed(_subject(certificate), f"The CA's certificate ends in {days} days, on {certificate['not_after'][:10]}", **evidence)
    else:
        yield passed(_subject(certificate), **evidence)


def outlives(facts: Facts, _parameters: Parameters) -> Verdicts:
    """A CA cuts what it issues at the end of its own certificate."""
    certificate = _newest(facts)
    if certificate is None:
        return
    longest, because = _hours(facts["validity"]) or 0.0, "ValidityPeriod"
    of_templates = [(_template_hours(one["words"].get("validity")), str(one["name"])) for one in _templates(facts) or ()]
    if of_templates and max(of_templates)[0] < longest:
        longest, because = max(of_templates)
    left = (_time(certificate["not_after"]) - facts.now).total_seconds() / 3600
    evidence = {"not_after": certificate["not_after"], "days_left": int(left // 24), "longest_days": int(longest // 24), "longest": because}
    if left < longest:
        yield failed(
            _subject(certificate),
            f"What is issued now ends with the CA's own certificate on {certificate['not_after'][:10]}, "
            f"before the {longest / 24:.0f} days that it may last ({because})",
            **evidence,
        )
    else:
        yield passed(_subject(certificate), **evidence)


def validity(facts: Facts, parameters: Parameters) -> Verdicts:
    period = facts["validity"]
    hours = _hours(period) or 0.0
    evidence = {"ValidityPeriod": period}
    if hours <= 0:
        yield failed(_name(facts), f"Certificates last {period}", **evidence)
    elif hours > parameters["days_most"] * 24 and not facts["ca"]["root"]:
        yield failed(_name(facts), f"Certificates may last {period}, longer than {parameters['days_most']} days", **evidence)
    else:
        yield passed(_name(facts), **evidence)


def _newest(facts: Facts) -> Mapping[str, Any] | None:
    certificates: Sequence[Mapping[str, Any]] = facts["certificates"]
    return max(certificates, key=lambda one: str(one["not_after"]), default=None)


def _in_force(facts: Facts) -> list[Mapping[str, Any]]:
    return [one for one in facts["certificates"] if _time(one["not_after"]) > facts.now]


def _subject(certificate: Mapping[str, Any]) -> str:
    return f"certificate {certificate['serial']} of {certificate['subject']}"


# ---- CRLs


def crl_periods(facts: Facts, parameters: Parameters) -> Verdicts:
    periods = facts["crl"]
    base, delta = _hours(periods["period"]), _hours(periods["delta_period"])
    days_most = parameters["root_days_most" if facts["ca"]["root"] else "days_most"]
    evidence = {"period": periods["period"], "delta_period": periods["delta_period"]}
    if base is None:
        yield unknown(_name(facts), "the registry has no period of CRLs that can be understood", **evidence)
    elif base <= 0:
        yield failed(_name(facts), "The CA publishes no CRL by itself (CRLPeriodUnits is 0)", **evidence)
    elif base > days_most * 24:
        yield failed(_name(facts), f"A CRL lasts {periods['period']}, and what is revoked may be taken so long", **evidence)
    elif delta and delta >= base:
        yield failed(_name(facts), f"Delta CRLs last {periods['delta_period']}, no shorter than the base CRL, and help nobody", **evidence)
    else:
        yield passed(_name(facts), **evidence)


def crl_overlap(facts: Facts, parameters: Parameters) -> Verdicts:
    """How long a CRL outlives the moment at which the next is due; without a setting a tenth of the period, at most 12 hours."""
    periods = facts["crl"]
    base = _hours(periods["period"])
    if not base:
        yield unknown(_name(facts), "the registry has no period of CRLs that can be understood", **periods)
        return
    overlap = min(_hours(periods["overlap"]) or min(base / 10, 12.0), base)
    evidence = {"period": periods["period"], "overlap": periods["overlap"], "overlap_hours": round(overlap, 1)}
    if overlap < parameters["overlap_hours"]:
        yield failed(
            _name(facts),
            f"When one publication fails, the CRL ends {overlap:.1f} hours later, and with it every logon by a certificate",
            **evidence,
        )
    else:
        yield passed(_name(facts), **evidence)


def crl_newest(facts: Facts, parameters: Parameters) -> Verdicts:
    """What the CA has published last, by itself; what clients find is judged of the distribution points."""
    found = facts["crls"]
    if not any(one["kind"] == "base" for one in found):
        yield failed(_name(facts), "The CA has published no CRL")
    for one in found:
        subject = f"{_name(facts)}: {one['name']}"
        evidence = {name: one[name] for name in ("number", "this_update", "next_update", "next_publish")}
        if one["next_update"] is None:
            yield failed(subject, "The CRL has no end, so nobody notices when no more come", **evidence)
            continue
        hours = (_time(one["next_update"]) - facts.now).total_seconds() / 3600
        evidence["hours_left"] = round(hours, 1)
        overdue = one["next_publish"] and facts.now - _time(one["next_publish"]) > timedelta(hours=parameters["grace_hours"])
        if hours <= 0:
            yield failed(subject, f"The CA's newest CRL ended on {one['next_update']}", **evidence)
        elif overdue:
            yield failed(
                subject,
                f"The next CRL was due on {one['next_publish']} and was not published; this one ends in {hours:.0f} hours",
                **evidence,
            )
        elif _time(one["this_update"]) > facts.now:
            yield failed(
                subject, f"The CA's newest CRL begins in the future, on {one['this_update']}; is the host's clock right?", **evidence
            )
        else:
            yield passed(subject, **evidence)


def double_escaping(facts: Facts, _parameters: Parameters) -> Verdicts:
    """IIS refuses names with a plus sign, which delta CRLs have, unless it is told."""
    web, host = facts["web_enrollment"], facts["ca"]["fqdn"].casefold()
    deltas: list[str] = [
        url
        for one in facts["crls"]
        if one["kind"] == "delta"
        for url in one["urls"]
        if url.casefold().startswith(f"http://{host}/certenroll")
    ]
    if not web["configured"] or not deltas:
        return
    if web["double_escaping"]:
        yield passed(_name(facts), urls=deltas)
    else:
        yield failed(
            _name(facts), "IIS refuses the names of delta CRLs, for they have a plus sign (allowDoubleEscaping is off)", urls=deltas
        )


# ---- places


def cdp_by_http(facts: Facts, _parameters: Parameters) -> Verdicts:
    yield _by_http(facts, "cdp", "CRLs")


def aia_by_http(facts: Facts, _parameters: Parameters) -> Verdicts:
    yield _by_http(facts, "aia", "the CA's certificate")


def _by_http(facts: Facts, kind: str, what: str) -> Verdict:
    named = [one["url"] for one in facts["places"][kind] if "include_in_certificates" in one["flags"]]
    plain = [url for url in named if url.casefold().startswith("http://")]
    odd = [url for url in named if url.casefold().startswith(("https://", "file:", "\\\\"))]
    evidence: dict[str, Any] = {"include_in_certificates": named}
    if not named:
        return failed(_name(facts), f"Certificates do not say where to find {what}", **evidence)
    if not plain:
        return failed(
            _name(facts),
            f"Certificates name no HTTP address of {what}; what is no member of the domain, as a VPN gateway, finds none",
            **evidence,
        )
    if odd:
        return failed(
            _name(facts),
            f"Certificates name {odd[0]}, which clients do not ask: a check of TLS would need the very CRL, and files are asked of nobody",
            **evidence,
        )
    return passed(_name(facts), **evidence)


def published_where_named(facts: Facts, _parameters: Parameters) -> Verdicts:
    """What certificates say of the directory, the CA has to put there."""
    deltas = _hours(facts["crl"]["delta_period"])
    for kind, needed in (("cdp", "publish_base"), ("aia", "publish")):
        for one in facts["places"][kind]:
            if not one["url"].casefold().startswith("ldap:") or not {"include_in_certificates", "include_freshest"} & set(one["flags"]):
                continue
            missing = [needed] if needed not in one["flags"] else []
            if kind == "cdp" and deltas and "include_freshest" in one["flags"] and "publish_delta" not in one["flags"]:
                missing.append("publish_delta")
            subject = f"{_name(facts)}: {one['url']}"
            if missing:
                yield failed(
                    subject, f"Certificates name this place, but the CA does not publish there ({', '.join(missing)})", flags=one["flags"]
                )
            else:
                yield passed(subject, flags=one["flags"])


def aia_served(facts: Facts, _parameters: Parameters) -> Verdicts:
    own = {one["sha256"] for one in facts["certificates"]}
    for one in facts["aia"]:
        subject = f"{_name(facts)}: {one['url']}"
        if one["error"]:
            yield failed(subject, f"The CA's certificate is not to be had there: {one['error']}", **one)
        elif not own & set(one["sha256"]):
            yield failed(subject, "What is served there is no certificate of this CA", **one)
        else:
            yield passed(subject, **one)


# ---- running


def running(facts: Facts, _parameters: Parameters) -> Verdicts:
    service = facts["service"]
    if service["status"] != "Running":
        yield failed(_name(facts), "The service CertSvc does not run: nothing is issued, and no CRL is published", **service)
    elif service["start_type"] != "Automatic":
        yield failed(_name(facts), "The service CertSvc does not start with the host", **service)
    else:
        yield passed(_name(facts), **service)


def waiting(facts: Facts, _parameters: Parameters) -> Verdicts:
    if facts["waits"]:
        yield failed(_name(facts), "A request of the CA for its own certificate waits for the answer of its parent")
    else:
        yield passed(_name(facts))


def backed_up(facts: Facts, parameters: Parameters) -> Verdicts:
    backups = facts["backups"]
    newest = max((one["written"] for one in backups), default=None)
    if newest is None:
        yield failed(_name(facts), "There is no backup of the CA's key in the folder for it")
        return
    days = (facts.now - _time(newest)).days
    began = max((one["not_before"] for one in facts["certificates"]), default=newest)
    evidence = {"newest": newest, "days": days}
    if newest < began:
        yield failed(_name(facts), f"The newest backup of the CA's key is older than its certificate of {began[:10]}", **evidence)
    elif days > parameters["days_most"]:
        yield failed(_name(facts), f"The newest backup of the CA's key is {days} days old", **evidence)
    else:
        yield passed(_name(facts), **evidence)


# ---- figures


def _hours(period: str | None) -> float | None:
    """A period in words, such as `2 weeks`; None where there is none."""
    if not period:
        return None
    words = period.split()
    return sum(int(count) * HOURS[unit.rstrip("s")] for count, unit in zip(words[::2], words[1::2], strict=True))


def _template_hours(period: str | None) -> float:
    """A template's validity in the words of its options, such as `1y`; 0 where it has none that is one."""
    try:
        return -int.from_bytes(parse_period(period or ""), "little", signed=True) / TICKS_OF_AN_HOUR
    except FormatError:
        return 0.0


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
