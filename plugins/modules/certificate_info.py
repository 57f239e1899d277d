#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: certificate_info
short_description: Read and judge certificates wherever they are
version_added: 0.1.0
description:
  - Reads certificates from files, PFX, PKCS#11 tokens and TLS servers (LDAPS of a domain controller included), tells what they say, how
    long they last, whether their chain leads to a trusted root, and what their CRL says.
  - Reads thousands of files in one task. With O(details=due) it returns only those that are to be renewed.
extends_documentation_fragment:
  - certlogon.core.attributes
attributes:
  check_mode:
    details: Changes nothing.
  diff_mode:
    support: none
    details: Changes nothing.
  idempotent:
    details: Changes nothing.
options:
  paths:
    description:
      - >-
        Files (PEM, DER, PKCS#7; with several certificates each is told of), folders, and patterns such as
        V(/etc/ssl/certs/**/*.pem).
      - Of a folder, the files with the suffixes C(.pem), C(.crt), C(.cer), C(.der), C(.p7b) and C(.p7c) are read.
    type: list
    elements: path
  contents:
    description: Certificates as PEM or base64 text.
    type: list
    elements: str
  pfx:
    description: PFX (PKCS#12) files.
    type: list
    elements: dict
    suboptions:
      path:
        description: The file.
        type: path
        required: true
      passphrase:
        description: Its passphrase.
        type: str
  tokens:
    description: PKCS#11 tokens, of which all certificates are told.
    type: list
    elements: dict
    suboptions:
      uri:
        description: The token (RFC 7512), such as V(pkcs11:token=alice).
        type: str
        required: true
      pin:
        description: Its PIN. Only needed to see whether there is a private key to each certificate, and for private certificates.
        type: str
      module:
        description: The PKCS#11 library. The one that p11-kit or OpenSC installed when left out.
        type: path
  endpoints:
    description: TLS servers. Each is told of by the certificate that it shows; what it sends with it counts for the chain.
    type: list
    elements: dict
    suboptions:
      host:
        description: Host name or address.
        type: str
        required: true
      port:
        description: TCP port. V(636) by default, V(389) with O(endpoints[].starttls=ldap).
        type: int
      starttls:
        description: Whether TLS begins after a command of the protocol.
        type: str
        choices:
          - none
          - ldap
        default: none
      server_name:
        description: The name to ask for (SNI) and to compare with the certificate. The host when left out.
        type: str
  anchor_path:
    description: File with the root certificates (PEM) that chains must end in. Left out, RV(certificates[].chain.trusted) is unknown.
    type: path
  crl_check:
    description: Whether CRLs are fetched over HTTP and asked for each certificate. Each CRL is fetched once.
    type: bool
    default: false
  renew_before:
    description: Days before the end of a certificate at which it counts as due; at most half of its lifetime counts.
    type: int
    default: 30
  details:
    description:
      - V(full) tells everything of every certificate.
      - V(due) tells briefly of those that are due, expired or not yet valid, and only counts the others.
    type: str
    choices:
      - full
      - due
    default: full
  fail_on_error:
    description: Whether the task fails when a source cannot be read, after all others have been. RV(errors) has them either way.
    type: bool
    default: true
  timeout:
    description: Seconds to wait for TLS servers and places of CRLs.
    type: int
    default: 10
notes:
  - The module runs inside the controller process when the task's connection is local, and as an ordinary module otherwise, as it does with
    C(async), C(become) or C(environment); the result is the same. Files and tokens are those of where the module runs.
requirements:
  - python >= 3.10
  - cryptography >= 43
  - requests >= 2.31 (only for O(crl_check=true))
  - python-pkcs11 >= 0.8 (only for O(tokens))
seealso:
  - module: certlogon.core.certificate_request
    description: Requests and renews certificates.
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: Look at the certificate that a domain controller shows
  certlogon.core.certificate_info:
    endpoints:
      - host: dc1.corp.example
      - host: dc1.corp.example
        starttls: ldap
    anchor_path: /etc/certlogon/root-ca.pem
    crl_check: true
  register: dc1

- name: Fail unless the domain controller is fit for card logons
  ansible.builtin.assert:
    that:
      - dc1.certificates[0].chain.trusted
      - "'kdc' in dc1.certificates[0].extended_key_usage"
      - "'DNS:corp.example' in dc1.certificates[0].subject_alt_names"
      - dc1.certificates[0].days_left > 30

- name: Find what expires soon among thousands of certificates
  certlogon.core.certificate_info:
    paths:
      - /srv/certificates
    details: due
    renew_before: 60
  register: stock

- name: See what is on a card
  certlogon.core.certificate_info:
    tokens:
      - uri: pkcs11:token=alice
        pin: "{{ alice_pin }}"
"""

RETURN = r"""
certificates:
  description: The certificates, in the order of the sources; with O(details=due) only those that need attention, and briefly.
  returned: always
  type: list
  elements: dict
  contains:
    source:
      description: Where it was found, a path, URI or C(host:port).
      type: str
      returned: always
      sample: dc1.corp.example:636
    subject:
      description: Its subject (RFC 4514).
      type: str
      returned: always
      sample: CN=dc1.corp.example
    issuer:
      description: Its issuer (RFC 4514).
      type: str
      returned: always
      sample: CN=Corp Issuing CA,DC=corp,DC=example
    serial_number:
      description: Its serial number in lower-case hex, as certutil shows it.
      type: str
      returned: always
      sample: 2b0000000011ac
    thumbprint:
      description: Its SHA-1 in upper-case hex, as Windows shows it.
      type: str
      returned: always
      sample: 0D3DC1B1F9D0C7B6E0D1B2F4B3A5968778695A4B
    sha256:
      description: SHA-256 of its DER.
      type: str
      returned: always
      sample: 5f3c0a1b5f3c0a1b5f3c0a1b5f3c0a1b5f3c0a1b5f3c0a1b5f3c0a1b5f3c0a1b
    not_after:
      description: When it expires (UTC, ISO 8601).
      type: str
      returned: always
      sample: "2027-06-01T12:00:00Z"
    days_left:
      description: Whole days until it expires, negative afterwards.
      type: int
      returned: always
      sample: 190
    due:
      description: Whether it is to be renewed, by O(renew_before).
      type: bool
      returned: always
      sample: false
    expired:
      description: Whether it expired.
      type: bool
      returned: always
      sample: false
    not_yet_valid:
      description: Whether its validity has not begun.
      type: bool
      returned: always
      sample: false
    not_before:
      description: When its validity begins (UTC, ISO 8601).
      type: str
      returned: O(details=full)
      sample: "2026-06-01T12:00:00Z"
    version:
      description: Version of X.509.
      type: int
      returned: O(details=full)
      sample: 3
    key:
      description: Its key, C(type) with C(size) (RSA, bits) or C(curve) (EC).
      type: dict
      returned: O(details=full)
      sample:
        type: rsa
        size: 2048
    signature_hash:
      description: Hash of its signature, null where that has none.
      type: str
      returned: O(details=full)
      sample: sha256
    subject_alt_names:
      description: Its alternative names, in the form of M(certlogon.core.certificate_request), further kinds as OpenSSL calls them.
      type: list
      elements: str
      returned: O(details=full)
      sample:
        - DNS:dc1.corp.example
        - DNS:corp.example
    extended_key_usage:
      description: Its purposes by name or object identifier; null where it does not restrict them.
      type: list
      elements: str
      returned: O(details=full)
      sample:
        - clientAuth
        - serverAuth
        - smartcardLogon
        - kdc
    key_usage:
      description: Its key usages; null where it does not restrict them.
      type: list
      elements: str
      returned: O(details=full)
      sample:
        - digital_signature
        - key_encipherment
    is_ca:
      description: Whether it is an authority's (basicConstraints).
      type: bool
      returned: O(details=full)
      sample: false
    self_issued:
      description: Whether subject and issuer are the same.
      type: bool
      returned: O(details=full)
      sample: false
    sid:
      description: The SID in the security extension (1.3.6.1.4.1.311.25.2); null without.
      type: str
      returned: O(details=full)
      sample: S-1-5-21-1004336348-1177238915-682003330-1104
    template:
      description: Its template, C(name) for version 1, otherwise C(oid), C(major_version), C(minor_version); empty without.
      type: dict
      returned: O(details=full)
      sample:
        oid: 1.3.6.1.4.1.311.21.8.1.2.3.4.5.6.33
        major_version: 110
        minor_version: 0
    subject_key_identifier:
      description: Its subject key identifier in hex; null without.
      type: str
      returned: O(details=full)
      sample: 0a1b2c
    authority_key_identifier:
      description: Its authority key identifier in hex; null without.
      type: str
      returned: O(details=full)
      sample: 0a1b2c
    crl_urls:
      description: Where its CRL is.
      type: list
      elements: str
      returned: O(details=full)
      sample:
        - http://ca1.corp.example/CertEnroll/Corp%20CA.crl
    issuer_urls:
      description: Where its issuer's certificate is.
      type: list
      elements: str
      returned: O(details=full)
      sample: []
    ocsp_urls:
      description: Where its OCSP responder is.
      type: list
      elements: str
      returned: O(details=full)
      sample: []
    chain:
      description: The authorities above it, found in the same source and in O(anchor_path).
      type: dict
      returned: O(details=full)
      contains:
        trusted:
          description: Whether the chain leads to one of O(anchor_path) and is valid; null without O(anchor_path).
          type: bool
          returned: always
          sample: true
        problems:
          description: What is wrong with it.
          type: list
          elements: str
          returned: always
          sample: []
        above:
          description: Subjects of the authorities, the issuer first.
          type: list
          elements: str
          returned: always
          sample:
            - CN=Corp Issuing CA,DC=corp,DC=example
    revocation:
      description: What its CRL says.
      type: dict
      returned: O(crl_check=true)
      contains:
        status:
          description: V(good), V(revoked), V(on_hold), V(unknown) (no CRL that can be relied on) or V(not_checked) (none over HTTP).
          type: str
          returned: always
          sample: good
        problems:
          description: What is wrong with the CRLs, such as unreachable, stale, not yet valid.
          type: list
          elements: str
          returned: always
          sample: []
        reason:
          description: Since when it is revoked, and why; null otherwise.
          type: str
          returned: always
          sample: since 2026-06-01 12:00 UTC (keyCompromise)
        next_update:
          description: When the CRL is to be replaced (UTC, ISO 8601); null where it is unknown.
          type: str
          returned: always
          sample: "2026-06-08T12:00:00Z"
    has_private_key:
      description: Whether its private key is in the same PFX or on the same token, as far as can be seen.
      type: bool
      returned: for PFX and tokens
      sample: true
    label:
      description: Its label on the token.
      type: str
      returned: for tokens
      sample: logon
    id:
      description: Its identifier on the token, in hex.
      type: str
      returned: for tokens
      sample: 0a1b2c
    token:
      description: Label of the token.
      type: str
      returned: for tokens
      sample: alice
    tls_version:
      description: The version of TLS agreed on.
      type: str
      returned: for endpoints
      sample: TLSv1.3
    name_matches:
      description: Whether the certificate is for the server's name.
      type: bool
      returned: for endpoints
      sample: true
errors:
  description: The sources that could not be read.
  returned: always
  type: list
  elements: dict
  contains:
    source:
      description: Which one.
      type: str
      returned: always
      sample: /etc/ssl/broken.pem
    msg:
      description: Why.
      type: str
      returned: always
      sample: "/etc/ssl/broken.pem: is empty"
summary:
  description: How many there are.
  returned: always
  type: dict
  contains:
    certificates:
      description: Certificates read.
      type: int
      returned: always
      sample: 10000
    due:
      description: Those to be renewed, expired ones included.
      type: int
      returned: always
      sample: 12
    expired:
      description: Those expired.
      type: int
      returned: always
      sample: 1
    errors:
      description: Sources that could not be read.
      type: int
      returned: always
      sample: 0
"""

from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate_info import CertificateInfo
from ansible_collections.certlogon.core.plugins.module_utils.module import run_module


def main() -> None:
    run_module(CertificateInfo())


if __name__ == "__main__":
    main()
