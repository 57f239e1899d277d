# SPDX-License-Identifier: GPL-3.0-or-later
"""The resultant set of a computer: cases of [MS-GPOL], and permutations against its own procedure written down once more."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.directory.security import Ace, Acl, SecurityDescriptor, Sid
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import policy_claims, registry_pol
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.descriptors import APPLY_GROUP_POLICY
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.links import parse
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.resultant import (
    REGISTRY,
    SECURITY,
    SERVICES,
    Claim,
    Computer,
    Policy,
    Setting,
    Som,
    Sweep,
    World,
    access,
    out_of_order,
    visible,
)

pytest.importorskip("hypothesis", reason="property tests need hypothesis")

from hypothesis import given, settings
from hypothesis import strategies as st

DOMAIN = "DC=corp,DC=example"
SITE = "CN=Hall,CN=Sites,CN=Configuration,DC=corp,DC=example"
OTHER_SITE = SITE.replace("Hall", "Quay")
UPPER = f"OU=Corp,{DOMAIN}"
LOWER = f"OU=Desks,{UPPER}"
ANYBODY = Sid.parse("S-1-5-11")
ME = Sid.parse("S-1-5-21-1-2-3-1104")
GROUP = Sid.parse("S-1-5-21-1-2-3-1200")
STRANGER = Sid.parse("S-1-5-21-1-2-3-1999")
READ, APPLY = 0x20094, 0x100
ALL = f"[{REGISTRY}{{D02B1F72-3407-48AE-BA88-E8213C6761F1}}][{SECURITY}{{803E14A0-B4FB-11D0-A0D0-00A0C90F574B}}]"


def guid(name: str) -> str:
    return f"CN={{{UUID(int=int.from_bytes(name.encode(), 'big'))}}},CN=Policies,CN=System,{DOMAIN}".upper()


def descriptor(*aces: Ace) -> SecurityDescriptor:
    return SecurityDescriptor(dacl=Acl(aces))


OPEN = descriptor(Ace.allow(ANYBODY, READ), Ace.allow(ANYBODY, APPLY, APPLY_GROUP_POLICY))


def policy(name: str, **changes: object) -> Policy:
    first = Policy(guid(name), name, name, extension_names=ALL, descriptor=OPEN)
    return replace(first, **changes)  # type: ignore[arg-type]


def som(dn: str, *links: tuple[str, int], blocks: bool = False) -> Som:
    """Links in the order of the text."""
    return Som(dn, tuple(parse("".join(f"[LDAP://{guid(name)};{options}]" for name, options in links))), blocks)


COMPUTER = Computer("ws1", f"CN=ws1,{LOWER}", frozenset({ANYBODY, ME}), SITE)


def names(linked: object) -> list[str]:
    return [one.policy.name for one in linked]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("soms", "applied", "denied"),
    [
        pytest.param(
            [som(SITE, ("s", 0)), som(DOMAIN, ("d", 0)), som(UPPER, ("u", 0)), som(LOWER, ("l", 0))],
            ["s", "d", "u", "l"],
            {},
            id="site, domain, units from above",
        ),
        pytest.param([som(DOMAIN, ("a", 0), ("b", 0), ("c", 0))], ["a", "b", "c"], {}, id="the last of the text has link order 1 and wins"),
        pytest.param([som(DOMAIN, ("a", 1), ("b", 3), ("c", 0))], ["c"], {"a": "link_disabled", "b": "link_disabled"}, id="disabled links"),
        pytest.param(
            [som(SITE, ("s", 0)), som(DOMAIN, ("d", 0)), som(UPPER, ("u", 0), blocks=True), som(LOWER, ("l", 0))],
            ["u", "l"],
            {"s": "inheritance_blocked", "d": "inheritance_blocked"},
            id="blocking keeps its own links",
        ),
        pytest.param(
            [som(DOMAIN, ("d", 0), blocks=True), som(SITE, ("s", 0))], ["d"], {"s": "inheritance_blocked"}, id="the domain blocks"
        ),
        pytest.param(
            [som(SITE, ("s", 2)), som(DOMAIN, ("d", 2), ("e", 0)), som(UPPER, ("u", 2)), som(LOWER, ("l", 0), blocks=True)],
            ["l", "u", "d", "s"],
            {"e": "inheritance_blocked"},
            id="enforced links pass a block, and the higher one wins",
        ),
        pytest.param([som(DOMAIN, ("a", 2), ("b", 2))], ["a", "b"], {}, id="enforced links of one scope keep their order"),
        pytest.param([som(DOMAIN, ("gone", 0), ("a", 0))], ["a"], {"gone": "missing"}, id="a link to nothing"),
        pytest.param([som(DOMAIN, ("a", 0), ("b", 0), ("a", 0))], ["a", "b", "a"], {}, id="linked twice, applied twice"),
        pytest.param([som(f"OU=Elsewhere,{DOMAIN}", ("a", 0))], [], {}, id="not above the computer"),
        pytest.param([som(OTHER_SITE, ("a", 0))], [], {}, id="another site"),
    ],
)
def test_links(soms, applied, denied):
    found = World([policy(name) for name in "abcdelsu"], soms, [SITE, OTHER_SITE]).resultant_set(COMPUTER)
    assert names(found.applied) == applied
    assert {("gone" if one.denied == "missing" else one.policy.name): one.denied for one in found.denied} == denied


def test_order_is_counted_as_consoles_do():
    found = World([policy("a"), policy("b")], [som(DOMAIN, ("a", 0), ("b", 0))]).resultant_set(COMPUTER)
    assert [(one.policy.name, one.order) for one in found.applied] == [("a", 2), ("b", 1)]


def test_containers_are_no_scopes():
    world = World([policy("a")], [som(f"CN=Computers,{DOMAIN}", ("a", 0)), som(DOMAIN)])
    assert world.resultant_set(replace(COMPUTER, dn=f"CN=ws1,CN=Computers,{DOMAIN}")).applied == ()


@pytest.mark.parametrize(
    ("changes", "denied"),
    [
        ({"functionality": 3}, "functionality"),
        ({"flags": 2}, "computer_half_disabled"),
        ({"flags": 3}, "computer_half_disabled"),
        ({"flags": 1}, ""),
        ({"version": 0, "file_version": 0}, "empty"),
        ({"version": 0x30000, "file_version": 0x30000}, "empty"),
        ({"version": 0, "file_version": 1}, ""),
        ({"version": 1, "file_version": 0}, ""),
        ({"extension_names": None}, "no_extensions"),
        ({"extension_names": " "}, "no_extensions"),
    ],
)
def test_filters_of_a_policy(changes, denied):
    found = World([policy("a", **changes)], [som(DOMAIN, ("a", 0))]).resultant_set(COMPUTER)
    assert [one.denied for one in (*found.applied, *found.denied)] == [denied]


def apply(sid: Sid, deny: bool = False, **named: int) -> Ace:
    return (Ace.deny if deny else Ace.allow)(sid, APPLY, APPLY_GROUP_POLICY, **named)


@pytest.mark.parametrize(
    ("aces", "denied"),
    [
        pytest.param([Ace.allow(ANYBODY, READ), apply(ANYBODY)], "", id="everybody"),
        pytest.param([Ace.allow(ANYBODY, READ), apply(GROUP)], "", id="a group of the computer's"),
        pytest.param([Ace.allow(ANYBODY, READ), apply(STRANGER)], "not_applied", id="somebody else's"),
        pytest.param([apply(ANYBODY)], "not_readable", id="apply without read (MS16-072)"),
        pytest.param([Ace.allow(STRANGER, READ), apply(ANYBODY)], "not_readable", id="only others read (MS16-072)"),
        pytest.param([Ace.allow(ANYBODY, READ), apply(ANYBODY), apply(GROUP, deny=True)], "denied", id="deny wins, even after allow"),
        pytest.param([Ace.allow(ANYBODY, READ), apply(ANYBODY), apply(STRANGER, deny=True)], "", id="deny of others"),
        pytest.param([Ace.deny(GROUP, READ), Ace.allow(ANYBODY, READ), apply(ANYBODY)], "denied", id="reading denied"),
        pytest.param([Ace.allow(ANYBODY, READ | APPLY)], "", id="all extended rights by a plain entry"),
        pytest.param([Ace.allow(ANYBODY, 0x10000000)], "", id="generic all"),
        pytest.param([Ace.allow(ANYBODY, READ), apply(ANYBODY, flags=0x0A)], "not_applied", id="inherit only"),
        pytest.param([Ace.allow(ANYBODY, READ, UUID(int=7)), apply(ANYBODY)], "not_readable", id="one property only"),
        pytest.param([Ace.allow(ANYBODY, READ), Ace.allow(ANYBODY, APPLY, UUID(int=7))], "not_applied", id="another extended right"),
        pytest.param([], "not_readable", id="empty list"),
    ],
)
def test_security_filtering(aces, denied):
    assert access(descriptor(*aces), frozenset({ANYBODY, ME, GROUP})) == denied


def test_null_list_lets_everybody():
    assert access(SecurityDescriptor(control=0x8004), frozenset({ME})) == ""


START = Setting("service", "SCardSvr")


def says(name: str, value: str | None, phase: str = SECURITY, doubts: tuple[str, ...] = (), **changes: object) -> Policy:
    return policy(name, claims={START.key: [Claim(value, phase, doubts)]}, **changes)


def outcome(*policies: Policy, setting: Setting = START, links: list[tuple[str, int]] | None = None):
    linked = som(DOMAIN, *(links or [(one.name, 0) for one in policies]))
    return World(policies, [linked]).resultant_set(COMPUTER).outcome(setting)


def test_the_last_one_wins_and_all_are_told():
    found = outcome(says("a", "automatic"), says("b", "manual"))
    assert found.values == {"manual"}
    assert found.winner is not None and found.winner.linked.policy.name == "b"
    assert [(step.linked.policy.name, step.claim.value) for step in found.history] == [("a", "automatic"), ("b", "manual")]


@pytest.mark.parametrize(
    ("policies", "values", "doubts"),
    [
        pytest.param([says("a", "automatic"), says("b", "manual", wmi_filter="x")], {"automatic", "manual"}, 1, id="a filtered winner"),
        pytest.param([says("a", "manual", wmi_filter="x"), says("b", "automatic")], {"automatic"}, 0, id="a filtered loser"),
        pytest.param([says("a", "automatic", wmi_filter="x")], {None, "automatic"}, 1, id="a filter alone"),
        pytest.param([says("a", "automatic"), says("b", "automatic", wmi_filter="x")], {"automatic"}, 1, id="both say the same"),
        pytest.param([says("a", "automatic"), says("b", None)], {None}, 0, id="taken away"),
        pytest.param([says("a", "automatic"), says("b", "manual", descriptor=None)], {"automatic", "manual"}, 1, id="rights not read"),
        pytest.param(
            [says("a", "automatic"), says("b", "manual", version=0, file_version=None)], {"automatic", "manual"}, 1, id="no GPT.INI"
        ),
        pytest.param(
            [says("a", "automatic"), says("b", "manual", SERVICES, ("targeting",), extension_names="[garbage]")],
            {"automatic"},
            0,
            id="an extension list that cannot be read has none",
        ),
        pytest.param(
            [
                says("a", "automatic"),
                says("b", "manual", SERVICES, ("targeting",), extension_names=f"[{SERVICES}{{CC5746A9-9B74-4BE5-AE2E-64379C86E0E4}}]"),
            ],
            {"automatic", "manual"},
            1,
            id="item-level targeting",
        ),
        pytest.param([says("a", "automatic", extension_names=ALL[:78])], {None}, 0, id="its extension is not named"),
    ],
)
def test_doubts(policies, values, doubts):
    found = outcome(*policies)
    assert found.values == values
    assert len(found.doubts) == doubts


def test_preferences_run_after_security_whatever_the_link_order():
    services = f"[{SERVICES}{{CC5746A9-9B74-4BE5-AE2E-64379C86E0E4}}]"
    found = outcome(says("a", "manual", SERVICES, extension_names=services), says("b", "automatic"))
    assert found.values == {"manual"}


def test_unread_content_is_a_doubt_of_its_own():
    found = outcome(says("a", "automatic"), policy("b", unread={SECURITY: "GptTmpl.inf of policy b: garbage"}))
    assert found.values == {"automatic"} and found.unread == ("GptTmpl.inf of policy b: garbage",)


def test_an_unknown_site_is_a_doubt_where_sites_have_links():
    world = World([says("a", "manual"), says("d", "automatic")], [som(OTHER_SITE, ("a", 2)), som(DOMAIN, ("d", 0))], [SITE, OTHER_SITE])
    unknown = world.resultant_set(replace(COMPUTER, site=None)).outcome(START)
    assert unknown.values == {"automatic", "manual"}
    assert unknown.doubts == ("the site of ws1 is not known, and site Quay has links",)
    assert world.resultant_set(COMPUTER).outcome(START).values == {"automatic"}
    only = World([says("a", "manual")], [som(SITE, ("a", 2))], [SITE])
    assert only.resultant_set(replace(COMPUTER, site=None)).outcome(START).values == {"manual"}


def test_a_broken_link_list_is_told():
    world = World([says("a", "automatic")], [som(DOMAIN, ("a", 0)), Som(UPPER, problem="gPLink: garbage")])
    assert world.resultant_set(COMPUTER).outcome(START).unread == (f"{UPPER}: gPLink: garbage",)


VALUE = policy_claims.registry_setting(r"Software\Policies\Test", "Number")


@pytest.mark.parametrize(
    ("records", "values"),
    [
        ([("present", "Number", 7)], {"7"}),
        ([("present", "Number", 7), ("absent", "Number", b"")], {None}),
        ([("present", "Number", 7), ("values_cleared", "", b"")], {None}),
        ([("values_cleared", "", b""), ("present", "Number", 7)], {"7"}),
        ([("present", "Number", 7), ("values_absent", "", ["Number", "Other"])], {None}),
        ([("present", "number", 7)], {"7"}),
        ([("present", "Other", 7)], {None}),
        ([("present", "Number", 7), ("default", "Number", 8)], {"7", "8"}),
    ],
)
def test_registry_instructions(records, values):
    made = []
    for state, value, data in records:
        kind = registry_pol.DWORD if isinstance(data, int) else registry_pol.STRING if isinstance(data, list) else registry_pol.NONE
        made.append(registry_pol.record(registry_pol.Setting(r"SOFTWARE\Policies\Test", value, state, kind, data)))
    said = policy_claims.words({"Machine\\Registry.pol": registry_pol.serialise(made)})
    claims, sweeps, unread = policy_claims.claims(said, "'a'")
    assert not unread
    assert outcome(policy("a", claims=claims, sweeps=sweeps), setting=VALUE).values == values


def test_a_swept_key_of_a_later_policy_takes_the_value_away():
    below = Sweep(r"software\policies", True, Claim(None, REGISTRY))
    first = policy("a", claims={VALUE.key: [Claim("7", REGISTRY)]})
    assert outcome(first, policy("b", sweeps=[below]), setting=VALUE).values == {None}
    assert outcome(first, policy("b", sweeps=[replace(below, deep=False)]), setting=VALUE).values == {"7"}


def test_extension_lists():
    swapped = f"[{SECURITY}{{803E14A0-B4FB-11D0-A0D0-00A0C90F574B}}][{REGISTRY}{{D02B1F72-3407-48AE-BA88-E8213C6761F1}}]"
    assert visible(ALL) == {REGISTRY, SECURITY}
    assert visible(swapped) == {SECURITY} and out_of_order(swapped) == [REGISTRY]
    assert visible("garbage") == visible(None) == frozenset()


# ---- permutations, against the specification's own lists


@st.composite
def domains(draw):
    """Links by scope, nearest first, of at most eight policies; each 0 plain, 1 disabled, 2 enforced."""
    scopes = []
    for dn in (LOWER, UPPER, DOMAIN, SITE):
        links = draw(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from([0, 0, 1, 2, 2, 3])), max_size=4))
        scopes.append((dn, links, draw(st.booleans())))
    return scopes


def by_the_book(scopes):
    """[MS-GPOL] 3.2.5.1.5, list by list, with the order of a text that Windows and Samba have."""
    plain, enforced, only_enforced = [], [], False
    for _dn, links, blocks in scopes:
        here = [(name, bool(options & 2)) for name, options in links if not options & 1]
        for name, is_enforced in reversed(here):
            if not is_enforced and not only_enforced:
                plain.insert(0, name)
        enforced.extend(name for name, is_enforced in here if is_enforced)
        only_enforced = only_enforced or blocks
    return plain + enforced


@settings(max_examples=300, deadline=None)
@given(domains())
def test_permutations(scopes):
    soms = [som(dn, *links, blocks=blocks) for dn, links, blocks in scopes]
    found = World([policy(name) for name in "abcdefgh"], soms, [SITE]).resultant_set(COMPUTER)
    assert names(found.applied) == by_the_book(scopes)
    assert len(found.applied) + len(found.denied) == sum(len(links) for _dn, links, _blocks in scopes)
