# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in authority against a directory of dictionaries: setup, issuing by templates, revocation, CRLs, renewal, backup."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import cms, core
from asn1crypto import csr as asn1_csr
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import pkcs7, pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from ansible_collections.certlogon.core.tests.unit.lab.fake_domain import BASE, DOMAIN_SID, PASSWORD, PKS, FakeDirectory, sid
from lab.windows_ca.authority import Authority, CertSrvError, InstallOptions, descriptors, extensions, setup, templates
from lab.windows_ca.authority import settings as registry
from lab.windows_ca.authority.requests import NAME_VALUE_PAIR, RENEWAL_CERTIFICATE, Attribute, NameValuePair, Request, RequestInfo
from lab.windows_ca.machine import Machine

CREDENTIAL = ("CORP\\enterprise.admin", PASSWORD)
OPTIONS = InstallOptions(ca_common_name="Corp CA")
KEY = rsa.generate_private_key(65537, 2048)
SHORT_KEY = rsa.generate_private_key(65537, 1024)
DER = serialization.Encoding.DER
SERVICE = f"CN=Corp CA,CN=Enrollment Services,{PKS}"
SETTINGS = registry.key("Corp CA")
POLICY = registry.key("Corp CA", "PolicyModules", registry.POLICY)


CA_KEY = rsa.generate_private_key(65537, 2048)


@pytest.fixture(autouse=True)
def one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making a key takes longer than all the rest."""
    made = setup.new_key
    monkeypatch.setattr(setup, "new_key", lambda name, length: CA_KEY if length == 2048 else made(name, length))


@pytest.fixture
def directory() -> FakeDirectory:
    found = FakeDirectory()
    found.account(
        "alice", 1200, "CN=Alice Andersson,OU=Staff,OU=Corp", [513], userPrincipalName="alice@corp.example", mail="alice@corp.example"
    )
    found.account("bare", 1201, "CN=bare,OU=Staff,OU=Corp", [513])
    found.account("agent", 1202, "CN=agent,OU=Staff,OU=Corp", [513], userPrincipalName="agent@corp.example", mail="agent@corp.example")
    found.account("WS1$", 1203, "CN=WS1,OU=Machines", [515], computer=True, dNSHostName="ws1.corp.example", primaryGroupID="515")
    found.account("DC1$", 1204, "CN=DC1,OU=Domain Controllers", [516], computer=True, dNSHostName="dc1.corp.example", primaryGroupID="516")
    found.account("NONAME$", 1205, "CN=NONAME,OU=Machines", [515], computer=True, primaryGroupID="515")
    found.account("outsider", 1206, "CN=outsider,OU=Staff,OU=Corp", [])
    return found


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    found = Machine(tmp_path / "machine")
    with found.transaction():
        found.features["ADCS-Cert-Authority"] = True
    return found


@pytest.fixture
def authority(machine: Machine, directory: FakeDirectory) -> Iterator[Authority]:
    found = Authority(machine, directory)
    assert found.install(OPTIONS, CREDENTIAL).status == "installed"
    yield found
    found.stop_service()


def csr(key: Any = KEY, subject: str | None = None, *extra: tuple[x509.ExtensionType, bool]) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else [])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    for value, critical in extra:
        builder = builder.add_extension(value, critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(DER)


def renewal(old: x509.Certificate) -> bytes:
    """A PKCS#10 that names the certificate it renews, as Windows' clients do."""
    found = asn1_csr.CertificationRequest.load(csr())["certification_request_info"]
    attribute = Attribute({"type": RENEWAL_CERTIFICATE, "values": [core.Any(asn1_x509.Certificate.load(old.public_bytes(DER)))]})
    info = RequestInfo(
        {
            "version": 0,
            "subject": core.Any(found["subject"]),
            "key": core.Any(found["subject_pk_info"]),
            "attributes": [attribute],
        }
    )
    algorithm = core.Any(asn1_csr.SignedDigestAlgorithm({"algorithm": "sha256_rsa"}))
    signature = KEY.sign(info.dump(), padding.PKCS1v15(), hashes.SHA256())
    der: bytes = Request({"info": info, "algorithm": algorithm, "signature": signature}).dump()
    return der


