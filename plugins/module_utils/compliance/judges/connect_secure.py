# SPDX-License-Identifier: GPL-3.0-or-later
"""What lets people in to a Connect Secure appliance, held against what the inventory declares (pure).

What an appliance shows stands in lines of the table of its interface, of which some are only inferred: `standing` in the evidence says how
sure they are. A member that an element does not have is unknown, not off: it may only have another name there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import cdp, chains
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import judge as judge_certificate
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import load, load_one
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judges import users_port
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judges.crls import moment
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import (
    Facts,
    Verdict,
    failed,
    passed,
    unknown,
)
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import (
    auth_servers,
    device_certificate_words,
    realms,
    sign_in_policies,
    user_name_template,
)
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.device_certificate_words import Device, wish
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.sign_in_guard import shadowed
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.trusted_client_ca_words import FREQUENCIES
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

Parameters = Mapping[str, Any]
Verdicts = Iterator[Verdict]
Words = Mapping[str, Any]

BY_CRL = ("crl", "ocsp_crl")
_SURENESS = ("confirmed", "seen", "overridden", "inferred")


def _declared(facts: Facts, part: str) -> list[Any]:
    """What the inventory declares of a part; empty where it says nothing of it."""
    found: list[Any] = facts["expected"].get(part) or []
    return found


def _broken(facts: Facts, part: str, kind: str) -> Verdicts:
    """Declared entries that their module would refuse."""
    for entry in _declared(facts, part):
        if "problem" in entry:
            yield unknown(f"{kind} {entry['name']}", f"What is declared cannot be taken: {entry['problem']}")


def _sound(facts: Facts, part: str) -> list[Any]:
    return [entry for entry in _declared(facts, part) if "problem" not in entry]


def _sure(facts: Facts, resource: str, *members: str) -> dict[str, Any]:
    """Evidence: how sure the lines of the table are that this was read by, the least sure counts; and whether a stand-in answered."""
    lines = facts["standings"].get(resource, {})
    standing = max((lines.get(member, "inferred") for member in ("", *members)), key=_SURENESS.index)
    stand_in = {"stand_in": facts["stand_in"]} if facts.read("stand_in") else {}
    return {"standing": standing, **stand_in}


# ---- the device certificate (C5)


def _devices(facts: Facts) -> list[Device]:
    """Those whose certificate can be read."""
    found = []
    for words in facts["device_certificates"]:
        if "pem" in words:
            certificate = load_one(words["pem"])
            (parsed,) = chains.parsed([certificate])
            ports = (tuple(words["internal_ports"]), tuple(words["external_ports"]), bool(words["management_port"]))
            found.append(Device(words["name"], certificate, parsed, *ports))
    return found


def _unreadable(facts: Facts, fact: str, kind: str) -> Verdicts:
    for words in facts[fact]:
        if "problem" in words:
            yield unknown(f"{kind} {words['name']}", f"It cannot be judged: {words['problem']}")


def _some_unreadable(facts: Facts, fact: str) -> bool:
    return any("problem" in words for words in facts[fact])


def device_certificates(facts: Facts, _parameters: Parameters) -> Verdicts:
    """Each declared one is there, for the right names, by the right CA, with the right key, at the right ports."""
    yield from _unreadable(facts, "device_certificates", "device certificate")
    devices = _devices(facts)
    for entry in _declared(facts, "device_certificates"):
        subject = f"device certificate {device_certificate_words.label(entry)}"
        if "problem" in entry:
            yield unknown(subject, f"What is declared cannot be read: {entry['problem']}")
        else:
            yield _device(subject, entry, devices, facts)


def _device(subject: str, entry: Words, devices: Sequence[Device], facts: Facts) -> Verdict:
    sure = _sure(facts, "device_certificate", "certificate", *device_certificate_words.PORTS)
    wanted = wish({name: value for name, value in entry.items() if name != "given_sha256"}, "", reading=False)
    given = entry.get("given_sha256")
    if given:
        found = next((one for one in devices if one.certificate.sha256 == given), None)
    else:
        found = device_certificate_words.choose(wanted, devices, facts.now)
    if found is None:
        there = [one.name for one in devices]
        if _some_unreadable(facts, "device_certificates"):
            return unknown(subject, "It may be one of those that cannot be read", there=there, **sure)
        return failed(subject, f"It is not on the appliance, which has {', '.join(there) or 'none'}", there=there, **sure)
    evidence: dict[str, Any] = {
        "sha256": found.certificate.sha256,
        "names": device_certificate_words.host_names(found.parsed),
        "ports": sorted(found.bound),
    }
    reasons = [] if given else device_certificate_words.faults(wanted, found.certificate, found.parsed, facts.now)
    told = [one.text for one in reasons if one.kind == "mismatch"]
    told += [f"does not serve {port}" for port in sorted(wanted.ports - found.bound)]
    if told:
        return failed(subject, f"It {'; and '.join(told)}", **evidence, **sure)
    return passed(subject, **evidence, **sure)


def _serving(facts: Facts) -> list[Device]:
    return [one for one in _devices(facts) if one.bound]


def days_left(facts: Facts, parameters: Parameters) -> Verdicts:
    """Of the certificates that serve a port."""
    yield from _unreadable(facts, "device_certificates", "device certificate")
    for device in _serving(facts):
        yield users_port.days_left(f"device certificate {device.name}", device.parsed, facts.now, parameters, ports=sorted(device.bound))


def strength(facts: Facts, _parameters: Parameters) -> Verdicts:
    yield from _unreadable(facts, "device_certificates", "device certificate")
    for device in _serving(facts):
        yield users_port.strength(f"device certificate {device.name}", device.certificate, facts.now)


def pending_requests(facts: Facts, _parameters: Parameters) -> Verdicts:
    """A request whose certificate is there already, or that nobody waits for, has a private key without an owner."""
    declared = [str(entry.get("common_name") or "").casefold() for entry in _declared(facts, "device_certificates")]
    there = {(one.certificate.common_name or "").casefold(): one for one in _devices(facts) if one.certificate.not_after > facts.now}
    sure = _sure(facts, "certificate_request", "subject")
    for words in facts["certificate_requests"]:
        subject = f"certificate request {words['name']}"
        found = re.search(r"\bCN\s*=\s*([^,/]+)", words["subject"])
        name = found[1].strip().casefold() if found else ""
        evidence = {"requested": words["subject"], **sure}
        if name and name in there:
            message = (
                f"It was forgotten: {there[name].name} is the certificate for {name}, until {there[name].certificate.not_after:%Y-%m-%d}"
            )
            yield failed(subject, message, **evidence)
        elif name and name in declared:
            yield passed(subject, "It waits for the certificate that is declared", **evidence)
        elif "device_certificates" in facts["expected"]:
            yield failed(subject, "Nobody has declared the certificate that it asks for", **evidence)
        else:
            yield unknown(subject, "Whether anybody waits for it is not known: no device certificates are declared", **evidence)


# ---- the users' port


def shown(facts: Facts, _parameters: Parameters) -> Verdicts:
    """The port shows one of the device certificates, for the name that users type."""
    mine = {one.certificate.sha256: one.name for one in _devices(facts)} if facts.read("device_certificates") else None
    yield from users_port.shown(facts["users_port"], mine)


def chain(facts: Facts, _parameters: Parameters) -> Verdicts:
    yield from users_port.chain(facts)


def tls_versions(facts: Facts, _parameters: Parameters) -> Verdicts:
    yield from users_port.tls_versions(facts)


# ---- trusted client CAs (C6)


def _authorities(facts: Facts) -> list[Words]:
    found: list[Words] = facts["trusted_client_cas"]
    return found


def _ca(words: Words) -> str:
    return f"trusted client CA {words['name']}"


def _find(facts: Facts, entry: Words) -> list[Words]:
    """The CAs of the appliance that a declared one means."""
    known = _authorities(facts)
    if entry.get("sha256"):
        return [one for one in known if one.get("sha256") == entry["sha256"]]
    if entry.get("subject"):
        return [one for one in known if str(one.get("subject", "")).casefold() == entry["subject"].casefold()]
    return [one for one in known if one["name"].casefold() == entry.get("name", "").casefold()]


def _setting(facts: Facts, words: Words, option: str) -> tuple[Any, Verdict | None]:
    """A setting of a CA, or the verdict that it is not known."""
    value = words["settings"].get(option)
    if value is None:
        evidence = _sure(facts, "trusted_client_ca", option)
        return None, unknown(_ca(words), f"The appliance does not show {option}, or has it under another name", **evidence)
    return value, None


def authorities_present(facts: Facts, _parameters: Parameters) -> Verdicts:
    yield from _unreadable(facts, "trusted_client_cas", "trusted client CA")
    for entry in _declared(facts, "trusted_client_cas"):
        if "problem" in entry:
            yield unknown(f"trusted client CA {entry['where']}", f"What is declared cannot be read: {entry['problem']}")
            continue
        label = entry.get("name") or entry.get("subject") or entry.get("sha256")
        found, evidence = _find(facts, entry), {"sha256": entry.get("sha256"), **_sure(facts, "trusted_client_ca", "certificate")}
        if not found and _some_unreadable(facts, "trusted_client_cas"):
            yield unknown(f"trusted client CA {label}", "It may be one of those whose certificate cannot be read", **evidence)
            continue
        if not found:
            yield failed(f"trusted client CA {label}", "It is not on the appliance, so that no card of it opens it", **evidence)
            continue
        reasons = [str(one) for words in found if "pem" in words for one in judge_certificate(load_one(words["pem"]), facts.now)]
        if reasons:
            yield failed(f"trusted client CA {label}", f"Its certificate {'; and '.join(reasons)}", **evidence)
        elif any("pem" in words for words in found):
            yield passed(f"trusted client CA {label}", **evidence)


def authorities_declared(facts: Facts, _parameters: Parameters) -> Verdicts:
    """Only declared CAs let anybody in."""
    if "trusted_client_cas" not in facts["expected"]:
        return
    declared = _declared(facts, "trusted_client_cas")
    broken = [entry["where"] for entry in declared if "problem" in entry]
    known = [words["name"] for entry in declared if "problem" not in entry for words in _find(facts, entry)]
    for words in _authorities(facts):
        trusted, verdict = _setting(facts, words, "trusted_for_client_authentication")
        evidence = {"sha256": words.get("sha256"), **_sure(facts, "trusted_client_ca", "trusted_for_client_authentication")}
        if words["name"] in known:
            yield passed(_ca(words), **evidence)
        elif verdict:
            yield verdict
        elif not trusted:
            yield passed(_ca(words), "It lets nobody in", **evidence)
        elif broken:
            yield unknown(_ca(words), f"Whether it is declared is not known: {', '.join(broken)} cannot be read", **evidence)
        else:
            yield failed(
                _ca(words),
                "It is trusted for client authentication and declared nowhere: whoever has a certificate of it gets in",
                **evidence,
            )


def in_ntauth(facts: Facts, _parameters: Parameters) -> Verdicts:
    """The CA of the cards is the one whose cards log on to the domain (C1)."""
    domains = facts.others("domain")
    if not domains:
        return
    stores = {fingerprint: one.target.name for one in domains for fingerprint in _ntauth(one)}
    for words in _authorities(facts):
        trusted, verdict = _setting(facts, words, "trusted_for_client_authentication")
        if verdict:
            yield verdict
        elif trusted and "sha256" in words:
            evidence = {"sha256": words["sha256"], "domains": sorted(one.target.name for one in domains)}
            if words["sha256"] in stores:
                yield passed(_ca(words), **evidence)
            else:
                yield failed(
                    _ca(words), "It is in the NTAuth store of no domain of this run: its cards open the VPN, but no logon", **evidence
                )


def _ntauth(domain: Facts) -> list[str]:
    """SHA-256 of what is in NTAuth. Raises `NotRead`."""
    entries = domain["stores"]["ntauth"]
    return [fingerprint for entry in entries or () for fingerprint in entry["certificates"]]


def status_checking(facts: Facts, _parameters: Parameters) -> Verdicts:
    """Of each CA that lets people in."""
    declared = {words["name"]: entry for entry in _declared(facts, "trusted_client_cas") for words in _find_any(facts, entry)}
    for words in _opening(facts):
        value, verdict = _setting(facts, words, "status_checking")
        if verdict:
            yield verdict
            continue
        wanted = declared.get(words["name"], {}).get("settings", {}).get("status_checking")
        evidence = {"status_checking": value, "declared": wanted, **_sure(facts, "trusted_client_ca", "status_checking")}
        if value == "none":
            yield failed(_ca(words), "Revoked certificates of it open the appliance: nothing is checked", **evidence)
        elif wanted and value != wanted:
            yield failed(_ca(words), f"Its certificates are checked by {value}, but {wanted} is declared", **evidence)
        else:
            yield passed(_ca(words), **evidence)


def _find_any(facts: Facts, entry: Words) -> list[Words]:
    return [] if "problem" in entry else _find(facts, entry)


def _opening(facts: Facts) -> list[Words]:
    """The CAs that let people in, also where that cannot be told."""
    return [words for words in _authorities(facts) if words["settings"].get("trusted_for_client_authentication") is not False]


def verified(facts: Facts, _parameters: Parameters) -> Verdicts:
    """Whether a revoked CA would be noticed. A root is on no CRL."""
    declared = {words["name"]: entry for entry in _declared(facts, "trusted_client_cas") for words in _find_any(facts, entry)}
    for words in _opening(facts):
        if "pem" not in words or chains.self_issued(chains.parsed(load(words["pem"]))[0]):
            continue
        value, verdict = _setting(facts, words, "verify_trusted_client_ca")
        entry = declared.get(words["name"], {})
        wanted = entry["settings"]["verify_trusted_client_ca"] if "verify_trusted_client_ca" in entry.get("given", ()) else None
        evidence = {"verify_trusted_client_ca": value, "declared": wanted, **_sure(facts, "trusted_client_ca", "verify_trusted_client_ca")}
        if verdict:
            yield verdict
        elif wanted is not None and value != wanted:
            yield failed(_ca(words), f"verify_trusted_client_ca is {value}, but {wanted} is declared", **evidence)
        elif not value and wanted is None:
            yield failed(_ca(words), "Whether this CA itself was revoked by the one above it is not checked", **evidence)
        else:
            yield passed(_ca(words), **evidence)


def negotiated(facts: Facts, _parameters: Parameters) -> Verdicts:
    """Declared CAs are trusted for client authentication, and browsers are told of them."""
    for entry in _declared(facts, "trusted_client_cas"):
        for words in _find_any(facts, entry):
            for option in ("trusted_for_client_authentication", "participate_in_negotiation"):
                value, verdict = _setting(facts, words, option)
                wanted = entry["settings"].get(option, True)
                if option == "participate_in_negotiation" and not entry["settings"].get("trusted_for_client_authentication", True):
                    wanted = False  # the product forces it
                subject, evidence = (
                    f"{_ca(words)}: {option}",
                    {option: value, "declared": wanted, **_sure(facts, "trusted_client_ca", option)},
                )
                if verdict:
                    yield unknown(subject, verdict.message, **_sure(facts, "trusted_client_ca", option))
                elif value != wanted:
                    yield failed(
                        subject, f"It is {value}, but {wanted} is declared: browsers offer no card, or cards open nothing", **evidence
                    )
                else:
                    yield passed(subject, **evidence)


# ---- CRL checking (C9)


def _checking(facts: Facts) -> Iterator[Words]:
    """The CAs whose certificates are checked by CRLs. Those of which it is not known are another control's."""
    for words in _opening(facts):
        if words["settings"].get("status_checking") in BY_CRL:
            yield words


