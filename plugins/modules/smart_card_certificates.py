#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: smart_card_certificates
short_description: Manage the certificates on a smart card
version_added: 0.1.0
description:
  - Puts certificates and their chain beside the keys of a smart card or another PKCS#11 token, imports keys with their certificates from
    PKCS#12 files (C(.pfx), C(.p12)), lists what is on a card, and removes it.
  - Keys that are made on the card itself, and their requests, are the business of M(certlogon.core.certificate_request).
  - A certificate that replaces another of the same key is written before the old one is removed, so that a full card loses nothing.
  - The PIN is tried at most once a run. Where a wrong one would lock the card, it is not tried at all, unless O(spend_last_try=true).
extends_documentation_fragment:
  - certlogon.core.attributes
options:
  uri:
    description:
      - The card, as a PKCS#11 URI (RFC 7512) such as V(pkcs11:token=alice) or V(pkcs11:serial=8aa6d9af468b957d). Exactly one token
        must fit.
      - C(module-path) or C(module-name) in it name the PKCS#11 library; C(pin-source) names a file whose first line is the PIN.
      - C(pin-value) is refused, since URIs are shown in logs.
    type: str
    required: true
  pin:
    description:
      - The user PIN. Left out, the file that C(pin-source) of O(uri) names has it.
      - Without a PIN a card can be read (O(state=gathered)), but not written.
      - Environment variable E(CERTLOGON_CARD_PIN).
    type: str
  module:
    description:
      - The PKCS#11 library that speaks with the card, as a path or as a name such as V(opensc-pkcs11) that is looked for in the usual
        folders.
      - The one that O(uri) names when left out; without either p11-kit's proxy, else OpenSC's.
    type: str
  spend_last_try:
    description: Whether the PIN may be tried although a wrong one would lock the card.
    type: bool
    default: false
  config:
    description:
      - The certificates. Required unless O(state=gathered). What it does not name is left alone.
    type: list
    elements: dict
    suboptions:
      name:
        description: Label of the certificate on the card (C(CKA_LABEL)), and of its key where that is imported.
        type: str
        required: true
      path:
        description: >-
          File with the certificate (PEM, DER or PKCS#7), where the module runs. Of several certificates in it, the first that is not a CA's
          is meant, and the others are its chain.
        type: path
      content:
        description: The certificate as PEM or base64 text. Otherwise like O(config[].path).
        type: str
      pkcs12_path:
        description: PKCS#12 file (C(.pfx), C(.p12)) with key, certificate and chain. The key is imported if the card does not have it.
        type: path
      pkcs12_password:
        description: Password of the PKCS#12 file.
        type: str
      chain_path:
        description: File with further certificates of the chain.
        type: path
      store_chain:
        description: >-
          Whether the certificates of the chain are put on the card too, each labelled with its common name. Those that are there under
          another name are left alone.
        type: bool
        default: true
      upn:
        description: The user principal name that the certificate must have. One for another user is refused before anything is written.
        type: str
      sha256:
        description: >-
          SHA-256 of the certificate's DER. One that has another is refused. With O(state=deleted) it tells objects of the same name apart.
        type: str
      subject:
        description: The subject (RFC 4514). A certificate that has another one is refused.
        type: str
      id:
        description: >-
          Identifier on the card (C(CKA_ID)) in hex, which certificate and key have in common. O(state=gathered) returns it; with
          O(state=deleted) it tells objects of the same name apart. Otherwise it is chosen by the module (SHA-1 of the public key).
        type: str
      key:
        description:
          - Whether the card has the certificate's private key. O(state=gathered) returns it.
          - With V(true) a certificate whose key is not on the card is refused; so it is when left out, unless the certificate is a CA's.
        type: bool
      delete_key:
        description: Whether O(state=deleted) removes the key as well. Nobody can bring it back.
        type: bool
        default: true
      remove_old_key:
        description: >-
          Whether the key of another certificate that had this name is removed together with it. Keys that encrypted something are needed
          for as long as that has to be read.
        type: bool
        default: false
      facts:
        description: What O(state=gathered) tells of the object besides. Ignored otherwise.
        type: dict
  state:
    description:
      - V(merged) puts the certificates on the card.
      - V(deleted) removes the named certificates and their keys.
      - V(gathered) returns what is on the card, or those of O(config). Without a PIN, the card's public objects; with it, more about keys.
    type: str
    choices:
      - merged
      - deleted
      - gathered
    default: merged
notes:
  - The module runs inside the controller process when the task's connection is local, and as an ordinary module otherwise, as it does with
    C(async), C(become) or C(environment); the result is the same. The card and the files are where the module runs.
  - Programs that take the only certificate of a card, such as C(kinit) of MIT Kerberos, need its label once the chain is there as well
    (C(certlabel)).
requirements:
  - python >= 3.10
  - cryptography >= 43
  - python-pkcs11 >= 0.8
  - a PKCS#11 library for the card, such as OpenSC's
seealso:
  - module: certlogon.core.certificate_request
    description: Makes a key on the card and requests its certificate.
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: Put key, certificate and chain of a .pfx on a card
  certlogon.core.smart_card_certificates:
    uri: pkcs11:token=alice?pin-source=/etc/certlogon/alice.pin
    config:
      - name: logon
        pkcs12_path: /srv/inbox/alice.pfx
        pkcs12_password: "{{ alice_pfx_password }}"
        upn: alice@corp.example

- name: Put a certificate beside the key that was made on the card
  certlogon.core.smart_card_certificates:
    uri: pkcs11:serial=8aa6d9af468b957d
    pin: "{{ alice_pin }}"
    config:
      - name: logon
        path: /var/lib/certlogon/cards/alice.pem
        chain_path: /var/lib/certlogon/cards/alice-chain.pem
        upn: alice@corp.example

- name: List what is on the card
  certlogon.core.smart_card_certificates:
    uri: pkcs11:token=alice
    state: gathered
  register: card

- name: Remove a certificate together with its key
  certlogon.core.smart_card_certificates:
    uri: pkcs11:token=alice
    pin: "{{ alice_pin }}"
    config:
      - name: old mail key
    state: deleted
"""

RETURN = r"""
changes:
  description: What was done to each object (in check mode, what would be done).
  returned: unless O(state=gathered)
  type: list
  elements: dict
  contains:
    name:
      description: The object's label; where several have the same, with their SHA-256 or identifier in parentheses.
      type: str
      returned: always
      sample: logon
    action:
      description: V(create), V(update) or V(delete).
      type: str
      returned: always
      sample: create
    failed:
      description: Whether the change failed.
      type: bool
      returned: on failure
    msg:
      description: Why it failed.
      type: str
      returned: on failure
gathered:
  description:
    - The certificates on the card in the form that O(config) accepts, and the keys that have none.
    - >-
      C(facts) holds C(issuer), C(serial) (hex), C(not_before), C(not_after), C(upn) and C(ca) of the certificate, C(key_type) and
      C(key_size) of the key and, where the PIN was given, C(generated_on_card) and C(extractable).
  returned: O(state=gathered)
  type: list
  elements: dict
  sample:
    - name: logon
      id: 8a6283265548aa236cc0cf596be95757e9538917
      key: true
      subject: CN=Alice Andersson,OU=Staff,OU=Corp,DC=corp,DC=example
      sha256: 5f3c0a1b5f3c0a1b5f3c0a1b5f3c0a1b5f3c0a1b5f3c0a1b5f3c0a1b5f3c0a1b
      content: "-----BEGIN CERTIFICATE-----\nMIIB...\n-----END CERTIFICATE-----\n"
      facts:
        upn:
          - alice@corp.example
        not_after: "2027-11-22T19:00:00+00:00"
        generated_on_card: true
        extractable: false
"""

from ansible_collections.certlogon.core.plugins.module_utils.certificates.smart_card import SmartCard
from ansible_collections.certlogon.core.plugins.module_utils.module import run_module


def main() -> None:
    run_module(SmartCard())


if __name__ == "__main__":
    main()
