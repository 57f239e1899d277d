# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is it? The HTTP authentication of a Windows server: Negotiate (Kerberos by keytab, NTLM), Kerberos, NTLM, Basic over TLS.

Channel bindings are those of RFC 5929 section 4 (tls-server-end-point). A client that sends wrong ones is refused, always; one that
sends none only where they are required. MIT's acceptor and pyspnego's both let missing ones pass, so "required" is judged here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import gssapi
import spnego
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from gssapi.raw import IOV, ChannelBindings, IOVBufferType, unwrap_iov, wrap_iov
from gssapi.raw.misc import GSSError
from spnego.channel_bindings import GssChannelBindings
from spnego.exceptions import SpnegoError

NTLM_SIGNATURE = b"NTLMSSP\0"
KERBEROS = bytes.fromhex("06092a864886f712010202")  # 1.2.840.113554.1.2.2, as DER
MICROSOFT_KERBEROS = bytes.fromhex("06092a864882f712010202")  # 1.2.840.48018.1.2.2, [MS-SPNG] 3.1.5.2
AV_END, AV_CHANNEL_BINDINGS = 0, 10  # [MS-NLMP] 2.2.2.1
SCHEMES = {"negotiate": "Negotiate", "kerberos": "Kerberos", "ntlm": "NTLM", "basic": 'Basic realm="WSMAN"'}


@dataclass(frozen=True)
class Answer:
    """`authenticated`: `CORP\\name` (NTLM, Basic) or `name@REALM` (Kerberos); None: send 401 with `www_authenticate`.

    On success `www_authenticate` may hold the server's own proof, to be sent with the response. `error`: for the log, why it was refused.
    """

    authenticated: str | None
    www_authenticate: list[str] = field(default_factory=list)
    error: str | None = None


class Refused(Exception):
    """The client is not who it says, or does not say it as it must."""


class Context(Protocol):
    """One security context that is being, or has been, established."""

    complete: bool

    def step(self, token: bytes) -> bytes | None: ...

    @property
    def account(self) -> str: ...

    def wrap(self, data: bytes) -> tuple[bytes, bytes]: ...

    def unwrap(self, header: bytes, data: bytes) -> bytes: ...


class Users:
    """The accounts that NTLM and Basic can sign in: lines of `DOMAIN:user:password`, clear text, as pyspnego reads them."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def rows(self) -> list[tuple[str, str, str]]:
        lines = [line.split(":", 2) for line in self._path.read_text().splitlines() if line.count(":") >= 2]
        return [(domain, user, password) for domain, user, password in lines]

    def password(self, domain: str, user: str) -> str | None:
        wanted = (domain.upper(), user.upper())
        return next((password for d, u, password in self.rows() if (d.upper(), u.upper()) == wanted), None)

    def account(self, domain: str, user: str) -> str:
        """`CORP\\name` for however the client spelled it: the file's first domain is the NetBIOS name."""
        rows = self.rows()
        plain = user.partition("@")[0]
        known = next((u for _, u, _ in rows if u.upper() == plain.upper()), plain)
        return f"{rows[0][0] if rows else domain}\\{known}"


class Gate:
    """`server_certificate_der`: the certificate of the TLS endpoint as it is now; None where there is no TLS."""

    def __init__(self, keytab: Path, ntlm_users: Path, server_certificate_der: Callable[[], bytes | None]) -> None:
        self.keytab = keytab
        self.users = Users(ntlm_users)
        self.server_certificate_der = server_certificate_der
        os.environ["NTLM_USER_FILE"] = str(ntlm_users)  # the only way to tell pyspnego

    def new_conversation(self, *, allow: Collection[str], require_channel_binding: bool = False) -> Conversation:
        """For one connection. `allow`: of negotiate, kerberos, ntlm, basic."""
        unknown = set(allow) - set(SCHEMES)
        if unknown:
            raise ValueError(f"no authentication scheme of HTTP: {unknown}")
        return Conversation(self, frozenset(allow), require_channel_binding)


