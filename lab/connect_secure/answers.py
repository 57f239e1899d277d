# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests, answers and refusals of the stand-in's REST interface; the envelope of its messages."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OK = "Operation succeeded without warning or error!"
IMPLICIT = "The configuration has been implicitly changed"
INFERRED = {"X-Stand-In": "inferred"}


class Refused(Exception):
    """The appliance does not do it: `status` 400, 401, 403, 404 or 422, with the messages of its reply."""

    def __init__(self, status: int, *messages: str) -> None:
        super().__init__(*messages)
        self.status, self.messages = status, messages


class NotModelled(Refused):
    """The stand-in does not know what an appliance would do; its message begins with `stand-in:` and it is counted."""

    def __init__(self, message: str, status: int = 422) -> None:
        super().__init__(status, f"stand-in: {message}")


@dataclass(frozen=True)
class Request:
    """`path`: as it came, still percent-encoded, without query; `headers` by lower-case names."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    client: str = ""

    def basic(self) -> tuple[str, str] | None:
        """User and password of an Authorization header of the scheme Basic."""
        scheme, _, value = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            user, colon, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return (user, password) if colon else None

    def json(self) -> Any:
        """Raises Refused: 400 for what is not a JSON object."""
        try:
            found = json.loads(self.body or b"")
        except ValueError:
            raise Refused(400, "Malformed request: the body is not valid JSON") from None
        if not isinstance(found, dict):
            raise Refused(400, "Malformed request: the body is not a JSON object")
        return found


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def data(content: Any, *, inferred: bool = False) -> Answer:
    return Answer(200, json.dumps(content).encode(), headers=INFERRED if inferred else {})


def envelope(
    status: int, *, info: tuple[str, ...] = (), warnings: tuple[str, ...] = (), errors: tuple[str, ...] = (), inferred: bool = False
) -> Answer:
    lists = {"info": info, "warnings": warnings, "errors": errors}
    result = {name: [{"message": text} for text in texts] for name, texts in lists.items() if texts}
    return Answer(status, json.dumps({"result": result}).encode(), headers=INFERRED if inferred else {})


def written(status: int, warnings: tuple[str, ...] = (), *, inferred: bool = False) -> Answer:
    """The reply to a write that was done."""
    return envelope(status, info=() if warnings else (OK,), warnings=warnings, inferred=inferred)


def gone(*, inferred: bool = False) -> Answer:
    return Answer(204, headers=INFERRED if inferred else {})
