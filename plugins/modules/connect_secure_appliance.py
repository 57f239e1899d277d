#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: connect_secure_appliance
short_description: Manage all that lets people in to a Connect Secure appliance, in one task
version_added: 0.1.0
description:
  - Does in one task what M(certlogon.core.connect_secure_device_certificate), M(certlogon.core.connect_secure_trusted_client_cas),
    M(certlogon.core.connect_secure_auth_servers), M(certlogon.core.connect_secure_realms) and
    M(certlogon.core.connect_secure_sign_in_policies) do in five, with one login and one connection. For many appliances that is several
    times faster, since what Ansible does for a task is more work than the requests that the task makes.
  - Everything is read and planned before anything is written. What is wrong with one part, such as a realm that names an unknown role,
    keeps all from being written. Each part takes for granted what those before it are about to make, in check mode too.
  - The parts are written in the order of the options. Where O(trusted_client_cas), O(auth_servers) or O(realms) fail, O(realms) and
    O(sign_in_policies) after them are not written, so that nobody is offered a way in before what guards it is there; the result says so
    for each object. The next run does what is left.
  - A part that an earlier one has prepared the ground for is read and planned anew before it is written. All else is as the modules of the
    parts say, the guard against locking out administrators included.
extends_documentation_fragment:
  - certlogon.core.attributes
  - certlogon.core.attributes.connect_secure_group
  - certlogon.core.connect_secure
  - certlogon.core.connect_secure.device_enrollment
options:
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
  gateway:
    description:
      - What an appliance that cards open is as a rule, in few words. O(device_certificates), O(realms) and O(sign_in_policies) are made
        from it where they are left out. The certificate server comes before the O(auth_servers). Unless they say otherwise, the
        O(trusted_client_cas) are checked by their CRLs, which come from their C(primary_cdp), or else from where users' certificates say.
    type: dict
    suboptions:
      server_names:
        description:
          - The names by which users reach the appliance. The first is the common name of the device certificate. Each gets a policy.
        type: list
        elements: str
        required: true
      device_certificate:
        description: What else the device certificate is to be, as an entry of O(device_certificates).
        type: dict
        default: {}
      external_ports:
        description: The ports for users that the device certificate is bound to, as the appliance calls them.
        type: list
        elements: str
        default: [External Port]
      users_address:
        description: Where the control node reaches the users' port; the first of O(gateway.server_names) when left out.
        type: str
      anchor_path:
        description: PEM file with the root that the device certificate must chain up to.
        type: path
      crl_download_frequency:
        description: After how many hours the appliance fetches a CRL again.
        type: int
        default: 1
      certificate_server:
        description: The name of the certificate server.
        type: str
        default: Certificates
      user_name_template:
        description: How it makes the user's name from the certificate.
        type: str
        default: <certDN.CN>
      user_realm:
        description: The name of the users' realm that the certificate server opens.
        type: str
        default: Certificate Users
      user_roles:
        description: The roles that everybody with a certificate gets in that realm. They must exist.
        type: list
        elements: str
        default: [Users]
      sign_in:
        description:
          - What opens the appliance. V(certificate), a card. V(certificate_and_radius), a card, then what a RADIUS server asks for, which
            is the realm's additional authentication server, with the user's name from the card; who fails there is not let in. V(radius),
            no card.
        type: str
        choices: [certificate, certificate_and_radius, radius]
        default: certificate
      radius_name:
        description: The name of the RADIUS server among the authentication servers.
        type: str
        default: One-Time Codes
      radius_servers:
        description:
          - The RADIUS server, and a backup for it with the same port and secret. The appliance shows what the server asks back
            (Access-Challenge), by a custom RADIUS rule.
        type: list
        elements: dict
        default: []
        suboptions:
          address:
            description: Its name or address.
            type: str
            required: true
          port:
            description: Its UDP port.
            type: int
            default: 1812
          secret:
            description: The secret that it shares with the appliance.
            type: str
            required: true
          require_message_authenticator:
            description: Is for other gateways. What the appliance demands of answers is a matter of its release.
            type: bool
            default: true
      radius_timeout:
        description: For how many seconds the appliance waits for an answer, each time.
        type: int
        default: 60
      radius_retries:
        description: How often it asks again.
        type: int
        default: 1
      radius_nas_identifier:
        description: What it calls itself (NAS-Identifier); the first of O(gateway.server_names) when left out.
        type: str
      radius_update_secret:
        description:
          - Whether the secret is written to a server that is there already. The appliance does not tell it, so each such run is a change.
        type: bool
        default: false
  parts:
    description: The parts that are looked at; all that are given when left out.
    type: list
    elements: str
    choices: [device_certificates, trusted_client_cas, auth_servers, realms, sign_in_policies]
  variables:
    description:
      - Names of host variables that options of this module are taken from, by option (below C(gateway), by option of O(gateway)). What the
        task itself gives comes first; variables that are not there or empty are left out.
      - This is for many appliances. In C(realms={{ my_realms }}) Ansible compiles a template for each appliance. A variable that is named
        here is used as it is, and what is no template in it costs nothing.
    type: dict
  role_variables:
    description:
      - Whether options are taken from the variables of the role C(connect_secure_gateway), which is what its task does. What the task
        itself gives comes first, then O(variables).
      - They are checked as Ansible checks a role's variables in a task of its own. A play with many appliances may have that off
        (C(rolespec_validate)), and takes less time.
    type: bool
    default: false
  cdp_check:
    description:
      - Whence the CRLs of the CAs that change are fetched before anything is written. A CRL that is fetched and is no good is an error;
        one that cannot be fetched is a warning unless O(cdp_required=true), since some networks let only the appliance get it.
      - V(controller) fetches them from the control node.
      - V(delegate) has them fetched by the host that the task is delegated to (C(delegate_to)), with C(curl), C(base64) and a POSIX shell.
      - V(skip) looks at none.
    type: str
    choices: [controller, delegate, skip]
    default: controller
  cdp_required:
    description: Whether a CRL that cannot be fetched is an error.
    type: bool
    default: false
  cdp_timeout:
    description: Seconds for each CRL.
    type: int
    default: 30
  crl_ends_before_download:
    description:
      - What to do about a CRL that ends before the appliance downloads the next one, by their C(crl_download_frequency). Nobody gets in
        in between.
    type: str
    choices: [warn, fail]
    default: warn
  expected_certificates:
    description: >-
      Files that an earlier play of the run makes, and that check mode therefore does not find. Their CAs are foreseen all the same.
    type: list
    elements: path
    default: []
  allow_unknown_variables:
    description: Whether variables of user name templates that the vendor's list lacks are a warning and no error.
    type: bool
    default: false
  expected_roles:
    description: Roles that an earlier task of the play makes, and that check mode therefore does not find.
    type: list
    elements: str
    default: []
  state:
    description:
      - V(merged) has everything that is given, as the modules of the parts do by that state.
      - V(gathered) returns what there is, all parts or those that are given, in the form of the options.
    type: str
    choices: [merged, gathered]
    default: merged
