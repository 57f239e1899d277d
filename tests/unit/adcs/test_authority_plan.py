# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of adcs_authority: from the host's state and the options to steps, registry values, errors and warnings. No host."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given as tried
from hypothesis import strategies as st

from ansible_collections.certlogon.core.plugins.module_utils.adcs import authority_plan as planning
from ansible_collections.certlogon.core.plugins.module_utils.adcs import authority_state
from ansible_collections.certlogon.core.plugins.module_utils.adcs.authority import CertificationAuthority, write_file
from ansible_collections.certlogon.core.plugins.module_utils.adcs.authority_plan import Known, Local
from ansible_collections.certlogon.core.plugins.module_utils.adcs.authority_state import State
from ansible_collections.certlogon.core.plugins.module_utils.adcs.powershell import PowerShellSession
from ansible_collections.certlogon.core.plugins.module_utils.certificates import certificate as certificates
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import SecurityDescriptor
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import run
from ansible_collections.certlogon.core.plugins.modules import adcs_authority

NOW = datetime(2026, 11, 22, 18, 0, tzinfo=timezone.utc)
NAME = "Corp CA"
USERS, TEAM = "S-1-5-11", "S-1-5-21-1-2-3-1105"
MODULE = "CertificateAuthority_MicrosoftDefault.Policy"


def value(kind: str, content: Any) -> dict[str, Any]:
    return {"kind": kind, "value": base64.b64encode(content).decode() if isinstance(content, bytes) else content}


def table(**values: Any) -> dict[str, Any]:
    kinds = {int: "DWord", str: "String", list: "MultiString", bytes: "Binary"}
    return {name: value(kinds[type(content)], content) for name, content in values.items()}


def certificate(key: Any, subject: str = NAME, days: int = 3650, ca: bool = True, issuer: tuple[str, Any] | None = None) -> bytes:
    name = x509.Name(
        [x509.NameAttribute(NameOID.DOMAIN_COMPONENT, "corp"), x509.NameAttribute(NameOID.COMMON_NAME, subject)],
    )
    by = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer[0])]) if issuer else name
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(by).public_key(key.public_key()).serial_number(77)
    builder = builder.not_valid_before(NOW - timedelta(days=30)).not_valid_after(NOW + timedelta(days=days))
    builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


KEY, OTHER_KEY = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
REQUEST = (
    x509.CertificateSigningRequestBuilder()
    .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)]))
    .sign(KEY, hashes.SHA256())
    .public_bytes(serialization.Encoding.PEM)
)


def bare(**changes: Any) -> dict[str, Any]:
    """The answer of a host on which nothing is configured."""
    return {
        "computer": {"name": "CA1", "fqdn": "ca1.corp.example", "in_domain": True, "domain": "corp.example"},
        "now": "2026-11-22T18:00:00.1234567Z",
        "reboot_pending": False,
        "feature": {"installed": False, "state": "Available"},
        "service": None,
        "begun": {},
        "configuration": {},
        "ca": {},
        "csp": {},
        "policy_module": None,
        "policy": {},
        "certificates": [],
        "capolicy": None,
        "requests": [],
        "crls": [],
        "served": {},
        "sids": {"CORP\\Team": TEAM, "CORP\\Nobody": None, USERS: USERS},
        "names": {"S-1-5-32-544": "BUILTIN\\Administrators", USERS: "NT AUTHORITY\\Authenticated Users", TEAM: "CORP\\Team"},
        "system_root": "C:\\Windows",
        **changes,
    }


SECURITY = bytes(SecurityDescriptor.from_sddl(f"O:BAG:BAD:(A;;0x3;;;BA)(A;;0x200;;;{USERS})"))


