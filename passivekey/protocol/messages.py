# SPDX-License-Identifier: GPL-3.0-or-later
"""Proofs, seeds on their way, cookies and policies: JWS and JWE with nothing left to choose (RFC 7515, RFC 7516)."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap
from joserfc import jwe, jws
from joserfc.errors import JoseError

from passivekey.protocol import codes, keys
from passivekey.protocol.errors import Refused

LONGEST = 65536
"""Octets of a message."""

CLOCK = 300
"""Seconds that a proof's time may differ from the server's."""

PROOF, CODE, POLICY = "passivekey-proof+jwt", "passivekey-code+jwt", "passivekey-policy+jwt"
SUCCESSION = "passivekey-succession+jwt"
SEED, COOKIE, SEALED = "passivekey-seed", "passivekey-cookie", "passivekey-sealed-seed"
_CHANGING = frozenset({"crit", "zip", "b64"})
"""Headers that change what a message is."""

_JOSE = (JoseError, TypeError, KeyError, AttributeError)
"""What joserfc raises of headers that are of the wrong type."""

_DEVICE = re.compile(r"[0-9a-f]{32}")
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Claims = dict[str, Any]


# ---- what all of them are made of


def text(value: bytes) -> str:
    """base64url without padding."""
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def octets(value: object, code: str = "malformed") -> bytes:
    """The octets of base64url without padding."""
    if not isinstance(value, str) or "=" in value or len(value) > LONGEST:
        raise Refused(code, "not base64url without padding")
    try:
        found = urlsafe_b64decode(value + "=" * (-len(value) % 4))
    except (ValueError, Base64Error) as error:
        raise Refused(code, "not base64url without padding") from error
    if text(found) != value:  # characters that decoders skip, and bits that they ignore
        raise Refused(code, "not base64url without padding")
    return found


def parsed(content: bytes, code: str = "malformed") -> Any:
    """JSON (RFC 8259) that means one thing: UTF-8, no member twice, no characters that are none, no numbers that are none."""
    try:
        found = json.loads(content.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse_constant)
        if b"\\u" in content:
            json.dumps(found, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise Refused(code, "it is no JSON, or JSON that could be read in two ways") from error
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member that is there twice")
    return found


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no number")


def header(token: object, kind: str, code: str) -> Claims:
    """The protected header of a compact serialisation, of the type expected; nothing of it is verified yet."""
    if not isinstance(token, str) or len(token) > LONGEST:
        raise Refused(code, "no message, or too long")
    found = parsed(octets(token.partition(".")[0], code), code)
    if not isinstance(found, dict) or found.get("typ") != kind or not isinstance(found.get("kid"), str):
        raise Refused(code, f"not of type {kind}")
    if not _CHANGING.isdisjoint(found) or not all(isinstance(found.get(name, ""), str) for name in ("alg", "enc", "cty")):
        raise Refused(code, "its header has what this protocol does not")
    return found


def signed(signer: keys.Signer, kind: str, kid: str, claims: Mapping[str, Any]) -> str:
    head = {"typ": kind, "alg": keys.algorithm(signer.public_key), "kid": kid}
    message = ".".join(text(json.dumps(part, separators=(",", ":")).encode()) for part in (head, claims))
    return f"{message}.{text(signer.sign(message.encode()))}"


def verified(token: object, kind: str, key: keys.PublicKey, code: str) -> Claims:
    """The claims of a message that this key signed."""
    header(token, kind, code)
    try:
        payload = jws.deserialize_compact(str(token), keys.jose(key), [keys.algorithm(key)]).payload
    except (*_JOSE, ValueError) as error:
        raise Refused(code, "the signature is not the key's") from error
    found = parsed(payload, code)
    if not isinstance(found, dict):
        raise Refused(code, "its payload is no object")
    return found


def encrypted(key: keys.PublicKey, kind: str, kid: str, plaintext: bytes, **more: str) -> str:
    head = {"typ": kind, "alg": _agreement(key), "enc": "A256GCM", "kid": kid, **more}
    return jwe.encrypt_compact(head, plaintext, keys.jose(key), algorithms=[_agreement(key), "A256GCM"])


def decrypted(token: object, kind: str, key: PrivateKey, code: str) -> bytes:
    head = header(token, kind, code)
    if isinstance(key, keys.HeldKey):
        return _opened(str(token), head, key, code)
    try:
        found = jwe.decrypt_compact(str(token), keys.jose(key), algorithms=[_agreement(key), "A256GCM"]).plaintext
    except (*_JOSE, ValueError) as error:
        raise Refused(code, "it is not encrypted to this key") from error
    return found or b""


def _opened(token: str, head: Claims, key: keys.HeldKey, code: str) -> bytes:
    """The plaintext of a JWE by ECDH-ES+A256KW and A256GCM (RFC 7518 4.6, RFC 3394): joserfc wants keys that can be written out."""
    if (head.get("alg"), head.get("enc")) != (_agreement(key), "A256GCM") or token.count(".") != 4:
        raise Refused(code, "it is not encrypted as this protocol has it")
    other = keys.from_jwk(head.get("epk"), code)
    wrapped, nonce, sealed, tag = (octets(part, code) for part in token.split(".")[1:])
    parties = (_agreement(key).encode(), *(octets(head.get(name, ""), code) for name in ("apu", "apv")))
    info = b"".join(len(part).to_bytes(4, "big") + part for part in parties) + (256).to_bytes(4, "big")
    if (len(wrapped), len(nonce), len(tag)) != (40, 12, 16):
        raise Refused(code, "it is not encrypted as this protocol has it")
    secret = key.exchange(ec.ECDH(), other)
    try:
        content_key = aes_key_unwrap(ConcatKDFHash(SHA256(), 32, info).derive(secret), wrapped)
        return AESGCM(content_key).decrypt(nonce, sealed + tag, token.partition(".")[0].encode())
    except (InvalidUnwrap, InvalidTag) as error:
        raise Refused(code, "it is not encrypted to this key") from error


def _agreement(key: keys.PublicKey | PrivateKey) -> str:
    return "RSA-OAEP-256" if isinstance(key, (rsa.RSAPublicKey, rsa.RSAPrivateKey)) else "ECDH-ES+A256KW"


def number(claims: Mapping[str, Any], name: str, code: str) -> int:
    value = claims.get(name)
    if type(value) is not int or not 0 <= value < 2**53:
        raise Refused(code, f"{name} is no number")
    return value


def string(claims: Mapping[str, Any], name: str, code: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str):
        raise Refused(code, f"{name} is no text")
    return value


# ---- proofs (3.3)


def proof(signer: keys.Signer, device: str, audience: str, nonce: str, now: int, **claims: Any) -> str:
    return signed(signer, PROOF, device, {"aud": audience, "nonce": nonce, "iat": now, **claims})


def device_of(token: object, kind: str = PROOF) -> str:
    """The device that a message says it is from."""
    found = str(header(token, kind, "proof-refused")["kid"])
    if not _DEVICE.fullmatch(found):
        raise Refused("proof-refused", "its kid is no device")
    return found


def read_proof(token: object, key: keys.PublicKey, audience: str, now: float) -> Claims:
    """Its claims; the nonce is still to be spent."""
    claims = verified(token, PROOF, key, "proof-refused")
    if claims.get("aud") != audience:
        raise Refused("proof-refused", "made for another address")
    if abs(number(claims, "iat", "proof-refused") - now) > CLOCK:
        raise Refused("proof-refused", "made at another time; is the clock right?")
    string(claims, "nonce", "proof-refused")
    return claims


# ---- seeds (3.5), and seeds at rest


def deliver(seed: codes.Seed, device: str, key: keys.PublicKey, issued: int) -> str:
    """The seed, encrypted to the device."""
    words = {"device": device, "seed": text(seed.value), "issued": issued, "step": seed.step, "digits": seed.digits}
    return encrypted(key, SEED, device, json.dumps(words).encode())


def take(token: object, device: str, key: PrivateKey) -> codes.Seed:
    """The seed that the server sent; refused if it is another device's."""
    words = parsed(decrypted(token, SEED, key, "malformed"))
    if not isinstance(words, dict) or words.get("device") != device or device_of(token, SEED) != device:
        raise Refused("malformed", "the seed is another device's")
    value, digits, step = octets(words.get("seed")), words.get("digits"), number(words, "step", "malformed")
    known = {name: number(digits, name, "malformed") for name in codes.CHANNELS} if isinstance(digits, dict) else {}
    if len(value) < 20 or not 15 <= step <= 120 or not known or not all(6 <= length <= 8 for length in known.values()):
        raise Refused("malformed", "the seed, its step or its digits are out of bounds")
    return codes.Seed(value, step, known)


