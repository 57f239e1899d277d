# SPDX-License-Identifier: GPL-3.0-or-later
"""The protocol against its vectors (made by pyotp and jwcrypto), against jwcrypto and openssl as readers, and against what is wrong."""

from __future__ import annotations

import datetime
import json
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("joserfc", reason="joserfc is not installed")

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from passivekey.protocol import certificates, codes, keys, messages
from passivekey.protocol.errors import Refused

VECTORS = json.loads(Path(__file__).with_name("vectors.json").read_text())
DEVICE, NOW = VECTORS["device"], VECTORS["time"]
ORIGIN = "https://passivekey.corp.example"
UTC = datetime.timezone.utc


def private(name):
    return ECKey.import_key(VECTORS["keys"][name]["private"]).private_key


def kid(name):
    return VECTORS["keys"][name]["kid"]


class Held(keys.HeldKey):
    """Does what a TPM's key does, and cannot be written out."""

    curve = key_size = sign = private_numbers = private_bytes = __copy__ = __deepcopy__ = None

    def __init__(self, key):
        self.key = key

    def exchange(self, algorithm, peer_public_key):
        return self.key.exchange(algorithm, peer_public_key)

    def public_key(self):
        return self.key.public_key()


@pytest.fixture(scope="module")
def rsa_key():
    return rsa.generate_private_key(65537, 2048)


# ---- codes


@pytest.mark.parametrize("case", VECTORS["codes"], ids=lambda case: f"{case['channel']} {case['site']}")
def test_codes(case):
    seed = codes.Seed(bytes.fromhex(VECTORS["seed"]))
    assert codes.subseed(seed.value, case["channel"], case["site"]).hex() == case["subseed"]
    assert {step: seed.code(case["channel"], int(step), case["site"]) for step in case["codes"]} == case["codes"]
    assert codes.DIGITS[case["channel"]] == case["digits"]


@pytest.mark.parametrize(("channel", "site"), [("radius", "a.example"), ("web", ""), ("other", "")])
def test_no_code_without_its_channel(channel, site):
    with pytest.raises(ValueError, match="channel"):
        codes.subseed(bytes(32), channel, site)


@pytest.mark.parametrize(
    ("window", "counters"),
    [
        (codes.Window(), [10, 9, 11]),
        (codes.Window(drift=2), [12, 11, 13]),
        (codes.Window(drift=-9), [8, 7, 9]),
        (codes.Window(back=3, ahead=0), [10, 9, 8, 7]),
    ],
)
def test_windows(window, counters):
    assert window.counters(10) == counters
    assert codes.Window().counters(0) == [0, 1]


def test_a_code_is_found_once_and_in_its_window():
    seed = codes.Seed(bytes(32))
    given_code = seed.code("radius", 10)
    assert seed.find("radius", given_code, [10, 9, 11]) == 10
    assert seed.find("radius", given_code, [10, 9, 11], after=10) is None
    assert seed.find("radius", given_code, [12, 11, 13]) is None
    assert seed.find("radius", given_code + "0", [10]) is seed.find("radius", "", [10]) is seed.find("radius", "١٢٣٤٥٦", [10]) is None
    assert seed.find("web", given_code, [10], site="a.example") is None
    assert "bytes" not in repr(seed) and "\\x00" not in repr(seed)


# ---- messages, as the vectors have them


def test_proof_of_the_vectors():
    found = messages.read_proof(VECTORS["proof"]["token"], private("device").public_key(), VECTORS["proof"]["claims"]["aud"], NOW)
    assert found == VECTORS["proof"]["claims"] and messages.device_of(VECTORS["proof"]["token"]) == DEVICE


def test_seed_of_the_vectors():
    assert messages.take(VECTORS["seed_message"], DEVICE, private("agreement")).value.hex() == VECTORS["seed"]


