# SPDX-License-Identifier: GPL-3.0-or-later
"""adcs_authority by ansible-playbook and WinRM on ca1: read back by Samba's tools, by openssl and from the stand-in's own state.

Tests of a CA's life go on where the one before ended; each group begins with a host on which nothing is configured.
"""

from __future__ import annotations

import ast
import base64
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certlogon.core.tests.integration.conftest import ca_host

STATE = "/var/lib/windows_ca"
CONFIGURATION = ("hklm", "system", "currentcontrolset", "services", "certsvc", "configuration")
ROOT: dict[str, Any] = {
    "name": "Corp Test CA",
    "type": "enterprise_root",
    "key": {"algorithm": "RSA", "size": 2048},
    "hash": "SHA256",
    "validity": "10 years",
    "capolicy": {"renewal_key_size": 2048, "renewal_validity": "10 years", "load_default_templates": False},
    "cdp": [
        {
            "url": "C:\\Windows\\system32\\CertSrv\\CertEnroll\\<CaName><CRLNameSuffix><DeltaCRLAllowed>.crl",
            "flags": ["publish_base", "publish_delta"],
        },
        {"url": "http://ca1.corp.example/CertEnroll/<CaName><CRLNameSuffix><DeltaCRLAllowed>.crl", "flags": ["include_in_certificates"]},
    ],
    "crl_period": "3 days",
    "crl_delta_period": "12 hours",
    "issued_validity": "1 year",
    "audit_filter": ["all"],
}
SUBORDINATE: dict[str, Any] = {
    "name": "Corp Test Issuing CA",
    "type": "enterprise_subordinate",
    "key": {"algorithm": "RSA", "size": 2048},
    "crl_period": "1 week",
}


class Host:
    """ca1 as seen from beside WinRM."""

    def __init__(self, lab: Any) -> None:
        self.lab = lab

    def reset(self) -> None:
        """A host on which nothing was ever configured; the directory without what its CAs left there."""
        self.lab.kill("ca1")
        self.lab.run("ca1", "sh", "-c", f"rm -rf {STATE}/*")
        self.lab.start("ca1")
        base = f"CN=Public Key Services,CN=Services,CN=Configuration,{self.lab.status['base_dn']}"
        found = self.lab.ldbsearch(base, "(|(cn=Corp Test*)(cn=ca1))", "cn")
        for dn in sorted((entry["dn"][0].decode() for entry in found), key=len, reverse=True):
            self.lab.run("dc1", "ldbdel", "-H", "/var/lib/samba/private/sam.ldb", dn, check=False)

    def registry(self, *path: str) -> dict[str, Any]:
        """A registry key's values, as the stand-in keeps them."""
        saved = json.loads(self.lab.run("ca1", "cat", f"{STATE}/machine.json").stdout)["registry"]
        for part in (*CONFIGURATION, *path):
            saved = next((below for name, below in saved["keys"].items() if name.casefold() == part.casefold()), {"values": {}, "keys": {}})
        return {name: base64.b64decode(value) if kind == "REG_BINARY" else value for name, (kind, value) in saved["values"].items()}

    def windows_files(self) -> list[str]:
        """All but what the lab puts there beforehand: the CRLs of its offline CAs, which its certificates name this host for."""
        found = json.loads(self.lab.run("ca1", "cat", f"{STATE}/machine.json").stdout)["files"]
        return [name for name in found if "\\Corp Example " not in name]

    def pki(self, name: str, container: str) -> list[dict[str, list[bytes]]]:
        base = f"CN={container},CN=Public Key Services,CN=Services,CN=Configuration,{self.lab.status['base_dn']}"
        return self.lab.ldbsearch(base, f"(cn={name})")  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def host(ca_lab: Any) -> Iterator[Host]:
    found = Host(ca_lab)
    found.reset()
    yield found
    found.reset()


