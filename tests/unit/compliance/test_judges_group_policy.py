# SPDX-License-Identifier: GPL-3.0-or-later
"""Group Policy: each control on what passes, fails and cannot be known."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.compliance.outputs import pseudonyms
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import SddlContext, SecurityDescriptor, Sid
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import content, descriptors, policy_claims
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.resultant import REGISTRY, SECURITY, SERVICES
from ansible_collections.certlogon.core.tests.unit.compliance.judged import NOW, Case, check, incomplete, judged, rows
from ansible_collections.certlogon.core.tests.unit.directory import pki_samples as pki

Words = dict[str, Any]
Change = Callable[[Words], Any]

SID = "S-1-5-21-1-2-3"
CONTEXT = SddlContext(Sid.parse(SID))
DOMAIN = "DC=corp,DC=example"
CORP, DESKS = f"OU=Corp,{DOMAIN}", f"OU=Desks,OU=Corp,{DOMAIN}"
HALL, QUAY = (f"CN={name},CN=Sites,CN=Configuration,{DOMAIN}" for name in ("Hall", "Quay"))
APPLY = descriptors.APPLY_GROUP_POLICY
USUAL = f"(A;CI;LCRPLORC;;;AU)(OA;CI;CR;{APPLY};;AU)(A;CI;CCDCLCSWRPWPDTLOSDRCWDWO;;;DA)(A;CI;CCDCLCSWRPWPDTLOSDRCWDWO;;;SY)"
STAFF, KIOSKS = f"{SID}-1104", f"{SID}-1105"
SCRIPTS = "{42B5FAAE-6536-11D2-AE5A-0000F87571E3}"
TOOLS = {
    REGISTRY: "{D02B1F72-3407-48AE-BA88-E8213C6761F1}",
    SECURITY: "{803E14A0-B4FB-11D0-A0D0-00A0C90F574B}",
    SERVICES: "{CC5746A9-9B74-4BE5-AE2E-64379C86E0E4}",
}
PUBLIC_KEYS = "[{B1BE8D72-6EAC-11D2-A4EA-00C04F79F83A}{53D6AB1D-2488-11D1-A28C-00C04FB94F17}]"
PREFERENCES = f"[{{00000000-0000-0000-0000-000000000000}}{TOOLS[SERVICES]}]"
WHOLE = f"{PREFERENCES}[{REGISTRY}{TOOLS[REGISTRY]}][{SECURITY}{TOOLS[SECURITY]}][{SERVICES}{TOOLS[SERVICES]}]{PUBLIC_KEYS}"
USER = "[{35378EAC-683F-11D2-A89A-00C04FBBCFA2}{D02B1F73-3407-48AE-BA88-E8213C6761F1}]"

CARD = "Smart Card"
CONFIG: Words = {
    "name": CARD,
    "services": [{"name": name, "startup": "automatic"} for name in ("SCardSvr", "SCPolicySvc", "CertPropSvc")],
    "service_preferences": [
        {"name": name, "action": "start", "startup": "no_change", "timeout": 30} for name in ("SCardSvr", "SCPolicySvc")
    ],
    "security_options": {"smart_card_removal_behaviour": "lock"},
    "autoenrollment": {"computer": {"enabled": True, "renew": True, "update_templates": True}, "user": {"enabled": True}},
    "certificates": {"trusted_root": [{"content": base64.b64encode(pki.certificate("Root")).decode()}]},
}


def guid(number: int) -> str:
    return f"{{0000000{number}-0000-0000-0000-000000000000}}"


def dn(number: int) -> str:
    return f"CN={guid(number)},CN=Policies,CN=System,{DOMAIN}"


def encoded(sddl: str, disk: bool = False) -> str:
    found = SecurityDescriptor.from_sddl(f"O:DAG:DAD:P{sddl}", CONTEXT)
    return base64.b64encode(bytes(descriptors.samba_file_descriptor(found) if disk else found)).decode()


@cache
def said(**changes: str) -> Words:
    """The content of a policy made of CONFIG with other services: name -> startup."""
    config = copy.deepcopy(CONFIG) if not changes else {"name": "other"}
    if changes:
        config["services"] = [{"name": name, "startup": startup} for name, startup in changes.items()]
    files = content.edit(dict.fromkeys(content.KNOWN), content.wanted(config), exact=True, now=NOW)
    return policy_claims.words(files)


def policy(number: int, name: str, extensions: str | None, **changes: Any) -> Words:
    words = {
        "dn": dn(number),
        "guid": guid(number),
        "name": name,
        "flags": 0,
        "functionality": 2,
        "version": 0x10001,
        "folder": f"corp.example\\Policies\\{guid(number)}",
        "machine_extensions": extensions,
        "user_extensions": None,
        "wmi_filter": "",
        "descriptor": encoded(USUAL),
    }
    return {**words, **changes}


def folder(**changes: Any) -> Words:
    words = {
        "present": True,
        "descriptor": encoded(USUAL, disk=True),
        "descriptor_problem": "",
        "version": 0x10001,
        "version_problem": "",
        "version_unread": False,
    }
    return {**words, **changes}


def computer(name: str, place: str, *groups: str, **changes: Any) -> Words:
    sids = ["S-1-1-0", "S-1-5-11", f"{SID}-515", *groups]
    words = {"name": name, "dn": f"CN={name},{place}", "kind": "representative", "sids": sids, "site": None, "stands_for": 5}
    return {**words, **changes}


def link(number: int, options: int = 0) -> str:
    return f"[LDAP://{dn(number)};{options}]"


def good() -> Words:
    return {
        "domain": {
            "dns": "corp.example",
            "dn": DOMAIN,
            "configuration_dn": f"CN=Configuration,{DOMAIN}",
            "sid": SID,
            "root_sid": SID,
            "samba": True,
        },
        "domain_controllers": [{"name": "DC1", "host": "dc1.corp.example"}],
        "anybody": {},
        "policies": [policy(1, "Default Domain Policy", f"[{SECURITY}{TOOLS[SECURITY]}]"), policy(2, CARD, WHOLE, user_extensions=USER)],
        "policy_scopes": {
            "scopes": [
                {"dn": DOMAIN, "links": link(1) + link(2), "options": 0},
                {"dn": CORP, "links": None, "options": 0},
                {"dn": DESKS, "links": None, "options": 0},
                {"dn": HALL, "links": None, "options": 0},
            ],
            "sites": [HALL],
            "wmi_filters": {"{F}": "Laptops"},
        },
        "policy_computers": {
            "total": 11,
            "left_out": 0,
            "missing": [],
            "chosen": [
                computer("dc1", f"OU=Domain Controllers,{DOMAIN}", kind="domain_controller", site=HALL, stands_for=1),
                computer("ws1", DESKS),
            ],
        },
        "policies_declared": [
            {
                "name": CARD,
                "guid": None,
                "flags": 0,
                "unread": "",
                "contents": copy.deepcopy(said()),
                "links": [{"dn": DOMAIN, "target": "domain", "order": None, "enabled": True, "enforced": False}],
                "applies_to": None,
            }
        ],
        "policy_folders": {"policies": {guid(1): folder(), guid(2): folder()}, "orphans": []},
        "policy_contents": {guid(2): copy.deepcopy(said())},
        "policy_replicas": [{"host": "dc2.corp.example", "error": "", "compared": 2, "differences": [], "count": 0}],
        "policy_names": {"S-1-5-11": "Authenticated Users", STAFF: "CORP\\Staff", f"{SID}-512": "CORP\\Domain Admins"},
    }


# ---- changes


def spoilt(*changes: Change) -> Words:
    words = good()
    for change in changes:
        change(words)
    return words


def case(status: str, *changes: Change, says: str = "", evidence: Words | None = None, **parameters: Any) -> Case:
    return Case(spoilt(*changes), status, says, evidence or {}, parameters)


def unread(*facts: str) -> Change:
    return lambda words: words.update({fact: {"unread": {"reason": "the share was refused", "right": "Read"}} for fact in facts})


def the(number: int, **changes: Any) -> Change:
    """A policy's attributes."""
    return lambda words: words["policies"][number - 1].update(changes)


