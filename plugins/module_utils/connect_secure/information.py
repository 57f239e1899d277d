# SPDX-License-Identifier: GPL-3.0-or-later
"""What an appliance is and holds: system information, users, configuration, and how it fits the table. Changes nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import table_check
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.client import ApplianceSession, appliance, plain_path
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.connection import CONNECTION
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.raw_values import readable
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.walk import Walk
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Reading, Warn, Words

PAGE = 200
"""Active users asked for at once; the interface's own default."""


class Information(Reading[ApplianceSession]):
    connection = CONNECTION

    @classmethod
    def argument_spec(cls) -> dict[str, Any]:
        return {
            **cls.connection,
            "roots": {"type": "list", "elements": "str", "default": []},
            "depth": {"type": "int", "default": 12},
            "max_requests": {"type": "int", "default": 1000},
            "active_users": {"type": "bool", "default": False},
            "check_table": {"type": "bool", "default": False},
        }

    def check(self, params: Mapping[str, Any]) -> None:
        for name in ("depth", "max_requests"):
            if params[name] < 1:
                raise UserError(f"{name}: {params[name]} leaves nothing to read; give a number from 1 on")
        for root in params["roots"]:
            plain_path(root)

    def open(self, params: Mapping[str, Any], warn: Warn) -> AbstractContextManager[ApplianceSession]:
        return appliance(params, warn)

    def read(self, session: ApplianceSession, params: Mapping[str, Any]) -> Words:
        found: Words = {"system": system(session.call("system_information"))}
        if params["roots"]:
            walk = Walk(session, params["depth"], params["max_requests"])
            found["configuration"] = {path: readable(walk.tree(path)) for path in map(plain_path, params["roots"])}
            found["unread"] = [{"path": path, "reason": reason} for path, reason in walk.unread.items()]
        if params["active_users"]:
            found["active_users"] = users(session)
        if params["check_table"]:
            found["table"] = table_check.check(session)
        return found


def system(answer: Any) -> Words:
    """Version, generation and machine id of `system/system-information`, and all of it; its nesting differs between releases."""
    whole = answer if isinstance(answer, Mapping) else {}
    inner = whole.get("system-information")
    parts = {**whole, **inner} if isinstance(inner, Mapping) else dict(whole)
    inventory = parts.get("software-inventory")
    software = inventory.get("software") if isinstance(inventory, Mapping) else None
    software = software if isinstance(software, Mapping) else {}
    build = str(software.get("build") or "")
    told = " ".join(str(text) for text in (software.get("version"), parts.get("os-version"), build) if text)
    version = re.search(r"\d+\.\d+R[\d.]*\d", told) or re.search(r"\d+(?:\.\d+)+", told)
    return {
        "build": build,
        "version": version[0] if version else "",
        "generation": generation(version[0]) if version else "",
        "machine_id": str(parts.get("machine-id") or ""),
        "information": readable(parts),
    }


def generation(version: str) -> str:
    """Which lines of the table a release follows: 22.7R2.1 -> connect_secure, 9.1R13 -> pulse, 7.4R1 -> juniper."""
    major = int(version.partition(".")[0])
    return "connect_secure" if major >= 20 else "pulse" if major >= 8 else "juniper"


def users(session: ApplianceSession) -> list[Words]:
    """All sessions of users, page by page."""
    found: list[Words] = []
    while True:
        answer = session.call("active_users", query={"number": PAGE, "start": len(found)})
        page = answer.get("active-users", answer) if isinstance(answer, Mapping) else {}
        records = page.get("active-user-records") or {}
        records = records.get("active-user-record") or [] if isinstance(records, Mapping) else []
        records = [records] if isinstance(records, Mapping) else records
        if records and found and records[0] == found[0]:
            return found  # this one knows no pages, and begins anew
        found += [dict(record) for record in records if isinstance(record, Mapping)]
        # 22.x marks the last page; others tell how many there are; without either, a page that is not full is the last
        ended = str(page.get("is-last-record", "")).casefold() == "true"
        total = str(page.get("total-matched-record-number", ""))
        if ended or not records or (len(found) >= int(total) if total.isdecimal() else len(records) < PAGE):
            return found
