# SPDX-License-Identifier: GPL-3.0-or-later
"""Codes judged by a privacyIDEA server: POST /validate/check (its REST API, versions 3.x)."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from passivekey.protocol.errors import Refused
from passivekey.server.accounts import Account
from passivekey.server.factors import Verdict, is_transaction

_LONGEST = 1024 * 1024
"""Octets of an answer: a challenge may come with a picture."""

_MOST_PRETENDED = 2.0
"""Seconds."""


@dataclass(frozen=True)
class Asking:
    """Where the server is, and as whom its users are named."""

    url: str
    ca_file: Path | None = None
    realm: str = ""
    names: str = "login"
    """"login": sAMAccountName, "upn": userPrincipalName; what the resolver has as its login name."""

    token: str = field(default="", repr=False)
    timeout: int = 5


class PrivacyIdea:
    """A `factors.Backend`. No redirect is followed and no proxy used; TLS is verified; what is not understood is no acceptance."""

    def __init__(self, options: Asking, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep) -> None:
        self._options = options
        self._clock = clock
        self._sleep = sleep
        self._context = ssl.create_default_context(cafile=str(options.ca_file) if options.ca_file else None)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._last = (0.0, "")
        """How long the last check took that was no acceptance, and why it failed, if it did."""

    def check(self, account: Account, code: str, transaction: str = "") -> Verdict:
        user = account.login if self._options.names == "login" else account.name
        if not user:
            return Verdict(why="the account has no such name")
        words = {"user": user, "pass": code}
        words |= {"realm": self._options.realm} if self._options.realm else {}
        words |= {"transaction_id": transaction} if transaction else {}
        begun = self._clock()
        try:
            status, content = self._post("/validate/check", words)
            verdict = _verdict(status, content)
        except Refused as refused:
            self._last = (self._clock() - begun, refused.detail)
            raise
        if not verdict.accepted:
            self._last = (self._clock() - begun, "")
        return verdict

    def pretend(self) -> None:
        took, failed = self._last
        self._sleep(min(took, _MOST_PRETENDED))
        if failed:
            raise Refused("unavailable", failed)

    def reach(self) -> None:
        try:
            self._connect().close()
        except (OSError, HTTPException) as error:
            raise Refused("unavailable", _reason(error)) from error

    def _post(self, path: str, words: Mapping[str, str]) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json", "User-Agent": "passivekey"}
        headers |= {"Authorization": self._options.token} if self._options.token else {}
        connection = None
        try:
            connection = self._connect()
            # a code may hold anything that can be typed: it is percent-encoded, octet by octet
            body = urlencode(words, encoding="utf-8", errors="replace").encode("ascii")
            connection.request("POST", urlsplit(self._options.url).path.rstrip("/") + path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(_LONGEST + 1)
        except (OSError, HTTPException) as error:
            raise Refused("unavailable", _reason(error)) from error
        finally:
            if connection is not None:
                connection.close()

    def _connect(self) -> HTTPSConnection:
        parts = urlsplit(self._options.url)
        connection = HTTPSConnection(parts.hostname or "", parts.port or 443, timeout=self._options.timeout, context=self._context)
        connection.connect()
        return connection


def _verdict(status: int, content: bytes) -> Verdict:
    """Of an answer. Accepted is what `value` says, and what names the token that it was: a user whom a policy lets in without one
    (passOnNoToken, passthru) has shown no second factor."""
    try:
        words = json.loads(content[:_LONGEST])
    except (ValueError, RecursionError):
        words = None
    result = words.get("result") if isinstance(words, dict) else None
    if not isinstance(result, dict) or status >= 500:
        raise Refused("unavailable", f"{_answered(status)}, which is no answer to a check")
    detail = words.get("detail")
    said = detail if isinstance(detail, dict) else {}
    if status != 200 or result.get("status") is not True:
        return Verdict(why=_error(status, result.get("error")))
    outcome = result.get("authentication")
    if result.get("value") is True and outcome in (None, "ACCEPT"):
        by_token = bool(said.get("serial"))
        return Verdict(by_token, why="" if by_token else "accepted, but by no token: see passOnNoToken, no_detail_on_success")
    if outcome in (None, "CHALLENGE") and is_transaction(said.get("transaction_id")):
        return Verdict(transaction=str(said["transaction_id"]), prompt=str(said.get("message") or ""))
    return Verdict()


def _answered(status: int) -> str:
    return f"privacyIDEA answers HTTP {status}"


def _error(status: int, error: Any) -> str:
    code = error.get("code") if isinstance(error, dict) else None
    return f"{_answered(status)}, error {code}" if isinstance(code, int) else _answered(status)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"privacyIDEA's certificate is refused: {error.verify_message}; see backend.ca_file"
    if isinstance(error, TimeoutError):
        return "privacyIDEA does not answer in time"
    return f"privacyIDEA cannot be reached: {type(error).__name__}"
