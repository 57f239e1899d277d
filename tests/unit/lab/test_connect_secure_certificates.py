# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in appliance's certificates: requests, imports, ports, trusted client CAs. Judged with requests, openssl and the ssl module."""

from __future__ import annotations

import base64
import datetime
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.connect_secure import server

requests = pytest.importorskip("requests")
x509 = pytest.importorskip("cryptography.x509")

from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from cryptography.hazmat.primitives.serialization import pkcs7, pkcs12  # noqa: E402

# The management port's certificate changes under these tests, and is judged by itself.
pytestmark = pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
REQUESTS = "system/certificates/certificate-requests"
CLIENT_CAS = "system/certificates/trusted-client-cas"
CONFIGURED = "configuration/system/configuration/certificates"
DEVICE = f"{CONFIGURED}/device-certificates/device-certificate"
TRUSTED = f"{CONFIGURED}/trusted-client-cas/trusted-client-ca"


class Client:
    def __init__(self, handle: server.Handle) -> None:
        self.handle = handle
        self.session = requests.Session()
        self.session.trust_env, self.session.verify = False, False
        login = {"auth": (handle.admin, handle.password), "json": {"realm": "Admin Users"}}
        self.session.auth = self.session.post(f"{handle.url}/api/v1/realm_auth", **login).json()["api_key"], ""

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        return self.session.request(method, f"{self.handle.url}/api/v1/{path}", json=body)


def messages(answer: Any, kind: str = "errors") -> str:
    return " | ".join(entry["message"] for entry in answer.json()["result"].get(kind, []))


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    handle = server.start(tmp_path / "appliance")
    yield Client(handle)
    handle.stop()


class Authority:
    """A CA of the tests' own."""

    def __init__(self, name: str = "Test CA") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name.from_rfc4514_string(f"CN={name}")
        self.certificate = self._issue(self.name, self.key.public_key(), authority=True)

    def _issue(self, subject: Any, public: Any, *, authority: bool = False, days: int = 30) -> Any:
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(public)
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=60))
        builder = builder.not_valid_after(now + datetime.timedelta(days=days))
        return builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True).sign(self.key, hashes.SHA256())

    def sign(self, csr: str, days: int = 30) -> Any:
        request = x509.load_pem_x509_csr(csr.encode())
        return self._issue(request.subject, request.public_key(), days=days)

    def pkcs12(self, name: str, password: str) -> tuple[str, Any]:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._issue(x509.Name.from_rfc4514_string(f"CN={name}"), key.public_key())
        encryption = serialization.BestAvailableEncryption(password.encode())
        packed = pkcs12.serialize_key_and_certificates(b"x", key, certificate, [self.certificate], encryption)
        return base64.b64encode(packed).decode(), certificate


def pem(*certificates: Any) -> str:
    return "".join(certificate.public_bytes(serialization.Encoding.PEM).decode() for certificate in certificates)


def served(handle: server.Handle) -> Any:
    return x509.load_pem_x509_certificate(ssl.get_server_certificate((handle.address, handle.port)).encode())


def test_a_request_is_signed_imported_bound_and_served(client: Client, tmp_path: Path) -> None:
    authority = Authority()
    asked = {"common-name": "vpn.corp.example", "organization": "Corp Ltd.", "country": "DE", "key-type": "RSA", "key-length": "2048"}
    assert client("POST", REQUESTS, asked).status_code == 201
    pending = client("GET", f"{CONFIGURED}/certificate-requests").json()["certificate-request"]
    assert [(entry["name"], entry["key-type"], entry["key-length"]) for entry in pending] == [("vpn.corp.example", "RSA", "2048")]
    csr = tmp_path / "request.pem"
    csr.write_text(pending[0]["csr"])
    if openssl := shutil.which("openssl"):
        judged = subprocess.run([openssl, "req", "-in", csr, "-noout", "-verify", "-subject"], capture_output=True, text=True, check=True)
        assert "CN = vpn.corp.example" in judged.stdout.replace("CN=", "CN = ")
    assert "PRIVATE KEY" not in client("GET", "configuration/").text
    other = authority.pkcs12("vpn.corp.example", "x")[1]
    mismatch = client("POST", f"{REQUESTS}/vpn.corp.example/certificate", {"cert": pem(other)})
    assert (mismatch.status_code, "does not match the private key" in messages(mismatch)) == (422, True)
    signed = authority.sign(pending[0]["csr"])
    assert client("POST", f"{REQUESTS}/vpn.corp.example/certificate", {"cert": pem(signed, authority.certificate)}).status_code == 201
    assert client("GET", f"{CONFIGURED}/certificate-requests").json() == {"certificate-request": []}
    assert served(client.handle) != signed
    bound = client("PUT", f"{DEVICE}/vpn.corp.example", {"management-port": "true", "external-ports": ["external"]})
    assert messages(bound, "warnings") == "The configuration has been implicitly changed"
    assert served(client.handle) == signed
    used = client("DELETE", f"{DEVICE}/vpn.corp.example")
    assert (used.status_code, messages(used)) == (
        422,
        "device certificate 'vpn.corp.example' is in use by external port 'external', the management port",
    )
    assert client("DELETE", f"{DEVICE}/first").status_code == 204
    assert len(client.handle.state.private["keys"]) == 1


