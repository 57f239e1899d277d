# SPDX-License-Identifier: GPL-3.0-or-later
"""The CA host's IIS: listens where its bindings say while W3SVC runs, and answers for /CertEnroll (files) and /certsrv (pages).

Bindings, certificates and settings are looked up for every connection and request, so that a change is in force at once.
"""

from __future__ import annotations

import copy
import html
import ssl
import tempfile
import threading
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, unquote_plus, urlsplit

from lab.windows_ca.certsrv import Page, Pages, Question
from lab.windows_ca.gate import Answer, Gate
from lab.windows_ca.iis_config import CERTENROLL, CERTENROLL_FOLDER, CERTSRV, Configuration, demands_tls, schemes
from lab.windows_ca.machine import Machine, replace
from lab.windows_ca.server import Handler, Metrics, Server, log

TYPES = {".crl": "application/pkix-crl", ".crt": "application/x-x509-ca-cert", ".cer": "application/x-x509-ca-cert"}
TYPES |= {".p7b": "application/x-pkcs7-certificates", ".asp": "text/asp"}
NOT_YOURS = "You do not have permission to view this directory or page using the credentials that you supplied."
# status, substatus -> what IIS 10 says to clients elsewhere (system.webServer/httpErrors, errorMode DetailedLocalOnly)
ERRORS = {
    (401, 2): ("401 - Unauthorized: Access is denied due to invalid credentials.", NOT_YOURS),
    (403, 4): ("403.4 - Forbidden: SSL is required to view this resource.", "This resource can only be viewed over SSL."),
    (403, 14): ("403 - Forbidden: Access is denied.", NOT_YOURS),
    (404, 0): ("404 - File or directory not found.", "The resource you are looking for might have been removed."),
    (404, 11): ("404 - File or directory not found.", "Request filtering denies a request that contains a double escape sequence."),
    (405, 0): ("405 - HTTP verb used to access this page is not allowed.", "An invalid method (HTTP verb) was used to attempt access."),
    (500, 0): ("500 - Internal server error.", "There is a problem with the resource you are looking for, and it cannot be displayed."),
    (503, 0): ("Service Unavailable", "HTTP Error 503. The service is unavailable."),
}
WATCH_SECONDS = 0.2


class Site(Server):
    """One port of the site. `certificate` is http.sys's for this port, as it is when a connection comes in."""

    def __init__(self, iis: Iis, port: int, listen: int, tls: bool) -> None:
        self.iis, self.port, self.tls = iis, port, tls
        gate = copy.copy(iis.gate)
        gate.server_certificate_der = self._certificate_der
        super().__init__("iis", listen, SiteHandler, gate, iis.metrics)
        self._contexts: dict[str, ssl.SSLContext] = {}

    def _certificate_der(self) -> bytes | None:
        """What channel bindings are judged by: nothing on a port without TLS."""
        entry = self.iis.machine.store.get(self.thumbprint or "") if self.tls else None
        return entry.der if entry else None

    @property
    def thumbprint(self) -> str | None:
        return self.iis.configuration.certificate_of(self.port)

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        if self.tls:
            context = self._context()
            if context is None:
                self._open.discard(connection)
                connection.close()
                raise OSError(f"port {self.port}: http.sys has no usable certificate")
            self._open.discard(connection)
            connection = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            self._open.add(connection)
        return connection, address

    def _context(self) -> ssl.SSLContext | None:
        thumbprint = self.thumbprint
        entry = self.iis.machine.store.get(thumbprint or "")
        if thumbprint is None or entry is None or entry.key_pem is None:
            return None
        if thumbprint not in self._contexts:
            self._contexts = {thumbprint: server_context(entry.der, entry.key_pem, self.iis.chain())}
        return self._contexts[thumbprint]


