# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests on behalf of somebody else: PKCS#10 within a CMS message that an enrollment agent signs ([MS-WCCE] 3.1.1.4.3.3, RFC 5652)."""

from __future__ import annotations

import hashlib
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import der, keys
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import crypto_ec, crypto_padding, x509

AGENT_PURPOSE = "1.3.6.1.4.1.311.20.2.1"
NAME_VALUE_PAIR = "1.3.6.1.4.1.311.13.2.1"
"""szOID_ENROLLMENT_NAME_VALUE_PAIR ([MS-WCCE] 2.2.2.7.10): SEQUENCE { name BMPString, value BMPString }."""

_SIGNED_DATA, _DATA = "1.2.840.113549.1.7.2", "1.2.840.113549.1.7.1"
_CONTENT_TYPE, _MESSAGE_DIGEST = "1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4"
_DIGESTS = {"sha256": "2.16.840.1.101.3.4.2.1", "sha384": "2.16.840.1.101.3.4.2.2", "sha512": "2.16.840.1.101.3.4.2.3"}
_ECDSA = {"sha256": "1.2.840.10045.4.3.2", "sha384": "1.2.840.10045.4.3.3", "sha512": "1.2.840.10045.4.3.4"}
_RSA = "1.2.840.113549.1.1.1"


def wrap(request: bytes, requester: str, agent_certificate: bytes, agent_key: Any, digest: str = "sha256") -> bytes:
    """The DER of the signed message. The key may be on a token. Raises `UserError` where certificate and key are not a pair."""
    certificate = x509.load_der_x509_certificate(agent_certificate)
    if keys.identity(certificate.public_key()) != keys.identity(agent_key.public_key()):
        raise UserError(f"on_behalf_of: the agent's key is not that of the agent's certificate ({certificate.subject.rfc4514_string()})")
    attributes = (
        _attribute(_CONTENT_TYPE, der.oid(_DATA)),
        _attribute(_MESSAGE_DIGEST, der.octet_string(hashlib.new(digest, request).digest())),
        _attribute(NAME_VALUE_PAIR, der.sequence(der.bmp_string("requestername"), der.bmp_string(requester))),
    )
    signed = der.set_of(*attributes)
    algorithm, signature = _sign(agent_key, signed, digest)
    digest_algorithm = der.sequence(der.oid(_DIGESTS[digest]), der.null())
    signer = der.sequence(
        der.integer(1),
        _issuer_and_serial(certificate),
        digest_algorithm,
        # RFC 5652 5.4: signed as SET OF, sent with the implicit tag
        b"\xa0" + signed[1:],
        algorithm,
        der.octet_string(signature),
    )
    message = der.sequence(
        der.integer(1),
        der.set_of(digest_algorithm),
        der.sequence(der.oid(_DATA), der.context(0, der.octet_string(request))),
        der.context(0, agent_certificate),
        der.set_of(signer),
    )
    return der.sequence(der.oid(_SIGNED_DATA), der.context(0, message))


def _attribute(kind: str, value: bytes) -> bytes:
    return der.sequence(der.oid(kind), der.set_of(value))


def _issuer_and_serial(certificate: Any) -> bytes:
    return der.sequence(certificate.issuer.public_bytes(), der.integer(certificate.serial_number))


def _sign(key: Any, content: bytes, digest: str) -> tuple[bytes, bytes]:
    """The signature's algorithm and the signature."""
    hashing = keys.hashing(digest)
    if isinstance(key.public_key(), crypto_ec.EllipticCurvePublicKey):
        return der.sequence(der.oid(_ECDSA[digest])), bytes(key.sign(content, crypto_ec.ECDSA(hashing)))
    return der.sequence(der.oid(_RSA), der.null()), bytes(key.sign(content, crypto_padding.PKCS1v15(), hashing))
