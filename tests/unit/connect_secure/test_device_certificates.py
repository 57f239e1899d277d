# SPDX-License-Identifier: GPL-3.0-or-later
"""Device certificates: requested, renewed, carried by hand, imported, bound, replaced; against the stand-in and a web enrolment."""

from __future__ import annotations

import ipaddress
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.device_certificates import DeviceCertificates
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.tests.unit.certificates import enrollment_server
from ansible_collections.certlogon.core.tests.unit.connect_secure.authorities import Authority, named
from ansible_collections.certlogon.core.tests.unit.connect_secure.boxes import CERTIFICATES, Box, box

RESOURCE = DeviceCertificates()
NAME = "vpn.corp.example"
KIND, PENDING = "device-certificate", "certificate-request"
PORT = "External Port"


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Box]:
    with box(tmp_path) as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("web-enrollment")


class NamingAuthority(enrollment_server.Authority):
    """Puts the names of the request's subject and of this machine into the certificate, as the template of a site would."""

    def sign(self, csr: x509.CertificateSigningRequest, **changes: Any) -> x509.Certificate:
        name = csr.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value
        names = [x509.DNSName(str(name)), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        moment = self.now()
        builder = x509.CertificateBuilder(
            self.certificate.subject,
            csr.subject,
            csr.public_key(),
            x509.random_serial_number(),
            moment + self.start,
            moment + self.lifetime,
        )
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False).add_extension(self.issuer_identifier(self.key), False)
        return builder.sign(self.key, hashes.SHA256())


