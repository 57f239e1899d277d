# SPDX-License-Identifier: GPL-3.0-or-later
"""The server's own keys, each encrypted in one file under a key that a passphrase gives (scrypt, AES-256-GCM).

A new key of a purpose does not end the older ones at once: cookies under the last cookie keys are still read, seeds under older storage
keys are still opened until they are sealed anew, and each policy key signs for its successor, so that an agent that slept for months finds
its way from the key it knows to today's.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import secrets
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key

from passivekey.errors import ConfigurationError
from passivekey.protocol import certificates, keys, messages

FORMAT = 1
PURPOSES = ("ca", "cookie", "storage", "policy")
FOLLOWED = 1.0
"""Seconds after which running servers look whether there are new keys."""

KEPT_COOKIE_KEYS = 2
"""How many cookie keys are published and read: today's, and the one before it."""

LONGEST_NAME = 58
"""Characters: a common name has at most 64 (RFC 5280), and the CA's successors have their number behind it."""

_GENERATION = re.compile(r"(.+) G(\d{1,4})")

KEPT = {"ca": 1, "cookie": KEPT_COOKIE_KEYS}
"""Of these purposes older keys can be dropped, and so many of the newest not. (Storage keys go by themselves, policy keys never.)"""

_COST = {"n": 2**15, "r": 8, "p": 1}


@dataclass(frozen=True)
class Key:
    purpose: str
    kid: str
    created: int
    private: ec.EllipticCurvePrivateKey
    certificate: bytes = b""
    """Of a CA key, DER."""

    successor: str = ""
    """Of a policy key: its statement for the next one."""


class Keyring:
    """All keys, newest of each purpose last. `rotate` and `drop` write the file, and who has it open elsewhere follows."""

    def __init__(self, path: Path, passphrase: str, salt: bytes, held: list[Key]) -> None:
        self._path = path
        self._passphrase = passphrase
        self._salt = salt
        self._keys = held
        self._seen = _mark(path)
        self._looked = time.monotonic()

    @classmethod
    def create(cls, path: Path, passphrase: str, name: str, host: str, now: int) -> Keyring:
        """A key of each purpose, in a file that must not be there yet."""
        if not 0 < len(name) <= LONGEST_NAME:
            raise ConfigurationError(f"the CA's name has {len(name)} characters, {LONGEST_NAME} are the most; use --name")
        if path.exists():
            raise ConfigurationError(f"{path} is there already; to make new keys use: passivekey rotate")
        ring = cls(path, passphrase, secrets.token_bytes(16), [])
        for purpose in PURPOSES:
            ring._keys.append(_new(purpose, now, name, host))
        ring._save()
        return ring

    @classmethod
    def load(cls, path: Path, passphrase: str) -> Keyring:
        seen = _mark(path)
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document["format"] != FORMAT:
                raise ConfigurationError(
                    f"{path}: format {document['format']}, not {FORMAT}; start the version of PassiveKey that wrote it"
                )
            salt = messages.octets(document["salt"])
            cipher = _cipher(passphrase, salt)
            held = [_opened(words, cipher) for words in document["keys"]]
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror}; make it with: passivekey init") from error
        except InvalidTag as error:
            raise ConfigurationError(f"{path}: the passphrase is not the one that its keys are encrypted under") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(f"{path}: not a key file, or damaged; bring it back from the backup") from error
        found = cls(path, passphrase, salt, held)
        found._seen = seen  # of before it was read
        return found

    def _follow(self) -> None:
        """Take up what another process has written meanwhile; what cannot be read changes nothing."""
        self._looked = time.monotonic()
        mark = _mark(self._path)
        if mark in (self._seen, None):
            return
        self._seen = mark  # what cannot be read is not tried again, for a try takes its time
        try:
            found = Keyring.load(self._path, self._passphrase)
        except ConfigurationError:
            return
        self._salt, self._keys, self._seen = found._salt, found._keys, found._seen

    # ---- what they are for

    @property
    def ca(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        key = self._newest("ca")
        return x509.load_der_x509_certificate(key.certificate), key.private

    @property
    def authorities(self) -> dict[str, tuple[x509.Certificate, ec.EllipticCurvePrivateKey]]:
        """All CAs that are not dropped, by their id (certificates.authority_id), the newest first."""
        found = ((x509.load_der_x509_certificate(key.certificate), key.private) for key in reversed(self._of("ca")))
        return {certificates.authority_id(certificate): (certificate, private) for certificate, private in found}

    @property
    def cookie_keys(self) -> dict[str, ec.EllipticCurvePrivateKey]:
        return {key.kid: key.private for key in self._of("cookie")[-KEPT_COOKIE_KEYS:]}

    @property
    def cookie_jwks(self) -> list[keys.Jwk]:
        """Newest first, as the policy lists them."""
        return [keys.jwk(key.private.public_key()) for key in reversed(self._of("cookie")[-KEPT_COOKIE_KEYS:])]

    @property
    def storage(self) -> tuple[str, ec.EllipticCurvePublicKey]:
        """What seeds are sealed to now."""
        key = self._newest("storage")
        return key.kid, key.private.public_key()

    def storage_key(self, kid: str) -> ec.EllipticCurvePrivateKey:
        found = next((key.private for key in self._of("storage") if key.kid == kid), None)
        if found is None:  # made this moment, maybe
            self._follow()
            found = next((key.private for key in self._of("storage") if key.kid == kid), None)
        if found is None:
            raise ConfigurationError(
                f"the storage key {kid}, which seeds are sealed to, is not in {self._path}; bring it back from the backup"
            )
        return found

    def secret(self, use: str) -> bytes:
        """32 octets for one use, the same for all workers and servers that have these keys; new with the next storage key."""
        scalar = self._newest("storage").private.private_numbers().private_value.to_bytes(32, "big")
        return HKDF(SHA256(), 32, salt=None, info=f"passivekey/1/server/{use}".encode()).derive(scalar)

    @property
    def policy_signer(self) -> keys.SoftwareKey:
        return keys.SoftwareKey(self._newest("policy").private)

    @property
    def policy_jwks(self) -> list[keys.Jwk]:
        return [keys.jwk(self._newest("policy").private.public_key())]

    @property
    def succession(self) -> list[str]:
        """Each policy key's statement for the next, oldest first."""
        return [key.successor for key in self._of("policy") if key.successor]

    # ---- new keys for old ones

    def rotate(self, purpose: str, now: int) -> str:
        """A new key of this purpose; returns its kid."""
        self._follow()
        if purpose not in PURPOSES:
            raise ConfigurationError(f"rotate: {purpose!r} is none of {', '.join(PURPOSES)}")
        old = self._newest(purpose)
        name, host = _successor(old) if purpose == "ca" else ("", "")
        new = _new(purpose, now, name, host)
        if purpose == "policy":
            claims = {"next": keys.jwk(new.private.public_key()), "iat": now}
            statement = messages.signed(keys.SoftwareKey(old.private), messages.SUCCESSION, old.kid, claims)
            self._keys[self._keys.index(old)] = replace(old, successor=statement)
        self._keys.append(new)
        self._save()
        return new.kid

    def drop(self, purpose: str, kid: str) -> None:
        """Forget an older key; the newest of a purpose stays."""
        if kid == self._newest(purpose).kid:
            raise ConfigurationError(f"drop: {kid} is the {purpose} key in use; rotate first")
        self._keys = [key for key in self._keys if (key.purpose, key.kid) != (purpose, kid)]
        self._save()

    def overview(self) -> list[dict[str, Any]]:
        """Purpose, kid and time of each key; of CAs the id, too."""
        return [_shown(key) for key in self._keys]

    def _of(self, purpose: str) -> list[Key]:
        if time.monotonic() - self._looked >= FOLLOWED:
            self._follow()
        return [key for key in self._keys if key.purpose == purpose]

    def _newest(self, purpose: str) -> Key:
        return self._of(purpose)[-1]

    def _save(self) -> None:
        cipher = _cipher(self._passphrase, self._salt)
        document = {"format": FORMAT, "kdf": {"name": "scrypt", **_COST}, "salt": messages.text(self._salt)}
        document["keys"] = [_closed(key, cipher) for key in self._keys]
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=".keys")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(self._path)
        self._seen = _mark(self._path)


