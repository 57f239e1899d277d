# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in's IIS and /certsrv, with an authority that does as it is told; the clients are requests and the package certsrv."""

from __future__ import annotations

import base64
import datetime
import json
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gssapi")
pytest.importorskip("certsrv")

import certsrv
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs7

from lab.windows_ca.certsrv import Question, attributes, request_bytes
from lab.windows_ca.certsrv.errors import Failure, described
from lab.windows_ca.gate import Gate
from lab.windows_ca.iis import Iis, double_escaped
from lab.windows_ca.iis_config import CERTENROLL, CERTENROLL_FOLDER, CERTSRV, Binding, Configuration
from lab.windows_ca.machine import Machine, Service
from lab.windows_ca.server import Metrics

NAME = "localhost"
KEY = ec.generate_private_key(ec.SECP256R1())
USER_AGENT = {"User-Agent": "Mozilla/5.0 test"}


def certificate(name: str, serial: int = 1, issuer: str | None = None) -> bytes:
    subject, above = (x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, one)]) for one in (name, issuer or name))
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(above).public_key(KEY.public_key()).serial_number(serial)
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=3650))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def request_pem() -> str:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "somebody")])
    return x509.CertificateSigningRequestBuilder().subject_name(name).sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


class CertSrvError(Exception):
    def __init__(self, hresult: int, text: str) -> None:
        self.hresult, self.text = hresult, text


@dataclass
class Disposition:
    request_id: int
    status: str
    hresult: int = 0
    message: str = ""
    certificate: bytes | None = None


@dataclass
class CACertificate:
    der: bytes

    @property
    def certificate(self) -> x509.Certificate:
        return x509.load_der_x509_certificate(self.der)


@dataclass
class FakeAuthority:
    """Issues, holds or denies by the template's name; remembers who asked for what."""

    configured: bool = True
    ca_name: str = "Corp CA"
    certificates: list[CACertificate] = field(default_factory=lambda: [CACertificate(certificate("Corp CA"))])
    roots: list[bytes] = field(default_factory=list)
    found: dict[int, Disposition] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def identify(self, account: str) -> str:
        return account

    def known_authorities(self) -> list[bytes]:
        return [*(one.der for one in self.certificates), *self.roots]

    def submit(self, request: bytes, attributes: dict[str, str], caller: str) -> Disposition:
        x509.load_der_x509_csr(request)
        self.asked.append((caller, attributes))
        number = len(self.asked)
        template = attributes.get("CertificateTemplate", "")
        if template == "Boom":
            raise CertSrvError(0x80070005, "Access is denied.")
        self.found[number] = {
            "User": Disposition(number, "issued", certificate=certificate("somebody", number)),
            "Slow": Disposition(number, "pending", 0x80094014, "Taken Under Submission"),
            "Nope": Disposition(number, "denied", 0x80094012, "Denied by Policy Module"),
        }[template]
        return self.found[number]

    def retrieve(self, request_id: int, caller: str) -> Disposition:
        if request_id not in self.found:
            raise CertSrvError(0x80094004, "The requested property value is empty.")
        return self.found[request_id]


