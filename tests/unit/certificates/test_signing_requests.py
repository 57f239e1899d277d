# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests and enrollment agents' messages, judged by openssl."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from ansible_collections.certlogon.core.plugins.module_utils.certificates import enrollment_agent, keys, signing_request
from ansible_collections.certlogon.core.plugins.module_utils.certificates.keys import KeyKind
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError

pytest.importorskip("hypothesis", reason="property tests need hypothesis")

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certlogon.core.tests.unit.certificates.samples import NOW, der, key, make, name
from ansible_collections.certlogon.core.tests.unit.fuzzing import mutated

KINDS = (KeyKind("rsa", size=2048), KeyKind("ec", curve="secp384r1"))


def openssl(*arguments: str, stdin: bytes = b"") -> str:
    done = subprocess.run(["openssl", *arguments], input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return (done.stdout + done.stderr).decode("utf-8", "replace")


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_openssl_reads_the_request(kind: KeyKind):
    content = signing_request.build(
        keys.generate(kind),
        subject_text="CN=web1,O=Corp\\, Example",
        names=["DNS:web1.corp.example", "UPN:web1@corp.example", "SID:S-1-5-21-1-2-3-4"],
        purposes=["1.3.6.1.5.5.7.3.1"],
        template="CorpWeb",
        sid="S-1-5-21-1-2-3-4",
        digest="sha384",
    )
    text = openssl("req", "-noout", "-text", "-verify", "-nameopt", "RFC2253", stdin=signing_request.pem(content).encode())
    assert "verify OK" in text and "Subject: CN=web1,O=Corp\\, Example" in text
    named = r"DNS:web1\.corp\.example, othername: ?UPN::?web1@corp\.example, URI:tag:microsoft\.com,2022-09-14:sid:S-1-5-21-1-2-3-4\s"
    assert re.search(named, text), "OpenSSL 3.5 has one colon, earlier ones two"
    assert "TLS Web Server Authentication" in text and "1.3.6.1.4.1.311.20.2:" in text
    assert re.search(r"(1\.3\.6\.1\.4\.1\.311\.25\.2|Microsoft NTDS CA Extension):", text)
    assert "sha384" in text.lower()


def test_names_are_critical_without_a_subject():
    content = signing_request.build(keys.generate(KINDS[1]), names=["DNS:x"])
    assert x509.load_der_x509_csr(content).extensions[0].critical


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("digest", ["sha256", "sha512"])
def test_openssl_verifies_the_agents_message(tmp_path: Path, kind: KeyKind, digest: str):
    agent_key = keys.generate(kind)
    builder = x509.CertificateBuilder(name("agent"), name("agent"), agent_key.public_key(), 2**63, NOW, NOW.replace(year=2036))
    agent = builder.sign(agent_key, hashes.SHA256())
    request = signing_request.build(key(), subject_text="CN=alice")
    message = enrollment_agent.wrap(request, "CORP\\alice", der(agent), agent_key, digest)
    (tmp_path / "agent.pem").write_bytes(agent.public_bytes(serialization.Encoding.PEM))
    options = ("-inform", "der", "-CAfile", str(tmp_path / "agent.pem"), "-purpose", "any", "-no_check_time")
    assert "successful" in openssl("cms", "-verify", *options, "-out", str(tmp_path / "inner"), stdin=message)
    assert (tmp_path / "inner").read_bytes() == request


def test_requester_name_in_the_message():
    cms = pytest.importorskip("asn1crypto.cms")
    agent = keys.generate(KINDS[1])
    certificate = x509.CertificateBuilder(name("a"), name("a"), agent.public_key(), 1, NOW, NOW.replace(year=2036)).sign(
        agent, hashes.SHA256()
    )
    message = enrollment_agent.wrap(signing_request.build(agent), "CORP\\alice", der(certificate), agent)
    signer = cms.ContentInfo.load(message)["content"]["signer_infos"][0]
    pair = next(one["values"][0] for one in signer["signed_attrs"] if one["type"].native == enrollment_agent.NAME_VALUE_PAIR)
    assert "requestername".encode("utf-16-be") in pair.dump() and "CORP\\alice".encode("utf-16-be") in pair.dump()
    types = [one["type"].native for one in signer["signed_attrs"]]
    assert {"content_type", "message_digest"} < set(types)


def test_agents_key_must_fit():
    with pytest.raises(UserError, match="agent's key is not that of the agent's certificate"):
        enrollment_agent.wrap(b"", "CORP\\alice", der(make()), keys.generate(KINDS[1]))


@pytest.mark.parametrize("form", ["pem", "der", "base64", "crlf"])
def test_given_requests(form: str):
    content = signing_request.build(key(), subject_text="CN=x", names=["DNS:x"])
    text = signing_request.pem(content)
    data = {"pem": text, "der": content, "base64": "".join(text.splitlines()[1:-1]), "crlf": text.replace("\n", "\r\n").encode()}[form]
    given_request = signing_request.load(data)
    assert (given_request.der, given_request.subject, given_request.names) == (content, "CN=x", ("DNS:x",))


def test_tampered_request():
    content = bytearray(signing_request.build(key(), subject_text="CN=alice"))
    content[content.index(b"alice")] ^= 1
    with pytest.raises(FormatError, match="signature"):
        signing_request.load(bytes(content))


@given(
    mutated(
        st.sampled_from([signing_request.build(key(), subject_text="CN=x", names=["DNS:x"]), b"", b"-----BEGIN CERTIFICATE REQUEST-----"])
    )
)
def test_any_bytes_are_a_request_or_an_error(data: bytes):
    with contextlib.suppress(FormatError):
        signing_request.load(data)


@pytest.mark.parametrize("passphrase", [None, "secret ä"])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_keys_in_files(kind: KeyKind, passphrase: str | None):
    made = keys.generate(kind)
    loaded = keys.load(keys.pem(made, passphrase), passphrase)
    assert keys.identity(loaded.public_key()) == keys.identity(made.public_key()) and keys.kind_of(loaded.public_key()) == kind


def test_wrong_passphrases():
    plain, sealed = keys.pem(key(), None), keys.pem(key(), "right")
    for data, passphrase, message in (
        (plain, "any", "is not encrypted"),
        (sealed, None, "is encrypted; give its passphrase"),
        (sealed, "wrong", "cannot be decrypted"),
    ):
        with pytest.raises(UserError, match=message):
            keys.load(data, passphrase)


@given(mutated(st.sampled_from([keys.pem(key(), None)])))
def test_any_bytes_are_a_key_or_an_error(data: bytes):
    with contextlib.suppress(UserError):
        keys.load(data, None)
