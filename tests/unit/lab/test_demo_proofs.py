# SPDX-License-Identifier: GPL-3.0-or-later
"""Each proof of the demo holds on what was asked, and fails when one thing is off."""

from __future__ import annotations

import base64
import copy
import hashlib
import struct
from dataclasses import replace

import pytest

from lab import asked, logons, proofs
from lab.logon import Outcome
from lab.story import ObjectChange, Run, Touch

GUIDS = {asked.SMART_CARD_POLICY: "{A}", asked.TRUST_POLICY: "{B}"}
CERTIFICATES = {name: f"DER of {name}".encode() for name in ("root-ca", "issuing-ca", "vpn-ca", "corp-ca")}


def blob(store, name):
    der = CERTIFICATES[name]
    thumbprint = hashlib.sha1(der).hexdigest().upper()
    data = struct.pack("<III", 3, 1, 20) + bytes(20) + struct.pack("<III", 32, 1, len(der)) + der
    key = rf"Software\Policies\Microsoft\SystemCertificates\{store}\Certificates\{thumbprint}"
    return {"key": key, "value": "Blob", "type": 3, "data": base64.b64encode(data).decode()}


def good():
    """What the tools say about a domain that is as asked."""
    said = {"command": "x", "code": 0, "output": "", "stdout": ""}
    halves = {}
    for half, key, value, data in asked.REGISTRY:
        halves.setdefault(half, []).append({"key": key.upper(), "value": value, "type": 4, "data": data})
    pushed = [blob(store, name) for store, names in asked.PUSHED.items() for name in names]
    templates = [
        {"cn": [name], "msPKI-Cert-Template-OID": [f"1.2.{number}"]} | {key: sorted(value) for key, value in attributes.items()}
        for number, (name, attributes) in enumerate(asked.TEMPLATES.items())
    ]
    link = f"GPO(s)\n    GPO     : {GUIDS[asked.TRUST_POLICY]}\n    Name    : x\n    Options : NONE\n"
    return {
        "versions": {"samba": "4.22.11", "openssl": "3.5.7", "ldapsearch": "2.6.10"},
        "guids": GUIDS,
        "certificates": CERTIFICATES,
        "aclcheck": dict(said),
        "sysvolcheck": dict(said),
        "links": said | {"stdout": link, "output": link},
        "rsop": said | {"output": f"GPO: {asked.TRUST_POLICY}", "stdout": f"GPO: {asked.TRUST_POLICY}"},
        "backup": {policy: said | {"files": ["Machine/Registry.pol"]} for policy in asked.POLICIES},
        "show": {policy: said | {"settings": [{"keyname": "k"}]} for policy in asked.POLICIES},
        "files": {
            asked.SMART_CARD_POLICY: {
                "gpt_version": 65537,
                "services": [[name, mode, ""] for name, mode in asked.SERVICES.items()],
                "registry_values": list(asked.REGISTRY_VALUES),
                "service_preferences": [{"serviceName": name, "serviceAction": "START"} for name in asked.STARTED_SERVICES],
                "registry": {half: [{"repacked": True, "entries": entries}] for half, entries in halves.items()},
            },
            asked.TRUST_POLICY: {"gpt_version": 1, "registry": {"machine": [{"repacked": True, "entries": pushed}]}},
        },
        "directory": {
            "templates": templates,
            "oids": [{"msPKI-Cert-Template-OID": [f"1.2.{number}"]} for number in range(len(templates))],
            "published": [{"cn": [name], "certificateTemplates": sorted(names)} for name, names in asked.PUBLISHED.items()],
            "certificates": {
                store: [{"sha256": hashlib.sha256(CERTIFICATES[name]).hexdigest(), "subject": name, "ends": "2040"} for name in names]
                for store, names in asked.STORES.items()
            },
            "policies": [
                {"displayName": [asked.SMART_CARD_POLICY], "versionNumber": ["65537"]},
                {"displayName": [asked.TRUST_POLICY], "versionNumber": ["1"]},
            ],
            "chain": said | {"output": "x: OK"},
        },
    }


def test_all_hold_on_what_was_asked():
    found = proofs.of_domain(good())
    assert [(proof.claim, proof.reason) for proof in found if proof.outcome != "passed"] == []


def change(path, value):
    """A fault: the fact at `path` is another one."""

    def apply(facts):
        *parents, last = path
        for step in parents:
            facts = facts[step]
        facts[last] = value

    return apply


