# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
from itertools import count
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from cryptography import x509

from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import load_one
from ansible_collections.certlogon.core.plugins.module_utils.directory.certificate_mappings import (
    Account,
    CertificateMappings,
    Mappings,
    _load,
    _named,
)
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import Sid
from ansible_collections.certlogon.core.plugins.module_utils.directory.session import Entry
from ansible_collections.certlogon.core.plugins.module_utils.directory.values import ValueEdit
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Plan, run
from ansible_collections.certlogon.core.tests.unit.directory.pki_samples import NOW, certificate, pem

ALICE_DN = "CN=Alice,OU=Staff,DC=corp,DC=example"
SID = "S-1-5-21-1-2-3-1104"
CARD = certificate("alice", "Red CA", ca=False)
SERIAL = x509.load_der_x509_certificate(CARD).serial_number
BY_SERIAL = "X509:<I>DC=example,CN=Red CA<SR>" + load_one(CARD).serial.to_bytes((SERIAL.bit_length() // 8) + 1, "big")[::-1].hex()
KEY = "X509:<SHA1-PUKEY>50bf88e67522ab8ce093ce51830ab0bcf8ba7824"
SKI = "X509:<SKI>77bf4cdb"
WEAK = "X509:<I>CN=CA<S>CN=alice"
KERBEROS = "Kerberos:alice@PARTNER.EXAMPLE"

RESOURCE = CertificateMappings()

NUMBERED = map(str, count())
"""Test names that do not depend on the keys made on the spot."""


def validated(config: list[dict[str, Any]] | None, state: str = "merged", strict: bool = False) -> dict[str, Any]:
    arguments = {"state": state, "strict": strict, "server": ["dc"], "username": "a@b", "password": "c"}
    checked = ArgumentSpecValidator(RESOURCE.argument_spec(), **RESOURCE.rules()).validate(
        arguments | ({} if config is None else {"config": config})
    )
    assert not checked.error_messages, checked.error_messages
    return checked.validated_parameters


def account(*mappings: str, name: str = "alice", dn: str = ALICE_DN) -> Account:
    return Account(name, dn, Sid.parse(SID), mappings)


def plan(config: list[dict[str, Any]], state: str = "merged", *, strict: bool = False, **accounts: Account) -> Plan:
    params = validated(config, state, strict)
    RESOURCE.check(params)
    return RESOURCE.plan(params, Mappings(accounts, _load(params), NOW))


@pytest.mark.parametrize(
    ("state", "held", "wanted", "add", "delete"),
    [
        ("merged", [KEY], [KEY.lower().replace("x509", "X509")], [], []),
        ("merged", [KEY], [SKI, SKI.lower()], [SKI], []),
        ("merged", [KERBEROS], [KEY], [KEY], []),
        ("replaced", [KEY, SKI, KERBEROS], [SKI], [], [KEY]),
        ("replaced", [KEY, KERBEROS], [], [], [KEY]),
        ("replaced", [WEAK, "not a mapping"], [KEY], [KEY], [WEAK, "not a mapping"]),
        ("replaced", [KEY], [KEY, KERBEROS], [KERBEROS], []),
        ("replaced", [KEY.upper()], [KEY], [], []),
        ("deleted", [KEY, SKI, KERBEROS], [KEY, WEAK], [], [KEY]),
        ("deleted", [KEY, KERBEROS], [KERBEROS], [], [KERBEROS]),
        ("deleted", [KEY], [SKI], [], []),
    ],
)
def test_plan(state, held, wanted, add, delete):
    made = plan([{"user": "alice", "mappings": wanted}], state, alice=account(*held))
    assert [change.details for change in made.changes] == (
        [ValueEdit(ALICE_DN, "altSecurityIdentities", add, delete)] if add or delete else []
    )
    for change in made.changes:
        assert set(change.before["mappings"]) == set(held)
        assert set(change.after["mappings"]) == {*held, *add} - set(delete)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (None, BY_SERIAL),
        ("issuer_serial", BY_SERIAL),
        ("issuer_sid", f"X509:<I>DC=example,CN=Red CA<SID>{SID}"),
        ("ski", "X509:<SKI>" + hashlib.sha1(load_one(CARD).public_key).hexdigest()),
        ("sha1_public_key", "X509:<SHA1-PUKEY>" + hashlib.sha1(load_one(CARD).public_key).hexdigest()),
    ],
    ids=["default", "issuer_serial", "issuer_sid", "ski", "sha1_public_key"],
)
def test_certificates_become_mappings(form, expected):
    entry = {"user": "alice", "certificates": [{"content": pem(CARD), **({"form": form} if form else {})}]}
    made = plan([entry], alice=account())
    assert made.changes[0].details.add == [expected]
    assert not made.warnings
    assert not plan([entry], alice=account(expected)).changes
    assert not plan([entry], "replaced", alice=account(expected)).changes
    assert plan([entry], "deleted", alice=account(expected, KEY)).changes[0].details.delete == [expected]