def test_cookie_of_the_vectors():
    opened = messages.open_cookie(VECTORS["cookie"]["value"], {kid("cookie"): private("cookie")})
    found = messages.read_cookie(opened, private("device").public_key(), VECTORS["cookie"]["site"])
    seed = codes.Seed(bytes.fromhex(VECTORS["seed"]))
    assert opened.device == DEVICE and found.counter == NOW // 30
    assert seed.find("web", found.code, codes.Window().counters(NOW // 30), site=found.site) == NOW // 30


def test_policy_of_the_vectors():
    policy_keys = VECTORS["policy"]["claims"]["policy_keys"]
    assert messages.read_policy(VECTORS["policy"]["token"], policy_keys, NOW, 7) == VECTORS["policy"]["claims"]
    for least, now, known in ((8, NOW, policy_keys), (0, NOW + 86401, policy_keys), (0, NOW, [])):
        with pytest.raises(Refused):
            messages.read_policy(VECTORS["policy"]["token"], known, now, least)


# ---- what is written here, read by jwcrypto


@pytest.fixture(scope="module")
def jose():
    return pytest.importorskip("jwcrypto", reason="jwcrypto is not installed")


def foreign(key):
    from jwcrypto import jwk

    return jwk.JWK.from_pyca(key)


@pytest.mark.parametrize("kind", ["P-256", "RSA"])
def test_jwcrypto_reads_what_is_written(jose, rsa_key, kind):
    from jwcrypto import jwe, jws

    key = rsa_key if kind == "RSA" else ec.generate_private_key(ec.SECP256R1())
    algorithm, agreement = ("PS256", "RSA-OAEP-256") if kind == "RSA" else ("ES256", "ECDH-ES+A256KW")
    proof = jws.JWS()
    proof.deserialize(messages.proof(keys.SoftwareKey(key), DEVICE, "a", "n", NOW, extra=1), foreign(key.public_key()), algorithm)
    assert json.loads(proof.payload) == {"aud": "a", "nonce": "n", "iat": NOW, "extra": 1}
    seed = jwe.JWE(algs=[agreement, "A256GCM"])
    seed.deserialize(messages.deliver(codes.Seed(bytes(32)), DEVICE, key.public_key(), NOW), foreign(key))
    assert json.loads(seed.payload)["device"] == DEVICE


@pytest.mark.parametrize("kind", ["P-256", "RSA"])
def test_there_and_back(rsa_key, kind):
    key = rsa_key if kind == "RSA" else ec.generate_private_key(ec.SECP256R1())
    cookie_key = ec.generate_private_key(ec.SECP256R1())
    public = keys.jwk(cookie_key.public_key())
    signer, seed = keys.SoftwareKey(key), codes.Seed(codes.new_seed())
    assert messages.take(messages.deliver(seed, DEVICE, key.public_key(), NOW), DEVICE, key) == seed
    value = messages.cookie(signer, DEVICE, seed, public, "a.example", NOW)
    assert len(value) < 1500
    opened = messages.open_cookie(value, {public["kid"]: cookie_key})
    assert messages.read_cookie(opened, key.public_key(), "a.example").counter == NOW // 30
    assert messages.unseal(messages.seal(seed.value, DEVICE, cookie_key.public_key(), "k"), DEVICE, cookie_key) == seed.value


# ---- refusals


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"audience": "https://evil.example/"}, "another address"),
        ({"now": NOW + messages.CLOCK + 1}, "clock"),
        ({"now": NOW - messages.CLOCK - 1}, "clock"),
        ({"key": "agreement"}, "signature"),
    ],
)
def test_proofs_refused(change, text):
    audience = change.get("audience", VECTORS["proof"]["claims"]["aud"])
    key = private(change.get("key", "device")).public_key()
    with pytest.raises(Refused, match=text) as refused:
        messages.read_proof(VECTORS["proof"]["token"], key, audience, change.get("now", NOW))
    assert refused.value.code == "proof-refused"


def test_a_message_is_of_one_type_only():
    """A proof is no cookie's code, and a policy no proof, whoever signed them."""
    with pytest.raises(Refused, match="type"):
        messages.read_cookie(messages.Cookie(DEVICE, VECTORS["proof"]["token"]), private("device").public_key(), "a")
    with pytest.raises(Refused, match="type"):
        messages.read_proof(VECTORS["policy"]["token"], private("policy").public_key(), "a", NOW)
    with pytest.raises(Refused, match="type"):
        messages.take(VECTORS["cookie"]["value"], DEVICE, private("cookie"))


def with_header(token, **more):
    head, _dot, rest = token.partition(".")
    words = {**json.loads(messages.octets(head)), **more}
    return f"{messages.text(json.dumps(words).encode())}.{rest}"


@pytest.mark.parametrize("header", [{"alg": "none"}, {"alg": "HS256"}, {"alg": "RS256"}, {"alg": "PS256"}, {"crit": ["b64"], "b64": False}])
def test_no_other_algorithm(header):
    with pytest.raises(Refused):
        messages.read_proof(with_header(VECTORS["proof"]["token"], **header), private("device").public_key(), "a", NOW)


@pytest.mark.parametrize("header", [{"alg": "dir"}, {"alg": "ECDH-ES"}, {"alg": "RSA1_5"}, {"enc": "A128CBC-HS256"}, {"zip": "DEF"}])
def test_no_other_encryption(header):
    with pytest.raises(Refused):
        messages.take(with_header(VECTORS["seed_message"], **header), DEVICE, private("agreement"))


