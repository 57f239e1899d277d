# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates and mappings of accounts: each control on what passes, fails and cannot be known."""

from __future__ import annotations

import datetime
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from ansible_collections.certlogon.core.plugins.module_utils.certificates import alternative_names, mappings
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import load_one
from ansible_collections.certlogon.core.plugins.module_utils.certificates.logon_certificate import LogonCertificate, read
from ansible_collections.certlogon.core.plugins.module_utils.compliance.catalogue import load
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judges.mappings import Account
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judging import Result, Stream, judge
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts, Target, Unread
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers import accounts as observer
from ansible_collections.certlogon.core.plugins.module_utils.directory import mapping_rights
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import SddlContext, SecurityDescriptor, Sid
from ansible_collections.certlogon.core.plugins.module_utils.directory.session import Entry

NOW = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.timezone.utc)
TARGET = Target("domain", "corp.example")
SID, OTHER_SID = "S-1-5-21-1-2-3-1104", "S-1-5-21-1-2-3-500"
UPN = "alice@corp.example"
CA_KEY = ec.generate_private_key(ec.SECP256R1())
KEYS: dict[str, Any] = {"p256": ec.generate_private_key(ec.SECP256R1()), "rsa": rsa.generate_private_key(65537, 2048)}
KEYS["weak"] = rsa.generate_private_key(65537, 1024)


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.DOMAIN_COMPONENT, "corp"), x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


@cache
def certificate(
    sid: str = "",
    upn: str = "",
    uri: str = "",
    *,
    issuer: str = "Issuing CA",
    key: str = "p256",
    days: int = 100,
    purpose: str = "",
    aki: str = "",
) -> bytes:
    end = NOW + datetime.timedelta(days)
    builder = x509.CertificateBuilder(
        name(issuer), name("Alice"), KEYS[key].public_key(), 0x1ABCDEF, min(NOW, end) - datetime.timedelta(30), end
    )
    names = [f"UPN:{upn}"] * bool(upn) + [f"SID:{uri}"] * bool(uri)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([alternative_names.general_name(each) for each in names]), False)
    if sid:
        content = alternative_names.sid_extension(sid)
        builder = builder.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(alternative_names.SID_EXTENSION), content), False)
    if purpose:
        builder = builder.add_extension(x509.ExtendedKeyUsage([x509.ObjectIdentifier(purpose)]), False)
    if aki:
        builder = builder.add_extension(x509.AuthorityKeyIdentifier(bytes.fromhex(aki), None, None), False)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(KEYS[key].public_key()), False)
    return builder.sign(CA_KEY, hashes.SHA256()).public_bytes(Encoding.DER)


