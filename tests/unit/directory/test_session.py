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


class Paged(session.Directory):
    """Answers a search with one page after another, and counts them."""

    def __init__(self, pages):
        self._pages = pages
        self._connection = self
        self.asked = []

    def _do(self, subject, operation, *arguments, **named):
        number = int(named["paged_cookie"] or b"0")
        self.asked.append(number)
        cookie = str(number + 1).encode() if number + 1 < len(self._pages) else b""
        self.result = {"controls": {"1.2.840.113556.1.4.319": {"value": {"cookie": cookie}}}}
        entries = [{"type": "searchResEntry", "dn": dn, "raw_attributes": {}} for dn in self._pages[number]]
        return [*entries, {"type": "searchResRef"}]


@pytest.mark.parametrize("host", ["dc1..corp.example", ".corp.example", "a" * 64 + ".example"])
def test_a_server_whose_name_is_none_is_passed_over(host):
    with (
        pytest.raises(UserError, match=r"no domain controller answered: .* does not answer"),
        session.connect(ConnectionOptions.from_params({**OPTIONS, "server": [host]}), print),
    ):
        pass


def test_a_stream_asks_for_a_page_when_it_comes_to_it():
    directory = Paged([["a", "b"], [], ["c"]])
    stream = directory.stream("DC=corp", attributes=iter(["cn"]))
    assert [next(stream).dn, next(stream).dn] == ["a", "b"] and directory.asked == [0]
    assert [entry.dn for entry in stream] == ["c"] and directory.asked == [0, 1, 2]
    assert [entry.dn for entry in directory.search("DC=corp")] == ["a", "b", "c"]
