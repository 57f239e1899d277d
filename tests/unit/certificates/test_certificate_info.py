# SPDX-License-Identifier: GPL-3.0-or-later
"""certificate_info: files of every kind by the folder, PFX, TLS servers, StartTLS, chains and CRLs."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, NoEncryption, pkcs7, pkcs12

from ansible_collections.certlogon.core.plugins.module_utils.certificates import (
    certificate_info,
    endpoints,
    keys,
    revocation,
    signing_request,
)
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate_info import CertificateInfo, name_matches
from ansible_collections.certlogon.core.plugins.module_utils.certificates.revocation import CrlSource
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import run

pytest.importorskip("hypothesis", reason="property tests need hypothesis")

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certlogon.core.tests.unit.certificates.enrollment_server import DER, PEM, Authority, Server
from ansible_collections.certlogon.core.tests.unit.fuzzing import mutated

KEY = keys.generate(keys.KeyKind("ec", curve="secp256r1"))

authority_with_crl = Authority(crl_url="http://x/y.crl")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def leaf(authority: Authority) -> x509.Certificate:
    return certificate(authority, sid="S-1-5-21-1-2-3-1104", template="User")


def certificate(authority: Authority, common_name: str = "alice", days: int = 300, **options: Any) -> x509.Certificate:
    names, purposes = ["DNS:web1.corp.example", "UPN:alice@corp.example"], ["1.3.6.1.4.1.311.20.2.2", "1.3.6.1.5.2.3.5"]
    content = signing_request.build(KEY, subject_text=f"CN={common_name}", names=names, purposes=purposes, **options)
    now = datetime.now(timezone.utc)
    return authority.sign(x509.load_der_x509_csr(content), start=now - timedelta(days=100), end=now + timedelta(days=days))


_WITH_CRL = certificate(authority_with_crl)
_PFX = pkcs12.serialize_key_and_certificates(b"x", KEY, _WITH_CRL, None, NoEncryption())


def info(**options: Any) -> dict[str, Any]:
    resource = CertificateInfo()
    checked = ArgumentSpecValidator(resource.argument_spec(), **resource.rules()).validate(options)
    assert not checked.error_messages, checked.error_messages
    return run(resource, checked.validated_parameters, check_mode=False, warn=pytest.fail)


def test_everything_a_certificate_says(authority: Authority, leaf: x509.Certificate, tmp_path: Path):
    (tmp_path / "a.pem").write_bytes(leaf.public_bytes(PEM))
    (found,) = info(paths=[str(tmp_path / "a.pem")])["certificates"]
    assert found["subject"] == "CN=alice" and found["issuer"] == "CN=Test CA" and int(found["serial_number"], 16) == leaf.serial_number
    assert found["subject_alt_names"] == ["DNS:web1.corp.example", "UPN:alice@corp.example"] and found["sid"] == "S-1-5-21-1-2-3-1104"
    assert found["extended_key_usage"] == ["smartcardLogon", "kdc"] and found["template"] == {"name": "User"}
    assert found["key"] == {"type": "ec", "curve": "secp256r1"} and found["days_left"] == 299 and not found["due"] and not found["is_ca"]
    assert found["chain"]["trusted"] is None and "revocation" not in found


@pytest.mark.parametrize("form", ["pem", "der", "p7-der", "p7-pem"])
def test_files_and_their_chain(authority: Authority, leaf: x509.Certificate, tmp_path: Path, form: str):
    every = [leaf, authority.certificate, authority.root]
    content = {
        "pem": b"".join(one.public_bytes(PEM) for one in every),
        "der": leaf.public_bytes(DER),
        "p7-der": pkcs7.serialize_certificates(every, DER),
        "p7-pem": pkcs7.serialize_certificates(every, PEM),
    }[form]
    (tmp_path / "file.cer").write_bytes(content)
    (tmp_path / "root.pem").write_bytes(authority.root.public_bytes(PEM))
    found = info(paths=[str(tmp_path / "file.cer")], anchor_path=str(tmp_path / "root.pem"))["certificates"]
    mine = next(one for one in found if one["subject"] == "CN=alice")
    assert len(found) == (1 if form == "der" else 3) and mine["chain"]["trusted"] == (form != "der")
    if form == "der":
        assert "leads to none of the trusted roots (CN=Test Root)" in mine["chain"]["problems"][0]
    else:
        assert mine["chain"]["above"] == ["CN=Test CA", "CN=Test Root"]


def test_folders_patterns_and_what_cannot_be_read(authority: Authority, leaf: x509.Certificate, tmp_path: Path):
    for name in ("a.pem", "b.crt", "c.txt", "deep/d.pem"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(leaf.public_bytes(PEM))
    (tmp_path / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    found = info(paths=[str(tmp_path)], fail_on_error=False)
    assert [Path(one["source"]).name for one in found["certificates"]] == ["a.pem", "b.crt"]
    assert [Path(one["source"]).name for one in found["errors"]] == ["broken.pem"] and found["summary"]["errors"] == 1
    deep = info(paths=[f"{tmp_path}/**/*.pem", str(tmp_path / "missing.pem")], fail_on_error=False)
    assert [Path(one["source"]).name for one in deep["certificates"]] == ["a.pem", "d.pem"] and len(deep["errors"]) == 2
    failed = info(paths=[str(tmp_path / "missing.pem")])
    assert failed["failed"] and "cannot be read: No such file" in failed["msg"]


@pytest.mark.parametrize(
    ("start", "end", "told"),
    [(-100, 300, False), (-100, 20, True), (-100, -1, True), (1, 300, True), (-1, 8, False), (-9, 8, True)],
)
def test_due(authority: Authority, tmp_path: Path, start: int, end: int, told: bool):
    now = datetime.now(timezone.utc)
    request = x509.load_der_x509_csr(signing_request.build(KEY, subject_text="CN=x"))
    one = authority.sign(request, start=now + timedelta(days=start), end=now + timedelta(days=end))
    (tmp_path / "x.pem").write_bytes(one.public_bytes(PEM))
    (tmp_path / "x.der").write_bytes(one.public_bytes(DER))
    found = info(paths=[str(tmp_path)], details="due")
    assert found["summary"]["certificates"] == 2 and len(found["certificates"]) == (2 if told else 0)
    assert found["summary"]["expired"] == (2 if end < 0 else 0)
    full = info(paths=[str(tmp_path)])
    assert [one["due"] or one["not_yet_valid"] for one in full["certificates"]] == [told, told]


def test_bundles_are_read_whole_when_looking_for_what_is_due(authority: Authority, leaf: x509.Certificate, tmp_path: Path):
    old = certificate(authority, "old", days=5)
    (tmp_path / "bundle.pem").write_bytes(leaf.public_bytes(PEM) + old.public_bytes(PEM))
    (tmp_path / "text.pem").write_bytes(b"subject=CN = x\n" + old.public_bytes(PEM))
    found = info(paths=[str(tmp_path)], details="due")
    assert [one["subject"] for one in found["certificates"]] == ["CN=old", "CN=old"] and found["summary"]["certificates"] == 3


def test_pfx(authority: Authority, leaf: x509.Certificate, tmp_path: Path):
    content = pkcs12.serialize_key_and_certificates(b"x", KEY, leaf, [authority.certificate], BestAvailableEncryption(b"Right-1"))
    (tmp_path / "a.pfx").write_bytes(content)
    found = info(pfx=[{"path": str(tmp_path / "a.pfx"), "passphrase": "Right-1"}])["certificates"]
    assert [one["subject"] for one in found] == ["CN=alice", "CN=Test CA"] and found[0]["has_private_key"]
    for passphrase, message in (("Wrong-1", "its passphrase is wrong"), (None, "it needs its passphrase")):
        failed = info(pfx=[{"path": str(tmp_path / "a.pfx"), "passphrase": passphrase}])
        assert failed["failed"] and message in failed["msg"] and "Wrong-1" not in failed["msg"]


def test_contents(leaf: x509.Certificate):
    found = info(contents=[leaf.public_bytes(PEM).decode(), "junk!"], fail_on_error=False)
    assert found["certificates"][0]["source"] == "contents[0]" and found["errors"][0]["source"] == "contents[1]"


# ---- TLS


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(Authority(), tmp_path)
    yield made
    made.close()


def test_tls_servers(server: Server):
    port = int(server.url.split(":")[2].split("/")[0])
    hosts = [{"host": "localhost", "port": port}, {"host": "127.0.0.1", "port": port, "server_name": "other.example"}]
    first, second = info(endpoints=hosts, anchor_path=str(server.tls_certificate))["certificates"]
    assert first["name_matches"] and not second["name_matches"] and first["tls_version"].startswith("TLSv1.")
    assert first["chain"]["trusted"] and first["sha256"] == second["sha256"]


def test_servers_that_are_none(server: Server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = free.getsockname()[1]
    plain = int(server.plain_url.rsplit(":", 1)[1])
    found = info(endpoints=[{"host": "127.0.0.1", "port": closed}, {"host": "127.0.0.1", "port": plain}], fail_on_error=False, timeout=3)
    assert "no connection: Connection refused" in found["errors"][0]["msg"] and "no TLS" in found["errors"][1]["msg"]


def ldap_server(answer: bytes, context: ssl.SSLContext | None) -> int:
    """Answers the first message with these bytes, then speaks TLS."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _peer = listening.accept()
        with connection, listening:
            assert endpoints.START_TLS.encode() in connection.recv(4096)
            connection.sendall(answer)
            if context:
                with context.wrap_socket(connection, server_side=True) as secured:
                    secured.recv(1)

    threading.Thread(target=serve, daemon=True).start()
    return int(listening.getsockname()[1])