def configured(ca: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """The answer of a host with a CA as Windows sets it up; `ca`: registry values of its own."""
    settings = {
        "CommonName": NAME,
        "CAServerName": "ca1.corp.example",
        "CAType": 0,
        "SetupStatus": 1,
        "CRLPeriod": "Weeks",
        "CRLPeriodUnits": 1,
        "CRLOverlapPeriod": "Hours",
        "CRLOverlapUnits": 0,
        "CRLDeltaPeriod": "Days",
        "CRLDeltaPeriodUnits": 1,
        "CRLDeltaOverlapPeriod": "Minutes",
        "CRLDeltaOverlapUnits": 0,
        "ValidityPeriod": "Years",
        "ValidityPeriodUnits": 2,
        "CRLPublicationURLs": ["65:C:\\x\\%3%8%9.crl", "79:ldap:///CN=%7%8,CN=%2,CN=CDP,%6%10"],
        "CACertPublicationURLs": ["1:C:\\x\\%1_%3%4.crt"],
        "AuditFilter": 0,
        "InterfaceFlags": 0x641,
        "Security": SECURITY,
        **(ca or {}),
    }
    return bare(
        feature={"installed": True, "state": "Installed"},
        service={"status": "Running", "start_type": "Automatic"},
        configuration=table(Active=NAME, DBDirectory="C:\\Windows\\system32\\CertLog", DBLogDirectory="C:\\Windows\\system32\\CertLog"),
        ca=table(**settings),
        csp=table(Provider="Microsoft Software Key Storage Provider", CNGHashAlgorithm="SHA256"),
        policy_module=MODULE,
        policy=table(EditFlags=0x11014E, DisableExtensionList=[]),
        certificates=[{"der": base64.b64encode(certificate(KEY)).decode(), "private_key": True}],
        **changes,
    )


DEFAULTS = {
    "install_username": "CORP\\administrator",
    "install_password": "x",
    "parent_ca": None,
    "request_path": None,
    "certificate_path": None,
    "trust_parents": True,
    "renewal": None,
    "backup": None,
    "warn_before": 180,
    "crl_warn_before": 24,
    "state": "merged",
}


def known(answer: dict[str, Any], **local: Any) -> Known:
    return Known(State.parse(answer), Local(**local), NOW)


def resource() -> CertificationAuthority:
    return CertificationAuthority(PowerShellSession(lambda *asked: {}, [].append))


def plan(answer: dict[str, Any], entry: dict[str, Any], local: dict[str, Any] | None = None, **params: Any) -> tuple[list[str], Any]:
    """Steps and change."""
    given = {**DEFAULTS, "config": [{"name": NAME, **entry}], **params}
    planning.check(given)
    made = resource().plan(given, known(answer, **(local or {})))
    return (list(made.changes[0].details.steps), made.changes[0]) if made.changes else ([], None)


def values(answer: dict[str, Any], entry: dict[str, Any], replaced: bool = False) -> dict[str, Any]:
    """The registry values to be written, by name; None for one that goes."""
    found = planning.settings(planning.normalized({"name": NAME, **entry}), State.parse(answer), replaced=replaced)
    return {f"{one['key']}\\{one['name']}".lstrip("\\"): one.get("value") for one in found}


# ---- the state


def test_words_of_a_host_without_a_ca():
    state = State.parse(bare())
    assert not state.configured and state.name is None and state.config_string is None
    assert resource().objects(known(bare())) == {}


def test_words_of_a_ca():
    words = State.parse(configured()).words()
    assert words["type"] == "enterprise_root" and words["key"] == {
        "algorithm": "ECDSA",
        "size": 256,
        "provider": "Microsoft Software Key Storage Provider",
    }
    assert words["distinguished_name_suffix"] == "DC=corp"
    assert words["cdp"][0] == {"url": "C:\\x\\<CaName><CRLNameSuffix><DeltaCRLAllowed>.crl", "flags": ["publish_base", "publish_delta"]}
    assert words["crl_delta_overlap"] == "0 minutes" and words["issued_validity"] == "2 years"
    assert words["permissions"] == [
        {"principal": "BUILTIN\\Administrators", "rights": ["manage_ca", "manage_certificates"]},
        {"principal": "NT AUTHORITY\\Authenticated Users", "rights": ["enroll"]},
    ]
    assert words["edit_flags"] == planning._ENTERPRISE["edit_flags"]


@pytest.mark.parametrize("state", ["merged", "replaced"])
def test_what_is_gathered_changes_nothing(state: str):
    words = State.parse(configured()).words()
    answer = configured()
    answer["sids"] |= {entry["principal"]: sid for entry, sid in zip(words["permissions"], ("S-1-5-32-544", USERS), strict=True)}
    assert plan(answer, words, state=state) == ([], None)


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"computer": None},
        {**bare(), "now": "later"},
        {**bare(), "ca": {"Security": value("Binary", "%%")}},
        {**bare(), "certificates": [{}]},
    ],
)
def test_an_answer_that_is_none(broken: dict[str, Any]):
    with pytest.raises(UserError):
        State.parse(broken)


