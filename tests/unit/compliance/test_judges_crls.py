# SPDX-License-Identifier: GPL-3.0-or-later
"""CRLs at their CDPs: each control on what passes, fails and cannot be known; and the observer on real servers on the loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.compliance.crl_observation import CrlObservation
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Target
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation, load, save
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import run
from ansible_collections.certlogon.core.tests.unit.compliance.judged import Case, at, check, incomplete, judged, raised, rows
from ansible_collections.certlogon.core.tests.unit.connect_secure import authorities

URL, OTHER = "http://pki.corp.example/ca.crl", "http://backup.corp.example/ca.crl"
CA, KEY = "CN=Corp CA", "a" * 64


def crl(**more: Any) -> dict[str, Any]:
    usual = {"issuer": CA, "sha256": "c" * 64, "number": 7, "this_update": at(-24), "next_update": at(144), "next_publish": at(132)}
    return {**usual, "delta": False, "base_number": None, "entries": 3, "size": 700, "signed_by": [KEY], "partial": [], **more}


def point(*lists: dict[str, Any], url: str = URL, reason: str = "", **more: Any) -> dict[str, Any]:
    usual = {"url": url, "delta": False, "used_by": ["the DC certificate"], "issuers": [{"subject": CA, "sha256": KEY}]}
    return {**usual, "reason": reason, "absent": False, "wrong": "", "seconds": 0.1, "lists": list(lists), **more}


def certificate(**more: Any) -> dict[str, Any]:
    usual = {
        "name": "dc1",
        "subject": "CN=dc1",
        "issuer": CA,
        "sha256": "d" * 64,
        "held_by": "dc1",
        "cdps": [URL],
        "use": "domain_controller",
    }
    return {**usual, **more}


def crls(*points: dict[str, Any]) -> dict[str, Any]:
    return {"crls": list(points)}


def used(*certificates: dict[str, Any], points: Any = None) -> dict[str, Any]:
    return {"crls": points if points is not None else [point(crl())], "certificates": list(certificates)}


SILENT = point(reason="CRL http://…: cannot be fetched (ConnectTimeout)")
GONE = point(reason="CRL http://…: the server answers HTTP 404", absent=True)
UNREAD = {"crls": {"unread": {"reason": "the folder has no observations", "right": ""}}, "certificates": []}

CASES: dict[str, list[Case]] = {
    "crl-reachable": [
        Case(crls(point(crl())), "pass"),
        Case(crls(GONE), "fail", "HTTP 404", {"used_by": ["the DC certificate"]}),
        Case(crls(SILENT), "unknown", "not reached from the control node"),
        Case(crls(SILENT), "fail", "must_reach", parameters={"must_reach": ["http://pki.CORP.example/*"]}),
        Case(crls(SILENT), "unknown", parameters={"must_reach": ["ldap:*"]}, says="not reached"),
        Case(UNREAD, "unknown", "no observations"),
        Case(crls(), "not_applicable"),
    ],
    "crl-signature": [
        Case(crls(point(crl())), "pass"),
        Case(crls(point(crl(signed_by=[]), crl())), "pass"),
        Case(crls(point(crl(signed_by=[], issuer="CN=Corp CA"))), "fail", "not signed by the key of CN=Corp CA", {"crl_issuers": [CA]}),
        Case(crls(point(wrong="what is there is no CRL: x")), "fail", "serves no CRL"),
        Case(crls(point(crl(), issuers=[])), "unknown", "not known in this run"),
        Case(crls(SILENT), "unknown", "was not fetched"),
        Case(crls(GONE), "not_applicable"),
    ],
    "crl-complete": [
        Case(crls(point(crl()), point(crl(delta=True), url=OTHER, delta=True)), "pass"),
        Case(crls(point(crl(delta=True))), "fail", "is a delta CRL", {"number": 7}),
        Case(crls(point(crl(partial=["is of CA certificates only"]))), "fail", "of CA certificates only"),
        Case(crls(SILENT), "unknown", "was not fetched"),
    ],
    "crl-in-force": [
        Case(crls(point(crl())), "pass"),
        Case(crls(point(crl(next_update=at(-1)))), "fail", "It ended on", {"next_update": at(-1)}),
        Case(crls(point(crl(next_update=None))), "fail", "no time of the next"),
        Case(crls(point(crl(this_update=at(1)))), "fail", "not valid before"),
        Case(crls(point(crl(next_update=at(-1), this_update=at(-90)), crl())), "pass"),
        Case(crls(SILENT), "unknown", "was not fetched"),
    ],
    "crl-published-in-time": [
        Case(crls(point(crl())), "pass"),
        Case(crls(point(crl(next_publish=at(-0.5)))), "pass"),
        Case(crls(point(crl(next_publish=at(-3)))), "fail", "3.0 hours ago", {"hours_left": 144.0, "next_publish": at(-3)}),
        Case(
            crls(point(crl(next_publish=None, this_update=at(-160), next_update=at(5)))), "fail", "ends in 5.0 hours", {"hours_least": 6.0}
        ),
        Case(crls(point(crl(next_publish=None, this_update=at(-160), next_update=at(5)))), "pass", parameters={"hours_left": 2}),
        # one that lives for two hours is not late in its second one
        Case(crls(point(crl(next_publish=None, this_update=at(-1), next_update=at(1)))), "pass"),
        Case(crls(point(crl(next_update=at(-1)))), "not_applicable"),
        Case(crls(SILENT), "unknown", "was not fetched"),
    ],
    "crl-number": [
        Case(crls(point(crl())), "pass", previous={URL: {"number": 7}}),
        Case(crls(point(crl())), "fail", "from number 8 to 7", {"before": 8}, previous={URL: {"number": 8}}),
        Case(crls(point(crl()), point(crl(), url=OTHER)), "pass"),
        Case(crls(point(crl(number=6)), point(crl(), url=OTHER)), "fail", f"{OTHER} serves number 7", {"number": 6, "highest": 7}),
        # on its way to the other address
        Case(crls(point(crl(number=6)), point(crl(this_update=at(-1)), url=OTHER)), "pass"),
        Case(
            crls(point(crl(number=6)), point(crl(this_update=at(-1)), url=OTHER)), "fail", parameters={"grace_minutes": 30}, says="number 6"
        ),
        Case(crls(point(crl(number=None))), "fail", "has no number"),
        Case(crls(point(crl()), point(crl(delta=True, base_number=8), url=OTHER, delta=True)), "fail", "builds on number 8"),
        Case(crls(point(crl())), "not_applicable"),
        Case(crls(SILENT), "unknown", "was not fetched"),
    ],
    "crl-size": [
        Case(crls(point(crl())), "pass"),
        Case(crls(point(crl(entries=100_001))), "fail", "100001 entries", {"entries": 100_001}),
        Case(crls(point(crl(size=11 << 20))), "fail", "11.0 MB"),
        Case(crls(point(reason="CRL http://…: is larger than 67108864 bytes")), "fail", "too large"),
        Case(crls(SILENT), "unknown", "was not fetched"),
    ],
    "certificate-cdp": [
        Case(used(certificate(), certificate(sha256="e" * 64, subject=CA, cdps=[])), "pass"),
        Case(used(certificate(cdps=[])), "fail", "names no CDP", {"cdps": [], "held_by": "dc1"}),
        Case(used(certificate(), points=[GONE]), "fail", "At none of the CDPs"),
        Case(used(certificate(), points=[SILENT]), "unknown", "was reached"),
        Case(used({name: value for name, value in certificate().items() if name != "cdps"}), "unknown", "were not noted"),
        Case(used(), "not_applicable"),
    ],
    "certificate-cdp-http": [
        Case(used(certificate(cdps=["ldap:///CN=x", URL])), "pass"),
        Case(used(certificate(cdps=["ldap:///CN=x"])), "fail", "no CDP by HTTP", {"cdps": ["ldap:///CN=x"]}),
        Case(used(certificate(cdps=["https://pki/x.crl"])), "fail", "no CDP by HTTP"),
        Case({**UNREAD, "certificates": UNREAD["crls"]}, "unknown", "no observations"),
    ],
    "crl-of-chain": [
        Case(used(certificate()), "pass"),
        Case(used(certificate(), points=[point(crl(next_update=at(-1)))]), "fail", "No CRL of it is in force", {"issued": ["dc1"]}),
        Case(used(certificate(cdps=[])), "pass"),
        Case(used(certificate(cdps=[]), points=[]), "not_applicable"),
        Case(used(certificate(), points=[point(crl(signed_by=[]))]), "fail", "No CRL of it is in force"),
        Case(used(certificate(), points=[SILENT]), "unknown", "not all of its CDPs were reached"),
    ],
}


def test_every_control_has_cases() -> None:
    assert incomplete("70-crls", CASES) == []


def test_not_knowing_turns_no_failure_into_a_pass() -> None:
    assert raised(CASES) == []


@pytest.mark.parametrize(("control", "case"), rows(CASES))
def test_verdicts(control: str, case: Case) -> None:
    check(control, case)


# ---- the observer


def observed(folder: Path, *cdps: dict[str, Any], **options: Any) -> tuple[dict[str, Any], Observation]:
    seen = Observation(Target("domain", "corp.example"), at(0), cdps=list(cdps), certificates=[certificate()])
    save(folder, seen)
    params = {"folder": str(folder), "timeout": 5, "size_limit": 1 << 20, "directories": [], **options}
    result = run(CrlObservation(), params, check_mode=False, warn=lambda text: None)
    return result, load(Path(result["observation"]))


def test_each_address_is_fetched_once_and_judged_as_what_it_should_be(tmp_path: Path) -> None:
    ca, other = authorities.Authority(), authorities.Authority()
    with authorities.served() as files:
        files.update({"ca.crl": ca.crl(1, 2), "other.crl": other.crl(), "page": b"<html>"})
        wanted = [{"url": f"{files.url}/{name}", "issuer": ca.pem, "used_by": "dc1"} for name in ("ca.crl", "other.crl", "page", "gone")]
        member = {"url": "ldap:///CN=x,DC=corp?certificateRevocationList", "issuer": ca.pem, "used_by": "dc1"}
        again = {**wanted[0], "used_by": "vpn1"}
        nobody = {"url": "http://127.0.0.1:1/x.crl", "issuer": "", "used_by": "dc1"}
        result, seen = observed(tmp_path, *wanted, member, again, nobody)
        assert sorted(files.asked) == ["ca.crl", "gone", "other.crl", "page"]
    assert result["asked"] == {"http GET": 5} and result["addresses"] == 6 and result["changed"] is False
    good, foreign, page, gone, ldap, silent = seen.facts["crls"]
    assert good["used_by"] == ["dc1", "vpn1"]
    assert [one["signed_by"] for one in good["lists"]] == [[ca.sha256]] and good["lists"][0]["entries"] == 2
    assert foreign["lists"][0]["signed_by"] == [] and foreign["lists"][0]["number"] == 7
    assert "neither PEM nor DER" in page["wrong"] and gone["absent"] and "404" in gone["reason"]
    assert "no domain is in this run" in ldap["reason"] and not ldap["absent"]
    assert "cannot be fetched" in silent["reason"] and not silent["absent"]
    assert [one["status"] for one in seen.crls] == ["good", "foreign", "foreign", "unreachable", "unreachable", "unreachable"]
    statuses = {verdict.subject: verdict.status for verdict in judged("crl-reachable", Case(seen.facts, "")).verdicts}
    assert set(statuses.values()) == {"fail", "unknown"} and len(statuses) == 3


def test_a_large_crl_is_not_read_to_its_end(tmp_path: Path) -> None:
    ca = authorities.Authority()
    with authorities.served() as files:
        files["ca.crl"] = ca.crl(*range(1, 60))
        _result, seen = observed(tmp_path, {"url": f"{files.url}/ca.crl", "issuer": ca.pem, "used_by": "dc1"}, size_limit=500)
    check("crl-size", Case(seen.facts, "fail", "too large"))
    check("crl-reachable", Case(seen.facts, "unknown", "larger than 500 bytes"))


def test_delta_crls_that_a_crl_names_are_looked_at(tmp_path: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    ca = authorities.Authority()
    with authorities.served() as files:
        files["delta.crl"] = ca.crl(hours=(-1, 20), delta=True)
        where = x509.DistributionPoint([x509.UniformResourceIdentifier(f"{files.url}/delta.crl")], None, None, None)
        now = authorities.now()
        base = x509.CertificateRevocationListBuilder(ca.certificate.subject, now, now + authorities.timedelta(days=7))
        base = base.add_extension(x509.CRLNumber(6), False).add_extension(x509.FreshestCRL([where]), False)
        # when the CA will publish the next one: a UTCTime
        due = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.311.21.4"), b"\x17\x0d261130120000Z")
        files["ca.crl"] = base.add_extension(due, False).sign(ca.key, hashes.SHA256()).public_bytes(authorities.DER)
        _result, seen = observed(tmp_path, {"url": f"{files.url}/ca.crl", "issuer": ca.pem, "used_by": "dc1"})
    first, second = seen.facts["crls"]
    assert (first["lists"][0]["next_publish"], second["delta"]) == ("2026-11-30T12:00:00Z", True)
    assert second["lists"][0]["base_number"] == 6 and second["used_by"] == [f"the CRL at {first['url']}"]
    check("crl-complete", Case(seen.facts, "pass"))


def test_a_folder_with_something_else_in_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(UserError, match=r"x\.json: no observation"):
        run(CrlObservation(), {"folder": str(tmp_path), "timeout": 5, "size_limit": 1, "directories": []}, check_mode=False, warn=print)
    with pytest.raises(UserError, match="timeout: 0"):
        run(CrlObservation(), {"folder": str(tmp_path), "timeout": 0, "size_limit": 1, "directories": []}, check_mode=False, warn=print)
