# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of whole policies: what is there, what is wanted, what becomes of it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.certlogon.core.plugins.module_utils.certificates.sources import Authorities
from ansible_collections.certlogon.core.plugins.module_utils.directory.principals import Principal
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import SddlContext, SecurityDescriptor, Sid
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import descriptors
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import policy_marks as marks
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.content import COMPUTER_REGISTRY, KNOWN
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policies import GroupPolicies
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_container import Container, Domain, Target, dn_key
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_links import place
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_outcome import evolve
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_state import DEFAULT_POLICIES, Current, Outcome, State
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_wishes import derived_guid, wishes
from ansible_collections.certlogon.core.plugins.module_utils.resource import Change, Plan
from ansible_collections.certlogon.core.tests.unit.directory.pki_samples import certificate

SID = Sid.parse("S-1-5-21-1-2-3")
DOMAIN = Domain("DC=corp,DC=example", "corp.example", "CN=Configuration,DC=corp,DC=example", SID, SID, True)
ONE, TWO = "{11111111-1111-1111-1111-111111111111}", "{22222222-2222-2222-2222-222222222222}"
DESCRIPTOR = SecurityDescriptor.from_sddl(
    "O:DAG:DAD:P(A;CI;CCDCLCSWRPWPDTLOSDRCWDWO;;;DA)(A;CI;LCRPLORC;;;AU)(OA;CI;CR;edacfd8f-ffb3-11d1-b41d-00a0c968f939;;AU)",
    SddlContext(SID),
)
UNIT = "OU=Workstations,OU=Corp,DC=corp,DC=example"
PRINCIPALS = {
    "Authenticated Users": Principal(Sid.parse("S-1-5-11"), "Authenticated Users"),
    "Staff": Principal(SID.child(1200), "CORP\\Staff"),
}


def state(guid: str = ONE, name: str = "One", version: int = 0, *, gpt: int | bytes | None = -1, **changes: Any) -> State:
    container = Container(DOMAIN.policy_dn(guid), guid, name, 0, version, DOMAIN.folder(guid), None, None, None, DESCRIPTOR)
    container = replace(container, **{key: value for key, value in changes.items() if hasattr(container, key)})
    if isinstance(gpt, int):
        gpt = f"[General]\r\nVersion={version if gpt == -1 else gpt}\r\n".encode()
    files = dict.fromkeys(KNOWN) | changes.get("files", {})
    return State(container, gpt, files, changes.get("on_disk", descriptors.samba_file_descriptor(DESCRIPTOR)))


def current(*states: State, links: Mapping[str, str] | None = None, blocked: Sequence[str] = (), **changes: Any) -> Current:
    targets = {dn: Target(dn, None, 0) for dn in (DOMAIN.dn, UNIT, DOMAIN.target_dn("site:Main"))}
    targets |= {dn: Target(dn, text, 0) for dn, text in (links or {}).items()}
    targets |= {dn: replace(targets[dn], options=1) for dn in blocked}
    return Current(
        DOMAIN,
        [one.container for one in states],
        {one.container.guid: one for one in states},
        {dn_key(dn): target for dn, target in targets.items()},
        {"{AAAAAAAA-0000-0000-0000-000000000000}": "Laptops", "{BBBBBBBB-0000-0000-0000-000000000000}": "Servers"},
        PRINCIPALS,
        {one.sid: one.name for one in PRINCIPALS.values()},
        **changes,
    )


def params(*config: dict[str, Any], state: str = "merged") -> dict[str, Any]:
    options = {"config": list(config), "state": state, "server": ["dc1"]}
    checked = ArgumentSpecValidator(GroupPolicies.argument_spec(), **GroupPolicies.rules()).validate(options)
    assert not checked.error_messages, checked.error_messages
    found: dict[str, Any] = checked.validated_parameters
    return found


def plan(now: Current, *config: dict[str, Any], state: str = "merged") -> Plan:
    return GroupPolicies().plan(params(*config, state=state), now)


def link(guid: str, options: int = 0) -> str:
    return f"[LDAP://CN={guid},CN=Policies,CN=System,DC=corp,DC=example;{options}]"


SERVICE = {"services": [{"name": "SCardSvr", "startup": "automatic"}]}


# ---- policies


