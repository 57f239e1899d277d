# SPDX-License-Identifier: GPL-3.0-or-later
"""What computers get in the end: the winning value of each setting, and why it is not the one that is wanted (pure).

Computers with the same cause are one finding, which names the cause; evidence names the computers and the places that they stand for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.compliance.judges.policy_facts import (
    LISTED,
    View,
    Words,
    setting_label,
    shown,
    view,
)
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts, Verdict, passed, unknown
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import certificate_blob, policy_claims
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.resultant import (
    DENIALS,
    Linked,
    Outcome,
    ResultantSet,
    Setting,
    Step,
)

Parameters = Mapping[str, Any]
Accepts = Callable[[str | None], bool]  # pylint: disable=unsupported-binary-operation  # judged for Python 3.8
Looked = tuple[Words, ResultantSet]

_WINLOGON = r"Software\Microsoft\Windows NT\CurrentVersion\Winlogon"
_AUTOENROLLMENT = r"Software\Policies\Microsoft\Cryptography\AutoEnrollment"
_LOOPBACK = policy_claims.registry_setting(r"Software\Policies\Microsoft\Windows\System", "UserPolicyMode")
_REMOVAL = {"0": "no action", "1": "lock", "2": "force logoff", "3": "disconnect"}


# ---- single settings


def service(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    """How service `service` starts: as declared, else as one of `startup`; where `unset`, not configured will do as well."""
    setting = Setting("service", parameters["service"])
    yield from _wanted(facts, setting, f"service {parameters['service']}", parameters["startup"], unset=parameters["unset"])


def services_started(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    """Those that are declared to be started, else `services`."""
    known = view(facts)
    declared = {
        item[0].casefold(): item[0]
        for entry in known.declared
        for item in entry["contents"].get("preferences", ())
        if item[2] != "no_change"
    }
    for _key, name in sorted((declared or {name.casefold(): name for name in parameters["services"]}).items()):
        yield from _wanted(facts, Setting("service_action", name), f"starting service {name}", ["start", "restart", "restart_if_required"])


def removal_behaviour(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    setting = policy_claims.registry_setting(_WINLOGON, "ScRemoveOption")
    yield from _wanted(facts, setting, "card removal", [str(one) for one in parameters["values"]], words=_REMOVAL)


def autoenrollment(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    """Only what is declared: nothing of the product needs computers to enroll by themselves."""
    yield from _wanted(facts, policy_claims.registry_setting(_AUTOENROLLMENT, "AEPolicy"), "autoenrollment of computers", [])


def trust_roots(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    """The certificates that are declared to be pushed into the stores of roots and of intermediate CAs."""
    known = view(facts)
    stores = tuple(f"{certificate_blob.PARENT}\\{certificate_blob.STORES[word]}\\".casefold() for word in ("trusted_root", "intermediate"))
    settings = sorted(
        {key for entry in known.declared for key in known.wished(entry) if key[0] == "registry" and key[1].startswith(stores)}
    )
    for kind, name in settings:
        store, _certificates, thumbprint = name.rpartition("\\")[0].rsplit("\\", 2)
        label = f"certificate {thumbprint} in store {'Root' if store.endswith('root') else 'CA'}"
        yield from _wanted(facts, Setting(kind, name), label, [])


def _wanted(
    facts: Facts, setting: Setting, label: str, values: Iterable[str], *, unset: bool = False, words: Mapping[str, str] | None = None
) -> Iterator[Verdict]:
    """A setting on the computers for which it is declared; without declaration on all of them, where there are `values`."""
    known = view(facts)
    said = [(entry, claim.value) for entry in known.declared if (claim := known.wished(entry).get(setting.key)) and claim.value is not None]
    if said:
        for entry, value in said:
            yield from _judged(known, list(known.reached(entry)), setting, label, {value}, words or {})
        return
    accepted = {*values, *((None,) if unset else ())}
    if accepted - {None}:
        yield from _judged(known, known.results, setting, label, accepted, words or {})


def _judged(
    known: View, computers: Iterable[Looked], setting: Setting, label: str, accepted: Iterable[str | None], words: Mapping[str, str]
) -> Iterator[Verdict]:
    good = frozenset(accepted)
    fine: list[Words] = []
    groups: dict[tuple[str, str], list[tuple[Words, Outcome, str]]] = {}
    for computer, result in computers:
        outcome = result.outcome(setting)
        bad = outcome.values - good
        if not bad and not outcome.unread:
            fine.append(computer)
            continue
        status = "fail" if bad == outcome.values and not outcome.unread else "unknown"
        cause = _cause(known, result, setting, outcome, good, words) if status == "fail" else _doubt(outcome)
        groups.setdefault((status, cause), []).append((computer, outcome, cause))
    for (status, cause), members in groups.items():
        found = [computer for computer, _outcome, _cause in members]
        evidence = {
            "setting": setting_label(setting),
            "wanted": sorted(_said(value, words) for value in good),
            "is": sorted(_said(value, words) for value in members[0][1].values),
            **known.computers(found),
            "history": [_told(known, step, words) for step in members[0][1].history[-LISTED:]],
        }
        if filters := sorted({step.linked.policy.wmi_filter for step in members[0][1].history} - {""}):
            evidence["wmi_filters"] = filters
        wanted = " or ".join(sorted(_said(value, words) for value in good))
        where = _where(known, found)
        if status == "fail":
            yield Verdict(f"{label}: {cause}", "fail", f"{where[0].upper()}{where[1:]} do not get {wanted}: {cause}.", evidence)
        else:
            yield Verdict(f"{label}: {cause}", "unknown", f"Whether {where} get {wanted} depends on {cause}.", evidence)
    if fine:
        yield passed(label, f"{len(fine)} computers looked from have it.")


def _cause(
    known: View, result: ResultantSet, setting: Setting, outcome: Outcome, good: frozenset[str | None], words: Mapping[str, str]
) -> str:
    """Why a computer gets none of the values that are wanted: who overrides it, or what keeps out the policy that would set it."""
    step = outcome.winner
    if step is not None:
        return f"policy {known.label(step.linked.policy)}, linked to {known.place(step.linked.som)}, sets {_said(step.claim.value, words)}"

    def setting_it(linked: Iterable[Linked]) -> list[Linked]:
        return [one for one in linked if any(claim.value in good for claim in one.policy.claims.get(setting.key, ()))]

    kept = setting_it(result.denied)
    if kept:
        return f"policy {known.label(kept[-1].policy)} would set it, but {denial(known, kept[-1])}"
    hidden = setting_it(result.applied)
    if hidden:
        return f"policy {known.label(hidden[-1].policy)} would set it, but its extension list hides it from clients"
    return "no policy sets it"


def denial(known: View, linked: Linked) -> str:
    at = known.place(linked.blocked_at) if linked.blocked_at else known.place(linked.som)
    if linked.denied == "inheritance_blocked":
        return f"inheritance is blocked at {at}"
    return f"{DENIALS[linked.denied]} (at {at})" if linked.denied == "link_disabled" else DENIALS[linked.denied]


def _doubt(outcome: Outcome) -> str:
    return "; ".join(outcome.doubts[:3])


def _said(value: str | None, words: Mapping[str, str]) -> str:
    return words.get(value, value) if value is not None else shown(None)


def _told(known: View, step: Step, words: Mapping[str, str]) -> dict[str, Any]:
    """One instruction of a setting's history: the last one wins."""
    found: dict[str, Any] = {
        "policy": known.label(step.linked.policy),
        "link": known.place(step.linked.som),
        "order": step.linked.order,
        "enforced": step.linked.enforced,
        "value": _said(step.claim.value, words),
    }
    if step.doubts:
        found["if"] = list(step.doubts)
    return found


