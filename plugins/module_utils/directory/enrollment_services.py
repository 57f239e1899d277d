# SPDX-License-Identifier: GPL-3.0-or-later
"""Which enrollment service (enterprise CA) publishes which templates: pKIEnrollmentService.certificateTemplates ([MS-WCCE] 2.2.2.11.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.directory import authorities, values
from ansible_collections.certlogon.core.plugins.module_utils.directory.builtin_templates import BUILT_IN
from ansible_collections.certlogon.core.plugins.module_utils.directory.connection import CONNECTION, ConnectionOptions
from ansible_collections.certlogon.core.plugins.module_utils.directory.session import Directory, connect
from ansible_collections.certlogon.core.plugins.module_utils.errors import Problems, UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Change, Plan, Resource, Warn, Words

ATTRIBUTE = "certificateTemplates"

OTHERS = "those that the CA publishes when it is installed (known after apply)"
"""Stands in a prediction for the templates that AD CS publishes by itself, unless its CAPolicy.inf says otherwise."""

_LISTED = 12
"""Names that an error message lists at most."""


@dataclass(frozen=True)
class Service:
    """One pKIEnrollmentService; `templates` as stored."""

    name: str
    dn: str
    templates: Sequence[str]

    @property
    def words(self) -> Words:
        return _words(self.name, self.templates)


@dataclass(frozen=True)
class Published:
    """All enrollment services, and the cn of every template there is."""

    services: Sequence[Service]
    templates: Sequence[str]


class EnrollmentServices(Resource[Directory, Published]):
    connection = CONNECTION
    options = {
        "name": {"type": "str", "required": True},
        "templates": {"type": "list", "elements": "str"},
    }
    extra = {"allow_missing_templates": {"type": "bool", "default": False}, **authorities.EXPECTED}

    def check(self, params: Mapping[str, Any]) -> None:
        if params["state"] == "gathered":
            return
        problems = Problems()
        for entry in params["config"]:
            if entry.get("templates") is None:
                problems.add(f"config: {entry['name']}: templates is missing; name them (an empty list with state=replaced publishes none)")
            elif params["state"] == "deleted" and not entry["templates"]:
                problems.add(
                    f"config: {entry['name']}: templates is empty; state=deleted takes the named templates from publication, "
                    "the service itself goes when its CA is uninstalled"
                )
        problems.raise_any()

    def open(self, params: Mapping[str, Any], warn: Warn) -> AbstractContextManager[Directory]:
        return connect(ConnectionOptions.from_params(params), warn)

    def read(self, session: Directory, params: Mapping[str, Any]) -> Published:
        services = session.search(
            f"CN=Enrollment Services,{session.public_key_services}",
            "(objectClass=pKIEnrollmentService)",
            ("cn", ATTRIBUTE),
            scope="level",
        )
        templates = session.search(
            f"CN=Certificate Templates,{session.public_key_services}", "(objectClass=pKICertificateTemplate)", ("cn",), scope="level"
        )
        return Published(
            [Service(entry.text("cn") or "", entry.dn, entry.texts(ATTRIBUTE)) for entry in services],
            [entry.text("cn") or "" for entry in templates],
        )

    def objects(self, current: Published) -> dict[str, Words]:
        return {service.name: service.words for service in current.services}

    def plan(self, params: Mapping[str, Any], current: Published) -> Plan:
        services = {service.name.casefold(): service for service in current.services}
        templates = {name.casefold(): name for name in current.templates}
        expected = {name.casefold(): name for name in authorities.expected(params)}
        if expected:
            # the installation of an enterprise CA writes them
            templates = {name.casefold(): name for name in BUILT_IN} | templates
        problems = Problems()
        changes: list[Change] = []
        warnings: list[str] = []
        for wanted in params["config"]:
            service = services.get(wanted["name"].casefold())
            if service is None and wanted["name"].casefold() in expected:
                if params["state"] != "deleted":
                    warnings += _missing(wanted["name"], wanted["templates"], templates)
                    changes.append(_foreseen(expected[wanted["name"].casefold()], wanted["templates"], templates, params["state"]))
                continue
            if service is None:
                problems.add(_unknown("config: no enrollment service", wanted["name"], [service.name for service in current.services]))
                continue
            edit = values.edit(service.dn, ATTRIBUTE, service.templates, wanted["templates"], params["state"])
            missing = _missing(service.name, edit.add, templates)
            (warnings.extend if params["allow_missing_templates"] else problems.collect)(missing)
            if edit:
                edit = replace(edit, add=[templates.get(name.casefold(), name) for name in edit.add])
                changes.append(Change(service.name, service.words, _words(service.name, edit.result(service.templates)), edit))
        problems.raise_any()
        return Plan(changes, warnings)

    def authorize(self, session: Directory, plan: Plan, current: Published) -> None:
        plan = Plan([change for change in plan.changes if change.details is not None])
        values.authorize(session, plan, "use an Enterprise Admin of the forest's root domain or have the right delegated")

    def apply(self, session: Directory, change: Change) -> None:
        if change.details is None:
            raise UserError(
                "the enrollment service is not there yet, so that nothing can be published; finish the installation of the CA first "
                "(expected_authorities is for check mode)"
            )
        change.details.apply(session)

    def render(self, params: Mapping[str, Any]) -> list[Words]:
        return [_words(entry["name"], values.unique(entry["templates"])) for entry in params["config"]]


def _missing(service: str, names: Iterable[str], templates: Mapping[str, str]) -> list[str]:
    return [
        _unknown(f"config: {service}: templates: no certificate template", name, list(templates.values()))
        for name in names
        if name.casefold() not in templates
    ]


def _foreseen(name: str, wanted: Iterable[str], templates: Mapping[str, str], state: str) -> Change:
    """What becomes of a service that is not there yet: what its CA publishes by itself is known when it does."""
    published = values.in_order([templates.get(one.casefold(), one) for one in values.unique(wanted)])
    others = [] if state == "replaced" else [OTHERS]
    return Change(name, None, {"name": name, "templates": [*published, *others]})


def _words(name: str, templates: Iterable[str]) -> Words:
    return {"name": name, "templates": values.in_order(templates)}


def _unknown(what: str, name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name.casefold(), [item.casefold() for item in known], 1)
    if near:
        return f"{what} {name!r}; did you mean {next(item for item in known if item.casefold() == near[0])!r}?"
    names = sorted(known, key=str.casefold)
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{what} {name!r}; there are {', '.join(names[:_LISTED]) or 'none'}{more}"