def test_a_new_policy() -> None:
    change = plan(current(), {"name": "New", **SERVICE}).changes[0]
    assert (change.name, change.action, change.before) == ("New", "create", None)
    assert change.after and change.after["services"] == [{"name": "SCardSvr", "startup": "automatic", "security": ""}]
    assert change.details.new and change.details.guid == derived_guid(DOMAIN, "new", []) == change.after["guid"]


def test_derived_identifiers_do_not_collide() -> None:
    first = derived_guid(DOMAIN, "Name", [])
    second = derived_guid(DOMAIN, "Name", [first])
    assert first != second and first == derived_guid(DOMAIN, "NAME", [second])
    renamed = state(first, "Something else")
    assert plan(current(renamed), {"name": "Name"}).changes[0].details.guid == second


@pytest.mark.parametrize(
    "wanted", [{"name": "one"}, {"name": "One", "guid": ONE.strip("{}").lower()}, {"name": "One", "status": "enabled"}]
)
def test_nothing_to_do(wanted: dict[str, Any]) -> None:
    assert plan(current(state()), wanted) == Plan([], [])


def test_renaming_by_guid() -> None:
    found = plan(current(state()), {"name": "Other", "guid": ONE})
    assert found.changes[0].before and found.changes[0].before["name"] == "One"
    assert found.changes[0].after and found.changes[0].after["name"] == "Other"
    assert "gets this name" in found.warnings[0]


@pytest.mark.parametrize(
    ("states", "wanted", "message"),
    [
        ([state(), state(TWO)], {"name": "One"}, f"2 policies have it; set guid to one of {ONE}, {TWO}"),
        ([state()], {"name": "One", "guid": TWO}, "there is a policy of this name already"),
        ([state()], {"name": "One", "guid": "x"}, "config: One: guid: 'x' is no GUID"),
        ([], {"name": " "}, "name: 1 to 255 characters"),
        ([], {"name": "N", "wmi_filter": "Laptop"}, "there is no 'Laptop'; did you mean 'Laptops'"),
        ([], {"name": "N", "links": [{"target": "Corp"}]}, "there is no OU=Corp,DC=corp,DC=example; make it first"),
        ([], {"name": "N", "links": [{"target": "domain"}, {"target": "DOMAIN"}]}, "is listed twice"),
        ([], {"name": "N", "links": [{"target": "domain"}, {"target": "dc=corp, dc=example"}]}, "is listed twice"),
        ([], {"name": "N", "links": [{"target": "domain", "order": 0}]}, "order 0 is not 1 or more"),
        ([], {"name": "N", "links": [{"target": "site:Main", "block_inheritance": True}]}, "a site cannot block inheritance"),
        (
            [state()],
            {"name": "One", "permissions": [{"principal": "Staff", "rights": []}], "permissions_mode": "exact"},
            "nobody would be left",
        ),
        (
            [state()],
            {"name": "One", "permissions": [{"principal": "Staff", "rights": ["read"]}, {"principal": "Staff", "rights": ["edit"]}]},
            "'?Staff'? is listed twice with different rights",
        ),
    ],
)
def test_refusals(states: list[State], wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan(current(*states), wanted)


def test_all_refusals_at_once() -> None:
    with pytest.raises(UserError) as caught:
        plan(current(), {"name": "A", "wmi_filter": "x"}, {"name": "B", "links": [{"target": "Nowhere"}]})
    assert str(caught.value).splitlines()[0].startswith("A: wmi_filter") and "OU=Nowhere" in str(caught.value)
    with pytest.raises(UserError, match="listed twice"):
        plan(current(), {"name": "A", "guid": ONE}, {"name": "B", "guid": ONE})


def test_merged_and_replaced_attributes() -> None:
    filtered = state(wmi_filter="[corp.example;{AAAAAAAA-0000-0000-0000-000000000000};0]", flags=1)
    assert plan(current(filtered), {"name": "One", "wmi_filter": "laptops"}).changes == []
    assert plan(current(filtered), {"name": "One"}).changes == []
    after = plan(current(filtered), {"name": "One"}, state="replaced").changes[0].after
    assert after and after["status"] == "enabled" and "wmi_filter" not in after
    words = GroupPolicies().objects(current(filtered))["One"]
    assert (words["wmi_filter"], words["status"]) == ("Laptops", "user_disabled")


# ---- versions and repairs


def outcome(one: State, wanted: dict[str, Any]) -> Outcome:
    world = current(one)
    wish = wishes(params(wanted))[0]
    import datetime

    return evolve(one, wish, world, datetime.datetime.now(datetime.timezone.utc))


USER_VALUE = {"registry": [{"half": "user", "key": "K", "value": "V", "type": "dword", "data": 1}]}


@pytest.mark.parametrize(
    ("one", "wanted", "version"),
    [
        (state(), SERVICE, 1),
        (state(), USER_VALUE, 0x10000),
        (state(version=0x10002), SERVICE | USER_VALUE, 0x20003),
        (state(version=0xFFFF), SERVICE, 1),
        (state(version=5), {}, 5),
        (state(version=5), {"status": "all_disabled"}, 5),
        (state(version=5, gpt=3), {}, 5),
        (state(version=3, gpt=5), SERVICE, 6),
        (state(version=0x10005, gpt=0x30002), SERVICE, 0x30006),
        (
            state(version=5),
            {"extensions": {"user": ["{42B5FAAE-6536-11D2-AE5A-0000F87571E3}{40B66650-4972-11D1-A7CA-0000F87571E3}"]}},
            0x10005,
        ),
    ],
)
def test_versions(one: State, wanted: dict[str, Any], version: int) -> None:
    assert outcome(one, {"name": "One", **wanted}).version == version


MARKED = marks.with_mark(b"[General]\r\nVersion=0\r\n")


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (state(version=5, gpt=3), "version 5 in the directory and 3 in GPT.INI"),
        (state(gpt=MARKED), "an earlier run died"),
        (replace(state(), gpt=None), "GPT.INI is missing"),
        (state(on_disk=None), "its folder is missing"),
        (state(on_disk=DESCRIPTOR), "the permissions of its folder"),
    ],
)
def test_repairs(one: State, reason: str) -> None:
    found = plan(current(one), {"name": "One"})
    assert len(found.changes) == 1 and found.changes[0].before == found.changes[0].after
    assert any(reason in warning for warning in found.warnings)
    resource, change = GroupPolicies(), Change("One", None, {})
    assert resource.settled(change, params({"name": "One"}), current(one)), "others write it: nothing of ours is missing"
    assert not resource.settled(change, params({"name": "One", **SERVICE}), current(one))
    assert not resource.settled(change, params({"name": "One", "wmi_filter": "x"}), current(one))