@pytest.fixture
def authority(on_ca1: Callable[..., Any], ca_lab: Any) -> Callable[..., Any]:
    """`authority(config, state="merged", install=True, check=False, fails=False, **options)`: the task's result."""

    def call(
        config: Mapping[str, Any] | None = None, *, install: bool = True, host_variables: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        run_options = {name: options.pop(name) for name in ("check", "fails") if name in options}
        who = ca_lab.account("administrator")
        if install:
            options |= {"install_username": who["netbios"], "install_password": who["password"]}
        if config is not None:
            options["config"] = [dict(config)]
        run = on_ca1([{"certlogon.core.adcs_authority": options}], host_variables=host_variables or {}, **run_options)
        assert who["password"] not in run.output
        run.last.result["shown"] = " ".join(run.output.split())
        return run.last

    return call


def openssl(*arguments: str, stdin: bytes = b"") -> str:
    return subprocess.run(["openssl", *arguments], input=stdin, capture_output=True, check=True).stdout.decode()


# ---- a root CA's life


def test_nothing_there(host: Host, authority: Callable[..., Any]):
    result = authority(state="gathered", install=False)
    assert result["gathered"] == [] and result["rounds"] == 1 and not result.changed


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (ROOT, {"install": False}, "give install_username and install_password"),
        ({"name": "Corp Test CA"}, {}, "there is no CA on ca1.corp.example; say which type to install"),
        ({**ROOT, "permissions": [{"principal": "CORP\\Nobody", "rights": ["enroll"]}]}, {}, "ca1.corp.example knows no account or group"),
        ({**ROOT, "crl_period": "soon"}, {}, "crl_period: 'soon' is not a period"),
    ],
)
def test_refused_before_the_first_write(host: Host, authority: Callable[..., Any], config: Any, options: Any, message: str):
    result = authority(config, fails=True, **options)
    assert message in result.msg
    assert host.registry() == {} and host.windows_files() == []


def test_check_mode_writes_nothing(host: Host, authority: Callable[..., Any]):
    result = authority(ROOT, check=True)
    assert result.changed and result["steps"] == ["feature", "capolicy", "install", "settings"] and result["rounds"] == 1
    assert result["diff"][0]["before"] == {} and result["diff"][0]["after"]["certificate"] == "known after apply"
    assert host.registry() == {} and host.windows_files() == []
    assert host.pki("Corp Test CA", "Enrollment Services") == []


def test_feature_that_wants_a_restart(host: Host, authority: Callable[..., Any]):
    host.lab.faults(feature_needs_reboot=["ADCS-Cert-Authority"])
    result = authority(ROOT)
    assert result.changed and result["reboot_required"] and result["steps"] == ["feature"]
    assert "wants a restart of the host" in result["shown"] and host.registry() == {}
    host.reset()


@pytest.mark.parametrize(("password", "message"), [("not the password", "install_username or install_password is wrong")])
def test_wrong_install_password(host: Host, authority: Callable[..., Any], password: str, message: str):
    result = authority(ROOT, install=False, install_username="CORP\\administrator", install_password=password, fails=True)
    assert message in result.msg
    assert host.registry() == {}


def test_installation_dies_half_way(host: Host, authority: Callable[..., Any]):
    host.lab.faults(install_dies_after="registry")
    result = authority(ROOT, fails=True)
    assert "interrupted after registry" in result.msg
    assert authority(state="gathered", install=False)["gathered"] == []


def test_next_run_takes_it_up(host: Host, authority: Callable[..., Any], tmp_path: Path):
    result = authority(ROOT)
    assert result.changed and not result["reboot_required"] and not result["pending"]
    assert result["config_string"] == "ca1.corp.example\\Corp Test CA"
    assert host.registry()["Active"] == "Corp Test CA"
    values = host.registry("Corp Test CA")
    assert (values["CRLPeriod"], values["CRLPeriodUnits"]) == ("Days", 3)
    assert (values["CRLDeltaPeriod"], values["CRLDeltaPeriodUnits"]) == ("Hours", 12)
    assert values["AuditFilter"] == 127 and values["InterfaceFlags"] & 0x200
    assert values["CRLPublicationURLs"] == [
        "65:C:\\Windows\\system32\\CertSrv\\CertEnroll\\%3%8%9.crl",
        "2:http://ca1.corp.example/CertEnroll/%3%8%9.crl",
    ]
    # the directory, by Samba's own tool
    service = host.pki("Corp Test CA", "Enrollment Services")[0]
    assert "certificatetemplates" not in service, "LoadDefaultTemplates=0"
    der = service["cacertificate"][0]
    assert host.pki("Corp Test CA", "Certification Authorities")[0]["cacertificate"] == [der]
    # the certificate, by openssl
    assert base64.b64decode("".join(result["certificates"][0]["pem"].splitlines()[1:-1])) == der
    shown = openssl("x509", "-inform", "DER", "-noout", "-subject", "-nameopt", "RFC2253", "-ext", "basicConstraints", stdin=der)
    assert "CN=Corp Test CA,DC=corp,DC=example" in shown and "CA:TRUE" in shown
    crls = [crl["file"] for crl in result["crls"]]
    assert [file for file in crls if not file.startswith("Corp Example ")] == ["Corp Test CA+.crl", "Corp Test CA.crl"]


