# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificate templates: what an attacker could do with them (ESC1 to ESC17), and whether those of cards are fit for cards (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.compliance.judges.directory_facts import Anybody, exposed, failure, published
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts, Verdict, failed, passed, unknown
from ansible_collections.certlogon.core.plugins.module_utils.directory.exposure import Exposure
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import Sid
from ansible_collections.certlogon.core.plugins.module_utils.directory.template_weaknesses import (
    Weakness,
    controllable,
    issued_at_once,
    logs_on,
    takes_agent,
    weaknesses,
)
from ansible_collections.certlogon.core.plugins.module_utils.directory.template_words import parse_period

Parameters = Mapping[str, Any]
Template = dict[str, Any]

_DAY = 864_000_000_000


def _subject(template: Template) -> str:
    return f"template {template['name']}"


def _judged(facts: Facts) -> Iterator[tuple[Template, Exposure | Verdict]]:
    """Each template with what anybody may do; where the account was not shown what matters, with the verdict unknown."""
    for template, exposure in _access(facts):
        yield template, _unshown(template) if template["unread"] and not isinstance(exposure, Verdict) else exposure


def _access(facts: Facts) -> Iterator[tuple[Template, Exposure | Verdict]]:
    return exposed(facts["templates"], _subject, Anybody(facts))


def _unshown(template: Template) -> Verdict:
    message = f"The directory shows this account no {', '.join(template['unread'])} of it, which every template has."
    return unknown(_subject(template), message, right=f"Read all properties on {template['dn']}")


def _linked(facts: Facts) -> dict[str, str]:
    return {policy["word"]: policy["group"] for policy in facts["issuance_policies"] if policy["group"]}


def _found(facts: Facts, template: Template, exposure: Exposure) -> list[Weakness]:
    """All weaknesses; without ESC13 where the policies could not be read."""
    linked = _linked(facts) if template["words"]["issuance_policies"] and facts.read("issuance_policies") else None
    return weaknesses(template["words"], exposure, linked)


def _failure(facts: Facts, template: Template, found: Iterable[Weakness], services: Iterable[str]) -> Verdict:
    anybody = Anybody(facts)
    sentences, mends = [], []
    evidence: dict[str, Any] = {}
    who: list[Sid] = []
    for weakness in found:
        names = anybody.names(weakness.who)
        sentences.append(f"{names} {weakness.what}")
        mends.append(weakness.mend(names))
        evidence |= weakness.evidence
        who += weakness.who
    if published_by := sorted(services):
        evidence["published_by"] = published_by
    mend = f"In the template's entry of certlogon_certificate_templates: {'; '.join(dict.fromkeys(mends))}."
    return failure(_subject(template), f"{'; '.join(sentences)}.", {"who": anybody.listed(who), **evidence}, mend=mend)


