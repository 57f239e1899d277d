# SPDX-License-Identifier: GPL-3.0-or-later
"""When a certificate is requested anew, taken up, waited for or left alone: the plan by itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from ansible_collections.certlogon.core.plugins.module_utils.certificates import chains, keys, request_memory
from ansible_collections.certlogon.core.plugins.module_utils.certificates.description import window
from ansible_collections.certlogon.core.plugins.module_utils.certificates.file_store import Attributes
from ansible_collections.certlogon.core.plugins.module_utils.certificates.keys import KeyKind
from ansible_collections.certlogon.core.plugins.module_utils.certificates.request_memory import Memory
from ansible_collections.certlogon.core.plugins.module_utils.certificates.request_plan import HeldKey, Situation, decide, needs_new_key
from ansible_collections.certlogon.core.plugins.module_utils.certificates.request_wishes import Wanted
from ansible_collections.certlogon.core.plugins.module_utils.certificates.revocation import Revocation
from ansible_collections.certlogon.core.plugins.module_utils.certificates.web_pages import Answer
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

pytest.importorskip("hypothesis", reason="property tests need hypothesis")

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certlogon.core.tests.unit.certificates.samples import key, name
from ansible_collections.certlogon.core.tests.unit.fuzzing import mutated

NOW = datetime(2026, 6, 1, tzinfo=timezone.utc)
REQUESTED = {"subject": "CN=web1", "template": "Web"}
EC = KeyKind("ec", curve="secp256r1")


def issued(start: int = -100, end: int = 100, issuer: str = "CA") -> x509.Certificate:
    builder = x509.CertificateBuilder(name(issuer), name("web1"), key().public_key(), 7, NOW + timedelta(start), NOW + timedelta(end))
    return builder.sign(key(), hashes.SHA256())


def wanted(requested: dict[str, Any] | None = None, kind: KeyKind = EC, **entry: Any) -> Wanted:
    return Wanted(
        {"path": "/c.pem", "renew_before": 30, **entry}, "c", "/c.pem", "web_enrollment", "file", "/c.key", kind,
        requested or REQUESTED, (), (),
        Attributes(0o644), Attributes(0o600),
    )  # fmt: skip


def situation(certificate: x509.Certificate | None, wish: Wanted | None = None, status: str = "issued", **changes: Any) -> Situation:
    der = chains.encoded(certificate) if certificate else b""
    found = Situation(wish or wanted(), certificate, der, key=HeldKey(keys.identity(key().public_key()), EC))
    installed = {"sha256": found.sha256, "requested": REQUESTED}
    memory = Memory(status, REQUESTED, "https://ca", "0", "2026-05-01T00:00:00Z", 5, changes.pop("why", ""), installed)
    return replace(found, **{"memory": memory, **changes})


@pytest.mark.parametrize(
    ("found", "kind", "reason"),
    [
        (situation(issued()), "keep", ""),
        (situation(issued(), memory=None), "keep", ""),
        (situation(None), "request", "there is no certificate"),
        (situation(None, unreadable="is empty"), "request", "the certificate is empty"),
        (situation(issued(), key=None), "request", "its key is missing"),
        (situation(issued(), key=HeldKey(b"other", EC)), "request", "the certificate is of another key"),
        (situation(issued(), wanted(kind=KeyKind("rsa", size=2048))), "request", "key is EC secp256r1, not RSA 2048"),
        (situation(issued(), wanted({"subject": "CN=web2", "template": "Web"})), "request", "subject changes from CN=web1 to CN=web2"),
        (situation(issued(), wanted({"subject": "CN=web1"})), "request", "template changes from Web to nothing"),
        (situation(issued(), wanted({"subject": "CN=web2"}), memory=None), "request", "subject is CN=web1, not CN=web2"),
        (situation(issued(), wanted(issuer="Other")), "request", "issuer is CN=CA, not Other"),
        (situation(issued(), wanted(issuer="ca")), "keep", ""),
        (situation(issued(end=31)), "keep", ""),
        (situation(issued(end=30)), "request", "expires on 2026-07-01, within 30 days"),
        (situation(issued(end=-1)), "request", "expired on 2026-05-31"),
        (situation(issued(start=-10, end=20), wanted(renew_before=1000)), "keep", ""),
        (situation(issued(start=-20, end=10), wanted(renew_before=1000)), "request", "expires on 2026-06-11"),
        (situation(issued(start=1)), "keep", ""),
        (situation(issued(), wanted(force=True)), "request", "force is true"),
        (situation(issued(), revocation=Revocation("revoked", (), "since today")), "request", "was revoked since today"),
        (situation(issued(), revocation=Revocation("on_hold", (), "since today")), "held", "is on hold since today"),
        (situation(issued(), revocation=Revocation("unknown", ("stale",))), "keep", ""),
        (situation(issued(), faults=(("/c.pem", "has another mode"),)), "repair", "/c.pem: has another mode"),
        (situation(None, status="pending"), "pending", "request 5 waits at https://ca for an officer since 2026-05-01"),
        (situation(None, status="pending", answer=Answer("pending", 5, None, "Bitte warten")), "pending", "request 5 waits"),
        (situation(None, status="pending", answer=Answer("issued", 5)), "take_up", "request 5 was answered"),
        (situation(None, status="pending", answer=Answer("denied", 5, None, "no")), "denied", "no"),
        (
            situation(None, wanted(retry_denied=True), "pending", answer=Answer("denied", 5, None, "no")),
            "request",
            "there is no certificate",
        ),
        (situation(None, wanted({"subject": "CN=web2"}), "pending"), "request", "there is no certificate"),
        (situation(None, status="pending", elsewhere=True), "request", "there is no certificate"),
        (situation(issued(), status="pending", elsewhere=True), "keep", ""),
        (situation(None, status="submitted"), "request", "there is no certificate"),
        (situation(None, status="denied", why="no right"), "denied", "no right"),
        (situation(None, wanted(retry_denied=True), "denied"), "request", "there is no certificate"),
        (situation(None, wanted({"subject": "CN=web2"}), "denied"), "request", "there is no certificate"),
        (situation(None, status="refused", why="lacks"), "refused", "lacks"),
        (situation(issued(), status="denied", why="no right"), "keep", ""),
        (situation(issued(end=10), status="denied", why="no right"), "denied", "no right"),
    ],
)
def test_decisions(found: Situation, kind: str, reason: str):
    decision = decide(found, NOW)
    assert decision.kind == kind and decision.reason.startswith(reason), decision


@pytest.mark.parametrize(
    ("found", "new"),
    [
        (situation(issued(end=1)), True),
        (situation(issued(end=1), wanted(key={"reuse": True})), False),
        (situation(None), False),
        (situation(None, key=None), True),
        (situation(None, wanted(kind=KeyKind("rsa", size=2048))), True),
        (situation(issued(), replace(wanted(), key_place="token")), False),
        (situation(issued(), replace(wanted(), key_place="elsewhere")), False),
    ],
)
def test_new_keys(found: Situation, new: bool):
    assert needs_new_key(found, decide(found, NOW)) == new


@given(st.integers(0, 2000), st.integers(1, 4000), st.integers(0, 4000))
def test_a_certificate_that_was_just_issued_is_never_due(renew_before: int, lifetime: int, passed: int):
    """Whatever the window, no run after the issue asks again before half of the lifetime is over."""
    certificate = issued(0, lifetime)
    now = NOW + timedelta(days=passed)
    due = decide(situation(certificate, wanted(renew_before=renew_before)), now).kind == "request"
    assert due == (passed >= lifetime - min(renew_before, lifetime / 2))
    assert window(certificate, renew_before) <= timedelta(days=lifetime / 2)


GOOD = request_memory.dump(situation(issued()).memory or Memory("issued", {}, "", "", ""))


def test_memory_survives_its_file():
    memory = situation(issued()).memory
    assert memory is not None and request_memory.parse(request_memory.dump(memory), "x") == memory


@given(mutated(st.sampled_from([GOOD, b"{}", b"[]", b"null", b'{"status": "pending"}'])))
def test_any_bytes_are_a_memory_or_an_error(data: bytes):
    try:
        memory = request_memory.parse(data, "/c.pem.request.json")
    except FormatError as error:
        assert "remove the file" in str(error)
    else:
        decide(situation(None, memory=memory), NOW)