def seal(seed: bytes, device: str, key: keys.PublicKey, kid: str) -> str:
    """A seed at rest, encrypted to a storage key; bound to the device, so that rows cannot be exchanged."""
    return encrypted(key, SEALED, kid, seed, cty=device)


def unseal(token: object, device: str, key: PrivateKey) -> bytes:
    if header(token, SEALED, "unavailable").get("cty") != device:
        raise Refused("unavailable", "the stored seed is another device's")
    return decrypted(token, SEALED, key, "unavailable")


# ---- cookies (5)


@dataclass(frozen=True)
class Cookie:
    """An opened cookie, of whom it says it is; its signature is still to be verified by that device's key."""

    device: str
    token: str


@dataclass(frozen=True)
class WebCode:
    site: str
    counter: int
    code: str
    issued: int


def cookie(signer: keys.Signer, device: str, seed: codes.Seed, cookie_key: Mapping[str, Any], site: str, now: float) -> str:
    """The cookie of a site at this time; `cookie_key` is the first of the policy."""
    counter = codes.counter_at(now, seed.step)
    claims = {"aud": site, "counter": counter, "code": seed.code("web", counter, site), "iat": int(now)}
    return encrypted(keys.from_jwk(cookie_key), COOKIE, str(cookie_key["kid"]), signed(signer, CODE, device, claims).encode(), cty="JWT")


