# SPDX-License-Identifier: GPL-3.0-or-later
"""The server, asked over HTTPS (protocol sections 2 and 3); signs in by a Kerberos ticket where the server takes it, else by a password."""

from __future__ import annotations

import base64
import email.utils
import json
import ssl
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse, HTTPSConnection
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from passivekey.protocol import messages

CONNECT, ANSWER = 5.0, 30.0
"""Seconds."""

SIGN_IN = "__Host-passivekey-signin"
AskPassword = Callable[[], "tuple[str, str] | None"]
_MOST_ANSWERS = 6
"""Of second factors, in one run."""


class ServerError(Exception):
    """The server refused, with a type of the protocol; or could not be reached ("unreachable"). `words`: all that it answered."""

    def __init__(self, code: str, detail: str, words: Mapping[str, Any] | None = None) -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.words = words or {}


@dataclass(frozen=True)
class Wanted:
    """What the server asks for beside the sign-in: kinds that it accepts; or, with `transaction`, one more answer.
    `again`: the last was wrong."""

    accepted: tuple[str, ...]
    transaction: str = ""
    prompt: str = ""
    again: bool = False


AskFactor = Callable[[Wanted], "dict[str, str] | None"]


class Server:
    """One connection to the server at `origin`. `ca_file`: what its certificate is verified by, else the system's store.

    No proxy is used, and no redirect followed: a variable of the environment or an answer must not decide who is asked.
    """

    def __init__(self, origin: str, ca_file: str | None = None, clock: Callable[[], float] = time.time) -> None:
        self.origin = origin.rstrip("/")
        self.clock_difference = 0.0
        """Seconds that this machine's clock is ahead, by the last answer."""

        self._ca_file, self._clock = ca_file, clock
        self._connection: HTTPSConnection | None = None
        self._sign_in = ""

    def get(self, path: str) -> bytes:
        return self._ask("GET", path)

    def post(self, path: str, words: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        content = self._ask("POST", path, json.dumps(words).encode(), headers or {})
        return read_object(content) if content else {}

    def nonce(self) -> str:
        return str(self.post("/v1/nonces", {}).get("nonce"))

    def enroll(self, words: Mapping[str, Any], ask_password: AskPassword, ask_factor: AskFactor) -> dict[str, Any]:
        """POST /v1/devices, with a second factor where the server asks for one, and the user has one."""
        given: dict[str, str] | None = None
        for number in range(_MOST_ANSWERS):
            try:
                return self._signed_in({**words, **({"second_factor": given} if given else {})}, ask_password)
            except ServerError as error:
                wanted = _wanted(error, given is not None)
                given = ask_factor(wanted) if wanted and number < _MOST_ANSWERS - 1 else None
                if given is None:
                    raise
        raise AssertionError("the last answer is returned or raised")

    def _signed_in(self, words: Mapping[str, Any], ask_password: AskPassword) -> dict[str, Any]:
        """POST /v1/devices, signed in: by the user's ticket without a question, else by name and password, asked for once."""
        token = self._ticket()
        if token:
            try:
                return self.post("/v1/devices", words, {"Authorization": f"Negotiate {token}"})
            except ServerError as error:
                if error.code != "unauthenticated":
                    raise
        if self._sign_in:
            try:
                return self.post("/v1/devices", words, {"Cookie": f"{SIGN_IN}={self._sign_in}"})
            except ServerError as error:
                if error.code != "unauthenticated":
                    raise
        given = ask_password()
        if given is None:
            raise ServerError("unauthenticated", "there is no Kerberos ticket that the server takes, and nobody gave a password")
        self.post("/v1/sign-in", {"username": given[0], "password": given[1]})
        return self.post("/v1/devices", words, {"Cookie": f"{SIGN_IN}={self._sign_in}"})

    def _ticket(self) -> str:
        """A token for HTTP/host, bound to the TLS channel; "" where the user has no ticket."""
        binding = self.channel_binding()
        token = _by_sspi(self._host, binding) if sys.platform == "win32" else _by_gssapi(self._host, binding)
        return base64.b64encode(token).decode()

    def channel_binding(self) -> bytes:
        """tls-server-end-point of the server's certificate on this connection (RFC 5929 section 4)."""
        self.get("/v1/policy")  # on a connection that lives
        sock = self._connection.sock if self._connection else None
        der = sock.getpeercert(True) if isinstance(sock, ssl.SSLSocket) else None
        if not der:
            return b""
        certificate = x509.load_der_x509_certificate(der)
        signed_with = certificate.signature_hash_algorithm
        strong = signed_with if signed_with and not isinstance(signed_with, (hashes.MD5, hashes.SHA1)) else hashes.SHA256()
        return b"tls-server-end-point:" + certificate.fingerprint(strong)

    @property
    def _host(self) -> str:
        return urlsplit(self.origin).hostname or ""

    def _ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> bytes:
        begun = time.monotonic()
        try:
            answer, content = self._answer(method, path, body, headers or {})
        except (OSError, HTTPException, ValueError) as error:
            self.close()
            raise ServerError("unreachable", _reason(error)) from error
        self._compare_clocks(answer.headers.get("Date", ""), time.monotonic() - begun)
        self._keep_sign_in(answer)
        if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES and len(content) <= messages.LONGEST:
            return content
        raise _refused(answer, content)

    def _answer(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[HTTPResponse, bytes]:
        sent = {"Content-Type": "application/json", **headers} if body is not None else dict(headers)
        reused = self._connection is not None
        try:
            return self._once(method, path, body, sent)
        except (HTTPException, ConnectionError, ssl.SSLEOFError):  # by TCP, or by TLS
            self.close()
            if not reused:
                raise
        return self._once(method, path, body, sent)  # the server had closed the old connection; each step may be repeated

    def _once(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[HTTPResponse, bytes]:
        if self._connection is None:
            self._connection = self._connect()
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        content = answer.read(messages.LONGEST + 1)
        if not answer.isclosed():
            self.close()  # what is longer than allowed is not read
        return answer, content

    def _connect(self) -> HTTPSConnection:
        parts = urlsplit(self.origin)
        try:
            context = ssl.create_default_context(cafile=self._ca_file)
        except OSError as error:  # ssl's own errors are of it
            raise ServerError("unreachable", f"ca_file {self._ca_file} cannot be read as certificates in PEM: {_reason(error)}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        connection = HTTPSConnection(self._host, parts.port or 443, timeout=CONNECT, context=context)
        connection.connect()
        connection.sock.settimeout(ANSWER)
        return connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _keep_sign_in(self, answer: HTTPResponse) -> None:
        for header in answer.headers.get_all("Set-Cookie") or ():
            try:
                found = SimpleCookie(header).get(SIGN_IN)
            except CookieError:
                continue
            if found is not None:
                self._sign_in = found.value

    def _compare_clocks(self, told: str, took: float) -> None:
        try:
            theirs = email.utils.parsedate_to_datetime(told).timestamp()
        except (ValueError, TypeError):
            return
        self.clock_difference = self._clock() - took / 2 - theirs


def _by_gssapi(host: str, binding: bytes) -> bytes:
    """By Kerberos' own library: pyspnego does it only where the package krb5 is there too, which Debian has not."""
    try:
        import gssapi
    except (ImportError, OSError):
        return b""
    gss: Any = gssapi
    try:
        context = gss.SecurityContext(
            name=gss.Name(f"HTTP@{host}", gss.NameType.hostbased_service),
            mech=gss.MechType.kerberos,
            usage="initiate",
            channel_bindings=gss.raw.ChannelBindings(application_data=binding) if binding else None,
        )
        return context.step() or b""
    except gss.exceptions.GSSError:
        return b""


def _by_sspi(host: str, binding: bytes) -> bytes:
    try:
        import spnego
        from spnego.channel_bindings import GssChannelBindings
        from spnego.exceptions import SpnegoError
    except ImportError:
        return b""
    bindings = GssChannelBindings(application_data=binding) if binding else None
    try:
        return spnego.client(hostname=host, service="HTTP", protocol="kerberos", channel_bindings=bindings).step() or b""
    except (SpnegoError, ImportError):
        return b""


def read_object(content: bytes) -> dict[str, Any]:
    """What the server answered; anything but a JSON object is no answer of PassiveKey."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ServerError("unreachable", "the answer is none of PassiveKey; is the address right?") from error
    if not isinstance(found, dict):
        raise ServerError("unreachable", "the answer is none of PassiveKey; is the address right?")
    return found


def _wanted(error: ServerError, given: bool) -> Wanted | None:
    """What a refusal asks the user for; None where it asks for nothing."""
    accepted, transaction = error.words.get("accepted"), str(error.words.get("transaction") or "")
    if error.code != "second-factor-required" or not isinstance(accepted, list):
        return None
    prompt = "".join(filter(str.isprintable, str(error.words.get("prompt") or "")))[:200]
    return Wanted(tuple(map(str, accepted)), transaction, prompt, given and not transaction)


def _refused(answer: HTTPResponse, content: bytes) -> ServerError:
    try:
        words = json.loads(content)
        kind = str(words["type"]).removeprefix("urn:passivekey:error:")
        return ServerError(kind, str(words.get("detail") or ""), words)
    except (ValueError, KeyError, TypeError, RecursionError):
        redirect = "a redirect, which is not followed" if 300 <= answer.status < 400 else "no answer of PassiveKey"
        return ServerError("unreachable", f"HTTP {answer.status}, {redirect}; is the address right?")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message}; set ca_file, or add the CA to this machine's trust store"
    return " ".join(str(error).split()) or type(error).__name__
