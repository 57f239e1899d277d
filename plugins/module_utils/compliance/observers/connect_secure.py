# SPDX-License-Identifier: GPL-3.0-or-later
"""What lets people in to a Connect Secure appliance, as it tells itself by GET, and what its users' port shows. No opinion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.certlogon.core.plugins.module_utils.certificates import chains, description
from ansible_collections.certlogon.core.plugins.module_utils.certificates import crl as crls
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate, load, load_one
from ansible_collections.certlogon.core.plugins.module_utils.compliance import seen
from ansible_collections.certlogon.core.plugins.module_utils.compliance.looking import reason
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Unread
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers import users_port
from ansible_collections.certlogon.core.plugins.module_utils.compliance.read_only import Asked
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import (
    auth_servers,
    device_certificate_words,
    gateway,
    realms,
    revocation,
    sign_in_policies,
    sign_in_reading,
    trusted_client_ca_words,
)
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.client import ApplianceSession
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.elements import tidy
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.information import system
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, SessionLost, UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Words

EXPECTED: dict[str, Any] = {
    "server_names": {"type": "list", "elements": "str", "default": []},
    "users_address": {"type": "str"},
    "users_port": {"type": "int", "default": 443},
    "anchor_path": {"type": "path"},
    "gateway": {"type": "dict"},
    "device_certificates": {"type": "list", "elements": "dict"},
    "trusted_client_cas": {"type": "list", "elements": "dict"},
    "auth_servers": {"type": "list", "elements": "dict"},
    "realms": {"type": "list", "elements": "dict"},
    "sign_in_policies": {"type": "list", "elements": "dict"},
}
"""What the inventory declares, in the words of the modules that write it; what is left out is not compared."""

_ENTRIES: Mapping[str, Mapping[str, Any]] = {
    "device_certificates": device_certificate_words.OPTIONS,
    "trusted_client_cas": trusted_client_ca_words.OPTIONS,
    "auth_servers": auth_servers.AuthServers.options,
    "realms": realms.AuthenticationRealms.options,
    "sign_in_policies": sign_in_policies.SignInPolicies.options,
}

FACTS = (
    "system",
    "device_certificates",
    "certificate_requests",
    "trusted_client_cas",
    "crls_in_use",
    "auth_servers",
    "user_roles",
    "user_realms",
    "admin_realms",
    "sign_in_policies",
)
_SECRET = ("password", "passphrase", "secret")
_RIGHT = "Administrators > Admin Roles: read access to this part of the configuration"
_LOST = 2
"""After so many lost answers one after the other, nobody is asked any more."""


@dataclass
class Look:
    """One look at one appliance."""

    session: ApplianceSession
    observation: Observation
    params: Mapping[str, Any]
    asked: Asked
    lost: list[str] = field(default_factory=list)

    def attempt(self, fact: str, ask: Callable[[], Any]) -> None:
        """What cannot be read is unread, and the rest is read all the same."""
        if len(self.lost) >= _LOST:
            self.observation.set(fact, Unread(f"not asked, since the appliance does not answer any more ({self.lost[-1]})"))
            return
        try:
            self.observation.set(fact, ask())
            self.lost.clear()
        except UserError as error:
            text = reason(error)
            self.observation.set(fact, Unread(text, _RIGHT if "HTTP 403" in text else ""))
            if isinstance(error, SessionLost):
                self.lost.append(text)


def observe(session: ApplianceSession, params: Mapping[str, Any], observation: Observation, asked: Asked) -> None:
    """All facts. Raises `UserError` where the appliance lets nobody in."""
    look = Look(session, observation, params, asked)
    _first(look)
    expected = {name: value for name, value in gateway.expanded(params.get("expected") or {}).items() if name != "gateway"}
    observation.set("expected", declared(expected))
    observation.set("standings", standings(session))
    observation.set("verified", session.options.validate_certs)
    observation.set("generation", session.table.generation)
    look.attempt("device_certificates", lambda: _devices(session))
    look.attempt("certificate_requests", lambda: _requests(session))
    look.attempt("trusted_client_cas", lambda: _authorities(session))
    look.attempt("crls_in_use", lambda: _crls(look))
    shape = session.table.resource("auth_server")
    look.attempt("auth_servers", lambda: [auth_servers.describe(shape, wire) for wire in session.list("auth_server")])
    look.attempt("user_roles", lambda: [session.table.resource("user_role").name_of(wire) for wire in session.list("user_role")])
    for kind in sign_in_reading.KINDS:
        look.attempt(f"{kind}_realms", lambda kind=kind: _realms(session, kind))  # type: ignore[misc]
    look.attempt("sign_in_policies", lambda: [one.words for one in sign_in_reading.policies(session).values()])
    users_port.observe(look.observation, expected, "appliance", look.asked, min(look.session.options.timeout, 10))
    _listed(look)


def _first(look: Look) -> None:
    """The first question: whoever is not let in has nothing to tell."""
    try:
        found = system(look.session.call("system_information"))
    except UserError as error:
        if not look.session.answered_login or isinstance(error, SessionLost):
            raise
        look.observation.set("system", Unread(reason(error), _RIGHT if "HTTP 403" in str(error) else ""))
        return
    look.observation.set("system", found)
    if "stand-in" in str(found["information"]):
        look.observation.set("stand_in", "the lab's stand-in for a Connect Secure appliance")


def standings(session: ApplianceSession) -> dict[str, dict[str, str]]:
    """How sure each line of the table is: by resource, "" for its path, and by member."""
    return {
        name: {"": shape.own_standing, **{member: line.standing for member, line in shape.fields.items()}}
        for name in session.table.resources
        for shape in (session.table.resource(name),)
    } | {"operations": {name: session.table.operation(name).standing for name in session.table.operations}}


# ---- what is declared


def declared(expected: Mapping[str, Any]) -> Words:
    """The inventory's words without secrets, certificates that it names by file as PEM."""
    found: Words = {name: value for name, value in expected.items() if value is not None and name in EXPECTED}
    reading = {"trusted_client_cas": _declared_authority, "device_certificates": _declared_device}
    for part in _ENTRIES:
        if found.get(part) is not None:
            found[part] = [_declared(part, entry, reading.get(part)) for entry in found[part]]
    if found.get("anchor_path"):
        found["anchors"], found["anchors_problem"] = _anchors(found["anchor_path"])
    return dict(without_secrets(found))


