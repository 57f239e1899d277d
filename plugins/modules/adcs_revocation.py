#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: adcs_revocation
short_description: Revoke certificates of a Windows certification authority, hold and release them
version_added: 0.1.0
description:
  - Revokes certificates by serial number, by the certificate itself, or all valid ones of an account; puts them on hold and releases them.
  - Publishes the CRLs afterwards, once, and reads back that they say so. A certificate that was revoked by a run that was interrupted
    before it published is published by the next.
  - A serial number that the CA does not know is refused before anything is revoked.
  - One script reads everything that is decided by, so a task that changes nothing asks the host once.
extends_documentation_fragment:
  - certlogon.core.attributes
  - certlogon.core.attributes.adcs_group
attributes:
  platform:
    platforms: windows
requirements:
  - The collection C(ansible.windows) 2.4.0 or newer on the control node.
  - A CA on a Windows Server 2016 or newer reached by WinRM (or by SSH with PowerShell), and an account with the right Issue and Manage
    Certificates there (and Manage CA, to publish).
options:
  config:
    description:
      - The certificates. Each entry names them in exactly one way.
      - Required unless O(state=gathered).
    type: list
    elements: dict
    suboptions:
      serial:
        description: The serial number, hexadecimal, with or without colons or blanks.
        type: str
      certificate:
        description: The certificate, as PEM or base64.
        type: str
      certificate_path:
        description: A file on the control node with the certificate, as PEM or DER.
        type: path
      user:
        description:
          - An account (also a computer's) in the form C(DOMAIN\name). All of its certificates that have not ended are meant.
          - Certificates of it that are revoked already stay as they are.
        type: str
      status:
        description:
          - V(revoked) is for good, V(on_hold) may be taken back.
          - V(valid) releases from hold.
        type: str
        choices:
          - revoked
          - on_hold
          - valid
        default: revoked
      reason:
        description:
          - Why it is revoked. V(unspecified) if nothing is said.
          - The reason of a certificate that is revoked already cannot be changed. Saying another one is an error.
        type: str
        choices:
          - unspecified
          - key_compromise
          - ca_compromise
          - affiliation_changed
          - superseded
          - cessation_of_operation
  publish:
    description: Whether the CRLs must say so, and are published if they do not.
    type: bool
    default: true
  state:
    description:
      - V(merged) brings certificates into the status that O(config) names.
      - V(gathered) returns the status of the certificates in O(config), or all that are revoked or on hold.
      - V(rendered) returns O(config) with its defaults without asking any host.
    type: str
    choices:
      - merged
      - gathered
      - rendered
    default: merged
seealso:
  - module: certlogon.core.adcs_crl
  - module: certlogon.core.adcs_authority
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: A card was lost
  certlogon.core.adcs_revocation:
    config:
      - certificate_path: /srv/cards/alice.pem
        reason: key_compromise

- name: An employee is away, then back
  certlogon.core.adcs_revocation:
    config:
      - user: CORP\alice.andersson
        status: "{{ 'on_hold' if away else 'valid' }}"

- name: Revoke by serial number, and leave the publication to the CA's schedule
  certlogon.core.adcs_revocation:
    config:
      - serial: 1a:00:00:00:05:7c:0d:e5:ff
        reason: superseded
    publish: false

- name: What is revoked
  certlogon.core.adcs_revocation:
    state: gathered
  register: revoked
"""

RETURN = r"""
changes:
  description: What was done (in check mode, what would be done).
  returned: O(state=merged)
  type: list
  elements: dict
  contains:
    name:
      description: The certificate's serial number.
      type: str
      returned: always
      sample: 1a000000057c0de5ff
    action:
      description: Always V(update).
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
certificates:
  description: Every certificate that O(config) names, those among them that need no change included, for steps that follow.
  returned: O(state=merged)
  type: list
  elements: dict
  contains:
    serial:
      description: Its serial number.
      type: str
      returned: always
      sample: 1a000000057c0de5ff
    requester:
      description: The account that it was issued to, in the form C(DOMAIN\name).
      type: str
      returned: always
      sample: CORP\alice.andersson
    common_name:
      description: The common name in its subject.
      type: str
      returned: always
      sample: Alice Andersson
    status:
      description: The status that it has afterwards. Of an account's certificates, those that were revoked before stay so.
      type: str
      returned: always
      sample: revoked
gathered:
  description: The status of certificates, in the form that O(config) accepts.
  returned: O(state=gathered)
  type: list
  elements: dict
  sample:
    - serial: 1a000000057c0de5ff
      status: revoked
      reason: key_compromise
rendered:
  description: O(config) with its defaults.
  returned: O(state=rendered)
  type: list
  elements: dict
  sample:
    - serial: 1a000000057c0de5ff
      status: revoked
      reason: unspecified
rounds:
  description: How often the host was asked. 1 for a task that changes nothing.
  returned: always
  type: int
  sample: 1
"""

from ansible_collections.certlogon.core.plugins.module_utils.adcs.certificate_revocation import CertificateRevocation
from ansible_collections.certlogon.core.plugins.module_utils.adcs.module import explain


def main() -> None:
    explain(CertificateRevocation)


if __name__ == "__main__":
    main()
