# SPDX-License-Identifier: GPL-3.0-or-later
"""Group Policy in a compliance report: resultant sets beside Samba's own, and the findings that a spoilt domain gives."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.certlogon.core.plugins.module_utils.compliance import observation
from ansible_collections.certlogon.core.plugins.module_utils.compliance.catalogue import load
from ansible_collections.certlogon.core.plugins.module_utils.compliance.domain import DomainObservation
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judges.policy_facts import view
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judging import Result, judge
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policies import GroupPolicies
from ansible_collections.certlogon.core.plugins.module_utils.resource import run
from ansible_collections.certlogon.core.tests.integration.conftest import SAM

CARD, RIVAL, FORCED, OFF, HIDDEN, SITED = (f"Certlogon audited {name}" for name in ("card", "rival", "forced", "off", "hidden", "sited"))
BASE = "DC=corp,DC=example"
SITE = "Default-First-Site-Name"

# what a domain member would apply, by the policy client that Samba brings for Linux
SAMBA = """
import json, sys
from samba.credentials import Credentials
from samba.gp.gpclass import get_gpo_list
from samba.param import LoadParm
lp = LoadParm()
lp.load_default()
creds = Credentials()
creds.guess(lp)
creds.set_machine_account(lp)
found = {name: [[g.name, g.link] for g in get_gpo_list("dc1.corp.example", creds, lp, name + "$")] for name in json.load(sys.stdin)}
print(json.dumps(found))
"""

TOKEN = """
import sys
import ldb
from samba.auth import AUTH_SESSION_INFO_AUTHENTICATED, AUTH_SESSION_INFO_DEFAULT_GROUPS, system_session, user_session
from samba.param import LoadParm
from samba.samdb import SamDB
lp = LoadParm()
lp.load_default()
db = SamDB(session_info=system_session(), lp=lp)
flags = AUTH_SESSION_INFO_DEFAULT_GROUPS | AUTH_SESSION_INFO_AUTHENTICATED
print(*user_session(db, lp_ctx=lp, dn=ldb.Dn(db, sys.argv[1]), session_info_flags=flags).security_token.sids)
"""


def services(**startup: str) -> list[dict[str, str]]:
    return [{"name": name, "startup": word} for name, word in startup.items()]


DECLARED = {
    "name": CARD,
    "links": [{"target": "domain", "order": 1}, {"target": "Corp/Servers"}],
    "services": services(SCardSvr="automatic", SCPolicySvc="automatic"),
    "security_options": {"smart_card_removal_behaviour": "lock"},
}
ADMINISTRATORS = [{"principal": name, "rights": ["full_control"]} for name in ("CORP\\Domain Admins", "SYSTEM")]
POLICIES: list[dict[str, Any]] = [
    DECLARED,
    {
        "name": RIVAL,
        "links": [{"target": "Corp/Workstations/Kiosks", "block_inheritance": True}],
        "services": services(SCardSvr="disabled"),
    },
    {"name": FORCED, "links": [{"target": "Corp", "enforced": True}], "services": services(SCPolicySvc="manual")},
    {"name": OFF, "links": [{"target": "Corp/Servers", "enabled": False}], "services": services(SCardSvr="disabled")},
    {
        "name": HIDDEN,
        "links": [{"target": "Corp/Workstations"}],
        "permissions": ADMINISTRATORS,
        "permissions_mode": "exact",
        "services": services(SCardSvr="disabled"),
    },
    {"name": SITED, "links": [{"target": f"site:{SITE}"}], "services": services(CertPropSvc="manual")},
]


def look(connection: dict[str, Any], folder: Path, **options: Any) -> Facts:
    checked = ArgumentSpecValidator(DomainObservation.argument_spec()).validate({**connection, "folder": str(folder), **options})
    assert not checked.error_messages
    result = run(DomainObservation(), checked.validated_parameters, check_mode=False, warn=lambda text: None)
    assert not {name for name in result["unread"] if name.startswith("polic")}
    seen = observation.load(Path(result["observation"]))
    return Facts(seen.target, seen.facts, datetime.datetime.now(datetime.timezone.utc))


@pytest.fixture(scope="module")
def facts(lab: Any, connection: dict[str, Any], run_resource: Callable[..., Any], tmp_path_factory: Any) -> Iterator[Facts]:
    """The domain with POLICIES in it, as it was seen; all of them are taken away again."""
    try:
        run_resource(GroupPolicies(), POLICIES, "replaced")
        yield look(connection, tmp_path_factory.mktemp("observations"), policies=[DECLARED], computers=["ws-0001"])
    finally:
        unblocked = {"name": RIVAL, "links": [{"target": "Corp/Workstations/Kiosks", "block_inheritance": False}]}
        run_resource(GroupPolicies(), [unblocked], "merged")
        run_resource(GroupPolicies(), [{"name": one["name"]} for one in POLICIES], "deleted")


def judged(facts: Facts, control: str) -> Result:
    return judge([next(one for one in load().controls if one.id == control)], facts, {})[0]


def test_resultant_sets_agree_with_samba(facts: Facts, lab: Any) -> None:
    """Its list beside ours. Samba judges neither versions nor extension lists nor "apply", lets computers read what SYSTEM may, and
    puts enforced links of lower units after those of higher ones, where [MS-GPOL] 3.2.5.1.5 has the higher one win: so those are sets.
    """
    sets = {computer["name"]: result for computer, result in view(facts).results}
    assert {"DC1", "WS-0001", "WS-0005"} <= sets.keys() and len(sets) >= 6
    theirs = json.loads(lab.run("dc1", "python3", "-c", SAMBA, stdin=json.dumps(sorted(sets))).stdout)
    for name, result in sets.items():
        plain = [[one.policy.guid, one.som] for one in result.applied if not one.enforced]
        enforced = {(one.policy.guid, one.som) for one in result.applied if one.enforced}
        passed_over = ("empty", "no_extensions", "not_applied", "not_readable")
        only_ours = {(one.policy.guid, one.som) for one in result.denied if one.denied in passed_over}
        answer = [entry for entry in theirs[name] if entry[1] and (entry[0], entry[1]) not in only_ours]
        assert [entry for entry in answer if tuple(entry) not in enforced] == plain, name
        assert {tuple(entry) for entry in answer} - {tuple(entry) for entry in plain} == enforced, name


def test_who_may_read_agrees_with_samba_tool(facts: Facts, lab: Any) -> None:
    """`samba-tool gpo list` checks the account's own right to read, knows no sites, and takes every account for a user's."""
    for computer, result in view(facts).results:
        if computer["name"] in ("WS-0001", "WS-0005", "SRV-WEB1"):
            listed = lab.samba_tool("gpo", "list", f"{computer['name']}$", "-H", "ldap://dc1.corp.example", "-P").stdout
            ours = [*result.applied, *(one for one in result.denied if one.denied in ("empty", "no_extensions", "not_applied"))]
            assert {line.split()[-1] for line in listed.splitlines() if line.rstrip().endswith("}")} == {
                one.policy.guid for one in ours if "CN=Sites," not in one.som and not one.policy.flags & 1
            }, computer["name"]


def test_tokens_agree_with_samba(facts: Facts, lab: Any) -> None:
    """The SIDs that we reckon with are those of the tokens that Samba makes."""
    computer = next(one for one, _result in view(facts).results if one["name"] == "WS-0005")
    token = set(lab.run("dc1", "python3", "-c", TOKEN, computer["dn"]).stdout.split())
    assert token - {"S-1-5-2"} <= set(computer["sids"])
    assert set(computer["sids"]) - token <= {"S-1-5-2", "S-1-5-15"}


def test_findings_name_cause_policy_and_link(facts: Facts) -> None:
    overridden = judged(facts, "policy-overridden")
    assert {(one.evidence["winner"], one.evidence["link"], one.evidence["setting"].split()[-1]) for one in overridden.verdicts} == {
        (FORCED, "Corp", "SCPolicySvc"),
    }
    assert [one.subject.split(":")[-1].strip() for one in judged(facts, "policy-reaches-computers").verdicts] == [
        "inheritance is blocked at Corp/Workstations/Kiosks"
    ]
    causes = [one.message for one in judged(facts, "policy-smart-card-service").verdicts]
    assert len(causes) == 1 and f"policy {RIVAL}, linked to Corp/Workstations/Kiosks, sets disabled" in causes[0]
    (hidden,) = (one for one in view(facts).policies if one["name"] == HIDDEN)
    assert {one.denied for _computer, result in view(facts).results for one in result.of(hidden["guid"])} == {
        "not_readable",
        "inheritance_blocked",
    }


@pytest.mark.parametrize(
    "control",
    [
        "policy-present",
        "policy-linked",
        "policy-link-options",
        "policy-link-order",
        "policy-enabled",
        "policy-content",
        "policy-versions-in-step",
        "policy-extension-lists",
        "policy-folder-missing",
        "policy-folder-orphaned",
        "policy-sysvol-permissions",
        "policy-writable",
        "policy-delegated",
        "policy-links",
        "policy-passwords",
    ],
)
def test_what_the_product_wrote_passes(facts: Facts, control: str) -> None:
    result = judged(facts, control)
    assert result.status == "pass", result.verdicts


# ---- policies spoilt behind everybody's back

SHARE = "/var/lib/samba/sysvol/corp.example/Policies"
ORPHAN, NOWHERE = "{0B5C0000-0000-0000-0000-000000000001}", "{0B5C0000-0000-0000-0000-000000000002}"
SPOILT = ("older", "reversed", "folderless", "open", "scripted")
PREFERENCES = "[{17D89FEC-5C44-4972-B12D-241CAEF74509}{79F92669-4224-476C-9C5C-6EFB4D87DF4A}]"
SCRIPTS = "[{42B5FAAE-6536-11D2-AE5A-0000F87571E3}{40B6664F-4972-11D1-A7CA-0000F87571E3}]"
REGISTRY = "[{35378EAC-683F-11D2-A89A-00C04FBBCFA2}{D02B1F72-3407-48AE-BA88-E8213C6761F1}]"
SPOIL = f"""
set -e
cd {SHARE}
mkdir '{ORPHAN}'
rm -r "$1"
mkdir -p "$2/Machine/Scripts/Startup" "$2/Machine/Preferences/Groups"
printf '[Startup]\\r\\n0CmdLine=gone.cmd\\r\\n0Parameters=\\r\\n' > "$2/Machine/Scripts/scripts.ini"
printf '<Groups><User><Properties userName="x" cpassword="j1Uyj3Vx8TY9LtLZil2uAuZkFQA"/></User></Groups>' \\
    > "$2/Machine/Preferences/Groups/Groups.xml"
