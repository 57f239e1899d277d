# SPDX-License-Identifier: GPL-3.0-or-later
"""All that the agent keeps, in one file: AES-256-GCM under a random passphrase that the platform's store for secrets has.

The file is `{"format", "name", "nonce", "content"}`: the name is what the passphrase is called in the store, and the salt of the key, which
is HKDF-SHA256 of the passphrase. The content is JSON. A file is replaced whole, and is on the disk before the agent goes on.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key

from passivekey.agent.secret_store import SecretStore, new_passphrase
from passivekey.protocol import codes, keys, messages
from passivekey.protocol.errors import Refused
from passivekey.protocol.messages import octets, text

FORMAT = 1
IN_TPM = "tpm:"
"""What a key in a TPM begins with (`passivekey.agent.tpm`)."""


class ContainerError(Exception):
    """The container cannot be opened: it is damaged, or its passphrase is gone or another one's. Enrolling anew mends it."""


@dataclass
class Content:
    """`stage`: new, pending, seeded, active. Keys are PKCS#8; or both are in a TPM, which wrapped them. Then `seed` is
    as the server sent it, for the agreement key alone to open: the container is worth nothing without the TPM."""

    origin: str
    request: str
    stage: str = "new"
    key: str = ""
    agreement: str = ""
    device: str = ""
    certificate: str = ""
    ca: str = ""
    policy_keys: list[dict[str, Any]] = field(default_factory=list)
    policy_serial: int = 0
    seed: str = ""
    step: int = codes.STEP
    digits: dict[str, int] = field(default_factory=lambda: dict(codes.DIGITS))

    @classmethod
    def fresh(cls, origin: str) -> Content:
        """New keys, for a device that does not exist yet."""
        key, agreement = (ec.generate_private_key(ec.SECP256R1()) for _number in range(2))
        return cls(origin, secrets.token_hex(16), key=_pkcs8(key), agreement=_pkcs8(agreement))

    @classmethod
    def fresh_in_tpm(cls, origin: str) -> Content:
        """The same with keys in the TPM. Raises `SecretStoreError` where that cannot be."""
        from passivekey.agent import tpm

        return cls(origin, secrets.token_hex(16), key=tpm.create("sign"), agreement=tpm.create("decrypt"))

    @property
    def in_tpm(self) -> bool:
        return self.key.startswith(IN_TPM)

    def check(self) -> None:
        """Raises `ContainerError` where the keys are of another TPM; `SecretStoreError` where there is none to be asked."""
        if self.in_tpm:
            from passivekey.agent.tpm import TpmKey

            assert isinstance(self.signer.private_key, TpmKey)
            self.signer.private_key.load()

    # kept, for a TPM takes its time to load a key

    @cached_property
    def signer(self) -> keys.SoftwareKey:
        return keys.SoftwareKey(_private(self.key))

    @cached_property
    def agreement_key(self) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
        return _private(self.agreement or self.key)

    def take(self, token: str) -> None:
        """The seed as the server sent it; refused if it is not this device's."""
        found = messages.take(token, self.device, self.agreement_key)
        self.seed, self.step, self.digits = token if self.in_tpm else text(found.value), found.step, found.digits

    @property
    def codes(self) -> codes.Seed:
        if self.in_tpm:
            return messages.take(self.seed, self.device, self.agreement_key)
        return codes.Seed(octets(self.seed), self.step, self.digits)


def save(path: Path, content: Content, store: SecretStore) -> None:
    """Write the container under its passphrase, or under a new one where there is none yet."""
    name = _name(path) or secrets.token_hex(8)
    passphrase = store.get(name)
    if passphrase is None:
        passphrase = new_passphrase()
        store.put(name, passphrase)
    nonce = secrets.token_bytes(12)
    sealed = AESGCM(_key(passphrase, name)).encrypt(nonce, json.dumps(asdict(content)).encode(), name.encode())
    document = {"format": FORMAT, "name": name, "nonce": text(nonce), "content": text(sealed)}
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_suffix(".new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load(path: Path, store: SecretStore) -> Content | None:
    """None where there is no container. Raises `ContainerError` for one that cannot be opened."""
    name = _name(path)
    if name is None:
        if path.exists():
            raise ContainerError(f"{path} is damaged")
        return None
    passphrase = store.get(name)
    if passphrase is None:
        raise ContainerError(f"the passphrase of {path} is not in this user's store for secrets")
    try:
        document = json.loads(path.read_text(encoding="ascii"))
        plain = AESGCM(_key(passphrase, name)).decrypt(octets(document["nonce"]), octets(document["content"]), name.encode())
        return Content(**json.loads(plain))
    except (InvalidTag, Refused, OSError, ValueError, TypeError, KeyError) as error:
        raise ContainerError(f"{path} cannot be opened by the passphrase that the store for secrets has") from error


def forget(path: Path, store: SecretStore) -> None:
    """The container and its passphrase."""
    name = _name(path)
    path.unlink(missing_ok=True)
    if name:
        store.forget(name)


def _name(path: Path) -> str | None:
    try:
        document = json.loads(path.read_text(encoding="ascii"))
        name = str(document["name"])
        return name if document["format"] == FORMAT and name.isalnum() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _key(passphrase: str, name: str) -> bytes:
    # the passphrase is random: it needs no slow function
    return HKDF(SHA256(), 32, salt=name.encode(), info=b"passivekey/container/1").derive(passphrase.encode())


def _pkcs8(key: ec.EllipticCurvePrivateKey) -> str:
    return text(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


def _private(value: str) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    if value.startswith(IN_TPM):
        from passivekey.agent.tpm import TpmKey

        return TpmKey(value)
    found = load_der_private_key(octets(value), None)
    if not isinstance(found, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        raise ContainerError("the container holds a key of an unknown kind")
    return found
