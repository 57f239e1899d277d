# SPDX-License-Identifier: GPL-3.0-or-later
"""PKCS#12 files (.pfx, .p12; RFC 7292): a key, its certificate and the chain."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate, load_one
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import crypto, pkcs12


@dataclass(frozen=True)
class KeyAndCertificate:
    """What a PKCS#12 file holds; `key` is a private key of the library cryptography."""

    key: Any = field(repr=False)
    certificate: Certificate
    chain: tuple[Certificate, ...]


def load(data: bytes, password: str | None) -> KeyAndCertificate:
    """The content. Raises `FormatError`, which does not name the password."""
    der = crypto.serialization.Encoding.DER
    if "\0" in (password or ""):
        raise FormatError("cannot be opened with a password that holds a NUL; mend the password")  # OpenSSL's binding would panic
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = pkcs12.load_pkcs12(data, password.encode() if password else None)
    except Exception as error:
        # ValueError for most, but foreign bytes have brought other kinds too
        reason = " ".join(str(error).split())[:120]
        if not data.startswith(b"\x30"):
            raise FormatError("is no PKCS#12 file (.pfx, .p12)") from None
        raise FormatError(f"cannot be opened: the password is wrong, or the file is damaged ({reason})") from None
    if found.key is None:
        raise FormatError("holds no private key; export it together with its key")
    if found.cert is None:
        raise FormatError("holds a private key, but no certificate for it")
    chain = tuple(load_one(one.certificate.public_bytes(der)) for one in found.additional_certs)
    return KeyAndCertificate(found.key, load_one(found.cert.certificate.public_bytes(der)), chain)
