# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificate templates (pKICertificateTemplate, [MS-CRTD]) with the objects of their OIDs (msPKI-Enterprise-Oid)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.directory import authorities, oids
from ansible_collections.certlogon.core.plugins.module_utils.directory import template_flags as flags
from ansible_collections.certlogon.core.plugins.module_utils.directory.connection import CONNECTION, ConnectionOptions
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import SddlContext, Sid
from ansible_collections.certlogon.core.plugins.module_utils.directory.session import (
    AlreadyExists,
    Directory,
    Entry,
    Modify,
    NoSuchAttribute,
    NoSuchObject,
    connect,
)
from ansible_collections.certlogon.core.plugins.module_utils.directory.template_permissions import access_of
from ansible_collections.certlogon.core.plugins.module_utils.directory.template_plan import (
    DESCRIPTOR,
    GROUP_LINK,
    OID,
    OWNER_GROUP_DACL,
    OidObject,
    Planning,
    Publication,
    Step,
    Template,
    Templates,
    built_in_sids,
    deletions,
    installed,
    offline,
    principals_of,
)
from ansible_collections.certlogon.core.plugins.module_utils.directory.template_words import INTEGERS, LISTS, OCTETS, TEXTS, Vocabulary
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, Problems, UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Change, Plan, Resource, Warn, Words

ISSUANCE_POLICY, APPLICATION_POLICY = 2, 3
"""`flags` of msPKI-Enterprise-Oid: what the OID is for."""


