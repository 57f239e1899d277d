# SPDX-License-Identifier: GPL-3.0-or-later
"""What a KDC offers to whoever asks for a ticket (RFC 4120 5.4.1, 5.9.1): a request without pre-authentication, which tries no password."""

from __future__ import annotations

import secrets
import socket
import struct
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import der
from ansible_collections.certlogon.core.plugins.module_utils.compliance.read_only import Asked
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError

PORT = 88
PKINIT = 16
"""PA-PK-AS-REQ (RFC 4556 3.1.3)."""
PREAUTH_REQUIRED = 25
ERRORS = {
    6: "KDC_ERR_C_PRINCIPAL_UNKNOWN",
    14: "KDC_ERR_ETYPE_NOSUPP",
    18: "KDC_ERR_CLIENT_REVOKED",
    25: "KDC_ERR_PREAUTH_REQUIRED",
    37: "KRB_AP_ERR_SKEW",
    52: "KRB_ERR_RESPONSE_TOO_BIG",
    68: "KDC_ERR_WRONG_REALM",
}
_AS_REQ, _AS_REP, _KRB_ERROR = 0x6A, 0x6B, 0x7E
_NT_PRINCIPAL, _NT_SRV_INST = 1, 2
_AES256, _AES128, _RC4 = 18, 17, 23
_LIMIT = 1 << 20


def offered(host: str, realm: str, client: str, timeout: int, asked: Asked, port: int = PORT) -> dict[str, Any]:
    """`error` by number and name, and `preauthentication`: the types that the KDC would take of this account. Raises `UserError`."""
    asked.ask("kerberos", "AS-REQ")
    where = f"{host}:{port}"
    try:
        answer = _exchange(host, port, request(realm, client), timeout)
    except (OSError, UnicodeError) as error:  # the second for a name that can be none
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{where}: the KDC does not answer: {reason}; is it up, and the port open?") from error
    try:
        return read(answer)
    except FormatError as error:
        raise UserError(f"{where}: what answers is no KDC: it {error}") from error


def request(realm: str, client: str) -> bytes:
    """An AS-REQ for the realm's ticket-granting service."""
    body = der.sequence(
        der.context(0, der.element(0x03, bytes(5))),
        der.context(1, _principal(_NT_PRINCIPAL, client)),
        der.context(2, _text(realm)),
        der.context(3, _principal(_NT_SRV_INST, "krbtgt", realm)),
        der.context(5, der.element(0x18, b"20370913024805Z")),
        der.context(7, der.integer(secrets.randbits(30))),
        der.context(8, der.sequence(*map(der.integer, (_AES256, _AES128, _RC4)))),
    )
    return der.element(_AS_REQ, der.sequence(der.context(1, der.integer(5)), der.context(2, der.integer(10)), der.context(4, body)))


def read(answer: bytes) -> dict[str, Any]:
    """Raises `FormatError` for what is neither KRB-ERROR nor AS-REP."""
    try:
        return _read(answer)
    except (ValueError, KeyError) as error:
        raise FormatError(f"is no answer to an AS-REQ ({type(error).__name__}: {error})") from error


def _read(answer: bytes) -> dict[str, Any]:
    tag, content, _end = der.read(answer)
    if tag == _AS_REP:
        # an account that needs no pre-authentication: what the KDC would take besides, it does not say
        return {"error": 0, "name": "", "preauthentication": None}
    if tag != _KRB_ERROR:
        raise ValueError(f"it begins with 0x{tag:02x}")
    members = _parts(content)
    code = int.from_bytes(der.read(members[6])[1], "big", signed=True)
    found: list[int] | None = None
    if code == PREAUTH_REQUIRED and 12 in members:
        _tag, method_data, _end = der.read(members[12])
        found = _preauthentication(method_data)
    return {"error": code, "name": ERRORS.get(code, f"KDC error {code}"), "preauthentication": found}


def _preauthentication(method_data: bytes) -> list[int]:
    """The types of METHOD-DATA (RFC 4120 5.9.1)."""
    _tag, content, _end = der.read(method_data)
    position, types = 0, []
    while position < len(content):
        start = position
        _tag, _entry, position = der.read(content, position)
        types.append(int.from_bytes(der.read(_parts(content[start:position])[1])[1], "big", signed=True))
    return types


def _parts(content: bytes) -> dict[int, bytes]:
    """The members of a SEQUENCE by their context tag. Raises `ValueError`."""
    _tag, sequence, _end = der.read(content)
    position, members = 0, {}
    while position < len(sequence):
        tag, value, position = der.read(sequence, position)
        members[tag & 0x1F] = value
    return members


def _principal(kind: int, *names: str) -> bytes:
    return der.sequence(der.context(0, der.integer(kind)), der.context(1, der.sequence(*map(_text, names))))


def _text(text: str) -> bytes:
    return der.element(0x1B, text.encode())


def _exchange(host: str, port: int, message: bytes, timeout: int) -> bytes:
    """Over TCP, with the length before each message (RFC 4120 7.2.2)."""
    with socket.create_connection((host, port), timeout) as connection:
        connection.settimeout(timeout)
        connection.sendall(struct.pack(">I", len(message)) + message)
        (size,) = struct.unpack(">I", _exactly(connection, 4))
        return _exactly(connection, min(size, _LIMIT))


def _exactly(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = connection.recv(size - len(found))
        if not more:
            raise ConnectionError("hung up")
        found += more
    return found
