# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of certificate templates: tables of what is asked for and what comes of it, without any server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.certlogon.core.plugins.module_utils.directory import oids
from ansible_collections.certlogon.core.plugins.module_utils.directory.builtin_templates import BUILT_IN
from ansible_collections.certlogon.core.plugins.module_utils.directory.certificate_templates import CertificateTemplates
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import SddlContext, SecurityDescriptor, Sid
from ansible_collections.certlogon.core.plugins.module_utils.directory.session import Modify
from ansible_collections.certlogon.core.plugins.module_utils.directory.template_plan import (
    DESCRIPTOR,
    OID,
    OidObject,
    Publication,
    Step,
    Template,
    Templates,
    installed,
)
from ansible_collections.certlogon.core.plugins.module_utils.directory.template_words import Vocabulary
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Change, Plan, Words

ARC = "1.3.6.1.4.1.311.21.8.1.2.3.4.5.6"
CONFIGURATION = "CN=Public Key Services,CN=Services,CN=Configuration,DC=corp,DC=example"
CONTAINER, OID_CONTAINER = f"CN=Certificate Templates,{CONFIGURATION}", f"CN=OID,{CONFIGURATION}"
DOMAIN = Sid.parse("S-1-5-21-1-2-3")
CONTEXT = SddlContext(DOMAIN)
RESOURCE = CertificateTemplates()
PRINCIPALS = {
    "Domain Users": DOMAIN.child(513),
    "CORP\\Domain Users": DOMAIN.child(513),
    "Enterprise Admins": DOMAIN.child(519),
    "Staff": DOMAIN.child(1111),
    "Authenticated Users": Sid.parse("S-1-5-11"),
    "Everyone": Sid.parse("S-1-1-0"),
}
NAMES = {DOMAIN.child(513): "CORP\\Domain Users", DOMAIN.child(512): "CORP\\Domain Admins", DOMAIN.child(519): "CORP\\Enterprise Admins"}
NAMES |= {DOMAIN.child(1111): "CORP\\Staff", Sid.parse("S-1-5-11"): "Authenticated Users", Sid.parse("S-1-1-0"): "Everyone"}
PRINCIPALS |= {name: sid for sid, name in NAMES.items()}
PRINCIPALS |= {str(sid): sid for sid in (DOMAIN.child(rid) for rid in (498, 515, 516, 553))} | {"S-1-5-9": Sid.parse("S-1-5-9")}
EMPTY = Templates(
    container=CONTAINER,
    oid_container=OID_CONTAINER,
    templates={},
    oid_objects={},
    publications=(),
    arc=ARC,
    has_arc=True,
    vocabulary=Vocabulary.of(ARC),
    context=CONTEXT,
    names=NAMES,
    principals=PRINCIPALS,
)


def checked(config: list[dict[str, Any]], state: str = "merged", **options: Any) -> dict[str, Any]:
    """As the engine hands it over."""
    arguments = {"server": ["dc"], "username": "u", "password": "p", "config": config, "state": state, **options}
    result = ArgumentSpecValidator(RESOURCE.argument_spec(), **RESOURCE.rules()).validate(arguments)
    assert not result.error_messages, result.error_messages
    return dict(result.validated_parameters)


def plan(config: list[dict[str, Any]], current: Templates = EMPTY, state: str = "merged", **options: Any) -> Plan:
    return RESOURCE.plan(checked(config, state, **options), current)


def only(config: dict[str, Any], current: Templates = EMPTY, state: str = "merged", **options: Any) -> Change:
    changes = plan([config], current, state, **options).changes
    assert len(changes) == 1
    return changes[0]


def after(config: dict[str, Any], current: Templates = EMPTY, state: str = "merged") -> Words:
    words = only(config, current, state).after
    assert words is not None
    return words


def fails(config: dict[str, Any], current: Templates = EMPTY, state: str = "merged", **options: Any) -> str:
    with pytest.raises(UserError) as raised:
        plan([config], current, state, **options)
    return str(raised.value)


def applied(current: Templates, changes: Any) -> Templates:
    """The directory after the changes, by a reading of the steps that is not the writer's."""
    templates, objects, arc = dict(current.templates), dict(current.oid_objects), current.has_arc
    for change in changes:
        for step in change.details:
            if step.operation == "arc":
                arc = True
            elif step.operation == "add_oid":
                objects[step.attributes[OID]] = OidObject(step.dn, step.attributes.get("displayName"))
            elif step.operation == "add":
                attributes = {key: value for key, value in step.attributes.items() if key not in ("objectClass", "cn", DESCRIPTOR)}
                templates[change.name.casefold()] = Template(change.name, step.dn, attributes, step.attributes[DESCRIPTOR])
            elif step.operation == "modify":
                _modify(templates, objects, step)
            elif step.operation == "delete":
                templates = {key: value for key, value in templates.items() if value.dn != step.dn}
                objects = {key: value for key, value in objects.items() if value.dn != step.dn}
    return replace(current, templates=templates, oid_objects=objects, has_arc=arc)