def cdps(facts: Facts, _parameters: Parameters) -> Verdicts:
    """The appliance can get the CRL where it is told to look, and is told what is declared."""
    declared = {words["name"]: entry for entry in _declared(facts, "trusted_client_cas") for words in _find_any(facts, entry)}
    for words in _checking(facts):
        source, verdict = _setting(facts, words, "cdp_source")
        if verdict:
            yield verdict
            continue
        wanted = declared.get(words["name"], {}).get("settings", {})
        told = {name: words["settings"].get(name) for name in ("cdp_source", "primary_cdp", "backup_cdp")}
        evidence = {**told, **_sure(facts, "trusted_client_ca", *told)}
        reasons = [*_wrong_cdps(words, source), *_other_cdps(told, wanted)]
        if reasons:
            yield failed(_ca(words), "; ".join(reasons), **evidence)
        else:
            yield passed(_ca(words), **evidence)


def _wrong_cdps(words: Words, source: str) -> Iterator[str]:
    if source == "manual" and not words["settings"].get("primary_cdp"):
        yield "The CDP is to be configured by hand, but there is none: nobody gets in"
    if source == "ca_certificate" and "pem" in words and not chains.self_issued(chains.parsed(load(words["pem"]))[0]):
        yield "The CDP in a CA's certificate is that of the CA above it, so that certificates of this one are checked against the wrong CRL"
    for option in ("primary_cdp", "backup_cdp"):
        url = words["settings"].get(option)
        try:
            if url and source == "manual":
                cdp.parse(url)
        except FormatError as error:
            yield f"{option} {url} {error}"