# ---- installation


@pytest.mark.parametrize(
    ("answer", "entry", "params", "message"),
    [
        (bare(), {}, {}, "there is no CA on ca1.corp.example; say which type"),
        (bare(), {"type": "enterprise_root"}, {"install_username": None, "install_password": None}, "give install_username"),
        (bare(computer={"fqdn": "ca1", "in_domain": False}), {"type": "enterprise_root"}, {}, "is in no domain"),
        (bare(), {"type": "standalone_root", "permissions": [{"principal": "CORP\\Nobody", "rights": []}]}, {}, "no account or group"),
        (bare(), {"type": "standalone_subordinate", "validity": "1 year"}, {}, "the parent decides how long"),
        (bare(), {"type": "standalone_root"}, {"install_password": None}, "give both or none"),
        (bare(), {"type": "standalone_root"}, {"parent_ca": "root"}, "is not host and name of a CA"),
        (bare(), {"officer_restrictions": [{"officer": "CORP\\Team", "templates": []}]}, {}, "an empty list restricts nothing"),
        (bare(), {"audit_filter": [], "crl_period": "x", "edit_flags": ["y"]}, {}, "is not a period; .*\n.*'y' is no flag"),
    ],
)
def test_refused(answer: dict[str, Any], entry: dict[str, Any], params: dict[str, Any], message: str):
    with pytest.raises(UserError, match=f"(?s){message}"):
        plan(answer, entry, **params)


def test_two_authorities():
    with pytest.raises(UserError, match="a host has one CA at most; A, B are 2"):
        planning.check({**DEFAULTS, "config": [{"name": "A"}, {"name": "B"}]})


@pytest.mark.parametrize(
    ("entry", "steps"),
    [
        ({"type": "standalone_root"}, ["feature", "install", "settings"]),
        ({"type": "enterprise_root", "capolicy": {"path_length": 0}}, ["feature", "capolicy", "install", "settings"]),
    ],
)
def test_steps_of_an_installation(entry: dict[str, Any], steps: list[str]):
    found, change = plan(bare(), entry)
    assert found == steps and change.before is None and change.after["certificate"] == "known after apply"


@pytest.mark.parametrize(
    ("entry", "params", "answer", "expected"),
    [
        (
            {
                "type": "enterprise_root",
                "key": {"algorithm": "RSA", "size": 4096, "provider": None},
                "validity": "20 years",
                "hash": "SHA384",
            },
            {},
            bare(),
            {
                "CAType": "EnterpriseRootCA",
                "CryptoProviderName": "RSA#Microsoft Software Key Storage Provider",
                "KeyLength": 4096,
                "HashAlgorithmName": "SHA384",
                "ValidityPeriod": "Years",
                "ValidityPeriodUnits": 20,
            },
        ),
        (
            {"type": "standalone_root", "key": {"algorithm": "ECDSA", "size": 384, "provider": "ECDSA_P384#Some Key Storage Provider"}},
            {},
            bare(),
            {"CAType": "StandaloneRootCA", "CryptoProviderName": "ECDSA_P384#Some Key Storage Provider", "KeyLength": 384},
        ),
        (
            {"type": "standalone_root", "key": {"algorithm": None, "size": None, "provider": "Microsoft Strong Cryptographic Provider"}},
            {},
            bare(),
            {"CAType": "StandaloneRootCA", "CryptoProviderName": "Microsoft Strong Cryptographic Provider"},
        ),
        (
            {"type": "enterprise_subordinate"},
            {},
            bare(),
            {
                "CAType": "EnterpriseSubordinateCA",
                "OutputCertRequestFile": "C:\\Windows\\System32\\CertSrv\\ca1.corp.example_Corp CA.req",
            },
        ),
        (
            {"type": "enterprise_subordinate"},
            {"parent_ca": "root\\Root"},
            bare(),
            {"CAType": "EnterpriseSubordinateCA", "ParentCA": "root\\Root"},
        ),
        (
            {"type": "enterprise_root"},
            {},
            bare(begun=table(Name="corp ca")),
            {
                "CAType": "EnterpriseRootCA",
                "OverwriteExistingKey": True,
                "OverwriteExistingDatabase": True,
                "OverwriteExistingCAinDS": True,
            },
        ),
        ({"type": "standalone_root"}, {}, bare(begun=table(Name="Another")), {"CAType": "StandaloneRootCA"}),
    ],
    ids=["root", "ecdsa", "csp", "subordinate", "online", "taken up", "another's"],
)
def test_install_parameters(entry: dict[str, Any], params: dict[str, Any], answer: dict[str, Any], expected: dict[str, Any]):
    given = planning.normalized({"name": NAME, **entry})
    found = planning.install_parameters(given, State.parse(answer), {**DEFAULTS, **params})
    assert {name: item for name, item in found.items() if item is not None} == {"CACommonName": NAME, **expected}