def disk(number: int, **changes: Any) -> Change:
    return lambda words: words["policy_folders"]["policies"][guid(number)].update(changes)


def contents(number: int, **changes: Any) -> Change:
    return lambda words: words["policy_contents"].setdefault(guid(number), {"unread": {}, "kinds": {}}).update(changes)


def refused(number: int) -> Change:
    """A file of the policy that may not be read."""
    return contents(number, unread={content.SECURITY: "access denied"})


def linked(place: str, text: str | None, options: int = 0) -> Change:
    def change(words: Words) -> None:
        for scope in words["policy_scopes"]["scopes"]:
            if scope["dn"] == place:
                scope.update(links=text, options=options)

    return change


def other(place: str, options: int = 0, *, extensions: str | None = WHOLE, wmi_filter: str = "", **services: str) -> Change:
    """A third policy, linked somewhere, with other services."""

    def change(words: Words) -> None:
        words["policies"].append(policy(3, "Legacy", extensions, wmi_filter=wmi_filter))
        words["policy_folders"]["policies"][guid(3)] = folder()
        words["policy_contents"][guid(3)] = said(**services)
        for scope in words["policy_scopes"]["scopes"]:
            if scope["dn"] == place:
                scope["links"] = (scope["links"] or "") + link(3, options)

    return change