def open_cookie(value: object, cookie_keys: Mapping[str, PrivateKey]) -> Cookie:
    kid = header(value, COOKIE, "malformed")["kid"]
    if kid not in cookie_keys:
        raise Refused("malformed", "encrypted to a key that is not, or no longer, ours")
    token = decrypted(value, COOKIE, cookie_keys[kid], "malformed").decode("ascii", "replace")
    return Cookie(device_of(token, CODE), token)


def read_cookie(opened: Cookie, key: keys.PublicKey, site: str) -> WebCode:
    claims = verified(opened.token, CODE, key, "malformed")
    if claims.get("aud") != site:
        raise Refused("malformed", "made for another site")
    return WebCode(site, *(_web(claims)))


def _web(claims: Mapping[str, Any]) -> tuple[int, str, int]:
    return number(claims, "counter", "malformed"), string(claims, "code", "malformed"), number(claims, "iat", "malformed")


# ---- policies (8)


def policy(signer: keys.Signer, claims: Mapping[str, Any]) -> str:
    return signed(signer, POLICY, str(keys.jwk(signer.public_key)["kid"]), claims)


def read_policy(token: object, policy_keys: Iterable[Mapping[str, Any]], now: float, least_serial: int = 0) -> Claims:
    """The policy, if one of these keys signed it, and it is no older than what was seen before."""
    kid = header(token, POLICY, "malformed")["kid"]
    key = next((words for words in policy_keys if words.get("kid") == kid), None)
    if key is None:
        raise Refused("malformed", "the policy is signed by an unknown key")
    claims = verified(token, POLICY, keys.from_jwk(key), "malformed")
    if number(claims, "serial", "malformed") < least_serial:
        raise Refused("malformed", "the policy is older than the one before")
    if number(claims, "expires", "malformed") < now:
        raise Refused("malformed", "the policy has expired")
    return claims


def follow(known: list[keys.Jwk], succession: list[str]) -> list[keys.Jwk]:
    """The policy keys that follow from those known, by what each signed for the next."""
    found = list(known)
    for statement in succession:
        signer = header(statement, SUCCESSION, "malformed")["kid"]
        key = next((words for words in found if words.get("kid") == signer), None)
        if key is not None:
            claims = verified(statement, SUCCESSION, keys.from_jwk(key), "malformed")
            found.append(keys.jwk(keys.from_jwk(claims.get("next"))))
    return found