def _other_cdps(told: Words, wanted: Words) -> Iterator[str]:
    for option in ("cdp_source", "primary_cdp", "backup_cdp"):
        if wanted.get(option) and told[option] != wanted[option]:
            yield f"{option} is {told[option]}, but {wanted[option]} is declared"


def backup_cdp(facts: Facts, _parameters: Parameters) -> Verdicts:
    for words in _checking(facts):
        settings = words["settings"]
        if settings.get("cdp_source") == "manual":
            evidence = {"primary_cdp": settings.get("primary_cdp"), "backup_cdp": settings.get("backup_cdp")}
            if settings.get("backup_cdp"):
                yield passed(_ca(words), **evidence)
            else:
                yield failed(
                    _ca(words), "There is no backup CDP: with the server of the only one, every login stops when the CRL ends", **evidence
                )
        elif settings.get("cdp_source") is None:
            yield _setting(facts, words, "cdp_source")[1] or passed(_ca(words))


def download_frequency(facts: Facts, parameters: Parameters) -> Verdicts:
    """Often enough for revocations, and for no gap between the end of one CRL and the download of the next."""
    declared = {words["name"]: entry for entry in _declared(facts, "trusted_client_cas") for words in _find_any(facts, entry)}
    for words in _checking(facts):
        hours, verdict = _setting(facts, words, "crl_download_frequency")
        if verdict:
            yield verdict
            continue
        wanted = declared.get(words["name"], {}).get("settings", {}).get("crl_download_frequency")
        spare = _spare_hours(facts, words)
        evidence = {"crl_download_frequency": hours, "declared": wanted, "hours_of_overlap": spare}
        evidence |= _sure(facts, "trusted_client_ca", "crl_download_frequency")
        low, high = FREQUENCIES
        if not low <= hours <= high:
            yield failed(_ca(words), f"{hours} is no number of hours from {low} to {high}", **evidence)
        elif wanted is not None and "crl_download_frequency" in declared[words["name"]]["given"] and hours != wanted:
            yield failed(_ca(words), f"CRLs are downloaded every {hours} hours, but every {wanted} are declared", **evidence)
        elif spare is not None and hours > spare:
            message = f"A CRL may end up to {hours - spare:.1f} hours before the next is downloaded: in between nobody gets in"
            yield failed(_ca(words), message, **evidence)
        elif hours > float(parameters["hours_most"]):
            yield failed(_ca(words), f"A revoked card opens the appliance for up to {hours} hours more", **evidence)
        else:
            yield passed(_ca(words), **evidence)


