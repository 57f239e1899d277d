# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that is looked at by one program that only reads, as a resource."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any, ClassVar

from ansible_collections.certlogon.core.plugins.module_utils.compliance import read_only
from ansible_collections.certlogon.core.plugins.module_utils.compliance.looking import Looking, left, now
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Target
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Warn, Words

Execute = Callable[[str, bytes], Mapping[str, Any]]
"""Runs a command on the host with this standard input: rc, stdout, stderr."""


class HostObservation(Looking[Execute]):
    """A subclass says of which kind the host is, who observes it, and which Python its program needs."""

    kind: ClassVar[str]
    observer: ClassVar[ModuleType]
    """A module of `observers` with SCRIPT, `script()`, EXPECTED and `observe(answer, params, observation, asked)`."""

    needs: ClassVar[str]

    def __init__(self, execute: Execute | None = None, account: str = "", host: str = "") -> None:
        self._execute = execute
        self._account, self._host = account, host

    @classmethod
    def argument_spec(cls) -> dict[str, Any]:
        return {
            **super().argument_spec(),
            "name": {"type": "str", "required": True},
            "python": {"type": "str", "default": "/usr/bin/python3"},
            "expected": {"type": "dict", "options": cls.observer.EXPECTED},
        }

    @contextmanager
    def open(self, params: Mapping[str, Any], warn: Warn) -> Iterator[Execute]:
        if self._execute is None:
            raise AssertionError("is opened by the action")
        yield self._execute

    def read(self, session: Execute, params: Mapping[str, Any]) -> Words:
        observation = Observation(Target(self.kind, params["name"]), now(), account=self._account, servers=[self._host])
        asked = read_only.Asked(observation.asked)
        asked.ask("ssh", self.observer.SCRIPT)
        done = session(f"{shlex.quote(params['python'])} -", self.observer.script().encode())
        if done.get("rc"):
            said = " ".join(str(done.get("stderr") or done.get("stdout") or "").split())[-300:]
            raise UserError(
                f"{params['name']}: {params['python']} ended with {done['rc']} on the host: {said or 'no word'}; is it Python {self.needs}?"
            )
        self.observer.observe(_answer(str(done.get("stdout") or "")), params, observation, asked)
        observation.ended = now()
        return left(params["folder"], observation)


def _answer(output: str) -> str:
    """The script's line; some hosts greet before it."""
    lines = [line for line in output.splitlines() if line.startswith("{")]
    return lines[-1] if lines else json.dumps(output)
