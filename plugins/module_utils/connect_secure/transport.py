# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTPS to one appliance: one connection a task, kept open. Knows neither logins nor what is asked for."""

from __future__ import annotations

import base64
import http.client
import json
import re
import select
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.connection import ConnectionOptions, Run
from ansible_collections.certlogon.core.plugins.module_utils.errors import SessionLost, UserError

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
    reading: bool = True

    @property
    def excerpt(self) -> str:
        """The beginning of the body as messages show it."""
        text = " ".join(self.body[: 4 * _SHOWN].decode("utf-8", "replace").split())
        return (text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…") or "nothing"

    def json(self) -> Any:
        """The parsed body. Raises `UserError` that shows the first characters where it is not JSON, or nothing at all."""
        if not self.body.strip():
            raise UserError(
                f"{self.where}: HTTP {self.status} with an empty body where JSON was expected; {self.taken}"
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
            raise UserError(f"{self.where}: HTTP {self.status} with {what}: {self.excerpt!r}; {self.taken}{remedy}") from error

    @property
    def taken(self) -> str:
        """What has to be said about an answer to a write that does not tell what became of it."""
        return "" if self.reading else f"{_AFTER[False]}; "


class _Dropped(SessionLost):
    """The connection ended in the middle of a request."""


class Transport:
    """Sends requests and counts them in the run."""

    def __init__(self, options: ConnectionOptions, run: Run) -> None:
        self._options = options
        self._run = run
        # the standard library's client: it looks at no environment (REQUESTS_CA_BUNDLE, proxies, .netrc), and a task that is forked for
        # ten requests begins sooner with it than with any other
        self._connection: http.client.HTTPSConnection | None = None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

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
            except _Dropped:
                pass
            else:
                if answer.status not in BUSY:
                    return answer
            time.sleep(pause)
        return self._once(method, path, auth, body, query, reading)

    def _once(self, method: str, path: str, auth: tuple[str, str], body: Any, query: Mapping[str, Any] | None, reading: bool) -> Answer:
        where = f"{self._options.address}: {method} /api/v1/{path}"
        self._run.requests += 1
        headers = {
            "Accept": "application/json",
            "Authorization": f"Basic {base64.b64encode(':'.join(auth).encode()).decode()}",
            "User-Agent": "certlogon",
        }
        if body is not None:
            headers["Content-Type"] = "application/json"
        address = f"/api/v1/{path}?{urlencode(query)}" if query else f"/api/v1/{path}"
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        connection = self._connected(where)
        try:
            connection.request(method, address, content, headers)
            response = connection.getresponse()
            received = response.read(SIZE_LIMIT + 1)
        except (http.client.HTTPException, OSError) as error:
            self.close()
            raise self._lost(where, reading, error) from error
        length = response.headers.get("Content-Length", "")
        if len(received) > SIZE_LIMIT:
            self.close()
            raise UserError(f"{where}: the answer is larger than {SIZE_LIMIT} bytes")
        if length.isdigit() and int(length) > len(received):
            self.close()
            raise SessionLost(f"{where}: the connection ended after {len(received)} of {length} bytes; {_AFTER[reading]}")
        return Answer(where, response.status, response.reason or "", received, response.headers.get("Location", ""), reading)

    def _connected(self, where: str) -> http.client.HTTPSConnection:
        """The connection that there is, or a new one where there is none or the appliance has ended it meanwhile."""
        if self._connection is not None and self._connection.sock is not None and not _ended(self._connection.sock):
            return self._connection
        self.close()
        options = self._options
        try:
            self._connection = http.client.HTTPSConnection(options.host, options.port, timeout=options.timeout, context=trust(options))
            self._connection.connect()
        except OSError as error:
            self.close()
            raise self._unreachable(where, error) from error
        return self._connection

    def _unreachable(self, where: str, error: OSError) -> SessionLost:
        address, text = self._options.address, " ".join(str(error).split())
        if isinstance(error, ssl.SSLError):
            return SessionLost(f"{where}: TLS failed: {_tls(text, address)}")
        if isinstance(error, TimeoutError):
            return SessionLost(
                f"{where}: no connection within {self._options.timeout} seconds; is {address} up, and the port open from here?"
            )
        if isinstance(error, ConnectionResetError):
            return _Dropped(f"{where}: the connection was dropped ({_reason(text)}); {_AFTER[True]}")
        return SessionLost(f"{where}: no connection: {_reason(text)}; is {address} up, its name known here, and the port the right one?")

    def _lost(self, where: str, reading: bool, error: Exception) -> SessionLost:
        text, after = " ".join(str(error).split()), _AFTER[reading]
        if isinstance(error, ssl.SSLError) and not isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return SessionLost(f"{where}: TLS failed: {_tls(text, self._options.address)}")  # such as for want of a client certificate
        if isinstance(error, TimeoutError):
            return SessionLost(
                f"{where}: no answer within {self._options.timeout} seconds; {after}. Raise timeout (connect_secure_timeout) if it is slow"
            )
        return _Dropped(f"{where}: the connection was dropped ({_reason(text)}); {after}")


def _ended(sock: socket.socket) -> bool:
    """Whether an idle connection has something to say, which can only be that it ends."""
    poll = select.poll()  # unlike select, it knows no largest number of open files
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


_AFTER = {
    True: "is the appliance restarting? Run again when it answers",
    False: "whether the appliance took the change is not known; the next run reads it and does what is left to do",
}
"""What to do about a connection that ended, for reads and for writes."""


def trust(options: ConnectionOptions) -> ssl.SSLContext:
    """What the certificate is verified against, and what this side shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["http/1.1"])
    if not options.validate_certs:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    elif options.ca_path:
        context.load_verify_locations(options.ca_path)
    else:
        paths = ssl.get_default_verify_paths()
        # of a directory only what is needed is read; the file of all CAs costs each task 40 ms
        hashed = paths.capath and next(Path(paths.capath).glob("*.0"), None)
        if not (hashed or paths.cafile):
            raise SessionLost(
                f"{options.address}: this control node has no CAs to verify the appliance's certificate by; give that of its CA as ca_path "
                "(connect_secure_ca_path), or install the package ca-certificates"
            )
        context.load_verify_locations(**({"capath": paths.capath} if hashed else {"cafile": paths.cafile}))
    if options.client_cert:
        # an encrypted key would ask for its passphrase at the terminal
        context.load_cert_chain(options.client_cert, options.client_key, password="")
    return context


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
    "no certificate or crl found": lambda address: "ca_path (connect_secure_ca_path) is a file without any certificate in PEM form",
    "pem lib": lambda address: (
        "client_cert or client_key is no PEM file of a certificate or unencrypted key, or they do not fit each other"
    ),
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
    for mark in ("certificate verify failed: ", "[Errno", "Caused by "):
        if mark in text:
            return text[text.rindex(mark) :].removeprefix("Caused by ").strip("()'\" ")[:300]
    # ('Connection aborted.', RemoteDisconnected('Remote end closed connection without response'))
    inner = re.search(r"\w\(['\"]([^'\"]+)['\"]\)*$", text)
    return (inner[1] if inner else text)[:300]