def _spare_hours(facts: Facts, words: Words) -> float | None:
    """How long a CRL of this CA goes on when the next one is there, or else how long it lives; None where this run saw none."""
    lists = [
        found
        for run in facts.others("crls")
        if run.read("crls")
        for one in run["crls"]
        for found in one["lists"]
        if words.get("sha256") in found["signed_by"] and found["next_update"] and not found["delta"]
    ]
    if not lists:
        return None
    newest = max(lists, key=lambda found: str(found["this_update"]))
    begins = moment(newest["next_publish"] or newest["this_update"])
    return round((moment(newest["next_update"]) - begins).total_seconds() / 3600, 1)


def crl_in_use(facts: Facts, parameters: Parameters) -> Verdicts:
    """The CRL that logins are checked against at this moment."""
    for name, crl in facts["crls_in_use"].items():
        subject = f"CRL of {name} in use"
        if "unread" in crl:
            yield unknown(subject, f"It cannot be judged: {crl['unread']}")
            continue
        evidence = {part: crl[part] for part in ("issuer", "number", "this_update", "next_update")}
        sure = {"standing": facts["standings"]["operations"].get("crl_in_use", "inferred")}
        ended = crl["next_update"] is not None and moment(crl["next_update"]) <= facts.now
        behind = _behind(facts, name, crl, float(parameters["grace_hours"]))
        if not crl["signed"]:
            yield failed(subject, "It is not signed by the CA that it is used for", **evidence, **sure)
        elif crl["delta"]:
            yield failed(subject, "It is a delta CRL, which names only what has changed", **evidence, **sure)
        elif ended:
            yield failed(subject, f"It ended on {crl['next_update']}: nobody gets in", **evidence, **sure)
        elif behind:
            yield failed(subject, behind, **evidence, **sure)
        else:
            yield passed(subject, **evidence, **sure)