# ---- settings


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({}, {}),
        ({"crl_period": "7 days"}, {"CRLPeriod": "Days", "CRLPeriodUnits": 7}),
        ({"crl_period": "1 weeks"}, {}),
        ({"issued_validity": "5 years"}, {"ValidityPeriod": "Years", "ValidityPeriodUnits": 5}),
        ({"audit_filter": ["all"]}, {"AuditFilter": 127}),
        ({"hash": "SHA384"}, {"CSP\\CNGHashAlgorithm": "SHA384"}),
        ({"role_separation": True}, {"RoleSeparationEnabled": 1}),
        ({"role_separation": False}, {}),
        ({"interface_flags": ["enforce_encrypted_requests", "0x80000000"]}, {"InterfaceFlags": 0x80000200 - (1 << 32)}),
        ({"disabled_extensions": ["1.2.3", "1.2.3"]}, {f"PolicyModules\\{MODULE}\\DisableExtensionList": ["1.2.3"]}),
        ({"edit_flags": ["attribute_end_date"]}, {f"PolicyModules\\{MODULE}\\EditFlags": 0x20}),
        ({"aia": []}, {"CACertPublicationURLs": []}),
        (
            {
                "cdp": [
                    {"url": "http://x/<CaName>.crl", "flags": ["include_in_certificates"]},
                    {"url": "C:\\%3.crl", "flags": None},
                ]
            },
            {"CRLPublicationURLs": ["2:http://x/%3.crl", "0:C:\\%3.crl"]},
        ),
        ({"permissions": [{"principal": USERS, "rights": ["enroll"]}]}, {}),
        ({"officer_restrictions": []}, {}),
    ],
    ids=lambda item: next(iter(item), "nothing") if isinstance(item, dict) else "",
)
def test_settings(entry: dict[str, Any], expected: dict[str, Any]):
    assert values(configured(), entry) == expected
    assert plan(configured(), entry)[0] == (["settings"] if expected else [])


def test_permissions_mark_the_change_for_the_directory():
    found = values(configured(), {"permissions": [{"principal": "CORP\\Team", "rights": ["manage_ca"]}]})
    assert set(found) == {"Security", "SetupStatus"} and found["SetupStatus"] == 0x1001


def test_restrictions():
    entry = {"enrollment_agent_restrictions": [{"agent": "CORP\\Team", "templates": ["B", "A"], "subjects": None, "allow": True}]}
    found = values(configured(), entry)
    assert set(found) == {"EnrollmentAgentRights"}
    there = configured({"EnrollmentAgentRights": base64.b64decode(found["EnrollmentAgentRights"])})
    assert values(there, entry) == {}
    assert State.parse(there).words()["enrollment_agent_restrictions"] == [{"agent": "CORP\\Team", "templates": ["A", "B"], "allow": True}]
    assert values(there, {"enrollment_agent_restrictions": []}) == {"EnrollmentAgentRights": None}


