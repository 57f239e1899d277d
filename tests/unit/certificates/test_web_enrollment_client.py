# SPDX-License-Identifier: GPL-3.0-or-later
"""The client against a small HTTPS server on the loopback: sign-in, round trips, and each thing that goes wrong on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.certificates import signing_request
from ansible_collections.certlogon.core.plugins.module_utils.certificates.enrollment import ENROLLMENT, EnrollmentOptions
from ansible_collections.certlogon.core.plugins.module_utils.certificates.web_enrollment import WebEnrollment
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, SessionLost, UserError
from ansible_collections.certlogon.core.tests.unit.certificates.enrollment_server import PASSWORD, USER, Authority, Server
from ansible_collections.certlogon.core.tests.unit.certificates.samples import key

REQUEST = signing_request.build(key(), subject_text="CN=web1")
NAMES = ("CORP:web1:Right-1", f"corp.example:{USER.partition('@')[0]}:{PASSWORD}", f":{USER}:{PASSWORD}")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(Authority(), tmp_path)
    yield made
    made.close()


@pytest.fixture
def ntlm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pyspnego's acceptor asks this file (Heimdal's format)."""
    (tmp_path / "users").write_text("\n".join(NAMES) + "\n")
    monkeypatch.setenv("NTLM_USER_FILE", str(tmp_path / "users"))


def client(server: Server, warn: Callable[[str], None] = pytest.fail, **changes: Any) -> WebEnrollment:
    params = {**{name: option.get("default") for name, option in ENROLLMENT.items()}, **server.options(**changes)}
    return WebEnrollment(EnrollmentOptions.from_params(params), warn)


def test_two_round_trips_a_certificate(server: Server):
    with client(server) as web:
        for _certificate in range(3):
            answer = web.submit(REQUEST, {"CertificateTemplate": "WebServer", "Other": "x"})
            assert len(web.retrieve(answer.request_id or 0, chain=True).certificates) == 3
            assert len(web.retrieve(answer.request_id or 0).certificates) == 1
        assert web.round_trips == len(server.log) == 9 and web.sign_ins == 0
    assert server.authority.requests[0][1] == "CertificateTemplate:WebServer\r\nOther:x\r\n"


# where Negotiate is offered, negotiate looks for Kerberos first, which takes a domain: see the integration tests
@pytest.mark.parametrize(("offers", "auth"), [(("NTLM",), "ntlm"), (("NTLM",), "negotiate"), (("Negotiate", "NTLM"), "ntlm")])
def test_signs_in_once_bound_to_the_tls_certificate(server: Server, ntlm: None, offers: tuple[str, ...], auth: str):
    server.offers = offers
    with client(server, auth=auth, username="CORP\\web1") as web:
        for _certificate in range(3):
            answer = web.submit(REQUEST, {})
            assert web.retrieve(answer.request_id or 0).certificates
        assert web.sign_ins == 1 and web.round_trips == len(server.log) == 6 + 2


def test_kerberos_without_its_libraries(server: Server, monkeypatch: pytest.MonkeyPatch):
    import spnego._gss as gss

    server.offers = ("Negotiate",)
    monkeypatch.setattr(gss, "HAS_GSSAPI", False)
    monkeypatch.setattr(gss, "GSSAPI_IMP_ERR", "No module named 'gssapi'", raising=False)
    with (
        client(server, auth="kerberos", username=None, password=None) as web,
        pytest.raises(UserError, match=r"pip install 'pyspnego\[kerberos\]'"),
    ):
        web.submit(REQUEST, {})


def test_extended_protection_refuses_the_right_password(server: Server, ntlm: None, monkeypatch: pytest.MonkeyPatch):
    from ansible_collections.certlogon.core.plugins.module_utils.certificates import web_sign_in

    server.offers = ("NTLM",)
    monkeypatch.setattr(web_sign_in, "endpoint_binding", lambda _der: b"tls-server-end-point:" + bytes(32))
    with client(server, auth="ntlm", username="CORP\\web1") as web, pytest.raises(SessionLost, match=r"HTTP 401.*or extended protection"):
        web.submit(REQUEST, {})