def test_another_devices_seed_is_refused():
    with pytest.raises(Refused, match="another device"):
        messages.take(VECTORS["seed_message"], "f" * 32, private("agreement"))
    with pytest.raises(Refused, match="another device"):
        messages.unseal(messages.seal(bytes(32), DEVICE, private("cookie").public_key(), "k"), "f" * 32, private("cookie"))


def test_cookies_for_other_sites_and_by_other_devices_are_refused():
    opened = messages.open_cookie(VECTORS["cookie"]["value"], {kid("cookie"): private("cookie")})
    with pytest.raises(Refused, match="another site"):
        messages.read_cookie(opened, private("device").public_key(), "other.corp.example")
    with pytest.raises(Refused, match="signature"):
        messages.read_cookie(opened, private("agreement").public_key(), VECTORS["cookie"]["site"])
    with pytest.raises(Refused, match="no longer"):
        messages.open_cookie(VECTORS["cookie"]["value"], {"another": private("cookie")})


TOKENS = [VECTORS["proof"]["token"], VECTORS["seed_message"], VECTORS["cookie"]["value"], VECTORS["policy"]["token"]]


def readers():
    public = private("device").public_key()
    return (
        lambda token: messages.read_proof(token, public, "a", NOW),
        lambda token: messages.take(token, DEVICE, private("agreement")),
        lambda token: messages.open_cookie(token, {kid("cookie"): private("cookie")}),
        lambda token: messages.read_policy(token, VECTORS["policy"]["claims"]["policy_keys"], NOW),
        messages.device_of,
    )


@given(st.one_of(st.text(), st.binary().map(messages.text), st.sampled_from(TOKENS)), st.integers(0, 2000), st.text(max_size=3))
def test_any_text_is_refused_or_read(token, at, put):
    """No input raises anything but Refused."""
    token = token[:at] + put + token[at:]
    for read in readers():
        try:
            read(token)
        except Refused as refused:
            assert refused.code in ("malformed", "proof-refused", "unavailable")


@pytest.mark.parametrize("value", ["a", "YQ==", "YR", "Y Q", "Y\nQ", "Y+Q", None, 7, "é"])
def test_only_one_spelling_of_octets(value):
    with pytest.raises(Refused):
        messages.octets(value)


@pytest.mark.parametrize(
    "words",
    [
        None,
        {},
        {"kty": "EC"},
        {**VECTORS["keys"]["device"]["private"]},
        {"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "P-256", "x": messages.text(bytes(32)), "y": messages.text(bytes(32))},
        {"kty": "oct", "k": "AA"},
    ],
)
def test_strange_keys_are_refused(words):
    with pytest.raises(Refused):
        keys.from_jwk(words)


def test_a_seed_for_a_key_that_only_agrees():
    """As joserfc reads it: the vector (jwcrypto's), parties' names, and nothing that was changed at any place."""
    held, seed = Held(private("agreement")), bytes.fromhex(VECTORS["seed"])
    assert messages.take(VECTORS["seed_message"], DEVICE, held).value == seed
    words = json.dumps({"device": DEVICE, "seed": messages.text(seed), "issued": NOW, "step": 30, "digits": codes.DIGITS}).encode()
    named = messages.encrypted(held.public_key(), messages.SEED, DEVICE, words, apu="QWxpY2U", apv="Qm9i")
    assert messages.take(named, DEVICE, held).value == seed
    for number in range(5):
        parts = VECTORS["seed_message"].split(".")
        changed = bytearray(messages.octets(parts[number]))
        changed[-3] ^= 1
        for other in (messages.text(bytes(changed)), "", parts[number][:8]):
            with pytest.raises(Refused):
                messages.take(".".join([*parts[:number], other, *parts[number + 1 :]]), DEVICE, held)
    with pytest.raises(Refused, match="not encrypted to this key"):
        messages.take(VECTORS["seed_message"], DEVICE, Held(ec.generate_private_key(ec.SECP256R1())))
    for header in ({"alg": "ECDH-ES"}, {"enc": "A128GCM"}, {"zip": "DEF"}, {"crit": ["exp"]}, {"epk": {"kty": "EC", "crv": "P-384"}}):
        with pytest.raises(Refused, match="no public P-256 JWK" if "epk" in header else "this protocol"):
            messages.take(with_header(VECTORS["seed_message"], **header), DEVICE, held)
    with pytest.raises(Refused, match="as this protocol has it"):
        messages.take(VECTORS["seed_message"] + ".x", DEVICE, held)


# ---- certificates


@pytest.fixture(scope="module")
def ca():
    key = ec.generate_private_key(ec.SECP256R1())
    return certificates.authority(key, "PassiveKey corp.example", "passivekey.corp.example", datetime.datetime.now(UTC)), key


def request(key, common_name="Administrator"):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    return x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, SHA256())