def _modify(templates: dict[str, Template], objects: dict[str, OidObject], step: Step) -> None:
    for key, template in templates.items():
        if template.dn == step.dn:
            attributes, descriptor = dict(template.attributes), template.descriptor
            for modify in step.modifies:
                values = tuple(modify.values)
                if modify.operation == "delete":
                    assert attributes.pop(modify.attribute) == values[0]
                elif modify.attribute == DESCRIPTOR:
                    descriptor = values[0]
                elif not values:
                    attributes.pop(modify.attribute, None)
                else:
                    many = isinstance(values[0], str) and modify.attribute not in ("displayName", OID)
                    attributes[modify.attribute] = values if many else values[0]
            templates[key] = replace(template, attributes=attributes, descriptor=descriptor)
    for key, registered in objects.items():
        if registered.dn == step.dn:
            values = step.modifies[0].values
            objects[key] = replace(registered, display_name=str(values[0]) if values else None)


def having(*config: dict[str, Any], current: Templates = EMPTY) -> Templates:
    """The directory with these templates."""
    return applied(current, plan(list(config), current).changes)


SMARTCARD = {"name": "Corp", "based_on": "SmartcardLogon"}
CORP = having(SMARTCARD)


def modifies(change: Change) -> dict[str, list[tuple[str, list[Any]]]]:
    found: dict[str, list[tuple[str, list[Any]]]] = {}
    for modify in change.details[-1].modifies:
        found.setdefault(modify.attribute, []).append((modify.operation, list(modify.values)))
    return found


# --- creation ---


VERSION_1 = [name for name, built_in in BUILT_IN.items() if built_in.attributes["msPKI-Template-Schema-Version"] == 1]


@pytest.mark.parametrize(("name", "schema"), [*((name, None) for name in BUILT_IN), *((name, 1) for name in VERSION_1)])
def test_copies_of_built_in_templates_are_legal_and_stay_as_they_are(name: str, schema: int | None) -> None:
    config = {"name": f"Copy{name}", "based_on": BUILT_IN[name].display_name.upper()} | ({"schema_version": schema} if schema else {})
    first = plan([config])
    current = applied(EMPTY, first.changes)
    [change] = first.changes
    assert RESOURCE.objects(current) == {change.name: change.after}
    assert plan([config], current).changes == []
    assert plan([config], current, "replaced").changes == []
    exported = dict(change.after or {})
    assert plan([exported], current, "replaced").changes == []
    assert only(exported, state="replaced").after == change.after


def test_creation_writes_the_oid_before_the_template() -> None:
    change = only({**SMARTCARD, "display_name": "Corp Logon"}, replace(EMPTY, has_arc=False))
    arc, oid_object, template = change.details
    assert arc == Step("arc", OID_CONTAINER, modifies=[Modify("add", OID, [ARC])])
    oid = template.attributes[OID]
    assert oid == oids.template_oid(ARC, "Corp")
    assert oid_object.operation == "add_oid"
    assert oid_object.dn == f"CN={oids.object_name(oid)},{OID_CONTAINER}"
    assert oid_object.attributes == {
        "objectClass": ["top", "msPKI-Enterprise-Oid"],
        "cn": oids.object_name(oid),
        OID: oid,
        "flags": 1,
        "displayName": "Corp Logon",
    }
    assert (template.operation, template.dn, template.descriptor) == ("add", f"CN=Corp,{CONTAINER}", 7)
    attributes = dict(template.attributes)
    descriptor = SecurityDescriptor.parse(attributes.pop(DESCRIPTOR))
    assert descriptor.meaning == SecurityDescriptor.from_sddl(BUILT_IN["SmartcardLogon"].sddl, CONTEXT).meaning
    assert attributes == {
        "objectClass": ["top", "pKICertificateTemplate"],
        "cn": "Corp",
        "displayName": "Corp Logon",
        "flags": 0x20200,
        "revision": 100,
        "msPKI-Template-Minor-Revision": 0,
        "msPKI-Template-Schema-Version": 2,
        OID: oid,
        "msPKI-Certificate-Name-Flag": -2113929216,
        "pKIExtendedKeyUsage": ("1.3.6.1.5.5.7.3.2", "1.3.6.1.4.1.311.20.2.2"),
        "msPKI-Certificate-Application-Policy": ("1.3.6.1.5.5.7.3.2", "1.3.6.1.4.1.311.20.2.2"),
        "pKICriticalExtensions": ("2.5.29.15",),
        "pKIKeyUsage": b"\xa0\0",
        "pKIMaxIssuingDepth": 0,
        "pKIExpirationPeriod": bytes.fromhex("00403987 2ee1feff"),
        "pKIOverlapPeriod": bytes.fromhex("0080a60a ffdeffff"),
        "msPKI-Minimal-Key-Size": 2048,
        "pKIDefaultKeySpec": 1,
        "msPKI-Private-Key-Flag": 0x01010000,
        "msPKI-Enrollment-Flag": 0,
        "msPKI-RA-Signature": 0,
    }


def test_the_arc_is_written_once() -> None:
    changes = plan([SMARTCARD, {"name": "Two", "based_on": "User"}], replace(EMPTY, has_arc=False)).changes
    assert [[step.operation for step in change.details] for change in changes] == [["arc", "add_oid", "add"], ["add_oid", "add"]]


