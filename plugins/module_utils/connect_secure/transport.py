# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTPS to one appliance: one connection a task, kept open. Knows neither logins nor what is asked for."""

from __future__ import annotations

import base64
import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.connection import ConnectionOptions, Run
from ansible_collections.certlogon.core.plugins.module_utils.errors import SessionLost, UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import requests, urllib3

SIZE_LIMIT = 512 * 1024 * 1024
"""Bytes of an answer; a configuration backup is the largest."""
RETRIES = (0.3, 1.0)
"""Seconds before a read is tried once more. Writes are never repeated."""
BUSY = (500, 502, 503, 504)
_SHOWN = 120


@dataclass(frozen=True)
class Answer:
    """What came back for `method` `path`; `where` names both and the appliance in messages."""

    where: str
    status: int
    reason: str
    body: bytes
    location: str = ""

    @property
    def excerpt(self) -> str:
        """The beginning of the body as messages show it."""
        text = " ".join(self.body[: 4 * _SHOWN].decode("utf-8", "replace").split())
        return (text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…") or "nothing"

    def json(self) -> Any:
        """The parsed body. Raises `UserError` that shows the first characters where it is not JSON, or nothing at all."""
        if not self.body.strip():
            raise UserError(
                f"{self.where}: HTTP {self.status} with an empty body where JSON was expected; "
                "look at the appliance's event log, and run again"
            )
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            html = self.body.lstrip()[:1] == b"<"
            what = "a web page" if html else "what is not (or only half a) JSON"
            remedy = (
                "is host and port where the REST interface is (management or internal port), with nothing between that answers instead?"
                if html
                else "the answer was cut off or is of something else; run again, and look at the appliance's event log if it stays"
            )
            raise UserError(f"{self.where}: HTTP {self.status} with {what}: {self.excerpt!r}; {remedy}") from error


class Transport:
    """Sends requests and counts them in the run."""

    def __init__(self, options: ConnectionOptions, run: Run) -> None:
        self._options = options
        self._run = run
        self._session = requests.Session()
        # REQUESTS_CA_BUNDLE, proxies and .netrc are for other programs than this
        self._session.trust_env = False
        self._session.verify = _trust(options)
        if options.client_cert:
            self._session.cert = (options.client_cert, options.client_key) if options.client_key else options.client_cert
        self._session.headers.update({"Accept": "application/json", "User-Agent": "certlogon"})
        self._session.mount("https://", requests.adapters.HTTPAdapter(pool_connections=1, pool_maxsize=1, max_retries=0))

    def close(self) -> None:
        self._session.close()

    def send(
        self,
        method: str,
        path: str,
        auth: tuple[str, str],
        *,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        login: bool = False,
    ) -> Answer:
        """One request below /api/v1, reads repeated where the appliance is busy or drops the connection. Raises `SessionLost`."""
        reading = method == "GET" or login
        for pause in RETRIES if reading and not login else ():
            try:
                answer = self._once(method, path, auth, body, query, reading)
            except SessionLost as error:
                if not isinstance(error.__cause__, requests.exceptions.ConnectionError) or _hopeless(error.__cause__):
                    raise
            else:
                if answer.status not in BUSY:
                    return answer
            time.sleep(pause)
        return self._once(method, path, auth, body, query, reading)

    def _once(self, method: str, path: str, auth: tuple[str, str], body: Any, query: Mapping[str, Any] | None, reading: bool) -> Answer:
        where = f"{self._options.address}: {method} /api/v1/{path}"
        self._run.requests += 1
        headers = {"Authorization": f"Basic {base64.b64encode(':'.join(auth).encode()).decode()}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            response = self._session.request(
                method,
                f"https://{self._options.address}/api/v1/{path}",
                params=dict(query) if query else None,
                timeout=self._options.timeout,
                allow_redirects=False,
                stream=True,
                data=None if body is None else json.dumps(body, ensure_ascii=False).encode(),
                headers=headers,
            )
            received = response.raw.read(SIZE_LIMIT + 1, decode_content=True)
        except UserError:
            raise
        except Exception as error:
            raise self._lost(where, reading, error) from error
        length = response.headers.get("Content-Length", "")
        if len(received) > SIZE_LIMIT:
            raise UserError(f"{where}: the answer is larger than {SIZE_LIMIT} bytes")
        if length.isdigit() and int(length) > len(received) and "Content-Encoding" not in response.headers:
            raise SessionLost(f"{where}: the connection ended after {len(received)} of {length} bytes; {_AFTER[reading]}")
        return Answer(where, response.status_code, response.reason or "", received, response.headers.get("Location", ""))

    def _lost(self, where: str, reading: bool, error: Exception) -> Exception:
        """Nothing but the transport's own failures: a bug keeps its traceback."""
        address, text = self._options.address, " ".join(str(error).split())
        after = _AFTER[reading]
        failures = requests.exceptions
        if isinstance(error, failures.SSLError):
            return SessionLost(f"{where}: TLS failed: {_tls(text, address)}")
        if isinstance(error, failures.ConnectTimeout):
            return SessionLost(
                f"{where}: no connection within {self._options.timeout} seconds; is {address} up, and the port open from here?"
            )
        if isinstance(error, (failures.Timeout, urllib3.exceptions.ReadTimeoutError)):
            return SessionLost(
                f"{where}: no answer within {self._options.timeout} seconds; {after}. Raise timeout (connect_secure_timeout) if it is slow"
            )
        if isinstance(error, (failures.RequestException, urllib3.exceptions.HTTPError, OSError)):
            refused = "refused" in text.casefold() or "resolution" in text.casefold() or "not known" in text.casefold()
            if refused or "unreachable" in text.casefold():
                return SessionLost(
                    f"{where}: no connection: {_reason(text)}; is {address} up, its name known here, and the port the right one?"
                )
            return SessionLost(f"{where}: the connection was dropped ({_reason(text)}); {after}")
        return error


_AFTER = {
    True: "is the appliance restarting? Run again when it answers",
    False: "whether the appliance took the change is not known; the next run reads it and does what is left to do",
}
"""What to do about a connection that ended, for reads and for writes."""


def _trust(options: ConnectionOptions) -> bool | str:
    if not options.validate_certs:
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # said once a run, by the session
        return False
    if options.ca_path:
        return options.ca_path
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.capath or True


def _hopeless(error: BaseException) -> bool:
    """What will be the same a second later."""
    text = str(error).casefold()
    return isinstance(error, requests.exceptions.SSLError) or any(sign in text for sign in ("refused", "not known", "resolution"))


_CONSOLE = "System > Configuration > Certificates > Device Certificates"
_TLS_REMEDIES: Mapping[str, Callable[[str], str]] = {
    "certificate has expired": lambda address: (
        f"the device certificate on {address} has expired; renew it: once with validate_certs false (connect_secure_validate_certs), from "
        f"a network where nobody is in between, by connect_secure_device_certificate, or in the console under {_CONSOLE}"
    ),
    "not yet valid": lambda address: f"the device certificate on {address} is not valid yet; set the clocks here and there",
    "self-signed": lambda address: (
        f"{address} shows a self-signed certificate; bind one of your CA to the management port ({_CONSOLE}), or give that very "
        "certificate as ca_path (connect_secure_ca_path) for the first run"
    ),
    "hostname mismatch": lambda address: (
        f"the certificate on {address} is for other names; set ansible_host to a name in it, or bind one for this name ({_CONSOLE})"
    ),
    "ip address mismatch": lambda address: f"the certificate on {address} is not for this address; set ansible_host to a name in it",
    "unable to get local issuer": lambda address: (
        f"the certificate on {address} is of a CA that is not trusted here; give that CA's certificate as ca_path "
        "(connect_secure_ca_path), and see that the appliance sends its intermediate CAs"
    ),
}


def _tls(text: str, address: str) -> str:
    folded = text.casefold().replace("self signed", "self-signed")
    remedy = next((say(address) for sign, say in _TLS_REMEDIES.items() if sign in folded), "")
    return remedy or f"{_reason(text)}; is this the port of the appliance's web server, and does it speak TLS 1.2 or newer?"


def _reason(text: str) -> str:
    """The innermost reason of a chain of exceptions."""
    for mark in ("certificate verify failed: ", "[Errno", "Caused by ", "Connection aborted"):
        if mark in text:
            return text[text.rindex(mark) :].removeprefix("Caused by ").strip("()'\" ")[:300]
    return text[:300]