class Conversation:
    """What one connection has said so far. Once authenticated it stays so, as with http.sys."""

    def __init__(self, gate: Gate, allow: frozenset[str], require_channel_binding: bool) -> None:
        self._gate = gate
        self._allow = allow
        self._require = require_channel_binding
        self._context: Context | None = None
        self.account: str | None = None
        self.method: str | None = None

    def step(self, authorization: str | None) -> Answer:
        if not authorization:
            return Answer(self.account) if self.account else self._refuse("no credentials")
        scheme, _, text = authorization.partition(" ")
        scheme = scheme.lower()
        if scheme not in self._allow:
            return self._refuse(f"authentication scheme {scheme!r} is not offered")
        try:
            token = base64.b64decode(text, validate=True)
        except binascii.Error:
            return self._refuse(f"the {scheme} token is not Base64")
        try:
            return self._basic(token) if scheme == "basic" else self._negotiate(scheme, token)
        except Refused as refused:
            return self._refuse(str(refused))

    def wrap(self, data: bytes) -> tuple[bytes, bytes]:
        """Seal a WinRM message: header, sealed data ([MS-WSMV] 2.2.9.1)."""
        if self._context is None or not self._context.complete:
            raise Refused("no security context to seal a message with")
        return self._context.wrap(data)

    def unwrap(self, header: bytes, data: bytes) -> bytes:
        if self._context is None or not self._context.complete:
            raise Refused("no security context to open a sealed message with")
        return self._context.unwrap(header, data)

    def _refuse(self, reason: str) -> Answer:
        self._context = self.account = self.method = None
        return Answer(None, [SCHEMES[name] for name in SCHEMES if name in self._allow], reason)

    def _basic(self, token: bytes) -> Answer:
        if self._gate.server_certificate_der() is None:
            raise Refused("Basic without TLS")
        name, _, password = token.decode(errors="replace").partition(":")
        domain, separator, user = name.partition("\\")
        domain, user = (domain, user) if separator else ("", name)
        known = self._gate.users.password(domain, user)
        if known is None or not hmac.compare_digest(known.encode(), password.encode()):
            raise Refused(f"wrong password, or no such account: {name}")
        self.account, self.method = self._gate.users.account(domain, user), "basic"
        return Answer(self.account)

    def _negotiate(self, scheme: str, token: bytes) -> Answer:
        if self._context is None or self._context.complete:
            self.account = self.method = None
            self._context = self._new_context(scheme, token)
        context = self._context
        reply = context.step(token)
        header = {"negotiate": "Negotiate", "kerberos": "Kerberos", "ntlm": "NTLM"}[scheme]
        proof = [f"{header} {base64.b64encode(reply).decode()}"] if reply else []
        if not context.complete:
            return Answer(None, proof)
        self.account, self.method = context.account, "ntlm" if isinstance(context, NtlmContext) else "kerberos"
        return Answer(self.account, proof)

    def _new_context(self, scheme: str, token: bytes) -> Context:
        binding = end_point_binding(self._gate.server_certificate_der())
        if token.startswith(NTLM_SIGNATURE):
            if scheme == "kerberos":
                raise Refused("an NTLM token as Kerberos")
            return NtlmContext("ntlm", self._gate.users, binding, self._require)
        if scheme == "ntlm":
            raise Refused("a token that is not NTLM as NTLM")
        if scheme == "kerberos" or offers_kerberos(token):
            return KerberosContext(self._gate.keytab, binding, self._require)
        return NtlmContext("negotiate", self._gate.users, binding, self._require)


def end_point_binding(certificate: bytes | None) -> bytes | None:
    """`tls-server-end-point:` and the hash of the certificate; MD5 and SHA-1 signatures hash by SHA-256 (RFC 5929 section 4.1)."""
    if certificate is None:
        return None
    algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    name = "sha256" if algorithm is None or isinstance(algorithm, (hashes.MD5, hashes.SHA1)) else algorithm.name
    return b"tls-server-end-point:" + hashlib.new(name, certificate).digest()


def offers_kerberos(token: bytes) -> bool:
    """A Kerberos token as such, or a SPNEGO token whose optimistic mechanism token is Kerberos'."""
    ticket = KERBEROS + b"\x01\x00"  # the GSS-API header of an AP-REQ, RFC 4121 section 4.1
    return ticket in token or MICROSOFT_KERBEROS + b"\x01\x00" in token