def without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: without_secrets(inner) for name, inner in value.items() if not str(name).endswith(_SECRET)}
    return [without_secrets(inner) for inner in value] if isinstance(value, list) else value


def declared_authorities(entries: Iterable[Mapping[str, Any]]) -> list[Words]:
    """Each with the SHA-256 of its certificate and all its settings; with a `problem` where its file is not to be read."""
    return [_declared("trusted_client_cas", entry, _declared_authority) for entry in entries]


def _declared(part: str, entry: Mapping[str, Any], read: Callable[[Mapping[str, Any]], Words] | None) -> Words:
    """An entry as its module would take it, types and defaults included; with a `problem` where it would refuse it."""
    checked = ArgumentSpecValidator(dict(_ENTRIES[part])).validate(dict(entry))
    if checked.error_messages:
        label = entry.get("name") or entry.get("url") or entry.get("common_name") or "?"
        return {"name": str(label), "where": f"{part} ({label})", "problem": "; ".join(checked.error_messages)}
    words: Words = tidy(checked.validated_parameters)
    return read(words) if read else words


def _declared_authority(entry: Mapping[str, Any]) -> Words:
    try:
        wanted = trusted_client_ca_words.wish(entry)
    except UserError as error:
        return {"where": trusted_client_ca_words.where(entry), "problem": reason(error)}
    settings = {**trusted_client_ca_words.DEFAULTS, "status_checking": "crl", **wanted.given}
    words: Words = {"where": wanted.where, "name": entry.get("name") or "", "settings": settings, "given": sorted(wanted.given)}
    if wanted.certificate is not None:
        words.update(sha256=wanted.certificate.sha256, subject=wanted.certificate.subject)
    else:
        words.update(zip(("sha256", "subject"), wanted.pin, strict=True))
    return words


def _declared_device(entry: Mapping[str, Any]) -> Words:
    words = {name: value for name, value in entry.items() if value is not None}
    try:
        wanted = device_certificate_words.wish(entry, "")
    except UserError as error:
        return {**words, "problem": reason(error)}
    return {**words, "given_sha256": wanted.given.certificate.sha256} if wanted.given else words


def _anchors(path: str) -> tuple[str, str]:
    try:
        return seen.pem(chains.parsed(load(Path(path).read_bytes()))), ""
    except FormatError as error:
        return "", f"anchor_path ({path}): {error}"
    except OSError as error:
        return "", f"anchor_path ({path}) cannot be read: {error.strerror or error}"


# ---- what the appliance has


def _certificate(text: str | None) -> Words:
    """PEM of a certificate as the appliance shows it; `problem` where it is none."""
    if not text:
        return {"problem": "the appliance does not show its certificate"}
    try:
        found = load_one(text)
        chains.parsed([found])
    except FormatError as error:
        return {"problem": f"its certificate {error}"}
    return {"pem": trusted_client_ca_words.content(found)["content"], "sha256": found.sha256, "subject": found.subject}