@dataclass
class Setting:
    machine: Machine
    authority: FakeAuthority
    iis: Iis
    configuration: Configuration
    trust: Path

    def url(self, path: str = "", *, tls: bool = True) -> str:
        port = 443 if tls else 80
        site = self.iis.sites[port, tls]
        return f"http{'s' if tls else ''}://{NAME}:{site.server_address[1]}{path}"

    def metrics(self) -> dict[str, int]:
        found: dict[str, int] = json.loads((self.machine.folder / "metrics.json").read_text())
        return found

    def client(self, method: str = "basic") -> certsrv.Certsrv:
        server = self.url("").removeprefix("https://")
        return certsrv.Certsrv(server, "CORP\\alice", "Secret.1", auth_method=method, cafile=str(self.trust))


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Setting]:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # they would go before what a session is told to trust
        monkeypatch.delenv(name, raising=False)
    machine = Machine(tmp_path / "machine")
    machine.features["Web-Server"] = True
    machine.services["CertSvc"] = Service("CertSvc", "Active Directory Certificate Services", "auto", "running")
    configuration = Configuration(machine)
    configuration.publish_web_enrollment()
    configuration.add_binding(Binding.parse("https", "*:443:"))
    key = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    der = certificate(NAME)
    configuration.bind_certificate(443, machine.add_to_store(der, key))
    configuration.change_settings(CERTSRV, basic=True)
    trust = tmp_path / "trust.pem"
    trust.write_text(ssl.DER_cert_to_PEM_cert(der))
    users = tmp_path / "users"
    users.write_text("CORP:alice:Secret.1\n")
    authority = FakeAuthority()
    gate = Gate(tmp_path / "none.keytab", users, lambda: None)
    iis = Iis(machine, authority, gate, Metrics(machine.folder / "metrics.json"), port_of=free)
    iis.start()
    yield Setting(machine, authority, iis, configuration, trust)
    iis.stop()


def free(port: int) -> int:
    return 0


def get(setting: Setting, path: str, *, tls: bool = True, auth: Any = ("CORP\\alice", "Secret.1"), **options: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        method = options.pop("method", "get")
        headers = options.pop("headers", USER_AGENT)
        return session.request(
            method, setting.url(path, tls=tls), auth=auth, verify=str(setting.trust), headers=headers, allow_redirects=False, **options
        )


# ---- the package certsrv


@pytest.mark.parametrize("method", ["basic", "ntlm"])
def test_issued(setting: Setting, method: str) -> None:
    pem = setting.client(method).get_cert(request_pem(), "User", attributes="SAN:dns=a.example\r\n")
    assert x509.load_pem_x509_certificate(pem).serial_number == 1
    assert setting.authority.asked == [("CORP\\alice", {"CertificateTemplate": "User", "SAN": "dns=a.example"})]
    assert x509.load_der_x509_certificate(setting.client(method).get_existing_cert(1, "bin")).serial_number == 1


def test_pending_then_issued(setting: Setting) -> None:
    client = setting.client()
    with pytest.raises(certsrv.CertificatePendingException) as pending:
        client.get_cert(request_pem(), "Slow")
    assert pending.value.req_id == "1"
    with pytest.raises(certsrv.CouldNotRetrieveCertificateException, match="Taken Under Submission"):
        client.get_existing_cert(1)
    form = {"Mode": "chkpnd", "ReqID": "1", "TargetStoreFlags": "0", "SaveCert": "yes"}
    assert "Your Request Id is 1." in get(setting, "/certsrv/certfnsh.asp", method="post", data=form).text
    setting.authority.found[1] = Disposition(1, "issued", certificate=certificate("somebody", 77))
    assert "certnew.cer?ReqID=1&" in get(setting, "/certsrv/certfnsh.asp", method="post", data=form).text
    assert x509.load_pem_x509_certificate(client.get_existing_cert(1)).serial_number == 77


def test_denied_says_why_on_its_own_page(setting: Setting) -> None:
    """As on real servers: the answer to a request holds the disposition message, the code is on the certificate's page."""
    client = setting.client()
    with pytest.raises(certsrv.RequestDeniedException) as denied:
        client.get_cert(request_pem(), "Nope")
    assert str(denied.value) == "Denied by Policy Module" and "Your Request Id is 1." in denied.value.response
    with pytest.raises(certsrv.CouldNotRetrieveCertificateException, match="Denied by Policy Module") as refused:
        client.get_existing_cert(1)
    assert "0x80094012 (-2146877422 CERTSRV_E_TEMPLATE_DENIED)" in refused.value.response


def test_authority(setting: Setting) -> None:
    setting.authority.certificates.append(CACertificate(certificate("Corp CA", 2, issuer="Root")))
    setting.authority.roots += [certificate("Other", 8), certificate("Root", 9)]
    client = setting.client()
    assert x509.load_pem_x509_certificate(client.get_ca_cert()).serial_number == 2
    assert {one.serial_number for one in pkcs7.load_der_pkcs7_certificates(client.get_chain())} == {2, 9}, "up to the root"
    assert client.get_chain("b64").startswith(b"-----BEGIN CERTIFICATE-----\r\n"), "a chain too, as real servers label it"
    by_number = get(setting, "/certsrv/certnew.cer?ReqID=CACert&Renewal=0&Enc=bin").content
    assert x509.load_der_x509_certificate(by_number).serial_number == 1
    latest = get(setting, "/certsrv/certnew.cer?ReqID=CACert&Renewal=-1&Enc=bin").content
    assert x509.load_der_x509_certificate(latest).serial_number == 2


def test_credentials(setting: Setting) -> None:
    assert setting.client("ntlm").check_credentials()
    bad = certsrv.Certsrv(setting.url().removeprefix("https://"), "CORP\\alice", "wrong", auth_method="ntlm", cafile=str(setting.trust))
    assert not bad.check_credentials()


# ---- pages


def test_a_client_that_is_no_browser_gets_html(setting: Setting) -> None:
    setting.client().get_cert(request_pem(), "User")
    answer = get(setting, "/certsrv/certnew.cer?ReqID=1", headers={"User-Agent": "Go-http-client/1.1"})
    assert answer.headers["Content-Type"] == "text/html" and answer.content.startswith(b"-----BEGIN CERTIFICATE-----\r\n")


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({}, "0x80070057 (-2147024809 E_INVALIDARG)"),
        ({"Mode": "newreq", "CertRequest": "not base64!"}, "0x8007000d (WIN32: 13 ERROR_INVALID_DATA)"),
        ({"Mode": "chkpnd", "ReqID": "9"}, "The requested property value is empty. 0x80094004 (-2146877436 CERTSRV_E_PROPERTY_EMPTY)"),
        ({"Mode": "chkpnd", "ReqID": "x"}, "0x80070057"),
        ({"Mode": "newreq", "CertRequest": "CSR", "CertAttrib": "CertificateTemplate:Boom"}, "Access is denied. 0x80070005 (-2147024891"),
    ],
)
def test_failures(setting: Setting, form: dict[str, str], expected: str) -> None:
    form = {name: request_pem() if value == "CSR" else value for name, value in form.items()}
    answer = get(setting, "/certsrv/certfnsh.asp", method="post", data=form)
    assert answer.status_code == 200 and expected in answer.text and "Your request failed." in answer.text