def test_windows_folders_are_not_judged() -> None:
    world = replace(current(state(on_disk=DESCRIPTOR)), domain=replace(DOMAIN, is_samba=False))
    assert plan(world, {"name": "One"}) == Plan([], [])


def test_broken_version_file() -> None:
    with pytest.raises(UserError, match=r"One: .*GPT.INI: no Version"):
        plan(current(state(gpt=b"[General]\r\n")), {"name": "One"})


def test_marks_come_and_go() -> None:
    plain = b"[General]\r\nVersion=7\r\ndisplayName=New\r\n"
    marked = marks.with_mark(plain)
    assert marks.marked(marked) and not marks.marked(plain) and plain in marked
    assert marks.with_mark(marked) == marked
    assert marks.with_version(marked, 8) == plain.replace(b"7", b"8")
    assert marks.with_version(None, 3) == b"[General]\r\nVersion=3\r\n"
    assert marks.marked(marks.with_mark(None)) and not marks.marked(b"\xff\xfea")
    wide = b"\xff\xfe" + "[General]\r\nVersion=7\r\n".encode("utf-16-le")
    assert marks.with_version(marks.with_mark(wide), 7) == wide


# ---- permissions


def test_permissions_and_their_warnings() -> None:
    found = plan(
        current(state()),
        {"name": "One", "permissions": [{"principal": "Authenticated Users", "rights": []}, {"principal": "Staff", "rights": ["read"]}]},
    )
    assert any("MS16-072" in warning for warning in found.warnings) and any("applies to nobody" in warning for warning in found.warnings)
    after = found.changes[0].after
    assert after and [item["principal"] for item in after["permissions"]] == ["CORP\\Staff", f"{SID}-512"]
    assert plan(current(state()), {"name": "One", "permissions": [{"principal": "Authenticated Users", "rights": ["apply"]}]}) == Plan(
        [], []
    )


def test_content_that_windows_would_skip_is_warned_of() -> None:
    pol = b"PReg\1\0\0\0" + "[K\0;V\0;".encode("utf-16-le") + b"\4\0\0\0;\0\4\0\0\0;\0\1\0\0\0]\0"
    found = plan(current(state(files={COMPUTER_REGISTRY: pol})), {"name": "One"})
    assert found.changes == [] and "Windows clients skip its registry content of the computer half" in found.warnings[0]


