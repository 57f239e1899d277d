# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking the user, on a terminal or by a program that shows a dialog: for the password, and for a second factor (protocol 3.1)."""

from __future__ import annotations

import getpass
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from passivekey.agent.client import Wanted

Ask = Callable[[str, bool], "str | None"]
"""A question, and whether the answer is not to be seen; None where nobody answers."""

KINDS = {
    "ticket": "an enrolment ticket of your administrator",
    "device": "a code of another workstation of yours (there: passivekey-agent code --channel enrollment)",
    "privacyidea": "your one-time password, with its PIN if it has one",
}
_WAIT = 300
"""Seconds that a dialog stays."""

_OF_DEVICE = re.compile(r"\d{8}")
_TICKET = re.compile(r"[0-9A-Za-z]{16}")


def on_terminal(question: str, hidden: bool) -> str | None:
    try:
        return getpass.getpass(question) if hidden else input(question)
    except EOFError:
        return None


def by_program(program: Path) -> Ask:
    """A program as ssh's SSH_ASKPASS: the question is its argument, the answer a line that it prints; it fails where nobody answers."""

    def ask(question: str, _hidden: bool) -> str | None:
        try:
            done = subprocess.run([program, question], stdout=subprocess.PIPE, timeout=_WAIT, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.decode("utf-8", "replace").rstrip("\r\n") if done.returncode == 0 else None

    return ask


class Asker:
    """`kind`: of second factor, where the user has said which; else it is told by what is typed."""

    def __init__(self, ask: Ask, kind: str = "", *, name: bool = True) -> None:
        self._ask, self._kind, self._name = ask, kind, name

    def password(self) -> tuple[str, str] | None:
        user = getpass.getuser()
        if self._name:
            user = self._ask(f"Name in the domain [{user}]: ", False) or user
        given = self._ask("Password: " if self._name else f"Password of {user}, to enroll this workstation: ", True)
        return (user, given) if given else None

    def factor(self, wanted: Wanted) -> dict[str, str] | None:
        known = [kind for kind in KINDS if kind in wanted.accepted and (not self._kind or kind == self._kind)]
        if not known:
            return None
        if wanted.transaction:
            code = self._ask(f"{wanted.prompt.rstrip(': ') or 'The answer'}: ", False)
            return {"kind": "privacyidea", "code": code, "transaction": wanted.transaction} if code else None
        failed = "That was not good. " if wanted.again else ""
        code = self._ask(f"{failed}To enroll this workstation: {', or '.join(KINDS[kind] for kind in known)}: ", known == ["privacyidea"])
        return {"kind": kind_of(code, known), "code": code} if code else None


def kind_of(code: str, known: list[str]) -> str:
    """8 digits are a device's, 16 letters and digits a ticket, other things a one-time password's; of those kinds that are accepted."""
    bare = re.sub(r"[\s-]", "", code)
    for kind, form in (("device", _OF_DEVICE), ("ticket", _TICKET)):
        if kind in known and form.fullmatch(bare):
            return kind
    return "privacyidea" if "privacyidea" in known else known[0]
