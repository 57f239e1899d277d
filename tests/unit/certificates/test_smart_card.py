# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be done on a card: tables of contents and wishes. No card."""

from __future__ import annotations

import contextlib
import datetime
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certlogon.core.plugins.module_utils.certificates import pkcs12_file
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate, load_one
from ansible_collections.certlogon.core.plugins.module_utils.certificates.pkcs11 import Contents, KeyFacts, TokenCertificate, key_id
from ansible_collections.certlogon.core.plugins.module_utils.certificates.smart_card import (
    SmartCard,
    Steps,
    Wanted,
    objects,
    plan_deletion,
    plan_entry,
    upns,
)
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError

NOW = datetime.datetime(2026, 11, 1, tzinfo=datetime.timezone.utc)
TOKEN = {"token": "card", "manufacturer": "m", "serial": "1", "model": "x"}
OPTIONS: dict[str, Any] = {name: option.get("default") for name, option in SmartCard.options.items()}


def issue(name: str, key: Any, ca: bool = False, upn: str | None = None) -> Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(NOW).not_valid_after(NOW + datetime.timedelta(days=9))
    builder = builder.add_extension(x509.BasicConstraints(ca, None), True)
    if upn is not None:
        raw = upn.encode()
        length = bytes([len(raw)]) if len(raw) < 128 else bytes([0x81, len(raw)])
        other = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c" + length + raw)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("x"), other]), False)
    return load_one(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER))


KEY, OTHER_KEY, CA_KEY = (ec.generate_private_key(ec.SECP256R1()) for _number in range(3))
OLD, NEW, OTHER = issue("alice", KEY), issue("alice", KEY), issue("alice", OTHER_KEY)
CA = issue("Corp CA", CA_KEY, ca=True)
ID, OTHER_ID, CA_ID = (key_id(one.public_key) for one in (OLD, OTHER, CA))


def key(id: bytes = ID, label: str = "logon", public: bytes | None = None) -> KeyFacts:
    return KeyFacts(id, label, "ec", 256, True, id if public is None else public, True, False, True)


def on_card(certificate: Certificate, label: str = "logon", id: bytes | None = None) -> TokenCertificate:
    return TokenCertificate(key_id(certificate.public_key) if id is None else id, label, certificate)


def card(*things: KeyFacts | TokenCertificate) -> Contents:
    keys = tuple(one for one in things if isinstance(one, KeyFacts))
    return Contents(TOKEN, keys, tuple(one for one in things if isinstance(one, TokenCertificate)))


def wish(certificate: Certificate | None = NEW, *chain: Certificate, key: Any = None, **options: Any) -> Wanted:
    return Wanted("logon", {**OPTIONS, "name": "logon", **options}, certificate, chain, key)


PLANS: list[tuple[str, Contents, Wanted, list[tuple[str, str, Steps]]]] = [
    ("beside its key", card(key()), wish(), [("logon", "update", Steps(store=on_card(NEW)))]),
    ("there already", card(key(), on_card(NEW)), wish(), []),
    ("renewed", card(key(), on_card(OLD)), wish(), [("logon", "update", Steps(store=on_card(NEW)))]),
    ("under another name", card(key(), on_card(NEW, "old name")), wish(), [("logon", "create", Steps(store=on_card(NEW)))]),
    (
        "interrupted between the new and the old one",
        card(key(), on_card(OLD), on_card(NEW)),
        wish(),
        [("logon", "update", Steps(store=on_card(NEW)))],
    ),
    ("key to import", card(), wish(key=KEY), [("logon", "create", Steps(key=KEY, store=on_card(NEW)))]),
    ("key imported, then interrupted", card(key()), wish(key=KEY), [("logon", "update", Steps(store=on_card(NEW)))]),
    (
        "another key had the name",
        card(key(), key(OTHER_ID), on_card(OTHER)),
        wish(),
        [("logon", "update", Steps(store=on_card(NEW), delete_certificates=(OTHER.der,)))],
    ),
    (
        "another key had the name and goes",
        card(key(), key(OTHER_ID), on_card(OTHER)),
        wish(remove_old_key=True),
        [("logon", "update", Steps(store=on_card(NEW), delete_certificates=(OTHER.der,), delete_keys=(OTHER_ID,)))],
    ),
    (
        "a card that names its keys itself",
        card(key(b"\x01", public=ID)),
        wish(),
        [("logon", "update", Steps(store=on_card(NEW, id=b"\x01")))],
    ),
    (
        "with its chain",
        card(key(), on_card(NEW)),
        wish(NEW, CA),
        [("Corp CA", "create", Steps(store=on_card(CA, "Corp CA")))],
    ),
    ("chain there under another name", card(key(), on_card(NEW), on_card(CA, "root")), wish(NEW, CA), []),
    ("chain not wanted", card(key(), on_card(NEW)), wish(NEW, CA, store_chain=False), []),
    ("a CA's certificate alone", card(), wish(CA), [("logon", "create", Steps(store=on_card(CA)))]),
    ("a key that is there", card(key()), wish(None, key=None), []),
]


@pytest.mark.parametrize(("contents", "wanted", "expected"), [row[1:] for row in PLANS], ids=[row[0] for row in PLANS])
def test_plan(contents: Contents, wanted: Wanted, expected: list[tuple[str, str, Steps]]) -> None:
    changes = plan_entry(wanted, contents)
    assert [(change.name, change.action, change.details) for change in changes] == expected