def test_an_oid_object_left_by_an_interrupted_run_is_used() -> None:
    oid = oids.template_oid(ARC, "Corp")
    left = replace(EMPTY, oid_objects={oid: OidObject(f"CN=x,{OID_CONTAINER}", "Corp")})
    change = only(SMARTCARD, left)
    assert (change.after or {})["oid"] == oid
    assert [step.operation for step in change.details] == ["add"]


def test_oids_of_others_are_not_taken() -> None:
    taken = having({"name": "Other", "based_on": "User", "oid": oids.template_oid(ARC, "Corp")})
    assert after(SMARTCARD, taken)["oid"] not in taken.oid_objects


def test_a_built_in_template_made_anew_has_the_oid_of_ad_cs() -> None:
    name = "KerberosAuthentication"
    assert after({"name": name, "based_on": name})["oid"] == f"{ARC}.1.33"
    assert after({"name": "User", "based_on": "User", "schema_version": 1})["oid"] == f"{ARC}.1.1"
    assert after({"name": "User", "based_on": "User"})["oid"] == oids.template_oid(ARC, "User")
    taken = having({"name": "Other", "based_on": "User", "oid": f"{ARC}.1.33"})
    assert after({"name": name, "based_on": name}, taken)["oid"] == oids.template_oid(ARC, name)


def test_without_base() -> None:
    words = after({"name": "Plain", "extended_key_usages": ["client_authentication"], "subject": {"parts": ["common_name"]}})
    assert words["subject"]["parts"] == ["common_name"]
    assert words["subject_alternative_name"]["parts"] == []
    assert (words["schema_version"], words["validity"], words["revision"]) == (2, "1y", "100.0")
    assert "neither it nor subject and extended_key_usages is given" in fails({"name": "Plain"})
    assert "neither it nor extended_key_usages" in fails({"name": "Plain", "subject_alternative_name": {"parts": ["upn"]}})


def test_based_on_a_template_of_the_domain() -> None:
    first = having(
        {**SMARTCARD, "display_name": "Corp Logon", "validity": "2y", "permissions": [{"principal": "Staff", "rights": ["enroll"]}]}
    )
    words = after({"name": "Copy", "based_on": "corp logon"}, first)
    assert (words["validity"], words["display_name"], words["revision"]) == ("2y", "Copy", "100.0")
    assert words["oid"] not in first.oid_objects
    assert {"principal": "CORP\\Staff", "rights": ["enroll"]} in words["permissions"]
    assert "there is no template 'Corq'; did you mean 'Corp'?" in fails({"name": "Copy", "based_on": "Corq"}, first)
    unreadable = replace(first, templates={"corp": replace(first.templates["corp"], descriptor=None)})
    assert "may not read the permissions of Corp" in fails({"name": "Copy", "based_on": "Corp"}, unreadable)


@pytest.mark.parametrize(
    ("config", "schema", "authority", "client", "flags", "algorithms", "providers"),
    [
        ({"based_on": "User"}, 2, "windows_server_2003", "windows_xp", [], None, 2),
        ({"based_on": "User", "schema_version": 3}, 3, "windows_server_2008", "windows_vista", [], "all", 0),
        ({"based_on": "User", "schema_version": 4}, 4, "windows_server_2012", "windows_8", ["legacy_provider"], None, 2),
        ({"based_on": "User", "schema_version": 4, "private_key": {"flags": []}}, 4, "windows_server_2012", "windows_8", [], "all", 0),
        ({"based_on": "SmartcardLogon", "schema_version": 4}, 4, "windows_server_2012", "windows_8", [], "all", 0),
        ({"based_on": "CodeSigning", "schema_version": 3}, 3, "windows_server_2008", "windows_vista", [], "sign", 0),
        ({"based_on": "OCSPResponseSigning"}, 3, "windows_server_2008", "windows_vista", [], "sign", 0),
        ({"based_on": "OCSPResponseSigning", "schema_version": 2}, 2, "windows_server_2003", "windows_xp", [], None, 0),
        ({"based_on": "User", "schema_version": 1}, 1, "none", "none", [], None, 2),
    ],
)
def test_what_follows_from_the_schema_version(
    config: dict, schema: int, authority: str, client: str, flags: list, algorithms: str | None, providers: int
) -> None:
    words = after({"name": "T", **config})
    assert words["schema_version"] == schema
    assert words["compatibility"] == {"authority": authority, "client": client}
    assert words["private_key"]["flags"] == flags
    assert words.get("algorithms", {}).get("key_usage") == ([algorithms] if algorithms else None)
    assert len(words["providers"]) == providers
    assert plan([{"name": "T", **config}], having({"name": "T", **config}), "replaced").changes == []


