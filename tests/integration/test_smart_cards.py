# SPDX-License-Identifier: GPL-3.0-or-later
"""Cards: SoftHSM tokens, judged by OpenSC's and GnuTLS's tools and by openssl. Needs no domain."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import pkcs7

from ansible_collections.certlogon.core.plugins.module_utils.certificates import token_errors
from ansible_collections.certlogon.core.plugins.module_utils.certificates.pkcs11 import Token, open_token
from ansible_collections.certlogon.core.plugins.module_utils.certificates.smart_card import SmartCard
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import run
from ansible_collections.certlogon.core.tests.integration.card_authority import ALICE, DER, PEM, Authority, pem
from lab.cards import LIBRARY, Card, CardBox

pkcs11 = pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed (extra cards)")
pytestmark = pytest.mark.skipif(not Path(LIBRARY).exists(), reason="SoftHSM is not installed (softhsm2)")


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CardBox:
    made = CardBox.here(tmp_path / "cards")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def card(box: CardBox) -> Card:
    return box.make("alice")


@pytest.fixture
def token(card: Card) -> Iterator[Token]:
    with open_token(card.uri) as opened:
        yield opened


def put(
    card: Card, config: Sequence[Mapping[str, Any]] | None = None, state: str = "merged", *, check: bool = False, **options: Any
) -> dict[str, Any]:
    """The module's run in this process; raises `UserError`."""
    arguments = {"uri": card.uri, "state": state, **({} if config is None else {"config": [dict(one) for one in config]}), **options}
    resource = SmartCard()
    checked = ArgumentSpecValidator(resource.argument_spec(), **resource.rules()).validate(arguments)
    assert not checked.error_messages, checked.error_messages
    result = run(resource, checked.validated_parameters, check_mode=check, warn=lambda text: None)
    assert not result.get("failed"), result
    return result


def pkcs11_tool(card: Card, *arguments: str, library: str = LIBRARY) -> subprocess.CompletedProcess[str]:
    command = ["pkcs11-tool", "--module", library, "--token-label", card.name, "--login", "--pin", "env:CARD_PIN", *arguments]
    return subprocess.run(command, env={**os.environ, "CARD_PIN": card.pin}, capture_output=True, text=True, check=False)


def listed(card: Card) -> dict[tuple[str, str], str]:
    """What OpenSC sees: (kind, label) -> its description."""
    blocks = re.split(r"(?m)^(?=\S.* Object[;,])", pkcs11_tool(card, "-O").stdout)
    found = {}
    for block in blocks:
        label = re.search(r"(?m)^  label: +(.*)$", block)
        if label:
            found[block.split(" Object")[0], label[1]] = block
    return found


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


# ---- keys made on the card