@cache
def authority() -> bytes:
    builder = x509.CertificateBuilder(name("Issuing CA"), name("Issuing CA"), CA_KEY.public_key(), 1, NOW, NOW + datetime.timedelta(900))
    builder = builder.add_extension(x509.SubjectKeyIdentifier(b"\x11" * 20), False)
    builder = builder.add_extension(x509.BasicConstraints(True, None), True)
    return builder.sign(CA_KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def cert(*values: Any, **named: Any) -> LogonCertificate:
    return read(certificate(*values, **named))


def sha1() -> LogonCertificate:
    found = cert(SID)
    found.signature_hash = "sha1"
    return found


def malformed() -> LogonCertificate:
    """One that is read here, and refused by who looks at more of it."""
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.15"), b"\x30")
    builder = x509.CertificateBuilder(name("Issuing CA"), name("Alice"), CA_KEY.public_key(), 9, NOW, NOW + datetime.timedelta(9))
    return read(builder.add_extension(extension, False).sign(CA_KEY, hashes.SHA256()).public_bytes(Encoding.DER))


ALICE = Account("alice", SID, UPN, "alice@corp.example")
AUTHORITIES = observer.logon_authorities([authority()])
UNREAD = Unread("access denied", "Read cACertificate of CN=NTAuthCertificates").words()
MAIL = "1.3.6.1.5.5.7.3.4"
STRONG, SUBJECT = mappings.issuer_serial(load_one(certificate())), "X509:<S>CN=Alice"
SKI, PUKEY = mappings.ski(load_one(certificate())), mappings.public_key(load_one(certificate()))
FOREIGN = STRONG.replace("Issuing", "Foreign")
TURNED = "X509:<I>CN=Issuing CA,DC=corp<SR>01"


def having(*certificates: LogonCertificate, **words: Any) -> Account:
    return replace(ALICE, certificates=certificates, **words)


def mapped(*values: str, **words: Any) -> Account:
    return replace(ALICE, mappings=values, **words)


def row(account: Account, verdict: str, evidence: dict[str, Any] | None = None, says: str = "", authorities: Any = AUTHORITIES) -> Any:
    return account, verdict, evidence or {}, says, authorities


CASES: dict[str, list[Any]] = {
    "account-certificate-form": [
        row(having(cert()), "pass"),
        row(replace(ALICE, unreadable=["userCertificate[1] is truncated DER"]), "fail", {"account": "alice", "sid": SID}, "truncated"),
        row(ALICE, ""),
    ],
    "account-certificate-binding": [
        row(having(cert(SID)), "pass"),
        row(having(cert(uri=SID)), "pass"),
        row(having(cert(), mappings=[STRONG.upper()]), "pass"),
        row(having(cert(), mappings=[SKI]), "pass"),
        row(having(cert(), mappings=[PUKEY]), "pass"),
        row(having(cert(), mappings=[FOREIGN]), "fail", {"altSecurityIdentities": [FOREIGN], "serial": "1abcdef"}, "refuse"),
        row(having(cert(), mappings=[SUBJECT]), "fail", {"altSecurityIdentities": [SUBJECT]}),
        row(having(cert(upn=UPN)), "fail", {"upn": UPN, "sid": SID}),
        row(having(cert(purpose=MAIL)), ""),
        row(having(cert(days=-1)), ""),
        row(having(cert(), enabled=False), ""),
        row(replace(ALICE, unreadable=["userCertificate[0] is truncated DER"]), "unknown", {"account": "alice"}),
        row(having(malformed(), mappings=[SKI]), "unknown", {"sid": SID}, "malformed"),
    ],
    "account-certificate-sid": [
        row(having(cert(SID)), "pass"),
        row(having(cert(OTHER_SID)), "fail", {"certificate_sid": OTHER_SID, "sid": SID}, "another account"),
        row(having(cert(SID, uri=OTHER_SID)), "fail", {"certificate_sid": OTHER_SID}),
        row(having(cert(OTHER_SID, days=-1), privileged=True, enabled=False), "fail", {"adminCount": 1}),
        row(having(cert()), ""),
    ],
    "account-certificate-name": [
        row(having(cert(upn="ALICE@corp.example")), "pass"),
        row(having(cert(upn="alice@corp.example"), upn="alice.adams@corp.example"), "pass"),
        row(having(cert(upn="bob@corp.example")), "fail", {"upn": "bob@corp.example", "userPrincipalName": UPN}, "made out to bob"),
        row(having(cert()), ""),
    ],
    "account-certificate-issuer": [
        row(having(cert()), "pass"),
        row(having(cert(aki="11" * 20)), "pass"),
        row(having(cert(issuer="Foreign CA")), "fail", {"issuer": "CN=Foreign CA,DC=corp"}, "not in NTAuthCertificates"),
        row(having(cert(aki="22" * 20)), "fail", {"authority_key_identifier": "22" * 20}, "another key"),
        row(having(cert(issuer="Foreign CA")), "unknown", {}, "access denied", UNREAD),
        row(having(cert(purpose=MAIL)), "", authorities=UNREAD),
    ],
    "account-certificate-expired": [
        row(having(cert()), "pass"),
        row(having(cert(days=-1)), "fail", {"not_after": "2026-11-22"}, "expired"),
    ],
    "account-certificate-strength": [
        row(having(cert(), cert(key="rsa")), "pass"),
        row(having(cert(key="weak")), "fail", {"key": "rsa 1024"}, "1024 bits"),
        row(having(sha1()), "fail", {"signature_hash": "sha1"}, "SHA1"),
        row(having(cert(key="weak", days=-1)), ""),
    ],
    "account-certificate-disabled": [
        row(having(cert()), "pass"),
        row(having(cert(), enabled=False), "fail", {"not_after": "2027-03-03"}, "disabled"),
        row(having(cert(days=-1), enabled=False), ""),
    ],
    "account-mapping-weak": [
        row(mapped(STRONG, SKI), "pass"),
        row(mapped(SUBJECT), "fail", {"form": "subject", "altSecurityIdentities": SUBJECT}, "any CA"),
        row(mapped("X509:<I>CN=Issuing CA<S>CN=Alice", privileged=True), "fail", {"form": "issuer_subject", "adminCount": 1}),
        row(mapped("X509:<RFC822>alice@corp.example"), "fail", {"form": "rfc822"}, "e-mail"),
        row(mapped("X509:<XYZ>1"), ""),
    ],
    "account-mapping-form": [
        row(mapped(STRONG, SUBJECT), "pass"),
        row(mapped("X509:<SKI>zz"), "fail", {"altSecurityIdentities": "X509:<SKI>zz"}, "hex"),
    ],
    "account-mapping-issuer": [
        row(mapped(STRONG), "pass"),
        row(mapped(STRONG.replace(",", ", ")), "pass"),
        row(mapped(FOREIGN), "fail", {"issuer": "DC=corp,CN=Foreign CA"}, "not in NTAuthCertificates"),
        row(mapped(TURNED), "fail", {"issuer": "CN=Issuing CA,DC=corp"}, "reverse order"),
        row(mapped(STRONG), "unknown", {}, "access denied", UNREAD),
        row(mapped(SKI), "", authorities=UNREAD),
    ],
    "account-mapping-shared": [
        row(mapped(STRONG), "pass"),
        row(mapped(STRONG, shared={STRONG: "bob"}), "fail", {"other": "bob", "altSecurityIdentities": STRONG}, "alice and bob"),
    ],
}
"""By control: account, the worst verdict ("" for none), evidence of the first that did not pass, a part of its message, NTAuth."""

STREAMED = {control.id: control for control in load().of("domain", "accounts")}


def fed(control: str, account: Account, authorities: Any) -> Result:
    stream = Stream([STREAMED[control]], Facts(TARGET, {"logon_authorities": authorities}, NOW), {})
    stream.feed(account)
    return stream.results[0]


def test_every_control_has_cases() -> None:
    assert CASES.keys() == STREAMED.keys()
    for control, cases in CASES.items():
        assert {"pass", "fail"} <= {verdict for _account, verdict, *_rest in cases}, control


@pytest.mark.parametrize(("control", "case"), [(control, case) for control, cases in CASES.items() for case in cases])
def test_verdicts(control: str, case: Any) -> None:
    account, verdict, evidence, says, authorities = case
    result = fed(control, account, authorities)
    assert result.status == (verdict or "not_applicable")
    if verdict in ("fail", "unknown"):
        found = result.verdicts[0]
        assert evidence.items() <= found.evidence.items()
        assert says in found.message


# ---- unread streams: the observer's part


class Silent:
    """A directory that answers with these entries, and then refuses."""

    domain, domain_dn, public_key_services = "corp.example", "DC=corp,DC=example", "CN=Public Key Services"
    domain_sid = Sid.parse("S-1-5-21-1-2-3")

    def __init__(self, entries: list[Entry], error: Exception | None = None, **searched: list[Entry]) -> None:
        self.entries, self.error, self.searched = entries, error, searched

    def stream(self, _base: str, filter: str, *_arguments: Any, **_named: Any) -> Any:
        yield from (entry for entry in self.entries if filter != observer.PEOPLE or entry.has("sAMAccountName"))
        if self.error:
            raise self.error

    def search(self, _base: str, filter: str, *_arguments: Any, **_named: Any) -> list[Entry]:
        return next((found for part, found in self.searched.items() if part in filter), [])

    def get(self, dn: str, *_arguments: Any, **_named: Any) -> Entry | None:
        if not dn:
            return Entry("", {"tokenGroups": [bytes(Sid.parse("S-1-5-11"))]})
        if dn.startswith("CN=NTAuth"):
            return Entry(dn, {"cACertificate": [b"\0", authority()]})
        return next(iter(self.searched.get("tokenGroups", [])), None)

    def principal_names(self, sids: Any) -> dict[Sid, str]:
        return {sid: f"name of {sid}" for sid in sids}


def entry(**words: Any) -> Entry:
    descriptor = bytes(SecurityDescriptor.from_sddl("O:SYD:(A;;RP;;;AU)"))
    values = {"sAMAccountName": [b"alice"], "objectSid": [bytes(Sid.parse(SID))], "userAccountControl": [b"512"]}
    values |= {"nTSecurityDescriptor": [descriptor]} | words
    return Entry("CN=alice", values)


def observed(folder: Any, directory: Any) -> Any:
    from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation

    observation = Observation(TARGET, NOW.isoformat())
    observer.observe(directory, {"folder": str(folder), "parameters": {}}, observation)
    return observation


def test_what_was_read_before_an_error_stays(tmp_path: Any) -> None:
    from ansible_collections.certlogon.core.plugins.module_utils.directory.session import AccessDenied

    directory = Silent([entry(altSecurityIdentities=[SUBJECT.encode()])], AccessDenied("no such luck"))
    observation = observed(tmp_path, directory)
    results = {result.control.id: result for result in observation.results(STREAMED)}
    assert set(results) == set(STREAMED)
    assert all(result.counts["unknown"] == 1 for result in results.values())
    assert results["account-mapping-weak"].counts["fail"] == 1
    assert "Read userCertificate" in results["account-mapping-weak"].verdicts[1].right
    assert observation.facts["accounts"]["unread"]["reason"] == "no such luck"


def test_accounts_are_read(tmp_path: Any) -> None:
    import json

    entries = [
        entry(userCertificate=[certificate(SID), b"\0", b"nonsense"], userPrincipalName=[UPN.encode()], adminCount=[b"1"]),
        entry(sAMAccountName=[b"bob"], userAccountControl=[b"514"], altSecurityIdentities=[STRONG.encode(), b"Kerberos:bob@elsewhere"]),
        Entry("CN=a contact", {"userCertificate": [certificate()]}),
        entry(sAMAccountName=[b"carol"], altSecurityIdentities=[STRONG.upper().replace("X509:<I>DC=", "X509:<I>dc=").encode()]),
    ]
    observation = observed(tmp_path, Silent(entries))
    assert observation.facts["accounts"] == {"accounts": 3, "certificates": 2, "mappings": 2}
    results = {result.control.id: result for result in observation.results(STREAMED)}
    assert results["account-certificate-form"].verdicts[0].evidence == {"account": "alice", "sid": SID, "adminCount": 1}
    assert results["account-mapping-shared"].counts == {"pass": 1, "fail": 1, "unknown": 0, "waived": 0}
    assert results["account-mapping-shared"].verdicts[0].evidence["other"] == "bob"
    assert results["account-certificate-binding"].counts == {"pass": 1, "fail": 0, "unknown": 1, "waived": 0}
    lines = [json.loads(line) for line in (tmp_path / observation.annexes["account-mapping-shared"]).read_text().splitlines()]
    assert [(line["control"], line["evidence"]["account"]) for line in lines] == [("account-mapping-shared", "carol")]
    assert (tmp_path / observation.annexes["account-mapping-shared"]).stat().st_mode & 0o777 == 0o600


# ---- who may write mappings of privileged accounts

CONTEXT = SddlContext(Sid.parse("S-1-5-21-1-2-3"), Sid.parse("S-1-5-21-1-2-3"))
DEFAULT = (
    "O:DAD:PAI(A;;RPWPCRCCDCLCLORCWOWDSDDTSW;;;DA)(A;;GA;;;SY)(A;;GA;;;BA)(A;;RPLCLORC;;;AU)"
    "(OA;;RPWP;77b5b886-944a-11d1-aebd-0000f80367c1;;PS)"
)
PUBLIC, ATTRIBUTE = mapping_rights.PUBLIC_INFORMATION, mapping_rights.ATTRIBUTE
OTHER = "bf967a7f-0de6-11d0-a285-00aa003049e2"
HELPDESK = "S-1-5-21-1-2-3-1500"


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", {}),
        (f"(OA;;WP;{ATTRIBUTE};;{HELPDESK})", {HELPDESK: ("write_property",)}),
        (f"(OA;;WP;{PUBLIC};;{HELPDESK})", {HELPDESK: ("write_property",)}),
        (f"(OA;;WP;{OTHER};;{HELPDESK})", {}),
        (f"(OA;IO;WP;{PUBLIC};;{HELPDESK})", {}),
        (f"(A;;WP;;;{HELPDESK})", {HELPDESK: ("write_property",)}),
        (f"(A;;WDWO;;;{HELPDESK})", {HELPDESK: ("write_permissions", "write_owner")}),
        (f"(A;;GW;;;{HELPDESK})", {HELPDESK: ("write",)}),
        ("(A;;GA;;;AU)", {"S-1-5-11": ("full_control",)}),
        (f"(D;;WP;;;{HELPDESK})(A;;WP;;;{HELPDESK})", {}),
        (f"(A;;RPLCCR;;;{HELPDESK})", {}),
    ],
)
def test_writers(more: str, expected: dict[str, Any]) -> None:
    found = mapping_rights.writers(SecurityDescriptor.from_sddl(DEFAULT + more, CONTEXT))
    assert {str(sid): rights for sid, rights in found if not mapping_rights.is_protected(sid)} == expected