def declared(**changes: Any) -> Change:
    return lambda words: words["policies_declared"][0].update(changes)


def undeclared(words: Words) -> None:
    words["policies_declared"] = []


def wished_link(**changes: Any) -> Change:
    return lambda words: words["policies_declared"][0]["links"][0].update(changes)


def without(words: Words) -> None:
    """No policy but the default one."""
    words["policies"].pop()
    words["policy_scopes"]["scopes"][0]["links"] = link(1)


def emptied(name: str) -> Change:
    """The policy says nothing of this kind any more."""
    return lambda words: words["policy_contents"][guid(2)].pop(name)


def targeted(words: Words) -> None:
    for item in words["policy_contents"][guid(2)]["preferences"]:
        item[3] = True


def broken_declaration(words: Words) -> None:
    words["policies_declared"][0].update(unread="certificates.trusted_root[0] (ca.pem): cannot be read", contents={}, links=None)


def looped(number: str) -> Change:
    record = [r"Software\Policies\Microsoft\Windows\System", "UserPolicyMode", "present", "dword", int(number)]
    return lambda words: words["policy_contents"][guid(2)]["registry"].append(record)


def replica(**changes: Any) -> Change:
    return lambda words: words["policy_replicas"][0].update(changes)


def windows(words: Words) -> None:
    words["domain"]["samba"] = False


def on_windows(sddl: str) -> str:
    found = SecurityDescriptor.from_sddl(f"O:DAG:DAD:P{sddl}", CONTEXT)
    return base64.b64encode(bytes(descriptors.windows_file_descriptor(found))).decode()


def script(command: str, path: str = "", there: bool | None = True, sddl: str | None = USUAL) -> Change:
    one = {
        "event": "startup",
        "command": command,
        "parameters": "",
        "path": path,
        "there": there,
        "descriptor": encoded(sddl, disk=True) if sddl else None,
    }
    return contents(2, scripts=[one])


WMI = the(2, wmi_filter="[corp.example;{F};0]")
BLOCKED = linked(DESKS, None, 1)
WINNER = other(DESKS, SCardSvr="disabled", SCPolicySvc="disabled", CertPropSvc="disabled")
MAYBE = other(DESKS, SCardSvr="disabled", SCPolicySvc="disabled", CertPropSvc="disabled", wmi_filter="[corp.example;{F};0]")
FILTERED = the(2, descriptor=encoded(USUAL.replace(";;AU)(OA", f";;AU)(OA;CI;CR;{APPLY};;{STAFF})(OD", 1)))
MOVED = {"is": ["disabled"], "computers": ["ws1"], "places": ["Corp/Desks"], "computers_there": 5}
LEGACY = "policy Legacy, linked to Corp/Desks, sets disabled"
AE = "AEPolicy"