class KerberosContext:
    """MIT's acceptor, SPNEGO included."""

    def __init__(self, keytab: Path, binding: bytes | None, require: bool) -> None:
        self._binding, self._require = binding, require
        try:
            credentials = gssapi.Credentials(usage="accept", store={"keytab": f"FILE:{keytab}"})
        except GSSError as error:
            raise Refused(f"Kerberos: the keytab cannot be used: {error}") from None
        bindings = None if binding is None else ChannelBindings(application_data=binding)
        self._context: Any = gssapi.SecurityContext(creds=credentials, usage="accept", channel_bindings=bindings)
        self.complete = False

    def step(self, token: bytes) -> bytes | None:
        try:
            reply: bytes | None = self._context.step(token)
            self.complete = self._context.complete
            flags = int(self._context.actual_flags)
        except GSSError as error:
            raise Refused(f"Kerberos: {error}") from None
        bound = flags & gssapi.RequirementFlag.channel_bound
        if self.complete and self._require and not (self._binding and bound):
            self.complete = False
            raise Refused("Kerberos: channel bindings are required (extended protection), the client sent none")
        return reply

    @property
    def account(self) -> str:
        return str(self._context.initiator_name).rstrip("\0")

    def wrap(self, data: bytes) -> tuple[bytes, bytes]:
        iov = IOV(IOVBufferType.header, data, IOVBufferType.padding, std_layout=False)
        wrap_iov(self._context, iov, confidential=True)
        return iov[0].value or b"", (iov[1].value or b"") + (iov[2].value or b"")

    def unwrap(self, header: bytes, data: bytes) -> bytes:
        iov = IOV((IOVBufferType.header, False, header), (IOVBufferType.data, False, data), IOVBufferType.data, std_layout=False)
        try:
            unwrap_iov(self._context, iov)
        except GSSError as error:
            raise Refused(f"a sealed message cannot be opened: {error}") from None
        return iov[1].value or b""


class NtlmContext:
    """pyspnego's acceptor: NTLMv2 only, against the file of accounts."""

    def __init__(self, protocol: str, users: Users, binding: bytes | None, require: bool) -> None:
        self._users, self._binding, self._require = users, binding, require
        self._context: Any = None
        self._protocol = protocol
        self._account = ""
        self.complete = False

    def step(self, token: bytes) -> bytes | None:
        options = spnego.NegotiateOptions.use_ntlm if self._protocol == "ntlm" else spnego.NegotiateOptions.use_negotiate
        if self._context is None:
            self._context = spnego.server(protocol=self._protocol, options=options)
        said = authenticate_message(token)
        if said:
            self._judge_binding(said.binding)
            self._account = self._users.account(said.domain, said.user)
        try:
            reply: bytes | None = self._context.step(token)
        except (SpnegoError, ValueError, struct.error) as error:
            who = f" for {said.domain}\\{said.user}" if said else ""
            raise Refused(f"NTLM{who}: {error}") from None
        self.complete = self._context.complete
        return reply

    def _judge_binding(self, sent: bytes | None) -> None:
        if sent is None or sent == bytes(16):
            if self._require:
                raise Refused("NTLM: channel bindings are required (extended protection), the client sent none")
            return
        expected = None if self._binding is None else hashlib.md5(GssChannelBindings(application_data=self._binding).pack()).digest()
        if sent != expected:
            raise Refused("NTLM: the client's channel bindings are not those of this server's certificate")

    @property
    def account(self) -> str:
        return self._account

    def wrap(self, data: bytes) -> tuple[bytes, bytes]:
        sealed = self._context.wrap_winrm(data)
        return sealed.header, sealed.data

    def unwrap(self, header: bytes, data: bytes) -> bytes:
        try:
            opened: bytes = self._context.unwrap_winrm(header, data)
        except SpnegoError as error:
            raise Refused(f"a sealed message cannot be opened: {error}") from None
        return opened


@dataclass(frozen=True)
class Said:
    """What an AUTHENTICATE_MESSAGE says ([MS-NLMP] 2.2.1.3); `binding`: MD5 of the channel bindings, None where there is none."""

    domain: str
    user: str
    binding: bytes | None


def authenticate_message(token: bytes) -> Said | None:
    """The AUTHENTICATE_MESSAGE in a token, bare or within SPNEGO; None for any other token."""
    start = token.find(NTLM_SIGNATURE + b"\x03\0\0\0")
    if start < 0:
        return None
    message = token[start:]
    try:
        unicode_text = struct.unpack_from("<I", message, 60)[0] & 1
        encoding = "utf-16-le" if unicode_text else "cp437"
        response = payload(message, 20)
        domain, user = (payload(message, offset).decode(encoding, "replace") for offset in (28, 36))
        return Said(domain, user, channel_binding(response))
    except struct.error:
        raise Refused("NTLM: the message is cut off") from None


def payload(message: bytes, offset: int) -> bytes:
    length, _, start = struct.unpack_from("<HHI", message, offset)
    if start + length > len(message):
        raise Refused("NTLM: the message is cut off")
    return message[start : start + length]


def channel_binding(response: bytes) -> bytes | None:
    """MsvAvChannelBindings of an NTLMv2 response ([MS-NLMP] 2.2.2.7, 2.2.2.8)."""
    place = 16 + 28
    while place + 4 <= len(response):
        kind, length = struct.unpack_from("<HH", response, place)
        if kind == AV_END:
            break
        if kind == AV_CHANNEL_BINDINGS:
            return response[place + 4 : place + 4 + length]
        place += 4 + length
    return None
