# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate: NTLM and Basic by tables, against pyspnego's client. Kerberos needs a domain: tests/integration/test_ca_host_winrm.py."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime, timedelta, timezone

import pytest
import spnego
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from spnego.channel_bindings import GssChannelBindings

pytest.importorskip("gssapi", reason="the stand-in's gate needs it (the extra kerberos)")

from lab.windows_ca.gate import Gate, end_point_binding, offers_kerberos

PASSWORD = "Not-a-secret-1"


def certificate(algorithm=None):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ca1.corp.example")])
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    return builder.sign(key, algorithm or hashes.SHA256()).public_bytes(serialization.Encoding.DER)


DER = certificate()


@pytest.fixture
def gate(tmp_path):
    users = tmp_path / "ntlm_users"
    users.write_text(f"CORP:alice:{PASSWORD}\ncorp.example:alice:{PASSWORD}\n:alice@corp.example:{PASSWORD}\n")
    return Gate(tmp_path / "keytab", users, lambda: DER)


def sign_in(conversation, user, password, protocol="ntlm", header="Negotiate", binding=None):
    bindings = None if binding is None else GssChannelBindings(application_data=binding)
    options = spnego.NegotiateOptions.use_ntlm if protocol == "ntlm" else spnego.NegotiateOptions.use_negotiate
    # Without a cached ticket pyspnego's client offers NTLM only.
    client = spnego.client(user, password, "ca1.corp.example", protocol=protocol, channel_bindings=bindings, options=options)
    token, answer = client.step(), None
    while token:
        answer = conversation.step(f"{header} {base64.b64encode(token).decode()}")
        proof = next((value.partition(" ")[2] for value in answer.www_authenticate if " " in value), "")
        token = client.step(base64.b64decode(proof)) if proof else None
    return answer, client


@pytest.mark.parametrize("user", ["CORP\\alice", "corp\\ALICE", "corp.example\\alice", "alice@corp.example"])
@pytest.mark.parametrize(("protocol", "header"), [("ntlm", "NTLM"), ("ntlm", "Negotiate"), ("negotiate", "Negotiate")])
def test_ntlm_in_every_wrapping_and_spelling(gate, user, protocol, header):
    conversation = gate.new_conversation(allow={"negotiate", "ntlm"})
    answer, client = sign_in(conversation, user, PASSWORD, protocol, header)
    assert answer.authenticated == "CORP\\alice"
    assert conversation.method == "ntlm"
    assert conversation.step(None).authenticated == "CORP\\alice", "the connection stays signed in"
    sealed = client.wrap_winrm(b"hello")
    assert conversation.unwrap(sealed.header, sealed.data) == b"hello"
    header, data = conversation.wrap(b"welcome")
    assert client.unwrap_winrm(header, data) == b"welcome"


@pytest.mark.parametrize(
    ("user", "password", "error"),
    [
        ("CORP\\alice", "wrong", "NTLM for CORP\\alice"),
        ("CORP\\nobody", PASSWORD, "NTLM for CORP\\nobody"),
        ("OTHER\\alice", PASSWORD, "NTLM for OTHER\\alice"),
        ("alice", PASSWORD, "NTLM for \\alice"),
    ],
)
def test_wrong_credentials(gate, user, password, error):
    conversation = gate.new_conversation(allow={"negotiate"})
    answer = sign_in(conversation, user, password)[0]
    assert answer.authenticated is None
    assert error in answer.error
    assert answer.www_authenticate == ["Negotiate"]
    assert conversation.step(None).authenticated is None


BINDINGS = {"right": end_point_binding(DER), "wrong": b"tls-server-end-point:" + bytes(32), "none": None}


@pytest.mark.parametrize("protocol", ["ntlm", "negotiate"])
@pytest.mark.parametrize(
    ("binding", "require", "refusal"),
    [
        ("right", True, None),
        ("right", False, None),
        ("none", False, None),
        ("none", True, "channel bindings are required"),
        ("wrong", True, "not those of this server's certificate"),
        ("wrong", False, "not those of this server's certificate"),
    ],
)
def test_channel_bindings(gate, protocol, binding, require, refusal):
    conversation = gate.new_conversation(allow={"negotiate"}, require_channel_binding=require)
    answer = sign_in(conversation, "CORP\\alice", PASSWORD, protocol, binding=BINDINGS[binding])[0]
    if refusal:
        assert answer.authenticated is None and refusal in answer.error
    else:
        assert answer.authenticated == "CORP\\alice"


@pytest.mark.parametrize(("algorithm", "name"), [(hashes.SHA256(), "sha256"), (hashes.SHA384(), "sha384"), (hashes.SHA512(), "sha512")])
def test_end_point_binding_hashes_as_the_certificate_is_signed(algorithm, name):
    der = certificate(algorithm)
    assert end_point_binding(der) == b"tls-server-end-point:" + hashlib.new(name, der).digest()
    assert end_point_binding(None) is None


def basic(text):
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("header", "account"),
    [
        (basic(f"CORP\\alice:{PASSWORD}"), "CORP\\alice"),
        (basic(f"alice@corp.example:{PASSWORD}"), "CORP\\alice"),
        (basic("CORP\\alice:wrong"), None),
        (basic(f"alice:{PASSWORD}"), None),
        (basic("no colon"), None),
        ("Basic ????", None),
        ("Negotiate " + base64.b64encode(b"garbage").decode(), None),
        ("Negotiate " + base64.b64encode(b"NTLMSSP\0\x03\0\0\0").decode(), None),
        ("Negotiate " + base64.b64encode(b"NTLMSSP\0\x01\0\0\0").decode(), None),
        ("NTLM TlRMTVNTUAABAAAA", None),
        ("Bearer x", None),
        ("", None),
        (None, None),
    ],
)
def test_basic_and_what_nobody_understands(gate, header, account):
    answer = gate.new_conversation(allow={"negotiate", "basic"}).step(header)
    assert answer.authenticated == account
    if account is None:
        assert answer.error
        assert answer.www_authenticate == ["Negotiate", 'Basic realm="WSMAN"']


def test_basic_only_with_tls(tmp_path, gate):
    plain = Gate(tmp_path / "keytab", tmp_path / "ntlm_users", lambda: None)
    assert plain.new_conversation(allow={"basic"}).step(basic(f"CORP\\alice:{PASSWORD}")).error == "Basic without TLS"


def test_kerberos_is_told_from_ntlm():
    assert offers_kerberos(bytes.fromhex("6082") + bytes.fromhex("06092a864886f712010202") + b"\x01\x00")
    assert not offers_kerberos(b"NTLMSSP\0")


def test_an_unknown_scheme_cannot_be_offered(gate):
    with pytest.raises(ValueError, match="digest"):
        gate.new_conversation(allow={"digest"})
