# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in appliance on a loopback address, and sessions with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.client import ApplianceSession
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.client import appliance as connect
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.connection import RUN, Run

try:
    from lab.connect_secure import server
except ImportError:  # the collection alone: the tests that need the stand-in say so
    server = None  # type: ignore[assignment]


@dataclass
class StandIn:
    """A running stand-in; `params` are the connection options for it, `warnings` what sessions warned of."""

    handle: Any
    folder: Path
    warnings: list[str] = field(default_factory=list)
    _open: ExitStack = field(default_factory=ExitStack)

    @property
    def params(self) -> dict[str, Any]:
        return {
            "host": self.handle.address,
            "port": self.handle.port,
            "username": self.handle.admin,
            "password": self.handle.password,
            "realm": self.handle.realm,
            "ca_path": str(self.handle.ca_file),
            "backup_dir": str(self.folder / "backups"),
            "timeout": 5,
        }

    def session(self, run: Run | None = None, **params: Any) -> ApplianceSession:
        """A session that lasts until the end of the test. With `run` it shares the key with others of that run."""
        own = {RUN: run} if run else {}
        return self._open.enter_context(connect({**self.params, **params, **own}, self.warnings.append))

    def new_run(self) -> Callable[[], Run]:
        """What makes the tasks of one run: each a `Run` over the same folder."""
        folder = self.folder / f"run{len(list(self.folder.glob('run*')))}"
        folder.mkdir(mode=0o700)
        return lambda: Run(folder)

    def faults(self, **faults: Any) -> None:
        self.handle.faults = faults

    def close(self) -> None:
        self._open.close()
        self.handle.stop()


def _needed() -> None:
    if server is None:
        pytest.skip("the collection alone has no stand-in")


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[StandIn]:
    """A new stand-in of the newest version."""
    _needed()
    found = StandIn(server.start(tmp_path / "appliance"), tmp_path)
    yield found
    found.close()


@pytest.fixture
def another_appliance(tmp_path: Path) -> Iterator[Callable[..., StandIn]]:
    """Makes stand-ins with options of their own (version, shallow, max_sessions, …)."""
    _needed()
    made: list[StandIn] = []

    def make(**options: Any) -> StandIn:
        folder = tmp_path / f"other{len(made)}"
        made.append(StandIn(server.start(folder / "appliance", **options), folder))
        return made[-1]

    yield make
    for one in made:
        one.close()
