# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificates that a TLS server shows (RFC 8446 4.4.2), also behind LDAP's StartTLS (RFC 4511 4.14)."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass

from ansible_collections.certlogon.core.plugins.module_utils.certificates import der
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError

START_TLS = "1.3.6.1.4.1.1466.20037"
_EXTENDED_RESPONSE = 0x78
ANSWER_LIMIT = 65536


@dataclass(frozen=True)
class Shown:
    """The server's certificate and what it sends with it (DER), and the version of TLS that was agreed on."""

    certificates: tuple[bytes, ...]
    tls_version: str


def show(host: str, port: int, *, start_tls: bool, server_name: str | None, timeout: int) -> Shown:
    """Shake hands and hang up. Nothing is verified here: what is wrong with a certificate is to be seen. Raises `UserError`."""
    where = f"{host}:{port}"
    try:
        with socket.create_connection((host, port), timeout) as connection:
            connection.settimeout(timeout)
            if start_tls:
                _start_tls(connection, where)
            with _context().wrap_socket(connection, server_hostname=server_name or host) as secured:
                return Shown(tuple(_sent(secured)), secured.version() or "")
    except ssl.SSLError as error:
        raise UserError(f"{where}: no TLS: {error.reason or error}; is this the port of a TLS server, or does it need starttls?") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{where}: no connection: {reason}; is the server up, and the port open?") from error


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # weak keys and old hashes are to be reported, not refused
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def _sent(secured: ssl.SSLSocket) -> list[bytes]:
    # public from Python 3.13 on; before, the same function is there under the socket
    chain = getattr(secured, "get_unverified_chain", None) or getattr(secured._sslobj, "get_unverified_chain", None)  # type: ignore[attr-defined]
    found = [one if isinstance(one, bytes) else ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in (chain() if chain else None) or ()]
    return found or [content for content in (secured.getpeercert(binary_form=True),) if content]


def _start_tls(connection: socket.socket, where: str) -> None:
    name = START_TLS.encode()
    connection.sendall(der.sequence(der.integer(1), der.element(0x77, der.element(0x80, name))))
    answer = b""
    while len(answer) < ANSWER_LIMIT:
        try:
            _tag, message, _end = der.read(answer)
            break
        except ValueError:
            more = connection.recv(4096)
            if not more:
                raise UserError(f"{where}: the server hung up on StartTLS; is it an LDAP server?") from None
            answer += more
    else:
        raise UserError(f"{where}: no LDAP answer to StartTLS; is it an LDAP server?")
    _check_answer(message, where)


def _check_answer(message: bytes, where: str) -> None:
    try:
        _tag, _number, position = der.read(message)
        tag, response, _end = der.read(message, position)
        _tag, code, _end = der.read(response)
    except ValueError:
        raise UserError(f"{where}: no LDAP answer to StartTLS; is it an LDAP server?") from None
    if tag != _EXTENDED_RESPONSE or int.from_bytes(code, "big"):
        raise UserError(f"{where}: the server refuses StartTLS (result {int.from_bytes(code, 'big')}); has it a certificate? Try port 636")