GRANTED, REFUSED = bytes.fromhex("300c02010178070a010004000400"), bytes.fromhex("300c02010178070a013404000400")


def test_starttls_of_ldap(server: Server):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.tls_certificate, server.tls_certificate.with_name("tls.key"))
    port = ldap_server(GRANTED, context)
    (found,) = info(endpoints=[{"host": "localhost", "port": port, "starttls": "ldap"}])["certificates"]
    assert found["subject"] == "CN=localhost"


@pytest.mark.parametrize(
    ("answer", "message"),
    [(REFUSED, "refuses StartTLS (result 52)"), (b"HTTP/1.1 400\r\n\r\n", "LDAP"), (b"", "LDAP"), (b"0\x02\x01\x00", "LDAP")],
)
def test_starttls_refused(answer: bytes, message: str):
    with pytest.raises(UserError) as caught:
        endpoints.show("127.0.0.1", ldap_server(answer, None), start_tls=True, server_name=None, timeout=3)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("names", "host", "matches"),
    [
        (["DNS:web1.corp.example"], "WEB1.corp.example", True),
        (["DNS:*.corp.example"], "web1.corp.example", True),
        (["DNS:*.corp.example"], "a.web1.corp.example", False),
        (["DNS:*.corp.example"], "corp.example", False),
        (["IP:10.0.0.1"], "10.0.0.1", True),
        (["UPN:web1.corp.example", "email:a@web1"], "web1.corp.example", False),
        ([], "web1", False),
    ],
)
def test_names(names: list[str], host: str, matches: bool):
    assert name_matches(names, host) == matches