def _behind(facts: Facts, name: str, crl: Words, grace: float) -> str:
    """Whether a newer one has been there for longer than the appliance may take to fetch it."""
    words = next((one for one in _authorities(facts) if one["name"] == name), None)
    if words is None or crl["number"] is None:
        return ""
    allowed = float(words["settings"].get("crl_download_frequency") or 0) + grace
    for run in facts.others("crls"):
        for one in run["crls"] if run.read("crls") else ():
            for found in one["lists"]:
                newer = words.get("sha256") in found["signed_by"] and not found["delta"] and (found["number"] or 0) > crl["number"]
                age = (facts.now - moment(found["this_update"])).total_seconds() / 3600
                if newer and age > allowed:
                    return f"It is number {crl['number']}; number {found['number']} has been at {one['url']} for {age:.1f} hours"
    return ""


# ---- servers, realms, sign-in (C7, C8)


def servers(facts: Facts, _parameters: Parameters) -> Verdicts:
    """Each declared one is there and is what is declared; templates of user names hold no unknown variable."""
    known: list[Words] = facts["auth_servers"]
    yield from _broken(facts, "auth_servers", "authentication server")
    for entry in _sound(facts, "auth_servers"):
        subject = f"authentication server {entry['name']}"
        have = _called(known, entry["name"])
        kind = entry.get("type") or next((name for name in auth_servers.TYPES if entry.get(name) is not None), "")
        sure = _sure(facts, "auth_server", *(f"{kind}.{member}" for member in entry.get(kind) or {}))
        if have is None:
            yield failed(subject, f"There is no such server; there are {', '.join(one['name'] for one in known) or 'none'}", **sure)
        elif kind and have["type"] != kind:
            yield failed(subject, f"It is a server of type {have['type']}, not {kind}", type=have["type"], **sure)
        else:
            yield _server(subject, entry, have, kind, sure)


