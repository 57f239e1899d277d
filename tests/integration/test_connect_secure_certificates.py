# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates of the appliance's stand-in with its data plane: what users' TLS clients see, and which CRLs it takes."""

from __future__ import annotations

import hashlib
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import client
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.connection import RUN, Run
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.device_certificates import DeviceCertificates
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.trusted_client_cas import TrustedClientCas
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Resource, run
from lab.vpn_pki import CrlServer, UserCa

NAME = "vpn.corp.example"
PORT = "External Port"


class Appliance:
    def __init__(self, lab: Any, folder: Path) -> None:
        account = lab.status["accounts"]["vpn_admin"]
        self.folder = folder
        self.warnings: list[str] = []
        self.connection = {
            "host": "vpn1.corp.example",
            "username": account["name"],
            "password": account["password"],
            "ca_path": lab.files["ca_bundle"],
            "backup_dir": str(folder / "backups"),
        }

    def run(self, resource: Resource[Any, Any], **task: Any) -> dict[str, Any]:
        checked = ArgumentSpecValidator(resource.argument_spec(), **resource.rules()).validate({**self.connection, **task})
        assert not checked.error_messages
        return run(resource, {**checked.validated_parameters, RUN: Run()}, check_mode=False, warn=self.warnings.append)

    def devices(self) -> list[dict[str, Any]]:
        return self.run(DeviceCertificates(), state="gathered")["gathered"]


@pytest.fixture
def appliance(vpn_lab: Any, tmp_path: Path) -> Iterator[Appliance]:
    """Other tests find the device certificates that were there before, each on its port."""
    found = Appliance(vpn_lab, tmp_path)
    before = found.devices()
    yield found
    made = [one for one in found.devices() if one["sha256"] not in {old["sha256"] for old in before}]
    with client.appliance(found.connection, print) as session:
        for one in made:
            session.update("device_certificate", one["name"], {"external-ports": []})
        for one in before:
            session.update("device_certificate", one["name"], {"external-ports": one["external_ports"]})
        for one in made:
            session.delete("device_certificate", one["name"])


def fingerprint_at(name: str) -> str:
    """The judge: openssl's own client."""
    command = ["openssl", "s_client", "-connect", f"{name}:443", "-servername", name]
    shown = subprocess.run(command, input="", capture_output=True, text=True, check=False, timeout=20).stdout
    pem = shown[shown.index("-----BEGIN") : shown.index("-----END CERTIFICATE-----") + 26]
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def sign(authority: UserCa, request: x509.CertificateSigningRequest) -> bytes:
    issuer = x509.load_pem_x509_certificate(authority.pem)
    builder = x509.CertificateBuilder(
        issuer.subject,
        request.subject,
        request.public_key(),
        x509.random_serial_number(),
        issuer.not_valid_before_utc,
        issuer.not_valid_after_utc,
    )
    asked = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    builder = builder.add_extension(x509.SubjectAlternativeName([*asked, x509.DNSName(NAME)]), False)
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM) + authority.pem


def test_users_see_the_new_certificate_before_the_old_one_goes(appliance: Appliance) -> None:
    authority = UserCa("Carried by hand CA")
    shown = []
    for kind in ("ec", "rsa"):
        entry = {"common_name": "carried.corp.example", "server_names": [NAME], "key_type": kind, "external_ports": [PORT]}
        task = {"method": "file", "folder": str(appliance.folder / "kept"), "config": [entry]}
        (result,) = appliance.run(DeviceCertificates(), **task)["certificates"]
        assert result["status"] == "pending"
        request = x509.load_pem_x509_csr(Path(result["request_path"]).read_bytes())
        Path(result["answer_path"]).write_bytes(sign(authority, request))
        done = appliance.run(DeviceCertificates(), **task)
        assert not done.get("failed"), done
        shown.append(fingerprint_at(NAME))
        assert done["certificates"][0]["sha256"] == shown[-1]
        assert appliance.run(DeviceCertificates(), **task)["changed"] is False
    there = [one["sha256"] for one in appliance.devices()]
    assert shown[0] != shown[1]
    assert shown[0] not in there
    assert shown[1] in there


def test_the_appliance_is_told_of_good_crls_only(appliance: Appliance) -> None:
    authority = UserCa("CRL test CA")
    with CrlServer("10.83.0.100", name="control.corp.example") as web:
        url = web.put("good.crl", authority.crl())
        entry = {"certificate": {"content": authority.pem.decode()}, "status_checking": "crl", "primary_cdp": url}
        try:
            assert appliance.run(TrustedClientCas(), config=[entry], cdp_required=True, crl_ends_before_download="fail")["changed"] is True
            assert appliance.run(TrustedClientCas(), config=[entry], update_crl=True)["changed"] is True
            web.put("good.crl", authority.expired_crl())
            with pytest.raises(UserError, match="the CRL ended on"):
                appliance.run(TrustedClientCas(), config=[{**entry, "crl_download_frequency": 2}])
            done = appliance.run(TrustedClientCas(), config=[entry], update_crl=True)
            assert done["failed"]
            assert "its CRL has expired" in done["msg"]
        finally:
            appliance.run(TrustedClientCas(), config=[entry], state="deleted")