def server_context(der: bytes, key_pem: str, chain: list[bytes]) -> ssl.SSLContext:
    """A context with this certificate; http.sys sends what it finds of the chain, without the root."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pem = "".join(ssl.DER_cert_to_PEM_cert(one) for one in (der, *chain))
    with tempfile.TemporaryDirectory() as folder:  # ssl takes files only
        replace(Path(folder) / "certificate.pem", (pem + key_pem).encode())
        context.load_cert_chain(Path(folder) / "certificate.pem")
    return context


class SiteHandler(Handler):
    """One connection. NTLM and Kerberos sign a connection in (Kerberos unless authPersistNonNTLM is false), Basic each request."""

    server_version = "Microsoft-IIS/10.0"
    server: Site

    @property
    def iis(self) -> Iis:
        return self.server.iis

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The Date header, by the host's own clock."""
        return super().date_time_string(self.iis.machine.now().timestamp() if timestamp is None else timestamp)

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self.body() if self.command == "POST" else b""
        target = urlsplit(self.path)
        path = unquote(target.path)
        first, _, rest = path.lstrip("/").partition("/")
        published = self.iis.configuration.publishes(first)
        if first.casefold() == "certenroll" and published:
            self._file(path, rest)
        elif first.casefold() == "certsrv" and published:
            self._page(target.path, rest, target.query, body)
        elif path == "/":
            self.respond(200, b"<!DOCTYPE html><title>IIS Windows Server</title>", "text/html")
        else:
            self._error(404)

    # ---- /CertEnroll

    def _file(self, path: str, name: str) -> None:
        settings = self.iis.configuration.settings(CERTENROLL)
        status = self.iis.machine.faults.get("cdp_status")
        if status:
            self._error(int(status))
        elif demands_tls(settings) and not self.server.tls:
            self._error(403, 4)
        elif double_escaped(path) and not settings["allowDoubleEscaping"]:
            self._error(404, 11)
        elif self.command == "POST":
            self._error(405)
        elif not settings["anonymous"]:
            self._error(401, 2)
        else:
            self._content(name)

    def _content(self, name: str) -> None:
        file = rf"{CERTENROLL_FOLDER}\{name}"
        kind = TYPES.get(name[name.rfind(".") :].lower())
        if not name:
            self._error(403, 14)
        elif kind is None or "/" in name or "\\" in name or file not in self.iis.machine.files:
            self._error(404)
        else:
            self.respond(200, self.iis.machine.files[file], kind)

    # ---- /certsrv

    def _page(self, raw_path: str, name: str, query: str, body: bytes) -> None:
        settings = self.iis.configuration.settings(CERTSRV)
        faults = self.iis.machine.faults
        if demands_tls(settings) and not self.server.tls:
            self._error(403, 4)
        elif account := self._signed_in(settings):
            if "certsrv_status" in faults:
                self._error(int(faults["certsrv_status"]))
            elif raw_path.lower() == "/certsrv":
                self.respond(301, b"", "text/html", self._proof, Location="/certsrv/")
            else:
                self._answer(Question(name, account, fields(query), self._form(body), self.headers.get("User-Agent", "")))

    def _form(self, body: bytes) -> dict[str, str]:
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return fields(body.decode("utf-8", "replace")) if kind == "application/x-www-form-urlencoded" else {}

    def _signed_in(self, settings: dict[str, Any]) -> str | None:
        """The account, or None when the answer has been given."""
        self._proof: list[str] = []
        if settings["anonymous"]:
            return f"{self.iis.machine.netbios}\\IUSR"
        offered, require = schemes(settings), settings["tokenChecking"] == "Require"
        if self._terms != (offered, require):
            self._terms = (offered, require)
            self.conversation = self.server.gate.new_conversation(allow=offered, require_channel_binding=require)
        persists = settings["authPersistNonNTLM"] and not self.iis.machine.faults.get("kerberos_each_request")
        once = ("basic",) if persists else ("basic", "kerberos")
        if self.conversation.method in once and not self.headers.get("Authorization"):
            self.conversation.step("None")  # forget who it was: each request signs in
        answer = self.authenticate()
        if answer.authenticated:
            self._proof = answer.www_authenticate
            return answer.authenticated
        self.unauthorized(answer)
        return None

    _terms: tuple[set[str], bool] | None = None
    _proof: list[str] = []

    def unauthorized(self, answer: Answer) -> None:
        host = self.headers.get("Host", "").partition(":")[0]
        offers = [f'Basic realm="{host}"' if value.startswith("Basic") else value for value in answer.www_authenticate]
        self._error(401, 2, offers)

    def _answer(self, question: Question) -> None:
        try:
            page = self.iis.pages.answer(question)
        except Exception as error:
            log("iis", f"{self.client_address[0]}: /certsrv/{question.page}: FAULT IN THE STAND-IN: {error!r}")
            self._error(500)
            raise
        if page is None:
            log("iis", f"{self.client_address[0]}: /certsrv/{question.page}: no such page, or not modelled")
            self._error(404)
        elif self.iis.machine.faults.get("certsrv_drop"):
            self.close_connection = True
            self.connection.close()
        else:
            self._send(page)

    def _send(self, page: Page) -> None:
        headers = {"Cache_Control": "private"}
        if page.disposition:
            headers["Content_Disposition"] = f'attachment; filename="{page.disposition}"'
        self.respond(page.status, page.body, page.content_type, self._proof, **headers)

    def _error(self, status: int, substatus: int = 0, www_authenticate: list[str] | None = None) -> None:
        title, text = ERRORS.get((status, substatus)) or ERRORS.get((status, 0)) or (f"{status} - Error", "")
        head = f"<html><head><title>{html.escape(title)}</title></head>"
        page = f"<!DOCTYPE html>\r\n{head}\r\n<body><h2>{title}</h2><h3>{text}</h3></body></html>"
        self.respond(status, page.encode(), "text/html", www_authenticate or ())


