# SPDX-License-Identifier: GPL-3.0-or-later
"""The domain controller dies in the middle of a run over the directory: nothing is lost, and the next run finishes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.directory.certificate_templates import CertificateTemplates
from ansible_collections.certlogon.core.plugins.module_utils.directory.session import Directory

SERVICES = "CN=Public Key Services,CN=Services,CN=Configuration,DC=corp,DC=example"
NAMES = [f"CertlogonFault{number}" for number in range(6)]
CONFIG = [{"name": name, "based_on": "SmartcardLogon"} for name in NAMES]


@pytest.fixture
def templates(run_resource: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    yield lambda state="merged": run_resource(CertificateTemplates(), CONFIG, state)
    run_resource(CertificateTemplates(), CONFIG, "deleted")


@pytest.mark.parametrize("kind", ["msPKI-Enterprise-Oid", "pKICertificateTemplate"])
def test_killed_while_templates_are_made(lab: Any, templates: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    add, made = Directory.add, []

    def deadly(self: Directory, dn: str, attributes: dict[str, Any], **options: Any) -> None:
        if kind in attributes["objectClass"]:
            made.append(dn)
            if len(made) == 4:
                lab.kill()
        add(self, dn, attributes, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Directory, "add", deadly)
        died = templates()
    lab.start()
    assert died["failed"]
    outcomes = {change["name"]: change.get("msg", "") for change in died["changes"]}
    assert "the connection was lost" in outcomes[NAMES[3]]
    assert all("not attempted" in outcomes[name] for name in NAMES[4:])
    repaired = templates()
    assert repaired["changed"] and not repaired.get("failed"), repaired.get("msg")
    assert not templates()["changed"]
    written = lab.ldbsearch(f"CN=Certificate Templates,{SERVICES}", "(cn=CertlogonFault*)", "msPKI-Cert-Template-OID")
    registered = lab.ldbsearch(f"CN=OID,{SERVICES}", "(displayName=CertlogonFault*)", "msPKI-Cert-Template-OID")
    oids = sorted(entry["mspki-cert-template-oid"][0] for entry in written)
    assert len(oids) == len(NAMES)
    assert sorted(entry["mspki-cert-template-oid"][0] for entry in registered) == oids, "one OID object each, and none left over"
