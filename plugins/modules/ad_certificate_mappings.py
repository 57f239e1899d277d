#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: ad_certificate_mappings
short_description: Map certificates to the accounts they log on
version_added: 0.1.0
description:
  - Manages the explicit certificate mappings of user and computer accounts (attribute C(altSecurityIdentities), [MS-PKCA] 3.1.5.2.1).
  - Windows domain controllers accept only strong mappings since 2025 (KB5014754). They are needed for certificates without SID extension,
    such as those of another CA or of templates whose subject is supplied in the request. Weak mappings are reported.
extends_documentation_fragment:
  - certlogon.core.attributes
  - certlogon.core.attributes.action_group
  - certlogon.core.directory
options:
  config:
    description:
      - The accounts, each at most once. Others are left alone.
      - Required unless O(state=gathered).
    type: list
    elements: dict
    suboptions:
      user:
        description: >-
          The account, as sAMAccountName, C(DOMAIN\name), user principal name, distinguished name or SID.
          An unknown one is an error.
        type: str
        required: true
      mappings:
        description:
          - Mappings as they are stored ([MS-PKCA] 3.1.5.2.1.3 to 3.1.5.2.1.5), compared without case.
          - Strong are C(X509:<I>issuer<SR>serial), C(X509:<SKI>identifier), C(X509:<SHA1-PUKEY>hash) and C(X509:<I>issuer<SID>sid).
            Weak are C(X509:<I>issuer<S>subject), C(X509:<S>subject) and C(X509:<RFC822>mail).
          - The issuer stands in the order of the certificate's encoding, and the bytes of the serial number in reverse.
          - Values of other kinds, such as C(Kerberos:name@REALM), are taken as they are.
        type: list
        elements: str
      certificates:
        description:
          - Certificates of the account, from which mappings are made. They are not stored themselves.
          - At least one of mappings and certificates is required unless O(state=gathered).
        type: list
        elements: dict
        suboptions:
          path:
            description: File with the certificate (DER or PEM), where the module runs.
            type: path
          content:
            description: The certificate as PEM or base64 text.
            type: str
          form:
            description:
              - What the mapping names ([MS-PKCA] 3.1.5.2.1.5). V(issuer_serial) is that certificate only, V(ski) and V(sha1_public_key)
                every certificate of that key, V(issuer_sid) every certificate of that issuer that carries the account's SID.
            type: str
            choices:
              - issuer_serial
              - ski
              - sha1_public_key
              - issuer_sid
            default: issuer_serial
  state:
    description:
      - V(merged) adds the named mappings.
      - V(replaced) makes the certificate mappings (C(X509:)) of each named account exactly the named ones. Values of other kinds stay.
      - V(deleted) removes the named mappings.
      - V(gathered) returns the mappings of the accounts named in O(config), or of all accounts of the domain that have any.
      - V(rendered) returns O(config) in canonical form, certificates turned into mappings, without asking any server.
    type: str
    choices:
      - merged
      - replaced
      - deleted
      - gathered
      - rendered
    default: merged
  strict:
    description: Whether adding a weak mapping is an error instead of a warning.
    type: bool
    default: false
seealso:
  - name: KB5014754
    description: Certificate-based authentication changes on Windows domain controllers.
    link: https://support.microsoft.com/help/5014754
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: Let a partner's card log on as an account of ours
  certlogon.core.ad_certificate_mappings:
    server: dc1.corp.example
    username: administrator@corp.example
    password: "{{ domain_password }}"
    config:
      - user: alice.andersson
        certificates:
          - path: /etc/certlogon/alice.pem

- name: Give an account exactly one mapping, by the key on the card
  certlogon.core.ad_certificate_mappings:
    config:
      - user: alice.andersson@corp.example
        mappings:
          - X509:<SHA1-PUKEY>50bf88e67522ab8ce093ce51830ab0bcf8ba7824
    state: replaced
    strict: true

- name: Take a lost card's mapping away
  certlogon.core.ad_certificate_mappings:
    config:
      - user: CORP\alice.andersson
        certificates:
          - path: /etc/certlogon/alice-lost.pem
            form: issuer_serial
    state: deleted

- name: See every explicit mapping of the domain
  certlogon.core.ad_certificate_mappings:
    state: gathered
  register: mapped
"""

RETURN = r"""
changes:
  description: What was done to each account (in check mode, what would be done).
  returned: unless O(state=gathered) or O(state=rendered)
  type: list
  elements: dict
  contains:
    name:
      description: The account, as O(config) names it.
      type: str
      returned: always
      sample: alice.andersson
    action:
      description: Always V(update), for accounts are neither created nor deleted.
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
  description: The accounts' mappings, in the form that O(config) accepts.
  returned: O(state=gathered)
  type: list
  elements: dict
  sample:
    - user: alice.andersson
      mappings:
        - X509:<SHA1-PUKEY>50bf88e67522ab8ce093ce51830ab0bcf8ba7824
rendered:
  description: The canonical form of O(config).
  returned: O(state=rendered)
  type: list
  elements: dict
  sample:
    - user: alice.andersson
      mappings:
        - X509:<SKI>77bf4cdbb1c5b3b2b3ac22d21bd7a7e4
"""

from ansible_collections.certlogon.core.plugins.module_utils.directory.certificate_mappings import CertificateMappings
from ansible_collections.certlogon.core.plugins.module_utils.module import run_module


def main() -> None:
    run_module(CertificateMappings())


if __name__ == "__main__":
    main()