"""


@pytest.fixture(scope="module")
def spoilt(lab: Any, connection: dict[str, Any], run_resource: Callable[..., Any], tmp_path_factory: Any) -> Iterator[Facts]:
    """A domain in which each of five policies has a fault of its own, and SYSVOL and a unit have leftovers."""
    policies = {word: {"name": f"Certlogon spoilt {word}", "services": services(SCardSvr="automatic")} for word in SPOILT}
    servers = f"OU=Servers,OU=Corp,{BASE}"
    try:
        run_resource(GroupPolicies(), list(policies.values()), "replaced")
        found = {
            word: lab.ldbsearch(BASE, f"(displayName={one['name']})", "cn", "gPCMachineExtensionNames")[0] for word, one in policies.items()
        }
        dn = {word: entry["dn"][0].decode() for word, entry in found.items()}
        guid = {word: entry["cn"][0].decode() for word, entry in found.items()}
        names = found["reversed"]["gpcmachineextensionnames"][0].decode()
        changes = (
            (dn["older"], "versionNumber", "7"),
            (dn["reversed"], "gPCMachineExtensionNames", names + REGISTRY),
            (dn["scripted"], "gPCMachineExtensionNames", PREFERENCES + SCRIPTS + names),
            (servers, "gPLink", f"[LDAP://CN={NOWHERE},CN=Policies,CN=System,{BASE};0]"),
        )
        for target, attribute, value in changes:
            lab.ldbmodify(f"dn: {target}\nchangetype: modify\nreplace: {attribute}\n{attribute}: {value}\n")
        lab.samba_tool("dsacl", "set", "-H", SAM, f"--objectdn={dn['open']}", "--sddl=(A;CI;WP;;;AU)", "--action=allow")
        lab.run("dc1", "sh", "-c", SPOIL, "sh", guid["folderless"], guid["scripted"])
        yield look(connection, tmp_path_factory.mktemp("observations"))
    finally:
        lab.run("dc1", "rm", "-rf", f"{SHARE}/{ORPHAN}")
        lab.ldbmodify(f"dn: {servers}\nchangetype: modify\nreplace: gPLink\n")
        run_resource(GroupPolicies(), [{"name": one["name"]} for one in policies.values()], "deleted")


@pytest.mark.parametrize(
    ("control", "subjects", "says"),
    [
        ("policy-versions-in-step", {"policy Certlogon spoilt older"}, "computer half 7 and 1"),
        ("policy-extension-lists", {"policy Certlogon spoilt reversed"}, "clients stop before {35378EAC-683F-11D2-A89A-00C04FBBCFA2}"),
        ("policy-folder-missing", {"policy Certlogon spoilt folderless"}, "missing in SYSVOL"),
        ("policy-folder-orphaned", {f"folder {ORPHAN}"}, "No policy of the directory"),
        ("policy-writable", {"policy Certlogon spoilt open"}, "Authenticated Users, who has no privileges"),
        ("policy-sysvol-permissions", {"policy Certlogon spoilt open"}, "do not follow"),
        ("policy-scripts", {"startup script gone.cmd of policy Certlogon spoilt scripted"}, "it is not there"),
        ("policy-passwords", {"policy Certlogon spoilt scripted"}, "cpassword"),
        ("policy-links", {"links of Corp/Servers"}, "lead to a policy that is not there"),
        ("policy-delegated", set(), ""),
    ],
)
def test_faults_are_found(spoilt: Facts, control: str, subjects: set[str], says: str) -> None:
    """Those, and no others."""
    result = judged(spoilt, control)
    assert {one.subject for one in result.verdicts} == subjects
    assert all(one.status == "fail" and says in one.message for one in result.verdicts), result.verdicts
