# SPDX-License-Identifier: GPL-3.0-or-later
"""Administrators: who may log in to the REST interface, and the keys that they work with.

realm_auth, auth, resume_id and the key as Basic user are as others' clients use them; the status codes of refusals are inferred.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lab.connect_secure.answers import Answer, NotModelled, Refused, Request, data
from lab.connect_secure.state import State, Tree, elements
from lab.connect_secure.wire import load

ADMINISTRATORS = "Administrators"
# From this version on the old login is gone (a sentence of the vendor's, quoted by others).
WITHOUT_AUTH = (22, 7, 2, 1)


def version_key(version: str) -> tuple[int, ...]:
    """`22.7R2.1` -> (22, 7, 2, 1)."""
    return tuple(int(number) for number in re.findall("[0-9]+", version))


@dataclass
class Session:
    administrator: str
    realm: str
    ends: float
    requests: int = 0


class Accounts:
    """`lifetime`: of a key, in seconds (on an appliance: the session timeout of the administrator's role). `max_sessions`: places in
    the table."""

    def __init__(
        self, state: State, version: str, *, lifetime: float = 3600, max_sessions: int = 1000, clock: Callable[[], float] = time.time
    ) -> None:
        self._state, self._clock = state, clock
        self.lifetime, self.max_sessions = lifetime, max_sessions
        newest = version_key(version) >= WITHOUT_AUTH
        self.logins: tuple[str, ...] = ("realm_auth",) if newest else ("auth",)
        self.sessions: dict[str, Session] = {}
        self._accounts = _accounts(state.tree)
        state.subscribe(self._follow)

    def _follow(self, tree: Tree) -> None:
        """A key dies with any change of its account."""
        now = _accounts(tree)
        if now != self._accounts:
            changed = {name for name in self._accounts.keys() | now.keys() if self._accounts.get(name) != now.get(name)}
            self.sessions = {key: session for key, session in self.sessions.items() if session.administrator not in changed}
            self._accounts = now

    def forget_all(self) -> None:
        """As a restart does."""
        self.sessions.clear()

    def login(self, request: Request, *, table_full: bool = False) -> Answer:
        """`POST realm_auth`, `GET auth` (or POST, as one client does). Refused: 401, 403 and, in a version without this login, 404."""
        name = request.path.strip("/")
        if name not in self.logins:
            raise Refused(404, f"The resource /api/v1/{name} does not exist")
        if request.method != "POST" and not (name == "auth" and request.method == "GET"):
            raise NotModelled(f"{request.method} {name}")
        realm = self._realm_asked(request) if name == "realm_auth" else ""
        credentials = request.basic()
        if credentials is None:
            raise Refused(401, "Authentication required")
        if realm is None or (name == "realm_auth" and not self._open_to_administrators(realm)):
            raise Refused(401, "Invalid realm or sign-in is not possible for it")
        server = self._server(realm) if realm else ADMINISTRATORS
        account = self._account(server, *credentials)
        if realm and self._needs_certificate(realm):
            raise Refused(403, f"Realm '{realm}' requires a client certificate")
        if realm and self._secondary(realm):
            return data({"resume_id": base64.b64encode(os.urandom(24)).decode()})
        if account.get("allow-rest-api-access") != "enabled":
            raise Refused(403, "REST API access is not allowed for this administrator")
        if realm and not self._role(realm, account["username"]):
            raise Refused(403, "You are not allowed to sign in: no role is mapped to this administrator")
        return self._key(account["username"], realm or "", table_full)

    def _realm_asked(self, request: Request) -> str | None:
        body = request.json()
        if "resume_id" in body:
            raise NotModelled("what follows a resume_id is not known")
        realm = body.get("realm")
        if not isinstance(realm, str):
            raise Refused(400, "realm: a value is required")
        return realm if any(entry["name"] == realm for entry in self._state.elements(load().paths["admin_realm"])) else None

    def _realm(self, name: str) -> dict[str, Any]:
        return next(entry for entry in self._state.elements(load().paths["admin_realm"]) if entry["name"] == name)

    def _open_to_administrators(self, realm: str) -> bool:
        """Some enabled administrators' sign-in policy offers this realm."""
        policies = self._state.elements(load().paths["sign_in_policy"])
        return any(policy.get("enabled") == "true" and realm in policy.get("admin", {}).get("realms", []) for policy in policies)

    def _server(self, realm: str) -> str:
        return str(self._realm(realm).get("authentication-server", "None"))

    def _secondary(self, realm: str) -> bool:
        return self._realm(realm).get("secondary-authentication-settings", {}).get("name", "-") not in ("-", "", "None")

    def _needs_certificate(self, realm: str) -> bool:
        policy = self._realm(realm).get("authentication-policy", {}).get("certificate", {})
        return str(policy.get("certificate-restriction", "")).startswith("Only allow")

    def _role(self, realm: str, user: str) -> bool:
        for rule in self._realm(realm).get("role-mapping-rules", {}).get("rule", []):
            condition = rule.get("user-name")
            if condition is None or not rule.get("roles"):
                continue  # expressions are not evaluated for administrators
            wanted = condition.get("user-names", [])
            matches = "*" in wanted or user.casefold() in (name.casefold() for name in wanted)
            if matches == (condition.get("test", "is") == "is"):
                return True
        return False

    def _account(self, server: str, user: str, password: str) -> dict[str, Any]:
        account = _local_users(self._state.tree, server).get(user)
        known = self._state.secret(account["password-encrypted"]) if account else ""
        right = hmac.compare_digest(known.encode(), password.encode()) and bool(password)
        if account is None or not right or account.get("enabled", "true") != "true":
            raise Refused(401, "Invalid username or password")
        return account

    def _key(self, administrator: str, realm: str, table_full: bool) -> Answer:
        now = self._clock()
        self.sessions = {key: session for key, session in self.sessions.items() if session.ends > now}
        if table_full or len(self.sessions) >= self.max_sessions:
            raise Refused(403, "The maximum number of concurrent sessions has been reached")
        key = base64.b64encode(os.urandom(32)).decode()
        self.sessions[key] = Session(administrator, realm, now + self.lifetime)
        return Answer(200, json.dumps({"api_key": key}).encode())

    def session(self, request: Request, *, expire_after: int | None = None) -> Session:
        """Whose key came with this request; Refused 401. `expire_after`: a key is dead after so many requests."""
        credentials = request.basic()
        if credentials is None or credentials[1]:
            raise Refused(401, "Authentication required")
        session = self.sessions.get(credentials[0])
        if session is None:
            raise Refused(401, "Invalid or expired api_key")
        if session.ends <= self._clock() or (expire_after is not None and session.requests >= expire_after):
            del self.sessions[credentials[0]]
            raise Refused(401, "Invalid or expired api_key")
        session.requests += 1
        return session


def _local_users(tree: Tree, server: str) -> dict[str, dict[str, Any]]:
    for entry in elements(tree, load().paths["auth_server"]):
        if entry["name"] == server:
            return {user["username"]: user for user in entry.get("local", {}).get("users", {}).get("user", [])}
    return {}


def _accounts(tree: Tree) -> dict[str, dict[str, Any]]:
    return _local_users(tree, ADMINISTRATORS)
