# SPDX-License-Identifier: GPL-3.0-or-later
"""Private keys in files (PKCS#8, RFC 5958), and what is compared of keys wherever they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import crypto, crypto_ec, crypto_rsa

SIZES = (2048, 3072, 4096, 6144, 8192)


@dataclass(frozen=True)
class KeyKind:
    """What kind of key: `size` in bits for RSA, the `curve` (SEC 2 name) for EC."""

    type: str
    size: int | None = None
    curve: str | None = None

    def __str__(self) -> str:
        return f"{self.type.upper()} {self.size or self.curve or ''}".strip()

    @property
    def words(self) -> dict[str, Any]:
        return {"type": self.type, **({"size": self.size} if self.size else {}), **({"curve": self.curve} if self.curve else {})}


def kind_of(public_key: Any) -> KeyKind:
    """The kind of a public key of the library."""
    if isinstance(public_key, crypto_rsa.RSAPublicKey):
        return KeyKind("rsa", size=public_key.key_size)
    if isinstance(public_key, crypto_ec.EllipticCurvePublicKey):
        return KeyKind("ec", curve=public_key.curve.name)
    return KeyKind(type(public_key).__name__.removesuffix("PublicKey").lstrip("_").lower())


def identity(public_key: Any) -> bytes:
    """What two parts of one pair have in common: the SubjectPublicKeyInfo."""
    return bytes(public_key.public_bytes(crypto.serialization.Encoding.DER, crypto.serialization.PublicFormat.SubjectPublicKeyInfo))


def hashing(digest: str) -> Any:
    """The library's hash of this name."""
    hashes: dict[str, Any] = {"sha256": crypto.hashes.SHA256, "sha384": crypto.hashes.SHA384, "sha512": crypto.hashes.SHA512}
    return hashes[digest]()


def generate(kind: KeyKind) -> Any:
    if kind.type == "rsa":
        return crypto_rsa.generate_private_key(65537, kind.size or 2048)
    curves: dict[str, Any] = {"secp256r1": crypto_ec.SECP256R1, "secp384r1": crypto_ec.SECP384R1, "secp521r1": crypto_ec.SECP521R1}
    return crypto_ec.generate_private_key(curves[kind.curve or "secp256r1"]())


def pem(key: Any, passphrase: str | None) -> bytes:
    """The key as PEM of PKCS#8, encrypted where there is a passphrase."""
    serialization = crypto.serialization
    sealing = serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    return bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealing))


def load(data: bytes, passphrase: str | None) -> Any:
    """The key in PEM or DER. Raises `FormatError`, and `UserError` where the passphrase does not fit."""
    read = crypto.serialization.load_pem_private_key if b"-----BEGIN" in data else crypto.serialization.load_der_private_key
    try:
        return read(data, passphrase.encode() if passphrase else None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        if passphrase:
            raise UserError(
                "is not encrypted, but there is a passphrase for it; remove the passphrase, or encrypt the key with it"
            ) from None
        raise UserError("is encrypted; give its passphrase") from None
    except UserError:
        raise
    except Exception as error:
        # the library has no exception of its own for a wrong passphrase, and many for broken files
        if b"ENCRYPTED" in data and passphrase:
            raise UserError("cannot be decrypted; is the passphrase the one it was encrypted with?") from None
        raise FormatError(f"is no private key in PEM or DER: {' '.join(str(error).split())[:120] or type(error).__name__}") from None