def _mark(path: Path) -> tuple[int, int, int] | None:
    """What is another after each time that a file was written."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _new(purpose: str, now: int, name: str, host: str) -> Key:
    private = ec.generate_private_key(ec.SECP256R1())
    certificate = b""
    if purpose == "ca":
        at = datetime.datetime.fromtimestamp(now, datetime.timezone.utc)
        certificate = certificates.authority(private, name, host, at).public_bytes(Encoding.DER)
    return Key(purpose, str(keys.jwk(private.public_key())["kid"]), now, private, certificate)


def _shown(key: Key) -> dict[str, Any]:
    words = {"purpose": key.purpose, "kid": key.kid, "created": key.created}
    return {**words, "authority": certificates.authority_id(x509.load_der_x509_certificate(key.certificate))} if key.certificate else words


def _successor(key: Key) -> tuple[str, str]:
    """The name of the CA after this one, and the host that its certificates may name. A name of its own, for there are who look for a CRL
    by its issuer's name alone."""
    certificate = x509.load_der_x509_certificate(key.certificate)
    permitted = certificate.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
    [host] = [name.value for name in permitted if isinstance(name, x509.UniformResourceIdentifier)]
    name = str(certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)
    numbered = _GENERATION.fullmatch(name)
    first, number = (numbered[1], int(numbered[2])) if numbered else (name, 1)
    return f"{first} G{number + 1}", host


def _cipher(passphrase: str, salt: bytes) -> AESGCM:
    return AESGCM(Scrypt(salt=salt, length=32, **_COST).derive(passphrase.encode()))


def _about(purpose: str, kid: str) -> bytes:
    return f"{purpose}\0{kid}".encode()


def _closed(key: Key, cipher: AESGCM) -> dict[str, Any]:
    nonce = secrets.token_bytes(12)
    der = key.private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return {
        "purpose": key.purpose,
        "kid": key.kid,
        "created": key.created,
        "private": messages.text(nonce + cipher.encrypt(nonce, der, _about(key.purpose, key.kid))),
        **({"certificate": messages.text(key.certificate)} if key.certificate else {}),
        **({"successor": key.successor} if key.successor else {}),
    }


def _opened(words: Mapping[str, Any], cipher: AESGCM) -> Key:
    content = messages.octets(words["private"])
    private = load_der_private_key(cipher.decrypt(content[:12], content[12:], _about(words["purpose"], words["kid"])), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    certificate = messages.octets(words["certificate"]) if "certificate" in words else b""
    return Key(words["purpose"], words["kid"], words["created"], private, certificate, words.get("successor", ""))
