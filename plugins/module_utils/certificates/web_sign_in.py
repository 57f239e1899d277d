# SPDX-License-Identifier: GPL-3.0-or-later
"""Signing in to a web server: Negotiate, Kerberos or NTLM bound to its TLS certificate (RFC 4559, RFC 5929), or Basic (RFC 7617).

The sign-in belongs to the connection, as IIS has it: once done, further requests on it carry no credentials.
"""

from __future__ import annotations

import base64
import re
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates.enrollment import EnrollmentOptions
from ansible_collections.certlogon.core.plugins.module_utils.directory.spnego_bind import endpoint_binding
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import (
    kerberos_is_missing,
    requests,
    spnego,
    spnego_channel_bindings,
    urllib3,
)


class Connected:
    """What is known of the one connection: the server's certificate (DER), how many connections there were."""

    def __init__(self) -> None:
        self.certificate = b""
        self.connections = 0


def adapter(connected: Connected) -> Any:
    """A transport of one connection at a time, which notes the server's certificate."""

    class Connection(urllib3.connection.HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            connected.certificate = self.sock.getpeercert(binary_form=True)  # type: ignore[union-attr]
            connected.connections += 1

    class Pool(urllib3.connectionpool.HTTPSConnectionPool):
        ConnectionCls = Connection

    class Adapter(requests.adapters.HTTPAdapter):
        def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
            super().init_poolmanager(*arguments, **options)
            self.poolmanager.pool_classes_by_scheme = {**self.poolmanager.pool_classes_by_scheme, "https": Pool}

    return Adapter(pool_connections=1, pool_maxsize=1, max_retries=0, pool_block=True)


class SignIn:
    """Answers 401 on the connection it came on. Used as the `auth` of a requests session.

    Where IIS asks for Kerberos anew on a connection that is signed in (`authPersistNonNTLM` false), the ticket is sent with every
    further request, so that none needs two round trips.
    """

    def __init__(self, options: EnrollmentOptions, connected: Connected) -> None:
        self._options = options
        self._connected = connected
        self._signed_in = 0
        self._with_each: tuple[str, str] | None = None
        self._context_sent: Any = None
        self.count = 0
        self.round_trips = 0

    def __call__(self, request: Any) -> Any:
        if self._options.auth == "basic":
            pair = f"{self._options.username}:{self._options.password}".encode()
            request.headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
            return request
        if self._with_each:
            scheme, protocol = self._with_each
            self._context_sent = self._context(protocol)
            self.count += 1
            request.headers["Authorization"] = f"{scheme} {base64.b64encode(self._step(self._context_sent, None) or b'').decode()}"
        request.register_hook("response", self._answer)
        return request

    def _answer(self, response: Any, **options: Any) -> Any:
        sent, self._context_sent = self._context_sent, None
        if response.status_code != 401:
            if sent is not None and self._with_each:
                last = _token(response, self._with_each[0])
                if last and not sent.complete:
                    self._step(sent, last)
            return response
        scheme, protocol = self._scheme(response)
        asked_again = self._signed_in == self._connected.connections
        self.count += 1
        context = self._context(protocol)
        token: bytes | None = None
        while response.status_code == 401 and not (context.complete and token is not None):
            offered = self._step(context, token)
            if not offered:
                break
            response = self._send_again(response, f"{scheme} {base64.b64encode(offered).decode()}", options)
            token = _token(response, scheme)
            if token is None:
                break
        if response.status_code != 401:
            if token and not context.complete:
                self._step(context, token)
            self._signed_in = self._connected.connections
            if asked_again and context.negotiated_protocol == "kerberos":
                self._with_each = scheme, protocol
        return response

    def _send_again(self, response: Any, authorization: str, options: Any) -> Any:
        # the connection is free for the next request only when this answer was read
        response.content  # noqa: B018
        response.close()
        request = response.request.copy()
        request.headers["Authorization"] = authorization
        self.round_trips += 1
        again = response.connection.send(request, **options)
        again.history.append(response)
        again.request = request
        return again

    def _scheme(self, response: Any) -> tuple[str, str]:
        """The scheme to answer with, and pyspnego's protocol. Raises `UserError` where the server offers none that fits."""
        offered = {
            name.casefold() for name in re.findall(r"(?:\A|,)\s*([A-Za-z][A-Za-z0-9_-]*)", response.headers.get("WWW-Authenticate", ""))
        }
        auth = self._options.auth
        if auth == "ntlm" and "ntlm" in offered:
            return "NTLM", "ntlm"
        if "negotiate" in offered:
            return "Negotiate", auth
        if auth == "negotiate" and "ntlm" in offered and self._options.username:
            return "NTLM", "ntlm"
        raise UserError(
            f"auth: {self._options.url} offers {', '.join(sorted(offered)) or 'no way to sign in'}, not {auth}; "
            "set auth to one that it offers, or switch Windows authentication on for the web enrolment (adcs_web_enrollment)"
        )

    def _context(self, protocol: str) -> Any:
        bindings = spnego_channel_bindings.GssChannelBindings(application_data=endpoint_binding(self._connected.certificate))
        try:
            return spnego.client(
                self._options.username,
                self._options.password,
                hostname=self._options.host,
                service="HTTP",
                protocol=protocol,
                channel_bindings=bindings,
            )
        except Exception as error:
            raise self._failed(error) from error

    def _step(self, context: Any, token: bytes | None) -> bytes | None:
        try:
            answer: bytes | None = context.step(token)
        except Exception as error:  # pyspnego, gssapi and krb5 have no common base class
            raise self._failed(error) from error
        return answer

    def _failed(self, error: Exception) -> UserError:
        if isinstance(error, ImportError):
            return kerberos_is_missing()
        text = " ".join(str(error).split())
        who = self._options.username or "with the ticket in the credential cache"
        if "clock skew" in text.lower():
            return UserError(f"auth: the clocks of this machine and of the domain controller differ too much; set them right: {text}")
        return UserError(
            f"username: {self._options.auth} could not sign in {who} at {self._options.host}: {text}; check name, password and realm, "
            "and that url has the host name that the service principal HTTP/… is registered for"
        )


def _token(response: Any, scheme: str) -> bytes | None:
    found = re.search(rf"(?i)(?:\A|,)\s*{scheme}\s+([A-Za-z0-9+/=]+)", response.headers.get("WWW-Authenticate", ""))
    try:
        return base64.b64decode(found.group(1), validate=True) if found else None
    except ValueError:
        return None
