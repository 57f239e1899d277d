# SPDX-License-Identifier: GPL-3.0-or-later
"""A resource against the stand-in in this process, as an action runs it; and plain requests on the same REST tree, as the judge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.connection import RUN, Run
from ansible_collections.certlogon.core.plugins.module_utils.resource import Resource, run

CERTIFICATES = "configuration/system/configuration/certificates"


class Box:
    """One appliance."""

    def __init__(self, handle: Any, folder: Path) -> None:
        self.handle = handle
        self.folder = folder
        self.ca_file = str(handle.ca_file)
        self.warnings: list[str] = []

    def connection(self) -> dict[str, Any]:
        host, _colon, port = self.handle.url.removeprefix("https://").rpartition(":")
        return {
            "host": host,
            "port": int(port),
            "username": self.handle.admin,
            "password": self.handle.password,
            "ca_path": self.ca_file,
            "backup_dir": str(self.folder / "backups"),
        }

    def run(self, resource: Resource[Any, Any], *, check: bool = False, **task: Any) -> dict[str, Any]:
        checked = ArgumentSpecValidator(resource.argument_spec(), **resource.rules()).validate({**self.connection(), **task})
        assert not checked.error_messages, checked.error_messages
        self.warnings = []
        params = {**checked.validated_parameters, RUN: Run()}
        return run(resource, params, check_mode=check, warn=self.warnings.append)

    def rhythm(self, resource: Resource[Any, Any], *, changed: bool = True, **task: Any) -> dict[str, Any]:
        """check -> read back -> run -> read back -> run again -> unchanged; what was predicted is what came."""
        before = self.tree()
        predicted = self.run(resource, check=True, **task)
        assert self.tree() == before
        done = self.run(resource, **task)
        assert not done.get("failed"), done
        assert predicted["changed"] is done["changed"] is changed
        assert [one["name"] for one in predicted["changes"]] == [one["name"] for one in done["changes"]]
        first = list(self.warnings)
        again = self.run(resource, **task)
        assert again["changed"] is False, again
        self.warnings = first
        return done

    # ---- the judge

    def ask(self, method: str, path: str, body: Any = None) -> requests.Response:
        login = requests.post(
            f"{self.handle.url}/api/v1/realm_auth",
            auth=(self.handle.admin, self.handle.password),
            json={"realm": self.handle.realm},
            verify=self.ca_file,
            timeout=10,
        )
        key = (login.json()["api_key"], "")
        return requests.request(method, f"{self.handle.url}/api/v1/{path}", auth=key, json=body, verify=self.ca_file, timeout=10)

    def tree(self) -> Any:
        return self.ask("GET", CERTIFICATES).json()

    def elements(self, kind: str) -> list[dict[str, Any]]:
        answer = self.ask("GET", f"{CERTIFICATES}/{kind}s")
        found: list[dict[str, Any]] = answer.json()[kind]
        return [self.ask("GET", f"{CERTIFICATES}/{kind}s/{kind}/{quote(one['name'], safe='')}").json() for one in found]


@contextmanager
def box(folder: Path, **options: Any) -> Iterator[Box]:
    from lab.connect_secure.server import start

    handle = start(folder / "appliance", **options)
    try:
        yield Box(handle, folder)
    finally:
        handle.stop()
