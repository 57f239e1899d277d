# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection breaks at every single write of a run, before or after it was carried out: the next run ends where one would have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.device_certificates import DeviceCertificates
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.trusted_client_cas import TrustedClientCas
from ansible_collections.certlogon.core.tests.unit.certificates import enrollment_server
from ansible_collections.certlogon.core.tests.unit.connect_secure.authorities import Authority
from ansible_collections.certlogon.core.tests.unit.connect_secure.boxes import Box, box

WHEN = ("before", "after")


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Box]:
    with box(tmp_path) as found:
        yield found


def broken(appliance: Box, resource: Any, write: tuple[str, int], when: str, task: dict[str, Any]) -> bool:
    """A run in which this write (the method, and how many of it pass first) breaks off. Whether it failed by that."""
    method, passing = write
    appliance.handle.faults = {"drop": {"when": when, "method": method, "after": passing, "times": 1, "path": "certificates"}}
    try:
        return bool(appliance.run(resource, **task, backup=False).get("failed"))
    finally:
        appliance.handle.faults = {}


@pytest.mark.parametrize("when", WHEN)
def test_trusted_client_cas(appliance: Box, when: str) -> None:
    for write in (("POST", 0), ("POST", 1), ("PUT", 0), ("PUT", 1)):
        old, new = Authority("Old CA"), Authority("New CA")
        entries = [{"certificate": {"content": one.pem}, "crl_download_frequency": 7, "status_checking": "ocsp"} for one in (old, new)]
        task = {"config": entries}
        assert broken(appliance, TrustedClientCas(), write, when, task)
        done = appliance.run(TrustedClientCas(), **task)
        assert not done.get("failed"), (write, done)
        there = {one["certificate"]: one["crl-settings"]["crl-download-frequency"] for one in appliance.elements("trusted-client-ca")}
        assert there == {old.pem: "7", new.pem: "7"}, write
        assert appliance.run(TrustedClientCas(), **task)["changed"] is False
        appliance.run(TrustedClientCas(), config=entries, state="deleted")


@pytest.mark.parametrize("when", WHEN)
def test_device_certificates(appliance: Box, tmp_path: Path, when: str) -> None:
    authority = enrollment_server.Authority()
    server = enrollment_server.Server(authority, tmp_path)
    try:
        for write in (("POST", 0), ("POST", 1), ("PUT", 0)):
            entry = {
                "common_name": f"users-{write[0]}-{write[1]}.corp.example",
                "key_type": "ec",
                "external_ports": ["External Port"],
                "answers_at": [],
                "crl_check": "ignore",
            }
            task = {
                "config": [entry],
                "url": server.url,
                "enrollment_username": enrollment_server.USER,
                "enrollment_password": enrollment_server.PASSWORD,
                "enrollment_auth": "basic",
                "enrollment_ca_path": str(server.tls_certificate),
                "folder": str(tmp_path / "kept"),
                "answer_timeout": 0,
            }
            asked = len(authority.requests)
            assert broken(appliance, DeviceCertificates(), write, when, task)
            done = appliance.run(DeviceCertificates(), **task)
            assert not done.get("failed"), (write, done)
            assert done["certificates"][0]["status"] == "valid"
            assert len(authority.requests) - asked == 1, write  # what the CA signed is used, not asked for again
            assert appliance.elements("certificate-request") == []
            assert appliance.run(DeviceCertificates(), **task)["changed"] is False
    finally:
        server.close()