@pytest.mark.parametrize(("contents", "wanted"), [row[1:3] for row in PLANS], ids=[row[0] for row in PLANS])
def test_what_a_plan_predicts_is_what_its_steps_bring_about_and_needs_no_more(contents: Contents, wanted: Wanted) -> None:
    changes = plan_entry(wanted, contents)
    after = contents
    for change in changes:
        after = carried_out(after, change.details)
    for change in changes:
        assert objects(after)[change.name] == change.after
    assert plan_entry(replace(wanted, key=None), after) == []


def carried_out(contents: Contents, steps: Steps) -> Contents:
    """What the token does, in the least words."""
    keys, certificates = list(contents.keys), list(contents.certificates)
    if steps.key is not None:
        assert steps.store is not None
        keys.append(KeyFacts(steps.store.id, "logon", "ec", 256, True, steps.store.id, True, False, False))
    if steps.store is not None:
        certificates = [*(one for one in certificates if one.id != steps.store.id), steps.store]
    certificates = [one for one in certificates if one.certificate.der not in steps.delete_certificates]
    return Contents(TOKEN, tuple(one for one in keys if one.id not in steps.delete_keys), tuple(certificates))


@pytest.mark.parametrize(
    ("contents", "wanted"),
    [
        (card(), wish()),
        (card(key(OTHER_ID)), wish()),
        (card(), wish(None)),
    ],
)
def test_without_the_key_nothing_is_put_on_the_card(contents: Contents, wanted: Wanted) -> None:
    with pytest.raises(UserError, match="the card has no"):
        plan_entry(wanted, contents)


@pytest.mark.parametrize(
    ("contents", "entry", "expected"),
    [
        (card(), {}, []),
        (card(key(), on_card(OLD)), {}, [("logon", Steps(delete_certificates=(OLD.der,), delete_keys=(ID,)))]),
        (card(key(), on_card(OLD)), {"delete_key": False}, [("logon", Steps(delete_certificates=(OLD.der,)))]),
        (card(key(), on_card(OLD, "LOGON")), {}, [("LOGON", Steps(delete_certificates=(OLD.der,), delete_keys=(ID,)))]),
        (card(key()), {}, [("logon", Steps(delete_keys=(ID,)))]),
        (card(key()), {"delete_key": False}, []),
        (card(key(), on_card(OLD), on_card(NEW, "mail")), {}, [("logon", Steps(delete_certificates=(OLD.der,)))]),
        (
            card(key(), key(OTHER_ID), on_card(OLD), on_card(OTHER)),
            {"sha256": OTHER.sha256.upper()},
            [(f"logon ({OTHER.sha256})", Steps(delete_certificates=(OTHER.der,), delete_keys=(OTHER_ID,)))],
        ),
        (
            card(key(), key(OTHER_ID), on_card(OLD), on_card(OTHER)),
            {"id": ID.hex()},
            [(f"logon ({OLD.sha256})", Steps(delete_certificates=(OLD.der,), delete_keys=(ID,)))],
        ),
    ],
)
def test_deletion(contents: Contents, entry: dict[str, Any], expected: list[tuple[str, Steps]]) -> None:
    changes = plan_deletion({**OPTIONS, "name": "logon", **entry}, contents)
    assert [(change.name, change.details) for change in changes] == expected


def test_names_on_the_card_are_told_apart() -> None:
    found = objects(card(key(), key(OTHER_ID), on_card(OLD), on_card(NEW, "Logon")))
    assert [*found] == [f"logon ({OLD.sha256})", f"Logon ({NEW.sha256})", f"logon ({OTHER_ID.hex()})"]


@pytest.mark.parametrize("name", ["alice@corp.example", "ä" * 70 + "@corp.example"])
def test_the_upn_of_a_certificate(name: str) -> None:
    assert upns(issue("x", KEY, upn=name)) == [name]


def test_a_certificate_without_alternative_names_is_nobodys() -> None:
    assert upns(OLD) == []


# ---- PKCS#12


def pfx(password: bytes | None = b"secret", key: Any = KEY, certificate: Certificate | None = NEW) -> bytes:
    encryption: Any = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    parsed = x509.load_der_x509_certificate(certificate.der) if certificate else None
    return pkcs12.serialize_key_and_certificates(b"alice", key, parsed, [x509.load_der_x509_certificate(CA.der)], encryption)


@pytest.mark.parametrize("password", ["secret", None])
def test_a_pkcs12_file(password: str | None) -> None:
    found = pkcs12_file.load(pfx(password.encode() if password else None), password)
    assert (found.certificate, found.chain) == (NEW, (CA,))
    assert found.key.private_numbers() == KEY.private_numbers()


@pytest.mark.parametrize(
    ("data", "password", "why"),
    [
        (pfx(), "wrong", "the password is wrong"),
        (pfx(), None, "the password is wrong"),
        (pfx()[:-20], "secret", "the file is damaged"),
        (b"-----BEGIN", "secret", "is no PKCS#12 file"),
        (b"", None, "is no PKCS#12 file"),
        (pfx(key=None), "secret", "no private key"),
        (pfx(certificate=None), "secret", "no certificate for it"),
    ],
)
def test_a_pkcs12_file_that_cannot_be_used(data: bytes, password: str | None, why: str) -> None:
    with pytest.raises(FormatError, match=why) as caught:
        pkcs12_file.load(data, password)
    assert "secret" not in str(caught.value)


@given(st.binary(max_size=200), st.none() | st.text(max_size=8), st.integers(0, 3000), st.binary(min_size=1, max_size=3))
def test_any_bytes_are_a_pkcs12_file_or_a_format_error(data: bytes, password: str | None, place: int, change: bytes) -> None:
    place %= len(PFX)
    for candidate in (data, b"\x30" + data, PFX[:place] + change + PFX[place + len(change) :]):
        with contextlib.suppress(FormatError):
            pkcs12_file.load(candidate, password)


PFX = pfx(None)