def test_required_signatures_in_both_syntaxes() -> None:
    signatures = {"count": 1, "application_policies": ["certificate_request_agent", "1.2.3"], "issuance_policies": ["low_assurance"]}
    attribute = "msPKI-RA-Application-Policies"
    plain = only({**SMARTCARD, "signatures": signatures}).details[-1].attributes
    assert plain[attribute] == ("1.2.3", "1.3.6.1.4.1.311.20.2.1")
    assert plain["msPKI-RA-Policies"] == (f"{ARC}.1.400",)
    algorithms = {"asymmetric": "ECDSA_P256", "hash": "SHA256", "symmetric": "AES", "symmetric_key_length": 256, "key_usage": ["sign"]}
    modern = {**SMARTCARD, "schema_version": 3, "signatures": signatures, "algorithms": algorithms, "minimum_key_size": 256}
    assert only(modern).details[-1].attributes[attribute] == (
        "msPKI-Asymmetric-Algorithm`PZPWSTR`ECDSA_P256`msPKI-Hash-Algorithm`PZPWSTR`SHA256`msPKI-Key-Usage`DWORD`2`"
        "msPKI-RA-Application-Policies`PZPWSTR`1.2.3,1.3.6.1.4.1.311.20.2.1`msPKI-Symmetric-Algorithm`PZPWSTR`AES`"
        "msPKI-Symmetric-Key-Length`DWORD`256`",
    )
    legacy = {**modern, "schema_version": 4, "algorithms": None, "private_key": {"flags": ["legacy_provider"]}, "minimum_key_size": 2048}
    assert only(legacy).details[-1].attributes[attribute] == ("1.2.3", "1.3.6.1.4.1.311.20.2.1")


# --- changes ---


def test_only_what_changes_is_written_and_the_revision_swapped() -> None:
    change = only({"name": "CORP", "validity": "2y", "key_usage": ["key_encipherment", "digital_signature"]}, CORP)
    assert change.name == "Corp"
    assert modifies(change) == {
        "pKIExpirationPeriod": [("replace", [bytes.fromhex("0080720e5dc2fdff")])],
        "msPKI-Template-Minor-Revision": [("delete", [0]), ("add", [1])],
    }
    assert change.details[-1].descriptor == 0
    assert (change.before or {})["revision"] == "100.0"
    assert (change.after or {})["revision"] == "100.1"


def test_reenrollment_raises_the_major_revision_only_where_something_changes() -> None:
    current = having({"name": "Corp", "validity": "2y"}, current=CORP)
    change = only({"name": "Corp", "validity": "3y", "reenroll_holders": True}, current)
    assert (change.after or {})["revision"] == "101.0"
    assert modifies(change)["revision"] == [("delete", [100]), ("add", [101])]
    assert modifies(change)["msPKI-Template-Minor-Revision"] == [("delete", [1]), ("add", [0])]
    assert plan([{"name": "Corp", "validity": "2y", "reenroll_holders": True}], current).changes == []


def test_a_template_without_revision_gets_one() -> None:
    template = CORP.templates["corp"]
    bare = {key: value for key, value in template.attributes.items() if "evision" not in key}
    change = only({"name": "Corp", "validity": "2y"}, replace(CORP, templates={"corp": replace(template, attributes=bare)}))
    assert modifies(change)["msPKI-Template-Minor-Revision"] == [("add", [1])]


def test_permissions_are_added_or_exact() -> None:
    staff = {"principal": "Staff", "rights": ["read", "enroll"]}
    change = only({"name": "Corp", "permissions": [staff]}, CORP)
    assert [permission["principal"] for permission in (change.after or {})["permissions"]] == [
        "Authenticated Users",
        "CORP\\Domain Admins",
        "CORP\\Enterprise Admins",
        "CORP\\Staff",
    ]
    assert set(modifies(change)) == {DESCRIPTOR, "msPKI-Template-Minor-Revision"}
    assert change.details[-1].descriptor == 4
    exact = only({"name": "Corp", "permissions": [staff], "permissions_mode": "exact"}, CORP)
    assert (exact.after or {})["permissions"] == [{"principal": "CORP\\Staff", "rights": ["read", "enroll"]}]
    replaced = only({**SMARTCARD, "permissions": [staff]}, CORP, "replaced")
    assert (replaced.after or {})["permissions"] == (exact.after or {})["permissions"]
    merged = only({**SMARTCARD, "permissions": [staff], "permissions_mode": "merged"}, CORP, "replaced")
    assert (merged.after or {})["permissions"] == (change.after or {})["permissions"]


def test_owner() -> None:
    change = only({"name": "Corp", "owner": "Staff"}, CORP)
    assert (change.after or {})["owner"] == "CORP\\Staff"
    assert change.details[-1].descriptor == 7
    assert plan([{"name": "Corp", "owner": "Enterprise Admins"}], CORP).changes == []


def test_replaced_takes_the_rest_from_the_base_and_keeps_the_identity() -> None:
    current = having({"name": "Corp", "display_name": "Old", "validity": "3y", "autoenrollment": True, "oid": "1.2.3"}, current=CORP)
    change = only({**SMARTCARD, "renewal_overlap": "4w"}, current, "replaced")
    words = change.after or {}
    assert (words["validity"], words["renewal_overlap"], words["display_name"], words["autoenrollment"]) == ("1y", "4w", "Corp", False)
    assert (words["oid"], words["revision"]) == ((change.before or {})["oid"], "100.2")
    assert [step.operation for step in change.details] == ["modify", "modify"]
    assert change.details[0].modifies == [Modify("replace", "displayName", ["Corp"])]
    assert "neither it nor" in fails({"name": "Corp"}, current, "replaced")


def test_an_oid_is_kept_with_a_warning() -> None:
    found = plan([{"name": "Corp", "oid": "1.2.3"}], CORP)
    assert found.changes == []
    assert "oid: the template keeps its own" in found.warnings[0]


