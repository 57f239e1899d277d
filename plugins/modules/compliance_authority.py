#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: compliance_authority
short_description: Look at a Windows certification authority for a compliance report
version_added: 0.1.0
description:
  - Reads the settings, rights, certificates, CRLs and web services of a certification authority (AD CS) on its host, and keeps them in one
    file, from which M(certlogon.core.compliance_report) judges.
  - Nothing is ever written but that file on the control node. Four scripts are run on the host, which only read; the certificate of the CA
    is fetched from where certificates say that it is.
  - What the account may not read is left out with the reason, and becomes C(unknown) in the report.
extends_documentation_fragment:
  - certlogon.core.attributes
  - certlogon.core.attributes.info_module
attributes:
  platform:
    platforms: windows
requirements:
  - The collection C(ansible.windows) 2.4.0 or newer on the control node.
  - A CA on a Windows Server 2016 or newer reached by WinRM (or by SSH with PowerShell).
options:
  folder:
    description:
      - Folder on the control node for the file, made if it is not there.
    type: path
    required: true
  name:
    description:
      - What the report calls the CA host, its name in the inventory.
    type: str
    required: true
  account:
    description:
      - Whom the report names as the account that looked; computed, the user of the connection.
    type: str
    default: ""
  parameters:
    description:
      - Figures of controls that differ from the catalogue's, by control. Only O(issued) needs them, which is judged while it is read.
    type: dict
    default: {}
  backup_path:
    description:
      - Folder on the CA host in which backups of the CA's key are kept. Without it their age is unknown.
    type: str
    default: ""
  issued:
    description:
      - Judge every valid certificate of the CA's database too, which takes a round to the host for each 500 of them.
    type: bool
    default: false
  timeout:
    description:
      - Seconds to wait for the server of the CA's certificate.
    type: int
    default: 10
seealso:
  - module: certlogon.core.compliance_report
  - module: certlogon.core.adcs_authority
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: Look at the certification authority
  certlogon.core.compliance_authority:
    folder: /var/lib/certlogon/compliance/observations
    name: "{{ inventory_hostname }}"
"""

RETURN = r"""
observation:
  description: The file.
  returned: success
  type: str
  sample: /var/lib/certlogon/compliance/observations/certification_authority-ca1.corp.example.json
facts:
  description: How many facts it has.
  returned: success
  type: int
  sample: 24
unread:
  description: The names of those that could not be read; the file has the reasons.
  returned: success
  type: list
  elements: str
  sample: [backups]
asked:
  description: What was asked, by protocol and verb, and how often.
  returned: success
  type: dict
  sample:
    winrm adcs_state: 1
    winrm adcs_crl_state: 1
    winrm web_enrollment_state: 1
    winrm adcs_audit: 1
    http GET: 1
rounds:
  description: How often the CA host was asked.
  returned: always
  type: int
  sample: 4
"""

from ansible_collections.certlogon.core.plugins.module_utils.adcs.module import explain
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers.authority import AuthorityObservation


def main() -> None:
    explain(AuthorityObservation)


if __name__ == "__main__":
    main()