OU_HIDES = "(OD;CIIO;RP;77b5b886-944a-11d1-aebd-0000f80367c1;;AU)"


@pytest.mark.parametrize(
    ("sddl", "expected"),
    [
        ("(A;;RP;;;AU)", ()),
        ("(A;;GR;;;AU)", ()),
        (f"(OA;;RP;{PUBLIC};;AU)", ("userCertificate", "userSMIMECertificate")),
        ("(OA;;RP;77b5b886-944a-11d1-aebd-0000f80367c1;;AU)", ("altSecurityIdentities",)),
        (f"(OD;;RP;{ATTRIBUTE};;AU)(A;;RP;;;AU)", ("altSecurityIdentities",)),
        (OU_HIDES + "(A;;RP;;;AU)", ()),
        ("(A;;RP;;;DA)", ("altSecurityIdentities", "userCertificate", "userSMIMECertificate")),
        ("(A;;LCRC;;;AU)", ("altSecurityIdentities", "userCertificate", "userSMIMECertificate")),
    ],
)
def test_hidden(sddl: str, expected: tuple[str, ...]) -> None:
    token = frozenset({Sid.parse("S-1-5-11"), Sid.parse("S-1-1-0"), Sid.parse(HELPDESK)})
    assert mapping_rights.hidden(SecurityDescriptor.from_sddl("O:DAD:" + sddl, CONTEXT), token) == expected
    assert mapping_rights.hidden(SecurityDescriptor(), token) == ()


