# SPDX-License-Identifier: GPL-3.0-or-later
"""Enrollment services and the objects around them: who may change them (ESC5), what they publish, whose they are (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.compliance.judges.directory_facts import (
    Anybody,
    Certificates,
    Object,
    described,
    exposed,
    failure,
    published,
)
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts, Verdict, failed, passed, unknown
from ansible_collections.certlogon.core.plugins.module_utils.directory.builtin_templates import BUILT_IN
from ansible_collections.certlogon.core.plugins.module_utils.directory.exposure import CONTROLLING, TAKING, Exposure
from ansible_collections.certlogon.core.plugins.module_utils.directory.template_permissions import ace_text

Parameters = Mapping[str, Any]

_MEND = "Take these rights away (dsacls, ADSI Edit or Set-Acl by an Enterprise Admin), and see who used them."


def _service_subject(service: Mapping[str, Any]) -> str:
    return f"service {service['name']}"


# ---- ESC5


def esc5(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    """Who may change what the PKI rests on: its containers, the stores, the services, the OIDs."""
    yield from _access(facts["pki_objects"], lambda item: f"object {item['dn']}", Anybody(facts), (*CONTROLLING, *TAKING))


def ca_computers(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    """Who may change the computer account of a CA's host, and thereby become the CA."""
    anybody = Anybody(facts)
    for item, exposure in exposed(facts["ca_computers"], _computer_subject, anybody):
        if isinstance(exposure, Exposure) and exposure.extended and exposure.owner is None and not exposure.holders(CONTROLLING):
            names = anybody.names(exposure.extended)
            evidence = {"who": anybody.listed(exposure.extended), "rights": ["all_extended_rights"]}
            yield failure(_computer_subject(item), f"{names} can set the password of the CA's host.", evidence, mend=_MEND)
        else:
            yield from _verdict(item, exposure, _computer_subject(item), anybody, tuple(CONTROLLING))


def _computer_subject(item: Mapping[str, Any]) -> str:
    return f"computer {item['host'] or item['account']}"


def _access(items: Iterable[Object], subject_of: Any, anybody: Anybody, rights: tuple[str, ...]) -> Iterator[Verdict]:
    for item, exposure in exposed(items, subject_of, anybody):
        yield from _verdict(item, exposure, subject_of(item), anybody, rights)


def _verdict(item: Object, exposure: Exposure | Verdict, subject: str, anybody: Anybody, rights: tuple[str, ...]) -> Iterator[Verdict]:
    if isinstance(exposure, Verdict):
        yield exposure
        return
    held = [right for right in rights if exposure.controlling.get(right)]
    holders = [*exposure.holders(held), *([exposure.owner] if exposure.owner else []), *(sid for sid, _ace in exposure.attributes)]
    if not holders:
        yield passed(subject)
        return
    entries = [ace_text(ace) for _sid, ace in exposure.attributes]
    ways = [*(["owner"] if exposure.owner else []), *held, *(["write_property of single attributes"] if entries else [])]
    evidence = {"class": item.get("class", "computer"), "who": anybody.listed(holders), "rights": ways, "entries": entries}
    yield failure(subject, f"{anybody.names(holders)} can change it ({', '.join(ways)}).", evidence, mend=_MEND)


# ---- what is published