def _server(subject: str, entry: Words, have: Words, kind: str, sure: Words) -> Verdict:
    wanted = auth_servers.desired(dict(entry), dict(have), "merged")
    asked = {name: value for name, value in wanted.get(kind, {}).items() if (entry.get(kind) or {}).get(name) is not None}
    differing = {name: value for name, value in asked.items() if have.get(kind, {}).get(name) != value}
    unseen = sorted(name for name in differing if name not in have.get(kind, {}))
    evidence = {"declared": differing, "there": {name: have.get(kind, {}).get(name) for name in differing}, **sure}
    if set(differing) - set(unseen):
        return failed(subject, f"{', '.join(sorted(set(differing) - set(unseen)))}: not as declared", **evidence)
    if unseen:
        return unknown(subject, f"The appliance does not show {', '.join(unseen)}, or has it under another name", **evidence)
    template = have.get(kind, {}).get("user_name_template")
    if template and (wrong := _template_problems(template)):
        return failed(subject, f"Users have no name: {'; '.join(wrong)}", user_name_template=template, **sure)
    return passed(subject, **{"type": have["type"], **({"user_name_template": template} if template else {})}, **sure)


def _template_problems(template: str) -> list[str]:
    try:
        return list(user_name_template.unknown_variables(user_name_template.parse(template)))
    except FormatError as error:
        return [str(error)]