def test_templates_of_others_get_their_oid_object() -> None:
    foreign = replace(CORP, oid_objects={})
    assert RESOURCE.objects(foreign)["Corp"]["oid_registered"] is False
    change = only({"name": "Corp"}, foreign)
    assert [step.operation for step in change.details] == ["add_oid"]
    assert "oid_registered" not in (change.after or {})
    assert (change.after or {})["revision"] == "100.0"
    assert plan([{"name": "Corp", "oid_registered": False}], foreign).changes == []
    assert plan([{"name": "Corp", "oid_registered": False}], CORP).changes == []
    assert [step.operation for step in only({**SMARTCARD, "oid_registered": False}).details] == ["add"]
    renamed = replace(CORP, oid_objects={key: replace(value, display_name="x") for key, value in CORP.oid_objects.items()})
    assert only({"name": "Corp"}, renamed).details[0].modifies == [Modify("replace", "displayName", ["Corp"])]
    template = CORP.templates["corp"]
    nameless = replace(template, attributes={key: value for key, value in template.attributes.items() if key != "displayName"})
    current = replace(CORP, templates={"corp": nameless})
    assert only({"name": "Corp"}, current).details[0].modifies == [Modify("replace", "displayName", [])]
    assert "displayName" not in only({"name": "Corp"}, replace(current, oid_objects={})).details[0].attributes


def test_a_template_without_oid_gets_one() -> None:
    template = CORP.templates["corp"]
    bare = {key: value for key, value in template.attributes.items() if key != OID}
    current = replace(CORP, templates={"corp": replace(template, attributes=bare)}, oid_objects={})
    change = only({"name": "Corp"}, current)
    assert (change.after or {})["oid"] == oids.template_oid(ARC, "Corp")
    assert [step.operation for step in change.details] == ["add_oid", "modify"]
    assert plan([{"name": "Corp", "oid_registered": False}], current).changes == []
    old = replace(current, templates={"corp": replace(template, attributes={**bare, "msPKI-Template-Schema-Version": 1})})
    assert plan([{"name": "Corp"}], old).changes == []
    assert after({"name": "Corp", "oid": "1.2.3"}, old)["oid"] == "1.2.3"


def test_purposes_and_application_policies_stay_in_step() -> None:
    words = after({"name": "Corp", "extended_key_usages": ["client_authentication"]}, CORP)
    assert "application_policies" not in words
    changed = modifies(only({"name": "Corp", "extended_key_usages": ["client_authentication"]}, CORP))
    assert changed["msPKI-Certificate-Application-Policy"] == [("replace", ["1.3.6.1.5.5.7.3.2"])]
    apart = having({"name": "Corp", "application_policies": ["secure_email"]}, current=CORP)
    assert RESOURCE.objects(apart)["Corp"]["application_policies"] == ["secure_email"]
    assert "application_policies" not in after({"name": "Corp", "extended_key_usages": ["any_purpose"]}, apart)
    assert "application_policies" not in after(
        {"name": "Corp", "application_policies": RESOURCE.objects(apart)["Corp"]["extended_key_usages"]}, apart
    )
    assert after({"name": "Copy", "based_on": "Corp"}, apart)["application_policies"] == ["secure_email"]


def test_subject_options_follow_one_another() -> None:
    supplied = after({"name": "Corp", "subject": {"supplied_in_request": True}}, CORP)
    assert (supplied["subject"]["parts"], supplied["subject_alternative_name"]["parts"]) == ([], [])
    current = having({"name": "Corp", "subject": {"supplied_in_request": True}}, current=CORP)
    built = after({"name": "Corp", "subject": {"parts": ["common_name"]}}, current)
    assert built["subject"]["supplied_in_request"] is False


def test_autoenrollment_is_set_in_both_attributes() -> None:
    change = only({"name": "Corp", "autoenrollment": True}, CORP)
    assert modifies(change)["flags"] == [("replace", [0x20220])]
    assert modifies(change)["msPKI-Enrollment-Flag"] == [("replace", [0x20])]
    current = having({"name": "Corp", "autoenrollment": True}, current=CORP)
    assert modifies(only({"name": "Corp", "autoenrollment": False}, current))["flags"] == [("replace", [0x20200])]
    explicit = {"name": "Corp", "autoenrollment": True, "general_flags": ["is_modified", "add_template_name"]}
    assert "flags" not in modifies(only(explicit, CORP))


def test_values_can_be_emptied() -> None:
    current = having({"name": "Corp", "supersedes": ["SmartcardLogon"], "providers": ["P"]}, current=CORP)
    change = only({"name": "Corp", "supersedes": [], "providers": []}, current)
    assert modifies(change)["msPKI-Supersede-Templates"] == [("replace", [])]
    assert modifies(change)["pKIDefaultCSPs"] == [("replace", [])]


def test_flags_given_by_number_become_their_words() -> None:
    words = after({"name": "Corp", "enrollment_flags": ["0x2", "0x40", "0x80"]}, CORP)
    assert words["manager_approval"] is True
    assert words["enrollment_flags"] == ["previous_approval", "0x80"]