def test_second_run_is_one_round(host: Host, authority: Callable[..., Any]):
    before = host.lab.metrics()["scripts"]
    result = authority(ROOT)
    assert not result.changed and result["rounds"] == 1 and result["steps"] == []
    assert host.lab.metrics()["scripts"] == before + 1, "the host has counted too"
    assert not authority(ROOT, install=False, check=True).changed


def test_gathered_is_what_config_accepts(host: Host, authority: Callable[..., Any]):
    gathered = authority(state="gathered", install=False)["gathered"]
    assert len(gathered) == 1 and gathered[0]["type"] == "enterprise_root" and gathered[0]["key"]["size"] == 2048
    for state in ("merged", "replaced"):
        result = authority(gathered[0], state=state, install=False)
        assert not result.changed, result["diff"]
    assert authority(gathered[0], state="rendered", install=False)["rendered"] == gathered


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"name": "Corp Test Other CA"}, "can have one only"),
        ({"type": "standalone_root"}, "type is 'enterprise_root' and cannot be changed to 'standalone_root'"),
        ({"key": {"size": 4096}}, "key: size is 2048 and cannot be changed to 4096"),
        ({"database_path": "D:\\CertLog"}, "database_path is "),
    ],
)
def test_what_cannot_be_changed(host: Host, authority: Callable[..., Any], changes: dict[str, Any], option: str):
    before = host.registry("Corp Test CA")
    assert option in authority({**ROOT, **changes}, fails=True).msg
    assert host.registry("Corp Test CA") == before


CHANGES: dict[str, Any] = {
    "name": "Corp Test CA",
    "crl_period": "1 week",
    "crl_overlap": "2 days",
    "disabled_extensions": ["1.3.6.1.4.1.311.21.10"],
    "role_separation": False,
    "permissions": [
        {"principal": "CORP\\Domain Users", "rights": ["enroll"]},
        {"principal": "NT AUTHORITY\\Authenticated Users", "rights": []},
    ],
    "enrollment_agent_restrictions": [
        {"agent": "CORP\\alice.andersson", "templates": ["CorpSmartcardLogon"], "subjects": ["CORP\\Domain Users"]},
    ],
    "officer_restrictions": [{"officer": "BUILTIN\\Administrators"}],
}


def test_settings_in_one_round(host: Host, authority: Callable[..., Any]):
    old = host.registry("Corp Test CA")
    foreseen = authority(CHANGES, check=True, install=False)
    assert foreseen.changed and host.registry("Corp Test CA") == old
    result = authority(CHANGES, install=False)
    assert result["steps"] == ["settings"] and result["rounds"] == 3
    assert result["diff"] == foreseen["diff"], "check mode was right"
    values = host.registry("Corp Test CA")
    assert (values["CRLPeriod"], values["CRLPeriodUnits"], values["CRLOverlapUnits"]) == ("Weeks", 1, 2)
    assert host.registry("Corp Test CA", "PolicyModules", "CertificateAuthority_MicrosoftDefault.Policy")["DisableExtensionList"] == [
        "1.3.6.1.4.1.311.21.10"
    ]
    again = authority(CHANGES, install=False)
    assert not again.changed and again["rounds"] == 1
    # the descriptors, by Samba's own reader
    code = (
        "import sys; from samba.ndr import ndr_unpack; from samba.dcerpc import security; "
        "d = ndr_unpack(security.descriptor, bytes.fromhex(sys.argv[1])); "
        "print([(a.type, str(a.trustee), a.access_mask) for a in d.dacl.aces])"
    )

    def entries(value: str) -> list[Any]:
        return ast.literal_eval(host.lab.run("dc1", "/usr/bin/python3", "-c", code, values[value].hex()).stdout)  # type: ignore[no-any-return]

    rights = {trustee: mask for kind, trustee, mask in entries("Security") if kind == 0}
    assert rights["S-1-5-32-544"] == 3 and "S-1-5-11" not in rights and 0x200 in rights.values()
    assert [(kind, mask) for kind, _trustee, mask in entries("EnrollmentAgentRights")] == [(9, 0x10000)]


