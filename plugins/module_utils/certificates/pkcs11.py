# SPDX-License-Identifier: GPL-3.0-or-later
"""A session with a smart card or another PKCS#11 token: its keys and certificates. Holds no policy."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import token_uri
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate, load_one
from ansible_collections.certlogon.core.plugins.module_utils.certificates.token_errors import (
    KeyAmbiguous,
    ModuleMissing,
    NoSuchKey,
    PinIncorrect,
    PinLastTry,
    PinLocked,
    PinMissing,
    TokenAbsent,
    TokenAmbiguous,
    TokenNotInitialized,
    TokenRefuses,
    is_library_error,
    translated,
)
from ansible_collections.certlogon.core.plugins.module_utils.certificates.token_keys import TokenKey, token_key
from ansible_collections.certlogon.core.plugins.module_utils.certificates.token_uri import TokenUri
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import crypto, crypto_ec, crypto_rsa, pkcs11, x509

# DER of the curve's object identifier (CKA_EC_PARAMS) -> name of cryptography's class
CURVES = {
    "secp256r1": bytes.fromhex("06082a8648ce3d030107"),
    "secp384r1": bytes.fromhex("06052b81040022"),
    "secp521r1": bytes.fromhex("06052b81040023"),
}
_MODULE_FOLDERS = ("/usr/lib/*-linux-gnu/pkcs11", "/usr/lib/*-linux-gnu", "/usr/lib/*-linux-gnu/softhsm", "/usr/lib64/pkcs11", "/usr/lib64",
                   "/usr/lib/softhsm", "/usr/lib/pkcs11", "/usr/lib", "/usr/local/lib/pkcs11", "/usr/local/lib")  # fmt: skip
DEFAULT_MODULES = ("p11-kit-proxy", "opensc-pkcs11")
_users: dict[str, int] = {}


@dataclass(frozen=True)
class KeyFacts:
    """A key pair as the token describes it. `private` says whether the private half was seen, which needs the PIN.

    `public` is the `key_id` of the public key, empty where the token does not tell it; a token may name its keys (`id`) otherwise.
    `sensitive`, `extractable` and `generated` (CKA_LOCAL: made on the token) are None where the private half was not seen.
    """

    id: bytes
    label: str
    kind: str
    bits: int
    private: bool
    public: bytes = b""
    sensitive: bool | None = None
    extractable: bool | None = None
    generated: bool | None = None


@dataclass(frozen=True)
class TokenCertificate:
    """A certificate on a token; `id` is that of its key."""

    id: bytes
    label: str
    certificate: Certificate


@dataclass(frozen=True)
class Contents:
    """What a token holds, and the token's own description. Certificates that cannot be read are counted only."""

    token: dict[str, str]
    keys: tuple[KeyFacts, ...] = ()
    certificates: tuple[TokenCertificate, ...] = ()
    unreadable: tuple[str, ...] = field(default=())


def key_id(public_key: bytes) -> bytes:
    """The CKA_ID of a key: SHA-1 of its subjectPublicKey bits, as in the subject key identifier (RFC 5280 4.2.1.2, method 1)."""
    return hashlib.sha1(public_key, usedforsecurity=False).digest()


def public_bits(public: Any) -> bytes:
    """The content of the subjectPublicKey bit string (a cryptography public key)."""
    encoding, form = crypto.serialization.Encoding, crypto.serialization.PublicFormat
    if isinstance(public, crypto_rsa.RSAPublicKey):
        return bytes(public.public_bytes(encoding.DER, form.PKCS1))
    return bytes(public.public_bytes(encoding.X962, form.UncompressedPoint))


