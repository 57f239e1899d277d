# SPDX-License-Identifier: GPL-3.0-or-later
"""What is made of a domain controller's ports and of its host's answer, be it as odd as it likes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import load_one
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Target
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers import domain_controllers as observer
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.tests.unit.directory import pki_samples as pki
from lab.windows_ca import scripts
from lab.windows_ca.machine import Machine
from lab.windows_ca.scripts import audit

PORTS = ("directory", "ldaps", "starttls", "kdc")


@pytest.fixture(autouse=True)
def closed_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """On an address where nothing listens, refused at once."""

    def refused(*_arguments: Any, **_named: Any) -> Any:
        raise UserError("127.0.0.1: no connection: Connection refused")

    monkeypatch.setattr(observer.endpoints, "show", refused)
    monkeypatch.setattr(observer, "_root", refused)
    monkeypatch.setattr(observer.kdc, "offered", refused)


def looked(host: observer.Host, **params: Any) -> Observation:
    spec = observer.DomainControllerObservation.argument_spec()
    given = {name: option.get("default") for name, option in spec.items()} | {"name": "dc1.corp.example"} | params
    observation = Observation(Target("domain_controller", "dc1.corp.example"), "2026-11-23T12:00:00+00:00")
    observer.look(host, given, observation)
    return observation


def host(kind: str, answer: Any) -> observer.Host:
    def ask(_question: str, asked: Any) -> Mapping[str, Any]:
        found: Mapping[str, Any] = answer
        return found

    return observer.Host(kind, ask)


def unread(observation: Observation) -> set[str]:
    return {name for name, value in observation.facts.items() if isinstance(value, Mapping) and "unread" in value}


def test_a_domain_controller_that_is_down() -> None:
    facts = looked(observer.Host(observer.NONE, None, why_not="not in the inventory")).facts
    assert facts["answers"] is False
    assert all("Connection refused" in str(facts[port]) for port in PORTS)
    assert facts["expected"]["names"] == ["dc1.corp.example", "corp.example"]
    assert {facts[name]["unread"]["reason"] for name in observer.HOST_FACTS} == {"not in the inventory"}


@pytest.mark.parametrize("kind", [observer.SAMBA, observer.WINDOWS])
@pytest.mark.parametrize(
    "answer", [None, {}, [], "text", {"audit": None}, {"audit": {"kdc": {}, "settings": {}}}, {"role": 5}, {"role": None}]
)
def test_odd_answers(kind: str, answer: Any) -> None:
    observation = looked(host(kind, answer))
    assert set(observer.HOST_FACTS) <= unread(observation) | {"system", "mapping"}


def windows(tmp_path: Path) -> Machine:
    """A machine of the lab's stand-in with a domain controller's registry."""
    scripts.load_handlers()
    machine = Machine(tmp_path)
    machine.registry.set(rf"{audit.SERVICES}\NTDS\Parameters", "LDAPServerIntegrity", 2, "REG_DWORD")
    machine.registry.set(rf"{audit.SERVICES}\Kdc", "StrongCertificateBindingEnforcement", 1, "REG_DWORD")
    machine.registry.set(audit.SCHANNEL, "CertificateMappingMethods", 0x1F, "REG_DWORD")
    machine.registry.set(audit.WINDOWS, "UBR", 3194, "REG_DWORD")
    machine.registry.create(rf"{audit.NTAUTH}\AABBCC")
    machine.add_to_store(pki.certificate("dc1", "Issuing", ca=False), "a key")
    return machine


def test_a_windows_domain_controller(tmp_path: Path) -> None:
    machine = windows(tmp_path)
    nobody: Any = None
    facts = looked(host(observer.WINDOWS, scripts.HANDLERS["domain_controller_state"](machine, nobody, {}, nobody))).facts
    assert facts["mapping"] | {"system": ""} == {
        "kerberos": 1,
        "backdating": None,
        "schannel": 0x1F,
        "build": "26100",
        "revision": 3194,
        "system": "",
    }
    assert facts["ldap_policy"] == {"kind": "windows", "build": "26100", "LDAPServerIntegrity": 2}
    assert facts["ntauth"] == {"hash": "sha1", "fingerprints": ["AABBCC"]}
    [held] = facts["kdc_certificates"]["held"]
    assert held["private_key"] and held["sha256"] == load_one(pki.certificate("dc1", "Issuing", ca=False)).sha256
    assert facts["kdc_crls"] == {"none": "Windows fetches CRLs itself when it needs them"}


def test_a_member_server_is_no_domain_controller(tmp_path: Path) -> None:
    scripts.load_handlers()
    nobody: Any = None
    answer = scripts.HANDLERS["domain_controller_state"](Machine(tmp_path), nobody, {}, nobody)
    facts = looked(host(observer.WINDOWS, answer)).facts
    assert "is no domain controller (DomainRole 3)" in facts["mapping"]["unread"]["reason"]