@pytest.mark.parametrize(
    ("sddl", "says", "right"),
    [
        ("(A;;RP;;;AU)", "", ""),
        (
            f"(OA;;RP;{PUBLIC};;AU)",
            "may not read userCertificate of 1, userSMIMECertificate of 1",
            "Read userCertificate, userSMIMECertificate",
        ),
        ("", "permissions of 1 cannot be read", "Read Permissions"),
    ],
)
def test_what_is_hidden_is_unknown(tmp_path: Any, sddl: str, says: str, right: str) -> None:
    descriptor = (
        {"nTSecurityDescriptor": [bytes(SecurityDescriptor.from_sddl("O:DAD:" + sddl, CONTEXT))]} if sddl else {"nTSecurityDescriptor": []}
    )
    observation = observed(tmp_path, Silent([entry(altSecurityIdentities=[STRONG.encode()], **descriptor)]))
    verdicts = {result.control.id: result.verdicts for result in observation.results(STREAMED)}
    for found in verdicts.values():
        assert [verdict.right for verdict in found] == ([right] if says else [])
        assert says in (found[0].message if found else "")


def test_no_list_and_foreign_owner() -> None:
    assert mapping_rights.writers(SecurityDescriptor())[0] == (Sid.parse("S-1-1-0"), ("no access control list",))
    found = mapping_rights.writers(SecurityDescriptor.from_sddl(f"O:{HELPDESK}D:(A;;GA;;;SY)", CONTEXT))
    assert (Sid.parse(HELPDESK), ("owner",)) in found


