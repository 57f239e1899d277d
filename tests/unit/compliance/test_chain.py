# SPDX-License-Identifier: GPL-3.0-or-later
"""The chain of trust: which finding breaks which link, and that nothing is whole of which nothing was judged."""

from __future__ import annotations

import copy

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.compliance import chain as chains
from ansible_collections.certlogon.core.tests.unit.compliance import page_samples as samples

USER, VPN = "template CorpSmartcardLogon", "template CorpVpnUser"
CRL = "http://pki.corp.example/CertEnroll/issuing.crl"
BREAKS = [
    # control, target, subject: the only link that it breaks
    ("template-esc1", "corp.example", VPN, [("CorpVpnUser", "Cards")]),
    ("template-esc4", "corp.example", USER, [("CorpSmartcardLogon", "Cards")]),
    ("authority-esc6", "ca1.corp.example", "CA Corp Example Issuing CA", [("Corp Example Root CA", "Corp Example Issuing CA")]),
    ("root-days-left", "corp.example", "root Corp Example Root CA", [("Corp Example Root CA", "Corp Example Issuing CA")]),
    ("dc-certificate-days-left", "dc1.corp.example", "dc1.corp.example", [("Cards", "dc1.corp.example")]),
    ("ntauth-unknown-certificate", "corp.example", "NTAuth Old CA", [("Cards", "dc1.corp.example"), ("Cards", "dc2.corp.example")]),
    ("policy-not-linked", "corp.example", "policy Certlogon - Smart Card Services", []),
    ("account-weak-mapping", "corp.example", "CN=User 1", [("dc1.corp.example", "Users"), ("dc2.corp.example", "Users")]),
    ("crl-expired", "localhost", CRL, [("Corp Example Issuing CA", "CRL of Corp Example Issuing CA")]),
    (
        "crl-expired",
        "localhost",
        "http://pki.corp.example/CertEnroll/root.crl",
        [("Corp Example Root CA", "Corp Example Issuing CA"), ("Corp Example Root CA", "CRL of Corp Example Root CA")],
    ),
    ("appliance-crl-checking", "vpn1.corp.example", "CA", [("CRL of Corp Example Issuing CA", "vpn1.corp.example")]),
    ("appliance-realm-certificate", "vpn1.corp.example", "realm Users", [("vpn1.corp.example", "Users")]),
    ("ocserv-certificate-required", "gate1.corp.example", "gateway gate1.corp.example", [("Cards", "gate1.corp.example")]),
]


def broken(chain, status="fail"):
    labels = {node["id"]: node["label"] for node in chain["nodes"]}
    return [(labels[edge["from"]], labels[edge["to"]]) for edge in chain["edges"] if edge["status"] == status]


def with_verdict(control, target, subject, status="fail"):
    builder = samples.Builder()
    samples._pki(builder)
    builder.say(control, target, subject, status, "Nobody is safe.")
    return builder.report()


@pytest.mark.parametrize(("control", "target", "subject", "links"), BREAKS)
def test_finding_breaks_its_link_and_no_other(control, target, subject, links):
    chain = with_verdict(control, target, subject)["chain"]
    assert sorted(broken(chain)) == sorted(links)
    edges = [edge for edge in chain["edges"] if edge["status"] == "fail"]
    assert {(edge["message"], edge["control"]) for edge in edges} == ({("Nobody is safe.", control)} if links else set())


@pytest.mark.parametrize(
    ("control", "subject"),
    [("dc-ldap-signing", "dc1.corp.example"), ("certificate-cdp", "certificate www.corp.example (0011223344556677)"),
     ("crl-reachable", "http://elsewhere.example/foreign.crl")],
)  # fmt: skip
def test_what_is_of_no_link_breaks_none(control, subject):
    report = samples.good()
    family = "40-domain_controllers" if control.startswith("dc") else "70-crls"
    like = next(each for each in report["controls"] if each["family"] == family)
    result = {**like["results"][0], "passes": [], "findings": [{"subject": subject, "status": "fail", "message": "It is not so."}]}
    report["controls"].append({**like, "id": control, "results": [result]})
    assert broken(chains.chain(report)) == []


def test_certificate_is_known_by_its_thumbprint():
    report = samples.good()
    root = next(each for each in report["certificates"] if each["use"] == "root")
    like = next(each for each in report["controls"] if each["id"] == "root-days-left")
    subject = f"certificate Another Name ({root['sha256'][:16]})"
    finding = {"subject": subject, "status": "fail", "message": "It is weak."}
    result = {**like["results"][0], "passes": [], "findings": [finding]}
    report["controls"].append({**like, "id": "root-weak", "results": [result]})
    assert broken(chains.chain(report)) == [("Corp Example Root CA", "Corp Example Issuing CA")]


@pytest.mark.parametrize(("status", "state"), [("waived", "warn"), ("unknown", "unknown")])
def test_what_is_waived_or_unknown_breaks_nothing(status, state):
    chain = with_verdict("template-esc1", "corp.example", VPN, status)["chain"]
    assert broken(chain) == []
    assert ("CorpVpnUser", "Cards") in broken(chain, state)


def test_message_that_points_at_its_subject_names_it():
    builder = samples.Builder()
    builder.say("template-esc1", "corp.example", VPN, "fail", "Anybody may enroll for it.")
    messages = {edge["message"] for edge in builder.report()["chain"]["edges"] if edge["status"] == "fail"}
    assert messages == {"template CorpVpnUser: Anybody may enroll for it."}


