# SPDX-License-Identifier: GPL-3.0-or-later
"""A Connect Secure appliance as a resource that only reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.compliance import read_only
from ansible_collections.certlogon.core.plugins.module_utils.compliance.looking import Looking, left, now
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Target
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers import connect_secure
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers.connect_secure import EXPECTED
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.client import ApplianceSession
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.connection import CONNECTION
from ansible_collections.certlogon.core.plugins.module_utils.resource import Warn, Words

Session = tuple[ApplianceSession, Observation]


class ApplianceObservation(Looking[Session]):
    connection = CONNECTION
    extra = {"name": {"type": "str"}, "expected": {"type": "dict", "options": EXPECTED}}

    @contextmanager
    def open(self, params: Mapping[str, Any], warn: Warn) -> Iterator[Session]:
        target = Target("connect_secure", params["name"] or params["host"])
        observation = Observation(target, now())
        with read_only.appliance({**params, "backup": False}, warn, read_only.Asked(observation.asked)) as session:
            observation.account = session.options.account
            observation.servers = [session.options.address]
            yield session, observation

    def read(self, session: Session, params: Mapping[str, Any]) -> Words:
        appliance, observation = session
        connect_secure.observe(appliance, params, observation, read_only.Asked(observation.asked))
        observation.ended = now()
        return left(params["folder"], observation)