# ---- CRLs


def test_crl_is_fetched_once(server: Server, tmp_path: Path):
    authority = server.authority
    authority.crl_url = f"{server.plain_url}/Test.crl"
    good, bad = certificate(authority, "good"), certificate(authority, "bad")
    server.files["/Test.crl"] = authority.crl(bad.serial_number, reason=x509.ReasonFlags.key_compromise)
    text = b"".join(one.public_bytes(PEM) for one in (good, bad, authority.certificate)).decode()
    first, second, third = info(contents=[text], crl_check=True)["certificates"]
    assert first["revocation"]["status"] == "good" and second["revocation"]["status"] == "revoked"
    assert "(keyCompromise)" in second["revocation"]["reason"] and third["revocation"]["status"] == "not_checked"
    assert len([one for one in server.log if one[1] == "/Test.crl"]) == 1


_CRL = Authority().crl(5, reason=x509.ReasonFlags.key_compromise)


@given(mutated(st.sampled_from([_CRL, b"", b"<html>"])))
def test_any_bytes_are_a_crl_or_a_problem(data: bytes):
    source = CrlSource(1)
    source._found["http://x/y.crl"] = data
    found = revocation.check(_WITH_CRL, None, source, datetime.now(timezone.utc))
    assert found.status in ("good", "revoked", "on_hold") or found.problems


_ANY_CERTIFICATE = [one.public_bytes(form) for one in (_WITH_CRL, authority_with_crl.root) for form in (PEM, DER)]


@given(mutated(st.sampled_from(_ANY_CERTIFICATE)), st.booleans())
def test_any_bytes_are_certificates_or_an_error(tmp_path_factory: pytest.TempPathFactory, data: bytes, due: bool):
    path = tmp_path_factory.getbasetemp() / "any.pem"
    path.write_bytes(data)
    found = info(paths=[str(path)], details="due" if due else "full", fail_on_error=False)
    assert found["summary"]["certificates"] or found["errors"]


@given(mutated(st.sampled_from([_PFX])))
def test_any_bytes_are_a_pfx_or_an_error(tmp_path_factory: pytest.TempPathFactory, data: bytes):
    path = tmp_path_factory.getbasetemp() / "any.pfx"
    path.write_bytes(data)
    found = info(pfx=[{"path": str(path), "passphrase": "x"}], fail_on_error=False)
    assert found["certificates"] or found["errors"]


def test_nothing_is_asked_for():
    resource = CertificateInfo()
    assert ArgumentSpecValidator(resource.argument_spec(), **resource.rules()).validate({}).error_messages


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file(leaf: x509.Certificate, tmp_path: Path):
    (tmp_path / "a.pem").write_bytes(leaf.public_bytes(PEM))
    (tmp_path / "a.pem").chmod(0)
    assert "may the account of this run read it" in info(paths=[str(tmp_path / "a.pem")])["msg"]


def test_files_of_a_folder_are_in_order(tmp_path: Path):
    for name in ("b.pem", "a.CRT", "c.key"):
        (tmp_path / name).touch()
    assert list(certificate_info.files([str(tmp_path)])) == [str(tmp_path / "a.CRT"), str(tmp_path / "b.pem")]
