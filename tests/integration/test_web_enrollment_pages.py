# SPDX-License-Identifier: GPL-3.0-or-later
"""/certsrv on ca1, by clients that are not ours: the package certsrv, curl, openssl. The authority asks the lab's real directory."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import certsrv
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs7
from requests_ntlm import HttpNtlmAuth

from ansible_collections.certlogon.core.tests.integration.web_enrollment_lab import CA, ready, reset, saved, web_task

HOST = "ca1.corp.example"
needs_kerberos = pytest.mark.skipif(
    shutil.which("kinit") is None
    or "SPNEGO" not in subprocess.run(["curl", "--version"], capture_output=True, text=True, check=False).stdout,
    reason="needs kinit, and a curl that speaks SPNEGO",
)


@pytest.fixture(scope="module")
def web(ca_lab: Any) -> Iterator[Any]:
    reset(ca_lab)
    yield ca_lab
    reset(ca_lab)


@pytest.fixture
def configured(web: Any, on_ca1: Callable[..., Any]) -> Callable[..., None]:
    """`configured(**options)`: the web enrollment as its defaults have it, with these changes. The first to ask makes it all."""
    if not saved(web)["iis"]:
        ready(web, on_ca1)

    def call(**options: Any) -> None:
        on_ca1([web_task("replaced", **options)])

    return call


@pytest.fixture
def trust(configured: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The CA's certificate as a client would fetch it: over HTTP."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    der = tmp_path / "ca.crt"
    curl("--fail", "-o", str(der), f"http://{HOST}/CertEnroll/{HOST}_{CA.replace(' ', '%20')}.crt")
    pem = tmp_path / "ca.pem"
    subprocess.run(["openssl", "x509", "-inform", "DER", "-in", str(der), "-out", str(pem)], check=True, timeout=20)
    return pem


def curl(*options: str, environment: dict[str, str] | None = None) -> str:
    command = ["curl", "--silent", "--show-error", "--max-time", "30", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **(environment or {})})
    assert done.returncode == 0, (done.returncode, done.stderr, done.stdout)
    return done.stdout


def request(folder: Path, subject: str = "/CN=somebody") -> str:
    """A PKCS#10 request by openssl."""
    key, file = folder / "request.key", folder / "request.pem"
    command = ["openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(file), "-subj", subject]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return file.read_text()


def client(web: Any, trust: Path, account: str = "alice.andersson", method: str = "ntlm") -> certsrv.Certsrv:
    who = web.account(account)
    return certsrv.Certsrv(HOST, who["netbios"], who["password"], auth_method=method, cafile=str(trust))


def test_binding(configured: Callable[..., None], trust: Path) -> None:
    """openssl verifies chain and name."""
    command = ["openssl", "s_client", "-connect", f"{HOST}:443", "-verify_return_error", "-verify_hostname", HOST, "-CAfile", str(trust)]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=30, check=False)
    assert "Verify return code: 0 (ok)" in done.stdout and "TLSv1.3" in done.stdout, done.stdout + done.stderr


def test_issued_by_ntlm(configured: Callable[..., None], web: Any, trust: Path, tmp_path: Path) -> None:
    """requests-ntlm sends channel bindings, so it gets in where they are required; the subject is the directory's, not the request's."""
    pem = client(web, trust).get_cert(request(tmp_path), "User")
    certificate = x509.load_pem_x509_certificate(pem)
    alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    upn = [other.value for other in alternatives.get_values_for_type(x509.OtherName)]
    assert any(b"alice.andersson@corp.example" in value for value in upn)
    issued = tmp_path / "issued.pem"
    issued.write_bytes(pem)
    verified = subprocess.run(
        ["openssl", "verify", "-CAfile", str(trust), str(issued)], capture_output=True, text=True, timeout=20, check=False
    )
    assert verified.stdout.endswith(": OK\n"), verified.stderr


def test_chain_and_authority(configured: Callable[..., None], web: Any, trust: Path) -> None:
    found = client(web, trust)
    own = x509.load_pem_x509_certificate(found.get_ca_cert())
    assert own == x509.load_pem_x509_certificate(trust.read_bytes())
    assert own in pkcs7.load_der_pkcs7_certificates(found.get_chain())


def test_refusals(configured: Callable[..., None], web: Any, trust: Path, tmp_path: Path) -> None:
    found = client(web, trust)
    text = request(tmp_path)
    with pytest.raises(certsrv.RequestDeniedException, match="0x80094012") as denied:
        found.get_cert(text, "WebServer")
    number = int(re.findall(r"Your Request Id is (\d+)", denied.value.response)[0])
    with pytest.raises(certsrv.CouldNotRetrieveCertificateException) as refused:
        found.get_existing_cert(number)
    assert "0x80094012" in refused.value.response
    with pytest.raises(certsrv.RequestDeniedException, match="0x80094800"):
        found.get_cert(text, "NoSuchTemplate")
    with pytest.raises(certsrv.CouldNotRetrieveCertificateException):
        found.get_existing_cert(99999)


