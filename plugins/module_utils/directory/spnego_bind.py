# SPDX-License-Identifier: GPL-3.0-or-later
"""SASL GSS-SPNEGO binds, sealed on the plain port or bound to the TLS channel ([MS-ADTS] 5.1.1.1, RFC 4178, RFC 5929).

ldap3's own Kerberos and NTLM binds make no security layer, so that a domain controller which requires signing refuses them.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.directory.connection import ConnectionOptions
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import (
    crypto,
    kerberos_is_missing,
    ldap3_sasl,
    spnego,
    spnego_channel_bindings,
    x509,
)

SASL_BIND_IN_PROGRESS = 14


def bind(connection: Any, options: ConnectionOptions, host: str) -> dict[str, Any]:
    """Authenticate an open ldap3 connection; returns the last bind result. On success without TLS the socket is sealed."""
    context = _context(connection, options, host)
    connection.sasl_in_progress = True
    token: bytes | None = None
    result: dict[str, Any] = {"result": SASL_BIND_IN_PROGRESS}
    try:
        while result["result"] == SASL_BIND_IN_PROGRESS:
            answer = _step(context, token, options)
            result = ldap3_sasl.send_sasl_negotiation(connection, None, answer or b"")
            token = result.get("saslCreds")
    finally:
        connection.sasl_in_progress = False
    if result["result"] == 0:
        if token and not context.complete:
            _step(context, token, options)
        if options.tls == "none":
            connection.socket = SealedSocket(connection.socket, context)
        connection.bound = True
    return result


def _context(connection: Any, options: ConnectionOptions, host: str) -> Any:
    """A client context; without TLS it signs and seals, with TLS it is bound to the server's certificate."""
    request = spnego.ContextReq.mutual_auth
    bindings = None
    if options.tls == "none":
        request |= (
            spnego.ContextReq.integrity
            | spnego.ContextReq.confidentiality
            | spnego.ContextReq.sequence_detect
            | spnego.ContextReq.replay_detect
        )
    else:
        # TLS protects the connection already: a second layer is refused
        request |= spnego.ContextReq.no_integrity
        bindings = spnego_channel_bindings.GssChannelBindings(
            application_data=endpoint_binding(connection.socket.getpeercert(binary_form=True))
        )
    try:
        return spnego.client(
            options.username,
            options.password,
            hostname=host,
            service="ldap",
            protocol=options.auth,
            context_req=request,
            channel_bindings=bindings,
        )
    except Exception as error:
        raise _refused(options, error) from error


def _step(context: Any, token: bytes | None, options: ConnectionOptions) -> bytes | None:
    try:
        answer: bytes | None = context.step(token)
    except Exception as error:  # pyspnego, gssapi and krb5 have no common base class
        raise _refused(options, error) from error
    return answer


def _refused(options: ConnectionOptions, error: Exception) -> UserError:
    if isinstance(error, ImportError):
        return kerberos_is_missing()
    text = " ".join(str(error).split())
    if "clock skew" in text.lower():
        return UserError(f"auth: {options.auth}: the clocks of this machine and of the domain controller differ too much: {text}")
    return UserError(f"auth: {options.auth} could not sign in {options.username or 'with the ticket in the credential cache'}: {text}")


def endpoint_binding(certificate: bytes) -> bytes:
    """`tls-server-end-point` of a DER certificate (RFC 5929 section 4): its hash, MD5 and SHA-1 replaced by SHA-256."""
    algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    strong = algorithm is not None and not isinstance(algorithm, (crypto.hashes.MD5, crypto.hashes.SHA1))
    name = algorithm.name if algorithm is not None and strong else "sha256"
    return b"tls-server-end-point:" + hashlib.new(name, certificate).digest()


class SealedSocket:
    """A socket whose records are wrapped by a security context, each behind its length in four bytes, big-endian (RFC 4422 3.7).

    It has just what ldap3's synchronous strategy uses of a socket.
    """

    def __init__(self, socket: Any, context: Any) -> None:
        self._socket = socket
        self._context = context
        self._clear = b""

    def sendall(self, data: bytes) -> None:
        sealed = self._context.wrap(data).data
        self._socket.sendall(struct.pack(">I", len(sealed)) + sealed)

    def recv(self, size: int) -> bytes:
        if not self._clear:
            header = self._exactly(4)
            if not header:
                return b""
            self._clear = self._context.unwrap(self._exactly(struct.unpack(">I", header)[0])).data
        clear, self._clear = self._clear[:size], self._clear[size:]
        return clear

    def _exactly(self, count: int) -> bytes:
        """`count` bytes, or none where the peer closed the connection."""
        parts = []
        while count:
            part = self._socket.recv(count)
            if not part:
                return b""
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)
