# SPDX-License-Identifier: GPL-3.0-or-later
"""What the authority is asked and answers with, and the keys and certificates it is made of."""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import ObjectIdentifier

from lab.windows_ca.authority import capolicy, descriptors, extensions, names, requests
from lab.windows_ca.authority import settings as registry
from lab.windows_ca.authority.directory import Entry
from lab.windows_ca.authority.errors import (
    BAD_TAG,
    INVALID_ARGUMENT,
    CertSrvError,
)

KINDS = {
    "EnterpriseRootCA": registry.ENTERPRISE_ROOT,
    "EnterpriseSubordinateCA": registry.ENTERPRISE_SUBORDINATE,
    "StandaloneRootCA": registry.STANDALONE_ROOT,
    "StandaloneSubordinateCA": registry.STANDALONE_SUBORDINATE,
}
PROVIDERS = {
    "RSA#Microsoft Software Key Storage Provider": ("RSA", (1024, 2048, 3072, 4096)),
    "ECDSA_P256#Microsoft Software Key Storage Provider": ("ECDSA_P256", (256,)),
    "ECDSA_P384#Microsoft Software Key Storage Provider": ("ECDSA_P384", (384,)),
    "ECDSA_P521#Microsoft Software Key Storage Provider": ("ECDSA_P521", (521,)),
}
CURVES: dict[int, Callable[[], ec.EllipticCurve]] = {256: ec.SECP256R1, 384: ec.SECP384R1, 521: ec.SECP521R1}
HASHES: dict[str, Callable[[], Any]] = {
    "SHA256": hashes.SHA256,
    "SHA384": hashes.SHA384,
    "SHA512": hashes.SHA512,
}

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Caller:
    """An authenticated account; `name` is CORP\\alice.andersson."""

    name: str
    sam: str
    sid: str
    dn: str


@dataclass(frozen=True)
class InstallOptions:
    """The parameters of Install-AdcsCertificationAuthority."""

    ca_type: str = "EnterpriseRootCA"
    ca_common_name: str = ""
    ca_distinguished_name_suffix: str = ""
    crypto_provider_name: str = "RSA#Microsoft Software Key Storage Provider"
    key_length: int = 2048
    hash_algorithm_name: str = "SHA256"
    validity_period: str = "Years"
    validity_period_units: int = 5
    database_directory: str = r"C:\Windows\system32\CertLog"
    log_directory: str = r"C:\Windows\system32\CertLog"
    output_cert_request_file: str = ""
    parent_ca: str = ""
    overwrite_existing_key: bool = False
    overwrite_existing_database: bool = False
    overwrite_existing_ca_in_ds: bool = False


@dataclass(frozen=True)
class InstallOutcome:
    """`status` is installed or waiting_for_certificate; then the request lies in `request_file` on the host."""

    status: str
    message: str = ""
    request_file: str = ""
    request: bytes = b""


@dataclass(frozen=True)
class Disposition:
    """`status`: issued, pending or denied; `certificate` is DER."""

    request_id: int
    status: str
    hresult: int
    message: str
    certificate: bytes | None = None


@dataclass(frozen=True)
class CACertificate:
    index: int
    key_index: int
    certificate: x509.Certificate
    key: PrivateKey | None

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def suffix(self) -> str:
        return f"({self.index})" if self.index else ""

    @property
    def key_suffix(self) -> str:
        return f"({self.key_index})" if self.key_index else ""


def sid_of(entry: Entry) -> str:
    return descriptors.parse_sid(entry.first("objectSid") or b"")[0]


def new_key(provider: str, length: int) -> PrivateKey:
    if PROVIDERS[provider][0] == "RSA":
        return rsa.generate_private_key(65537, length)
    return ec.generate_private_key(CURVES[length]())


def renewal_key(old: PrivateKey, length: int) -> PrivateKey:
    """A key of the same kind; `length` 0 is the old one's."""
    if isinstance(old, rsa.RSAPrivateKey):
        return rsa.generate_private_key(65537, length or old.key_size)
    return ec.generate_private_key(CURVES[length]() if length else old.curve)


def key_pem(key: PrivateKey) -> str:
    encoding = serialization.Encoding.PEM
    return key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


def public_bytes(key: Any) -> bytes:
    found: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return found


def subject_of(options: InstallOptions) -> x509.Name:
    return names.name_of([*names.directory_path(options.ca_distinguished_name_suffix), ("CN", options.ca_common_name)])


def ca_extensions(
    public: Any, inf: capolicy.CAPolicy, *, index: int, key_index: int, previous: bytes | None
) -> list[tuple[x509.ExtensionType, bool]]:
    """What a CA's own certificate, or its request for one, carries."""
    found: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=True, path_length=inf.path_length), True),
        (extensions.key_usage(b"\x86"), False),
        (x509.SubjectKeyIdentifier.from_public_key(public), False),
        (extensions.version(index, key_index), False),
    ]
    if previous is not None:
        found.append((extensions.raw(extensions.PREVIOUS_CA_HASH, b"\x04" + bytes([len(previous)]) + previous), False))
    if inf.policies:
        policies = [x509.PolicyInformation(ObjectIdentifier(oid), [url] if url else None) for oid, url in inf.policies]
        found.append((x509.CertificatePolicies(policies), False))
    return found


def certificates_in(content: bytes) -> list[x509.Certificate]:
    try:
        if b"-----BEGIN CERTIFICATE-----" in content:
            return x509.load_pem_x509_certificates(content)
        der = requests.der_of(content)
        with contextlib.suppress(ValueError):
            return [x509.load_der_x509_certificate(der)]
        return pkcs7.load_der_pkcs7_certificates(der)
    except (ValueError, CertSrvError) as error:
        raise CertSrvError(BAD_TAG, "The file holds no certificate (DER, PEM or PKCS#7).") from error


def issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def serial_text(certificate: x509.Certificate) -> str:
    text = f"{certificate.serial_number:x}"
    return text.zfill(len(text) + len(text) % 2)


def normal_serial(text: str) -> str:
    """As the database has it: lower case, whole octets."""
    digits = re.sub(r"[\s:]", "", text).lower()
    if not re.fullmatch("[0-9a-f]+", digits):
        raise CertSrvError(INVALID_ARGUMENT, f"{text!r} is no serial number")
    digits = digits.lstrip("0") or "0"
    return digits.zfill(len(digits) + len(digits) % 2)


def new_serial(request_id: int, ca_index: int) -> int:
    """19 octets as AD CS makes them: the request's number in front and at the end, random ones between."""
    first = secrets.randbelow(0x6F) + 0x10
    data = (
        bytes([first])
        + request_id.to_bytes(4, "big")
        + secrets.token_bytes(8)
        + ca_index.to_bytes(2, "big")
        + request_id.to_bytes(4, "big")
    )
    return int.from_bytes(data, "big")