def signed(content: bytes, certificate: x509.Certificate, key: rsa.RSAPrivateKey, pairs: Mapping[str, str] | None = None) -> bytes:
    """CMS SignedData as Windows' clients wrap a request."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(content)
    attributes = [
        {"type": "content_type", "values": ["data"]},
        {"type": "message_digest", "values": [digest.finalize()]},
        *({"type": NAME_VALUE_PAIR, "values": [NameValuePair({"name": n, "value": v})]} for n, v in (pairs or {}).items()),
    ]
    wrapped = cms.CMSAttributes(attributes)
    found = asn1_x509.Certificate.load(certificate.public_bytes(DER))
    signer = cms.SignerInfo(
        {
            "version": "v1",
            "sid": cms.SignerIdentifier(
                "issuer_and_serial_number", cms.IssuerAndSerialNumber({"issuer": found.issuer, "serial_number": found.serial_number})
            ),
            "digest_algorithm": {"algorithm": "sha256"},
            "signed_attrs": wrapped,
            "signature_algorithm": {"algorithm": "sha256_rsa"},
            "signature": key.sign(wrapped.untag().dump(), padding.PKCS1v15(), hashes.SHA256()),
        }
    )
    data = cms.SignedData(
        {
            "version": "v1",
            "digest_algorithms": [{"algorithm": "sha256"}],
            "encap_content_info": {"content_type": "data", "content": content},
            "certificates": [cms.CertificateChoices("certificate", found)],
            "signer_infos": [signer],
        }
    )
    der: bytes = cms.ContentInfo({"content_type": "signed_data", "content": data}).dump()
    return der


def add_template(directory: FakeDirectory, name: str, like: str = "User", *, publish: bool = True, **changes: Any) -> str:
    """A copy as administrators make them: version 2, its own OID."""
    oid = f"1.3.6.1.4.1.311.21.8.1.2.3.4.5.6.7.{100 + len(directory.objects)}"
    attributes = templates.built_in_attributes(like, "1.2", DOMAIN_SID)
    attributes |= {
        "msPKI-Template-Schema-Version": [b"2"],
        "msPKI-Cert-Template-OID": [oid.encode()],
        "revision": [b"100"],
        "cn": [name.encode()],
    }
    if "pKIExtendedKeyUsage" in attributes:
        attributes["msPKI-Certificate-Application-Policy"] = attributes["pKIExtendedKeyUsage"]
    directory.put(f"CN={name},CN=Certificate Templates,{PKS}", **{**attributes, **changes})
    if publish:
        directory.modify(SERVICE, [("add", "certificateTemplates", [name.encode()])])
    return oid


def allow(directory: FakeDirectory, name: str, sddl: str) -> None:
    entry = directory.at(f"CN={name},CN=Certificate Templates,{PKS}")
    entry["nTSecurityDescriptor"] = [descriptors.from_sddl(sddl, DOMAIN_SID).to_bytes()]


def ask(authority: Authority, account: str, template: str, request: bytes | None = None, **attributes: str) -> Any:
    return authority.submit(request or csr(), {"CertificateTemplate": template, **attributes}, authority.identify(account))


def certificate(disposition: Any) -> x509.Certificate:
    assert disposition.status == "issued", disposition.message
    return x509.load_der_x509_certificate(disposition.certificate)


def dns_names(certificate: x509.Certificate) -> list[str]:
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)


def extension(certificate: x509.Certificate, oid: str) -> x509.Extension[Any] | None:
    return next((found for found in certificate.extensions if found.oid.dotted_string == oid), None)


def raw(certificate: x509.Certificate, oid: str) -> bytes:
    found = asn1_x509.Certificate.load(certificate.public_bytes(DER))["tbs_certificate"]["extensions"]
    return next(bytes(e["extn_value"].contents) for e in found if e["extn_id"].dotted == oid)


def refused(hresult: int) -> Any:
    return pytest.raises(CertSrvError, match=f"0x{hresult:08x}")


# ---- setup


def test_setup_writes_the_pki_objects_in_order(authority: Authority, directory: FakeDirectory) -> None:
    added = [dn for operation, dn in directory.writes if operation == "add"]
    order = [
        *(f"CN=Corp CA,CN=Certification Authorities,{PKS}", f"CN=NTAuthCertificates,{PKS}", f"CN=ca1,CN=CDP,{PKS}"),
        *(f"CN=Corp CA,CN=ca1,CN=CDP,{PKS}", f"CN=Corp CA,CN=AIA,{PKS}", f"CN=Corp CA,CN=KRA,{PKS}", SERVICE),
        *(f"CN=User,CN=Certificate Templates,{PKS}",),
    ]
    assert sorted(order, key=added.index) == order
    der = authority.certificates[0].der
    for dn in (order[0], order[4], f"CN=NTAuthCertificates,{PKS}", SERVICE):
        assert directory.at(dn)["cACertificate"] == [der]
    service = directory.at(SERVICE)
    assert service["flags"] == [b"10"]
    assert service["cACertificateDN"] == [b"CN=Corp CA, DC=corp, DC=example"]
    assert service["dNSHostName"] == [b"ca1.corp.example"]
    assert set(service["certificateTemplates"]) == {name.encode() for name in templates.PUBLISHED}
    assert directory.at(f"CN=Cert Publishers,CN=Users,{BASE}")["member"] == [f"CN=CA1,OU=Servers,{BASE}".encode()]
    assert directory.at(f"CN=Pre-Windows 2000 Compatible Access,CN=Users,{BASE}")["member"]


def test_setup_brings_33_templates_and_their_oids(authority: Authority, directory: FakeDirectory) -> None:
    container = f"CN=Certificate Templates,{PKS}"
    assert len(directory.search(container, "one", "(objectClass=pKICertificateTemplate)", [])) == 33
    base = directory.at(f"CN=OID,{PKS}")["msPKI-Cert-Template-OID"][0].decode()
    assert base.startswith("1.3.6.1.4.1.311.21.8.")
    smart_card = directory.at(f"CN=SmartcardLogon,{container}")
    assert smart_card["msPKI-Certificate-Name-Flag"] == [b"-2113929216"] and smart_card["pKIExpirationPeriod"] == [
        bytes.fromhex("0040398" + "72ee1feff")
    ]
    assert smart_card["msPKI-Cert-Template-OID"] == [f"{base}.1.5".encode()]
    oids = directory.search(f"CN=OID,{PKS}", "one", "(flags=*)", ["flags"])
    assert sorted(entry.text("flags") for entry in oids) == ["1"] * 9 + ["2"] * 3


def test_oid_object_names_are_deterministic() -> None:
    oid = "1.3.6.1.4.1.311.21.8.1.2.3.4.5.6.1.33"
    assert templates.oid_object_cn(oid) == templates.oid_object_cn(oid)
    assert templates.oid_object_cn(oid).startswith("33.") and len(templates.oid_object_cn(oid)) == 35


def test_a_second_setup_says_already_installed(authority: Authority) -> None:
    with pytest.raises(CertSrvError, match="already installed"):
        authority.install(OPTIONS, CREDENTIAL)


@pytest.mark.parametrize(
    ("credential", "message"),
    [
        (None, "Access is denied"),
        (("enterprise.admin", "wrong"), "user name or password"),
        (("alice", PASSWORD), "no member of Enterprise Admins"),
    ],
)
def test_an_enterprise_ca_needs_an_enterprise_admin(
    machine: Machine, directory: FakeDirectory, credential: tuple[str, str] | None, message: str
) -> None:
    with pytest.raises(CertSrvError, match=message):
        Authority(machine, directory).install(OPTIONS, credential)
    assert not directory.writes


def test_without_the_role_service_nothing_is_installed(tmp_path: Path, directory: FakeDirectory) -> None:
    with pytest.raises(CertSrvError, match="ADCS-Cert-Authority"):
        Authority(Machine(tmp_path / "m"), directory).install(OPTIONS, CREDENTIAL)


@pytest.mark.parametrize("step", ["key", "registry", "certificate", "ntauth", "enrollment_service", "templates", "published_templates"])
def test_a_setup_that_dies_is_taken_up_again(machine: Machine, directory: FakeDirectory, step: str) -> None:
    machine.faults = {"install_dies_after": step}
    with pytest.raises(CertSrvError, match="interrupted"):
        Authority(machine, directory).install(OPTIONS, CREDENTIAL)
    machine.faults = {}
    again = Authority(Machine(machine.folder), directory)
    assert not again.configured
    assert again.install(OPTIONS, CREDENTIAL).status == "installed"
    assert len(again.certificates) == 1
    assert set(directory.at(SERVICE)["certificateTemplates"]) == {name.encode() for name in templates.PUBLISHED}
    again.stop_service()


def test_what_was_there_is_left_alone(machine: Machine, directory: FakeDirectory) -> None:
    directory.put(f"CN=User,CN=Certificate Templates,{PKS}", displayName="ours", nTSecurityDescriptor=[b"x"])
    directory.put(f"CN=NTAuthCertificates,{PKS}", cACertificate=[b"another"])
    authority = Authority(machine, directory)
    authority.install(OPTIONS, CREDENTIAL)
    assert directory.at(f"CN=User,CN=Certificate Templates,{PKS}")["displayName"] == [b"ours"]
    assert directory.at(f"CN=NTAuthCertificates,{PKS}")["cACertificate"] == [b"another", authority.certificates[0].der]
    authority.stop_service()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[Certsrv_Server]\nCRLPeriod=Days\n", "Signature"),
        ('[Version]\nSignature="$Windows NT$"\n[Certsrv_Server]\nNoSuchKey=1\n', "not modelled"),
        ('[Version]\nSignature="$Windows NT$"\n[Certsrv_Server]\nAlternateSignatureAlgorithm=1\n', "RSASSA-PSS"),
        ('[Version]\nSignature="$Windows NT$"\n[Certsrv_Server]\nCRLPeriod=Fortnights\n', "one of"),
        ('[Version]\nSignature="$Windows NT$"\n[Strange]\na=b\n', "Strange|strange"),
        ("nonsense", "not understood"),
    ],
)
def test_a_capolicy_that_windows_or_the_stand_in_would_not_take(
    machine: Machine, directory: FakeDirectory, text: str, message: str
) -> None:
    machine.files[r"C:\Windows\CAPolicy.inf"] = text.encode()
    with pytest.raises(CertSrvError, match=message):
        Authority(machine, directory).install(OPTIONS, CREDENTIAL)
    assert not directory.writes


CAPOLICY = """\
[Version]
Signature="$Windows NT$"
[PolicyStatementExtension]
Policies=Ours
[Ours]
OID=1.2.3.4
URL=http://pki.corp.example/cps.html
[Certsrv_Server]
RenewalKeyLength=3072
RenewalValidityPeriod=Years
RenewalValidityPeriodUnits=10
CRLPeriod=Days
CRLPeriodUnits=3
CRLDeltaPeriodUnits=0
LoadDefaultTemplates=0   ; none
AlternateSignatureAlgorithm=0
[BasicConstraintsExtension]
PathLength=0
Critical=Yes
"""


def test_capolicy_is_honoured(machine: Machine, directory: FakeDirectory) -> None:
    machine.files[r"C:\Windows\CAPolicy.inf"] = CAPOLICY.replace("\n", "\r\n").encode("utf-16")
    authority = Authority(machine, directory)
    authority.install(OPTIONS, CREDENTIAL)
    found = authority.certificates[0].certificate
    assert found.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert found.extensions.get_extension_for_class(x509.CertificatePolicies)
    assert "certificateTemplates" not in directory.at(SERVICE)
    assert [crl["delta"] for crl in authority.crls()] == [False]
    assert authority.crls()[0]["next_publish"] - authority.crls()[0]["this_update"] == timedelta(days=3, minutes=10)
    authority.renew(reuse_key=False)
    renewed = authority.certificates[1].certificate
    assert renewed.public_key().key_size == 3072  # type: ignore[union-attr]
    assert (renewed.not_valid_after_utc - renewed.not_valid_before_utc).days in (3652, 3653)
    authority.stop_service()


@pytest.mark.parametrize(
    ("provider", "length", "hash_name", "curve"),
    [
        ("RSA#Microsoft Software Key Storage Provider", 4096, "SHA512", None),
        ("ECDSA_P384#Microsoft Software Key Storage Provider", 384, "SHA384", ec.SECP384R1),
    ],
)
def test_keys_and_hashes(machine: Machine, directory: FakeDirectory, provider: str, length: int, hash_name: str, curve: Any) -> None:
    authority = Authority(machine, directory)
    options = InstallOptions(ca_common_name="Corp CA", crypto_provider_name=provider, key_length=length, hash_algorithm_name=hash_name)
    authority.install(options, CREDENTIAL)
    found = authority.certificates[0].certificate
    assert found.public_key().key_size == length  # type: ignore[union-attr]
    assert found.signature_hash_algorithm and found.signature_hash_algorithm.name == hash_name.lower()
    issued = certificate(ask(authority, "alice", "User"))
    issued.verify_directly_issued_by(found)
    authority.stop_service()


@pytest.mark.parametrize(
    "options",
    [
        InstallOptions(ca_type="Nonsense"),
        InstallOptions(crypto_provider_name="nCipher"),
        InstallOptions(key_length=1234),
        InstallOptions(hash_algorithm_name="MD5"),
        InstallOptions(parent_ca="dc1\\Root"),
        InstallOptions(ca_common_name="x" * 60),
    ],
)
def test_options_that_are_refused_before_anything_is_written(machine: Machine, directory: FakeDirectory, options: InstallOptions) -> None:
    authority = Authority(machine, directory)
    with pytest.raises(CertSrvError):
        authority.install(options, CREDENTIAL)
    assert not directory.writes and not authority.ca_key


# ---- a subordinate CA


class Parent:
    """An offline root, made by hand."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Offline Root")])
        self.certificate = self.sign(self.name, self.key.public_key())

    def sign(self, subject: x509.Name, public: Any, *, ca: bool = True, days: int = 3650) -> x509.Certificate:
        import datetime

        now = datetime.datetime.now(datetime.timezone.utc)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(public)
        builder = (
            builder.serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=days))
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
        return builder.sign(self.key, hashes.SHA256())


