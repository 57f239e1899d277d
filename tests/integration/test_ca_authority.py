# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in authority in the lab's real domain: what its setup leaves in Samba's directory, and what it issues to real accounts.

The authority under test has a machine folder and a name of its own on ca1, so that it disturbs no other.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

TEMPLATES = json.loads((Path(__file__).parents[2] / "lab/windows_ca/authority/builtin_templates.json").read_text())
PKS = "CN=Public Key Services,CN=Services,CN=Configuration,DC=corp,DC=example"
NAME = "Authority Under Test"
SERVICE = f"CN={NAME},CN=Enrollment Services,{PKS}"
KEY = rsa.generate_private_key(65537, 2048)
DER = serialization.Encoding.DER
Call = Callable[..., Any]


@pytest.fixture(scope="module")
def calls(ca_lab: Any) -> Iterator[Call]:
    """`calls(("method", {arguments}), …)`: their answers; the same authority each time, in a new process."""
    folder = f"/tmp/authority-{uuid.uuid4().hex[:8]}"

    def call(*asked: tuple[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
        script = "/srv/certlogon/tests/integration/on_ca1/authority_calls.py"
        text = json.dumps({"folder": folder, "calls": asked})
        done = ca_lab.run("ca1", "env", "PYTHONPATH=/srv/certlogon", "/usr/bin/python3", script, stdin=text)
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    yield call
    for dn in (SERVICE, *(f"CN={NAME},CN={c},{PKS}" for c in ("AIA", "KRA", "Certification Authorities", "ca1,CN=CDP"))):
        ca_lab.run("dc1", "ldbdel", "-H", "/var/lib/samba/private/sam.ldb", dn, check=False)
    ca_lab.run("ca1", "rm", "-rf", folder)


def credential(ca_lab: Any, account: str) -> list[str]:
    who = ca_lab.account(account)
    return [who["netbios"], who["password"]]


@pytest.fixture(scope="module")
def installed(calls: Call, ca_lab: Any) -> dict[str, Any]:
    """The authority, set up; its certificate in DER."""
    without, domain_admin, wrong = calls(
        ("install", {"ca_common_name": NAME}),
        ("install", {"ca_common_name": NAME, "credential": credential(ca_lab, "domain.admin")}),
        ("install", {"ca_common_name": NAME, "credential": ["CORP\\enterprise.admin", "wrong"]}),
    )[:3]
    assert without["hresult"] == domain_admin["hresult"] == 0x80070005, "as long as nobody with the right to do it asks"
    assert wrong["hresult"] == 0x8007052E
    assert not ca_lab.ldbsearch(SERVICE)
    answers = calls(("install", {"ca_common_name": NAME, "credential": credential(ca_lab, "enterprise.admin")}), ("certificates", {}))
    assert answers[0].get("result", answers[0])["status"] == "installed", answers
    assert answers[-1]["result"] == [], "nothing in the event log"
    return {"certificate": base64.b64decode(answers[1]["result"][0])}


@pytest.fixture(scope="module")
def domain_sid(ca_lab: Any) -> str:
    found = ca_lab.ldbsearch("DC=corp,DC=example", "(objectClass=domain)", "objectSid", scope="base")
    return found[0]["objectsid"][0].decode()  # type: ignore[no-any-return]


def test_the_objects_that_make_it_trusted(installed: dict[str, Any], ca_lab: Any) -> None:
    der = installed["certificate"]
    for container in ("AIA", "Certification Authorities"):
        found = ca_lab.ldbsearch(f"CN={NAME},CN={container},{PKS}")[0]
        assert found["cacertificate"] == [der] and b"certificationAuthority" in found["objectclass"]
    assert der in ca_lab.ldbsearch(f"CN=NTAuthCertificates,{PKS}", scope="base")[0]["cacertificate"]
    assert b"\0" not in ca_lab.ldbsearch(f"CN=NTAuthCertificates,{PKS}", scope="base")[0]["cacertificate"]
    assert ca_lab.ldbsearch(f"CN={NAME},CN=KRA,{PKS}")[0]["objectclass"][-1] == b"msPKI-PrivateKeyRecoveryAgent"


def test_the_enrollment_service(installed: dict[str, Any], ca_lab: Any) -> None:
    found = ca_lab.ldbsearch(SERVICE)[0]
    assert found["cacertificate"] == [installed["certificate"]] and found["flags"] == [b"10"]
    assert found["dnshostname"] == [b"ca1.corp.example"]
    assert found["cacertificatedn"] == [f"CN={NAME}, DC=corp, DC=example".encode()]
    assert len(found["certificatetemplates"]) == 11 and b"SmartcardLogon" not in found["certificatetemplates"]
    sddl = ca_lab.samba_tool("dsacl", "get", f"--objectdn={SERVICE}").stdout
    assert "(OA;;CR;0e10c968-78fb-11d2-90d4-00c04f79dc55;;AU)" in sddl


@pytest.fixture(scope="module")
def templates(installed: dict[str, Any], ca_lab: Any) -> dict[str, dict[str, list[bytes]]]:
    """As Samba's own tool reads them, descriptors as SDDL."""
    found = ca_lab.ldbsearch(f"CN=Certificate Templates,{PKS}", "(objectClass=pKICertificateTemplate)", "*", "nTSecurityDescriptor")
    return {entry["cn"][0].decode(): entry for entry in found}


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_a_built_in_template(templates: dict[str, dict[str, list[bytes]]], domain_sid: str, name: str) -> None:
    facts, found = TEMPLATES[name], templates[name]
    for attribute, value in facts.items():
        if attribute in ("sddl", "oid_suffix", "pKIKeyUsage_hex", "expiration_days", "overlap_days"):
            continue
        wanted = {str(one).encode() for one in (value if isinstance(value, list) else [value])}
        assert set(found[attribute.lower()]) == wanted, attribute
    assert found["pkikeyusage"][0].hex() == facts["pKIKeyUsage_hex"]
    for attribute, days in (("pkiexpirationperiod", facts["expiration_days"]), ("pkioverlapperiod", facts["overlap_days"])):
        assert int.from_bytes(found[attribute][0], "little", signed=True) == -days * 864_000_000_000
    assert found["mspki-cert-template-oid"][0].decode().endswith("." + facts["oid_suffix"])
    sddl = found["ntsecuritydescriptor"][0].decode()
    assert sddl.startswith("O:EAG:EAD:PAI")
    assert aces(sddl, domain_sid) == aces(facts["sddl"].replace("{domain}", domain_sid), domain_sid)


def aces(sddl: str, domain_sid: str) -> set[str]:
    """As a set, mask letters sorted, Samba's other names for the same SIDs undone."""
    other = {"RO": f"{domain_sid}-498", "S-1-5-9": "ED"}
    found = set()
    for text in re.findall(r"\(([^)]*)\)", sddl):
        kind, flags, rights, object_type, inherited, sid = text.split(";")
        found.add(";".join([kind, flags, "".join(sorted(re.findall("..", rights))), object_type, inherited, other.get(sid, sid)]))
    return found


def test_oid_objects(installed: dict[str, Any], ca_lab: Any) -> None:
    base = ca_lab.ldbsearch(f"CN=OID,{PKS}", scope="base")[0]["mspki-cert-template-oid"][0].decode()
    assert re.fullmatch(r"1\.3\.6\.1\.4\.1\.311\.21\.8(\.\d+){6}", base)
    found = {entry["mspki-cert-template-oid"][0].decode(): entry for entry in ca_lab.ldbsearch(f"CN=OID,{PKS}", scope="one")}
    wanted = {f"{base}.1.{n}" for n in (*range(25, 34), 400, 401, 402)}
    assert wanted <= set(found)
    assert found[f"{base}.1.33"]["displayname"] == [b"Kerberos Authentication"] and found[f"{base}.1.402"]["flags"] == [b"2"]


def test_the_computers_groups(installed: dict[str, Any], ca_lab: Any) -> None:
    for group in ("Cert Publishers", "Pre-Windows 2000 Compatible Access"):
        assert "CA1$" in ca_lab.samba_tool("group", "listmembers", group).stdout.split()


def test_crls_are_in_the_directory(installed: dict[str, Any], calls: Call, ca_lab: Any) -> None:
    found = ca_lab.ldbsearch(f"CN={NAME},CN=ca1,CN=CDP,{PKS}")[0]
    base, delta = (base64.b64decode(entry["crl"]) for entry in calls(("crls", {}))[0]["result"])
    assert found["certificaterevocationlist"] == [base] and found["deltarevocationlist"] == [delta]


def test_a_second_setup(installed: dict[str, Any], calls: Call, ca_lab: Any) -> None:
    before = ca_lab.ldbsearch(PKS)
    answer = calls(("install", {"ca_common_name": NAME, "credential": credential(ca_lab, "enterprise.admin")}))[0]
    assert "already installed" in answer["error"]
    assert ca_lab.ldbsearch(PKS) == before


def csr() -> str:
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(KEY, hashes.SHA256())
    return base64.b64encode(request.public_bytes(DER)).decode()


def submit(caller: str, template: str) -> tuple[str, dict[str, Any]]:
    return ("submit", {"request": csr(), "attributes": {"CertificateTemplate": template}, "caller": caller})


@pytest.mark.parametrize(
    ("account", "template", "hresult"),
    [
        ("alice.andersson", "User", 0),
        ("alice.andersson", "WebServer", 0x80094012),
        ("alice.andersson", "Machine", 0x80094012),
        ("alice.andersson", "SmartcardLogon", 0x80094800),
        ("administrator", "Administrator", 0x80094812),
        ("CA1$", "Machine", 0),
        ("CA1$", "KerberosAuthentication", 0x80094012),
        ("DC1$", "KerberosAuthentication", 0),
        ("DC1$", "DomainController", 0),
        ("plain.user@corp.example", "EFS", 0),
    ],
)
def test_who_gets_what(installed: dict[str, Any], calls: Call, account: str, template: str, hresult: int) -> None:
    answer = calls(submit(account, template))[0]["result"]
    assert answer["hresult"] == hresult, answer["message"]
    assert (answer["status"] == "issued") is not hresult


def test_a_users_certificate_is_published_in_the_directory(installed: dict[str, Any], calls: Call, ca_lab: Any) -> None:
    answer = calls(submit("bruno.bianchi", "User"))
    der = base64.b64decode(answer[0]["result"]["certificate"])
    assert answer[-1]["result"] == []
    assert der in ca_lab.ldbsearch("DC=corp,DC=example", "(sAMAccountName=bruno.bianchi)", "userCertificate")[0]["usercertificate"]


@pytest.mark.parametrize(("account", "template"), [("alice.andersson", "User"), ("DC1$", "KerberosAuthentication"), ("CA1$", "Machine")])
def test_judges_of_certificates(installed: dict[str, Any], calls: Call, ca_lab: Any, tmp_path: Path, account: str, template: str) -> None:
    answers = calls(submit(account, template), ("crls", {}))
    certificate = x509.load_der_x509_certificate(base64.b64decode(answers[0]["result"]["certificate"]))
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    crl = x509.load_der_x509_crl(base64.b64decode(answers[1]["result"][0]["crl"]))
    files = {"c.pem": pem, "crl.pem": crl.public_bytes(serialization.Encoding.PEM).decode()}
    files["ca.pem"] = x509.load_der_x509_certificate(installed["certificate"]).public_bytes(serialization.Encoding.PEM).decode()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    command = ["openssl", "verify", "-x509_strict", "-crl_check", "-CRLfile", "crl.pem", "-CAfile", "ca.pem", "c.pem"]
    verified = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stderr

    linted = ca_lab.run("ca1", "zlint", "-includeSources=RFC5280", "/dev/stdin", stdin=pem)
    bad = [name for name, verdict in json.loads(linted.stdout).items() if verdict["result"] in ("error", "fatal")]
    assert not bad

    pkilint = Path(sys.executable).with_name("lint_pkix_cert")
    if not pkilint.exists():
        pytest.skip("pkilint is not installed here; the other judges are content")
    for arguments in (
        [pkilint, "lint", "-s", "ERROR", "c.pem"],
        [pkilint.with_name("lint_crl"), "lint", "-s", "ERROR", "-p", "PKIX", "-t", "CRL", "crl.pem"],
    ):
        done = subprocess.run([str(part) for part in arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