def _called(known: Sequence[Words], name: str) -> Words | None:
    """What has this name. The product tells names apart by case; where none is exactly so, people mean the one that is nearly so."""
    nearly = [one for one in known if one["name"].casefold() == name.casefold()]
    return next((one for one in nearly if one["name"] == name), nearly[0] if nearly else None)


def _realms(facts: Facts, kind: str) -> list[Words]:
    found: list[Words] = facts[f"{kind}_realms"]
    return found


def _each_realm(facts: Facts) -> Iterator[tuple[str, Words, Words | None, Words]]:
    """Each declared realm: its subject, what is declared, what there is, and what that is to become."""
    for entry in _sound(facts, "realms"):
        kind = entry.get("kind") or "user"
        have = _called(_realms(facts, kind), entry["name"])
        given = _complete({**entry, "kind": kind})
        yield f"{kind} realm {entry['name']}", given, have, realms.desired(given, dict(have), "merged") if have else {}


def _complete(entry: dict[str, Any]) -> dict[str, Any]:
    """With the defaults of the module's options, which the inventory leaves out."""
    rules = []
    for rule in entry.get("role_mapping_rules") or ():
        condition = rule.get("user_name")
        rules.append({**rule, **({"user_name": {"test": "is", **condition}} if condition else {})})
    return {**entry, **({"role_mapping_rules": rules} if entry.get("role_mapping_rules") is not None else {})}


def realm_servers(facts: Facts, _parameters: Parameters) -> Verdicts:
    members = ("authentication_server", "directory_server", "accounting_server", "secondary_authentication")
    yield from _realm_members(facts, members, "They do not ask for the card that they should, or ask for something else")


def realm_restrictions(facts: Facts, _parameters: Parameters) -> Verdicts:
    yield from _realm_members(facts, ("certificate_restriction",), "Who has another certificate, or none, is let in or kept out")


def _realm_members(facts: Facts, members: Sequence[str], meaning: str) -> Verdicts:
    yield from _broken(facts, "realms", "realm")
    for subject, entry, have, wanted in _each_realm(facts):
        asked = [name for name in members if entry.get(name) is not None]
        lines = [name for name in facts["standings"].get("user_realm", {}) if name.partition(".")[0] in asked]
        if not asked:
            continue
        sure = _sure(facts, f"{entry['kind']}_realm", *lines)
        if have is None:
            yield failed(subject, "There is no such realm", **sure)
            continue
        differing = [name for name in asked if wanted.get(name) != have.get(name)]
        evidence = {"there": {name: have.get(name) for name in asked}, "declared": {name: wanted.get(name) for name in differing}, **sure}
        if differing:
            yield failed(subject, f"{', '.join(differing)}: not as declared. {meaning}", **evidence)
        else:
            yield passed(subject, **evidence)


def role_mapping(facts: Facts, _parameters: Parameters) -> Verdicts:
    yield from _broken(facts, "realms", "realm")
    for subject, entry, have, wanted in _each_realm(facts):
        if entry.get("role_mapping_rules") is None:
            continue
        sure = _sure(facts, f"{entry['kind']}_realm", "role_mapping_rules")
        if have is None:
            yield failed(subject, "There is no such realm", **sure)
            continue
        there, declared = have["role_mapping_rules"], wanted["role_mapping_rules"]
        evidence = {"there": there, "declared": declared, **sure}
        named = {role for rule in declared for role in rule["roles"]} if entry["kind"] == "user" else set()
        if there != declared:
            yield failed(subject, "Its role mapping rules, or their order, are not as declared: users get other roles, or none", **evidence)
        elif missing := sorted(named - set(facts["user_roles"])):
            yield failed(subject, f"It maps users to roles that there are not: {', '.join(missing)}", **evidence)
        else:
            yield passed(subject, there=there, **sure)


