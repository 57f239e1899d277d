#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: compliance_passivekey
short_description: Look at a PassiveKey server for a compliance report
version_added: 0.1.0
description:
  - Reads what a server that role P(certlogon.core.passivekey_server#role) has made rests on (settings, owners and modes of secrets, ages of
    keys, its CA and CRL, keytab, FreeRADIUS, nginx, backups, audit log) and what its port shows, and leaves it in a file for
    M(certlogon.core.compliance_report) to judge. Devices are held against the directory by the server itself (C(passivekey observe)).
  - It only reads. One program is run over the task's connection without being installed; no secret leaves the host. It needs Python 3.11
    there, and root.
  - The tasks C(compliance) of role P(certlogon.core.passivekey_server#role) call it with what the role would set.
extends_documentation_fragment:
  - certlogon.core.attributes
  - certlogon.core.attributes.info_module
options:
  folder:
    description: The folder on the control node where the observation is left, as C(passivekey-NAME.json). Made where it is missing, for its
      owner only.
    type: path
    required: true
  name:
    description: What the server is called in the report.
    type: str
    required: true
  python:
    description: The Python on the server.
    type: str
    default: /usr/bin/python3
  expected:
    description: What the server is to be. What is left out is not compared.
    type: dict
    suboptions:
      server_names:
        description: The names by which agents and sites reach it.
        type: list
        elements: str
        default: []
      users_address:
        description: Where its port is reached from the control node; the first of O(expected.server_names) when left out.
        type: str
      users_port:
        description: Its port.
        type: int
        default: 8443
      anchor_path:
        description: PEM file on the control node with the CAs that its certificate is to lead to. When left out, the roots of the domains
          of the run.
        type: path
seealso:
  - module: certlogon.core.compliance_report
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: Look at the PassiveKey server
  certlogon.core.compliance_passivekey:
    folder: /var/lib/certlogon/compliance/observations
    name: "{{ inventory_hostname }}"
    expected:
      server_names: [passivekey.corp.example]
      anchor_path: files/corp-ca.pem
"""

RETURN = r"""
observation:
  description: The file.
  returned: success
  type: str
  sample: /var/lib/certlogon/compliance/observations/passivekey-pk1.json
asked:
  description: How often each operation was sent, by protocol and name.
  returned: success
  type: dict
  sample:
    ssh passivekey_state: 1
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

from ansible_collections.certlogon.core.plugins.module_utils.compliance.passivekey_observation import PassiveKeyObservation
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.module import explain


def main() -> None:
    explain(PassiveKeyObservation)


if __name__ == "__main__":
    main()
