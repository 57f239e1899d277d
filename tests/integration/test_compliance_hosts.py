# SPDX-License-Identifier: GPL-3.0-or-later
"""The compliance observers of hosts, on ca1 and dc1: a CA set up well is found well, and each setting that is spoilt is found."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.compliance.catalogue import load
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judging import judge
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import load as load_observation
from ansible_collections.certlogon.core.tests.integration.web_enrollment_lab import AUTHORITY, authority_task, ready, reset

NAME = "ca1.corp.example"


@pytest.fixture(scope="module")
def host(ca_lab: Any) -> Iterator[Any]:
    reset(ca_lab)
    yield ca_lab
    reset(ca_lab)


def look(tmp_path: Path, name: str = NAME) -> dict[str, Any]:
    return {"certlogon.core.compliance_authority": {"folder": str(tmp_path / "observations"), "name": name}}


def judged(path: str) -> dict[str, Any]:
    seen = load_observation(Path(path))
    from datetime import datetime

    facts = Facts(seen.target, seen.facts, datetime.fromisoformat(seen.at), error=seen.error)
    return {result.control.id: result for result in judge(load().of(seen.target.kind), facts, {})}


def test_a_ca(host: Any, on_ca1: Callable[..., Any], tmp_path: Path) -> None:
    ready(host, on_ca1)
    done = on_ca1([look(tmp_path)]).last
    print(json.dumps(done.result, indent=1))
    print(Path(done["observation"]).read_text())
    for name, result in judged(done["observation"]).items():
        print(name, result.status, [v.message for v in result.verdicts])