def writer(protected: bool | None, sid: str = HELPDESK) -> dict[str, Any]:
    return {"sid": sid, "name": "CORP\\helpdesk", "rights": ["write_property"], "protected": protected}


def admin(*writers: Any, **words: Any) -> dict[str, Any]:
    return {"name": "admin", "sid": OTHER_SID, "writers": list(writers), **words}


@pytest.mark.parametrize(
    ("accounts", "parameters", "status", "says"),
    [
        ([admin(writer(True))], {}, "pass", ""),
        ([admin(writer(False))], {}, "fail", "CORP\\helpdesk (write_property)"),
        ([admin(writer(False))], {"trusted": ["corp\\Helpdesk"]}, "pass", ""),
        ([admin(writer(False))], {"trusted": [HELPDESK]}, "pass", ""),
        ([admin(writer(None))], {}, "unknown", "cannot be read"),
        ([admin(writer(None), writer(False))], {}, "fail", ""),
        ([admin(unread="the server does not show nTSecurityDescriptor")], {}, "unknown", "nTSecurityDescriptor"),
        ([], {}, "not_applicable", ""),
        ({"unread": {"reason": "access denied", "right": "x"}}, {}, "unknown", "access denied"),
    ],
)
def test_mapping_writers(accounts: Any, parameters: Any, status: str, says: str) -> None:
    control = next(control for control in load().controls if control.id == "account-mapping-writers")
    [result] = judge([control], Facts(TARGET, {"privileged_accounts": accounts}, NOW), {control.id: parameters})
    assert result.status == status
    if status in ("fail", "unknown"):
        assert says in result.verdicts[0].message
    if status == "fail":
        assert result.verdicts[0].evidence["writers"][0]["sid"] == HELPDESK


def test_privileged_accounts_are_read() -> None:
    descriptor = bytes(SecurityDescriptor.from_sddl(DEFAULT + f"(A;;WP;;;{HELPDESK})", CONTEXT))
    group = Entry("CN=helpdesk", {"tokenGroups": [bytes(Sid.parse("S-1-5-21-1-2-3-512"))]})
    found = {
        "adminCount=1": [entry(nTSecurityDescriptor=[descriptor]), entry(sAMAccountName=[b"bob"], nTSecurityDescriptor=[])],
        "objectSid=": [group],
    }
    for groups, protected in (([group], True), ([Entry("x", {"tokenGroups": [bytes(Sid.parse(HELPDESK))]})], False), ([], None)):
        alice, bob = observer.privileged(Silent([], **found, tokenGroups=groups))  # type: ignore[arg-type]
        by_sid = {writer["sid"]: writer for writer in alice["writers"]}
        assert by_sid[HELPDESK] == {"sid": HELPDESK, "name": f"name of {HELPDESK}", "rights": ["write_property"], "protected": protected}
        assert by_sid["S-1-5-18"]["protected"] is True
        assert bob["unread"] and not bob["writers"]
