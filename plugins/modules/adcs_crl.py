#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: adcs_crl
short_description: Publish the CRLs of a Windows certification authority, and see that clients find them
version_added: 0.1.0
description:
  - Publishes base and delta CRLs of a CA when they have to be, reports number, dates and places of each, and fetches each from every
    address that certificates (CDP) and CRLs (freshest CRL) name, as a client would. HTTP addresses are fetched from the control node, LDAP
    addresses from a domain controller.
  - A CRL that has ended, or that clients do not find, stops every logon by a certificate. The task fails if clients do not find the newest
    CRL after it was published.
  - One script reads everything that is decided by, so a task that publishes nothing asks the host once.
  - The connection options are those of the directory and serve for LDAP addresses only. Without O(server) and O(domain) such addresses are
    not looked at, with a warning.
extends_documentation_fragment:
  - certlogon.core.attributes
  - certlogon.core.attributes.adcs_group
  - certlogon.core.directory
attributes:
  idempotent:
    support: partial
    details: Each run publishes with O(config[].publish=always).
  platform:
    platforms: windows
requirements:
  - The collection C(ansible.windows) 2.4.0 or newer on the control node.
  - A CA on a Windows Server 2016 or newer reached by WinRM (or by SSH with PowerShell), and an account with the right Manage CA there.
options:
  config:
    description:
      - The kinds of CRLs. All keys of the CA are meant, so a renewed CA has several CRLs of a kind.
      - Required unless O(state=gathered).
    type: list
    elements: dict
    suboptions:
      kind:
        description:
          - V(base) for CRLs that name everything that is revoked, V(delta) for those that name what has changed since.
          - Where a base CRL is published, the delta CRL is published with it.
        type: str
        choices:
          - base
          - delta
        required: true
      publish:
        description:
          - V(when_needed) publishes if there is none, if it ends within O(config[].minimum_validity), or if a client does not find the
            newest one somewhere.
          - V(always) publishes.
        type: str
        choices:
          - when_needed
          - always
        default: when_needed
      minimum_validity:
        description: A CRL that ends within so many hours is replaced.
        type: int
        default: 0
  check_places:
    description: Whether the CRLs are fetched from where clients look for them.
    type: bool
    default: true
  state:
    description:
      - V(merged) publishes what O(config) says has to be.
      - V(gathered) publishes nothing and reports. What is wrong with places becomes a warning.
    type: str
    choices:
      - merged
      - gathered
    default: merged
seealso:
  - module: certlogon.core.adcs_authority
  - module: certlogon.core.adcs_revocation
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: No CRL ends within the next two days, and clients find all of them
  certlogon.core.adcs_crl:
    server:
      - dc1.corp.example
    username: svc-ansible@corp.example
    password: "{{ vault_svc_ansible }}"
    config:
      - kind: base
        minimum_validity: 48

- name: Publish now
  certlogon.core.adcs_crl:
    config:
      - kind: base
        publish: always

- name: See how long the CRLs last and where they are
  certlogon.core.adcs_crl:
    state: gathered
  register: crls

- name: Warn long before one ends
  ansible.builtin.assert:
    that: crls.crls | selectattr('kind', 'eq', 'base') | map(attribute='hours_left') | min > 24
"""

RETURN = r"""
crls:
  description: The CA's newest CRLs when the task ends.
  returned: when the CA could be asked
  type: list
  elements: dict
  contains:
    name:
      description: The file's name, as the CA names it.
      type: str
      returned: always
      sample: Corp CA.crl
    kind:
      description: V(base) or V(delta).
      type: str
      returned: always
      sample: base
    issuer:
      description: Who made it.
      type: str
      returned: always
      sample: CN=Corp CA,DC=corp,DC=example
    number:
      description: Its number.
      type: int
      returned: always
      sample: 12
    this_update:
      description: From when on it is valid.
      type: str
      returned: always
      sample: "2026-11-22T18:50:00+00:00"
    next_update:
      description: When it ends.
      type: str
      returned: always
      sample: "2026-11-30T07:10:00+00:00"
    hours_left:
      description: Hours until then, by the host's clock.
      type: int
      returned: always
      sample: 180
    revoked:
      description: How many certificates it names.
      type: int
      returned: always
      sample: 3
    places:
      description: What a client finds where certificates and CRLs say that it is.
      type: list
      elements: dict
      returned: always
      contains:
        url:
          description: The address.
          type: str
          returned: always
          sample: http://ca1.corp.example/CertEnroll/Corp%20CA.crl
        status:
          description: V(current), V(older), V(expired), V(unreachable) or V(not_checked).
          type: str
          returned: always
          sample: current
        number:
          description: The number of the CRL there.
          type: int
          returned: always
          sample: 12
        next_update:
          description: When the CRL there ends.
          type: str
          returned: always
          sample: "2026-11-30T07:10:00+00:00"
        msg:
          description: What is wrong there.
          type: str
          returned: always
          sample: ""
changes:
  description: What was published (in check mode, what would be).
  returned: unless O(state=gathered)
  type: list
  elements: dict
  contains:
    name:
      description: The kind.
      type: str
      returned: always
      sample: base
    action:
      description: Always V(update).
      type: str
      returned: always
      sample: update
    failed:
      description: Whether it failed.
      type: bool
      returned: on failure
    msg:
      description: Why it failed.
      type: str
      returned: on failure
gathered:
  description: The kinds of CRLs that this CA makes, in the form that O(config) accepts.
  returned: O(state=gathered)
  type: list
  elements: dict
  sample:
    - kind: base
    - kind: delta
rounds:
  description: How often the host was asked. 1 for a task that publishes nothing.
  returned: always
  type: int
  sample: 1
"""

from ansible_collections.certlogon.core.plugins.module_utils.adcs.crl_publication import CrlPublication
from ansible_collections.certlogon.core.plugins.module_utils.adcs.module import explain


def main() -> None:
    explain(CrlPublication)


if __name__ == "__main__":
    main()