class CertificateTemplates(Resource[Directory, Templates]):
    connection = CONNECTION
    options = {
        "name": {"type": "str", "required": True},
        "display_name": {"type": "str"},
        "based_on": {"type": "str"},
        "schema_version": {"type": "int", "choices": [1, 2, 3, 4]},
        "subject_type": {"type": "str", "choices": list(flags.SUBJECT_TYPES)},
        "subject": {
            "type": "dict",
            "options": {
                "supplied_in_request": {"type": "bool"},
                "from_old_certificate": {"type": "bool"},
                "parts": {"type": "list", "elements": "str", "choices": list(flags.SUBJECT_PARTS)},
                "other_flags": {"type": "list", "elements": "str"},
            },
        },
        "subject_alternative_name": {
            "type": "dict",
            "options": {
                "supplied_in_request": {"type": "bool"},
                "parts": {"type": "list", "elements": "str", "choices": list(flags.ALTERNATIVE_NAME_PARTS)},
            },
        },
        "extended_key_usages": {"type": "list", "elements": "str"},
        "application_policies": {"type": "list", "elements": "str"},
        "critical_extensions": {"type": "list", "elements": "str"},
        "key_usage": {"type": "list", "elements": "str", "no_log": False},
        "path_length": {"type": "int"},
        "validity": {"type": "str"},
        "renewal_overlap": {"type": "str"},
        "minimum_key_size": {"type": "int", "no_log": False},
        "key_spec": {"type": "str", "no_log": False},
        "providers": {"type": "list", "elements": "str"},
        "algorithms": {
            "type": "dict",
            "options": {
                "asymmetric": {"type": "str"},
                "hash": {"type": "str"},
                "symmetric": {"type": "str"},
                "symmetric_key_length": {"type": "int", "no_log": False},
                "key_usage": {"type": "list", "elements": "str", "no_log": False},
                "key_permissions": {"type": "str", "no_log": False},
                "other": {"type": "list", "elements": "str"},
                "raw": {"type": "list", "elements": "str"},
            },
        },
        "private_key": {
            "type": "dict",
            "no_log": False,
            "options": {
                "exportable": {"type": "bool"},
                "strong_protection": {"type": "bool"},
                "archive": {"type": "bool"},
                "flags": {"type": "list", "elements": "str"},
            },
        },
        "compatibility": {"type": "dict", "options": {"authority": {"type": "str"}, "client": {"type": "str"}}},
        "manager_approval": {"type": "bool"},
        "signatures": {
            "type": "dict",
            "options": {
                "count": {"type": "int"},
                "application_policies": {"type": "list", "elements": "str"},
                "issuance_policies": {"type": "list", "elements": "str"},
            },
        },
        "issuance_policies": {"type": "list", "elements": "str"},
        "supersedes": {"type": "list", "elements": "str"},
        "autoenrollment": {"type": "bool"},
        "publish_to_directory": {"type": "bool"},
        "sid_extension": {"type": "bool"},
        "reuse_key_when_full": {"type": "bool", "no_log": False},
        "enrollment_flags": {"type": "list", "elements": "str"},
        "general_flags": {"type": "list", "elements": "str"},
        "owner": {"type": "str"},
        "permissions": {
            "type": "list",
            "elements": "dict",
            "mutually_exclusive": [["principal", "ace"]],
            "required_one_of": [["principal", "ace"]],
            "required_by": {"principal": ["rights"]},
            "options": {
                "principal": {"type": "str"},
                "rights": {"type": "list", "elements": "str"},
                "type": {"type": "str", "choices": ["allow", "deny"], "default": "allow"},
                "ace": {"type": "str"},
            },
        },
        "permissions_mode": {"type": "str", "choices": ["merged", "exact"]},
        "inherit_permissions": {"type": "bool"},
        "reenroll_holders": {"type": "bool", "default": False},
        "oid": {"type": "str"},
        "oid_registered": {"type": "bool"},
        "revision": {"type": "str"},
    }
    extra = {"strict": {"type": "bool", "default": False}, **authorities.EXPECTED}

    def open(self, params: Mapping[str, Any], warn: Warn) -> AbstractContextManager[Directory]:
        return connect(ConnectionOptions.from_params(params), warn)

    def read(self, session: Directory, params: Mapping[str, Any]) -> Templates:
        current = _read(session, params)
        return installed(current) if current.awaits_arc else current

    def objects(self, current: Templates) -> dict[str, Words]:
        return {
            template.name: current.words(template)
            for key, template in sorted(current.templates.items())
            if current.scope is None or key in current.scope
        }

    def plan(self, params: Mapping[str, Any], current: Templates) -> Plan:
        if params["state"] == "deleted":
            return deletions(params["config"], current)
        return Planning(current, params["state"], strict=params["strict"]).plan(params["config"])

    def authorize(self, session: Directory, plan: Plan, current: Templates) -> None:
        found = Problems()
        remedy = "use an Enterprise Admin of the forest's root domain or have the right delegated"
        steps = [step for change in plan.changes for step in change.details or ()]
        operations = {step.operation for step in steps}
        for operation, container, kind in (
            ("add", current.container, "pKICertificateTemplate"),
            ("add_oid", current.oid_container, "msPKI-Enterprise-Oid"),
        ):
            if operation in operations and not session.may_create(container, kind):
                found.add(f"this account may not create {kind} objects in {container}; {remedy}")
        for step in steps:
            attribute = OID if step.operation == "arc" else next((modify.attribute for modify in step.modifies), None)
            if attribute and not session.may_write(step.dn, attribute):
                found.add(f"this account may not write {attribute} of {step.dn}; {remedy}")
        found.raise_any()

    def apply(self, session: Directory, change: Change) -> None:
        if change.details is None:
            raise UserError(
                "the forest has no OIDs for templates before its first CA is installed; finish the installation of the CA first "
                "(expected_authorities is for check mode)"
            )
        for step in change.details:
            _STEPS[step.operation](session, step)

    def render(self, params: Mapping[str, Any]) -> list[Words]:
        current = offline(params["config"])
        planning = Planning(current, "rendered", strict=False)
        return [
            {option: value for option, value in change.after.items() if option not in ("oid", "revision")}
            for change in planning.plan(params["config"]).changes
            if change.after is not None
        ]


# --- reading ---


def _read(session: Directory, params: Mapping[str, Any]) -> Templates:
    state, config = params["state"], params.get("config") or []
    services = session.public_key_services
    container, oid_container = f"CN=Certificate Templates,{services}", f"CN=OID,{services}"
    wanted = ["cn", DESCRIPTOR, *INTEGERS, *TEXTS, *OCTETS, *LISTS]
    found = session.search(container, "(objectClass=pKICertificateTemplate)", wanted, "level", descriptor=OWNER_GROUP_DACL)
    templates = {template.name.casefold(): template for template in map(template_of, found)}
    scope = frozenset(entry["name"].casefold() for entry in config) or None
    entries = session.search(oid_container, "(objectClass=*)", ["displayName", "flags", OID, GROUP_LINK])
    stored = next((entry.text(OID) for entry in entries if entry.dn.casefold() == oid_container.casefold()), None)
    arc = stored or oids.forest_arc(_forest_guid(session))
    context = SddlContext(session.root_domain_sid)
    principals = session.resolve(principals_of(config)) if state in ("merged", "replaced") else {}
    sources = {(entry.get("based_on") or "").casefold() for entry in config}  # their permissions are copied
    sids = {sid for key, template in templates.items() if scope is None or key in scope | sources for sid in _sids(template)}
    sids |= built_in_sids(context) if state in ("merged", "replaced") else set()
    return Templates(
        container=container,
        oid_container=oid_container,
        templates=templates,
        oid_objects={
            oid: OidObject(entry.dn, entry.text("displayName"), entry.text(GROUP_LINK) or "")
            for entry in entries
            if (oid := entry.text(OID)) and oid != stored
        },
        publications=_publications(session) if state == "deleted" else (),
        arc=arc,
        has_arc=stored is not None,
        awaits_arc=stored is None and state in ("merged", "replaced") and bool(authorities.expected(params)),
        vocabulary=Vocabulary.of(arc, named_oids(entries, APPLICATION_POLICY), named_oids(entries, ISSUANCE_POLICY)),
        context=context,
        names={
            **session.principal_names(sids - {principal.sid for principal in principals.values()}),
            **{principal.sid: principal.name for principal in principals.values()},
        },
        principals={name: principal.sid for name, principal in principals.items()},
        scope=scope,
    )