def test_restrictions_are_lifted(host: Host, authority: Callable[..., Any]):
    lifted = {"name": "Corp Test CA", "officer_restrictions": [], "enrollment_agent_restrictions": []}
    assert authority(lifted, install=False).changed
    assert not {"OfficerRights", "EnrollmentAgentRights"} & set(host.registry("Corp Test CA"))
    assert not authority(lifted, install=False).changed


def test_dangerous_flags_are_taken_off_and_warned_of(host: Host, authority: Callable[..., Any]):
    policy = ("Corp Test CA", "PolicyModules", "CertificateAuthority_MicrosoftDefault.Policy")
    flags = authority(state="gathered", install=False)["gathered"][0]["edit_flags"]
    asked = authority({"name": "Corp Test CA", "edit_flags": [*flags, "attribute_subject_alt_name2"]}, install=False)
    assert "can be issued a certificate for anybody" in asked["shown"]
    assert host.registry(*policy)["EditFlags"] & 0x40000
    assert authority({"name": "Corp Test CA"}, install=False).changed
    assert not host.registry(*policy)["EditFlags"] & 0x40000


def test_host_lost_in_the_middle(host: Host, authority: Callable[..., Any]):
    host.lab.faults(winrm_drop_after="adcs_settings")
    result = authority({"name": "Corp Test CA", "crl_period": "2 weeks"}, install=False, fails=True)
    assert result.status == "failed" and "what was begun is taken up by the next run" in result.msg
    host.lab.faults()
    authority({"name": "Corp Test CA", "crl_period": "2 weeks"}, install=False)
    assert host.registry("Corp Test CA")["CRLPeriodUnits"] == 2
    assert not authority({"name": "Corp Test CA", "crl_period": "2 weeks"}, install=False).changed


def test_disk_full_on_the_host(host: Host, authority: Callable[..., Any]):
    host.lab.faults(disk_full=True)
    before = host.windows_files()
    policy = {**ROOT["capolicy"], "path_length": 1}
    refused = authority({"name": "Corp Test CA", "capolicy": policy}, install=False, fails=True)
    assert "the disk is full; make room and run again" in refused.msg
    backup = {"path": "D:\\Backup", "password": "a backup's password", "when": "always"}
    refused = authority({"name": "Corp Test CA"}, install=False, backup=backup, fails=True)
    assert "the disk is full" in refused.msg and "backup" not in refused.result
    assert host.windows_files() == before
    host.lab.faults()
    assert authority({"name": "Corp Test CA", "capolicy": policy}, install=False)["steps"] == ["capolicy"]


@pytest.mark.skipif(shutil.which("kinit") is None, reason="Ansible's winrm asks kinit for tickets (Debian: krb5-user)")
def test_by_kerberos(host: Host, on_ca1: Callable[..., Any]):
    variables = {"ansible_winrm_kinit_env_vars": ["KRB5_CONFIG"]}
    run = on_ca1([{"certlogon.core.adcs_authority": {"state": "gathered"}}], kerberos=True, host_variables=variables)
    assert run.last["gathered"][0]["name"] == "Corp Test CA" and run.last["rounds"] == 1


def test_not_a_windows_host(host: Host, playbook: Callable[..., Any]):
    assert "not reached as a Windows host" in playbook([{"certlogon.core.adcs_authority": {"state": "gathered"}}], fails=True).last.msg


def test_wrong_password(host: Host, authority: Callable[..., Any]):
    result = authority(ROOT, host_variables={"ansible_password": "wrong"}, fails=True)
    assert result.status == "unreachable" and "check ansible_user and ansible_password" in result.msg


