#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: connect_secure_auth_servers
short_description: Manage authentication servers of a Connect Secure appliance
version_added: 0.1.0
description:
  - Manages certificate servers with the template that makes user names of certificates, RADIUS servers with the rules for their challenges,
    and LDAP servers. Servers of other types are left alone; M(certlogon.core.connect_secure_config) writes them.
  - The variables of user name templates are held against the list in the vendor's article KB43937.
  - No change is made after which no administrator could sign in. A way in is an enabled administrators' URL, a realm that it offers and the
    server that the realm asks; at least one has to stay as it is. What touches how the task itself signs in (O(realm)) is changed last, a
    second login is made while the first key still works, and if that fails the old values are written back and the task fails. Secrets
    cannot be written back.
  - Each object is read again just before it is written. If somebody else has changed it since the task began, it is left as it is and the
    task fails for it. This is best effort, the interface has nothing better.
extends_documentation_fragment:
  - certlogon.core.attributes
  - certlogon.core.attributes.connect_secure_group
  - certlogon.core.connect_secure
  - certlogon.core.connect_secure.rendered
attributes:
  idempotent:
    support: partial
    details:
      - With O(config[].update_secrets=always) secrets are written by each run, for they cannot be read and compared.
options:
  config:
    description:
      - The servers. Required unless O(state=gathered).
    type: list
    elements: dict
    suboptions:
      name:
        description: The server's name.
        type: str
        required: true
      type:
        description:
          - The kind of server. It cannot be changed. Can be left out for a server that is there, and where the options tell it.
        type: str
        choices: [certificate, radius, ldap]
      certificate:
        description: Options of a certificate server.
        type: dict
        suboptions:
          user_name_template:
            description:
              - Text and variables in angle brackets that make the user name, such as V(<certAttr.altName.UPN>) or V(<certDN.CN>).
                V(<certDN.OU SEP=":">) joins several values, without C(SEP) the first is taken.
              - A new server gets V(<certDN.CN>) if nothing else is said.
            type: str
          user_record_synchronization:
            description: Whether user records are synchronized between appliances (default V(false)).
            type: bool
          logical_auth_server_name:
            description: The name that servers of several appliances share for O(config[].certificate.user_record_synchronization).
            type: str
      radius:
        description: Options of a RADIUS server.
        type: dict
        suboptions:
          host:
            description: Name or address of the RADIUS server. Needed for a new one.
            type: str
          backup_host:
            description: Name or address of a second one, asked when the first does not answer.
            type: str
          port:
            description: UDP port for authentication (default 1812).
            type: int
          accounting_port:
            description: UDP port for accounting (default 1813).
            type: int
          secret:
            description: The shared secret. Needed for a new server; see O(config[].update_secrets).
            type: str
          nas_identifier:
            description: What the appliance calls itself there.
            type: str
          timeout:
            description: Seconds to wait for an answer. Left out, it stays as it is, also under O(state=replaced).
            type: int
          retries:
            description: How often a request is repeated. Left out, it stays as it is, also under O(state=replaced).
            type: int
          one_time_passwords:
            description: Whether users type one-time passwords, which the appliance then does not keep (default V(false)).
            type: bool
          challenge_rules:
            description:
              - What the appliance shows when the server answers, in the order in which it is tried. Under O(state=merged) rules are
                merged by name.
              - A rule with nothing but a name shows the text of each Access-Challenge and asks for an answer, which is what
                one-time codes need.
            type: list
            elements: dict
            suboptions:
              name:
                description: The rule's name.
                type: str
                required: true
              response:
                description: The answer that it is for.
                type: str
                choices: [challenge, accept, reject]
                default: challenge
              attribute:
                description: The RADIUS attribute that is looked at.
                type: str
                default: Reply-Message
              operator:
                description: How it is compared, in the appliance's words.
                type: str
                default: matches the expression
              value:
                description: What it is compared with.
                type: str
                default: "*"
              action:
                description: The page that is shown.
                type: str
                choices: [show_generic_login, show_next_token, show_new_pin]
                default: show_generic_login
      ldap:
        description: Options of an LDAP server.
        type: dict
        suboptions:
          host:
            description: Name or address of the directory server. Needed for a new one.
            type: str
          backup_host:
            description: Name or address of a second one.
            type: str
          port:
            description: TCP port (default 636 with V(ldaps), else 389).
            type: int
          server_type:
            description: The kind of directory (default V(active_directory)).
            type: str
            choices: [active_directory, generic]
          encryption:
            description: How the connection is protected (default V(ldaps)). V(none) is warned about.
            type: str
            choices: [ldaps, start_tls, none]
          validate_certificate:
            description: Whether the server's certificate is verified (default V(true)).
            type: bool
          bind_dn:
            description: The account that searches.
            type: str
          bind_password:
            description: Its password; see O(config[].update_secrets).
            type: str
          base_dn:
            description: Where users are searched.
            type: str
          filter:
            description: The filter that finds a user, such as V(samaccountname=<USER>).
            type: str
      update_secrets:
        description:
          - When O(config[].radius.secret) and O(config[].ldap.bind_password) are written. The appliance does not tell them, so they cannot
            be compared.
        type: str
        choices: [on_create, always]
        default: on_create
  allow_unknown_variables:
    description: Whether variables of user name templates that the vendor's list lacks are a warning and no error.
    type: bool
    default: false
  state:
    description:
      - V(merged) makes servers that are not there, and sets what O(config) says. Options of a new server that are left out take their
        defaults.
      - V(replaced) sets options left out to their defaults too, secrets excepted.
      - V(deleted) removes the servers that O(config) names. One that a realm uses is refused.
      - V(gathered) returns the servers in the form of O(config), without secrets.
      - V(rendered) shows what O(config) means, without asking the appliance.
    type: str
    choices: [merged, replaced, deleted, gathered, rendered]
    default: merged