MAKERS: dict[str, Callable[[Token], Any]] = {
    "rsa": lambda token: token.generate_rsa("logon", 2048),
    "secp256r1": lambda token: token.generate_ec("logon", "secp256r1"),
    "secp384r1": lambda token: token.generate_ec("logon", "secp384r1"),
    "secp521r1": lambda token: token.generate_ec("logon", "secp521r1"),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_key_made_on_the_card_signs_requests_and_never_leaves_it(kind: str, card: Card, tmp_path: Path) -> None:
    with open_token(card.uri) as token:
        key = MAKERS[kind](token)
        names = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Alice")])
        request = x509.CertificateSigningRequestBuilder().subject_name(names).sign(key, hashes.SHA512())
        assert token.find_key("logon").id == key.id == x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest
    file = tmp_path / "request.pem"
    file.write_bytes(request.public_bytes(PEM))
    judged = subprocess.run(["openssl", "req", "-in", file, "-verify", "-noout"], capture_output=True, text=True, check=False)
    assert "verify OK" in judged.stdout + judged.stderr
    private = next(text for (what, _label), text in listed(card).items() if what == "Private Key")
    assert "sensitive, always sensitive, never extractable, local" in private
    # asked for the value itself, the card refuses it
    values = pkcs11.Attribute.PRIVATE_EXPONENT if kind == "rsa" else pkcs11.Attribute.VALUE
    with open_token(card.uri) as token:
        (found,) = token._objects(pkcs11.ObjectClass.PRIVATE_KEY)
        with pytest.raises(pkcs11.AttributeSensitive):
            found[values]


def test_gnutls_sees_the_same_key(card: Card, token: Token) -> None:
    token.generate_rsa("logon", 2048)
    seen = subprocess.run(
        ["p11tool", "--provider", LIBRARY, "--list-privkeys", "--login", f"pkcs11:token={card.name}"],
        env={**os.environ, "GNUTLS_PIN": card.pin},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Label: logon" in seen.stdout, seen
    assert "CKA_NEVER_EXTRACTABLE; CKA_SENSITIVE" in seen.stdout
    assert "Type: Private key (RSA-2048)" in seen.stdout


@pytest.mark.parametrize("kind", ["rsa", "secp384r1"])
def test_an_enrollment_agents_key_on_a_card_signs_cms(kind: str, token: Token, authority: Authority, tmp_path: Path) -> None:
    key = MAKERS[kind](token)
    certificate = authority.issue(key.public_key())
    message = pkcs7.PKCS7SignatureBuilder().set_data(b"a request").add_signer(certificate, key, hashes.SHA256())
    (tmp_path / "message").write_bytes(message.sign(DER, [pkcs7.PKCS7Options.Binary]))
    (tmp_path / "ca.pem").write_text(pem(authority.certificate))
    command = [
        "openssl",
        "cms",
        "-verify",
        "-inform",
        "DER",
        "-in",
        tmp_path / "message",
        "-CAfile",
        tmp_path / "ca.pem",
        "-purpose",
        "any",
    ]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"a request"


def test_rsa_pss(token: Token) -> None:
    key = token.generate_rsa("logon", 2048)
    for salt in (padding.PSS.DIGEST_LENGTH, 20):
        how = padding.PSS(padding.MGF1(hashes.SHA384()), salt)
        key.public_key().verify(key.sign(b"data", how, hashes.SHA384()), b"data", how, hashes.SHA384())


def test_the_private_key_is_not_given_out(token: Token) -> None:
    key = token.generate_rsa("logon", 2048)
    assert isinstance(key, rsa.RSAPrivateKey)
    with pytest.raises(UserError, match="on a token"):
        key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


# ---- certificates, as the module puts them


def test_a_pfx_is_imported_once_with_its_chain(card: Card, authority: Authority, tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    file = authority.pfx(tmp_path / "alice.pfx", key)
    config = [{"name": "logon", "pkcs12_path": str(file), "pkcs12_password": "correct horse", "upn": "ALICE@corp.example"}]
    predicted = put(card, config, check=True)
    assert listed(card) == {}
    done = put(card, config)
    assert done["diff"] == predicted["diff"]
    assert [(change["name"], change["action"]) for change in done["changes"]] == [("logon", "create"), ("Corp Issuing CA", "create")]
    assert put(card, config)["changed"] is False
    assert put(card, config, check=True)["changed"] is False
    seen = listed(card)
    assert {*seen} == {("Private Key", "logon"), ("Public Key", "logon"), ("Certificate", "logon"), ("Certificate", "Corp Issuing CA")}
    assert "sensitive" in seen["Private Key", "logon"]
    assert "extract" not in seen["Private Key", "logon"]
    # the key on the card is the certificate's: what OpenSC signs with it, openssl verifies with the certificate
    (tmp_path / "data").write_bytes(b"data")
    signed = pkcs11_tool(
        card, "--sign", "--mechanism", "SHA256-RSA-PKCS", "--label", "logon",
        "--input-file", str(tmp_path / "data"), "--output-file", str(tmp_path / "signature"),
    )  # fmt: skip
    assert signed.returncode == 0, signed
    public = key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "public.pem").write_bytes(public)
    command = ["openssl", "dgst", "-sha256", "-verify", tmp_path / "public.pem", "-signature", tmp_path / "signature", tmp_path / "data"]
    assert b"Verified OK" in subprocess.run(command, capture_output=True, check=True).stdout


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_an_ec_key_is_imported(curve: Any, card: Card, authority: Authority, tmp_path: Path) -> None:
    key = ec.generate_private_key(curve)
    file = authority.pfx(tmp_path / "alice.p12", key)
    put(card, [{"name": "logon", "pkcs12_path": str(file), "pkcs12_password": "correct horse"}])
    with open_token(card.uri) as token:
        signature = token.find_key("logon").sign(b"data", ec.ECDSA(hashes.SHA256()))
    key.public_key().verify(signature, b"data", ec.ECDSA(hashes.SHA256()))


def test_what_is_gathered_is_what_merged_accepts_and_public_without_the_pin(card: Card, authority: Authority, tmp_path: Path) -> None:
    with open_token(card.uri) as token:
        key = token.generate_rsa("logon", 2048)
        token.generate_ec("waits for its certificate", "secp256r1")
    put(card, [{"name": "logon", "content": pem(authority.issue(key.public_key()), authority.certificate)}])
    gathered = put(card, state="gathered")["gathered"]
    facts = {words["name"]: words["facts"] for words in gathered}
    assert facts["logon"]["upn"] == [ALICE]
    assert facts["logon"]["generated_on_card"] is True
    assert facts["logon"]["extractable"] is False
    assert facts["Corp Issuing CA"]["ca"] is True
    assert [words["key"] for words in gathered] == [False, True, True]
    assert put(card, gathered)["changed"] is False
    in_public = run(SmartCard(), {"uri": card.token, "pin": None, "module": None, "spend_last_try": False, "state": "gathered"},
                    check_mode=False, warn=lambda text: None)["gathered"]  # fmt: skip
    assert [words["name"] for words in in_public] == [words["name"] for words in gathered]
    assert all("extractable" not in words["facts"] for words in in_public)


def test_a_renewed_certificate_takes_the_place_of_the_old_one(card: Card, authority: Authority) -> None:
    with open_token(card.uri) as token:
        key = token.generate_rsa("logon", 2048)
    for _turn in range(2):
        new = authority.issue(key.public_key())
        assert put(card, [{"name": "logon", "content": pem(new)}])["changed"]
        assert [kind for kind, _label in listed(card)].count("Certificate") == 1
        serial = re.search(r"serial: +(\w+)", listed(card)["Certificate", "logon"])
        assert serial and int(serial[1], 16) == new.serial_number


@pytest.mark.parametrize("remove", [False, True])
def test_a_certificate_of_a_new_key_takes_the_name_of_the_old_one(remove: bool, card: Card, authority: Authority, tmp_path: Path) -> None:
    for number in range(2):
        file = authority.pfx(tmp_path / f"{number}.pfx", rsa.generate_private_key(65537, 2048))
        entry = {"name": "logon", "pkcs12_path": str(file), "pkcs12_password": "correct horse", "remove_old_key": remove}
        assert put(card, [entry])["changed"]
    with open_token(card.uri) as token:
        assert len([one for one in token.certificates() if one.label == "logon"]) == 1
        assert len(token.keys()) == (1 if remove else 2)


def test_a_replacement_that_was_interrupted_is_finished(card: Card, authority: Authority) -> None:
    with open_token(card.uri) as token:
        key = token.generate_rsa("logon", 2048)
        old, new = authority.issue(key.public_key()), authority.issue(key.public_key())
        token.store_certificate("logon", key.id, old.public_bytes(DER))
        # died after the new one was written, before the old one was removed
        other = bytes(20)
        token.store_certificate("logon", other, new.public_bytes(DER))
        next(one for one in token._objects(pkcs11.ObjectClass.CERTIFICATE, None, other))[pkcs11.Attribute.ID] = key.id
    assert put(card, [{"name": "logon", "content": pem(new)}])["changed"]
    assert put(card, [{"name": "logon", "content": pem(new)}])["changed"] is False
    with open_token(card.uri) as token:
        assert [one.certificate.der for one in token.certificates()] == [new.public_bytes(DER)]


def test_deleted_removes_certificate_and_key(card: Card, authority: Authority, tmp_path: Path) -> None:
    file = authority.pfx(tmp_path / "alice.pfx", rsa.generate_private_key(65537, 2048))
    put(card, [{"name": "logon", "pkcs12_path": str(file), "pkcs12_password": "correct horse"}])
    kept = put(card, [{"name": "Logon", "delete_key": False}], "deleted")
    assert kept["changed"]
    assert {*listed(card)} == {("Private Key", "logon"), ("Public Key", "logon"), ("Certificate", "Corp Issuing CA")}
    assert put(card, [{"name": "logon"}], "deleted", check=True)["changed"]
    assert put(card, [{"name": "logon"}], "deleted")["changed"]
    assert {*listed(card)} == {("Certificate", "Corp Issuing CA")}
    assert put(card, [{"name": "logon"}], "deleted")["changed"] is False


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"upn": "bruno@corp.example"}, "is for alice@corp.example, and not for upn 'bruno@corp.example'"),
        ({"pkcs12_password": "wrong"}, "the password is wrong"),
        ({"sha256": "00:11"}, "sha256 is '00:11'"),
        ({"pkcs12_path": "/nowhere.pfx"}, "cannot be read: No such file"),
        ({"path": "/x"}, "path and pkcs12_path are given"),
    ],
)
def test_a_wrong_file_changes_nothing(entry: dict[str, Any], why: str, card: Card, authority: Authority, tmp_path: Path) -> None:
    file = authority.pfx(tmp_path / "alice.pfx", ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(UserError, match=re.escape(why)) as caught:
        put(card, [{"name": "logon", "pkcs12_path": str(file), "pkcs12_password": "correct horse", **entry}])
    assert "correct horse" not in str(caught.value)
    assert listed(card) == {}


def test_a_certificate_without_its_key_on_the_card_is_refused(card: Card, authority: Authority) -> None:
    stranger = authority.issue(ec.generate_private_key(ec.SECP256R1()).public_key())
    with pytest.raises(UserError, match="has no key for the certificate CN=alice"):
        put(card, [{"name": "logon", "content": pem(stranger)}])


# ---- faults


def test_a_wrong_pin_is_said_and_tried_once(card: Card) -> None:
    with pytest.raises(token_errors.PinIncorrect, match="token 'alice': the PIN is wrong; a few tries") as caught:
        open_token(card.token, "000000")
    assert "000000" not in str(caught.value)


def test_an_absent_card(card: Card, box: CardBox) -> None:
    with pytest.raises(token_errors.TokenAbsent, match="no such token; 'alice' is there"):
        open_token(f"pkcs11:token=bob?module-path={LIBRARY}")
    shutil.rmtree(box.folder / "tokens")
    (box.folder / "tokens").mkdir()
    with pytest.raises(token_errors.TokenAbsent, match="no initialized token is there"):
        open_token(card.uri)


def test_two_cards_that_fit(card: Card, box: CardBox) -> None:
    box.make("bob")
    with pytest.raises(token_errors.TokenAmbiguous, match="2 tokens fit: pkcs11:token="):
        open_token(f"pkcs11:manufacturer=SoftHSM%20project?module-path={LIBRARY}")


def test_a_card_that_was_never_set_up(box: CardBox) -> None:
    (box.folder / "tokens").mkdir(parents=True)
    (box.folder / "softhsm2.conf").write_text(f"directories.tokendir = {box.folder}/tokens\n")
    with pytest.raises(token_errors.TokenNotInitialized, match="set it up"):
        open_token(f"pkcs11:model=SoftHSM%20v2?module-path={LIBRARY}", "1234")


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("?module-path=/nowhere/card.so", "there is no such file"),
        ("?module-path=/etc/hostname", "is it a PKCS#11 library"),
        ("?module-name=acme-card", "not found in the usual folders"),
    ],
)
def test_a_missing_library(query: str, why: str) -> None:
    with pytest.raises(token_errors.ModuleMissing, match=re.escape(why)):
        open_token("pkcs11:token=alice" + query)


