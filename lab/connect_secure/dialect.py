# SPDX-License-Identifier: GPL-3.0-or-later
"""An appliance that calls things otherwise than the table says, so that it can be tried how a user mends a wrong line from the inventory.

`names`: the table's word -> this appliance's word, for segments of paths and members of objects, wherever they stand. The table's own word
is then unknown to the appliance.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from lab.connect_secure.answers import Answer, Request


class Dialect:
    def __init__(self, names: Mapping[str, str]) -> None:
        self._outgoing = dict(names)
        self._incoming = {ours: f"no longer {ours}" for ours in names} | {theirs: ours for ours, theirs in names.items()}

    def request(self, request: Request) -> Request:
        """As an appliance that speaks the table's words is asked."""
        path = "/".join(self._incoming.get(unquote(segment), segment) for segment in request.path.split("/"))
        return replace(request, path=path, body=self._body(request.body, self._incoming))

    def answer(self, answer: Answer) -> Answer:
        if answer.content_type != "application/json":
            return answer
        return replace(answer, body=self._body(answer.body, self._outgoing))

    @staticmethod
    def _body(body: bytes, names: Mapping[str, str]) -> bytes:
        try:
            return json.dumps(_renamed(json.loads(body), names)).encode()
        except ValueError:
            return body


def _renamed(content: Any, names: Mapping[str, str]) -> Any:
    if isinstance(content, dict):
        return {names.get(name, name): _renamed(value, names) for name, value in content.items()}
    return [_renamed(value, names) for value in content] if isinstance(content, list) else content
