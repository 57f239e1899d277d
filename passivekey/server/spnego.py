# SPDX-License-Identifier: GPL-3.0-or-later
"""Sign-in by SPNEGO (RFC 4559, RFC 4178): Kerberos by a keytab, bound to the TLS channel where the client does that."""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass
from pathlib import Path

import spnego
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from spnego.channel_bindings import GssChannelBindings
from spnego.exceptions import SpnegoError

from passivekey.errors import ConfigurationError
from passivekey.protocol.errors import Refused

LONGEST = 48 * 1024
"""Characters of a token: a ticket with many groups is long, an attack is longer."""


@dataclass(frozen=True)
class Negotiation:
    """The client's name as its ticket has it (DOMAIN spelled as the client did), and what it is answered."""

    principal: str
    token: bytes

    @property
    def header(self) -> str:
        return f"Negotiate {base64.b64encode(self.token).decode()}" if self.token else "Negotiate"


class Acceptor:
    """Accepts Kerberos tickets for HTTP/host, in one leg; what needs more (NTLM) is refused, and the form is left."""

    def __init__(self, host: str, keytab: Path, certificate: bytes | None = None) -> None:
        if not keytab.is_file():
            raise ConfigurationError(f"kerberos.keytab: {keytab} is missing; export it for HTTP/{host}, with AES keys")
        os.environ["KRB5_KTNAME"] = f"FILE:{keytab}"
        self._host = host
        # what clients bind to when TLS ends here (PEM of the server's certificate); one that binds to another channel is refused by GSS
        self._bindings = GssChannelBindings(application_data=endpoint_binding(certificate)) if certificate else None

    def accept(self, header: str) -> Negotiation:
        """What is behind `Authorization: Negotiate …`. Raises `Refused("unauthenticated")`."""
        kind, _space, token = header.partition(" ")
        if kind.casefold() != "negotiate" or not token or len(token) > LONGEST:
            raise Refused("unauthenticated", "no Negotiate token")
        try:
            received = base64.b64decode(token, validate=True)
            context = spnego.server(self._host, "HTTP", channel_bindings=self._bindings, protocol="negotiate")
            answer = context.step(received)
        except (binascii.Error, ValueError, SpnegoError) as error:
            raise Refused("unauthenticated", "the ticket is not good") from error
        if not context.complete or context.negotiated_protocol != "kerberos" or not context.client_principal:
            raise Refused("unauthenticated", "the sign-in is not complete")
        return Negotiation(str(context.client_principal), answer or b"")


def endpoint_binding(pem: bytes) -> bytes:
    """tls-server-end-point of a certificate (RFC 5929 section 4.1)."""
    certificate = x509.load_pem_x509_certificate(pem)
    signed_with = certificate.signature_hash_algorithm
    weak = signed_with is None or isinstance(signed_with, (hashes.MD5, hashes.SHA1))
    return b"tls-server-end-point:" + certificate.fingerprint(hashes.SHA256() if weak or signed_with is None else signed_with)