def test_mild_failures_warn():
    chain = with_verdict("authority-audit-filter", "ca1.corp.example", "CA Corp Example Issuing CA")["chain"]
    assert broken(chain) == []
    assert broken(chain, "warn") == [("Corp Example Root CA", "Corp Example Issuing CA")]


def test_policies_are_between_card_and_user():
    chain = with_verdict("policy-not-linked", "corp.example", "policy Certlogon - Smart Card Services")["chain"]
    assert broken(chain, "warn") == [("Cards", "Users")]


def test_what_is_wrong_with_asking_for_crls_shows_where_no_crl_was_seen():
    report = with_verdict("appliance-crl-checking", "vpn1.corp.example", "CA")
    assert broken(chains.chain({**report, "crls": []})) == [("Cards", "vpn1.corp.example")]


def test_template_that_no_ca_offers_hangs_on_none():
    report = samples.good()
    chain = chains.chain(report, {"Corp Example Issuing CA": []})
    assert [edge for edge in chain["edges"] if edge["label"] == "issues"] == []


def test_good_site_has_no_break():
    chain = samples.good()["chain"]
    assert broken(chain) == broken(chain, "warn") == []
    assert [node["kind"] for node in chain["nodes"][:2]] == ["root", "ca"]
    assert ("Cards", "dc1.corp.example") in broken(chain, "pass")


def test_nothing_passes_where_nothing_was_judged():
    """Certificates and targets alone say nothing of the links between them."""
    report = {**samples.good(), "controls": []}
    chain = chains.chain(report)
    assert {edge["status"] for edge in chain["edges"]} == {node["status"] for node in chain["nodes"]} == {"unknown"}
    assert {edge["message"] for edge in chain["edges"]} == {"Nothing of this was judged."}


def test_target_that_did_not_answer_is_unknown():
    chain = samples.unanswered()["chain"]
    assert {node["detail"] for node in chain["nodes"] if node["kind"] == "gateway"} == {"did not answer"}
    assert {edge["status"] for edge in chain["edges"]} == {"unknown"}


def test_no_targets_no_chain():
    assert samples.empty()["chain"] == {"nodes": [], "edges": []}


def test_templates_are_those_that_the_ca_offers():
    report = samples.good()
    chain = chains.chain(report, {"Corp Example Issuing CA": ["CorpVpnUser", "Never Judged"]})
    labels = [node["label"] for node in chain["nodes"] if node["kind"] == "template"]
    assert labels == ["CorpVpnUser", "Never Judged"]
    assert [node["status"] for node in chain["nodes"] if node["kind"] == "template"] == ["pass", "unknown"]


def test_templates_of_machines_make_no_cards():
    links = broken(samples.good()["chain"], "unknown") + broken(samples.good()["chain"], "pass")
    assert ("CorpDomainController", "dc1.corp.example") in links
    assert ("CorpDomainController", "Cards") not in links


def test_renewed_ca_is_drawn_for_each_certificate_and_issues_by_the_last():
    report = samples.good()
    old = next(each for each in report["certificates"] if each["use"] == "ca")
    report["certificates"].append({**old, "sha256": "0" * 64, "not_after": "2040-01-01T00:00:00Z"})
    chain = chains.chain(report)
    cas = [node for node in chain["nodes"] if node["kind"] == "ca"]
    issuers = {edge["from"] for edge in chain["edges"] if edge["label"] == "issues"}
    assert len(cas) == 2
    assert issuers == {f"ca/{'0' * 16}"}


def test_self_signed_ca_carries_its_failures_on_its_own_links():
    builder = samples.Builder()
    builder.certificate("ca", "Corp Example Issuing CA", samples.AUTHORITY, "2031-05-01", samples.CA)
    builder.say("authority-esc6", "ca1.corp.example", "CA Corp Example Issuing CA", "fail", "It is not so.")
    chain = builder.report()["chain"]
    assert [node["kind"] for node in chain["nodes"] if node["id"].startswith("ca/")] == ["root"]
    assert {edge["label"] for edge in chain["edges"] if edge["status"] == "fail"} == {"issues"}


def test_a_kind_is_cut_and_the_worst_stay():
    report = samples.huge(400)
    gates = [node for node in report["chain"]["nodes"] if node["kind"] == "domain_controller"]
    assert len(gates) == chains.MOST
    assert gates[-1]["label"] == f"{202 - chains.MOST + 1} more domain controllers"
    assert "dc1.corp.example" in {node["label"] for node in gates}


@pytest.mark.parametrize("sample", [samples.good, samples.ordinary, samples.bad, samples.unanswered, samples.hostile])
def test_links_join_nodes_that_are_there_and_ids_are_unique(sample):
    chain = chains.chain(sample())
    keys = [node["id"] for node in chain["nodes"]]
    assert len(keys) == len(set(keys))
    assert {edge[end] for edge in chain["edges"] for end in ("from", "to")} <= set(keys)
    assert {each["status"] for each in (*chain["nodes"], *chain["edges"])} <= set(chains.ORDER)


def test_is_pure():
    report = samples.ordinary()
    before = copy.deepcopy(report)
    assert chains.chain(report) == chains.chain(report)
    assert report == before