@pytest.mark.parametrize(
    ("auth", "changes", "message"),
    [
        ("ntlm", {"username": "CORP\\web1", "password": "wrong"}, "username, password: .* does not let CORP.web1 sign in"),
        ("basic", {"password": "wrong"}, "wrong name or password, or Basic is not switched on"),
    ],
)
def test_wrong_password(server: Server, ntlm: None, auth: str, changes: dict[str, Any], message: str):
    server.offers = ("NTLM", "Basic")
    with client(server, auth=auth, **changes) as web, pytest.raises(SessionLost, match=message) as caught:
        web.submit(REQUEST, {})
    assert "Right-1" not in str(caught.value) and server.authority.requests == []


def test_nothing_that_fits_is_offered(server: Server, ntlm: None):
    with client(server, auth="ntlm", username="CORP\\web1") as web, pytest.raises(UserError, match=r"auth: .* offers basic, not ntlm"):
        web.submit(REQUEST, {})


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "web1@corp.example is signed in, but may not use the web enrolment"),
        (404, "there is no web enrolment at this address; install it with adcs_web_enrollment"),
        (302, "the web server sends requests elsewhere"),
        (500, r"the web server failed \(HTTP 500: Oops\)"),
        (503, "application pool is stopped"),
    ],
)
def test_statuses(server: Server, status: int, message: str):
    server.override = lambda _path: (status, "text/html", b"<h1>Oops</h1>")
    with client(server) as web, pytest.raises(SessionLost, match=message):
        web.submit(REQUEST, {})


def test_page_of_something_else(server: Server):
    server.override = lambda _path: (200, "text/html", b"<p>Willkommen beim Gateway</p>")
    with client(server) as web, pytest.raises(FormatError, match="Willkommen beim Gateway; is this the address of an AD CS web enrolment"):
        web.submit(REQUEST, {})


def test_authority_behind_the_pages_is_down(server: Server):
    server.override = lambda _path: (200, "text/html", b"Der RPC-Server ist nicht verf\xc3\xbcgbar. 0x800706ba (WIN32: 1722)")
    with client(server) as web, pytest.raises(SessionLost, match="start CertSvc"):
        web.submit(REQUEST, {})


def test_endless_answer(server: Server):
    server.override = lambda _path: (200, "text/html", bytes(5 * 1024 * 1024))
    with client(server) as web, pytest.raises(UserError, match="the answer is larger"):
        web.submit(REQUEST, {})


def test_unknown_authority_of_the_web_server(server: Server, tmp_path: Path):
    other = tmp_path / "other.pem"
    from ansible_collections.certlogon.core.tests.unit.certificates.samples import make, pem

    other.write_bytes(pem(make()))
    with (
        client(server, ca_path=str(other)) as web,
        pytest.raises(SessionLost, match=r"TLS failed: .*; give the CA of the web server's certificate"),
    ):
        web.submit(REQUEST, {})


def test_validation_is_switched_off_only_with_a_warning(server: Server):
    warnings: list[str] = []
    with client(server, warnings.append, validate_certs=False, ca_path=None) as web:
        assert web.submit(REQUEST, {}).request_id == 1
    assert "validate_certs is false" in warnings[0]


def test_environment_decides_nothing(server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with client(server) as web:
        assert web.submit(REQUEST, {}).request_id == 1


def test_nobody_there(server: Server):
    options = {"url": server.url.replace("/certsrv", "") + "/certsrv"}
    server.close()
    with client(server, **options) as web, pytest.raises(SessionLost, match=r"no connection: .*is the CA's host up"):
        web.submit(REQUEST, {})


def test_chain_of_the_authority(server: Server):
    with client(server) as web:
        assert [one.subject for one in web.chain()] == ["CN=Test CA", "CN=Test Root"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"url": "http://ca1.corp.example/certsrv"}, "is no https address"),
        ({"url": "https://"}, "is no https address"),
        ({"url": "https://u:p@ca1/certsrv"}, "give the account as username and password"),
        ({"username": None}, "only one of them is given"),
        ({"username": None, "password": None, "auth": "ntlm"}, "auth=ntlm needs both"),
        ({"timeout": 0}, "timeout: 0 is not a number of seconds"),
    ],
)
def test_options(changes: dict[str, Any], message: str):
    params = {"method": "web_enrollment", "url": "https://ca1.corp.example/certsrv", "username": "u", "password": "p", "auth": "basic"}
    with pytest.raises(UserError, match=message):
        EnrollmentOptions.from_params({**params, "validate_certs": True, "timeout": 5, **changes})
