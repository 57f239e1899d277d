# SPDX-License-Identifier: GPL-3.0-or-later
"""Connect Secure appliances: each control on what passes, fails and cannot be known; and the observer on the stand-in in this process."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.compliance import read_only
from ansible_collections.certlogon.core.plugins.module_utils.compliance.appliance_observation import ApplianceObservation
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation, load
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers.connect_secure import FACTS, declared
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.table import Table
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.trusted_client_cas import TrustedClientCas
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.tests.unit.compliance.gate_samples import authority, device_pem, sha256
from ansible_collections.certlogon.core.tests.unit.compliance.judged import Case, at, check, incomplete, judged, raised, rows
from ansible_collections.certlogon.core.tests.unit.connect_secure import boxes
from ansible_collections.certlogon.core.tests.unit.connect_secure.authorities import DER, Authority, served

NAME = "vpn.corp.example"
UNREAD = {"unread": {"reason": "HTTP 403", "right": "Administrators > Admin Roles"}}


# ---- what there is, made by hand: all is well


def device(pem: str | None = None, **more: Any) -> dict[str, Any]:
    text = pem or device_pem()
    usual = {"name": "vpn", "pem": text, "sha256": sha256(text), "subject": f"CN={NAME}", "internal_ports": []}
    return {**usual, "external_ports": ["External Port"], "management_port": False, **more}


def ca(one: Authority | None = None, **settings: Any) -> dict[str, Any]:
    found = one or authority()
    usual = {
        "status_checking": "crl",
        "verify_trusted_client_ca": True,
        "trusted_for_client_authentication": True,
        "participate_in_negotiation": True,
        "cdp_source": "manual",
        "primary_cdp": "http://pki/a.crl",
        "backup_cdp": "http://pki2/a.crl",
        "crl_download_frequency": 1,
    }
    return {"name": "Corp CA", "pem": found.pem, "sha256": found.sha256, "subject": "CN=Corp CA", "settings": {**usual, **settings}}


def wanted_ca(one: Authority | None = None, **given: Any) -> dict[str, Any]:
    settings = {"status_checking": "crl", "trusted_for_client_authentication": True, "participate_in_negotiation": True, **given}
    return {
        "where": "config (ca.pem)",
        "name": "",
        "sha256": (one or authority()).sha256,
        "subject": "",
        "settings": settings,
        "given": [*given],
    }


REALM: dict[str, Any] = {
    "name": "Cards",
    "kind": "user",
    "authentication_server": "Certificates",
    "certificate_restriction": {"mode": "none", "rules": []},
    "role_mapping_rules": [{"name": "All", "roles": ["Users"], "stop": True, "user_name": {"test": "is", "names": ["*"]}}],
    "restriction_shown": True,
}
WANTED_REALM: dict[str, Any] = {
    "name": "Cards",
    "authentication_server": "Certificates",
    "certificate_restriction": {"mode": "none"},
    "role_mapping_rules": [{"name": "All", "roles": ["Users"], "stop": True, "user_name": {"names": ["*"]}}],
}
SERVER: dict[str, Any] = {
    "name": "Certificates",
    "type": "certificate",
    "certificate": {"user_name_template": "<certAttr.altName.UPN>", "user_record_synchronization": False},
}
LOCAL = {"name": "Certificates", "type": "local"}
REQUIRED = {"mode": "required", "rules": []}
POLICY: dict[str, Any] = {"url": f"{NAME}/", "kind": "user", "realms": ["Cards"], "enabled": True}


def port(**more: Any) -> dict[str, Any]:
    usual = {"host": NAME, "port": 443, "server_name": NAME, "version": "TLSv1.3", "certificates": [device_pem()]}
    return {**usual, **more}


def standings() -> dict[str, Any]:
    table = Table.load()
    found: dict[str, Any] = {
        name: {"": table.resource(name).own_standing, **{member: line.standing for member, line in table.resource(name).fields.items()}}
        for name in table.resources
    }
    return {**found, "operations": {"crl_in_use": "inferred"}}


def in_use(**more: Any) -> dict[str, Any]:
    usual = {"issuer": "CN=Corp CA", "number": 7, "this_update": at(-2), "next_update": at(100), "signed": True, "delta": False}
    return {"Corp CA": {**usual, **more}}


def facts(expected: dict[str, Any] | None = None, **changed: Any) -> dict[str, Any]:
    """All is well, but for what is said."""
    declared: dict[str, Any] = {
        "server_names": [NAME],
        "device_certificates": [{"common_name": NAME, "external_ports": ["External Port"]}],
        "trusted_client_cas": [wanted_ca()],
        "auth_servers": [{"name": "Certificates", "type": "certificate", "certificate": {"user_name_template": "<certAttr.altName.UPN>"}}],
        "realms": [WANTED_REALM],
        "sign_in_policies": [POLICY],
        "anchor_path": "root.pem",
        "anchors": authority().pem,
        "anchors_problem": "",
    }
    usual: dict[str, Any] = {
        "expected": {**declared, **(expected or {})},
        "standings": standings(),
        "stand_in": "the lab's",
        "verified": True,
        "generation": "connect_secure",
        "system": {"version": "22.7R2.10", "generation": "connect_secure"},
        "device_certificates": [device()],
        "certificate_requests": [],
        "trusted_client_cas": [ca()],
        "crls_in_use": in_use(),
        "auth_servers": [SERVER],
        "user_roles": ["Users"],
        "user_realms": [REALM],
        "admin_realms": [],
        "sign_in_policies": [POLICY],
        "users_port": [port()],
        "tls_versions": {"TLSv1": False, "TLSv1.1": False, "TLSv1.2": True, "TLSv1.3": True},
    }
    return {**usual, **changed}


def declaring(**words: Any) -> dict[str, Any]:
    return facts({"device_certificates": [{"common_name": NAME, **words}]})


def asked(subject: str, **more: Any) -> dict[str, Any]:
    return facts(certificate_requests=[{"name": "r", "subject": subject}], **more)


def cas(*found: dict[str, Any], declared: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    return facts({} if declared is None else {"trusted_client_cas": declared}, trusted_client_cas=list(found), **more)


def template(text: str) -> dict[str, Any]:
    return {**SERVER, "certificate": {"user_name_template": text}}


def rules(**changed: Any) -> list[dict[str, Any]]:
    return [{**REALM["role_mapping_rules"][0], **changed}]


def realm(**changed: Any) -> dict[str, Any]:
    return facts(user_realms=[{**REALM, **changed}])


def crl_run(**more: Any) -> dict[str, Any]:
    usual = {"signed_by": [authority().sha256], "next_update": at(100), "this_update": at(-10), "next_publish": at(95), "number": 7}
    return {"crls": {"crls": [{"url": "http://pki/a.crl", "lists": [{**usual, "delta": False, **more}]}]}}


def domain(*stored: str) -> dict[str, Any]:
    root = {authority().sha256: {"der": base64.b64encode(authority().certificate.public_bytes(DER)).decode()}}
    stores = {"ntauth": [{"certificates": list(stored)}], "root": [{"certificates": list(root)}]}
    return {"domain": {"stores": stores, "pki_certificates": root}}


def below() -> Authority:
    return authority("Below", authority())


PROBLEM = {"where": "config (gone.pem)", "problem": "gone.pem: no such file"}
REFUSED = {"name": "?", "where": "realms (?)", "problem": "missing required arguments: name"}
WEAK = authority("Weak CA")

CASES: dict[str, list[Case]] = {
    "appliance-device-certificate": [
        Case(facts(), "pass"),
        Case(facts(device_certificates=[]), "fail", "which has none", {"there": [], "standing": "inferred", "stand_in": "the lab's"}),
        Case(facts(device_certificates=[device(external_ports=[])]), "fail", "does not serve external port External Port", {"ports": []}),
        Case(
            declaring(server_names=[NAME, "b.corp.example"]),
            "fail",
            "is not for b.corp.example",
        ),
        Case(declaring(key_length=4096), "fail", "not RSA 4096"),
        Case(facts({"device_certificates": [{"pkcs12_path": "x", "given_sha256": sha256(device_pem())}]}), "pass"),
        Case(facts({"device_certificates": [{"pkcs12_path": "x", "given_sha256": "0" * 64}]}), "fail", "is not on the appliance"),
        Case(facts({"device_certificates": [{"common_name": NAME, "problem": "x.p12: no such file"}]}), "unknown", "no such file"),
        Case(facts(device_certificates=[{"name": "vpn", "problem": "not shown"}, device()]), "unknown", "not shown"),
        Case(facts(device_certificates=UNREAD), "unknown", "HTTP 403"),
        Case(facts({"device_certificates": []}), "not_applicable"),
    ],
    "appliance-device-certificate-days-left": [
        Case(facts(), "pass"),
        Case(
            facts(device_certificates=[device(device_pem(life=(-300, 20)))]),
            "fail",
            "expires in",
            {"ports": ["external port External Port"]},
        ),
        Case(facts(device_certificates=[device(device_pem(life=(-300, -2)))]), "fail", "It expired on"),
        # half of a life of ten days
        Case(facts(device_certificates=[device(device_pem(life=(-2, 8)))]), "pass"),
        Case(facts(device_certificates=[device(device_pem(life=(-300, 20)))]), "pass", parameters={"days_left": 7}),
        Case(facts(device_certificates=[device(device_pem(life=(-300, 3)), external_ports=[])]), "not_applicable"),
        Case(facts(device_certificates=UNREAD), "unknown", "HTTP 403"),
    ],
    "appliance-device-certificate-strength": [
        Case(facts(), "pass"),
        Case(facts(device_certificates=[device(device_pem(bits=1024))]), "fail", "1024 bits", {"key": "rsa 1024"}),
        Case(facts(device_certificates=UNREAD), "unknown", "HTTP 403"),
    ],
    "appliance-pending-request": [
        Case(facts(), "not_applicable"),
        Case(
            asked(f"CN={NAME}, O=Corp"),
            "fail",
            "was forgotten",
            {"requested": f"CN={NAME}, O=Corp"},
        ),
        Case(asked(f"CN={NAME}", device_certificates=[]), "pass"),
        Case(asked("CN=x.example"), "fail", "Nobody has declared"),
        Case(facts(certificate_requests=UNREAD), "unknown", "HTTP 403"),
    ],
    "appliance-users-port": [
        Case(facts(), "pass"),
        Case(facts(users_port=[port(server_name="b.corp.example")]), "fail", f"a certificate for {NAME}", {"names": [NAME]}),
        Case(facts(users_port=[port(certificates=[device_pem(curve=True)])]), "fail", "none of the gateway's own"),
        Case(facts(users_port=[port(problem="no connection")]), "unknown", "was not reached from the control node"),
        Case(facts(device_certificates=UNREAD), "unknown", "is not known"),
        Case(facts(users_port=UNREAD), "unknown", "HTTP 403"),
    ],
    "appliance-users-port-chain": [
        Case(facts(), "pass"),
        Case(facts({"anchors": WEAK.pem}), "fail", "leads to none of the trusted roots", {"roots": "root.pem"}),
        Case(facts({"anchors": "", "anchor_path": ""}), "pass", others=domain()),
        Case(facts({"anchors": "", "anchors_problem": "root.pem: no such file"}), "unknown", "no such file"),
        Case(facts({"anchors": "", "anchor_path": ""}), "unknown", "no domain is in this run"),
    ],
    "appliance-tls-versions": [
        Case(facts(), "pass"),
        Case(facts(tls_versions={"TLSv1": True, "TLSv1.1": True, "TLSv1.2": True, "TLSv1.3": False}), "fail", "TLSv1 and TLSv1.1"),
        Case(facts(tls_versions={"TLSv1": None, "TLSv1.1": None, "TLSv1.2": True, "TLSv1.3": True}), "unknown", "could not be tried"),
        Case(facts(tls_versions={"TLSv1": False, "TLSv1.1": False, "TLSv1.2": None, "TLSv1.3": None}), "unknown", "no version"),
    ],
    "appliance-trusted-client-ca": [
        Case(facts(), "pass"),
        Case(cas(), "fail", "is not on the appliance", {"sha256": authority().sha256}),
        Case(
            cas(ca(authority("Corp CA", life=(-30, -1))), declared=[{**wanted_ca(), "sha256": "", "subject": "CN=Corp CA"}]),
            "fail",
            "expired on",
        ),
        Case(cas(ca(), declared=[PROBLEM]), "unknown", "no such file"),
        Case(cas({"name": "Corp CA", "settings": {}, "problem": "its certificate is none"}), "unknown", "cannot be judged"),
        Case(cas(ca(), declared=[{**wanted_ca(), "sha256": "", "name": "corp ca"}]), "pass"),
    ],
    "appliance-unknown-client-ca": [
        Case(facts(), "pass"),
        Case(cas(ca(), {**ca(WEAK), "name": "Other"}), "fail", "declared nowhere", {"sha256": WEAK.sha256}),
        Case(cas(ca(), {**ca(WEAK, trusted_for_client_authentication=False), "name": "Other"}), "pass"),
        Case(cas(ca(), {**ca(WEAK, trusted_for_client_authentication=None), "name": "Other"}), "unknown", "does not show"),
        Case(cas(ca(), declared=[PROBLEM]), "unknown", "cannot be read"),
    ],
    "appliance-client-ca-ntauth": [
        Case(facts(), "not_applicable"),
        Case(facts(), "pass", others=domain(authority().sha256)),
        Case(facts(), "fail", "no domain of this run", {"sha256": authority().sha256}, others=domain("0" * 64)),
        Case(facts(), "unknown", "stores", others={"domain": {}}),
        Case(cas(ca(trusted_for_client_authentication=None)), "unknown", "does not show", others=domain()),
    ],
    "appliance-crl-checking": [
        Case(facts(), "pass"),
        Case(cas(ca(status_checking="none")), "fail", "Revoked certificates of it open", {"status_checking": "none", "declared": "crl"}),
        Case(cas(ca(status_checking="ocsp")), "fail", "by ocsp, but crl is declared"),
        Case(cas(ca(status_checking="ocsp"), declared=[wanted_ca(status_checking="ocsp")]), "pass"),
        Case(cas(ca(status_checking=None)), "unknown", "does not show status_checking", {"standing": "inferred"}),
        Case(cas(ca(status_checking="none", trusted_for_client_authentication=False)), "not_applicable"),
    ],
    "appliance-verify-client-ca": [
        Case(cas(ca(below())), "pass"),
        Case(cas(ca(below(), verify_trusted_client_ca=False)), "fail", "itself was revoked"),
        Case(
            cas(
                ca(below(), verify_trusted_client_ca=False),
                declared=[wanted_ca(below(), verify_trusted_client_ca=False)],
            ),
            "pass",
        ),
        Case(
            cas(
                ca(below(), verify_trusted_client_ca=False),
                declared=[wanted_ca(below(), verify_trusted_client_ca=True)],
            ),
            "fail",
            "but True is declared",
        ),
        Case(cas(ca(below(), verify_trusted_client_ca=None)), "unknown", "does not show"),
        Case(facts(), "not_applicable"),
    ],
    "appliance-client-negotiation": [
        Case(facts(), "pass"),
        Case(cas(ca(participate_in_negotiation=False)), "fail", "browsers offer no card", {"participate_in_negotiation": False}),
        Case(cas(ca(trusted_for_client_authentication=False)), "fail", "It is False"),
        Case(cas(ca(participate_in_negotiation=None)), "unknown", "does not show participate_in_negotiation"),
        Case(
            cas(
                ca(trusted_for_client_authentication=False, participate_in_negotiation=False),
                declared=[wanted_ca(trusted_for_client_authentication=False)],
            ),
            "pass",
        ),
    ],
    "appliance-cdp": [
        Case(facts(), "pass"),
        Case(cas(ca(primary_cdp="ldap:///CN=x")), "fail", "names no server", {"primary_cdp": "ldap:///CN=x"}),
        Case(cas(ca(primary_cdp=None)), "fail", "there is none"),
        Case(cas(ca(), declared=[wanted_ca(primary_cdp="http://other/a.crl")]), "fail", "http://other/a.crl is declared"),
        Case(cas(ca(below(), cdp_source="ca_certificate")), "fail", "the CA above it"),
        Case(cas(ca(cdp_source="client_certificate", primary_cdp=None)), "pass"),
        Case(cas(ca(cdp_source=None)), "unknown", "does not show cdp_source"),
    ],
    "appliance-backup-cdp": [
        Case(facts(), "pass"),
        Case(cas(ca(backup_cdp=None)), "fail", "no backup CDP", {"backup_cdp": None}),
        Case(cas(ca(cdp_source="client_certificate", backup_cdp=None)), "not_applicable"),
        Case(cas(ca(cdp_source=None)), "unknown", "does not show cdp_source"),
    ],
    "appliance-crl-frequency": [
        Case(facts(), "pass"),
        Case(facts(), "pass", others=crl_run()),
        Case(cas(ca(crl_download_frequency=12)), "fail", "up to 7.0 hours", {"hours_of_overlap": 5.0}, others=crl_run()),
        Case(cas(ca(crl_download_frequency=48)), "fail", "48 hours more"),
        Case(cas(ca(crl_download_frequency=48)), "pass", parameters={"hours_most": 72}),
        Case(cas(ca(crl_download_frequency=10000)), "fail", "no number of hours"),
        Case(cas(ca(), declared=[wanted_ca(crl_download_frequency=2)]), "fail", "every 2 are declared"),
        Case(cas(ca(crl_download_frequency=None)), "unknown", "does not show"),
    ],
    "appliance-crl-in-use": [
        Case(facts(), "pass"),
        Case(facts(crls_in_use=in_use(signed=False)), "fail", "not signed by the CA", {"number": 7, "standing": "inferred"}),
        Case(facts(crls_in_use=in_use(next_update=at(-1))), "fail", "nobody gets in"),
        Case(facts(crls_in_use=in_use(delta=True)), "fail", "delta CRL"),
        Case(facts(), "pass", others=crl_run(number=8, this_update=at(-1.5))),
        Case(facts(), "fail", "number 8 has been at http://pki/a.crl", others=crl_run(number=8)),
        Case(facts(crls_in_use={"Corp CA": {"unread": "the appliance does not tell"}}), "unknown", "does not tell"),
    ],
    "appliance-certificate-server": [
        Case(facts(), "pass"),
        Case(facts({"auth_servers": [REFUSED]}), "unknown", "cannot be taken"),
        Case(facts(auth_servers=[]), "fail", "no such server"),
        Case(facts(auth_servers=[LOCAL]), "fail", "of type local"),
        Case(
            facts(auth_servers=[template("<certAttr.CN>")]),
            "fail",
            "user_name_template",
            {"there": {"user_name_template": "<certAttr.CN>"}, "declared": {"user_name_template": "<certAttr.altName.UPN>"}},
        ),
        Case(
            facts(
                {"auth_servers": [{"name": "Certificates", "type": "certificate"}]},
                auth_servers=[{**SERVER, "certificate": {"user_name_template": "<certAttr.altName.UPM>"}}],
            ),
            "fail",
            "unknown variable",
        ),
        Case(facts(auth_servers=[{**SERVER, "certificate": {}}]), "unknown", "does not show user_name_template"),
    ],
    "appliance-realm-server": [
        Case(facts(), "pass"),
        Case(facts({"realms": [REFUSED]}), "unknown", "cannot be taken"),
        Case(
            realm(authentication_server="System Local"),
            "fail",
            "authentication_server: not as declared",
            {"there": {"authentication_server": "System Local"}},
        ),
        Case(facts(user_realms=[]), "fail", "no such realm"),
        Case(facts(user_realms=UNREAD), "unknown", "HTTP 403"),
    ],
    "appliance-realm-restriction": [
        Case(facts(), "pass"),
        Case(realm(certificate_restriction={"mode": "required", "rules": []}), "fail", "certificate_restriction: not as declared"),
        Case(facts({"realms": [{"name": "Cards", "authentication_server": "x"}]}), "not_applicable"),
        Case(facts(user_realms=UNREAD), "unknown", "HTTP 403"),
    ],
    "appliance-role-mapping": [
        Case(facts(), "pass"),
        Case(realm(role_mapping_rules=[]), "fail", "not as declared", {"there": []}),
        Case(
            realm(role_mapping_rules=rules(user_name={"test": "is_not", "names": ["*"]})),
            "fail",
            "not as declared",
        ),
        Case(facts(user_roles=["Others"]), "fail", "roles that there are not: Users"),
        Case(facts(user_roles=UNREAD), "unknown", "HTTP 403"),
    ],
    "appliance-sign-in-without-certificate": [
        Case(facts(), "pass"),
        Case(facts(auth_servers=[LOCAL]), "fail", "without a certificate", {"type": "local"}),
        Case(
            facts(
                auth_servers=[LOCAL],
                user_realms=[{**REALM, "certificate_restriction": REQUIRED}],
            ),
            "pass",
        ),
        Case(
            facts(auth_servers=[LOCAL], user_realms=[{**REALM, "restriction_shown": False}]),
            "unknown",
            "does not show",
        ),
        Case(facts(auth_servers=[]), "unknown", "not among those"),
        Case(facts(user_realms=[]), "unknown", "not among those"),
        Case(facts(sign_in_policies=[{**POLICY, "enabled": False}]), "not_applicable"),
        Case(
            # the product tells names that differ in case apart
            facts(
                auth_servers=[{**LOCAL, "name": "certificates"}, SERVER],
                user_realms=[{**REALM, "name": "CARDS", "authentication_server": "certificates"}, REALM],
                sign_in_policies=[{**POLICY, "realms": ["CARDS"]}],
            ),
            "fail",
            "without a certificate",
            {"type": "local"},
        ),
        Case(
            facts(
                auth_servers=[SERVER, {**LOCAL, "name": "certificates"}],
                user_realms=[REALM, {**REALM, "name": "CARDS", "authentication_server": "certificates"}],
            ),
            "pass",
        ),
    ],
    "appliance-sign-in-policy": [
        Case(facts(), "pass"),
        Case(facts({"sign_in_policies": [REFUSED]}), "unknown", "cannot be taken"),
        Case(facts(sign_in_policies=[]), "fail", "no such sign-in policy"),
        Case(facts(sign_in_policies=[{**POLICY, "enabled": False}]), "fail", "enabled: not as declared", {"declared": {"enabled": True}}),
        Case(facts(sign_in_policies=[{**POLICY, "realms": ["Users"]}]), "fail", "realms: not as declared"),
        Case(facts(sign_in_policies=[{**POLICY, "url": "*/"}, POLICY]), "fail", "*/ stands before it"),
        Case(facts(sign_in_policies=UNREAD), "unknown", "HTTP 403"),
    ],
    "appliance-generation": [
        Case(facts(), "pass"),
        Case(facts(generation="pulse"), "fail", "used as that of pulse", {"version": "22.7R2.10"}),
        Case(facts(system={"version": "", "generation": ""}), "unknown", "does not tell its release"),
    ],
    "appliance-release": [
        Case(facts(), "not_applicable"),
        Case(facts(), "pass", parameters={"least": "22.7R2.6"}),
        Case(facts(), "fail", "older than 22.8R1", {"version": "22.7R2.10"}, parameters={"least": "22.8R1"}),
        Case(facts(system={"version": "", "generation": ""}), "unknown", "does not tell", parameters={"least": "22.8R1"}),
    ],
    "appliance-identified": [
        Case(facts(), "pass"),
        Case(facts(verified=False), "fail", "was not verified", {"validate_certs": False}),
        Case(facts(verified=UNREAD), "unknown", "HTTP 403"),
    ],
}


def test_every_control_has_cases() -> None:
    assert incomplete("80-connect_secure", CASES) == []


def test_not_knowing_turns_no_failure_into_a_pass() -> None:
    assert raised(CASES) == []


@pytest.mark.parametrize(("control", "case"), rows(CASES))
def test_verdicts(control: str, case: Case) -> None:
    check(control, case)


# ---- the observer


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Any]:
    pytest.importorskip("lab.connect_secure.server", reason="the collection alone has no stand-in")
    with boxes.box(tmp_path) as found:
        yield found


def observed(appliance: Any, **options: Any) -> tuple[dict[str, Any], Observation]:
    result = appliance.run(ApplianceObservation(), folder=str(appliance.folder / "seen"), **options)
    return result, load(Path(result["observation"]))


def test_what_is_there_is_read_by_get_alone(appliance: Any) -> None:
    with served() as files:
        one = Authority(cdp=f"{files.url}/root.crl")
        files["ca.crl"] = one.crl()
        given = {
            "certificate": {"content": one.pem},
            "status_checking": "crl",
            "primary_cdp": f"{files.url}/ca.crl",
            "verify_trusted_client_ca": False,
        }
        account = {
            "primary_cdp": "ldap://dc1/CN=x?certificateRevocationList",
            "primary_cdp_username": "CN=reader",
            "primary_cdp_password": "TOPSECRET",
        }
        appliance.run(TrustedClientCas(), config=[given], state="merged")
        before, asked = appliance.tree(), len(appliance.handle.appliance.asked)
        expected = {
            "server_names": ["vpn1.corp.example"],
            "users_address": "127.0.0.1",
            "users_port": appliance.handle.port,
            "trusted_client_cas": [given, {**given, **account}],
            "auth_servers": [{"name": "RADIUS", "type": "radius", "radius": {"host": "r", "secret": "TOPSECRET"}}],
        }
        result, seen = observed(appliance, expected=expected, name="vpn1")
        sent = list(appliance.handle.appliance.asked)[asked:]
        assert appliance.tree() == before
    assert {line.partition(" ")[0] for line in sent if "realm_auth" not in line} == {"GET"}
    assert result["asked"]["https POST login"] == 1 and result["asked"]["https GET"] == len(sent) - 1
    assert result["unread"] == [] and set(FACTS) <= set(seen.facts)
    assert "TOPSECRET" not in json.dumps(seen.facts) and Path(result["observation"]).stat().st_mode & 0o077 == 0
    assert seen.facts["stand_in"] and seen.target.name == "vpn1" and seen.account.startswith("admin ")
    (found,) = seen.facts["trusted_client_cas"]
    assert found["sha256"] == one.sha256 and found["settings"]["primary_cdp"] == f"{files.url}/ca.crl"
    assert [(each["use"], each["held_by"]) for each in seen.certificates] == [("device", "vpn1"), ("root", "vpn1")]
    assert [each["url"] for each in seen.cdps] == [f"{files.url}/ca.crl"]
    judged_as = {
        "appliance-users-port": "pass",
        "appliance-crl-checking": "pass",
        "appliance-identified": "pass",
        "appliance-tls-versions": "pass",
        "appliance-crl-in-use": "unknown",
        "appliance-users-port-chain": "unknown",
        "appliance-sign-in-without-certificate": "fail",
    }
    for control, status in judged_as.items():
        assert judged(control, Case(seen.facts, status)).status == status, control


def test_what_is_declared_is_taken_as_the_modules_take_it() -> None:
    """Inventories have numbers and switches as text, and leave out what has a default."""
    given = {"certificate": {"content": authority().pem}, "crl_download_frequency": "2", "verify_trusted_client_ca": "no"}
    rule = {"name": "All", "user_name": {"names": "alice"}, "stop": "yes"}
    found = declared({"trusted_client_cas": [given], "realms": [{"name": "Cards", "role_mapping_rules": [rule]}, {"kind": "user"}]})
    (one,) = found["trusted_client_cas"]
    assert (one["sha256"], one["settings"]["crl_download_frequency"]) == (authority().sha256, 2)
    assert one["settings"]["verify_trusted_client_ca"] is False and "verify_trusted_client_ca" in one["given"]
    cards, broken = found["realms"]
    assert cards["kind"] == "user" and cards["role_mapping_rules"][0]["user_name"] == {"test": "is", "names": ["alice"]}
    assert cards["role_mapping_rules"][0]["stop"] is True and "name" in broken["problem"]


def test_what_is_refused_is_unknown_and_the_rest_is_read(appliance: Any) -> None:
    appliance.handle.faults = {"status": {"status": 403, "path": "trusted-client-cas"}}
    result, seen = observed(appliance)
    assert result["unread"] == ["crls_in_use", "tls_versions", "trusted_client_cas", "users_port"]
    unread = seen.facts["trusted_client_cas"]["unread"]
    assert "HTTP 403" in unread["reason"] and unread["right"].startswith("Administrators > Admin Roles")
    check("appliance-crl-checking", Case(seen.facts, "unknown", "HTTP 403"))


def test_a_table_that_does_not_fit_is_unknown(appliance: Any) -> None:
    _result, seen = observed(appliance, table={"resources": {"sign_in_policy": {"path": "configuration/authentication/elsewhere/url"}}})
    assert seen.facts["standings"]["sign_in_policy"][""] == "overridden"
    check("appliance-sign-in-policy", Case({**seen.facts, "expected": {"sign_in_policies": [POLICY]}}, "unknown", "no such thing"))


def test_an_appliance_that_stops_answering_is_not_asked_for_ever(appliance: Any) -> None:
    appliance.handle.faults = {"status": {"status": 500, "after": 5}}
    result, seen = observed(appliance)
    assert "auth_servers" in result["unread"] and "not asked" in seen.facts["sign_in_policies"]["unread"]["reason"]


def test_who_is_not_let_in_has_no_observation(appliance: Any) -> None:
    with pytest.raises(UserError, match="password"):
        observed(appliance, password="wrong")
    assert not (appliance.folder / "seen").exists()


def test_a_write_is_refused_before_it_is_sent(appliance: Any) -> None:
    asked: dict[str, int] = {}
    with read_only.appliance(appliance.connection() | {"backup": False}, print, read_only.Asked(asked)) as session:
        for write in (
            lambda: session.update("user_realm", "Users", {}),
            lambda: session.delete("user_realm", "Users"),
            lambda: session.call("update_crl", "x"),
        ):
            with pytest.raises(read_only.NotReadOnly):
                write()
    assert asked == {"https POST login": 1}