def test_what_is_secured_without_being_asked():
    lax = configured({"InterfaceFlags": 0x441})
    lax["policy"] = table(EditFlags=0x15014E, DisableExtensionList=[])
    assert values(lax, {}) == {"InterfaceFlags": 0x641, f"PolicyModules\\{MODULE}\\EditFlags": 0x11014E}
    kept = {"interface_flags": ["lock_requests"], "edit_flags": ["attribute_subject_alt_name2"]}
    assert values(lax, kept) == {"InterfaceFlags": 1, f"PolicyModules\\{MODULE}\\EditFlags": 0x40000}
    warned = " ".join(planning.choices(planning.normalized({"name": NAME, **kept, "disabled_extensions": [planning.words.SID_EXTENSION]})))
    assert "for anybody" in warned and "relayed" in warned and "not mapped strongly" in warned


def test_replaced_takes_windows_defaults():
    answer = configured({"CRLPeriodUnits": 9, "AuditFilter": 127, "ValidityPeriodUnits": 7})
    assert values(answer, {"crl_delta_period": "0 days"}, replaced=True) == {
        "CRLPeriod": "Weeks",
        "CRLPeriodUnits": 1,
        "CRLDeltaPeriod": "Days",
        "CRLDeltaPeriodUnits": 0,
        "ValidityPeriod": "Years",
        "ValidityPeriodUnits": 2,
        "AuditFilter": 0,
    }


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "Other CA"}, "the host has the CA 'Corp CA', and can have one only"),
        ({"type": "standalone_root"}, "type is 'enterprise_root' and cannot be changed to 'standalone_root'"),
        ({"key": {"size": 384}}, "key: size is 256 and cannot be changed to 384"),
        ({"key": {"algorithm": "RSA", "provider": "x"}}, "(?s)key: algorithm .*key: provider"),
        ({"distinguished_name_suffix": "DC=other"}, "distinguished_name_suffix is 'DC=corp'"),
        ({"log_path": "D:\\x"}, "log_path is "),
    ],
)
def test_what_cannot_be_changed(entry: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        plan(configured(), entry)


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "CORP CA"},
        {"database_path": "c:\\windows\\System32\\certlog\\"},
        {"distinguished_name_suffix": "dc=corp"},
        {"key": {"provider": "ECDSA_P256#microsoft software key storage provider"}},
        {"validity": "9 years"},
    ],
    ids=lambda entry: next(iter(entry)),
)
def test_what_only_looks_different(entry: dict[str, Any]):
    assert plan(configured(), entry) == ([], None)


# ---- the subordinate's certificate


def pending(**changes: Any) -> dict[str, Any]:
    requests = [
        {"path": "C:\\old.req", "written": "2025-01-01T00:00:00.0Z", "content": base64.b64encode(b"x").decode()},
        {"path": "C:\\ca.req", "written": "2026-01-01T00:00:00.0Z", "content": base64.b64encode(REQUEST).decode()},
    ]
    answer = configured({"CAType": 1, "SetupStatus": 0x20D}, requests=requests)
    return {**answer, "certificates": [], "service": {"status": "Stopped", "start_type": "Automatic"}, **changes}


def test_request_is_handed_over_once():
    assert State.parse(pending()).pending
    pem = State.parse(pending()).request.pem  # type: ignore[union-attr]
    assert x509.load_pem_x509_csr(pem.encode()).public_key() == KEY.public_key()
    assert plan(pending(), {}, request_path="ca.req")[0] == ["request"]
    assert plan(pending(), {}, {"request": b"another"}, request_path="ca.req")[0] == ["request"]
    assert plan(pending(), {}, {"request": pem.encode()}, request_path="ca.req")[0] == []
    assert plan(pending(), {})[0] == []


