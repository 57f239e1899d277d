# SPDX-License-Identifier: GPL-3.0-or-later
"""Logging in: one login a host and run, though each task runs in a process of its own.

The key lies in a file of mode 0600 in the run's private temporary directory, behind a lock, one for each host, port, realm and user.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.connection import DEFAULT_REALM, ConnectionOptions, Run
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.table import Table
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.transport import Answer, Transport
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Warn


class LoginRefused(UserError):
    """The account is not let in; trying again would be the same, or lock it out."""


Memory = dict[str, Any]
"""`key`, and the `login` that gave it; `refused`: why the last one failed; `said`: warnings given already; or `backup`: its file."""


class RunMemory:
    """What the run knows of one thing (an account of an appliance). Without a folder it is this task's own."""

    def __init__(self, run: Run, *of_what: Any) -> None:
        name = hashlib.sha256(json.dumps(of_what).encode()).hexdigest()[:32]
        self._path = run.folder / f"connect_secure-{name}" if run.folder else None
        self._own: Memory = {}

    @contextmanager
    def locked(self) -> Iterator[Memory]:
        """The memory, for this process alone until the end of the block; what was changed in it is kept, also when the block fails."""
        if self._path is None:
            yield self._own
            return
        # no link is followed: the directory is the run's own, but costs nothing to be careful in
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            before = file.read()
            memory: Memory = json.loads(before) if before else {}
            try:
                yield memory
            finally:
                after = json.dumps(memory).encode()
                if after != before:
                    file.seek(0)
                    file.write(after)
                    file.truncate()

    def once(self, what: str) -> bool:
        """Whether this is said for the first time in the run."""
        with self.locked() as memory:
            said = memory.setdefault("said", [])
            if what in said:
                return False
            said.append(what)
            return True


class Login:
    """Gives the key that requests are signed with, and a new one where it is refused."""

    def __init__(self, options: ConnectionOptions, table: Table, transport: Transport, memory: RunMemory, run: Run, warn: Warn) -> None:
        self._options = options
        self._table = table
        self._transport = transport
        self._memory = memory
        self._run = run
        self._warn = warn
        self._answered = ""

    def key(self, refused: str = "") -> str:
        """A key that is not `refused`: the run's, or that of a new login. Raises `UserError` where the appliance lets nobody in."""
        with self._memory.locked() as memory:
            known: str = memory.get("key", "")
            if known and known != refused:
                return known
            if memory.get("refused"):
                raise UserError(
                    f"{memory['refused']} (an earlier task of this run was told so; not tried again, so that the account is not locked out)"
                )
            memory["key"] = ""
            try:
                memory["key"] = self.log_in()
                memory["login"] = self._answered
            except LoginRefused as error:
                memory["refused"] = str(error)
                raise
            return str(memory["key"])

    @property
    def knows_realms(self) -> bool:
        """Whether the login that the appliance answered last asks a realm; the old one always asks the server Administrators."""
        return self._answered != "auth"

    def log_in(self, realm: str | None = None) -> str:
        """A new key by the user name and password, for nobody else to know of. Raises `UserError`."""
        wanted = realm or self._options.realm
        self._run.logins += 1
        for name in self._table.login:
            operation = self._table.operation(name)
            body = {"realm": wanted} if name == "realm_auth" else None
            credentials = (self._options.username, self._options.password)
            answer = self._transport.send(operation.method, operation.address(), credentials, body=body, login=True)
            if answer.status != 404:
                self._answered = name
                if name == "auth" and wanted != DEFAULT_REALM:
                    self._warn(f"{answer.where}: this appliance's login knows no realms; realm {wanted!r} was not used")
                return self._key_of(answer, wanted)
        raise UserError(
            f"{self._options.address}: neither {' nor '.join(f'/api/v1/{self._table.operation(name).path}' for name in self._table.login)} "
            "exists there (HTTP 404); is this a Connect Secure of release 8.3 or newer, and this its management or internal port?"
        )

    def _key_of(self, answer: Answer, realm: str) -> str:
        if answer.status in (401, 403):
            said = messages(answer.body)
            if _no_session_left(said):
                raise UserError(
                    f"{answer.where}: no session is left for {self._options.username} ({said}); end sessions under System > Status > "
                    "Active Users, or wait until they time out"
                )
            raise LoginRefused(f"{answer.where}: {_refusal(answer.status, said, self._options.username, realm)}")
        if not 200 <= answer.status < 300:
            raise UserError(f"{answer.where}: {_failure(answer)}")
        found = answer.json()
        key = found.get("api_key") if isinstance(found, dict) else None
        if isinstance(key, str) and key:
            return key
        if isinstance(found, dict) and "resume_id" in found:
            raise UserError(
                f"{answer.where}: realm {realm!r} asks {self._options.username} for a second authentication, which a run cannot give; "
                "make an administrator realm without secondary authentication for this account (restrict it by source address or by a "
                "client certificate instead: client_cert), and name it in realm (connect_secure_realm)"
            )
        raise UserError(
            f"{answer.where}: let in, but without a key (api_key): {', '.join(found) if isinstance(found, dict) else 'no object'}"
        )


