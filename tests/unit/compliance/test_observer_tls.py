# SPDX-License-Identifier: GPL-3.0-or-later
"""Which versions of TLS a port takes: held against servers of Python's own, and against what says no in other ways."""

from __future__ import annotations

import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers import tls
from ansible_collections.certlogon.core.plugins.module_utils.compliance.read_only import Asked
from ansible_collections.certlogon.core.tests.unit.compliance.gate_samples import authority, device_pem, rsa_key

TLS = ssl.TLSVersion


@contextmanager
def serving(answer: Callable[[socket.socket], Any]) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _address = listener.accept()
                    with connection, suppress(OSError):
                        answer(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]


def server(folder: Path, lowest: TLS, highest: TLS, *, client_certificate: bool = False) -> Callable[[socket.socket], Any]:
    from cryptography.hazmat.primitives import serialization as form

    key = rsa_key(2048).private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    (folder / "server.pem").write_bytes(key + device_pem(life=(-400, 4000)).encode())
    (folder / "ca.pem").write_text(authority().pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = lowest, highest
    if client_certificate:
        context.load_verify_locations(folder / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    return lambda connection: context.wrap_socket(connection, server_side=True).close()


def taken(port: int) -> dict[str, bool | None]:
    asked: dict[str, int] = {}
    found = tls.versions("127.0.0.1", port, "vpn.corp.example", 3, Asked(asked))
    assert asked == {"tls handshake": 4}
    return found


@pytest.mark.parametrize("client_certificate", [False, True])
@pytest.mark.parametrize(
    ("lowest", "highest", "expected"),
    [
        (TLS.TLSv1_2, TLS.TLSv1_3, [False, False, True, True]),
        (TLS.TLSv1, TLS.TLSv1_2, [True, True, True, False]),
        (TLS.TLSv1_3, TLS.TLSv1_3, [False, False, False, True]),
    ],
)
def test_versions_are_told(tmp_path: Path, lowest: TLS, highest: TLS, expected: list[bool], client_certificate: bool) -> None:
    with serving(server(tmp_path, lowest, highest, client_certificate=client_certificate)) as port:
        assert list(taken(port).values()) == expected


def test_who_hangs_up_on_some_says_no_to_those(tmp_path: Path) -> None:
    proper = server(tmp_path, TLS.TLSv1_2, TLS.TLSv1_3)

    def answer(connection: socket.socket) -> None:
        hello = connection.recv(4096, socket.MSG_PEEK)
        if b"\x00\x2b\x00\x03\x02\x03\x04" in hello:  # supported_versions, which only a hello of TLS 1.3 has
            proper(connection)

    with serving(answer) as port:
        assert list(taken(port).values()) == [False, False, False, True]


@pytest.mark.parametrize("said", [b"", b"220 mail ESMTP\r\n", b"\x15\x03\x01\x00\x02\x02\x50"])
def test_who_takes_none_has_told_nothing(said: bytes) -> None:
    def answer(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(said)

    with serving(answer) as port:
        assert set(taken(port).values()) == {None}


def test_nobody_there_tells_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert set(taken(port).values()) == {None}