def request_of(subject: str) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(OTHER_KEY, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    ("pattern", "file", "content", "own"),
    [
        (None, "web.req", request_of("www.corp.example"), False),
        (None, "any.req", request_of("corp ca"), True),
        (r"C:\%1_%3%4.req", "web.req", request_of("www.corp.example"), False),
        (r"C:\%1_%3%4.req", "CA1.corp.example_Corp CA.req", request_of("another"), True),
        (r"C:\%1_%3%4.req", "ca1.corp.example_Corp CA(1).req", request_of("another"), True),
        (r"C:\%1_%3%4.req", "ca1.corp.example_Corp CA(0-1).REQ", request_of("another"), True),
        (r"C:\%1_%3%4.req", "ca1.corp.example_Corp CA 2.req", request_of("another"), False),
        (r"C:\%2_%3%4.req", "ca1_Corp CA.req", request_of("another"), True),
        (r"C:\carried.req", "carried(1).req", request_of("another"), True),
        (r"C:\%1_%3%4.req", "broken.req", b"-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n", False),
    ],
)
def test_request_is_the_newest_of_the_authority(pattern: str | None, file: str, content: bytes, own: bool):
    answer = pending()
    newer = {"path": f"C:\\{file}", "written": "2026-02-01T00:00:00.0Z", "content": base64.b64encode(content).decode()}
    answer["requests"] = [newer, *answer["requests"]]
    if pattern:
        answer["ca"] |= table(RequestFileName=pattern)
    found = State.parse(answer).request
    assert found is not None and found.path == (newer["path"] if own else "C:\\ca.req")


def issued(*ders: bytes) -> list[Any]:
    return [certificates.load_one(der) for der in ders]


ROOT = certificate(OTHER_KEY, "Root")


def test_certificate_that_came_back():
    own = certificate(KEY, issuer=("Root", OTHER_KEY))
    steps, change = plan(pending(), {}, {"certificates": issued(ROOT, own)}, certificate_path="ca.pem")
    assert steps == ["certificate"] and [one.der for one in change.details.chain] == [own, ROOT]
    assert change.before["certificate"] == "waits to be signed"


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([ROOT], "no certificate there is for the key of the request C:\\\\ca.req"),
        ([certificate(KEY, ca=False)], "is no CA's certificate"),
    ],
)
def test_certificate_that_does_not_fit(found: list[bytes], message: str):
    with pytest.raises(UserError, match=message):
        plan(pending(), {}, {"certificates": issued(*found)}, certificate_path="ca.pem")


@pytest.mark.parametrize("key", [KEY, OTHER_KEY], ids=["same key", "new key"])
def test_answer_to_the_request_before_is_no_answer(key: Any):
    """Between a renewal's request and its certificate the file still holds the CA's present certificate."""
    old, new = certificate(key, issuer=("Root", OTHER_KEY)), certificate(KEY, issuer=("Root", OTHER_KEY))
    waits = pending(certificates=[{"der": base64.b64encode(old).decode(), "private_key": True}])
    assert plan(waits, {}, {"certificates": issued(old, ROOT)}, certificate_path="ca.pem")[0] == []
    steps, change = plan(waits, {}, {"certificates": issued(new, old, ROOT)}, certificate_path="ca.pem")
    assert steps == ["certificate"] and change.details.chain[0].der == new


# ---- renewal, backup, warnings


@pytest.mark.parametrize(
    ("renewal", "backup", "steps"),
    [
        (None, None, []),
        ({"when": "never", "days": 9999, "key": "new"}, None, []),
        ({"when": "now", "days": 1, "key": "new"}, None, ["renew"]),
        ({"when": "before_expiry", "days": 3649, "key": "new"}, None, []),
        ({"when": "before_expiry", "days": 3651, "key": "new"}, None, ["renew"]),
        ({"when": "before_expiry", "days": 3679, "key": "new"}, None, ["renew"]),
        ({"when": "now", "days": 3680, "key": "new"}, None, ["renew"]),
        ({"when": "now", "days": 1, "key": "new"}, {"path": "D:\\B\\", "password": "x", "when": "before_renewal"}, ["backup", "renew"]),
        (None, {"path": "D:\\B", "password": "x", "when": "before_renewal"}, []),
        (None, {"path": "D:\\B", "password": "x", "when": "always"}, ["backup"]),
    ],
)
def test_renewal_and_backup(renewal: Any, backup: Any, steps: list[str]):
    found, change = plan(configured(), {}, renewal=renewal, backup=backup)
    assert found == steps
    if "backup" in steps:
        assert change.after["backup"] == "D:\\B\\20261122T180000Z"


def test_endless_renewal_is_refused():
    """The certificate is valid for 3680 days in all."""
    renewal = {"when": "before_expiry", "days": 3680, "key": "new"}
    with pytest.raises(UserError, match=r"Corp CA: renewal.days is 3680, but the CA's certificate is valid for 3680 days in all"):
        plan(configured(), {}, renewal=renewal)


