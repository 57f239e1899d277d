# SPDX-License-Identifier: GPL-3.0-or-later
"""One domain looked at by LDAP and SYSVOL: the parts of the look, each by itself, and the observation that they leave."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.compliance import read_only
from ansible_collections.certlogon.core.plugins.module_utils.compliance.looking import Looking, left, now, reason
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Target, Unread
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers import accounts, domain, group_policy
from ansible_collections.certlogon.core.plugins.module_utils.directory.connection import CONNECTION, ConnectionOptions
from ansible_collections.certlogon.core.plugins.module_utils.directory.session import AccessDenied, Directory
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Warn, Words

Observe = Callable[[Directory, Mapping[str, Any], Observation], None]


@dataclass(frozen=True)
class Part:
    """A part of the look at a domain.

    `observe` asks the directory (and whatever it opens by `compliance.read_only` with `directory.options`) and sets `facts`; where it
    raises `UserError`, those of them that it has not set are unread. `options` are what the module takes for it.
    """

    observe: Observe
    facts: Sequence[str]
    options: Mapping[str, Any]


PARTS: Sequence[Part] = (
    Part(domain.observe, domain.FACTS, domain.OPTIONS),
    Part(accounts.observe, accounts.FACTS, accounts.OPTIONS),
    Part(group_policy.observe, group_policy.FACTS, group_policy.OPTIONS),
)
"""In this order: later parts find the facts of earlier ones in the observation."""


@dataclass(frozen=True)
class Look:
    directory: Directory
    observation: Observation


class DomainObservation(Looking[Look]):
    """Reads; never writes anything but the observation's file."""

    connection = CONNECTION

    @classmethod
    def argument_spec(cls) -> dict[str, Any]:
        spec = super().argument_spec() | {"name": {"type": "str"}, "parameters": {"type": "dict", "default": {}}}
        for part in PARTS:
            spec.update(part.options)
        return spec

    @contextmanager
    def open(self, params: Mapping[str, Any], warn: Warn) -> Iterator[Look]:
        observation = Observation(Target("domain", ""), now())
        with read_only.directory(ConnectionOptions.from_params(params), warn, read_only.Asked(observation.asked)) as directory:
            observation.target = Target("domain", params["name"] or directory.domain)
            observation.account = directory.options.username or "the ticket in the credential cache"
            observation.servers = [directory.host]
            yield Look(directory, observation)

    def read(self, session: Look, params: Mapping[str, Any]) -> Words:
        observation = session.observation
        for part in PARTS:
            _look(part, session, params)
        observation.ended = now()
        return left(params["folder"], observation)


def _look(part: Part, session: Look, params: Mapping[str, Any]) -> None:
    """One part; what it could not read is unread, and the others go on."""
    try:
        part.observe(session.directory, params, session.observation)
    except UserError as error:
        why, right = reason(error), "Read on the object named" if isinstance(error, AccessDenied) else ""
    else:
        why, right = "the observer did not come to it", ""
    for name in part.facts:
        if name not in session.observation.facts:
            session.observation.set(name, Unread(why, right))
