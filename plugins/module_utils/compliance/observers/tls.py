# SPDX-License-Identifier: GPL-3.0-or-later
"""What a TLS port shows to anybody: its certificates, and which versions of TLS it takes. Handshakes only."""

from __future__ import annotations

import socket
import ssl
import warnings
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import endpoints
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import load
from ansible_collections.certlogon.core.plugins.module_utils.certificates.chains import parsed
from ansible_collections.certlogon.core.plugins.module_utils.compliance import seen
from ansible_collections.certlogon.core.plugins.module_utils.compliance.read_only import Asked
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
_ALERT, _HANDSHAKE, _SERVER_HELLO = 21, 22, 2
_REFUSALS = (40, 70, 71)
"""handshake_failure, protocol_version, insufficient_security: what is said to a version that is not taken (RFC 8446 6.2)."""


def shown(host: str, port: int, server_name: str, timeout: int, asked: Asked) -> dict[str, Any]:
    """`certificates` (PEM, the server's own first) and `version` of a handshake. Raises `UserError`."""
    asked.ask("tls", "handshake")
    found = endpoints.show(host, port, start_tls=False, server_name=server_name, timeout=timeout)
    return {"host": host, "port": port, "server_name": server_name, "version": found.tls_version, "certificates": _pems(found.certificates)}


def _pems(ders: tuple[bytes, ...]) -> list[str]:
    found = []
    for content in ders:
        try:
            found.append(seen.pem(parsed(load(content))))
        except FormatError:
            found.append("")
    return found


def versions(host: str, port: int, server_name: str, timeout: int, asked: Asked) -> dict[str, bool | None]:
    """Which versions the port takes; None where it cannot be told, as where this machine's own OpenSSL does not offer one.

    Each is offered alone, and the first record that comes back tells: a server that asks for a client's certificate goes no further.
    """
    found: dict[str, bool | None] = {}
    for name, version in VERSIONS.items():
        asked.ask("tls", "handshake")
        found[name] = _takes(host, port, server_name, timeout, version)
    # who takes none of them, has perhaps not understood
    return found if any(found.values()) else dict.fromkeys(found)


def _takes(host: str, port: int, server_name: str, timeout: int, version: ssl.TLSVersion) -> bool | None:
    try:
        hello = _client_hello(server_name, version)
        with socket.create_connection((host, port), timeout) as connection:
            connection.sendall(hello)
            first = _first_record(connection)
    except ConnectionResetError:
        return False  # some say no so
    except (OSError, ValueError):
        return None
    if first[:1] == bytes([_HANDSHAKE]):
        return first[5:6] == bytes([_SERVER_HELLO])
    if first[:1] == bytes([_ALERT]):
        return False if first[6:7] and first[6] in _REFUSALS else None
    return None if first else False


def _client_hello(server_name: str, version: ssl.TLSVersion) -> bytes:
    """Of this version alone. Raises `ssl.SSLError` (an `OSError`) where this machine's OpenSSL does not make one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the versions that are looked for are the deprecated ones
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
    outgoing = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=server_name).do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise ValueError("nothing was said")


def _first_record(connection: socket.socket) -> bytes:
    """The beginning of what comes back, up to the description of an alert; empty where the server hangs up."""
    found = b""
    while len(found) < 7 and (more := connection.recv(64)):
        found += more
    return found