def test_keys_that_are_not_there_or_are_two(token: Token, card: Card) -> None:
    with pytest.raises(token_errors.NoSuchKey, match="no private key with label 'logon'"):
        token.find_key("logon")
    for _turn in range(2):
        token.generate_ec("logon", "secp256r1")
    with pytest.raises(token_errors.KeyAmbiguous, match="2 private keys have label 'logon'"):
        token.find_key("logon")


def test_without_the_pin_nothing_is_written(card: Card) -> None:
    with open_token(card.token) as token:
        for attempt in (lambda: token.generate_rsa("logon", 2048), lambda: token.find_key("logon"), lambda: token.delete_key(b"x")):
            with pytest.raises(token_errors.PinMissing, match="give pin"):
                attempt()


@pytest.mark.parametrize(
    ("content", "mode", "why"), [("1234\n", 0o644, "chmod 600"), ("\n", 0o600, "is empty"), (None, 0, "cannot be read")]
)
def test_the_pins_file(content: str | None, mode: int, why: str, card: Card, tmp_path: Path) -> None:
    file = tmp_path / "pin"
    if content is not None:
        file.write_text(content)
        file.chmod(mode)
    with pytest.raises(UserError, match=re.escape(why)):
        open_token(f"{card.token}&pin-source=file:{file}")


