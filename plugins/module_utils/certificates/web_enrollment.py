# SPDX-License-Identifier: GPL-3.0-or-later
"""A session with the web enrolment of AD CS (certfnsh.asp, certnew.cer, certnew.p7b, certcarc.asp). It knows no certificate's purpose."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import web_pages
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate, load
from ansible_collections.certlogon.core.plugins.module_utils.certificates.enrollment import EnrollmentOptions
from ansible_collections.certlogon.core.plugins.module_utils.certificates.hresults import raise_if_down
from ansible_collections.certlogon.core.plugins.module_utils.certificates.signing_request import pem
from ansible_collections.certlogon.core.plugins.module_utils.certificates.web_pages import Answer, Page
from ansible_collections.certlogon.core.plugins.module_utils.certificates.web_sign_in import Connected, SignIn, adapter
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, SessionLost, UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import requests, urllib3
from ansible_collections.certlogon.core.plugins.module_utils.resource import Warn

SIZE_LIMIT = 4 * 1024 * 1024
CLOCK_LIMIT = 300
"""Seconds; Kerberos allows as many."""


class WebEnrollment:
    """One connection, signed in once, for all requests of a task. `round_trips` and `sign_ins` count what was needed."""

    def __init__(self, options: EnrollmentOptions, warn: Warn) -> None:
        if not options.url:
            raise UserError(
                "url: the authority has to be asked, but there is no address; set url, such as https://ca1.corp.example/certsrv"
            )
        self._options = options
        self._connected = Connected()
        self._sign_in = SignIn(options, self._connected)
        self._requests = 0
        self._warn = warn
        self._clock_warned = False
        self._session = requests.Session()
        # REQUESTS_CA_BUNDLE, proxies and .netrc are for other programs than this
        self._session.trust_env = False
        self._session.auth = self._sign_in
        self._session.verify = _trust(options, warn)
        # certsrv answers unknown programs with other content types
        self._session.headers["User-Agent"] = "Mozilla/5.0 (compatible; certlogon)"
        self._session.mount("https://", adapter(self._connected))

    def __enter__(self) -> WebEnrollment:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._session.close()

    @property
    def round_trips(self) -> int:
        return self._requests + self._sign_in.round_trips

    @property
    def sign_ins(self) -> int:
        return self._sign_in.count

    # ---- what it is for

    def submit(self, request: bytes, attributes: Mapping[str, str]) -> Answer:
        """Submit PKCS#10 or CMS (DER) with request attributes ([MS-WCCE] 3.2.1.4.2.1.2). Raises `UserError`."""
        label = "PKCS7" if _is_cms(request) else "CERTIFICATE REQUEST"
        form = {
            "Mode": "newreq",
            "CertRequest": pem(request, label),
            "CertAttrib": "".join(f"{name}:{value}\r\n" for name, value in attributes.items()),
            "FriendlyType": "Saved-Request Certificate",
            "TargetStoreFlags": "0",
            "SaveCert": "yes",
        }
        answer: Answer = self._judged(self._exchange("POST", "certfnsh.asp", data=form), web_pages.submission)
        return answer

    def retrieve(self, request_id: int, *, chain: bool = False) -> Answer:
        """What became of a request; with `chain` its issuers too, if the authority hands them out. Raises `UserError`."""
        if chain:
            answer = self._get(request_id, "certnew.p7b")
            if answer.certificates:
                return answer
        return self._get(request_id, "certnew.cer")

    def chain(self) -> list[Certificate]:
        """The certificates of the authority and of those above it. Raises `UserError`."""
        renewals = self._judged(self._exchange("GET", "certcarc.asp"), web_pages.renewals)
        page = self._exchange("GET", "certnew.p7b", params={"ReqID": "CACert", "Renewal": str(renewals), "Enc": "bin"})
        found: list[Certificate] = self._judged(page, lambda one: load(one.body))
        return found

    def _get(self, request_id: int, name: str) -> Answer:
        page = self._exchange("GET", name, params={"ReqID": str(request_id), "Enc": "bin"})
        answer: Answer = self._judged(page, lambda one: web_pages.retrieval(one, request_id))
        return answer

    def _judged(self, page: Page, judge: Any) -> Any:
        try:
            answer = judge(page)
        except FormatError as error:
            raise FormatError(f"{self._options.url}: the answer {error}; is this the address of an AD CS web enrolment?") from error
        if isinstance(answer, Answer):
            raise_if_down(answer.code, self._options.url, answer.message)
        return answer

    # ---- HTTP

    def _exchange(self, method: str, name: str, **content: Any) -> Page:
        url = f"{self._options.url}/{name}"
        self._requests += 1
        try:
            response = self._session.request(method, url, timeout=self._options.timeout, allow_redirects=False, stream=True, **content)
            body = response.raw.read(SIZE_LIMIT + 1, decode_content=True)
        except UserError:
            raise
        except Exception as error:
            raise self._lost(error) from error
        self._check_clock(response.headers.get("Date", ""))
        self._check_status(response, body)
        return Page(response.headers.get("Content-Type", ""), body)

    def _check_clock(self, date: str) -> None:
        """Warn once where the authority's clock and this machine's differ by more than Kerberos allows."""
        try:
            theirs = parsedate_to_datetime(date)
            apart = (theirs - datetime.now(timezone.utc)).total_seconds()
        except (ValueError, TypeError):
            return
        if abs(apart) > CLOCK_LIMIT and not self._clock_warned:
            self._clock_warned = True
            self._warn(
                f"{self._options.url}: its clock is {abs(apart) / 60:.0f} minutes {'ahead of' if apart > 0 else 'behind'} this machine's; "
                "set both right, or else certificates look not yet valid or expired, and Kerberos fails"
            )

    def _lost(self, error: Exception) -> UserError:
        url, text = self._options.url, " ".join(str(error).split())
        if isinstance(error, requests.exceptions.SSLError):
            return SessionLost(
                f"{url}: TLS failed: {_reason(text)}; give the CA of the web server's certificate as ca_path, and its host name in url"
            )
        if isinstance(error, requests.exceptions.Timeout):
            return SessionLost(
                f"{url}: no answer within {self._options.timeout} seconds; is the CA's host up, and port 443 open? "
                "Raise timeout if it is slow"
            )
        if isinstance(error, (requests.exceptions.RequestException, OSError)) or type(error).__module__.startswith("urllib3"):
            return SessionLost(
                f"{url}: no connection: {_reason(text)}; is the CA's host up, its name known here, and IIS running with https?"
            )
        raise error

    def _check_status(self, response: Any, body: bytes) -> None:
        status, url = response.status_code, self._options.url
        if len(body) > SIZE_LIMIT:
            raise UserError(f"{url}: the answer is larger than {SIZE_LIMIT} bytes; is this the address of an AD CS web enrolment?")
        if status == 200:
            return
        if status == 401:
            raise SessionLost(self._unauthorized())
        text = web_pages.excerpt(Page(response.headers.get("Content-Type", ""), body).text)
        raise SessionLost(
            f"{url}: {_STATUS.get(status, 'the web server failed').format(account=self._account)} "
            f"(HTTP {status}: {text or response.reason})"
        )

    @property
    def _account(self) -> str:
        return self._options.username or "the account of the ticket"

    def _unauthorized(self) -> str:
        auth, url = self._options.auth, self._options.url
        refused = f"username, password: {url} does not let {self._account} sign in (HTTP 401): wrong name or password"
        if auth == "basic":
            return f"{refused}, or Basic is not switched on there"
        bound = (
            "extended protection: the sign-in is bound to the TLS certificate that this machine sees, and something that opens TLS "
            "on the way (a proxy, a load balancer) shows another one than the web server has"
        )
        if auth == "kerberos":
            return f"auth: {url} refuses {self._account} (HTTP 401) though Kerberos gave a ticket: the account may not use it, or {bound}"
        return f"{refused}, a locked account, or {bound}"


