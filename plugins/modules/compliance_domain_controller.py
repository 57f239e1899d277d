#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: compliance_domain_controller
short_description: Look at a domain controller for a compliance report
version_added: 0.1.0
description:
  - Looks at LDAPS, StartTLS, the directory's root and the KDC of a domain controller from the control node, as any client would, and keeps
    what it sees in one file, from which M(certlogon.core.compliance_report) judges.
  - A domain controller that is reached by SSH (Samba) or WinRM (Windows) is asked for its settings too, by one script that only reads.
    Without a way to the host, or without the rights there, those settings are left out with the reason, and become C(unknown) in the
    report.
  - Nothing is ever written but that file on the control node. No password is tried; the KDC is asked for a ticket without any proof, which
    it refuses and says what it would take.
extends_documentation_fragment:
  - certlogon.core.attributes
  - certlogon.core.attributes.info_module
requirements:
  - python >= 3.10
  - cryptography >= 43
  - ldap3 >= 2.9.1
  - On a Samba domain controller Python 3.9, openssl 3 and root; for a Windows one the collection C(ansible.windows) on the control node.
options:
  folder:
    description:
      - Folder on the control node for the file, made if it is not there.
    type: path
    required: true
  name:
    description:
      - What the report calls the domain controller, its name in the inventory.
    type: str
    required: true
  parameters:
    description:
      - Figures of controls that differ from the catalogue's, by control. What this module looks at needs none.
    type: dict
    default: {}
  host:
    description:
      - The domain controller's DNS name; the one that its directory tells when left empty, or O(name).
    type: str
    default: ""
  domain:
    description:
      - The DNS name of its domain; the one that its directory tells when left empty.
    type: str
    default: ""
  address:
    description:
      - Where the control node reaches its ports; O(host) or O(name) when left empty.
    type: str
    default: ""
  kind:
    description:
      - What it is. Computed from the task's connection, V(windows) for WinRM and PSRP, V(none) for C(local), which looks at the ports only,
        V(samba) for others.
    type: str
    choices:
      - samba
      - windows
      - none
  names:
    description:
      - DNS names that its certificate must have. An empty list means O(host) and O(domain).
    type: list
    elements: str
    default: []
  timeout:
    description:
      - Seconds to wait for each answer of a port.
    type: int
    default: 10
  samba_python:
    description:
      - Samba. The Python that has Samba's package there.
    type: str
    default: /usr/bin/python3
  samba_conf:
    description:
      - Samba. Its configuration.
    type: str
    default: /etc/samba/smb.conf
  krb5_conf:
    description:
      - Samba. The Kerberos configuration that the KDC reads.
    type: str
    default: /etc/krb5.conf
  certificate_folder:
    description:
      - Samba. Folder of its certificates, as role P(certlogon.core.domain_controller_certificates#role) keeps it.
    type: str
    default: /etc/samba/certlogon
  crl_folder:
    description:
      - Samba. Folder of the CRLs that the KDC reads, as that role keeps it.
    type: str
    default: /var/lib/certlogon/crl
seealso:
  - module: certlogon.core.compliance_report
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: Look at the domain controller
  certlogon.core.compliance_domain_controller:
    folder: /var/lib/certlogon/compliance/observations
    name: "{{ inventory_hostname }}"

- name: Look at the ports of one that the inventory does not have
  certlogon.core.compliance_domain_controller:
    folder: /var/lib/certlogon/compliance/observations
    name: dc9.corp.example
    domain: corp.example
  delegate_to: localhost
"""

RETURN = r"""
observation:
  description: The file.
  returned: success
  type: str
  sample: /var/lib/certlogon/compliance/observations/domain_controller-dc1.corp.example.json
facts:
  description: How many facts it has.
  returned: success
  type: int
  sample: 14
unread:
  description: The names of those that could not be read; the file has the reasons.
  returned: success
  type: list
  elements: str
  sample: [mapping]
asked:
  description: What was asked, by protocol and verb, and how often.
  returned: success
  type: dict
  sample:
    tls handshake: 2
    ldap bind: 1
    ldap search: 1
    kerberos AS-REQ: 1
    ssh domain_controller_state: 1
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers.domain_controllers import DomainControllerObservation


def main() -> None:
    module = AnsibleModule(DomainControllerObservation.argument_spec(), supports_check_mode=True)
    module.fail_json(
        msg="this module runs as an action on the control node; call it by its full name (certlogon.core.…) in an ordinary task"
    )


if __name__ == "__main__":
    main()