# ---- what SoftHSM cannot: a card that locks itself and that is full


@pytest.fixture
def shim(card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], str]:
    """`shim(tries, room)`: the URI of the card through a library that counts tries and objects."""
    if not shutil.which("gcc"):
        pytest.skip("needs gcc")
    library, state = tmp_path / "shim.so", tmp_path / "shim.state"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, Path(__file__).with_name("card_shim.c"), "-ldl"], check=True)
    monkeypatch.setenv("CARD_SHIM_STATE", str(state))
    monkeypatch.setenv("CARD_SHIM_LIBRARY", LIBRARY)

    def prepare(tries: int, room: int) -> str:
        state.write_text(f"{tries} {room}\n")
        return f"pkcs11:token=alice?module-path={library}"

    return prepare


def test_the_last_try_is_not_spent(shim: Callable[[int, int], str], card: Card) -> None:
    uri = shim(3, 99)
    with pytest.raises(token_errors.PinIncorrect, match="a few tries are left"):
        open_token(uri, "000000")
    with pytest.raises(token_errors.PinIncorrect, match="one try is left"):
        open_token(uri, "000000")
    for pin in ("000000", card.pin):
        with pytest.raises(token_errors.PinLastTry, match="was not spent"):
            open_token(uri, pin)
    with pytest.raises(token_errors.PinLocked, match="the card has locked itself"):
        open_token(uri, "000000", spend_last_try=True)
    with pytest.raises(token_errors.PinLocked, match="unlock it with the PUK"):
        open_token(uri, card.pin, spend_last_try=True)


