# SPDX-License-Identifier: GPL-3.0-or-later
"""The protocol over HTTP: a Starlette application around the service. Nothing is decided here."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from passivekey.errors import ConfigurationError
from passivekey.protocol import messages
from passivekey.protocol.errors import Refused
from passivekey.server import incoming
from passivekey.server.accounts import Account
from passivekey.server.administration import Administration
from passivekey.server.metrics import Metrics
from passivekey.server.service import SIGN_IN_LIFE, Service
from passivekey.server.spnego import Acceptor

COOKIE, SESSION, SIGN_IN = "__Host-passivekey", "__Host-passivekey-session", "__Host-passivekey-signin"
HEALTH_LIFE = 2.0
"""Seconds since it began that a look at what the service stands on is good for: everybody may ask, and a look costs the directory work."""

_STATUS = {
    "malformed": 400,
    "unauthenticated": 401,
    "second-factor-required": 401,
    "proof-refused": 401,
    "not-allowed": 403,
    "too-many-devices": 403,
    "no-such-device": 404,
    "request-refused": 422,
    "throttled": 429,
    "unavailable": 503,
}
_TITLES = {
    "malformed": "The request is not as the protocol says",
    "unauthenticated": "Not signed in",
    "second-factor-required": "Another factor is needed",
    "proof-refused": "The proof is refused",
    "not-allowed": "Not allowed",
    "too-many-devices": "Too many devices",
    "no-such-device": "No such device",
    "request-refused": "The certificate request is refused",
    "throttled": "Too many attempts",
    "unavailable": "Not available now",
}
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


@dataclass
class Fronts:
    """Who may ask in whose name: secrets of sites and of RADIUS, the acceptor of tickets, and who may read the metrics."""

    sites: Mapping[str, str] = field(default_factory=dict)
    radius: str = ""
    acceptor: Acceptor | None = None
    metrics: frozenset[str] = frozenset({"127.0.0.1", "::1"})
    administrators: frozenset[str] = frozenset()
    """SIDs of groups; without any there are no administrators' pages."""

    passwords: bool = True
    """Whether administrators may sign in by password too."""


Handler = Callable[["Api", Request], Awaitable[Response]]