SUBORDINATE = InstallOptions(ca_type="EnterpriseSubordinateCA", ca_common_name="Corp CA")


@pytest.fixture
def parent(directory: FakeDirectory) -> Parent:
    found = Parent()
    directory.put(f"CN=Offline Root,CN=Certification Authorities,{PKS}", cACertificate=[found.certificate.public_bytes(DER)])
    return found


def test_a_subordinate_ca_waits_for_its_certificate(machine: Machine, directory: FakeDirectory, parent: Parent) -> None:
    authority = Authority(machine, directory)
    outcome = authority.install(SUBORDINATE, CREDENTIAL)
    assert outcome.status == "waiting_for_certificate" and "incomplete" in outcome.message
    assert outcome.request_file == r"C:\ca1.corp.example_Corp CA.req"
    text = machine.files[outcome.request_file]
    assert text.startswith(b"-----BEGIN NEW CERTIFICATE REQUEST-----") and text == outcome.request
    request = x509.load_pem_x509_csr(text)
    assert request.is_signature_valid and request.subject.rfc4514_string() == "CN=Corp CA,DC=corp,DC=example"
    assert not authority.configured and authority.waiting
    with pytest.raises(CertSrvError, match="already installed"):
        authority.install(SUBORDINATE, CREDENTIAL)
    with pytest.raises(CertSrvError):
        authority.start_service()

    again = Authority(Machine(machine.folder), directory)
    again.install_certificate(parent.sign(request.subject, request.public_key()).public_bytes(serialization.Encoding.PEM))
    assert again.configured and again.running and not again.waiting
    assert directory.at(SERVICE)["flags"] == [b"10"]
    assert directory.at(SERVICE)["cACertificate"] == [again.certificates[0].der]
    assert again.certificates[0].der in directory.at(f"CN=NTAuthCertificates,{PKS}")["cACertificate"]
    assert f"cn=corp ca,cn=certification authorities,{PKS}".casefold() not in directory.objects, "only roots belong there"
    certificate(ask(again, "alice", "User"))
    again.stop_service()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("another key", "public key"),
        ("another name", "not for"),
        ("no ca", "not a CA's"),
        ("garbage", "no certificate"),
        ("untrusted", "not trusted|could not be built"),
    ],
)
def test_answers_of_a_parent_that_are_refused(
    machine: Machine, directory: FakeDirectory, parent: Parent, answer: str, message: str
) -> None:
    authority = Authority(machine, directory)
    request = x509.load_pem_x509_csr(authority.install(SUBORDINATE, CREDENTIAL).request)
    if answer == "garbage":
        content = b"garbage"
    else:
        who = Parent() if answer == "untrusted" else parent
        key = KEY.public_key() if answer == "another key" else request.public_key()
        subject = x509.Name([]) if answer == "another name" else request.subject
        content = who.sign(subject, key, ca=answer != "no ca").public_bytes(DER)
    with pytest.raises(CertSrvError, match=message):
        authority.install_certificate(content)
    assert authority.waiting and not authority.configured


def test_a_bundle_with_a_locally_trusted_root_is_accepted(machine: Machine, directory: FakeDirectory) -> None:
    parent = Parent()
    authority = Authority(machine, directory)
    request = x509.load_pem_x509_csr(authority.install(SUBORDINATE, CREDENTIAL).request)
    answer = parent.sign(request.subject, request.public_key())
    bundle = pkcs7.serialize_certificates([answer, parent.certificate], DER)
    with pytest.raises(CertSrvError, match="not trusted"):
        authority.install_certificate(bundle)
    authority.trust_root(parent.certificate.public_bytes(DER))
    authority.install_certificate(bundle)
    assert authority.running
    authority.stop_service()