def template_of(entry: Entry) -> Template:
    attributes: dict[str, Any] = {}
    for attribute in INTEGERS:
        number = entry.integer(attribute)
        if number is not None:
            attributes[attribute] = number
    for attribute in TEXTS:
        text = entry.text(attribute)
        if text is not None:
            attributes[attribute] = text
    for attribute in OCTETS:
        octets = entry.raw(attribute)
        if octets is not None:
            attributes[attribute] = octets
    for attribute in LISTS:
        texts = entry.texts(attribute)
        if texts:
            attributes[attribute] = tuple(texts)
    return Template(entry.text("cn") or "", entry.dn, attributes, entry.raw(DESCRIPTOR))


def _forest_guid(session: Directory) -> bytes:
    """What identifies the forest on every domain controller: the GUID of the configuration naming context."""
    entry = session.get(session.configuration_dn, ["objectGUID"])
    guid = entry.raw("objectGUID") if entry else None
    if guid is None:
        raise UserError(f"{session.configuration_dn}: this account may not read its objectGUID, from which the forest's OIDs are made")
    return guid


def _publications(session: Directory) -> list[Publication]:
    found = session.search(
        f"CN=Enrollment Services,{session.public_key_services}", "(objectClass=pKIEnrollmentService)", ["certificateTemplates"], "level"
    )
    return [Publication(entry.dn, entry.texts("certificateTemplates")) for entry in found]


def named_oids(entries: Iterable[Entry], kind: int) -> dict[str, str]:
    """OIDs of the forest by display name."""
    return {
        name: oid
        for entry in entries
        if entry.integer("flags") == kind and (name := entry.text("displayName")) and (oid := entry.text(OID))
    }


def _sids(template: Template) -> set[Sid]:
    try:
        return access_of(template.descriptor).sids if template.descriptor is not None else set()
    except FormatError as error:
        raise FormatError(f"{template.name}: {DESCRIPTOR}: {error}") from error


# --- writing ---


def _write_arc(session: Directory, step: Step) -> None:
    """Written only where there is none; who was faster must have written the same."""
    wanted = step.modifies[0].values[0]
    try:
        session.modify(step.dn, step.modifies)
    except UserError:
        entry = session.get(step.dn, [OID])
        found = entry.text(OID) if entry else None
        if found == wanted:
            return
        if found is None:
            raise
        raise UserError(f"the forest was given the OID arc {found} while this ran; run again") from None


def _add_oid(session: Directory, step: Step) -> None:
    try:
        session.add(step.dn, step.attributes)
    except AlreadyExists:
        # left by a run that was interrupted before the template
        name = step.attributes.get("displayName")
        session.modify(step.dn, [Modify("replace", "displayName", [name] if name else [])])


def _add(session: Directory, step: Step) -> None:
    session.add(step.dn, step.attributes, descriptor=step.descriptor)


def _modify(session: Directory, step: Step) -> None:
    try:
        session.modify(step.dn, step.modifies, descriptor=step.descriptor)
    except NoSuchAttribute as error:
        raise UserError("somebody else changed it after it was read; nothing was written, run again") from error


def _delete(session: Directory, step: Step) -> None:
    try:
        session.delete(step.dn)
    except NoSuchObject:
        return


_STEPS: Mapping[str, Callable[[Directory, Step], None]] = {
    "arc": _write_arc,
    "add_oid": _add_oid,
    "add": _add,
    "modify": _modify,
    "delete": _delete,
}
