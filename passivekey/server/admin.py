# SPDX-License-Identifier: GPL-3.0-or-later
"""The administrators' pages at /admin/: plain HTML that works without scripts. What is shown and done is decided in `administration`."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from passivekey.protocol.errors import Refused
from passivekey.server import audit_tail, incoming
from passivekey.server.administration import EVENTS, PAGE, Administration, Administrator
from passivekey.server.metrics import Metrics
from passivekey.server.service import MOST_TICKET_HOURS
from passivekey.server.spnego import Acceptor

COOKIE = "__Host-passivekey-admin"
STATES = ("active", "pending", "revoked")
_FOLDER = Path(__file__).parent / "pages"
_STYLE = (_FOLDER / "admin.css").read_bytes()
_VERSION = hashlib.sha256(_STYLE).hexdigest()[:12]
_CONTENT = ("default-src 'none'", "style-src 'self'", "img-src data:", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'")
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "; ".join(_CONTENT),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # with no-referrer, browsers send `Origin: null` with forms
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_STATUS = {"malformed": 400, "unauthenticated": 401, "not-allowed": 403, "no-such-device": 404, "throttled": 429, "unavailable": 503}
_TITLES = {
    400: "This request cannot be understood",
    403: "Not allowed",
    404: "Not found",
    429: "Too many attempts",
    503: "Not available now",
}
_PLACE = re.compile(r"(\d{1,12})\.([0-9a-f]{32})")
_NEXT = re.compile(r"/admin/[A-Za-z0-9/_.,?=&%~+@:-]*")


@dataclass(frozen=True)
class Visit:
    """One request of an administrator; `csrf` is what forms of this session send back."""

    who: Administrator
    token: str
    csrf: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[["Pages", Visit], Response]


class Pages:
    def __init__(self, administration: Administration, acceptor: Acceptor | None, passwords: bool) -> None:
        self._administration = administration
        self._acceptor = acceptor
        self._passwords = passwords
        self._origin = administration.service.rules.origin
        self._templates = Environment(
            loader=FileSystemLoader(_FOLDER),
            autoescape=True,
            finalize=_printable,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {"moment": moment, "day": day, "away": self._away, "span": span}
        host = administration.service.rules.host
        self._templates.globals |= {
            "host": host,
            "version": _VERSION,
            "states": STATES,
            "kinds": tuple(EVENTS),
            "moment_now": self._moment_now,
        }

    # ---- requests

    async def answer(self, request: Request, handler: Handler | None) -> Response:
        """A page for who is an administrator now. `handler` None: what needs no session."""
        try:
            form = await _form(request) if request.method == "POST" else {}
            return await run_in_threadpool(self._answer, request, handler, form)
        except Refused as refused:
            return self._refusal(refused)
        except OSError:  # the audit log cannot be written, and what is not audited is not done
            return self._refusal(Refused("unavailable", "the audit log cannot be read or written"))

    def _answer(self, request: Request, handler: Handler | None, form: Mapping[str, str]) -> Response:
        if request.method == "POST" and request.headers.get("origin", "") != self._origin:
            raise Refused("not-allowed", f"this form was not sent by a page of {self._origin}")
        token, source = request.cookies.get(COOKIE, ""), incoming.source(request)
        if handler is None:
            return self._sign_in(form, source) if request.method == "POST" else self._sign_in_form(200)
        try:
            who = self._administration.administrator(token, source)
        except Refused as refused:
            if refused.code != "unauthenticated":
                raise
            return self._not_signed_in(request, source)
        csrf = csrf_token(token)
        if request.method == "POST" and not hmac.compare_digest(form.get("csrf", "").encode(), csrf.encode()):
            raise Refused("not-allowed", "this form is not of your session; go back, load the page again, and repeat")
        return handler(self, Visit(who, token, csrf, request.path_params, request.query_params, form))

    def _not_signed_in(self, request: Request, source: str) -> Response:
        """By a ticket if there is one; else the form, with an answer that asks browsers for a ticket."""
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        header = request.headers.get("authorization", "")
        if request.method == "POST":
            return self._sign_in_form(401, "/admin/", "Your session has ended. Nothing was changed.")
        if not header or self._acceptor is None:
            return self._sign_in_form(401, here, headers={"WWW-Authenticate": "Negotiate"} if self._acceptor else {})
        try:
            negotiated = self._acceptor.accept(header)
        except Refused:
            return self._sign_in_form(401, here, "Your Kerberos ticket was not accepted.", {"WWW-Authenticate": "Negotiate"})
        account = self._administration.service.directory.by_name(negotiated.principal)
        if account is None:
            raise Refused("not-allowed", "the ticket's account is not known")
        return self._signed_in(self._administration.begin(account, source), here, {"WWW-Authenticate": negotiated.header})

    def _sign_in(self, form: Mapping[str, str], source: str) -> Response:
        if not self._passwords:
            raise Refused("not-allowed", "signing in by password is switched off (administration.passwords)")
        following = form.get("next", "")
        try:
            token = self._administration.sign_in(form.get("username", ""), form.get("password", ""), source)
        except Refused as refused:
            if refused.code not in ("unauthenticated", "throttled"):
                raise
            wrong = refused.code == "unauthenticated"
            text = "Wrong name or password, or the account is locked." if wrong else "Too many attempts. Wait a few minutes."
            return self._sign_in_form(403 if wrong else 429, following, text)
        return self._signed_in(token, following)

    def _sign_in_form(
        self, status: int, following: str = "/admin/", problem: str = "", headers: Mapping[str, str] | None = None
    ) -> Response:
        words: dict[str, Any] = {
            "following": _inside(following),
            "problem": problem,
            "passwords": self._passwords,
            "tickets": self._acceptor is not None,
        }
        return self._page("sign_in", status, headers=headers, **words)

    def _signed_in(self, token: str, following: str, headers: Mapping[str, str] | None = None) -> Response:
        response = RedirectResponse(_inside(following), 303, dict(headers or {}))
        response.set_cookie(COOKIE, token, secure=True, httponly=True, samesite="strict")
        return response

    def _refusal(self, refused: Refused) -> Response:
        status = _STATUS.get(refused.code, 403)
        return self._page("message", status, title=_TITLES.get(status, "Not allowed"), text=refused.detail)

    def _page(
        self, template: str, status: int = 200, visit: Visit | None = None, headers: Mapping[str, str] | None = None, **words: Any
    ) -> Response:
        text = self._templates.get_template(f"{template}.html.j2").render(visit=visit, **words)
        return HTMLResponse(text, status, dict(headers or {}))

    # ---- pages

    def overview(self, visit: Visit) -> Response:
        found = self._administration.overview()
        names = self._names([*found.accepted.entries, *found.refused.entries], [row.who.partition(":")[2] for row in found.waiting])
        return self._page("overview", visit=visit, found=found, page=PAGE, names=names)

    def devices(self, visit: Visit) -> Response:
        state = visit.query.get("state", "active")
        if state not in STATES:
            raise Refused("malformed", f"a device is {', '.join(STATES)}")
        older, newer = (_place(visit.query.get(name, "")) for name in ("older", "newer"))
        found = self._administration.devices(state, older=older, newer=newer)
        return self._page("devices", visit=visit, state=state, found=found)

    def expiring(self, visit: Visit) -> Response:
        rows = self._administration.expiring(_place(visit.query.get("after", "")) or (0, ""))
        return self._page("expiring", visit=visit, rows=rows[:PAGE], more=len(rows) > PAGE)

    def search(self, visit: Visit) -> Response:
        text = visit.query.get("q", "")
        found = self._administration.search(text)
        if len(found.accounts) + len(found.devices) == 1:
            [only] = [f"devices/{row.id}" for row in found.devices] or [f"accounts/{row.sid}" for row in found.accounts]
            return RedirectResponse(f"/admin/{only}", 303)
        return self._page("search", visit=visit, text=text, found=found, page=PAGE)

    def device(self, visit: Visit, status: int = 200) -> Response:
        return self._page(
            "device", status, visit, found=self._administration.device(visit.path["device"]), done=visit.query.get("done", "")
        )

    def ask_revoke(self, visit: Visit) -> Response:
        return self._page("revoke", visit=visit, found=self._administration.device(visit.path["device"]))

    def revoke(self, visit: Visit) -> Response:
        done = self._administration.revoke(visit.who, visit.path["device"], visit.form.get("reason", ""))
        return RedirectResponse(f"/admin/devices/{visit.path['device']}?done={'revoked' if done else 'already'}", 303)

    def account(self, visit: Visit, ticket: str = "", hours: int = 0) -> Response:
        found = self._administration.account(visit.path["sid"])
        words: dict[str, Any] = {"done": visit.query.get("done", ""), "ticket": ticket, "hours": hours, "most_hours": MOST_TICKET_HOURS}
        return self._page("account", visit=visit, found=found, **words)

    def unlock(self, visit: Visit) -> Response:
        who = visit.form.get("who", "")
        self._administration.unlock(visit.who, who)
        kind, _colon, value = who.partition(":")
        return RedirectResponse(f"/admin/accounts/{value}?done=unlocked" if kind == "account" else "/admin/", 303)

    def issue_ticket(self, visit: Visit) -> Response:
        text = visit.form.get("hours", "")
        hours = int(text) if re.fullmatch(r"[0-9]{1,4}", text) else 0
        return self.account(visit, self._administration.issue_ticket(visit.who, visit.path["sid"], hours), hours)

    def withdraw_tickets(self, visit: Visit) -> Response:
        self._administration.withdraw_tickets(visit.who, visit.path["sid"])
        return RedirectResponse(f"/admin/accounts/{visit.path['sid']}?done=withdrawn", 303)

    def audit(self, visit: Visit) -> Response:
        kind, about = visit.query.get("kind", ""), visit.query.get("about", "").strip()[:256]
        found = self._administration.audit(kind, about, audit_tail.read_place(visit.query.get("before", "")))
        more = urlencode({"kind": kind, "about": about, "before": audit_tail.place_text(found.more)}) if found.more else ""
        words: dict[str, Any] = {"kind": kind if kind in EVENTS else "", "about": about, "found": found, "more": more}
        return self._page("audit", visit=visit, names=self._names(found.entries), **words)

    def sign_out(self, visit: Visit) -> Response:
        self._administration.end(visit.token)
        response = self._page("message", title="Signed out", text="This session is over.")
        response.delete_cookie(COOKIE, secure=True, httponly=True, samesite="strict")
        return response

    # ---- what templates ask

    def _names(self, entries: list[dict[str, str]], more: Iterable[str] = ()) -> dict[str, str]:
        return self._administration.names({entry["account"] for entry in entries if entry.get("account")}.union(more))

    def _moment_now(self) -> str:
        return moment(self._administration.service.now)

    def _away(self, seconds: int) -> str:
        """How far from now: "3 hours ago", "in 2 days"."""
        away = seconds - self._administration.service.now
        if abs(away) < 60:
            return "now"
        return f"in {span(away)}" if away > 0 else f"{span(-away)} ago"


_ROUTES: tuple[tuple[str, str, Handler | None], ...] = (
    ("GET", "/admin/", Pages.overview),
    ("GET", "/admin/sign-in", None),
    ("POST", "/admin/sign-in", None),
    ("POST", "/admin/sign-out", Pages.sign_out),
    ("GET", "/admin/search", Pages.search),
    ("GET", "/admin/devices", Pages.devices),
    ("GET", "/admin/expiring", Pages.expiring),
    ("GET", "/admin/devices/{device}", Pages.device),
    ("GET", "/admin/devices/{device}/revoke", Pages.ask_revoke),
    ("POST", "/admin/devices/{device}/revoke", Pages.revoke),
    ("GET", "/admin/accounts/{sid}", Pages.account),
    ("POST", "/admin/accounts/{sid}/ticket", Pages.issue_ticket),
    ("POST", "/admin/accounts/{sid}/withdraw", Pages.withdraw_tickets),
    ("POST", "/admin/unlock", Pages.unlock),
    ("GET", "/admin/audit", Pages.audit),
)


def routes(administration: Administration, acceptor: Acceptor | None, metrics: Metrics, *, passwords: bool = True) -> list[Route]:
    """`passwords`: whether the form is offered beside tickets."""
    pages = Pages(administration, acceptor, passwords)

    def endpoint(handler: Handler | None) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            with metrics.timed("/admin") as outcome:
                response = await pages.answer(request, handler)
                outcome.status = response.status_code
            response.headers.update(_HEADERS)
            return response

        return answer

    async def style(_request: Request) -> Response:
        return Response(_STYLE, media_type="text/css", headers={**_HEADERS, "Cache-Control": "max-age=86400"})

    async def home(_request: Request) -> Response:
        return RedirectResponse("/admin/", 308, _HEADERS)

    fixed = [Route("/admin", home), Route("/admin/admin.css", style)]
    return [*fixed, *(Route(path, endpoint(handler), methods=[method]) for method, path, handler in _ROUTES)]


async def _form(request: Request) -> dict[str, str]:
    """Fields of a form as browsers send it."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise Refused("malformed", "this is no form")
    try:
        text = (await incoming.content(request)).decode("ascii")
        return dict(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=20))
    except ValueError as error:
        raise Refused("malformed", "this is no form") from error


def csrf_token(session: str) -> str:
    """Known to pages of the session alone, and to who has its secret."""
    return base64.urlsafe_b64encode(hmac.digest(session.encode(), b"csrf", "sha256")).rstrip(b"=").decode()


def moment(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M")


def day(seconds: int) -> str:
    return moment(seconds)[:10]


def span(seconds: int) -> str:
    """In the largest unit that has at least two, or one."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length * (1 if unit == "minute" else 2):
            number = seconds // length
            return f"{number} {unit}{'' if number == 1 else 's'}"
    return f"{seconds} seconds"


def _printable(value: object) -> object:
    """Text of others without control characters, which HTML does not allow, and without those that turn the direction of what follows."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in value)


def _place(text: str) -> tuple[int, str] | None:
    if not text:
        return None
    found = _PLACE.fullmatch(text)
    if not found:
        raise Refused("malformed", "there is no such page")
    return int(found[1]), found[2]


def _inside(path: str) -> str:
    """A path of these pages; the overview for all else."""
    return path if _NEXT.fullmatch(path) and "/sign" not in path else "/admin/"