def without_certificate(facts: Facts, _parameters: Parameters) -> Verdicts:
    """No enabled users' URL opens for somebody without a certificate."""
    asked, known = facts["auth_servers"], _realms(facts, "user")
    for policy in facts["sign_in_policies"]:
        if policy["kind"] != "user" or not policy["enabled"]:
            continue
        for name in policy["realms"]:
            subject = f"sign-in URL {policy['url']} with realm {name}"
            realm = _called(known, name)
            if realm is None:
                yield unknown(subject, "The realm that it offers is not among those of the appliance")
                continue
            server = str(realm.get("authentication_server") or "")
            mode = realm["certificate_restriction"].get("mode")
            kind = (_called(asked, server) or {}).get("type")
            evidence = {"authentication_server": server, "type": kind, "certificate_restriction": mode}
            evidence |= _sure(facts, "user_realm", "authentication_server", "certificate_restriction.mode")
            if kind == "certificate" or mode == "required":
                yield passed(subject, **evidence)
            elif kind is None:
                yield unknown(subject, f"The server {server or 'that it asks'} is not among those of the appliance", **evidence)
            elif not realm["restriction_shown"]:
                message = f"{server} asks for no certificate, and whether a restriction of the realm does, the appliance does not show"
                yield unknown(subject, message, **evidence)
            else:
                yield failed(subject, f"Users get in without a certificate: {server} asks for none, and no restriction does", **evidence)


def policies(facts: Facts, _parameters: Parameters) -> Verdicts:
    """Each declared URL is there, offers its realms, is enabled, and is reached."""
    known: list[Words] = facts["sign_in_policies"]
    yield from _broken(facts, "sign_in_policies", "sign-in URL")
    for entry in _sound(facts, "sign_in_policies"):
        subject, sure = f"sign-in URL {entry['url']}", _sure(facts, "sign_in_policy", "enabled", "url")
        position = next((index for index, one in enumerate(known) if one["url"].rstrip("/") == entry["url"].rstrip("/")), None)
        if position is None:
            yield failed(subject, "There is no such sign-in policy", **sure)
            continue
        have = known[position]
        wanted = sign_in_policies.desired(dict(entry), dict(have), "merged")
        differing = {name: value for name, value in wanted.items() if have.get(name) != value and name != "url"}
        before = shadowed(dict(have), [dict(one) for one in known[:position]])
        evidence = {"there": {name: have[name] for name in ("kind", "realms", "enabled")}, "declared": differing, **sure}
        if differing:
            yield failed(subject, f"{', '.join(sorted(differing))}: not as declared", **evidence)
        elif before is not None and have["enabled"]:
            yield failed(subject, f"Nobody gets to it: {before['url']} stands before it and serves the same addresses", **evidence)
        else:
            yield passed(subject, **evidence)


# ---- the appliance itself


def generation(facts: Facts, _parameters: Parameters) -> Verdicts:
    found, used = facts["system"], facts["generation"]
    evidence = {"version": found["version"], "generation": found["generation"], "connect_secure_generation": used}
    if not found["version"]:
        yield unknown("release", "The appliance does not tell its release", **evidence)
    elif found["generation"] != used:
        yield failed("release", f"It is a {found['generation']}, but its interface is used as that of {used}", **evidence)
    else:
        yield passed("release", **evidence)


def release(facts: Facts, parameters: Parameters) -> Verdicts:
    """Not older than the parameter says."""
    least, found = str(parameters["least"] or ""), facts["system"]["version"]
    if not least:
        return
    evidence = {"version": found, "least": least}
    if not found:
        yield unknown("release", "The appliance does not tell its release", **evidence)
    elif _numbers(found) < _numbers(least):
        yield failed("release", f"It is {found}, older than {least}", **evidence)
    else:
        yield passed("release", **evidence)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def identified(facts: Facts, _parameters: Parameters) -> Verdicts:
    """Whether what was read is the appliance's at all."""
    if facts["verified"]:
        yield passed("REST interface")
    else:
        message = "Its certificate was not verified: anybody on the way can have answered, and read the administrator's password"
        yield failed("REST interface", message, validate_certs=False)