def service_cases(unset: bool = False) -> list[Case]:
    return [
        case("pass"),
        case("pass", undeclared),
        case("fail", WINNER, says=f"Computers like ws1 (Corp/Desks) do not get automatic: {LEGACY}", evidence=MOVED),
        case("fail", undeclared, WINNER, says=LEGACY, evidence=MOVED),
        case("pass", undeclared, without) if unset else case("fail", undeclared, without, says="no policy sets it"),
        case("fail", BLOCKED, says="policy Smart Card would set it, but inheritance is blocked at Corp/Desks"),
        case("pass", BLOCKED, linked(DOMAIN, link(1) + link(2, 2))),
        case("fail", the(2, machine_extensions=PUBLIC_KEYS), says="its extension list hides it"),
        case("unknown", MAYBE, says="depends on the WMI filter of policy 'Legacy' (Laptops)"),
        case("unknown", WMI, says="the WMI filter of policy 'Smart Card'"),
        case("unknown", refused(1), says="access denied"),
        case("unknown", unread("policy_contents"), says="the share was refused"),
    ]


CASES: dict[str, list[Case]] = {
    "policy-smart-card-service": [
        *service_cases(),
        case("pass", lambda words: words["policies_declared"][0]["links"][0].update(dn=CORP), other(f"OU=Domain Controllers,{DOMAIN}")),
        case("not_applicable", declared(applies_to=[STAFF]), says=""),
        case("unknown", lambda words: words["policy_scopes"]["scopes"][0].update(links="garbage"), says="gPLink"),
    ],
    "policy-removal-service": service_cases(),
    "policy-propagation-service": service_cases(unset=True),
    "policy-services-started": [
        case("pass"),
        case("pass", undeclared),
        case("fail", emptied("preferences"), says="do not get start: no policy sets it"),
        case("fail", undeclared, without, services=["SCardSvr"], says="no policy sets it"),
        case("unknown", targeted, says="item-level targeting of service SCardSvr in policy 'Smart Card'"),
        case("unknown", unread("policy_computers")),
    ],
    "policy-removal-behaviour": [
        case("pass"),
        case("pass", undeclared),
        case("fail", undeclared, without, evidence={"is": ["not configured"], "wanted": ["force logoff", "lock"]}),
        case("fail", emptied("registry_values"), says="do not get lock"),
        case("unknown", WMI),
    ],
    "policy-trust-roots": [
        case("pass"),
        case("not_applicable", undeclared),
        case("fail", emptied("registry"), says="no policy sets it"),
        case("fail", BLOCKED, says="inheritance is blocked"),
        case("unknown", WMI),
    ],
    "policy-autoenrollment": [
        case("pass"),
        case("not_applicable", undeclared),
        case("fail", emptied("registry"), evidence={"wanted": ["7"], "is": ["not configured"]}),
        case("unknown", unread("policy_scopes")),
    ],
    "policy-present": [
        case("pass"),
        case("not_applicable", undeclared),
        case("fail", without, says="the domain has no such policy"),
        case("fail", the(1, name=CARD.upper()), says="There are 2 policies of this name"),
        case("unknown", unread("policies")),
    ],
    "policy-linked": [
        case("pass"),
        case("fail", linked(DOMAIN, link(1)), says="it is not linked", evidence={"target": DOMAIN}),
        case("unknown", broken_declaration, says="ca.pem"),
        case("unknown", linked(DOMAIN, "garbage"), says="cannot be understood"),
    ],
    "policy-link-options": [
        case("pass"),
        case("fail", linked(DOMAIN, link(1) + link(2, 1)), says="disabled", evidence={"enabled": False}),
        case("fail", wished_link(enforced=True), says="enabled and not enforced"),
        case("unknown", unread("policy_scopes")),
    ],
    "policy-link-order": [
        case("not_applicable"),
        case("pass", wished_link(order=1)),
        case(
            "fail", wished_link(order=1), linked(DOMAIN, link(2) + link(1)), says="before it: Default Domain Policy", evidence={"order": 2}
        ),
        case("unknown", unread("policy_scopes")),
    ],
    "policy-enabled": [
        case("pass"),
        case("fail", the(2, flags=2), says="Its computer half is disabled", evidence={"flags": 2}),
        case("fail", the(2, version=0x10000), disk(2, version=0x10000), says="computer half has version 0"),
        case("pass", the(2, flags=1), declared(flags=1)),
        case("unknown", unread("policy_folders")),
    ],
    "policy-content": [
        case("pass"),
        case("fail", contents(2, services=[["SCardSvr", "manual"]]), says="service SCardSvr is manual, not automatic and 2 more settings"),
        case("fail", emptied("user_registry"), says="user: "),
        case("unknown", emptied("services"), refused(2), says="access denied"),
        case("unknown", broken_declaration, says="cannot be read"),
    ],
    "policy-reaches-computers": [
        case("pass"),
        case("fail", BLOCKED, says="It does not reach computers like ws1 (Corp/Desks): inheritance is blocked at Corp/Desks"),
        case("fail", FILTERED, says="a deny entry"),
        case("fail", the(2, descriptor=encoded(f"(A;CI;LCRPLORC;;;AU)(OA;CI;CR;{APPLY};;{STAFF})")), says="leaves the computer out"),
        case("fail", the(2, descriptor=encoded(f"(OA;CI;CR;{APPLY};;AU)")), says="may not read it"),
        case("not_applicable", declared(applies_to=[KIOSKS]), the(2, descriptor=encoded(f"(OA;CI;CR;{APPLY};;AU)"))),
        case("unknown", WMI, says="depends on the WMI filter"),
        case("unknown", the(2, descriptor=None), says="permissions of policy 'Smart Card' cannot be read"),
    ],
    "policy-overridden": [
        case("pass"),
        case(
            "fail",
            WINNER,
            says=f"It wins later: on computers like ws1 (Corp/Desks), {LEGACY} instead of automatic.",
            evidence={"link": "Corp/Desks"},
        ),
        case("fail", other(DOMAIN, 2, SCardSvr="manual"), evidence={"winner": "Legacy", "link": "domain", "enforced": True, "order": 1}),
        case("pass", other(DESKS, SCardSvr="automatic")),
        case("unknown", MAYBE, says="if the WMI filter of policy 'Legacy' (Laptops) lets it"),
    ],
    "policy-versions-in-step": [
        case("pass"),
        case("fail", disk(2, version=0x10002), says="(computer half 1 and 2)", evidence={"versionNumber": 0x10001, "Version": 0x10002}),
        case("fail", disk(2, version=None, version_problem="GPT.INI is not there"), says="GPT.INI is not there"),
        case("unknown", disk(2, version=None, version_problem="access denied", version_unread=True), says="access denied"),
        case("unknown", the(2, version=None), says="versionNumber"),
    ],
    "policy-replicated": [
        case("pass"),
        case(
            "fail",
            replica(differences=[{"policy": CARD, "where": "SYSVOL", "here": 3, "there": 2}], count=1),
            says="SYSVOL policy Smart Card has",
        ),
        case(
            "fail",
            replica(differences=[{"policy": CARD, "where": "directory", "here": 3, "there": None}], count=9),
            says="8 more differences",
        ),
        case("unknown", replica(error="it does not answer"), says="it does not answer"),
        case("not_applicable", lambda words: words.update(policy_replicas=[])),
    ],
    "policy-extension-lists": [
        case("pass"),
        case("fail", the(2, machine_extensions=PUBLIC_KEYS + WHOLE), says="stop before"),
        case("fail", the(2, machine_extensions="[garbage"), says="cannot be understood"),
        case("fail", the(2, machine_extensions=None), says="does not name the extension for its"),
        case("unknown", refused(1), says="access denied"),
    ],
    "policy-folder-missing": [
        case("pass"),
        case("fail", disk(2, present=False, descriptor=None), says="missing in SYSVOL"),
        case("unknown", unread("policy_folders")),
    ],
    "policy-folder-orphaned": [
        case("pass"),
        case("fail", lambda words: words["policy_folders"].update(orphans=[guid(9)]), evidence={"folder": guid(9)}),
        case("unknown", unread("policy_folders")),
    ],
    "policy-sysvol-permissions": [
        case("pass"),
        case("fail", disk(2, descriptor=encoded(USUAL)), says="do not follow"),
        case(
            "fail",
            lambda words: words["domain"].update(samba=False),
            disk(1, descriptor=encoded(USUAL + "(A;OICI;FA;;;BU)", True)),
            says="can",
        ),
        case("unknown", disk(2, descriptor=None, descriptor_problem="access denied"), says="access denied"),
        case("unknown", the(2, descriptor=None), says="nTSecurityDescriptor"),
    ],
    "policy-writable": [
        case("pass"),
        case(
            "fail",
            the(2, descriptor=encoded(USUAL + "(A;CI;WP;;;AU)")),
            says="Authenticated Users, who has no privileges, can change the directory",
        ),
        case("fail", disk(2, descriptor=encoded(USUAL + "(A;CI;CCWP;;;DU)", True)), says="its folder in SYSVOL"),
        case("fail", the(2, descriptor=encoded(USUAL + "(A;CI;WP;;;AU)")), unread("policy_folders"), says="Authenticated Users"),
        case("pass", the(2, descriptor=encoded(USUAL + f"(A;CI;WP;;;{STAFF})"))),
        case("fail", the(2, descriptor=encoded(USUAL + f"(A;CI;WP;;;{STAFF})")), lambda words: words["anybody"].update({STAFF: "x"})),
        case("unknown", the(2, descriptor=None)),
        case("unknown", unread("policy_folders")),
    ],
    "policy-delegated": [
        case("pass"),
        case("fail", the(2, descriptor=encoded(USUAL + f"(A;CI;WP;;;{STAFF})")), says="CORP\\Staff, who is no administrator", editors=[]),
        case("pass", the(2, descriptor=encoded(USUAL + f"(A;CI;WP;;;{STAFF})")), editors=["staff"]),
        case("unknown", unread("policy_folders")),
    ],
    "policy-readable": [
        case("pass"),
        case("fail", the(2, descriptor=encoded(f"(A;CI;LCRPLORC;;;{STAFF})")), says="MS16-072", evidence={"readers": ["CORP\\Staff"]}),
        case("pass", the(2, descriptor=encoded(f"(A;CI;LCRPLORC;;;{STAFF})(A;CI;LCRPLORC;;;DC)"))),
        case("not_applicable", the(2, user_extensions=None)),
        case("unknown", the(2, descriptor=None)),
    ],
    "policy-links": [
        case("pass"),
        case("fail", linked(CORP, link(7)), evidence={"policies": [dn(7)]}),
        case("fail", linked(CORP, "[LDAP:"), says="cannot be understood"),
        case("unknown", linked(CORP, link(7).replace("DC=corp", "DC=branch")), says="other domains"),
    ],
    "policy-scripts": [
        case("not_applicable"),
        case("pass", script("start.cmd", "p\\start.cmd")),
        case("fail", script("start.cmd", "p\\start.cmd", there=False), says="it is not there"),
        case("fail", script("start.cmd", "p\\start.cmd", sddl=USUAL + "(A;CI;CCWP;;;AU)"), says="Authenticated Users"),
        case("fail", script(r"\\files\tools\start.cmd"), says="files, which is no domain controller"),
        case("fail", script(r"\\dc1.corp.example\tools\start.cmd"), says="no domain controller's SYSVOL"),
        case("unknown", script(r"\\corp.example\netlogon\start.cmd"), says="outside the policy"),
        case("unknown", script(r"C:\tools\start.cmd"), says="outside the policy"),
        case("unknown", script("start.cmd", "p\\start.cmd", there=None, sddl=None), says="could not be read"),
    ],
    "policy-passwords": [
        case("pass"),
        case("fail", contents(1, passwords=["Machine\\Preferences\\Groups\\Groups.xml"]), says="cpassword"),
        case("unknown", refused(2), says="access denied"),
    ],
    "policy-loopback": [
        case("pass"),
        case("unknown", looped("2"), says="turns loopback on", evidence={"computers": ["dc1", "ws1"]}),
        case("pass", looped("0")),
    ],
    "policy-computers": [
        case("pass"),
        case(
            "unknown", lambda words: words["policy_computers"].update(left_out=7), says="7 organizational units", evidence={"left_out": 7}
        ),
        case("unknown", lambda words: words["policy_computers"].update(missing=["ws9"]), says="no such computer"),
    ],
}

