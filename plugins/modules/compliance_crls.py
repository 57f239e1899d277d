#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: compliance_crls
short_description: Look at every CRL that certificates in use name, for a compliance report
version_added: 0.1.0
description:
  - Reads the observations that the other modules of the run have left in O(folder), fetches each CRL distribution point (CDP) of each
    certificate in use once, and leaves what is there in a file for M(certlogon.core.compliance_report) to judge. Delta CRLs that the CRLs
    name are fetched, too.
  - It only reads. Addresses are asked by HTTP GET, directories by bind and search, all in parallel.
  - A CDP that cannot be reached from the control node is noted as such. Whether that is a failure or only unknown, is the
    report's to say.
  - The role P(certlogon.core.compliance#role) calls it, after all hosts have been looked at.
extends_documentation_fragment:
  - certlogon.core.attributes
  - certlogon.core.attributes.info_module
options:
  folder:
    description: The folder on the control node with the run's observations. The file is C(crls-crls.json) there.
    type: path
    required: true
  timeout:
    description: Seconds that each address has for the whole of its answer.
    type: int
    default: 15
  size_limit:
    description: Bytes; a larger CRL is not read to its end, and noted as too large.
    type: int
    default: 67108864
  directories:
    description:
      - How the domains are reached that addresses without a server (C(ldap:///CN=…)) are asked of, as members of the domain ask their own
        domain controller. Left out, such addresses are unknown.
    type: list
    elements: dict
    default: []
    suboptions:
      server:
        description: Host names of domain controllers; the first that answers serves.
        type: list
        elements: str
      domain:
        description: DNS name of the domain, whose domain controllers DNS tells where O(directories[].server) is left out.
        type: str
      port:
        description: TCP port of the directory service.
        type: int
      username:
        description: The account to sign in with.
        type: str
      password:
        description: The password of O(directories[].username).
        type: str
      auth:
        description: How to sign in.
        type: str
        choices: [simple, ntlm, kerberos, negotiate]
        default: negotiate
      tls:
        description: How TLS is used.
        type: str
        choices: [ldaps, starttls, none]
      ca_path:
        description: PEM file with the CA certificates that the server's certificate is verified against.
        type: path
      validate_certs:
        description: Whether the server's certificate is verified.
        type: bool
        default: true
      timeout:
        description: Seconds to wait for a connection and for each answer.
        type: int
        default: 10
requirements:
  - python >= 3.10
  - cryptography >= 43
  - requests
seealso:
  - module: certlogon.core.compliance_report
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: Look at all CRLs
  certlogon.core.compliance_crls:
    folder: /var/lib/certlogon/compliance/observations
    directories:
      - server: [dc1.corp.example]
        username: auditor@corp.example
        password: "{{ auditor_password }}"
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
observation:
  description: The file.
  returned: success
  type: str
  sample: /var/lib/certlogon/compliance/observations/crls-crls.json
addresses:
  description: How many addresses were looked at.
  returned: success
  type: int
  sample: 4
asked:
  description: How often each operation was sent, by protocol and name.
  returned: success
  type: dict
  sample:
    http GET: 3
    ldap bind: 1
    ldap search: 1
facts:
  description: How many facts there are, those included that could not be read.
  returned: success
  type: int
  sample: 2
unread:
  description: Names of the facts that could not be read.
  returned: success
  type: list
  elements: str
  sample: []
"""

from ansible_collections.certlogon.core.plugins.module_utils.compliance.crl_observation import CrlObservation
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.module import explain


def main() -> None:
    explain(CrlObservation)


if __name__ == "__main__":
    main()
