# SPDX-License-Identifier: GPL-3.0-or-later
"""A bare HTTP client that asks many appliances what the role asked them: `python -m tests.benchmarks.bare_appliance FILE`."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import requests

FORKS = 5  # as many as Ansible has


def ask(address: str, facts: dict[str, Any]) -> int:
    """All requests of one appliance, over one connection; how many bytes came."""
    base = f"https://{address}:{facts['port']}"
    received = 0
    with requests.Session() as session:
        session.trust_env = False
        session.verify = facts["ca_file"]
        for line in facts["asked"]:
            method, path = line.split(" ", 1)
            if path.endswith("/realm_auth"):
                answer = session.post(base + path, json={"realm": facts["realm"]}, auth=(facts["admin"], facts["password"]), timeout=30)
                session.auth = (answer.json()["api_key"], "")
            else:
                answer = session.request(method, base + path, timeout=30)
            answer.raise_for_status()
            received += len(answer.content)
    return received


def main() -> int:
    facts = json.loads(Path(sys.argv[1]).read_text())
    addresses = facts["addresses"][: facts["count"]]
    with ProcessPoolExecutor(FORKS) as pool:
        received = sum(pool.map(ask, addresses, [facts] * len(addresses)))
    print(f"{len(addresses)} appliances, {received} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
