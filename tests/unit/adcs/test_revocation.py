# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from ansible_collections.certlogon.core.plugins.module_utils.adcs.certificate_revocation import CertificateRevocation
from ansible_collections.certlogon.core.plugins.module_utils.adcs.crl_state import normal, stored
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import run
from ansible_collections.certlogon.core.tests.unit.adcs.revocation_lists import ISSUER, KEY, NOW, FakeSession, answer, make_crl, row

PUBLISH = {"Base": True, "Delta": False}


def task(session: FakeSession, config: list[dict[str, Any]] | None = None, *, check: bool = False, **options: Any) -> Mapping[str, Any]:
    arguments = {**({} if config is None else {"config": config}), **options}
    checked = ArgumentSpecValidator(CertificateRevocation.argument_spec(), **CertificateRevocation.rules()).validate(arguments)
    assert not checked.error_messages, checked.error_messages
    resource = CertificateRevocation(session)  # type: ignore[arg-type]
    return run(resource, checked.validated_parameters, check_mode=check, warn=session.warn)


def certificate(serial: int, issuer: x509.Name = ISSUER) -> x509.Certificate:
    builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(issuer).public_key(KEY.public_key()).serial_number(serial)
    builder = builder.not_valid_before(NOW).not_valid_after(NOW + datetime.timedelta(days=1))
    return builder.sign(KEY, hashes.SHA256())


@pytest.mark.parametrize(
    ("text", "plain", "whole"),
    [("1A:00:05", "1a0005", "1a0005"), ("00 0f", "f", "0f"), ("0xABC", "abc", "0abc"), ("0", "0", "00"), (" 1 2 ", "12", "12")],
)
def test_serial_numbers(text: str, plain: str, whole: str):
    assert normal(text) == plain and stored(normal(text)) == whole


@pytest.mark.parametrize("text", ["", "xyz", "12g", "--", "1.2"])
def test_what_is_no_serial_number(text: str):
    with pytest.raises(ValueError, match="serial number"):
        normal(text)


CASES = [
    # current reason, on the CRL, wanted, (reason told to the CA | None: only published | "nothing")
    (None, None, {}, 0),
    (None, None, {"reason": "key_compromise"}, 1),
    (None, None, {"status": "on_hold"}, 6),
    (None, None, {"status": "valid"}, "nothing"),
    (1, "key_compromise", {}, "nothing"),
    (1, "key_compromise", {"reason": "key_compromise"}, "nothing"),
    (1, None, {}, None),
    (6, "certificate_hold", {"status": "on_hold"}, "nothing"),
    (6, None, {"status": "on_hold"}, None),
    (6, "certificate_hold", {"status": "valid"}, -1),
    (6, "certificate_hold", {"status": "revoked", "reason": "superseded"}, 4),
    (None, "certificate_hold", {"status": "valid"}, None),
]


@pytest.mark.parametrize(("reason", "listed", "wanted", "told"), CASES)
def test_what_is_told_to_the_ca(reason: int | None, listed: str | None, wanted: dict[str, Any], told: int | str | None):
    names = {0: "unspecified", 1: "key_compromise", 4: "superseded", 6: "certificate_hold"}
    final = {"valid": None, "on_hold": 6, "revoked": reason}[wanted.get("status", "revoked")] if told in (None, "nothing") else told
    final = None if final in (None, -1) else int(final)
    before = answer(make_crl(3, {0x1A2B: listed} if listed else {}), rows=[row("1a2b", reason=reason)])
    after = answer(
        make_crl(4, {} if final is None else {0x1A2B: names[final]}), rows=[row("1a2b", reason=None if final is None else int(final))]
    )
    session = FakeSession(before, after)
    result = task(session, [{"serial": "1A:2B", **wanted}])
    assert not result.get("failed"), result
    if told == "nothing":
        assert session.calls == [] and not result["changed"]
        return
    assert result["changed"] and [change["name"] for change in result["changes"]] == ["1a2b"]
    expected = ("adcs_crl_publish", PUBLISH) if told is None else ("adcs_revoke", {**PUBLISH, "Serial": "1a2b", "Reason": told})
    assert session.calls == [expected]
    again = FakeSession(after)
    assert not task(again, [{"serial": "1A:2B", **wanted}])["changed"], "a second run changes nothing"