seealso:
  - module: certlogon.core.connect_secure_realms
  - module: certlogon.core.connect_secure_trusted_client_cas
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: Users are who their certificate says, and a RADIUS server asks for a code
  certlogon.core.connect_secure_auth_servers:
    config:
      - name: Cards
        type: certificate
        certificate:
          user_name_template: <certAttr.altName.UPN>
      - name: Codes
        type: radius
        radius:
          host: radius.corp.example
          secret: "{{ vault_radius_secret }}"
          challenge_rules:
            - name: Ask for the code

- name: The file for the console of a Juniper SA
  certlogon.core.connect_secure_auth_servers:
    generation: juniper
    config:
      - name: Cards
        type: certificate
    state: rendered
    rendered_as: xml
    xml_version: 7.4R1
    allow_inferred: true
  register: import
"""

RETURN = r"""
changes:
  description: What was done (in check mode, what would be done), object by object and in this order.
  returned: O(state=merged), O(state=replaced) and O(state=deleted)
  type: list
  elements: dict
  contains:
    name:
      description: The server.
      type: str
      returned: always
      sample: Cards
    action:
      description: V(create), V(update) or V(delete).
      type: str
      returned: always
      sample: create
    failed:
      description: Whether it failed.
      type: bool
      returned: on failure
    msg:
      description: Why it failed.
      type: str
      returned: on failure
gathered:
  description: The servers of the managed types in the form that O(config) accepts, all or those that O(config) names.
  returned: O(state=gathered)
  type: list
  elements: dict
  sample:
    - name: Cards
      type: certificate
      certificate:
        user_name_template: <certAttr.altName.UPN>
        user_record_synchronization: false
rendered:
  description:
    - What O(config) means, as O(rendered_as) says. For V(xml) a list of one, with C(file), a name for the file, and C(xml), its content.
    - For V(json) each has C(method), C(path), C(body), and C(inferred), the options whose members are deduced.
  returned: O(state=rendered)
  type: list
  elements: dict
  sample: []
backup_file:
  description: The backup of the configuration that was taken before the first change of the run.
  returned: when a backup was taken in this run
  type: str
  sample: /home/admin/.local/share/certlogon/backups/vpn1.corp.example-20261122T201500.000000Z.zip
requests:
  description: How many requests this task needed.
  returned: always
  type: int
  sample: 2
logins:
  description: How many logins this task needed.
  returned: always
  type: int
  sample: 0
"""

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.auth_servers import AuthServers
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.module import explain


def main() -> None:
    explain(AuthServers)


if __name__ == "__main__":
    main()