@pytest.mark.parametrize("weak", [WEAK, "X509:<S>CN=alice", "X509:<RFC822>alice@corp.example"])
def test_weak_mappings(weak):
    entry = [{"user": "alice", "mappings": [weak]}]
    made = plan(entry, alice=account())
    assert len(made.changes) == 1 and "is a weak mapping" in made.warnings[0] and "SHA1-PUKEY" in made.warnings[0]
    with pytest.raises(UserError, match=r"alice: mappings: .* is a weak mapping"):
        plan(entry, strict=True, alice=account())
    kept = plan([{"user": "alice", "mappings": [KEY]}], strict=True, alice=account(weak))
    assert kept.changes[0].details.add == [KEY] and "alice: stored: " in kept.warnings[0]
    assert not plan(entry, "deleted", strict=True, alice=account(weak)).warnings
    assert not plan([{"user": "alice", "mappings": []}], "replaced", strict=True, alice=account(weak)).warnings


def test_stored_garbage_is_reported():
    assert (
        "is not a certificate mapping; remove it"
        in plan([{"user": "alice", "mappings": [KEY]}], alice=account(KEY, "X509:<Q>x")).warnings[0]
    )


def test_odd_certificates_are_warned_of():
    old, authority = certificate("old", "Red CA", ca=False, expired=True), certificate("Red CA")
    entry = {"user": "alice", "certificates": [{"content": pem(old)}, {"content": pem(authority)}]}
    warnings = plan([entry], alice=account()).warnings
    assert ["expired on 2026-05-31" in warnings[0], "is a CA certificate" in warnings[1]] == [True, True]


def test_one_mapping_for_two_accounts():
    wanted = [{"user": name, "mappings": [KEY]} for name in ("alice", "bob")]
    with pytest.raises(UserError, match=r"config: bob: mappings: .* is given to alice as well"):
        plan(wanted, alice=account(), bob=account(name="bob", dn="CN=Bob"))


def test_one_account_by_two_names():
    wanted = [{"user": name, "mappings": [KEY]} for name in ("alice", SID)]
    with pytest.raises(UserError, match=f"config: alice and {SID} are the same account, {ALICE_DN}"):
        plan(wanted, **{"alice": account(), SID: account()})


@pytest.mark.parametrize(
    ("state", "entry", "message"),
    [
        ("merged", {}, "neither mappings nor certificates is given"),
        ("deleted", {"mappings": []}, "nothing to remove is named"),
        ("merged", {"mappings": ["CN=alice"]}, "config: alice: mappings: 'CN=alice'"),
        ("merged", {"mappings": ["X509:<I>CN=CA<SR>xyz"]}, "config: alice: mappings: 'X509:<I>CN=CA<SR>xyz'"),
        ("merged", {"mappings": ["X509:<SHA1-PUKEY>00"]}, "a SHA-1 has 40 digits"),
        ("merged", {"certificates": [{"content": "x"}]}, "config: alice: certificates[0]: is neither PEM nor DER"),
        ("merged", {"certificates": [{"content": pem(CARD)}, {"path": "/no/such"}]}, "certificates[1] (/no/such): cannot be read"),
        ("merged", {"certificates": [{"content": pem(CARD) * 2}]}, "holds 2 certificates"),
    ],
    ids=NUMBERED,
)
def test_bad_requests(state, entry, message):
    with pytest.raises(UserError) as caught:
        plan([{"user": "alice", **entry}], state, alice=account())
    assert message in str(caught.value)


def test_a_certificate_without_key_identifier():
    bare = certificate("bare", "Red CA", ca=False, with_ski=False)
    entry = {"user": "alice", "certificates": [{"content": pem(bare), "form": "ski"}]}
    with pytest.raises(UserError, match=r"config: alice: certificates: .* has no subject key identifier"):
        plan([entry], alice=account())
    with pytest.raises(UserError, match="has no subject key identifier"):
        run(RESOURCE, validated([entry], "rendered"), check_mode=False, warn=print)