def test_wrong_password(configured: Callable[..., None], web: Any, trust: Path) -> None:
    who = web.account("alice.andersson")
    assert client(web, trust).check_credentials()
    assert not certsrv.Certsrv(HOST, who["netbios"], "wrong", auth_method="ntlm", cafile=str(trust)).check_credentials()
    assert not client(web, trust, method="basic").check_credentials(), "Basic is off"


def test_basic_where_it_is_on(configured: Callable[..., None], web: Any, trust: Path, tmp_path: Path) -> None:
    configured(basic_authentication=True)
    assert client(web, trust, method="basic").get_cert(request(tmp_path), "User").startswith(b"-----BEGIN CERTIFICATE-----")
    configured()
    assert not client(web, trust, method="basic").check_credentials()


def test_extended_protection_against_ntlm(configured: Callable[..., None], web: Any, trust: Path) -> None:
    """curl's NTLM knows no channel bindings."""
    who = web.account("alice.andersson")
    options = ["--ntlm", "--user", f"{who['netbios']}:{who['password']}", "--cacert", str(trust), "-o", os.devnull, "-w", "%{http_code}"]
    assert curl(*options, f"https://{HOST}/certsrv/") == "401"
    configured(extended_protection="allowed")
    assert curl(*options, f"https://{HOST}/certsrv/") == "200"
    unbound = client(web, trust)
    unbound.session.auth = HttpNtlmAuth(who["netbios"], who["password"], send_cbt=False)
    assert unbound.check_credentials()
    configured()
    unbound.session.close()
    assert not unbound.check_credentials()


@pytest.fixture
def ticket(web: Any, tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has signed in to the domain."""
    who = web.account("alice.andersson")
    environment = {"KRB5_CONFIG": web.files["krb5_conf"], "KRB5CCNAME": f"FILE:{tmp_path}/ticket"}
    subprocess.run(
        ["kinit", f"{who['username']}@{web.status['realm']}"],
        input=who["password"] + "\n",
        env={**os.environ, **environment},
        text=True,
        check=True,
        timeout=20,
    )
    return environment


@needs_kerberos
def test_extended_protection_against_kerberos(configured: Callable[..., None], web: Any, trust: Path, ticket: dict[str, str]) -> None:
    """curl 7.88 sends no channel bindings with Kerberos either; MIT's acceptor alone would let it in."""
    options = ["--negotiate", "--user", ":", "--cacert", str(trust), "-o", os.devnull, "-w", "%{http_code}"]
    assert curl(*options, f"https://{HOST}/certsrv/", environment=ticket) == "401"
    assert "channel bindings are required (extended protection), the client sent none" in web.ca_log()
    configured(extended_protection="allowed")
    assert curl(*options, f"https://{HOST}/certsrv/", environment=ticket) == "200"
    configured()


def test_tls_is_demanded_and_lists_are_not(configured: Callable[..., None], web: Any) -> None:
    code = ["-o", os.devnull, "-w", "%{http_code}"]
    assert curl(*code, f"http://{HOST}/certsrv/") == "403"
    base = f"http://{HOST}/CertEnroll/{CA.replace(' ', '%20')}"
    assert curl(*code, f"{base}.crl") == "200" and curl(*code, f"{base}+.crl") == "200"
    configured(double_escaping=False)
    assert curl(*code, f"{base}.crl") == "200" and curl(*code, f"{base}+.crl") == "404"
    configured()


def test_service_that_does_not_run(
    configured: Callable[..., None], web: Any, on_ca1: Callable[..., Any], trust: Path, tmp_path: Path
) -> None:
    on_ca1([{"ansible.windows.win_service": {"name": "CertSvc", "state": "stopped"}}])
    with pytest.raises(certsrv.RequestDeniedException) as down:
        client(web, trust).get_cert(request(tmp_path), "User")
    assert "0x800706ba (WIN32: 1722 RPC_S_SERVER_UNAVAILABLE)" in down.value.response
    on_ca1([{"ansible.windows.win_service": {"name": "CertSvc", "state": "started"}}])
    assert client(web, trust).get_cert(request(tmp_path), "User")


def test_another_language(configured: Callable[..., None], web: Any, trust: Path, tmp_path: Path) -> None:
    """The package certsrv reads English pages only: it takes a denial for something unknown."""
    web.faults(certsrv_language="de")
    with pytest.raises(certsrv.RequestDeniedException, match="unknown") as denied:
        client(web, trust).get_cert(request(tmp_path), "WebServer")
    assert "Ihre Anforderungskennung ist" in denied.value.response
    assert client(web, trust).get_cert(request(tmp_path), "User"), "the link to the certificate is the same"
    web.faults()


def test_it_is_all_there_after_a_restart(configured: Callable[..., None], web: Any, trust: Path, tmp_path: Path) -> None:
    before = client(web, trust).get_cert(request(tmp_path), "User", encoding="bin")
    web.kill("ca1")
    web.start("ca1")
    found = client(web, trust)
    again = found.get_cert(request(tmp_path), "User", encoding="bin")
    assert x509.load_der_x509_certificate(before).serial_number != x509.load_der_x509_certificate(again).serial_number