_CONSOLE = "Authentication > Auth. Servers > Administrators > Users"
_ALLOW = f"allow it: {_CONSOLE} > the user > Allow access to REST APIs (or when the account is made on the serial console)"


def _no_session_left(said: str) -> bool:
    words = said.casefold()
    return "session" in words and any(sign in words for sign in ("limit", "maximum", "full"))


def _refusal(status: int, said: str, username: str, realm: str) -> str:
    """Why nobody is let in, by the appliance's own words where it has some: its status codes for this are not documented."""
    text = f" ({said})" if said else ""
    folded = said.casefold()
    if "lock" in folded:
        return f"{username} is locked out{text}; unlock it ({_CONSOLE}) or wait, and correct user name and password before the next run"
    if "certificate" in folded:
        return (
            f"realm {realm!r} wants a client certificate{text}; give one as client_cert (connect_secure_client_cert), or name another realm"
        )
    if "role" in folded.split():
        return f"realm {realm!r} gives {username} no administrator role{text}; add it to the realm's role mapping rules"
    if status == 403 or "rest" in folded.split():
        return f"{username} may not use the REST interface{text}; {_ALLOW}"
    return (
        f"{username} is not let in to realm {realm!r} (HTTP 401){text}: wrong name, password or realm, an account that is locked after too "
        f"many failures, or one that may not use the REST interface; if the password is right, {_ALLOW}"
    )


def _failure(answer: Answer) -> str:
    if 300 <= answer.status < 400:
        return f"sends logins elsewhere (HTTP {answer.status}, {answer.location or 'nowhere'}); is this the port of the REST interface?"
    return f"no login: HTTP {answer.status} {messages(answer.body) or answer.excerpt}; run again, and look at the appliance's event log"


def messages(body: bytes, *kinds: str) -> str:
    """The texts of an answer's envelope ({"result": {"errors": [{"message"}], …}}), errors first; "" where it has none."""
    return "; ".join(listed(body, *(kinds or ("errors", "warnings", "info"))))


def listed(body: bytes, *kinds: str) -> list[str]:
    """The messages of these kinds in an answer's envelope."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return []
    result = found.get("result", found) if isinstance(found, dict) else None
    if not isinstance(result, dict):
        return []
    entries = [entry for kind in kinds if isinstance(result.get(kind), list) for entry in result[kind]]
    texts = [entry.get("message") if isinstance(entry, dict) else entry for entry in entries]
    plain = result.get("message") or result.get("error")
    if not texts and "errors" in kinds and isinstance(plain, str):
        texts = [plain]
    return list(dict.fromkeys(" ".join(str(text).split()) for text in texts if text))
