# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages of web enrolment, in English and in languages that the client does not know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.certificates import web_pages
from ansible_collections.certlogon.core.plugins.module_utils.certificates.hresults import explain
from ansible_collections.certlogon.core.plugins.module_utils.certificates.web_pages import DENIED, ISSUED, PENDING, Page
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

pytest.importorskip("hypothesis", reason="property tests need hypothesis")

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certlogon.core.tests.unit.certificates.samples import der, make, pem
from ansible_collections.certlogon.core.tests.unit.fuzzing import mutated

ISSUED_PAGE = """<HTML><Head><Title>Microsoft</Title></Head><Body><P ID=title><B>Zertifikat wurde ausgestellt</B>
<Script Language="JavaScript"> function get() { location="certnew.cer?ReqID=17&"+getEncoding(); } </Script></Body></HTML>"""
PENDING_ENGLISH = "<P>Certificate Pending<P>Your Request Id is 21.<P>Return in a day or two. You must return within 10 days."
PENDING_GERMAN = """<P ID=title><B>Zertifikat steht aus</B></P><P>Ihre Zertifikatanforderung wurde empfangen.</P>
<P>Ihre Anforderungskennung ist 21.</P><P>Kehren Sie innerhalb von 10 Tagen zur&uuml;ck</P>"""
PENDING_JAPANESE = "<P>証明書は保留中です</P><P>要求 ID は 21 です。</P><P>10 日以内に戻ってください。</P>"
DENIED_ENGLISH = """<P>Certificate Request Denied<P>Your Request Id is 5. The disposition message is "Denied by Policy Module
0x80094800, The request was for a certificate template that is not supported by the policy: WebServer2."."""
DENIED_GERMAN = """<P>Ihre Zertifikatanforderung wurde verweigert.</P><P>Ihre Anforderungskennung ist 5.
Die Dispositionsmeldung ist &quot;Vom Richtlinienmodul verweigert 0x80094012, Keine Berechtigung.&quot;.</P>"""
DENIED_BY_OFFICER = 'Your request was denied. Your Request Id is 5. The disposition message is "Denied by CORP\\officer".'


def page(text: str, kind: str = "text/html; Charset=UTF-8") -> Page:
    return Page(kind, text.encode())


@pytest.mark.parametrize(
    ("text", "disposition", "number", "code", "message"),
    [
        (ISSUED_PAGE, ISSUED, 17, None, ""),
        ('<A Href="certnew.p7b?ReqID=3&amp;Enc=bin">x</A>', ISSUED, 3, None, ""),
        (PENDING_ENGLISH, PENDING, 21, None, "Certificate Pending"),
        (PENDING_GERMAN, PENDING, 21, None, "Zertifikat steht aus"),
        (PENDING_JAPANESE, PENDING, 21, None, "証明書は保留中です"),
        (DENIED_ENGLISH, DENIED, 5, 0x80094800, "Denied by Policy Module 0x80094800"),
        (DENIED_GERMAN, DENIED, 5, 0x80094012, "Vom Richtlinienmodul verweigert 0x80094012, Keine Berechtigung."),
        (DENIED_BY_OFFICER, DENIED, 5, None, "Denied by CORP\\officer"),
        ("The RPC server is unavailable. 0x800706ba (WIN32: 1722)", DENIED, None, 0x800706BA, "The RPC server is unavailable."),
    ],
)
def test_submission(text: str, disposition: str, number: int | None, code: int | None, message: str):
    answer = web_pages.submission(page(text))
    assert (answer.disposition, answer.code) == (disposition, code)
    assert answer.request_id == number or (disposition == DENIED and code == 0x800706BA)
    assert answer.message.startswith(message)


@pytest.mark.parametrize("text", ["", "<html><body>Welcome to our gateway</body></html>", "<script>var a = 12;</script>"])
def test_pages_of_something_else(text: str):
    with pytest.raises(FormatError, match="is no answer of web enrolment"):
        web_pages.submission(page(text))


@pytest.mark.parametrize(
    ("text", "disposition", "code"),
    [
        ("Disposition message:\r\n\t\tTaken Under Submission\r\n", PENDING, None),
        ("Dispositionsmeldung: Die Anforderung wird bearbeitet", PENDING, None),
        ("Disposition message: Denied by CORP\\officer", DENIED, None),
        ("Message de disposition : Refus 0x80094014", DENIED, 0x80094014),
    ],
)
def test_retrieval_of_pages(text: str, disposition: str, code: int | None):
    answer = web_pages.retrieval(page(text), 7)
    assert (answer.disposition, answer.code, answer.request_id) == (disposition, code, 7)


@pytest.mark.parametrize("kind", ["application/pkix-cert", "text/html", "application/octet-stream"])
@pytest.mark.parametrize("encode", [der, pem])
def test_retrieval_of_certificates(kind: str, encode: Callable[[Any], bytes]):
    made = make()
    answer = web_pages.retrieval(Page(kind, encode(made)), 7)
    assert answer.disposition == ISSUED and [one.der for one in answer.certificates] == [der(made)]


def test_renewals():
    assert web_pages.renewals(page("<Script> var nRenewals=3; </Script>")) == 3
    with pytest.raises(FormatError):
        web_pages.renewals(page("nothing"))


FACTS = {"account": "web1@corp.example", "template": "WebServer2", "requester": "CORP\\alice"}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (0x80094012, "web1@corp.example lacks the right Enroll on template WebServer2; grant it"),
        (0x80094800, "template WebServer2 is not published on this authority; publish it"),
        (0x80094014, "an officer of the authority denied the request"),
        (0x8009480D, "no user principal name"),
        (0x80091234, "the authority says: text"),
        (None, "the authority says: text"),
    ],
)
def test_explanations(code: int | None, expected: str):
    assert expected in explain(code, "text", FACTS)


def test_no_reason():
    assert explain(None, "", FACTS) == "the authority gives no reason"


_PAGES = [text.encode() for text in (ISSUED_PAGE, PENDING_GERMAN, DENIED_GERMAN, DENIED_ENGLISH)] + [der(make()), pem(make())]
_KINDS = st.sampled_from(
    ["text/html", "text/html; charset=utf-8", "text/html; charset=\0", "text/html; charset=idna", "application/pkix-cert", ""]
)


@given(_KINDS, mutated(st.sampled_from(_PAGES)) | st.binary(max_size=200))
def test_any_page_is_an_answer_or_an_error(kind: str, body: bytes):
    for judge in (web_pages.submission, lambda one: web_pages.retrieval(one, 1), web_pages.renewals):
        with contextlib.suppress(FormatError):
            judge(Page(kind, body))