_STATUS = {
    301: "the web server sends requests elsewhere; give the address that it names",
    302: "the web server sends requests elsewhere; give the address that it names",
    403: (
        "{account} is signed in, but may not use the web enrolment; look at its authorization rules, address restrictions and whether it "
        "wants a client certificate (SSL settings)"
    ),
    404: "there is no web enrolment at this address; install it with adcs_web_enrollment, or mend url (it usually ends with /certsrv)",
    413: "the web server takes no request of this size; raise uploadReadAheadSize of IIS",
    503: "the web enrolment's application pool is stopped; start it in IIS",
}


def _trust(options: EnrollmentOptions, warn: Warn) -> bool | str:
    if not options.validate_certs:
        warn("validate_certs is false: the web enrolment's certificate is not verified, so that anybody on the way can take its place")
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # said once, above
        return False
    if options.ca_path:
        if not Path(options.ca_path).is_file():
            raise UserError(f"ca_path: {options.ca_path} is no file; give the PEM file of the CA that issued the web server's certificate")
        return options.ca_path
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.capath or True


def _reason(text: str) -> str:
    """The innermost reason of a chain of exceptions."""
    for mark in ("certificate verify failed: ", "[Errno", "Caused by "):
        if mark in text:
            return (text[text.rindex(mark) :] if mark != "Caused by " else text.rsplit(mark, 1)[1]).strip("()'\" ")
    return text[:300]


def _is_cms(content: bytes) -> bool:
    """Whether it begins with an object identifier (ContentInfo), where PKCS#10 has another SEQUENCE."""
    start = 2 + (content[1] & 0x7F if content[1] & 0x80 else 0)
    return content[start : start + 1] == b"\x06"
