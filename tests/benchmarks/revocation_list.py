# SPDX-License-Identifier: GPL-3.0-or-later
"""A CRL of a million entries: signature, freshness and one serial, beside `openssl crl -verify`, which checks the signature only.

`python -m tests.benchmarks.revocation_list FOLDER [--quick]`. Needs no lab. The CRL is written here octet by octet, since libraries need
minutes for one; openssl reads it, so that it is one.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from ansible_collections.certlogon.core.plugins.module_utils.certificates import crl, der
from tests.benchmarks.measure import interleaved, timed

ENTRIES = 1_000_000
MEGABYTES = 500
SHA256_RSA = der.sequence(der.oid("1.2.840.113549.1.1.11"), der.null())


def authority(folder: Path) -> tuple[Any, Any]:
    key = rsa.generate_private_key(65537, 3072)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Benchmark CA")])
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(3650))
    builder = builder.add_extension(x509.BasicConstraints(True, None), True)
    certificate = builder.sign(key, hashes.SHA256())
    (folder / "crl-ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return key, certificate


def utc(moment: datetime) -> bytes:
    return der.element(0x17, f"{moment:%y%m%d%H%M%SZ}".encode())


def write(path: Path, key: Any, certificate: Any, entries: int) -> None:
    """Serial numbers of 19 octets, the length that AD CS makes; a reason on each (RFC 5280 5.3.1)."""
    now = datetime.now(timezone.utc)
    reason = der.sequence(der.sequence(der.oid("2.5.29.21"), der.octet_string(der.element(0x0A, b"\x04"))))
    tail = utc(now) + reason
    listed = b"".join(der.sequence(b"\x02\x13\x11" + number.to_bytes(18, "big"), tail) for number in range(entries))
    number = der.sequence(der.oid("2.5.29.20"), der.octet_string(der.integer(7)))
    signed = der.sequence(
        der.integer(1),
        SHA256_RSA,
        certificate.subject.public_bytes(),
        utc(now - timedelta(hours=1)),
        utc(now + timedelta(30)),
        der.sequence(listed),
        der.context(0, der.sequence(number)),
    )
    signature = key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    path.write_bytes(der.sequence(signed, SHA256_RSA, der.element(0x03, b"\0" + signature)))


def ready(folder: Path, entries: int) -> Path:
    """The CRL, made once a month at most."""
    path = folder / f"million-{entries}.crl"
    if not path.exists() or datetime.now(timezone.utc).timestamp() - path.stat().st_mtime > 25 * 86400:
        write(path, *authority(folder), entries)
    return path


def check(path: Path, authority_path: Path) -> None:
    """What is measured, in a process of its own: everything that decides whether a user gets in."""
    issuer = x509.load_pem_x509_certificate(authority_path.read_bytes())
    found = crl.load(path.read_bytes())
    findings = crl.judge(found, issuer, datetime.now(timezone.utc), timedelta(hours=24))
    last = 0x11 << 144 | found.revoked - 1
    if findings or crl.entry(found, last) is None:
        raise SystemExit(f"judged wrongly: {findings}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--check", action="store_true", help="only check the CRL (what is measured)")
    options = parser.parse_args()
    folder: Path = options.folder
    path = ready(folder, ENTRIES)
    if options.check:
        check(path, folder / "crl-ca.pem")
        return 0
    log = folder / "revocation-list.log"
    ours = [sys.executable, "-m", "tests.benchmarks.revocation_list", str(folder), "--check"]
    openssl = ["openssl", "crl", "-inform", "DER", "-in", str(path), "-CAfile", str(folder / "crl-ca.pem"), "-verify", "-noout"]
    contenders = {"certlogon": functools.partial(timed, ours, log), "openssl": functools.partial(timed, openssl, log)}
    series = interleaved(contenders, 2 if options.quick else 7)
    verified = subprocess.run(openssl, capture_output=True, text=True, check=False)
    if "verify OK" not in verified.stderr:
        raise SystemExit(f"openssl does not verify the CRL: {verified.stderr}")
    row: dict[str, Any] = {"kind": "crl", "count": ENTRIES, "phase": "check", "bytes": path.stat().st_size}
    for name, item in series.items():
        row[name] = {"seconds": round(item.seconds, 3), "min": round(item.spread[0], 3), "max": round(item.spread[1], 3)}
        row[name] |= {"runs": len(item.runs), "megabytes": round(item.megabytes)}
    print("  ".join(f"{name} {row[name]['seconds']:.3f} s, {row[name]['megabytes']} MB" for name in series), flush=True)
    (folder / "results-crl.json").write_text(json.dumps([row], indent=1) + "\n")
    if series["certlogon"].seconds > series["openssl"].seconds or series["certlogon"].megabytes > MEGABYTES:
        raise SystemExit(f"a CRL of {ENTRIES} entries is to be checked no slower than by openssl, in {MEGABYTES} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