def test_the_chain_is_served(client: Client) -> None:
    authority = Authority()
    cert, certificate = authority.pkcs12("vpn1", "secret")
    body = {"cert": cert, "password": "secret", "internalPorts": [], "externalPorts": ["external"], "managementInterface": True}
    assert client("POST", "system/certificates/device-certificates", body).status_code == 201
    context = ssl.create_default_context(cadata=pem(authority.certificate))
    context.check_hostname = False
    with socket.create_connection((client.handle.address, client.handle.port)) as raw, context.wrap_socket(raw) as connection:
        assert connection.getpeercert(binary_form=True) == certificate.public_bytes(serialization.Encoding.DER)
    assert client("GET", f"{DEVICE}/vpn1").json()["external-ports"] == ["external"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"password": "wrong"}, "the password is wrong"),
        ({"cert": "AAAA"}, "cannot be read"),
        ({"cert": "AA AA"}, "white space"),
        ({"managementInterface": "true"}, "true or false is expected"),
        ({"ports": []}, "stand-in: ports"),
    ],
)
def test_refused_pkcs12(client: Client, change: dict[str, Any], text: str) -> None:
    cert, _chain = Authority().pkcs12("vpn1", "secret")
    answer = client("POST", "system/certificates/device-certificates", {"cert": cert, "password": "secret"} | change)
    assert (answer.status_code, text in messages(answer)) == (422, True)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"common-name": ""}, "common-name: a value is required"),
        ({"organization": 'Corp "and" Co'}, "the character '\"' is not allowed"),
        ({"organizational-unit": "a,b"}, "the character ',' is not allowed"),
        ({"country": "Germany"}, "two capital letters"),
        ({"locality": "x" * 65}, "longer than 64"),
        ({"key-length": "2047"}, "'2047' is none of"),
        ({"key-type": "ECC", "curve": "P-192"}, "'P-192' is none of"),
        ({"key-type": "DSA"}, "none of RSA, ECC"),
        ({"san": "vpn"}, "stand-in: san"),
    ],
)
def test_refused_requests(client: Client, change: dict[str, str], text: str) -> None:
    answer = client("POST", REQUESTS, {"common-name": "vpn.corp.example"} | change)
    assert (answer.status_code, text in messages(answer)) == (422, True)


def test_the_management_port_keeps_a_certificate(client: Client) -> None:
    answer = client("PUT", f"{DEVICE}/first", {"management-port": "false"})
    assert (answer.status_code, messages(answer)) == (422, "the management port cannot be left without a device certificate")


def test_pending_requests_are_dropped_with_their_keys(client: Client) -> None:
    client("POST", REQUESTS, {"name": "one", "common-name": "vpn.corp.example", "key-type": "ECC", "curve": "P-384"})
    keys = len(client.handle.state.private["keys"])
    assert client("DELETE", f"{REQUESTS}/one").status_code == 204
    assert len(client.handle.state.private["keys"]) == keys - 1
    assert client("POST", f"{REQUESTS}/one/certificate", {"cert": "x"}).status_code == 404


def test_a_certificate_that_has_expired_is_imported_with_a_warning(client: Client) -> None:
    client("POST", REQUESTS, {"common-name": "vpn", "key-type": "ECC"})
    csr = client("GET", f"{CONFIGURED}/certificate-requests/certificate-request/vpn").json()["csr"]
    answer = client("POST", f"{REQUESTS}/vpn/certificate", {"cert": pem(Authority().sign(csr, days=-1))})
    assert (answer.status_code, messages(answer, "warnings")) == (201, "The certificate 'vpn' has expired")


