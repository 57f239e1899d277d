# SPDX-License-Identifier: GPL-3.0-or-later
"""CRLs fetched over HTTP and LDAP from servers on the loopback: what is there, and every way in which it is not."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.certificates import cdp, crl_source
from ansible_collections.certlogon.core.plugins.module_utils.certificates.crl_source import Account
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.tests.unit.certificates.directory_server import directory

DN = "CN=Corp CA,CN=CDP,DC=corp,DC=example"
READER = ("cn=reader,dc=corp,dc=example", "Secret-1")


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/none.crl":
            self.send_error(404)
            return
        self.send_response(200)
        self.end_headers()
        if self.path == "/drip.crl":
            for _octet in range(40):
                time.sleep(0.1)
                try:
                    self.wfile.write(b"0")
                except OSError:
                    return
        else:
            self.wfile.write(b"0" * 1000)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_http(web: str) -> None:
    assert crl_source.fetch(cdp.parse(f"{web}/ca.crl"), 5) == [b"0" * 1000]


@pytest.mark.parametrize(
    ("path", "limits", "message"),
    [
        ("none.crl", {}, "answers HTTP 404"),
        ("ca.crl", {"limit": 999}, "larger than 999 bytes"),
        ("drip.crl", {"timeout": 0.5}, "did not come within 0.5 seconds"),
    ],
)
def test_http_that_does_not_come(web: str, path: str, limits: dict[str, float], message: str) -> None:
    started = time.monotonic()
    with pytest.raises(UserError, match=message):
        crl_source.fetch(cdp.parse(f"{web}/{path}"), limits.pop("timeout", 5), **limits)  # type: ignore[arg-type]
    assert time.monotonic() - started < 2


def test_nobody_there() -> None:
    with pytest.raises(UserError, match=r"cannot be fetched .*is the server up"):
        crl_source.fetch(cdp.parse("http://127.0.0.1:9/ca.crl"), 1)
    with pytest.raises(UserError, match=r"cannot be fetched .*is the directory up"):
        crl_source.fetch(cdp.parse("ldap://127.0.0.1:9/CN=x?certificateRevocationList"), 1)


def address(port: int, base: str = DN, attribute: str = "certificateRevocationList;binary") -> cdp.Cdp:
    return cdp.parse(f"ldap://127.0.0.1:{port}/{base.replace(' ', '%20')}?{attribute}?base?(objectClass=cRLDistributionPoint)")


@pytest.mark.parametrize("stored", ["certificateRevocationList;binary", "certificateRevocationList"])
def test_ldap(stored: str) -> None:
    with directory(DN, {"cn": [b"Corp CA"], stored: [b"\x30\x00", b"\x30\x01\x00"]}) as server:
        assert crl_source.fetch(address(server.server_address[1]), 5) == [b"\x30\x00", b"\x30\x01\x00"]
    assert server.binds == [("", "")]


def test_ldap_with_an_account() -> None:
    with directory(DN, {"certificateRevocationList": [b"\x30\x00"]}, READER) as server:
        where = address(server.server_address[1])
        assert crl_source.fetch(where, 5, Account(*READER)) == [b"\x30\x00"]
        with pytest.raises(UserError, match=r"successful bind must be completed.*nobody without an account"):
            crl_source.fetch(where, 5)
        with pytest.raises(UserError, match=r"invalidCredentials.*right account and password") as wrong:
            crl_source.fetch(where, 5, Account(READER[0], "Other-2"))
    assert "Other-2" not in str(wrong.value)
    assert "Secret-1" not in repr(Account(*READER))


def test_ldap_without_a_crl() -> None:
    with directory(DN, {"cn": [b"Corp CA"]}) as server:
        port = server.server_address[1]
        with pytest.raises(UserError, match="has no certificaterevocationlist"):
            crl_source.fetch(address(port), 5)
        with pytest.raises(UserError, match=r"noSuchObject.*mend the base DN"):
            crl_source.fetch(address(port, base="CN=Elsewhere,DC=corp"), 5)