def test_service_that_does_not_run(setting: Setting) -> None:
    setting.machine.services["CertSvc"].state = "stopped"
    form = {"Mode": "newreq", "CertRequest": request_pem(), "CertAttrib": "CertificateTemplate:User"}
    answer = get(setting, "/certsrv/certfnsh.asp", method="post", data=form)
    assert "The RPC server is unavailable. 0x800706ba (WIN32: 1722 RPC_S_SERVER_UNAVAILABLE)" in answer.text
    assert "has not been started" in answer.text and setting.authority.asked == []
    assert get(setting, "/certsrv/").status_code == 200
    assert "0x800706ba" in get(setting, "/certsrv/certcarc.asp").text


def test_another_language(setting: Setting) -> None:
    setting.machine.faults = {"certsrv_language": "de"}
    form = {"Mode": "newreq", "CertRequest": request_pem(), "CertAttrib": "CertificateTemplate:Slow"}
    answer = get(setting, "/certsrv/certfnsh.asp", method="post", data=form)
    assert "Ihre Anforderungskennung ist 1." in answer.text and "Request Id" not in answer.text
    with pytest.raises(certsrv.RequestDeniedException, match="unknown"):
        setting.client().get_cert(request_pem(), "Nope")
    form["CertAttrib"] = "CertificateTemplate:User"
    assert "certnew.cer?ReqID=3&" in get(setting, "/certsrv/certfnsh.asp", method="post", data=form).text
    for page in ("", "certrqus.asp", "certrqad.asp", "certrqxt.asp", "certckpn.asp", "certcarc.asp"):
        assert "Zertifikat" in get(setting, f"/certsrv/{page}").text