def _where(known: View, found: list[Words]) -> str:
    told = known.computers(found)
    places = told["places"]
    if len(found) == 1:
        return f"computers like {found[0]['name']} ({places[0]})"
    return f"computers in {', '.join(places[:3])}{f' and {len(places) - 3} more places' if len(places) > 3 else ''}"


# ---- declared policies


def reaches(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    """Whether declared policies reach the computers that they are meant for."""
    known = view(facts)
    for entry in known.declared:
        if not entry["contents"].get("kinds", {}).get("computer"):
            continue
        for policy in known.meant(entry)[:1]:
            yield from _reaching(known, entry, policy["guid"])


def _reaching(known: View, entry: Words, guid: str) -> Iterator[Verdict]:
    subject = f"policy {entry['name']}"
    fine: list[Words] = []
    groups: dict[tuple[str, str], list[Words]] = {}
    for computer, result in known.reached(entry):
        links = result.of(guid)
        applied = [one for one in links if not one.denied]
        if any(not one.doubts for one in applied):
            fine.append(computer)
        elif applied:
            groups.setdefault(("unknown", "; ".join(applied[0].doubts)), []).append(computer)
        elif links and links[0].denied != "link_disabled":
            groups.setdefault(("fail", denial(known, links[0])), []).append(computer)
    for (status, cause), found in groups.items():
        where = _where(known, found)
        message = f"It does not reach {where}: {cause}." if status == "fail" else f"Whether it reaches {where} depends on {cause}."
        yield Verdict(f"{subject}: {cause}", status, message, known.computers(found))
    if fine:
        yield passed(subject, f"{len(fine)} computers looked from get it.")


def overridden(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    """Whether another policy wins a setting of a declared one, on the computers that this one reaches."""
    known = view(facts)
    for entry in known.declared:
        wanted = known.wished(entry)
        for policy in known.meant(entry)[:1] if wanted else ():
            yield from _overriding(known, entry, policy["guid"])


def _overriding(known: View, entry: Words, guid: str) -> Iterator[Verdict]:
    groups: dict[tuple[str, tuple[str, str], str, str], list[tuple[Words, Outcome]]] = {}
    reached = 0
    for computer, result in known.reached(entry):
        if all(one.denied for one in result.of(guid)):
            continue
        reached += 1
        for key, claim in known.wished(entry).items():
            outcome = result.outcome(Setting(*key))
            winner = outcome.winner
            if winner is None or winner.linked.policy.guid == guid or outcome.values == {claim.value}:
                continue
            status = "unknown" if claim.value in outcome.values else "fail"
            groups.setdefault((status, key, winner.linked.policy.dn, winner.linked.som), []).append((computer, outcome))
    for (status, key, _dn, som), members in groups.items():
        outcome = members[0][1]
        label = setting_label(known.spelt(entry, key))
        winner = outcome.winner
        if winner is None:  # groups are of settings that have one
            continue
        other, place = known.label(winner.linked.policy), known.place(som)
        found = [computer for computer, _outcome in members]
        evidence = {
            "setting": label,
            "wanted": shown(known.wished(entry)[key].value),
            "is": shown(winner.claim.value),
            "winner": other,
            "link": place,
            "order": winner.linked.order,
            "enforced": winner.linked.enforced,
            **known.computers(found),
            "history": [_told(known, step, {}) for step in outcome.history[-LISTED:]],
        }
        subject = f"{label} of policy {entry['name']}, overridden by policy {other} at {place}"
        what = f"policy {other}, linked to {place}, sets {shown(winner.claim.value)} instead of {evidence['wanted']}"
        if status == "fail":
            yield Verdict(subject, "fail", f"It wins later: on {_where(known, found)}, {what}.", evidence)
        else:
            yield Verdict(subject, "unknown", f"On {_where(known, found)}, {what}, if {_doubt(outcome)} lets it.", evidence)
    if reached and not any(status == "fail" for status, *_rest in groups):
        yield passed(f"policy {entry['name']}", f"No other policy certainly overrides it on {reached} computers looked from.")


# ---- what cannot be computed


def loopback(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    known = view(facts)
    groups: dict[str, list[Words]] = {}
    fine = 0
    for computer, result in known.results:
        outcome = result.outcome(_LOOPBACK)
        if outcome.values & {"1", "2"} and outcome.winner is not None:
            groups.setdefault(known.label(outcome.winner.linked.policy), []).append(computer)
        else:
            fine += 1
    for name, found in groups.items():
        message = f"Policy {name} turns loopback on for {_where(known, found)}: what users get there was not computed."
        yield Verdict(f"loopback by policy {name}", "unknown", message, known.computers(found))
    if fine:
        yield passed("loopback", f"{fine} computers looked from do not use it.")


def looked_from(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    found = facts["policy_computers"]
    for name in found["missing"]:
        yield unknown(f"computer {name}", "The inventory names it, and the directory shows no such computer.")
    if found["left_out"]:
        message = f"{found['left_out']} organizational units or sets of groups were left out; raise certlogon_compliance_computers_limit."
        yield unknown("computers left out", message, left_out=found["left_out"], total=found["total"])
    elif found["chosen"]:
        yield passed("computers", f"{len(found['chosen'])} of {found['total']} computers stand for all organizational units and groups.")
