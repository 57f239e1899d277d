# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates through one session, as a process to be timed: `python -m tests.benchmarks.enroll certlogon|certsrv REQUESTS`.

REQUESTS is a JSON list of PKCS#10 requests (PEM) made beforehand. The connection is in the environment (CERTLOGON_ENROLLMENT_…). Each
certificate is fetched, read, and its key compared with the request's.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

TEMPLATE = "WebServer"
"""Published by every new CA, for its administrators; the subject is the request's, so nothing is looked up for it but the account."""


def spki(holder: Any) -> bytes:
    found: bytes = holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return found


def by_certlogon(pems: list[str]) -> list[x509.Certificate]:
    import spnego.channel_bindings  # noqa: F401  (imported at the first sign-in, or else; the package certsrv does at its start)

    from ansible_collections.certlogon.core.plugins.module_utils.certificates.enrollment import ENROLLMENT, EnrollmentOptions
    from ansible_collections.certlogon.core.plugins.module_utils.certificates.web_enrollment import WebEnrollment

    params = {name: os.environ.get(f"CERTLOGON_ENROLLMENT_{name.upper()}") for name in ENROLLMENT}
    given = {**params, "method": "web_enrollment", "validate_certs": True, "timeout": 60}
    found = []
    with WebEnrollment(EnrollmentOptions.from_params(given), print) as web:
        for pem in pems:
            der = x509.load_pem_x509_csr(pem.encode()).public_bytes(Encoding.DER)
            answer = web.submit(der, {"CertificateTemplate": TEMPLATE})
            assert answer.request_id is not None, answer
            issued = web.retrieve(answer.request_id)
            found.append(x509.load_der_x509_certificate(issued.certificates[0].der))
    return found


def by_certsrv(pems: list[str]) -> list[x509.Certificate]:
    import certsrv
    import requests_ntlm  # noqa: F401  (imported when it is first needed)

    variable = "CERTLOGON_ENROLLMENT_"
    host = os.environ[f"{variable}URL"].split("/")[2]
    account, password = os.environ[f"{variable}USERNAME"], os.environ[f"{variable}PASSWORD"]
    web = certsrv.Certsrv(host, account, password, auth_method="ntlm", cafile=os.environ[f"{variable}CA_PATH"], timeout=60)
    web.session.trust_env = False  # REQUESTS_CA_BUNDLE would go before cafile
    return [x509.load_der_x509_certificate(web.get_cert(pem, TEMPLATE, encoding="bin")) for pem in pems]


def main() -> None:
    who, file = sys.argv[1:]
    pems: list[str] = json.loads(Path(file).read_text())
    found = {"certlogon": by_certlogon, "certsrv": by_certsrv}[who](pems)
    wanted = [spki(x509.load_pem_x509_csr(pem.encode())) for pem in pems]
    assert [spki(certificate) for certificate in found] == wanted, "each its own key"
    assert len({certificate.serial_number for certificate in found}) == len(pems)


if __name__ == "__main__":
    main()