def _of(esc: str) -> Callable[[Facts, Parameters], Iterator[Verdict]]:
    """The judge of one weakness of published templates."""

    def judge(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
        services = published(facts) if esc != "ESC4" or facts.read("enrollment_services") else {}
        if esc == "ESC13":
            _linked(facts)  # where it was not read, nothing can be said of any template
        for template, exposure in _access(facts) if esc == "ESC4" else _judged(facts):
            publishing = services.get(template["name"].casefold(), [])
            if esc != "ESC4" and not publishing:
                yield passed(_subject(template), "No CA publishes it.")
            elif isinstance(exposure, Verdict):
                yield exposure
            elif found := [
                one for one in (controllable(exposure) if esc == "ESC4" else _found(facts, template, exposure)) if one.esc == esc
            ]:
                yield _failure(facts, template, found, publishing)
            else:
                yield passed(_subject(template))

    return judge


esc1 = _of("ESC1")
esc2 = _of("ESC2")
esc3 = _of("ESC3")
esc4 = _of("ESC4")
esc9 = _of("ESC9")
esc13 = _of("ESC13")
esc15 = _of("ESC15")
esc17 = _of("ESC17")


def agent_targets(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    """Templates that an enrollment agent may enroll for on behalf of others, where anybody can become an agent (ESC3)."""
    services = published(facts)
    seen = list(_judged(facts))
    agents = [
        template["name"]
        for template, exposure in seen
        if template["name"].casefold() in services
        and not isinstance(exposure, Verdict)
        and any(weakness.esc == "ESC3" for weakness in _found(facts, template, exposure))
    ]
    hidden = [template["name"] for template, exposure in seen if template["name"].casefold() in services and isinstance(exposure, Verdict)]
    anybody = Anybody(facts)
    for template, exposure in seen:
        words = template["words"]
        publishing = services.get(template["name"].casefold(), [])
        if not publishing or not (takes_agent(words) and logs_on(words)):
            yield passed(_subject(template))
        elif isinstance(exposure, Verdict):
            yield exposure
        elif not exposure.enrolling:
            yield passed(_subject(template))
        elif agents:
            names = anybody.names(exposure.enrolling)
            yield failed(
                _subject(template),
                f"{names} can get a certificate for anybody else here, as an enrollment agent by {', '.join(sorted(agents))}.",
                mend=f"Mend ESC3 of {', '.join(sorted(agents))}; take enroll of this template from {names}.",
                who=anybody.listed(exposure.enrolling),
                agent_templates=sorted(agents),
                published_by=sorted(publishing),
            )
        elif hidden:
            message = f"It takes requests of enrollment agents; whether anybody can become one by {', '.join(sorted(hidden))} is not known."
            yield unknown(_subject(template), message, right="Read Permissions on the templates named")
        else:
            yield passed(_subject(template), "Nobody without privileges can become an enrollment agent.")


def unpublished(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    """Weak templates that wait for somebody to publish them."""
    services = published(facts)
    for template, exposure in _judged(facts):
        if template["name"].casefold() in services:
            continue
        if isinstance(exposure, Verdict):
            yield exposure
        elif found := [weakness for weakness in _found(facts, template, exposure) if weakness.esc != "ESC4"]:
            verdict = _failure(facts, template, found, ())
            names = ", ".join(dict.fromkeys(weakness.esc for weakness in found))
            message = f"As soon as a CA publishes it ({names}): {verdict.message}"
            yield failure(verdict.subject, message, {**verdict.evidence, "weaknesses": names}, mend=verdict.mend)
        else:
            yield passed(_subject(template))


# ---- the good state of templates for cards


def _card_templates(facts: Facts) -> Iterator[Template | Verdict]:
    """Those that inventory names; else the published ones by which users get certificates for smart card logon."""
    named = {name.casefold(): name for name in facts["smart_card_templates"]}
    services = published(facts)
    there = set()
    for template in facts["templates"]:
        name = template["name"].casefold()
        there.add(name)
        words = template["words"]
        uses = {*words["extended_key_usages"], *(words.get("application_policies") or ())}
        if name not in named and (named or name not in services or words["subject_type"] != "user" or "smart_card_logon" not in uses):
            continue
        if template["unread"]:
            yield _unshown(template)
        else:
            yield template
    for name, written in named.items():
        if name not in there:
            yield failed(
                f"template {written}",
                "The inventory names it as a template for cards, and the directory shows this account no such template.",
                variables=["certlogon_certificate_templates"],
            )


def _cards(
    check: Callable[[Template, Parameters], Iterator[tuple[str, str, dict[str, Any]]]],
) -> Callable[[Facts, Parameters], Iterator[Verdict]]:
    """A judge from what is wrong with one template: what is so, what mends it, evidence."""

    def judge(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
        for template in _card_templates(facts):
            if isinstance(template, Verdict):
                yield template
                continue
            wrong = list(check(template["words"], parameters))
            if not wrong:
                yield passed(_subject(template))
                continue
            evidence = {name: value for _text, _mend, values in wrong for name, value in values.items()}
            text = "; ".join(text for text, _mend, _values in wrong)
            mend = "; ".join(mend for _text, mend, _values in wrong)
            yield failure(_subject(template), f"{text[:1].upper()}{text[1:]}.", evidence, mend=f"{mend[:1].upper()}{mend[1:]}.")

    return judge


def _purposes(words: Template, parameters: Parameters) -> Iterator[tuple[str, str, dict[str, Any]]]:
    uses = set(words["extended_key_usages"])
    missing = [use for use in parameters["purposes"] if use not in uses]
    if missing:
        evidence = {"extended_key_usages": sorted(uses)}
        yield (
            f"certificates lack the purpose {', '.join(missing)}, without which a domain controller or VPN refuses them",
            f"add {', '.join(missing)} to extended_key_usages",
            evidence,
        )


def _provider(words: Template, parameters: Parameters) -> Iterator[tuple[str, str, dict[str, Any]]]:
    providers, wanted = words["providers"], parameters["providers"]
    first = providers[0] if providers else None
    if first in wanted:
        return
    text = (
        f"its default provider is {first}, which makes no keys on cards"
        if first
        else "it names no provider, so that users may keep keys in files"
    )
    yield text, f"set providers to [{wanted[0]}] (certlogon_smart_card_provider)", {"providers": list(providers)}


def _key(words: Template, parameters: Parameters) -> Iterator[tuple[str, str, dict[str, Any]]]:
    size, least = words["minimum_key_size"], parameters["minimum_key_size"]
    algorithm = (words.get("algorithms") or {}).get("asymmetric", "RSA")
    if algorithm == "RSA" and size < least:
        yield f"keys of {size} bits are accepted", f"set minimum_key_size to {least} or more", {"minimum_key_size": size}
    if words["private_key"]["exportable"]:
        yield "keys may be exported", "set private_key.exportable: false", {"private_key": {"exportable": True}}
    legacy = words["schema_version"] < 3 or "legacy_provider" in words["private_key"]["flags"]
    if legacy and words["key_spec"] != "key_exchange":
        yield "keys are for signing only, which smart card logon refuses", "set key_spec: key_exchange", {"key_spec": words["key_spec"]}


def _validity(words: Template, parameters: Parameters) -> Iterator[tuple[str, str, dict[str, Any]]]:
    days, overlap = _days(words.get("validity")), _days(words.get("renewal_overlap"))
    evidence = {"validity": words.get("validity"), "renewal_overlap": words.get("renewal_overlap")}
    if days is None or overlap is None:
        yield "its validity or renewal period is none that Windows can use", "set validity and renewal_overlap", evidence
        return
    if days > parameters["longest_days"]:
        yield (
            f"certificates are valid for {days:g} days, more than {parameters['longest_days']}",
            "shorten validity (certlogon_smart_card_validity)",
            evidence,
        )
    if overlap < min(parameters["least_overlap_days"], days / 2) or overlap >= days:
        yield (
            f"certificates can be renewed {overlap:g} days before their end of {days:g}",
            f"set renewal_overlap (certlogon_smart_card_renewal_overlap) to {parameters['least_overlap_days']} days or more",
            evidence,
        )


def _days(period: str | None) -> float | None:
    if not period or period.startswith("0x"):
        return None
    return -int.from_bytes(parse_period(period), "little", signed=True) / _DAY


def _binding(words: Template, parameters: Parameters) -> Iterator[tuple[str, str, dict[str, Any]]]:
    supplied = words["subject"]["supplied_in_request"] or words["subject"]["from_old_certificate"]
    if not words["sid_extension"]:
        yield "its certificates do not say whose account they are for (KB5014754)", "set sid_extension: true", {"sid_extension": False}
    elif supplied:
        yield (
            "the subject comes from the request, so that the CA does not add the account's SID and domain controllers refuse the logon "
            "unless the account is mapped (KB5014754)",
            "set subject.supplied_in_request: false, or map each account by ad_certificate_mappings",
            {"subject": words["subject"]},
        )


def _approval(words: Template, parameters: Parameters) -> Iterator[tuple[str, str, dict[str, Any]]]:
    if words["subject"]["supplied_in_request"] and issued_at_once(words):
        yield (
            "who enrolls names the subject, and nobody looks at the request",
            "set manager_approval: true, or require a signature of an enrollment agent",
            {"subject": words["subject"], "manager_approval": False, "signatures": words["signatures"]["count"]},
        )


card_purposes = _cards(_purposes)
card_provider = _cards(_provider)
card_key = _cards(_key)
card_validity = _cards(_validity)
card_binding = _cards(_binding)
card_approval = _cards(_approval)
