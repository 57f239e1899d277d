# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages of /certsrv: AD CS web enrolment as its clients know it. Knows the authority, no sockets and no authentication.

The texts that clients look for are those that public clients of real servers expect (docs/stand-ins.md names them). Pages are English, or
German while `faults["certsrv_language"]` is `de`, with the same links and another text.
"""

from __future__ import annotations

import base64
import binascii
import html
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any, Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, pkcs7

from lab.windows_ca.certsrv.errors import Failure, described, failure
from lab.windows_ca.iis_config import CERTENROLL_FOLDER
from lab.windows_ca.machine import Machine

FOLDER = Path(__file__).parent
HTML = "text/html; Charset=UTF-8"
CERTIFICATE, CHAIN, CRL = "application/pkix-cert", "application/x-pkcs7-certificates", "application/pkix-crl"
LANGUAGES = ("en", "de")
RPC_UNAVAILABLE = 0x800706BA
PROPERTY_EMPTY = 0x80094004
PENDING_MESSAGE = "Taken Under Submission"
MODES = {
    "en": {"newreq": "newreq - New Request", "chkpnd": "chkpnd - Check Pending"},
    "de": {"newreq": "newreq - Neue Anforderung", "chkpnd": "chkpnd - Ausstehende prüfen"},
}


class Authority(Protocol):
    """What the pages ask of the certification authority."""

    configured: bool
    ca_name: str

    @property
    def certificates(self) -> Sequence[Any]: ...

    def known_authorities(self) -> list[bytes]: ...
    def identify(self, account: str) -> Any: ...
    def submit(self, request: bytes, attributes: dict[str, str], caller: Any) -> Any: ...
    def retrieve(self, request_id: int, caller: Any) -> Any: ...


@dataclass(frozen=True)
class Question:
    """A request that was authenticated; `query` and `form` by names in lower case."""

    page: str
    account: str
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)
    user_agent: str = ""

    @property
    def is_browser(self) -> bool:
        return "Mozilla" in self.user_agent


@dataclass(frozen=True)
class Page:
    status: int
    body: bytes
    content_type: str = HTML
    disposition: str | None = None


class Pages:
    """/certsrv. Every answer is a page with status 200, failures too, as ASP pages give them; unknown pages are None."""

    def __init__(self, machine: Machine, authority: Any) -> None:
        self._machine = machine
        self._authority = authority
        self._routes: dict[str, Callable[[Question], Page]] = {
            "": self._static("default"),
            "default.asp": self._static("default"),
            "certrqus.asp": self._static("certrqus"),
            "certrqad.asp": self._static("certrqad"),
            "certrqxt.asp": self._static("certrqxt"),
            "certckpn.asp": self._static("certckpn"),
            "certcarc.asp": self._ca_page,
            "certfnsh.asp": self._finish,
            "certnew.cer": self._certificate,
            "certnew.p7b": self._chain,
            "certcrl.crl": self._crl,
        }

    def answer(self, question: Question) -> Page | None:
        route = self._routes.get(question.page.lower())
        if route is None:
            return None
        try:
            return route(question)
        except Failure as error:
            return self._failed(question, error)

    # ---- pages

    def _static(self, name: str) -> Callable[[Question], Page]:
        return lambda question: self._page(name)

    def _ca_page(self, question: Question) -> Page:
        self._reach()
        names = [self._name(der) for der in self._own()]
        options = "\n".join(f'<Option Value="{number}">{html.escape(name)}' for number, name in reversed(list(enumerate(names))))
        return self._page("certcarc", renewals=str(len(names) - 1), options=options)

    def _finish(self, question: Question) -> Page:
        """The end of a request: certfnsh.asp."""
        mode = question.form.get("mode", "")
        if mode == "newreq":
            found = self._asked(self._submit, question)
        elif mode == "chkpnd":
            number = _number(question.form.get("reqid", ""))
            found = self._asked(self._retrieve, question, number)
        else:
            raise failure(0x80070057, "The parameter is incorrect.")
        if found.status == "issued":
            return self._page("issued", request_id=str(found.request_id))
        if found.status == "pending":
            return self._page("pending" if mode == "newreq" else "still_pending", request_id=str(found.request_id))
        return self._page("denied", request_id=str(found.request_id), message=_plain(found.message))

    def _certificate(self, question: Question) -> Page:
        self._reach()
        if question.query.get("reqid", "").lower() == "cacert":
            return self._encoded(question, self._ca_certificate(question), "certnew.cer")
        found = self._asked(self._retrieve, question, _number(question.query.get("reqid", "")))
        if found.certificate is None:
            return self._not_issued(found)
        return self._encoded(question, found.certificate, "certnew.cer")

    def _chain(self, question: Question) -> Page:
        self._reach()
        if question.query.get("reqid", "").lower() == "cacert":
            certificates = [self._ca_certificate(question)]
        else:
            found = self._asked(self._retrieve, question, _number(question.query.get("reqid", "")))
            if found.certificate is None:
                return self._not_issued(found)
            certificates = [found.certificate, self._own()[-1]]
        certificates += self._above(certificates[-1])
        der = pkcs7.serialize_certificates([x509.load_der_x509_certificate(der) for der in certificates], Encoding.DER)
        body = der if question.query.get("enc", "b64").lower() == "bin" else armoured(der)
        return Page(200, body, CHAIN, "certnew.p7b")

    def _crl(self, question: Question) -> Page:
        self._reach()
        delta = "+" if question.query.get("type", "base").lower() == "delta" else ""
        renewal = _number(question.query.get("renewal", "0"))
        name = f"{self._authority.ca_name}{f'({renewal})' if renewal else ''}{delta}.crl"
        path = rf"{CERTENROLL_FOLDER}\{name}"
        if path not in self._machine.files:
            raise failure(0x80070002, "The system cannot find the file specified.")
        der = self._machine.files[path]
        body = der if question.query.get("enc", "b64").lower() == "bin" else armoured(der, "X509 CRL")
        return Page(200, body, CRL, "certcrl.crl")

    # ---- the authority

    def _reach(self) -> None:
        service = self._machine.services.get("CertSvc")
        if service is None or service.state != "running" or self._machine.faults.get("authority_unreachable"):
            raise failure(RPC_UNAVAILABLE, "The RPC server is unavailable.")

    def _asked(self, ask: Any, question: Question, *arguments: Any) -> Any:
        self._reach()
        try:
            caller = self._authority.identify(question.account)
            return ask(question, caller, *arguments)
        except Failure:
            raise
        except Exception as error:
            if not hasattr(error, "hresult"):
                raise
            raise failure(error.hresult, getattr(error, "text", str(error))) from None

    def _submit(self, question: Question, caller: Any) -> Any:
        request = request_bytes(question.form.get("certrequest", ""))
        return self._authority.submit(request, attributes(question.form.get("certattrib", "")), caller)

    def _retrieve(self, question: Question, caller: Any, number: int) -> Any:
        return self._authority.retrieve(number, caller)

    def _ca_certificate(self, question: Question) -> bytes:
        certificates = self._own()
        asked = question.query.get("renewal", "-1")  # -1: the latest
        renewal = len(certificates) - 1 if asked == "-1" else _number(asked)
        if renewal >= len(certificates):
            raise failure(0x80070057, "The parameter is incorrect.")
        der: bytes = certificates[renewal]
        return der

    def _own(self) -> list[bytes]:
        return [one.der for one in self._authority.certificates]

    def _above(self, der: bytes) -> list[bytes]:
        """The issuer, its issuer, up to the root, as far as this computer knows them."""
        found: list[bytes] = []
        known = {subject_and_key(one): one for one in self._authority.known_authorities()}
        while (above := next((one for one in known.values() if one != der and issued(one, der)), None)) and above not in found:
            found.append(above)
            der = above
        return found

    def _name(self, der: bytes) -> str:
        names = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return str(names[0].value) if names else self._authority.ca_name

    # ---- answers

    def _encoded(self, question: Question, der: bytes, name: str) -> Page:
        """To anything that does not say Mozilla, real servers send the certificate as text/html."""
        body = der if question.query.get("enc", "b64").lower() == "bin" else armoured(der)
        return Page(200, body, CERTIFICATE if question.is_browser else "text/html", name)

    def _not_issued(self, found: Any) -> Page:
        pending = found.status == "pending"
        message = PENDING_MESSAGE if pending else _plain(found.message)
        result = described(0 if pending else found.hresult, "" if pending else _plain(found.message))
        return self._page("not_issued", disposition="Pending" if pending else "Denied", message=message, result=result)

    def _failed(self, question: Question, error: Failure) -> Page:
        mode = question.form.get("mode", "")
        return self._page(
            "failed",
            mode=MODES[self._language].get(mode, mode or "(none)"),
            message="(none)",
            result=described(error.hresult, error.text),
            cause=self._cause(error.hresult),
        )

    def _cause(self, hresult: int) -> str:
        if hresult != RPC_UNAVAILABLE:
            return ""
        return (FOLDER / self._language / "cause_service.txt").read_text().strip()

    @property
    def _language(self) -> str:
        language = self._machine.faults.get("certsrv_language", "en")
        if language not in LANGUAGES:
            raise ValueError(f"the stand-in has no pages in {language!r}; it has {', '.join(LANGUAGES)}")
        return str(language)

    def _page(self, name: str, options: str = "", **values: str) -> Page:
        """`options` is HTML, all else is text."""
        template = Template((FOLDER / self._language / f"{name}.html").read_text())
        known = {"ca": self._authority.ca_name if self._authority.configured else "", **values}
        text = template.substitute({key: html.escape(value, quote=False) for key, value in known.items()} | {"options": options})
        frame = Template((FOLDER / self._language / "frame.html").read_text())
        return Page(200, frame.substitute(ca=html.escape(known["ca"]), body=text).encode())


def subject_and_key(der: bytes) -> bytes:
    certificate = x509.load_der_x509_certificate(der)
    return certificate.subject.public_bytes() + certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def issued(issuer: bytes, der: bytes) -> bool:
    """Whether the one certificate was signed by the other's key, in its name."""
    try:
        x509.load_der_x509_certificate(der).verify_directly_issued_by(x509.load_der_x509_certificate(issuer))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def attributes(text: str) -> dict[str, str]:
    """CertAttrib: a line `Name:Value` each ([MS-WCCE] 3.1.1.4.3.1.1, pwszAttributes)."""
    lines = [line.partition(":") for line in text.replace("\r", "\n").split("\n") if ":" in line]
    return {name.strip(): value.strip() for name, _, value in lines}


def request_bytes(text: str) -> bytes:
    """CertRequest: PEM with whatever label, or bare Base64."""
    lines = [line.strip() for line in text.strip().splitlines()]
    body = "".join(line for line in lines if line and not line.startswith("-----"))
    try:
        decoded = base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        raise failure(0x8007000D, "The data is invalid.") from None
    if not decoded:
        raise failure(0x8007000D, "The data is invalid.")
    return decoded


def armoured(der: bytes, label: str = "CERTIFICATE") -> bytes:
    """As CryptBinaryToString writes it: lines of 64 characters, CR and LF; a chain too is labelled CERTIFICATE."""
    lines = textwrap.wrap(base64.b64encode(der).decode(), 64)
    return "".join(f"{line}\r\n" for line in (f"-----BEGIN {label}-----", *lines, f"-----END {label}-----")).encode()


def _number(text: str) -> int:
    if not text.isdecimal():
        raise failure(0x80070057, "The parameter is incorrect.")
    return int(text)


def _plain(message: str | None) -> str:
    """Disposition messages stand between quotation marks on the page."""
    return (message or "(none)").strip().replace('"', "'")
