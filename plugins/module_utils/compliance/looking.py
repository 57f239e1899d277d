# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules that only look have in common: nothing is planned, nothing is applied, and the result says where the observation is."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from ansible_collections.certlogon.core.plugins.module_utils.compliance import observation as files
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Unread
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation
from ansible_collections.certlogon.core.plugins.module_utils.errors import SessionLost, UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Reading, Words

Session = TypeVar("Session")

FOLDER: dict[str, Any] = {"folder": {"type": "path", "required": True}}


class Looking(Reading[Session], Generic[Session]):
    """A subclass opens the session and, in `read`, leaves an observation by `left`."""

    @classmethod
    def argument_spec(cls) -> dict[str, Any]:
        return {**cls.connection, **FOLDER, **cls.extra}


def left(folder: str, observation: Observation) -> Words:
    """Save the observation; the module's result."""
    path = files.save(Path(folder), observation)
    unread = sorted(name for name, value in observation.facts.items() if isinstance(value, Mapping) and "unread" in value)
    return {"observation": str(path), "asked": observation.asked, "facts": len(observation.facts), "unread": unread}


def now() -> str:
    """As observations have times."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def reason(error: UserError) -> str:
    """An error as the reason of what is unread, in one line."""
    return " ".join(str(error).split())


def attempted(observation: Observation, fact: str, look: Any, *, right: str = "") -> None:
    """Set the fact to what `look()` returns; where it raises `UserError`, it is unread. A lost session ends the look."""
    try:
        observation.set(fact, look())
    except SessionLost:
        raise
    except UserError as error:
        lacking = right if "HTTP 403" in str(error) else ""
        observation.set(fact, Unread(reason(error), lacking))