# ---- links


@pytest.mark.parametrize(
    ("text", "wanted", "expected"),
    [
        (None, {}, link(ONE)),
        (link(TWO), {}, link(ONE) + link(TWO)),
        (link(TWO), {"order": 1}, link(TWO) + link(ONE)),
        (link(TWO), {"order": 9}, link(ONE) + link(TWO)),
        (link(ONE) + link(TWO), {"order": 1, "enforced": True}, link(TWO) + link(ONE, 2)),
        (link(ONE, 1), {}, link(ONE)),
        (link(ONE), {"enabled": False, "enforced": True}, link(ONE, 3)),
    ],
)
def test_links(text: str | None, wanted: dict[str, Any], expected: str) -> None:
    world = current(state(), links={UNIT: text} if text else {})
    work = plan(world, {"name": "One", "links": [{"target": "Corp/Workstations", **wanted}]}).changes[0].details
    assert set(work.placements) == {UNIT}
    assert place(text, work.placements[UNIT], work.dn) == expected
    again = current(state(), links={UNIT: expected})
    assert plan(again, {"name": "One", "links": [{"target": UNIT, **wanted}]}) == Plan([], [])


def test_several_links_end_up_in_order_whatever_the_order_of_writing() -> None:
    config = [
        {"name": "Two", "links": [{"target": UNIT, "order": 2}]},
        {"name": "One", "links": [{"target": UNIT, "order": 1}]},
        {"name": "New", "links": [{"target": UNIT}]},
    ]
    foreign = "[LDAP://CN={F},CN=Policies,CN=System,DC=other;0]"
    found = plan(current(state(), state(TWO, "Two"), links={UNIT: foreign}), *config)
    text: str = foreign
    for change in found.changes:
        text = place(text, change.details.placements[UNIT], change.details.dn)
    new = found.changes[2].details.guid
    assert text == link(new) + foreign + link(TWO) + link(ONE)
    assert {change.name: change.after["links"][0]["order"] for change in found.changes if change.after} == {"Two": 2, "One": 1, "New": 4}


def test_exact_links_and_blocks() -> None:
    world = current(state(), state(TWO, "Two"), links={UNIT: link(TWO) + link(ONE), DOMAIN.dn: link(ONE)}, blocked=[UNIT])
    found = plan(world, {"name": "One", "links": [{"target": "domain"}]}, state="replaced")
    assert set(found.changes[0].details.unlink) == {UNIT} and not found.changes[0].details.placements
    assert found.changes[0].after and [item["target"] for item in found.changes[0].after["links"]] == ["domain"]
    assert plan(world, {"name": "One", "links": [{"target": "domain"}]}) == Plan([], [])
    unblocked = plan(world, {"name": "Two", "links": [{"target": "Corp/Workstations", "block_inheritance": False}]}).changes[0]
    assert unblocked.details.blocks == {UNIT: False}
    with pytest.raises(UserError, match="is set both ways"):
        plan(
            world,
            {"name": "One", "links": [{"target": UNIT, "block_inheritance": False}]},
            {"name": "Two", "links": [{"target": UNIT, "block_inheritance": True}]},
        )


def test_a_link_attribute_that_cannot_be_read() -> None:
    world = current(state(), links={UNIT: "nonsense"})
    assert "links" not in GroupPolicies().objects(world)["One"]
    with pytest.raises(UserError, match=r"OU=Workstations.*gPLink.*mend the attribute first"):
        plan(world, {"name": "One", "links": [{"target": UNIT}]})


@pytest.mark.parametrize(
    ("word", "dn"),
    [
        ("domain", "DC=corp,DC=example"),
        ("Corp/Workstations", UNIT),
        ("A, B/C=D", None),
        ("site:Main Site", "CN=Main Site,CN=Sites,CN=Configuration,DC=corp,DC=example"),
        ("OU=a/b,DC=corp,DC=example", "OU=a/b,DC=corp,DC=example"),
        ("OU=x,DC=other,DC=example", "OU=x,DC=other,DC=example"),
        ("OU=Domain,DC=corp,DC=example", "OU=Domain,DC=corp,DC=example"),
    ],
)
def test_names_of_targets(word: str, dn: str | None) -> None:
    if dn:
        assert DOMAIN.target_dn(word) == dn and DOMAIN.target_word(dn) == word
    assert DOMAIN.target_dn("A, B") == "OU=A\\, B,DC=corp,DC=example" and DOMAIN.target_word("OU=A\\, B,DC=corp,DC=example") == "A, B"
    with pytest.raises(UserError, match="is no path"):
        DOMAIN.target_dn("Corp//Workstations")


