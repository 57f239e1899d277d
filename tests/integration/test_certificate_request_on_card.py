# SPDX-License-Identifier: GPL-3.0-or-later
"""certificate_request with keys on a card (SoftHSM), against a small authority on the loopback; OpenSC reads the card. Needs no domain."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from cryptography import x509

from ansible_collections.certlogon.core.plugins.module_utils.certificates import keys, signing_request
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate_info import CertificateInfo
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate_request import CertificateRequest
from ansible_collections.certlogon.core.plugins.module_utils.certificates.pkcs11 import open_token
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import run
from ansible_collections.certlogon.core.tests.unit.certificates.enrollment_server import DER, PEM, Authority, Server
from lab.cards import LIBRARY, Card, CardBox

pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed (extra cards)")
pytestmark = pytest.mark.skipif(not Path(LIBRARY).exists(), reason="SoftHSM is not installed (softhsm2)")

Enroll = Callable[..., dict[str, Any]]


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Card:
    box = CardBox.here(tmp_path / "cards")
    for name, value in box.environment.items():
        monkeypatch.setenv(name, value)
    return box.make("alice")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "tls").mkdir()
    made = Server(Authority(), tmp_path / "tls")
    yield made
    made.close()


@pytest.fixture
def enroll(server: Server, card: Card, tmp_path: Path) -> Enroll:
    def call(*, check: bool = False, key: Mapping[str, Any] | None = None, **entry: Any) -> dict[str, Any]:
        own = {"uri": f"pkcs11:token={card.name};object=logon?module-path={LIBRARY}", "pin": card.pin, **(key or {})}
        wish = {"path": str(tmp_path / "alice.pem"), "subject": "CN=alice", "key": own, **entry}
        arguments = {**server.options(), "config": [{name: value for name, value in wish.items() if value is not None}]}
        resource = CertificateRequest()
        checked = ArgumentSpecValidator(resource.argument_spec(), **resource.rules()).validate(arguments)
        assert not checked.error_messages, checked.error_messages
        result = run(resource, checked.validated_parameters, check_mode=check, warn=lambda _text: None)
        assert card.pin not in str(result)
        return result

    return call


def on_card(card: Card, kind: str) -> bytes:
    """An object as OpenSC's tool reads it."""
    command = ["pkcs11-tool", "--module", LIBRARY, "--token-label", card.name, "--login", "--pin", "env:CARD_PIN"]
    command += ["--read-object", "--type", kind, "--label", "logon"]
    return subprocess.run(command, env={**os.environ, "CARD_PIN": card.pin}, capture_output=True, check=False).stdout


@pytest.mark.parametrize("kind", [{"type": "rsa", "size": 2048}, {"type": "ec", "curve": "secp256r1"}], ids=["rsa", "ec"])
def test_check_run_again_renew(card: Card, enroll: Enroll, server: Server, tmp_path: Path, kind: dict[str, Any]):
    assert enroll(check=True, key=kind)["changed"] and on_card(card, "cert") == b"" and server.authority.requests == []
    done = enroll(key=kind)
    assert done["certificates"][0]["status"] == "valid"
    first = x509.load_pem_x509_certificate((tmp_path / "alice.pem").read_bytes())
    assert on_card(card, "cert") == first.public_bytes(DER) and sorted(path.name for path in tmp_path.glob("alice*")) == [
        "alice.pem",
        "alice.pem.request.json",
    ]
    assert not enroll(key=kind)["changed"] and len(server.authority.requests) == 1
    assert enroll(key=kind, subject="CN=alice,O=New")["changed"]
    second = x509.load_pem_x509_certificate((tmp_path / "alice.pem").read_bytes())
    assert second.public_key() == first.public_key(), "the key on the card is kept"
    assert on_card(card, "cert") == second.public_bytes(DER) and not enroll(key=kind, subject="CN=alice,O=New")["changed"]
    found = run(CertificateInfo(), _information(card), check_mode=False, warn=pytest.fail)["certificates"]
    assert [(one["subject"], one["label"], one["has_private_key"]) for one in found] == [("CN=alice,O=New", "logon", True)]


def _information(card: Card) -> dict[str, Any]:
    checked = ArgumentSpecValidator(CertificateInfo.argument_spec()).validate({"tokens": [{"uri": card.uri, "pin": card.pin}]})
    return dict(checked.validated_parameters)


def test_pending_then_put_on_the_card(card: Card, enroll: Enroll, server: Server):
    server.authority.disposition = "pending"
    assert enroll(key={"type": "ec"})["certificates"][0]["status"] == "pending" and on_card(card, "cert") == b""
    assert not enroll(key={"type": "ec"})["changed"]
    server.authority.issue(1)
    assert enroll(key={"type": "ec"})["certificates"][0]["status"] == "valid"
    assert on_card(card, "cert") == server.authority.issued[1].public_bytes(DER)


def test_another_kind_of_key_is_not_made_beside_the_old_one(enroll: Enroll, server: Server):
    enroll(key={"type": "ec"})
    other = enroll(key={"type": "rsa"})
    assert other["failed"] and "the key 'logon' on the token is EC secp256r1, not RSA 2048; name another label" in other["msg"]
    assert len(server.authority.requests) == 1


def test_nothing_is_requested_for_a_card_that_does_not_open(enroll: Enroll, server: Server):
    for key, message in (({"pin": "0000"}, "PIN"), ({"uri": f"pkcs11:token=absent;object=logon?module-path={LIBRARY}"}, "absent")):
        with pytest.raises(UserError, match=message):
            enroll(key=key)
    assert server.log == []


def test_an_agents_key_on_a_card(card: Card, enroll: Enroll, server: Server, tmp_path: Path):
    uri = f"pkcs11:token={card.name};object=agent?module-path={LIBRARY}"
    with open_token(uri, card.pin) as token:
        request = signing_request.build(token.generate_rsa("agent", 2048), purposes=["1.3.6.1.4.1.311.20.2.1"])
    (tmp_path / "agent.pem").write_bytes(server.authority.sign(x509.load_der_x509_csr(request)).public_bytes(PEM))
    agent = {"agent_certificate_path": str(tmp_path / "agent.pem"), "agent_key_uri": uri, "agent_key_pin": card.pin}
    server.authority.disposition = "pending"
    enroll(on_behalf_of={"requester": "CORP\\alice", **agent}, key={"type": "ec"})
    sent = server.authority.requests[0][0]
    options = ["-inform", "pem", "-noverify", "-out", str(tmp_path / "inner.der")]
    judged = subprocess.run(["openssl", "cms", "-verify", *options], input=sent, capture_output=True, check=False)
    assert judged.returncode == 0, judged.stderr
    inner = x509.load_der_x509_csr((tmp_path / "inner.der").read_bytes())
    assert inner.is_signature_valid and keys.kind_of(inner.public_key()).curve == "secp256r1"
