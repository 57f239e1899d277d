#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: compliance_appliance
short_description: Look at a Connect Secure appliance for a compliance report
version_added: 0.1.0
description:
  - Reads what lets people in to an appliance (device certificates, trusted client CAs and the CRLs in use, authentication servers, realms,
    sign-in policies) and what its users' port shows, and leaves it in a file for M(certlogon.core.compliance_report) to judge.
  - It only reads. Its session sends GET, and POST to log in, and nothing else; no backup is made.
  - What the account may not read, or the appliance does not have where the table of its interface says, is noted as such and becomes
    "unknown" in the report.
  - The tasks C(compliance) of role P(certlogon.core.connect_secure_gateway#role) call it with what the role would set.
extends_documentation_fragment:
  - certlogon.core.attributes
  - certlogon.core.attributes.connect_secure_group
  - certlogon.core.attributes.info_module
  - certlogon.core.connect_secure
options:
  folder:
    description: The folder on the control node where the observation is left, as C(connect_secure-NAME.json). Made where it is missing, for
      its owner only.
    type: path
    required: true
  name:
    description: What the appliance is called in the report; O(host) when left out.
    type: str
  expected:
    description: What the appliance is to be. What is left out is not compared. Secrets in it are not kept.
    type: dict
    suboptions:
      server_names:
        description: The names by which users reach it.
        type: list
        elements: str
        default: []
      users_address:
        description: Where its users' port is reached from the control node; the first of O(expected.server_names) when left out.
        type: str
      users_port:
        description: The users' port.
        type: int
        default: 443
      anchor_path:
        description: PEM file on the control node with the root that users' computers know.
        type: path
      gateway:
        description: >-
          As O(certlogon.core.connect_secure_appliance#module:gateway): what those of the following that are left out are made from.
        type: dict
      device_certificates:
        description: As O(certlogon.core.connect_secure_device_certificate#module:config).
        type: list
        elements: dict
      trusted_client_cas:
        description: As O(certlogon.core.connect_secure_trusted_client_cas#module:config).
        type: list
        elements: dict
      auth_servers:
        description: As O(certlogon.core.connect_secure_auth_servers#module:config).
        type: list
        elements: dict
      realms:
        description: As O(certlogon.core.connect_secure_realms#module:config).
        type: list
        elements: dict
      sign_in_policies:
        description: As O(certlogon.core.connect_secure_sign_in_policies#module:config).
        type: list
        elements: dict
seealso:
  - module: certlogon.core.compliance_report
  - module: certlogon.core.connect_secure_info
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: Look at the appliance
  certlogon.core.compliance_appliance:
    folder: /var/lib/certlogon/compliance/observations
    expected:
      server_names: [vpn.corp.example]
      device_certificates:
        - common_name: vpn.corp.example
      trusted_client_cas:
        - certificate:
            path: files/corp-ca.pem
          status_checking: crl
          primary_cdp: http://ca1.corp.example/CertEnroll/Corp%20CA.crl
"""

RETURN = r"""
observation:
  description: The file.
  returned: success
  type: str
  sample: /var/lib/certlogon/compliance/observations/connect_secure-vpn1.json
asked:
  description: How often each operation was sent, by protocol and name.
  returned: success
  type: dict
  sample:
    https GET: 14
    https POST login: 1
    tls handshake: 5
facts:
  description: How many facts there are, those included that could not be read.
  returned: success
  type: int
  sample: 17
unread:
  description: Names of the facts that could not be read.
  returned: success
  type: list
  elements: str
  sample: []
requests:
  description: How many requests were sent.
  returned: always
  type: int
  sample: 15
logins:
  description: How many logins were made. 0 where an earlier task of the run has made it.
  returned: always
  type: int
  sample: 1
"""

from ansible_collections.certlogon.core.plugins.module_utils.compliance.appliance_observation import ApplianceObservation
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.module import explain


def main() -> None:
    explain(ApplianceObservation)


if __name__ == "__main__":
    main()