@pytest.mark.parametrize("form", ["pem", "der", "pkcs7", "pkcs7-pem"])
def test_trusted_client_cas_in_every_format(client: Client, form: str) -> None:
    authority = Authority()
    texts = {
        "pem": pem(authority.certificate),
        "der": base64.b64encode(authority.certificate.public_bytes(serialization.Encoding.DER)).decode(),
        "pkcs7": base64.b64encode(pkcs7.serialize_certificates([authority.certificate], serialization.Encoding.DER)).decode(),
        "pkcs7-pem": pkcs7.serialize_certificates([authority.certificate], serialization.Encoding.PEM).decode(),
    }
    assert client("POST", CLIENT_CAS, {"cert": texts[form]}).status_code == 201
    found = client("GET", f"{TRUSTED}/Test%20CA").json()
    assert (found["certificate"], found["client-certificate-status-checking"]) == (pem(authority.certificate), "None")
    again = client("POST", CLIENT_CAS, {"cert": texts[form]})
    assert (again.status_code, messages(again)) == (422, "trusted client CA 'Test CA' already exists")


def test_two_cas_of_one_name_side_by_side(client: Client) -> None:
    old, new, third = Authority(), Authority(), Authority()
    client("POST", CLIENT_CAS, {"cert": pem(old.certificate)})
    client("POST", CLIENT_CAS, {"cert": pem(new.certificate)})
    client("POST", CLIENT_CAS, {"cert": pem(third.certificate), "name": "Test CA of next year"})
    names = [entry["name"] for entry in client("GET", f"{CONFIGURED}/trusted-client-cas").json()["trusted-client-ca"]]
    assert (names[0], names[1].startswith("Test CA-"), names[2]) == ("Test CA", True, "Test CA of next year")


def test_a_leaf_is_no_trusted_client_ca(client: Client) -> None:
    answer = client("POST", CLIENT_CAS, {"cert": pem(Authority().pkcs12("alice", "x")[1])})
    assert (answer.status_code, messages(answer)) == (422, "The certificate 'alice' is not a CA certificate")


@pytest.mark.parametrize(("frequency", "status"), [("0", 422), ("1", 200), ("9999", 200), ("10000", 422), ("daily", 422)])
def test_download_frequencies(client: Client, frequency: str, status: int) -> None:
    client("POST", CLIENT_CAS, {"cert": pem(Authority().certificate)})
    answer = client("PUT", f"{TRUSTED}/Test%20CA", {"crl-settings": {"crl-download-frequency": frequency}})
    assert answer.status_code == status
    kept = client("GET", f"{TRUSTED}/Test%20CA").json()["crl-settings"]
    assert kept["crl-download-frequency"] == (frequency if status == 200 else "24")


def test_a_ca_not_trusted_for_clients_takes_no_part_in_the_negotiation(client: Client) -> None:
    client("POST", CLIENT_CAS, {"cert": pem(Authority().certificate)})
    answer = client("PUT", f"{TRUSTED}/Test%20CA", {"trusted-for-client-authentication": "false"})
    assert (answer.status_code, messages(answer, "warnings")) == (200, "The configuration has been implicitly changed")
    assert client("GET", f"{TRUSTED}/Test%20CA").json()["participate-in-client-certificate-negotiation"] == "false"


def test_a_certificate_is_imported_not_written(client: Client) -> None:
    client("POST", CLIENT_CAS, {"cert": pem(Authority().certificate)})
    answer = client("PUT", f"{TRUSTED}/Test%20CA", {"certificate": pem(Authority().certificate)})
    assert (answer.status_code, "stand-in:" in messages(answer)) == (422, True)
    assert client("POST", TRUSTED, {"name": "x", "certificate": pem(Authority().certificate)}).status_code == 422


@pytest.mark.parametrize("fault", ["expired", "self-signed"])
def test_other_certificates_on_the_management_port_on_command(client: Client, fault: str) -> None:
    right = served(client.handle)
    client.handle.faults = {"management_certificate": fault}
    shown = served(client.handle)
    expired = shown.not_valid_after_utc < datetime.datetime.now(datetime.timezone.utc)
    assert (expired, shown.issuer == shown.subject) == ((True, False) if fault == "expired" else (False, True))
    client.handle.faults = {}
    assert served(client.handle) == right
