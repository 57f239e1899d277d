#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: ad_trusted_certificates
short_description: Publish CA certificates and CRLs in Active Directory
version_added: 0.1.0
description:
  - Manages the certificates that every member of the forest trusts or finds by the directory, below
    C(CN=Public Key Services,CN=Services,CN=Configuration). They are written as AD CS and C(certutil -dspublish) write them.
  - The trusted roots, the intermediates (AIA), the NTAuth store whose CAs may issue logon certificates, and the CDP container with CRLs.
  - A store is managed as one set of certificates. O(state=replaced) makes it exact, which is how a rogue entry is found and removed.
  - A certificate that is expired, weak or not a CA's is refused before anything is written, unless the entry allows it.
extends_documentation_fragment:
  - certlogon.core.attributes
  - certlogon.core.attributes.action_group
  - certlogon.core.authorities
  - certlogon.core.directory
options:
  config:
    description:
      - The stores, each at most once (CDP objects by their names). Others are left alone.
      - Required unless O(state=gathered).
    type: list
    elements: dict
    suboptions:
      store:
        description:
          - V(root) is C(CN=Certification Authorities), from which members fill their trusted roots ([MS-WCCE] 2.2.2.11).
          - V(intermediate) is C(CN=AIA), from which members complete chains.
          - V(ntauth) is C(CN=NTAuthCertificates), the CAs whose certificates may log on. The object is made when it is missing.
          - V(cdp) is an object in C(CN=CDP), from which members fetch the CRL of one CA.
          - The first two hold one object of class C(certificationAuthority) for each CA, named after the subject's common name in the short
            form of [MS-WCCE] 3.1.1.4.1.1. An object left without certificates is deleted, unless it holds a cross certificate or CRL.
        type: str
        required: true
        choices:
          - root
          - intermediate
          - ntauth
          - cdp
      certificates:
        description:
          - The certificates (attribute C(cACertificate), [MS-ADA1]), compared by the SHA-256 of their DER.
          - Required for V(root), V(intermediate) and V(ntauth) unless O(state=gathered).
          - An empty list with O(state=replaced) empties the store.
        type: list
        elements: dict
        suboptions:
          path:
            description: File with a certificate (DER or PEM) or several (PEM, PKCS#7), where the module runs.
            type: path
          content:
            description: The certificate as PEM or base64 text.
            type: str
          enrollment_service:
            description: >-
              Name of an enterprise CA, whose certificate is read from its C(pKIEnrollmentService) object (attribute C(cACertificate),
              [MS-WCCE] 2.2.2.11.2) in the same session, as its installation or renewal left it there.
            type: str
          chain:
            description: >-
              Which certificate of the O(config[].certificates[].enrollment_service) is meant. V(authority) is its own, V(root) the
              self-signed one that it chains up to through C(CN=AIA) and C(CN=Certification Authorities).
            type: str
            choices:
              - authority
              - root
            default: authority
          sha256:
            description: >-
              SHA-256 of the DER. A certificate that has another one is refused.
              With O(state=deleted) it may stand alone, without path, content and enrollment service.
            type: str
          subject:
            description: >-
              The subject (RFC 4514). A certificate that has another one is refused.
              O(state=gathered) returns it so that an export can be read.
            type: str
      name:
        description: >-
          Name of the CA in the CDP container (attribute C(cn)), which is the CA's name in the short form of [MS-WCCE] 3.1.1.4.1.1.
          Only for V(cdp), where it is required.
        type: str
      host:
        description: Short name of the CA's host, the container that the CDP object is in. Only for V(cdp), where it is required.
        type: str
      crl:
        description:
          - The base CRL (attribute C(certificateRevocationList), single-valued, [MS-ADA1]). Left alone when it is not given.
          - A published CRL is never replaced by an older one of the same issuer, for that would bring revoked certificates back.
            A warning says so.
        type: dict
        suboptions:
          path:
            description: File with the CRL (DER or PEM), where the module runs.
            type: path
          content:
            description: The CRL as PEM or base64 text.
            type: str
      delta_crl:
        description: The delta CRL (attribute C(deltaRevocationList), [MS-ADA1]). Otherwise like the base CRL.
        type: dict
        suboptions:
          path:
            description: File with the CRL (DER or PEM), where the module runs.
            type: path
          content:
            description: The CRL as PEM or base64 text.
            type: str
      allow_expired:
        description: Whether certificates and CRLs that are expired or not yet valid may be published.
        type: bool
        default: false
      allow_weak:
        description: >-
          Whether certificates with an RSA key of less than 2048 bits, an elliptic curve of less than 256, or an MD5 or SHA-1 signature
          of another CA may be published.
        type: bool
        default: false
      allow_non_ca:
        description: Whether certificates may be published that are not a CA's (basicConstraints, keyUsage).
        type: bool
        default: false
  state:
    description:
      - V(merged) adds the named certificates and CRLs. Those already published stay.
      - V(replaced) makes the named stores exactly what O(config) says. For CDP objects it does the same as V(merged).
      - V(deleted) removes the named certificates from their stores, and the named CDP objects whole.
      - V(gathered) returns the stores named in O(config), or all, with the C(allow_*) options that their certificates would need.
      - V(rendered) returns O(config) in canonical form without asking any server.
      - A certificate that is in the store already is never refused by V(merged) and V(replaced), but a warning names what is wrong with it.
    type: str
    choices:
      - merged
      - replaced
      - deleted
      - gathered
      - rendered
    default: merged
seealso:
  - module: certlogon.core.group_policies
    description: Pushes certificates by policy, to the members that the policy applies to.
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: Trust the company's root in the whole forest, and let its issuing CA issue logon certificates
  certlogon.core.ad_trusted_certificates:
    server: dc1.corp.example
    username: administrator@corp.example
    password: "{{ domain_password }}"
    config:
      - store: root
        certificates:
          - path: /etc/certlogon/root-ca.pem
      - store: intermediate
        certificates:
          - path: /etc/certlogon/issuing-ca.cer
      - store: ntauth
        certificates:
          - content: "{{ lookup('ansible.builtin.file', '/etc/certlogon/issuing-ca.pem') }}"

- name: Let nobody else issue logon certificates
  certlogon.core.ad_trusted_certificates:
    config:
      - store: ntauth
        certificates:
          - path: /etc/certlogon/issuing-ca.pem
    state: replaced

- name: Trust an enterprise CA whose certificate nobody has as a file
  certlogon.core.ad_trusted_certificates:
    config:
      - store: ntauth
        certificates:
          - enrollment_service: Corp Example Issuing CA

- name: Take a rogue CA out by its fingerprint
  certlogon.core.ad_trusted_certificates:
    config:
      - store: ntauth
        certificates:
          - sha256: 9c:2e:6b:1d:0a:55:5e:11:ca:fe:8e:3b:7b:01:02:03:9c:2e:6b:1d:0a:55:5e:11:ca:fe:8e:3b:7b:01:02:03
    state: deleted

- name: Publish the CRL of an offline root
  certlogon.core.ad_trusted_certificates:
    config:
      - store: cdp
        name: Corp Example Root CA
        host: rootca
        crl:
          path: /etc/certlogon/root-ca.crl

- name: Export everything that the forest trusts
  certlogon.core.ad_trusted_certificates:
    state: gathered
  register: trusted
"""

RETURN = r"""
changes:
  description: What was done to each store or CDP object (in check mode, what would be done).
  returned: unless O(state=gathered) or O(state=rendered)
  type: list
  elements: dict
  contains:
    name:
      description: The store, or C(cdp HOST/NAME).
      type: str
      returned: always
      sample: ntauth
    action:
      description: V(update) for stores; V(create), V(update) or V(delete) for CDP objects.
      type: str
      returned: always
      sample: update
    failed:
      description: Whether the change failed.
      type: bool
      returned: on failure
    msg:
      description: Why it failed.
      type: str
      returned: on failure
gathered:
  description: The stores and CDP objects, in the form that O(config) accepts.
  returned: O(state=gathered)
  type: list
  elements: dict
  sample:
    - store: ntauth
      certificates:
        - subject: CN=Corp Example Issuing CA
          sha256: 5f3c0a1b5f3c0a1b5f3c0a1b5f3c0a1b5f3c0a1b5f3c0a1b5f3c0a1b5f3c0a1b
          content: "-----BEGIN CERTIFICATE-----\nMIIB...\n-----END CERTIFICATE-----\n"
rendered:
  description: The canonical form of O(config).
  returned: O(state=rendered)
  type: list
  elements: dict
  sample:
    - store: root
      certificates: []
"""

from ansible_collections.certlogon.core.plugins.module_utils.directory.trusted_certificates import TrustedCertificates
from ansible_collections.certlogon.core.plugins.module_utils.module import run_module


def main() -> None:
    run_module(TrustedCertificates())


if __name__ == "__main__":
    main()