def test_winrm_refused(host: Host, authority: Callable[..., Any]):
    result = authority(ROOT, host_variables={"ansible_port": 5987}, fails=True)
    assert result.status == "unreachable" and "winrm quickconfig" in result.msg


def test_backup_and_renewal(host: Host, authority: Callable[..., Any]):
    options = {"renewal": {"when": "now", "key": "new"}, "backup": {"path": "D:\\Backup", "password": "a backup's password"}}
    foreseen = authority({"name": "Corp Test CA"}, check=True, **options)
    assert foreseen["steps"] == ["backup", "renew"]
    assert len(host.registry("Corp Test CA")["CACertHash"]) == 1
    result = authority({"name": "Corp Test CA"}, **options)
    assert result["steps"] == ["backup", "renew"] and "a backup's password" not in json.dumps(result.result)
    assert any(file.startswith(result["backup"]) and file.endswith(".p12") for file in host.windows_files())
    old, new = result["certificates"]
    assert old["sha256"] != new["sha256"] and old["subject"] == new["subject"]
    keys = [openssl("x509", "-noout", "-pubkey", stdin=one["pem"].encode()) for one in (old, new)]
    assert keys[0] != keys[1]
    assert len(host.pki("Corp Test CA", "AIA")[0]["cacertificate"]) == 2
    same = authority({"name": "Corp Test CA"}, renewal={"when": "now", "key": "same"})
    assert openssl("x509", "-noout", "-pubkey", stdin=same["certificates"][2]["pem"].encode()) == keys[1]
    idle = authority({"name": "Corp Test CA"}, install=False, renewal={"when": "before_expiry", "days": 365})
    assert not idle.changed and idle["rounds"] == 1


def test_renewal_without_the_right_to_publish(host: Host, authority: Callable[..., Any]):
    refused = authority({"name": "Corp Test CA"}, install=False, renewal={"when": "now"}, fails=True)
    assert "is published in the directory by an Enterprise Admin; give install_username" in refused.msg
    wrong = {"install_username": "CORP\\administrator", "install_password": "not the password"}
    refused = authority({"name": "Corp Test CA"}, install=False, renewal={"when": "now"}, fails=True, **wrong)
    assert "The user name or password is incorrect" in refused.msg


def test_expiry_is_reported_long_before(host: Host, authority: Callable[..., Any]):
    result = authority({"name": "Corp Test CA"}, install=False, warn_before=100000)
    assert not result.changed and "the CA's certificate ends in" in result["shown"]


@pytest.mark.parametrize("step", ["key", "certificate", "ntauth", "enrollment_service", "groups"])
def test_installation_dies_anywhere(host: Host, authority: Callable[..., Any], step: str):
    host.reset()
    host.lab.faults(install_dies_after=step)
    assert f"interrupted after {step}" in authority(ROOT, fails=True).msg
    host.lab.faults()
    result = authority(ROOT)
    assert result.changed and len(result["certificates"]) == 1 and not authority(ROOT).changed
    assert host.pki("Corp Test CA", "Enrollment Services")[0]["cacertificate"]


# ---- a subordinate, signed by the lab's offline root