def open_token(uri: str, pin: str | None = None, module: str | None = None, *, write: bool = True, spend_last_try: bool = False) -> Token:
    """A session with the one token that the URI names; use it as a context manager, or `close()` it.

    pin: the user PIN; left out, what `pin-source` of the URI names; without either, only public objects are seen and nothing is written.
    module: path or name of the PKCS#11 library; left out, `module-path` or `module-name` of the URI, else p11-kit's proxy or OpenSC.
    spend_last_try: whether the PIN may be tried where a wrong one would lock the token.

    Raises `TokenError` of one kind or another (`token_errors`), `FormatError` for the URI.
    """
    wanted = _parsed(uri)
    library = find_module(module or wanted.module_path or wanted.module_name)
    pin = pin or read_pin(wanted)
    lib = _load(library)
    try:
        with translated(str(wanted), "looking for it"):
            found = _choose(wanted, lib)
        _check_pin_state(found, pin, spend_last_try)
        return Token(wanted, library, found, _log_in(found, pin, write), pin)
    except BaseException:
        _release(library, lib)
        raise


def _parsed(uri: str) -> TokenUri:
    try:
        return token_uri.parse(uri)
    except FormatError as error:
        shown = "the URI" if "pin-value" in uri else repr(uri)
        raise FormatError(f"{shown}: {error}") from None


# ---- the library


def find_module(name: str | None) -> str:
    """The path of a PKCS#11 library: as given where it is a path, searched in the usual folders where it is a name."""
    if name and "/" in name:
        if not Path(name).is_file():
            raise ModuleMissing(f"PKCS#11 library {name}: there is no such file; install the card's software, or name its library's path")
        return name
    for one in [name] if name else DEFAULT_MODULES:
        for folder in _MODULE_FOLDERS:
            for file in (one, f"{one}.so", f"lib{one}.so"):
                for path in sorted(Path("/").glob(f"{folder[1:]}/{file}")):
                    if path.is_file():
                        return str(path)
    if name:
        raise ModuleMissing(f"PKCS#11 library {name}: not found in the usual folders; name its path, as in /usr/lib/.../{name}.so")
    raise ModuleMissing(
        "no PKCS#11 library was named, and neither p11-kit's nor OpenSC's is there; install opensc, or name the card's own library "
        "(module-path in the URI)"
    )


def _load(path: str) -> Any:
    if not hasattr(pkcs11, "lib"):
        raise ModuleMissing(f"PKCS#11 library {path}: the Python library python-pkcs11 is of a version without lib()")
    try:
        lib = pkcs11.lib(path)
    except Exception as error:
        if not is_library_error(error):
            raise
        raise ModuleMissing(
            f"PKCS#11 library {path}: cannot be loaded: {error or type(error).__name__}; is it a PKCS#11 library?"
        ) from None
    _users[path] = _users.get(path, 0) + 1
    return lib


def _release(path: str, lib: Any) -> None:
    """End with the library after its last user, so that the next one sees cards inserted meanwhile."""
    _users[path] -= 1
    if not _users[path] and lib.initialized:
        try:
            lib.finalize()
        except Exception as error:
            if not is_library_error(error):
                raise


# ---- the token


def _facts(token: Any) -> dict[str, str | int]:
    slot = token.slot
    return {
        "token": token.label,
        "manufacturer": token.manufacturer_id,
        "serial": token.serial.decode("utf-8", "replace").strip(),
        "model": token.model,
        "slot_manufacturer": slot.manufacturer_id,
        "slot_description": slot.slot_description,
        "slot_id": slot.slot_id,
    }


def _choose(wanted: TokenUri, lib: Any) -> Any:
    """The one token that is meant."""
    tokens: list[Any] = []
    blank: list[Any] = []
    for slot in lib.get_slots(token_present=True):
        try:
            token = slot.get_token()
        except (pkcs11.TokenNotPresent, pkcs11.TokenNotRecognised):
            continue
        ready = token.flags & pkcs11.TokenFlag.TOKEN_INITIALIZED
        if wanted.matches(_facts(token)):
            (tokens if ready else blank).append(token)
    if len(tokens) > 1:
        shown = "; ".join(str(TokenUri(token=token.label, serial=str(_facts(token)["serial"]))) for token in tokens)
        raise TokenAmbiguous(f"{wanted}: {len(tokens)} tokens fit: {shown}; name one of them")
    if tokens:
        return tokens[0]
    if blank:
        raise TokenNotInitialized(
            f"{wanted}: the token is not initialized; set it up with the card's own tool (or pkcs15-init, softhsm2-util)"
        )
    there = ", ".join(repr(token.label) for token in _initialized(lib)) or "no initialized token"
    raise TokenAbsent(f"{wanted}: no such token; {there} is there. Insert the card, or mend the URI")