def test_unreadable_permissions_are_left_alone() -> None:
    current = replace(CORP, templates={"corp": replace(CORP.templates["corp"], descriptor=None)})
    change = only({"name": "Corp", "validity": "2y"}, current)
    assert "permissions" not in (change.after or {})
    assert DESCRIPTOR not in modifies(change)
    assert "may not read" in fails({"name": "Corp", "owner": "Staff"}, current)


# --- what is refused ---


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"extended_key_usages": ["smart_card_login"]},
            "config: Corp: extended_key_usages: purpose 'smart_card_login' is not known; did you mean",
        ),
        ({"permissions": [{"principal": "Staff", "rights": ["enrol"]}]}, "permissions: right 'enrol' is not known; did you mean 'enroll'?"),
        ({"permissions": [{"principal": "Staff", "rights": []}]}, "permissions: Staff is given no rights"),
        ({"validity": "6w", "renewal_overlap": "6w"}, "renewal_overlap: 6w is not shorter than validity 6w"),
        ({"minimum_key_size": 0}, "minimum_key_size: 0 is not a key size"),
        ({"key_spec": "7"}, "key_spec: 7 is neither"),
        ({"path_length": -2}, "path_length: -2"),
        ({"algorithms": {"hash": "SHA256"}}, "algorithms: they need schema_version: 3 or 4"),
        (
            {"schema_version": 4, "algorithms": {"hash": "SHA256"}, "private_key": {"flags": ["legacy_provider"]}},
            "without private_key.flags",
        ),
        ({"schema_version": 3, "algorithms": {"asymmetric": "ECDSA_P384"}}, "ECDSA_P384 keys have 384 bits, not 2048"),
        ({"schema_version": 3, "providers": ["Microsoft Base Smart Card Crypto Provider"]}, "use schema_version: 2"),
        (
            {"schema_version": 4, "private_key": {"flags": []}, "providers": ["Microsoft Base Smart Card Crypto Provider"]},
            "add private_key.flags: legacy_provider",
        ),
        ({"providers": ["Microsoft Smart Card Key Storage Provider"]}, "is a key storage provider"),
        ({"private_key": {"archive": True}, "key_usage": ["digital_signature"]}, "only encryption keys are archived"),
        (
            {"schema_version": 4, "private_key": {"flags": ["attestation_preferred", "attestation_required"]}},
            "either preferred or required",
        ),
        ({"private_key": {"flags": ["same_key_renewal"]}}, "same_key_renewal needs schema_version: 4, not 2"),
        ({"enrollment_flags": ["key_based_renewal"]}, "key_based_renewal needs schema_version: 4"),
        ({"subject": {"supplied_in_request": True, "parts": ["email"]}}, "so the directory cannot give email"),
        ({"subject": {"parts": ["directory_path", "common_name"]}}, "directory_path and common_name exclude one another"),
        ({"subject": {"supplied_in_request": True}, "autoenrollment": True}, "nobody is there to supply the subject"),
        ({"subject": {"parts": []}, "subject_alternative_name": {"parts": []}}, "certificates would name nobody"),
        ({"signatures": {"count": 101}}, "101 signatures cannot be required"),
        ({"signatures": {"application_policies": ["certificate_request_agent"]}}, "nobody has to show certificate_request_agent"),
        ({"schema_version": 1, "manager_approval": True}, "manager_approval: version 1 templates have no such thing"),
        ({"schema_version": 1, "supersedes": ["User"]}, "supersedes: version 1 templates have no such thing"),
        ({"supersedes": ["corp"]}, "cannot supersede itself"),
        ({"display_name": ""}, "display_name: it has 0 characters"),
        ({"display_name": "x" * 257}, "display_name: it has 257 characters"),
        ({"based_on": "SmartcardLogin"}, "there is no template 'SmartcardLogin'; did you mean 'SmartcardLogon'?"),
    ],
)
def test_what_cannot_be_is_refused_with_a_remedy(config: dict, message: str) -> None:
    assert message in fails({**SMARTCARD, **config})


@pytest.mark.parametrize("name", ["", "x" * 65, " x", "x\n"])
def test_names_that_cannot_be(name: str) -> None:
    assert "cannot be a cn" in fails({"name": name, "based_on": "User"})


def test_everything_wrong_is_said_at_once() -> None:
    text = fails({**SMARTCARD, "validity": "soon", "key_usage": ["x"], "minimum_key_size": 0})
    assert [line.split(": ")[2] for line in text.splitlines()] == ["key_usage", "validity"] or len(text.splitlines()) == 2
    with pytest.raises(UserError) as raised:
        plan([{**SMARTCARD, "minimum_key_size": 0}, {"name": "Other", "based_on": "nothing"}])
    assert [line.split(": ")[1] for line in str(raised.value).splitlines()] == ["Corp", "Other"]


def test_schema_versions_of_existing_templates() -> None:
    assert "it is 2 and cannot become 1" in fails({"name": "Corp", "schema_version": 1}, CORP)
    old = having({"name": "Old", "based_on": "User", "schema_version": 1})
    assert "a version 1 template cannot become version 2; make a copy with based_on: Old" in fails(
        {"name": "Old", "schema_version": 2}, old
    )
    assert after({"name": "Corp", "schema_version": 3}, CORP)["schema_version"] == 3


