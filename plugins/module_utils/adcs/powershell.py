# SPDX-License-Identifier: GPL-3.0-or-later
"""A Windows host as the engine sees it: scripts from files, run with parameters, answering with one table.

Nothing is ever put into a script's text. What a script may and may not do is checked by tests/unit/adcs/test_scripts.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Resource, Warn

SCRIPTS = Path(__file__).with_name("scripts")
MODULE = "ansible.windows.win_powershell"

Invoke = Callable[..., Mapping[str, Any]]
"""Runs a module (name, arguments) on the host and returns its result: one round. A third argument is the `Credential` to run as."""

Current = TypeVar("Current")

_DEPTH = 8
"""How deep the tables nest that scripts return."""

_SHOWN = 300
"""Characters of unexpected output that a message shows at most."""

_REMEDIES = {
    "0x80070005": "the account lacks a right there; a WinRM logon with NTLM, or with Kerberos without delegation, has none on other hosts",
    "0x80070020": "another process holds the file; close it and run again",
    "0x80070057": "the host refused an argument",
    "0x800706ba": "the service that was asked does not answer; is CertSvc running?",
    "0x80070422": "the service is disabled",
    "0x80070070": "the disk is full; make room and run again, nothing that was there is lost",
}
"""What to do about errors that any script may meet, by HRESULT."""


@dataclass(frozen=True)
class Credential:
    """A user name and password, a PSCredential for the script."""

    username: str
    password: str


class PowerShellSession:
    """Runs scripts on one host. Knows no policy; `rounds` counts what went over the wire."""

    def __init__(self, invoke: Invoke, warn: Warn) -> None:
        self._invoke = invoke
        self.warn = warn
        self.rounds = 0

    def run(
        self,
        script: str,
        parameters: Mapping[str, Any] | None = None,
        secrets: Mapping[str, str | Credential] | None = None,
        *,
        doing: str,
        remedies: Mapping[str, str] | None = None,
        runas: Credential | None = None,
    ) -> dict[str, Any]:
        """What the script (name of its file without .ps1) put into `$Ansible.Result`.

        `secrets` become SecureString (text) or PSCredential parameters. `doing` names the object and what is done to it, for messages;
        `remedies` says what to do, by HRESULT ("0x80070005") or other text that the error's message holds. `runas` is the user to become
        on the host, whose logon reaches other hosts too.
        Raises `UserError` when the script fails, `SessionLost` when the host has gone.
        """
        arguments: dict[str, Any] = {"script": source(script), "error_action": "stop", "depth": _DEPTH}
        arguments["parameters"] = {name: value for name, value in (parameters or {}).items() if value is not None}
        if secrets:
            arguments["sensitive_parameters"] = [_sensitive(name, value) for name, value in secrets.items()]
        answer = self.module(MODULE, arguments, doing=doing, remedies=remedies, runas=runas)
        for warning in answer.get("warning") or ():
            self.warn(str(warning))
        result = answer.get("result")
        if not isinstance(result, Mapping) or not result:
            shown = " ".join(str(answer.get("host_out") or answer.get("output") or "nothing").split())[:_SHOWN]
            raise UserError(f"{doing}: the script {script} ended without a result; it wrote {shown}")
        return dict(result)

    def module(
        self,
        name: str,
        arguments: Mapping[str, Any],
        *,
        doing: str,
        remedies: Mapping[str, str] | None = None,
        runas: Credential | None = None,
    ) -> Mapping[str, Any]:
        """The result of an Ansible module on the host; raises `UserError` when it fails."""
        self.rounds += 1
        answer = self._invoke(name, arguments, runas) if runas else self._invoke(name, arguments)
        if answer.get("failed"):
            raise UserError(f"{doing}: {_failure(answer, remedies or {})}")
        return answer


class HostResource(Resource[PowerShellSession, Current]):
    """A resource on a Windows host; one instance a task. Its session is given by the action front end."""

    def __init__(self, session: PowerShellSession) -> None:
        self._session = session

    @contextmanager
    def open(self, params: Mapping[str, Any], warn: Warn) -> Iterator[PowerShellSession]:
        yield self._session

    def returns(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """What the task returns besides the report of its changes; asked at its end, failed or not."""
        return {}


@cache
def source(script: str) -> str:
    """The text of a script."""
    return (SCRIPTS / f"{script}.ps1").read_text(encoding="utf-8")


def _sensitive(name: str, value: str | Credential) -> dict[str, str]:
    if isinstance(value, Credential):
        return {"name": name, "username": value.username, "password": value.password}
    return {"name": name, "value": value}


def _failure(answer: Mapping[str, Any], remedies: Mapping[str, str]) -> str:
    """The reason in one line, and what to do about it where that is known."""
    reasons = [text for text in map(_reason, answer.get("error") or ()) if text]
    plain = str(answer.get("msg") or answer.get("module_stderr") or answer.get("module_stdout") or "it failed without saying why")
    text = "; ".join(dict.fromkeys(reasons)) or " ".join(plain.split())[: 3 * _SHOWN]
    return with_remedy(text, remedies)


def with_remedy(text: str, remedies: Mapping[str, str]) -> str:
    """A reason with what to do about it, where that is known; the caller's own remedies know more than the common ones."""
    known = [remedy for sign, remedy in {**_REMEDIES, **remedies}.items() if sign.casefold() in text.casefold()]
    return f"{text}; {known[-1]}" if known else text


def _reason(error: Any) -> str:
    if not isinstance(error, Mapping):
        return " ".join(str(error).split())
    exception = error.get("exception") or {}
    text = " ".join(str(exception.get("message") or error.get("output") or "").split())
    hresult = exception.get("hresult")
    if not isinstance(hresult, int) or hresult >= 0 or re.search(r"0x8[0-9a-f]{7}", text, re.IGNORECASE):
        return text
    number = hresult & 0xFFFFFFFF
    # what the common language runtime says of its own exceptions helps nobody
    return text if number >> 16 in (0x8013,) else f"{text} (0x{number:08x})"
