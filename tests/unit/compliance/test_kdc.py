# SPDX-License-Identifier: GPL-3.0-or-later
"""What a KDC is asked, and what is made of its answers."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.certlogon.core.plugins.module_utils.certificates import der
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers import kdc
from ansible_collections.certlogon.core.plugins.module_utils.compliance.read_only import Asked
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError


def error(code: int, *preauthentication: int) -> bytes:
    """A KRB-ERROR (RFC 4120 5.9.1), with METHOD-DATA where types are given."""
    entries = [der.sequence(der.context(1, der.integer(kind)), der.context(2, der.octet_string(b""))) for kind in preauthentication]
    data = der.context(12, der.octet_string(der.sequence(*entries))) if entries else b""
    return der.element(0x7E, der.sequence(der.context(0, der.integer(5)), der.context(6, der.integer(code)), data))


GOOD = error(25, 16, 15, 2, 136)


def test_what_is_asked() -> None:
    """As `openssl asn1parse` and a real KDC read it (tests/integration/test_compliance_hosts.py)."""
    request = kdc.request("CORP.EXAMPLE", "DC1$")  # each has a nonce of its own, some an octet shorter
    tag, content, end = der.read(request)
    assert tag == 0x6A and end == len(request)
    members = kdc._parts(content)
    assert sorted(members) == [1, 2, 4], "no pre-authentication data: no password is tried"
    assert der.read(members[2])[1] == b"\x0a"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (GOOD, {"error": 25, "name": "KDC_ERR_PREAUTH_REQUIRED", "preauthentication": [16, 15, 2, 136]}),
        (error(6), {"error": 6, "name": "KDC_ERR_C_PRINCIPAL_UNKNOWN", "preauthentication": None}),
        (error(77), {"error": 77, "name": "KDC error 77", "preauthentication": None}),
        (der.element(0x6B, b""), {"error": 0, "name": "", "preauthentication": None}),
    ],
)
def test_answers(answer: bytes, expected: dict[str, object]) -> None:
    assert kdc.read(answer) == expected


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80), st.integers(0, len(GOOD)))
def test_rubbish(noise: bytes, cut: int) -> None:
    for answer in (noise, GOOD[:cut] + noise, b"\x7e" + noise):
        with contextlib.suppress(FormatError):
            kdc.read(answer)


def test_a_name_that_is_none() -> None:
    with pytest.raises(UserError, match="the KDC does not answer"):
        kdc.offered("dc1..corp.example", "CORP.EXAMPLE", "DC1$", 1, Asked({}))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (struct.pack(">I", len(GOOD)) + GOOD, ""),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not answer"),
        (struct.pack(">I", 4) + b"HTTP", "what answers is no KDC"),
        (b"", "hung up"),
    ],
)
def test_over_the_wire(answer: bytes, says: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _address = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        counts: dict[str, int] = {}
        where = ("127.0.0.1", "CORP.EXAMPLE", "DC1$", 5, Asked(counts), server.getsockname()[1])
        if says:
            with pytest.raises(UserError, match=says):
                kdc.offered(*where)
        else:
            assert kdc.PKINIT in kdc.offered(*where)["preauthentication"]
        thread.join()
        assert counts == {"kerberos AS-REQ": 1}