def openssl(*arguments, folder, **files):
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_openssl_takes_a_device_certificate_for_a_client_and_for_nothing_else(ca, tmp_path):
    certificate, key = ca
    device_key = certificates.requested_key(request(ec.generate_private_key(ec.SECP256R1())).public_bytes(Encoding.DER))
    now = datetime.datetime.now(UTC)
    device = certificates.issue(certificate, key, DEVICE, device_key, ORIGIN, now)
    crl = certificates.revocation_list(certificate, key, [], 1, now, datetime.timedelta(hours=1))
    revoked = certificates.revocation_list(certificate, key, [(device.serial_number, now)], 2, now, datetime.timedelta(hours=1))
    files = {
        "ca": certificate.public_bytes(Encoding.PEM),
        "device": device.public_bytes(Encoding.PEM),
        "crl": crl.public_bytes(Encoding.PEM),
        "revoked": revoked.public_bytes(Encoding.PEM),
    }
    check = ("verify", "-x509_strict", "-CAfile", "ca")
    assert openssl(*check, "-purpose", "sslclient", "-crl_check", "-CRLfile", "crl", "device", folder=tmp_path, **files).returncode == 0
    assert openssl(*check, "-purpose", "sslserver", "device", folder=tmp_path).returncode != 0
    assert "revoked" in openssl(*check, "-crl_check", "-CRLfile", "revoked", "device", folder=tmp_path).stderr
    shown = openssl("x509", "-in", "device", "-noout", "-text", folder=tmp_path).stdout
    assert f"URI:passivekey://passivekey.corp.example/device/{DEVICE}" in shown and "Administrator" not in shown
    assert "pathlen:0" in openssl("x509", "-in", "ca", "-noout", "-text", folder=tmp_path).stdout


def test_the_ca_can_make_no_certificate_that_names_anything_else(ca, tmp_path):
    """Its constraints hold even where its key is misused."""
    certificate, key = ca
    now = datetime.datetime.now(UTC)
    other = ec.generate_private_key(ec.SECP256R1())
    good = certificates.issue(certificate, key, DEVICE, other.public_key(), ORIGIN, now)
    for name in (
        x509.DNSName("www.corp.example"),
        x509.RFC822Name("a@corp.example"),
        x509.UniformResourceIdentifier("passivekey://evil.example/d"),
    ):
        builder = x509.CertificateBuilder().subject_name(good.subject).issuer_name(certificate.subject).public_key(other.public_key())
        builder = builder.serial_number(7).not_valid_before(good.not_valid_before_utc).not_valid_after(good.not_valid_after_utc)
        for extension in good.extensions:
            if not isinstance(extension.value, x509.SubjectAlternativeName):
                builder = builder.add_extension(extension.value, extension.critical)
        bad = builder.add_extension(x509.SubjectAlternativeName([name]), False).sign(key, SHA256())
        files = {"ca": certificate.public_bytes(Encoding.PEM), "bad": bad.public_bytes(Encoding.PEM)}
        found = openssl("verify", "-CAfile", "ca", "bad", folder=tmp_path, **files)
        assert found.returncode != 0 and "subtree" in found.stderr, name


def test_requests_refused(rsa_key):
    good = request(ec.generate_private_key(ec.SECP256R1())).public_bytes(Encoding.DER)
    broken = good[:-4] + bytes([good[-4] ^ 1]) + good[-3:]
    small = request(rsa.generate_private_key(65537, 1024)).public_bytes(Encoding.DER)
    other_curve = request(ec.generate_private_key(ec.SECP384R1())).public_bytes(Encoding.DER)
    assert certificates.requested_key(request(rsa_key).public_bytes(Encoding.DER)) == rsa_key.public_key()
    for der in (broken, small, other_curve, b"", b"x" * 100, good[:50]):
        with pytest.raises(Refused) as refused:
            certificates.requested_key(der)
        assert refused.value.code == "request-refused"


def test_renewal_is_due_at_two_thirds(ca):
    certificate, key = ca
    now = datetime.datetime.now(UTC)
    device = certificates.issue(certificate, key, DEVICE, key.public_key(), ORIGIN, now)
    days = [certificates.due(device, now + datetime.timedelta(days=day)) for day in (0, 59, 61, 91)]
    assert days == [False, False, True, True]
