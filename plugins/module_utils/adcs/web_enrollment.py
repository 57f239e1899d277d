# SPDX-License-Identifier: GPL-3.0-or-later
"""AD CS web enrollment on a CA host: role service, HTTPS with a certificate of the CA itself, and who may come in how.

The settings against relayed sign-ins (extended protection, "require SSL") are those of Microsoft's KB5005413.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.adcs import web_enrollment_state as states
from ansible_collections.certlogon.core.plugins.module_utils.adcs.powershell import Credential, HostResource, PowerShellSession
from ansible_collections.certlogon.core.plugins.module_utils.adcs.web_enrollment_state import MARK, Held, Host
from ansible_collections.certlogon.core.plugins.module_utils.errors import Problems, UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Change, Plan, Words

SITE = "Default Web Site"
"""Where Install-AdcsWebEnrollment puts it; it knows no other place."""

KNOWN_LATER = "(known after apply)"
RENEW_BEFORE = 30
FEATURES = ("ADCS-Web-Enrollment", "Web-Windows-Auth", "Web-Scripting-Tools")
BASIC_FEATURE = "Web-Basic-Auth"
SKEW = timedelta(minutes=5)
"""Kerberos refuses more (RFC 4120 section 1.6), and certificates are dated by the host's clock."""

DEFAULTS: Words = {
    "require_ssl": True,
    "extended_protection": "required",
    "providers": ["negotiate", "ntlm"],
    "basic_authentication": False,
    "crl_over_http": True,
    "double_escaping": True,
}
TEMPLATE = "Machine"
TOKEN_CHECKING = {"none": "None", "allowed": "Allow", "required": "Require"}
PROVIDERS = {"negotiate": "Negotiate", "ntlm": "NTLM", "kerberos": "Negotiate:Kerberos"}

_CERTIFICATE_REMEDIES = {
    "0x80094012": "the computer account of the CA host needs the rights Read and Enroll on the template",
    "0x80094800": "publish the template on this CA (ad_enrollment_services), or name another one in certificate.template",
    "0x800706ba": "CertSvc does not run on the CA; start it",
    "0x80094004": "the template wants an attribute that the computer's directory object lacks, such as dNSHostName",
}


@dataclass(frozen=True)
class Wanted:
    """What an entry of `config` asks for, complete."""

    words: Words
    template: str
    names: tuple[str, ...]
    """For the certificate's subject alternative names; empty: those that the template takes from the directory."""
    pinned: str | None
    renew_before: timedelta


@dataclass(frozen=True)
class Steps:
    """What has to be done, in this order; empty parts are right already."""

    host: Host
    wanted: Wanted
    features: Sequence[str] = ()
    install: bool = False
    uninstall: bool = False
    request: bool = False
    pending: str | None = None
    bind: str | None = None
    """Thumbprint to bind; with `request` what comes out of that."""
    http: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


