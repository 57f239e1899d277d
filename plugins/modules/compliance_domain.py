#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: compliance_domain
short_description: Look at a domain for a compliance report
version_added: 0.1.0
description:
  - Reads what a domain's directory and SYSVOL say of certificate logon, and leaves it in a file for M(certlogon.core.compliance_report)
    to judge.
  - It only reads. Its LDAP sessions can do nothing but bind and search, its SMB sessions nothing but open for reading.
  - It always runs on the control node, whatever the task's connection is.
  - Templates, OIDs, enrollment services, stores and their permissions are asked of each domain controller that answers, and compared.
  - What the account may not read is noted as such, with the right that is missing, and becomes "unknown" in the report.
  - The role P(certlogon.core.compliance#role) calls it. By itself it tells nothing but where the file is.
extends_documentation_fragment:
  - certlogon.core.attributes
  - certlogon.core.attributes.action_group
  - certlogon.core.attributes.info_module
  - certlogon.core.directory
options:
  folder:
    description: >-
      The folder on the control node where the observation is left, as C(domain-NAME.json). Made where it is missing, for its owner only.
    type: path
    required: true
  name:
    description: What the domain is called in the report; its DNS name when left out.
    type: str
  parameters:
    description: >-
      Figures of controls that differ from the catalogue's, by the control's id. Only controls that judge while reading need them.
    type: dict
    default: {}
  authorities:
    description:
      - Names of the enterprise CAs that the inventory knows. Their certificates may be in the NTAuth store, and the roots that they chain
        up to among the trusted ones.
    type: list
    elements: str
    default: []
  trusted_certificates:
    description: What is to be in the directory's stores, in the words of O(certlogon.core.ad_trusted_certificates#module:config).
    type: list
    elements: dict
    default: []
  smart_card_templates:
    description: Names of the templates that cards are enrolled for; those that have the purpose smart card logon when left out.
    type: list
    elements: str
    default: []
  unprivileged:
    description:
      - Accounts and groups that count as "anybody" beside Everyone, Authenticated Users, Users, Guests, Domain Users, Domain Guests and
        Domain Computers and the groups that these are members of.
    type: list
    elements: str
    default: []
  policies:
    description:
      - The Group Policy objects that the inventory declares, in the words of O(certlogon.core.group_policies#module:config). With them the
        report says whether they are there, linked, in effect and overridden; without them only what computers get in the end.
    type: list
    elements: dict
    default: []
  computers:
    description:
      - Names of computers, as C(ws1) or C(ws1.corp.example), for which the resultant set of policy is computed in any case. Domain
        controllers are looked at too, and one computer for each organizational unit and set of groups.
    type: list
    elements: str
    default: []
  computers_limit:
    description: For how many computers the resultant set of policy is computed at most. The report says how many places were left out.
    type: int
    default: 500
seealso:
  - module: certlogon.core.compliance_report
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: Look at the domain
  certlogon.core.compliance_domain:
    server: dc1.corp.example
    username: auditor@corp.example
    password: "{{ auditor_password }}"
    folder: /var/lib/certlogon/compliance/observations
    authorities:
      - Corp Example Issuing CA
"""

RETURN = r"""
observation:
  description: The file.
  returned: success
  type: str
  sample: /var/lib/certlogon/compliance/observations/domain-corp.example.json
asked:
  description: How often each operation was sent, by protocol and name.
  returned: success
  type: dict
  sample:
    ldap bind: 2
    ldap search: 21
facts:
  description: How many facts there are, those included that could not be read.
  returned: success
  type: int
  sample: 20
unread:
  description: Names of the facts that could not be read.
  returned: success
  type: list
  elements: str
  sample: []
"""

from ansible_collections.certlogon.core.plugins.module_utils.compliance.domain import DomainObservation
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.module import explain


def main() -> None:
    explain(DomainObservation)


if __name__ == "__main__":
    main()