def test_check_mode_predicts_and_calls_nothing():
    session = FakeSession(answer(rows=[row("1a2b")]))
    result = task(session, [{"serial": "1a2b", "reason": "superseded"}], check=True)
    assert result["changed"] and session.calls == []
    assert result["diff"] == [
        {
            "before_header": "1a2b",
            "after_header": "1a2b",
            "before": {"status": "valid", "on_crl": None},
            "after": {"status": "revoked", "reason": "superseded", "on_crl": "superseded"},
        }
    ]


@pytest.mark.parametrize(
    ("reason", "wanted", "message"),
    [
        (1, {"status": "valid"}, "cannot be taken back"),
        (1, {"status": "on_hold"}, "cannot be taken back"),
        (1, {"reason": "superseded"}, "key_compromise"),
    ],
)
def test_what_cannot_be_changed(reason: int, wanted: dict[str, Any], message: str):
    session = FakeSession(answer(rows=[row("1a2b", reason=reason)]))
    with pytest.raises(UserError, match=message):
        task(session, [{"serial": "1a2b", **wanted}])
    assert session.calls == []


def test_an_unknown_serial_number_is_refused_before_anything_is_revoked():
    session = FakeSession(answer(rows=[row("1a2b")]))
    with pytest.raises(UserError, match="99: ca1") as error:
        task(session, [{"serial": "1a2b"}, {"serial": "99"}, {"serial": "98"}])
    assert "98: ca1" in str(error.value), "all of them are named"
    assert session.calls == []


def test_all_certificates_of_an_account_and_one_publication():
    rows = [row("01"), row("02", reason=4), row("03", days=-1), row("04")]
    done = [row("01", reason=5), row("02", reason=4), row("03", days=-1), row("04", reason=5)]
    listed = make_crl(4, {1: "unspecified", 2: "superseded", 4: "unspecified"})
    before = answer(make_crl(3, {2: "superseded"}), rows=rows)
    session = FakeSession(before, answer(listed, rows=[row("01", reason=0), *done[1:3], row("04", reason=0)]))
    result = task(session, [{"user": "corp\\ALICE"}])
    assert not result.get("failed"), result
    assert session.asked[0]["Requesters"] == ["corp\\ALICE"]
    assert [(name, call["Serial"], call.get("Base")) for name, call in session.calls] == [
        ("adcs_revoke", "01", None),
        ("adcs_revoke", "04", True),
    ]


@pytest.mark.parametrize("status", ["on_hold", "valid"])
def test_what_is_revoked_for_good_is_told_so(status: str):
    """Of an account's certificates it stays as it is, whatever the others come to be."""
    session = FakeSession(
        answer(make_crl(3, {2: "superseded"}), rows=[row("01", reason=6 if status == "valid" else None), row("02", reason=4)])
    )
    resource = CertificateRevocation(session)  # type: ignore[arg-type]
    params = {"config": [{"user": "CORP\\alice", "status": status, "reason": None}], "state": "merged", "publish": True}
    resource.plan(params, resource.read(session, params))  # type: ignore[arg-type]
    told = resource.returns(params)["certificates"]
    assert [(found["serial"], found["status"]) for found in told] == [("01", status), ("02", "revoked")]


def test_an_account_without_certificates():
    with pytest.raises(UserError, match="issued no certificate to this account"):
        task(FakeSession(answer()), [{"user": "CORP\\nobody"}])


def test_by_certificate_and_by_file(tmp_path: Path):
    found = certificate(0x1A2B)
    (tmp_path / "c.cer").write_bytes(found.public_bytes(serialization.Encoding.DER))
    done = answer(make_crl(4, {0x1A2B: "unspecified"}), rows=[row("1a2b", reason=0)])
    for entry in ({"certificate": found.public_bytes(serialization.Encoding.PEM).decode()}, {"certificate_path": str(tmp_path / "c.cer")}):
        session = FakeSession(answer(rows=[row("1a2b")]), done)
        assert task(session, [entry])["changed"]
        assert session.asked[0]["Serials"] == ["1a2b"]


