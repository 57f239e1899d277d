# SPDX-License-Identifier: GPL-3.0-or-later
"""Users' tunnels: who has one, with which certificate, in which realm; as ocserv says now, in the words of /system/active-users.

Browsers have no sessions here: each of their requests is judged anew.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509

from lab.connect_secure.data.plan import Decision

PREFIX = "tunnel-"


@dataclass(frozen=True)
class Session:
    """`worker`: ocserv's number of it, that of its process. `certificate`: None where none was asked for. `since`: UNIX time."""

    worker: int
    host: str
    address: str
    decision: Decision
    certificate: x509.Certificate | None
    agent: str
    since: float

    @property
    def id(self) -> str:
        return f"{PREFIX}{self.worker}"


class Sessions:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[int, Session] = {}

    def add(self, session: Session) -> None:
        with self._lock:
            self._sessions[session.worker] = session

    def remove(self, worker: int) -> Session | None:
        with self._lock:
            return self._sessions.pop(worker, None)

    def clear(self) -> None:
        with self._lock:
            self._sessions.clear()

    def all(self) -> list[Session]:
        with self._lock:
            return list(self._sessions.values())

    def records(self, users: list[Mapping[str, Any]], node: str) -> list[dict[str, Any]]:
        """`users`: what ocserv says. What it does not know any more is no session."""
        by_worker = {int(user["ID"]): user for user in users}
        return [_record(session, by_worker[session.worker], node) for session in self.all() if session.worker in by_worker]


def worker(session_id: str) -> int | None:
    match = re.fullmatch(rf"{PREFIX}(\d+)", session_id)
    return int(match.group(1)) if match else None


def _record(session: Session, user: Mapping[str, Any], node: str) -> dict[str, Any]:
    decision = session.decision
    return {
        "active-user-name": decision.user,
        "agent-type": session.agent,
        "authentication-realm": decision.realm,
        "endpoint-security-status": "Not Applicable",
        "events": "0",
        "login-node": node,
        "network-connect-ip": str(user.get("IPv4", "")),
        "primary-auth-server-name": decision.server,
        "primary-auth-server-type": decision.server_kind,
        "session-id": session.id,
        "user-roles": ", ".join(decision.roles),
        "user-sign-in-time": time.strftime("%Y/%m/%d %H:%M:%S", time.gmtime(session.since)),
    }