class WebEnrollment(HostResource[Host]):
    key = "site"
    options = {
        "site": {"type": "str", "choices": [SITE], "default": SITE},
        "certificate": {
            "type": "dict",
            "options": {
                "template": {"type": "str"},
                "dns_names": {"type": "list", "elements": "str"},
                "renew_before": {"type": "int"},
                "thumbprint": {"type": "str"},
            },
        },
        "require_ssl": {"type": "bool"},
        "extended_protection": {"type": "str", "choices": list(TOKEN_CHECKING)},
        "providers": {"type": "list", "elements": "str", "choices": list(PROVIDERS)},
        "basic_authentication": {"type": "bool"},
        "crl_over_http": {"type": "bool"},
        "double_escaping": {"type": "bool"},
    }
    extra = {"install_username": {"type": "str"}, "install_password": {"type": "str", "no_log": True}}
    constraints = {"required_together": [("install_username", "install_password")]}

    def __init__(self, session: PowerShellSession) -> None:
        super().__init__(session)
        self._host: Host | None = None
        self._secrets: dict[str, Credential] = {}

    def check(self, params: Mapping[str, Any]) -> None:
        problems = Problems()
        for entry in params.get("config") or ():
            certificate = entry.get("certificate") or {}
            if entry.get("providers") == [] and not entry.get("basic_authentication"):
                problems.add("config: providers is empty; nobody could sign in. Name negotiate, ntlm or kerberos")
            days = certificate.get("renew_before")
            if days is not None and days < 1:
                problems.add(f"config: certificate.renew_before is {days}; give the days, at least 1")
            if certificate.get("dns_names") == []:
                problems.add("config: certificate.dns_names is empty; leave it out for the host's own name")
            problems.collect(
                f"config: certificate.dns_names: {name!r} is no DNS name"
                for name in certificate.get("dns_names") or ()
                if not _is_name(name)
            )
        problems.raise_any()

    def read(self, session: PowerShellSession, params: Mapping[str, Any]) -> Host:
        if params.get("install_username"):
            self._secrets = {"Credential": Credential(params["install_username"], params["install_password"])}
        answer = session.run("web_enrollment_state", {"Site": SITE}, doing="reading the web enrollment's state")
        self._host = states.parse(answer, datetime.now(timezone.utc))
        return self._host

    def objects(self, current: Host) -> dict[str, Words]:
        words = described(current)
        return {} if words is None else {SITE: {name: value for name, value in words.items() if name != "anonymous"}}

    def plan(self, params: Mapping[str, Any], current: Host) -> Plan:
        changes: list[Change] = []
        warnings: list[str] = []
        for entry in params["config"]:
            change, said = planned(entry, params["state"], current)
            warnings += said
            if change:
                changes.append(change)
        return Plan(changes, warnings)

    def apply(self, session: PowerShellSession, change: Change) -> None:
        steps: Steps = change.details
        if steps.uninstall:
            _succeeded("removing the web enrollment", session.run("web_enrollment_uninstall", doing="removing the web enrollment"))
            return
        if steps.host.authority is None:
            raise UserError(
                f"{SITE}: there is no certification authority on this host; install it first (adcs_authority), "
                "the web enrollment is made for the CA beside it"
            )
        if steps.features:
            _install_features(session, steps.features)
        if steps.install:
            doing = "configuring the web enrollment"
            _succeeded(doing, session.run("web_enrollment_install", secrets=self._secrets, doing=doing))
        bind = _certificate(session, steps) if steps.request else steps.bind
        if bind or steps.http:
            parameters = {"Site": SITE, "Thumbprint": bind, "Http": steps.http}
            session.run("web_enrollment_binding", parameters, doing=f"binding the certificate {bind} to port 443")
        if steps.settings:
            session.run("web_enrollment_settings", {"Site": SITE, **steps.settings}, doing="setting IIS up for /CertSrv")

    def settled(self, change: Change, params: Mapping[str, Any], current: Host) -> bool:
        """The certificate is what the CA made of the request; all else is as predicted."""
        found = described(current)
        if change.after is None or found is None or current.bound is None:
            return False
        others = {name: value for name, value in change.after.items() if name != "certificate"}
        return others.items() <= found.items() and not faults(current.bound, change.details.wanted, current)

    def render(self, params: Mapping[str, Any]) -> list[Words]:
        rendered = []
        for entry in params["config"]:
            certificate = {name: value for name, value in (entry.get("certificate") or {}).items() if value is not None}
            if "thumbprint" not in certificate:
                certificate = {"template": TEMPLATE, "renew_before": RENEW_BEFORE, **certificate}
            rendered.append({"site": SITE, "certificate": certificate, **_chosen(entry, DEFAULTS)})
        return rendered

    def returns(self, params: Mapping[str, Any]) -> dict[str, Any]:
        bound = self._host.bound if self._host else None
        if bound is None or self._host is None:
            return {}
        left = bound.not_after - self._host.now
        shown = {"thumbprint": bound.thumbprint, "issuer": bound.issuer, "dns_names": sorted(bound.names), "template": bound.template}
        return {"certificate": {**shown, "not_after": bound.not_after.isoformat(), "days_left": left.days}}


# ---- the plan (pure)


def described(host: Host) -> Words | None:
    """The web enrollment as `config` would have it; None where there is none."""
    if not host.configured:
        return None
    words: Words = {"site": SITE, "certificate": _certificate_words(host.bound) if host.bound else None}
    providers = host.providers if host.windows else ()
    words |= {
        "require_ssl": host.require_ssl,
        "extended_protection": next((word for word, value in TOKEN_CHECKING.items() if value == host.token_checking), host.token_checking),
        "providers": [next((word for word, value in PROVIDERS.items() if value == name), name) for name in providers],
        "basic_authentication": host.basic,
        "crl_over_http": host.http and not host.certenroll_requires_ssl,
        "double_escaping": host.double_escaping,
    }
    # no option asks for it; where it is found, the diff shows that it goes
    return words | {"anonymous": True} if host.anonymous else words


def planned(entry: Words, state: str, host: Host) -> tuple[Change | None, list[str]]:
    """The one change of an entry, and warnings. Raises `UserError`."""
    before = described(host)
    if state == "deleted":
        nothing = Wanted({}, "", (), None, timedelta())
        return (Change(SITE, before, None, Steps(host, nothing, uninstall=True)), []) if before else (None, [])
    wanted = completed(entry, state, before, host)
    _refuse_endless_renewal(wanted, host)
    chosen = None if before is None else next((held for held in _candidates(host) if not faults(held, wanted, host)), None)
    certificate = _certificate_words(chosen) if chosen else _to_come(wanted, host)
    after = {"site": SITE, "certificate": certificate, **wanted.words}
    warnings = _warnings(wanted, host)
    if before == after and not host.begun:
        return None, warnings
    return Change(SITE, before, after, _steps(wanted, host, chosen)), warnings