def test_the_certificate_of_another_ca():
    other = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Other CA")])
    entry = {"certificate": certificate(0x1A2B, other).public_bytes(serialization.Encoding.PEM).decode()}
    with pytest.raises(UserError, match="CN=Other CA"):
        task(FakeSession(answer(rows=[row("1a2b")])), [entry])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "exactly one of"),
        ({"serial": "1", "user": "A\\b"}, "serial and user"),
        ({"serial": "xyz"}, "no serial number"),
        ({"user": "alice"}, "DOMAIN"),
        ({"serial": "1", "status": "on_hold", "reason": "superseded"}, "belongs to status=revoked"),
        ({"certificate": "nonsense"}, "certificate"),
        ({"certificate_path": "/nowhere.pem"}, "cannot be read"),
    ],
)
def test_bad_requests(entry: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        task(FakeSession(answer()), [entry])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"active": None}, "no certification authority"),
        ({"running": False}, "CertSvc does not run"),
        ({"rows": [{"SerialNumber": "1"}]}, "cannot be read"),
    ],
)
def test_a_host_without_a_running_ca(changes: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        task(FakeSession(answer(**changes)), [{"serial": "1"}])


def test_without_publication():
    session = FakeSession(answer(rows=[row("1a2b")]), answer(rows=[row("1a2b", reason=0)]))
    assert task(session, [{"serial": "1a2b"}], publish=False)["changed"]
    assert session.calls == [("adcs_revoke", {"Serial": "1a2b", "Reason": 0})]
    assert not task(FakeSession(answer(rows=[row("1a2b", reason=0)])), [{"serial": "1a2b"}], publish=False)["changed"]


def test_a_revocation_that_does_not_appear_on_the_crl_is_a_failure():
    session = FakeSession(answer(rows=[row("1a2b")]), answer(rows=[row("1a2b", reason=0)]))
    result = task(session, [{"serial": "1a2b"}])
    assert result["failed"] and "on_crl" in result["msg"]


def test_an_expired_certificate_needs_no_crl():
    session = FakeSession(answer(rows=[row("1a2b", days=-1)]), answer(rows=[row("1a2b", days=-1, reason=0)]))
    assert task(session, [{"serial": "1a2b"}])["changed"]


def test_deltas_count():
    base, delta = make_crl(3, {1: "certificate_hold", 2: "superseded"}), make_crl(4, {1: "remove_from_crl", 3: "key_compromise"}, base=3)
    rows = [row("01"), row("02", reason=4), row("03", reason=1)]
    config = [{"serial": "1", "status": "valid"}, {"serial": "2"}, {"serial": "3"}]
    assert not task(FakeSession(answer(base, delta, rows)), config)["changed"]


def test_gathered_is_what_config_accepts():
    rows = [row("01", reason=6), row("02", reason=4)]
    session = FakeSession(answer(make_crl(3, {1: "certificate_hold", 2: "superseded"}), rows=rows))
    found = task(session, state="gathered")["gathered"]
    assert found == [{"serial": "01", "status": "on_hold"}, {"serial": "02", "status": "revoked", "reason": "superseded"}]
    assert session.asked[0]["Revoked"] is True
    assert not task(session, found)["changed"]
    assert task(session, [{"serial": "2"}], state="gathered")["gathered"] == [found[1]]


def test_rendered_asks_no_host():
    session = FakeSession()
    found = task(session, [{"serial": "A:B"}, {"user": "CORP\\x", "status": "on_hold"}], state="rendered")["rendered"]
    assert found == [{"serial": "ab", "status": "revoked", "reason": "unspecified"}, {"user": "CORP\\x", "status": "on_hold"}]


def test_two_entries_that_contradict_each_other():
    session = FakeSession(answer(rows=[row("1a2b")]))
    with pytest.raises(UserError, match="different things"):
        task(session, [{"serial": "1a2b"}, {"user": "CORP\\alice", "status": "on_hold"}])


def test_an_error_of_the_ca_names_the_certificate():
    session = FakeSession(answer(rows=[row("1a2b")]))
    session.fails = {"adcs_revoke": "Access is denied. 0x80070005"}
    result = task(session, [{"serial": "1a2b"}])
    assert result["failed"] and "1a2b" in result["msg"]