# ---- issuing


def test_a_user_certificate(authority: Authority, directory: FakeDirectory) -> None:
    found = certificate(ask(authority, "alice", "User"))
    assert (
        found.subject.rfc4514_string() == "1.2.840.113549.1.9.1=alice@corp.example,CN=Alice Andersson,OU=Staff,OU=Corp,DC=corp,DC=example"
    )
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names if isinstance(name, x509.RFC822Name)] == ["alice@corp.example"]
    upn = next(name for name in names if isinstance(name, x509.OtherName))
    assert upn.type_id.dotted_string == "1.3.6.1.4.1.311.20.2.3" and core.UTF8String.load(upn.value).native == "alice@corp.example"
    usages = {usage.dotted_string for usage in found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value}
    assert usages == {"1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.4", "1.3.6.1.4.1.311.10.3.4"}
    usage = found.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical and usage.value.digital_signature and usage.value.key_encipherment and not usage.value.content_commitment
    assert raw(found, "1.3.6.1.4.1.311.20.2") == core.BMPString("User").dump()
    assert raw(found, "1.3.6.1.4.1.311.25.2").endswith(sid(1200).encode())
    assert not extension(found, "1.3.6.1.4.1.311.25.2").critical  # type: ignore[union-attr]
    assert found.not_valid_after_utc - found.not_valid_before_utc == timedelta(days=365, minutes=10)
    assert found.issuer == authority.certificates[0].certificate.subject
    cdp = found.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert [name.value for name in cdp[0].full_name or []] == [
        "ldap:///CN=Corp%20CA,CN=ca1,CN=CDP,CN=Public%20Key%20Services,CN=Services,CN=Configuration,DC=corp,DC=example"
        "?certificateRevocationList?base?objectClass=cRLDistributionPoint"
    ]
    assert found.public_bytes(DER) in directory.at(f"CN=Alice Andersson,OU=Staff,OU=Corp,{BASE}")["userCertificate"]


def test_the_sid_extension_is_the_documented_bytes(authority: Authority) -> None:
    text = sid(1200).encode()
    other = bytes.fromhex("060a2b060104018237190201") + bytes([0xA0, len(text) + 2, 0x04, len(text)]) + text
    expected = bytes([0x30, len(other) + 2, 0xA0, len(other)]) + other
    assert raw(certificate(ask(authority, "alice", "User")), "1.3.6.1.4.1.311.25.2") == expected


def test_a_machine_certificate(authority: Authority) -> None:
    found = certificate(ask(authority, "WS1$", "Machine"))
    assert found.subject.rfc4514_string() == "CN=ws1.corp.example"
    assert dns_names(found) == ["ws1.corp.example"]


def test_a_domain_controllers_certificate(authority: Authority, directory: FakeDirectory) -> None:
    found = certificate(ask(authority, "DC1$", "KerberosAuthentication"))
    assert not list(found.subject)
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical and names.value.get_values_for_type(x509.DNSName) == ["dc1.corp.example", "corp.example"]
    usages = {usage.dotted_string for usage in found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value}
    assert "1.3.6.1.5.2.3.5" in usages
    template = extensions.TemplateInformation.load(raw(found, "1.3.6.1.4.1.311.21.7"))
    assert (
        template["oid"].dotted
        == directory.at(f"CN=KerberosAuthentication,CN=Certificate Templates,{PKS}")["msPKI-Cert-Template-OID"][0].decode()
    )
    assert template["major"].native == 110
    policies = {policy["oid"].dotted for policy in extensions.Policies.load(raw(found, "1.3.6.1.4.1.311.21.10"))}
    assert policies == usages


@pytest.mark.parametrize(
    ("account", "template", "hresult"),
    [
        ("alice", "SmartcardLogon", 0x80094800),  # not published
        ("alice", "NoSuchTemplate", 0x80094800),
        ("alice", "", 0x80094801),
        ("alice", "WebServer", 0x80094012),
        ("alice", "Machine", 0x80094012),
        ("outsider", "User", 0x80094012),
        ("bare", "User", 0x80094812),  # no mail
        ("NONAME$", "Machine", 0x8009480F),
        ("WS1$", "KerberosAuthentication", 0x80094012),
    ],
)
def test_requests_that_the_policy_module_denies(authority: Authority, account: str, template: str, hresult: int) -> None:
    answer = ask(authority, account, template)
    assert (answer.status, answer.hresult) == ("denied", hresult)
    assert answer.message.startswith(f"Denied by Policy Module  0x{hresult:08x}, ") and answer.certificate is None
    assert authority.retrieve(answer.request_id) == answer, "it stays in the database"


def test_a_user_without_upn(authority: Authority, directory: FakeDirectory) -> None:
    add_template(directory, "UpnOnly", **{"msPKI-Certificate-Name-Flag": str(0x02000000)})
    assert ask(authority, "bare", "UpnOnly").hresult == 0x8009480D


@pytest.mark.parametrize(("request_bytes", "hresult"), [(b"garbage", 0x8009310B), (b"0\x03\x02\x01", 0x8009310B), (b"", 0x8009310B)])
def test_what_is_no_request(authority: Authority, request_bytes: bytes, hresult: int) -> None:
    answer = authority.submit(request_bytes, {"CertificateTemplate": "User"}, authority.identify("alice"))
    assert (answer.status, answer.hresult) == ("denied", hresult) and answer.message.startswith("Error Parsing Request")


def test_a_request_whose_signature_does_not_hold(authority: Authority) -> None:
    broken = bytearray(csr())
    broken[-5] ^= 1
    assert ask(authority, "alice", "User", bytes(broken)).hresult == 0x80090006


def test_short_keys(authority: Authority) -> None:
    assert ask(authority, "alice", "User", csr(SHORT_KEY)).hresult == 0x80094811
    assert ask(authority, "alice", "User", csr(ec.generate_private_key(ec.SECP256R1()))).hresult == 0x80094811


def test_pem_and_bare_base64_are_requests_too(authority: Authority) -> None:
    pem = x509.load_der_x509_csr(csr()).public_bytes(serialization.Encoding.PEM)
    certificate(ask(authority, "alice", "User", pem))
    certificate(ask(authority, "alice", "User", b"".join(pem.splitlines()[1:-1])))


def test_the_right_to_enroll(authority: Authority, directory: FakeDirectory) -> None:
    add_template(directory, "Ours")
    for sddl, granted in [
        ("O:EAG:EAD:PAI(A;;LCRPLORC;;;AU)", False),
        (f"O:EAG:EAD:PAI(A;;CR;;;{sid(1200)})", True),  # control access without object type is every extended right
        (f"O:EAG:EAD:PAI(OA;;CR;{descriptors.ENROLL};;DU)", True),
        (f"O:EAG:EAD:PAI(OA;;CR;{descriptors.AUTO_ENROLL};;DU)", False),
        (f"O:EAG:EAD:PAI(OD;;CR;{descriptors.ENROLL};;DU)(A;;CR;;;AU)", False),
        (f"O:EAG:EAD:PAI(OA;IOCI;CR;{descriptors.ENROLL};;DU)", False),
    ]:
        allow(directory, "Ours", sddl)
        answer = ask(authority, "alice", "Ours")
        assert (answer.status == "issued") is granted, sddl
        assert granted or answer.hresult == 0x80094012


