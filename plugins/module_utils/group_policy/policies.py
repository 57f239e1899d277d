# SPDX-License-Identifier: GPL-3.0-or-later
"""Group Policy objects whole: the directory object, its folder in SYSVOL, its links and its permissions ([MS-GPOL] 3.3.5)."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import sources
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import load_one
from ansible_collections.certlogon.core.plugins.module_utils.directory import authorities
from ansible_collections.certlogon.core.plugins.module_utils.directory import session as ldap
from ansible_collections.certlogon.core.plugins.module_utils.directory.connection import CONNECTION, ConnectionOptions
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import (
    content,
    descriptors,
    policy_plan,
    policy_reading,
    policy_transaction,
    sysvol,
)
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.content import KNOWN
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_state import STATUS, Current, Session
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_wishes import wishes
from ansible_collections.certlogon.core.plugins.module_utils.resource import Change, Plan, Resource, Warn, Words


class GroupPolicies(Resource[Session, Current]):
    connection = CONNECTION
    extra = {
        "use_pdc_emulator": {"type": "bool", "default": True},
        "smb_port": {"type": "int", "default": sysvol.PORT},
        **authorities.EXPECTED,
    }
    options = {
        "name": {"type": "str", "required": True},
        "guid": {"type": "str"},
        "status": {"type": "str", "choices": list(STATUS)},
        "wmi_filter": {"type": "str"},
        "links": {
            "type": "list",
            "elements": "dict",
            "options": {
                "target": {"type": "str", "required": True},
                "order": {"type": "int"},
                "enabled": {"type": "bool", "default": True},
                "enforced": {"type": "bool", "default": False},
                "block_inheritance": {"type": "bool"},
            },
        },
        "links_mode": {"type": "str", "choices": ["merged", "exact"]},
        "permissions": {
            "type": "list",
            "elements": "dict",
            "options": {
                "principal": {"type": "str"},
                "rights": {"type": "list", "elements": "str", "choices": list(descriptors.RIGHTS)},
                "type": {"type": "str", "choices": ["allow", "deny"], "default": "allow"},
                "ace": {"type": "str"},
            },
            "mutually_exclusive": [("ace", "principal")],
            "required_one_of": [("ace", "principal")],
            "required_by": {"principal": ["rights"]},
        },
        "permissions_mode": {"type": "str", "choices": ["merged", "exact"], "default": "merged"},
        **content.OPTIONS,
    }

    def distinguish(self, entry: Words) -> str:
        """Two policies may have one name, as long as their identifiers tell them apart."""
        return f"{entry['name'].strip()} {entry.get('guid') or ''}"

    def check(self, params: Mapping[str, Any]) -> None:
        if params["state"] in ("merged", "replaced", "rendered"):
            wishes(params)

    @contextmanager
    def open(self, params: Mapping[str, Any], warn: Warn) -> Iterator[Session]:
        options = ConnectionOptions.from_params(params)
        with ExitStack() as stack:
            directory = stack.enter_context(ldap.connect(options, warn))
            if params["use_pdc_emulator"] and directory.pdc_emulator.casefold() != directory.host.casefold():
                directory = stack.enter_context(ldap.connect(options, warn, host=directory.pdc_emulator))
            share = stack.enter_context(sysvol.connect(directory.host, directory.address, options, params["smb_port"]))
            yield Session(directory, share, warn)

    def read(self, session: Session, params: Mapping[str, Any]) -> Current:
        return policy_reading.read(session, params)

    def objects(self, current: Current) -> dict[str, Words]:
        return policy_plan.objects(current)

    def shown(self, words: Words) -> Words:
        """Subjects and fingerprints: nobody can read PEM and base64."""
        shown = dict(words)
        if "certificates" in words:
            shown["certificates"] = {
                store: [_certificate_line(item) for item in value] if isinstance(value, list) else value
                for store, value in words["certificates"].items()
            }
        if "files" in words:
            shown["files"] = [_file_line(item) for item in words["files"]]
        return shown

    def plan(self, params: Mapping[str, Any], current: Current) -> Plan:
        if params["state"] == "deleted":
            return policy_plan.plan_deletions(params, current)
        return policy_plan.plan(wishes(params, current.authorities), current, datetime.datetime.now(datetime.timezone.utc))

    def settled(self, change: Change, params: Mapping[str, Any], current: Current) -> bool:
        try:
            again = [one.details for one in self.plan(params, current).changes if one.name.casefold() == change.name.casefold()]
        except UserError:
            return False
        # what another run is just writing looks in need of repair, and is not
        return all(work.only_repairs for work in again)

    def authorize(self, session: Session, plan: Plan, current: Current) -> None:
        policy_transaction.authorize(session, plan, current)

    def apply(self, session: Session, change: Change) -> None:
        for items in change.details.wish.content.pending.values() if change.details.wish else ():
            sources.refuse_unknown(items)
        policy_transaction.apply(session, change)

    def render(self, params: Mapping[str, Any]) -> list[Words]:
        rendered = []
        now = datetime.datetime.now(datetime.timezone.utc)
        for wish, entry in zip(wishes(params), params["config"], strict=True):
            try:
                files = content.edit(dict.fromkeys(KNOWN), wish.content, exact=True, now=now)
            except UserError as error:
                raise UserError(f"{wish.name}: {error}") from error
            names = {half: content.extension_names(half, None, {}, files, wish.content) for half in ("computer", "user")}
            head: Words = {"name": wish.name}
            head |= {"guid": wish.guid} if wish.guid else {}
            head["status"] = entry.get("status") or "enabled"
            head |= {name: entry[name] for name in ("wmi_filter", "links", "permissions") if entry.get(name)}
            found = content.words(files, names["computer"], names["user"])
            rendered.append({**head, **content.with_items(found, _from_directory(entry))})
        return rendered


def _from_directory(entry: Words) -> dict[str, list[Words]]:
    """By store, the certificates that only a directory can tell."""
    stores = {store: value for store, value in (entry.get("certificates") or {}).items() if isinstance(value, list)}
    return {
        store: [{name: value for name, value in item.items() if value is not None} for item in items if sources.from_directory(item)]
        for store, items in stores.items()
    }


def _certificate_line(item: Words) -> str:
    if sources.from_directory(item):
        return sources.known_later(item)
    try:
        found = load_one(item["content"])
    except (FormatError, KeyError):
        return str(item)
    return f"{found.subject}, valid {found.not_before:%Y-%m-%d} to {found.not_after:%Y-%m-%d}, SHA-256 {found.sha256}"


def _file_line(item: Words) -> str:
    digest = hashlib.sha256(item["content"].encode()).hexdigest()[:16]
    return f"{item['path']}, {len(item['content']) * 3 // 4} bytes, {digest}"
