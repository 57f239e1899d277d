#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: compliance_ocserv
short_description: Look at a VPN gateway with ocserv for a compliance report
version_added: 0.1.0
description:
  - Reads what lets people in to a gateway that role P(certlogon.core.ocserv_gateway#role) has made (certificate, trusted CAs, CRLs, gate,
    timer, sessions) and what its port shows, and leaves it in a file for M(certlogon.core.compliance_report) to judge.
  - It only reads. One program is run over the task's connection without being installed; it opens files for reading and asks C(systemctl)
    and C(occtl). It needs Python 3.8 there, and root.
  - The tasks C(compliance) of role P(certlogon.core.ocserv_gateway#role) call it with what the role would set.
extends_documentation_fragment:
  - certlogon.core.attributes
  - certlogon.core.attributes.info_module
options:
  folder:
    description: The folder on the control node where the observation is left, as C(ocserv-NAME.json). Made where it is missing, for its
      owner only.
    type: path
    required: true
  name:
    description: What the gateway is called in the report.
    type: str
    required: true
  python:
    description: The Python on the gateway.
    type: str
    default: /usr/bin/python3
  expected:
    description: What the gateway is to be. What is left out is not compared. Secrets in it are not kept.
    type: dict
    suboptions:
      server_names:
        description: The names by which users reach it.
        type: list
        elements: str
        default: []
      users_address:
        description: Where its port is reached from the control node; the first of O(expected.server_names) when left out.
        type: str
      users_port:
        description: The users' port.
        type: int
        default: 443
      device_certificate:
        description: As C(vpn_gateway_device_certificate) of role P(certlogon.core.ocserv_gateway#role).
        type: dict
      trusted_client_cas:
        description: As C(vpn_gateway_trusted_client_cas) of role P(certlogon.core.ocserv_gateway#role).
        type: list
        elements: dict
      crl_download_frequency:
        description: Hours between downloads of CRLs.
        type: float
      user_name_attribute:
        description: The object identifier of the attribute that is the user's name, as C(cert-user-oid) of ocserv has it.
        type: str
      dedicated_ca:
        description: Whether the trusted CAs issue certificates for logon and no others.
        type: bool
      sign_in:
        description: What opens it, as C(vpn_gateway_sign_in) of role P(certlogon.core.ocserv_gateway#role).
        type: str
      revoked_users:
        description: Users whose certificates have been revoked and who have no other, by the names that the gateway gives them.
        type: list
        elements: str
        default: []
seealso:
  - module: certlogon.core.compliance_report
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: Look at the gateway
  certlogon.core.compliance_ocserv:
    folder: /var/lib/certlogon/compliance/observations
    name: "{{ inventory_hostname }}"
    expected:
      server_names: [gw.corp.example]
      trusted_client_cas:
        - certificate:
            path: files/corp-ca.pem
          primary_cdp: http://ca1.corp.example/CertEnroll/Corp%20CA.crl
"""

RETURN = r"""
observation:
  description: The file.
  returned: success
  type: str
  sample: /var/lib/certlogon/compliance/observations/ocserv-gw1.json
asked:
  description: How often each operation was sent, by protocol and name.
  returned: success
  type: dict
  sample:
    ssh ocserv_state: 1
    tls handshake: 5
facts:
  description: How many facts there are, those included that could not be read.
  returned: success
  type: int
  sample: 22
unread:
  description: Names of the facts that could not be read.
  returned: success
  type: list
  elements: str
  sample: []
"""

from ansible_collections.certlogon.core.plugins.module_utils.compliance.ocserv_observation import OcservObservation
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.module import explain


def main() -> None:
    explain(OcservObservation)


if __name__ == "__main__":
    main()