class Iis:
    """All ports of the site. `port_of` says where a port really listens, for tests."""

    def __init__(self, machine: Machine, authority: Any, gate: Gate, metrics: Metrics, *, port_of: Any = lambda port: port) -> None:
        self.machine, self.authority, self.gate, self.metrics = machine, authority, gate, metrics
        self.configuration = Configuration(machine)
        self.pages = Pages(machine, authority)
        self._port_of = port_of
        self.sites: dict[tuple[int, bool], Site] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="iis", daemon=True)

    def chain(self) -> list[bytes]:
        """The authority's own certificate, unless it is a root, which clients have."""
        certificates = self.authority.certificates[-1:] if self.authority.configured else []
        return [one.der for one in certificates if one.certificate.issuer != one.certificate.subject]

    def start(self) -> Iis:
        self._thread.start()
        self._ready.wait(10)
        return self

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)

    def settle(self) -> None:
        """Open and close ports as the configuration says now."""
        with self._lock:
            wanted: set[tuple[int, bool]] = set()
            if self.configuration.running:
                wanted = {(binding.port, binding.protocol == "https") for binding in self.configuration.bindings}
            for key in set(self.sites) - wanted:
                site = self.sites.pop(key)
                site.shutdown()
                site.server_close()
                site.drop_connections()
                log("iis", f"port {key[0]} closed")
            for port, tls in wanted - set(self.sites):
                try:
                    site = Site(self, port, self._port_of(port), tls)
                except OSError as error:
                    log("iis", f"port {port} cannot be opened: {error}")
                    continue
                site.start()
                self.sites[port, tls] = site
                log("iis", f"port {port} open ({'https' if tls else 'http'})")

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                self.settle()
            except Exception as error:  # something that changes while it is read; next time
                log("iis", f"the configuration could not be followed: {error!r}")
            self._ready.set()
            self._stop.wait(WATCH_SECONDS)
        for site in self.sites.values():
            site.shutdown()
            site.server_close()


def fields(text: str) -> dict[str, str]:
    """A query or form by names in lower case, as ASP finds them."""
    return {name.lower(): value for name, value in parse_qsl(text, keep_blank_values=True)}


def double_escaped(path: str) -> bool:
    """Request filtering refuses what changes when it is unescaped twice; `+`, a blank to the second pass, is such (KB942076)."""
    return unquote_plus(path) != path


def serve(machine: Machine, authority: Any, gate: Gate, metrics: Metrics | None = None) -> Iis:
    """Begin to follow the machine's configuration; returns at once. `gate`: keytab and accounts; the certificate is the binding's."""
    return Iis(machine, authority, gate, metrics or Metrics(machine.folder / "metrics-iis.json")).start()