def _devices(session: ApplianceSession) -> list[Words]:
    shape, found = session.table.resource("device_certificate"), []
    for wire in session.list("device_certificate"):
        words = shape.decode(wire)
        shown = _certificate(words.get("certificate"))
        ports = {name: sorted(words.get(name) or ()) for name in device_certificate_words.PORTS}
        found.append({"name": shape.name_of(wire), **shown, **ports, "management_port": words.get("management_port")})
    return found


def _requests(session: ApplianceSession) -> list[Words]:
    shape, found = session.table.resource("certificate_request"), []
    for wire in session.list("certificate_request"):
        words = shape.decode(wire)
        found.append({"name": shape.name_of(wire), "subject": words.get("subject") or ""})
    return found


def _authorities(session: ApplianceSession) -> list[Words]:
    shape, found = session.table.resource("trusted_client_ca"), []
    for wire in session.list("trusted_client_ca"):
        words = shape.decode(wire)
        shown = _certificate(words.get("certificate"))
        settings = {option: words.get(option) for option in trusted_client_ca_words.SETTINGS}
        found.append({"name": shape.name_of(wire), **shown, "settings": settings})
    return found


def _realms(session: ApplianceSession, kind: str) -> list[Words]:
    """As the modules have them, who take a restriction that is not shown for none; `restriction_shown` tells."""
    shape = session.table.resource(f"{kind}_realm")
    found = []
    for one in sign_in_reading.realms(session, kind).values():
        mode = (shape.decode(one.wire).get("certificate_restriction") or {}).get("mode")
        found.append({**one.words, "restriction_shown": mode is not None})
    return found


def _crls(look: Look) -> dict[str, Words]:
    """The CRL that certificates of each CA are checked against, as far as the appliance tells it."""
    found: dict[str, Words] = {}
    authorities = look.observation.facts["trusted_client_cas"]
    if not isinstance(authorities, list):
        raise UserError("the trusted client CAs could not be read")
    for words in authorities:
        if words["settings"].get("status_checking") not in revocation.BY_CRL:
            continue
        found[words["name"]] = _crl(look, words)
    return found


def _crl(look: Look, authority: Words) -> Words:
    name = authority["name"]
    try:
        crl = revocation.crl_in_use(look.session, name)
    except SessionLost:
        raise
    except UserError as error:
        return {"unread": reason(error)}
    if crl is None:
        return {"unread": "the appliance does not tell which CRL it uses"}
    ca = chains.parsed(load(authority["pem"]))[0] if authority.get("pem") else None
    words = seen.crl(crl, f"in use on {look.observation.target.name} for {name}", look.observation.target.name, "good")
    signed = ca is not None and crl.parsed.issuer == ca.subject and crls.signed_by(crl, ca)
    ended = crl.next_update is not None and description.time_text(crl.next_update) <= look.observation.at
    look.observation.crls.append({**words, "status": "foreign" if not signed else "expired" if ended else "good"})
    return {**words, "signed": signed, "delta": crl.is_delta}


# ---- for the whole run


def _listed(look: Look) -> None:
    """The certificates, and the CDPs to look at."""
    observation = look.observation
    holder = observation.target.name
    devices, authorities = (_there(observation.facts.get(fact)) for fact in ("device_certificates", "trusted_client_cas"))
    shown = _there(observation.facts.get("users_port"))
    sent = [pem for one in shown for pem in one.get("certificates", ()) if pem]
    pool = chains.parsed(_loaded([*(one["pem"] for one in authorities if "pem" in one), *sent]))
    for one in devices:
        for parsed in _parsed(one):
            observation.certificates.append(seen.certificate(parsed, seen.DEVICE, holder, name=one["name"]))
            observation.cdps += seen.cdps(parsed, _issuer(parsed, pool), f"device certificate {one['name']} of {holder}")
    for one in authorities:
        for parsed in _parsed(one):
            use = seen.ROOT if chains.self_issued(parsed) else seen.CA
            observation.certificates.append(seen.certificate(parsed, use, holder, name=one["name"]))
            used_by = f"trusted client CA {one['name']} of {holder}"
            observation.cdps += seen.cdps(parsed, _issuer(parsed, pool), used_by)
            manual = [one["settings"].get(option) for option in ("primary_cdp", "backup_cdp")]
            observation.cdps += [{"url": url, "issuer": one["pem"], "used_by": used_by} for url in manual if url]


def _there(fact: Any) -> Sequence[Words]:
    return fact if isinstance(fact, list) else []


def _parsed(words: Words) -> list[Any]:
    return chains.parsed(load(words["pem"])) if "pem" in words else []


def _loaded(pems: Iterable[str]) -> list[Certificate]:
    return [one for pem in pems for one in load(pem)]


def _issuer(parsed: Any, pool: Sequence[Any]) -> Any:
    return next((one for one in pool if chains.issued_by(parsed, one)), None)
