# SPDX-License-Identifier: GPL-3.0-or-later
"""certlogon.core.enroll_card with real ansible-playbook: first with an authority that a person carries requests to, then with AD CS."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from ansible_collections.certlogon.core.plugins.module_utils.certificates.pkcs11 import open_token
from ansible_collections.certlogon.core.tests.integration.card_authority import ALICE, Authority, pem
from lab.cards import LIBRARY, Card, CardBox

pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed (extra cards)")
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
def enroll(playbook: Callable[..., Any], card: Card, tmp_path: Path) -> Callable[..., Any]:
    """`enroll(variables, check=False, fails=False)`: the playbook for the card `alice`; the PIN comes from its file."""

    def call(variables: Mapping[str, Any] | None = None, **options: Any) -> Any:
        given = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "certlogon_card_upn": ALICE,
            "certlogon_card_uri": card.uri,
            "certlogon_card_folder": str(tmp_path / "state"),
            "certlogon_enrollment_method": "file",
            "certlogon_card_template": "",
            "certlogon_card_crl_check": "ignore",
            **(variables or {}),
        }
        inventory = tmp_path / "inventory.yml"
        inventory.write_text(json.dumps({"cards": {"hosts": {"alice": given}}}))
        run = playbook("certlogon.core.enroll_card", inventory=inventory, **options)
        assert card.pin not in run.output
        assert card.pin not in json.dumps([task.result for task in run.tasks])
        return run

    return call


def private_keys(card: Card) -> list[Any]:
    with open_token(card.uri) as token:
        return [one for one in token.contents().keys if one.private]


def certificates(card: Card) -> dict[str, bytes]:
    with open_token(card.uri) as token:
        return {one.label: one.certificate.der for one in token.certificates()}


def answer(state: Path, authority: Authority, upn: str = ALICE) -> x509.Certificate:
    """What a person brings back for the request in the folder."""
    request = x509.load_pem_x509_csr((state / f"{ALICE}.pem.csr").read_bytes())
    assert request.is_signature_valid
    issued = authority.issue(request.public_key(), upn)
    (state / f"{ALICE}.pem.answer").write_text(pem(issued, authority.certificate))
    return issued


# ---- an authority elsewhere


def test_a_request_waits_is_answered_and_the_card_is_then_left_alone(enroll: Callable[..., Any], card: Card, tmp_path: Path) -> None:
    assert "a key would be made on the card" in enroll(check=True).output
    (tmp_path / "state").mkdir(mode=0o700)
    foreseen = enroll(check=True)
    assert [task.task.rpartition(" : ")[2] for task in foreseen.changed] == ["Request a certificate for the card's key"]
    assert private_keys(card) == []
    first = enroll()
    assert "run the playbook again once it is approved" in first.output
    (key,) = private_keys(card)
    assert (key.label, key.sensitive, key.extractable, key.generated) == ("logon", True, False, True)
    assert not enroll().changed, "still waiting: nothing to do"
    assert certificates(card) == {}
    authority = Authority()
    issued = answer(tmp_path / "state", authority)
    assert enroll().changed
    assert certificates(card).keys() == {"logon", "Corp Issuing CA"}
    again = enroll()
    assert [task.task for task in again.changed] == []
    assert x509.load_der_x509_certificate(certificates(card)["logon"]) == issued
    assert private_keys(card) == [key]


def test_a_good_card_is_left_alone_though_nothing_else_remembers_it(enroll: Callable[..., Any], card: Card, tmp_path: Path) -> None:
    enroll()
    answer(tmp_path / "state", Authority())
    enroll()
    before = certificates(card)
    for file in (tmp_path / "state").iterdir():
        file.unlink()
    enroll()
    assert not list((tmp_path / "state").glob("*.csr")), "nothing was requested"
    assert certificates(card) == before
    assert not enroll().changed


def test_a_certificate_for_another_user_is_not_put_on_the_card(enroll: Callable[..., Any], card: Card, tmp_path: Path) -> None:
    enroll()
    answer(tmp_path / "state", Authority(), upn="bruno@corp.example")
    failed = enroll(fails=True)
    assert "bruno@corp.example" in failed.output or "UPN:alice@corp.example" in failed.output
    assert certificates(card) == {}


def test_a_pfx_is_imported(enroll: Callable[..., Any], card: Card, tmp_path: Path) -> None:
    file = Authority().pfx(tmp_path / "alice.pfx", rsa.generate_private_key(65537, 2048))
    variables = {"certlogon_card_pkcs12_path": str(file), "certlogon_card_pkcs12_password": "correct horse"}
    assert enroll(variables, check=True).changed
    first = enroll(variables)
    assert "correct horse" not in first.output
    assert certificates(card).keys() == {"logon", "Corp Issuing CA"}
    assert not enroll(variables).changed
    assert "is for alice@corp.example" in enroll({**variables, "certlogon_card_upn": "bruno@corp.example"}, fails=True).output
    assert "was imported" in enroll(fails=True).output


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"certlogon_card_uri": f"pkcs11:token=bob?module-path={LIBRARY}"}, "no such token; 'alice' is there"),
        ({"certlogon_card_uri": "pkcs11:token=alice?module-path=/opt/acme.so"}, "there is no such file"),
        ({"certlogon_card_uri": "pkcs11:token=alice?pin-value=12345"}, "holds a PIN"),
        ({"certlogon_card_uri": f"pkcs11:token=alice?module-path={LIBRARY}", "certlogon_card_pin": "wrong1"}, "the PIN is wrong"),
    ],
)
def test_what_is_wrong_with_the_card_is_said_once(variables: Mapping[str, Any], why: str, enroll: Callable[..., Any], card: Card) -> None:
    failed = enroll(variables, fails=True)
    assert why in failed.output
    assert len(failed.failed) == 1
    assert "wrong1" not in json.dumps([task.result for task in failed.tasks])


def test_the_pin_may_come_from_the_environment(enroll: Callable[..., Any], card: Card) -> None:
    enroll({"certlogon_card_uri": card.token}, environment={"CERTLOGON_CARD_PIN": card.pin})
    assert private_keys(card)
