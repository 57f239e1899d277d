# SPDX-License-Identifier: GPL-3.0-or-later
"""The CDPs of a run as a resource that only reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.compliance.looking import Looking, left
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers import crls
from ansible_collections.certlogon.core.plugins.module_utils.directory.connection import CONNECTION
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Warn, Words

OPTIONS: dict[str, Any] = {
    "timeout": {"type": "int", "default": 15},
    "size_limit": {"type": "int", "default": 64 * 1024 * 1024},
    "directories": {
        "type": "list",
        "elements": "dict",
        "default": [],
        # a directory that is left out must not be the one of the environment
        "options": {name: {part: value for part, value in line.items() if part != "fallback"} for name, line in CONNECTION.items()},
    },
}


class CrlObservation(Looking[Warn]):
    extra = OPTIONS

    def check(self, params: Mapping[str, Any]) -> None:
        for name in ("timeout", "size_limit"):
            if params[name] < 1:
                raise UserError(f"{name}: {params[name]} is less than 1, so that no CRL could be fetched")

    @contextmanager
    def open(self, params: Mapping[str, Any], warn: Warn) -> Iterator[Warn]:
        yield warn

    def read(self, session: Warn, params: Mapping[str, Any]) -> Words:
        folder = Path(params["folder"])
        found = crls.observe(crls.read(folder), params, session)
        return {**left(str(folder), found), "addresses": len(found.facts["crls"])}
