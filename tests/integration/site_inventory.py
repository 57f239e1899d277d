# SPDX-License-Identifier: GPL-3.0-or-later
"""An inventory for the playbooks under test, and the domain put back as it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.directory.certificate_templates import CertificateTemplates
from ansible_collections.certlogon.core.plugins.module_utils.directory.enrollment_services import EnrollmentServices
from ansible_collections.certlogon.core.plugins.module_utils.directory.trusted_certificates import TrustedCertificates
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policies import GroupPolicies

DOMAIN = "corp.example"
SERVICES = "CN=Public Key Services,CN=Services,CN=Configuration,DC=corp,DC=example"


def write_inventory(folder: Path, connection: Mapping[str, Any], variables: Mapping[str, Any]) -> Path:
    """An inventory of one domain, in JSON, which is YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    reached = {f"certlogon_{name}": value for name, value in connection.items()}
    domain = {"ansible_connection": "local", **reached, **variables}
    path = folder / "hosts.yml"
    path.write_text(json.dumps({"domains": {"hosts": {DOMAIN: domain}}}), encoding="utf-8")
    return path


@contextmanager
def put_back(run_resource: Callable[..., dict[str, Any]]) -> Iterator[None]:
    """After the test, whatever it did and however it ended, the domain is as it was: independent of the playbooks."""
    kinds = (CertificateTemplates(), EnrollmentServices(), TrustedCertificates(), GroupPolicies())
    before = [run_resource(kind, state="gathered")["gathered"] for kind in kinds]
    yield
    templates, services, certificates, policies = before
    templates_now = run_resource(kinds[0], state="gathered")["gathered"]
    policies_now = run_resource(kinds[3], state="gathered")["gathered"]
    stores = {entry["store"] for entry in certificates}
    empty = [{"store": store, "certificates": []} for store in ("root", "intermediate", "ntauth") if store not in stores]
    steps = (
        (kinds[1], services, "replaced", {"allow_missing_templates": True}),
        (kinds[0], new(templates_now, templates, "name"), "deleted", {}),
        (kinds[2], certificates + empty, "replaced", {}),
        (kinds[3], new(policies_now, policies, "guid"), "deleted", {}),
        (kinds[3], policies, "replaced", {}),
    )
    for kind, config, state, options in steps:
        if config:
            run_resource(kind, config=config, state=state, **options)


def new(now: list[dict[str, Any]], before: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    known = {entry[key] for entry in before}
    return [entry for entry in now if entry[key] not in known]
