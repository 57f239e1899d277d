#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: ad_enrollment_services
short_description: Publish certificate templates on enterprise CAs
version_added: 0.1.0
description:
  - Manages which certificate templates each enrollment service (enterprise CA) of the forest offers.
  - The enrollment service objects themselves belong to the CAs. They are neither created nor removed, whatever the state.
  - Names are added and removed one by one, for the CA service writes the same attribute.
extends_documentation_fragment:
  - certlogon.core.attributes
  - certlogon.core.attributes.action_group
  - certlogon.core.authorities
  - certlogon.core.directory
options:
  config:
    description:
      - The enrollment services, each at most once. Others are left alone.
      - Required unless O(state=gathered).
    type: list
    elements: dict
    suboptions:
      name:
        description: >-
          The name of the CA (attribute C(cn) of the C(pKIEnrollmentService) object, [MS-WCCE] 2.2.2.11.2.1), compared without case.
          An unknown one is an error, unless it is among O(expected_authorities).
        type: str
        required: true
      templates:
        description:
          - Names of templates (C(cn), not display name), stored in C(certificateTemplates) ([MS-WCCE] 2.2.2.11.2.3), compared without case.
          - Required unless O(state=gathered). A template to be published that does not exist is an error.
        type: list
        elements: str
  state:
    description:
      - V(merged) publishes the named templates besides those already published.
      - V(replaced) publishes exactly the named ones.
      - V(deleted) takes the named templates from publication.
      - V(gathered) returns what is published, of the CAs named in O(config) or of all.
      - V(rendered) returns O(config) in canonical form without asking any server.
    type: str
    choices:
      - merged
      - replaced
      - deleted
      - gathered
      - rendered
    default: merged
  allow_missing_templates:
    description:
      - Whether a template that does not exist is published nevertheless, with a warning instead of an error.
      - Meant for check mode of a play that makes the templates itself. In an ordinary run a CA logs an error for a template it cannot find.
    type: bool
    default: false
seealso:
  - module: certlogon.core.ad_certificate_templates
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: Offer smart card logon on the issuing CA
  certlogon.core.ad_enrollment_services:
    server: dc1.corp.example
    username: administrator@corp.example
    password: "{{ domain_password }}"
    config:
      - name: Corp Example Issuing CA
        templates:
          - SmartcardLogon
          - KerberosAuthentication

- name: Let the VPN CA offer nothing but the VPN template
  certlogon.core.ad_enrollment_services:
    config:
      - name: Corp Example VPN CA
        templates:
          - CorpVPNUser
    state: replaced

- name: Take a template from publication
  certlogon.core.ad_enrollment_services:
    config:
      - name: Corp Example Issuing CA
        templates:
          - WebServer
    state: deleted

- name: See what every CA offers
  certlogon.core.ad_enrollment_services:
    state: gathered
  register: published
"""

RETURN = r"""
changes:
  description: What was done to each enrollment service (in check mode, what would be done).
  returned: unless O(state=gathered) or O(state=rendered)
  type: list
  elements: dict
  contains:
    name:
      description: Name of the enrollment service.
      type: str
      returned: always
      sample: Corp Example Issuing CA
    action:
      description: Always V(update), for these objects are neither created nor deleted.
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
  description: What is published, in the form that O(config) accepts.
  returned: O(state=gathered)
  type: list
  elements: dict
  sample:
    - name: Corp Example Issuing CA
      templates:
        - KerberosAuthentication
        - SmartcardLogon
rendered:
  description: The canonical form of O(config).
  returned: O(state=rendered)
  type: list
  elements: dict
  sample:
    - name: Corp Example Issuing CA
      templates:
        - SmartcardLogon
"""

from ansible_collections.certlogon.core.plugins.module_utils.directory.enrollment_services import EnrollmentServices
from ansible_collections.certlogon.core.plugins.module_utils.module import run_module


def main() -> None:
    run_module(EnrollmentServices())


if __name__ == "__main__":
    main()