def missing_templates(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    """Services publish templates that exist."""
    there = {template["name"].casefold() for template in facts["templates"]}
    hidden = any(template["descriptor"] is None for template in facts["templates"])
    for service in facts["enrollment_services"]:
        subject = _service_subject(service)
        unknown_names = sorted(name for name in service["templates"] if name.casefold() not in there)
        if not unknown_names:
            yield passed(subject)
        elif hidden:
            message = f"It publishes {', '.join(unknown_names)}, which this account cannot see; it cannot see all of the others either."
            yield unknown(subject, message, right="Read on all certificate templates", templates=unknown_names)
        else:
            message = f"It publishes {', '.join(unknown_names)}, and the directory shows no such template; the CA logs an error for it."
            yield failed(subject, message, templates=unknown_names)


def superseded_templates(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    """Services do not publish a template beside the one that takes its place."""
    successors: dict[str, list[str]] = {}
    services = published(facts)
    for template in facts["templates"]:
        if template["name"].casefold() in services:
            for name in template["words"]["supersedes"]:
                successors.setdefault(name.casefold(), []).append(template["name"])
    for service in facts["enrollment_services"]:
        old = {name: sorted(successors[name.casefold()]) for name in sorted(service["templates"]) if name.casefold() in successors}
        if old:
            text = "; ".join(f"{name}, superseded by {', '.join(names)}" for name, names in old.items())
            yield failed(_service_subject(service), f"It still publishes {text}.", superseded=old)
        else:
            yield passed(_service_subject(service))


def default_templates(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    """Services do not publish built-in templates that make CAs, agents or anybody's certificate."""
    dangerous = {name.casefold(): name for name in parameters["templates"]}
    for service in facts["enrollment_services"]:
        found = sorted(dangerous[name.casefold()] for name in service["templates"] if name.casefold() in dangerous)
        if found:
            what = ", ".join(f"{name} ({BUILT_IN[name].display_name})" if name in BUILT_IN else name for name in found)
            yield failed(_service_subject(service), f"It publishes {what}.", templates=found)
        else:
            yield passed(_service_subject(service))


def card_template(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    """Some CA publishes a template for cards."""
    services = published(facts)
    if not facts["enrollment_services"]:
        return
    named = {name.casefold() for name in facts["smart_card_templates"]}
    cards = [
        template["name"]
        for template in facts["templates"]
        if template["name"].casefold() in named
        or (not named and template["words"]["subject_type"] == "user" and "smart_card_logon" in template["words"]["extended_key_usages"])
    ]
    offered = {name: sorted(services[name.casefold()]) for name in sorted(cards) if name.casefold() in services}
    subject = f"domain {facts['domain']['dns']}"
    if offered:
        yield passed(subject, "Cards can be enrolled for.", published_by=offered)
    else:
        text = f"the templates are {', '.join(sorted(cards))}" if cards else "there is no template for smart card logon"
        yield failed(subject, f"No CA publishes a template for cards; {text}.", templates=sorted(cards))


# ---- whose they are


def certificate_valid(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    """The service's newest certificate is valid for a while yet."""
    certificates = Certificates(facts)
    for service in facts["enrollment_services"]:
        subject = _service_subject(service)
        found = [one for one in map(certificates.get, service["certificates"]) if one]
        broken = [certificates.broken(fingerprint) for fingerprint in service["certificates"] if certificates.broken(fingerprint)]
        if not found:
            text = f"what it has is none: {broken[0]}" if broken else "it shows none"
            yield failed(
                subject, f"The enrollment service has no certificate of its CA; {text}.", cACertificate=len(service["certificates"])
            )
            continue
        newest = max(found, key=lambda one: one.not_after)
        days = (newest.not_after - facts.now).days
        evidence = {**described(newest), "days_left": days}
        if newest.not_after < facts.now:
            yield failure(subject, f"The CA's certificate expired on {newest.not_after:%Y-%m-%d}.", evidence)
        elif newest.not_before > facts.now:
            yield failure(subject, f"The CA's certificate is not valid before {newest.not_before:%Y-%m-%d}.", evidence)
        elif days < parameters["days_left"]:
            yield failure(subject, f"The CA's certificate ends in {days} days, on {newest.not_after:%Y-%m-%d}.", evidence)
        else:
            yield passed(subject, **{name: value for name, value in evidence.items() if name != "subject"})


def host_account(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    """The service's host is a computer of the domain."""
    hosts = {computer["host"].casefold(): computer for computer in facts["ca_computers"]}
    short = {computer["account"].casefold().rstrip("$"): computer for computer in facts["ca_computers"] if not computer["host"]}
    for service in facts["enrollment_services"]:
        subject, host = _service_subject(service), service["host"]
        computer = hosts.get(host.casefold()) or short.get(host.partition(".")[0].casefold())
        if not host:
            yield failed(subject, "It has no dNSHostName, so that nobody finds its CA.", dNSHostName="")
        elif computer is None:
            message = f"There is no computer account of {host}; whoever makes one by that name can pose as the CA."
            yield failed(subject, message, dNSHostName=host)
        elif computer["disabled"]:
            yield failed(subject, f"The computer account of {host} is disabled.", dNSHostName=host, computer=computer["dn"])
        else:
            yield passed(subject, dNSHostName=host, computer=computer["dn"])