class Api:
    def __init__(self, service: Service, fronts: Fronts) -> None:
        self.service = service
        self.fronts = fronts
        self.metrics = Metrics()
        self._look: asyncio.Task[dict[str, str]] | None = None
        self._look_began = 0.0

    # ---- for everybody

    async def policy(self, _request: Request) -> Response:
        return Response(self.service.policy(), media_type="application/jose")

    async def succession(self, _request: Request) -> Response:
        return JSONResponse({"statements": self.service.keyring.succession})

    async def crl(self, request: Request) -> Response:
        found = await run_in_threadpool(self.service.crl, request.path_params.get("authority", ""))
        return Response(found, media_type="application/pkix-crl") if found else PlainTextResponse("", 404)

    async def ca(self, request: Request) -> Response:
        found = self.service.ca_certificate(request.path_params.get("authority", ""))
        return Response(found, media_type="application/pkix-cert") if found else PlainTextResponse("", 404)

    async def nonces(self, _request: Request) -> Response:
        return JSONResponse({"nonce": await run_in_threadpool(self.service.nonce)}, 201)

    # ---- enrolment

    async def sign_in(self, request: Request) -> Response:
        body = await _body(request, "username", "password")
        token = await run_in_threadpool(self.service.sign_in, _text(body, "username"), _text(body, "password"), incoming.source(request))
        response = Response(status_code=204)
        response.set_cookie(SIGN_IN, token, max_age=SIGN_IN_LIFE, secure=True, httponly=True, samesite="strict")
        return response

    async def devices(self, request: Request) -> Response:
        principal, headers = await self._principal(request)
        body = await _body(request, "request", "csr", "agreement_key", "workstation", "second_factor")
        answer = await run_in_threadpool(self.service.enroll, principal, body, incoming.source(request))
        return JSONResponse(answer, 201, headers)

    async def _principal(self, request: Request) -> tuple[Account, dict[str, str]]:
        """Who signed in: by a ticket, or by the form before."""
        header = request.headers.get("authorization", "")
        if header and self.fronts.acceptor:
            negotiated = await run_in_threadpool(self.fronts.acceptor.accept, header)
            account = await run_in_threadpool(self.service.directory.by_name, negotiated.principal)
            if account is None:
                raise Refused("unauthenticated", "the ticket's account is not known")
            return account, {"WWW-Authenticate": negotiated.header}
        return await run_in_threadpool(self.service.signed_in, request.cookies.get(SIGN_IN, "")), {}

    async def seed(self, request: Request) -> Response:
        return await self._proved(request, self.service.seed)

    async def confirm(self, request: Request) -> Response:
        return await self._proved(request, self.service.confirm)

    async def certificate(self, request: Request) -> Response:
        return await self._proved(request, self.service.renew)

    async def retire(self, request: Request) -> Response:
        return await self._proved(request, self.service.retire)

    async def status(self, request: Request) -> Response:
        return await self._proved(request, lambda device, proof, _source: self.service.status(device, proof))

    async def _proved(self, request: Request, step: Callable[[str, object, str], dict[str, Any]]) -> Response:
        body = await _body(request, "proof")
        return JSONResponse(await run_in_threadpool(step, request.path_params["device"], body.get("proof"), incoming.source(request)))

    # ---- validation

    async def check(self, request: Request) -> Response:
        """For auth_request: whatever is wrong with a browser's cookies, the answer is 401 and says nothing."""
        site = request.headers.get("x-passivekey-site", "")
        if not _bearer(request, self.fronts.sites.get(site, "")):
            return PlainTextResponse("", 403)
        cookies = request.cookies
        admitted = await run_in_threadpool(
            self.service.check, site, cookies.get(SESSION, ""), cookies.get(COOKIE, ""), incoming.source(request, forwarded=True)
        )
        account = admitted.account
        headers = {"X-Passivekey-Account": account.sid, "X-Passivekey-User": _header(account.name), "X-Passivekey-Device": admitted.device}
        response = Response(status_code=204, headers=headers)
        if admitted.session:
            response.set_cookie(SESSION, admitted.session, secure=True, httponly=True, samesite="lax")
        return response

    async def radius(self, request: Request) -> Response:
        if not self.fronts.radius or not _bearer(request, self.fronts.radius):
            return PlainTextResponse("", 403)
        body = await _body(request, "username", "password", "state", "source", "nas")
        username, password, state = (_radius_text(_given(body, name)) for name in ("username", "password", "state"))
        source = incoming.address(_given(body, "source"))
        try:
            challenge = await run_in_threadpool(self.service.radius, username, password, _state(state), source)
        except Refused as refused:
            if refused.code == "unavailable":
                raise
            return JSONResponse({"reply:Reply-Message": "Access denied"}, 401)
        if not challenge:
            return JSONResponse({"control:Tmp-String-0": "ok"})
        prompt = {"reply:State": f"0x{challenge.encode().hex()}", "reply:Reply-Message": "Enter your PassiveKey code"}
        return JSONResponse({"control:Tmp-String-0": "challenge", **prompt})

    # ---- for those who look after it

    async def health(self, _request: Request) -> Response:
        checks = await asyncio.shield(self._health_look())  # who goes away does not end it for the others
        well = all(state == "ok" for state in checks.values())
        return JSONResponse({"status": "ok" if well else "failing", "checks": checks}, 200 if well else 503)

    def _health_look(self) -> asyncio.Task[dict[str, str]]:
        """One for all who ask while it lasts, and for as long as it is new."""
        if self._look is None or (self._look.done() and monotonic() - self._look_began > HEALTH_LIFE):
            self._look_began = monotonic()
            self._look = asyncio.create_task(run_in_threadpool(self.service.health))
        return self._look

    async def show_metrics(self, request: Request) -> Response:
        if incoming.source(request) not in self.fronts.metrics:
            return PlainTextResponse("", 403)
        counts = await run_in_threadpool(self.service.counts)
        return PlainTextResponse(self.metrics.text(counts), media_type="text/plain; version=0.0.4")


_ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/v1/policy", Api.policy),
    ("GET", "/v1/policy/succession", Api.succession),
    ("GET", "/v1/crl", Api.crl),
    ("GET", "/v1/crl/{authority}", Api.crl),
    ("GET", "/v1/ca", Api.ca),
    ("GET", "/v1/ca/{authority}", Api.ca),
    ("POST", "/v1/nonces", Api.nonces),
    ("POST", "/v1/sign-in", Api.sign_in),
    ("POST", "/v1/devices", Api.devices),
    ("POST", "/v1/devices/{device}/seed", Api.seed),
    ("POST", "/v1/devices/{device}/confirm", Api.confirm),
    ("POST", "/v1/devices/{device}/certificate", Api.certificate),
    ("POST", "/v1/devices/{device}/status", Api.status),
    ("POST", "/v1/devices/{device}/retire", Api.retire),
    ("GET", "/v1/check", Api.check),
    ("POST", "/v1/radius", Api.radius),
    ("GET", "/health", Api.health),
    ("GET", "/metrics", Api.show_metrics),
)


def application(service: Service, fronts: Fronts) -> Starlette:
    """The ASGI application of one service."""
    api = Api(service, fronts)

    def endpoint(path: str, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            with api.metrics.timed(path) as outcome:
                response = await _answered(api, handler, request)
                outcome.status = response.status_code
            response.headers.update(_HEADERS)
            return response

        return answer

    routes = [Route(path, endpoint(path, handler), methods=[method]) for method, path, handler in _ROUTES]
    if fronts.administrators:
        from passivekey.server import admin  # with Jinja2, which nothing else needs

        administration = Administration(service, fronts.administrators)
        routes += admin.routes(administration, fronts.acceptor, api.metrics, passwords=fronts.passwords)
    return Starlette(routes=routes)


async def _answered(api: Api, handler: Handler, request: Request) -> Response:
    try:
        return await handler(api, request)
    except Refused as refused:
        return _problem(refused, api.fronts.acceptor is not None)
    except ConfigurationError:  # a seed's storage key is on another server alone
        return _problem(Refused("unavailable", "a key is missing"), False)
    except OSError:  # the audit log cannot be written, and what is not audited is not done
        return _problem(Refused("unavailable", "the audit log cannot be written"), False)


def _problem(refused: Refused, negotiate: bool) -> Response:
    """RFC 9457."""
    words = {"type": f"urn:passivekey:error:{refused.code}", "title": _TITLES[refused.code], "status": _STATUS[refused.code]}
    headers = {"WWW-Authenticate": "Negotiate"} if refused.code == "unauthenticated" and negotiate else {}
    headers |= {"Retry-After": "60"} if refused.code in ("throttled", "unavailable") else {}
    content = json.dumps({**words, "detail": refused.detail, **refused.more})
    return Response(content, _STATUS[refused.code], headers, media_type="application/problem+json")


async def _body(request: Request, *known: str) -> dict[str, Any]:
    """A JSON object with these members at most, of at most 64 KiB, that comes within ten seconds."""
    if "origin" in request.headers:  # which browsers send, and who signs in by a ticket should not be made to ask by any page
        raise Refused("not-allowed", "no page of a browser asks this")
    found = messages.parsed(await incoming.content(request))
    if not isinstance(found, dict) or set(found) - set(known):
        raise Refused("malformed", f"the request has members beside {', '.join(known)}")
    return found


def _text(body: Mapping[str, Any], name: str) -> str:
    return messages.string(body, name, "malformed")


def _given(body: Mapping[str, Any], name: str) -> str:
    """What may be left out."""
    return "" if body.get(name) is None else _text(body, name)


def _bearer(request: Request, secret: str) -> bool:
    """Whether who asks knows the secret; no secret is known by nobody."""
    given = request.headers.get("authorization", "")
    return bool(secret) and hmac.compare_digest(given.encode("utf-8", "replace"), f"Bearer {secret}".encode())


def _state(value: str) -> str:
    """rlm_rest hands octets on as hexadecimal text."""
    if not value.startswith("0x"):
        return value
    try:
        return bytes.fromhex(value[2:]).decode("ascii")
    except (ValueError, UnicodeDecodeError):
        return "?"


def _radius_text(value: str) -> str:
    """rlm_rest writes each octet of UTF-8 as a character of its own."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value


def _header(name: str) -> str:
    """A name for a header: what is not ASCII is percent-encoded."""
    return quote(name, safe="@.!#$&'*+-^_`|~ \\")