@pytest.mark.parametrize(
    ("served", "steps"),
    [
        ({}, ["files"]),
        ({"ROOT.CRL": hashlib.sha256(b"old").hexdigest()}, ["files"]),
        ({"root.crl": hashlib.sha256(b"new").hexdigest().upper()}, []),
    ],
)
def test_files_that_are_served(served: dict[str, str], steps: list[str]):
    assert plan(configured(served=served), {}, {"served": {"Root.crl": b"new"}})[0] == steps


def test_a_newer_crl_stays():
    newer, older = (crl("root.crl", timedelta(days=-days), timedelta(days=90)) for days in (1, 5))
    there = configured(crls=[newer], served={"root.crl": "00"})
    local = {"served": {"Root.crl": base64.b64decode(older["head"])}}
    assert plan(there, {}, local)[0] == []
    assert "the host has a newer CRL, which was kept" in planning.warnings(known(there, **local), DEFAULTS)[0]


def test_no_renewal_while_one_is_pending():
    assert plan(pending(certificates=configured()["certificates"]), {}, renewal={"when": "now", "days": 1, "key": "new"})[0] == []


def crl(name: str, made: timedelta, ends: timedelta) -> dict[str, str]:
    builder = x509.CertificateRevocationListBuilder().issuer_name(x509.Name([])).last_update(NOW + made).next_update(NOW + ends)
    der = builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    return {"name": name, "head": base64.b64encode(der[: len(der) - 70]).decode()}


@pytest.mark.parametrize(
    ("answer", "options", "expected"),
    [
        (configured(), {}, []),
        (configured(), {"warn_before": 4000}, ["ends in 3650 days; renew it in time"]),
        ({**configured(), "now": "2036-12-01T00:00:00.0Z"}, {}, ["its clock is", "the CA's certificate ended"]),
        ({**configured(), "now": "2026-11-22T18:06:00.0Z"}, {}, ["clock is 6 minutes ahead"]),
        ({**configured(), "now": "2026-11-22T15:00:00.0Z"}, {}, ["clock is 3 hours behind"]),
        (configured(crls=[crl("a.crl", timedelta(days=-1), timedelta(days=6))]), {}, []),
        (configured(crls=[crl("a.crl", timedelta(days=-6), timedelta(hours=20))]), {}, ["a.crl ends in 20 hours"]),
        (configured(crls=[crl("a+.crl", timedelta(hours=-10), timedelta(hours=20))]), {}, []),
        (configured(crls=[crl("a.crl", timedelta(days=-8), timedelta(hours=-3))]), {}, ["a.crl ended 3 hours ago"]),
        (configured(crls=[{"name": "odd.crl", "head": "AAAA"}]), {}, []),
    ],
)
def test_warnings(answer: dict[str, Any], options: dict[str, Any], expected: list[str]):
    found = planning.warnings(known(answer), {**DEFAULTS, **options})
    assert len(found) == len(expected) and all(part in text for part, text in zip(expected, found, strict=True)), found


@tried(st.binary(max_size=80))
def test_no_bytes_break_the_reader_of_crls(data: bytes):
    for head in (data, b"\x30\x82\xff\xff\x30\x82\xff\xff" + data):
        try:
            authority_state.crl_dates(head)
        except FormatError:
            continue


# ---- the whole, with a host that remembers


class Scripted:
    """A host that answers from a list of states, and remembers what was run."""

    def __init__(self, *states: dict[str, Any], answers: dict[str, Any] | None = None) -> None:
        self.states, self.answers, self.ran = list(states), answers or {}, list[str]()
        self.users: list[Any] = []

    def __call__(self, name: str, arguments: Any, runas: Any = None) -> Any:
        if name == "ansible.windows.win_feature":
            self.ran.append("feature")
            return self.answers.get("feature", {"changed": True})
        script = next(stem for stem in SCRIPTS if powershell_source(stem) == arguments["script"])
        self.ran.append(script)
        self.users.append(runas)
        if script == "adcs_state":
            return {"result": self.states.pop(0) if len(self.states) > 1 else self.states[0]}
        return {"result": self.answers.get(script, {"ok": True})}