def test_what_is_on_the_page_is_escaped(setting: Setting) -> None:
    setting.authority.found[5] = Disposition(5, "denied", 0x80094012, '<b>"no"</b>')
    answer = get(setting, "/certsrv/certfnsh.asp", method="post", data={"Mode": "chkpnd", "ReqID": "5"})
    assert "The disposition message is \"&lt;b&gt;'no'&lt;/b&gt;\"." in answer.text


def test_unknown_pages(setting: Setting) -> None:
    assert get(setting, "/certsrv/certsces.asp").status_code == 404
    assert get(setting, "/elsewhere").status_code == 404
    moved = get(setting, "/certsrv")
    assert (moved.status_code, moved.headers["Location"]) == (301, "/certsrv/")


def test_parsing() -> None:
    expected = {"CertificateTemplate": "User", "SAN": "dns=a&dns=b", "rmd": "x"}
    assert attributes("CertificateTemplate:User\r\nSAN:dns=a&dns=b\nrmd:x") == expected
    assert request_bytes("-----BEGIN NEW CERTIFICATE REQUEST-----\r\nAQID\r\n-----END NEW CERTIFICATE REQUEST-----\r\n") == b"\1\2\3"
    assert request_bytes(base64.b64encode(bytes(300)).decode()) == bytes(300)
    with pytest.raises(Failure):
        request_bytes("")
    assert described(0x80094800, "Not supported.") == "Not supported. 0x80094800 (-2146875392 CERTSRV_E_UNSUPPORTED_CERT_TYPE)"
    assert described(0x80094800, "Said. 0x80094800 (-2146875392 X)") == "Said. 0x80094800 (-2146875392 X)"
    assert double_escaped("/CertEnroll/Corp CA+.crl") and not double_escaped("/CertEnroll/Corp CA(1).crl")
    assert Question("", "", user_agent="Mozilla/5.0").is_browser


# ---- IIS


def test_authentication(setting: Setting) -> None:
    offered = get(setting, "/certsrv/", auth=None)
    assert offered.status_code == 401 and "Access is denied due to invalid credentials" in offered.text
    assert offered.headers["WWW-Authenticate"] == f'Negotiate, NTLM, Basic realm="{NAME}"'
    setting.configuration.change_settings(CERTSRV, basic=False, providers=["Negotiate"])
    refused = get(setting, "/certsrv/")
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Negotiate")


def test_ntlm_signs_the_connection_in(setting: Setting) -> None:
    client = setting.client("ntlm")
    for template in ("User",) * 3:
        client.get_cert(request_pem(), template)
    counted = setting.metrics()
    assert counted["iis_authentications"] == 1
    assert counted["iis_requests"] == 8, "two more than three times two: the refusal, and the challenge"


def test_extended_protection(setting: Setting) -> None:
    """requests-ntlm sends channel bindings where it can reach the certificate; refused where they are of another certificate."""
    setting.configuration.change_settings(CERTSRV, basic=False, tokenChecking="Require")
    from requests_ntlm import HttpNtlmAuth

    assert get(setting, "/certsrv/", auth=HttpNtlmAuth("CORP\\alice", "Secret.1")).status_code == 200
    assert get(setting, "/certsrv/", auth=HttpNtlmAuth("CORP\\alice", "Secret.1", send_cbt=False)).status_code == 401
    assert get(setting, "/certsrv/", auth=HttpNtlmAuth("CORP\\alice", "Secret.1"), tls=False).status_code == 401
    setting.configuration.change_settings(CERTSRV, tokenChecking="Allow")
    assert get(setting, "/certsrv/", auth=HttpNtlmAuth("CORP\\alice", "Secret.1", send_cbt=False)).status_code == 200