def completed(entry: Words, state: str, before: Words | None, host: Host) -> Wanted:
    """What is asked for, with what `merged` keeps or `replaced` assumes."""
    base = before if state == "merged" and before and not host.begun else DEFAULTS
    words = _chosen(entry, {name: base[name] for name in DEFAULTS})
    if words["basic_authentication"] and not words["require_ssl"]:
        raise UserError(f"config: {SITE}: basic_authentication without require_ssl would send passwords in clear; set require_ssl")
    certificate = {name: value for name, value in (entry.get("certificate") or {}).items() if value is not None}
    bound = host.bound if state == "merged" else None
    pinned = certificate["thumbprint"].replace(" ", "").upper() if "thumbprint" in certificate and "template" not in certificate else None
    return Wanted(
        words,
        certificate.get("template") or (bound.template if bound and bound.template else TEMPLATE),
        tuple(sorted({name.lower() for name in certificate.get("dns_names", ())})),
        pinned,
        timedelta(days=certificate.get("renew_before", RENEW_BEFORE)),
    )


def faults(held: Held, wanted: Wanted, host: Host) -> list[str]:
    """Why a certificate of the store is not the one that is wanted."""
    found = [] if held.private_key else ["its private key is not there"]
    if wanted.pinned:
        return found if held.thumbprint == wanted.pinned else [f"is not {wanted.pinned}"]
    if held.not_after - host.now <= wanted.renew_before:
        found.append(f"ends on {held.not_after:%Y-%m-%d}, within the {wanted.renew_before.days} days of renew_before")
    if held.not_before > host.now:
        found.append(f"is not valid before {held.not_before:%Y-%m-%d %H:%M} UTC")
    if not _issued_here(held, host):
        found.append(f"was issued by {held.issuer}, not by this host's CA {host.authority}")
    missing = sorted({*(wanted.names or (host.fqdn.lower(),))} - held.names)
    if missing:
        found.append(f"does not name {', '.join(missing)}")
    if held.template is not None and held.template.casefold() != wanted.template.casefold():
        found.append(f"is of template {held.template}, not {wanted.template}")
    if not held.server_authentication:
        found.append("is not for server authentication")
    return found


def _refuse_endless_renewal(wanted: Wanted, host: Host) -> None:
    """A window as long as the certificates live would request one at every run."""
    bound = host.bound
    if bound is None or wanted.pinned or bound.template != wanted.template or not _issued_here(bound, host):
        return
    life = bound.not_after - bound.not_before
    if life <= wanted.renew_before:
        raise UserError(
            f"config: certificate.renew_before is {wanted.renew_before.days} days, but certificates of template {wanted.template} "
            f"are issued for {life.days} days only; give fewer"
        )


def _issued_here(held: Held, host: Host) -> bool:
    if host.authority_names:
        return held.issuer in host.authority_names
    return host.authority is not None and held.issuer_common_name == host.authority


def _candidates(host: Host) -> list[Held]:
    """The bound one first: a good one is never changed for another. Then what an interrupted run has left, the newest first."""
    newest = sorted(host.certificates, key=lambda held: held.not_after, reverse=True)
    return [*([host.bound] if host.bound else []), *(held for held in newest if not held.authority)]


def _to_come(wanted: Wanted, host: Host) -> Words:
    if wanted.pinned:
        held = next((one for one in host.certificates if one.thumbprint == wanted.pinned), None)
        if held is None:
            raise UserError(
                f"config: certificate.thumbprint: there is no certificate {wanted.pinned} in the store LocalMachine\\My of {host.fqdn}"
            )
        if not held.private_key:
            raise UserError(f"config: certificate.thumbprint: {wanted.pinned} has no private key on {host.fqdn}, so IIS cannot use it")
        return _certificate_words(held)
    return {"template": wanted.template, "dns_names": sorted(wanted.names or (host.fqdn.lower(),)), "thumbprint": KNOWN_LATER}


def _steps(wanted: Wanted, host: Host, chosen: Held | None) -> Steps:
    features = [name for name in (*FEATURES, *([BASIC_FEATURE] * wanted.words["basic_authentication"])) if not host.features.get(name)]
    # a certificate may lie ready from a run that died before it bound it
    ready = chosen or next((held for held in _candidates(host) if not faults(held, wanted, host)), None)
    request = ready is None
    bind = None if ready is None or (host.bound and ready.thumbprint == host.bound.thumbprint) else ready.thumbprint
    return Steps(
        host,
        wanted,
        features=features,
        install=not host.configured,
        request=request,
        pending=next((one for one, name in host.pending.items() if name == MARK + wanted.template), None) if request else None,
        bind=bind,
        http=wanted.words["crl_over_http"] and not host.http,
        settings=_settings(wanted.words, host),
    )