@pytest.fixture
def web(folder: Path) -> Iterator[enrollment_server.Server]:
    server = enrollment_server.Server(enrollment_server.Authority(), folder)
    yield server
    server.close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the default of `folder` is."""
    monkeypatch.setenv("HOME", str(tmp_path))


def wanted(**options: Any) -> dict[str, Any]:
    return {
        "common_name": NAME,
        "organization": "Corp Example",
        "external_ports": [PORT],
        "answers_at": [],
        "crl_check": "ignore",
        **options,
    }


def by_web(web: enrollment_server.Server, appliance: Box) -> dict[str, Any]:
    return {
        "url": web.url,
        "enrollment_username": enrollment_server.USER,
        "enrollment_password": enrollment_server.PASSWORD,
        "enrollment_auth": "basic",
        "enrollment_ca_path": str(web.tls_certificate),
        "template": "WebServer",
        "folder": str(appliance.folder / "kept"),
        "answer_timeout": 3,
    }


def by_hand(appliance: Box) -> dict[str, Any]:
    return {"method": "file", "folder": str(appliance.folder / "kept"), "answer_timeout": 3}


def device(appliance: Box, name: str = NAME) -> dict[str, Any]:
    (found,) = [one for one in appliance.elements(KIND) if common_name(one) == name]
    return found


def common_name(one: dict[str, Any]) -> str:
    subject = x509.load_pem_x509_certificate(one["certificate"].encode()).subject
    return str(subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)


def make_pkcs12(path: Path, authority: Authority, *names: str, key: Any = None, days: tuple[float, float] = (-1, 90)) -> x509.Certificate:
    key = key or ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder(named(names[0])).sign(key, hashes.SHA256())
    certificate = authority.sign(request, *names, days=days)
    path.write_bytes(
        pkcs12.serialize_key_and_certificates(b"x", key, certificate, None, serialization.BestAvailableEncryption(b"P12-pass"))
    )
    return certificate


# ---- by web enrolment


def test_full_rhythm(appliance: Box, web: enrollment_server.Server) -> None:
    task = {"config": [wanted(server_names=[NAME])], **by_web(web, appliance)}
    done = appliance.rhythm(RESOURCE, **task)
    assert [one["action"] for one in done["changes"]] == ["create"]
    (result,) = done["certificates"]
    assert (result["status"], result["external_ports"], result["name"]) == ("valid", [PORT], NAME)
    made = device(appliance)
    assert (made["external-ports"], made["management-port"]) == ([PORT], "false")
    assert appliance.elements(PENDING) == []
    signed = x509.load_pem_x509_certificate(made["certificate"].encode())
    assert signed.issuer == web.authority.certificate.subject
    assert result["sha256"] == signed.fingerprint(hashes.SHA256()).hex()
    assert "CertificateTemplate:WebServer" in web.authority.requests[0][1]
    # openssl reads the request that the appliance made and we sent
    csr = appliance.folder / "sent.csr"
    csr.write_bytes(web.authority.requests[0][0])
    text = subprocess.run(["openssl", "req", "-in", str(csr), "-noout", "-subject", "-verify"], capture_output=True, text=True, check=True)
    assert "Corp Example" in text.stdout and NAME in text.stdout
    gathered = appliance.run(RESOURCE, state="gathered")["gathered"]
    assert appliance.run(RESOURCE, config=gathered)["changed"] is False


def test_renewed_in_time_and_the_old_one_removed_once_the_new_one_answers(appliance: Box, web: enrollment_server.Server) -> None:
    host = appliance.connection()
    places = [f"{host['host']}:{host['port']}"]
    web.authority = NamingAuthority()
    entry = wanted(common_name="vpn1.corp.example", external_ports=[], management_port=True, answers_at=places)
    task = {"config": [entry], **by_web(web, appliance)}
    web.authority.start, web.authority.lifetime = timedelta(days=-300), timedelta(days=20)
    done = appliance.run(RESOURCE, **task)
    assert done["failed"]
    assert "leads to none of the trusted roots" in done["msg"]
    assert "so that the next connection would fail. Add its CA there" in done["msg"]
    assert [common_name(one) for one in appliance.elements(KIND) if one["management-port"] == "true"] == ["vpn1.corp.example"]
    bundle = appliance.folder / "bundle.pem"
    bundle.write_bytes(Path(appliance.ca_file).read_bytes() + web.authority.root.public_bytes(serialization.Encoding.PEM))
    appliance.ca_file = str(bundle)
    done = appliance.run(RESOURCE, **{**task, "config": [{**entry, "renew_before": 10}]})
    first = done["certificates"][0]["sha256"]
    assert done["changes"][0]["action"] == "update"  # the appliance begins with a certificate of this name, but of another kind of key
    assert [one["management-port"] for one in appliance.elements(KIND)] == ["true"]
    assert appliance.run(RESOURCE, config=[{**entry, "renew_before": 10}], **by_web(web, appliance))["changed"] is False
    web.authority.start, web.authority.lifetime = timedelta(hours=-1), timedelta(days=90)
    renewed = appliance.rhythm(RESOURCE, **task)
    second = renewed["certificates"][0]["sha256"]
    assert second != first
    # half of its lifetime counts, or else it would be renewed on every run
    assert appliance.run(RESOURCE, config=[{**entry, "renew_before": 400}], **by_web(web, appliance))["changed"] is False
    shown = subprocess.run(
        ["openssl", "s_client", "-connect", places[0], "-servername", "vpn1.corp.example"],
        input="",
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    pem = shown[shown.index("-----BEGIN") : shown.index("-----END CERTIFICATE-----") + 26]
    assert x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256()).hex() == second
    assert len(appliance.elements(KIND)) == 1


def test_a_run_that_verifies_nothing_is_told_what_the_next_would_say(appliance: Box, web: enrollment_server.Server) -> None:
    """So an expired certificate on the management port is replaced."""
    web.authority = NamingAuthority()
    entry = wanted(common_name="vpn1.corp.example", external_ports=[], management_port=True)
    done = appliance.run(RESOURCE, config=[entry], **by_web(web, appliance), validate_certs=False)
    assert not done.get("failed") and done["certificates"][0]["management_port"] is True
    (warned,) = [text for text in appliance.warnings if "the next run would not get in" in text]
    assert warned.startswith("vpn1.corp.example: management_port: with validate_certs true") and "Add its CA there" in warned


def test_an_answer_that_shows_another_certificate_puts_the_old_one_back(appliance: Box, web: enrollment_server.Server) -> None:
    """The users' port of a control plane alone is nobody's; here the management port stands for one that does not follow."""
    host = appliance.connection()
    task = by_web(web, appliance)
    appliance.run(RESOURCE, config=[wanted()], **task)
    first = device(appliance)
    web.authority.lifetime = timedelta(days=200)
    changed = wanted(organization="Corp", answers_at=[f"{host['host']}:{host['port']}"])
    done = appliance.run(RESOURCE, config=[changed], **{**task, "answer_timeout": 0})
    assert done["failed"]
    assert "shows another certificate" in done["msg"]
    assert "was bound again, nothing was removed" in done["msg"]
    bound = [one["certificate"] for one in appliance.elements(KIND) if one["external-ports"]]
    assert bound == [first["certificate"]]


def test_pending_is_a_result_and_is_taken_up(appliance: Box, web: enrollment_server.Server) -> None:
    task = {"config": [wanted()], **by_web(web, appliance)}
    web.authority.disposition = "pending"
    done = appliance.run(RESOURCE, **task)
    assert (done.get("failed", False), done["changed"], done["certificates"][0]["status"]) == (False, True, "pending")
    (waiting,) = appliance.elements(PENDING)
    again = appliance.run(RESOURCE, **task)
    assert (again["changed"], again["certificates"][0]["status"]) == (False, "pending")
    assert "waits at" in appliance.warnings[0]
    assert appliance.elements(PENDING) == [waiting]
    web.authority.issue(1)
    assert appliance.run(RESOURCE, check=True, **task)["changed"] is True
    done = appliance.run(RESOURCE, **task)
    assert (done["changed"], done["certificates"][0]["status"]) == (True, "valid")
    assert len(web.authority.requests) == 1
    assert appliance.run(RESOURCE, **task)["changed"] is False


def test_a_pending_request_of_the_same_subject_and_key_is_reused(appliance: Box, web: enrollment_server.Server) -> None:
    body = {"common-name": NAME, "organization": "Corp Example", "key-type": "RSA", "key-length": "2048"}
    assert appliance.ask("POST", "system/certificates/certificate-requests", {**body, "name": "by hand"}).ok
    assert appliance.ask("POST", "system/certificates/certificate-requests", {**body, "organization": "Else"}).ok
    before = {one["name"]: one["csr"] for one in appliance.elements(PENDING)}
    appliance.run(RESOURCE, config=[wanted()], **by_web(web, appliance))
    assert [one["name"] for one in appliance.elements(PENDING)] == [NAME]  # the other one is nobody's to delete
    sent = x509.load_pem_x509_csr(web.authority.requests[0][0])
    assert sent == x509.load_pem_x509_csr(before["by hand"].encode())


def test_denied_is_not_asked_again(appliance: Box, web: enrollment_server.Server) -> None:
    task = {"config": [wanted()], **by_web(web, appliance)}
    web.authority.disposition = "denied"
    done = appliance.run(RESOURCE, **task)
    assert done["failed"]
    assert "denied" in done["msg"]
    again = appliance.run(RESOURCE, **task)
    assert again["failed"]
    assert len(web.authority.requests) == 1


def test_a_run_that_died_with_the_signed_certificate_in_hand(
    appliance: Box, web: enrollment_server.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import device_certificates

    task = {"config": [wanted()], **by_web(web, appliance)}

    def died(*_arguments: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(device_certificates._Enrolling, "_take", died)
        with pytest.raises(KeyboardInterrupt):
            appliance.run(RESOURCE, **task)
    assert len(appliance.elements(PENDING)) == 1
    done = appliance.run(RESOURCE, **task)
    assert (done["changed"], len(web.authority.requests), appliance.elements(PENDING)) == (True, 1, [])
    with monkeypatch.context() as patched:
        patched.setattr(device_certificates, "_bind", died)
        with pytest.raises(KeyboardInterrupt):
            appliance.run(RESOURCE, config=[wanted(organization="Corp")], **by_web(web, appliance))
    appliance.rhythm(RESOURCE, config=[wanted(organization="Corp")], **by_web(web, appliance))
    assert len(web.authority.requests) == 2


def test_a_certificate_for_other_names_is_not_imported(appliance: Box, web: enrollment_server.Server) -> None:
    task = {"config": [wanted(server_names=[NAME, "vpn2.corp.example"])], **by_web(web, appliance)}
    done = appliance.run(RESOURCE, **task)
    assert done["failed"]
    assert "is not for vpn2.corp.example, but for" in done["msg"]
    assert f"request names {NAME} only: give vpn2.corp.example a certificate and a port of its own" in done["msg"]
    assert "request_attributes" in done["msg"]
    assert "allow_mismatch=true" in done["msg"]
    assert len(appliance.elements(KIND)) == 1
    task["config"][0]["allow_mismatch"] = True
    assert appliance.run(RESOURCE, **task)["certificates"][0]["status"] == "valid"


# ---- carried by hand


def test_carried_by_hand(appliance: Box) -> None:
    authority = Authority("Partner CA")
    task = {"config": [wanted(key_type="ec", curve="P-384")], **by_hand(appliance)}
    done = appliance.run(RESOURCE, **task)
    (result,) = done["certificates"]
    assert (done["changed"], result["status"]) == (True, "pending")
    again = appliance.run(RESOURCE, **task)
    assert (again["changed"], again["certificates"][0]["request_path"]) == (False, result["request_path"])
    request = x509.load_pem_x509_csr(Path(result["request_path"]).read_bytes())
    answer = Path(result["answer_path"])
    # the answer to another request
    other = x509.CertificateSigningRequestBuilder(request.subject).sign(ec.generate_private_key(ec.SECP384R1()), hashes.SHA256())
    answer.write_bytes(authority.sign(other, NAME).public_bytes(serialization.Encoding.PEM))
    wrong = appliance.run(RESOURCE, **task)
    assert wrong["changed"] is False
    assert "holds no certificate of the requested key" in wrong["certificates"][0]["reason"]
    answer.write_bytes(authority.sign(request, NAME).public_bytes(serialization.Encoding.PEM) + authority.pem.encode())
    done = appliance.rhythm(RESOURCE, **task)
    assert device(appliance)["external-ports"] == [PORT]
    assert done["certificates"][0]["status"] == "valid"


# ---- PKCS#12


def test_pkcs12(appliance: Box, tmp_path: Path) -> None:
    file = tmp_path / "vpn.p12"
    authority = Authority()
    first = make_pkcs12(file, authority, NAME)
    entry = {"name": "users", "pkcs12_path": str(file), "pkcs12_passphrase": "P12-pass", "external_ports": [PORT], "answers_at": []}
    done = appliance.rhythm(RESOURCE, config=[entry])
    assert device(appliance)["certificate"] == first.public_bytes(serialization.Encoding.PEM).decode()
    assert "P12-pass" not in str(done)
    second = make_pkcs12(file, authority, NAME)
    appliance.rhythm(RESOURCE, config=[entry])
    assert [one["certificate"] for one in appliance.elements(KIND) if one["external-ports"]] == [
        second.public_bytes(serialization.Encoding.PEM).decode()
    ]
    # no address was given at which to see the new one, so the old one is kept, and named
    assert len(appliance.elements(KIND)) == 3
    removed = {"sha256": first.fingerprint(hashes.SHA256()).hex()}
    appliance.rhythm(RESOURCE, config=[removed], state="deleted")
    assert len(appliance.elements(KIND)) == 2


@pytest.mark.parametrize(
    ("made", "options", "message"),
    [
        ({}, {"pkcs12_passphrase": "other"}, "pkcs12_path .*: cannot be opened: the password is wrong"),
        ({"days": (-9, -1)}, {}, "expired on .*set allow_expired=true"),
        ({"key": rsa.generate_private_key(65537, 1024)}, {}, "RSA key of 1024 bits.*allow_weak=true"),
        ({}, {"server_names": ["other.corp.example"]}, "is not for other.corp.example, but for vpn.corp.example.*allow_mismatch=true"),
    ],
)
def test_bad_pkcs12(appliance: Box, tmp_path: Path, made: dict[str, Any], options: dict[str, Any], message: str) -> None:
    file = tmp_path / "vpn.p12"
    make_pkcs12(file, Authority(), NAME, **made)
    entry = {"pkcs12_path": str(file), "pkcs12_passphrase": "P12-pass", "answers_at": [], **options}
    with pytest.raises(UserError, match=message):
        appliance.run(RESOURCE, config=[entry])
    assert len(appliance.elements(KIND)) == 1
    switch = next((name for name in ("allow_expired", "allow_weak", "allow_mismatch") if name in message), None)
    if switch:
        assert appliance.run(RESOURCE, config=[{**entry, switch: True}])["changed"] is True


# ---- bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"country": "Sweden"}, r"config \(vpn.corp.example\): country: 'Sweden' .*two capital letters"),
        ({"organization": "x" * 65}, "organization: .* has 65 characters, but 64 are the most"),
        ({"locality": "a\nb"}, r"locality: 'a\\nb' has the character '\\n'"),
        ({"key_length": 1024}, "key_length: 1024 bits are less than 2048"),
        ({"server_names": ["not a name"]}, "server_names: 'not a name' is no DNS name"),
        ({"answers_at": ["vpn:0"]}, "answers_at: 'vpn:0' is no host:port"),
        ({"renew_before": -1}, "renew_before: -1 is no number of days"),
        ({"pkcs12_passphrase": "x"}, "pkcs12_passphrase: is given without pkcs12_path"),
    ],
)
def test_refused_before_anything_is_asked(appliance: Box, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        appliance.run(RESOURCE, host="192.0.2.1", config=[wanted(**options)])


def test_the_appliance_refuses_a_character(appliance: Box, web: enrollment_server.Server) -> None:
    done = appliance.run(RESOURCE, config=[wanted(organization="Corp, Ltd.")], **by_web(web, appliance))
    assert done["failed"]
    assert "vpn.corp.example: organization: the appliance does not take 'Corp, Ltd.'" in done["msg"]
    assert "letters, digits, spaces, points and hyphens are safe" in done["msg"]
    assert appliance.elements(PENDING) == []


def test_what_serves_a_port_is_not_deleted(appliance: Box) -> None:
    before = appliance.elements(KIND)
    for check in (True, False):
        with pytest.raises(UserError, match=r"config \(vpn1.corp.example\): .* serves the management port; bind another certificate there"):
            appliance.run(RESOURCE, check=check, config=[{"common_name": "vpn1.corp.example"}], state="deleted")
    assert appliance.elements(KIND) == before


def test_deleted_twice_and_what_somebody_bound_meanwhile(appliance: Box, tmp_path: Path) -> None:
    made = make_pkcs12(tmp_path / "vpn.p12", Authority(), NAME)
    appliance.run(RESOURCE, config=[{"pkcs12_path": str(tmp_path / "vpn.p12"), "pkcs12_passphrase": "P12-pass"}])
    (name,) = [one["name"] for one in appliance.elements(KIND) if common_name(one) == NAME]
    config = [{"common_name": NAME}, {"sha256": made.fingerprint(hashes.SHA256()).hex()}]
    change = {"path": f"{CERTIFICATES}/{KIND}s/{KIND}/{name}", "body": {"external-ports": [PORT]}}
    # the first read is for the plan
    appliance.handle.faults = {"console": {"method": "GET", "path": f"{KIND}s", "after": 2, "change": [change]}}
    refused = appliance.run(RESOURCE, config=config, state="deleted")
    appliance.handle.faults = {}
    assert f"changed meanwhile by somebody else: {name} " in refused["msg"] and f"serves external port {PORT}" in refused["msg"]
    assert appliance.ask("PUT", change["path"], {"name": name, "external-ports": []}).ok
    done = appliance.rhythm(RESOURCE, config=config, state="deleted")
    assert [one["action"] for one in done["changes"]] == ["delete"]


def test_appliances_at_one_address_keep_their_own_files(appliance: Box, tmp_path: Path) -> None:
    with box(tmp_path / "other") as other:
        assert other.handle.address == appliance.handle.address
        task = {"config": [wanted()], **by_hand(appliance)}
        first, second = appliance.run(RESOURCE, **task), other.run(RESOURCE, **task)
        assert first["certificates"][0]["request_path"] != second["certificates"][0]["request_path"]
        assert [one.run(RESOURCE, **task)["changed"] for one in (appliance, other)] == [False, False]
        node = other.run(RESOURCE, **task, node="node/2")["certificates"][0]["request_path"]
        assert "/127.0.0.1_node_2_" in node


def test_an_authority_that_does_not_answer_leaves_a_request_and_says_so(appliance: Box, web: enrollment_server.Server) -> None:
    task = {"config": [wanted()], **by_web(web, appliance)}
    failed = appliance.run(RESOURCE, **{**task, "url": "https://127.0.0.1:9/certsrv"})
    assert f"The request {NAME!r} stays on the appliance, with its key; the next run goes on with it" in failed["msg"]
    (waiting,) = appliance.elements(PENDING)
    assert appliance.run(RESOURCE, **task)["changed"] is True
    made = x509.load_pem_x509_certificate(device(appliance)["certificate"].encode())
    assert made.public_key() == x509.load_pem_x509_csr(waiting["csr"].encode()).public_key()


def test_an_appliance_that_calls_things_otherwise(tmp_path: Path) -> None:
    """Every name that is sent for a request and its certificate can be corrected from the inventory."""
    names = {"common-name": "cn", "key-type": "algorithm", "cert": "pem", "certificate-request": "pending", "csr": "pkcs10"}
    places = {"path": f"{CERTIFICATES}/certificate-requests/pending"}
    table = {
        "resources": {"certificate_request": {**places, "fields": {"csr": {"at": "pkcs10"}, "key_type": {"at": "algorithm"}}}},
        "operations": {
            "create_certificate_request": {"body": {"common_name": "cn", "key_type": "algorithm", "random_data": ""}},
            "import_signed_certificate": {"body": {"certificate": "pem"}},
            "import_device_certificate": {"body": {"certificate": "pem"}},
        },
    }
    make_pkcs12(tmp_path / "x.p12", Authority(), "x.corp.example")
    given = {"pkcs12_path": str(tmp_path / "x.p12"), "pkcs12_passphrase": "P12-pass"}
    with box(tmp_path, names=names) as otherwise:
        task = {"config": [wanted(key_type="ec"), given], **by_hand(otherwise), "table": table}
        (waiting, _imported) = otherwise.run(RESOURCE, **task)["certificates"]
        request = x509.load_pem_x509_csr(Path(waiting["request_path"]).read_bytes())
        authority = Authority()
        answer = authority.sign(request, NAME).public_bytes(serialization.Encoding.PEM).decode() + authority.pem
        Path(waiting["answer_path"]).write_text(answer)
        done = otherwise.rhythm(RESOURCE, **task)
        assert [one["status"] for one in done["certificates"]] == ["valid", "valid"]
        with pytest.raises(UserError, match=r"the answer has pending, not certificate-request; .*connect_secure_table"):
            otherwise.run(RESOURCE, config=[wanted(common_name="y")], **by_hand(otherwise))


def test_nobody_to_ask_and_one_port_for_two(appliance: Box) -> None:
    with pytest.raises(UserError, match=r"url: vpn.corp.example has to be requested, but there is no authority"):
        appliance.run(RESOURCE, config=[wanted()])
    with pytest.raises(UserError, match=r"external port External Port is also that of vpn.corp.example"):
        appliance.run(RESOURCE, config=[wanted(), wanted(common_name="other.corp.example")], **by_hand(appliance))
    with pytest.raises(UserError, match=r"the appliance has no such device certificate, but first: CN=vpn1.corp.example"):
        appliance.run(RESOURCE, config=[{"sha256": "00" * 32}])
    assert appliance.ask("GET", CERTIFICATES).ok