def test_an_old_fault_does_not_keep_others_from_being_mended() -> None:
    template = CORP.templates["corp"]
    faulty = replace(template, attributes={**template.attributes, "pKIOverlapPeriod": b"", "msPKI-Template-Schema-Version": 9})
    assert after({"name": "Corp", "display_name": "x"}, replace(CORP, templates={"corp": faulty}))["renewal_overlap"] == "0x"


# --- warnings ---


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"minimum_key_size": 1024}, "1024 bits are too weak for RSA"),
        ({"schema_version": 1}, "tools of Windows refuse to edit version 1"),
        ({"signatures": {"count": 1}}, "any certificate can sign the request"),
        ({"subject_alternative_name": {"parts": ["dns"]}}, "users have no DNS name"),
        ({"supersedes": ["Smartcard"]}, "there is no template 'Smartcard'"),
    ],
)
def test_what_should_be_known(config: dict, message: str) -> None:
    warned = plan([{**SMARTCARD, **config}]).warnings
    assert len(warned) == 1
    assert warned[0].startswith("Corp: ")
    assert message in warned[0]


def test_changing_a_version_1_template_is_warned_of_but_for_permissions() -> None:
    old = having({"name": "Old", "based_on": "User", "schema_version": 1})
    assert "of which Windows lets only permissions be changed" in plan([{"name": "Old", "validity": "2y"}], old).warnings[0]
    assert plan([{"name": "Old", "permissions": [{"principal": "Staff", "rights": ["enroll"]}]}], old).warnings == []


ANYBODY = [{"principal": "Domain Users", "rights": ["enroll"]}]


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"based_on": "SmartcardLogon"}, []),
        ({"based_on": "SmartcardLogon", "permissions": ANYBODY}, []),
        ({"based_on": "SmartcardLogon", "subject": {"supplied_in_request": True}}, []),
        ({"based_on": "SmartcardLogon", "subject": {"supplied_in_request": True}, "permissions": ANYBODY}, ["ESC1"]),
        ({"based_on": "SmartcardLogon", "subject": {"supplied_in_request": True}, "permissions": ANYBODY, "manager_approval": True}, []),
        (
            {
                "based_on": "SmartcardLogon",
                "subject": {"supplied_in_request": True},
                "permissions": ANYBODY,
                "signatures": {"count": 1, "application_policies": ["certificate_request_agent"]},
            },
            [],
        ),
        (
            {
                "based_on": "SmartcardLogon",
                "subject": {"supplied_in_request": True},
                "permissions": [{"principal": "Everyone", "rights": ["all_extended_rights"]}],
            },
            ["ESC1"],
        ),
        (
            {
                "based_on": "SmartcardLogon",
                "subject": {"supplied_in_request": True},
                "permissions": [*ANYBODY, {"principal": "Domain Users", "rights": ["enroll"], "type": "deny"}],
            },
            [],
        ),
        ({"based_on": "WebServer", "permissions": ANYBODY, "extended_key_usages": []}, ["ESC1", "ESC2", "ESC3", "ESC17"]),
        ({"based_on": "User", "extended_key_usages": ["any_purpose"]}, ["ESC2", "ESC3"]),
        ({"based_on": "EnrollmentAgent", "permissions": ANYBODY}, ["ESC3"]),
        ({"based_on": "SmartcardLogon", "permissions": [{"principal": "Everyone", "rights": ["write"]}]}, ["ESC4"]),
        ({"based_on": "SmartcardLogon", "permissions": [{"principal": "Everyone", "rights": ["generic_write"]}]}, ["ESC4"]),
        ({"based_on": "SmartcardLogon", "permissions": [{"principal": "Everyone", "rights": ["write"], "type": "deny"}]}, []),
        ({"based_on": "SmartcardLogon", "owner": "Authenticated Users"}, ["ESC4"]),
        ({"based_on": "SmartcardLogon", "permissions": [{"ace": "(OA;;WP;bf967953-0de6-11d0-a285-00aa003049e2;;WD)"}]}, ["ESC4"]),
        ({"based_on": "SmartcardLogon", "permissions": [{"ace": "(OA;CIIO;WP;bf967953-0de6-11d0-a285-00aa003049e2;;WD)"}]}, []),
        ({"based_on": "SmartcardLogon", "permissions": [{"ace": "0x090008000a0b0c0d"}]}, []),
        ({"based_on": "User", "sid_extension": False}, ["ESC9"]),
        ({"based_on": "CodeSigning", "sid_extension": False, "permissions": ANYBODY}, []),
        ({"based_on": "WebServer", "permissions": ANYBODY}, ["ESC17"]),
        ({"based_on": "WebServer", "schema_version": 1, "permissions": ANYBODY}, ["ESC15", "ESC17"]),
        ({"based_on": "User", "application_policies": ["certificate_request_agent"]}, ["ESC3"]),
    ],
)
def test_weaknesses(config: dict, found: list[str]) -> None:
    warned = [warning for warning in plan([{"name": "T", **config}]).warnings if "ESC" in warning]
    assert [warning.split(": ")[1] for warning in warned] == found
    for warning in warned:
        assert warning.startswith("T: ")
        assert any(name in warning for name in ("Domain Users", "Everyone", "Authenticated Users"))
    if found:
        text = fails({"name": "T", **config}, strict=True)
        assert [line.split(": ")[2] for line in text.splitlines() if "ESC" in line] == found
    else:
        assert len(plan([{"name": "T", **config}], strict=True).changes) == 1


