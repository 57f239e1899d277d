#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: adcs_web_enrollment
short_description: Configure the web enrollment of a Windows certification authority
version_added: 0.1.0
description:
  - Brings AD CS web enrollment (C(/certsrv)) of a CA host into the state that O(config) names. That is the role service, its configuration,
    an HTTPS binding with a certificate of the CA itself, and the settings of IIS against relayed sign-ins
    (U(https://support.microsoft.com/kb/5005413)).
  - The certificate is requested by the computer's own account, renewed before it ends, and bound. A certificate that is good is never
    changed for another. One that an interrupted run requested and did not bind is found again and used.
  - C(/CertEnroll), where CRLs and CA certificates are fetched from, stays on plain HTTP. Clients fetch them while they verify certificates.
  - One script reads everything that is decided by, so a task that changes nothing asks the host once.
extends_documentation_fragment:
  - certlogon.core.attributes
  - certlogon.core.attributes.adcs_group
attributes:
  platform:
    platforms: windows
requirements:
  - The collection C(ansible.windows) 2.4.0 or newer on the control node.
  - A Windows Server 2016 or newer reached by WinRM (or by SSH with PowerShell), and an administrator's account there.
  - A CA on the same host (M(certlogon.core.adcs_authority)).
options:
  config:
    description:
      - The web enrollment. A host has one at most, so this list has one entry.
      - Required unless O(state=gathered).
    type: list
    elements: dict
    suboptions:
      site:
        description: The site of IIS that it is in. Windows knows no other place for it.
        type: str
        choices:
          - Default Web Site
        default: Default Web Site
      certificate:
        description: >-
          The certificate of port 443. With O(state=merged) what is left out is taken from the certificate that is bound, if there is one.
        type: dict
        suboptions:
          template:
            description:
              - The template (C(cn)) to request it by, V(Machine) if nothing else is known.
              - >-
                It must be published on this CA, be for server authentication, and let the host's computer account enroll.
                The built-in V(Machine) does, V(WebServer) lets administrators alone enroll.
            type: str
          dns_names:
            description:
              - The names it must have, the host's own by default.
              - Names beyond the host's own need a template that lets the requester supply the subject.
            type: list
            elements: str
          renew_before:
            description: A new one is requested this many days before the bound one ends, V(30) if nothing is said.
            type: int
          thumbprint:
            description:
              - >-
                Binds this certificate of the store C(LocalMachine\My) and never requests one, for certificates that come by another way.
              - Beside O(config[].certificate.template) it changes nothing, and says what was bound when O(state=gathered) returned it.
            type: str
      require_ssl:
        description: Whether C(/certsrv) is refused over plain HTTP (C(sslFlags)). V(true) by default.
        type: bool
      extended_protection:
        description: >-
          Whether a sign-in must be bound to the TLS connection (C(extendedProtection), C(tokenChecking)), so that it cannot be relayed.
          V(required) by default.
        type: str
        choices:
          - none
          - allowed
          - required
      providers:
        description: The providers of Windows authentication in the order in which they are offered, V([negotiate, ntlm]) by default.
        type: list
        elements: str
        choices:
          - negotiate
          - ntlm
          - kerberos
      basic_authentication:
        description: Whether passwords may be sent. Not without O(config[].require_ssl). V(false) by default.
        type: bool
      crl_over_http:
        description: >-
          Whether C(/CertEnroll) is served on port 80. V(true) by default. V(true) adds the site's binding of port 80 where it is missing.
          V(false) has C(/CertEnroll) demand TLS, but never takes the binding away, since the site's other pages may be served on it; remove
          it by hand where nothing else needs it.
        type: bool
      double_escaping:
        description: >-
          Whether C(/CertEnroll) may serve names with a plus sign (C(allowDoubleEscaping)), which delta CRLs have. V(true) by default.
        type: bool
  state:
    description:
      - V(merged) sets what O(config) names and keeps the rest. Where there is no web enrollment yet, the rest takes its defaults.
      - V(replaced) sets everything, with defaults for what is left out.
      - V(deleted) takes the role service's configuration away. Windows features, bindings and certificates stay.
      - V(gathered) returns what there is.
      - V(rendered) returns O(config) with its defaults without asking any host.
    type: str
    choices:
      - merged
      - replaced
      - deleted
      - gathered
      - rendered
    default: merged
  install_username:
    description:
      - An account to configure the role service by, where the task's own has not the right.
      - The documentation of C(Install-AdcsWebEnrollment) wants a member of Enterprise Admins for an enterprise CA.
    type: str
  install_password:
    description: Its password.
    type: str
seealso:
  - module: certlogon.core.adcs_authority
  - module: certlogon.core.certificate_request
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: Web enrollment over HTTPS, with everything at its safe default
  certlogon.core.adcs_web_enrollment:
    config:
      - site: Default Web Site
    state: replaced

- name: Web enrollment by a template of its own, renewed six weeks before it ends
  certlogon.core.adcs_web_enrollment:
    config:
      - certificate:
          template: CorpWebEnrollment
          dns_names:
            - ca1.corp.example
            - pki.corp.example
          renew_before: 42
        providers:
          - kerberos

- name: See what there is
  certlogon.core.adcs_web_enrollment:
    state: gathered
  register: web_enrollment

- name: Warn long before the certificate ends
  ansible.builtin.assert:
    that: web_enrollment.certificate.days_left > 20
"""

RETURN = r"""
certificate:
  description: The certificate that is bound to port 443 when the task ends.
  returned: when there is one
  type: dict
  contains:
    thumbprint:
      description: Its SHA-1 thumbprint.
      type: str
      returned: always
      sample: 9A1F0C0C2D6E3FB1C6A0E5D0F1B2C3D4E5F60718
    issuer:
      description: Who issued it.
      type: str
      returned: always
      sample: CN=Corp CA,DC=corp,DC=example
    dns_names:
      description: The DNS names in it.
      type: list
      elements: str
      returned: always
      sample:
        - ca1.corp.example
    template:
      description: The template it was issued by, if that can be told.
      type: str
      returned: always
      sample: Machine
    not_after:
      description: When it ends.
      type: str
      returned: always
      sample: "2027-11-22T18:50:00+00:00"
    days_left:
      description: Days until then, by the host's clock.
      type: int
      returned: always
      sample: 364
changes:
  description: What was done (in check mode, what would be done).
  returned: unless O(state=gathered) or O(state=rendered)
  type: list
  elements: dict
  contains:
    name:
      description: The site.
      type: str
      returned: always
      sample: Default Web Site
    action:
      description: V(create), V(update) or V(delete).
      type: str
      returned: always
      sample: create
    failed:
      description: Whether the change failed.
      type: bool
      returned: on failure
    msg:
      description: Why it failed.
      type: str
      returned: on failure
gathered:
  description: What there is, in the form that O(config) accepts.
  returned: O(state=gathered)
  type: list
  elements: dict
  sample:
    - site: Default Web Site
      certificate:
        template: Machine
        dns_names:
          - ca1.corp.example
        thumbprint: 9A1F0C0C2D6E3FB1C6A0E5D0F1B2C3D4E5F60718
      require_ssl: true
      extended_protection: required
      providers:
        - negotiate
        - ntlm
      basic_authentication: false
      crl_over_http: true
      double_escaping: true
rendered:
  description: O(config) with its defaults.
  returned: O(state=rendered)
  type: list
  elements: dict
  sample:
    - site: Default Web Site
      certificate:
        template: Machine
        renew_before: 30
      require_ssl: true
      extended_protection: required
      providers:
        - negotiate
        - ntlm
      basic_authentication: false
      crl_over_http: true
      double_escaping: true
rounds:
  description: How often the host was asked. 1 for a task that changes nothing.
  returned: always
  type: int
  sample: 1
"""

from ansible_collections.certlogon.core.plugins.module_utils.adcs.module import explain
from ansible_collections.certlogon.core.plugins.module_utils.adcs.web_enrollment import WebEnrollment


def main() -> None:
    explain(WebEnrollment)


if __name__ == "__main__":
    main()