def test_who_may_not_enroll_at_the_ca(authority: Authority, machine: Machine) -> None:
    closed = descriptors.from_sddl(f"O:BAG:BAD:(A;;0x3;;;DA)(A;;0x200;;;{sid(1202)})", DOMAIN_SID).to_bytes()
    machine.registry.set(SETTINGS, "Security", closed, "REG_BINARY")
    certificate(ask(authority, "alice", "User"))  # not read before the service starts again
    authority.stop_service()
    authority.start_service()
    with refused(0x80094011):
        ask(authority, "alice", "User")
    certificate(ask(authority, "agent", "User"))


def supplied(*names: x509.GeneralName) -> tuple[x509.ExtensionType, bool]:
    return (x509.SubjectAlternativeName(names), False)


def test_templates_that_let_the_request_name_the_subject(authority: Authority, directory: FakeDirectory) -> None:
    oid = add_template(directory, "Web", like="WebServer", nTSecurityDescriptor=templates_descriptor("DU"))
    found = certificate(ask(authority, "alice", "Web", csr(KEY, "www.corp.example", supplied(x509.DNSName("www.corp.example")))))
    assert found.subject.rfc4514_string() == "CN=www.corp.example"
    assert dns_names(found) == ["www.corp.example"]
    assert extension(found, "1.3.6.1.4.1.311.25.2") is None, "no SID of whoever asked"
    in_request = (x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.311.25.2"), extensions.sid(sid(1299)).value), False)
    found = certificate(ask(authority, "alice", oid, csr(KEY, "x", in_request)))
    assert raw(found, "1.3.6.1.4.1.311.25.2").endswith(sid(1299).encode()), "but the one of the request is copied"
    assert ask(authority, "alice", "Web", csr()).hresult == 0x80094001


def test_names_that_are_too_long(authority: Authority, directory: FakeDirectory) -> None:
    add_template(directory, "Web", like="WebServer", nTSecurityDescriptor=templates_descriptor("DU"))
    long = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x" * 65, _validate=False)])
    request = x509.CertificateSigningRequestBuilder().subject_name(long).sign(KEY, hashes.SHA256()).public_bytes(DER)
    assert ask(authority, "alice", "Web", request).hresult == 0x80094001


def templates_descriptor(who: str) -> list[bytes]:
    return [descriptors.from_sddl(f"O:EAG:EAD:PAI(OA;;CR;{descriptors.ENROLL};;{who})", DOMAIN_SID).to_bytes()]


def test_no_sid_where_the_template_says_so(authority: Authority, directory: FakeDirectory) -> None:
    add_template(directory, "NoSid", **{"msPKI-Enrollment-Flag": str(0x80000)})
    assert extension(certificate(ask(authority, "alice", "NoSid")), "1.3.6.1.4.1.311.25.2") is None


def test_the_request_may_name_its_template(authority: Authority, directory: FakeDirectory) -> None:
    by_name = csr(KEY, None, (x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.311.20.2"), core.BMPString("User").dump()), False))
    alice = authority.identify("alice")
    certificate(authority.submit(by_name, {}, alice))
    conflict = authority.submit(by_name, {"CertificateTemplate": "EFS"}, alice)
    assert conflict.hresult == 0x80094802


def test_san_attribute_counts_only_where_the_edit_flag_says_so(authority: Authority, machine: Machine) -> None:
    found = certificate(ask(authority, "alice", "User", SAN="upn=administrator@corp.example"))
    assert b"administrator" not in found.public_bytes(DER)
    flags = machine.registry.get(POLICY, "EditFlags")
    machine.registry.set(POLICY, "EditFlags", flags | 0x40000, "REG_DWORD")
    authority.stop_service()
    authority.start_service()
    found = certificate(ask(authority, "alice", "User", SAN="upn=administrator@corp.example&dns=x.corp.example"))
    assert b"administrator@corp.example" in raw(found, "2.5.29.17") and b"x.corp.example" in raw(found, "2.5.29.17")


def test_disabled_extensions_are_left_out(authority: Authority, machine: Machine) -> None:
    machine.registry.set(POLICY, "DisableExtensionList", ["1.3.6.1.4.1.311.25.2"], "REG_MULTI_SZ")
    authority.stop_service()
    authority.start_service()
    assert extension(certificate(ask(authority, "alice", "User")), "1.3.6.1.4.1.311.25.2") is None


def test_validity_ends_with_the_first_of_template_setting_and_ca(authority: Authority, machine: Machine, directory: FakeDirectory) -> None:
    add_template(directory, "Long", pKIExpirationPeriod=templates.period_bytes(3650))
    found = certificate(ask(authority, "alice", "Long"))
    assert 729 <= (found.not_valid_after_utc - machine.now()).days <= 731, "ValidityPeriod: 2 years"
    machine.registry.set(SETTINGS, "ValidityPeriodUnits", 50, "REG_DWORD")
    authority.stop_service()
    authority.start_service()
    found = certificate(ask(authority, "alice", "Long"))
    assert found.not_valid_after_utc == authority.certificates[0].certificate.not_valid_after_utc


def test_manager_approval(authority: Authority, directory: FakeDirectory, machine: Machine) -> None:
    add_template(directory, "Approved", **{"msPKI-Enrollment-Flag": "2"})
    first, second = ask(authority, "alice", "Approved"), ask(authority, "alice", "Approved")
    assert (first.status, first.hresult, first.message) == ("pending", 0, "Taken Under Submission")
    authority.stop_service()
    again = Authority(Machine(machine.folder), directory)
    again.start_service()
    officer, alice = again.identify("enterprise.admin"), again.identify("alice")
    with refused(0x80070005):
        again.resubmit(first.request_id, alice)
    assert certificate(again.resubmit(first.request_id, officer)).subject.rfc4514_string().startswith("1.2.840")
    assert again.retrieve(first.request_id).status == "issued"
    denied = again.deny(second.request_id, officer)
    assert (denied.status, denied.hresult) == ("denied", 0x80094014)
    with refused(0x80094003):
        again.resubmit(first.request_id, officer)
    with refused(0x80094002):
        again.retrieve(4711)
    again.stop_service()


def agent_certificate(authority: Authority, directory: FakeDirectory) -> x509.Certificate:
    if f"cn=agents,cn=certificate templates,{PKS}".casefold() not in directory.objects:
        add_template(directory, "Agents", like="EnrollmentAgent", nTSecurityDescriptor=templates_descriptor(sid(1202)))
    return certificate(ask(authority, "agent", "Agents"))


ON_BEHALF = {"msPKI-RA-Signature": "1", "msPKI-RA-Application-Policies": "1.3.6.1.4.1.311.20.2.1"}


def test_enrollment_on_behalf_of_another(authority: Authority, directory: FakeDirectory) -> None:
    agent = agent_certificate(authority, directory)
    add_template(directory, "Cards", **ON_BEHALF)
    wrapped = signed(csr(), agent, KEY, {"requestername": "CORP\\alice"})
    found = certificate(ask(authority, "agent", "Cards", wrapped))
    assert found.subject.rfc4514_string().endswith("CN=Alice Andersson,OU=Staff,OU=Corp,DC=corp,DC=example")
    assert raw(found, "1.3.6.1.4.1.311.25.2").endswith(sid(1200).encode())
    row = authority.requests(request_id=3)[0] if len(authority.requests()) > 2 else authority.requests()[-1]
    assert (row["requester_name"], row["caller_name"]) == ("CORP\\alice", "CORP\\agent")
    # version 1 templates accept an agent without asking for one; version 2 templates do not
    certificate(ask(authority, "agent", "User", signed(csr(), agent, KEY, {"requestername": "alice@corp.example"})))
    add_template(directory, "Unsigned")
    assert ask(authority, "agent", "Unsigned", wrapped).hresult == 0x80094806


def test_signatures_that_do_not_count(authority: Authority, directory: FakeDirectory) -> None:
    add_template(directory, "Cards", **ON_BEHALF)
    assert ask(authority, "agent", "Cards").hresult == 0x80094809, "none"
    ordinary = certificate(ask(authority, "agent", "User"))
    behalf = {"requestername": "CORP\\alice"}
    assert ask(authority, "agent", "Cards", signed(csr(), ordinary, KEY, behalf)).hresult == 0x8009480B, "without the agent's usage"
    agent = agent_certificate(authority, directory)
    wrong_key = signed(csr(), agent, rsa.generate_private_key(65537, 2048), behalf)
    assert ask(authority, "agent", "Cards", wrong_key).hresult == 0x80090006
    assert ask(authority, "agent", "Cards", signed(csr(), agent, KEY, {"requestername": "CORP\\nobody"})).hresult == 0x80070534
    authority.revoke(f"{agent.serial_number:x}", 1)
    assert ask(authority, "agent", "Cards", signed(csr(), agent, KEY, behalf)).hresult == 0x800B010C
    add_template(directory, "Two", **{**ON_BEHALF, "msPKI-RA-Signature": "2"})
    agent = agent_certificate(authority, directory)
    assert ask(authority, "agent", "Two", signed(csr(), agent, KEY, behalf)).hresult == 0x8009480A
    stranger = Parent().sign(x509.Name([]), KEY.public_key(), ca=False)
    assert ask(authority, "agent", "Cards", signed(csr(), stranger, KEY, behalf)).hresult == 0x800B010A


OID_OF = "OID of Cards\0".encode("utf-16-le")


def restriction(agent: str, whom: list[str], template: str = "", kind: int = descriptors.ALLOW_CALLBACK) -> descriptors.Ace:
    data = len(whom).to_bytes(4, "little") + b"".join(descriptors.sid_bytes(one) for one in whom)
    data += (template + "\0").encode("utf-16-le") if template else b""
    return descriptors.Ace(kind, 0, 0x10000, agent, data=data)


@pytest.mark.parametrize(
    ("aces", "granted"),
    [
        ([restriction(sid(1202), [sid(513)], "Cards")], True),
        ([restriction(sid(1202), [sid(1200)])], True),
        ([restriction(sid(1202), [sid(513)], "OID of Cards")], True),
        ([restriction(sid(1202), [sid(513)], "Other")], False),
        ([restriction(sid(1202), [sid(1201)])], False),
        ([restriction(sid(1202), [sid(1200)], kind=descriptors.DENY_CALLBACK), restriction("S-1-1-0", ["S-1-1-0"])], False),
        ([], False),
    ],
)
def test_enrollment_agent_restrictions(
    authority: Authority, directory: FakeDirectory, machine: Machine, aces: list[descriptors.Ace], granted: bool
) -> None:
    agent = agent_certificate(authority, directory)
    oid = add_template(directory, "Cards", **ON_BEHALF)
    aces = [replace(ace, data=ace.data[:-26] + (oid + "\0").encode("utf-16-le")) if OID_OF in ace.data else ace for ace in aces]
    rights = descriptors.Descriptor("S-1-5-32-544", "S-1-5-32-544", aces).to_bytes()
    machine.registry.set(SETTINGS, "EnrollmentAgentRights", rights, "REG_BINARY")
    authority.stop_service()
    authority.start_service()
    answer = ask(authority, "agent", "Cards", signed(csr(), agent, KEY, {"requestername": "CORP\\alice"}))
    assert (answer.status == "issued") is granted, answer.message
    assert granted or answer.hresult == 0x80070005


def test_renewal_requests(authority: Authority, directory: FakeDirectory) -> None:
    add_template(directory, "Renewed", **{"msPKI-Enrollment-Flag": str(0x2 | 0x40)})
    waiting = ask(authority, "alice", "Renewed")
    old = certificate(authority.resubmit(waiting.request_id))
    request = renewal(old)
    renewed = ask(authority, "alice", "Renewed", signed(request, old, KEY))
    assert renewed.status == "issued", "the old certificate stands for the manager's approval"
    assert ask(authority, "agent", "Renewed", signed(request, old, KEY)).hresult == 0x8009400E, "another's certificate"
    assert ask(authority, "alice", "User", signed(request, old, KEY)).hresult == 0x8009400E, "another template"
    authority.revoke(f"{old.serial_number:x}", 4)
    assert ask(authority, "alice", "Renewed", signed(request, old, KEY)).hresult == 0x800B010C


def test_an_issued_certificate_pleases_openssl(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(authority.certificates[0].certificate.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "crl.pem").write_bytes(x509.load_der_x509_crl(authority.crls()[0]["crl"]).public_bytes(serialization.Encoding.PEM))
    for account, template in (("alice", "User"), ("WS1$", "Machine"), ("DC1$", "KerberosAuthentication")):
        (tmp_path / "c.pem").write_bytes(certificate(ask(authority, account, template)).public_bytes(serialization.Encoding.PEM))
        done = subprocess.run(
            ["openssl", "verify", "-x509_strict", "-crl_check", "-CRLfile", "crl.pem", "-CAfile", "ca.pem", "c.pem"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


# ---- a stand-alone CA


def test_a_standalone_ca_holds_requests_and_copies_what_they_ask(machine: Machine, directory: FakeDirectory) -> None:
    authority = Authority(machine, directory)
    authority.install(InstallOptions(ca_type="StandaloneRootCA", ca_common_name="Corp CA"))
    assert not directory.writes
    wanted = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
    request = csr(KEY, "www", supplied(x509.DNSName("www.corp.example")), wanted)
    answer = authority.submit(request, {}, authority.identify("bare"))
    assert answer.status == "pending"
    found = certificate(authority.resubmit(answer.request_id))
    assert found.extensions.get_extension_for_class(x509.ExtendedKeyUsage) and b"www.corp.example" in raw(found, "2.5.29.17")
    assert extension(found, "1.3.6.1.4.1.311.25.2") is None
    cdp = found.extensions.get_extension_for_class(x509.CRLDistributionPoints).value[0].full_name
    assert cdp and cdp[0].value == "http://ca1.corp.example/CertEnroll/Corp%20CA.crl"
    sub = authority.submit(csr(KEY, "Sub"), {"CertificateTemplate": "SubCA"}, authority.identify("bare"))
    assert certificate(authority.resubmit(sub.request_id)).extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    authority.stop_service()


# ---- revocation and CRLs


def crl(authority: Authority, delta: bool = False, key_index: int = 0) -> x509.CertificateRevocationList:
    found = next(entry for entry in authority.crls() if entry["delta"] == delta and entry["key_index"] == key_index)
    return x509.load_der_x509_crl(found["crl"])


def serials(found: x509.CertificateRevocationList) -> dict[int, str]:
    reasons = {}
    for entry in found:
        try:
            reasons[entry.serial_number] = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.name
        except x509.ExtensionNotFound:
            reasons[entry.serial_number] = ""
    return reasons


def number(found: x509.CertificateRevocationList) -> int:
    return found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def test_crls_are_published_at_setup(authority: Authority, directory: FakeDirectory, machine: Machine) -> None:
    base, delta = crl(authority), crl(authority, delta=True)
    assert number(base) == number(delta) == 1
    indicator = delta.extensions.get_extension_for_class(x509.DeltaCRLIndicator)
    assert indicator.critical and indicator.value.crl_number == 1
    point = directory.at(f"CN=Corp CA,CN=ca1,CN=CDP,{PKS}")
    assert point["certificateRevocationList"] == [base.public_bytes(DER)] and point["deltaRevocationList"] == [delta.public_bytes(DER)]
    assert authority.crl_files() == {
        "Corp CA.crl": base.public_bytes(DER),
        "Corp CA+.crl": delta.public_bytes(DER),
        "ca1.corp.example_Corp CA.crt": authority.certificates[0].der,
    }
    assert base.next_update_utc and base.last_update_utc
    assert base.next_update_utc - base.last_update_utc == timedelta(days=7, hours=12, minutes=20)
    assert delta.next_update_utc and delta.next_update_utc - delta.last_update_utc == timedelta(days=1, hours=12, minutes=20)  # type: ignore[operator]
    oids = {found.oid.dotted_string for found in base.extensions}
    assert oids == {"2.5.29.35", "2.5.29.20", "2.5.29.46", "1.3.6.1.4.1.311.21.1", "1.3.6.1.4.1.311.21.4", "1.3.6.1.4.1.311.21.14"}
    assert base.is_signature_valid(authority.certificates[0].certificate.public_key())  # type: ignore[arg-type]


def test_revocation_hold_and_release(authority: Authority) -> None:
    one, two = (certificate(ask(authority, name, "User")) for name in ("alice", "alice"))
    authority.revoke(f"{one.serial_number:X}", 1)
    authority.revoke(f"{two.serial_number:x}", 6)
    assert serials(crl(authority)) == {}, "not before the next publication"
    authority.publish_crls(base=False)
    held = {one.serial_number: "key_compromise", two.serial_number: "certificate_hold"}
    assert serials(crl(authority, delta=True)) == held and serials(crl(authority)) == {}
    assert number(crl(authority, delta=True)) == 2
    authority.publish_crls()
    assert serials(crl(authority)) == held and number(crl(authority)) == 3 == number(crl(authority, delta=True))
    authority.unrevoke(f"{two.serial_number:x}")
    authority.publish_crls(base=False)
    assert serials(crl(authority, delta=True))[two.serial_number] == "remove_from_crl"
    authority.publish_crls()
    assert serials(crl(authority)) == {one.serial_number: "key_compromise"}
    assert authority.requests(serial_number=f"{two.serial_number:x}")[0]["disposition"] == 20
    with refused(0x80094003):
        authority.unrevoke(f"{one.serial_number:x}")
    with refused(0x80094003):
        authority.revoke(f"{one.serial_number:x}", 4)
    with refused(0x80094004):
        authority.revoke("1234", 0)
    with refused(0x80070057):
        authority.revoke(f"{one.serial_number:x}", 7)


def test_a_reason_of_zero_has_no_reason_code(authority: Authority) -> None:
    found = certificate(ask(authority, "alice", "User"))
    authority.revoke(f"{found.serial_number:x}", 0)
    authority.publish_crls()
    assert serials(crl(authority)) == {found.serial_number: ""}


def test_only_officers_revoke(authority: Authority) -> None:
    found = certificate(ask(authority, "alice", "User"))
    with refused(0x80070005):
        authority.revoke(f"{found.serial_number:x}", 1, caller=authority.identify("alice"))
    with refused(0x80070005):
        authority.publish_crls(caller=authority.identify("alice"))
    authority.revoke(f"{found.serial_number:x}", 1, caller=authority.identify("enterprise.admin"))


def test_role_separation_and_officer_restrictions(authority: Authority, machine: Machine) -> None:
    found = certificate(ask(authority, "alice", "User"))
    admin = authority.identify("enterprise.admin")
    rights = descriptors.Descriptor(None, None, [restriction(sid(512), [sid(1299)])]).to_bytes()
    machine.registry.set(SETTINGS, "OfficerRights", rights, "REG_BINARY")
    authority.stop_service()
    authority.start_service()
    with refused(0x80094009):
        authority.revoke(f"{found.serial_number:x}", 1, caller=admin)
    machine.registry.set(SETTINGS, "RoleSeparationEnabled", 1, "REG_DWORD")
    authority.stop_service()
    authority.start_service()
    with refused(0x80094008):
        authority.publish_crls(caller=admin)


def test_expired_certificates_drop_out(authority: Authority, machine: Machine) -> None:
    found = certificate(ask(authority, "alice", "User"))
    authority.revoke(f"{found.serial_number:x}", 1)
    authority.publish_crls()
    assert len(crl(authority)) == 1
    machine.faults = {"clock_offset": 366 * 86400}
    authority.publish_crls()
    assert len(crl(authority)) == 0


def test_crls_that_are_due_are_published_when_the_clock_says_so(authority: Authority, machine: Machine) -> None:
    machine.faults = {"clock_offset": 86400 + 60}
    authority._publish_due()
    assert (number(crl(authority)), number(crl(authority, delta=True))) == (1, 2)
    machine.faults = {"clock_offset": 7 * 86400 + 60}
    authority._publish_due()
    assert (number(crl(authority)), number(crl(authority, delta=True))) == (3, 3)
    before = authority.crls()
    authority._publish_due()
    assert authority.crls() == before


def test_a_place_that_cannot_be_written_is_an_error_and_the_others_are_written(authority: Authority, machine: Machine) -> None:
    places = [r"65:C:\Windows\system32\CertSrv\CertEnroll\%3%8%9.crl", "79:ldap:///CN=elsewhere%6%10", r"1:D:\pki\%3%8.crl"]
    machine.registry.set(SETTINGS, "CRLPublicationURLs", places, "REG_MULTI_SZ")
    authority.stop_service()
    authority.start_service()
    with pytest.raises(CertSrvError, match="elsewhere"):
        authority.publish_crls()
    assert machine.files[r"D:\pki\Corp CA.crl"] == crl(authority).public_bytes(DER)


def test_idp_and_http_places(authority: Authority, machine: Machine) -> None:
    places = [r"65:C:\Windows\system32\CertSrv\CertEnroll\%3%8%9.crl", "134:http://pki.corp.example/%3%8%9.crl"]
    machine.registry.set(SETTINGS, "CRLPublicationURLs", places, "REG_MULTI_SZ")
    machine.registry.set(
        SETTINGS, "CACertPublicationURLs", ["2:http://pki.corp.example/%1_%3%4.crt", "32:http://ocsp.corp.example"], "REG_MULTI_SZ"
    )
    authority.stop_service()
    authority.start_service()
    authority.publish_crls()
    point = crl(authority).extensions.get_extension_for_class(x509.IssuingDistributionPoint)
    assert point.critical and point.value.full_name and point.value.full_name[0].value == "http://pki.corp.example/Corp%20CA.crl"
    freshest = crl(authority).extensions.get_extension_for_class(x509.FreshestCRL).value
    assert freshest[0].full_name and freshest[0].full_name[0].value == "http://pki.corp.example/Corp%20CA+.crl"
    found = certificate(ask(authority, "alice", "User"))
    written = found.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    assert [(a.access_method._name, a.access_location.value) for a in written] == [
        ("caIssuers", "http://pki.corp.example/ca1.corp.example_Corp%20CA.crt"),
        ("OCSP", "http://ocsp.corp.example"),
    ]


# ---- the service


def test_settings_take_effect_when_the_service_starts(authority: Authority, machine: Machine) -> None:
    machine.registry.set(SETTINGS, "CRLPeriodUnits", 2, "REG_DWORD")
    authority.publish_crls()
    assert authority.crls()[0]["next_publish"] - authority.crls()[0]["this_update"] == timedelta(days=7, minutes=10)
    authority.stop_service()
    authority.start_service()
    authority.publish_crls()
    assert authority.crls()[0]["next_publish"] - authority.crls()[0]["this_update"] == timedelta(days=14, minutes=10)


def test_a_stopped_service_answers_nobody(authority: Authority) -> None:
    alice = authority.identify("alice")
    authority.stop_service()
    for operation in (
        lambda: authority.submit(csr(), {}, alice),
        authority.publish_crls,
        lambda: authority.revoke("1", 0),
        lambda: authority.retrieve(1),
    ):
        with refused(0x800706BA):
            operation()


def test_the_database_survives_a_restart(authority: Authority, machine: Machine, directory: FakeDirectory) -> None:
    found = ask(authority, "alice", "User")
    authority.revoke(f"{certificate(found).serial_number:x}", 3)
    authority.publish_crls()
    again = Authority(Machine(machine.folder), directory)
    assert again.running, "as the service was running"
    assert again.retrieve(found.request_id).certificate == found.certificate
    assert [entry["number"] for entry in again.crls()] == [2, 2]
    assert again.requests(requester_name="corp\\ALICE")[0]["revoked_reason"] == 3
    again.stop_service()


def test_a_directory_that_is_gone(authority: Authority, directory: FakeDirectory) -> None:
    alice = authority.identify("alice")
    directory.down = True
    with refused(0x8007203A):
        authority.submit(csr(), {"CertificateTemplate": "User"}, alice)


@pytest.mark.parametrize("account", ["CORP\\alice", "alice", "alice@corp.example", "ALICE@CORP.EXAMPLE", "corp\\Alice"])
def test_accounts_by_all_their_names(authority: Authority, account: str) -> None:
    found = authority.identify(account)
    assert (found.name, found.sid) == ("CORP\\alice", sid(1200))


def test_an_unknown_account(authority: Authority) -> None:
    with refused(0x80070534):
        authority.identify("nobody")


# ---- renewal, backup, removal


@pytest.mark.parametrize("reuse", [True, False])
def test_renewal_of_a_root(authority: Authority, directory: FakeDirectory, machine: Machine, reuse: bool) -> None:
    old = certificate(ask(authority, "alice", "User"))
    authority.renew(reuse_key=reuse)
    first, second = authority.certificates
    assert (second.index, second.key_index) == (1, 0 if reuse else 1)
    assert (first.certificate.public_key() == second.certificate.public_key()) is reuse
    assert core.Integer.load(raw(second.certificate, "1.3.6.1.4.1.311.21.1")).native == (1 if reuse else 0x10001)
    assert directory.at(f"CN=NTAuthCertificates,{PKS}")["cACertificate"] == [first.der, second.der]
    assert directory.at(f"CN=Corp CA,CN=AIA,{PKS}")["cACertificate"] == [first.der, second.der]
    assert directory.at(SERVICE)["cACertificate"] == [second.der]
    assert "ca1.corp.example_Corp CA(1).crt" in authority.crl_files()
    new = certificate(ask(authority, "alice", "User"))
    new.verify_directly_issued_by(second.certificate)
    cdp = new.extensions.get_extension_for_class(x509.CRLDistributionPoints).value[0].full_name
    assert cdp and cdp[0].value.startswith("ldap:///CN=Corp%20CA,CN=ca1" if reuse else "ldap:///CN=Corp%20CA(1),CN=ca1")
    authority.revoke(f"{old.serial_number:x}", 1)
    authority.revoke(f"{new.serial_number:x}", 5)
    authority.publish_crls()
    if reuse:
        assert set(serials(crl(authority))) == {old.serial_number, new.serial_number}
    else:
        assert "Corp CA(1).crl" in authority.crl_files() and "Corp CA(1)+.crl" in authority.crl_files()
        assert set(serials(crl(authority))) == {old.serial_number}
        assert set(serials(crl(authority, key_index=1))) == {new.serial_number}
        assert directory.at(f"CN=Corp CA(1),CN=ca1,CN=CDP,{PKS}")["certificateRevocationList"]


def test_renewal_of_a_subordinate_ca_waits_while_the_old_certificate_works(
    machine: Machine, directory: FakeDirectory, parent: Parent
) -> None:
    authority = Authority(machine, directory)
    request = x509.load_pem_x509_csr(authority.install(SUBORDINATE, CREDENTIAL).request)
    authority.install_certificate(parent.sign(request.subject, request.public_key()).public_bytes(DER))
    outcome = authority.renew(reuse_key=False)
    assert outcome.status == "waiting_for_certificate" and outcome.request_file == r"C:\ca1.corp.example_Corp CA(1).req"
    certificate(ask(authority, "alice", "User"))
    request = x509.load_pem_x509_csr(outcome.request)
    authority.install_certificate(parent.sign(request.subject, request.public_key()).public_bytes(DER))
    assert [(ca.index, ca.key_index) for ca in authority.certificates] == [(0, 0), (1, 1)]
    certificate(ask(authority, "alice", "User")).verify_directly_issued_by(authority.certificates[1].certificate)
    authority.stop_service()


def test_backup(authority: Authority, machine: Machine, tmp_path: Path) -> None:
    ask(authority, "alice", "User")
    written = authority.backup(r"C:\backup", "secret")
    key, found = pkcs12.load_key_and_certificates(machine.files[r"C:\backup\Corp CA.p12"], b"secret")[:2]
    assert found and found.public_bytes(DER) == authority.certificates[0].der and key is not None
    assert written == [r"C:\backup\Corp CA.p12", r"C:\backup\DataBase\Corp CA.edb"]
    assert machine.files[written[1]].startswith(b"SQLite format 3")
    with pytest.raises(CertSrvError, match="not empty"):
        authority.backup(r"C:\backup", "secret")
    machine.faults = {"disk_full": True}
    with refused(0x80070070):
        authority.backup(r"C:\other", "secret")
    assert not machine.files.folder_exists(r"C:\other")


def test_removal_keeps_the_key_so_that_a_new_setup_asks(authority: Authority, directory: FakeDirectory, machine: Machine) -> None:
    authority.uninstall(CREDENTIAL)
    assert not authority.configured and SERVICE.casefold() not in directory.objects and "CertSvc" not in machine.services
    with pytest.raises(CertSrvError, match="already exists"):
        authority.install(OPTIONS, CREDENTIAL)
    authority.install(InstallOptions(ca_common_name="Corp CA", overwrite_existing_key=True), CREDENTIAL)
    assert authority.running
    certificate(ask(authority, "alice", "User"))


def test_the_state_holds_no_key_that_others_may_read(authority: Authority, machine: Machine) -> None:
    for file in machine.folder.iterdir():
        if file.is_file():
            assert file.stat().st_mode & 0o077 == 0, file
    assert "setup" not in json.loads((machine.folder / "authority.json").read_text())
