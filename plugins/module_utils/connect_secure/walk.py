# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration tree read from given roots, however shallow the appliance's answers are, within bounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import values
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.client import ApplianceSession, paths_of
from ansible_collections.certlogon.core.plugins.module_utils.errors import SessionLost, UserError

_KEYS = ("name", "url-pattern", "node", "username", "id")
"""What elements are addressed by where the table does not say."""


class Walk:
    """Reads below roots. `unread` holds what the bounds or the appliance kept from being read, path by path, with the reason."""

    def __init__(self, session: ApplianceSession, depth: int, requests: int) -> None:
        self._session = session
        self._depth = depth
        self._left = requests
        self.unread: dict[str, str] = {}
        shapes = [session.table.resource(name) for name in session.table.resources]
        self._keys = {shape.element: shape.key for shape in shapes}

    def tree(self, root: str) -> Any:
        """What is at a path and below it; None where there is nothing."""
        return self._deeper(root, self._get(root), self._depth)

    def _get(self, path: str) -> Any:
        if self._left <= 0:
            self.unread[path] = "not asked: max_requests is used up"
            return None
        self._left -= 1
        try:
            found = self._session.raw("GET", path)
        except SessionLost:
            raise
        except UserError as error:
            self.unread[path] = str(error)
            return None
        if found is None:
            self.unread[path] = "the appliance has no such path (HTTP 404)"
        return found

    def _deeper(self, path: str, value: Any, depth: int) -> Any:
        """A node with what its answer left out."""
        if isinstance(value, list):
            return self._elements(path, value, depth)
        if not isinstance(value, Mapping):
            return value
        if depth <= 0:
            if value:
                self.unread[path] = "not looked into: depth is used up"
            return dict(value)
        return {name: self._member(f"{path}/{values.segment(str(name))}", item, depth - 1) for name, item in value.items() if name}

    def _member(self, path: str, value: Any, depth: int) -> Any:
        if value not in (None, {}) or depth <= 0:
            return self._deeper(path, value, depth)
        # said to be there, but with nothing in it: perhaps only not told here
        found = self._get(path)
        if found is None:
            self.unread.pop(path, None) if "404" in self.unread.get(path, "") else None
            return value
        name = path.rpartition("/")[2]
        inner = found[name] if isinstance(found, Mapping) and list(found) == [name] else found
        return value if inner in (None, {}) else self._deeper(path, inner, depth)

    def _elements(self, path: str, elements: list[Any], depth: int) -> list[Any]:
        key = self._key(path, elements)
        if key is None or depth <= 0:
            return list(elements)
        first = self._get(f"{path}/{values.segment(str(elements[0][key]))}")
        if not isinstance(first, Mapping) or paths_of(first) <= paths_of(elements[0]):
            return list(elements)
        rest = (self._get(f"{path}/{values.segment(str(element[key]))}") for element in elements[1:])
        return [first, *(full if isinstance(full, Mapping) else short for full, short in zip(rest, elements[1:], strict=True))]

    def _key(self, path: str, elements: list[Any]) -> str | None:
        known: Iterable[str] = (self._keys[path],) if path in self._keys else _KEYS
        usable = (
            key for key in known if elements and all(isinstance(e, Mapping) and isinstance(e.get(key), str) and e[key] for e in elements)
        )
        return next(usable, None)