def sign(lab: Any, request: Path, certificate: Path) -> None:
    """What the person at the offline root does, with openssl."""
    files = Path(lab.files["folder"])
    extensions = certificate.with_suffix(".cnf")
    extensions.write_text(
        "basicConstraints=critical,CA:true,pathlen:0\nkeyUsage=critical,digitalSignature,keyCertSign,cRLSign\n"
        "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    )
    command = [
        "x509",
        "-req",
        "-in",
        str(request),
        "-CA",
        str(files / "root-ca.pem"),
        "-CAkey",
        str(files / "root-ca.key"),
        "-days",
        "1825",
    ]
    issued = openssl(*command, "-extfile", str(extensions))
    certificate.write_text(issued + (files / "root-ca.pem").read_text())


@pytest.fixture(scope="module")
def hand_over(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hand_over")


def test_subordinate_waits_for_its_certificate(host: Host, authority: Callable[..., Any], hand_over: Path):
    host.reset()
    paths = {"request_path": str(hand_over / "ca.req"), "certificate_path": str(hand_over / "ca.pem")}
    result = authority(SUBORDINATE, **paths)
    assert result["pending"] and result["request"]["path"] == paths["request_path"]
    request = (hand_over / "ca.req").read_text()
    assert request == result["request"]["pem"]
    assert "CN=Corp Test Issuing CA" in openssl("req", "-noout", "-subject", "-nameopt", "RFC2253", "-verify", stdin=request.encode())
    again = authority(SUBORDINATE, **paths)
    assert not again.changed and again["pending"] and again["rounds"] == 1
    (hand_over / "ca.req").unlink()
    assert authority(SUBORDINATE, **paths)["steps"] == ["request"]
    assert (hand_over / "ca.req").read_text() == request


def test_foreign_certificate_is_refused(host: Host, authority: Callable[..., Any], hand_over: Path):
    (hand_over / "wrong.pem").write_text(Path(host.lab.files["root_ca"]).read_text())
    result = authority(SUBORDINATE, certificate_path=str(hand_over / "wrong.pem"), fails=True)
    assert "no certificate there is for the key of the request" in result.msg
    (hand_over / "wrong.pem").write_text("<html>")
    assert "certificate_path" in authority(SUBORDINATE, certificate_path=str(hand_over / "wrong.pem"), fails=True).msg


def test_signed_by_the_offline_root(host: Host, authority: Callable[..., Any], hand_over: Path):
    sign(host.lab, hand_over / "ca.req", hand_over / "ca.pem")
    paths = {"request_path": str(hand_over / "ca.req"), "certificate_path": str(hand_over / "ca.pem")}
    foreseen = authority(SUBORDINATE, check=True, **paths)
    assert foreseen["steps"] == ["certificate"] and foreseen["pending"]
    result = authority(SUBORDINATE, **paths)
    assert result["steps"] == ["certificate"] and not result["pending"]
    assert host.pki("Corp Test Issuing CA", "Enrollment Services")[0]["cacertificate"]
    (hand_over / "own.pem").write_text(result["certificates"][0]["pem"])
    assert "OK" in openssl("verify", "-CAfile", host.lab.files["root_ca"], str(hand_over / "own.pem"))
    again = authority(SUBORDINATE, **paths)
    assert not again.changed and again["rounds"] == 1


def test_subordinate_is_renewed(host: Host, authority: Callable[..., Any], hand_over: Path):
    paths = {"request_path": str(hand_over / "renewed.req"), "certificate_path": str(hand_over / "renewed.pem")}
    # the certificate is valid for 1825 days
    refused = authority(SUBORDINATE, renewal={"when": "before_expiry", "days": 1825, "key": "new"}, fails=True, **paths)
    assert "renewal.days is 1825, but the CA's certificate is valid for 1825 days in all" in refused.msg
    renewal = {"when": "before_expiry", "days": 1500, "key": "new"}
    assert not authority(SUBORDINATE, renewal=renewal, **paths).changed
    host.lab.faults(clock_offset=400 * 24 * 3600)
    asked = authority(SUBORDINATE, renewal=renewal, **paths)
    host.lab.faults()
    assert asked["steps"] == ["renew"] and asked["pending"] and (hand_over / "renewed.req").exists()
    waits = authority(SUBORDINATE, renewal=renewal, **paths)
    assert not waits.changed and waits["pending"]
    sign(host.lab, hand_over / "renewed.req", hand_over / "renewed.pem")
    result = authority(SUBORDINATE, renewal={**renewal, "days": 100}, **paths)
    assert result["steps"] == ["certificate"] and len(result["certificates"]) == 2 and not result["pending"]


def test_clock_skew_is_said(host: Host, authority: Callable[..., Any]):
    host.lab.faults(clock_offset=3 * 3600)
    result = authority(state="gathered", install=False)
    assert "hours ahead of this machine's; certificates and CRLs may be not yet valid" in result["shown"]


# ---- the playbook for maintenance


def test_maintenance(host: Host, authority: Callable[..., Any], playbook: Callable[..., Any], hand_over: Path, tmp_path: Path):
    """An offline root's CRL is made with openssl, served and published; report, backup and a renewal that is due."""
    host.lab.faults()
    host.reset()
    assert authority(ROOT).changed
    files = Path(host.lab.files["folder"])
    crl = tmp_path / "Corp Test Root.crl"
    crl.write_bytes(make_crl(tmp_path, files, days=90))
    who = host.lab.account("administrator")
    variables = ca_host(host.lab.status) | {
        "ansible_user": who["netbios"],
        "ansible_password": who["password"],
        "certlogon_authority_name": "Corp Test CA",
        "certlogon_authority_install_username": who["netbios"],
        "certlogon_authority_install_password": who["password"],
        "certlogon_authority_backup": {"path": "D:\\Backup", "password": "a backup's password"},
        "certlogon_authority_renewal": {"when": "before_expiry", "days": 30},
    }
    domain = {"ansible_connection": "local", "certlogon_server": [host.lab.status["hosts"]["dc1"]["fqdn"]]}
    domain |= {"certlogon_username": who["upn"], "certlogon_password": who["password"], "certlogon_ca_path": host.lab.files["ca_bundle"]}
    offline = [{"path": str(crl), "name": "Corp Test Root", "host": "corp-test-root"}]
    inventory = tmp_path / "inventory.json"
    everything = {
        "certification_authorities": {"hosts": {"ca1.corp.example": variables}},
        "domains": {"hosts": {"corp.example": domain}},
        "all": {"vars": {"certlogon_offline_crls": offline}},
    }
    inventory.write_text(json.dumps(everything))

    def maintain(**options: Any) -> Any:
        return playbook("certlogon.core.ca_maintenance", inventory=inventory, **options)

    report = maintain(arguments=["--tags", "report"])
    assert report.changed == [] and "Corp Test CA: certificate" in report.output and "hours left" in report.output
    foreseen = maintain(check=True)
    assert len(foreseen.changed) == 2 and "Corp Test Root.crl" not in " ".join(host.windows_files())
    done = maintain()
    assert [task.action.rpartition(".")[2] for task in done.changed] == ["adcs_authority", "ad_trusted_certificates"]
    assert any(file.endswith("CertEnroll\\Corp Test Root.crl") for file in host.windows_files())
    published = host.pki("Corp Test Root", "CDP")[0]["certificaterevocationlist"][0]
    shown = openssl("crl", "-inform", "DER", "-noout", "-issuer", "-nextupdate", stdin=published)
    assert "Corp Example Root CA" in shown
    assert maintain().changed == []
    backed_up = maintain(variables={"certlogon_maintenance_backup": True})
    assert len(backed_up.changed) == 1 and any(file.endswith(".p12") for file in host.windows_files())
    strict = maintain(variables={"certlogon_maintenance_strict": True, "certlogon_authority_warn_before": 99999}, fails=True)
    assert "ends within the time that was set" in strict.output
    crl.write_bytes(make_crl(tmp_path, files, days=-1))
    ended = maintain(fails=True)
    assert "have its CA make a new one and carry it here" in ended.output


def make_crl(folder: Path, files: Path, days: int) -> bytes:
    """What the offline root does: openssl ca -gencrl, ending so many days from now."""
    settings = folder / "crl.cnf"
    settings.write_text(
        f"[ca]\ndefault_ca=root\n[root]\ndatabase={folder}/index.txt\ncrlnumber={folder}/crlnumber\ndefault_md=sha256\n"
        "default_crl_days=90\n[extensions]\nauthorityKeyIdentifier=keyid\n"
    )
    (folder / "index.txt").touch()
    if not (folder / "crlnumber").exists():
        (folder / "crlnumber").write_text("10\n")
    end = datetime.now(timezone.utc) + timedelta(days=days)
    dates = ["-crl_lastupdate", f"{end - timedelta(days=100):%Y%m%d%H%M%SZ}", "-crl_nextupdate", f"{end:%Y%m%d%H%M%SZ}"]
    signed = ["-cert", str(files / "root-ca.pem"), "-keyfile", str(files / "root-ca.key"), "-crlexts", "extensions"]
    pem = openssl("ca", "-config", str(settings), "-gencrl", *signed, *dates)
    return pem.encode()