SCRIPTS = [file.stem for file in (Path(planning.__file__).parent / "scripts").glob("adcs_*.ps1")]


def powershell_source(stem: str) -> str:
    return (Path(planning.__file__).parent / "scripts" / f"{stem}.ps1").read_text()


def whole(host: Scripted, entry: dict[str, Any], **params: Any) -> tuple[dict[str, Any], list[str]]:
    warnings: list[str] = []
    made = CertificationAuthority(PowerShellSession(host, warnings.append))
    given = {**DEFAULTS, "config": [{"name": NAME, **entry}], **params}
    outcome = run(made, given, check_mode=False, warn=warnings.append)
    return {**outcome, **made.returns(given)}, warnings


def test_a_feature_that_wants_a_restart_ends_the_task():
    host = Scripted(bare(), answers={"feature": {"changed": True, "reboot_required": True}})
    outcome, warnings = whole(host, {"type": "enterprise_root"})
    assert host.ran == ["adcs_state", "feature", "adcs_state"]
    assert outcome["changed"] and outcome["reboot_required"] and "failed" not in outcome
    assert "wants a restart of the host" in " ".join(warnings)


def test_installation_that_the_cmdlet_refuses():
    host = Scripted(bare(), answers={"adcs_install": {"error_id": 103, "error": "Access is denied. 0x80070005"}})
    outcome, _warnings = whole(host, {"type": "enterprise_root"})
    assert outcome["failed"] and "must be an Enterprise Admin" in outcome["msg"] and "taken up by the next run" in outcome["msg"]


def test_installation_and_settings_in_one_round():
    after = configured({"CRLPeriodUnits": 2})
    host = Scripted(bare(), configured(), after, answers={"adcs_install": {"error_id": 0, "error": ""}})
    outcome, _warnings = whole(host, {"type": "enterprise_root", "crl_period": "2 weeks"})
    assert host.ran == ["adcs_state", "feature", "adcs_install", "adcs_state", "adcs_settings", "adcs_state"]
    assert outcome["changed"] and "failed" not in outcome and outcome["config_string"] == "ca1.corp.example\\Corp CA"


def test_settings_that_do_not_stay_are_a_failure():
    host = Scripted(configured())
    outcome, _warnings = whole(host, {"crl_period": "2 weeks"})
    assert outcome["failed"] and "crl_period: wrote '2 weeks', read back '1 week'" in outcome["msg"]


@pytest.mark.parametrize(("kind", "becomes"), [(0, True), (3, False)])
def test_only_what_writes_to_the_directory_runs_as_another(kind: int, becomes: bool):
    host = Scripted(configured({"CAType": kind}))
    whole(host, {}, renewal={"when": "now", "days": 1, "key": "same"})
    assert [user is not None for user in host.users] == [False, becomes, False]


def test_nothing_to_do_is_one_script():
    host = Scripted(configured(now=f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%S}.0000000Z"))
    outcome, warnings = whole(host, {})
    assert host.ran == ["adcs_state"] and not outcome["changed"] and outcome["steps"] == [] and warnings == []
    assert json.dumps(outcome)


@pytest.mark.parametrize("task", yaml.safe_load(adcs_authority.EXAMPLES), ids=lambda task: task["name"])
def test_examples(task: dict[str, Any]):
    if "certlogon.core.adcs_authority" not in task:
        return
    checked = ArgumentSpecValidator(CertificationAuthority.argument_spec(), **CertificationAuthority.rules()).validate(
        task["certlogon.core.adcs_authority"]
    )
    assert not checked.error_messages
    planning.check(checked.validated_parameters)
    for entry in checked.validated_parameters["config"] or ():
        again = planning.normalized(planning.normalized(entry))
        assert again == planning.normalized(entry), "one form"


def test_files_are_replaced_whole(tmp_path: Path):
    write_file(tmp_path / "a", b"old", "request_path")
    with pytest.raises(UserError, match="request_path: cannot be written"):
        write_file(tmp_path / "missing" / "a", b"new", "request_path")
    write_file(tmp_path / "a", b"new", "request_path")
    assert [file.name for file in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"new"


def test_state_is_immutable():
    assert replace(State.parse(bare()), fqdn="x").fqdn == "x"
