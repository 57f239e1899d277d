# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pages of AD CS web enrolment say, judged by their links, content types and error codes, since their language varies."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate, load
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

ISSUED, PENDING, DENIED = "issued", "pending", "denied"

_LINK = re.compile(r"certnew\.(?:cer|p7b)\?ReqID=(\d{1,10})", re.IGNORECASE)
_CODE = re.compile(r"\b0x[89a-f][0-9a-f]{7}\b", re.IGNORECASE)
_QUOTED = re.compile(r"[\"\u201c\u201e«]\s*([^\"\u201c\u201d\u201e«»]{3,800}?)\s*[\"\u201d\u201c»]")
_ENGLISH_ID = re.compile(r"request id is:?\s*(\d{1,10})", re.IGNORECASE)
_ENGLISH_DENIED = re.compile(r"\bdenied\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<![\w.,:/-])(\d{1,10})(?=[.。](?:\s|$))")
_NUMBER = re.compile(r"(?<![\w.,:/-])(\d{1,10})(?![\w,:/-]|\.\d)")
_RENEWALS = re.compile(r"nRenewals\s*=\s*(\d{1,4})")

_CERTIFICATE_TYPES = ("application/pkix-cert", "application/x-x509-ca-cert", "application/x-pkcs7-certificates", "application/pkcs7-mime")
TEXT_LIMIT = 400


@dataclass(frozen=True)
class Page:
    """An answer of the web server."""

    content_type: str
    body: bytes

    @property
    def source(self) -> str:
        charset = re.search(r"charset=\"?([\w.-]{1,40})", self.content_type)
        try:
            return self.body.decode(charset.group(1) if charset else "utf-8", "replace")
        except (LookupError, ValueError):
            return self.body.decode("utf-8", "replace")

    @property
    def text(self) -> str:
        """What a reader sees: without scripts, comments, tags, and with single spaces."""
        shown = re.sub(r"(?is)<(script|style|title)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)", " ", self.source)
        return " ".join(html.unescape(re.sub(r"(?s)<[^>]*(?:>|\Z)", " ", shown)).split())

    @property
    def holds_certificates(self) -> bool:
        kind = self.content_type.partition(";")[0].strip().lower()
        return kind in _CERTIFICATE_TYPES or self.body[:1] == b"\x30" or b"-----BEGIN" in self.body[:200]


@dataclass(frozen=True)
class Answer:
    """What became of a request. `code` is an HRESULT, or None where the page has none; `message` is the authority's own words."""

    disposition: str
    request_id: int | None = None
    code: int | None = None
    message: str = ""
    certificates: tuple[Certificate, ...] = ()


def submission(page: Page) -> Answer:
    """What the authority made of a new request (certfnsh.asp). Raises `FormatError` for a page that says none of it."""
    source, text = page.source, page.text
    link = _LINK.search(source)
    if link:
        return Answer(ISSUED, int(link.group(1)))
    number = _request_id(text)
    refused = _refusal(text)
    if refused:
        return Answer(DENIED, number, *refused)
    if number is None:
        raise FormatError(f"is no answer of web enrolment: {excerpt(text)}")
    return Answer(PENDING, number, None, excerpt(text))


def retrieval(page: Page, request_id: int) -> Answer:
    """What became of an older request (certnew.cer, certnew.p7b). Raises `FormatError` for a certificate that cannot be read."""
    if page.holds_certificates:
        return Answer(ISSUED, request_id, certificates=tuple(load(page.body)))
    text = page.text
    refused = _refusal(text)
    if refused:
        return Answer(DENIED, request_id, *refused)
    if not text:
        raise FormatError("is an empty page")
    return Answer(PENDING, request_id, None, excerpt(text))


def renewals(page: Page) -> int:
    """How often the authority's certificate was renewed (certcarc.asp). Raises `FormatError`."""
    found = _RENEWALS.search(page.source)
    if not found:
        raise FormatError(f"does not say which certificates the authority has: {excerpt(page.text)}")
    return int(found.group(1))


def _refusal(text: str) -> tuple[int | None, str] | None:
    code = _CODE.search(text)
    if code:
        return int(code.group(), 16), _message(text, code)
    if _ENGLISH_DENIED.search(text):
        quoted = _QUOTED.search(text)
        return None, quoted.group(1) if quoted else excerpt(text)
    return None


def _message(text: str, code: re.Match[str]) -> str:
    """The authority's message: the quoted text that holds the code, else the text around it."""
    for quoted in _QUOTED.finditer(text):
        if quoted.start() < code.start() < quoted.end():
            return quoted.group(1)
    return excerpt(text[max(0, code.start() - TEXT_LIMIT // 2) : code.end() + TEXT_LIMIT // 4])


def _request_id(text: str) -> int | None:
    """English first; else the number that ends a sentence, else the first number that stands alone."""
    for pattern in (_ENGLISH_ID, _SENTENCE_END, _NUMBER):
        found = pattern.search(text)
        if found:
            return int(found.group(1))
    return None


def excerpt(text: str) -> str:
    return text if len(text) <= TEXT_LIMIT else f"{text[:TEXT_LIMIT]}…"