def test_rendered():
    config = [
        {"user": "alice", "mappings": [SKI, KERBEROS], "certificates": [{"content": pem(CARD)}]},
        {"user": SID, "certificates": [{"content": pem(CARD), "form": "issuer_sid"}]},
    ]
    assert run(RESOURCE, validated(config, "rendered"), check_mode=False, warn=print)["rendered"] == [
        {"user": "alice", "mappings": sorted([SKI, KERBEROS, BY_SERIAL], key=str.casefold)},
        {"user": SID, "mappings": [f"X509:<I>DC=example,CN=Red CA<SID>{SID}"]},
    ]
    with pytest.raises(UserError, match="issuer_sid needs the account's SID"):
        run(RESOURCE, validated([{**config[1], "user": "bob"}], "rendered"), check_mode=False, warn=print)
    with pytest.raises(UserError, match="weak mapping"):
        run(RESOURCE, validated([{"user": "bob", "mappings": [WEAK]}], "rendered", strict=True), check_mode=False, warn=print)


class FakeDirectory:
    """Answers searches with the accounts whose name is in the filter."""

    domain, domain_dn = "corp.example", "DC=corp,DC=example"
    domains = {"CORP": "DC=corp,DC=example", "SUB": "DC=sub,DC=corp,DC=example"}

    def __init__(self, *accounts: tuple[str, str, str, int]) -> None:
        self.accounts = accounts
        self.filters: list[str] = []

    def search(self, base: str, filter: str, attributes: Any) -> list[Entry]:
        self.filters.append(filter)
        return [
            Entry(
                dn,
                {
                    "sAMAccountName": [name.encode()],
                    "userPrincipalName": [upn.encode()],
                    "objectSid": [bytes(Sid.parse(f"S-1-5-21-1-2-3-{rid}"))],
                },
            )
            for name, upn, dn, rid in self.accounts
        ]


DIRECTORY = ("alice", "a.andersson@corp.example", ALICE_DN, 1104)


@pytest.mark.parametrize(
    ("name", "searched"),
    [
        ("ALICE", "(sAMAccountName=ALICE)"),
        ("CORP\\alice", "(sAMAccountName=alice)"),
        ("corp.example\\alice", "(sAMAccountName=alice)"),
        ("A.Andersson@corp.example", "(userPrincipalName=A.Andersson@corp.example)"),
        ("CN=alice, OU=Staff,DC=corp,DC=example", "(distinguishedName=CN=alice, OU=Staff,DC=corp,DC=example)"),
        (SID, "(objectSid=" + "".join(f"\\{octet:02x}" for octet in bytes(Sid.parse(SID))) + ")"),
    ],
)
def test_accounts_are_found_by_every_name(name, searched):
    directory: Any = FakeDirectory(DIRECTORY)
    assert _named(directory, [name])[name].dn == ALICE_DN
    assert directory.filters == [f"(&(objectClass=user)(|{searched}))"]


def test_unknown_and_ambiguous_accounts_are_named_together():
    directory: Any = FakeDirectory(DIRECTORY, ("b1", "bob@corp.example", "CN=b1", 1), ("b2", "bob@corp.example", "CN=b2", 2))
    with pytest.raises(UserError) as caught:
        _named(directory, ["alice", "carol", "SUB\\alice", "bob@corp.example"])
    assert str(caught.value).splitlines() == [
        "config: no user 'carol' in corp.example; give the sAMAccountName, UPN, DN or SID of one",
        "config: no user 'SUB\\\\alice' in corp.example; give the sAMAccountName, UPN, DN or SID of one",
        "config: user 'bob@corp.example' means several accounts: CN=b1; CN=b2; give the DN or the SID",
    ]


def test_many_accounts_take_few_searches():
    names = [f"u{number}" for number in range(120)]
    directory: Any = FakeDirectory(*((name, "", f"CN={name}", number) for number, name in enumerate(names)))
    assert list(_named(directory, names)) == names
    assert len(directory.filters) == 3


def test_filters_are_escaped():
    directory: Any = FakeDirectory(("*)(x", "", "CN=odd", 9))
    _named(directory, ["*)(x"])
    assert "(sAMAccountName=\\2a\\29\\28x)" in directory.filters[0]