CARD = ("files", asked.SMART_CARD_POLICY)
TRUST = ("files", asked.TRUST_POLICY, "registry", "machine", 0)


@pytest.mark.parametrize(
    ("judge", "claim", "fault"),
    [
        ("ldapsearch", "templates", change(("directory", "templates", 0, "pKIDefaultCSPs"), ["1,Other"])),
        ("ldapsearch", "templates", change(("directory", "templates", 0, "msPKI-Certificate-Name-Flag"), ["1"])),
        ("ldapsearch", "templates", change(("directory", "templates", 0, "cn"), ["Other"])),
        ("ldapsearch", "templates", change(("directory", "oids"), [])),
        ("ldbsearch", "publishes", change(("directory", "published"), [])),
        ("openssl", "NTAuth: exactly", change(("directory", "certificates", "ntauth"), [])),
        ("openssl", "NTAuth: exactly", change(("directory", "certificates", "root", 0, "sha256"), "ff")),
        ("openssl verify", "chains", change(("directory", "chain", "code"), 2)),
        ("gp_inf", "GptTmpl.inf", change((*CARD, "services", 0, 1), "4")),
        ("gp_inf", "GptTmpl.inf", change((*CARD, "registry_values"), [])),
        ("xml", "Services.xml", change((*CARD, "service_preferences"), [])),
        ("preg", "settings as asked", change((*CARD, "registry", "user"), [{"repacked": True, "entries": []}])),
        ("preg", "settings as asked", change((*CARD, "registry", "machine", 0, "repacked"), False)),
        ("preg", "are pushed", change((*TRUST, "entries"), [])),
        ("preg", "are pushed", change((*TRUST, "entries", 0, "data"), base64.b64encode(b"other").decode())),
        (
            "preg",
            "are pushed",
            lambda facts: facts["files"][asked.TRUST_POLICY]["registry"]["machine"][0]["entries"].append(blob("Root", "vpn-ca")),
        ),
        ("samba.gpo", "version", change((*CARD, "gpt_version"), 65538)),
        ("samba.gpo", "version", change(("directory", "policies", 1, "versionNumber"), ["0"])),
        ("aclcheck", "Policy folders", change(("aclcheck", "code"), 255)),
        ("sysvolcheck", "SYSVOL", change(("sysvolcheck", "output"), "ERROR")),
        ("backup", "backed up", change(("backup", asked.TRUST_POLICY, "files"), [])),
        ("backup", "backed up", change(("show", asked.TRUST_POLICY, "settings"), [])),
        ("getlink", "linked", change(("links", "stdout"), "GPO(s) linked to DN")),
        ("getlink", "linked", change(("links", "stdout"), f"GPO     : {GUIDS[asked.TRUST_POLICY]} Options : DISABLED")),
        ("rsop", "Samba computer", change(("rsop", "output"), "nothing")),
    ],
)
def test_each_fails_when_one_thing_is_off(judge, claim, fault):
    facts = copy.deepcopy(good())
    fault(facts)
    failed = [proof for proof in proofs.of_domain(facts) if proof.outcome == "failed"]
    assert [proof for proof in failed if judge in proof.judge and claim in proof.claim and proof.reason]
    assert len(failed) == 1


TOUCHED = [Touch("x", "ldapmodify", "T", "", marks=("supplied",)), Touch("y", "smbclient", "P", "", marks=("startup: disabled",))]
CHANGES = (
    ObjectChange("r", "t", "m", "T", "update", {"supplied": True}, {"supplied": False}),
    ObjectChange("r", "t", "m", "P", "update", {"startup": "disabled"}, {"startup": "automatic"}),
)


MADE = (
    ObjectChange("r", "t", "certlogon.core.group_policies", "P", "create"),
    ObjectChange("r", "t", "ansible.builtin.file", "t", "update"),
)


def runs(second=(), check=CHANGES, repair=CHANGES, foreseen=MADE):
    found = {"foreseen": foreseen, "first": MADE, "second": second, "check": check, "repair": repair}
    made = {key: Run(key, key, 1.0, 5, len(changes), changes) for key, changes in found.items()}
    return [proof.outcome for proof in proofs.of_runs(made, TOUCHED)]