CANNOT_FAIL = {"policy-loopback: fail", "policy-computers: fail"}
"""What they look at is no fault; it is only not known."""


def test_every_control_has_cases() -> None:
    assert set(incomplete("60-group_policy", CASES)) == CANNOT_FAIL


@pytest.mark.parametrize(("control", "case"), rows(CASES))
def test_verdicts(control: str, case: Case) -> None:
    check(control, case)


@pytest.mark.parametrize("control", CASES)
def test_nothing_is_unread_and_passes(control: str) -> None:
    """Whatever fact is missing, no control passes that reads it, and none fails."""
    from ansible_collections.certlogon.core.plugins.module_utils.compliance.catalogue import load

    reads = next(one.reads for one in load().controls if one.id == control)
    for fact in reads:
        assert judged(control, Case(spoilt(unread(fact)), "")).status in ("unknown", "not_applicable"), fact


def test_one_cause_is_one_finding() -> None:
    def more(words: Words) -> None:
        words["policy_computers"]["chosen"] += [computer(f"ws{number}", f"OU=Room{number},{DESKS}") for number in range(2, 40)]

    result = judged("policy-smart-card-service", Case(spoilt(BLOCKED, more), ""))
    assert result.counts["fail"] == 1
    evidence = result.verdicts[0].evidence
    assert (evidence["computers_looked_from"], len(evidence["computers"]), evidence["computers_there"]) == (39, 20, 195)


