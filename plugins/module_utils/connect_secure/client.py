# SPDX-License-Identifier: GPL-3.0-or-later
"""A session with one appliance: the elements and operations of the table over HTTPS. It holds no policy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import backup
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.connection import (
    RUN,
    SESSION,
    ConnectionOptions,
    Run,
    check_generation,
    load_table,
)
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.login import Login, RunMemory, listed, messages
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.table import Operation, Shape, Table, fill
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.transport import BUSY, Answer, Transport
from ansible_collections.certlogon.core.plugins.module_utils.errors import SessionLost, UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Warn

Wire = dict[str, Any]

_MISSING = "not there"
_TABLE = "if this appliance has it elsewhere, override the line in connect_secure_table (connect_secure_info with check_table tells)"


@contextmanager
def appliance(
    params: Mapping[str, Any], warn: Warn, *, transport: Callable[[ConnectionOptions, Run], Transport] = Transport
) -> Iterator[ApplianceSession]:
    """A session by the connection options; logs in with the first request. Raises `UserError` for options that cannot work.

    `transport` makes what requests are sent by.
    """
    if SESSION in params:
        yield params[SESSION]
        return
    table = load_table(params)
    check_generation(table)
    options = ConnectionOptions.from_params(params)
    run = params.get(RUN) or Run()
    sender = transport(options, run)
    try:
        yield ApplianceSession(options, table, sender, run, warn)
    finally:
        sender.close()


class ApplianceSession:
    """Asks one appliance.

    `requests` and `logins` count what this task needed; `backup` is the file of the run's backup, once there is one.
    """

    def __init__(self, options: ConnectionOptions, table: Table, transport: Transport, run: Run, warn: Warn) -> None:
        self.table = table
        self.options = options
        self._transport = transport
        self._run = run
        self._warn_of = warn
        self._said: set[str] = set()
        where = (options.host.casefold(), options.port)
        self._memory = RunMemory(run, *where, options.realm, options.username)
        self._backups = RunMemory(run, *where)
        self._login = Login(options, table, transport, self._memory, run, self._warn)
        self._key = ""
        self._renewed = False
        self._kept = False
        if not options.validate_certs and self._memory.once("validate_certs"):
            self._warn(
                f"{options.address}: validate_certs is false: the appliance's certificate is not verified, so that anybody on the way can "
                "take its place and read the administrator's password"
            )

    @property
    def requests(self) -> int:
        return self._run.requests

    @property
    def logins(self) -> int:
        return self._run.logins

    @property
    def backup(self) -> str:
        return self._run.backup

    # ---- elements

    def list(self, resource: str) -> list[Wire]:
        """All elements of a kind, complete, in the appliance's order. Raises `UserError`."""
        shape = self.table.resource(resource)
        path = shape.plural(self.options.node)
        found = self._parsed(self._ask("GET", path), f"{resource} (standing: {shape.own_standing})")
        elements = _elements(found, shape, f"{self.options.address}: GET /api/v1/{path}")
        # An appliance may list names only, or a part of each element: one read tells, for all are listed alike. But where there are names
        # only, the first element may just have no more than its name.
        names_only = all(len(paths_of(element)) == 1 for element in elements)
        rest = iter(elements)
        for element in rest:
            first = self.get(resource, shape.name_of(element))
            if first is None:
                continue  # somebody has just deleted it
            if paths_of(first) <= paths_of(element) and not names_only:
                return [element, *rest]
            others = (self.get(resource, shape.name_of(other)) for other in rest)
            return [first, *(other for other in others if other is not None)]
        return []

    def get(self, resource: str, name: str) -> Wire | None:
        """One element, None where there is none of that name. Raises `UserError`."""
        shape = self.table.resource(resource)
        answer = self._ask("GET", shape.path(name, self.options.node))
        if answer.status == 404:
            return None
        found = self._parsed(answer, resource)
        return _element(found, shape, answer.where)

    def create(self, resource: str, wire: Mapping[str, Any]) -> None:
        """Make an element; its key is in `wire`. Raises `UserError` with the appliance's own messages."""
        # the vendor's examples of POST end with a slash
        self._write("POST", f"{self.table.resource(resource).path(node=self.options.node)}/", wire, resource)

    def update(self, resource: str, name: str, wire: Mapping[str, Any]) -> None:
        """Change the members that `wire` gives. Raises `UserError` with the appliance's own messages."""
        shape = self.table.resource(resource)
        self._write("PUT", shape.path(name, self.options.node), {shape.key: name, **wire}, resource)

    def delete(self, resource: str, name: str) -> None:
        """Remove an element. Raises `UserError` with the appliance's own messages, such as that something still refers to it."""
        self._write("DELETE", self.table.resource(resource).path(name, self.options.node), None, resource)

    # ---- other things

    def call(
        self, operation: str, name: str | None = None, words: Mapping[str, Any] | None = None, query: Mapping[str, Any] | None = None
    ) -> Any:
        """Do an operation of the table, with `words` sent as the members that its line names; the parsed answer, None for an empty one.

        Raises `UserError`.
        """
        line: Operation = self.table.operation(operation)
        body = None if words is None else line.members(words)
        path = line.address(name, self.options.node)
        if line.method == "GET":
            return self._parsed(self._ask("GET", path, query=query), f"{operation} (standing: {line.standing})")
        return self._write(line.method, path, body, operation, query=query, changes=line.changes)

    def raw(self, method: str, path: str, body: Any = None, query: Mapping[str, Any] | None = None) -> Any:
        """Ask for any path below /api/v1 (percent-encoded; `{node}` is filled in). None for 404 of a GET, and for an empty answer."""
        address = fill(path, node=self.options.node)
        if method != "GET":
            return self._write(method, address, body, address, query=query)
        answer = self._ask("GET", address, query=query)
        return None if answer.status == 404 else self._parsed(answer, address)

    def content(self, operation: str) -> bytes:
        """The body of an operation that does not answer in JSON. Raises `UserError`."""
        line = self.table.operation(operation)
        answer = self._ask(line.method, line.address(None, self.options.node))
        self._judge(answer, operation)
        return answer.body

    def log_in_anew(self, realm: str | None = None) -> None:
        """A login beside the run's own, to see that one still works. Raises `UserError` where it does not."""
        self._login.log_in(realm)
        if not self._login.knows_realms:
            self._warn(
                f"{self.options.address}: a second login succeeded, but this appliance's old login asks the server Administrators whatever "
                "the realms are: try the console before its present session ends"
            )

    # ---- on the way

    @property
    def answered_login(self) -> str:
        """Which login of the table the appliance has answered, in this run."""
        with self._memory.locked() as memory:
            return str(memory.get("login", ""))

    def _write(self, method: str, path: str, body: Any, what: str, query: Mapping[str, Any] | None = None, *, changes: bool = True) -> Any:
        if changes:
            self._keep_backup()
        answer = self._ask(method, path, body=body, query=query)
        self._judge(answer, what)
        for text in listed(answer.body, "warnings"):
            self._warn(f"{answer.where}: the appliance warns: {text}")
        return answer.json() if answer.body.strip() else None

    def _keep_backup(self) -> None:
        """A backup of the configuration before the run's first change of this appliance."""
        if self._kept or not self.options.backup:
            return
        with self._backups.locked() as memory:
            if not memory.get("backup"):
                memory["backup"] = backup.keep(self.options, self.content("backup"))
            self._run.backup = memory["backup"]
        self._kept = True

    def _ask(self, method: str, path: str, *, body: Any = None, query: Mapping[str, Any] | None = None) -> Answer:
        """One request with the run's key; where it is refused, once with the key of a new login."""
        if not self._key:
            self._key = self._login.key()
        answer = self._transport.send(method, path, (self._key, ""), body=body, query=query)
        if answer.status in (401, 403) and not self._renewed:
            self._renewed = True
            self._key = self._login.key(refused=self._key)
            answer = self._transport.send(method, path, (self._key, ""), body=body, query=query)
        return answer

    def _parsed(self, answer: Answer, what: str) -> Any:
        self._judge(answer, what)
        return None if answer.status == 204 else answer.json()

    def _judge(self, answer: Answer, what: str) -> None:
        """Raise `UserError` (`SessionLost`) for all but success, with the appliance's own words where it has some."""
        if 200 <= answer.status < 300:
            return
        said = messages(answer.body)
        detail = f"{said}; " if said else ""
        if answer.status in (400, 422):
            raise UserError(f"{answer.where}: the appliance refuses (HTTP {answer.status}): {said or answer.excerpt}")
        if answer.status == 404:
            raise UserError(f"{answer.where}: the appliance has no such thing ({what}, HTTP 404); {detail}{_TABLE}")
        if answer.status == 401:
            raise SessionLost(f"{answer.where}: the key of a login just made is refused (HTTP 401); {detail}was the account just changed?")
        if answer.status == 403:
            raise UserError(
                f"{answer.where}: {self.options.account} lacks the permission (HTTP 403); {detail}give its administrator role the right to "
                "this part: Administrators > Admin Roles"
            )
        if answer.status in BUSY:
            raise SessionLost(
                f"{answer.where}: the appliance's REST server does not work (HTTP {answer.status} {said or answer.excerpt}); {answer.taken}"
                "is it starting or overloaded? Run again; look at its event log if it stays"
            )
        if 300 <= answer.status < 400:
            raise SessionLost(
                f"{answer.where}: is sent elsewhere (HTTP {answer.status}, {answer.location or 'nowhere'}); is host and port where the "
                "REST interface is?"
            )
        raise UserError(f"{answer.where}: HTTP {answer.status} {answer.reason}: {said or answer.excerpt}")

    def _warn(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._warn_of(text)


def _elements(found: Any, shape: Shape, where: str) -> list[Wire]:
    """The elements in the answer of a plural: {"<singular>": [{…}, …]}."""
    if not found:
        return []
    if isinstance(found, Mapping) and shape.member in found:
        found = found[shape.member] or []
        found = [found] if isinstance(found, Mapping) else found
    elif isinstance(found, Mapping):
        raise UserError(f"{where}: the answer has {', '.join(map(str, found))}, not {shape.member}; {_TABLE}")
    if not isinstance(found, list) or not all(isinstance(element, Mapping) and shape.name_of(element) for element in found):
        raise UserError(f"{where}: {shape.member} is no list of objects with {shape.key}; {_TABLE}")
    return [dict(element) for element in found]


def _element(found: Any, shape: Shape, where: str) -> Wire:
    """The element in the answer to its own address; some answer with it in a list of one."""
    if isinstance(found, Mapping) and shape.key in found:
        return dict(found)
    inner = found.get(shape.member) if isinstance(found, Mapping) else None
    if isinstance(inner, list) and len(inner) == 1:
        inner = inner[0]
    if isinstance(inner, Mapping) and shape.key in inner:
        return dict(inner)
    raise UserError(f"{where}: the answer is no object with {shape.key}; {_TABLE}")


def paths_of(value: Any, prefix: str = "") -> set[str]:
    """Every member of an object, with those above it."""
    if not isinstance(value, Mapping):
        return set()
    here = {f"{prefix}/{name}" for name in value}
    return here.union(*(paths_of(inner, f"{prefix}/{name}") for name, inner in value.items()))


_BEFORE = re.compile(r"^(https?://[^/]+)?/*(api/v1/+)?")
_NO_PATH = re.compile(r"[?#]|//|(^|/)\.{1,2}(/|$)|%(?![0-9A-Fa-f]{2})")


def plain_path(path: str) -> str:
    """A path as a person gives it (with or without /api/v1 and slashes around it), below /api/v1. Raises `UserError`."""
    text = _BEFORE.sub("", path.strip()).strip("/")
    if not text or _NO_PATH.search(text):
        raise UserError(
            f"path: {path!r} is no path below /api/v1, such as configuration/users/user-realms/realm/Users; in a name, write %2F for / and "
            "%25 for %"
        )
    return quote(text, safe="/%{}")
