# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import datetime
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from ansible_collections.certlogon.core.plugins.module_utils.directory import session, spnego_bind
from ansible_collections.certlogon.core.plugins.module_utils.directory.connection import ConnectionOptions
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError

OPTIONS = {"server": ["dc1"], "username": "u@corp.example", "password": "p", "auth": "ntlm", "timeout": 1}
NOW = datetime.datetime.now(datetime.timezone.utc)


def root_dse(ahead=datetime.timedelta(0)):
    now = datetime.datetime.now(datetime.timezone.utc)
    return session.Entry("", {"currentTime": [(now - ahead).strftime("%Y%m%d%H%M%S.0Z").encode()]})


@pytest.mark.parametrize(
    ("code", "message", "reason"),
    [
        (49, "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data 52e, v1db1", "wrong user name or password"),
        (49, "comment: AcceptSecurityContext error, data 773, v1db1", "the password must be changed"),
        (49, "comment: AcceptSecurityContext error, data 533, v1db1", "the account is disabled"),
        (49, "comment: AcceptSecurityContext error, data 57, v1db1", "takes no such sign-in over TLS"),
        (49, "SASL:[GSS-SPNEGO]: NT_STATUS_PASSWORD_EXPIRED", "the password has expired"),
        (8, "BindSimple: Transport encryption required.", "asks for stronger protection"),
        (49, "something else", "invalidCredentials something else"),
    ],
)
def test_refused_binds_have_a_reason(code, message, reason):
    assert reason in session._bind_reason({"result": code, "description": "invalidCredentials", "message": message})


@pytest.mark.parametrize(("hours", "side"), [(2, "120 minutes ahead of"), (-2, "120 minutes behind")])
def test_a_clock_that_is_off(hours, side):
    difference = session._time_difference(root_dse(datetime.timedelta(hours=hours)))
    warnings = []
    session._judge_clock(ConnectionOptions.from_params(OPTIONS), "dc1", difference, warnings.append)
    assert len(warnings) == 1 and side in warnings[0]
    with pytest.raises(UserError, match=side):
        session._judge_clock(ConnectionOptions.from_params({**OPTIONS, "auth": "kerberos"}), "dc1", difference, warnings.append)


def test_a_clock_within_tolerance_is_not_mentioned():
    warnings = []
    difference = session._time_difference(root_dse(datetime.timedelta(minutes=4)))
    session._judge_clock(ConnectionOptions.from_params(OPTIONS), "dc1", difference, warnings.append)
    assert not warnings


def test_entries_know_no_case():
    entry = session.Entry("CN=x", {"whenChanged": [b"1"], "Flags": [b"-5"], "empty": []})
    assert (entry.text("WHENCHANGED"), entry.integer("flags"), entry.has("empty"), entry.raw("none")) == ("1", -5, False, None)


def test_dns_name():
    assert session.dns_name("DC=corp,DC=example") == "corp.example"


@pytest.mark.parametrize(("algorithm", "name"), [(hashes.SHA256(), "sha256"), (hashes.SHA384(), "sha384"), (hashes.SHA512(), "sha512")])
def test_endpoint_binding(algorithm, name):
    """RFC 5929 section 4.1: the hash of the signature's own algorithm."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "dc1")])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1, NOW, NOW + datetime.timedelta(days=1))
    der = builder.sign(key, algorithm).public_bytes(encoding=__import__("cryptography").hazmat.primitives.serialization.Encoding.DER)
    assert spnego_bind.endpoint_binding(der) == b"tls-server-end-point:" + hashlib.new(name, der).digest()


class Pipe:
    """A socket that gives its bytes in small pieces."""

    def __init__(self, data: bytes) -> None:
        self.data, self.sent = data, b""

    def recv(self, size: int) -> bytes:
        piece, self.data = self.data[: min(size, 3)], self.data[min(size, 3) :]
        return piece

    def sendall(self, data: bytes) -> None:
        self.sent += data


class Rot:
    """A context that adds one to every octet."""

    class Result:
        def __init__(self, data: bytes) -> None:
            self.data = data

    def wrap(self, data: bytes) -> Rot.Result:
        return self.Result(bytes((octet + 1) % 256 for octet in data))

    def unwrap(self, data: bytes) -> Rot.Result:
        return self.Result(bytes((octet - 1) % 256 for octet in data))


def test_sealed_records_are_put_together_from_pieces():
    sealed = spnego_bind.SealedSocket(Pipe(b"\0\0\0\x05ifmmp\0\0\0\x01b"), Rot())
    assert [sealed.recv(4), sealed.recv(4), sealed.recv(4), sealed.recv(4)] == [b"hell", b"o", b"a", b""]


def test_sealed_records_carry_their_length():
    pipe = Pipe(b"")
    spnego_bind.SealedSocket(pipe, Rot()).sendall(b"hello")
    assert pipe.sent == b"\0\0\0\x05ifmmp"