seealso:
  - module: certlogon.core.connect_secure_device_certificate
  - module: certlogon.core.connect_secure_trusted_client_cas
  - module: certlogon.core.connect_secure_auth_servers
  - module: certlogon.core.connect_secure_realms
  - module: certlogon.core.connect_secure_sign_in_policies
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: Let cards open the appliance
  certlogon.core.connect_secure_appliance:
    gateway:
      server_names: [vpn.corp.example]
      device_certificate:
        organization: Corp Example
    url: https://ca1.corp.example/certsrv
    template: WebServer
    trusted_client_cas:
      - certificate:
          path: files/issuing-ca.pem
        primary_cdp: http://ca1.corp.example/CertEnroll/Issuing%20CA.crl

- name: The same for many appliances, each with variables of its own
  certlogon.core.connect_secure_appliance:
    variables:
      gateway:
        server_names: vpn_server_names
        device_certificate: vpn_device_certificate
      url: vpn_enrollment_url
      template: vpn_certificate_template
      trusted_client_cas: vpn_trusted_client_cas

- name: Realms and their sign-in, part by part
  certlogon.core.connect_secure_appliance:
    auth_servers:
      - name: Certificates
        type: certificate
    realms:
      - name: Card Users
        kind: user
        authentication_server: Certificates
        role_mapping_rules:
          - name: Everybody
            user_name:
              names: ["*"]
            roles: [Users]
    sign_in_policies:
      - url: vpn.corp.example/
        realms: [Card Users]

- name: Export the appliance
  certlogon.core.connect_secure_appliance:
    state: gathered
  register: appliance
"""

RETURN = r"""
changes:
  description: What was done (in check mode, what would be done), part by part and object by object, in this order.
  returned: O(state=merged), unless something is wrong with what is asked for
  type: list
  elements: dict
  contains:
    part:
      description: The part, by its option.
      type: str
      returned: always
      sample: realms
    name:
      description: The object, as the part's own module calls it.
      type: str
      returned: always
      sample: user realm Certificate Users
    action:
      description: V(create), V(update) or V(delete).
      type: str
      returned: always
      sample: create
    failed:
      description: Whether it failed, or was not attempted because an earlier part did.
      type: bool
      returned: on failure
    msg:
      description: Why.
      type: str
      returned: on failure
certificates:
  description: >-
    What there is for each entry of O(device_certificates) when the task ends, as
    RV(certlogon.core.connect_secure_device_certificate#module:certificates).
  returned: O(state=merged), unless something is wrong with what is asked for
  type: list
  elements: dict
  sample:
    - name: vpn.corp.example
      status: valid
crls:
  description: >-
    The CRLs that were fetched for O(trusted_client_cas) that change, as
    RV(certlogon.core.connect_secure_trusted_client_cas#module:crls).
  returned: O(state=merged), unless something is wrong with what is asked for
  type: list
  elements: dict
  sample: []
gathered:
  description: What there is, by part, each in the form of its option, without secrets.
  returned: O(state=gathered)
  type: dict
  sample:
    sign_in_policies:
      - url: "*/admin/"
        kind: admin
        realms: [Admin Users]
        enabled: true
backup_file:
  description: The backup of the configuration that was taken before the first change of the run.
  returned: when a backup was taken in this run
  type: str
  sample: /home/admin/.local/share/certlogon/backups/vpn1.corp.example-20261122T201500.000000Z.zip
requests:
  description: How many requests this task needed.
  returned: always
  type: int
  sample: 11
logins:
  description: How many logins this task needed.
  returned: always
  type: int
  sample: 1
"""

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.module import explain
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.whole_appliance import WholeAppliance


def main() -> None:
    explain(WholeAppliance)


if __name__ == "__main__":
    main()