def test_tls_demanded(setting: Setting) -> None:
    assert get(setting, "/certsrv/", tls=False, auth=None).status_code == 401
    setting.configuration.change_settings(CERTSRV, sslFlags="Ssl")
    refused = get(setting, "/certsrv/", tls=False)
    assert refused.status_code == 403 and "403.4" in refused.text
    assert get(setting, "/certsrv/").status_code == 200


def test_revocation_lists(setting: Setting) -> None:
    for name in ("Corp CA.crl", "Corp CA+.crl", "ca1.corp.example_Corp CA.crt", "nsrev_Corp CA.secret"):
        setting.machine.files[rf"{CERTENROLL_FOLDER}\{name}"] = name.encode()
    base = get(setting, "/CertEnroll/Corp%20CA.crl", tls=False, auth=None)
    assert (base.status_code, base.content, base.headers["Content-Type"]) == (200, b"Corp CA.crl", "application/pkix-crl")
    issuer = get(setting, "/certenroll/ca1.corp.example_Corp%20CA.crt", tls=False, auth=None)
    assert issuer.headers["Content-Type"] == "application/x-x509-ca-cert"
    for path in ("/CertEnroll/Corp%20CA+.crl", "/CertEnroll/Corp%20CA%2B.crl"):
        assert get(setting, path, tls=False, auth=None).status_code == 404
    setting.configuration.change_settings(CERTENROLL, allowDoubleEscaping=True)
    for path in ("/CertEnroll/Corp%20CA+.crl", "/CertEnroll/Corp%20CA%2B.crl"):
        assert get(setting, path, tls=False, auth=None).content == b"Corp CA+.crl"
    for path in ("/CertEnroll/nsrev_Corp%20CA.secret", "/CertEnroll/none.crl", "/CertEnroll/..%2f..%2fmachine.json"):
        assert get(setting, path, tls=False, auth=None).status_code == 404
    assert get(setting, "/CertEnroll/", tls=False, auth=None).status_code == 403
    assert get(setting, "/certsrv/certcrl.crl?Type=delta&Enc=bin").content == b"Corp CA+.crl"
    setting.machine.faults = {"cdp_status": 503}
    assert get(setting, "/CertEnroll/Corp%20CA.crl", tls=False, auth=None).status_code == 503


def test_faults(setting: Setting) -> None:
    setting.machine.faults = {"certsrv_status": 500}
    assert get(setting, "/certsrv/").status_code == 500
    setting.machine.faults = {"certsrv_drop": True}
    with pytest.raises(requests.ConnectionError):
        get(setting, "/certsrv/")


def test_bindings_are_followed(setting: Setting) -> None:
    key = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    other = certificate(NAME, 99)
    address = ("127.0.0.1", setting.iis.sites[443, True].server_address[1])
    assert x509.load_pem_x509_certificate(ssl.get_server_certificate(address).encode()).serial_number == 1
    setting.configuration.bind_certificate(443, setting.machine.add_to_store(other, key))
    assert x509.load_pem_x509_certificate(ssl.get_server_certificate(address).encode()).serial_number == 99
    setting.configuration.unbind_certificate(443)
    with pytest.raises(OSError):
        ssl.get_server_certificate(address, timeout=3)
    setting.machine.services["W3SVC"].state = "stopped"
    setting.iis.settle()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, 1)


def test_configuration_survives(setting: Setting) -> None:
    again = Configuration(Machine(setting.machine.folder))
    assert again.settings(CERTSRV)["basic"] and again.publishes("certsrv")
    assert [binding.information for binding in again.bindings] == ["*:80:", "*:443:"]
    with pytest.raises(ValueError, match="sslFlags"):
        again.change_settings(CERTSRV, sslFlags="Sometimes")
    with pytest.raises(ValueError, match="exists already"):
        again.add_binding(Binding.parse("https", "*:443:"))
    again.withdraw_web_enrollment()
    assert not again.publishes("CertSrv") and not again.settings(CERTSRV)["windows"]
