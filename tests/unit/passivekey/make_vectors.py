# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes vectors.json from fixed keys: `python tests/unit/passivekey/make_vectors.py > tests/unit/passivekey/vectors.json`.

The codes are computed by pyotp and hmac alone, the messages by jwcrypto: what the vectors hold was not made by the code that they judge.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pyotp
from jwcrypto import jwe, jwk, jws

SEED = bytes(range(32))
DEVICE = "00112233445566778899aabbccddeeff"
NOW = 1_800_000_000
SITE = "intranet.corp.example"
ORIGIN = "https://passivekey.corp.example"


def b64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def key(label: str) -> jwk.JWK:
    """A P-256 key whose private scalar is the SHA-256 of a label."""
    from cryptography.hazmat.primitives.asymmetric import ec

    scalar = int.from_bytes(hashlib.sha256(label.encode()).digest(), "big")
    private = ec.derive_private_key(scalar, ec.SECP256R1())
    return jwk.JWK.from_pyca(private)


def hkdf(info: str) -> bytes:
    """RFC 5869 with an empty salt and one block."""
    extracted = hmac.new(bytes(32), SEED, hashlib.sha256).digest()
    return hmac.new(extracted, info.encode() + b"\x01", hashlib.sha256).digest()


def code(info: str, counter: int, digits: int) -> str:
    secret = base64.b32encode(hkdf(info)).decode()
    return pyotp.HOTP(secret, digits=digits, digest=hashlib.sha256).at(counter)


def signed(typ: str, kid: str, claims: dict, by: jwk.JWK) -> str:
    token = jws.JWS(json.dumps(claims, separators=(",", ":")))
    token.add_signature(by, None, json.dumps({"typ": typ, "alg": "ES256", "kid": kid}))
    return token.serialize(compact=True)


def encrypted(header: dict, plaintext: str, to: jwk.JWK) -> str:
    token = jwe.JWE(plaintext.encode(), json.dumps({"alg": "ECDH-ES+A256KW", "enc": "A256GCM", **header}))
    token.add_recipient(to)
    return token.serialize(compact=True)


def main() -> None:
    device, agreement, cookie, policy = (key(name) for name in ("device", "agreement", "cookie", "policy"))
    counter = NOW // 30
    cases = [("enrollment", "", 8), ("web", SITE, 8), ("web", "other.corp.example:8443", 8), ("radius", "", 6)]
    infos = {(channel, site): f"passivekey/1/{channel}" + (f"/{site}" if site else "") for channel, site, _digits in cases}
    codes = [
        {
            "channel": channel,
            "site": site,
            "digits": digits,
            "subseed": hkdf(infos[channel, site]).hex(),
            "codes": {str(step): code(infos[channel, site], step, digits) for step in (0, 1, counter - 1, counter, counter + 1)},
        }
        for channel, site, digits in cases
    ]
    web = code(infos["web", SITE], counter, 8)
    inner = signed("passivekey-code+jwt", DEVICE, {"aud": SITE, "counter": counter, "code": web, "iat": NOW}, device)
    seed = {"device": DEVICE, "seed": b64(SEED), "issued": NOW, "step": 30, "digits": {"enrollment": 8, "web": 8, "radius": 6}}
    claims = {"aud": f"{ORIGIN}/v1/devices/{DEVICE}/seed", "nonce": b64(bytes(16)), "iat": NOW}
    public = {**cookie.export_public(as_dict=True), "kid": cookie.thumbprint()}
    rules = {
        "serial": 7,
        "issued": NOW,
        "expires": NOW + 86400,
        "origin": ORIGIN,
        "sites": [SITE],
        "interval": 60,
        "step": 30,
        "cookie_keys": [public],
        "policy_keys": [{**policy.export_public(as_dict=True), "kid": policy.thumbprint()}],
        "hotkey": "ctrl+shift+o",
        "renew_at": 0.66,
    }
    vectors = {
        "seed": SEED.hex(),
        "device": DEVICE,
        "time": NOW,
        "keys": {
            name: {"private": each.export_private(as_dict=True), "kid": each.thumbprint()}
            for name, each in (("device", device), ("agreement", agreement), ("cookie", cookie), ("policy", policy))
        },
        "codes": codes,
        "proof": {"token": signed("passivekey-proof+jwt", DEVICE, claims, device), "claims": claims},
        "seed_message": encrypted({"typ": "passivekey-seed", "kid": DEVICE}, json.dumps(seed), agreement),
        "cookie": {"site": SITE, "value": encrypted({"typ": "passivekey-cookie", "cty": "JWT", "kid": cookie.thumbprint()}, inner, cookie)},
        "policy": {"token": signed("passivekey-policy+jwt", policy.thumbprint(), rules, policy), "claims": rules},
    }
    print(json.dumps(vectors, indent=1))


if __name__ == "__main__":
    main()