def _settings(words: Words, host: Host) -> dict[str, Any]:
    """The script's parameters for what is not yet so; on a host without web enrollment all, for nothing is known of it."""
    pairs: dict[str, tuple[Any, Any]] = {
        "SslFlags": ("Ssl" if words["require_ssl"] else "None", "Ssl" if host.require_ssl else "None"),
        "TokenChecking": (TOKEN_CHECKING[words["extended_protection"]], host.token_checking),
        "Providers": ([PROVIDERS.get(name, name) for name in words["providers"]], list(host.providers)),
        "Windows": (bool(words["providers"]), host.windows),
        "Anonymous": (False, host.anonymous),
        "DoubleEscaping": (words["double_escaping"], host.double_escaping),
    }
    if words["basic_authentication"] or host.features.get(BASIC_FEATURE):
        pairs["Basic"] = (words["basic_authentication"], host.basic)
    if words["crl_over_http"] or host.http or not host.configured:
        pairs["CertEnrollSslFlags"] = ("None" if words["crl_over_http"] else "Ssl", "Ssl" if host.certenroll_requires_ssl else "None")
    return {name: wanted for name, (wanted, found) in pairs.items() if not host.configured or host.begun or wanted != found}


def _warnings(wanted: Wanted, host: Host) -> list[str]:
    warnings = []
    if host.authority is None:
        warnings.append(
            f"{host.fqdn}: there is no certification authority on this host yet; without one the web enrollment cannot be configured"
        )
    if abs(host.skew) > SKEW:
        minutes = abs(host.skew).total_seconds() / 60
        direction = "ahead of" if host.skew > timedelta() else "behind"
        warnings.append(
            f"{host.fqdn}: its clock is {minutes:.0f} minutes {direction} this machine's; certificates are dated by it, set it right"
        )
    if wanted.words["extended_protection"] != "required":
        warnings.append(f"{SITE}: without extended_protection=required a sign-in can be relayed to the CA (KB5005413)")
    return warnings


def _chosen(entry: Words, base: Words) -> Words:
    return {name: base[name] if entry.get(name) is None else entry[name] for name in DEFAULTS}


def _certificate_words(held: Held) -> Words:
    words = {"template": held.template, "dns_names": sorted(held.names), "thumbprint": held.thumbprint}
    return {name: value for name, value in words.items() if value is not None}


def _is_name(name: str) -> bool:
    return (
        0 < len(name) <= 253
        and name.isascii()
        and all(part and set(part) <= _LETTERS for part in name.lower().removeprefix("*.").split("."))
    )


_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


# ---- on the host


def _install_features(session: PowerShellSession, features: Sequence[str]) -> None:
    doing = f"installing the Windows features {', '.join(features)}"
    outcome = session.module(
        "ansible.windows.win_feature", {"name": list(features), "state": "present", "include_management_tools": True}, doing=doing
    )
    if outcome.get("reboot_required"):
        raise UserError(f"{doing}: done, but the host must restart before they work; restart it (ansible.windows.win_reboot) and run again")


def _succeeded(doing: str, outcome: Mapping[str, Any]) -> None:
    if outcome.get("error_id"):
        raise UserError(f"{doing}: {outcome.get('error') or 'failed'} (error {outcome['error_id']})")


def _certificate(session: PowerShellSession, steps: Steps) -> str:
    """Request the certificate, or take up the pending request; its thumbprint."""
    wanted, host = steps.wanted, steps.host
    doing = f"requesting a certificate of template {wanted.template} for {', '.join(wanted.names or (host.fqdn,))}"
    outcome = session.run(
        "web_enrollment_certificate",
        {
            "Template": wanted.template,
            "DnsName": list(wanted.names) or None,
            "FriendlyName": MARK + wanted.template,
            "Pending": steps.pending,
        },
        doing=doing,
        remedies=_CERTIFICATE_REMEDIES,
    )
    if outcome.get("status") == "Pending":
        raise UserError(
            f"{doing}: the request waits for approval (the template or the CA demands it); "
            f"have it issued on the CA {host.authority}, then run again: the request is remembered on the host and taken up"
        )
    if outcome.get("status") != "Issued" or not outcome.get("der"):
        raise UserError(f"{doing}: it ended as {outcome.get('status') or 'unknown'}; look at the CA's failed requests for the reason")
    held = states.held({"der": outcome["der"], "private_key": True, "friendly_name": MARK + wanted.template})
    wrong = faults(held, wanted, host)
    if wrong:
        raise UserError(f"{doing}: the CA issued {held.thumbprint}, which {'; '.join(wrong)}. It is left in the store, and not bound")
    return held.thumbprint
