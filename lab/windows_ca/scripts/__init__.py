# SPDX-License-Identifier: GPL-3.0-or-later
"""The project's own PowerShell scripts, as the stand-in knows them.

A script is recognised by the SHA-256 of its text; its `param` block is read from that text and binds the parameters as PowerShell does.
What it does on Windows is modelled by a handler of the same name (`@handler("adcs_state")` in a module of this package). There is no
PowerShell here: a script that is not one of these files, or has no handler, is refused.
"""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from lab.windows_ca.scripts.parameters import BindingError, ParamBlock

__all__ = ["BindingError", "PowerShellError", "Script", "handler", "recognise"]

FOLDER = Path(__file__).resolve().parents[3] / "plugins/module_utils/adcs/scripts"
Handler = Callable[[Any, Any, dict[str, Any], Any], dict[str, Any]]
HANDLERS: dict[str, Handler] = {}


_delegated: ContextVar[tuple[str, str] | None] = ContextVar("delegated", default=None)


@contextmanager
def delegated(user: str, password: str) -> Iterator[None]:
    """What runs inside has a logon that reaches the domain; one by WinRM alone does not."""
    token = _delegated.set((user, password))
    try:
        yield
    finally:
        _delegated.reset(token)


def logon() -> tuple[str, str] | None:
    """User and password of the logon that reaches the domain, if there is one."""
    return _delegated.get()


class PowerShellError(Exception):
    """A terminating error of a script: what its `throw`, or a cmdlet under ErrorActionPreference Stop, ends with.

    `exception_type`, `hresult`, `error_id`, `category` go into the module's `error` entry.
    """

    def __init__(
        self,
        message: str,
        *,
        exception_type: str = "System.Management.Automation.RuntimeException",
        hresult: int = -2146233087,
        error_id: str = "",
        category: str = "OperationStopped",
    ) -> None:
        super().__init__(message)
        self.exception_type, self.hresult, self.category = exception_type, hresult, category
        self.error_id = error_id or message


def handler(name: str) -> Callable[[Handler], Handler]:
    """Register the model of `NAME.ps1`: `(machine, authority, parameters, caller) -> what goes into $Ansible.Result`.

    `parameters`: by declared name, those given and those with a literal default; a PSCredential is {"username", "password"}, a SecureString
    its text. Whether the task has changed is read from the script: `$Ansible.Changed = $true` or `$false`; where it assigns anything else,
    the handler's result says so under "changed".
    """

    def register(function: Handler) -> Handler:
        if name in HANDLERS:
            raise ValueError(f"two handlers for {name}.ps1")
        HANDLERS[name] = function
        return function

    return register


class Script:
    """One of the project's scripts: `name` (file stem) and its text."""

    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text
        self.parameters = ParamBlock.parse(text)
        self._assigned = re.findall(r"^[^#\n]*?\$Ansible\.Changed\s*=\s*(.+?)\s*(?:;|#|$)", text, re.MULTILINE)

    @property
    def reads_only(self) -> bool:
        """It says itself that it never changes anything."""
        return bool(self._assigned) and all(value.lower() == "$false" for value in self._assigned)

    def changed(self, result: Mapping[str, Any]) -> bool:
        if self.reads_only:
            return False
        return bool(result.get("changed", True))


def load_handlers() -> None:
    """Import every module of this package, so that their handlers are registered."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


def fingerprint(text: str) -> str:
    """Line ends are the transport's affair; all else counts."""
    return hashlib.sha256(text.replace("\r\n", "\n").strip("\n").encode()).hexdigest()


def recognise(text: str, folder: Path = FOLDER) -> Script | None:
    """The script with this text; None where it is not one of the project's. The folder is read each time."""
    wanted = fingerprint(text)
    for file in scripts(folder):
        found = file.read_text(encoding="utf-8-sig")
        if fingerprint(found) == wanted:
            return Script(file.stem, found)
    return None


def scripts(folder: Path = FOLDER) -> Sequence[Path]:
    return sorted(folder.glob("*.ps1")) if folder.is_dir() else []
