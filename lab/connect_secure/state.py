# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of the stand-in appliance: its configuration tree and what never leaves it (keys of certificates, secrets).

One file `state.json` (mode 0600) is replaced by rename at each accepted change, so whatever kills the process leaves the old state or
the new one.
"""

from __future__ import annotations

import base64
import copy
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

Tree = dict[str, Any]


class State:
    """`tree`: `{"configuration": {…}}`, nested as the paths of resources.yml say, with the wire's names: the last segment of a
    resource's path holds
    the list of its elements, in order. A tree is never changed in place: a change puts a new one in its place, so a reader needs no lock.

    `private`: `secrets` (what an object's `*-encrypted` member stands for), `keys` (PEM, by SHA-256 of the public key's DER),
    `chains` (issuers' certificates in PEM, by SHA-256 of a device certificate's DER).
    """

    def __init__(self, folder: Path | None) -> None:
        self.lock = threading.RLock()
        self.tree: Tree = {}
        self.private: dict[str, dict[str, str]] = {"secrets": {}, "keys": {}, "chains": {}}
        self._file = folder / "state.json" if folder else None
        self._subscribers: list[Callable[[Tree], None]] = []
        if folder:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._file and self._file.exists():
            saved = json.loads(self._file.read_text())
            self.tree, self.private = saved["tree"], saved["private"]

    def subscribe(self, callback: Callable[[Tree], None]) -> None:
        """`callback(tree)` after each accepted change, in the order of the changes."""
        self._subscribers.append(callback)

    def copy(self) -> Tree:
        return copy.deepcopy(self.tree)

    def accept(self, tree: Tree) -> None:
        """This is the configuration from now on: on disk first, then told to whoever subscribed."""
        self.tree = tree
        self.save()
        for callback in self._subscribers:
            callback(tree)

    def save(self) -> None:
        if self._file is None:
            return
        replace(self._file, json.dumps({"tree": self.tree, "private": self.private}))

    def elements(self, path: str) -> list[dict[str, Any]]:
        """The elements of a list node, by the path of resources.yml; none if there is no such node."""
        return elements(self.tree, path)

    def keep_secret(self, text: str) -> str:
        """The `*-encrypted` form of a secret: says nothing about it, and is another one each time."""
        token = base64.b64encode(os.urandom(33)).decode()
        self.private["secrets"][token] = text
        return token

    def secret(self, encrypted: str) -> str:
        """What a `*-encrypted` member stands for; empty for what this appliance never wrote."""
        return self.private["secrets"].get(encrypted, "")


def elements(tree: Tree, path: str) -> list[dict[str, Any]]:
    """The elements below a path such as `configuration/users/user-realms/realm`."""
    here: Any = tree
    for segment in path.split("/"):
        here = here.get(segment, {})
    return here if isinstance(here, list) else []


def replace(path: Path, text: str) -> None:
    temporary = path.with_suffix(f".{threading.get_ident()}.tmp")
    temporary.touch(mode=0o600)
    temporary.write_text(text)
    temporary.replace(path)
