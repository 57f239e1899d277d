# SPDX-License-Identifier: GPL-3.0-or-later
"""Controls of trusted certificates: each on what passes, fails and cannot be known."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.certlogon.core.tests.unit.compliance.domain_facts import (
    CA,
    Change,
    Words,
    add_certificate,
    add_template,
    into,
    judged,
    of_family,
    rubbish,
    sha256,
    unread,
)
from ansible_collections.certlogon.core.tests.unit.directory import pki_samples as pki

Case = tuple[list[Change], str, str, dict[str, Any]]


def declare_nothing(words: Words) -> None:
    words["declared"] = {}


def empty(store: str) -> Change:
    return lambda words: words["stores"][store][0].update(certificates=[])


def gone(store: str) -> Change:
    return lambda words: words["stores"].update({store: None})


def replica(**changes: Any) -> Change:
    return lambda words: words["replicas"][1].update(changes)


def sign_with(der: bytes) -> Change:
    return lambda words: words["enrollment_services"][0].update(certificates=[add_certificate(words, der)])


def publish(name: str) -> Change:
    def change(words: Words) -> None:
        add_template("WebOnly", "WebServer")(words)
        words["enrollment_services"][0]["templates"] = [name]

    return change


ROGUE = pki.certificate("Rogue")


def store_cases(store: str) -> dict[str, list[Case]]:
    """Both stores are judged alike."""
    hidden: list[Case] = [([unread("stores")], "unknown", "stores", {})]
    if store == "root":
        hidden.append(([gone("root"), empty("ntauth")], "unknown", "hidden from this account", {}))
    return {
        f"{store}-unknown-certificate": [
            ([], "pass", "", {}),
            ([into(store, ROGUE)], "fail", "the inventory does not name it", {"subject": "CN=Rogue,DC=example", "sha256": sha256(ROGUE)}),
            ([declare_nothing], "unknown", "the inventory names nothing", {}),
            ([unread("declared")], "unknown", "declared", {}),
            *hidden,
        ],
        f"{store}-expired": [
            ([], "pass", "", {}),
            ([into(store, pki.certificate("Old", expired=True))], "fail", "expired on 2026-05-31", {}),
            ([into(store, pki.certificate("Young", future=True))], "fail", "is not valid before", {}),
            ([rubbish(store)], "pass", "", {}),
            *hidden,
        ],
        f"{store}-weak": [
            ([], "pass", "", {}),
            ([into(store, pki.certificate("Weak", weak=True))], "fail", "key of 1024 bits", {"key": "rsa 1024"}),
            *hidden,
        ],
        f"{store}-not-a-ca": [
            ([], "pass", "", {}),
            ([into(store, pki.certificate("Leaf", ca=False))], "fail", "is not a CA certificate", {}),
            ([rubbish(store)], "fail", "is truncated DER", {"sha256": "ab" * 32}),
            *hidden,
        ],
    }


CASES: dict[str, list[Case]] = {
    **store_cases("ntauth"),
    **store_cases("root"),
    "ntauth-chain": [
        ([], "pass", "", {}),
        ([empty("root")], "fail", "not among the trusted roots", {"issuer": "CN=Root,DC=example"}),
        ([into("ntauth", pki.certificate("Stray", "Nobody"))], "fail", "issuer CN=Nobody,DC=example is neither", {}),
        # somebody else's certificate by the name of the root
        (
            [into("root", pki.certificate("Root", generation=1)), lambda words: words["stores"]["root"][0]["certificates"].pop(0)],
            "fail",
            "",
            {},
        ),
        ([unread("pki_certificates")], "unknown", "pki_certificates", {}),
    ],
    "ntauth-service": [
        ([], "pass", "", {}),
        ([empty("ntauth")], "fail", "not in the NTAuth store", {"sha256": sha256(CA)}),
        ([gone("ntauth")], "fail", "no NTAuth store", {}),
        ([empty("ntauth"), publish("WebOnly")], "pass", "", {}),
        ([empty("ntauth"), publish("Hidden")], "fail", "not in the NTAuth store", {}),
        ([sign_with(pki.certificate("Issuing", "Root", generation=1))], "fail", "newest certificate", {}),
        ([unread("stores")], "unknown", "stores", {}),
    ],
    "aia-service": [
        ([], "pass", "", {}),
        ([empty("intermediate")], "fail", "not in the AIA container", {"sha256": sha256(CA)}),
        ([gone("intermediate")], "unknown", "CN=AIA", {}),
    ],
    "pki-replica-difference": [
        ([], "pass", "", {}),
        (
            [replica(differences=[{"dn": "CN=X", "what": "differs", "attributes": ["flags"]}], count=1)],
            "fail",
            "flags of CN=X differ from dc1.corp.example",
            {"attributes": ["flags"]},
        ),
        ([replica(differences=[{"dn": "CN=X", "what": "missing", "attributes": []}], count=1)], "fail", "It does not have CN=X", {}),
        ([replica(differences=[{"dn": "CN=X", "what": "extra", "attributes": []}], count=1)], "fail", "It has CN=X", {}),
        ([replica(count=7)], "fail", "7 more objects differ", {"count": 7}),
        ([replica(answered=False, error="timed out")], "unknown", "It did not answer: timed out", {}),
    ],
}


@pytest.mark.parametrize(("control", "case"), [(control, case) for control, cases in CASES.items() for case in cases])
def test_verdicts(control: str, case: Case) -> None:
    changes, status, says, evidence = case
    result = judged(control, *changes)
    assert result.status == status, result.verdicts
    if status != "pass":
        [verdict] = [verdict for verdict in result.verdicts if verdict.status == status]
        assert says in verdict.message
        assert evidence.items() <= verdict.evidence.items()


def test_every_control_has_its_cases() -> None:
    assert CASES.keys() == of_family("30-trust")
    for cases in CASES.values():
        assert {"pass", "fail", "unknown"} <= {case[1] for case in cases}


def test_nothing_to_judge_is_no_pass() -> None:
    assert judged("ntauth-weak", gone("ntauth")).status == "not_applicable"
    assert judged("ntauth-unknown-certificate", empty("ntauth"), unread("declared")).status == "not_applicable"
    assert judged("pki-replica-difference", lambda words: words["replicas"].pop()).status == "not_applicable"


def test_fingerprints_may_be_known_and_services_exempt() -> None:
    pin = ":".join(sha256(ROGUE)[place : place + 2] for place in range(0, 64, 2)).upper()
    assert judged("ntauth-unknown-certificate", into("ntauth", ROGUE), known=[pin]).status == "pass"
    assert judged("ntauth-service", empty("ntauth"), **{"except": ["issuing"]}).status == "not_applicable"


def test_an_intermediate_among_the_roots() -> None:
    [verdict] = judged("root-not-a-ca", into("root", CA)).verdicts
    assert "is not self-signed" in verdict.message
    assert verdict.subject == f"certificate Issuing ({sha256(CA)[:16]})"