def test_a_policy_that_makes_members_of_a_group_is_warned_of() -> None:
    linked = replace(EMPTY, oid_objects={"1.2.3.4": OidObject(f"CN=x,{OID_CONTAINER}", "Gold", "CN=Enterprise Admins")})
    config = {"name": "T", "based_on": "User", "issuance_policies": ["1.2.3.4"]}
    [warning] = [warning for warning in plan([config], linked).warnings if "ESC" in warning]
    assert "ESC13: CORP\\Domain Users can get certificates that make them members of CN=Enterprise Admins" in warning
    assert not [warning for warning in plan([config]).warnings if "ESC" in warning]


def test_weaknesses_of_unchanged_templates_are_seen() -> None:
    current = having({"name": "T", "based_on": "User", "sid_extension": False})
    found = plan([{"name": "T"}], current)
    assert found.changes == []
    assert "ESC9" in found.warnings[0]


def test_a_denial_that_comes_too_late_is_warned_of() -> None:
    late = bytes(SecurityDescriptor.from_sddl("O:EAG:EAD:P(A;;RP;;;AU)(D;;RP;;;DU)", CONTEXT))
    current = replace(CORP, templates={"corp": replace(CORP.templates["corp"], descriptor=late)})
    assert "has no effect" in plan([{"name": "Corp"}], current).warnings[0]
    mended = plan([{"name": "Corp", "permissions": [{"principal": "Staff", "rights": ["read"]}]}], current)
    assert mended.warnings == []


# --- deletion ---


def test_deletion_unpublishes_and_ends_with_the_template() -> None:
    current = having({"name": "Later", "based_on": "User", "supersedes": ["Corp"]}, current=CORP)
    services = (Publication("CN=A", ["User", "CORP", "corp"]), Publication("CN=B", ["User"]))
    found = plan([{"name": "corp"}, {"name": "absent"}], replace(current, publications=services), "deleted")
    [change] = found.changes
    template = current.templates["corp"]
    assert (change.name, change.after) == ("Corp", None)
    assert change.details == (
        Step("modify", "CN=A", modifies=[Modify("delete", "certificateTemplates", ["CORP", "corp"])]),
        Step("delete", current.oid_objects[template.attributes[OID]].dn),
        Step("delete", template.dn),
    )
    assert found.warnings == ["Later: it supersedes Corp, which is deleted"]
    assert applied(current, found.changes).templates.keys() == {"later"}
    bare = replace(CORP, oid_objects={})
    assert [step.dn for step in only({"name": "Corp"}, bare, "deleted").details] == [template.dn]


# --- rendered ---


def test_rendered_needs_no_server() -> None:
    config = {
        **SMARTCARD,
        "issuance_policies": ["Low Assurance"],
        "permissions": [{"principal": "CORP\\Smartcard Users", "rights": ["enroll"]}],
    }
    [words] = RESOURCE.render(checked([{**config, "owner": "domain admins"}], "rendered"))
    assert words["issuance_policies"] == ["low_assurance"]
    assert words["owner"] == "Domain Admins"
    assert {"principal": "CORP\\Smartcard Users", "rights": ["enroll"]} in words["permissions"]
    assert {"principal": "Authenticated Users", "rights": ["read"]} in words["permissions"]
    assert "oid" not in words
    assert RESOURCE.render(checked([words], "rendered")) == [words]


def test_scope_limits_what_is_shown() -> None:
    current = having({"name": "Second", "based_on": "User"}, current=CORP)
    assert list(RESOURCE.objects(current)) == ["Corp", "Second"]
    assert list(RESOURCE.objects(replace(current, scope=frozenset({"corp"})))) == ["Corp"]


# ---- before the first CA is installed


AWAITING = replace(EMPTY, has_arc=False, awaits_arc=True)


def test_a_template_foreseen_before_the_first_authority_has_no_oid_yet() -> None:
    change = only({"name": "Mine", "based_on": "SmartcardLogon"}, AWAITING)
    assert change.before is None and (change.after or {})["oid"] == "(known after apply)"
    known = after({"name": "Mine", "based_on": "SmartcardLogon"})
    assert {**(change.after or {}), "oid": known["oid"]} == known
    with pytest.raises(UserError, match="finish the installation of the CA first"):
        RESOURCE.apply(None, change)  # type: ignore[arg-type]


def test_an_oid_that_is_asked_for_is_known_at_any_time() -> None:
    change = only({"name": "Mine", "based_on": "SmartcardLogon", "oid": "1.2.3.4"}, AWAITING)
    assert (change.after or {})["oid"] == "1.2.3.4"


def test_built_in_templates_are_foreseen_as_the_installation_writes_them() -> None:
    foreseen = installed(AWAITING)
    assert set(foreseen.templates) == {name.casefold() for name in BUILT_IN}
    assert all("oid_registered" not in foreseen.words(template) for template in foreseen.templates.values())
    change = only({"name": "KerberosAuthentication", "manager_approval": True}, foreseen)
    assert change.action == "update" and change.details is None
    assert plan([{"name": "KerberosAuthentication"}], foreseen).changes == []
