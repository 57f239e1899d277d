# SPDX-License-Identifier: GPL-3.0-or-later
"""adcs_crl and adcs_revocation through their scripts' parameters to the stand-in's handlers and its authority, without a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ansible_collections.certlogon.core.plugins.module_utils.adcs.certificate_revocation import CertificateRevocation
from ansible_collections.certlogon.core.plugins.module_utils.adcs.crl_publication import CrlPublication
from ansible_collections.certlogon.core.plugins.module_utils.adcs.crl_state import CrlState
from ansible_collections.certlogon.core.plugins.module_utils.adcs.powershell import PowerShellSession, source
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import run
from ansible_collections.certlogon.core.tests.unit.lab.fake_domain import PASSWORD, FakeDirectory
from lab.windows_ca import scripts
from lab.windows_ca.authority import Authority, CertSrvError, InstallOptions, descriptors
from lab.windows_ca.authority import settings as registry
from lab.windows_ca.machine import Machine

KEY = rsa.generate_private_key(65537, 2048)
REQUEST = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(KEY, hashes.SHA256())


class StandIn:
    def __init__(self, folder: Path) -> None:
        scripts.load_handlers()
        self.directory = FakeDirectory()
        self.directory.account("alice", 1200, "CN=Alice,CN=Users", [513], userPrincipalName="alice@corp.example")
        self.machine = Machine(folder)
        self.machine.features["ADCS-Cert-Authority"] = True
        self.authority = Authority(self.machine, self.directory)
        self.authority.install(InstallOptions(ca_common_name="Corp CA"), ("enterprise.admin", PASSWORD))
        self.caller = "enterprise.admin"
        self.scripts: list[str] = []

    def issue(self) -> str:
        """The serial number of a new certificate of alice's."""
        request = REQUEST.public_bytes(serialization.Encoding.DER)
        answer = self.authority.submit(request, {"CertificateTemplate": "EFS"}, self.authority.identify("alice"))
        assert answer.certificate, answer.message
        return f"{x509.load_der_x509_certificate(answer.certificate).serial_number:x}".zfill(38)

    def set(self, name: str, value: Any, kind: str) -> None:
        self.machine.registry.set(registry.key("Corp CA"), name, value, kind)
        self.authority.stop_service()
        self.authority.start_service()

    def invoke(self, name: str, arguments: Mapping[str, Any], *_runas: Any) -> Mapping[str, Any]:
        script = scripts.recognise(arguments["script"])
        assert script is not None
        self.scripts.append(script.name)
        bound = script.parameters.bind(arguments["parameters"], {})
        try:
            caller = self.authority.identify(self.caller)
            return {"result": scripts.HANDLERS[script.name](self.machine, self.authority, bound, caller)}
        except scripts.PowerShellError as error:
            return {"failed": True, "error": [{"exception": {"message": str(error), "hresult": error.hresult}}]}

    def task(self, kind: Any, config: Any = None, check_mode: bool = False, **options: Any) -> dict[str, Any]:
        self.scripts.clear()
        arguments = {**({} if config is None else {"config": config}), **options}
        checked = ArgumentSpecValidator(kind.argument_spec(), **kind.rules()).validate(arguments)
        assert not checked.error_messages, checked.error_messages
        resource = kind(PowerShellSession(self.invoke, lambda _: None))
        result = run(resource, checked.validated_parameters, check_mode=check_mode, warn=lambda _: None)
        return {**result, **resource.returns(checked.validated_parameters)}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[StandIn]:
    found = StandIn(tmp_path)
    yield found
    found.authority.stop_service()


def test_a_life(host: StandIn):
    one, two = host.issue(), host.issue()
    config = [{"serial": one, "reason": "key_compromise"}, {"serial": two, "status": "on_hold"}]
    assert host.task(CertificateRevocation, config, check_mode=True)["changed"] and host.scripts == ["adcs_crl_state"]
    done = host.task(CertificateRevocation, config)
    assert not done.get("failed"), done
    assert host.scripts == ["adcs_crl_state", "adcs_revoke", "adcs_revoke", "adcs_crl_state"], "one round a change, one publication"
    assert [crl["number"] for crl in host.authority.crls()] == [2, 2]
    assert not host.task(CertificateRevocation, config)["changed"] and host.scripts == ["adcs_crl_state"]
    assert host.task(CertificateRevocation, [{"user": "CORP\\alice", "status": "valid"}])["changed"]
    gathered = host.task(CertificateRevocation, state="gathered")["gathered"]
    assert gathered == [{"serial": one, "status": "revoked", "reason": "key_compromise"}]


@pytest.mark.parametrize("deltas", [True, False])
def test_publication(host: StandIn, deltas: bool):
    if not deltas:
        host.set("CRLDeltaPeriodUnits", 0, "REG_DWORD")
    before = host.authority.crls()[0]["number"]
    done = host.task(CrlPublication, [{"kind": "base", "publish": "always"}], check_places=False)
    assert not done.get("failed"), done
    assert host.scripts == ["adcs_crl_state", "adcs_crl_publish", "adcs_crl_state"]
    assert [crl["kind"] for crl in done["crls"]] == (["base", "delta"] if deltas else ["base"])
    assert done["crls"][0]["number"] == before + 1
    assert not host.task(CrlPublication, [{"kind": "base"}], check_places=False)["changed"]


def test_a_ca_renewed_with_a_new_key_has_two_of_each(host: StandIn):
    old = host.issue()
    host.authority.renew(reuse_key=False)
    host.authority.renew(reuse_key=True)
    new = host.issue()
    assert host.task(CertificateRevocation, [{"serial": old}, {"serial": new}])["changed"]
    found = host.task(CrlPublication, state="gathered", check_places=False)["crls"]
    assert [(crl["name"], crl["revoked"]) for crl in found if crl["kind"] == "base"] == [("Corp CA.crl", 1), ("Corp CA(1).crl", 1)]


def test_the_addresses_are_those_that_the_ca_writes(host: StandIn):
    place = "79:ldap:///CN=%7%8,CN=%2,CN=CDP,CN=Public Key Services,CN=Services,%6%10"
    host.set("CRLPublicationURLs", [place, "6:http://%1/CertEnroll/%3%8%9.crl"], "REG_MULTI_SZ")
    host.authority.renew(reuse_key=False)
    state = host.invoke("", {"script": source("adcs_crl_state"), "parameters": {}})["result"]
    ours = {one.name: list(one.urls) for one in CrlState.parse(state).lists}
    assert ours == {crl["name"]: crl["urls"] for crl in host.authority.crls()}


def test_whoever_is_no_officer(host: StandIn):
    serial, host.caller = host.issue(), "alice"
    with pytest.raises(UserError, match="0x80070005"):
        host.task(CertificateRevocation, [{"serial": serial}])


def test_an_officer_who_may_not_publish(host: StandIn):
    sddl = "O:BAG:BAD:(A;;0x2;;;DA)(A;;0x200;;;AU)"
    host.set("Security", descriptors.from_sddl(sddl, host.directory.domain_sid).to_bytes(), "REG_BINARY")
    serial = host.issue()
    result = host.task(CertificateRevocation, [{"serial": serial}])
    assert result["failed"] and "0x80070005" in result["msg"]
    assert host.authority.requests(serial_number=serial)[0]["revoked_reason"] == 0, "revoked it is; the next run publishes"


def test_no_service(host: StandIn):
    host.authority.stop_service()
    with pytest.raises(UserError, match="CertSvc does not run"):
        host.task(CrlPublication, [{"kind": "base"}], check_places=False)
    with pytest.raises(CertSrvError):
        host.authority.crls()
