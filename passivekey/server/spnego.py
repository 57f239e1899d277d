# SPDX-License-Identifier: GPL-3.0-or-later
"""Sign-in by SPNEGO (RFC 4559, RFC 4178): Kerberos by a keytab, bound to the TLS channel where the client does that."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from passivekey.errors import ConfigurationError
from passivekey.protocol.errors import Refused

LONGEST = 48 * 1024
"""Characters of a token: a ticket with many groups is long, an attack is longer."""


_SPNEGO = "1.3.6.1.5.5.2"
"""Its mechanism (RFC 4178 section 3)."""


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
        try:
            import gssapi
        except (ImportError, OSError) as error:
            raise ConfigurationError("kerberos.keytab needs gssapi (Debian: python3-gssapi; else pip install gssapi)") from error
        self._gss: Any = gssapi
        self._host = host
        self._keytab = f"FILE:{keytab}"
        # what clients bind to when TLS ends here (PEM of the server's certificate); one that binds to another channel is refused by GSS
        self._bindings = gssapi.raw.ChannelBindings(application_data=endpoint_binding(certificate)) if certificate else None
        try:
            self._credentials()
        except self._gss.exceptions.GSSError as error:
            raise ConfigurationError(f"kerberos.keytab: {keytab} has no keys for HTTP/{host}: {_reason(error)}") from error

    def accept(self, header: str) -> Negotiation:
        """What is behind `Authorization: Negotiate …`. Raises `Refused("unauthenticated")`."""
        kind, _space, token = header.partition(" ")
        if kind.casefold() != "negotiate" or not token or len(token) > LONGEST:
            raise Refused("unauthenticated", "no Negotiate token")
        try:
            received = base64.b64decode(token, validate=True)
            context = self._gss.SecurityContext(creds=self._credentials(), usage="accept", channel_bindings=self._bindings)
            answer = context.step(received)
            complete, principal = context.complete, str(context.initiator_name or "") if context.complete else ""
        except (binascii.Error, ValueError, self._gss.exceptions.GSSError) as error:
            raise Refused("unauthenticated", "the ticket is not good") from error
        if not complete or not principal:
            raise Refused("unauthenticated", "the sign-in is not complete")
        return Negotiation(principal, answer or b"")

    def _credentials(self) -> Any:
        """The keys of HTTP/host: Kerberos alone, so that SPNEGO has nothing else to choose. Read anew, for keytabs are replaced."""
        gss = self._gss
        name = gss.Name(f"HTTP@{self._host}", gss.NameType.hostbased_service)
        return gss.Credentials(
            name=name, usage="accept", mechs=[gss.MechType.kerberos, gss.OID.from_int_seq(_SPNEGO)], store={"keytab": self._keytab}
        )


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())


def endpoint_binding(pem: bytes) -> bytes:
    """tls-server-end-point of a certificate (RFC 5929 section 4.1)."""
    certificate = x509.load_pem_x509_certificate(pem)
    signed_with = certificate.signature_hash_algorithm
    weak = signed_with is None or isinstance(signed_with, (hashes.MD5, hashes.SHA1))
    return b"tls-server-end-point:" + certificate.fingerprint(hashes.SHA256() if weak or signed_with is None else signed_with)
