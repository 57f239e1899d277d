# SPDX-License-Identifier: GPL-3.0-or-later
"""The server, asked over HTTPS (protocol sections 2 and 3); signs in by a Kerberos ticket where the server takes it, else by a password."""

from __future__ import annotations

import base64
import email.utils
import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
import spnego
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from spnego.channel_bindings import GssChannelBindings
from spnego.exceptions import SpnegoError

from passivekey.protocol import messages

TIMEOUT = (5, 30)
"""Seconds: to connect, to be answered."""


class ServerError(Exception):
    """The server refused, with a type of the protocol; or could not be reached ("unreachable")."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code


class Server:
    """One session with the server at `origin`. `ca_file`: what its certificate is verified by, else the system's store."""

    def __init__(self, origin: str, ca_file: str | None = None) -> None:
        self.origin = origin.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False  # a variable of the environment must not decide whom to trust
        self._verify: str | bool = ca_file or True
        self.clock_difference = 0.0
        """Seconds that this machine's clock is ahead, by the last answer."""

    def get(self, path: str) -> requests.Response:
        return self._ask("GET", path)

    def post(self, path: str, words: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        answer = self._ask("POST", path, json=dict(words), headers=headers)
        return dict(answer.json()) if answer.content else {}

    def nonce(self) -> str:
        return str(self.post("/v1/nonces", {})["nonce"])

    def enroll(self, words: Mapping[str, Any], ask_password: Callable[[], tuple[str, str] | None]) -> dict[str, Any]:
        """POST /v1/devices, signed in: by the user's ticket without a question, else by name and password."""
        token = self._ticket()
        if token:
            try:
                return self.post("/v1/devices", words, {"Authorization": f"Negotiate {token}"})
            except ServerError as error:
                if error.code != "unauthenticated":
                    raise
        given = ask_password()
        if given is None:
            raise ServerError("unauthenticated", "there is no Kerberos ticket, and nobody gave a password")
        self.post("/v1/sign-in", {"username": given[0], "password": given[1]})
        return self.post("/v1/devices", words)

    def _ticket(self) -> str:
        """A token for HTTP/host, bound to the TLS channel; "" where the user has no ticket."""
        host = urlsplit(self.origin).hostname or ""
        try:
            context = spnego.client(hostname=host, service="HTTP", protocol="kerberos", channel_bindings=self._channel())
            return base64.b64encode(context.step() or b"").decode()
        except (SpnegoError, ImportError):
            return ""

    def _channel(self) -> GssChannelBindings | None:
        """tls-server-end-point of the server's certificate (RFC 5929 section 4)."""
        answer = self._session.get(f"{self.origin}/health", verify=self._verify, timeout=TIMEOUT, stream=True)
        try:
            connection = getattr(answer.raw, "connection", None) or getattr(answer.raw, "_connection", None)
            der = connection.sock.getpeercert(True) if connection is not None and connection.sock is not None else None
        finally:
            answer.close()
        if not der:
            return None
        certificate = x509.load_der_x509_certificate(der)
        signed_with = certificate.signature_hash_algorithm
        strong = signed_with if signed_with and not isinstance(signed_with, (hashes.MD5, hashes.SHA1)) else hashes.SHA256()
        return GssChannelBindings(application_data=b"tls-server-end-point:" + certificate.fingerprint(strong))

    def _ask(self, method: str, path: str, **more: Any) -> requests.Response:
        try:
            answer = self._session.request(
                method, f"{self.origin}{path}", verify=self._verify, timeout=TIMEOUT, allow_redirects=False, **more
            )
        except requests.RequestException as error:
            raise ServerError("unreachable", " ".join(str(error).split())) from error
        self._compare_clocks(answer.headers.get("Date", ""), answer.elapsed.total_seconds())
        if answer.ok and answer.status_code < 300 and len(answer.content) <= messages.LONGEST:
            return answer
        raise _refused(answer)

    def _compare_clocks(self, told: str, took: float) -> None:
        try:
            theirs = email.utils.parsedate_to_datetime(told).timestamp()
        except (ValueError, TypeError):
            return
        self.clock_difference = time.time() - took / 2 - theirs


def _refused(answer: requests.Response) -> ServerError:
    try:
        words = answer.json()
        kind = str(words["type"]).removeprefix("urn:passivekey:error:")
        return ServerError(kind, str(words.get("detail") or ""))
    except (ValueError, KeyError, TypeError, json.JSONDecodeError):
        return ServerError("unreachable", f"HTTP {answer.status_code}, and no answer of PassiveKey; is the address right?")