def test_history_names_who_lost() -> None:
    result = judged("policy-overridden", Case(spoilt(WINNER), ""))
    history = result.verdicts[0].evidence["history"]
    assert [(step["policy"], step["link"], step["value"]) for step in history] == [
        (CARD, "domain", "automatic"),
        ("Legacy", "Corp/Desks", "disabled"),
    ]


def test_a_site_that_is_not_known_is_told() -> None:
    def sites(words: Words) -> None:
        words["policy_scopes"]["sites"] = [HALL, QUAY]
        words["policy_scopes"]["scopes"].append({"dn": QUAY, "links": None, "options": 0})

    result = judged("policy-smart-card-service", Case(spoilt(sites, other(QUAY, 2, SCardSvr="disabled")), ""))
    assert [(one.status, "site of ws1 is not known" in one.message) for one in result.verdicts] == [("unknown", True)]
    assert result.counts["pass"] == 1  # the domain controller, whose site the directory tells


def test_nothing_of_it_is_told_with_pseudonyms() -> None:
    """Of all findings of the table: no computer, unit, policy, group, filter or server of the site is left."""
    results = [judged(control, one) for control, one in rows(CASES)]
    named = judged("policy-versions-in-step", Case(spoilt(other(DESKS)), ""))  # every policy is some finding's subject, or passes
    target = {"kind": "domain", "name": "corp.example"}
    told = [
        {
            "target": target,
            "passes": result.passes,
            "findings": [{**asdict(verdict), "fingerprint": "a" * 32} for verdict in result.verdicts],
        }
        for result in (*results, named)
    ]
    report = {
        "run": {"title": "corp.example", "waivers": None, "pseudonyms": False, "catalogue_sha256": ""},
        "targets": [{**target, "account": "CORP\\auditor", "servers": ["dc1.corp.example"], "error": ""}],
        "chain": {"nodes": [], "edges": []},
        "controls": [{"id": "policy", "results": told}],
    }
    text = json.dumps(pseudonyms.hide(report, b"k" * 16)).casefold()
    names = ("ws1", "dc2", "desks", "legacy", "smart card", "staff", "laptops", "corp.example", SID, "\\\\files", "from files")
    assert not [name for name in names if name.casefold() in text]
