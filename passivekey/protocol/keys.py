# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of devices and of the server as JOSE wants them (RFC 7517, RFC 7518, RFC 7638)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from passivekey.protocol.errors import Refused

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
Jwk = dict[str, Any]
SMALLEST_RSA = 2048
LARGEST_RSA = 4096


class Signer(Protocol):
    """A device's signature key, wherever it is."""

    @property
    def public_key(self) -> PublicKey: ...

    def sign(self, message: bytes) -> bytes:
        """A signature as JWS has it (RFC 7518 3.4, 3.5)."""


class SoftwareKey:
    """A device key in memory: P-256, or RSA."""

    def __init__(self, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
        self.private_key = key

    @classmethod
    def generate(cls) -> SoftwareKey:
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @property
    def public_key(self) -> PublicKey:
        return self.private_key.public_key()

    def sign(self, message: bytes) -> bytes:
        if isinstance(self.private_key, rsa.RSAPrivateKey):
            return self.private_key.sign(message, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
        first, second = decode_dss_signature(self.private_key.sign(message, ec.ECDSA(hashes.SHA256())))
        return first.to_bytes(32, "big") + second.to_bytes(32, "big")


class HeldKey(ec.EllipticCurvePrivateKey):
    """A P-256 key that signs and agrees, and whose private part nobody can have: in a TPM."""


def checked(key: object, code: str = "request-refused") -> PublicKey:
    """The key, if it is of a kind that devices may have."""
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    if isinstance(key, rsa.RSAPublicKey) and SMALLEST_RSA <= key.key_size <= LARGEST_RSA:
        return key
    raise Refused(code, f"the key is neither of P-256 nor RSA of {SMALLEST_RSA} to {LARGEST_RSA} bits")


def algorithm(key: PublicKey) -> str:
    """How it signs."""
    return "PS256" if isinstance(key, rsa.RSAPublicKey) else "ES256"


def jose(key: PublicKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> ECKey | RSAKey:
    # not import_key, which takes no keys of cryptography in joserfc 1.1 (of Debian 13)
    return RSAKey(key, key) if isinstance(key, (rsa.RSAPublicKey, rsa.RSAPrivateKey)) else ECKey(key, key)


def jwk(key: PublicKey) -> Jwk:
    """The public JWK with its thumbprint as `kid`."""
    found = jose(key)
    return {**found.as_dict(private=False), "kid": found.thumbprint()}


def from_jwk(words: object, code: str = "malformed") -> ec.EllipticCurvePublicKey:
    """A P-256 public key; private members, other curves and points off the curve are refused."""
    if not isinstance(words, Mapping) or words.get("kty") != "EC" or words.get("crv") != "P-256" or "d" in words:
        raise Refused(code, "the key is no public P-256 JWK")
    try:
        key = ECKey.import_key({name: str(words[name]) for name in ("kty", "crv", "x", "y")}).public_key
    except (JoseError, KeyError, ValueError) as error:
        raise Refused(code, "the key is no public P-256 JWK") from error
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key