def test_the_last_try_with_the_right_pin_opens_the_card(shim: Callable[[int, int], str], card: Card) -> None:
    uri = shim(1, 99)
    with open_token(uri, card.pin, spend_last_try=True) as token:
        assert token.logged_in
    with open_token(uri, card.pin) as token:
        assert token.logged_in


def test_a_full_card_loses_nothing(shim: Callable[[int, int], str], card: Card, authority: Authority, tmp_path: Path) -> None:
    with open_token(card.uri) as token:
        key = token.generate_rsa("logon", 2048)
    put(card, [{"name": "logon", "content": pem(authority.issue(key.public_key()))}])
    before = listed(card)
    uri = shim(3, 0)
    with open_token(uri, card.pin) as token:
        for attempt in (
            lambda: token.generate_rsa("second", 2048),
            lambda: token.store_certificate("logon", key.id, authority.issue(key.public_key()).public_bytes(DER)),
        ):
            with pytest.raises(token_errors.TokenFull, match="it is full; nothing on it was removed"):
                attempt()
    file = authority.pfx(tmp_path / "bob.pfx", ec.generate_private_key(ec.SECP256R1()))
    shim(3, 1)  # room for half a key pair
    arguments = {
        "uri": uri,
        "pin": card.pin,
        "state": "merged",
        "config": [{"name": "2", "pkcs12_path": str(file), "pkcs12_password": "correct horse"}],
    }
    resource = SmartCard()
    checked = ArgumentSpecValidator(resource.argument_spec()).validate(arguments)
    result = run(resource, checked.validated_parameters, check_mode=False, warn=lambda text: None)
    assert result["failed"]
    assert "it is full" in result["msg"]
    assert listed(card).keys() - {("Certificate", "Corp Issuing CA")} == before.keys()
    assert listed(card)["Certificate", "logon"] == before["Certificate", "logon"]


def test_a_disk_that_is_full_under_softhsm(box: CardBox, card: Card, authority: Authority) -> None:
    """The real thing: a small file system that fills up."""
    with open_token(card.uri) as token:
        key = token.generate_rsa("logon", 2048)
        old = authority.issue(key.public_key())
        token.store_certificate("logon", key.id, old.public_bytes(DER))
    tokens, kept = box.folder / "tokens", box.folder / "kept"
    shutil.copytree(tokens, kept)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "none", tokens], capture_output=True, check=False).returncode:
        pytest.skip("cannot mount here")
    try:
        shutil.copytree(kept, tokens, dirs_exist_ok=True)
        with pytest.raises(OSError, match="No space"):
            (tokens / "filler").write_bytes(bytes(1 << 20))
        with open_token(card.uri) as token:
            with pytest.raises(token_errors.TokenError):
                token.store_certificate("logon", key.id, authority.issue(key.public_key()).public_bytes(DER))
            assert [one.certificate.der for one in token.certificates()] == [old.public_bytes(DER)]
    finally:
        subprocess.run(["umount", "-l", tokens], check=True)