# ---- deleting, reading, rendering


def test_deleting() -> None:
    world = current(state(), links={UNIT: link(TWO) + link(ONE)}, leftovers={TWO: "Half gone"})
    found = plan(world, {"name": "ONE"}, {"name": "half gone"}, {"name": "Nobody"}, state="deleted").changes
    assert [(change.name, change.action) for change in found] == [("One", "delete"), ("Half gone", "delete")]
    assert set(found[0].details.unlink) == {UNIT} and found[1].details.guid == TWO
    with pytest.raises(UserError, match="Windows needs this policy"):
        plan(current(state(DEFAULT_POLICIES[0], "Default Domain Policy")), {"name": "Default Domain Policy"}, state="deleted")
    with pytest.raises(UserError, match="2 policies have this name"):
        plan(current(state(), state(TWO)), {"name": "One"}, state="deleted")


def test_policies_of_one_name_are_all_gathered() -> None:
    assert set(GroupPolicies().objects(current(state(), state(TWO)))) == {f"One {ONE}", f"One {TWO}"}


def test_rendered_offline() -> None:
    resource = GroupPolicies()
    wanted = {
        "name": "One",
        "links": [{"target": "domain"}],
        "registry": [{"key": "K", "value": "V", "type": "dword", "data": "0x10"}],
        **SERVICE,
    }
    rendered = resource.render(params(wanted, state="rendered"))[0]
    assert rendered["registry"] == [{"half": "computer", "key": "K", "value": "V", "state": "present", "type": "dword", "data": 16}]
    assert rendered["status"] == "enabled" and rendered["links"][0]["target"] == "domain" and "extensions" not in rendered
    with pytest.raises(UserError, match=r"One: .* is no dword"):
        resource.render(params({"name": "One", "registry": [{"key": "K", "value": "V", "type": "dword", "data": "x"}]}, state="rendered"))


def test_diffs_can_be_read() -> None:
    shown = GroupPolicies().shown(
        {
            "name": "One",
            "files": [{"path": "X", "content": base64.b64encode(b"abc").decode(), "state": "present"}],
            "certificates": {"trusted_root": [{"content": "garbage"}], "allow_weak": True},
        }
    )
    assert shown["files"][0].startswith("X, 3 bytes, ") and shown["certificates"]["allow_weak"] is True


# ---- certificates of enterprise CAs, from the directory

PUSH = {"name": "Trust", "certificates": {"trusted_root": [{"enrollment_service": "Corp CA"}]}}
CORP_CA = certificate("Corp CA")


@pytest.mark.parametrize("write", ["merged", "replaced"])
def test_the_certificate_of_an_enrollment_service_is_pushed(write: str) -> None:
    world = current(authorities=Authorities({"Corp CA": [CORP_CA]}))
    [change] = plan(world, PUSH, state=write).changes
    [item] = (change.after or {})["certificates"]["trusted_root"]
    assert item["subject"] == "CN=Corp CA,DC=example" and "BEGIN CERTIFICATE" in item["content"]


def test_an_expected_authority_is_foreseen_in_a_new_policy_and_in_one_that_is_there() -> None:
    world = current(state(name="Trust"), authorities=Authorities(expected=["Corp CA"]))
    for now in (current(authorities=world.authorities), world):
        [change] = plan(now, PUSH).changes
        shown = GroupPolicies().shown(change.after or {})["certificates"]
        assert shown == {"trusted_root": ["the certificate of enrollment service Corp CA (known after apply)"]}
        with pytest.raises(UserError, match="Corp CA is not there yet"):
            GroupPolicies().apply(None, change)  # type: ignore[arg-type]


def test_an_unknown_enrollment_service_is_refused() -> None:
    with pytest.raises(UserError, match=r"certificates.trusted_root\[0\]: enrollment_service: there is no enterprise CA 'Corp CA'"):
        plan(current(), PUSH)


def test_rendered_leaves_to_the_directory_what_only_it_knows() -> None:
    [rendered] = GroupPolicies().render(params(PUSH, state="rendered"))
    assert rendered["certificates"] == {"trusted_root": [{"enrollment_service": "Corp CA", "chain": "authority"}]}
