# SPDX-License-Identifier: GPL-3.0-or-later
"""Private keys that stay on a token, in the shape that the library cryptography signs requests and messages with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import (
    crypto_ec,
    crypto_padding,
    crypto_rsa,
    crypto_signatures,
    pkcs11,
)

# DER of the DigestInfo before the hash itself (RFC 8017 9.2, note 1)
_DIGEST_INFO = {
    "sha1": bytes.fromhex("3021300906052b0e03021a05000414"),
    "sha224": bytes.fromhex("302d300d06096086480165030402040500041c"),
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
# name of cryptography's hash -> names of the mechanism and of the mask generation function
_PSS = {"sha1": ("SHA_1", "SHA1"), "sha256": ("SHA256", "SHA256"), "sha384": ("SHA384", "SHA384"), "sha512": ("SHA512", "SHA512")}

Sign = Callable[[Any, bytes, Any], bytes]
"""(mechanism, data, mechanism's parameter or None) -> the token's signature."""


class TokenKey:
    """A private key on a token; it signs there and is never read. `id` is the token's CKA_ID, `label` its CKA_LABEL."""

    kind = ""

    def __init__(self, public: Any, label: str, id: bytes, sign: Sign) -> None:
        self._public, self._sign = public, sign
        self.label, self.id = label, id

    def public_key(self) -> Any:
        return self._public

    @property
    def key_size(self) -> int:
        return int(self._public.key_size)

    def private_numbers(self) -> Any:
        raise UserError(f"key {self.label!r}: it is on a token and cannot be read")

    def private_bytes(self, encoding: Any, format: Any, encryption_algorithm: Any) -> bytes:
        raise UserError(f"key {self.label!r}: it is on a token and cannot be written to a file; give pkcs11: and no path for the key")

    def __copy__(self) -> TokenKey:
        return self

    def __deepcopy__(self, memo: Any) -> TokenKey:
        return self


class RsaTokenKey(TokenKey):
    """An `rsa.RSAPrivateKey` for signing with PKCS#1 v1.5 and PSS."""

    kind = "rsa"

    def sign(self, data: bytes, padding: Any, algorithm: Any) -> bytes:
        name, digest = hashed(data, algorithm)
        if isinstance(padding, crypto_padding.PSS):
            return self._pss(name, digest, padding)
        if name not in _DIGEST_INFO:
            raise UserError(f"key {self.label!r}: a token's RSA key does not sign with {name}; take sha256")
        return self._sign(pkcs11.Mechanism.RSA_PKCS, _DIGEST_INFO[name] + digest, None)

    def _pss(self, name: str, digest: bytes, padding: Any) -> bytes:
        if name not in _PSS:
            raise UserError(f"key {self.label!r}: a token's RSA key does not sign with PSS and {name}; take sha256")
        length = padding._salt_length
        if length is crypto_padding.PSS.DIGEST_LENGTH or not isinstance(length, int):
            length = len(digest)
        mechanism, mgf = _PSS[name]
        parameter = (pkcs11.Mechanism[mechanism], pkcs11.MGF[mgf], length)
        return self._sign(pkcs11.Mechanism.RSA_PKCS_PSS, digest, parameter)

    def decrypt(self, ciphertext: bytes, padding: Any) -> bytes:
        raise UserError(f"key {self.label!r}: this collection only signs with keys on tokens")


class EcTokenKey(TokenKey):
    """An `ec.EllipticCurvePrivateKey` for ECDSA."""

    kind = "ec"

    @property
    def curve(self) -> Any:
        return self._public.curve

    def sign(self, data: bytes, signature_algorithm: Any) -> bytes:
        _name, digest = hashed(data, signature_algorithm.algorithm)
        size = (self.key_size + 7) // 8
        raw = self._sign(pkcs11.Mechanism.ECDSA, digest[:size], None)
        half = len(raw) // 2
        signature: bytes = crypto_signatures.encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))
        return signature

    def exchange(self, algorithm: Any, peer_public_key: Any) -> bytes:
        raise UserError(f"key {self.label!r}: this collection only signs with keys on tokens")


def hashed(data: bytes, algorithm: Any) -> tuple[str, bytes]:
    """The name of the hash and the digest of the data, which may be one already (`Prehashed`)."""
    if isinstance(algorithm, crypto_signatures.Prehashed):
        return str(algorithm._algorithm.name), data
    name = str(algorithm.name)
    return name, hashlib.new(name, data, usedforsecurity=False).digest()


def token_key(public: Any, label: str, id: bytes, sign: Sign) -> TokenKey:
    """The key of the public key's type; cryptography takes it for one of its own."""
    for kind, base in ((RsaTokenKey, crypto_rsa.RSAPrivateKey), (EcTokenKey, crypto_ec.EllipticCurvePrivateKey)):
        base.register(kind)
    return (RsaTokenKey if isinstance(public, crypto_rsa.RSAPublicKey) else EcTokenKey)(public, label, id, sign)