@pytest.mark.parametrize(
    ("given", "outcomes"),
    [
        ({}, ["passed", "passed", "passed", "passed"]),
        ({"second": CHANGES[:1]}, ["passed", "failed", "passed", "passed"]),
        ({"check": CHANGES[:1]}, ["passed", "passed", "failed", "passed"]),
        (
            {"check": (*CHANGES, ObjectChange("r", "t", "m", "other", "update", {"a": 1}, {"a": 2}))},
            ["passed", "passed", "failed", "passed"],
        ),
        ({"check": (ObjectChange("r", "t", "m", "T", "update", {"a": 1}, {"a": 2}), CHANGES[1])}, ["passed", "passed", "failed", "passed"]),
        ({"repair": ()}, ["passed", "passed", "passed", "failed"]),
        ({"foreseen": MADE[1:]}, ["failed", "passed", "passed", "passed"]),
    ],
)
def test_runs(given, outcomes):
    assert runs(**given) == outcomes


SHOWN = """\
Verification: OK
subject=
issuer=DC = example, DC = corp, CN = Corp CA
X509v3 Extended Key Usage:
    TLS Web Server Authentication, Signing KDC Response
X509v3 Subject Alternative Name: critical
    DNS:dc1.corp.example, DNS:corp.example
"""


@pytest.mark.parametrize(
    ("shown", "outcome"),
    [
        (SHOWN, "passed"),
        (SHOWN.replace("OK", "error"), "failed"),
        (SHOWN.replace("Signing KDC Response", ""), "failed"),
        (SHOWN.replace(", DNS:corp.example", ""), "failed"),
        (SHOWN.replace("Corp CA", "Corp Example Issuing CA"), "failed"),
        ("", "failed"),
    ],
)
def test_the_certificate_of_ldaps(shown, outcome):
    [proof] = proofs.of_authority(good() | {"ldaps": {"code": 0, "output": shown}})
    assert proof.outcome == outcome and proof.kind == "stand-in"


TICKET = Outcome("alice", True, "Ticket cache", "u:CORP\\alice", "")
REFUSED = Outcome("alice", False, "", "", "Password incorrect", ("PKINIT: certificate revoked",), {"status": "NT_STATUS_X"})


@pytest.mark.parametrize(
    ("trial", "outcome"),
    [
        (logons.Trial("opens", TICKET), "passed"),
        (logons.Trial("opens", REFUSED), "failed"),
        (logons.Trial("opens", replace(TICKET, who="ldap_sasl_interactive_bind: error")), "failed"),
        (logons.Trial("revoked", REFUSED, ("revo",)), "passed"),
        (logons.Trial("revoked", TICKET, ("revo",)), "failed"),
        (logons.Trial("mismatch", REFUSED, ("mismatch",)), "failed"),
        (logons.Trial("pin", Outcome("alice", False, "", "", "PIN"), by_card=True), "passed"),
        (logons.Trial("pin", REFUSED, by_card=True), "failed"),
        (logons.Trial("pin", TICKET, by_card=True), "failed"),
    ],
)
def test_logons_are_judged_by_the_reason(trial, outcome):
    assert logons.judged(trial, "4.22").outcome == outcome


def test_windows_blobs_are_skipped_where_the_vectors_are_not(tmp_path):
    proof = proofs.windows_blobs(tmp_path)
    assert proof.outcome == "skipped"
    assert "CERTLOGON_VECTORS" in proof.reason


def test_windows_blobs_notice_another_byte(tmp_path):
    folder = proofs.vectors_folder()
    if not folder.is_dir():
        pytest.skip(f"no test vectors at {folder}")
    assert proofs.windows_blobs(folder).outcome == "passed"
    (tmp_path / "root").mkdir()
    for file in folder.rglob("*.cer"):
        (tmp_path / "root" / file.name).write_bytes(file.read_bytes())
    policy = bytearray((folder / "registry.pol").read_bytes())
    policy[policy.index(bytes([0x30, 0x82])) + 100] ^= 1
    (tmp_path / "registry.pol").write_bytes(policy)
    proof = proofs.windows_blobs(tmp_path)
    assert proof.outcome == "failed"
    assert "36 of 37" in proof.claim


def test_what_the_lab_is_allowed_to_fail():
    """By control and subject: another certificate without CRL is no lab's way."""
    assert proofs.why_accepted("certificate-cdp", "certificate passivekey.corp.example (8c0a640f)")
    assert not proofs.why_accepted("certificate-cdp", "certificate gw.corp.example (8c0a640f)")
    assert not proofs.why_accepted("ntauth-unknown-certificate", "passivekey.corp.example")