def _initialized(lib: Any) -> Iterator[Any]:
    for slot in lib.get_slots(token_present=True):
        try:
            token = slot.get_token()
        except (pkcs11.TokenNotPresent, pkcs11.TokenNotRecognised):
            continue
        if token.flags & pkcs11.TokenFlag.TOKEN_INITIALIZED:
            yield token


# ---- the PIN


def read_pin(uri: TokenUri) -> str | None:
    """The PIN that `pin-source` names: a file (path, or file: URI) whose first line it is. None where the URI has none."""
    source = uri.pin_source
    if source is None:
        return None
    if source.startswith("|"):
        raise FormatError(f"{uri}: pin-source is a command, which is not run; name a file")
    path = Path(source.removeprefix("file:").replace("///", "/", 1) if source.startswith("file:") else source)
    try:
        with path.open(encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & 0o007:
                raise UserError(f"{uri}: the PIN's file {path} can be read by everybody; chmod 600 {path}")
            pin = file.readline().rstrip("\r\n")
    except OSError as error:
        raise UserError(f"{uri}: the PIN's file {path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise FormatError(f"{uri}: the PIN's file {path} is no UTF-8 text") from None
    if not pin:
        raise FormatError(f"{uri}: the first line of the PIN's file {path} is empty")
    return pin


def _check_pin_state(token: Any, pin: str | None, spend_last_try: bool) -> None:
    """Refuse to try a PIN that the token would not take, or whose failure would lock it."""
    flags, name = token.flags, _named(token)
    kinds = pkcs11.TokenFlag
    if pin is None:
        return
    if flags & kinds.USER_PIN_LOCKED:
        raise PinLocked(f"{name}: its PIN is locked; unlock it with the PUK, or wait where the card unlocks itself, and mend the PIN first")
    if not flags & kinds.USER_PIN_INITIALIZED:
        raise TokenNotInitialized(f"{name}: its user PIN was never set; set it with the card's own tool")
    if flags & kinds.USER_PIN_FINAL_TRY and not spend_last_try:
        raise PinLastTry(
            f"{name}: one try is left before the card locks itself, and it was not spent; "
            "check the PIN, log in once with the card's own tool, or set spend_last_try"
        )


def _log_in(token: Any, pin: str | None, write: bool) -> Any:
    with translated(_named(token), "opening it"):
        try:
            return token.open(rw=write and pin is not None, user_pin=pin)
        except pkcs11.UserAlreadyLoggedIn:
            return token.open(rw=write)
        except (pkcs11.PinIncorrect, pkcs11.PinLocked):
            raise _wrong_pin(token) from None


def _wrong_pin(token: Any) -> UserError:
    """A wrong PIN, with what the token tells of the tries that are left."""
    flags, kinds = token.slot.get_token().flags, pkcs11.TokenFlag
    if flags & kinds.USER_PIN_LOCKED:
        return PinLocked(f"{_named(token)}: the PIN is wrong, and the card has locked itself; unlock it with the PUK")
    left = "a few tries are" if flags & kinds.USER_PIN_COUNT_LOW else "tries are"
    left = "one try is" if flags & kinds.USER_PIN_FINAL_TRY else left
    return PinIncorrect(f"{_named(token)}: the PIN is wrong; {left} left before the card locks itself. Mend it before the next run")


def _named(token: Any) -> str:
    return f"token {token.label!r}"


# ---- the session


class Token:
    """An open session with a token. Everything that it raises is a `TokenError`."""

    def __init__(self, uri: TokenUri, library: str, token: Any, session: Any, pin: str | None) -> None:
        self.uri, self._library, self._token, self._session = uri, library, token, session
        self._pin = pin
        self._lib: Any = pkcs11.lib(library)
        self.facts = {name: str(value) for name, value in _facts(token).items()}

    def __enter__(self) -> Token:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self._session is None:
            return
        try:
            self._session.close()
        except Exception as error:
            if not is_library_error(error):
                raise
        self._session = None
        _release(self._library, self._lib)

    @property
    def label(self) -> str:
        return self.facts["token"]

    @property
    def serial(self) -> str:
        return self.facts["serial"]

    @property
    def logged_in(self) -> bool:
        return self._pin is not None

    def __str__(self) -> str:
        return f"token {self.label!r}"

    # ---- reading

    def contents(self) -> Contents:
        """All keys and certificates, in one read."""
        certificates, unreadable = self._certificates()
        facts = {name: self.facts[name] for name in ("token", "manufacturer", "serial", "model")}
        return Contents(facts, tuple(self.keys()), tuple(certificates), tuple(unreadable))

    def certificates(self) -> list[TokenCertificate]:
        """The X.509 certificates, by label. Objects that are none are left out."""
        return self._certificates()[0]

    def _certificates(self) -> tuple[list[TokenCertificate], list[str]]:
        kind = pkcs11.Attribute
        found, unreadable = [], []
        with translated(str(self), "reading its certificates"):
            for one in self._objects(pkcs11.ObjectClass.CERTIFICATE):
                label = _attribute(one, kind.LABEL, "")
                try:
                    certificate = load_one(bytes(_attribute(one, kind.VALUE, b"")))
                except FormatError:
                    unreadable.append(label)
                    continue
                found.append(TokenCertificate(bytes(_attribute(one, kind.ID, b"")), label, certificate))
        return sorted(found, key=lambda one: (one.label, one.id, one.certificate.der)), unreadable

    def keys(self) -> list[KeyFacts]:
        """The key pairs, by label. Without the PIN, those whose public half the token shows."""
        kind, classes = pkcs11.Attribute, pkcs11.ObjectClass
        pairs: dict[bytes, KeyFacts] = {}
        with translated(str(self), "reading its keys"):
            for one in self._objects(classes.PUBLIC_KEY):
                public = _public_key(one)
                if public is not None:
                    id = bytes(_attribute(one, kind.ID, b""))
                    pairs[id] = KeyFacts(id, _attribute(one, kind.LABEL, ""), *_kind(public), False, key_id(public_bits(public)))
            for one in self._objects(classes.PRIVATE_KEY):
                id = bytes(_attribute(one, kind.ID, b""))
                public = self._public_half(one, id)
                known = ("unknown", 0, True, b"") if public is None else (*_kind(public), True, key_id(public_bits(public)))
                pairs[id] = KeyFacts(
                    id,
                    _attribute(one, kind.LABEL, ""),
                    *known,
                    sensitive=_attribute(one, kind.SENSITIVE, None),
                    extractable=_attribute(one, kind.EXTRACTABLE, None),
                    generated=_attribute(one, kind.LOCAL, None),
                )
        return sorted(pairs.values(), key=lambda one: (one.label, one.id))

    def find_key(self, label: str | None = None, id: bytes | None = None) -> TokenKey:
        """The private key with this label and id; left out, those of the URI; all that is given must fit. Needs the PIN."""
        if label is None and id is None:
            label, id = self.uri.object, self.uri.id
        return self._only_key(label, id)

    def _only_key(self, label: str | None, id: bytes | None) -> TokenKey:
        if not self.logged_in:
            raise PinMissing(f"{self}: its private keys are seen only with the PIN; give pin, or pin-source in the URI")
        with translated(str(self), "looking for the key"):
            found = list(self._objects(pkcs11.ObjectClass.PRIVATE_KEY, label, id))
            what = " and ".join([f"label {label!r}"] * (label is not None) + [f"id {(id or b'').hex()}"] * (id is not None)) or "any name"
            if not found:
                raise NoSuchKey(f"{self}: it has no private key with {what}")
            if len(found) > 1:
                ids = ", ".join(bytes(_attribute(one, pkcs11.Attribute.ID, b"")).hex() for one in found)
                raise KeyAmbiguous(f"{self}: {len(found)} private keys have {what}; name one by its id in the URI (ids {ids})")
            return self._usable(found[0])

    def _usable(self, private: Any) -> TokenKey:
        kind = pkcs11.Attribute
        id, label = bytes(_attribute(private, kind.ID, b"")), _attribute(private, kind.LABEL, "")
        public = self._public_half(private, id)
        if public is None:
            raise NoSuchKey(f"{self}: nothing on it tells the public half of key {label!r} (id {id.hex()})")
        again = self._pin if _attribute(private, kind.ALWAYS_AUTHENTICATE, False) else None

        def sign(mechanism: Any, data: bytes, parameter: Any) -> bytes:
            with translated(str(self), f"signing with key {label!r}"):
                if not hasattr(private, "sign"):
                    raise TokenRefuses(f"{self}: key {label!r} is not for signing")
                return bytes(private.sign(data, mechanism=mechanism, mechanism_param=parameter, pin=again))

        return token_key(public, label, id, sign)

    def _public_half(self, private: Any, id: bytes) -> Any:
        """The public key, from the private key's own attributes, the public key or the certificate of the same id."""
        public = _public_key(private)
        for one in self._objects(pkcs11.ObjectClass.PUBLIC_KEY, None, id) if public is None and id else ():
            public = public or _public_key(one)
        for one in self._certificates()[0] if public is None and id else ():
            if one.id == id:
                return _of_certificate(one.certificate)
        return public

    def _objects(self, kind: Any, label: str | None = None, id: bytes | None = None) -> list[Any]:
        wanted: dict[Any, Any] = {pkcs11.Attribute.CLASS: kind}
        if label is not None:
            wanted[pkcs11.Attribute.LABEL] = label
        if id is not None:
            wanted[pkcs11.Attribute.ID] = id
        return list(self._session.get_objects(wanted))

    # ---- writing

    def generate_rsa(self, label: str, bits: int) -> TokenKey:
        """A new RSA key pair, sensitive and not extractable. The token makes it, and it never leaves it."""
        with translated(str(self), f"making an RSA key of {bits} bits"):
            self._need_pin()
            capabilities = (
                pkcs11.MechanismFlag.SIGN | pkcs11.MechanismFlag.VERIFY | pkcs11.MechanismFlag.ENCRYPT | pkcs11.MechanismFlag.DECRYPT
            )
            pair = self._session.generate_keypair(pkcs11.KeyType.RSA, bits, **self._new_key(label, capabilities))
            return self._name_by_hash(*pair)

    def generate_ec(self, label: str, curve: str) -> TokenKey:
        """A new EC key pair on secp256r1, secp384r1 or secp521r1; as `generate_rsa`."""
        if curve not in CURVES:
            raise UserError(f"{self}: no keys are made on curve {curve!r}; there are {', '.join(CURVES)}")
        with translated(str(self), f"making a key on {curve}"):
            self._need_pin()
            parameters = self._session.create_domain_parameters(pkcs11.KeyType.EC, {pkcs11.Attribute.EC_PARAMS: CURVES[curve]}, local=True)
            capabilities = pkcs11.MechanismFlag.SIGN | pkcs11.MechanismFlag.VERIFY
            return self._name_by_hash(*parameters.generate_keypair(**self._new_key(label, capabilities)))

    def _new_key(self, label: str, capabilities: Any) -> dict[str, Any]:
        kind = pkcs11.Attribute
        return {
            "id": secrets.token_bytes(20),
            "label": label,
            "store": True,
            "capabilities": capabilities,
            "public_template": {kind.PRIVATE: False},
            "private_template": {kind.PRIVATE: True, kind.SENSITIVE: True, kind.EXTRACTABLE: False},
        }

    def _name_by_hash(self, public: Any, private: Any) -> TokenKey:
        id = key_id(public_bits(_public_key(public)))
        try:
            public[pkcs11.Attribute.ID] = private[pkcs11.Attribute.ID] = id
        except Exception as error:
            if not is_library_error(error):
                raise
            # a token that keeps the id it was given first, or gives its own; both halves must agree
            kept = bytes(_attribute(private, pkcs11.Attribute.ID, b""))
            if bytes(_attribute(public, pkcs11.Attribute.ID, b"")) != kept:
                raise
        return self._usable(private)

    def import_key(self, label: str, key: Any) -> bytes:
        """Put a private key of the library cryptography on the token, sensitive and not extractable; returns its id."""
        public = key.public_key()
        id = key_id(public_bits(public))
        kind, classes = pkcs11.Attribute, pkcs11.ObjectClass
        common = {kind.TOKEN: True, kind.ID: id, kind.LABEL: label}
        secret = {
            **common,
            kind.CLASS: classes.PRIVATE_KEY,
            kind.PRIVATE: True,
            kind.SENSITIVE: True,
            kind.EXTRACTABLE: False,
            kind.SIGN: True,
        }
        private_values, public_values = _importable(key, str(self))
        with translated(str(self), f"importing key {label!r}"):
            self._need_pin()
            made = self._session.create_object({**secret, **private_values})
            try:
                self._session.create_object(
                    {**common, kind.CLASS: classes.PUBLIC_KEY, kind.PRIVATE: False, kind.VERIFY: True, **public_values}
                )
            except BaseException:
                made.destroy()
                raise
        return id

    def store_certificate(self, label: str, id: bytes, der: bytes) -> None:
        """Put a certificate beside the key with this id. One of the same id that it replaces is removed after it was written."""
        new = load_one(der)
        kind = pkcs11.Attribute
        with translated(str(self), f"storing certificate {label!r}"):
            self._need_pin()
            old = [one for one in self._objects(pkcs11.ObjectClass.CERTIFICATE, None, id) if _attribute(one, kind.ID, b"") == id]
            subject, issuer, serial = _names(new)
            self._session.create_object(
                {
                    kind.CLASS: pkcs11.ObjectClass.CERTIFICATE,
                    kind.CERTIFICATE_TYPE: pkcs11.CertificateType.X_509,
                    kind.TOKEN: True,
                    kind.PRIVATE: False,
                    kind.LABEL: label,
                    kind.ID: id,
                    kind.SUBJECT: subject,
                    kind.ISSUER: issuer,
                    kind.SERIAL_NUMBER: serial,
                    kind.VALUE: der,
                }
            )
            for one in old:
                one.destroy()

    def delete_certificate(self, der: bytes) -> None:
        """Remove every copy of this certificate."""
        with translated(str(self), "deleting a certificate"):
            self._need_pin()
            for one in self._objects(pkcs11.ObjectClass.CERTIFICATE):
                if bytes(_attribute(one, pkcs11.Attribute.VALUE, b"")) == der:
                    one.destroy()

    def delete_key(self, id: bytes) -> None:
        """Remove both halves of the key pair with this id. Nobody can bring it back."""
        with translated(str(self), f"deleting key {id.hex()}"):
            self._need_pin()
            for kind in (pkcs11.ObjectClass.PRIVATE_KEY, pkcs11.ObjectClass.PUBLIC_KEY):
                for one in self._objects(kind, None, id) if id else ():
                    one.destroy()

    def _need_pin(self) -> None:
        if not self.logged_in:
            raise PinMissing(f"{self}: nothing is written on it without the PIN; give pin, or pin-source in the URI")


# ---- objects


def _attribute(one: Any, attribute: Any, default: Any) -> Any:
    """An attribute's value; the default where the token has none or does not tell."""
    try:
        return one[attribute]
    except Exception as error:
        if not is_library_error(error) or type(error).__name__ in ("DeviceRemoved", "DeviceError", "TokenNotPresent"):
            raise
        return default


def _public_key(one: Any) -> Any:
    """The public key that an object's attributes tell; None where they do not."""
    kind = pkcs11.Attribute
    modulus, exponent = _attribute(one, kind.MODULUS, None), _attribute(one, kind.PUBLIC_EXPONENT, None)
    if modulus and exponent:
        return crypto_rsa.RSAPublicNumbers(int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big")).public_key()
    parameters, point = bytes(_attribute(one, kind.EC_PARAMS, b"")), bytes(_attribute(one, kind.EC_POINT, b""))
    curve = next((name for name, der in CURVES.items() if der == parameters), None)
    if curve is None or not point:
        return None
    # an OCTET STRING around the point, as the standard has it, or the bare point
    size = (_curve(curve).key_size + 7) // 8 * 2 + 1
    return crypto_ec.EllipticCurvePublicKey.from_encoded_point(_curve(curve), point[-size:])


def _curve(name: str) -> Any:
    return getattr(crypto_ec, name.upper())()


def _kind(public: Any) -> tuple[str, int]:
    return ("rsa" if isinstance(public, crypto_rsa.RSAPublicKey) else "ec"), int(public.key_size)


def _of_certificate(certificate: Certificate) -> Any:
    return x509.load_der_x509_certificate(certificate.der).public_key()


def _names(certificate: Certificate) -> tuple[bytes, bytes, bytes]:
    """DER of subject, issuer and serial number, by which other programs look a certificate up."""
    parsed = x509.load_der_x509_certificate(certificate.der)
    number = certificate.serial
    content = number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)
    return parsed.subject.public_bytes(), parsed.issuer.public_bytes(), bytes([2, len(content)]) + content


def _importable(key: Any, token: str) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """The attributes of the private and of the public half."""
    kind, types = pkcs11.Attribute, pkcs11.KeyType
    numbers = key.private_numbers()
    if isinstance(key, crypto_rsa.RSAPrivateKey):
        public = {
            kind.KEY_TYPE: types.RSA,
            kind.MODULUS: _big(numbers.public_numbers.n),
            kind.PUBLIC_EXPONENT: _big(numbers.public_numbers.e),
        }
        private = {
            kind.PRIVATE_EXPONENT: _big(numbers.d),
            kind.PRIME_1: _big(numbers.p),
            kind.PRIME_2: _big(numbers.q),
            kind.EXPONENT_1: _big(numbers.dmp1),
            kind.EXPONENT_2: _big(numbers.dmq1),
            kind.COEFFICIENT: _big(numbers.iqmp),
            kind.DECRYPT: True,
        }
        return {**public, **private}, {**public, kind.ENCRYPT: True}
    if isinstance(key, crypto_ec.EllipticCurvePrivateKey) and key.curve.name in CURVES:
        point = public_bits(key.public_key())
        length = bytes([len(point)]) if len(point) < 128 else bytes([0x81, len(point)])
        common = {kind.KEY_TYPE: types.EC, kind.EC_PARAMS: CURVES[key.curve.name]}
        value = numbers.private_value.to_bytes((key.key_size + 7) // 8, "big")
        return {**common, kind.VALUE: value}, {**common, kind.EC_POINT: b"\x04" + length + point}
    raise UserError(f"{token}: a key of this type is not imported; it takes RSA and the EC curves {', '.join(CURVES)}")


def _big(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
